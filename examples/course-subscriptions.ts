/**
 * Dynamic consistency boundaries, shown: thousands of commands, run by many fibers at once in two processes on one store, and
 * afterwards the proof, by reading everything back, that no rule was broken.
 *
 *     npm run demo                            with the commands of examples/data/course-commands.jsonl
 *     npm run demo -- my-commands.jsonl       with others
 *     npm run demo -- --fibers 16             so many fibers in each process (32 without it)
 *     npm run demo -- --root folder           keep the store there; a later run goes on with it
 *
 * The rules and the decisions are in examples/dcb/course-subscriptions.ts: read that first. What can be looked up is in
 * examples/courses/list.ts, a projection.
 *
 * Who gets a course's last seat differs from run to run, and so do the numbers of some refusals: many want it at once. What never
 * differs is what the checks at the end say. The exit code is 1 if one fails, or if a command could not be carried out.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Clock, Data, Effect, Layer, Stream } from "effect"
import { EventStore, EventStoreMaintenance, Opossum, Projection, Query } from "effect-opossum"
import { randomUUID } from "node:crypto"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import * as Checks from "./courses/checks.ts"
import { load, type Outcome } from "./courses/commands.ts"
import { CourseList } from "./courses/list.ts"
import * as Report from "./courses/report.ts"
import * as Share from "./courses/share.ts"
import { courseEvents } from "./dcb/course-subscriptions.ts"

const store = "school"
const ownCommands = fileURLToPath(new URL("data/course-commands.jsonl", import.meta.url))

// Both processes open the same folder, each with a layer of its own: that is all it takes to share a store. One of them keeps the
// list of courses up to date; if it ends, the other goes on with it.
const storeIn = (root: string) => CourseList.layer.pipe(Layer.provideMerge(Opossum.layer({ root, store })))

// arguments

class UsageError extends Data.TaggedError("UsageError")<{ readonly message: string }> {}

interface Arguments {
  readonly file: string
  readonly fibers: number
  readonly root: string | undefined
  /** Set in the second process: the name of the run. */
  readonly serve: string | undefined
}

const readArguments: Effect.Effect<Arguments, UsageError> = Effect.suspend(() => {
  const usage = (problem: string) =>
    Effect.fail(new UsageError({ message: `${problem}\nusage: npm run demo -- [--fibers N] [--root DIR] [FILE]` }))
  try {
    const { positionals, values } = parseArgs({
      allowPositionals: true,
      options: { fibers: { type: "string" }, root: { type: "string" }, serve: { type: "string" } }
    })
    const fibers = Number(values.fibers ?? 32)
    if (!Number.isSafeInteger(fibers) || fibers < 1) return usage("--fibers must be a whole number of at least 1")
    if (positionals.length > 1) return usage("give one file")
    return Effect.succeed({ file: positionals[0] ?? ownCommands, fibers, root: values.root, serve: values.serve })
  } catch (error) {
    return usage((error as Error).message)
  }
})

// the second process: the other half of the commands

const serve = Effect.fnUntraced(function*(run: string, { fibers, file }: Arguments, root: string) {
  const lines = yield* load(file)
  yield* Share.serve({ run, lines, parity: 1, fibers }).pipe(Effect.provide(storeIn(root)))
})

// the first process

const runCommands = Effect.fnUntraced(function*(run: string, { fibers, file }: Arguments, root: string) {
  const lines = yield* load(file)
  const program = fileURLToPath(import.meta.url)
  const name = relative(process.cwd(), file)
  yield* Report.print(
    `${Report.number(lines.length)} commands from ${
      name.startsWith("..") ? file : name
    }, by two processes of ${fibers} fibers each`
  )
  const outcomes: Array<Outcome> = []
  const accepted: [number, number] = [0, 0]
  const showProgress = Report.progress(lines.length)
  const reportOf = (process: 0 | 1) => (outcome: Outcome) => {
    outcomes.push(outcome)
    if (outcome._tag === "Accepted") accepted[process]++
    showProgress(outcomes.length)
  }

  const other = yield* Share.start(program, ["--serve", run, "--root", root, "--fibers", String(fibers), file])
  const share: Share.Share = { run, lines, parity: 0, fibers }
  const start = yield* Clock.currentTimeMillis
  let conflicts = 0
  for (const phase of Share.phases) {
    const both = [Share.work(share, phase, reportOf(0)), other.work(phase, reportOf(1))] as const
    const [, others] = yield* Effect.all(both, { concurrency: "unbounded" })
    conflicts = others + (yield* Share.conflicts)
  }
  const millis = (yield* Clock.currentTimeMillis) - start
  yield* other.finish

  const count = (tag: Outcome["_tag"]) => outcomes.filter((outcome) => outcome._tag === tag).length
  const summary: Report.Summary = {
    commands: lines.length,
    accepted: count("Accepted"),
    refused: count("Refused"),
    failed: count("Failed"),
    byProcess: accepted,
    conflicts,
    millis
  }
  const nameOf = (number: number) => {
    const line = lines.find((line) => line.number === number)
    return line !== undefined && "command" in line ? line.command._tag : "NoCommand"
  }
  yield* Report.print(Report.outcomes(summary, outcomes, nameOf))
  return { outcomes, summary }
}, Effect.scoped)

/** With a layer of its own, which knows nothing but what lies on disk. */
const check = Effect.fnUntraced(function*(run: string, outcomes: ReadonlyArray<Outcome>, root: string) {
  const { events: history, head } = yield* EventStore.read(Query.of(courseEvents))
  const { events: raw } = yield* EventStore.read(Query.all)
  if (head !== undefined) yield* EventStoreMaintenance.eventFiles.waitFor(head)
  const verified = yield* Stream.runLast(EventStoreMaintenance.verify).pipe(
    Effect.match({ onSuccess: () => [], onFailure: (error) => [error.message] })
  )
  const { bytes } = yield* EventStoreMaintenance.statistics
  // what is in the history is in the list, from here on
  yield* CourseList.waitFor(head)
  const list = yield* Stream.runCollect(CourseList.stream())
  const full = yield* CourseList.byTag("full:true")
  const checks = [
    ...Checks.rules(history),
    Checks.commands(run, outcomes, history),
    { what: "the ledger is as it was written, hash by hash", extent: Checks.count(bytes, "byte"), findings: verified },
    yield* Checks.eventFiles(join(root, store, "events"), raw),
    Checks.list(yield* Projection.fold(CourseList), list, full)
  ]
  yield* Report.print(Report.list(list, full.length))
  yield* Report.print(Report.disk(join(root, store), history[Math.floor(history.length / 2)]?.position))
  yield* Report.print(Report.checks(checks))
  return checks.every(({ findings }) => findings.length === 0)
})

const main = Effect.gen(function*() {
  const args = yield* readArguments
  if (args.serve !== undefined && args.root !== undefined) return yield* serve(args.serve, args, args.root)

  yield* load(args.file)
  const root = args.root ?? mkdtempSync(join(tmpdir(), "opossum-demo-"))
  const run = `run-${randomUUID()}`
  const { outcomes, summary } = yield* runCommands(run, args, root).pipe(Effect.provide(storeIn(root)))
  const passed = yield* check(run, outcomes, root).pipe(Effect.provide(storeIn(root)))
  if (args.root === undefined) {
    yield* Report.print(`Open the store in any editor. When you have seen enough: rm -r ${root}`)
  }
  if (!passed || summary.failed > 0) process.exitCode = 1
})

/** What a user can do something about is said in words, without a stack. */
const told = Effect.catch(main, (error) =>
  Effect.sync(() => {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  }))

NodeRuntime.runMain(told)
