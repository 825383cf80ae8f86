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
  /** Milliseconds for one append: half are faster, 99 % are, all are. */
  readonly waits: readonly [half: number, most: number, all: number]
}

let close = async () => {}
let load = async (_fibers: number, _begin: number, _end: number): Promise<Answer> => {
  throw new Error("nothing is open")
}

const answerOf = (waits: ReadonlyArray<number>): Answer => ({
  appends: waits.length,
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
      return answerOf(waits)
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
  return { answers, rate: perSecond(answers.reduce((sum, { appends }) => sum + appends, 0), took) }
}
type Together = Awaited<ReturnType<typeof together>>

const figuresOf = (
  workload: string,
  found: ReadonlyArray<Together>,
  one: ReadonlyArray<Together> | undefined
): ReadonlyArray<Figure> => {
  const rates = found.map(({ rate }) => rate)
  const middle = found.find(({ rate }) => rate === median(rates))!
  const waits = (which: 0 | 1 | 2) => found.map(({ answers }) => Math.max(...answers.map(({ waits }) => waits[which])))
  const figure = (workload: string, unit: Figure["unit"], rounds: ReadonlyArray<number>, note: string): Figure => ({
    suite: suiteName,
    workload,
    subject: "opossum",
    value: median(rounds),
    rounds,
    unit,
    note
  })
  const ratio = one === undefined ? [] : [
    `${median(rates.map((rate, round) => rate / one[round]!.rate)).toFixed(2)} x one process`
  ]
  const each = middle.answers.map(({ appends }) => whole(appends)).join(", ")
  const rate = figure(workload, "/s", rates, [...ratio, `appends of each: ${each}`].join("; "))
  const alone = one?.map(({ rate }) => rate)
  return [
    rate,
    ...(alone === undefined
      ? []
      : [{
        ...rate,
        subject: "opossum, one process",
        value: median(alone),
        rounds: alone,
        note: "the same fibers in one process"
      }]),
    figure(
      `${workload}, longest wait`,
      "ms",
      waits(2),
      `half wait ${median(waits(0)).toFixed(2)} ms, 99 % at most ${median(waits(1)).toFixed(1)} ms`
    )
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
