/** That the cases which are tried each time bite: stores with a mistake, each of which must be caught by one of them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mutant } from "../support/mutants.ts"
import * as Cases from "./cases.ts"
import { fixed } from "./fixed.ts"
import type { Subject } from "./oracle.ts"
import * as Stores from "./stores.ts"

const samples = Effect.runSync(Effect.cached(Stores.make))

/** The mistakes, and which cases catch them: from shortly before the first that does. */
const caught: ReadonlyArray<readonly [name: string, target: typeof fixed[number]["target"], from: number]> = [
  ["no-checksum", "ledger", 49],
  ["no-chain", "ledger", 382],
  ["fields-believed", "ledger", 74],
  ["nested-for-ever", "ledger", 31],
  ["previous-not-compared", "ledger", 473],
  ["segments-as-text", "ledger", 0],
  ["empty-segment-skipped", "ledger", 115],
  ["far-segment-filled", "ledger", 34],
  ["description-believed", "ledger", 7],
  ["block-not-compared", "derived", 50],
  ["damaged-block-is-empty", "derived", 3],
  ["answers-not-compared", "ledger", 265],
  ["snapshot-without-checksum", "derived", 91],
  ["damaged-states-stay", "projections", 115]
]

const failuresOf = (subject: Subject, target: string, from: number) => {
  const { count, seed } = fixed.find((one) => one.target === target)!
  return Effect.gen(function*() {
    return yield* Cases.run(subject, yield* samples, {
      seed,
      only: target,
      from,
      until: (n) => n >= count,
      first: true
    })
  })
}

describe("a store with a mistake is caught", () => {
  for (const [name, target, from] of caught) {
    it.live(name, () =>
      Effect.gen(function*() {
        const subject = yield* Effect.promise(() => mutant<Subject>("test/fuzz/subject.ts", `fuzz-${name}`))
        const { failures } = yield* failuresOf(subject, target, from)
        assert.lengthOf(failures, 1, `${name} survives`)
        console.log(`${name}: case ${failures[0]!.n}: ${failures[0]!.problem.split("\n")[0]!.slice(0, 160)}`)
      }), 120_000)
  }

  it.live("and one without is not", () =>
    Effect.gen(function*() {
      const subject = yield* Effect.promise(() => mutant<Subject>("test/fuzz/subject.ts", "control-fuzz"))
      const tried = yield* Cases.run(subject, yield* samples, { seed: 1, until: (n) => n >= 20 })
      assert.deepStrictEqual(tried.failures, [])
    }))
})
