import { assert, describe, it } from "@effect/vitest"
import { Metadata } from "effect-opossum"
import * as Effect from "effect/Effect"

describe("Metadata", () => {
  it.effect("is annotated from the outside in", () =>
    Effect.gen(function*() {
      const current = yield* Effect.service(Metadata.Current).pipe(
        Metadata.annotate({ userId: "inner", custom: { b: 2 } }),
        Metadata.annotate({ userId: "outer", correlationId: "c", custom: { a: 1, b: 1 } })
      )
      assert.deepStrictEqual<unknown>(current, { userId: "inner", correlationId: "c", custom: { a: 1, b: 2 } })
      assert.deepStrictEqual(yield* Effect.service(Metadata.Current), {})
    }))

  it("is not hidden by a key that says nothing", () => {
    assert.deepStrictEqual<unknown>(Metadata.merge({ userId: "a" }, { userId: undefined }), { userId: "a" })
  })

  it("keeps a key that is called __proto__", () => {
    const further = JSON.parse("{\"__proto__\":1}") as Metadata.Input
    assert.deepStrictEqual(Object.keys(Metadata.merge({}, further)), ["__proto__"])
    assert.deepStrictEqual(Object.keys(Metadata.merge(further, {})), ["__proto__"])
  })
})
