/**
 * Stores of a given size, and always the same events in them. Also a program:
 *
 *     node --import ./scripts/source.ts bench/generate.ts --root DIR --store NAME --events N
 *
 * It goes on where an earlier one stopped.
 */
import { Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { EventStore, EventStoreMaintenance, Opossum } from "../src/index.ts"
import { booked, whole } from "./setup.ts"

/** Each account has 20 events, spread evenly over the store. */
export const accountsOf = (events: number): number => Math.max(1, Math.floor(events / 20))
const batch = 1_000
const progressEvery = 2_000

export const layerOf = (root: string, store: string) =>
  Opossum.layer({ root, store, eventFiles: false, stateFiles: false })

/** Fills a store up to so many events. */
export const fill = async (
  root: string,
  store: string,
  events: number,
  progress: (text: string) => void
): Promise<void> => {
  const accounts = accountsOf(events)
  const program = Effect.gen(function*() {
    const first = (yield* EventStoreMaintenance.statistics).events
    if (first > events) throw new Error(`${join(root, store)} has ${whole(first)} events already: remove it`)
    const begun = performance.now()
    let told = begun
    for (let stored = first; stored < events;) {
      const count = Math.min(batch, events - stored)
      yield* EventStore.append(Array.from({ length: count }, (_, i) => booked(stored + i, accounts)))
      stored += count
      const now = performance.now()
      if (now - told < progressEvery && stored < events) continue
      told = now
      const rate = (stored - first) / (now - begun) * 1_000
      progress(
        `${store}: ${whole(stored)} of ${whole(events)} events, ${whole(rate)} /s, ` +
          `${Math.ceil((events - stored) / rate)} s left`
      )
    }
  })
  await Effect.runPromise(Effect.provide(program, layerOf(root, store)))
}

/**
 * A copy to work on, next to the store. What is never written again (sealed segments, runs of the index) is the same file under
 * another name, so that a large store is copied at once.
 */
export const copy = (from: string, to: string, store: string): void => {
  const entries = Fs.readdirSync(join(from, store), { recursive: true, withFileTypes: true })
  const isSegment = (path: string) => path.endsWith(".jsonl")
  const newest = entries.map((entry) => join(entry.parentPath, entry.name)).filter(isSegment).sort().at(-1)
  Fs.mkdirSync(join(to, store), { recursive: true })
  for (const entry of entries) {
    const source = join(entry.parentPath, entry.name)
    const target = join(to, source.slice(from.length))
    if (entry.isDirectory()) Fs.mkdirSync(target, { recursive: true })
    else if (isSegment(source) ? source !== newest : source.includes(`${store}/indices/`)) Fs.linkSync(source, target)
    else Fs.copyFileSync(source, target)
  }
}

/** Bytes of all files of a folder. */
export const bytesOf = (folder: string): number => {
  if (!Fs.existsSync(folder)) return 0
  let sum = 0
  for (const entry of Fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) sum += Fs.statSync(join(entry.parentPath, entry.name)).size
  }
  return sum
}

/** An option of the command line. */
export const argument = (name: string): string | undefined => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}

if (import.meta.main) {
  const [root, store, events] = ["root", "store", "events"].map(argument)
  if (root === undefined || store === undefined || !(Number(events) > 0)) {
    throw new Error("--root DIR --store NAME --events N")
  }
  await fill(root, store, Number(events), (text) => console.error(text))
}
