/**
 * Events that were read lately, by position: so that what is read again and again, as for decisions about the same things, is neither
 * read from the disk nor checked each time. What is stored never changes, so nothing in here can be out of date. The data is kept as
 * text and parsed for each reader, who may do with it what he likes.
 *
 * In two generations: what is asked for moves to the young one; when that is full it becomes the old one, and what was in the old one is
 * forgotten. A list in order of use would have to be changed at each look.
 */
import type { PlainEvent } from "./plainLine.ts"

/** About what one takes in memory beside its text, in bytes. */
const overhead = 512

export class RecordCache {
  /** Of a generation, in bytes. */
  private readonly capacity: number
  private young = new Map<number, PlainEvent>()
  private old = new Map<number, PlainEvent>()
  private size = 0

  /** `bytes`: about how much memory it takes at the most. */
  constructor(bytes: number) {
    this.capacity = bytes / 2
  }

  get(position: number): PlainEvent | undefined {
    const found = this.young.get(position)
    if (found !== undefined) return found
    const known = this.old.get(position)
    if (known !== undefined) this.set(known, known.data.length)
    return known
  }

  set(event: PlainEvent, bytes: number): void {
    this.young.set(event.position, event)
    this.size += bytes + overhead
    if (this.size < this.capacity) return
    this.old = this.young
    this.young = new Map()
    this.size = 0
  }
}
