/** Files that are, or claim to be, much larger than a store's: right answers or errors, in memory that does not depend on their size. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { temporaryFolder } from "../support/temporaryFolder.ts"

const path = (file: string) => fileURLToPath(new URL(file, import.meta.url))

/** In MiB: the largest batch, a line behind it, what parsing them takes, and Node itself. */
const most = 768

describe("files that are much too large", () => {
  it.live("are not read as a whole", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const program = ["--import", path("../../scripts/source.ts"), path("giants.ts"), root]
      const { stdout } = yield* Effect.promise(() => promisify(execFile)(process.execPath, program))
      const told = stdout.split("\n").filter((line) => line.startsWith("{")).map((line) =>
        JSON.parse(line) as { readonly name: string; readonly ends: ReadonlyArray<string>; readonly mebibytes: number }
      )
      assert.isAbove(told.length, 10)
      for (const { ends, mebibytes, name } of told) {
        for (const end of ends) {
          assert.match(end, /^found 1$|^EventStoreError: the store is damaged in shop\/\S+ at byte \d+/, name)
        }
        assert.isBelow(mebibytes, most, name)
      }
    }), 120_000)
})
