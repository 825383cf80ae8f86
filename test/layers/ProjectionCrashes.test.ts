/**
 * Read models in files, with a power loss and a kill before each single call on the storage, and with a second writer at each:
 * what is left is exactly what some prefix of the history gives, and can be counted to the end, each event once.
 *
 * `OPOSSUM_HARNESS=full` looks at more power losses, and lets others take over at each call of what is made smaller as well.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as ProjectionStoreFiles from "../../src/layers/ProjectionStoreFiles.ts"
import type * as Medium from "../harness/medium.ts"
import * as Harness from "../harness/projections.ts"
import { mutant } from "../support/mutants.ts"

const isFull = process.env["OPOSSUM_HARNESS"] === "full"
const timeout = isFull ? 7_200_000 : 1_200_000

/** Logs of some kilobytes are made smaller, in many small steps. */
const smallLogs = Effect.map(
  Effect.promise(() =>
    mutant<typeof ProjectionStoreFiles>("src/layers/ProjectionStoreFiles.ts", "projections-control-small-logs")
  ),
  (files): Harness.Implementation => ({ ...Harness.real, files })
)

const crashes = (
  name: Harness.Name,
  most: number,
  implementation = Effect.succeed(Harness.real),
  medium: Medium.Kind = "storage"
) =>
  it.live(`${name}${medium === "storage" ? "" : `, between ${medium}`}`, () =>
    Effect.gen(function*() {
      const { images, millis, points } = yield* Harness.crash(name, {
        implementation: yield* implementation,
        medium,
        most: isFull ? most * 16 : most
      })
      assert.isAbove(points, 10)
      assert.isAbove(images, points)
      console.log(`${name}, ${medium}: crashes at ${points} calls, ${images} different disks, ${millis} ms`)
    }), timeout)

describe("states and checkpoint survive a crash at each call of", () => {
  crashes("save", 12)
  crashes("first build", 12)
  crashes("rebuild", 8)
  crashes("swap", 24)
  crashes("discard", 8)
  crashes("an event that fails", 8)
  crashes("small compaction", 4, smallLogs)

  // the same over the real StorageNode
  for (const name of ["save", "rebuild", "swap", "discard"] as const) crashes(name, 4, undefined, "system calls")
  crashes("small compaction", 2, smallLogs, "system calls")
})

describe("of two that have the claim at once each event is counted once, whenever the other takes over during", () => {
  for (const name of ["save", "first build", "rebuild", "swap", "discard", "small compaction"] as const) {
    for (const rebuilds of [false, true]) {
      it.live(`${name}${rebuilds ? ", and builds anew" : ""}`, () =>
        Effect.gen(function*() {
          const isLong = name === "small compaction" && !isFull
          const { millis, points, told } = yield* Harness.takeOver(name, {
            implementation: name === "small compaction" ? yield* smallLogs : Harness.real,
            rebuilds,
            every: isLong ? 7 : 1
          })
          assert.isAbove(points, 10)
          assert.isAbove(told, 0)
          console.log(`${name}: taken over at ${points} calls, told ${told} times, ${millis} ms`)
        }), timeout)
    }
  }
})

describe("the runner, after a power loss", () => {
  it.live("goes on with what it had, although what confirmed the last events was lost", () =>
    Effect.gen(function*() {
      let went = 0
      for (const image of yield* Harness.afterPowerLoss) {
        const { position, status } = yield* Harness.restarted(image)
        assert.strictEqual(status.state, "live", JSON.stringify(status.error))
        assert.isAbove(position, 0)
        went++
      }
      assert.isAbove(went, 1)
    }), timeout)
})
