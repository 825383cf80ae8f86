/**
 * A thread of its own that makes event files, as seen by the one that appends: it is given jobs, and says of each whether it is done. What
 * it could not do, or would have done when it died, is made without it, which tells why if that fails as well.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Worker } from "node:worker_threads"
import type { Access } from "./access.ts"
import type { Answer, Given, Job } from "./eventFilesWorker.ts"

// models

/** Where the files of stores lie that are Node's. Without this service there are no threads. */
export const Place = Context.Reference<{ readonly root: string; readonly access: Access | undefined } | undefined>(
  "effect-opossum/layers/internal/EventFilesThread/Place",
  { defaultValue: () => undefined }
)

export interface Thread {
  readonly isRunning: () => boolean
  /** Whether it is worth asking: it did not end by itself again and again. */
  readonly isUsable: () => boolean
  /** Makes the files of a job, one job at a time. Interrupted, it ends the thread. The thread is started if it is not running. */
  readonly make: (job: Job) => Effect.Effect<boolean>
  /** Ends it, until there is another job. */
  readonly stop: Effect.Effect<void>
}

/** So often in a row the thread may end without an answer. */
const mostDeaths = 3

// constructors

/** Beside this module, built or not. */
const program = () =>
  new URL(/\.ts(\?|$)/.test(import.meta.url) ? "./eventFilesWorker.ts" : "./eventFilesWorker.js", import.meta.url)

export const make = (given: Given): Effect.Effect<Thread, never, Scope.Scope> => {
  let worker: Worker | undefined
  let deaths = 0
  let settle = (_answer: Answer) => {}

  const start = (): Worker => {
    // without what the program's command line or environment loads: it is no part of this
    const started = new Worker(program(), { workerData: given, name: "event files", execArgv: [], env: {} })
    // a program that has come to its end does not wait for it
    started.unref()
    const died = (problem: string) => {
      if (worker !== started) return
      worker = undefined
      deaths += 1
      settle(problem)
    }
    started.on("message", (answer: Answer) => {
      if (worker !== started) return
      deaths = 0
      settle(answer)
    })
    started.on("error", (cause) => died(String(cause)))
    started.on("exit", () => died("the thread has ended"))
    return started
  }

  const stop = Effect.promise(async () => {
    const stopped = worker
    worker = undefined
    await stopped?.terminate()
  })

  const ask = (job: Job): Effect.Effect<Answer> =>
    Effect.callback<Answer>((resume) => {
      try {
        worker ??= start()
      } catch (cause) {
        // this process may start none, or there is no program: in a bundle, say
        deaths = mostDeaths
        return resume(Effect.succeed(String(cause)))
      }
      const asked = worker
      settle = (answer) => {
        settle = () => {}
        asked.unref()
        resume(Effect.succeed(answer))
      }
      asked.ref()
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
      asked.postMessage(job)
      return stop
    })

  return Effect.as(
    Effect.addFinalizer(() => stop),
    {
      isRunning: () => worker !== undefined,
      isUsable: () => deaths < mostDeaths,
      make: (job) =>
        Effect.flatMap(ask(job), (problem) =>
          problem === undefined
            ? Effect.succeed(true)
            : Effect.as(Effect.logDebug("event files are made without the thread for them", problem), false)),
      stop
    }
  )
}
