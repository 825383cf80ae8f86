/** What a read tells of tags that were added to the past: as the plainest store does, whatever the history; and mistakes are noticed. */
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Event from "../../src/Event.ts"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as StorageMemory from "../../src/layers/StorageMemory.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import type { Tag } from "../../src/Tag.ts"
import * as oracle from "../../src/testing/conformance/oracle.ts"
import { mutant } from "../support/mutants.ts"
import { patches } from "../support/mutants/retagged.ts"

// histories

const types = ["A", "B"] as const
const tags = ["x:1", "x:2", "y:1"] as const

const Small = (n: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: n }))
const Tags = Schema.Array(Schema.Literals(tags)).check(Schema.isMaxLength(2))
const Step = Schema.Union([
  Schema.Struct({ do: Schema.Literal("append"), type: Schema.Literals(types), tags: Tags, count: Small(40) }),
  // to the events of a type and above a position, or to all above it
  Schema.Struct({
    do: Schema.Literal("tag"),
    type: Schema.optionalKey(Schema.Literals(types)),
    after: Small(60),
    tag: Schema.Literals(tags)
  }),
  Schema.Struct({ do: Schema.Literal("read"), after: Small(90) })
])
const Steps = Schema.Array(Step).check(Schema.isMaxLength(10))

const queries: ReadonlyArray<Query.Any> = [
  Query.all,
  Query.types("A"),
  Query.types("A", "B"),
  Query.tags("x:1"),
  Query.tags("x:2", "y:1"),
  Query.fromItems({ types: ["B"], tags: ["x:1"] }, { tags: ["y:1"] })
]

type Store = EventStore.EventStore["Service"]
/** To events by their position, where they do not have the tag yet. */
type AddTags = (positions: ReadonlySet<number>, tag: Tag) => Effect.Effect<unknown, unknown>

const observe = Effect.fnUntraced(function*(store: Store, addTags: AddTags, steps: typeof Steps.Type) {
  const out: Array<unknown> = []
  // the last one looks at all that happened
  for (const step of [...steps, ...[0, 1, 5, 30].map((after) => ({ do: "read", after }) as const)]) {
    if (step.do === "append") {
      yield* store.append(
        Array.from({ length: step.count + 1 }, (_, n) => Event.raw(step.type, { n }, { tags: step.tags }))
      )
    } else if (step.do === "tag") {
      const { events } = yield* store.read(step.type === undefined ? Query.all : Query.types(step.type), {
        after: step.after as Position
      })
      yield* addTags(new Set(events.map(({ position }) => position)), step.tag as Tag)
    } else {
      for (const query of queries) out.push((yield* store.read(query, { after: step.after as Position })).retagged)
    }
  }
  return out
})

const plainest = (steps: typeof Steps.Type) =>
  Effect.suspend(() => {
    const driver = oracle.makeDriver()
    const store = EventStore.make(driver)
    return observe(store, (positions, tag) =>
      Effect.flatMap(store.read(Query.all), ({ events }) => {
        const additions = events
          .filter((event) => positions.has(event.position) && !event.tags.includes(tag))
          .map(({ position }) => ({ position, tags: [tag] }))
        return additions.length === 0 ? Effect.void : driver.addTags(additions)
      }), steps)
  })

/** With runs and segments so small that a history has some. */
const real = (live: typeof EventStoreLive, steps: typeof Steps.Type) =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    const maintenance = yield* Maintenance.EventStoreMaintenance
    return yield* observe(
      store,
      (positions, tag) => maintenance.addTags(Query.all, ({ position }) => positions.has(position) ? [tag] : []),
      steps
    )
  }).pipe(
    Effect.provide(Layer.fresh(
      live.layer({ store: "store", eventFiles: false }).pipe(
        Layer.provide(IndexLive.layer({ store: "store", runBytes: 4000 })),
        Layer.provide(LedgerLive.layer({ store: "store", segmentSize: 8000 })),
        Layer.provide(Layer.mergeAll(StorageMemory.layer, LockMemory.layer)),
        Layer.orDie
      )
    ))
  )

const isAsThePlainest = (live: typeof EventStoreLive, steps: typeof Steps.Type) =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* real(live, steps), yield* plainest(steps))
  })

/** What chance would hardly bring about. */
const examples: { readonly [title: string]: typeof Steps.Type } = {
  "of many events at once, the last one matters": [
    { do: "append", type: "A", tags: [], count: 40 },
    { do: "append", type: "B", tags: ["x:2"], count: 0 },
    { do: "tag", after: 0, tag: "y:1" },
    { do: "read", after: 42 }
  ],
  "of many events at once, none before the last is among those that the query finds": [
    { do: "append", type: "B", tags: [], count: 0 },
    { do: "append", type: "A", tags: ["x:1"], count: 40 },
    { do: "append", type: "B", tags: [], count: 40 },
    { do: "append", type: "A", tags: [], count: 0 },
    { do: "tag", after: 0, tag: "x:1" },
    { do: "read", after: 84 }
  ]
}

describe("tags that were added to the past", () => {
  it.effect.prop(
    "are told of as in the plainest store",
    { steps: Steps },
    ({ steps }) => isAsThePlainest(EventStoreLive, steps),
    { arbitrary: { runs: 100 }, timeout: 120_000 }
  )

  for (const [title, steps] of Object.entries(examples)) {
    it.effect(title, () => isAsThePlainest(EventStoreLive, steps))
  }

  for (const name of Object.keys(patches)) {
    const isControl = name.startsWith("control-")
    it.effect(`${name} is ${isControl ? "not " : ""}noticed`, () =>
      Effect.gen(function*() {
        const live = yield* Effect.promise(() => mutant<typeof EventStoreLive>("src/layers/EventStoreLive.ts", name))
        for (const steps of Object.values(examples)) {
          if (Exit.isFailure(yield* Effect.exit(isAsThePlainest(live, steps)))) return assert.isFalse(isControl)
        }
        const result = yield* Arbitrary.checkEffect(
          Arbitrary.schema(Steps),
          (steps) => Effect.map(Effect.exit(isAsThePlainest(live, steps)), Exit.isSuccess),
          { runs: 400, seed: 1 }
        )
        assert.strictEqual(result._tag, isControl ? "Passed" : "Falsified")
      }), 60_000)
  }
})
