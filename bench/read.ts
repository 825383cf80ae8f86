/**
 * Reads of a store of 100,000 events, all decoded into instances of their classes: warm, and first after opening. A store that was just
 * opened has nothing in memory of its own; that its files are in the system's page cache, and the program is compiled, is the same on
 * both sides.
 */
import { Effect, Stream } from "effect"
import { deepStrictEqual } from "node:assert/strict"
import { join } from "node:path"
import { EventStore, Opossum, Query } from "../src/index.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { comparable } from "./rivals/check.ts"
import type { Query as SqliteQuery } from "./rivals/sqlite.ts"
import { Booked, booked, bookedFor, Closed, closed, figures, inTurn, rateOf, whole } from "./setup.ts"
import { openOpossum, openSqlite } from "./subjects.ts"

const suite = "read"

const sizes = {
  smoke: { rounds: 1, events: 2_000, reads: 10 },
  standard: { rounds: 5, events: 100_000, reads: 400 },
  full: { rounds: 9, events: 100_000, reads: 2_000 }
} as const

/** Every so many-th event is of the rare type, or the only one of its account. */
const closedEvery = 101
const ownEvery = 200

const eventOf = (n: number, accounts: number): Booked | Closed =>
  n % closedEvery === 0
    ? closed(n, accounts)
    : n % ownEvery === 1
    ? bookedFor(`own-${n}`, n)
    : booked(n, accounts)

/** A question, as each side asks it. */
interface Question {
  readonly query: Query.Query<unknown>
  readonly rows: SqliteQuery
}

const everything: Question = { query: Query.of([Booked, Closed]), rows: { types: [], tags: [] } }

/** Made for the n-th time, each asks for something else; `share` is how often it is asked, beside the others. */
const questionsOf = (events: number, accounts: number) => {
  const some = (n: number) => booked((n * 37) % events, accounts)
  return [
    {
      name: "by type",
      share: 0.05,
      of: (): Question => ({ query: Query.of(Closed), rows: { types: ["Closed"], tags: [] } })
    },
    {
      name: "by a tag of its own",
      share: 1,
      of: (n: number): Question => {
        const account = `own-${ownEvery * (n % (events / ownEvery)) + 1}`
        return { query: Query.of(Booked, { account }), rows: { types: ["Booked"], tags: [`account:${account}`] } }
      }
    },
    {
      name: "by a tag",
      share: 1,
      of: (n: number): Question => {
        const { account } = some(n)
        return { query: Query.of(Booked, { account }), rows: { types: ["Booked"], tags: [`account:${account}`] } }
      }
    },
    {
      name: "by a frequent tag",
      share: 0.05,
      of: (n: number): Question => {
        const { branch } = some(n)
        return { query: Query.of(Booked, { branch }), rows: { types: ["Booked"], tags: [`branch:${branch}`] } }
      }
    },
    {
      name: "by two tags",
      share: 1,
      of: (n: number): Question => {
        const { account, branch } = some(n)
        return {
          query: Query.of(Booked, { account, branch }),
          rows: { types: ["Booked"], tags: [`account:${account}`, `branch:${branch}`] }
        }
      }
    }
  ] as const
}

const run = async ({ preset, progress, root }: Context): Promise<ReadonlyArray<Figure>> => {
  const { events, reads, rounds } = sizes[preset]
  const accounts = events / 20
  const questions = questionsOf(events, accounts)
  const layer = Opossum.layer({ root, store: "read", eventFiles: false })
  const file = join(root, "read.sqlite")
  let store = openOpossum(layer)
  let sqlite = openSqlite(file)

  progress(`storing ${whole(events)} events`)
  for (let first = 0; first < events; first += 1_000) {
    const batch = Array.from({ length: 1_000 }, (_, i) => eventOf(first + i, accounts))
    await store.run(EventStore.append(batch))
    sqlite.append(batch.map((event) => ({ event })))
  }

  const out: Array<Figure> = []
  const micros = async (count: number, run: () => unknown) => 1_000_000 / (await rateOf(count, run))
  const scan = () => rateOf(events, () => store.run(Stream.runDrain(EventStore.stream(everything.query))))
  const scanSqlite = () =>
    rateOf(events, () => {
      let count = 0
      for (const _ of sqlite.stream(everything.rows)) count++
      if (count !== events) throw new Error(`SQLite has ${count} events`)
    })
  const readAll = (count: number, of: (n: number) => Question) =>
    store.run(Effect.gen(function*() {
      for (let n = 0; n < count; n++) yield* EventStore.read(of(n).query)
    }))
  const readAllSqlite = (count: number, of: (n: number) => Question): void => {
    for (let n = 0; n < count; n++) sqlite.read(of(n).rows)
  }

  progress("scans")
  await scan()
  await scanSqlite()
  out.push(
    ...figures(
      { suite, workload: "scan of all events", unit: "/s" },
      await inTurn(rounds, {
        "opossum": scan,
        "sqlite": scanSqlite
      })
    )
  )
  for (const { name, of, share } of questions) {
    const count = Math.max(2, Math.round(reads * share))
    let found = 0
    // both find the same; and all is warm after it
    for (let n = 0; n < count; n++) {
      const { query, rows } = of(n)
      const own = await store.run(EventStore.read(query))
      deepStrictEqual(sqlite.read(rows).events.map(comparable), own.events.map(comparable))
      found += own.events.length
    }
    const events = Math.round(found / count)
    const workload = `${name}, ${whole(events)} ${events === 1 ? "event" : "events"}`
    progress(workload)
    out.push(
      ...figures(
        { suite, workload, unit: "us" },
        await inTurn(rounds, {
          "opossum": () => micros(count, () => readAll(count, of)),
          "sqlite": () => micros(count, () => readAllSqlite(count, of))
        })
      )
    )
  }

  progress("the last event")
  const lastOf = questions[3].of
  const last = (count: number) =>
    store.run(Effect.gen(function*() {
      for (let n = 0; n < count; n++) yield* EventStore.readLast(lastOf(n).query)
    }))
  const lastSqlite = (count: number): void => {
    for (let n = 0; n < count; n++) sqlite.readLast(lastOf(n).rows)
  }
  await last(reads)
  lastSqlite(reads)
  out.push(
    ...figures(
      { suite, workload: "the last event by a tag", unit: "us" },
      await inTurn(rounds, {
        "opossum": () => micros(reads, () => last(reads)),
        "sqlite": () => micros(reads, () => lastSqlite(reads))
      })
    )
  )

  progress("after opening")
  const first = questions[2].of
  /** Opens a side anew before each round. */
  const opened = async (then: () => unknown): Promise<number> => {
    await store.close()
    store = openOpossum(layer)
    const start = performance.now()
    await store.run(EventStore.head)
    await then()
    return performance.now() - start
  }
  const openedSqlite = async (then: () => unknown): Promise<number> => {
    sqlite.close()
    const start = performance.now()
    sqlite = openSqlite(file)
    sqlite.head()
    await then()
    return performance.now() - start
  }
  const cold = [
    ["opening, with a look at the head", () => undefined, () => undefined],
    ["opening, then 20 events by a tag", () => readAll(1, first), () => readAllSqlite(1, first)],
    ["opening, then a scan of all events", scan, scanSqlite]
  ] as const
  for (const [workload, own, other] of cold) {
    out.push(
      ...figures(
        { suite, workload, unit: "ms" },
        await inTurn(rounds, {
          "opossum": () => opened(own),
          "sqlite": () => openedSqlite(other)
        })
      )
    )
  }
  sqlite.close()
  await store.close()
  return out
}

export const read: Suite = { name: suite, run }
