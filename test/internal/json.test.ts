import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as json from "../../src/internal/json.ts"

const { rawJSON } = JSON as unknown as { readonly rawJSON: (text: string) => object }

const problem = (value: unknown) => {
  const found = json.problem(value)
  return found && `${found.kind}: ${json.format(found)}`
}

describe("json", () => {
  it("names the place and the problem", () => {
    const table: ReadonlyArray<readonly [unknown, string]> = [
      [{ items: [0, 1, 2, { price: NaN }] }, "value: $.items[3].price is NaN"],
      [[[], [undefined]], "value: $[1][0] is undefined"],
      [{ "a b": { "c\"": 1n } }, "value: $[\"a b\"][\"c\\\"\"] is a bigint"],
      [{ a: [1, { b: 2 }], c: { d: () => 1 } }, "value: $.c.d is a function"],
      [Symbol("x"), "value: $ is a symbol"],
      [{ a: new Date(0) }, "value: $.a is no plain object but a Date"],
      [{ a: { [Symbol("x")]: 1 } }, "value: $.a has a symbol as a key"],
      [{ "": "\ud800" }, "value: $[\"\"] has half of a surrogate pair"],
      // what JSON would write as something else
      [{ a: Object.assign([1], { toJSON: () => 2 }) }, "value: $.a has a function toJSON"],
      [{ a: Object.defineProperty({}, "toJSON", { value: () => undefined }) }, "value: $.a has a function toJSON"],
      [[Object.assign([1], { key: 2 })], "value: $[0] is an array with keys of its own"],
      // an object that is written as a text of its own, whatever that is
      [{ a: rawJSON("1e400") }, "value: $.a is raw JSON, of which nobody looks at the text"],
      // An object on the way that was left again is not in the path.
      [{ a: { b: { c: 1 } }, d: -Infinity }, "value: $.d is -Infinity"]
    ]
    for (const [value, expected] of table) assert.strictEqual(problem(value), expected)
  })

  it("takes plain objects of whatever realm, and no others", () => {
    assert.isUndefined(problem(Object.create(null)))
    assert.isUndefined(problem(structuredClone({ a: [{}] })))
    for (
      const value of [new Map(), new (class A {})(), Object.create({ a: 1 }), /x/, new Error("x"), new String("x")]
    ) {
      assert.match(problem(value) ?? "", /is no plain object/)
    }
  })

  it("ends with 100 levels, whatever is below", () => {
    const deep = (levels: number, inner: unknown) => {
      let value = inner
      for (let i = 0; i < levels; i++) value = i % 2 === 0 ? { a: value } : [value]
      return value
    }
    assert.isUndefined(problem(deep(100, 1)))
    assert.match(problem(deep(101, 1)) ?? "", /^nesting: \$(\.a\[0\])+ is nested deeper than 100 levels/)
    assert.match(problem(deep(1_000_000, 1)) ?? "", /^nesting/)
    const cycle: Array<unknown> = []
    cycle.push(cycle)
    assert.match(problem(cycle) ?? "", /^nesting/)
  })

  it("ends with what is larger than an event may be, however small it looks", () => {
    let bomb: unknown = 1
    for (let i = 0; i < 90; i++) bomb = [bomb, bomb]
    assert.match(problem(bomb) ?? "", /^size/)
    assert.match(problem(["x".repeat(2 ** 24)]) ?? "", /^size/)
    assert.isUndefined(problem(["x".repeat(2 ** 24 - 4)]))
  })

  const hasHalfOfAPair = (value: unknown): boolean =>
    typeof value === "string"
      ? /\p{Cs}/u.test(value)
      : typeof value === "object" && value !== null && Object.entries(value).some((entry) => entry.some(hasHalfOfAPair))

  it.prop("finds nothing else wrong with JSON, and measures no more than it takes", [Schema.Json], ([value]) => {
    const { bytes, problem } = json.measure(value)
    assert.strictEqual(problem !== undefined, hasHalfOfAPair(value))
    assert.isAtMost(bytes, new TextEncoder().encode(JSON.stringify(value)).length)
  })

  it("measures plain ASCII exactly, but for numbers and words", () => {
    const value = { a: ["x", "yz", []], b: {}, c: [{}, {}] }
    assert.strictEqual(json.measure(value).bytes, JSON.stringify(value).length)
  })

  it.prop("what comes back from JSON is equal to what went in", [Schema.Json, Schema.Json], ([a, b]) => {
    const copy = JSON.parse(JSON.stringify(a)) as Schema.Json
    assert.isTrue(json.equals(a, copy))
    assert.isTrue(json.equals(copy, a))
    // Two texts with keys in order are the same if, and only if, the values are.
    const sorted = (value: Schema.Json): unknown =>
      Array.isArray(value)
        ? value.map(sorted)
        : typeof value === "object" && value !== null
        ? {
          entries: Object.entries(value).sort(([x], [y]) => x < y ? -1 : 1).map(([key, value]) => [key, sorted(value)])
        }
        : value
    assert.strictEqual(json.equals(a, b), JSON.stringify([sorted(a)]) === JSON.stringify([sorted(b)]))
  })

  it("equality looks at all of it, in whatever order its keys are", () => {
    const left: Schema.Json = { a: 1, b: [{ c: null, d: 0 }] }
    assert.isTrue(json.equals(left, { b: [{ d: -0, c: null }], a: 1 }))
    for (
      const other of [
        { a: 1 },
        { ...left, c: 1 },
        { a: 1, b: [{ c: null, d: 1 }] },
        { a: 1, b: [{ c: null, d: 0 }, 1] },
        { a: 1, b: { 0: { c: null, d: 0 } } },
        { a: "1", b: [{ c: null, d: 0 }] },
        { a: 1, b: [{ e: null, d: 0 }] },
        null,
        []
      ] as ReadonlyArray<Schema.Json>
    ) {
      assert.isFalse(json.equals(left, other), JSON.stringify(other))
      assert.isFalse(json.equals(other, left), JSON.stringify(other))
    }
    const own = JSON.parse("{\"__proto__\":1}") as Schema.Json
    assert.isFalse(json.equals(own, { a: 1 }))
    assert.isFalse(json.equals({ toString: 1 }, { a: 1 }))
  })
})
