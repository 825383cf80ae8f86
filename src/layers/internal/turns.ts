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

  /** Takes the place, as a plain function, if it is free; then it is the caller's, who must `leave` it. */
  tryEnter(): boolean {
    if (this.taken) return false
    this.taken = true
    return true
  }

  /**
   * Waits for the place, interruptibly; `false` when the time is over. To be called in an uninterruptible region: after `true`
   * the place is the caller's, who must `leave` it.
   */
  enter(restore: Restore, timeout?: Duration.Duration): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      if (this.tryEnter()) return Effect.succeed(true)
      if (timeout !== undefined && Duration.isZero(timeout)) return Effect.succeed(false)
      const waiter: Waiter = { granted: false, turn: Deferred.makeUnsafe() }
      this.waiters.push(waiter)
      // The yield keeps a row of hand-overs off one stack: `leave` runs the next fiber up to there before it returns.
      const wait = Effect.andThen(Deferred.await(waiter.turn), Effect.yieldNow)
      return restore(timeout === undefined ? wait : Effect.timeoutOption(wait, timeout)).pipe(
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

  /** Runs an effect in the place, when its turn comes. From then on it is not interrupted. */
  run<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.uninterruptibleMask((restore) =>
      this.tryEnter()
        ? Effect.onExit(effect, this.left)
        : Effect.flatMap(this.enter(restore), () => Effect.onExit(effect, this.left))
    )
  }
  private readonly left = () => {
    this.leave()
    return Effect.void
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
