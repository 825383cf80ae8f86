/**
 * Positions for a query. Derived from the ledger's confirmed commits and bound to them by position and hash, so it can be deleted at
 * any time: what is missing or does not fit is derived anew.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Position from "../Position.ts"
import type * as Query from "../Query.ts"
import type * as Tag from "../Tag.ts"
import type { Commit, Cursor, LedgerError, Place } from "./Ledger.ts"

// models

/** Which positions a search is about; both ends are exclusive. */
export interface Range {
  readonly after: number
  readonly before: number
  readonly backwards: boolean
  /** About how many are wanted at a time: no more are looked for in advance, as far as that would take time. Default: a few thousand. */
  readonly atOnce?: number | undefined
}

/** An event that may match, and where its line is. */
export interface Candidate extends Place {
  readonly position: Position.Position
}

/** A search that goes on as far as it is asked to. */
export interface Candidates {
  /** The next ones, in the search's order, each position once; empty at the end. At most a few thousand at a time. */
  readonly next: Effect.Effect<ReadonlyArray<Candidate>, LedgerError>
}

// service

export class Index extends Context.Service<Index, {
  /** How far it covers the ledger. */
  readonly cursor: Effect.Effect<Cursor | undefined>
  /** Takes in the commits behind `cursor`, in order. */
  readonly add: (commits: ReadonlyArray<Commit>) => Effect.Effect<void>
  /**
   * Events that may match the query, by the tags that they were written with or that were added to them later (at whatever
   * position). Some may not match: the caller checks the events. None that matches is missing.
   */
  readonly find: (query: Query.Any, range: Range) => Candidates
  /** Records that added one of the query's tags to something, in ascending order; positions greater than `after`. */
  readonly findAdditions: (query: Query.Any, after: number) => Effect.Effect<ReadonlyArray<Candidate>, LedgerError>
  /** All records that added tags to something, newest first, in positions between `after` and `before` (both exclusive). */
  readonly additions: (after: number, before: number) => Candidates
  /** Events with one of these ids, ascending; some may have another id: the caller checks. */
  readonly findIds: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Candidate>, LedgerError>
  /**
   * Whether anything behind `after` may match, or may make an older event match. `false` is certain, for all that is covered now, and
   * costs a fraction of what a search does. `true` says nothing: the answer may be on the disk.
   */
  readonly mayMatch: (query: Query.Any, after: number) => boolean
  /** Whether there may be an event with one of these ids, in the same way. */
  readonly mayHaveIds: (ids: ReadonlyArray<string>) => boolean
  /** The tags that records at or below `head` added to each of these events. Events without any are left out. */
  readonly addedTags: (
    positions: ReadonlyArray<Position.Position>,
    head: number
  ) => Effect.Effect<ReadonlyMap<Position.Position, ReadonlyArray<Tag.Tag>>, LedgerError>
  /** The record's place at a position, be it an event or an addition of tags; `undefined` beyond what is covered. */
  readonly locate: (position: number) => Effect.Effect<Place | undefined, LedgerError>
  /** How many events there are, and how many records that are no events. */
  readonly counts: Effect.Effect<{ readonly events: number; readonly additions: number; readonly runs: number }>
}>()("effect-opossum/services/Index") {}
