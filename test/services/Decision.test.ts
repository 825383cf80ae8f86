/** Decisions: read, decide, append under the condition; attempts, turns, snapshots, and what they tell about themselves. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import type * as Tracer from "effect/Tracer"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as Event from "../../src/Event.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Position from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as EventStoreMaintenance from "../../src/services/EventStoreMaintenance.ts"
import * as Tag from "../../src/Tag.ts"
import { collectSpans } from "../support/spans.ts"
import { makeGate, settle } from "../support/stores.ts"

const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
const StudentId = Schema.NonEmptyString.pipe(Tag.as("student"))
class Defined extends Event.Class<Defined>()("Defined", { course: CourseId, seats: Schema.Int }) {}
class Taken extends Event.Class<Taken>()("Taken", { course: CourseId, student: StudentId }) {}
class Full extends Schema.TaggedError<Full>()("Full", { course: Schema.String }) {}

const define = (course: string, seats = 1) => new Defined({ course, seats })
const take = (course: string, student = "s") => new Taken({ course, student })
const defined = (course: string) =>
  DecisionModel.make({ query: Query.of(Defined, { course }), initial: false, apply: { Defined: () => true } })
const seats = (course: string) =>
  DecisionModel.make({
    query: Query.of(Defined, { course }),
    initial: 0,
    apply: { Defined: (_, { seats }) => seats }
  })
const taken = (course: string) =>
  DecisionModel.make({ query: Query.of(Taken, { course }), initial: 0, apply: { Taken: (n) => n + 1 } })
const counted = DecisionModel.make({ query: Query.all, initial: 0, apply: { RawEvent: (n) => n + 1 } })

/** A store whose calls are noted. */
const noted = Effect.map(EventStore.EventStore, (store) => {
  const calls: Array<{ readonly call: string; readonly query?: string; readonly options?: EventStore.ReadOptions }> = []
  return {
    calls,
    reads: () => calls.filter(({ call }) => call === "read").map(({ options }) => options),
    store: EventStore.EventStore.of({
      ...store,
      read: (query, options) => {
        calls.push({ call: "read", query: `${query}`, options: options ?? {} })
        return store.read(query, options)
      },
      append: (events, condition) => {
        calls.push({ call: "append" })
        return store.append(events, condition)
      },
      reserve: Effect.andThen(Effect.sync(() => calls.push({ call: "reserve" })), store.reserve)
    })
  }
})
const withStore = (store: EventStore.EventStore["Service"]) => Effect.provideService(EventStore.EventStore, store)

/** Each read is overtaken, by an event that matters to it, before its decision is appended. */
const overtaken = (times: number) =>
  Effect.map(EventStore.EventStore, (store) => {
    let left = times
    return EventStore.EventStore.of({
      ...store,
      append: (events, condition) =>
        condition !== undefined && left-- > 0
          ? Effect.andThen(store.append(define("c")), store.append(events, condition))
          : store.append(events, condition)
    })
  })

const test = (name: string, body: Effect.Effect<void, unknown, Opossum.Services>) =>
  it.effect(name, () => Effect.provide(body, Opossum.layerMemory))

describe("execute", () => {
  test(
    "appends what was decided, one event, several or none",
    Effect.gen(function*() {
      const one = yield* Decision.execute(defined("c"), () => define("c"))
      assert.deepStrictEqual(one, { result: define("c"), positions: [Position.make(1)], head: Position.make(1) })
      const none = yield* Decision.execute(defined("c"), (exists) => exists ? undefined : define("c"))
      assert.deepStrictEqual(none, { result: undefined, positions: [], head: Position.make(1) })
      const several = yield* Decision.execute(
        { defined: defined("c"), taken: taken("c") },
        ({ defined, taken }) => defined && taken === 0 ? [take("c", "a"), Event.withTags(take("c", "b"), ["x:y"])] : []
      )
      assert.deepStrictEqual(several.positions as ReadonlyArray<number>, [2, 3])
      assert.strictEqual(several.head, Position.make(3))
      const empty = yield* Decision.execute([taken("c")], ([n]) => n === 2 ? [] : [take("c")])
      assert.deepStrictEqual(empty, { result: [], positions: [], head: Position.make(3) })
      const { events } = yield* EventStore.read(Query.tags("x:y"))
      assert.deepStrictEqual(events.map(({ position }) => position), [Position.make(3)])
    })
  )

  test(
    "an effect and a generator decide as well, with what they need",
    Effect.gen(function*() {
      class Clerk extends Context.Service<Clerk, { readonly allows: (n: number) => Effect.Effect<boolean> }>()(
        "Clerk"
      ) {}
      const decided = yield* Effect.gen(function*() {
        const effect = yield* Decision.execute(
          taken("c"),
          (n) => Clerk.use((clerk) => Effect.map(clerk.allows(n), (yes) => yes ? take("c", "a") : undefined))
        )
        const generator = yield* Decision.execute(taken("c"), function*(n, attempt) {
          const clerk = yield* Clerk
          return (yield* clerk.allows(n + attempt)) ? [take("c", "b")] : []
        })
        return [effect.positions, generator.positions]
      }).pipe(Effect.provideService(Clerk, { allows: (n) => Effect.succeed(n < 2) }))
      assert.deepStrictEqual<unknown>(decided, [[1], []])
    })
  )

  test(
    "refusing is failing: as it is, and once",
    Effect.gen(function*() {
      let calls = 0
      const refused = yield* Effect.flip(Decision.execute(defined("c"), function*() {
        calls++
        return yield* new Full({ course: "c" })
      }))
      assert.deepStrictEqual(refused, new Full({ course: "c" }))
      const died = yield* Effect.exit(Decision.execute(defined("c"), () => {
        calls++
        throw new Error("a bug")
      }))
      assert.isTrue(Exit.isFailure(died) && Cause.hasDies(died.cause))
      assert.strictEqual(calls, 2)
      assert.strictEqual(yield* EventStore.head, undefined)
    })
  )

  test(
    "a conflict inside of decide is decide's own",
    Effect.gen(function*() {
      yield* EventStore.append(define("c"))
      let calls = 0
      const error = yield* Effect.flip(Decision.execute(taken("c"), function*() {
        calls++
        yield* EventStore.append(define("c"), { failIfEventsMatch: Query.of(Defined) })
        return take("c")
      }, { retry: Schedule.recurs(5) }))
      assert.deepStrictEqual([error._tag, calls], ["AppendConditionFailed", 1])
    })
  )

  test(
    "what is wrong in itself is not tried again",
    Effect.gen(function*() {
      let calls = 0
      const error = yield* Effect.flip(Decision.execute(taken("c"), () => {
        calls++
        return Event.withTags(take("c"), ["no:\n"])
      }))
      assert.deepStrictEqual([error._tag, calls], ["AppendRefused", 1])
    })
  )

  test(
    "what makes no query is a defect, and so is what is no decision's outcome",
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Decision.execute({}, () => define("c")))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.strictEqual(yield* EventStore.head, undefined)
      const error = yield* Effect.flip(Decision.execute(defined("c"), () => null as never))
      assert.strictEqual(error._tag, "AppendRefused")
    })
  )
})

describe("guards", () => {
  const overtake = (models: DecisionModel.Input, meanwhile: Event.Input) =>
    Effect.flip(Decision.execute(models, function*(_, attempt) {
      if (attempt === 1) yield* Effect.orDie(EventStore.append(meanwhile))
      return Event.raw("Done", {})
    }, { retry: Schedule.recurs(0) }))

  test(
    "a model over an empty store",
    Effect.gen(function*() {
      const error = yield* overtake(defined("c"), define("c"))
      assert.isTrue(
        error._tag === "AppendConditionFailed" && error.after === undefined && error.conflict === Position.make(1)
      )
    })
  )

  test(
    "a model over all events, empty store or not",
    Effect.gen(function*() {
      const first = yield* overtake(counted, Event.raw("X", {}))
      assert.isTrue(first._tag === "AppendConditionFailed" && first.after === undefined)
      const second = yield* overtake(counted, Event.raw("Y", {}))
      assert.isTrue(second._tag === "AppendConditionFailed" && second.after === Position.make(1))
    })
  )

  test(
    "each of several models, however deep, and a last one",
    Effect.gen(function*() {
      yield* EventStore.append(define("z"))
      const models = { a: taken("a"), b: [defined("b"), { c: DecisionModel.last(Query.of(Taken, { course: "c" })) }] }
      for (const event of [take("a"), define("b"), take("c")]) {
        const error = yield* overtake(models, event)
        assert.isTrue(
          error._tag === "AppendConditionFailed" && error.conflict === (yield* EventStore.head),
          `${event._tag}`
        )
      }
      // what matters to none of them is in nobody's way
      yield* Decision.execute(models, function*() {
        yield* EventStore.append([take("b"), define("a"), define("c")])
        return Event.raw("Done", {})
      }, { retry: Schedule.recurs(0) })
    })
  )

  test(
    "tags that are added to an older event",
    Effect.gen(function*() {
      yield* EventStore.append(Event.raw("Note", {}))
      const notes = DecisionModel.make({ query: Query.tags("a:b"), initial: 0, apply: { RawEvent: (n) => n + 1 } })
      const seen: Array<number> = []
      yield* Decision.execute(notes, function*(n, attempt) {
        seen.push(n)
        if (attempt === 1) yield* Effect.orDie(addTags(Query.types("Note"), "a:b"))
        return Event.raw("Done", {})
      }, { retry: Schedule.recurs(1) })
      assert.deepStrictEqual(seen, [0, 1])
    })
  )
})

const addTags = <E>(query: Query.Query<E>, ...tags: ReadonlyArray<Tag.Input>) =>
  EventStoreMaintenance.addTags(query, () => tags)

describe("attempts", () => {
  test(
    "each reads afresh, and knows its number",
    Effect.gen(function*() {
      const { calls, store } = yield* Effect.provideServiceEffect(noted, EventStore.EventStore, overtaken(2))
      const seen: Array<readonly [number, number]> = []
      const count = DecisionModel.make({ query: Query.of(Defined), initial: 0, apply: { Defined: (n) => n + 1 } })
      const { positions } = yield* Decision.execute(count, (n, attempt) => {
        seen.push([n, attempt])
        return take("c")
      }, { retry: Schedule.recurs(2) }).pipe(withStore(store))
      assert.deepStrictEqual(seen, [[0, 1], [1, 2], [2, 3]])
      assert.deepStrictEqual(positions, [Position.make(3)])
      // from the second on with the right to write in sight
      assert.deepStrictEqual(
        calls.map(({ call }) => call),
        ["read", "append", "reserve", "read", "append", "reserve", "read", "append"]
      )
    })
  )

  test(
    "that the right to write is not to be had is no reason to give up",
    Effect.gen(function*() {
      const store = yield* overtaken(1)
      const reserve = Effect.fail(
        new EventStore.EventStoreError({ reason: new EventStore.StoreBusy({ waitedMillis: 1 }) })
      )
      const { positions } = yield* Decision.execute(defined("c"), () => take("c"), { retry: Schedule.recurs(1) }).pipe(
        withStore({ ...store, reserve })
      )
      assert.deepStrictEqual(positions, [Position.make(2)])
    })
  )

  test(
    "are three, after 50 and 100 ms, give or take a fifth",
    Effect.gen(function*() {
      const store = yield* overtaken(Infinity)
      let attempts = 0
      const fiber = yield* Decision.execute(defined("c"), (_, attempt) => {
        attempts = attempt
        return take("c")
      }).pipe(withStore(store), Effect.forkChild({ startImmediately: true }))
      const after = Effect.fnUntraced(function*(millis: number) {
        yield* TestClock.adjust(millis)
        yield* settle(fiber)
        return [attempts, fiber.pollUnsafe() !== undefined] as const
      })
      assert.deepStrictEqual(yield* after(0), [1, false])
      assert.deepStrictEqual(yield* after(39), [1, false])
      assert.deepStrictEqual(yield* after(22), [2, false])
      assert.deepStrictEqual(yield* after(58), [2, false])
      assert.deepStrictEqual(yield* after(63), [3, true])
      const error = yield* Effect.flip(Fiber.join(fiber))
      assert.isTrue(error._tag === "AppendConditionFailed" && error.conflict === Position.make(3))
    })
  )

  test(
    "of many that conflict at once come back at different times",
    Effect.gen(function*() {
      const delays = yield* Effect.forEach(
        Array.from({ length: 20 }),
        () =>
          Effect.flatMap(
            Schedule.toStep(Decision.defaultRetry),
            (step) => Effect.map(step(0, undefined), ([, delay]) => Duration.toMillis(delay))
          )
      )
      assert.isAbove(new Set(delays).size, 10)
      assert.isTrue(delays.every((delay) => delay >= 40 && delay <= 60))
    })
  )

  test(
    "go by another schedule, which sees the conflicts",
    Effect.gen(function*() {
      const store = yield* overtaken(Infinity)
      const conflicts: Array<number> = []
      const retry = Schedule.spaced("1 hour").pipe(
        Schedule.upTo({ times: 4 }),
        Schedule.setInputType<EventStore.AppendConditionFailed>(),
        Schedule.tap(({ input }) => Effect.sync(() => conflicts.push(input.conflict)))
      )
      const fiber = yield* Decision.execute(defined("c"), () => take("c"), { retry }).pipe(
        withStore(store),
        Effect.forkChild({ startImmediately: true })
      )
      for (let hour = 0; hour <= 4; hour++) {
        yield* settle(fiber)
        assert.strictEqual(yield* EventStore.head, Position.make(hour + 1))
        yield* TestClock.adjust("1 hour")
      }
      assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "AppendConditionFailed")
      assert.deepStrictEqual(conflicts, [1, 2, 3, 4])
    })
  )
})

// reading

describe("build", () => {
  test(
    "state, head and condition of one moment",
    Effect.gen(function*() {
      const models = { defined: defined("c"), n: [taken("c"), counted] as const }
      const empty = yield* Decision.build(models)
      assert.deepStrictEqual([empty.state, empty.head, empty.condition.after], [
        { defined: false, n: [0, 0] },
        undefined,
        undefined
      ])
      assert.strictEqual(empty.condition.failIfEventsMatch.items, "all")
      yield* EventStore.append([define("c"), take("c"), take("d")])
      const built = yield* Decision.build(models)
      assert.deepStrictEqual([built.state, built.head as number | undefined, built.condition.after], [
        { defined: true, n: [1, 3] },
        3,
        built.head
      ])
    })
  )

  test(
    "plain models are one read",
    Effect.gen(function*() {
      yield* EventStore.append([define("c"), take("c"), take("d")])
      const { calls, store } = yield* noted
      const models = { a: taken("c"), b: [defined("c"), { c: [seats("d"), taken("d")] }] }
      const { state } = yield* withStore(store)(Decision.build(models))
      assert.deepStrictEqual(state, { a: 1, b: [true, { c: [0, 1] }] })
      assert.deepStrictEqual(calls.map(({ options }) => options), [{}])
      assert.strictEqual(calls[0]!.query, `${DecisionModel.all(models).query}`)
    })
  )

  test(
    "last reads one event, below the head of the first read",
    Effect.gen(function*() {
      yield* EventStore.append([take("a"), take("b"), define("a"), take("a", "x"), take("b", "y")])
      const { calls, reads, store } = yield* noted
      const newest = (course: string) =>
        DecisionModel.map(DecisionModel.last(Query.of(Taken, { course })), (found) => found?.event.student)
      const alone = yield* withStore(store)(Decision.build(newest("a")))
      assert.deepStrictEqual([alone.state, alone.head as number | undefined], ["x", 5])
      assert.deepStrictEqual(reads(), [{ backwards: true, limit: 1 }])
      calls.length = 0
      const several = yield* withStore(store)(Decision.build([newest("b"), defined("a"), newest("c")]))
      assert.deepStrictEqual(several.state, ["y", true, undefined])
      assert.deepStrictEqual<unknown>(reads(), [
        {},
        { backwards: true, limit: 1, before: 6 },
        { backwards: true, limit: 1, before: 6 }
      ])
      calls.length = 0
      // what is read anyway is not read twice
      const covered = yield* withStore(store)(Decision.build({ newest: newest("b"), n: taken("b") }))
      assert.deepStrictEqual(covered.state, { newest: "y", n: 2 })
      assert.deepStrictEqual(reads(), [{}])
    })
  )

  test(
    "all parts are as of the head of the first read, whatever comes between two",
    Effect.gen(function*() {
      yield* EventStore.append([define("a"), take("a", "x")])
      const store = yield* EventStore.EventStore
      // after each read somebody appends
      const busy = EventStore.EventStore.of({
        ...store,
        read: (query, options) =>
          Effect.tap(store.read(query, options), () => Effect.orDie(store.append([define("a", 9), take("a", "late")])))
      })
      const newest = DecisionModel.last(Query.of(Taken))
      const { condition, head, state } = yield* withStore(busy)(
        Decision.build([seats("a"), newest, seats("b"), newest])
      )
      assert.deepStrictEqual([state[0], state[1]?.event.student, state[3]?.position, head, condition.after], [
        1,
        "x",
        Position.make(2),
        Position.make(2),
        Position.make(2)
      ])
    })
  )

  test(
    "an empty store is read once, also if it is empty no more",
    Effect.gen(function*() {
      const { reads, store } = yield* noted
      const busy = {
        ...store,
        read: <E>(query: Query.Query<E>, options?: EventStore.ReadOptions) =>
          Effect.tap(store.read(query, options), () => Effect.orDie(store.append(take("a"))))
      }
      const { head, state } = yield* withStore(busy)(
        Decision.build([defined("a"), DecisionModel.last(Query.of(Taken))])
      )
      assert.deepStrictEqual([state, head, reads().length], [[false, undefined], undefined, 1])
    })
  )

  test(
    "each model sees an event as its own query names it, as it was stored",
    Effect.gen(function*() {
      class Old extends Event.Class<Old>()("Priced", { euros: Schema.Int }) {}
      class Priced extends Event.Class<Priced>()("Priced", { cents: Schema.Int }, {
        upcast: [({ euros }) => ({ cents: Number(euros) * 100 })]
      }) {}
      yield* EventStore.append(new Old({ euros: 3 }))
      const models = {
        typed: DecisionModel.make({
          query: Query.of(Priced),
          initial: 0,
          apply: { Priced: (_, { cents }) => cents }
        }),
        raw: DecisionModel.make({
          query: Query.all,
          initial: "",
          apply: { RawEvent: (text, { data, version }) => `${text}${version} ${JSON.stringify(data)}` }
        })
      }
      assert.deepStrictEqual((yield* Decision.build(models)).state, { typed: 300, raw: `1 {"euros":3}` })
    })
  )

  test(
    "an event that cannot be decoded is the read's error",
    Effect.gen(function*() {
      yield* EventStore.append(Event.raw("Defined", { seats: "many" }, { tags: ["course:c"] }))
      assert.strictEqual((yield* Effect.flip(Decision.build(defined("c"))))._tag, "EventDecodeError")
      assert.strictEqual(
        (yield* Effect.flip(Decision.execute(defined("c"), () => define("c"))))._tag,
        "EventDecodeError"
      )
    })
  )
})

// turns

describe("turns", () => {
  const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

  test(
    "many that want the same: all get it, in the order of coming, without a conflict",
    Effect.gen(function*() {
      const count = 64
      let attempts = 0
      const one = (i: number) =>
        Decision.execute(taken("hot"), function*(n) {
          attempts++
          yield* Effect.yieldNow
          return take("hot", `${i} as ${n}`)
        }, { retry: Schedule.recurs(0) })
      yield* Effect.all(Array.from({ length: count }, (_, i) => one(i)), { concurrency: "unbounded" })
      const { events } = yield* EventStore.read(Query.of(Taken))
      assert.deepStrictEqual(
        events.map(({ event }) => event.student),
        Array.from({ length: count }, (_, i) => `${i} as ${i}`)
      )
      assert.strictEqual(attempts, count)
    })
  )

  /** Decides when the test lets it; `begun` tells that it is its turn. */
  const gated = (models: DecisionModel.Input, event: Event.Input = Event.raw("Done", {})) => {
    const gate = makeGate()
    return { ...gate, run: Decision.execute(models, () => Effect.as(gate.pass, event)) }
  }
  const inTurn = <A, E>(fiber: Fiber.Fiber<A, E>, begun: Effect.Effect<void>) =>
    Effect.gen(function*() {
      const waiting = yield* fork(begun)
      yield* settle(fiber)
      return (yield* Effect.sync(() => waiting.pollUnsafe())) !== undefined
    })
  const perStudent = (course: string, student: string) =>
    DecisionModel.make({ query: Query.of(Taken, { course, student }), initial: 0, apply: { Taken: (n) => n + 1 } })

  test(
    "who wants something else does not wait",
    Effect.gen(function*() {
      const first = gated([perStudent("a", "x"), taken("a")])
      const fiber = yield* fork(first.run)
      yield* first.begun
      const beside = gated([perStudent("b", "y"), taken("b")])
      const other = yield* fork(beside.run)
      assert.isTrue(yield* inTurn(other, beside.begun))
      const behind = gated([perStudent("a", "y"), taken("a")])
      const last = yield* fork(behind.run)
      assert.isFalse(yield* inTurn(last, behind.begun))
      yield* first.go
      yield* Fiber.join(fiber)
      assert.isTrue(yield* inTurn(last, behind.begun))
      yield* Effect.andThen(beside.go, behind.go)
      yield* Fiber.joinAll([other, last])
    })
  )

  for (
    const [how, end] of [
      ["refused", () => Effect.fail("no")],
      ["dead", () => Effect.die("no")],
      ["interrupted", () => Effect.interrupt]
    ] as const
  ) {
    test(
      `who is ${how} holds nobody up`,
      Effect.gen(function*() {
        const begun = Deferred.makeUnsafe<void>()
        const go = Deferred.makeUnsafe<void>()
        const first = yield* fork(Decision.execute(taken("a"), function*() {
          yield* Deferred.succeed(begun, undefined)
          yield* Deferred.await(go)
          return yield* end()
        }))
        yield* Deferred.await(begun)
        const behind = gated(taken("a"))
        const second = yield* fork(behind.run)
        assert.isFalse(yield* inTurn(second, behind.begun))
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.await(first)
        assert.isTrue(yield* inTurn(second, behind.begun))
        yield* behind.go
        yield* Fiber.join(second)
      })
    )
  }

  test(
    "who is interrupted while waiting holds nobody up",
    Effect.gen(function*() {
      const first = gated(taken("a"))
      const one = yield* fork(first.run)
      yield* first.begun
      const two = yield* fork(gated(taken("a")).run)
      const third = gated(taken("a"))
      const three = yield* fork(third.run)
      yield* Fiber.interrupt(two)
      assert.isFalse(yield* inTurn(three, third.begun))
      yield* first.go
      yield* Fiber.join(one)
      assert.isTrue(yield* inTurn(three, third.begun))
      yield* third.go
      yield* Fiber.join(three)
    })
  )

  test(
    "waiting is bounded, also where the clock stands still, and the condition holds as ever",
    Effect.gen(function*() {
      const first = gated(taken("a"), take("a", "first"))
      const one = yield* fork(first.run)
      yield* first.begun
      // It goes on beside the first, which waits for somebody who is behind it.
      yield* Decision.execute(taken("a"), () => take("a", "second"))
      yield* first.go
      const retried = yield* fork(Fiber.join(one))
      yield* settle(retried)
      yield* TestClock.adjust(60)
      assert.deepStrictEqual((yield* Fiber.join(retried)).positions as ReadonlyArray<number>, [2])
      const { events } = yield* EventStore.read(Query.of(Taken))
      assert.deepStrictEqual(events.map(({ event }) => event.student), ["second", "first"])
    })
  )

  test(
    "nobody waits while a schedule does",
    Effect.gen(function*() {
      const store = yield* overtaken(1)
      const fiber = yield* fork(withStore(store)(Decision.execute(defined("c"), () => take("c", "patient"))))
      yield* settle(fiber)
      // The clock stands still, so the first one sleeps until it is moved; this one is ready before.
      const beside = gated(defined("c"), take("c", "quick"))
      const other = yield* fork(withStore(store)(beside.run))
      assert.isTrue(yield* inTurn(other, beside.begun))
      yield* beside.go
      yield* Fiber.join(other)
      yield* TestClock.adjust(60)
      yield* Fiber.join(fiber)
      const { events } = yield* EventStore.read(Query.of(Taken))
      assert.deepStrictEqual(events.map(({ event }) => event.student), ["quick", "patient"])
    })
  )

  test(
    "a decision inside another one does not wait for it, nor for those that wait for it",
    Effect.gen(function*() {
      const inner = (name: string) => Decision.execute(taken("a"), (n) => take("a", `${name} ${n}`))
      const innermost = Decision.execute(taken("a"), function*(n) {
        const { result } = yield* inner("innermost")
        return define(`${n} ${result.student}`)
      }, { retry: Schedule.recurs(0) })
      const gate = makeGate()
      const outer = Decision.execute(taken("a"), function*(n, attempt) {
        if (attempt > 1) return take("a", `outer ${n}`)
        yield* gate.pass
        yield* inner("inner")
        assert.strictEqual((yield* Effect.flip(innermost))._tag, "AppendConditionFailed")
        return take("a", "never")
      }, { retry: Schedule.recurs(1) })
      const fiber = yield* fork(outer)
      yield* gate.begun
      const behind = gated(taken("a"), take("a", "behind"))
      const other = yield* fork(behind.run)
      assert.isFalse(yield* inTurn(other, behind.begun))
      yield* gate.go
      // The outer one's second attempt is behind it.
      assert.isTrue(yield* inTurn(other, behind.begun))
      yield* behind.go
      yield* Fiber.joinAll([other, fiber])
      const { events } = yield* EventStore.read(Query.of(Taken))
      assert.deepStrictEqual(
        events.map(({ event }) => event.student),
        ["inner 0", "innermost 1", "behind", "outer 3"]
      )
    })
  )

  test(
    "a fiber that outlives the decision which began it waits for its turn again",
    Effect.gen(function*() {
      const go = Deferred.makeUnsafe<void>()
      const late = gated(taken("a"))
      let fiber: Fiber.Fiber<unknown, unknown> | undefined
      yield* Decision.execute(taken("a"), function*() {
        fiber = yield* Effect.forkDetach(Effect.andThen(Deferred.await(go), late.run))
        return take("a")
      })
      const present = gated(taken("a"))
      const other = yield* fork(present.run)
      yield* present.begun
      yield* Deferred.succeed(go, undefined)
      assert.isFalse(yield* inTurn(fiber!, late.begun))
      yield* present.go
      yield* Fiber.join(other)
      assert.isTrue(yield* inTurn(fiber!, late.begun))
      yield* late.go
      yield* Fiber.join(fiber!)
    })
  )

  test(
    "each store has turns of its own",
    Effect.gen(function*() {
      const first = gated(taken("a"))
      const one = yield* fork(first.run)
      yield* first.begun
      const second = gated(taken("a"))
      const two = yield* fork(Effect.provide(second.run, Layer.fresh(Opossum.layerMemory)))
      assert.isTrue(yield* inTurn(two, second.begun))
      yield* Effect.andThen(first.go, second.go)
      yield* Fiber.joinAll([one, two])
    })
  )
})

// snapshots

/** Keeps snapshots as JSON, as a layer would; counts what it is asked. */
const makeKeeper = () => {
  const kept = new Map<string, string>()
  const keyOf = ({ name, query, version }: Decision.SnapshotKey) => `${name} ${version} ${query}`
  const asked: Array<string> = []
  return {
    kept,
    asked,
    positions: () => [...kept.values()].map((text) => JSON.parse(text).position as number),
    service: {
      load: (key: Decision.SnapshotKey) =>
        Effect.sync(() => {
          asked.push("load")
          const text = kept.get(keyOf(key))
          return text === undefined ? undefined : JSON.parse(text) as Decision.Snapshot
        }),
      save: (key: Decision.SnapshotKey, snapshot: Decision.Snapshot) =>
        Effect.sync(() => {
          asked.push("save")
          kept.set(keyOf(key), JSON.stringify(snapshot))
        })
    }
  }
}

describe("snapshots", () => {
  const names = (course: string, options: { readonly version?: number; readonly every?: number } = {}) =>
    DecisionModel.make({
      query: Query.of(Taken, { course }),
      initial: new Set<string>() as ReadonlySet<string>,
      apply: { Taken: (names, { student }) => new Set([...names, student]) },
      snapshot: {
        name: "names",
        version: options.version ?? 1,
        state: Schema.ReadonlySet(Schema.String),
        every: options.every ?? 3
      }
    })
  const some = (course: string, from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => take(course, `s${from + i}`))
  /** What is saved in the background is saved. */
  const quiet = Effect.forEach(Array.from({ length: 5 }), () => Effect.yieldNow)
  const buildWith = <const M extends DecisionModel.Input>(
    keeper: ReturnType<typeof makeKeeper>,
    models: M,
    store?: EventStore.EventStore["Service"]
  ) =>
    Effect.gen(function*() {
      const { reads, store: observed } = yield* store === undefined ? noted : Effect.provideService(
        noted,
        EventStore.EventStore,
        store
      )
      const built = yield* Decision.build(models).pipe(
        withStore(observed),
        Effect.provideService(Decision.Snapshots, keeper.service)
      )
      yield* quiet
      return { ...built, reads: reads() as ReadonlyArray<unknown> }
    })

  test(
    "are saved after so many events, and only what came after is read",
    Effect.gen(function*() {
      const keeper = makeKeeper()
      yield* EventStore.append(some("a", 1, 2))
      const first = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([first.state.size, first.reads, keeper.positions()], [2, [{}], []])
      yield* EventStore.append([...some("a", 3, 3), define("a")])
      const second = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([second.state.size, second.reads, keeper.positions()], [3, [{}], [4]])
      yield* EventStore.append(some("a", 4, 5))
      const third = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([...third.state], ["s1", "s2", "s3", "s4", "s5"])
      assert.deepStrictEqual(
        [third.reads, third.head as number | undefined, third.condition.after, keeper.positions()],
        [
          [{ after: 4 }],
          6,
          third.head,
          [4]
        ]
      )
      yield* EventStore.append(some("a", 6, 6))
      const fourth = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([fourth.state.size, fourth.reads, keeper.positions()], [6, [{ after: 4 }], [7]])
      const fifth = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([fifth.state.size, fifth.reads, keeper.positions()], [6, [{ after: 7 }], [7]])
    })
  )

  test(
    "belong to a name, a version and a query",
    Effect.gen(function*() {
      const keeper = makeKeeper()
      yield* EventStore.append([...some("a", 1, 3), ...some("b", 1, 4)])
      assert.strictEqual((yield* buildWith(keeper, names("a"))).state.size, 3)
      assert.strictEqual((yield* buildWith(keeper, names("b"))).state.size, 4)
      const other = yield* buildWith(keeper, names("a", { version: 2 }))
      assert.deepStrictEqual([other.state.size, other.reads, keeper.kept.size], [3, [{}], 3])
    })
  )

  test(
    "stand beside other models: all of one moment, and no more reads than needed",
    Effect.gen(function*() {
      const keeper = makeKeeper()
      yield* EventStore.append([...some("a", 1, 3), ...some("b", 1, 3)])
      yield* buildWith(keeper, [names("a"), names("b")])
      assert.deepStrictEqual(keeper.positions(), [6, 6])
      yield* EventStore.append([...some("a", 4, 4), ...some("b", 4, 5), define("a", 7)])
      // both snapshots are of one position: one read
      const both = yield* buildWith(keeper, [names("a"), names("b")])
      assert.deepStrictEqual([both.state.map(({ size }) => size), both.reads], [[4, 5], [{ after: 6 }]])
      const mixed = yield* buildWith(keeper, {
        seats: seats("a"),
        names: [names("a"), names("c")],
        last: DecisionModel.last(Query.of(Taken, { course: "b" }))
      })
      assert.deepStrictEqual(mixed.reads, [{}, { after: 6, before: 11 }, { backwards: true, limit: 1, before: 11 }])
      assert.deepStrictEqual(
        [mixed.state.seats, mixed.state.names.map(({ size }) => size), mixed.state.last?.event.student],
        [7, [4, 0], "s5"]
      )
      // what is read anyway needs no snapshot
      keeper.asked.length = 0
      const covered = yield* buildWith(keeper, [taken("a"), names("a")])
      assert.deepStrictEqual([covered.state[0], covered.state[1].size, covered.reads, keeper.asked], [4, 4, [{}], []])
    })
  )

  test(
    "are not used when their events were tagged anew",
    Effect.gen(function*() {
      const keeper = makeKeeper()
      yield* EventStore.append([take("b", "x"), ...some("a", 1, 3)])
      yield* buildWith(keeper, names("a"))
      // An older event becomes one of the course.
      yield* addTags(Query.of(Taken, { student: "x" }), "course:a")
      yield* EventStore.append(take("a", "new"))
      const built = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([...built.state], ["x", "s1", "s2", "s3", "new"])
      assert.deepStrictEqual(built.reads, [{ after: 4 }, { before: 7 }])
      // and the next one is good again
      const again = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([again.state.size, again.reads], [5, [{ after: 6 }]])
      // tags of other events are no reason
      yield* addTags(Query.of(Taken, { course: "a", student: "new" }), "course:z")
      yield* EventStore.append(take("b", "y"))
      yield* addTags(Query.of(Taken, { student: "y" }), "x:y")
      assert.strictEqual((yield* buildWith(keeper, names("z"))).state.size, 1)
    })
  )

  test(
    "that was discarded is replaced, however few events there are",
    Effect.gen(function*() {
      const keeper = makeKeeper()
      yield* EventStore.append([take("b", "x"), ...some("a", 1, 3)])
      yield* buildWith(keeper, names("a"))
      yield* addTags(Query.of(Taken, { student: "x" }), "course:a")
      const built = yield* buildWith(keeper, names("a", { every: 100 }))
      assert.deepStrictEqual([built.state.size, keeper.positions()], [4, [5]])
    })
  )

  test(
    "of a later position are of another history",
    Effect.gen(function*() {
      const keeper = makeKeeper()
      const spoil = (state: unknown, position: number) => {
        for (const key of keeper.kept.keys()) keeper.kept.set(key, JSON.stringify({ state, position }))
      }
      yield* EventStore.append(some("a", 1, 3))
      yield* buildWith(keeper, names("a"))
      spoil(["wrong"], 4)
      const built = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([[...built.state], built.reads], [["s1", "s2", "s3"], [{ after: 4 }, { before: 4 }]])
      spoil(["wrong"], 4)
      assert.deepStrictEqual([...(yield* buildWith(keeper, [defined("a"), names("a")])).state[1]], ["s1", "s2", "s3"])
      // a state that does not decode
      spoil({ no: "set" }, 2)
      const second = yield* buildWith(keeper, names("a"))
      assert.deepStrictEqual([[...second.state], second.reads], [["s1", "s2", "s3"], [{}]])
      spoil(["wrong"], 1)
      yield* Effect.gen(function*() {
        const empty = yield* buildWith(keeper, names("a"))
        assert.deepStrictEqual([empty.state.size, empty.head], [0, undefined])
      }).pipe(Effect.provide(Layer.fresh(Opossum.layerMemory)))
    })
  )

  test(
    "that cannot be loaded, encoded or saved harm nobody",
    Effect.gen(function*() {
      yield* EventStore.append(some("a", 1, 3))
      /** With a keeper that has none yet, so that one is saved. */
      const sizeWith = (service: Partial<Context.Service.Shape<typeof Decision.Snapshots>>, model = names("a")) =>
        Decision.execute(model, (names) => take("b", `${names.size}`)).pipe(
          Effect.tap(() => quiet),
          Effect.provideService(Decision.Snapshots, { ...makeKeeper().service, ...service }),
          Effect.map(({ result }) => result.student)
        )
      let calls = 0
      const thrown = () => {
        calls++
        throw new Error("out of order")
      }
      const dead = () => Effect.andThen(Effect.sync(() => calls++), Effect.die("out of order"))
      const never = () => Effect.andThen(Effect.sync(() => calls++), Effect.never)
      assert.strictEqual(yield* sizeWith({ load: dead }), "3")
      assert.strictEqual(yield* sizeWith({ load: thrown }), "3")
      assert.strictEqual(yield* sizeWith({ save: dead }), "3")
      assert.strictEqual(yield* sizeWith({ save: thrown }), "3")
      assert.strictEqual(yield* sizeWith({ save: never }), "3")
      assert.strictEqual(calls, 5)
      const model = DecisionModel.make({
        query: Query.of(Taken, { course: "a" }),
        initial: new Set<string>() as ReadonlySet<string>,
        apply: { Taken: (names, { student }) => new Set([...names, student]) },
        snapshot: {
          name: "names",
          version: 1,
          state: Schema.ReadonlySet(Schema.String.check(Schema.isMaxLength(1))),
          every: 1
        }
      })
      assert.strictEqual(yield* sizeWith({ save: thrown }, model), "3")
      assert.strictEqual(calls, 5)
    })
  )

  test(
    "are of the state that was folded, whatever decide does to it",
    Effect.gen(function*() {
      const keeper = makeKeeper()
      yield* EventStore.append(some("a", 1, 3))
      yield* Decision.execute(names("a"), (names) => {
        ;(names as Set<string>).clear()
        return take("a", "s4")
      }).pipe(Effect.provideService(Decision.Snapshots, keeper.service))
      yield* quiet
      assert.strictEqual((yield* buildWith(keeper, names("a"))).state.size, 4)
      // a schema that encodes a state to itself
      const list = DecisionModel.make({
        query: Query.of(Taken, { course: "a" }),
        initial: [] as ReadonlyArray<Schema.Json>,
        apply: { Taken: (names, { student }) => [...names, student] },
        snapshot: { name: "list", version: 1, state: Schema.Array(Schema.Json), every: 1 }
      })
      yield* Decision.execute(list, (names) => {
        ;(names as Array<Schema.Json>).push("nobody")
        return take("a", "s5")
      }).pipe(Effect.provideService(Decision.Snapshots, keeper.service))
      yield* quiet
      assert.strictEqual((yield* buildWith(keeper, list)).state.length, 5)
    })
  )

  test(
    "none are kept by default, nor made",
    Effect.gen(function*() {
      yield* EventStore.append(some("a", 1, 3))
      const { reads, store } = yield* noted
      let encoded = 0
      const state = Schema.Int.check(Schema.makeFilter(() => {
        encoded++
        return true
      }))
      const model = DecisionModel.make({
        query: Query.of(Taken, { course: "a" }),
        initial: 0,
        apply: { Taken: (n) => n + 1 },
        snapshot: { name: "n", version: 1, state, every: 1 }
      })
      yield* withStore(store)(Effect.andThen(Decision.build(model), Decision.build([taken("b"), model]))).pipe(
        Effect.provideService(Decision.Snapshots, Decision.Snapshots.defaultValue())
      )
      assert.deepStrictEqual([reads(), encoded], [[{}, {}], 0])
      yield* buildWith(makeKeeper(), model)
      assert.isAbove(encoded, 0)
    })
  )
})

// spans and metrics

describe("what it tells", () => {
  const traced = <A, E>(program: Effect.Effect<A, E, Opossum.Services>) => {
    const { spans, tracer } = collectSpans()
    return Effect.as(Effect.exit(Effect.withTracer(program, tracer)), spans)
  }
  const attributesOf = (span: Tracer.Span | undefined) => Object.fromEntries(span?.attributes ?? [])

  test(
    "a span, with attempts, conflicts and the head, above those of its reads and appends",
    Effect.gen(function*() {
      const store = yield* overtaken(2)
      const spans = yield* traced(
        Decision.execute(defined("c"), () => Effect.as(Effect.withSpan(Effect.void, "mine"), take("c")), {
          retry: Schedule.recurs(2)
        }).pipe(withStore(store))
      )
      const execute = spans.find(({ name }) => name === "Decision.execute")
      assert.deepStrictEqual(attributesOf(execute), {
        "opossum.attempts": 3,
        "opossum.conflicts": 2,
        "opossum.head": 3
      })
      const children = spans.filter(({ parent }) => Option.getOrUndefined(parent)?.spanId === execute?.spanId)
      assert.deepStrictEqual(
        children.map(({ name }) => name).filter((name) => name !== "EventStore.append"),
        ["EventStore.read", "mine", "EventStore.read", "mine", "EventStore.read", "mine"]
      )
    })
  )

  test(
    "a span that ends in the conflict, when all attempts are used up",
    Effect.gen(function*() {
      const store = yield* overtaken(Infinity)
      const [span] = yield* traced(
        withStore(store)(Decision.execute(defined("c"), () => take("c"), { retry: Schedule.recurs(1) }))
      )
      assert.deepStrictEqual(attributesOf(span), { "opossum.attempts": 2, "opossum.conflicts": 2 })
      assert.isTrue(span?.status._tag === "Ended" && Exit.isFailure(span.status.exit))
    })
  )

  const count = (id: string) =>
    Effect.map(Metric.snapshot, (metrics) => {
      const found = metrics.find((metric) => metric.id === id)
      return found?.type === "Counter" ? Number(found.state.count) : 0
    })

  test(
    "decisions, attempts, conflicts, and those given up",
    Effect.gen(function*() {
      const execute = (times: number) =>
        Effect.flatMap(
          overtaken(times),
          (store) =>
            withStore(store)(
              Effect.exit(Decision.execute(defined("c"), () => take("c"), { retry: Schedule.recurs(2) }))
            )
        )
      yield* execute(0)
      yield* execute(2)
      yield* execute(3)
      yield* Effect.exit(Decision.execute(defined("c"), () => Effect.fail("no")))
      assert.deepStrictEqual(
        yield* Effect.all([
          count("opossum_decisions"),
          count("opossum_decision_attempts"),
          count("opossum_decision_conflicts"),
          count("opossum_decisions_given_up")
        ]),
        [4, 8, 5, 1]
      )
    }).pipe((body) => Effect.suspend(() => Effect.provideService(body, Metric.MetricRegistry, new Map())))
  )
})
