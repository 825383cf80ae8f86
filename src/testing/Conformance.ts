/**
 * The conformance kit: what every event store does, as rules with names, and a way to run them on any layer of `EventStore`, with any
 * test runner. What keeps these rules, all that is built on an `EventStore` works with: decisions, projections, subscriptions.
 *
 * ```ts
 * import { describe, it } from "node:test"
 * import { Opossum } from "effect-opossum"
 * import { Conformance } from "effect-opossum/testing"
 *
 * const suite = Conformance.suiteWith({ describe, it })
 *
 * suite("the store in memory", Opossum.layerMemory, { maintenance: true })
 * ```
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { inRealTime } from "../layers/internal/realTime.ts"
import type { EventStore } from "../services/EventStore.ts"
import type { EventStoreMaintenance } from "../services/EventStoreMaintenance.ts"
import { AssertionError } from "./assertionError.ts"
import { showError } from "./comparison.ts"
import { appending } from "./conformance/appending.ts"
import { severalClients } from "./conformance/clients.ts"
import { conditions } from "./conformance/conditions.ts"
import * as decisions from "./conformance/decisions.ts"
import { fidelity } from "./conformance/fidelity.ts"
import { following } from "./conformance/following.ts"
import * as histories from "./conformance/histories.ts"
import { maintenance } from "./conformance/maintenance.ts"
import * as oracles from "./conformance/oracle.ts"
import * as places from "./conformance/place.ts"
import { endless, Settings } from "./conformance/property.ts"
import { reading } from "./conformance/reading.ts"
import { refusals } from "./conformance/refusals.ts"
import { retries } from "./conformance/retries.ts"
import type { Needs, Rule } from "./conformance/rule.ts"
import { turns } from "./conformance/turns.ts"

// errors

export {
  /** Why a rule is broken: its message names the rule and shows what was expected and what was seen. */
  AssertionError
}

// models

export type {
  /** What a rule needs: a store, one with maintenance, or a place that several clients share. */
  Needs,
  /** A rule: its id, the sentence, what it is about, and the check. */
  Rule
}

/**
 * Somewhere to keep an empty store that outlives the layers over it: each build of the layer is one more client of the same store, and
 * may be closed, while others stay, and built again. It is removed with the scope.
 *
 * A client is what another process would be, as far as possible: it shares nothing with others but the place.
 */
export type Place<S = EventStore> = Effect.Effect<Layer.Layer<S, unknown>, unknown, Scope.Scope>

interface Subject<S> {
  /** An empty store for each (fresh) build. */
  readonly layer: Layer.Layer<S, unknown>
  /** An empty place each time; without it the rules that need one are not run. */
  readonly place?: Place<S> | undefined
}

/** What rules are run on. With `maintenance: true` both layers must have an `EventStoreMaintenance`, and its rules are run too. */
export type Target =
  | (Subject<EventStore> & { readonly maintenance?: false | undefined })
  | (Subject<EventStore | EventStoreMaintenance> & { readonly maintenance: true })

export interface RunOptions {
  /** How many random histories each rule about them is tried with; those about decisions with a fifth of it. Default: 100. */
  readonly runs?: number | undefined
  /** The same seed makes the same histories. Default: another one each time, which a failure tells. */
  readonly seed?: number | string | undefined
  /** How long a rule may take, in real time; of those about random histories, each run. Default: 1 minute. */
  readonly timeout?: Duration.Input | undefined
}

// rules

/** All rules, in the order in which they are run: the simplest first. */
export const rules: ReadonlyArray<Rule> = [
  ...appending,
  ...reading,
  ...conditions,
  ...retries,
  ...refusals,
  ...fidelity,
  ...following,
  ...turns,
  histories.ofOne,
  decisions.ofOne,
  ...maintenance,
  ...severalClients,
  histories.ofSeveral,
  decisions.ofSeveral
]

/** The rules that can be run on a target, by what it has. */
export const rulesFor = (target: Pick<Target, "place" | "maintenance">): ReadonlyArray<Rule> => {
  const has: { readonly [N in Needs]: boolean } = {
    store: true,
    stores: true,
    maintenance: target.maintenance === true,
    place: target.place !== undefined,
    places: target.place !== undefined,
    "place and maintenance": target.place !== undefined && target.maintenance === true
  }
  return rules.filter(({ needs }) => has[needs])
}

// oracles

/**
 * The oracle that random histories are compared with: the plainest store that can be, a list in memory, which keeps all rules. Each build
 * is an empty store. Slow with many events, and sure.
 */
export const oracle: Layer.Layer<EventStore | EventStoreMaintenance> = oracles.layer

/** A place of the oracle: all its clients share one list. */
export const oraclePlace: Effect.Effect<Layer.Layer<EventStore | EventStoreMaintenance>> = oracles.place

// running

/**
 * Runs a rule on a store that is built for it. Fails with an `AssertionError` that names the rule and says what was seen if it is broken, if it
 * takes too long, or if the target lacks what it needs.
 *
 * It runs in real time, whatever clock the caller has: a store that waits for a disk or a network would wait for ever by a `TestClock`.
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Conformance } from "effect-opossum/testing"
 *
 * const [first] = Conformance.rules
 *
 * export const program = Conformance.run(first!, { layer: Conformance.oracle }).pipe(
 *   Effect.andThen(Console.log(`${first!.id} is kept`)),
 *   Effect.catch((error) => Console.log(error.message))
 * )
 * ```
 */
export const run = (rule: Rule, target: Target, options: RunOptions = {}): Effect.Effect<void, AssertionError> => {
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "1 minute")
  const isRandom = rule.needs === "stores" || rule.needs === "places"
  const check = Effect.scoped(checkOn(rule, target))
  return (isRandom ? check : withinTime(check, timeout)).pipe(
    Effect.provideService(Settings, { runs: options.runs ?? 100, seed: options.seed, timeout }),
    inRealTime,
    Effect.catchCause((cause) => Effect.fail(broken(rule, Cause.squash(cause))))
  )
}

/** Also ends if the check cannot be interrupted: it is left to itself then. */
const withinTime = (check: Effect.Effect<void, unknown>, duration: Duration.Duration): Effect.Effect<void, unknown> =>
  Effect.acquireUseRelease(
    Effect.forkDetach(check),
    (fiber) =>
      Effect.timeoutOrElse(Fiber.join(fiber), {
        duration,
        orElse: () => Effect.fail(new AssertionError(endless(duration)))
      }),
    (fiber) => Effect.sync(() => fiber.interruptUnsafe())
  )

/** The check with all that it needs. */
const checkOn = (rule: Rule, target: Target): Effect.Effect<void, unknown, Scope.Scope> => {
  const { layer, maintenance = false, place } = target
  const lacks = (what: string) => Effect.fail(new AssertionError(`the target has no ${what}`))
  const build = Layer.build(Layer.fresh(layer))
  switch (rule.needs) {
    case "store":
      return Effect.flatMap(build, (context) => Effect.provideContext(rule.check, context))
    case "maintenance":
      return target.maintenance === true
        ? Effect.flatMap(
          Layer.build(Layer.fresh(target.layer)),
          (context) => Effect.provideContext(rule.check, context)
        )
        : lacks("maintenance")
    case "place":
    case "place and maintenance":
      return place === undefined
        ? lacks("place")
        : Effect.flatMap(
          place,
          (layer) => Effect.provideService(rule.check, places.Place, places.make(layer, maintenance))
        )
    case "stores":
      return Effect.provideService(rule.check, places.Places, {
        make: Effect.succeed(places.make(layer, maintenance))
      })
    case "places":
      return place === undefined ? lacks("place") : Effect.provideService(rule.check, places.Places, {
        make: Effect.map(place, (layer) => places.make(layer, maintenance))
      })
  }
}

const broken = ({ id, title }: Rule, why: unknown): AssertionError => {
  const isAssertion = why instanceof AssertionError
  const error = new AssertionError(
    `${id}: ${title}\n\n${isAssertion ? why.message : `it failed with ${showError(why)}`}`,
    {
      cause: why,
      ...(isAssertion ? { actual: why.actual, expected: why.expected } : {})
    }
  )
  // where in the check it was noticed, not where this error is made
  const frames = why instanceof Error ? why.stack?.split("\n").filter((line) => /^\s+at /.test(line)) : undefined
  if (frames !== undefined) error.stack = [`${error.name}: ${error.message}`, ...frames].join("\n")
  return error
}

// suites

/** A test runner's two functions: those of vitest, node:test, bun:test and jest fit. */
export interface Runner {
  /** Registers a group of tests. */
  readonly describe: (name: string, body: () => void) => unknown
  /** Registers a test, which fails if its promise does. */
  readonly it: (name: string, body: () => Promise<void>) => unknown
}

/** Registers a test for each rule that the options allow for: see `suiteWith`. */
export interface Suite {
  (
    name: string,
    layer: Layer.Layer<EventStore | EventStoreMaintenance, unknown>,
    options: RunOptions & {
      readonly maintenance: true
      readonly place?: Place<EventStore | EventStoreMaintenance> | undefined
    }
  ): void
  (
    name: string,
    layer: Layer.Layer<EventStore, unknown>,
    options?: RunOptions & { readonly maintenance?: false | undefined; readonly place?: Place | undefined }
  ): void
}

/**
 * Makes the function that registers the rules with a test runner: one test for each rule, on a store of its own.
 *
 * ```ts
 * import { describe, it } from "node:test"
 * import { Layer } from "effect"
 * import { Conformance } from "effect-opossum/testing"
 *
 * const suite = Conformance.suiteWith({ describe, it })
 *
 * suite("the oracle", Conformance.oracle, { maintenance: true, place: Conformance.oraclePlace })
 * ```
 *
 * The layer is built anew for each test and must be empty each time. With a `place` the rules for several clients are run too, with
 * `maintenance: true` those of `EventStoreMaintenance`.
 */
export const suiteWith = ({ describe, it }: Runner): Suite => {
  const suite = (
    name: string,
    layer: Layer.Layer<EventStore, unknown>,
    options: RunOptions & Pick<Target, "place" | "maintenance"> = {}
  ): void => {
    // `Suite` has seen to it that the layer has what is said of it
    const target = { layer, place: options.place, maintenance: options.maintenance } as Target
    const groups = new Map<string, Array<Rule>>()
    for (const rule of rulesFor(target)) groups.set(rule.group, [...groups.get(rule.group) ?? [], rule])
    describe(`EventStore: ${name}`, () => {
      for (const [group, rules] of groups) {
        describe(group, () => {
          for (const rule of rules) {
            it(`${rule.id}: ${rule.title}`, () => Effect.runPromise(run(rule, target, options)))
          }
        })
      }
    })
  }
  return suite
}
