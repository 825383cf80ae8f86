/**
 * Stores whose files were damaged, by fixed seeds and by one of the day. Longer: `npm run fuzz -- --minutes 10`.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { temporaryFolder } from "../support/temporaryFolder.ts"
import * as Cases from "./cases.ts"
import { fixed } from "./fixed.ts"
import * as Image from "./image.ts"
import * as Stores from "./stores.ts"
import * as Subject from "./subject.ts"

const samples = Effect.runSync(Effect.cached(Stores.make))

const run = (options: Omit<Parameters<typeof Cases.run>[2], "onFailure">) =>
  Effect.gen(function*() {
    const { cases, failures, tallies } = yield* Cases.run(Subject, yield* samples, options)
    assert.deepStrictEqual(failures.map(Cases.format), [])
    assert.isAbove(cases, 0)
    let [right, refused] = [0, 0]
    for (const tally of tallies.values()) {
      right += tally.right
      refused += tally.refused
    }
    console.log(`${cases} cases, ${right} right answers, ${refused} refusals`)
    return { right, refused }
  })

/** In milliseconds: machines are busy. */
const longest = 120_000

describe("a damaged store answers rightly, or says where it is damaged", () => {
  for (const { count, seed, target } of fixed) {
    it.live(`${target}: ${count} cases`, () =>
      Effect.gen(function*() {
        const { refused, right } = yield* run({ seed, only: target, until: (n) => n >= count })
        assert.isAbove(right, count)
        // of what is derived nothing may be missed, so nothing is refused
        if (target === "derived") assert.strictEqual(refused, 0)
        else assert.isAbove(refused, 0)
      }), longest)
  }

  it.live(
    "on real files",
    () =>
      Effect.gen(function*() {
        const open = Image.onFiles(yield* temporaryFolder)
        const { right } = yield* run({ seed: 2, until: (n) => n >= 40, open })
        assert.isAbove(right, 50)
      }),
    longest
  )

  it.live("others each time", () => {
    const seed = Math.floor(Math.random() * 2 ** 31)
    const until = performance.now() + 2500
    console.log(`seed ${seed}: npm run fuzz -- --seed ${seed}`)
    return run({ seed, until: () => performance.now() > until })
  }, longest)
})
