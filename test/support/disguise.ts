/** Whatever a store takes from its surroundings, made the same in each run, so that its bytes are. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import crypto from "node:crypto"
import { syncBuiltinESMExports } from "node:module"
import os from "node:os"

/** Always the same time; waiting is as ever. */
const fixedClock = (real: Clock.Clock): Clock.Clock => {
  const now = Date.UTC(2030, 0, 31, 12)
  const nanos = BigInt(now) * 1_000_000n
  return {
    currentTimeMillisUnsafe: () => now,
    currentTimeMillis: Effect.succeed(now),
    currentTimeNanosUnsafe: () => nanos,
    currentTimeNanos: Effect.succeed(nanos),
    monotonicTimeNanosUnsafe: () => real.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: real.monotonicTimeNanos,
    sleep: (duration) => real.sleep(duration)
  }
}

/** As long as the scope is open this process is another one, on another host, and random ids are none. */
const disguised = (nextId: () => string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = { hostname: os.hostname, randomUUID: crypto.randomUUID, pid: process.pid }
      os.hostname = () => "till-1"
      crypto.randomUUID = nextId as typeof crypto.randomUUID
      Object.defineProperty(process, "pid", { value: 4711, configurable: true, writable: true })
      syncBuiltinESMExports()
      return before
    }),
    ({ hostname, pid, randomUUID }) =>
      Effect.sync(() => {
        os.hostname = hostname
        crypto.randomUUID = randomUUID
        Object.defineProperty(process, "pid", { value: pid, configurable: true, writable: true })
        syncBuiltinESMExports()
      })
  )

/** Runs an effect that makes stores. `nextId` gives the ids of those, in their order. */
export const inDisguise =
  (seed: string, nextId: () => string) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.scoped(Effect.gen(function*() {
      yield* disguised(nextId)
      const clock = yield* Clock.Clock
      return yield* effect.pipe(Effect.provideService(Clock.Clock, fixedClock(clock)), Random.withSeed(seed))
    })) as Effect.Effect<A, E, R>
