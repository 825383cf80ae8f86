/**
 * What every event store does, wherever it keeps its events. Knows of no files: a layer on anything can run it.
 *
 *     suite("in memory", Opossum.layerMemory)
 *
 * Each rule begins with an empty store of its own. Positions may have gaps, so none is expected to be a certain number.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { pipe } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Event from "../../src/Event.ts"
import * as Metadata from "../../src/Metadata.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Tag from "../../src/Tag.ts"
import * as naive from "../support/naiveDriver.ts"

// the events of the rules

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"), Tag.as("course"))
const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"), Tag.as("student"))

class Defined extends Event.Class<Defined>()("Defined", { course: CourseId, capacity: Schema.Int }) {}
class Subscribed extends Event.Class<Subscribed>()("Subscribed", { course: CourseId, student: StudentId }) {}
class Moved extends Event.Class<Moved>()("Moved", { from: CourseId, to: CourseId, at: Schema.DateTimeUtcFromString }) {}

const PricedV1 = Schema.Struct({ product: Schema.String, price: Schema.Number })
class Priced extends Event.Class<Priced>()("Priced", {
  product: Schema.String.pipe(Tag.as("product")),
  cents: Schema.Int,
  currency: Schema.String
}, {
  tags: ({ currency }) => [`currency:${currency}`],
  upcast: [
    Event.upcast(PricedV1, ({ price, ...rest }) => ({ ...rest, cents: price * 100 })),
    (v2) => ({ ...v2, currency: "EUR" })
  ]
}) {}

const defined = (course: string, capacity = 1) => new Defined({ course: CourseId.make(course), capacity })
const subscribed = (course: string, student: string) =>
  new Subscribed({ course: CourseId.make(course), student: StudentId.make(student) })
/** An event that is told from others by its number, with tags. */
const numbered = (n: number, type = "Numbered", ...tags: ReadonlyArray<Tag.Input>) => Event.raw(type, { n }, { tags })
const withId = (event: Event.Input, id: string) => Event.withMetadata(event, { id })

// what is asked of a store

const { append, awaitBeyond, head, read, readLast, reserve, stream, subscribe } = EventStore

const positionsOf = (events: ReadonlyArray<Event.SequencedEvent<unknown>>): ReadonlyArray<number> =>
  events.map(({ position }) => position)

/** The numbers of `numbered` events. */
const numbersOf = (events: ReadonlyArray<Event.SequencedEvent<unknown>>): ReadonlyArray<number> =>
  events.map(({ event }) => ((event as Event.RawEvent).data as { readonly n: number }).n)

const readNumbers = (query: Query.Any, options?: EventStore.ReadOptions) =>
  Effect.map(read(query, options), ({ events }) => numbersOf(events))

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** Fails as it should, with the store as it was before. */
const fails = <A>(effect: Effect.Effect<A, EventStore.AppendError, EventStore.EventStore>) =>
  Effect.gen(function*() {
    const before = yield* read(Query.all)
    const error = yield* Effect.flip(effect)
    const after = yield* read(Query.all)
    assert.deepStrictEqual(positionsOf(after.events), positionsOf(before.events), "something was written")
    assert.strictEqual(after.head, before.head, "the head moved")
    return error
  })

/** The reason for which an append is refused. */
const refusal = <A>(effect: Effect.Effect<A, EventStore.AppendError, EventStore.EventStore>) =>
  Effect.map(fails(effect), (error) => {
    assert(error._tag === "AppendRefused", `${error._tag} is no AppendRefused: ${error.message}`)
    return error.reason
  })

const invalid = (event: unknown) =>
  Effect.map(refusal(append([numbered(1), event as Event.Input])), (reason) => {
    assert(reason._tag === "InvalidEvent", `${reason._tag} is no InvalidEvent`)
    assert.strictEqual(reason.index, 1)
    return reason
  })

const exceeds = <A>(effect: Effect.Effect<A, EventStore.AppendError, EventStore.EventStore>) =>
  Effect.map(refusal(effect), (reason) => {
    assert(reason._tag === "LimitExceeded", `${reason._tag} is no LimitExceeded: ${reason.message}`)
    return reason
  })

const conflicts = <A>(effect: Effect.Effect<A, EventStore.AppendError, EventStore.EventStore>) =>
  Effect.map(fails(effect), (error) => {
    assert(error._tag === "AppendConditionFailed", `${error._tag} is no AppendConditionFailed: ${error.message}`)
    return error
  })

const idConflict = <A>(effect: Effect.Effect<A, EventStore.AppendError, EventStore.EventStore>) =>
  Effect.map(refusal(effect), (reason) => {
    assert(reason._tag === "EventIdConflict", `${reason._tag} is no EventIdConflict`)
    return reason
  })

// rules

export interface Rule {
  readonly name: string
  readonly run: Effect.Effect<void, unknown, EventStore.EventStore | Scope.Scope>
}

const rule = (
  name: string,
  body: () => Generator<Effect.Effect<any, any, EventStore.EventStore | Scope.Scope>, void, any>
): Rule => ({ name, run: Effect.gen(body) })

const appending: ReadonlyArray<Rule> = [
  rule("an empty store has no head and no events", function*() {
    assert.isUndefined(yield* head)
    assert.deepStrictEqual(yield* read(Query.all), { events: [], head: undefined, retagged: undefined, isCut: false })
    assert.deepStrictEqual(yield* Stream.runCollect(stream(Query.all)), [])
    assert.isUndefined(yield* readLast(Query.all))
  }),

  rule("an append answers with a position for each event, in order, and the head", function*() {
    const appended = yield* append([numbered(1), numbered(2), numbered(3)])
    assert.strictEqual(appended.positions.length, 3)
    assert.strictEqual(appended.duplicate, false)
    assert.strictEqual(appended.head, appended.positions[2])
    const { events, head } = yield* read(Query.all)
    assert.deepStrictEqual(positionsOf(events), appended.positions)
    assert.deepStrictEqual(numbersOf(events), [1, 2, 3])
    assert.strictEqual(head, appended.head)
    assert.strictEqual(yield* EventStore.head, appended.head)
  }),

  rule("one event needs no list", function*() {
    const { positions } = yield* append(defined("c1"))
    assert.strictEqual(positions.length, 1)
  }),

  rule("positions are whole numbers from 1 that increase in the order of commits", function*() {
    let last = 0
    for (const n of range(1, 20)) {
      const { positions } = yield* append([numbered(n), numbered(n)])
      for (const position of positions) {
        assert.isTrue(Number.isSafeInteger(position) && position > last)
        last = position
      }
    }
  }),

  rule("each commit has a hash of its own", function*() {
    const hashes = new Set<string>()
    for (const n of range(1, 5)) {
      const { hash } = yield* append(numbered(n))
      assert.isAbove(hash.length, 0)
      hashes.add(hash)
    }
    assert.strictEqual(hashes.size, 5)
  }),

  rule("many appends at once all get positions of their own, and each batch stays together", function*() {
    const all = yield* Effect.forEach(
      range(1, 50),
      (n) => append([numbered(n), numbered(n), numbered(n)]),
      { concurrency: "unbounded" }
    )
    const { events, head } = yield* read(Query.all)
    assert.strictEqual(new Set(all.flatMap(({ positions }) => positions)).size, 150)
    assert.strictEqual(head, Math.max(...all.flatMap(({ positions }) => positions)))
    const numbers = numbersOf(events)
    assert.strictEqual(numbers.length, 150)
    for (let i = 0; i < 150; i += 3) assert.deepStrictEqual(numbers.slice(i, i + 3), Array(3).fill(numbers[i]))
    for (const [i, { positions }] of all.entries()) {
      const mine = events.filter(({ position }) => positions.includes(position))
      assert.deepStrictEqual(numbersOf(mine), [i + 1, i + 1, i + 1])
    }
  }),

  rule("the largest batch is stored whole, one event more is refused", function*() {
    const { positions } = yield* append(range(1, 10_000).map((n) => numbered(n)))
    assert.strictEqual(positions.length, 10_000)
    assert.deepStrictEqual(yield* readNumbers(Query.all, { backwards: true, limit: 2 }), [10_000, 9_999])
    const { actual, index, limit, what } = yield* exceeds(append(range(1, 10_001).map((n) => numbered(n))))
    assert.deepStrictEqual({ actual, index, limit, what }, {
      actual: 10_001,
      index: undefined,
      limit: 10_000,
      what: "batch events"
    })
  })
]

const reading: ReadonlyArray<Rule> = [
  rule("a read returns its events and its head from one snapshot", function*() {
    const reads = yield* Effect.gen(function*() {
      const writer = yield* Effect.forkChild(
        Effect.forEach(range(1, 60), (n) => append([numbered(n), numbered(n)]), { concurrency: 4 })
      )
      const seen: Array<EventStore.Read<Event.RawEvent>> = []
      while (writer.pollUnsafe() === undefined) {
        seen.push(yield* read(Query.all))
        yield* Effect.yieldNow
      }
      yield* Fiber.join(writer)
      return seen
    })
    const { events: history } = yield* read(Query.all)
    for (const { events, head } of reads) {
      // Nothing at or below an observed head appears later, and nothing above it was seen.
      const then = history.filter(({ position }) => position <= (head ?? 0))
      assert.deepStrictEqual(positionsOf(events), positionsOf(then))
      // The head is always a batch's last: no reader sees a part of one.
      assert.strictEqual(events.length % 2, 0)
      assert.strictEqual(head, events.at(-1)?.position)
    }
  }),

  rule("what was acknowledged is read by whoever reads afterwards", function*() {
    yield* Effect.forEach(range(1, 20), (n) =>
      Effect.gen(function*() {
        const { positions } = yield* append(numbered(n, "Numbered", `n:${n}`))
        const { events, head } = yield* read(Query.tags(`n:${n}`))
        assert.deepStrictEqual(positionsOf(events), positions)
        assert.isAtLeast(head!, positions[0])
      }), { concurrency: "unbounded" })
  }),

  rule("the head of a read is the store's, not that of the last event found", function*() {
    yield* append(numbered(1, "A"))
    const { head } = yield* append(numbered(2, "B"))
    assert.strictEqual((yield* read(Query.types("A"))).head, head)
    assert.strictEqual((yield* read(Query.types("C"))).head, head)
    assert.strictEqual((yield* read(Query.all, { limit: 1 })).head, head)
    assert.strictEqual((yield* read(Query.all, { limit: 0 })).head, head)
    assert.strictEqual((yield* read(Query.all, { before: head })).head, head)
  }),

  rule("`after` and `before` are exclusive", function*() {
    const { positions: [, second, , fourth] } = yield* append(range(1, 5).map((n) => numbered(n)))
    assert.deepStrictEqual(yield* readNumbers(Query.all, { after: second }), [3, 4, 5])
    assert.deepStrictEqual(yield* readNumbers(Query.all, { before: fourth }), [1, 2, 3])
    assert.deepStrictEqual(yield* readNumbers(Query.all, { after: second, before: fourth }), [3])
    assert.deepStrictEqual(yield* readNumbers(Query.all, { after: fourth, before: second }), [])
    assert.deepStrictEqual(yield* readNumbers(Query.all, { after: second, before: fourth, backwards: true }), [3])
  }),

  rule("`after` at or above the head finds nothing, `before` above it everything", function*() {
    const { head } = yield* append(range(1, 3).map((n) => numbered(n)))
    const beyond = head + 1000 as Position
    assert.deepStrictEqual(yield* readNumbers(Query.all, { after: head }), [])
    const far = yield* read(Query.all, { after: beyond })
    assert.deepStrictEqual(far, { events: [], head, retagged: undefined, isCut: false })
    assert.deepStrictEqual(yield* readNumbers(Query.all, { after: beyond, backwards: true }), [])
    assert.deepStrictEqual(yield* readNumbers(Query.all, { before: beyond }), [1, 2, 3])
  }),

  rule("where no tags were added later, nothing was tagged anew", function*() {
    const { head, positions: [first] } = yield* append(range(1, 3).map((n) => numbered(n)))
    assert.isUndefined((yield* read(Query.all)).retagged)
    assert.isUndefined((yield* read(Query.all, { after: first })).retagged)
    assert.deepStrictEqual(yield* read(Query.all, { after: first, limit: 0 }), {
      events: [],
      head,
      retagged: undefined,
      isCut: false
    })
  }),

  rule("backwards is from the newest to the oldest", function*() {
    yield* append(range(1, 3).map((n) => numbered(n)))
    yield* append(range(4, 5).map((n) => numbered(n)))
    assert.deepStrictEqual(yield* readNumbers(Query.all, { backwards: true }), [5, 4, 3, 2, 1])
    assert.deepStrictEqual(yield* readNumbers(Query.all, { backwards: true, limit: 2 }), [5, 4])
  }),

  rule("`maxBytes` cuts a read short, and the read says so", function*() {
    yield* append(range(1, 12).map((n) => Event.raw("Large", { n, text: "x".repeat(1000) })))
    const seen: Array<Position> = []
    for (let after: Position | undefined; seen.length < 12;) {
      const { events, isCut } = yield* read(Query.all, { after, maxBytes: 5000 })
      // a driver may cut roughly, yet not so that it never gets on
      assert.isAtLeast(events.length, 1)
      seen.push(...events.map(({ position }) => position))
      after = seen.at(-1)
      if (!isCut) break
    }
    assert.deepStrictEqual(seen, (yield* read(Query.all)).events.map(({ position }) => position))
    assert.isFalse((yield* read(Query.all, { maxBytes: Infinity })).isCut)
  }),

  rule("a limit applies after filtering", function*() {
    yield* append(range(1, 20).map((n) => numbered(n, n % 5 === 0 ? "Fifth" : "Other")))
    assert.deepStrictEqual(yield* readNumbers(Query.types("Fifth"), { limit: 2 }), [5, 10])
    assert.deepStrictEqual(yield* readNumbers(Query.types("Fifth"), { limit: 2, backwards: true }), [20, 15])
    assert.deepStrictEqual(yield* readNumbers(Query.types("Fifth"), { limit: 0 }), [])
    assert.deepStrictEqual(yield* readNumbers(Query.types("Fifth"), { limit: 100 }), [5, 10, 15, 20])
    assert.deepStrictEqual(yield* readNumbers(Query.types("Fifth"), { limit: Infinity }), [5, 10, 15, 20])
  }),

  rule("numbers that are no positions and no limits are defects, which say so", function*() {
    for (const options of [{ limit: -1 }, { limit: 1.5 }, { limit: NaN }, { after: 1.5 }, { before: NaN }]) {
      const wrong = options as EventStore.ReadOptions
      for (const reads of [Effect.asVoid(read(Query.all, wrong)), Stream.runDrain(stream(Query.all, wrong))]) {
        const exit = yield* Effect.exit(reads)
        assert(Exit.isFailure(exit) && exit.cause.reasons[0]?._tag === "Die")
        assert.match(String(exit.cause.reasons[0].defect), /(limit|after|before) must be/)
      }
    }
  }),

  rule("types are OR-ed, tags AND-ed, items OR-ed", function*() {
    yield* append([
      numbered(1, "A", "x:1", "y:1"),
      numbered(2, "B", "x:1"),
      numbered(3, "C", "y:1"),
      numbered(4, "A", "y:2"),
      numbered(5, "B")
    ])
    assert.deepStrictEqual(yield* readNumbers(Query.types("A", "C")), [1, 3, 4])
    assert.deepStrictEqual(yield* readNumbers(Query.tags("x:1")), [1, 2])
    assert.deepStrictEqual(yield* readNumbers(Query.tags("x:1", "y:1")), [1])
    assert.deepStrictEqual(yield* readNumbers(Query.fromItems({ types: ["A", "B"], tags: ["x:1"] })), [1, 2])
    assert.deepStrictEqual(yield* readNumbers(Query.fromItems({ types: ["B"], tags: ["y:1"] })), [])
    assert.deepStrictEqual(
      yield* readNumbers(Query.fromItems({ types: ["C"] }, { types: ["A"], tags: ["y:2"] }, { tags: ["z:9"] })),
      [3, 4]
    )
    assert.deepStrictEqual(yield* readNumbers(Query.or(Query.types("A"), Query.all)), [1, 2, 3, 4, 5])
  }),

  rule("an event that two items match appears once", function*() {
    yield* append([numbered(1, "A", "x:1", "y:1"), numbered(2, "B", "x:1"), numbered(3, "A", "x:1")])
    const query = Query.or(Query.types("A"), Query.tags("x:1"), Query.tags("y:1"), Query.types("A", "B"))
    assert.deepStrictEqual(yield* readNumbers(query), [1, 2, 3])
    assert.deepStrictEqual(yield* readNumbers(query, { limit: 2 }), [1, 2])
    assert.deepStrictEqual(yield* readNumbers(query, { backwards: true, limit: 2 }), [3, 2])
  }),

  rule("names that look alike are told apart", function*() {
    const tags: ReadonlyArray<Tag.Input> = [
      "a:b_c",
      "a_b:c",
      "a:b:c",
      "x:y/z",
      "x:y_z",
      "x:Y/z",
      "x:y",
      "x:y ",
      " x:y",
      "x:\u00e9",
      "x:e\u0301",
      "x:..",
      "x:*",
      "x:%2F",
      "x:/",
      "x:CON",
      "x:con",
      "x:😀",
      "x:\u2028",
      "Type:A",
      "x:1",
      "x:01",
      "x:1.0",
      "__proto__:1",
      "constructor:1"
    ]
    const types = ["A", "a", "A ", "A/B", "A_B", "..", "__proto__", "constructor", "Ä", "A\u0308", "x:1", "😀"]
    yield* append([
      ...tags.map((tag, n) => numbered(n, "Tagged", tag)),
      ...types.map((type, n) => numbered(n, type))
    ])
    for (const [n, tag] of tags.entries()) assert.deepStrictEqual(yield* readNumbers(Query.tags(tag)), [n], tag)
    for (const [n, type] of types.entries()) assert.deepStrictEqual(yield* readNumbers(Query.types(type)), [n], type)
  }),

  rule("a tag that no event can have, and a type that none has, find nothing", function*() {
    yield* append([defined("c1"), numbered(1, "A", "x:1")])
    const impossible: ReadonlyArray<Query.Any> = [
      Query.of(Defined, { course: "" as typeof CourseId.Type }),
      Query.of(Defined, { course: "c\n1" as typeof CourseId.Type }),
      Query.tags("x:"),
      Query.tags(":1"),
      Query.tags("x:1", "x:"),
      Query.tags(`x:${"1".repeat(2000)}`),
      Query.types("Unknown"),
      Query.fromItems({ types: ["A"], tags: ["x:\u0000"] })
    ]
    for (const query of impossible) {
      assert.deepStrictEqual((yield* read(query)).events, [])
      // And so it guards nothing.
      yield* append(numbered(2, "A"), { failIfEventsMatch: query })
    }
    assert.strictEqual((yield* read(Query.or(Query.tags("x:"), Query.types("Defined")))).events.length, 1)
  }),

  rule("readLast finds the newest, also before a position", function*() {
    yield* append([numbered(1, "A"), numbered(2, "B"), numbered(3, "A")])
    const { positions: [fourth] } = yield* append(numbered(4, "B"))
    const last = yield* readLast(Query.types("A"))
    assert.deepStrictEqual(numbersOf([last!]), [3])
    assert.deepStrictEqual(numbersOf([(yield* readLast(Query.all, { before: fourth }))!]), [3])
    assert.deepStrictEqual(numbersOf([(yield* readLast(Query.types("A"), { before: last!.position }))!]), [1])
    assert.isUndefined(yield* readLast(Query.types("C")))
  }),

  rule("a stream reads what a read does, over many pages, both ways", function*() {
    for (const n of range(0, 12)) {
      yield* append(range(1, 100).map((i) => numbered(n * 100 + i, i % 3 === 0 ? "Third" : "Other")))
    }
    const { positions: [middle] } = yield* append(numbered(1301, "Third"))
    yield* append(range(1302, 1400).map((i) => numbered(i)))
    for (const query of [Query.all, Query.types("Third")]) {
      for (const backwards of [false, true]) {
        for (
          const options of [
            {},
            { limit: 0 },
            { limit: 1 },
            { limit: 511 },
            { limit: 512 },
            { limit: 513 },
            { limit: 1025 },
            {
              after: middle
            },
            { before: middle },
            { before: middle, limit: 600 },
            { limit: Infinity }
          ]
        ) {
          const streamed = yield* Stream.runCollect(stream(query, { ...options, backwards }))
          const { events } = yield* read(query, { ...options, backwards })
          assert.deepStrictEqual(streamed, events, JSON.stringify({ backwards, ...options }))
        }
      }
    }
  }),

  rule("a stream sees one snapshot, that of its beginning", function*() {
    for (const backwards of [false, true]) {
      const { events: before } = yield* read(Query.all, { backwards })
      if (before.length === 0) yield* append(range(1, 1100).map((n) => numbered(n)))
      const { events: expected } = yield* read(Query.all, { backwards })
      let appended = false
      const seen = yield* stream(Query.all, { backwards }).pipe(
        Stream.tap(() => {
          if (appended) return Effect.void
          appended = true
          return append(range(1, 700).map((n) => numbered(-n)))
        }),
        Stream.runCollect
      )
      assert.deepStrictEqual(positionsOf(seen), positionsOf(expected))
    }
  }),

  rule("streams and subscriptions of large events leave nothing out", function*() {
    const large = "x".repeat(1_000_000)
    for (let n = 1; n <= 30; n++) yield* append(Event.raw("Large", { n, large }))
    const all = yield* read(Query.all)
    for (const backwards of [false, true]) {
      const seen = yield* Stream.runCollect(Stream.map(stream(Query.all, { backwards }), ({ position }) => position))
      const expected = all.events.map(({ position }) => position)
      assert.deepStrictEqual(seen, backwards ? expected.reverse() : expected)
      const some = yield* Stream.runCollect(stream(Query.all, { backwards, limit: 17 }))
      assert.strictEqual(some.length, 17)
    }
    const followed = yield* Stream.runCollect(Stream.take(subscribe(Query.types("Large")), 30))
    assert.deepStrictEqual(positionsOf(followed), positionsOf(all.events))
  }),

  rule("a stream reads afresh each time it is run", function*() {
    const numbers = Effect.map(Stream.runCollect(stream(Query.all)), numbersOf)
    assert.deepStrictEqual(yield* numbers, [])
    yield* append(numbered(1))
    assert.deepStrictEqual(yield* numbers, [1])
    yield* append(numbered(2))
    assert.deepStrictEqual(yield* numbers, [1, 2])
  })
]

const conditions: ReadonlyArray<Rule> = [
  rule("without `after` any match fails the append", function*() {
    const query = Query.of(Defined, { course: CourseId.make("c1") })
    const { positions: [first] } = yield* append(defined("c1"), { failIfEventsMatch: query })
    yield* append(defined("c2"), { failIfEventsMatch: Query.of(Defined, { course: CourseId.make("c2") }) })
    const error = yield* conflicts(append(defined("c1"), { failIfEventsMatch: query }))
    assert.strictEqual(error.conflict, first)
    assert.strictEqual(error.after, undefined)
    assert.strictEqual(error.failIfEventsMatch, query)
    assert.include(error.message, "Defined")
  }),

  rule("`all` without `after` passes on an empty store only", function*() {
    yield* append(numbered(1), { failIfEventsMatch: Query.all })
    yield* conflicts(append(numbered(2), { failIfEventsMatch: Query.all }))
  }),

  rule("the head of a read is the right `after`: only what came since then conflicts", function*() {
    const query = Query.types("A")
    yield* append([numbered(1, "A"), numbered(2, "B")])
    const { head } = yield* read(query)
    yield* append(numbered(3, "B"))
    const { positions: [fourth] } = yield* append(numbered(4, "A"), { failIfEventsMatch: query, after: head })
    const error = yield* conflicts(append(numbered(5, "A"), { failIfEventsMatch: query, after: head }))
    assert.strictEqual(error.conflict, fourth)
    assert.strictEqual(error.after, head)
  }),

  rule("`after` is exclusive: an event that stands there does not conflict, one behind it does", function*() {
    const { positions: [first, second, third] } = yield* append(range(1, 3).map((n) => numbered(n, "A")))
    yield* conflicts(append(numbered(4), { failIfEventsMatch: Query.types("A"), after: second }))
    const error = yield* conflicts(append(numbered(4), { failIfEventsMatch: Query.types("A"), after: first }))
    assert.strictEqual(error.conflict, second, "the first position that conflicts")
    yield* append(numbered(4), { failIfEventsMatch: Query.types("A"), after: third })
  }),

  rule("a batch is not checked against its own condition", function*() {
    yield* append([numbered(1, "A"), numbered(2, "A")], { failIfEventsMatch: Query.types("A") })
    const head = yield* EventStore.head
    yield* append([numbered(3, "A"), numbered(4, "A")], { failIfEventsMatch: Query.all, after: head })
    assert.deepStrictEqual(yield* readNumbers(Query.all), [1, 2, 3, 4])
  }),

  rule("unrelated appends do not conflict", function*() {
    const { head } = yield* append([numbered(1, "A", "x:1"), numbered(2, "B", "x:2")])
    yield* append([numbered(3, "A", "x:2"), numbered(4, "B", "x:1")])
    yield* append(numbered(5), { failIfEventsMatch: Query.fromItems({ types: ["A"], tags: ["x:1"] }), after: head })
    yield* append(numbered(6), { failIfEventsMatch: Query.tags("x:1", "x:2"), after: head })
    yield* conflicts(append(numbered(7), { failIfEventsMatch: Query.tags("x:1"), after: head }))
    yield* conflicts(append(numbered(7), {
      failIfEventsMatch: Query.fromItems({ types: ["C"] }, { types: ["B"], tags: ["x:1"] }),
      after: head
    }))
  }),

  rule("of many appends at once with one condition, one wins", function*() {
    const { head } = yield* append(numbered(0, "Other"))
    const condition = { failIfEventsMatch: Query.tags("name:anna"), after: head }
    const exits = yield* Effect.forEach(
      range(1, 30),
      (n) => Effect.exit(append([numbered(n, "Taken", "name:anna"), numbered(n)], condition)),
      { concurrency: "unbounded" }
    )
    const winners = exits.flatMap((exit, i) => Exit.isSuccess(exit) ? [i + 1] : [])
    assert.strictEqual(winners.length, 1)
    assert.deepStrictEqual(yield* readNumbers(Query.tags("name:anna")), winners)
    for (const exit of exits) {
      if (Exit.isSuccess(exit)) continue
      assert(exit.cause.reasons[0]?._tag === "Fail" && exit.cause.reasons[0].error._tag === "AppendConditionFailed")
    }
  }),

  rule("appends at once with conditions of their own do not disturb one another", function*() {
    yield* Effect.forEach(
      range(1, 30),
      (n) => append(numbered(n, "Taken", `name:${n}`), { failIfEventsMatch: Query.tags(`name:${n}`) }),
      { concurrency: "unbounded" }
    )
    assert.strictEqual((yield* read(Query.types("Taken"))).events.length, 30)
  }),

  rule("numbers given out by many are without gaps and repetition", function*() {
    const invoices = Query.types("Invoice")
    const create = Effect.gen(function*() {
      const last = yield* readLast(invoices)
      const n = last === undefined ? 1 : numbersOf([last])[0]! + 1
      yield* append(numbered(n, "Invoice"), { failIfEventsMatch: invoices, after: last?.position })
    }).pipe(Effect.retry({ while: (error) => error._tag === "AppendConditionFailed" }))
    yield* Effect.forEach(range(1, 10), () => Effect.forEach(range(1, 5), () => create), { concurrency: "unbounded" })
    assert.deepStrictEqual(yield* readNumbers(invoices), range(1, 50))
  }),

  rule("afterwards the history alone proves every decision right", function*() {
    // Each event holds the query and the position that it was decided on.
    const decide = (writer: number, i: number) =>
      Effect.gen(function*() {
        const tag: Tag.Input = `t:${(writer * 7 + i * 3) % 4}`
        const { head } = yield* read(Query.tags(tag), { limit: 1 })
        yield* Effect.yieldNow
        const event = Event.raw("Decided", { tag, after: head ?? 0 }, { tags: [tag, `t:${(writer + i) % 4}`] })
        return yield* append([event, event], { failIfEventsMatch: Query.tags(tag), after: head })
      }).pipe(Effect.retry({ while: (error) => error._tag === "AppendConditionFailed" }))
    yield* Effect.forEach(
      range(1, 12),
      (writer) => Effect.forEach(range(1, 6), (i) => decide(writer, i)),
      { concurrency: "unbounded" }
    )
    const { events } = yield* read(Query.all)
    assert.strictEqual(events.length, 144)
    for (let i = 0; i < events.length; i += 2) {
      const { after, tag } = events[i]!.event.data as { readonly tag: string; readonly after: number }
      const between = events.slice(0, i).filter(({ position, tags }) => position > after && tags.some((_) => _ === tag))
      assert.deepStrictEqual(positionsOf(between), [])
    }
  }),

  rule("an `after` beyond the head is refused", function*() {
    const empty = yield* refusal(append(numbered(1), { failIfEventsMatch: Query.types("A"), after: 1 as Position }))
    assert(empty._tag === "PositionBeyondHead")
    assert.deepStrictEqual<ReadonlyArray<number | undefined>>([empty.after, empty.head], [1, undefined])
    const { head } = yield* append(numbered(1))
    const after = head + 1 as Position
    const reason = yield* refusal(append(numbered(2), { failIfEventsMatch: Query.types("A"), after }))
    assert(reason._tag === "PositionBeyondHead")
    assert.deepStrictEqual([reason.after, reason.head], [after, head])
    yield* append(numbered(2), { failIfEventsMatch: Query.types("A"), after: head })
  }),

  rule("a condition that is none is refused", function*() {
    yield* append(numbered(1))
    for (const after of [0, -1, 1.5, NaN, Infinity, 2 ** 53, "1", null]) {
      const condition = { failIfEventsMatch: Query.types("A"), after } as unknown as { failIfEventsMatch: Query.Any }
      assert.strictEqual((yield* refusal(append(numbered(2), condition)))._tag, "InvalidCondition", String(after))
    }
    for (const condition of [{}, { failIfEventsMatch: "all" }, null, 3, { failIfEventsMatch: { items: [] } }]) {
      const reason = yield* refusal(append(numbered(2), condition as unknown as { failIfEventsMatch: Query.Any }))
      assert.strictEqual(reason._tag, "InvalidCondition", JSON.stringify(condition))
    }
  }),

  rule("an empty batch is refused before the condition is looked at", function*() {
    yield* append(numbered(1))
    for (
      const condition of [
        undefined,
        { failIfEventsMatch: Query.all },
        { failIfEventsMatch: Query.all, after: 1_000_000 as Position },
        { failIfEventsMatch: Query.all, after: -1 as Position }
      ]
    ) {
      assert.strictEqual((yield* refusal(append([], condition)))._tag, "EmptyBatch")
    }
  })
]

const retries: ReadonlyArray<Rule> = [
  rule("an append with the same ids is answered with the first one's positions, and writes nothing", function*() {
    const batch = [withId(defined("c1"), "e1"), withId(numbered(1, "A", "x:1"), "e2")]
    const first = yield* append(batch)
    const { head } = yield* append(numbered(9))
    const again = yield* append(batch)
    assert.deepStrictEqual(again.positions, first.positions)
    assert.strictEqual(again.hash, first.hash)
    assert.deepStrictEqual([first.duplicate, again.duplicate], [false, true])
    assert.isAtLeast(again.head, first.head)
    assert.strictEqual(yield* EventStore.head, head)
    assert.strictEqual((yield* read(Query.all)).events.length, 3)
  }),

  rule("ids are looked up before the condition", function*() {
    const event = withId(numbered(1, "A"), "e1")
    const condition = { failIfEventsMatch: Query.types("A") }
    const first = yield* append(event, condition)
    // Now the condition fails because of the very event that is appended again.
    assert.deepStrictEqual((yield* append(event, condition)).positions, first.positions)
    const beyond = { failIfEventsMatch: Query.all, after: first.head + 10 as Position }
    assert.strictEqual((yield* append(event, beyond)).duplicate, true)
    yield* conflicts(append(withId(numbered(1, "A"), "e2"), condition))
  }),

  rule("other metadata and another order of keys make no difference", function*() {
    const first = yield* append(
      Event.raw("A", { a: 1, b: { c: [1, 2], d: null } }, { metadata: { id: "e1", userId: "anna" } })
    )
    const again = yield* append(
      Event.raw("A", { b: { d: null, c: [1, 2] }, a: 1 }, {
        metadata: { id: "e1", correlationId: "c", timestamp: DateTime.makeUnsafe(0) }
      })
    )
    assert.strictEqual(again.duplicate, true)
    assert.deepStrictEqual(again.positions, first.positions)
    assert.strictEqual((yield* readLast(Query.all))?.metadata.userId, "anna")
  }),

  rule("the same id with another event is a conflict", function*() {
    const { positions: [, second] } = yield* append([
      numbered(0),
      Event.raw("A", { a: [1, 2] }, { version: 2, tags: ["x:1", "y:2"], metadata: { id: "e1" } })
    ])
    const metadata = { id: "e1" }
    for (
      const event of [
        Event.raw("A", { a: [1, 2] }, { version: 2, tags: ["x:1", "y:2"], metadata }), // not its whole batch
        Event.raw("A", { a: [2, 1] }, { version: 2, tags: ["x:1", "y:2"], metadata }),
        Event.raw("B", { a: [1, 2] }, { version: 2, tags: ["x:1", "y:2"], metadata })
      ]
    ) {
      const { id, position } = yield* idConflict(append(event))
      assert.deepStrictEqual({ id, position }, { id: "e1", position: second! })
    }
  }),

  rule("another type, version, tag or data is a conflict", function*() {
    const same = { version: 2, tags: ["x:1", "y:2"], metadata: { id: "e1" } } as const
    const { positions: [first] } = yield* append(Event.raw("A", { a: [1, 2], b: 1 }, same))
    for (
      const [what, event] of Object.entries({
        type: Event.raw("B", { a: [1, 2], b: 1 }, same),
        version: Event.raw("A", { a: [1, 2], b: 1 }, { ...same, version: 1 }),
        "a tag less": Event.raw("A", { a: [1, 2], b: 1 }, { ...same, tags: ["x:1"] }),
        "a tag more": Event.raw("A", { a: [1, 2], b: 1 }, { ...same, tags: ["x:1", "y:2", "z:3"] }),
        "a tag's value": Event.raw("A", { a: [1, 2], b: 1 }, { ...same, tags: ["x:1", "y:3"] }),
        "an order": Event.raw("A", { a: [2, 1], b: 1 }, same),
        "a key more": Event.raw("A", { a: [1, 2], b: 1, c: 1 }, same),
        "a key less": Event.raw("A", { a: [1, 2] }, same),
        "a value": Event.raw("A", { a: [1, 2], b: 2 }, same),
        "a value's kind": Event.raw("A", { a: [1, 2], b: "1" }, same)
      })
    ) {
      const { position } = yield* idConflict(append(event))
      assert.strictEqual(position, first, what)
    }
    assert.strictEqual((yield* append(Event.raw("A", { a: [1, 2], b: 1 }, same))).duplicate, true)
  }),

  rule("ids that are not one whole earlier batch, in its order, are a conflict", function*() {
    const event = (n: number) => withId(numbered(n), `e${n}`)
    yield* append([event(1), event(2), event(3)])
    yield* append([event(4), event(5)])
    for (
      const batch of [
        [event(1)],
        [event(1), event(2)],
        [event(2), event(3)],
        [event(1), event(3), event(2)],
        [event(1), event(2), event(3), event(6)],
        [event(6), event(1), event(2), event(3)],
        [event(1), event(2), event(3), numbered(7)],
        [event(1), event(2), event(3), event(4), event(5)],
        [event(4), event(5), event(1), event(2), event(3)],
        [event(3), event(4)],
        [event(6), event(5)],
        [event(1), event(2), numbered(3)]
      ]
    ) {
      yield* idConflict(append(batch))
    }
    // The ids that were refused along with others are still free.
    assert.strictEqual((yield* append([event(6)])).duplicate, false)
    assert.strictEqual((yield* append([event(4), event(5)])).duplicate, true)
  }),

  rule("two events of one batch with one id are a conflict", function*() {
    const { id, position } = yield* idConflict(append([withId(numbered(1), "e1"), withId(numbered(2), "e1")]))
    assert.deepStrictEqual({ id, position }, { id: "e1", position: undefined })
    assert.strictEqual((yield* append(withId(numbered(1), "e1"))).duplicate, false)
  }),

  rule("an id stays free when its append fails", function*() {
    yield* append(numbered(1, "A"))
    yield* conflicts(append(withId(numbered(2), "e1"), { failIfEventsMatch: Query.types("A") }))
    yield* refusal(append([withId(numbered(2), "e1"), withId(numbered(NaN), "e2")]))
    assert.strictEqual((yield* append(withId(numbered(3), "e1"))).duplicate, false)
  }),

  rule("an append whose ids the store made can be repeated with these", function*() {
    const first = yield* append([numbered(1), numbered(2)])
    const { events } = yield* read(Query.all)
    const again = yield* append(
      events.map(({ event, metadata }) =>
        Event.raw(event.type, event.data as Schema.JsonObject, { metadata: { id: metadata.id } })
      )
    )
    assert.deepStrictEqual([again.positions, again.duplicate], [first.positions, true])
  }),

  rule("of the same append many times at once, one is written and all get its answer", function*() {
    const batch = [withId(numbered(1, "A"), "e1"), withId(numbered(2), "e2")]
    const all = yield* Effect.forEach(
      range(1, 20),
      () => append(batch, { failIfEventsMatch: Query.types("A") }),
      { concurrency: "unbounded" }
    )
    assert.strictEqual(all.filter(({ duplicate }) => !duplicate).length, 1)
    for (const { hash, positions } of all) assert.deepStrictEqual([positions, hash], [all[0]!.positions, all[0]!.hash])
    assert.deepStrictEqual(yield* readNumbers(Query.all), [1, 2])
  }),

  rule("of different appends at once with one id, one is written", function*() {
    const exits = yield* Effect.forEach(
      range(1, 20),
      (n) => Effect.exit(append(withId(numbered(n), "e1"))),
      { concurrency: "unbounded" }
    )
    assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
    for (const exit of exits) {
      if (Exit.isSuccess(exit)) continue
      const [failure] = exit.cause.reasons
      assert(failure?._tag === "Fail" && failure.error._tag === "AppendRefused")
      assert.strictEqual(failure.error.reason._tag, "EventIdConflict")
    }
    assert.strictEqual((yield* read(Query.all)).events.length, 1)
  })
]

class Point {
  readonly x = 1
}

const cycle: Record<string, unknown> = {}
cycle.self = cycle

const nested = (levels: number): Schema.JsonObject =>
  range(2, levels).reduce<Schema.JsonObject>((inner) => ({ a: inner }), { a: 1 })

/** What looks small and is endless: each level holds the one below it twice. */
const bomb = range(1, 60).reduce<Record<string, unknown>>((inner) => ({ a: inner, b: inner }), { n: 1 })

const notJson: ReadonlyArray<readonly [name: string, data: unknown, path: string]> = [
  ["undefined", { a: undefined }, "$.a"],
  ["NaN", { items: [{ price: 1 }, { price: NaN }] }, "$.items[1].price"],
  ["an infinity", { a: -Infinity }, "$.a"],
  ["a bigint", { a: 1n }, "$.a"],
  ["a function", { a: () => 1 }, "$.a"],
  ["a symbol", { a: Symbol("a") }, "$.a"],
  ["a symbol as a key", { a: { [Symbol("a")]: 1 } }, "$.a"],
  ["a date", { a: new Date(0) }, "$.a"],
  ["a map", { a: new Map() }, "$.a"],
  ["a class's instance", { a: new Point() }, "$.a"],
  ["bytes", { a: new Uint8Array(2) }, "$.a"],
  // oxlint-disable-next-line no-sparse-arrays
  ["a hole", { a: [1, , 2] }, "$.a[1]"],
  ["half of a surrogate pair", { a: "x\ud800" }, "$.a"],
  ["half of a surrogate pair in a key", { "a\udc00": 1 }, "$[\"a\\udc00\"]"],
  ["an array for an object", [1], "$"],
  ["a text for an object", "text", "$"],
  ["null for an object", null, "$"]
]

const refusals: ReadonlyArray<Rule> = [
  ...notJson.map(([name, data, path]) =>
    rule(`data that JSON would lose is refused: ${name}`, function*() {
      const reason = yield* invalid(Event.raw("Bad", data as Schema.JsonObject))
      assert.strictEqual(reason.type, "Bad")
      assert.strictEqual(reason.path, path)
      assert.include(reason.problem, path)
    })
  ),

  rule("data that throws when it is read is refused", function*() {
    const cause = new Error("not today")
    const data = {
      get a(): number {
        throw cause
      }
    }
    const reason = yield* invalid(Event.raw("Bad", data))
    assert.strictEqual(reason.cause, cause)
    assert.include(reason.problem, "not today")
  }),

  rule("an event that its class cannot encode, or whose tags throw, is refused", function*() {
    const broken = defined("c1")
    Object.assign(broken, { capacity: "many" })
    assert.strictEqual((yield* invalid(broken)).type, "Defined")
    class Throwing extends Event.Class<Throwing>()("Throwing", {}, {
      tags: (): ReadonlyArray<Tag.Input> => {
        throw new Error("no tags today")
      }
    }) {}
    assert.include((yield* invalid(new Throwing({}))).problem, "no tags today")
  }),

  rule("what is no event is refused", function*() {
    for (const nothing of [undefined, null, 1, "Defined", {}, { _tag: "Defined", course: "c1", capacity: 1 }, []]) {
      yield* invalid(nothing)
    }
    yield* invalid({ ...defined("c1") })
    yield* invalid(Event.withMetadata({} as Event.Event, { id: "e1" }))
  }),

  rule("a type that cannot be stored is refused", function*() {
    for (const type of ["", "a\nb", "a\u0085b", "a\ud800"]) yield* invalid(Event.raw(type, {}))
    yield* invalid(Event.raw(undefined as unknown as string, {}))
    yield* append([Event.raw("A".repeat(256), {}), Event.raw("é".repeat(128), {})])
    const { actual, limit, what } = yield* exceeds(append(Event.raw("é".repeat(129), {})))
    assert.deepStrictEqual({ actual, limit, what }, { actual: 258, limit: 256, what: "type bytes" })
  }),

  rule("a version that is none is refused", function*() {
    for (const version of [0, -1, 1.5, NaN]) yield* invalid(Event.raw("A", {}, { version }))
  }),

  rule("an id that cannot be stored is refused", function*() {
    for (const id of ["", "a\u0000", "a\u007f", "a\udfff", 7, null, {}]) {
      yield* invalid(withId(numbered(1), id as string))
    }
    yield* append([withId(numbered(1), "a".repeat(64)), withId(numbered(2), "😀".repeat(16))])
    const { actual, index, what } = yield* exceeds(append([numbered(1), withId(numbered(1), "😀".repeat(17))]))
    assert.deepStrictEqual({ actual, index, what }, { actual: 68, index: 1, what: "id bytes" })
  }),

  rule("metadata that cannot be stored is refused", function*() {
    for (
      const metadata of [
        { userId: 7 },
        { correlationId: null },
        { causationId: {} },
        { userId: "a\ud800" },
        { custom: { a: [NaN] } },
        { custom: [] },
        { custom: { at: new Date(0) } },
        { timestamp: "2024-01-01" },
        { timestamp: new Date(0) },
        { further: 1n }
      ]
    ) {
      yield* invalid(Event.withMetadata(numbered(1), metadata as Metadata.Input))
    }
    const { path } = yield* invalid(Event.withMetadata(numbered(1), { custom: { a: [Infinity] } }))
    assert.strictEqual(path, "$.custom.a[0]")
    const nothing = yield* refusal(append(numbered(1)).pipe(Metadata.annotate({ custom: { a: NaN } })))
    assert.strictEqual(nothing._tag, "InvalidEvent")
  }),

  rule("a tag that is none is refused, and named", function*() {
    for (
      const [tag, problem] of [
        ["course", "has no ':'"],
        [":c1", "has a blank key"],
        [" \t:c1", "has a blank key"],
        ["course:", "has an empty value"],
        ["course:a\nb", "has a control character"],
        ["course:a\u007fb", "has a control character"],
        ["course:a\u0085b", "has a control character"],
        ["course:\udc00", "has half of a surrogate pair"],
        [`${"é".repeat(513)}:c1`, "has a key longer than 1 KiB"],
        [`course:${"é".repeat(513)}`, "has a value longer than 1 KiB"],
        [7, "is no text"]
      ] as const
    ) {
      const reason = yield* refusal(append([numbered(1), numbered(2, "A", "fine:1", tag as Tag.Input)]))
      assert(reason._tag === "InvalidTag")
      assert.deepStrictEqual([reason.index, reason.tag, reason.problem], [1, String(tag), problem])
    }
    const empty = yield* refusal(append(new Priced({ product: "", cents: 1, currency: "EUR" })))
    assert.deepInclude(empty, { _tag: "InvalidTag", index: 0, tag: "product:" })
  }),

  rule("the longest tags are stored, and found", function*() {
    const tag: Tag.Input = `${"k".repeat(1024)}:${"é".repeat(512)}`
    yield* append(numbered(1, "A", tag))
    assert.deepStrictEqual(yield* readNumbers(Query.tags(tag)), [1])
  }),

  rule("an event has at most 64 tags, its duplicates merged, in order", function*() {
    const tags = range(1, 64).map((n): Tag.Input => `t:${n}`)
    yield* append(numbered(1, "A", ...tags, ...tags, "t:1"))
    assert.deepStrictEqual<ReadonlyArray<string> | undefined>((yield* readLast(Query.all))?.tags, tags)
    const { actual, index, limit, what } = yield* exceeds(append([numbered(1), numbered(2, "A", ...tags, "t:65")]))
    assert.deepStrictEqual({ actual, index, limit, what }, { actual: 65, index: 1, limit: 64, what: "tags" })
  }),

  rule("data is nested at most 100 levels deep, and cycles end there", function*() {
    yield* append(Event.raw("Deep", nested(100)))
    assert.deepStrictEqual((yield* readLast(Query.all))?.event.data, nested(100))
    for (const data of [nested(101), nested(100_000), cycle, { list: [cycle] }]) {
      const { index, limit, what } = yield* exceeds(append(Event.raw("Deep", data as Schema.JsonObject)))
      assert.deepStrictEqual({ index, limit, what }, { index: 0, limit: 100, what: "nesting" })
    }
  }),

  rule("an event takes at most 16 MiB", function*() {
    const { index, limit, what } = yield* exceeds(append([numbered(1), Event.raw("Large", { a: "x".repeat(2 ** 24) })]))
    assert.deepStrictEqual({ index, limit, what }, { index: 1, limit: 2 ** 24, what: "event bytes" })
    assert.strictEqual((yield* exceeds(append(Event.raw("Bomb", bomb as Schema.JsonObject)))).what, "event bytes")
    const large = "x".repeat(2 ** 20)
    yield* append(Event.raw("Fine", { large }))
    assert.deepStrictEqual((yield* readLast(Query.all))?.event.data, { large })
  }),

  rule("a batch takes at most 64 MiB", function*() {
    const large = Event.raw("Large", { a: "x".repeat(2 ** 23) })
    const { index, limit, what } = yield* exceeds(append(range(1, 8).map(() => large)))
    assert.deepStrictEqual({ index, limit, what }, { index: undefined, limit: 2 ** 26, what: "batch bytes" })
  }),

  rule("refusals are caught by their reason", function*() {
    const handled = append([]).pipe(
      Effect.catchReason("AppendRefused", "EmptyBatch", ({ message }) => Effect.succeed(message)),
      Effect.catchReasons("EventStoreError", { StoreClosed: () => Effect.succeed("closed") })
    )
    assert.strictEqual(yield* handled, "an append needs at least one event")
  })
]

const fidelity: ReadonlyArray<Rule> = [
  rule("data is read as it was written", function*() {
    const all: ReadonlyArray<Schema.JsonObject> = [
      {},
      { a: {}, b: [], c: [[]], d: "", "": 0 },
      { text: "\"\\/\b\f\n\r\t\u0000\u001f\u007f\u0085\u2028\u2029\ufeff😀é" },
      { "key \"\\\n\u0000😀": 1, " ": 2, "2": 3, "1": 4 },
      { n: [0, -1, 0.1, 1e308, 5e-324, 2 ** 53, -(2 ** 53), 123_456_789.123] },
      { b: [true, false, null] },
      JSON.parse("{\"__proto__\":{\"polluted\":true},\"constructor\":1,\"toString\":2}") as Schema.JsonObject,
      { deep: nested(90) },
      { lines: "{\"kind\":\"commit\"}\n{\"kind\":\"event\"}\n" },
      Object.assign(Object.create(null) as Schema.JsonObject, { plain: true })
    ]
    yield* append(all.map((data, n) => Event.raw("Data", data, { metadata: { id: `d${n}`, custom: data } })))
    const { events } = yield* read(Query.all)
    for (const [n, data] of all.entries()) {
      const { event, metadata } = events[n]!
      assert.strictEqual(JSON.stringify(event.data), JSON.stringify(data))
      assert.strictEqual(JSON.stringify(metadata.custom), JSON.stringify(data))
    }
    assert.isUndefined(({} as { readonly polluted?: boolean }).polluted)
  }),

  rule("what is done with an object after the append does not change what was stored", function*() {
    const data = { list: [1] }
    yield* append(Event.raw("A", data))
    data.list.push(2)
    assert.deepStrictEqual((yield* readLast(Query.all))?.event.data, { list: [1] })
  }),

  rule("events are read as instances of their classes, by a query of these", function*() {
    const at = DateTime.makeUnsafe("2024-05-06T07:08:09.010Z")
    const moved = new Moved({ from: CourseId.make("c1"), to: CourseId.make("c2"), at })
    yield* append([defined("c1", 3), moved, numbered(1)])
    const { events } = yield* read(Query.or(Query.of([Defined, Moved]), Query.types("Numbered")))
    assert.instanceOf(events[0]?.event, Defined)
    assert.instanceOf(events[1]?.event, Moved)
    assert.deepStrictEqual(events[0]?.event, defined("c1", 3))
    assert.deepStrictEqual(events[1]?.event, moved)
    assert.deepStrictEqual(events.map(({ type }) => type), ["Defined", "Moved", "Numbered"])
    const raw = events[2]!.event
    assert(raw._tag === "RawEvent" && Event.isRaw(raw))
    assert.deepStrictEqual([raw.type, raw.version, raw.data], ["Numbered", 1, { n: 1 }])
    // The stored data holds fields alone, not the type.
    const all = yield* read(Query.all)
    assert.deepStrictEqual(all.events[0]?.event.data, { course: "c1", capacity: 3 })
    assert.deepStrictEqual(
      all.events.map(({ tags }) => tags.join(" ")),
      ["course:c1", "course:c1 course:c2", ""]
    )
  }),

  rule("marked fields, a class's function and the event's own tags add up, each once", function*() {
    yield* append(
      Event.withTags(new Priced({ product: "p", cents: 1, currency: "EUR" }), ["shelf:7", "product:p", "currency:EUR"])
    )
    const query = Query.of(Priced, { product: "p", currency: "EUR" })
    assert.deepStrictEqual<ReadonlyArray<string> | undefined>((yield* readLast(query))?.tags, [
      "product:p",
      "currency:EUR",
      "shelf:7"
    ])
    assert.strictEqual((yield* read(Query.tags("shelf:7"))).events.length, 1)
  }),

  rule("old versions are upcast, the newest is read as it is", function*() {
    yield* append([
      Event.raw("Priced", { product: "p", price: 3 }),
      Event.raw("Priced", { product: "q", cents: 2 }, { version: 2 }),
      new Priced({ product: "r", cents: 1, currency: "CHF" })
    ])
    const { events } = yield* read(Query.of(Priced))
    assert.deepStrictEqual(events.map(({ event }) => `${event.product} ${event.cents} ${event.currency}`), [
      "p 300 EUR",
      "q 2 EUR",
      "r 1 CHF"
    ])
    // What is stored stays as it was written.
    const raw = yield* read(Query.types("Priced"))
    assert.deepStrictEqual(raw.events.map(({ event }) => event.version), [1, 2, 3])
    assert.deepStrictEqual(raw.events[0]?.event.data, { product: "p", price: 3 })
  }),

  rule("an event that does not fit its class is an error that names it, and can be read raw", function*() {
    const { positions: [, second, third, fourth] } = yield* append([
      new Priced({ product: "r", cents: 1, currency: "CHF" }),
      Event.raw("Priced", { product: 7 }, { version: 3 }),
      Event.raw("Priced", { product: "p", cents: 1, currency: "EUR" }, { version: 4 }),
      Event.raw("Priced", { nothing: true })
    ])
    const wrong = yield* Effect.flip(read(Query.of(Priced)))
    assert(wrong._tag === "EventDecodeError")
    assert.deepStrictEqual([wrong.position, wrong.type, wrong.version], [second!, "Priced", 3])
    const newer = yield* Effect.flip(read(Query.of(Priced), { after: second }))
    assert(newer._tag === "EventDecodeError" && newer.position === third)
    assert.include(newer.message, "newer")
    const old = yield* Effect.flip(readLast(Query.of(Priced)))
    assert(old._tag === "EventDecodeError" && old.position === fourth && old.version === 1)
    assert.strictEqual((yield* read(Query.types("Priced"))).events.length, 4)
    assert.strictEqual((yield* read(Query.of(Priced), { before: second })).events.length, 1)
  }),

  rule("a stream emits what stands before an event that does not fit, then fails", function*() {
    yield* append([
      new Priced({ product: "a", cents: 1, currency: "CHF" }),
      new Priced({ product: "b", cents: 1, currency: "CHF" }),
      Event.raw("Priced", {}, { version: 3 }),
      new Priced({ product: "c", cents: 1, currency: "CHF" })
    ])
    for (const events of [stream(Query.of(Priced)), subscribe(Query.of(Priced))]) {
      const seen: Array<string> = []
      const error = yield* events.pipe(
        Stream.runForEach(({ event }) => Effect.sync(() => seen.push(event.product))),
        Effect.flip
      )
      assert.strictEqual(error._tag, "EventDecodeError")
      assert.deepStrictEqual(seen, ["a", "b"])
    }
  }),

  rule("an event has an id and the time of its append", function*() {
    const now = yield* Clock.currentTimeMillis
    yield* append([numbered(1), numbered(2)])
    const { events: [first, second] } = yield* read(Query.all)
    const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
    assert.match(first!.metadata.id, uuid)
    assert.match(second!.metadata.id, uuid)
    assert.notStrictEqual(first!.metadata.id, second!.metadata.id)
    assert.strictEqual(DateTime.toEpochMillis(first!.metadata.timestamp), now)
    assert.deepStrictEqual(Object.keys(first!.metadata).sort(), ["id", "timestamp"])
  }),

  rule("ids come from Random, times from Clock", function*() {
    const ids = (seed: string) =>
      Effect.gen(function*() {
        const { positions } = yield* Random.withSeed(append([numbered(1), numbered(2)]), seed)
        const { events } = yield* read(Query.all, { after: positions[0] - 1 as Position })
        return events.map(({ metadata }) => metadata.id)
      })
    assert.deepStrictEqual(yield* ids("a"), yield* ids("a"))
    assert.notDeepEqual(yield* ids("a"), yield* ids("b"))
  }),

  rule("metadata is kept as it was given", function*() {
    const timestamp = DateTime.makeUnsafe("2020-02-03T04:05:06.007Z")
    const metadata = { id: "e1", timestamp, correlationId: "c", causationId: "d", userId: "u", custom: { till: 3 } }
    yield* append(Event.withMetadata(numbered(1), metadata))
    assert.deepStrictEqual((yield* readLast(Query.all))?.metadata, metadata)
  }),

  rule("keys of metadata that this version does not know are kept", function*() {
    const further = { id: "e1", traceparent: "00-1", further: { a: [1] } }
    yield* append(Event.withMetadata(numbered(1), further))
    const first = (yield* readLast(Query.all))!.metadata
    assert.deepInclude<object>(first, { traceparent: "00-1", further: { a: [1] } })
    // And go along when an event is copied.
    yield* append(Event.withMetadata(numbered(2), { ...first, id: "e2" }))
    assert.deepStrictEqual((yield* readLast(Query.all))?.metadata, { ...first, id: "e2" })
  }),

  rule("what is annotated around appends is attached to their events, which go before it", function*() {
    const appends = Effect.all([
      append(numbered(1)),
      append(pipe(
        numbered(2),
        Event.withMetadata({ userId: "own", custom: { b: 2 } }),
        Event.withMetadata({ custom: { c: 3 } })
      )),
      Metadata.annotate(append(numbered(3)), { userId: "inner", custom: { b: 3 } })
    ])
    yield* appends.pipe(Metadata.annotate({ userId: "outer", correlationId: "c", custom: { a: 1, b: 1 } }))
    yield* append(numbered(4))
    const { events } = yield* read(Query.all)
    assert.deepStrictEqual(
      events.map(({ metadata: { correlationId, custom, userId } }) => ({ correlationId, custom, userId })),
      [
        { correlationId: "c", custom: { a: 1, b: 1 }, userId: "outer" },
        { correlationId: "c", custom: { a: 1, b: 2, c: 3 }, userId: "own" },
        { correlationId: "c", custom: { a: 1, b: 3 }, userId: "inner" },
        { correlationId: undefined, custom: undefined, userId: undefined }
      ]
    )
  })
]

/** The first numbers that a subscription delivers. */
const follow = (query: Query.Any, count: number, options?: EventStore.SubscribeOptions) =>
  subscribe(query, options).pipe(Stream.take(count), Stream.runCollect, Effect.map(numbersOf))

const following: ReadonlyArray<Rule> = [
  rule("a subscription delivers what was there and what comes", function*() {
    yield* append([numbered(1), numbered(2)])
    const fiber = yield* Effect.forkChild(follow(Query.all, 5), { startImmediately: true })
    yield* append(numbered(3))
    yield* append([numbered(4), numbered(5), numbered(6)])
    assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2, 3, 4, 5])
  }),

  rule("a subscription to an empty store waits for the first event", function*() {
    const fiber = yield* Effect.forkChild(follow(Query.all, 1), { startImmediately: true })
    yield* Effect.yieldNow
    yield* append(numbered(1))
    assert.deepStrictEqual(yield* Fiber.join(fiber), [1])
  }),

  rule("`after` is exclusive, at the head and beyond it too", function*() {
    const { head, positions: [, second] } = yield* append(range(1, 3).map((n) => numbered(n)))
    assert.deepStrictEqual(yield* follow(Query.all, 1, { after: second }), [3])
    const fiber = yield* Effect.forkChild(follow(Query.all, 1, { after: head }), { startImmediately: true })
    const { positions: [fourth] } = yield* append(numbered(4))
    assert.deepStrictEqual(yield* Fiber.join(fiber), [4])
    // What comes at or below a position beyond the head is not wanted.
    const beyond = fourth + 3 as Position
    const later = yield* Effect.forkChild(
      subscribe(Query.all, { after: beyond }).pipe(Stream.take(2), Stream.runCollect),
      { startImmediately: true }
    )
    for (const n of range(5, 12)) yield* append(numbered(n))
    const expected = (yield* read(Query.all, { after: beyond, limit: 2 })).events
    assert.strictEqual(expected.length, 2)
    assert.deepStrictEqual(positionsOf(yield* Fiber.join(later)), positionsOf(expected))
  }),

  rule("a subscription delivers what its query finds, and nothing else", function*() {
    const fiber = yield* Effect.forkChild(follow(Query.tags("x:1"), 3), { startImmediately: true })
    for (const n of range(1, 30)) yield* append(numbered(n, "A", `x:${n % 10}`))
    assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 11, 21])
  }),

  rule("a subscription delivers typed events", function*() {
    yield* append([defined("c1"), numbered(1), subscribed("c1", "anna")])
    const events = yield* subscribe(Query.of([Defined, Subscribed])).pipe(Stream.take(2), Stream.runCollect)
    assert.deepStrictEqual(events.map(({ event }) => event), [defined("c1"), subscribed("c1", "anna")])
  }),

  rule("a subscription catches up over many pages, and goes on", function*() {
    for (const n of range(0, 12)) yield* append(range(1, 100).map((i) => numbered(n * 100 + i)))
    const fiber = yield* Effect.forkChild(follow(Query.all, 2600), { startImmediately: true })
    for (const n of range(13, 25)) yield* append(range(1, 100).map((i) => numbered(n * 100 + i)))
    assert.deepStrictEqual(yield* Fiber.join(fiber), range(1, 2600))
  }),

  rule("many subscribers see the same, each once and in order, while many append", function*() {
    const count = 200
    const subscribers = yield* Effect.forEach(
      range(1, 8),
      (n) =>
        Effect.forkChild(
          subscribe(n % 2 === 0 ? Query.all : Query.types("Numbered")).pipe(Stream.take(count), Stream.runCollect),
          { startImmediately: true }
        )
    )
    yield* Effect.forEach(
      range(1, 20),
      (writer) => Effect.forEach(range(1, 5), (n) => append([numbered(writer * 100 + n), numbered(writer * 100 + n)])),
      { concurrency: "unbounded" }
    )
    const { events } = yield* read(Query.all)
    assert.strictEqual(events.length, count)
    for (const fiber of subscribers) {
      assert.deepStrictEqual(positionsOf(yield* Fiber.join(fiber)), positionsOf(events))
    }
  }),

  rule("a subscriber that began late sees the same as one that began early", function*() {
    const seen: Array<ReadonlyArray<number>> = []
    const fibers: Array<Fiber.Fiber<ReadonlyArray<number>, EventStore.ReadError>> = []
    for (const n of range(1, 40)) {
      fibers.push(yield* Effect.forkChild(follow(Query.all, 40), { startImmediately: n % 2 === 0 }))
      yield* append(numbered(n))
    }
    for (const fiber of fibers) seen.push(yield* Fiber.join(fiber))
    for (const numbers of seen) assert.deepStrictEqual(numbers, range(1, 40))
  }),

  rule("a slow subscriber holds nobody up, and misses nothing", function*() {
    const latch = yield* Latch.make()
    const begun = yield* Deferred.make<void>()
    const slow = yield* Effect.forkChild(
      subscribe(Query.all).pipe(
        Stream.tap(() => Effect.andThen(Deferred.succeed(begun, undefined), latch.await)),
        Stream.take(600),
        Stream.runCollect
      ),
      { startImmediately: true }
    )
    const fast = yield* Effect.forkChild(follow(Query.all, 600), { startImmediately: true })
    yield* append(numbered(1))
    yield* Deferred.await(begun)
    for (const n of range(2, 600)) yield* append(numbered(n))
    assert.deepStrictEqual(yield* Fiber.join(fast), range(1, 600))
    yield* latch.open
    assert.deepStrictEqual(numbersOf(yield* Fiber.join(slow)), range(1, 600))
  }),

  rule("a subscription can be ended while it waits, and begun again where it stood", function*() {
    const seen = yield* Queue.unbounded<Event.SequencedEvent<unknown>>()
    const run = (after?: Position) =>
      subscribe(Query.all, { after }).pipe(Stream.runForEach((event) => Queue.offer(seen, event)))
    const fiber = yield* Effect.forkChild(run(), { startImmediately: true })
    yield* append(numbered(1))
    const first = yield* Queue.take(seen)
    yield* Fiber.interrupt(fiber)
    yield* append(numbered(2))
    yield* Effect.forkChild(run(first.position), { startImmediately: true })
    yield* append(numbered(3))
    assert.deepStrictEqual(numbersOf([first, yield* Queue.take(seen), yield* Queue.take(seen)]), [1, 2, 3])
  })
]

const turns: ReadonlyArray<Rule> = [
  rule("awaitBeyond completes when the head is beyond the given one, and not before", function*() {
    const done: Array<number> = []
    const wait = (beyond: Position | undefined, n: number) =>
      Effect.forkChild(Effect.map(awaitBeyond(beyond), () => void done.push(n)), { startImmediately: true })
    const first = yield* wait(undefined, 1)
    yield* Effect.yieldNow
    assert.deepStrictEqual(done, [])
    const { head: before } = yield* append(numbered(1))
    yield* Fiber.join(first)
    const second = yield* wait(before, 2)
    // other appends are not what this one waits for
    const far = before + 5 as Position
    const third = yield* wait(far, 3)
    assert.deepStrictEqual(done, [1])
    yield* append(numbered(2))
    yield* Fiber.join(second)
    for (let at = yield* head; (at ?? 0) <= far; at = (yield* append(numbered(3))).head) {
      // for as long as anybody who was woken may need to come back
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
      assert.deepStrictEqual(done, [1, 2])
    }
    yield* Fiber.join(third)
    // what is beyond already is not waited for
    yield* awaitBeyond(undefined)
    yield* awaitBeyond(far)
  }),

  rule("many wait at once, and may stop waiting", function*() {
    const { head: before } = yield* append(numbered(1))
    const waiting = yield* Effect.forEach(
      range(1, 20),
      () => Effect.forkChild(awaitBeyond(before), { startImmediately: true })
    )
    const [given, ...others] = waiting
    yield* Fiber.interrupt(given!)
    yield* append(numbered(2))
    for (const fiber of others) yield* Fiber.join(fiber)
  }),

  rule("what is no position cannot be waited for", function*() {
    for (const bad of [0, -1, 1.5, Number.NaN, "1", null]) {
      const exit = yield* Effect.exit(awaitBeyond(bad as Position))
      assert(Exit.isFailure(exit) && exit.cause.reasons.every(({ _tag }) => _tag === "Die"), String(bad))
    }
  }),

  rule("reserve writes nothing, and whoever reserved can read and append at once", function*() {
    yield* reserve
    assert.isUndefined(yield* head)
    const { head: before } = yield* append(numbered(1, "A"))
    yield* reserve
    assert.strictEqual(yield* head, before)
    const query = Query.types("A")
    const seen = yield* read(query)
    yield* append(numbered(2, "A"), { failIfEventsMatch: query, after: seen.head })
    assert.deepStrictEqual(yield* readNumbers(query), [1, 2])
  }),

  rule("a reservation excludes nobody: many reserve and append at once", function*() {
    const appends = yield* Effect.forEach(
      range(1, 20),
      (n) => Effect.andThen(n % 2 === 0 ? reserve : Effect.void, append(numbered(n))),
      { concurrency: "unbounded" }
    )
    assert.strictEqual(new Set(appends.flatMap(({ positions }) => positions)).size, 20)
    const given = yield* Effect.forkChild(reserve, { startImmediately: true })
    yield* Fiber.interrupt(given)
    yield* append(numbered(21))
    assert.strictEqual((yield* read(Query.all)).events.length, 21)
  })
]

/** All rules, by what they are about. */
export const groups: { readonly [title: string]: ReadonlyArray<Rule> } = {
  appending,
  reading,
  conditions,
  retries,
  refusals,
  "what is read": fidelity,
  following,
  turns
}

// a comparison with the plainest store

const types = ["A", "B", "C"] as const
const someTags = ["x:1", "x:2", "y:1"] as const

const Small = (n: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: n }))
const Subset = <const A extends ReadonlyArray<string>>(values: A) =>
  Schema.Array(Schema.Literals(values)).check(Schema.isMaxLength(2))

const SomeItem = Schema.Struct({ types: Subset(types), tags: Subset(someTags) })
/** No items: every event. */
const SomeQuery = Schema.Array(SomeItem).check(Schema.isMaxLength(3))
/** An event of its own, or one of a few with an id: these are the same each time, but for the data of those with an odd id. */
const SomeEvent = Schema.Union([
  Schema.Struct({ type: Schema.Literals(types), tags: Subset(someTags) }),
  Schema.Struct({ id: Small(3) })
])
/** A position is chosen among those that were given out: none, or one counted from the newest. */
const SomePosition = Schema.optionalKey(Small(8))

const Step = Schema.Union([
  Schema.Struct({
    do: Schema.Literal("append"),
    events: Schema.Array(SomeEvent).check(Schema.isMaxLength(3)),
    condition: Schema.optionalKey(Schema.Struct({ query: SomeQuery, after: SomePosition })),
    /** Append the same once more. */
    again: Schema.Boolean
  }),
  Schema.Struct({
    do: Schema.Literal("read"),
    query: SomeQuery,
    after: SomePosition,
    before: SomePosition,
    backwards: Schema.Boolean,
    limit: Schema.optionalKey(Small(4))
  })
])
type Step = typeof Step.Type

const toQuery = (items: typeof SomeQuery.Type): Query.Any => {
  const list = items.filter(({ tags, types }) => tags.length + types.length > 0).map(({ tags, types }) => ({
    ...(types.length > 0 ? { types } : {}),
    ...(tags.length > 0 ? { tags } : {})
  })) as unknown as ReadonlyArray<Query.Item>
  const [first, ...rest] = list
  return first === undefined ? Query.all : Query.fromItems(first, ...rest)
}

/** Runs the steps on a store; positions are told as their rank, so that gaps make no difference. */
const observe = (steps: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const given: Array<Position> = []
    const rank = (position: Position | undefined) => position === undefined ? 0 : given.indexOf(position) + 1
    const pick = (back: number | undefined) => back === undefined ? undefined : given.at(-1 - back)
    const out: Array<unknown> = []
    for (const [n, step] of steps.entries()) {
      if (step.do === "append") {
        const events = step.events.map((event, i) =>
          "id" in event
            ? Event.raw(types[event.id % 3]!, { n: event.id % 2 === 0 ? event.id : n }, {
              tags: [someTags[event.id % 3]!],
              metadata: { id: `id-${event.id}` }
            })
            : Event.raw(event.type, { n: n * 10 + i }, { tags: event.tags })
        )
        const condition = step.condition &&
          { failIfEventsMatch: toQuery(step.condition.query), after: pick(step.condition.after) }
        for (const _ of step.again ? [1, 2] : [1]) {
          out.push(
            yield* store.append(events, condition).pipe(Effect.match({
              onSuccess: ({ duplicate, head, positions }) => {
                if (!duplicate) given.push(...positions)
                return [duplicate, positions.map(rank), duplicate ? "" : rank(head)]
              },
              onFailure: (error) =>
                error._tag === "AppendConditionFailed"
                  ? [error._tag, rank(error.conflict), rank(error.after)]
                  : error._tag === "AppendRefused"
                  ? [error._tag, error.reason._tag, "position" in error.reason ? rank(error.reason.position) : ""]
                  : [error._tag]
            }))
          )
        }
      } else {
        const query = toQuery(step.query)
        const { backwards, limit } = step
        const options = { after: pick(step.after), before: pick(step.before), backwards, limit }
        const show = (event: Event.SequencedEvent<unknown>) => [
          rank(event.position),
          event.type,
          event.tags,
          (event.event as Event.RawEvent).data
        ]
        const { events, head } = yield* store.read(query, options)
        const last = yield* store.readLast(query, { before: options.before })
        out.push([
          events.map(show),
          rank(head),
          rank(yield* store.head),
          last && show(last),
          (yield* Stream.runCollect(store.stream(query, options))).map(show)
        ])
      }
    }
    return out
  })

/** Appends and reads, one after another. */
export const History = Schema.Array(Step).check(Schema.isMaxLength(12))

/** Fails if a history goes another way than in the plainest store. */
export const isAsThePlainest = <E>(layer: Layer.Layer<EventStore.EventStore, E>, steps: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const expected = yield* observe(steps).pipe(Effect.provide(Layer.fresh(naive.layer)))
    const actual = yield* observe(steps).pipe(Effect.provide(Layer.fresh(layer)))
    assert.deepStrictEqual(actual, expected)
  })

export interface SuiteOptions {
  /** How many random histories are compared with the plainest store's. Default: 100. */
  readonly runs?: number
}

/** Registers the contract's tests for a layer, which is built anew for each. */
export const suite = <E>(
  name: string,
  layer: Layer.Layer<EventStore.EventStore, E>,
  options?: SuiteOptions
): void => {
  describe(`EventStore: ${name}`, () => {
    for (const [title, rules] of Object.entries(groups)) {
      describe(`${title}`, () => {
        for (const rule of rules) {
          it.effect(rule.name, () => rule.run.pipe(Effect.scoped, Effect.provide(Layer.fresh(layer))))
        }
      })
    }
    it.effect.prop(
      "any history is as that of the plainest store",
      { steps: History },
      ({ steps }) => isAsThePlainest(layer, steps),
      { arbitrary: { runs: options?.runs ?? 100 }, timeout: 120_000 }
    )
  })
}
