import { assert, it } from "@effect/vitest"
import { isFull, type Name, run } from "./scenarios.ts"

/** Explores the scenarios, each a test; says how much was seen. */
export const explored = (names: ReadonlyArray<Name>): void => {
  for (const name of names) {
    it(`${name}`, { timeout: isFull ? 7_200_000 : 240_000 }, () => {
      const { complete, ends, images, millis, runs, states } = run(name)
      assert.isTrue(complete)
      assert.isAbove(ends, 0)
      assert.isAbove(images, 0)
      console.log(`${name}: ${states} states, ${images} crashed disks, ${ends} ends, ${runs} real runs, ${millis} ms`)
    })
  }
}
