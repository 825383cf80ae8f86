/**
 * Projections in processes that are killed, at any moment, while another one appends and a third one reads: each event is counted once,
 * and readers see whole states only, which never go back.
 *
 * `OPOSSUM_SEED` chooses the moments. `npm run soak` does the like for as long as you want.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { cpSync, rmSync } from "node:fs"
import { join } from "node:path"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as EventStoreAdmin from "../../src/services/EventStoreAdmin.ts"
import * as Projection from "../../src/services/Projection.ts"
import type { Answer } from "../fixtures/projectionProcess.ts"
import { type Process, spawn } from "../harness/projectionsProcesses.ts"
import * as Tally from "../harness/projectionsTally.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

const seed = Number(process.env["OPOSSUM_SEED"] ?? Date.now() % 1_000_000)
/** Of what hangs. Each kill starts a process, so it takes as long as the machine needs for that. */
const timeout = 300_000
const killsPerRound = 12
const killsOfTwo = 8

const store = "shop"
const Model = Tally.make()

const randomFrom = (seed: number) => {
  let state = seed | 0
  return (n: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return (state >> 12) % n
  }
}

/** The moments of a kill are at random: nothing is waited for by this. */
const moment = (millis: number) => Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, millis)))

/** The history as this process sees it. */
const open = (root: string) =>
  Effect.map(Layer.build(Layer.fresh(Opossum.layer({ root, store, readOnly: true }))), (context) => ({
    events: Effect.provide(Stream.runCollect(EventStore.stream(Tally.counted)), context),
    fold: Effect.provide(Projection.fold(Model), context)
  }))
type History = Effect.Success<ReturnType<typeof open>>

/** What a process read must be what the history gives at the position of the last event that it counted. */
const assertExact = (events: ReadonlyArray<Tally.Sequenced>, { rows = [] }: Answer, what: string) => {
  const position = rows.find(({ key }) => key === Tally.all)?.position ?? 0
  const expected = Tally.expectedAt(events, position).map((
    { created, key, position, state, updated, version }
  ) => ({ key, state, position, created, updated, version }))
  assert.deepStrictEqual(rows, expected as unknown as typeof rows, what)
  return position
}

/** The same, and that nothing is missing; when nothing is appended meanwhile. */
const assertAll = Effect.fnUntraced(function*(history: History, process: Process, head: number, what: string) {
  const events = yield* history.events
  const found = yield* process.tell({ _tag: "look", position: head })
  assert.strictEqual(assertExact(events, found, what), events.at(-1)?.position ?? 0, what)
  const expected = Tally.expectedAt(events, Infinity)
  assert.strictEqual(found.size, expected.length)
  Tally.tags.forEach((tag, i) => {
    const keys = expected.filter(({ tags }) => tags.includes(tag)).map(({ key }) => key)
    assert.deepStrictEqual(found.tagged?.[i], keys, `${what}: ${tag}`)
  })
  const fold = yield* history.fold
  const states = Object.fromEntries((found.rows ?? []).map(({ key, state }) => [key, state]))
  assert.deepStrictEqual(states, Object.fromEntries(fold), what)
})

const assertReader = Effect.fnUntraced(function*(reader: Process) {
  const { looks = 0, problems, promises = 0 } = yield* reader.tell({ _tag: "watched" })
  assert.deepStrictEqual(problems, [])
  assert.isAbove(looks, 20)
  assert.isAbove(promises, 5)
  return looks
})

/** One that appends, and one that reads; the store is there before. */
const others = Effect.fnUntraced(function*(root: string, random: (n: number) => number) {
  const writer = yield* spawn("writer")
  const reader = yield* spawn("reader")
  yield* EventStore.append(Array.from({ length: 200 }, (_, i) => Tally.put(`k${i % 12}`, i % 7))).pipe(
    Effect.provide(Layer.fresh(Opossum.layer({ root, store, eventFiles: false })))
  )
  // a version of its own: it appends, and does not do the others' work
  yield* writer.tell({ _tag: "open", root, store, version: 1000 })
  yield* writer.tell({ _tag: "work", seed: random(1_000_000) })
  yield* reader.tell({ _tag: "open", root, store, readOnly: true })
  yield* reader.tell({ _tag: "watch" })
  return { history: yield* open(root), writer, reader }
})

describe("projections in processes that are killed", () => {
  it.live("live, in a rebuild, and in the first build: exact after each restart", () =>
    Effect.gen(function*() {
      const began = performance.now()
      const root = yield* temporaryFolder
      const random = randomFrom(seed)
      console.log(`seed ${seed}`)
      const { history, reader, writer } = yield* others(root, random)
      let kills = 0
      let compared = 0
      let version = 1
      for (let round = 0; round < 3; round++) {
        const kind = (["live", "rebuild", "first build"] as const)[round % 3]!
        if (kind === "first build") version++
        const options = {
          root,
          store,
          version: kind === "first build" ? version : 1,
          slow: kind === "live" ? 0 : 50
        }
        let next = yield* spawn("runner")
        for (let i = 0; i < killsPerRound; i++) {
          const runner = next
          next = yield* spawn("runner")
          const opening = runner.ask({ _tag: "open", ...options })
          // some are killed before they have opened anything
          if (i % 4 !== 3) {
            const { error } = yield* Effect.promise(() => opening)
            assert.isUndefined(error)
            if (kind !== "first build") {
              const found = yield* runner.tell({ _tag: "look" })
              assertExact(yield* history.events, found, `seed ${seed}, kill ${kills}`)
              compared++
            }
            if (kind === "rebuild") void runner.ask({ _tag: "rebuild" })
          }
          yield* moment(random(kind === "live" ? 80 : 200))
          yield* runner.murder
          kills++
        }
        yield* next.tell({ _tag: "open", ...options })
        const { head = 0 } = yield* writer.tell({ _tag: "rest" })
        yield* assertAll(history, next, head, `seed ${seed}, after ${kind}`)
        const { progress = 0 } = yield* next.tell({ _tag: "rebuild" })
        assert.isAbove(progress, 0)
        yield* assertAll(history, next, head, `seed ${seed}, rebuilt after ${kind}`)
        yield* next.tell({ _tag: "close" })
        yield* writer.tell({ _tag: "work", seed: random(1_000_000) })
      }
      const looks = yield* assertReader(reader)
      const { head } = yield* writer.tell({ _tag: "rest" })
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      console.log(
        `${kills} kills, ${compared} restarts compared, ${head} positions, ${looks} looks of a reader, ${seconds} s`
      )
    }), timeout)

  it.live("two that may run it: one is killed, the other takes over", () =>
    Effect.gen(function*() {
      const began = performance.now()
      const root = yield* temporaryFolder
      const random = randomFrom(seed + 1)
      console.log(`seed ${seed}`)
      const { history, reader, writer } = yield* others(root, random)
      const start = Effect.gen(function*() {
        const runner = yield* spawn("runner")
        yield* runner.tell({ _tag: "open", root, store })
        return runner
      })
      const runners = [yield* start, yield* start]
      let kills = 0
      let took = 0
      while (kills < killsOfTwo) {
        const which = random(2)
        const victim = runners[which]!
        const other = runners[1 - which]!
        const { state } = yield* victim.tell({ _tag: "status" })
        if (state !== "elsewhere") took++
        if (random(3) === 0) void victim.ask({ _tag: "rebuild" })
        if (random(3) === 0) void other.ask({ _tag: "rebuild" })
        const replacement = yield* Effect.forkChild(start, { startImmediately: true })
        yield* moment(random(80))
        yield* victim.murder
        kills++
        // what there is now is counted by the one that is left
        const events = yield* history.events
        const found = yield* other.tell({ _tag: "look", position: events.at(-1)!.position })
        const position = assertExact(yield* history.events, found, `seed ${seed}, kill ${kills}`)
        assert.isAtLeast(position, events.at(-1)!.position)
        runners[which] = yield* Fiber.join(replacement)
      }
      const { head = 0 } = yield* writer.tell({ _tag: "rest" })
      for (const runner of runners) yield* assertAll(history, runner, head, `seed ${seed}`)
      const looks = yield* assertReader(reader)
      assert.isAbove(took, 0)
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      console.log(`${kills} kills (${took} of who ran it), ${head} positions, ${looks} looks of a reader, ${seconds} s`)
    }), timeout)
})

describe("projections whose store is another one now", () => {
  const layerIn = (root: string) =>
    Model.layer.pipe(Layer.provideMerge(Opossum.layer({ root, store, eventFiles: false })))

  /** As a program of its own: opened, used and closed. */
  const program = <A, E>(root: string, effect: Effect.Effect<A, E, Opossum.Services | typeof Model.Identifier>) =>
    Effect.provide(effect, Layer.fresh(layerIn(root)))

  const states = Effect.gen(function*() {
    yield* Model.waitFor(yield* EventStore.head)
    const entries = yield* Stream.runCollect(Model.stream())
    return {
      states: Object.fromEntries(entries.map(({ key, state }) => [key, state])),
      fold: Object.fromEntries(yield* Projection.fold(Model))
    }
  })

  it.live(
    "deleted and filled anew: they begin with nothing, whoever has the old one open",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const old = yield* spawn("old")
        yield* program(root, EventStore.append([1, 2, 3, 4, 5].map((n) => Tally.put("a", n))))
        yield* old.tell({ _tag: "open", root, store })
        yield* old.tell({ _tag: "look", position: 5 })
        const rebuilding = old.ask({ _tag: "rebuild" })
        yield* program(root, EventStoreAdmin.deleteStore)
        for (let round = 0; round < 2; round++) {
          const found = yield* program(
            root,
            Effect.andThen(EventStore.append([Tally.put("b", 1), Tally.put("b", 2)]), states)
          )
          assert.deepStrictEqual(found.states, found.fold)
          assert.deepStrictEqual(Object.keys(found.states), ["all", "b"])
        }
        yield* Effect.promise(() => rebuilding)
        const { error } = yield* Effect.promise(() => old.ask({ _tag: "look", position: 9 }))
        assert.isDefined(error)
      }),
    timeout
  )

  it.live(
    "set back to a copy, but for its projections: they are built anew, and nothing of the lost history is read",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const put = (...numbers: ReadonlyArray<number>) => EventStore.append(numbers.map((n) => Tally.put("a", n)))
        yield* program(root, Effect.andThen(put(1, 2, 3), states))
        const copy = join(root, "copy")
        cpSync(join(root, store), copy, { recursive: true })
        yield* program(root, Effect.andThen(put(10, 20, 30, 40), states))
        const isOlder = (path: string) => !path.startsWith(join(copy, "projections"))
        for (const name of ["ledger", "indices"]) rmSync(join(root, store, name), { recursive: true, force: true })
        cpSync(copy, join(root, store), { recursive: true, filter: isOlder })

        // the history that was lost went to position 7, and this is asked for less
        const back = yield* program(root, states)
        assert.deepStrictEqual(back.states, back.fold)
        assert.strictEqual((back.states["a"] as Tally.State).sum, 6)
        // as far as the lost one, and beyond
        const onwards = yield* program(root, Effect.andThen(put(5, 5, 5, 5, 5), states))
        assert.deepStrictEqual(onwards.states, onwards.fold)

        // once more, and now it has grown again before anybody looks at the projections
        for (const name of ["ledger", "indices"]) rmSync(join(root, store, name), { recursive: true, force: true })
        cpSync(copy, join(root, store), { recursive: true, filter: isOlder })
        yield* put(7, 7, 7, 7, 7, 7, 7).pipe(
          Effect.provide(Layer.fresh(Opossum.layer({ root, store, eventFiles: false })))
        )
        const grown = yield* program(root, states)
        assert.deepStrictEqual(grown.states, grown.fold)
        assert.strictEqual((grown.states["a"] as Tally.State).sum, 55)
      }),
    timeout
  )
})
