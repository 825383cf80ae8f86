/**
 * The states of decision models, in files beside the store's own, so that a decision reads only what came after.
 *
 * A snapshot is used instead of events, so it must be what these events made: it is bound to the history by store, position and hash,
 * sealed by a checksum, and looked at again by each process that opens the store. Whatever is wrong with one, it is none. Nothing
 * here is synced, and nothing of it is waited for: all of it can be made again.
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventStoreLive, IndexLive, LedgerLive, LockFile, SnapshotsFiles, StorageNode } from "effect-opossum"
 *
 * const store = "school"
 *
 * // What Opossum.layer does, for those who put the parts together themselves.
 * export const StoreLive = SnapshotsFiles.layer({ store }).pipe(
 *   Layer.provideMerge(EventStoreLive.layer({ store })),
 *   Layer.provide(IndexLive.layer({ store })),
 *   Layer.provide(LedgerLive.layer({ store })),
 *   Layer.provide([StorageNode.layer({ root: "data" }), LockFile.layer({ root: "data" })])
 * )
 * ```
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Decision from "../services/Decision.ts"
import { EventStore } from "../services/EventStore.ts"
import { type Anchor, EventStoreMaintenance } from "../services/EventStoreMaintenance.ts"
import { Storage } from "../services/Storage.ts"
import { elapsed } from "./internal/realTime.ts"
import * as Format from "./internal/snapshotFormat.ts"
import { type Kept, SnapshotMemory } from "./internal/snapshotMemory.ts"

// options

export interface Options {
  /** The store's name: a folder below the storage's root. */
  readonly store: string
  /** Uses the snapshots that there are, and keeps its own in memory only. Default: `false`. */
  readonly readOnly?: boolean | undefined
}

/** A state whose JSON takes more bytes is not kept: reading it would take as long as reading the events. */
const largestState = 1024 * 1024
/** In bytes: a state, and what stands around it. What is longer is none. */
const longestFile = 2 * 1024 * 1024
/** So many characters of states are kept in memory, about. */
const memorySize = 16 * 1024 * 1024
/**
 * A model's snapshots lie in 256 folders. When one holds more than this, the oldest go: so a model has 131,072 at most, and with
 * 100,000 courses all of them keep theirs.
 */
const mostPerFolder = 512
/** So many stay then, so that it is not done at each save: a folder is read through once in 128 new files. */
const keptPerFolder = 384
/** So many beginnings of files are read before other fibers get their turn. */
const filesPerTurn = 16
/** So many states wait to be written at most; what comes on top is kept in memory only. */
const mostWaiting = 256
/** How long closing waits for what is being written, in milliseconds. */
const closingTime = 1000

// constructors

type Service = Context.Service.Shape<typeof Decision.Snapshots>

interface Waiting {
  readonly place: Format.Place
  readonly document: Format.Document
}

export const make = Effect.fnUntraced(function*({ readOnly = false, store }: Options) {
  const storage = yield* Storage
  const events = yield* EventStore
  const { anchorAt, checkAnchor } = yield* EventStoreMaintenance
  /**
   * What is in here was made of this ledger's history, or compared with it: what is known of a history does not change while it is
   * open, so it needs no second look. (A store that is deleted does not answer any more.)
   */
  const memory = new SnapshotMemory(memorySize)
  /** The newest state of each that is to be written, the first that came first. */
  const waiting = new Map<string, Waiting>()
  let isWriting = false
  let deadline = Infinity
  /** Saves under way. */
  let busy = 0
  const idle = Latch.makeUnsafe(true)
  /** Models that were told to be too large. */
  const toldLarge = new Set<string>()
  let toldRefused = false
  /** Folders of versions beside which there is no older one. */
  const onlyVersions = new Set<string>()

  /** Whether this is of the history that is open. */
  const isOurs = (anchor: Anchor) =>
    Effect.as(checkAnchor(anchor), true).pipe(
      Effect.catchReason("EventStoreError", "HistoryDiverged", () => Effect.succeed(false))
    )

  // tidying up

  /** States of older versions are of no use to anybody: who still runs one makes its own again. */
  const removeOlderVersions = Effect.fnUntraced(function*({ folders }: Format.Place, version: number) {
    const [, model, own] = folders
    if (onlyVersions.has(own)) return
    for (const { kind, name } of yield* storage.list(model)) {
      if (kind === "directory" && /^\d{1,16}$/.test(name) && Number(name) < version) {
        yield* storage.remove(`${model}/${name}`)
      }
    }
    onlyVersions.add(own)
  })

  const ageOf = (file: string, storeId: string) =>
    Effect.scoped(Effect.flatMap(storage.openFile(file), ({ read }) => read(0, Format.peekBytes))).pipe(
      Effect.map((bytes) => Format.ageOf(bytes, storeId) ?? 0),
      // somebody else removed it, or it is none of ours
      Effect.catch(() => Effect.succeed(0))
    )

  const removeOldest = Effect.fnUntraced(function*({ file, folders }: Format.Place, storeId: string) {
    const folder = folders[3]
    const entries = yield* storage.list(folder)
    if (entries.length <= mostPerFolder) return
    const aged: Array<{ readonly path: string; readonly age: number }> = []
    for (const { kind, name } of entries) {
      const path = `${folder}/${name}`
      if (kind !== "file" || path === file) continue
      // What a process left half written is older than all.
      aged.push({ path, age: name.endsWith(".json") ? yield* ageOf(path, storeId) : 0 })
      if (aged.length % filesPerTurn === 0) yield* Effect.yieldNow
    }
    aged.sort((a, b) => a.age - b.age)
    for (const { path } of aged.slice(0, Math.max(0, aged.length + 1 - keptPerFolder))) yield* storage.remove(path)
  })

  // writing

  const replace = ({ document, place }: Waiting) =>
    storage.replaceDocument(place.file, Format.encode(document), { sync: false })

  const write = Effect.fnUntraced(function*(next: Waiting) {
    const { document, place } = next
    const bytes = yield* storage.readDocument(place.file, { most: longestFile })
    const found = bytes && Format.decode(bytes)
    if (found !== undefined && Format.belongs(found, place)) {
      // Another process may be ahead of this one, or have another store that took the name of this one.
      const isAnother = found.storeId !== document.storeId
      if (isAnother && !(yield* isOurs(document))) return
      if (!isAnother && found.position > document.position && (yield* isOurs(found))) return
    }
    yield* replace(next).pipe(
      Effect.catchIf((error) => error.reason === "NotFound", () =>
        // Level by level, in a store that is there: one that was deleted is not revived.
        Effect.andThen(
          Effect.forEach(place.folders, (folder) => storage.makeDirectory(folder, { parents: false }), {
            discard: true
          }),
          replace(next)
        ))
    )
    toldRefused = false
    if (bytes === undefined) yield* removeOldest(place, document.storeId)
    yield* removeOlderVersions(place, document.version)
  })

  /** Derived data is no reason to alarm anybody, nor to say the same thing again and again. */
  const refused = (cause: Cause.Cause<unknown>) =>
    Effect.suspend(() => {
      if (toldRefused) return Effect.void
      toldRefused = true
      return Effect.logDebug("Snapshots of decision models cannot be written, and are kept in memory", cause)
    })

  /** One fiber writes for all who save meanwhile. */
  const writeWaiting = Effect.uninterruptible(Effect.gen(function*() {
    if (isWriting) return
    isWriting = true
    for (;;) {
      if (elapsed() > deadline) waiting.clear()
      const [next] = waiting.values()
      if (next === undefined) break
      waiting.delete(next.place.id)
      yield* Effect.catchCause(write(next), refused)
    }
    isWriting = false
  }))

  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      // Who decided just now may have forked a save that did not begin yet.
      yield* Effect.yieldNow
      deadline = elapsed() + closingTime
      yield* idle.await
    })
  )

  const tellLarge = (name: string, bytes: number) =>
    Effect.suspend(() => {
      if (toldLarge.has(name)) return Effect.void
      toldLarge.add(name)
      return Effect.logWarning(
        `The decision model ${name} keeps no snapshot: its state takes ${bytes} bytes of JSON, more than ${largestState}. ` +
          "Make the state smaller, or the query narrower"
      )
    })

  // service

  /**
   * A snapshot is of the store that this layer stands on. Somebody may decide over another one, or over one that answers otherwise
   * (a program with two stores, a test): a state of this one would be taken for a state of that one.
   */
  const overThisStore = <A>(effect: Effect.Effect<A>): Effect.Effect<A | undefined> =>
    Effect.flatMap(
      Effect.serviceOption(EventStore),
      (store) => Option.isSome(store) && store.value === events ? effect : Effect.undefined
    )

  const toSnapshot = ({ position, state }: Kept): Decision.Snapshot => ({
    position,
    state: JSON.parse(state) as Schema.Json
  })

  const load = Effect.fnUntraced(function*(key: Decision.SnapshotKey) {
    const place = Format.placeOf(store, key)
    const known = memory.get(place.id)
    if (known !== undefined) return toSnapshot(known)
    const bytes = yield* storage.readDocument(place.file, { most: longestFile })
    const found = bytes && Format.decode(bytes)
    if (found === undefined || !Format.belongs(found, place)) return undefined
    if (yield* isOurs(found)) {
      memory.put(place.id, { position: found.position, state: found.state })
      return toSnapshot(found)
    }
    if (!readOnly) yield* storage.remove(place.file)
    return undefined
  })

  const save = Effect.fnUntraced(function*(key: Decision.SnapshotKey, snapshot: Decision.Snapshot) {
    const state = JSON.stringify(snapshot.state)
    const bytes = Buffer.byteLength(state)
    if (bytes > largestState) return yield* tellLarge(key.name, bytes)
    const place = Format.placeOf(store, key)
    const { hash, position, storeId } = yield* anchorAt(snapshot.position)
    memory.put(place.id, { position, state })
    if (readOnly) return
    const before = waiting.get(place.id)
    if (before === undefined ? waiting.size >= mostWaiting : before.document.position > position) return
    const { model, query, version } = place
    waiting.set(place.id, { place, document: { storeId, position, hash, model, version, query, state } })
    yield* writeWaiting
  })

  const service: Service = {
    load: (key) =>
      overThisStore(
        Effect.catch(load(key), (error) =>
          Effect.as(Effect.logDebug(`The snapshot ${key.name} cannot be loaded`, error), undefined))
      ),
    save: (key, snapshot) =>
      overThisStore(Effect.suspend(() => {
        busy++
        idle.closeUnsafe()
        return Effect.catchCause(save(key, snapshot), refused).pipe(
          Effect.ensuring(Effect.sync(() => {
            busy--
            if (busy === 0) idle.openUnsafe()
          }))
        )
      }))
  }
  return service
})

// layers

/**
 * Provides `Decision.Snapshots`, a reference: nothing asks for it by its type, so it must be among what a program is provided with.
 *
 * Only decisions over the very `EventStore` that this stands on get snapshots. Whoever wraps that service builds this layer over the
 * wrapped one.
 */
export const layer = (
  options: Options
): Layer.Layer<never, never, EventStore | EventStoreMaintenance | Storage> =>
  Layer.effect(Decision.Snapshots, make(options))
