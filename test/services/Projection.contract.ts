/**
 * What projections promise, whatever event store and state store they stand on: run with `suite(name, options)`.
 *
 * `layer` is built anew for each rule. `again` opens the same place once more, as another process would; where it is given, so are
 * rules about restarts and about two processes.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Event from "../../src/Event.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import * as Projection from "../../src/services/Projection.ts"
import * as Tag from "../../src/Tag.ts"

type Services = EventStore.EventStore | Maintenance.EventStoreMaintenance | Projection.Projections

export interface Options {
  /** An empty store, and projections on it. */
  readonly layer: Layer.Layer<Services, unknown>
  /** Makes a place that outlives its layers. */
  readonly place?: Effect.Effect<Open, never, Scope.Scope>
}

// events

const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
class Defined extends Event.Class<Defined>()("Defined", { course: CourseId, capacity: Schema.Int }) {}
class Subscribed extends Event.Class<Subscribed>()("Subscribed", { course: CourseId, student: Schema.String }) {}
class Left extends Event.Class<Left>()("Left", { course: CourseId, student: Schema.String }) {}
class Closed extends Event.Class<Closed>()("Closed", { course: CourseId }) {}
class Moved extends Event.Class<Moved>()("Moved", { from: CourseId, to: CourseId, student: Schema.String }) {}
class Other extends Event.Class<Other>()("Other", { n: Schema.Int }) {}

const State = Schema.Struct({ capacity: Schema.Int, students: Schema.Array(Schema.String) })

class Courses extends Projection.Service<Courses>()("courses", {
  events: [Defined, Subscribed, Left, Closed, Moved],
  key: (event) => event._tag === "Moved" ? [event.from, event.to] : event.course,
  state: State,
  tags: ({ capacity, students }) => [
    `full:${students.length >= capacity}`,
    ...students.map((student) => `student:${student}` as const)
  ],
  apply: {
    Defined: (_, { capacity }) => ({ capacity, students: [] }),
    Subscribed: (state, { student }) => state && { ...state, students: [...state.students, student] },
    Left: (state, { student }) => state && { ...state, students: state.students.filter((s) => s !== student) },
    Closed: () => undefined,
    Moved: (state, { from, student }, { key }) =>
      state && {
        ...state,
        students: key === from ? state.students.filter((s) => s !== student) : [...state.students, student]
      }
  }
}) {}

/** All in one state. */
class Totals extends Projection.Service<Totals>()("totals", {
  events: [Subscribed, Left],
  key: () => "all",
  state: Schema.Struct({ count: Schema.Int }),
  apply: {
    Subscribed: (state) => ({ count: (state?.count ?? 0) + 1 }),
    Left: (state) => ({ count: (state?.count ?? 0) + 1 })
  }
}) {}

const defined = (course: string, capacity = 2) => new Defined({ course, capacity })
const subscribed = (course: string, student: string) => new Subscribed({ course, student })

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** A projection of its own for one rule, counting `Other`s by their number modulo three. */
const counter = (options: {
  readonly name?: string
  readonly version?: number
  readonly before?: (n: number) => void
}) => {
  class Counter extends Projection.Service<Counter>()(options.name ?? "counter", {
    version: options.version ?? 1,
    events: [Other],
    key: ({ n }) => `k${n % 3}`,
    state: Schema.Struct({ numbers: Schema.Array(Schema.Int) }),
    apply: {
      Other: (state, { n }) => {
        options.before?.(n)
        return { numbers: [...state?.numbers ?? [], n] }
      }
    }
  }) {}
  return Counter
}
const others = (from: number, to: number) => range(from, to).map((n) => new Other({ n }))
const numbersOf = (entries: ReadonlyArray<Projection.Entry<{ readonly numbers: ReadonlyArray<number> }>>) =>
  Object.fromEntries(entries.map(({ key, state }) => [key, state.numbers]))
const expected = (to: number) => {
  const out: Record<string, Array<number>> = {}
  for (const n of range(1, to)) (out[`k${n % 3}`] ??= []).push(n)
  return out
}

const all = <S, K extends string, T extends Tag.Input, R>(model: Projection.ReadModel<S, K, T, R>) =>
  Stream.runCollect(model.stream())

/** Looks until it is so: what happens in the background has no moment of its own. */
const until = <A, E, R>(look: Effect.Effect<A, E, R>, isSo: (value: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    for (;;) {
      const value = yield* look
      if (isSo(value)) return value
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))
    }
  })

// rules

export interface Rule {
  readonly name: string
  readonly run: Effect.Effect<unknown, unknown, Services | Scope.Scope>
}

/** Of one store that is open. */
export const rules: Array<Rule> = []
const rule = <A>(
  name: string,
  run: () => Generator<Effect.Effect<unknown, unknown, Services | Scope.Scope>, A, never>
) => void rules.push({ name, run: Effect.gen(run) })

const started = <A, E, R, B, E2, R2>(layers: Layer.Layer<A, E, R>, effect: Effect.Effect<B, E2, R2>) =>
  Effect.provide(effect, Layer.fresh(layers))

rule("states follow events: get, entry, list, byTag, size", function*() {
  yield* started(
    Courses.layer,
    Effect.gen(function*() {
      yield* EventStore.append([defined("maths", 1), defined("art"), subscribed("maths", "anna")])
      const { head } = yield* EventStore.append(subscribed("art", "anna"))
      yield* Courses.waitFor(head)
      assert.deepStrictEqual(yield* Courses.get("maths"), { capacity: 1, students: ["anna"] })
      assert.isUndefined(yield* Courses.get("nothing"))
      assert.isUndefined(yield* Courses.entry("nothing"))
      assert.deepStrictEqual((yield* Courses.list()).entries.map(({ key }) => key), ["art", "maths"])
      assert.deepStrictEqual((yield* Courses.byTag("full:true")).map(({ key }) => key), ["maths"])
      assert.deepStrictEqual((yield* Courses.byTag("student:anna")).map(({ key }) => key), ["art", "maths"])
      assert.deepStrictEqual((yield* Courses.byTag("student:anna", "full:false")).map(({ key }) => key), ["art"])
      assert.deepStrictEqual(yield* Courses.byTag("student:ben"), [])
      assert.strictEqual(yield* Courses.size, 2)
    })
  )
})

rule("an event may change several states, or none; `undefined` removes one", function*() {
  yield* started(
    Courses.layer,
    Effect.gen(function*() {
      yield* EventStore.append([defined("a"), defined("b"), subscribed("a", "anna"), subscribed("none", "ben")])
      yield* Courses.waitFor(
        (yield* EventStore.append([new Moved({ from: "a", to: "b", student: "anna" }), new Other({ n: 1 })])).head
      )
      assert.strictEqual(yield* Courses.size, 2)
      const { head } = yield* EventStore.append(new Closed({ course: "a" }))
      yield* Courses.waitFor(head)
      assert.isUndefined(yield* Courses.get("a"))
      assert.deepStrictEqual(yield* Courses.get("b"), { capacity: 2, students: ["anna"] })
      assert.strictEqual(yield* Courses.size, 1)
      assert.deepStrictEqual((yield* Courses.byTag("student:anna")).map(({ key }) => key), ["b"])
    })
  )
})

rule("an entry tells position, version and the times of its events", function*() {
  yield* started(
    Courses.layer,
    Effect.gen(function*() {
      const at = (day: number) => DateTime.makeUnsafe(`2026-01-0${day}T12:00:00.000Z`)
      const { positions: [, second] } = yield* EventStore.append([
        Event.withMetadata(defined("maths"), { timestamp: at(1) }),
        Event.withMetadata(subscribed("maths", "anna"), { timestamp: at(2) })
      ])
      yield* Courses.waitFor((yield* EventStore.append(new Other({ n: 1 }))).head)
      const entry = yield* Courses.entry("maths")
      assert.deepStrictEqual(entry, {
        key: "maths",
        state: { capacity: 2, students: ["anna"] },
        position: second!,
        version: 2,
        created: at(1),
        updated: at(2)
      })
      // made anew after it was removed, it begins anew
      yield* EventStore.append(new Closed({ course: "maths" }))
      yield* Courses.waitFor(
        (yield* EventStore.append(Event.withMetadata(defined("maths"), { timestamp: at(3) }))).head
      )
      const again = yield* Courses.entry("maths")
      assert.deepStrictEqual([again?.version, again?.created], [1, at(3)])
    })
  )
})

rule("events of the past are counted when a projection starts, in whatever number", function*() {
  for (const from of range(0, 2)) yield* EventStore.append(others(from * 1000 + 1, from * 1000 + 1000))
  const { head } = yield* EventStore.append(others(3001, 3007))
  const Counter = counter({})
  yield* started(
    Counter.layer,
    Effect.gen(function*() {
      yield* Counter.waitFor(head)
      assert.deepStrictEqual(numbersOf(yield* all(Counter)), expected(3007))
    })
  )
})

rule("waiting for a position: of any event, of none, and beyond the head", function*() {
  yield* started(
    Courses.layer,
    Effect.gen(function*() {
      yield* Courses.waitFor(undefined)
      const { head } = yield* EventStore.append(new Other({ n: 1 }))
      yield* Courses.waitFor(head)
      const waiting = yield* Effect.forkScoped(Courses.waitFor(head + 2 as Position), { startImmediately: true })
      yield* EventStore.append(new Other({ n: 2 }))
      yield* Courses.waitFor(head + 1 as Position)
      assert.isUndefined(waiting.pollUnsafe())
      yield* EventStore.append(new Other({ n: 3 }))
      yield* Fiber.join(waiting)
      const status = yield* until(Courses.status, ({ state }) => state === "live")
      assert.deepStrictEqual([status.position, status.lag], [head + 2, 0])
      for (const n of range(1, 50)) {
        const { head } = yield* EventStore.append(n % 2 === 0 ? new Other({ n }) : defined(`c${n}`))
        yield* Courses.waitFor(head)
        assert.isAtLeast((yield* Courses.status).position!, head)
      }
    })
  )
})

rule("related events are those from before the event", function*() {
  class Names extends Projection.Service<Names>()("names", {
    events: [Subscribed],
    key: ({ student }) => student,
    state: Schema.Array(Schema.Number),
    related: ({ course }) => Query.of(Defined, { course }),
    apply: {
      Subscribed: (state, _, { related }) => [...state ?? [], ...related.map(({ event }) => event.capacity)]
    }
  }) {}
  yield* EventStore.append([defined("a", 1), subscribed("a", "anna"), defined("a", 2)])
  const { head } = yield* EventStore.append([subscribed("a", "anna"), defined("a", 3)])
  yield* started(
    Names.layer,
    Effect.gen(function*() {
      yield* Names.waitFor(head)
      assert.deepStrictEqual(yield* Names.get("anna"), [1, 1, 2])
      yield* Stream.runDrain(Names.rebuild)
      assert.deepStrictEqual(yield* Names.get("anna"), [1, 1, 2])
    })
  )
})

rule("pages, in every order, forwards and backwards", function*() {
  yield* started(
    Courses.layer,
    Effect.gen(function*() {
      const keys = ["m", "B", "a", "z", "ä", "A", "😀", "～", "0"]
      // created in this order, updated in the opposite one
      const noon = DateTime.makeUnsafe("2026-01-01T12:00:00.000Z")
      for (const key of keys) yield* EventStore.append(Event.withMetadata(defined(key), { timestamp: noon }))
      let head: Position | undefined
      for (const [i, key] of [...keys].reverse().entries()) {
        const timestamp = DateTime.makeUnsafe(Date.UTC(2030, 0, i + 1))
        head = (yield* EventStore.append(Event.withMetadata(subscribed(key, "s"), { timestamp }))).head
      }
      yield* Courses.waitFor(head)
      const pages = (options: Projection.ListOptions) =>
        Effect.gen(function*() {
          const out: Array<string> = []
          let after: Projection.Cursor | undefined
          do {
            const page: Projection.Page<unknown, string> = yield* Courses.list({ ...options, after, limit: 2 })
            assert.isAtMost(page.entries.length, 2)
            out.push(...page.entries.map(({ key }) => key))
            after = page.next
          } while (after !== undefined)
          return out
        })
      const byKey = ["0", "A", "B", "a", "m", "z", "ä", "～", "😀"]
      assert.deepStrictEqual(yield* pages({}), byKey)
      assert.deepStrictEqual(yield* pages({ backwards: true }), [...byKey].reverse())
      // all created at one instant: then by key
      assert.deepStrictEqual(yield* pages({ sort: "created" }), byKey)
      assert.deepStrictEqual(yield* pages({ sort: "updated" }), [...keys].reverse())
      assert.deepStrictEqual(yield* pages({ sort: "updated", backwards: true }), keys)
      assert.deepStrictEqual((yield* all(Courses)).map(({ key }) => key), byKey)
      const { next } = yield* Courses.list({ limit: 1 })
      for (const options of [{ after: next, sort: "updated" as const }, { limit: 0 }, { limit: 1.5 }]) {
        const exit = yield* Effect.exit(Courses.list(options))
        assert.isTrue(Exit.hasDies(exit))
      }
    })
  )
})

rule("what throws once is counted exactly once, and the others never stop", function*() {
  let left = 2
  const Shaky = counter({
    name: "shaky",
    before: (n) => {
      if (n === 5 && left-- > 0) throw new Error("not now")
    }
  })
  const Steady = counter({ name: "steady" })
  yield* started(
    Layer.mergeAll(Shaky.layer, Steady.layer),
    Effect.gen(function*() {
      const { head } = yield* EventStore.append(others(1, 9))
      yield* Steady.waitFor(head)
      yield* until(Effect.exit(Shaky.waitFor(head)), Exit.isSuccess)
      assert.deepStrictEqual(numbersOf(yield* all(Shaky)), expected(9))
      assert.deepStrictEqual(numbersOf(yield* all(Steady)), expected(9))
      // what was read is there a moment before the runner says so
      const status = yield* until(Shaky.status, ({ state }) => state === "live")
      assert.isUndefined(status.error)
      assert.isBelow(left, 0)
    })
  )
})

rule(
  "what throws stops where it is, visibly; readers keep what there is; it goes on when it is mended",
  function*() {
    let isBroken = true
    const Broken = counter({
      before: (n) => {
        if (n === 5 && isBroken) throw new Error("five is too many")
      }
    })
    yield* started(
      Broken.layer,
      Effect.gen(function*() {
        const first = yield* EventStore.append(others(1, 3))
        yield* Broken.waitFor(first.head)
        const { head } = yield* EventStore.append(others(4, 9))
        const error = yield* Effect.flip(Broken.waitFor(head))
        assert.strictEqual(error._tag, "ProjectionStopped")
        assert.include(error.message, "five is too many")
        const status = yield* Broken.status
        assert.strictEqual(status.state, "stopped")
        assert.strictEqual(status.position, head - 5)
        assert.strictEqual(status.lag, 5)
        assert.deepStrictEqual(numbersOf(yield* all(Broken)), expected(4))
        // before where it stands, nothing fails
        yield* Broken.waitFor(first.head)
        isBroken = false
        yield* until(Effect.exit(Broken.waitFor(head)), Exit.isSuccess)
        assert.deepStrictEqual(numbersOf(yield* all(Broken)), expected(9))
      })
    )
  }
)

rule("a state that cannot be stored stops it at the event that made it", function*() {
  class Strict extends Projection.Service<Strict>()("strict", {
    events: [Other],
    key: ({ n }) => n % 2 === 0 ? "even" : "odd",
    state: Schema.Number,
    apply: { Other: (_, { n }) => n === 4 ? Number.NaN : n === 8 ? ("eight" as never) : n }
  }) {}
  const { head } = yield* EventStore.append(others(1, 9))
  yield* started(
    Strict.layer,
    Effect.gen(function*() {
      const error = yield* Effect.flip(Strict.waitFor(head))
      assert.strictEqual(error._tag === "ProjectionStopped" && error.reason._tag, "EventFailed")
      // NaN is a number, for the schema and as the text that stands for it in JSON
      const status = yield* Strict.status
      assert.strictEqual(
        status.error?._tag === "ProjectionStopped" && status.error.reason._tag === "EventFailed"
          ? status.error.reason.position
          : undefined,
        head - 1
      )
    })
  )
})

rule("a state that `apply` changes in place before it throws is not spoilt", function*() {
  let left = 3
  class Careless extends Projection.Service<Careless>()("careless", {
    events: [Other],
    key: () => "all",
    state: Schema.Struct({ numbers: Schema.mutable(Schema.Array(Schema.Int)) }),
    apply: {
      Other: (state = { numbers: [] }, { n }) => {
        state.numbers.push(n)
        if (n === 7 && left-- > 0) throw new Error("too late")
        return state
      }
    }
  }) {}
  yield* started(
    Careless.layer,
    Effect.gen(function*() {
      yield* Careless.waitFor((yield* EventStore.append(others(1, 3))).head)
      const { head } = yield* EventStore.append(others(4, 9))
      yield* until(Effect.exit(Careless.waitFor(head)), Exit.isSuccess)
      assert.deepStrictEqual(yield* Careless.get("all"), { numbers: range(1, 9) })
      assert.strictEqual((yield* Careless.entry("all"))?.version, 9)
    })
  )
})

rule("whatever is thrown, it stops in order and is mended in order", function*() {
  let thrown: unknown = Object.create(null)
  const Odd = counter({
    before: () => {
      if (thrown !== "nothing") throw thrown
    }
  })
  const { head } = yield* EventStore.append(others(1, 3))
  yield* started(
    Odd.layer,
    Effect.gen(function*() {
      const error = yield* Effect.flip(Odd.waitFor(head))
      assert.include(error.message, "cannot be counted: [object Object]")
      thrown = undefined
      yield* until(Odd.status, ({ error }) => error?.message.includes("cannot be counted: undefined") === true)
      thrown = "nothing"
      yield* until(Effect.exit(Odd.waitFor(head)), Exit.isSuccess)
    })
  )
})

rule("bad keys and tags stop it, with what is wrong", function*() {
  for (
    const [key, tags, problem] of [
      ["", [], "is empty"],
      ["x".repeat(1025), [], "longer than"],
      ["\ud800", [], "surrogate"],
      ["k", ["nonsense"], "nonsense"]
    ] as const
  ) {
    class Bad extends Projection.Service<Bad>()(`bad ${problem}`, {
      events: [Other],
      key: ({ n }) => n === 2 ? key : "fine",
      state: Schema.Int,
      tags: (_, name) => name === key ? tags as never : [],
      apply: { Other: (_, { n }) => n }
    }) {}
    const { head } = yield* EventStore.append(others(1, 3))
    yield* started(
      Bad.layer,
      Effect.gen(function*() {
        const error = yield* Effect.flip(Bad.waitFor(head))
        assert.include(error.message, problem)
      })
    )
  }
})

rule("an event that does not fit its class stops it there", function*() {
  yield* EventStore.append([...others(1, 2), Event.raw("Other", { n: "three" }), ...others(4, 5)])
  const Counter = counter({})
  yield* started(
    Counter.layer,
    Effect.gen(function*() {
      const error = yield* Effect.flip(Counter.waitFor(5 as Position))
      assert.strictEqual(error._tag, "ProjectionStopped")
      assert.strictEqual((yield* Counter.status).state, "stopped")
    })
  )
})

rule("a rebuild gives the same, tells its progress, and is never seen half", function*() {
  yield* EventStore.append([defined("a", 1), subscribed("a", "anna"), subscribed("a", "ben")])
  const { head } = yield* EventStore.append(defined("b"))
  yield* started(
    Courses.layer,
    Effect.gen(function*() {
      yield* Courses.waitFor(head)
      const before = yield* all(Courses)
      const seen: Array<ReadonlyArray<Projection.Entry<unknown>>> = []
      const progress: Array<Projection.Progress> = []
      yield* Stream.runForEach(Courses.rebuild, (step) =>
        Effect.gen(function*() {
          progress.push(step)
          seen.push(yield* all(Courses))
        }))
      for (const states of [...seen, yield* all(Courses)]) assert.deepStrictEqual(states, before)
      const last = progress.at(-1)!
      assert.deepStrictEqual(
        [last.name, last.processed, last.total, last.events],
        ["courses", head, head, 4]
      )
      const status = yield* Courses.status
      assert.deepStrictEqual([status.position, status.rebuild], [head, undefined])
    })
  )
})

rule("what changes during a rebuild is there afterwards, and found by the tags it has then", function*() {
  let meanwhile: Effect.Effect<unknown, unknown> = Effect.void
  class Slow extends Projection.Service<Slow>()("slow", {
    events: [Defined, Subscribed, Left],
    key: ({ course }) => course,
    state: Schema.Struct({ full: Schema.Boolean }),
    tags: ({ full }) => [`full:${full}`],
    apply: {
      Defined: () => {
        // in the middle of a rebuild: what comes now flips tags that were folded already
        if (meanwhile !== Effect.void) Effect.runFork(meanwhile)
        meanwhile = Effect.void
        return { full: false }
      },
      Subscribed: () => ({ full: true }),
      Left: () => ({ full: false })
    }
  }) {}
  const store = yield* EventStore.EventStore
  yield* EventStore.append([defined("a"), subscribed("a", "anna"), ...range(1, 50).map((n) => defined(`c${n}`))])
  yield* started(
    Slow.layer,
    Effect.gen(function*() {
      yield* Slow.waitFor(yield* EventStore.head)
      for (const round of range(1, 5)) {
        const flipped = Deferred.makeUnsafe<void>()
        meanwhile = Effect.andThen(
          store.append(round % 2 === 1 ? new Left({ course: "a", student: "anna" }) : subscribed("a", "anna")),
          Deferred.succeed(flipped, undefined)
        )
        yield* Stream.runDrain(Slow.rebuild)
        yield* Deferred.await(flipped)
        yield* Slow.waitFor(yield* EventStore.head)
        const isFull = round % 2 === 0
        assert.deepStrictEqual(yield* Slow.get("a"), { full: isFull })
        assert.deepStrictEqual((yield* Slow.byTag("full:true")).map(({ key }) => key), isFull ? ["a"] : [])
        assert.strictEqual((yield* Slow.byTag("full:false")).length, isFull ? 50 : 51)
      }
    })
  )
})

rule("a rebuild that fails leaves everything as it was", function*() {
  let isBroken = false
  const Fragile = counter({
    before: (n) => {
      if (n === 5 && isBroken) throw new Error("broken meanwhile")
    }
  })
  const { head } = yield* EventStore.append(others(1, 9))
  yield* started(
    Fragile.layer,
    Effect.gen(function*() {
      yield* Fragile.waitFor(head)
      isBroken = true
      const error = yield* Effect.flip(Stream.runDrain(Fragile.rebuild))
      assert.include(error.message, "broken meanwhile")
      assert.deepStrictEqual(numbersOf(yield* all(Fragile)), expected(9))
      // and it goes on with what comes
      yield* Fragile.waitFor((yield* EventStore.append(others(10, 12))).head)
      assert.deepStrictEqual(numbersOf(yield* all(Fragile)), expected(12))
      isBroken = false
      yield* Stream.runDrain(Fragile.rebuild)
      assert.deepStrictEqual(numbersOf(yield* all(Fragile)), expected(12))
    })
  )
})

rule("a rebuild that is interrupted leaves everything as it was", function*() {
  const began = Deferred.makeUnsafe<void>()
  let isSlow = false
  const Fragile = counter({
    before: () => {
      if (isSlow) Deferred.doneUnsafe(began, Effect.void)
    }
  })
  yield* EventStore.append(others(1, 1000))
  const { head } = yield* EventStore.append(others(1001, 2000))
  yield* started(
    Fragile.layer,
    Effect.gen(function*() {
      yield* Fragile.waitFor(head)
      isSlow = true
      const fiber = yield* Effect.forkScoped(Stream.runDrain(Fragile.rebuild))
      yield* Deferred.await(began)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(numbersOf(yield* all(Fragile)), expected(2000))
      yield* Fragile.waitFor((yield* EventStore.append(others(2001, 2003))).head)
      assert.deepStrictEqual(numbersOf(yield* all(Fragile)), expected(2003))
      yield* Stream.runDrain(Fragile.rebuild)
      assert.deepStrictEqual(numbersOf(yield* all(Fragile)), expected(2003))
    })
  )
})

rule("all, or some, are rebuilt; one that fails does not keep the others from it", function*() {
  let isBroken = false
  const names = ["one", "two", "three"] as const
  const made = names.map((name) =>
    counter({
      name,
      before: () => {
        if (isBroken && name === "two") throw new Error("two is broken")
      }
    })
  )
  const { head } = yield* EventStore.append(others(1, 9))
  yield* started(
    Layer.mergeAll(made[0]!.layer, made[1]!.layer, made[2]!.layer),
    Effect.gen(function*() {
      for (const model of made) yield* model.waitFor(head)
      const some = yield* Stream.runCollect(Projection.rebuild({ names: ["one", "three"] }))
      assert.sameMembers([...new Set(some.map(({ name }) => name))], ["one", "three"])
      isBroken = true
      const seen: Array<Projection.Progress> = []
      const error = yield* Effect.flip(
        Stream.runForEach(Projection.rebuild({ concurrency: 3 }), (step) => Effect.sync(() => seen.push(step)))
      )
      assert.include(error.message, "two is broken")
      for (const name of ["one", "three"]) {
        assert.strictEqual(seen.findLast((step) => step.name === name)?.processed, head)
      }
      assert.sameMembers((yield* Projection.status).map(({ name }) => name), [...names])
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Stream.runDrain(Projection.rebuild({ names: ["four"] })))))
    })
  )
})

rule("two projections of one name and version are a mistake; two versions are not", function*() {
  const { head } = yield* EventStore.append(others(1, 9))
  const [first, same, second] = [counter({}), counter({}), counter({ version: 2 })]
  yield* started(
    first.layer,
    Effect.gen(function*() {
      yield* first.waitFor(head)
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Effect.scoped(Layer.build(same.layer)))))
      yield* started(second.layer, second.waitFor(head))
    })
  )
})

rule("tags that are added later mark what was counted, and a rebuild sees them", function*() {
  class Tagged extends Projection.Service<Tagged>()("tagged", {
    events: [Other],
    key: (_, { tags }) => tags.map(String),
    state: Schema.Int,
    apply: { Other: (count = 0) => count + 1 }
  }) {}
  const { head } = yield* EventStore.append(others(1, 6))
  yield* started(
    Tagged.layer,
    Effect.gen(function*() {
      yield* Tagged.waitFor(head)
      assert.isUndefined((yield* Tagged.status).retagged)
      yield* Maintenance.addTags(Query.of(Other), ({ event }) => event.n % 2 === 0 ? ["half:even"] : [])
      const after = yield* EventStore.append(new Other({ n: 7 }))
      yield* Tagged.waitFor(after.head)
      assert.strictEqual((yield* Tagged.status).retagged, head + 1)
      assert.isUndefined(yield* Tagged.get("half:even"))
      yield* Stream.runDrain(Tagged.rebuild)
      assert.isUndefined((yield* Tagged.status).retagged)
      assert.strictEqual(yield* Tagged.get("half:even"), 3)
    })
  )
})

rule("a rebuild sees the tags of now: what was added before does not mark it", function*() {
  const Counter = counter({})
  yield* EventStore.append(others(1, 600))
  yield* EventStore.append(others(601, 1200))
  yield* Maintenance.addTags(Query.of(Other), ({ event }) => event.n % 2 === 0 ? ["half:even"] : [])
  const { head } = yield* EventStore.append(others(1201, 1300))
  yield* started(
    Counter.layer,
    Effect.gen(function*() {
      yield* Counter.waitFor(head)
      assert.isUndefined((yield* Counter.status).retagged)
      yield* Stream.runDrain(Counter.rebuild)
      assert.isUndefined((yield* Counter.status).retagged)
    })
  )
})

rule("what was waited for stays there, whatever is rebuilt meanwhile", function*() {
  const before = 6000
  const first = yield* EventStore.append(range(1, before).map((n) => new Left({ course: "a", student: `s${n}` })))
  yield* started(
    Totals.layer,
    Effect.gen(function*() {
      let seen = before
      yield* Totals.waitFor(first.head)
      const reading = yield* Effect.forkScoped(Effect.gen(function*() {
        for (;;) {
          const least = seen
          assert.isAtLeast((yield* Totals.get("all"))!.count, least)
          yield* Effect.yieldNow
        }
      }))
      for (const n of range(before + 1, before + 8)) {
        const rebuilding = yield* Effect.forkScoped(Stream.runDrain(Totals.rebuild))
        const { head } = yield* EventStore.append(subscribed("a", `s${n}`))
        yield* Totals.waitFor(head)
        seen = n
        yield* Fiber.join(rebuilding)
      }
      assert.isUndefined(reading.pollUnsafe())
      yield* Fiber.interrupt(reading)
    })
  )
})

rule("folding without storage gives the same, also as of a position", function*() {
  yield* EventStore.append([defined("a"), subscribed("a", "anna"), defined("b")])
  const { head } = yield* EventStore.append([subscribed("b", "ben"), new Closed({ course: "a" })])
  yield* started(
    Courses.layer,
    Effect.gen(function*() {
      yield* Courses.waitFor(head)
      const states = yield* Projection.fold(Courses)
      assert.deepStrictEqual([...states], (yield* all(Courses)).map(({ key, state }) => [key, state]))
      const before = yield* Projection.fold(Courses, { before: 3 as Position })
      assert.deepStrictEqual([...before], [["a", { capacity: 2, students: ["anna"] }]])
    })
  )
})

rule("whoever waits when the layer closes is told", function*() {
  const scope = yield* Scope.make()
  const context = yield* Layer.buildWithScope(Layer.fresh(Totals.layer), scope)
  const model = Context.get(context, Totals)
  const waiting = yield* Effect.forkScoped(Effect.flip(model.waitFor(100 as Position)), { startImmediately: true })
  yield* model.waitFor((yield* EventStore.append(subscribed("a", "b"))).head)
  yield* Scope.close(scope, Exit.void)
  const error = yield* Fiber.join(waiting)
  assert.strictEqual(error._tag === "ProjectionStopped" && error.reason._tag, "Closed")
})

// rules of a place that outlives its layers

type Open = (options?: { readonly rebuild?: "never" | "when-needed" | "always" }) => Layer.Layer<Services, unknown>

export interface PlaceRule {
  readonly name: string
  readonly run: (open: Open) => Effect.Effect<unknown, unknown, Scope.Scope>
}

export const placeRules: Array<PlaceRule> = []
const places = <A>(
  name: string,
  run: (open: Open) => Generator<Effect.Effect<unknown, unknown, Scope.Scope>, A, never>
) => void placeRules.push({ name, run: (open) => Effect.gen(() => run(open)) })

/** Another process: a layer of its own, and what runs in it until the scope closes. */
const process = <Self>(
  open: Layer.Layer<Services, unknown>,
  layer: Layer.Layer<Self, unknown, Projection.Projections>
) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(Layer.fresh(Layer.provideMerge(layer, open)), scope)
    return {
      run: <A, E>(effect: Effect.Effect<A, E, Self | Services>) => Effect.provideContext(effect, context),
      close: Scope.close(scope, Exit.void)
    }
  })

places("after a restart it goes on where it was, and counts nothing twice", function*(open) {
  let applied = 0
  const Counter = counter({ before: () => applied++ })
  for (const round of range(0, 3)) {
    const here = yield* process(open(), Counter.layer)
    const { head } = yield* here.run(EventStore.append(others(round * 10 + 1, round * 10 + 10)))
    yield* here.run(Counter.waitFor(head))
    assert.deepStrictEqual(numbersOf(yield* here.run(all(Counter))), expected(round * 10 + 10))
    yield* here.close
  }
  assert.strictEqual(applied, 40)
})

places("of two processes one runs it, both read it, and each event counts once", function*(open) {
  let applied = 0
  const Counter = counter({ before: () => applied++ })
  const a = yield* process(open(), Counter.layer)
  const b = yield* process(open(), Counter.layer)
  let head: Position | undefined
  for (const n of range(1, 30)) {
    head = (yield* (n % 2 === 0 ? a : b).run(EventStore.append(new Other({ n })))).head
    yield* (n % 3 === 0 ? a : b).run(Counter.waitFor(head))
  }
  for (const one of [a, b]) {
    yield* one.run(Counter.waitFor(head))
    assert.deepStrictEqual(numbersOf(yield* one.run(all(Counter))), expected(30))
  }
  assert.strictEqual(applied, 30)
  const states = [(yield* a.run(Counter.status)).state, (yield* b.run(Counter.status)).state]
  assert.sameMembers(states, ["live", "elsewhere"])
  // the other takes over
  yield* (states[0] === "live" ? a : b).close
  const left = states[0] === "live" ? b : a
  head = (yield* left.run(EventStore.append(others(31, 33)))).head
  yield* left.run(Counter.waitFor(head))
  assert.deepStrictEqual(numbersOf(yield* left.run(all(Counter))), expected(33))
  assert.strictEqual(applied, 33)
})

places("a rebuild may be asked for in the process that does not run it", function*(open) {
  const Counter = counter({})
  const a = yield* process(open(), Counter.layer)
  const { head } = yield* a.run(EventStore.append(others(1, 9)))
  yield* a.run(Counter.waitFor(head))
  const b = yield* process(open(), Counter.layer)
  yield* b.run(Counter.waitFor(head))
  const progress = yield* b.run(Stream.runCollect(Counter.rebuild))
  assert.strictEqual(progress.at(-1)?.processed, head)
  for (const one of [a, b]) assert.deepStrictEqual(numbersOf(yield* one.run(all(Counter))), expected(9))
})

places("what stops it is told in the other process, too", function*(open) {
  let isBroken = true
  const Counter = counter({
    before: (n) => {
      if (n === 2 && isBroken) throw new Error("two is too many")
    }
  })
  const a = yield* process(open(), Counter.layer)
  yield* a.run(Counter.waitFor((yield* a.run(EventStore.append(new Other({ n: 1 })))).head))
  const b = yield* process(open(), Counter.layer)
  const { head } = yield* b.run(EventStore.append(others(2, 3)))
  for (const one of [a, b]) {
    const error = yield* Effect.flip(one.run(Counter.waitFor(head)))
    assert.include(error.message, "two is too many")
  }
  isBroken = false
  for (const one of [a, b]) yield* until(Effect.exit(one.run(Counter.waitFor(head))), Exit.isSuccess)
  assert.deepStrictEqual(numbersOf(yield* b.run(all(Counter))), expected(3))
})

places("a rebuild that a process did not live to finish is gone on with", function*(open) {
  const last = 12_000
  /** Cheap to save, so that a page is not the half of the build. */
  const sums = (before: () => void) => {
    class Sums extends Projection.Service<Sums>()("sums", {
      events: [Other],
      key: ({ n }) => `k${n % 3}`,
      state: Schema.Struct({ count: Schema.Int, sum: Schema.Int }),
      apply: {
        Other: (state = { count: 0, sum: 0 }, { n }) => {
          before()
          return { count: state.count + 1, sum: state.sum + n }
        }
      }
    }) {}
    return Sums
  }
  const Before = sums(() => {})
  const first = yield* process(open(), Before.layer)
  let head: Position | undefined
  for (let from = 1; from < last; from += 4000) {
    head = (yield* first.run(EventStore.append(others(from, from + 3999)))).head
  }
  yield* first.run(Before.waitFor(head))
  const states = yield* first.run(all(Before))
  yield* first.close
  // it closes in the middle of the rebuild
  const reached = Deferred.makeUnsafe<void>()
  let seen = 0
  const During = sums(() => {
    if (++seen === 3500) Deferred.doneUnsafe(reached, Effect.void)
  })
  const second = yield* process(open({ rebuild: "always" }), During.layer)
  yield* Deferred.await(reached)
  yield* second.close
  assert.isBelow(seen, last)
  let counted = 0
  const After = sums(() => counted++)
  const third = yield* process(open(), After.layer)
  yield* third.run(After.waitFor(head))
  // nobody asked for it again: it is the one that was begun
  yield* until(Effect.sync(() => counted), (counted) => counted >= 1000)
  yield* until(third.run(After.status), ({ rebuild, state }) => state === "live" && rebuild === undefined)
  assert.deepStrictEqual(yield* third.run(all(After)), states)
  assert.isAtMost(counted, last - 3000)
})

places("when it is built by itself: never, when needed, always", function*(open) {
  let applied = 0
  const Counter = counter({ before: () => applied++ })
  const run = (
    rebuild: "never" | "when-needed" | "always",
    use: Effect.Effect<void, unknown, Services | (typeof Counter)["Identifier"]>
  ) =>
    Effect.gen(function*() {
      applied = 0
      const here = yield* process(open({ rebuild }), Counter.layer)
      yield* here.run(use)
      yield* here.close
      return applied
    })
  const isNotBuilt = Effect.gen(function*() {
    const error = yield* Effect.flip(Counter.get("k1"))
    assert.strictEqual(error._tag === "ProjectionStopped" && error.reason._tag, "NotBuilt")
  })
  const first = yield* process(open(), Totals.layer)
  const { head } = yield* first.run(EventStore.append(others(1, 9)))
  yield* first.close
  const read = Effect.gen(function*() {
    yield* Counter.waitFor(head)
    assert.deepStrictEqual(numbersOf(yield* all(Counter)), expected(9))
  })
  const settled = until(Counter.status, ({ rebuild, state }) => state === "live" && rebuild === undefined)
  assert.strictEqual(yield* run("never", isNotBuilt), 0)
  assert.strictEqual(yield* run("never", Effect.andThen(Stream.runDrain(Counter.rebuild), read)), 9)
  assert.strictEqual(yield* run("never", read), 0)
  assert.strictEqual(yield* run("when-needed", read), 0)
  assert.strictEqual(
    yield* run("always", Effect.andThen(until(Effect.sync(() => applied), (n) => n === 9), settled)),
    9
  )
  assert.strictEqual(yield* run("when-needed", read), 0)
})

places("with other events it is built anew; until then readers have what there was", function*(open) {
  const here = yield* process(open(), Totals.layer)
  const { head } = yield* here.run(
    EventStore.append([defined("a"), subscribed("a", "anna"), new Left({ course: "a", student: "anna" })])
  )
  yield* here.run(Totals.waitFor(head))
  yield* here.close
  class More extends Projection.Service<More>()("totals", {
    events: [Subscribed, Left, Defined],
    key: () => "all",
    state: Schema.Struct({ count: Schema.Int }),
    apply: {
      Subscribed: (state) => ({ count: (state?.count ?? 0) + 1 }),
      Left: (state) => ({ count: (state?.count ?? 0) + 1 }),
      Defined: (state) => ({ count: (state?.count ?? 0) + 1 })
    }
  }) {}
  const never = yield* process(open({ rebuild: "never" }), More.layer)
  const { error } = yield* until(never.run(More.status), ({ state }) => state === "stopped" || state === "live")
  assert.strictEqual(error?._tag === "ProjectionStopped" && error.reason._tag, "NotBuilt")
  assert.deepStrictEqual(yield* never.run(More.get("all")), { count: 2 })
  yield* never.close
  const again = yield* process(open(), More.layer)
  yield* until(again.run(More.get("all")), (state) => state?.count === 3)
})

export const suite = (name: string, { layer, place }: Options): void => {
  describe(`${name}: the contract of projections`, () => {
    for (const { name: title, run } of rules) {
      // built in the test, so that a rule that breaks its store spoils no other
      it.effect(title, () => run.pipe(Effect.provide(Layer.fresh(layer)), Effect.scoped))
    }
    for (const { name: title, run } of place === undefined ? [] : placeRules) {
      it.live(title, () => Effect.scoped(Effect.flatMap(place!, run)))
    }
  })
}
