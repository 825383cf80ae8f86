/** See `test/internal/indexFormat.test.ts`. */
import type { Patches } from "../mutants.ts"

export const patches: Patches = {
  /** Sixteen hashes for all terms: most are shared. */
  "index-weak-hash": {
    file: "src/layers/internal/indexFormat.ts",
    find: "  hashed[0] = a\n  hashed[1] = b\n",
    replace: "  hashed[0] = (a & 3) << 30\n  hashed[1] = b & 3\n"
  }
}
