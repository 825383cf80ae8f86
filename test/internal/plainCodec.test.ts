/** The shortcut for classes whose fields are in JSON what they are in memory: the schema's answer, or none. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Event from "../../src/Event.ts"
import * as PlainCodec from "../../src/internal/plainCodec.ts"
import * as Tag from "../../src/Tag.ts"

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"), Tag.as("course"))

class Plain extends Event.Class<Plain>()("Plain", {
  courseId: CourseId,
  seats: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100 })),
  price: Schema.Finite,
  isOpen: Schema.Boolean,
  level: Schema.Literals(["easy", "hard", 3]),
  note: Schema.optionalKey(Schema.String),
  owner: Schema.NullOr(Schema.String),
  students: Schema.Array(Schema.NonEmptyString).check(Schema.isMaxLength(3)),
  place: Schema.Struct({ room: Schema.String, floor: Schema.optionalKey(Schema.Int) })
}) {
  get title(): string {
    return `${this.courseId} (${this.seats})`
  }
}

class Extended extends Plain.extend<Extended>("Plain")({ extra: Schema.String }) {}

class Constructed extends Event.Class<Constructed>()("Constructed", { a: Schema.Int }) {
  readonly twice = this.a * 2
  readonly #own = "own"
  own(): string {
    return this.#own
  }
}

const data = {
  courseId: "maths",
  seats: 3,
  price: 0.5,
  isOpen: true,
  level: "easy",
  note: "n",
  owner: null,
  students: ["a", "b"],
  place: { room: "r", floor: 1 }
}

const codecOf = <T>(class_: Schema.ConstraintCodec<T, unknown> & (abstract new(...args: never) => T), tag: string) => {
  const json = Schema.toCodecJson(class_)
  return {
    plain: PlainCodec.make(class_, tag, json),
    decode: Schema.decodeUnknownSync(json),
    encode: Schema.encodeUnknownSync(json)
  }
}

/** What a function gives, or that it fails. */
const outcome = (run: () => unknown): unknown => {
  try {
    return run()
  } catch {
    return PlainCodec.unfit
  }
}

describe("a class of plain fields", () => {
  const { decode, encode, plain } = codecOf(Plain, "Plain")

  it("is decoded and encoded as by its schema", () => {
    const { note: _, ...without } = data
    const all = [data, without, { ...data, more: 1 }, { ...data, place: { room: "r", more: [] } }, {
      ...data,
      level: 3
    }]
    for (const one of all) {
      const event = plain!.decode(one)
      assert.instanceOf(event, Plain)
      assert.deepStrictEqual(event, decode(one))
      assert.deepStrictEqual(Object.keys(event as object), Object.keys(decode(one)))
      assert.deepStrictEqual<unknown>(plain!.encode(event), encode(event))
      assert.deepStrictEqual(Object.keys(plain!.encode(event)), Object.keys(encode(event) as object))
      assert.strictEqual((event as Plain).title, "maths (3)")
    }
  })

  it("leaves to the schema what does not fit", () => {
    const values = [undefined, null, "", "x", 0, 1.5, 101, NaN, true, [], ["a", ""], ["a", "b", "c", "d"], [1], {}, {
      room: 1
    }]
    for (const field of Object.keys(data)) {
      for (const value of values) {
        const other = { ...data, [field]: value }
        const expected = outcome(() => decode(other))
        const found = outcome(() => plain!.decode(other))
        if (found !== PlainCodec.unfit) assert.deepStrictEqual(found, expected, `${field} ${String(value)}`)
        // as JSON it would be, it is not left to the schema without need
        else if (value !== undefined) assert.strictEqual(expected, PlainCodec.unfit, `${field} ${String(value)}`)
        const event = Object.assign(Object.create(Plain.prototype) as object, { _tag: "Plain" }, other)
        const encoded = outcome(() => plain!.encode(event))
        if (encoded !== PlainCodec.unfit) assert.deepStrictEqual(encoded, outcome(() => encode(event)))
      }
    }
    for (const other of [null, undefined, "x", [], { ...data, _tag: "Plain" }, { ...data, _tag: "Other" }]) {
      assert.strictEqual(plain!.decode(other), PlainCodec.unfit)
    }
    assert.strictEqual(plain!.encode({ ...data }), PlainCodec.unfit)
    for (const tag of [undefined, "Other"]) {
      const other = Object.assign(Object.create(Plain.prototype) as object, data, { _tag: tag })
      assert.strictEqual(plain!.encode(other), PlainCodec.unfit)
    }
  })

  it("shares nothing with what it is decoded from or encoded to", () => {
    const source = structuredClone(data)
    const event = plain!.decode(source) as Plain
    const encoded = plain!.encode(event) as typeof data
    source.students.push("c")
    source.place.room = "other"
    encoded.students.push("d")
    encoded.place.room = "another"
    assert.deepStrictEqual(plain!.encode(event), data)
  })

  it("is made by its own constructor, and one that extends it by its own", () => {
    const constructed = codecOf(Constructed, "Constructed")
    const event = constructed.plain!.decode({ a: 2 }) as Constructed
    assert.strictEqual(event.twice, 4)
    assert.strictEqual(event.own(), "own")
    assert.deepStrictEqual<unknown>(constructed.plain!.encode(event), constructed.encode(event))
    const extended = codecOf(Extended, "Plain")
    const other = extended.plain!.decode({ ...data, extra: "e" })
    assert.instanceOf(other, Extended)
    assert.deepStrictEqual(other, extended.decode({ ...data, extra: "e" }))
  })

  it("does not know what is something else in JSON", () => {
    const fields = {
      date: Schema.Date,
      number: Schema.Number,
      bigint: Schema.BigInt,
      record: Schema.Record(Schema.String, Schema.Int),
      tuple: Schema.Tuple([Schema.String, Schema.Int]),
      json: Schema.Json,
      unknown: Schema.Unknown,
      structs: Schema.Union([Schema.Struct({ a: Schema.String }), Schema.Struct({ b: Schema.String })]),
      coded: Schema.FiniteFromString,
      withDefault: Schema.String.pipe(Schema.withDecodingDefaultKey(Effect.succeed("d"))),
      date_in_a_list: Schema.Array(Schema.Date),
      checked_record: Schema.Struct({ a: Schema.String }).check(Schema.makeFilter((value) => !("b" in value))),
      checked_records: Schema.Array(Schema.Struct({ a: Schema.String })).check(Schema.isMaxLength(2))
    }
    for (const [name, field] of Object.entries(fields)) {
      class Other extends Event.Class<Other>()("Other", { field: field as Schema.ConstraintCodec<unknown, unknown> }) {}
      assert.isUndefined(PlainCodec.make(Other, "Other", Schema.toCodecJson(Other)), name)
    }
    const Stored = Plain.extend<{ readonly _tag: "Other" }>("Other")({ _tag: Schema.Literal("Other") })
    assert.isUndefined(PlainCodec.make(Stored as never, "Plain", Schema.toCodecJson(Stored as never)))
    class Empty extends Event.Class<Empty>()("Empty", {}) {}
    assert.isUndefined(PlainCodec.make(Empty, "Empty", Schema.toCodecJson(Empty)))
  })
})
