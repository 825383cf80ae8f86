import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LockFile from "../../src/layers/LockFile.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as StorageMemory from "../../src/layers/StorageMemory.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import { suite } from "../services/Ledger.contract.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

suite("in memory", Layer.mergeAll(StorageMemory.layer, LockMemory.layer))
suite(
  "on files",
  Layer.unwrap(
    Effect.map(temporaryFolder, (root) => Layer.mergeAll(StorageNode.layer({ root }), LockFile.layer({ root })))
  )
)
