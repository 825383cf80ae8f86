/** A process that is told what to do by messages: started, asked, killed, stopped. */
import * as Effect from "effect/Effect"
import { type ChildProcess, fork } from "node:child_process"

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** What Node is started with besides. */
export interface Surroundings {
  readonly execArgv?: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
}

const kept = 4000

export class Child<Command extends { readonly _tag: string }, Answer extends { readonly error?: string }> {
  readonly name: string
  /** The end of what it wrote to its standard output and error. */
  output = ""
  private asked = 0
  private readonly child: ChildProcess
  private readonly pending = new Map<number, (answer: Answer | { readonly error: string }) => void>()
  readonly ended: Promise<Ending>

  constructor(fixture: string, name: string, { env, execArgv = [] }: Surroundings = {}) {
    this.name = name
    this.child = fork(fixture, [], {
      execArgv: ["--no-warnings", ...execArgv],
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe", "ipc"]
    })
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (text) => this.output = (this.output + String(text)).slice(-kept))
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
        resolve({ code, signal })
      })
    )
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  /** Asked at once, whether anybody awaits the answer or not. */
  ask(command: Command): Promise<Answer | { readonly error: string }> {
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
      return answer as Answer
    })
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Lets it go: what obeys ends by itself. */
  release(): void {
    if (this.child.connected) this.child.disconnect()
  }

  /** Ends it without a chance to do anything. */
  readonly murder: Effect.Effect<Ending> = Effect.promise(() => {
    this.signal("SIGKILL")
    return this.ended
  })
}

/** For the fixture: does what the parent says, and ends with it. */
export const obey = <Command, Answer extends { readonly error?: string }>(
  run: (command: Command) => Promise<Answer>
): void => {
  if (process.send === undefined) return
  process.on("message", ({ command, id }: { readonly id: number; readonly command: Command }) => {
    void run(command).then(
      (answer) => answer,
      (error: unknown) => ({ error: error instanceof Error ? error.stack ?? error.message : String(error) })
    ).then((answer) => process.send?.({ id, answer }))
  })
  process.on("disconnect", () => process.exit(0))
}
