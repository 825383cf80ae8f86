/** What every event store's administration promises. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Event from "../../src/Event.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"

/** `layer`: a fresh, empty store at each build. */
export const suite = <E>(name: string, layer: Layer.Layer<EventStore.EventStore | Admin.EventStoreAdmin, E>): void => {
  describe(`EventStoreAdmin: ${name}`, () => {
    it.effect("deletes the store: nothing can be read or written any more", () =>
      Effect.gen(function*() {
        yield* EventStore.append(Event.raw("Numbered", { n: 1 }))
        yield* Admin.deleteStore
        const isDeleted = (error: { readonly _tag: string; readonly reason?: { readonly _tag: string } }) =>
          assert.strictEqual(error.reason?._tag, "StoreDeleted")
        isDeleted(yield* Effect.flip(EventStore.append(Event.raw("Numbered", { n: 2 }))))
        isDeleted(yield* Effect.flip(EventStore.read(Query.all)))
        isDeleted(yield* Effect.flip(EventStore.head))
        isDeleted(yield* Effect.flip(Admin.deleteStore))
      }).pipe(Effect.provide(Layer.fresh(layer))))
  })
}
