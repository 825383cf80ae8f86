/**
 * Files that are, or claim to be, much larger than anything that a store makes, each opened on a real disk: a program of its own, since the
 * memory that it takes is what counts.
 *
 *     node --import ./scripts/source.ts test/fuzz/giants.ts FOLDER
 *
 * Prints a line of JSON for each: what it was, and how it ended.
 */
import { Event, EventStore, EventStoreMaintenance, Opossum, Query } from "effect-opossum"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import * as fs from "node:fs"
import { crc32 } from "node:zlib"

const root = process.argv[2]!
const store = "shop"
const at = (path: string) => `${root}/${store}/${path}`
const gibi = 1024 ** 3
const mebi = 1024 ** 2

const layer = (readOnly: boolean) => Opossum.layer({ root, store, readOnly })

const make = Effect.gen(function*() {
  for (let n = 0; n < 3; n++) yield* EventStore.append(Event.raw("A", { n }, { tags: [`n:${n}`] }))
  yield* EventStoreMaintenance.eventFiles.waitFor((yield* EventStore.head)!)
}).pipe(Effect.provide(layer(false)))

const use = Effect.gen(function*() {
  const { events } = yield* EventStore.read(Query.tags("n:1"))
  yield* Stream.runDrain(EventStoreMaintenance.verify)
  return events.length
})

// lines that fit

const sealed = (text: string): Buffer => {
  const line = Buffer.from(text)
  return Buffer.concat([line, Buffer.from(`,"crc":"${crc32(line).toString(16).padStart(8, "0")}"}\n`)])
}

const event = (position: number, bytes: number): Buffer =>
  sealed(
    `{"kind":"event","position":${position},"type":"A","version":1,"tags":[],"metadata":{"id":"${position}","timestamp":"2030-01-31T12:00:00.000Z"},"data":{"text":"${
      "x".repeat(bytes)
    }"}`
  )

// cases

const segment = "ledger/0000000001.jsonl"
/** NULs up to there, which take no room on the disk. */
const grow = (path: string, size: number) => () => {
  if (!fs.existsSync(at(path))) fs.writeFileSync(at(path), "")
  fs.truncateSync(at(path), size)
}
const append = (...parts: ReadonlyArray<() => Buffer>) => () => {
  for (const part of parts) fs.appendFileSync(at(segment), part())
}

const cases: ReadonlyArray<readonly [name: string, damage: () => void]> = [
  ["a newest segment that ends in 256 MiB of NULs", grow(segment, gibi / 4)],
  ["a baton of 5 GiB", () => {
    const baton = fs.readdirSync(at("ledger")).find((name) => name.endsWith(".free"))!
    fs.truncateSync(at(`ledger/${baton}`), 5 * gibi)
  }],
  ["a store.json of 5 GiB", grow("store.json", 5 * gibi)],
  ["a checkpoint of 5 GiB", grow("events/checkpoint.json", 5 * gibi)],
  ["a run of the index of 5 GiB", () => {
    fs.mkdirSync(at("indices"), { recursive: true })
    grow("indices/0000000000000001-0000000000000003.run", 5 * gibi)()
  }],
  ["an empty segment of 256 MiB above", grow("ledger/0000000002.jsonl", gibi / 4)],
  ["a line of 20 MiB without an end", append(() => Buffer.alloc(20 * mebi, "x"))],
  ["a line of 17 MiB, whole and sealed", append(() => event(4, 17 * mebi))],
  // one byte more than a batch may have
  ["a batch of 75 MiB, without an end", append(...[4, 5, 6, 7, 8].map((n) => () => event(n, 15 * mebi)))],
  ["many marks", append(() => Buffer.from("\n ".repeat(mebi)))],
  ["many lines that are none", append(() => Buffer.from("{}\n".repeat(mebi)))],
  [
    "nesting of 15 million levels",
    append(() => sealed(`{"kind":"event","position":4,"data":${"[".repeat(7 * mebi)}${"]".repeat(7 * mebi)}`))
  ]
]

for (const [name, damage] of cases) {
  fs.rmSync(`${root}/${store}`, { recursive: true, force: true })
  await Effect.runPromise(make)
  damage()
  const ends: Array<string> = []
  for (const readOnly of [true, false]) {
    const exit = await Effect.runPromiseExit(Effect.provide(use, layer(readOnly)))
    const defect = Exit.isFailure(exit) ? exit.cause.reasons.find((reason) => reason._tag === "Die") : undefined
    ends.push(
      Exit.isSuccess(exit)
        ? `found ${exit.value}`
        : defect !== undefined
        ? `died: ${Cause.pretty(exit.cause)}`
        : String(Cause.squash(exit.cause))
    )
  }
  console.log(JSON.stringify({ name, ends, mebibytes: Math.round(process.resourceUsage().maxRSS / 1024) }))
}
