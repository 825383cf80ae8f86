import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { thisProcess } from "../../src/layers/internal/host.ts"
import * as LockFile from "../../src/layers/LockFile.ts"
import { type AcquireOptions, Lock } from "../../src/services/Lock.ts"
import type { Answer, Command } from "../fixtures/lockProcess.ts"
import { suite } from "../services/Lock.contract.ts"

// folders

const folder = Effect.acquireRelease(
  Effect.sync(() => {
    const root = fs.mkdtempSync(join(tmpdir(), "opossum-lock-"))
    fs.mkdirSync(join(root, "shop"))
    return root
  }),
  (root) => Effect.sync(() => fs.rmSync(root, { recursive: true, force: true }))
)

suite("LockFile", Layer.unwrap(Effect.map(folder, (root) => LockFile.layer({ root }))))

const queueOf = (root: string): Array<string> => {
  try {
    return fs.readdirSync(join(root, "shop/writer.queue"))
  } catch {
    return []
  }
}

const noteOf = (root: string) => JSON.parse(fs.readFileSync(join(root, "shop/writer.json"), "utf8"))

const acquire = (root: string, options?: AcquireOptions) =>
  Effect.flatMap(Lock, (lock) => lock.acquire("shop/writer", options)).pipe(Effect.provide(LockFile.layer({ root })))

// processes

/** Waits until another process has brought it about. */
const until = (what: string, condition: () => boolean) =>
  Effect.suspend(() => condition() ? Effect.void : Effect.fail(what)).pipe(
    Effect.retry({ schedule: Schedule.spaced("5 millis"), times: 4000 }),
    Effect.orDie
  )

class Process {
  private asked = 0
  private readonly child: ChildProcess
  constructor(child: ChildProcess) {
    this.child = child
  }

  ask(command: Command): Promise<Answer> {
    const id = this.asked += 1
    return new Promise((resolve) => {
      const listen = (message: { readonly id: number; readonly answer: Answer }) => {
        if (message.id !== id) return
        this.child.off("message", listen)
        resolve(message.answer)
      }
      this.child.on("message", listen)
      this.child.send({ id, command })
    })
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  readonly answer = (command: Command) => Effect.promise(() => this.ask(command))
  readonly acquire = (timeout = 0) => this.answer({ _tag: "acquire", timeout })
  readonly release = Effect.suspend(() => this.answer({ _tag: "release" }))
  readonly look = Effect.suspend(() => this.answer({ _tag: "look" }))
  readonly kill = (signal: NodeJS.Signals) => Effect.sync(() => this.child.kill(signal))

  /** Ends without giving anything up; returns after it is gone. */
  readonly murder = Effect.callback<void>((resume) => {
    this.child.once("exit", () => resume(Effect.void))
    this.child.kill("SIGKILL")
  })
}

const spawn = (root: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const file = fileURLToPath(new URL("../fixtures/lockProcess.ts", import.meta.url))
      return new Process(fork(file, [root], { execArgv: ["--no-warnings"] }))
    }),
    (process) => process.kill("SIGKILL")
  )

/** Processes that are there and hold nothing. */
const spawnMany = (root: string, count: number) =>
  Effect.forEach(
    Array.from({ length: count }),
    () => Effect.tap(spawn(root), (process) => process.look),
    { concurrency: "unbounded" }
  )

/** Asks a process to wait for the lock, and returns when its mark is in the queue. */
const begin = (root: string, process: Process, timeout: number) =>
  Effect.gen(function*() {
    const before = queueOf(root).length
    const answer = process.ask({ _tag: "acquire", timeout })
    yield* until("a mark in the queue", () => queueOf(root).length > before)
    return Effect.promise(() => answer)
  })

const succeeded: Answer = {}

/** In milliseconds; smaller than the time after which a lock without heartbeat is taken: what succeeds did not wait for that. */
const belowStale = 3000

describe("LockFile among processes", { concurrent: true }, () => {
  it.live("a holder that was killed is followed at once by who waits", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a, b] = yield* spawnMany(root, 2)
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      const waiting = yield* begin(root, b!, belowStale)
      yield* a!.murder
      assert.deepStrictEqual(yield* waiting, succeeded)
      assert.strictEqual(noteOf(root).pid, b!.pid)
    }))

  it.live("a holder that was killed is followed at once by who comes later", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a] = yield* spawnMany(root, 1)
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      yield* a!.murder
      yield* acquire(root, { timeout: 0 })
    }))

  it.live("a holder that was killed and left no note is followed when it is stale", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a, b] = yield* spawnMany(root, 2)
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      fs.unlinkSync(join(root, "shop/writer.json"))
      yield* a!.murder
      assert.strictEqual((yield* b!.acquire()).error, "LockTimeout")
      assert.deepStrictEqual(yield* b!.acquire(4500), succeeded)
    }))

  it.live("a holder that was stopped for too long knows that it lost the lock, and leaves it to the next", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a, b] = yield* spawnMany(root, 2)
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      yield* a!.kill("SIGSTOP")
      assert.deepStrictEqual(yield* b!.acquire(20_000), succeeded)
      yield* a!.kill("SIGCONT")
      assert.isTrue((yield* a!.look).isLost)
      yield* a!.release
      assert.isFalse((yield* b!.look).isLost)
      assert.strictEqual(noteOf(root).pid, b!.pid)
      const error = yield* Effect.flip(Effect.scoped(acquire(root, { timeout: 0 })))
      assert(error._tag === "LockTimeout")
      assert.strictEqual(error.holder?.pid, b!.pid)
    }))

  it.live("a holder that was stopped for too long takes the lock for lost, even if nobody took it", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a] = yield* spawnMany(root, 1)
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      assert.isFalse((yield* a!.look).isLost)
      yield* a!.kill("SIGSTOP")
      const beat = () => fs.statSync(join(root, "shop/writer.lock")).mtimeMs
      yield* until("a stale heartbeat", () => beat() < Date.now() - 3600)
      yield* a!.kill("SIGCONT")
      assert.isTrue((yield* a!.look).isLost)
      const stopped = beat()
      yield* until("a heartbeat", () => beat() > stopped)
      assert.isTrue((yield* a!.look).isLost)
      yield* a!.release
      yield* acquire(root, { timeout: 0 })
    }))

  it.live("three processes get it in the order in which they came", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a, b, c] = yield* spawnMany(root, 3)
      const order: Array<string> = []
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      const waiting = []
      for (const [name, process] of [["b", b!], ["c", c!]] as const) {
        waiting.push(Effect.tap(yield* begin(root, process, 20_000), () => Effect.sync(() => order.push(name))))
      }
      const fibers = yield* Effect.forEach(waiting, (effect) => Effect.forkChild(effect, { startImmediately: true }))
      assert.isTrue((yield* a!.look).isContended)
      yield* a!.release
      const again = yield* Effect.forkChild(Effect.tap(a!.acquire(20_000), () => Effect.sync(() => order.push("a"))))
      assert.deepStrictEqual(yield* Fiber.join(fibers[0]!), succeeded)
      assert.strictEqual(noteOf(root).pid, b!.pid)
      yield* until("the first holder waits again", () => queueOf(root).length === 2)
      yield* b!.release
      assert.deepStrictEqual(yield* Fiber.join(fibers[1]!), succeeded)
      assert.strictEqual(noteOf(root).pid, c!.pid)
      yield* c!.release
      assert.deepStrictEqual(yield* Fiber.join(again), succeeded)
      assert.deepStrictEqual(order, ["b", "c", "a"])
      assert.isFalse((yield* a!.look).isContended)
    }))

  it.live("a holder that calls process.exit is followed at once", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a, b] = yield* spawnMany(root, 2)
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      const waiting = yield* begin(root, b!, belowStale)
      void a!.ask({ _tag: "exit" })
      assert.deepStrictEqual(yield* waiting, succeeded)
      assert.strictEqual(noteOf(root).pid, b!.pid)
    }))

  it.live("a waiter that is stopped does not keep the lock from those behind it", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a, b, c, d] = yield* spawnMany(root, 4)
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      const first = yield* begin(root, b!, 20_000)
      const second = yield* begin(root, c!, belowStale)
      const third = yield* begin(root, d!, belowStale)
      yield* b!.kill("SIGSTOP")
      yield* a!.release
      assert.deepStrictEqual(yield* second, succeeded)
      yield* c!.release
      assert.deepStrictEqual(yield* third, succeeded)
      // It is still in the queue, and gets its turn when it goes on.
      assert.isTrue((yield* d!.look).isContended)
      yield* b!.kill("SIGCONT")
      yield* d!.release
      assert.deepStrictEqual(yield* first, succeeded)
    }))

  it.live("a waiter that was killed is out of the queue", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const [a, b] = yield* spawnMany(root, 2)
      assert.deepStrictEqual(yield* a!.acquire(), succeeded)
      const waiting = yield* begin(root, b!, 20_000)
      assert.isTrue(Effect.isEffect(waiting))
      assert.isTrue((yield* a!.look).isContended)
      yield* b!.murder
      assert.isFalse((yield* a!.look).isContended)
      assert.deepStrictEqual(queueOf(root), [])
    }))
})

describe("LockFile under load", () => {
  it.live("eight processes never hold it at once, and each gets its turn in time", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const processes = yield* spawnMany(root, 8)
      const answers = yield* Effect.forEach(
        processes,
        (process) => process.answer({ _tag: "hammer", times: 30, timeout: 5000 }),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(answers, Array.from({ length: 8 }, () => ({ taken: 30, overlaps: 0 })))
      assert.deepStrictEqual(fs.readdirSync(join(root, "shop")), ["writer.queue"])
      assert.deepStrictEqual(queueOf(root), [])
    }), 60_000)
})

describe("LockFile", () => {
  /** A lock that somebody holds, as far as the note says. */
  const heldBy = (root: string, holder: object) => {
    fs.mkdirSync(join(root, "shop/writer.lock"))
    fs.writeFileSync(join(root, "shop/writer.json"), JSON.stringify({ ...thisProcess, since: "now", ...holder }))
  }

  const tryOnce = (root: string) =>
    Effect.match(Effect.scoped(acquire(root, { timeout: 0 })), {
      onFailure: (error) => error._tag === "LockTimeout" ? error._tag : error.reason,
      onSuccess: () => "success" as const
    })

  it.effect("the holder's note says who it is, and goes with the lock", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const scope = yield* Scope.make()
      yield* Scope.provide(acquire(root), scope)
      assert.deepStrictEqual(noteOf(root), { ...thisProcess, since: "1970-01-01T00:00:00.000Z" })
      assert.strictEqual(noteOf(root).pid, process.pid)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(fs.readdirSync(join(root, "shop")), [])
    }))

  it.effect("knows a dead holder by its number, its start and its boot", () =>
    Effect.gen(function*() {
      const attempt = (holder: object) =>
        Effect.scoped(Effect.gen(function*() {
          const root = yield* folder
          heldBy(root, holder)
          return yield* tryOnce(root)
        }))
      assert.strictEqual(yield* attempt({}), "LockTimeout")
      assert.strictEqual(yield* attempt({ started: 0 }), "LockTimeout")
      assert.strictEqual(yield* attempt({ host: "elsewhere", boot: "b", pid: 4194305 }), "LockTimeout")
      // Above the greatest number that Linux gives.
      assert.strictEqual(yield* attempt({ pid: 4194305 }), "success")
      assert.strictEqual(yield* attempt({ boot: "an earlier one" }), "success")
      // The number was given again, to this very process.
      assert.strictEqual(yield* attempt({ started: thisProcess.started + 1 }), "success")
    }))

  it.effect("tells of a holder that lives, and that there is one of which nothing is known", () =>
    Effect.gen(function*() {
      const ask = (holder: object, change: (root: string) => void = () => {}) =>
        Effect.scoped(Effect.gen(function*() {
          const root = yield* folder
          heldBy(root, holder)
          change(root)
          const { holder: find } = yield* Effect.provide(Lock, LockFile.layer({ root }))
          return (yield* find("shop/writer"))?.pid
        }))
      assert.strictEqual(yield* ask({}), process.pid)
      assert.strictEqual(yield* ask({ host: "elsewhere", boot: "b", pid: 4194305 }), 4194305)
      assert.isUndefined(yield* ask({ pid: 4194305 }))
      assert.strictEqual(yield* ask({}, (root) => fs.rmSync(join(root, "shop/writer.json"))), 0)
      assert.isUndefined(yield* ask({}, (root) => fs.utimesSync(join(root, "shop/writer.lock"), 1, 1)))
    }))

  it.effect("a note that is older than the lock says nothing about who holds it", () =>
    Effect.gen(function*() {
      const root = yield* folder
      heldBy(root, { pid: 4194305 })
      fs.utimesSync(join(root, "shop/writer.json"), 1, 1)
      const error = yield* Effect.flip(Effect.scoped(acquire(root, { timeout: 0 })))
      assert(error._tag === "LockTimeout")
      assert.isUndefined(error.holder)
    }))

  it.effect("a note that somebody left behind makes way for the holder's own", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const left = join(root, "shop/writer.json")
      fs.writeFileSync(left, "left behind")
      fs.chmodSync(left, 0o444)
      yield* acquire(root)
      assert.strictEqual(noteOf(root).pid, process.pid)
      assert.strictEqual(fs.statSync(left).mode & 0o777, 0o600)
    }))

  it.effect("believes in waiters of other hosts for half a minute", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const held = yield* acquire(root)
      fs.mkdirSync(join(root, "shop/writer.queue"))
      const put = (arrival: number, host: string) =>
        fs.writeFileSync(join(root, `shop/writer.queue/${arrival},000001,0,4194305,1,boot,00000000,${host}`), "")
      put(Date.now() - 31_000, "elsewhere")
      fs.writeFileSync(join(root, "shop/writer.queue/.hidden"), "")
      assert.isFalse(yield* held.isContended)
      assert.lengthOf(queueOf(root), 2)
      put(Date.now() - 10_000, "elsewhere")
      assert.isTrue(yield* held.isContended)
    }))

  it.effect("removes marks whose time is long over, whoever lives by their number now", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const held = yield* acquire(root)
      const { boot, host, pid, started } = thisProcess
      fs.mkdirSync(join(root, "shop/writer.queue"))
      const put = (deadline: number) =>
        fs.writeFileSync(
          join(root, `shop/writer.queue/1000000000000,000001,${deadline},${pid},${started},${boot},00000000,${host}`),
          ""
        )
      put(Date.now() - 2000)
      assert.isFalse(yield* held.isContended)
      assert.lengthOf(queueOf(root), 0)
      put(0)
      assert.isTrue(yield* held.isContended)
    }))

  it.effect("stands behind those who wait already, even if the lock is free", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const { boot, host, pid, started } = thisProcess
      fs.mkdirSync(join(root, "shop/writer.queue"))
      const mark = join(root, `shop/writer.queue/1000000000000,000001,0,${pid},${started},${boot},00000000,${host}`)
      fs.writeFileSync(mark, "")
      assert.strictEqual(yield* tryOnce(root), "LockTimeout")
      fs.unlinkSync(mark)
      assert.strictEqual(yield* tryOnce(root), "success")
    }))

  it.effect("layers of one process share the lock, by whatever path they came", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const link = join(yield* folder, "link")
      fs.symlinkSync(root, link)
      const first = Context.get(yield* Layer.build(Layer.fresh(LockFile.layer({ root }))), Lock)
      const second = Context.get(yield* Layer.build(Layer.fresh(LockFile.layer({ root: link }))), Lock)
      const scope = yield* Scope.make()
      const held = yield* Scope.provide(first.acquire("shop/writer"), scope)
      assert.strictEqual((yield* Effect.flip(second.acquire("shop/writer", { timeout: 0 })))._tag, "LockTimeout")
      const waiting = yield* Effect.forkChild(second.acquire("shop/writer"), { startImmediately: true })
      assert.isTrue(yield* held.isContended)
      yield* Scope.close(scope, Exit.void)
      // No time passes: it was handed over, not found free.
      assert.isFalse(yield* (yield* Fiber.join(waiting)).isLost)
    }))

  it.effect("a holder that was busy for too long takes the lock for lost before the next heartbeat", () =>
    Effect.gen(function*() {
      const root = yield* folder
      const held = yield* acquire(root)
      const now = performance.now
      yield* Effect.acquireRelease(
        Effect.sync(() => performance.now = () => now.call(performance) + 3600),
        () => Effect.sync(() => performance.now = now)
      )
      assert.isTrue(yield* held.isLost)
    }).pipe(Effect.scoped))

  it.effect("ends to wait when the schedule ends", () =>
    Effect.gen(function*() {
      const root = yield* folder
      heldBy(root, {})
      const error = yield* Effect.flip(acquire(root, { wait: Schedule.recurs(2) }))
      assert.strictEqual(error._tag, "LockTimeout")
      assert.deepStrictEqual(queueOf(root), [])
    }))

  it.live("who waits for another process leaves no mark, whatever ends the wait", () =>
    Effect.gen(function*() {
      const root = yield* folder
      heldBy(root, {})
      const fiber = yield* Effect.forkChild(Effect.scoped(acquire(root)), { startImmediately: true })
      yield* until("a mark in the queue", () => queueOf(root).length === 1)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(queueOf(root), [])
      fs.rmdirSync(join(root, "shop/writer.lock"))
      assert.strictEqual(yield* tryOnce(root), "success")
    }))

  it.effect("says what is wrong with the folder", () =>
    Effect.gen(function*() {
      const root = yield* folder
      assert.strictEqual(yield* tryOnce(join(root, "missing")), "NotFound")
      fs.writeFileSync(join(root, "file"), "")
      const onFile = Effect.flatMap(Lock, (lock) => lock.acquire("file/writer")).pipe(
        Effect.provide(LockFile.layer({ root }))
      )
      const error = yield* Effect.flip(onFile)
      assert(error._tag === "StorageError")
      assert.strictEqual(error.reason, "WrongKind")
      assert.strictEqual(error.path, "file/writer")
    }))

  // A folder in which nobody may make anything, not even root.
  it.effect.skipIf(!fs.existsSync("/sys/kernel"))(
    "says that a folder is not ours to write to",
    () =>
      Effect.gen(function*() {
        const lock = yield* Lock
        const error = yield* Effect.flip(lock.acquire("kernel/writer"))
        assert(error._tag === "StorageError")
        assert.include(["Permission", "ReadOnly"], error.reason)
      }).pipe(Effect.provide(LockFile.layer({ root: "/sys" })))
  )
})
