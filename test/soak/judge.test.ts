/** The judge of stores must notice what it looks for: a right store, and one thing wrong at a time. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { append, decideAccount, decideNumber, openWitness } from "../fixtures/appends.ts"
import { breakableLayer, type Options } from "../fixtures/faults.ts"
import type { SoakNote } from "../fixtures/soakProcess.ts"
import { withAdditions } from "../processes/oracle.ts"
import { notesOf } from "../processes/processes.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"
import {
  asSeen,
  judge,
  judgeHistory,
  leftOvers,
  problemsOfAnswers,
  problemsOfEventFiles,
  problemsOfStateFiles,
  problemsOfStates,
  type Witnesses
} from "./judge.ts"
import { type LedgerEvent, readLedgerFiles } from "./ledgerFiles.ts"
import { contradictionOf, expectedRows, Tally } from "./model.ts"

/** A store with a short history, and what was noted about it. */
const makeStore = Effect.gen(function*() {
  const root = yield* temporaryFolder
  const options: Options = {
    root,
    store: "shop",
    eventFiles: true,
    stateFiles: true,
    segmentSize: 65_536,
    runBytes: 4096
  }
  const witness = join(root, "witness")
  openWitness(witness)
  yield* Effect.gen(function*() {
    for (let i = 0; i < 30; i++) {
      const batch = { batch: `w0_1.${i}`, size: 1 + i % 3 }
      if (i % 3 === 0) yield* append({ ...batch, type: "Noted", tags: [`lot:${i % 4}`, "by:w0"] })
      else if (i % 3 === 1) yield* append({ ...batch, ...(yield* decideAccount("account:1")) })
      else yield* append({ ...batch, ...(yield* decideNumber) })
    }
  }).pipe(Effect.provide(Layer.fresh(breakableLayer(options, "adaptive"))))
  const folder = join(root, "shop")
  const ledger = readLedgerFiles(join(folder, "ledger"))
  const writer: Witnesses = { slot: "w0", role: "writer", type: undefined, notes: notesOf(witness) }
  return { root, folder, options, ledger, writer }
})

const judged = (options: Options, ...witnesses: ReadonlyArray<Witnesses>) =>
  judge({ options, seed: 1, witnesses, at: () => {} })

const withStore = <A, E>(options: Options, effect: Effect.Effect<A, E, Layer.Success<ReturnType<typeof layerOf>>>) =>
  Effect.provide(effect, Layer.fresh(layerOf(options)))
const layerOf = (options: Options) => Tally.layer.pipe(Layer.provideMerge(breakableLayer(options, "adaptive")))

/** The history, told wrongly in one place. */
const doctor = (history: ReadonlyArray<LedgerEvent>, at: number, change: Partial<LedgerEvent>) =>
  history.map((event, i) => i === at ? { ...event, ...change } : event)

const follower = (events: ReadonlyArray<LedgerEvent>, notes: ReadonlyArray<SoakNote> = []): Witnesses => ({
  slot: "f1",
  role: "follower",
  type: undefined,
  notes: [
    ...notes,
    ...events.map((event): SoakNote => ({ _tag: "saw", event: asSeen(event) })),
    { _tag: "read", head: events.at(-1)?.position ?? 0, events: events.map(asSeen) }
  ]
})

describe("the judge of a soak", () => {
  it.live("has nothing against a right store", () =>
    Effect.gen(function*() {
      const { ledger, options, writer } = yield* makeStore
      assert.isAbove(ledger.head, 40)
      assert.deepStrictEqual(yield* judged(options, writer, follower(ledger.events)), [])
      // a subscription that began anew, in between
      const anew = follower(ledger.events, [
        { _tag: "saw", event: asSeen(ledger.events[0]!) },
        { _tag: "anew" }
      ])
      assert.deepStrictEqual(judgeHistory(ledger, [writer, anew], true), [])
    }))

  it.live("notices what the notes and the history do not share", () =>
    Effect.gen(function*() {
      const { ledger, writer } = yield* makeStore
      const problems = (...witnesses: ReadonlyArray<Witnesses>) => judgeHistory(ledger, witnesses, true).join("\n")
      assert.include(problems({ ...writer, notes: writer.notes.slice(1) }), "witnesses: nobody tried w0_1.0")
      assert.include(problems(writer, { ...writer, notes: [{ _tag: "problem", problem: "odd" }] }), "seen: odd")
      const { events } = ledger
      assert.include(problems(writer, follower(events.slice(0, -1))), "f1: the subscription ends at")
      assert.include(problems(writer, follower(events.slice(0, -1))), "f1: reads end at")
      assert.include(problems(writer, follower(events.toSpliced(3, 1))), "f1: the subscription parts from the history")
      assert.include(problems(writer, follower(events.toSpliced(3, 0, events[2]!))), "f1: the subscription parts from")
      assert.include(judgeHistory({ ...ledger, problems: ["odd"] }, [writer], false).join("\n"), "ledger: odd")
      const many = judgeHistory({ ...ledger, problems: Array.from({ length: 9 }, () => "odd") }, [writer], false)
      assert.strictEqual(many.at(-1), "ledger: 4 more")
    }))

  it.live("notices answers, states and files that are not those of the history", () =>
    Effect.gen(function*() {
      const { folder, ledger, options, root } = yield* makeStore
      const { additions, events, head } = ledger
      const history = withAdditions(events, additions)
      yield* withStore(
        options,
        Effect.gen(function*() {
          const answers = (history: ReadonlyArray<LedgerEvent>, at = head) =>
            Effect.map(problemsOfAnswers(history, at, 1), (problems) => problems.join("\n"))
          assert.strictEqual(yield* answers(history), "")
          assert.include(yield* answers(history, head + 1), "the head is")
          assert.include(yield* answers(history.slice(1)), "it has")
          assert.include(yield* answers(doctor(history, 4, { id: "x" })), "it has another event at 5 than its ledger")
          const retagged = yield* answers(doctor(history, 4, { tags: ["lot:9"] }))
          assert.include(retagged, `[{"tags":["lot:9"]}] finds 0 events instead of 1`)
          assert.include(retagged, "has undefined last instead of 5")
          assert.match(yield* answers(history.filter((_, i) => i % 2 === 0)), /from \d+ down to \d+ finds/)

          const states = (events: ReadonlyArray<LedgerEvent>) =>
            Effect.map(problemsOfStates(events, head), (problems) => problems.join("\n"))
          assert.strictEqual(yield* states(events), "")
          assert.include(yield* states(events.filter(({ type }) => type !== "Booked")), "instead of")
          assert.include(yield* states(doctor(events, 0, { type: "Other" })), "instead of")
          const other = doctor(events, 0, { data: { ...events[0]!.data, batch: "other.1" } })
          assert.include(yield* states(other), "states instead of")
          assert.include(yield* states(other), "any:yes finds")
          const stateFiles = join(folder, "projections/tally/1/states")
          assert.deepStrictEqual(yield* problemsOfStateFiles(stateFiles, events), [])
          assert.deepStrictEqual(yield* problemsOfStateFiles(stateFiles, events.slice(1), 1), [
            "they never are what the states are"
          ])
        })
      )
      const files = join(folder, "events")
      const eventFiles = () => problemsOfEventFiles(files, events, history).join("\n")
      assert.strictEqual(eventFiles(), "")
      const one = join(files, "0000000/0000000001.json")
      writeFileSync(one, JSON.stringify({ position: 1 }))
      assert.include(eventFiles(), "0000000001.json is not what the ledger holds")
      rmSync(one)
      assert.include(eventFiles(), "1 has none")
      writeFileSync(join(files, "0000000/0000000999.json"), "{}")
      assert.include(eventFiles(), "0000000999.json is of no event")
      writeFileSync(join(files, "0000000/0000000002.tags.json"), `{"tags":["a"]}`)
      assert.include(eventFiles(), "0000000002.tags.json is not what the ledger holds")

      assert.deepStrictEqual(leftOvers(root, "shop"), [])
      for (const name of ["shop/writer.queue", "shop/events/mirror.lock", ".shop.new-1-a"]) {
        mkdirSync(join(root, name), { recursive: true })
      }
      writeFileSync(join(root, "shop/writer.queue/somebody"), "")
      assert.deepStrictEqual([...leftOvers(root, "shop")].sort(), [
        ".shop.new-1-a lies about",
        "events/mirror.lock is held",
        "writer.queue/somebody waits for a lock"
      ])
    }))

  it("notices states of different moments", () => {
    const history = Array.from({ length: 30 }, (_, i): LedgerEvent => ({
      position: i + 1,
      id: `e${i}`,
      type: "Noted",
      tags: [],
      version: 1,
      metadata: { id: `e${i}`, timestamp: "2030-01-31T12:00:00.000Z" },
      data: { batch: `w${i % 2}.1`, index: 0, size: 1 }
    }))
    const rows = expectedRows(history)
    assert.deepStrictEqual(rows.map(({ key, state }) => [key, state.count]), [["all", 30], ["w0", 15], ["w1", 15]])
    assert.isUndefined(contradictionOf(rows))
    const earlier = expectedRows(history.slice(0, -1))
    assert.isDefined(contradictionOf(rows.map((row, i) => i === 0 ? row : earlier[i]!)))
    assert.isDefined(contradictionOf(rows.slice(0, 2)))
  })
})
