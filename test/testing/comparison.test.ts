/** Sameness by structure, and what differences look like. */
import { assert, describe, it } from "@effect/vitest"
import { Option, Schema } from "effect"
import { align, differences, diffValues, isSame } from "../../src/testing/comparison.ts"

class Inner extends Schema.TaggedError<Inner>()("Inner", { value: Schema.Int }) {}
class Outer extends Schema.TaggedError<Outer>()("Outer", { inner: Inner }) {}

describe("isSame", () => {
  it("by structure, through errors, lists and records", () => {
    const value = (n: number) => ({
      list: [{ error: new Outer({ inner: new Inner({ value: n }) }) }],
      some: Option.some(1)
    })
    assert.isTrue(isSame(value(1), value(1)))
    assert.isFalse(isSame(value(1), value(2)))
    assert.isTrue(isSame({ a: 1 }, { a: 1, b: undefined }))
    assert.isFalse(isSame({ a: 1 }, { a: 1, b: null }))
    assert.isFalse(isSame([1], [1, 2]))
    assert.isFalse(isSame({ a: Option.some(1) }, { a: Option.some(2) }))
    assert.isTrue(isSame(new Map([[1, new Date(0)]]), new Map([[1, new Date(0)]])))
  })

  it("errors by class, message and fields", () => {
    class Mine extends Error {}
    assert.isFalse(isSame(new Error("a"), new Mine("a")))
    assert.isFalse(isSame(new Error("a"), new Error("b")))
    assert.isFalse(isSame(new Inner({ value: 1 }), new Inner({ value: 2 })))
    assert.isFalse(isSame(Object.assign(new Error("a"), { code: 1 }), Object.assign(new Error("a"), { code: 2 })))
  })

  it("ends with values that hold themselves", () => {
    const circle = (n: number) => {
      const out: Record<string, unknown> = { n }
      out.self = [out]
      return out
    }
    assert.isTrue(isSame(circle(1), circle(1)))
    assert.isFalse(isSame(circle(1), circle(2)))
  })
})

describe("align", () => {
  const texts = (left: string, right: string) =>
    align([...left], [...right], (a, b) => a === b).map(({ left, right }) =>
      left === undefined ? `+${right}` : right === undefined ? `-${left}` : left
    ).join(" ")

  it("keeps as much as there can be", () => {
    assert.strictEqual(texts("abcd", "abcd"), "a b c d")
    assert.strictEqual(texts("abcd", "acxd"), "a -b c +x d")
    assert.strictEqual(texts("", "ab"), "+a +b")
    assert.strictEqual(texts("ab", ""), "-a -b")
    assert.strictEqual(texts("xaybzc", "abc"), "-x a -y b -z c")
    assert.strictEqual(texts("ab", "ba"), "-a b +a")
  })

  it("gives both sides whole, with as many pairs as the longest common subsequence has", () => {
    const words = Array.from({ length: 3 ** 4 }, (_, n) => n.toString(3).padStart(4, "0"))
    const common = (a: string, b: string): number =>
      a === "" || b === ""
        ? 0
        : a[0] === b[0]
        ? 1 + common(a.slice(1), b.slice(1))
        : Math.max(common(a.slice(1), b), common(a, b.slice(1)))
    for (const a of words) {
      for (const b of words) {
        const lines = align([...a], [...b], (a, b) => a === b)
        assert.strictEqual(lines.map(({ left = "" }) => left).join(""), a)
        assert.strictEqual(lines.map(({ right = "" }) => right).join(""), b)
        assert.strictEqual(lines.filter(({ left, right }) => left && right).length, common(a, b))
      }
    }
  })
})

describe("differences", () => {
  it("say where, at most five times", () => {
    assert.deepStrictEqual(differences("data", { a: [{ b: 1 }], c: 1 }, { a: [{ b: 2 }], d: null }), [
      "a[0].b: expected 1, but it is 2",
      "c: expected 1, but it is nothing",
      "d: expected nothing, but it is null"
    ])
    assert.deepStrictEqual(differences("tags", ["a"], ["a", "b"]), [`tags: expected ["a"], but it is ["a","b"]`])
    assert.strictEqual(differences("data", [1, 2, 3, 4, 5, 6, 7], [2, 3, 4, 5, 6, 7, 8]).length, 5)
  })

  it("of lists go item by item", () => {
    assert.strictEqual(
      diffValues([{ a: 1 }, { b: 2 }], [{ a: 1 }, { b: 3 }]),
      "    { a: 1 }\n  - { b: 2 }\n  + { b: 3 }"
    )
  })
})
