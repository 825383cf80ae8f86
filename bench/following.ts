/**
 * How long an event takes to a subscriber, from the append's call and from its answer: in one process, and from one process to another.
 * Also a program: the one that appends.
 */
import { Deferred, Effect, Fiber, ManagedRuntime, Stream } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { EventStore, Query } from "../src/index.ts"
import { serve, start } from "./children.ts"
import { layerOf } from "./generate.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { Booked, booked, median, perSecond, quantile, whole } from "./setup.ts"

const suiteName = "following"

/** Microseconds on a clock that all processes of a machine share. */
const now = () => Number(process.hrtime.bigint()) / 1e3

interface Append {
  readonly called: number
  readonly answered: number
}
type Runtime = ManagedRuntime.ManagedRuntime<EventStore.EventStore, unknown>

/** One append after another: the event's number is its place in the list. */
const appending = (count: number, pause: number) =>
  Effect.gen(function*() {
    const out: Array<Append> = []
    for (let i = 0; i < count; i++) {
      if (pause > 0) yield* Effect.sleep(pause)
      const called = now()
      yield* EventStore.append(booked(i, 1_000))
      out.push({ called, answered: now() })
    }
    return out
  })

/** When each event came. Ready when it has told so. */
const subscribing = (runtime: Runtime, count: number) =>
  runtime.runPromise(Effect.gen(function*() {
    const after = yield* EventStore.head
    const times = new Array<number>(count).fill(NaN)
    const all = yield* Deferred.make<ReadonlyArray<number>>()
    let missing = count
    const fiber = yield* Effect.forkDetach(
      EventStore.subscribe(Query.of(Booked), { after }).pipe(
        Stream.runForEachArray((page) =>
          Effect.sync(() => {
            const time = now()
            for (const { event: { cents } } of page) {
              times[cents] = time
              missing--
            }
            if (missing === 0) Deferred.doneUnsafe(all, Effect.succeed(times))
          })
        )
      )
    )
    return Effect.ensuring(Deferred.await(all), Fiber.interrupt(fiber))
  }))

let runtime: Runtime | undefined
const steps = {
  open: async (root: string, store: string) => {
    runtime = ManagedRuntime.make(layerOf(root, store))
    await runtime.runPromise(EventStore.head)
  },
  append: async (count: number, pause: number) => await runtime!.runPromise(appending(count, pause)),
  close: async () => await runtime!.dispose()
}
serve(steps)

// what is asked for

interface Pace {
  readonly name: string
  /** Milliseconds before each append. */
  readonly pause: number
  readonly count: number
}
interface Scale {
  readonly rounds: number
  readonly paces: ReadonlyArray<Pace>
}
const rare = "one append every 5 ms"
const steady = "one append after another"
const scales: { readonly [P in Context["preset"]]: Scale } = {
  smoke: { rounds: 1, paces: [{ name: rare, pause: 5, count: 40 }, { name: steady, pause: 0, count: 100 }] },
  standard: { rounds: 5, paces: [{ name: rare, pause: 5, count: 400 }, { name: steady, pause: 0, count: 4_000 }] },
  full: { rounds: 5, paces: [{ name: rare, pause: 5, count: 2_000 }, { name: steady, pause: 0, count: 20_000 }] }
}

interface Found {
  readonly appends: ReadonlyArray<Append>
  readonly times: ReadonlyArray<number>
}

const figuresOf = (place: string, pace: Pace, rounds: ReadonlyArray<Found>): ReadonlyArray<Figure> => {
  const rate = median(
    rounds.map(({ appends }) => perSecond(appends.length, (appends.at(-1)!.answered - appends[0]!.called) / 1_000))
  )
  const took = median(rounds.map(({ appends }) => median(appends.map(({ answered, called }) => answered - called))))
  return (["answered", "called"] as const).flatMap((since) =>
    ([["half", 0.5], ["99 %", 0.99]] as const).map(([name, q]): Figure => {
      const values = rounds.map(({ appends, times }) =>
        quantile(appends.map((append, i) => times[i]! - append[since]), q)
      )
      return {
        suite: suiteName,
        workload: `${place}, ${pace.name}: since it was ${since}, ${name}`,
        subject: "opossum",
        value: median(values),
        rounds: values,
        unit: "us",
        note: `${whole(rate)} appends/s, an append takes ${whole(took)} us`
      }
    })
  )
}

export const following: Suite = {
  name: suiteName,
  run: async ({ preset, progress, root }) => {
    const { paces, rounds } = scales[preset]
    const folder = join(root, suiteName)
    const here: Runtime = ManagedRuntime.make(layerOf(folder, "one"))
    const there: Runtime = ManagedRuntime.make(layerOf(folder, "two"))
    const other = start<typeof steps>("./following.ts")
    const figures: Array<Figure> = []
    try {
      await here.runPromise(EventStore.head)
      await there.runPromise(EventStore.head)
      await other.ask("open", folder, "two")
      const places = [
        ["in one process", here, (count: number, pause: number) => here.runPromise(appending(count, pause))],
        ["across two processes", there, (count: number, pause: number) => other.ask("append", count, pause)]
      ] as const
      const measure = async ([, runtime, append]: typeof places[number], { count, pause }: Pace): Promise<Found> => {
        const arrived = await subscribing(runtime, count)
        const appends = await append(count, pause)
        return { appends, times: await runtime.runPromise(arrived) }
      }
      // until the compiler has done its work
      for (const place of places) await measure(place, { name: "", pause: 0, count: preset === "smoke" ? 50 : 4_000 })
      for (const pace of paces) {
        const found = places.map((place) => ({ place, rounds: [] as Array<Found> }))
        for (let round = 0; round < rounds; round++) {
          for (const { place, rounds } of found) rounds.push(await measure(place, pace))
        }
        for (const { place: [name], rounds } of found) {
          const made = figuresOf(name, pace, rounds)
          for (const { note, unit, value, workload } of made) {
            progress(`${workload}: ${value.toFixed(0)} ${unit}, ${note ?? ""}`)
          }
          figures.push(...made)
        }
      }
      await other.ask("close")
    } finally {
      await other.end()
      await here.dispose()
      await there.dispose()
      Fs.rmSync(folder, { recursive: true, force: true })
    }
    return figures
  }
}
