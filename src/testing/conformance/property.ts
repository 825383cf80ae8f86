/** Random input for a rule: how much, by which seed, and what is told when it is broken. */
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { AssertionError } from "../assertionError.ts"
import { showError } from "../comparison.ts"

/** How random rules are run. */
export interface Settings {
  /** How many inputs each of them is tried with. */
  readonly runs: number
  /** The same one makes the same inputs. `undefined`: another one each time. */
  readonly seed: number | string | undefined
  /** How long a run may take: whoever waits for ever is told by it. */
  readonly timeout: Duration.Duration
}

export const Settings = Context.Reference<Settings>("effect-opossum/testing/Conformance/Settings", {
  defaultValue: () => ({ runs: 100, seed: undefined, timeout: Duration.minutes(1) })
})

/** What is told of what waits in vain. */
export const endless = (timeout: Duration.Duration): string =>
  `it did not end within ${Duration.format(timeout)}: it waits for what never comes`

/** A run that does not end cannot be made smaller in reasonable time. */
class NeverEnded {}

/** Whether what is checked holds for random values of a schema; if not, an assertion fails with a small value for which it does not. */
export const forAll = <A, R>(
  schema: Schema.Codec<A, unknown>,
  check: (value: A) => Effect.Effect<void, unknown, R>,
  tell: (value: A) => string,
  /** How many of the runs that were asked for: less than 1 where a run is dear. */
  share = 1
): Effect.Effect<void, never, Exclude<R, Scope.Scope>> =>
  Effect.gen(function*() {
    const settings = yield* Settings
    const seed = settings.seed ?? Math.floor((yield* Random.next) * 2 ** 31)
    let tried: A | undefined
    const result = yield* Arbitrary.checkEffect(
      Arbitrary.schema(schema),
      (value) => {
        tried = value
        return check(value).pipe(
          Effect.scoped,
          Effect.timeoutOrElse({ duration: settings.timeout, orElse: () => Effect.die(new NeverEnded()) }),
          Effect.as(true),
          // what a check dies of counts as a failure, so that it is made smaller too
          Effect.catchCause((cause) => {
            const error = Cause.squash(cause)
            return error instanceof NeverEnded ? Effect.die(error) : Effect.fail(error)
          })
        )
      },
      { runs: Math.ceil(settings.runs * share), seed, maxShrinks: 500 }
    ).pipe(
      Effect.catchDefect((defect) => defect instanceof NeverEnded ? Effect.succeed(defect) : Effect.die(defect))
    )
    const failed = (value: A, how: string, why: unknown) => {
      const problem = why instanceof AssertionError ? why.message : showError(why)
      throw new AssertionError(
        `${how}; the seed is ${JSON.stringify(seed)}\n\n${tell(value)}\n\n${problem}`,
        why instanceof AssertionError ? { actual: why.actual, expected: why.expected, cause: why } : { cause: why }
      )
    }
    if (result instanceof NeverEnded) {
      return failed(
        tried as A,
        "broken by this, which is not the smallest",
        new AssertionError(endless(settings.timeout))
      )
    }
    if (result._tag === "Falsified") {
      const why = result.failure._tag === "PropertyError" ? result.failure.error : "it is false"
      return failed(result.shrunkInput, `broken at run ${result.runs}, made smaller ${result.shrinks} times`, why)
    }
    if (result._tag !== "Passed") throw new AssertionError(Arbitrary.formatCheckFailure(result) ?? result._tag)
  })
