/** Event files when something comes in between: a power loss, a deletion, a slow index, a damaged checkpoint. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as LockMemory from "../../../src/layers/LockMemory.ts"
import type { Position } from "../../../src/Position.ts"
import * as Query from "../../../src/Query.ts"
import { Lock } from "../../../src/services/Lock.ts"
import * as StorageSimulated from "../../../src/testing/StorageSimulated.ts"
import { makeGate, open, type Opened, settle, slowRuns, take } from "../../support/stores.ts"

type Disk = StorageSimulated.StorageSimulated

const checkpoint = "shop/events/checkpoint.json"
const folder = "shop/events/0000000"
const pathOf = (position: number) => `${folder}/${position.toString().padStart(10, "0")}.json`
/** Long enough for anything that ends at all. */
const inTime = Effect.timeout("8 seconds")
const files = (opened: Opened, position: number) => inTime(opened.maintenance.eventFiles.waitFor(position as Position))

/** A document that is there and whole. */
const json = (disk: Disk, path: string) =>
  Effect.map(disk.storage.readDocument(path), (bytes) => {
    try {
      return JSON.parse(Buffer.from(bytes ?? "").toString("utf8")) as Record<string, unknown>
    } catch {
      return undefined
    }
  })
const write = (disk: Disk, path: string, text: string) =>
  disk.storage.replaceDocument(path, Buffer.from(text), { sync: true })
/** The event files that are there and whole, by position. */
const whole = Effect.fnUntraced(function*(disk: Disk) {
  const found: Array<unknown> = []
  for (const { name } of yield* disk.storage.list(folder)) {
    if (/^\d{10}\.json$/.test(name)) found.push((yield* json(disk, `${folder}/${name}`))?.["position"])
  }
  return found.sort()
})

/** Has the store open for a while, with event files, until those up to a position are there. */
const session = (disk: Disk, upTo: number, append = 0) =>
  Effect.scoped(Effect.gen(function*() {
    const a = yield* open(disk.layer, LockMemory.layer, { eventFiles: true })
    for (let i = 0; i < append; i++) yield* a.store.append(take(`s${i}`, "a"))
    yield* files(a, upTo)
  }))

/** As if the machine had been started again since the last session. */
const startAgain = Effect.fnUntraced(function*(disk: Disk) {
  const found = yield* json(disk, checkpoint)
  if (found !== undefined) yield* write(disk, checkpoint, JSON.stringify({ ...found, boot: "the start before" }))
})
const touched = (disk: Disk, from: number) =>
  disk.log.slice(from).filter(({ operation, path }) =>
    path.startsWith(folder) && (operation === "replaceDocument" || operation === "readDocument")
  ).map(({ operation, path }) => `${operation} ${path}`)

describe("after another start of the machine", () => {
  it.live("files of events that the history does not hold go, and what is somebody else's stays", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      yield* session(disk, 2, 2)
      const foreign = [
        "shop/events/20240101/mine.txt",
        "shop/events/0000009/mine.json",
        "shop/events/.mine.tmp/notes.txt",
        `${folder}/notes.txt`
      ]
      for (const path of foreign) {
        yield* disk.storage.makeDirectory(path.slice(0, path.lastIndexOf("/")))
        yield* write(disk, path, "mine")
      }
      const leftOver = "shop/events/.0000001.123.0123456789ab.tmp/0000001000.json"
      yield* disk.storage.makeDirectory(leftOver.slice(0, leftOver.lastIndexOf("/")))
      const gone = [pathOf(3), `${folder}/0000000007.tags.json`, "shop/events/0000009/0000009001.json", leftOver]
      for (const path of gone) yield* write(disk, path, "{}")
      yield* session(disk, 3, 1)
      for (const path of foreign) assert.isTrue(yield* disk.storage.exists(path), path)
      for (const path of gone.slice(1)) assert.isFalse(yield* disk.storage.exists(path), path)
      assert.deepStrictEqual(yield* whole(disk), [1, 2, 3])
    }))

  it.live("what a power loss took or spoilt is made again, the rest is left alone, and all is looked at only once", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      yield* session(disk, 3, 3)
      yield* disk.storage.remove(pathOf(1))
      yield* disk.storage.replaceDocument(pathOf(2), new Uint8Array(64), { sync: false })
      yield* startAgain(disk)
      let from = disk.calls
      yield* session(disk, 3)
      const made = touched(disk, from).filter((call) => call.startsWith("replace"))
      assert.deepStrictEqual(made, [1, 2].map((position) => `replaceDocument ${pathOf(position)}`))
      assert.deepStrictEqual(yield* whole(disk), [1, 2, 3])
      // nothing is doubtful any more
      yield* startAgain(disk)
      from = disk.calls
      yield* session(disk, 3)
      assert.deepStrictEqual(touched(disk, from), [])
      // what is made from now on is, until the next start
      yield* session(disk, 5, 2)
      yield* disk.storage.remove(pathOf(4))
      yield* startAgain(disk)
      from = disk.calls
      yield* session(disk, 5)
      assert.deepStrictEqual(touched(disk, from), [
        `readDocument ${pathOf(4)}`,
        `replaceDocument ${pathOf(4)}`,
        `readDocument ${pathOf(5)}`
      ])
      assert.deepStrictEqual(yield* whole(disk), [1, 2, 3, 4, 5])
    }).pipe(Effect.scoped))

  it.live("all files are there, whatever two power losses in a row left", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      yield* session(disk, 3, 3)
      let kept = 0
      for (const image of disk.crashImages({ max: 16 })) {
        if ((yield* json(image, checkpoint)) !== undefined) kept++
        yield* startAgain(image)
        // those that are doubtful, and a new one, which is from now on
        yield* session(image, 4, 1)
        assert.deepStrictEqual(yield* whole(image), [1, 2, 3, 4])
        for (const next of image.crashImages({ max: 4 })) {
          yield* startAgain(next)
          yield* session(next, 4)
          assert.deepStrictEqual(yield* whole(next), [1, 2, 3, 4])
        }
      }
      assert.isAbove(kept, 0, "some images have the checkpoint")
    }).pipe(Effect.scoped))
})

it.live("of a store that was deleted go nowhere, also where another store has its name by now", () =>
  Effect.gen(function*() {
    const disk = StorageSimulated.make()
    const locks = yield* Layer.build(LockMemory.layer)
    const lock = Layer.succeedContext(locks)
    const old = yield* open(disk.layer, lock)
    yield* old.store.append([take("s0", "old"), take("s1", "old")])
    // gets its turn late
    const gate = makeGate()
    const { acquire, holder } = Context.get(locks, Lock)
    const slow = Layer.succeed(Lock, {
      holder,
      acquire: (name, options) =>
        name === "shop/events/mirror" ? Effect.andThen(gate.pass, acquire(name, options)) : acquire(name, options)
    })
    const late = yield* open(disk.layer, slow, { eventFiles: true })
    yield* gate.begun
    yield* old.admin.deleteStore
    const fresh = yield* open(disk.layer, lock)
    yield* fresh.store.append(take("s0", "new"))
    yield* disk.storage.makeDirectory("shop/events")
    yield* gate.go
    const error = yield* Effect.flip(files(late, 3))
    assert.isTrue(error._tag === "EventStoreError" && error.reason._tag === "StoreDeleted")
    assert.deepStrictEqual(yield* whole(disk), [])
  }).pipe(Effect.scoped))

it.live("with tags wait for an index that is behind the ledger", () =>
  Effect.gen(function*() {
    const disk = StorageSimulated.make()
    const lock = Layer.succeedContext(yield* Layer.build(LockMemory.layer))
    const gate = makeGate()
    const b = yield* open(disk.layer, lock)
    yield* b.store.append(take("first", "b"))
    const a = yield* open(slowRuns(disk.storage, gate), lock, { eventFiles: true, runBytes: 3000 })
    yield* files(a, 1)
    yield* b.store.append(Array.from({ length: 20 }, (_, i) => take(`s${i}`, "b")))
    yield* b.maintenance.addTags(Query.tags("seat:s5"), () => ["added:later"])
    const reading = yield* Effect.forkChild(a.store.read(Query.all))
    yield* gate.begun
    const waiting = yield* Effect.forkChild(files(a, 22), { startImmediately: true })
    yield* settle(waiting)
    yield* gate.go
    yield* Fiber.join(reading)
    yield* Fiber.join(waiting)
    assert.deepStrictEqual(yield* json(disk, pathOf(7).replace(".json", ".tags.json")), {
      position: 7,
      tags: ["added:later"]
    })
  }).pipe(Effect.scoped))

describe("a damaged checkpoint is none: all files are made again", () => {
  const damages: ReadonlyArray<readonly [string, (found: Record<string, unknown>) => string]> = [
    ["no JSON", () => "{"],
    ["empty", () => ""],
    ["null", () => "null"],
    ["an array", () => "[]"],
    ["no cursor", (found) => JSON.stringify({ ...found, cursor: undefined })],
    ["a cursor that is null", (found) => JSON.stringify({ ...found, cursor: null })],
    ["a cursor without its parts", (found) => JSON.stringify({ ...found, cursor: {} })],
    ["a cursor of text", (found) => JSON.stringify({ ...found, cursor: "1" })],
    [
      "a position that is text",
      (found) => JSON.stringify({ ...found, cursor: { ...found["cursor"] as object, position: "1" } })
    ],
    ["a beginning that is no cursor", (found) => JSON.stringify({ ...found, since: 7 })],
    ["no start of the machine", (found) => JSON.stringify({ ...found, boot: null })]
  ]
  for (const [what, damage] of damages) {
    it.live(what, () =>
      Effect.gen(function*() {
        const disk = StorageSimulated.make()
        yield* session(disk, 1, 1)
        yield* write(disk, checkpoint, damage((yield* json(disk, checkpoint))!))
        yield* disk.storage.remove(pathOf(1))
        yield* session(disk, 2, 1)
        assert.deepStrictEqual(yield* whole(disk), [1, 2])
      }).pipe(Effect.scoped))
  }
})
