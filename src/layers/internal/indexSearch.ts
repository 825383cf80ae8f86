/** Which positions of a part of the index may match a query: plain synchronous functions over ascending lists. */
import type * as Query from "../../Query.ts"
import { addedTerm, type Lists, tagTerm, type Term, typeTerm } from "./indexFormat.ts"

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

const unique = (list: ReadonlyArray<string>): ReadonlyArray<string> => list.length < 2 ? list : [...new Set(list)]

export const plan = (query: Query.Any): Plan =>
  query.items === "all" ? undefined : query.items.map(({ tags, types }) => ({
    types: types === undefined ? undefined : unique(types).map(typeTerm),
    tags: tags === undefined ? undefined : unique(tags).map((tag) => ({ tag, term: tagTerm(tag) }))
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

/** The elements from `from` to `to`, both inclusive. */
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
/** About how many positions are listed in one step, at the most and at the least. */
export const stepSize = 8192
export const leastStep = 64

const countOf = (terms: ReadonlyArray<Term>, lists: Lists): number => {
  let sum = 0
  for (const term of terms) sum += lists.count(term)
  return sum
}

const searchItem = (item: PlanItem, lists: Lists, extras: Extras, from: number, to: number): ReadonlyArray<number> => {
  /** How much of a list is expected to lie in what is searched. */
  const share = (to - from + 1) / (lists.last - lists.first + 1)
  let found: ReadonlyArray<number> | undefined
  if (item.tags !== undefined) {
    const parts = item.tags.map(({ tag, term }) => {
      const extra = clip(extras.get(tag) ?? nothing, from, to)
      const count = lists.count(term)
      return { term, extra, expected: count === 0 ? extra.length : count * share + extra.length }
    })
    // The rarest tag leads: nothing further is read once nothing is left.
    parts.sort((a, b) => a.expected - b.expected)
    for (const { expected, extra, term } of parts) {
      if (expected === 0) return nothing
      if (found !== undefined && expected > found.length * worthReading) break
      const list = union(listOf(lists, term, found, from, to), extra)
      found = found === undefined ? list : intersect(found, list)
      if (found.length === 0) return nothing
    }
  }
  if (item.types !== undefined) {
    const count = countOf(item.types, lists)
    if (count === 0) return nothing
    if (found !== undefined && count * share > found.length * worthReading) return found
    let list = nothing
    for (const type of item.types) list = union(list, listOf(lists, type, found, from, to))
    found = found === undefined ? list : intersect(found, list)
  }
  return found ?? nothing
}

/** A term's positions, as far as they can be among what was found. */
const listOf = (lists: Lists, term: Term, found: ReadonlyArray<number> | undefined, from: number, to: number) =>
  found === undefined ? lists.list(term, from, to) : lists.list(term, found[0], found[found.length - 1])

/** What a step of a search came to. */
export interface Step {
  /** Positions that may match, ascending, each once. */
  readonly positions: ReadonlyArray<number>
  /** What was searched, both inclusive. */
  readonly from: number
  readonly to: number
}

/**
 * Searches a part from `from` to `to`, both inclusive; or, if that lists more than about `size` positions, from one of the two ends on.
 */
export const search = (
  plan: ReadonlyArray<PlanItem>,
  lists: Lists,
  extras: Extras,
  range: { readonly from: number; readonly to: number; readonly backwards: boolean },
  size = stepSize
): Step => {
  let { from, to } = range
  // the lists that lead, of which all that lies in the range is read
  let listed = 0
  for (const { tags, types } of plan) {
    listed += tags === undefined
      ? countOf(types ?? [], lists)
      : tags.reduce((least, { term }) => Math.min(least, lists.count(term)), Infinity)
  }
  const step = Math.max(1, Math.floor((lists.last - lists.first + 1) * size / Math.max(1, listed)))
  if (to - from >= step) {
    if (range.backwards) from = to - step + 1
    else to = from + step - 1
  }
  let found = nothing
  for (const item of plan) found = union(found, searchItem(item, lists, extras, from, to))
  return { positions: found, from, to }
}

// what is certainly not there

/** Whether a part may have anything that matches, or by an addition of tags makes something match, by what terms it may have. */
export const mayMatch = (
  plan: NonNullable<Plan>,
  query: Query.Any,
  mayHave: (term: Term) => boolean,
  hasAdditions: boolean
): boolean => {
  for (const { tags, types } of plan) {
    if (
      (tags === undefined || tags.every(({ term }) => mayHave(term))) &&
      (types === undefined || types.some(mayHave))
    ) return true
  }
  return hasAdditions && tagsOf(query).some((tag) => mayHave(addedTerm(tag)))
}
