/** The contract of `EventStore`, kept by the real store in memory and on files. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Opossum from "../../src/layers/Opossum.ts"
import { suite } from "../services/EventStore.contract.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

suite("Opossum in memory", Opossum.layerMemory)

suite(
  "Opossum on files",
  Layer.unwrap(Effect.map(temporaryFolder, (root) => Layer.orDie(Opossum.layer({ root, store: "store" }))))
)

suite(
  "Opossum on files, small segments, unsynced",
  Layer.unwrap(Effect.map(temporaryFolder, (root) =>
    Layer.orDie(Opossum.layer({ root, store: "store", durability: "os", segmentSize: 64 * 1024, writeProtect: true }))
  ))
)
