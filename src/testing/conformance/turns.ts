/** Waiting for the head, and for the right to write. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import { equal } from "./expect.ts"
import { defectOf, fork, numbered, range, readNumbers, settle } from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, awaitBeyond, head, read, reserve } = EventStore
const rule = group("turns", "store")

export const turns = [
  rule(
    "await-beyond",
    "awaitBeyond completes when the head is beyond the given one, and not before",
    Effect.gen(function*() {
      const done: Array<number> = []
      const wait = (beyond: Position | undefined, n: number) =>
        fork(Effect.map(awaitBeyond(beyond), () => void done.push(n)))
      const first = yield* wait(undefined, 1)
      yield* Effect.yieldNow
      equal(done, [])
      const { head: before } = yield* append(numbered(1))
      yield* Fiber.join(first)
      const second = yield* wait(before, 2)
      // other appends are not what this one waits for
      const far = before + 5 as Position
      const third = yield* wait(far, 3)
      equal(done, [1])
      yield* append(numbered(2))
      yield* Fiber.join(second)
      for (let at = yield* head; (at ?? 0) <= far; at = (yield* append(numbered(3))).head) {
        yield* settle
        equal(done, [1, 2])
      }
      yield* Fiber.join(third)
      // what is beyond already is not waited for
      yield* awaitBeyond(undefined)
      yield* awaitBeyond(far)
    })
  ),

  rule(
    "await-many",
    "many wait at once, and may stop waiting",
    Effect.gen(function*() {
      const { head: before } = yield* append(numbered(1))
      const waiting = yield* Effect.forEach(
        range(1, 20),
        () => fork(awaitBeyond(before))
      )
      const [given, ...others] = waiting
      yield* Fiber.interrupt(given!)
      yield* append(numbered(2))
      for (const fiber of others) yield* Fiber.join(fiber)
    })
  ),

  rule(
    "await-bad-position",
    "what is no position cannot be waited for",
    Effect.gen(function*() {
      for (const bad of [0, -1, 1.5, Number.NaN, "1", null]) {
        yield* defectOf(awaitBeyond(bad as Position))
      }
    })
  ),

  rule(
    "reserve-writes-nothing",
    "reserve writes nothing, and whoever reserved can read and append at once",
    Effect.gen(function*() {
      yield* reserve
      equal(yield* head, undefined)
      const { head: before } = yield* append(numbered(1, "A"))
      yield* reserve
      equal(yield* head, before)
      const query = Query.types("A")
      const seen = yield* read(query)
      yield* append(numbered(2, "A"), { failIfEventsMatch: query, after: seen.head })
      equal(yield* readNumbers(query), [1, 2])
    })
  ),

  rule(
    "reserve-excludes-nobody",
    "a reservation excludes nobody: many reserve and append at once",
    Effect.gen(function*() {
      const appends = yield* Effect.forEach(
        range(1, 20),
        (n) => Effect.andThen(n % 2 === 0 ? reserve : Effect.void, append(numbered(n))),
        { concurrency: "unbounded" }
      )
      equal(new Set(appends.flatMap(({ positions }) => positions)).size, 20)
      const given = yield* fork(reserve)
      yield* Fiber.interrupt(given)
      yield* append(numbered(21))
      equal((yield* read(Query.all)).events.length, 21)
    })
  )
]
