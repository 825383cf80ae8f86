/**
 * The memory of a process that builds a projection, beside one that merely reads all events and keeps the states in a map. Each runs in
 * a process of its own; so the file is also a program: `fill`, `projection` or `map`, with a folder and a number of keys.
 */
import { Effect, Layer, Schema, Stream } from "effect"
import { EventStore, Opossum, Projection, Query } from "../src/index.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { Booked, booked, inOwnProcess, whole } from "./setup.ts"

interface Measured {
  /** In MiB, of the whole process, after a garbage collection. */
  readonly before: number
  readonly after: number
  readonly peak: number
}

class Totals extends Projection.Service<Totals>()("totals", {
  events: [Booked],
  key: ({ account }) => account,
  state: Schema.Struct({ count: Schema.Int, cents: Schema.Int }),
  apply: { Booked: (state, { cents }) => ({ count: (state?.count ?? 0) + 1, cents: (state?.cents ?? 0) + cents }) }
}) {}

const megabytes = (bytes: number) => bytes / 2 ** 20
const collected = () => {
  globalThis.gc!()
  return megabytes(process.memoryUsage.rss())
}
const peak = () => process.resourceUsage().maxRSS / 1024

const fill = (keys: number) =>
  Effect.forEach(
    Array.from({ length: Math.ceil(keys / 1_000) }, (_, page) => page * 1_000),
    (first) => EventStore.append(Array.from({ length: 1_000 }, (_, i) => booked(first + i, keys))),
    { discard: true }
  )

const measured = <E, R>(
  keys: number,
  build: Effect.Effect<() => number, E, R>
) =>
  Effect.gen(function*() {
    yield* EventStore.head
    const before = collected()
    const size = yield* build
    const found: Measured = { before, after: collected(), peak: peak() }
    // asked last, so that what was built is kept until then
    if (size() !== keys) throw new Error(`${size()} states instead of ${keys}`)
    return found
  })

const projection = (keys: number) =>
  Effect.scoped(measured(
    keys,
    Effect.gen(function*() {
      const context = yield* Layer.build(Totals.layer)
      const size = yield* Effect.provide(Totals.size, context)
      return () => size
    })
  ))

const map = (keys: number) =>
  measured(
    keys,
    Effect.gen(function*() {
      const states = new Map<string, { readonly count: number; readonly cents: number }>()
      yield* EventStore.stream(Query.of(Booked)).pipe(Stream.runForEachArray((page) =>
        Effect.sync(() => {
          for (const { event: { account, cents } } of page) {
            const state = states.get(account)
            states.set(account, { count: (state?.count ?? 0) + 1, cents: (state?.cents ?? 0) + cents })
          }
        })
      ))
      return () => states.size
    })
  )

const programs = { fill, projection, map } as const

const suite = "memory"
const sizes = { smoke: [1_000], standard: [100_000], full: [100_000, 1_000_000] } as const

const run = async ({ preset, progress, root }: Context): Promise<ReadonlyArray<Figure>> => {
  const out: Array<Figure> = []
  for (const keys of sizes[preset]) {
    progress(`${whole(keys)} keys`)
    inOwnProcess("./memory.ts", ["fill", root, String(keys)])
    for (const which of ["projection", "map"] as const) {
      const { after, before, peak } = inOwnProcess("./memory.ts", [which, root, String(keys)]) as Measured
      const subject = which === "map" ? "scan and fold into a map" : "opossum"
      const figure = { suite, subject, unit: "MiB", note: `${before.toFixed(0)} MiB before` } as const
      const workload = `projection of ${whole(keys)} keys`
      out.push({ ...figure, workload, value: after, rounds: [after] })
      out.push({ ...figure, workload: `${workload}, peak`, value: peak, rounds: [peak] })
    }
  }
  return out
}

export const memory: Suite = { name: suite, run }

if (import.meta.main) {
  const [which, root, keys] = process.argv.slice(2) as [keyof typeof programs, string, string]
  const layer = Opossum.layer({ root, store: `memory-${keys}`, eventFiles: false, stateFiles: false })
  const program = Effect.gen(function*() {
    return yield* programs[which](Number(keys))
  })
  console.log(JSON.stringify((await Effect.runPromise(Effect.provide(program, layer))) ?? null))
}
