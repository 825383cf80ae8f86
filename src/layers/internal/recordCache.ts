/**
 * Lines that were read lately and whose checksums fitted, by position: so that what is read again and again, as for decisions about the same
 * things, is neither read from the disk nor checked each time. What is stored never changes, so nothing in here can be out of date.
 *
 * They are kept as texts, and parsed for each reader, who may do with his record what he likes. And nothing else is: the engine sees where
 * objects are made that live long, and makes all that are made there where only a full collection finds them. With records in here it
 * did so with those of scans, which are garbage at once, and their memory was twice as large.
 */
import type * as Ledger from "../../services/Ledger.ts"
import { parsePlain } from "./ledgerFormat.ts"
import { Recent } from "./recent.ts"

/** About what one takes in memory beside its text, in bytes. */
const overhead = 96

export class RecordCache {
  private readonly lines: Recent<string>

  /** `bytes`: how much memory it takes at the most. */
  constructor(bytes: number) {
    // a character may take two
    this.lines = new Recent(bytes, (line) => 2 * line.length + overhead)
  }

  get(position: number): Ledger.EventRecord | undefined {
    const line = this.lines.get(position)
    return line === undefined ? undefined : parsePlain(line)
  }

  /** A line of the kind that `parsePlain` knows. */
  set(position: number, line: string): void {
    this.lines.set(position, line)
  }
}
