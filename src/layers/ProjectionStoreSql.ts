/**
 * Read models in SQL: PostgreSQL, or SQLite, by way of Effect's own `SqlClient`.
 *
 * ```ts
 * import { PgClient } from "@effect/sql-pg"
 * import { Config, Layer } from "effect"
 * import { ProjectionStoreSql } from "effect-opossum"
 *
 * export const states = ProjectionStoreSql.layer().pipe(
 *   Layer.provide(PgClient.layerConfig({ url: Config.Redacted("DATABASE_URL") }))
 * )
 * ```
 *
 * Five tables, whose names begin with a prefix:
 *
 *     opossum_format        which form the tables have
 *     opossum_projections   by name and version: which generation is live, who has the claim, who waits for it, the notice
 *     opossum_generations   what each was built from, and its checkpoint
 *     opossum_states        the entries of each
 *     opossum_tags          and by which tags they are found
 *
 * A save is one transaction. It begins with the projection's row, whose owner must still be the one who saves: that row is what
 * holders and those who take over from them wait for each other at, so who takes over sees all that was saved before, and
 * nothing is saved after. The lease in the row only tells when a holder may be taken for dead.
 *
 * A save need not survive a crash of the database, so PostgreSQL is not asked to wait for its disk. A holder that goes on after such
 * a crash would write upon what is gone: each generation counts its saves, and a save upon another count is refused.
 *
 * Text is kept as it was: states are text, since PostgreSQL's `jsonb` orders their keys, rounds their numbers and refuses some of
 * their characters; and a NUL, which no text may hold there, is escaped.
 *
 * `effect/sql` is unstable in Effect 4: nothing else of this package knows it.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { BeginTransaction, SqlClient } from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import { randomUUID } from "node:crypto"
import type { Position } from "../Position.ts"
import {
  type Changes,
  type Checkpoint,
  type Claim,
  ClaimLost,
  type EntryRange,
  type Generation,
  type Notice,
  ProjectionStore,
  ProjectionStoreError,
  type Slot,
  type StoredEntry,
  type WritableGeneration
} from "../services/ProjectionStore.ts"
import { elapsed, inRealTime } from "./internal/realTime.ts"

// models

export interface Options {
  /**
   * What the tables' names begin with: at most 40 letters, digits and underscores, the first no digit. Stores that share a database need
   * a prefix each. Default: `opossum_`.
   */
  readonly prefix?: string | undefined
  /** Reads what others build: makes no tables, and takes no claim. Default: `false`. */
  readonly readOnly?: boolean | undefined
  /** How long a holder may show no sign of life until another process takes over. At least 1 second. Default: 5 seconds. */
  readonly lease?: Duration.Input | undefined
}

/** The form of the tables that this file reads and writes. */
const format = 1

const defaultPrefix = "opossum_"
const defaultLease = 5000
const shortestLease = 1000

/** How often who waits for a claim looks for it, in milliseconds. */
const lookEvery = 100
/** How long a waiter's mark counts, in milliseconds: it may be dead. It is renewed by every fifth look. */
const markCounts = 2000
const looksPerMark = 5

/** What one statement is given: so much text, so many entries. A parameter could hold a gigabyte, but all of it is in memory. */
const chunkLength = 4 * 1024 * 1024
const chunkEntries = 10_000

/** The tags' table knows so many characters of a tag: its index has room for that beside the longest key. */
const labelLength = 120

// errors

/** The tables cannot be used, and the layer was not made: the database is not there, or they are not what is expected. */
export class TablesUnavailable extends Schema.TaggedError<TablesUnavailable>()("TablesUnavailable", {
  /** What the tables' names begin with. */
  prefix: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the tables ${this.prefix}* cannot be used: ${
      this.cause instanceof Error ? this.cause.message : String(this.cause)
    }`
  }
}

/** Drivers say what happened in the cause of their error only, where nobody sees it. */
const explain = (error: SqlError): Error => {
  const { cause } = error.reason
  return cause instanceof Error && cause.message !== "" && !error.message.includes(cause.message)
    ? new Error(`${error.message}: ${cause.message}`, { cause: error })
    : error
}

// texts

const start = "\u0001"

/** No text of PostgreSQL has a NUL. Written so that the order of texts stays what it was. */
const toColumn = (text: string): string =>
  text.includes("\0") || text.includes(start)
    ? text.replaceAll(start, `${start}\u0002`).replaceAll("\0", `${start}${start}`)
    : text

const escaped = new RegExp(`${start}[${start}\u0002]`, "g")

const fromColumn = (column: string): string =>
  column.includes(start) ? column.replaceAll(escaped, (pair) => pair[1] === start ? "\0" : start) : column

/** What the tags' table says of a tag: its beginning. Counted in code points, as databases count. */
const toLabel = (column: string): string =>
  column.length <= labelLength ? column : Array.from(column.slice(0, 2 * labelLength)).slice(0, labelLength).join("")

/** Several texts as one parameter: no database limits how many they are. */
const toList = (texts: ReadonlyArray<string>): string => JSON.stringify(texts.map(toColumn))

// rows

/** Numbers may come as bigints: positions are safe integers. */
type Numeric = number | bigint

interface StateRow {
  readonly key: string
  readonly state: string
  readonly tags: string
  readonly position: Numeric
  readonly version: Numeric
  readonly created: number
  readonly updated: number
}

const toEntry = (row: StateRow): StoredEntry => ({
  key: fromColumn(row.key),
  state: JSON.parse(row.state),
  tags: (JSON.parse(row.tags) as ReadonlyArray<string>).map(fromColumn),
  position: Number(row.position) as Position,
  version: Number(row.version),
  created: Number(row.created),
  updated: Number(row.updated)
})

const toRow = (entry: StoredEntry): StateRow => ({
  key: toColumn(entry.key),
  state: JSON.stringify(entry.state),
  tags: toList(entry.tags),
  position: entry.position,
  version: entry.version,
  created: entry.created,
  updated: entry.updated
})

/** Entries for one statement each, as JSON, and what of them the tags' table needs. */
interface Chunk {
  readonly rows: string
  readonly labels: string
  readonly tagged: boolean
}

/** A hot loop: it runs over every entry of a save. */
const toChunks = (entries: ReadonlyArray<StoredEntry>): ReadonlyArray<Chunk> => {
  const chunks: Array<Chunk> = []
  let rows: Array<string> = []
  let labels: Array<string> = []
  let length = 0
  let tagged = false
  const flush = () => {
    if (rows.length === 0) return
    chunks.push({ rows: `[${rows.join(",")}]`, labels: `[${labels.join(",")}]`, tagged })
    rows = []
    labels = []
    length = 0
    tagged = false
  }
  for (const entry of entries) {
    const row = toRow(entry)
    const json = JSON.stringify(row)
    if (length + json.length > chunkLength || rows.length === chunkEntries) flush()
    rows.push(json)
    labels.push(JSON.stringify({ key: row.key, tags: row.tags }))
    length += json.length
    tagged ||= entry.tags.length > 0
  }
  flush()
  return chunks
}

interface CheckpointRow {
  readonly store_id: string | null
  readonly position: Numeric | null
  readonly hash: string | null
  readonly retagged: Numeric | null
}

const toCheckpoint = (row: CheckpointRow | undefined): Checkpoint | undefined =>
  row === undefined || row.position === null ? undefined : {
    storeId: fromColumn(row.store_id ?? ""),
    position: Number(row.position) as Position,
    hash: fromColumn(row.hash ?? ""),
    ...(row.retagged === null ? undefined : { retagged: Number(row.retagged) as Position })
  }

interface GenerationRow {
  readonly id: Numeric
  readonly definition: string
  readonly saves: Numeric
}

// dialects

/** In what PostgreSQL and SQLite differ. A list of objects or texts goes to the database as one text, in JSON. */
interface Dialect {
  /** Begins a transaction that waits for others where they meet, whatever the database's default is. */
  readonly begin: string
  /** The database's own clock, in milliseconds since 1970. In PostgreSQL not `now()`: that stands still while one waits for a row. */
  readonly now: Fragment
  /** Whether there is a table of this name. */
  readonly exists: (table: string) => Fragment
  /** Lets one at a time make tables; until the transaction ends. */
  readonly lock: ((prefix: string) => Fragment) | undefined
  /** The types of columns: an identity, a text compared by bytes. */
  readonly id: Fragment
  readonly text: Fragment
  /** A table `c` of the columns of a state. */
  readonly rows: (json: string) => Fragment
  /** A table `c` of `key` and `tags`. */
  readonly labels: (json: string) => Fragment
  /** A table with one column `value`, from a column that holds a list of texts. */
  readonly texts: (column: Fragment, as: Fragment) => Fragment
  /**
   * Whether a column is one of a list of texts, and whether a row is one of those that are selected by `rowId`. Written so that rows
   * are looked up one by one, whatever the database believes of tables that it has not counted yet.
   */
  readonly among: (column: Fragment, list: string) => Fragment
  readonly amongRows: (select: Fragment) => Fragment
  readonly amongKeys: (select: Fragment) => Fragment
  readonly rowId: Fragment
  /** What a statement at the beginning of a save gives back; in PostgreSQL it lets the transaction end before the disk has it. */
  readonly relax: Fragment
}

const postgres = (sql: SqlClient): Dialect => ({
  begin: "BEGIN ISOLATION LEVEL READ COMMITTED",
  now: sql.literal("CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"),
  exists: (table) => sql`to_regclass(quote_ident(${table})) IS NOT NULL`,
  lock: (prefix) => sql`SELECT CAST(pg_advisory_xact_lock(hashtext(${`effect-opossum ${prefix}`})) AS text) AS locked`,
  id: sql.literal("bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
  text: sql.literal(`text COLLATE "C"`),
  // a parameter of type json would be encoded by the driver, once more
  rows: (json) =>
    sql`json_to_recordset(CAST(CAST(${json} AS text) AS json)) AS c(key text, state text, tags text,
      position bigint, version bigint, created double precision, updated double precision)`,
  labels: (json) => sql`json_to_recordset(CAST(CAST(${json} AS text) AS json)) AS c(key text, tags text)`,
  texts: (column, as) => sql`json_array_elements_text(CAST(${column} AS json)) AS ${as}(value)`,
  among: (column, list) =>
    sql`${column} = ANY(ARRAY(SELECT value FROM json_array_elements_text(CAST(CAST(${list} AS text) AS json)) AS o(value)))`,
  amongRows: (select) => sql`ctid = ANY(ARRAY(${select}))`,
  amongKeys: (select) => sql`s.key = ANY(ARRAY(${select}))`,
  rowId: sql.literal("ctid"),
  relax: sql.literal("set_config('synchronous_commit', 'off', true)")
})

const sqlite = (sql: SqlClient): Dialect => {
  const columns = (names: ReadonlyArray<string>) =>
    sql.literal(names.map((name) => `json_extract(value, '$.${name}') AS ${name}`).join(", "))
  const stateColumns = columns(["key", "state", "tags", "position", "version", "created", "updated"])
  const labelColumns = columns(["key", "tags"])
  return {
    begin: "BEGIN IMMEDIATE",
    now: sql.literal("CAST((julianday('now') - 2440587.5) * 86400000 AS integer)"),
    exists: (table) => sql`EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ${table})`,
    lock: undefined,
    // an id that was used before would bring back what was left of its generation
    id: sql.literal("integer PRIMARY KEY AUTOINCREMENT"),
    text: sql.literal("text"),
    rows: (json) => sql`(SELECT ${stateColumns} FROM json_each(${json})) AS c`,
    labels: (json) => sql`(SELECT ${labelColumns} FROM json_each(${json})) AS c`,
    texts: (column, as) => sql`json_each(${column}) AS ${as}`,
    among: (column, list) => sql`${column} IN (SELECT value FROM json_each(${list}))`,
    amongRows: (select) => sql`rowid IN (${select})`,
    amongKeys: (select) => sql`s.key IN (${select})`,
    rowId: sql.literal("rowid"),
    relax: sql.literal("1")
  }
}

// constructors

interface Settings {
  readonly prefix: string
  readonly readOnly: boolean
  /** In milliseconds. */
  readonly lease: number
}

const make = Effect.fnUntraced(function*({ lease, prefix, readOnly }: Settings) {
  // names of columns are those of the tables, whatever the application's own tables look like
  const sql = (yield* SqlClient).withoutTransforms()
  const dialect = sql.onDialectOrElse<Dialect | undefined, Dialect, Dialect>({
    pg: () => postgres(sql),
    sqlite: () => sqlite(sql),
    orElse: () => undefined
  })
  const unavailable = (cause: unknown) => new TablesUnavailable({ prefix, cause })
  if (dialect === undefined) return yield* unavailable(new Error("they need PostgreSQL or SQLite"))
  const { now } = dialect

  const table = (name: string) => sql.literal(`"${prefix}${name}"`)
  const formatTable = table("format")
  const projections = table("projections")
  const generations = table("generations")
  const states = table("states")
  const tags = table("tags")
  const o = sql.literal("o")
  const n = sql.literal("n")

  /** A connection that is lost takes its transaction with it; that it can then not be rolled back is a defect to the client, but none here. */
  const inTransaction = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.provideService(sql.withTransaction(effect), BeginTransaction, dialect.begin).pipe(
      Effect.catchCause((cause) => {
        for (const reason of cause.reasons) {
          if (Cause.isDieReason(reason) && isSqlError(reason.defect)) return Effect.fail(reason.defect)
        }
        return Effect.failCause(cause)
      })
    )

  // tables

  const findFormat = Effect.gen(function*() {
    const [exists] = yield* sql<{ found: Numeric }>`SELECT CASE WHEN ${
      dialect.exists(`${prefix}format`)
    } THEN 1 ELSE 0 END AS found`
    if (Number(exists?.found) === 0) return false
    const [row] = yield* sql<{ format: Numeric }>`SELECT format FROM ${formatTable}`
    if (row === undefined || Number(row.format) !== format) {
      return yield* unavailable(
        new Error(
          `they have the format ${
            String(row?.format)
          }, and this version of effect-opossum knows ${format}: update it everywhere`
        )
      )
    }
    return true
  })

  const makeTables = inTransaction(Effect.gen(function*() {
    if (dialect.lock !== undefined) yield* dialect.lock(prefix) as unknown as Effect.Effect<unknown, SqlError>
    const { id, text } = dialect
    yield* sql`CREATE TABLE IF NOT EXISTS ${projections} (
      name ${text} NOT NULL, version bigint NOT NULL, live bigint, building bigint,
      owner text, expires bigint, waiter text, wanted bigint, stands_at bigint, problem text,
      PRIMARY KEY (name, version))`
    yield* sql`CREATE TABLE IF NOT EXISTS ${generations} (
      id ${id}, name ${text} NOT NULL, version bigint NOT NULL, definition text NOT NULL, saves bigint NOT NULL,
      store_id text, position bigint, hash text, retagged bigint)`
    yield* sql`CREATE INDEX IF NOT EXISTS ${table("generations_by_name")} ON ${generations} (name, version)`
    yield* sql`CREATE TABLE IF NOT EXISTS ${states} (
      generation bigint NOT NULL, key ${text} NOT NULL, state text NOT NULL, tags text NOT NULL, position bigint NOT NULL,
      version bigint NOT NULL, created double precision NOT NULL, updated double precision NOT NULL,
      PRIMARY KEY (generation, key))`
    yield* sql`CREATE INDEX IF NOT EXISTS ${table("states_by_created")} ON ${states} (generation, created, key)`
    yield* sql`CREATE INDEX IF NOT EXISTS ${table("states_by_updated")} ON ${states} (generation, updated, key)`
    yield* sql`CREATE TABLE IF NOT EXISTS ${tags} (
      generation bigint NOT NULL, tag ${text} NOT NULL, key ${text} NOT NULL, PRIMARY KEY (generation, tag, key))`
    yield* sql`CREATE TABLE IF NOT EXISTS ${formatTable} (
      one integer PRIMARY KEY CHECK (one = 1), format integer NOT NULL)`
    yield* sql`INSERT INTO ${formatTable} (one, format) VALUES (1, ${format}) ON CONFLICT DO NOTHING`
  }))

  // Once there, they stay; who only reads may have come before them.
  let ready = yield* findFormat
  if (!ready && !readOnly) {
    yield* makeTables
    ready = yield* findFormat
  }
  const isReady = Effect.suspend(() =>
    ready ? Effect.succeed(true) : Effect.tap(findFormat, (found) => Effect.sync(() => ready = found))
  )

  const open = (name: string, version: number): Slot => {
    const failed = (cause: unknown) => new ProjectionStoreError({ name, cause })
    const orFail = <A, E, R>(effect: Effect.Effect<A, E | SqlError, R>) =>
      Effect.catchIf(
        effect,
        (error): error is Extract<E | SqlError, SqlError> => isSqlError(error),
        (error) => Effect.fail(failed(explain(error)))
      )
    const nameColumn = toColumn(name)
    const here = (alias: Fragment) => sql`${alias}.name = ${nameColumn} AND ${alias}.version = ${version}`
    const p = sql.literal("p")
    const thisOne = here(projections)

    /** What is stored as JSON was made by this file: another hand was at it if it is none. */
    const parse = <A, B>(f: (value: A) => B) => (value: A): Effect.Effect<B, ProjectionStoreError> =>
      Effect.try({ try: () => f(value), catch: failed })
    const toEntries = parse((rows: ReadonlyArray<StateRow>) => rows.map(toEntry))

    const entryColumns = sql.literal("s.key, s.state, s.tags, s.position, s.version, s.created, s.updated")

    /**
     * Reads one generation, which is given as SQL: an id, or the one that is live when a statement runs. Each read is one statement, and
     * so of one snapshot.
     */
    const reader = (definition: string, id: Fragment): Generation => ({
      definition,
      checkpoint: orFail(Effect.map(
        sql<CheckpointRow>`SELECT store_id, position, hash, retagged FROM ${generations} WHERE id = ${id}`,
        (rows) => toCheckpoint(rows[0])
      )),
      size: orFail(Effect.map(
        sql<{ size: Numeric }>`SELECT count(*) AS size FROM ${states} WHERE generation = ${id}`,
        (rows) => Number(rows[0]?.size)
      )),
      read: (keys) => {
        if (keys.length === 0) return Effect.succeed([])
        const which = keys.length === 1
          ? sql`s.key = ${toColumn(keys[0]!)}`
          : dialect.among(sql.literal("s.key"), toList(keys))
        return orFail(sql<StateRow>`SELECT ${entryColumns} FROM ${states} AS s WHERE s.generation = ${id} AND ${which}`)
          .pipe(
            Effect.flatMap(toEntries),
            Effect.map((entries) => {
              const found = new Map(entries.map((entry) => [entry.key, entry]))
              return keys.flatMap((key) => found.get(key) ?? [])
            })
          )
      },
      list: ({ after, backwards, limit, sort }: EntryRange) => {
        const direction = sql.literal(backwards ? "DESC" : "ASC")
        const than = sql.literal(backwards ? "<" : ">")
        const time = sql.literal(sort === "key" ? "" : `s.${sort}`)
        const beyond = after === undefined
          ? sql``
          : sort === "key"
          ? sql`AND s.key ${than} ${toColumn(after.key)}`
          : sql`AND (${time}, s.key) ${than} (CAST(${after.time} AS double precision), ${toColumn(after.key)})`
        const order = sort === "key" ? sql`s.key ${direction}` : sql`${time} ${direction}, s.key ${direction}`
        return Effect.flatMap(
          orFail(sql<StateRow>`SELECT ${entryColumns} FROM ${states} AS s
            WHERE s.generation = ${id} ${beyond} ORDER BY ${order} LIMIT ${limit}`),
          toEntries
        )
      },
      byTag: (wanted) => {
        const columns = [...new Set(wanted)].map(toColumn)
        const labels = [...new Set(columns.map(toLabel))]
        const found = labels.map((label, i) =>
          sql`${
            sql.literal(i === 0 ? "" : "INTERSECT ")
          }SELECT t.key FROM ${tags} AS t WHERE t.generation = ${id} AND t.tag = ${label}`
        ).reduce((all, one) => sql`${all} ${one}`)
        return Effect.map(
          Effect.flatMap(
            orFail(sql<StateRow>`SELECT ${entryColumns} FROM ${states} AS s
              WHERE s.generation = ${id} AND ${dialect.amongKeys(found)} ORDER BY s.key`),
            toEntries
          ),
          // those that only begin alike were found as well
          (entries) =>
            columns.every((column) => column.length <= labelLength)
              ? entries
              : entries.filter((entry) => wanted.every((tag) => entry.tags.includes(tag)))
        )
      }
    })
    const find = (which: Fragment) =>
      Effect.map(
        sql<GenerationRow>`SELECT g.id, g.definition, g.saves FROM ${projections} AS p
          JOIN ${generations} AS g ON g.id = p.${which} WHERE ${here(p)}`,
        (rows) => rows[0]
      )
    const live = sql.literal("live")
    const building = sql.literal("building")
    const liveId = sql`(SELECT p.live FROM ${projections} AS p WHERE ${here(p)})`

    /** A read of the projection's row. */
    const fromRow = <A extends object, B>(columns: Fragment, absent: B, f: (row: A) => B) =>
      orFail(Effect.flatMap(toFailed(isReady), (ready) =>
        !ready ? Effect.succeed(absent) : Effect.map(
          sql<A>`SELECT ${columns} FROM ${projections} WHERE ${thisOne}`,
          (rows) => rows[0] === undefined ? absent : f(rows[0])
        )))
    const toFailed = <A>(effect: Effect.Effect<A, SqlError | TablesUnavailable>) =>
      Effect.mapError(effect, (error) => failed(isSqlError(error) ? explain(error) : error))

    // the claim

    const isHeld = sql`owner IS NOT NULL AND expires > ${now}`
    const flag = (condition: Fragment, name: string) =>
      sql`CASE WHEN ${condition} THEN 1 ELSE 0 END AS ${sql.literal(name)}`

    const renewed = sql`expires = ${now} + ${sql.literal(String(lease))}`

    /** Takes the claim if nobody has it, and nobody else waits for it. */
    const take = (owner: string) =>
      Effect.map(
        sql`INSERT INTO ${projections} (name, version, owner, expires)
          VALUES (${nameColumn}, ${version}, ${owner}, ${now} + ${sql.literal(String(lease))})
          ON CONFLICT (name, version) DO UPDATE SET owner = excluded.owner, ${renewed}, waiter = NULL, wanted = NULL
          WHERE (${projections}.owner IS NULL OR ${projections}.expires <= ${now})
            AND (${projections}.waiter IS NULL OR ${projections}.waiter = ${owner} OR ${projections}.wanted <= ${now})
          RETURNING 1 AS taken`,
        (rows) => rows.length > 0
      )

    const mark = (owner: string) =>
      sql`UPDATE ${projections} SET waiter = ${owner}, wanted = ${now} + ${sql.literal(String(markCounts))}
        WHERE ${thisOne} AND (waiter IS NULL OR waiter = ${owner} OR wanted <= ${now})`
    const unmark = (owner: string) =>
      sql`UPDATE ${projections} SET waiter = NULL, wanted = NULL WHERE ${thisOne} AND waiter = ${owner}`

    /** Takes the claim, after a while if it is waited for. What is taken is given up with the scope, whatever happens between. */
    const acquire = (owner: string, wait: boolean): Effect.Effect<boolean, SqlError, Scope.Scope> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          for (let looks = 0;; looks++) {
            const [row] = yield* restore(
              sql<{ held: Numeric; other: Numeric }>`SELECT ${flag(isHeld, "held")},
                ${flag(sql`waiter IS NOT NULL AND waiter <> ${owner} AND wanted > ${now}`, "other")}
                FROM ${projections} WHERE ${thisOne}`
            )
            const free = row === undefined || (Number(row.held) === 0 && Number(row.other) === 0)
            if (free && (yield* take(owner))) return true
            if (!wait) return false
            if (looks % looksPerMark === 0) yield* mark(owner)
            yield* restore(inRealTime(Effect.sleep(lookEvery)))
          }
        }).pipe(
          Effect.onExit((exit) =>
            exit._tag === "Success" && exit.value ?
              Effect.addFinalizer(() =>
                // who cannot say that it gives up is taken for dead when its lease ends
                Effect.ignore(
                  sql`UPDATE ${projections} SET owner = NULL, expires = NULL WHERE ${thisOne} AND owner = ${owner}`,
                  { log: "Debug" }
                )
              )
              : wait
              ? Effect.ignore(unmark(owner), { log: "Debug" })
              : Effect.void
          )
        )
      )

    const makeClaim = Effect.fnUntraced(function*(owner: string) {
      let lost = false
      const claimLost = Effect.suspend(() => {
        lost = true
        return Effect.fail(new ClaimLost({ name }))
      })
      /** How often each generation was saved, as this holder knows: nobody else saves. */
      const saves = new Map<number, number>()

      const renew = Effect.suspend(() =>
        lost
          ? Effect.void
          : Effect.map(
            sql`UPDATE ${projections} SET ${renewed} WHERE ${thisOne} AND owner = ${owner} RETURNING 1 AS renewed`,
            (
              rows
            ) => {
              if (rows.length === 0) lost = true
            }
          )
      )
      yield* inRealTime(Effect.sleep(lease / 5)).pipe(
        // an interruption in the middle of a statement costs its connection
        Effect.andThen(Effect.uninterruptible(Effect.ignore(renew, { log: "Debug" }))),
        Effect.forever,
        Effect.forkScoped
      )

      interface OwnRow {
        readonly live: Numeric | null
        readonly building: Numeric | null
      }
      /**
       * Waits for whoever else is at the projection's row, keeps them waiting until the transaction ends, and makes sure that the claim
       * is still there. The row is as it will stay until then.
       */
      const guard = (result: Fragment = sql``) =>
        Effect.flatMap(
          sql<OwnRow>`UPDATE ${projections} SET ${renewed} WHERE ${thisOne} AND owner = ${owner}
            RETURNING live, building ${result}`,
          (rows) => rows[0] === undefined ? claimLost : Effect.succeed(rows[0])
        )
      const toId = (id: Numeric | null) => id === null ? undefined : Number(id)

      const saveChunk = Effect.fnUntraced(function*(id: number, { labels, rows, tagged }: Chunk) {
        yield* dropTags(id, labels)
        yield* sql`INSERT INTO ${states} (generation, key, state, tags, position, version, created, updated)
          SELECT CAST(${id} AS bigint), c.key, c.state, c.tags, c.position, c.version, c.created, c.updated
          FROM ${dialect.rows(rows)} WHERE true
          ON CONFLICT (generation, key) DO UPDATE SET state = excluded.state, tags = excluded.tags,
            position = excluded.position, version = excluded.version, created = excluded.created, updated = excluded.updated`
        if (!tagged) return
        yield* sql`INSERT INTO ${tags} (generation, tag, key)
          SELECT DISTINCT CAST(${id} AS bigint), substr(n.value, 1, ${labelSql}), c.key
          FROM ${dialect.labels(labels)}, ${dialect.texts(sql.literal("c.tags"), n)} WHERE true ON CONFLICT DO NOTHING`
      })
      const labelSql = sql.literal(String(labelLength))

      /** Removes what the tags' table has of entries, as they are stored still, and what they will not have any more. */
      const dropTags = (id: number, labels: string) => {
        const old = sql`(SELECT s.tags FROM ${states} AS s WHERE s.generation = ${id} AND s.key = c.key)`
        const gone = sql`SELECT (SELECT t.${dialect.rowId} FROM ${tags} AS t
            WHERE t.generation = ${id} AND t.tag = substr(o.value, 1, ${labelSql}) AND t.key = d.key)
          FROM (SELECT c.key, c.tags, ${old} AS old FROM ${dialect.labels(labels)}) AS d,
            ${dialect.texts(sql.literal("d.old"), o)}
          WHERE d.old <> d.tags AND substr(o.value, 1, ${labelSql}) NOT IN (
            SELECT substr(n.value, 1, ${labelSql}) FROM ${dialect.texts(sql.literal("d.tags"), n)})`
        return sql`DELETE FROM ${tags} WHERE ${dialect.amongRows(gone)}`
      }

      const save = Effect.fnUntraced(function*(id: number, { checkpoint, removed, set }: Changes) {
        const known = saves.get(id)!
        const began = elapsed()
        yield* inTransaction(Effect.gen(function*() {
          const row = yield* guard(sql`, ${dialect.relax} AS relaxed`)
          if (toId(row.live) !== id && toId(row.building) !== id) return yield* claimLost
          const counted = yield* sql`UPDATE ${generations} SET saves = saves + 1, store_id = ${
            toColumn(checkpoint.storeId)
          },
            position = ${checkpoint.position}, hash = ${toColumn(checkpoint.hash)}, retagged = ${
            checkpoint.retagged ?? null
          }
            WHERE id = ${id} AND saves = ${known} RETURNING 1 AS counted`
          if (counted.length === 0) return yield* claimLost
          for (let i = 0; i < removed.length; i += chunkEntries) {
            const keys = removed.slice(i, i + chunkEntries)
            yield* dropTags(id, JSON.stringify(keys.map((key) => ({ key: toColumn(key), tags: "[]" }))))
            yield* sql`DELETE FROM ${states} WHERE generation = ${id}
              AND ${dialect.among(sql.literal("key"), toList(keys))}`
          }
          yield* Effect.forEach(toChunks(set), (chunk) => saveChunk(id, chunk), { discard: true })
          // nobody could renew the lease meanwhile: whoever waits for the row would find it expired
          if (elapsed() - began > lease / 5) yield* guard()
        }))
        saves.set(id, known + 1)
      })

      const writable = (row: GenerationRow): WritableGeneration => {
        const id = Number(row.id)
        // what is known counts, not what is there by now: it could be less, after a crash of the database
        if (!saves.has(id)) saves.set(id, Number(row.saves))
        return {
          ...reader(fromColumn(row.definition), sql`${id}`),
          save: (changes) => orFail(Effect.uninterruptible(save(id, changes)))
        }
      }
      const findWritable = (which: Fragment) =>
        orFail(Effect.map(find(which), (row) => row === undefined ? undefined : writable(row)))

      /** Removes generations that nobody refers to. What is left after a failure is removed the next time. */
      const tidy = Effect.gen(function*() {
        const rows = yield* sql<{ id: Numeric }>`SELECT g.id FROM ${generations} AS g WHERE ${here(sql.literal("g"))}
          AND NOT EXISTS (SELECT 1 FROM ${projections} AS p WHERE ${here(p)} AND (p.live = g.id OR p.building = g.id))`
        for (const row of rows) {
          const id = Number(row.id)
          yield* sql`DELETE FROM ${tags} WHERE generation = ${id}`
          yield* sql`DELETE FROM ${states} WHERE generation = ${id}`
          yield* sql`DELETE FROM ${generations} WHERE id = ${id}`
          saves.delete(id)
        }
      }).pipe(Effect.ignore({ log: "Debug" }))

      const change = <A, E>(effect: Effect.Effect<A, E | SqlError | ClaimLost>) =>
        orFail(Effect.uninterruptible(Effect.tap(inTransaction(effect), tidy)))

      const claim: Claim = {
        live: findWritable(live),
        building: findWritable(building),
        begin: (definition) =>
          change(Effect.gen(function*() {
            yield* guard()
            const [row] = yield* sql<GenerationRow>`INSERT INTO ${generations} (name, version, definition, saves)
              VALUES (${nameColumn}, ${version}, ${toColumn(definition)}, 0) RETURNING id, definition, saves`
            const id = Number(row!.id)
            yield* sql`UPDATE ${projections} SET building = ${id} WHERE ${thisOne}`
            return writable(row!)
          })),
        swap: change(Effect.gen(function*() {
          const { building } = yield* guard()
          const id = toId(building)
          if (id === undefined) return yield* Effect.die(new Error(`swap: no generation of ${name} is being built`))
          // what this holder saved in it must be there
          const known = saves.get(id)
          const found = yield* sql`SELECT 1 AS found FROM ${generations}
            WHERE id = ${id} AND saves = ${known ?? sql.literal("saves")}`
          if (found.length === 0) return yield* claimLost
          yield* sql`UPDATE ${projections} SET live = building, building = NULL WHERE ${thisOne}`
        })),
        discard: (which) =>
          change(Effect.andThen(
            guard(),
            Effect.asVoid(sql`UPDATE ${projections} SET ${sql.literal(which)} = NULL WHERE ${thisOne}`)
          )),
        note: (notice) =>
          orFail(Effect.asVoid(
            sql`UPDATE ${projections} SET stands_at = ${notice?.position ?? null},
              problem = ${notice === undefined ? null : toColumn(notice.problem)} WHERE ${thisOne} AND owner = ${owner}`
          )),
        isWanted: Effect.suspend(() =>
          lost ? Effect.succeed(true) : fromRow(
            sql`${flag(sql`owner IS NULL OR owner <> ${owner}`, "lost")},
              ${flag(sql`waiter IS NOT NULL AND wanted > ${now}`, "wanted")}`,
            true,
            (row: { readonly lost: Numeric; readonly wanted: Numeric }) => {
              if (Number(row.lost) === 1) lost = true
              return lost || Number(row.wanted) === 1
            }
          )
        )
      }
      return claim
    })

    return {
      live: orFail(Effect.flatMap(toFailed(isReady), (ready) =>
        ready ?
          Effect.map(
            find(live),
            (row) => row === undefined ? undefined : reader(fromColumn(row.definition), liveId)
          ) :
          Effect.succeed(undefined))),
      notice: fromRow(
        sql.literal("stands_at, problem"),
        undefined as Notice | undefined,
        (row: { readonly stands_at: Numeric | null; readonly problem: string | null }) =>
          row.stands_at === null ? undefined : {
            position: Number(row.stands_at) as Position,
            problem: fromColumn(row.problem ?? "")
          }
      ),
      isClaimed: fromRow(flag(isHeld, "held"), false, (row: { readonly held: Numeric }) => Number(row.held) === 1),
      claim: ({ wait }) =>
        readOnly ? Effect.succeed(undefined) : orFail(Effect.suspend(() => {
          const owner = randomUUID()
          return Effect.flatMap(
            acquire(owner, wait),
            (taken) => taken ? makeClaim(owner) : Effect.succeed(undefined)
          )
        }))
    }
  }

  return ProjectionStore.of({
    readOnly,
    open: (name, version) => Effect.sync(() => open(name, version))
  })
})

/** What the options say, or what is wrong with them. */
const toSettings = (options: Options | undefined): Settings | string => {
  const { lease = defaultLease, prefix = defaultPrefix, readOnly = false } = options ?? {}
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,39}$/.test(prefix)) {
    return "their prefix must be at most 40 letters, digits and underscores, and not begin with a digit"
  }
  const millis = Option.getOrElse(Option.map(Duration.fromInput(lease), Duration.toMillis), () => 0)
  return Number.isFinite(millis) && millis >= shortestLease
    ? { lease: Math.round(millis), prefix, readOnly }
    : `the option \`lease\` must be a duration of at least ${shortestLease} ms`
}

// layers

/** Makes the tables where they are missing, whoever else does so at the same time. */
export const layer = (options?: Options): Layer.Layer<ProjectionStore, TablesUnavailable, SqlClient> =>
  Layer.effect(
    ProjectionStore,
    Effect.suspend(() => {
      const settings = toSettings(options)
      const unavailable = (cause: unknown) => new TablesUnavailable({ prefix: options?.prefix ?? defaultPrefix, cause })
      return typeof settings === "string"
        ? Effect.fail(unavailable(new Error(settings)))
        : Effect.mapError(make(settings), (error) => unavailable(isSqlError(error) ? explain(error) : error))
    })
  )
