/**
 * Events that were read lately, by position: so that what is read again and again, as for decisions about the same things, is neither
 * read from the disk nor checked each time. What is stored never changes, so nothing in here can be out of date. The data is kept as
 * text and parsed for each reader, who may do with it what he likes.
 */
import type * as Ledger from "../../services/Ledger.ts"
import { type PlainEvent, toRecord } from "./plainLine.ts"
import { Recent } from "./recent.ts"

/** About what one takes in memory beside its data, in bytes. */
const overhead = 768

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
  private readonly events: Recent<PlainEvent>

  /** `bytes`: about how much memory it takes at the most. */
  constructor(bytes: number) {
    this.events = new Recent(bytes, ({ data }) => data.length + overhead)
  }

  /** A record for whoever asks alone. */
  get(position: number): Ledger.EventRecord | undefined {
    const found = this.events.get(position)
    return found && toRecord({ ...found, tags: [...found.tags], metadata: { ...found.metadata } })
  }

  set(event: PlainEvent): void {
    this.events.set(event.position, copyOf(event))
  }
}
