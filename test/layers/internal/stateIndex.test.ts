/** The index of states against the plainest one: a map that is sorted and filtered each time. */
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { type IndexEntry, StateIndex } from "../../../src/layers/internal/stateIndex.ts"
import type { Position } from "../../../src/Position.ts"
import type { EntryRange } from "../../../src/services/ProjectionStore.ts"

type Entry = IndexEntry<string>

// the plainest index

const byKey = (a: Entry, b: Entry) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key))

class Plain {
  readonly entries = new Map<string, Entry>()

  list({ after, backwards, limit, sort }: EntryRange): ReadonlyArray<Entry> {
    const time = (entry: Entry) => sort === "key" ? 0 : entry[sort]
    const inOrder = (a: Entry, b: Entry) => (time(a) - time(b) || byKey(a, b)) * (backwards ? -1 : 1)
    const from = after && { ...entry(after.key), created: after.time, updated: after.time }
    return [...this.entries.values()].sort(inOrder).filter((e) => from === undefined || inOrder(e, from) > 0).slice(
      0,
      limit
    )
  }

  byTag(tags: ReadonlyArray<string>): ReadonlyArray<Entry> {
    return [...this.entries.values()].filter((e) => tags.every((tag) => e.tags.includes(tag))).sort(byKey)
  }
}

const entry = (key: string, n = 0): Entry => ({
  key,
  tags: [],
  position: (n + 1) as Position,
  version: n + 1,
  created: 1_700_000_000_000 + (n % 3),
  updated: 1_700_000_000_000 + (n % 5),
  place: `place ${n}`
})

const pair = () => ({ index: new StateIndex<string>(), plain: new Plain() })

const set = ({ index, plain }: ReturnType<typeof pair>, entry: Entry) => {
  index.set(entry)
  plain.entries.set(entry.key, entry)
}

const sorts = ["key", "created", "updated"] as const

/** All that can be asked, in all orders, with pages of this length. */
const assertSame = ({ index, plain }: ReturnType<typeof pair>, tags: ReadonlyArray<string>, limit: number) => {
  assert.strictEqual(index.size, plain.entries.size)
  assert.deepStrictEqual([...index.entries()].sort(byKey), [...plain.entries.values()].sort(byKey))
  for (const [key, entry] of plain.entries) assert.deepStrictEqual(index.get(key), entry)
  for (const tag of tags) {
    assert.deepStrictEqual(index.byTag([tag]), plain.byTag([tag]))
    assert.deepStrictEqual(index.byTag([tag, tags[0]!]), plain.byTag([tag, tags[0]!]))
  }
  assert.deepStrictEqual(index.byTag(tags), plain.byTag(tags))
  for (const sort of sorts) {
    for (const backwards of [false, true]) {
      let after: EntryRange["after"]
      do {
        const range = { sort, backwards, limit, after }
        const page = index.list(range)
        assert.deepStrictEqual(page, plain.list(range))
        const last = page.at(-1)
        after = last && { key: last.key, time: sort === "key" ? 0 : last[sort] }
      } while (after !== undefined)
    }
  }
}

// steps

const Key = Schema.Literals(["a", "b", "B", "aa", "😀", "～", "__proto__", "constructor", "../x", "e\u0301", "é"])
const Tags = Schema.Array(Schema.Literals(["t:1", "t:2", "t:3", "__proto__"])).check(Schema.isMaxLength(3))
const Time = Schema.Literals([0, 1, 2, 1_700_000_000_000])
const Step = Schema.Union([
  Schema.TaggedStruct("Set", { key: Key, tags: Tags, created: Time, updated: Time }),
  Schema.TaggedStruct("Delete", { key: Key }),
  Schema.TaggedStruct("List", {
    sort: Schema.Literals(sorts),
    backwards: Schema.Boolean,
    limit: Schema.Literals([1, 2, 5, 100]),
    after: Schema.UndefinedOr(Schema.Struct({ key: Key, time: Time }))
  }),
  Schema.TaggedStruct("ByTag", { tags: Tags.check(Schema.isMinLength(1)) })
])

describe("StateIndex", () => {
  it.prop(
    "says what the plainest index says",
    [Schema.Array(Step).check(Schema.isMaxLength(40))],
    ([steps]) => {
      const both = pair()
      const { index, plain } = both
      let n = 0
      for (const step of steps) {
        if (step._tag === "Set") {
          n += 1
          set(both, {
            key: step.key,
            tags: [...new Set(step.tags)],
            created: step.created,
            updated: step.updated,
            position: n as Position,
            version: n * 2,
            place: `place ${n}`
          })
        } else if (step._tag === "Delete") assert.strictEqual(index.delete(step.key), plain.entries.delete(step.key))
        else if (step._tag === "List") {
          const range = {
            ...step,
            after: step.after && { ...step.after, time: step.sort === "key" ? 0 : step.after.time }
          }
          assert.deepStrictEqual(index.list(range), plain.list(range))
        } else assert.deepStrictEqual(index.byTag(step.tags), plain.byTag(step.tags))
      }
      assertSame(both, ["t:1", "t:2", "t:3", "__proto__"], 3)
    },
    { arbitrary: { runs: 1000 } }
  )

  // Above, no order is ever long enough to be merged into many times, made anew, or used for a tag's entries.
  it("stays so over thousands of keys that come, change and go between lists", () => {
    const both = pair()
    let seed = 1
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
      return Math.floor(seed / 2 ** 32 * below)
    }
    const prefixes = ["", "a/", "😀", "～", "\uffff"]
    const keyOf = (n: number) => `${prefixes[n % prefixes.length]}${n}`
    let n = 0
    for (const changes of [4000, 10, 1, 400, 3000, 7, 0, 60, 9000, 30]) {
      for (let i = 0; i < changes; i++) {
        const key = keyOf(random(5000))
        n += 1
        if (random(4) === 0) assert.strictEqual(both.index.delete(key), both.plain.entries.delete(key))
        else {
          set(both, {
            ...entry(key, n),
            created: random(50),
            updated: 1_700_000_000_000 + random(500),
            tags: ["all", `half:${random(2)}`, `some:${random(300)}`, `one:${n}`].slice(Math.max(0, random(6) - 2))
          })
        }
      }
      assertSame(both, ["half:1", "all", "some:7", `one:${n}`], 700)
    }
    // so many that they are picked from the order of keys
    assert.isAbove(both.plain.byTag(["all"]).length, 1000)
  })

  it("what is changed and what is gone leaves no trace under its tags", () => {
    const index = new StateIndex<string>()
    index.set({ ...entry("a"), tags: ["x", "y"] })
    index.set({ ...entry("b"), tags: ["y"] })
    index.set({ ...entry("a"), tags: ["y", "z"] })
    index.delete("b")
    index.set(entry("c"))
    assert.deepStrictEqual(index.byTag(["x"]), [])
    assert.deepStrictEqual(index.byTag(["y"]).map(({ key }) => key), ["a"])
    assert.deepStrictEqual(index.byTag(["z", "y"]).map(({ key }) => key), ["a"])
    assert.deepStrictEqual(index.byTag(["z", "none"]), [])
    assert.deepStrictEqual(index.byTag([]), [])
  })

  it("is as new when it was cleared", () => {
    const both = pair()
    for (let n = 0; n < 200; n++) set(both, { ...entry(`k${n}`, n), tags: [`t:${n % 3}`] })
    assertSame(both, ["t:1"], 50)
    both.index.clear()
    both.plain.entries.clear()
    assertSame(both, ["t:1"], 50)
    assert.isUndefined(both.index.get("k1"))
    for (let n = 100; n < 300; n++) set(both, { ...entry(`k${n}`, n), tags: [`t:${n % 4}`] })
    assertSame(both, ["t:1"], 50)
  })

  it("an entry that was given out does not change", () => {
    const index = new StateIndex<string>()
    index.set({ ...entry("a", 1), tags: ["x"] })
    const [first] = index.list({ sort: "key", backwards: false, limit: 1, after: undefined })
    index.set({ ...entry("a", 2), tags: ["y"] })
    assert.deepStrictEqual(first, { ...entry("a", 1), tags: ["x"] })
  })
})
