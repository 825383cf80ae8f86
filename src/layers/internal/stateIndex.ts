/**
 * What the layers that keep states in memory or in files know of each state: where it lies, and all that it is looked up and sorted
 * by.
 *
 * Made for hundreds of thousands of keys that change between lists. A key is a slot: its numbers lie in one array, its texts in
 * others, so that it costs few bytes and hardly an object. The sorted orders are made when they are first asked for; from then on
 * changes are noted and merged into them at the next list.
 */
import * as codePoints from "../../internal/codePoints.ts"
import type { Position } from "../../Position.ts"
import type { EntryRange, StoredEntry } from "../../services/ProjectionStore.ts"

// models

/** A stored entry, but that its state lies elsewhere. */
export interface IndexEntry<out P> extends Omit<StoredEntry, "state"> {
  readonly place: P
}

type Sort = EntryRange["sort"]

/** A tag, as one text that all its entries share, and the slots that have it: many tags are of one entry only. */
interface Posting {
  readonly tag: string
  slots: number | Set<number>
}

/** All slots in order, as it was when it was made, and those that have changed since. */
interface Order {
  sorted: Uint32Array
  readonly changed: Set<number>
}

// slots

const position = 0
const version = 1
const created = 2
const updated = 3
const width = 4

const noTags: ReadonlyArray<string> = []

export class StateIndex<P> {
  readonly #slots = new Map<string, number>()
  /** By slot. Free slots have no tags, not even none. */
  #keys: Array<string> = []
  #tags: Array<ReadonlyArray<string> | undefined> = []
  #places: Array<P | undefined> = []
  #numbers = new Float64Array(64 * width)
  #free: Array<number> = []
  readonly #postings = new Map<string, Posting>()
  readonly #orders: { [S in Sort]: Order | undefined } = { key: undefined, created: undefined, updated: undefined }

  /** How many keys there are. */
  get size(): number {
    return this.#slots.size
  }

  get(key: string): IndexEntry<P> | undefined {
    const slot = this.#slots.get(key)
    return slot === undefined ? undefined : this.#entry(slot)
  }

  /** Adds an entry, or puts it in the place of the one that its key had. */
  set(entry: IndexEntry<P>): void {
    const known = this.#slots.get(entry.key)
    const slot = known ?? this.#take(entry.key)
    const numbers = this.#numbers
    const at = slot * width
    if (known === undefined) this.#note("key", slot)
    if (known === undefined || numbers[at + created] !== entry.created) this.#note("created", slot)
    if (known === undefined || numbers[at + updated] !== entry.updated) this.#note("updated", slot)
    numbers[at + position] = entry.position
    numbers[at + version] = entry.version
    numbers[at + created] = entry.created
    numbers[at + updated] = entry.updated
    this.#places[slot] = entry.place
    this.#tag(slot, entry.tags)
  }

  /** Whether it was there. */
  delete(key: string): boolean {
    const slot = this.#slots.get(key)
    if (slot === undefined) return false
    this.#tag(slot, noTags)
    this.#slots.delete(key)
    this.#keys[slot] = ""
    this.#tags[slot] = undefined
    this.#places[slot] = undefined
    this.#free.push(slot)
    this.#note("key", slot)
    this.#note("created", slot)
    this.#note("updated", slot)
    return true
  }

  clear(): void {
    this.#slots.clear()
    this.#keys = []
    this.#tags = []
    this.#places = []
    this.#numbers = new Float64Array(64 * width)
    this.#free = []
    this.#postings.clear()
    this.#orders.key = this.#orders.created = this.#orders.updated = undefined
  }

  /** All entries, in no order that means anything. */
  *entries(): IterableIterator<IndexEntry<P>> {
    for (const slot of this.#slots.values()) yield this.#entry(slot)
  }

  /** A page. Backwards is the same order read from its end, so that also equal times go by descending key. */
  list({ after, backwards, limit, sort }: EntryRange): Array<IndexEntry<P>> {
    const sorted = this.#sorted(sort)
    const found: Array<IndexEntry<P>> = []
    if (backwards) {
      const end = after === undefined ? sorted.length : this.#search(sorted, sort, after.time, after.key, 0, false)
      for (let i = end - 1; i >= 0 && found.length < limit; i--) found.push(this.#entry(sorted[i]!))
    } else {
      const begin = after === undefined ? 0 : this.#search(sorted, sort, after.time, after.key, 0, true)
      for (let i = begin; i < sorted.length && found.length < limit; i++) found.push(this.#entry(sorted[i]!))
    }
    return found
  }

  /** Those that have all of the tags, in the order of their keys. */
  byTag(tags: ReadonlyArray<string>): Array<IndexEntry<P>> {
    const postings: Array<Posting["slots"]> = []
    for (const tag of tags) {
      const posting = this.#postings.get(tag)
      if (posting === undefined) return []
      postings.push(posting.slots)
    }
    postings.sort((a, b) => sizeOf(a) - sizeOf(b))
    const [smallest, ...others] = postings
    if (smallest === undefined) return []
    const found: Array<number> = []
    for (const slot of typeof smallest === "number" ? [smallest] : smallest) {
      if (others.every((other) => typeof other === "number" ? other === slot : other.has(slot))) found.push(slot)
    }
    // Sorting many anew each time would cost more than to pick them from the order that is kept.
    if (found.length > 1000 && found.length > this.size / 16) {
      const isFound = new Uint8Array(this.#keys.length)
      for (const slot of found) isFound[slot] = 1
      let n = 0
      for (const slot of this.#sorted("key")) if (isFound[slot] === 1) found[n++] = slot
    } else {
      found.sort((a, b) => codePoints.compare(this.#keys[a]!, this.#keys[b]!))
    }
    return found.map((slot) => this.#entry(slot))
  }

  #entry(slot: number): IndexEntry<P> {
    const numbers = this.#numbers
    const at = slot * width
    return {
      key: this.#keys[slot]!,
      tags: this.#tags[slot]!,
      position: numbers[at + position]! as Position,
      version: numbers[at + version]!,
      created: numbers[at + created]!,
      updated: numbers[at + updated]!,
      place: this.#places[slot]!
    }
  }

  #take(key: string): number {
    const slot = this.#free.pop() ?? this.#keys.length
    if (slot * width === this.#numbers.length) {
      const larger = new Float64Array(Math.ceil(slot * 1.5) * width)
      larger.set(this.#numbers)
      this.#numbers = larger
    }
    this.#slots.set(key, slot)
    this.#keys[slot] = key
    this.#tags[slot] = noTags
    return slot
  }

  /** Gives a slot these tags instead of those that it has. */
  #tag(slot: number, tags: ReadonlyArray<string>): void {
    const before = this.#tags[slot]!
    if (before.length === tags.length && before.every((tag, i) => tag === tags[i])) return
    for (const tag of before) if (!tags.includes(tag)) this.#untag(slot, tag)
    this.#tags[slot] = tags.length === 0 ? noTags : tags.map((tag) => {
      const posting = this.#postings.get(tag)
      if (posting === undefined) {
        this.#postings.set(tag, { tag, slots: slot })
        return tag
      }
      if (typeof posting.slots !== "number") posting.slots.add(slot)
      else if (posting.slots !== slot) posting.slots = new Set([posting.slots, slot])
      return posting.tag
    })
  }

  #untag(slot: number, tag: string): void {
    const posting = this.#postings.get(tag)!
    if (typeof posting.slots !== "number") posting.slots.delete(slot)
    if (typeof posting.slots === "number" || posting.slots.size === 0) this.#postings.delete(tag)
  }

  /** Notes that a slot stands no longer where it stood in an order, if that is kept. */
  #note(sort: Sort, slot: number): void {
    const order = this.#orders[sort]
    if (order === undefined) return
    order.changed.add(slot)
    // Merging this much is no cheaper than making it anew, and what is noted takes memory.
    if (order.changed.size > 64 + order.sorted.length / 2) this.#orders[sort] = undefined
  }

  #sorted(sort: Sort): Uint32Array {
    const order = this.#orders[sort]
    if (order === undefined) {
      const sorted = this.#sort(sort)
      this.#orders[sort] = { sorted, changed: new Set() }
      return sorted
    }
    if (order.changed.size > 0) {
      order.sorted = this.#merge(sort, order)
      order.changed.clear()
    }
    return order.sorted
  }

  #sort(sort: Sort): Uint32Array {
    if (sort === "key") return Uint32Array.from(Array.from(this.#slots.values()).sort(this.#compare("key")))
    // Sorting is stable: what is in the order of keys stays in it where times are equal, and no key is looked at again.
    const numbers = this.#numbers
    const column = columns[sort]
    return Uint32Array.from(
      Array.from(this.#sorted("key")).sort((a, b) => numbers[a * width + column]! - numbers[b * width + column]!)
    )
  }

  /** The order without what has changed, and then that where it belongs now. */
  #merge(sort: Sort, order: Order): Uint32Array {
    const isChanged = new Uint8Array(this.#keys.length)
    const added: Array<number> = []
    for (const slot of order.changed) {
      isChanged[slot] = 1
      if (this.#tags[slot] !== undefined) added.push(slot)
    }
    added.sort(this.#compare(sort))
    const rest = new Uint32Array(order.sorted.length)
    let n = 0
    for (const slot of order.sorted) if (isChanged[slot] === 0) rest[n++] = slot
    const kept = rest.subarray(0, n)
    const merged = new Uint32Array(n + added.length)
    const column = columns[sort]
    let from = 0
    let to = 0
    for (const slot of added) {
      const time = sort === "key" ? 0 : this.#numbers[slot * width + column]!
      const until = this.#search(kept, sort, time, this.#keys[slot]!, from, false)
      merged.set(kept.subarray(from, until), to)
      to += until - from
      from = until
      merged[to++] = slot
    }
    merged.set(kept.subarray(from), to)
    return merged
  }

  #compare(sort: Sort): (a: number, b: number) => number {
    const keys = this.#keys
    const numbers = this.#numbers
    if (sort === "key") return (a, b) => codePoints.compare(keys[a]!, keys[b]!)
    const column = columns[sort]
    return (a, b) =>
      numbers[a * width + column]! - numbers[b * width + column]! || codePoints.compare(keys[a]!, keys[b]!)
  }

  /** The first index, of those from `low`, whose entry stands behind this place; or in it, if `beyond` is false. */
  #search(sorted: Uint32Array, sort: Sort, time: number, key: string, low: number, beyond: boolean): number {
    const column = columns[sort]
    let high = sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const slot = sorted[middle]!
      const difference = (sort === "key" ? 0 : this.#numbers[slot * width + column]! - time) ||
        codePoints.compare(this.#keys[slot]!, key)
      if (difference < 0 || (beyond && difference === 0)) low = middle + 1
      else high = middle
    }
    return low
  }
}

// helpers

/** Where a slot's numbers have what is sorted by. Keys are no numbers: theirs is never looked at. */
const columns: { readonly [S in Sort]: number } = { key: position, created, updated }

const sizeOf = (slots: Posting["slots"]): number => typeof slots === "number" ? 1 : slots.size
