/** What happens at the same time: other processes' commits, failures, closing and deletion in the middle of reads and appends. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import type * as EventStore from "../../src/services/EventStore.ts"
import { Lock } from "../../src/services/Lock.ts"
import { Storage } from "../../src/services/Storage.ts"
import * as LockGranted from "../../src/testing/LockGranted.ts"
import * as StorageSimulated from "../../src/testing/StorageSimulated.ts"
import { all, makeGate, open, seat, settle, slowRuns, take, taken } from "../support/stores.ts"

const seats = (count: number, by: string, from = 0) => Array.from({ length: count }, (_, i) => take(`s${from + i}`, by))
/** Long enough for anything that ends at all. */
const inTime = Effect.timeout("8 seconds")

describe("while another fiber of the process brings other processes' commits into the index", () => {
  /** `a` knows of 20 events of `b` that are not in its index yet. */
  const overtaken = Effect.gen(function*() {
    const disk = StorageSimulated.make()
    const gate = makeGate()
    const a = yield* open(slowRuns(disk.storage, gate), LockMemory.layer, { runBytes: 3000 })
    yield* Effect.scoped(Effect.flatMap(open(disk.layer, LockMemory.layer), (b) => b.store.append(seats(20, "b"))))
    const first = yield* Effect.forkChild(a.store.read(seat("s1")))
    yield* gate.begun
    return { a, gate, first }
  })

  it.live("a read that begins sees what was acknowledged before", () =>
    Effect.gen(function*() {
      const { a, first, gate } = yield* overtaken
      const second = yield* Effect.forkChild(a.store.read(seat("s1")), { startImmediately: true })
      yield* settle(second)
      yield* gate.go
      for (const fiber of [first, second]) {
        const found = yield* Fiber.join(fiber)
        assert.strictEqual(found.head as number, 20)
        assert.deepStrictEqual(taken(found), ["s1 b"])
      }
    }).pipe(Effect.scoped))

  it.live("a condition that they break fails, and an append that passes gets the positions behind them", () =>
    Effect.gen(function*() {
      const { a, first, gate } = yield* overtaken
      const fails = yield* Effect.forkChild(
        Effect.flip(a.store.append(take("s1", "a"), { failIfEventsMatch: seat("s1") })),
        { startImmediately: true }
      )
      const passes = yield* Effect.forkChild(a.store.append(take("s20", "a"), { failIfEventsMatch: seat("s20") }), {
        startImmediately: true
      })
      yield* settle(fails)
      yield* gate.go
      yield* Fiber.join(first)
      const error = yield* Fiber.join(fails)
      assert.isTrue(error._tag === "AppendConditionFailed" && (error.conflict as number) === 2)
      assert.deepStrictEqual([...(yield* Fiber.join(passes)).positions] as Array<number>, [21])
      assert.deepStrictEqual(taken(yield* a.store.read(seat("s1"))), ["s1 b"])
    }).pipe(Effect.scoped))
})

describe("a segment of its own that began behind others' commits", () => {
  it.live("after a write that failed, the next append is answered, though nobody reads in between", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const a = yield* open(disk.layer, LockMemory.layer)
      yield* a.store.append(take("s0", "a"))
      disk.failNext("sync", "Io")
      yield* Effect.flip(a.store.append(take("s1", "a")))
      yield* inTime(a.store.append(take("s2", "a")))
      assert.deepStrictEqual(taken(yield* a.store.read(all)), ["s0 a", "s2 a"])
    }).pipe(Effect.scoped))

  it.live("after a full one, an append is answered that another's commits came before", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const a = yield* open(disk.layer, LockGranted.layer, { segmentSize: 1500 })
      const b = yield* open(disk.layer, LockGranted.layer)
      yield* a.store.append(take("s0", "a"))
      yield* a.store.append(take("s1", "a"))
      yield* b.store.append(take("s2", "b"))
      yield* inTime(a.store.append(seats(5, "a", 3)))
      const expected = ["s0 a", "s1 a", "s2 b", ...seats(5, "a", 3).map(({ by, seat }) => `${seat} ${by}`)]
      assert.deepStrictEqual(taken(yield* a.store.read(all)), expected)
    }).pipe(Effect.scoped))
})

describe("the lock", () => {
  it.live("is kept while the first group is made ready, however long that takes", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      yield* Effect.scoped(Effect.flatMap(
        open(disk.layer, LockMemory.layer),
        (before) => before.store.append(take("s0", "before"))
      ))
      let acquired = 0
      const released = Deferred.makeUnsafe<void>()
      const lock = Layer.succeed(Lock, {
        holder: () => Effect.succeed(undefined),
        acquire: () =>
          Effect.gen(function*() {
            acquired++
            yield* Effect.addFinalizer(() => Deferred.succeed(released, undefined))
            return { isLost: Effect.succeed(false), isContended: Effect.succeed(false) }
          })
      })
      // the condition's events come from a disk that takes ten times as long as an idle holder waits between two looks
      const slow = Effect.timeoutOption(Deferred.await(released), "200 millis")
      const storage = Layer.succeed(Storage, {
        ...disk.storage,
        openFile: (path) =>
          Effect.map(disk.storage.openFile(path), (file) => ({
            ...file,
            read: (offset, length) =>
              acquired > 0 ? Effect.andThen(slow, file.read(offset, length)) : file.read(offset, length)
          }))
      })
      const a = yield* open(storage, lock)
      const [conflict, appended] = yield* inTime(Effect.all(
        ["s0", "s1"].map((name) => Effect.exit(a.store.append(take(name, "a"), { failIfEventsMatch: seat(name) }))),
        { concurrency: "unbounded" }
      ))
      assert.isTrue(Exit.isFailure(conflict!))
      assert.isTrue(Exit.isSuccess(appended!))
      assert.strictEqual(acquired, 1)
    }).pipe(Effect.scoped))

  /** A lock for which somebody else always waits. */
  const contended = () => {
    let acquired = 0
    let released = 0
    const lock = Layer.succeed(Lock, {
      holder: () => Effect.succeed(undefined),
      acquire: () =>
        Effect.gen(function*() {
          acquired++
          yield* Effect.addFinalizer(() => Effect.sync(() => void released++))
          return { isLost: Effect.succeed(false), isContended: Effect.succeed(true) }
        })
    })
    return { lock, acquired: () => acquired, released: () => released }
  }

  it.live("is kept for a moment for who reserved it, and then given to those who wait", () =>
    Effect.gen(function*() {
      const { acquired, lock, released } = contended()
      const a = yield* open(StorageSimulated.make().layer, lock)
      yield* a.store.append(take("s0", "a"))
      // with nothing left to write it is given to those who wait
      while (released() < acquired()) yield* Effect.sleep(1)
      const before = acquired()
      yield* a.store.reserve
      assert.strictEqual(acquired(), before + 1)
      const { head } = yield* a.store.read(seat("s0"))
      yield* a.store.append(take("s0", "b"), { failIfEventsMatch: seat("s0"), after: head })
      assert.strictEqual(acquired(), before + 1, "it was given away between reservation and append")
      yield* a.store.reserve
      yield* inTime(Effect.gen(function*() {
        while (released() < acquired()) yield* Effect.sleep(1)
      }))
    }).pipe(Effect.scoped))

  it.live("is what a reservation waits for: it fails in time, or when the store is closed", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const lock = Layer.succeedContext(yield* Layer.build(LockMemory.layer))
      const a = yield* open(disk.layer, lock, { lockTimeout: "50 millis" })
      const scope = yield* Scope.make()
      const b = yield* Scope.provide(open(disk.layer, lock, { lockTimeout: "1 minute" }), scope)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* Effect.flatMap(Lock, ({ acquire }) => acquire("shop/writer")).pipe(Effect.provide(lock))
        const busy = yield* Effect.flip(a.store.reserve)
        assert.strictEqual(busy.reason._tag, "StoreBusy")
        const [waiting, given] = [
          yield* Effect.forkChild(Effect.flip(b.store.reserve), { startImmediately: true }),
          yield* Effect.forkChild(b.store.reserve, { startImmediately: true })
        ]
        yield* settle(waiting)
        yield* Fiber.interrupt(given)
        assert.isUndefined(waiting.pollUnsafe())
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* inTime(Fiber.join(waiting))).reason._tag, "StoreClosed")
        assert.strictEqual((yield* Effect.flip(b.store.reserve)).reason._tag, "StoreClosed")
      }))
      yield* a.store.reserve
      yield* a.admin.deleteStore
      assert.strictEqual((yield* Effect.flip(a.store.reserve)).reason._tag, "StoreDeleted")
    }).pipe(Effect.scoped))

  it.live("is given back by a deletion that failed", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const lock = Layer.succeedContext(yield* Layer.build(LockMemory.layer))
      const a = yield* open(disk.layer, lock)
      const b = yield* open(disk.layer, lock, { lockTimeout: "5 seconds" })
      yield* b.store.append(take("s0", "b"))
      disk.failNext("rename", "Permission")
      const error = yield* Effect.flip(a.admin.deleteStore)
      assert.strictEqual(error.reason._tag, "StoreUnavailable")
      assert.strictEqual(disk.pendingFailures, 0)
      yield* b.store.append(take("s1", "b"))
      yield* a.store.append(take("s2", "a"))
      assert.deepStrictEqual(taken(yield* b.store.read(all)), ["s0 b", "s1 b", "s2 a"])
    }).pipe(Effect.scoped))
})

describe("an anchor", () => {
  it.live("of a position that another process appended, and of both sides of a take-over, has the commit's hash", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const a = yield* open(disk.layer, LockGranted.layer)
      const b = yield* open(disk.layer, LockGranted.layer)
      const appended: Array<EventStore.Appended> = []
      for (const by of ["a", "b", "a", "b"]) {
        appended.push(yield* (by === "a" ? a : b).store.append([take("s0", by), take("s1", by)]))
        // the one that did not append knows nothing of it yet
        const { hash, positions } = appended.at(-1)!
        const other = by === "a" ? b : a
        for (const position of positions) assert.strictEqual((yield* other.maintenance.anchorAt(position)).hash, hash)
      }
      const late = yield* open(disk.layer, LockGranted.layer)
      for (const { maintenance } of [a, b, late]) {
        for (const { hash, positions } of appended) {
          for (const position of positions) assert.strictEqual((yield* maintenance.anchorAt(position)).hash, hash)
        }
      }
      assert.isAbove((yield* a.maintenance.statistics).segments, 3)
    }).pipe(Effect.scoped))

  it.live("of a commit that was just seen is made without a look at the disk", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const a = yield* open(disk.layer, LockMemory.layer)
      const { hash, positions } = yield* a.store.append([take("s0", "a"), take("s1", "a")])
      const before = disk.log.length
      for (const position of positions) assert.strictEqual((yield* a.maintenance.anchorAt(position)).hash, hash)
      assert.strictEqual(disk.log.length, before)
    }).pipe(Effect.scoped))
})

describe("what became of an append", () => {
  it.live("is unknown, and not denied, if the segment that tells is damaged", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const next = "shop/ledger/0000000002.jsonl"
      const at = 20
      let original: Uint8Array | undefined
      let isArmed = false
      const change = (bytes: Uint8Array) =>
        Effect.scoped(Effect.gen(function*() {
          const file = yield* disk.storage.openWritable(next)
          const before = new Uint8Array(yield* file.read(at, 1))
          yield* file.write(at, bytes)
          return before
        }))
      // between sync and look another process takes over, adopts the append, and its header is damaged
      const storage = Layer.succeed(Storage, {
        ...disk.storage,
        exists: (path) =>
          Effect.gen(function*() {
            if (isArmed && path === next) {
              isArmed = false
              yield* Effect.scoped(Effect.flatMap(
                open(disk.layer, LockGranted.layer),
                (other) => Effect.orDie(other.store.append(take("s2", "other")))
              ))
              original = yield* change(new Uint8Array([0x58]))
            }
            return yield* disk.storage.exists(path)
          })
      })
      const a = yield* open(storage, LockGranted.layer)
      yield* a.store.append(take("s0", "a"))
      isArmed = true
      const error = yield* Effect.flip(a.store.append(take("s1", "a")))
      assert.strictEqual(error._tag, "AppendOutcomeUnknown")
      // and indeed it is part of the history
      yield* change(original!)
      assert.deepStrictEqual(taken(yield* a.store.read(all)), ["s0 a", "s1 a", "s2 other"])
    }).pipe(Effect.scoped))
})

describe("closing", () => {
  it.live("a read between two segments fails with StoreClosed, and its files are not closed under it", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const gate = makeGate()
      let isSlow = false
      const storage = Layer.succeed(Storage, {
        ...disk.storage,
        openFile: (path) =>
          Effect.map(disk.storage.openFile(path), (file) => ({
            ...file,
            read: (offset, length) =>
              Effect.andThen(Effect.suspend(() => isSlow ? gate.pass : Effect.void), file.read(offset, length))
          }))
      })
      const scope = yield* Scope.make()
      const a = yield* Scope.provide(open(storage, LockMemory.layer, { segmentSize: 1000 }), scope)
      yield* a.store.append(take("s0", "a".repeat(400)))
      yield* a.store.append(take("s1", "a".repeat(400)))
      isSlow = true
      const reading = yield* Effect.forkChild(a.store.read(all))
      yield* gate.begun
      yield* Scope.close(scope, Exit.void)
      yield* gate.go
      const exit = yield* inTime(Fiber.await(reading))
      const error = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : undefined
      assert.isTrue(
        error?._tag === "Some" && error.value._tag === "EventStoreError" && error.value.reason._tag === "StoreClosed",
        String(exit)
      )
    }).pipe(Effect.scoped))
})
