/**
 * An event store over SQLite (better-sqlite3) with Dynamic Consistency Boundaries, as fast as it could be made: what the library is
 * measured against. It promises the same: an append is acknowledged when it is synced, its condition is checked in the transaction
 * that stores it, several processes may have it open, ids are unique, and an append with ids of one's own can be repeated. Events go
 * in as instances of their classes and come out as such, coded by the same schemas.
 *
 * Calls are synchronous, each append a transaction of its own. `makeGroups` is what could be built on top: appends that wait at the
 * same time share a transaction and its sync.
 */
import Database from "better-sqlite3"
import { DateTime, Schema } from "effect"
import { randomUUID } from "node:crypto"
import type { Event } from "../../src/index.ts"

// models

/** A class, and what its tags are: written by hand, as that is the fastest. */
export interface Type {
  readonly class: Event.AnyClass & Schema.ConstraintCodec<unknown, unknown>
  readonly tags: (event: never) => ReadonlyArray<string>
}

export interface New {
  readonly event: Event.Event
  /** Beside those of its class. */
  readonly tags?: ReadonlyArray<string>
  readonly id?: string
}

/** One of the types, if there are any, and all of the tags. */
export interface Query {
  readonly types: ReadonlyArray<string>
  readonly tags: ReadonlyArray<string>
}

export interface Condition {
  readonly failIfEventsMatch: Query
  readonly after?: number | undefined
}

export interface Append {
  readonly events: ReadonlyArray<New>
  readonly condition?: Condition | undefined
}

export interface Appended {
  readonly first: number
  readonly head: number
  readonly duplicate: boolean
}

export interface Sequenced {
  readonly position: number
  readonly type: string
  readonly event: unknown
  readonly tags: ReadonlyArray<string>
  readonly metadata: { readonly id: string; readonly timestamp: DateTime.Utc }
}

export class Conflict extends Error {}
/** An id is taken by something else. */
export class IdConflict extends Error {}

type Row = [position: number, type: string, version: number, id: string, time: number, tags: string, data: string]

/** Rows for each statement that inserts. */
const rowsAtOnce = 16

/** A UUID of version 7: as they grow, the index of ids grows at its end. Random ones cost half of the rate of batches. */
const makeId = (time: number): string => {
  const hex = time.toString(16).padStart(12, "0")
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7${randomUUID().slice(15)}`
}

// statements

const schema = `
CREATE TABLE IF NOT EXISTS events (
  position INTEGER PRIMARY KEY, type TEXT NOT NULL, version INTEGER NOT NULL, id TEXT NOT NULL, time INTEGER NOT NULL,
  tags TEXT NOT NULL, data TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS tags (tag TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (tag, position)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_type ON events (type);
CREATE UNIQUE INDEX IF NOT EXISTS events_by_id ON events (id);
`

/** Parameters: the first tag, the others, the position, the types. */
const fromOf = (tags: number, types: number): string => {
  const others = Array.from(
    { length: Math.max(0, tags - 1) },
    (_, i) => ` AND EXISTS (SELECT 1 FROM tags o${i} WHERE o${i}.tag = ? AND o${i}.position = t.position)`
  )
  const type = types === 0 ? "" : ` AND e.type IN (${Array.from({ length: types }, () => "?").join(", ")})`
  return tags === 0
    ? `FROM events e WHERE e.position > ?${type}`
    : `FROM tags t CROSS JOIN events e ON e.position = t.position WHERE t.tag = ?${
      others.join("")
    } AND t.position > ?${type}`
}
const parametersOf = ({ tags, types }: Query, after: number) => [...tags, after, ...types]

const placeholders = (rows: number, columns: number) =>
  Array.from({ length: rows }, () => `(${Array.from({ length: columns }, () => "?").join(", ")})`).join(", ")

// store

export type Store = ReturnType<typeof open>

/** What was tried of page sizes, checkpoints, ids and rows at once stands in README.md. */
export const open = (file: string, types: ReadonlyArray<Type>) => {
  const database = new Database(file)
  database.pragma("page_size = 4096")
  database.pragma("journal_mode = WAL")
  database.pragma("synchronous = FULL")
  database.pragma("busy_timeout = 5000")
  database.pragma("cache_size = -65536")
  database.pragma("mmap_size = 1073741824")
  database.pragma("temp_store = MEMORY")
  database.pragma("wal_autocheckpoint = 4000")
  database.exec(schema)

  const codecs = new Map(types.map((type) => {
    const json = Schema.toCodecJson(type.class)
    const { type: name, version } = type.class
    const tagsOf = type.tags as (event: unknown) => ReadonlyArray<string>
    return [name, { version, tagsOf, encode: Schema.encodeSync(json), decode: Schema.decodeUnknownSync(json) }]
  }))

  const cached = new Map<string, Database.Statement<Array<unknown>, Row>>()
  /** Prepared once for each shape of a query. */
  const statement = (key: string, sql: () => string) => {
    let found = cached.get(key)
    if (found === undefined) {
      found = database.prepare<Array<unknown>, Row>(sql())
      if (found.reader) found.raw(true)
      cached.set(key, found)
    }
    return found
  }
  const selectOf = ({ tags, types }: Query, rest: string) =>
    statement(
      `${tags.length} ${types.length} ${rest}`,
      () =>
        `SELECT e.position, e.type, e.version, e.id, e.time, e.tags, e.data ${
          fromOf(tags.length, types.length)
        } ${rest}`
    )
  const conflictOf = ({ tags, types }: Query) =>
    statement(`conflict ${tags.length} ${types.length}`, () =>
      // without a type the table of tags tells all
      types.length === 0 && tags.length === 1
        ? "SELECT position FROM tags WHERE tag = ? AND position > ? LIMIT 1"
        : `SELECT e.position ${fromOf(tags.length, types.length)} LIMIT 1`)
  const insertEvents = (count: number) =>
    statement(`events ${count}`, () => `INSERT INTO events VALUES ${placeholders(count, 7)}`)
  const insertTags = (count: number) =>
    statement(`tags ${count}`, () => `INSERT OR IGNORE INTO tags VALUES ${placeholders(count, 2)}`)
  const begin = database.prepare("BEGIN IMMEDIATE")
  const commit = database.prepare("COMMIT")
  const rollback = database.prepare("ROLLBACK")
  const maximum = database.prepare<[], number | null>("SELECT max(position) FROM events").pluck(true)
  const byId = database.prepare<[string], number>("SELECT position FROM events WHERE id = ?").pluck(true)

  const inserted = (
    insert: (rows: number) => Database.Statement<Array<unknown>, Row>,
    columns: number,
    values: Array<unknown>
  ) => {
    const most = rowsAtOnce * columns
    let at = 0
    for (; at + most <= values.length; at += most) insert(rowsAtOnce).run(values.slice(at, at + most))
    if (at < values.length) insert((values.length - at) / columns).run(at === 0 ? values : values.slice(at))
  }

  /** The position of a batch that is stored already, `undefined` if none of its ids is known. */
  const earlier = (events: ReadonlyArray<New>): number | undefined => {
    let first: number | undefined
    let isNew = false
    for (const [i, { id }] of events.entries()) {
      const position = id === undefined ? undefined : byId.get(id)
      if (position === undefined) isNew = true
      else if (first === undefined) first = position - i
      else if (position !== first + i) throw new IdConflict()
    }
    if (first !== undefined && isNew) throw new IdConflict()
    return first
  }

  /** In a transaction: checks, and stores. Nothing is written before the checks are done, so a refusal leaves the rest alone. */
  const store = ({ condition, events }: Append, head: number): Appended => {
    const known = events.some(({ id }) => id !== undefined) ? earlier(events) : undefined
    if (known !== undefined) return { first: known, head, duplicate: true }
    if (condition !== undefined) {
      const query = condition.failIfEventsMatch
      if (conflictOf(query).get(parametersOf(query, condition.after ?? 0)) !== undefined) throw new Conflict()
    }
    const rowsOfEvents: Array<unknown> = []
    const rowsOfTags: Array<unknown> = []
    const time = Date.now()
    let position = head
    for (const { event, id, tags: more } of events) {
      position++
      const { encode, tagsOf, version } = codecs.get(event._tag)!
      const tags = more === undefined ? tagsOf(event) : [...tagsOf(event), ...more]
      const data = JSON.stringify(encode(event))
      rowsOfEvents.push(position, event._tag, version, id ?? makeId(time), time, JSON.stringify(tags), data)
      for (const tag of tags) rowsOfTags.push(tag, position)
    }
    inserted(insertEvents, 7, rowsOfEvents)
    if (rowsOfTags.length > 0) inserted(insertTags, 2, rowsOfTags)
    return { first: head + 1, head: position, duplicate: false }
  }

  const append = (events: ReadonlyArray<New>, condition?: Condition): Appended => {
    begin.run()
    try {
      const appended = store({ events, condition }, maximum.get() ?? 0)
      commit.run()
      return appended
    } catch (error) {
      if (database.inTransaction) rollback.run()
      throw error
    }
  }

  /** Several appends in one transaction; each is refused by itself. */
  const appendAll = (appends: ReadonlyArray<Append>): ReadonlyArray<Appended | Error> => {
    begin.run()
    try {
      let head = maximum.get() ?? 0
      const answers = appends.map((append) => {
        try {
          const appended = store(append, head)
          head = appended.head
          return appended
        } catch (error) {
          if (error instanceof Conflict || error instanceof IdConflict) return error
          throw error
        }
      })
      commit.run()
      return answers
    } catch (error) {
      if (database.inTransaction) rollback.run()
      throw error
    }
  }

  const decoded = ([position, type, version, id, time, tags, data]: Row): Sequenced => {
    const codec = codecs.get(type)
    if (codec === undefined || codec.version !== version) throw new Error(`${type}, version ${version}, is not known`)
    return {
      position,
      type,
      event: codec.decode(JSON.parse(data)),
      tags: JSON.parse(tags) as ReadonlyArray<string>,
      metadata: { id, timestamp: DateTime.makeUnsafe(time) }
    }
  }

  return {
    append,
    appendAll,
    read: (query: Query, options: { readonly after?: number; readonly limit?: number } = {}) => {
      const { after = 0, limit = -1 } = options
      // one statement, so one snapshot, but for the head; it is read first, so that nothing is missed after it
      const head = maximum.get() ?? 0
      const rows = selectOf(query, `ORDER BY ${query.tags.length === 0 ? "e" : "t"}.position LIMIT ?`)
        .all([...parametersOf(query, after), limit])
      return { events: rows.map(decoded), head }
    },
    *stream(query: Query): Generator<Sequenced> {
      const order = `ORDER BY ${query.tags.length === 0 ? "e" : "t"}.position`
      for (const row of selectOf(query, order).iterate(parametersOf(query, 0))) yield decoded(row)
    },
    readLast: (query: Query): Sequenced | undefined => {
      const order = `ORDER BY ${query.tags.length === 0 ? "e" : "t"}.position DESC LIMIT 1`
      const row = selectOf(query, order).get(parametersOf(query, 0))
      return row === undefined ? undefined : decoded(row)
    },
    head: () => maximum.get() ?? undefined,
    close: () => database.close()
  }
}

// groups

/** Appends that wait at the same time share a transaction, as they do in the library. */
export const makeGroups = ({ appendAll }: Pick<Store, "appendAll">) => {
  type Waiting = Append & { readonly resolve: (appended: Appended) => void; readonly reject: (error: unknown) => void }
  let waiting: Array<Waiting> = []
  const flush = () => {
    const group = waiting
    waiting = []
    try {
      for (const [i, answer] of appendAll(group).entries()) {
        if (answer instanceof Error) group[i]!.reject(answer)
        else group[i]!.resolve(answer)
      }
    } catch (error) {
      for (const { reject } of group) reject(error)
    }
  }
  return (events: ReadonlyArray<New>, condition?: Condition): Promise<Appended> =>
    new Promise((resolve, reject) => {
      if (waiting.push({ events, condition, resolve, reject }) === 1) setImmediate(flush)
    })
}
