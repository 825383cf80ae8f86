/** What cannot be stored, and how much of what can. */
import * as Effect from "effect/Effect"
import type * as Schema from "effect/Schema"
import * as Event from "../../Event.ts"
import * as Metadata from "../../Metadata.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import type * as Tag from "../../Tag.ts"
import { contains, equal } from "./expect.ts"
import {
  badTag,
  defined,
  exceeds,
  invalid,
  nested,
  numbered,
  Priced,
  range,
  readNumbers,
  refusal,
  withId
} from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, readLast } = EventStore
const rule = group("refusals", "store")

class Point {
  readonly x = 1
}

const cycle: Record<string, unknown> = {}
cycle.self = cycle

/** What looks small and is endless: each level holds the one below it twice. */
const bomb = range(1, 60).reduce<Record<string, unknown>>((inner) => ({ a: inner, b: inner }), { n: 1 })

/** Each of them is refused, with the place in the data. */
const refusesData = (bad: { readonly [name: string]: readonly [data: unknown, path: string] }) =>
  Effect.gen(function*() {
    for (const [name, [data, path]] of Object.entries(bad)) {
      const reason = yield* invalid(Event.raw("Bad", data as Schema.JsonObject))
      equal([reason.type, reason.path], ["Bad", path], `the type and the path of a refusal: ${name}`)
      contains(reason.problem, path)
    }
  })

export const refusals = [
  rule(
    "data-undefined",
    "data with `undefined` in it, or with a hole, is refused",
    refusesData({
      undefined: [{ a: undefined }, "$.a"],
      // oxlint-disable-next-line no-sparse-arrays
      "a hole": [{ a: [1, , 2] }, "$.a[1]"]
    })
  ),

  rule(
    "data-numbers",
    "numbers that JSON does not have are refused: NaN, infinities, bigints",
    refusesData({
      NaN: [{ items: [{ price: 1 }, { price: NaN }] }, "$.items[1].price"],
      "an infinity": [{ a: -Infinity }, "$.a"],
      "a bigint": [{ a: 1n }, "$.a"]
    })
  ),

  rule(
    "data-functions",
    "functions and symbols are refused, as values and as keys",
    refusesData({
      "a function": [{ a: () => 1 }, "$.a"],
      "a symbol": [{ a: Symbol("a") }, "$.a"],
      "a symbol as a key": [{ a: { [Symbol("a")]: 1 } }, "$.a"]
    })
  ),

  rule(
    "data-class-instances",
    "instances of classes are refused, as JSON would not give them back",
    refusesData({
      "a date": [{ a: new Date(0) }, "$.a"],
      "a map": [{ a: new Map() }, "$.a"],
      "a class's instance": [{ a: new Point() }, "$.a"],
      bytes: [{ a: new Uint8Array(2) }, "$.a"]
    })
  ),

  rule(
    "data-surrogates",
    "half of a surrogate pair is refused, in a text and in a key",
    refusesData({
      "in a text": [{ a: "x\ud800" }, "$.a"],
      "in a key": [{ "a\udc00": 1 }, "$[\"a\\udc00\"]"]
    })
  ),

  rule(
    "data-no-object",
    "data that is no object is refused",
    refusesData({
      "an array": [[1], "$"],
      "a text": ["text", "$"],
      null: [null, "$"]
    })
  ),

  rule(
    "data-throws",
    "data that throws when it is read is refused",
    Effect.gen(function*() {
      const cause = new Error("not today")
      const data = {
        get a(): number {
          throw cause
        }
      }
      const reason = yield* invalid(Event.raw("Bad", data))
      equal(reason.cause, cause)
      contains(reason.problem, "not today")
    })
  ),

  rule(
    "event-class-throws",
    "an event that its class cannot encode, or whose tags throw, is refused",
    Effect.gen(function*() {
      const broken = defined("c1")
      Object.assign(broken, { capacity: "many" })
      equal((yield* invalid(broken)).type, "Defined")
      class Throwing extends Event.Class<Throwing>()("Throwing", {}, {
        tags: (): ReadonlyArray<Tag.Input> => {
          throw new Error("no tags today")
        }
      }) {}
      contains((yield* invalid(new Throwing({}))).problem, "no tags today")
    })
  ),

  rule(
    "event-is-none",
    "what is no event is refused",
    Effect.gen(function*() {
      for (const nothing of [undefined, null, 1, "Defined", {}, { _tag: "Defined", course: "c1", capacity: 1 }, []]) {
        yield* invalid(nothing)
      }
      yield* invalid({ ...defined("c1") })
      yield* invalid(Event.withMetadata({} as Event.Event, { id: "e1" }))
    })
  ),

  rule(
    "limit-type",
    "a type that cannot be stored is refused",
    Effect.gen(function*() {
      for (const type of ["", "a\nb", "a\u0085b", "a\ud800"]) yield* invalid(Event.raw(type, {}))
      yield* invalid(Event.raw(undefined as unknown as string, {}))
      yield* append([Event.raw("A".repeat(256), {}), Event.raw("é".repeat(128), {})])
      const { actual, limit, what } = yield* exceeds(append(Event.raw("é".repeat(129), {})))
      equal({ actual, limit, what }, { actual: 258, limit: 256, what: "type bytes" })
    })
  ),

  rule(
    "version-invalid",
    "a version that is none is refused",
    Effect.gen(function*() {
      for (const version of [0, -1, 1.5, NaN]) yield* invalid(Event.raw("A", {}, { version }))
    })
  ),

  rule(
    "limit-id",
    "an id that cannot be stored is refused",
    Effect.gen(function*() {
      for (const id of ["", "a\u0000", "a\u007f", "a\udfff", 7, null, {}]) {
        yield* invalid(withId(numbered(1), id as string))
      }
      yield* append([withId(numbered(1), "a".repeat(64)), withId(numbered(2), "😀".repeat(16))])
      const { actual, index, what } = yield* exceeds(append([numbered(1), withId(numbered(1), "😀".repeat(17))]))
      equal({ actual, index, what }, { actual: 68, index: 1, what: "id bytes" })
    })
  ),

  rule(
    "metadata-invalid",
    "metadata that cannot be stored is refused",
    Effect.gen(function*() {
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
      equal(path, "$.custom.a[0]")
      const nothing = yield* refusal(append(numbered(1)).pipe(Metadata.annotate({ custom: { a: NaN } })))
      equal(nothing._tag, "InvalidEvent")
    })
  ),

  rule(
    "tag-invalid",
    "a tag that is none is refused, and named",
    Effect.gen(function*() {
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
        const reason = yield* badTag(append([numbered(1), numbered(2, "A", "fine:1", tag as Tag.Input)]))
        equal([reason.index, reason.tag, reason.problem], [1, String(tag), problem])
      }
      const empty = yield* badTag(append(new Priced({ product: "", cents: 1, currency: "EUR" })))
      equal([empty.index, empty.tag], [0, "product:"])
    })
  ),

  rule(
    "limit-tag-bytes",
    "the longest tags are stored, and found",
    Effect.gen(function*() {
      const tag: Tag.Input = `${"k".repeat(1024)}:${"é".repeat(512)}`
      yield* append(numbered(1, "A", tag))
      equal(yield* readNumbers(Query.tags(tag)), [1])
    })
  ),

  rule(
    "limit-tags",
    "an event has at most 64 tags, its duplicates merged, in order",
    Effect.gen(function*() {
      const tags = range(1, 64).map((n): Tag.Input => `t:${n}`)
      yield* append(numbered(1, "A", ...tags, ...tags, "t:1"))
      equal((yield* readLast(Query.all))?.tags, tags)
      const { actual, index, limit, what } = yield* exceeds(append([numbered(1), numbered(2, "A", ...tags, "t:65")]))
      equal({ actual, index, limit, what }, { actual: 65, index: 1, limit: 64, what: "tags" })
    })
  ),

  rule(
    "limit-nesting",
    "data is nested at most 100 levels deep, and cycles end there",
    Effect.gen(function*() {
      yield* append(Event.raw("Deep", nested(100)))
      equal((yield* readLast(Query.all))?.event.data, nested(100))
      for (const data of [nested(101), nested(100_000), cycle, { list: [cycle] }]) {
        const { index, limit, what } = yield* exceeds(append(Event.raw("Deep", data as Schema.JsonObject)))
        equal({ index, limit, what }, { index: 0, limit: 100, what: "nesting" })
      }
    })
  ),

  rule(
    "limit-event-bytes",
    "an event takes at most 16 MiB",
    Effect.gen(function*() {
      const { index, limit, what } = yield* exceeds(
        append([numbered(1), Event.raw("Large", { a: "x".repeat(2 ** 24) })])
      )
      equal({ index, limit, what }, { index: 1, limit: 2 ** 24, what: "event bytes" })
      equal((yield* exceeds(append(Event.raw("Bomb", bomb as Schema.JsonObject)))).what, "event bytes")
      const large = "x".repeat(2 ** 20)
      yield* append(Event.raw("Fine", { large }))
      equal((yield* readLast(Query.all))?.event.data, { large })
    })
  ),

  rule(
    "limit-batch-bytes",
    "a batch takes at most 64 MiB",
    Effect.gen(function*() {
      const large = Event.raw("Large", { a: "x".repeat(2 ** 23) })
      const { index, limit, what } = yield* exceeds(append(range(1, 8).map(() => large)))
      equal({ index, limit, what }, { index: undefined, limit: 2 ** 26, what: "batch bytes" })
    })
  ),

  rule(
    "refusal-by-reason",
    "refusals are caught by their reason",
    Effect.gen(function*() {
      const handled = append([]).pipe(
        Effect.catchReason("AppendRefused", "EmptyBatch", ({ message }) => Effect.succeed(message)),
        Effect.catchReasons("EventStoreError", { StoreClosed: () => Effect.succeed("closed") })
      )
      equal(yield* handled, "an append needs at least one event")
    })
  )
]
