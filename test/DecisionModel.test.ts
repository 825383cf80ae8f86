import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as DecisionModel from "../src/DecisionModel.ts"
import * as Event from "../src/Event.ts"
import * as Position from "../src/Position.ts"
import * as Query from "../src/Query.ts"
import * as Tag from "../src/Tag.ts"

const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
class Defined extends Event.Class<Defined>()("Defined", { course: CourseId, seats: Schema.Int }) {}
class Changed extends Event.Class<Changed>()("Changed", { course: CourseId, seats: Schema.Int }) {}
class Taken extends Event.Class<Taken>()("Taken", { course: CourseId, by: Schema.String }) {}

const seats = (course: string) =>
  DecisionModel.make({
    query: Query.of([Defined, Changed], { course }),
    initial: 0,
    apply: { Defined: (_, { seats }) => seats, Changed: (_, { seats }) => seats }
  })
const taken = (course: string) =>
  DecisionModel.make({
    query: Query.of(Taken, { course }),
    initial: [] as ReadonlyArray<string>,
    apply: { Taken: (names, { by }) => [...names, by] }
  })

/** As a store would give them, from position 1. */
const history = (...events: ReadonlyArray<Event.Event>): ReadonlyArray<Event.SequencedEvent<unknown>> =>
  events.map((event, i) => {
    const { "~codec": codec, type } = event.constructor as unknown as Event.AnyClass
    const raw = Event.isRaw(event)
    return {
      position: Position.make(i + 1),
      type: raw ? event.type : type,
      event,
      tags: (raw ? ["course:a"] : codec.tags(event, codec.encode(event))) as ReadonlyArray<Tag.Tag>,
      metadata: { id: `${i}`, timestamp: DateTime.makeUnsafe(0) }
    }
  })

const events = history(
  new Defined({ course: "a", seats: 2 }),
  new Taken({ course: "a", by: "anna" }),
  new Defined({ course: "b", seats: 7 }),
  new Taken({ course: "b", by: "ben" }),
  new Changed({ course: "a", seats: 3 }),
  new Taken({ course: "a", by: "cleo" })
)

describe("fold", () => {
  it("takes what the query finds, and no more", () => {
    assert.strictEqual(DecisionModel.fold(seats("a"), events), 3)
    assert.strictEqual(DecisionModel.fold(seats("b"), events), 7)
    assert.strictEqual(DecisionModel.fold(seats("c"), events), 0)
    assert.deepStrictEqual(DecisionModel.fold(taken("a"), events), ["anna", "cleo"])
    assert.deepStrictEqual(DecisionModel.fold(taken("a"), []), [])
  })

  it("gives position, tags and metadata with the event", () => {
    const model = DecisionModel.make({
      query: Query.of(Taken),
      initial: "",
      apply: {
        Taken: (text, { by }, { metadata, position, tags, type }) =>
          `${text} ${position} ${type} ${by} ${tags} ${metadata.id}`
      }
    })
    assert.strictEqual(
      DecisionModel.fold(model, events),
      " 2 Taken anna course:a 1 4 Taken ben course:b 3 6 Taken cleo course:a 5"
    )
  })

  it("calls functions as those of their record", () => {
    const apply = {
      by: 10,
      Taken(n: number) {
        return n + this.by
      }
    }
    assert.strictEqual(
      DecisionModel.fold(DecisionModel.make({ query: Query.of(Taken), initial: 0, apply }), events),
      30
    )
  })
})

describe("all", () => {
  it("is a record of states for a record, a tuple for a tuple, however deep", () => {
    const model = DecisionModel.all({
      a: seats("a"),
      b: [taken("b"), { c: [seats("b"), [taken("a")]], none: [] }],
      d: DecisionModel.all([seats("c"), seats("a")])
    })
    const state = DecisionModel.fold(model, events)
    assert.deepStrictEqual(state, {
      a: 3,
      b: [["ben"], { c: [7, [["anna", "cleo"]]], none: [] }],
      d: [0, 3]
    })
    assert.isTrue(Array.isArray(state.b) && Array.isArray(state.b[1].c))
  })

  it("of one model is that model", () => {
    const model = seats("a")
    assert.strictEqual(DecisionModel.all(model), model)
  })

  it("takes any number, and one model twice", () => {
    const many = Array.from({ length: 500 }, (_, i) => i % 2 === 0 ? seats("a") : seats("b"))
    const states = DecisionModel.fold(many, events)
    assert.deepStrictEqual([states.length, states[0], states[1], states[498], states[499]], [500, 3, 7, 3, 7])
    const one = taken("a")
    assert.deepStrictEqual(DecisionModel.fold([one, one], events), [["anna", "cleo"], ["anna", "cleo"]])
  })

  it("keeps keys that objects have themselves", () => {
    const models: { readonly [x: string]: DecisionModel.DecisionModel<number> } = JSON.parse(`{"__proto__": 1}`)
    Object.defineProperty(models, "__proto__", { value: seats("a"), enumerable: true })
    const state = DecisionModel.fold(models, events)
    assert.deepStrictEqual(Object.entries(state), [["__proto__", 3]])
  })

  it("has the query of all its parts", () => {
    const { query } = DecisionModel.all({ a: seats("a"), b: [taken("b")] })
    const find = (type: string, tag: Tag.Input) => Query.matches(query, { type, tags: [tag] })
    assert.deepStrictEqual(
      [find("Defined", "course:a"), find("Taken", "course:b"), find("Taken", "course:a"), find("Defined", "course:b")],
      [true, true, false, false]
    )
    assert.strictEqual(DecisionModel.all([seats("a"), DecisionModel.last(Query.all)]).query.items, "all")
  })

  it("refuses what would guard nothing", () => {
    for (const models of [{}, [], { a: {} }, [[], { b: [] }]]) {
      assert.throws(() => DecisionModel.all(models as DecisionModel.Input), /there is no model.*guarded by nothing/)
    }
  })

  it("refuses what is no model", () => {
    assert.throws(() => DecisionModel.all({ a: 1 } as never), /1 is no model/)
    assert.throws(() => DecisionModel.all([null] as never), /null is no model/)
    assert.throws(() => DecisionModel.all(undefined as never), /undefined is no model/)
  })

  it("refuses two classes of one type", () => {
    class Other extends Event.Class<Other>()("Taken", { n: Schema.Int }) {}
    const other = DecisionModel.last(Query.of(Other))
    assert.throws(() => DecisionModel.all({ a: taken("a"), b: [other] }), /two classes of the type Taken/)
  })
})

describe("map and last", () => {
  it("map sees the state in another way, data-first and data-last", () => {
    const names = DecisionModel.map(taken("a"), (names) => names.join())
    const free = DecisionModel.map(
      DecisionModel.all({ seats: seats("a"), names }),
      ({ names, seats }) => `${names}: ${seats - 2}`
    )
    assert.strictEqual(DecisionModel.fold(free, events), "anna,cleo: 1")
    assert.strictEqual(DecisionModel.fold(DecisionModel.map((n: number) => n * 2)(seats("a")), events), 6)
    assert.deepStrictEqual(
      DecisionModel.fold({ x: [free, DecisionModel.map(free, (text) => text.length)] }, events),
      { x: ["anna,cleo: 1", 12] }
    )
  })

  it("last is the newest event", () => {
    const newest = DecisionModel.last(Query.of(Taken))
    assert.strictEqual(DecisionModel.fold(newest, []), undefined)
    assert.strictEqual(DecisionModel.fold(newest, events), events[5])
    assert.strictEqual(DecisionModel.fold(DecisionModel.last(Query.of(Taken, { course: "b" })), events), events[3])
    assert.throws(() => DecisionModel.last("x" as never), /no query/)
  })

  it("isDecisionModel", () => {
    assert.isTrue(DecisionModel.isDecisionModel(seats("a")))
    for (const no of [undefined, null, 1, {}, [seats("a")], Query.all]) {
      assert.isFalse(DecisionModel.isDecisionModel(no))
    }
  })
})

describe("raw events", () => {
  const count = DecisionModel.make({ query: Query.all, initial: 0, apply: { RawEvent: (n) => n + 1 } })

  it("come under the key RawEvent", () => {
    const model = DecisionModel.make({
      query: Query.or(Query.of(Taken), Query.types("Old")),
      initial: "",
      apply: { Taken: (text, { by }) => text + by, RawEvent: (text, { data, type }) => `${text} ${type}${data} ` }
    })
    const mixed = history(
      new Taken({ course: "a", by: "anna" }),
      Event.rawEvent("Old", 1, 7),
      Event.rawEvent("Older", 1, 8)
    )
    assert.strictEqual(DecisionModel.fold(model, mixed), "anna Old7 ")
  })

  it("each model sees an event as its query names it", () => {
    const raw = DecisionModel.map(DecisionModel.last(Query.types("Taken")), (newest) => newest?.event)
    const state = DecisionModel.fold({ raw, typed: taken("b"), count }, events.slice(0, 4))
    assert.deepStrictEqual(state, {
      raw: Event.rawEvent("Taken", 1, { course: "b", by: "ben" }),
      typed: ["ben"],
      count: 4
    })
    const read = history(Event.rawEvent("Taken", 1, { course: "a", by: "anna" }))
    assert.deepStrictEqual(DecisionModel.fold({ typed: taken("a"), count }, read), { typed: ["anna"], count: 1 })
  })
})

describe("make refuses", () => {
  const problemOf = (options: object): string => {
    try {
      DecisionModel.make({ query: Query.of(Taken), initial: 0, apply: { Taken: () => 0 }, ...options } as never)
      return "none"
    } catch (error) {
      return (error as Error).message
    }
  }

  it("what is no query", () => assert.match(problemOf({ query: {} }), /the query is none/))

  it("an event without a function", () => {
    assert.match(problemOf({ apply: {} }), /`apply` has no function for Taken/)
    assert.match(problemOf({ apply: undefined }), /`apply` must be a record/)
    assert.match(problemOf({ apply: { Taken: 1 } }), /`apply` has no function for Taken/)
    assert.match(problemOf({ query: Query.all }), /`apply` has no function for RawEvent/)
    assert.match(problemOf({ query: Query.tags("a:b") }), /`apply` has no function for RawEvent/)
    assert.match(
      problemOf({ query: Query.or(Query.of(Taken), Query.types("Old")) }),
      /`apply` has no function for RawEvent/
    )
    assert.match(problemOf({ query: Query.fromItems({ types: ["Taken"] }) }), /`apply` has no function for RawEvent/)
  })

  it("an event that is called like something that every object has", () => {
    class Odd extends Event.Class<Odd>()("toString", {}) {}
    assert.match(problemOf({ query: Query.of(Odd), apply: {} }), /`apply` has no function for toString/)
    const model = DecisionModel.make({ query: Query.of(Odd), initial: 0, apply: { toString: () => 1 as never } })
    assert.strictEqual(DecisionModel.fold(model, history(new Odd())), 1)
  })

  it("a snapshot that is none", () => {
    const good = { name: "taken", version: 1, state: Schema.Int }
    assert.match(problemOf({ snapshot: { ...good, name: "" } }), /name must be a text/)
    assert.match(problemOf({ snapshot: { ...good, version: 1.5 } }), /version must be a whole number.*not 1.5/)
    assert.match(problemOf({ snapshot: { ...good, every: 0 } }), /`every` must be a whole number.*not 0/)
    const model = DecisionModel.make({
      query: Query.of(Taken),
      initial: Option.none<string>(),
      apply: { Taken: (_, { by }) => Option.some(by) },
      snapshot: { name: "taken", version: 0, state: Schema.Option(Schema.String), every: 1 }
    })
    assert.deepStrictEqual(DecisionModel.fold(model, events), Option.some("cleo"))
  })
})
