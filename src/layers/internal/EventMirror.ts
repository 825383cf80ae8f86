/**
 * Makes the files of events that have none: follows the ledger from a checkpoint on, one process or thread at a time.
 *
 * A file is a function of the event's confirmed ledger line alone and is made by one rename, so it does not matter who makes it, or
 * how often.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Index } from "../../services/Index.ts"
import {
  type Commit,
  type Cursor,
  type Entry,
  type EventRecord,
  Ledger,
  type LedgerError,
  type Scan,
  type TagsRecord
} from "../../services/Ledger.ts"
import { Lock } from "../../services/Lock.ts"
import { type NamedDocument, Storage } from "../../services/Storage.ts"
import { temporaryFor } from "./access.ts"
import * as Host from "./host.ts"

// models

/** What the files are made of. */
export interface Source {
  /** The last commit that is known. */
  readonly known: () => Cursor
  /** Whether the history certainly goes on up to a position. */
  readonly isThere: (position: number) => boolean
  /** Learns what is new. Tags that were added up to what is known then are known as well. */
  readonly catchUp: Effect.Effect<void, LedgerError>
  /** The commits behind a cursor, up to what is known. */
  readonly scan: (from: Cursor | undefined) => Effect.Effect<Scan, LedgerError, Scope.Scope>
  readonly addedTags: Index["Service"]["addedTags"]
}

export interface Options {
  readonly store: string
  readonly writeProtect: boolean
  /** So many files are made before others get their turn. */
  readonly filesPerTurn: number
  /** Their turn. */
  readonly giveWay: Effect.Effect<void>
  /** Waits until there may be something behind a position, and not for long. */
  readonly awaitNews: (position: number) => Effect.Effect<void, LedgerError>
  /** Whether somebody waits for files, also of what other processes append. */
  readonly isAwaited: () => boolean
  /** Whether somebody else shall go on, with so many positions left. */
  readonly isEnough: (left: number) => boolean
  /** Told up to where there are files. */
  readonly reached: (position: number) => Effect.Effect<void>
  /** Told why there are none for the time being, and with `undefined` that they are made again. */
  readonly failed: (problem: string | undefined) => Effect.Effect<void>
}

// options

/** So many files are made before the checkpoint moves. */
const filesPerStep = 256
/** Files in one folder, since folders with very many names are slow to list. */
const filesPerFolder = 1000
/** How long a process waits before it asks again whether it may make files, in milliseconds. */
export const retryInterval = 250
/** In bytes; what is longer is damaged. */
const longestCheckpoint = 64 * 1024

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

const pad = (n: number, digits: number) => n.toString().padStart(digits, "0")
const folderOf = (position: number) => pad(Math.floor(position / filesPerFolder), 7)
const fileOf = (position: number) => `${folderOf(position)}/${pad(position, 10)}`
const firstIn = (folder: string) => Math.max(1, Number(folder) * filesPerFolder)
const lastIn = (folder: string) => (Number(folder) + 1) * filesPerFolder - 1
const nameOf = (position: number) => `${pad(position, 10)}.json`

const encode = (json: unknown): Uint8Array => Buffer.from(JSON.stringify(json, null, 2) + "\n")

const eventJson = ({ data, metadata, position, tags, type, version }: EventRecord) =>
  encode({ position, type, version, tags, metadata, data })

// constructors

/** `run` makes files until somebody else shall, or the store is deleted. `checkpoint`: up to where whoever makes them has come. */
export const make = (source: Source, options: Options) =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const lock = yield* Lock
    const storage = yield* Storage
    const root = `${options.store}/events`
    const checkpoint = `${root}/checkpoint.json`
    const { boot } = Host.thisProcess

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

    const writeTags = Effect.fnUntraced(function*(
      record: TagsRecord,
      pathOf: (folder: string) => string,
      isMending: boolean
    ) {
      for (const { position } of record.targets) {
        const tags = (yield* source.addedTags([position], record.position)).get(position)
        if (tags === undefined) continue
        const folder = pathOf(folderOf(position))
        yield* storage.makeDirectory(folder, { parents: false })
        const path = `${folder}/${pad(position, 10)}.tags.json`
        const bytes = encode({ position, tags })
        if (isMending) yield* mend(path, bytes, {})
        else yield* storage.replaceDocument(path, bytes, { sync: false })
      }
    })

    /** What a process that was killed had not renamed yet. Whoever has the lock is alone here. */
    const removeLeftOvers = Effect.fnUntraced(function*(folder: string) {
      for (const { kind, name } of yield* storage.list(folder)) {
        if ((kind === "file" || kind === "directory") && /^\..*\.tmp$/.test(name)) {
          yield* storage.remove(`${folder}/${name}`)
        }
      }
    })

    /**
     * Files of events that are none: without syncs a power loss can take the newest events and leave their files, and a store can be set
     * back to an older copy. What has another name is somebody else's, and stays.
     */
    const removeBeyond = Effect.fnUntraced(function*(head: number) {
      for (const { kind, name: folder } of yield* storage.list(root)) {
        if (kind !== "directory" || !/^\d{7,}$/.test(folder) || (Number(folder) + 1) * filesPerFolder <= head) continue
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

    /** Makes the missing files, until it is enough. */
    const followLedger = Effect.gen(function*() {
      // of a store that is there: one that was deleted is not revived
      yield* storage.makeDirectory(root, { parents: false })
      yield* lock.acquire(`${root}/mirror`, { timeout: 0 })
      // another store may have taken the deleted one's name: this one's events have no place there
      yield* source.catchUp
      yield* storage.replaceDocument(`${root}/README.txt`, Buffer.from(readme), { sync: false })
      const begin = yield* whereToBegin
      yield* removeLeftOvers(root)
      yield* removeLeftOvers(`${root}/${folderOf((begin.cursor?.position ?? 0) + 1)}`)
      yield* removeBeyond(source.known().position)
      const scan = yield* source.scan(begin.cursor)
      // up to there files may be there of before: all, if there is no checkpoint that fits
      const again = begin.cursor === undefined ? source.known().position : begin.mend
      let tagged: ReadonlySet<number> = new Set()
      let { cursor, since } = begin
      let folder = ""
      /** The folder's path, as long as it is made beside its place. */
      let aside: string | undefined
      const pathOf = (name: string) => name === folder && aside !== undefined ? aside : `${root}/${name}`
      let documents: Array<NamedDocument> = []
      /** Commits whose files are not all there. */
      const unfinished: Array<Commit> = []
      yield* options.reached(cursor?.position ?? 0)

      let saved = cursor
      const save = Effect.suspend(() => {
        if (cursor === undefined || cursor === saved || cursor.position < begin.mend) return Effect.void
        saved = cursor
        const text: Checkpoint = { store: ledger.storeId, cursor, boot, since }
        return options.failed(undefined).pipe(
          Effect.andThen(options.reached(cursor.position)),
          Effect.andThen(storage.replaceDocument(checkpoint, encode(text), { sync: false })),
          // who closes as soon as the files are there would keep the next process from knowing so
          Effect.uninterruptible
        )
      })

      const put = Effect.gen(function*() {
        if (documents.length === 0) return
        const made = documents
        documents = []
        yield* storage.replaceDocuments(pathOf(folder), made, {
          readOnly: options.writeProtect,
          alone: aside !== undefined
        })
        yield* options.giveWay
      })

      const leave = Effect.gen(function*() {
        yield* put
        if (aside === undefined) return
        // of a store that is there
        yield* source.catchUp
        yield* storage.rename(aside, `${root}/${folder}`)
        aside = undefined
      })

      const enter = Effect.fnUntraced(function*(position: number, isAgain: boolean) {
        yield* leave
        yield* source.catchUp
        const next = folderOf(position)
        const path = `${root}/${next}`
        const isWhole = position > begin.mend && position === firstIn(next) && source.isThere(lastIn(next))
        // all of it at once takes its place by one rename, which is less than one for each file
        if (isWhole && !(yield* storage.exists(path))) aside = temporaryFor(path)
        yield* storage.makeDirectory(aside ?? path, { parents: false })
        folder = next
        tagged = isAgain ? yield* tagsIn(next) : new Set()
      })

      /** Makes the files of these, the next ones of the commits that are not finished. */
      const makeFiles = Effect.fnUntraced(function*(entries: ReadonlyArray<Entry>) {
        let at = 0
        for (const record of yield* ledger.read(entries)) {
          const { position } = record
          while (unfinished[at]!.last < position) at++
          const { last, time } = unfinished[at]!
          const isMending = last <= begin.mend
          if (folderOf(position) !== folder) yield* enter(position, position <= again)
          if (record.kind === "tags") {
            yield* put
            yield* writeTags(record, pathOf, isMending)
            if (position === lastIn(folder)) yield* leave
            continue
          }
          // of an addition that the history does not hold any more; one that it holds comes later
          if (tagged.has(position)) yield* storage.remove(`${root}/${fileOf(position)}.tags.json`)
          const bytes = eventJson(record)
          if (isMending) {
            yield* mend(`${root}/${fileOf(position)}.json`, bytes, { modified: time, readOnly: options.writeProtect })
            if (position % options.filesPerTurn === 0) yield* options.giveWay
            continue
          }
          documents.push({ name: nameOf(position), bytes, modified: time })
          if (position === lastIn(folder)) yield* leave
          else if (documents.length >= options.filesPerTurn) yield* put
        }
        yield* put
        // what stands beside its place is not there yet
        const made = aside === undefined ? entries[entries.length - 1]!.position : firstIn(folder) - 1
        const next = unfinished.findIndex((commit) => commit.last > made)
        for (const commit of unfinished.splice(0, next < 0 ? unfinished.length : next)) {
          cursor = commit.cursor
          // looked at again, so it is on the disk now; what is new is not
          if (commit.last <= begin.mend) since = cursor
        }
      })

      while (!options.isEnough(source.known().position - (cursor?.position ?? 0))) {
        const commits = yield* scan.next
        if (commits.length === 0) {
          yield* options.awaitNews(cursor?.position ?? 0)
          yield* source.catchUp
          continue
        }
        // the index must know of these, too
        yield* source.catchUp
        for (const commit of commits) unfinished.push(commit)
        const entries = commits.flatMap((commit): ReadonlyArray<Entry> => commit.entries)
        for (let i = 0; i < entries.length; i += filesPerStep) {
          yield* makeFiles(entries.slice(i, i + filesPerStep))
          yield* save
        }
      }
    })

    /** What another process reached, which makes the files at present. */
    let seen = 0
    const watchOther = Effect.gen(function*() {
      const found = yield* readCheckpoint
      if (found !== undefined && found.cursor.position > seen) yield* options.reached(seen = found.cursor.position)
    })

    const run = Effect.gen(function*() {
      for (;;) {
        // no store without events has a folder for them
        while (source.known().position === 0) {
          yield* options.awaitNews(0)
          if (options.isAwaited()) yield* source.catchUp
        }
        const exit = yield* Effect.exit(Effect.scoped(followLedger))
        if (Exit.isSuccess(exit)) return "enough"
        const error = Exit.findErrorOption(exit)
        if (error._tag === "None") return yield* exit
        const isDeleted = yield* Effect.match(source.catchUp, {
          onFailure: ({ _tag }) => _tag === "LedgerDeleted",
          onSuccess: () => false
        })
        if (isDeleted) return "deleted"
        // Somebody else makes them. Everything else is told, and tried again: an append never fails because of it.
        if (error.value._tag === "LockTimeout") yield* watchOther
        else yield* options.failed(error.value.message)
        if (options.isEnough(0)) return "enough"
        yield* Effect.sleep(retryInterval)
      }
    })

    return { run, checkpoint: Effect.map(readCheckpoint, (found) => found?.cursor.position) }
  })
