/**
 * A client of a store on a simulated disk, who keeps what it is promised: which batches are there and where, which are certainly not,
 * which conditions failed. Whatever a call fails with is an answer; only a defect is a bug.
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as Event from "../../src/Event.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import { EventStoreAdmin } from "../../src/services/EventStoreAdmin.ts"
import { EventStoreMaintenance } from "../../src/services/EventStoreMaintenance.ts"
import type { Tag } from "../../src/Tag.ts"
import type * as MountedDisk from "./mountedDisk.ts"
import * as Tally from "./projectionsTally.ts"
import * as RealStack from "./stack.ts"

// models

/** The real layers, or a weakened copy of them. */
export type Stack = Pick<typeof RealStack, "layer">

export const store = RealStack.store
export const Model = Tally.make()

export type Services = Layer.Success<ReturnType<Stack["layer"]>>

/** Something that must never be seen was seen. */
export class Violation extends Error {}

export const violation = (what: string, detail: unknown = "") =>
  new Violation(detail === "" ? what : `${what}: ${typeof detail === "string" ? detail : JSON.stringify(detail)}`)

/** An event as it is read, as plain JSON. */
export interface Stored {
  readonly position: number
  readonly type: string
  readonly tags: ReadonlyArray<string>
  readonly event: unknown
  readonly metadata: unknown
}

/** `acked`: it is there. `refused`: it is not. `open`: it may be, whole or not at all. */
export type Fate = "acked" | "refused" | "open"

export interface Batch {
  readonly number: number
  readonly size: number
  readonly fate: Fate
  /** Once that was told. */
  readonly positions: ReadonlyArray<number>
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
export interface Promises {
  readonly folder: "none" | "making" | "there" | "deleting" | "gone"
  readonly batches: ReadonlyArray<Batch>
  readonly additions: ReadonlyArray<Addition>
  /** Conditions that failed: on a key, behind a position. */
  readonly conflicts: ReadonlyArray<{ readonly key: string; readonly after: Position | undefined }>
}

export const nothing: Promises = { folder: "none", batches: [], additions: [], conflicts: [] }

// events

export const keys = ["a", "b", "c"]
export const laterTags = ["late:1", "late:2"] as const

/** The number of an event tells its batch and its place in it. */
export const numberOf = (batch: number, index: number) => batch * 100 + index
const eventOf = (batch: number, index: number): Event.Input =>
  Event.withMetadata(
    index % 3 === 2
      ? Tally.moved(keys[batch % 3]!, keys[(batch + 1) % 3]!, numberOf(batch, index))
      : Tally.put(keys[(batch + index) % 3]!, numberOf(batch, index)),
    { id: `e-${batch}-${index}` }
  )
export const eventsOf = (batch: number, size: number) => Array.from({ length: size }, (_, i) => eventOf(batch, i))

/** What is appended to see that one can. */
export const probe = Tally.put("probe", 999_999)

const plain = <A>(value: A): unknown => JSON.parse(JSON.stringify(value))

export const toStored = ({ event, metadata, position, tags, type }: Event.SequencedEvent<unknown>): Stored => ({
  position,
  type,
  tags: [...tags],
  event: plain(event),
  metadata: plain(metadata)
})

export const readAll = Effect.map(EventStore.read(Tally.everything), ({ events }) => events.map(toStored))

/** A decision model that is kept after each event. */
export const Sum = DecisionModel.make({
  query: Query.of(Tally.Put, { key: "a" }),
  initial: { count: 0, sum: 0 },
  apply: { Put: ({ count, sum }, { n }) => ({ count: count + 1, sum: sum + n }) },
  snapshot: { name: "sum", version: 1, state: Schema.Struct({ count: Schema.Int, sum: Schema.Int }), every: 1 }
})

// a client, and what it is promised

/** How an effect ends: with an answer or a typed error. Anything else is a bug, and goes on as that. */
const answered = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.flatMap(Effect.exit(effect), (exit) =>
    Exit.isFailure(exit) && Exit.findErrorOption(exit)._tag === "None"
      ? Effect.failCause(exit.cause as Cause.Cause<never>)
      : Effect.succeed(exit))

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
      const { additions, batches, folder } = world.promises
      if (folder === "none" || folder === "gone") world.promise({ ...nothing, folder: "making" })
      // nobody knows which store it is that is opened now
      if (folder === "deleting") {
        const open = <A extends { readonly fate: Fate }>(it: A): A => it.fate === "acked" ? { ...it, fate: "open" } : it
        world.promise({ batches: batches.map(open), additions: additions.map(open), conflicts: [] })
      }
      const layer = Layer.fresh(world.stack.layer({ ...world.options, root: world.disk.root }))
      const [context, scope] = yield* Effect.gen(function*() {
        const scope = yield* Scope.make()
        const building = Layer.buildWithScope(layer, scope)
        return [yield* Effect.tapError(building, () => Scope.close(scope, Exit.void)), scope] as const
      }).pipe(
        // the disk may refuse for a moment
        Effect.retry({ times: 3 })
      )
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
      const tell = (fate: Fate, positions: ReadonlyArray<number> = [], stored: ReadonlyArray<Stored> = []) => {
        const others = world.promises.batches.filter((it) => it.number !== number)
        world.promise({ batches: [...others, { number, size, fate, positions, stored }] })
      }
      const seen = yield* answered(this.provide(EventStore.head))
      if (Exit.isFailure(seen)) return
      const guard = condition?.(seen.value)
      tell("open")
      const exit = yield* answered(this.provide(EventStore.append(
        eventsOf(number, size) as [Event.Input, ...Array<Event.Input>],
        guard && { failIfEventsMatch: Query.tags(`key:${guard.key}`), after: guard.after }
      )))
      if (Exit.isSuccess(exit)) {
        const { positions } = exit.value
        tell("acked", positions)
        // it is known to be there from here on, so how it looks can be asked for
        const after = positions[0]! - 1
        const range = after === 0 ? { limit: size } : { after: after as Position, limit: size }
        const read = yield* answered(this.provide(EventStore.read(Tally.everything, range)))
        if (Exit.isSuccess(read)) tell("acked", positions, read.value.events.map(toStored))
        return
      }
      const error = Option.getOrThrow(Exit.findErrorOption(exit))
      if (error._tag === "AppendOutcomeUnknown") return
      tell("refused")
      if (error._tag === "AppendConditionFailed") {
        world.promise({ conflicts: [...world.promises.conflicts, { key: guard!.key, after: guard!.after }] })
      }
    })
  }

  addTags(tag: typeof laterTags[number], key: string) {
    const { world } = this
    return Effect.gen({ self: this }, function*() {
      const query = Query.tags(`key:${key}`)
      const read = yield* answered(this.provide(EventStore.read(query)))
      if (Exit.isFailure(read)) return
      const without = read.value.events.filter(({ tags }) => !(tags as ReadonlyArray<string>).includes(tag))
      const targets = without.map(({ position }) => position as number)
      const others = world.promises.additions
      const tell = (fate: Fate) =>
        world.promise({ additions: [...others, { tag: tag as string as Tag, targets, fate }] })
      tell("open")
      // what fails may have come half-way, record by record: here it is one
      const adding = EventStoreMaintenance.use((maintenance) => maintenance.addTags(query, () => [tag]))
      if (Exit.isSuccess(yield* answered(this.provide(adding)))) tell("acked")
    })
  }

  get deleteStore() {
    const { world } = this
    return Effect.gen({ self: this }, function*() {
      world.promise({ folder: "deleting" })
      const exit = yield* answered(this.provide(EventStoreAdmin.use((admin) => admin.deleteStore)))
      if (Exit.isSuccess(exit)) world.promise({ ...nothing, folder: "gone" })
    })
  }

  /** Until all that was appended has its file. */
  get mirrored() {
    return Effect.gen({ self: this }, function*() {
      const head = yield* answered(this.provide(EventStore.head))
      if (Exit.isFailure(head) || head.value === undefined) return
      const { value } = head
      yield* answered(this.provide(EventStoreMaintenance.use((maintenance) => maintenance.eventFiles.waitFor(value))))
    })
  }

  /** Lets the model be kept. */
  get decide() {
    return answered(this.provide(Decision.build(Sum)))
  }

  /** Runs with the projection, which counts meanwhile. */
  counting<A, E>(body: Effect.Effect<A, E, Layer.Success<typeof Model.layer> | EventStore.EventStore>) {
    return this.provide(Effect.provide(body, Model.layer))
  }
}

export interface World {
  stack: Stack
  readonly disk: MountedDisk.MountedDisk
  readonly options: Omit<RealStack.Options, "root">
  promises: Promises
  readonly promise: (change: Partial<Promises>) => void
  nextBatch: number
  /** What a scenario does to its disk. */
  outcome: ((call: MountedDisk.Call) => MountedDisk.Outcome | undefined) | undefined
  /** What is done to it besides. */
  fault: ((call: MountedDisk.Call) => MountedDisk.Outcome | undefined) | undefined
}
