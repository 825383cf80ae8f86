/** Course subscriptions: every rule, and many who want the last seats at once. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore, Opossum, Query } from "effect-opossum"
import * as Courses from "../../../examples/dcb/course-subscriptions.ts"
import { given } from "./scenario.ts"

const [maths, latin] = [Courses.CourseId.make("maths"), Courses.CourseId.make("latin")]
const [anna, ben] = [Courses.StudentId.make("anna"), Courses.StudentId.make("ben")]
const course = (n: number) => Courses.CourseId.make(`course-${n}`)

const defined = (courseId: Courses.CourseId, capacity: number) =>
  new Courses.CourseDefined({ courseId, title: courseId, capacity })
const subscribed = (courseId: Courses.CourseId, studentId: Courses.StudentId) =>
  new Courses.StudentSubscribed({ courseId, studentId })
const unsubscribed = (courseId: Courses.CourseId, studentId: Courses.StudentId) =>
  new Courses.StudentUnsubscribed({ courseId, studentId })
const capacityChanged = (courseId: Courses.CourseId, capacity: number) =>
  new Courses.CapacityChanged({ courseId, capacity })

describe("defining a course", () => {
  it.effect("with an id that exists is refused", () =>
    given(defined(maths, 10))
      .when(Courses.defineCourse(maths, "Maths", 15))
      .thenFails(new Courses.CourseExists({ courseId: maths })))

  it.effect("with a new id defines it", () =>
    given(defined(latin, 10))
      .when(Courses.defineCourse(maths, "maths", 15))
      .thenAppends(defined(maths, 15)))
})

describe("changing a course's capacity", () => {
  it.effect("is refused if there is no such course", () =>
    given(defined(latin, 10))
      .when(Courses.changeCapacity(maths, 15))
      .thenFails(new Courses.CourseNotFound({ courseId: maths })))

  it.effect("to the value that it was defined with is refused", () =>
    given(defined(maths, 12))
      .when(Courses.changeCapacity(maths, 12))
      .thenFails(new Courses.CapacityUnchanged({ courseId: maths, capacity: 12 })))

  it.effect("to the value that it was changed to is refused", () =>
    given(defined(maths, 12), capacityChanged(maths, 15))
      .when(Courses.changeCapacity(maths, 15))
      .thenFails(new Courses.CapacityUnchanged({ courseId: maths, capacity: 15 })))

  it.effect("to a new value changes it", () =>
    given(defined(maths, 12), defined(latin, 15))
      .when(Courses.changeCapacity(maths, 15))
      .thenAppends(capacityChanged(maths, 15)))

  it.effect("below the students who are there is refused", () =>
    given(defined(maths, 12), subscribed(maths, anna), subscribed(maths, ben))
      .when(Courses.changeCapacity(maths, 1))
      .thenFails(new Courses.SeatsTaken({ courseId: maths, capacity: 1, students: 2 })))

  it.effect("to just the students who are there changes it", () =>
    given(defined(maths, 12), subscribed(maths, anna), subscribed(maths, ben), unsubscribed(maths, ben))
      .when(Courses.changeCapacity(maths, 1))
      .thenAppends(capacityChanged(maths, 1)))
})

describe("subscribing a student", () => {
  it.effect("to a course that does not exist is refused", () =>
    given(defined(latin, 10))
      .when(Courses.subscribe(maths, anna))
      .thenFails(new Courses.CourseNotFound({ courseId: maths })))

  it.effect("to a course that is full is refused", () =>
    given(defined(maths, 1), subscribed(maths, anna))
      .when(Courses.subscribe(maths, ben))
      .thenFails(new Courses.CourseFull({ courseId: maths, capacity: 1 })))

  it.effect("to the same course twice is refused", () =>
    given(defined(maths, 10), subscribed(maths, anna))
      .when(Courses.subscribe(maths, anna))
      .thenFails(new Courses.AlreadySubscribed({ courseId: maths, studentId: anna })))

  const five = [1, 2, 3, 4, 5].flatMap((n) => [defined(course(n), 10), subscribed(course(n), anna)])

  it.effect("to more than five courses is refused", () =>
    given(...five, defined(maths, 10))
      .when(Courses.subscribe(maths, anna))
      .thenFails(new Courses.TooManyCourses({ studentId: anna })))

  it.effect("who left one of five courses subscribes", () =>
    given(...five, defined(maths, 10), unsubscribed(course(3), anna))
      .when(Courses.subscribe(maths, anna))
      .thenAppends(subscribed(maths, anna)))

  it.effect("to a course with a free seat subscribes, and tags the event with both", () =>
    Effect.gen(function*() {
      yield* EventStore.append([defined(maths, 2), subscribed(maths, ben)])
      const { positions } = yield* Courses.subscribe(maths, anna)
      const { events: [event] } = yield* EventStore.read(Query.of(Courses.StudentSubscribed, { student: anna }))
      assert.isDefined(event)
      assert.strictEqual(event.position, positions[0])
      assert.deepStrictEqual(event.event, subscribed(maths, anna))
      assert.deepStrictEqual(event.tags.map(String).toSorted(), ["course:maths", "student:anna"])
    }).pipe(Effect.provide(Opossum.layerMemory)))

  it.effect("to a course that somebody left takes the seat", () =>
    given(defined(maths, 1), subscribed(maths, anna), unsubscribed(maths, anna))
      .when(Courses.subscribe(maths, ben))
      .thenAppends(subscribed(maths, ben)))

  it.effect("to a course that was made larger takes the new seat", () =>
    given(defined(maths, 1), subscribed(maths, anna), capacityChanged(maths, 2))
      .when(Courses.subscribe(maths, ben))
      .thenAppends(subscribed(maths, ben)))
})

describe("unsubscribing a student", () => {
  it.effect("who is not there is refused", () =>
    given(defined(maths, 10), defined(latin, 10), subscribed(latin, anna), subscribed(maths, ben))
      .when(Courses.unsubscribe(maths, anna))
      .thenFails(new Courses.NotSubscribed({ courseId: maths, studentId: anna })))

  it.effect("who is there unsubscribes", () =>
    given(defined(maths, 10), subscribed(maths, anna))
      .when(Courses.unsubscribe(maths, anna))
      .thenAppends(unsubscribed(maths, anna)))
})

describe("many at once", () => {
  it.live("get no more seats than there are, and no more courses than five", () =>
    Effect.gen(function*() {
      const students = Array.from({ length: 20 }, (_, n) => Courses.StudentId.make(`student-${n}`))
      const courses = [1, 2, 3, 4, 5, 6, 7].map(course)
      yield* EventStore.append(courses.map((courseId) => defined(courseId, 7)))
      const all = courses.flatMap((courseId) => students.map((studentId) => Courses.subscribe(courseId, studentId)))
      const outcomes = yield* Effect.forEach(
        all,
        Effect.match({ onSuccess: () => "subscribed", onFailure: ({ _tag }) => _tag }),
        { concurrency: "unbounded" }
      )
      // Nobody was refused for another reason than those of the rules.
      assert.deepStrictEqual(outcomes.filter((it) => it === "subscribed").length, 49)
      assert.deepStrictEqual([...new Set(outcomes)].filter((it) => it !== "TooManyCourses").toSorted(), [
        "CourseFull",
        "subscribed"
      ])
      const { events } = yield* EventStore.read(Query.of(Courses.StudentSubscribed))
      for (const courseId of courses) {
        assert.strictEqual(events.filter(({ event }) => event.courseId === courseId).length, 7)
      }
      for (const studentId of students) {
        assert.isAtMost(events.filter(({ event }) => event.studentId === studentId).length, 5)
      }
    }).pipe(Effect.provide(Opossum.layerMemory)))
})
