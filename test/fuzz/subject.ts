/**
 * What is tried: the real layers, wired over a disk that a case holds in its hands. A module of its own, so that a test can load it
 * with a mutant in it.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Event from "../../src/Event.ts"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as ProjectionsLive from "../../src/layers/ProjectionsLive.ts"
import * as ProjectionStoreFiles from "../../src/layers/ProjectionStoreFiles.ts"
import * as SnapshotsFiles from "../../src/layers/SnapshotsFiles.ts"
import * as Projection from "../../src/services/Projection.ts"
import type { Storage } from "../../src/services/Storage.ts"

export const store = "shop"

export interface Options {
  readonly readOnly?: boolean
  readonly eventFiles?: boolean
  readonly durability?: "sync" | "os"
  /** So small that a few events make segments. */
  readonly segmentSize?: number
}

/** So small that a few events make a run. */
const runBytes = 2500

export const layer = (
  disk: Layer.Layer<Storage>,
  { durability, eventFiles = false, readOnly = false, segmentSize = 4000 }: Options = {}
) => {
  const states = ProjectionStoreFiles.layer({ store, readOnly, stateFiles: true })
  return Layer.mergeAll(
    Layer.provide(ProjectionsLive.layer({}), states),
    SnapshotsFiles.layer({ store, readOnly })
  ).pipe(
    Layer.provideMerge(EventStoreLive.layer({ store, eventFiles, readOnly })),
    Layer.provide(IndexLive.layer({ store, runBytes, readOnly })),
    Layer.provide(LedgerLive.layer({ store, segmentSize, readOnly, durability })),
    Layer.provide(Layer.merge(disk, LockMemory.layer)),
    Layer.fresh
  )
}

// a projection, and what it folds

export class Sold extends Event.Class<Sold>()("Sold", { item: Schema.String, count: Schema.Int }) {}

/** What was sold of each item; an item's name may be anything. */
export class Sales extends Projection.Service<Sales>()("sales", {
  events: [Sold],
  key: ({ item }) => item,
  state: Schema.Struct({ count: Schema.Int, times: Schema.Int }),
  tags: ({ times }) => [`often:${times > 1}`],
  apply: {
    Sold: (sales = { count: 0, times: 0 }, { count }) => ({ count: sales.count + count, times: sales.times + 1 })
  }
}) {}

export const withSales = (disk: Layer.Layer<Storage>, options: Options = {}) =>
  Sales.layer.pipe(Layer.provideMerge(layer(disk, options)), Layer.fresh)

/** All that an opening may end with, told apart from what it must not. */
export type Opened = Layer.Success<ReturnType<typeof layer>>
export const opened = <A, E>(effect: Effect.Effect<A, E, Opened>, disk: Layer.Layer<Storage>, options?: Options) =>
  Effect.scoped(Effect.provide(effect, layer(disk, options)))
