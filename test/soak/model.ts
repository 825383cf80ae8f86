/**
 * The projection that a soak runs, and what it must be: each event leaves its trace in a state, so that one that is missed, counted
 * twice or in another order is seen.
 */
import * as Schema from "effect/Schema"
import * as Event from "../../src/Event.ts"
import * as Projection from "../../src/services/Projection.ts"
import type { LedgerEvent } from "./ledgerFiles.ts"

// events: those that the processes append, as far as the projection wants to know

const fields = { batch: Schema.String, index: Schema.Int, series: Schema.optional(Schema.String) }

class Noted extends Event.Class<Noted>()("Noted", fields) {}
class Booked extends Event.Class<Booked>()("Booked", fields) {}
class Claimed extends Event.Class<Claimed>()("Claimed", fields) {}

/** Others are appended as well, and of no interest to the projection. */
const counted = ["Noted", "Booked", "Claimed"]

// projection

const State = Schema.Struct({
  count: Schema.Int,
  /** Follows from the positions of all events that were counted, and their order. */
  trace: Schema.Int,
  /** In the state of `all`: how often each key that there is was counted. */
  each: Schema.Record(Schema.String, Schema.Int)
})
export type State = typeof State.Type

/** The key that each event changes. */
const all = "all"

/** A state is removed when it was counted so often, and begins anew. */
const life = 23

const none: State = { count: 0, trace: 7, each: {} }

const keyOf = (event: { readonly batch: string; readonly series?: string | undefined }): string =>
  event.series ?? event.batch.slice(0, event.batch.indexOf("."))

const step = (before: State | undefined, key: string, own: string, position: number): State | undefined => {
  const { count, each, trace } = before ?? none
  if (key !== all && count + 1 === life) return undefined
  const next = { ...each }
  if (key === all) {
    next[own] = (next[own] ?? 0) + 1
    if (next[own] === life) delete next[own]
  }
  return { count: count + 1, trace: (trace * 31 + position) % 1_000_003, each: next }
}

export const tagsOf = ({ count }: State) => [`rest:${count % 3}`, "any:yes"] as const
export const tags = ["rest:0", "rest:1", "rest:2", "any:yes"] as const

const apply = <E extends Noted | Booked | Claimed>(
  state: State | undefined,
  event: E,
  { key, position }: Projection.Applied<E, string, unknown>
) => step(state, key, keyOf(event), position)

export class Tally extends Projection.Service<Tally>()("tally", {
  events: [Noted, Booked, Claimed],
  key: (event) => [keyOf(event), all],
  state: State,
  tags: tagsOf,
  apply: { Noted: apply, Booked: apply, Claimed: apply }
}) {}

// what must be

export interface Row {
  readonly key: string
  readonly state: State
  readonly position: number
  readonly version: number
  readonly created: number
  readonly updated: number
}

/** A plain fold of the history; in the order of the keys. */
export const expectedRows = (history: ReadonlyArray<LedgerEvent>): ReadonlyArray<Row> => {
  const rows = new Map<string, Row>()
  for (const { data, metadata, position, type } of history) {
    if (!counted.includes(type)) continue
    const time = Date.parse(metadata.timestamp)
    const own = keyOf(data)
    for (const key of [own, all]) {
      const before = rows.get(key)
      const state = step(before?.state, key, own, position)
      if (state === undefined) rows.delete(key)
      else {
        const { created = time, version = 0 } = before ?? {}
        rows.set(key, { key, state, position, version: version + 1, created, updated: time })
      }
    }
  }
  return [...rows.values()].sort((a, b) => a.key < b.key ? -1 : 1)
}

/** What is wrong with all states of one moment, by themselves: that of `all` says which others there must be. */
export const contradictionOf = (
  rows: ReadonlyArray<{ readonly key: string; readonly state: State }>
): string | undefined => {
  const { each } = rows.find(({ key }) => key === all)?.state ?? none
  const wanted = JSON.stringify(Object.entries(each).sort())
  const found = JSON.stringify(rows.filter(({ key }) => key !== all).map(({ key, state }) => [key, state.count]).sort())
  return wanted === found ? undefined : `${found} instead of ${wanted}`
}
