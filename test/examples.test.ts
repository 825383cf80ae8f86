/** The examples run, as a reader would run them, and what they claim to have checked is checked here. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect } from "effect"
import { type Event, Position, type Tag } from "effect-opossum"
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Checks from "../examples/courses/checks.ts"
import { type Outcome, parse } from "../examples/courses/commands.ts"
import { file as commandFile, generate } from "../examples/data/generate.ts"
import {
  CapacityChanged,
  CourseDefined,
  type CourseEvent,
  CourseId,
  StudentId,
  StudentSubscribed,
  StudentUnsubscribed
} from "../examples/dcb/course-subscriptions.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

// processes

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

const start = (example: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}) => {
  const child = spawn(process.execPath, ["--import", "./scripts/source.ts", `examples/${example}.ts`, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })
  const ended = new Promise<Ended>((resolve, reject) => {
    let [stdout, stderr] = ["", ""]
    child.stdout.setEncoding("utf8").on("data", (text: string) => stdout += text)
    child.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text)
    child.on("error", reject).on("close", (code) => resolve({ code, stdout, stderr }))
  })
  return { child, ended }
}

/** A folder for what a program leaves behind. */
const inFolder = async (use: (folder: string) => Promise<void>) => {
  const folder = mkdtempSync(join(tmpdir(), "effect-opossum-examples-"))
  try {
    await use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

const run = (example: string, args: ReadonlyArray<string> = [], env: NodeJS.ProcessEnv = {}) =>
  start(example, args, env).ended

describe("short examples", () => {
  const prints = (example: string, ...expected: ReadonlyArray<string | RegExp>) =>
    it(`${example}`, () =>
      inFolder(async (folder) => {
        const { code, stderr, stdout } = await run(example, [], {
          TMPDIR: folder,
          OTEL_EXPORTER_OTLP_ENDPOINT: undefined
        })
        assert.strictEqual(stderr, "")
        assert.strictEqual(code, 0)
        for (const text of expected) {
          if (typeof text === "string") assert.include(stdout.split("\n"), text)
          else assert.match(stdout, text)
        }
      }), 60_000)

  prints(
    "quick-start",
    "withdrawn, at position 3",
    "refused: Overdrawn",
    "3000 [ 'anna' ]",
    /^the events are in .*events$/m
  )
  prints(
    "invoice-numbers",
    /^invoice 1\ninvoice 2\ninvoice 3\ninvoice 4\ninvoice 5\ninvoice 6\ninvoice 7\ninvoice 8\n$/
  )
  prints("follow", /^1: soup for table 1\n3: salad for table 2\n4: cake for table 1\n$/)
  prints(
    "tests-in-memory",
    "ok: a full course takes nobody",
    "ok: two at once want the last seat, and one gets it",
    "ok: an event knows when it was"
  )
  prints(
    "mediator",
    `{"_tag":"Success","value":2}`,
    `{"_tag":"Failure","error":{"_tag":"FullyBooked","room":"blue","seats":2}}`,
    `{"_tag":"Failure","error":{"_tag":"NoSuchRoom","room":"red"}}`,
    /^refused: BookSeat is no valid message: .+ at \$\.guest$/m,
    "refused: CloseRoom is no valid message: expected one of BookSeat, Guests at $._tag",
    "refused: that is no JSON",
    `{"_tag":"Success","value":["anna","ben"]}`,
    "the last booking was made by: front desk"
  )
  prints(
    "tests-with-scenarios",
    /a coupon is good once/,
    /nobody made this one up/,
    /on its last day it is good/,
    /a day later it is not/,
    /what a decision sees/,
    /^\S+ pass 5$/m,
    /^\S+ fail 0$/m
  )
  prints(
    "open-telemetry",
    "span EventStore.append (error)",
    "span EventStore.read",
    "span sell tea",
    "  db.system.name = effect-opossum",
    "metric opossum_events_appended = 2",
    "metric opossum_append_conflicts = 1",
    /^metric opossum_commit_duration: 2 values, [\d.]+ in all, unit ms$/m
  )

  it("each has a test here", () => {
    const tested = [
      "quick-start",
      "invoice-numbers",
      "follow",
      "tests-in-memory",
      "tests-with-scenarios",
      "mediator",
      "open-telemetry",
      "course-subscriptions"
    ]
    const names = readdirSync(join(root, "examples")).filter((name) => name.endsWith(".ts"))
    assert.deepStrictEqual(names.sort(), tested.map((name) => `${name}.ts`).sort())
  })
})

describe("course subscriptions", () => {
  const command = (tag: string, fields: object) => JSON.stringify({ _tag: tag, ...fields })
  const subscribe = (courseId: string, studentId: string) => command("SubscribeStudent", { courseId, studentId })
  const define = (courseId: string, capacity: number) =>
    command("DefineCourse", { courseId, title: courseId, capacity })

  const demo = (folder: string, lines: ReadonlyArray<string>, ...args: ReadonlyArray<string>) => {
    const file = join(folder, "commands.jsonl")
    writeFileSync(file, lines.join("\n"))
    return run("course-subscriptions", ["--root", join(folder, "store"), ...args, file])
  }

  /** The numbers of the summary: `Accepted 2, refused 4, failed 0 of 6 commands`. */
  const summaryOf = ({ stderr, stdout }: Ended) => {
    const found = /^Accepted ([\d,]+), refused ([\d,]+), failed ([\d,]+) of ([\d,]+) commands$/m.exec(stdout)
    assert.isNotNull(found, `there is no summary in:\n${stdout}\n${stderr}`)
    const [accepted, refused, failed, commands] = found!.slice(1).map((text) => Number(text.replaceAll(",", "")))
    return { accepted, refused, failed, commands }
  }
  /** How many were refused for a reason. */
  const refusals = ({ stdout }: Ended, reason: string) =>
    Number(new RegExp(`^  ${reason} +(\\d+) `, "m").exec(stdout)?.[1] ?? 0)
  const passed = ({ stdout }: Ended) => stdout.match(/^  ok     .+$/gm)?.length ?? 0

  it("tells what was accepted and what was refused, and why", () =>
    inFolder(async (folder) => {
      const lines = [
        define("small", 1),
        define("large", 9),
        define("small", 1),
        subscribe("small", "anna"),
        subscribe("small", "ben"),
        subscribe("nowhere", "anna"),
        subscribe("large", "cleo"),
        subscribe("large", "cleo"),
        command("ChangeCapacity", { courseId: "large", capacity: 9 }),
        command("UnsubscribeStudent", { courseId: "large", studentId: "dora" }),
        ...[1, 2, 3, 4, 5, 6].flatMap((n) => [define(`c${n}`, 5), subscribe(`c${n}`, "emil")]),
        "",
        "no command",
        command("ChangeCapacity", { courseId: "large", capacity: "many" }),
        command("Expel", { studentId: "anna" })
      ]
      const ended = await demo(folder, lines)
      assert.strictEqual(ended.code, 0, ended.stdout + ended.stderr)
      // Whoever comes first: one of two gets the seat, one of two definitions counts, and so on.
      assert.deepStrictEqual(summaryOf(ended), { accepted: 15, refused: 10, failed: 0, commands: 25 })
      for (const reason of ["CourseFull", "CourseNotFound", "AlreadySubscribed", "CapacityUnchanged", "CourseExists"]) {
        assert.strictEqual(refusals(ended, reason), 1, reason)
      }
      assert.strictEqual(refusals(ended, "TooManyCourses"), 1)
      assert.strictEqual(refusals(ended, "NotSubscribed"), 1)
      assert.strictEqual(refusals(ended, "NoCommand"), 3)
      assert.match(ended.stdout, /^  NoCommand +3 {3}e\.g\. line \d+: /m)
      assert.strictEqual(passed(ended), 8)
      assert.match(ended.stderr, /^100 %: 25 of 25 commands$/m)
      assert.include(ended.stdout, `"causationId": "line `)
    }), 60_000)

  it(
    "holds its rules when hundreds of commands meet in two processes, and goes on with a store that is kept",
    () =>
      inFolder(async (folder) => {
        const students = Array.from({ length: 40 }, (_, n) => `student-${n}`)
        const lines = [
          ...["a", "b", "c", "d", "e", "f", "g"].map((id) => define(id, 20)),
          ...students.flatMap((student) => ["a", "b", "c", "d", "e", "f", "g"].map((id) => subscribe(id, student)))
        ]
        const first = await demo(folder, lines, "--fibers", "16")
        assert.strictEqual(first.code, 0, first.stdout + first.stderr)
        const summary = summaryOf(first)
        assert.strictEqual(summary.accepted! + summary.refused!, lines.length)
        assert.strictEqual(
          summary.accepted! - 7 + refusals(first, "CourseFull") + refusals(first, "TooManyCourses"),
          280
        )
        assert.strictEqual(passed(first), 8)
        const [, one, other] = /^  ([\d,]+) by the first process, ([\d,]+) by the second$/m.exec(first.stdout)!
        assert.isAbove(Number(one), 0)
        assert.isAbove(Number(other), 0)

        const second = await demo(folder, lines, "--fibers", "16")
        assert.strictEqual(second.code, 0, second.stdout + second.stderr)
        assert.strictEqual(refusals(second, "CourseExists"), 7)
        assert.strictEqual(refusals(second, "AlreadySubscribed"), summary.accepted! - 7)
        assert.strictEqual(passed(second), 8)
      }),
    120_000
  )

  it("a file in which nothing is a command is refused line by line", () =>
    inFolder(async (folder) => {
      const ended = await demo(folder, ["a", "b"])
      assert.strictEqual(ended.code, 0, ended.stdout + ended.stderr)
      assert.deepStrictEqual(summaryOf(ended), { accepted: 0, refused: 2, failed: 0, commands: 2 })
    }), 60_000)

  it("says what is wrong with its arguments", () =>
    inFolder(async (folder) => {
      const empty = join(folder, "empty.jsonl")
      writeFileSync(empty, "\n\n")
      mkdirSync(join(folder, "folder"))
      const missing = join(folder, "missing.jsonl")
      const refused = async (words: string, ...args: ReadonlyArray<string>) => {
        const { code, stderr, stdout } = await run("course-subscriptions", args)
        assert.strictEqual(stdout, "")
        assert.include(stderr, words)
        assert.notInclude(stderr, "    at ")
        assert.strictEqual(code, 1)
      }
      await refused(`${empty}: there are no commands in it`, empty)
      await refused(`${missing}: there is no such file`, missing)
      await refused("cannot be read", join(folder, "folder"))
      await refused("--fibers must be a whole number", "--fibers", "none")
      await refused("usage: npm run demo", "--unknown")
      await refused("give one file", "one", "two")
    }), 120_000)

  it.skipIf(process.platform === "win32")("stops in order when it is interrupted", () =>
    inFolder(async (folder) => {
      const store = join(folder, "store")
      const { child, ended } = start("course-subscriptions", ["--root", store])
      await begins(child)
      child.kill("SIGINT")
      const { code, stderr } = await ended
      assert.strictEqual(code, 130, stderr)
      assert.notInclude(stderr, "100 %")
      // Both processes left the store: the lock is free, and the baton lies in the newest segment.
      const segments = readdirSync(join(store, "school", "ledger")).sort()
      assert.match(segments.at(-2)!, /^(\d+)\.[\w-]+\.free$/)
      assert.strictEqual(segments.at(-1), segments.at(-2)!.replace(/\.[\w-]+\.free$/, ".jsonl"))
      assert.isFalse(existsSync(join(store, "school", "writer.lock")))
    }), 60_000)

  /** The first tenth is done: both processes are at work. */
  const begins = (child: ChildProcess) =>
    new Promise<void>((resolve) => {
      child.stderr!.on("data", (text: string) => text.includes("10 %") && resolve())
      child.on("close", () => resolve())
    })
})

describe("the commands that come along", () => {
  it("are those that the generator makes", () => {
    assert.strictEqual(readFileSync(commandFile, "utf8"), generate())
  })

  it("are a few thousand, and nearly all can be read", () => {
    const lines = parse(generate())
    assert.isAbove(lines.length, 3000)
    assert.deepStrictEqual(lines.filter((line) => "problem" in line).length, 3)
  })
})

describe("the checks find", () => {
  const [maths, latin] = [CourseId.make("maths"), CourseId.make("latin")]
  const [anna, ben] = [StudentId.make("anna"), StudentId.make("ben")]
  const defined = (courseId: CourseId, capacity: number) => new CourseDefined({ courseId, title: courseId, capacity })
  const subscribed = (courseId: CourseId, studentId: StudentId) => new StudentSubscribed({ courseId, studentId })
  const unsubscribed = (courseId: CourseId, studentId: StudentId) => new StudentUnsubscribed({ courseId, studentId })

  const sequenced = (event: CourseEvent, at: number): Event.SequencedEvent<CourseEvent> => ({
    position: Position.make(at + 1),
    type: event._tag,
    event,
    tags: [],
    metadata: { id: `${at}`, timestamp: DateTime.makeUnsafe(0), correlationId: "run", causationId: `line ${at + 1}` }
  })
  const found = (...events: ReadonlyArray<CourseEvent>) =>
    Checks.rules(events.map(sequenced)).flatMap(({ findings }) => findings)

  it("nothing where nothing is wrong", () => {
    assert.deepStrictEqual(
      found(
        defined(maths, 1),
        subscribed(maths, anna),
        unsubscribed(maths, anna),
        subscribed(maths, ben),
        new CapacityChanged({ courseId: maths, capacity: 2 }),
        subscribed(maths, anna)
      ),
      []
    )
  })

  const finds = (what: string, finding: string, ...events: ReadonlyArray<CourseEvent>) =>
    it(`${what}`, () => assert.deepStrictEqual(found(...events), [finding]))

  finds(
    "a course with too many students",
    "maths has 2 students for 1 seats at 3",
    defined(maths, 1),
    subscribed(maths, anna),
    subscribed(maths, ben)
  )
  finds(
    "a course that shrank below its students",
    "maths has 2 students for 1 seats at 4",
    defined(maths, 2),
    subscribed(maths, anna),
    subscribed(maths, ben),
    new CapacityChanged({ courseId: maths, capacity: 1 })
  )
  finds(
    "somebody in a course twice",
    "anna is in maths twice from 3 on",
    defined(maths, 2),
    subscribed(maths, anna),
    subscribed(maths, anna)
  )
  finds(
    "somebody who leaves without being there",
    "anna leaves maths at 2, but is not in it",
    defined(maths, 2),
    unsubscribed(maths, anna)
  )
  finds("a course defined twice", "maths is defined once more at 2", defined(maths, 2), defined(maths, 3))
  finds(
    "a course that is not defined",
    "StudentSubscribed at 2, but latin is not defined yet",
    defined(maths, 2),
    subscribed(latin, anna)
  )
  finds(
    "a student with too many courses",
    "anna has 6 courses from 12 on",
    ...[1, 2, 3, 4, 5, 6].flatMap((n) => [defined(CourseId.make(`c${n}`), 1), subscribed(CourseId.make(`c${n}`), anna)])
  )

  const accepted = (line: number, position: number): Outcome => ({ _tag: "Accepted", line, position })
  const history = [defined(maths, 2), subscribed(maths, anna)].map(sequenced)

  it("a lost event, an event that nobody wanted, and one that is elsewhere", () => {
    const of = (...outcomes: ReadonlyArray<Outcome>) => Checks.commands("run", outcomes, history).findings
    assert.deepStrictEqual(of(accepted(1, 1), accepted(2, 2)), [])
    assert.deepStrictEqual(of(accepted(1, 1), accepted(2, 2), accepted(3, 3)), [
      "line 3 was accepted, but its event is not in the store"
    ])
    assert.deepStrictEqual(of(accepted(1, 1), { _tag: "Refused", line: 2, reason: "CourseFull", message: "" }), [
      "the event at 2, of line 2, belongs to no accepted command"
    ])
    assert.deepStrictEqual(of(accepted(1, 1), accepted(2, 7))[0], "line 2 was told 7, but is at 2")
    // Events of earlier runs are not counted.
    assert.deepStrictEqual(Checks.commands("another run", [], history).findings, [])
  })

  it("an event file that is missing, wrong, or too many", () =>
    inFolder(async (folder) => {
      const events = [1, 2, 3].map((at): Event.SequencedEvent<Event.RawEvent> => ({
        ...sequenced(defined(maths, at), at - 1),
        tags: ["course:maths" as Tag.Tag],
        event: { _tag: "RawEvent", type: "CourseDefined", version: 1, data: { capacity: at } } as Event.RawEvent
      }))
      const write = (at: number, capacity: number) => {
        const metadata = {
          id: `${at - 1}`,
          timestamp: "1970-01-01T00:00:00.000Z",
          correlationId: "run",
          causationId: `line ${at}`
        }
        const json = {
          position: at,
          type: "CourseDefined",
          version: 1,
          tags: ["course:maths"],
          metadata,
          data: { capacity }
        }
        writeFileSync(join(folder, `000000000${at}.json`), JSON.stringify(json))
      }
      const findings = async () => (await Effect.runPromise(Checks.eventFiles(folder, events))).findings
      for (const at of [1, 2, 3]) write(at, at)
      assert.deepStrictEqual(await findings(), [])
      write(1, 7)
      rmSync(join(folder, "0000000002.json"))
      write(4, 4)
      assert.deepStrictEqual((await findings()).toSorted(), [
        "0000000001.json does not say what the store does",
        "0000000004.json is of no event",
        "the event at 2 has no file"
      ])
    }))
})
