/**
 * One generation of a projection: a ledger of its own whose records are states, and in memory where the state of each key lies.
 *
 * What is in memory changes in one synchronous step for each commit, so whoever reads sees whole saves.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Ledger from "../../services/Ledger.ts"
import { Lock } from "../../services/Lock.ts"
import type { Checkpoint, StoredEntry } from "../../services/ProjectionStore.ts"
import { Storage, StorageError } from "../../services/Storage.ts"
import { lockGranted } from "./lockGranted.ts"
import * as Folder from "./projectionFolder.ts"
import { type IndexEntry, StateIndex } from "./stateIndex.ts"
import * as Records from "./stateRecords.ts"
import * as StoreFolder from "./StoreFolder.ts"

/**
 * Small, since opening a ledger with durability "os" parses its newest segment more than once, and large enough that segments are begun
 * seldom: that costs some syncs.
 */
const segmentSize = 8 * 1024 * 1024

/** A log that is closed, or a folder that is gone: there may be another one now. */
export const isGone = (error: unknown): boolean =>
  error instanceof Ledger.LedgerDeleted || (error instanceof StorageError && error.reason === "NotFound")

/** Kept open for as long as anybody uses it. */
class Lease {
  readonly ledger: Ledger.Ledger["Service"]
  private readonly scope: Scope.Closeable
  private users = 0
  private idle: Deferred.Deferred<void> | undefined

  constructor(ledger: Ledger.Ledger["Service"], scope: Scope.Closeable) {
    this.ledger = ledger
    this.scope = scope
  }

  enter(): void {
    this.users++
  }

  leave(): void {
    if (--this.users === 0 && this.idle !== undefined) Deferred.doneUnsafe(this.idle, Exit.void)
  }

  /** Waits for those who use it; nobody must enter any more. */
  readonly close = Effect.suspend(() => {
    const idle = this.idle ??= Deferred.makeUnsafe<void>()
    if (this.users === 0) Deferred.doneUnsafe(idle, Exit.void)
    return Effect.andThen(Deferred.await(idle), Scope.close(this.scope, Exit.void))
  })
}

export class StateLog {
  readonly number: number
  readonly index = new StateIndex<Ledger.Place>()
  /** The last position of the log that is known here. */
  position = 0
  begin: Records.Begin | undefined
  checkpoint: Checkpoint | undefined
  /** Whether it says so of itself. */
  isLive = false
  /** All that was ever written, and what of it is a key's present state. */
  bytes = 0
  liveBytes = 0
  private lease: Lease | undefined

  constructor(number: number) {
    this.number = number
  }

  get isClosed(): boolean {
    return this.lease === undefined
  }

  /** Keeps the ledger open meanwhile; fails as one that is deleted if it is closed. */
  use<A, E>(f: (ledger: Ledger.Ledger["Service"]) => Effect.Effect<A, E>): Effect.Effect<A, E | Ledger.LedgerDeleted> {
    return Effect.acquireUseRelease(
      Effect.suspend(() => {
        if (this.lease === undefined) return Effect.fail(new Ledger.LedgerDeleted())
        this.lease.enter()
        return Effect.succeed(this.lease)
      }),
      (lease) => f(lease.ledger),
      (lease) => Effect.sync(() => lease.leave())
    )
  }

  /** Goes on with another ledger of the same folder, and closes the one before. */
  attach(ledger: Ledger.Ledger["Service"], scope: Scope.Closeable): Effect.Effect<void> {
    const before = this.lease
    this.lease = new Lease(ledger, scope)
    return before?.close ?? Effect.void
  }

  /** In order, so that whoever opens it next carries on where this one stopped. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const { lease } = this
    this.lease = undefined
    return lease?.close ?? Effect.void
  })

  apply(commits: ReadonlyArray<Ledger.Commit>): void {
    for (const { bytes, entries, last } of commits) {
      this.bytes += bytes
      for (const entry of entries) if (entry.kind === "event") this.count(entry)
      this.position = last
    }
  }

  private count(entry: Ledger.EventEntry): void {
    switch (entry.type) {
      case "set": {
        const found = Records.toIndexEntry(entry)
        this.forget(found.key)
        this.index.set(found)
        this.liveBytes += found.place.length
        break
      }
      case "removed":
        this.forget(entry.metadata.id)
        this.index.delete(entry.metadata.id)
        break
      case "checkpoint":
        this.checkpoint = Records.toCheckpoint(entry)
        break
      case "live":
        this.isLive = true
        break
    }
  }

  private forget(key: string): void {
    const before = this.index.get(key)
    if (before !== undefined) this.liveBytes -= before.place.length
  }

  /** The states of these entries, in their order. */
  read(entries: ReadonlyArray<IndexEntry<Ledger.Place>>): Effect.Effect<Array<StoredEntry>, Ledger.LedgerError> {
    if (entries.length === 0) return Effect.succeed([])
    return this.use((ledger) => {
      // neighbours in the file are read together
      const order = entries.map((_, i) => i).sort((a, b) => {
        const [left, right] = [entries[a]!.place, entries[b]!.place]
        return left.segment - right.segment || left.offset - right.offset
      })
      return Effect.map(ledger.read(order.map((i) => entries[i]!.place)), (records) => {
        const found = new Array<StoredEntry>(entries.length)
        order.forEach((i, n) => {
          const { place: _, ...entry } = entries[i]!
          found[i] = { ...entry, state: (records[n] as Ledger.EventRecord).data }
        })
        return found
      })
    })
  }
}

// opening

const openLedger = (
  place: Folder.Place,
  number: number,
  options: { readonly readOnly: boolean; readonly durability: Ledger.Durability }
) => {
  const scope = Scope.makeUnsafe()
  const { allowOtherHosts } = place
  return place.makeLedger({ store: Folder.pathOf(place, number), ...options, segmentSize, allowOtherHosts }).pipe(
    Effect.provideService(Storage, place.storage),
    Effect.provideService(Lock, lockGranted),
    Scope.provide(scope),
    Effect.map((ledger) => ({ ledger, scope })),
    Effect.onError(() => Scope.close(scope, Exit.void)),
    Effect.catchTag("LockTimeout", Effect.die),
    Effect.catch((error) => Effect.flatMap(toDamage(place, number, error), (error) => Effect.fail(error)))
  )
}

/**
 * A folder without a description is no store, and may be somebody else's; but nobody has generations but us. Likewise a folder stands
 * nowhere that a file should.
 */
const toDamage = (
  place: Folder.Place,
  number: number,
  error: Ledger.LedgerError
): Effect.Effect<Ledger.LedgerError> => {
  const damage = (file: string, problem: string) => new Ledger.LedgerDamaged({ file, offset: 0, problem })
  if (error._tag === "StorageError" && error.reason === "WrongKind") {
    return Effect.succeed(damage(error.path, "it is a folder where a file should be, or the other way round"))
  }
  if (error._tag !== "LedgerUnsupported") return Effect.succeed(error)
  return StoreFolder.isDescribed(Folder.pathOf(place, number)).pipe(
    Effect.provideService(Storage, place.storage),
    Effect.match({
      onFailure: () => error,
      onSuccess: (isDescribed) => isDescribed ? error : damage(error.file, error.problem)
    })
  )
}

/** Counts what was read. */
const take = (log: StateLog, commits: ReadonlyArray<Ledger.Commit>): Effect.Effect<void, Ledger.LedgerDamaged> =>
  Effect.suspend(() => {
    for (const { entries } of commits) {
      for (const entry of entries) {
        const problem = entry.kind === "event" ? Records.problemIn(entry) : undefined
        if (problem === undefined) continue
        const { offset, position, segment } = entry
        const file = `generation ${log.number}, ledger/${StoreFolder.segmentName(segment)}`
        return Effect.fail(new Ledger.LedgerDamaged({ file, offset, position, problem }))
      }
    }
    log.apply(commits)
    return Effect.void
  })

/** Learns all that is in the history; whether there was anything new. */
export const catchUp = Effect.fnUntraced(function*(log: StateLog, ledger: Ledger.Ledger["Service"]) {
  let isNew = false
  for (;;) {
    const commits = yield* ledger.refresh
    if (commits.length === 0) return isNew
    yield* take(log, commits)
    isNew = true
  }
})

const replay = Effect.fnUntraced(function*(log: StateLog, ledger: Ledger.Ledger["Service"]) {
  const scan = yield* ledger.scan(undefined)
  for (;;) {
    const commits = yield* scan.next
    if (commits.length === 0) return
    const [first] = commits[0]!.entries
    if (log.position === 0 && first.kind === "event") {
      const begin = Records.toBegin(first)
      if (typeof begin === "string") {
        return yield* new Ledger.LedgerUnsupported({ file: `projection's generation ${log.number}`, problem: begin })
      }
      log.begin = begin
    }
    yield* take(log, commits)
    yield* Effect.yieldNow
  }
}, Effect.scoped)

/** To follow what another process writes. */
export const openReader = Effect.fnUntraced(function*(place: Folder.Place, number: number) {
  const { ledger, scope } = yield* openLedger(place, number, { readOnly: true, durability: "os" })
  const log = new StateLog(number)
  yield* replay(log, ledger).pipe(Effect.onError(() => Scope.close(scope, Exit.void)))
  yield* log.attach(ledger, scope)
  return log
})

/** To write: from now on nobody else can, without seeing that this process did. Makes the generation if there is none. */
export const openWriter = Effect.fnUntraced(
  function*(place: Folder.Place, number: number, durability: Ledger.Durability) {
    const { ledger, scope } = yield* openLedger(place, number, { readOnly: false, durability })
    const log = new StateLog(number)
    yield* Effect.gen(function*() {
      yield* acquire(ledger)
      while ((yield* ledger.refresh).length > 0);
      yield* replay(log, ledger)
    }).pipe(Effect.onError(() => Scope.close(scope, Exit.void)))
    yield* log.attach(ledger, scope)
    return log
  }
)

/** Goes on with another durability; whether nothing was committed by others meanwhile, and nobody removed it. */
export const reopen = Effect.fnUntraced(
  function*(place: Folder.Place, log: StateLog, durability: Ledger.Durability) {
    // opening would make an empty one in its place
    if (!(yield* place.storage.exists(`${Folder.pathOf(place, log.number)}/store.json`))) return false
    const { ledger, scope } = yield* openLedger(place, log.number, { readOnly: false, durability })
    yield* Effect.gen(function*() {
      yield* acquire(ledger)
      while ((yield* ledger.refresh).length > 0);
    }).pipe(Effect.onError(() => Scope.close(scope, Exit.void)))
    const { position } = yield* ledger.cursor
    yield* log.attach(ledger, scope)
    return position === log.position
  }
)

/** `true`: others may have committed before. */
export const acquire = (ledger: Ledger.Ledger["Service"]) => Effect.catchTag(ledger.acquire, "LockTimeout", Effect.die)
