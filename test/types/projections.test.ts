/** What projections infer: read by the compiler, never run. */
import { type Effect, type Layer, Schema, type Stream } from "effect"
import { Event, type Position, Projection, type ProjectionStore, Query, Tag } from "effect-opossum"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const compiles = (..._values: ReadonlyArray<unknown>) => {}
const exactly = <B>() => <A>(_value: A, ..._proof: Equals<A, B> extends true ? [] : [never]) => {}

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"), Tag.as("course"))
type CourseId = typeof CourseId.Type
const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"), Tag.as("student"))
type StudentId = typeof StudentId.Type
class CourseDefined
  extends Event.Class<CourseDefined>()("CourseDefined", { courseId: CourseId, capacity: Schema.Int })
{}
class Subscribed extends Event.Class<Subscribed>()("Subscribed", { courseId: CourseId, studentId: StudentId }) {}
class Renamed extends Event.Class<Renamed>()("Renamed", { courseId: CourseId }) {}

const course = CourseId.make("c")
const student = StudentId.make("s")

class List extends Projection.Service<List>()("list", {
  events: [CourseDefined, Subscribed],
  key: (event, sequenced) => {
    exactly<CourseDefined | Subscribed>()(event)
    exactly<Event.SequencedEvent<CourseDefined | Subscribed>>()(sequenced)
    return event._tag === "CourseDefined" ? [] : [event.studentId]
  },
  state: Schema.Struct({ courses: Schema.Int, seats: Schema.Int }),
  related: (event) => Query.of(CourseDefined, { course: event.courseId }),
  tags: ({ courses }, student) => [`busy:${courses > 3}`, `student:${student}`],
  apply: {
    CourseDefined: () => undefined,
    Subscribed: (state, event, { key, related }) => {
      exactly<Subscribed>()(event)
      exactly<StudentId>()(key)
      exactly<ReadonlyArray<Event.SequencedEvent<CourseDefined>>>()(related)
      return {
        courses: (state?.courses ?? 0) + 1,
        seats: (state?.seats ?? 0) + (related.at(-1)?.event.capacity ?? 0)
      }
    }
  }
}) {}
type State = { readonly courses: number; readonly seats: number }
type Read<A> = Effect.Effect<A, Projection.ReadModelError, List>

export const reading = () => {
  exactly<Read<State | undefined>>()(List.get(student))
  exactly<Read<Projection.Entry<State, StudentId> | undefined>>()(List.entry(student))
  exactly<Read<Projection.Page<State, StudentId>>>()(List.list({ sort: "created", limit: 3 }))
  exactly<Read<ReadonlyArray<Projection.Entry<State, StudentId>>>>()(List.byTag("busy:true", `student:${student}`))
  exactly<Read<void>>()(List.waitFor(undefined))
  exactly<Read<number>>()(List.size)
  exactly<Effect.Effect<Projection.Status, never, List>>()(List.status)
  exactly<Stream.Stream<Projection.Progress, Projection.ProjectionError, List>>()(List.rebuild)
  exactly<Stream.Stream<Projection.Entry<State, StudentId>, Projection.ReadModelError, List>>()(List.stream())
  exactly<Layer.Layer<List, ProjectionStore.ProjectionStoreError, Projection.Projections>>()(List.layer)
  const folded = Projection.fold(List, { before: 3 as Position.Position })
  exactly<ReadonlyMap<StudentId, State>>()({} as Effect.Success<typeof folded>)
  // @ts-expect-error no state has such a tag
  compiles(List.byTag("bussy:true"))
  // @ts-expect-error at least one tag
  compiles(List.byTag())
  // @ts-expect-error keys are students
  compiles(List.get(course))
  // @ts-expect-error a cursor comes from a page
  compiles(List.list({ after: "3" }))
}

export const wrong = () => {
  class MissingApply extends Projection.Service<MissingApply>()("wrong", {
    events: [CourseDefined, Renamed],
    key: ({ courseId }) => courseId,
    state: Schema.Int,
    // @ts-expect-error Renamed is missing
    apply: { CourseDefined: (_, { capacity }) => capacity }
  }) {}
  class NotAllHaveTheKey extends Projection.Service<NotAllHaveTheKey>()("wrong", {
    events: [CourseDefined, Subscribed],
    // @ts-expect-error not all events have a student
    key: (event) => event.studentId,
    state: Schema.Int,
    apply: { CourseDefined: () => 1, Subscribed: () => 1 }
  }) {}
  class AnotherState extends Projection.Service<AnotherState>()("wrong", {
    events: [CourseDefined],
    key: ({ courseId }) => courseId,
    state: Schema.Int,
    // @ts-expect-error the state is a number
    apply: { CourseDefined: () => "one" }
  }) {}
  // @ts-expect-error Missing `Self` generic
  class NoSelf extends Projection.Service()("wrong", {
    events: [CourseDefined],
    key: () => "all",
    state: Schema.Int,
    apply: { CourseDefined: () => 1 }
  }) {}
  class NoTags extends Projection.Service<NoTags>()("none", {
    events: [CourseDefined],
    key: () => "all",
    state: Schema.Int,
    apply: { CourseDefined: () => 1 }
  }) {}
  // @ts-expect-error its states have no tags
  compiles(NoTags.byTag("a:b"))
  // @ts-expect-error there is one key
  compiles(NoTags.get("some"))
  compiles(NoTags.get("all"))
  return [MissingApply, NotAllHaveTheKey, AnotherState, NoSelf]
}
