/**
 * The readable copy of each state, one JSON file per key. It follows the live generation at its own speed, in the process that writes
 * that, and is never in a save's way.
 *
 * A file is made by one rename, and what it holds is what its key's state was at some moment after it was saved last; so it does not
 * matter how often it is made. Files are not synced: after a new start of the machine all are compared.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type { Cursor } from "../../services/Ledger.ts"
import type { StoredEntry } from "../../services/ProjectionStore.ts"
import { folderOf, toFileName } from "./fileKey.ts"
import * as Host from "./host.ts"
import type { Hooks, Writer } from "./projectionClaim.ts"
import type { Place } from "./projectionFolder.ts"
import { elapsed, inRealTime } from "./realTime.ts"
import { isGone, type StateLog } from "./stateLog.ts"

/** So many files are made from one read. */
const filesPerStep = 256
/** So many files are made before other fibers get their turn. */
const filesPerTurn = 16
/** The checkpoint moves at most once in so many milliseconds: what was made since is made again after a kill. */
const checkpointInterval = 1000
/** How long is waited before a disk that refused is asked again, in milliseconds. */
const retryInterval = 250
/** How long closing waits for files that are missing, in milliseconds. */
const closingTime = 1000
/** In bytes; what is longer is damaged. */
const longestCheckpoint = 64 * 1024

// models

/** `states/checkpoint.json`: up to where in which generation's log the files are made. */
interface Checkpoint {
  readonly generation: string
  readonly cursor: Cursor
  /** The machine's start during which they were; empty where that cannot be told. */
  readonly boot: string
}

const parse = (bytes: Uint8Array): Checkpoint | undefined => {
  try {
    const found = JSON.parse(Buffer.from(bytes).toString("utf8")) as Partial<Checkpoint> | null
    const { boot, cursor, generation } = found ?? {}
    if (typeof generation !== "string" || typeof boot !== "string" || typeof cursor?.hash !== "string") return undefined
    const isCursor = [cursor.end, cursor.position, cursor.segment].every((n) => Number.isSafeInteger(n))
    return isCursor ? { generation, boot, cursor } : undefined
  } catch {
    return undefined
  }
}

const readme = `One file per state, for reading: open them, search them, look at their dates.

They are copies. What is changed or removed here changes nothing in the read model, and goes when its state changes.
A file lies in one of 256 folders, by a hash of its key; its name is its key, with a ^ before capital letters and
with what no file name may hold as %xx.
`

const encode = (json: unknown): Uint8Array => Buffer.from(JSON.stringify(json, null, 2) + "\n")

const toDate = (millis: number): string | number =>
  Math.abs(millis) <= 8.64e15 ? new Date(millis).toISOString() : millis

const stateJson = ({ created, key, position, state, tags, updated, version }: StoredEntry): Uint8Array =>
  encode({ key, version, position, created: toDate(created), updated: toDate(updated), tags, state })

/** Below `states`. */
export const fileOf = (key: string): string => `${folderOf(key)}/${toFileName(key)}.json`

// constructors

/** Runs beside a claim until the scope closes. */
export const make = Effect.fnUntraced(function*(place: Place, writer: Writer, isLost: Effect.Effect<boolean>) {
  const { storage, writeProtect } = place
  const root = `${place.folder}/states`
  const { boot } = Host.thisProcess
  const news = Latch.makeUnsafe(true)
  /** Keys whose files may be missing or old. */
  const dirty = new Set<string>()
  /** The log that `dirty` is about. */
  let known: StateLog | undefined
  /** Another generation is live: each file may be old, or of a key that is gone. */
  let isForeign = true
  /** Whether files may be right that are thought to be old. */
  let isChecking = false
  let saved = { at: -Infinity, position: -1, generation: 0 }
  const folders = new Set<string>()
  const closed = Deferred.makeUnsafe<void>()
  let isClosing = false

  const saveCheckpoint = Effect.fnUntraced(function*(log: StateLog) {
    const [generation, cursor] = yield* log.use((ledger) =>
      Effect.map(ledger.cursor, (cursor) => [ledger.storeId, cursor] as const)
    )
    // of a save that is not counted here yet
    if (cursor.position !== log.position || dirty.size > 0 || isForeign || known !== log) return
    saved = { at: elapsed(), position: cursor.position, generation: log.number }
    const text: Checkpoint = { generation, cursor, boot }
    yield* storage.replaceDocument(`${root}/checkpoint.json`, encode(text), { sync: false })
  })

  /** What changed since the checkpoint; or, without one that fits, all there is, and files that should not be there. */
  const compare = Effect.fnUntraced(function*(log: StateLog) {
    yield* storage.makeDirectory(root, { parents: false })
    yield* storage.replaceDocument(`${root}/README.txt`, Buffer.from(readme), { sync: false })
    const bytes = yield* storage.readDocument(`${root}/checkpoint.json`, { most: longestCheckpoint })
    const found = bytes && parse(bytes)
    if (found !== undefined && boot !== "" && found.boot === boot) {
      const keys = yield* log.use((ledger) =>
        Effect.scoped(Effect.gen(function*() {
          if (found.generation !== ledger.storeId || !(yield* ledger.holds(found.cursor))) return undefined
          const keys: Array<string> = []
          const scan = yield* ledger.scan(found.cursor)
          for (;;) {
            const commits = yield* scan.next
            if (commits.length === 0) return keys
            for (const { entries } of commits) {
              for (const entry of entries) {
                if (entry.kind === "event" && (entry.type === "set" || entry.type === "removed")) {
                  keys.push(entry.metadata.id)
                }
              }
            }
          }
        }))
      )
      if (keys !== undefined) {
        for (const key of keys) dirty.add(key)
        return
      }
    }
    isChecking = true
    const expected = new Set<string>()
    for (const { key } of log.index.entries()) {
      dirty.add(key)
      expected.add(fileOf(key))
    }
    for (const { kind, name: folder } of yield* storage.list(root)) {
      if (kind !== "directory" || !/^[0-9a-f]{2}$/.test(folder)) continue
      for (const { name } of yield* storage.list(`${root}/${folder}`)) {
        // a key may have come while this looks
        if (expected.has(`${folder}/${name}`) || !(name.endsWith(".json") || /^\..*\.tmp$/.test(name))) continue
        yield* storage.remove(`${root}/${folder}/${name}`)
      }
      yield* Effect.yieldNow
    }
    // Those that came meanwhile, and may have been removed just now, are made again.
    for (const { key } of log.index.entries()) dirty.add(key)
  })

  const put = Effect.fnUntraced(function*(entry: StoredEntry) {
    const path = `${root}/${fileOf(entry.key)}`
    const bytes = stateJson(entry)
    if (isChecking) {
      const found = yield* storage.readDocument(path, { most: bytes.length + 1 }).pipe(
        // replaced by the file, and not followed
        Effect.catchIf((error) => error.reason === "SymbolicLink", () => Effect.undefined)
      )
      if (found !== undefined && Buffer.compare(found, bytes) === 0) return
    }
    const folder = `${root}/${folderOf(entry.key)}`
    if (!folders.has(folder)) {
      yield* storage.makeDirectory(folder, { parents: false })
      folders.add(folder)
    }
    const modified = Math.min(Math.max(entry.updated, 0), 8.64e15)
    yield* storage.replaceDocument(path, bytes, { sync: false, modified, readOnly: writeProtect })
  })

  /** The next files. */
  const step = Effect.fnUntraced(function*(log: StateLog) {
    const keys: Array<string> = []
    for (const key of dirty) {
      if (keys.length === filesPerStep) break
      keys.push(key)
    }
    // what changes from here on is looked at again
    for (const key of keys) dirty.delete(key)
    yield* Effect.gen(function*() {
      const entries = yield* log.read(keys.flatMap((key) => log.index.get(key) ?? []))
      const states = new Map(entries.map((entry) => [entry.key, entry]))
      let made = 0
      for (const key of keys) {
        const entry = states.get(key)
        if (entry !== undefined) yield* put(entry)
        else yield* storage.remove(`${root}/${fileOf(key)}`)
        if (++made % filesPerTurn !== 0) continue
        yield* Effect.yieldNow
        if (yield* isLost) return
      }
    }).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) { for (const key of keys) dirty.add(key) }
        })
      )
    )
  })

  const follow = Effect.gen(function*() {
    for (;;) {
      // another process makes them by now
      if (writer.isLost() || (yield* isLost)) return
      const log = writer.live()
      if (log !== undefined && known !== log) {
        known = log
        if (isForeign) {
          isForeign = false
          yield* compare(log).pipe(Effect.onError(() =>
            Effect.sync(() => {
              isForeign = true
              known = undefined
            })
          ))
        }
      }
      if (log !== undefined && dirty.size > 0) {
        yield* step(log)
        continue
      }
      isChecking = false
      const isSaved = log === undefined || (saved.position === log.position && saved.generation === log.number)
      if (log !== undefined && !isSaved && (isClosing || elapsed() - saved.at >= checkpointInterval)) {
        yield* saveCheckpoint(log)
      }
      if (isClosing) return Deferred.doneUnsafe(closed, Exit.void)
      if (dirty.size > 0 || writer.live() !== log) continue
      news.closeUnsafe()
      yield* isSaved ? news.await : Effect.timeoutOption(news.await, checkpointInterval)
    }
  })

  let warned = ""
  const run = Effect.gen(function*() {
    for (;;) {
      const error = yield* Effect.match(follow, { onFailure: (error) => error, onSuccess: () => undefined })
      if (error === undefined) return
      // The log may have been replaced a moment ago. Everything else is told once, and tried again: a save never fails by it.
      if (isGone(error)) {
        if (!(yield* Effect.orElseSucceed(storage.exists(`${place.store}/store.json`), () => true))) return
        folders.clear()
      } else if (error.message !== warned) {
        warned = error.message
        yield* Effect.logWarning(`files of the states of ${place.name} are not written for the time being: ${warned}`)
      }
      if (isClosing) return
      yield* Effect.sleep(retryInterval)
    }
  })

  yield* run.pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.logError(`files of the states of ${place.name} are not written any more`, cause)
    ),
    Effect.ensuring(Effect.sync(() => Deferred.doneUnsafe(closed, Exit.void))),
    inRealTime,
    Effect.forkScoped
  )
  // registered last, so it runs first: a moment for what is missing
  yield* Effect.addFinalizer(() => {
    isClosing = true
    news.openUnsafe()
    return inRealTime(Effect.ignore(Effect.timeoutOption(Deferred.await(closed), closingTime)))
  })

  const hooks: Hooks = {
    changed: (keys) => {
      for (const key of keys) dirty.add(key)
      news.openUnsafe()
    },
    replaced: () => {
      isForeign = true
      dirty.clear()
      news.openUnsafe()
    },
    beforeBegin: Effect.void
  }
  return hooks
})
