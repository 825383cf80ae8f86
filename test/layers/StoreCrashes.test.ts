/**
 * The whole package with a power loss and a kill before each single system call that changes something: what was promised holds, and
 * the store goes on.
 *
 * `OPOSSUM_HARNESS=full` looks at more power losses at each call.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Harness from "../harness/store.ts"

const isFull = process.env["OPOSSUM_HARNESS"] === "full"
const timeout = isFull ? 7_200_000 : 240_000

describe("the store survives a crash at each call of", () => {
  for (const name of Object.keys(Harness.scenarios) as ReadonlyArray<Harness.Name>) {
    it.live(name, () =>
      Effect.gen(function*() {
        const { images, millis, points } = yield* Harness.crash(name, { most: isFull ? 256 : 6 })
        assert.isAbove(points, 5)
        assert.isAbove(images, points)
        console.log(`${name}: crashes at ${points} calls, ${images} different disks, ${millis} ms`)
      }), timeout)
  }
})
