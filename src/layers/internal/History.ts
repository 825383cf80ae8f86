/**
 * Ledger and index in step: what this process knows of the history, how it catches up with others, and events read from it.
 * The event store's other parts (writer, maintenance, event files) stand on this.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import { type Candidate, Index } from "../../services/Index.ts"
import { type Commit, type Cursor, Ledger, type LedgerError, type Record } from "../../services/Ledger.ts"
import type { LockTimeout } from "../../services/Lock.ts"
import { Storage } from "../../services/Storage.ts"
import { inRealTime } from "./realTime.ts"
import { Turns } from "./turns.ts"

// models

export interface History {
  /** The last commit that readers are shown. */
  readonly known: () => Cursor
  /** Learns what other processes committed. A read that begins now must see all that was acknowledged before. */
  readonly catchUp: Effect.Effect<void, LedgerError>
  /** Runs something that commits; what it returns is shown to readers before anybody is answered. */
  readonly commit: <A extends { readonly commits: ReadonlyArray<Commit> }, E>(
    effect: Effect.Effect<A, E>
  ) => Effect.Effect<A, E>
  /** Completes when the head is beyond a position, in whatever process that happens. */
  readonly awaitBeyond: (position: number) => Effect.Effect<void, EventStore.EventStoreError>
  /** Events in a range, in order, up to a limit. */
  readonly read: (
    query: Query.Any,
    range: {
      readonly after: number
      readonly before: number
      readonly backwards: boolean
      readonly limit: number
      /** It may end before the limit, and say so, with so many bytes of events. */
      readonly maxBytes: number
    },
    head: number
  ) => Effect.Effect<{ readonly events: ReadonlyArray<EventStore.StoredEvent>; readonly isCut: boolean }, LedgerError>
  /** The newest addition of tags after `after`, up to `head`, to an event up to `after` that the query finds at `head`. */
  readonly retagged: (query: Query.Any, after: number, head: number) => Effect.Effect<number | undefined, LedgerError>
  /** The hash of the commit that holds a position; `undefined` if nothing stands there, as far as is known. */
  readonly hashAt: (position: number) => Effect.Effect<string | undefined, LedgerError>
  /** The first position after `after` at which something matches: an event, or tags that made an older event match. */
  readonly firstMatch: (query: Query.Any, after: number) => Effect.Effect<number | undefined, LedgerError>
}

/** How often other processes' commits are looked for while somebody waits for them, in milliseconds. */
const pollInterval = 250
/** How long after a hint the next one is heeded, in milliseconds. */
const hintInterval = 2
/** How many events are read from the ledger at a time. */
const loadSize = 1024
/** About how many bytes. */
const loadBytes = 8 * 1024 * 1024
/** How many candidates of a condition are read at a time after the first. */
const lookAhead = 16
/** How many positions the index lists in the time that it takes to read one event. */
const listedPerRead = 16
/** So many of the newest commits' hashes are kept at least. */
const keptHashes = 256

// errors

/** What a user of the event store is told. */
export const toStoreError = (error: LedgerError | LockTimeout): EventStore.EventStoreError =>
  new EventStore.EventStoreError({ reason: toReason(error) })

const toReason = (error: LedgerError | LockTimeout): EventStore.EventStoreError["reason"] => {
  switch (error._tag) {
    case "StorageError":
      return error.reason === "SymbolicLink"
        ? new EventStore.StoreUnsupported({ problem: error.message })
        : new EventStore.StoreUnavailable({ cause: error })
    case "LedgerDamaged":
      return new EventStore.StoreDamaged({
        place: error.file,
        offset: error.offset,
        position: error.position,
        problem: error.problem
      })
    case "LedgerUnsupported":
      return new EventStore.StoreUnsupported({ problem: error.message })
    case "LedgerDeleted":
      return new EventStore.StoreDeleted()
    case "LedgerReadOnly":
      return new EventStore.StoreReadOnly()
    case "LockTimeout":
      return new EventStore.StoreBusy({
        holder: error.holder && `process ${error.holder.pid} on ${error.holder.host} since ${error.holder.since}`,
        waitedMillis: error.waitedMillis
      })
  }
}

// constructors

export const make = (
  options: { readonly store: string }
): Effect.Effect<History, never, Ledger | Index | Storage | Scope.Scope> =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const index = yield* Index
    const storage = yield* Storage
    /** Commits reach the index in their order: what takes them from the ledger holds this until they are in. */
    const order = new Turns()
    let known = yield* ledger.cursor
    /** The newest commits, ascending and without gaps. */
    const newest: Array<{ readonly first: number; readonly last: number; readonly hash: string }> = []

    // waiting --------------------------------------------------------------------------------------------------------

    interface Waiter {
      readonly beyond: number
      readonly deferred: Deferred.Deferred<void, EventStore.EventStoreError>
    }
    const waiters = new Set<Waiter>()
    const failWaiters = (error: EventStore.EventStoreError) => {
      for (const waiter of waiters) Deferred.doneUnsafe(waiter.deferred, Effect.fail(error))
      waiters.clear()
    }
    // whoever still waits when the layer closes would wait for ever
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => failWaiters(new EventStore.EventStoreError({ reason: new EventStore.StoreClosed() })))
    )
    const someoneWaits = Latch.makeUnsafe(false)
    const hint = Latch.makeUnsafe(false)

    const publish = (cursor: Cursor) => {
      known = cursor
      for (const waiter of waiters) {
        if (cursor.position <= waiter.beyond) continue
        waiters.delete(waiter)
        Deferred.doneUnsafe(waiter.deferred, Effect.void)
      }
    }
    const take = (commits: ReadonlyArray<Commit>) =>
      commits.length === 0
        ? Effect.void
        : Effect.map(index.add(commits), () => {
          for (const { cursor: { hash }, first, last } of commits) newest.push({ first, last, hash })
          if (newest.length > 2 * keptHashes) newest.splice(0, newest.length - keptHashes)
          publish(commits[commits.length - 1]!.cursor)
        })

    const refresh = order.run(Effect.gen(function*() {
      for (;;) {
        const commits = yield* ledger.refresh
        if (commits.length === 0) return
        yield* take(commits)
      }
    }))
    // The ledger may have commits that are on their way into the index at this moment: whoever takes them there is waited for.
    const catchUp = Effect.flatMap(ledger.isBehind, (behind) =>
      behind
        ? refresh
        : Effect.flatMap(ledger.cursor, ({ position }) => position > known.position ? refresh : Effect.void))

    // One fiber follows other processes for all who wait: by hints where the system gives them, and by polling always.
    let watching: Fiber.Fiber<void> | undefined
    const scope = yield* Effect.scope
    const startWatching = Effect.suspend(() => {
      if (watching !== undefined) return Effect.void
      return storage.watch(`${options.store}/ledger`).pipe(
        Stream.runForEach(() => hint.open),
        Effect.forkIn(scope, { startImmediately: true }),
        Effect.map((fiber) => {
          watching = fiber
        })
      )
    })
    const follow = Effect.gen(function*() {
      for (;;) {
        yield* someoneWaits.await
        yield* startWatching
        yield* Effect.timeoutOption(hint.await, pollInterval)
        hint.closeUnsafe()
        if (waiters.size === 0) {
          someoneWaits.closeUnsafe()
          continue
        }
        yield* Effect.catch(catchUp, (error) => Effect.sync(() => failWaiters(toStoreError(error))))
        yield* Effect.sleep(hintInterval)
      }
    })
    yield* Effect.forkScoped(inRealTime(follow))

    const awaitBeyond: History["awaitBeyond"] = (position) =>
      Effect.suspend(() => {
        if (known.position > position) return Effect.void
        const waiter: Waiter = { beyond: position, deferred: Deferred.makeUnsafe() }
        waiters.add(waiter)
        someoneWaits.openUnsafe()
        return Effect.onInterrupt(Deferred.await(waiter.deferred), () => Effect.sync(() => waiters.delete(waiter)))
      })

    // reading --------------------------------------------------------------------------------------------------------

    /** The events among the records that the query finds. */
    const matching = (query: Query.Any, records: ReadonlyArray<Record>): Array<EventStore.StoredEvent> => {
      const events: Array<EventStore.StoredEvent> = []
      for (const record of records) {
        if (record.kind !== "event") continue
        const { data, metadata, position, tags, type, version } = record
        if (Query.matches(query, record)) events.push({ position, type, version, tags, metadata, data })
      }
      return events
    }

    /** The events among the candidates that the query finds at `head`, with the tags that they have there. */
    const load = (
      query: Query.Any,
      candidates: ReadonlyArray<Candidate>,
      head: number
    ): Effect.Effect<ReadonlyArray<EventStore.StoredEvent>, LedgerError> =>
      Effect.flatMap(ledger.read(candidates), (records) =>
        Effect.flatMap(index.counts, ({ additions }) =>
          additions === 0
            ? Effect.succeed(matching(query, records))
            : Effect.map(index.addedTags(records.map(({ position }) => position), head), (added) =>
              matching(
                query,
                records.map((record) => {
                  const more = record.kind === "event" ? added.get(record.position) : undefined
                  return record.kind === "event" && more !== undefined
                    ? { ...record, tags: [...record.tags, ...more] }
                    : record
                })
              ))))

    const read: History["read"] = Effect.fnUntraced(function*(query, { limit, maxBytes, ...range }, head) {
      const events: Array<EventStore.StoredEvent> = []
      let bytes = 0
      const candidates = index.find(query, { ...range, atOnce: limit })
      while (events.length < limit) {
        const next = yield* candidates.next
        if (next.length === 0) break
        for (let i = 0; i < next.length && events.length < limit;) {
          const most = Math.min(next.length, i + loadSize, i + limit - events.length)
          let end = i
          for (let size = 0; end < most && (end === i || size < loadBytes); end++) size += next[end]!.length
          for (const event of yield* load(query, next.slice(i, end), head)) events.push(event)
          while (i < end) bytes += next[i++]!.length
          // candidates that did not match count as well: it is about the work that one answer takes
          if (bytes >= maxBytes && events.length > 0) return { events, isCut: true }
        }
      }
      return { events, isCut: false }
    })

    /** Whether adding tags made an older event match. */
    const additionMatches = Effect.fnUntraced(function*(query: Query.Any, candidate: Candidate) {
      const [record] = yield* ledger.read([candidate])
      if (record?.kind !== "tags") return false
      for (const target of record.targets) {
        const place = yield* index.locate(target.position)
        if (place === undefined) continue
        const [event] = yield* ledger.read([place])
        if (event?.kind !== "event") continue
        const before = (yield* index.addedTags([target.position], candidate.position - 1)).get(target.position) ?? []
        const tags = [...event.tags, ...before]
        if (Query.matches(query, { type: event.type, tags })) continue
        if (Query.matches(query, { type: event.type, tags: [...tags, ...target.tags] })) return true
      }
      return false
    })

    const firstMatch: History["firstMatch"] = Effect.fnUntraced(function*(query, after) {
      const head = known.position
      if (head <= after || !index.mayMatch(query, after)) return undefined
      let first: number | undefined
      const candidates = index.find(query, { after, before: head + 1, backwards: false, atOnce: lookAhead })
      search: for (;;) {
        const next = yield* candidates.next
        if (next.length === 0) break
        // nearly always the first candidate matches
        for (let i = 0, size = 1; i < next.length; i += size, size = lookAhead) {
          const [event] = yield* load(query, next.slice(i, i + size), head)
          if (event === undefined) continue
          first = event.position
          break search
        }
      }
      if ((yield* index.counts).additions > 0) {
        for (const candidate of yield* index.findAdditions(query, after)) {
          if (first !== undefined && candidate.position > first) break
          if (yield* additionMatches(query, candidate)) return candidate.position
        }
      }
      return first
    })

    const retagged: History["retagged"] = Effect.fnUntraced(function*(query, after, head) {
      if (after >= head || (yield* index.counts).additions === 0) return undefined
      const additions = index.additions(after, head + 1)
      for (;;) {
        const next = yield* additions.next
        if (next.length === 0) return undefined
        for (const candidate of next) {
          const [record] = yield* ledger.read([candidate])
          if (record?.kind !== "tags") continue
          const targets = record.targets.filter(({ position }) => position <= after)
          if (yield* findsOneOf(query, targets.map(({ position }) => position), head)) return candidate.position
        }
      }
    })

    /** Whether the query finds one of these events at `head`. */
    const findsOneOf = Effect.fnUntraced(function*(
      query: Query.Any,
      positions: ReadonlyArray<Position>,
      head: number
    ) {
      let rest = positions
      // Of many, those that the index does not list for the query need not be read, as long as that list is not much longer.
      if (positions.length > lookAhead) {
        const wanted = new Set(positions)
        const listed: Array<Position> = []
        let [least, most] = [Infinity, 0]
        for (const position of positions) {
          least = Math.min(least, position)
          most = Math.max(most, position)
        }
        const range = { after: least - 1, before: most + 1, backwards: false, atOnce: lookAhead }
        const candidates = index.find(query, range)
        for (let looked = 0; rest === positions && looked < positions.length * listedPerRead;) {
          const next = yield* candidates.next
          looked += next.length
          for (const { position } of next) if (wanted.has(position)) listed.push(position)
          if (next.length === 0) rest = listed
        }
      }
      for (let i = 0, size = 1; i < rest.length; i += size, size = lookAhead) {
        const places: Array<Candidate> = []
        for (const position of rest.slice(i, i + size)) {
          const place = yield* index.locate(position)
          if (place !== undefined) places.push({ position, ...place })
        }
        if ((yield* load(query, places, head)).length > 0) return true
      }
      return false
    })

    const hashAt: History["hashAt"] = (position) =>
      Effect.suspend(() => {
        // nearly always one of the last
        for (let i = newest.length - 1; i >= 0 && position <= newest[i]!.last; i--) {
          if (position >= newest[i]!.first) return Effect.succeed(newest[i]!.hash)
        }
        // not the cursor's hash: behind a take-over that is the new segment's
        return Effect.flatMap(index.locate(position), (place) =>
          place === undefined
            ? Effect.succeed(undefined)
            : Effect.map(ledger.commitOf(place), ({ hash }) => hash))
      })

    return {
      known: () => known,
      catchUp,
      commit: (effect) => order.run(Effect.tap(effect, ({ commits }) => take(commits))),
      awaitBeyond,
      read,
      retagged,
      hashAt,
      firstMatch
    }
  })

/** A position, or `undefined` before the first. */
export const toHead = (cursor: Cursor): Position | undefined =>
  cursor.position === 0 ? undefined : cursor.position as Position
