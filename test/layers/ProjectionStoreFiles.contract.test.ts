import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockFile from "../../src/layers/LockFile.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as ProjectionStoreFiles from "../../src/layers/ProjectionStoreFiles.ts"
import * as StorageMemory from "../../src/layers/StorageMemory.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import { Lock } from "../../src/services/Lock.ts"
import { Storage } from "../../src/services/Storage.ts"
import * as LockGranted from "../../src/testing/LockGranted.ts"
import * as Contract from "../services/ProjectionStore.contract.ts"
import { entry } from "../support/projectionPlaces.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

const store = "shop"

const placeIn = Effect.fnUntraced(function*(storage: Layer.Layer<Storage>, lock: Layer.Layer<Lock>) {
  // what projections are of
  yield* Effect.scoped(Layer.build(LedgerLive.layer({ store }))).pipe(Effect.provide(Layer.merge(storage, lock)))
  const files = (lock: Layer.Layer<Lock>, readOnly = false) =>
    ProjectionStoreFiles.layer({ store, readOnly, stateFiles: false }).pipe(
      Layer.provide(Layer.merge(storage, lock))
    )
  return {
    layer: files(lock),
    // believes that the lock is its own
    thief: files(LockGranted.layer),
    readOnly: files(lock, true),
    // no line of a ledger has room for it
    refused: entry({ state: "x".repeat(16 * 1024 * 1024) })
  }
})

Contract.suite(
  "files in memory",
  Effect.gen(function*() {
    const context = yield* Layer.build(Layer.fresh(Layer.merge(StorageMemory.layer, LockMemory.layer)))
    return yield* placeIn(
      Layer.succeed(Storage, Context.get(context, Storage)),
      Layer.succeed(Lock, Context.get(context, Lock))
    )
  })
)

Contract.suite(
  "files",
  Effect.flatMap(
    temporaryFolder,
    (root) => placeIn(Layer.fresh(StorageNode.layer({ root })), Layer.fresh(LockFile.layer({ root })))
  )
)
