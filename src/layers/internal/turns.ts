/**
 * A place that one may have at a time, in order of arrival, among the fibers of this process.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

interface Waiter {
  granted: boolean
  readonly turn: Deferred.Deferred<void>
}

/** `restore` of `Effect.uninterruptibleMask`. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export class Turns {
  private taken = false
  private readonly waiters: Array<Waiter> = []

  get isTaken(): boolean {
    return this.taken
  }

  get isContended(): boolean {
    return this.waiters.length > 0
  }

  /**
   * Waits for the place, interruptibly; `false` when the time is over. To be called in an uninterruptible region: after `true`
   * the place is the caller's, who must `leave` it.
   */
  enter(restore: Restore, timeout: Duration.Duration): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      if (!this.taken) {
        this.taken = true
        return Effect.succeed(true)
      }
      if (Duration.isZero(timeout)) return Effect.succeed(false)
      const waiter: Waiter = { granted: false, turn: Deferred.makeUnsafe() }
      this.waiters.push(waiter)
      // The yield keeps a row of hand-overs off one stack: `leave` runs the next fiber up to there before it returns.
      return restore(Effect.timeoutOption(Effect.andThen(Deferred.await(waiter.turn), Effect.yieldNow), timeout)).pipe(
        // The place may be handed over in the very moment in which the wait ends otherwise: it must not be lost with it.
        Effect.onExit((exit) =>
          Effect.sync(() => {
            if (!waiter.granted) this.waiters.splice(this.waiters.indexOf(waiter), 1)
            else if (Exit.isFailure(exit)) this.leave()
          })
        ),
        Effect.map(() => waiter.granted)
      )
    })
  }

  /** Gives the place to the one who has waited longest. It is never free in between, so nobody can overtake. */
  leave(): void {
    const next = this.waiters.shift()
    if (next === undefined) {
      this.taken = false
    } else {
      next.granted = true
      Deferred.doneUnsafe(next.turn, Exit.void)
    }
  }
}
