/** The events of the rules, and what rules ask of a store again and again. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import * as Tag from "../../Tag.ts"
import { equal, that } from "./expect.ts"

// events

export const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"), Tag.as("course"))
const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"), Tag.as("student"))

export class Defined extends Event.Class<Defined>()("Defined", { course: CourseId, capacity: Schema.Int }) {}
export class Subscribed extends Event.Class<Subscribed>()("Subscribed", { course: CourseId, student: StudentId }) {}
export class Moved
  extends Event.Class<Moved>()("Moved", { from: CourseId, to: CourseId, at: Schema.DateTimeUtcFromString })
{}

const PricedV1 = Schema.Struct({ product: Schema.String, price: Schema.Number })
/** Its third version. */
export class Priced extends Event.Class<Priced>()("Priced", {
  product: Schema.String.pipe(Tag.as("product")),
  cents: Schema.Int,
  currency: Schema.String
}, {
  tags: ({ currency }) => [`currency:${currency}`],
  upcast: [
    Event.upcast(PricedV1, ({ price, ...rest }) => ({ ...rest, cents: price * 100 })),
    (v2) => ({ ...v2, currency: "EUR" })
  ]
}) {}

export const defined = (course: string, capacity = 1) => new Defined({ course: CourseId.make(course), capacity })
export const subscribed = (course: string, student: string) =>
  new Subscribed({ course: CourseId.make(course), student: StudentId.make(student) })
/** An event that is told from others by its number, with tags. */
export const numbered = (n: number, type = "Numbered", ...tags: ReadonlyArray<Tag.Input>) =>
  Event.raw(type, { n }, { tags })
export const withId = (event: Event.Input, id: string) => Event.withMetadata(event, { id })

/** So many objects in one another. */
export const nested = (levels: number): Schema.JsonObject =>
  range(2, levels).reduce<Schema.JsonObject>((inner) => ({ a: inner }), { a: 1 })

export const range = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)

// what was read

export const positionsOf = (events: ReadonlyArray<Event.SequencedEvent<unknown>>): ReadonlyArray<Position> =>
  events.map(({ position }) => position)

/** The numbers of `numbered` events. */
export const numbersOf = (events: ReadonlyArray<Event.SequencedEvent<unknown>>): ReadonlyArray<number> =>
  events.map(({ event }) => ((event as Event.RawEvent).data as { readonly n: number }).n)

export const readNumbers = (query: Query.Any, options?: EventStore.ReadOptions) =>
  Effect.map(EventStore.read(query, options), ({ events }) => numbersOf(events))

/** The first numbers that a subscription delivers. */
export const follow = (query: Query.Any, count: number, options?: EventStore.SubscribeOptions) =>
  EventStore.subscribe(query, options).pipe(Stream.take(count), Stream.runCollect, Effect.map(numbersOf))

/** For as long as anybody who was woken may need to come back. */
export const settle = Effect.gen(function*() {
  for (let i = 0; i < 100; i++) yield* Effect.yieldNow
})

// failures

/** What an effect died of. */
export const defectOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.exit(effect), (exit) => {
    const reason = exit._tag === "Failure" ? exit.cause.reasons[0] : undefined
    that(reason?._tag === "Die", `it should be a defect, and is ${reason === undefined ? "a success" : reason._tag}`)
    return reason.defect
  })

/** What it failed with, if it did. */
export const failureOf = <A, E>(exit: Exit.Exit<A, E>): E | undefined =>
  exit._tag === "Failure" ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined

/** In the background, begun when the next line runs. */
export const fork = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

type Append<A> = Effect.Effect<A, EventStore.AppendError, EventStore.EventStore>

/** Fails as it should, with the store as it was before. */
const fails = <A>(effect: Append<A>) =>
  Effect.gen(function*() {
    const before = yield* EventStore.read(Query.all)
    const result = yield* Effect.result(effect)
    that(result._tag === "Failure", "an append should have failed, and succeeded")
    const after = yield* EventStore.read(Query.all)
    equal(positionsOf(after.events), positionsOf(before.events), "an append that failed has written something")
    equal(after.head, before.head, "an append that failed has moved the head")
    return result.failure
  })

/** The reason for which an append is refused. */
export const refusal = <A>(effect: Append<A>) =>
  Effect.map(fails(effect), (error) => {
    that(error._tag === "AppendRefused", `an append should be refused, but fails with ${error._tag}: ${error.message}`)
    return error.reason
  })

const refusedFor = <T extends EventStore.AppendRefused["reason"]["_tag"]>(tag: T) => <A>(effect: Append<A>) =>
  Effect.map(refusal(effect), (reason) => {
    that(isTagged(reason, tag), `an append should be refused with ${tag}, not with ${reason._tag}: ${reason.message}`)
    return reason
  })

const isTagged = <A extends { readonly _tag: string }, T extends string>(
  value: A,
  tag: T
): value is Extract<A, { readonly _tag: T }> => value._tag === tag

export const exceeds = refusedFor("LimitExceeded")
export const idConflict = refusedFor("EventIdConflict")
export const beyondHead = refusedFor("PositionBeyondHead")
export const badTag = refusedFor("InvalidTag")

/** A batch whose second event cannot be stored, whatever it is. */
export const invalid = (event: unknown) =>
  Effect.map(refusedFor("InvalidEvent")(EventStore.append([numbered(1), event as Event.Input])), (reason) => {
    equal(reason.index, 1, "the index of the event that is refused")
    return reason
  })

export const conflicts = <A>(effect: Append<A>) =>
  Effect.map(fails(effect), (error) => {
    that(
      error._tag === "AppendConditionFailed",
      `an append's condition should fail, but it fails with ${error._tag}: ${error.message}`
    )
    return error
  })
