/** Several clients of one store, which come and go. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import { addTags, anchor, checkAnchor } from "../../services/EventStoreMaintenance.ts"
import type { Tag } from "../../Tag.ts"
import { atLeast, equal, that } from "./expect.ts"
import {
  conflicts,
  CourseId,
  Defined,
  defined,
  failureOf,
  follow,
  fork,
  idConflict,
  numbered,
  numbersOf,
  positionsOf,
  range,
  readNumbers,
  settle,
  withId
} from "./fixtures.ts"
import { type Client, open } from "./place.ts"
import { group } from "./rule.ts"

const { append, awaitBeyond, head, read, readLast, reserve, stream, subscribe } = EventStore
const reopening = group("reopening", "place")
const clients = group("several clients", "place")
const maintaining = group("several clients, tags added later", "place and maintenance")

/** Runs an effect on a client of its own, which is closed afterwards. */
const once = <A, E>(effect: Effect.Effect<A, E, EventStore.EventStore>) =>
  Effect.gen(function*() {
    const client = yield* open
    const result = yield* client.run(effect)
    yield* client.close
    return result
  })

/** All that is stored, as a client sees it. */
const all = Effect.map(read(Query.all), ({ events, head }) => ({ events, head }))

const openMany = (count: number) => Effect.forEach(range(1, count), () => open)

/** Each effect on a client of its own, all at once. */
const atOnce = <A, E>(
  clients: ReadonlyArray<Client>,
  effect: (n: number) => Effect.Effect<A, E, EventStore.EventStore>
) => Effect.forEach(clients, (client, n) => client.run(effect(n)), { concurrency: "unbounded" })

const maintained = (client: Client) => {
  that(client.maintain !== undefined, "the place should give an EventStoreMaintenance")
  return client.maintain
}

export const severalClients = [
  reopening(
    "reopened-keeps-everything",
    "what was acknowledged is there when the store is opened again",
    Effect.gen(function*() {
      const metadata = { id: "e1", userId: "anna", custom: { till: 3 }, further: [1] }
      const written = yield* once(Effect.gen(function*() {
        yield* append([
          defined("c1", 3),
          Event.raw("A", { n: 1, text: "é\u2028😀" }, { version: 2, tags: ["x:1"], metadata })
        ])
        for (const n of range(2, 30)) yield* append(numbered(n, "B", `n:${n}`))
        return yield* all
      }))
      equal(written.events.length, 31)
      equal(yield* once(all), written)
      equal(yield* once(all), written, "opened for the second time")
    })
  ),

  reopening(
    "reopened-empty",
    "a store that was opened and closed without an append is empty",
    Effect.gen(function*() {
      yield* once(head)
      equal(yield* once(all), { events: [], head: undefined })
      yield* once(append(numbered(1), { failIfEventsMatch: Query.all }))
    })
  ),

  reopening(
    "reopened-goes-on",
    "appends go on behind the head, and take no position again",
    Effect.gen(function*() {
      const seen: Array<Position> = []
      for (const n of range(1, 6)) {
        const { head, positions } = yield* once(append([numbered(n), numbered(n)]))
        that(
          positions.every((position) => position > (seen.at(-1) ?? 0)),
          `${positions} should be beyond ${seen.at(-1)}`
        )
        equal(head, positions[1])
        seen.push(...positions)
      }
      equal(positionsOf((yield* once(all)).events), seen)
    })
  ),

  reopening(
    "reopened-finds-by-query",
    "queries find after opening again what they found before",
    Effect.gen(function*() {
      const queries = [
        Query.types("A"),
        Query.tags("x:1"),
        Query.tags("x:1", "y:0"),
        Query.fromItems({ types: ["B"], tags: ["x:2"] }, { tags: ["y:2"] }),
        Query.of(Defined, { course: CourseId.make("c7") })
      ]
      const ask = Effect.forEach(
        queries,
        (query: Query.Any) => Effect.map(read(query), ({ events }) => positionsOf(events))
      )
      const before = yield* once(Effect.gen(function*() {
        for (const n of range(1, 40)) {
          yield* append([numbered(n, n % 2 === 0 ? "A" : "B", `x:${n % 3}`, `y:${n % 4}`), defined(`c${n}`)])
        }
        return yield* ask
      }))
      that(before.every((positions) => positions.length > 0), "each query should find something")
      equal(yield* once(ask), before)
    })
  ),

  reopening(
    "reopened-conflicts",
    "a condition that failed before fails after opening again",
    Effect.gen(function*() {
      const query = Query.tags("name:anna")
      const first = yield* once(append(numbered(1, "Taken", "name:anna"), { failIfEventsMatch: query }))
      yield* once(append(numbered(2)))
      const client = yield* open
      const error = yield* client.run(
        conflicts(append(numbered(3, "Taken", "name:anna"), { failIfEventsMatch: query }))
      )
      equal(error.conflict, first.head)
      yield* client.run(append(numbered(4, "Taken", "name:anna"), { failIfEventsMatch: query, after: first.head }))
    })
  ),

  reopening(
    "reopened-ids",
    "given ids are known after opening again",
    Effect.gen(function*() {
      const batch = [withId(numbered(1), "e1"), withId(numbered(2), "e2")]
      const first = yield* once(append(batch))
      yield* once(append(numbered(3)))
      const again = yield* once(append(batch))
      equal([again.duplicate, again.positions, again.hash], [true, first.positions, first.hash])
      yield* once(idConflict(append(withId(numbered(9), "e1"))))
      equal(yield* once(readNumbers(Query.all)), [1, 2, 3])
    })
  ),

  reopening(
    "reopened-subscribes",
    "a subscription goes on after opening again where it stood",
    Effect.gen(function*() {
      const { positions: [, second] } = yield* once(append(range(1, 4).map((n) => numbered(n))))
      const client = yield* open
      const fiber = yield* fork(client.run(follow(Query.all, 3, { after: second })))
      yield* client.run(append(numbered(5)))
      equal(yield* Fiber.join(fiber), [3, 4, 5])
    })
  ),

  reopening(
    "closed-does-nothing",
    "what is closed fails with StoreClosed, and writes nothing",
    Effect.gen(function*() {
      const client = yield* open
      yield* client.run(append(numbered(1)))
      yield* client.close
      const attempts: ReadonlyArray<
        Effect.Effect<unknown, EventStore.AppendError | EventStore.ReadError, EventStore.EventStore>
      > = [
        append(numbered(2)),
        read(Query.all),
        head,
        awaitBeyond(undefined),
        Stream.runDrain(stream(Query.all))
      ]
      for (const attempt of attempts) {
        const exit = yield* Effect.exit(client.run(attempt))
        const error = failureOf(exit)
        that(
          error?._tag === "EventStoreError",
          `it should fail with an EventStoreError, not with ${error?._tag ?? "none"}`
        )
        equal(error.reason._tag, "StoreClosed")
      }
      equal(yield* once(readNumbers(Query.all)), [1])
    })
  ),

  reopening(
    "closing-keeps-the-acknowledged",
    "closing in the middle of many appends loses none that was acknowledged",
    Effect.gen(function*() {
      const client = yield* open
      const acknowledged: Array<Position> = []
      const appends = yield* fork(Effect.forEach(
        range(1, 40),
        (n) =>
          client.run(append([numbered(n), numbered(n)])).pipe(
            Effect.map(({ positions }) => acknowledged.push(...positions)),
            Effect.exit
          ),
        { concurrency: 8 }
      ))
      yield* settle
      yield* client.close
      yield* Fiber.join(appends)
      const { events } = yield* once(all)
      const there = new Set(positionsOf(events))
      equal(
        acknowledged.filter((position) => !there.has(position)),
        [],
        "positions that were acknowledged and are not there"
      )
      const numbers = numbersOf(events)
      for (let i = 0; i < numbers.length; i += 2) equal(numbers[i + 1], numbers[i], "a batch is whole or absent")
    })
  ),

  clients(
    "clients-read-their-appends",
    "a client sees what another one's append was acknowledged for before",
    Effect.gen(function*() {
      const [a, b] = [yield* open, yield* open]
      equal(yield* b.run(head), undefined)
      for (const n of range(1, 10)) {
        const [writer, reader] = n % 2 === 0 ? [a, b] : [b, a]
        const appended = yield* writer.run(append(numbered(n, "A", `n:${n}`)))
        equal(yield* reader.run(head), appended.head, "the head that another client sees")
        const found = yield* reader.run(read(Query.tags(`n:${n}`)))
        equal([positionsOf(found.events), found.head], [appended.positions, appended.head])
        equal((yield* reader.run(readLast(Query.types("A"))))?.position, appended.head)
      }
      equal(yield* a.run(all), yield* b.run(all), "what two clients see")
      equal(yield* b.run(Stream.runCollect(stream(Query.all))), (yield* a.run(all)).events, "what a stream sees")
    })
  ),

  clients(
    "clients-increase-positions",
    "positions of several clients are unique, and increase in the order of commits",
    Effect.gen(function*() {
      const [a, b] = [yield* open, yield* open]
      let last = 0
      for (const n of range(1, 10)) {
        const { positions } = yield* (n % 3 === 0 ? a : b).run(append([numbered(n), numbered(n)]))
        for (const position of positions) {
          that(position > last, `${position} should be above ${last}`)
          last = position
        }
      }
    })
  ),

  clients(
    "clients-append-at-once",
    "appends of several clients at once all get positions of their own, and batches stay together",
    Effect.gen(function*() {
      const three = yield* openMany(3)
      const answers = yield* atOnce(
        three,
        (client) =>
          Effect.forEach(range(1, 8), (n) => append(range(1, 3).map(() => numbered(client * 100 + n))), {
            concurrency: 4
          })
      )
      const { events } = yield* three[0]!.run(all)
      const given = answers.flat().flatMap(({ positions }) => [...positions])
      equal(new Set(given).size, 3 * 8 * 3, "how many different positions were given")
      equal(
        positionsOf(events),
        given.sort((a, b) => a - b)
      )
      const numbers = numbersOf(events)
      for (let i = 0; i < numbers.length; i += 3) equal(numbers.slice(i, i + 3), range(1, 3).map(() => numbers[i]))
      for (const client of three) equal((yield* client.run(all)).events, events)
    })
  ),

  clients(
    "clients-conflict",
    "a condition is checked against what other clients appended",
    Effect.gen(function*() {
      const [a, b] = [yield* open, yield* open]
      const query = Query.types("A")
      const { head: seen } = yield* a.run(read(query))
      yield* b.run(append(numbered(1, "B")))
      yield* a.run(append(numbered(2, "A"), { failIfEventsMatch: query, after: seen }))
      const error = yield* b.run(conflicts(append(numbered(3, "A"), { failIfEventsMatch: query, after: seen })))
      equal(error.conflict, yield* a.run(head))
      const { head: now } = yield* b.run(read(query))
      yield* b.run(append(numbered(4, "A"), { failIfEventsMatch: query, after: now }))
      yield* a.run(conflicts(append(numbered(5, "A"), { failIfEventsMatch: query, after: now })))
    })
  ),

  clients(
    "clients-one-wins",
    "of many clients' appends at once with one condition, one wins",
    Effect.gen(function*() {
      const three = yield* openMany(3)
      for (const round of range(1, 5)) {
        const name = `name:${round}` as const
        const condition = { failIfEventsMatch: Query.tags(name) }
        const exits = yield* atOnce(
          three,
          (client) =>
            Effect.forEach(
              range(1, 3),
              (n) => Effect.exit(append(numbered(client * 10 + n, "Taken", name), condition)),
              {
                concurrency: "unbounded"
              }
            )
        )
        equal(exits.flat().filter(Exit.isSuccess).length, 1, "how many won")
        for (const exit of exits.flat()) {
          if (Exit.isFailure(exit)) equal(failureOf(exit)?._tag, "AppendConditionFailed", "why all others fail")
        }
        equal((yield* three[0]!.run(read(Query.tags(name)))).events.length, 1)
      }
    })
  ),

  clients(
    "clients-number-without-gaps",
    "numbers given out by several clients are without gaps and repetition",
    Effect.gen(function*() {
      const three = yield* openMany(3)
      const invoices = Query.types("Invoice")
      const create = Effect.gen(function*() {
        yield* reserve
        const last = yield* readLast(invoices)
        const n = last === undefined ? 1 : numbersOf([last])[0]! + 1
        yield* append(numbered(n, "Invoice"), { failIfEventsMatch: invoices, after: last?.position })
      }).pipe(Effect.retry({ while: (error) => error._tag === "AppendConditionFailed" }))
      yield* atOnce(three, () => Effect.forEach(range(1, 4), () => create))
      equal(yield* three[0]!.run(readNumbers(invoices)), range(1, 12))
    })
  ),

  clients(
    "clients-know-ids",
    "an append is recognised by its ids, whichever client it came from",
    Effect.gen(function*() {
      const [a, b] = [yield* open, yield* open]
      const batch = [withId(numbered(1, "A"), "e1"), withId(numbered(2, "A"), "e2")]
      const first = yield* a.run(append(batch, { failIfEventsMatch: Query.types("A") }))
      const again = yield* b.run(append(batch, { failIfEventsMatch: Query.types("A") }))
      equal([again.duplicate, again.positions, again.hash], [true, first.positions, first.hash])
      const { position } = yield* b.run(idConflict(append(withId(numbered(7), "e2"))))
      equal(position, first.positions[1])
    })
  ),

  clients(
    "clients-repeat-at-once",
    "of one append by several clients at once, one is written and all get its answer",
    Effect.gen(function*() {
      const three = yield* openMany(3)
      const batch = [withId(numbered(1), "e1"), withId(numbered(2), "e2")]
      const answers = yield* atOnce(three, () => append(batch))
      equal(answers.filter(({ duplicate }) => !duplicate).length, 1, "how many have written")
      for (const { hash, positions } of answers) {
        equal([positions, hash], [answers[0]!.positions, answers[0]!.hash])
      }
      equal(yield* three[0]!.run(readNumbers(Query.all)), [1, 2])
    })
  ),

  clients(
    "clients-wake",
    "awaitBeyond completes when another client appends",
    Effect.gen(function*() {
      const [a, b] = [yield* open, yield* open]
      for (const n of range(1, 3)) {
        const before = yield* a.run(head)
        const fiber = yield* fork(a.run(awaitBeyond(before)))
        yield* settle
        equal(fiber.pollUnsafe(), undefined, "it should wait")
        const appended = yield* b.run(append(numbered(n)))
        yield* Fiber.join(fiber)
        equal(yield* a.run(head), appended.head)
      }
    })
  ),

  clients(
    "clients-subscribe",
    "a subscription delivers what other clients append, once and in order",
    Effect.gen(function*() {
      const three = yield* openMany(3)
      yield* three[0]!.run(append(numbered(0)))
      const fibers = yield* Effect.forEach(
        three,
        (client) => fork(client.run(subscribe(Query.types("Numbered")).pipe(Stream.take(25), Stream.runCollect)))
      )
      yield* atOnce(three, (client) => Effect.forEach(range(1, 4), (n) => append([numbered(client), numbered(n)])))
      const { events } = yield* three[1]!.run(all)
      equal(events.length, 25)
      for (const fiber of fibers) equal(positionsOf(yield* Fiber.join(fiber)), positionsOf(events))
    })
  ),

  clients(
    "clients-see-whole-batches",
    "nobody sees a part of another client's batch, or anything appear below a head",
    Effect.gen(function*() {
      const [writer, reader] = [yield* open, yield* open]
      const appends = yield* fork(writer.run(
        Effect.forEach(range(1, 15), (n) => append([numbered(n), numbered(n), numbered(n)]))
      ))
      const reads: Array<EventStore.Read<unknown>> = []
      while (appends.pollUnsafe() === undefined) {
        reads.push(yield* reader.run(read(Query.all)))
        yield* Effect.yieldNow
      }
      yield* Fiber.join(appends)
      const { events: history } = yield* reader.run(all)
      equal(history.length, 45)
      for (const { events, head = 0 } of reads) {
        equal(positionsOf(events), positionsOf(history.filter(({ position }) => position <= head)))
        equal(events.length % 3, 0, "a read ends with a whole batch")
      }
    })
  ),

  clients(
    "clients-come-and-go",
    "a client that closes takes nothing with it and holds nobody up",
    Effect.gen(function*() {
      const stays = yield* open
      for (const n of range(1, 3)) {
        yield* once(append(numbered(n)))
        yield* stays.run(append(numbered(n + 100)))
      }
      equal(yield* stays.run(readNumbers(Query.all)), range(1, 3).flatMap((n) => [n, n + 100]))
      equal(yield* once(all), yield* stays.run(all))
    })
  ),

  maintaining(
    "clients-see-added-tags",
    "tags that a client adds are found by others, and conflict for them",
    Effect.gen(function*() {
      const [a, b] = [yield* open, yield* open]
      const late = Query.tags("late:1")
      const { head: before, positions } = yield* a.run(append([numbered(1, "A"), numbered(2, "B")]))
      const seen = yield* b.run(read(late))
      equal([positionsOf(seen.events), seen.head], [[], before])
      yield* maintained(a)(addTags(Query.types("A"), () => ["late:1"]))
      const found = yield* b.run(read(late, { after: undefined }))
      equal(positionsOf(found.events), [positions[0]])
      atLeast(found.head, before + 1, "the head after tags were added")
      yield* b.run(conflicts(append(numbered(3), { failIfEventsMatch: late, after: before })))
      equal((yield* b.run(read(Query.types("A"), { after: before }))).retagged, found.head)
    })
  ),

  maintaining(
    "reopened-keeps-added-tags",
    "added tags and anchors are as they were when the store is opened again",
    Effect.gen(function*() {
      const client = yield* open
      yield* client.run(append([numbered(1, "A", "x:1"), numbered(2, "B")]))
      yield* maintained(client)(addTags(Query.types("A"), () => ["late:1"]))
      const before = yield* client.run(all)
      equal(before.events.map(({ tags }): ReadonlyArray<Tag> => tags), [["x:1", "late:1"], []])
      const noted = yield* maintained(client)(anchor)
      that(noted !== undefined, "a store with events should have an anchor")
      yield* client.close
      const again = yield* open
      equal(yield* again.run(all), before)
      yield* maintained(again)(checkAnchor(noted))
      equal(yield* maintained(again)(anchor), noted)
    })
  )
]
