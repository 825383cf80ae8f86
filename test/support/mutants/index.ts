/** See `test/internal/indexFormat.test.ts`. */
import type { Patches } from "../mutants.ts"

export const patches: Patches = {
  /** Sixteen hashes for all terms: most are shared. */
  "index-weak-hash": {
    file: "src/layers/internal/indexFormat.ts",
    find: "return { key, high: a >>> 0, low: b >>> 0 }",
    replace: "return { key, high: (a & 3) * 0x40000000, low: b & 3 }"
  }
}
