/** What the parts of the benchmark share: options, events, the clock, medians, and the table that is printed. */
import { Effect, Schema } from "effect"
import { spawnSync } from "node:child_process"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Event, Tag } from "../src/index.ts"

// options

const option = (name: string): string | undefined => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}
export const isSmoke = process.argv.includes("--smoke")
export const eventFiles = process.argv.includes("--event-files")
export const events = Number(option("events") ?? (isSmoke ? 2_000 : 100_000))
const only = option("only")?.split(",")
export const isWanted = (part: "store" | "decisions" | "projections" | "memory"): boolean =>
  only === undefined || only.includes(part)
export const makeRoot = (): string => mkdtempSync(join(option("root") ?? tmpdir(), "effect-opossum-bench-"))

// events: 256 bytes of data, two tags; the same ones in each run

export class Booked extends Event.Class<Booked>()("Booked", {
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

export const booked = (n: number, accounts: number): Booked => {
  const from = (n * 61) % (letters.length - 180)
  return new Booked({
    // a prime, so that each account has its turn before the first one has another, and neighbours lie apart
    account: `a${(n * 7919) % accounts}`,
    branch: `b${n % 100}`,
    cents: n,
    text: letters.slice(from, from + 180)
  })
}

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

/** What is measured in turn, round by round; each run answers with a rate. */
export const interleaved = <Name extends string, E, R>(
  rounds: number,
  runs: { readonly [N in Name]: (round: number) => Effect.Effect<number, E, R> }
): Effect.Effect<{ readonly [N in Name]: number }, E, R> =>
  Effect.gen(function*() {
    const names = Object.keys(runs) as Array<Name>
    const rates = new Map(names.map((name) => [name, [] as Array<number>]))
    for (let round = 0; round < rounds; round++) {
      // whoever comes first in one round comes last in the next
      for (const name of round % 2 === 0 ? names : names.toReversed()) rates.get(name)!.push(yield* runs[name](round))
    }
    return Object.fromEntries(names.map((name) => [name, median(rates.get(name)!)])) as { [N in Name]: number }
  })

// printing

type Row = readonly [name: string, value: string, note: string]
const rows: Array<Row> = []
export const report = (...row: Row): void => void rows.push(row)
export const section = (title: string): void => void rows.push([`\n${title}`, "", ""])
export const print = (): void => {
  const widths = [0, 1].map((column) =>
    Math.max(...rows.filter((row) => row[1] !== "").map((row) => row[column]!.length))
  )
  for (const [name, value, note] of rows) {
    console.log(value === "" ? name : `${name.padEnd(widths[0]!)}  ${value.padStart(widths[1]!)}  ${note}`)
  }
}

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
