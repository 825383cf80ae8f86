import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { sources } from "./scripts/source.ts"
import { loadPatches, mutants } from "./test/support/mutants.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

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
    testTimeout: 30_000,
    hookTimeout: 30_000
  }
})
