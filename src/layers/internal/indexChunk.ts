/**
 * The newest part of the index, in memory: the positions for each term, and where each record stands. It grows by commits until it
 * is made a run.
 *
 * All of it lies in a few typed arrays, so that an event costs its hashes and some numbers, and the garbage collector nothing. A term
 * is its hash, here as in a run: two terms with one hash share a list, and what is found is a candidate.
 */
import type { Commit, Cursor, Entry } from "../../services/Ledger.ts"
import {
  hashAdded,
  hashed,
  hashId,
  hashTag,
  hashTarget,
  hashType,
  type Lists,
  type Location,
  type Term
} from "./indexFormat.ts"

const nothing: ReadonlyArray<number> = []

const larger = <A extends Uint32Array | Float64Array | Int32Array>(made: A, old: A): A => (made.set(old), made)

/** Sizes to begin with. */
interface Capacity {
  readonly positions: number
  /** A power of two. */
  readonly terms: number
  readonly nodes: number
}

const least: Capacity = { positions: 256, terms: 512, nodes: 1024 }

export class Chunk implements Lists {
  /** The commit before the first one; `undefined` where the history begins. */
  readonly before: Cursor | undefined
  /** The last commit; `undefined` as long as there is none. */
  cursor: Cursor | undefined = undefined
  first: number
  last: number
  /** Of the commits. */
  bytes = 0
  events = 0
  additions = 0

  // where records stand: by position, less the first
  segments: Uint32Array
  offsets: Float64Array
  /** Negative for additions; 0 where no record is. */
  lengths: Int32Array

  // terms, in the order in which they came
  terms = 0
  /** The halves of their hashes. */
  highs: Int32Array
  lows: Int32Array
  /** How many positions they have. */
  counts: Uint32Array
  /** The node of the newest of them. */
  newestNodes: Uint32Array
  /** By the hash, at the next free place: the term's number and one, or 0. */
  private slots: Uint32Array

  // nodes: a position, less the first, and the node of the term's position before that
  private nodes = 0
  nodePositions: Uint32Array
  nodesBefore: Uint32Array

  /** As large as `like` at once. */
  constructor(before: Cursor | undefined, first: number, like?: Chunk) {
    const { nodes, positions, terms } = like?.capacity ?? least
    this.before = before
    this.first = first
    this.last = first - 1
    this.segments = new Uint32Array(positions)
    this.offsets = new Float64Array(positions)
    this.lengths = new Int32Array(positions)
    this.highs = new Int32Array(terms)
    this.lows = new Int32Array(terms)
    this.counts = new Uint32Array(terms)
    this.newestNodes = new Uint32Array(terms)
    this.slots = new Uint32Array(terms * 2)
    this.nodePositions = new Uint32Array(nodes)
    this.nodesBefore = new Uint32Array(nodes)
  }

  get isEmpty(): boolean {
    return this.last < this.first
  }

  private get capacity(): Capacity {
    return { positions: this.segments.length, terms: this.highs.length, nodes: this.nodePositions.length }
  }

  add(commit: Commit): void {
    for (const entry of commit.entries) this.addEntry(entry)
    this.last = commit.last
    this.bytes += commit.bytes
    this.cursor = commit.cursor
  }

  addEntry(entry: Entry): void {
    const { position } = entry
    const index = position - this.first
    if (index >= this.segments.length) this.growPositions(index + 1)
    this.segments[index] = entry.segment
    this.offsets[index] = entry.offset
    this.last = position
    if (entry.kind === "event") {
      this.lengths[index] = entry.length
      this.events++
      hashType(entry.type)
      this.post(index)
      hashId(entry.metadata.id)
      this.post(index)
      const { tags } = entry
      for (let i = 0; i < tags.length; i++) {
        hashTag(tags[i]!)
        this.post(index)
      }
    } else {
      this.lengths[index] = -entry.length
      this.additions++
      for (const target of entry.targets) {
        hashTarget(target.position)
        this.post(index)
        for (const tag of target.tags) {
          hashAdded(tag)
          this.post(index)
        }
      }
    }
  }

  /** Lists a position under the term that was hashed last. */
  private post(index: number): void {
    const high = hashed[0]!
    const low = hashed[1]!
    let slot = this.slotOf(high, low)
    let term = this.slots[slot]! - 1
    if (term < 0) {
      if (this.terms === this.highs.length) {
        this.growTerms()
        slot = this.slotOf(high, low)
      }
      term = this.terms++
      this.slots[slot] = this.terms
      this.highs[term] = high
      this.lows[term] = low
    } else if (this.nodePositions[this.newestNodes[term]!] === index) {
      return
    }
    if (this.nodes === this.nodePositions.length) this.growNodes()
    const node = this.nodes++
    this.nodePositions[node] = index
    this.nodesBefore[node] = this.newestNodes[term]!
    this.newestNodes[term] = node
    this.counts[term]!++
  }

  /** Where a term is in the table, or would be. */
  private slotOf(high: number, low: number): number {
    const { highs, lows, slots } = this
    const mask = slots.length - 1
    let slot = low & mask
    for (let term; (term = slots[slot]!) !== 0; slot = (slot + 1) & mask) {
      if (lows[term - 1] === low && highs[term - 1] === high) break
    }
    return slot
  }

  private growPositions(least: number): void {
    const length = Math.max(least, this.segments.length * 2)
    this.segments = larger(new Uint32Array(length), this.segments)
    this.offsets = larger(new Float64Array(length), this.offsets)
    this.lengths = larger(new Int32Array(length), this.lengths)
  }

  private growTerms(): void {
    const length = this.highs.length * 2
    this.highs = larger(new Int32Array(length), this.highs)
    this.lows = larger(new Int32Array(length), this.lows)
    this.counts = larger(new Uint32Array(length), this.counts)
    this.newestNodes = larger(new Uint32Array(length), this.newestNodes)
    this.slots = new Uint32Array(length * 2)
    for (let term = 0; term < this.terms; term++) {
      this.slots[this.slotOf(this.highs[term]!, this.lows[term]!)] = term + 1
    }
  }

  private growNodes(): void {
    const length = this.nodePositions.length * 2
    this.nodePositions = larger(new Uint32Array(length), this.nodePositions)
    this.nodesBefore = larger(new Uint32Array(length), this.nodesBefore)
  }

  private find({ high, low }: Term): number {
    return this.slots[this.slotOf(high | 0, low | 0)]! - 1
  }

  count(term: Term): number {
    const found = this.find(term)
    return found < 0 ? 0 : this.counts[found]!
  }

  /** The newest position of a term; 0 if it has none. */
  newestOf(term: Term): number {
    const found = this.find(term)
    return found < 0 ? 0 : this.first + this.nodePositions[this.newestNodes[found]!]!
  }

  list(term: Term, from = this.first, to = this.last): ReadonlyArray<number> {
    const found = this.find(term)
    if (found < 0) return nothing
    const { first, nodePositions, nodesBefore } = this
    const [least, most] = [from - first, to - first]
    const out: Array<number> = []
    let node = this.newestNodes[found]!
    for (let left = this.counts[found]!; left > 0; left--) {
      const index = nodePositions[node]!
      if (index < least) break
      if (index <= most) out.push(first + index)
      node = nodesBefore[node]!
    }
    return out.reverse()
  }

  prepare(): void {}

  location(position: number): Location | undefined {
    if (position < this.first || position > this.last) return undefined
    const index = position - this.first
    const length = this.lengths[index] ?? 0
    if (length === 0) return undefined
    return {
      segment: this.segments[index]!,
      offset: this.offsets[index]!,
      length: Math.abs(length),
      addition: length < 0
    }
  }

  /** The terms' numbers, ascending by hash. */
  sorted(): Uint32Array {
    const { highs, lows, terms } = this
    let order = new Uint32Array(terms)
    let next = new Uint32Array(terms)
    for (let term = 0; term < terms; term++) order[term] = term
    // By the high half in three rounds of 11 bits; among the few that share one, by insertion.
    const starts = new Uint32Array(2048)
    for (let shift = 0; shift < 33; shift += 11) {
      starts.fill(0)
      for (let term = 0; term < terms; term++) starts[highs[term]! >>> shift & 2047]!++
      let sum = 0
      for (let digit = 0; digit < 2048; digit++) {
        const count = starts[digit]!
        starts[digit] = sum
        sum += count
      }
      for (let i = 0; i < terms; i++) {
        const term = order[i]!
        next[starts[highs[term]! >>> shift & 2047]!++] = term
      }
      const sorted = next
      next = order
      order = sorted
    }
    for (let i = 1; i < terms; i++) {
      const term = order[i]!
      let at = i
      while (at > 0) {
        const before = order[at - 1]!
        if (highs[before] !== highs[term] || lows[before]! >>> 0 < lows[term]! >>> 0) break
        order[at--] = before
      }
      order[at] = term
    }
    return order
  }
}
