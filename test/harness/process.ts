/**
 * Storage, clock and randomness of one simulated process. Each call on the storage, and each sleep, is handed to a `perform`, which
 * either answers at once (`direct`) or keeps the fiber until an explorer answers (`stepped`).
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import Crypto from "node:crypto"
import { syncBuiltinESMExports } from "node:module"
import { type Held, Lock } from "../../src/services/Lock.ts"
import { type File, Storage, StorageError, type WritableFile } from "../../src/services/Storage.ts"
import { type Call, type Disk, perform as performCall, type Result, type Value } from "./disk.ts"

// calls

/** `gate`: where the explorer begins to step. `sleep`: the process waits for somebody else. */
export type Request = Call | { readonly op: "sleep"; readonly path: "" } | { readonly op: "gate"; readonly path: "" }

export type Perform = (request: Request) => Effect.Effect<Result>

export const toStorage = (perform: Perform): Storage["Service"] => {
  const call = <A extends Value>(request: Call): Effect.Effect<A, StorageError> =>
    Effect.flatMap(perform(request), (result) =>
      result.ok
        ? Effect.succeed(result.value as A)
        : Effect.fail(new StorageError({ operation: request.op, path: request.path, reason: result.reason })))
  const open = (op: "createFile" | "openFile" | "openWritable", path: string) =>
    Effect.map(call<string>({ op, path }), (node): WritableFile => ({
      path,
      size: call<number>({ op: "size", node, path }),
      read: (offset, length) => call<Uint8Array>({ op: "read", node, path, offset, length }),
      isCurrent: call<boolean>({ op: "isCurrent", node, path }),
      write: (offset, bytes) => call<undefined>({ op: "write", node, path, offset, bytes: Uint8Array.from(bytes) }),
      sync: call<undefined>({ op: "sync", node, path }),
      truncate: (size) => call<undefined>({ op: "truncate", node, path, size })
    }))
  return {
    createFile: (path) => open("createFile", path),
    openFile: (path): Effect.Effect<File, StorageError> => open("openFile", path),
    openWritable: (path) => open("openWritable", path),
    exists: (path) => call({ op: "exists", path }),
    claim: (path) => call({ op: "claim", path }),
    makeDirectory: (path) => call({ op: "makeDirectory", path }),
    list: (path) => call({ op: "list", path }),
    syncDirectory: (path) => call({ op: "syncDirectory", path }),
    rename: (path, to) => call({ op: "rename", path, to }),
    readDocument: (path) => call<Uint8Array | undefined>({ op: "readDocument", path }),
    replaceDocument: (path, bytes, options) =>
      call({ op: "replaceDocument", path, bytes: Uint8Array.from(bytes), sync: options.sync }),
    remove: (path) => call({ op: "remove", path }),
    protect: (path) => call({ op: "protect", path }),
    isShared: Effect.succeed(false),
    watch: () => Stream.empty
  }
}

// running

const granted: Held = { isLost: Effect.succeed(false), isContended: Effect.succeed(false) }
const lock = Lock.of({ acquire: () => Effect.succeed(granted), holder: () => Effect.succeed(undefined) })

const now = Date.UTC(2025, 0, 1)

const clock = (sleep: Effect.Effect<void>): Clock.Clock => ({
  currentTimeMillisUnsafe: () => now,
  currentTimeMillis: Effect.succeed(now),
  currentTimeNanosUnsafe: () => BigInt(now) * 1_000_000n,
  currentTimeNanos: Effect.succeed(BigInt(now) * 1_000_000n),
  monotonicTimeNanosUnsafe: () => BigInt(now) * 1_000_000n,
  monotonicTimeNanos: Effect.succeed(BigInt(now) * 1_000_000n),
  sleep: () => sleep
})

/** The same numbers for the same name, in each run. */
const random = (name: string): Random.Random => {
  let state = 2166136261
  for (const char of name) state = Math.imul(state ^ char.charCodeAt(0), 16777619)
  const next = () => {
    state = Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9 | 0
    return (state >>> 0) / 2 ** 32
  }
  return { nextDoubleUnsafe: next, nextIntUnsafe: () => Math.floor(next() * Number.MAX_SAFE_INTEGER) }
}

/** Nothing ever waits in a queue: a fiber runs until its next call. */
const scheduler: Scheduler.Scheduler = {
  executionMode: "sync",
  shouldYield: () => false,
  makeDispatcher: () => ({ scheduleTask: (task) => task(), flush: () => {} })
}

/** Ids of stores are made by the platform: here they come from the process that asks, so that it does the same each time. */
let asking = { name: "", made: 0 }
Crypto.randomUUID = () => {
  const digits = Buffer.from(`${asking.made++}${asking.name}`).toString("hex").padEnd(12, "0").slice(0, 12)
  return `00000000-0000-4000-8000-${digits}`
}
syncBuiltinESMExports()

/** Who runs from here on. */
export const becomes = (who: { name: string; made: number }): void => {
  asking = who
}

export type World = Storage | Lock | Scope.Scope

/** Starts a program as a process of that name. It runs until its first call that is not answered at once. */
export const start = <A, E>(name: string, program: Effect.Effect<A, E, World>, perform: Perform): Fiber.Fiber<A, E> => {
  becomes({ name, made: 0 })
  const context = Context.make(Storage, toStorage(perform)).pipe(
    Context.add(Lock, lock),
    Context.add(Scope.Scope, Scope.makeUnsafe()),
    Context.add(Clock.Clock, clock(Effect.asVoid(perform({ op: "sleep", path: "" })))),
    Context.add(Random.Random, random(name)),
    Context.add(References.MinimumLogLevel, "None"),
    Context.add(Scheduler.Scheduler, scheduler),
    Context.add(Scheduler.PreventSchedulerYield, true)
  )
  return Effect.runForkWith(context)(program)
}

/** Runs a program alone on a disk: nobody else moves meanwhile. */
export const direct = <A, E>(
  name: string,
  disk: Disk,
  program: Effect.Effect<A, E, World>
): { readonly exit: Exit.Exit<A, E>; readonly disk: Disk } => {
  let at = disk
  const fiber = start(name, program, (request) =>
    Effect.sync((): Result => {
      if (request.op === "sleep" || request.op === "gate") return { ok: true, value: undefined }
      const step = performCall(at, request)
      at = step.disk
      return step.result
    }))
  const exit = fiber.pollUnsafe()
  if (exit === undefined) throw new Error(`the process ${name} waits for something else than the disk`)
  return { exit, disk: at }
}

/** Runs a program alone, and kills it before the first call that is one to stop at. */
export const killedBefore = <A, E>(
  name: string,
  disk: Disk,
  program: Effect.Effect<A, E, World>,
  isLast: (call: Call) => boolean
): Disk => {
  let at = disk
  let isKilled = false
  start(name, program, (request) =>
    Effect.suspend(() => {
      if (request.op === "sleep" || request.op === "gate") return Effect.succeed<Result>({ ok: true, value: undefined })
      if (isKilled || isLast(request)) {
        isKilled = true
        return Effect.never
      }
      const step = performCall(at, request)
      at = step.disk
      return Effect.succeed(step.result)
    }))
  if (!isKilled) throw new Error(`the process ${name} makes no such call`)
  return at
}
