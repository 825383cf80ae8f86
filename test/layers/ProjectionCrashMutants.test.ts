/** That the harness notices: weakened projections, each caught. What a crash leaves is opened with the real ones, but where it is said. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as ProjectionFold from "../../src/layers/internal/ProjectionFold.ts"
import type * as ProjectionStoreFiles from "../../src/layers/ProjectionStoreFiles.ts"
import * as Harness from "../harness/projections.ts"
import { mutant } from "../support/mutants.ts"

type Way = "crash" | "calm" | "take over" | "recovers"

const files: ReadonlyArray<readonly [mutant: string, scenario: Harness.Name, way: Way]> = [
  ["checkpoint-after-the-states", "save", "crash"],
  ["checkpoint-before-the-states", "save", "crash"],
  ["swap-unsynced", "swap", "crash"],
  ["swap-unsynced", "first build", "crash"],
  ["current-not-replaced-in-one-step", "swap", "crash"],
  ["old-removed-first", "swap", "crash"],
  ["folders-unsynced", "first build", "crash"],
  ["not-fenced", "save", "take over"],
  ["numbers-given-twice", "discard", "take over"],
  ["current-removed-late", "discard", "take over"],
  ["copy-forgets-what-changed", "compaction", "calm"],
  ["copy-keeps-what-was-removed", "compaction", "calm"],
  ["copy-unsaved", "compaction", "calm"],
  ["tags-not-updated", "save", "calm"],
  ["tags-kept", "save", "calm"]
]

const folds: typeof files = [
  ["resumed-too-early", "first build", "recovers"],
  ["resumed-too-early", "save", "calm"],
  ["related-of-the-future", "first build", "calm"],
  ["applied-again-after-an-error", "an event that fails", "calm"],
  ["half-an-event-counted", "first build", "calm"],
  ["removal-unsaved", "save", "calm"],
  ["version-goes-on-after-a-removal", "first build", "calm"]
]

const caught = (name: string, scenario: Harness.Name, way: Way, implementation: Harness.Implementation) =>
  Effect.gen(function*() {
    const attempt = Effect.gen(function*() {
      if (way === "take over") {
        for (const rebuilds of [false, true]) yield* Harness.takeOver(scenario, { implementation, rebuilds })
      } else {
        const recovery = way === "recovers" ? { recovery: implementation } : {}
        yield* Harness.crash(scenario, { implementation, ...recovery, isCalm: way === "calm", most: 6 })
      }
    })
    const exit = yield* Effect.exit(attempt)
    assert(Exit.isFailure(exit), `${name} survives`)
    const why = Cause.squash(exit.cause)
    // or it breaks what it is part of
    assert(why instanceof Harness.Violation || why instanceof TypeError, `${name}: ${String(why)}`)
    console.log(`${name}: ${why.message.slice(0, 120)}`)
  })

describe("weakened projections are caught", () => {
  for (const [name, scenario, way] of files) {
    it.live(`${name}, ${scenario}`, () =>
      Effect.gen(function*() {
        const weak = yield* Effect.promise(() =>
          mutant<typeof ProjectionStoreFiles>("src/layers/ProjectionStoreFiles.ts", `projections-${name}`)
        )
        yield* caught(name, scenario, way, { ...Harness.real, files: weak })
      }), 120_000)
  }
  for (const [name, scenario, way] of folds) {
    it.live(`${name}, ${scenario}`, () =>
      Effect.gen(function*() {
        const weak = yield* Effect.promise(() =>
          mutant<typeof ProjectionFold>("src/layers/internal/ProjectionFold.ts", `projections-${name}`)
        )
        yield* caught(name, scenario, way, { ...Harness.real, fold: weak })
      }), 120_000)
  }
})
