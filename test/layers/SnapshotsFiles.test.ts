/** Snapshots in files: what is kept, what is refused, who replaces whom, bounds; and that decisions decide as without them. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as Format from "../../src/layers/internal/snapshotFormat.ts"
import { SnapshotMemory } from "../../src/layers/internal/snapshotMemory.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as SnapshotsFiles from "../../src/layers/SnapshotsFiles.ts"
import * as StorageMemory from "../../src/layers/StorageMemory.ts"
import * as Position from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import type { Lock } from "../../src/services/Lock.ts"
import { Storage, StorageError } from "../../src/services/Storage.ts"
import { makeGate, seat, settle, take, Taken } from "../support/stores.ts"

// stores

/** The medium and the lock of one machine. */
interface Machine {
  readonly storage: Storage["Service"]
  readonly lock: Layer.Layer<Lock>
}

const machine = Effect.gen(function*(): Effect.fn.Return<Machine> {
  const lock = yield* Effect.scoped(Layer.build(LockMemory.layer))
  return { storage: yield* StorageMemory.make, lock: Layer.succeedContext(lock) }
})

/** The store `shop`, as one process has it open, with its snapshots. */
const open = ({ lock, storage }: Machine, options: { readonly readOnly?: boolean } = {}) =>
  Effect.map(
    Layer.build(
      SnapshotsFiles.layer({ store: "shop", ...options }).pipe(
        Layer.provideMerge(EventStoreLive.layer({ store: "shop", eventFiles: false, ...options })),
        Layer.provide(IndexLive.layer({ store: "shop", ...options })),
        Layer.provide(LedgerLive.layer({ store: "shop", ...options })),
        Layer.provide(Layer.merge(Layer.succeed(Storage, storage), lock)),
        Layer.orDie,
        Layer.fresh
      )
    ),
    (context) => {
      const { load, save } = Context.get(context, Decision.Snapshots)
      return {
        context,
        store: Context.get(context, EventStore.EventStore),
        admin: Context.get(context, Admin.EventStoreAdmin),
        maintenance: Context.get(context, Maintenance.EventStoreMaintenance),
        load: (key: Decision.SnapshotKey) => Effect.provide(load(key), context),
        save: (key: Decision.SnapshotKey, position: number, state: Schema.Json) =>
          Effect.provide(save(key, { position: Position.make(position), state }), context)
      }
    }
  )

const test = (name: string, body: (machine: Machine) => Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(name, () => Effect.scoped(Effect.flatMap(machine, body)))

const key = (query: Query.Any = seat("a"), name = "seats", version = 1): Decision.SnapshotKey => ({
  name,
  version,
  query
})
const fileOf = (of: Decision.SnapshotKey) => Format.placeOf("shop", of).file
const textOf = ({ storage }: Machine, of: Decision.SnapshotKey = key()) =>
  Effect.map(storage.readDocument(fileOf(of)), (bytes) => Buffer.from(bytes ?? []).toString())
const documentOf = (machine: Machine, of?: Decision.SnapshotKey) =>
  Effect.map(textOf(machine, of), (text) => Format.decode(Buffer.from(text)))
const taken = (n: number) => Array.from({ length: n }, (_, i) => take("a", `${i}`))

/** The very medium, but for the calls that are given. */
const over = (machine: Machine, calls: (storage: Storage["Service"]) => Partial<Storage["Service"]>): Machine => ({
  ...machine,
  storage: { ...machine.storage, ...calls(machine.storage) }
})
const isSnapshot = (path: string) => path.startsWith("shop/snapshots/")

describe("what is kept", () => {
  test("is there for whoever opens the store later", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(3))
      assert.isUndefined(yield* one.load(key()))
      yield* one.save(key(), 3, { n: 3, text: "ü\ud800" })
      const expected = { position: Position.make(3), state: { n: 3, text: "ü\ud800" } }
      assert.deepStrictEqual(yield* one.load(key()), expected)
      assert.deepStrictEqual(yield* (yield* open(machine)).load(key()), expected)
    }))

  test("lies where it is said, with all that it is bound to", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(3))
      const course = key(Query.of(Taken, { seat: "a" }), "Seats of a/b", 12)
      yield* one.save(course, 2, [1])
      const anchor = yield* one.maintenance.anchorAt(Position.make(2))
      assert.match(fileOf(course), /^shop\/snapshots\/\^seats of a%2fb\/12\/([0-9a-f]{2})\/\1[0-9a-f]{30}\.json$/)
      const text = yield* textOf(machine, course)
      const { crc, ...rest } = JSON.parse(text) as Record<string, unknown>
      assert.match(String(crc), /^[0-9a-f]{8}$/)
      assert.deepStrictEqual(rest, {
        format: 1,
        ...anchor,
        model: "Seats of a/b",
        version: 12,
        query: [{ types: ["Taken"], tags: ["seat:a"] }],
        state: [1]
      })
    }))

  test("belongs to a name, a version and what a query asks for", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(1))
      const or = Query.fromItems({ types: ["A", "B"], tags: ["x:1", "y:1"] }, { types: ["C"] })
      const same = Query.fromItems({ types: ["C"] }, { types: ["B", "A", "A"], tags: ["y:1", "x:1"] })
      yield* one.save(key(or), 1, "or")
      yield* one.save(key(Query.all), 1, "all")
      for (const store of [one, yield* open(machine)]) {
        assert.strictEqual((yield* store.load(key(same)))?.state, "or")
        assert.strictEqual((yield* store.load(key(Query.all)))?.state, "all")
        const others = [
          key(or, "Seats"),
          key(or, "seats", 2),
          key(or, "seats", 0),
          key(Query.types("C")),
          key(Query.fromItems({ types: ["A"], tags: ["x:1", "y:1"] }, { types: ["B", "C"] })),
          key(Query.types("all"))
        ]
        for (const other of others) assert.isUndefined(yield* store.load(other))
      }
    }))

  test("is told from what has the same hash", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(1))
      yield* one.save(key(), 1, "a")
      const text = yield* textOf(machine)
      const collide = (other: Decision.SnapshotKey) =>
        Effect.gen(function*() {
          yield* one.save(other, 1, "own")
          yield* machine.storage.replaceDocument(fileOf(other), Buffer.from(text), { sync: false })
          assert.isNotEmpty(text)
          const two = yield* open(machine)
          assert.isUndefined(yield* two.load(other))
          // and is replaced
          yield* two.save(other, 1, "own")
          assert.strictEqual((yield* (yield* open(machine)).load(other))?.state, "own")
        })
      yield* collide(key(seat("b")))
      yield* collide(key(seat("a"), "other"))
      yield* collide(key(seat("a"), "seats", 7))
    }))

  test("is as it was, whatever is done to what was loaded", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(1))
      const state: { names: Array<string> } = { names: ["x"] }
      yield* one.save(key(), 1, state)
      state.names.push("saved")
      const loaded = yield* one.load(key())
      ;(loaded!.state as typeof state).names.push("loaded")
      assert.deepStrictEqual((yield* one.load(key()))?.state, { names: ["x"] })
    }))
})

describe("what is refused", () => {
  const document: Format.Document = {
    storeId: "00000000-0000-4000-8000-000000000001",
    position: Position.make(17),
    hash: "f".repeat(64),
    model: "seats",
    version: 1,
    query: Format.queryText(seat("a")),
    state: `{"n":100}`
  }

  it("a file with a byte that is not as it was written, or too short, or too long", () => {
    const bytes = Format.encode(document)
    assert.deepStrictEqual(Format.decode(bytes), document)
    for (let i = 0; i < bytes.length; i++) {
      for (const bit of [1, 2, 4, 8, 16, 32, 64, 128]) {
        const damaged = Uint8Array.from(bytes)
        damaged[i]! ^= bit
        assert.isUndefined(Format.decode(damaged), `byte ${i}, bit ${bit}`)
      }
      assert.isUndefined(Format.decode(bytes.subarray(0, i)))
      const torn = Uint8Array.from(bytes)
      torn.fill(0, i)
      assert.isUndefined(Format.decode(torn))
    }
    assert.isUndefined(Format.decode(Buffer.concat([bytes, Buffer.from("\n")])))
  })

  it("and not the one that the format's page shows", () => {
    const page = readFileSync(new URL("../../docs/storage-format.md", import.meta.url), "utf8")
    const [shown] = /^\{"format":1,"storeId":.*\}\n/m.exec(page) ?? [""]
    const found = Format.decode(Buffer.from(shown))
    assert.strictEqual(found?.state, `{"taken":1}`)
    const query = Query.fromItems({ types: ["StudentSubscribed"], tags: ["course:art"] })
    assert.strictEqual(found?.query, Format.queryText(query))
    const { file } = Format.placeOf("shop", { name: "<name>", version: 1, query })
    assert.include(page, file.slice(file.length - 40))
  })

  it("a whole file that says something else", () => {
    const seal = (json: object) => {
      const line = Buffer.from(JSON.stringify(json).slice(0, -1))
      // Its checksum is right: as of another version of this package.
      return Buffer.concat([line, Buffer.from(Format.endOf(line))])
    }
    const json = JSON.parse(Buffer.from(Format.encode(document)).toString()) as Record<string, unknown>
    const { crc, ...whole } = json
    assert.isString(crc)
    assert.deepStrictEqual(Format.decode(seal(whole)), document)
    assert.isUndefined(Format.decode(seal({ ...whole, format: 2 })))
    for (const field of Object.keys(whole)) {
      assert.isUndefined(Format.decode(seal({ ...whole, [field]: undefined })), field)
    }
    for (const field of ["storeId", "position", "hash", "model", "version"]) {
      assert.isUndefined(Format.decode(seal({ ...whole, [field]: null })), field)
    }
  })

  test("damage: what is damaged is none, and is replaced", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(3))
      yield* one.save(key(), 3, 3)
      const text = yield* textOf(machine)
      const damages = ["", "{}", text.replace(`"state":3`, `"state":4`), text.slice(0, -1), "null", "\0".repeat(300)]
      for (const damaged of damages) {
        yield* machine.storage.replaceDocument(fileOf(key()), Buffer.from(damaged), { sync: false })
        const two = yield* open(machine)
        assert.isUndefined(yield* two.load(key()), damaged)
        yield* two.save(key(), 2, 2)
        assert.strictEqual((yield* documentOf(machine))?.state, "2")
      }
      // not even a file
      yield* machine.storage.remove(fileOf(key()))
      yield* machine.storage.makeDirectory(fileOf(key()))
      const three = yield* open(machine)
      assert.isUndefined(yield* three.load(key()))
      yield* three.save(key(), 3, 3)
      assert.strictEqual((yield* three.load(key()))?.state, 3)
    }))

  test("another store's, which is removed", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(3))
      yield* one.save(key(), 3, "old")
      const text = yield* textOf(machine)
      yield* one.admin.deleteStore
      const two = yield* open(machine)
      yield* two.store.append(taken(5))
      assert.isUndefined(yield* two.load(key()))
      yield* two.save(key(), 1, "new")
      yield* machine.storage.replaceDocument(fileOf(key()), Buffer.from(text), { sync: false })
      const readOnly = yield* open(machine, { readOnly: true })
      assert.isUndefined(yield* readOnly.load(key()))
      assert.strictEqual(yield* textOf(machine), text)
      assert.isUndefined(yield* (yield* open(machine)).load(key()))
      assert.isEmpty(yield* textOf(machine))
    }))

  test("one of the same store's other history, be it at the same position or beyond the end", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(3))
      yield* one.save(key(), 3, "right")
      const right = (yield* documentOf(machine))!
      for (const wrong of [{ hash: "f".repeat(64) }, { position: Position.make(4) }, { storeId: "somebody-else" }]) {
        yield* machine.storage.replaceDocument(
          fileOf(key()),
          Format.encode({ ...right, state: `"wrong"`, ...wrong }),
          { sync: false }
        )
        // Nor is it in the way of a right one that is older.
        assert.isUndefined(yield* (yield* open(machine)).load(key()))
        assert.isEmpty(yield* textOf(machine))
        yield* machine.storage.replaceDocument(
          fileOf(key()),
          Format.encode({ ...right, position: Position.make(3), state: `"wrong"`, ...wrong }),
          { sync: false }
        )
        yield* one.save(key(), 3, "right")
        assert.strictEqual((yield* documentOf(machine))?.state, `"right"`)
      }
    }))

  test("a state that is too large, which is said once", (machine) =>
    Effect.gen(function*() {
      const said: Array<unknown> = []
      const logger = Logger.make(({ logLevel, message }) => void said.push([logLevel, message]))
      const one = yield* open(machine)
      yield* one.store.append(taken(1))
      const save = (state: Schema.Json) => one.save(key(), 1, state).pipe(Effect.provide(Logger.layer([logger])))
      yield* save("x".repeat(1024 * 1024 - 2))
      assert.isNotEmpty(yield* textOf(machine))
      assert.deepStrictEqual(said, [])
      const before = yield* textOf(machine)
      yield* save("x".repeat(1024 * 1024 - 1))
      yield* save("ü".repeat(600 * 1024))
      assert.strictEqual(yield* textOf(machine), before)
      assert.strictEqual(said.length, 1)
      assert.include(JSON.stringify(said), "The decision model seats keeps no snapshot")
    }))

  test("decisions over another store than the one that it is of", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(1))
      yield* one.save(key(), 1, "mine")
      const other = Effect.provideService(EventStore.EventStore, { ...one.store })
      const { load, save } = Context.get(one.context, Decision.Snapshots)
      assert.isUndefined(yield* other(load(key())))
      assert.isUndefined(yield* load(key()))
      yield* other(save(key(), { position: Position.make(1), state: "other" }))
      assert.strictEqual((yield* one.load(key()))?.state, "mine")
    }))
})

describe("who replaces whom", () => {
  test("the newer one, of whatever process", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      const two = yield* open(machine)
      yield* one.store.append(taken(5))
      yield* two.store.head
      yield* one.save(key(), 4, 4)
      yield* two.save(key(), 3, 3)
      assert.strictEqual((yield* documentOf(machine))?.state, "4")
      // Each goes on with its own.
      assert.strictEqual((yield* two.load(key()))?.state, 3)
      yield* two.save(key(), 5, 5)
      assert.strictEqual((yield* documentOf(machine))?.state, "5")
      yield* two.save(key(), 2, 2)
      assert.strictEqual((yield* two.load(key()))?.state, 5)
      // One of the same position was made again for a reason.
      yield* one.save(key(), 5, "again")
      assert.strictEqual((yield* documentOf(machine))?.state, `"again"`)
    }))

  test("nobody, in a store that was deleted, nor in one that has its name", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(3))
      yield* one.save(key(), 2, 2)
      yield* (yield* open(machine)).admin.deleteStore
      yield* one.save(key(), 3, 3)
      yield* one.save(key(seat("b")), 3, 3)
      assert.deepStrictEqual(yield* machine.storage.list(""), [])
      const two = yield* open(machine)
      yield* two.store.append(taken(2))
      yield* two.save(key(), 1, "new")
      yield* one.save(key(), 3, "old")
      assert.strictEqual((yield* documentOf(machine))?.state, `"new"`)
      // A new one takes the place of an old one, however far that was.
      const text = Format.encode({
        ...(yield* documentOf(machine))!,
        storeId: "somebody-else",
        position: Position.make(99)
      })
      yield* machine.storage.replaceDocument(fileOf(key()), text, { sync: false })
      yield* two.save(key(), 2, "newer")
      assert.strictEqual((yield* documentOf(machine))?.state, `"newer"`)
    }))

  test("nobody, if the store is only read", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(3))
      yield* one.save(key(), 1, 1)
      const before = yield* textOf(machine)
      const readOnly = yield* open(machine, { readOnly: true })
      assert.strictEqual((yield* readOnly.load(key()))?.state, 1)
      yield* readOnly.save(key(), 3, 3)
      yield* readOnly.save(key(seat("b")), 3, 3)
      assert.strictEqual((yield* readOnly.load(key()))?.state, 3)
      assert.strictEqual(yield* textOf(machine), before)
      assert.isEmpty(yield* textOf(machine, key(seat("b"))))
    }))

  test("older versions go when a newer one is kept", (machine) =>
    Effect.gen(function*() {
      const one = yield* open(machine)
      yield* one.store.append(taken(1))
      for (const version of [9, 10, 12]) yield* one.save(key(seat("a"), "seats", version), 1, version)
      yield* one.save(key(seat("a"), "other", 1), 1, 1)
      yield* (yield* open(machine)).save(key(seat("b"), "seats", 11), 1, 11)
      const versions = (name: string) =>
        Effect.map(machine.storage.list(`shop/snapshots/${name}`), (found) => found.map(({ name }) => name).sort())
      assert.deepStrictEqual(yield* versions("seats"), ["11", "12"])
      assert.deepStrictEqual(yield* versions("other"), ["1"])
    }))
})

describe("a disk that refuses", () => {
  test("costs nothing but time", (machine) =>
    Effect.gen(function*() {
      const fail = (operation: string) => (path: string) =>
        Effect.fail(new StorageError({ operation, path, reason: "DiskFull" }))
      const broken = over(machine, (storage) => ({
        readDocument: (path) => isSnapshot(path) ? fail("readDocument")(path) : storage.readDocument(path),
        replaceDocument: (path, bytes, options) =>
          isSnapshot(path) ? fail("replaceDocument")(path) : storage.replaceDocument(path, bytes, options)
      }))
      const one = yield* open(broken)
      yield* one.store.append(taken(3))
      assert.isUndefined(yield* one.load(key()))
      yield* one.save(key(), 3, 3)
      // from memory
      assert.strictEqual((yield* one.load(key()))?.state, 3)
      yield* one.save(key(), 77, 77)
      assert.strictEqual((yield* one.load(key()))?.state, 3)
      assert.isEmpty(yield* textOf(machine))
      const dead = over(machine, () => ({ list: () => Effect.die("list"), makeDirectory: () => Effect.die("make") }))
      const two = yield* open({ ...dead, storage: { ...machine.storage, makeDirectory: dead.storage.makeDirectory } })
      yield* two.save(key(), 3, 3)
      assert.strictEqual((yield* two.load(key()))?.state, 3)
      // and when it takes files again, they are written
      yield* machine.storage.makeDirectory(Format.placeOf("shop", key()).folders[3])
      yield* two.save(key(), 3, 3)
      assert.isNotEmpty(yield* textOf(machine))
    }))

  test("and is slow keeps no decision waiting, and gets only the newest of each", (machine) =>
    Effect.gen(function*() {
      const gate = makeGate()
      const written: Array<string> = []
      const slow = over(machine, (storage) => ({
        replaceDocument: (path, bytes, options) => {
          const replace = storage.replaceDocument(path, bytes, options)
          if (!isSnapshot(path)) return replace
          return Effect.tap(Effect.andThen(gate.pass, replace), () =>
            Effect.sync(() => written.push(Format.decode(bytes)?.state ?? "")))
        }
      }))
      const scope = yield* Scope.make()
      const one = yield* Scope.provide(open(slow), scope)
      yield* one.store.append(taken(300))
      const model = DecisionModel.make({
        query: seat("a"),
        initial: 0,
        apply: {
          Taken: (n) =>
            n + 1
        },
        snapshot: { name: "seats", version: 1, state: Schema.Int, every: 1 }
      })
      for (let n = 300; n < 310; n++) {
        const { result } = yield* Effect.provide(Decision.execute(model, (n) => take("a", `${n}`)), one.context)
        assert.strictEqual(result.by, `${n}`)
        yield* gate.begun
        // What is saved in the background has begun.
        yield* Effect.yieldNow
      }
      // So many wait at most.
      for (let n = 1; n <= 300; n++) yield* one.save(key(seat(`b${n}`)), 1, n)
      // Whoever closes the store waits for what is being written.
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle(closing)
      assert.isUndefined(closing.pollUnsafe())
      assert.deepStrictEqual(written, [])
      yield* gate.go
      yield* Fiber.join(closing)
      assert.deepStrictEqual(written.slice(0, 3), ["300", "309", "1"])
      assert.strictEqual(written.length, 257)
      yield* one.save(key(), 310, "too late")
      assert.strictEqual((yield* documentOf(machine))?.state, "309")
    }))
})

describe("bounds", () => {
  test("a folder of files holds the newest 512; what is replaced is not counted", (machine) =>
    Effect.gen(function*() {
      let lists = 0
      const counted = over(machine, (storage) => ({
        list: (path) => {
          if (isSnapshot(path)) lists++
          return storage.list(path)
        }
      }))
      const one = yield* open(counted)
      yield* one.store.append(taken(600))
      yield* one.save(key(), 1, 1)
      const first = (yield* documentOf(machine))!
      const folder = Format.placeOf("shop", key()).folders[3]
      const nameOf = (n: number) => `${folder}/${n.toString().padStart(32, "0")}.json`
      const put = (n: number, changes: Partial<Format.Document> = {}) =>
        machine.storage.replaceDocument(
          nameOf(n),
          Format.encode({ ...first, position: Position.make(n + 1), ...changes }),
          { sync: false }
        )
      // 508 of them, in another order than that of their names, and some that are worth nothing: one over the bound
      for (let n = 1; n <= 508; n++) yield* put((n * 7) % 509)
      yield* put(2000, { storeId: "somebody-else", position: Position.make(9999) })
      yield* machine.storage.replaceDocument(nameOf(3000), Buffer.from("?"), { sync: false })
      yield* machine.storage.replaceDocument(`${folder}/.left.tmp`, Buffer.from("?"), { sync: false })
      lists = 0
      yield* one.save(key(), 2, 2)
      assert.strictEqual(lists, 0)
      assert.strictEqual((yield* machine.storage.list(folder)).length, 512)
      yield* machine.storage.remove(fileOf(key()))
      yield* put(508 + 1)
      // 512 others and this one, which is the oldest, and yet stays
      yield* one.save(key(), 3, 3)
      const left = (yield* machine.storage.list(folder)).map(({ name }) => `${folder}/${name}`).sort()
      const expected = [fileOf(key()), ...Array.from({ length: 383 }, (_, i) => nameOf(509 - i))].sort()
      assert.deepStrictEqual(left, expected)
    }))

  it("files of one model are spread over 256 folders", () => {
    const counts = new Map<string, number>()
    for (let n = 0; n < 100_000; n++) {
      const folder = Format.placeOf("shop", key(seat(`course-${n}`))).folders[3]
      counts.set(folder, (counts.get(folder) ?? 0) + 1)
    }
    assert.strictEqual(counts.size, 256)
    // so 100,000 courses all keep theirs
    assert.isAtMost(Math.max(...counts.values()), 512)
  })

  test("what was loaded is looked at once, until memory is full", (machine) =>
    Effect.gen(function*() {
      let reads = 0
      const counted = over(machine, (storage) => ({
        readDocument: (path) => {
          if (isSnapshot(path)) reads++
          return storage.readDocument(path)
        }
      }))
      const one = yield* open(counted)
      yield* one.store.append(taken(1))
      const large = "x".repeat(1024 * 1024 - 100)
      for (let n = 0; n < 20; n++) yield* one.save(key(seat(`${n}`)), 1, large)
      reads = 0
      for (let n = 5; n < 20; n++) assert.strictEqual((yield* one.load(key(seat(`${n}`))))?.state, large)
      assert.strictEqual(reads, 0)
      for (let times = 0; times < 3; times++) yield* one.load(key(seat("0")))
      assert.strictEqual(reads, 1)
    }))

  it("memory lets go of what was not asked for longest", () => {
    const memory = new SnapshotMemory(2500)
    const put = (id: string, position: number, length = 300) =>
      memory.put(id, { position: Position.make(position), state: "x".repeat(length) })
    for (const id of ["a", "b", "c", "d"]) put(id, 1)
    assert.isDefined(memory.get("a"))
    put("e", 1)
    assert.deepStrictEqual(["a", "b", "c", "d", "e"].map((id) => memory.get(id)?.position as number | undefined), [
      1,
      undefined,
      1,
      1,
      1
    ])
    // one that grows, or is replaced often, is counted once
    for (let n = 2; n < 100; n++) put("c", n)
    put("c", 50)
    assert.strictEqual(memory.get("c")?.position as number | undefined, 99)
    assert.isDefined(memory.get("a"))
    put("f", 1, 9999)
    assert.isUndefined(memory.get("a"))
    put("g", 1)
    assert.isDefined(memory.get("g"))
  })
})
