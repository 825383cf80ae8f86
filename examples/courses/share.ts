/**
 * Half of the commands, run by one process; and the other half, run by another. The one that was started starts the other, which
 * is the same program once more: they share a folder, and nothing else but these few messages.
 */
import { Cause, Data, Deferred, Effect, Metric, Option, Queue, Schedule, Schema } from "effect"
import type { EventStore } from "effect-opossum"
import { type ChildProcess, fork } from "node:child_process"
import { execute, type Line, Outcome } from "./commands.ts"

// models

/** First the courses, then all that happens in them: so it does not depend on chance whether a course is there. */
export const phases = ["define", "rest"] as const
export type Phase = (typeof phases)[number]

const phaseOf = (line: Line): Phase => "command" in line && line.command._tag === "DefineCourse" ? "define" : "rest"

/** What one process does: even or odd lines of the file. */
export interface Share {
  readonly run: string
  readonly lines: ReadonlyArray<Line>
  readonly parity: 0 | 1
  readonly fibers: number
}

/** From the first process to the second. */
const Begin = Schema.Struct({ phase: Schema.Literals(phases) })

/** From the second process to the first. */
const Report = Schema.Union([
  Schema.TaggedStruct("Ready", {}),
  Schema.TaggedStruct("Progress", { outcomes: Schema.Array(Outcome) }),
  /** A phase is over; with how many conflicts there were since the process began. */
  Schema.TaggedStruct("Finished", { conflicts: Schema.Int })
])
type Report = typeof Report.Type

export class OtherProcessEnded extends Data.TaggedError("OtherProcessEnded")<{ readonly how: string }> {
  override get message() {
    return `the other process ended before its work was done: ${this.how}`
  }
}

// working

/** Runs the share's commands of a phase, by many fibers at once. */
export const work = (
  { fibers, lines, parity, run }: Share,
  phase: Phase,
  report: (outcome: Outcome) => void
): Effect.Effect<void, never, EventStore.EventStore> =>
  Effect.forEach(
    lines.filter((line) => line.number % 2 === parity && phaseOf(line) === phase),
    (line) => Effect.map(execute(run, line), report),
    { concurrency: fibers, discard: true }
  )

/** How many appends of this process came too late, so that the decision was made again: the store counts them. */
export const conflicts: Effect.Effect<number> = Effect.map(Metric.snapshot, (metrics) => {
  const found = metrics.find(({ id }) => id === "opossum_append_conflicts")
  return found?.type === "Counter" ? Number(found.state.count) : 0
})

// the second process

/** Works as the first process says; ends when that one has nothing more to say, or is gone. */
export const serve = Effect.fnUntraced(function*(share: Share) {
  const begins = yield* Queue.unbounded<Phase>()
  const gone = yield* Deferred.make<void>()
  const onMessage = (message: unknown) => {
    Queue.offerUnsafe(begins, Schema.decodeUnknownSync(Begin)(message).phase)
  }
  const onDisconnect = () => Deferred.doneUnsafe(gone, Effect.void)
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("message", onMessage).on("disconnect", onDisconnect)),
    () => Effect.sync(() => process.off("message", onMessage).off("disconnect", onDisconnect))
  )
  const tell = (report: Report) => Effect.sync(() => void (process.connected && process.send!(report)))

  let news: Array<Outcome> = []
  const tellNews = Effect.suspend(() => {
    const outcomes = news
    news = []
    return outcomes.length === 0 ? Effect.void : tell({ _tag: "Progress", outcomes })
  })
  yield* Effect.forkScoped(Effect.repeat(tellNews, Schedule.spaced("50 millis")))
  yield* tell({ _tag: "Ready" })
  const all = Effect.gen(function*() {
    for (const _ of phases) {
      yield* work(share, yield* Queue.take(begins), (outcome) => void news.push(outcome))
      yield* tellNews
      yield* tell({ _tag: "Finished", conflicts: yield* conflicts })
    }
    yield* Deferred.await(gone)
  })
  yield* Effect.raceFirst(all, Deferred.await(gone))
}, Effect.scoped)

// the first process

export interface Other {
  /** Lets the other process work on a phase; ends, with its conflicts so far, when it is done. */
  readonly work: (phase: Phase, report: (outcome: Outcome) => void) => Effect.Effect<number, OtherProcessEnded>
  /** Lets it close its store, and waits until it has ended. */
  readonly finish: Effect.Effect<void, OtherProcessEnded>
}

/** Starts this program once more, with other arguments. It does not outlive the scope. */
export const start = Effect.fnUntraced(function*(program: string, args: ReadonlyArray<string>) {
  const reports = yield* Queue.unbounded<Report, OtherProcessEnded>()
  const ended = yield* Deferred.make<string>()
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const child = fork(program, args)
      child.on("message", (message) => Queue.offerUnsafe(reports, Schema.decodeUnknownSync(Report)(message)))
      const onEnd = (how: string) => {
        Deferred.doneUnsafe(ended, Effect.succeed(how))
        Queue.failCauseUnsafe(reports, Cause.fail(new OtherProcessEnded({ how })))
      }
      child.on("error", (error) => onEnd(String(error)))
      child.on("exit", (code, signal) => onEnd(signal === null ? `exit code ${code}` : `killed by ${signal}`))
      return child
    }),
    (child) => stop(child, ended)
  )
  const take = Queue.take(reports)
  yield* take // ready
  const other: Other = {
    work: Effect.fnUntraced(function*(phase, report) {
      child.send({ phase } satisfies typeof Begin.Type)
      for (;;) {
        const message = yield* take
        if (message._tag === "Progress") { for (const outcome of message.outcomes) report(outcome) }
        if (message._tag === "Finished") return message.conflicts
      }
    }),
    finish: Effect.gen(function*() {
      child.disconnect()
      const how = yield* Deferred.await(ended)
      if (how !== "exit code 0") return yield* new OtherProcessEnded({ how })
    })
  }
  return other
})

/** By a signal first, so that it closes its store in order. */
const stop = (child: ChildProcess, ended: Deferred.Deferred<string>) =>
  Effect.gen(function*() {
    if (yield* Deferred.isDone(ended)) return
    child.kill("SIGTERM")
    const how = yield* Effect.timeoutOption(Deferred.await(ended), "5 seconds")
    if (Option.isNone(how)) child.kill("SIGKILL")
  })
