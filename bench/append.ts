/**
 * Appends of one event under a condition of its own: nobody has its tag yet. By so many fibers, each of which waits for each of its
 * appends. Events are made while the clock runs.
 *
 * SQLite takes them one after another, whatever the number of fibers; `sqlite, grouped` lets those that wait share a transaction. The
 * floors write and sync the bytes of each event, LMDB stores them: neither encodes, checks or finds anything.
 */
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { randomUUID } from "node:crypto"
import { join } from "node:path"
import { Event, EventStore, EventStoreMaintenance, Opossum, Query } from "../src/index.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { checkSqlite } from "./rivals/check.ts"
import { type Appended, makeGroups } from "./rivals/sqlite.ts"
import { booked, figures, inTurn, median, perSecond, rateOf, whole } from "./setup.ts"
import { openFloor, openLog, openOpossum, openSqlite } from "./subjects.ts"

const suite = "append"
const accounts = 5_000

const sizes = {
  smoke: { rounds: 1, warmUp: 64, counts: { 1: 32, 8: 64, 64: 128, 512: 512 } },
  standard: { rounds: 5, warmUp: 2_048, counts: { 1: 1_000, 8: 2_000, 64: 4_096, 512: 4_096 } },
  full: { rounds: 9, warmUp: 16_384, counts: { 1: 4_000, 8: 8_000, 64: 16_000, 512: 16_384 } }
} as const

/** So many times in all, by so many loops that take turns. */
const loops = (fibers: number, count: number, each: () => Promise<unknown>): Promise<unknown> =>
  Promise.all(Array.from({ length: fibers }, async () => {
    for (let i = 0; i < count / fibers; i++) await each()
  }))

const makeOpossum = (layer: Parameters<typeof openOpossum<Opossum.OpenError>>[0]) => {
  const store = openOpossum(layer)
  let n = 0
  const guarded = (hasId: boolean) =>
    Effect.suspend(() => {
      const till = `till:${n}` as const
      const event = Event.withTags(booked(n++, accounts), [till])
      return EventStore.append(hasId ? Event.withMetadata(event, { id: randomUUID() }) : event, {
        failIfEventsMatch: Query.tags(till)
      })
    })
  return {
    ...store,
    append: (fibers: number, count: number, hasId = false) =>
      store.run(Effect.forEach(
        Array.from({ length: fibers }),
        () => Effect.repeat(guarded(hasId), { times: count / fibers - 1 }),
        { concurrency: "unbounded", discard: true }
      ))
  }
}

const makeSqlite = (file: string) => {
  const store = openSqlite(file)
  const group = makeGroups(store)
  let n = 0
  const guarded = <A>(
    append: (...args: Parameters<typeof store.append>) => A,
    hasId: boolean
  ): A => {
    const tags = [`till:${n}`]
    const event = booked(n++, accounts)
    return append([hasId ? { event, tags, id: randomUUID() } : { event, tags }], {
      failIfEventsMatch: { types: [], tags }
    })
  }
  return {
    ...store,
    append: (count: number, hasId = false): void => {
      for (let i = 0; i < count; i++) guarded<Appended>(store.append, hasId)
    },
    appendGrouped: (fibers: number, count: number) => loops(fibers, count, () => guarded(group, false))
  }
}

const run = async ({ preset, progress, root }: Context): Promise<ReadonlyArray<Figure>> => {
  const { counts, rounds, warmUp } = sizes[preset]
  progress("SQLite answers as the store does")
  await checkSqlite(root)

  const plain = makeOpossum(Opossum.layer({ root, store: "plain", eventFiles: false }))
  const withFiles = makeOpossum(Opossum.layer({ root, store: "event-files" }))
  const memory = makeOpossum(Opossum.layerMemory)
  const sqlite = makeSqlite(join(root, "single.sqlite"))
  const grouped = makeSqlite(join(root, "grouped.sqlite"))
  const log = openLog(join(root, "log.lmdb"))
  const floor = openFloor(join(root, "floor"))

  /** In step before the next one is measured. */
  const filesMade = () =>
    withFiles.run(Effect.gen(function*() {
      const head = (yield* EventStore.head)!
      const behind = head - ((yield* EventStoreMaintenance.eventFiles.position) ?? 0)
      const start = performance.now()
      yield* EventStoreMaintenance.eventFiles.waitFor(head)
      return { behind, millis: performance.now() - start }
    }))

  progress(`warming up, ${whole(warmUp)} appends each`)
  for (const store of [plain, withFiles, memory]) {
    await store.append(64, warmUp)
    await store.append(1, warmUp / 4)
  }
  await filesMade()
  sqlite.append(warmUp + warmUp / 4)
  await grouped.appendGrouped(64, warmUp)
  grouped.append(warmUp / 4)

  /** What one append of one event adds to the ledger. */
  const ledgerBytes = () => plain.run(Effect.map(EventStoreMaintenance.statistics, ({ bytes }) => bytes))
  const before = await ledgerBytes()
  await plain.append(1, 32)
  const bytes = Buffer.alloc(Math.round((await ledgerBytes() - before) / 32), "x")
  floor.blocking(bytes, 200)
  await floor.asynchronous(bytes, 200)

  const out: Array<Figure> = []
  for (const fibers of [1, 8, 64, 512] as const) {
    const count = counts[fibers]
    const workload = `guarded append, ${fibers === 1 ? "one fiber" : `${fibers} fibers`}`
    progress(`${workload}: ${rounds} x ${whole(count)}`)
    const behind: Array<number> = []
    const later: Array<number> = []
    const untilMade: Array<number> = []
    const found = await inTurn(rounds, {
      "opossum": () => rateOf(count, () => plain.append(fibers, count)),
      "opossum, event files": async () => {
        const rate = await rateOf(count, () => withFiles.append(fibers, count))
        const made = await filesMade()
        // these files are not synced, and would be with the next one's
        spawnSync("sync")
        behind.push(made.behind)
        later.push(made.millis)
        untilMade.push(perSecond(count, (count / rate) * 1000 + made.millis))
        return rate
      },
      "opossum, memory": () => rateOf(count, () => memory.append(fibers, count)),
      "sqlite": () => rateOf(count, () => sqlite.append(count)),
      ...(fibers === 1
        ? {}
        : { "sqlite, grouped": () => rateOf(count, () => grouped.appendGrouped(fibers, count)) }),
      "lmdb, bare log": () =>
        rateOf(count, () => {
          if (fibers > 1) return loops(fibers, count, () => log.putGrouped(bytes))
          for (let i = 0; i < count; i++) log.put(bytes)
          return undefined
        }),
      "floor, blocking": () => floor.blocking(bytes, count),
      "floor, asynchronous": () => floor.asynchronous(bytes, count)
    })
    const note = `${whole(median(behind))} event files are not made yet at the end, and are ${
      median(later).toFixed(0)
    } ms later`
    out.push(...figures({ suite, workload, unit: "/s" }, found, { "opossum, event files": note }))
    out.push(
      ...figures({ suite, workload: `${workload}, until event files are made`, unit: "/s" }, {
        "opossum, event files": untilMade
      })
    )
  }

  const workload = "guarded append, one fiber, ids given"
  progress(workload)
  out.push(
    ...figures(
      { suite, workload, unit: "/s" },
      await inTurn(rounds, {
        "opossum": () => rateOf(counts[1], () => plain.append(1, counts[1], true)),
        "sqlite": () => rateOf(counts[1], () => sqlite.append(counts[1], true))
      })
    )
  )
  for (const { close } of [plain, withFiles, memory, sqlite, grouped, log, floor]) await close()
  return out
}

export const append: Suite = { name: suite, run }
