/**
 * Random histories of a store and of its snapshots' files: tags added later, processes that come and go, stores that are deleted and
 * made anew or set back to a copy, files that are damaged, exchanged, or put back from long ago, versions counted up. Whatever happens,
 * a decision sees with snapshots what it sees without.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import { dirname, join } from "node:path"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import type * as Tag from "../../src/Tag.ts"
import { all, seat, take } from "../support/stores.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

// models

const seats = ["a", "b"] as const

/** The positions of a seat's events, as far as a version counts them; of all seats without one. */
const positions = (name: string | undefined, version: number, isKept: boolean) =>
  DecisionModel.make({
    query: name === undefined ? all : seat(name),
    initial: [] as ReadonlyArray<string>,
    apply: { Taken: (seen, { by }, { position }) => [...seen, `${version}: ${by} at ${position}`] },
    snapshot: isKept
      ? { name: name === undefined ? "All" : "Seats", version, state: Schema.Array(Schema.String), every: 2 }
      : undefined
  })

const tag = (at: number, tag: Tag.Input) =>
  Maintenance.addTags(all, ({ position }) => position % 13 === at ? [tag] : [])

// programs

const small = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))
const which = small(1)
const Step = Schema.Union([
  Schema.Struct({ _tag: Schema.Literal("take"), process: which, seat: which, events: small(3) }),
  Schema.Struct({ _tag: Schema.Literal("decide"), process: which, seat: small(2) }),
  Schema.Struct({ _tag: Schema.Literal("decide"), process: which, seat: small(2) }),
  Schema.Struct({ _tag: Schema.Literal("tag"), process: which, position: small(12), seat: which }),
  Schema.Struct({ _tag: Schema.Literal("reopen"), process: which }),
  Schema.Struct({ _tag: Schema.Literals(["count", "delete", "copy", "setBack"]) }),
  Schema.Struct({
    _tag: Schema.Literal("spoil"),
    how: Schema.Literals(["flip", "cut", "empty", "exchange", "putBack", "putBack"]),
    file: small(9),
    other: small(99)
  })
])
type Step = typeof Step.Type
const Program = Schema.Array(Step).check(Schema.isMinLength(20), Schema.isMaxLength(50))

interface Process {
  readonly context: Context.Context<Opossum.Services>
  readonly scope: Scope.Closeable
}

const run = (program: ReadonlyArray<Step>) =>
  Effect.gen(function*() {
    const root = yield* temporaryFolder
    const folder = join(root, "shop")
    const snapshots = join(folder, "snapshots")
    const processes: Array<Process | undefined> = [undefined, undefined]
    let version = 1
    let names = 0
    const used = { snapshots: 0, refused: 0 }
    /** All files of snapshots that there ever were, by their text. */
    const everSeen = new Map<string, string>()

    const processOf = Effect.fnUntraced(function*(n: number) {
      const known = processes[n]
      if (known !== undefined) return known
      const scope = yield* Scope.make()
      const layer = Opossum.layer({ root, store: "shop", durability: "os", eventFiles: false })
      const context = yield* Scope.provide(Layer.build(Layer.fresh(layer)), scope)
      return processes[n] = { context, scope }
    })
    const on = <A, E>(n: number, effect: Effect.Effect<A, E, Opossum.Services>) =>
      Effect.flatMap(processOf(n), ({ context }) => Effect.provide(effect, context))
    const close = (n: number) =>
      Effect.suspend(() => {
        const known = processes[n]
        processes[n] = undefined
        return known === undefined ? Effect.void : Scope.close(known.scope, Exit.void)
      })
    const closeAll = Effect.andThen(close(0), close(1))
    yield* Effect.addFinalizer(() => Effect.ignore(closeAll))

    const files = (): ReadonlyArray<string> =>
      Fs.existsSync(snapshots)
        ? (Fs.readdirSync(snapshots, { recursive: true }) as ReadonlyArray<string>)
          .filter((name) => name.endsWith(".json"))
          .map((name) => join(snapshots, name))
          .sort()
        : []
    const look = () => {
      for (const file of files()) everSeen.set(Fs.readFileSync(file, "utf8"), file)
    }
    const put = (file: string, bytes: string | Uint8Array) => {
      Fs.mkdirSync(dirname(file), { recursive: true })
      Fs.writeFileSync(file, bytes)
    }

    const decide = (name: string | undefined) =>
      Effect.gen(function*() {
        const model = positions(name, version, true)
        const there = files().length
        const { load } = yield* Decision.Snapshots
        const loaded = yield* load({
          name: name === undefined ? "All" : "Seats",
          version,
          query: model.query
        })
        if (loaded !== undefined) used.snapshots++
        else if (there > 0) used.refused++
        const kept = yield* Decision.build(model)
        const plain = yield* Decision.build(positions(name, version, false))
        assert.deepStrictEqual([kept.state, kept.head], [plain.state, plain.head])
        // Alone, and with others beside it.
        const both = yield* Decision.execute(
          { kept: model, newest: DecisionModel.last(all), other: positions("a", version, true) },
          ({ kept, other }) => take("b", `${names++} after ${kept.length} and ${other.length}`)
        )
        const others = yield* Decision.build(positions("a", version, false))
        assert.match(both.result.by, new RegExp(` after ${plain.state.length} and ${others.state.length}$`))
      })

    const step = Effect.fnUntraced(function*(step: Step) {
      switch (step._tag) {
        case "take": {
          const taken = Array.from({ length: step.events + 1 }, () => take(seats[step.seat]!, `${names++}`))
          return yield* on(step.process, EventStore.append(taken))
        }
        case "decide":
          return yield* on(step.process, decide(seats[step.seat]))
        case "tag":
          return yield* on(step.process, tag(step.position, `seat:${seats[step.seat]!}`))
        case "reopen":
          return yield* close(step.process)
        case "count":
          version++
          return
        case "delete":
          yield* on(0, Admin.deleteStore)
          return yield* closeAll
        case "copy":
          yield* closeAll
          Fs.rmSync(join(root, "copy"), { recursive: true, force: true })
          if (!Fs.existsSync(folder)) return
          Fs.cpSync(folder, join(root, "copy"), { recursive: true })
          Fs.rmSync(join(root, "copy", "snapshots"), { recursive: true, force: true })
          return
        case "setBack": {
          // What came after is lost, and snapshots of it are still there.
          yield* closeAll
          if (!Fs.existsSync(join(root, "copy"))) return
          if (Fs.existsSync(snapshots)) Fs.renameSync(snapshots, join(root, "away"))
          Fs.rmSync(folder, { recursive: true, force: true })
          Fs.cpSync(join(root, "copy"), folder, { recursive: true })
          if (Fs.existsSync(join(root, "away"))) Fs.renameSync(join(root, "away"), snapshots)
          return
        }
        case "spoil": {
          if (!Fs.existsSync(folder)) return
          const all = files()
          const file = all[step.file % all.length]
          if (step.how === "putBack") {
            const old = [...everSeen][(step.file * 100 + step.other) % everSeen.size]
            if (old !== undefined) put(old[1], old[0])
            return
          }
          if (file === undefined) return
          const bytes = Fs.readFileSync(file)
          if (step.how === "empty") return put(file, "")
          if (step.how === "cut") return put(file, bytes.subarray(0, Math.floor(bytes.length * step.other / 100)))
          if (step.how === "exchange") return put(file, Fs.readFileSync(all[step.other % all.length]!))
          // In what is told most likely: the state's numbers.
          const at = bytes.length - 20 - step.other % 60
          if (at >= 0 && bytes[at]! >= 0x30 && bytes[at]! <= 0x38) bytes[at]! += 1
          return put(file, bytes)
        }
      }
    })

    for (const next of program) {
      yield* step(next)
      look()
    }
    // at last, by processes that know nothing
    yield* closeAll
    for (const name of [...seats, undefined]) yield* on(0, decide(name))
    return used
  }).pipe(Effect.scoped)

describe("decisions with snapshots", () => {
  it.live.prop("decide as without them", [Program], ([program]) => run(program), {
    arbitrary: { runs: 40 },
    timeout: 120_000
  })

  const decideAll = (process: number) => [0, 1, 2].map((seat): Step => ({ _tag: "decide", process, seat }))
  const more = (process: number) => [0, 1].map((seat): Step => ({ _tag: "take", process, seat, events: 3 }))
  const anew = [0, 1].map((process): Step => ({ _tag: "reopen", process }))

  it.live("and that is put to the test: snapshots are used, and refused", () =>
    Effect.gen(function*() {
      const used = yield* run([...more(0), ...decideAll(0), ...decideAll(1), ...anew, ...decideAll(1)])
      assert.isAbove(used.snapshots, 5)
    }))

  it.live("when older events were tagged after a snapshot was made", () =>
    Effect.gen(function*() {
      const { snapshots } = yield* run([
        ...more(0),
        ...decideAll(0),
        { _tag: "tag", process: 1, position: 5, seat: 0 },
        ...decideAll(1),
        ...decideAll(0)
      ])
      assert.isAbove(snapshots, 5)
    }))

  it.live("when the store was set back and went on otherwise", () =>
    Effect.gen(function*() {
      const { refused } = yield* run([
        ...more(0),
        { _tag: "copy" },
        ...more(0),
        ...decideAll(0),
        { _tag: "setBack" },
        ...more(1),
        ...more(1),
        ...more(1),
        ...decideAll(1)
      ])
      assert.isAbove(refused, 1)
    }))

  it.live("when the store was made anew and the files of the old one were put back", () =>
    Effect.gen(function*() {
      const putBack = [0, 1, 2, 3, 4, 5].map((other): Step => ({ _tag: "spoil", how: "putBack", file: 0, other }))
      const { refused } = yield* run([
        ...more(0),
        ...decideAll(0),
        { _tag: "delete" },
        ...more(0),
        ...more(0),
        ...more(0),
        ...anew,
        ...putBack,
        ...decideAll(1)
      ])
      assert.isAbove(refused, 1)
    }))
})

describe("what Opossum provides", () => {
  const model = positions("a", 1, true)
  const files = (root: string) =>
    Fs.existsSync(join(root, "shop", "snapshots"))
      ? (Fs.readdirSync(join(root, "shop", "snapshots"), { recursive: true }) as ReadonlyArray<string>)
        .filter((name) => name.endsWith(".json"))
      : []
  const program = Effect.andThen(
    EventStore.append([take("a", "1"), take("a", "2")]),
    Decision.execute(model, () => take("a", "3"))
  )

  it.live("reaches a program, and is saved before the store is closed", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.provide(program, Opossum.layer({ root, store: "shop" }))
      assert.strictEqual(files(root).length, 1)
    }).pipe(Effect.scoped))

  class Seats extends Context.Service<Seats, { readonly take: Effect.Effect<unknown> }>()("test/Seats") {}

  it.live("reaches a service that was built over it, whoever calls it", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const layer = Layer.effect(
        Seats,
        Effect.map(Effect.context<EventStore.EventStore>(), (context) => ({
          take: Effect.orDie(Effect.provide(program, context))
        }))
      ).pipe(Layer.provide(Opossum.layer({ root, store: "shop" })))
      yield* Effect.provide(Effect.flatMap(Seats, ({ take }) => take), layer)
      assert.strictEqual(files(root).length, 1)
    }).pipe(Effect.scoped))

  it.live("does not write where only reading is allowed", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* Effect.provide(EventStore.append([take("a", "1"), take("a", "2")]), Opossum.layer({ root, store: "shop" }))
      const { state } = yield* Effect.provide(
        Decision.build(model),
        Opossum.layer({ root, store: "shop", readOnly: true })
      )
      assert.strictEqual(state.length, 2)
      assert.deepStrictEqual(files(root), [])
    }).pipe(Effect.scoped))

  it.effect("is there in memory as well", () =>
    Effect.gen(function*() {
      yield* program
      yield* Effect.yieldNow
      const { load } = yield* Decision.Snapshots
      const found = yield* load({ name: "Seats", version: 1, query: model.query })
      assert.strictEqual(found?.position as number | undefined, 2)
    }).pipe(Effect.provide(Opossum.layerMemory)))
})
