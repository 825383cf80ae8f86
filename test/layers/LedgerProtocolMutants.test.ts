/**
 * That the harness notices: weakened variants of the real ledger, each caught by an invariant. Whatever a crash leaves is opened with
 * the real one.
 */
import { assert, describe, it } from "@effect/vitest"
import type * as LedgerLive from "../../src/layers/LedgerLive.ts"
import type { Settings } from "../harness/check.ts"
import { Violation } from "../harness/explorer.ts"
import { type Name, run } from "../harness/scenarios.ts"
import { mutant } from "../support/mutants.ts"

const cases: ReadonlyArray<
  readonly [
    mutant: string,
    scenario: Name,
    settings?: Settings & { readonly preemptions?: number; readonly recovers?: boolean }
  ]
> = [
  ["ack-before-sync", "two writers, one baton"],
  ["no-check", "two writers, one baton"],
  ["check-before-write", "two writers, one baton"],
  // without power loss: the old tail is not synced in this variant, and that would tell as well
  ["read-before-create", "two writers, one baton", { killsOnly: true }],
  ["no-sync-of-old", "the owner was killed"],
  ["adopts-from-the-cache", "a sync fails"],
  ["no-dir-sync", "two writers, one baton"],
  ["dir-sync-late", "two writers, one baton"],
  ["no-baton", "two writers, one baton"],
  ["baton-not-atomic", "two writers, one baton"],
  ["appends-over-a-torn-tail", "power was lost behind the last sync"],
  ["dirty-reader", "a reader beside two writers"],
  ["reader-unconfirmed-header", "a reader beside two that do not wait"],
  ["verdict-unconfirmed", "two take-overs at once", { preemptions: 3 }],
  ["verdict-guessed", "two writers, one baton"],
  ["no-header-check", "two take-overs at once", { preemptions: 3 }],
  ["reuse-void", "two writers, one baton"],
  ["retries-a-sync", "a sync fails"],
  ["seals-behind-the-failed", "a sync fails"],
  ["adopts-half-a-batch", "a torn tail"],
  ["cuts-the-mark-off", "two writers, one baton"],
  ["trims-too-much", "hand-over of a padded segment"],
  ["trims-behind-the-baton", "hand-over of a padded segment"],
  ["leaves-gaps", "two writers, one baton", { recovers: true }],
  ["swallows-at-roll-over", "roll-over"],
  ["name-not-synced", "one store, made by two"],
  ["tidies-another-store", "deleted and made anew while others write"]
]

describe("a weakened ledger is caught", () => {
  for (const [name, scenario, settings] of cases) {
    it(`${name}`, { timeout: 600_000 }, async () => {
      const weak = await mutant<typeof LedgerLive>("src/layers/LedgerLive.ts", `ledger-${name}`)
      let caught: unknown
      try {
        run(scenario, weak, settings?.recovers ? { ...settings, recovery: weak } : settings)
      } catch (cause) {
        caught = cause
      }
      assert.instanceOf(caught, Violation, `${name} survives`)
      console.log(`${name}: ${caught.message}`)
    })
  }
})
