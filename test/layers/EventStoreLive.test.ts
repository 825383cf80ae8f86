/** The contract of `EventStore`, kept by the real store in memory and on files. */
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
import type { Lock } from "../../src/services/Lock.ts"
import type { Storage } from "../../src/services/Storage.ts"
import { suite } from "../services/EventStore.contract.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

suite("Opossum in memory", Opossum.layerMemory)

suite(
  "Opossum on files",
  Layer.unwrap(Effect.map(temporaryFolder, (root) => Layer.orDie(Opossum.layer({ root, store: "store" }))))
)

/** So small that a handful of events fills a segment, and a run of the index. */
const tiny = (medium: Layer.Layer<Storage | Lock>, durability: "sync" | "os") =>
  EventStoreLive.layer({ store: "store", writeProtect: true }).pipe(
    Layer.provide(IndexLive.layer({ store: "store", runBytes: 1500 })),
    Layer.provide(LedgerLive.layer({ store: "store", segmentSize: 4000, writeProtect: true, durability })),
    Layer.provide(medium),
    Layer.orDie
  )

suite("tiny segments and runs in memory", tiny(Layer.mergeAll(StorageMemory.layer, LockMemory.layer), "sync"))

suite(
  "tiny segments and runs on files, unsynced",
  Layer.unwrap(
    Effect.map(
      temporaryFolder,
      (root) => tiny(Layer.mergeAll(StorageNode.layer({ root }), LockFile.layer({ root })), "os")
    )
  )
)
