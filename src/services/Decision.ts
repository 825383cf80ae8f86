/**
 * Decisions: read what matters, decide, append under the condition that nothing of it has changed, and do it all again if
 * somebody was faster.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Decision, DecisionModel, Event, Query, Tag } from "effect-opossum"
 *
 * const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
 * class SeatTaken extends Event.Class<SeatTaken>()("SeatTaken", { courseId: CourseId, by: Schema.String }) {}
 * class CourseFull extends Schema.TaggedError<CourseFull>()("CourseFull", { courseId: CourseId }) {}
 *
 * const taken = (course: string) =>
 *   DecisionModel.make({
 *     query: Query.of(SeatTaken, { course }),
 *     initial: 0,
 *     apply: { SeatTaken: (count) => count + 1 }
 *   })
 *
 * export const takeSeat = (courseId: string, by: string) =>
 *   Decision.execute({ taken: taken(courseId) }, function*({ taken }) {
 *     if (taken >= 30) return yield* new CourseFull({ courseId })
 *     return new SeatTaken({ courseId, by })
 *   })
 *
 * export const program = takeSeat("maths", "anna").pipe(
 *   Effect.map(({ positions }) => positions[0]),
 *   Effect.catchTag("CourseFull", () => Effect.succeed(undefined))
 * )
 * ```
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Span } from "effect/Tracer"
import type { AppendCondition } from "../AppendCondition.ts"
import * as DecisionModel from "../DecisionModel.ts"
import * as Event from "../Event.ts"
import * as metrics from "../internal/metrics.ts"
import * as turnstile from "../internal/turnstile.ts"
import type { Position } from "../Position.ts"
import * as Query from "../Query.ts"
import * as EventStore from "./EventStore.ts"

// models

/** What a decision may return: events to append, or nothing. */
export type Outcome = Event.Input | ReadonlyArray<Event.Input> | void

/** What a decision is: events, an effect of events, or a generator as in `Effect.gen` that returns events. */
export type Decide =
  | Outcome
  | Effect.Effect<Outcome, unknown, unknown>
  | Generator<Effect.Effect<unknown, unknown, unknown>, Outcome, never>

/** What `execute` answers. */
export interface Decided<out A> {
  /** What the decision returned. */
  readonly result: A
  /** Where its events are; empty if there were none. */
  readonly positions: Positions<A>
  /** The head after the append, or of the read if there were no events. */
  readonly head: Position | (A extends Event.Input ? never : undefined)
}

/** One event has one position; of several it is not known how many. */
export type Positions<A> = A extends Event.Input ? readonly [Position]
  : A extends ReadonlyArray<unknown> ? ReadonlyArray<Position>
  : readonly []

/** The state of models, and the condition under which it still holds. */
export interface Built<out S> {
  readonly state: S
  /** The head of the snapshot that was read; `undefined` in an empty store. */
  readonly head: Position | undefined
  /** For an append that shall fail if the state has changed. */
  readonly condition: AppendCondition
}

/** What a decision returns in the end. */
export type Success<D> = D extends Generator<unknown, infer A, never> ? A
  : D extends Effect.Effect<infer A, unknown, unknown> ? A
  : D

/** What a decision fails with: its own refusals. */
export type Refusal<D> = ErrorOf<EffectsOf<D>>

/** What a decision needs. */
export type Services<D> = ServicesOf<EffectsOf<D>>

type EffectsOf<D> = D extends Generator<infer Y, unknown, never> ? Y
  : D extends Effect.Effect<unknown, unknown, unknown> ? D
  : never
type ErrorOf<Y> = Y extends Effect.Effect<unknown, infer E, unknown> ? E : never
type ServicesOf<Y> = Y extends Effect.Effect<unknown, unknown, infer R> ? R : never

export interface ExecuteOptions {
  /** When to try again after a conflict; each attempt reads afresh. Default: `defaultRetry`. */
  readonly retry?: Schedule.Schedule<unknown, EventStore.AppendConditionFailed> | undefined
}

// errors

/** All that `execute` can fail with besides the decision's own errors; also a schema, for a command's `error`. */
export const ExecuteError = Schema.Union([EventStore.AppendError, EventStore.ReadError])
export type ExecuteError = typeof ExecuteError.Type

// snapshots

/** What a snapshot is found by. States of other versions, and of the same model over other events, are other snapshots. */
export interface SnapshotKey {
  readonly name: string
  readonly version: number
  readonly query: Query.Any
}

/** A model's state as of a position. */
export interface Snapshot {
  /** As the model's `state` schema encodes it. */
  readonly state: Schema.Json
  /** The head of the read that the state was folded from. */
  readonly position: Position
}

/**
 * Where the states of models with a `snapshot` are kept. The default keeps none: that costs time, and changes no answer.
 *
 * Neither function may fail: a snapshot that cannot be loaded is none, and one that cannot be saved is not needed. Whoever keeps
 * them answers for their being of the store that is open and of its present history.
 */
export const Snapshots: Context.Reference<{
  readonly load: (key: SnapshotKey) => Effect.Effect<Snapshot | undefined>
  readonly save: (key: SnapshotKey, snapshot: Snapshot) => Effect.Effect<void>
}> = Context.Reference("effect-opossum/services/Decision/Snapshots", { defaultValue: () => noSnapshots })

const noSnapshots: Context.Service.Shape<typeof Snapshots> = { load: () => Effect.undefined, save: () => Effect.void }

// functions

/** Three attempts in all: the second after 50 ms, the third after another 100, give or take a fifth. */
export const defaultRetry: Schedule.Schedule<unknown> = Schedule.exponential("50 millis").pipe(
  Schedule.jittered,
  Schedule.upTo({ times: 2 })
)

/**
 * Reads and folds the models, all as of one head.
 *
 * For looking, and for those who append themselves; `execute` does all of it, with retries.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Decision, DecisionModel, Event, EventStore, Query } from "effect-opossum"
 *
 * class Opened extends Event.Class<Opened>()("Opened", { by: Schema.String }) {}
 * const opened = DecisionModel.make({ query: Query.of(Opened), initial: false, apply: { Opened: () => true } })
 *
 * export const open = Effect.gen(function*() {
 *   const { condition, state } = yield* Decision.build(opened)
 *   if (!state) yield* EventStore.append(new Opened({ by: "anna" }), condition)
 * })
 * ```
 */
export const build = <const M extends DecisionModel.Input>(
  models: M
): Effect.Effect<Built<DecisionModel.StateOf<M>>, EventStore.ReadError, EventStore.EventStore> =>
  EventStore.EventStore.use((store) =>
    readModel(store, DecisionModel.allAny(models) as DecisionModel.DecisionModel<DecisionModel.StateOf<M>>)
  )

/**
 * Reads and folds the models, decides, and appends what the decision returns, on the condition that nothing that the models ask
 * for has happened since the read. If it has, all is done again on fresh events, as `retry` says.
 *
 * `decide` gets the state and the number of the attempt, from 1. It returns one event, several, or none; an effect of these; or it
 * is a generator as in `Effect.gen`. Whatever it fails with comes out as it is, without another attempt: refusing is failing. It
 * may be called several times, so what it does besides deciding should do no harm when it is repeated.
 *
 * - `AppendConditionFailed`: a conflict at each attempt
 * - all else that `EventStore.read` and `EventStore.append` fail with, at once
 *
 * Decisions of one process that ask for the same things run one after another, in the order in which they came, unless one of
 * them takes more than a second: so most conflicts are those with other processes. A decision that is executed inside another one's
 * `decide` does not wait.
 */
export const execute = <const M extends DecisionModel.Input, D extends Decide>(
  models: M,
  decide: (state: DecisionModel.StateOf<M>, attempt: number) => D,
  options?: ExecuteOptions
): Effect.Effect<Decided<Success<D>>, Refusal<D> | ExecuteError, Services<D> | EventStore.EventStore> =>
  Effect.useSpan("Decision.execute", (span) =>
    Effect.withParentSpan(
      EventStore.EventStore.use((store) =>
        attempts(store, DecisionModel.allAny(models), {
          // What state a model has and which kind of decision this is shows when it runs; the types above say the same.
          decide: (state, attempt) =>
            // @effect-diagnostics-next-line unsafeEffectTypeAssertion:off
            toEffect(decide(state as DecisionModel.StateOf<M>, attempt)) as Effect.Effect<
              Success<D>,
              Refusal<D>,
              Services<D>
            >,
          retry: options?.retry ?? defaultRetry,
          span
        })
      ),
      span,
      { captureStackTrace: false }
    ))

// deciding

/** The own append's conflict. Kept out of the error channel, where `decide` may put an error of the same class. */
class Conflict {
  readonly error: EventStore.AppendConditionFailed
  constructor(error: EventStore.AppendConditionFailed) {
    this.error = error
  }
}

type Store = EventStore.EventStore["Service"]

interface Decision<out A, out E, out R> {
  readonly decide: (state: unknown, attempt: number) => Effect.Effect<A, E, R>
  readonly retry: Schedule.Schedule<unknown, EventStore.AppendConditionFailed>
  readonly span: Span
}

const attempts = Effect.fnUntraced(function*<A, E, R>(
  store: Store,
  model: DecisionModel.Any,
  decision: Decision<A, E, R>
) {
  const { span } = decision
  const step = yield* Schedule.toStepWithSleep(decision.retry)
  yield* Metric.update(metrics.decisions, 1)
  for (let attempt = 1;; attempt++) {
    span.attribute("opossum.attempts", attempt)
    span.attribute("opossum.conflicts", attempt - 1)
    yield* Metric.update(metrics.decisionAttempts, 1)
    const decided = yield* inTurn(store, model.query, (turn) => once(store, model, decision, attempt, turn))
    if (!(decided instanceof Conflict)) {
      if (decided.head !== undefined) span.attribute("opossum.head", decided.head)
      return decided
    }
    span.attribute("opossum.conflicts", attempt)
    yield* Metric.update(metrics.decisionConflicts, 1)
    yield* Pull.catchDone(
      step(decided.error),
      () => Effect.andThen(Metric.update(metrics.decisionsGivenUp, 1), Effect.fail(decided.error))
    )
  }
})

const once = Effect.fnUntraced(function*<A, E, R>(
  store: Store,
  model: DecisionModel.Any,
  { decide }: Decision<A, E, R>,
  attempt: number,
  turn: turnstile.Ticket | undefined
) {
  // Overtaken once, and so not unlikely again: whoever else writes shall wait for a moment. It is a hint, so it may fail.
  if (attempt > 1) yield* Effect.ignore(store.reserve)
  const { condition, head, state } = yield* readModel(store, model)
  const result = yield* Effect.provideService(Effect.suspend(() => decide(state, attempt)), Turn, turn)
  const events = eventsOf(result as Outcome)
  if (events.length === 0) return { result, positions: [], head } as unknown as Decided<A>
  return yield* store.append(events, condition).pipe(
    Effect.map(({ head, positions }) => ({ result, positions, head }) as unknown as Decided<A>),
    Effect.catchTag("AppendConditionFailed", (error) => Effect.succeed(new Conflict(error)))
  )
})

const eventsOf = (outcome: Outcome): ReadonlyArray<Event.Input> =>
  outcome === undefined ? [] : Array.isArray(outcome) ? outcome : [outcome as Event.Input]

const toEffect = (decided: Decide): Effect.Effect<Outcome, unknown, unknown> =>
  Effect.isEffect(decided)
    ? decided as Effect.Effect<Outcome, unknown, unknown>
    : isGenerator(decided)
    ? Effect.gen(() => decided)
    : Effect.succeed(decided)

const isGenerator = (decided: Decide): decided is Extract<Decide, Generator> =>
  typeof decided === "object" && decided !== null && !Array.isArray(decided) && !Event.isEvent(decided) &&
  typeof (decided as Partial<Generator>).next === "function"

// turns

/** Longer than any decision that does nothing but decide takes. */
const longestWait = 1000
/** Beyond it, keeping order costs more than conflicts do. */
const longestQueue = 4096

const turnstiles = new WeakMap<Store, turnstile.Turnstile>()

/** The turn in which a fiber decides. */
const Turn = Context.Reference<turnstile.Ticket | undefined>("effect-opossum/services/Decision/Turn", {
  defaultValue: () => undefined
})

/**
 * One attempt after those of this process that came before and ask for the same things. This is for speed, and safety does not
 * rest on it: the condition is checked as ever. An attempt's turn ends with it, so nobody waits while another one's schedule does.
 */
const inTurn = <A, E, R>(
  store: Store,
  query: Query.Any,
  use: (turn: turnstile.Ticket | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) => {
      let gate = turnstiles.get(store)
      if (gate === undefined) turnstiles.set(store, gate = turnstile.make({ limit: longestQueue }))
      const items = Query.normalize(query)
      const ticket = gate.enter(items === "all" ? anything : items)
      const given = fiber.getRef(Turn)
      const outer = given?.isOver === false ? given : undefined
      // A full queue is no reason to fail, nor to wait.
      if (ticket === undefined) return restore(use(outer))
      // Who waited inside another decision's `decide` could wait for that one, which waits for it. Others wait for both.
      const turn = outer === undefined ? ticket.turn(longestWait) : Effect.void
      return Effect.onExit(restore(Effect.andThen(turn, use(outer ?? ticket))), () => Effect.sync(ticket.leave))
    })
  )

const anything: ReadonlyArray<turnstile.Item> = [{ types: [], tags: [] }]

// reading

/** Folds that are read together. */
interface Group {
  /** Their places in the model. */
  readonly members: Array<number>
  readonly queries: Array<Query.Any>
}

/**
 * The folds in as few reads as there can be: one for all, but
 *
 * - `last` models, which read a single event unless it is read anyway;
 * - models with a snapshot, which read what came after it (together, if their snapshots are of one position);
 * - one more where two models want the same event, one decoded and the other raw.
 *
 * The first read tells the head; the others read only up to it, so that all parts are of one moment. Between two reads tags may be
 * added to older events, and a later read sees them. That cannot be missed: the condition counts an addition of tags at its own
 * position, which is above the head of the first read, so an append that rests on such a mixture fails. And a snapshot made of it
 * is told by its next read that these events were tagged after it.
 */
const readModel = Effect.fnUntraced(function*<S>(store: Store, model: DecisionModel.DecisionModel<S>) {
  const { folds } = model
  const keeper = yield* Snapshots
  const states = folds.map(({ initial }) => initial)
  const folded = folds.map(() => 0)

  // what to read

  const groups: Array<Group> = []
  const kept: Array<number> = []
  const newest: Array<number> = []
  folds.forEach(({ apply, snapshot }, i) => {
    if (apply === "last") newest.push(i)
    else if (snapshot !== undefined && keeper !== noSnapshots) kept.push(i)
    else join(groups, folds, i)
  })
  // What is read anyway needs no snapshot.
  const saved = kept.filter((i) => !joinIfCovered(groups, folds, i))
  // Loaded before the first read, so that no true one can be of a later position.
  const loaded = yield* Effect.forEach(saved, (i) => load(keeper, folds[i]!))
  const ahead = new Map<Position, Array<Group>>()
  saved.forEach((i, at) => {
    const snapshot = loaded[at]
    if (snapshot === undefined) return join(groups, folds, i)
    states[i] = snapshot.state
    const same = ahead.get(snapshot.position) ?? []
    ahead.set(snapshot.position, same)
    join(same, folds, i)
  })
  const alone = newest.filter((i) => !joinIfCovered(groups, folds, i))

  // reading it

  let head: Position | undefined
  let isFirst = true
  const read = Effect.fnUntraced(function*(members: ReadonlyArray<number>, options: EventStore.ReadOptions) {
    const query = members.length === folds.length ? model.query : queryOf(members.map((i) => folds[i]!.query))
    const found = yield* store.read(query, isFirst ? options : { ...options, before: head! + 1 as Position })
    if (isFirst) head = found.head
    isFirst = false
    return found
  })
  const take = (members: ReadonlyArray<number>, events: ReadonlyArray<Event.SequencedEvent<unknown>>) => {
    const some = members.map((i) => states[i])
    const counts = DecisionModel.foldInto(members.map((i) => folds[i]!), some, events)
    members.forEach((i, at) => {
      states[i] = some[at]
      folded[i] = counts[at]!
    })
  }
  /** An empty store has nothing below its head. */
  const isEmpty = () => !isFirst && head === undefined

  for (const { members } of groups) {
    if (!isEmpty()) take(members, (yield* read(members, {})).events)
  }
  for (const [after, same] of ahead) {
    for (const { members } of same) {
      const found = isEmpty() ? undefined : yield* read(members, { after })
      // A snapshot beyond the head is of another history; one of events that have other tags by now may lack some of them.
      if (found !== undefined && head !== undefined && after <= head && found.retagged === undefined) {
        take(members, found.events)
      } else {
        for (const i of members) states[i] = folds[i]!.initial
        if (isEmpty()) continue
        take(members, (yield* read(members, {})).events)
        // The next one shall not find it again.
        for (const i of members) folded[i] = Infinity
      }
    }
  }
  for (const i of alone) {
    if (!isEmpty()) take([i], (yield* read([i], { backwards: true, limit: 1 })).events)
  }

  // Before anybody has the states in hands.
  if (head !== undefined) {
    for (const i of saved) {
      const { snapshot } = folds[i]!
      if (folded[i]! >= snapshot!.every) yield* save(keeper, folds[i]!, states[i], head)
    }
  }
  const built: Built<S> = {
    state: model.combine(states),
    head,
    condition: { failIfEventsMatch: model.query, after: head }
  }
  return built
})

type Keeper = Context.Service.Shape<typeof Snapshots>

const keyOf = ({ query, snapshot }: DecisionModel.Fold): SnapshotKey => ({
  name: snapshot!.name,
  version: snapshot!.version,
  query
})

const ignored = (what: string, { snapshot }: DecisionModel.Fold) => (cause: Cause.Cause<unknown>) =>
  Effect.as(Effect.logDebug(`The snapshot ${snapshot!.name} cannot be ${what}`, cause), undefined)

/** A snapshot only saves time, so whatever is wrong with one, it is none. */
const load = (keeper: Keeper, fold: DecisionModel.Fold) =>
  Effect.suspend(() => keeper.load(keyOf(fold))).pipe(
    Effect.map((found) =>
      found && { position: found.position, state: codecOf(fold.snapshot!.state).decode(found.state) }
    ),
    Effect.catchCause(ignored("loaded", fold))
  )

/** Encoded at once, since nobody knows what becomes of the state; saved beside what is going on, which does not wait for it. */
const save = (keeper: Keeper, fold: DecisionModel.Fold, state: unknown, position: Position) =>
  Effect.suspend(() => {
    // a copy: some schemas encode to the state itself, which `decide` may change before this is written
    const encoded = structuredClone(codecOf(fold.snapshot!.state).encode(state))
    return Effect.forkDetach(
      Effect.catchCause(
        Effect.suspend(() => keeper.save(keyOf(fold), { state: encoded, position })),
        ignored("saved", fold)
      )
    )
  }).pipe(Effect.catchCause(ignored("encoded", fold)))

interface Codec {
  readonly encode: (state: unknown) => Schema.Json
  readonly decode: (state: Schema.Json) => unknown
}

const codecs = new WeakMap<object, Codec>()

/** Models are made anew for each decision, their schemas mostly not. */
const codecOf = (schema: Schema.ConstraintCodec<unknown, unknown>): Codec => {
  let codec = codecs.get(schema)
  if (codec === undefined) {
    const json = Schema.toCodecJson(schema)
    codecs.set(schema, codec = { encode: Schema.encodeSync(json), decode: Schema.decodeUnknownSync(json) })
  }
  return codec
}

const queryOf = (queries: ReadonlyArray<Query.Any>): Query.Any =>
  queries.length === 1 ? queries[0]! : Query.or(...queries as ReadonlyArray<Query.Any> as [Query.Any])

const join = (groups: Array<Group>, folds: ReadonlyArray<DecisionModel.Fold>, i: number): void => {
  const { query } = folds[i]!
  const group = groups.find(({ queries }) => queries.every((other) => isReadAlike(query, other)))
  if (group === undefined) groups.push({ members: [i], queries: [query] })
  else {
    group.members.push(i)
    group.queries.push(query)
  }
}

const joinIfCovered = (groups: ReadonlyArray<Group>, folds: ReadonlyArray<DecisionModel.Fold>, i: number): boolean => {
  const { query } = folds[i]!
  const group = groups.find(({ queries }) =>
    isCovered(query, queries) && queries.every((other) => isReadAlike(query, other))
  )
  group?.members.push(i)
  group?.queries.push(query)
  return group !== undefined
}

/** Whether one read of both gives each of them what its own would: not if one wants an event raw that the other has a class for. */
const isReadAlike = (a: Query.Any, b: Query.Any): boolean => !wantsRaw(a, b.classes) && !wantsRaw(b, a.classes)

const wantsRaw = ({ classes: own, items }: Query.Any, classes: Query.Any["classes"]): boolean => {
  for (const type of classes.keys()) {
    if (own.has(type)) continue
    if (items === "all" || items.some(({ types }) => types === undefined || types.includes(type))) return true
  }
  return false
}

/** Whether the others find all that a query finds; may say no where they do. */
const isCovered = (query: Query.Any, others: ReadonlyArray<Query.Any>): boolean => {
  const wanted = Query.normalize(query)
  const found = others.map(Query.normalize)
  if (found.includes("all")) return true
  if (wanted === "all") return false
  const items = (found as ReadonlyArray<ReadonlyArray<Query.NormalItem>>).flat()
  return wanted.every(({ tags, types }) =>
    items.some((item) =>
      (item.types.length === 0 || (types.length > 0 && types.every((type) => item.types.includes(type)))) &&
      item.tags.every((tag) => tags.includes(tag))
    )
  )
}
