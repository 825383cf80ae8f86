/** What every Lock does, but for the one that is granted to everybody. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { type AcquireOptions, type Held, Lock } from "../../src/services/Lock.ts"

const name = "shop/writer"

const acquire = (options?: AcquireOptions) => Effect.flatMap(Lock, (lock) => lock.acquire(name, options))

/** The lock, with a scope of its own to give it up. */
const hold = (options?: AcquireOptions) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const held = yield* Scope.provide(acquire(options), scope)
    return { ...held, release: Scope.close(scope, Exit.void) }
  })

/** Begins to wait before it returns. */
const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Takes the lock, notes it, gives it up. */
const visit = (who: string, order: Array<string>, body: Effect.Effect<void> = Effect.void) =>
  Effect.scoped(Effect.andThen(acquire(), Effect.andThen(Effect.sync(() => order.push(who)), body)))

const isContended = (held: Pick<Held, "isContended">) => held.isContended

/** `layer` makes a lock whose names may begin with the folder `shop`. Each test builds it anew. */
export const suite = <E>(title: string, layer: Layer.Layer<Lock, E>): void => {
  const test = <A, E2>(title: string, body: () => Effect.Effect<A, E2, Lock | Scope.Scope>) =>
    it.effect(title, () => Effect.suspend(body).pipe(Effect.provide(layer)))

  describe(`Lock: ${title}`, () => {
    test("is held by one at a time", () =>
      Effect.gen(function*() {
        let inside = 0
        let visits = 0
        yield* Effect.forEach(
          Array.from({ length: 20 }),
          () =>
            Effect.scoped(Effect.gen(function*() {
              yield* acquire()
              inside += 1
              for (let i = 0; i < 3; i++) {
                assert.strictEqual(inside, 1)
                yield* Effect.yieldNow
              }
              inside -= 1
              visits += 1
            })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(visits, 20)
      }))

    test("is given to those who wait in the order in which they came", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const held = yield* hold()
        const fibers = []
        for (const who of ["a", "b", "c", "d", "e"]) fibers.push(yield* fork(visit(who, order)))
        yield* held.release
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["a", "b", "c", "d", "e"])
      }))

    test("goes to those who wait before whoever gave it up and asks again", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const held = yield* hold()
        const a = yield* fork(visit("a", order))
        const b = yield* fork(visit("b", order))
        yield* held.release
        yield* visit("again", order)
        yield* Fiber.joinAll([a, b])
        assert.deepStrictEqual(order, ["a", "b", "again"])
      }))

    test("names are locks of their own", () =>
      Effect.gen(function*() {
        const lock = yield* Lock
        const held = yield* lock.acquire("shop/writer")
        yield* lock.acquire("shop/projections", { timeout: 0 })
        assert.isFalse(yield* held.isContended)
      }))

    test("a time-out says who holds it, and how long was waited", () =>
      Effect.gen(function*() {
        yield* acquire()
        const fiber = yield* fork(Effect.flip(Effect.scoped(acquire({ timeout: "3 seconds" }))))
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        const error = yield* Fiber.join(fiber)
        assert(error._tag === "LockTimeout")
        assert.strictEqual(error.name, name)
        assert.strictEqual(error.waitedMillis, 3000)
        assert.strictEqual(error.holder?.pid, process.pid)
        assert.strictEqual(error.holder?.since, "1970-01-01T00:00:00.000Z")
      }))

    test("waits five seconds by default", () =>
      Effect.gen(function*() {
        yield* acquire()
        const fiber = yield* fork(Effect.flip(Effect.scoped(acquire())))
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "LockTimeout")
      }))

    test("a time-out of zero tries once", () =>
      Effect.gen(function*() {
        const held = yield* hold({ timeout: 0 })
        assert.strictEqual((yield* Effect.flip(Effect.scoped(acquire({ timeout: 0 }))))._tag, "LockTimeout")
        assert.isFalse(yield* held.isContended)
        yield* held.release
        yield* Effect.scoped(acquire({ timeout: 0 }))
      }))

    test("who gave up waiting is out of the queue", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const held = yield* hold()
        const first = yield* fork(Effect.flip(Effect.scoped(acquire({ timeout: "1 seconds" }))))
        const second = yield* fork(visit("second", order))
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.join(first)
        assert.isTrue(yield* held.isContended)
        yield* held.release
        yield* Fiber.join(second)
        assert.deepStrictEqual(order, ["second"])
      }))

    test("who is interrupted while waiting leaves nothing", () =>
      Effect.gen(function*() {
        const held = yield* hold()
        const fiber = yield* fork(Effect.scoped(acquire()))
        assert.isTrue(yield* held.isContended)
        yield* Fiber.interrupt(fiber)
        assert.isFalse(yield* held.isContended)
        yield* held.release
        yield* acquire({ timeout: 0 })
      }))

    test("who is interrupted in the moment in which its turn comes passes it on", () =>
      Effect.gen(function*() {
        const held = yield* hold()
        const first = yield* fork(Effect.scoped(Effect.andThen(acquire(), Effect.never)))
        const second = yield* fork(Effect.scoped(acquire()))
        yield* held.release
        // Its turn has come, but it has not run since.
        yield* Fiber.interrupt(first)
        yield* Fiber.join(second)
        yield* acquire({ timeout: 0 })
      }))

    test("is given up when its scope closes: after success, failure, interruption", () =>
      Effect.gen(function*() {
        yield* Effect.scoped(acquire({ timeout: 0 }))
        yield* Effect.exit(Effect.scoped(Effect.andThen(acquire({ timeout: 0 }), Effect.fail("no"))))
        const fiber = yield* fork(Effect.scoped(Effect.andThen(acquire({ timeout: 0 }), Effect.never)))
        yield* Fiber.interrupt(fiber)
        yield* acquire({ timeout: 0 })
      }))

    test("is contended while somebody waits", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const held = yield* hold()
        assert.isFalse(yield* isContended(held))
        const first = yield* fork(visit("first", order, Effect.never))
        assert.isTrue(yield* isContended(held))
        const second = yield* fork(Effect.scoped(Effect.flatMap(acquire(), isContended)))
        yield* held.release
        yield* Fiber.interrupt(first)
        assert.isFalse(yield* Fiber.join(second))
      }))

    test("is not lost while it is held", () =>
      Effect.gen(function*() {
        const held = yield* acquire()
        assert.isFalse(yield* held.isLost)
      }))

    test("tells who holds it, without asking for it", () =>
      Effect.gen(function*() {
        const { holder } = yield* Lock
        assert.isUndefined(yield* holder(name))
        const held = yield* hold()
        assert.strictEqual((yield* holder(name))?.pid, process.pid)
        assert.strictEqual((yield* holder(name))?.since, "1970-01-01T00:00:00.000Z")
        assert.isUndefined(yield* holder("shop/other"))
        assert.isUndefined(yield* holder("nowhere/writer"))
        assert.isFalse(yield* held.isContended)
        yield* held.release
        assert.isUndefined(yield* holder(name))
      }))

    test("serves a long queue", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const names = Array.from({ length: 1000 }, (_, i) => String(i))
        const held = yield* hold()
        const fibers = []
        for (const who of names) fibers.push(yield* fork(visit(who, order)))
        yield* held.release
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, names)
      }))
  })
}
