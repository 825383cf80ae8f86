/**
 * A test's clock that goes on by itself: whenever all that runs waits, it is set to the next moment that something waits for.
 *
 * By Effect's `TestClock` a decision that tries again after 50 ms waits for ever, since whoever would move the clock waits for the
 * decision. Here nobody needs to.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type { TestClock } from "effect/testing/TestClock"

/** Whether a clock stands still unless it is moved. */
export const isTestClock = (clock: Clock.Clock): clock is TestClock => "adjust" in clock && "setTime" in clock

/** Tells when no fiber has anything to do. */
interface Stillness {
  readonly scheduler: Scheduler.Scheduler
  readonly await: Effect.Effect<void>
}

/**
 * Turns of the event loop in which nothing was to do. One would be enough for fibers; promises that lead to other promises, and
 * whatever Node hands over from one turn to the next, get some more.
 */
const turns = 10

const makeStillness = (parent: Scheduler.Scheduler): Stillness => {
  let scheduled = 0
  return {
    scheduler: {
      executionMode: parent.executionMode,
      shouldYield: (fiber) => parent.shouldYield(fiber),
      makeDispatcher() {
        const dispatcher = parent.makeDispatcher()
        return {
          scheduleTask: (task, priority) => {
            scheduled++
            dispatcher.scheduleTask(() => {
              scheduled--
              task()
            }, priority)
          },
          flush: () => dispatcher.flush()
        }
      }
    },
    await: Effect.callback((resume) => {
      let still = 0
      const look = () => {
        still = scheduled === 0 ? still + 1 : 0
        if (still === turns) resume(Effect.void)
        else next = setImmediate(look)
      }
      let next = setImmediate(look)
      return Effect.sync(() => clearImmediate(next))
    })
  }
}

/** How time goes on in a scenario. */
export interface Flow {
  /** Around everything, so that it is known when nothing is left to do. */
  readonly watch: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Around a part of it: what that sleeps is over as soon as nothing else is left to do. */
  readonly run: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** Where the clock is none that stands still, time goes on anyway. */
const real: Flow = { watch: (effect) => effect, run: (effect) => effect }

/** By the clock of whoever asks. */
export const make: Effect.Effect<Flow> = Effect.clockWith((clock) =>
  isTestClock(clock)
    ? Effect.map(Scheduler.Scheduler, (scheduler) => {
      const stillness = makeStillness(scheduler)
      return {
        watch: (effect) => Effect.provideService(effect, Scheduler.Scheduler, stillness.scheduler),
        run: (effect) => flow(effect, clock, stillness)
      }
    })
    : Effect.succeed(real)
)

const flow = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  clock: TestClock,
  stillness: Stillness
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const moments = new Set<{ readonly at: number }>()
    let wake = () => {}

    const sleep = (duration: Duration.Duration) =>
      Effect.suspend(() => {
        const moment = { at: clock.currentTimeMillisUnsafe() + Duration.toMillis(duration) }
        if (!Number.isFinite(moment.at)) return clock.sleep(duration)
        moments.add(moment)
        wake()
        return Effect.ensuring(clock.sleep(duration), Effect.sync(() => moments.delete(moment)))
      })

    const someMoment = Effect.callback<void>((resume) => {
      if (moments.size > 0) return resume(Effect.void)
      wake = () => resume(Effect.void)
    })
    const driver = Effect.gen(function*() {
      while (true) {
        yield* someMoment
        yield* stillness.await
        if (moments.size === 0) continue
        const next = Math.min(...[...moments].map(({ at }) => at))
        // Somebody may have moved it further meanwhile; it never goes back.
        yield* clock.setTime(Math.max(next, clock.currentTimeMillisUnsafe()))
      }
    })

    return Effect.acquireUseRelease(
      Effect.forkChild(Effect.interruptible(driver)),
      // `adjust` and `setTime` stay what they are: a step may move the clock itself.
      () => Effect.provideService(effect, Clock.Clock, { ...clock, sleep } as TestClock),
      Fiber.interrupt
    )
  })
