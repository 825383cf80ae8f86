/** Processes of the benchmark's own: programs of this folder that are asked for one thing after another, and can be killed. */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"

/** What a program can be asked for. What goes in and out is JSON. */
export type Steps = { readonly [name: string]: (...args: ReadonlyArray<never>) => Promise<unknown> }

export interface Child<S extends Steps> {
  readonly ask: <K extends keyof S & string>(step: K, ...args: Parameters<S[K]>) => Promise<Awaited<ReturnType<S[K]>>>
  /** Without warning, as a crash would. */
  readonly kill: () => Promise<void>
  readonly end: () => Promise<void>
}

interface Question {
  readonly step: string
  readonly args: ReadonlyArray<unknown>
}
type Answer = { readonly value: unknown } | { readonly problem: string }

/** Starts a program of this folder that calls `serve`. */
export const start = <S extends Steps>(program: string, execArgv: ReadonlyArray<string> = []): Child<S> => {
  const child = fork(fileURLToPath(new URL(program, import.meta.url)), ["--serve"], {
    execArgv: ["--expose-gc", "--import", new URL("../scripts/source.ts", import.meta.url).href, ...execArgv],
    stdio: ["ignore", "ignore", "inherit", "ipc"]
  })
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(`${program} ended with ${code ?? signal}`))
  })
  return {
    ask: (step, ...args) =>
      new Promise((resolve, reject) => {
        child.once("message", (answer: Answer) =>
          "value" in answer
            ? resolve(answer.value as never)
            : reject(new Error(`${program}, ${step}: ${answer.problem}`)))
        void ended.then((how) => reject(new Error(how)))
        child.send({ step, args } satisfies Question)
      }),
    kill: async () => {
      child.kill("SIGKILL")
      await ended
    },
    end: async () => {
      if (child.connected) child.disconnect()
      await ended
    }
  }
}

/** For one thing in a process of its own. */
export const once = async <S extends Steps, K extends keyof S & string>(
  program: string,
  step: K,
  ...args: Parameters<S[K]>
): Promise<Awaited<ReturnType<S[K]>>> => {
  const child = start<S>(program)
  try {
    return await child.ask(step, ...args)
  } finally {
    await child.end()
  }
}

/** Answers whoever started this program. */
export const serve = (steps: Steps): void => {
  if (!process.argv.includes("--serve")) return
  process.on("message", ({ args, step }: Question) => {
    steps[step]!(...args as ReadonlyArray<never>).then(
      (value): Answer => ({ value: value ?? null }),
      (error: unknown): Answer => ({ problem: error instanceof Error ? error.stack ?? error.message : String(error) })
    ).then((answer) => process.send!(answer))
  })
  process.once("disconnect", () => process.exit(0))
}
