/**
 * Scenarios: given events, when something runs, then events, an error, a state, or what a read model shows.
 *
 * A scenario is an Effect: it fails the test it runs in if something is not as it should be. It works with every test runner, runs on
 * a store of its own (in memory, unless told otherwise), and may go on: each `then` can be followed by another `when`.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Decision, DecisionModel, Event, Query, Tag } from "effect-opossum"
 * import { Scenario } from "effect-opossum/testing"
 *
 * const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
 * class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", { courseId: CourseId, seats: Schema.Int }) {}
 * class SeatTaken extends Event.Class<SeatTaken>()("SeatTaken", { courseId: CourseId, by: Schema.String }) {}
 * class CourseFull extends Schema.TaggedError<CourseFull>()("CourseFull", { courseId: CourseId }) {}
 *
 * const free = (course: string) =>
 *   DecisionModel.make({
 *     query: Query.of([CourseDefined, SeatTaken], { course }),
 *     initial: 0,
 *     apply: { CourseDefined: (_, { seats }) => seats, SeatTaken: (free) => free - 1 }
 *   })
 * const takeSeat = (courseId: string, by: string) =>
 *   Decision.execute({ free: free(courseId) }, function*({ free }) {
 *     if (free <= 0) return yield* new CourseFull({ courseId })
 *     return new SeatTaken({ courseId, by })
 *   })
 *
 * // with @effect/vitest: it.effect("the last seat", () => theLastSeat)
 * export const theLastSeat = Scenario.given(new CourseDefined({ courseId: "maths", seats: 1 }))
 *   .when(takeSeat("maths", "anna"))
 *   .thenAppends(new SeatTaken({ courseId: "maths", by: "anna" }))
 *   .when(takeSeat("maths", "ben"))
 *   .thenFails("CourseFull")
 *   .thenState(free("maths"), 0)
 * ```
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type * as DecisionModel from "../DecisionModel.ts"
import * as Event from "../Event.ts"
import * as Opossum from "../layers/Opossum.ts"
import * as Metadata from "../Metadata.ts"
import type { Position } from "../Position.ts"
import * as Query from "../Query.ts"
import * as Decision from "../services/Decision.ts"
import * as EventStore from "../services/EventStore.ts"
import type * as Projection from "../services/Projection.ts"
import type * as Tag from "../Tag.ts"
import { AssertionError } from "./assertionError.ts"
import { align, differences, diffValues, isSame, show, showError, toDiff, toPlain } from "./comparison.ts"
import * as FlowingTime from "./flowingTime.ts"

// models

/** What is given: events, each appended for itself; a list of events is one batch; a fixture is what it says. */
export type Given = Event.Input | ReadonlyArray<Event.Input> | Fixture

/**
 * What may come next in a scenario. `A` is what the last step gave, `R` what running it needs, and `P` what the scenario's own layer
 * provides.
 */
export interface Steps<out A, out R, in out P> {
  /** Runs an effect against the store as it is by now. What it needs beyond the scenario's layer, the scenario needs. */
  readonly when: <A, E, R2>(effect: Effect.Effect<A, E, R2>) => When<A, E, R | Exclude<R2, P>, P>
  /** Decision models, folded from the store, have this state. */
  readonly thenState: <const M extends DecisionModel.Input>(
    models: M,
    state: NoInfer<DecisionModel.StateOf<M>>
  ) => Scenario<A, R, P>
  /**
   * A read model, when it has counted all events, has this state for a key; `undefined` for none. Runs the projection, unless the
   * scenario's layer does.
   */
  readonly shows: <Self, Name extends string, S, K extends string, T extends Tag.Input>(
    projection: Projection.ServiceClass<Self, Name, S, K, T>,
    key: NoInfer<K>,
    state: NoInfer<S> | undefined
  ) => Scenario<A, R | Exclude<Projection.Projections, P>, P>
  /** A read model, when it has counted all events, has just these entries, in whatever order. */
  readonly showsEntries: <Self, Name extends string, S, K extends string, T extends Tag.Input>(
    projection: Projection.ServiceClass<Self, Name, S, K, T>,
    entries: ReadonlyArray<ExpectedEntry<NoInfer<S>, NoInfer<K>>>
  ) => Scenario<A, R | Exclude<Projection.Projections, P>, P>
  /** A read model, when it has counted all events, has just these entries with all of the tags, in whatever order. */
  readonly showsByTag: <Self, Name extends string, S, K extends string, T extends Tag.Input>(
    projection: Projection.ServiceClass<Self, Name, S, K, T>,
    tags: NoInfer<T> | readonly [NoInfer<T>, ...Array<NoInfer<T>>],
    entries: ReadonlyArray<ExpectedEntry<NoInfer<S>, NoInfer<K>>>
  ) => Scenario<A, R | Exclude<Projection.Projections, P>, P>
}

/** An entry of a read model: its key alone, or with the state; position, version and times are compared if they are given. */
export type ExpectedEntry<S, K extends string> =
  | K
  | (Pick<Projection.Entry<S, K>, "key" | "state"> & Partial<Projection.Entry<S, K>>)

/**
 * A scenario that can be run, or go on. It gives what the last `when` gave: what it succeeded with, or the error that was expected.
 * Each run begins with a new store.
 */
export interface Scenario<out A, out R, in out P> extends Effect.Effect<A, never, R>, Steps<A, R, P> {}

/**
 * What a `when` leads to. Events are compared by type and data, and by tags and metadata as far as the expected event was given
 * some (`Event.withTags`, `Event.withMetadata`); ids and timestamps only if given. Their order counts.
 */
export interface When<A, E, R, P> {
  /** It succeeds, and appends just these events. */
  readonly thenAppends: (...events: ReadonlyArray<Event.Input>) => Scenario<A, R, P>
  /** It succeeds, and appends nothing. */
  readonly thenNothing: Scenario<A, R, P>
  /** It succeeds with this value, and appends just these events: none, if none are given. */
  readonly thenSucceeds: (value: A, ...events: ReadonlyArray<Event.Input>) => Scenario<A, R, P>
  /**
   * It fails with this error, with an error of this tag, or with one that the function accepts; and appends just these events: none,
   * if none are given. Errors are compared by class, message and fields.
   */
  readonly thenFails: <const X extends Failure<E>>(
    error: X,
    ...events: ReadonlyArray<Event.Input>
  ) => Scenario<FailureOf<E, X>, R, P>
}

type TagOf<E> = E extends { readonly _tag: infer T extends string } ? T : never

/** How an error may be named: itself, its tag, or a function that accepts it. What cannot fail has none. */
export type Failure<E> = [E] extends [never] ? never : E | TagOf<E> | ((error: E) => boolean)

/** The error that was expected. */
export type FailureOf<E, X> = X extends TagOf<E> ? Extract<E, { readonly _tag: X }> : E

// errors

export { AssertionError }

/** What is wrong, before it is known where. */
interface Problem {
  readonly summary: string
  readonly details?: string
  readonly actual?: unknown
  readonly expected?: unknown
  readonly cause?: unknown
}

// fixtures

/** An instant: a `DateTime`, a `Date`, or a text like `2026-01-31T12:00:00Z`. */
export type Time = DateTime.DateTime | Date | string

/**
 * Events with their times and who caused them, told in order. Each call gives a new fixture, so one can be shared and gone on with.
 *
 * It is a list of its events: `EventStore.append` takes it (as one batch), and so does `given` (as batches as told).
 */
export interface Fixture extends ReadonlyArray<Event.NewEvent> {
  /** One more event, at the time that has come. Metadata of its own goes before the fixture's. */
  readonly event: (event: Event.Input) => Fixture
  /** More events, each appended for itself. */
  readonly events: (...events: ReadonlyArray<Event.Input>) => Fixture
  /** More events, appended as one batch. */
  readonly batch: (...events: ReadonlyArray<Event.Input>) => Fixture
  /** Sets the time of what follows. (With a number it is the `at` of every list.) */
  readonly at: {
    (time: Time): Fixture
    (index: number): Event.NewEvent | undefined
  }
  /** Lets time pass. */
  readonly after: (duration: Duration.Input) => Fixture
  /** Who and what causes the events that follow; takes the place of what was said before. */
  readonly by: (metadata: Omit<Metadata.Ambient, "timestamp">) => Fixture
}

interface FixtureState {
  readonly batches: ReadonlyArray<ReadonlyArray<Event.NewEvent>>
  readonly now: DateTime.Utc
  readonly metadata: Metadata.Ambient
}

class FixtureImpl extends Array<Event.NewEvent> {
  // What `map`, `filter` and the like make of it are lists, no fixtures.
  static override get [Symbol.species]() {
    return Array
  }
  readonly #state: FixtureState

  constructor(state: FixtureState) {
    super()
    this.#state = state
    for (const batch of state.batches) for (const event of batch) this.push(event)
    Object.freeze(this)
  }
  get batches(): FixtureState["batches"] {
    return this.#state.batches
  }
  event(event: Event.Input): Fixture {
    return this.batch(event)
  }
  events(...events: ReadonlyArray<Event.Input>): Fixture {
    return this.#with({ batches: [...this.batches, ...events.map((event) => [this.#dress(event)])] })
  }
  batch(...events: ReadonlyArray<Event.Input>): Fixture {
    return this.#with({ batches: [...this.batches, events.map((event) => this.#dress(event))] })
  }
  override at(time: Time): Fixture
  override at(index: number): Event.NewEvent | undefined
  override at(time: Time | number): Fixture | Event.NewEvent | undefined {
    return typeof time === "number" ? super.at(time) : this.#with({ now: toUtc(time) })
  }
  after(duration: Duration.Input): Fixture {
    return this.#with({ now: DateTime.addDuration(this.#state.now, duration) })
  }
  by(metadata: Omit<Metadata.Ambient, "timestamp">): Fixture {
    return this.#with({ metadata })
  }
  #with(change: Partial<FixtureState>): Fixture {
    return new FixtureImpl({ ...this.#state, ...change })
  }
  #dress(event: Event.Input): Event.NewEvent {
    const { metadata, now } = this.#state
    const own = Event.toNewEvent(event)
    return Event.withMetadata(own, Metadata.merge(Metadata.merge(metadata, { timestamp: now }), own.metadata))
  }
}

const toUtc = (time: Time): DateTime.Utc =>
  Option.match(DateTime.make(time), {
    onNone: () => {
      throw new Error(`Scenario.fixture: ${show(time)} is no time; write it like 2026-01-31T12:00:00Z`)
    },
    onSome: DateTime.toUtc
  })

/**
 * An empty fixture. Its time begins at the instant given, or with a `TestClock`'s own beginning, at 1970-01-01T00:00:00Z.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Event } from "effect-opossum"
 * import { Scenario } from "effect-opossum/testing"
 *
 * class Opened extends Event.Class<Opened>()("Opened", { account: Schema.String }) {}
 * class Paid extends Event.Class<Paid>()("Paid", { account: Schema.String, cents: Schema.Int }) {}
 *
 * const opened = Scenario.fixture("2026-01-31T12:00:00Z")
 *   .by({ userId: "anna" })
 *   .event(new Opened({ account: "a" }))
 *
 * export const rich = opened.after("1 hour").batch(
 *   new Paid({ account: "a", cents: 100 }),
 *   new Paid({ account: "a", cents: 200 })
 * )
 * ```
 */
export const fixture = (start: Time = new Date(0)): Fixture =>
  new FixtureImpl({ batches: [], now: toUtc(start), metadata: {} })

// running

interface Setup {
  readonly layer: Layer.Layer<EventStore.EventStore, unknown, unknown>
  readonly time: "flows" | "stands"
  readonly batches: ReadonlyArray<ReadonlyArray<Event.Input>>
}

/** Runs and checks: gives what the scenario shall give from here on, or what is wrong. */
interface Step {
  readonly run: (value: unknown, flow: FlowingTime.Flow) => Effect.Effect<Done | Wrong, never, unknown>
  /** Its stack says where in a test the step stands. */
  readonly site: Error
}

interface Done {
  readonly _tag: "Done"
  readonly value: unknown
}

interface Wrong {
  readonly _tag: "Wrong"
  readonly problem: Problem
}

const done = (value: unknown): Done => ({ _tag: "Done", value })
const wrong = (problem: Problem): Wrong => ({ _tag: "Wrong", problem })

/** Remembers the line of the test that calls `below`. */
const siteOf = (below: Function): Error => {
  const site = new Error()
  Error.captureStackTrace?.(site, below)
  return site
}

const toError = (message: string, problem: Problem, site: Error | undefined): AssertionError => {
  const error = new AssertionError(message, problem)
  // Where the error is made is of no interest to whoever reads it.
  const frames = site?.stack?.slice(site.stack.indexOf("\n"))
  if (frames !== undefined && frames !== "") error.stack = `${error.name}: ${message}${frames}`
  return error
}

/** `CourseDefined, StudentSubscribed x 3`, for whoever reads what went wrong. */
const summarise = (types: ReadonlyArray<string>): string => {
  const out: Array<{ readonly type: string; count: number }> = []
  for (const type of types) {
    const last = out.at(-1)
    if (last?.type === type) last.count++
    else out.push({ type, count: 1 })
  }
  const texts = out.map(({ count, type }) => count === 1 ? type : `${type} x ${count}`)
  return texts.length <= 10
    ? texts.join(", ")
    : `${texts.slice(0, 4).join(", ")}, ... ${types.length} events in all ..., ${texts.slice(-4).join(", ")}`
}

/** What the store held when a step began, for whoever reads why it failed. */
const storedAt = (head: Option.Option<Position | undefined>) =>
  Option.isNone(head) || head.value === undefined
    ? Effect.succeed("  the store held nothing before")
    : EventStore.read(Query.all, { before: head.value + 1 as Position }).pipe(
      Effect.map(({ events }) => `  the store held before: ${summarise(events.map(({ type }) => type))}`),
      Effect.orElseSucceed(() => "  what the store held before cannot be read")
    )

const runAll = Effect.fnUntraced(function*(setup: Setup, steps: ReadonlyArray<Step>, flow: FlowingTime.Flow) {
  for (const batch of setup.batches) {
    yield* Effect.catch(EventStore.append(batch), (error) =>
      Effect.die(toError(
        `the given events cannot be stored: ${showError(error)}\n\n  given: ${summarise(batch.map(typeOf))}`,
        { summary: "", cause: error },
        steps.at(0)?.site
      )))
  }
  let value: unknown
  for (let i = 0; i < steps.length; i++) {
    const { run, site } = steps[i]!
    const head = yield* Effect.option(EventStore.head)
    const result = yield* run(value, flow)
    if (result._tag === "Wrong") {
      const { details, summary } = result.problem
      const place = steps.length === 1 ? "" : `step ${i + 1} of ${steps.length}: `
      const message = [`${place}${summary}`, ...(details === undefined ? [] : [details]), yield* storedAt(head)].join(
        "\n\n"
      )
      return yield* Effect.die(toError(message, result.problem, site))
    }
    value = result.value
  }
  return value
})

/** Moves a test's clock to the newest of the given events, if they are of later than it. */
const moveClock = (setup: Setup) =>
  Effect.clockWith((clock) => {
    if (!FlowingTime.isTestClock(clock)) return Effect.void
    const times = setup.batches.flat().flatMap((input) => {
      const { metadata: { timestamp } } = Event.toNewEvent(input)
      return timestamp === undefined ? [] : [DateTime.toEpochMillis(timestamp)]
    })
    const newest = times.reduce((a, b) => Math.max(a, b), -Infinity)
    return newest > clock.currentTimeMillisUnsafe() ? clock.setTime(newest) : Effect.void
  })

const toEffect = (setup: Setup, steps: ReadonlyArray<Step>): Effect.Effect<unknown, never, unknown> =>
  Effect.gen(function*() {
    yield* moveClock(setup)
    const flow = yield* FlowingTime.make
    const layer = setup.layer.pipe(
      Layer.catch((error) =>
        Layer.effectContext(Effect.die(
          toError(
            `the scenario's layer cannot be built: ${showError(error)}`,
            { summary: "", cause: error },
            steps[0]?.site
          )
        ))
      )
    )
    const all = runAll(setup, steps, setup.time === "flows" ? flow : { ...flow, run: (effect) => effect })
    // Each run has layers of its own, whatever is shared around it; steps that provide one of these share it.
    return yield* flow.watch(Effect.provide(all, layer, { local: true }))
  })

// events

/** An event as far as it is compared. */
interface Seen {
  readonly type: string
  readonly data: Schema.Json
  readonly tags?: ReadonlyArray<string>
  readonly metadata?: Record<string, unknown>
}

const typeOf = (input: Event.Input): string => {
  const { event } = Event.toNewEvent(input)
  return Event.isRaw(event) ? event.type : event._tag
}

const toSeen = (input: Event.Input): Seen => {
  const { event, metadata, tags } = Event.toNewEvent(input)
  const given = Object.keys(metadata).length === 0 ? {} : { metadata: toJson(metadata) }
  if (Event.isRaw(event)) {
    const data = event.data as Schema.Json
    return { type: event.type, data, ...(tags.length === 0 ? {} : { tags: sorted(tags) }), ...given }
  }
  const { "~codec": codec } = event.constructor as unknown as Event.AnyClass
  const data = codec.encode(event)
  return {
    type: event._tag,
    data,
    ...(tags.length === 0 ? {} : { tags: sorted([...codec.tags(event, data), ...tags]) }),
    ...given
  }
}

const toJson = (metadata: Metadata.Input): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(metadata)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [key, DateTime.isDateTime(value) ? DateTime.formatIso(value) : value])
  )

const sorted = (tags: ReadonlyArray<string>): ReadonlyArray<string> => [...new Set(tags)].sort()

/** Of what was stored, the part that an expected event says something about. */
const seenAs = (stored: Event.SequencedEvent<Event.RawEvent>, expected: Pick<Seen, "tags" | "metadata">): Seen => {
  const metadata = expected.metadata === undefined
    ? {}
    : { metadata: partOf(toJson(stored.metadata), expected.metadata) }
  return {
    type: stored.type,
    data: stored.event.data as Schema.Json,
    ...(expected.tags === undefined ? {} : { tags: sorted(stored.tags) }),
    ...metadata
  }
}

const partOf = (all: Record<string, unknown>, wanted: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.keys(wanted).filter((key) => all[key] !== undefined).map((key) => {
      const [value, part] = [all[key], wanted[key]]
      return [
        key,
        key === "custom" ? partOf(value as Record<string, unknown>, part as Record<string, unknown>) : value
      ]
    })
  )

const showEvent = ({ data, metadata, tags, type }: Seen): string =>
  [
    type,
    JSON.stringify(data),
    ...(tags === undefined ? [] : [`[${tags.join(", ")}]`]),
    ...(metadata === undefined ? [] : [JSON.stringify(metadata)])
  ].join(" ")

const count = (n: number): string => n === 0 ? "nothing" : n === 1 ? "1 event" : `${n} events`

type Stored = ReadonlyArray<Event.SequencedEvent<Event.RawEvent>>

/** What is wrong with what was appended; `undefined` if nothing is. */
const compareEvents = (inputs: ReadonlyArray<Event.Input>, stored: Stored): Problem | undefined => {
  const expected: Array<Seen> = []
  for (const [i, input] of inputs.entries()) {
    try {
      expected.push(toSeen(input))
    } catch (cause) {
      return { summary: `the expected event ${i + 1} (${typeOf(input)}) is none: ${showError(cause)}`, cause }
    }
  }
  const lines = align(expected, stored, (expected, stored) => isSame(expected, seenAs(stored, expected)))
  if (lines.every(({ left, right }) => left !== undefined && right !== undefined)) return undefined
  // What no expected event stands beside is shown as far as some expected event says something.
  const all: Pick<Seen, "tags" | "metadata"> = {
    ...(expected.some(({ tags }) => tags !== undefined) ? { tags: [] } : {}),
    ...(expected.some(({ metadata }) => metadata !== undefined)
      ? { metadata: Object.assign({}, ...expected.map(({ metadata }) => metadata)) as Record<string, unknown> }
      : {})
  }
  const out: Array<{ readonly mark: " " | "-" | "+" | "~"; readonly text: string }> = []
  let at = 0
  while (at < lines.length) {
    const { left, right } = lines[at]!
    if (left !== undefined && right !== undefined) {
      out.push({ mark: " ", text: showEvent(left) })
      at++
      continue
    }
    const missing: Array<Seen> = []
    const unexpected: Array<Event.SequencedEvent<Event.RawEvent>> = []
    for (; at < lines.length; at++) {
      const { left, right } = lines[at]!
      if (left !== undefined && right !== undefined) break
      if (left !== undefined) missing.push(left)
      else if (right !== undefined) unexpected.push(right)
    }
    for (let i = 0; i < Math.max(missing.length, unexpected.length); i++) {
      const [was, is] = [missing[i], unexpected[i]]
      if (was !== undefined) out.push({ mark: "-", text: showEvent(was) })
      if (is === undefined) continue
      const pair = was?.type === is.type ? was : undefined
      const seen = seenAs(is, pair ?? all)
      out.push({ mark: "+", text: showEvent(seen) })
      if (pair === undefined) continue
      for (const part of ["data", "tags", "metadata"] as const) {
        for (const text of differences(part, pair[part], seen[part])) out.push({ mark: "~", text })
      }
    }
  }
  return {
    summary: inputs.length === 0
      ? `it should append nothing, but it appended ${count(stored.length)}`
      : inputs.length === stored.length
      ? `it should append other events than it did`
      : `it should append ${count(inputs.length)}, but it appended ${count(stored.length)}`,
    details: `  - expected  + appended\n${toDiff(out)}`,
    expected,
    actual: stored.map((event, i) => seenAs(event, expected[i] ?? all))
  }
}

const showStored = (stored: Stored): string =>
  stored.length === 0
    ? "  it appended nothing"
    : `  it appended\n${toDiff(stored.map((event) => ({ mark: "+", text: showEvent(seenAs(event, {})) })))}`

// steps

/** What a `when` came to. */
interface Outcome {
  readonly exit: Exit.Exit<unknown, unknown>
  readonly stored: Stored
}

const act = (
  effect: Effect.Effect<unknown, unknown, unknown>,
  check: (outcome: Outcome) => Done | Wrong,
  site: Error
): Step => ({
  site,
  run: (_, flow) =>
    Effect.gen(function*() {
      const before = yield* EventStore.head
      const exit = yield* Effect.exit(flow.run(effect))
      const { events: stored } = yield* EventStore.read(Query.all, { after: before })
      return check({ exit, stored })
    }).pipe(
      Effect.catch((error) =>
        Effect.succeed(wrong({ summary: `the store cannot be read: ${showError(error)}`, cause: error }))
      )
    )
})

const look = <E, R>(
  what: string,
  effect: Effect.Effect<unknown, E, R>,
  expected: unknown,
  compare: (actual: unknown) => { readonly actual: unknown; readonly expected: unknown } | undefined,
  site: Error
): Step => ({
  site,
  run: (value) =>
    Effect.match(effect, {
      onFailure: (error) => wrong({ summary: `${what} cannot be read: ${showError(error)}`, cause: error, expected }),
      onSuccess: (read) => {
        const different = compare(read)
        return different === undefined ? done(value) : wrong({
          summary: `${what} is not as expected`,
          details: `  - expected  + actual\n${diffValues(different.expected, different.actual)}`,
          expected: toPlain(different.expected),
          actual: toPlain(different.actual)
        })
      }
    })
})

const isDifferent = (expected: unknown) => (actual: unknown) =>
  isSame(expected, actual) ? undefined : { expected, actual }

/** Why it did not even fail, or did where it should not: said in words. */
const showCause = (cause: Cause.Cause<unknown>): string =>
  Cause.hasInterruptsOnly(cause)
    ? "it was interrupted"
    : cause.reasons.some(Cause.isFailReason)
    ? `it failed with ${showError(Cause.squash(cause))}`
    : `it died of ${showError(Cause.squash(cause))}`

const succeeds = (
  expected: string,
  { exit, stored }: Outcome,
  events: ReadonlyArray<Event.Input>
): Problem | undefined =>
  Exit.isFailure(exit)
    ? {
      summary: `it should ${expected}, but ${showCause(exit.cause)}`,
      details: [
        ...(events.length === 0
          ? []
          : [`  it should append\n${toDiff(events.map((event) => ({ mark: "-", text: tryShow(event) })))}`]),
        showStored(stored)
      ].join("\n"),
      expected,
      actual: toPlain(Cause.squash(exit.cause)),
      cause: Cause.squash(exit.cause)
    }
    : undefined

const tryShow = (event: Event.Input): string => {
  try {
    return showEvent(toSeen(event))
  } catch {
    return typeOf(event)
  }
}

const checkAppends = (events: ReadonlyArray<Event.Input>) => (outcome: Outcome): Done | Wrong => {
  const { exit, stored } = outcome
  const problem = succeeds(`append ${count(events.length)}`, outcome, events) ?? compareEvents(events, stored)
  return problem === undefined ? done(Exit.isSuccess(exit) ? exit.value : undefined) : wrong(problem)
}

const checkSucceeds = (value: unknown, events: ReadonlyArray<Event.Input>) => (outcome: Outcome): Done | Wrong => {
  const { exit, stored } = outcome
  if (Exit.isFailure(exit)) return wrong(succeeds(`succeed with ${show(value)}`, outcome, events)!)
  if (!isSame(value, exit.value)) {
    return wrong({
      summary: "it should succeed with another value",
      details: `  - expected  + actual\n${diffValues(value, exit.value)}`,
      expected: toPlain(value),
      actual: toPlain(exit.value)
    })
  }
  const problem = compareEvents(events, stored)
  return problem === undefined ? done(exit.value) : wrong(problem)
}

const checkFails =
  (expected: unknown, events: ReadonlyArray<Event.Input>) => ({ exit, stored }: Outcome): Done | Wrong => {
    const wanted = typeof expected === "function"
      ? "fail with an error that the function accepts"
      : `fail with ${typeof expected === "string" ? expected : showError(expected)}`
    const expectedPlain = typeof expected === "function" ? wanted : toPlain(expected)
    if (Exit.isSuccess(exit)) {
      return wrong({
        summary: `it should ${wanted}, but it succeeded with ${show(exit.value)}`,
        details: showStored(stored),
        expected: expectedPlain,
        actual: toPlain(exit.value)
      })
    }
    const failed = exit.cause.reasons.find(Cause.isFailReason)
    if (failed === undefined) {
      return wrong({
        summary: `it should ${wanted}, but ${showCause(exit.cause)}`,
        details: showStored(stored),
        expected: expectedPlain,
        cause: Cause.squash(exit.cause)
      })
    }
    const { error } = failed
    const fits = typeof expected === "function"
      ? (expected as (error: unknown) => boolean)(error)
      : typeof expected === "string" && typeof error === "object" && error !== null && "_tag" in error
      ? error._tag === expected
      : isSame(expected, error)
    if (!fits) {
      const isComparable = typeof expected !== "function" && typeof expected !== "string"
      return wrong({
        summary: `it should ${wanted}, but it failed with ${showError(error)}`,
        details: `  ${isComparable ? "- expected  " : ""}+ actual\n${
          isComparable ? diffValues(expected, error) : `  + ${show(error)}`
        }`,
        expected: expectedPlain,
        actual: toPlain(error),
        cause: error
      })
    }
    const problem = compareEvents(events, stored)
    if (problem === undefined) return done(error)
    return wrong({ ...problem, summary: `it failed with ${showError(error)}, as it should; but ${problem.summary}` })
  }

// read models

/** Lets a projection count all events, and reads. Where the scenario's layer runs it, its layer is shared, else it runs for the look. */
const readModel = <Self, Name extends string, S, K extends string, T extends Tag.Input, A>(
  projection: Projection.ServiceClass<Self, Name, S, K, T>,
  read: Effect.Effect<A, Projection.ReadModelError, Self>
) =>
  EventStore.head.pipe(
    Effect.flatMap(projection.waitFor),
    Effect.andThen(read),
    Effect.provide(projection.layer)
  )

type AnyEntry = Projection.Entry<unknown> | Pick<Projection.Entry<unknown>, "key" | "state">

const byKey = <A>(keyOf: (item: A) => string) => (a: A, b: A) => keyOf(a) < keyOf(b) ? -1 : keyOf(a) > keyOf(b) ? 1 : 0

const compareEntries = (wanted: ReadonlyArray<string | AnyEntry>) => (read: unknown) => {
  const keyOf = (entry: string | AnyEntry) => typeof entry === "string" ? entry : entry.key
  const expected = [...wanted].sort(byKey(keyOf))
  const byExpectedKey = new Map(expected.map((entry) => [keyOf(entry), entry]))
  const actual = [...read as ReadonlyArray<Projection.Entry<unknown>>].sort(byKey(keyOf)).map((entry) => {
    const like = byExpectedKey.get(entry.key)
    if (like === undefined) return { key: entry.key, state: entry.state }
    if (typeof like === "string") return entry.key
    const said = Object.keys(like).filter((key) => (like as unknown as Record<string, unknown>)[key] !== undefined)
    return Object.fromEntries(said.map((key) => [key, (entry as unknown as Record<string, unknown>)[key]]))
  })
  return isSame(expected, actual) ? undefined : { expected, actual }
}

// scenarios

class StepsImpl extends Effectable.Class<unknown, never, unknown> {
  readonly #setup: Setup
  readonly #steps: ReadonlyArray<Step>

  constructor(setup: Setup, steps: ReadonlyArray<Step>) {
    super()
    this.#setup = setup
    this.#steps = steps
  }
  override asEffect(): Effect.Effect<unknown, never, unknown> {
    return toEffect(this.#setup, this.#steps)
  }
  #and(step: Step): StepsImpl {
    return new StepsImpl(this.#setup, [...this.#steps, step])
  }
  when(effect: Effect.Effect<unknown, unknown, unknown>) {
    const then = (check: (outcome: Outcome) => Done | Wrong, site: Error) => this.#and(act(effect, check, site))
    const when = {
      thenAppends: (...events: ReadonlyArray<Event.Input>) => then(checkAppends(events), siteOf(when.thenAppends)),
      get thenNothing() {
        return then(checkAppends([]), siteOf(nothing))
      },
      thenSucceeds: (value: unknown, ...events: ReadonlyArray<Event.Input>) =>
        then(checkSucceeds(value, events), siteOf(when.thenSucceeds)),
      thenFails: (error: unknown, ...events: ReadonlyArray<Event.Input>) =>
        then(checkFails(error, events), siteOf(when.thenFails))
    }
    const nothing = Object.getOwnPropertyDescriptor(when, "thenNothing")!.get!
    return when
  }
  thenState(models: DecisionModel.Input, state: unknown) {
    const read = Effect.map(Effect.suspend(() => Decision.build(models)), (built) => built.state)
    return this.#and(look("the state", read, state, isDifferent(state), siteOf(this.thenState)))
  }
  shows(projection: AnyProjection, key: string, state: unknown) {
    const read = readModel(projection, projection.get(key))
    const what = `what ${projection.definition.name} shows for ${JSON.stringify(key)}`
    return this.#and(look(what, read, state, isDifferent(state), siteOf(this.shows)))
  }
  showsEntries(projection: AnyProjection, entries: ReadonlyArray<string | AnyEntry>) {
    const read = readModel(projection, Stream.runCollect(projection.stream()))
    const what = `what ${projection.definition.name} shows`
    return this.#and(look(what, read, entries, compareEntries(entries), siteOf(this.showsEntries)))
  }
  showsByTag(
    projection: AnyProjection,
    tags: Tag.Input | readonly [Tag.Input, ...Array<Tag.Input>],
    entries: ReadonlyArray<string | AnyEntry>
  ) {
    const all = typeof tags === "string" ? [tags] as const : tags
    const read = readModel(projection, projection.byTag(...all))
    const what = `what ${projection.definition.name} shows for ${all.join(", ")}`
    return this.#and(look(what, read, entries, compareEntries(entries), siteOf(this.showsByTag)))
  }
}

type AnyProjection = Projection.ServiceClass<unknown, string, unknown, string, Tag.Input>

// constructors

/** How a scenario runs. */
export interface Options<P, E, R> {
  /**
   * What is provided to all steps, built anew for each run: an event store, and whatever else the steps shall have. Default:
   * `Opossum.layerMemory`.
   */
  readonly layer: Layer.Layer<P, E, R> & Layer.Layer<EventStore.EventStore, unknown, unknown>
  /**
   * What time does by a `TestClock`. `"flows"`: while a step runs, the clock goes on whenever everything waits, so that what is tried
   * again later needs nobody who moves the clock. `"stands"`: it is as the test sets it; for steps that wait for something beyond
   * this process. Default: `"flows"`.
   */
  readonly time?: "flows" | "stands" | undefined
}

/** How scenarios begin. */
export interface Beginning<R, P> {
  /** A store that holds just these events. */
  readonly given: (...events: ReadonlyArray<Given>) => Steps<void, R, P>
}

/**
 * Scenarios with another layer, or another time: on files, with services and handlers beside the store, with projections that run.
 *
 * ```ts
 * import { Context, Layer } from "effect"
 * import { Opossum } from "effect-opossum"
 * import { Scenario } from "effect-opossum/testing"
 *
 * class Mail extends Context.Service<Mail, { readonly from: string }>()("Mail") {}
 *
 * export const { given } = Scenario.make({
 *   layer: Layer.succeed(Mail, { from: "school@example.com" }).pipe(Layer.provideMerge(Opossum.layerMemory))
 * })
 * ```
 */
export const make = <P, E, R>(options: Options<P, E, R>): Beginning<R, P> => ({
  given: (...events) => {
    const batches = events.flatMap((given): ReadonlyArray<ReadonlyArray<Event.Input>> =>
      given instanceof FixtureImpl
        ? given.batches
        : Array.isArray(given)
        ? [given as ReadonlyArray<Event.Input>]
        : [[given as Event.Input]]
    )
    const setup: Setup = {
      layer: options.layer,
      time: options.time ?? "flows",
      batches: batches.filter((batch) => batch.length > 0)
    }
    // What is provided, what is needed and what each step gives is followed by the types alone.
    return new StepsImpl(setup, []) as unknown as Steps<void, R, P>
  }
})

/**
 * Begins a scenario: a store in memory that holds just these events. Each is appended for itself, a list of events as one batch.
 *
 * By a `TestClock` that is behind the newest of the events' timestamps, the clock is set to it.
 */
export const given: (...events: ReadonlyArray<Given>) => Steps<void, never, Opossum.Services> =
  make({ layer: Opossum.layerMemory }).given
