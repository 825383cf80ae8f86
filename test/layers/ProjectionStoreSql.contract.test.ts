import { afterAll, describe } from "@effect/vitest"
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
