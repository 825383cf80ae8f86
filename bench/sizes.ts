/**
 * What grows with a store: opening, appending, asking, memory and bytes, at several sizes. Each thing is measured in a fresh process,
 * with the files in the page cache. Also a program, which measures what its parent asks for.
 *
 * With `--keep DIR` the stores stay there, and are found again by the next run.
 */
import { Effect, ManagedRuntime, Stream } from "effect"
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import { join } from "node:path"
import { type AppendCondition, Event, EventStore, EventStoreMaintenance, type Position, Query } from "../src/index.ts"
import { type Child, once, serve, start } from "./children.ts"
import { accountsOf, argument, bytesOf, copy, fill, layerOf } from "./generate.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { Booked, booked, median, perSecond, quantile, timed, whole } from "./setup.ts"

const suiteName = "sizes"
const baseSize = 1_000
const storeOf = (events: number) => `events-${events}`

// what a process of its own does

interface Memory {
  /** In MiB, after a garbage collection. */
  readonly rss: number
  readonly heap: number
}
const memory = (): Memory => {
  globalThis.gc!()
  globalThis.gc!()
  const { external, heapUsed, rss } = process.memoryUsage()
  return { rss: rss / 2 ** 20, heap: (heapUsed + external) / 2 ** 20 }
}

const run = <A, E>(root: string, events: number, effect: Effect.Effect<A, E, EventStore | EventStoreMaintenance>) =>
  Effect.runPromise(Effect.provide(effect, layerOf(root, storeOf(events))))

type EventStore = EventStore.EventStore
type EventStoreMaintenance = EventStoreMaintenance.EventStoreMaintenance

let made = 0
/** A tag that nothing has, and an event that gets it. */
const unique = () => {
  const tag = `till:${randomUUID()}` as const
  const { branch, cents, text } = booked(made++, 1)
  return { event: Event.withTags(new Booked({ account: "none", branch, cents, text }), [tag]), query: Query.tags(tag) }
}

const kinds = {
  "no after": () => {
    const { event, query } = unique()
    return [event, { failIfEventsMatch: query }] as const
  },
  "after the head": (head: Position.Position) => {
    const { event, query } = unique()
    return [event, { failIfEventsMatch: query, after: head }] as const
  },
  "after the head, given ids": (head: Position.Position) => {
    const { event, query } = unique()
    return [Event.withMetadata(event, { id: randomUUID() }), { failIfEventsMatch: query, after: head }] as const
  }
} satisfies {
  readonly [kind: string]: (
    head: Position.Position
  ) => readonly [Event.NewEvent<Booked>, AppendCondition.AppendCondition]
}
type Kind = keyof typeof kinds
const kindNames = Object.keys(kinds) as ReadonlyArray<Kind>

/** Microseconds for each append. */
const appending = (kind: Kind, fibers: number, count: number) =>
  Effect.gen(function*() {
    const each = Math.ceil(count / fibers)
    const first = (yield* EventStore.head)!
    const [, millis] = yield* timed(Effect.forEach(
      Array.from({ length: fibers }),
      () =>
        Effect.gen(function*() {
          let head = first
          for (let i = 0; i < each; i++) head = (yield* EventStore.append(...kinds[kind](head))).head
        }),
      { concurrency: "unbounded", discard: true }
    ))
    return millis / (each * fibers) * 1_000
  })

const queries = {
  "20 events by tag": (i: number, accounts: number) =>
    EventStore.read(Query.of(Booked, { account: `a${i % accounts}` })),
  // 79 is the inverse of what `booked` multiplies with, modulo 100
  "20 events by two tags": (i: number, accounts: number) =>
    EventStore.read(Query.of(Booked, { account: `a${i % accounts}`, branch: `b${i * 79 % 100}` })),
  "1 event by tag, limit": (i: number, accounts: number) =>
    EventStore.read(Query.of(Booked, { account: `a${i % accounts}` }), { limit: 1 }),
  "0 events by tag": (i: number) => EventStore.read(Query.of(Booked, { account: `none${i}` })),
  "readLast by tag": (i: number, accounts: number) =>
    Effect.map(EventStore.readLast(Query.of(Booked, { account: `a${i % accounts}` })), (last) => ({
      events: last === undefined ? [] : [last]
    }))
} satisfies { readonly [name: string]: Asking }
type Asking = (
  i: number,
  accounts: number
) => Effect.Effect<{ readonly events: ReadonlyArray<unknown> }, EventStore.ReadError, EventStore>
const foundBy = (name: string) => name === "readLast by tag" ? 1 : Number(name.split(" ")[0])

const steps = {
  /** From nothing to the head. */
  open: async (root: string, events: number) => {
    const before = memory()
    const begun = performance.now()
    return await run(
      root,
      events,
      Effect.gen(function*() {
        const head = yield* EventStore.head
        const millis = performance.now() - begun
        if (head === undefined || head < events) throw new Error(`${whole(events)} events, but the head is ${head}`)
        return { millis, head, before, after: memory() }
      })
    )
  },
  /** From nothing to an append that was answered. */
  openAndAppend: async (root: string, events: number) => {
    const begun = performance.now()
    return await run(
      root,
      events,
      Effect.map(EventStore.append(...kinds["no after"]()), () => performance.now() - begun)
    )
  },
  grow: async (root: string, events: number, count: number) =>
    await run(
      root,
      events,
      Effect.gen(function*() {
        for (let left = count; left > 0; left -= 1_000) {
          yield* EventStore.append(Array.from({ length: Math.min(left, 1_000) }, () => unique().event))
        }
      })
    ),
  /** Answers in the midst of appending, to be killed. */
  appendUntilKilled: (root: string, events: number, after: number) =>
    new Promise<null>((resolve, reject) => {
      let stored = 0
      run(
        root,
        events,
        Effect.forEach(
          Array.from({ length: 64 }),
          () =>
            Effect.gen(function*() {
              for (;;) {
                yield* EventStore.append(...kinds["no after"]())
                if (++stored === after) resolve(null)
              }
            }),
          { concurrency: "unbounded", discard: true }
        )
      ).catch(reject)
    }),
  /** The same appends to this store and, in turn, to small ones. */
  appends: async (root: string, events: number, base: string, rounds: number, loads: ReadonlyArray<Load>) => {
    const out: Array<Appends> = []
    const warm = join(base, "warm")
    await fill(warm, storeOf(baseSize), baseSize, () => {})
    await run(
      warm,
      baseSize,
      Effect.forEach(
        kindNames.flatMap((kind) => loads.map((load) => [kind, load] as const)),
        ([kind, { count, fibers }]) => appending(kind, fibers, count),
        { discard: true }
      )
    )
    const large = ManagedRuntime.make(layerOf(root, storeOf(events)))
    for (const kind of kindNames) {
      const found = loads.map(({ fibers }): Appends => ({ kind, fibers, large: [], small: [] }))
      for (let round = 0; round < rounds; round++) {
        // a new one for each round, so that it stays small
        const folder = join(base, `${kind.length}-${round}`)
        await fill(folder, storeOf(baseSize), baseSize, () => {})
        const small = ManagedRuntime.make(layerOf(folder, storeOf(baseSize)))
        for (const [i, { count, fibers }] of loads.entries()) {
          const sides = [[large, found[i]!.large], [small, found[i]!.small]] as const
          for (const [runtime, micros] of round % 2 === 0 ? sides : sides.toReversed()) {
            // the first one has to get the right to write
            await runtime.runPromise(appending(kind, 1, 1))
            globalThis.gc!()
            micros.push(await runtime.runPromise(appending(kind, fibers, count)))
          }
        }
        await small.dispose()
        Fs.rmSync(folder, { recursive: true })
      }
      out.push(...found)
    }
    await large.dispose()
    return out
  },
  /** Microseconds for each query, round by round; the first round is not counted. */
  queries: async (root: string, events: number, rounds: number, count: number) => {
    const accounts = accountsOf(events)
    const stride = Math.max(1, Math.floor(accounts / count))
    return await run(
      root,
      events,
      Effect.gen(function*() {
        const out = Object.entries<Asking>(queries).map(([name, asking]) => ({
          name,
          asking,
          micros: [] as Array<number>
        }))
        for (let round = 0; round <= rounds; round++) {
          for (const { asking, micros, name } of out) {
            let found = 0
            const [, millis] = yield* timed(Effect.forEach(
              Array.from({ length: count }, (_, i) => i * stride),
              (i) => Effect.map(asking(i, accounts), ({ events }) => void (found += events.length)),
              { discard: true }
            ))
            if (found !== count * foundBy(name)) throw new Error(`${name}: ${found} events by ${count} queries`)
            if (round > 0) micros.push(millis / count * 1_000)
          }
        }
        return out.map(({ micros, name }) => ({ name, micros }))
      })
    )
  },
  verify: async (root: string, events: number, rounds: number) =>
    await run(
      root,
      events,
      Effect.gen(function*() {
        const rates: Array<number> = []
        const head = yield* EventStore.head
        for (let round = 0; round < rounds; round++) {
          const [, millis] = yield* timed(Stream.runDrain(EventStoreMaintenance.verify))
          rates.push(perSecond(head!, millis))
        }
        return rates
      })
    ),
  /** All events, decoded, and what stays in memory of it. */
  scan: async (root: string, events: number) =>
    await run(
      root,
      events,
      Effect.gen(function*() {
        yield* EventStore.head
        const [count, millis] = yield* timed(Stream.runCount(EventStore.stream(Query.of(Booked))))
        if (count < events) throw new Error(`a scan finds ${count} of ${events} events`)
        return { rate: perSecond(count, millis), after: memory(), peak: process.resourceUsage().maxRSS / 1_024 }
      })
    )
}
interface Load {
  readonly fibers: number
  readonly count: number
}
interface Appends extends Pick<Load, "fibers"> {
  readonly kind: Kind
  readonly large: Array<number>
  readonly small: Array<number>
}

serve(steps)

// what is asked for

const program = "./sizes.ts"

interface Scale {
  readonly sizes: ReadonlyArray<number>
  readonly rounds: number
  readonly loads: ReadonlyArray<Load>
  readonly queries: number
  /** Events that are added before stores are opened again. */
  readonly more: number
  /** Whether one process serves for all, as starting one takes a second. */
  readonly shared: boolean
}
const scales: { readonly [P in Context["preset"]]: Scale } = {
  smoke: {
    sizes: [2_000, 4_000],
    rounds: 1,
    loads: [{ fibers: 1, count: 20 }, { fibers: 64, count: 64 }],
    queries: 10,
    more: 100,
    shared: true
  },
  standard: {
    sizes: [10_000, 100_000, 1_000_000],
    rounds: 5,
    loads: [{ fibers: 1, count: 500 }, { fibers: 64, count: 2_048 }],
    queries: 200,
    more: 4_000,
    shared: false
  },
  full: {
    sizes: [10_000, 100_000, 1_000_000, 10_000_000],
    rounds: 5,
    loads: [{ fibers: 1, count: 500 }, { fibers: 64, count: 2_048 }],
    queries: 200,
    more: 4_000,
    shared: false
  }
}

/** Asks a process of its own, or one for all. */
const asking = (shared: Child<typeof steps> | undefined) =>
async <K extends keyof typeof steps>(
  step: K,
  ...args: Parameters<typeof steps[K]>
): Promise<Awaited<ReturnType<typeof steps[K]>>> => {
  if (shared !== undefined) return await shared.ask(step, ...args)
  return await once<typeof steps, K>(program, step, ...args)
}

const measure = async (
  folder: string,
  events: number,
  scale: Scale,
  ask: ReturnType<typeof asking>,
  progress: Context["progress"]
): Promise<ReadonlyArray<Figure>> => {
  const figures: Array<Figure> = []
  const size = `${whole(events)} events`
  const add = (
    workload: string,
    unit: Figure["unit"],
    rounds: ReadonlyArray<number>,
    more: { readonly note?: string; readonly subject?: string } = {}
  ) => {
    const { note, subject = "opossum" } = more
    figures.push({
      suite: suiteName,
      workload: `${size}: ${workload}`,
      subject,
      value: median(rounds),
      rounds,
      unit,
      ...(note === undefined ? {} : { note })
    })
    progress(
      `${size}: ${workload}, ${subject}: ${median(rounds).toFixed(1)} ${unit}${note === undefined ? "" : `, ${note}`}`
    )
  }
  const each = async <A>(rounds: number, measureOne: () => Promise<A>): Promise<ReadonlyArray<A>> => {
    const out: Array<A> = []
    for (let round = 0; round < rounds; round++) out.push(await measureOne())
    return out
  }

  const work = join(folder, `work-${process.pid}-${events}`)
  const store = join(work, storeOf(events))
  const { rounds } = scale
  const few = Math.min(rounds, events > 1_000_000 ? 1 : 3)
  try {
    await fill(folder, storeOf(events), events, progress)
    copy(folder, work, storeOf(events))

    const perEvent = (path: string) => bytesOf(path) / events
    const [ledger, indices] = [perEvent(join(store, "ledger")), perEvent(join(store, "indices"))]
    add("bytes of an event in the ledger", "bytes", [ledger])
    add("bytes of an event in the index", "bytes", [indices])
    add("bytes of an event, all files", "bytes", [perEvent(store)])

    const opened = await each(rounds, () => ask("open", work, events))
    const mebi = (n: number) => `${n.toFixed(0)} MiB`
    add("opening, to the head", "ms", opened.map(({ millis }) => millis))
    add("memory after opening (RSS)", "MiB", opened.map(({ after }) => after.rss), {
      note: `${mebi(median(opened.map(({ before }) => before.rss)))} before`
    })
    add("memory after opening (heap and buffers)", "MiB", opened.map(({ after }) => after.heap), {
      note: `${mebi(median(opened.map(({ before }) => before.heap)))} before`
    })
    add("opening, to the first append", "ms", await each(rounds, () => ask("openAndAppend", work, events)))
    // A store of a round number may end just where a part of the index does, and then opens faster than most.
    await ask("grow", work, events, scale.more)
    const grown = await each(rounds, () => ask("open", work, events))
    add(`opening after ${whole(scale.more)} more events`, "ms", grown.map(({ millis }) => millis))

    const rebuilt = await each(few, () => {
      Fs.rmSync(join(store, "indices"), { recursive: true, force: true })
      return ask("open", work, events)
    })
    add("opening without an index", "ms", rebuilt.map(({ millis }) => millis), {
      note: `${whole(median(rebuilt.map(({ head, millis }) => perSecond(head, millis))))} events/s`
    })

    const scans = await each(few, () => ask("scan", work, events))
    add("scan of all events, decoded", "/s", scans.map(({ rate }) => rate))
    add("memory after a scan (RSS)", "MiB", scans.map(({ after }) => after.rss), {
      note: `${mebi(median(scans.map(({ peak }) => peak)))} at the most`
    })
    add("memory after a scan (heap and buffers)", "MiB", scans.map(({ after }) => after.heap))
    add("verify", "/s", await ask("verify", work, events, few))
    for (const { micros, name } of await ask("queries", work, events, rounds, scale.queries)) add(name, "us", micros)

    for (const found of await ask("appends", work, events, join(work, "small"), rounds, scale.loads)) {
      const { fibers, kind, large, small } = found
      const workload = `an append of ${fibers === 1 ? "one fiber" : `${fibers} fibers`}, guard ${kind}`
      const ratios = large.map((micros, round) => micros / small[round]!)
      add(workload, "us", large, {
        note: `${median(ratios).toFixed(2)} x that of ${whole(baseSize)} events (${quantile(ratios, 0).toFixed(2)} to ${
          quantile(ratios, 1).toFixed(2)
        })`
      })
      add(workload, "us", small, { subject: `opossum, ${whole(baseSize)} events` })
    }

    // These are last, as each leaves a segment more.
    if (scale.shared && events !== scale.sizes.at(-1)) return figures
    const kill = async () => {
      const writer = start<typeof steps>(program)
      await writer.ask("appendUntilKilled", work, events, scale.shared ? 64 : 1_000)
      await writer.kill()
    }
    const afterKill = await each(rounds, async () => {
      await kill()
      return (await ask("open", work, events)).millis
    })
    add("opening after a kill, to the head", "ms", afterKill)
    if (scale.shared) return figures
    const appended = await each(rounds, async () => {
      await kill()
      return await ask("openAndAppend", work, events)
    })
    add("opening after a kill, to the first append", "ms", appended)
  } finally {
    Fs.rmSync(work, { recursive: true, force: true })
  }
  return figures
}

export const sizes: Suite = {
  name: suiteName,
  run: async ({ preset, progress, root }) => {
    const kept = argument("keep")
    const folder = kept ?? join(root, suiteName)
    Fs.mkdirSync(folder, { recursive: true })
    const figures: Array<Figure> = []
    const scale = scales[preset]
    const shared = scale.shared ? start<typeof steps>(program) : undefined
    try {
      for (const events of argument("sizes")?.split(",").map(Number) ?? scale.sizes) {
        figures.push(...await measure(folder, events, scale, asking(shared), progress))
        if (kept === undefined) Fs.rmSync(join(folder, storeOf(events)), { recursive: true, force: true })
      }
    } finally {
      await shared?.end()
      if (kept === undefined) Fs.rmSync(folder, { recursive: true, force: true })
    }
    return figures
  }
}
