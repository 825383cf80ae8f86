/** What compiles and what does not: read by the compiler, never run. */
import { Effect, Schema, type Stream } from "effect"
import {
  type AppendCondition,
  Event,
  EventStore,
  EventStoreAdmin,
  EventStoreMaintenance,
  Metadata,
  Position,
  Query,
  Tag
} from "effect-opossum"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const exactly = <B>() => <A>(_value: A, ..._proof: Equals<A, B> extends true ? [] : [never]) => {}
const compiles = (..._values: ReadonlyArray<unknown>) => {}
type Ok<A, E, R> = Effect.Effect<A, E, R>

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"), Tag.as("course"))
type CourseId = typeof CourseId.Type
const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"), Tag.as("student"))
const capacity = { courseId: CourseId, capacity: Schema.Int }
class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", capacity) {}
class CapacityChanged extends Event.Class<CapacityChanged>()("CapacityChanged", capacity) {}
class Subscribed extends Event.Class<Subscribed>()("Subscribed", { courseId: CourseId, studentId: StudentId }) {}
class NoTags extends Event.Class<NoTags>()("NoTags", { a: Schema.String }) {}

const course = CourseId.make("c")
const student = StudentId.make("s")
const defined = new CourseDefined({ courseId: course, capacity: 1 })

class Db extends Schema.Opaque<Db>()(Schema.Struct({})) {}
declare const needsDb: Schema.Codec<string, string, { readonly db: Db }>

// event classes

exactly<"CourseDefined">()(defined._tag)
exactly<CourseId>()(defined.courseId)
exactly<"CourseDefined">()(CourseDefined.type)
// @ts-expect-error an unbranded id
compiles(() => new CourseDefined({ courseId: "c", capacity: 1 }))
// @ts-expect-error events need no services
compiles(() => Event.Class<NoTags>()("X", { a: needsDb }))
// @ts-expect-error the generic is missing
compiles(class extends Event.Class()("WithoutSelf", {}) {})
// @ts-expect-error not a tag

compiles(() => Event.Class<NoTags>()("X", { a: Schema.String }, { tags: ({ a }) => [a] }))
// @ts-expect-error no such field
compiles(() => Event.Class<NoTags>()("X", { a: Schema.String }, { tags: ({ b }) => [`b:${b}`] }))
// @ts-expect-error a key has no colon
compiles(() => Tag.as("a:b"))
// @ts-expect-error a Date is no tag value
compiles(() => Schema.Date.pipe(Tag.as("day")))

// tags

exactly<Tag.Tag>()(Tag.make("a", 1))
// @ts-expect-error a text is no tag before it is checked
compiles((): Tag.Tag => "a:b")
compiles((): Tag.Input => Tag.make("a", "b"))

// positions

exactly<Position.Position>()(Position.make(1))
// @ts-expect-error a number is no position
compiles((): Position.Position => 1)

// queries know their events

exactly<Query.Query<CourseDefined>>()(Query.of(CourseDefined))
exactly<Query.Query<CourseDefined | Subscribed>>()(Query.of([CourseDefined, Subscribed], { course }))
exactly<Query.Query<Event.RawEvent>>()(Query.all)
exactly<Query.Query<Event.RawEvent>>()(Query.fromItems({ types: ["A"] }, { tags: ["a:b"] }))
exactly<Query.Query<CourseDefined | Event.RawEvent>>()(Query.or(Query.of(CourseDefined), Query.types("X")))
const covariant: Query.Query<CourseDefined | Subscribed> = Query.of(CourseDefined)

// and what can be asked of them

compiles(Query.of(Subscribed, { course, student: [student, student] }))
// @ts-expect-error CourseDefined has no tag `student`
compiles(() => Query.of(CourseDefined, { student }))
// @ts-expect-error not all of them have it
compiles(() => Query.of([CourseDefined, Subscribed], { student }))
// @ts-expect-error a student's id is no course's id
compiles(() => Query.of(CourseDefined, { course: student }))
// @ts-expect-error this event has no tags
compiles(() => Query.of(NoTags, { course }))
// @ts-expect-error no tag value
compiles(() => Query.of(CourseDefined, { course: undefined }))
// @ts-expect-error no tag values
compiles(() => Query.of(CourseDefined, { course: [] }))
// @ts-expect-error empty
compiles(() => Query.of([]))
// @ts-expect-error empty
compiles(() => Query.types())
// @ts-expect-error empty
compiles(() => Query.tags())
// @ts-expect-error empty
compiles(() => Query.fromItems())
// @ts-expect-error an empty list
compiles(() => Query.fromItems({ types: [] }))
// @ts-expect-error empty
compiles(() => Query.or())
// @ts-expect-error not a tag
compiles(() => Query.tags("course"))

// a class's function gives keys and values

class Priced extends Event.Class<Priced>()("Priced", { currency: Schema.Literals(["EUR", "CHF"]), cents: Schema.Int }, {
  tags: ({ cents, currency }) => [`currency:${currency}`, `free:${cents === 0}`]
}) {}
compiles(Query.of(Priced, { currency: "EUR", free: "true" }))
// @ts-expect-error no such currency
compiles(() => Query.of(Priced, { currency: "USD" }))

// reads

const query = Query.of([CourseDefined, CapacityChanged], { course })
type Both = CourseDefined | CapacityChanged
type Store = EventStore.EventStore
exactly<Ok<EventStore.Read<Both>, EventStore.ReadError, Store>>()(EventStore.read(query))
exactly<Ok<Event.SequencedEvent<Both> | undefined, EventStore.ReadError, Store>>()(EventStore.readLast(query))
exactly<Stream.Stream<Event.SequencedEvent<Both>, EventStore.ReadError, Store>>()(EventStore.stream(query))
exactly<Stream.Stream<Event.SequencedEvent<Both>, EventStore.ReadError, Store>>()(EventStore.subscribe(query))
exactly<Ok<Position.Position | undefined, EventStore.EventStoreError, Store>>()(EventStore.head)
compiles(Effect.map(EventStore.read(query), ({ events }) =>
  events.map(({ event }) => {
    switch (event._tag) {
      case "CapacityChanged":
        return exactly<CapacityChanged>()(event)
      case "CourseDefined":
        return exactly<CourseDefined>()(event)
    }
  })))
compiles(Effect.map(
  EventStore.read(Query.or(query, Query.types("X"))),
  ({ events }) =>
    events.map(({ event }) =>
      event._tag === "RawEvent" ? exactly<unknown>()(event.data) : exactly<number>()(event.capacity)
    )
))

// appends

exactly<Ok<EventStore.Appended, EventStore.AppendError, Store>>()(EventStore.append(defined))
compiles(Effect.flatMap(
  EventStore.read(query),
  ({ head }) => EventStore.append([defined], { failIfEventsMatch: query, after: head })
))
compiles(Effect.map(EventStore.append(defined), ({ positions }) => exactly<Position.Position>()(positions[0])))
compiles(
  EventStore.append([Event.raw("X", { a: 1 }), defined, Event.withTags(defined, ["a:b"])]).pipe(
    Metadata.annotate({ userId: "anna" })
  )
)
const condition: AppendCondition.AppendCondition = { failIfEventsMatch: covariant }
// @ts-expect-error not an event
compiles(() => EventStore.append({ _tag: "CourseDefined", courseId: course, capacity: 1 }))
// @ts-expect-error a number is no position
compiles(() => EventStore.append(defined, { failIfEventsMatch: query, after: 3 }))
// @ts-expect-error a condition needs a query
compiles(() => EventStore.append(defined, { after: Position.make(1) }))
// @ts-expect-error an id belongs to one event
compiles(() => Metadata.annotate({ id: "1" }))
// @ts-expect-error not a tag
compiles(() => Event.withTags(defined, ["a"]))
// @ts-expect-error data is JSON
compiles(() => Event.raw("X", { a: new Date() }))

// errors

compiles(
  EventStore.append([], condition).pipe(
    Effect.catchReasons("AppendRefused", {
      EmptyBatch: () => Effect.succeed("empty"),
      InvalidEvent: ({ index }) => Effect.succeed(exactly<number>()(index)),
      EventIdConflict: ({ position }) => Effect.succeed(exactly<Position.Position | undefined>()(position))
    }),
    Effect.catchReason("EventStoreError", "StoreBusy", ({ waitedMillis }) => Effect.succeed(waitedMillis)),
    Effect.catchTag("AppendConditionFailed", ({ conflict }) => Effect.succeed(exactly<Position.Position>()(conflict))),
    Effect.catchTag("AppendOutcomeUnknown", ({ ids }) => Effect.succeed(ids))
  )
)
// @ts-expect-error no such reason
compiles(() => Effect.catchReason(EventStore.append([]), "AppendRefused", "NoReason", () => Effect.void))
exactly<EventStore.AppendError>()({} as typeof EventStore.AppendError.Type)
exactly<EventStore.ReadError>()({} as typeof EventStore.ReadError.Type)

// maintenance

exactly<
  Ok<
    EventStoreMaintenance.TagsAdded,
    EventStore.AppendRefused | EventStore.AppendOutcomeUnknown | EventStore.ReadError,
    EventStoreMaintenance.EventStoreMaintenance
  >
>()(EventStoreMaintenance.addTags(Query.of(CourseDefined), ({ event }) => [`big:${event.capacity > 100}`]))
exactly<Stream.Stream<Position.Position, EventStore.EventStoreError, EventStoreMaintenance.EventStoreMaintenance>>()(
  EventStoreMaintenance.verify
)
exactly<Ok<void, EventStore.EventStoreError, EventStoreAdmin.EventStoreAdmin>>()(EventStoreAdmin.deleteStore)
