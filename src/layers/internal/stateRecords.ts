/**
 * What a projection's log holds: states, removals and checkpoints, as records of the ledger. `docs/storage-format.md` describes the
 * same. All that an index needs stands in a record's tags and metadata, so that following a log parses each line once.
 */
import type * as Arr from "effect/Array"
import { show } from "../../internal/text.ts"
import * as Time from "../../internal/time.ts"
import * as Position from "../../Position.ts"
import type { EventDraft, EventEntry, Metadata, Place } from "../../services/Ledger.ts"
import type { Changes, Checkpoint, StoredEntry } from "../../services/ProjectionStore.ts"
import * as Format from "./ledgerFormat.ts"
import type { IndexEntry } from "./stateIndex.ts"

// models

export const format = 1

/** Why a generation was begun: to be built from the events, or as a shorter copy of the one before it. */
export type Purpose = "build" | "compaction"

export interface Begin {
  readonly purpose: Purpose
  readonly definition: string
}

/**
 * - `begin`: the first record: what the generation is
 * - `set`, `removed`: a key's new state; that it has none any more
 * - `checkpoint`: up to where events are counted in what stands before it
 * - `live`: from here on readers see this generation
 * - `ended`: a newer one is about to take this one's place. Means nothing: to commit it proves that nobody else writes here
 */
export type Type = "begin" | "set" | "removed" | "checkpoint" | "live" | "ended"

// encoding

/** An ISO date also of a number that no date has. */
const toIso = (millis: number): string => Time.toIso(Math.abs(millis) <= 8.64e15 ? millis : 0)

const draft = (
  type: Type,
  metadata: Metadata,
  tags: ReadonlyArray<string> = [],
  data: unknown = null
): EventDraft => ({
  kind: "event",
  type,
  tags: tags as EventDraft["tags"],
  metadata,
  body: Format.encodeEvent({ type, version: 1, tags, metadata, data })
})

export const set = ({ created, key, position, state, tags, updated, version }: StoredEntry): EventDraft =>
  draft("set", { id: key, timestamp: toIso(updated), position, version, created, updated }, tags, state)

export const removed = (key: string, now: number): EventDraft => draft("removed", { id: key, timestamp: toIso(now) })

export const checkpoint = ({ hash, position, retagged, storeId }: Checkpoint, now: number): EventDraft =>
  draft("checkpoint", {
    id: "checkpoint",
    timestamp: toIso(now),
    storeId,
    position,
    hash,
    ...(retagged === undefined ? {} : { retagged })
  })

export const begin = ({ definition, purpose }: Begin, now: number): EventDraft =>
  draft("begin", { id: "begin", timestamp: toIso(now), format, purpose, definition })

export const mark = (type: "live" | "ended", now: number): EventDraft =>
  draft(type, { id: type, timestamp: toIso(now) })

/** The drafts of one save. */
export const save = (changes: Changes, now: number): Arr.NonEmptyArray<EventDraft> => {
  const drafts: Array<EventDraft> = changes.set.map(set)
  for (const key of changes.removed) drafts.push(removed(key, now))
  drafts.push(checkpoint(changes.checkpoint, now))
  return drafts as [EventDraft, ...Array<EventDraft>]
}

/** Why a batch cannot be written; `undefined` if it can. */
export const problemOf = (batch: ReadonlyArray<EventDraft>): string | undefined => {
  let bytes = 0
  for (const { body, metadata } of batch) {
    const length = body.length + Format.lineOverhead
    if (length > Format.maxLineBytes) return `the state of ${JSON.stringify(metadata.id)} is larger than 16 MiB`
    bytes += length
  }
  return bytes + Format.commitLineBytes > Format.maxBatchBytes ? "what is to be saved is larger than 64 MiB" : undefined
}

// decoding: of records whose checksums were compared, and whose fields are checked first: somebody may have written them by hand

/** What is wrong with a record. */
export const problemIn = ({ metadata, type }: EventEntry): string | undefined => {
  const { created, hash, position, retagged, storeId, updated, version } = metadata
  switch (type) {
    case "set":
      return Position.is(position) && Position.is(version) && Number.isFinite(created) && Number.isFinite(updated)
        ? undefined
        : "the state's metadata is not what it should be"
    case "checkpoint":
      return typeof storeId === "string" && typeof hash === "string" && Position.is(position) &&
          (retagged === undefined || Position.is(retagged))
        ? undefined
        : "the checkpoint's metadata is not what it should be"
    default:
      return undefined
  }
}

export const toBegin = ({ metadata, type }: EventEntry): Begin | string => {
  if (type !== "begin") return "its first record is not the one that begins a generation"
  if (metadata.format !== format) {
    return `it has format ${show(metadata.format)}, and this version reads format ${format}: use a newer version`
  }
  const purpose: Purpose = metadata.purpose === "compaction" ? "compaction" : "build"
  return { purpose, definition: typeof metadata.definition === "string" ? metadata.definition : "" }
}

export const toCheckpoint = ({ metadata }: EventEntry): Checkpoint => {
  const { hash, position, retagged, storeId } = metadata as unknown as Checkpoint
  return { storeId, position, hash, ...(retagged === undefined ? {} : { retagged }) }
}

export const toIndexEntry = (entry: EventEntry): IndexEntry<Place> => {
  const { length, metadata, offset, segment, tags } = entry
  const { created, position, updated, version } = metadata as unknown as StoredEntry
  return { key: metadata.id, tags, position, version, created, updated, place: { segment, offset, length } }
}
