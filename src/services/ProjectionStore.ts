/**
 * Where read models lie: files, memory or SQL. Untyped states; `Projection` gives them their types, and `Projections` keeps them up
 * to date.
 *
 * States are kept by name and version of their projection. Of each there are generations: the live one, which readers see, and
 * perhaps one that is being built beside it and takes its place in one step. What holds for every layer:
 *
 * - States and the checkpoint that they belong to are saved in one step: none is ever seen or found, after whatever crash, without
 *   the other. So each event counts exactly once.
 * - Whoever saves must have seen all that was saved before: of two that believe to have the claim, one is told that it is not so.
 * - A crash may lose what was saved last, states and checkpoint together (it is folded again from the events); what `swap` made
 *   live stays live.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as text from "../internal/text.ts"
import type { Position } from "../Position.ts"

// models

/** A state with what is known about it. All of it follows from the events, so a rebuild gives the same. */
export interface StoredEntry {
  /** Not empty, at most 1 KiB of UTF-8, well-formed Unicode. */
  readonly key: string
  readonly state: Schema.Json
  /** Without duplicates. */
  readonly tags: ReadonlyArray<string>
  /** The last event that changed the state. */
  readonly position: Position
  /** How many events have changed it: 1 when it is made. */
  readonly version: number
  /** The timestamp of the event that made it, in milliseconds since 1970. */
  readonly created: number
  /** The timestamp of the event that changed it last, in milliseconds since 1970. */
  readonly updated: number
}

/** Up to where events are counted, and in which history. */
export interface Checkpoint {
  readonly storeId: string
  /** The last position that is counted. */
  readonly position: Position
  /** The hash of the commit that holds it. */
  readonly hash: string
  /** Events that were counted before gained tags at this position: a rebuild may give another result. */
  readonly retagged?: Position | undefined
}

/** Which entries, in which order. Equal times go by key; keys are compared by code points. */
export interface EntryOrder {
  readonly sort: "key" | "created" | "updated"
  readonly backwards: boolean
}

/** Entries in order, beginning behind a place that need not hold one any more. */
export interface EntryRange extends EntryOrder {
  readonly after:
    | { readonly key: string; /** The time that is sorted by; 0 for keys. */ readonly time: number }
    | undefined
  /** At least 1. */
  readonly limit: number
}

/** Why a projection stands still, for those who read it in other processes. */
export interface Notice {
  /** The event at which it stands. */
  readonly position: Position
  readonly problem: string
}

/** All that is stored of one build of a projection. */
export interface Generation {
  /** What it was built from, as `begin` was told. */
  readonly definition: string
  /** `undefined` before anything is counted; the generation is empty then. */
  readonly checkpoint: Effect.Effect<Checkpoint | undefined, ProjectionStoreError>
  /** How many entries there are. */
  readonly size: Effect.Effect<number, ProjectionStoreError>
  /** Those that exist, in the order asked for. */
  readonly read: (keys: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<StoredEntry>, ProjectionStoreError>
  readonly list: (range: EntryRange) => Effect.Effect<ReadonlyArray<StoredEntry>, ProjectionStoreError>
  /** Entries that have all of the tags (at least one is given), in the order of their keys. */
  readonly byTag: (tags: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<StoredEntry>, ProjectionStoreError>
}

/** What is saved in one step. */
export interface Changes {
  /** New states, or states instead of those that their keys had. Each key stands in one of the two lists, once. */
  readonly set: ReadonlyArray<StoredEntry>
  /** Keys whose state goes. */
  readonly removed: ReadonlyArray<string>
  readonly checkpoint: Checkpoint
}

export interface WritableGeneration extends Generation {
  /** Saves states and checkpoint in one step. Not interruptible. */
  readonly save: (changes: Changes) => Effect.Effect<void, ProjectionStoreError | ClaimLost>
}

/** The right to write one projection: one process at a time has it. A hint, as a lock is; `save` and `swap` make sure. */
export interface Claim {
  /** The generation that readers see; `undefined` before the first was built. */
  readonly live: Effect.Effect<WritableGeneration | undefined, ProjectionStoreError>
  /** One that was begun, here or by an earlier holder, and did not become live yet. */
  readonly building: Effect.Effect<WritableGeneration | undefined, ProjectionStoreError>
  /** Begins a new, empty one. One that was not finished is thrown away. */
  readonly begin: (definition: string) => Effect.Effect<WritableGeneration, ProjectionStoreError | ClaimLost>
  /** Makes the one that is being built live, in one step and durably, and removes the one before. */
  readonly swap: Effect.Effect<void, ProjectionStoreError | ClaimLost>
  /** Throws away the one that is being built, or the live one, which is of no use any more. */
  readonly discard: (which: "building" | "live") => Effect.Effect<void, ProjectionStoreError | ClaimLost>
  /** Tells those who read elsewhere why the projection stands still, or that it goes on. */
  readonly note: (notice: Notice | undefined) => Effect.Effect<void, ProjectionStoreError>
  /** Whether it should be given up: somebody waits for it, or it was lost. Cheap enough to ask some times a second. */
  readonly isWanted: Effect.Effect<boolean, ProjectionStoreError>
}

/** One version of one projection, as a process has it open. */
export interface Slot {
  /** What readers see now, also if another process has just changed it; `undefined` before the first was built. */
  readonly live: Effect.Effect<Generation | undefined, ProjectionStoreError>
  /** What was noted last. */
  readonly notice: Effect.Effect<Notice | undefined, ProjectionStoreError>
  /**
   * The claim, until the scope closes. `undefined` if somebody has it; with `wait` its holder is told, and it is waited for.
   * `readOnly` layers never give it.
   */
  readonly claim: (
    options: { readonly wait: boolean }
  ) => Effect.Effect<Claim | undefined, ProjectionStoreError, Scope.Scope>
  /** Whether somebody, in whatever process, has the claim. */
  readonly isClaimed: Effect.Effect<boolean, ProjectionStoreError>
}

// service

export class ProjectionStore extends Context.Service<ProjectionStore, {
  /** Whether nothing can be written: no claim is ever given. */
  readonly readOnly: boolean
  /** Opens what there is of a projection; nothing is written by that. Closed with the scope. */
  readonly open: (name: string, version: number) => Effect.Effect<Slot, ProjectionStoreError, Scope.Scope>
}>()("effect-opossum/services/ProjectionStore") {}

// errors

/** Read models cannot be read or written: the medium failed, or what is stored is damaged. They can be built again from the events. */
export class ProjectionStoreError extends Schema.TaggedError<ProjectionStoreError>()("ProjectionStoreError", {
  /** The projection's. */
  name: Schema.String,
  /** Whether what is stored is not what was written: no further try will read it, a rebuild makes it anew. */
  isDamaged: Schema.optional(Schema.Boolean),
  /** Whether a save was refused because of its size: nothing was written, and less may be saved. */
  isTooLarge: Schema.optional(Schema.Boolean),
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the read models of ${this.name} are ${this.isDamaged === true ? "damaged" : "unavailable"}: ` +
      `${text.ofCause(this.cause)}${this.isDamaged === true ? "; a rebuild makes them anew" : ""}`
  }
}

/** Somebody else has the claim now. Nothing was saved; what they saved must be seen first. */
export class ClaimLost extends Schema.TaggedError<ClaimLost>()("ClaimLost", { name: Schema.String }) {
  override get message(): string {
    return `another process writes the read models of ${this.name} now`
  }
}
