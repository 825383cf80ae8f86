/** Each rule of the contract notices the mistake that it is about: a store that makes it fails the rule. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as ProjectionStoreMemory from "../../src/layers/ProjectionStoreMemory.ts"
import { mutant } from "../support/mutants.ts"
import { patches } from "../support/mutants/projectionStore.ts"
import { memoryPlace } from "../support/projectionPlaces.ts"
import * as Contract from "./ProjectionStore.contract.ts"

/** The mistake, and the beginning of the name of a rule that notices it. */
const noticed: { readonly [name: string]: string } = {
  "states-removed-before-refused": "a save that fails leaves states",
  "states-checkpoint-before-refused": "a save that fails leaves states",
  "states-checkpoint-shared": "what is done with objects",
  "states-checkpoint-without-retagged": "all of a checkpoint is kept",
  "states-checkpoint-of-changes-only": "a save without states",
  "states-saved-in-two-steps": "a reader sees all of a save",
  "states-large-saves-cut": "10,000 states",
  "states-removal-ignored": "a state that is removed",
  "states-null-is-none": "states are any JSON",
  "states-ordered-by-store": "keys are read in the order asked for",
  "states-keys-normalised": "keys are kept as they are",
  "states-tags-stay": "tags are those of the state as it is now",
  "states-tags-stay-when-removed": "a state that is removed",
  "states-tags-ored": "of several tags all are needed",
  "states-after-inclusive": "pages, sorted by created, ",
  "states-after-inclusive-backwards": "pages, sorted by created backwards",
  "states-after-must-be-there": "pages, sorted by key, ",
  "states-order-of-made": "any history of saves",
  "states-keys-by-units": "keys are kept as they are",
  "states-times-as-text": "times are any number",
  "states-building-seen": "readers never see what is being built",
  "states-reader-stays-behind": "who has a generation to read goes on",
  "states-swapped-in-two-steps": "a reader sees all of the old",
  "states-swap-keeps-building": "a swap replaces all of the old",
  "states-swap-merges": "a swap replaces all of the old",
  "states-saved-in-what-is-gone": "the generation before is gone",
  "states-begin-goes-on": "who begins throws away",
  "states-building-discarded-with-live": "what is live can be thrown away",
  "states-live-discarded-with-building": "what is being built can be thrown away",
  "states-building-ends-with-claim": "what is live and what is being built survive",
  "states-claims-for-all": "one at a time has the claim",
  "states-claim-never-given-up": "one at a time has the claim",
  "states-claim-not-waited-for": "who waits is made known",
  "states-claim-always-waited-for": "one at a time has the claim",
  "states-loser-saves": "a holder whose claim was taken",
  "states-loser-not-told": "a claim that was given up",
  "states-waiter-untold": "who waits is made known",
  "states-waiter-remembered": "who gives up waiting",
  "states-claim-untold": "who waits when nobody has it",
  "states-notice-stays": "a notice is told",
  "states-of-all-versions": "names and versions do not touch",
  "states-names-folded": "names are any text",
  "states-names-normalised": "names are any text",
  "states-version-beside-name": "names and versions do not touch"
}

const rules = Object.values(Contract.groups).flat()

/** Mistakes that make a rule wait for what does not come. */
const inVain: ReadonlySet<string> = new Set([
  "states-claim-not-waited-for",
  "states-claim-always-waited-for",
  "states-waiter-untold",
  "states-waiter-remembered"
])

const run = Effect.fnUntraced(function*(name: string, rule: Contract.Rule) {
  const { make } = yield* Effect.promise(() =>
    mutant<typeof ProjectionStoreMemory>("src/layers/ProjectionStoreMemory.ts", name)
  )
  const outcome = Effect.scoped(Effect.flatMap(memoryPlace(make), rule.run))
  return yield* Effect.exit(inVain.has(name) ? Effect.timeout(outcome, "1 second") : outcome)
})

describe("stores of states with a mistake", () => {
  const isControl = (name: string) => name.startsWith("control-")

  it("each mistake is tried", () => {
    assert.deepStrictEqual(
      Object.keys(noticed).sort(),
      Object.keys(patches).filter((name) => !isControl(name)).sort()
    )
  })

  // Else a rule could fail only because a part of the modules is there twice.
  for (const name of Object.keys(patches).filter(isControl)) {
    it.live(`${name} is not noticed`, () =>
      Effect.gen(function*() {
        for (const rule of rules) {
          if (rule.needs !== undefined) continue
          assert.isTrue(Exit.isSuccess(yield* run(name, rule)), rule.name)
        }
      }), 60_000)
  }

  for (const [name, title] of Object.entries(noticed)) {
    it.live(`${name} is noticed by "${title}"`, () =>
      Effect.gen(function*() {
        const found = rules.filter((rule) => rule.name.startsWith(title))
        assert.strictEqual(found.length, 1, "exactly one rule has this name")
        assert.isTrue(Exit.isFailure(yield* run(name, found[0]!)))
      }), 20_000)
  }
})
