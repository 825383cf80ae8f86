/**
 * The plainest event store that can be: a list, and a look at all of it for each question. It is what every other store is
 * compared with, so it must be right at a glance: no index, no cache, no cleverness.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { AppendCondition } from "../../src/AppendCondition.ts"
import * as json from "../../src/internal/json.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import {
  AppendConditionFailed,
  type Appended,
  type AppendError,
  AppendRefused,
  type Driver,
  type EncodedEvent,
  EventIdConflict,
  EventStore,
  make as makeEventStore,
  PositionBeyondHead,
  type StoredEvent
} from "../../src/services/EventStore.ts"
import type { Tag } from "../../src/Tag.ts"

/** An event as it was written, and the number of the batch that it came with. */
interface EventRecord {
  readonly kind: "event"
  readonly batch: number
  readonly event: StoredEvent
}

/** Tags that were added to older events, at a position of its own. */
interface TagsRecord {
  readonly kind: "tags"
  readonly position: Position
  readonly additions: ReadonlyArray<Addition>
}

export interface Addition {
  readonly position: Position
  readonly tags: ReadonlyArray<Tag>
}

export interface NaiveDriver extends Driver {
  /** Adds tags to older events. Answers with the position that this took. */
  readonly addTags: (additions: ReadonlyArray<Addition>) => Effect.Effect<Position>
}

const positionOf = (record: EventRecord | TagsRecord): Position =>
  record.kind === "event" ? record.event.position : record.position

export const make = (): NaiveDriver => {
  const log: Array<EventRecord | TagsRecord> = []
  let batches = 0
  let waiting: Array<() => void> = []

  const head = (): Position | undefined => log.length === 0 ? undefined : positionOf(log[log.length - 1]!)

  const published = () => {
    const wake = waiting
    waiting = []
    for (const resume of wake) resume()
  }

  /** All events up to a position, each with the tags that it had then. */
  const eventsAsOf = (at: number): ReadonlyArray<StoredEvent> => {
    const known = log.filter((record) => positionOf(record) <= at)
    const events = known.flatMap((record) => record.kind === "event" ? [record.event] : [])
    const additions = known.flatMap((record) => record.kind === "tags" ? record.additions : [])
    return events.map((event) => {
      const added = additions.filter(({ position }) => position === event.position).flatMap(({ tags }) => tags)
      return { ...event, tags: [...new Set([...event.tags, ...added])] }
    })
  }

  /** The first position after `after` at which something happened that the query finds. */
  const conflict = ({ after = 0 as Position, failIfEventsMatch: query }: AppendCondition): Position | undefined => {
    for (const record of log) {
      const position = positionOf(record)
      if (position <= after) continue
      if (record.kind === "event") {
        if (Query.matches(query, record.event)) return position
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
    const additions = log.filter((record) => record.kind === "tags" && record.position > after && record.position <= at)
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
    const records = log.filter((record) => record.kind === "event")
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
    hash: `naive-${batch}`,
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
        const batch = ++batches
        const first = (head() ?? 0) + 1
        const records = events.map(({ data, metadata, tags, type, version }, i): EventRecord => ({
          kind: "event",
          batch,
          // Through JSON, as a file would have it.
          event: JSON.parse(JSON.stringify({ position: first + i, type, version, tags, metadata, data })) as StoredEvent
        }))
        log.push(...records)
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
        waiting.push(wake)
        return Effect.sync(() => {
          waiting = waiting.filter((other) => other !== wake)
        })
      }),
    addTags: (additions) =>
      Effect.sync(() => {
        const position = (head() ?? 0) + 1 as Position
        log.push({ kind: "tags", position, additions })
        published()
        return position
      })
  }
}

/** An event store over a list of its own. */
export const layer: Layer.Layer<EventStore> = Layer.sync(EventStore, () => makeEventStore(make()))
