/** Processes of `test/fixtures/projectionProcess.ts`: started, asked, killed. */
import * as Effect from "effect/Effect"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Answer, Command } from "../fixtures/projectionProcess.ts"

const fixture = fileURLToPath(new URL("../fixtures/projectionProcess.ts", import.meta.url))

export class Process {
  readonly name: string
  private output = ""
  private asked = 0
  private readonly child: ChildProcess
  private readonly pending = new Map<number, (answer: Answer) => void>()
  private readonly ended: Promise<void>

  constructor(name: string) {
    this.name = name
    this.child = fork(fixture, [], { execArgv: ["--no-warnings"], stdio: ["ignore", "pipe", "pipe", "ipc"] })
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (text) => this.output = (this.output + String(text)).slice(-4000))
    }
    this.child.on("message", ({ answer, id }: { readonly id: number; readonly answer: Answer }) => {
      this.pending.get(id)?.(answer)
      this.pending.delete(id)
    })
    // what was written to a process that is gone
    this.child.on("error", () => {})
    this.ended = new Promise((resolve) =>
      this.child.once("exit", (code, signal) => {
        for (const answer of this.pending.values()) answer({ error: `it ended with ${String(code ?? signal)}` })
        this.pending.clear()
        resolve()
      })
    )
  }

  /** Asked at once, whether anybody awaits the answer or not. */
  ask(command: Command): Promise<Answer> {
    const id = this.asked += 1
    return new Promise((resolve) => {
      this.pending.set(id, resolve)
      this.child.send({ id, command }, (error) => {
        if (error !== null) resolve({ error: error.message })
      })
    })
  }

  /** The answer, which must be none of an error. */
  tell(command: Command): Effect.Effect<Answer> {
    return Effect.promise(async () => {
      const answer = await this.ask(command)
      if (answer.error !== undefined) {
        throw new Error(`process ${this.name}, ${command._tag}: ${answer.error}\n${this.output}`)
      }
      return answer
    })
  }

  /** Ends it without a chance to do anything. */
  readonly murder: Effect.Effect<void> = Effect.promise(() => {
    this.child.kill("SIGKILL")
    return this.ended
  })
}

export const spawn = (name: string) => Effect.acquireRelease(Effect.sync(() => new Process(name)), (it) => it.murder)
