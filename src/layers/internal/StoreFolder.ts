/**
 * A store's folder: made whole by one rename, opened only if it is a store of a format that this version knows, and removed by one
 * rename as well.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { LedgerDamaged, LedgerUnsupported } from "../../services/Ledger.ts"
import { Storage, StorageError } from "../../services/Storage.ts"
import { type Header, newStoreId } from "./ledgerFormat.ts"
import * as Format from "./ledgerFormat.ts"

/** What `store.json` says. */
interface Description {
  readonly format: number
  readonly features: ReadonlyArray<string>
  readonly id: string
  readonly name: string
  /** ISO date. */
  readonly created: string
}

export const segmentName = (n: number): string => `${n.toString().padStart(10, "0")}.jsonl`
/** The number of the segment that has this name. */
export const segmentNumber = (name: string): number | undefined =>
  /^\d{10}\.jsonl$/.test(name) ? parseInt(name, 10) : undefined
/** With the store's id: a baton that comes too late, when another store has the name, means nothing there. */
export const batonName = (n: number, storeId: string): string => `${n.toString().padStart(10, "0")}.${storeId}.free`

/** The highest number that its name has room for: one more would be found by nobody. */
export const lastSegment = 9_999_999_999

/** Folders that were being made or removed when their process died are removed after so many milliseconds. */
const leftOverAge = 3_600_000

/** The folder that a store lies in, "" for the root, and its name there, to be put together again with a prefix. */
const split = (store: string): { readonly folder: string; readonly prefix: string; readonly name: string } => {
  const at = store.lastIndexOf("/")
  return { folder: store.slice(0, Math.max(at, 0)), prefix: store.slice(0, at + 1), name: store.slice(at + 1) }
}

const description = (store: string) => `${store}/store.json`
/** No description is longer. */
const most = 64 * 1024

/** The id of the store in this folder, or `undefined` where there is none. Refuses what is not a store, or a newer one. */
export const inspect = Effect.fnUntraced(function*(store: string) {
  const storage = yield* Storage
  let bytes = yield* storage.readDocument(description(store), { most })
  // A store is made, and removed, by one rename: of a folder that is none both looks must say so.
  for (let looks = 1; bytes === undefined; looks++) {
    const entries = yield* storage.list(store)
    if (entries.length === 0) return undefined
    bytes = yield* storage.readDocument(description(store), { most })
    if (bytes !== undefined || looks < 2) continue
    return yield* new LedgerUnsupported({
      file: store,
      problem: "the folder holds files but no store.json, so it is no store: give another root or store name"
    })
  }
  const refuse = (problem: string) => new LedgerUnsupported({ file: description(store), problem })
  const found = parse(bytes)
  if (!isDescription(found)) {
    // beside a ledger it is damage; alone it is somebody else's file
    if (!(yield* storage.exists(`${store}/ledger`))) {
      return yield* refuse("it does not describe a store: give another root or name")
    }
    return yield* new LedgerDamaged({ file: description(store), offset: 0, problem: "it does not describe the store" })
  }
  if (found.format !== Format.format) {
    return yield* refuse(
      `the store has format ${found.format}, and this version reads format ${Format.format}: use a newer version`
    )
  }
  if (found.features.length > 0) {
    return yield* refuse(
      `the store needs the features ${
        Format.showList(found.features)
      }, which this version does not know: use a newer version`
    )
  }
  return found.id
})

/** Whether it is a store's, of whatever format. */
const isDescription = (
  found: Partial<Description> | undefined
): found is Pick<Description, "format" | "features" | "id"> =>
  typeof found?.id === "string" && /^[\w-]{8,64}$/.test(found.id) && Format.isVersion(found.format) &&
  Format.areTexts(found.features)

/** Whether the folder has a description: without one, nothing can be told of it. */
export const isDescribed = Effect.fnUntraced(function*(store: string) {
  const storage = yield* Storage
  const bytes = yield* storage.readDocument(description(store), { most })
  return bytes !== undefined && isDescription(parse(bytes))
})

const parse = (bytes: Uint8Array): Partial<Description> | undefined => {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"))
    return typeof json === "object" && json !== null ? json : undefined
  } catch {
    return undefined
  }
}

/** Of which a store may have very many, that hold files only: each of those is looked at when it is opened. */
const bucket = /^(events\/\d{7}|projections\/[^/]+\/\d+\/states\/[0-9a-f]{2}|snapshots\/[^/]+\/\d+\/[0-9a-f]{2})$/
/** What else lies in a store's folder is none of the store's, and not looked into; but a link at its top is refused, whatever it is. */
const parts = /^(ledger|indices|events|projections|snapshots)(\/|$)/

/**
 * Fails if a folder of the store, or a file in one that holds not just copies, is a symbolic link: whoever put it there has the store lie
 * somewhere else in parts, and what is written, moved and removed by name would miss those. To be looked at before anything is written.
 */
export const refuseLinks = Effect.fnUntraced(function*(store: string) {
  const storage = yield* Storage
  const folders = [""]
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const entries = yield* storage.list(folder === "" ? store : `${store}/${folder}`).pipe(
      // What cannot be read is told by whoever needs it: of copies nobody does.
      Effect.catchIf(({ reason }) => folder !== "" && reason !== "SymbolicLink", () => Effect.succeed([]))
    )
    for (const { kind, name } of entries) {
      const path = folder === "" ? name : `${folder}/${name}`
      if (kind === "link") {
        // refused by the medium, which knows where its root is
        yield* Effect.scoped(storage.openFile(`${store}/${path}`))
        return yield* new StorageError({ operation: "open", path: `${store}/${path}`, reason: "SymbolicLink" })
      }
      if (kind === "directory" && parts.test(path) && !bucket.test(path)) folders.push(path)
    }
  }
})

/** Opens the store, after making it if there is none; returns its id. What lies above the store must exist, but for the root. */
export const open = Effect.fnUntraced(function*(
  store: string,
  options: { readonly readOnly: boolean; readonly durability: Header["durability"]; readonly writer: Header["writer"] }
) {
  const storage = yield* Storage
  const { folder, name, prefix } = split(store)
  const known = yield* inspect(store)
  if (known !== undefined) {
    if (!options.readOnly) {
      // whoever made the store may not have come to this yet, and what is appended from now on must not be lost with its name
      yield* storage.syncDirectory(folder)
      yield* Effect.ignore(removeLeftOvers(store))
    }
    return known
  }
  if (options.readOnly) return yield* new StorageError({ operation: "open", path: store, reason: "NotFound" })
  const now = yield* Clock.currentTimeMillis
  const made = `${prefix}.${name}.new-${yield* suffix(now)}`
  const id = newStoreId()
  if (folder !== "") yield* storage.makeDirectory(made, { parents: false })
  yield* storage.makeDirectory(`${made}/ledger`)
  yield* Effect.scoped(Effect.gen(function*() {
    const segment = yield* storage.createFile(`${made}/ledger/${segmentName(1)}`)
    const { bytes } = Format.encodeHeader({
      format: Format.format,
      features: [],
      store: id,
      segment: 1,
      algorithm: Format.algorithm,
      durability: options.durability,
      writer: options.writer,
      time: new Date(now).toISOString(),
      first: 1,
      previous: null
    })
    yield* segment.write(0, bytes)
    yield* segment.write(bytes.length, Format.confirmMark)
    yield* segment.sync
    yield* storage.createFile(`${made}/ledger/${batonName(1, id)}`)
  }))
  yield* storage.syncDirectory(`${made}/ledger`)
  const text: Description = {
    format: Format.format,
    features: [],
    id,
    name,
    created: new Date(now).toISOString()
  }
  yield* storage.replaceDocument(description(made), Buffer.from(JSON.stringify(text, null, 2) + "\n"), { sync: true })
  yield* storage.syncDirectory(made)
  // Of two that make one store at once, the second finds a folder that is not empty, and opens that.
  const mine = yield* storage.rename(made, store).pipe(
    Effect.as(true),
    Effect.catchTag("StorageError", (error) =>
      error.reason === "AlreadyExists"
        ? Effect.as(storage.remove(made), false)
        : Effect.fail(error))
  )
  yield* storage.syncDirectory(folder)
  if (mine) return id
  const other = yield* inspect(store)
  if (other !== undefined) return other
  return yield* new StorageError({ operation: "open", path: store, reason: "NotFound" })
})

/** Takes the store out of the way with one rename, then removes it. */
export const destroy = Effect.fnUntraced(function*(store: string) {
  const storage = yield* Storage
  const { folder, name, prefix } = split(store)
  const away = `${prefix}.${name}.deleted-${yield* suffix(yield* Clock.currentTimeMillis)}`
  yield* storage.rename(store, away)
  yield* storage.syncDirectory(folder)
  yield* storage.remove(away)
})

const suffix = (now: number) =>
  Effect.map(Random.nextIntBetween(0, 36 ** 6), (n) => `${now.toString(36)}-${n.toString(36)}`)

const removeLeftOvers = Effect.fnUntraced(function*(store: string) {
  const storage = yield* Storage
  const now = yield* Clock.currentTimeMillis
  const { folder, name: own, prefix: above } = split(store)
  for (const { kind, name } of yield* storage.list(folder)) {
    for (const prefix of [`.${own}.new-`, `.${own}.deleted-`]) {
      if (kind !== "directory" || !name.startsWith(prefix)) continue
      const time = parseInt(name.slice(prefix.length).split("-")[0] ?? "", 36)
      if (now - time > leftOverAge) yield* storage.remove(above + name)
    }
  }
})
