/**
 * The ledger over any Storage: group commit, take-over, fencing and recovery. `ARCHITECTURE.md` gives the protocol with its reasons;
 * the steps are numbered here as there.
 *
 * The invariant behind all of it: a writer writes, then looks for a successor; a taker creates the successor, then reads. One of the
 * two sees the other, whatever the lock did.
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { hostname } from "node:os"
import * as Metrics from "../internal/metrics.ts"
import * as Ledger from "../services/Ledger.ts"
import { type Held, Lock, type LockTimeout } from "../services/Lock.ts"
import { type File, Storage, StorageError, type WritableFile } from "../services/Storage.ts"
import * as Handles from "./internal/handles.ts"
import * as Format from "./internal/ledgerFormat.ts"
import { RecordCache } from "./internal/recordCache.ts"
import * as StoreFolder from "./internal/StoreFolder.ts"
import { Turns } from "./internal/turns.ts"

// options

export interface Options {
  /** The store's name: a folder below the storage's root. */
  readonly store: string
  readonly durability?: Ledger.Durability | undefined
  /** The bytes at which a segment is sealed and the next one begun. Default: 64 MiB. */
  readonly segmentSize?: number | undefined
  /**
   * Up to so many bytes of the own segment are made ready before they are needed, as line feeds: a sync of a file that has its size
   * already has less to write. Default: none.
   */
  readonly padding?: number | undefined
  /** Makes sealed segments read-only. Default: `false`. */
  readonly writeProtect?: boolean | undefined
  /** How long to wait for another process. Default: 5 seconds. */
  readonly lockTimeout?: Duration.Input | undefined
  /** When to ask for the lock again, while waiting. */
  readonly lockWait?: Schedule.Schedule<unknown> | undefined
  /** Opens without creating, changing or locking anything. Default: `false`. */
  readonly readOnly?: boolean | undefined
  /** Writes on a file system that machines share, though another machine wrote last. Default: `false`. */
  readonly allowOtherHosts?: boolean | undefined
}

export const defaultSegmentSize = 64 * 1024 * 1024

/** The padding of a store on a disk. */
export const diskPadding = 1024 * 1024

/** Padding begins when this part of it was written: who writes little needs none. */
const paddingStarts = 1 / 16

/** How much is read at a time, going forward. */
const chunkBytes = 4 * 1024 * 1024
/** How much is read when probably little or nothing is new. */
const peekBytes = 64 * 1024
/** How much is read at a time of what can be read at once. */
const scratchBytes = 256 * 1024
/** How much memory is spent on records that were read lately, in bytes. */
const cachedBytes = 16 * 1024 * 1024
/** Of reads of more records than this none are kept: they would take the place of all others, for what is probably read once. */
const mostCached = 64
/** Two lines are read together if no more than so many bytes lie between them. */
const gapBytes = 4 * 1024
const maxOpenSegments = 32
/** So many times a take-over begins again because another one came in between; the waits between them grow. */
const takeOverTries = 40
/** So many numbers without a segment between two that have one are not what a power loss leaves. */
const mostMissing = 1000

// models

/** A segment of the history, as its header describes it. */
interface Link {
  readonly number: number
  readonly header: Format.Header
  readonly hash: string
  /** The byte behind the header's line. */
  readonly start: number
  /** Where the next segment's header seals it; `undefined` for the newest. */
  sealed: Format.Previous | undefined
}

/** The segment that this process appends to. */
interface Own {
  readonly number: number
  /** The path of the next segment, by which a successor is seen. */
  readonly successor: string
  readonly file: WritableFile
  readonly scope: Scope.Closeable
  /** Where this process began: nothing before that was written by it. */
  readonly start: Ledger.Cursor
  /** The byte up to which there is padding, or may be; `Infinity` after the disk refused it. */
  padded: number
}

/** What a segment ends with. */
interface Tail {
  /** Behind the last commit that a mark confirms. */
  readonly confirmed: Ledger.Cursor
  /** Behind the last whole and valid commit. */
  readonly valid: Ledger.Cursor
  /** The bytes from `confirmed.end` on: the mark, unconfirmed commits, padding, torn bytes; no more than a group takes. */
  readonly rest: Uint8Array
  /** How many bytes there are from `confirmed.end` on. */
  readonly length: number
}

// padding

let feeds = new Uint8Array(0)
const lineFeeds = (length: number): Uint8Array => {
  if (feeds.length < length) feeds = new Uint8Array(length).fill(0x0a)
  return feeds.subarray(0, length)
}

const isLineFeeds = (bytes: Uint8Array, from: number): boolean => {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0x0a) return false
  return true
}

/** Whether a mark and padding are all that the bytes are. */
const isPadded = (bytes: Uint8Array): boolean => bytes.length > 1 && bytes[0] === 0x20 && isLineFeeds(bytes, 1)

// constructors

export const make = Effect.fnUntraced(function*(options: Options) {
  const storage = yield* Storage
  const lock = yield* Lock
  const { store } = options
  const readOnly = options.readOnly ?? false
  const durability = options.durability ?? "sync"
  const segmentSize = options.segmentSize ?? defaultSegmentSize
  const padding = durability === "sync" ? options.padding ?? 0 : 0
  const writer: Format.Header["writer"] = {
    id: (yield* Random.nextIntBetween(0, 2 ** 48 - 1)).toString(36),
    host: hostname(),
    pid: process.pid
  }
  const storeId = yield* StoreFolder.open(store, { readOnly, durability, writer })

  const folder = `${store}/ledger`
  const pathOf = (segment: number) => `${folder}/${StoreFolder.segmentName(segment)}`
  const batonOf = (segment: number) => `${folder}/${StoreFolder.batonName(segment, storeId)}`
  const handles = yield* Handles.make<number, File, StorageError>((segment) => openSegment(segment), maxOpenSegments)
  /** A segment that was seen before is not found if meanwhile another store has its name. */
  const openSegment = Effect.fnUntraced(function*(segment: number) {
    const file = yield* storage.openFile(pathOf(segment))
    if (linkAt(segment) === undefined) return file
    const parsed = Format.parseHeader(yield* file.read(0, Format.headerBytes))
    if (parsed._tag !== "Header" || parsed.header.store === storeId) return file
    return yield* new StorageError({ operation: "openFile", path: pathOf(segment), reason: "NotFound" })
  })
  const damaged = (segment: number, offset: number, problem: string, position?: number) =>
    new Ledger.LedgerDamaged({
      file: pathOf(segment),
      offset,
      problem,
      ...(position ? { position: position as never } : {})
    })

  /** The history's segments, oldest first. */
  const links: Array<Link> = []

  let isDeleted = false
  /** The store is gone, or another one has its name. */
  const checkDeleted: Effect.Effect<void, Ledger.LedgerError> = Effect.gen(function*() {
    if (!isDeleted) {
      const id = yield* StoreFolder.inspect(store).pipe(
        Effect.provideService(Storage, storage),
        Effect.catchTag("LedgerUnsupported", () => Effect.succeed(undefined))
      )
      isDeleted = id !== storeId
    }
    if (isDeleted) return yield* new Ledger.LedgerDeleted()
  })

  // reading ------------------------------------------------------------------------------------------------------------

  const bytesOf = (segment: number, offset: number, length: number): Effect.Effect<Uint8Array, StorageError> =>
    handles.use(segment, (file) => file.read(offset, length))
  /** How many bytes there were; `undefined` if that needs a wait, or goes wrong, of which `bytesOf` tells. */
  const readInto = (segment: number, offset: number, into: Uint8Array): number | undefined => {
    const exit = handles.peek(segment)?.read.atOnce?.(offset, into)
    return exit?._tag === "Success" ? exit.value : undefined
  }

  /** The numbers of the segments among a folder's names, the highest first. */
  const numbersOf = (entries: ReadonlyArray<{ readonly name: string }>): Array<number> =>
    entries.flatMap(({ name }) => StoreFolder.segmentNumber(name) ?? []).sort((a, b) => b - a)
  const segmentNumbers = Effect.map(storage.list(folder), numbersOf)

  /** A segment's header: `undefined` if the segment is void. */
  const headerOf = Effect.fnUntraced(function*(segment: number) {
    const bytes = yield* bytesOf(segment, 0, Format.headerBytes)
    const parsed = Format.parseHeader(bytes)
    switch (parsed._tag) {
      case "Unsupported":
        return yield* new Ledger.LedgerUnsupported({ file: pathOf(segment), problem: parsed.problem })
      case "Void":
        // A void segment holds a part of a header at the most: nothing was ever confirmed in it.
        if (Format.lastConfirmed(bytes) !== undefined || bytes.length >= Format.headerBytes) {
          return yield* damaged(segment, 0, `${parsed.problem}, in a segment that was in use`)
        }
        return undefined
      case "Header":
        if (parsed.header.segment !== segment) {
          return yield* damaged(segment, 0, `the header is that of segment ${parsed.header.segment}`)
        }
        if (parsed.header.store !== storeId) {
          const there = yield* StoreFolder.inspect(store).pipe(Effect.provideService(Storage, storage))
          if (there !== storeId) return yield* new Ledger.LedgerDeleted()
          return yield* damaged(segment, 0, "the segment belongs to another store")
        }
        return parsed
    }
  })
  type ParsedHeader = Extract<Format.ParsedHeader, { readonly _tag: "Header" }>

  const linkOf = (parsed: ParsedHeader): Link => ({
    number: parsed.header.segment,
    header: parsed.header,
    hash: parsed.hash,
    start: parsed.end,
    sealed: undefined
  })
  const startOf = (link: Link): Ledger.Cursor => ({
    segment: link.number,
    end: link.start,
    position: link.header.first - 1,
    hash: link.hash
  })

  /** The newest segment above `floor` whose header is confirmed. */
  const newestConfirmed = Effect.fnUntraced(function*(floor: number) {
    for (const number of yield* segmentNumbers) {
      if (number <= floor) break
      const parsed = yield* headerOf(number)
      if (parsed === undefined) continue
      if (parsed.confirmed) return parsed
      // without syncs a power loss may keep what was written later, and lose this mark
      if (parsed.header.durability === "os") continue
      // Its owner appends only after it confirmed the header. It may have done both just now: then the header says so.
      if (!(yield* hasMarkBehind(number, parsed.end))) continue
      const again = yield* headerOf(number)
      if (again?.confirmed) return again
      return yield* damaged(
        number,
        parsed.end,
        "the mark of the header is missing, and commits behind it are confirmed"
      )
    }
    return undefined
  })

  /** The links from `newest` down to the one that follows `floor`, oldest first. `floor` 0: all there are. */
  const linksDownTo = Effect.fnUntraced(function*(newest: ParsedHeader, floor: number) {
    const links = [linkOf(newest)]
    for (;;) {
      const link = links[0]!
      const previous = link.header.previous
      if (previous === null) {
        if (floor === 0) return links
        return yield* damaged(link.number, 0, `the header leads past segment ${floor}, which belongs to the history`)
      }
      if (previous.segment === floor) return links
      if (previous.segment < floor || previous.segment >= link.number) {
        return yield* damaged(link.number, 0, `the header names segment ${previous.segment} as the one before it`)
      }
      const parsed = yield* headerOf(previous.segment).pipe(
        Effect.catchTag("StorageError", (error) =>
          error.reason === "NotFound"
            ? Effect.andThen(checkDeleted, Effect.fail(damaged(previous.segment, 0, "the segment is missing")))
            : Effect.fail(error))
      )
      if (parsed === undefined) return yield* damaged(previous.segment, 0, "the header of a sealed segment is void")
      const older = linkOf(parsed)
      older.sealed = previous
      links.unshift(older)
    }
  })

  /** What a segment ends with, found from its end backwards. */
  const tailOf = Effect.fnUntraced(function*(link: Link, headerConfirmed: boolean, known?: Ledger.Cursor) {
    const size = yield* handles.use(link.number, (file) => file.size)
    let confirmed: Ledger.Cursor | undefined
    // Without syncs a mark says that the commit was written, not that all before it survived: only the longest valid prefix counts.
    if (link.header.durability === "os") {
      // what this process has read or written of it is there as long as the machine runs
      confirmed = known?.segment === link.number && known.end > link.start ? known : startOf(link)
      for (;;) {
        const taken: ReadonlyArray<Ledger.Commit> = yield* forward(confirmed, undefined, true)
        if (taken.length === 0) break
        confirmed = taken.at(-1)!.cursor
      }
    }
    // Piece by piece: a file may be of any size, if only by NULs that the file system made up.
    for (let end = size, length = peekBytes; confirmed === undefined; length = Math.min(length * 4, chunkBytes)) {
      const from = Math.max(link.start - 1, end - length)
      const found = Format.lastConfirmed(yield* bytesOf(link.number, from, end - from))
      if (found !== undefined && from + found.at > link.start) {
        confirmed = { segment: link.number, end: from + found.at, position: found.position, hash: found.hash }
      } else if (from < link.start) {
        // nothing but the header is confirmed, and that only perhaps
        confirmed = startOf(link)
        if (!headerConfirmed) break
      }
      // a commit line that the piece began in is whole in the next
      end = from + Format.commitLineBytes
    }
    confirmed ??= startOf(link)
    const length = Math.max(0, size - confirmed.end)
    const rest = yield* bytesOf(link.number, confirmed.end, Math.min(length, Format.windowBytes))
    const run = Format.parseRun(rest, confirmed.end, confirmed)
    const tail: Tail = { confirmed, valid: run.commits.at(-1)?.cursor ?? confirmed, rest, length }
    return tail
  })

  const linkAt = (segment: number) => links.find((link) => link.number === segment)

  /**
   * The commits behind `from` in its segment, a few megabytes at the most: up to `limit`, which is sealed or known to be confirmed,
   * or without a limit as far as marks confirm them. Empty if there is nothing (yet).
   */
  const forward = Effect.fnUntraced(function*(
    from: Ledger.Cursor,
    limit: number | undefined,
    unsynced = linkAt(from.segment)?.header.durability === "os"
  ) {
    let again = false
    for (
      let length = limit === undefined ? peekBytes : chunkBytes;;
      length = Math.min(length * 4, Format.windowBytes)
    ) {
      const wanted = limit === undefined ? length : Math.min(length, limit - from.end)
      if (wanted <= 0) return []
      const bytes = yield* bytesOf(from.segment, from.end, wanted)
      const run = Format.parseRun(bytes, from.end, from)
      const taken = limit === undefined ? run.commits.slice(0, run.confirmed) : run.commits
      if (taken.length > 0) return taken
      // what its owner made ready, in front of which nothing is left out
      if (limit === undefined && run.commits.length === 0 && isPadded(bytes)) return []
      const ended = bytes.length < wanted || (limit !== undefined && wanted === limit - from.end)
      if (run.stop._tag === "Invalid") {
        const { offset, position, problem } = run.stop
        if (limit !== undefined) return yield* damaged(from.segment, offset, problem, position)
        // No mark confirms these bytes: they are torn, or being written at this moment. If one stands behind them, look again
        // before calling it damage, since a read is not atomic with a write.
        if (unsynced) return []
        if (!(yield* hasMarkBehind(from.segment, offset))) return []
        if (again) return yield* damaged(from.segment, offset, problem, position)
        again = true
        length /= 4
        continue
      }
      if (!ended && length < Format.windowBytes) continue
      if (limit !== undefined) {
        return yield* damaged(from.segment, from.end, "the segment ends before it was sealed", from.position + 1)
      }
      return []
    }
  })

  /** A torn tail that was searched already, so that it is not searched at each look. */
  let torn: { readonly segment: number; readonly offset: number; readonly size: number } | undefined

  const hasMarkBehind = Effect.fnUntraced(function*(segment: number, offset: number) {
    const size = yield* handles.use(segment, (file) => file.size)
    if (torn?.segment === segment && torn.offset === offset && torn.size === size) return false
    for (let end = size; end > offset;) {
      const from = Math.max(offset, end - 1024 * 1024)
      if (Format.lastConfirmed(yield* bytesOf(segment, from, end - from)) !== undefined) return true
      end = from === offset ? offset : from + Format.commitLineBytes
    }
    torn = { segment, offset, size }
    return false
  })

  // state --------------------------------------------------------------------------------------------------------------

  const opened = yield* newestConfirmed(0)
  if (opened === undefined) {
    if ((yield* StoreFolder.inspect(store)) !== storeId) return yield* new Ledger.LedgerDeleted()
    return yield* damaged(1, 0, "no segment has a confirmed header")
  }
  links.push(...yield* linksDownTo(opened, 0))
  // damage in old segments must not keep anybody from reading the rest
  if (!readOnly) yield* Effect.forEach(links.slice(0, -1), (link) => checkSealed(link), { discard: true })
  /** How far this process knows the history. */
  let cursor: Ledger.Cursor = (yield* tailOf(links.at(-1)!, true)).confirmed
  /** Segments above the cursor's that belong to the history, and were not read yet. */
  let ahead: Array<Link> = []
  /** Commits before the cursor that nobody was told of yet. */
  let unread: ReadonlyArray<Ledger.Commit> = []
  let own: Own | undefined
  let held: { readonly held: Held; readonly scope: Scope.Closeable } | undefined
  /** An empty segment of our own whose header found no room on the disk: it is tried again, instead of making another. */
  let spare: { readonly number: number; readonly file: WritableFile; readonly scope: Scope.Closeable } | undefined
  let isSpare = false
  /** One change of the state at a time, each as a whole. */
  const turns = new Turns()
  const turn = <A, E, R>(effect: Effect.Effect<A, E, R>) => turns.run(effect)

  /** Whether the segment ends, where its successor's header says, in the commit that this header continues. */
  function checkSealed(link: Link) {
    return Effect.gen(function*() {
      const sealed = link.sealed!
      const from = Math.max(0, sealed.length - Format.commitLineBytes)
      const bytes = yield* bytesOf(link.number, from, sealed.length - from)
      const last = from + bytes.length === sealed.length
        ? Format.commitBefore(bytes, bytes.length) ?? (sealed.length === link.start ? startOf(link) : undefined)
        : undefined
      if (last === undefined) {
        return yield* damaged(link.number, sealed.length, "no commit ends where the segment was sealed")
      }
      if (last.hash !== sealed.hash || last.position !== sealed.position) {
        return yield* damaged(
          link.number,
          sealed.length,
          "the last commit is not the one that the next segment continues"
        )
      }
    })
  }

  const isOwn = (): boolean => own !== undefined && own.number === cursor.segment && cursor.end >= own.start.end

  const dropOwn = Effect.suspend(() => {
    if (own === undefined) return Effect.void
    const { scope } = own
    own = undefined
    return Scope.close(scope, Exit.void)
  })

  const dropLock = Effect.suspend(() => {
    if (held === undefined) return Effect.void
    const { scope } = held
    held = undefined
    return Scope.close(scope, Exit.void)
  })

  /** Fails, whatever is the reason that a segment lost its name. */
  const goneOr = (operation: string) =>
    Effect.andThen(checkDeleted, Effect.fail(new StorageError({ operation, path: folder, reason: "NotFound" })))
  const isGone = (segment: number) =>
    own?.number === segment
      ? Effect.map(own.file.isCurrent, (current) => !current)
      : handles.use(segment, (file) => Effect.map(file.isCurrent, (current) => !current)).pipe(
        Effect.catchTag("StorageError", (error) =>
          error.reason === "NotFound" ? Effect.succeed(true) : Effect.fail(error))
      )

  // following ----------------------------------------------------------------------------------------------------------

  const isBehind = Effect.gen(function*() {
    const { end, segment } = cursor
    if (isDeleted) return yield* new Ledger.LedgerDeleted()
    if (unread.length > 0 || ahead.length > 0 || (yield* storage.exists(pathOf(segment + 1)))) return true
    if (yield* isGone(segment)) return yield* Effect.as(checkDeleted, true)
    if (isOwn()) return false
    // the mark stands at `end`; what comes behind it begins with a brace
    const count = readInto(segment, end, peeked)
    return count === undefined ? (yield* bytesOf(segment, end, 2))[1] === 0x7b : count === 2 && peeked[1] === 0x7b
  })
  /** Each read looks whether something is new: memory of its own for that look would cost more than the look. */
  const peeked = new Uint8Array(2)

  const refresh = Effect.gen(function*() {
    if (unread.length > 0) {
      const taken = unread
      unread = []
      return taken
    }
    for (;;) {
      const sealed = ahead[0]?.header.previous
      const taken = yield* forward(cursor, sealed?.length)
      if (taken.length > 0) {
        cursor = taken.at(-1)!.cursor
        return taken
      }
      if (sealed) {
        if (cursor.end !== sealed.length || cursor.hash !== sealed.hash || cursor.position !== sealed.position) {
          return yield* damaged(
            cursor.segment,
            cursor.end,
            "the history that was read is not the one that the next segment continues"
          )
        }
        links.at(-1)!.sealed = sealed
        const next = ahead.shift()!
        links.push(next)
        cursor = startOf(next)
        continue
      }
      if (!(yield* storage.exists(pathOf(cursor.segment + 1)))) {
        if (yield* isGone(cursor.segment)) yield* checkDeleted
        return []
      }
      const newest = yield* newestConfirmed(cursor.segment)
      if (newest === undefined) return []
      // somebody took over: what this process held is sealed
      if (own !== undefined && newest.header.segment > own.number) yield* dropOwn
      ahead = yield* linksDownTo(newest, cursor.segment)
      const length = ahead[0]!.header.previous!.length
      if (length < cursor.end) {
        return yield* damaged(cursor.segment, length, "the segment was sealed before its confirmed end")
      }
    }
  })

  // taking over --------------------------------------------------------------------------------------------------------

  /** Whether the whole rest of a segment is its mark and padding. */
  const isPadding = ({ length, rest }: Tail) => length === rest.length && rest[0] === 0x20 && isLineFeeds(rest, 1)

  /** Carries on in the newest segment, if its last owner left the baton there and nothing came after. */
  const carryOn = Effect.gen(function*() {
    const entries = yield* storage.list(folder)
    const newest = numbersOf(entries)[0]
    if (newest === undefined) return false
    const baton = StoreFolder.batonName(newest, storeId)
    // what is no file is nobody's baton
    if (!entries.some(({ kind, name }) => kind === "file" && name === baton)) return false
    if (!(yield* storage.claim(batonOf(newest)))) return false
    const parsed = yield* headerOf(newest)
    if (parsed === undefined || !parsed.confirmed || parsed.header.durability !== durability) return false
    const tail = yield* tailOf(linkOf(parsed), true)
    if (!isPadding(tail) || (yield* storage.exists(pathOf(newest + 1)))) return false
    const scope = Scope.makeUnsafe()
    const file = yield* storage.openWritable(pathOf(newest)).pipe(
      Scope.provide(scope),
      Effect.onError(() => Scope.close(scope, Exit.void))
    )
    yield* checkDeleted.pipe(Effect.onError(() => Scope.close(scope, Exit.void)))
    own = { number: newest, successor: pathOf(newest + 1), file, scope, start: tail.confirmed, padded: 0 }
    return true
  })

  /**
   * Begins a segment of our own behind all that is valid. With `sealAt`, a failed segment of our own is sealed there instead; then
   * the answer is `false` if somebody else was first. `isSynced`: all that this process knows is durable.
   */
  const takeOver = Effect.fnUntraced(function*(sealAt?: Ledger.Cursor, isSynced = false) {
    yield* dropOwn
    for (let tries = 1; tries <= takeOverTries; tries++) {
      if (tries > 1) yield* Effect.sleep(yield* Random.nextIntBetween(1, 2 + tries))
      // 1. create
      const numbers = yield* segmentNumbers
      const highest = numbers[0]
      if (highest === undefined) return yield* Effect.andThen(checkDeleted, damaged(1, 0, "all segments are missing"))
      if (highest >= StoreFolder.lastSegment) {
        return yield* damaged(highest, 0, "no segment can have a higher number: it is none of this store's")
      }
      const stray = numbers.findIndex((number, i) => number - (numbers[i + 1] ?? number) > mostMissing)
      if (stray >= 0) {
        return yield* damaged(
          numbers[stray]!,
          0,
          `the next lower number that there is is ${
            numbers[stray + 1]
          }: move this file away if it is none of the store's, else restore the missing ones`
        )
      }
      if (sealAt !== undefined && highest !== sealAt.segment && highest !== spare?.number) return false
      const scope = spare?.number === highest ? spare.scope : Scope.makeUnsafe()
      const number = spare?.number === highest ? highest : highest + 1
      const file = spare?.number === highest
        ? spare.file
        : yield* storage.createFile(pathOf(number)).pipe(
          Scope.provide(scope),
          Effect.catchTag(
            "StorageError",
            (error) => error.reason === "AlreadyExists" ? Effect.succeed(undefined) : Effect.fail(error)
          )
        )
      if (file === undefined) continue
      if (spare !== undefined && spare.scope !== scope) yield* Scope.close(spare.scope, Exit.void)
      spare = undefined
      isSpare = false
      const done = yield* begin(number, file, sealAt, isSynced).pipe(
        Effect.onExit((exit) => {
          if (Exit.isSuccess(exit) && exit.value !== undefined) return Effect.void
          if (Exit.isFailure(exit) && isSpare) {
            spare = { number, file, scope }
            return Effect.void
          }
          return Scope.close(scope, Exit.void)
        })
      )
      if (done === undefined) continue
      own = { number, successor: pathOf(number + 1), file, scope, start: done, padded: 0 }
      return true
    }
    return yield* new StorageError({ operation: "takeOver", path: folder, reason: "AlreadyExists" })
  })

  /** Steps 2 to 7, in a segment that this process just created. `undefined`: another one was created meanwhile. */
  const begin = Effect.fnUntraced(function*(
    number: number,
    file: WritableFile,
    sealAt: Ledger.Cursor | undefined,
    isSynced: boolean
  ) {
    // If the name has gone to another store, this file lies in that one: it stays void there.
    yield* checkDeleted
    // 2. only now read what is there
    let base: ParsedHeader | undefined
    const numbers = yield* segmentNumbers
    for (const lower of numbers) {
      if (lower >= number) continue
      base = yield* headerOf(lower)
      if (base !== undefined) break
    }
    if (base === undefined) return yield* Effect.andThen(checkDeleted, damaged(1, 0, "no segment has a valid header"))
    const link = linkOf(base)
    // A power loss may keep a segment's name and lose an older one's. Whoever stands below looks for the next number only, so a void
    // segment takes the place.
    for (let gap = (link.header.previous?.segment ?? link.number) + 1; gap < number; gap++) {
      if (!numbers.includes(gap)) yield* Effect.scoped(storage.createFile(pathOf(gap))).pipe(Effect.ignore)
    }
    let end: Ledger.Cursor
    if (sealAt !== undefined && link.number === sealAt.segment) {
      end = sealAt
      if (link.header.durability === "os") yield* secure(link.number, link.start, end.end, file)
    } else {
      const tail = yield* tailOf(link, base.confirmed, cursor)
      end = tail.valid
      const left = tail.length > tail.rest.length
        ? tail.length - (end.end - tail.confirmed.end)
        : tail.rest.subarray(end.end - tail.confirmed.end).findLastIndex((byte) => byte !== 0x0a && byte !== 0x20) + 1
      if (left > 0) {
        yield* Effect.logWarning(
          `${
            pathOf(link.number)
          }: ${left} bytes behind byte ${end.end} are left out, of a commit that was in flight when its writer stopped`
        )
      }
      // 3. Without syncs nothing but the header is known to be durable, unless the owner has seen to it.
      const isKnown = link.header.durability === "sync" ||
        (isSynced && link.number === cursor.segment && end.end === cursor.end)
      const from = !base.confirmed ? 0 : isKnown ? tail.confirmed.end : link.start
      yield* secure(link.number, from, end.end, file)
    }
    // 4.
    yield* storage.syncDirectory(folder)
    // 5.
    const header = Format.encodeHeader({
      format: Format.format,
      features: [],
      store: storeId,
      segment: number,
      algorithm: Format.algorithm,
      durability,
      writer,
      time: new Date(yield* Clock.currentTimeMillis).toISOString(),
      first: end.position + 1,
      previous: { segment: end.segment, length: end.end, position: end.position, hash: end.hash }
    })
    isSpare = false
    yield* file.write(0, header.bytes).pipe(
      Effect.tapError((error) => Effect.sync(() => isSpare = error.reason === "DiskFull"))
    )
    yield* file.sync
    // 6.
    if (yield* storage.exists(pathOf(number + 1))) return undefined
    // 7.
    yield* file.write(header.bytes.length, Format.confirmMark)
    yield* Effect.ignore(tidy(link.number, end.end, file))
    const start: Ledger.Cursor = {
      segment: number,
      end: header.bytes.length,
      position: end.position,
      hash: header.hash
    }
    return start
  })

  /**
   * Makes bytes of an older segment durable. They are written again in place, the same ones: a page that a failed sync left looking
   * clean becomes dirty, whoever's sync that was. `next`: the segment that is being begun.
   */
  const secure = Effect.fnUntraced(
    function*(segment: number, from: number, to: number, next: File) {
      const file = yield* storage.openWritable(pathOf(segment)).pipe(
        Effect.tapError(() => storage.protect(pathOf(segment), false).pipe(Effect.ignore)),
        Effect.retry({ times: 1, while: (error) => error.reason === "Permission" })
      )
      // Whether it is this store's: the new segment was still in place after the older one was opened.
      if (!(yield* next.isCurrent)) return yield* goneOr("begin")
      for (let at = from; at < to;) {
        const bytes = yield* file.read(at, Math.min(chunkBytes, to - at))
        if (bytes.length === 0) break
        yield* file.write(at, bytes)
        at += bytes.length
      }
      yield* file.sync
    },
    Effect.scoped
  )

  /** House-keeping in a segment that a confirmed header sealed: cut off what does not exist, so that nobody finds it with `grep`. */
  const tidy = Effect.fnUntraced(function*(segment: number, length: number, next: File) {
    yield* Effect.scoped(Effect.gen(function*() {
      const file = yield* storage.openWritable(pathOf(segment))
      // otherwise the store was deleted, and this may be the segment of another one that has its name
      if (!(yield* next.isCurrent)) return yield* goneOr("tidy")
      const behind = yield* file.read(length, 2)
      // The mark stays: that of the next segment's header is not durable yet, so it may be the only one that a power loss leaves.
      if (behind.length > 1) yield* file.truncate(behind[0] === 0x20 ? length + 1 : length)
    }))
    if (options.writeProtect) yield* storage.protect(pathOf(segment), true)
  })

  /** Not when a segment of our own is full, or failed: nothing was taken from anybody. */
  const countTakeOver = Metric.update(Metrics.takeovers, 1)

  /**
   * The protocol needs one kernel that sees one file system. Where that is not so, one machine may write: the one that wrote last,
   * unless the user says that no other does any more.
   */
  const checkHost = Effect.gen(function*() {
    if (options.allowOtherHosts || !(yield* storage.isShared)) return
    const last = yield* newestConfirmed(0)
    if (last === undefined || last.header.writer.host === writer.host) return
    return yield* new Ledger.LedgerUnsupported({
      file: folder,
      problem:
        `it lies on a file system that several machines may share, and the machine ${last.header.writer.host} wrote last; ` +
        "two machines that write would destroy it: if no other one writes any more, open the store with `allowOtherHosts: true`"
    })
  })

  const acquire = Effect.gen(function*() {
    if (readOnly) return yield* new Ledger.LedgerReadOnly()
    if (own === undefined) yield* checkHost
    if (held !== undefined && (yield* held.held.isLost)) yield* dropLock
    if (held === undefined) {
      const scope = Scope.makeUnsafe()
      yield* lock.acquire(`${store}/writer`, { timeout: options.lockTimeout, wait: options.lockWait }).pipe(
        Scope.provide(scope),
        Effect.tap((taken) => Effect.sync(() => held = { held: taken, scope })),
        Effect.onExit((exit) => {
          if (Exit.isSuccess(exit)) return Effect.void
          held = undefined
          return Scope.close(scope, Exit.void)
        }),
        Effect.catchTag("StorageError", (error) => Effect.andThen(checkDeleted, Effect.fail(error)))
      )
    }
    // a segment that was begun meanwhile (after a failure, or when one was full) may have commits of others before it
    if (own !== undefined) return !isOwn() || unread.length > 0
    yield* Effect.gen(function*() {
      if (yield* carryOn) return
      yield* takeOver()
      yield* countTakeOver
    }).pipe(
      turn,
      Effect.catchTag("StorageError", (error) => Effect.andThen(checkDeleted, Effect.fail(error))),
      Effect.onError(() => dropLock)
    )
    return true
  })

  // committing ---------------------------------------------------------------------------------------------------------

  const nothing: Ledger.Outcome = { committed: 0, hashes: [], commits: [] }

  /** A group on its way. */
  interface Writing {
    readonly own: Own
    readonly group: Format.EncodedGroup
    /** Where the history ended before it. */
    readonly before: Ledger.Cursor
    readonly last: Ledger.Cursor
    /** So many steps are behind it. */
    done: number
    /** The answer of the step that ended it too early. */
    stopped: Exit.Exit<unknown, StorageError> | undefined
  }

  interface Step {
    readonly atOnce: (writing: Writing) => Exit.Exit<unknown, StorageError> | undefined
    readonly effect: (writing: Writing) => Effect.Effect<unknown, StorageError>
    /** The answer that says that somebody else goes on. */
    readonly fenced?: boolean
  }

  const writes: ReadonlyArray<Step> = [
    // 1. write
    {
      atOnce: ({ before, group, own }) => own.file.write.atOnce?.(before.end + 1, group.bytes),
      effect: ({ before, group, own }) => own.file.write(before.end + 1, group.bytes)
    },
    // 2. sync
    ...(durability === "sync"
      ? [{
        atOnce: ({ own }: Writing) => own.file.sync.atOnce?.(),
        effect: ({ own }: Writing) => own.file.sync
      }]
      : [])
  ]
  const steps: ReadonlyArray<Step> = [
    ...writes,
    // 3. look
    {
      atOnce: ({ own }) => storage.exists.atOnce?.(own.successor),
      effect: ({ own }) => storage.exists(own.successor),
      fenced: true
    },
    {
      atOnce: ({ own }) => own.file.isCurrent.atOnce?.(),
      effect: ({ own }) => own.file.isCurrent,
      fenced: false
    },
    // 4. confirm
    {
      atOnce: ({ last, own }) => own.file.write.atOnce?.(last.end, Format.confirmMark),
      effect: ({ last, own }) => own.file.write(last.end, Format.confirmMark)
    }
  ]

  /** Whether the steps go on. */
  const took = (writing: Writing, exit: Exit.Exit<unknown, StorageError>): boolean => {
    const { fenced } = steps[writing.done]!
    if (Exit.isFailure(exit) || (fenced !== undefined && exit.value === fenced)) {
      writing.stopped = exit
      return false
    }
    writing.done += 1
    return true
  }

  /** Goes on as long as the medium takes the steps at once; `true`: that was all. */
  const goOnAtOnce = (writing: Writing): boolean => {
    while (writing.stopped === undefined && writing.done < steps.length) {
      const exit = steps[writing.done]!.atOnce(writing)
      if (exit === undefined) return false
      took(writing, exit)
    }
    return true
  }

  /** The same, and waits for the medium where it takes its time. */
  const goOn = Effect.fnUntraced(function*(writing: Writing) {
    while (!goOnAtOnce(writing)) took(writing, yield* Effect.exit(steps[writing.done]!.effect(writing)))
  })

  /** Commits in the own segment: by a plain function, if nothing has to be waited for. */
  const write = (batches: Arr.NonEmptyReadonlyArray<Ledger.Batch>, group: Format.EncodedGroup) => {
    const writing: Writing = {
      own: own!,
      group,
      before: cursor,
      last: group.commits[batches.length - 1]!.cursor,
      done: 0,
      stopped: undefined
    }
    return goOnAtOnce(writing) ? outcomeOf(writing) : Effect.flatMap(goOn(writing), () => outcomeOf(writing))
  }

  type Committing = Effect.Effect<Ledger.Outcome, Ledger.LedgerError | Ledger.CommitOutcomeUnknown>

  const outcomeOf = (writing: Writing): Committing => {
    if (writing.stopped !== undefined) return afterStop(writing, writing.stopped)
    cursor = writing.last
    const { commits } = writing.group
    const outcome: Committing = Exit.succeed({
      committed: commits.length,
      hashes: commits.map((made) => made.cursor.hash),
      commits
    })
    const lines = paddingFor(writing)
    return lines === undefined ? outcome : Effect.andThen(pad(writing.own, lines), outcome)
  }

  /** What is to be padded, if the next group would not find room in what is. As much as was written here: a short turn needs little. */
  const paddingFor = ({ group, own }: Writing): { readonly from: number; readonly length: number } | undefined => {
    if (padding === 0 || cursor.end + 1 + group.bytes.length <= own.padded) return undefined
    const written = cursor.end - own.start.end
    if (written < padding * paddingStarts) return undefined
    const from = Math.max(own.padded, cursor.end + 1)
    const length = Math.min(padding, written, segmentSize - from)
    return length > 0 ? { from, length } : undefined
  }

  /** Nothing depends on it: it is not synced, and where there is no room for it, there may be for what comes. */
  const pad = (own: Own, { from, length }: { readonly from: number; readonly length: number }) => {
    own.padded = from + length
    const lines = lineFeeds(length)
    return Effect.catch(own.file.write.atOnce?.(from, lines) ?? own.file.write(from, lines), () =>
      Effect.sync(() => {
        own.padded = Infinity
      }))
  }

  /** Cuts off the own padding: whoever goes on in the segment would have to read it. */
  const trim = Effect.suspend(() =>
    own === undefined || own.padded === 0 ? Effect.void : own.file.truncate(cursor.end + 1)
  )

  const afterStop = Effect.fnUntraced(
    function*({ before, done, group, own: { number } }: Writing, stopped: Exit.Exit<unknown, StorageError>) {
      const hashes = group.commits.map((made) => made.cursor.hash)
      // what became of the group, told by the first confirmed header above it
      const learn = Effect.gen(function*() {
        const length = yield* verdict(number)
        if (length === undefined) return undefined
        const committed = group.commits.filter((made) => made.cursor.end <= length).length
        const outcome: Ledger.Outcome = { committed, hashes, commits: [] }
        return outcome
      })
      const unknown = (cause: unknown) => new Ledger.CommitOutcomeUnknown({ cause })
      /** Whatever keeps it from learning the outcome leaves it unknown, but for the store's end. */
      const orUnknown = Effect.catch((
        error: Ledger.LedgerError
      ): Effect.Effect<never, Ledger.LedgerError | Ledger.CommitOutcomeUnknown> =>
        Effect.andThen(checkDeleted, Effect.fail(unknown(error)))
      )
      // 1. or 2. failed: the group is not confirmed and never will be, as the segment is sealed before it.
      if (done < writes.length && Exit.isFailure(stopped)) {
        const sealed = yield* Effect.exit(takeOver(before))
        if (Exit.isFailure(sealed)) return yield* unknown(Cause.squash(stopped.cause))
        if (sealed.value) return yield* Effect.failCause(stopped.cause)
        return yield* orUnknown(awaitVerdict(learn))
      }
      // 3. found somebody, or 3. or 4. failed: the group is durable, whoever takes over adopts it.
      yield* dropOwn
      if (Exit.isSuccess(stopped)) yield* checkDeleted
      return yield* orUnknown(
        Exit.isFailure(stopped) ? Effect.andThen(takeOver(), awaitVerdict(learn)) : awaitVerdict(learn)
      )
    }
  )

  const commit = (
    batches: Arr.NonEmptyReadonlyArray<Ledger.Batch>,
    behind: number | undefined
  ): Committing =>
    Effect.withFiber((fiber) => {
      if (!isOwn() || (behind !== undefined && cursor.position !== behind)) return Exit.succeed(nothing)
      const encode = () =>
        Format.encodeGroup(batches, cursor, cursor.end + 1, fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
      const group = encode()
      return cursor.end + group.bytes.length > segmentSize && cursor.end > links.at(-1)!.start
        ? Effect.flatMap(rollOver, (isOurs) => isOurs ? write(batches, encode()) : Exit.succeed(nothing))
        : write(batches, group)
    })

  /** Goes on in a new segment; `false` if somebody else's commits came first. */
  const rollOver = Effect.gen(function*() {
    // Through the descriptor that it was written with, which is told of all that went wrong with its pages, whoever saw it before.
    const synced = durability === "os" && Exit.isSuccess(yield* Effect.exit(own!.file.sync))
    yield* takeOver(undefined, synced)
    // somebody else's commits came first: they must be seen before anything is decided
    if (own?.start.position !== cursor.position) return false
    unread = yield* refresh
    return unread.length === 0 && isOwn()
  })

  /** The length at which the history seals a segment; `undefined` as long as no confirmed header above it tells. */
  const verdict = Effect.fnUntraced(function*(segment: number) {
    const newest = yield* newestConfirmed(segment)
    if (newest === undefined) return undefined
    const above = yield* linksDownTo(newest, segment)
    return above[0]!.header.previous!.length
  })

  /** Waits for the taker to finish, and if it does not, takes over, which tells as well. */
  const awaitVerdict = Effect.fnUntraced(function*<E>(learn: Effect.Effect<Ledger.Outcome | undefined, E>) {
    for (let wait = 1; wait <= 64; wait *= 2) {
      const outcome = yield* learn
      if (outcome !== undefined) return outcome
      yield* Effect.sleep(wait)
    }
    yield* takeOver()
    yield* countTakeOver
    const outcome = yield* learn
    if (outcome === undefined) return yield* Effect.die("a confirmed header is not found again")
    return outcome
  })

  const release = Effect.fnUntraced(
    function*(last: boolean) {
      if (own !== undefined && isOwn()) {
        // Not later: with the baton the segment may be somebody else's.
        yield* trim
        if (last && durability === "sync") yield* own.file.sync
        // another store may have the name by now
        if (!(yield* own.file.isCurrent)) return
        yield* Effect.scoped(storage.createFile(batonOf(own.number)))
      }
    },
    (effect) => Effect.ignore(effect).pipe(Effect.andThen(dropOwn), Effect.andThen(dropLock), turn)
  )

  // records ------------------------------------------------------------------------------------------------------------

  /** The place at `from` and those behind it that lie so near, in either direction, that they are read together with it. */
  const pieceAt = (places: ReadonlyArray<Ledger.Place>, from: number, most: number) => {
    const { segment } = places[from]!
    let low = places[from]!.offset
    let high = low + places[from]!.length
    let to = from + 1
    for (; to < places.length; to++) {
      const { length, offset, segment: other } = places[to]!
      if (other !== segment || offset > high + gapBytes || offset + length < low - gapBytes) break
      if (Math.max(high, offset + length) - Math.min(low, offset) > most) break
      low = Math.min(low, offset)
      high = Math.max(high, offset + length)
    }
    return { segment, low, length: high - low, from, to }
  }
  type Piece = ReturnType<typeof pieceAt>

  const parsePiece = (
    places: ReadonlyArray<Ledger.Place>,
    { from, low, segment, to }: Piece,
    bytes: Buffer,
    records: Array<Ledger.Record>
  ): Ledger.LedgerDamaged | undefined => {
    const isKept = places.length <= mostCached
    let line: string | undefined
    const note = (text: string) => line = text
    for (let i = from; i < to; i++) {
      const place = places[i]!
      const start = place.offset - low
      const record = Format.parseRecord(bytes, start, Math.min(bytes.length, start + place.length), note)
      const { position } = place as { readonly position?: number }
      if (typeof record === "string") return damaged(segment, place.offset, record, position)
      if (position !== undefined && record.position !== position) {
        return damaged(segment, place.offset, `position ${record.position} stands here`, position)
      }
      if (isKept && line !== undefined) cache.set(record.position, line)
      line = undefined
      records[i] = record
    }
    return undefined
  }

  /** For what is read and parsed in one step: nothing that is parsed keeps its bytes. */
  const scratch = Buffer.allocUnsafeSlow(scratchBytes)

  /** Reads what can be read without waiting: up to which place, or what is wrong. */
  const readNow = (
    places: ReadonlyArray<Ledger.Place>,
    from: number,
    records: Array<Ledger.Record>
  ): number | Ledger.LedgerDamaged => {
    for (let at = from; at < places.length;) {
      const piece = pieceAt(places, at, scratchBytes)
      if (piece.length > scratchBytes) return at
      const count = readInto(piece.segment, piece.low, scratch.subarray(0, piece.length))
      if (count === undefined) return at
      const problem = parsePiece(places, piece, scratch.subarray(0, count), records)
      if (problem !== undefined) return problem
      at = piece.to
    }
    return places.length
  }

  const readFrom = Effect.fnUntraced(function*(
    places: ReadonlyArray<Ledger.Place>,
    from: number,
    records: Array<Ledger.Record>
  ) {
    for (let at = from; at < places.length;) {
      const piece = pieceAt(places, at, chunkBytes)
      const { buffer, byteLength, byteOffset } = yield* bytesOf(piece.segment, piece.low, piece.length)
      const problem = parsePiece(places, piece, Buffer.from(buffer, byteOffset, byteLength), records)
      if (problem !== undefined) return yield* problem
      const next = readNow(places, piece.to, records)
      if (typeof next !== "number") return yield* next
      at = next
    }
    return records
  })

  const readMissing = (
    places: ReadonlyArray<Ledger.Place>
  ): Effect.Effect<ReadonlyArray<Ledger.Record>, Ledger.LedgerError> => {
    const records = new Array<Ledger.Record>(places.length)
    const at = readNow(places, 0, records)
    return typeof at !== "number"
      ? Effect.fail(at)
      : at === places.length
      ? Effect.succeed(records)
      : readFrom(places, at, records)
  }

  const cache = new RecordCache(cachedBytes)

  const read = (
    places: ReadonlyArray<Ledger.Place>
  ): Effect.Effect<ReadonlyArray<Ledger.Record>, Ledger.LedgerError> =>
    Effect.suspend(() => {
      if (places.length > mostCached) return readMissing(places)
      const records = new Array<Ledger.Record>(places.length)
      const missing: Array<number> = []
      for (let i = 0; i < places.length; i++) {
        const { position } = places[i] as { readonly position?: number }
        const known = position === undefined ? undefined : cache.get(position)
        if (known === undefined) missing.push(i)
        else records[i] = known
      }
      if (missing.length === 0) return Effect.succeed(records)
      if (missing.length === places.length) return readMissing(places)
      return Effect.map(readMissing(missing.map((i) => places[i]!)), (found) => {
        for (let i = 0; i < found.length; i++) records[missing[i]!] = found[i]!
        return records
      })
    })

  const commitOf = Effect.fnUntraced(function*(place: Ledger.Place) {
    let at = place.offset + place.length + 1
    for (let length = peekBytes;;) {
      const bytes = yield* bytesOf(place.segment, at, length)
      let from = 0
      for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, from)) {
        if (Format.isCommitLine(bytes, from, end)) {
          const found = Format.commitBefore(bytes.subarray(from, end + 1), end + 1 - from)
          if (found === undefined) return yield* damaged(place.segment, at + from, "the checksum does not fit")
          return { first: found.first, last: found.position, hash: found.hash }
        }
        from = end + 1
      }
      if (bytes.length < length) return yield* damaged(place.segment, at + from, "the batch has no commit")
      if (from === 0) {
        if (length > Format.maxLineBytes) return yield* damaged(place.segment, at, "the line is longer than 16 MiB")
        length *= 4
      }
      at += from
    }
  })

  const scan = (from: Ledger.Cursor | undefined): Effect.Effect<Ledger.Scan> =>
    Effect.sync(() => {
      let at = from ?? startOf(links[0]!)
      const next: Effect.Effect<ReadonlyArray<Ledger.Commit>, Ledger.LedgerError> = Effect.gen(function*() {
        for (;;) {
          const link = linkAt(at.segment)
          if (link === undefined) {
            return yield* damaged(at.segment, at.end, "the segment does not belong to the history")
          }
          const sealed = link.sealed
          const taken = yield* forward(at, sealed?.length ?? cursor.end)
          if (taken.length > 0) {
            at = taken.at(-1)!.cursor
            return taken
          }
          if (sealed === undefined) return []
          if (at.hash !== sealed.hash || at.position !== sealed.position) {
            return yield* damaged(at.segment, at.end, "the last commit is not the one that the next segment continues")
          }
          at = startOf(links[links.indexOf(link) + 1]!)
        }
      })
      return { next }
    })

  const holds = Effect.fnUntraced(function*(kept: Ledger.Cursor) {
    const link = linkAt(kept.segment)
    if (link === undefined || kept.end < link.start) return false
    const limit = link.sealed?.length ?? (link.number === cursor.segment ? cursor.end : Infinity)
    if (kept.end > limit) return false
    if (kept.end === link.start) return kept.hash === link.hash && kept.position === link.header.first - 1
    const from = Math.max(0, kept.end - Format.commitLineBytes)
    const found = Format.commitBefore(yield* bytesOf(kept.segment, from, kept.end - from), kept.end - from)
    return found !== undefined && found.hash === kept.hash && found.position === kept.position
  })

  const destroy = Effect.gen(function*() {
    yield* acquire
    // a new segment, so that every other writer is fenced
    yield* Effect.andThen(takeOver(), StoreFolder.destroy(store).pipe(Effect.provideService(Storage, storage))).pipe(
      turn
    )
    isDeleted = true
  }).pipe(Effect.ensuring(Effect.andThen(dropOwn, dropLock)), Effect.uninterruptible)

  /**
   * Whether there may be commits that were acknowledged and that no mark confirms any more: a power loss can take the last mark.
   * (Or a writer is at work at this very moment.)
   */
  const isUnfinished = Effect.gen(function*() {
    for (const number of yield* segmentNumbers) {
      const parsed = yield* headerOf(number)
      if (parsed !== undefined) return !parsed.confirmed || !isPadding(yield* tailOf(linkOf(parsed), true))
    }
    return false
  })

  yield* Effect.addFinalizer(() => release(true))
  // What was acknowledged must be there for whoever opens the store, whether or not anybody will ever write again.
  if (!readOnly && (yield* isUnfinished)) {
    yield* acquire
    // nobody was told of any commit yet, so nobody misses these
    while ((yield* refresh).length > 0);
    yield* release(false)
  }

  return Ledger.Ledger.of({
    storeId,
    cursor: Effect.sync(() => cursor),
    segments: Effect.sync(() =>
      links.map((link) => ({
        number: link.number,
        first: link.header.first,
        bytes: link.sealed?.length ?? (link.number === cursor.segment ? cursor.end : link.start)
      }))
    ),
    isBehind,
    refresh: turn(refresh),
    acquire,
    shouldRelease: Effect.suspend(() =>
      held === undefined
        ? Effect.succeed(false)
        : Effect.flatMap(held.held.isLost, (lost) =>
          lost ? Effect.succeed(true) : held?.held.isContended ?? Effect.succeed(false))
    ),
    release: release(false),
    commit: (batches, behind) => turn(commit(batches, behind)),
    read,
    commitOf,
    scan,
    holds,
    destroy
  })
})

// layers

export const layer = (
  options: Options
): Layer.Layer<Ledger.Ledger, Ledger.LedgerError | LockTimeout, Storage | Lock> =>
  Layer.effect(Ledger.Ledger, make(options))
