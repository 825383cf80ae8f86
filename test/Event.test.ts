import { assert, describe, it } from "@effect/vitest"
import { Event, Tag } from "effect-opossum"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const Id = Schema.NonEmptyString.pipe(Tag.as("id"))
const Day = Schema.DateTimeUtcFromString.pipe(Tag.as("day"))

class Plain extends Event.Class<Plain>()("Plain", { a: Schema.String }) {}
class Wrapped extends Event.Class<Wrapped>()("Wrapped", {
  a: Schema.optionalKey(Id),
  b: Schema.optional(Id),
  c: Schema.NullOr(Id),
  d: Schema.Array(Id),
  e: Id.pipe(Schema.brand("E")),
  f: Id.check(Schema.isMinLength(1)),
  g: Id.annotate({ title: "x" }),
  h: Schema.Int.pipe(Tag.as("n")),
  i: Schema.Array(Schema.Array(Schema.String.pipe(Tag.as("deep")))),
  day: Day
}) {}

const encode = (event: Event.Event): { readonly data: Schema.Json; readonly tags: ReadonlyArray<string> } => {
  const codec = (event.constructor as unknown as Event.AnyClass)["~codec"]
  const data = codec.encode(event)
  return { data, tags: codec.tags(event, data) }
}

describe("Event", () => {
  it("is an instance of its class", () => {
    const event = new Plain({ a: "x" })
    assert.strictEqual(event._tag, "Plain")
    assert.strictEqual(event.a, "x")
    assert.deepStrictEqual([Plain.type, Plain.version], ["Plain", 1])
    assert.isTrue(Event.isEvent(event))
    assert.isFalse(Event.isEvent({ ...event }))
    assert.isFalse(Event.isRaw(event))
    assert.throws(() => new Plain({ a: 7 as unknown as string }))
  })

  it("is tagged by marked fields, through whatever wraps the mark", () => {
    const day = DateTime.makeUnsafe("2024-05-06T00:00:00Z")
    const e = Id.pipe(Schema.brand("E")).make("e")
    const rest = { e, f: "f", g: "g", h: 7, day }
    assert.strictEqual(
      encode(new Wrapped({ ...rest, a: "a", b: "b", c: "c", d: ["d1", "d2"], i: [["x", "y"], ["z"]] })).tags.join(" "),
      "id:a id:b id:c id:d1 id:d2 id:e id:f id:g n:7 deep:x deep:y deep:z day:2024-05-06T00:00:00.000Z"
    )
    assert.strictEqual(
      encode(new Wrapped({ ...rest, b: undefined, c: null, d: [], i: [] })).tags.join(" "),
      "id:e id:f id:g n:7 day:2024-05-06T00:00:00.000Z"
    )
  })

  it("is not tagged by marks in what says nothing about it as a whole", () => {
    class Nested extends Event.Class<Nested>()("Nested", {
      record: Schema.Record(Schema.String, Id),
      option: Schema.Option(Id),
      struct: Schema.Struct({ id: Id })
    }) {}
    const event = new Nested({ record: { value: "x" }, option: Option.some("y"), struct: { id: "z" } })
    assert.deepStrictEqual(encode(event).tags, [])
  })

  it("is stored without its type", () => {
    assert.deepStrictEqual<unknown>(encode(new Plain({ a: "x" })).data, { a: "x" })
  })

  it("is decoded to the class that was asked", () => {
    class Base extends Event.Class<Base>()("Same", { a: Schema.String }) {}
    class Extended extends Base.extend<Extended>("Extended")({ b: Schema.Int }) {}
    const base = Base["~codec"].decode(1, { a: "x" })
    const extended = (Extended as unknown as Event.AnyClass)["~codec"].decode(1, { a: "x", b: 1 })
    assert.isTrue(base instanceof Base && !(base instanceof Extended))
    assert.isTrue(extended instanceof Extended && extended.b === 1)
    assert.deepStrictEqual<unknown>(encode(new Extended({ a: "x", b: 1 })).data, { a: "x", b: 1 })
  })

  it("counts its versions", () => {
    class Third extends Event.Class<Third>()("Third", { c: Schema.Int }, {
      upcast: [
        Event.upcast(Schema.Struct({ a: Schema.FiniteFromString }), ({ a }) => ({ b: a })),
        ({ b }) => ({ c: Number(b) * 2 })
      ]
    }) {}
    const { decode } = Third["~codec"]
    assert.strictEqual(Third.version, 3)
    assert.deepStrictEqual(decode(3, { c: 1 }), new Third({ c: 1 }))
    assert.deepStrictEqual(decode(2, { b: 1 }), new Third({ c: 2 }))
    assert.deepStrictEqual(decode(1, { a: "1" }), new Third({ c: 2 }))
    assert.throws(() => decode(1, { a: "one" }))
    assert.throws(() => decode(4, { c: 1 }), "version 4 of Third is newer than this program's 3")
  })

  it("has a type that can be stored", () => {
    assert.throws(() => Event.Class<Plain>()("", {}), "is empty")
    assert.throws(() => Event.Class<Plain>()("a\nb", {}), "has a control character")
    assert.throws(() => Event.Class<Plain>()("é".repeat(129), {}), "is longer than 256 bytes")
    assert.throws(() => Event.Class<Plain>()("RawEvent", {}), "is the name of what has no class")
  })

  it("is dressed step by step, and stays as it was itself", () => {
    const event = new Plain({ a: "x" })
    const once = Event.withTags(event, ["a:1"])
    const twice = Event.withMetadata(Event.withTags(once, ["b:2"]), { id: "1", custom: { a: 1 } })
    const thrice = Event.withMetadata({ userId: "u", custom: { b: 2 } })(twice)
    assert.deepStrictEqual<unknown>(thrice.tags, ["a:1", "b:2"])
    assert.deepStrictEqual<unknown>(thrice.metadata, { id: "1", userId: "u", custom: { a: 1, b: 2 } })
    assert.deepStrictEqual<unknown>([once.tags, once.metadata, twice.metadata], [
      ["a:1"],
      {},
      { id: "1", custom: { a: 1 } }
    ])
    assert.strictEqual(thrice.event, event)
  })

  it("can be raw", () => {
    const { event, metadata, tags } = Event.raw("X", { a: 1 }, { version: 2, tags: ["a:1"], metadata: { id: "1" } })
    assert.deepStrictEqual<unknown>([event._tag, event.type, event.version, event.data], ["RawEvent", "X", 2, { a: 1 }])
    assert.deepStrictEqual<unknown>([tags, metadata], [["a:1"], { id: "1" }])
    assert.isTrue(Event.isEvent(event) && Event.isRaw(event))
  })
})
