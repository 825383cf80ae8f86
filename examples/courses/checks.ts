/**
 * What must hold whatever the order in which the commands came, told by the stored history alone: nothing that the program
 * believed while it ran is used, but the list of what it accepted.
 */
import { DateTime, Effect } from "effect"
import type { Event, Projection } from "effect-opossum"
import { readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { isDeepStrictEqual } from "node:util"
import { type CourseEvent, type CourseId, coursesPerStudent, type StudentId } from "../dcb/course-subscriptions.ts"
import { cause, type Outcome } from "./commands.ts"
import type { Course } from "./list.ts"

// models

export interface Check {
  readonly what: string
  /** How much was looked at. */
  readonly extent: string
  /** What is wrong; nothing if the check is passed. */
  readonly findings: ReadonlyArray<string>
}

type History = ReadonlyArray<Event.SequencedEvent<CourseEvent>>

export const count = (n: number, one: string) => `${n.toLocaleString("en-US")} ${one}${n === 1 ? "" : "s"}`

// rules: one walk through the history, looking after every single event

export const rules = (history: History): ReadonlyArray<Check> => {
  const undefinedOrTwice: Array<string> = []
  const overfull: Array<string> = []
  const twice: Array<string> = []
  const tooMany: Array<string> = []

  const courses = new Map<CourseId, { capacity: number; readonly students: Set<StudentId> }>()
  const students = new Map<StudentId, number>()
  for (const { event, position } of history) {
    const { courseId } = event
    let course = courses.get(courseId)
    if (event._tag === "CourseDefined") {
      if (course !== undefined) undefinedOrTwice.push(`${courseId} is defined once more at ${position}`)
      else courses.set(courseId, course = { capacity: event.capacity, students: new Set() })
    }
    if (course === undefined) {
      undefinedOrTwice.push(`${event._tag} at ${position}, but ${courseId} is not defined yet`)
      continue
    }
    switch (event._tag) {
      case "CapacityChanged":
        course.capacity = event.capacity
        break
      case "StudentSubscribed": {
        if (course.students.has(event.studentId)) {
          twice.push(`${event.studentId} is in ${courseId} twice from ${position} on`)
        }
        course.students.add(event.studentId)
        const count = (students.get(event.studentId) ?? 0) + 1
        students.set(event.studentId, count)
        if (count > coursesPerStudent) tooMany.push(`${event.studentId} has ${count} courses from ${position} on`)
        break
      }
      case "StudentUnsubscribed":
        if (!course.students.delete(event.studentId)) {
          twice.push(`${event.studentId} leaves ${courseId} at ${position}, but is not in it`)
        }
        students.set(event.studentId, (students.get(event.studentId) ?? 0) - 1)
    }
    if (course.students.size > course.capacity) {
      overfull.push(`${courseId} has ${course.students.size} students for ${course.capacity} seats at ${position}`)
    }
  }

  const [inCourses, ofStudents] = [count(courses.size, "course"), count(students.size, "student")]
  return [
    {
      what: "every course is defined once, before anything else happens in it",
      extent: inCourses,
      findings: undefinedOrTwice
    },
    { what: "no course ever had more students than seats", extent: inCourses, findings: overfull },
    { what: `no student ever had more than ${coursesPerStudent} courses`, extent: ofStudents, findings: tooMany },
    { what: "nobody was ever in a course twice", extent: ofStudents, findings: twice }
  ]
}

// commands and their events

/** Nothing accepted is lost, and nothing is stored that was not accepted. */
export const commands = (run: string, outcomes: ReadonlyArray<Outcome>, history: History): Check => {
  const findings: Array<string> = []
  const accepted = new Map<string, Extract<Outcome, { readonly _tag: "Accepted" }>>()
  for (const outcome of outcomes) {
    if (outcome._tag === "Accepted") accepted.set(cause(run, outcome.line).causationId, outcome)
  }
  const extent = count(accepted.size, "command")
  for (const { metadata: { causationId, correlationId }, position } of history) {
    if (correlationId !== run) continue
    const outcome = causationId === undefined ? undefined : accepted.get(causationId)
    if (outcome === undefined) {
      findings.push(`the event at ${position}, of ${causationId}, belongs to no accepted command`)
    } else if (outcome.position !== position) {
      findings.push(`${causationId} was told ${outcome.position}, but is at ${position}`)
    } else accepted.delete(causationId!)
  }
  for (const line of accepted.keys()) findings.push(`${line} was accepted, but its event is not in the store`)
  return { what: "each accepted command has its event, and each event its command", extent, findings }
}

// the read model

/** The list of courses, which two processes kept up to date while they ran, is what the whole history folds to. */
export const list = (
  folded: ReadonlyMap<CourseId, Course>,
  entries: ReadonlyArray<Projection.Entry<Course, CourseId>>,
  full: ReadonlyArray<Projection.Entry<Course, CourseId>>
): Check => {
  const findings: Array<string> = []
  const left = new Map(folded)
  for (const { key, state } of entries) {
    if (!isDeepStrictEqual(state, left.get(key))) findings.push(`${key} is not what its events say`)
    left.delete(key)
  }
  for (const key of left.keys()) findings.push(`${key} is not in the list`)
  const isFull = ({ capacity, students }: Course) => students.length >= capacity
  const found = full.map(({ key }) => key)
  const wanted = entries.filter(({ state }) => isFull(state)).map(({ key }) => key)
  if (!isDeepStrictEqual(found, wanted)) findings.push(`found as full are ${found.length}, not ${wanted.length}`)
  return { what: "the list of courses is what their events say", extent: count(entries.length, "course"), findings }
}

// the readable copies

/** Each event has a file that says the same, and no file says anything else. */
export const eventFiles = Effect.fnUntraced(
  function*(folder: string, history: ReadonlyArray<Event.SequencedEvent<Event.RawEvent>>) {
    const findings: Array<string> = []
    // a store without events has no folder for them
    const names = yield* Effect.promise(() => readdir(folder, { recursive: true }).catch(() => []))
    const files = new Map(
      names.filter((name) => /\d+\.json$/.test(name)).map((name) => [Number(/(\d+)\.json$/.exec(name)![1]), name])
    )
    yield* Effect.forEach(
      history,
      Effect.fnUntraced(function*({ event: { data, type, version }, metadata, position, tags }) {
        const file = files.get(position)
        if (!files.delete(position)) return findings.push(`the event at ${position} has no file`)
        const found = JSON.parse(yield* Effect.promise(() => readFile(join(folder, file!), "utf8"))) as unknown
        const stored = { ...metadata, timestamp: DateTime.formatIso(metadata.timestamp) }
        if (!isDeepStrictEqual(found, { position, type, version, tags, metadata: stored, data })) {
          findings.push(`${file} does not say what the store does`)
        }
        return
      }),
      { concurrency: 16, discard: true }
    )
    for (const file of files.values()) findings.push(`${file} is of no event`)
    const check: Check = {
      what: "each event's file says what the store does",
      extent: count(history.length, "file"),
      findings
    }
    return check
  }
)
