/**
 * The truth: an append-only, hash-chained journal of commits. Assigns positions, commits batches durably and whole, recovers after a
 * crash, learns what other processes committed, and gives back records by their place. Everything else is derived from it.
 */
import type * as Arr from "effect/Array"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Position from "../Position.ts"
import type * as Tag from "../Tag.ts"
import type { LockTimeout } from "./Lock.ts"
import type { StorageError } from "./Storage.ts"

// models

/** How far a commit must have got before it is acknowledged: onto the medium, or to the operating system. */
export type Durability = "sync" | "os"

/** A point of the history between two commits: what lies before it is final. */
export interface Cursor {
  readonly segment: number
  /** The byte of the segment behind the last commit line, not counting the mark that confirms it. */
  readonly end: number
  /** The last position that is taken; 0 before the first. */
  readonly position: number
  /** The last commit's hash. */
  readonly hash: string
}

/** Where a record's line stands, without the line feed. */
export interface Place {
  readonly segment: number
  /** In bytes. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
}

/** What is known of a record's metadata: the rest is the writer's own. */
export interface Metadata {
  readonly id: string
  /** ISO date. */
  readonly timestamp: string
  readonly [key: string]: Schema.Json
}

/** What an index needs to know of an event: all but its data. */
export interface EventEntry extends Place {
  readonly kind: "event"
  readonly position: Position.Position
  readonly type: string
  readonly tags: ReadonlyArray<Tag.Tag>
  readonly metadata: Metadata
}

/** What the index needs to know of tags that were added later. */
export interface TagsEntry extends Place {
  readonly kind: "tags"
  readonly position: Position.Position
  readonly targets: ReadonlyArray<Target>
}

export type Entry = EventEntry | TagsEntry

/** An older event that gets more tags. */
export interface Target {
  readonly position: Position.Position
  readonly tags: ReadonlyArray<Tag.Tag>
}

/** A confirmed batch: durable, and part of the history for ever. */
export interface Commit {
  /** The cursor behind this commit. */
  readonly cursor: Cursor
  readonly first: Position.Position
  readonly last: Position.Position
  /** The bytes that it takes in its segment. */
  readonly bytes: number
  /** Milliseconds since 1970. */
  readonly time: number
  readonly entries: Arr.NonEmptyReadonlyArray<Entry>
}

/** A stored event, read back. Type, tags and metadata are as they were first written. */
export interface EventRecord {
  readonly kind: "event"
  readonly position: Position.Position
  readonly type: string
  readonly version: number
  readonly tags: ReadonlyArray<Tag.Tag>
  readonly metadata: Metadata
  readonly data: Schema.Json
}

/** A stored addition of tags, read back. */
export interface TagsRecord {
  readonly kind: "tags"
  readonly position: Position.Position
  readonly targets: ReadonlyArray<Target>
}

export type Record = EventRecord | TagsRecord

/** A line's fields behind `position`, as JSON text. */
export interface Body {
  readonly text: string
  /** Its bytes in UTF-8. */
  readonly length: number
}

/** An event in the form in which it will be written, but for its position. */
export interface EventDraft {
  readonly kind: "event"
  readonly type: string
  readonly tags: ReadonlyArray<Tag.Tag>
  readonly metadata: Metadata
  readonly body: Body
}

/** Tags to be added, likewise. */
export interface TagsDraft {
  readonly kind: "tags"
  readonly targets: ReadonlyArray<Target>
  readonly body: Body
}

/** What is committed whole or not at all. */
export type Batch = Arr.NonEmptyReadonlyArray<EventDraft | TagsDraft>

/** What became of a group of batches. */
export interface Outcome {
  /** So many of the first batches are part of the history; the others certainly are not, and may be committed again. */
  readonly committed: number
  /** The hash behind each batch of the group. */
  readonly hashes: ReadonlyArray<string>
  /** What is new in the history. Empty if another process got in between: then `refresh` tells. */
  readonly commits: ReadonlyArray<Commit>
}

/** A segment that belongs to the history. */
export interface Segment {
  readonly number: number
  /** The position of its first record. */
  readonly first: number
  /** The bytes that count; for the newest segment those that are confirmed by now. */
  readonly bytes: number
}

// service

export class Ledger extends Context.Service<Ledger, {
  /** Made at the store's creation, never changed. */
  readonly storeId: string
  /** The last commit that this process knows. No look at the disk. */
  readonly cursor: Effect.Effect<Cursor>
  /** The segments of the history, oldest first. */
  readonly segments: Effect.Effect<ReadonlyArray<Segment>>
  /**
   * Whether there may be commits that this process does not know yet. Costs two or three system calls. A process that writes
   * looks for a successor only: as long as it has none, nobody else commits.
   */
  readonly isBehind: Effect.Effect<boolean, LedgerError>
  /** Learns the next commits, of whatever process, in their order: at most a few megabytes at a time. Empty: that is all. */
  readonly refresh: Effect.Effect<ReadonlyArray<Commit>, LedgerError>
  /**
   * Makes sure that this process may write, until `release`: waits for the lock, and carries on in the newest segment or begins
   * one. `true`: it may from now on, and `refresh` must tell what others did before. `false`: nothing came in between.
   */
  readonly acquire: Effect.Effect<boolean, LedgerError | LockTimeout>
  /** Whether another process waits for the right to write, or the lock was lost. */
  readonly shouldRelease: Effect.Effect<boolean>
  /** Gives the right to write to others. */
  readonly release: Effect.Effect<void>
  /**
   * Commits the batches with one write and one sync. Call `acquire` first, and if it says so `refresh` until nothing is new.
   * With `behind`, nothing is committed unless that is the last position: what was decided up to there holds. Not interruptible. Fails with `StorageError` if certainly nothing was committed, with `CommitOutcomeUnknown` if it cannot tell.
   */
  readonly commit: (
    batches: Arr.NonEmptyReadonlyArray<Batch>,
    behind?: number
  ) => Effect.Effect<Outcome, LedgerError | CommitOutcomeUnknown>
  /** The records at these places, in this order. Each line's checksum is checked. */
  readonly read: (places: ReadonlyArray<Place>) => Effect.Effect<ReadonlyArray<Record>, LedgerError>
  /** The commit that the record at this place belongs to. */
  readonly commitOf: (
    place: Place
  ) => Effect.Effect<{ readonly first: number; readonly last: number; readonly hash: string }, LedgerError>
  /** The commits behind a cursor (from the oldest without one), in order, up to `cursor`; hashes and checksums are verified. */
  readonly scan: (from: Cursor | undefined) => Effect.Effect<Scan, LedgerError, Scope.Scope>
  /** Whether a cursor that was kept somewhere is one of this history. */
  readonly holds: (cursor: Cursor) => Effect.Effect<boolean, StorageError>
  /** Removes the store. Every other instance fails with `LedgerDeleted` from then on. */
  readonly destroy: Effect.Effect<void, LedgerError | LockTimeout>
}>()("effect-opossum/services/Ledger") {}

/** A walk along the history. */
export interface Scan {
  /** The next commits, a few megabytes at most; empty at the end. */
  readonly next: Effect.Effect<ReadonlyArray<Commit>, LedgerError>
}

// errors

/** The ledger's bytes are not what was written. Never repaired silently. */
export class LedgerDamaged extends Schema.TaggedError<LedgerDamaged>()("LedgerDamaged", {
  file: Schema.String,
  /** In bytes. */
  offset: Schema.Int,
  /** The first position that is concerned, where it is known. */
  position: Schema.optional(Position.Position),
  problem: Schema.String
}) {
  override get message(): string {
    const position = this.position === undefined ? "" : ` (position ${this.position})`
    return `${this.file} is damaged at byte ${this.offset}${position}: ${this.problem}`
  }
}

/** The folder is no store, or one that this version cannot read. */
export class LedgerUnsupported extends Schema.TaggedError<LedgerUnsupported>()("LedgerUnsupported", {
  file: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.file}: ${this.problem}`
  }
}

/** The store was deleted, or another one put in its place, while it was open. */
export class LedgerDeleted extends Schema.TaggedError<LedgerDeleted>()("LedgerDeleted", {}) {
  override readonly message = "the store was deleted while it was open"
}

/** The store was opened for reading only. */
export class LedgerReadOnly extends Schema.TaggedError<LedgerReadOnly>()("LedgerReadOnly", {}) {
  override readonly message = "the store was opened with readOnly: nothing can be written"
}

/** The medium failed at a moment when the commit may or may not have become part of the history. */
export class CommitOutcomeUnknown extends Schema.TaggedError<CommitOutcomeUnknown>()("CommitOutcomeUnknown", {
  cause: Schema.Defect()
}) {
  override readonly message = "the medium failed during a commit, and again when asked what became of it"
}

export type LedgerError = StorageError | LedgerDamaged | LedgerUnsupported | LedgerDeleted | LedgerReadOnly
