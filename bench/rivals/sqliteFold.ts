/**
 * The baseline of projections: the same fold over the same pages of events, into a table of SQLite. States and position are written
 * in one transaction; states that were used before are at hand, as they are in the library.
 */
import Database from "better-sqlite3"
import { DateTime, Effect } from "effect"
import { EventStore, type Position, Query } from "../../src/index.ts"
import { Booked } from "../setup.ts"

/** How a projection folds and stores: what both sides share. */
export interface Fold<S> {
  readonly key: (event: Booked) => string
  readonly apply: (state: S | undefined, event: Booked) => S
  readonly encode: (state: S) => unknown
  readonly decode: (json: unknown) => S
}

interface Slot<S> {
  readonly key: string
  state: S | undefined
  position: number
  version: number
  created: number
  updated: number
}
interface Row {
  readonly state: string
  readonly position: number
  readonly version: number
  readonly created: number
  readonly updated: number
}

/** As many as the library reads at a time. */
const pageSize = 1000
/** While building, as many changed states as the library saves at a time; and at least so often, in milliseconds. */
const saveAtMost = 50_000
const saveInterval = 2000

const createTable = (name: string) =>
  `CREATE TABLE ${name} (key TEXT PRIMARY KEY, state TEXT NOT NULL, position INTEGER NOT NULL, version INTEGER NOT NULL,
   created INTEGER NOT NULL, updated INTEGER NOT NULL) WITHOUT ROWID`

export const make = <S>(file: string, fold: Fold<S>) => {
  const database = new Database(file)
  database.pragma("journal_mode = WAL")
  database.exec(`${createTable("states")}; CREATE TABLE checkpoint (position INTEGER NOT NULL)`)
  database.exec("INSERT INTO checkpoint VALUES (0)")

  const run = (table: string, saveAfter: number) =>
    Effect.gen(function*() {
      const select = database.prepare<[string], Row>(
        `SELECT state, position, version, created, updated FROM ${table} WHERE key = ?`
      )
      const upsert = database.prepare(
        `INSERT INTO ${table} VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET state = excluded.state,
         position = excluded.position, version = excluded.version, updated = excluded.updated`
      )
      const move = database.prepare("UPDATE checkpoint SET position = ?")
      const slots = new Map<string, Slot<S>>()
      const changed = new Set<Slot<S>>()
      const save = database.transaction((position: number) => {
        for (const { created, key, position, state, updated, version } of changed) {
          upsert.run(key, JSON.stringify(fold.encode(state!)), position, version, created, updated)
        }
        move.run(position)
        changed.clear()
      })
      let position = 0
      let saved = 0
      let lastSave = performance.now()
      for (;;) {
        const after = position === 0 ? undefined : position as Position.Position
        const { events, head = 0 } = yield* EventStore.read(Query.of(Booked), { after, limit: pageSize })
        for (const sequenced of events) {
          const key = fold.key(sequenced.event)
          let slot = slots.get(key)
          if (slot === undefined) {
            slot = { key, state: undefined, position: 0, version: 0, created: 0, updated: 0 }
            slots.set(key, slot)
            const found = saved === 0 ? undefined : select.get(key)
            if (found !== undefined) Object.assign(slot, found, { state: fold.decode(JSON.parse(found.state)) })
          }
          const time = DateTime.toEpochMillis(sequenced.metadata.timestamp)
          if (slot.version === 0) slot.created = time
          slot.state = fold.apply(slot.state, sequenced.event)
          slot.updated = time
          slot.position = sequenced.position
          slot.version++
          changed.add(slot)
        }
        const isLast = events.length < pageSize
        position = isLast ? head : events.at(-1)!.position
        if (isLast || changed.size >= saveAfter || performance.now() - lastSave > saveInterval || saveAfter === 0) {
          save(position)
          saved = position
          lastSave = performance.now()
        }
        if (isLast) return
      }
    })

  return {
    /** Counts all that waits, each page in a transaction that is not synced (but a checkpoint of the WAL is). */
    live: Effect.suspend(() => {
      database.pragma("synchronous = NORMAL")
      return run("states", 0)
    }),
    /** Builds anew beside the table, in few transactions that are synced, and takes its place. */
    rebuild: Effect.suspend(() => {
      database.pragma("synchronous = FULL")
      database.exec(createTable("building"))
      return Effect.map(run("building", saveAtMost), () => {
        database.exec("BEGIN; DROP TABLE states; ALTER TABLE building RENAME TO states; COMMIT")
      })
    }),
    read: (key: string): S | undefined => {
      const found = database.prepare<[string], Row>("SELECT state FROM states WHERE key = ?").get(key)
      return found && fold.decode(JSON.parse(found.state))
    },
    size: (): number => (database.prepare("SELECT count(*) AS n FROM states").get() as { readonly n: number }).n,
    close: () => database.close()
  }
}
