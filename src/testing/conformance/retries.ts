/** Ids, by which an append can be repeated. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Schema from "effect/Schema"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import { atLeast, equal, that } from "./expect.ts"
import { conflicts, defined, failureOf, idConflict, numbered, range, readNumbers, refusal, withId } from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, read, readLast } = EventStore
const rule = group("retries", "store")

export const retries = [
  rule(
    "retry-answers-the-first",
    "an append with the same ids is answered with the first one's positions, and writes nothing",
    Effect.gen(function*() {
      const batch = [withId(defined("c1"), "e1"), withId(numbered(1, "A", "x:1"), "e2")]
      const first = yield* append(batch)
      const { head } = yield* append(numbered(9))
      const again = yield* append(batch)
      equal(again.positions, first.positions)
      equal(again.hash, first.hash)
      equal([first.duplicate, again.duplicate], [false, true])
      atLeast(again.head, first.head, "the head that a repeated append answers with")
      equal(yield* EventStore.head, head)
      equal((yield* read(Query.all)).events.length, 3)
    })
  ),

  rule(
    "retry-before-condition",
    "ids are looked up before the condition",
    Effect.gen(function*() {
      const event = withId(numbered(1, "A"), "e1")
      const condition = { failIfEventsMatch: Query.types("A") }
      const first = yield* append(event, condition)
      // Now the condition fails because of the very event that is appended again.
      equal((yield* append(event, condition)).positions, first.positions)
      const beyond = { failIfEventsMatch: Query.all, after: first.head + 10 as Position }
      equal((yield* append(event, beyond)).duplicate, true)
      yield* conflicts(append(withId(numbered(1, "A"), "e2"), condition))
    })
  ),

  rule(
    "retry-ignores-metadata",
    "other metadata and another order of keys make no difference",
    Effect.gen(function*() {
      const first = yield* append(
        Event.raw("A", { a: 1, b: { c: [1, 2], d: null } }, { metadata: { id: "e1", userId: "anna" } })
      )
      const again = yield* append(
        Event.raw("A", { b: { d: null, c: [1, 2] }, a: 1 }, {
          metadata: { id: "e1", correlationId: "c", timestamp: DateTime.makeUnsafe(0) }
        })
      )
      equal(again.duplicate, true)
      equal(again.positions, first.positions)
      equal((yield* readLast(Query.all))?.metadata.userId, "anna")
    })
  ),

  rule(
    "retry-other-event",
    "the same id with another event is a conflict",
    Effect.gen(function*() {
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
        equal({ id, position }, { id: "e1", position: second! })
      }
    })
  ),

  rule(
    "retry-other-content",
    "another type, version, tag or data is a conflict",
    Effect.gen(function*() {
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
        equal(position, first, what)
      }
      equal((yield* append(Event.raw("A", { a: [1, 2], b: 1 }, same))).duplicate, true)
    })
  ),

  rule(
    "retry-whole-batch",
    "ids that are not one whole earlier batch, in its order, are a conflict",
    Effect.gen(function*() {
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
      equal((yield* append([event(6)])).duplicate, false)
      equal((yield* append([event(4), event(5)])).duplicate, true)
    })
  ),

  rule(
    "id-twice-in-a-batch",
    "two events of one batch with one id are a conflict",
    Effect.gen(function*() {
      const { id, position } = yield* idConflict(append([withId(numbered(1), "e1"), withId(numbered(2), "e1")]))
      equal({ id, position }, { id: "e1", position: undefined })
      equal((yield* append(withId(numbered(1), "e1"))).duplicate, false)
    })
  ),

  rule(
    "id-free-after-failure",
    "an id stays free when its append fails",
    Effect.gen(function*() {
      yield* append(numbered(1, "A"))
      yield* conflicts(append(withId(numbered(2), "e1"), { failIfEventsMatch: Query.types("A") }))
      yield* refusal(append([withId(numbered(2), "e1"), withId(numbered(NaN), "e2")]))
      equal((yield* append(withId(numbered(3), "e1"))).duplicate, false)
    })
  ),

  rule(
    "retry-with-made-ids",
    "an append whose ids the store made can be repeated with these",
    Effect.gen(function*() {
      const first = yield* append([numbered(1), numbered(2)])
      const { events } = yield* read(Query.all)
      const again = yield* append(
        events.map(({ event, metadata }) =>
          Event.raw(event.type, event.data as Schema.JsonObject, { metadata: { id: metadata.id } })
        )
      )
      equal([again.positions, again.duplicate], [first.positions, true])
    })
  ),

  rule(
    "retry-at-once",
    "of the same append many times at once, one is written and all get its answer",
    Effect.gen(function*() {
      const batch = [withId(numbered(1, "A"), "e1"), withId(numbered(2), "e2")]
      const all = yield* Effect.forEach(
        range(1, 20),
        () => append(batch, { failIfEventsMatch: Query.types("A") }),
        { concurrency: "unbounded" }
      )
      equal(all.filter(({ duplicate }) => !duplicate).length, 1)
      for (const { hash, positions } of all) equal([positions, hash], [all[0]!.positions, all[0]!.hash])
      equal(yield* readNumbers(Query.all), [1, 2])
    })
  ),

  rule(
    "id-race",
    "of different appends at once with one id, one is written",
    Effect.gen(function*() {
      const exits = yield* Effect.forEach(
        range(1, 20),
        (n) => Effect.exit(append(withId(numbered(n), "e1"))),
        { concurrency: "unbounded" }
      )
      equal(exits.filter(Exit.isSuccess).length, 1)
      for (const exit of exits) {
        if (Exit.isSuccess(exit)) continue
        const failure = failureOf(exit)
        that(failure?._tag === "AppendRefused", `all others should be refused, not fail with ${failure?._tag}`)
        equal(failure.reason._tag, "EventIdConflict", "why all others are refused")
      }
      equal((yield* read(Query.all)).events.length, 1)
    })
  )
]
