/** What the suites share: events, the clock, rounds and medians, processes. */
import { Effect, Schema } from "effect"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Event, Tag } from "../src/index.ts"
import type { Figure } from "./measure.ts"

// events: 256 bytes of data, two tags; the same ones in each run

export class Booked extends Event.Class<Booked>()("Booked", {
  account: Schema.String.pipe(Tag.as("account")),
  branch: Schema.String.pipe(Tag.as("branch")),
  cents: Schema.Int,
  text: Schema.String
}) {}

/** As large, and rare. */
export class Closed extends Event.Class<Closed>()("Closed", {
  account: Schema.String.pipe(Tag.as("account")),
  branch: Schema.String.pipe(Tag.as("branch")),
  cents: Schema.Int,
  text: Schema.String
}) {}

/** Numbers from 0 to 2^32 - 1, the same ones for the same seed. */
export const makeRandom = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1)
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
  return (mixed ^ (mixed >>> 14)) >>> 0
}

const letters = (() => {
  const random = makeRandom(1)
  return Array.from({ length: 4096 }, () => "abcdefghijklmnopqrstuvwxyz      "[random() % 32]!).join("")
})()

const fieldsOf = (n: number, accounts: number) => {
  const from = (n * 61) % (letters.length - 180)
  return {
    // a prime, so that each account has its turn before the first one has another, and neighbours lie apart
    account: `a${(n * 7919) % accounts}`,
    branch: `b${n % 100}`,
    cents: n,
    text: letters.slice(from, from + 180)
  }
}
export const booked = (n: number, accounts: number): Booked => new Booked(fieldsOf(n, accounts))
/** One of an account of its own. */
export const bookedFor = (account: string, n: number): Booked => new Booked({ ...fieldsOf(n, 1), account })
export const closed = (n: number, accounts: number): Closed => new Closed(fieldsOf(n, accounts))

// measuring

export const quantile = (values: ReadonlyArray<number>, q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!
export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)
export const perSecond = (count: number, millis: number): number => (count / millis) * 1000
export const whole = (n: number): string => Math.round(n).toLocaleString("en-US")

export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(effect, (value) => [value, performance.now() - start] as const)
  })

/** How many of so many a second. */
export const rateOf = async (count: number, run: () => unknown): Promise<number> => {
  const start = performance.now()
  await run()
  return perSecond(count, performance.now() - start)
}

/**
 * Young garbage of one side shall not be collected in the time of another. A full collection would be no help: it makes the engine forget
 * what it has compiled and learnt, and halves the rate of what is measured next.
 */
const collect: () => void = (() => {
  setFlagsFromString("--expose-gc")
  const gc = runInNewContext("gc") as (options: { readonly type: "minor" }) => void
  return () => gc({ type: "minor" })
})()

/** The rounds of each subject, by its name. */
export interface Rounds {
  readonly [subject: string]: ReadonlyArray<number>
}

/** What is measured in turn, round by round; each run answers with its figure. */
export const inTurn = async (
  rounds: number,
  runs: { readonly [subject: string]: (round: number) => number | Promise<number> }
): Promise<Rounds> => {
  const subjects = Object.keys(runs)
  const found = Object.fromEntries(subjects.map((subject) => [subject, [] as Array<number>]))
  for (let round = 0; round < rounds; round++) {
    // whoever comes first in one round comes last in the next
    for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
      collect()
      found[subject]!.push(await runs[subject]!(round))
    }
  }
  return found
}

/** Figures of subjects that were measured alike, by their names. */
export const figures = (
  of: Pick<Figure, "suite" | "workload" | "unit">,
  found: Rounds,
  notes: { readonly [subject: string]: string } = {}
): ReadonlyArray<Figure> =>
  Object.entries(found).map(([subject, rounds]) => ({
    ...of,
    subject,
    value: median(rounds),
    rounds,
    ...(notes[subject] === undefined ? {} : { note: notes[subject] })
  }))

// processes

/** Runs a program of this folder in a process of its own, and answers with what it prints last, as JSON. */
export const inOwnProcess = (program: string, args: ReadonlyArray<string>): unknown => {
  const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    ["--expose-gc", "--import", new URL("../scripts/source.ts", import.meta.url).href, file(program), ...args],
    { encoding: "utf8" }
  )
  if (status !== 0) throw new Error(`${program} ${args.join(" ")} ended with ${status}\n${stderr}`)
  return JSON.parse(stdout.trim().split("\n").at(-1)!)
}
