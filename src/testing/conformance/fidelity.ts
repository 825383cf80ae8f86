/** What is read is what was written. */
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { pipe } from "effect/Function"
import * as Random from "effect/Random"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.ts"
import * as Metadata from "../../Metadata.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import { isSame } from "../comparison.ts"
import { contains, equal, that } from "./expect.ts"
import { CourseId, Defined, defined, Moved, nested, numbered, Priced } from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, read, readLast, stream, subscribe } = EventStore
const rule = group("what is read", "store")

/** Stands for whoever asks for the time; whoever waits does so by the real one. */
const standing = (clock: Clock.Clock, millis: number): Clock.Clock => ({
  currentTimeMillis: Effect.succeed(millis),
  currentTimeMillisUnsafe: () => millis,
  currentTimeNanos: Effect.succeed(BigInt(millis) * 1_000_000n),
  currentTimeNanosUnsafe: () => BigInt(millis) * 1_000_000n,
  monotonicTimeNanos: clock.monotonicTimeNanos,
  monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
  sleep: (duration) => clock.sleep(duration)
})

export const fidelity = [
  rule(
    "data-as-written",
    "data is read as it was written",
    Effect.gen(function*() {
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
        equal(JSON.stringify(event.data), JSON.stringify(data))
        equal(JSON.stringify(metadata.custom), JSON.stringify(data))
      }
      equal(({} as { readonly polluted?: boolean }).polluted, undefined)
    })
  ),

  rule(
    "data-copied",
    "what is done with an object after the append does not change what was stored",
    Effect.gen(function*() {
      const data = { list: [1] }
      yield* append(Event.raw("A", data))
      data.list.push(2)
      equal((yield* readLast(Query.all))?.event.data, { list: [1] })
    })
  ),

  rule(
    "class-instances",
    "events are read as instances of their classes, by a query of these",
    Effect.gen(function*() {
      const at = DateTime.makeUnsafe("2024-05-06T07:08:09.010Z")
      const moved = new Moved({ from: CourseId.make("c1"), to: CourseId.make("c2"), at })
      yield* append([defined("c1", 3), moved, numbered(1)])
      const { events } = yield* read(Query.or(Query.of([Defined, Moved]), Query.types("Numbered")))
      that(events[0]?.event instanceof Defined, "the first event should be an instance of its class")
      that(events[1]?.event instanceof Moved, "the second event should be an instance of its class")
      equal(events[0]?.event, defined("c1", 3))
      equal(events[1]?.event, moved)
      equal(events.map(({ type }) => type), ["Defined", "Moved", "Numbered"])
      const raw = events[2]!.event
      that(raw._tag === "RawEvent" && Event.isRaw(raw), "an event that the query has no class for should be raw")
      equal([raw.type, raw.version, raw.data], ["Numbered", 1, { n: 1 }])
      // The stored data holds fields alone, not the type.
      const all = yield* read(Query.all)
      equal(all.events[0]?.event.data, { course: "c1", capacity: 3 })
      equal(all.events.map(({ tags }) => tags.join(" ")), ["course:c1", "course:c1 course:c2", ""])
    })
  ),

  rule(
    "tags-kept",
    "tags are kept in their order, each once",
    Effect.gen(function*() {
      yield* append([numbered(1, "A", "b:2", "a:1", "b:2", "c:3", "a:1"), numbered(2, "A")])
      const { events } = yield* read(Query.all)
      equal(events.map(({ tags }) => tags), [["b:2", "a:1", "c:3"], []])
    })
  ),

  rule(
    "tags-add-up",
    "marked fields, a class's function and the event's own tags add up, each once",
    Effect.gen(function*() {
      yield* append(
        Event.withTags(new Priced({ product: "p", cents: 1, currency: "EUR" }), [
          "shelf:7",
          "product:p",
          "currency:EUR"
        ])
      )
      const query = Query.of(Priced, { product: "p", currency: "EUR" })
      equal((yield* readLast(query))?.tags, [
        "product:p",
        "currency:EUR",
        "shelf:7"
      ])
      equal((yield* read(Query.tags("shelf:7"))).events.length, 1)
    })
  ),

  rule(
    "upcast-old-versions",
    "old versions are upcast, the newest is read as it is",
    Effect.gen(function*() {
      yield* append([
        Event.raw("Priced", { product: "p", price: 3 }),
        Event.raw("Priced", { product: "q", cents: 2 }, { version: 2 }),
        new Priced({ product: "r", cents: 1, currency: "CHF" })
      ])
      const { events } = yield* read(Query.of(Priced))
      equal(events.map(({ event }) => `${event.product} ${event.cents} ${event.currency}`), [
        "p 300 EUR",
        "q 2 EUR",
        "r 1 CHF"
      ])
      // What is stored stays as it was written.
      const raw = yield* read(Query.types("Priced"))
      equal(raw.events.map(({ event }) => event.version), [1, 2, 3])
      equal(raw.events[0]?.event.data, { product: "p", price: 3 })
    })
  ),

  rule(
    "decode-error",
    "an event that does not fit its class is an error that names it, and can be read raw",
    Effect.gen(function*() {
      const { positions: [, second, third, fourth] } = yield* append([
        new Priced({ product: "r", cents: 1, currency: "CHF" }),
        Event.raw("Priced", { product: 7 }, { version: 3 }),
        Event.raw("Priced", { product: "p", cents: 1, currency: "EUR" }, { version: 4 }),
        Event.raw("Priced", { nothing: true })
      ])
      const wrong = yield* Effect.flip(read(Query.of(Priced)))
      that(wrong._tag === "EventDecodeError", `a read fails with ${wrong._tag} instead of EventDecodeError`)
      equal([wrong.position, wrong.type, wrong.version], [second!, "Priced", 3])
      const newer = yield* Effect.flip(read(Query.of(Priced), { after: second }))
      that(newer._tag === "EventDecodeError", `a read fails with ${newer._tag} instead of EventDecodeError`)
      equal(newer.position, third)
      contains(newer.message, "newer")
      const old = yield* Effect.flip(readLast(Query.of(Priced)))
      that(old._tag === "EventDecodeError", `a read fails with ${old._tag} instead of EventDecodeError`)
      equal([old.position, old.version], [fourth, 1])
      equal((yield* read(Query.types("Priced"))).events.length, 4)
      equal((yield* read(Query.of(Priced), { before: second })).events.length, 1)
    })
  ),

  rule(
    "decode-error-in-stream",
    "a stream emits what stands before an event that does not fit, then fails",
    Effect.gen(function*() {
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
        equal(error._tag, "EventDecodeError")
        equal(seen, ["a", "b"])
      }
    })
  ),

  rule(
    "id-and-time",
    "an event has a random id, and the time of its append, by the Clock",
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const now = Date.UTC(2024, 1, 29, 12, 30, 15, 250)
      yield* append([numbered(1), numbered(2)]).pipe(Effect.provideService(Clock.Clock, standing(clock, now)))
      const { events: [first, second] } = yield* read(Query.all)
      const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
      for (const { metadata } of [first!, second!]) {
        that(uuid.test(metadata.id), `${metadata.id} should be a random UUID`)
      }
      that(first!.metadata.id !== second!.metadata.id, "two events should have two ids")
      equal(DateTime.toEpochMillis(first!.metadata.timestamp), now)
      equal(Object.keys(first!.metadata).sort(), ["id", "timestamp"])
    })
  ),

  rule(
    "id-from-random",
    "ids come from Random",
    Effect.gen(function*() {
      const ids = (seed: string) =>
        Effect.gen(function*() {
          const { positions } = yield* Random.withSeed(append([numbered(1), numbered(2)]), seed)
          const { events } = yield* read(Query.all, { after: positions[0] - 1 as Position })
          return events.map(({ metadata }) => metadata.id)
        })
      equal(yield* ids("a"), yield* ids("a"))
      that(!isSame(yield* ids("a"), yield* ids("b")), "another seed should make other ids")
    })
  ),

  rule(
    "metadata-kept",
    "metadata is kept as it was given",
    Effect.gen(function*() {
      const timestamp = DateTime.makeUnsafe("2020-02-03T04:05:06.007Z")
      const metadata = { id: "e1", timestamp, correlationId: "c", causationId: "d", userId: "u", custom: { till: 3 } }
      yield* append(Event.withMetadata(numbered(1), metadata))
      equal((yield* readLast(Query.all))?.metadata, metadata)
    })
  ),

  rule(
    "metadata-unknown-keys",
    "keys of metadata that this version does not know are kept",
    Effect.gen(function*() {
      const further = { id: "e1", traceparent: "00-1", further: { a: [1] } }
      yield* append(Event.withMetadata(numbered(1), further))
      const first = (yield* readLast(Query.all))!.metadata
      equal({ ...first, timestamp: undefined }, further, "the metadata that was read")
      // And go along when an event is copied.
      yield* append(Event.withMetadata(numbered(2), { ...first, id: "e2" }))
      equal((yield* readLast(Query.all))?.metadata, { ...first, id: "e2" })
    })
  ),

  rule(
    "metadata-annotated",
    "what is annotated around appends is attached to their events, which go before it",
    Effect.gen(function*() {
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
      equal(events.map(({ metadata: { correlationId, custom, userId } }) => ({ correlationId, custom, userId })), [
        { correlationId: "c", custom: { a: 1, b: 1 }, userId: "outer" },
        { correlationId: "c", custom: { a: 1, b: 2, c: 3 }, userId: "own" },
        { correlationId: "c", custom: { a: 1, b: 3 }, userId: "inner" },
        { correlationId: undefined, custom: undefined, userId: undefined }
      ])
    })
  )
]
