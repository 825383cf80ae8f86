/** Event files made by a thread of their own, on the real file system: the same ones, whatever becomes of the thread. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Worker } from "node:worker_threads"
import * as Event from "../../src/Event.ts"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as EventFilesThread from "../../src/layers/internal/EventFilesThread.ts"
import type { Job } from "../../src/layers/internal/eventFilesWorker.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockFile from "../../src/layers/LockFile.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import * as Tag from "../../src/Tag.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

class Noted extends Event.Class<Noted>()("Noted", {
  id: Schema.NonEmptyString.pipe(Tag.as("note")),
  text: Schema.String
}) {}

/** `count` events from number `from` on, by appends of different sizes. */
const append = Effect.fnUntraced(function*(from: number, count: number, sizes = [1, 1, 70, 300]) {
  for (let n = from, i = 0; n < from + count; i++) {
    const size = Math.min(sizes[i % sizes.length]!, from + count - n)
    yield* EventStore.append(
      Array.from({ length: size }, (_, k) => new Noted({ id: `n${n + k}`, text: "grüße".repeat((n + k) % 20) }))
    )
    n += size
  }
})

const options = { store: "shop", durability: "os", segmentSize: 256 * 1024 } as const
const withThread = (root: string, more: Partial<Opossum.Options> = {}) => Opossum.layer({ root, ...options, ...more })
const without = (root: string, more: Partial<Opossum.Options> = {}) => withThread(root, { eventFiles: false, ...more })
/** The same store, whose files are made beside the appends. */
const inProcess = (root: string, more: { readonly writeProtect?: boolean } = {}) =>
  EventStoreLive.layer({ store: "shop", ...more }).pipe(
    Layer.provide(IndexLive.layer({ store: "shop" })),
    Layer.provide(LedgerLive.layer(options)),
    Layer.provide(Layer.mergeAll(StorageNode.layer({ root }), LockFile.layer({ root })))
  )

const allFiles = Effect.gen(function*() {
  yield* Maintenance.eventFiles.waitFor((yield* EventStore.head)!)
})
const inTime = Effect.timeout("20 seconds")

/** What lies below `events`: bytes, time and mode of each file. */
const filesOf = (root: string) => {
  const events = join(root, "shop", "events")
  const entries = Fs.readdirSync(events, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map(
    (entry) => {
      const path = join(entry.parentPath, entry.name)
      const { mode, mtimeMs } = Fs.statSync(path)
      const isEvent = /^\d{10}\.json$/.test(entry.name)
      return [
        path.slice(events.length),
        Fs.readFileSync(path, "utf8"),
        isEvent ? Math.floor(mtimeMs) : 0,
        (mode & 0o777).toString(8)
      ] as const
    }
  ).sort(([a], [b]) => a < b ? -1 : 1)
}
/** The events that have a file. */
const positionsIn = (root: string) =>
  Fs.readdirSync(join(root, "shop", "events"), { recursive: true, encoding: "utf8" })
    .flatMap((path) => /\/(\d{10})\.json$/.exec(path)?.[1] ?? []).map(Number).sort((a, b) => a - b)
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const leftOvers = (root: string) =>
  Fs.readdirSync(join(root, "shop", "events"), { recursive: true, encoding: "utf8" }).filter((path) =>
    path.includes(".tmp")
  )

/** The threads that are started from now on. */
const threads = Effect.gen(function*() {
  const started: Array<Worker> = []
  const note = (worker: Worker) => void started.push(worker)
  process.on("worker", note)
  yield* Effect.addFinalizer(() => Effect.sync(() => process.off("worker", note)))
  return started
})
const isRunning = (worker: Worker | undefined) => worker !== undefined && worker.threadId !== -1
const until = (condition: () => boolean) =>
  inTime(Effect.gen(function*() {
    while (!condition()) yield* Effect.sleep(5)
  }))

describe("event files of many events", () => {
  it.live("are the same ones that are made without a thread, later tags among them", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* temporaryFolder, yield* temporaryFolder]
      const started = yield* threads
      yield* Effect.provide(
        Effect.gen(function*() {
          yield* append(0, 1300)
          yield* Maintenance.addTags(Query.tags("note:n7", "note:n900"), () => ["none:such"])
          for (const id of ["n7", "n900", "n1200"]) {
            yield* Maintenance.addTags(Query.tags(`note:${id}`), () => [`mood:${id}`])
          }
          yield* Maintenance.addTags(Query.tags("note:n7"), () => ["mood:better"])
          yield* append(1300, 1000)
          yield* Maintenance.addTags(Query.tags("note:n2200"), () => ["mood:late"])
        }),
        without(a)
      )
      Fs.cpSync(a, b, { recursive: true })
      yield* Effect.provide(inTime(allFiles), withThread(a, { writeProtect: true }))
      assert.strictEqual(started.length, 1)
      yield* Effect.provide(inTime(allFiles), inProcess(b, { writeProtect: true }))
      assert.strictEqual(started.length, 1)
      const found = filesOf(a)
      assert.strictEqual(found.filter(([path]) => path.endsWith(".tags.json")).length, 4)
      assert.strictEqual(found.filter(([, , , mode]) => mode === "400").length, 2300)
      assert.deepStrictEqual(found, filesOf(b))
      assert.deepStrictEqual(leftOvers(a), [])
    }).pipe(Effect.scoped), 60_000)

  it.live("follow appends, and tags that are added meanwhile", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const started = yield* threads
      yield* Effect.gen(function*() {
        yield* append(0, 1200)
        yield* until(() => started.length > 0)
        for (let i = 0; i < 5; i++) {
          yield* append(1200 + 100 * i, 100)
          yield* Maintenance.addTags(Query.tags(`note:n${300 * i}`), () => [`added:t${i}`])
        }
        yield* inTime(allFiles)
        assert.strictEqual(yield* Maintenance.eventFiles.position, yield* EventStore.head)
        // few, and seen at once
        for (let i = 0; i < 5; i++) {
          yield* append(1700 + i, 1)
          yield* inTime(allFiles)
        }
        assert.isTrue(isRunning(started[0]))
      }).pipe(Effect.provide(withThread(root)))
      assert.strictEqual(started.length, 1)
      assert.strictEqual(filesOf(root).filter(([path]) => path.endsWith(".tags.json")).length, 5)
      assert.strictEqual(positionsIn(root).length, 1705)
    }).pipe(Effect.scoped), 60_000)

  it.live("need no thread as long as they are few", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const started = yield* threads
      yield* Effect.provide(Effect.andThen(append(0, 400), inTime(allFiles)), withThread(root))
      assert.deepStrictEqual(started, [])
    }).pipe(Effect.scoped))

  it.live(
    "go on after the store was closed in between, which takes no longer than it may",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const started = yield* threads
        yield* Effect.provide(append(0, 2500, [1000]), without(root))
        for (let i = 0; i < 2; i++) {
          const scope = yield* Scope.make()
          yield* Layer.buildWithScope(withThread(root), scope)
          yield* until(() => started.length > i)
          const begun = performance.now()
          yield* Scope.close(scope, Exit.void)
          assert.isBelow(performance.now() - begun, 2500)
          assert.isFalse(isRunning(started[i]))
        }
        yield* Effect.provide(inTime(allFiles), withThread(root))
        assert.deepStrictEqual(positionsIn(root), upTo(2500))
        assert.deepStrictEqual(leftOvers(root), [])
      }).pipe(Effect.scoped),
    60_000
  )

  for (const moment of ["at once", "while it makes them"] as const) {
    it.live(`are made although the thread is killed ${moment}`, () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        yield* Effect.provide(append(0, 2000, [1000]), without(root))
        const started = yield* threads
        const kill = (worker: Worker) => {
          if (moment === "at once") void worker.terminate()
          // with its first folder done, and others to come
          else if (started.length === 1) worker.once("message", () => void worker.terminate())
        }
        process.on("worker", kill)
        yield* Effect.addFinalizer(() => Effect.sync(() => process.off("worker", kill)))
        yield* Effect.provide(inTime(allFiles), withThread(root))
        // one that never does anything is given up; one that did something may have been done before it was dead
        if (moment === "at once") assert.strictEqual(started.length, 3)
        else assert.isTrue(started.length === 1 || started.length === 2)
        assert.deepStrictEqual(positionsIn(root), upTo(2000))
        assert.deepStrictEqual(leftOvers(root), [])
      }).pipe(Effect.scoped), 60_000)
  }

  it.live("of a store that is deleted meanwhile go nowhere", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.provide(append(0, 2500, [1000]), without(root))
      const started = yield* threads
      yield* Effect.gen(function*() {
        yield* until(() => Fs.existsSync(join(root, "shop/events/0000001")))
        const waiting = yield* Effect.forkChild(
          Effect.flip(Maintenance.eventFiles.waitFor(2501 as Position)),
          { startImmediately: true }
        )
        yield* Effect.provide(Admin.deleteStore, Layer.fresh(without(root)))
        const error = yield* inTime(Fiber.join(waiting))
        assert.strictEqual(error.reason._tag, "StoreDeleted")
        yield* until(() => !isRunning(started[0]))
      }).pipe(Effect.provide(withThread(root)))
      assert.isFalse(Fs.existsSync(join(root, "shop")))
    }).pipe(Effect.scoped), 60_000)

  it.live("are made by one at a time, and known to others", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const started = yield* threads
      const first = yield* Scope.make()
      const a = yield* Layer.buildWithScope(withThread(root), first)
      const b = yield* Layer.build(withThread(root))
      yield* Effect.provide(Effect.andThen(append(0, 1000), inTime(allFiles)), a)
      yield* Effect.provide(inTime(allFiles), b)
      assert.strictEqual(started.length, 1)
      yield* Scope.close(first, Exit.void)
      yield* Effect.provide(Effect.andThen(append(1000, 1000), inTime(allFiles)), b)
      assert.strictEqual(started.length, 2)
      assert.deepStrictEqual(positionsIn(root), upTo(2000))
    }).pipe(Effect.scoped), 60_000)

  it.live("that cannot be made are told of once, and made when they can", () => {
    const said: Array<string> = []
    const log = Logger.make(({ logLevel, message }) => void said.push(`${logLevel} ${String(message)}`))
    return Effect.gen(function*() {
      const root = yield* temporaryFolder
      const started = yield* threads
      yield* Effect.provide(append(0, 1700), without(root))
      Fs.mkdirSync(join(root, "shop/events"))
      const inTheWay = join(root, "shop/events/0000001")
      Fs.writeFileSync(inTheWay, "")
      yield* Effect.gen(function*() {
        yield* until(() => said.length > 0)
        yield* append(1700, 10)
        yield* Effect.sleep(600)
        Fs.unlinkSync(inTheWay)
        yield* inTime(allFiles)
      }).pipe(Effect.provide(withThread(root)))
      assert.strictEqual(started.length, 1)
      assert.strictEqual(said.length, 1, said.join("\n"))
      assert.match(said[0]!, /^Warn event files are not written for the time being: .*0000001/)
      assert.deepStrictEqual(positionsIn(root), upTo(1710))
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([log])))
  }, 60_000)

  it.live("keep no process, and load nothing that belongs to it", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const preload = join(root, "preload.mjs")
      Fs.writeFileSync(preload, `console.log("loaded")`)
      for (const how of ["closes", "exits", "has none"]) {
        const { status, stderr, stdout } = spawnSync(process.execPath, [
          "--import",
          preload,
          fileURLToPath(new URL("../fixtures/eventFilesProcess.ts", import.meta.url)),
          join(root, how),
          how
        ], { encoding: "utf8", timeout: 30_000 })
        assert.strictEqual(stderr, "")
        assert.strictEqual(stdout, `loaded\n${how === "has none" ? 0 : 1} threads\n`)
        assert.strictEqual(status, 0)
        if (how !== "exits") assert.deepStrictEqual(positionsIn(join(root, how)), upTo(1200))
      }
    }).pipe(Effect.scoped), 90_000)
})

describe("a thread that makes event files", () => {
  /** A store of three events, and the job to make their files. */
  const prepare = Effect.gen(function*() {
    const root = yield* temporaryFolder
    yield* Effect.provide(append(0, 3, [3]), without(root))
    const segment = "shop/ledger/0000000001.jsonl"
    const text = Fs.readFileSync(join(root, segment), "latin1")
    const lines = [...text.matchAll(/^ ?(\{"kind":"event".*)$/gm)]
    const job: Job = {
      segment,
      folder: "shop/events/0000000",
      isNewFolder: false,
      first: 1,
      offsets: lines.map(({ 0: all, 1: line, index }) => index + all.length - line!.length),
      lengths: lines.map(({ 1: line }) => line!.length),
      times: lines.map(() => 1_234_567_890_123)
    }
    Fs.mkdirSync(join(root, "shop/events/0000000"), { recursive: true })
    Fs.mkdirSync(join(root, "elsewhere/0000000"), { recursive: true })
    return { root, job, thread: yield* EventFilesThread.make({ root, access: undefined, writeProtect: false }) }
  })
  const below = (folder: string) => Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()
  const names = upTo(3).map((position) => `000000000${position}.json`)

  it.live("makes them in a folder that is there, and in a new one", () =>
    Effect.gen(function*() {
      const { job, root, thread } = yield* prepare
      assert.isTrue(yield* thread.make(job))
      assert.isTrue(yield* thread.make({ ...job, folder: "shop/events/0000001", isNewFolder: true }))
      assert.deepStrictEqual(below(join(root, "shop/events")), [
        "0000000",
        ...names.map((name) => `0000000/${name}`),
        "0000001",
        ...names.map((name) => `0000001/${name}`)
      ])
      assert.strictEqual(Math.floor(Fs.statSync(join(root, job.folder, names[0]!)).mtimeMs), 1_234_567_890_123)
      // as often as one likes
      assert.isTrue(yield* thread.make(job))
      // a folder that is there is not replaced
      assert.isFalse(yield* thread.make({ ...job, isNewFolder: true }))
    }).pipe(Effect.scoped))

  const broken: { readonly [what: string]: (root: string, job: Job) => Partial<Job> | void } = {
    "its folder is a link": (root) => {
      Fs.rmdirSync(join(root, "shop/events/0000000"))
      Fs.symlinkSync(join(root, "elsewhere/0000000"), join(root, "shop/events/0000000"))
    },
    "a folder above is a link": (root) => {
      Fs.rmSync(join(root, "shop/events"), { recursive: true })
      Fs.symlinkSync(join(root, "elsewhere"), join(root, "shop/events"))
    },
    "a folder above a new one is a link": (root) => {
      Fs.rmSync(join(root, "shop/events"), { recursive: true })
      Fs.symlinkSync(join(root, "elsewhere"), join(root, "shop/events"))
      return { folder: "shop/events/0000001", isNewFolder: true }
    },
    "the segment is a link": (root, { segment }) => {
      Fs.renameSync(join(root, segment), join(root, "segment"))
      Fs.symlinkSync(join(root, "segment"), join(root, segment))
    },
    "a line is damaged": (root, { offsets, segment }) => {
      const fd = Fs.openSync(join(root, segment), "r+")
      Fs.writeSync(fd, "x", offsets[0]! + 40)
      Fs.closeSync(fd)
    },
    "other events stand there": () => ({ first: 2 }),
    "the segment ends too early": (_, { lengths }) => ({ lengths: [...lengths.slice(0, 2), 1_000_000] }),
    "there is no folder": () => ({ folder: "shop/events/0000001" }),
    "a folder has the name of the file": (root, { folder }) => void Fs.mkdirSync(join(root, folder, names[0]!))
  }
  for (const [what, breakIt] of Object.entries(broken)) {
    it.live(`leaves it and leaves nothing behind if ${what}`, () =>
      Effect.gen(function*() {
        const { job, root, thread } = yield* prepare
        const change = breakIt(root, job)
        const before = [below(join(root, "shop")), below(join(root, "elsewhere"))]
        assert.isFalse(yield* thread.make({ ...job, ...change }))
        const made = (path: string) => names.some((name) => path.endsWith(`/${name}`) && !before[0]!.includes(path))
        const after = [below(join(root, "shop")).filter((path) => !made(path)), below(join(root, "elsewhere"))]
        assert.deepStrictEqual(after, before)
        assert.isTrue(thread.isUsable())
      }).pipe(Effect.scoped))
  }
})
