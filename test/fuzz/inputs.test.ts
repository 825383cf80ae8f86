/**
 * What is appended may be anything: values that JSON does not have, that say something else each time that they are looked at, or that
 * throw. Each is refused before anything is written, or stored and read back as it was.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import type * as AppendCondition from "../../src/AppendCondition.ts"
import * as Event from "../../src/Event.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as EventStoreMaintenance from "../../src/services/EventStoreMaintenance.ts"
import { mutant } from "../support/mutants.ts"
import * as Image from "./image.ts"
import * as Random from "./random.ts"
import * as Subject from "./subject.ts"

// values

const proto = (inner = "{\"polluted\":true}"): unknown =>
  JSON.parse(`{"__proto__":${inner},"constructor":{"name":"x"}}`)

const deep = (levels: number): unknown => {
  let value: unknown = 1
  for (let i = 0; i < levels; i++) value = i % 2 === 0 ? { a: value } : [value]
  return value
}

const cycle = (): unknown => {
  const value: { [key: string]: unknown } = {}
  value.self = [value]
  return value
}

/** Another value each time that it is looked at; the last one is kept. */
const changing = (...values: ReadonlyArray<unknown>): object => {
  let at = 0
  return {
    get value() {
      return values[Math.min(at++, values.length - 1)]
    }
  }
}

const throwing = (times: number): object => {
  let at = 0
  return {
    get value() {
      if (at++ >= times) throw new Error("no more")
      return 1
    }
  }
}

const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

class Money extends Array<number> {
  toJSON() {
    return undefined
  }
}

const withKey = (list: Array<unknown>, key: string, value: unknown): Array<unknown> =>
  Object.assign(list, { [key]: value })

const noText = {
  toString: () => {
    throw new Error("no text")
  }
}

/** Values, each made anew. */
const values: ReadonlyArray<readonly [name: string, make: () => unknown]> = [
  ["a text", () => "text"],
  [
    "odd texts",
    () => ["\u0000", "\u2028\u2029", "\ufeff", "e\u0301", "é", "\u{1f99d}", "\"\\/\b\f\n\r\t", "__proto__", ""]
  ],
  ["half a pair", () => "\ud83e"],
  ["half a pair as a key", () => ({ "\udd9d": 1 })],
  ["numbers", () => [0, 1.5, -1, 1e21, 5e-324, Number.MAX_VALUE, 2 ** 53, 2 ** 53 + 2]],
  ["minus zero", () => ({ zero: 0 })],
  ["NaN", () => NaN],
  ["an infinity", () => -Infinity],
  ["undefined", () => undefined],
  ["a bigint", () => 1n],
  ["a symbol", () => Symbol("x")],
  ["a symbol as a key", () => ({ [Symbol("x")]: 1 })],
  ["a function", () => () => 1],
  ["a date", () => new Date(0)],
  ["an invalid date", () => new Date(NaN)],
  ["a map", () => new Map([[1, 2]])],
  ["a set", () => new Set([1])],
  ["a typed array", () => new Uint8Array(3)],
  ["a buffer", () => Buffer.from("x")],
  ["an error", () => new Error("x")],
  ["a promise", () => Promise.resolve(1)],
  ["a boxed text", () => Object("x")],
  ["an instance", () =>
    new (class Thing {
      x = 1
    })()],
  ["an object without a prototype", () => Object.assign(Object.create(null), { a: 1 })],
  ["an own __proto__", proto],
  ["an own __proto__ that is null", () => proto("null")],
  [
    "keys of every object",
    () => ({ constructor: 1, hasOwnProperty: 1, toString: 1, valueOf: 1, isPrototypeOf: 1, length: 1 })
  ],
  ["toJSON", () => ({ toJSON: () => "else" })],
  ["toJSON that nobody sees", () => Object.defineProperty({ a: 1 }, "toJSON", { value: () => undefined })],
  ["a list with toJSON", () => new Money(1, 2)],
  ["a list with a key", () => withKey([1], "key", 2)],
  ["a list that writes itself", () => withKey([1], "toJSON", () => undefined)],
  ["a list with a hole", () => Object.assign([1], { 2: 2 })],
  ["a list of nothing", () => new Array(5)],
  ["a list that is said to be long", () => new Array(2 ** 32 - 1)],
  ["100 levels", () => deep(99)],
  ["101 levels", () => deep(100)],
  ["a million levels", () => deep(1_000_000)],
  ["a cycle", cycle],
  ["the same twice", () => {
    const one = { a: [1] }
    return [one, one]
  }],
  ["a bomb", () => {
    let bomb: unknown = 1
    for (let i = 0; i < 90; i++) bomb = [bomb, bomb]
    return bomb
  }],
  ["17 MiB", () => "x".repeat(17 * 1024 * 1024)],
  ["a getter", () => ({
    get value() {
      return 1
    }
  })],
  ["a getter that throws", () => throwing(0)],
  ["a getter that throws the second time", () => throwing(1)],
  ["a getter that throws nothing of use", () => ({
    get value() {
      throw noText
    }
  })],
  ["a value, then none", () => changing(1, undefined)],
  ["a value, then a bigint", () => changing(1, 1n)],
  ["a value, then 1,000 levels", () => changing(1, deep(1000))],
  ["a value, then a million levels", () => changing(1, deep(1_000_000))],
  ["a value, then what writes itself", () => changing(1, { toJSON: () => undefined })],
  ["a proxy", () => new Proxy({ a: 1 }, {})],
  ["a proxy of a list", () => new Proxy([1, 2], {})],
  ["a proxy that throws", () =>
    new Proxy({}, {
      ownKeys: () => {
        throw new Error("no keys")
      }
    })],
  ["a proxy that throws nothing of use", () =>
    new Proxy({}, {
      getPrototypeOf: () => {
        throw noText
      }
    })],
  [
    "a proxy that writes itself",
    () => new Proxy({ a: 1 }, { get: (_, key) => key === "toJSON" ? () => undefined : 1 })
  ],
  ["a proxy that is no more", revoked]
]

/** A value somewhere in an object that is as it should be. */
const wrap = (value: unknown, random: Random.Random): unknown => {
  switch (random.int(4)) {
    case 0:
      return typeof value === "object" ? value : { value }
    case 1:
      return { list: [1, value] }
    case 2:
      return { a: { b: { value } }, c: [] }
    default:
      return Object.defineProperty({ first: 1 }, random.pick(["__proto__", "constructor", "", "é"]), {
        value,
        enumerable: true,
        configurable: true,
        writable: true
      })
  }
}

// trying

type Append = () => Effect.Effect<EventStore.Appended, EventStore.AppendError, EventStore.EventStore>

/** `true`: it was stored. Whatever it is, it does not die, and refusing it leaves the store as it was. */
const attempt = (what: string, append: Append) =>
  Effect.gen(function*() {
    const before = yield* EventStore.head
    const exit = yield* Effect.exit(Effect.suspend(append))
    if (Exit.isSuccess(exit)) return true
    const error = Exit.findErrorOption(exit)
    assert.isTrue(error._tag === "Some", `${what} died: ${String(exit.cause)}`)
    if (error._tag === "Some") {
      assert.strictEqual(error.value._tag, "AppendRefused", what)
      // it can be shown, too
      assert.isString(error.value.message, what)
    }
    assert.strictEqual(yield* EventStore.head, before, what)
    return false
  })

const intact = Effect.gen(function*() {
  yield* Stream.runDrain(EventStoreMaintenance.verify)
  return (yield* EventStore.read(Query.all)).events
})

const any = <A>(value: unknown): A => value as A

const inMemory = <A, E>(subject: typeof Subject, effect: Effect.Effect<A, E, Subject.Opened>) => {
  const disk = Image.open(new Map())
  return Effect.gen(function*() {
    const result = yield* subject.opened(effect, disk.layer)
    // another process finds it as well
    return [result, yield* Effect.orDie(subject.opened(intact, disk.layer))] as const
  })
}

/** Data of all kinds, in all places. What is stored is read back as JSON has it, by this and by another process. */
const tryData = (subject: typeof Subject, which = /^/) =>
  inMemory(
    subject,
    Effect.gen(function*() {
      const random = Random.make(1)
      const stored = new Map<number, string>()
      let refused = 0
      for (const [name, make] of values) {
        if (!which.test(name)) continue
        const isLarge = /illion|MiB|bomb/.test(name)
        for (let times = 0; times < (isLarge ? 1 : 3); times++) {
          const seed = random.int(2 ** 32)
          const data = () => wrap(make(), Random.make(seed))
          const isStored = yield* attempt(`data: ${name}`, () => EventStore.append(Event.raw("A", any(data()))))
          // what changes is stored as it was at some moment
          if (isStored && !name.includes(", then ")) stored.set((yield* EventStore.head)!, JSON.stringify(data()))
          if (!isStored) refused++
          if (isLarge) continue
          // the first of a batch is not stored without the second
          yield* attempt(`in a batch: ${name}`, () =>
            EventStore.append([Event.raw("B", {}), Event.raw("B", any(data()))]))
          yield* attempt(`metadata: ${name}`, () =>
            EventStore.append(Event.raw("C", {}, { metadata: { custom: any(data()) } })))
          yield* attempt(`in metadata: ${name}`, () =>
            EventStore.append(Event.withMetadata(Event.raw("C", {}), any({ own: data() }))))
        }
      }
      const { events } = yield* EventStore.read(Query.types("A"))
      const found = new Map(events.map(({ event, position }) => [position as number, JSON.stringify(event.data)]))
      for (const [position, data] of stored) {
        assert.strictEqual(found.get(position), data)
      }
      return { stored, refused }
    })
  )

describe("what is appended may be anything", () => {
  it.live("data and metadata", () =>
    Effect.gen(function*() {
      const [{ refused, stored }, found] = yield* tryData(Subject)
      const again = new Map(found.map(({ event, position }) => [position as number, JSON.stringify(event.data)]))
      for (const [position, data] of stored) assert.strictEqual(again.get(position), data)
      assert.isAbove(stored.size, 20)
      assert.isAbove(refused, 80)
    }), 60_000)

  it.live("types, versions, tags, ids, lists and conditions", () =>
    inMemory(
      Subject,
      Effect.gen(function*() {
        for (const [name, make] of values) {
          const raw = () => Event.raw("D", {})
          const tried: ReadonlyArray<readonly [string, Append]> = [
            ["type", () => EventStore.append(Event.raw(any(make()), {}))],
            ["version", () => EventStore.append(Event.raw("D", {}, { version: any(make()) }))],
            ["tag", () => EventStore.append(Event.raw("D", {}, { tags: [any(make())] }))],
            ["tags", () => EventStore.append(Event.raw("D", {}, { tags: any(make()) }))],
            ["id", () => EventStore.append(Event.raw("D", {}, { metadata: { id: any(make()) } }))],
            ["timestamp", () => EventStore.append(Event.raw("D", {}, { metadata: { timestamp: any(make()) } }))],
            ["event", () => EventStore.append(any<Event.Input>(make()))],
            ["event in a list", () => EventStore.append([raw(), any(make())])],
            ["condition", () => EventStore.append(raw(), any<AppendCondition.AppendCondition>(make() ?? 1))],
            ["query", () => EventStore.append(raw(), { failIfEventsMatch: any(make()) })],
            ["after", () => EventStore.append(raw(), { failIfEventsMatch: Query.types("X"), after: any(make() ?? 0) })]
          ]
          // 17 MiB and a million levels were enough once
          for (const [place, append] of name.includes("MiB") ? [] : tried) yield* attempt(`${place}: ${name}`, append)
        }
        const list = (traps: ProxyHandler<Array<unknown>>) =>
          any<ReadonlyArray<Event.Input>>(new Proxy([Event.raw("D", {})], traps))
        for (const length of [0, -1, 0.5, NaN, 10_001, 2 ** 40, Infinity, "1", undefined, null, {}]) {
          yield* attempt(`a list whose length is ${String(length)}`, () =>
            EventStore.append(list({ get: (target, key) => key === "length" ? length : Reflect.get(target, key) })))
        }
        yield* attempt("a list that throws", () =>
          EventStore.append(list({
            get: () => {
              throw noText
            }
          })))
        yield* attempt("a list that is no more", () =>
          EventStore.append(any(revoked())))
        yield* intact
      })
    ), 60_000)

  it.live("an id that is given again finds the data that was stored, whatever became of the object", () =>
    inMemory(
      Subject,
      Effect.gen(function*() {
        const data = { n: 1 }
        const event = () => Event.raw("A", data, { metadata: { id: "a" } })
        const first = yield* EventStore.append(event())
        assert.isTrue((yield* EventStore.append(event())).duplicate)
        // changed while the append waits: what counts is what it was when it was given
        const again = Effect.runFork(
          Effect.provideContext(EventStore.append(event()), yield* Effect.context<EventStore.EventStore>())
        )
        data.n = 2
        const exit = yield* Effect.promise(() =>
          new Promise<Exit.Exit<EventStore.Appended, unknown>>((resolve) => void again.addObserver(resolve))
        )
        assert.isTrue(Exit.isSuccess(exit) && exit.value.duplicate && exit.value.positions[0] === first.positions[0])
        const other = yield* Effect.flip(EventStore.append(event()))
        assert.isTrue(other._tag === "AppendRefused" && other.reason._tag === "EventIdConflict")
      })
    ))
})

describe("a store with a mistake is caught", () => {
  for (const name of ["proto-by-assignment", "written-unseen"]) {
    it.live(name, () =>
      Effect.gen(function*() {
        const subject = yield* Effect.promise(() => mutant<typeof Subject>("test/fuzz/subject.ts", `inputs-${name}`))
        const tried: Effect.Effect<unknown, unknown> = name === "written-unseen"
          ? tryData(subject, / then |itself/)
          : keepsProto(subject)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(tried)), `${name} survives`)
      }), 60_000)
  }

  it.live("and a key __proto__ in the metadata is kept", () => keepsProto(Subject))
})

const keepsProto = (subject: typeof Subject) =>
  inMemory(
    subject,
    Effect.gen(function*() {
      yield* EventStore.append(Event.withMetadata(Event.raw("A", {}), any(proto())))
      const found = yield* EventStore.readLast(Query.types("A"))
      assert.deepStrictEqual(Object.getOwnPropertyDescriptor(found!.metadata, "__proto__")?.value, { polluted: true })
      assert.isUndefined(({} as { readonly polluted?: unknown }).polluted)
    })
  )
