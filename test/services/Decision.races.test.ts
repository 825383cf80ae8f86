/**
 * Decisions of many fibers, in one process and as if in several, over random models: each event notes what its decision saw, so the
 * history alone proves every one of them right. It was right if a plain walk over all that stands before the event sees the same.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as Event from "../../src/Event.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import type * as Tag from "../../src/Tag.ts"

// events: what was to be known, and what was seen

const fields = { tags: Schema.Array(Schema.String), models: Schema.Json, saw: Schema.Json }
const tags = ({ tags }: { readonly tags: ReadonlyArray<string> }) => tags as ReadonlyArray<`k:${string}`>
class A extends Event.Class<A>()("A", fields, { tags }) {}
class B extends Event.Class<B>()("B", fields, { tags }) {}
class C extends Event.Class<C>()("C", fields, { tags }) {}
const classes = { A, B, C }

// programs

const Type = Schema.Literals(["A", "B", "C"])
const Tags = Schema.UniqueArray(Schema.Literals(["k:1", "k:2", "k:3"])).check(Schema.isMaxLength(2))
const Model = Schema.Struct({
  kind: Schema.Literals(["all", "kept", "last"]),
  /** None: any. */
  types: Schema.UniqueArray(Type).check(Schema.isMaxLength(2)),
  tags: Tags,
  /** Read by classes, or raw. */
  typed: Schema.Boolean
})
type Model = typeof Model.Type
const Models = Schema.Array(Model).check(Schema.isMinLength(1), Schema.isMaxLength(4))
const Step = Schema.Struct({
  /** Without any, the event is appended as it is, overtaking whoever it overtakes. */
  models: Schema.NullOr(Models),
  type: Type,
  tags: Tags,
  /** How long it takes to decide. */
  pause: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 3 }))
})
/** The steps of each fiber. */
const Program = Schema.Array(Schema.Array(Step).check(Schema.isMaxLength(6))).check(
  Schema.isMinLength(2),
  Schema.isMaxLength(8)
)

const queryOf = ({ tags, typed, types }: Model): Query.Query<Event.Event> =>
  types.length === 0 && tags.length === 0
    ? Query.all
    : typed && types.length > 0
    ? Query.of(
      types.map((type) => classes[type]) as never,
      tags.length === 0 ? undefined : { k: tags.map((tag) => tag.slice(2)) } as never
    )
    : Query.fromItems({
      types: types.length === 0 ? undefined : types as never,
      tags: tags.length === 0 ? undefined : tags as never
    })

/** The positions of what it finds: all of them, or the newest. */
const modelOf = (description: Model): DecisionModel.DecisionModel<unknown> => {
  const query = queryOf(description)
  if (description.kind === "last") {
    return DecisionModel.map(DecisionModel.last(query), (found) => found?.position ?? null)
  }
  const note = (
    seen: ReadonlyArray<number>,
    _: Event.Event,
    { position }: { readonly position: number }
  ) => [...seen, position]
  return DecisionModel.make<Event.Event, ReadonlyArray<number>>({
    query,
    initial: [],
    apply: { A: note, B: note, C: note, RawEvent: note },
    snapshot: description.kind === "all"
      ? undefined
      // A state is the same whether it was made of decoded events or of raw ones.
      : { name: "positions", version: 1, state: Schema.Array(Schema.Int), every: 2 }
  })
}

/** In records and tuples. */
const compose = ([first, ...rest]: ReadonlyArray<DecisionModel.DecisionModel<unknown>>): DecisionModel.Input =>
  rest.length === 0 ? first! : rest.length % 2 === 0 ? { first: first!, rest: compose(rest) } : [first!, compose(rest)]

/** In the order of the models. */
const flatten = (state: unknown, depth: number): ReadonlyArray<unknown> => {
  if (depth === 1) return [state]
  const [first, rest] = Array.isArray(state) ? state : Object.values(state as object)
  return [first, ...flatten(rest, depth - 1)]
}

// proof

interface Stored {
  readonly position: number
  readonly type: string
  readonly tags: ReadonlyArray<string>
}

const expected = ({ kind, tags, types }: Model, before: ReadonlyArray<Stored>): unknown => {
  const found: Array<number> = []
  for (const event of before) {
    const isType = types.length === 0 || (types as ReadonlyArray<string>).includes(event.type)
    if (isType && tags.every((tag) => event.tags.includes(tag))) found.push(event.position)
  }
  return kind === "last" ? found.at(-1) ?? null : found
}

const decideModels = Schema.decodeUnknownSync(Models)

const run = (program: typeof Program.Type) =>
  Effect.gen(function*() {
    const memory = yield* EventStore.EventStore
    // As on a disk, others come between two reads.
    const store = EventStore.EventStore.of({
      ...memory,
      read: (query, options) => Effect.tap(memory.read(query, options), () => Effect.yieldNow)
    })
    const kept = new Map<string, Decision.Snapshot>()
    const keyOf = ({ query, version }: Decision.SnapshotKey) => `${query} ${version}`
    let [loaded, attempts, decided] = [0, 0, 0]
    const keeper = Decision.Snapshots.of({
      load: (key) =>
        Effect.sync(() => {
          const found = kept.get(keyOf(key))
          if (found !== undefined) loaded++
          return found
        }),
      save: (key, snapshot) => Effect.sync(() => void kept.set(keyOf(key), snapshot))
    })
    const step = (
      { models, pause, tags, type }: typeof Step.Type
    ): Effect.Effect<unknown, Decision.ExecuteError, EventStore.EventStore> => {
      const event = (saw: Schema.Json) => new classes[type]({ tags, models: models as Schema.Json, saw })
      if (models === null) return EventStore.append(event(null))
      decided++
      return Decision.execute(compose(models.map(modelOf)), function*(state) {
        attempts++
        for (let i = 0; i < pause; i++) yield* Effect.yieldNow
        return event(flatten(state, models.length) as ReadonlyArray<Schema.Json>)
      }, { retry: Schedule.recurs(1000) })
    }
    yield* Effect.forEach(program, (steps, i) =>
      Effect.forEach(steps, step, { discard: true }).pipe(
        // Some take turns, some know nothing of the others' turns.
        Effect.provideService(EventStore.EventStore, i % 3 === 2 ? { ...store } : store)
      ), { concurrency: "unbounded" }).pipe(Effect.provideService(Decision.Snapshots, keeper))

    const { events } = yield* EventStore.read(Query.of([A, B, C]))
    assert.strictEqual(events.length, program.flat().length)
    const history = events.map(({ position, tags, type }): Stored => ({
      position,
      type,
      tags: tags as ReadonlyArray<Tag.Tag>
    }))
    events.forEach(({ event, position }, i) => {
      if (event.models === null) return
      assert.deepStrictEqual(
        event.saw as unknown,
        decideModels(event.models).map((model) => expected(model, history.slice(0, i))),
        `the decision at ${position}`
      )
    })
    return { loaded, conflicts: attempts - decided }
  }).pipe(Effect.provide(Layer.fresh(Opossum.layerMemory)))

describe("decisions of many fibers", () => {
  it.live.prop("saw all that stands before them", [Program], ([program]) => run(program), {
    arbitrary: { runs: 60 },
    timeout: 120_000
  })

  it.live("and that is put to the test: there are conflicts, and snapshots that are used", () =>
    Effect.gen(function*() {
      const model = (kind: Model["kind"], types: Model["types"], tags: Model["tags"] = []): Model => ({
        kind,
        types,
        tags,
        typed: true
      })
      const models = [model("kept", ["A", "B"]), model("last", ["C"], ["k:2"]), model("kept", [], ["k:1"])]
      const steps: ReadonlyArray<typeof Step.Type> = [
        { models, type: "A", tags: ["k:1"], pause: 2 },
        { models: models.slice(1), type: "C", tags: ["k:1", "k:2"], pause: 1 },
        { models: null, type: "B", tags: [], pause: 0 }
      ]
      const { conflicts, loaded } = yield* run(Array.from({ length: 6 }, () => [...steps, ...steps]))
      assert.isAbove(conflicts, 0)
      assert.isAbove(loaded, 0)
    }))
})
