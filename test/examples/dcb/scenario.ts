/** Given events, when a decision runs, then events or a refusal; each scenario in a store of its own, in memory. */
import { assert } from "@effect/vitest"
import { DateTime, Effect, Result } from "effect"
import { Event, EventStore, Opossum, type Position, Query } from "effect-opossum"

/** An event as it was stored at a time. */
export const at = <E extends Event.Event>(time: string, event: E) =>
  Event.withMetadata(event, { timestamp: DateTime.makeUnsafe(time) })

const stored = (after?: Position.Position) =>
  Effect.map(
    EventStore.read(Query.all, { after }),
    ({ events }) => events.map(({ event: { data }, tags, type }) => ({ type, tags, data }))
  )

/** Stored too, so that both sides of a comparison went the same way. */
const asStored = (events: ReadonlyArray<Event.Input>) =>
  events.length === 0
    ? Effect.succeed([])
    : Effect.andThen(EventStore.append(events), stored()).pipe(Effect.provide(Opossum.layerMemory))

export const given = (...events: ReadonlyArray<Event.Input>) => ({
  when: <A, E extends Error>(decision: Effect.Effect<A, E, EventStore.EventStore>) => {
    const run = Effect.gen(function*() {
      const head = events.length === 0 ? undefined : (yield* EventStore.append(events)).head
      const result = yield* Effect.result(decision)
      return { result, appended: yield* stored(head) }
    }).pipe(Effect.provide(Opossum.layerMemory))
    return {
      /** It succeeds, and appends exactly these. */
      thenAppends: Effect.fnUntraced(function*(...expected: ReadonlyArray<Event.Input>) {
        const { appended, result } = yield* run
        assert.isTrue(Result.isSuccess(result), `it is refused: ${String(Result.getFailure(result))}`)
        assert.deepStrictEqual(appended, yield* asStored(expected))
      }),
      /** It is refused in exactly this way, and appends nothing. */
      thenFails: Effect.fnUntraced(function*(error: E) {
        const { appended, result } = yield* run
        if (Result.isSuccess(result)) return assert.fail("it is not refused")
        assert.strictEqual(result.failure.constructor, error.constructor)
        // Field by field: of two errors, the names and messages alone would be compared.
        assert.deepStrictEqual({ ...result.failure }, { ...error })
        assert.deepStrictEqual(appended, [])
      })
    }
  }
})
