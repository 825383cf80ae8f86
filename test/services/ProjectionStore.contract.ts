/**
 * What every layer of `ProjectionStore` does, wherever it keeps states.
 *
 *     suite("SQLite", place)
 *
 * Each rule begins with an empty place of its own. A layer of it is what a process has of it: rules build it more than once, to
 * open the place again, or to be two processes at once.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { Position } from "../../src/Position.ts"
import {
  type Changes,
  type Checkpoint,
  type Claim,
  type EntryOrder,
  type Generation,
  ProjectionStore,
  type Slot,
  type StoredEntry,
  type WritableGeneration
} from "../../src/services/ProjectionStore.ts"

// harness

type Store = Layer.Layer<ProjectionStore, unknown>

export interface Place {
  /** A store over the place, as a process of its own has it. */
  readonly layer: Store
  /** One to which claims are given although somebody has them, as after a pause of the holder that was too long. */
  readonly thief: Store
  /** An entry that cannot be stored: a save with it fails, as late as possible. */
  readonly refused: StoredEntry
  /** One that only reads; without it the rule about that is not run (`SuiteOptions`). */
  readonly readOnly?: Store
}

/** Makes an empty place, which lasts as long as the scope. */
export type Harness = Effect.Effect<Place, unknown, Scope.Scope>

/** Opens it as a process of its own does, for as long as the scope lasts. */
const open = (layer: Store) =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, ProjectionStore))

const openSlot = (layer: Store, name = "courses", version = 1) =>
  Effect.flatMap(open(layer), (store) => store.open(name, version))

// states

const entry = (key: string, more: Partial<StoredEntry> = {}): StoredEntry => ({
  key,
  state: { key },
  tags: [],
  position: 1 as Position,
  version: 1,
  created: 1,
  updated: 1,
  ...more
})

const at = (position: number): Checkpoint => ({
  storeId: "store",
  position: position as Position,
  hash: `hash of ${position}`
})

const changes = (position: number, set: ReadonlyArray<StoredEntry>, removed: ReadonlyArray<string> = []): Changes => ({
  set,
  removed,
  checkpoint: at(position)
})

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

const keysOf = (entries: ReadonlyArray<StoredEntry>) => entries.map(({ key }) => key)

const inOrder: EntryOrder = { sort: "key", backwards: false }

/** All of it, in the order of keys. */
const all = (generation: Generation) =>
  generation.list({ ...inOrder, after: undefined, limit: Number.MAX_SAFE_INTEGER })

/** Everything that a generation tells of itself, each way to ask. */
const everything = Effect.fnUntraced(function*(generation: Generation) {
  const entries = yield* all(generation)
  return {
    definition: generation.definition,
    checkpoint: yield* generation.checkpoint,
    size: yield* generation.size,
    entries,
    read: yield* generation.read(keysOf(entries)),
    newest: yield* generation.list({ sort: "updated", backwards: true, after: undefined, limit: 1 })
  }
})

/** What readers see: `undefined` if there is no live generation. */
const look = (slot: Slot) =>
  Effect.flatMap(slot.live, (live) => live === undefined ? Effect.undefined : everything(live))

const lookKeys = (slot: Slot) => Effect.map(look(slot), (seen) => seen && keysOf(seen.entries))

const take = Effect.fnUntraced(function*(slot: Slot) {
  const claim = yield* slot.claim({ wait: false })
  assert(claim !== undefined, "nobody has the claim, but it is not given")
  return claim
})

/** Takes the claim for as long as the effect runs. */
const holding = <A, E>(slot: Slot, f: (claim: Claim) => Effect.Effect<A, E, Scope.Scope>) =>
  Effect.scoped(Effect.flatMap(take(slot), f))

/** Builds a generation, and makes it live. */
const build = Effect.fnUntraced(function*(claim: Claim, definition: string, ...saves: ReadonlyArray<Changes>) {
  const generation = yield* claim.begin(definition)
  for (const save of saves) yield* generation.save(save)
  yield* claim.swap
  return generation
})

const defined = <A>(value: A | undefined): A => {
  assert(value !== undefined)
  return value
}

/** What is live for readers, or for a holder. */
const liveIn = (slot: Slot) => Effect.map(slot.live, defined)
const liveOf = (claim: Claim) => Effect.map(claim.live, defined<WritableGeneration>)

/** A first generation that is live, and the claim to go on with. */
const begun = Effect.fnUntraced(function*(layer: Store, ...entries: ReadonlyArray<StoredEntry>) {
  const slot = yield* openSlot(layer)
  const claim = yield* take(slot)
  const live = yield* build(claim, "first", changes(1, entries))
  return { slot, claim, live }
})

const isLost = <A, E extends { readonly _tag: string }>(effect: Effect.Effect<A, E>) =>
  Effect.map(Effect.exit(Effect.flip(effect)), (exit) => {
    assert(Exit.isSuccess(exit), "something was written by who has no claim, or without a typed error")
    assert.strictEqual(exit.value._tag, "ClaimLost")
  })

/** Looks until it is so: what another process does has no moment of its own. */
const until = <E>(condition: Effect.Effect<boolean, E>): Effect.Effect<void, E> =>
  Effect.flatMap(
    condition,
    (isSo) => isSo ? Effect.void : Effect.andThen(Effect.sleep(5), until(condition))
  )

// a model: what lists and reads must be, in the plainest way

const points = (text: string) => Array.from(text, (char) => char.codePointAt(0)!)

const compareKeys = (a: string, b: string): number => {
  const [left, right] = [points(a), points(b)]
  for (let i = 0; i < left.length && i < right.length; i++) if (left[i] !== right[i]) return left[i]! - right[i]!
  return left.length - right.length
}

class Model {
  readonly entries = new Map<string, StoredEntry>()

  save({ removed, set }: Changes) {
    for (const key of removed) this.entries.delete(key)
    for (const entry of set) this.entries.set(entry.key, entry)
  }

  sorted({ backwards, sort }: EntryOrder): ReadonlyArray<StoredEntry> {
    const sorted = [...this.entries.values()].sort((a, b) =>
      sort === "key" ? compareKeys(a.key, b.key) : a[sort] - b[sort] || compareKeys(a.key, b.key)
    )
    return backwards ? sorted.reverse() : sorted
  }

  /** Those behind a place at which there need not be any. */
  page(order: EntryOrder, after: { readonly key: string; readonly time: number } | undefined, limit: number) {
    const { backwards, sort } = order
    const isBeyond = (entry: StoredEntry) => {
      if (after === undefined) return true
      const difference = (sort === "key" ? 0 : entry[sort] - after.time) || compareKeys(entry.key, after.key)
      return backwards ? difference < 0 : difference > 0
    }
    return this.sorted(order).filter(isBeyond).slice(0, limit)
  }

  byTag(...tags: ReadonlyArray<string>) {
    return this.sorted(inOrder).filter((entry) => tags.every((tag) => entry.tags.includes(tag)))
  }
}

const orders: ReadonlyArray<EntryOrder> = (["key", "created", "updated"] as const).flatMap((sort) =>
  [false, true].map((backwards) => ({ sort, backwards }))
)

const placeOf = ({ sort }: EntryOrder, entry: StoredEntry) => ({
  key: entry.key,
  time: sort === "key" ? 0 : entry[sort]
})

/** Always the same numbers, from 0 to below `n`. */
const numbers = (seed: number) => {
  let state = seed
  return (n: number) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return (state >> 8) % n
  }
}

// rules

export interface Rule {
  readonly name: string
  readonly needs?: "readOnly"
  readonly run: (place: Place) => Effect.Effect<void, unknown, Scope.Scope>
}

const rule = (
  name: string,
  body: (place: Place) => Generator<Effect.Effect<any, any, Scope.Scope>, void, any>,
  needs?: Rule["needs"]
): Rule => ({ name, run: (place) => Effect.gen(() => body(place)), ...(needs === undefined ? {} : { needs }) })

const saving: ReadonlyArray<Rule> = [
  rule("a place in which there is nothing yet: nothing is live, noted or claimed", function*({ layer }) {
    const slot = yield* openSlot(layer)
    for (const each of [slot, yield* openSlot(layer)]) {
      assert.isUndefined(yield* each.live)
      assert.isUndefined(yield* each.notice)
      assert.isFalse(yield* each.isClaimed)
    }
    const claim = yield* take(slot)
    assert.isUndefined(yield* claim.live)
    assert.isUndefined(yield* claim.building)
    assert.isFalse(yield* claim.isWanted)
    assert.isFalse((yield* open(layer)).readOnly)
  }),

  rule("a generation that was begun is empty, and knows what it was built from", function*({ layer }) {
    const claim = yield* take(yield* openSlot(layer))
    for (const definition of ["one", "", "{\"odd\":\"\\u0000 \u{1f600}\"}"]) {
      const generation = yield* claim.begin(definition)
      assert.deepStrictEqual(yield* everything(generation), {
        definition,
        checkpoint: undefined,
        size: 0,
        entries: [],
        read: [],
        newest: []
      })
      assert.deepStrictEqual(yield* generation.read(["a"]), [])
      assert.deepStrictEqual(yield* generation.byTag(["a:1"]), [])
      assert.strictEqual((yield* claim.building)?.definition, definition)
    }
    yield* claim.swap
    // live, and nothing was counted
    const live = yield* liveOf(claim)
    assert.isUndefined(yield* live.checkpoint)
    assert.strictEqual(yield* live.size, 0)
  }),

  rule("what is saved is read: by key, in order, by tag, and counted", function*({ layer }) {
    const entries = [
      entry("art", {
        state: { n: 1 },
        tags: ["a:1", "b:1"],
        position: 3 as Position,
        version: 2,
        created: 5,
        updated: 9
      }),
      entry("maths", { state: [2], tags: ["a:1"], position: 4 as Position, version: 1, created: 6, updated: 6 })
    ] as const
    const { live, slot } = yield* begun(layer, ...entries.toReversed())
    for (const generation of [live, yield* liveIn(slot), yield* liveIn(yield* openSlot(layer))]) {
      assert.deepStrictEqual(yield* everything(generation), {
        definition: "first",
        checkpoint: at(1),
        size: 2,
        entries: [...entries],
        read: [...entries],
        newest: [entries[0]]
      })
      assert.deepStrictEqual(yield* generation.byTag(["a:1"]), [...entries])
      assert.deepStrictEqual(yield* generation.byTag(["b:1"]), [entries[0]])
    }
  }),

  rule("keys are read in the order asked for, and those that are none are left out", function*({ layer }) {
    const { live } = yield* begun(layer, ...["a", "b", "c", "d"].map((key) => entry(key)))
    assert.deepStrictEqual(keysOf(yield* live.read(["d", "x", "a", "c"])), ["d", "a", "c"])
    assert.deepStrictEqual(yield* live.read(["x"]), [])
    assert.deepStrictEqual(yield* live.read([]), [])
  }),

  rule("a state is replaced with all that is known of it", function*({ layer }) {
    const { live, slot } = yield* begun(layer, entry("a", { tags: ["a:1"] }), entry("b"))
    const next = entry("a", {
      state: "next",
      tags: ["b:2"],
      position: 7 as Position,
      version: 2,
      created: 1,
      updated: 8
    })
    yield* live.save(changes(7, [next]))
    assert.deepStrictEqual(yield* live.read(["a"]), [next])
    assert.deepStrictEqual(yield* look(slot), {
      definition: "first",
      checkpoint: at(7),
      size: 2,
      entries: [next, entry("b")],
      read: [next, entry("b")],
      newest: [next]
    })
    // removed and made again: earlier numbers, too
    yield* live.save(changes(8, [entry("a", { created: 0, updated: 0 })]))
    assert.deepStrictEqual(yield* live.list({ sort: "created", backwards: false, after: undefined, limit: 1 }), [
      entry("a", { created: 0, updated: 0 })
    ])
  }),

  rule("a state that is removed is gone from everything, and its key can be used again", function*({ layer }) {
    const { live, slot } = yield* begun(layer, entry("a", { tags: ["x:1"] }), entry("b", { tags: ["x:1"] }))
    yield* live.save(changes(2, [entry("c", { tags: ["x:1"] })], ["a", "never there"]))
    assert.deepStrictEqual(yield* live.read(["a"]), [])
    assert.deepStrictEqual(keysOf(yield* live.byTag(["x:1"])), ["b", "c"])
    assert.deepStrictEqual(yield* lookKeys(slot), ["b", "c"])
    assert.strictEqual(yield* live.size, 2)
    for (const order of orders) {
      assert.notInclude(keysOf(yield* live.list({ ...order, after: undefined, limit: 10 })), "a")
    }
    yield* live.save(changes(3, [entry("a", { version: 1, tags: ["y:1"] })], ["b"]))
    assert.deepStrictEqual(yield* lookKeys(slot), ["a", "c"])
    assert.deepStrictEqual(keysOf(yield* live.byTag(["x:1"])), ["c"])
    yield* live.save(changes(4, [], ["a", "c"]))
    assert.deepStrictEqual(yield* lookKeys(slot), [])
    assert.deepStrictEqual(yield* live.checkpoint, at(4))
  }),

  rule("tags are those of the state as it is now", function*({ layer }) {
    const { live } = yield* begun(layer, entry("a", { tags: ["x:1", "y:1"] }), entry("b", { tags: ["x:1"] }))
    const found = (...tags: ReadonlyArray<string>) => Effect.map(live.byTag(tags), keysOf)
    yield* live.save(changes(2, [entry("a", { tags: ["z:1", "y:1"] })]))
    assert.deepStrictEqual(yield* found("x:1"), ["b"])
    assert.deepStrictEqual(yield* found("y:1"), ["a"])
    assert.deepStrictEqual(yield* found("z:1"), ["a"])
    assert.deepStrictEqual((yield* live.read(["a"]))[0]?.tags, ["z:1", "y:1"])
    yield* live.save(changes(3, [entry("a"), entry("b", { tags: ["x:1", "z:1"] })]))
    assert.deepStrictEqual(yield* found("y:1"), [])
    assert.deepStrictEqual(yield* found("z:1"), ["b"])
    assert.deepStrictEqual((yield* live.read(["a"]))[0]?.tags, [])
  }),

  rule("of several tags all are needed; those that look alike are others", function*({ layer }) {
    const model = new Model()
    const save = changes(
      1,
      range(1, 60).map((n) => entry(`k${n}`, { tags: [`two:${n % 2}`, `three:${n % 3}`, `n:${n}`, "all:1"] })).concat(
        entry("A", { tags: ["Two:1", "two:1 ", "two:", "two", "n:1\u0308", "a%"] }),
        entry("none")
      )
    )
    model.save(save)
    const { live } = yield* begun(layer, ...save.set)
    for (
      const tags of [
        ["two:1"],
        ["two:1", "three:2"],
        ["three:2", "two:1", "all:1"],
        ["two:1", "two:1"],
        ["two:0", "two:1"],
        ["n:1"],
        ["n:1", "n:2"],
        ["Two:1"],
        ["two"],
        ["two:1 "],
        ["all:1"],
        ["all:1", "none:1"],
        ["none:1", "all:1"],
        ["n:%"],
        ["a_"]
      ]
    ) assert.deepStrictEqual(yield* live.byTag(tags), model.byTag(...tags), tags.join(" and "))
  }),

  rule("a save without states moves the checkpoint", function*({ layer }) {
    const { live, slot } = yield* begun(layer, entry("a"))
    for (const position of [2, 3, 700, Number.MAX_SAFE_INTEGER]) {
      yield* live.save(changes(position, []))
      assert.deepStrictEqual(yield* live.checkpoint, at(position))
      assert.deepStrictEqual((yield* look(slot))?.checkpoint, at(position))
      assert.deepStrictEqual(yield* lookKeys(slot), ["a"])
    }
  }),

  rule("all of a checkpoint is kept", function*({ layer }) {
    const { live } = yield* begun(layer)
    const checkpoint = { storeId: "öd\u{1f600}", position: 5 as Position, hash: "é", retagged: 3 as Position }
    yield* live.save({ set: [], removed: [], checkpoint })
    const other = yield* openSlot(layer)
    for (const generation of [live, yield* liveIn(other)]) {
      assert.deepStrictEqual(yield* generation.checkpoint, checkpoint)
    }
    yield* live.save(changes(6, []))
    for (const generation of [live, yield* liveIn(other)]) {
      assert.deepStrictEqual(yield* generation.checkpoint, at(6))
    }
  }),

  rule("a save that fails leaves states and checkpoint as they were, and the next one counts", function*(place) {
    const { live, slot } = yield* begun(place.layer, entry("a", { tags: ["x:1"] }), entry("b", { tags: ["x:1"] }))
    const before = yield* look(slot)
    const failing = changes(
      2,
      [entry("a", { state: "changed", tags: ["y:1"] }), ...range(1, 50).map((n) => entry(`n${n}`)), place.refused],
      ["b"]
    )
    const error = yield* Effect.flip(live.save(failing))
    assert.strictEqual(error._tag, "ProjectionStoreError")
    assert.deepStrictEqual(yield* look(slot), before)
    assert.deepStrictEqual(yield* look(yield* openSlot(place.layer)), before)
    assert.deepStrictEqual(keysOf(yield* live.byTag(["x:1"])), ["a", "b"])
    assert.deepStrictEqual(keysOf(yield* live.byTag(["y:1"])), [])
    yield* live.save(changes(2, [entry("c")], ["b"]))
    assert.deepStrictEqual(yield* lookKeys(slot), ["a", "c"])
    assert.deepStrictEqual(yield* live.checkpoint, at(2))
  }),

  rule("what is done with objects after they were saved or read changes nothing", function*({ layer }) {
    const state = { list: [1], deep: { a: 1 } }
    const tags = ["x:1"]
    const checkpoint = { ...at(1) }
    const set = [entry("a", { state, tags })]
    const { live } = yield* begun(layer)
    yield* live.save({ set, removed: [], checkpoint })
    state.list.push(2)
    state.deep.a = 2
    tags[0] = "y:1"
    checkpoint.position = 9 as Position
    set.length = 0
    const expected = [entry("a", { state: { list: [1], deep: { a: 1 } }, tags: ["x:1"] })]
    for (const read of [live.read(["a"]), all(live), live.byTag(["x:1"])]) {
      const found = yield* read
      assert.deepStrictEqual(found, expected)
      const { list } = found[0]!.state as { readonly list: Array<number> }
      list.push(3)
    }
    assert.deepStrictEqual(yield* all(live), expected)
    assert.strictEqual((yield* live.checkpoint)?.position, 1)
  }),

  rule("a reader sees all of a save or nothing of it", function*({ layer }) {
    const keys = range(1, 20).map(String)
    const save = (round: number) =>
      changes(round, keys.map((key) => entry(key, { state: round, tags: [`round:${round}`, "all:1"] })))
    const { live } = yield* begun(layer)
    yield* live.save(save(2))
    const other = yield* liveIn(yield* openSlot(layer))
    let reads = 0
    const reading = yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
      const before = yield* other.checkpoint
      const entries = yield* all(other)
      const tagged = yield* other.byTag(["all:1"])
      const after = yield* other.checkpoint
      for (const found of [entries, tagged]) {
        assert.deepStrictEqual(found.map(({ state }) => state), keys.map(() => found[0]!.state))
        const state = Number(found[0]!.state)
        assert.isTrue(state >= before!.position && state <= after!.position, "not the states of the checkpoint")
      }
      reads += 1
      yield* Effect.yieldNow
    })))
    for (let round = 3; (reads < 30 || round < 30) && reading.pollUnsafe() === undefined; round++) {
      yield* live.save(save(round))
      yield* Effect.yieldNow
    }
    yield* reading.pollUnsafe() ?? Effect.void
  }),

  rule("10,000 states in one save, all or none", function*({ layer }) {
    const model = new Model()
    const { live, slot } = yield* begun(layer)
    const first = changes(
      2,
      range(1, 10_000).map((n) =>
        entry(`key ${n}`, { state: { n }, tags: [`mod:${n % 100}`], created: n, updated: n % 10 })
      )
    )
    const second = changes(
      3,
      range(5001, 6000).map((n) => entry(`key ${n}`, { state: "again", tags: ["again:1"], created: n, updated: 20 })),
      range(1, 5000).map((n) => `key ${n}`)
    )
    for (const save of [first, second]) {
      yield* live.save(save)
      model.save(save)
      for (const generation of [live, yield* liveIn(slot)]) {
        assert.strictEqual(yield* generation.size, model.entries.size)
        assert.deepStrictEqual(yield* generation.byTag(["mod:7"]), model.byTag("mod:7"))
        for (const order of orders) {
          const middle = { key: "key 5500", time: order.sort === "key" ? 0 : order.sort === "created" ? 5500 : 5 }
          for (const after of [undefined, middle]) {
            assert.deepStrictEqual(
              yield* generation.list({ ...order, after, limit: 200 }),
              model.page(order, after, 200)
            )
          }
        }
      }
    }
    assert.deepStrictEqual(yield* all(yield* liveIn(yield* openSlot(layer))), model.sorted(inOrder))
    assert.strictEqual((yield* live.byTag(["again:1"])).length, 1000)
  })
]

/** Some differ only in case, in Unicode form, or in what file systems and databases do not see. */
const oddKeys: ReadonlyArray<string> = [
  "\0",
  "\0a",
  "\u0001",
  "\n",
  " ",
  "  ",
  "\"",
  "%",
  "'",
  "'; DROP TABLE states; --",
  ".",
  "..",
  "../x",
  "/",
  "/etc/passwd",
  "0",
  "1",
  "10",
  "2",
  "A",
  "CON",
  "[1]",
  "\\",
  "_",
  "__proto__",
  "a",
  "a ",
  "a\0",
  "a\u00a0",
  "a.json",
  "a/b",
  "a:b",
  "aa",
  "a\u0308",
  "b",
  "con",
  "constructor",
  "hasOwnProperty",
  "k",
  "toString",
  "{}",
  "\u007f",
  "A\u030a",
  "\u00c5",
  "\u212b",
  "\u00e4",
  "\u00df",
  "ss",
  "\u0130",
  "i\u0307",
  "\u017f",
  "s",
  "\u05d0",
  "\u200b",
  "a\u200b",
  "\u212a",
  "\u5b66",
  "\ue000",
  "\ufb00",
  "ff",
  "\ufeff",
  "\uffff",
  "\u{1f600}",
  "\u{1f469}\u200d\u{1f680}",
  "\u{10ffff}"
].sort(compareKeys)

const texts: ReadonlyArray<Rule> = [
  rule("keys are kept as they are, and in the order of code points", function*({ layer }) {
    assert.strictEqual(new Set(oddKeys).size, oddKeys.length)
    const entries = oddKeys.map((key, i) => entry(key, { state: { i }, tags: [`tag:${key}`] }))
    const { live } = yield* begun(layer, ...entries.toReversed())
    const reopened = yield* openSlot(layer)
    for (const generation of [live, yield* liveIn(reopened)]) {
      assert.deepStrictEqual(yield* all(generation), entries)
      assert.deepStrictEqual(yield* generation.read(oddKeys.toReversed()), entries.toReversed())
      for (const [i, key] of oddKeys.entries()) {
        assert.deepStrictEqual(yield* generation.read([key]), [entries[i]!], JSON.stringify(key))
        assert.deepStrictEqual(yield* generation.byTag([`tag:${key}`]), [entries[i]!], JSON.stringify(key))
        assert.deepStrictEqual(
          keysOf(yield* generation.list({ ...inOrder, after: { key, time: 0 }, limit: 2 })),
          oddKeys.slice(i + 1, i + 3)
        )
      }
    }
    // each on its own: those that look alike stay
    const isKept = (key: string) => key === "__proto__" || oddKeys.indexOf(key) % 2 === 1
    yield* live.save(changes(2, [entry("__proto__", { state: "new" })], oddKeys.filter((key) => !isKept(key))))
    assert.deepStrictEqual(keysOf(yield* all(live)), oddKeys.filter(isKept))
    assert.deepStrictEqual((yield* live.read(["__proto__"]))[0]?.state, "new")
  }),

  rule("a key of 1 KiB is one as any other, and a tag of twice that", function*({ layer }) {
    const long = ["x".repeat(1023), "x".repeat(1024), `${"x".repeat(1023)}y`, "é".repeat(512), "😀".repeat(256)]
    const tag = `${"t".repeat(1020)}:${"v".repeat(1020)}`
    const entries = long.map((key, i) => entry(key, { state: i, tags: [`k:${key}`, `${tag}${i % 2}`] }))
    const { live } = yield* begun(layer, ...entries)
    assert.deepStrictEqual(yield* live.read(long), entries)
    assert.deepStrictEqual(keysOf(yield* all(live)), [...long].sort(compareKeys))
    for (const [i, key] of long.entries()) assert.deepStrictEqual(yield* live.byTag([`k:${key}`]), [entries[i]!])
    assert.deepStrictEqual(yield* live.byTag([`${tag}1`]), [entries[1]!, entries[3]!])
    yield* live.save(changes(2, [], long.slice(1)))
    assert.deepStrictEqual(yield* all(live), [entries[0]!])
  }),

  rule("states are any JSON, kept as it is", function*({ layer }) {
    const deep = range(1, 90).reduce<Schema.Json>((inner, n) => n % 2 === 0 ? [inner] : { n: inner }, null)
    const states: ReadonlyArray<Schema.Json> = [
      null,
      true,
      false,
      0,
      -1,
      0.1,
      1e308,
      5e-324,
      -1e-7,
      Number.MAX_SAFE_INTEGER,
      2 ** 53 + 2,
      123456789012345680000,
      "",
      "null",
      "\u0000",
      "a\u0000b\u0001\u001f\u007f",
      "\"\\/\b\f\n\r\t\u2028\u2029",
      "\ud800",
      "😀 e\u0301 é",
      [],
      {},
      [[], {}, [null]],
      { "": { "": "" }, a: null },
      JSON.parse(`{"z":1,"a":2,"10":3,"2":4,"__proto__":{"x":1},"constructor":null,"\\u0000":"\\u0000"}`),
      deep,
      "x".repeat(300_000),
      range(1, 5000)
    ]
    const entries = states.map((state, i) => entry(`k${i.toString().padStart(3, "0")}`, { state }))
    const { live } = yield* begun(layer, ...entries)
    const reopened = yield* openSlot(layer)
    for (const generation of [live, yield* liveIn(reopened)]) {
      const found = yield* all(generation)
      // as text, so that the order of keys counts
      assert.deepStrictEqual(
        found.map(({ state }) => JSON.stringify(state)),
        states.map((state) => JSON.stringify(state))
      )
      assert.deepStrictEqual(found, entries)
    }
  })
]

const lists: ReadonlyArray<Rule> = [
  ...orders.map((order) =>
    rule(
      `pages, sorted by ${order.sort}${
        order.backwards ? " backwards" : ""
      }, with ties, while entries come and go between them`,
      function*({ layer }) {
        const model = new Model()
        const { live } = yield* begun(layer)
        let position = 1
        const save = (set: ReadonlyArray<StoredEntry>, removed: ReadonlyArray<string> = []) =>
          Effect.suspend(() => {
            const next = changes(position += 1, set, removed)
            model.save(next)
            return live.save(next)
          })
        const times = (n: number) => ({ created: n % 4, updated: 3 - (n % 3) })
        yield* save(range(10, 40).map((n) => entry(`k${n}`, times(n))))
        let after: { readonly key: string; readonly time: number } | undefined
        const seen: Array<string> = []
        for (let page = 0;; page++) {
          const found = yield* live.list({ ...order, after, limit: 4 })
          assert.deepStrictEqual(found, model.page(order, after, 4))
          const last = found.at(-1)
          if (last === undefined) break
          seen.push(...keysOf(found))
          after = placeOf(order, last)
          const [first, next] = [model.sorted(order).at(0)!, model.page(order, after, 2)]
          // the page's last entry goes, which the next page begins behind; one before it comes back; one that would be next goes
          yield* save([], page % 2 === 0 ? [last.key] : [])
          if (page % 3 === 0 && next.length > 0) yield* save([], [next[0]!.key])
          if (page % 3 === 1 && next.length > 1) {
            // and one comes right between the page and what is next
            yield* save([{ ...next[0]!, key: `${last.key}${order.backwards ? "" : "+"}`, ...timesOf(last) }])
          }
          yield* save([{ ...first, version: 2 }])
        }
        assert.strictEqual(new Set(seen).size, seen.length)
        assert.isAbove(seen.length, 20)
      }
    )
  ),

  rule("times are any number, and sorted as numbers", function*({ layer }) {
    const times = [-8640000000000000, -1, 0, 2, 10, 999.5, 1_800_000_000_000, 8640000000000000]
    const entries = times.map((time, i) => entry(`k${9 - i}`, { created: time, updated: -time + 0 }))
    const { live } = yield* begun(layer, ...entries)
    assert.deepStrictEqual(
      yield* live.list({ sort: "created", backwards: false, after: undefined, limit: 10 }),
      entries
    )
    assert.deepStrictEqual(yield* live.list({ sort: "updated", backwards: true, after: undefined, limit: 10 }), entries)
    assert.deepStrictEqual(
      yield* live.list({ sort: "created", backwards: false, after: { key: "", time: 999.5 }, limit: 10 }),
      entries.slice(5)
    )
  }),

  rule("any history of saves is read as that of the plainest store", function*({ layer }) {
    const model = new Model()
    const { live } = yield* begun(layer)
    const random = numbers(7)
    const keys = ["a", "A", "ä", "aa", "b", "😀", "\uffff", "__proto__", "1", "10", "2"]
    for (let round = 2; round < 80; round++) {
      const chosen = keys.filter(() => random(3) === 0)
      const removed = chosen.filter(() => random(3) === 0)
      const save = changes(
        round,
        chosen.filter((key) => !removed.includes(key)).map((key) =>
          entry(key, {
            state: round,
            tags: ["t:0", "t:1", "t:2"].filter(() => random(2) === 0),
            position: round as Position,
            version: round,
            created: random(4),
            updated: random(4)
          })
        ),
        removed
      )
      yield* live.save(save)
      model.save(save)
      const order = orders[round % orders.length]!
      const after = random(4) === 0 ? undefined : {
        key: keys[random(keys.length)]!,
        time: order.sort === "key" ? 0 : random(4)
      }
      assert.deepStrictEqual(yield* live.list({ ...order, after, limit: 3 }), model.page(order, after, 3))
      assert.deepStrictEqual(yield* live.byTag(["t:0", "t:2"]), model.byTag("t:0", "t:2"))
      assert.strictEqual(yield* live.size, model.entries.size)
      assert.deepStrictEqual(yield* live.checkpoint, at(round))
    }
    assert.deepStrictEqual(yield* all(yield* liveIn(yield* openSlot(layer))), model.sorted(inOrder))
  })
]

const timesOf = ({ created, updated }: StoredEntry) => ({ created, updated })

const generations: ReadonlyArray<Rule> = [
  rule("readers never see what is being built", function*({ layer }) {
    const slot = yield* openSlot(layer)
    const other = yield* openSlot(layer)
    const claim = yield* take(slot)
    const first = yield* claim.begin("first")
    yield* first.save(changes(1, [entry("a")]))
    for (const each of [slot, other, yield* openSlot(layer)]) assert.isUndefined(yield* each.live)
    assert.isUndefined(yield* claim.live)
    yield* claim.swap
    const before = yield* look(slot)
    const second = yield* claim.begin("second")
    yield* second.save(changes(2, [entry("b", { tags: ["x:1"] })]))
    for (const each of [slot, other, yield* openSlot(layer)]) {
      assert.deepStrictEqual(yield* look(each), before)
      assert.deepStrictEqual(yield* (yield* liveIn(each)).byTag(["x:1"]), [])
      assert.deepStrictEqual(yield* (yield* liveIn(each)).read(["b"]), [])
    }
    assert.strictEqual((yield* liveOf(claim)).definition, "first")
  }),

  rule("a swap replaces all of the old by all of the new", function*({ layer }) {
    const { claim, slot } = yield* begun(layer, entry("a", { tags: ["x:1"] }), entry("b", { tags: ["x:1"] }))
    const other = yield* openSlot(layer)
    assert.deepStrictEqual(yield* lookKeys(other), ["a", "b"])
    const next = yield* build(claim, "second", changes(2, [entry("b", { state: 2 }), entry("c", { tags: ["x:1"] })]))
    const expected = yield* everything(next)
    assert.deepStrictEqual([expected.definition, expected.checkpoint, keysOf(expected.entries)], [
      "second",
      at(2),
      ["b", "c"]
    ])
    for (const each of [slot, other, yield* openSlot(layer)]) {
      assert.deepStrictEqual(yield* look(each), expected)
      assert.deepStrictEqual(keysOf(yield* (yield* liveIn(each)).byTag(["x:1"])), ["c"])
    }
    assert.isUndefined(yield* claim.building)
    // what was being built is now what is live
    yield* next.save(changes(3, [entry("d")]))
    yield* (yield* liveOf(claim)).save(changes(4, [entry("e")]))
    for (const each of [slot, other]) assert.deepStrictEqual(yield* lookKeys(each), ["b", "c", "d", "e"])
  }),

  rule("who has a generation to read goes on to the next one", function*({ layer }) {
    const { claim, slot } = yield* begun(layer, entry("a"))
    const other = yield* openSlot(layer)
    const held = [yield* liveIn(slot), yield* liveIn(other)]
    yield* build(claim, "second", changes(2, [entry("b")]))
    for (const generation of held) {
      assert.deepStrictEqual(keysOf(yield* all(generation)), ["b"])
      assert.deepStrictEqual(yield* generation.checkpoint, at(2))
      assert.strictEqual(yield* generation.size, 1)
      assert.deepStrictEqual(keysOf(yield* generation.read(["a", "b"])), ["b"])
    }
  }),

  rule("a reader sees all of the old or all of the new, while many are swapped", function*({ layer }) {
    const slot = yield* openSlot(layer)
    const other = yield* openSlot(layer)
    const claim = yield* take(slot)
    const keys = range(1, 20).map(String)
    const fill = (round: number) =>
      build(
        claim,
        String(round),
        changes(round * 2, keys.map((key) => entry(key, { state: round, tags: ["all:1"], updated: -round }))),
        changes(round * 2 + 1, [])
      )
    yield* fill(1)
    let reads = 0
    let rounds = 1
    const live = yield* liveIn(other)
    const reading = yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
      const before = yield* live.checkpoint
      const found = [
        yield* all(live),
        yield* live.list({ sort: "updated", backwards: true, after: undefined, limit: 100 }),
        yield* live.byTag(["all:1"]),
        yield* live.read(keys)
      ]
      for (const entries of found) {
        assert.strictEqual(entries.length, keys.length)
        assert.strictEqual(new Set(entries.map(({ state }) => state)).size, 1)
      }
      assert.strictEqual(yield* live.size, keys.length)
      const after = yield* live.checkpoint
      assert.strictEqual(before!.position % 2, 1)
      // no swap between: all of it is what the checkpoint says
      if (before!.position === after!.position) {
        assert.deepStrictEqual(found.map(([first]) => first!.state), found.map(() => (after!.position - 1) / 2))
      }
      reads += 1
      yield* Effect.yieldNow
    })))
    while ((reads < 30 || rounds < 15) && reading.pollUnsafe() === undefined) {
      // in the middle of its reads, but no two of them in one
      const before = reads
      yield* fill(rounds += 1)
      while (reads === before && reading.pollUnsafe() === undefined) yield* Effect.yieldNow
    }
    yield* reading.pollUnsafe() ?? Effect.void
    assert.strictEqual((yield* look(other))?.definition, String(rounds))
  }),

  rule("the generation before is gone: nothing can be saved in it", function*({ layer }) {
    const { claim, live: old, slot } = yield* begun(layer, entry("a"))
    yield* build(claim, "second", changes(2, [entry("b")]))
    const before = yield* look(slot)
    yield* isLost(old.save(changes(3, [entry("x")])))
    assert.deepStrictEqual(yield* look(slot), before)
  }),

  rule("what is live is saved to while another is built, and neither knows of the other", function*({ layer }) {
    const { claim, live, slot } = yield* begun(layer, entry("a"))
    const building = yield* claim.begin("second")
    yield* building.save(changes(1, [entry("a", { state: "b" }), entry("b")]))
    yield* live.save(changes(5, [entry("l")], ["a"]))
    yield* building.save(changes(2, [entry("c")], ["b"]))
    assert.deepStrictEqual(yield* lookKeys(slot), ["l"])
    assert.deepStrictEqual(yield* live.checkpoint, at(5))
    assert.deepStrictEqual(keysOf(yield* all(building)), ["a", "c"])
    assert.deepStrictEqual(yield* building.checkpoint, at(2))
    yield* claim.swap
    assert.deepStrictEqual(yield* lookKeys(slot), ["a", "c"])
    assert.deepStrictEqual((yield* look(slot))?.checkpoint, at(2))
  }),

  rule(
    "what is live and what is being built survive that everybody closes, and are gone on with",
    function*({ layer }) {
      yield* Effect.scoped(Effect.gen(function*() {
        const { claim, live } = yield* begun(layer, entry("a", { tags: ["x:1"] }), entry("gone"))
        yield* live.save(changes(2, [entry("b", { tags: ["x:1"] })], ["gone"]))
        const building = yield* claim.begin("second")
        yield* building.save(changes(1, [entry("c", { tags: ["x:1"] }), entry("gone too")]))
        yield* building.save(changes(2, [], ["gone too"]))
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        const slot = yield* openSlot(layer)
        const found = yield* look(slot)
        assert.deepStrictEqual([found?.definition, found?.checkpoint], ["first", at(2)])
        assert.deepStrictEqual(found && keysOf(found.entries), ["a", "b"])
        assert.isFalse(yield* slot.isClaimed)
        const claim = yield* take(slot)
        const building = defined(yield* claim.building)
        const built = yield* everything(building)
        assert.deepStrictEqual([built.definition, built.checkpoint, keysOf(built.entries)], ["second", at(2), ["c"]])
        yield* building.save(changes(3, [entry("d", { tags: ["x:1"] })]))
        yield* (yield* liveOf(claim)).save(changes(3, [entry("l")]))
        assert.deepStrictEqual(yield* lookKeys(slot), ["a", "b", "l"])
        yield* claim.swap
        assert.deepStrictEqual(keysOf(yield* building.byTag(["x:1"])), ["c", "d"])
      }))
      const slot = yield* openSlot(layer)
      const found = yield* look(slot)
      assert.deepStrictEqual([found?.definition, found?.checkpoint], ["second", at(3)])
      assert.deepStrictEqual(found && keysOf(found.entries), ["c", "d"])
      yield* holding(slot, (claim) => Effect.map(claim.building, (building) => assert.isUndefined(building)))
    }
  ),

  rule("who begins throws away what was not finished, here or by an earlier holder", function*({ layer }) {
    const slot = yield* openSlot(layer)
    yield* holding(slot, (claim) =>
      Effect.gen(function*() {
        yield* build(claim, "first", changes(1, [entry("a")]))
        const unfinished = yield* claim.begin("unfinished")
        yield* unfinished.save(changes(2, [entry("u", { tags: ["x:1"] })]))
        const next = yield* claim.begin("next")
        assert.strictEqual(yield* next.size, 0)
        assert.isUndefined(yield* next.checkpoint)
        assert.strictEqual((yield* claim.building)?.definition, "next")
        yield* next.save(changes(2, [entry("w", { tags: ["x:1"] })]))
        // who does so anyway may lose its claim by it
        yield* isLost(unfinished.save(changes(3, [entry("v")])))
        assert.deepStrictEqual(keysOf(yield* all(next)), ["w"])
      }))
    yield* holding(slot, (claim) =>
      Effect.gen(function*() {
        const last = yield* claim.begin("last")
        assert.deepStrictEqual(yield* last.byTag(["x:1"]), [])
        yield* last.save(changes(2, [entry("z")]))
        assert.deepStrictEqual(yield* lookKeys(slot), ["a"])
        yield* claim.swap
      }))
    assert.deepStrictEqual(yield* lookKeys(slot), ["z"])
  }),

  rule("what is being built can be thrown away, and what is live stays", function*({ layer }) {
    const { claim, live, slot } = yield* begun(layer, entry("a"))
    const before = yield* look(slot)
    const building = yield* claim.begin("second")
    yield* building.save(changes(2, [entry("b")]))
    yield* claim.discard("building")
    assert.isUndefined(yield* claim.building)
    assert.deepStrictEqual(yield* look(slot), before)
    // there is none any more: nothing to do, nothing to swap
    yield* claim.discard("building")
    assert.isTrue(Exit.isFailure(yield* Effect.exit(claim.swap)))
    assert.deepStrictEqual(yield* look(slot), before)
    yield* live.save(changes(2, [entry("b")]))
    yield* isLost(building.save(changes(3, [entry("c")])))
    assert.deepStrictEqual(yield* lookKeys(yield* openSlot(layer)), ["a", "b"])
  }),

  rule("what is live can be thrown away, and what is being built stays", function*({ layer }) {
    const { claim, live, slot } = yield* begun(layer, entry("a"))
    const other = yield* openSlot(layer)
    const held = yield* liveIn(other)
    const building = yield* claim.begin("second")
    yield* building.save(changes(2, [entry("b")]))
    yield* claim.discard("live")
    assert.isUndefined(yield* claim.live)
    for (const each of [slot, other, yield* openSlot(layer)]) assert.isUndefined(yield* each.live)
    assert.deepStrictEqual(yield* all(held), [])
    assert.isUndefined(yield* held.checkpoint)
    yield* claim.discard("live")
    yield* building.save(changes(3, [entry("c")]))
    yield* claim.swap
    yield* isLost(live.save(changes(4, [entry("d")])))
    for (const each of [slot, other]) assert.deepStrictEqual(yield* lookKeys(each), ["b", "c"])
  })
]

const claims: ReadonlyArray<Rule> = [
  rule("one at a time has the claim, in whatever process, until its scope closes", function*({ layer }) {
    const store = yield* open(layer)
    const slots: ReadonlyArray<Slot> = [
      yield* store.open("courses", 1),
      yield* store.open("courses", 1),
      yield* openSlot(layer)
    ]
    for (const slot of slots) {
      const scope = yield* Scope.make()
      const claim = yield* Scope.provide(take(slot), scope)
      for (const each of slots) {
        assert.isTrue(yield* each.isClaimed)
        assert.isUndefined(yield* each.claim({ wait: false }))
      }
      // who only asks is not waited for
      assert.isFalse(yield* claim.isWanted)
      yield* Scope.close(scope, Exit.void)
      for (const each of slots) assert.isFalse(yield* each.isClaimed)
    }
  }),

  rule("of many that ask at once one gets it", function*({ layer }) {
    const slots = yield* Effect.forEach(range(1, 3), () => openSlot(layer))
    for (let round = 0; round < 3; round++) {
      yield* Effect.scoped(Effect.gen(function*() {
        const given = yield* Effect.forEach(
          [...slots, ...slots, ...slots],
          (slot) => slot.claim({ wait: false }),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(given.filter((claim) => claim !== undefined).length, 1)
      }))
    }
  }),

  rule("who waits is made known to the holder, and gets the claim when it is given up", function*({ layer }) {
    const slot = yield* openSlot(layer)
    const other = yield* openSlot(layer)
    const scope = yield* Scope.make()
    const claim = yield* Scope.provide(take(slot), scope)
    const live = yield* build(claim, "first", changes(1, [entry("a")]))
    assert.isFalse(yield* claim.isWanted)
    const waiting = yield* Effect.forkScoped(other.claim({ wait: true }), { startImmediately: true })
    yield* until(claim.isWanted)
    // it is still the holder's
    yield* live.save(changes(2, [entry("b")]))
    const building = yield* claim.begin("second")
    yield* building.save(changes(1, [entry("c")]))
    assert.isUndefined(waiting.pollUnsafe())
    yield* Scope.close(scope, Exit.void)
    const next: Claim = defined(yield* Fiber.join(waiting))
    assert.isTrue(yield* slot.isClaimed)
    assert.isUndefined(yield* slot.claim({ wait: false }))
    assert.isFalse(yield* next.isWanted)
    assert.deepStrictEqual(keysOf(yield* all(yield* liveOf(next))), ["a", "b"])
    assert.deepStrictEqual(keysOf(yield* all(defined(yield* next.building))), ["c"])
    yield* (yield* liveOf(next)).save(changes(3, [entry("d")]))
    for (const each of [slot, other]) assert.deepStrictEqual(yield* lookKeys(each), ["a", "b", "d"])
  }),

  rule("who waits when nobody has it gets it at once", function*({ layer }) {
    const slot = yield* openSlot(layer)
    assert.isDefined(yield* slot.claim({ wait: true }))
    assert.isTrue(yield* slot.isClaimed)
  }),

  rule("who waits does so in real time, whatever clock it has", function*({ layer }) {
    const slot = yield* openSlot(layer)
    const other = yield* openSlot(layer)
    const scope = yield* Scope.make()
    const claim = yield* Scope.provide(take(slot), scope)
    // stands still
    const clock = yield* TestClock.make()
    const waiting = yield* Effect.forkScoped(
      Effect.provideService(other.claim({ wait: true }), Clock.Clock, clock),
      { startImmediately: true }
    )
    yield* until(claim.isWanted)
    yield* Scope.close(scope, Exit.void)
    assert.isDefined(yield* Fiber.join(waiting))
    assert.isTrue(yield* slot.isClaimed)
  }),

  rule("who gives up waiting is forgotten", function*({ layer }) {
    const slot = yield* openSlot(layer)
    const other = yield* openSlot(layer)
    const scope = yield* Scope.make()
    const claim = yield* Scope.provide(take(slot), scope)
    const waiting = yield* Effect.forkScoped(Effect.scoped(other.claim({ wait: true })), { startImmediately: true })
    yield* until(claim.isWanted)
    yield* Fiber.interrupt(waiting)
    yield* until(Effect.map(claim.isWanted, (isWanted) => !isWanted))
    yield* Scope.close(scope, Exit.void)
    assert.isFalse(yield* slot.isClaimed)
    yield* take(slot)
  }),

  rule("a layer that only reads gives none, and reads what others build", function*(place) {
    const store = yield* open(defined(place.readOnly))
    assert.isTrue(store.readOnly)
    const slot = yield* store.open("courses", 1)
    assert.isUndefined(yield* slot.claim({ wait: false }))
    assert.isUndefined(yield* slot.claim({ wait: true }))
    assert.isUndefined(yield* slot.live)
    assert.isFalse(yield* slot.isClaimed)
    const { claim } = yield* begun(place.layer, entry("a"))
    yield* claim.note({ position: 2 as Position, problem: "p" })
    assert.deepStrictEqual(yield* lookKeys(slot), ["a"])
    assert.isTrue(yield* slot.isClaimed)
    assert.strictEqual((yield* slot.notice)?.problem, "p")
    assert.isUndefined(yield* slot.claim({ wait: true }))
  }, "readOnly"),

  rule("a holder whose claim was taken saves nothing, and is told", function*({ layer, thief }) {
    const slot = yield* openSlot(layer)
    const reader = yield* openSlot(layer)
    const scope = yield* Scope.make()
    const claim = yield* Scope.provide(take(slot), scope)
    const live = yield* build(claim, "first", changes(1, [entry("a", { tags: ["x:1"] })]))
    const building = yield* claim.begin("second")
    yield* building.save(changes(1, [entry("b")]))
    const before = yield* look(reader)
    const taken = yield* take(yield* openSlot(thief))
    yield* isLost(live.save(changes(2, [entry("c", { tags: ["x:1"] })], ["a"])))
    yield* isLost(building.save(changes(2, [entry("c")])))
    yield* isLost(claim.swap)
    yield* isLost(claim.begin("third"))
    yield* isLost(claim.discard("building"))
    yield* isLost(claim.discard("live"))
    assert.isTrue(yield* claim.isWanted)
    assert.deepStrictEqual(yield* look(reader), before)
    // who took it has all of it, and goes on
    const found = defined(yield* taken.building)
    assert.deepStrictEqual(keysOf(yield* all(found)), ["b"])
    assert.deepStrictEqual(yield* found.checkpoint, at(1))
    yield* (yield* liveOf(taken)).save(changes(2, [entry("t")]))
    assert.deepStrictEqual(yield* lookKeys(reader), ["a", "t"])
    assert.deepStrictEqual(yield* lookKeys(slot), ["a", "t"])
    yield* isLost(live.save(changes(3, [entry("c")])))
    // neither does the loser disturb it by giving up what it has not
    yield* Scope.close(scope, Exit.void)
    yield* found.save(changes(2, [entry("u")]))
    yield* taken.swap
    for (const each of [slot, reader]) assert.deepStrictEqual(yield* lookKeys(each), ["b", "u"])
  }),

  rule("a swap of somebody whose claim was taken changes nothing", function*({ layer, thief }) {
    const { claim, slot } = yield* begun(layer, entry("a"))
    const building = yield* claim.begin("second")
    yield* building.save(changes(2, [entry("b")]))
    const taken = yield* take(yield* openSlot(thief))
    yield* isLost(claim.swap)
    assert.deepStrictEqual(yield* lookKeys(slot), ["a"])
    yield* taken.swap
    assert.deepStrictEqual(yield* lookKeys(slot), ["b"])
  }),

  rule("a claim that was given up saves nothing", function*({ layer }) {
    const slot = yield* openSlot(layer)
    const scope = yield* Scope.make()
    const claim = yield* Scope.provide(take(slot), scope)
    const live = yield* build(claim, "first", changes(1, [entry("a")]))
    const building = yield* claim.begin("second")
    yield* building.save(changes(2, [entry("b")]))
    const before = yield* look(slot)
    yield* Scope.close(scope, Exit.void)
    yield* isLost(live.save(changes(2, [entry("c")])))
    yield* isLost(building.save(changes(3, [entry("c")])))
    yield* isLost(claim.swap)
    yield* isLost(claim.begin("third"))
    yield* isLost(claim.discard("live"))
    assert.isTrue(yield* claim.isWanted)
    assert.deepStrictEqual(yield* look(slot), before)
    const next = yield* take(slot)
    assert.strictEqual((yield* next.building)?.definition, "second")
  })
]

const several: ReadonlyArray<Rule> = [
  rule("what one saves the others read at once", function*({ layer }) {
    const store = yield* open(layer)
    const slot = yield* store.open("courses", 1)
    const others: ReadonlyArray<Slot> = [yield* store.open("courses", 1), yield* openSlot(layer)]
    const claim = yield* take(slot)
    const live = yield* build(claim, "first", changes(1, []))
    const held = yield* Effect.forEach(
      others,
      (other) => Effect.map(other.live, defined<Generation>)
    )
    for (let round = 2; round < 30; round++) {
      const removed = round > 4 ? [`k${round - 2}`] : []
      yield* live.save(changes(round, [entry(`k${round}`, { tags: [`t:${round % 2}`] })], removed))
      const expected = yield* everything(live)
      for (const generation of held) {
        assert.deepStrictEqual(yield* generation.checkpoint, at(round))
        assert.deepStrictEqual(yield* everything(generation), expected)
        assert.deepStrictEqual(yield* generation.byTag(["t:1"]), yield* live.byTag(["t:1"]))
      }
      for (const other of others) assert.deepStrictEqual(yield* look(other), expected)
      if (round === 15) {
        yield* build(claim, "first", changes(15, []))
        for (const other of others) assert.deepStrictEqual(yield* lookKeys(other), [])
        yield* build(claim, "first", changes(15, [entry("k14")]))
        for (const generation of held) assert.deepStrictEqual(keysOf(yield* all(generation)), ["k14"])
        break
      }
    }
  }),

  rule("they take turns, and each goes on where the one before was", function*({ layer }) {
    const slots: ReadonlyArray<Slot> = [yield* openSlot(layer), yield* openSlot(layer)]
    yield* holding(slots[0]!, (claim) => build(claim, "first", changes(1, [])))
    for (let round = 2; round < 12; round++) {
      yield* holding(slots[round % 2]!, (claim) =>
        Effect.gen(function*() {
          const live = yield* liveOf(claim)
          assert.strictEqual((yield* live.checkpoint)?.position, round - 1)
          assert.strictEqual(yield* live.size, round - 2)
          yield* live.save(changes(round, [entry(`k${round}`)]))
        }))
      for (const slot of slots) {
        const seen = yield* look(slot)
        assert.deepStrictEqual([seen?.size, seen?.checkpoint], [round - 1, at(round)])
      }
    }
  }),

  rule("a notice is told to those who read elsewhere, until it is taken back", function*({ layer }) {
    yield* Effect.scoped(Effect.gen(function*() {
      const slot = yield* openSlot(layer)
      const other = yield* openSlot(layer)
      const claim = yield* take(slot)
      for (
        const notice of [
          { position: 7 as Position, problem: "no\nsuch \"course\"\0 😀" },
          { position: Number.MAX_SAFE_INTEGER as Position, problem: "" }
        ]
      ) {
        yield* claim.note(notice)
        for (const each of [slot, other]) assert.deepStrictEqual(yield* each.notice, notice)
      }
      yield* claim.note(undefined)
      for (const each of [slot, other]) assert.isUndefined(yield* each.notice)
      yield* claim.note(undefined)
      yield* claim.note({ position: 8 as Position, problem: "stays" })
      assert.isUndefined(yield* slot.live)
    }))
    const slot = yield* openSlot(layer)
    assert.deepStrictEqual(yield* slot.notice, { position: 8 as Position, problem: "stays" })
  }),

  rule("names and versions do not touch one another", function*({ layer }) {
    const store = yield* open(layer)
    const ids = [["courses", 1], ["courses", 2], ["courses", 11], ["Courses", 1], ["courses 1", 1], [
      "others",
      1
    ]] as const
    const opened = yield* Effect.forEach(ids, ([name, version], i) =>
      Effect.gen(function*() {
        const slot = yield* store.open(name, version)
        assert.isUndefined(yield* slot.live)
        assert.isFalse(yield* slot.isClaimed)
        const claim = yield* take(slot)
        const live = yield* build(
          claim,
          `definition ${i}`,
          changes(i + 1, [entry("same", { state: i, tags: ["x:1"] })])
        )
        yield* claim.note({ position: 1 as Position, problem: `problem ${i}` })
        return { slot, claim, live, i }
      }))
    const check = Effect.forEach(opened, ({ i, slot }) =>
      Effect.gen(function*() {
        const [name, version] = ids[i]!
        for (const each of [slot, yield* openSlot(layer, name, version)]) {
          const seen = defined(yield* look(each))
          assert.deepStrictEqual([seen.definition, seen.checkpoint, seen.entries.map(({ state }) => state)], [
            `definition ${i}`,
            at(i + 1),
            [i]
          ])
          assert.strictEqual((yield* each.notice)?.problem, `problem ${i}`)
          assert.strictEqual((yield* (yield* liveIn(each)).byTag(["x:1"])).length, 1)
        }
      }))
    yield* check
    // what becomes of one is nothing to the others
    const [first, ...rest] = opened
    yield* first!.live.save(changes(9, [], ["same"]))
    yield* first!.claim.discard("live")
    yield* first!.claim.note(undefined)
    assert.isUndefined(yield* first!.slot.live)
    opened.shift()
    yield* check
    yield* Effect.forEach(rest, ({ live }) => live.save(changes(20, [])))
    assert.isUndefined(yield* first!.slot.live)
  }),

  rule("names are any text: like paths, alike, long", function*({ layer }) {
    const names = [
      "a",
      "A",
      "a/b",
      "a\\b",
      "../x",
      "../../x",
      "/x",
      ".",
      "..",
      "con",
      "a b",
      "a.",
      "ä",
      "a\u0308",
      "😀",
      "__proto__",
      "constructor",
      "'; --",
      "%61",
      "1",
      "x".repeat(100),
      `${"x".repeat(99)}y`,
      "é".repeat(50)
    ]
    yield* Effect.scoped(Effect.gen(function*() {
      const store = yield* open(layer)
      for (const name of names) {
        const slot = yield* store.open(name, 1)
        assert.isUndefined(yield* slot.live, name)
        yield* holding(slot, (claim) => build(claim, name, changes(1, [entry("key", { state: name })])))
      }
    }))
    const store = yield* open(layer)
    for (const name of names) {
      const seen = yield* look(yield* store.open(name, 1))
      assert.deepStrictEqual(seen?.entries.map(({ state }) => state), [name])
      assert.strictEqual(seen?.definition, name)
    }
  })
]

export const groups: { readonly [title: string]: ReadonlyArray<Rule> } = {
  saving,
  texts,
  lists,
  generations,
  claims,
  "several processes": several
}

export interface SuiteOptions {
  /** What the layer has not. */
  readonly without?: ReadonlyArray<NonNullable<Rule["needs"]>>
}

export const suite = (name: string, harness: Harness, { without = [] }: SuiteOptions = {}): void => {
  describe(`ProjectionStore: ${name}`, () => {
    for (const [title, rules] of Object.entries(groups)) {
      describe(`${title}`, () => {
        for (const { name, needs, run } of rules) {
          if (needs !== undefined && without.includes(needs)) continue
          // by the real clock: other processes have no other
          it.live(name, () => Effect.scoped(Effect.flatMap(harness, run)), 60_000)
        }
      })
    }
  })
}
