import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { BaseSequencer } from "vitest/node"
import { sources } from "./scripts/source.ts"
import { loadPatches, mutants } from "./test/support/mutants.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** These take a minute and more each: begun last, they would keep one core busy while the other has nothing to do. */
const long = [
  "LedgerProtocol.test.ts",
  "LedgerProtocolFaults.test.ts",
  "StoreCrashes.test.ts",
  "processes/crashes.test.ts",
  "processes/projections.test.ts"
]

class LongFirst extends BaseSequencer {
  override async sort(files: Parameters<BaseSequencer["sort"]>[0]) {
    const rank = (path: string) => {
      const at = long.findIndex((name) => path.endsWith(name))
      return at < 0 ? long.length : at
    }
    return (await super.sort(files)).sort((a, b) => rank(a.moduleId) - rank(b.moduleId))
  }
}

export default defineConfig({
  plugins: [mutants({ root: here("."), patches: await loadPatches(here("test/support/mutants")) })],
  resolve: {
    alias: Array.from(
      sources,
      ([name, source]) => ({ find: new RegExp(`^${name}$`), replacement: fileURLToPath(source) })
    )
  },
  test: {
    include: ["test/**/*.test.ts"],
    // Checked by the compiler alone (`npm run check`): there is nothing in them to run.
    exclude: ["test/types/**"],
    pool: "forks",
    // Left to itself the runner keeps a core free, which of two is half.
    maxWorkers: "100%",
    sequence: { sequencer: LongFirst },
    // Guards against hanging, no more: with other work on the machine, what takes a second may take ten.
    testTimeout: 120_000,
    hookTimeout: 120_000
  }
})
