/** Each rule of the kit notices the mistake that it is about: a store that makes it breaks the rule. */
import { assert, describe, it } from "@effect/vitest"
import { Conformance } from "effect-opossum/testing"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { mutant } from "../support/mutants.ts"
import { patches } from "../support/mutants/eventStore.ts"

/** The mistake, and rules that notice it. */
const noticed: { readonly [name: string]: ReadonlyArray<string> } = {
  "store-after-inclusive": ["read-bounds-exclusive"],
  "store-before-inclusive": ["read-bounds-exclusive", "random-history"],
  "store-limit-before-filter": ["read-limit-after-filter"],
  "store-limit-before-reverse": ["read-backwards", "random-history"],
  "store-cut-untold": ["read-max-bytes"],
  "store-head-of-found": ["read-head-is-the-stores"],
  "store-moving-snapshot": ["stream-one-snapshot"],
  "store-torn-batch": ["read-one-snapshot", "read-nothing-below-a-head", "clients-see-whole-batches"],
  "store-keeps-references": ["data-copied"],
  "store-stream-forgets-limit": ["stream-as-read"],
  "store-stream-swallows-error": ["decode-error-in-stream"],
  "query-tags-ored": ["query-and-or"],
  "query-types-prefix": ["query-names-alike"],
  "query-tags-normalised": ["query-names-alike"],
  "query-tags-folded": ["query-names-alike"],
  "query-bad-tags-left-out": ["query-impossible"],
  "store-condition-after-inclusive": ["condition-after-exclusive", "random-history"],
  "store-condition-ignored-without-after": ["condition-without-after"],
  "store-all-without-after-ignored": ["condition-all-without-after", "random-history"],
  "store-checks-own-batch": ["condition-not-own-batch"],
  "store-every-append-conflicts": ["condition-unrelated", "condition-own-conditions"],
  "store-last-conflict": ["condition-after-exclusive"],
  "store-checks-then-acts": [
    "condition-one-wins",
    "condition-numbers-without-gaps",
    "condition-proved-by-history",
    "retry-at-once",
    "id-race",
    "random-decisions",
    "clients-number-without-gaps"
  ],
  "store-beyond-head-passes": ["condition-after-beyond-head"],
  "store-empty-after-condition": ["condition-after-empty-batch"],
  "store-condition-unchecked": ["condition-invalid"],
  "store-condition-before-ids": ["retry-before-condition"],
  "store-ids-not-looked-up": ["retry-answers-the-first", "retry-with-made-ids"],
  "store-part-of-a-batch-is-a-retry": ["retry-whole-batch", "retry-other-event", "random-history"],
  "store-retry-ignores-data": ["retry-other-content", "random-history"],
  "store-retry-ignores-tags": ["retry-other-content"],
  "store-retry-ignores-version": ["retry-other-content"],
  "store-retry-ignores-type": ["retry-other-content"],
  "store-retry-compares-text": ["retry-ignores-metadata"],
  "store-same-id-twice-in-a-batch": ["id-twice-in-a-batch"],
  "store-nan-passes": ["data-numbers"],
  "store-nesting-unbounded": ["limit-nesting"],
  "store-c1-in-tags": ["tag-invalid"],
  "store-surrogates-in-tags": ["tag-invalid"],
  "store-tags-not-merged": ["limit-tags"],
  "store-ambient-wins": ["metadata-annotated"],
  "store-further-metadata-lost": ["metadata-unknown-keys", "metadata-kept"],
  "store-newer-version-decoded": ["decode-error"],
  "store-upcasts-from-the-start": ["upcast-old-versions"],
  "store-time-of-its-own": ["id-and-time"],
  "store-subscription-skips": ["subscribe-many-pages", "subscribe-slow"],
  "store-subscription-repeats": ["subscribe-past-and-future"],
  "store-subscription-forgets-after": ["subscribe-after-exclusive"],
  "store-wakes-one-subscriber": ["subscribe-many", "subscribe-late", "await-many"],
  "store-wakes-early": ["await-beyond"],
  "store-wakes-at-the-head": ["await-beyond"],
  "store-waits-for-what-is-there": ["await-beyond"],
  "store-waits-for-anything": ["await-bad-position"],
  "store-reserves-for-ever": ["reserve-writes-nothing", "reserve-excludes-nobody"],
  "store-empty-head-is-zero": ["empty-store"],
  "store-positions-reversed": ["append-answers-positions"],
  "store-lists-only": ["append-one-event"],
  "store-position-twice": ["positions-increase"],
  "store-one-hash": ["commit-hash"],
  "store-event-by-event": ["batches-stay-together", "condition-sees-what-comes-with-it"],
  "store-failed-append-stays": ["append-after-a-failure"],
  "store-stores-what-was-interrupted": ["append-interrupted"],
  "store-drops-tags-of-large-batches": ["append-large-batch-tags"],
  "store-batch-too-small": ["limit-batch-events"],
  "store-reads-lag": ["read-your-writes"],
  "store-after-beyond-head-is-none": ["read-bounds-beyond-head"],
  "store-always-retagged": ["read-nothing-retagged"],
  "store-fractions-pass": ["read-bad-numbers"],
  "store-limit-in-batches": ["read-on-through-batches"],
  "query-empty-item": ["query-empty"],
  "query-item-by-item": ["query-event-once"],
  "store-last-forgets-before": ["read-last"],
  "store-stream-ends-at-large-events": ["stream-large-events"],
  "store-stream-of-the-past": ["stream-afresh"],
  "store-condition-ignored-with-after": ["condition-after-is-a-reads-head"],
  "store-ids-taken-by-failures": ["id-free-after-failure"],
  "store-made-ids-not-looked-up": ["retry-with-made-ids"],
  "store-undefined-passes": ["data-undefined"],
  "store-functions-pass": ["data-functions"],
  "store-instances-pass": ["data-class-instances"],
  "store-surrogates-pass": ["data-surrogates"],
  "store-arrays-pass": ["data-no-object"],
  "store-throws-what-was-thrown": ["data-throws", "event-class-throws"],
  "store-any-object-is-an-event": ["event-is-none"],
  "store-type-in-characters": ["limit-type"],
  "store-version-zero": ["version-invalid"],
  "store-id-in-characters": ["limit-id"],
  "store-metadata-unmeasured": ["metadata-invalid"],
  "store-short-tags": ["limit-tag-bytes"],
  "store-larger-events": ["limit-event-bytes"],
  "store-larger-batches": ["limit-batch-bytes"],
  "store-other-refusal": ["refusal-by-reason"],
  "store-copies-by-assignment": ["data-as-written"],
  "store-sorts-tags": ["tags-kept"],
  "store-all-raw": ["class-instances", "subscribe-typed"],
  "store-tags-of-fields-only": ["tags-add-up"],
  "store-random-of-its-own": ["id-from-random"],
  "store-subscription-ends-if-empty": ["subscribe-empty-store"],
  "store-subscription-to-everything": ["subscribe-query"],
  "store-subscription-from-the-start": ["subscribe-again"],
  "tags-are-never-seen": ["tags-by-function"],
  "tags-counted-again": ["tags-added-once"],
  "tags-of-a-thousand-events": ["tags-many-events"],
  "tags-conflict-at-their-event": ["tags-conflict-where-added"],
  "tags-never-conflict": ["tags-conflict-where-added", "clients-see-added-tags"],
  "tags-always-conflict": ["tags-conflict-for-news-only"],
  "tags-of-the-future": ["tags-as-of-the-snapshot"],
  "tags-are-events": ["tags-are-no-event"],
  "tags-retagged-before-too": ["tags-retagged"],
  "tags-change-the-first-write": ["tags-retry-unchanged"],
  "tags-bad-left-out": ["tags-bad"],
  "tags-limit-of-one-addition": ["tags-limit"],
  "verify-stops-early": ["verify-reads-everything"],
  "anchor-of-the-beginning": ["anchor-ends-the-history"],
  "anchor-of-no-position": ["anchor-of-a-position"],
  "anchor-of-any-store": ["anchor-of-another-history"],
  "statistics-count-additions": ["statistics-count"],
  "place-keeps-nothing": ["reopened-keeps-everything"],
  "place-opening-is-an-event": ["reopened-empty"],
  "place-begins-again": ["reopened-goes-on"],
  "place-index-not-read": ["reopened-finds-by-query", "random-clients-history"],
  "place-conditions-since-opening": ["reopened-conflicts", "random-clients-history"],
  "place-ids-since-opening": ["reopened-ids", "random-clients-history"],
  "place-subscriptions-since-opening": ["reopened-subscribes"],
  "place-closed-goes-on": ["closed-does-nothing"],
  "place-closing-forgets-the-newest": ["closing-keeps-the-acknowledged", "clients-come-and-go"],
  "place-closing-forgets-tags": ["reopened-keeps-added-tags", "random-clients-history"],
  "place-remembers-the-head": ["clients-read-their-appends"],
  "place-clients-count-alone": ["clients-increase-positions", "clients-append-at-once"],
  "place-conditions-miss-others": ["clients-conflict", "clients-one-wins", "random-clients-decisions"],
  "place-ids-of-others-unknown": ["clients-know-ids", "clients-repeat-at-once"],
  "place-others-wake-nobody": ["clients-wake", "clients-subscribe"]
}

/** Those that notice it by waiting in vain. */
const waiting = new Set([
  "store-subscription-skips",
  "store-wakes-one-subscriber",
  "store-waits-for-what-is-there",
  "store-waits-for-anything",
  "store-reserves-for-ever",
  "place-subscriptions-since-opening",
  "place-others-wake-nobody"
])

const isControl = (name: string) => name.startsWith("control-")

type Kit = typeof Conformance

/** The kit with the patch in it: rules and oracle may both rest on what is patched. */
const load = (name: string) => Effect.promise(() => mutant<Kit>("src/testing/Conformance.ts", name))

/** Why the patched oracle breaks a rule; `undefined` if it does not. */
const problem = (kit: Kit, id: string, timeout: Duration.Input = "20 seconds") => {
  // random histories are compared with the real oracle
  const { rules, run } = id.startsWith("random-") ? Conformance : kit
  const rule = rules.find((rule) => rule.id === id)
  assert(rule !== undefined, `there is no rule ${id}`)
  const target = { layer: kit.oracle, maintenance: true, place: kit.oraclePlace } as const
  return run(rule, target, { runs: 1000, seed: 1, timeout }).pipe(
    Effect.as(undefined),
    Effect.catch(({ message }) => Effect.succeed(message))
  )
}

describe("stores with a mistake", () => {
  it("each mistake is tried", () => {
    assert.deepStrictEqual(Object.keys(noticed).sort(), Object.keys(patches).filter((name) => !isControl(name)).sort())
  })

  it("each rule notices one", () => {
    assert.deepStrictEqual(
      [...new Set(Object.values(noticed).flat())].sort(),
      Conformance.rules.map(({ id }) => id).sort()
    )
  })

  // Else a rule could fail only because a part of the modules is there twice.
  for (const file of new Set(Object.values(patches).map(({ file }) => file))) {
    const names = Object.keys(patches).filter((name) => patches[name]!.file === file)
    it.live(`a change in ${file} that changes nothing is not noticed`, () =>
      Effect.gen(function*() {
        const control = names.find(isControl)
        assert(control !== undefined, "there is a control")
        const kit = yield* load(control)
        for (const id of new Set(names.flatMap((name) => noticed[name] ?? []))) {
          assert.isUndefined(yield* problem(kit, id))
        }
      }))
  }

  for (const [name, ids] of Object.entries(noticed)) {
    it.live(`${name} is noticed by ${ids.join(", ")}`, () =>
      Effect.gen(function*() {
        const kit = yield* load(name)
        for (const id of ids) {
          const message = yield* problem(kit, id, waiting.has(name) ? "1 second" : "20 seconds")
          assert(message !== undefined, `${id} does not notice it`)
          assert.strictEqual(message.includes("did not end within"), waiting.has(name), message)
        }
      }))
  }
})
