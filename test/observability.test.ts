/** What the store tells about itself: spans and metrics, by name, attribute and number. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import * as Event from "../src/Event.ts"
import * as EventStoreLive from "../src/layers/EventStoreLive.ts"
import * as IndexLive from "../src/layers/IndexLive.ts"
import * as LedgerLive from "../src/layers/LedgerLive.ts"
import * as LockMemory from "../src/layers/LockMemory.ts"
import * as Opossum from "../src/layers/Opossum.ts"
import * as StorageMemory from "../src/layers/StorageMemory.ts"
import * as Position from "../src/Position.ts"
import * as Query from "../src/Query.ts"
import * as EventStore from "../src/services/EventStore.ts"
import { EventStoreAdmin } from "../src/services/EventStoreAdmin.ts"
import * as EventStoreMaintenance from "../src/services/EventStoreMaintenance.ts"
import { Storage, StorageError } from "../src/services/Storage.ts"
import * as LockGranted from "../src/testing/LockGranted.ts"
import { collectSpans } from "./support/spans.ts"
import { temporaryFolder } from "./support/temporaryFolder.ts"

class Noted extends Event.Class<Noted>()("Noted", { text: Schema.String }) {}
const noted = Query.of(Noted)
const note = (text: string) => new Noted({ text })

// spans

/** Collects all spans that are begun. */
const collect = () => {
  const { spans, tracer } = collectSpans()
  return {
    tracer,
    /** The spans of that name, in the order in which they began. */
    named: (name: string) => spans.filter((span) => span.name === name)
  }
}

const attributesOf = (span: Tracer.Span | undefined) => Object.fromEntries(span?.attributes ?? [])
const parentOf = (span: Tracer.Span | undefined) => span && Option.getOrUndefined(span.parent)?.spanId
const exitOf = (span: Tracer.Span | undefined) => span?.status._tag === "Ended" ? span.status.exit : undefined
const client = (operation: string) => ({ "db.system.name": "effect-opossum", "db.operation.name": operation })

describe("spans", () => {
  const traced = <A, E>(program: Effect.Effect<A, E, Opossum.Services>) => {
    const collected = collect()
    return program.pipe(
      Effect.withSpan("caller"),
      Effect.withTracer(collected.tracer),
      Effect.provide(Opossum.layerMemory),
      Effect.map((result) => ({ ...collected, result, caller: collected.named("caller")[0]!.spanId }))
    )
  }

  it.live("append: how many events, and where they are", () =>
    Effect.gen(function*() {
      const { caller, named } = yield* traced(EventStore.append([note("a"), note("b"), note("c")]))
      const spans = named("EventStore.append")
      assert.strictEqual(spans.length, 1)
      assert.deepStrictEqual(attributesOf(spans[0]), {
        ...client("append"),
        "opossum.events": 3,
        "opossum.position.first": 1,
        "opossum.position.last": 3
      })
      assert.strictEqual(spans[0]!.kind, "client")
      assert.strictEqual(parentOf(spans[0]), caller)
      assert.isTrue(Exit.isSuccess(exitOf(spans[0])!))
    }))

  it.live("an append that was made before is told as such", () =>
    Effect.gen(function*() {
      const append = EventStore.append(Event.withMetadata(note("a"), { id: "one" }))
      const { named } = yield* traced(Effect.andThen(append, append))
      assert.deepStrictEqual(
        named("EventStore.append").map((span) => attributesOf(span)["opossum.duplicate"]),
        [undefined, true]
      )
    }))

  it.live("a conflict ends the span with its error, and without a position", () =>
    Effect.gen(function*() {
      const append = EventStore.append(note("a"), { failIfEventsMatch: noted })
      const { named } = yield* traced(Effect.andThen(append, Effect.exit(append)))
      const span = named("EventStore.append")[1]
      assert.deepStrictEqual(attributesOf(span), { ...client("append"), "opossum.events": 1 })
      const error = Option.getOrThrow(Exit.findErrorOption(exitOf(span)!)) as EventStore.AppendError
      assert.strictEqual(error._tag, "AppendConditionFailed")
    }))

  it.live("read and readLast: how many events, and the head", () =>
    Effect.gen(function*() {
      const { caller, named } = yield* traced(Effect.gen(function*() {
        yield* EventStore.append([note("a"), note("b"), note("c")])
        yield* EventStore.read(noted, { after: Position.make(1) })
        yield* EventStore.readLast(noted)
      }))
      const [read] = named("EventStore.read")
      assert.deepStrictEqual(attributesOf(read), { ...client("read"), "opossum.events": 2, "opossum.head": 3 })
      const [last] = named("EventStore.readLast")
      assert.deepStrictEqual(attributesOf(last), { ...client("readLast"), "opossum.events": 1, "opossum.head": 3 })
      assert.deepStrictEqual([parentOf(read), parentOf(last)], [caller, caller])
      assert.deepStrictEqual([read!.kind, last!.kind], ["client", "client"])
    }))

  it.live("reading what cannot be decoded ends the span with its error", () =>
    Effect.gen(function*() {
      const { named } = yield* traced(Effect.gen(function*() {
        yield* EventStore.append(Event.raw("Noted", { text: 7 }))
        yield* Effect.exit(EventStore.read(noted))
      }))
      const error = Option.getOrThrow(
        Exit.findErrorOption(exitOf(named("EventStore.read")[0])!)
      ) as EventStore.ReadError
      assert.strictEqual(error._tag, "EventDecodeError")
    }))

  it.live("adding tags, and deleting the store", () =>
    Effect.gen(function*() {
      const { caller, named } = yield* traced(Effect.gen(function*() {
        yield* EventStore.append([note("a"), note("b")])
        yield* EventStoreMaintenance.addTags(noted, ({ event }) => event.text === "a" ? ["first:yes", "letter:a"] : [])
        yield* EventStoreAdmin.use((admin) => admin.deleteStore)
      }))
      const [added] = named("EventStoreMaintenance.addTags")
      assert.deepStrictEqual(attributesOf(added), { ...client("addTags"), "opossum.events": 2, "opossum.tags": 2 })
      const [deleted] = named("EventStoreAdmin.deleteStore")
      assert.deepStrictEqual(attributesOf(deleted), client("deleteStore"))
      assert.deepStrictEqual([parentOf(added), parentOf(deleted)], [caller, caller])
      assert.deepStrictEqual([added!.kind, deleted!.kind], ["client", "client"])
    }))
})

// metrics

/** By name: a number, or what a histogram saw. `undefined` if nothing was ever said. */
const metric = (id: string) =>
  Effect.map(Metric.snapshot, (metrics) => {
    const found = metrics.find((one) => one.id === id)
    switch (found?.type) {
      case "Counter":
        return Number(found.state.count)
      case "Gauge":
        return Number(found.state.value)
      case "Histogram":
        return { count: found.state.count, sum: found.state.sum }
      default:
        return undefined
    }
  })

const histogram = (id: string) =>
  Effect.map(metric(id), (found) => typeof found === "object" ? found : assert.fail(`${id} is no histogram: ${found}`))

/** With metrics of its own, so that tests do not count each other's events. */
const measured = <A, E>(program: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.suspend(() => Effect.provideService(Effect.scoped(program), Metric.MetricRegistry, new Map()))

/** The store over a medium, without event files. */
const storeOn = (medium: Layer.Layer<Storage>, lock = LockMemory.layer, segmentSize?: number) =>
  EventStoreLive.layer({ store: "store", eventFiles: false }).pipe(
    Layer.provide(IndexLive.layer({ store: "store" })),
    Layer.provide(LedgerLive.layer({ store: "store", segmentSize })),
    Layer.provide(Layer.mergeAll(medium, lock))
  )

describe("metrics", () => {
  it.live("events appended, conflicts, and the size and time of commits", () =>
    measured(
      Effect.gen(function*() {
        const append = EventStore.append(Event.withMetadata(note("a"), { id: "one" }), { failIfEventsMatch: noted })
        yield* append
        yield* EventStore.append([note("b"), note("c"), note("d")])
        // one event three times is one event
        assert.isTrue((yield* append).duplicate)
        yield* Effect.exit(EventStore.append(note("e"), { failIfEventsMatch: noted }))
        // What is wrong in itself is no conflict.
        yield* Effect.exit(EventStore.append([]))
        yield* Effect.exit(EventStore.append(note("f"), { failIfEventsMatch: noted, after: Position.make(99) }))
        assert.strictEqual(yield* metric("opossum_events_appended"), 4)
        assert.strictEqual(yield* metric("opossum_append_conflicts"), 1)
        assert.deepStrictEqual(yield* histogram("opossum_commit_size"), { count: 2, sum: 4 })
        const { count, sum } = yield* histogram("opossum_commit_duration")
        assert.strictEqual(count, 2)
        assert.isAbove(sum, 0)
        // The lock is taken once, and kept.
        assert.strictEqual((yield* histogram("opossum_lock_wait")).count, 1)
        assert.isUndefined(yield* metric("opossum_takeovers"))
      }).pipe(Effect.provide(Opossum.layerMemory))
    ))

  it.live("what is written together is one commit's size", () =>
    measured(
      Effect.gen(function*() {
        yield* Effect.all(Array.from({ length: 20 }, () => EventStore.append([note("a"), note("b")])), {
          concurrency: "unbounded"
        })
        const { count, sum } = yield* histogram("opossum_commit_size")
        assert.strictEqual(sum, 40)
        assert.isBelow(count, 20)
      }).pipe(Effect.provide(Opossum.layerMemory))
    ))

  it.live("tags that are added are a commit, but no events", () =>
    measured(
      Effect.gen(function*() {
        yield* EventStore.append([note("a"), note("b")])
        yield* EventStoreMaintenance.addTags(noted, () => ["a:b"])
        assert.strictEqual(yield* metric("opossum_events_appended"), 2)
        assert.deepStrictEqual(yield* histogram("opossum_commit_size"), { count: 1, sum: 2 })
        assert.strictEqual((yield* histogram("opossum_commit_duration")).count, 2)
      }).pipe(Effect.provide(Opossum.layerMemory))
    ))

  it.live("events read, by whichever way", () =>
    measured(
      Effect.gen(function*() {
        yield* EventStore.append([note("a"), note("b"), note("c")])
        const read = Effect.fnUntraced(
          function*(how: Effect.Effect<unknown, EventStore.ReadError, EventStore.EventStore>) {
            const before = Number((yield* metric("opossum_events_read")) ?? 0)
            yield* how
            return Number((yield* metric("opossum_events_read")) ?? 0) - before
          }
        )
        assert.strictEqual(yield* read(EventStore.read(noted)), 3)
        assert.strictEqual(yield* read(EventStore.readLast(noted)), 1)
        assert.strictEqual(yield* read(EventStore.read(Query.types("Other"))), 0)
        assert.strictEqual(yield* read(Stream.runDrain(EventStore.stream(noted, { limit: 2 }))), 2)
        assert.strictEqual(yield* read(EventStore.subscribe(noted).pipe(Stream.take(3), Stream.runDrain)), 3)
      }).pipe(Effect.provide(Opossum.layerMemory))
    ))

  it.live("take-overs: from an owner that did not stop in order, and no others", () =>
    measured(Effect.gen(function*() {
      const medium = Layer.succeedContext(yield* Layer.build(StorageMemory.layer))
      const append = EventStore.append(note("a"))
      // An owner after another: each leaves the store in order.
      yield* Effect.provide(append, storeOn(medium))
      yield* Effect.provide(append, storeOn(medium))
      assert.isUndefined(yield* metric("opossum_takeovers"))
      // An owner that holds on while another begins: to that one it is as if it had died.
      const first = yield* Layer.build(Layer.fresh(storeOn(medium, LockGranted.layer)))
      yield* Effect.provideContext(append, first)
      yield* Effect.provide(append, storeOn(medium, LockGranted.layer))
      assert.strictEqual(yield* metric("opossum_takeovers"), 1)
    })))

  it.live("a segment that is full is no take-over", () =>
    measured(Effect.gen(function*() {
      const medium = Layer.succeedContext(yield* Layer.build(StorageMemory.layer))
      const segments = yield* Effect.gen(function*() {
        for (let i = 0; i < 10; i++) yield* EventStore.append(note("x".repeat(1000)))
        return (yield* EventStoreMaintenance.statistics).segments
      }).pipe(Effect.provide(storeOn(medium, LockMemory.layer, 3000)))
      assert.isAbove(segments, 1)
      assert.isUndefined(yield* metric("opossum_takeovers"))
    })))

  it.live("how far the event files are behind", () =>
    measured(Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.gen(function*() {
        const { head } = yield* EventStore.append([note("a"), note("b"), note("c")])
        yield* EventStoreMaintenance.eventFiles.waitFor(head)
        assert.strictEqual(yield* metric("opossum_mirror_lag"), 0)
      }).pipe(Effect.provide(Opossum.layer({ root, store: "store" })))
    })))

  it.live("event files that cannot be written are behind, and said to be", () =>
    measured(
      Effect.gen(function*() {
        const memory = yield* Layer.build(StorageMemory.layer)
        const storage = Context.get(memory, Storage)
        const full = Storage.of({
          ...storage,
          replaceDocument: (path, bytes, options) =>
            /events\/\d/.test(path)
              ? Effect.fail(new StorageError({ operation: "replaceDocument", path, reason: "DiskFull" }))
              : storage.replaceDocument(path, bytes, options)
        })
        const medium = Layer.mergeAll(Layer.succeed(Storage, full), LockMemory.layer)
        yield* Effect.gen(function*() {
          yield* EventStore.append([note("a"), note("b"), note("c")])
          for (let i = 0; i < 500 && (yield* metric("opossum_mirror_lag")) === undefined; i++) yield* Effect.sleep(10)
          assert.strictEqual(yield* metric("opossum_mirror_lag"), 3)
        }).pipe(Effect.provide(
          EventStoreLive.layer({ store: "store" }).pipe(
            Layer.provide(IndexLive.layer({ store: "store" })),
            Layer.provide(LedgerLive.layer({ store: "store" })),
            Layer.provide(medium)
          )
        ))
        // It warns as well, which is no news here.
      }).pipe(Effect.provide(Logger.layer([])))
    ))

  it.live("times say their unit", () =>
    measured(
      Effect.gen(function*() {
        yield* EventStore.append(note("a"))
        const units = (yield* Metric.snapshot).map(({ attributes, id }) => [id, attributes?.time_unit] as const)
        assert.deepStrictEqual(units.filter(([, unit]) => unit !== undefined).sort(), [
          ["opossum_commit_duration", "milliseconds"],
          ["opossum_lock_wait", "milliseconds"]
        ])
      }).pipe(Effect.provide(Opossum.layerMemory))
    ))
})
