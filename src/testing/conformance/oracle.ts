/**
 * The oracle: the plainest event store that can be. A list, and a look at all of it for each question. It is what every other store
 * is compared with, so it must be right at a glance: no index, no cache, no cleverness.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import type { AppendCondition } from "../../AppendCondition.ts"
import type * as Event from "../../Event.ts"
import * as json from "../../internal/json.ts"
import * as limits from "../../internal/limits.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import {
  AppendConditionFailed,
  type Appended,
  type AppendError,
  AppendRefused,
  type Driver,
  type EncodedEvent,
  EventIdConflict,
  EventStore,
  EventStoreError,
  HistoryDiverged,
  InvalidTag,
  LimitExceeded,
  make as makeEventStore,
  PositionBeyondHead,
  StoreClosed,
  type StoredEvent,
  StoreUnsupported
} from "../../services/EventStore.ts"
import { type Anchor, EventStoreMaintenance } from "../../services/EventStoreMaintenance.ts"
import * as Tag from "../../Tag.ts"

// models

/** An event as it was written, and the number of the batch that it came with. */
interface EventRecord {
  readonly kind: "event"
  readonly batch: number
  readonly event: StoredEvent
}

/** Tags that were added to older events, at a position of its own. */
interface TagsRecord {
  readonly kind: "tags"
  readonly batch: number
  readonly position: Position
  readonly additions: ReadonlyArray<Addition>
}

export interface Addition {
  readonly position: Position
  readonly tags: ReadonlyArray<Tag.Tag>
}

/** All that a store holds. Any number of clients may share it. */
export interface Log {
  readonly id: string
  readonly records: Array<EventRecord | TagsRecord>
  /** How many batches there are. */
  batches: number
  waiting: ReadonlyArray<() => void>
}

export interface OracleDriver extends Driver {
  /** Adds tags to older events. Answers with the position that this took. */
  readonly addTags: (additions: ReadonlyArray<Addition>) => Effect.Effect<Position, EventStoreError>
}

let logs = 0

export const makeLog = (): Log => ({ id: `oracle-${++logs}`, records: [], batches: 0, waiting: [] })

const positionOf = (record: EventRecord | TagsRecord): Position =>
  record.kind === "event" ? record.event.position : record.position

const headOf = ({ records }: Log): Position | undefined =>
  records.length === 0 ? undefined : positionOf(records[records.length - 1]!)

const hashOf = (batch: number): string => `hash-of-batch-${batch}`

// driver

/** One client of a log; a log of its own, if none is given. */
export const makeDriver = (log: Log = makeLog()): OracleDriver => {
  const head = () => headOf(log)

  const published = () => {
    const wake = log.waiting
    log.waiting = []
    for (const resume of wake) resume()
  }

  /** All events up to a position, each with the tags that it had then. */
  const eventsAsOf = (at: number): ReadonlyArray<StoredEvent> => {
    const known = log.records.filter((record) => positionOf(record) <= at)
    const events = known.flatMap((record) => record.kind === "event" ? [record.event] : [])
    const additions = known.flatMap((record) => record.kind === "tags" ? record.additions : [])
    if (additions.length === 0) return events
    return events.map((event) => {
      const added = additions.filter(({ position }) => position === event.position).flatMap(({ tags }) => tags)
      return { ...event, tags: [...new Set([...event.tags, ...added])] }
    })
  }

  /** The first position after `after` of what the query finds now: an event, or tags that were added to an older one. */
  const conflict = ({ after = 0 as Position, failIfEventsMatch: query }: AppendCondition): Position | undefined => {
    const events = new Map(eventsAsOf(Infinity).map((event) => [event.position, event]))
    for (const record of log.records) {
      const position = positionOf(record)
      if (position <= after) continue
      if (record.kind === "event") {
        if (Query.matches(query, events.get(position)!)) return position
      } else {
        // An addition is an event for each query that finds its target now, and did not before.
        const before = eventsAsOf(position - 1)
        const now = eventsAsOf(position)
        for (const { position: target } of record.additions) {
          const found = (events: ReadonlyArray<StoredEvent>) =>
            events.some((event) => event.position === target && Query.matches(query, event))
          if (found(now) && !found(before)) return position
        }
      }
    }
    return undefined
  }

  /** The newest addition after `after` to an event up to there that the query finds at `at`. */
  const retaggedAfter = (query: Query.Any, after: number, at: number): Position | undefined => {
    const found = eventsAsOf(at).filter((event) => event.position <= after && Query.matches(query, event))
    const additions = log.records.filter((record) =>
      record.kind === "tags" && record.position > after && record.position <= at
    )
    return additions.flatMap((record) =>
      record.kind === "tags" &&
        record.additions.some((addition) => found.some(({ position }) => position === addition.position))
        ? [record.position]
        : []
    ).at(-1)
  }

  const sameEvent = (stored: StoredEvent, event: EncodedEvent): boolean =>
    stored.metadata.id === event.metadata.id && stored.type === event.type && stored.version === event.version &&
    json.equals(stored.tags, event.tags) && json.equals(stored.data, event.data)

  /** What is known of the ids that the caller gave: all are those of one earlier batch, none is known, or neither. */
  const lookUp = (events: ReadonlyArray<EncodedEvent>): Appended | EventIdConflict | undefined => {
    const records = log.records.filter((record) => record.kind === "event")
    for (const { givenId, metadata } of events) {
      const found = givenId ? records.find(({ event }) => event.metadata.id === metadata.id) : undefined
      if (found === undefined) continue
      const batch = records.filter((record) => record.batch === found.batch)
      const same = events.every((event) => event.givenId) && batch.length === events.length &&
        batch.every(({ event }, i) => sameEvent(event, events[i]!))
      return same
        ? answer(batch.map(({ event }) => event.position), found.batch, true)
        : new EventIdConflict({
          id: metadata.id,
          position: found.event.position,
          problem: "it was appended with other events, or with other types, versions, tags or data"
        })
    }
    return undefined
  }

  const answer = (positions: ReadonlyArray<Position>, batch: number, duplicate: boolean): Appended => ({
    positions: positions as Appended["positions"],
    head: head()!,
    hash: hashOf(batch),
    duplicate
  })

  return {
    append: (events, condition) =>
      Effect.suspend((): Effect.Effect<Appended, AppendError> => {
        const known = lookUp(events)
        if (known instanceof EventIdConflict) return Effect.fail(new AppendRefused({ reason: known }))
        if (known !== undefined) return Effect.succeed(known)
        if (condition?.after !== undefined && condition.after > (head() ?? 0)) {
          const reason = new PositionBeyondHead({ after: condition.after, head: head() })
          return Effect.fail(new AppendRefused({ reason }))
        }
        const found = condition === undefined ? undefined : conflict(condition)
        if (condition !== undefined && found !== undefined) {
          return Effect.fail(new AppendConditionFailed({ ...condition, conflict: found }))
        }
        const batch = ++log.batches
        const first = (head() ?? 0) + 1
        const records = events.map(({ data, metadata, tags, type, version }, i): EventRecord => ({
          kind: "event",
          batch,
          // Through JSON, as a file would have it.
          event: JSON.parse(JSON.stringify({ position: first + i, type, version, tags, metadata, data })) as StoredEvent
        }))
        log.records.push(...records)
        published()
        return Effect.succeed(answer(records.map(positionOf), batch, false))
      }),
    read: (
      query,
      { after = 0, at, backwards = false, before = Infinity, limit = Infinity, maxBytes = Infinity, retagged = false }
    ) =>
      Effect.sync(() => {
        const snapshot = at ?? head()
        const found = eventsAsOf(snapshot ?? 0).filter((event) =>
          event.position > after && event.position < before && Query.matches(query, event)
        )
        const events = (backwards ? found.reverse() : found).slice(0, limit)
        let bytes = 0
        const end = events.findIndex((event) => (bytes += JSON.stringify(event).length) > maxBytes)
        const most = end < 0 ? events.length : Math.max(1, end)
        return {
          events: events.slice(0, most),
          isCut: most < events.length,
          head: snapshot,
          retagged: retagged ? retaggedAfter(query, after, snapshot ?? 0) : undefined
        }
      }),
    head: Effect.sync(head),
    awaitBeyond: (seen) =>
      Effect.callback<void>((resume) => {
        if ((head() ?? 0) > (seen ?? 0)) return resume(Effect.void)
        const wake = () => resume(Effect.void)
        log.waiting = [...log.waiting, wake]
        return Effect.sync(() => {
          log.waiting = log.waiting.filter((other) => other !== wake)
        })
      }),
    addTags: (additions) =>
      Effect.sync(() => {
        const position = (head() ?? 0) + 1 as Position
        log.records.push({ kind: "tags", batch: ++log.batches, position, additions })
        published()
        return position
      })
  }
}

// maintenance

const makeMaintenance = (
  log: Log,
  store: EventStore["Service"],
  driver: OracleDriver
): EventStoreMaintenance["Service"] => {
  /** The events that a query finds lack some of these tags: which. Or why they cannot have them. */
  const additionsTo = <E>(
    events: ReadonlyArray<Event.SequencedEvent<E>>,
    tagsOf: (event: Event.SequencedEvent<E>) => ReadonlyArray<Tag.Input>
  ): ReadonlyArray<Addition> | AppendRefused => {
    const additions: Array<Addition> = []
    for (const [index, event] of events.entries()) {
      const had: ReadonlyArray<string> = event.tags
      const tags = [...new Set<string>(tagsOf(event))].filter((tag) => !had.includes(tag))
      for (const tag of tags) {
        const problem = Tag.problem(tag)
        if (problem !== undefined) return new AppendRefused({ reason: new InvalidTag({ index, tag, problem }) })
      }
      const actual = had.length + tags.length
      if (actual > limits.tags) {
        return new AppendRefused({ reason: new LimitExceeded({ what: "tags", limit: limits.tags, actual, index }) })
      }
      if (tags.length > 0) additions.push({ position: event.position, tags: tags.filter(Tag.is) })
    }
    return additions
  }

  const diverged = (problem: string) => Effect.fail(new EventStoreError({ reason: new HistoryDiverged({ problem }) }))

  const anchorAt = (position: Position): Effect.Effect<Anchor, EventStoreError> =>
    Effect.suspend(() => {
      const record = log.records.find((record) => positionOf(record) === position)
      return record === undefined
        ? diverged(`there is nothing at ${position}`)
        : Effect.succeed({ storeId: log.id, position, hash: hashOf(record.batch) })
    })

  return EventStoreMaintenance.of({
    addTags: (query, tags) =>
      Effect.gen(function*() {
        const { events } = yield* store.read(query)
        const additions = additionsTo(events, tags)
        if (additions instanceof AppendRefused) return yield* additions
        if (additions.length > 0) yield* driver.addTags(additions)
        return { eventsProcessed: events.length, tagsAdded: additions.flatMap(({ tags }) => tags).length }
      }),
    verify: Stream.suspend(() =>
      Stream.fromIterable(
        log.records.filter((record, i) => record.batch !== log.records[i + 1]?.batch).map(positionOf)
      )
    ),
    anchor: Effect.suspend(() => {
      const head = headOf(log)
      return head === undefined ? Effect.succeed(undefined) : anchorAt(head)
    }),
    anchorAt,
    checkAnchor: ({ hash, position, storeId }) =>
      Effect.flatMap(anchorAt(position), (anchor) =>
        anchor.hash === hash && anchor.storeId === storeId
          ? Effect.void
          : diverged(`another history has ${hash} at ${position}`)),
    statistics: Effect.sync(() => ({
      events: log.records.filter(({ kind }) => kind === "event").length,
      head: headOf(log),
      segments: 1,
      bytes: JSON.stringify(log.records).length
    })),
    eventFiles: {
      position: Effect.succeed(undefined),
      waitFor: () => Effect.fail(new EventStoreError({ reason: new StoreUnsupported({ problem: "it has no files" }) }))
    }
  })
}

// layers

/** One client of a log, until its scope ends. */
const client = (log: Log): Layer.Layer<EventStore | EventStoreMaintenance> =>
  Layer.effectContext(Effect.gen(function*() {
    let isClosed = false
    yield* Effect.addFinalizer(() => Effect.sync(() => isClosed = true))
    /** What is closed does nothing any more. */
    const open = <A, E = never>(effect: Effect.Effect<A, E | EventStoreError>): Effect.Effect<A, E | EventStoreError> =>
      Effect.suspend(() => isClosed ? Effect.fail(new EventStoreError({ reason: new StoreClosed() })) : effect)
    const driver = makeDriver(log)
    const guarded: OracleDriver = {
      append: (events, condition) => open(driver.append(events, condition)),
      read: (query, options) => open(driver.read(query, options)),
      head: open(driver.head),
      awaitBeyond: (head) => open(driver.awaitBeyond(head)),
      addTags: (additions) => open(driver.addTags(additions))
    }
    const store = makeEventStore(guarded)
    return Context.make(EventStore, store).pipe(
      Context.add(EventStoreMaintenance, makeMaintenance(log, store, guarded))
    )
  }))

/** An empty place, all clients of which share one list. */
export const place: Effect.Effect<Layer.Layer<EventStore | EventStoreMaintenance>> = Effect.sync(() =>
  client(makeLog())
)

/** An empty store for each build. */
export const layer: Layer.Layer<EventStore | EventStoreMaintenance> = Layer.unwrap(place)
