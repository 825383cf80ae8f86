/**
 * The readable copy of each event, one JSON file per event. It follows the ledger at its own speed and is never in an append's way.
 *
 * A file is a function of the event's confirmed ledger line alone and gets its name by one rename, so it does not matter who makes it, or
 * how often. One process at a time does, from a checkpoint on. Which files are to be made is decided here; where many are missing, a
 * thread makes them.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import { performance } from "node:perf_hooks"
import * as Metrics from "../../internal/metrics.ts"
import type { Position } from "../../Position.ts"
import * as EventStore from "../../services/EventStore.ts"
import { Index } from "../../services/Index.ts"
import {
  type Commit,
  type Cursor,
  type EventEntry,
  Ledger,
  type LedgerError,
  type TagsEntry
} from "../../services/Ledger.ts"
import { Lock } from "../../services/Lock.ts"
import { Storage } from "../../services/Storage.ts"
import { encode, encodeEvent, eventName, firstIn, folderOf, lastIn, tagsName } from "./eventFileFormat.ts"
import * as EventFilesThread from "./EventFilesThread.ts"
import { type History, toStoreError } from "./History.ts"
import * as Host from "./host.ts"
import { elapsed, inRealTime } from "./realTime.ts"
import { segmentName } from "./StoreFolder.ts"

// options

export interface Options {
  readonly store: string
  readonly enabled: boolean
  readonly writeProtect: boolean
  /** Whether appends wait: they come first. */
  readonly isBusy: () => boolean
}

/** So many files are made before the checkpoint moves. */
const filesPerStep = 256
/** So many files are made here before other fibers get their turn. */
const filesPerTurn = 16
/** How long appends are given way to before some more files are made here all the same, in milliseconds. */
const longestPause = 50
/** With more files missing than this a thread is started to make them. */
const manyMissing = 500
/** While events are appended it pauses for so many times as long as it worked: it wants the same processors and the same disk as they do. */
const pausesBesideAppends = 19
/** With nothing to do for so long, in milliseconds, it ends. */
const idleTime = 10_000
/** Of a job's lines. */
const bytesPerJob = 4 * 1024 * 1024
/** So many records are known in advance, if there are as many: enough for a whole folder. */
const recordsAhead = 2000
/** How long a process waits before it asks again whether it may make files, in milliseconds. */
const retryInterval = 250
/** How long closing waits for files that are missing, in milliseconds. */
const closingTime = 1000
/** In bytes; what is longer is damaged. */
const longestCheckpoint = 64 * 1024

/** What `temporaryFor` calls a folder of events. */
const temporaryFolder = /^\.\d{7,}\.\d+\.[0-9a-f]{12}\.tmp$/

// models

export interface EventFiles {
  readonly position: Effect.Effect<Position | undefined, EventStore.EventStoreError>
  readonly waitFor: (position: Position) => Effect.Effect<void, EventStore.EventStoreError>
  /** Says that there is something new. */
  readonly wake: () => void
}

/** `events/checkpoint.json` */
interface Checkpoint {
  readonly store: string
  /** The last position that has its file, and where its commit ends. */
  readonly cursor: Cursor
  /** The machine's start during which the last files were made; empty where that cannot be told. */
  readonly boot: string
  /** Where those begin, of which it is not known that the disk has them; `null`: at the beginning. */
  readonly since: Cursor | null
}

const isCursor = (u: unknown): u is Cursor => {
  if (typeof u !== "object" || u === null) return false
  const { end, hash, position, segment } = u as Partial<Cursor>
  return [end, position, segment].every((n) => Number.isSafeInteger(n)) && typeof hash === "string"
}

/** The checkpoint, or `undefined` if it is damaged: then all files are made again. */
const parse = (bytes: Uint8Array): Checkpoint | undefined => {
  try {
    const found = JSON.parse(Buffer.from(bytes).toString("utf8")) as Partial<Checkpoint> | null
    const { boot, cursor, since, store } = found ?? {}
    if (typeof store !== "string" || typeof boot !== "string" || !isCursor(cursor)) return undefined
    return since === null || isCursor(since) ? { store, boot, cursor, since } : undefined
  } catch {
    return undefined
  }
}

const readme = `One file per event, for reading: open them, search them, look at their dates.

They are copies. The record of events is ../ledger, and what is changed or removed here changes nothing there.
Tags that were added to an event later stand beside it, in <position>.tags.json.
`

/** A record whose file is to be made, and its commit. */
interface Todo {
  readonly entry: EventEntry | TagsEntry
  readonly commit: Commit
}

/** The first ones, which are events of one folder and one segment, and all of them to be mended or none. */
const batchOf = (todo: ReadonlyArray<Todo>, most: number, mendUpTo: number): ReadonlyArray<Todo> => {
  const { commit, entry: { position, segment } } = todo[0]!
  const folder = folderOf(position)
  let bytes = 0
  let count = 0
  for (const next of todo) {
    if (count > 0) {
      const isAlike = next.entry.kind === "event" && next.entry.segment === segment &&
        folderOf(next.entry.position) === folder && next.commit.last <= mendUpTo === commit.last <= mendUpTo
      bytes += next.entry.length
      if (!isAlike || count >= most || bytes > bytesPerJob) break
    }
    count++
  }
  return todo.slice(0, count)
}

// constructors

export const make = (
  history: History,
  options: Options
): Effect.Effect<EventFiles, never, Ledger | Index | Lock | Storage | Scope.Scope> =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const index = yield* Index
    const lock = yield* Lock
    const storage = yield* Storage
    const root = `${options.store}/events`
    const checkpoint = `${root}/checkpoint.json`
    const { boot } = Host.thisProcess
    const place = yield* EventFilesThread.Place
    const thread = place === undefined || !options.enabled
      ? undefined
      : yield* EventFilesThread.make({ ...place, writeProtect: options.writeProtect })

    const news = Latch.makeUnsafe(true)
    const waiters = new Set<
      { readonly position: number; readonly deferred: Deferred.Deferred<void, EventStore.EventStoreError> }
    >()
    let reached = 0

    const reach = (position: number) => {
      reached = position
      for (const waiter of waiters) {
        if (waiter.position > position) continue
        waiters.delete(waiter)
        Deferred.doneUnsafe(waiter.deferred, Effect.void)
      }
    }

    /** Why none can be made for the time being. */
    let failure: LedgerError | undefined
    let ended: EventStore.EventStoreError | undefined
    const failAll = (reason: EventStore.EventStoreError["reason"]) => {
      ended = new EventStore.EventStoreError({ reason })
      for (const waiter of waiters) Deferred.doneUnsafe(waiter.deferred, Effect.fail(ended))
      waiters.clear()
    }

    /** The checkpoint, if it is one of this very history. */
    const readCheckpoint = Effect.gen(function*() {
      const bytes = yield* storage.readDocument(checkpoint, { most: longestCheckpoint })
      if (bytes === undefined) return undefined
      const found = parse(bytes)
      if (found?.store !== ledger.storeId) return undefined
      return (yield* ledger.holds(found.cursor)) ? found : undefined
    })

    /**
     * Where to go on. Files are not synced as they are made, so after another start of the machine, which may have been after a power
     * loss, those made since the start before are looked at again, up to `mend`.
     */
    const whereToBegin = Effect.gen(function*() {
      const found = yield* readCheckpoint
      if (found === undefined) return { cursor: undefined, since: null, mend: 0 }
      const { cursor, since } = found
      if (boot !== "" && found.boot === boot) return { cursor, since, mend: 0 }
      const from = since !== null && (yield* ledger.holds(since)) ? since : undefined
      return { cursor: from, since: from ?? null, mend: cursor.position }
    })

    /** Whether what a power loss left is what it should be; if not, it is made to last this time. */
    const differs = (path: string, bytes: Uint8Array) =>
      storage.readDocument(path, { most: bytes.length + 1 }).pipe(
        Effect.map((found) => found === undefined || Buffer.compare(found, bytes) !== 0),
        // replaced by the file, and not followed
        Effect.catchIf((error) => error.reason === "SymbolicLink", () => Effect.succeed(true))
      )

    /** Of what may be there already. */
    const mend = Effect.fnUntraced(function*(
      path: string,
      bytes: Uint8Array,
      how: { readonly modified?: number; readonly readOnly?: boolean }
    ) {
      if (yield* differs(path, bytes)) yield* storage.replaceDocument(path, bytes, { ...how, sync: true })
    })

    const makeTags = Effect.fnUntraced(function*(entry: TagsEntry, isMending: boolean) {
      for (const { position } of entry.targets) {
        const tags = (yield* index.addedTags([position], entry.position)).get(position)
        if (tags === undefined) continue
        const folder = `${root}/${folderOf(position)}`
        yield* storage.makeDirectory(folder, { parents: false })
        const path = `${folder}/${tagsName(position)}`
        const bytes = encode({ position, tags })
        yield* isMending ? mend(path, bytes, {}) : storage.replaceDocument(path, bytes, { sync: false })
      }
    })

    /** What a process that was killed had not renamed yet. Whoever has the lock is alone here. */
    const removeLeftOvers = Effect.fnUntraced(function*(folder: string) {
      for (const { kind, name } of yield* storage.list(folder)) {
        // of a folder the whole name is looked at, since all that is in it goes
        const isOurs = kind === "file" ? /^\..*\.tmp$/.test(name) : kind === "directory" && temporaryFolder.test(name)
        if (isOurs) yield* storage.remove(`${folder}/${name}`)
      }
    })

    /**
     * Files of events that are none: without syncs a power loss can take the newest events and leave their files, and a store can be set
     * back to an older copy. What has another name is somebody else's, and stays.
     */
    const removeBeyond = Effect.fnUntraced(function*(head: number) {
      for (const { kind, name: folder } of yield* storage.list(root)) {
        if (kind !== "directory" || !/^\d{7,}$/.test(folder) || lastIn(folder) < head) continue
        for (const { kind, name } of yield* storage.list(`${root}/${folder}`)) {
          const position = /^(\d{10,})\.(tags\.)?json$/.exec(name)?.[1]
          if (kind !== "file" || position === undefined || Number(position) <= head) continue
          if (folderOf(Number(position)) === folder) yield* storage.remove(`${root}/${folder}/${name}`)
        }
      }
    })

    /** The positions in a folder beside whose file there is one of tags. */
    const tagsIn = (folder: string) =>
      Effect.map(
        storage.list(`${root}/${folder}`),
        (entries) => new Set(entries.flatMap(({ name }) => name.endsWith(".tags.json") ? [parseInt(name, 10)] : []))
      )

    /** Gives way to appends for so many milliseconds at the most, and says whether they are still busy: the files go on too, if slowly. */
    const pause = Effect.fnUntraced(function*(most: number, isBusy: () => boolean) {
      const until = elapsed() + most
      while (isBusy()) {
        if (elapsed() >= until) return true
        yield* Effect.sleep(5)
      }
      return false
    })
    // Who appends at full speed may still be found idle at each single look, so it counts what was done since the last one, too.
    let lastLook = performance.eventLoopUtilization()
    const isBusy = () => {
      const now = performance.eventLoopUtilization()
      const { utilization } = performance.eventLoopUtilization(now, lastLook)
      lastLook = now
      return options.isBusy() || utilization > 0.5
    }

    /** Makes the missing files, as long as there are any. */
    const followLedger = Effect.gen(function*() {
      // of a store that is there: one that was deleted is not revived
      yield* storage.makeDirectory(root, { parents: false })
      yield* lock.acquire(`${root}/mirror`, { timeout: 0 })
      // another store may have taken the deleted one's name: this one's events have no place there
      yield* history.catchUp
      yield* storage.replaceDocument(`${root}/README.txt`, Buffer.from(readme), { sync: false })
      const begin = yield* whereToBegin
      yield* removeLeftOvers(root)
      yield* removeBeyond(history.known().position)
      const { mend: mendUpTo } = begin
      // up to there files may be there of before: all, if there is no checkpoint that fits
      const again = begin.cursor === undefined ? history.known().position : mendUpTo
      let { cursor, since } = begin
      reach(cursor?.position ?? 0)

      const save = Effect.suspend(() => {
        if (cursor === undefined || cursor.position < mendUpTo) {
          return Effect.void
        }
        failure = undefined
        const text: Checkpoint = { store: ledger.storeId, cursor, boot, since }
        const { position } = cursor
        return Metric.update(Metrics.mirrorLag, history.known().position - position).pipe(
          Effect.andThen(Effect.sync(() => reach(position))),
          Effect.andThen(storage.replaceDocument(checkpoint, encode(text), { sync: false })),
          // who closes as soon as the files are there would keep the next process from knowing so
          Effect.uninterruptible
        )
      })

      /** What comes next, behind `cursor`. */
      let todo: Array<Todo> = []
      const scan = yield* ledger.scan(cursor)
      const lookAhead = Effect.gen(function*() {
        while (todo.length < recordsAhead) {
          const commits = yield* scan.next
          if (commits.length === 0) return
          for (const commit of commits) for (const entry of commit.entries) todo.push({ entry, commit })
        }
      })

      /** The folder that files are made in, and beside which of its events there are files of tags of before, whatever they hold. */
      let folder = ""
      let tagged: ReadonlySet<number> = new Set()
      const enter = Effect.fnUntraced(function*(next: string, isAgain: boolean) {
        yield* storage.makeDirectory(`${root}/${next}`, { parents: false })
        yield* removeLeftOvers(`${root}/${next}`)
        tagged = isAgain ? yield* tagsIn(next) : new Set()
        folder = next
      })

      /** Makes the file of an event, here. */
      const makeFiles = Effect.fnUntraced(function*(batch: ReadonlyArray<Todo>, isMending: boolean) {
        const records = yield* ledger.read(batch.map(({ entry }) => entry))
        for (let i = 0; i < records.length; i++) {
          const record = records[i]!
          if (record.kind !== "event") continue
          const path = `${root}/${folder}/${eventName(record.position)}`
          const how = { modified: batch[i]!.commit.time, readOnly: options.writeProtect }
          const bytes = encodeEvent(record)
          yield* isMending ? mend(path, bytes, how) : storage.replaceDocument(path, bytes, { ...how, sync: false })
        }
      })

      /** Makes the next files, and says how many. */
      const makeSome = Effect.gen(function*() {
        const { commit: { last }, entry } = todo[0]!
        const isMending = last <= mendUpTo
        const next = folderOf(entry.position)
        const left = history.known().position - entry.position
        const byThread = !isMending && thread?.isUsable() === true && (thread.isRunning() || left > manyMissing)
          ? thread
          : undefined
        if (entry.kind === "tags") {
          yield* makeTags(entry, isMending)
          return 1
        }
        const most = byThread === undefined ? filesPerTurn : isBesideAppends ? filesPerStep : Infinity
        const batch = batchOf(todo, most, mendUpTo)
        const isNewFolder = next !== folder && entry.position === firstIn(next) &&
          batch.at(-1)!.entry.position === lastIn(next) && !(yield* storage.exists(`${root}/${next}`))
        if (next !== folder && !isNewFolder) yield* enter(next, entry.position <= again)
        // of additions that the history does not hold any more; those that it holds come later
        for (const { entry } of tagged.size === 0 ? [] : batch) {
          if (tagged.has(entry.position)) yield* storage.remove(`${root}/${next}/${tagsName(entry.position)}`)
        }
        if (byThread !== undefined) {
          const made = byThread.make({
            segment: `${options.store}/ledger/${segmentName(entry.segment)}`,
            folder: `${root}/${next}`,
            isNewFolder,
            first: entry.position,
            offsets: batch.map(({ entry }) => entry.offset),
            lengths: batch.map(({ entry }) => entry.length),
            times: batch.map(({ commit }) => commit.time)
          })
          const rest = todo.length - batch.length < recordsAhead ? lookAhead : Effect.void
          const [isMade] = yield* Effect.all([made, rest], { concurrency: "unbounded" })
          if (isMade) return batch.length
          // what it was doing when it died
          yield* removeLeftOvers(isNewFolder ? root : `${root}/${next}`)
        }
        if (isNewFolder) yield* enter(next, false)
        for (let i = 0; i < batch.length; i += filesPerTurn) {
          yield* makeFiles(batch.slice(i, i + filesPerTurn), isMending)
          // other fibers come first
          yield* Effect.yieldNow
          yield* pause(longestPause, options.isBusy)
        }
        return batch.length
      })

      let isBesideAppends = false
      let made = 0
      let idleSince = elapsed()
      for (;;) {
        const begun = elapsed()
        yield* lookAhead
        if (todo.length === 0) {
          if (made > 0) {
            yield* save
            made = 0
            idleSince = elapsed()
          }
          news.closeUnsafe()
          if (history.known().position > (cursor?.position ?? 0)) continue
          if (thread?.isRunning() === true && elapsed() - idleSince > idleTime) yield* thread.stop
          yield* Effect.timeoutOption(news.await, retryInterval)
          yield* history.catchUp
          continue
        }
        // the index must know of these, too; and the store must still be there
        yield* history.catchUp
        const count = yield* makeSome
        for (const { commit, entry } of todo.slice(0, count)) {
          if (entry.position < commit.last) continue
          cursor = commit.cursor
          // looked at again, so it is on the disk now; what is new is not
          if (commit.last <= mendUpTo) since = cursor
        }
        todo = todo.slice(count)
        made += count
        if (made >= filesPerStep) {
          yield* save
          made = 0
        }
        if (thread?.isRunning() === true) {
          isBesideAppends = yield* pause(pausesBesideAppends * (elapsed() - begun), isBusy)
        }
      }
    })

    /** What another process reached, which makes the files at present. */
    const watchOther = Effect.gen(function*() {
      const found = yield* readCheckpoint
      if (found !== undefined && found.cursor.position > reached) reach(found.cursor.position)
    })

    const run = Effect.gen(function*() {
      for (;;) {
        // no store without events has a folder for them
        while (history.known().position === 0) {
          news.closeUnsafe()
          yield* Effect.timeoutOption(news.await, retryInterval)
          if (waiters.size > 0) yield* history.catchUp
        }
        const exit = yield* Effect.exit(Effect.scoped(followLedger))
        if (Exit.isFailure(exit)) {
          const error = Exit.findErrorOption(exit)
          if (error._tag === "None") return yield* exit
          const isDeleted = yield* Effect.match(history.catchUp, {
            onFailure: ({ _tag }) => _tag === "LedgerDeleted",
            onSuccess: () => false
          })
          if (isDeleted) return failAll(new EventStore.StoreDeleted())
          // Somebody else makes them. Everything else is told once, and tried again: an append never fails because of it.
          if (error.value._tag === "LockTimeout") yield* watchOther
          else {
            if (failure?.message !== error.value.message) {
              yield* Effect.logWarning(`event files are not written for the time being: ${error.value.message}`)
            }
            failure = error.value
            yield* Metric.update(Metrics.mirrorLag, history.known().position - reached)
          }
        }
        yield* Effect.sleep(retryInterval)
      }
    })

    if (options.enabled) {
      yield* Effect.addFinalizer(() => Effect.sync(() => failAll(new EventStore.StoreClosed())))
      const fiber = yield* run.pipe(
        Effect.catchCause((cause) =>
          Cause.hasInterruptsOnly(cause)
            ? Effect.void
            : Effect.andThen(
              Effect.logError("event files are not written any more", cause),
              Effect.sync(() => failAll(new EventStore.StoreUnavailable({ cause: Cause.squash(cause) })))
            )
        ),
        Effect.ensuring(thread?.stop ?? Effect.void),
        inRealTime,
        Effect.forkScoped
      )
      // registered last, so it runs first: a moment for what is missing
      yield* Effect.addFinalizer(() =>
        Effect.suspend(() => {
          const known = history.known().position
          if (reached >= known || failure !== undefined || fiber.pollUnsafe() !== undefined) return Effect.void
          const waiter = { position: known, deferred: Deferred.makeUnsafe<void, EventStore.EventStoreError>() }
          waiters.add(waiter)
          return inRealTime(Effect.ignore(Effect.timeoutOption(Deferred.await(waiter.deferred), closingTime)))
        })
      )
    }

    return {
      wake: () => void news.openUnsafe(),
      position: Effect.mapError(
        Effect.map(Effect.andThen(watchOther, Effect.sync(() => reached)), (position) =>
          position === 0 ? undefined : position as Position),
        toStoreError
      ),
      waitFor: (position) =>
        Effect.suspend(() => {
          if (!options.enabled) {
            const problem = "event files are off: open the store with `eventFiles: true`"
            return Effect.fail(new EventStore.EventStoreError({ reason: new EventStore.StoreUnsupported({ problem }) }))
          }
          if (reached >= position) {
            return Effect.void
          }
          if (ended !== undefined) {
            return Effect.fail(ended)
          }
          const waiter = { position, deferred: Deferred.makeUnsafe<void, EventStore.EventStoreError>() }
          waiters.add(waiter)
          // what others append is seen now, and not at the next look
          news.openUnsafe()
          return Effect.onInterrupt(Deferred.await(waiter.deferred), () =>
            Effect.sync(() => waiters.delete(waiter)))
        })
    }
  })
