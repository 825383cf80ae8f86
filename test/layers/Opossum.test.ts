/** Everything wired: options, closing, interruption, event files, several layers on one store. */
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import { join } from "node:path"
import * as Event from "../../src/Event.ts"
import * as LockFile from "../../src/layers/LockFile.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import { Lock } from "../../src/services/Lock.ts"
import * as Tag from "../../src/Tag.ts"
import { suite } from "../services/EventStoreAdmin.contract.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

suite("in memory", Opossum.layerMemory)
suite(
  "on files",
  Layer.unwrap(Effect.map(temporaryFolder, (root) => Layer.orDie(Opossum.layer({ root, store: "store" }))))
)

const Id = Schema.NonEmptyString.pipe(Tag.as("note"))
class Noted extends Event.Class<Noted>()("Noted", { id: Id, text: Schema.String }) {}
const note = (id: string, text = "") => new Noted({ id, text })
const onFiles = (root: string, options: Partial<Opossum.Options> = {}) =>
  Opossum.layer({ root, store: "shop", ...options })
const ids = Effect.map(EventStore.read(Query.of(Noted)), ({ events }) => events.map(({ event }) => event.id as string))

describe("options", () => {
  const wrong: ReadonlyArray<readonly [Opossum.InvalidOption["option"], object]> = [
    ["store", { store: "" }],
    ["store", { store: "a/b" }],
    ["store", { store: "a\\b" }],
    ["store", { store: ".." }],
    ["store", { store: ".hidden" }],
    ["store", { store: "CON" }],
    ["store", { store: "nul.txt" }],
    ["store", { store: "dot." }],
    ["store", { store: "a\u0000b" }],
    ["store", { store: "\ud800" }],
    ["store", { store: "x".repeat(129) }],
    ["store", { store: undefined }],
    ["root", { root: "" }],
    ["root", { root: 7 }],
    ["durability", { durability: "none" }],
    ["eventFiles", { eventFiles: "yes" }],
    ["writeProtect", { writeProtect: 1 }],
    ["access", { access: "everybody" }],
    ["access", { access: 0o660 }],
    ["readOnly", { readOnly: null }],
    ["lockTimeout", { lockTimeout: "1 second" }],
    ["lockTimeout", { lockTimeout: "soon" }],
    ["segmentSize", { segmentSize: 10 }],
    ["segmentSize", { segmentSize: 2 ** 40 }],
    ["segmentSize", { segmentSize: 100_000.5 }]
  ]
  for (const [option, value] of wrong) {
    it.effect(`${option}: ${JSON.stringify(value)} is refused before anything is made`, () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const layer = Opossum.layer({ root: join(root, "stores"), store: "shop", ...value } as Opossum.Options)
        const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
        assert.strictEqual(error._tag, "InvalidOption")
        if (error._tag === "InvalidOption") assert.strictEqual(error.option, option)
        assert.include(error.message, `\`${option}\``)
        assert.isFalse(Fs.existsSync(join(root, "stores")))
      }).pipe(Effect.scoped))
  }

  it.effect("names that are file names are taken", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      for (const store of ["shop", "Shop 2", "größe", "a.b", "日本", "x".repeat(128)]) {
        yield* Effect.provide(EventStore.append(note("a")), Opossum.layer({ root, store }))
        assert.isTrue(Fs.existsSync(join(root, store, "store.json")))
      }
    }).pipe(Effect.scoped))

  it.effect("are read from Config", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const layer = Opossum.layerConfig({
        root: Config.String("ROOT"),
        store: Config.String("STORE"),
        eventFiles: Config.Boolean("FILES"),
        access: Config.Literals(["owner", "group"], "ACCESS")
      })
      const provider = ConfigProvider.layer(
        ConfigProvider.fromUnknown({ ROOT: root, STORE: "configured", FILES: false, ACCESS: "group" })
      )
      yield* EventStore.append(note("a")).pipe(Effect.provide(Layer.provide(layer, provider)))
      assert.strictEqual(Fs.statSync(join(root, "configured", "ledger")).mode & 0o7777, 0o2770)
      assert.isFalse(Fs.existsSync(join(root, "configured", "events")))
    }).pipe(Effect.scoped))
})

describe("the store as a whole", () => {
  it.effect("memory is fresh at each build", () =>
    Effect.gen(function*() {
      yield* Effect.provide(EventStore.append(note("a")), Opossum.layerMemory)
      assert.deepStrictEqual(yield* Effect.provide(ids, Layer.fresh(Opossum.layerMemory)), [])
    }))

  it.live("is there again after closing, with all that was appended", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.provide(EventStore.append([note("a"), note("b")]), onFiles(root))
      yield* Effect.provide(EventStore.append(note("c")), onFiles(root))
      assert.deepStrictEqual(yield* Effect.provide(ids, onFiles(root)), ["a", "b", "c"])
      const left = Fs.readdirSync(join(root, "shop")).sort()
      assert.deepStrictEqual(
        left.filter((name) => name.startsWith("writer.json") || name.startsWith("writer.lock")),
        []
      )
    }).pipe(Effect.scoped))

  it.live("two layers on one store in one process see each other's appends at once, and share the guards", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const one = yield* Layer.build(onFiles(root))
      const two = yield* Layer.build(Layer.fresh(onFiles(root)))
      for (let i = 0; i < 10; i++) {
        yield* Effect.provide(EventStore.append(note(`one${i}`)), one)
        assert.strictEqual((yield* Effect.provide(ids, two)).length, i * 2 + 1)
        yield* Effect.provide(EventStore.append(note(`two${i}`)), two)
        assert.strictEqual((yield* Effect.provide(ids, one)).length, i * 2 + 2)
      }
      // the same guarded append by both: one wins
      const guarded = EventStore.append(note("once"), { failIfEventsMatch: Query.of(Noted, { note: "once" }) })
      const exits = yield* Effect.all(
        [one, two, one, two].map((store) => Effect.exit(Effect.provide(guarded, store))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
    }).pipe(Effect.scoped))

  it.live("a subscription follows another layer's appends", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const one = yield* Layer.build(onFiles(root))
      const two = yield* Layer.build(Layer.fresh(onFiles(root)))
      const fiber = yield* EventStore.subscribe(Query.of(Noted)).pipe(
        Stream.take(20),
        Stream.map(({ event }) => event.id as string),
        Stream.runCollect,
        Effect.provide(two),
        Effect.forkChild({ startImmediately: true })
      )
      for (let i = 0; i < 20; i++) yield* Effect.provide(EventStore.append(note(`n${i}`)), one)
      assert.deepStrictEqual(yield* Fiber.join(fiber), Array.from({ length: 20 }, (_, i) => `n${i}`))
    }).pipe(Effect.scoped))

  it.live("an append that is interrupted, at whatever moment, is whole or absent, and the store goes on", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const store = yield* Layer.build(onFiles(root, { eventFiles: false }))
      const acknowledged: Array<string> = []
      for (let i = 0; i < 60; i++) {
        const fibers = yield* Effect.forEach(
          ["x", "y", "z"],
          (name) =>
            EventStore.append([note(`${name}${i}`), note(`${name}${i}`)]).pipe(
              Effect.tap(() => Effect.sync(() => acknowledged.push(`${name}${i}`))),
              Effect.provide(store),
              Effect.forkChild
            )
        )
        for (let turns = 0; turns < i % 7; turns++) yield* Effect.yieldNow
        if (i % 3 === 0) yield* Effect.sleep(i / 30)
        yield* Effect.forEach(fibers.slice(0, 2), Fiber.interrupt, { concurrency: "unbounded" })
        yield* Fiber.await(fibers[2]!)
      }
      const found = yield* Effect.provide(ids, store)
      const counts = new Map<string, number>()
      for (const id of found) counts.set(id, (counts.get(id) ?? 0) + 1)
      assert.isTrue([...counts.values()].every((count) => count === 2))
      for (const id of acknowledged) assert.strictEqual(counts.get(id), 2, id)
      for (let i = 0; i < 60; i++) assert.strictEqual(counts.get(`z${i}`), 2)
    }).pipe(Effect.scoped))

  it.live("closing in the middle of many appends answers all of them, and loses nothing that was acknowledged", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const acknowledged: Array<string> = []
      const refused: Array<string> = []
      const run = Effect.gen(function*() {
        for (let i = 0; i < 200; i++) {
          yield* EventStore.append(note(`n${i}`)).pipe(
            Effect.matchEffect({
              onSuccess: () => Effect.sync(() => acknowledged.push(`n${i}`)),
              onFailure: (error) => Effect.sync(() => refused.push(error._tag))
            }),
            Effect.forkDetach
          )
        }
        yield* Effect.sleep(2)
      })
      yield* Effect.provide(run, onFiles(root))
      while (acknowledged.length + refused.length < 200) yield* Effect.sleep(1)
      const found = yield* Effect.provide(ids, onFiles(root))
      assert.deepStrictEqual(found.filter((id) => acknowledged.includes(id)).sort(), [...acknowledged].sort())
      assert.strictEqual(found.length, acknowledged.length, "what was refused is not there")
    }).pipe(Effect.scoped))

  it.live("using the store after its scope has ended fails with StoreClosed", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const [store, maintenance] = yield* Effect.all([
        Effect.service(EventStore.EventStore),
        Effect.service(Maintenance.EventStoreMaintenance)
      ]).pipe(Effect.tap(([store]) => store.append(note("a"))), Effect.provide(onFiles(root)))
      const all = [
        store.append(note("a")),
        store.read(Query.all),
        store.head,
        store.awaitBeyond(undefined),
        store.reserve,
        maintenance.anchorAt(1 as Position)
      ]
      for (const effect of all) {
        const error = yield* Effect.flip(
          effect as Effect.Effect<unknown, EventStore.AppendError | EventStore.ReadError>
        )
        assert.isTrue(error._tag === "EventStoreError" && error.reason._tag === "StoreClosed")
      }
    }).pipe(Effect.scoped))

  it.live("a subscription that waits when the scope ends fails with StoreClosed", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const fiber = yield* Effect.gen(function*() {
        yield* EventStore.append(note("a"))
        let seen = 0
        const following = yield* EventStore.subscribe(Query.all).pipe(
          Stream.runForEach(() => Effect.sync(() => seen++)),
          Effect.forkDetach({ startImmediately: true })
        )
        while (seen === 0) yield* Effect.sleep(1)
        return following
      }).pipe(Effect.provide(onFiles(root)))
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.isTrue(error._tag === "EventStoreError" && error.reason._tag === "StoreClosed")
    }).pipe(Effect.scoped))

  for (
    const [what, end] of [["when the scope ends", "StoreClosed"], [
      "when the store is deleted",
      "StoreDeleted"
    ]] as const
  ) {
    it.live(`whoever waits for the head to move fails ${what} with ${end}`, () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const fiber = yield* Effect.gen(function*() {
          const { head } = yield* EventStore.append(note("a"))
          const waiting = yield* Effect.forkDetach(EventStore.awaitBeyond(head), { startImmediately: true })
          if (end === "StoreDeleted") {
            yield* Admin.deleteStore
            yield* Fiber.await(waiting)
          } else {
            for (let i = 0; i < 100; i++) yield* Effect.yieldNow
          }
          return waiting
        }).pipe(Effect.provide(onFiles(root)))
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.strictEqual(error.reason._tag, end)
      }).pipe(Effect.scoped))
  }

  it.live("tags that were added are read again by whoever opens the store, however many bytes they are", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const count = 280
      // more than a line may have
      const tags = (position: number) =>
        Array.from({ length: 60 }, (_, i) => `k${i}:${position}${"x".repeat(1000)}` as const)
      yield* Effect.gen(function*() {
        yield* EventStore.append(Array.from({ length: count }, (_, i) => note(`n${i}`)))
        const added = yield* Maintenance.addTags(Query.of(Noted), ({ position }) => tags(position))
        assert.deepStrictEqual(added, { eventsProcessed: count, tagsAdded: count * 60 })
      }).pipe(Effect.provide(onFiles(root, { eventFiles: false, durability: "os" })))
      yield* Effect.gen(function*() {
        const last = yield* EventStore.readLast(Query.tags(tags(count)[59]!))
        assert.deepStrictEqual([last?.position, last?.tags.length], [count, 61])
      }).pipe(Effect.provide(onFiles(root, { eventFiles: false })))
    }).pipe(Effect.scoped))

  it.live("an anchor behind a segment that has no commit yet is the last append's", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const shop = onFiles(root, { eventFiles: false })
      const { hash, head } = yield* Effect.provide(EventStore.append(note("a")), shop)
      // as after a process that was killed: whoever comes next begins a segment
      const ledger = join(root, "shop", "ledger")
      for (const name of Fs.readdirSync(ledger)) if (!name.endsWith(".jsonl")) Fs.rmSync(join(ledger, name))
      yield* Effect.gen(function*() {
        yield* Effect.flip(EventStore.append(note("a"), { failIfEventsMatch: Query.all }))
      }).pipe(Effect.provide(shop))
      yield* Effect.gen(function*() {
        assert.strictEqual((yield* Maintenance.statistics).segments, 2)
        const anchor = (yield* Maintenance.anchor)!
        assert.deepStrictEqual([anchor.position, anchor.hash], [head, hash])
        yield* Maintenance.checkAnchor(anchor)
        assert.deepStrictEqual(yield* Maintenance.anchorAt(head), anchor)
      }).pipe(Effect.provide(shop))
    }).pipe(Effect.scoped))

  it.live(
    "a lock that somebody else keeps is StoreBusy, with the holder's name, and reads go on",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        yield* Effect.provide(EventStore.append(note("a")), onFiles(root))
        const lock = yield* Effect.provide(Effect.service(Lock), LockFile.layer({ root }))
        const store = yield* Layer.build(onFiles(root, { lockTimeout: "4500 millis" }))
        yield* lock.acquire("shop/writer")
        const append = yield* Effect.forkChild(Effect.flip(Effect.provide(EventStore.append(note("b")), store)))
        assert.deepStrictEqual(yield* Effect.provide(ids, store), ["a"])
        const error = yield* Fiber.join(append)
        assert.isTrue(error._tag === "EventStoreError" && error.reason._tag === "StoreBusy")
        assert.include(error.message, `process ${process.pid}`)
      }).pipe(Effect.scoped),
    15_000
  )

  it.live("opened for reading only it reads, and refuses to write", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const missing = yield* Effect.flip(Effect.scoped(Layer.build(onFiles(root, { readOnly: true }))))
      assert.isTrue(missing._tag === "EventStoreError" && missing.reason._tag === "StoreUnavailable")
      const writer = yield* Layer.build(onFiles(root, { eventFiles: false }))
      yield* Effect.provide(EventStore.append(note("a")), writer)
      const list = () => Fs.readdirSync(root, { recursive: true, encoding: "utf8" }).sort()
      const before = list()
      const reader = yield* Layer.build(Layer.fresh(onFiles(root, { readOnly: true })))
      assert.deepStrictEqual(yield* Effect.provide(ids, reader), ["a"])
      for (const effect of [EventStore.append(note("b")), Admin.deleteStore]) {
        const error = yield* Effect.flip(
          Effect.provide(effect as Effect.Effect<unknown, EventStore.AppendError, Opossum.Services>, reader)
        )
        assert.isTrue(error._tag === "EventStoreError" && error.reason._tag === "StoreReadOnly")
      }
      // no more than a hint
      yield* Effect.provide(EventStore.reserve, reader)
      const head = yield* Effect.provide(EventStore.head, reader)
      const waiting = yield* Effect.forkChild(Effect.provide(EventStore.awaitBeyond(head), reader))
      yield* Effect.provide(EventStore.append(note("c")), writer)
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(yield* Effect.provide(ids, reader), ["a", "c"])
      assert.deepStrictEqual(list(), before, "nothing was made")
    }).pipe(Effect.scoped))

  it.live("a foreign folder, and a store of a newer format, are refused and left alone", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      Fs.mkdirSync(join(root, "shop"))
      Fs.writeFileSync(join(root, "shop", "letter.txt"), "dear")
      const foreign = yield* Effect.flip(Effect.scoped(Layer.build(onFiles(root))))
      assert.isTrue(foreign._tag === "EventStoreError" && foreign.reason._tag === "StoreUnsupported")
      assert.deepStrictEqual(Fs.readdirSync(join(root, "shop")), ["letter.txt"])
      Fs.rmSync(join(root, "shop"), { recursive: true })
      yield* Effect.provide(EventStore.append(note("a")), onFiles(root))
      const path = join(root, "shop", "store.json")
      Fs.writeFileSync(path, Fs.readFileSync(path, "utf8").replace("\"format\": 1", "\"format\": 9"))
      const newer = yield* Effect.flip(Effect.scoped(Layer.build(onFiles(root))))
      assert.isTrue(newer._tag === "EventStoreError" && newer.reason._tag === "StoreUnsupported")
      assert.include(newer.message, "format 9")
    }).pipe(Effect.scoped))

  it.live("a root that cannot be made is a typed error", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      Fs.writeFileSync(join(root, "file"), "")
      const error = yield* Effect.flip(Effect.scoped(Layer.build(onFiles(join(root, "file")))))
      assert.isTrue(error._tag === "EventStoreError" && error.reason._tag === "StoreUnavailable")
    }).pipe(Effect.scoped))
})

describe("event files", () => {
  const fileOf = (root: string, position: number) =>
    join(root, "shop", "events", "0000000", `${position.toString().padStart(10, "0")}.json`)

  it.live("hold each event as readable JSON, dated as the commit, and later tags beside it", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.gen(function*() {
        yield* EventStore.append([note("a", "grüße"), note("b")])
        yield* Maintenance.addTags(Query.of(Noted, { note: "a" }), () => ["mood:good"])
        const head = (yield* EventStore.head)!
        yield* Maintenance.eventFiles.waitFor(head)
        assert.strictEqual(yield* Maintenance.eventFiles.position, head)
        const { events } = yield* EventStore.read(Query.all)
        for (const { event, metadata, position, tags, type } of events) {
          const text = Fs.readFileSync(fileOf(root, position), "utf8")
          assert.include(text, "\n  \"type\": \"Noted\"")
          const file = JSON.parse(text) as Record<string, unknown>
          assert.deepStrictEqual(
            [file["position"], file["type"], file["data"], (file["metadata"] as { id: string }).id],
            [position, type, event.data, metadata.id]
          )
          assert.deepStrictEqual(file["tags"], tags.filter((tag) => (tag as string) !== "mood:good") as never)
          assert.isBelow(
            Math.abs(Fs.statSync(fileOf(root, position)).mtimeMs - metadata.timestamp.epochMilliseconds),
            60_000
          )
        }
        const added = JSON.parse(Fs.readFileSync(fileOf(root, 1).replace(".json", ".tags.json"), "utf8")) as unknown
        assert.deepStrictEqual(added, { position: 1, tags: ["mood:good"] })
      }).pipe(Effect.provide(onFiles(root)))
      assert.include(Fs.readFileSync(join(root, "shop", "events", "README.txt"), "utf8"), "ledger")
    }).pipe(Effect.scoped))

  it.live("are written by whoever comes next, are write-protected if asked, and off if not wanted", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.gen(function*() {
        yield* EventStore.append(Array.from({ length: 30 }, (_, i) => note(`n${i}`)))
        const error = yield* Effect.flip(Maintenance.eventFiles.waitFor((yield* EventStore.head)!))
        assert.strictEqual(error.reason._tag, "StoreUnsupported")
      }).pipe(Effect.provide(onFiles(root, { eventFiles: false })))
      assert.isFalse(Fs.existsSync(join(root, "shop", "events")))
      yield* Effect.gen(function*() {
        yield* Maintenance.eventFiles.waitFor((yield* EventStore.head)!)
      }).pipe(Effect.provide(onFiles(root, { writeProtect: true })))
      for (let position = 1; position <= 30; position++) {
        assert.strictEqual(Fs.statSync(fileOf(root, position)).mode & 0o777, 0o400)
      }
      // and deleting the store copes with that
      yield* Effect.provide(Admin.deleteStore, onFiles(root, { writeProtect: true }))
      assert.deepStrictEqual(Fs.readdirSync(root), [])
    }).pipe(Effect.scoped))

  it.live("leave nothing behind that a killed process had begun", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.provide(EventStore.append(note("a")), onFiles(root))
      const folder = join(root, "shop", "events", "0000000")
      Fs.writeFileSync(join(folder, ".0000000002.json.1.abc.tmp"), "{")
      yield* Effect.provide(EventStore.append(note("b")), onFiles(root))
      assert.deepStrictEqual(Fs.readdirSync(folder).sort(), ["0000000001.json", "0000000002.json"])
    }).pipe(Effect.scoped))

  it.live("closing waits for the last ones", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.provide(EventStore.append(Array.from({ length: 200 }, (_, i) => note(`n${i}`))), onFiles(root))
      assert.isTrue(Fs.existsSync(fileOf(root, 200)))
    }).pipe(Effect.scoped))

  it.live("never fail an append: where they cannot be written, the store goes on", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.provide(EventStore.append(note("a")), onFiles(root, { eventFiles: false }))
      Fs.writeFileSync(join(root, "shop", "events"), "in the way")
      yield* Effect.gen(function*() {
        for (let i = 0; i < 5; i++) yield* EventStore.append(note(`n${i}`))
      }).pipe(Effect.provide(onFiles(root)))
      assert.strictEqual((yield* Effect.provide(ids, onFiles(root))).length, 6)
    }).pipe(Effect.scoped))
})
