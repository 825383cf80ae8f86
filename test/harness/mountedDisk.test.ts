/**
 * `StorageNode` on a simulated disk keeps the contract of Storage: so the disk answers Node's calls as a kernel does. And what
 * becomes of each call that fails, is short, or is slow.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import type { Storage, StorageError } from "../../src/services/Storage.ts"
import { suite } from "../services/Storage.contract.ts"
import * as MountedDisk from "./mountedDisk.ts"

for (const calls of ["synchronous", "asynchronous", "adaptive"] as const) {
  const mounted = Effect.acquireRelease(
    Effect.sync(() => MountedDisk.make()),
    (disk) => Effect.sync(disk.unmount)
  )
  suite(
    `StorageNode on a simulated disk, ${calls}`,
    Layer.unwrap(Effect.map(mounted, ({ root }) => StorageNode.layer({ root, calls })))
  )
}

// what becomes of calls that do not go well

const bytes = (text: string) => new TextEncoder().encode(text)

const test = (
  title: string,
  body: (
    storage: Storage["Service"],
    disk: MountedDisk.MountedDisk,
    /** The next call of this name that fits becomes that. */
    next: (name: MountedDisk.Call["name"], outcome: MountedDisk.Outcome) => void
  ) => Generator<Effect.Effect<unknown, StorageError, Scope.Scope>, void, never>,
  calls: StorageNode.Options["calls"] = "synchronous"
) =>
  it.effect(title, () =>
    Effect.gen(function*() {
      let waiting: { readonly name: MountedDisk.Call["name"]; readonly outcome: MountedDisk.Outcome } | undefined
      const disk = MountedDisk.make({
        outcome: ({ name }) => {
          if (waiting?.name !== name) return undefined
          const { outcome } = waiting
          waiting = undefined
          return outcome
        }
      })
      yield* Effect.addFinalizer(() => Effect.sync(disk.unmount))
      yield* Effect.gen(() =>
        body(StorageNode.make({ root: disk.root, calls }), disk, (name, outcome) => waiting = { name, outcome })
      )
      assert.isUndefined(waiting, "the failure did not happen")
    }).pipe(Effect.scoped))

const reasonOf = <A>(effect: Effect.Effect<A, StorageError, Scope.Scope>) =>
  Effect.match(effect, { onFailure: ({ reason }) => reason, onSuccess: () => "success" as const })

describe("a disk that does not do as it should", () => {
  const reasons = {
    EIO: "Io",
    ENOSPC: "DiskFull",
    EDQUOT: "DiskFull",
    EACCES: "Permission",
    EROFS: "ReadOnly",
    EMFILE: "TooManyOpenFiles"
  } as const
  for (const [code, reason] of Object.entries(reasons)) {
    for (const calls of ["synchronous", "asynchronous"] as const) {
      test(`tells ${code} as ${reason} (${calls})`, function*(storage, _, next) {
        const file = yield* storage.createFile("a")
        next("write", { code })
        assert.strictEqual(yield* reasonOf(file.write(0, bytes("x"))), reason)
        next("fdatasync", { code })
        assert.strictEqual(yield* reasonOf(file.sync), reason)
        next("open", { code })
        assert.strictEqual(yield* reasonOf(storage.createFile("b")), reason)
        next("mkdir", { code })
        assert.strictEqual(yield* reasonOf(storage.makeDirectory("f")), reason)
        next("rename", { code })
        assert.strictEqual(yield* reasonOf(storage.replaceDocument("d", bytes("x"), { sync: true })), reason)
        assert.isUndefined(yield* storage.readDocument("d"))
        next("read", { code })
        assert.strictEqual(yield* reasonOf(file.read(0, 1)), reason)
      }, calls)
    }
  }

  for (const calls of ["synchronous", "asynchronous"] as const) {
    test(`goes on with writes and reads that are short (${calls})`, function*(storage, _, next) {
      const file = yield* storage.createFile("a")
      next("write", { short: true })
      yield* file.write(0, bytes("all of it"))
      next("read", { short: true })
      assert.deepStrictEqual(yield* file.read(0, 9), bytes("all of it"))
    }, calls)
  }

  test("does not fail because a file cannot be closed", function*(storage, disk, next) {
    next("close", { code: "EIO" })
    yield* Effect.scoped(Effect.flatMap(storage.createFile("a"), (file) => file.write(0, bytes("x"))))
    assert.deepStrictEqual(disk.contentOf("a"), bytes("x"))
  })

  test("loses what a failed sync took for written, though it can be read and the next sync succeeds", function*(
    storage,
    disk,
    next
  ) {
    const file = yield* storage.createFile("a")
    yield* storage.syncDirectory("")
    yield* file.write(0, bytes("x"))
    next("fdatasync", { code: "EIO", done: "half" })
    assert.strictEqual(yield* reasonOf(file.sync), "Io")
    yield* file.sync
    assert.deepStrictEqual(yield* file.read(0, 1), bytes("x"))
    const left = disk.crashImages().map((image) => image.contentOf("a")?.length)
    assert.include(left, 0)
    // but not when it was written again
    yield* file.write(0, bytes("x"))
    yield* file.sync
    assert.deepStrictEqual(disk.crashImages().map((image) => image.contentOf("a")?.length), [1])
  })

  test("is left to the thread pool when it is slow, and asked again at times", function*(storage, disk, next) {
    const file = yield* storage.createFile("a")
    for (let i = 0; i < 3; i++) {
      next("fdatasync", { slow: 20 })
      yield* file.sync
    }
    // a call that waits for another thread lets other fibers go first
    let others = 0
    yield* Effect.forkChild(Effect.sync(() => others++))
    yield* file.sync
    assert.strictEqual(others, 1)
    assert.strictEqual(disk.counts["fdatasync"], 4)
  }, "adaptive")
})
