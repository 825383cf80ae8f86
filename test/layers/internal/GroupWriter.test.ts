/** The one writer of a process: grouping, what depends on what in a group, and a medium that fails. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Event from "../../../src/Event.ts"
import * as EventStoreLive from "../../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../../src/layers/IndexLive.ts"
import * as GroupWriter from "../../../src/layers/internal/GroupWriter.ts"
import * as History from "../../../src/layers/internal/History.ts"
import * as LedgerLive from "../../../src/layers/LedgerLive.ts"
import * as LockMemory from "../../../src/layers/LockMemory.ts"
import type { Position } from "../../../src/Position.ts"
import * as Query from "../../../src/Query.ts"
import * as EventStore from "../../../src/services/EventStore.ts"
import type { Lock } from "../../../src/services/Lock.ts"
import type { Storage } from "../../../src/services/Storage.ts"
import * as Tag from "../../../src/Tag.ts"
import * as LockGranted from "../../../src/testing/LockGranted.ts"
import * as StorageSimulated from "../../../src/testing/StorageSimulated.ts"

const Seat = Schema.NonEmptyString.pipe(Tag.as("seat"))
class Taken extends Event.Class<Taken>()("Taken", { seat: Seat, by: Schema.String }) {}
const seat = (name: string) => Query.of(Taken, { seat: name })
const take = (name: string, by: string) =>
  EventStore.append(new Taken({ seat: name, by }), { failIfEventsMatch: seat(name) })
const withId = (id: string, by = "anna") => Event.withMetadata(new Taken({ seat: id, by }), { id })
const all = Effect.map(
  EventStore.read(Query.of(Taken)),
  ({ events }) => events.map(({ event }) => `${event.seat} ${event.by}`)
)

const open = (disk: StorageSimulated.StorageSimulated, options: { readonly segmentSize?: number } = {}) =>
  EventStoreLive.layer({ store: "shop", eventFiles: false }).pipe(
    Layer.provide(IndexLive.layer({ store: "shop" })),
    Layer.provide(LedgerLive.layer({ store: "shop", ...options })),
    Layer.provide(Layer.mergeAll(disk.layer, LockMemory.layer)),
    Layer.orDie,
    Layer.fresh
  )

/** A store whose writer has begun, on a disk that can fail. */
const test = (
  title: string,
  body: (disk: StorageSimulated.StorageSimulated) => Effect.Effect<void, unknown, EventStore.EventStore>
) =>
  it.effect(title, () =>
    Effect.suspend(() => {
      const disk = StorageSimulated.make()
      return Effect.andThen(EventStore.append(new Taken({ seat: "first", by: "nobody" })), body(disk)).pipe(
        Effect.provide(open(disk))
      )
    }))

const together = <A, E, R>(effects: ReadonlyArray<Effect.Effect<A, E, R>>) =>
  Effect.all(effects.map(Effect.exit), { concurrency: "unbounded" })

const failureOf = <A, E>(exit: Exit.Exit<A, E>): E | undefined => {
  const error = Exit.findErrorOption(exit)
  return error._tag === "Some" ? error.value : undefined
}
const syncs = (disk: StorageSimulated.StorageSimulated) =>
  disk.log.filter(({ operation }) => operation === "sync").length

describe("groups", () => {
  test("appends of many fibers share a sync", (disk) =>
    Effect.gen(function*() {
      const before = syncs(disk)
      const exits = yield* together(Array.from({ length: 200 }, (_, i) => take(`s${i}`, "x")))
      assert.isTrue(exits.every(Exit.isSuccess))
      assert.isAtMost(syncs(disk) - before, 3)
      assert.strictEqual((yield* all).length, 201)
    }))

  test("a condition is checked against earlier batches of its own group, a batch not against itself", () =>
    Effect.gen(function*() {
      const exits = yield* together([
        EventStore.append([new Taken({ seat: "a", by: "1" }), new Taken({ seat: "a", by: "2" })], {
          failIfEventsMatch: seat("a")
        }),
        take("a", "3"),
        take("b", "4"),
        take("b", "5")
      ])
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true, false])
      const failed = failureOf(exits[1]!)
      assert.isTrue(failed?._tag === "AppendConditionFailed" && (failed.conflict as number) === 2)
      const other = failureOf(exits[3]!)
      assert.isTrue(other?._tag === "AppendConditionFailed" && (other.conflict as number) === 4)
    }))

  test("what is wrong in a group fails alone", () =>
    Effect.gen(function*() {
      const exits = yield* together([
        take("a", "1"),
        EventStore.append(new Taken({ seat: "bad\u0000", by: "1" })),
        EventStore.append(new Taken({ seat: "c", by: "1" }), { failIfEventsMatch: seat("c"), after: 999 as never }),
        take("d", "1")
      ])
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, false, true])
      assert.deepStrictEqual(yield* all, ["first nobody", "a 1", "d 1"])
    }))

  test("a repetition in the group of the first gets its answer", () =>
    Effect.gen(function*() {
      const exits = yield* together([
        EventStore.append(withId("a")),
        EventStore.append(withId("a")),
        EventStore.append(withId("a", "ben"))
      ])
      assert.isTrue(Exit.isSuccess(exits[0]!) && Exit.isSuccess(exits[1]!))
      if (Exit.isSuccess(exits[0]!) && Exit.isSuccess(exits[1]!)) {
        assert.deepStrictEqual(exits[1].value, { ...exits[0].value, duplicate: true })
      }
      const conflict = failureOf(exits[2]!)
      assert.isTrue(conflict?._tag === "AppendRefused" && conflict.reason._tag === "EventIdConflict")
      assert.deepStrictEqual(yield* all, ["first nobody", "a anna"])
    }))
})

describe("work", () => {
  /** The writer itself, over an empty store in memory. */
  const writer = Effect.suspend(() =>
    Effect.map(build(StorageSimulated.make().layer, LockMemory.layer), ({ writer }) => writer)
  )
  const build = Effect.fnUntraced(function*(storage: Layer.Layer<Storage>, lock: Layer.Layer<Lock>) {
    const parts = yield* Layer.build(Layer.fresh(
      IndexLive.layer({ store: "shop" }).pipe(
        Layer.provideMerge(LedgerLive.layer({ store: "shop" })),
        Layer.provideMerge(Layer.mergeAll(storage, lock))
      )
    ))
    return yield* Effect.gen(function*() {
      const history = yield* History.make({ store: "shop" })
      return { history, writer: yield* GroupWriter.make(history) }
    }).pipe(Effect.provide(parts))
  })
  const event = (id: string, tags: ReadonlyArray<string>): EventStore.EncodedEvent => ({
    type: "Taken",
    version: 1,
    tags: tags as ReadonlyArray<string> as ReadonlyArray<Tag.Tag>,
    metadata: { id, timestamp: "2026-01-01T00:00:00.000Z" } as never,
    data: {},
    givenId: false
  })

  it.effect("a condition looks only at those events of its group that have its rarest tag", () =>
    Effect.gen(function*() {
      const { append } = yield* writer
      const side = 32
      let looks = 0
      const exits = yield* together(Array.from({ length: side * side }, (_, i) => {
        const tags = [`row:${i % side}`, `column:${Math.floor(i / side)}`]
        const counted: EventStore.EncodedEvent = {
          ...event(`e${i}`, []),
          get tags() {
            looks++
            return tags as ReadonlyArray<string> as ReadonlyArray<Tag.Tag>
          }
        }
        return append([counted], { failIfEventsMatch: Query.tags(...tags as ["row:", "column:"]) })
      }))
      assert.isTrue(exits.every(Exit.isSuccess))
      // each event has at most one row or column before it, and what is written of it; all pairs would be half a million
      assert.isBelow(looks, side * side * (side + 20))
    }).pipe(Effect.scoped))

  for (
    const [what, locks] of [["a lock", LockMemory.layer], ["a lock that everybody gets", LockGranted.layer]] as const
  ) {
    it.live(`whoever reserved has seen what others committed, and what this process was writing, with ${what}`, () =>
      Effect.gen(function*() {
        const disk = StorageSimulated.make().layer
        const lock = Layer.succeedContext(yield* Layer.build(locks))
        const [a, b] = yield* Effect.all([build(disk, lock), build(disk, lock)])
        yield* a.writer.append([event("a1", [])], undefined)
        yield* b.writer.append([event("b1", []), event("b2", [])], undefined)
        assert.strictEqual(a.history.known().position, 1)
        yield* a.writer.reserve
        assert.strictEqual(a.history.known().position, 3)
        const own = yield* Effect.forkChild(a.writer.append([event("a2", [])], undefined), { startImmediately: true })
        yield* a.writer.reserve
        assert.strictEqual(a.history.known().position, 4)
        yield* Fiber.join(own)
      }).pipe(Effect.scoped))
  }

  it.effect("tags that are too many for one line are refused, and nothing is written", () =>
    Effect.gen(function*() {
      const { addTags, append } = yield* writer
      yield* append([event("a", [])], undefined)
      const tag = `tag:${"x".repeat(1000)}` as Tag.Tag
      const targets = Array.from({ length: 300 }, () => ({ position: 1 as Position, tags: Array(60).fill(tag) }))
      const error = yield* Effect.flip(addTags(targets as never))
      assert.isTrue(error._tag === "AppendRefused" && error.reason._tag === "LimitExceeded")
      assert.deepStrictEqual([...(yield* append([event("b", [])], undefined)).positions] as Array<number>, [2])
    }).pipe(Effect.scoped))
})

describe("a medium that fails", () => {
  for (
    const [operation, extent] of [["write", "before"], ["write", "half"], ["write", "after"], ["sync", "before"], [
      "sync",
      "half"
    ]] as const
  ) {
    test(`a ${operation} that fails (${extent}) fails its group, with all that depends on it, and nothing of it is stored`, (disk) =>
      Effect.gen(function*() {
        disk.failNext(operation, "Io", { after: extent })
        const exits = yield* together([
          take("a", "1"),
          take("a", "2"),
          EventStore.append(withId("b")),
          EventStore.append(withId("b"))
        ])
        for (const exit of exits) {
          const error = failureOf(exit)
          assert.isTrue(error?._tag === "EventStoreError" && error.reason._tag === "StoreUnavailable")
        }
        assert.deepStrictEqual(yield* all, ["first nobody"])
        // nothing is in the way of the next, which gets the next position
        const { positions } = yield* take("a", "3")
        assert.deepStrictEqual([...positions] as Array<number>, [2])
        assert.deepStrictEqual(yield* all, ["first nobody", "a 3"])
        for (const image of disk.crashImages({ max: 64 })) {
          assert.deepStrictEqual(yield* Effect.provide(all, open(image)), ["first nobody", "a 3"], "after a power loss")
        }
      }))
  }

  test("if it fails again when the segment is to be sealed, the outcome is unknown; the same ids find it out", (disk) =>
    Effect.gen(function*() {
      disk.failNext("sync", "Io", { after: "half" })
      disk.failNext("createFile", "Io")
      const error = yield* Effect.flip(EventStore.append(withId("a")))
      assert.strictEqual(error._tag, "AppendOutcomeUnknown")
      if (error._tag === "AppendOutcomeUnknown") assert.deepStrictEqual(error.ids, ["a"])
      const { positions } = yield* EventStore.append(withId("a"))
      assert.deepStrictEqual([...positions] as Array<number>, [2])
      assert.deepStrictEqual(yield* all, ["first nobody", "a anna"])
      for (const image of disk.crashImages({ max: 64 })) {
        assert.deepStrictEqual(
          yield* Effect.provide(all, open(image)),
          ["first nobody", "a anna"],
          "after a power loss"
        )
      }
    }))

  test("a confirmation that fails comes after the commit: it is adopted", (disk) =>
    Effect.gen(function*() {
      let writes = 0
      disk.failNext(({ operation }) => operation === "write" && ++writes === 2, "Io")
      const { positions } = yield* take("a", "1")
      assert.deepStrictEqual([...positions] as Array<number>, [2])
      assert.strictEqual(disk.pendingFailures, 0)
      assert.deepStrictEqual(yield* all, ["first nobody", "a 1"])
      for (const image of disk.crashImages({ max: 64 })) {
        assert.deepStrictEqual(yield* Effect.provide(all, open(image)), ["first nobody", "a 1"], "after a power loss")
      }
    }))

  test("a disk that is full refuses, without a segment for each try, and goes on when there is room", (disk) =>
    Effect.gen(function*() {
      let isFull = true
      for (let i = 0; i < 40; i++) disk.failNext(({ operation }) => operation === "write" && isFull, "DiskFull")
      for (let i = 0; i < 10; i++) {
        const error = yield* Effect.flip(take(`a${i}`, "1"))
        assert.isTrue(error._tag === "EventStoreError" || error._tag === "AppendOutcomeUnknown")
      }
      const { events } = yield* EventStore.read(Query.all)
      assert.strictEqual(events.length, 1, "reads go on")
      isFull = false
      yield* take("b", "1")
      assert.deepStrictEqual(yield* all, ["first nobody", "b 1"])
      const made = disk.log.filter(({ operation, path }) => operation === "createFile" && path.endsWith(".jsonl"))
      assert.isAtMost(made.length, 3)
    }))

  test("a read that fails is a typed error, and the next one works", (disk) =>
    Effect.gen(function*() {
      yield* take("a", "1")
      disk.failNext("read", "Io")
      const error = yield* Effect.flip(EventStore.read(Query.all))
      assert.isTrue(error._tag === "EventStoreError" && error.reason._tag === "StoreUnavailable")
      assert.deepStrictEqual(yield* all, ["first nobody", "a 1"])
    }))
})

describe("acknowledged", () => {
  it.effect("is what survives every power loss, also across segments", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const expected: Array<string> = []
      yield* Effect.gen(function*() {
        for (let i = 0; i < 8; i++) {
          yield* take(`s${i}`, "x")
          expected.push(`s${i} x`)
          for (const image of disk.crashImages({ max: 40, seed: i })) {
            const again = Effect.gen(function*() {
              assert.deepStrictEqual(yield* all, expected)
              // what conflicted before conflicts after
              const conflict = yield* Effect.flip(take("s0", "y"))
              assert.strictEqual(conflict._tag, "AppendConditionFailed")
              const { positions } = yield* take("next", "y")
              assert.strictEqual(positions[0] as number, expected.length + 1)
            })
            yield* Effect.provide(again, open(image, { segmentSize: 1500 }))
          }
        }
      }).pipe(Effect.provide(open(disk, { segmentSize: 1500 })))
    }))
})
