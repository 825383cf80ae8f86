/** Whether SQLite's side does what it is compared for: answers as the store does, to the same questions. */
import { DateTime, Effect } from "effect"
import { deepStrictEqual } from "node:assert/strict"
import { join } from "node:path"
import { Event, EventStore, Opossum, Query } from "../../src/index.ts"
import { Booked, booked, Closed, closed } from "../setup.ts"
import { openOpossum, openSqlite } from "../subjects.ts"
import { Conflict, IdConflict, type New, type Query as SqliteQuery, type Sequenced } from "./sqlite.ts"

/** Ids are made by each side itself, times are those of the append. */
export const comparable = (sequenced: Event.SequencedEvent<unknown> | Sequenced | undefined) =>
  sequenced && { ...sequenced, metadata: DateTime.isDateTime(sequenced.metadata.timestamp) }

const queryOf = ({ tags, types }: SqliteQuery) =>
  Query.fromItems({
    ...(types.length === 0 ? {} : { types: types as readonly [string] }),
    ...(tags.length === 0 ? {} : { tags: tags as readonly [`${string}:${string}`] })
  })

/** Throws if anything is answered otherwise. */
export const checkSqlite = async (root: string): Promise<void> => {
  const store = openOpossum(Opossum.layer({ root, store: "check", eventFiles: false }))
  const sqlite = openSqlite(join(root, "check.sqlite"))
  const batches = Array.from({ length: 20 }, (_, batch) =>
    Array.from({ length: 1 + batch * 2 }, (_, i): New => {
      const n = batch * 40 + i
      return {
        event: n % 10 === 9 ? closed(n, 7) : booked(n, 7),
        ...(n % 3 === 0 ? { tags: [`till:${n}`] } : {}),
        ...(batch % 4 === 1 ? { id: `id-${n}` } : {})
      }
    }))
  const inputs = (batch: ReadonlyArray<New>) =>
    batch.map(({ event, id, tags = [] }) =>
      Event.withMetadata(
        Event.withTags(event, tags as ReadonlyArray<`${string}:${string}`>),
        id === undefined ? {} : { id }
      )
    )
  /** What came of an append, in words. */
  const both = async (batch: ReadonlyArray<New>, query?: SqliteQuery, after?: number) => {
    const condition = query &&
      { failIfEventsMatch: queryOf(query), ...(after === undefined ? {} : { after: after as never }) }
    const own = await store.run(
      EventStore.append(inputs(batch), condition).pipe(
        Effect.map(({ duplicate, positions }) => ({ first: positions[0] as number, duplicate })),
        Effect.catch((error) => Effect.succeed(error._tag === "AppendRefused" ? error.reason._tag : error._tag))
      )
    )
    const other = (() => {
      try {
        const { duplicate, first } = sqlite.append(batch, query && { failIfEventsMatch: query, after })
        return { first, duplicate }
      } catch (error) {
        if (error instanceof Conflict) return "AppendConditionFailed"
        if (error instanceof IdConflict) return "EventIdConflict"
        throw error
      }
    })()
    deepStrictEqual(other, own)
    return own
  }

  for (const batch of batches) await both(batch)
  const head = sqlite.head()!
  const more: New = { event: booked(1_000, 7), tags: ["till:1000"] }
  // conditions, and ids that were given before
  deepStrictEqual(await both([more], { types: [], tags: ["account:a1"] }), "AppendConditionFailed")
  deepStrictEqual(await both([more], { types: ["Closed"], tags: ["account:a1", "till:9"] }), {
    first: head + 1,
    duplicate: false
  })
  deepStrictEqual(await both([more], { types: ["Booked"], tags: ["till:1000"] }, head + 1), {
    first: head + 2,
    duplicate: false
  })
  deepStrictEqual(await both([more], { types: ["Booked"], tags: ["till:1000"] }, head), "AppendConditionFailed")
  deepStrictEqual(
    (await both(batches[5]!, { types: [], tags: ["account:a1"] }) as { duplicate: boolean }).duplicate,
    true
  )
  deepStrictEqual(await both([more, batches[1]![0]!]), "EventIdConflict")

  const queries: ReadonlyArray<readonly [Query.Query<unknown>, SqliteQuery]> = [
    [Query.of([Booked, Closed]), { types: [], tags: [] }],
    [Query.of(Closed), { types: ["Closed"], tags: [] }],
    [Query.of(Booked, { account: "a1" }), { types: ["Booked"], tags: ["account:a1"] }],
    [Query.of([Booked, Closed], { account: "a1", branch: "b9" }), { types: [], tags: ["account:a1", "branch:b9"] }],
    [Query.of(Booked, { account: "nobody" }), { types: ["Booked"], tags: ["account:nobody"] }]
  ]
  for (const [query, rows] of queries) {
    const own = await store.run(EventStore.read(query))
    const other = sqlite.read(rows)
    deepStrictEqual(other.head, own.head)
    deepStrictEqual(other.events.map(comparable), own.events.map(comparable))
    deepStrictEqual([...sqlite.stream(rows)].map(comparable), own.events.map(comparable))
    deepStrictEqual(comparable(sqlite.readLast(rows)), comparable(await store.run(EventStore.readLast(query))))
    const page = { after: 30 as never, limit: 5 }
    deepStrictEqual(
      sqlite.read(rows, page).events.map(comparable),
      (await store.run(EventStore.read(query, page))).events.map(comparable)
    )
  }
  sqlite.close()
  await store.close()
}
