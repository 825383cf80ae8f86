/** Processes for tests: started, asked, killed, stopped. Each ends with its scope. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { type ChildProcess, fork } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Note } from "../fixtures/appends.ts"
import type { Answer, Command } from "../fixtures/storeProcess.ts"

export { monotonic, toFact } from "../fixtures/appends.ts"

type Ending = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

const fixture = fileURLToPath(new URL("../fixtures/storeProcess.ts", import.meta.url))

/** Every command's own properties, without its name. */
type Rest<T extends Command["_tag"]> = Omit<Extract<Command, { readonly _tag: T }>, "_tag">

export class Process {
  readonly name: string
  /** What it wrote to its standard output and error. */
  output = ""
  private asked = 0
  private readonly child: ChildProcess
  private readonly pending = new Map<
    number,
    { readonly resolve: (answer: Answer) => void; readonly reject: (error: Error) => void }
  >()
  private readonly ended: Promise<Ending>

  constructor(name: string, child: ChildProcess) {
    this.name = name
    this.child = child
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", (text) => this.output += String(text))
    child.on("message", ({ answer, id }: { readonly id: number; readonly answer: Answer }) => {
      this.pending.get(id)?.resolve(answer)
      this.pending.delete(id)
    })
    // what was written to a process that is gone
    child.on("error", () => {})
    this.ended = new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        for (const { reject } of this.pending.values()) {
          reject(new Error(`process ${name} ended (${String(code ?? signal)}) before it answered\n${this.output}`))
        }
        this.pending.clear()
        resolve({ code, signal })
      })
    })
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  /** The answer, whatever it is. Asked at once, whether anybody awaits it or not. */
  ask<T extends Command["_tag"]>(tag: T, rest: Rest<T>): Promise<Answer> {
    const id = this.asked += 1
    const answer = new Promise<Answer>((resolve, reject) => {
      this.pending.set(id, { resolve, reject })
      this.child.send({ id, command: { _tag: tag, ...rest } }, (error) => {
        if (error !== null) reject(error)
      })
    })
    // whoever awaits it is told
    answer.catch(() => {})
    return answer
  }

  /** The answer, which must be none of an error. */
  tell<T extends Command["_tag"]>(tag: T, rest: Rest<T>): Effect.Effect<Answer> {
    return Effect.promise(async () => {
      const answer = await this.ask(tag, rest)
      if (answer.error !== undefined) throw new Error(`process ${this.name}: ${answer.error}\n${answer.message ?? ""}`)
      return answer
    })
  }

  /** A note of what became of an append. */
  append(rest: Rest<"append">): Effect.Effect<Note> {
    return Effect.map(this.tell("append", rest), ({ note }) => note as Note)
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** How it ended, once it did. */
  readonly gone: Effect.Effect<Ending> = Effect.promise(() => this.ended)

  /** Ends it without a chance to do anything. */
  readonly murder: Effect.Effect<Ending> = Effect.suspend(() => {
    this.signal("SIGKILL")
    return this.gone
  })

  /** Closes the store and ends: in order, or the test fails. */
  readonly end: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    yield* this.tell("close", {})
    this.child.disconnect()
    const { code, signal } = yield* this.gone
    if (code !== 0) throw new Error(`process ${this.name} ended with ${String(code ?? signal)}\n${this.output}`)
  })
}

export const spawn = (name: string) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      new Process(name, fork(fixture, [], { execArgv: ["--no-warnings"], stdio: ["ignore", "pipe", "pipe", "ipc"] }))
    ),
    (process) => process.murder
  )

export const spawnAll = <const Names extends ReadonlyArray<string>>(...names: Names) =>
  Effect.map(
    Effect.forEach(names, spawn, { concurrency: "unbounded" }),
    (processes) => processes as { readonly [I in keyof Names]: Process }
  )

/** Waits until other processes have brought it about. */
export const until = (what: string, condition: () => boolean | Promise<boolean>) =>
  Effect.promise(async () => condition()).pipe(
    Effect.flatMap((holds) => holds ? Effect.void : Effect.fail(`waited in vain until ${what}`)),
    Effect.retry({ schedule: Schedule.spaced("5 millis"), times: 4000 }),
    Effect.orDie
  )

/** All whole lines of a witness file. */
export const notesOf = (witness: string): ReadonlyArray<Note> => {
  if (!existsSync(witness)) return []
  const lines = readFileSync(witness, "utf8").split("\n")
  // the last is empty, or was cut off by the process' end
  return lines.slice(0, -1).map((line) => JSON.parse(line) as Note)
}

// figures

export interface Figures {
  readonly count: number
  readonly median: number
  readonly p99: number
  readonly max: number
}

export const figuresOf = (values: ReadonlyArray<number>): Figures => {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0
  return { count: sorted.length, median: at(0.5), p99: at(0.99), max: at(1) }
}

export const showFigures = (what: string, { count, max, median, p99 }: Figures): string =>
  `${what}: median ${median.toFixed(1)} ms, 99% ${p99.toFixed(1)} ms, max ${max.toFixed(1)} ms (${count} times)`
