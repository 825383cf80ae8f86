/**
 * That the crashes of the whole store notice: weakened layers, each caught in a scenario by what must hold. Whatever a crash leaves is
 * opened with the real ones, unless it is what reads that is weakened.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { EventStore } from "../../src/services/EventStore.ts"
import * as MountedDisk from "../harness/mountedDisk.ts"
import * as Tally from "../harness/projectionsTally.ts"
import * as RealStack from "../harness/stack.ts"
import * as Harness from "../harness/store.ts"
import { type Stack, Violation } from "../harness/storeClient.ts"
import { type Name, scenarios } from "../harness/storeScenarios.ts"
import { mutant } from "../support/mutants.ts"
import { patches } from "../support/mutants/storeCrashes.ts"

interface Case {
  readonly scenario: Name
  /** Part of what is told; by when runs are merged, it is one thing or another. */
  readonly says: string | RegExp
  /** What comes after the crash is weakened as well. */
  readonly recovers?: boolean
  readonly most?: number
  /** It is found by calls that fail, not by crashes: by these. */
  readonly faults?: "lstat"
}

const cases: { readonly [name: string]: Case } = {
  "crashes-data-not-synced": { scenario: "append", says: "an acknowledged event is lost" },
  "crashes-folders-not-synced": { scenario: "segment change", says: "is lost" },
  "crashes-documents-not-synced": { scenario: "create", says: "the store cannot be used" },
  "crashes-short-writes-believed": { scenario: "a write fails", says: "is lost" },
  "crashes-looks-throw": { scenario: "batch", says: "lstat", faults: "lstat" },
  "crashes-confirmed-before-durable": { scenario: "append", says: "is damaged" },
  "crashes-gives-way-early": { scenario: "two writers in turn", says: "is damaged" },
  "crashes-unsynced-sealed-from-the-cache": {
    scenario: "a sync fails where the history is not synced",
    says: "is damaged"
  },
  "crashes-index-trusted": { scenario: "without syncs", says: "the last commit is not the one", recovers: true },
  "crashes-index-lacks-a-posting": { scenario: "index run", says: "not whole", recovers: true },
  // ids are random, and decide which posting is lost, and who misses it first
  "index-merge-loses-a-posting": {
    scenario: "index merge",
    says: /not that of a scan|not a scan|must fail|another one/,
    recovers: true
  },
  "crashes-files-not-made-again": { scenario: "event files", says: "the event files are not", recovers: true },
  "crashes-half-files-kept": { scenario: "event files", says: "JSON", recovers: true },
  "crashes-files-beyond-kept": {
    scenario: "event files without syncs",
    says: "the event files are not",
    recovers: true
  },
  "ledger-ack-before-sync": { scenario: "append", says: "an acknowledged event is lost" },
  "ledger-no-dir-sync": { scenario: "segment change", says: "is lost" },
  "ledger-retries-a-sync": { scenario: "a sync fails", says: "damaged" }
}

const play = (name: Name, stack: Stack, { faults, most = 12, recovers = false }: Partial<Case>) => {
  const options = { stack, most, ...(recovers ? { recovery: stack } : {}) }
  return Effect.exit(
    faults !== undefined
      ? Effect.asVoid(Harness.faults(scenarios[name], { ...options, most: 1, of: faults }))
      : Effect.asVoid(Harness.crash(scenarios[name], options))
  )
}

/** Reads beside appends, with calls that let others go first: each head must be that of the events that came with it. */
const headsThatDoNotFit = (stack: Stack) =>
  Effect.gen(function*() {
    const disk = MountedDisk.make()
    yield* Effect.addFinalizer(() => Effect.sync(disk.unmount))
    const context = yield* Layer.build(Layer.fresh(stack.layer({ root: disk.root, calls: "asynchronous" })))
    const store = Context.get(context, EventStore)
    const appending = yield* Effect.forkChild(Effect.gen(function*() {
      for (let n = 0; n < 40; n++) yield* store.append(Tally.put("a", n))
    }))
    let wrong = 0
    while (appending.pollUnsafe() === undefined) {
      const { events, head } = yield* store.read(Tally.everything)
      if (events.at(-1)?.position !== head) wrong++
    }
    yield* Fiber.join(appending)
    return wrong
  }).pipe(Effect.scoped)

const load = (name: string) => Effect.promise(() => mutant<Stack>("test/harness/stack.ts", name))

describe("a store with a mistake", () => {
  it("each mistake is tried", () => {
    const untried = Object.keys(patches).filter((name) => !(name in cases) && name !== "crashes-control")
    assert.deepStrictEqual(untried, ["crashes-head-after-the-events"])
  })

  it.live("crashes-head-after-the-events is caught by reads beside appends, the real store is not", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* headsThatDoNotFit(RealStack), 0)
      assert.isAbove(yield* headsThatDoNotFit(yield* load("crashes-head-after-the-events")), 0)
    }))

  it.live("a copy without one is not caught", () =>
    Effect.gen(function*() {
      const exit = yield* play("append", yield* load("crashes-control"), { recovers: true })
      assert.isTrue(Exit.isSuccess(exit), String(exit))
    }))

  for (const [name, its] of Object.entries(cases)) {
    it.live(`${name} is caught in "${its.scenario}"`, () =>
      Effect.gen(function*() {
        const exit = yield* play(its.scenario, yield* load(name), its)
        assert(Exit.isFailure(exit), "it is not caught")
        const found = Cause.squash(exit.cause)
        assert(found instanceof Violation, String(found))
        console.log(`${name}: ${found.message.slice(0, 160)}`)
        if (typeof its.says === "string") assert.include(found.message, its.says)
        else assert.match(found.message, its.says)
      }), 120_000)
  }
})
