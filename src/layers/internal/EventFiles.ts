/**
 * The readable copy of each event, one JSON file per event. It follows the ledger at its own speed and is never in an append's way.
 *
 * A file is a function of the event's confirmed ledger line alone and is made by one rename, so it does not matter who makes it, or
 * how often. One process at a time does, from a checkpoint on.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Metrics from "../../internal/metrics.ts"
import type { Position } from "../../Position.ts"
import * as EventStore from "../../services/EventStore.ts"
import { Index } from "../../services/Index.ts"
import {
  type Cursor,
  type EventRecord,
  Ledger,
  type LedgerError,
  type Place,
  type Record
} from "../../services/Ledger.ts"
import { Lock } from "../../services/Lock.ts"
import { Storage } from "../../services/Storage.ts"
import { type History, toStoreError } from "./History.ts"
import * as Host from "./host.ts"
import { inRealTime } from "./realTime.ts"

// options

export interface Options {
  readonly store: string
  readonly enabled: boolean
  readonly writeProtect: boolean
  /** Whether appends wait: they come first. */
  readonly isBusy: () => boolean
}

/** So many files are made before the checkpoint moves. */
const filesPerStep = 256
/** Files in one folder, since folders with very many names are slow to list. */
const filesPerFolder = 1000
/** So many files are made before other fibers get their turn. */
const filesPerTurn = 16
/** How long appends are given way to before some files are made all the same, in milliseconds. */
const longestPause = 50
/** How long a process waits before it asks again whether it may make files, in milliseconds. */
const retryInterval = 250
/** How long closing waits for files that are missing, in milliseconds. */
const closingTime = 1000

// models

export interface EventFiles {
  readonly position: Effect.Effect<Position | undefined, EventStore.EventStoreError>
  readonly waitFor: (position: Position) => Effect.Effect<void, EventStore.EventStoreError>
  /** Says that there is something new. */
  readonly wake: () => void
}

/** `events/checkpoint.json` */
interface Checkpoint {
  readonly store: string
  /** The last position that has its file, and where its commit ends. */
  readonly cursor: Cursor
  /** The machine's start during which these files were made, and the cursor at its beginning: see `since`. */
  readonly boot: string | null
  readonly since: Cursor | null
}

const readme = `One file per event, for reading: open them, search them, look at their dates.

They are copies. The record of events is ../ledger, and what is changed or removed here changes nothing there.
Tags that were added to an event later stand beside it, in <position>.tags.json.
`

const pad = (n: number, digits: number) => n.toString().padStart(digits, "0")
const folderOf = (position: number) => pad(Math.floor(position / filesPerFolder), 7)
const fileOf = (position: number) => `${folderOf(position)}/${pad(position, 10)}`

const encode = (json: unknown): Uint8Array => Buffer.from(JSON.stringify(json, null, 2) + "\n")

const eventJson = ({ data, metadata, position, tags, type, version }: EventRecord) =>
  encode({ position, type, version, tags, metadata, data })

// constructors

export const make = (
  history: History,
  options: Options
): Effect.Effect<EventFiles, never, Ledger | Index | Lock | Storage | Scope.Scope> =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const index = yield* Index
    const lock = yield* Lock
    const storage = yield* Storage
    const root = `${options.store}/events`
    const checkpoint = `${root}/checkpoint.json`
    const boot = Host.thisProcess.boot ?? null

    const news = Latch.makeUnsafe(true)
    const waiters = new Set<
      { readonly position: number; readonly deferred: Deferred.Deferred<void, EventStore.EventStoreError> }
    >()
    let reached = 0

    const reach = (position: number) => {
      reached = position
      for (const waiter of waiters) {
        if (waiter.position > position) continue
        waiters.delete(waiter)
        Deferred.doneUnsafe(waiter.deferred, Effect.void)
      }
    }

    let ended: EventStore.EventStoreError | undefined
    const failAll = (reason: EventStore.EventStoreError["reason"]) => {
      ended = new EventStore.EventStoreError({ reason })
      for (const waiter of waiters) Deferred.doneUnsafe(waiter.deferred, Effect.fail(ended))
      waiters.clear()
    }

    /** The checkpoint, if it is one of this very history. */
    const readCheckpoint = Effect.gen(function*() {
      const bytes = yield* storage.readDocument(checkpoint)
      if (bytes === undefined) return undefined
      const found = yield* Effect.try({
        try: () => JSON.parse(Buffer.from(bytes).toString("utf8")) as Checkpoint,
        catch: () => undefined
      }).pipe(Effect.catch(() => Effect.succeed(undefined)))
      if (found?.store !== ledger.storeId || typeof found.cursor !== "object") return undefined
      return (yield* ledger.holds(found.cursor)) ? found : undefined
    })

    /**
     * Where to go on. Files are not synced: after a start of the machine those made since the start before are made again, since
     * it may have been a power loss that ended it.
     */
    const whereToBegin = Effect.gen(function*() {
      const found = yield* readCheckpoint
      if (found === undefined) return { cursor: undefined, since: null }
      if (found.boot === boot) return { cursor: found.cursor, since: found.since }
      const cursor = found.since !== null && (yield* ledger.holds(found.since)) ? found.since : undefined
      return { cursor, since: cursor ?? null }
    })

    const writeTags = Effect.fnUntraced(function*(target: Position, head: number) {
      const tags = (yield* index.addedTags([target], head)).get(target)
      if (tags === undefined) return
      yield* storage.makeDirectory(`${root}/${folderOf(target)}`, { parents: false })
      yield* storage.replaceDocument(`${root}/${fileOf(target)}.tags.json`, encode({ position: target, tags }), {
        sync: false
      })
    })

    const write = Effect.fnUntraced(function*(record: Record, modified: number) {
      if (record.kind === "tags") {
        for (const target of record.targets) yield* writeTags(target.position, record.position)
        return
      }
      yield* storage.replaceDocument(`${root}/${fileOf(record.position)}.json`, eventJson(record), {
        sync: false,
        modified,
        readOnly: options.writeProtect
      })
    })

    /** What a process that was killed had not renamed yet. Whoever has the lock is alone here. */
    const removeLeftOvers = Effect.fnUntraced(function*(folder: string) {
      for (const { kind, name } of yield* storage.list(folder)) {
        if (kind === "file" && /^\..*\.tmp$/.test(name)) yield* storage.remove(`${folder}/${name}`)
      }
    })

    /** Makes the missing files, as long as there are any. */
    const followLedger = Effect.gen(function*() {
      // of a store that is there: one that was deleted is not revived
      yield* storage.makeDirectory(root, { parents: false })
      yield* lock.acquire(`${root}/mirror`, { timeout: 0 })
      yield* storage.replaceDocument(`${root}/README.txt`, Buffer.from(readme), { sync: false })
      const begin = yield* whereToBegin
      yield* removeLeftOvers(root)
      yield* removeLeftOvers(`${root}/${folderOf((begin.cursor?.position ?? 0) + 1)}`)
      const scan = yield* ledger.scan(begin.cursor)
      let { since } = begin
      let cursor = begin.cursor
      let folder = ""
      reach(cursor?.position ?? 0)
      const save = Effect.suspend(() => {
        if (cursor === undefined) return Effect.void
        since ??= cursor
        const text: Checkpoint = { store: ledger.storeId, cursor, boot, since }
        const { position } = cursor
        return Metric.update(Metrics.mirrorLag, history.known().position - position).pipe(
          Effect.andThen(Effect.sync(() => reach(position))),
          Effect.andThen(storage.replaceDocument(checkpoint, encode(text), { sync: false }))
        )
      })
      for (;;) {
        const commits = yield* scan.next
        if (commits.length === 0) {
          news.closeUnsafe()
          if (history.known().position > (cursor?.position ?? 0)) continue
          yield* Effect.timeoutOption(news.await, retryInterval)
          yield* history.catchUp
          continue
        }
        let made = 0
        for (const commit of commits) {
          for (let i = 0; i < commit.entries.length; i += filesPerStep) {
            const entries = commit.entries.slice(i, i + filesPerStep)
            const records = yield* ledger.read(entries as ReadonlyArray<Place>)
            for (const record of records) {
              const next = folderOf(record.position)
              if (next !== folder) yield* storage.makeDirectory(`${root}/${folder = next}`, { parents: false })
              yield* write(record, commit.time)
              if (++made % filesPerTurn === 0) yield* giveWay
            }
          }
          cursor = commit.cursor
          if (made >= filesPerStep) {
            yield* save
            made = 0
            // another store may have taken the deleted one's name
            yield* history.catchUp
          }
        }
        yield* save
      }
    })

    /** Other fibers come first, above all those that append; but under appends that never end the files go on too, if slowly. */
    const giveWay = Effect.gen(function*() {
      yield* Effect.yieldNow
      for (let waited = 0; options.isBusy() && waited < longestPause; waited += 5) yield* Effect.sleep(5)
    })

    /** What another process reached, which makes the files at present. */
    const watchOther = Effect.gen(function*() {
      const found = yield* readCheckpoint
      if (found !== undefined && found.cursor.position > reached) reach(found.cursor.position)
    })

    let failure: LedgerError | undefined
    const run = Effect.gen(function*() {
      for (;;) {
        // no store without events has a folder for them
        while (history.known().position === 0) {
          news.closeUnsafe()
          yield* Effect.timeoutOption(news.await, retryInterval)
          if (waiters.size > 0) yield* history.catchUp
        }
        const exit = yield* Effect.exit(Effect.scoped(followLedger))
        if (Exit.isFailure(exit)) {
          const error = Exit.findErrorOption(exit)
          if (error._tag === "None") return yield* exit
          const isDeleted = yield* Effect.match(history.catchUp, {
            onFailure: ({ _tag }) => _tag === "LedgerDeleted",
            onSuccess: () => false
          })
          if (isDeleted) return failAll(new EventStore.StoreDeleted())
          // Somebody else makes them. Everything else is told once, and tried again: an append never fails because of it.
          if (error.value._tag === "LockTimeout") yield* watchOther
          else {
            if (failure?.message !== error.value.message) {
              yield* Effect.logWarning(`event files are not written for the time being: ${error.value.message}`)
            }
            failure = error.value
            yield* Metric.update(Metrics.mirrorLag, history.known().position - reached)
          }
        }
        yield* Effect.sleep(retryInterval)
      }
    })

    if (options.enabled) {
      yield* Effect.addFinalizer(() => Effect.sync(() => failAll(new EventStore.StoreClosed())))
      const fiber = yield* Effect.forkScoped(inRealTime(Effect.ignore(run)))
      // registered last, so it runs first: a moment for what is missing
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          const known = history.known().position
          if (reached >= known || failure !== undefined || fiber.pollUnsafe() !== undefined) return Effect.void
          const waiter = { position: known, deferred: Deferred.makeUnsafe<void, EventStore.EventStoreError>() }
          waiters.add(waiter)
          news.openUnsafe()
          return inRealTime(Effect.ignore(Effect.timeoutOption(Deferred.await(waiter.deferred), closingTime)))
        })
      )
    }

    return {
      wake: () => void news.openUnsafe(),
      position: Effect.mapError(
        Effect.map(Effect.andThen(watchOther, Effect.sync(() => reached)), (position) =>
          position === 0 ? undefined : position as Position),
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
          news.openUnsafe()
          return Effect.onInterrupt(Deferred.await(waiter.deferred), () =>
            Effect.sync(() => waiters.delete(waiter)))
        })
    }
  })
