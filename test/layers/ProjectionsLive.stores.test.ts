/** Projections whose states lie elsewhere than their events: in memory, and in PostgreSQL. */
import { afterAll, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as ProjectionsLive from "../../src/layers/ProjectionsLive.ts"
import * as ProjectionStoreMemory from "../../src/layers/ProjectionStoreMemory.ts"
import * as ProjectionStoreSql from "../../src/layers/ProjectionStoreSql.ts"
import { ProjectionStore } from "../../src/services/ProjectionStore.ts"
import * as Projections from "../services/Projection.contract.ts"
import * as postgres from "../support/postgres.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

/** Events in files, and projections over states that lie elsewhere. */
const placeOf = (root: string, states: Layer.Layer<ProjectionStore, unknown>) => (options?: ProjectionsLive.Options) =>
  ProjectionsLive.layer(options).pipe(
    Layer.provide(states),
    Layer.provideMerge(Opossum.layer({ root, store: "school", eventFiles: false }))
  )

const inMemory = (states: Layer.Layer<ProjectionStore, unknown>) =>
  ProjectionsLive.layer().pipe(Layer.provide(states), Layer.provideMerge(Opossum.layerMemory))

Projections.suite("ProjectionsLive, states in memory", {
  layer: inMemory(ProjectionStoreMemory.layer),
  // of one process, in which the parts that a rule closes and opens share their states
  place: Effect.gen(function*() {
    const root = yield* temporaryFolder
    return placeOf(root, Layer.succeed(ProjectionStore, yield* ProjectionStoreMemory.make))
  })
})

describe.skipIf(!postgres.isAvailable)("PostgreSQL", () => {
  afterAll(() => postgres.stop())

  let made = 0
  /** Tables of a rule's own. */
  const states = Effect.map(
    postgres.socket,
    (at) => {
      made += 1
      return ProjectionStoreSql.layer({ prefix: `projections${made}_` }).pipe(Layer.provide(postgres.clientAt(at)))
    }
  )

  Projections.suite("ProjectionsLive, states in PostgreSQL", {
    layer: Layer.unwrap(Effect.map(states, inMemory)),
    place: Effect.gen(function*() {
      return placeOf(yield* temporaryFolder, yield* states)
    })
  })
})
