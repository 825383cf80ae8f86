/** Processes that end, or stop, in the middle of a commit: what they were told holds, and the others get on. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Query from "../../src/Query.ts"
import { EventStore } from "../../src/services/EventStore.ts"
import type { Fact, Note } from "../fixtures/appends.ts"
import type { Action, Point } from "../fixtures/faults.ts"
import type { Job } from "../fixtures/storeProcess.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"
import { openTries, problemsOfHistory, problemsOfWitnesses } from "./oracle.ts"
import {
  figuresOf,
  monotonic,
  notesOf,
  type Process,
  showFigures,
  spawn,
  spawnAll,
  toFact,
  until
} from "./processes.ts"

const all = { concurrency: "unbounded" } as const

/** Each moment of a commit, in order. */
const points: ReadonlyArray<Point> = ["write", "torn", "sync", "look", "confirm", "answer"]
/** After these the group is whole in the file, so that whoever takes over finds it there and keeps it. */
const isWritten = (point: Point): boolean => points.indexOf(point) >= points.indexOf("sync")

const busy: ReadonlyArray<Job> = ["free", "free", "guarded", "number"]

/** In milliseconds: only a lock that is given up, or whose holder is seen to be dead, is had in a shorter time. */
const stale = 3500

const faultOf = (notes: ReadonlyArray<Note>) => notes.find((line) => line._tag === "fault")

const assertRight = (history: ReadonlyArray<Fact>, notes: ReadonlyArray<Note>) => {
  assert.deepStrictEqual(problemsOfHistory(history), [])
  assert.deepStrictEqual(problemsOfWitnesses(history, notes), [])
}

const historyOf = (process: Process) => Effect.map(process.tell("history", {}), ({ events = [] }) => events)

/** Starts a writer and waits until it writes. */
const startWriter = (
  writer: Process,
  root: string,
  options: { readonly ids?: boolean; readonly filler?: number; readonly calls?: "adaptive" | "asynchronous" } = {}
) =>
  Effect.gen(function*() {
    const { calls = "adaptive", ...work } = options
    const witness = join(root, `${writer.name}.witness`)
    yield* writer.tell("open", { options: { root, store: "shop", eventFiles: false }, calls })
    yield* writer.tell("work", { work: { ...work, witness, writer: writer.name, jobs: busy } })
    yield* until(`${writer.name} writes`, () => notesOf(witness).some(({ _tag }) => _tag === "stored"))
    return witness
  })

/** Lets a writer end in this moment, and another process append; tells what the one tried and how long the other waited. */
const endAndGoOn = Effect.fnUntraced(
  function*(writer: Process, next: Process, root: string, point: Point, action: Action) {
    const witness = yield* startWriter(writer, root, { ids: true })
    yield* writer.tell("arm", { point, action })
    yield* writer.gone
    const line = yield* next.append({ batch: { batch: `after-${writer.name}` }, witness: join(root, "next.witness") })
    assert(line._tag === "stored")
    const notes = notesOf(witness)
    const { at } = faultOf(notes)!
    return { notes, waited: line.at - at }
  }
)

const endings = (action: Action) =>
  it.live(
    `a writer that ends by ${action} at each moment of a commit: the next gets on at once, and what was acknowledged is there`,
    (context) =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const next = yield* spawn("next")
        const writers = yield* Effect.forEach(points, spawn, all)
        yield* next.tell("open", { options: { root, store: "shop", eventFiles: false } })
        const waits: Array<number> = []
        const witnesses: Array<Note> = []
        const expectations: Array<{ readonly point: Point; readonly open: ReadonlyArray<string> }> = []
        for (const [i, point] of points.entries()) {
          const { notes, waited } = yield* endAndGoOn(writers[i]!, next, root, point, action)
          waits.push(waited)
          witnesses.push(...notes)
          expectations.push({ point, open: openTries(notes) })
        }
        const history = yield* historyOf(next)
        assertRight(history, [...witnesses, ...notesOf(join(root, "next.witness"))])
        const present = new Set(history.map(({ data }) => data.batch))
        for (const { open, point } of expectations) {
          assert.isAbove(open.length, 0)
          assert.strictEqual(open.some((batch) => present.has(batch)), isWritten(point), `at ${point}`)
        }

        // Whoever was not told repeats it, and then it is there once.
        for (const line of witnesses) {
          if (line._tag !== "try") continue
          const wasStored = present.has(line.batch.batch)
          const retried = yield* next.append({ batch: line.batch })
          if (retried._tag === "stored") assert.strictEqual(retried.duplicate, wasStored, line.batch.batch)
          else assert.isFalse(wasStored)
        }
        assertRight(
          yield* historyOf(next),
          [...witnesses, ...notesOf(join(root, "next.witness"))].filter(({ _tag }) => _tag !== "refused")
        )
        yield* next.end
        yield* Effect.promise(async () => {
          await context.annotate(showFigures("from the end to the next acknowledgement", figuresOf(waits)))
        })
        for (const waited of waits) assert.isBelow(waited, stale / 2)
      }),
    60_000
  )

/** Who says that it has the lock. */
const holderIn = (root: string): number | undefined => {
  try {
    return (JSON.parse(readFileSync(join(root, "shop/writer.json"), "utf8")) as { readonly pid: number }).pid
  } catch {
    return undefined
  }
}

describe("a writer that ends", () => {
  endings("SIGKILL")
  endings("exit")

  it.live("killed at any time, again and again, with another one waiting", (context) =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const rounds = 6
      const next = yield* spawn("next")
      const nextWitness = join(root, "next.witness")
      yield* next.tell("open", { options: { root, store: "shop", eventFiles: false } })
      yield* next.tell("work", { work: { witness: nextWitness, writer: "next", jobs: ["free"] } })
      const waits: Array<number> = []
      const notes: Array<Note> = []
      for (let round = 0; round < rounds; round++) {
        const writer = yield* spawn(`w${round}`)
        const witness = yield* startWriter(writer, root)
        // while it writes, and the other one waits
        const count = notesOf(witness).length
        yield* until("it wrote more", () => notesOf(witness).length > count + 20)
        const killed = monotonic()
        yield* writer.murder
        const isLater = (line: Note) => line._tag === "stored" && line.at > killed
        yield* until("the other one went on", () => notesOf(nextWitness).some(isLater))
        const later = notesOf(nextWitness).find(isLater)
        assert(later?._tag === "stored")
        waits.push(later.at - killed)
        notes.push(...notesOf(witness))
      }
      yield* next.tell("finish", { atOnce: true })
      assertRight(yield* historyOf(next), [...notes, ...notesOf(nextWitness)])
      yield* next.end
      yield* Effect.promise(async () => {
        await context.annotate(showFigures("from the kill to the other's next acknowledgement", figuresOf(waits)))
      })
      for (const waited of waits) assert.isBelow(waited, stale / 2)
    }), 60_000)

  it.live(
    "killed after it took the lock from another one, before it could say so",
    (context) =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const [writer, next] = yield* spawnAll("writer", "next")
        const nextWitness = yield* startWriter(next, root)
        const witness = join(root, "writer.witness")
        yield* writer.tell("open", { options: { root, store: "shop", eventFiles: false } })
        yield* writer.tell("arm", { point: "lock", action: "SIGKILL" })
        void writer.ask("append", { batch: { batch: "mine" }, witness })
        yield* writer.gone
        const { at } = faultOf(notesOf(witness))!
        // the other one may have it already
        const holder = holderIn(root)
        assert.isTrue(holder === undefined || holder === next.pid, `${holder}`)
        const isLater = (line: Note) => line._tag === "stored" && line.at > at
        yield* until("the other one goes on", () => notesOf(nextWitness).some(isLater))
        const later = notesOf(nextWitness).find(isLater)
        assert(later?._tag === "stored")
        yield* next.tell("finish", { atOnce: true })
        assertRight(yield* historyOf(next), [...notesOf(witness), ...notesOf(nextWitness)])
        yield* next.end
        yield* Effect.promise(async () => {
          await context.annotate(`from the kill to the other's next acknowledgement: ${(later.at - at).toFixed(1)} ms`)
        })
        assert.isBelow(later.at - at, stale / 2)
      }),
    60_000
  )

  it.live(
    "killed without a trace of who it was: the next one gets on when the lock is stale",
    (context) =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const [writer, next] = yield* spawnAll("writer", "next")
        const witness = yield* startWriter(writer, root)
        yield* next.tell("open", { options: { root, store: "shop", eventFiles: false } })
        yield* writer.murder
        assert.isTrue(existsSync(join(root, "shop/writer.lock")))
        rmSync(join(root, "shop/writer.json"))
        const line = yield* next.append({ batch: { batch: "after" }, witness: join(root, "next.witness") })
        assert(line._tag === "stored")
        assertRight(yield* historyOf(next), [...notesOf(witness), ...notesOf(join(root, "next.witness"))])
        yield* next.end
        yield* Effect.promise(async () => {
          await context.annotate(`waited ${line.millis.toFixed(0)} ms (stale: ${stale} ms)`)
        })
      }),
    60_000
  )

  it.live(
    "by process.exit, while the system still writes what it was asked to, and another one waits",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const next = yield* spawn("next")
        const nextWitness = join(root, "next.witness")
        yield* next.tell("open", { options: { root, store: "shop", eventFiles: false } })
        yield* next.tell("work", { work: { witness: nextWitness, writer: "next", jobs: ["free", "guarded"] } })
        const notes: Array<Note> = []
        for (let round = 0; round < 5; round++) {
          const writer = yield* spawn(`w${round}`)
          const witness = yield* startWriter(writer, root, { calls: "asynchronous", filler: 100_000 })
          const count = notesOf(witness).length
          yield* until("it wrote more", () => notesOf(witness).length > count + 4)
          void writer.ask("exit", {})
          assert.strictEqual((yield* writer.gone).code, 0)
          notes.push(...notesOf(witness))
          const seen = notesOf(nextWitness).length
          yield* until("the other one went on", () => notesOf(nextWitness).length > seen + 2)
        }
        yield* next.tell("finish", { atOnce: true })
        assertRight(yield* historyOf(next), [...notes, ...notesOf(nextWitness)])
        assert.deepStrictEqual(
          [...new Set(notesOf(nextWitness).flatMap((line) => line._tag === "refused" ? [line.error] : []))]
            .filter((error) => error !== "AppendConditionFailed"),
          []
        )
        yield* next.end
      }),
    60_000
  )
})

describe("a writer that is stopped", { concurrent: true }, () => {
  for (const point of points) {
    it.live(`past the stale time, at the moment "${point}" of a commit, and goes on`, () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const [writer, other] = yield* spawnAll("writer", "other")
        const witness = yield* startWriter(writer, root)
        // one that only reads, in this process
        const services = yield* Layer.build(Layer.fresh(Opossum.layer({ root, store: "shop", readOnly: true })))
        const read = Effect.map(Context.get(services, EventStore).read(Query.all), ({ events }) => events.map(toFact))
        const otherWitness = join(root, "other.witness")
        yield* other.tell("open", { options: { root, store: "shop", eventFiles: false } })
        yield* writer.tell("arm", { point, action: "SIGSTOP" })
        yield* until("it stopped", () => faultOf(notesOf(witness)) !== undefined)
        yield* other.tell("work", {
          work: { witness: otherWitness, writer: "other", jobs: ["free", "guarded", "number"] }
        })
        yield* until("the other one writes", () => notesOf(otherWitness).some(({ _tag }) => _tag === "stored"))
        const before = notesOf(witness)
        const pending = openTries(before)
        // Those who read meanwhile see all that it acknowledged.
        const acknowledged = notesOf(otherWitness).filter(({ _tag }) => _tag === "stored")
        const meanwhile = yield* read
        assertRight(meanwhile, [
          ...before,
          ...acknowledged,
          ...notesOf(otherWitness).filter(({ _tag }) => _tag === "try")
        ])
        assert.strictEqual(meanwhile.some(({ data }) => pending.includes(data.batch)), isWritten(point))

        writer.signal("SIGCONT")
        yield* until("it writes again", () => notesOf(witness).length > before.length + 40)
        yield* Effect.forEach([writer, other], (process) => process.tell("finish", { atOnce: true }), all)
        const notes = [...notesOf(witness), ...notesOf(otherWitness)]
        // No answer was left out, and nobody failed but for conditions.
        assert.deepStrictEqual(openTries(notes), [])
        const errors = notes.flatMap((line) => line._tag === "refused" ? [line.error] : [])
        assert.deepStrictEqual(errors.filter((error) => error !== "AppendConditionFailed"), [])
        const history = yield* read
        assertRight(history, notes)
        assert.deepStrictEqual(history.slice(0, meanwhile.length), meanwhile)
        // What was under way and without a condition is there, written by itself or again.
        const present = new Set(history.map(({ data }) => data.batch))
        const free = before.flatMap((line) =>
          line._tag === "try" && line.batch.guard === undefined && pending.includes(line.batch.batch)
            ? [line.batch.batch]
            : []
        )
        assert.deepStrictEqual(free.filter((batch) => !present.has(batch)), [])
        for (const process of [writer, other]) assert.deepStrictEqual(yield* historyOf(process), history)
        yield* Effect.forEach([writer, other], (process) => process.end, all)
      }), 60_000)
  }

  for (const point of ["write", "torn", "look"] as const) {
    it.live(
      `at the moment "${point}": its condition is checked again if it has to write again`,
      () =>
        Effect.gen(function*() {
          const root = yield* temporaryFolder
          const [writer, other] = yield* spawnAll("writer", "other")
          const options = { root, store: "shop", eventFiles: false }
          const witness = join(root, "writer.witness")
          yield* writer.tell("open", { options, calls: "adaptive" })
          yield* other.tell("open", { options })
          const first = yield* writer.append({ batch: { batch: "first", tags: ["seat:1"] }, witness })
          assert(first._tag === "stored")
          const guard = { items: [{ tags: ["seat:1"] }], after: first.positions[0]! }
          yield* writer.tell("arm", { point, action: "SIGSTOP" })
          const mine = writer.ask("append", { batch: { batch: "mine", tags: ["seat:1"], guard } })
          yield* until("it stopped", () => faultOf(notesOf(witness)) !== undefined)
          const theirs = yield* other.append({
            batch: { batch: "theirs", tags: ["seat:1"], guard },
            witness: join(root, "other.witness")
          })
          writer.signal("SIGCONT")
          const outcome = (yield* Effect.promise(() => mine)).note
          const notes = [...notesOf(witness), ...notesOf(join(root, "other.witness"))]
          // exactly one of them has the seat
          const [loser, winner] = isWritten(point) ? [theirs, outcome] : [outcome, theirs]
          assert(loser?._tag === "refused" && loser.error === "AppendConditionFailed")
          assert(winner?._tag === "stored")
          for (const process of [writer, other]) assertRight(yield* historyOf(process), notes)
          yield* Effect.forEach([writer, other], (process) => process.end, all)
        }),
      60_000
    )
  }
})

describe("what a process leaves behind", () => {
  it.live("nothing in the lock's queue after it ended", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const [a, b] = yield* spawnAll("a", "b")
      yield* startWriter(a, root)
      yield* b.tell("open", { options: { root, store: "shop", eventFiles: false } })
      void b.ask("append", { batch: { batch: "waits" }, witness: join(root, "b.witness") })
      yield* b.murder
      yield* a.tell("finish", { atOnce: true })
      yield* a.end
      assert.isFalse(existsSync(join(root, "shop/writer.lock")))
      assert.isFalse(existsSync(join(root, "shop/writer.json")))
      const [c] = yield* spawnAll("c")
      yield* c.tell("open", { options: { root, store: "shop", eventFiles: false } })
      yield* c.append({ batch: { batch: "last" }, witness: join(root, "c.witness") })
      yield* c.end
      const queue = join(root, "shop/writer.queue")
      assert.deepStrictEqual(existsSync(queue) ? readdirSync(queue) : [], [])
    }), 60_000)
})
