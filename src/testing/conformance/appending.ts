/** Appends, and the positions that they are given. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import type * as Tag from "../../Tag.ts"
import { equal, that } from "./expect.ts"
import {
  conflicts,
  defined,
  exceeds,
  fork,
  numbered,
  numbersOf,
  positionsOf,
  range,
  readNumbers,
  refusal,
  settle
} from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, head, read, readLast, stream } = EventStore
const rule = group("appending", "store")

export const appending = [
  rule(
    "empty-store",
    "an empty store has no head and no events",
    Effect.gen(function*() {
      equal(yield* head, undefined)
      equal(yield* read(Query.all), { events: [], head: undefined, retagged: undefined, isCut: false })
      equal(yield* Stream.runCollect(stream(Query.all)), [])
      equal(yield* readLast(Query.all), undefined)
    })
  ),

  rule(
    "append-answers-positions",
    "an append answers with a position for each event, in order, and the head",
    Effect.gen(function*() {
      const appended = yield* append([numbered(1), numbered(2), numbered(3)])
      equal(appended.positions.length, 3)
      equal(appended.duplicate, false)
      equal(appended.head, appended.positions[2])
      const { events, head } = yield* read(Query.all)
      equal(positionsOf(events), appended.positions)
      equal(numbersOf(events), [1, 2, 3])
      equal(head, appended.head)
      equal(yield* EventStore.head, appended.head)
    })
  ),

  rule(
    "append-one-event",
    "one event needs no list",
    Effect.gen(function*() {
      const { positions } = yield* append(defined("c1"))
      equal(positions.length, 1)
    })
  ),

  rule(
    "positions-increase",
    "positions are whole numbers from 1 that increase in the order of commits",
    Effect.gen(function*() {
      let last = 0
      for (const n of range(1, 20)) {
        const { positions } = yield* append([numbered(n), numbered(n)])
        for (const position of positions) {
          that(
            Number.isSafeInteger(position) && position > last,
            `${position} should be a whole number above ${last}`
          )
          last = position
        }
      }
    })
  ),

  rule(
    "commit-hash",
    "each commit has a hash of its own",
    Effect.gen(function*() {
      const hashes = new Set<string>()
      for (const n of range(1, 5)) {
        const { hash } = yield* append(numbered(n))
        that(hash.length > 0, "a commit's hash should not be empty")
        hashes.add(hash)
      }
      equal(hashes.size, 5)
    })
  ),

  rule(
    "batches-stay-together",
    "many appends at once all get positions of their own, and each batch stays together",
    Effect.gen(function*() {
      const all = yield* Effect.forEach(
        range(1, 50),
        (n) => append([numbered(n), numbered(n), numbered(n)]),
        { concurrency: "unbounded" }
      )
      const { events, head } = yield* read(Query.all)
      equal(new Set(all.flatMap(({ positions }) => positions)).size, 150)
      equal(head, Math.max(...all.flatMap(({ positions }) => positions)))
      const numbers = numbersOf(events)
      equal(numbers.length, 150)
      for (let i = 0; i < 150; i += 3) equal(numbers.slice(i, i + 3), Array(3).fill(numbers[i]))
      for (const [i, { positions }] of all.entries()) {
        const mine = events.filter(({ position }) => positions.includes(position))
        equal(numbersOf(mine), [i + 1, i + 1, i + 1])
      }
    })
  ),

  rule(
    "append-after-a-failure",
    "an append that fails leaves nothing that the next one stumbles over",
    Effect.gen(function*() {
      const good = (n: number) => numbered(n, "Good", `n:${n}`)
      const long = "x".repeat(2000)
      const bad = [
        [good(0), Event.raw("Bad", {}, { tags: [` :${long}`] })],
        [good(0), Event.raw("B".repeat(500), {})],
        [good(0), Event.raw("Bad", { a: undefined } as unknown as Schema.JsonObject)]
      ]
      const positions: Array<Position> = []
      for (const [n, batch] of bad.entries()) {
        yield* refusal(append(batch))
        if (n > 0) yield* conflicts(append([good(0), good(0)], { failIfEventsMatch: Query.all }))
        const appended = yield* append(good(n + 1))
        positions.push(appended.positions[0])
        equal(positionsOf((yield* read(Query.tags(`n:${n + 1}`))).events), appended.positions)
      }
      equal(positionsOf((yield* read(Query.types("Good"))).events), positions)
    })
  ),

  rule(
    "append-interrupted",
    "an append that is interrupted is stored whole or not at all, and not later",
    Effect.gen(function*() {
      for (const turns of range(0, 20)) {
        const tag: Tag.Input = `turns:${turns}`
        const fiber = yield* fork(append(range(1, 3).map((n) => numbered(n, "Numbered", tag))))
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
        const numbers = yield* readNumbers(Query.tags(tag))
        that(numbers.length === 0 || numbers.length === 3, `${numbers.length} of 3 events are stored`)
        yield* settle
        yield* append(numbered(turns))
        equal(yield* readNumbers(Query.tags(tag)), numbers, "what is stored of it later on")
      }
    })
  ),

  rule(
    "append-large-batch-tags",
    "each event of a large batch is found by its own type and tags",
    Effect.gen(function*() {
      const { positions } = yield* append(
        range(1, 1500).map((n) => numbered(n, `Type${n % 7}`, `n:${n}`, `m:${n % 500}`))
      )
      for (const n of [1, 2, 500, 999, 1000, 1001, 1500]) {
        equal(positionsOf((yield* read(Query.tags(`n:${n}`))).events), [positions[n - 1]])
        equal(yield* readNumbers(Query.tags(`m:${n % 500}`)), range(1, 1500).filter((m) => m % 500 === n % 500))
      }
      equal(yield* readNumbers(Query.types("Type3")), range(1, 1500).filter((n) => n % 7 === 3))
    })
  ),

  rule(
    "limit-batch-events",
    "the largest batch is stored whole, one event more is refused",
    Effect.gen(function*() {
      const { positions } = yield* append(range(1, 10_000).map((n) => numbered(n)))
      equal(positions.length, 10_000)
      equal(yield* readNumbers(Query.all, { backwards: true, limit: 2 }), [10_000, 9_999])
      const { actual, index, limit, what } = yield* exceeds(append(range(1, 10_001).map((n) => numbered(n))))
      equal({ actual, index, limit, what }, {
        actual: 10_001,
        index: undefined,
        limit: 10_000,
        what: "batch events"
      })
    })
  )
]
