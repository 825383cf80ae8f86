/**
 * The newest part of the index, in memory: exact lists of positions for each term, and where each record stands. It grows by commits
 * until it is made a run.
 */
import type { Commit, Cursor, Entry } from "../../services/Ledger.ts"
import { addedKey, idKey, type Lists, type Location, tagKey, targetKey, type Term, typeKey } from "./indexFormat.ts"

const nothing: ReadonlyArray<number> = []

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
  readonly postings = new Map<string, Array<number>>()
  private segments = new Uint32Array(256)
  private offsets = new Float64Array(256)
  /** Negative for additions; 0 where no record is. */
  private lengths = new Int32Array(256)

  constructor(before: Cursor | undefined, first: number) {
    this.before = before
    this.first = first
    this.last = first - 1
  }

  get isEmpty(): boolean {
    return this.last < this.first
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
    if (index >= this.segments.length) this.grow(index + 1)
    this.segments[index] = entry.segment
    this.offsets[index] = entry.offset
    this.last = position
    if (entry.kind === "event") {
      this.lengths[index] = entry.length
      this.events++
      this.post(typeKey(entry.type), position)
      this.post(idKey(entry.metadata.id), position)
      for (const tag of entry.tags) this.post(tagKey(tag), position)
    } else {
      this.lengths[index] = -entry.length
      this.additions++
      for (const target of entry.targets) {
        this.post(targetKey(target.position), position)
        for (const tag of target.tags) this.post(addedKey(tag), position)
      }
    }
  }

  private post(key: string, position: number): void {
    const list = this.postings.get(key)
    if (list === undefined) this.postings.set(key, [position])
    else if (list[list.length - 1] !== position) list.push(position)
  }

  private grow(least: number): void {
    const length = Math.max(least, this.segments.length * 2)
    const larger = <A extends Uint32Array | Float64Array | Int32Array>(made: A, old: A): A => (made.set(old), made)
    this.segments = larger(new Uint32Array(length), this.segments)
    this.offsets = larger(new Float64Array(length), this.offsets)
    this.lengths = larger(new Int32Array(length), this.lengths)
  }

  count(term: Term): number {
    return this.postings.get(term.key)?.length ?? 0
  }

  list(term: Term): ReadonlyArray<number> {
    return this.postings.get(term.key) ?? nothing
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
}
