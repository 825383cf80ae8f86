/** What decisions and their models infer: read by the compiler, never run. */
import { Context, Effect, Option, Schedule, Schema } from "effect"
import { Decision, DecisionModel, Event, type EventStore, type Position, Query, Tag } from "effect-opossum"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const exactly = <B>() => <A>(_value: A, ..._proof: Equals<A, B> extends true ? [] : [never]) => {}
const compiles = (..._values: ReadonlyArray<unknown>) => {}
type Ok<A, E, R> = Effect.Effect<A, E, R>

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"), Tag.as("course"))
type CourseId = typeof CourseId.Type
const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"), Tag.as("student"))
type StudentId = typeof StudentId.Type
const capacity = { courseId: CourseId, capacity: Schema.Int }
class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", capacity) {}
class CapacityChanged extends Event.Class<CapacityChanged>()("CapacityChanged", capacity) {}
class Subscribed extends Event.Class<Subscribed>()("Subscribed", { courseId: CourseId, studentId: StudentId }) {}
class CourseFull extends Schema.TaggedError<CourseFull>()("CourseFull", { courseId: CourseId }) {}
class TooMany extends Schema.TaggedError<TooMany>()("TooMany", { studentId: StudentId }) {}

const course = CourseId.make("c")
const student = StudentId.make("s")
const defined = new CourseDefined({ courseId: course, capacity: 1 })
const query = Query.of([CourseDefined, CapacityChanged], { course })

const exists = (course: CourseId) =>
  DecisionModel.make({
    query: Query.of(CourseDefined, { course }),
    initial: false,
    apply: { CourseDefined: () => true }
  })
const capacityOf = (course: CourseId) =>
  DecisionModel.make({
    query: Query.of([CourseDefined, CapacityChanged], { course }),
    initial: 0,
    apply: {
      CourseDefined: (_, { capacity }) => capacity,
      CapacityChanged: (_, { capacity }) => capacity
    }
  })
const isSubscribed = (course: CourseId, student: StudentId) =>
  DecisionModel.make({
    query: Query.of(Subscribed, { course, student }),
    initial: false,
    apply: { Subscribed: () => true }
  })

// models

exactly<DecisionModel.DecisionModel<boolean>>()(isSubscribed(course, student))
exactly<DecisionModel.DecisionModel<number>>()(DecisionModel.make({
  query,
  initial: 0,
  apply: {
    CourseDefined: (state, event, sequenced) => {
      exactly<number>()(state)
      exactly<CourseDefined>()(event)
      exactly<Event.SequencedEvent<CourseDefined>>()(sequenced)
      return state
    },
    CapacityChanged: (state, event) => {
      exactly<CapacityChanged>()(event)
      return state
    }
  }
}))
exactly<DecisionModel.DecisionModel<Option.Option<number>>>()(DecisionModel.make({
  query,
  initial: Option.none<number>(),
  apply: {
    CourseDefined: (_, { capacity }) => Option.some(capacity),
    CapacityChanged: (_, { capacity }) => Option.some(capacity)
  },
  snapshot: { name: "capacity", version: 1, state: Schema.Option(Schema.Int) }
}))
// raw events
exactly<DecisionModel.DecisionModel<number>>()(DecisionModel.make({
  query: Query.all,
  initial: 0,
  apply: {
    RawEvent: (count, event) => {
      exactly<Event.RawEvent>()(event)
      return count + 1
    }
  }
}))
exactly<DecisionModel.DecisionModel<number>>()(DecisionModel.make({
  query: Query.or(Query.of(CourseDefined), Query.types("Legacy")),
  initial: 0,
  apply: { CourseDefined: (n) => n, RawEvent: (n) => n }
}))
compiles(() =>
  DecisionModel.make({
    query,
    initial: 0,
    // @ts-expect-error CapacityChanged is missing
    apply: { CourseDefined: (_, { capacity }) => capacity }
  })
)
compiles(() =>
  DecisionModel.make({
    query,
    initial: 0,
    apply: {
      CourseDefined: (_, { capacity }) => capacity,
      CapacityChanged: (_, { capacity }) => capacity,
      // @ts-expect-error not in the query
      Subscribed: () => 1
    }
  })
)
compiles(() =>
  DecisionModel.make({
    query: Query.of(CourseDefined),
    initial: 0,
    // @ts-expect-error the state is a number
    apply: { CourseDefined: (_, { courseId }) => courseId }
  })
)
compiles(() =>
  DecisionModel.make({
    query: Query.of(CourseDefined),
    initial: 0,
    apply: { CourseDefined: (n) => n },
    // @ts-expect-error a schema of another state
    snapshot: { name: "n", version: 1, state: Schema.String }
  })
)
compiles(() =>
  DecisionModel.make({
    query: Query.all,
    initial: 0,
    // @ts-expect-error RawEvent is missing
    apply: {}
  })
)

// composition

exactly<DecisionModel.DecisionModel<{ readonly a: number; readonly b: readonly [boolean, boolean] }>>()(
  DecisionModel.all({ a: capacityOf(course), b: [isSubscribed(course, student), exists(course)] })
)
exactly<DecisionModel.DecisionModel<readonly [number, { readonly a: readonly [boolean, readonly [number]] }]>>()(
  DecisionModel.all([capacityOf(course), { a: [exists(course), [capacityOf(course)]] }])
)
exactly<DecisionModel.DecisionModel<boolean>>()(DecisionModel.all(exists(course)))
exactly<DecisionModel.DecisionModel<readonly boolean[]>>()(DecisionModel.all([course].map(exists)))
const mapped = DecisionModel.map(capacityOf(course), String)
exactly<DecisionModel.DecisionModel<string>>()(mapped)
exactly<DecisionModel.DecisionModel<string>>()(DecisionModel.map((n: number) => `${n}`)(capacityOf(course)))
exactly<DecisionModel.DecisionModel<Event.SequencedEvent<CourseDefined> | undefined>>()(
  DecisionModel.last(Query.of(CourseDefined))
)
const covariant: DecisionModel.DecisionModel<number | string> = capacityOf(course)
exactly<{ readonly n: number }>()(DecisionModel.fold({ n: capacityOf(course) }, []))
// models that a program was given
exactly<DecisionModel.DecisionModel<unknown>>()(DecisionModel.all({} as DecisionModel.Input))
// @ts-expect-error a number is no model
compiles(() => DecisionModel.all({ a: 1 }))

// build

exactly<
  Ok<Decision.Built<{ readonly n: number }>, EventStore.ReadError, EventStore.EventStore>
>()(Decision.build({ n: capacityOf(course) }))

// execute

type Decided<A, E = never, R = never> = Ok<
  Decision.Decided<A>,
  E | Decision.ExecuteError,
  R | EventStore.EventStore
>
exactly<Decided<CourseDefined>>()(Decision.execute(exists(course), () => defined))
exactly<Decided<Event.NewEvent<CourseDefined>>>()(
  Decision.execute(exists(course), () => Event.withTags(defined, ["a:b"]))
)
exactly<Decided<CourseDefined, CourseFull>>()(
  Decision.execute([exists(course)], function*([exists]) {
    exactly<boolean>()(exists)
    if (exists) return yield* new CourseFull({ courseId: course })
    return defined
  }, { retry: Schedule.recurs(10) })
)
exactly<Decided<CourseDefined | undefined, CourseFull>>()(
  Decision.execute({ n: capacityOf(course) }, ({ n }, attempt) => {
    exactly<number>()(attempt)
    return n > 3 ? new CourseFull({ courseId: course }) : n > 1 ? Effect.succeed(defined) : undefined
  })
)
exactly<Decided<void>>()(Decision.execute(exists(course), () => {}))
exactly<Decided<void>>()(Decision.execute(exists(course), () => Effect.void))
compiles(Effect.map(Decision.execute(exists(course), () => defined), ({ head, positions, result }) => {
  exactly<Position.Position>()(positions[0])
  exactly<Position.Position>()(head)
  exactly<CourseDefined>()(result)
}))
compiles(Effect.map(Decision.execute(exists(course), (e) => e ? defined : undefined), ({ head, positions }) => {
  exactly<Position.Position | undefined>()(head)
  exactly<readonly [] | readonly [Position.Position]>()(positions)
}))
compiles(Effect.map(Decision.execute(exists(course), () => [defined, defined]), ({ head, positions }) => {
  exactly<Position.Position | undefined>()(head)
  exactly<ReadonlyArray<Position.Position>>()(positions)
}))

// what a decision needs shows
class Clerk extends Context.Service<Clerk, { readonly allows: Effect.Effect<boolean, TooMany> }>()("Clerk") {}
exactly<Decided<CourseDefined[], TooMany, Clerk>>()(
  Decision.execute([course].map(exists), function*(exist) {
    exactly<ReadonlyArray<boolean>>()(exist)
    const clerk = yield* Clerk
    return (yield* clerk.allows) ? [defined] : []
  })
)
exactly<Decided<CourseDefined, TooMany, Clerk>>()(
  Decision.execute(exists(course), () => Clerk.use((clerk) => Effect.as(clerk.allows, defined)))
)
// @ts-expect-error a string is no event
compiles(() => Decision.execute(exists(course), () => "x"))
compiles(() =>
  // @ts-expect-error a string is no event
  Decision.execute(exists(course), function*() {
    return "x"
  })
)
// @ts-expect-error a string is no event
compiles(() => Decision.execute(exists(course), () => Effect.succeed("x")))
// @ts-expect-error a promise is no effect
compiles(() => Decision.execute(exists(course), () => Promise.resolve(defined)))
// the schedule sees the conflict
compiles(Decision.execute(exists(course), () => defined, {
  retry: Schedule.recurs(3).pipe(
    Schedule.setInputType<EventStore.AppendConditionFailed>(),
    Schedule.tap(({ input }) => Effect.sync(() => exactly<Position.Position>()(input.conflict)))
  )
}))
compiles(covariant)
