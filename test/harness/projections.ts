/**
 * Projections on a disk that loses power, or whose process is killed, at each call: small histories, in which the real fold counts the
 * real store's events into the real files of states. What is left is opened by fresh processes, which read, take over, and count to
 * the end.
 *
 * The runner's own fibers are left out, so that the same calls come in the same order each time.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { isDeepStrictEqual } from "node:util"
import type * as Event from "../../src/Event.ts"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as RealFold from "../../src/layers/internal/ProjectionFold.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as ProjectionsLive from "../../src/layers/ProjectionsLive.ts"
import * as RealFiles from "../../src/layers/ProjectionStoreFiles.ts"
import { append, EventStore, head, reserve, stream } from "../../src/services/EventStore.ts"
import { EventStoreMaintenance } from "../../src/services/EventStoreMaintenance.ts"
import * as Projection from "../../src/services/Projection.ts"
import {
  type Claim,
  type Generation,
  ProjectionStore,
  type Slot,
  type WritableGeneration
} from "../../src/services/ProjectionStore.ts"
import { type File, Storage, type WritableFile } from "../../src/services/Storage.ts"
import * as LockGranted from "../../src/testing/LockGranted.ts"
import * as StorageSimulated from "../../src/testing/StorageSimulated.ts"
import * as Medium from "./medium.ts"
import * as Tally from "./projectionsTally.ts"

// models

export interface Implementation {
  readonly files: Pick<typeof RealFiles, "layer">
  readonly fold: Pick<typeof RealFold, "make">
}

export const real: Implementation = { files: RealFiles, fold: RealFold }

/** Something that must never be seen was seen. */
export class Violation extends Error {}

const violation = (what: string, detail: unknown) => new Violation(`${what}: ${JSON.stringify(detail)}`)

/** What was promised of a build so far. Builds are numbered: each has a higher number than those before. */
interface Build {
  readonly state: "beginning" | "building" | "swapping" | "live" | "discarding" | "gone"
  /** Counted up to here, whatever process is killed. */
  readonly saved: number
  /** Counted up to here, although the power fails. */
  readonly durable: number
}

export interface Promises {
  /** The last position that was acknowledged by the store. */
  readonly head: number
  readonly builds: Readonly<Record<number, Build>>
}

const isLive = ({ state }: Build) => state === "live" || state === "swapping" || state === "discarding"

// processes

export const storeName = "shop"
/** So many times the next event of the key `fails` makes the projection throw. */
const failures = { left: 0 }
const Model = Tally.make({
  before: (event) => {
    if (event._tag === "Put" && event.key === "fails" && failures.left-- > 0) throw new Error("not yet")
  }
})
export const { definition } = Model

type Services = EventStore | EventStoreMaintenance | ProjectionStore

export interface Process {
  readonly context: Context.Context<Services>
  readonly slot: Slot
}

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

/** All layers of one process, over its storage. */
export const start = Effect.fnUntraced(function*(
  storage: Layer.Layer<Storage>,
  implementation: Implementation,
  options: { readonly readOnly?: boolean } = {}
) {
  const { readOnly = false } = options
  const store = storeName
  const context = yield* Layer.build(Layer.fresh(
    implementation.files.layer({ store, stateFiles: false, readOnly }).pipe(
      Layer.provideMerge(EventStoreLive.layer({ store, eventFiles: false, readOnly })),
      Layer.provide(IndexLive.layer({ store, readOnly })),
      Layer.provide(LedgerLive.layer({ store, readOnly })),
      Layer.provide(LockGranted.layer),
      Layer.provide(storage)
    )
  ))
  const slot = yield* Context.get(context, ProjectionStore).open(definition.name, definition.version)
  const process: Process = { context, slot }
  return process
})

export const eventsOf = (process: Process): Effect.Effect<ReadonlyArray<Event.SequencedEvent<Event.Event>>> =>
  Stream.runCollect(stream(Tally.everything)).pipe(Effect.provide(process.context), Effect.orDie)

const countedOf = (process: Process) =>
  Stream.runCollect(stream(Tally.counted)).pipe(Effect.provide(process.context), Effect.orDie)

const take = (slot: Slot) =>
  Effect.map(slot.claim({ wait: false }), (claim) => {
    if (claim === undefined) throw violation("the claim is not given", "")
    return claim
  })

const numberOf = (generation: Generation | undefined): number =>
  generation === undefined ? 0 : Number(generation.definition)

// a process that works, and what it promises

export class Worker {
  readonly process: Process
  readonly implementation: Implementation
  readonly promises: { current: Promises }
  claim: Claim | undefined
  private readonly folds = new Map<number, RealFold.ProjectionFold>()

  constructor(process: Process, implementation: Implementation, promises: { current: Promises }) {
    this.process = process
    this.implementation = implementation
    this.promises = promises
  }

  private promise(number: number, build: Partial<Build>): void {
    const { builds, head } = this.promises.current
    const before = builds[number] ?? { state: "beginning", saved: 0, durable: 0 }
    this.promises.current = { head, builds: { ...builds, [number]: { ...before, ...build } } }
  }

  readonly take = Effect.suspend(() =>
    Effect.map(take(this.process.slot), (claim) => {
      this.folds.clear()
      this.claim = claim
    })
  )

  append(...events: ReadonlyArray<Event.Event>) {
    return Effect.map(Context.get(this.process.context, EventStore).append(events as never), ({ head }) => {
      this.promises.current = { ...this.promises.current, head }
    })
  }

  private generation(which: "live" | "building") {
    return Effect.map(this.claim![which], (generation) => {
      if (generation === undefined) throw violation("a generation is missing", which)
      return generation
    })
  }

  private foldOf(generation: WritableGeneration) {
    return Effect.suspend(() => {
      const number = numberOf(generation)
      const known = this.folds.get(number)
      return known !== undefined ? Effect.succeed(known) : Effect.map(
        Effect.provide(this.implementation.fold.make(definition, generation), this.process.context),
        (fold) => {
          this.folds.set(number, fold)
          return fold
        }
      )
    })
  }

  begin(number: number) {
    return Effect.suspend(() => {
      for (const [other, { state }] of Object.entries(this.promises.current.builds)) {
        if (state === "building") this.promise(Number(other), { state: "discarding" })
      }
      this.promise(number, { state: "beginning" })
      return Effect.map(this.claim!.begin(String(number)), () => {
        for (const [other, { state }] of Object.entries(this.promises.current.builds)) {
          if (state === "discarding") this.promise(Number(other), { state: "gone" })
        }
        this.promise(number, { state: "building" })
      })
    })
  }

  /** Counts to the head and saves. */
  count(which: "live" | "building") {
    return Effect.gen({ self: this }, function*() {
      const generation = yield* this.generation(which)
      const fold = yield* this.foldOf(generation)
      yield* countAll(fold)
      this.promise(numberOf(generation), { saved: fold.saved() })
    })
  }

  /** Makes what is being built live. */
  get swap() {
    return Effect.gen({ self: this }, function*() {
      const number = numberOf(yield* this.generation("building"))
      const before = numberOf(yield* this.claim!.live)
      this.promise(number, { state: "swapping" })
      yield* this.claim!.swap
      // as the runner does
      this.folds.clear()
      const { saved } = this.promises.current.builds[number]!
      this.promise(number, { state: "live", durable: saved })
      if (before > 0) this.promise(before, { state: "gone" })
    })
  }

  discard(which: "live" | "building") {
    return Effect.gen({ self: this }, function*() {
      const number = numberOf(yield* this.generation(which))
      this.promise(number, { state: "discarding" })
      yield* this.claim!.discard(which)
      this.promise(number, { state: "gone" })
    })
  }

  /** All that is saved now survives a power loss from here on: the log was copied, and the copy synced. */
  get isCopied() {
    return Effect.map(this.generation("live"), (generation) => {
      const number = numberOf(generation)
      this.promise(number, { durable: this.promises.current.builds[number]!.saved })
    })
  }
}

const countAll = Effect.fnUntraced(function*(fold: RealFold.ProjectionFold) {
  for (let i = 0; i < 1000; i++) {
    const step = yield* fold.step
    yield* fold.save
    if (!step.more && fold.saved() >= step.head) return
  }
  throw violation("counting comes to no end", fold.position())
})

// what must hold

/** All that can be read of one generation, at one moment. */
const capture = Effect.fnUntraced(function*(generation: Generation | undefined) {
  if (generation === undefined) return { build: 0, checkpoint: undefined, entries: [], size: 0, sorted: [], tagged: [] }
  const list = (sort: "key" | "created" | "updated") =>
    generation.list({ sort, backwards: false, after: undefined, limit: 10_000 })
  return {
    build: numberOf(generation),
    checkpoint: yield* generation.checkpoint,
    entries: yield* list("key"),
    size: yield* generation.size,
    sorted: [yield* list("created"), yield* list("updated")] as const,
    tagged: yield* Effect.forEach(Tally.tags, (tag) => generation.byTag([tag]))
  }
})
type Captured = Effect.Success<ReturnType<typeof capture>>

export interface Seen {
  readonly build: number
  readonly position: number
}

/** It must be what the history says at the checkpoint. */
const verify = (captured: Captured, events: ReadonlyArray<Tally.Sequenced>, what: string): Seen => {
  const { build, checkpoint, entries, size, sorted, tagged } = captured
  const position = checkpoint?.position ?? 0
  const expected = Tally.expectedAt(events, position)
  const brief = (entries: typeof expected) =>
    entries.map(({ key, position, state, version }) => ({ key, position, version, ...state as object, filler: 0 }))
  if (!isDeepStrictEqual(entries, expected)) {
    throw violation(`${what}: states are not those of position ${position}`, [brief(entries), brief(expected)])
  }
  const keysOf = (entries: typeof expected) => entries.map(({ key }) => key)
  if (size !== expected.length) throw violation(`${what}: size`, size)
  tagged.forEach((found, i) => {
    const wanted = expected.filter(({ tags }) => tags.includes(Tally.tags[i]!))
    if (!isDeepStrictEqual(keysOf(found), keysOf(wanted))) {
      throw violation(`${what}: by the tag ${Tally.tags[i]}`, [keysOf(found), keysOf(wanted)])
    }
  })
  sorted.forEach((found, i) => {
    const sort = (["created", "updated"] as const)[i]!
    const wanted = [...expected].sort((a, b) => a[sort] - b[sort])
    if (!isDeepStrictEqual(keysOf(found), keysOf(wanted))) throw violation(`${what}: sorted by ${sort}`, keysOf(found))
  })
  return { build, position }
}

const seenOf = Effect.fnUntraced(function*(
  process: Process,
  generation: Generation | undefined,
  events: ReadonlyArray<Tally.Sequenced>,
  what: string
) {
  const captured = yield* capture(generation)
  const { checkpoint } = captured
  if (checkpoint !== undefined) {
    yield* Effect.provide(EventStoreMaintenance.use((it) => it.checkAnchor(checkpoint)), process.context).pipe(
      Effect.catch((error) => Effect.die(violation(`${what}: the checkpoint is of another history`, error.message)))
    )
  }
  return verify(captured, events, what)
})

export type Crash = "kill" | "power loss"

/** The build that whoever comes after a crash begins if nothing is left to go on with. */
const lastBuild = 99

/**
 * Opens what a crash left: it must hold what was promised, be whole, and can be counted to the end. Whatever a build is swapped in
 * stays after another power loss.
 */
export const checkImage = Effect.fnUntraced(function*(
  image: Medium.Medium,
  { builds, head }: Promises,
  crash: Crash,
  recovery: Implementation
) {
  const hold = (who: string, live: Seen) => {
    const build = builds[live.build]
    if (live.build !== 0 && (build === undefined || !isLive(build))) {
      throw violation(`${who} sees a build that is not live`, { live, builds })
    }
    for (const [number, { state }] of Object.entries(builds)) {
      if (state === "live" && live.build < Number(number)) {
        throw violation(`${who} sees the build before, or none`, { live, builds })
      }
    }
    const least = build === undefined ? 0 : crash === "kill" ? build.saved : build.durable
    if (live.position < least) throw violation(`${who} sees less than was saved`, { live, builds })
  }

  // A process that only reads, before anybody takes over. It need not see the last events yet: what confirms them may be lost.
  const reader = yield* start(image.layer, recovery, { readOnly: true })
  const captured = yield* capture(yield* reader.slot.live)

  const writer = yield* start(image.layer, recovery)
  yield* Effect.provide(reserve, writer.context)
  const events = yield* countedOf(writer)
  const positions = (yield* eventsOf(writer)).map(({ position }) => position)
  if (positions.length < head || positions.some((position, i) => position !== i + 1)) {
    throw violation("acknowledged events are lost", { head, positions })
  }
  const read = verify(captured, events, "a reader")
  hold("a reader", read)

  const claim = yield* take(writer.slot)
  const live = yield* claim.live
  const seen = yield* seenOf(writer, live, events, "who takes over")
  hold("who takes over", seen)
  if (seen.build < read.build || (seen.build === read.build && seen.position < read.position)) {
    throw violation("who takes over sees less than a reader saw", { read, seen })
  }
  const building = yield* claim.building
  const built = yield* seenOf(writer, building, events, "what is being built")
  if (building !== undefined) {
    const build = builds[built.build]
    if (build === undefined || build.state === "gone" || build.state === "live" || built.build <= seen.build) {
      throw violation("something else is being built", { built, seen, builds })
    }
    if (crash === "kill" && built.position < build.saved) throw violation("what was built is lost", { built, builds })
  } else if (crash === "kill") {
    for (const [number, { state }] of Object.entries(builds)) {
      if (state === "building") throw violation("what was built is lost", { number, builds })
    }
  }

  // and goes on
  const finish = Effect.fnUntraced(function*(generation: WritableGeneration) {
    yield* countAll(yield* Effect.provide(recovery.fold.make(definition, generation), writer.context))
  })
  const last = events.at(-1)?.position ?? 0
  const checkEnd = Effect.fnUntraced(function*(process: Process, what: string) {
    const { position } = yield* seenOf(process, yield* process.slot.live, events, what)
    if (position < last) throw violation(`${what}: not all is counted`, { position, last })
  })
  if (live !== undefined) {
    yield* finish(live)
    yield* checkEnd(writer, "who goes on")
    yield* checkEnd(reader, "who reads on")
  }
  if (live === undefined || building !== undefined) {
    yield* finish(building ?? (yield* claim.begin(String(lastBuild))))
    yield* claim.swap
    yield* checkEnd(writer, "who built")
    yield* checkEnd(reader, "who read before")
    const swapped = building === undefined ? lastBuild : built.build
    const [worst] = image.crashImages({ max: 1 })
    const late = yield* start(worst!.layer, recovery, { readOnly: true })
    const found = verify(yield* capture(yield* late.slot.live), events, "a reader after a second power loss")
    if (found.build !== swapped || found.position < last) {
      throw violation("what was swapped does not stay", { found, swapped, last })
    }
  }
}, Effect.scoped)

// scenarios

export interface Scenario {
  /** What is there when it begins. */
  readonly before: (worker: Worker) => Effect.Effect<void, unknown, Scope.Scope>
  readonly run: (worker: Worker) => Effect.Effect<void, unknown, Scope.Scope>
}

const { gone, moved, put } = Tally
const noise = new Tally.Noise({})

const firstEvents = [
  put("a", 5),
  put("b", 30),
  put("a", 7),
  noise,
  moved("a", "b", 3),
  put("c", 1),
  gone("c"),
  put("a", 2),
  put("c", 4)
]

const built = Effect.fnUntraced(function*(worker: Worker) {
  yield* worker.append(...firstEvents)
  yield* worker.take
  yield* worker.begin(1)
  yield* worker.count("building")
  yield* worker.swap
})

/** States of some size, so that a log of a few saves is due to be made smaller. */
const replaced = Effect.fnUntraced(function*(worker: Worker, isDone: Effect.Effect<boolean>, size: number) {
  for (let n = 1; n <= 12; n++) {
    // others change, come and go meanwhile
    yield* worker.append(put("big", n, size), put(`k${n % 3}`, n), ...(n % 4 === 0 ? [gone("k1"), gone("b")] : []))
    yield* worker.count("live")
    for (let i = n % 3; i > 0; i--) yield* Effect.yieldNow
  }
  yield* Effect.repeat(Effect.yieldNow, { until: () => isDone, times: 5000 })
  if (!(yield* isDone)) throw violation("the log is not made smaller", "")
  yield* worker.isCopied
  yield* worker.append(put("big", 1))
  yield* worker.count("live")
})

const folder = `${storeName}/projections/${definition.name}/1`

const generationsOf = (storage: Storage["Service"]) =>
  Effect.map(
    Effect.orDie(storage.list(folder)),
    (entries) => entries.flatMap(({ name }) => /^\d{10}$/.test(name) ? [Number(name)] : []).sort((a, b) => a - b)
  )

const compacted = (size: number) => (storage: Storage["Service"]): Scenario => ({
  before: built,
  run: (worker) =>
    replaced(
      worker,
      Effect.map(generationsOf(storage), (numbers) => numbers.length === 1 && numbers[0]! > 1),
      size
    )
})

export const scenarios = {
  save: () => ({
    before: built,
    run: Effect.fnUntraced(function*(worker) {
      yield* worker.append(put("a", 1), put("d", 50))
      yield* worker.count("live")
      yield* worker.append(gone("b"), moved("d", "a", 20))
      yield* worker.count("live")
      yield* worker.append(noise)
      yield* worker.count("live")
    })
  }),
  "first build": () => ({
    before: (worker) => worker.append(...firstEvents),
    run: Effect.fnUntraced(function*(worker) {
      yield* worker.take
      yield* worker.begin(1)
      yield* worker.count("building")
      yield* worker.append(put("d", 9), gone("a"))
      yield* worker.count("building")
      yield* worker.swap
    })
  }),
  rebuild: () => ({
    before: built,
    run: Effect.fnUntraced(function*(worker) {
      yield* worker.begin(2)
      yield* worker.count("building")
      yield* worker.append(put("d", 9), gone("a"))
      yield* worker.count("live")
      yield* worker.count("building")
      yield* worker.swap
      yield* worker.append(moved("d", "e", 1))
      yield* worker.count("live")
    })
  }),
  swap: () => ({
    before: Effect.fnUntraced(function*(worker) {
      yield* built(worker)
      yield* worker.begin(2)
      yield* worker.count("building")
      yield* worker.append(put("d", 9))
      yield* worker.count("building")
    }),
    run: (worker) => worker.swap
  }),
  discard: () => ({
    before: Effect.fnUntraced(function*(worker) {
      yield* built(worker)
      yield* worker.begin(2)
      yield* worker.count("building")
    }),
    run: Effect.fnUntraced(function*(worker) {
      yield* worker.discard("building")
      yield* worker.begin(3)
      yield* worker.count("building")
      yield* worker.begin(4)
      yield* worker.discard("live")
      yield* worker.count("building")
      yield* worker.swap
    })
  }),
  "an event that fails": () => ({
    before: built,
    run: Effect.fnUntraced(function*(worker) {
      failures.left = 2
      yield* worker.append(put("a", 1), put("d", 2), put("fails", 3), put("a", 4), put("d", 5))
      const failed = yield* Effect.exit(worker.count("live"))
      if (Exit.isSuccess(failed) || failures.left !== 0) throw violation("the event does not fail", failures.left)
      yield* worker.count("live")
    })
  }),
  /** With the real sizes. */
  compaction: compacted(200_000),
  /** With an implementation that makes small logs smaller. */
  "small compaction": compacted(400)
} satisfies { readonly [name: string]: (storage: Storage["Service"]) => Scenario }

export type Name = keyof typeof scenarios

// crashes at each call

export interface Crashes {
  /** Calls on the storage, before each of which there is a crash. */
  readonly points: number
  /** Different disks that were opened. */
  readonly images: number
  readonly millis: number
}

export interface CrashOptions {
  readonly implementation?: Implementation
  /** What a crash left is opened with. Default: the real one. */
  readonly recovery?: Implementation
  /** How many power losses at each call, at most. */
  readonly most: number
  /** No crash: only the end is looked at. */
  readonly isCalm?: boolean
  /** Where a crash may come: between calls of `Storage`, or between those that Node makes for them. Default: `storage`. */
  readonly medium?: Medium.Kind
}

/** Runs a scenario, with a crash before each call and one at its end; and looks at all that is left. */
export const crash = (
  name: Name,
  { implementation = real, isCalm = false, medium = "storage", most, recovery = real }: CrashOptions
) =>
  Effect.gen(function*() {
    const began = performance.now()
    const promises: { current: Promises } = { current: { head: 0, builds: {} } }
    const images = new Map<
      string,
      { readonly image: Medium.Medium; readonly promises: Promises; readonly crash: Crash }
    >()
    let points = 0
    let isOn = false
    const add = (image: Medium.Medium, crash: Crash) => {
      const key = `${crash} ${image.fingerprint()} ${JSON.stringify(promises.current)}`
      if (images.has(key)) image.forget()
      else images.set(key, { image, promises: promises.current, crash })
    }
    const strike = () => {
      points++
      add(disk.processCrash(), "kill")
      for (const image of disk.crashImages({ max: most, seed: points })) add(image, "power loss")
    }
    const disk: Medium.Medium = Medium.make(medium, () => {
      if (!isOn) return
      isOn = false
      strike()
      isOn = true
    })
    yield* Effect.scoped(Effect.gen(function*() {
      const worker = new Worker(yield* start(disk.layer, implementation), implementation, promises)
      const { before, run } = (scenarios[name] as (storage: Storage["Service"]) => Scenario)(disk.storage)
      yield* before(worker)
      isOn = !isCalm
      yield* run(worker)
      const events = yield* countedOf(worker.process)
      for (const generation of [yield* worker.process.slot.live, yield* worker.claim!.building]) {
        yield* seenOf(worker.process, generation, events, "at the end")
      }
      // the naive fold here, and the one that programs have, are one
      const states = yield* Effect.provide(Projection.fold(Model), worker.process.context)
      const wanted = Tally.expectedAt(events, Infinity).map(({ key, state }) => [key, state])
      if (!isDeepStrictEqual([...states].sort(([a], [b]) => a < b ? -1 : 1), wanted)) {
        throw violation("the fold is another one", [...states])
      }
      strike()
    }))
    isOn = false
    for (const { crash, image, promises } of images.values()) {
      yield* checkImage(image, promises, crash, recovery).pipe(Effect.ensuring(Effect.sync(image.forget)))
    }
    disk.forget()
    const report: Crashes = { points, images: images.size, millis: Math.round(performance.now() - began) }
    return report
  }).pipe(quiet)

// two at once

/** A storage whose calls all pass a gate. */
const gated = (storage: Storage["Service"], gate: Effect.Effect<void>): Storage["Service"] => {
  const file = <F extends File | WritableFile>(it: F): F => {
    const { read } = it
    const reading = {
      ...it,
      size: Effect.andThen(gate, it.size),
      isCurrent: Effect.andThen(gate, it.isCurrent),
      read: (offset: number, length: number) => Effect.andThen(gate, read(offset, length))
    }
    if (!("write" in it)) return reading
    return {
      ...reading,
      sync: Effect.andThen(gate, it.sync),
      write: (offset: number, bytes: Uint8Array) => Effect.andThen(gate, it.write(offset, bytes)),
      truncate: (size: number) => Effect.andThen(gate, it.truncate(size))
    }
  }
  return {
    ...storage,
    createFile: (path) => Effect.andThen(gate, Effect.map(storage.createFile(path), file)),
    openFile: (path) => Effect.andThen(gate, Effect.map(storage.openFile(path), file)),
    openWritable: (path) => Effect.andThen(gate, Effect.map(storage.openWritable(path), file)),
    exists: (path) => Effect.andThen(gate, storage.exists(path)),
    claim: (path) => Effect.andThen(gate, storage.claim(path)),
    makeDirectory: (path, options) => Effect.andThen(gate, storage.makeDirectory(path, options)),
    list: (path) => Effect.andThen(gate, storage.list(path)),
    syncDirectory: (path) => Effect.andThen(gate, storage.syncDirectory(path)),
    rename: (from, to) => Effect.andThen(gate, storage.rename(from, to)),
    readDocument: (path) => Effect.andThen(gate, storage.readDocument(path)),
    replaceDocument: (path, bytes, options) => Effect.andThen(gate, storage.replaceDocument(path, bytes, options)),
    remove: (path) => Effect.andThen(gate, storage.remove(path))
  }
}

export interface Takeovers {
  /** Calls of the one at which the other took over. */
  readonly points: number
  /** How often the one was told so. */
  readonly told: number
  readonly millis: number
}

/**
 * One process is stopped before a call; another one, which has the lock as well, takes over and counts all, or even builds anew;
 * then the first one goes on, and so does the second. At each call of the scenario.
 */
export const takeOver = (
  name: Name,
  options: { readonly implementation?: Implementation; readonly rebuilds: boolean; readonly every?: number }
) =>
  Effect.gen(function*() {
    const { every = 1, implementation = real, rebuilds } = options
    const began = performance.now()
    let told = 0
    let points = 0
    for (let point = 1;; point += every) {
      const isReached = yield* Effect.scoped(Effect.gen(function*() {
        const disk = StorageSimulated.make()
        const reached = Deferred.makeUnsafe<boolean>()
        const go = Deferred.makeUnsafe<void>()
        let calls = -1
        const gate = Effect.suspend(() => {
          // from there on nothing of it moves, in whatever fiber
          if (calls < 0 || ++calls < point) return Effect.void
          return Effect.andThen(Deferred.succeed(reached, true), Deferred.await(go))
        })
        const storage = gated(disk.storage, gate)
        const promises: { current: Promises } = { current: { head: 0, builds: {} } }
        const one = new Worker(
          yield* start(Layer.succeed(Storage, storage), implementation),
          implementation,
          promises
        )
        const { before, run } = (scenarios[name] as (storage: Storage["Service"]) => Scenario)(disk.storage)
        yield* before(one)
        calls = 0
        // whatever goes wrong, nothing is left waiting
        yield* Effect.addFinalizer(() => Deferred.succeed(go, undefined))
        const working = yield* Effect.forkChild(
          Effect.ensuring(run(one), Deferred.succeed(reached, false)),
          { startImmediately: true }
        )
        if (!(yield* Deferred.await(reached))) {
          yield* Deferred.succeed(go, undefined)
          yield* Fiber.join(working)
          return false
        }

        const other = yield* start(disk.layer, implementation)
        // so that it counts more than the first one has seen
        yield* Context.get(other.context, EventStore).append([put("a", 2), gone("c")])
        const first = yield* countedOf(other)
        const claim = yield* take(other.slot)
        let live = yield* claim.live
        const foldOf = (generation: WritableGeneration) =>
          Effect.provide(implementation.fold.make(definition, generation), other.context)
        if (live === undefined || rebuilds) {
          const building = (live === undefined ? yield* claim.building : undefined) ?? (yield* claim.begin("50"))
          yield* countAll(yield* foldOf(building))
          yield* claim.swap
          live = (yield* claim.live)!
        }
        const fold = yield* foldOf(live)
        yield* countAll(fold)
        const seen = yield* seenOf(other, live, first, "the second one")

        // and here the first one wakes up
        yield* Deferred.succeed(go, undefined)
        const exit = yield* Fiber.await(working)
        if (Exit.isFailure(exit)) {
          const error = Exit.findErrorOption(exit)
          if (error._tag === "None") return yield* Effect.failCause(exit.cause as never)
          const { _tag } = error.value as { readonly _tag: string }
          if (_tag !== "ClaimLost" && _tag !== "ProjectionStoreError") return yield* Effect.die(error.value)
          told++
        }
        const look = Effect.fnUntraced(function*(what: string, least: typeof seen) {
          const process = yield* start(disk.layer, real, { readOnly: true })
          const found = yield* seenOf(process, yield* process.slot.live, yield* countedOf(process), what)
          // One that had just made sure that nobody else had taken over may throw away what is live: it is built anew then.
          const { state } = promises.current.builds[least.build] ?? {}
          if (found.build === 0 && (state === "discarding" || state === "gone")) return found
          const isOlder = found.build === least.build ? found.position < least.position : found.build === 0
          if (isOlder) throw violation(`${what} sees less than was saved`, { found, least, point })
          return found
        })
        const after = yield* look("a reader", seen)
        // what the first one was told that is saved, is
        for (const [number, build] of Object.entries(promises.current.builds)) {
          if (after.build === Number(number) && after.position < build.saved) {
            throw violation("a save is lost", { after, builds: promises.current.builds, point })
          }
        }
        // the second one goes on, or is told that it cannot
        const late = yield* start(disk.layer, real)
        yield* Context.get(late.context, EventStore).append([put("late", 1), put("a", 1)])
        const saving = yield* Effect.exit(countAll(fold))
        const again = yield* look(
          "a reader afterwards",
          Exit.isSuccess(saving) ? { ...seen, position: fold.saved() } : after
        )
        const last = yield* take(late.slot)
        if ((yield* last.live) === undefined) {
          const building = yield* last.begin(String(lastBuild))
          yield* countAll(yield* Effect.provide(RealFold.make(definition, building), late.context))
          yield* last.swap
        }
        const found = (yield* last.live)!
        yield* countAll(yield* Effect.provide(RealFold.make(definition, found), late.context))
        const end = yield* seenOf(late, yield* late.slot.live, yield* countedOf(late), "who comes last")
        if (end.position < again.position) throw violation("who comes last sees less", { end, again, point })
        return true
      }))
      if (!isReached) break
      points++
    }
    const report: Takeovers = { points, told, millis: Math.round(performance.now() - began) }
    return report
  }).pipe(quiet)

// the real runner

const runs = (storage: Layer.Layer<Storage>, rebuild: "never" | "when-needed") =>
  Effect.map(
    Layer.build(Layer.fresh(
      Model.layer.pipe(
        Layer.provideMerge(ProjectionsLive.layer({ rebuild })),
        Layer.provide(RealFiles.layer({ store: storeName, stateFiles: false })),
        Layer.provideMerge(EventStoreLive.layer({ store: storeName, eventFiles: false })),
        Layer.provide(IndexLive.layer({ store: storeName })),
        Layer.provide(LedgerLive.layer({ store: storeName })),
        Layer.provide(LockMemory.layer),
        Layer.provide(storage)
      )
    )),
    (context) => Effect.provide(context)
  )

/** Disks after a power loss that a program did not expect, when all that it had appended was counted and made live. */
export const afterPowerLoss = Effect.gen(function*() {
  const disk = StorageSimulated.make()
  const provide = yield* runs(disk.layer, "when-needed")
  yield* provide(Effect.gen(function*() {
    for (const event of firstEvents) yield* append(event)
    yield* Model.waitFor(yield* head)
    yield* Stream.runDrain(Model.rebuild)
  }))
  return disk.crashImages({ max: 32 })
}).pipe(Effect.scoped, quiet)

/** How the projection does in a program that starts on such a disk, which builds nothing by itself. */
export const restarted = (image: StorageSimulated.StorageSimulated) =>
  Effect.gen(function*() {
    const provide = yield* runs(image.layer, "never")
    return yield* provide(Effect.gen(function*() {
      // nothing is appended before it has found out what there is
      for (;;) {
        const { state } = yield* Model.status
        if (state === "live" || state === "stopped") break
        yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))
      }
      const status = yield* Model.status
      const appended = yield* append(put("late", 1))
      yield* Model.waitFor(appended.head)
      return { position: appended.head, status }
    }))
  }).pipe(Effect.scoped, quiet)
