/** Several processes write to one store and read it: what each was told is the history, and the history proves every decision. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { join } from "node:path"
import { temporaryFolder } from "../support/temporaryFolder.ts"
import { problemsOfFollowed, problemsOfHistory, problemsOfWitnesses } from "./oracle.ts"
import { figuresOf, notesOf, showFigures, spawnAll, until } from "./processes.ts"

const all = { concurrency: "unbounded" } as const

describe("processes that write to one store", () => {
  it.live(
    "four writers and a reader: none of their decisions is lost, doubled or overtaken, and nobody sees half a batch",
    (context) =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const names = ["a", "b", "c", "d"] as const
        const writers = yield* spawnAll(...names)
        const [reader] = yield* spawnAll("reader")
        const witnessOf = (name: string) => join(root, `${name}.witness`)
        // small segments, so that the processes take over from one another in full flight as well
        const options = { root, store: "shop", segmentSize: 256 * 1024 }
        yield* Effect.forEach([...writers, reader], (process) => process.tell("open", { options }), all)
        yield* reader.tell("follow", {})
        yield* Effect.forEach(writers, (process) =>
          process.tell("work", {
            work: {
              witness: witnessOf(process.name),
              writer: process.name,
              jobs: ["free", "guarded", "guarded", "claim", "number"],
              times: 60,
              ids: process.name === "a"
            }
          }), all)
        yield* Effect.forEach(writers, (process) => process.tell("finish", { atOnce: false }), all)

        const { events: history = [] } = yield* writers[0].tell("history", {})
        const notes = names.map((name) => notesOf(witnessOf(name)))
        assert.deepStrictEqual(problemsOfHistory(history), [])
        assert.deepStrictEqual(problemsOfWitnesses(history, notes.flat()), [])
        // They did get in each other's way, and nothing else went wrong.
        const refusals = notes.flat().filter((line) => line._tag === "refused")
        assert.deepStrictEqual([...new Set(refusals.map(({ error }) => error))], ["AppendConditionFailed"])
        // one of four gets each name
        assert.strictEqual(new Set(history.flatMap(({ tags, type }) => type === "Claimed" ? tags : [])).size, 60)
        for (const of of notes) assert.isAtLeast(of.filter(({ _tag }) => _tag === "stored").length, 4 * 60)

        const { followed } = yield* reader.tell("followed", { until: history.at(-1)?.position ?? 0 })
        assert.deepStrictEqual(problemsOfFollowed(history, followed!), [])
        assert.strictEqual(followed!.subscribed.length, history.length)
        for (const process of [...writers.slice(1), reader]) {
          assert.deepStrictEqual((yield* process.tell("history", {})).events, history)
        }
        yield* Effect.forEach([...writers, reader], (process) => process.end, all)
        yield* Effect.promise(async () => {
          await context.annotate(
            `${history.length} events, ${refusals.length} refusals, ${followed!.reads.length} reads by the reader`
          )
        })
      }),
    60_000
  )

  it.live("with n busy writers nobody waits longer than n x 150 ms, or not much", (context) =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const names = ["a", "b", "c", "d"] as const
      const writers = yield* spawnAll(...names)
      yield* Effect.forEach(writers, (process) =>
        process.tell("open", { options: { root, store: "shop", eventFiles: false } }), all)
      yield* Effect.forEach(
        writers,
        (process) =>
          process.tell("work", { work: { witness: join(root, process.name), writer: process.name, jobs: ["free"] } }),
        all
      )
      // each has had many turns
      yield* until("all wrote", async () => {
        const progress = await Promise.all(writers.map((process) =>
          process.ask("progress", {})
        ))
        return progress.every(({ stored }) => (stored ?? 0) >= 600)
      })
      yield* Effect.forEach(writers, (process) => process.tell("finish", { atOnce: true }), all)
      const waits = names.flatMap((name) =>
        notesOf(join(root, name)).flatMap((line) => line._tag === "stored" ? [line.millis] : [])
      )
      const figures = figuresOf(waits)
      const turns = figuresOf(waits.filter((millis) => millis > 20))
      yield* Effect.promise(async () => {
        await context.annotate(
          `${showFigures("an append", figures)}; ${showFigures("one that waited for others", turns)}`
        )
      })
      // A generous multiple: what breaks it is that somebody starves, which then takes the seconds of a time-out.
      assert.isBelow(figures.max, 5 * names.length * 150)
      assert.deepStrictEqual(
        names.flatMap((name) => notesOf(join(root, name)).filter(({ _tag }) => _tag === "refused")),
        []
      )
      const { events: history = [] } = yield* writers[0].tell("history", {})
      assert.deepStrictEqual(problemsOfHistory(history), [])
      yield* Effect.forEach(writers, (process) => process.end, all)
    }), 60_000)

  it.live("what one process was acknowledged, another one reads, and decides by", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const processes = yield* spawnAll("a", "b", "c")
      yield* Effect.forEach(processes, (process) =>
        process.tell("open", { options: { root, store: "shop", eventFiles: false } }), all)
      for (let round = 0; round < 30; round++) {
        const writer = processes[round % 3]!
        const note = yield* writer.append({ batch: { batch: `b${round}`, tags: ["n:1"], size: 2 } })
        assert(note._tag === "stored")
        const position = note.positions[1]!
        for (const other of processes) {
          assert.strictEqual((yield* other.tell("history", {})).events?.at(-1)?.position, position)
        }
        const guard = { items: [{ tags: ["n:1"] }], after: position - 1 }
        const refused = yield* processes[(round + 1) % 3]!.append({ batch: { batch: `r${round}`, guard } })
        assert(refused._tag === "refused" && refused.error === "AppendConditionFailed")
      }
      yield* Effect.forEach(processes, (process) =>
        process.end, all)
    }), 60_000)
})
