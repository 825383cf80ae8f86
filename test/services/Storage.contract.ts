/** What every Storage does, whatever the medium. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Reason, Storage, type StorageError } from "../../src/services/Storage.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (bytes: Uint8Array | undefined) => bytes === undefined ? undefined : new TextDecoder().decode(bytes)

const reasonOf = <A, R>(effect: Effect.Effect<A, StorageError, R>): Effect.Effect<Reason | "success", never, R> =>
  Effect.match(effect, { onFailure: (error) => error.reason, onSuccess: () => "success" as const })

/** A file with this content. */
const put = (path: string, content: string) =>
  Effect.gen(function*() {
    const storage = yield* Storage
    const file = yield* storage.createFile(path)
    yield* file.write(0, bytes(content))
  }).pipe(Effect.scoped)

const contentOf = (path: string) => Effect.flatMap(Storage, (storage) => Effect.map(storage.readDocument(path), text))

const namesIn = (path: string) =>
  Effect.flatMap(
    Storage,
    (storage) =>
      Effect.map(storage.list(path), (entries) => entries.map((entry) => `${entry.name} ${entry.kind}`).sort())
  )

export const suite = <E>(name: string, layer: Layer.Layer<Storage, E>): void => {
  const test = (title: string, body: () => Generator<Effect.Effect<any, any, Storage | Scope.Scope>, void, any>) =>
    it.effect(title, () =>
      Effect.gen(function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("")
        yield* Effect.gen(body)
      }).pipe(Effect.scoped, Effect.provide(Layer.fresh(layer))))

  describe(`Storage: ${name}`, () => {
    describe("files", () => {
      test("are created empty, once", function*() {
        const storage = yield* Storage
        const file = yield* storage.createFile("a")
        assert.strictEqual(file.path, "a")
        assert.strictEqual(yield* file.size, 0)
        assert.strictEqual((yield* file.read(0, 10)).length, 0)
        const error = yield* Effect.flip(storage.createFile("a"))
        assert.strictEqual(error.reason, "AlreadyExists")
        assert.strictEqual(error.operation, "createFile")
        assert.strictEqual(error.path, "a")
      })

      test("have one creator of many", function*() {
        const storage = yield* Storage
        const reasons = yield* Effect.all(
          Array.from({ length: 20 }, () => reasonOf(Effect.scoped(storage.createFile("a")))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(reasons.filter((reason) => reason === "success").length, 1)
        assert.strictEqual(reasons.filter((reason) => reason === "AlreadyExists").length, 19)
      })

      test("are written and read at offsets", function*() {
        const storage = yield* Storage
        const file = yield* storage.createFile("a")
        yield* file.write(0, bytes("hello world"))
        yield* file.write(6, bytes("there"))
        yield* file.write(11, bytes("!"))
        assert.strictEqual(yield* file.size, 12)
        assert.strictEqual(text(yield* file.read(0, 12)), "hello there!")
        assert.strictEqual(text(yield* file.read(6, 5)), "there")
        assert.strictEqual(text(yield* file.read(6, 1000)), "there!")
        assert.strictEqual((yield* file.read(12, 5)).length, 0)
        assert.strictEqual((yield* file.read(100, 5)).length, 0)
        assert.strictEqual((yield* file.read(0, 0)).length, 0)
      })

      test("are read at once, where that is possible, as they are read otherwise", function*() {
        const storage = yield* Storage
        const written = yield* storage.createFile("a")
        yield* written.write(0, bytes("hello"))
        const file = yield* storage.openFile("a")
        const { atOnce } = file.read
        if (atOnce === undefined) return
        const into = new Uint8Array(10).fill(1)
        for (const [offset, length] of [[0, 5], [1, 3], [3, 10], [5, 1], [100, 5], [0, 0]] as const) {
          const exit = atOnce(offset, into.subarray(0, length))
          // it may always say that it would have to wait
          if (exit !== undefined) {
            assert.strictEqual(text(into.subarray(0, yield* exit)), text(yield* file.read(offset, length)))
          }
        }
        assert.throws(() => atOnce(-1, into))
        const scope = Scope.makeUnsafe()
        const closed = yield* Scope.provide(storage.openFile("a"), scope)
        yield* Scope.close(scope, Exit.void)
        assert.isUndefined(closed.read.atOnce!(0, into))
      })

      test("hold NULs where nothing was written", function*() {
        const storage = yield* Storage
        const file = yield* storage.createFile("a")
        yield* file.write(5, bytes("x"))
        assert.deepStrictEqual(Array.from(yield* file.read(0, 10)), [0, 0, 0, 0, 0, 120])
      })

      test("take megabytes, in one write and in many", function*() {
        const storage = yield* Storage
        const file = yield* storage.createFile("a")
        const large = new Uint8Array(3 * 1024 * 1024 + 17)
        for (let i = 0; i < large.length; i++) large[i] = i % 251
        yield* file.write(0, large)
        for (let i = 0; i < 200; i++) yield* file.write(large.length + i * 3, bytes("abc"))
        yield* file.sync
        assert.strictEqual(yield* file.size, large.length + 600)
        const whole = yield* file.read(0, large.length + 1000)
        assert.strictEqual(whole.length, large.length + 600)
        assert.isTrue(Buffer.from(whole.buffer, whole.byteOffset, large.length).equals(large))
        assert.strictEqual(text(whole.subarray(large.length)), "abc".repeat(200))
        assert.deepStrictEqual(yield* file.read(1_500_000, 5), large.slice(1_500_000, 1_500_005))
      })

      test("give bytes that do not change with the file, and keep none of the caller's", function*() {
        const storage = yield* Storage
        const file = yield* storage.createFile("a")
        const mine = bytes("one")
        yield* file.write(0, mine)
        mine.fill(0)
        const read = yield* file.read(0, 3)
        yield* file.write(0, bytes("two"))
        assert.strictEqual(text(read), "one")
        read.fill(0)
        assert.strictEqual(text(yield* file.read(0, 3)), "two")
        const document = bytes("one")
        yield* storage.replaceDocument("d", document, { sync: false })
        document.fill(0)
        assert.strictEqual(yield* contentOf("d"), "one")
      })

      test("are seen by those who read them while they grow", function*() {
        const storage = yield* Storage
        const file = yield* storage.createFile("a")
        const reader = yield* storage.openFile("a")
        yield* file.write(0, bytes("one"))
        assert.strictEqual(text(yield* reader.read(0, 10)), "one")
        yield* file.write(3, bytes("two"))
        assert.strictEqual(yield* reader.size, 6)
        assert.strictEqual(text(yield* reader.read(0, 10)), "onetwo")
      })

      test("are truncated, and read as NULs where they grow again", function*() {
        const storage = yield* Storage
        const file = yield* storage.createFile("a")
        yield* file.write(0, bytes("hello"))
        yield* file.truncate(2)
        assert.strictEqual(text(yield* file.read(0, 10)), "he")
        yield* file.truncate(4)
        assert.deepStrictEqual(Array.from(yield* file.read(0, 10)), [104, 101, 0, 0])
        yield* file.write(5, bytes("x"))
        assert.deepStrictEqual(Array.from(yield* file.read(0, 10)), [104, 101, 0, 0, 0, 120])
        yield* file.truncate(0)
        assert.strictEqual(yield* file.size, 0)
      })

      test("are opened for writing again", function*() {
        const storage = yield* Storage
        yield* put("a", "hello")
        const file = yield* storage.openWritable("a")
        yield* file.write(5, bytes("!"))
        yield* file.sync
        assert.strictEqual(text(yield* file.read(0, 100)), "hello!")
      })

      test("are not opened where there is none", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("folder")
        yield* put("file", "x")
        for (const open of [storage.openFile, storage.openWritable]) {
          assert.strictEqual(yield* reasonOf(open("none")), "NotFound")
          assert.strictEqual(yield* reasonOf(open("none/a")), "NotFound")
          assert.strictEqual(yield* reasonOf(open("folder")), "WrongKind")
          assert.strictEqual(yield* reasonOf(open("file/a")), "WrongKind")
        }
        assert.strictEqual(yield* reasonOf(storage.createFile("none/a")), "NotFound")
        assert.strictEqual(yield* reasonOf(storage.createFile("file/a")), "WrongKind")
        assert.strictEqual(yield* reasonOf(storage.createFile("folder")), "AlreadyExists")
      })

      test("cannot be used after their scope closed", function*() {
        const storage = yield* Storage
        const scope = yield* Scope.make()
        const file = yield* Scope.provide(storage.createFile("a"), scope)
        yield* file.write(0, bytes("one"))
        yield* Scope.close(scope, Exit.void)
        for (
          const use of [
            file.size,
            file.read(0, 1),
            file.write(0, bytes("x")),
            file.sync,
            file.truncate(0),
            file.isCurrent
          ]
        ) {
          const exit = yield* Effect.exit<unknown, StorageError, never>(use)
          assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        }
        assert.strictEqual(yield* contentOf("a"), "one")
      })

      test("have no bytes before their begin, and no half ones", function*() {
        const storage = yield* Storage
        const file = yield* storage.createFile("a")
        for (
          const use of [
            file.read(-1, 1),
            file.read(0, -1),
            file.read(0.5, 1),
            file.read(0, Number.NaN),
            file.write(-1, bytes("x")),
            file.truncate(-1)
          ]
        ) {
          const exit = yield* Effect.exit<unknown, StorageError, never>(use)
          assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        }
        assert.strictEqual(yield* file.size, 0)
      })

      test("know whether their path still names them", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("f")
        const file = yield* storage.createFile("f/a")
        const reader = yield* storage.openFile("f/a")
        assert.isTrue(yield* file.isCurrent)
        assert.isTrue(yield* reader.isCurrent)
        yield* storage.rename("f", "g")
        assert.isFalse(yield* file.isCurrent)
        assert.isFalse(yield* reader.isCurrent)
        yield* storage.makeDirectory("f")
        assert.isFalse(yield* file.isCurrent)
        yield* put("f/a", "other")
        assert.isFalse(yield* file.isCurrent)
        yield* storage.remove("f")
        yield* storage.rename("g", "f")
        assert.isTrue(yield* file.isCurrent)
        yield* storage.replaceDocument("f/a", bytes("new"), { sync: false })
        assert.isFalse(yield* file.isCurrent)
        yield* storage.remove("f")
        yield* put("f", "a file where the folder was")
        assert.isFalse(yield* file.isCurrent)
      })

      test("stay what they are for those who opened them", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("f")
        const file = yield* storage.createFile("f/a")
        yield* file.write(0, bytes("one"))
        yield* storage.rename("f", "g")
        yield* file.write(3, bytes("two"))
        assert.strictEqual(yield* contentOf("g/a"), "onetwo")
        yield* storage.replaceDocument("g/a", bytes("new"), { sync: false })
        yield* file.write(6, bytes("three"))
        yield* file.sync
        assert.strictEqual(yield* contentOf("g/a"), "new")
        assert.strictEqual(text(yield* file.read(0, 100)), "onetwothree")
        yield* storage.remove("g")
        assert.strictEqual(text(yield* file.read(0, 100)), "onetwothree")
      })
    })

    describe("names", () => {
      test("exist or not", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("f")
        yield* put("f/a", "")
        assert.isTrue(yield* storage.exists("f"))
        assert.isTrue(yield* storage.exists("f/a"))
        assert.isFalse(yield* storage.exists("f/b"))
        assert.isFalse(yield* storage.exists("g/a"))
        assert.isFalse(yield* storage.exists("f/a/b"))
      })

      test("are claimed by one", function*() {
        const storage = yield* Storage
        yield* put("a", "")
        const claims = yield* Effect.all(Array.from({ length: 20 }, () => storage.claim("a")), {
          concurrency: "unbounded"
        })
        assert.strictEqual(claims.filter((mine) => mine).length, 1)
        assert.isFalse(yield* storage.exists("a"))
        assert.isFalse(yield* storage.claim("none/a"))
        yield* storage.makeDirectory("f")
        assert.strictEqual(yield* reasonOf(storage.claim("f")), "WrongKind")
        assert.isTrue(yield* storage.exists("f"))
      })

      test("of folders are made with those above, and again", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("a/b/c")
        yield* storage.makeDirectory("a/b/c")
        yield* storage.makeDirectory("a")
        yield* put("a/file", "")
        assert.deepStrictEqual(yield* namesIn("a"), ["b directory", "file file"])
        assert.deepStrictEqual(yield* namesIn("a/b"), ["c directory"])
        assert.strictEqual(yield* reasonOf(storage.makeDirectory("a/file")), "WrongKind")
        assert.strictEqual(yield* reasonOf(storage.makeDirectory("a/file/b")), "WrongKind")
      })

      test("of folders are made alone, if those above are not to be made", function*() {
        const storage = yield* Storage
        const alone = { parents: false }
        assert.strictEqual(yield* reasonOf(storage.makeDirectory("a/b", alone)), "NotFound")
        assert.isFalse(yield* storage.exists("a"))
        yield* storage.makeDirectory("a")
        yield* storage.makeDirectory("a/b", alone)
        yield* storage.makeDirectory("a/b", alone)
        yield* put("a/file", "")
        assert.deepStrictEqual(yield* namesIn("a"), ["b directory", "file file"])
        assert.strictEqual(yield* reasonOf(storage.makeDirectory("a/file", alone)), "WrongKind")
      })

      test("are listed", function*() {
        const storage = yield* Storage
        assert.deepStrictEqual(yield* namesIn(""), [])
        yield* storage.makeDirectory("folder")
        yield* put("file", "")
        assert.deepStrictEqual(yield* namesIn(""), ["file file", "folder directory"])
        assert.deepStrictEqual(yield* namesIn("folder"), [])
        assert.deepStrictEqual(yield* namesIn("none"), [])
        assert.deepStrictEqual(yield* namesIn("none/none"), [])
        assert.strictEqual(yield* reasonOf(storage.list("file")), "WrongKind")
        assert.strictEqual(yield* reasonOf(storage.list("file/a")), "WrongKind")
      })

      test("are synced", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("f")
        yield* put("a", "")
        assert.strictEqual(yield* reasonOf(storage.syncDirectory("")), "success")
        assert.strictEqual(yield* reasonOf(storage.syncDirectory("f")), "success")
        assert.strictEqual(yield* reasonOf(storage.syncDirectory("none")), "NotFound")
        assert.strictEqual(yield* reasonOf(storage.syncDirectory("a")), "WrongKind")
      })

      test("of files are changed, in place of others", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("f")
        yield* put("a", "one")
        yield* put("b", "two")
        yield* storage.rename("a", "b")
        assert.strictEqual(yield* contentOf("b"), "one")
        yield* storage.rename("b", "f/c")
        yield* storage.rename("f/c", "f/c")
        assert.strictEqual(yield* contentOf("f/c"), "one")
        assert.deepStrictEqual(yield* namesIn(""), ["f directory"])
        assert.strictEqual(yield* reasonOf(storage.rename("none", "a")), "NotFound")
        assert.strictEqual(yield* reasonOf(storage.rename("f/c", "none/c")), "NotFound")
        assert.strictEqual(yield* reasonOf(storage.rename("f/c", "f/c/d")), "WrongKind")
        yield* put("a", "file")
        assert.strictEqual(yield* reasonOf(storage.rename("a", "f")), "WrongKind")
        assert.strictEqual(yield* reasonOf(storage.rename("f", "a")), "WrongKind")
        assert.strictEqual(yield* contentOf("a"), "file")
        assert.strictEqual(yield* contentOf("f/c"), "one")
      })

      test("of folders are changed, in place of empty ones only", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("a/b")
        yield* put("a/b/file", "x")
        yield* storage.makeDirectory("empty")
        yield* storage.makeDirectory("full/c")
        assert.strictEqual(yield* reasonOf(storage.rename("a", "full")), "AlreadyExists")
        assert.strictEqual(yield* contentOf("a/b/file"), "x")
        assert.deepStrictEqual(yield* namesIn("full"), ["c directory"])
        yield* storage.rename("a", "empty")
        assert.strictEqual(yield* contentOf("empty/b/file"), "x")
        assert.deepStrictEqual(yield* namesIn(""), ["empty directory", "full directory"])
        assert.strictEqual(yield* reasonOf(storage.rename("full", "full/c/d")), "Io")
      })

      test("are removed with all that is below", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("f/g/h")
        yield* put("f/a", "x")
        yield* put("f/g/b", "x")
        yield* storage.protect("f/g/b", true)
        yield* storage.remove("f/a")
        assert.deepStrictEqual(yield* namesIn("f"), ["g directory"])
        yield* storage.remove("f")
        assert.deepStrictEqual(yield* namesIn(""), [])
        yield* storage.remove("f")
        yield* storage.remove("f/g")
        yield* put("a", "x")
        yield* storage.remove("a/b")
        yield* storage.protect("a", true)
        yield* storage.remove("a")
        assert.isFalse(yield* storage.exists("a"))
      })

      test("are at most 255 bytes long", function*() {
        const storage = yield* Storage
        yield* put("x".repeat(255), "")
        assert.isTrue(yield* storage.exists("x".repeat(255)))
        yield* storage.replaceDocument("x".repeat(255), bytes("x"), { sync: false })
        yield* storage.replaceDocument(`${"ü".repeat(127)}x`, bytes("x"), { sync: false })
        assert.strictEqual(yield* reasonOf(storage.createFile("x".repeat(256))), "Io")
        assert.strictEqual(yield* reasonOf(storage.createFile("ü".repeat(128))), "Io")
        assert.strictEqual(yield* reasonOf(storage.makeDirectory("x".repeat(256))), "Io")
        assert.strictEqual(
          yield* reasonOf(storage.replaceDocument("x".repeat(256), bytes(""), { sync: false })),
          "Io"
        )
      })

      for (const path of ["/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\0b", "a\\b"]) {
        test(`do not come from ${JSON.stringify(path)}`, function*() {
          const storage = yield* Storage
          yield* put("x", "")
          const calls: ReadonlyArray<Effect.Effect<unknown, StorageError, Scope.Scope>> = [
            storage.createFile(path),
            storage.openFile(path),
            storage.openWritable(path),
            storage.exists(path),
            storage.claim(path),
            storage.makeDirectory(path),
            storage.list(path),
            storage.syncDirectory(path),
            storage.rename(path, "y"),
            storage.rename("x", path),
            storage.readDocument(path),
            storage.replaceDocument(path, bytes(""), { sync: false }),
            storage.remove(path),
            storage.protect(path, true),
            Stream.runDrain(storage.watch(path))
          ]
          for (const call of calls) {
            const exit = yield* Effect.exit(call)
            assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
          }
          assert.deepStrictEqual(yield* namesIn(""), ["x file"])
        })
      }

      test("of the root are for calls about folders only", function*() {
        const storage = yield* Storage
        for (const call of [storage.exists(""), storage.remove(""), storage.createFile(""), storage.readDocument("")]) {
          const exit = yield* Effect.exit<unknown, StorageError, Scope.Scope>(call)
          assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        }
      })
    })

    describe("documents", () => {
      for (const sync of [false, true]) {
        test(`are made and replaced${sync ? ", durably" : ""}`, function*() {
          const storage = yield* Storage
          yield* storage.makeDirectory("f")
          assert.isUndefined(yield* storage.readDocument("f/d"))
          yield* storage.replaceDocument("f/d", bytes("one"), { sync })
          assert.strictEqual(yield* contentOf("f/d"), "one")
          yield* storage.replaceDocument("f/d", bytes("a longer one"), { sync, modified: 1_000_000_000_000 })
          assert.strictEqual(yield* contentOf("f/d"), "a longer one")
          yield* storage.replaceDocument("f/d", bytes(""), { sync })
          assert.strictEqual(yield* contentOf("f/d"), "")
          assert.deepStrictEqual(yield* namesIn("f"), ["d file"])
        })
      }

      test("are read as they were by those who opened them", function*() {
        const storage = yield* Storage
        yield* storage.replaceDocument("d", bytes("one"), { sync: false })
        const reader = yield* storage.openFile("d")
        yield* storage.replaceDocument("d", bytes("two"), { sync: false })
        assert.strictEqual(text(yield* reader.read(0, 10)), "one")
      })

      test("are whole for those who read while they are replaced", function*() {
        const storage = yield* Storage
        const contents = Array.from({ length: 8 }, (_, i) => String(i).repeat(100_000))
        yield* storage.replaceDocument("d", bytes(contents[0]!), { sync: false })
        const writer = yield* Effect.forkChild(
          Effect.forEach(
            contents,
            (content) => Effect.andThen(storage.replaceDocument("d", bytes(content), { sync: false }), Effect.yieldNow)
          )
        )
        for (let i = 0; i < 20; i++) {
          assert.isTrue(contents.includes((yield* contentOf("d"))!))
          yield* Effect.yieldNow
        }
        yield* Fiber.join(writer)
        assert.strictEqual(yield* contentOf("d"), contents[7])
        assert.deepStrictEqual(yield* namesIn(""), ["d file"])
      })

      test("can be read-only, and are replaced all the same", function*() {
        const storage = yield* Storage
        yield* storage.replaceDocument("d", bytes("one"), { sync: false, readOnly: true })
        assert.strictEqual(yield* reasonOf(storage.openWritable("d")), "Permission")
        assert.strictEqual(text(yield* (yield* storage.openFile("d")).read(0, 10)), "one")
        yield* storage.replaceDocument("d", bytes("two"), { sync: true, readOnly: true })
        assert.strictEqual(yield* contentOf("d"), "two")
        yield* storage.replaceDocument("d", bytes("three"), { sync: false })
        assert.strictEqual(yield* reasonOf(storage.openWritable("d")), "success")
      })

      test("need their folder, and are not folders", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("f")
        yield* put("file", "x")
        const replace = (path: string) => reasonOf(storage.replaceDocument(path, bytes("x"), { sync: false }))
        assert.strictEqual(yield* replace("none/d"), "NotFound")
        assert.strictEqual(yield* replace("f"), "WrongKind")
        assert.strictEqual(yield* replace("file/d"), "WrongKind")
        assert.strictEqual(yield* reasonOf(storage.readDocument("f")), "WrongKind")
        assert.strictEqual(yield* reasonOf(storage.readDocument("f", { most: 1 })), "WrongKind")
        assert.strictEqual(yield* reasonOf(storage.readDocument("file/d")), "WrongKind")
        assert.isUndefined(yield* storage.readDocument("none/d"))
        assert.deepStrictEqual(yield* namesIn(""), ["f directory", "file file"])
        assert.deepStrictEqual(yield* namesIn("f"), [])
      })
    })

    describe("protection", () => {
      test("keeps a file from being opened for writing", function*() {
        const storage = yield* Storage
        yield* put("a", "one")
        const file = yield* storage.openWritable("a")
        yield* storage.protect("a", true)
        assert.strictEqual(yield* reasonOf(storage.openWritable("a")), "Permission")
        assert.strictEqual(yield* reasonOf(storage.openFile("a")), "success")
        // Whoever has it open may go on.
        yield* file.write(3, bytes("two"))
        assert.strictEqual(yield* contentOf("a"), "onetwo")
        yield* storage.protect("a", false)
        assert.strictEqual(yield* reasonOf(storage.openWritable("a")), "success")
        yield* storage.protect("a", true)
        yield* storage.rename("a", "b")
        assert.strictEqual(yield* reasonOf(storage.openWritable("b")), "Permission")
        assert.isTrue(yield* storage.claim("b"))
      })

      test("is of files", function*() {
        const storage = yield* Storage
        yield* storage.makeDirectory("f")
        assert.strictEqual(yield* reasonOf(storage.protect("f", true)), "WrongKind")
        assert.strictEqual(yield* reasonOf(storage.protect("none", true)), "NotFound")
      })
    })

    describe("watching", () => {
      const changes: ReadonlyArray<
        readonly [string, (storage: Storage["Service"], turn: number) => Effect.Effect<void, StorageError>]
      > = [
        ["a new file", (storage, turn) => Effect.asVoid(Effect.scoped(storage.createFile(`f/${turn}`)))],
        ["a document", (storage) => storage.replaceDocument("f/d", bytes("x"), { sync: false })],
        [
          "a written file",
          (storage) => Effect.scoped(Effect.flatMap(storage.openWritable("f/old"), (file) => file.write(0, bytes("x"))))
        ]
      ]
      for (const [change, make] of changes) {
        test(`tells of ${change}`, function*() {
          const storage = yield* Storage
          yield* storage.makeDirectory("f")
          yield* put("f/old", "")
          const seen = yield* Effect.forkChild(Stream.runHead(storage.watch("f")))
          // When the watcher is set up is not known from outside: so something changes until it is seen, within bounds.
          for (let turn = 0; turn < 2000 && seen.pollUnsafe() === undefined; turn++) {
            yield* make(storage, turn)
            yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
          }
          assert.isDefined(seen.pollUnsafe())
          assert.strictEqual((yield* Fiber.join(seen))._tag, "Some")
        })
      }

      test("ends where there is nothing to watch", function*() {
        const storage = yield* Storage
        assert.deepStrictEqual(yield* Stream.runCollect(storage.watch("none")), [])
      })
    })
  })
}
