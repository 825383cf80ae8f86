/**
 * Small histories of two or three processes, chosen so that each part of the protocol is raced against each other part. Each is
 * explored with a bounded number of switches away from a process that could go on; with `OPOSSUM_HARNESS=full`, with more.
 */
import * as Effect from "effect/Effect"
import * as Real from "../../src/layers/LedgerLive.ts"
import {
  after,
  batch,
  type Checked,
  checker,
  type Implementation,
  refreshAll,
  type Settings,
  storeName
} from "./check.ts"
import { contentOf, crashImages, type Disk, emptyDisk, forget } from "./disk.ts"
import { explore, type Options, type Report } from "./explorer.ts"
import { killedBefore } from "./process.ts"
import { destroyer, reader, type Shape, writer } from "./programs.ts"

export const isFull = process.env["OPOSSUM_HARNESS"] === "full"

type Setup = Omit<Options, "check" | "disk"> & { readonly disks: ReadonlyArray<Disk>; readonly settings?: Settings }

// disks to begin with

/** A store that was just made, its baton in place. */
const fresh = (options: Partial<Real.Options> = {}) =>
  after(emptyDisk(), "creator", Real.make({ ...options, store: storeName }))

const appends = (options: Partial<Real.Options>, groups: ReadonlyArray<readonly [string, ...Array<string>]>) =>
  Effect.gen(function*() {
    const ledger = yield* Real.make({ ...options, store: storeName })
    yield* ledger.acquire
    yield* refreshAll(ledger)
    for (const [first, ...rest] of groups) yield* ledger.commit([batch(first), ...rest.map(batch)])
    return ledger
  })

/** The last owner was killed with two groups confirmed. */
const killed = (options: Partial<Real.Options> = {}) => after(fresh(options), "K", appends(options, [["k1"], ["k2"]]))

/** The last owner was killed in its second group, before the call with which that goes on. */
const killedIn = (op: "sync" | "mark", options: Partial<Real.Options> = {}) => {
  let groups = 0
  return killedBefore("K", fresh(options), appends(options, [["k1"], ["k2", "k3"]]), (call) => {
    if (call.op === "write" && call.bytes.length > 1) groups++
    return groups === 2 && (op === "sync" ? call.op === "sync" : call.op === "write" && call.bytes.length === 1)
  })
}

/** What a power loss may have left of a group of two that was being written. */
const torn = () => crashImages(killedIn("sync"), true)

// scenarios

const limit = (normal: number, full: number): number => isFull ? full : normal

export const scenarios = {
  "two writers, one baton": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a1", "a2"]], shape), writer("B", [["b1"]], shape)],
    settings: { torn: true },
    preemptions: limit(3, 6)
  }),
  "two writers that do not wait": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a1", "a2"]], shape, { tries: 1 }), writer("B", [["b1"]], shape, { tries: 1 })],
    preemptions: limit(2, 4),
    impatient: true,
    sleeps: 20
  }),
  "three writers": (shape) => ({
    disks: [fresh()],
    programs: ["A", "B", "C"].map((name) => writer(name, [[`${name.toLowerCase()}1`]], shape, { tries: 1 })),
    preemptions: limit(1, 4),
    sleeps: 2
  }),
  "a reader beside two writers": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a1", "a2"]], shape), writer("B", [["b1"]], shape, { tries: 1 }), reader("R", 4, shape)],
    preemptions: limit(2, 4),
    sleeps: 2
  }),
  "a group that is seen half written": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a1", "a2"]], shape), writer("B", [["b1"]], shape, { tries: 1 }), reader("R", 2, shape)],
    splitWrites: true,
    preemptions: limit(2, 3)
  }),
  "hand-over and back": (shape) => ({
    disks: [fresh()],
    programs: [
      writer("A", [["a1"], ["a2"]], shape, { releasesEach: true, tries: 1 }),
      writer("B", [["b1"]], shape, { releasesEach: true, tries: 1 })
    ],
    preemptions: limit(2, 4)
  }),
  "hand-over of a padded segment": (shape) => ({
    disks: [fresh()],
    programs: [
      writer("A", [["a1"], ["a2"]], with_(shape, { padding: 600 }), { releasesEach: true, tries: 1 }),
      writer("B", [["b1"]], with_(shape, { padding: 600 }), { releasesEach: true, tries: 1 }),
      reader("R", 2, shape)
    ],
    preemptions: limit(1, 3)
  }),
  "the owner was killed": (shape) => ({
    disks: [killed(), killedIn("mark"), killedIn("sync")],
    programs: [writer("A", [["a1"]], shape), writer("B", [["b1"]], shape)],
    preemptions: limit(2, 4)
  }),
  "a torn tail": (shape) => ({
    disks: torn(),
    settings: { torn: true },
    programs: [writer("A", [["a1"]], shape), reader("R", 2, shape)],
    preemptions: limit(1, 3)
  }),
  "roll-over": (shape) => ({
    disks: [fresh({ segmentSize: 900 })],
    programs: [
      writer("A", [["a1"], ["a2"], ["a3"]], with_(shape, { segmentSize: 900 })),
      writer("B", [["b1"]], with_(shape, { segmentSize: 900 }), { tries: 1 })
    ],
    preemptions: limit(1, 3)
  }),
  "a sync fails": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a0"], ["a1", "a2"]], shape), writer("B", [["b1"]], shape)],
    faults: { times: 1, of: ["sync", "syncDirectory"], by: ["A"], reason: "Io" },
    preemptions: limit(1, 2)
  }),
  "a sync fails where nobody waits": (shape) => ({
    disks: [killedIn("sync")],
    programs: [writer("A", [["a1"]], shape), writer("B", [["b1"]], shape)],
    faults: { times: limit(1, 2), of: ["sync", "syncDirectory"], by: ["A", "B"], reason: "Io" },
    preemptions: limit(1, 2)
  }),
  "a write fails": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a0"], ["a1", "a2"]], shape), writer("B", [["b1"]], shape)],
    faults: { times: 1, of: ["write", "createFile"], by: ["A"], reason: "Io" },
    preemptions: limit(1, 2)
  }),
  "the disk is full": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a1", "a2"], ["a3"]], shape), writer("B", [["b1"]], shape, { tries: 1 })],
    faults: { times: 2, of: ["write"], by: ["A"], reason: "DiskFull" },
    preemptions: limit(0, 1)
  }),
  "one store, made by two": (shape) => ({
    disks: [emptyDisk()],
    programs: [writer("A", [["a1"]], late(shape), { tries: 1 }), writer("B", [["b1"]], late(shape), { tries: 1 })],
    removes: true,
    preemptions: limit(2, 3)
  }),
  "deleted while others write": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a1"], ["a2"]], shape), destroyer("D", [], shape), reader("R", 2, shape)],
    removes: true,
    settings: { deletes: true },
    preemptions: limit(2, 3)
  }),
  "deleted and made anew while others write": (shape) => ({
    disks: [fresh()],
    programs: [writer("A", [["a1"], ["a2"]], shape), destroyer("D", ["n1", "n2"], shape)],
    removes: true,
    settings: { deletes: true },
    preemptions: limit(2, 3)
  }),
  /**
   * A has the right to write in the old store all the time, and gives it back when there is a new one that others write to: between
   * its look and the baton. The store's id in the baton's name makes that harmless.
   */
  "a baton for a store that is gone": (shape) => ({
    disks: [fresh()],
    programs: [
      writer("A", [["a1"]], shape, { tries: 1 }),
      destroyer("D", ["n1"], shape),
      writer("B", [["b1"]], late(shape), { tries: 1, anew: storeIn(fresh()) })
    ],
    removes: true,
    settings: { deletes: true },
    preemptions: 2
  }),
  "power was lost behind the last sync": (shape) => ({
    disks: crashImages(killed(), false),
    programs: [writer("A", [["a1"]], shape), reader("R", 2, shape)],
    settings: { acked: ["k1", "k2"] },
    preemptions: limit(1, 3)
  }),
  /** One that writes, and two that come to take over, no more: for races of three. */
  "two take-overs at once": (shape) => ({
    disks: [killed()],
    programs: ["A", "B", "C"].map((name) =>
      writer(name, [[`${name.toLowerCase()}1`]], shape, { tries: 1, releases: false })
    ),
    settings: { killsOnly: !isFull },
    preemptions: limit(2, 4),
    sleeps: 2
  }),
  "a reader beside two that do not wait": (shape) => ({
    disks: [fresh()],
    programs: [
      writer("A", [["a1"]], shape, { tries: 1, releases: false }),
      writer("B", [["b1"]], shape, { tries: 1, releases: false }),
      reader("R", 2, shape)
    ],
    impatient: true,
    sleeps: 12,
    settings: { killsOnly: !isFull },
    preemptions: limit(3, 4)
  }),
  "without syncs": (shape) => ({
    disks: [fresh({ durability: "os" })],
    programs: [
      writer("A", [["a1", "a2"]], with_(shape, { durability: "os" })),
      writer("B", [["b1"]], with_(shape, { durability: "os" }))
    ],
    settings: { torn: isFull, options: { durability: "os" } },
    preemptions: limit(2, 3)
  })
} satisfies { readonly [name: string]: (shape: Shape) => Setup }

function storeIn(disk: Disk): string {
  return JSON.parse(contentOf(disk, `${storeName}/store.json`)!).id
}

function with_(shape: Shape, options: Partial<Real.Options>): Shape {
  return { ...shape, options: { ...shape.options, ...options } }
}

function late(shape: Shape): Shape {
  return { ...shape, opensLate: true }
}

export type Name = keyof typeof scenarios

export interface Explored extends Report, Checked {
  readonly millis: number
}

/** Explores a scenario with this ledger. Throws a `Violation` if an invariant does not hold. */
export const run = (
  name: Name,
  implementation: Implementation = Real,
  settings: Settings & { readonly preemptions?: number } = {}
): Explored => {
  forget()
  const began = performance.now()
  const setup: Setup = scenarios[name]({ implementation })
  const { check, counts } = checker({ thorough: isFull, ...setup.settings, ...settings })
  const sum = { states: 0, steps: 0, runs: 0, nodes: 0, ends: 0, complete: true }
  for (const disk of setup.disks) {
    const preemptions = settings.preemptions ?? setup.preemptions
    const report = explore({ ...setup, ...(preemptions === undefined ? {} : { preemptions }), disk, check })
    for (const key of ["states", "steps", "runs", "nodes", "ends"] as const) sum[key] += report[key]
    sum.complete &&= report.complete
  }
  return { ...sum, ...counts, millis: Math.round(performance.now() - began) }
}
