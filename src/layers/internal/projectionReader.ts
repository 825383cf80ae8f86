/** Following the generation that readers see, whichever process writes it. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { LedgerDamaged, LedgerDeleted, type LedgerError } from "../../services/Ledger.ts"
import type { EntryRange, Generation } from "../../services/ProjectionStore.ts"
import { ProjectionStoreError } from "../../services/ProjectionStore.ts"
import * as Folder from "./projectionFolder.ts"
import { elapsed, inRealTime } from "./realTime.ts"
import * as StateLog from "./stateLog.ts"

/** How long a process may look at a generation without asking whether it still is the one, in milliseconds. */
const lookInterval = 250
/** So many times a reader begins anew because the generation went away under it. */
const tries = 5

/** A log to read from, until it is gone. */
export interface Source {
  /** All that was committed before, by whatever process. `undefined`: no generation is live. */
  readonly latest: Effect.Effect<StateLog.StateLog | undefined, LedgerError>
  /** Told that a log is gone, or fails. */
  readonly drop: (log: StateLog.StateLog) => Effect.Effect<void>
}

export const toError = (name: string) => (cause: unknown): ProjectionStoreError =>
  cause instanceof ProjectionStoreError
    ? cause
    : new ProjectionStoreError({ name, cause, ...(cause instanceof LedgerDamaged ? { isDamaged: true } : {}) })

/** A reader of a generation's files. To be used by whoever does not write them. */
export const make = Effect.fnUntraced(function*(place: Folder.Place) {
  const turn = (yield* Semaphore.make(1)).withPermits(1)
  let log: StateLog.StateLog | undefined
  let looked = -Infinity

  const close = Effect.suspend(() => {
    const before = log
    log = undefined
    return before?.close ?? Effect.void
  })

  /** The generation that is live by its own word, if what `current.json` names is not there. */
  const search = Effect.fnUntraced(function*(floor: number) {
    const numbers = yield* Folder.generations(place)
    for (const number of numbers.reverse()) {
      if (number <= floor) break
      const opened = yield* Effect.catch(StateLog.openReader(place, number), () => Effect.succeed(undefined))
      if (opened?.isLive) return opened
      if (opened !== undefined) yield* opened.close
    }
    return undefined
  })

  const lookUp = Effect.gen(function*() {
    const number = yield* Folder.readCurrent(place)
    looked = elapsed()
    if (log !== undefined && log.number === number) return
    // One that was found although `current.json` names another stays until it goes.
    if (log !== undefined && number !== undefined && number < log.number) return
    yield* close
    if (number === undefined) return
    log = yield* number === 0 ? search(0) : StateLog.openReader(place, number).pipe(
      // one that was removed, and made again by somebody who had not noticed: never begun
      Effect.flatMap((opened) =>
        opened.begin !== undefined
          ? Effect.succeed(opened)
          : Effect.andThen(opened.close, Effect.fail(new LedgerDeleted()))
      ),
      Effect.catch(Effect.fnUntraced(function*(error) {
        // a new one may have been made live meanwhile: then it begins anew
        if (!StateLog.isGone(error) || (yield* Folder.readCurrent(place)) !== number) return yield* error
        return yield* search(number)
      }))
    )
  })

  const follow = Effect.gen(function*() {
    if (log === undefined || elapsed() - looked >= lookInterval) yield* lookUp
    const known = log
    if (known === undefined) return undefined
    yield* known.use((ledger) =>
      Effect.flatMap(ledger.isBehind, (isBehind) => isBehind ? StateLog.catchUp(known, ledger) : Effect.succeed(false))
    )
    return known
  })

  /** What went wrong may be of a generation that has just been replaced: then it is looked for anew. */
  const latest = (attempt: number): Source["latest"] =>
    Effect.catch(follow, (error) =>
      Effect.andThen(
        close,
        attempt >= (StateLog.isGone(error) ? tries : 2) ? Effect.fail(error) : latest(attempt + 1)
      ))

  yield* Effect.addFinalizer(() => turn(close))
  const source: Source = {
    latest: turn(inRealTime(Effect.uninterruptible(latest(1)))),
    drop: (gone) => turn(Effect.suspend(() => log === gone ? close : Effect.void))
  }
  return { ...source, close: turn(close) }
})

/** A generation as its users see it, over whatever log is there when they ask. */
export const toGeneration = (
  definition: string,
  withLog: <A>(
    read: (log: StateLog.StateLog) => Effect.Effect<A, LedgerError>,
    none: A
  ) => Effect.Effect<A, ProjectionStoreError>
): Generation => ({
  definition,
  checkpoint: withLog((log) => Effect.sync(() => log.checkpoint), undefined),
  size: withLog((log) => Effect.sync(() => log.index.size), 0),
  read: (keys) =>
    withLog((log) =>
      Effect.suspend(() =>
        log.read(keys.flatMap((key) => {
          const entry = log.index.get(key)
          return entry === undefined ? [] : [entry]
        }))
      ), []),
  list: (range: EntryRange) => withLog((log) => Effect.suspend(() => log.read(log.index.list(range))), []),
  byTag: (tags) => withLog((log) => Effect.suspend(() => log.read(log.index.byTag(tags))), [])
})

/** What a source has now; reads that are under way when it changes over are repeated on what takes its place. */
export const liveOf = (
  name: string,
  source: Effect.Effect<Source>
): Effect.Effect<Generation | undefined, ProjectionStoreError> => {
  const attempt = <A>(
    read: (log: StateLog.StateLog) => Effect.Effect<A, LedgerError>,
    none: A,
    n: number
  ): Effect.Effect<A, LedgerError> =>
    Effect.gen(function*() {
      const { drop, latest } = yield* source
      const log = yield* latest
      if (log === undefined) return none
      return yield* Effect.catch(read(log), (error) =>
        StateLog.isGone(error) && n < tries
          ? Effect.andThen(drop(log), attempt(read, none, n + 1))
          : Effect.fail(error))
    })
  const withLog = <A>(
    read: (log: StateLog.StateLog) => Effect.Effect<A, LedgerError>,
    none: A
  ): Effect.Effect<A, ProjectionStoreError> => Effect.mapError(attempt(read, none, 1), toError(name))
  return Effect.flatMap(source, ({ latest }) => latest).pipe(
    Effect.mapError(toError(name)),
    Effect.map((log) => log && toGeneration(log.begin?.definition ?? "", withLog))
  )
}
