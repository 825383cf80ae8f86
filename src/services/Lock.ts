/**
 * Waiting in turn for the right to write, across fibers and processes.
 *
 * A hint, not a guarantee: a lock on a file system can be held by two at once after a pause, with clocks that differ, or at the
 * exit of a process. It is here for order and speed; the ledger is safe if it is granted to everybody, always.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { StorageError } from "./Storage.ts"

// models

/** A lock that is held until its scope closes. */
export interface Held {
  /** Whether the lock may have gone to somebody else: acquire it again before going on. */
  readonly isLost: Effect.Effect<boolean>
  /** Whether somebody waits for it, in this process or another. Cheap enough to ask once per commit. */
  readonly isContended: Effect.Effect<boolean>
}

export interface AcquireOptions {
  /** How long to wait. Zero tries once. Default: 5 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** When to try again, while waiting. */
  readonly wait?: Schedule.Schedule<unknown> | undefined
}

// service

export class Lock extends Context.Service<Lock, {
  /**
   * Takes the lock until the scope closes. Those who wait get it in the order in which they came; whoever gives it up and
   * asks again stands behind them. The name is a path below the root; its folder must exist.
   */
  readonly acquire: (
    name: string,
    options?: AcquireOptions
  ) => Effect.Effect<Held, LockTimeout | StorageError, Scope.Scope>
  /** Who holds it, as far as is known, without asking for it. Of a process on this host that has died, it is free. */
  readonly holder: (name: string) => Effect.Effect<Holder | undefined, StorageError>
}>()("effect-opossum/services/Lock") {}

// errors

/** Who holds a lock, as far as is known. */
export const Holder = Schema.Struct({
  host: Schema.String,
  pid: Schema.Int,
  /** When it was taken, as an ISO date. */
  since: Schema.String
})
export type Holder = typeof Holder.Type

/** Somebody else held the lock for all the time. */
export class LockTimeout extends Schema.TaggedError<LockTimeout>()("LockTimeout", {
  name: Schema.String,
  holder: Schema.optional(Holder),
  waitedMillis: Schema.Number
}) {
  override get message(): string {
    const holder = this.holder
      ? `process ${this.holder.pid} on ${this.holder.host} since ${this.holder.since}`
      : "an unknown process"
    return `waited ${Math.round(this.waitedMillis)} ms for the lock ${this.name}, held by ${holder}`
  }
}
