import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileOf } from "../../src/layers/internal/StateFiles.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockFile from "../../src/layers/LockFile.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as ProjectionStoreFiles from "../../src/layers/ProjectionStoreFiles.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import type { Position } from "../../src/Position.ts"
import type { Lock } from "../../src/services/Lock.ts"
import {
  type Changes,
  type Claim,
  ProjectionStore,
  type ProjectionStoreError,
  type Slot,
  type StoredEntry
} from "../../src/services/ProjectionStore.ts"
import { Storage } from "../../src/services/Storage.ts"
import * as LockGranted from "../../src/testing/LockGranted.ts"
import * as StorageSimulated from "../../src/testing/StorageSimulated.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

const store = "shop"

/** A store for the projections to lie in. */
const makeStore = Effect.scoped(Layer.build(LedgerLive.layer({ store })))

const entry = (key: string, position: number, state: StoredEntry["state"] = { position }): StoredEntry => ({
  key,
  state,
  tags: [`key:${key}`],
  position: position as Position,
  version: 1,
  created: position,
  updated: position
})

const changes = (position: number, set: ReadonlyArray<StoredEntry>, removed: ReadonlyArray<string> = []): Changes => ({
  set,
  removed,
  checkpoint: { storeId: "s", position: position as Position, hash: `h${position}` }
})

/** A layer of its own, as another process has it. */
const open = (
  storage: Layer.Layer<Storage>,
  lock: Layer.Layer<Lock>,
  options: Partial<ProjectionStoreFiles.Options> = {}
) =>
  Effect.map(
    Layer.build(
      Layer.fresh(ProjectionStoreFiles.layer({ store, stateFiles: false, ...options })).pipe(
        Layer.provide(lock),
        Layer.provide(storage)
      )
    ),
    (context) => Effect.flatMap(ProjectionStore, (store) => store.open("list", 1)).pipe(Effect.provide(context))
  ).pipe(Effect.flatten)

const take = (slot: Slot) =>
  Effect.map(slot.claim({ wait: false }), (claim) => {
    assert(claim !== undefined)
    return claim
  })

const build = Effect.fnUntraced(function*(claim: Claim, ...saves: ReadonlyArray<Changes>) {
  const generation = yield* claim.begin("one")
  for (const save of saves) yield* generation.save(save)
  yield* claim.swap
  return generation
})

const all = (slot: Slot) =>
  Effect.gen(function*() {
    const live = yield* slot.live
    if (live === undefined) return undefined
    const entries = yield* live.list({ sort: "key", backwards: false, after: undefined, limit: 1000 })
    return { entries, checkpoint: (yield* live.checkpoint)?.position, size: yield* live.size }
  })

const keys = (slot: Slot) => Effect.map(all(slot), (found) => found?.entries.map(({ key }) => key))

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

/** Stops at a call, until it is told to go on. */
const held = (
  storage: Storage["Service"],
  operation: "replaceDocument" | "createFile",
  fits: (path: string) => boolean
) => {
  const reached = Deferred.makeUnsafe<void>()
  const go = Deferred.makeUnsafe<void>()
  const hold = <A, E, R>(path: string, call: Effect.Effect<A, E, R>) =>
    fits(path)
      ? Deferred.succeed(reached, undefined).pipe(Effect.andThen(Deferred.await(go)), Effect.andThen(call))
      : call
  return {
    reached: Deferred.await(reached),
    go: () => void Deferred.doneUnsafe(go, Effect.void),
    layer: Layer.succeed(Storage, {
      ...storage,
      ...(operation === "createFile"
        ? { createFile: (path) => hold(path, storage.createFile(path)) }
        : { replaceDocument: (path, bytes, options) => hold(path, storage.replaceDocument(path, bytes, options)) })
    })
  }
}

/** Each call comes at some later moment. */
const slowed = (storage: Storage["Service"], seed: number): Layer.Layer<Storage> => {
  let state = seed
  const next = () => (state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff) >> 16
  const slow = <F extends (...args: never) => Effect.Effect<unknown, unknown, unknown>>(call: F): F =>
    ((...args: never) =>
      Effect.suspend(() => {
        const yields = next() % 4
        let wait: Effect.Effect<unknown> = Effect.void
        for (let i = 0; i < yields; i++) wait = Effect.andThen(wait, Effect.yieldNow)
        return Effect.andThen(wait, call(...args))
      })) as F
  const { createFile, exists, list, makeDirectory, readDocument, remove, rename, replaceDocument, syncDirectory } =
    storage
  return Layer.succeed(Storage, {
    ...storage,
    createFile: slow(createFile),
    exists: slow(exists),
    list: slow(list),
    makeDirectory: slow(makeDirectory),
    readDocument: slow(readDocument),
    remove: slow(remove),
    rename: slow(rename),
    replaceDocument: slow(replaceDocument),
    syncDirectory: slow(syncDirectory)
  })
}

/** A disk with a store on it. */
const makeDisk = Effect.gen(function*() {
  const disk = StorageSimulated.make()
  yield* makeStore.pipe(Effect.provide(Layer.merge(disk.layer, LockMemory.layer)))
  return disk
})

const folder = `${store}/projections/list/1`

const generations = (disk: StorageSimulated.StorageSimulated) =>
  Effect.map(
    disk.storage.list(folder),
    (entries) => entries.flatMap(({ name }) => /^\d{10}$/.test(name) ? [Number(name)] : []).sort((a, b) => a - b)
  )

/** The bytes of all logs. */
const sizeOf = Effect.fnUntraced(function*(disk: StorageSimulated.StorageSimulated) {
  let bytes = 0
  for (const number of yield* generations(disk)) {
    const ledger = `${folder}/${number.toString().padStart(10, "0")}/ledger`
    for (const { name } of yield* disk.storage.list(ledger)) {
      bytes += yield* Effect.scoped(Effect.flatMap(disk.storage.openFile(`${ledger}/${name}`), (file) => file.size))
    }
  }
  return bytes
})

describe("ProjectionStoreFiles", () => {
  it.live("keeps states, and others follow", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const lock = Layer.succeedContext(yield* Layer.build(LockMemory.layer))
      const a = yield* open(disk.layer, lock)
      const b = yield* open(disk.layer, lock)
      assert.isUndefined(yield* b.live)
      const scope = yield* Scope.make()
      const claim = yield* Scope.provide(take(a), scope)
      assert.isTrue(yield* b.isClaimed)
      assert.isUndefined(yield* b.claim({ wait: false }))
      yield* build(claim, changes(1, [entry("a", 1), entry("b", 1)]), changes(2, [entry("c", 2)], ["a"]))
      assert.deepStrictEqual(yield* keys(a), ["b", "c"])
      assert.deepStrictEqual(yield* keys(b), ["b", "c"])
      const live = yield* claim.live
      yield* live!.save(changes(3, [entry("b", 3)]))
      assert.deepStrictEqual(yield* (yield* b.live)!.read(["b", "x"]), [entry("b", 3)])
      assert.strictEqual((yield* all(a))?.checkpoint, 3 as Position)
      yield* build(claim, changes(4, [entry("z", 4)]))
      assert.deepStrictEqual(yield* keys(a), ["z"])
      assert.deepStrictEqual(yield* keys(b), ["z"])
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(yield* b.isClaimed)
      assert.deepStrictEqual(yield* keys(a), ["z"])
      const again = yield* take(b)
      assert.deepStrictEqual(yield* keys(b), ["z"])
      yield* (yield* again.live)!.save(changes(5, [entry("y", 5)]))
      assert.deepStrictEqual(yield* keys(a), ["y", "z"])
    }).pipe(Effect.scoped))

  it.live("a log that is mostly dead is made smaller, and nothing is lost", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer)
      const b = yield* open(disk.layer, LockMemory.layer)
      const claim = yield* take(a)
      yield* build(claim, changes(1, [entry("fixed", 1), entry("gone", 1)]))
      const live = (yield* claim.live)!
      const large = "x".repeat(20_000)
      let position = 1
      const save = Effect.gen(function*() {
        position++
        const key = `k${position % 7}`
        yield* live.save(changes(position, [entry(key, position, large)], position === 50 ? ["gone"] : []))
      })
      yield* Effect.repeat(save, {
        while: () => generations(disk).pipe(Effect.map((found) => position < 60 || found[0] === 1)),
        times: 2000
      })
      const numbers = yield* generations(disk)
      assert.lengthOf(numbers, 1)
      assert.isAbove(numbers[0]!, 1)
      yield* save
      for (const slot of [a, b]) {
        const found = (yield* all(slot))!
        assert.strictEqual(found.checkpoint, position as Position)
        assert.deepStrictEqual(found.entries.map(({ key }) => key), ["fixed", "k0", "k1", "k2", "k3", "k4", "k5", "k6"])
        assert.strictEqual(Math.max(...found.entries.map(({ position }) => position)), position)
      }
      assert.isBelow(yield* sizeOf(disk), 700_000)
      assert.strictEqual(live.definition, "one")
    }).pipe(Effect.scoped))

  it.live("what is saved while a log is made smaller is there afterwards", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(slowed(disk.storage, 7), LockMemory.layer)
      const claim = yield* take(a)
      const states = new Map<string, number>()
      yield* build(claim, changes(1, []))
      const live = (yield* claim.live)!
      const large = "x".repeat(20_000)
      const found = () => Array.from(states).sort(([a], [b]) => a < b ? -1 : 1)
      let position = 1
      const save = Effect.suspend(() => {
        const key = `k${++position * 7919 % 40}`
        if (position % 3 > 0) {
          states.set(key, position)
          return live.save(changes(position, [entry(key, position, large)]))
        }
        states.delete(key)
        return live.save(changes(position, [], [key]))
      })
      let during = 0
      for (let last = 1; last < 20;) {
        yield* save
        if ((yield* generations(disk)).length < 2) continue
        // now and then nothing is saved any more before it is done
        for (let i = last % 5; i > 0; i--) {
          yield* save
          if ((yield* generations(disk)).length > 1) during++
        }
        yield* Effect.repeat(Effect.yieldNow, {
          until: () => Effect.map(generations(disk), (numbers) => numbers.length === 1)
        })
        last = (yield* generations(disk))[0]!
        for (const slot of [a, yield* open(disk.layer, LockMemory.layer)]) {
          const { checkpoint, entries } = (yield* all(slot))!
          assert.strictEqual(checkpoint, position as Position)
          assert.deepStrictEqual(entries.map(({ key, position }) => [key, position as number]), found())
        }
      }
      assert.isAbove(during, 5)
    }).pipe(Effect.scoped))

  it.live("a generation that could not be removed is left by its readers all the same", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const lock = Layer.succeedContext(yield* Layer.build(LockMemory.layer))
      const a = yield* open(disk.layer, lock)
      const b = yield* open(disk.layer, lock)
      yield* Effect.scoped(Effect.gen(function*() {
        const claim = yield* take(a)
        yield* build(claim, changes(1, [entry("a", 1)]))
        assert.deepStrictEqual(yield* keys(b), ["a"])
        const isOld = (call: StorageSimulated.Call) => call.operation === "rename" && call.path.endsWith("0000000001")
        disk.failNext(isOld, "Permission")
        yield* build(claim, changes(2, [entry("b", 2)]))
        assert.strictEqual(disk.pendingFailures, 0)
        yield* Effect.repeat(Effect.sleep(10), {
          times: 2000,
          until: () => Effect.map(keys(b), (found) => found?.[0] === "b")
        })
        assert.deepStrictEqual(yield* keys(b), ["b"])
        // and does not keep it from being built again
        yield* build(claim, changes(3, [entry("c", 3)]))
        assert.deepStrictEqual(yield* generations(disk), [1, 3])
      }))
      yield* Effect.scoped(take(a))
      assert.deepStrictEqual(yield* generations(disk), [3])
      assert.deepStrictEqual(yield* keys(b), ["c"])
    }).pipe(quiet, Effect.scoped))

  it.live("a generation that is built anew goes before one that is made smaller", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const storage = slowed(disk.storage, 1)
      const a = yield* open(storage, LockMemory.layer)
      const claim = yield* take(a)
      const large = "x".repeat(200_000)
      yield* build(claim, changes(1, [entry("fixed", 1)]))
      const live = (yield* claim.live)!
      for (let position = 2; position < 9; position++) {
        yield* live.save(changes(position, [entry("k", position, large)]))
      }
      // it has begun by now, or is about to
      yield* Effect.repeat(Effect.yieldNow, { until: () => Effect.map(generations(disk), (found) => found.length > 1) })
      const building = yield* claim.begin("two")
      assert.strictEqual((yield* generations(disk)).length, 2)
      yield* building.save(changes(9, [entry("new", 9)]))
      yield* live.save(changes(9, [entry("k", 9, large)]))
      assert.deepStrictEqual(yield* keys(a), ["fixed", "k"])
      yield* claim.swap
      assert.deepStrictEqual(yield* keys(a), ["new"])
      assert.lengthOf(yield* generations(disk), 1)
    }).pipe(Effect.scoped))

  it.live("one that was killed is taken over from, and told so", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockGranted.layer)
      const b = yield* open(disk.layer, LockGranted.layer)
      const first = yield* take(a)
      yield* build(first, changes(1, [entry("a", 1)]))
      const live = (yield* first.live)!
      yield* live.save(changes(2, [entry("b", 2)]))
      const building = yield* first.begin("two")
      yield* building.save(changes(1, [entry("half", 1)]))
      // the first one stops here, with all that it has open
      const second = yield* take(b)
      assert.deepStrictEqual(yield* keys(b), ["a", "b"])
      assert.deepStrictEqual(yield* (yield* second.building)!.read(["half"]), [entry("half", 1)])
      assert.strictEqual((yield* second.building)!.definition, "two")
      yield* (yield* second.live)!.save(changes(3, [entry("c", 3)]))
      // and here it wakes up
      assert.deepStrictEqual(yield* keys(a), ["a", "b", "c"])
      for (const attempt of [live.save(changes(3, [entry("x", 3)])), building.save(changes(2, [])), first.swap]) {
        assert.strictEqual((yield* Effect.flip(attempt))._tag, "ClaimLost")
      }
      assert.isTrue(yield* first.isWanted)
      yield* second.swap
      for (const slot of [a, b]) assert.deepStrictEqual(yield* keys(slot), ["half"])
    }).pipe(Effect.scoped))

  it.live(
    "of two that believe to have the claim, at whatever moment, what is acknowledged is there",
    () =>
      Effect.gen(function*() {
        let both = 0
        for (let seed = 1; seed <= 150; seed++) {
          const disk = yield* makeDisk
          yield* Effect.scoped(Effect.gen(function*() {
            const a = yield* open(slowed(disk.storage, seed), LockGranted.layer)
            const b = yield* open(slowed(disk.storage, seed * 7919), LockGranted.layer)
            const claim = yield* take(a)
            yield* build(claim, changes(1, [entry("old", 1)]))
            const [swapped, saved] = yield* Effect.all([
              Effect.isSuccess(build(claim, changes(2, [entry("old", 1), entry("built", 2)]))),
              Effect.isSuccess(Effect.gen(function*() {
                // at some moment of the other's doings
                for (let i = 0; i < (seed * 31) % 100; i++) yield* Effect.yieldNow
                const live = yield* (yield* take(b)).live
                yield* live!.save(changes(3, [entry("saved", 3)]))
              }))
            ], { concurrency: "unbounded" })
            const found = yield* keys(yield* open(disk.layer, LockGranted.layer))
            const wanted = [...(swapped ? ["built"] : []), "old", ...(saved ? ["saved"] : [])]
            // what was not acknowledged may be there all the same
            assert.deepStrictEqual(found?.filter((key) => wanted.includes(key)), wanted, `seed ${seed}`)
            if (swapped && saved) both++
            const after = yield* take(yield* open(disk.layer, LockGranted.layer))
            assert.includeMembers((yield* (yield* after.live)!.read(wanted)).map(({ key }) => key), wanted)
          }))
        }
        assert.isAbove(both, 0)
      }),
    60_000
  )

  it.live("a swap is the end of whoever took the old generation before, and is seen by whoever takes it later", () =>
    Effect.gen(function*() {
      for (const isEarly of [true, false]) {
        const disk = yield* makeDisk
        // the one stops when all but the file that names it says that its generation is live
        const swapping = held(disk.storage, "replaceDocument", (path) => path === `${folder}/current.json`)
        // the other one stops when it knows which generations there are, and has not yet taken the first
        const claiming = held(disk.storage, "createFile", (path) => path.startsWith(`${folder}/0000000001/ledger/`))
        yield* Effect.scoped(Effect.flatMap(
          Effect.flatMap(open(disk.layer, LockGranted.layer), take),
          (claim) => build(claim, changes(1, [entry("old", 1)]))
        ))
        const a = yield* take(yield* open(swapping.layer, LockGranted.layer))
        const slot = yield* open(claiming.layer, LockGranted.layer)
        if (isEarly) claiming.go()
        const b = yield* Effect.forkScoped(take(slot), { startImmediately: true })
        yield* isEarly ? Fiber.join(b) : claiming.reached
        const swap = yield* Effect.forkScoped(build(a, changes(2, [entry("built", 2), entry("old", 1)])), {
          startImmediately: true
        })
        yield* Effect.raceFirst(swapping.reached, Effect.exit(Fiber.join(swap)))
        claiming.go()
        const live = yield* (yield* Fiber.join(b)).live
        const saved = yield* Effect.isSuccess(live!.save(changes(3, [entry("saved", 3)])))
        swapping.go()
        const swapped = Exit.isSuccess(yield* Fiber.await(swap))
        assert.deepStrictEqual({ saved, swapped }, { saved: true, swapped: !isEarly })
        assert.deepStrictEqual(
          yield* keys(yield* open(disk.layer, LockGranted.layer)),
          isEarly ? ["old", "saved"] : ["built", "old", "saved"]
        )
      }
    }).pipe(Effect.scoped))

  it.live("of two that begin a generation one is told that the other did", () =>
    Effect.gen(function*() {
      for (const isAtOnce of [false, true]) {
        const disk = yield* makeDisk
        const making = held(disk.storage, "createFile", (path) => path.includes("/.0000000001.new-"))
        const a = yield* take(yield* open(disk.layer, LockGranted.layer))
        const b = yield* take(yield* open(making.layer, LockGranted.layer))
        if (!isAtOnce) making.go()
        const begin = b.begin("b")
        const begun = isAtOnce ? yield* Effect.forkScoped(begin, { startImmediately: true }) : undefined
        if (isAtOnce) yield* making.reached
        yield* (yield* a.begin("a")).save(changes(1, [entry("a", 1)]))
        if (!isAtOnce) yield* a.swap
        making.go()
        const error = yield* Effect.flip(begun === undefined ? begin : Fiber.join(begun))
        assert.strictEqual(error._tag, "ClaimLost")
        const next = yield* take(yield* open(disk.layer, LockGranted.layer))
        const found = yield* isAtOnce ? next.building : next.live
        assert.deepStrictEqual(yield* found!.read(["a"]), [entry("a", 1)])
      }
    }).pipe(Effect.scoped))

  it.live("a read that is under way when its generation goes is finished", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const reached = Deferred.makeUnsafe<void>()
      const go = Deferred.makeUnsafe<void>()
      let isHeld = false
      const storage = Layer.succeed(Storage, {
        ...disk.storage,
        openFile: (path) =>
          Effect.map(disk.storage.openFile(path), (file) => ({
            ...file,
            read: (offset, length) =>
              Effect.suspend(() => {
                if (!isHeld) return file.read(offset, length)
                isHeld = false
                return Deferred.succeed(reached, undefined).pipe(
                  Effect.andThen(Deferred.await(go)),
                  Effect.andThen(file.read(offset, length))
                )
              })
          }))
      })
      const slot = yield* open(storage, LockMemory.layer)
      const claim = yield* take(slot)
      // in two segments
      const live = yield* build(claim, changes(1, [entry("a", 1)]))
      yield* live.save(changes(2, [entry("b", 2)]))
      yield* (yield* claim.begin("two")).save(changes(3, [entry("a", 3)]))
      const before = yield* slot.live
      isHeld = true
      const read = yield* Effect.forkScoped(before!.read(["a", "b"]), { startImmediately: true })
      yield* Deferred.await(reached)
      const swap = yield* Effect.forkScoped(claim.swap, { startImmediately: true })
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
      yield* Deferred.succeed(go, undefined)
      assert.deepStrictEqual(yield* Fiber.join(read), [entry("a", 1), entry("b", 2)])
      yield* Fiber.join(swap)
      assert.deepStrictEqual(yield* before!.read(["a", "b"]), [entry("a", 3)])
    }).pipe(Effect.scoped))

  it.live("after a power loss there is what was live, up to some save", () =>
    Effect.gen(function*() {
      /** What readers may find if the power fails now: of the last swap that was acknowledged, and later. */
      let allowed: Array<ReadonlyArray<string> | undefined> = [undefined]
      const images: Array<{ readonly image: StorageSimulated.StorageSimulated; readonly allowed: typeof allowed }> = []
      let isOn = false
      let seed = 0
      const disk: StorageSimulated.StorageSimulated = StorageSimulated.make({
        onCall: () => {
          if (!isOn) return
          isOn = false
          for (const image of disk.crashImages({ max: 4, seed: ++seed })) images.push({ image, allowed: [...allowed] })
          isOn = true
        }
      })
      yield* makeStore.pipe(Effect.provide(Layer.merge(disk.layer, LockMemory.layer)))
      const round = (a: Slot, first: number) =>
        Effect.scoped(Effect.gen(function*() {
          const claim = yield* take(a)
          const building = yield* claim.begin("one")
          yield* building.save(changes(first, [entry("a", first), entry("b", first)]))
          yield* building.save(changes(first + 1, [entry("c", first + 1)], ["a"]))
          allowed.push([`b${first}`, `c${first + 1}`])
          yield* claim.swap
          allowed = [[`b${first}`, `c${first + 1}`]]
          allowed.push([`b${first}`, `c${first + 2}`])
          yield* building.save(changes(first + 2, [entry("c", first + 2)]))
          allowed.push([`b${first}`])
          yield* building.save(changes(first + 3, [], ["c"]))
        }))
      yield* Effect.scoped(Effect.gen(function*() {
        isOn = true
        const a = yield* open(disk.layer, LockGranted.layer)
        yield* round(a, 1)
        yield* round(a, 10)
        isOn = false
      }))
      assert.isAbove(images.length, 300)
      for (const { allowed, image } of images) {
        yield* Effect.scoped(Effect.gen(function*() {
          const view = (slot: Slot) =>
            Effect.map(all(slot), (found) => found?.entries.map(({ key, position }) => `${key}${position}`))
          const placeOf = (found: ReadonlyArray<string> | undefined) => {
            const at = allowed.findLastIndex((one) => one?.join() === found?.join())
            assert.isAtLeast(at, 0, `${found?.join()} of ${JSON.stringify(allowed)}`)
            return at
          }
          const read = placeOf(yield* view(yield* open(image.layer, LockGranted.layer, { readOnly: true })))
          const again = yield* open(image.layer, LockGranted.layer)
          const claim = yield* take(again)
          // what somebody has read is not undone by who writes next
          assert.isAtLeast(placeOf(yield* view(again)), read)
          const live = (yield* claim.live) ?? (yield* build(claim, changes(20, [])))
          yield* live.save(changes(21, [entry("z", 21)]))
          assert.include((yield* view(again)) ?? [], "z21")
        }))
      }
    }).pipe(quiet), 60_000)

  it.live(
    "a power loss while a log is made smaller loses no state, and parts none from its checkpoint",
    () =>
      Effect.gen(function*() {
        const images: Array<StorageSimulated.StorageSimulated> = []
        let isOn = false
        const disk: StorageSimulated.StorageSimulated = StorageSimulated.make({
          onCall: ({ path }) => {
            if (!isOn || !/000000000[2-9]|current/.test(path)) return
            isOn = false
            images.push(...disk.crashImages({ max: 3, seed: images.length }))
            isOn = true
          }
        })
        yield* makeStore.pipe(Effect.provide(Layer.merge(disk.layer, LockMemory.layer)))
        yield* Effect.scoped(Effect.gen(function*() {
          const claim = yield* take(yield* open(disk.layer, LockGranted.layer))
          yield* build(claim, changes(1, [entry("fixed", 1), entry("k", 1)]))
          const live = (yield* claim.live)!
          isOn = true
          for (let position = 2; position < 9; position++) {
            yield* live.save(changes(position, [entry("k", position, "x".repeat(200_000))]))
          }
          yield* Effect.repeat(Effect.yieldNow, {
            until: () => Effect.map(generations(disk), (numbers) => numbers.length === 1 && numbers[0]! > 1)
          })
          yield* live.save(changes(9, [entry("k", 9)]))
          isOn = false
        }))
        assert.isAbove(images.length, 50)
        for (const image of images) {
          yield* Effect.scoped(Effect.gen(function*() {
            const slot = yield* open(image.layer, LockGranted.layer)
            const before = (yield* all(slot))!
            const claim = yield* take(slot)
            const after = (yield* all(slot))!
            for (const { checkpoint, entries } of [before, after]) {
              assert.deepStrictEqual(entries.map(({ key, position }) => [key, position]), [["fixed", 1], [
                "k",
                checkpoint
              ]])
            }
            assert.isAtLeast(after.checkpoint!, before.checkpoint!)
            assert.isUndefined(yield* claim.building)
            assert.lengthOf(yield* generations(image), 1)
          }))
        }
      }).pipe(quiet),
    60_000
  )

  it.live("a save that the disk refused can be tried again, or the claim is gone", () =>
    Effect.gen(function*() {
      for (const operation of ["write", "exists"]) {
        for (const after of ["before", "half", "after"] as const) {
          for (const isTwice of [false, true]) {
            const disk = yield* makeDisk
            yield* Effect.scoped(Effect.gen(function*() {
              const a = yield* open(disk.layer, LockGranted.layer)
              const b = yield* open(disk.layer, LockGranted.layer)
              const claim = yield* take(a)
              const live = yield* build(claim, changes(1, [entry("a", 1)]))
              disk.failNext(operation, "DiskFull", { after })
              if (isTwice) disk.failNext("createFile", "DiskFull")
              const first = yield* Effect.exit(live.save(changes(2, [entry("b", 2)])))
              if (operation === "write") assert.isTrue(Exit.isFailure(first))
              const seen = yield* keys(isTwice ? a : b)
              assert.deepStrictEqual(yield* keys(b), seen)
              if (Exit.isSuccess(first)) assert.deepStrictEqual(seen, ["a", "b"])
              const second = yield* Effect.exit(live.save(changes(3, [entry("c", 3)])))
              const third = yield* Effect.exit(live.save(changes(4, [entry("d", 4)])))
              const found = (yield* keys(b))!
              // the disk said no, and that was all
              if (operation === "write" && !isTwice) assert.isTrue(Exit.isSuccess(second))
              if (Exit.isSuccess(second)) assert.include(found, "c")
              if (Exit.isSuccess(third)) assert.include(found, "d")
              else assert.strictEqual((yield* Effect.flip(third))._tag, "ClaimLost")
              // whatever it was, who comes next goes on
              const next = yield* (yield* take(b)).live
              yield* next!.save(changes(5, [entry("e", 5)]))
              for (const slot of [a, b]) {
                const last = (yield* keys(slot))!
                // one of which nobody could tell what became of it
                const isKnown = Exit.isSuccess(first) || Exit.isSuccess(third)
                assert.deepStrictEqual(isKnown ? last : last.filter((key) => key !== "b"), [...found, "e"])
              }
            }))
          }
        }
      }
    }).pipe(quiet))

  it.live("on a disk of this machine, who waits for the claim gets it when it is given up", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const medium = Layer.mergeAll(StorageNode.layer({ root }), LockFile.layer({ root }))
      yield* makeStore.pipe(Effect.provide(medium))
      const a = yield* open(StorageNode.layer({ root }), LockFile.layer({ root }))
      const b = yield* open(StorageNode.layer({ root }), LockFile.layer({ root }))
      const scope = yield* Scope.make()
      const claim = yield* Scope.provide(take(a), scope)
      yield* build(claim, changes(1, [entry("a", 1)]))
      assert.isTrue(yield* b.isClaimed)
      assert.isFalse(yield* claim.isWanted)
      const waiting = yield* Effect.forkScoped(b.claim({ wait: true }), { startImmediately: true })
      yield* Effect.repeat(Effect.sleep(5), { times: 2000, until: () => claim.isWanted })
      assert.isTrue(yield* claim.isWanted)
      assert.deepStrictEqual(yield* keys(b), ["a"])
      yield* Scope.close(scope, Exit.void)
      const next = yield* Fiber.join(waiting)
      yield* (yield* next!.live)!.save(changes(2, [entry("b", 2)]))
      for (const slot of [a, b]) assert.deepStrictEqual(yield* keys(slot), ["a", "b"])
      assert.isTrue(yield* a.isClaimed)
      // carried on in the same segment
      const ledger = readdirSync(join(root, folder, "0000000001", "ledger"))
      assert.deepStrictEqual(ledger.filter((name) => name.endsWith(".jsonl")).sort(), [
        "0000000001.jsonl",
        "0000000002.jsonl"
      ])
    }).pipe(Effect.scoped))

  it.live("a damaged log is told of, and can be built anew", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* build(yield* take(a), changes(1, [entry("a", 1)]), changes(2, [entry("b", 2)]))
      }))
      const file = yield* disk.storage.openWritable(`${folder}/0000000001/ledger/0000000001.jsonl`)
      yield* file.write(1500, Buffer.from("damage"))
      const b = yield* open(disk.layer, LockMemory.layer)
      const claim = yield* take(b)
      const c = yield* open(disk.layer, LockMemory.layer)
      const attempts: ReadonlyArray<Effect.Effect<unknown, ProjectionStoreError>> = [b.live, claim.live, c.live]
      for (const attempt of attempts) {
        const error = yield* Effect.flip(attempt)
        assert(error._tag === "ProjectionStoreError")
        assert.match(error.message, /is damaged at byte/)
      }
      yield* build(claim, changes(3, [entry("c", 3)]))
      assert.deepStrictEqual(yield* keys(b), ["c"])
      assert.deepStrictEqual(yield* generations(disk), [2])
    }).pipe(Effect.scoped))

  it.live("a live generation that is of no use can be thrown away", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer)
      const b = yield* open(disk.layer, LockMemory.layer)
      const claim = yield* take(a)
      yield* build(claim, changes(1, [entry("a", 1)]))
      assert.deepStrictEqual(yield* keys(b), ["a"])
      yield* claim.discard("live")
      assert.isUndefined(yield* claim.live)
      assert.isUndefined(yield* b.live)
      assert.deepStrictEqual(yield* generations(disk), [])
    }).pipe(Effect.scoped))

  it.live("where `current.json` is missing, damaged or old, the logs themselves tell which is live", () =>
    Effect.gen(function*() {
      for (const text of ["", "{}", "damaged", "{\"format\":1,\"generation\":1}"]) {
        const disk = yield* makeDisk
        yield* Effect.scoped(Effect.gen(function*() {
          const a = yield* open(disk.layer, LockMemory.layer)
          const claim = yield* take(a)
          yield* build(claim, changes(1, [entry("a", 1)]))
          yield* build(claim, changes(2, [entry("b", 2)]))
        }))
        const path = `${folder}/current.json`
        if (text === "") yield* disk.storage.remove(path)
        else {
          yield* disk.storage.replaceDocument(path, Buffer.from(text), { sync: true })
          assert.deepStrictEqual(yield* keys(yield* open(disk.layer, LockMemory.layer)), ["b"])
        }
        const a = yield* open(disk.layer, LockMemory.layer)
        yield* take(a)
        assert.deepStrictEqual(yield* keys(a), ["b"])
        assert.deepStrictEqual(yield* keys(yield* open(disk.layer, LockMemory.layer)), ["b"])
      }
    }).pipe(Effect.scoped))

  it.live("who has the claim removes what was half made", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer)
      yield* Effect.scoped(Effect.flatMap(take(a), (claim) => build(claim, changes(1, [entry("a", 1)]))))
      const before = (yield* disk.storage.list(folder)).map(({ name }) => name)
      yield* disk.storage.makeDirectory(`${folder}/.0000000002.new-x/ledger`)
      yield* disk.storage.makeDirectory(`${folder}/.0000000001.deleted-x/ledger`)
      yield* disk.storage.replaceDocument(`${folder}/.current.json.1.2.tmp`, Buffer.from("x"), { sync: false })
      // one that nothing was written to, and one that is none
      yield* Effect.scoped(Layer.build(LedgerLive.layer({ store: `${folder}/0000000002` }))).pipe(
        Effect.provide(Layer.merge(disk.layer, LockGranted.layer))
      )
      yield* disk.storage.makeDirectory(`${folder}/0000000003/anything`)
      const claim = yield* take(a)
      assert.isUndefined(yield* claim.building)
      assert.deepStrictEqual((yield* disk.storage.list(folder)).map(({ name }) => name), before)
      assert.deepStrictEqual(yield* keys(a), ["a"])
    }).pipe(Effect.scoped))

  it.live("a store that was deleted is not revived", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer, { stateFiles: true })
      yield* Effect.scoped(Effect.gen(function*() {
        const claim = yield* take(a)
        yield* build(claim, changes(1, [entry("a", 1)]))
        yield* disk.storage.remove(store)
        const live = (yield* claim.live)!
        for (
          const attempt of [
            live.save(changes(2, [])),
            claim.begin("two"),
            claim.note({ position: 1 as Position, problem: "p" })
          ]
        ) {
          assert.strictEqual((yield* Effect.flip(attempt))._tag, "ProjectionStoreError")
        }
      }))
      assert.strictEqual((yield* Effect.flip(a.claim({ wait: false })))._tag, "ProjectionStoreError")
      assert.isUndefined(yield* a.live)
      assert.deepStrictEqual(yield* disk.storage.list(""), [])
    }).pipe(Effect.scoped))

  it.live("opened for reading only, writes nothing and gives no claim", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      yield* Effect.scoped(Effect.flatMap(
        Effect.flatMap(open(disk.layer, LockMemory.layer), take),
        (claim) => build(claim, changes(1, [entry("a", 1)]))
      ))
      const before = disk.fingerprint()
      const slot = yield* open(disk.layer, LockMemory.layer, { readOnly: true })
      assert.isUndefined(yield* slot.claim({ wait: true }))
      assert.deepStrictEqual(yield* keys(slot), ["a"])
      assert.strictEqual(disk.fingerprint(), before)
    }).pipe(Effect.scoped))

  it.live("what is too large is refused before anything is written", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer)
      const claim = yield* take(a)
      const live = yield* build(claim, changes(1, [entry("a", 1)]))
      const megabytes = (n: number) => "x".repeat(n * 1024 * 1024)
      const many = Array.from({ length: 5 }, (_, i) => entry(`k${i}`, 2, megabytes(13)))
      const before = disk.fingerprint()
      for (
        const [set, problem] of [[[entry("b", 2, megabytes(16))], /"b" is larger than 16 MiB/], [
          many,
          /64 MiB/
        ]] as const
      ) {
        const error = yield* Effect.flip(live.save(changes(2, set)))
        assert(error._tag === "ProjectionStoreError")
        assert.match(error.message, problem)
      }
      assert.strictEqual(disk.fingerprint(), before)
      yield* live.save(changes(2, [entry("b", 2)]))
      assert.deepStrictEqual(yield* keys(a), ["a", "b"])
    }).pipe(Effect.scoped))
})

/** The names of all state files, and what each holds. */
const filesOf = Effect.fnUntraced(function*(storage: Storage["Service"]) {
  const found: Record<string, unknown> = {}
  for (const { kind, name } of yield* storage.list(`${folder}/states`)) {
    if (kind !== "directory") continue
    for (const file of yield* storage.list(`${folder}/states/${name}`)) {
      const bytes = yield* storage.readDocument(`${folder}/states/${name}/${file.name}`)
      found[file.name] = JSON.parse(Buffer.from(bytes!).toString("utf8"))
    }
  }
  return found
})

const namesOf = (storage: Storage["Service"]) => Effect.map(filesOf(storage), (files) => Object.keys(files).sort())

describe("files of states", () => {
  it.live("hold what is live when the claim is given up, under the same names after a rebuild", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer, { stateFiles: true })
      const claimed = <A, E>(f: (claim: Claim) => Effect.Effect<A, E, Scope.Scope>) =>
        Effect.scoped(Effect.flatMap(take(a), f))
      yield* claimed((claim) =>
        build(claim, changes(1, [entry("Maths", 1, { hours: [1, 2] }), entry("con", 1), entry("gone", 1)]))
      )
      assert.deepStrictEqual(yield* namesOf(disk.storage), ["%63on.json", "^maths.json", "gone.json"])
      assert.deepStrictEqual((yield* filesOf(disk.storage))["^maths.json"], {
        key: "Maths",
        version: 1,
        position: 1,
        created: "1970-01-01T00:00:00.001Z",
        updated: "1970-01-01T00:00:00.001Z",
        tags: ["key:Maths"],
        state: { hours: [1, 2] }
      })
      const path = `${folder}/states/${fileOf("Maths")}`
      assert.include(Buffer.from((yield* disk.storage.readDocument(path))!).toString(), "\n  \"version\": 1,\n")
      assert.isTrue(yield* disk.storage.exists(`${folder}/states/README.txt`))
      // a state changes, one goes
      yield* claimed((claim) =>
        Effect.flatMap(claim.live, (live) => live!.save(changes(2, [entry("Maths", 2)], ["gone"])))
      )
      assert.deepStrictEqual(yield* namesOf(disk.storage), ["%63on.json", "^maths.json"])
      assert.include((yield* filesOf(disk.storage))["^maths.json"], { position: 2 })
      // all is built anew
      yield* claimed((claim) => build(claim, changes(3, [entry("Maths", 3), entry("new", 3)])))
      assert.deepStrictEqual(yield* namesOf(disk.storage), ["^maths.json", "new.json"])
      assert.include(JSON.parse(Buffer.from((yield* disk.storage.readDocument(path))!).toString()), { position: 3 })
    }).pipe(Effect.scoped))

  it.live("go on from where they were, and are compared after a new generation only", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer, { stateFiles: true })
      const many = Array.from({ length: 600 }, (_, i) => entry(`k${i}`, 1))
      yield* Effect.scoped(Effect.flatMap(take(a), (claim) => build(claim, changes(1, many))))
      assert.lengthOf(yield* namesOf(disk.storage), 600)
      const before = disk.calls
      yield* Effect.scoped(Effect.gen(function*() {
        yield* (yield* (yield* take(a)).live)!.save(changes(2, [entry("k1", 2)]))
      }))
      const made = disk.log.slice(before).filter(({ operation, path }) =>
        operation.endsWith("Document") && /states\/../.test(path) && !/README|checkpoint/.test(path)
      )
      assert.deepStrictEqual(made.map(({ path }) => path), [`${folder}/states/${fileOf("k1")}`])
    }).pipe(Effect.scoped))

  it.live("a disk that refuses them does not keep a save, and is asked again", () =>
    Effect.gen(function*() {
      const disk = yield* makeDisk
      const a = yield* open(disk.layer, LockMemory.layer, { stateFiles: true })
      const isFile = ({ operation, path }: StorageSimulated.Call) =>
        operation === "replaceDocument" && /states\/../.test(path)
      yield* Effect.scoped(Effect.gen(function*() {
        const claim = yield* take(a)
        disk.failNext((call) => isFile(call) && call.path.endsWith("b.json"), "DiskFull")
        yield* build(claim, changes(1, ["a", "b", "c"].map((key) => entry(key, 1))))
        yield* Effect.repeat(Effect.sleep(5), {
          times: 4000,
          until: () => Effect.map(namesOf(disk.storage), (names) => names.length === 3)
        })
      }))
      assert.deepStrictEqual(yield* namesOf(disk.storage), ["a.json", "b.json", "c.json"])
      assert.strictEqual(disk.pendingFailures, 0)
    }).pipe(quiet, Effect.scoped))

  it.live("are read-only if asked for, and replaced all the same", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const medium = Layer.mergeAll(StorageNode.layer({ root }), LockFile.layer({ root }))
      yield* makeStore.pipe(Effect.provide(medium))
      const a = yield* open(StorageNode.layer({ root }), LockFile.layer({ root }), {
        stateFiles: true,
        writeProtect: true
      })
      for (const position of [1, 2]) {
        yield* Effect.scoped(
          Effect.flatMap(take(a), (claim) => build(claim, changes(position, [entry("a", position)])))
        )
        const file = join(root, folder, "states", fileOf("a"))
        assert.strictEqual(statSync(file).mode & 0o222, 0)
        assert.strictEqual(JSON.parse(readFileSync(file, "utf8")).position, position)
      }
    }).pipe(Effect.scoped))
})
