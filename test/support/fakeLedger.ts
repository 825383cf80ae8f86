/**
 * A history in memory, of real bytes, and the part of the ledger's service that the index needs: what it was fed with can be read
 * back from the places that it gives.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Format from "../../src/layers/internal/ledgerFormat.ts"
import {
  type Commit,
  type Cursor,
  Ledger,
  LedgerDamaged,
  type LedgerError,
  type Record
} from "../../src/services/Ledger.ts"

export type Draft =
  | { readonly type: string; readonly tags: ReadonlyArray<string>; readonly id: string }
  | { readonly targets: ReadonlyArray<{ readonly position: number; readonly tags: ReadonlyArray<string> }> }

export class History {
  readonly storeId: string
  readonly commits: Array<Commit> = []
  /** What is readable: those removed are archived, or (if listed as damaged) unreadable. */
  readonly segments: Array<{ readonly number: number; readonly first: number; readonly start: Cursor; bytes: Buffer }> =
    []
  archived = 0
  /** `scan` was asked for so many commits. */
  scanned = 0
  damagedFrom = Infinity

  constructor(storeId = "store-1") {
    this.storeId = storeId
    this.roll()
  }

  get cursor(): Cursor {
    return this.commits.at(-1)?.cursor ?? this.segments[0]!.start
  }

  /** Begins another segment. */
  roll(): void {
    const before = this.segments.at(-1)
    const previous = before === undefined ? null : {
      segment: before.number,
      length: before.bytes.length,
      position: this.commits.at(-1)?.cursor.position ?? 0,
      hash: this.commits.at(-1)?.cursor.hash ?? before.start.hash
    }
    const number = (before?.number ?? 0) + 1
    const first = (previous?.position ?? 0) + 1
    const { bytes, hash } = Format.encodeHeader({
      format: Format.format,
      features: [],
      store: this.storeId,
      segment: number,
      algorithm: Format.algorithm,
      durability: "sync",
      writer: { id: "w", host: "h", pid: 1 },
      time: new Date(0).toISOString(),
      first,
      previous
    })
    this.segments.push({
      number,
      first,
      start: { segment: number, end: bytes.length, position: first - 1, hash },
      bytes
    })
  }

  /** Adds one commit. */
  commit(drafts: ReadonlyArray<Draft>): Commit {
    const segment = this.segments.at(-1)!
    const last = this.commits.at(-1)?.cursor
    const cursor = last !== undefined && last.segment === segment.number ? last : segment.start
    const batch = drafts.map((draft) =>
      "type" in draft
        ? {
          kind: "event" as const,
          ...draft,
          metadata: { id: draft.id, timestamp: "1970-01-01T00:00:00.000Z" },
          body: Format.encodeEvent({
            type: draft.type,
            version: 1,
            tags: draft.tags,
            metadata: { id: draft.id, timestamp: "1970-01-01T00:00:00.000Z" },
            data: {}
          })
        }
        : { kind: "tags" as const, ...draft, body: Format.encodeTags(draft.targets as never) }
    )
    const { bytes, commits } = Format.encodeGroup([batch] as never, cursor, segment.bytes.length, 0)
    segment.bytes = Buffer.concat([segment.bytes, bytes])
    this.commits.push(commits[0]!)
    return commits[0]!
  }

  /** As one process sees it that has not learned more than its first `known` commits. */
  ledger(known: () => number = () => this.commits.length): Ledger["Service"] {
    const oldest = () => this.segments[this.archived]!
    const cursor = () => known() === 0 ? this.segments[0]!.start : this.commits[known() - 1]!.cursor
    const unused = Effect.die(new Error("the index does not use this"))
    const read = (place: { readonly segment: number; readonly offset: number; readonly length: number }) =>
      Effect.suspend((): Effect.Effect<Record, LedgerError> => {
        const segment = this.segments.slice(this.archived).find(({ number }) => number === place.segment)
        const record = segment === undefined
          ? "no such segment"
          : Format.parseRecord(segment.bytes.subarray(place.offset, place.offset + place.length))
        return typeof record === "string"
          ? Effect.fail(new LedgerDamaged({ file: `${place.segment}`, offset: place.offset, problem: record }))
          : Effect.succeed(record)
      })
    return {
      storeId: this.storeId,
      cursor: Effect.sync(cursor),
      segments: Effect.sync(() =>
        this.segments.slice(this.archived).map(({ bytes, first, number }) => ({ number, first, bytes: bytes.length }))
      ),
      isBehind: unused,
      refresh: unused,
      acquire: unused,
      shouldRelease: unused,
      release: unused,
      commit: () => unused,
      read: (places) => Effect.forEach(places, read),
      commitOf: () => unused,
      scan: (from) =>
        Effect.sync(() => {
          let at = from === undefined ? oldest().first - 1 : from.position
          const next = Effect.suspend((): Effect.Effect<ReadonlyArray<Commit>, LedgerError> => {
            if (from !== undefined && from.segment < oldest().number) {
              return Effect.die(new Error("a cursor in the archive"))
            }
            const until = cursor().position
            const page = this.commits.filter(({ first, last }) => first > at && last <= until).slice(0, 3)
            if (page.some(({ last }) => last >= this.damagedFrom)) {
              return Effect.fail(new LedgerDamaged({ file: "x", offset: 0, problem: "for a test" }))
            }
            at = page.at(-1)?.last ?? at
            this.scanned += page.length
            return Effect.succeed(page)
          })
          return { next }
        }),
      holds: (kept) =>
        Effect.sync(() =>
          this.commits.some(({ cursor }) => cursor.position === kept.position && cursor.hash === kept.hash)
        ),
      destroy: unused
    }
  }

  layer(known?: () => number): Layer.Layer<Ledger> {
    return Layer.sync(Ledger, () => Ledger.of(this.ledger(known)))
  }
}
