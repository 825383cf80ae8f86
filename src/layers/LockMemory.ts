/**
 * The lock within one process: waiting in order of arrival, name by name. Each layer has locks of its own.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { type Held, type Holder, Lock, LockTimeout } from "../services/Lock.ts"
import { Turns } from "./internal/turns.ts"

class Place extends Turns {
  /** When the present holder got it, in milliseconds since 1970. */
  since = 0
}

// There may be no process to name (a browser), and no host that would tell anything.
const pid = globalThis.process?.pid ?? 0

const holderOf = (place: Place): Holder => ({ host: "memory", pid, since: new Date(place.since).toISOString() })

const make = () => {
  const places = new Map<string, Place>()

  const acquire: Lock["Service"]["acquire"] = (name, options) =>
    Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
      const scope = yield* Scope.Scope
      const clock = yield* Clock.Clock
      let place = places.get(name)
      if (place === undefined) places.set(name, place = new Place())

      const started = clock.monotonicTimeNanosUnsafe()
      if (!(yield* place.enter(restore, Duration.fromInputUnsafe(options?.timeout ?? "5 seconds")))) {
        return yield* new LockTimeout({
          name,
          holder: holderOf(place),
          waitedMillis: Number(clock.monotonicTimeNanosUnsafe() - started) / 1e6
        })
      }
      place.since = clock.currentTimeMillisUnsafe()
      yield* Scope.addFinalizer(scope, Effect.sync(() => place.leave()))
      return {
        isLost: Effect.succeed(false),
        isContended: Effect.sync(() => place.isContended)
      } satisfies Held
    }))

  const holder: Lock["Service"]["holder"] = (name) =>
    Effect.sync(() => {
      const place = places.get(name)
      return place?.isTaken ? holderOf(place) : undefined
    })

  return Lock.of({ acquire, holder })
}

// layers

export const layer: Layer.Layer<Lock> = Layer.sync(Lock, make)
