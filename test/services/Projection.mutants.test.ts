/** Each rule of the contract notices the mistake that it is about: projections that make it fail the rule. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Opossum from "../../src/layers/Opossum.ts"
import { mutant } from "../support/mutants.ts"
import { patches } from "../support/mutants/projection.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"
import { placeRules, rules } from "./Projection.contract.ts"

/** The mistake, and (the beginning of) the name of a rule that notices it. */
const noticed: { readonly [name: string]: string } = {
  "projection-counts-again-after-an-error": "what throws once is counted exactly once",
  "projection-saves-states-without-their-position": "states follow events",
  "projection-skips-what-throws": "what throws stops where it is",
  "projection-related-from-the-future": "related events are those from before",
  "projection-skips-pages": "events of the past are counted",
  "projection-ignores-other-events": "waiting for a position",
  "projection-version-goes-on": "an entry tells position",
  "projection-created-moves": "an entry tells position",
  "projection-keeps-what-is-removed": "an event may change several states",
  "projection-takes-any-key": "bad keys and tags stop it",
  "projection-takes-any-tag": "bad keys and tags stop it",
  "projection-overlooks-added-tags": "tags that are added later mark",
  "projection-always-tagged-anew": "a rebuild sees the tags of now",
  "projection-waits-too-little": "waiting for a position",
  "projection-any-cursor": "pages, in every order",
  "projection-last-page-early": "pages, in every order",
  "projection-swaps-too-early": "what was waited for stays there",
  "projection-shows-what-is-being-built": "a rebuild that fails leaves everything",
  "projection-one-failure-ends-all": "all, or some, are rebuilt",
  "projection-never-is-always": "when it is built by itself",
  "projection-builds-at-each-start": "after a restart it goes on",
  "projection-overlooks-other-events": "with other events it is built anew",
  "projection-begins-again": "a rebuild that a process did not live to finish",
  "projection-two-of-a-name": "two projections of one name",
  "projection-goes-quietly": "whoever waits when the layer closes",
  "projection-keeps-the-claim": "a rebuild may be asked for in the process that does not run it",
  "projection-hides-why": "what stops it is told in the other process",
  "projection-stops-for-good": "what throws stops where it is"
}

const load = (name: string) => Effect.promise(() => mutant<typeof Opossum>("src/layers/Opossum.ts", name))

const run = ({ layer, layerMemory }: typeof Opossum, title: string) => {
  const found = rules.filter(({ name }) => name.startsWith(title))
  const inPlace = placeRules.filter(({ name }) => name.startsWith(title))
  assert.strictEqual(found.length + inPlace.length, 1, "exactly one rule has this name")
  return (found.length === 1
    ? found[0]!.run.pipe(Effect.provide(Layer.fresh(layerMemory)))
    : Effect.flatMap(
      temporaryFolder,
      (root) =>
        inPlace[0]!.run((options) => layer({ root, store: "school", eventFiles: false, stateFiles: false, ...options }))
    ))
    .pipe(Effect.scoped, Effect.timeout("3 seconds"), Effect.exit)
}

describe("projections with a mistake", () => {
  const isControl = (name: string) => name.startsWith("control-")

  it("each mistake is tried", () => {
    const mistakes = Object.keys(patches).filter((name) => !isControl(name))
    assert.deepStrictEqual(Object.keys(noticed).sort(), mistakes.sort())
  })

  // Else a rule could fail only because a part of the modules is there twice.
  for (const name of Object.keys(patches).filter(isControl)) {
    it.live(`${name} is not noticed`, () =>
      Effect.gen(function*() {
        const opossum = yield* load(name)
        for (const title of new Set(Object.values(noticed))) {
          const exit = yield* run(opossum, title)
          assert.isTrue(Exit.isSuccess(exit), title)
        }
      }))
  }

  for (const [name, title] of Object.entries(noticed)) {
    // with the real clock: a rule may notice by waiting in vain
    it.live(`${name} is noticed by "${title}"`, () =>
      Effect.gen(function*() {
        const exit = yield* run(yield* load(name), title)
        assert.isTrue(Exit.isFailure(exit))
      }))
  }
})
