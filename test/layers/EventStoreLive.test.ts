/** The rules of every event store, kept by the real one in memory and on files, by one client and by several. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockFile from "../../src/layers/LockFile.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as StorageMemory from "../../src/layers/StorageMemory.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import { Lock } from "../../src/services/Lock.ts"
import { Storage } from "../../src/services/Storage.ts"
import { suite } from "../support/conformance.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

/** A medium in memory that all who are given the layer share. */
const sharedMemory = Effect.gen(function*() {
  const storage = yield* StorageMemory.make
  const lock = Context.get(yield* Layer.build(LockMemory.layer), Lock)
  return Layer.mergeAll(Layer.succeed(Storage, storage), Layer.succeed(Lock, lock))
})

const folder = Effect.map(
  temporaryFolder,
  (root) => Layer.mergeAll(StorageNode.layer({ root }), LockFile.layer({ root }))
)

/** So small that a handful of events fills a segment, and a run of the index. */
const tiny = (durability: "sync" | "os") => (medium: Layer.Layer<Storage | Lock>) =>
  EventStoreLive.layer({ store: "store", writeProtect: true }).pipe(
    Layer.provide(IndexLive.layer({ store: "store", runBytes: 1500 })),
    Layer.provide(LedgerLive.layer({ store: "store", segmentSize: 4000, writeProtect: true, durability })),
    Layer.provide(medium)
  )

const inMemory = Effect.map(sharedMemory, tiny("sync"))
const onFiles = Effect.map(temporaryFolder, (root) => Opossum.layer({ root, store: "store" }))
const tinyOnFiles = Effect.map(folder, tiny("os"))

suite("Opossum in memory", Opossum.layerMemory, { maintenance: true })
suite("Opossum on files", Layer.unwrap(onFiles), { maintenance: true, place: onFiles, runs: 30 })
suite("tiny segments and runs in memory", Layer.unwrap(inMemory), { maintenance: true, place: inMemory, runs: 50 })
suite("tiny segments and runs on files, unsynced", Layer.unwrap(tinyOnFiles), {
  maintenance: true,
  place: tinyOnFiles,
  runs: 30
})
