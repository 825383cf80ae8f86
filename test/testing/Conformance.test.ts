import { assert, describe, it } from "@effect/vitest"
import { Event, EventStore, Opossum, Query } from "effect-opossum"
import { Conformance } from "effect-opossum/testing"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { pages } from "../../scripts/rules.ts"
import { suite } from "../support/conformance.ts"

suite("the oracle", Conformance.oracle, { maintenance: true, place: Conformance.oraclePlace })

const rule = (id: string) => {
  const found = Conformance.rules.find((rule) => rule.id === id)
  assert(found !== undefined, id)
  return found
}

/** The oracle, with some members that are not as they should be. */
const oracleWith = (members: (store: EventStore.EventStore["Service"]) => Partial<EventStore.EventStore["Service"]>) =>
  Layer.effect(
    EventStore.EventStore,
    Effect.map(EventStore.EventStore, (store) => ({ ...store, ...members(store) }))
  ).pipe(Layer.provide(Conformance.oracle))

/** Reads nothing, whatever is there. */
const blind = oracleWith((store) => ({
  read: (query, options) => Effect.map(store.read(query, options), (read) => ({ ...read, events: [] }))
}))

describe("rules", () => {
  it("have names that are unique and made of words", () => {
    const ids = Conformance.rules.map(({ id }) => id)
    assert.strictEqual(new Set(ids).size, ids.length)
    for (const id of ids) assert.match(id, /^[a-z0-9]+(-[a-z0-9]+)+$/)
    const titles = Conformance.rules.map(({ title }) => title)
    assert.strictEqual(new Set(titles).size, titles.length)
  })

  it("stand in the documentation (npm run rules)", () => {
    const { actual, expected } = pages()
    assert.strictEqual(actual, expected)
  })

  it("are chosen by what there is to run them on", () => {
    const needs = (target: Parameters<typeof Conformance.rulesFor>[0]) =>
      [...new Set(Conformance.rulesFor(target).map(({ needs }) => needs))].sort()
    assert.deepStrictEqual(needs({}), ["store", "stores"])
    assert.deepStrictEqual(needs({ maintenance: true }), ["maintenance", "store", "stores"])
    assert.deepStrictEqual(needs({ place: Conformance.oraclePlace }), ["place", "places", "store", "stores"])
    assert.strictEqual(
      Conformance.rulesFor({ place: Conformance.oraclePlace, maintenance: true }).length,
      Conformance.rules.length
    )
  })
})

describe("run", () => {
  const failure = (id: string, target: Conformance.Target, options?: Conformance.RunOptions) =>
    Effect.flip(Conformance.run(rule(id), target, options))

  it.effect("tells the rule, and what was seen instead", () =>
    Effect.gen(function*() {
      const error = yield* failure("append-answers-positions", { layer: blind })
      assert.strictEqual(error.name, "AssertionError")
      assert.strictEqual(
        error.message,
        "append-answers-positions: an append answers with a position for each event, in order, and the head\n\n" +
          "  - expected  + actual\n  - 1\n  - 2\n  - 3"
      )
      assert.deepStrictEqual([error.expected, error.actual], [[1, 2, 3], []])
      assert.include(error.stack, "appending.ts")
    }))

  it.effect("tells what a rule failed with otherwise, be it in building the layer", () =>
    Effect.gen(function*() {
      const reason = new EventStore.StoreUnavailable({ cause: new Error("the cable is out") })
      const broken = Layer.effect(EventStore.EventStore, Effect.fail(new EventStore.EventStoreError({ reason })))
      const error = yield* failure("empty-store", { layer: broken })
      assert.include(error.message, "empty-store: an empty store")
      assert.include(error.message, "it failed with EventStoreError: the store is unavailable: the cable is out")
    }))

  it.effect("ends a rule that waits in vain, also where nobody can interrupt it", () =>
    Effect.gen(function*() {
      for (const never of [Effect.never, Effect.uninterruptible(Effect.never)]) {
        const error = yield* failure("reserve-writes-nothing", { layer: oracleWith(() => ({ reserve: never })) }, {
          timeout: "50 millis"
        })
        assert.include(error.message, "it did not end within 50ms")
      }
    }))

  it.effect("does not run what there is nothing for", () =>
    Effect.gen(function*() {
      const target = { layer: Conformance.oracle }
      assert.include((yield* failure("reopened-ids", target)).message, "the target has no place")
      assert.include((yield* failure("random-clients-history", target)).message, "the target has no place")
      assert.include((yield* failure("tags-bad", target)).message, "the target has no maintenance")
    }))

  it.effect("a seed makes the same histories, and a failure tells a small one and the seed", () =>
    Effect.gen(function*() {
      const target = { layer: blind }
      const first = yield* failure("random-history", target, { seed: 7 })
      const second = yield* failure("random-history", target, { seed: 7 })
      assert.strictEqual(first.message, second.message)
      assert.include(first.message, "the seed is 7")
      assert.match(
        first.message,
        /\n {2}1\. appends .*\n {2}2\. reads every event\n\nstep 2 came out otherwise .*\n\n {2}read\.events: expected/
      )
      const other = yield* failure("random-history", target)
      const seed = Number(/the seed is (\d+)/.exec(other.message)?.[1])
      assert.strictEqual((yield* failure("random-history", target, { seed })).message, other.message)
    }))

  it.effect("a run of a random history that does not end is told, with the history", () =>
    Effect.gen(function*() {
      const deaf = oracleWith((store) => ({
        subscribe: (query, options) => Stream.drop(store.subscribe(query, options), 1)
      }))
      const error = yield* failure("random-history", { layer: deaf }, { seed: 1, timeout: "100 millis" })
      assert.include(error.message, "it did not end within 100ms")
      assert.include(error.message, "appends")
    }))

  it.effect("decisions that miss something are told", () =>
    Effect.gen(function*() {
      // checks, then thinks, then stores
      const hasty = oracleWith((store) => ({
        append: (events, condition) =>
          Effect.gen(function*() {
            if (condition !== undefined) {
              const { events: found } = yield* Effect.orDie(store.read(condition.failIfEventsMatch, condition))
              const [first] = found
              if (first !== undefined) {
                return yield* new EventStore.AppendConditionFailed({ ...condition, conflict: first.position })
              }
            }
            yield* Effect.yieldNow
            return yield* store.append(events)
          })
      }))
      const error = yield* failure("random-decisions", { layer: hasty }, { seed: 1, runs: 500 })
      assert.include(error.message, "all at once")
      assert.match(error.message, /what decision \d+ at \d+ missed/)
    }))
})

describe("suiteWith", () => {
  it("registers a test for each rule, in groups, which fails as its rule does", async () => {
    const path: Array<string> = []
    const tests = new Map<string, () => Promise<void>>()
    const suite = Conformance.suiteWith({
      describe: (name, body) => {
        path.push(name)
        body()
        path.pop()
      },
      it: (name, body) => tests.set([...path, name].join(" > "), body)
    })
    suite("blind", blind)
    assert.strictEqual(tests.size, Conformance.rulesFor({}).length)
    const kept = [...tests].find(([name]) => name.startsWith("EventStore: blind > appending > empty-store: "))
    const broken = [...tests].find(([name]) => name.startsWith("EventStore: blind > reading > read-last: "))
    const rejection = [...tests].find(([name]) => name.includes(" > read-limit-after-filter: "))
    await kept![1]()
    await broken![1]()
    const message = await rejection![1]().then(() => "", (error: Error) => error.message)
    assert.include(message, "read-limit-after-filter: a limit applies after filtering")
  })
})

describe("the oracle", () => {
  it.effect("is empty at each build, and one for all clients of a place", () =>
    Effect.gen(function*() {
      const append = EventStore.append(Event.raw("Noted", {}))
      const count = Effect.map(EventStore.read(Query.all), ({ events }) => events.length)
      yield* Effect.provide(append, Layer.fresh(Conformance.oracle))
      assert.strictEqual(yield* Effect.provide(count, Layer.fresh(Conformance.oracle)), 0)
      const client = yield* Conformance.oraclePlace
      yield* Effect.provide(append, Layer.fresh(client))
      assert.strictEqual(yield* Effect.provide(count, Layer.fresh(client)), 1)
    }))

  it.effect("a rule runs in real time, also by a test's clock", () =>
    Conformance.run(rule("clients-wake"), { layer: Opossum.layerMemory, place: Conformance.oraclePlace }))
})
