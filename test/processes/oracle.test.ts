/** The judge of the processes' tests must notice what they look for. */
import { assert, describe, it } from "@effect/vitest"
import type { Addition, Fact, Note, Payload } from "../fixtures/appends.ts"
import type { TagNote } from "../fixtures/soakProcess.ts"
import {
  openTries,
  problemsOfFollowed,
  problemsOfHistory,
  problemsOfTagging,
  problemsOfWitnesses,
  withAdditions
} from "./oracle.ts"

/** A batch whose first event stands at this position. */
const batch = (
  position: number,
  name: string,
  more: Partial<Payload> & { readonly tags?: ReadonlyArray<string> } = {}
): ReadonlyArray<Fact> => {
  const { size = 1, tags = [], ...data } = more
  return Array.from({ length: size }, (_, index) => ({
    position: position + index,
    id: `${name}.${index}`,
    type: "Happened",
    tags,
    data: { batch: name, index, size, ...data, ...(data.number === undefined ? {} : { number: data.number + index }) }
  }))
}

const guard = (after: number, ...tags: ReadonlyArray<string>) => ({ items: [{ types: ["Happened"], tags }], after })
const stored = (name: string, ...positions: ReadonlyArray<number>): Note => ({
  _tag: "stored",
  batch: name,
  positions,
  duplicate: false,
  millis: 1,
  at: 1
})
const tried = (name: string): Note => ({ _tag: "try", batch: { batch: name } })

const good = [
  ...batch(1, "a", { size: 2, tags: ["x:1"], series: "n", number: 1 }),
  ...batch(3, "b", { tags: ["x:2"], guard: guard(0, "x:2") }),
  ...batch(5, "c", { size: 3, tags: ["x:1"], guard: guard(2, "x:1"), series: "n", number: 3 })
]
const part = (from: number, to?: number) => good.slice(from, to)

/** The texts that no problem has. */
const missing = (problems: ReadonlyArray<string>, ...texts: ReadonlyArray<string>) =>
  texts.filter((text) => !problems.some((problem) => problem.includes(text)))

describe("the judge of histories", () => {
  it("has nothing against a right one", () => {
    assert.deepStrictEqual(problemsOfHistory(good), [])
    assert.deepStrictEqual(problemsOfHistory([]), [])
    const notes = [tried("a"), stored("a", 1, 2), tried("b"), tried("c"), stored("c", 5, 6, 7), tried("d")]
    assert.deepStrictEqual(
      problemsOfWitnesses(good, [...notes, { _tag: "refused", batch: "d", error: "AppendConditionFailed" }]),
      []
    )
    assert.deepStrictEqual(openTries(notes), ["b", "d"])
    const reads = [{ head: 3, events: part(0, 3) }, { head: 7, events: part(3) }]
    assert.deepStrictEqual(problemsOfFollowed(good, { subscribed: good, reads }), [])
  })

  it("notices a decision that was overtaken", () => {
    assert.deepStrictEqual(
      missing(
        problemsOfHistory([...batch(1, "a", { tags: ["x:1"] }), ...batch(2, "b", { guard: guard(0, "x:1") })]),
        "missed 1"
      ),
      []
    )
  })

  it("notices a batch that is there in part, in pieces or twice", () => {
    assert.deepStrictEqual(missing(problemsOfHistory(part(0, 5)), "lacks its part 2"), [])
    assert.deepStrictEqual(missing(problemsOfHistory(part(1)), "does not follow"), [])
    assert.deepStrictEqual(
      missing(problemsOfHistory([good[0]!, ...part(2, 3), good[1]!]), "not in one piece", "comes after"),
      []
    )
    assert.deepStrictEqual(
      missing(
        problemsOfHistory([...batch(1, "a"), ...batch(2, "a")]),
        "batch a is there twice",
        "event a.0 is there twice"
      ),
      []
    )
  })

  it("notices a number that is missing or given twice", () => {
    assert.deepStrictEqual(missing(problemsOfHistory(part(2)), "3 at 5 instead of 1"), [])
    assert.deepStrictEqual(
      missing(
        problemsOfHistory([...batch(1, "a", { series: "n", number: 1 }), ...batch(2, "b", { series: "n", number: 1 })]),
        "instead of 2"
      ),
      []
    )
  })

  it("notices what was acknowledged and is not there, and what was refused and is", () => {
    const all = ["a", "b", "c"].map(tried)
    assert.deepStrictEqual(missing(problemsOfWitnesses(good, [...all, stored("a", 1)]), "a was acknowledged at 1"), [])
    assert.deepStrictEqual(
      missing(
        problemsOfWitnesses(good, [...all, tried("d"), stored("d", 8)]),
        "d was acknowledged at 8, where nothing is"
      ),
      []
    )
    assert.deepStrictEqual(missing(problemsOfWitnesses(good, [...all, stored("b", 5)]), "where c is"), [])
    assert.deepStrictEqual(
      missing(
        problemsOfWitnesses(good, [...all, { _tag: "refused", batch: "b", error: "StoreBusy" }]),
        "refused (StoreBusy)"
      ),
      []
    )
    assert.deepStrictEqual(
      problemsOfWitnesses(good, [...all, { _tag: "refused", batch: "b", error: "AppendOutcomeUnknown" }]),
      []
    )
    assert.deepStrictEqual(missing(problemsOfWitnesses(good, all.slice(1)), "nobody tried a"), [])
  })

  it("notices what who follows missed, saw twice, or in part", () => {
    const reads = [{ head: 7, events: good }]
    assert.deepStrictEqual(
      missing(
        problemsOfFollowed(good, { subscribed: [...part(0, 2), ...part(3)], reads }),
        "parts from the history at its event 2"
      ),
      []
    )
    assert.deepStrictEqual(
      missing(problemsOfFollowed(good, { subscribed: [...part(0, 2), ...part(1)], reads }), "parts from the history"),
      []
    )
    assert.deepStrictEqual(
      missing(problemsOfFollowed(good, { subscribed: good, reads: [{ head: 6, events: part(0, 5) }] }), "part 1 of 3"),
      []
    )
    assert.deepStrictEqual(
      missing(
        problemsOfFollowed(good, { subscribed: good, reads: [{ head: 7, events: part(0, 5) }] }),
        "saw 5 events instead of 6"
      ),
      []
    )
    assert.deepStrictEqual(
      missing(
        problemsOfFollowed(good, {
          subscribed: good,
          reads: [{ head: 7, events: part(0, 3) }, { head: 3, events: [] }]
        }),
        "the head fell"
      ),
      []
    )
  })

  it("notices what nobody tried, and refusals that are counted as such", () => {
    assert.deepStrictEqual(missing(problemsOfWitnesses(good, []), "nobody tried a", "nobody tried c"), [])
    assert.deepStrictEqual(
      missing(
        problemsOfWitnesses(good, [...["a", "b", "c"].map(tried), {
          _tag: "refused",
          batch: "c",
          error: "AppendOutcomeUnknown"
        }], new Set()),
        "c was refused (AppendOutcomeUnknown)"
      ),
      []
    )
  })
})

describe("the judge of histories in which tags were added", () => {
  const addition = (
    position: number,
    ...targets: ReadonlyArray<readonly [position: number, tag: string]>
  ): Addition => ({
    position,
    targets: targets.map(([position, tag]) => ({ position, tags: [tag] }))
  })
  const items = [{ types: ["Happened"], tags: ["x:1"] }]
  const tagging: TagNote = { _tag: "tagging", items, tag: "m" }
  const tagged = (upTo: number): TagNote => ({ ...tagging, _tag: "tagged", upTo })
  const history = [
    ...batch(1, "a", { size: 2, tags: ["x:1"] }),
    ...batch(4, "b", { tags: ["x:1"], guard: { ...guard(3, "m"), seen: 2 } })
  ]
  const additions = [addition(3, [1, "m"], [2, "m"])]

  it("has nothing against a right one", () => {
    assert.deepStrictEqual(problemsOfHistory(history, additions), [])
    assert.deepStrictEqual(problemsOfTagging(history, additions, [tagging, tagged(3)]), [])
    assert.deepStrictEqual(withAdditions(history, additions).map(({ tags }) => tags.join()), ["x:1,m", "x:1,m", "x:1"])
    // said again, it changes nothing
    const again = [...additions, addition(5, [1, "m"])]
    const later = [...history, ...batch(6, "c", { guard: { ...guard(4, "m"), seen: 2 } })]
    assert.deepStrictEqual(problemsOfHistory(later, again), [])
    assert.deepStrictEqual(withAdditions(history, again)[0]!.tags, ["x:1", "m"])
    const reads = [{ head: 3, events: history.slice(0, 2) }, { head: 4, events: history.slice(2) }]
    assert.deepStrictEqual(problemsOfFollowed(history, { subscribed: [], reads }, new Set([3])), [])
  })

  it("notices a decision that missed an addition", () => {
    const late = [...history.slice(0, 2), ...batch(4, "b", { guard: guard(2, "m") })]
    assert.deepStrictEqual(missing(problemsOfHistory(late, additions), "looked up to 2 and missed the tags of 3"), [])
  })

  it("notices a decision that saw too little, or too much", () => {
    for (const seen of [1, 3]) {
      const other = [...history.slice(0, 2), ...batch(4, "b", { guard: { ...guard(3, "m"), seen } })]
      assert.deepStrictEqual(missing(problemsOfHistory(other, additions), `saw ${seen} events instead of 2`), [])
    }
    const early = [...history.slice(0, 2), ...batch(4, "b", { guard: { ...guard(3, "m"), seen: 2 } })]
    assert.deepStrictEqual(missing(problemsOfHistory(early, []), "saw 2 events instead of 0"), [])
  })

  it("notices tags that nobody added, that are nowhere, and that were acknowledged and are not there", () => {
    assert.deepStrictEqual(missing(problemsOfTagging(history, additions, []), "nobody tried to add m to 1"), [])
    const other: TagNote = { ...tagging, items: [{ types: ["Other"] }] }
    assert.deepStrictEqual(missing(problemsOfTagging(history, additions, [other]), "nobody tried to add m to 2"), [])
    assert.deepStrictEqual(
      missing(problemsOfTagging(history, [addition(3, [7, "m"])], [tagging]), "adds tags to 7, where no event is"),
      []
    )
    assert.deepStrictEqual(
      missing(
        problemsOfTagging(history, [addition(3, [1, "m"])], [tagging, tagged(3)]),
        "m was added to all up to 3, and 2 lacks it"
      ),
      []
    )
  })

  it("notices a read that ends before its head though an event is there", () => {
    assert.deepStrictEqual(
      missing(
        problemsOfFollowed(history, { subscribed: [], reads: [{ head: 3, events: history.slice(0, 2) }] }),
        "a read at 3 ends at 2"
      ),
      []
    )
  })
})
