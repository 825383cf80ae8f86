/** Places for the contract of `ProjectionStore`. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { Position } from "../../src/Position.ts"
import { ProjectionStore, type StoredEntry } from "../../src/services/ProjectionStore.ts"
import type { Place } from "../services/ProjectionStore.contract.ts"

export const entry = (more: Partial<StoredEntry>): StoredEntry => ({
  key: "refused",
  state: null,
  tags: [],
  position: 1 as Position,
  version: 1,
  created: 1,
  updated: 1,
  ...more
})

/**
 * One store, which all that would be processes share. There is no way to take a claim in it but that its holder gives it up: so a
 * thief closes the scope that the holder's claim is in, behind its back.
 */
export const memoryPlace = (make: Effect.Effect<ProjectionStore["Service"]>): Effect.Effect<Place> =>
  Effect.map(make, (store) => {
    const holders = new Map<string, Scope.Closeable>()
    const layerOf = (isThief: boolean) =>
      Layer.succeed(ProjectionStore, {
        ...store,
        open: (name, version) =>
          Effect.map(store.open(name, version), (slot) => ({
            ...slot,
            claim: (options) =>
              Effect.uninterruptibleMask((restore) =>
                Effect.gen(function*() {
                  const id = `${version} ${name}`
                  const holder = holders.get(id)
                  if (isThief && holder !== undefined) yield* Scope.close(holder, Exit.void)
                  const scope = yield* Scope.fork(yield* Effect.scope)
                  const claim = yield* Scope.provide(restore(slot.claim(options)), scope)
                  if (claim !== undefined) holders.set(id, scope)
                  return claim
                })
              )
          }))
      })
    // no JSON has it
    return { layer: layerOf(false), thief: layerOf(true), refused: entry({ state: 1n as never }) }
  })
