/**
 * The whole package with a power loss and a kill before each single system call that changes something, and with calls that
 * fail: what was promised holds, and the store goes on.
 *
 * One of forty failures (a call, and a way in which it fails) is tried, `OPOSSUM_SEED` says which; with `OPOSSUM_HARNESS=full` each, and more
 * power losses at each call.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Harness from "../harness/store.ts"
import { type Name, names, random, scenarios } from "../harness/storeScenarios.ts"

const isFull = process.env["OPOSSUM_HARNESS"] === "full"
const first = Number(process.env["OPOSSUM_SEED"] ?? 1)
const timeout = isFull ? 7_200_000 : 1_200_000

/** So small that all that a power loss may leave can be looked at; and one of which a third is enough. */
const most: { readonly [N in Name]?: number } = {
  "create": 128,
  "append": 128,
  "batch": 24,
  "take-over": 128,
  "baton": 64,
  "index merge": 2,
  "projection": 3
}

describe("the store survives a crash at each call of", () => {
  for (const name of names) {
    it.live(name, () =>
      Effect.gen(function*() {
        const { images, millis, points } = yield* Harness.crash(scenarios[name], {
          most: isFull ? 256 : most[name] ?? 6
        })
        assert.isAbove(points, 5)
        assert.isAbove(images, points)
        console.log(`${name}: crashes at ${points} calls, ${images} different disks, ${millis} ms`)
      }), timeout)
  }
})

describe("the store survives each call that fails, of", () => {
  // where projections fail with their store is told in ProjectionRunner.test.ts: it is waited out
  for (const name of names.filter((name) => name !== "projection")) {
    it.live(name, () =>
      Effect.gen(function*() {
        const { images, millis, runs } = yield* Harness.faults(scenarios[name], {
          most: isFull ? 16 : 1,
          every: isFull ? 1 : 40,
          seed: first
        })
        assert.isAbove(runs, 3)
        console.log(`${name}: ${runs} failures, ${images} disks, ${millis} ms`)
      }), timeout)
  }
})

describe("the store survives crashes and failures in long histories", () => {
  it.live(`from the seed ${first} on`, () =>
    Effect.gen(function*() {
      let points = 0
      let images = 0
      for (let seed = first; seed < first + (isFull ? 400 : 8); seed++) {
        const found = yield* Harness.crash(random(seed, 40), { most: 3, every: 11, seed }).pipe(
          Effect.tapCause(() => Effect.logError(`OPOSSUM_SEED=${seed}`))
        )
        points += found.points
        images += found.images
      }
      console.log(`long histories: crashes at ${points} calls, ${images} different disks`)
    }), timeout)
})
