/**
 * States that were looked at last, as JSON. As text, because a schema may hand through what it is given, and whoever decides may
 * change it: each look-up parses anew.
 */
import type { Position } from "../../Position.ts"

// models

export interface Kept {
  readonly position: Position
  /** JSON. */
  readonly state: string
}

/** About what an entry takes besides its texts, in characters. */
const overhead = 200

const sizeOf = (id: string, { state }: Kept): number => id.length + state.length + overhead

// constructors

/** Keeps at most about so many characters; what was not asked for longest goes first. */
export class SnapshotMemory {
  private readonly limit: number
  /** Those asked for last stand last. */
  private readonly entries = new Map<string, Kept>()
  private size = 0

  constructor(limit: number) {
    this.limit = limit
  }

  get(id: string): Kept | undefined {
    const found = this.entries.get(id)
    if (found === undefined) return undefined
    this.entries.delete(id)
    this.entries.set(id, found)
    return found
  }

  /** One of an older position takes no newer one's place. One of the same does: there was a reason to make it again. */
  put(id: string, kept: Kept): void {
    const before = this.entries.get(id)
    if (before !== undefined) {
      if (before.position > kept.position) return
      this.size -= sizeOf(id, before)
      this.entries.delete(id)
    }
    this.entries.set(id, kept)
    this.size += sizeOf(id, kept)
    for (const [oldest, entry] of this.entries) {
      if (this.size <= this.limit) break
      this.size -= sizeOf(oldest, entry)
      this.entries.delete(oldest)
    }
  }
}
