/** Who may see and change the files of a store, as their modes say it: in this process. Real users are in `test/processes/access.test.ts`. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { basename, join } from "node:path"
import * as LockFile from "../../src/layers/LockFile.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import { Lock } from "../../src/services/Lock.ts"
import * as Full from "../support/fullStore.ts"
import { mutant } from "../support/mutants.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

const withUmask = (umask: number) =>
  Effect.acquireRelease(Effect.sync(() => process.umask(umask)), (before) => Effect.sync(() => process.umask(before)))

/** Until the scope closes, tells the mode that each new file and folder below a root has as soon as it is there. */
const watchBirths = (root: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const before = { mkdir: fs.mkdir, mkdirSync: fs.mkdirSync, open: fs.open, openSync: fs.openSync }
        const births: Array<{ readonly name: string; readonly mode: number }> = []
        const see = (path: fs.PathLike) => {
          const stats = String(path).startsWith(root) ? fs.lstatSync(path, { throwIfNoEntry: false }) : undefined
          if (stats !== undefined) births.push({ name: basename(String(path)), mode: stats.mode & 0o777 })
        }
        fs.mkdirSync = ((path: fs.PathLike, options?: fs.MakeDirectoryOptions) => {
          const made = before.mkdirSync(path, options)
          see(path)
          return made
        }) as typeof fs.mkdirSync
        fs.openSync = (path, flags, mode) => {
          const fd = before.openSync(path, flags, mode)
          if (flags === "wx" || (typeof flags === "number" && (flags & fs.constants.O_CREAT) !== 0)) see(path)
          return fd
        }
        fs.mkdir =
          ((path: fs.PathLike, options: fs.MakeDirectoryOptions, done: (error: Error | null, made?: string) => void) =>
            before.mkdir(path, options, (error, made) => {
              see(path)
              done(error, made)
            })) as typeof fs.mkdir
        fs.open = ((path: fs.PathLike, flags: number, mode: number, done: (error: Error | null, fd?: number) => void) =>
          before.open(path, flags, mode, (error, fd) => {
            if ((flags & fs.constants.O_CREAT) !== 0) see(path)
            done(error, fd)
          })) as typeof fs.open
        syncBuiltinESMExports()
        return { before, births }
      }),
      ({ before }) =>
        Effect.sync(() => {
          Object.assign(fs, before)
          syncBuiltinESMExports()
        })
    ),
    ({ births }) =>
      births
  )

/** Makes a store with everything in it, and looks at it while it is locked and somebody waits, and when it is closed. */
const lookAtStore = Effect.fnUntraced(function*(
  root: string,
  options: Partial<Opossum.Options>,
  { from = Opossum, locks = LockFile, use = Full.useAll("anna") }: {
    readonly from?: typeof Opossum
    readonly locks?: typeof LockFile
    readonly use?: Effect.Effect<unknown, unknown, Full.Services>
  } = {}
) {
  const births = yield* watchBirths(root)
  const given = { ...options, root: join(root, "stores") }
  const lock = Context.get(yield* Layer.build(Layer.fresh(locks.layer(given))), Lock)
  const scope = yield* Scope.make()
  const store = yield* Scope.provide(Layer.build(Layer.fresh(Full.layer(given, from))), scope)
  yield* use.pipe(Effect.provide(store))
  yield* lock.acquire("shop/writer", { timeout: "20 seconds" })
  const waiting = yield* Effect.forkChild(lock.acquire("shop/writer"), { startImmediately: true })
  const open = Full.walk(root)
  yield* Fiber.interrupt(waiting)
  yield* Scope.close(scope, Exit.void)
  return { births, found: [...open, ...Full.walk(root)] }
})

const of = (found: ReadonlyArray<Full.Found>, pattern: RegExp) => found.filter(({ path }) => pattern.test(path))

/** That each kind of file was there to be looked at. */
const hasEverything = (found: ReadonlyArray<Full.Found>) => {
  for (
    const pattern of [
      /^stores$/,
      /shop\/store\.json$/,
      /shop\/ledger\/0{9}2\.jsonl$/,
      /shop\/ledger\/.*\.free$/,
      /shop\/indices\/.*\.run$/,
      /events\/0{7}\/0{9}1\.json$/,
      /events\/0{7}\/0{9}1\.tags\.json$/,
      /events\/mirror\.(lock|json)$/,
      /events\/checkpoint\.json$/,
      /notes\/1\/current\.json$/,
      /notes\/1\/runner\.(lock|json)$/,
      /notes\/1\/\d{10}\/ledger\/.*\.jsonl$/,
      /notes\/1\/states\/..\/anna\.json$/,
      /snapshots\/count\/1\/..\/.*\.json$/,
      /shop\/writer\.lock$/,
      /shop\/writer\.json$/,
      /shop\/writer\.queue\/.*$/
    ]
  ) assert.isNotEmpty(of(found, pattern), String(pattern))
}

/** What `writeProtect` is about: copies, and all segments of the store's own ledger but the newest. */
const protectedOf = (found: ReadonlyArray<Full.Found>) => {
  const segments = of(found, /shop\/ledger\/\d+\.jsonl$/).map(({ path }) => path).sort()
  return new Set([
    ...segments.filter((path) => path !== segments.at(-1)),
    ...of(found, /\/events\/\d+\/\d+\.json$|\/states\/..\//).map(({ path }) => path)
  ])
}

/** What has another mode than these. */
const problemsOf = (found: ReadonlyArray<Full.Found>, folder: string, file: string, readOnly: string) => {
  const isProtected = protectedOf(found)
  return found.filter(({ kind, mode, path }) =>
    mode !== (kind === "folder" ? folder : isProtected.has(path) ? readOnly : file)
  )
}

const openToOthers = (births: ReadonlyArray<{ readonly mode: number }>, bits: number) =>
  births.filter(({ mode }) => (mode & bits) !== 0)

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => Effect.scoped(effect)

describe("a store", () => {
  it.live("is its owner's alone, from the first moment of each file, whatever the umask allows", () =>
    run(Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* withUmask(0)
      const { births, found } = yield* lookAtStore(root, { writeProtect: true })
      hasEverything(found)
      assert.deepStrictEqual(problemsOf(found, "700", "600", "400"), [])
      assert.isAbove(births.length, 50)
      assert.deepStrictEqual(openToOthers(births, 0o077), [])
    })))

  for (const umask of [0, 0o077]) {
    it.live(`for a group is the group's, and nobody else's, with a umask of ${umask.toString(8)}`, () =>
      run(Effect.gen(function*() {
        const root = yield* temporaryFolder
        yield* withUmask(umask)
        const { births, found } = yield* lookAtStore(root, { access: "group", writeProtect: true })
        hasEverything(found)
        assert.deepStrictEqual(problemsOf(found, "2770", "660", "440"), [])
        assert.deepStrictEqual(openToOthers(births, 0o007), [])
      })))
  }

  it.live("changes no mode of what a person made", () =>
    run(Effect.gen(function*() {
      const root = yield* temporaryFolder
      for (const folder of ["stores", "stores/shop"]) fs.mkdirSync(join(root, folder))
      fs.chmodSync(join(root, "stores"), 0o751)
      const before = Full.layer({ root: join(root, "stores"), access: "group" })
      yield* Effect.provide(EventStore.append(Full.noted("anna")), Layer.fresh(before))
      const given = ["stores/shop/ledger", "stores/shop/projections"]
      for (const folder of given) fs.chmodSync(join(root, folder), 0o755)
      fs.chmodSync(join(root, "stores/shop/store.json"), 0o644)
      yield* Effect.provide(Full.useAll("anna"), Layer.fresh(before))
      const modes = Full.walk(root).filter(({ path }) => ["stores", "stores/shop/store.json", ...given].includes(path))
      assert.deepStrictEqual(modes.map(({ mode }) => mode), ["751", "755", "755", "644"])
    })))
})

describe("weakened", () => {
  const caught = (
    name: string,
    options: Partial<Opossum.Options>,
    umask: number,
    ...[folder, file, readOnly]: readonly [string, string, string]
  ) =>
    it.live(name, () =>
      run(Effect.gen(function*() {
        const root = yield* temporaryFolder
        const from = yield* Effect.promise(() => mutant<typeof Opossum>("src/layers/Opossum.ts", name))
        const locks = name.includes("lock")
          ? yield* Effect.promise(() => mutant<typeof LockFile>("src/layers/LockFile.ts", name))
          : LockFile
        yield* withUmask(umask)
        const { births, found } = yield* lookAtStore(root, { writeProtect: true, ...options }, {
          from,
          locks,
          use: Effect.andThen(EventStore.append(Full.noted("anna")), Full.settle)
        })
        assert.isAbove(
          problemsOf(found, folder, file, readOnly).length +
            openToOthers(births, options.access === "group" ? 0o007 : 0o077).length,
          0
        )
      })))
  caught("access-modes-of-files-dropped", {}, 0, "700", "600", "400")
  caught("access-lock-notes-for-everybody", {}, 0, "700", "600", "400")
  caught("access-umask-not-countered-for-folders", { access: "group" }, 0o077, "2770", "660", "440")
  caught("access-umask-not-countered-for-files", { access: "group" }, 0o077, "2770", "660", "440")
  caught("access-lock-umask-not-countered", { access: "group" }, 0o077, "2770", "660", "440")
})
