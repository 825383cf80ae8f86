import { assert, describe, it } from "@effect/vitest"
import { Event, Query, Tag } from "effect-opossum"
import * as DateTime from "effect/DateTime"
import * as Equal from "effect/Equal"
import * as Hash from "effect/Hash"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"

const Day = Schema.DateTimeUtcFromString.pipe(Tag.as("day"))
const Id = Schema.NonEmptyString.pipe(Tag.as("id"))

class A extends Event.Class<A>()("A", { id: Id, day: Day }) {}
class B extends Event.Class<B>()("B", { id: Id, n: Schema.FiniteFromString.pipe(Tag.as("n")) }) {}
class OtherA extends Event.Class<OtherA>()("A", { id: Id }) {}
class OfFunction extends Event.Class<OfFunction>()("OfFunction", { n: Schema.Int }, {
  tags: ({ n }) => [`even:${n % 2 === 0}`]
}) {}

const first = ({ items }: Query.Any): Query.Item => items === "all" ? assert.fail("all") : items[0]
const untyped = <Args extends ReadonlyArray<unknown>>(f: unknown) => f as (...args: Args) => Query.Any

describe("Query", () => {
  it("encodes a tag's value as the field does", () => {
    const day = DateTime.makeUnsafe("2024-05-06T00:00:00Z")
    assert.deepStrictEqual<unknown>(first(Query.of(A, { day, id: ["1", "2"] })), {
      types: ["A"],
      tags: ["day:2024-05-06T00:00:00.000Z", "id:1", "id:2"]
    })
    assert.deepStrictEqual<unknown>(first(Query.of(B, { n: 7 })), { types: ["B"], tags: ["n:7"] })
    assert.deepStrictEqual<unknown>(first(Query.of([A, B], { id: "" })), { types: ["A", "B"], tags: ["id:"] })
    assert.deepStrictEqual<unknown>(first(Query.of(OfFunction, { even: "true" })), {
      types: ["OfFunction"],
      tags: ["even:true"]
    })
    assert.deepStrictEqual<unknown>(first(Query.of(A)), { types: ["A"] })
  })

  it("throws when it cannot be one", () => {
    assert.throws(() => untyped(Query.of)([]), "types is empty")
    assert.throws(() => untyped(Query.of)(A, { id: undefined }), "the tag id has no value")
    assert.throws(() => untyped(Query.of)(A, { id: [] }), "the tag id has no value")
    assert.throws(() => untyped(Query.types)(), "types is empty")
    assert.throws(() => untyped(Query.tags)(), "tags is empty")
    assert.throws(() => untyped(Query.tags)(7), "is no text")
    assert.throws(() => untyped(Query.fromItems)(), "at least one item")
    assert.throws(() => untyped(Query.fromItems)({}), "types or tags")
    assert.throws(() => untyped(Query.fromItems)({ types: ["A"] }, { types: ["A"], tags: [] }), "tags is empty")
    assert.throws(() => untyped(Query.or)(), "at least one item")
    assert.throws(() => Query.types(""), "is empty")
    assert.throws(() => Query.types("a\nb"), "has a control character")
    assert.throws(() => untyped(Query.types)(undefined), "is no text")
    assert.throws(() => Query.types("é".repeat(129)), "is longer than 256 bytes")
    Query.types("é".repeat(128))
  })

  it("decodes a type by one class", () => {
    assert.throws(() => Query.of([A, OtherA]), "two classes of the type A")
    assert.throws(() => Query.or(Query.of(A), Query.of(OtherA)), "two classes of the type A")
    assert.throws(() => Query.or(Query.all, Query.of(A), Query.of(OtherA)), "two classes of the type A")
    assert.strictEqual(Query.or(Query.of(A), Query.of([A, B])).classes.size, 2)
  })

  it("or with all finds everything, and still decodes", () => {
    const query = Query.or(Query.types("X"), Query.all, Query.of(A))
    assert.strictEqual(query.items, "all")
    assert.strictEqual(query.classes.get("A"), A)
    assert.isTrue(Query.matches(query, { type: "whatever", tags: [] }))
  })

  it("finds an event by type and tags", () => {
    const event = { type: "A", tags: ["x:1", "y:1"] }
    const table: ReadonlyArray<readonly [Query.Any, boolean]> = [
      [Query.all, true],
      [Query.types("A"), true],
      [Query.types("B"), false],
      [Query.types("B", "A"), true],
      [Query.tags("x:1"), true],
      [Query.tags("x:1", "y:1"), true],
      [Query.tags("x:1", "y:2"), false],
      [Query.fromItems({ types: ["B"], tags: ["x:1"] }), false],
      [Query.fromItems({ types: ["B"] }, { tags: ["y:1"] }), true],
      [Query.fromItems({ types: ["A"], tags: ["z:1"] }, { types: ["B"] }), false]
    ]
    for (const [query, expected] of table) assert.strictEqual(Query.matches(query, event), expected, String(query))
  })

  it("has a normal form: no repetitions, nothing that no event can match", () => {
    assert.strictEqual(Query.normalize(Query.all), "all")
    assert.deepStrictEqual<unknown>(
      Query.normalize(Query.fromItems(
        { types: ["A", "B", "A"], tags: ["x:1", "x:1"] },
        { tags: ["x:1"] },
        { tags: ["x:1"], types: ["B", "A"] },
        { tags: ["x:", "x:1"] },
        { types: ["C"] }
      )),
      [{ types: ["A", "B"], tags: ["x:1"] }, { types: [], tags: ["x:1"] }, { types: ["C"], tags: [] }]
    )
    assert.deepStrictEqual(Query.normalize(Query.tags("x:")), [])
    assert.isFalse(Query.matches(Query.tags("x:"), { type: "A", tags: ["x:"] }))
  })

  it("is equal to one that finds the same and decodes it alike", () => {
    const left = Query.fromItems({ types: ["A", "B"], tags: ["x:1", "y:1"] }, { types: ["C"] })
    const right = Query.fromItems({ types: ["C"] }, { types: ["B", "A", "B"], tags: ["y:1", "x:1"] })
    assert.isTrue(Equal.equals(left, right))
    assert.strictEqual(Hash.hash(left), Hash.hash(right))
    assert.isTrue(Equal.equals(Query.of(A), Query.of(A)))
    assert.isFalse(Equal.equals(Query.of(A), Query.types("A")))
    assert.isFalse(Equal.equals(Query.of(A), Query.of(OtherA)))
    assert.isFalse(Equal.equals(Query.types("A"), Query.tags("A:1")))
    assert.isFalse(Equal.equals(Query.types("A"), Query.all))
    assert.isFalse(Equal.equals(left, { items: left.items }))
  })

  it("can be looked at", () => {
    const query = Query.or(Query.of([A, B], { id: "1" }), Query.tags("x:1", "y:1"))
    assert.strictEqual(String(query), "A or B tagged id:1; or tagged x:1 and y:1")
    assert.strictEqual(inspect(query), String(query))
    assert.strictEqual(String(Query.all), "every event")
    assert.strictEqual(
      JSON.stringify(query),
      "{\"_id\":\"Query\",\"items\":[{\"types\":[\"A\",\"B\"],\"tags\":[\"id:1\"]},{\"tags\":[\"x:1\",\"y:1\"]}]}"
    )
    assert.isTrue(Query.isQuery(query))
    assert.isFalse(Query.isQuery({ items: "all" }))
    assert.isFalse(Query.isQuery(null))
  })
})
