/** Which positions of a part of the index may match a query: plain synchronous functions over ascending lists. */
import type * as Query from "../../Query.ts"
import { type Lists, tagKey, type Term, term, typeKey } from "./indexFormat.ts"

// models

/** Events that got a tag later, ascending. */
export type Extras = ReadonlyMap<string, ReadonlyArray<number>>

interface PlanTag {
  readonly tag: string
  readonly term: Term
}

interface PlanItem {
  readonly types: ReadonlyArray<Term> | undefined
  readonly tags: ReadonlyArray<PlanTag> | undefined
}

/** A query with its terms; `undefined` for all events. */
export type Plan = ReadonlyArray<PlanItem> | undefined

const unique = (list: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(list)]

export const plan = (query: Query.Any): Plan =>
  query.items === "all" ? undefined : query.items.map(({ tags, types }) => ({
    types: types === undefined ? undefined : unique(types).map((type) => term(typeKey(type))),
    tags: tags === undefined ? undefined : unique(tags).map((tag) => ({ tag, term: term(tagKey(tag)) }))
  }))

/** The tags that a query asks for. */
export const tagsOf = (query: Query.Any): ReadonlyArray<string> =>
  query.items === "all" ? [] : unique(query.items.flatMap((item) => item.tags ?? []))

// ascending lists

/** The index of the first element that is not below `n`. */
export const lowerBound = (list: ReadonlyArray<number>, n: number, from = 0): number => {
  let low = from
  let high = list.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (list[middle]! < n) low = middle + 1
    else high = middle
  }
  return low
}

/** The elements from `from` to `to`, both inclusive: a copy, as the list may still grow. */
export const clip = (list: ReadonlyArray<number>, from: number, to: number): Array<number> =>
  list.slice(lowerBound(list, from), lowerBound(list, to + 1))

/** Neither argument is changed; the result may be one of them. */
export const union = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): ReadonlyArray<number> => {
  if (a.length === 0) return b
  if (b.length === 0) return a
  const out: Array<number> = []
  let i = 0
  let j = 0
  while (i < a.length && j < b.length) {
    const [x, y] = [a[i]!, b[j]!]
    out.push(x < y ? x : y)
    if (x <= y) i++
    if (y <= x) j++
  }
  while (i < a.length) out.push(a[i++]!)
  while (j < b.length) out.push(b[j++]!)
  return out
}

export const intersect = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): ReadonlyArray<number> => {
  const [short, long] = a.length <= b.length ? [a, b] : [b, a]
  const out: Array<number> = []
  let j = 0
  // In a list that is much longer, leaps are cheaper than steps.
  const leap = long.length > short.length * 16
  for (const n of short) {
    if (leap) j = lowerBound(long, n, j)
    else while (j < long.length && long[j]! < n) j++
    if (j === long.length) break
    if (long[j] === n) out.push(n)
  }
  return out
}

// search

const nothing: ReadonlyArray<number> = []

/**
 * How many times longer than what was found a list may be, to be read at all. Reading a position of a list costs some nanoseconds,
 * looking at an event in the ledger some microseconds: beyond that it is cheaper to let whoever asked look at the events.
 */
const worthReading = 64

const searchItem = (item: PlanItem, lists: Lists, extras: Extras, from: number, to: number): ReadonlyArray<number> => {
  let found: ReadonlyArray<number> | undefined
  if (item.tags !== undefined) {
    const parts = item.tags.map(({ tag, term }) => {
      const extra = clip(extras.get(tag) ?? nothing, from, to)
      return { term, extra, count: lists.count(term) + extra.length }
    })
    // The rarest tag leads: nothing further is read once nothing is left.
    parts.sort((a, b) => a.count - b.count)
    for (const { count, extra, term } of parts) {
      if (count === 0) return nothing
      if (found !== undefined && count > found.length * worthReading) break
      const list = union(clip(lists.list(term), from, to), extra)
      found = found === undefined ? list : intersect(found, list)
      if (found.length === 0) return nothing
    }
  }
  if (item.types !== undefined) {
    const count = item.types.reduce((sum, type) => sum + lists.count(type), 0)
    if (count === 0) return nothing
    if (found !== undefined && count > found.length * worthReading) return found
    let list = nothing
    for (const type of item.types) list = union(list, clip(lists.list(type), from, to))
    found = found === undefined ? list : intersect(found, list)
  }
  return found ?? nothing
}

/** The positions from `from` to `to`, both inclusive, that may match, ascending, each once. */
export const search = (
  plan: ReadonlyArray<PlanItem>,
  lists: Lists,
  extras: Extras,
  from: number,
  to: number
): ReadonlyArray<number> => {
  let found = nothing
  for (const item of plan) found = union(found, searchItem(item, lists, extras, from, to))
  return found
}
