/**
 * Events that were read lately, by position: so that what is read again and again, as for decisions about the same things, is neither
 * read from the disk nor checked each time. What is stored never changes, so nothing in here can be out of date. The data is kept as
 * text and parsed for each reader, who may do with it what he likes.
 *
 * In two generations: what is asked for moves to the young one; when that is full it becomes the old one, and what was in the old one is
 * forgotten. A list in order of use would have to be changed at each look.
 */
import type * as Ledger from "../../services/Ledger.ts"
import { type PlainEvent, toRecord } from "./plainLine.ts"

/** About what one takes in memory beside its text, in bytes. */
const overhead = 512

/**
 * A copy with nothing in common that could be changed. What is kept is made here and nowhere else: the engine sees where objects are made
 * that live long, and makes all that are made there where only a full collection finds them. Those of a scan, which are garbage at once,
 * would be among them, and its memory twice as large.
 */
const copyOf = ({ data, metadata, position, tags, type, version }: PlainEvent): PlainEvent => ({
  position,
  type,
  version,
  tags: [...tags],
  metadata: { ...metadata },
  data
})

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

  /** A record for whoever asks alone. */
  get(position: number): Ledger.EventRecord | undefined {
    let found = this.young.get(position)
    if (found === undefined) {
      found = this.old.get(position)
      if (found === undefined) return undefined
      this.keep(found, found.data.length)
    }
    return toRecord({ ...found, tags: [...found.tags], metadata: { ...found.metadata } })
  }

  /** `bytes`: of the event's line. */
  set(event: PlainEvent, bytes: number): void {
    this.keep(copyOf(event), bytes)
  }

  private keep(event: PlainEvent, bytes: number): void {
    this.young.set(event.position, event)
    this.size += bytes + overhead
    if (this.size < this.capacity) return
    this.old = this.young
    this.young = new Map()
    this.size = 0
  }
}
