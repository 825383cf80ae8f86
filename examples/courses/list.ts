/**
 * The read model beside the rules: each course with its seats and who sits there, to be listed and searched.
 *
 * A decision must not ask it: it is a moment behind. For looking it is what one wants: nothing is folded when somebody reads.
 */
import { Schema } from "effect"
import { Projection } from "effect-opossum"
import { courseEvents, CourseId, StudentId } from "../dcb/course-subscriptions.ts"

export const Course = Schema.Struct({
  courseId: CourseId,
  title: Schema.String,
  capacity: Schema.Int,
  students: Schema.Array(StudentId)
})
export type Course = typeof Course.Type

export class CourseList extends Projection.Service<CourseList>()("course-list", {
  events: courseEvents,
  key: ({ courseId }) => courseId,
  state: Course,
  // to find the courses that are full, and those of a student
  tags: ({ capacity, students }) => [
    `full:${students.length >= capacity}`,
    ...students.map((student): `student:${string}` => `student:${student}`)
  ],
  apply: {
    CourseDefined: (_, { capacity, courseId, title }) => ({ courseId, title, capacity, students: [] }),
    CapacityChanged: (course, { capacity }) => course && { ...course, capacity },
    StudentSubscribed: (course, { studentId }) => course && { ...course, students: [...course.students, studentId] },
    StudentUnsubscribed: (course, { studentId }) =>
      course && { ...course, students: course.students.filter((other) => other !== studentId) }
  }
}) {}
