/**
 * Projections, live and built anew, beside the same fold in SQLite, and beside a mere scan with a fold in memory.
 *
 * Both sides read pages of events through the public interface, decode them with the same classes, and encode states with the same
 * schema. Live: events are there already, and are counted a page and a save at a time, as they are when they come faster than they are
 * counted.
 */
import { Effect, Layer, Schema, Stream } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { EventStore, Opossum, Projection, Query } from "../src/index.ts"
import { fileOf } from "../src/layers/internal/StateFiles.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import * as Sqlite from "./rivals/sqliteFold.ts"
import { Booked, booked, figures, inTurn, median, perSecond, quantile, type Rounds, timed, whole } from "./setup.ts"

const suite = "projections"

/** Each key has two events, far apart. */
const sizes = {
  smoke: { rounds: 1, keys: 1_000, latencies: 20 },
  standard: { rounds: 3, keys: 50_000, latencies: 1_000 },
  full: { rounds: 5, keys: 100_000, latencies: 3_000 }
} as const

// the fold

const State = Schema.Struct({ count: Schema.Int, cents: Schema.Int, branch: Schema.String })
type State = typeof State.Type
const apply = (state: State | undefined, { branch, cents }: Booked): State => ({
  count: (state?.count ?? 0) + 1,
  cents: (state?.cents ?? 0) + cents,
  branch
})
const json = Schema.toCodecJson(State)
interface Keying {
  readonly keys: number
  readonly events: number
  readonly key: (event: Booked) => string
}

const makeProjection = (name: string, { key }: Keying) => {
  class Totals extends Projection.Service<Totals>()(name, {
    events: [Booked],
    key,
    state: State,
    apply: { Booked: apply }
  }) {}
  return Totals
}
type AnyProjection = ReturnType<typeof makeProjection>

const store = (root: string, stateFiles: boolean) =>
  Opossum.layer({ root, store: "projections", eventFiles: false, stateFiles })

const sampleKey = ({ keys }: Keying) => keys === 1 ? "all" : `a${7919 % keys}`
/** Whether all sides have counted the same; a benchmark of what does not work says nothing. */
const check = (what: string, { events, keys }: Keying, size: number, state: State | undefined) => {
  if (size !== keys || state?.count !== events / keys) {
    throw new Error(`${what}: ${size} states of ${keys}, and ${state?.count} events of ${events / keys} in one`)
  }
}

// what is measured: each run answers with events a second

/** The time until the copies of all states are made as well, in milliseconds; without them it is 0. */
let filesTime: Array<number> = []

const awaitFiles = (isThere: () => boolean) =>
  Effect.gen(function*() {
    const start = performance.now()
    while (!isThere()) {
      if (performance.now() - start > 60_000) throw new Error("files of states are missing")
      yield* Effect.sleep(5)
    }
    filesTime.push(performance.now() - start)
  })
const statesOf = (root: string, { definition: { name, version } }: AnyProjection) =>
  join(root, "projections", "projections", name, String(version), "states")

const live = (root: string, keying: Keying, projection: AnyProjection, stateFiles: boolean) =>
  Effect.gen(function*() {
    const head = yield* EventStore.head
    return yield* Effect.scoped(Effect.gen(function*() {
      const start = performance.now()
      const context = yield* Layer.build(Layer.fresh(projection.layer))
      return yield* Effect.gen(function*() {
        yield* projection.waitFor(head)
        const millis = performance.now() - start
        check("live", keying, yield* projection.size, yield* projection.get(sampleKey(keying)))
        if (stateFiles) {
          // files are made in the order of changes
          const last = join(
            statesOf(root, projection),
            fileOf(keying.key(booked(keying.events - 1, keying.events / 2)))
          )
          yield* awaitFiles(() => Fs.existsSync(last) && Fs.readFileSync(last, "utf8").includes(`"position": ${head},`))
        }
        return perSecond(keying.events, millis)
      }).pipe(Effect.provide(context))
    }))
  }).pipe(Effect.provide(store(root, stateFiles)))

const rebuild = (root: string, keying: Keying, projection: AnyProjection, stateFiles: boolean) =>
  Effect.gen(function*() {
    yield* projection.waitFor(yield* EventStore.head)
    const before = generationOf(root, projection)
    const [, millis] = yield* timed(Stream.runDrain(projection.rebuild))
    check("rebuild", keying, yield* projection.size, yield* projection.get(sampleKey(keying)))
    if (stateFiles) yield* awaitFiles(() => generationOf(root, projection) !== before)
    return perSecond(keying.events, millis)
  }).pipe(Effect.provide(projection.layer.pipe(Layer.provideMerge(store(root, stateFiles)))))

/** Of which build all files are; it is written when they are made. */
const generationOf = (root: string, projection: AnyProjection): string | undefined => {
  const file = join(statesOf(root, projection), "checkpoint.json")
  if (!Fs.existsSync(file)) return undefined
  return (JSON.parse(Fs.readFileSync(file, "utf8")) as { readonly generation: string }).generation
}

const inSqlite = (root: string, keying: Keying, mode: "live" | "rebuild") =>
  Effect.gen(function*() {
    // known to be open, as it is for the others
    yield* EventStore.head
    const file = join(root, "baseline.sqlite")
    const sqlite = Sqlite.make<State>(file, {
      key: keying.key,
      apply,
      encode: Schema.encodeSync(json),
      decode: Schema.decodeUnknownSync(json)
    })
    const [, millis] = yield* timed(sqlite[mode])
    check("SQLite", keying, sqlite.size(), sqlite.read(sampleKey(keying)))
    sqlite.close()
    for (const end of ["", "-wal", "-shm"]) Fs.rmSync(file + end, { force: true })
    return perSecond(keying.events, millis)
  }).pipe(Effect.provide(store(root, false)))

const inMemory = (root: string, keying: Keying) =>
  Effect.gen(function*() {
    yield* EventStore.head
    const states = new Map<string, State>()
    const [, millis] = yield* timed(
      EventStore.stream(Query.of(Booked)).pipe(
        Stream.runForEachArray((page) =>
          Effect.sync(() => {
            for (const { event } of page) {
              const key = keying.key(event)
              states.set(key, apply(states.get(key), event))
            }
          })
        )
      )
    )
    check("in memory", keying, states.size, states.get(sampleKey(keying)))
    return perSecond(keying.events, millis)
  }).pipe(Effect.provide(store(root, false)))

/** One append after another, each waited for until it is counted; all in microseconds. */
const latency = (root: string, { events, keys }: Keying, projection: AnyProjection, count: number) =>
  Effect.gen(function*() {
    yield* projection.waitFor(yield* EventStore.head)
    const appends: Array<number> = []
    const waits: Array<number> = []
    for (let i = 0; i < count; i++) {
      const [{ head }, append] = yield* timed(EventStore.append(booked(events + i, keys)))
      appends.push(append * 1000)
      waits.push((yield* timed(projection.waitFor(head)))[1] * 1000)
    }
    return { appends, waits }
  }).pipe(Effect.provide(projection.layer.pipe(Layer.provideMerge(store(root, false)))))

const run = async ({ preset, progress, root }: Context): Promise<ReadonlyArray<Figure>> => {
  const { keys, latencies, rounds } = sizes[preset]
  const events = keys * 2
  const sides = ["plain", "files"] as const
  const keyings: ReadonlyArray<Keying> = [
    { keys: 1, events, key: () => "all" },
    { keys, events, key: ({ account }) => account }
  ]
  const all = keyings.map((keying) => ({
    keying,
    live: sides.map((side) =>
      Array.from({ length: rounds }, (_, round) => makeProjection(`live-${keying.keys}-${side}-${round}`, keying))
    ),
    rebuild: sides.map((side) => makeProjection(`rebuild-${keying.keys}-${side}`, keying))
  }))
  // built while there is nothing, so that all events are counted live
  progress(`storing ${whole(events)} events`)
  const ready = all.flatMap(({ live }) => live.flat())
  await Effect.runPromise(
    Effect.forEach(ready, (projection) => Effect.provide(projection.size, projection.layer), { discard: true }).pipe(
      Effect.andThen(Effect.forEach(
        Array.from({ length: events / 1_000 }, (_, page) => page * 1_000),
        (first) => EventStore.append(Array.from({ length: 1_000 }, (_, i) => booked(first + i, keys))),
        { discard: true }
      )),
      Effect.provide(store(root, false))
    )
  )

  const out: Array<Figure> = []
  for (const { keying, live: [plain, files], rebuild: [plainRebuild, filesRebuild] } of all) {
    const name = keying.keys === 1 ? "1 key" : `${whole(keying.keys)} keys`
    const withNote = (workload: string, found: Rounds) => {
      out.push(...figures({ suite, workload: `${workload}, ${name}`, unit: "/s" }, found, {
        "opossum, state files": `files of states are made ${median(filesTime).toFixed(0)} ms later`
      }))
      filesTime = []
    }
    progress(`live, ${name}`)
    withNote(
      "live",
      await inTurn(rounds, {
        "opossum": (round) => Effect.runPromise(live(root, keying, plain![round]!, false)),
        "opossum, state files": (round) => Effect.runPromise(live(root, keying, files![round]!, true)),
        "sqlite": () => Effect.runPromise(inSqlite(root, keying, "live"))
      })
    )
    progress(`rebuild, ${name}`)
    withNote(
      "rebuild",
      await inTurn(rounds, {
        "opossum": () => Effect.runPromise(rebuild(root, keying, plainRebuild!, false)),
        "opossum, state files": () => Effect.runPromise(rebuild(root, keying, filesRebuild!, true)),
        "sqlite": () => Effect.runPromise(inSqlite(root, keying, "rebuild")),
        "scan and fold into a map": () => Effect.runPromise(inMemory(root, keying))
      })
    )
  }
  progress("append, then waitFor")
  const { appends, waits } = await Effect.runPromise(latency(root, all[1]!.keying, all[1]!.live[0]![0]!, latencies))
  const one = (what: string, values: ReadonlyArray<number>) =>
    ([["", 0.5], [", 99 % are at most", 0.99]] as const).map(([suffix, q]): Figure => {
      const value = quantile(values, q)
      return { suite, workload: `${what}${suffix}`, subject: "opossum", unit: "us", value, rounds: [value] }
    })
  out.push(...one("append before waitFor", appends), ...one("waitFor after append", waits))
  return out
}

export const projections: Suite = { name: suite, run }
