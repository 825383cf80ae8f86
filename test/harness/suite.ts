import { assert, it } from "@effect/vitest"
import { isFull, type Name, run } from "./scenarios.ts"

/** Only a guard against hanging: how long it takes is a matter of the machine, and the largest takes minutes on a slow one. */
const timeout = isFull ? 7_200_000 : 1_200_000

/** Explores the scenarios, each a test; says how much was seen. */
export const explored = (names: ReadonlyArray<Name>): void => {
  for (const name of names) {
    it(`${name}`, { timeout }, () => {
      const { complete, ends, images, millis, runs, states } = run(name)
      assert.isTrue(complete)
      assert.isAbove(ends, 0)
      assert.isAbove(images, 0)
      console.log(`${name}: ${states} states, ${images} crashed disks, ${ends} ends, ${runs} real runs, ${millis} ms`)
    })
  }
}
