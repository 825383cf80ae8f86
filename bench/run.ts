/**
 * How fast the store is on this machine's disk, beside the floor: the same bytes appended to a plain file and synced.
 *
 *     npm run bench              a store of 100,000 events
 *     npm run bench -- --smoke   a small one: shows that the bench works, not how fast
 *
 * Rounds of the store and of the floor alternate, and medians are given, since machines are noisy. Ratios are what counts.
 */
import { Effect, Schema, Stream } from "effect"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Event, EventStore, Opossum, Query, Tag } from "../src/index.ts"

// options

const isSmoke = process.argv.includes("--smoke")
const option = (name: string): string | undefined => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}
const size = Number(option("events") ?? (isSmoke ? 2_000 : 100_000))
const rounds = isSmoke ? 1 : 5
const appendsPerRound = isSmoke ? 50 : 2_000
const root = Fs.mkdtempSync(join(option("root") ?? tmpdir(), "effect-opossum-bench-"))

// events: 256 bytes of data, two tags

const Account = Schema.String.pipe(Tag.as("account"))
const Branch = Schema.String.pipe(Tag.as("branch"))
class Booked extends Event.Class<Booked>()("Booked", {
  account: Account,
  branch: Branch,
  cents: Schema.Int,
  text: Schema.String
}) {}
const text = "x".repeat(180)
let made = 0
let stored = 0
const booked = (): Booked => {
  const n = made++
  return new Booked({ account: `a${n % Math.max(1, Math.floor(size / 20))}`, branch: `b${n % 100}`, cents: n, text })
}
const guarded = (fiber: number) =>
  Effect.suspend(() => {
    const event = booked()
    const mine = Query.tags(`till:${fiber}-${event.cents}`)
    return EventStore.append(Event.withTags(event, [`till:${fiber}-${event.cents}`]), { failIfEventsMatch: mine })
  })

// measuring

const median = (values: ReadonlyArray<number>): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
const perSecond = (count: number, millis: number): number => (count / millis) * 1000
const whole = (n: number): string => Math.round(n).toLocaleString("en-US")

/** Events a second when each write of `count` events is followed by a data sync, by calls that block. */
const floor = (count: number, writes: number): number => {
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
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(effect, (value) => [value, performance.now() - start] as const)
  })

const rows: Array<readonly [string, string, string]> = []
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
    rows.push([
      name,
      `${whole(median(own))} /s`,
      `${(median(own) / median(other)).toFixed(2)} x ${against} (${whole(median(other))} /s)`
    ])
  })

// the workloads

const program = Effect.gen(function*() {
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
}).pipe(Effect.scoped)

const reading = Effect.gen(function*() {
  const scans: Array<number> = []
  for (let i = 0; i < Math.min(rounds, 3); i++) {
    const [count, millis] = yield* timed(Stream.runCount(EventStore.stream(Query.of(Booked))))
    scans.push(perSecond(count, millis))
  }
  rows.push(["scan of all events, decoded", `${whole(median(scans))} /s`, ""])
  const queries = isSmoke ? 20 : 500
  for (
    const [name, query] of [
      ["20 events by tag", (i: number) => Query.of(Booked, { account: `a${i % Math.max(1, Math.floor(size / 20))}` })],
      ["20 of 1,000 by two tags", (i: number) => Query.of(Booked, { account: `a${i % 100}`, branch: `b${i % 100}` })]
    ] as const
  ) {
    let found = 0
    const [, millis] = yield* timed(Effect.forEach(
      Array.from({ length: queries }, (_, i) => i * 7),
      (i) => Effect.map(EventStore.read(query(i)), ({ events }) => void (found += events.length)),
      { discard: true }
    ))
    rows.push([name, `${((millis / queries) * 1000).toFixed(0)} us`, `${(found / queries).toFixed(1)} events each`])
  }
  const [, millis] = yield* timed(Effect.forEach(
    Array.from({ length: queries }, (_, i) => i),
    (i) => EventStore.readLast(Query.of(Booked, { branch: `b${i % 100}` })),
    { discard: true }
  ))
  rows.push(["last event by tag", `${((millis / queries) * 1000).toFixed(0)} us`, ""])
})

const layer = Opossum.layer({ root, store: "bench", eventFiles: process.argv.includes("--event-files") })

try {
  await Effect.runPromise(Effect.provide(program, layer))
  const begun = performance.now()
  const opening = Effect.map(EventStore.head, () => performance.now() - begun)
  const millis = await Effect.runPromise(Effect.provide(opening, layer))
  rows.push([`open a store of ${whole(stored)} events`, `${millis.toFixed(0)} ms`, "with its first look at the head"])
  await Effect.runPromise(Effect.provide(reading, layer))
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  console.log(
    `\n${whole(stored)} events, event files ${process.argv.includes("--event-files") ? "on" : "off"}, ${root}\n`
  )
  for (const [name, value, note] of rows) {
    console.log(`${name.padEnd(widths[0]!)}  ${value.padStart(widths[1]!)}  ${note}`)
  }
} finally {
  Fs.rmSync(root, { recursive: true, force: true })
}
