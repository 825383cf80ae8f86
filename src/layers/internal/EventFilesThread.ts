/**
 * A thread of its own that makes event files, as seen by the one that appends. It opens the store as another process would; all that
 * passes between the two is that there is news, and how far the files are.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { Worker } from "node:worker_threads"
import type { Access } from "./access.ts"

// models

/** Where the store's files lie: without this service no thread is started. */
export const Place = Context.Reference<{ readonly root: string; readonly access: Access | undefined } | undefined>(
  "effect-opossum/layers/internal/EventFilesThread/Place",
  { defaultValue: () => undefined }
)

export interface Options {
  readonly root: string
  readonly access: Access | undefined
  readonly store: string
  readonly writeProtect: boolean
}

/** What the thread is given. */
export interface Given extends Options {
  /** Shared: how often there was news, whether the thread sleeps, and how many thousands of positions are taken. */
  readonly signals: Int32Array<SharedArrayBuffer>
}

export const newsAt = 0
export const sleepsAt = 1
export const thousandsAt = 2

/** What the thread tells. */
export type Told =
  | { readonly _tag: "Begun" }
  | { readonly _tag: "Reached"; readonly position: number }
  | { readonly _tag: "Failed"; readonly problem: string | undefined }
  | { readonly _tag: "Idle" }
  | { readonly _tag: "Deleted" }

/** What it is told. */
export type Order = "wake" | "stop"

/** How it ended. */
export type End =
  | { readonly _tag: "Idle" }
  | { readonly _tag: "Deleted" }
  /** `hasBegun`: it could make files, before. */
  | { readonly _tag: "Died"; readonly hasBegun: boolean; readonly cause: unknown }

export interface Thread {
  /** Says that there is something new up to a position, or that somebody waits. Costs next to nothing. */
  readonly wake: (position: number) => void
  /** Starts the thread, until it ends. Interrupted, it ends it. */
  readonly run: (listener: {
    readonly reached: (position: number) => Effect.Effect<void>
    readonly failed: (problem: string | undefined) => Effect.Effect<void>
  }) => Effect.Effect<End>
}

/** How long the thread may take to end when it is asked to, in milliseconds. */
const stoppingTime = 500

// constructors

/** Beside this module, built or not. */
const program = () =>
  new URL(/\.ts(\?|$)/.test(import.meta.url) ? "../EventFilesWorker.ts" : "../EventFilesWorker.js", import.meta.url)

export const make = (options: Options): Thread => {
  const signals = new Int32Array(new SharedArrayBuffer(12))
  let worker: Worker | undefined
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  const tell = (order: Order) => worker?.postMessage(order)

  const start = (given: Given): Worker | { readonly cause: unknown } => {
    try {
      // without what the program's own command line loads: it is no part of this
      return new Worker(program(), { workerData: given, execArgv: [], name: "event files" })
    } catch (cause) {
      return { cause }
    }
  }

  return {
    wake: (position) => {
      if (worker === undefined) return
      // the position before the first is counted
      Atomics.store(signals, thousandsAt, Math.floor((position + 1) / 1000))
      Atomics.add(signals, newsAt, 1)
      if (Atomics.exchange(signals, sleepsAt, 0) === 1) tell("wake")
    },
    run: ({ failed, reached }) =>
      Effect.flatMap(Effect.context<never>(), (context) =>
        Effect.callback<End>((resume) => {
          const run = Effect.runForkWith(context)
          const started = start({ ...options, signals })
          if (!(started instanceof Worker)) {
            return resume(Effect.succeed({ _tag: "Died", hasBegun: false, cause: started.cause }))
          }
          worker = started
          let end: End = { _tag: "Died", hasBegun: false, cause: undefined }
          started.on("message", (told: Told) => {
            switch (told._tag) {
              case "Begun":
                end = { _tag: "Died", hasBegun: true, cause: undefined }
                return
              case "Reached":
                return void run(reached(told.position))
              case "Failed":
                return void run(failed(told.problem))
              case "Idle":
              case "Deleted":
                end = told
            }
          })
          started.on("error", (cause) => {
            if (end._tag === "Died") end = { ...end, cause }
          })
          const gone = new Promise<void>((resolve) =>
            started.on("exit", () => {
              worker = undefined
              resume(Effect.succeed(end))
              resolve()
            })
          )
          return Effect.promise(() => {
            tell("stop")
            const timer = setTimeout(() => void started.terminate(), stoppingTime)
            return gone.finally(() => clearTimeout(timer))
          })
        }))
  }
}
