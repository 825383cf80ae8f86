/** Stores over a medium that a test holds in its hands: several on one disk, and calls that wait until the test lets them go. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Event from "../../src/Event.ts"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import type { Lock } from "../../src/services/Lock.ts"
import { Storage } from "../../src/services/Storage.ts"
import * as Tag from "../../src/Tag.ts"

// events

export const Seat = Schema.NonEmptyString.pipe(Tag.as("seat"))
export class Taken extends Event.Class<Taken>()("Taken", { seat: Seat, by: Schema.String }) {}
export const seat = (name: string) => Query.of(Taken, { seat: name })
export const all = Query.of(Taken)
export const take = (name: string, by: string) => new Taken({ seat: name, by })
export const taken = (found: { readonly events: ReadonlyArray<{ readonly event: Taken }> }): ReadonlyArray<string> =>
  found.events.map(({ event: { by, seat } }) => `${seat} ${by}`)

// stores

export interface Options {
  readonly eventFiles?: boolean
  /** So small that a few events make the index write a run. */
  readonly runBytes?: number
  readonly segmentSize?: number
  readonly lockTimeout?: LedgerLive.Options["lockTimeout"]
}

export interface Opened {
  readonly store: EventStore.EventStore["Service"]
  readonly admin: Admin.EventStoreAdmin["Service"]
  readonly maintenance: Maintenance.EventStoreMaintenance["Service"]
}

/** The store `shop`, as one process has it open. Each call stands for another process. */
export const open = (storage: Layer.Layer<Storage>, lock: Layer.Layer<Lock>, options: Options = {}) => {
  const { eventFiles = false, runBytes, ...more } = options
  const layer = EventStoreLive.layer({ store: "shop", eventFiles }).pipe(
    Layer.provide(IndexLive.layer({ store: "shop", runBytes })),
    Layer.provide(LedgerLive.layer({ store: "shop", ...more })),
    Layer.provide(Layer.mergeAll(storage, lock)),
    Layer.orDie,
    Layer.fresh
  )
  return Effect.map(Layer.build(layer), (context): Opened => ({
    store: Context.get(context, EventStore.EventStore),
    admin: Context.get(context, Admin.EventStoreAdmin),
    maintenance: Context.get(context, Maintenance.EventStoreMaintenance)
  }))
}

// order

/** A place that is passed when the test says so. */
export interface Gate {
  /** Somebody stands before it. */
  readonly begun: Effect.Effect<void>
  /** Lets everybody through, now and later. */
  readonly go: Effect.Effect<void>
  readonly pass: Effect.Effect<void>
}

export const makeGate = (): Gate => {
  const begun = Deferred.makeUnsafe<void>()
  const go = Deferred.makeUnsafe<void>()
  return {
    begun: Deferred.await(begun),
    go: Effect.asVoid(Deferred.succeed(go, undefined)),
    pass: Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go))
  }
}

/** A medium on which the runs of an index are written when the test says so. */
export const slowRuns = (storage: Storage["Service"], gate: Gate): Layer.Layer<Storage> =>
  Layer.succeed(Storage, {
    ...storage,
    replaceDocument: (path, bytes, options) => {
      const replace = storage.replaceDocument(path, bytes, options)
      return path.endsWith(".run") ? Effect.andThen(gate.pass, replace) : replace
    }
  })

/** Lets a fiber come as far as it can without anybody's help: to its end, or to where it waits. */
export const settle = (fiber: Fiber.Fiber<unknown, unknown>) =>
  Effect.gen(function*() {
    for (let turns = 0; turns < 2000 && fiber.pollUnsafe() === undefined; turns++) yield* Effect.yieldNow
  })
