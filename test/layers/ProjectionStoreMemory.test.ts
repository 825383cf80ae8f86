import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ProjectionStoreMemory from "../../src/layers/ProjectionStoreMemory.ts"
import { ProjectionStore } from "../../src/services/ProjectionStore.ts"
import * as Contract from "../services/ProjectionStore.contract.ts"
import { memoryPlace } from "../support/projectionPlaces.ts"

Contract.suite("in memory", memoryPlace(ProjectionStoreMemory.make), { without: ["readOnly"] })

describe("ProjectionStoreMemory", () => {
  it.effect("each build of the layer has states of its own, which go with it", () =>
    Effect.gen(function*() {
      const isLive = Effect.gen(function*() {
        const slot = yield* (yield* ProjectionStore).open("courses", 1)
        const before = yield* slot.live
        const claim = yield* slot.claim({ wait: false })
        assert(claim !== undefined)
        yield* claim.begin("one")
        yield* claim.swap
        assert.isDefined(yield* slot.live)
        return before !== undefined
      })
      const twice = Effect.all([Effect.scoped(isLive), Effect.scoped(isLive)])
      for (let build = 0; build < 2; build++) {
        const found = yield* Effect.provide(twice, Layer.fresh(ProjectionStoreMemory.layer))
        assert.deepStrictEqual(found, [false, true])
      }
    }))
})
