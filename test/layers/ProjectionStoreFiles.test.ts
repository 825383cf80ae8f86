import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockFile from "../../src/layers/LockFile.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as ProjectionStoreFiles from "../../src/layers/ProjectionStoreFiles.ts"
import * as StorageMemory from "../../src/layers/StorageMemory.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import type { Position } from "../../src/Position.ts"
import { Ledger } from "../../src/services/Ledger.ts"
import type { Lock } from "../../src/services/Lock.ts"
import {
  type Changes,
  type Claim,
  ProjectionStore,
  type Slot,
  type StoredEntry,
  type WritableGeneration
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

/** A disk with a store on it. */
const makeDisk = Effect.gen(function*() {
  const disk = StorageSimulated.make()
  yield* makeStore.pipe(Effect.provide(Layer.merge(disk.layer, LockMemory.layer)))
  return disk
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
