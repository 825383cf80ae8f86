/**
 * A projection that tells everything about how it was counted, and what it must be, folded naively: each event of whatever history
 * leaves its trace in a state, so that one that is missed, counted twice or in another order is seen.
 */
import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import * as Event from "../../src/Event.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as Projection from "../../src/services/Projection.ts"
import type { StoredEntry } from "../../src/services/ProjectionStore.ts"
import * as Tag from "../../src/Tag.ts"

// events

const Key = Schema.NonEmptyString.pipe(Tag.as("key"))

export class Put extends Event.Class<Put>()("Put", { key: Key, n: Schema.Int, size: Schema.Int }) {}
export class Moved extends Event.Class<Moved>()("Moved", { from: Key, to: Key, n: Schema.Int }) {}
export class Gone extends Event.Class<Gone>()("Gone", { key: Key }) {}
/** Of no interest to the projection. */
export class Noise extends Event.Class<Noise>()("Noise", {}) {}

export type Counted = Put | Moved | Gone
export type Sequenced = Event.SequencedEvent<Counted>

export const counted = Query.of([Put, Moved, Gone])
export const everything = Query.of([Put, Moved, Gone, Noise])

export const put = (key: string, n: number, size = 0) => new Put({ key, n, size })
export const moved = (from: string, to: string, n: number) => new Moved({ from, to, n })
export const gone = (key: string) => new Gone({ key })

// projection

export const State = Schema.Struct({
  count: Schema.Int,
  /** Follows from the positions of all events that were counted, and their order. */
  trace: Schema.Int,
  sum: Schema.Int,
  related: Schema.Int,
  /** In the state of `all`: how often each key that there is was counted. */
  each: Schema.Record(Schema.String, Schema.Int),
  filler: Schema.String
})
export type State = typeof State.Type

/** The key that each event changes. */
export const all = "all"

const none: State = { count: 0, trace: 7, sum: 0, related: 0, each: {}, filler: "" }

const keysOf = (event: Counted): ReadonlyArray<string> =>
  event._tag === "Moved" ? [...new Set([event.from, event.to])] : [event.key]

const step = (before: State | undefined, event: Counted, position: number, key: string, related: number): State => {
  const state = before ?? none
  const each = { ...state.each }
  if (key === all) {
    for (const one of keysOf(event)) {
      if (event._tag === "Gone") delete each[one]
      else each[one] = (each[one] ?? 0) + 1
    }
  }
  return {
    count: state.count + 1,
    trace: (state.trace * 31 + position) % 1_000_003,
    sum: state.sum + (event._tag === "Gone" ? 0 : event._tag === "Moved" && event.from === key ? -event.n : event.n),
    related: state.related + related,
    each,
    filler: event._tag === "Put" ? "x".repeat(event.size) : state.filler
  }
}

export const tagsOf = ({ count, sum }: State) =>
  ["any:yes", `parity:${count % 2 === 1 ? "odd" : "even"}`, `size:${sum > 20 ? "big" : "small"}`] as const

export const tags = ["any:yes", "parity:odd", "parity:even", "size:big", "size:small"] as const

export interface Options {
  readonly version?: number
  /** Told of each time an event is applied to a key. */
  readonly before?: (event: Counted, position: Position) => void
}

export const make = ({ before, version = 1 }: Options = {}) => {
  const apply = <E extends Counted>(
    state: State | undefined,
    event: E,
    { key, position, related }: Projection.Applied<E, string, Put>
  ): State | undefined => {
    before?.(event, position)
    return event._tag === "Gone" && key !== all ? undefined : step(state, event, position, key, related.length)
  }
  class Tally extends Projection.Service<Tally>()("tally", {
    version,
    events: [Put, Moved, Gone],
    key: (event) => [...keysOf(event), all],
    state: State,
    tags: tagsOf,
    related: (event) => event._tag === "Moved" ? Query.of(Put, { key: event.from }) : undefined,
    apply: { Put: apply, Moved: apply, Gone: apply }
  }) {}
  return Tally
}

// oracle

/** What must be stored when all events up to a position are counted; in the order of the keys. */
export const expectedAt = (events: ReadonlyArray<Sequenced>, position: number): ReadonlyArray<StoredEntry> => {
  const entries = new Map<string, StoredEntry>()
  const puts = new Map<string, number>()
  for (const { event, metadata, position: at } of events) {
    if (at > position) break
    const time = DateTime.toEpochMillis(metadata.timestamp)
    const related = event._tag === "Moved" ? puts.get(event.from) ?? 0 : 0
    for (const key of [...keysOf(event), all]) {
      const before = entries.get(key)
      if (event._tag === "Gone" && key !== all) {
        entries.delete(key)
        continue
      }
      const state = step(before?.state as unknown as State | undefined, event, at, key, related)
      entries.set(key, {
        key,
        state,
        tags: tagsOf(state),
        position: at,
        version: (before?.version ?? 0) + 1,
        created: before?.created ?? time,
        updated: time
      })
    }
    if (event._tag === "Put") puts.set(event.key, (puts.get(event.key) ?? 0) + 1)
  }
  return [...entries.values()].sort((a, b) => a.key < b.key ? -1 : 1)
}

/**
 * What is wrong with all entries of one moment, by themselves: the state of `all` says which others there must be. `undefined` if
 * nothing is.
 */
export const contradictionOf = (
  entries: ReadonlyArray<{ readonly key: string; readonly state: State }>
): string | undefined => {
  const { each = {} } = entries.find(({ key }) => key === all)?.state ?? {}
  const found = Object.fromEntries(
    entries.filter(({ key }) => key !== all).map(({ key, state }) => [key, state.count])
  )
  const wanted = JSON.stringify(Object.entries(each).sort())
  const got = JSON.stringify(Object.entries(found).sort())
  return wanted === got ? undefined : `${got} instead of ${wanted}`
}
