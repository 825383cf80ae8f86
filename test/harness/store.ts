/**
 * The whole package on a disk that loses power, or whose process is killed, before each single system call that changes something.
 * A scenario runs once; at each of these moments the disk is kept as it is, and in the ways in which a power loss may leave it.
 * Afterwards each of them is opened by a fresh process, which must find what had been promised by then, nothing else, and go on.
 *
 * The real `StorageNode` makes the calls (`mountedDisk.ts`), so its code is under test as well. A scenario is two functions over a
 * `Client`: to add one, add it to `scenarios`; what must hold afterwards is the same for all, and follows from what the client was told.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { isDeepStrictEqual } from "node:util"
import * as Event from "../../src/Event.ts"
import * as Host from "../../src/layers/internal/host.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import { EventStoreAdmin } from "../../src/services/EventStoreAdmin.ts"
import { EventStoreMaintenance } from "../../src/services/EventStoreMaintenance.ts"
import { Ledger } from "../../src/services/Ledger.ts"
import type { Tag } from "../../src/Tag.ts"
import * as MountedDisk from "./mountedDisk.ts"
import * as Tally from "./projectionsTally.ts"
import * as RealStack from "./stack.ts"

// models

/** The real layers, or a weakened copy of them. */
export type Stack = Pick<typeof RealStack, "layer">

const store = RealStack.store
const Model = Tally.make()

type Services = Layer.Success<ReturnType<Stack["layer"]>>

/** Something that must never be seen was seen. */
export class Violation extends Error {}

const violation = (what: string, detail: unknown = "") =>
  new Violation(detail === "" ? what : `${what}: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`)

/** An event as it is read, as plain JSON. */
interface Stored {
  readonly position: number
  readonly type: string
  readonly tags: ReadonlyArray<string>
  readonly event: unknown
  readonly metadata: unknown
}

/** `acked`: it is there. `refused`: it is not. `open`: it may be, whole or not at all. */
type Fate = "acked" | "refused" | "open"

interface Batch {
  readonly number: number
  readonly size: number
  readonly fate: Fate
  /** What it was stored as, once that was told. */
  readonly stored: ReadonlyArray<Stored>
}

interface Addition {
  readonly tag: Tag
  /** The positions that get it, in one record. */
  readonly targets: ReadonlyArray<number>
  readonly fate: Fate
}

/** What was promised up to some moment. */
interface Promises {
  readonly folder: "none" | "making" | "there" | "deleting" | "gone"
  readonly batches: ReadonlyArray<Batch>
  readonly additions: ReadonlyArray<Addition>
  /** Conditions that failed: on a key, behind a position. */
  readonly conflicts: ReadonlyArray<{ readonly key: string; readonly after: Position | undefined }>
}

const nothing: Promises = { folder: "none", batches: [], additions: [], conflicts: [] }

// events

const keys = ["a", "b", "c"]
const laterTags = ["late:1", "late:2"] as const

/** The number of an event tells its batch and its place in it. */
const numberOf = (batch: number, index: number) => batch * 100 + index
const eventOf = (batch: number, index: number): Event.Input =>
  Event.withMetadata(
    index % 3 === 2
      ? Tally.moved(keys[batch % 3]!, keys[(batch + 1) % 3]!, numberOf(batch, index))
      : Tally.put(keys[(batch + index) % 3]!, numberOf(batch, index)),
    { id: `e-${batch}-${index}` }
  )
const eventsOf = (batch: number, size: number) => Array.from({ length: size }, (_, i) => eventOf(batch, i))

/** What is appended to see that one can. */
const probe = Tally.put("probe", 999_999)

const plain = <A>(value: A): unknown => JSON.parse(JSON.stringify(value))

const toStored = ({ event, metadata, position, tags, type }: Event.SequencedEvent<unknown>): Stored => ({
  position,
  type,
  tags: [...tags],
  event: plain(event),
  metadata: plain(metadata)
})

const readAll = Effect.map(EventStore.read(Tally.everything), ({ events }) => events.map(toStored))

// a client, and what it is promised

export class Client {
  private readonly world: World
  private context: Context.Context<Services>
  private scope: Scope.Closeable

  private constructor(world: World, context: Context.Context<Services>, scope: Scope.Closeable) {
    this.world = world
    this.context = context
    this.scope = scope
  }

  static readonly open = (world: World) =>
    Effect.gen(function*() {
      const { folder } = world.promises
      if (folder === "none" || folder === "gone") world.promise({ ...nothing, folder: "making" })
      const scope = yield* Scope.make()
      const layer = Layer.fresh(world.stack.layer({ ...world.options, root: world.disk.root }))
      const context = yield* Layer.buildWithScope(layer, scope)
      world.promise({ folder: "there" })
      return new Client(world, context, scope)
    })

  provide<A, E>(effect: Effect.Effect<A, E, Services | Scope.Scope>): Effect.Effect<A, E> {
    return Effect.scoped(Effect.provide(effect, this.context)) as Effect.Effect<A, E>
  }

  /** In order, with what is left to do done. */
  get close() {
    return Scope.close(this.scope, Exit.void)
  }

  /** A batch of so many events, perhaps under a condition; whatever it is answered is kept as a promise. */
  append(
    size: number,
    condition?: (head: Position | undefined) => { readonly key: string; readonly after?: Position }
  ) {
    const { world } = this
    return Effect.gen({ self: this }, function*() {
      const number = world.nextBatch++
      const tell = (fate: Fate, stored: ReadonlyArray<Stored> = []) =>
        world.promise({
          batches: [...world.promises.batches.filter((it) => it.number !== number), { number, size, fate, stored }]
        })
      const guard = condition?.(yield* this.provide(EventStore.head))
      tell("open")
      const exit = yield* Effect.exit(this.provide(EventStore.append(
        eventsOf(number, size) as [Event.Input, ...Array<Event.Input>],
        guard && { failIfEventsMatch: Query.tags(`key:${guard.key}`), after: guard.after }
      )))
      if (Exit.isSuccess(exit)) {
        const { positions } = exit.value
        const after = positions[0]! - 1
        // it is known to be there from here on, so how it looks can be asked for
        const { events } = yield* this.provide(
          EventStore.read(Tally.everything, after === 0 ? { limit: size } : { after: after as Position, limit: size })
        )
        tell("acked", events.map(toStored))
        return positions
      }
      const error = Exit.findErrorOption(exit)
      if (error._tag === "None") return yield* Effect.failCause(exit.cause)
      if (error.value._tag === "AppendOutcomeUnknown") return []
      tell("refused")
      if (error.value._tag === "AppendConditionFailed") {
        world.promise({ conflicts: [...world.promises.conflicts, { key: guard!.key, after: guard!.after }] })
      }
      return []
    })
  }

  addTags(tag: typeof laterTags[number], key: string) {
    const { world } = this
    return Effect.gen({ self: this }, function*() {
      const query = Query.tags(`key:${key}`)
      const { events } = yield* this.provide(EventStore.read(query))
      const targets = events.map(({ position }) => position as number)
      const others = world.promises.additions
      const tell = (fate: Fate) =>
        world.promise({ additions: [...others, { tag: tag as string as Tag, targets, fate }] })
      tell("open")
      yield* this.provide(EventStoreMaintenance.use((maintenance) => maintenance.addTags(query, () => [tag])))
      tell("acked")
    })
  }

  get deleteStore() {
    const { world } = this
    return Effect.gen({ self: this }, function*() {
      world.promise({ folder: "deleting" })
      yield* this.provide(EventStoreAdmin.use((admin) => admin.deleteStore))
      world.promise({ ...nothing, folder: "gone" })
    })
  }

  /** Until all that was appended has its file. */
  get mirrored() {
    return Effect.gen({ self: this }, function*() {
      const head = yield* this.provide(EventStore.head)
      if (head !== undefined) {
        yield* this.provide(EventStoreMaintenance.use((maintenance) => maintenance.eventFiles.waitFor(head)))
      }
    })
  }

  /** Runs with the projection, which counts meanwhile. */
  counting<A, E>(body: Effect.Effect<A, E, Layer.Success<typeof Model.layer> | EventStore.EventStore>) {
    return this.provide(Effect.provide(body, Model.layer))
  }
}

interface World {
  stack: Stack
  readonly disk: MountedDisk.MountedDisk
  readonly options: Omit<RealStack.Options, "root">
  promises: Promises
  readonly promise: (change: Partial<Promises>) => void
  nextBatch: number
  outcome: ((call: MountedDisk.Call) => MountedDisk.Outcome | undefined) | undefined
}

// scenarios

export interface Scenario {
  readonly options?: Omit<RealStack.Options, "root">
  /** What stands on the disk when it begins: the process that made it was killed, or ended in order. Default: nothing. */
  readonly before?: (world: World) => Effect.Effect<void, unknown>
  readonly run: (world: World) => Effect.Effect<void, unknown>
  /** Whether the projection is looked at as well. */
  readonly counts?: boolean
}

const using = <E>(world: World, body: (client: Client) => Generator<Effect.Effect<unknown, E>, void, never>) =>
  Effect.gen(function*() {
    const client = yield* Client.open(world)
    yield* Effect.gen(() => body(client))
    yield* client.close
  })

const some = (n: number) => (world: World) =>
  using(world, function*(client) {
    for (let i = 0; i < n; i++) yield* client.append(1 + i % 3)
  })

/** Its process was killed: nothing was given back. */
const killedAfter = (n: number) => (world: World) =>
  Effect.gen(function*() {
    const client = yield* Client.open(world)
    for (let i = 0; i < n; i++) yield* client.append(1 + i % 2)
    // kept open: its end is not part of this
  })

/** The next so many calls that fit become something else. */
const failing = (
  world: World,
  names: ReadonlyArray<MountedDisk.Call["name"]>,
  path: string,
  outcomes: ReadonlyArray<MountedDisk.Outcome | undefined>
) => {
  const left = [...outcomes]
  world.outcome = (call) => names.includes(call.name) && call.path.includes(path) ? left.shift() : undefined
}

const eio = { code: "EIO" } as const

export const scenarios = {
  "create": {
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
      })
  },
  "append": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
        yield* client.append(1, (head) => ({ key: "a", ...(head === undefined ? {} : { after: head }) }))
        // refused: there are such events
        yield* client.append(1, () => ({ key: "b" }))
        yield* client.append(1)
      })
  },
  "batch": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(7)
        yield* Effect.all([client.append(2), client.append(3), client.append(1)], { concurrency: "unbounded" })
      })
  },
  "segment change": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        for (let i = 0; i < 9; i++) yield* client.append(2)
      })
  },
  "take-over": {
    before: killedAfter(3),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(2)
      })
  },
  "baton": {
    before: some(1),
    run: (world) =>
      Effect.gen(function*() {
        for (let i = 0; i < 3; i++) yield* some(1)(world)
      })
  },
  "two writers in turn": {
    before: some(1),
    run: (world) =>
      Effect.gen(function*() {
        const one = yield* Client.open(world)
        const other = yield* Client.open(world)
        for (let i = 0; i < 2; i++) {
          yield* one.append(1)
          yield* other.append(2, (head) => ({ key: "c", after: head! }))
        }
        yield* one.close
        yield* other.append(1)
        yield* other.close
      })
  },
  "index run": {
    before: some(2),
    run: (world) =>
      Effect.gen(function*() {
        yield* using(world, function*(client) {
          for (let i = 0; i < 8; i++) yield* client.append(2)
        })
        yield* some(2)(world)
      })
  },
  "event files": {
    options: { eventFiles: true, writeProtect: true },
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(2)
        yield* client.mirrored
        yield* client.addTags("late:1", "b")
        yield* client.append(1)
        yield* client.mirrored
      })
  },
  "addTags": {
    before: some(4),
    run: (world) =>
      using(world, function*(client) {
        yield* client.addTags("late:1", "a")
        yield* client.append(1)
        yield* client.addTags("late:2", "b")
        yield* client.append(2)
      })
  },
  "delete": {
    options: { eventFiles: true },
    before: some(2),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
        yield* client.deleteStore
      })
  },
  "delete and make anew": {
    before: some(2),
    run: (world) =>
      Effect.gen(function*() {
        yield* using(world, function*(client) {
          yield* client.deleteStore
        })
        yield* some(2)(world)
      })
  },
  "without syncs": {
    options: { durability: "os" },
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        for (let i = 0; i < 9; i++) yield* client.append(2)
      })
  },
  "projection": {
    options: { eventFiles: true },
    counts: true,
    before: some(2),
    run: (world) =>
      using(world, function*(client) {
        yield* client.counting(Effect.gen(function*() {
          yield* Model.waitFor(yield* EventStore.head.pipe(Effect.map((head) => head!)))
          yield* client.append(2)
          yield* Model.waitFor(yield* EventStore.head.pipe(Effect.map((head) => head!)))
          yield* Stream.runDrain(Model.rebuild)
        }))
      })
  },
  "a sync fails": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
        failing(world, ["fdatasync"], "ledger/", [{ ...eio, done: "half" }])
        yield* client.append(2)
        yield* client.append(1)
        // and that of the segment in which it is told apart
        failing(world, ["fdatasync"], "ledger/", [{ ...eio, done: "half" }, { ...eio, done: "half" }])
        yield* client.append(2)
        yield* client.append(1)
      })
  },
  "a write fails": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
        failing(world, ["write"], "ledger/", [{ ...eio, done: "half" }])
        yield* client.append(3)
        yield* client.append(1)
        failing(world, ["write"], "ledger/", [{ short: true }, { short: true }, { code: "ENOSPC", done: "half" }])
        yield* client.append(3)
        yield* client.append(1)
      })
  },
  "names cannot be made": {
    before: killedAfter(2),
    run: (world) =>
      Effect.gen(function*() {
        failing(world, ["open"], "ledger/0000000002", [{ code: "EMFILE" }, { code: "EACCES" }])
        const client = yield* Effect.retry(Client.open(world), { times: 3 })
        // the first of them are refused
        for (let i = 0; i < 4; i++) yield* client.append(1)
        yield* client.close
      })
  }
} satisfies { readonly [name: string]: Scenario }

export type Name = keyof typeof scenarios

// what must hold

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

type Crash = "kill" | "power loss"

/** What a cause is about. */
const told = (cause: Cause.Cause<unknown>): Violation => {
  const error = Cause.squash(cause)
  if (error instanceof Violation) return error
  const text = error instanceof Error ? `${error.message} ${error.stack}` : String(error)
  return violation("the store cannot be used after the crash", text)
}

/** Opens the store as a fresh process, does something, and closes it in order. Whatever goes wrong is a violation, as a defect. */
const process = <A, E>(
  stack: Stack,
  disk: MountedDisk.MountedDisk,
  options: Omit<RealStack.Options, "root">,
  body: Effect.Effect<A, E, Services | Scope.Scope>
): Effect.Effect<A> =>
  Effect.scoped(Effect.provide(body, Layer.fresh(stack.layer({ ...options, root: disk.root })))).pipe(
    Effect.catchCause((cause) => Effect.die(told(cause)))
  )

const sameExceptTags = (a: Stored, b: Stored) => isDeepStrictEqual({ ...a, tags: [] }, { ...b, tags: [] })

/** Compares a history with what was promised of it. */
const compare = (history: ReadonlyArray<Stored>, promises: Promises, lossy: boolean): void => {
  const found = new Map<number, Array<Stored>>()
  let last = -1
  for (const stored of history) {
    const number = Math.floor((stored.event as { readonly n: number }).n / 100)
    if (number !== last && found.has(number)) throw violation("a batch is in two pieces, or there twice", number)
    last = number
    found.set(number, [...found.get(number) ?? [], stored])
  }
  for (const [number, events] of found) {
    const batch = promises.batches.find((batch) => batch.number === number)
    if (batch === undefined) throw violation("there is an event that nobody appended", events)
    if (batch.fate === "refused") throw violation("a batch is there that was told to be not", number)
    const numbers = events.map(({ event }) => (event as { readonly n: number }).n)
    if (!isDeepStrictEqual(numbers, Array.from({ length: batch.size }, (_, i) => numberOf(number, i)))) {
      throw violation("a batch is not whole", numbers)
    }
    batch.stored.forEach((stored, i) => {
      const now = events[i]!
      if (!sameExceptTags(stored, now) || !stored.tags.every((tag) => now.tags.includes(tag))) {
        throw violation("an event is not what was acknowledged", [stored, now])
      }
    })
  }
  const end = history.at(-1)?.position ?? 0
  for (const { fate, number, stored } of promises.batches) {
    if (fate !== "acked" || found.has(number)) continue
    if (!lossy || stored[0]!.position <= end) throw violation("an acknowledged event is lost", number)
  }
}

/** The records of the journal itself, which no index helps to find: no hole, and nothing but events and additions of tags. */
const lookAtJournal = (history: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const scan = yield* ledger.scan(undefined)
    const events: Array<number> = []
    const additions: Array<
      {
        readonly position: number
        readonly targets: ReadonlyArray<{ readonly tags: ReadonlyArray<string>; readonly position: number }>
      }
    > = []
    let position = 0
    for (;;) {
      const commits = yield* scan.next
      if (commits.length === 0) break
      for (const { entries } of commits) {
        for (const entry of entries) {
          if (entry.position !== ++position) throw violation("positions are not dense", [entry.position, position])
          if (entry.kind === "event") events.push(position)
          else additions.push(entry)
        }
      }
    }
    if (!isDeepStrictEqual(events, history.map((it) => it.position))) {
      throw violation("a read over all is not what the journal holds", [events, history.map((it) => it.position)])
    }
    return { head: position, additions }
  })

const matches = (types: ReadonlyArray<string>, tags: ReadonlyArray<string>) => (stored: Stored) =>
  (types.length === 0 || types.includes(stored.type)) && tags.every((tag) => stored.tags.includes(tag))

const questions: ReadonlyArray<{ readonly types: ReadonlyArray<string>; readonly tags: ReadonlyArray<string> }> = [
  { types: ["Put"], tags: [] },
  { types: ["Moved"], tags: [] },
  ...keys.map((key) => ({ types: [], tags: [`key:${key}`] })),
  { types: ["Moved"], tags: ["key:a", "key:b"] },
  { types: ["Put"], tags: ["key:c"] },
  ...laterTags.map((tag) => ({ types: [], tags: [tag] })),
  { types: ["Put", "Moved"], tags: ["late:1", "key:a"] },
  { types: ["Gone"], tags: [] }
]

/** Every answer of the index is that of a walk over everything. */
const lookAtIndex = (history: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    for (const { tags, types } of questions) {
      const query = Query.fromItems({
        ...(types.length > 0 ? { types } : {}),
        ...(tags.length > 0 ? { tags } : {})
      } as Query.Item)
      const { events } = yield* EventStore.read(query)
      const found = events.map((event) => event.position as number)
      const wanted = history.filter(matches(types, tags)).map((stored) => stored.position)
      if (!isDeepStrictEqual(found, wanted)) throw violation("the index is not a scan", [types, tags, found, wanted])
      const last = yield* EventStore.readLast(query)
      if (last?.position !== wanted.at(-1)) throw violation("the last one is not that of a scan", [types, tags])
    }
  })

/** What conflicted before conflicts still, and what the history holds conflicts. */
const lookAtConditions = (history: ReadonlyArray<Stored>, promises: Promises, lossy: boolean) =>
  Effect.gen(function*() {
    const mustFail = Effect.fnUntraced(function*(query: Query.Any, after: Position | undefined) {
      const exit = yield* Effect.exit(EventStore.append(probe, { failIfEventsMatch: query, after }))
      const error = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : undefined
      if (error?._tag === "Some" && error.value._tag === "AppendConditionFailed") return
      throw violation("a condition passes that must fail", [String(query), after, String(exit)])
    })
    if (history.length > 0) yield* mustFail(Query.all, undefined)
    for (const at of [0, history.length >> 1, history.length - 1]) {
      const stored = history[at]
      if (stored === undefined) continue
      const after = stored.position === 1 ? undefined : stored.position - 1 as Position
      yield* mustFail(Query.tags(stored.tags[0] as Tag), after)
    }
    if (!lossy) { for (const { after, key } of promises.conflicts) yield* mustFail(Query.tags(`key:${key}`), after) }
  })

const lookAtTags = (
  history: ReadonlyArray<Stored>,
  additions: ReadonlyArray<{ readonly targets: ReadonlyArray<{ readonly position: number }> }>,
  promises: Promises,
  lossy: boolean
): void => {
  const byPosition = new Map(history.map((stored) => [stored.position, stored]))
  for (const { fate, tag, targets } of promises.additions) {
    const has = targets.filter((position) => byPosition.get(position)?.tags.includes(tag))
    if (fate === "acked" && !lossy && has.length < targets.length) {
      throw violation("added tags are lost", [tag, has, targets])
    }
    if (has.length > 0 && has.length < targets.length) {
      throw violation("half of an addition is there", [tag, has, targets])
    }
  }
  if (additions.length > promises.additions.length) throw violation("there are additions that nobody made", additions)
}

const lookAtFiles = (disk: MountedDisk.MountedDisk, history: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    const last = history.at(-1)
    if (last === undefined) return
    const maintenance = yield* EventStoreMaintenance
    yield* maintenance.eventFiles.waitFor((yield* EventStore.head)!)
    const names = disk.namesIn(`${store}/events`).filter((name) => /^\d+$/.test(name)).flatMap((folder) =>
      disk.namesIn(`${store}/events/${folder}`).map((name) => `${folder}/${name}`)
    )
    const wanted = history.map(({ position }) => `0000000/${String(position).padStart(10, "0")}.json`)
    const files = names.filter((name) => !name.endsWith(".tags.json") && !name.endsWith(".tmp"))
    if (!isDeepStrictEqual(files, wanted)) {
      throw violation("the event files are not those of the history", [files, wanted])
    }
    for (const { position, tags, type } of history) {
      const name = `${store}/events/0000000/${String(position).padStart(10, "0")}`
      const file = JSON.parse(Buffer.from(disk.contentOf(`${name}.json`)!).toString()) as Stored
      const later = disk.contentOf(`${name}.tags.json`)
      const added = later === undefined ? [] : (JSON.parse(Buffer.from(later).toString()) as Stored).tags
      if (file.position !== position || file.type !== type) {
        throw violation("an event file is another one", file)
      }
      if (!isDeepStrictEqual([...file.tags, ...added], tags)) {
        throw violation("an event file has other tags", [file.tags, added, tags])
      }
    }
  })

const lookAtProjection = Effect.gen(function*() {
  const head = yield* EventStore.head
  if (head === undefined) return
  const context = yield* Layer.build(Layer.fresh(Model.layer))
  yield* Effect.provide(
    Effect.gen(function*() {
      yield* Model.waitFor(head)
      const counted = yield* Stream.runCollect(EventStore.stream(Tally.counted))
      const wanted = Tally.expectedAt(counted, Infinity).map(({ key, position, state, version }) => ({
        key,
        position,
        state,
        version
      }))
      const { entries } = yield* Model.list({ limit: 1000 })
      const found = entries.map(({ key, position, state, version }) => ({ key, position, state, version }))
      if (!isDeepStrictEqual(found, wanted)) {
        throw violation("the projection is not a fold of the history", [found, wanted])
      }
    }),
    context
  )
})

let boots = 0
/** A power loss is followed by another start of the machine, which is how what was not synced is known to be uncertain. */
const boot = (isNew: boolean) =>
  Effect.sync(() => {
    if (isNew) boots++
    ;(Host.thisProcess as { boot: string }).boot = isNew ? `boot-${boots}` : "boot"
  })

/** Opens what a crash left. */
const checkImage = Effect.fnUntraced(function*(
  disk: MountedDisk.MountedDisk,
  promises: Promises,
  crash: Crash,
  scenario: Scenario,
  stack: Stack
) {
  const options = scenario.options ?? {}
  const lossy = options.durability === "os" && crash === "power loss"
  const exists = disk.namesIn("").includes(store)
  const { folder } = promises
  if (!exists && folder === "there") throw violation("the store is gone")
  if (exists && folder === "gone") throw violation("the store is back")

  yield* boot(crash === "power loss")
  // who only reads, before anybody mends anything
  const reader = exists ? yield* process(stack, disk, { ...options, readOnly: true }, readAll) : []
  const promised: Promises = exists ? promises : { ...nothing, folder: "there" }

  const history = yield* process(
    stack,
    disk,
    options,
    Effect.gen(function*() {
      const history = yield* readAll
      compare(history, promised, lossy)
      const read = reader.map((it) => it.position)
      if (!isDeepStrictEqual(read, history.slice(0, reader.length).map((it) => it.position))) {
        throw violation("a reader saw what is not in the history", read)
      }
      if (crash === "kill" && exists) {
        const acked = promised.batches.filter(({ fate }) => fate === "acked").flatMap(({ stored }) => stored)
        if (acked.some(({ position }) => !read.includes(position))) {
          throw violation("a reader does not see what was acknowledged", read)
        }
      }
      const { additions, head } = yield* lookAtJournal(history)
      lookAtTags(history, additions, promised, lossy)
      yield* lookAtIndex(history)
      yield* lookAtConditions(history, promised, lossy)
      const told = yield* EventStore.head
      if ((told ?? 0) !== head) throw violation("the head is not the last record", [told, head])
      const { positions } = yield* EventStore.append(probe, { failIfEventsMatch: Query.tags("key:never"), after: told })
      if (positions[0] !== head + 1) throw violation("the next event does not get the next position", [positions, head])
      // who was not answered asks again: it is there once
      const open = promised.batches.filter(({ fate }) => fate === "open")
      const acked = promised.batches.filter(({ fate, number }) =>
        fate === "acked" && history.some(({ event }) => Math.floor((event as { n: number }).n / 100) === number)
      )
      for (const { number, size, stored } of [...open, ...acked.slice(-1)]) {
        const before = history.filter(({ event }) => Math.floor((event as { n: number }).n / 100) === number)
        const again = yield* EventStore.append(eventsOf(number, size) as [Event.Input, ...Array<Event.Input>])
        if (again.duplicate !== before.length > 0) throw violation("a repeated append is stored twice", number)
        if (stored.length > 0 && !isDeepStrictEqual([...again.positions], stored.map((it) => it.position))) {
          throw violation("a repeated append has other positions", number)
        }
      }
      yield* Stream.runDrain((yield* EventStoreMaintenance).verify)
      const end = yield* readAll
      if (options.eventFiles === true) yield* lookAtFiles(disk, end)
      if (scenario.counts === true) yield* lookAtProjection
      return end
    })
  )

  // once more, without the index
  const again = disk.processCrash()
  again.remove(`${store}/indices`)
  yield* process(
    stack,
    again,
    options,
    Effect.gen(function*() {
      const found = yield* readAll
      if (!isDeepStrictEqual(found, history)) throw violation("the history is another one without the index", found)
      yield* lookAtIndex(history)
      yield* lookAtConditions(history, nothing, lossy)
    })
  ).pipe(Effect.ensuring(Effect.sync(again.unmount)))

  // and after another power loss
  if (options.durability === "os") return
  const [worst] = disk.crashImages({ max: 1 })
  yield* boot(true)
  const late = yield* process(
    stack,
    worst!,
    options,
    Effect.tap(readAll, (found) => options.eventFiles === true ? lookAtFiles(worst!, found) : Effect.void)
  ).pipe(Effect.ensuring(Effect.sync(worst!.unmount)))
  if (!isDeepStrictEqual(late, history)) throw violation("the history is another one after a second crash", late)
})

// crashes at each call

export interface Crashes {
  /** System calls that change something, before each of which there is a crash. */
  readonly points: number
  /** Different disks that were opened. */
  readonly images: number
  readonly millis: number
}

export interface CrashOptions {
  readonly stack?: Stack
  /** What a crash left is opened with. Default: the real one. */
  readonly recovery?: Stack
  /** How many power losses at each call, at most. */
  readonly most: number
  /** Which of them. Default: 0. */
  readonly seed?: number
}

/** Runs a scenario, with a crash before each call and one at its end; and looks at all that is left. */
export const crash = (name: Name, options: CrashOptions): Effect.Effect<Crashes, unknown> =>
  crashIn(scenarios[name], options)

export const crashIn = (
  scenario: Scenario,
  { most, recovery = RealStack, seed = 0, stack = RealStack }: CrashOptions
): Effect.Effect<Crashes, unknown> =>
  Effect.gen(function*() {
    const began = performance.now()
    const images = new Map<
      string,
      {
        readonly image: MountedDisk.MountedDisk
        readonly promises: Promises
        readonly crash: Crash
        readonly at: string
      }
    >()
    let points = 0
    let isOn = false
    const strike = (at: string) => {
      points++
      const { promises } = world
      const said = JSON.stringify(promises)
      const add = (image: MountedDisk.MountedDisk, crash: Crash) => {
        const key = `${crash} ${image.fingerprint()} ${said}`
        if (images.has(key)) image.unmount()
        else images.set(key, { image, promises, crash, at: `${at}, the ${points}th` })
      }
      add(world.disk.processCrash(), "kill")
      for (const image of world.disk.crashImages({ max: most, seed: seed + points })) add(image, "power loss")
    }
    const disk = MountedDisk.make({
      onCall: (call) => {
        if (isOn && call.changes) strike(`${call.name} ${call.path}`)
      },
      outcome: (call) => world.outcome?.(call)
    })
    const world: World = {
      stack: RealStack,
      disk,
      options: scenario.options ?? {},
      promises: nothing,
      promise: (change) => {
        world.promises = { ...world.promises, ...change }
      },
      nextBatch: 1,
      outcome: undefined
    }
    yield* boot(false)
    if (scenario.before !== undefined) yield* scenario.before(world)
    world.stack = stack
    isOn = true
    yield* scenario.run(world)
    strike("the end")
    isOn = false
    for (const { at, crash, image, promises } of images.values()) {
      yield* checkImage(image, promises, crash, scenario, recovery).pipe(
        Effect.catchCause((cause) => Effect.die(new Violation(`${told(cause).message} (${crash} before ${at})`))),
        Effect.ensuring(Effect.sync(image.unmount))
      )
    }
    disk.unmount()
    return { points, images: images.size, millis: Math.round(performance.now() - began) }
  }).pipe(quiet)
