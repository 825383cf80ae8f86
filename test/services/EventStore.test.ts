import { assert, describe, it } from "@effect/vitest"
import { Event, EventStore, Position, Query } from "effect-opossum"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as oracle from "../../src/testing/conformance/oracle.ts"
import { collectSpans } from "../support/spans.ts"

const numbered = (n: number) => Event.raw("Numbered", { n })

/** All spans that an effect makes, as they end. */
const spansOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const { spans, tracer } = collectSpans()
    const exit = yield* Effect.exit(Effect.withTracer(effect, tracer))
    return { exit, spans }
  })

const valueOf = (snapshot: ReadonlyArray<Metric.Metric.Snapshot>, id: string): number | bigint => {
  const metric = snapshot.find((metric) => metric.id === id)
  return metric?.type === "Counter" ? metric.state.count : 0
}

describe("EventStore.make", () => {
  it.effect("makes one span for an operation, however many events it is about", () =>
    Effect.gen(function*() {
      const { spans } = yield* spansOf(Effect.gen(function*() {
        yield* EventStore.append([numbered(1), numbered(2)])
        yield* EventStore.read(Query.all)
        yield* EventStore.readLast(Query.all)
        yield* Stream.runDrain(EventStore.stream(Query.all))
        yield* Stream.runDrain(Stream.take(EventStore.subscribe(Query.all), 2))
        yield* EventStore.head
        yield* Effect.flip(EventStore.append(numbered(3), { failIfEventsMatch: Query.all }))
      }))
      assert.deepStrictEqual(
        spans.map(({ attributes, name, status }) => [
          name,
          Object.fromEntries(attributes),
          status._tag === "Ended" && Exit.isSuccess(status.exit)
        ]),
        [
          ["EventStore.append", {
            "db.system.name": "effect-opossum",
            "db.operation.name": "append",
            "opossum.events": 2,
            "opossum.position.first": 1,
            "opossum.position.last": 2
          }, true],
          ["EventStore.read", {
            "db.system.name": "effect-opossum",
            "db.operation.name": "read",
            "opossum.events": 2,
            "opossum.head": 2
          }, true],
          ["EventStore.readLast", {
            "db.system.name": "effect-opossum",
            "db.operation.name": "readLast",
            "opossum.events": 1,
            "opossum.head": 2
          }, true],
          ["EventStore.append", {
            "db.system.name": "effect-opossum",
            "db.operation.name": "append",
            "opossum.events": 1
          }, false]
        ]
      )
    }).pipe(Effect.provide(Layer.fresh(oracle.layer))))

  it.effect("what a driver does is part of the operation's span", () =>
    Effect.gen(function*() {
      const store = EventStore.make({
        ...oracle.makeDriver(),
        head: Effect.succeed(undefined),
        read: () => Effect.as(Effect.void.pipe(Effect.withSpan("inner")), { events: [], head: undefined })
      })
      const { spans } = yield* spansOf(store.read(Query.all))
      assert.deepStrictEqual(
        spans.map(({ name, parent }) => [name, Option.getOrUndefined(parent)?.spanId]),
        [["EventStore.read", undefined], ["inner", spans[0]!.spanId]]
      )
    }))

  it.effect("counts appended and read events, and conflicts", () =>
    Effect.gen(function*() {
      const event = Event.withMetadata(numbered(1), { id: "e1" })
      yield* EventStore.append([numbered(1), numbered(2)])
      yield* EventStore.append(event)
      yield* EventStore.append(event)
      yield* EventStore.read(Query.all)
      yield* EventStore.readLast(Query.all)
      yield* Stream.runDrain(EventStore.stream(Query.all))
      yield* Effect.flip(EventStore.append(numbered(3), { failIfEventsMatch: Query.all }))
      yield* Effect.flip(EventStore.append([]))
      const snapshot = yield* Metric.snapshot
      assert.strictEqual(valueOf(snapshot, "opossum_events_appended"), 3)
      assert.strictEqual(valueOf(snapshot, "opossum_events_read"), 7)
      assert.strictEqual(valueOf(snapshot, "opossum_append_conflicts"), 1)
    }).pipe(Effect.provide(Layer.fresh(oracle.layer)), Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("an unknown outcome tells the ids with which to find out", () =>
    Effect.gen(function*() {
      const cause = new Error("the cable is out")
      const driver = oracle.makeDriver()
      const store = EventStore.make({
        ...driver,
        append: (events, condition) =>
          Effect.andThen(
            driver.append(events, condition),
            Effect.fail(new EventStore.AppendOutcomeUnknown({ cause }))
          )
      })
      const error = yield* Effect.flip(store.append([Event.withMetadata(numbered(1), { id: "mine" }), numbered(2)]))
      assert(error._tag === "AppendOutcomeUnknown" && error.ids !== undefined)
      assert.strictEqual(error.cause, cause)
      assert.include(error.message, "the cable is out")
      const again = yield* EventStore.make(driver).append(
        error.ids.map((id, i) => Event.withMetadata(numbered(i + 1), { id }))
      )
      assert.deepStrictEqual<unknown>([error.ids[0], again.duplicate, again.positions], ["mine", true, [1, 2]])
    }))

  it.effect("an error of the driver is the reader's, in reads, streams and subscriptions", () =>
    Effect.gen(function*() {
      const error = new EventStore.EventStoreError({ reason: new EventStore.StoreClosed({}) })
      const store = EventStore.make({
        append: () => Effect.fail(error),
        read: () => Effect.fail(error),
        head: Effect.fail(error),
        awaitBeyond: () => Effect.fail(error)
      })
      const all: ReadonlyArray<Effect.Effect<unknown, EventStore.AppendError | EventStore.ReadError>> = [
        store.append(numbered(1)),
        store.read(Query.all),
        store.readLast(Query.all),
        store.head,
        store.awaitBeyond(undefined),
        Stream.runDrain(store.stream(Query.all)),
        Stream.runDrain(store.subscribe(Query.all))
      ]
      for (const effect of all) assert.strictEqual(yield* Effect.flip(effect), error)
      // Also while it waits.
      const waiting = EventStore.make({ ...oracle.makeDriver(), awaitBeyond: () => Effect.fail(error) })
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(waiting.subscribe(Query.all))), error)
    }))

  it.effect("a stream and a subscription ask for pages, not for everything", () =>
    Effect.gen(function*() {
      const driver = oracle.makeDriver()
      const limits: Array<number | undefined> = []
      const store = EventStore.make({
        ...driver,
        read: (query, options) => {
          limits.push(options.limit)
          return driver.read(query, options)
        }
      })
      yield* store.append(Array.from({ length: 1500 }, (_, n) => numbered(n)))
      yield* Stream.runDrain(store.stream(Query.all))
      yield* Stream.runDrain(Stream.take(store.subscribe(Query.all), 1500))
      yield* Stream.runDrain(Stream.take(store.stream(Query.all), 1))
      assert.deepStrictEqual(limits, Array(3 + 3 + 1).fill(512))
    }))

  it.effect("a wake-up without news is no news", () =>
    Effect.gen(function*() {
      const driver = oracle.makeDriver()
      let early = 10
      const store = EventStore.make({
        ...driver,
        awaitBeyond: (head) => early-- > 0 ? Effect.yieldNow : driver.awaitBeyond(head)
      })
      yield* store.append(numbered(1))
      yield* Effect.forkChild(store.append(numbered(2)))
      const events = yield* Stream.runCollect(Stream.take(store.subscribe(Query.all), 2))
      assert.deepStrictEqual<unknown>(events.map(({ position }) => position), [1, 2])
    }))
})

describe("errors", () => {
  const cause = new Error("out of order")
  const position = Position.make(7)
  const reasons = [
    new EventStore.EmptyBatch({}),
    new EventStore.InvalidEvent({ index: 0, type: "A", problem: "$.a is NaN", path: "$.a" }),
    new EventStore.InvalidTag({ index: 1, tag: "a:", problem: "has an empty value" }),
    new EventStore.LimitExceeded({ what: "tags", limit: 64, actual: 65, index: 2 }),
    new EventStore.EventIdConflict({ id: "e1", position, problem: "it has other data" }),
    new EventStore.PositionBeyondHead({ after: position, head: undefined }),
    new EventStore.InvalidCondition({ problem: "has no query" })
  ].map((reason) => new EventStore.AppendRefused({ reason }))
  const troubles = [
    new EventStore.StoreUnavailable({ cause }),
    new EventStore.StoreBusy({ holder: "process 7", waitedMillis: 5000 }),
    new EventStore.StoreDamaged({ place: "a.jsonl", offset: 12, position, problem: "the checksum does not fit" }),
    new EventStore.StoreUnsupported({ problem: "format", found: "2", supported: "1" }),
    new EventStore.StoreClosed({}),
    new EventStore.StoreDeleted({}),
    new EventStore.StoreReadOnly({}),
    new EventStore.HistoryDiverged({ problem: "another store" })
  ].map((reason) => new EventStore.EventStoreError({ reason }))
  const appendErrors: ReadonlyArray<EventStore.AppendError> = [
    new EventStore.AppendConditionFailed({
      failIfEventsMatch: Query.fromItems({ types: ["A"], tags: ["a:b"] }),
      after: Position.make(6),
      conflict: position
    }),
    new EventStore.AppendConditionFailed({ failIfEventsMatch: Query.all, conflict: position }),
    new EventStore.AppendOutcomeUnknown({ cause, ids: ["a"] }),
    ...reasons,
    ...troubles
  ]

  it("say what happened and what to do", () => {
    assert.deepStrictEqual(appendErrors.map(({ message }) => message), [
      "the append condition failed: position 7 matches A tagged a:b and is after 6; read again and decide anew",
      "the append condition failed: position 7 matches every event; read again and decide anew",
      "the events may be stored, or may not: append them again with the same ids (`Event.withMetadata({ id })`) " +
      "to find out; if they are there, nothing is written twice (out of order)",
      "an append needs at least one event",
      "event 0 (A) cannot be stored: $.a is NaN",
      "the tag \"a:\" of event 1 has an empty value",
      "event 2 exceeds the limit of 64 tags with 65",
      "the event id \"e1\" is taken at position 7: it has other data; repeat an append with just the same events, or " +
      "give new events new ids",
      "the condition's position 7 is beyond the store's head (the store is empty): it is of another store, or this one " +
      "was set back; read again and decide anew",
      "the append condition has no query",
      "the store is unavailable: out of order",
      "waited 5000 ms for the store, held by process 7: try again, or allow more time",
      "the store is damaged in a.jsonl at byte 12 (position 7): the checksum does not fit; restore it from a backup",
      "the store cannot be used: format (found 2, supported 1)",
      "the store is closed: its layer's scope has ended",
      "the store was deleted: open it anew to begin another one",
      "the store is open for reading only",
      "the store's history is not the one that was seen before: another store"
    ])
    const decodeError = new EventStore.EventDecodeError({ position, type: "A", version: 2, cause })
    assert.strictEqual(
      decodeError.message,
      "the event at position 7 (A, version 2) does not fit its class: out of order; mend the class (an older version needs " +
        "an upcasting step), or read it raw with Query.types(\"A\")"
    )
  })

  it("are printed with what they say", () => {
    assert.include(Cause.pretty(Cause.fail(appendErrors[0])), "position 7 matches A tagged a:b")
  })

  it.effect("are schemas: they go through JSON and come back", () =>
    Effect.gen(function*() {
      const codec = Schema.toCodecJson(EventStore.AppendError)
      for (const error of appendErrors) {
        const text = JSON.stringify(yield* Schema.encodeEffect(codec)(error))
        const back = yield* Schema.decodeUnknownEffect(codec)(JSON.parse(text))
        assert.strictEqual(back._tag, error._tag)
        assert.strictEqual(back.message, error.message)
        if (back._tag === "AppendRefused" || back._tag === "EventStoreError") {
          assert.strictEqual(back.reason._tag, "reason" in error ? error.reason._tag : undefined)
        }
      }
      const readCodec = Schema.toCodecJson(EventStore.ReadError)
      const error = new EventStore.EventDecodeError({ position, type: "A", version: 2, cause })
      const back = yield* Schema.decodeUnknownEffect(readCodec)(yield* Schema.encodeEffect(readCodec)(error))
      assert.strictEqual(back.message, error.message)
    }))
})
