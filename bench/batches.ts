/**
 * Batches of events by one fiber, each under one condition: on a tag that nobody has yet, and that its first event brings.
 * Events are made while the clock runs. The floors write and sync the bytes of each batch.
 */
import { Effect } from "effect"
import { join } from "node:path"
import { Event, EventStore, EventStoreMaintenance, Opossum, Query } from "../src/index.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { booked, figures, inTurn, rateOf, whole } from "./setup.ts"
import { openFloor, openLog, openOpossum, openSqlite } from "./subjects.ts"

const suite = "batches"
const accounts = 5_000

/** Batches a round, by the events in each. */
const sizes = {
  smoke: { rounds: 1, warmUp: 1, counts: { 10: 5, 100: 2, 1_000: 1 } },
  standard: { rounds: 5, warmUp: 10, counts: { 10: 300, 100: 50, 1_000: 10 } },
  full: { rounds: 9, warmUp: 20, counts: { 10: 1_000, 100: 200, 1_000: 40 } }
} as const

const run = async ({ preset, progress, root }: Context): Promise<ReadonlyArray<Figure>> => {
  const { counts, rounds, warmUp } = sizes[preset]
  const store = openOpossum(Opossum.layer({ root, store: "batches", eventFiles: false }))
  const sqlite = openSqlite(join(root, "batches.sqlite"))
  const log = openLog(join(root, "log.lmdb"))
  const floor = openFloor(join(root, "floor"))

  let own = 0
  const append = (size: number, batches: number) =>
    store.run(Effect.repeat(
      Effect.suspend(() => {
        const till = `till:${own}` as const
        const events: Array<Event.Input> = [Event.withTags(booked(own++, accounts), [till])]
        while (events.length < size) events.push(booked(own++, accounts))
        return EventStore.append(events, { failIfEventsMatch: Query.tags(till) })
      }),
      { times: batches - 1 }
    ))
  let other = 0
  const appendSqlite = (size: number, batches: number): void => {
    for (let i = 0; i < batches; i++) {
      const tags = [`till:${other}`]
      const events = Array.from({ length: size }, (_, at) => {
        const event = booked(other++, accounts)
        return at === 0 ? { event, tags } : { event }
      })
      sqlite.append(events, { failIfEventsMatch: { types: [], tags } })
    }
  }

  progress("warming up")
  for (const size of [10, 100, 1_000]) {
    await append(size, warmUp)
    appendSqlite(size, warmUp)
  }

  const out: Array<Figure> = []
  const bytesStored = Effect.map(EventStoreMaintenance.statistics, ({ bytes }) => bytes)
  for (const size of [10, 100, 1_000] as const) {
    const batches = counts[size]
    const count = size * batches
    const workload = `batches of ${whole(size)}`
    progress(`${workload}: ${rounds} x ${whole(count)} events`)
    const before = await store.run(bytesStored)
    await append(size, 2)
    const bytes = Buffer.alloc(Math.round((await store.run(bytesStored) - before) / 2), "x")
    out.push(
      ...figures(
        { suite, workload, unit: "/s" },
        await inTurn(rounds, {
          "opossum": () => rateOf(count, () => append(size, batches)),
          "sqlite": () => rateOf(count, () => appendSqlite(size, batches)),
          "lmdb, bare log": () =>
            rateOf(count, () => {
              for (let i = 0; i < batches; i++) log.put(bytes)
            }),
          "floor, blocking": () => rateOf(count, () => floor.blocking(bytes, batches)),
          "floor, asynchronous": () => rateOf(count, () => floor.asynchronous(bytes, batches))
        })
      )
    )
  }
  for (const { close } of [store, sqlite, log, floor]) await close()
  return out
}

export const batches: Suite = { name: suite, run }
