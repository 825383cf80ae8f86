/**
 * The readable copy of each event, one JSON file per event. It follows the ledger at its own speed and is never in an append's way:
 * where there is a thread for it, that one makes the files as soon as many are missing.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Metrics from "../../internal/metrics.ts"
import type { Position } from "../../Position.ts"
import * as EventStore from "../../services/EventStore.ts"
import { Index } from "../../services/Index.ts"
import { Ledger } from "../../services/Ledger.ts"
import type { Lock } from "../../services/Lock.ts"
import type { Storage } from "../../services/Storage.ts"
import * as EventFilesThread from "./EventFilesThread.ts"
import * as EventMirror from "./EventMirror.ts"
import { type History, toStoreError } from "./History.ts"
import { inRealTime } from "./realTime.ts"

// options

export interface Options {
  readonly store: string
  readonly enabled: boolean
  readonly writeProtect: boolean
  /** Whether appends wait: they come first. */
  readonly isBusy: () => boolean
}

/** So many files are made before other fibers get their turn. */
const filesPerTurn = 16
/** How long appends are given way to before some files are made all the same, in milliseconds. */
const longestPause = 50
/** How long closing waits for files that are missing, in milliseconds. */
const closingTime = 1000
/** With more files missing than this a thread makes them. It takes about a tenth of a second to start one. */
const manyMissing = 500
/** So often a thread may end as it should not before it is done without. */
const threadFailures = 3

// models

export interface EventFiles {
  readonly position: Effect.Effect<Position | undefined, EventStore.EventStoreError>
  readonly waitFor: (position: Position) => Effect.Effect<void, EventStore.EventStoreError>
  /** Says that there is something new. */
  readonly wake: () => void
}

// constructors

export const make = (
  history: History,
  options: Options
): Effect.Effect<EventFiles, never, Ledger | Index | Lock | Storage | Scope.Scope> =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const index = yield* Index
    const place = yield* EventFilesThread.Place

    const news = Latch.makeUnsafe(true)
    const waiters = new Set<
      { readonly position: number; readonly deferred: Deferred.Deferred<void, EventStore.EventStoreError> }
    >()
    let reached = 0

    const updateLag = Effect.suspend(() => Metric.update(Metrics.mirrorLag, history.known().position - reached))
    const reach = (position: number) =>
      Effect.suspend(() => {
        reached = position
        return Effect.map(updateLag, () => {
          for (const waiter of waiters) {
            if (waiter.position > position) continue
            waiters.delete(waiter)
            Deferred.doneUnsafe(waiter.deferred, Effect.void)
          }
        })
      })

    /** Why none can be made for the time being. */
    let failure: string | undefined
    /** Told once. */
    const fail = (problem: string | undefined) =>
      Effect.suspend(() => {
        const isNew = problem !== undefined && problem !== failure
        failure = problem
        if (problem === undefined) return Effect.void
        return Effect.andThen(
          isNew ? Effect.logWarning(`event files are not written for the time being: ${problem}`) : Effect.void,
          updateLag
        )
      })
    let ended: EventStore.EventStoreError | undefined
    const failAll = (reason: EventStore.EventStoreError["reason"]) => {
      ended = new EventStore.EventStoreError({ reason })
      for (const waiter of waiters) Deferred.doneUnsafe(waiter.deferred, Effect.fail(ended))
      waiters.clear()
    }

    const thread = place === undefined ? undefined : EventFilesThread.make({
      ...place,
      store: options.store,
      writeProtect: options.writeProtect
    })
    let isThreadUsable = thread !== undefined
    let failures = 0

    const wake = () => {
      news.openUnsafe()
      thread?.wake(history.known().position)
    }

    const mirror = yield* EventMirror.make({
      known: history.known,
      isThere: (position) => position <= history.known().position,
      catchUp: history.catchUp,
      scan: ledger.scan,
      addedTags: index.addedTags
    }, {
      store: options.store,
      writeProtect: options.writeProtect,
      filesPerTurn,
      // Other fibers come first, above all those that append; but under appends that never end the files go on too, if slowly.
      giveWay: Effect.gen(function*() {
        yield* Effect.yieldNow
        for (let waited = 0; options.isBusy() && waited < longestPause; waited += 5) yield* Effect.sleep(5)
      }),
      awaitNews: (position) =>
        Effect.suspend(() => {
          news.closeUnsafe()
          if (history.known().position > position) return Effect.void
          return Effect.asVoid(Effect.timeoutOption(news.await, EventMirror.retryInterval))
        }),
      isAwaited: () => waiters.size > 0,
      isEnough: (left) => isThreadUsable && left > manyMissing,
      reached: reach,
      failed: fail
    })

    const run = Effect.gen(function*() {
      for (;;) {
        if ((yield* mirror.run) === "deleted" || thread === undefined) break
        const end = yield* thread.run({ reached: reach, failed: fail })
        if (end._tag === "Deleted") break
        if (end._tag === "Idle") continue
        failures += 1
        isThreadUsable = end.hasBegun && failures < threadFailures
        yield* Effect.logDebug("the thread that makes event files has ended, they are made without", end.cause)
      }
      failAll(new EventStore.StoreDeleted())
    })

    if (options.enabled) {
      yield* Effect.addFinalizer(() => Effect.sync(() => failAll(new EventStore.StoreClosed())))
      const fiber = yield* run.pipe(
        Effect.catchCause((cause) =>
          Cause.hasInterruptsOnly(cause)
            ? Effect.void
            : Effect.andThen(
              Effect.logError("event files are not written any more", cause),
              Effect.sync(() => failAll(new EventStore.StoreUnavailable({ cause: Cause.squash(cause) })))
            )
        ),
        inRealTime,
        Effect.forkScoped
      )
      // registered last, so it runs first: a moment for what is missing
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          const known = history.known().position
          if (reached >= known || failure !== undefined || fiber.pollUnsafe() !== undefined) return Effect.void
          const waiter = { position: known, deferred: Deferred.makeUnsafe<void, EventStore.EventStoreError>() }
          waiters.add(waiter)
          wake()
          return inRealTime(Effect.ignore(Effect.timeoutOption(Deferred.await(waiter.deferred), closingTime)))
        })
      )
    }

    return {
      wake,
      position: Effect.mapError(
        Effect.map(mirror.checkpoint, (found) => {
          const position = Math.max(reached, found ?? 0)
          return position === 0 ? undefined : position as Position
        }),
        toStoreError
      ),
      waitFor: (position) =>
        Effect.suspend(() => {
          if (!options.enabled) {
            const problem = "event files are off: open the store with `eventFiles: true`"
            return Effect.fail(new EventStore.EventStoreError({ reason: new EventStore.StoreUnsupported({ problem }) }))
          }
          if (reached >= position) {
            return Effect.void
          }
          if (ended !== undefined) {
            return Effect.fail(ended)
          }
          const waiter = { position, deferred: Deferred.makeUnsafe<void, EventStore.EventStoreError>() }
          waiters.add(waiter)
          wake()
          return Effect.onInterrupt(Deferred.await(waiter.deferred), () => Effect.sync(() => waiters.delete(waiter)))
        })
    }
  })
