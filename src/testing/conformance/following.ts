/** Subscriptions. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import { equal } from "./expect.ts"
import {
  Defined,
  defined,
  follow,
  fork,
  numbered,
  numbersOf,
  positionsOf,
  range,
  Subscribed,
  subscribed
} from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, read, subscribe } = EventStore
const rule = group("following", "store")

export const following = [
  rule(
    "subscribe-past-and-future",
    "a subscription delivers what was there and what comes",
    Effect.gen(function*() {
      yield* append([numbered(1), numbered(2)])
      const fiber = yield* fork(follow(Query.all, 5))
      yield* append(numbered(3))
      yield* append([numbered(4), numbered(5), numbered(6)])
      equal(yield* Fiber.join(fiber), [1, 2, 3, 4, 5])
    })
  ),

  rule(
    "subscribe-empty-store",
    "a subscription to an empty store waits for the first event",
    Effect.gen(function*() {
      const fiber = yield* fork(follow(Query.all, 1))
      yield* Effect.yieldNow
      yield* append(numbered(1))
      equal(yield* Fiber.join(fiber), [1])
    })
  ),

  rule(
    "subscribe-after-exclusive",
    "`after` is exclusive, at the head and beyond it too",
    Effect.gen(function*() {
      const { head, positions: [, second] } = yield* append(range(1, 3).map((n) => numbered(n)))
      equal(yield* follow(Query.all, 1, { after: second }), [3])
      const fiber = yield* fork(follow(Query.all, 1, { after: head }))
      const { positions: [fourth] } = yield* append(numbered(4))
      equal(yield* Fiber.join(fiber), [4])
      // What comes at or below a position beyond the head is not wanted.
      const beyond = fourth + 3 as Position
      const later = yield* Effect.forkChild(
        subscribe(Query.all, { after: beyond }).pipe(Stream.take(2), Stream.runCollect),
        { startImmediately: true }
      )
      for (const n of range(5, 12)) yield* append(numbered(n))
      const expected = (yield* read(Query.all, { after: beyond, limit: 2 })).events
      equal(expected.length, 2)
      equal(positionsOf(yield* Fiber.join(later)), positionsOf(expected))
    })
  ),

  rule(
    "subscribe-query",
    "a subscription delivers what its query finds, and nothing else",
    Effect.gen(function*() {
      const fiber = yield* fork(follow(Query.tags("x:1"), 3))
      for (const n of range(1, 30)) yield* append(numbered(n, "A", `x:${n % 10}`))
      equal(yield* Fiber.join(fiber), [1, 11, 21])
    })
  ),

  rule(
    "subscribe-typed",
    "a subscription delivers typed events",
    Effect.gen(function*() {
      yield* append([defined("c1"), numbered(1), subscribed("c1", "anna")])
      const events = yield* subscribe(Query.of([Defined, Subscribed])).pipe(Stream.take(2), Stream.runCollect)
      equal(events.map(({ event }) => event), [defined("c1"), subscribed("c1", "anna")])
    })
  ),

  rule(
    "subscribe-many-pages",
    "a subscription catches up over many pages, and goes on",
    Effect.gen(function*() {
      for (const n of range(0, 12)) yield* append(range(1, 100).map((i) => numbered(n * 100 + i)))
      const fiber = yield* fork(follow(Query.all, 2600))
      for (const n of range(13, 25)) yield* append(range(1, 100).map((i) => numbered(n * 100 + i)))
      equal(yield* Fiber.join(fiber), range(1, 2600))
    })
  ),

  rule(
    "subscribe-many",
    "many subscribers see the same, each once and in order, while many append",
    Effect.gen(function*() {
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
        (writer) =>
          Effect.forEach(range(1, 5), (n) => append([numbered(writer * 100 + n), numbered(writer * 100 + n)])),
        { concurrency: "unbounded" }
      )
      const { events } = yield* read(Query.all)
      equal(events.length, count)
      for (const fiber of subscribers) {
        equal(positionsOf(yield* Fiber.join(fiber)), positionsOf(events))
      }
    })
  ),

  rule(
    "subscribe-late",
    "a subscriber that began late sees the same as one that began early",
    Effect.gen(function*() {
      const seen: Array<ReadonlyArray<number>> = []
      const fibers: Array<Fiber.Fiber<ReadonlyArray<number>, EventStore.ReadError>> = []
      for (const n of range(1, 40)) {
        fibers.push(yield* Effect.forkChild(follow(Query.all, 40), { startImmediately: n % 2 === 0 }))
        yield* append(numbered(n))
      }
      for (const fiber of fibers) seen.push(yield* Fiber.join(fiber))
      for (const numbers of seen) equal(numbers, range(1, 40))
    })
  ),

  rule(
    "subscribe-slow",
    "a slow subscriber holds nobody up, and misses nothing",
    Effect.gen(function*() {
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
      const fast = yield* fork(follow(Query.all, 600))
      yield* append(numbered(1))
      yield* Deferred.await(begun)
      for (const n of range(2, 600)) yield* append(numbered(n))
      equal(yield* Fiber.join(fast), range(1, 600))
      yield* latch.open
      equal(numbersOf(yield* Fiber.join(slow)), range(1, 600))
    })
  ),

  rule(
    "subscribe-again",
    "a subscription can be ended while it waits, and begun again where it stood",
    Effect.gen(function*() {
      const seen = yield* Queue.unbounded<Event.SequencedEvent<unknown>>()
      const run = (after?: Position) =>
        subscribe(Query.all, { after }).pipe(Stream.runForEach((event) => Queue.offer(seen, event)))
      const fiber = yield* fork(run())
      yield* append(numbered(1))
      const first = yield* Queue.take(seen)
      yield* Fiber.interrupt(fiber)
      yield* append(numbered(2))
      yield* fork(run(first.position))
      yield* append(numbered(3))
      equal(numbersOf([first, yield* Queue.take(seen), yield* Queue.take(seen)]), [1, 2, 3])
    })
  )
]
