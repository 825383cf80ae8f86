/**
 * Several processes that append to one store at once: what they do together, and how long one waits. Also a program: one of them.
 *
 * Each has so many fibers that append under a condition of their own, one append after another, for a fixed time.
 */
import { Effect, ManagedRuntime } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { Event, EventStore, Query } from "../src/index.ts"
import { type Child, serve, start } from "./children.ts"
import { layerOf } from "./generate.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { booked, median, perSecond, quantile, whole } from "./setup.ts"

const suiteName = "processes"

/** Milliseconds on a clock that all processes of a machine share. */
const now = () => Number(process.hrtime.bigint()) / 1e6

// what each process does

interface Answer {
  readonly appends: number
  /** Microseconds of the processor. */
  readonly cpu: number
  /** Milliseconds for one append: half are faster, 99 % are, all are. */
  readonly waits: readonly [half: number, most: number, all: number]
}

let close = async () => {}
let load = async (_fibers: number, _begin: number, _end: number): Promise<Answer> => {
  throw new Error("nothing is open")
}

const answerOf = (waits: ReadonlyArray<number>, { system, user }: NodeJS.CpuUsage): Answer => ({
  appends: waits.length,
  cpu: system + user,
  waits: [quantile(waits, 0.5), quantile(waits, 0.99), quantile(waits, 1)]
})

const steps = {
  /** Opens a store, and appends to it; `own` is the process's name. */
  open: async (root: string, store: string, own: string) => {
    let n = 0
    const runtime = ManagedRuntime.make(layerOf(root, store))
    const append = Effect.suspend(() => {
      const tag = `till:${own}-${n}` as const
      return EventStore.append(Event.withTags(booked(n++, 1_000), [tag]), { failIfEventsMatch: Query.tags(tag) })
    })
    await runtime.runPromise(append)
    load = async (fibers, begin, end) => {
      const waits: Array<number> = []
      const before = process.cpuUsage()
      const one = Effect.gen(function*() {
        yield* Effect.sleep(Math.max(0, begin - now()))
        for (;;) {
          const called = now()
          if (called >= end) return
          yield* append
          waits.push(now() - called)
        }
      })
      await runtime.runPromise(
        Effect.forEach(Array.from({ length: fibers }), () => one, { concurrency: "unbounded", discard: true })
      )
      return answerOf(waits, process.cpuUsage(before))
    }
    close = () => runtime.dispose()
  },
  /** From one time to another. */
  load: async (fibers: number, begin: number, end: number) => await load(fibers, begin, end),
  close: async () => await close()
}
serve(steps)

// what they are asked for

const program = "./processes.ts"

interface Scale {
  /** How many at once. */
  readonly processes: ReadonlyArray<number>
  readonly fibers: ReadonlyArray<number>
  readonly rounds: number
  readonly millis: number
}
const scales: { readonly [P in Context["preset"]]: Scale } = {
  smoke: { processes: [1, 2], fibers: [64, 1], rounds: 1, millis: 500 },
  standard: { processes: [1, 2, 4], fibers: [64, 1], rounds: 3, millis: 5_000 },
  full: { processes: [1, 2, 4], fibers: [64, 1], rounds: 5, millis: 10_000 }
}

/** Until all are there. */
const lead = 50

const together = async (
  children: ReadonlyArray<Child<typeof steps>>,
  root: string,
  store: string,
  fibers: number,
  millis: number
) => {
  for (const [i, child] of children.entries()) await child.ask("open", root, store, `${store}-${i}`)
  const begin = now() + lead
  const answers = await Promise.all(children.map((child) => child.ask("load", fibers, begin, begin + millis)))
  const took = Math.max(now() - begin, millis)
  for (const child of children) await child.ask("close")
  Fs.rmSync(join(root, store), { recursive: true })
  const sum = (what: "appends" | "cpu") => answers.reduce((sum, answer) => sum + answer[what], 0)
  return { answers, rate: perSecond(sum("appends"), took), cpu: sum("cpu") / sum("appends") }
}
type Together = Awaited<ReturnType<typeof together>>

const figuresOf = (
  name: string,
  found: ReadonlyArray<Together>,
  one: ReadonlyArray<Together> | undefined
): ReadonlyArray<Figure> => {
  const figure = (
    workload: string,
    unit: Figure["unit"],
    of: (together: Together) => number,
    note: string
  ): ReadonlyArray<Figure> => {
    const rounds = found.map(of)
    const own: Figure = { suite: suiteName, workload, subject: "opossum", value: median(rounds), rounds, unit, note }
    if (one === undefined) return [own]
    const alone = one.map(of)
    const ratio = median(rounds.map((value, round) => value / alone[round]!)).toFixed(2)
    return [
      { ...own, note: `${ratio} x one process; ${note}` },
      { ...own, subject: "opossum, one process", value: median(alone), rounds: alone, note: "with as many fibers" }
    ]
  }
  const longest = (which: 0 | 1 | 2) => ({ answers }: Together) => Math.max(...answers.map(({ waits }) => waits[which]))
  const typical = (which: 0 | 1) => `${median(found.map(longest(which))).toFixed(1)} ms`
  const last = found.at(-1)!.answers.map(({ appends }) => whole(appends)).join(", ")
  return [
    ...figure(name, "/s", ({ rate }) => rate, `appends of each in the last round: ${last}`),
    ...figure(`${name}, longest wait`, "ms", longest(2), `half wait ${typical(0)}, 99 % at most ${typical(1)}`),
    ...figure(`${name}, processor time for an append`, "us", ({ cpu }) => cpu, "of all processes together")
  ]
}

export const processes: Suite = {
  name: suiteName,
  run: async ({ preset, progress, root }) => {
    const scale = scales[preset]
    const folder = join(root, suiteName)
    const children = Array.from({ length: Math.max(...scale.processes) }, () => start<typeof steps>(program))
    let stores = 0
    const run = (count: number, fibers: number, millis: number) =>
      together(children.slice(0, count), folder, `round-${stores++}`, fibers, millis)
    const figures: Array<Figure> = []
    try {
      // until the compiler has done its work, in each of them
      await run(children.length, 64, scale.millis / 5)
      for (const child of preset === "smoke" ? [] : children) {
        await together([child], folder, `round-${stores++}`, 64, 2_000)
      }
      for (const fibers of scale.fibers) {
        const found = new Map(scale.processes.map((count) => [count, [] as Array<Together>]))
        for (let round = 0; round < scale.rounds; round++) {
          for (const count of round % 2 === 0 ? scale.processes : scale.processes.toReversed()) {
            found.get(count)!.push(await run(count, fibers, scale.millis))
          }
        }
        for (const [count, rounds] of found) {
          const name = `${count === 1 ? "1 process" : `${count} processes`} x ${
            fibers === 1 ? "1 fiber" : `${fibers} fibers`
          }`
          const made = figuresOf(name, rounds, count === 1 ? undefined : found.get(1))
          for (const { note, subject, unit, value, workload } of made) {
            progress(`${workload}, ${subject}: ${value.toFixed(1)} ${unit}, ${note ?? ""}`)
          }
          figures.push(...made)
        }
      }
    } finally {
      await Promise.all(children.map((child) => child.end()))
      Fs.rmSync(folder, { recursive: true, force: true })
    }
    return figures
  }
}
