/**
 * A snapshot's file: one line of JSON, sealed by a checksum as the ledger's lines are. What it says is used instead of events, so not a
 * byte is believed before the checksum was compared.
 *
 * What tells its age stands first, so that the beginning of a file is enough to see which of many are old.
 */
import { createHash } from "node:crypto"
import { crc32 } from "node:zlib"
import * as Query from "../../Query.ts"
import type { SnapshotKey } from "../../services/Decision.ts"
import type { Anchor } from "../../services/EventStoreMaintenance.ts"
import { toFileName } from "./fileKey.ts"

// models

export interface Document extends Anchor {
  readonly model: string
  readonly version: number
  /** See `queryText`. */
  readonly query: string
  /** JSON. */
  readonly state: string
}

/** Where a snapshot lies, and what tells it from every other one. */
export interface Place {
  readonly model: string
  readonly version: number
  /** See `queryText`. */
  readonly query: string
  /** All three, as one text. */
  readonly id: string
  /** From the store's folder to the file's, each below the one before. */
  readonly folders: readonly [root: string, model: string, version: string, bucket: string]
  readonly file: string
}

const format = 1
/** `,"crc":"89abcdef"}` and a line feed. */
const endLength = 19
/** In so many bytes of a file's beginning `ageOf` finds what it looks for. */
export const peekBytes = 256

// places

/** Two queries that find the same events for the same reasons have the same text, however they were written. */
export const queryText = (query: Query.Any): string => {
  const items = Query.normalize(query)
  if (items === "all") return `"all"`
  return `[${
    items.map(({ tags, types }) => JSON.stringify({ types: [...types].sort(), tags: [...tags].sort() })).sort()
  }]`
}

export const placeOf = (store: string, { name, query, version }: SnapshotKey): Place => {
  const text = queryText(query)
  const hash = createHash("sha256").update(text, "utf8").digest("hex").slice(0, 32)
  const root = `${store}/snapshots`
  const model = `${root}/${toFileName(name)}`
  const ofVersion = `${model}/${version}`
  const bucket = `${ofVersion}/${hash.slice(0, 2)}`
  return {
    model: name,
    version,
    query: text,
    id: `${version} ${JSON.stringify(name)} ${text}`,
    folders: [root, model, ofVersion, bucket],
    file: `${bucket}/${hash}.json`
  }
}

// files

/** What stands behind all else: the checksum of what stands before. */
export const endOf = (bytes: Uint8Array): string => `,"crc":"${crc32(bytes).toString(16).padStart(8, "0")}"}\n`

export const encode = ({ hash, model, position, query, state, storeId, version }: Document): Uint8Array => {
  const head = JSON.stringify({ format, storeId, position, hash, model, version })
  const line = Buffer.from(`${head.slice(0, -1)},"query":${query},"state":${state}`)
  return Buffer.concat([line, Buffer.from(endOf(line))])
}

/** `undefined` if it is not, to the byte, what was written by a version of this format. */
export const decode = (bytes: Uint8Array): Document | undefined => {
  const end = bytes.length - endLength
  if (end < 2) return undefined
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (text.toString("latin1", end) !== endOf(bytes.subarray(0, end))) return undefined
  try {
    const found = JSON.parse(text.toString("utf8")) as Partial<Record<keyof Document | "format", unknown>> | null
    if (found === null || found.format !== format) return undefined
    const { hash, model, position, query, state, storeId, version } = found
    const isWhole = typeof storeId === "string" && Number.isSafeInteger(position) && typeof hash === "string" &&
      typeof model === "string" && Number.isSafeInteger(version) && query !== undefined && state !== undefined
    if (!isWhole) return undefined
    return {
      storeId,
      position: position as Document["position"],
      hash,
      model,
      version: version as number,
      query: JSON.stringify(query),
      state: JSON.stringify(state)
    }
  } catch {
    return undefined
  }
}

/** Whether a file holds what its name says, which is only a hash. */
export const belongs = (document: Document, { model, query, version }: Place): boolean =>
  document.model === model && document.version === version && document.query === query

/** By a file's beginning: the position, if it seems to be a snapshot of this store. For tidying up, where a mistake does no harm. */
export const ageOf = (beginning: Uint8Array, storeId: string): number | undefined => {
  const text = Buffer.from(beginning).toString("latin1")
  const start = `{"format":${format},"storeId":${JSON.stringify(storeId)},"position":`
  const position = text.startsWith(start) ? parseInt(text.slice(start.length), 10) : NaN
  return Number.isSafeInteger(position) ? position : undefined
}
