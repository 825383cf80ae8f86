/**
 * Courses with a number of seats, students with a limit of courses, and nobody in a course twice.
 *
 * The rules reach over two things at once: a seat depends on the course, the limit on the student. With an aggregate for each
 * course and one for each student no single one could decide. Here a decision draws its own boundary, which is a query: all events
 * that it depends on, and no others.
 */
import { Duration, Effect, Schedule, Schema } from "effect"
import { Event, EventStore, Query, Tag } from "effect-opossum"

// ids: a field of one of these schemas tags the event that holds it, e.g. `course:linear-algebra`

export const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"), Tag.as("course"))
export type CourseId = typeof CourseId.Type

export const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"), Tag.as("student"))
export type StudentId = typeof StudentId.Type

export const Seats = Schema.Int.check(Schema.isGreaterThan(0))

/** A student takes no more courses than this at a time. */
export const coursesPerStudent = 5

// events: what happened

export class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", {
  courseId: CourseId,
  title: Schema.String,
  capacity: Seats
}) {}

export class CapacityChanged extends Event.Class<CapacityChanged>()("CapacityChanged", {
  courseId: CourseId,
  capacity: Seats
}) {}

const subscription = { courseId: CourseId, studentId: StudentId }

export class StudentSubscribed extends Event.Class<StudentSubscribed>()("StudentSubscribed", subscription) {}

export class StudentUnsubscribed extends Event.Class<StudentUnsubscribed>()("StudentUnsubscribed", subscription) {}

export const courseEvents = [CourseDefined, CapacityChanged, StudentSubscribed, StudentUnsubscribed] as const
export type CourseEvent = (typeof courseEvents)[number]["Type"]

// refusals: why something does not happen

export class CourseExists extends Schema.TaggedError<CourseExists>()("CourseExists", { courseId: CourseId }) {
  override get message() {
    return `${this.courseId} is defined already`
  }
}

export class CourseNotFound extends Schema.TaggedError<CourseNotFound>()("CourseNotFound", { courseId: CourseId }) {
  override get message() {
    return `there is no course ${this.courseId}`
  }
}

export class CapacityUnchanged extends Schema.TaggedError<CapacityUnchanged>()("CapacityUnchanged", {
  courseId: CourseId,
  capacity: Seats
}) {
  override get message() {
    return `${this.courseId} has ${this.capacity} seats already`
  }
}

export class SeatsTaken extends Schema.TaggedError<SeatsTaken>()("SeatsTaken", {
  courseId: CourseId,
  capacity: Seats,
  students: Schema.Int
}) {
  override get message() {
    return `${this.courseId} cannot shrink to ${this.capacity} seats: ${this.students} students sit there`
  }
}

export class CourseFull
  extends Schema.TaggedError<CourseFull>()("CourseFull", { courseId: CourseId, capacity: Seats })
{
  override get message() {
    return `all ${this.capacity} seats of ${this.courseId} are taken`
  }
}

export class AlreadySubscribed
  extends Schema.TaggedError<AlreadySubscribed>()("AlreadySubscribed", { courseId: CourseId, studentId: StudentId })
{
  override get message() {
    return `${this.studentId} is in ${this.courseId} already`
  }
}

export class NotSubscribed
  extends Schema.TaggedError<NotSubscribed>()("NotSubscribed", { courseId: CourseId, studentId: StudentId })
{
  override get message() {
    return `${this.studentId} is not in ${this.courseId}`
  }
}

export class TooManyCourses extends Schema.TaggedError<TooManyCourses>()("TooManyCourses", { studentId: StudentId }) {
  override get message() {
    return `${this.studentId} has ${coursesPerStudent} courses already`
  }
}

export const Refusal = Schema.Union([
  CourseExists,
  CourseNotFound,
  CapacityUnchanged,
  SeatsTaken,
  CourseFull,
  AlreadySubscribed,
  NotSubscribed,
  TooManyCourses
])
export type Refusal = typeof Refusal.Type

// folding: from events to what a rule asks for

/** A course as the events tell; without a capacity it was never defined. */
const toCourse = (courseId: CourseId, events: ReadonlyArray<CourseEvent>) => {
  let capacity: number | undefined
  const students = new Set<StudentId>()
  for (const event of events) {
    if (event.courseId !== courseId) continue
    switch (event._tag) {
      case "CourseDefined":
      case "CapacityChanged":
        capacity = event.capacity
        break
      case "StudentSubscribed":
        students.add(event.studentId)
        break
      case "StudentUnsubscribed":
        students.delete(event.studentId)
    }
  }
  return { capacity, students }
}

/** The courses in which a student is. */
const toCoursesOf = (studentId: StudentId, events: ReadonlyArray<CourseEvent>) => {
  const courses = new Set<CourseId>()
  for (const event of events) {
    if (event._tag === "StudentSubscribed" && event.studentId === studentId) courses.add(event.courseId)
    if (event._tag === "StudentUnsubscribed" && event.studentId === studentId) courses.delete(event.courseId)
  }
  return courses
}

// deciding

/** Patient: a popular course may have a hundred rivals for a seat, and each append turns all the others back. */
const readAgain = Schedule.exponential("30 millis", 1.5).pipe(
  Schedule.modifyDelay(({ duration }) => Effect.succeed(Duration.min(duration, Duration.millis(400)))),
  Schedule.jittered,
  Schedule.upTo({ times: 100 })
)

/**
 * Reads what the query finds, decides, and appends the decided event, provided that nothing else has happened within the boundary
 * meanwhile: nothing that the same query finds, after the head that was read. If something has, the decision was made on old
 * knowledge. It is thrown away, and made anew from what is known now.
 *
 * A rule is a plain function, from events to an event or a refusal, so it can be tested without a store.
 */
const decide = <E, D extends CourseEvent | Refusal>(
  query: Query.Query<E>,
  rule: (events: ReadonlyArray<E>) => D
): Effect.Effect<
  EventStore.Appended,
  Extract<D, Refusal> | EventStore.AppendError | EventStore.ReadError,
  EventStore.EventStore
> =>
  Effect.gen(function*() {
    const { events, head } = yield* EventStore.read(query)
    const decided = rule(events.map(({ event }) => event))
    if (decided instanceof Error) return yield* Effect.fail(decided as Extract<D, Refusal>)
    return yield* EventStore.append(decided as CourseEvent, { failIfEventsMatch: query, after: head })
  }).pipe(
    Effect.retry({ schedule: readAgain, while: ({ _tag }) => _tag === "AppendConditionFailed" })
  )

/** The boundary is the course's definition alone: nothing else can make the id taken. */
export const defineCourse = (courseId: CourseId, title: string, capacity: number) =>
  decide(
    Query.of(CourseDefined, { course: courseId }),
    (events) => events.length > 0 ? new CourseExists({ courseId }) : new CourseDefined({ courseId, title, capacity })
  )

/**
 * The boundary is the whole course: its capacity, since a change to the same is none, and who sits there, since nobody is thrown
 * out. Only subscriptions to this course can conflict with it.
 */
export const changeCapacity = (courseId: CourseId, capacity: number) =>
  decide(Query.of(courseEvents, { course: courseId }), (events) => {
    const course = toCourse(courseId, events)
    if (course.capacity === undefined) return new CourseNotFound({ courseId })
    if (course.capacity === capacity) return new CapacityUnchanged({ courseId, capacity })
    if (course.students.size > capacity) return new SeatsTaken({ courseId, capacity, students: course.students.size })
    return new CapacityChanged({ courseId, capacity })
  })

/**
 * The boundary is the course (its seats, and who has them) and the student (in how many courses). What happens to other students
 * in other courses is outside, and goes on at the same time without a conflict.
 */
export const subscribe = (courseId: CourseId, studentId: StudentId) =>
  decide(
    Query.or(
      Query.of(courseEvents, { course: courseId }),
      Query.of([StudentSubscribed, StudentUnsubscribed], { student: studentId })
    ),
    (events) => {
      const course = toCourse(courseId, events)
      if (course.capacity === undefined) return new CourseNotFound({ courseId })
      if (course.students.has(studentId)) return new AlreadySubscribed({ courseId, studentId })
      if (course.students.size >= course.capacity) return new CourseFull({ courseId, capacity: course.capacity })
      if (toCoursesOf(studentId, events).size >= coursesPerStudent) return new TooManyCourses({ studentId })
      return new StudentSubscribed({ courseId, studentId })
    }
  )

/** The boundary is this student in this course: both tags in one query. Whoever else comes or goes there does not matter. */
export const unsubscribe = (courseId: CourseId, studentId: StudentId) =>
  decide(
    Query.of([StudentSubscribed, StudentUnsubscribed], { course: courseId, student: studentId }),
    (events) =>
      toCoursesOf(studentId, events).has(courseId)
        ? new StudentUnsubscribed({ courseId, studentId })
        : new NotSubscribed({ courseId, studentId })
  )
