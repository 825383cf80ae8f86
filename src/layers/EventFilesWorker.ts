/**
 * What the thread runs that makes event files. Nobody imports it.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { parentPort, workerData } from "node:worker_threads"
import { Index } from "../services/Index.ts"
import { type Commit, Ledger } from "../services/Ledger.ts"
import type { Storage } from "../services/Storage.ts"
import * as IndexLive from "./IndexLive.ts"
import { type Given, newsAt, type Order, sleepsAt, thousandsAt, type Told } from "./internal/EventFilesThread.ts"
import * as EventMirror from "./internal/EventMirror.ts"
import { elapsed, inRealTime } from "./internal/realTime.ts"
import * as LedgerLive from "./LedgerLive.ts"
import * as LockFile from "./LockFile.ts"
import * as StorageNode from "./StorageNode.ts"

// options

/** So many files are made before it is looked whether anybody appends. */
const filesPerTurn = 32
/** With no appends for so long, in milliseconds, nobody is given way to. */
const quiet = 5
/** Beside appends it pauses for so many times as long as it worked: the files' names go through the same journal as the appends' syncs. */
const pausesBesideAppends = 9
/** In milliseconds. */
const longestPause = 100
/** With nothing to do for so long, in milliseconds, the thread ends. */
const idleTime = 10_000
/** From one word about its progress to the next, in milliseconds. */
const tellInterval = 20

// models

const given = workerData as Given
const port = parentPort!
const tell = (told: Told) => port.postMessage(told)

// the history

/**
 * The history for one who walks along it: of what is new no more is taken from the ledger than the walk needs next, so that no line is
 * read twice, and a walk that is far behind does not follow who appends. An index is opened when it turns out that tags were added.
 */
const makeSource = Effect.gen(function*() {
  const ledger = yield* Ledger
  const scope = yield* Effect.scope
  const context = yield* Effect.context<Storage>()
  let known = yield* ledger.cursor
  let isWalking = false
  /** What comes next on the walk; `undefined` as long as it goes along what was known when it began. */
  let next: ReadonlyArray<Commit> | undefined
  let index: Index["Service"] | undefined

  const catchUp: EventMirror.Source["catchUp"] = Effect.gen(function*() {
    while ((yield* ledger.isBehind) && (!isWalking || next?.length === 0)) {
      const commits = yield* ledger.refresh
      if (commits.length === 0) return
      known = commits[commits.length - 1]!.cursor
      if (index !== undefined) yield* index.add(commits)
      if (isWalking) next = commits
    }
  })

  const openIndex = Effect.gen(function*() {
    const built = yield* Layer.buildWithScope(
      Layer.provide(IndexLive.layer({ store: given.store, readOnly: true }), Layer.succeed(Ledger, ledger)),
      scope
    )
    return index = Context.get(built, Index)
  }).pipe(Effect.provideContext(context))

  const source: EventMirror.Source = {
    known: () => known,
    catchUp,
    isThere: (position) => position <= known.position || position < 1000 * Atomics.load(given.signals, thousandsAt),
    scan: (from) =>
      Effect.gen(function*() {
        const scan = yield* ledger.scan(from)
        isWalking = true
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => {
            isWalking = false
            next = undefined
          })
        )
        return {
          next: Effect.gen(function*() {
            const commits = next ?? (yield* scan.next)
            if (commits.length === 0 || next !== undefined) next = []
            return commits
          })
        }
      }),
    addedTags: (positions, head) =>
      Effect.flatMap(
        index === undefined ? openIndex : Effect.succeed(index),
        (index) => index.addedTags(positions, head)
      )
  }
  return source
})

// telling

/** The latest position, now or a moment later: a message for each step would cost those that append. */
const makeProgress = () => {
  let last = -Infinity
  let waiting: { readonly position: number; readonly timer: NodeJS.Timeout } | undefined
  const flush = () => {
    if (waiting === undefined) return
    clearTimeout(waiting.timer)
    tell({ _tag: "Reached", position: waiting.position })
    waiting = undefined
    last = elapsed()
  }
  const reached = (position: number) => {
    const timer = waiting?.timer ?? setTimeout(flush, tellInterval)
    waiting = { position, timer }
    if (elapsed() - last >= tellInterval) flush()
  }
  return { reached, flush }
}

// running

const news = Latch.makeUnsafe(true)
const progress = makeProgress()

const mirror = Effect.gen(function*() {
  const source = yield* makeSource
  let lastNews = -1
  let lastBusy = -Infinity
  let lastWork = elapsed()
  /** Since when files are made without a pause. */
  let since = elapsed()
  let problem: string | undefined
  const isBusy = () => {
    const count = Atomics.load(given.signals, newsAt)
    if (count !== lastNews) lastBusy = elapsed()
    lastNews = count
    return elapsed() - lastBusy < quiet
  }
  const mirror = yield* EventMirror.make(source, {
    store: given.store,
    writeProtect: given.writeProtect,
    filesPerTurn,
    giveWay: Effect.suspend(() => {
      const worked = elapsed() - since
      lastWork = elapsed()
      const pause = isBusy() ? Effect.sleep(Math.min(longestPause, pausesBesideAppends * worked)) : Effect.yieldNow
      return Effect.map(pause, () => {
        since = elapsed()
      })
    }),
    awaitNews: (position) =>
      Effect.gen(function*() {
        news.closeUnsafe()
        // from now on the other thread says so; what came before is seen by looking
        Atomics.store(given.signals, sleepsAt, 1)
        yield* source.catchUp
        if (source.known().position <= position) yield* Effect.timeoutOption(news.await, EventMirror.retryInterval)
        Atomics.store(given.signals, sleepsAt, 0)
        since = elapsed()
      }),
    isAwaited: () => true,
    isEnough: (left) => left === 0 && elapsed() - lastWork > idleTime,
    reached: (position) => Effect.sync(() => progress.reached(position)),
    failed: (now) =>
      Effect.sync(() => {
        if (now !== problem) tell({ _tag: "Failed", problem: now })
        problem = now
      })
  })
  tell({ _tag: "Begun" })
  return yield* mirror.run
})

const { access, root, store } = given
const medium = Layer.mergeAll(StorageNode.layer({ root, access }), LockFile.layer({ root, access }))
const ledger = LedgerLive.layer({ store, readOnly: true })
const fiber = mirror.pipe(
  Effect.scoped,
  Effect.provide(Layer.provideMerge(ledger, medium)),
  inRealTime,
  // what is to be said is told to the other thread
  Effect.provide(Logger.layer([])),
  Effect.runFork
)

port.on("message", (order: Order) => {
  if (order === "wake") news.openUnsafe()
  else fiber.interruptUnsafe()
})
fiber.addObserver((exit) => {
  progress.flush()
  if (Exit.isSuccess(exit)) tell({ _tag: exit.value === "deleted" ? "Deleted" : "Idle" })
  port.close()
  if (Exit.isSuccess(exit)) return
  if (Cause.hasInterruptsOnly(exit.cause)) return
  setImmediate(() => {
    throw Cause.squash(exit.cause)
  })
})
