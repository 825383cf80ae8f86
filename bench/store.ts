/**
 * Appending, reading and opening, beside the floor: the same bytes appended to a plain file and synced.
 */
import { Effect, Stream } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { Event, EventStore, Opossum, Query } from "../src/index.ts"
import * as Setup from "./setup.ts"
import { Booked, eventFiles, isSmoke, median, perSecond, report, timed, whole } from "./setup.ts"

const size = Setup.events
const rounds = isSmoke ? 1 : 5
const appendsPerRound = isSmoke ? 50 : 2_000
const accounts = Math.max(1, Math.floor(size / 20))

let made = 0
let stored = 0
const booked = (): Booked => Setup.booked(made++, accounts)
const guarded = (fiber: number) =>
  Effect.suspend(() => {
    const event = booked()
    const mine = Query.tags(`till:${fiber}-${event.cents}`)
    return EventStore.append(Event.withTags(event, [`till:${fiber}-${event.cents}`]), { failIfEventsMatch: mine })
  })

/** Events a second when each write of `count` events is followed by a data sync, by calls that block. */
const floorOf = (root: string) => (count: number, writes: number): number => {
  const file = Fs.openSync(join(root, "floor"), "a")
  const bytes = Buffer.alloc(420 * count + 170, "x")
  const start = performance.now()
  for (let i = 0; i < writes; i++) {
    Fs.writeSync(file, bytes)
    Fs.fdatasyncSync(file)
  }
  const millis = performance.now() - start
  Fs.closeSync(file)
  return perSecond(count * writes, millis)
}
const compare = <E, R>(
  name: string,
  count: number,
  run: Effect.Effect<unknown, E, R>,
  baseline: () => number,
  against: string
): Effect.Effect<void, E, R> =>
  Effect.gen(function*() {
    const own: Array<number> = []
    const other: Array<number> = []
    for (let i = 0; i < rounds; i++) {
      other.push(baseline())
      own.push(perSecond(count, (yield* timed(run))[1]))
    }
    report(
      name,
      `${whole(median(own))} /s`,
      `${(median(own) / median(other)).toFixed(2)} x ${against} (${whole(median(other))} /s)`
    )
  })

// the workloads

const appending = (floor: ReturnType<typeof floorOf>) =>
  Effect.gen(function*() {
    const n = appendsPerRound
    // until the compiler has done its work
    yield* Effect.forEach(Array.from({ length: isSmoke ? 10 : 10_000 }), () => guarded(0), { discard: true })
    yield* compare(
      "guarded append, one fiber",
      n,
      Effect.forEach(Array.from({ length: n }), () => guarded(0), { discard: true }),
      () => floor(1, n),
      "floor of one"
    )
    yield* compare(
      "guarded append, 64 fibers",
      n * 4,
      Effect.forEach(
        Array.from({ length: 64 }, (_, fiber) => fiber),
        (fiber) => Effect.forEach(Array.from({ length: Math.ceil(n / 16) }), () => guarded(fiber), { discard: true }),
        { concurrency: "unbounded", discard: true }
      ),
      () => floor(1, n),
      "floor of one"
    )
    const batch = isSmoke ? 100 : 1_000
    yield* compare(
      `batches of ${batch}`,
      batch * 10,
      Effect.forEach(Array.from({ length: 10 }), () => EventStore.append(Array.from({ length: batch }, booked)), {
        discard: true
      }),
      () => floor(batch, 10),
      "floor of batches"
    )
    stored = (yield* EventStore.head) ?? 0
    while (stored < size) {
      stored = (yield* EventStore.append(Array.from({ length: Math.min(1_000, size - stored) }, booked))).head
    }
  })

const reading = Effect.gen(function*() {
  const scans: Array<number> = []
  for (let i = 0; i < Math.min(rounds, 3); i++) {
    const [count, millis] = yield* timed(Stream.runCount(EventStore.stream(Query.of(Booked))))
    scans.push(perSecond(count, millis))
  }
  report("scan of all events, decoded", `${whole(median(scans))} /s`, "")
  const queries = isSmoke ? 20 : 500
  for (
    const [name, query] of [
      ["20 events by tag", (i: number) => Query.of(Booked, { account: `a${i % accounts}` })],
      ["20 of 1,000 by two tags", (i: number) => Query.of(Booked, { account: `a${i % 100}`, branch: `b${i % 100}` })]
    ] as const
  ) {
    let found = 0
    const [, millis] = yield* timed(Effect.forEach(
      Array.from({ length: queries }, (_, i) => i * 7),
      (i) => Effect.map(EventStore.read(query(i)), ({ events }) => void (found += events.length)),
      { discard: true }
    ))
    report(name, `${((millis / queries) * 1000).toFixed(0)} us`, `${(found / queries).toFixed(1)} events each`)
  }
  const [, millis] = yield* timed(Effect.forEach(
    Array.from({ length: queries }, (_, i) => i),
    (i) => EventStore.readLast(Query.of(Booked, { branch: `b${i % 100}` })),
    { discard: true }
  ))
  report("last event by tag", `${((millis / queries) * 1000).toFixed(0)} us`, "")
})

export const runStore = async (root: string): Promise<void> => {
  const layer = Opossum.layer({ root, store: "bench", eventFiles })
  Setup.section(`store: ${whole(size)} events, event files ${eventFiles ? "on" : "off"}`)
  await Effect.runPromise(Effect.provide(appending(floorOf(root)), layer))
  const begun = performance.now()
  const opening = Effect.map(EventStore.head, () => performance.now() - begun)
  const millis = await Effect.runPromise(Effect.provide(opening, layer))
  report(`open a store of ${whole(stored)} events`, `${millis.toFixed(0)} ms`, "with its first look at the head")
  await Effect.runPromise(Effect.provide(reading, layer))
}
