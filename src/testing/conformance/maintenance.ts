/** Tags that are added to past events, and what else the care of a store promises. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import * as Maintenance from "../../services/EventStoreMaintenance.ts"
import * as Tag from "../../Tag.ts"
import { atLeast, equal, that } from "./expect.ts"
import { badTag, conflicts, exceeds, fork, numbered, positionsOf, range } from "./fixtures.ts"
import { group } from "./rule.ts"

const { append, read, readLast, stream, subscribe } = EventStore
const { addTags } = Maintenance
const tagging = group("tags added later", "maintenance")
const proving = group("proving a history", "maintenance")

const Account = Schema.NonEmptyString.pipe(Tag.as("account"))
class Paid extends Event.Class<Paid>()("Paid", { account: Account, month: Schema.String }) {}
class Closed extends Event.Class<Closed>()("Closed", { account: Account }) {}

const paid = (account: string, month: string) => new Paid({ account, month })
const byMonth = addTags(Query.of(Paid), ({ event }) => [`month:${event.month}`])
const fill = append([paid("a", "may"), paid("b", "june"), new Closed({ account: "a" }), paid("a", "june")])

const found = (query: Query.Any, options?: EventStore.ReadOptions) =>
  Effect.map(read(query, options), ({ events }) => positionsOf(events))

/** The head, of a store that is not empty. */
const headNow = Effect.map(EventStore.head, (head) => {
  that(head !== undefined, "a store with events should have a head")
  return head
})

/** Adds tags, and answers with the head behind them: where, at the latest, what was added stands. */
const tagged = <E>(query: Query.Query<E>, ...tags: ReadonlyArray<Tag.Input>) =>
  Effect.andThen(addTags(query, () => tags), headNow)

const storeProblem = <A, R>(effect: Effect.Effect<A, EventStore.EventStoreError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

export const maintenance = [
  tagging(
    "tags-by-function",
    "tags are added by query and function; events and tags are counted",
    Effect.gen(function*() {
      const { positions: [, second, , fourth] } = yield* fill
      equal(yield* byMonth, { eventsProcessed: 3, tagsAdded: 3 })
      const { events } = yield* read(Query.of(Paid))
      equal(events.map(({ tags }) => tags), [
        ["account:a", "month:may"],
        ["account:b", "month:june"],
        ["account:a", "month:june"]
      ])
      equal(yield* found(Query.tags("month:june")), [second, fourth])
      equal(yield* found(Query.tags("month:june", "account:a")), [fourth])
      equal(yield* found(Query.of(Closed, { account: "a" })), [
        positionsOf((yield* read(Query.types("Closed"))).events)[0]
      ])
    })
  ),

  tagging(
    "tags-added-once",
    "what is there is not added again, so that adding can be repeated",
    Effect.gen(function*() {
      yield* fill
      yield* byMonth
      const before = yield* headNow
      equal(yield* byMonth, { eventsProcessed: 3, tagsAdded: 0 })
      equal(yield* headNow, before, "the head after adding what was there")
      equal(yield* addTags(Query.of(Paid), () => ["account:a"]), { eventsProcessed: 3, tagsAdded: 1 })
    })
  ),

  tagging(
    "tags-many-events",
    "thousands of events are tagged at once",
    Effect.gen(function*() {
      const { positions } = yield* append(range(1, 2500).map((n) => paid(`a${n}`, "may")))
      equal(yield* byMonth, { eventsProcessed: 2500, tagsAdded: 2500 })
      equal(yield* found(Query.tags("month:may")), positions)
      equal((yield* readLast(Query.tags("month:may")))?.position, positions.at(-1))
    })
  ),

  tagging(
    "tags-conflict-where-added",
    "a condition sees added tags at the position of their addition",
    Effect.gen(function*() {
      const june = Query.tags("month:june")
      const { head: before, positions } = yield* fill
      const seen = yield* read(june)
      equal(seen.head, before)
      yield* byMonth
      const added = yield* headNow
      that(added > before, "adding tags should take a position of its own")
      const { conflict } = yield* conflicts(append(paid("c", "may"), { failIfEventsMatch: june, after: seen.head }))
      that(
        conflict > before && conflict <= added,
        `the conflict is at ${conflict}, not where the tags were added (${added})`
      )
      yield* append(paid("c", "may"), { failIfEventsMatch: june, after: added })
      // what was not seen at all conflicts where a read finds it
      equal((yield* conflicts(append(paid("c", "may"), { failIfEventsMatch: june }))).conflict, positions[1])
    })
  ),

  tagging(
    "tags-conflict-for-news-only",
    "what a query found before it finds again without a conflict",
    Effect.gen(function*() {
      const { head } = yield* fill
      yield* byMonth
      yield* append(new Closed({ account: "x" }), { failIfEventsMatch: Query.of(Paid, { account: "a" }), after: head })
    })
  ),

  tagging(
    "tags-as-of-the-snapshot",
    "a stream that began before tags were added does not see them",
    Effect.gen(function*() {
      for (const backwards of [false, true]) {
        const name: Tag.Input = backwards ? "x:1" : "x:2"
        yield* append(range(1, 1100).map((n) => numbered(n)))
        const { events: expected } = yield* read(Query.all, { backwards })
        let isTagged = false
        const seen = yield* stream(Query.all, { backwards }).pipe(
          Stream.tap(() => {
            if (isTagged) return Effect.void
            isTagged = true
            return addTags(Query.all, () => [name])
          }),
          Stream.runCollect
        )
        equal(positionsOf(seen), positionsOf(expected))
        equal(
          seen.filter(({ tags }) => tags.some((tag) => tag === name)).length,
          0,
          "events that have a tag of a later moment"
        )
        equal((yield* read(Query.tags(name))).events.length, expected.length)
      }
    })
  ),

  tagging(
    "tags-are-no-event",
    "an addition is no event: reads and subscriptions deliver nothing for it",
    Effect.gen(function*() {
      const { positions } = yield* fill
      const fiber = yield* subscribe(Query.all).pipe(Stream.take(5), Stream.runCollect, fork)
      yield* byMonth
      const { head, positions: [last] } = yield* append(paid("z", "july"))
      equal(positionsOf(yield* Fiber.join(fiber)), [...positions, last], "what a subscription delivered")
      const all = yield* read(Query.all)
      equal(positionsOf(all.events), [...positions, last])
      equal(all.head, head)
      equal(positionsOf(yield* subscribe(Query.tags("month:june")).pipe(Stream.take(2), Stream.runCollect)), [
        positions[1],
        positions[3]
      ], "what a subscription that begins later finds by the added tags")
    })
  ),

  tagging(
    "tags-retagged",
    "a read that goes on tells whether events before it were tagged anew",
    Effect.gen(function*() {
      const { head, positions } = yield* fill
      const [first, second, third] = [positions[0], positions[1]!, positions[2]!]
      const retagged = (query: Query.Any, after: Position, options?: EventStore.ReadOptions) =>
        Effect.map(read(query, { ...options, after }), ({ retagged }) => retagged)
      equal(yield* retagged(Query.of(Paid), head), undefined)
      const added = yield* tagged(Query.of(Paid, { account: "a" }), "late:1")
      // whether it was found before or only now
      equal(yield* retagged(Query.of(Paid), head), added)
      equal(yield* retagged(Query.tags("late:1"), head), added)
      equal(yield* retagged(Query.tags("late:1", "account:a"), head), added)
      equal(yield* retagged(Query.all, head), added)
      // not what it does not find
      equal(yield* retagged(Query.of(Closed), head), undefined)
      equal(yield* retagged(Query.tags("account:b"), head), undefined)
      equal(yield* retagged(Query.tags("late:2"), head), undefined)
      // only events at or before the position count, only additions after it
      equal(yield* retagged(Query.of(Paid), first), added)
      equal(yield* retagged(Query.tags("late:1", "account:b"), third), undefined)
      equal(yield* retagged(Query.of(Paid), added), undefined)
      equal(yield* retagged(Query.of(Paid), added + 100 as Position), undefined)
      equal((yield* read(Query.of(Paid))).retagged, undefined, "without `after`")
      // it is about the past: what this read finds, and how much of it, makes no difference
      for (const options of [{ limit: 0 }, { limit: 1 }, { backwards: true }, { before: second }]) {
        equal(yield* retagged(Query.of(Paid), head, options), added, JSON.stringify(options))
      }
      // the newest that concerns it
      const closed = yield* tagged(Query.of(Closed), "late:2")
      equal(yield* retagged(Query.of(Paid), head), added)
      equal(yield* retagged(Query.of([Paid, Closed]), head), closed)
      const again = yield* tagged(Query.of(Paid, { account: "b" }), "late:3")
      equal(yield* retagged(Query.of(Paid), head), again)
      equal(yield* retagged(Query.of(Paid, { account: "a" }), head), added)
    })
  ),

  tagging(
    "tags-retry-unchanged",
    "an append is recognised by its tags as first written, whatever was added",
    Effect.gen(function*() {
      const event = Event.withMetadata(paid("a", "may"), { id: "e1" })
      const first = yield* append(event)
      yield* byMonth
      const again = yield* append(event)
      equal([again.duplicate, again.positions], [true, first.positions])
    })
  ),

  tagging(
    "tags-bad",
    "a tag that is none is refused, and nothing is added",
    Effect.gen(function*() {
      const { head } = yield* fill
      for (const tag of ["month:", ":may", "month:a\nb"] as const) {
        const error = yield* Effect.flip(addTags(Query.of(Paid), () => ["fine:1", tag]))
        that(error._tag === "AppendRefused" && error.reason._tag === "InvalidTag", `${error._tag}: ${error.message}`)
        equal(error.reason.tag, tag)
      }
      equal(yield* headNow, head)
      equal(yield* found(Query.tags("fine:1")), [])
      yield* badTag(append(Event.withTags(paid("a", "may"), ["month:"])))
    })
  ),

  tagging(
    "tags-limit",
    "an event has at most 64 tags, those that are added later among them",
    Effect.gen(function*() {
      const { head } = yield* fill
      const many = (count: number) => range(1, count).map((n) => `n:${n}` as const)
      const error = yield* Effect.flip(addTags(Query.of(Paid), () => many(64)))
      that(error._tag === "AppendRefused" && error.reason._tag === "LimitExceeded", `${error._tag}: ${error.message}`)
      equal([error.reason.what, error.reason.limit, error.reason.actual], ["tags", 64, 65])
      equal(yield* headNow, head)
      equal((yield* addTags(Query.of(Paid), () => many(63))).tagsAdded, 3 * 63)
      equal((yield* readLast(Query.of(Paid)))?.tags.length, 64)
      yield* exceeds(append(Event.withTags(paid("a", "may"), many(64))))
    })
  ),

  proving(
    "verify-reads-everything",
    "verify reads everything, and tells how far it got",
    Effect.gen(function*() {
      equal(yield* Stream.runCollect(Maintenance.verify), [])
      yield* fill
      yield* byMonth
      const { head } = yield* append(paid("q", "may"))
      const reached = yield* Stream.runCollect(Maintenance.verify)
      equal(reached.at(-1), head, "the last position that verify tells")
      equal(reached, [...reached].sort((a, b) => a - b), "the positions that verify tells are in order")
    })
  ),

  proving(
    "anchor-ends-the-history",
    "an anchor names the history's end by the hash of its last commit",
    Effect.gen(function*() {
      equal(yield* Maintenance.anchor, undefined)
      const { hash, head } = yield* fill
      const anchor = yield* Maintenance.anchor
      equal([anchor?.position, anchor?.hash], [head, hash])
      that(anchor !== undefined && anchor.storeId !== "", "an anchor should name its store")
      const next = yield* append(paid("a", "may"))
      equal(yield* Maintenance.anchor, { storeId: anchor.storeId, position: next.head, hash: next.hash })
    })
  ),

  proving(
    "anchor-of-a-position",
    "any position can be anchored, at a commit's end or within one",
    Effect.gen(function*() {
      equal(yield* storeProblem(Maintenance.anchorAt(1 as Position)), "HistoryDiverged")
      const first = yield* fill
      const second = yield* append(paid("x", "may"))
      yield* byMonth
      const last = yield* Maintenance.anchor
      that(last !== undefined, "a store with events should have an anchor")
      for (const position of first.positions) {
        equal(yield* Maintenance.anchorAt(position), { storeId: last.storeId, position, hash: first.hash })
      }
      const at = yield* Maintenance.anchorAt(second.head)
      equal(at, { storeId: last.storeId, position: second.head, hash: second.hash })
      equal(yield* Maintenance.anchorAt(last.position), last)
      for (const position of [...first.positions, second.head, last.position]) {
        yield* Maintenance.checkAnchor(yield* Maintenance.anchorAt(position))
      }
      for (const position of [0, -1, 1.5, last.position + 1, last.position + 1000, Number.NaN, Infinity]) {
        equal(yield* storeProblem(Maintenance.anchorAt(position as Position)), "HistoryDiverged", String(position))
      }
      // long ago
      for (let i = 0; i < 600; i++) yield* append(paid("x", "may"))
      equal((yield* Maintenance.anchorAt(first.positions[1]!)).hash, first.hash)
      equal(yield* Maintenance.anchorAt(second.head), at)
    })
  ),

  proving(
    "anchor-of-another-history",
    "an anchor tells this history from any other",
    Effect.gen(function*() {
      const first = yield* fill
      const noted = yield* Maintenance.anchorAt(first.head)
      const second = yield* append([paid("x", "may"), paid("y", "may")])
      yield* byMonth
      const end = yield* headNow
      yield* Maintenance.checkAnchor(noted)
      yield* Maintenance.checkAnchor(yield* Maintenance.anchorAt(end))
      const others: ReadonlyArray<Maintenance.Anchor> = [
        { ...noted, storeId: "another" },
        { ...noted, hash: "0".repeat(64) },
        { ...noted, position: second.positions[0] },
        { ...noted, position: end + 100 as Position }
      ]
      for (const anchor of others) {
        equal(yield* storeProblem(Maintenance.checkAnchor(anchor)), "HistoryDiverged", JSON.stringify(anchor))
      }
    })
  ),

  proving(
    "statistics-count",
    "statistics count events, and not additions of tags",
    Effect.gen(function*() {
      const empty = yield* Maintenance.statistics
      equal([empty.events, empty.head], [0, undefined])
      yield* fill
      yield* byMonth
      const { bytes, events, head, segments } = yield* Maintenance.statistics
      equal([events, head], [4, yield* headNow])
      atLeast(segments, 1, "the number of segments")
      atLeast(bytes, 4, "the number of bytes")
    })
  )
]
