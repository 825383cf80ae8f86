import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { join } from "node:path"
import * as ProjectionStoreSql from "../../src/layers/ProjectionStoreSql.ts"
import { ProjectionStore } from "../../src/services/ProjectionStore.ts"
import * as Contract from "../services/ProjectionStore.contract.ts"
import * as postgres from "../support/postgres.ts"
import { entry } from "../support/projectionPlaces.ts"
import * as sqlite from "../support/sqlite.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

const placeIn = (client: Layer.Layer<SqlClient, SqlError>, prefix: string): Contract.Place => {
  // nobody's lease ends by itself while a test runs, however slow it is
  const options: ProjectionStoreSql.Options = { prefix, lease: "1 hour" }
  const layer = ProjectionStoreSql.layer(options).pipe(Layer.provide(client))
  return {
    layer,
    readOnly: ProjectionStoreSql.layer({ ...options, readOnly: true }).pipe(Layer.provide(client)),
    thief: Layer.effect(
      ProjectionStore,
      Effect.gen(function*() {
        const store = yield* ProjectionStore
        const sql = yield* SqlClient
        return {
          ...store,
          open: (name, version) =>
            Effect.map(store.open(name, version), (slot) => ({
              ...slot,
              claim: (options) =>
                // as if the holder had shown no sign of life for too long
                Effect.andThen(
                  Effect.orDie(sql`UPDATE ${sql(`${prefix}projections`)} SET expires = 1
                    WHERE name = ${name} AND version = ${version}`),
                  slot.claim(options)
                )
            }))
        }
      })
    ).pipe(Layer.provide(ProjectionStoreSql.layer(options)), Layer.provide(client)),
    // the last row of the last statement breaks a rule of its table
    refused: entry({ version: Number.NaN })
  }
}

let made = 0

describe.skipIf(!postgres.isAvailable)("PostgreSQL", () => {
  afterAll(() => postgres.stop())

  Contract.suite(
    "PostgreSQL",
    Effect.map(postgres.socket, (at) => placeIn(postgres.clientAt(at), `contract${made += 1}_`))
  )
})

Contract.suite(
  "SQLite",
  Effect.map(temporaryFolder, (folder) => placeIn(sqlite.client(join(folder, "states.sqlite")), "opossum_"))
)

describe("ProjectionStoreSql", () => {
  // by a test's clock, which stands still: a holder that is alive must not be taken for dead
  it.effect("a lease is renewed in real time, whatever clock the holder has", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      const client = sqlite.client(join(folder, "states.sqlite"))
      const context = yield* Layer.build(Layer.provideMerge(ProjectionStoreSql.layer({ lease: "1 second" }), client))
      const slot = yield* Context.get(context, ProjectionStore).open("courses", 1)
      assert.isDefined(yield* slot.claim({ wait: false }))
      const sql = Context.get(context, SqlClient)
      const expires = Effect.map(
        sql<{ readonly expires: number }>`SELECT expires FROM opossum_projections`,
        ([row]) => row!.expires
      )
      const first = yield* expires
      while ((yield* expires) === first) yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 5)))
      assert.isTrue(yield* slot.isClaimed)
    }), 20_000)
})
