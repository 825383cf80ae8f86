/** Projections over any event store and any state store: each is run by one process at a time, and read by all. */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { EventStore } from "../services/EventStore.ts"
import { EventStoreMaintenance } from "../services/EventStoreMaintenance.ts"
import * as Projection from "../services/Projection.ts"
import { ProjectionStore } from "../services/ProjectionStore.ts"
import * as ProjectionRunner from "./internal/ProjectionRunner.ts"

// options

export interface Options {
  /**
   * When projections are built by themselves:
   *
   * - `when-needed`: when there is no build of their version, or it was made of other events, of another history, or before tags were
   *   added to its events
   * - `always`: at each start of a process that gets to run them
   * - `never`: only by `rebuild`. What is built is kept up to date.
   *
   * A build that was interrupted goes on in any case. Default: `when-needed`.
   */
  readonly rebuild?: ProjectionRunner.RebuildPolicy | undefined
}

/** How many projections are rebuilt at a time. */
const defaultConcurrency = 2

// constructors

const make = Effect.fnUntraced(function*(options: Options) {
  // these alone: a runner's scope is that of its own layer
  const services = Context.pick(EventStore, EventStoreMaintenance, ProjectionStore)(
    yield* Effect.context<EventStore | EventStoreMaintenance | ProjectionStore>()
  )
  const runners = new Set<ProjectionRunner.Runner>()
  /** One that runs twice is rebuilt once. */
  const each = () => [
    ...new Map([...runners].map((runner) => [`${runner.definition.version} ${runner.definition.name}`, runner]))
      .values()
  ]

  return Projection.Projections.of({
    run: Effect.fnUntraced(function*(definition) {
      for (const { definition: other } of runners) {
        if (other !== definition && other.name === definition.name && other.version === definition.version) {
          return yield* Effect.die(
            new Error(
              `two projections have the name ${definition.name} and the version ${definition.version}: they would share their states`
            )
          )
        }
      }
      const runner = yield* Effect.provideContext(
        ProjectionRunner.make(definition, { rebuild: options.rebuild ?? "when-needed" }),
        services
      )
      yield* Effect.acquireRelease(
        Effect.sync(() => runners.add(runner)),
        () => Effect.sync(() => runners.delete(runner))
      )
      return runner.model
    }),
    status: Effect.suspend(() => Effect.forEach([...runners], ({ model }) => model.status)),
    rebuild: ({ concurrency = defaultConcurrency, names } = {}) =>
      Stream.suspend(() => {
        const known = each()
        const unknown = names?.filter((name) => !known.some(({ definition }) => definition.name === name)) ?? []
        if (unknown.length > 0) {
          return Stream.die(new TypeError(`rebuild: no projection of this layer has the name ${unknown.join(", ")}`))
        }
        if (!(concurrency >= 1)) {
          return Stream.die(new TypeError(`rebuild: concurrency must be at least 1, not ${String(concurrency)}`))
        }
        let failure: Cause.Cause<Projection.ProjectionError> | undefined
        const chosen = names === undefined ? known : known.filter(({ definition }) => names.includes(definition.name))
        // one that fails does not keep the others from being rebuilt
        return Stream.fromIterable(chosen).pipe(
          Stream.flatMap(({ model }) =>
            Stream.catchCause(model.rebuild, (cause) => {
              failure ??= cause
              return Stream.empty
            }), { concurrency }),
          Stream.concat(Stream.suspend(() => failure === undefined ? Stream.empty : Stream.failCause(failure)))
        )
      })
  })
})

// layers

export const layer = (
  options: Options = {}
): Layer.Layer<Projection.Projections, never, EventStore | EventStoreMaintenance | ProjectionStore> =>
  Layer.effect(Projection.Projections, make(options))
