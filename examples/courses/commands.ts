/** Commands as they stand in a file: one JSON object to a line. */
import { Effect, Result, Schema } from "effect"
import { type Decision, type EventStore, Metadata } from "effect-opossum"
import { readFile } from "node:fs/promises"
import * as Courses from "../dcb/course-subscriptions.ts"

// models

const subscription = { courseId: Courses.CourseId, studentId: Courses.StudentId }

export const Command = Schema.Union([
  Schema.TaggedStruct("DefineCourse", {
    courseId: Courses.CourseId,
    title: Schema.optionalKey(Schema.String),
    capacity: Courses.Seats
  }),
  Schema.TaggedStruct("ChangeCapacity", { courseId: Courses.CourseId, capacity: Courses.Seats }),
  Schema.TaggedStruct("SubscribeStudent", subscription),
  Schema.TaggedStruct("UnsubscribeStudent", subscription)
])
export type Command = typeof Command.Type

/** A line of the file, numbered from 1: a command, or what is wrong with it. */
export type Line =
  | { readonly number: number; readonly command: Command }
  | { readonly number: number; readonly problem: string }

/** What became of a line's command. */
export const Outcome = Schema.Union([
  Schema.TaggedStruct("Accepted", { line: Schema.Int, position: Schema.Int }),
  Schema.TaggedStruct("Refused", { line: Schema.Int, reason: Schema.String, message: Schema.String }),
  /** The store could not do it: no fault of the command. */
  Schema.TaggedStruct("Failed", { line: Schema.Int, message: Schema.String })
])
export type Outcome = typeof Outcome.Type

export class CommandFileError extends Schema.TaggedError<CommandFileError>()("CommandFileError", {
  file: Schema.String,
  problem: Schema.String
}) {
  override get message() {
    return `${this.file}: ${this.problem}`
  }
}

// reading

const decode = Schema.decodeUnknownResult(Schema.fromJsonString(Command))

/** All lines that are not blank. One that is no command is kept with its problem: it is refused, and the others go on. */
export const parse = (text: string): ReadonlyArray<Line> => {
  const out: Array<Line> = []
  for (const [at, source] of text.split("\n").entries()) {
    if (source.trim() === "") continue
    const number = at + 1
    const decoded = decode(source)
    out.push(
      Result.isSuccess(decoded)
        ? { number, command: decoded.success }
        : { number, problem: decoded.failure.message.replaceAll(/\s+/g, " ") }
    )
  }
  return out
}

/** The lines of a file; an error if there is no such file, or nothing in it. */
export const load = Effect.fnUntraced(function*(file: string) {
  const failed = (problem: string) => new CommandFileError({ file, problem })
  const text = yield* Effect.tryPromise({
    try: () => readFile(file, "utf8"),
    catch: (cause) =>
      failed(
        (cause as NodeJS.ErrnoException).code === "ENOENT"
          ? "there is no such file"
          : `cannot be read (${String(cause)})`
      )
  })
  const lines = parse(text)
  if (lines.length === 0) return yield* failed("there are no commands in it: one JSON object to a line is expected")
  return lines
})

// executing

type Decided = Effect.Effect<
  Decision.Decided<Courses.CourseEvent>,
  Courses.Refusal | Decision.ExecuteError,
  EventStore.EventStore
>

const decide = (command: Command): Decided => {
  switch (command._tag) {
    case "DefineCourse":
      return Courses.defineCourse(command.courseId, command.title ?? command.courseId, command.capacity)
    case "ChangeCapacity":
      return Courses.changeCapacity(command.courseId, command.capacity)
    case "SubscribeStudent":
      return Courses.subscribe(command.courseId, command.studentId)
    case "UnsubscribeStudent":
      return Courses.unsubscribe(command.courseId, command.studentId)
  }
}

const isRefusal = Schema.is(Courses.Refusal)

/** By these the event of a command is found again: the run that it belongs to, and the line that caused it. */
export const cause = (run: string, line: number) => ({ correlationId: run, causationId: `line ${line}` })

/** Never fails: what goes wrong is the outcome. */
export const execute = (run: string, line: Line): Effect.Effect<Outcome, never, EventStore.EventStore> =>
  "problem" in line
    ? Effect.succeed({ _tag: "Refused", line: line.number, reason: "NoCommand", message: line.problem })
    : decide(line.command).pipe(
      Metadata.annotate(cause(run, line.number)),
      Effect.match({
        onSuccess: ({ positions }): Outcome => ({ _tag: "Accepted", line: line.number, position: positions[0] }),
        onFailure: (error): Outcome =>
          isRefusal(error)
            ? { _tag: "Refused", line: line.number, reason: error._tag, message: error.message }
            : { _tag: "Failed", line: line.number, message: `${error._tag}: ${error.message}` }
      })
    )
