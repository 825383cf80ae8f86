/** SQLite for tests: a `SqlClient` over the SQLite that Node brings, as one connection to a file. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import { makeCompilerSqlite } from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { DatabaseSync, type SQLInputValue } from "node:sqlite"

const connect = (file: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const database = new DatabaseSync(file)
        database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000")
        return database
      }),
      (database) => Effect.sync(() => database.close())
    ),
    (database) => {
      const query = (sql: string, params: ReadonlyArray<unknown>) =>
        Effect.try({
          try: () => database.prepare(sql).all(...params as ReadonlyArray<SQLInputValue>),
          catch: (cause) => new SqlError({ reason: classifySqliteError(cause, { message: "query failed" }) })
        })
      const values = (sql: string, params: ReadonlyArray<unknown>) =>
        Effect.map(query(sql, params), (rows) => rows.map((row) => Object.values(row)))
      const connection: Connection = {
        execute: query,
        executeRaw: query,
        executeUnprepared: query,
        executeValues: values,
        executeValuesUnprepared: values,
        executeStream: () => Stream.die("not needed")
      }
      return { connection, isTransaction: () => database.isTransaction }
    }
  )

/** A client with a connection of its own: as a process of its own has it. */
export const client = (file: string): Layer.Layer<SqlClient.SqlClient> =>
  Layer.effect(
    SqlClient.SqlClient,
    Effect.gen(function*() {
      const { connection, isTransaction } = yield* connect(file)
      const acquirers = SqlClient.makeSqliteAcquirers({
        connection: Effect.succeed(connection),
        semaphore: yield* Semaphore.make(1),
        isTransaction
      })
      return yield* SqlClient.make({
        ...acquirers,
        compiler: makeCompilerSqlite(),
        driver: "node",
        spanAttributes: []
      })
    })
  ).pipe(Layer.provide(Reactivity.layer))
