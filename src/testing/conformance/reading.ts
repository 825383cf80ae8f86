/** Reads, queries, and streams. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import type * as Tag from "../../Tag.ts"
import { atLeast, equal, that } from "./expect.ts"
import {
  type CourseId,
  defectOf,
  Defined,
  defined,
  fork,
  numbered,
  numbersOf,
  positionsOf,
  range,
  readNumbers
} from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, head, read, readLast, stream, subscribe } = EventStore
const rule = group("reading", "store")

export const reading = [
  rule(
    "read-one-snapshot",
    "a read returns its events and its head from one snapshot",
    Effect.gen(function*() {
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
        equal(positionsOf(events), positionsOf(then))
        // The head is always a batch's last: no reader sees a part of one.
        equal(events.length % 2, 0)
        equal(head, events.at(-1)?.position)
      }
    })
  ),

  rule(
    "read-nothing-below-a-head",
    "nothing appears at or below a head that was seen",
    Effect.gen(function*() {
      const writer = yield* fork(
        Effect.forEach(range(1, 60), (n) => append([numbered(n, "A"), numbered(n, "B")]), { concurrency: 4 })
      )
      const seen: Array<{ readonly head: Position | undefined; readonly below: ReadonlyArray<Position> }> = []
      let last = 0
      while (writer.pollUnsafe() === undefined) {
        const at = yield* head
        that((at ?? 0) >= last, `the head fell from ${last} to ${at}`)
        last = at ?? 0
        const { events } = yield* read(Query.types("B"), { before: last + 1 as Position })
        seen.push({ head: at, below: positionsOf(events) })
        yield* Effect.yieldNow
      }
      yield* Fiber.join(writer)
      const { events } = yield* read(Query.types("B"))
      for (const { below, head } of seen) {
        equal(below, positionsOf(events).filter((position) => position <= (head ?? 0)), `what stands up to ${head}`)
      }
    })
  ),

  rule(
    "read-on-through-batches",
    "a limit may cut a batch, and whoever goes on gets the rest, once",
    Effect.gen(function*() {
      const appended: Array<Position> = []
      for (const n of range(1, 5)) appended.push(...(yield* append([numbered(n), numbered(n), numbered(n)])).positions)
      for (const backwards of [false, true]) {
        const seen: Array<Position> = []
        for (let from: Position | undefined; seen.length < 15;) {
          const range = backwards ? { before: from } : { after: from }
          const { events, head } = yield* read(Query.all, { ...range, backwards, limit: 2 })
          equal(head, appended.at(-1), "the head of a page")
          that(events.length > 0 && events.length <= 2, `a page of at most 2 has ${events.length}`)
          seen.push(...positionsOf(events))
          from = seen.at(-1)
        }
        equal(seen, backwards ? [...appended].reverse() : appended)
      }
    })
  ),

  rule(
    "read-your-writes",
    "what was acknowledged is read by whoever reads afterwards",
    Effect.gen(function*() {
      yield* Effect.forEach(range(1, 20), (n) =>
        Effect.gen(function*() {
          const { positions } = yield* append(numbered(n, "Numbered", `n:${n}`))
          const { events, head } = yield* read(Query.tags(`n:${n}`))
          equal(positionsOf(events), positions)
          atLeast(head, positions[0], "the head of a read after the append")
        }), { concurrency: "unbounded" })
    })
  ),

  rule(
    "read-head-is-the-stores",
    "the head of a read is the store's, not that of the last event found",
    Effect.gen(function*() {
      yield* append(numbered(1, "A"))
      const { head } = yield* append(numbered(2, "B"))
      equal((yield* read(Query.types("A"))).head, head)
      equal((yield* read(Query.types("C"))).head, head)
      equal((yield* read(Query.all, { limit: 1 })).head, head)
      equal((yield* read(Query.all, { limit: 0 })).head, head)
      equal((yield* read(Query.all, { before: head })).head, head)
    })
  ),

  rule(
    "read-bounds-exclusive",
    "`after` and `before` are exclusive",
    Effect.gen(function*() {
      const { positions: [, second, , fourth] } = yield* append(range(1, 5).map((n) => numbered(n)))
      equal(yield* readNumbers(Query.all, { after: second }), [3, 4, 5])
      equal(yield* readNumbers(Query.all, { before: fourth }), [1, 2, 3])
      equal(yield* readNumbers(Query.all, { after: second, before: fourth }), [3])
      equal(yield* readNumbers(Query.all, { after: fourth, before: second }), [])
      equal(yield* readNumbers(Query.all, { after: second, before: fourth, backwards: true }), [3])
    })
  ),

  rule(
    "read-bounds-beyond-head",
    "`after` at or above the head finds nothing, `before` above it everything",
    Effect.gen(function*() {
      const { head } = yield* append(range(1, 3).map((n) => numbered(n)))
      const beyond = head + 1000 as Position
      equal(yield* readNumbers(Query.all, { after: head }), [])
      const far = yield* read(Query.all, { after: beyond })
      equal(far, { events: [], head, retagged: undefined, isCut: false })
      equal(yield* readNumbers(Query.all, { after: beyond, backwards: true }), [])
      equal(yield* readNumbers(Query.all, { before: beyond }), [1, 2, 3])
    })
  ),

  rule(
    "read-nothing-retagged",
    "where no tags were added later, nothing was tagged anew",
    Effect.gen(function*() {
      const { head, positions: [first] } = yield* append(range(1, 3).map((n) => numbered(n)))
      equal((yield* read(Query.all)).retagged, undefined)
      equal((yield* read(Query.all, { after: first })).retagged, undefined)
      equal(yield* read(Query.all, { after: first, limit: 0 }), {
        events: [],
        head,
        retagged: undefined,
        isCut: false
      })
    })
  ),

  rule(
    "read-backwards",
    "backwards is from the newest to the oldest",
    Effect.gen(function*() {
      yield* append(range(1, 3).map((n) => numbered(n)))
      yield* append(range(4, 5).map((n) => numbered(n)))
      equal(yield* readNumbers(Query.all, { backwards: true }), [5, 4, 3, 2, 1])
      equal(yield* readNumbers(Query.all, { backwards: true, limit: 2 }), [5, 4])
    })
  ),

  rule(
    "read-max-bytes",
    "`maxBytes` cuts a read short, and the read says so",
    Effect.gen(function*() {
      yield* append(range(1, 12).map((n) => Event.raw("Large", { n, text: "x".repeat(1000) })))
      const seen: Array<Position> = []
      for (let after: Position | undefined; seen.length < 12;) {
        const { events, isCut } = yield* read(Query.all, { after, maxBytes: 5000 })
        // a driver may cut roughly, yet not so that it never gets on
        atLeast(events.length, 1, "the number of events of a read that was cut short")
        seen.push(...events.map(({ position }) => position))
        after = seen.at(-1)
        if (!isCut) break
      }
      equal(seen, (yield* read(Query.all)).events.map(({ position }) => position))
      equal((yield* read(Query.all, { maxBytes: Infinity })).isCut, false)
    })
  ),

  rule(
    "read-limit-after-filter",
    "a limit applies after filtering",
    Effect.gen(function*() {
      yield* append(range(1, 20).map((n) => numbered(n, n % 5 === 0 ? "Fifth" : "Other")))
      equal(yield* readNumbers(Query.types("Fifth"), { limit: 2 }), [5, 10])
      equal(yield* readNumbers(Query.types("Fifth"), { limit: 2, backwards: true }), [20, 15])
      equal(yield* readNumbers(Query.types("Fifth"), { limit: 0 }), [])
      equal(yield* readNumbers(Query.types("Fifth"), { limit: 100 }), [5, 10, 15, 20])
      equal(yield* readNumbers(Query.types("Fifth"), { limit: Infinity }), [5, 10, 15, 20])
    })
  ),

  rule(
    "read-bad-numbers",
    "numbers that are no positions and no limits are defects, which say so",
    Effect.gen(function*() {
      for (const options of [{ limit: -1 }, { limit: 1.5 }, { limit: NaN }, { after: 1.5 }, { before: NaN }]) {
        const wrong = options as EventStore.ReadOptions
        for (const reads of [Effect.asVoid(read(Query.all, wrong)), Stream.runDrain(stream(Query.all, wrong))]) {
          const defect = yield* defectOf(reads)
          that(
            /(limit|after|before) must be/.test(String(defect)),
            `${String(defect)} should say which number is wrong`
          )
        }
      }
    })
  ),

  rule(
    "query-empty",
    "a query without items, an empty item and an empty list cannot be built",
    Effect.sync(() => {
      const builds: { readonly [what: string]: () => unknown } = {
        "no item": () => Query.fromItems(...([] as unknown as [Query.Item])),
        "an empty item": () => Query.fromItems({}),
        "an empty item among others": () => Query.fromItems({ types: ["A"] }, {}),
        "no types": () => Query.fromItems({ types: [] as unknown as [string] }),
        "no tags": () => Query.fromItems({ types: ["A"], tags: [] as unknown as [Tag.Input] })
      }
      for (const [what, build] of Object.entries(builds)) {
        let isRefused = false
        try {
          build()
        } catch {
          isRefused = true
        }
        that(isRefused, `a query of ${what} was built, which would find everything or nothing`)
      }
    })
  ),

  rule(
    "query-and-or",
    "types are OR-ed, tags AND-ed, items OR-ed",
    Effect.gen(function*() {
      yield* append([
        numbered(1, "A", "x:1", "y:1"),
        numbered(2, "B", "x:1"),
        numbered(3, "C", "y:1"),
        numbered(4, "A", "y:2"),
        numbered(5, "B")
      ])
      equal(yield* readNumbers(Query.types("A", "C")), [1, 3, 4])
      equal(yield* readNumbers(Query.tags("x:1")), [1, 2])
      equal(yield* readNumbers(Query.tags("x:1", "y:1")), [1])
      equal(yield* readNumbers(Query.fromItems({ types: ["A", "B"], tags: ["x:1"] })), [1, 2])
      equal(yield* readNumbers(Query.fromItems({ types: ["B"], tags: ["y:1"] })), [])
      equal(yield* readNumbers(Query.fromItems({ types: ["C"] }, { types: ["A"], tags: ["y:2"] }, { tags: ["z:9"] })), [
        3,
        4
      ])
      equal(yield* readNumbers(Query.or(Query.types("A"), Query.all)), [1, 2, 3, 4, 5])
    })
  ),

  rule(
    "query-event-once",
    "an event that two items match appears once",
    Effect.gen(function*() {
      yield* append([numbered(1, "A", "x:1", "y:1"), numbered(2, "B", "x:1"), numbered(3, "A", "x:1")])
      const query = Query.or(Query.types("A"), Query.tags("x:1"), Query.tags("y:1"), Query.types("A", "B"))
      equal(yield* readNumbers(query), [1, 2, 3])
      equal(yield* readNumbers(query, { limit: 2 }), [1, 2])
      equal(yield* readNumbers(query, { backwards: true, limit: 2 }), [3, 2])
    })
  ),

  rule(
    "query-names-alike",
    "names that look alike are told apart",
    Effect.gen(function*() {
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
      for (const [n, tag] of tags.entries()) equal(yield* readNumbers(Query.tags(tag)), [n], tag)
      for (const [n, type] of types.entries()) equal(yield* readNumbers(Query.types(type)), [n], type)
    })
  ),

  rule(
    "query-impossible",
    "a tag that no event can have, and a type that none has, find nothing",
    Effect.gen(function*() {
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
        equal((yield* read(query)).events, [])
        // And so it guards nothing.
        yield* append(numbered(2, "A"), { failIfEventsMatch: query })
      }
      equal((yield* read(Query.or(Query.tags("x:"), Query.types("Defined")))).events.length, 1)
    })
  ),

  rule(
    "read-last",
    "readLast finds the newest, also before a position",
    Effect.gen(function*() {
      yield* append([numbered(1, "A"), numbered(2, "B"), numbered(3, "A")])
      const { positions: [fourth] } = yield* append(numbered(4, "B"))
      const last = yield* readLast(Query.types("A"))
      equal(numbersOf([last!]), [3])
      equal(numbersOf([(yield* readLast(Query.all, { before: fourth }))!]), [3])
      equal(numbersOf([(yield* readLast(Query.types("A"), { before: last!.position }))!]), [1])
      equal(yield* readLast(Query.types("C")), undefined)
    })
  ),

  rule(
    "stream-as-read",
    "a stream reads what a read does, over many pages, both ways",
    Effect.gen(function*() {
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
            equal(streamed, events, JSON.stringify({ backwards, ...options }))
          }
        }
      }
    })
  ),

  rule(
    "stream-one-snapshot",
    "a stream sees one snapshot, that of its beginning",
    Effect.gen(function*() {
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
        equal(positionsOf(seen), positionsOf(expected))
      }
    })
  ),

  rule(
    "stream-large-events",
    "streams and subscriptions of large events leave nothing out",
    Effect.gen(function*() {
      const large = "x".repeat(1_000_000)
      for (let n = 1; n <= 30; n++) yield* append(Event.raw("Large", { n, large }))
      const all = yield* read(Query.all)
      for (const backwards of [false, true]) {
        const seen = yield* Stream.runCollect(Stream.map(stream(Query.all, { backwards }), ({ position }) => position))
        const expected = all.events.map(({ position }) => position)
        equal(seen, backwards ? expected.reverse() : expected)
        const some = yield* Stream.runCollect(stream(Query.all, { backwards, limit: 17 }))
        equal(some.length, 17)
      }
      const followed = yield* Stream.runCollect(Stream.take(subscribe(Query.types("Large")), 30))
      equal(positionsOf(followed), positionsOf(all.events))
    })
  ),

  rule(
    "stream-afresh",
    "a stream reads afresh each time it is run",
    Effect.gen(function*() {
      const numbers = Effect.map(Stream.runCollect(stream(Query.all)), numbersOf)
      equal(yield* numbers, [])
      yield* append(numbered(1))
      equal(yield* numbers, [1])
      yield* append(numbered(2))
      equal(yield* numbers, [1, 2])
    })
  )
]
