/**
 * Writing a projection's generations, for whoever has the claim.
 *
 * The lock is a hint; that of two who believe to have the claim one is told so rests on the ledgers. A claim takes over each generation that
 * there is, the oldest first, and looks for more until there are none: only then it decides which one is live. A swap commits to the
 * old generation first (so nobody else has taken it over), then to the new one that it is live. So whoever takes over the old one before
 * that commit makes the swap fail, and whoever does so later finds the new one, which was there by then.
 */
import type * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as Ledger from "../../services/Ledger.ts"
import { type Held } from "../../services/Lock.ts"
import type { Claim, WritableGeneration } from "../../services/ProjectionStore.ts"
import { ClaimLost, ProjectionStoreError } from "../../services/ProjectionStore.ts"
import { Storage, type StorageError } from "../../services/Storage.ts"
import * as Folder from "./projectionFolder.ts"
import { type Source, toError, toGeneration } from "./projectionReader.ts"
import { inRealTime } from "./realTime.ts"
import * as StateLog from "./stateLog.ts"
import * as Records from "./stateRecords.ts"
import * as StoreFolder from "./StoreFolder.ts"

// models

/** A generation as its writer has it. Its log changes when it is compacted. */
export interface Target {
  log: StateLog.StateLog | undefined
  /** Why it cannot be read. */
  readonly failure: ProjectionStoreError | undefined
  readonly handle: WritableGeneration | undefined
}

/** What others want to know of the claim's doings. */
export interface Hooks {
  /** Keys of the live generation have changed. */
  readonly changed: (keys: ReadonlyArray<string>) => void
  /** Another generation is live, or none. */
  readonly replaced: () => void
  /** A generation is about to be begun: whatever else is being made must go, and be gone when this returns. */
  readonly beforeBegin: Effect.Effect<void>
}

export interface Writer {
  readonly claim: Claim
  /** For those who read in this process. */
  readonly source: Source
  readonly isLost: () => boolean
  readonly live: () => StateLog.StateLog | undefined
  readonly isBuilding: () => boolean
  /** One change at a time. */
  readonly turn: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Only within a turn. */
  readonly commit: (
    log: StateLog.StateLog,
    batch: Arr.NonEmptyReadonlyArray<Ledger.EventDraft>,
    /** In one step with the change of what is in memory. */
    then?: () => void
  ) => Effect.Effect<void, Ledger.LedgerError | ProjectionStoreError | ClaimLost>
  /** Begins a generation beside the live one. Only within a turn. */
  readonly beginLog: (
    begin: Records.Begin
  ) => Effect.Effect<StateLog.StateLog, Ledger.LedgerError | ProjectionStoreError | ClaimLost>
  /** Makes a log live instead of the one that is. Only within a turn. */
  readonly promote: (
    next: StateLog.StateLog,
    isCopy: boolean
  ) => Effect.Effect<void, Ledger.LedgerError | ProjectionStoreError | ClaimLost>
  readonly removeLog: (log: StateLog.StateLog) => Effect.Effect<unknown, Ledger.LedgerError>
  readonly hooks: { current: Hooks }
}

// constructors

export const make = Effect.fnUntraced(function*(place: Folder.Place, held: Held) {
  const { name, storage } = place
  const turn = (yield* Semaphore.make(1)).withPermits(1)
  const toTyped = <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, ProjectionStoreError | Extract<E, ClaimLost>, R> =>
    Effect.mapError(
      effect,
      // what is a ClaimLost is one of E's
      // @effect-diagnostics-next-line unsafeEffectTypeAssertion:off
      (error) => error instanceof ClaimLost ? error as Extract<E, ClaimLost> : toError(name)(error)
    )

  let isLost = false
  const lost = Effect.suspend(() => {
    isLost = true
    return Effect.fail(new ClaimLost({ name }))
  })
  const open = new Map<number, StateLog.StateLog>()
  /** Of which the disk refused to remove what is left: the next claim does. */
  const left = new Set<number>()
  const hooks: Writer["hooks"] = {
    current: { changed: () => {}, replaced: () => {}, beforeBegin: Effect.void }
  }
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => Effect.forEach([...open.values()], (log) => log.close, { discard: true }))
  )

  const removeFolder = (number: number) =>
    StoreFolder.destroy(Folder.pathOf(place, number)).pipe(
      Effect.provideService(Storage, storage),
      Effect.catchTag("StorageError", (error) => StateLog.isGone(error) ? Effect.void : Effect.fail(error))
    )

  const removeLog = (log: StateLog.StateLog) =>
    Effect.suspend(() => {
      open.delete(log.number)
      left.add(log.number)
      return log.close.pipe(
        Effect.andThen(removeFolder(log.number)),
        Effect.andThen(Effect.sync(() => left.delete(log.number)))
      )
    })

  // committing ---------------------------------------------------------------------------------------------------------

  /** Whether it is the projection's generation that is gone, or the whole store. */
  const orLost = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | ClaimLost | StorageError, R> =>
    Effect.catch(effect, (error): Effect.Effect<never, E | ClaimLost | StorageError> =>
      StateLog.isGone(error)
        ? Effect.flatMap(
          storage.exists(`${place.store}/store.json`),
          (isThere): Effect.Effect<never, E | ClaimLost> => isThere ? lost : Effect.fail(error)
        )
        : Effect.fail(error))

  const commit: Writer["commit"] = (log, batch, then) =>
    log.use((ledger) =>
      Effect.gen(function*() {
        const problem = Records.problemOf(batch)
        if (problem !== undefined) {
          return yield* new ProjectionStoreError({ name, isTooLarge: true, cause: new Error(problem) })
        }
        if (isLost) return yield* lost
        // Somebody may have been here if a segment had to be begun since the last commit.
        if ((yield* StateLog.acquire(ledger)) && (yield* StateLog.catchUp(log, ledger))) return yield* lost
        const outcome = yield* ledger.commit([batch], log.position)
        if (outcome.committed === 0) return yield* lost
        // Committed, but it was somebody else's take-over that made it so: what comes next is theirs.
        if (outcome.commits.length === 0) isLost = true
        log.apply(outcome.commits)
        then?.()
      }).pipe(
        Effect.catchTag("CommitOutcomeUnknown", (error) => {
          // A new claim will find out.
          isLost = true
          return Effect.fail(new ProjectionStoreError({ name, cause: error }))
        })
      )
    ).pipe(orLost, inRealTime)

  const save = (target: Target): WritableGeneration["save"] => (changes) =>
    Effect.gen(function*() {
      const { log } = target
      if (log === undefined) return yield* lost
      yield* commit(log, Records.save(changes, yield* Clock.currentTimeMillis), () => {
        if (live === target) hooks.current.changed([...changes.set.map(({ key }) => key), ...changes.removed])
      })
    }).pipe(turn, toTyped, Effect.uninterruptible)

  const makeTarget = (log: StateLog.StateLog) => {
    const target: Target & { readonly handle: WritableGeneration } = {
      log,
      failure: undefined,
      handle: {
        ...toGeneration(
          log.begin?.definition ?? "",
          (read) =>
            toTyped(
              Effect.suspend(() =>
                target.log === undefined ? Effect.fail(new Ledger.LedgerDeleted()) : read(target.log)
              )
            )
        ),
        save: (changes) => save(target)(changes)
      }
    }
    return target
  }

  // opening ------------------------------------------------------------------------------------------------------------

  /** A generation that is no use is its problem; a disk that fails is the claim's. */
  const openExisting = (number: number, durability: Ledger.Durability) =>
    StateLog.openWriter(place, number, durability).pipe(
      Effect.map((log): StateLog.StateLog | ProjectionStoreError => {
        open.set(number, log)
        return log
      }),
      Effect.catch((error) =>
        error._tag === "LedgerDamaged" || (error._tag === "LedgerUnsupported" && !isShared)
          ? Effect.succeed(toError(name)(error))
          : Effect.fail(error)
      )
    )

  const isShared = yield* storage.isShared
  yield* Folder.removeLeftOvers(place)
  const current = yield* Folder.readCurrent(place)
  const found = new Map<number, StateLog.StateLog | ProjectionStoreError>()
  for (;;) {
    const numbers = (yield* Folder.generations(place)).filter((number) => !found.has(number))
    if (numbers.length === 0) break
    for (const number of numbers) {
      found.set(number, yield* openExisting(number, number === current ? "os" : "sync"))
    }
  }

  let live: Target | undefined
  let building: Target | undefined
  for (const [number, log] of [...found].sort(([a], [b]) => a - b)) {
    if (log instanceof StateLog.StateLog && log.isLive) live = makeTarget(log)
    else if (log instanceof ProjectionStoreError && number === current) {
      live = { log: undefined, failure: log, handle: undefined }
    }
  }
  const liveNumber = live === undefined ? 0 : live.log?.number ?? current!
  for (const [number, log] of [...found].sort(([a], [b]) => b - a)) {
    if (number === liveNumber) continue
    const isUseful = number > liveNumber && building === undefined && log instanceof StateLog.StateLog &&
      log.begin?.purpose === "build"
    if (isUseful) building = makeTarget(log)
    else if (log instanceof StateLog.StateLog) yield* removeLog(log)
    else yield* removeFolder(number)
  }
  // a swap that was not finished
  if (live?.log !== undefined && live.log.number !== current) {
    yield* Folder.sync(place)
    yield* Folder.writeCurrent(place, live.log.number)
    if (!(yield* StateLog.reopen(place, live.log, "os"))) return yield* lost
  }
  if (building?.log !== undefined && building.log.number === current) {
    if (!(yield* StateLog.reopen(place, building.log, "sync"))) return yield* lost
  }

  // generations --------------------------------------------------------------------------------------------------------

  /** No number is given twice: a holder of the claim that was stopped may wake up while it removes the first that had it. */
  let highest = Math.max(0, current ?? 0, ...found.keys())

  const now = Clock.currentTimeMillis

  const beginLog: Writer["beginLog"] = (begin) =>
    Effect.gen(function*() {
      if (isLost) return yield* lost
      const numbers = yield* Folder.generations(place)
      const known = new Set([liveNumber, ...open.keys(), ...left])
      if (numbers.some((number) => !known.has(number))) return yield* lost
      const taken = Math.max(highest, yield* Folder.highestNumber(place))
      if (taken >= Folder.lastNumber) {
        return yield* new Ledger.LedgerDamaged({
          file: Folder.pathOf(place, taken),
          offset: 0,
          problem: "no generation can have a higher number: remove it"
        })
      }
      const number = highest = taken + 1
      const log = yield* StateLog.openWriter(place, number, "sync")
      open.set(number, log)
      // of two that make it at once the second finds what the first one wrote, or takes it over
      if (log.position > 0) return yield* lost
      yield* commit(log, [Records.begin(begin, yield* now)])
      log.begin = begin
      return log
    })

  /** Proves that nobody else has taken it over, and sees to it that nobody can without seeing what came before. */
  const fence = (log: StateLog.StateLog) => Effect.flatMap(now, (now) => commit(log, [Records.mark("ended", now)]))

  const promote: Writer["promote"] = (next, isCopy) =>
    Effect.gen(function*() {
      const old = live?.log
      if (old !== undefined) yield* fence(old)
      yield* commit(next, [Records.mark("live", yield* now)])
      // From here on it is live, whatever comes; and durable, since it was written so.
      yield* Folder.sync(place)
      yield* Folder.writeCurrent(place, next.number)
      const before = live
      if (isCopy) live!.log = next
      else {
        if (before !== undefined) before.log = undefined
        live = building
        building = undefined
      }
      if (!isCopy) hooks.current.replaced()
      // What is left to do is done by the next claim if it fails.
      yield* Effect.gen(function*() {
        if (old !== undefined) yield* removeLog(old)
        else if (before?.failure !== undefined) yield* removeFolder(liveNumber)
        if (!(yield* StateLog.reopen(place, next, "os"))) isLost = true
      }).pipe(
        Effect.catch((error) =>
          Effect.logWarning(`the read models of ${name}: tidying up is left for later: ${error.message}`)
        )
      )
    })

  const discardBuilding = Effect.suspend(() => {
    const log = building?.log
    if (log === undefined) return Effect.void
    return Effect.andThen(
      fence(log),
      Effect.suspend(() => {
        building!.log = undefined
        building = undefined
        return removeLog(log)
      })
    )
  })

  const discardLive = Effect.gen(function*() {
    if (live === undefined) return
    const { log } = live
    if (log !== undefined) {
      yield* fence(log)
      live.log = undefined
      live = undefined
      yield* removeLog(log)
    } else {
      live = undefined
      yield* removeFolder(liveNumber)
    }
    // `current.json` stays: readers look further where what it names is gone, and by now it may name what somebody else has built
    hooks.current.replaced()
  })

  const claim: Claim = {
    live: Effect.suspend(() => live?.failure !== undefined ? Effect.fail(live.failure) : Effect.succeed(live?.handle)),
    building: Effect.sync(() => building?.handle),
    begin: (definition) =>
      Effect.gen(function*() {
        yield* hooks.current.beforeBegin
        return yield* turn(Effect.gen(function*() {
          yield* discardBuilding
          const made = makeTarget(yield* beginLog({ purpose: "build", definition }))
          building = made
          return made.handle
        }))
      }).pipe(orLost, toTyped, Effect.uninterruptible),
    swap: Effect.suspend(() =>
      building?.log === undefined
        ? Effect.die(new Error(`the projection ${name} has no generation that is being built`))
        : promote(building.log, false)
    ).pipe(turn, orLost, toTyped, Effect.uninterruptible),
    discard: (which) =>
      Effect.gen(function*() {
        if (which === "live") yield* hooks.current.beforeBegin
        yield* turn(which === "live" ? discardLive : discardBuilding)
      }).pipe(orLost, toTyped, Effect.uninterruptible),
    note: (notice) => toTyped(Folder.writeNotice(place, notice)),
    isWanted: Effect.suspend(() =>
      isLost ?
        Effect.succeed(true) :
        Effect.flatMap(held.isLost, (lost) => lost ? Effect.succeed(true) : held.isContended)
    )
  }

  const source: Source = {
    latest: Effect.suspend(() => {
      if (live?.failure !== undefined) return Effect.fail(live.failure.cause as Ledger.LedgerError)
      const log = live?.log
      if (log === undefined) return Effect.succeed(undefined)
      // somebody else may write by now, after a pause of this process that was too long
      const check = Effect.flatMap(log.use((ledger) => ledger.isBehind), (isBehind) =>
        isBehind && live?.log === log
          ? turn(log.use((ledger) => Effect.uninterruptible(StateLog.catchUp(log, ledger))))
          : Effect.succeed(false)).pipe(
          Effect.catch((error) =>
            StateLog.isGone(error) && live?.log !== log ? Effect.succeed(false) : Effect.fail(error)
          )
        )
      return Effect.map(check, (isNew) => {
        if (isNew) isLost = true
        return log
      })
    }),
    drop: (log) =>
      Effect.sync(() => {
        if (live?.log === log) isLost = true
      })
  }

  const writer: Writer = {
    claim,
    source,
    isLost: () => isLost,
    live: () => live?.log,
    isBuilding: () => building !== undefined,
    turn,
    commit,
    beginLog,
    promote,
    removeLog,
    hooks
  }
  return writer
})
