/**
 * Courses with a number of seats, students with a limit of courses, and nobody in a course twice.
 *
 * The rules reach over two things at once: a seat depends on the course, the limit on the student. With an aggregate for each
 * course and one for each student no single one could decide. Here a decision draws its own boundary: the models that it asks, and
 * no others.
 */
import { Option, Schedule, Schema } from "effect"
import { Decision, DecisionModel, Event, Query, Tag } from "effect-opossum"

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

// models: what a rule asks for

/** How many seats a course has; none if there is no such course. */
const capacity = (courseId: CourseId) =>
  DecisionModel.make({
    query: Query.of([CourseDefined, CapacityChanged], { course: courseId }),
    initial: Option.none<number>(),
    apply: {
      CourseDefined: (_, { capacity }) => Option.some(capacity),
      CapacityChanged: (_, { capacity }) => Option.some(capacity)
    }
  })

/** How many students are in a course. */
const students = (courseId: CourseId) =>
  DecisionModel.make({
    query: Query.of([StudentSubscribed, StudentUnsubscribed], { course: courseId }),
    initial: 0,
    apply: { StudentSubscribed: (count) => count + 1, StudentUnsubscribed: (count) => count - 1 }
  })

/** In how many courses a student is. */
const courses = (studentId: StudentId) =>
  DecisionModel.make({
    query: Query.of([StudentSubscribed, StudentUnsubscribed], { student: studentId }),
    initial: 0,
    apply: { StudentSubscribed: (count) => count + 1, StudentUnsubscribed: (count) => count - 1 }
  })

/** Whether a student is in a course: both tags in one query. */
const subscribed = (courseId: CourseId, studentId: StudentId) =>
  DecisionModel.make({
    query: Query.of([StudentSubscribed, StudentUnsubscribed], { course: courseId, student: studentId }),
    initial: false,
    apply: { StudentSubscribed: () => true, StudentUnsubscribed: () => false }
  })

// decisions

/** More patient than the default: at the start of a term, hundreds want the same seats, in more than one process. */
const patiently: Decision.ExecuteOptions = {
  retry: Schedule.exponential("20 millis", 1.5).pipe(Schedule.jittered, Schedule.upTo({ times: 10 }))
}

/** The boundary is the course's definition and its changes: who sits there does not matter. */
export const defineCourse = (courseId: CourseId, title: string, seats: number) =>
  Decision.execute(capacity(courseId), function*(found) {
    if (Option.isSome(found)) return yield* new CourseExists({ courseId })
    return new CourseDefined({ courseId, title, capacity: seats })
  }, patiently)

/**
 * The boundary is the whole course: its capacity, since a change to the same is none, and how many sit there, since nobody is
 * thrown out. Only what happens in this course can conflict with it.
 */
export const changeCapacity = (courseId: CourseId, seats: number) =>
  Decision.execute(
    { capacity: capacity(courseId), students: students(courseId) },
    function*({ capacity, students }) {
      if (Option.isNone(capacity)) return yield* new CourseNotFound({ courseId })
      if (capacity.value === seats) return yield* new CapacityUnchanged({ courseId, capacity: seats })
      if (students > seats) return yield* new SeatsTaken({ courseId, capacity: seats, students })
      return new CapacityChanged({ courseId, capacity: seats })
    },
    patiently
  )

/**
 * The boundary is the course (its seats, and how many are taken) and the student (in how many courses). What happens to other
 * students in other courses is outside, and goes on at the same time without a conflict.
 */
export const subscribe = (courseId: CourseId, studentId: StudentId) =>
  Decision.execute(
    {
      capacity: capacity(courseId),
      students: students(courseId),
      courses: courses(studentId),
      subscribed: subscribed(courseId, studentId)
    },
    function*({ capacity, courses, students, subscribed }) {
      if (Option.isNone(capacity)) return yield* new CourseNotFound({ courseId })
      if (subscribed) return yield* new AlreadySubscribed({ courseId, studentId })
      if (students >= capacity.value) return yield* new CourseFull({ courseId, capacity: capacity.value })
      if (courses >= coursesPerStudent) return yield* new TooManyCourses({ studentId })
      return new StudentSubscribed({ courseId, studentId })
    },
    patiently
  )

/** The boundary is this student in this course. Whoever else comes or goes there does not matter. */
export const unsubscribe = (courseId: CourseId, studentId: StudentId) =>
  Decision.execute(subscribed(courseId, studentId), function*(subscribed) {
    if (!subscribed) return yield* new NotSubscribed({ courseId, studentId })
    return new StudentUnsubscribed({ courseId, studentId })
  }, patiently)
