/**
 * Decision models: what must be known to decide, as folds over the events of a query.
 *
 * A model is a query, an initial state, and one function for each event of the query. Models are composed as records and tuples,
 * as deep as wanted, and read together. Pure: `Decision` reads and appends.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { DecisionModel, Event, Query, Tag } from "effect-opossum"
 *
 * const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
 * class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", { courseId: CourseId, seats: Schema.Int }) {}
 * class SeatTaken extends Event.Class<SeatTaken>()("SeatTaken", { courseId: CourseId }) {}
 *
 * const seats = (course: string) =>
 *   DecisionModel.make({
 *     query: Query.of(CourseDefined, { course }),
 *     initial: 0,
 *     apply: { CourseDefined: (_, { seats }) => seats }
 *   })
 *
 * const taken = (course: string) =>
 *   DecisionModel.make({
 *     query: Query.of(SeatTaken, { course }),
 *     initial: 0,
 *     apply: { SeatTaken: (count) => count + 1 }
 *   })
 *
 * // One model of both: its state is { seats, taken }, its condition covers the events of both.
 * const course = (id: string) => DecisionModel.all({ seats: seats(id), taken: taken(id) })
 *
 * export const free = (id: string) => DecisionModel.map(course(id), ({ seats, taken }) => seats - taken)
 * ```
 */
import { dual } from "effect/Function"
import type * as Schema from "effect/Schema"
import type * as Types from "effect/Types"
import * as Event from "./Event.ts"
import { isWellFormed } from "./internal/text.ts"
import * as Query from "./Query.ts"

// models

export const TypeId = "~effect-opossum/DecisionModel"
export type TypeId = typeof TypeId

/** What must be known to decide: which events, and the state that they make. */
export interface DecisionModel<out S> {
  readonly [TypeId]: { readonly _S: Types.Covariant<S> }
  /** All events that any part of the model folds: what must not happen between the decision and its append. */
  readonly query: Query.Any
  /** @internal */
  readonly folds: ReadonlyArray<Fold>
  /** @internal from the states of the folds, in their order */
  readonly combine: (states: ReadonlyArray<unknown>) => S
}

/** A model of whatever state. */
export type Any = DecisionModel<unknown>

/** @internal one query and its state */
export interface Fold {
  readonly query: Query.Any
  readonly initial: unknown
  /** By the event's `_tag`; "last" keeps the newest event as it is. */
  readonly apply: Functions | "last"
  readonly snapshot: Snapshot<unknown> & { readonly every: number } | undefined
}

type Functions = Readonly<
  Record<string, (state: unknown, event: unknown, sequenced: Event.SequencedEvent<unknown>) => unknown>
>

/**
 * Says how a model's state is kept beside the store, so that a later decision reads only what came after. Where it is kept is
 * `Decision.Snapshots`'s affair; with none, or with one that does not fit, all events are read.
 */
export interface Snapshot<out S> {
  /** With the version and the model's query, what a snapshot is found by. */
  readonly name: string
  /** A whole number: count it up when `initial`, `apply` or `state` change their meaning, else old states are used as new ones. */
  readonly version: number
  /** How the state is stored as JSON. */
  readonly state: Schema.ConstraintCodec<S, unknown>
  /** A new snapshot after at least so many events that were folded since the last. Default: 100. */
  readonly every?: number | undefined
}

/**
 * One function for each event of the query: the state before, the event, and the event with position, tags and metadata, to the
 * state after. Events without a class (of `Query.all`, `Query.types`, `Query.tags`) come under the key `RawEvent`.
 *
 * A function must not change the state that it is given, and must depend on nothing else: it is called again at each attempt.
 */
export type Apply<E extends Event.Event, in out S> = {
  readonly [K in E["_tag"]]: (
    state: S,
    event: Extract<E, { readonly _tag: K }>,
    sequenced: Event.SequencedEvent<Extract<E, { readonly _tag: K }>>
  ) => S
}

/** A model, or models in records and tuples, as deep as wanted. */
export type Input = Any | ReadonlyArray<Input> | { readonly [x: string]: Input }

/** The state of a model, or the states of a record or tuple of models; of models that are not known, `unknown`. */
export type StateOf<M> = Input extends M ? unknown
  : M extends DecisionModel<infer S> ? S
  : { readonly [K in keyof M]: StateOf<M[K]> }

// constructors

class ModelImpl<out S> implements DecisionModel<S> {
  readonly folds: ReadonlyArray<Fold>
  readonly combine: (states: ReadonlyArray<unknown>) => S
  #query: Query.Any | undefined

  constructor(folds: ReadonlyArray<Fold>, combine: (states: ReadonlyArray<unknown>) => S) {
    this.folds = folds
    this.combine = combine
  }
  get [TypeId]() {
    return variance
  }
  /** Made when first asked for: the parts of a composed model are seldom asked. */
  get query(): Query.Any {
    return this.#query ??= this.folds.length === 1
      ? this.folds[0]!.query
      : Query.or(...this.folds.map(({ query }) => query) as [Query.Any, ...Array<Query.Any>])
  }
}

const variance = { _S: (_: never) => _ }

/**
 * Makes a model of a query, an initial state, and one function for each event of the query.
 *
 * The state's type is that of `initial`, so write `Option.none<Price>()` rather than `undefined`. Throws if a function is missing,
 * or if a snapshot's name, version or `every` are none.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { DecisionModel, Event, Query } from "effect-opossum"
 *
 * class InvoiceCreated extends Event.Class<InvoiceCreated>()("InvoiceCreated", { cents: Schema.Int }) {}
 *
 * export const turnover = DecisionModel.make({
 *   query: Query.of(InvoiceCreated),
 *   initial: 0,
 *   apply: { InvoiceCreated: (sum, { cents }) => sum + cents },
 *   snapshot: { name: "turnover", version: 1, state: Schema.Int }
 * })
 * ```
 */
export const make = <E extends Event.Event, S>(options: {
  readonly query: Query.Query<E>
  readonly initial: S
  readonly apply: Apply<E, NoInfer<S>>
  /** Keeps the state, for models of many events. */
  readonly snapshot?: Snapshot<NoInfer<S>> | undefined
}): DecisionModel<S> => {
  const { initial, query, snapshot } = options
  // A function is only ever given the events of its own key: `keysOf` and `see` hold to that.
  const apply = options.apply as Functions
  const problem = problemOf(query, apply, snapshot)
  if (problem !== undefined) throw new Error(`DecisionModel.make: ${problem}`)
  const kept = snapshot === undefined ? undefined : { ...snapshot, every: snapshot.every ?? 100 }
  return new ModelImpl([{ query, initial, apply, snapshot: kept }], ([state]) => state as S)
}

const problemOf = (
  query: Query.Any,
  apply: unknown,
  snapshot: Snapshot<unknown> | undefined
): string | undefined => {
  if (!Query.isQuery(query)) return "the query is none: make it with the functions of Query"
  if (typeof apply !== "object" || apply === null) return "`apply` must be a record with one function for each event"
  for (const key of keysOf(query)) {
    const found = (apply as Functions)[key]
    // An event may be called like something that every object has.
    if (typeof found !== "function" || found === (Object.prototype as unknown as Functions)[key]) {
      return `\`apply\` has no function for ${key}, which the query finds (${query})`
    }
  }
  if (snapshot === undefined) return undefined
  const { every = 100, name, version } = snapshot
  return typeof name !== "string" || name === ""
    ? "the snapshot's name must be a text that is not empty"
    : !isWellFormed(name)
    ? "the snapshot's name must not have half of a surrogate pair"
    : !Number.isSafeInteger(version) || version < 0
    ? `the snapshot's version must be a whole number of at least 0, not ${String(version)}`
    : !Number.isSafeInteger(every) || every < 1
    ? `the snapshot's \`every\` must be a whole number of at least 1, not ${String(every)}`
    : undefined
}

/** The `_tag`s of all that a query can find. */
const keysOf = ({ classes, items }: Query.Any): ReadonlyArray<string> => {
  const out = [...classes.keys()]
  return findsRaw(items, classes) ? [...out, "RawEvent"] : out
}

const findsRaw = (items: Query.Any["items"], classes: Query.Any["classes"]): boolean =>
  items === "all" || items.some(({ types }) => types === undefined || types.some((type) => !classes.has(type)))

/**
 * The newest event of a query, or `undefined`: to carry on a number, say. That event alone is read.
 *
 * ```ts
 * import { Schema } from "effect"
 * import { DecisionModel, Event, Query } from "effect-opossum"
 *
 * class InvoiceCreated extends Event.Class<InvoiceCreated>()("InvoiceCreated", { number: Schema.Int }) {}
 *
 * export const nextNumber = DecisionModel.map(
 *   DecisionModel.last(Query.of(InvoiceCreated)),
 *   (newest) => (newest?.event.number ?? 0) + 1
 * )
 * ```
 */
export const last = <E>(query: Query.Query<E>): DecisionModel<Event.SequencedEvent<E> | undefined> => {
  if (!Query.isQuery(query)) {
    throw new Error("DecisionModel.last: that is no query: make it with the functions of Query")
  }
  return new ModelImpl(
    [{ query, initial: undefined, apply: "last", snapshot: undefined }],
    ([newest]) => newest as Event.SequencedEvent<E> | undefined
  )
}

/**
 * Several models as one, over one read; its state is a record or tuple like that of the models.
 *
 * A part may be empty (of a list of courses that has none, say), the whole may not: without any query, an append would be
 * guarded by nothing. That throws, and so do two event classes of one type.
 */
export const all = <const M extends Input>(models: M): DecisionModel<StateOf<M>> =>
  allAny(models) as DecisionModel<StateOf<M>>

/** @internal `all`, without the work that its type is to the compiler where `M` is not known yet */
export const allAny = (models: Input): Any => {
  const model = compose(models)
  if (model.folds.length === 0) {
    throw new Error(
      "DecisionModel.all: there is no model, so an append would be guarded by nothing: name at least one, " +
        "or use EventStore.append to append without a condition"
    )
  }
  // What cannot be read together shall be said here, not when it is read.
  void model.query
  return model
}

const compose = (models: Input): Any => {
  if (isDecisionModel(models)) return models
  if (typeof models !== "object" || models === null) {
    throw new Error(`DecisionModel.all: ${String(models)} is no model, and no record or tuple of models`)
  }
  const parts = Object.entries(models as Readonly<Record<string, Input>>).map(([key, part]) =>
    [key, compose(part)] as const
  )
  const isTuple = Array.isArray(models)
  return new ModelImpl(parts.flatMap(([, { folds }]) => folds), (states) => {
    let at = 0
    const entries = parts.map(([key, { combine, folds }]) =>
      [key, combine(states.slice(at, at += folds.length))] as const
    )
    return isTuple ? entries.map(([, state]) => state) : Object.fromEntries(entries)
  })
}

// combinators

/** A model with its state seen in another way. */
export const map: {
  <S, T>(f: (state: S) => T): (model: DecisionModel<S>) => DecisionModel<T>
  <S, T>(model: DecisionModel<S>, f: (state: S) => T): DecisionModel<T>
} = dual(
  2,
  <S, T>(model: DecisionModel<S>, f: (state: S) => T): DecisionModel<T> =>
    new ModelImpl(model.folds, (states) => f(model.combine(states)))
)

// accessors

/** Whether something is a decision model. */
export const isDecisionModel = (u: unknown): u is Any => typeof u === "object" && u !== null && TypeId in u

/**
 * The state after some events, given in their order; what the models do not ask for is passed over. For tests and for deciding
 * without a store.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { DecisionModel, Event, EventStore, Query } from "effect-opossum"
 *
 * class Counted extends Event.Class<Counted>()("Counted", { by: Schema.Int }) {}
 * const counted = Query.of(Counted)
 * const sum = DecisionModel.make({ query: counted, initial: 0, apply: { Counted: (sum, { by }) => sum + by } })
 *
 * export const program = Effect.map(EventStore.read(counted), ({ events }) => DecisionModel.fold(sum, events))
 * ```
 */
export const fold = <const M extends Input>(
  models: M,
  events: Iterable<Event.SequencedEvent<unknown>>
): StateOf<M> => {
  const { combine, folds } = compose(models)
  const states = folds.map(({ initial }) => initial)
  foldInto(folds, states, events)
  return combine(states) as StateOf<M>
}

/**
 * @internal Folds events into the states, which are changed in place, and answers how many events each fold took. A hot loop.
 */
export const foldInto = (
  folds: ReadonlyArray<Fold>,
  states: Array<unknown>,
  events: Iterable<Event.SequencedEvent<unknown>>
): ReadonlyArray<number> => {
  const counts = folds.map(() => 0)
  for (const sequenced of events) {
    for (let i = 0; i < folds.length; i++) {
      const { apply, query } = folds[i]!
      if (!Query.matches(query, sequenced)) continue
      const seen = see(query, sequenced)
      states[i] = apply === "last"
        ? seen
        : apply[(seen.event as Event.Event)._tag]!(states[i], seen.event, seen)
      counts[i]!++
    }
  }
  return counts
}

/**
 * The event as the query names it: decoded if it has a class for it, else raw. A read gives them so; events that were read for
 * several models, or given to `fold` by hand, may be the other way. May throw what the class's schemas throw.
 */
const see = ({ classes }: Query.Any, sequenced: Event.SequencedEvent<unknown>): Event.SequencedEvent<unknown> => {
  const event = sequenced.event as Event.Event
  const class_ = classes.get(sequenced.type)
  if (Event.isRaw(event)) {
    return class_ === undefined
      ? sequenced
      : { ...sequenced, event: class_["~codec"].decode(event.version, event.data as Schema.Json) }
  }
  if (class_ !== undefined) return sequenced
  const { "~codec": codec, version } = event.constructor as unknown as Event.AnyClass
  return { ...sequenced, event: Event.rawEvent(sequenced.type, version, codec.encode(event)) }
}
