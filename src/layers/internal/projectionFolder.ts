/** Where a projection's files lie, and the small ones among them. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Position from "../../Position.ts"
import { type Durability, type Ledger, type LedgerError, LedgerUnsupported } from "../../services/Ledger.ts"
import type { Lock, LockTimeout } from "../../services/Lock.ts"
import type { Notice } from "../../services/ProjectionStore.ts"
import type { Storage } from "../../services/Storage.ts"
import { toFileName } from "./fileKey.ts"

// models

export interface Options {
  /** The store's name: a folder below the storage's root. */
  readonly store: string
  readonly readOnly: boolean
  /** One readable JSON file per key. */
  readonly stateFiles: boolean
  /** Makes these read-only. */
  readonly writeProtect: boolean
  readonly allowOtherHosts: boolean
}

/** One version of one projection, and what it is kept with. */
export interface Place extends Options {
  readonly name: string
  readonly version: number
  readonly storage: Storage["Service"]
  readonly lock: Lock["Service"]
  readonly folder: string
  readonly makeLedger: (options: {
    readonly store: string
    readonly readOnly: boolean
    readonly durability: Durability
    readonly segmentSize: number
    readonly allowOtherHosts: boolean
  }) => Effect.Effect<Ledger["Service"], LedgerError | LockTimeout, Storage | Lock | Scope.Scope>
}

const format = 1
/** Of the small files. What is longer is damaged. */
const most = 1024 * 1024
const encode = (json: unknown): Uint8Array => Buffer.from(JSON.stringify(json, null, 2) + "\n")

const parse = (bytes: Uint8Array): { readonly [key: string]: unknown } | undefined => {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"))
    return typeof json === "object" && json !== null ? json as { readonly [key: string]: unknown } : undefined
  } catch {
    return undefined
  }
}

// paths

export const folderOf = (store: string, name: string, version: number): string =>
  `${store}/projections/${toFileName(name)}/${version}`

export const pathOf = (place: Place, generation: number): string =>
  `${place.folder}/${generation.toString().padStart(10, "0")}`

export const lockOf = (place: Place): string => `${place.folder}/runner`

/** The folders above a generation, from the store's own on. */
const above = (place: Place): ReadonlyArray<string> => {
  const parts = place.folder.split("/")
  return [1, 2, 3, 4].map((n) => parts.slice(0, n).join("/"))
}

/** Makes the folder level by level: of a store that is there, since one that was deleted is not revived. */
export const make = (place: Place) =>
  Effect.forEach(above(place).slice(1), (path) => place.storage.makeDirectory(path, { parents: false }), {
    discard: true
  })

/** Makes the names of the folders durable. */
export const sync = (place: Place) =>
  Effect.forEach(above(place), (path) => place.storage.syncDirectory(path), { discard: true })

// generations

/** The highest number that a folder's name has room for. */
export const lastNumber = 9_999_999_999

/** Their numbers, the oldest first. */
export const generations = (place: Place) =>
  Effect.map(
    place.storage.list(place.folder),
    (entries) =>
      entries.flatMap(({ kind, name }) => kind === "directory" && /^\d{10}$/.test(name) ? [Number(name)] : [])
        .sort((a, b) => a - b)
  )

/** The highest number that anything has, be it a generation or not. */
export const highestNumber = (place: Place) =>
  Effect.map(
    place.storage.list(place.folder),
    (entries) => entries.reduce((most, { name }) => /^\d{10}$/.test(name) ? Math.max(most, Number(name)) : most, 0)
  )

/** What processes that were killed had half made or half removed. For whoever has the claim. */
export const removeLeftOvers = Effect.fnUntraced(function*({ folder, storage }: Place) {
  for (const { name } of yield* storage.list(folder)) {
    if (/^\.\d{10}\.(new|deleted)-|^\..*\.tmp$/.test(name)) yield* storage.remove(`${folder}/${name}`)
  }
})

// current.json: which generation readers look at

/** `undefined`: none is live. 0: it cannot be told from the file. */
export const readCurrent = Effect.fnUntraced(function*({ folder, storage }: Place) {
  const file = `${folder}/current.json`
  const bytes = yield* storage.readDocument(file, { most })
  if (bytes === undefined) return undefined
  const found = parse(bytes)
  if (Number.isSafeInteger(found?.format) && (found?.format as number) > format) {
    return yield* new LedgerUnsupported({
      file,
      problem: `it has format ${String(found?.format)}, and this version reads format ${format}: use a newer version`
    })
  }
  const generation = found?.generation
  const isNumber = Number.isSafeInteger(generation) && (generation as number) >= 1 &&
    (generation as number) <= lastNumber
  return isNumber ? generation as number : 0
})

/** Durable when it returns. */
export const writeCurrent = ({ folder, name, storage, version }: Place, generation: number) =>
  storage.replaceDocument(`${folder}/current.json`, encode({ format, name, version, generation }), { sync: true })

// notice.json: why the projection stands still

export const readNotice = ({ folder, storage }: Place) =>
  Effect.map(storage.readDocument(`${folder}/notice.json`, { most }), (bytes): Notice | undefined => {
    const { position, problem } = (bytes && parse(bytes)) ?? {}
    return Position.is(position) && typeof problem === "string" ? { position, problem } : undefined
  })

export const writeNotice = ({ folder, storage }: Place, notice: Notice | undefined) =>
  notice === undefined
    ? storage.remove(`${folder}/notice.json`)
    : storage.replaceDocument(
      `${folder}/notice.json`,
      encode({ position: notice.position, problem: notice.problem }),
      { sync: false }
    )
