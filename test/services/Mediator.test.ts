/** Commands and queries, their handlers, what wraps them, and the way in from outside. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Getter from "effect/SchemaGetter"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Event from "../../src/Event.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Metadata from "../../src/Metadata.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Mediator from "../../src/services/Mediator.ts"
import { collectSpans } from "../support/spans.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", { cents: Schema.Int }) {}
class Closed extends Schema.TaggedError<Closed>()("Closed", { since: Schema.DateTimeUtcFromString }) {}
class Item extends Schema.Class<Item>("Item")({ name: Schema.NonEmptyString }) {}

class Pay extends Mediator.Command<Pay>()("Pay", {
  payload: { cents: Schema.Int, items: Schema.optionalKey(Schema.Array(Item)) },
  success: Schema.Int,
  error: [Refused, Closed]
}) {}
class Balance extends Mediator.Query<Balance>()("Balance", {
  success: Schema.Struct({ cents: Schema.Int, at: Schema.DateTimeUtcFromString }),
  error: EventStore.ReadError
}) {}
class Ping extends Mediator.Query<Ping>()("Ping") {}

const busy = new EventStore.EventStoreError({ reason: new EventStore.StoreBusy({ waitedMillis: 1 }) })
const closed = new EventStore.EventStoreError({ reason: new EventStore.StoreClosed({}) })
const zero = { cents: 0, at: DateTime.makeUnsafe(0) }

/** Handlers on a mediator with that middleware. */
const on = (...middleware: ReadonlyArray<Mediator.Middleware>) => Layer.provide(Mediator.layer({ middleware }))

const payLayer = (
  handler: (pay: Pay) => Effect.Effect<number, Refused | Closed>,
  ...middleware: ReadonlyArray<Mediator.Middleware>
) => Mediator.handle(Pay, handler).pipe(on(...middleware))

const balanceLayer = (
  handler: Effect.Effect<typeof zero, EventStore.ReadError>,
  ...middleware: ReadonlyArray<Mediator.Middleware>
) => Mediator.handle(Balance, () => handler).pipe(on(...middleware))

/** What an effect died of. */
const defectOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
    const defect = Cause.findDefect(exit.cause)
    return Result.isSuccess(defect) ? defect.success : assert.fail(`no defect: ${Cause.pretty(exit.cause)}`)
  })

const pay = new Pay({ cents: 1 })

describe("handlers", () => {
  it.effect("answer and fail as they say", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Mediator.send(new Pay({ cents: 3 })), 6)
      const error = yield* Effect.flip(Mediator.send(new Pay({ cents: -1 })))
      assert.deepStrictEqual(error, new Refused({ cents: -1 }))
    }).pipe(
      Effect.provide(
        payLayer(({ cents }) => cents < 0 ? Effect.fail(new Refused({ cents })) : Effect.succeed(2 * cents))
      )
    ))

  it.effect("may be generators, and begin anew for each message", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* Effect.all([1, 2, 3].map((cents) => Mediator.send(new Pay({ cents })))),
        [11, 12, 13]
      )
    }).pipe(Effect.provide(
      Mediator.handle(Pay, function*({ cents }) {
        const ten = yield* Effect.succeed(10)
        return cents + ten
      }).pipe(on())
    )))

  it.effect("dying, and throwing, is a defect of the sender", () =>
    Effect.gen(function*() {
      const one = yield* defectOf(Effect.provide(Mediator.send(pay), payLayer(() => Effect.die("one"))))
      const two = yield* defectOf(Effect.provide(
        Mediator.send(pay),
        payLayer(() => {
          throw new Error("two")
        })
      ))
      const three = yield* defectOf(Effect.provide(
        Mediator.send(pay),
        // oxlint-disable-next-line require-yield
        Mediator.handle(Pay, function*() {
          throw new Error("three")
        }).pipe(on())
      ))
      assert.deepStrictEqual([one, (two as Error).message, (three as Error).message], ["one", "two", "three"])
    }))

  it.effect("are interrupted with their sender", () =>
    Effect.gen(function*() {
      const begun = yield* Deferred.make<void>()
      const interrupted = yield* Deferred.make<void>()
      const fiber = yield* Mediator.send(pay).pipe(
        Effect.provide(payLayer(() =>
          Deferred.succeed(begun, undefined).pipe(
            Effect.andThen(Effect.never),
            Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
          )
        )),
        Effect.forkChild
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(fiber)
      assert.isTrue(yield* Deferred.isDone(interrupted))
    }))

  it.effect("run at the same time", () =>
    Effect.gen(function*() {
      // Each waits for the next one, the last for nobody: one after another they would wait for ever.
      const gates = yield* Effect.all([0, 1, 2, 3].map(() => Deferred.make<void>()))
      const layer = payLayer(({ cents }) =>
        Effect.gen(function*() {
          const next = gates[cents + 1]
          if (next !== undefined) yield* Deferred.await(next)
          yield* Deferred.succeed(gates[cents]!, undefined)
          return cents
        })
      )
      const answers = yield* Effect.all([0, 1, 2, 3].map((cents) => Mediator.send(new Pay({ cents }))), {
        concurrency: "unbounded"
      }).pipe(Effect.provide(layer))
      assert.deepStrictEqual(answers, [0, 1, 2, 3])
    }))

  it.effect("send other messages, one within the other", () => {
    class Order
      extends Mediator.Command<Order>()("Order", { payload: { cents: Schema.Int }, success: Schema.String })
    {}
    const OrderHandler = Mediator.handle(Order, function*({ cents }) {
      const paid = yield* Mediator.send(new Pay({ cents })).pipe(Effect.orDie)
      yield* Mediator.send(new Ping())
      return `paid ${paid}`
    })
    const seen: Array<string> = []
    const middleware: Mediator.Middleware = (effect, message) =>
      Effect.suspend(() => {
        seen.push(message._tag)
        return effect
      })
    const layer = OrderHandler.pipe(
      Layer.provide([
        Mediator.handle(Pay, ({ cents }) => Effect.succeed(cents)),
        Mediator.handle(Ping, () => Effect.void)
      ]),
      on(middleware)
    )
    return Effect.gen(function*() {
      assert.strictEqual(yield* Mediator.send(new Order({ cents: 7 })), "paid 7")
      assert.deepStrictEqual(seen, ["Order", "Pay", "Ping"])
    }).pipe(Effect.provide(layer))
  })

  it.effect("a union of messages reaches the handler of each", () => {
    const send = (message: Pay | Ping) => Mediator.send(message)
    return Effect.gen(function*() {
      assert.deepStrictEqual(yield* Effect.all([send(pay), send(new Ping())]), [1, undefined])
    }).pipe(Effect.provide(
      Layer.mergeAll(
        Mediator.handle(Pay, ({ cents }) => Effect.succeed(cents)),
        Mediator.handle(Ping, () => Effect.void)
      ).pipe(on())
    ))
  })

  it.effect("each message has a scope of its own", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const handler = Mediator.handle(Pay, ({ cents }) =>
        Effect.as(
          Effect.acquireRelease(
            Effect.sync(() => log.push(`open ${cents}`)),
            () => Effect.sync(() => log.push(`close ${cents}`))
          ),
          cents
        ))
      yield* Effect.gen(function*() {
        yield* Mediator.send(new Pay({ cents: 1 }))
        yield* Mediator.send(new Pay({ cents: 2 }))
        assert.deepStrictEqual(log, ["open 1", "close 1", "open 2", "close 2"])
      }).pipe(Effect.provide(handler.pipe(on())))
    }))
})

describe("whose services", () => {
  class Till extends Context.Service<Till, { readonly name: string }>()("test/Till") {}
  const till = (name: string) => Layer.succeed(Till, { name })
  class Which extends Mediator.Query<Which>()("Which", { success: Schema.String }) {}
  const WhichHandler = Mediator.handle(Which, () => Effect.map(Till, ({ name }) => name))

  it.effect("a handler has those of its layer, whatever the sender has", () =>
    Effect.gen(function*() {
      const name = yield* Mediator.send(new Which()).pipe(Effect.provide(till("the sender's")))
      assert.strictEqual(name, "the handler's")
    }).pipe(Effect.provide(WhichHandler.pipe(on(), Layer.provide(till("the handler's"))))))

  it.effect("and what the sender has set for its fiber, not what the layer's builder had", () => {
    class Noted extends Event.Class<Noted>()("Noted", {}) {}
    class Note extends Mediator.Command<Note>()("Note", { error: EventStore.AppendError }) {}
    const NoteHandler = Mediator.handle(Note, () => Effect.asVoid(EventStore.append(new Noted({}))))
    return Effect.gen(function*() {
      yield* Mediator.send(new Note()).pipe(Metadata.annotate({ userId: "anna" }))
      const last = yield* EventStore.readLast(Query.of(Noted))
      assert.strictEqual(last?.metadata.userId, "anna")
    }).pipe(
      Effect.provide(NoteHandler.pipe(on(), Layer.provideMerge(Opossum.layerMemory))),
      Metadata.annotate({ userId: "whoever builds the layer" })
    )
  })
})

describe("two of a name", () => {
  const one = Mediator.handle(Ping, () => Effect.void)
  const two = Mediator.handle(Ping, () => Effect.void)

  it.effect("two handlers of one message fail at the start", () =>
    Effect.gen(function*() {
      const start = (layer: typeof one) => Effect.scoped(Layer.build(layer.pipe(on())))
      yield* start(Layer.mergeAll(one, one))
      const error = yield* Effect.flip(start(Layer.mergeAll(one, two)))
      assert.deepStrictEqual(error, new Mediator.DuplicateHandler({ messageName: "Ping" }))
      assert.include(error.message, "Ping has two handlers")
    }))

  it.effect("a handler whose scope has ended makes room for another one", () =>
    Effect.gen(function*() {
      yield* Effect.scoped(Layer.build(one))
      yield* Effect.scoped(Layer.build(two))
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(one, scope)
      assert.strictEqual((yield* Effect.flip(Effect.scoped(Layer.build(two))))._tag, "DuplicateHandler")
      // The one that was refused has not given the other's name away.
      assert.strictEqual((yield* Effect.flip(Effect.scoped(Layer.build(two))))._tag, "DuplicateHandler")
      yield* Scope.close(scope, Exit.void)
      yield* Effect.scoped(Layer.build(two))
    }).pipe(Effect.provide(Mediator.layer())))

  it.effect("two classes of one name: a handler takes its own only", () => {
    class Other extends Mediator.Query<Other>()("Ping") {}
    return Effect.gen(function*() {
      yield* Mediator.send(new Ping())
      const defect = yield* defectOf(Mediator.send(new Other()))
      assert.match((defect as Error).message, /the handler of Ping is for another class of that name/)
    }).pipe(Effect.provide(one.pipe(on())))
  })

  it("two classes of one name in a dispatch throw", () => {
    class Other extends Mediator.Query<Other>()("Ping") {}
    assert.throws(() => Mediator.dispatch(Ping, Pay, Other), /two messages are named "Ping"/)
  })

  it("bad names, and fields in the name's place, throw", () => {
    assert.throws(() => Mediator.Command<Ping>()(""), /Mediator.Command: the name "" is empty/)
    assert.throws(() => Mediator.Query<Ping>()("a\nb"), /Mediator.Query: .* control character/)
    assert.throws(() => Mediator.Command<Ping>()("X", { payload: { _tag: Schema.String } }), /X has a field _tag/)
  })
})

describe("middleware", () => {
  it.effect("wraps from the outside in, in the order given, once for each message", () => {
    const log: Array<string> = []
    const named = (name: string): Mediator.Middleware => (effect, message) =>
      Effect.sync(() => log.push(`${name} ${message._tag}`)).pipe(
        Effect.andThen(effect),
        Effect.ensuring(Effect.sync(() => log.push(`/${name}`)))
      )
    return Effect.gen(function*() {
      yield* Mediator.send(pay)
      assert.deepStrictEqual(log, ["one Pay", "two Pay", "handler", "/two", "/one"])
    }).pipe(Effect.provide(payLayer(
      () => Effect.sync(() => log.push("handler")),
      named("one"),
      named("two")
    )))
  })

  it.effect("that throws is a defect", () =>
    Effect.gen(function*() {
      const bad: Mediator.Middleware = () => {
        throw new Error("bad")
      }
      const defect = yield* defectOf(Effect.provide(Mediator.send(pay), payLayer(() => Effect.succeed(1), bad)))
      assert.strictEqual((defect as Error).message, "bad")
    }))
})

describe("validate", () => {
  const validated = payLayer(({ cents }) => {
    switch (cents) {
      case 1:
        return Effect.succeed(1.5)
      case 2:
        return Effect.fail(new Refused({ cents: 0.5 }, { disableChecks: true }))
      case 3:
        return Effect.fail(new EventStore.EmptyBatch({}) as never)
      case 4:
        return Effect.fail(new Refused({ cents }))
      default:
        return Effect.succeed(cents)
    }
  }, Mediator.validate)

  it.effect("lets pass what is right", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Mediator.send(new Pay({ cents: 7, items: [new Item({ name: "tea" })] })), 7)
      assert.deepStrictEqual(yield* Effect.flip(Mediator.send(new Pay({ cents: 4 }))), new Refused({ cents: 4 }))
    }).pipe(Effect.provide(validated)))

  it.effect("a payload made without checks, or changed since, is a defect, and no handler sees it", () =>
    Effect.gen(function*() {
      let handled = 0
      const layer = payLayer(() => Effect.sync(() => ++handled), Mediator.validate)
      const refused = (message: Pay, path: string) =>
        Effect.map(defectOf(Effect.provide(Mediator.send(message), layer)), (defect) => {
          assert.instanceOf(defect, Mediator.InvalidMessage)
          assert.strictEqual(defect.messageName, "Pay")
          assert.strictEqual(defect.path, path)
        })
      yield* refused(new Pay({ cents: 1.5 }, { disableChecks: true }), "$.cents")
      const changed = new Pay({ cents: 1 })
      Object.assign(changed, { cents: "1" })
      yield* refused(changed, "$.cents")
      const inside = new Item({ name: "tea" })
      const deep = new Pay({ cents: 1, items: [inside] })
      Object.assign(inside, { name: "" })
      yield* refused(deep, "$.items[0].name")
      assert.strictEqual(handled, 0)
    }))

  it.effect("what a handler gives must be what its class declares", () =>
    Effect.gen(function*() {
      const found = (cents: number) =>
        Effect.map(defectOf(Mediator.send(new Pay({ cents }))), (defect) => {
          assert.instanceOf(defect, Mediator.InvalidReply)
          return [defect.part, defect.path]
        })
      assert.deepStrictEqual(yield* found(1), ["success", "$"])
      assert.deepStrictEqual(yield* found(2), ["error", "$.cents"])
      assert.strictEqual((yield* found(3))[0], "error")
    }).pipe(Effect.provide(validated)))

  it.effect("without it nothing is checked", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Mediator.send(new Pay({ cents: 1.5 }, { disableChecks: true })), 1.5)
    }).pipe(Effect.provide(payLayer(({ cents }) => Effect.succeed(cents)))))

  it.effect("a schema that can only be decoded is checked by its type", () => {
    const OneWay = Schema.String.pipe(Schema.decodeTo(Schema.Int, {
      decode: Getter.transform((text: string) => text.length),
      encode: Getter.forbidden(() => "one way")
    }))
    class Measure extends Mediator.Query<Measure>()("Measure", { payload: { text: OneWay }, success: OneWay }) {}
    const layer = Mediator.handle(Measure, ({ text }) => Effect.succeed(text === 3 ? 0.5 : text)).pipe(
      on(Mediator.validate)
    )
    return Effect.gen(function*() {
      assert.strictEqual(yield* Mediator.send(new Measure({ text: 4 })), 4)
      assert.instanceOf(yield* defectOf(Mediator.send(new Measure({ text: 3 }))), Mediator.InvalidReply)
      const bad = new Measure({ text: 0.5 }, { disableChecks: true })
      assert.instanceOf(yield* defectOf(Mediator.send(bad)), Mediator.InvalidMessage)
    }).pipe(Effect.provide(layer))
  })
})

describe("timeout", () => {
  class Slow extends Mediator.Command<Slow>()("Slow", { error: [Refused, Mediator.TimedOut] }) {}
  const timeout = Mediator.timeout("5 seconds")

  it.effect("a message that declares it fails with it, and the handler is interrupted", () =>
    Effect.gen(function*() {
      const interrupted = yield* Deferred.make<void>()
      const layer = Mediator.handle(Slow, () =>
        Effect.never.pipe(Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined)))).pipe(on(timeout))
      const fiber = yield* Mediator.send(new Slow()).pipe(Effect.provide(layer), Effect.flip, Effect.forkChild)
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual(error, new Mediator.TimedOut({ messageName: "Slow", millis: 5000 }))
      assert.isTrue(yield* Deferred.isDone(interrupted))
    }))

  it.effect("one that does not dies with it", () =>
    Effect.gen(function*() {
      const fiber = yield* Mediator.send(pay).pipe(
        Effect.provide(payLayer(() => Effect.never, timeout)),
        defectOf,
        Effect.forkChild
      )
      yield* TestClock.adjust("5 seconds")
      const defect = yield* Fiber.join(fiber)
      assert.instanceOf(defect, Mediator.TimedOut)
      assert.include(defect.message, "Pay was not handled within 5000 ms")
    }))

  it.effect("who is in time is left alone", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Mediator.send(pay), 1)
    }).pipe(Effect.provide(payLayer(({ cents }) => Effect.succeed(cents), timeout))))
})

describe("retry", () => {
  const often = Schedule.recurs(3)
  /** Fails so often, then succeeds; says how often it ran. */
  const failing = <E>(times: number, error: E) => {
    const count = { runs: 0 }
    const effect = Effect.suspend(() => ++count.runs > times ? Effect.succeed(zero) : Effect.fail(error))
    return Object.assign(count, { effect })
  }

  it.effect("repeats a query whose error says that it helps", () =>
    Effect.gen(function*() {
      const handler = failing(2, busy)
      assert.strictEqual(
        yield* Effect.provide(Mediator.send(new Balance()), balanceLayer(handler.effect, Mediator.retry(often))),
        zero
      )
      assert.strictEqual(handler.runs, 3)
    }))

  it.effect("as often as the schedule says", () =>
    Effect.gen(function*() {
      const handler = failing(9, busy)
      const error = yield* Mediator.send(new Balance()).pipe(
        Effect.flip,
        Effect.provide(balanceLayer(handler.effect, Mediator.retry(often)))
      )
      assert.strictEqual(error, busy)
      assert.strictEqual(handler.runs, 4)
    }))

  it.effect("no query whose error says nothing of the kind, and no defect", () =>
    Effect.gen(function*() {
      const handler = failing(1, closed)
      const layer = balanceLayer(handler.effect, Mediator.retry(often))
      assert.strictEqual(yield* Effect.provide(Effect.flip(Mediator.send(new Balance())), layer), closed)
      assert.strictEqual(handler.runs, 1)
      let died = 0
      const dying = Effect.suspend(() => Effect.die(++died))
      yield* defectOf(
        Effect.provide(
          Mediator.send(new Balance()),
          balanceLayer(dying, Mediator.retry(often, { while: () => true }))
        )
      )
      assert.strictEqual(died, 1)
    }))

  it.effect("no command, unless told so", () =>
    Effect.gen(function*() {
      class Note extends Mediator.Command<Note>()("Note", { error: EventStore.AppendError }) {}
      const send = (handler: ReturnType<typeof failing<EventStore.EventStoreError>>, retry: Mediator.Middleware) =>
        Mediator.send(new Note()).pipe(
          Effect.exit,
          Effect.provide(Mediator.handle(Note, () => Effect.asVoid(handler.effect)).pipe(on(retry)))
        )
      const first = failing(1, busy)
      assert.isTrue(Exit.isFailure(yield* send(first, Mediator.retry(often))))
      assert.strictEqual(first.runs, 1)
      const second = failing(1, busy)
      const told = Mediator.retry(often, {
        while: (error, message) => message._tag === "Note" && Mediator.repeatingHelps(error)
      })
      assert.isTrue(Exit.isSuccess(yield* send(second, told)))
      assert.strictEqual(second.runs, 2)
    }))

  it("what helps", () => {
    const unavailable = new EventStore.EventStoreError({ reason: new EventStore.StoreUnavailable({ cause: "x" }) })
    assert.deepStrictEqual(
      [busy, unavailable, closed, new EventStore.AppendOutcomeUnknown({ cause: "x" }), new Error("x"), undefined].map(
        Mediator.repeatingHelps
      ),
      [true, true, false, false, false, false]
    )
  })
})

describe("dispatch", () => {
  const dispatch = Mediator.dispatch(Pay, Balance, Ping)
  const at = DateTime.makeUnsafe("2026-01-31T00:00:00Z")
  const all = Layer.mergeAll(
    Mediator.handle(Pay, ({ cents, items = [] }) => {
      if (cents === 0) return Effect.fail(new Closed({ since: at }))
      if (cents === 99) return Effect.succeed(0.5)
      if (cents === 98) return Effect.fail(new Refused({ cents: 0.5 }, { disableChecks: true }))
      return cents < 0 ? Effect.fail(new Refused({ cents })) : Effect.succeed(cents + items.length)
    }),
    Mediator.handle(Balance, () => Effect.succeed({ cents: 5, at })),
    Mediator.handle(Ping, () => Effect.void)
  ).pipe(on())

  it.effect("answers in JSON", () =>
    Effect.gen(function*() {
      const replies = yield* Effect.forEach([
        { _tag: "Pay", cents: 3, items: [{ name: "tea" }] },
        { _tag: "Balance" },
        { _tag: "Ping", more: "than asked for" },
        { _tag: "Pay", cents: -1 },
        { _tag: "Pay", cents: 0 }
      ], (input) => dispatch(JSON.parse(JSON.stringify(input))))
      assert.deepStrictEqual(JSON.parse(JSON.stringify(replies)), [
        { _tag: "Success", value: 4 },
        { _tag: "Success", value: { cents: 5, at: "2026-01-31T00:00:00.000Z" } },
        { _tag: "Success", value: null },
        { _tag: "Failure", error: { _tag: "Refused", cents: -1 } },
        { _tag: "Failure", error: { _tag: "Closed", since: "2026-01-31T00:00:00.000Z" } }
      ])
    }).pipe(Effect.provide(all)))

  const refused = (input: unknown, path: string, messageName?: string) =>
    it.effect(`refuses ${JSON.stringify(input)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(dispatch(input))
        assert.instanceOf(error, Mediator.InvalidMessage)
        assert.deepStrictEqual([error.path, error.messageName], [path, messageName])
        assert.isNotEmpty(error.problem)
      }).pipe(Effect.provide(all)))
  refused(undefined, "$")
  refused(null, "$")
  refused("Ping", "$")
  refused([], "$")
  refused({}, "$._tag")
  refused(Object.create({ _tag: "Ping" }), "$._tag")
  refused({ _tag: 1 }, "$._tag")
  refused({ _tag: "toString" }, "$._tag", "toString")
  refused({ _tag: "Pay" }, "$.cents", "Pay")
  refused({ _tag: "Pay", cents: "3" }, "$.cents", "Pay")
  refused({ _tag: "Pay", cents: 1.5 }, "$.cents", "Pay")
  refused({ _tag: "Pay", cents: 1, items: [{ name: "tea" }, { name: "" }] }, "$.items[1].name", "Pay")

  it.effect("says what messages there are", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(dispatch({ _tag: "Pong" }))
      assert.strictEqual(error.message, "Pong is no valid message: expected one of Pay, Balance, Ping at $._tag")
    }).pipe(Effect.provide(all)))

  it.effect("only what is named can be sent", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Mediator.dispatch(Ping)({ _tag: "Pay", cents: 1 }))
      assert.strictEqual(error._tag, "InvalidMessage")
    }).pipe(Effect.provide(all)))

  it.effect("what a handler gives must fit, or else it is a defect", () =>
    Effect.gen(function*() {
      const success = yield* defectOf(dispatch({ _tag: "Pay", cents: 99 }))
      assert.instanceOf(success, Mediator.InvalidReply)
      assert.deepStrictEqual([success.messageName, success.part, success.path], ["Pay", "success", "$"])
      const error = yield* defectOf(dispatch({ _tag: "Pay", cents: 98 }))
      assert.instanceOf(error, Mediator.InvalidReply)
      assert.deepStrictEqual([error.messageName, error.part, error.path], ["Pay", "error", "$.cents"])
    }).pipe(Effect.provide(all)))

  it.effect("defects stay defects", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* defectOf(dispatch({ _tag: "Ping" })), "on purpose")
    }).pipe(Effect.provide(
      Layer.mergeAll(
        payLayer(() => Effect.succeed(1)),
        balanceLayer(Effect.succeed(zero)),
        Mediator.handle(Ping, () => Effect.die("on purpose")).pipe(on())
      )
    )))

  it.effect("what has no JSON is a defect", () => {
    class Odd extends Mediator.Query<Odd>()("Odd", { success: Schema.instanceOf(WeakSet) }) {}
    const layer = Mediator.handle(Odd, () => Effect.succeed(new WeakSet())).pipe(on())
    return Effect.gen(function*() {
      assert.instanceOf(yield* defectOf(Mediator.dispatch(Odd)({ _tag: "Odd" })), Mediator.InvalidReply)
    }).pipe(Effect.provide(layer))
  })
})

describe("spans and metrics", () => {
  const collect = () => {
    const { spans, tracer } = collectSpans()
    return { spans, traced: Effect.withTracer(tracer) }
  }

  it.effect("each message has a span below its sender's, and its handler's are below it", () => {
    const { spans, traced } = collect()
    return Effect.gen(function*() {
      yield* Mediator.send(pay).pipe(Effect.withSpan("sender"))
      const [of, sender, inside] = ["Mediator.Pay", "sender", "inside"].map((name) =>
        spans.find((span) => span.name === name)!
      )
      assert.strictEqual(Option.getOrThrow(of!.parent).spanId, sender!.spanId)
      assert.strictEqual(Option.getOrThrow(inside!.parent).spanId, of!.spanId)
      assert.strictEqual(of!.kind, "internal")
      assert.deepStrictEqual(Object.fromEntries(of!.attributes), {
        "opossum.message.name": "Pay",
        "opossum.message.kind": "command"
      })
    }).pipe(
      Effect.provide(payLayer(() => Effect.withSpan(Effect.succeed(1), "inside"))),
      // The layer is built in this one, which must not be the handler's parent.
      Effect.withSpan("builder"),
      traced
    )
  })

  const outcomes = (effect: Effect.Effect<number, Refused | Closed>, type: string | undefined, outcome: string) =>
    it.effect(`tell of ${outcome}: ${type}`, () => {
      const { spans, traced } = collect()
      return Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const layer = payLayer(() => Effect.andThen(Deferred.succeed(begun, undefined), effect))
        const fiber = yield* Mediator.send(pay).pipe(Effect.provide(layer), Effect.exit, Effect.forkChild)
        yield* Deferred.await(begun)
        if (outcome === "interrupted") yield* Fiber.interrupt(fiber)
        else {
          yield* TestClock.adjust("3 millis")
          yield* Fiber.join(fiber)
        }
        const span = spans.find(({ name }) => name === "Mediator.Pay")
        assert.strictEqual(span?.attributes.get("error.type"), type)
        const found = (yield* Metric.snapshot).filter(({ id }) => id.startsWith("opossum_message"))
        const attributes = { message: "Pay", kind: "command", outcome }
        assert.deepStrictEqual(
          found.map(({ attributes, id, state }) => ({
            id,
            attributes,
            count: (state as { readonly count: number }).count,
            sum: (state as { readonly sum?: number }).sum
          })).toSorted((a, b) => a.id < b.id ? -1 : 1),
          [
            {
              id: "opossum_message_duration",
              attributes: { time_unit: "milliseconds", ...attributes },
              count: 1,
              sum: outcome === "interrupted" ? 0 : 3
            },
            { id: "opossum_messages", attributes, count: 1, sum: undefined }
          ]
        )
      }).pipe(traced, Effect.provideService(Metric.MetricRegistry, new Map()))
    })
  const after = Effect.sleep("3 millis")
  outcomes(Effect.as(after, 1), undefined, "success")
  outcomes(Effect.andThen(after, Effect.fail(new Refused({ cents: 1 }))), "Refused", "failure")
  outcomes(Effect.andThen(after, Effect.die(new TypeError("x"))), "TypeError", "defect")
  outcomes(Effect.andThen(after, Effect.die("x")), "string", "defect")
  outcomes(Effect.never, undefined, "interrupted")

  it.effect("a query is told as such, and repetitions are one message", () =>
    Effect.gen(function*() {
      let runs = 0
      const handler = Effect.suspend(() => ++runs < 3 ? Effect.fail(busy) : Effect.succeed(zero))
      yield* Effect.provide(
        Mediator.send(new Balance()),
        balanceLayer(handler, Mediator.retry(Schedule.recurs(5)))
      )
      const found = (yield* Metric.snapshot).find(({ id }) => id === "opossum_messages")
      assert.deepStrictEqual(found?.attributes, { message: "Balance", kind: "query", outcome: "success" })
      assert.strictEqual((found?.state as { readonly count: number } | undefined)?.count, 1)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})
