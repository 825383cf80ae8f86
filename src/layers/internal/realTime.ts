/**
 * Real time, whatever clock the application's effects run by.
 *
 * Waiting for a disk or for another process is not part of what a test controls: by a test's clock it would never end. What is stored
 * (timestamps) and what was promised (time-outs) go by the application's clock.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

const clock: Clock.Clock = Clock.Clock.defaultValue()

/** Runs an effect by the system's clock. */
export const inRealTime: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = Effect.provideService(
  Clock.Clock,
  clock
)

/** Milliseconds since some moment; never set back. */
export const elapsed = (): number => performance.now()
