/** What every event store's maintenance and administration promise. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "../../src/Event.ts"
import type { Services } from "../../src/layers/Opossum.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import * as Tag from "../../src/Tag.ts"

const Account = Schema.NonEmptyString.pipe(Tag.as("account"))
class Paid extends Event.Class<Paid>()("Paid", { account: Account, month: Schema.String }) {}
class Closed extends Event.Class<Closed>()("Closed", { account: Account }) {}

const paid = (account: string, month: string) => new Paid({ account, month })
const byMonth = Maintenance.addTags(Query.of(Paid), ({ event }) => [`month:${event.month}`])
const fill = EventStore.append([paid("a", "may"), paid("b", "june"), new Closed({ account: "a" }), paid("a", "june")])

/** `layer`: a fresh, empty store at each build. */
export const suite = <E>(name: string, layer: Layer.Layer<Services, E>): void => {
  const test = (title: string, body: () => Generator<Effect.Effect<any, any, Services>, void, any>) =>
    it.effect(title, () => Effect.gen(body).pipe(Effect.provide(Layer.fresh(layer))))

  describe(`EventStoreMaintenance: ${name}`, () => {
    test("adds tags to past events by type and function, and counts events and tags", function*() {
      yield* fill
      assert.deepStrictEqual(yield* byMonth, { eventsProcessed: 3, tagsAdded: 3 })
      const { events } = yield* EventStore.read(Query.of(Paid))
      assert.deepStrictEqual(events.map(({ tags }) => [...tags]), [
        ["account:a", "month:may"],
        ["account:b", "month:june"],
        ["account:a", "month:june"]
      ] as never)
      const june = yield* EventStore.read(Query.tags("month:june"))
      assert.deepStrictEqual(june.events.map(({ position }) => position as number), [2, 4])
      const both = yield* EventStore.read(Query.tags("month:june", "account:a"))
      assert.deepStrictEqual(both.events.map(({ position }) => position as number), [4])
    })

    test("adds nothing that is there, so that it can be repeated", function*() {
      yield* fill
      yield* byMonth
      const before = yield* EventStore.head
      assert.deepStrictEqual(yield* byMonth, { eventsProcessed: 3, tagsAdded: 0 })
      assert.strictEqual(yield* EventStore.head, before)
    })

    test("more than a thousand events at once", function*() {
      yield* EventStore.append(Array.from({ length: 2500 }, (_, i) => paid(`a${i}`, "may")))
      assert.deepStrictEqual(yield* byMonth, { eventsProcessed: 2500, tagsAdded: 2500 })
      assert.strictEqual((yield* EventStore.read(Query.tags("month:may"))).events.length, 2500)
      assert.strictEqual((yield* EventStore.readLast(Query.tags("month:may")))?.position as number, 2500)
    })

    test("takes a position, at which a condition sees what matches from then on", function*() {
      yield* fill
      const june = Query.tags("month:june")
      const { head } = yield* EventStore.read(june)
      yield* byMonth
      const conflict = yield* Effect.flip(EventStore.append(paid("c", "may"), { failIfEventsMatch: june, after: head }))
      assert.strictEqual(conflict._tag, "AppendConditionFailed")
      if (conflict._tag === "AppendConditionFailed") assert.strictEqual(conflict.conflict as number, 5)
      // what matched before and after is not news
      const account = Query.of(Paid, { account: "a" })
      yield* EventStore.append(new Closed({ account: "x" }), { failIfEventsMatch: account, after: head })
      // nor is what was seen
      const again = yield* EventStore.read(june)
      assert.strictEqual(again.head as number, 6)
      yield* EventStore.append(paid("c", "may"), { failIfEventsMatch: june, after: again.head })
    })

    test("is no event: reads pass over it, subscribers get nothing again", function*() {
      yield* fill
      const fiber = yield* EventStore.subscribe(Query.all).pipe(
        Stream.take(5),
        Stream.map(({ position }) => position as number),
        Stream.runCollect,
        Effect.forkChild({ startImmediately: true })
      )
      yield* byMonth
      yield* EventStore.append(paid("z", "july"))
      assert.deepStrictEqual(yield* Fiber.join(fiber), [1, 2, 3, 4, 6])
      const { events, head } = yield* EventStore.read(Query.all)
      assert.deepStrictEqual(events.map(({ position }) => position as number), [1, 2, 3, 4, 6])
      assert.strictEqual(head as number, 6)
    })

    test("a read that goes on after a position tells whether the events before it were tagged anew", function*() {
      const { head } = yield* fill
      const retagged = (query: Query.Any, after: number, options?: EventStore.ReadOptions) =>
        Effect.map(
          EventStore.read(query, { ...options, after: after as Position }),
          ({ retagged }): number | undefined => retagged
        )
      assert.isUndefined(yield* retagged(Query.of(Paid), head))
      // position 5
      yield* Maintenance.addTags(Query.of(Paid, { account: "a" }), () => ["late:1"])
      // whether it was found before or only now
      assert.strictEqual(yield* retagged(Query.of(Paid), head), 5)
      assert.strictEqual(yield* retagged(Query.tags("late:1"), head), 5)
      assert.strictEqual(yield* retagged(Query.tags("late:1", "account:a"), head), 5)
      assert.strictEqual(yield* retagged(Query.all, head), 5)
      // not what it does not find
      assert.isUndefined(yield* retagged(Query.of(Closed), head))
      assert.isUndefined(yield* retagged(Query.tags("account:b"), head))
      assert.isUndefined(yield* retagged(Query.tags("late:2"), head))
      // only events at or before the position count, only additions after it
      assert.strictEqual(yield* retagged(Query.of(Paid), 1), 5)
      assert.isUndefined(yield* retagged(Query.tags("month:june", "account:a"), 3))
      assert.isUndefined(yield* retagged(Query.of(Paid), 5))
      assert.isUndefined(yield* retagged(Query.of(Paid), 100))
      // it is about the past: what this read finds, and how much of it, makes no difference
      for (const options of [{ limit: 0 }, { limit: 1 }, { backwards: true }, { before: 2 as Position }]) {
        assert.strictEqual(yield* retagged(Query.of(Paid), head, options), 5, JSON.stringify(options))
      }
      assert.isUndefined((yield* EventStore.read(Query.of(Paid))).retagged)
      // the newest that concerns it: position 6 is about another event
      yield* Maintenance.addTags(Query.of(Closed), () => ["late:2"])
      assert.strictEqual(yield* retagged(Query.of(Paid), head), 5)
      assert.strictEqual(yield* retagged(Query.of([Paid, Closed]), head), 6)
      yield* Maintenance.addTags(Query.of(Paid, { account: "b" }), () => ["late:3"])
      assert.strictEqual(yield* retagged(Query.of(Paid), head), 7)
      assert.strictEqual(yield* retagged(Query.of(Paid, { account: "a" }), head), 5)
    })

    test("refuses a bad tag, and more tags than an event may have", function*() {
      yield* fill
      const bad = yield* Effect.flip(Maintenance.addTags(Query.of(Paid), () => ["month:"]))
      assert.isTrue(bad._tag === "AppendRefused" && bad.reason._tag === "InvalidTag")
      const many = Array.from({ length: 64 }, (_, i) => `n:${i}` as const)
      const error = yield* Effect.flip(Maintenance.addTags(Query.of(Paid), () => many))
      assert.isTrue(error._tag === "AppendRefused" && error.reason._tag === "LimitExceeded")
      assert.strictEqual((yield* EventStore.head) as number, 4)
    })

    test("verifies everything, and tells how far it got", function*() {
      assert.deepStrictEqual(yield* Stream.runCollect(Maintenance.verify), [])
      yield* fill
      yield* byMonth
      yield* EventStore.append(paid("q", "may"))
      assert.strictEqual(
        (yield* Stream.runLast(Maintenance.verify)).pipe((last) => last._tag === "Some" ? last.value : 0),
        6
      )
    })

    test("tells an anchor of this history from any other", function*() {
      yield* fill
      const noted = (yield* Maintenance.anchor)!
      yield* EventStore.append([paid("x", "may"), paid("y", "may")])
      yield* byMonth
      yield* Maintenance.checkAnchor(noted)
      yield* Maintenance.checkAnchor((yield* Maintenance.anchor)!)
      const others: ReadonlyArray<Maintenance.Anchor> = [
        { ...noted, storeId: "another" },
        { ...noted, hash: "0".repeat(64) },
        { ...noted, position: noted.position + 1 as Position },
        { ...noted, position: noted.position + 100 as Position }
      ]
      for (const anchor of others) {
        const error = yield* Effect.flip(Maintenance.checkAnchor(anchor))
        assert.strictEqual(error.reason._tag, "HistoryDiverged", JSON.stringify(anchor))
      }
    })

    test("anchors any position, at a commit's end or within one", function*() {
      const nothing = (position: number) =>
        Effect.map(Effect.flip(Maintenance.anchorAt(position as Position)), ({ reason }) => reason._tag)
      assert.strictEqual(yield* nothing(1), "HistoryDiverged")
      const first = yield* fill
      const second = yield* EventStore.append(paid("x", "may"))
      yield* byMonth
      const { storeId } = (yield* Maintenance.anchor)!
      for (const position of first.positions) {
        assert.deepStrictEqual(yield* Maintenance.anchorAt(position), { storeId, position, hash: first.hash })
      }
      const at = yield* Maintenance.anchorAt(second.head)
      assert.deepStrictEqual(at, { storeId, position: second.head, hash: second.hash })
      assert.deepStrictEqual(yield* Maintenance.anchorAt((yield* EventStore.head)!), yield* Maintenance.anchor)
      for (const position of [1, 2, 3, 4, 5, 6]) {
        yield* Maintenance.checkAnchor(yield* Maintenance.anchorAt(position as Position))
      }
      for (const position of [0, -1, 1.5, 7, 1000, Number.NaN, Infinity]) {
        assert.strictEqual(yield* nothing(position), "HistoryDiverged", String(position))
      }
      // one of another commit
      const error = yield* Effect.flip(Maintenance.checkAnchor({ ...at, position: first.head }))
      assert.strictEqual(error.reason._tag, "HistoryDiverged")
      // long ago
      for (let i = 0; i < 600; i++) yield* EventStore.append(paid("x", "may"))
      assert.deepStrictEqual(yield* Maintenance.anchorAt(first.positions[1]!), {
        storeId,
        position: first.positions[1]!,
        hash: first.hash
      })
      assert.deepStrictEqual(yield* Maintenance.anchorAt(second.head), at)
    })

    test("anchors the history's end, and tells the store's size", function*() {
      assert.strictEqual(yield* Maintenance.anchor, undefined)
      assert.deepStrictEqual((yield* Maintenance.statistics).events, 0)
      const { hash, head } = yield* fill
      const anchor = yield* Maintenance.anchor
      assert.deepStrictEqual([anchor?.position, anchor?.hash], [head, hash])
      assert.isString(anchor?.storeId)
      yield* byMonth
      const { bytes, events, head: last, segments } = yield* Maintenance.statistics
      assert.deepStrictEqual([events, last as number], [4, 5])
      assert.isAbove(segments, 0)
      assert.isAbove(bytes, 1000)
    })
  })

  describe(`EventStoreAdmin: ${name}`, () => {
    test("deletes the store: nothing can be read or written any more", function*() {
      yield* fill
      yield* Admin.deleteStore
      const isDeleted = (error: { readonly _tag: string; readonly reason?: { readonly _tag: string } }) =>
        assert.strictEqual(error.reason?._tag, "StoreDeleted")
      isDeleted(yield* Effect.flip(EventStore.append(paid("a", "may"))))
      isDeleted(yield* Effect.flip(EventStore.read(Query.all)))
      isDeleted(yield* Effect.flip(EventStore.head))
      isDeleted(yield* Effect.flip(Admin.deleteStore))
    })
  })
}
