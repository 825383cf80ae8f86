/** Symbolic links below the root: each is refused, or replaced without being followed. What lies outside is never touched. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as fs from "node:fs"
import { basename, join } from "node:path"
import * as LockFile from "../../src/layers/LockFile.ts"
import type * as Opossum from "../../src/layers/Opossum.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import { Lock } from "../../src/services/Lock.ts"
import type { Storage, StorageError } from "../../src/services/Storage.ts"
import { until } from "../processes/processes.ts"
import * as Full from "../support/fullStore.ts"
import { mutant } from "../support/mutants.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

/** Puts a link in the place of what is there, which then lies elsewhere. Gives what puts it back. */
const moveAway = (path: string, outside: string) => {
  const moved = join(outside, basename(path))
  fs.renameSync(path, moved)
  fs.symlinkSync(moved, path)
  return () => {
    fs.unlinkSync(path)
    fs.renameSync(moved, path)
  }
}

describe("storage", () => {
  type Call = (storage: Storage["Service"], link: string) => Effect.Effect<unknown, StorageError, Scope.Scope>
  const bytes = new Uint8Array([1])
  const calls: Readonly<Record<string, Call>> = {
    createFile: (storage, link) => storage.createFile(`${link}/new`),
    openFile: (storage, link) => storage.openFile(`${link}/file`),
    openWritable: (storage, link) => storage.openWritable(`${link}/file`),
    claim: (storage, link) => storage.claim(`${link}/file`),
    "makeDirectory itself": (storage, link) => storage.makeDirectory(link),
    "makeDirectory itself, alone": (storage, link) => storage.makeDirectory(link, { parents: false }),
    makeDirectory: (storage, link) => storage.makeDirectory(`${link}/new/folder`),
    "makeDirectory, alone": (storage, link) => storage.makeDirectory(`${link}/new`, { parents: false }),
    "list itself": (storage, link) => storage.list(link),
    list: (storage, link) => storage.list(`${link}/folder`),
    "syncDirectory itself": (storage, link) => storage.syncDirectory(link),
    syncDirectory: (storage, link) => storage.syncDirectory(`${link}/folder`),
    "rename from": (storage, link) => storage.rename(`${link}/file`, "a/stolen"),
    "rename to": (storage, link) => storage.rename("a/file", `${link}/new`),
    readDocument: (storage, link) => storage.readDocument(`${link}/file`),
    replaceDocument: (storage, link) => storage.replaceDocument(`${link}/file`, bytes, { sync: false }),
    remove: (storage, link) => storage.remove(`${link}/file`),
    protect: (storage, link) => storage.protect(`${link}/file`, true)
  }
  const links = ["link", "a/link", "a/b/link"]

  /** What is not refused as it should be. */
  const holesIn = Effect.fnUntraced(function*(from: typeof StorageNode, options: Omit<StorageNode.Options, "root">) {
    const [root, outside] = [yield* temporaryFolder, yield* temporaryFolder]
    fs.mkdirSync(join(outside, "folder"))
    for (const folder of [outside, join(outside, "folder")]) fs.writeFileSync(join(folder, "file"), "canary")
    fs.mkdirSync(join(root, "a/b"), { recursive: true })
    fs.writeFileSync(join(root, "a/file"), "")
    for (const link of links) fs.symlinkSync(outside, join(root, link))
    const storage = from.make({ root, ...options })
    const before = [Full.stampsOf(root), Full.stampsOf(outside)]
    const holes: Array<string> = []
    for (const link of links) {
      for (const [name, call] of Object.entries(calls)) {
        const found = yield* Effect.match(Effect.scoped(call(storage, link)), {
          onFailure: (error) => error.reason === "SymbolicLink" && error.path === link && error.root === root,
          onSuccess: () => false
        })
        if (!found) holes.push(`${name} in ${link}`)
      }
    }
    if (JSON.stringify(before) !== JSON.stringify([Full.stampsOf(root), Full.stampsOf(outside)])) holes.push("changed")
    return holes
  })

  for (const calls of ["synchronous", "asynchronous"] as const) {
    for (const access of ["owner", "group"] as const) {
      it.effect(`goes through no link on the way, at whatever depth (${calls}, ${access})`, () =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* holesIn(StorageNode, { calls, access }), [])
        }).pipe(Effect.scoped))
    }
  }

  for (
    const [name, hole] of [
      ["access-links-in-the-root-followed", "createFile in link"],
      ["access-links-above-followed", "createFile in a/b/link"],
      ["access-listed-links-followed", "list itself in link"],
      ["access-links-renamed-into", "rename to in link"]
    ] as const
  ) {
    it.effect(`weakened: ${name}`, () =>
      Effect.gen(function*() {
        const from = yield* Effect.promise(() => mutant<typeof StorageNode>("src/layers/StorageNode.ts", name))
        assert.include(yield* holesIn(from, { calls: "synchronous" }), hole)
      }).pipe(Effect.scoped))
  }

  it.effect("watches nothing behind a link", () =>
    Effect.gen(function*() {
      const [root, outside] = [yield* temporaryFolder, yield* temporaryFolder]
      fs.mkdirSync(join(outside, "folder"))
      fs.symlinkSync(outside, join(root, "link"))
      for (const path of ["link", "link/folder"]) {
        assert.deepStrictEqual(yield* Stream.runCollect(StorageNode.make({ root }).watch(path)), [])
      }
    }).pipe(Effect.scoped))

  it.effect("says what it found, and where", () =>
    Effect.gen(function*() {
      const [root, outside] = [yield* temporaryFolder, yield* temporaryFolder]
      fs.symlinkSync(outside, join(root, "shop"))
      const error = yield* Effect.flip(StorageNode.make({ root }).list("shop/ledger"))
      assert.include(error.message, `list of ${root}/shop failed: it is a symbolic link`)
    }).pipe(Effect.scoped))
})

describe("a lock", () => {
  for (const name of ["shop", "shop/writer.lock", "shop/writer.json", "shop/writer.queue"]) {
    it.effect(`is not taken through a link: ${name}`, () =>
      Effect.gen(function*() {
        const [root, outside] = [yield* temporaryFolder, yield* temporaryFolder]
        if (name !== "shop") fs.mkdirSync(join(root, "shop"))
        fs.symlinkSync(outside, join(root, name))
        const before = [Full.stampsOf(root), Full.stampsOf(outside)]
        const lock = Context.get(yield* Layer.build(Layer.fresh(LockFile.layer({ root }))), Lock)
        for (const call of [Effect.asVoid(lock.acquire("shop/writer", { timeout: 0 })), lock.holder("shop/writer")]) {
          const error = yield* Effect.flip(call)
          assert(error._tag === "StorageError")
          assert.deepStrictEqual([error.reason, error.path, error.root], ["SymbolicLink", name, root])
        }
        assert.deepStrictEqual([Full.stampsOf(root), Full.stampsOf(outside)], before)
      }).pipe(Effect.scoped))
  }
})

describe("a store", () => {
  const refusal = (options: Partial<Opossum.Options> & { readonly root: string }) =>
    Effect.flip(Effect.scoped(Layer.build(Layer.fresh(Full.layer(options)))))

  it.live("in which anything is a link is refused before anything is written, and the link is named", () =>
    Effect.gen(function*() {
      const [root, outside] = [yield* temporaryFolder, yield* temporaryFolder]
      yield* Effect.provide(Full.useAll("anna"), Layer.fresh(Full.layer({ root })))
      /** Files of which there are as many as events and keys: those are looked at one by one, when they are used. */
      const isCopy = /\/(events\/\d+|states\/..|snapshots\/count\/1\/..)\/[^/]+$/
      const places = Full.walk(root).map(({ path }) => path).filter((path) => !isCopy.test(path))
      assert.isAbove(places.length, 30)
      for (const place of places) {
        const putBack = moveAway(join(root, place), outside)
        const before = [Full.stampsOf(root), Full.stampsOf(outside)]
        for (const options of [{}, { readOnly: true }]) {
          const error = yield* refusal({ root, ...options })
          assert(error._tag === "EventStoreError", place)
          assert.strictEqual(error.reason._tag, "StoreUnsupported", place)
          assert.match(error.message, new RegExp(`\\b${place.replace(/[.^]/g, "\\$&")} failed: it is a symbolic link`))
        }
        assert.deepStrictEqual([Full.stampsOf(root), Full.stampsOf(outside)], before)
        putBack()
      }
      // what need not be there, and leads nowhere
      for (const place of ["writer.lock", "writer.json", "indices/x", "ledger/.x.tmp", "projections/notes/x", "x"]) {
        fs.symlinkSync(join(outside, "nothing"), join(root, "shop", place))
        const error = yield* refusal({ root })
        assert.include(error.message, `shop/${place} failed: it is a symbolic link`)
        fs.unlinkSync(join(root, "shop", place))
      }
      assert.deepStrictEqual(fs.readdirSync(outside), [])
      // and it is as good as ever
      yield* Effect.provide(
        Effect.andThen(Stream.runDrain(Maintenance.verify), Full.settle),
        Layer.fresh(Full.layer({ root }))
      )
    }).pipe(Effect.scoped))

  it.live("weakened: a link in a folder below is overlooked", () =>
    Effect.gen(function*() {
      const [root, outside] = [yield* temporaryFolder, yield* temporaryFolder]
      yield* Effect.provide(EventStore.append(Full.noted("anna")), Layer.fresh(Full.layer({ root })))
      fs.mkdirSync(join(root, "shop/indices"), { recursive: true })
      fs.symlinkSync(join(outside, "nothing"), join(root, "shop/indices/link"))
      assert.include((yield* refusal({ root })).message, "symbolic link")
      const weak = yield* Effect.promise(() =>
        mutant<typeof Opossum>("src/layers/Opossum.ts", "access-links-below-overlooked")
      )
      // opens it, and so would fail the test above
      yield* Effect.scoped(Layer.build(Layer.fresh(Full.layer({ root }, weak))))
    }).pipe(Effect.scoped))

  it.live("makes copies anew in the place of links when it looks at them again, after a new start of the machine", () =>
    Effect.gen(function*() {
      const [root, outside] = [yield* temporaryFolder, yield* temporaryFolder]
      const use = <A, E>(effect: Effect.Effect<A, E, Full.Services>) =>
        Effect.provide(effect, Layer.fresh(Full.layer({ root })))
      yield* use(Effect.andThen(EventStore.append(Full.noted("anna")), Full.settle))
      const paths = Full.walk(root).map(({ path }) => path)
      const copies = paths.filter((path) => /events\/\d+\/|states\/..\/./.test(path)).map((path) => join(root, path))
      assert.lengthOf(copies, 2)
      for (const path of paths.filter((path) => /(events|states)\/checkpoint\.json$/.test(path))) {
        const file = join(root, path)
        fs.writeFileSync(file, fs.readFileSync(file, "utf8").replace(/"boot": ".*"/, `"boot": "an earlier one"`))
      }
      const texts = copies.map((copy) => fs.readFileSync(copy, "utf8"))
      for (const copy of copies) moveAway(copy, outside)
      const before = Full.stampsOf(outside)
      yield* use(until("both are files", () => copies.every((copy) => fs.lstatSync(copy).isFile())))
      assert.deepStrictEqual(copies.map((copy) => fs.readFileSync(copy, "utf8")), texts)
      assert.deepStrictEqual(Full.stampsOf(outside), before)
    }).pipe(Effect.scoped))

  it.live("may lie below a link, or at its end: the root is what the user gave", () =>
    Effect.gen(function*() {
      const [real, links] = [yield* temporaryFolder, yield* temporaryFolder]
      fs.symlinkSync(real, join(links, "link"))
      for (const root of [join(links, "link"), join(links, "link/below/that")]) {
        yield* Effect.provide(Full.useAll("anna"), Layer.fresh(Full.layer({ root })))
        yield* Effect.provide(Admin.deleteStore, Layer.fresh(Full.layer({ root })))
      }
    }).pipe(Effect.scoped))

  describe("that is open", () => {
    const told: Array<string> = []
    const logger = Logger.layer([Logger.make(({ message }) => void told.push(String(message)))])
    /** A store that is open, with an event, and a folder outside with a canary that must live. */
    const opened = (
      body: (shop: string, outside: string) => Effect.Effect<void, unknown, Full.Services>
    ) =>
      Effect.gen(function*() {
        const [root, outside] = [yield* temporaryFolder, yield* temporaryFolder]
        fs.writeFileSync(join(outside, "canary"), "sings")
        fs.chmodSync(join(outside, "canary"), 0o644)
        yield* Effect.gen(function*() {
          yield* EventStore.append(Full.noted("anna"))
          yield* Full.decide("anna")
          yield* Full.settle
          const before = Full.stampsOf(outside)
          yield* body(join(root, "shop"), outside)
          assert.deepStrictEqual(Full.stampsOf(outside), before)
        }).pipe(Effect.provide(Layer.provide(Layer.fresh(Full.layer({ root, writeProtect: true })), logger)))
      }).pipe(Effect.scoped)

    it.live("puts an event's file and a state's in the place of a link", () =>
      opened((shop, outside) =>
        Effect.gen(function*() {
          const event = join(shop, "events/0000000/0000000003.json")
          const { path: state } = Full.walk(shop).find(({ path }) => /states\/..\/anna/.test(path))!
          fs.unlinkSync(join(shop, state))
          for (const link of [event, join(shop, state)]) fs.symlinkSync(join(outside, "canary"), link)
          yield* EventStore.append(Full.noted("anna"))
          yield* Full.settle
          yield* until("the state's file is one", () => fs.lstatSync(join(shop, state)).isFile())
          assert.isTrue(fs.lstatSync(event).isFile())
          assert.strictEqual(JSON.parse(fs.readFileSync(join(shop, state), "utf8")).state, 3)
        })
      ))

    it.live("appends, and makes no files where a folder has become a link", () =>
      opened((shop, outside) =>
        Effect.gen(function*() {
          const folders = Full.walk(shop).filter(({ kind, path }) =>
            kind === "folder" && /^(events\/0|projections\/notes\/1\/states\/.|snapshots\/count\/1\/.)/.test(path)
          )
          assert.isAtLeast(folders.length, 3)
          for (const { path } of folders) {
            fs.rmSync(join(shop, path), { recursive: true })
            fs.symlinkSync(outside, join(shop, path))
          }
          yield* Full.decide("anna")
          yield* EventStore.append(Full.noted("anna"))
          for (const link of ["shop/events/0000000", "shop/projections/notes/1/states/.."]) {
            const warning = new RegExp(`${link} failed: it is a symbolic link`)
            yield* until(`a warning of ${link}`, () => told.some((message) => warning.test(message)))
          }
        })
      ))

    it.live("begins no segment where the ledger has become a link", () =>
      opened((shop, outside) =>
        Effect.gen(function*() {
          fs.renameSync(join(shop, "ledger"), join(shop, "moved"))
          fs.symlinkSync(outside, join(shop, "ledger"))
          const error = yield* Effect.flip(EventStore.append(Full.noted("anna", "x".repeat(70_000))))
          assert.include(String(error), "EventStoreError")
        })
      ))

    it.live("is deleted without what its links point to", () =>
      opened((shop, outside) =>
        Effect.gen(function*() {
          fs.mkdirSync(join(shop, "foreign"))
          for (const place of ["foreign/link", "events/link", "projections/link", "events/0000000/link"]) {
            fs.symlinkSync(outside, join(shop, place))
          }
          yield* Admin.deleteStore
          assert.isFalse(fs.existsSync(shop))
        })
      ))
  })
})
