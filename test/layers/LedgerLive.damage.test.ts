/** Damage that the fuzzer found the ledger to take badly: each by itself. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import { EventStore } from "../../src/services/EventStore.ts"
import * as StorageSimulated from "../../src/testing/StorageSimulated.ts"
import { all, open, take, taken } from "../support/stores.ts"

const made = Effect.gen(function*() {
  const disk = StorageSimulated.make()
  yield* Effect.scoped(Effect.flatMap(open(disk.layer, LockMemory.layer), ({ store }) => store.append(take("s1", "a"))))
  return disk
})

const withoutBaton = Effect.fnUntraced(function*({ storage }: StorageSimulated.StorageSimulated) {
  for (const { name } of yield* storage.list("shop/ledger")) {
    if (name.endsWith(".free")) yield* storage.remove(`shop/ledger/${name}`)
  }
})

/** Why the store does not open. */
const refusal = (disk: StorageSimulated.StorageSimulated) =>
  Effect.flip(Effect.scoped(Effect.provide(
    EventStore.use((store) => store.head),
    EventStoreLive.layer({ store: "shop", eventFiles: false }).pipe(
      Layer.provide(IndexLive.layer({ store: "shop" })),
      Layer.provide(LedgerLive.layer({ store: "shop" })),
      Layer.provide(Layer.mergeAll(disk.layer, LockMemory.layer)),
      Layer.fresh
    )
  )))

describe("segments that stand far above the others", () => {
  for (const number of ["0005000000", "9999999999"]) {
    it.live(`${number} is told by who wants to write, and no millions of others are made below it`, () =>
      Effect.gen(function*() {
        const disk = yield* made
        yield* withoutBaton(disk)
        yield* disk.storage.replaceDocument(`shop/ledger/${number}.jsonl`, new Uint8Array(0), { sync: true })
        const { store } = yield* open(disk.layer, LockMemory.layer)
        assert.deepStrictEqual(taken(yield* store.read(all)), ["s1 a"])
        const error = yield* Effect.flip(store.append(take("s2", "a")))
        assert.isTrue(error._tag === "EventStoreError" && error.reason._tag === "StoreDamaged")
        assert.include(error.message, number)
        assert.isBelow((yield* disk.storage.list("shop/ledger")).length, 5)
        // gone, all goes on
        yield* disk.storage.remove(`shop/ledger/${number}.jsonl`)
        yield* store.append(take("s2", "a"))
        assert.deepStrictEqual(taken(yield* store.read(all)), ["s1 a", "s2 a"])
      }).pipe(Effect.scoped))
  }
})

describe("a folder in the place of a baton", () => {
  it.live("is nobody's baton: the store is taken over, and goes on", () =>
    Effect.gen(function*() {
      const disk = yield* made
      const baton = (yield* disk.storage.list("shop/ledger")).find(({ name }) => name.endsWith(".free"))!.name
      yield* disk.storage.remove(`shop/ledger/${baton}`)
      yield* disk.storage.makeDirectory(`shop/ledger/${baton}`)
      const { store } = yield* open(disk.layer, LockMemory.layer)
      yield* store.append(take("s2", "a"))
      assert.deepStrictEqual(taken(yield* store.read(all)), ["s1 a", "s2 a"])
    }).pipe(Effect.scoped))
})

describe("a store.json that describes no store", () => {
  const id = "\"id\":\"00000000-0000-4000-8000-000000000001\""
  const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`
  const table: ReadonlyArray<readonly [string, string]> = [
    [`{${id},"features":[],"format":{"toString":1}}`, "LedgerDamaged"],
    [`{${id},"features":[],"format":${deep}}`, "LedgerDamaged"],
    [`{${id},"format":1,"features":${deep}}`, "LedgerDamaged"],
    [`{${id},"format":1}`, "LedgerDamaged"],
    [`{${id},"format":2,"features":[]}`, "LedgerUnsupported"],
    [`{${id},"format":1,"features":["new"]}`, "LedgerUnsupported"]
  ]
  for (const [text, tag] of table) {
    it.live(`${text.slice(0, 100)} is ${tag}`, () =>
      Effect.gen(function*() {
        const disk = yield* made
        yield* disk.storage.replaceDocument("shop/store.json", Buffer.from(text), { sync: true })
        const error = yield* refusal(disk)
        assert.strictEqual(error._tag, tag)
        assert.include(error.message, "store.json")
        assert.isBelow(error.message.length, 300)
      }))
  }
})
