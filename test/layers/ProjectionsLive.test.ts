import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Event from "../../src/Event.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Projection from "../../src/services/Projection.ts"
import * as Projections from "../services/Projection.contract.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

Projections.suite("ProjectionsLive in memory", { layer: Opossum.layerMemory })

Projections.suite("ProjectionsLive in files", {
  layer: Opossum.layerMemory,
  place: Effect.map(
    temporaryFolder,
    (root) => (options) => Opossum.layer({ root, store: "school", eventFiles: false, ...options })
  )
})

class Counted extends Event.Class<Counted>()("Counted", { n: Schema.Int }) {}
class Sum extends Projection.Service<Sum>()("sum", {
  events: [Counted],
  key: () => "all",
  state: Schema.Int,
  apply: { Counted: (sum = 0, { n }) => sum + n }
}) {}

describe("ProjectionsLive on damaged states", () => {
  const sumIn = (root: string, rebuild?: "never") =>
    Sum.layer.pipe(Layer.provideMerge(Opossum.layer({
      root,
      store: "school",
      eventFiles: false,
      ...(rebuild === undefined ? {} : { rebuild })
    })))
  const use = <A, E>(
    layer: Layer.Layer<Sum | Opossum.Services, unknown>,
    effect: Effect.Effect<A, E, Sum | Opossum.Services>
  ) => Effect.provide(effect, Layer.fresh(layer))
  /** A byte of each log is another one now. */
  const damage = (root: string) =>
    Effect.sync(() => {
      const folder = join(root, "school", "projections")
      for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
        if (!/ledger.\d+\.jsonl$/.test(name)) continue
        const path = join(folder, name)
        const bytes = readFileSync(path)
        const at = bytes.indexOf("\"checkpoint\"")
        if (at < 0) continue
        bytes[at + 3]! ^= 1
        writeFileSync(path, bytes)
      }
    })

  it.live("they are made anew from the events", () =>
    Effect.scoped(Effect.gen(function*() {
      const root = yield* temporaryFolder
      const count = EventStore.append([1, 2, 3].map((n) => new Counted({ n })))
      const read = Effect.gen(function*() {
        yield* Sum.waitFor(yield* EventStore.head)
        return yield* Sum.get("all")
      })
      // the newest commit's damage would look like a torn one: there is another behind it
      yield* use(sumIn(root), Effect.andThen(count, read))
      assert.strictEqual(yield* use(sumIn(root), Effect.andThen(count, read)), 12)
      yield* damage(root)
      const error = yield* use(sumIn(root, "never"), Effect.flip(Sum.get("all")))
      assert.strictEqual(error._tag === "ProjectionStoreError" && error.isDamaged, true)
      assert.include(error.message, "a rebuild makes them anew")
      assert.strictEqual(yield* use(sumIn(root), Effect.andThen(count, read)), 18)
      yield* damage(root)
      const rebuilt = Effect.andThen(Stream.runDrain(Sum.rebuild), read)
      assert.strictEqual(yield* use(sumIn(root, "never"), rebuilt), 18)
    })))
})

describe("ProjectionsLive with many large states", () => {
  const text = "～".repeat(1000)
  class Wide extends Projection.Service<Wide>()("wide", {
    events: [Counted],
    key: ({ n }) => `k${n}`,
    state: Schema.String,
    apply: { Counted: () => text }
  }) {}

  // measured, a text is as long as it has characters; stored, it has three times as many bytes
  it.live("what would be too large to be saved at once is saved in parts", () =>
    Effect.gen(function*() {
      const keys = 25_000
      for (let from = 0; from < keys; from += 5000) {
        yield* EventStore.append(Array.from({ length: 5000 }, (_, i) => new Counted({ n: from + i })))
      }
      yield* Effect.gen(function*() {
        yield* Wide.waitFor(yield* EventStore.head)
        assert.strictEqual(yield* Wide.size, keys)
        assert.strictEqual(yield* Wide.get(`k${keys - 1}`), text)
        assert.strictEqual((yield* Wide.status).error, undefined)
      }).pipe(Effect.provide(Wide.layer))
    }).pipe(Effect.provide(Opossum.layerMemory)))
})
