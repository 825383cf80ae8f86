import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Lock } from "../../src/services/Lock.ts"
import * as LockGranted from "../../src/testing/LockGranted.ts"

describe("LockGranted", () => {
  it.effect("is granted to everybody at once, and looks like a lock that nobody else wants", () =>
    Effect.gen(function*() {
      const lock = yield* Lock
      const both = [yield* lock.acquire("shop/writer"), yield* lock.acquire("shop/writer", { timeout: 0 })]
      for (const held of both) {
        assert.isFalse(yield* held.isContended)
        assert.isFalse(yield* held.isLost)
      }
      assert.isUndefined(yield* lock.holder("shop/writer"))
    }).pipe(Effect.provide(LockGranted.layer)))
})
