import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as StorageMemory from "../../src/layers/StorageMemory.ts"
import { Storage } from "../../src/services/Storage.ts"
import { suite } from "../services/Storage.contract.ts"

suite("StorageMemory", StorageMemory.layer)

describe("StorageMemory", () => {
  it.effect("begins empty in each build of the layer", () =>
    Effect.gen(function*() {
      const fill = Effect.flatMap(Storage, (storage) => storage.makeDirectory("a"))
      const look = Effect.flatMap(Storage, (storage) => storage.exists("a"))
      assert.isTrue(yield* Effect.andThen(fill, look).pipe(Effect.provide(StorageMemory.layer)))
      assert.isFalse(yield* look.pipe(Effect.provide(StorageMemory.layer)))
    }))

  it.effect("keeps apart what was made apart", () =>
    Effect.gen(function*() {
      const one = yield* StorageMemory.make
      const two = yield* StorageMemory.make
      yield* one.makeDirectory("a")
      assert.isFalse(yield* two.exists("a"))
    }))
})
