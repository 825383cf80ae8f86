/** What users choose and what becomes of it on the disk: keys and names of projections, of snapshots, of stores; tags and event types. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { readdirSync, readFileSync } from "node:fs"
import { basename, join, resolve, sep } from "node:path"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as Event from "../../src/Event.ts"
import { hasControlCharacter, utf8Length } from "../../src/internal/text.ts"
import * as FileKey from "../../src/layers/internal/fileKey.ts"
import * as Folder from "../../src/layers/internal/projectionFolder.ts"
import * as Snapshots from "../../src/layers/internal/snapshotFormat.ts"
import { fileOf } from "../../src/layers/internal/StateFiles.ts"
import { nameProblem } from "../../src/layers/internal/storeName.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import * as Projection from "../../src/services/Projection.ts"
import * as Tag from "../../src/Tag.ts"
import { walk } from "../support/fullStore.ts"
import { mutant } from "../support/mutants.ts"
import { nastyNames, problemsOf } from "../support/nastyNames.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

/** `.json`, and the longest that is put around the first 60 characters while it is made. */
const ending = ".json".length

const isBelow = (path: string) => resolve("/root", path).startsWith(["/root", "shop", ""].join(sep))

describe("names of files", () => {
  it("of keys and names that are like paths, devices or one another", () => {
    const names = nastyNames.map(FileKey.toFileName)
    assert.deepStrictEqual(problemsOf(names, ending), [])
    for (const [i, name] of names.entries()) {
      // promised of all that were not cut
      if (!name.includes("~")) assert.strictEqual(FileKey.fromFileName(name), nastyNames[i])
      else assert.isAbove(utf8Length(nastyNames[i]!), 60)
    }
    assert.isTrue(nastyNames.every((key) => isBelow(`shop/projections/a/1/states/${fileOf(key)}`)))
  })

  const Chars = Schema.Literals(Array.from(new Set(nastyNames.flatMap((name) => Array.from(name)))))
  const Text = Schema.Array(Chars).check(Schema.isMinLength(1), Schema.isMaxLength(400))
  it.prop("of any texts", [Schema.Array(Text)], ([texts]) => {
    const keys = [...new Set(texts.map((chars) => chars.join("")))]
    const names = keys.map(FileKey.toFileName)
    assert.deepStrictEqual(problemsOf(names, ending), [])
    for (const [i, name] of names.entries()) {
      if (!name.includes("~")) assert.strictEqual(FileKey.fromFileName(name), keys[i])
    }
  }, { arbitrary: { runs: 200 } })

  it("of projections and snapshots", () => {
    const projections = nastyNames.map((name) => Folder.folderOf("shop", name, 1))
    const snapshots = nastyNames.map((name) => Snapshots.placeOf("shop", { name, version: 1, query: Query.all }).file)
    for (const paths of [projections, snapshots]) {
      assert.strictEqual(new Set(paths.map((path) => path.toUpperCase())).size, nastyNames.length)
      assert.deepStrictEqual(paths.filter((path) => !isBelow(path)), [])
      assert.deepStrictEqual(problemsOf([...new Set(paths.flatMap((path) => path.split("/")))]), [])
    }
  })

  it("of stores are taken as they are, or refused", () => {
    const taken = nastyNames.filter((name) => nameProblem(name) === undefined)
    for (const name of taken) {
      assert.deepStrictEqual(problemsOf([name], ".".length + ".deleted-".length + 20), [])
      assert.strictEqual(resolve("/stores", name), `/stores/${name}`)
    }
    for (
      const name of ["..", "a/b", "con", "con .txt", "COM\u00b9", "CONIN$", "a ", "a.", "a:b", "\0", ".a", "\ud800"]
    ) {
      assert.notInclude(taken, name)
      assert.isDefined(nameProblem(name), name)
    }
    assert.includeMembers(taken, ["a", "-rf", "\u00e9", "maths 1", "\u{1f600}"])
  })

  for (
    const name of [
      "access-names-with-one-case",
      "access-names-with-one-form",
      "access-names-with-control-characters",
      "access-names-with-separators",
      "access-names-that-are-dots",
      "access-names-that-are-devices",
      "access-names-that-are-cut",
      "access-names-that-are-too-long"
    ]
  ) {
    it(`weakened: ${name}`, async () => {
      const { toFileName } = await mutant<typeof FileKey>("src/layers/internal/fileKey.ts", name)
      assert.isNotEmpty(problemsOf(nastyNames.map(toFileName), ending))
    })
  }

  it("need whole characters", () => {
    const [event] = [class Seen extends Event.Class<Seen>()("Seen", {}) {}]
    for (const name of ["", "\ud800", "a\udc00"]) {
      const snapshot = { name, version: 1, state: Schema.Int }
      const query = Query.of(event)
      assert.throws(
        () => DecisionModel.make({ query, initial: 0, apply: { Seen: (n) => n }, snapshot }),
        "snapshot's name"
      )
      const define = () =>
        Projection.Service<any>()(name, {
          events: [event],
          key: () => "all",
          state: Schema.Int,
          apply: { Seen: () => 1 }
        })
      assert.throws(define, "the name")
    }
  })
})

class Keyed extends Event.Class<Keyed>()("Keyed", { key: Schema.NonEmptyString }) {}

class ByKey extends Projection.Service<ByKey>()("Key / CON", {
  events: [Keyed],
  key: ({ key }) => key === "half" ? "\ud800" : key,
  state: Schema.Struct({ key: Schema.String, count: Schema.Int }),
  apply: { Keyed: (state, _, { key }) => ({ key, count: (state?.count ?? 0) + 1 }) }
}) {}

const onFiles = (root: string, options: Partial<Opossum.Options> = {}) =>
  Layer.fresh(Layer.provideMerge(ByKey.layer, Opossum.layer({ root, store: "shop", eventFiles: false, ...options })))

describe("a store on a disk", () => {
  it.live("keeps each state for itself, in a file of its own below its folder; a rebuild changes none", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const append = EventStore.append(nastyNames.map((key) => new Keyed({ key })))
      /** Each file's text, by its path. */
      const files = () => {
        const folder = join(root, "shop/projections", FileKey.toFileName("Key / CON"), "1/states")
        const found = walk(folder).filter(({ kind, path }) => kind === "file" && path.includes("/"))
        return Object.fromEntries(found.map(({ path }) => [path, readFileSync(join(folder, path), "utf8")]))
      }
      /** They follow the states, and closing waits for them a while only: too short on a slow disk. */
      const allFiles = Effect.gen(function*() {
        while (
          Object.values(files()).filter((text) => text.includes(`"count": 2`)).length < nastyNames.length
        ) yield* Effect.sleep(20)
      }).pipe(Effect.timeout("20 seconds"))
      const readAll = Effect.gen(function*() {
        yield* ByKey.waitFor(yield* EventStore.head)
        for (const key of nastyNames) assert.deepStrictEqual(yield* ByKey.get(key), { key, count: 2 })
        assert.strictEqual(yield* ByKey.size, nastyNames.length)
        yield* allFiles
      })
      yield* Effect.provide(Effect.andThen(Effect.andThen(append, append), readAll), onFiles(root))
      const made = files()
      const keyOf = (text: string) => (JSON.parse(text) as { readonly key: string }).key
      assert.deepStrictEqual(Object.values(made).map(keyOf).sort(), [...nastyNames].sort())
      for (const [path, text] of Object.entries(made)) assert.strictEqual(path, fileOf(keyOf(text)))
      assert.deepStrictEqual(problemsOf(Object.keys(made).map((path) => basename(path))), [])
      yield* Effect.provide(Effect.andThen(Stream.runDrain(ByKey.rebuild), readAll), onFiles(root))
      assert.deepStrictEqual(files(), made)
      assert.deepStrictEqual(readdirSync(root), ["shop"])
    }).pipe(Effect.scoped))

  it.live("refuses a key that has half a character, at its event", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.gen(function*() {
        yield* EventStore.append([new Keyed({ key: "\ufffd" }), new Keyed({ key: "half" })])
        const error = yield* Effect.flip(ByKey.waitFor(yield* EventStore.head))
        assert(error._tag === "ProjectionStopped" && error.reason._tag === "EventFailed")
        assert.strictEqual(error.reason.position, 2)
        assert.include(error.message, "half of a surrogate pair")
      }).pipe(Effect.provide(Layer.provide(onFiles(root), Logger.layer([]))))
    }).pipe(Effect.scoped))

  it.live("has no file named by a tag or an event's type", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      /** The names of all files and folders, without what is random in them. */
      const namesAfter = (store: string, texts: ReadonlyArray<string>) =>
        Effect.gen(function*() {
          for (const text of texts) {
            const type = utf8Length(text) > 256 ? "Long" : text
            // so much that the index writes a run
            yield* EventStore.append(Event.raw(type, { text: "x".repeat(40_000) }, { tags: [`of:${text}`] }))
          }
          yield* Maintenance.eventFiles.waitFor((yield* EventStore.head)!)
          const found = yield* EventStore.read(Query.tags(`of:${texts[0]!}`))
          assert.lengthOf(found.events, 1)
        }).pipe(
          Effect.provide(Layer.fresh(Opossum.layer({ root, store, durability: "os" }))),
          // closed, so that nothing is on its way
          Effect.map(() =>
            walk(join(root, store)).map(({ path }) => path.replace(/[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,}/g, "#"))
          )
        )
      const tags = nastyNames.filter((text) => !hasControlCharacter(text) && Tag.is(`of:${text}`))
      assert.isAbove(tags.length, 100)
      const names = yield* namesAfter("nasty", tags)
      assert.deepStrictEqual(names, yield* namesAfter("plain", tags.map((_, i) => `plain${i}`)))
      assert.isNotEmpty(names.filter((name) => name.endsWith(".run")))
    }).pipe(Effect.scoped))

  it.live("keeps the snapshots of models apart", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const names = ["..", "a/b", "CON", "con", "nul .txt", "\u00e9", "e\u0301", "x".repeat(300), "X".repeat(300)]
      const countOf = (name: string) =>
        DecisionModel.make({
          query: Query.of(Keyed),
          initial: 0,
          apply: { Keyed: (count) => count + 1 },
          snapshot: { name, version: 1, state: Schema.Int, every: 1 }
        })
      const layer = () => Layer.fresh(Opossum.layer({ root, store: "shop", eventFiles: false }))
      yield* Effect.gen(function*() {
        yield* EventStore.append(new Keyed({ key: "a" }))
        for (const name of names) yield* Decision.build({ count: countOf(name) })
      }).pipe(Effect.provide(layer()))
      const folder = join(root, "shop/snapshots")
      assert.deepStrictEqual(readdirSync(folder).sort(), names.map(FileKey.toFileName).sort())
      const files = walk(folder).filter(({ kind }) => kind === "file")
      const models = files.map(({ path }) =>
        (JSON.parse(readFileSync(join(folder, path), "utf8")) as { model: string }).model
      )
      assert.deepStrictEqual(models.sort(), [...names].sort())
      assert.deepStrictEqual(readdirSync(root), ["shop"])
    }).pipe(Effect.scoped))
})
