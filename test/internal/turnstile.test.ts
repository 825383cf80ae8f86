import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as turnstile from "../../src/internal/turnstile.ts"

const item = (types: string, tags: string): turnstile.Item => ({
  types: types === "" ? [] : types.split(" "),
  tags: tags === "" ? [] : tags.split(" ")
})
const gateOf = (limit = 100) => turnstile.make({ limit })
/** Long enough to be never. */
const forEver = 2 ** 31 - 1

const enter = (gate: turnstile.Turnstile, ...wish: ReadonlyArray<turnstile.Item>): turnstile.Ticket =>
  gate.enter(wish) ?? assert.fail("the queue is full")

/** Whether its turn is there already. */
const isFree = (ticket: turnstile.Ticket) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(ticket.turn(forEver), { startImmediately: true })
    yield* Effect.yieldNow
    yield* Effect.yieldNow
    const free = fiber.pollUnsafe() !== undefined
    yield* Fiber.interrupt(fiber)
    return free
  })

describe("who stands in whose way", () => {
  const pairs: ReadonlyArray<readonly [turnstile.Item, turnstile.Item, boolean]> = [
    [item("A", "a"), item("A", "a"), true],
    [item("A", "a"), item("A", "b"), false],
    [item("A", "a"), item("B", "a"), false],
    [item("A B", "a"), item("B C", "a"), true],
    [item("", "a"), item("B", "a"), true],
    [item("A", "a b"), item("A", "a"), true],
    [item("A", "a b"), item("A", "b"), true],
    [item("A", "a b"), item("A", "a c"), false],
    [item("A", "a b"), item("A", "b a"), true],
    [item("A", "a b c"), item("A", "c b"), true],
    [item("A", ""), item("A", "a"), true],
    [item("A", ""), item("B", "a"), false],
    [item("", ""), item("B", "a b"), true],
    [item("", ""), item("", ""), true]
  ]
  for (const [a, b, expected] of pairs) {
    it.effect(`${a.types} [${a.tags}] and ${b.types} [${b.tags}]: ${expected ? "wait" : "go on"}`, () =>
      Effect.gen(function*() {
        for (const [first, second] of [[a, b], [b, a]] as const) {
          const gate = gateOf()
          const before = enter(gate, first)
          const ticket = enter(gate, second)
          assert.isTrue(yield* isFree(before))
          assert.strictEqual(yield* isFree(ticket), !expected)
          before.leave()
          assert.isTrue(yield* isFree(ticket))
        }
      }))
  }

  it.effect("who wants nothing waits for nobody", () =>
    Effect.gen(function*() {
      const gate = gateOf()
      enter(gate, item("", ""))
      const none = enter(gate)
      assert.isTrue(yield* isFree(none))
      none.leave()
      assert.strictEqual(gate.size(), 1)
    }))

  it.effect("who overlaps in several ways counts once", () =>
    Effect.gen(function*() {
      const gate = gateOf()
      const first = enter(gate, item("A", "a"), item("A", "a b"), item("B", ""), item("A", "b"))
      const second = enter(gate, item("A", "b"), item("", "a"), item("B", "b"))
      assert.isFalse(yield* isFree(second))
      first.leave()
      assert.isTrue(yield* isFree(second))
    }))

  const names = Schema.Literals(["a", "b", "c", "d"])
  const Wish = Schema.Array(Schema.Struct({
    types: Schema.Array(names).check(Schema.isMaxLength(2)),
    tags: Schema.UniqueArray(names).check(Schema.isMaxLength(3))
  })).check(Schema.isMaxLength(3))
  const Steps = Schema.Array(Schema.Union([Wish, Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 30 }))]))

  it.effect.prop("is what a look at all pairs says", [Steps], ([steps]) =>
    Effect.gen(function*() {
      const overlap = (one: ReadonlyArray<turnstile.Item>, other: ReadonlyArray<turnstile.Item>) =>
        one.some((a) =>
          other.some((b) =>
            (a.types.length === 0 || b.types.length === 0 || a.types.some((type) => b.types.includes(type))) &&
            (a.tags.every((tag) => b.tags.includes(tag)) || b.tags.every((tag) => a.tags.includes(tag)))
          )
        )
      const gate = gateOf()
      const present: Array<{ readonly wish: ReadonlyArray<turnstile.Item>; readonly ticket: turnstile.Ticket }> = []
      for (const step of steps) {
        // anybody may leave, also before their turn
        if (typeof step === "number") present.splice(step, 1)[0]?.ticket.leave()
        else present.push({ wish: step, ticket: enter(gate, ...step) })
        assert.strictEqual(gate.size(), present.length)
        for (const [i, { ticket, wish }] of present.entries()) {
          const expected = !present.slice(0, i).some((other) => overlap(other.wish, wish))
          assert.strictEqual(yield* isFree(ticket), expected, JSON.stringify(steps))
        }
      }
    }), { arbitrary: { runs: 300 } })
})

describe("turns", () => {
  /** Goes through when its turn comes, notes it, and leaves. */
  const pass = (ticket: turnstile.Ticket, note: () => void, atMost = forEver) =>
    Effect.onExit(
      Effect.andThen(ticket.turn(atMost), Effect.sync(note)),
      () => Effect.sync(ticket.leave)
    )

  it.effect("come in the order of coming", () =>
    Effect.gen(function*() {
      const gate = gateOf()
      const order: Array<number> = []
      const tickets = Array.from({ length: 20 }, () => enter(gate, item("A", "a")))
      // those behind ask first
      const fibers = yield* Effect.forEach(
        [...tickets.entries()].reverse(),
        ([i, ticket]) => Effect.forkChild(pass(ticket, () => order.push(i)), { startImmediately: true })
      )
      yield* Fiber.joinAll(fibers)
      assert.deepStrictEqual(order, Array.from({ length: 20 }, (_, i) => i))
      assert.strictEqual(gate.size(), 0)
    }))

  it.effect("a long queue is no deep stack", () =>
    Effect.gen(function*() {
      const gate = gateOf(100_000)
      let passed = 0
      const first = enter(gate, item("A", "a"))
      const fibers = yield* Effect.forEach(
        Array.from({ length: 3000 }, () => enter(gate, item("A", "a"))),
        (ticket) => Effect.forkChild(pass(ticket, () => passed++), { startImmediately: true })
      )
      first.leave()
      // whoever is next did not run inside of `leave`
      assert.strictEqual(passed, 0)
      yield* Fiber.joinAll(fibers)
      assert.strictEqual(passed, 3000)
    }))

  it.effect("who leaves before the turn holds nobody up", () =>
    Effect.gen(function*() {
      const gate = gateOf()
      const first = enter(gate, item("A", "a"))
      const second = enter(gate, item("A", "a"))
      const third = enter(gate, item("A", "a"))
      const fiber = yield* Effect.forkChild(pass(second, () => assert.fail("it was interrupted")), {
        startImmediately: true
      })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual([first.isOver, second.isOver, yield* isFree(third)], [false, true, false])
      first.leave()
      assert.isTrue(yield* isFree(third))
    }))

  it.effect("waiting is bounded, by real time, and those behind still wait", () =>
    Effect.gen(function*() {
      const gate = gateOf()
      const first = enter(gate, item("A", "a"))
      const second = enter(gate, item("A", "a"))
      yield* second.turn(5)
      const third = enter(gate, item("A", "a"))
      first.leave()
      assert.isFalse(yield* isFree(third))
      second.leave()
      assert.isTrue(yield* isFree(third))
    }))

  it.live("a long queue is waited in as long as it moves", () =>
    Effect.gen(function*() {
      const gate = gateOf()
      const others = Array.from({ length: 15 }, () => enter(gate, item("A", "a")))
      const last = enter(gate, item("A", "a"))
      const waiting = yield* Effect.forkChild(last.turn(400), { startImmediately: true })
      for (const ticket of others) {
        yield* Effect.sleep(40)
        assert.isUndefined(waiting.pollUnsafe())
        ticket.leave()
      }
      yield* Fiber.join(waiting)
    }))

  it("the queue is bounded", () => {
    const gate = gateOf(2)
    const first = enter(gate, item("A", "a"))
    enter(gate, item("B", ""))
    assert.isUndefined(gate.enter([item("C", "")]))
    first.leave()
    enter(gate, item("C", ""))
  })
})
