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

const cases: ReadonlyArray<readonly [mutant: string, scenario: Name, settings?: Settings]> = [
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
  ["appends-over-a-torn-tail", "a torn tail"],
  ["dirty-reader", "a reader beside two writers"],
  ["reader-unconfirmed-header", "a reader beside two writers"],
  ["verdict-unconfirmed", "three writers"],
  ["verdict-guessed", "two writers, one baton"],
  ["no-header-check", "three writers"],
  ["reuse-void", "two writers, one baton"],
  ["retries-a-sync", "a sync fails"],
  ["seals-behind-the-failed", "a sync fails"],
  ["adopts-half-a-batch", "a torn tail"],
  ["cuts-the-mark-off", "two writers, one baton"],
  ["leaves-gaps", "two writers, one baton"],
  ["swallows-at-roll-over", "roll-over"],
  ["name-not-synced", "one store, made by two"],
  ["tidies-another-store", "deleted and made anew while others write"],
  ["baton-in-another-store", "deleted and made anew while others write"]
]

describe("a weakened ledger is caught", () => {
  for (const [name, scenario, settings] of cases) {
    it(name, async () => {
      const weak = await mutant<typeof LedgerLive>("src/layers/LedgerLive.ts", `ledger-${name}`)
      const began = performance.now()
      let caught: unknown
      try {
        const r = run(scenario, weak, settings)
        console.log(name, "SURVIVES", JSON.stringify(r))
      } catch (cause) {
        caught = cause
        console.log(name, Math.round(performance.now() - began), String(cause).split("\n")[0])
        if (process.env["SHOW"]) console.log(String(cause))
      }
      assert.instanceOf(caught, Violation)
    }, 120_000)
  }
})
