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
import { Booked, booked, interleaved, isSmoke, perSecond, quantile, report, section, timed, whole } from "./setup.ts"
import * as Sqlite from "./sqlite.ts"

const rounds = isSmoke ? 1 : 3
const events = isSmoke ? 2_000 : 200_000
const manyKeys = isSmoke ? 1_000 : 100_000
const latencies = isSmoke ? 20 : 3_000

// the fold

const State = Schema.Struct({ count: Schema.Int, cents: Schema.Int, branch: Schema.String })
type State = typeof State.Type
const apply = (state: State | undefined, { branch, cents }: Booked): State => ({
  count: (state?.count ?? 0) + 1,
  cents: (state?.cents ?? 0) + cents,
  branch
})
const json = Schema.toCodecJson(State)
const keyings = [
  { keys: 1, key: (): string => "all" },
  { keys: manyKeys, key: ({ account }: Booked) => account }
] as const
type Keying = typeof keyings[number]

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
const check = (what: string, { keys }: Keying, size: number, state: State | undefined) => {
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
          const last = join(statesOf(root, projection), fileOf(keying.key(booked(events - 1, manyKeys))))
          yield* awaitFiles(() => Fs.existsSync(last) && Fs.readFileSync(last, "utf8").includes(`"position": ${head},`))
        }
        return perSecond(events, millis)
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
    return perSecond(events, millis)
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
    return perSecond(events, millis)
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
    return perSecond(events, millis)
  }).pipe(Effect.provide(store(root, false)))

/** One append after another, each waited for until it is counted. */
const latency = (root: string, projection: AnyProjection) =>
  Effect.gen(function*() {
    yield* projection.waitFor(yield* EventStore.head)
    const appends: Array<number> = []
    const waits: Array<number> = []
    for (let i = 0; i < latencies; i++) {
      const [{ head }, append] = yield* timed(EventStore.append(booked(events + i, manyKeys)))
      appends.push(append)
      waits.push((yield* timed(projection.waitFor(head)))[1])
    }
    const micros = (values: ReadonlyArray<number>, q: number) => `${(quantile(values, q) * 1000).toFixed(0)} us`
    report(
      "append, then waitFor",
      micros(waits, 0.5),
      `p99 ${micros(waits, 0.99)}; the append before it ${micros(appends, 0.5)}, p99 ${micros(appends, 0.99)}`
    )
  }).pipe(Effect.provide(projection.layer.pipe(Layer.provideMerge(store(root, false)))))

// all of it

const program = (root: string) =>
  Effect.gen(function*() {
    const sides = ["plain", "files"] as const
    const all = keyings.map((keying) => ({
      keying,
      live: sides.map((side) =>
        Array.from({ length: rounds }, (_, round) => makeProjection(`live-${keying.keys}-${side}-${round}`, keying))
      ),
      rebuild: sides.map((side) => makeProjection(`rebuild-${keying.keys}-${side}`, keying))
    }))
    // built while there is nothing, so that all events are counted live
    const ready = all.flatMap(({ live }) => live.flat())
    yield* Effect.forEach(ready, (projection) => Effect.provide(projection.size, projection.layer), { discard: true })
      .pipe(Effect.provide(store(root, false)))
    yield* Effect.forEach(
      Array.from({ length: events / 1_000 }, (_, page) => page * 1_000),
      (first) => EventStore.append(Array.from({ length: 1_000 }, (_, i) => booked(first + i, manyKeys))),
      { discard: true }
    ).pipe(Effect.provide(store(root, false)))

    for (const { keying, live: [plain, files], rebuild: [plainRebuild, filesRebuild] } of all) {
      const keys = keying.keys === 1 ? "1 key" : `${whole(keying.keys)} keys`
      const note = (rate: number, of: { readonly sqlite: number; readonly memory?: number }) =>
        `${(rate / of.sqlite).toFixed(2)} x SQLite (${whole(of.sqlite)} /s)` +
        (of.memory === undefined ? "" : `, ${(rate / of.memory).toFixed(2)} x scan and fold (${whole(of.memory)} /s)`)
      const filesNote = () => {
        const time = quantile(filesTime, 0.5)
        filesTime = []
        return `; files made ${time.toFixed(0)} ms later`
      }
      const lived = yield* interleaved<"sqlite" | "own" | "files", unknown, never>(rounds, {
        sqlite: () => inSqlite(root, keying, "live"),
        own: (round) => live(root, keying, plain![round]!, false),
        files: (round) => live(root, keying, files![round]!, true)
      })
      report(`live, ${keys}`, `${whole(lived.own)} /s`, note(lived.own, lived))
      report(`live, ${keys}, key files`, `${whole(lived.files)} /s`, note(lived.files, lived) + filesNote())
      const built = yield* interleaved<"memory" | "sqlite" | "own" | "files", unknown, never>(rounds, {
        memory: () => inMemory(root, keying),
        sqlite: () => inSqlite(root, keying, "rebuild"),
        own: () => rebuild(root, keying, plainRebuild!, false),
        files: () => rebuild(root, keying, filesRebuild!, true)
      })
      report(`rebuild, ${keys}`, `${whole(built.own)} /s`, note(built.own, built))
      report(`rebuild, ${keys}, key files`, `${whole(built.files)} /s`, note(built.files, built) + filesNote())
    }
    yield* latency(root, all[1]!.live[0]![0]!)
  })

export const runProjections = async (root: string): Promise<void> => {
  section(`projections: ${whole(events)} events; SQLite in WAL mode, live without a sync for each commit, rebuild with`)
  await Effect.runPromise(program(root))
}
