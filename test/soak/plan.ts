/**
 * What a soak does, as its seed says: stores, processes, and what happens to them. Only what chance does is left open: which of the
 * processes the operating system lets run, and so which step each is at when its signal comes.
 */
import type { Fault, Point } from "../fixtures/faults.ts"
import type { Role } from "../fixtures/soakProcess.ts"
import { fromSeed, seedOf } from "./random.ts"

// models

/** How much happens in a round. */
export interface Size {
  readonly faults: readonly [least: number, most: number]
  /** Appends that are acknowledged before the round may end. */
  readonly appends: number
  readonly rounds: readonly [least: number, most: number]
  /** The longest pause between two faults, in milliseconds. */
  readonly pause: number
}

export const sizes = {
  /** For a test: seconds. */
  small: { faults: [10, 10], appends: 120, rounds: [2, 2], pause: 500 },
  long: { faults: [10, 40], appends: 500, rounds: [2, 5], pause: 1200 }
} as const satisfies { readonly [name: string]: Size }

export interface StorePlan {
  readonly name: string
  readonly rounds: number
  readonly segmentSize: number
  readonly runBytes: number
  readonly slots: ReadonlyArray<SlotPlan>
}

/** A place for a process: one that was killed is followed by another one. */
export interface SlotPlan {
  readonly name: string
  readonly role: Role
  /** Adds tags to events now and then: one of all does. */
  readonly tags: boolean
  /** The type that a follower wants; all of them without it. */
  readonly type: string | undefined
}

export interface RoundPlan {
  readonly durability: "sync" | "os"
  readonly eventFiles: boolean
  readonly stateFiles: boolean
  readonly calls: ReadonlyArray<"adaptive" | "asynchronous">
  readonly faults: ReadonlyArray<Happening>
  readonly appends: number
}

export interface Happening {
  /** Milliseconds after the one before. */
  readonly pause: number
  /** Counted among those processes that are there at that time. */
  readonly victim: number
  readonly what:
    | { readonly _tag: "kill" }
    /** Stopped, and continued after so many milliseconds. */
    | { readonly _tag: "stop"; readonly millis: number }
    /** Killed or stopped at a point inside a commit, the next time that it comes there. */
    | ({ readonly _tag: "arm"; readonly millis: number } & Fault)
    /** Closed in order; another one opens the store. */
    | { readonly _tag: "close" }
}

// plans

const points: readonly [Point, ...Array<Point>] = ["lock", "write", "torn", "sync", "look", "confirm", "answer"]

/** Behind this, in milliseconds, the lock of a process that is stopped may be taken. */
const stale = 3500

/** Of `n` processes the half and more write, at least one follows, and at least one runs the projection. */
const roleOf = (slot: number, n: number): Role => {
  if (slot === n - 1) return "runner"
  if (slot === n - 2) return "follower"
  // of many, more of these as well
  return slot % 6 === 5 ? "runner" : slot % 6 === 4 && n > 6 ? "follower" : "writer"
}

export const planStore = (seed: number, store: number, processes: number, size: Size): StorePlan => {
  const random = fromSeed(seedOf(seed, "store", store))
  const slots = Array.from({ length: processes }, (_, slot): SlotPlan => {
    const role = roleOf(slot, processes)
    return {
      name: `${role[0]}${slot}`,
      role,
      tags: slot === 0,
      type: role === "follower" && random.oneIn(2) ? random.pick(["Booked", "Noted"]) : undefined
    }
  })
  return {
    name: `s${store}`,
    rounds: random.between(...size.rounds),
    segmentSize: random.pick([64, 96, 256]) * 1024,
    runBytes: random.pick([16, 48, 128]) * 1024,
    slots
  }
}

export const planRound = (seed: number, round: number, processes: number, size: Size): RoundPlan => {
  const random = fromSeed(seedOf(seed, "round", round))
  const count = random.between(...size.faults)
  // at least one holder of the lock is stopped for so long that somebody takes over from it
  const long = random.below(count)
  const happening = (_: unknown, i: number): Happening => {
    const pause = random.below(size.pause)
    const victim = random.below(1000)
    const millis = i === long || random.oneIn(20) ? stale + random.between(100, 2500) : random.between(1, 800)
    if (i === long) {
      const point = random.pick<Point>(["write", "torn", "sync", "look", "confirm"])
      return { pause, victim, what: { _tag: "arm", point, action: "SIGSTOP", millis } }
    }
    const dice = random.below(10)
    if (dice < 4) return { pause, victim, what: { _tag: "kill" } }
    if (dice < 7) {
      const action = random.oneIn(4) ? "SIGSTOP" : "SIGKILL"
      return { pause, victim, what: { _tag: "arm", point: random.pick(points), action, millis } }
    }
    if (dice < 9) return { pause, victim, what: { _tag: "stop", millis } }
    return { pause, victim, what: { _tag: "close" } }
  }
  return {
    durability: random.pick(["sync", "os"]),
    eventFiles: random.oneIn(2),
    stateFiles: random.oneIn(2),
    calls: Array.from({ length: processes }, () => random.oneIn(3) ? "asynchronous" : "adaptive"),
    faults: Array.from({ length: count }, happening),
    appends: size.appends
  }
}
