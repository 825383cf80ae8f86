import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as childProcess from "node:child_process"
import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import type { Storage, StorageError } from "../../src/services/Storage.ts"
import { suite } from "../services/Storage.contract.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "storage-node-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

for (const calls of ["synchronous", "asynchronous", "adaptive"] as const) {
  suite(
    `StorageNode, ${calls}`,
    Layer.unwrap(Effect.map(temporary, (folder) => StorageNode.layer({ root: join(folder, "root"), calls })))
  )
}

/** A test with a storage over a folder that is there, and its root. */
const test = (
  title: string,
  body: (storage: Storage["Service"], root: string) => Generator<Effect.Effect<any, any, Scope.Scope>, void, any>,
  options: { readonly calls?: StorageNode.Options["calls"] } = {}
) =>
  it.effect(title, () =>
    Effect.gen(function*() {
      const root = yield* temporary
      yield* Effect.gen(() => body(StorageNode.make({ root, ...options }), root))
    }).pipe(Effect.scoped))

const reasonOf = (effect: Effect.Effect<unknown, StorageError, Scope.Scope>) =>
  Effect.match(Effect.scoped(effect), { onFailure: (error) => error.reason, onSuccess: () => "success" as const })

const modeOf = (...path: ReadonlyArray<string>) => (fs.statSync(join(...path)).mode & 0o777).toString(8)

/** While the scope is open, Node's file system module has this instead. */
const patched = (patch: Partial<typeof fs>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = Object.fromEntries(Object.keys(patch).map((name) => [name, fs[name as keyof typeof fs]]))
      Object.assign(fs, patch)
      syncBuiltinESMExports()
      return before
    }),
    (before) =>
      Effect.sync(() => {
        Object.assign(fs, before)
        syncBuiltinESMExports()
      })
  )

const withCode = (code: string) => Object.assign(new Error(code), { code })

describe("StorageNode", () => {
  describe("permissions", () => {
    for (const calls of ["synchronous", "asynchronous"] as const) {
      test(`of what it makes are the owner's alone (${calls})`, function*(storage, root) {
        const umask = process.umask(0)
        yield* Effect.addFinalizer(() => Effect.sync(() => process.umask(umask)))
        yield* storage.makeDirectory("a/b")
        yield* storage.createFile("a/file")
        yield* storage.replaceDocument("a/document", bytes("x"), { sync: false })
        yield* storage.replaceDocument("a/readonly", bytes("x"), { sync: false, readOnly: true })
        assert.strictEqual(modeOf(root, "a"), "700")
        assert.strictEqual(modeOf(root, "a/b"), "700")
        assert.strictEqual(modeOf(root, "a/file"), "600")
        assert.strictEqual(modeOf(root, "a/document"), "600")
        assert.strictEqual(modeOf(root, "a/readonly"), "400")
        const made = StorageNode.make({ root: join(root, "new/root") })
        yield* made.makeDirectory("")
        assert.strictEqual(modeOf(root, "new"), "700")
        assert.strictEqual(modeOf(root, "new/root"), "700")
      }, { calls })
    }

    test("that a person gave are kept by protecting", function*(storage, root) {
      yield* storage.createFile("a")
      fs.chmodSync(join(root, "a"), 0o664)
      yield* storage.protect("a", true)
      assert.strictEqual(modeOf(root, "a"), "444")
      yield* storage.protect("a", false)
      assert.strictEqual(modeOf(root, "a"), "644")
    })

    // The superuser may do anything, so this needs a process that is not his.
    it.effect("that are missing are told, and so are too many open files", () =>
      Effect.gen(function*() {
        const root = yield* temporary
        const script = `
          import * as Effect from "effect/Effect"
          import * as fs from "node:fs"
          import * as StorageNode from ${
          JSON.stringify(new URL("../../src/layers/StorageNode.ts", import.meta.url).href)
        }
          const root = ${JSON.stringify(root)}
          if (process.getuid() === 0) {
            fs.chownSync(root, 65534, 65534)
            process.setgroups([])
            process.setgid(65534)
            process.setuid(65534)
          }
          const storage = StorageNode.make({ root })
          const x = new Uint8Array(1)
          const reason = (effect) =>
            Effect.runPromise(Effect.match(Effect.scoped(effect), { onFailure: (e) => e.reason, onSuccess: () => "success" }))
          await reason(storage.makeDirectory("f"))
          await reason(storage.createFile("f/a"))
          await reason(storage.createFile("b"))
          await reason(storage.protect("b", true))
          const found = [await reason(storage.openWritable("b"))]
          fs.chmodSync(root + "/f", 0o500)
          for (const effect of [
            storage.createFile("f/b"),
            storage.replaceDocument("f/a", x, { sync: false }),
            storage.rename("f/a", "f/b"),
            storage.claim("f/a"),
            storage.remove("f/a"),
            storage.remove("f"),
            storage.makeDirectory("f/g"),
            storage.openFile("f/a")
          ]) found.push(await reason(effect))
          fs.chmodSync(root + "/f", 0)
          for (const effect of [storage.openFile("f/a"), storage.list("f"), storage.exists("f/a"), storage.syncDirectory("f")]) {
            found.push(await reason(effect))
          }
          fs.chmodSync(root + "/f", 0o700)
          fs.chmodSync(root + "/b", 0)
          found.push(await reason(storage.readDocument("b")))
          const many = Effect.forEach(Array.from({ length: 200 }, (_, i) => i), (i) => storage.createFile("f/" + i))
          found.push(await reason(many))
          console.log(JSON.stringify(found))
        `
        const { stderr, stdout } = childProcess.spawnSync(
          "sh",
          ["-c", "ulimit -n 100; exec \"$0\" --input-type=module -e \"$1\"", process.execPath, script],
          { cwd: fileURLToPath(new URL("../..", import.meta.url)), encoding: "utf8" }
        )
        assert.match(stdout, /^\[/, stderr)
        assert.deepStrictEqual(JSON.parse(stdout), [
          ...Array.from({ length: 8 }, () => "Permission"),
          "success",
          ...Array.from({ length: 5 }, () => "Permission"),
          "TooManyOpenFiles"
        ])
      }).pipe(Effect.scoped))
  })

  describe("symbolic links", () => {
    test("are no files, wherever they point", function*(storage, root) {
      const outside = join(yield* temporary, "outside")
      fs.writeFileSync(outside, "secret")
      fs.symlinkSync(outside, join(root, "link"))
      fs.symlinkSync(join(root, "nothing"), join(root, "dangling"))
      for (const path of ["link", "dangling"]) {
        assert.strictEqual(yield* reasonOf(storage.openFile(path)), "SymbolicLink")
        assert.strictEqual(yield* reasonOf(storage.openWritable(path)), "SymbolicLink")
        assert.strictEqual(yield* reasonOf(storage.createFile(path)), "AlreadyExists")
        assert.strictEqual(yield* reasonOf(storage.readDocument(path)), "SymbolicLink")
        assert.strictEqual(yield* reasonOf(storage.protect(path, true)), "SymbolicLink")
        assert.strictEqual(yield* reasonOf(storage.claim(path)), "SymbolicLink")
        assert.isTrue(yield* storage.exists(path))
      }
      assert.deepStrictEqual((yield* storage.list("")).map((entry) => entry.kind), ["link", "link"])
      assert.strictEqual(fs.readFileSync(outside, "utf8"), "secret")
      assert.isFalse(fs.existsSync(join(root, "nothing")))
      yield* storage.replaceDocument("dangling", bytes("x"), { sync: false })
      assert.isTrue(fs.lstatSync(join(root, "dangling")).isFile())
      assert.isFalse(fs.existsSync(join(root, "nothing")))
      yield* storage.remove("link")
      assert.isTrue(fs.existsSync(outside))
    })

    test("do not name the file that they point to", function*(storage, root) {
      const file = yield* storage.createFile("a")
      yield* storage.rename("a", "b")
      fs.symlinkSync(join(root, "b"), join(root, "a"))
      assert.isFalse(yield* file.isCurrent)
    })

    test("to folders are not followed by a removal", function*(storage, root) {
      const outside = yield* temporary
      fs.writeFileSync(join(outside, "a"), "x")
      yield* storage.makeDirectory("f")
      fs.symlinkSync(outside, join(root, "f/link"))
      yield* storage.remove("f")
      assert.isTrue(fs.existsSync(join(outside, "a")))
    })
  })

  test("takes neither pipes nor sockets for files, and does not wait for them", function*(storage, root) {
    childProcess.execFileSync("mkfifo", [join(root, "pipe")])
    assert.strictEqual(yield* reasonOf(storage.openFile("pipe")), "WrongKind")
    assert.strictEqual(yield* reasonOf(storage.openWritable("pipe")), "WrongKind")
    assert.strictEqual(yield* reasonOf(storage.readDocument("pipe")), "WrongKind")
  })

  describe("documents", () => {
    for (const sync of [false, true]) {
      test(`have the time that they are given${sync ? ", also when they are synced" : ""}`, function*(storage, root) {
        yield* storage.replaceDocument("d", bytes("x"), { sync, modified: 1_234_567_890_123, readOnly: true })
        assert.strictEqual(Math.floor(fs.statSync(join(root, "d")).mtimeMs), 1_234_567_890_123)
      })
    }

    for (
      const [at, patch] of [
        ["written", {
          writeSync: () => {
            throw withCode("ENOSPC")
          }
        }],
        ["synced", {
          fsyncSync: () => {
            throw withCode("ENOSPC")
          }
        }],
        ["dated", {
          futimesSync: () => {
            throw withCode("ENOSPC")
          }
        }],
        ["protected", {
          fchmodSync: () => {
            throw withCode("ENOSPC")
          }
        }],
        ["renamed", {
          renameSync: () => {
            throw withCode("ENOSPC")
          }
        }]
      ] as const
    ) {
      test(`leave the old one and nothing else when they cannot be ${at}`, function*(storage, root) {
        yield* storage.replaceDocument("d", bytes("old"), { sync: false })
        const error = yield* Effect.scoped(Effect.andThen(
          patched(patch),
          Effect.flip(storage.replaceDocument("d", bytes("new"), { sync: true, modified: 0, readOnly: true }))
        ))
        assert.strictEqual(error.reason, "DiskFull")
        assert.strictEqual(error.operation, "replaceDocument")
        assert.deepStrictEqual(fs.readdirSync(root), ["d"])
        assert.strictEqual(fs.readFileSync(join(root, "d"), "utf8"), "old")
      })
    }

    test("are synced before their name, and their folder after", function*(storage, root) {
      const steps: Array<string> = []
      const { closeSync, fsyncSync, openSync, renameSync, writeSync } = fs
      const names = new Map<number, string>()
      yield* patched({
        openSync: (path, ...rest) => {
          const fd = openSync(path, ...rest)
          names.set(fd, path === root ? "folder" : "document")
          return fd
        },
        writeSync: ((fd: number, ...rest: [Uint8Array, number, number, number]) => {
          steps.push(`write ${names.get(fd)}`)
          return writeSync(fd, ...rest)
        }) as typeof fs.writeSync,
        fsyncSync: (fd) => {
          steps.push(`sync ${names.get(fd)}`)
          fsyncSync(fd)
        },
        renameSync: (from, to) => {
          steps.push("rename")
          renameSync(from, to)
        },
        closeSync: (fd) => {
          steps.push(`close ${names.get(fd)}`)
          closeSync(fd)
        }
      })
      yield* storage.replaceDocument("d", bytes("x"), { sync: true })
      assert.deepStrictEqual(steps, [
        "write document",
        "sync document",
        "close document",
        "rename",
        "sync folder",
        "close folder"
      ])
      steps.length = 0
      yield* storage.replaceDocument("d", bytes("x"), { sync: false })
      assert.deepStrictEqual(steps, ["write document", "close document", "rename"])
    }, { calls: "synchronous" })
  })

  describe("system calls", () => {
    for (const calls of ["synchronous", "asynchronous"] as const) {
      test(`that do less than asked are made again (${calls})`, function*(storage) {
        const { read, readSync, write, writeSync } = fs
        type Rest = [number, Uint8Array, number, number, number]
        yield* patched({
          writeSync: ((...[fd, from, offset, length, at]: Rest) =>
            writeSync(fd, from, offset, Math.min(length, 3), at)) as typeof fs.writeSync,
          readSync: ((...[fd, into, offset, length, at]: Rest) =>
            readSync(fd, into, offset, Math.min(length, 3), at)) as typeof fs.readSync,
          write: ((...[fd, from, offset, length, at, done]: [...Rest, any]) =>
            write(fd, from, offset, Math.min(length, 3), at, done)) as unknown as typeof fs.write,
          read: ((...[fd, into, offset, length, at, done]: [...Rest, any]) =>
            read(fd, into, offset, Math.min(length, 3), at, done)) as unknown as typeof fs.read
        })
        const file = yield* storage.createFile("a")
        yield* file.write(2, bytes("hello world"))
        assert.strictEqual(new TextDecoder().decode(yield* file.read(2, 100)), "hello world")
        yield* storage.replaceDocument("d", bytes("hello world"), { sync: false })
        assert.strictEqual(new TextDecoder().decode(yield* storage.readDocument("d")), "hello world")
      }, { calls })
    }

    for (
      const [code, reason] of [
        ["ENOENT", "NotFound"],
        ["EEXIST", "AlreadyExists"],
        ["ENOTEMPTY", "AlreadyExists"],
        ["EACCES", "Permission"],
        ["EPERM", "Permission"],
        ["EROFS", "ReadOnly"],
        ["ENOSPC", "DiskFull"],
        ["EDQUOT", "DiskFull"],
        ["EMFILE", "TooManyOpenFiles"],
        ["ENFILE", "TooManyOpenFiles"],
        ["ENOTDIR", "WrongKind"],
        ["EISDIR", "WrongKind"],
        ["ELOOP", "SymbolicLink"],
        ["EFTYPE", "WrongKind"],
        ["EIO", "Io"],
        ["ENAMETOOLONG", "Io"]
      ] as const
    ) {
      test(`that fail with ${code} give ${reason}, and their cause`, function*(storage) {
        const file = yield* storage.createFile("a")
        const cause = withCode(code)
        yield* patched({
          fdatasyncSync: () => {
            throw cause
          }
        })
        const error = yield* Effect.flip(file.sync)
        assert.strictEqual(error.reason, reason)
        assert.strictEqual(error.operation, "sync")
        assert.strictEqual(error.path, "a")
        assert.strictEqual(error.cause, cause)
      }, { calls: "synchronous" })
    }

    test("to close a file never fail", function*(storage) {
      const { closeSync } = fs
      yield* patched({
        closeSync: (fd) => {
          closeSync(fd)
          throw withCode("EIO")
        }
      })
      assert.strictEqual(yield* reasonOf(storage.createFile("a")), "success")
      assert.strictEqual(yield* reasonOf(storage.openFile("a")), "success")
    })

    test("that are slow are made on other threads, until they are fast again", function*() {
      const pace = new StorageNode.Pace()
      /** How many of 1000 calls are made synchronously, each of which takes so long. */
      const made = (milliseconds: number) => {
        let synchronous = 0
        for (let i = 0; i < 1000; i++) {
          if (!pace.isSynchronous()) {
            pace.passed()
            continue
          }
          synchronous += 1
          pace.took(milliseconds)
        }
        return synchronous
      }
      assert.strictEqual(made(0.4), 1000)
      // A few to learn it, and then one in a hundred.
      assert.isBelow(made(3), 20)
      assert.isAtLeast(made(3), 10)
      assert.isAbove(made(0.1), 500)
      assert.strictEqual(made(0.1), 1000)
      // One that is slow by chance changes nothing for long.
      assert.isTrue(pace.isSynchronous())
      pace.took(2)
      assert.isAbove(made(0.1), 990)
    })

    test("choose their way by their kind", function*(storage) {
      const made = { sync: 0, async: 0, write: 0, writeAsync: 0 }
      const { fdatasync, write, writeSync } = fs
      let now = 0
      const real = performance.now
      performance.now = () => now
      yield* Effect.addFinalizer(() => Effect.sync(() => void (performance.now = real)))
      yield* patched({
        fdatasyncSync: () => {
          made.sync += 1
          now += 5
        },
        fdatasync: ((fd: number, done: any) => {
          made.async += 1
          fdatasync(fd, done)
        }) as typeof fs.fdatasync,
        writeSync: ((fd: number, ...rest: [Uint8Array, number, number, number]) => {
          made.write += 1
          return writeSync(fd, ...rest)
        }) as typeof fs.writeSync,
        write: ((fd: number, ...rest: [Uint8Array, number, number, number, any]) => {
          made.writeAsync += 1
          write(fd, ...rest)
        }) as typeof fs.write
      })
      const file = yield* storage.createFile("a")
      for (let i = 0; i < 50; i++) {
        yield* file.write(i, bytes("x"))
        yield* file.sync
      }
      assert.deepStrictEqual(made, { sync: 1, async: 49, write: 50, writeAsync: 0 })
      // Much at once is never worth the wait.
      yield* file.write(0, new Uint8Array(1024 * 1024 + 1))
      assert.strictEqual(made.write, 50)
      assert.isAtLeast(made.writeAsync, 1)
    })
  })

  test("closes a file behind the calls that are on their way", function*(storage) {
    const large = new Uint8Array(1024 * 1024).fill(7)
    yield* Effect.scoped(Effect.flatMap(storage.createFile("a"), (file) => file.write(0, large)))
    const scope = yield* Scope.make()
    const file = yield* Scope.provide(storage.openFile("a"), scope)
    // More than the pool has threads, so that most of them wait.
    const reads = yield* Effect.forEach(
      Array.from({ length: 32 }),
      () => Effect.forkChild(file.read(0, large.length), { startImmediately: true })
    )
    yield* Scope.close(scope, Exit.void)
    // Would get the descriptor, and have other bytes.
    const other = yield* storage.createFile("b")
    yield* other.write(0, new Uint8Array(100).fill(9))
    for (const read of reads) {
      const bytes = yield* Fiber.join(read)
      assert.isTrue(bytes.length === large.length && bytes.every((byte) => byte === 7))
    }
    assert.isFalse(
      fs.readdirSync("/proc/self/fd").some((fd) => {
        try {
          return fs.readlinkSync(`/proc/self/fd/${fd}`).endsWith("/a")
        } catch {
          return false
        }
      })
    )
  }, { calls: "asynchronous" })

  test("keeps no file open that it did not give out", function*(storage, root) {
    yield* storage.makeDirectory("f")
    yield* storage.replaceDocument("d", bytes("x"), { sync: true, readOnly: true })
    const open = () => fs.readdirSync("/proc/self/fd").length
    const before = open()
    for (let i = 0; i < 10; i++) {
      yield* reasonOf(storage.openFile("f"))
      yield* reasonOf(storage.openWritable("d"))
      yield* storage.readDocument("d")
      yield* storage.protect("d", true)
      yield* storage.syncDirectory("")
      yield* storage.replaceDocument("d", bytes("x"), { sync: true, readOnly: true })
      yield* reasonOf(storage.replaceDocument("f", bytes("x"), { sync: true }))
      yield* Effect.scoped(storage.createFile(`${i}`))
    }
    assert.strictEqual(open(), before)
    assert.isTrue(fs.existsSync(join(root, "9")))
  })

  test("is not interrupted in a call", function*(storage, root) {
    const fiber = yield* Effect.forkChild(
      storage.replaceDocument("d", new Uint8Array(5 * 1024 * 1024), { sync: true }),
      { startImmediately: true }
    )
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(fs.readdirSync(root), ["d"])
    assert.strictEqual(fs.statSync(join(root, "d")).size, 5 * 1024 * 1024)
  }, { calls: "asynchronous" })

  test("takes a root that changes with no one's working directory", function*(_, root) {
    const before = process.cwd()
    yield* Effect.addFinalizer(() => Effect.sync(() => process.chdir(before)))
    process.chdir(root)
    const storage = StorageNode.make({ root: "here" })
    process.chdir(tmpdir())
    yield* storage.makeDirectory("")
    assert.isTrue(fs.existsSync(join(root, "here")))
  })
})
