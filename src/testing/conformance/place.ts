/** A place that outlives the layers over it: several clients of one store, which come and go. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { EventStore } from "../../services/EventStore.ts"
import type { EventStoreMaintenance } from "../../services/EventStoreMaintenance.ts"

/** A layer over the place: with maintenance, if the place was said to have it. */
type ClientLayer = Layer.Layer<EventStore, unknown>

/** The store as one client has it. */
export interface Client {
  /** Runs an effect on this client's store. */
  readonly run: <A, E>(effect: Effect.Effect<A, E, EventStore>) => Effect.Effect<A, E>
  /** The same for what needs maintenance: `undefined` if there is none. */
  readonly maintain:
    | (<A, E>(effect: Effect.Effect<A, E, EventStore | EventStoreMaintenance>) => Effect.Effect<A, E>)
    | undefined
  /** Ends its scope. */
  readonly close: Effect.Effect<void>
}

/** An empty store, which any number of clients may open. */
export class Place extends Context.Service<Place, {
  /** One more client, until it is closed or the scope ends. */
  readonly open: Effect.Effect<Client, unknown, Scope.Scope>
  /** Whether its clients can `maintain`. */
  readonly hasMaintenance: boolean
}>()("effect-opossum/testing/Conformance/Place") {}

/** Makes empty places, as many as are asked for. */
export class Places extends Context.Service<Places, {
  readonly make: Effect.Effect<Place["Service"], unknown, Scope.Scope>
}>()("effect-opossum/testing/Conformance/Places") {}

export const open: Effect.Effect<Client, unknown, Place | Scope.Scope> = Effect.flatMap(
  Place,
  (place) => place.open
)

/** `hasMaintenance`: what the layer's type said before it was forgotten. */
export const make = (layer: ClientLayer, hasMaintenance: boolean): Place["Service"] => ({
  hasMaintenance,
  open: Effect.gen(function*() {
    const scope = yield* Scope.fork(yield* Scope.Scope)
    const context = yield* Layer.buildWithScope(Layer.fresh(layer), scope)
    return {
      run: Effect.provideContext(context),
      maintain: hasMaintenance
        ? Effect.provideContext(context as Context.Context<EventStore | EventStoreMaintenance>)
        : undefined,
      close: Scope.close(scope, Exit.void)
    }
  })
})
