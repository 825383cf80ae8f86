import { assert, describe, it } from "@effect/vitest"
import { Position } from "effect-opossum"
import * as Schema from "effect/Schema"

describe("Position", () => {
  it("is a whole number of at least 1", () => {
    const decode = Schema.decodeUnknownSync(Position.Position)
    for (const n of [1, 2, Number.MAX_SAFE_INTEGER]) {
      assert.strictEqual<number>(Position.make(n), n)
      assert.strictEqual<number>(decode(n), n)
      assert.isTrue(Position.is(n))
    }
    for (const n of [0, -1, 1.5, NaN, Infinity, 2 ** 53]) {
      assert.throws(() => Position.make(n), `${n} is no position`)
      assert.throws(() => decode(n))
      assert.isFalse(Position.is(n))
    }
    assert.isFalse(Position.is("1"))
  })
})
