/** The soak, for a few seconds: see `npm run soak`, and CONTRIBUTING.md. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { makeMutant, modulesOf, mutants } from "../soak/mutants.ts"
import { sizes } from "../soak/plan.ts"
import { make } from "../soak/soak.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

const rounds = 2
const processes = 5
const patience = 60_000

describe("a soak", () => {
  it.live(
    "processes that are killed and stopped at random: the history alone proves every promise",
    (context) =>
      Effect.gen(function*() {
        const seed = Math.floor(Math.random() * 2 ** 31)
        const again = `npm run soak -- --small --rounds ${rounds} --processes ${processes} --seed ${seed}`
        console.log(again)
        // left where it is when something is wrong
        const root = mkdtempSync(join(tmpdir(), "effect-opossum-soak-"))
        const { run, tally } = make({
          seed,
          processes,
          root,
          size: sizes.small,
          patience,
          isOver: (tally) => tally.rounds >= rounds
        })
        const problems = yield* Effect.promise(run)
        yield* Effect.promise(() => context.annotate(JSON.stringify(tally)))
        assert.deepStrictEqual(problems, [], `${again} (the stores are in ${root})`)
        rmSync(root, { recursive: true, force: true })
        assert.isAtLeast(tally.appends, rounds * sizes.small.appends)
        assert.isAbove(tally.kills, 0)
        assert.isAbove(tally.seen, 0)
      }),
    120_000
  )

  it.live(
    "notices a lock that is released early and a writer that does not look for a successor",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const { run } = make({
          seed: 5,
          processes: 4,
          root,
          size: sizes.small,
          patience,
          isOver: (tally) => tally.rounds >= rounds,
          surroundings: makeMutant("lock-released-early-and-no-look", root)
        })
        assert.isAbove((yield* Effect.promise(run)).length, 0)
      }),
    120_000
  )

  it("its mutants fit the code", () => {
    for (const name of Object.keys(mutants)) assert.isNotEmpty(modulesOf(name), name)
  })
})
