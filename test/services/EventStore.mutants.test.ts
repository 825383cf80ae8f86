/** Each rule of the contract notices the mistake that it is about: a store that makes it fails the rule. */
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { mutant } from "../support/mutants.ts"
import { patches } from "../support/mutants/eventStore.ts"
import type * as NaiveDriver from "../support/naiveDriver.ts"
import * as Contract from "./EventStore.contract.ts"

/** The mistake, and (the beginning of) the name of a rule that notices it. */
const noticed: { readonly [name: string]: string } = {
  "store-after-inclusive": "`after` and `before` are exclusive",
  "store-before-inclusive": "`after` and `before` are exclusive",
  "store-limit-before-filter": "a limit applies after filtering",
  "store-limit-before-reverse": "backwards is from the newest",
  "store-cut-untold": "`maxBytes` cuts a read short",
  "store-head-of-found": "the head of a read is the store's",
  "store-moving-snapshot": "a stream sees one snapshot",
  "store-torn-batch": "a read returns its events and its head from one snapshot",
  "store-keeps-references": "what is done with an object after the append",
  "store-stream-forgets-limit": "a stream reads what a read does",
  "store-stream-swallows-error": "a stream emits what stands before",
  "query-tags-ored": "types are OR-ed",
  "query-types-prefix": "names that look alike",
  "query-tags-normalised": "names that look alike",
  "query-tags-folded": "names that look alike",
  "query-bad-tags-left-out": "a tag that no event can have",
  "store-condition-after-inclusive": "`after` is exclusive: an event that stands there",
  "store-condition-ignored-without-after": "without `after` any match fails",
  "store-all-without-after-ignored": "`all` without `after`",
  "store-checks-own-batch": "a batch is not checked against its own condition",
  "store-every-append-conflicts": "unrelated appends do not conflict",
  "store-last-conflict": "`after` is exclusive: an event that stands there",
  "store-checks-then-acts": "of many appends at once with one condition",
  "store-beyond-head-passes": "an `after` beyond the head",
  "store-empty-after-condition": "an empty batch is refused before",
  "store-condition-unchecked": "a condition that is none",
  "store-condition-before-ids": "ids are looked up before the condition",
  "store-ids-not-looked-up": "an append with the same ids",
  "store-part-of-a-batch-is-a-retry": "ids that are not one whole earlier batch",
  "store-retry-ignores-data": "another type, version, tag or data",
  "store-retry-ignores-tags": "another type, version, tag or data",
  "store-retry-ignores-version": "another type, version, tag or data",
  "store-retry-ignores-type": "another type, version, tag or data",
  "store-retry-compares-text": "other metadata and another order of keys",
  "store-same-id-twice-in-a-batch": "two events of one batch with one id",
  "store-nan-passes": "data that JSON would lose is refused: NaN",
  "store-nesting-unbounded": "data is nested at most 100 levels",
  "store-c1-in-tags": "a tag that is none",
  "store-surrogates-in-tags": "a tag that is none",
  "store-tags-not-merged": "an event has at most 64 tags",
  "store-ambient-wins": "what is annotated around appends",
  "store-further-metadata-lost": "keys of metadata that this version does not know",
  "store-newer-version-decoded": "an event that does not fit its class",
  "store-upcasts-from-the-start": "old versions are upcast",
  "store-time-of-its-own": "an event has an id and the time of its append",
  "store-subscription-skips": "a subscription catches up over many pages",
  "store-subscription-repeats": "a subscription delivers what was there",
  "store-subscription-forgets-after": "`after` is exclusive, at the head and beyond it too",
  "store-wakes-one-subscriber": "many subscribers see the same",
  "store-wakes-early": "awaitBeyond completes when",
  "store-wakes-at-the-head": "awaitBeyond completes when",
  "store-waits-for-what-is-there": "awaitBeyond completes when",
  "store-waits-for-anything": "what is no position cannot be waited for",
  "store-reserves-for-ever": "reserve writes nothing"
}

/** The plainest store with the patch in it, and the rules: both may rest on what is patched. */
const load = (name: string) =>
  Effect.promise(async () => {
    const { groups } = await mutant<typeof Contract>("test/services/EventStore.contract.ts", name)
    const { layer } = await mutant<typeof NaiveDriver>("test/support/naiveDriver.ts", name)
    return { layer, rules: Object.values(groups).flat() }
  })

describe("stores with a mistake", () => {
  const isControl = (name: string) => name.startsWith("control-")

  it("each mistake is tried", () => {
    const mistakes = Object.keys(patches).filter((name) => !isControl(name))
    assert.deepStrictEqual(Object.keys(noticed).sort(), mistakes.sort())
  })

  // Else a rule could fail only because a part of the modules is there twice.
  for (const name of Object.keys(patches).filter(isControl)) {
    it.effect(`${name} is not noticed`, () =>
      Effect.gen(function*() {
        const { layer, rules } = yield* load(name)
        for (const rule of rules) {
          const exit = yield* rule.run.pipe(Effect.scoped, Effect.provide(Layer.fresh(layer)), Effect.exit)
          assert.isTrue(Exit.isSuccess(exit), rule.name)
        }
      }))
  }

  // Named rules aside, random histories find what differs; always the same ones, so that this test is no game of chance.
  for (
    const name of [
      "control-store",
      "store-before-inclusive",
      "store-limit-before-reverse",
      "store-condition-after-inclusive",
      "store-all-without-after-ignored",
      "store-retry-ignores-data",
      "store-part-of-a-batch-is-a-retry"
    ]
  ) {
    it.effect(`${name} is ${isControl(name) ? "not " : ""}noticed by random histories`, () =>
      Effect.gen(function*() {
        const { layer } = yield* load(name)
        const result = yield* Arbitrary.checkEffect(
          Arbitrary.schema(Contract.History),
          (steps) => Effect.map(Effect.exit(Contract.isAsThePlainest(layer, steps)), Exit.isSuccess),
          { runs: 1000, seed: 1 }
        )
        assert.strictEqual(result._tag, isControl(name) ? "Passed" : "Falsified")
      }))
  }

  for (const [name, title] of Object.entries(noticed)) {
    // With the real clock: a rule may notice by waiting in vain.
    it.live(`${name} is noticed by "${title}"`, () =>
      Effect.gen(function*() {
        const { layer, rules } = yield* load(name)
        const found = rules.filter((rule) => rule.name.startsWith(title))
        assert.strictEqual(found.length, 1, "exactly one rule has this name")
        const exit = yield* found[0]!.run.pipe(
          Effect.scoped,
          Effect.provide(layer),
          Effect.timeout("1 second"),
          Effect.exit
        )
        assert.isTrue(Exit.isFailure(exit))
      }))
  }
})
