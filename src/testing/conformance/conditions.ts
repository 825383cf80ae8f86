/** Append conditions. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import type * as Tag from "../../Tag.ts"
import { isSame } from "../comparison.ts"
import { contains, equal, that } from "./expect.ts"
import {
  beyondHead,
  conflicts,
  CourseId,
  Defined,
  defined,
  failureOf,
  numbered,
  numbersOf,
  positionsOf,
  range,
  readNumbers,
  refusal
} from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, read, readLast } = EventStore
const rule = group("conditions", "store")

export const conditions = [
  rule(
    "condition-without-after",
    "without `after` any match fails the append",
    Effect.gen(function*() {
      const query = Query.of(Defined, { course: CourseId.make("c1") })
      const { positions: [first] } = yield* append(defined("c1"), { failIfEventsMatch: query })
      yield* append(defined("c2"), { failIfEventsMatch: Query.of(Defined, { course: CourseId.make("c2") }) })
      const error = yield* conflicts(append(defined("c1"), { failIfEventsMatch: query }))
      equal(error.conflict, first)
      equal(error.after, undefined)
      that(error.failIfEventsMatch === query, "the error should carry the condition's query")
      contains(error.message, "Defined")
    })
  ),

  rule(
    "condition-all-without-after",
    "`all` without `after` passes on an empty store only",
    Effect.gen(function*() {
      yield* append(numbered(1), { failIfEventsMatch: Query.all })
      yield* conflicts(append(numbered(2), { failIfEventsMatch: Query.all }))
    })
  ),

  rule(
    "condition-after-is-a-reads-head",
    "the head of a read is the right `after`: only what came since then conflicts",
    Effect.gen(function*() {
      const query = Query.types("A")
      yield* append([numbered(1, "A"), numbered(2, "B")])
      const { head } = yield* read(query)
      yield* append(numbered(3, "B"))
      const { positions: [fourth] } = yield* append(numbered(4, "A"), { failIfEventsMatch: query, after: head })
      const error = yield* conflicts(append(numbered(5, "A"), { failIfEventsMatch: query, after: head }))
      equal(error.conflict, fourth)
      equal(error.after, head)
    })
  ),

  rule(
    "condition-after-exclusive",
    "`after` is exclusive: an event that stands there does not conflict, one behind it does",
    Effect.gen(function*() {
      const { positions: [first, second, third] } = yield* append(range(1, 3).map((n) => numbered(n, "A")))
      yield* conflicts(append(numbered(4), { failIfEventsMatch: Query.types("A"), after: second }))
      const error = yield* conflicts(append(numbered(4), { failIfEventsMatch: Query.types("A"), after: first }))
      equal(error.conflict, second, "the first position that conflicts")
      yield* append(numbered(4), { failIfEventsMatch: Query.types("A"), after: third })
    })
  ),

  rule(
    "condition-not-own-batch",
    "a batch is not checked against its own condition",
    Effect.gen(function*() {
      yield* append([numbered(1, "A"), numbered(2, "A")], { failIfEventsMatch: Query.types("A") })
      const head = yield* EventStore.head
      yield* append([numbered(3, "A"), numbered(4, "A")], { failIfEventsMatch: Query.all, after: head })
      equal(yield* readNumbers(Query.all), [1, 2, 3, 4])
    })
  ),

  rule(
    "condition-unrelated",
    "unrelated appends do not conflict",
    Effect.gen(function*() {
      const { head } = yield* append([numbered(1, "A", "x:1"), numbered(2, "B", "x:2")])
      yield* append([numbered(3, "A", "x:2"), numbered(4, "B", "x:1")])
      yield* append(numbered(5), { failIfEventsMatch: Query.fromItems({ types: ["A"], tags: ["x:1"] }), after: head })
      yield* append(numbered(6), { failIfEventsMatch: Query.tags("x:1", "x:2"), after: head })
      yield* conflicts(append(numbered(7), { failIfEventsMatch: Query.tags("x:1"), after: head }))
      yield* conflicts(append(numbered(7), {
        failIfEventsMatch: Query.fromItems({ types: ["C"] }, { types: ["B"], tags: ["x:1"] }),
        after: head
      }))
    })
  ),

  rule(
    "condition-one-wins",
    "of many appends at once with one condition, one wins",
    Effect.gen(function*() {
      const { head } = yield* append(numbered(0, "Other"))
      const condition = { failIfEventsMatch: Query.tags("name:anna"), after: head }
      const exits = yield* Effect.forEach(
        range(1, 30),
        (n) => Effect.exit(append([numbered(n, "Taken", "name:anna"), numbered(n)], condition)),
        { concurrency: "unbounded" }
      )
      const winners = exits.flatMap((exit, i) => Exit.isSuccess(exit) ? [i + 1] : [])
      equal(winners.length, 1)
      equal(yield* readNumbers(Query.tags("name:anna")), winners)
      for (const exit of exits) {
        if (Exit.isSuccess(exit)) continue
        equal(failureOf(exit)?._tag, "AppendConditionFailed", "why all others fail")
      }
    })
  ),

  rule(
    "condition-sees-what-comes-with-it",
    "of appends at once, each is checked against those stored before it",
    Effect.gen(function*() {
      const isFirst = (n: number) => (n + (n >> 1)) % 2 === 0
      yield* Effect.forEach(range(1, 40), (n) => {
        const tag: Tag.Input = `pair:${n >> 1}`
        const first = Query.fromItems({ types: ["First"], tags: [tag] })
        return Effect.exit(
          isFirst(n)
            ? append(numbered(n, "First", tag))
            : append(numbered(n, "Second", tag), { failIfEventsMatch: first })
        )
      }, { concurrency: "unbounded" })
      const { events } = yield* read(Query.all)
      for (const { event, position, tags } of events) {
        if (event.type !== "Second") continue
        const before = events.filter((other) =>
          other.position < position && other.type === "First" && isSame(other.tags, tags)
        )
        equal(positionsOf(before), [], `what the append at ${position} did not see`)
      }
      equal(
        [...yield* readNumbers(Query.types("First"))].sort((a, b) => a - b),
        range(1, 40).filter(isFirst),
        "what was appended without a condition"
      )
    })
  ),

  rule(
    "condition-own-conditions",
    "appends at once with conditions of their own do not disturb one another",
    Effect.gen(function*() {
      yield* Effect.forEach(
        range(1, 30),
        (n) => append(numbered(n, "Taken", `name:${n}`), { failIfEventsMatch: Query.tags(`name:${n}`) }),
        { concurrency: "unbounded" }
      )
      equal((yield* read(Query.types("Taken"))).events.length, 30)
    })
  ),

  rule(
    "condition-numbers-without-gaps",
    "numbers given out by many are without gaps and repetition",
    Effect.gen(function*() {
      const invoices = Query.types("Invoice")
      const create = Effect.gen(function*() {
        const last = yield* readLast(invoices)
        const n = last === undefined ? 1 : numbersOf([last])[0]! + 1
        yield* append(numbered(n, "Invoice"), { failIfEventsMatch: invoices, after: last?.position })
      }).pipe(Effect.retry({ while: (error) => error._tag === "AppendConditionFailed" }))
      yield* Effect.forEach(range(1, 10), () => Effect.forEach(range(1, 5), () => create), { concurrency: "unbounded" })
      equal(yield* readNumbers(invoices), range(1, 50))
    })
  ),

  rule(
    "condition-proved-by-history",
    "afterwards the history alone proves every decision right",
    Effect.gen(function*() {
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
      equal(events.length, 144)
      for (let i = 0; i < events.length; i += 2) {
        const { after, tag } = events[i]!.event.data as { readonly tag: string; readonly after: number }
        const between = events.slice(0, i).filter(({ position, tags }) =>
          position > after && tags.some((_) => _ === tag)
        )
        equal(positionsOf(between), [])
      }
    })
  ),

  rule(
    "condition-after-beyond-head",
    "an `after` beyond the head is refused",
    Effect.gen(function*() {
      const empty = yield* beyondHead(
        append(numbered(1), { failIfEventsMatch: Query.types("A"), after: 1 as Position })
      )
      equal([empty.after, empty.head], [1, undefined])
      const { head } = yield* append(numbered(1))
      const after = head + 1 as Position
      const reason = yield* beyondHead(append(numbered(2), { failIfEventsMatch: Query.types("A"), after }))
      equal([reason.after, reason.head], [after, head])
      yield* append(numbered(2), { failIfEventsMatch: Query.types("A"), after: head })
    })
  ),

  rule(
    "condition-invalid",
    "a condition that is none is refused",
    Effect.gen(function*() {
      yield* append(numbered(1))
      for (const after of [0, -1, 1.5, NaN, Infinity, 2 ** 53, "1", null]) {
        const condition = { failIfEventsMatch: Query.types("A"), after } as unknown as { failIfEventsMatch: Query.Any }
        equal((yield* refusal(append(numbered(2), condition)))._tag, "InvalidCondition", String(after))
      }
      for (const condition of [{}, { failIfEventsMatch: "all" }, null, 3, { failIfEventsMatch: { items: [] } }]) {
        const reason = yield* refusal(append(numbered(2), condition as unknown as { failIfEventsMatch: Query.Any }))
        equal(reason._tag, "InvalidCondition", JSON.stringify(condition))
      }
    })
  ),

  rule(
    "condition-after-empty-batch",
    "an empty batch is refused before the condition is looked at",
    Effect.gen(function*() {
      yield* append(numbered(1))
      for (
        const condition of [
          undefined,
          { failIfEventsMatch: Query.all },
          { failIfEventsMatch: Query.all, after: 1_000_000 as Position },
          { failIfEventsMatch: Query.all, after: -1 as Position }
        ]
      ) {
        equal((yield* refusal(append([], condition)))._tag, "EmptyBatch")
      }
    })
  )
]
