/** See `test/layers/internal/indexFormat.test.ts`, `indexMerge.test.ts` there, and `test/layers/IndexLive.merging.test.ts`. */
import type { Patches } from "../mutants.ts"

export const patches: Patches = {
  /** Sixteen hashes for all terms: most are shared. */
  "index-weak-hash": {
    file: "src/layers/internal/indexFormat.ts",
    find: "  hashed[0] = a\n  hashed[1] = b\n",
    replace: "  hashed[0] = (a & 3) << 30\n  hashed[1] = b & 3\n"
  },
  /** A list is one shorter than its parts together. */
  "index-merge-loses-a-posting": {
    file: "src/layers/internal/indexMerge.ts",
    find: "        table.u32(count)\n",
    replace: "        table.u32(count > 2 ? count - 1 : count)\n"
  },
  /** Each line keeps the bits of its last term. */
  "index-merge-loses-filter-bits": {
    file: "src/layers/internal/indexMerge.ts",
    find: "        Format.setBits(line, 0,",
    replace: "        if (written % 40 === 0) line.fill(0)\n        Format.setBits(line, 0,"
  },
  /** The parts go before the whole is there. */
  "index-parts-removed-early": {
    file: "src/layers/IndexLive.ts",
    find: "      const written = yield* writeMerged(merged, group, pause)",
    replace: `      for (const { name } of group) yield* remove(name)
      const written = yield* writeMerged(merged, group, pause)`
  },
  /** What is not in memory is not there. */
  "index-unloaded-is-absent": {
    file: "src/layers/IndexLive.ts",
    find: "      if (run?.filter === undefined || run.header === undefined) break\n",
    replace: `      if (run === undefined) break
      if (run.filter === undefined) {
        at = backwards ? run.first - 1 : run.last + 1
        continue
      }
`
  },
  /** Another process' larger run is not looked for. */
  "index-merged-away-is-derived": {
    file: "src/layers/IndexLive.ts",
    find: "if (yield* adopt(run, named)) return",
    replace: "if (named.length < 0 && (yield* adopt(run, named))) return"
  }
}
