/**
 * The index over any Storage: the newest commits in memory, older ones in immutable run files, each of which covers a range of
 * positions. Everything here is derived from the ledger's confirmed commits: a file that is missing, damaged or of another history
 * is derived anew, and no byte of a file is believed before its checksum and the run's place in the history were checked.
 *
 * The parts (runs, then the tail) cover the history without a gap at every moment. A search remembers positions, not parts, so it
 * does not matter to it when commits come in, when the tail becomes a run, several runs become one, or a damaged one becomes several.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { randomBytes } from "node:crypto"
import type * as Position from "../Position.ts"
import type * as Query from "../Query.ts"
import { type Candidate, type Candidates, Index, type Range } from "../services/Index.ts"
import { type Commit, type Cursor, Ledger, type LedgerError, type Target } from "../services/Ledger.ts"
import { type File, Storage, type StorageError } from "../services/Storage.ts"
import type * as Tag from "../Tag.ts"
import * as Handles from "./internal/handles.ts"
import { Chunk } from "./internal/indexChunk.ts"
import * as Format from "./internal/indexFormat.ts"
import * as Merge from "./internal/indexMerge.ts"
import * as Search from "./internal/indexSearch.ts"
import { elapsed, inRealTime } from "./internal/realTime.ts"
import { Recent } from "./internal/recent.ts"

// models

export interface Options {
  /** The store's folder. */
  readonly store: string
  /** So many bytes of commits make a run. Default: 2 MiB. */
  readonly runBytes?: number | undefined
  /** So many runs of one size become one of the next. `Infinity`: none ever do. Default: 8. */
  readonly fanOut?: number | undefined
  /** Writes and removes nothing. */
  readonly readOnly?: boolean | undefined
}

/** An immutable part of the index. */
class Run {
  /** What is cached of it is found by this. */
  readonly id: number
  readonly first: number
  readonly last: number
  /** Its file; a run that was never written has a name all the same. */
  readonly name: string
  /** `undefined` until it was checked. */
  header: Format.Header | undefined = undefined
  /** The whole run, if it has no file that can be trusted. */
  bytes: Uint8Array | undefined = undefined
  /** The whole filter, if it is in memory. */
  filter: Uint8Array | undefined = undefined
  /** Its filter had to make room for others. */
  isFilterTooLarge = false
  /** How often what it covers was derived anew. */
  repairs = 0

  constructor(id: number, first: number, last: number, name: string) {
    this.id = id
    this.first = first
    this.last = last
    this.name = name
  }
}

// bounds

const mebi = 1024 * 1024
/** So much of the ledger is read at opening at most. */
const defaultRunBytes = 2 * mebi
/** Each run is written again by every eighth, 64th, ... of them; a search asks at most seven runs of each size. */
const defaultFanOut = 8
/** Candidates that are given at a time. */
const pageSize = 4096
const openFiles = 64
const cachedBlockBytes = 16 * mebi
/** Of places of records that were found few at a time; of so many at the most. */
const cachedPlaceBytes = 2 * mebi
const placeBytes = 112
const mostPlaces = 64
/** Steps of a search before others get their turn: of terms that never meet there may be very many. */
const stepsAtOnce = 64
/** Of filters in memory; of a run whose filter has no room, single blocks are read. */
const filterBudget = 48 * mebi
/** A filter of so many blocks is read as a whole when it is needed, a larger one in the background. */
const filterBlocksAtOnce = 64
/** A run of so many positions may have a filter as large as that. */
const largeRun = 32_768
/** How long merging keeps others waiting, in milliseconds; and how many times as long it then rests while there are others. */
const mergeSlice = 1
const mergeRest = 2
/** It rests less while there are so many times as many runs too many as become one. */
const mergeBacklog = 2
const urgentSlice = 2
/** Of additions of tags that were read. */
const cachedTargets = 20_000
/** Blocks that are read at once. */
const blocksPerRead = 64
/** Blocks that are nearer to each other than this are read at once. */
const gap = 8
const logEvery = 5000
/** What is derived anew so often, and then kept in memory, is not damaged: something is wrong with this program. */
const mostRepairs = 8

const noExtras: Search.Extras = new Map()

const areNone = (extras: Search.Extras): boolean => {
  for (const list of extras.values()) if (list.length > 0) return false
  return true
}

const sameCursor = (a: Cursor | undefined, b: Cursor | undefined): boolean =>
  a === undefined || b === undefined
    ? a === b
    : a.segment === b.segment && a.end === b.end && a.position === b.position && a.hash === b.hash

/** A temporary file of a process that runs may be renamed any moment. */
const isLeftOver = (name: string): boolean => {
  const match = /\.(\d+)\.[0-9a-f]+\.tmp$/.exec(name)
  if (match === null) return name.endsWith(".tmp")
  try {
    globalThis.process.kill(Number(match[1]), 0)
    return false
  } catch (error) {
    return (error as { readonly code?: unknown }).code !== "EPERM"
  }
}

// constructors

const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Index["Service"], LedgerError, Ledger | Storage | Scope.Scope> {
  const ledger = yield* Ledger
  const storage = yield* Storage
  const { fanOut = defaultFanOut, readOnly = false, runBytes = defaultRunBytes, store } = options
  const { storeId } = ledger
  const folder = `${store}/indices`

  // state: changed in synchronous steps only

  /** Ascending, each beginning behind the one before it. */
  const runs: Array<Run> = []
  let tail: Chunk
  /** The first position of the history: what an older run knows from before it counts no more. */
  let floor = 1
  /** Additions up to the end of the last run, as its header counts them. */
  let additionsBefore = 0
  /** What of them is from before the first run. */
  let additionsBase = 0
  /** The number of the next run of the smallest size. */
  let ordinal = 0
  let lastId = 0
  let warnedOfWrites = false
  /** Of all runs. */
  let filterBytes = 0
  /** Moves on with all that others want of the index. */
  let activity = 0
  /** Opened when there may be something to merge. */
  const mayMerge = Latch.makeUnsafe(true)

  const blocks = new Recent<Uint8Array>(cachedBlockBytes, (bytes) => bytes.length)
  /** Where single records stand, which never changes: else each of them needs a block of locations in memory, of thousands. */
  const places = new Recent<Candidate>(cachedPlaceBytes, () => placeBytes)
  const targets = new Recent<ReadonlyArray<Target>>(cachedTargets, (list) => 1 + list.length)
  const repairing = Semaphore.makeUnsafe(1)

  const newRun = ({ first, last, name }: Format.Name): Run => new Run(++lastId, first, last, name)
  const nameOf = (first: number, last: number): Format.Name => ({ name: Format.fileName(first, last), first, last })
  const pathOf = (run: Run): string => `${folder}/${run.name}`
  const end = (): Cursor | undefined => tail.cursor ?? tail.before
  /** The last position that is covered. */
  const covered = (): number => end()?.position ?? floor - 1

  // files

  const handles = yield* Handles.make<Run, File, StorageError>((run) => storage.openFile(pathOf(run)), openFiles)

  /** Bytes of a run's file; `undefined` if they cannot be had, for whatever reason that does not go away by waiting. */
  const readBytes = (run: Run, offset: number, length: number): Effect.Effect<Uint8Array | undefined, StorageError> =>
    handles.use(run, (file) => file.read(offset, length)).pipe(
      Effect.catchIf((error) => error.reason !== "TooManyOpenFiles", () => Effect.succeed(undefined))
    )

  /** The header of a run's file, if it is whole and has the range that its name says. */
  const readHeader = Effect.fnUntraced(function*(run: Run) {
    const bytes = yield* readBytes(run, 0, Format.headerBytes)
    const header = bytes === undefined ? undefined : Format.parseHeader(bytes, storeId)
    if (header === undefined || header.last !== run.last || Format.fileName(header.first, header.last) !== run.name) {
      return undefined
    }
    return header
  })

  /** The same, if it is part of this history: the last commit's hash stands for all that came before it. */
  const checkHeader = Effect.fnUntraced(function*(run: Run) {
    const header = yield* readHeader(run)
    return header !== undefined && (yield* ledger.holds(header.cursor!)) ? header : undefined
  })

  const warnOfWrites = (error: StorageError | undefined): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (warnedOfWrites) return Effect.void
      warnedOfWrites = true
      return Effect.logWarning(
        "the index cannot be written, and is kept in memory",
        ...(error === undefined ? [] : [error])
      )
    })

  /** Writes what is in memory only; says whether it has a file now. */
  const write = (run: Run): Effect.Effect<boolean> =>
    Effect.suspend(() => {
      const { bytes } = run
      if (readOnly) return Effect.as(warnOfWrites(undefined), false)
      if (bytes === undefined) return Effect.succeed(true)
      return storage.makeDirectory(folder, { parents: false }).pipe(
        Effect.andThen(handles.drop(run)),
        // It can be derived anew, so it need not be durable; its checksums tell if it did not survive.
        Effect.andThen(storage.replaceDocument(pathOf(run), bytes, { sync: false })),
        Effect.map(() => {
          warnedOfWrites = false
          return true
        }),
        Effect.catch((error) => Effect.as(warnOfWrites(error), false))
      )
    })

  const remove = (name: string): Effect.Effect<void> =>
    readOnly ? Effect.void : storage.remove(`${folder}/${name}`).pipe(Effect.catch(warnOfWrites))

  // looking up in a part

  /** The run that covers a position: `runs.length` stands for the tail. */
  const partIndex = (position: number): number => {
    let low = 0
    let high = runs.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (runs[middle]!.last < position) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Loads blocks that a look-up misses, checked. `false`: they are damaged. */
  const load = Effect.fnUntraced(function*(
    run: Run,
    header: Format.Header,
    missing: Format.Missing,
    keep: (block: number, payload: Uint8Array) => void
  ) {
    const { layout } = header
    const wanted = missing.blocks
    for (let i = 0; i < wanted.length;) {
      const from = wanted[i]!
      let next = i + 1
      while (next < wanted.length && wanted[next]! - wanted[next - 1]! <= gap && wanted[next]! - from < blocksPerRead) {
        next++
      }
      const start = Format.blockAt(layout, from).offset
      const last = Format.blockAt(layout, wanted[next - 1]!)
      const length = last.offset + last.length - start
      const inMemory = run.bytes
      const bytes = inMemory?.subarray(start, start + length) ?? (yield* readBytes(run, start, length))
      if (bytes === undefined || bytes.length !== length) return false
      for (; i < next; i++) {
        const at = Format.blockAt(layout, wanted[i]!)
        const payload = Format.openBlock(
          header,
          wanted[i]!,
          bytes.subarray(at.offset - start, at.offset - start + at.length)
        )
        if (payload === undefined) return false
        // A copy: the cache counts what it keeps, not what a slice keeps alive.
        keep(wanted[i]!, length > at.length && inMemory === undefined ? payload.slice() : payload)
      }
    }
    return true
  })

  /** Keeps a run's filter, as long as there is room: the largest go first. */
  const keepFilter = (run: Run, filter: Uint8Array): void => {
    if (run.filter !== undefined || run.isFilterTooLarge) return
    run.filter = filter
    filterBytes += filter.length
    while (filterBytes > filterBudget) {
      const largest = [...runs, run].reduce((a, b) => (b.filter?.length ?? 0) > (a.filter?.length ?? 0) ? b : a)
      dropFilter(largest)
      largest.isFilterTooLarge = true
    }
  }

  const dropFilter = (run: Run): void => {
    filterBytes -= run.filter?.length ?? 0
    run.filter = undefined
  }

  /** Puts other runs in the place of some that cover the same. */
  const replaceRuns = (from: number, count: number, others: ReadonlyArray<Run>): Effect.Effect<void> => {
    const replaced = runs.splice(from, count, ...others)
    for (const run of replaced) dropFilter(run)
    // whoever is reading them goes on with the file that is open
    return Effect.forEach(replaced, handles.drop, { discard: true })
  }

  /** Runs a look-up, again from its beginning whenever it lacked a block. `undefined`: the run is damaged. */
  const attempt = Effect.fnUntraced(function*<A>(
    run: Run,
    header: Format.Header,
    lookUp: (lists: Format.Lists) => A,
    lists: Format.RunLists,
    own: Map<number, Uint8Array>,
    lacking: Format.Missing
  ) {
    const { filter } = header.layout
    for (let missing = lacking;;) {
      const isFilter = missing.blocks[0]! >= filter.block
      const isWhole = isFilter && filter.blocks <= filterBlocksAtOnce && !run.isFilterTooLarge
      if (isWhole) missing = new Format.Missing(Array.from({ length: filter.blocks }, (_, i) => filter.block + i))
      const parts: Array<Uint8Array> = []
      const loaded = yield* load(run, header, missing, (block, payload) => {
        own.set(block, payload)
        if (isWhole) parts.push(payload)
        else blocks.set(keyOf(run, block), payload)
      })
      if (!loaded) return undefined
      if (isWhole && runs.includes(run)) keepFilter(run, Buffer.concat(parts))
      try {
        return { value: lookUp(lists) }
      } catch (thrown) {
        if (thrown instanceof Format.Corrupt) return undefined
        if (!(thrown instanceof Format.Missing)) throw thrown
        missing = thrown
      }
    }
  })

  const keyOf = ({ id }: Run, block: number): number => id * 2 ** 24 + block

  /** A run's lists by what is in memory. `own`: what a look-up has seen stays at hand for it, whatever the cache drops. */
  const listsOf = (run: Run, header: Format.Header, own: Map<number, Uint8Array>): Format.RunLists =>
    new Format.RunLists(
      header,
      (block) => {
        let payload = own.get(block)
        if (payload === undefined && (payload = blocks.get(keyOf(run, block))) !== undefined) own.set(block, payload)
        return payload
      },
      () => run.filter
    )

  /** Looks up in a run whose header is known: at once, if all that is needed for it is in memory. */
  const lookUpIn = <A>(
    run: Run,
    header: Format.Header,
    lookUp: (lists: Format.Lists) => A
  ): Effect.Effect<{ readonly value: A } | undefined, LedgerError> => {
    const own = new Map<number, Uint8Array>()
    const lists = listsOf(run, header, own)
    try {
      return Effect.succeed({ value: lookUp(lists) })
    } catch (thrown) {
      if (thrown instanceof Format.Corrupt) return Effect.succeed(undefined)
      if (!(thrown instanceof Format.Missing)) throw thrown
      return attempt(run, header, lookUp, lists, own, thrown)
    }
  }

  /** The header of a run, if it is one of this history. */
  const headerOf = (run: Run): Effect.Effect<Format.Header | undefined, LedgerError> =>
    run.header !== undefined
      ? Effect.succeed(run.header)
      : Effect.map(checkHeader(run), (header) => run.header ??= header)

  /** The first position from one of the ends on that is not in a run whose filter, if it is in memory, says that it has nothing. */
  const passOver = (
    { backwards, from, to }: { readonly from: number; readonly to: number; readonly backwards: boolean },
    mayHave: (run: Run, mayHold: (term: Format.Term) => boolean) => boolean
  ): number => {
    let filter: Uint8Array
    const mayHold = (term: Format.Term): boolean => Format.mayHold(filter, term)
    let at = backwards ? to : from
    for (let index = partIndex(at); at >= from && at <= to; index += backwards ? -1 : 1) {
      const run = runs[index]
      // what is not in memory is not known
      if (run?.filter === undefined || run.header === undefined) break
      filter = run.filter
      if (mayHave(run, mayHold)) break
      at = backwards ? run.first - 1 : run.last + 1
    }
    return at
  }

  /** Looks up in the part that covers a position, whichever that is by then. `lookUp` may be called more than once. */
  const inPart = <A>(position: number, lookUp: (lists: Format.Lists) => A): Effect.Effect<A, LedgerError> =>
    Effect.suspend(() => {
      activity++
      const run = runs[partIndex(position)]
      if (run === undefined) return Effect.succeed(lookUp(tail))
      return headerOf(run).pipe(
        Effect.flatMap((header) => header === undefined ? Effect.succeed(undefined) : lookUpIn(run, header, lookUp)),
        Effect.flatMap((found) =>
          found !== undefined ? Effect.succeed(found.value) : Effect.andThen(replace(run), inPart(position, lookUp))
        )
      )
    })

  /** The same, if all that it needs is in memory; otherwise `undefined`. */
  const inPartNow = <A>(position: number, lookUp: (lists: Format.Lists) => A): A | undefined => {
    activity++
    const run = runs[partIndex(position)]
    if (run === undefined) return lookUp(tail)
    if (run.header === undefined) return undefined
    try {
      return lookUp(listsOf(run, run.header, new Map()))
    } catch (thrown) {
      if (thrown instanceof Format.Corrupt || thrown instanceof Format.Missing) return undefined
      throw thrown
    }
  }

  // making runs

  /** The point from which a run can be derived, and what was before it. */
  const startBefore = Effect.fnUntraced(function*(run: Run) {
    /** A point of this history before the run. */
    const isUsable = (cursor: Cursor | undefined) =>
      cursor !== undefined && cursor.position >= floor && cursor.position < run.first
        ? ledger.holds(cursor)
        : Effect.succeed(false)
    // Its own header does, if only a block is damaged.
    if (run.header !== undefined && (yield* isUsable(run.header.before))) {
      return { from: run.header.before, additions: run.header.additionsBefore, ordinal: run.header.ordinal }
    }
    for (const before of runs.slice(0, Math.max(0, runs.indexOf(run))).reverse()) {
      const header = yield* headerOf(before)
      if (header !== undefined && (yield* isUsable(header.cursor))) {
        return {
          from: header.cursor,
          additions: header.additionsBefore + header.additions,
          ordinal: header.ordinal + header.span
        }
      }
    }
    return { from: undefined, additions: 0, ordinal: 0 }
  })

  /** A longer run that covers this one and its neighbours: another process merged them, and removed their files. */
  const adopt = Effect.fnUntraced(function*(run: Run, named: ReadonlyArray<Format.Name>) {
    for (const name of named) {
      if (name.name === run.name || name.first > run.first || name.last < run.last) continue
      const longer = newRun(name)
      longer.header = yield* checkHeader(longer)
      const from = runs.findIndex(({ first }) => first === name.first)
      const to = runs.findIndex(({ last }) => last === name.last)
      if (longer.header !== undefined && from >= 0 && to >= from && runs.includes(run)) {
        yield* replaceRuns(from, to - from + 1, [longer])
        return true
      }
      yield* handles.drop(longer)
    }
    return false
  })

  /** Takes another run that covers the same, or derives it from the ledger. Does nothing if it is no part of the index any more. */
  const replace = Effect.fnUntraced(
    function*(run: Run): Effect.fn.Return<void, LedgerError> {
      if (!runs.includes(run)) return
      if (run.repairs > mostRepairs) {
        return yield* Effect.die(new Error(`${pathOf(run)} is damaged as soon as it is derived`))
      }
      const named = (yield* fileNames).flatMap((name) => Format.parseName(name) ?? []).sort((a, b) => b.last - a.last)
      if (yield* adopt(run, named)) return
      yield* Effect.logWarning(`${pathOf(run)} is missing, damaged or of another history: it is derived anew`)
      const made = yield* Effect.scoped(derive(run, named.filter(({ name }) => name !== run.name)))
      const at = runs.indexOf(run)
      if (at < 0) return
      yield* replaceRuns(at, 1, made)
      if (made.every(({ header, name }) => name !== run.name || header?.cursor === undefined)) yield* remove(run.name)
      mayMerge.openUnsafe()
    },
    Effect.uninterruptible,
    repairing.withPermit
  )

  /** Runs for what a run covers: such as are there, and of the smallest size where none are. */
  const derive = Effect.fnUntraced(function*(run: Run, named: ReadonlyArray<Format.Name>) {
    const start = yield* startBefore(run)
    const progress = yield* makeProgress(run.last)
    const made: Array<Run> = []
    /** The first position that is still to be covered. */
    let next = Math.max(run.first, floor)
    /** How far the ledger was read, and what there was up to there. */
    let { additions, from: before, ordinal } = start
    let bytes = 0
    let chunk: Chunk | undefined
    let additionsBefore = 0
    let isWhole = true

    const close = Effect.fnUntraced(function*(chunk: Chunk) {
      // What is not a range of whole commits is derived in order when the store is opened next.
      if (!isWhole) chunk.cursor = undefined
      const encoded = Format.encode(chunk, storeId, { additionsBefore, ordinal, span: 1 })
      const piece = newRun(nameOf(chunk.first, chunk.last))
      piece.header = encoded.header
      piece.bytes = encoded.bytes
      piece.repairs = run.repairs + 1
      // A file that does not even survive until it is read again is not tried twice.
      if (isWhole && run.repairs === 0 && (yield* write(piece))) piece.bytes = undefined
      made.push(piece)
      ordinal++
      next = chunk.last + 1
    })
    /** Takes in a run that is there. */
    const follow = Effect.fnUntraced(function*(first: number) {
      const names = named.filter((name) => name.first === first && name.last <= run.last)
      const piece = names.length === 0 ? undefined : yield* firstFitting(names, before, additions)
      if (piece === undefined) return false
      if (chunk !== undefined) yield* close(chunk)
      chunk = undefined
      made.push(piece)
      const header = piece.header!
      before = header.cursor
      additions = header.additionsBefore + header.additions
      ordinal = header.ordinal + header.span
      next = piece.last + 1
      return true
    })

    yield* follow(next)
    while (next <= run.last) {
      const scan = yield* ledger.scan(before)
      for (let isBehind = false; next <= run.last && !isBehind;) {
        const commits = yield* scan.next
        if (commits.length === 0) return yield* Effect.die(new Error(`the ledger ends before position ${run.last}`))
        for (const commit of commits) {
          if (commit.last >= next) {
            if (chunk === undefined) {
              chunk = new Chunk(before, next)
              additionsBefore = additions
            }
            if (commit.first >= chunk.first && commit.last <= run.last) {
              chunk.add(commit)
            } else {
              // The file's name was of another history. The range stays what it is, as its neighbours rely on it.
              isWhole = false
              for (const entry of commit.entries) {
                if (entry.position >= chunk.first && entry.position <= run.last) chunk.addEntry(entry)
              }
            }
          } else if ((bytes += commit.bytes) >= runBytes) {
            // a run before this one, that is missing as well
            ordinal++
            bytes = 0
          }
          for (const entry of commit.entries) if (entry.kind === "tags") additions++
          before = commit.cursor
          if (commit.last + 1 >= next && (isBehind = yield* follow(commit.last + 1))) break
          if (chunk !== undefined && (chunk.bytes >= runBytes || chunk.last >= run.last)) {
            yield* close(chunk)
            chunk = undefined
            if (next > run.last) break
          }
        }
        yield* progress(before!.position)
      }
    }
    return made
  })

  /** A run that was made when the history began earlier counts more before it. */
  const countBefore = (header: Format.Header): void => {
    additionsBase += header.additionsBefore - additionsBefore
    additionsBefore = header.additionsBefore
  }

  /** A run's file, if it has the range and continues what is before it. */
  const fitting = Effect.fnUntraced(function*(name: Format.Name, before: Cursor | undefined, additions: number) {
    const run = newRun(name)
    const header = yield* checkHeader(run)
    if (header !== undefined && sameCursor(header.before, before) && header.additionsBefore >= additions) {
      run.header = header
      return run
    }
    yield* handles.drop(run)
    return undefined
  })

  const firstFitting = Effect.fnUntraced(function*(
    names: ReadonlyArray<Format.Name>,
    before: Cursor | undefined,
    additions: number
  ) {
    for (const name of names) {
      const run = yield* fitting(name, before, additions)
      if (run !== undefined) return run
    }
    return undefined
  })

  /** Makes the tail a run. It answers until it is one. */
  const closeTail = Effect.gen(function*() {
    const chunk = tail
    const run = newRun(nameOf(chunk.first, chunk.last))
    // Another process may have made it: it has the same bytes.
    const header = yield* readHeader(run).pipe(Effect.catch(() => Effect.succeed(undefined)))
    const fits = header !== undefined && sameCursor(header.cursor, chunk.cursor) &&
      sameCursor(header.before, chunk.before) &&
      header.additionsBefore >= additionsBefore
    let filter: Uint8Array
    if (fits) {
      run.header = header
      filter = Format.filterOf(chunk)
      countBefore(header)
      ordinal = header.ordinal
    } else {
      const made = Format.encode(chunk, storeId, { additionsBefore, ordinal, span: 1 })
      run.header = made.header
      run.bytes = made.bytes
      filter = made.filter
      // Those that could not be written come first: an index with a gap is of no use to the next process.
      for (const pending of [...runs, run]) {
        if (pending.bytes === undefined || pending.repairs > 1 || pending.header?.cursor === undefined) continue
        if (!(yield* write(pending))) break
        pending.bytes = undefined
      }
    }
    runs.push(run)
    keepFilter(run, filter)
    additionsBefore += chunk.additions
    ordinal += run.header!.span
    tail = new Chunk(chunk.cursor, chunk.last + 1, chunk)
    mayMerge.openUnsafe()
  })

  const take = (commit: Commit): void => {
    activity++
    tail.add(commit)
    if (tail.additions === 0) return
    for (const entry of commit.entries) if (entry.kind === "tags") targets.set(entry.position, entry.targets)
  }

  // merging

  /** The runs that become one next, the smallest first: as many as the rule says, from a multiple of them on. */
  const nextMerge = (): ReadonlyArray<Run> | undefined => {
    let found: ReadonlyArray<Run> | undefined
    for (let at = 0; at + fanOut <= runs.length; at++) {
      const header = runs[at]!.header
      if (header === undefined || header.ordinal % (header.span * fanOut) !== 0) continue
      if (found !== undefined && found[0]!.header!.span <= header.span) continue
      const group = runs.slice(at, at + fanOut)
      let before = header.before
      const isGroup = group.every((run, i) => {
        const its = run.header
        // what was repaired in memory, or ends within a commit, has no cursor
        const fits = its?.cursor !== undefined && its.span === header.span && sameCursor(its.before, before) &&
          its.ordinal === header.ordinal + i * header.span && its.first === run.first
        before = its?.cursor
        return fits
      })
      if (isGroup) found = group
    }
    return found
  }

  /** How many runs there are of so many of the smallest when all are merged that can be. */
  const fewestRuns = (smallest: number): number => {
    let sum = 0
    for (let left = smallest; left > 0; left = Math.floor(left / fanOut)) sum += left % fanOut
    return sum
  }

  /** Rests now and then, longer while others want something. */
  const makePause = (): Effect.Effect<void> => {
    let began = elapsed()
    let seen = activity
    return Effect.suspend(() => {
      const took = elapsed() - began
      // where too much is left to do, every search pays for it
      const isUrgent = runs.length - fewestRuns(ordinal) > mergeBacklog * fanOut
      if (took < (isUrgent ? urgentSlice : mergeSlice)) return Effect.void
      // what took longer than a slice was a wait, for a disk or for something to do
      const rest = isUrgent
        ? Effect.yieldNow
        : Effect.sleep(activity === seen ? 0 : Math.min(took, urgentSlice) * mergeRest)
      return Effect.map(rest, () => {
        began = elapsed()
        seen = activity
      })
    })
  }

  /** Writes several runs as one. Nothing is left of a file that is not finished. */
  const writeMerged = (merged: Run, group: ReadonlyArray<Run>, pause: Effect.Effect<void>) => {
    const temporary = `${folder}/.${merged.name}.${globalThis.process.pid}.${randomBytes(6).toString("hex")}.tmp`
    const fill = Effect.gen(function*() {
      const file = yield* storage.createFile(temporary)
      const done = yield* Merge.merge(group.map((run) => run.header!), storeId, {
        read: (at, offset, length) => {
          const { bytes } = group[at]!
          return bytes === undefined
            ? readBytes(group[at]!, offset, length)
            : Effect.succeed(bytes.subarray(offset, offset + length))
        },
        write: file.write,
        pause
      }, { filterBytes: filterBudget / 2 })
      // What is lost with a power loss is derived anew: of the smaller ones that takes less than a second.
      if (done.header.span > fanOut) yield* file.sync
      return done
    })
    return storage.makeDirectory(folder, { parents: false }).pipe(
      Effect.andThen(Effect.scoped(fill)),
      Effect.tap(storage.rename(temporary, pathOf(merged))),
      Effect.onExit((exit) => exit._tag === "Success" ? Effect.void : Effect.ignore(storage.remove(temporary)))
    )
  }

  /** Runs of which a larger one was made. Other processes may still be looking for their files: these go with the next such step. */
  let outdated: ReadonlyArray<Run> = []

  const mergeNext = Effect.fnUntraced(function*(group: ReadonlyArray<Run>, pause: Effect.Effect<void>) {
    const oldest = group[0]!.header!
    const newest = group[group.length - 1]!.header!
    const merged = newRun(nameOf(oldest.first, newest.last))
    // Another process may have made it: it has the same bytes.
    let header = yield* checkHeader(merged)
    let filter: Uint8Array | undefined
    if (header === undefined || !sameCursor(header.before, oldest.before) || !(yield* isComplete(merged, header))) {
      yield* handles.drop(merged)
      const written = yield* writeMerged(merged, group, pause)
      header = written.header
      filter = written.filter
    }
    merged.header = header
    const at = runs.indexOf(group[0]!)
    if (!group.every((run, i) => runs[at + i] === run)) return yield* handles.drop(merged)
    yield* replaceRuns(at, group.length, [merged])
    if (filter !== undefined) keepFilter(merged, filter)
    else yield* loadFilter(merged, pause)
    for (const { name } of outdated) yield* remove(name)
    outdated = group
  })

  /** Whether a file has the length that its header says. */
  const isComplete = (run: Run, header: Format.Header): Effect.Effect<boolean> =>
    handles.use(run, (file) => file.size).pipe(
      Effect.map((size) => size === header.layout.size),
      Effect.orElseSucceed(() => false)
    )

  /** Merges as long as there is something to merge. */
  const mergeAll = (pause: Effect.Effect<void>): Effect.Effect<void> =>
    Effect.gen(function*() {
      for (let group; (group = nextMerge()) !== undefined;) {
        const merging = group
        yield* mergeNext(merging, pause).pipe(
          Effect.catchIf(
            (error) => "damaged" in error,
            (error) => replace(merging[(error as Merge.Damaged).damaged]!)
          )
        )
      }
    }).pipe(
      // It is tried again when there is more to merge.
      Effect.catch((error) => Effect.logWarning("the index's runs cannot be merged", error))
    )

  /** Reads a large filter, which a look-up does not wait for. */
  const loadFilter = Effect.fnUntraced(function*(run: Run, pause: Effect.Effect<void>) {
    const header = yield* headerOf(run)
    if (header === undefined || run.filter !== undefined || run.isFilterTooLarge) return
    const { filter } = header.layout
    if (filterBytes + filter.bytes > filterBudget) return
    const whole = new Uint8Array(filter.bytes)
    for (let block = 0; block < filter.blocks; block += blocksPerRead) {
      const count = Math.min(blocksPerRead, filter.blocks - block)
      const missing = new Format.Missing(Array.from({ length: count }, (_, i) => filter.block + block + i))
      const isWhole = yield* load(run, header, missing, (number, payload) => {
        whole.set(payload, (number - filter.block) * filter.perBlock)
      })
      if (!isWhole) return
      yield* pause
    }
    if (runs.includes(run)) keepFilter(run, whole)
  })

  /** What goes on beside: filters are loaded, and runs merged. */
  const background = Effect.gen(function*() {
    const pause = makePause()
    const length = (run: Run) => run.last - run.first
    for (const run of runs.filter((run) => length(run) >= largeRun).sort((a, b) => length(a) - length(b))) {
      yield* Effect.ignore(loadFilter(run, pause))
    }
    if (readOnly || fanOut === Infinity) return
    // without its header, a run is merged with no other
    if (runs.length >= fanOut) {
      yield* Effect.forEach(runs.slice(), (run) => Effect.ignore(headerOf(run)), { discard: true })
    }
    for (;;) {
      yield* mayMerge.await
      mayMerge.closeUnsafe()
      yield* mergeAll(pause)
    }
  })

  // opening

  /** The names of the files in the folder. */
  const fileNames = Effect.suspend(() => storage.list(folder)).pipe(
    Effect.catch((error) => Effect.as(warnOfWrites(error), [])),
    Effect.map((entries) => entries.flatMap(({ kind, name }) => kind === "file" ? name : []))
  )

  /** Tells of a long walk along the ledger, every few seconds. */
  const makeProgress = Effect.fnUntraced(function*(to: number) {
    const clock = yield* Clock.Clock
    const began = clock.currentTimeMillisUnsafe()
    let logged = began
    let first: number | undefined
    return (position: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        first ??= position
        const now = clock.currentTimeMillisUnsafe()
        if (now - logged < logEvery) return Effect.void
        logged = now
        const percent = Math.floor(position / to * 100)
        const rate = Math.round((position - first) / (now - began) * 1000)
        return Effect.logInfo(`deriving the index: position ${position} of ${to} (${percent} %, ${rate} a second)`)
      })
  })

  const open = Effect.gen(function*() {
    const target = yield* ledger.cursor
    floor = (yield* ledger.segments)[0]?.first ?? 1
    const named: Array<Format.Name> = []
    for (const name of yield* fileNames) {
      const parsed = Format.parseName(name)
      if (parsed !== undefined) named.push(parsed)
      else if (isLeftOver(name)) yield* remove(name)
    }

    // By their names alone: the longest run from each position on. The first may begin in what was archived since.
    const byFirst = new Map<number, Array<Format.Name>>()
    const oldest: Array<Format.Name> = []
    for (const name of named.sort((a, b) => b.last - a.last)) {
      if (name.last > target.position || name.last < floor) continue
      byFirst.set(name.first, [...byFirst.get(name.first) ?? [], name])
      if (name.first <= floor) oldest.push(name)
    }
    const following = (): ReadonlyArray<Format.Name> => {
      const last = runs.at(-1)
      return last === undefined ? oldest : byFirst.get(last.last + 1) ?? []
    }
    const firsts = [...byFirst.keys()].sort((a, b) => a - b)
    const hasParts = ({ first, last }: Format.Name): boolean =>
      byFirst.get(first)!.length > 1 || firsts[Search.lowerBound(firsts, first + 1)]! <= last
    const forget = (run: Run): Effect.Effect<void> => {
      for (const names of [oldest, byFirst.get(run.first) ?? []]) {
        const at = names.findIndex(({ name }) => name === run.name)
        if (at >= 0) names.splice(at, 1)
      }
      return handles.drop(run)
    }
    // The last one is checked now, and answers for where the tail begins; the others are when they are used. So are those now of which
    // the parts are still there: after a power loss these may be whole, and it may not.
    let header: Format.Header | undefined
    for (;;) {
      const [name] = following()
      if (name !== undefined) {
        const run = newRun(name)
        if (hasParts(name)) {
          run.header = yield* checkHeader(run)
          if (run.header === undefined || !(yield* isComplete(run, run.header))) {
            yield* forget(run)
            continue
          }
        }
        runs.push(run)
        continue
      }
      const run = runs.at(-1)
      if (run === undefined || (header = yield* headerOf(run)) !== undefined) break
      runs.pop()
      yield* forget(run)
    }
    if (header !== undefined) {
      additionsBefore = header.additionsBefore + header.additions
      ordinal = header.ordinal + header.span
    }
    if (runs.length > 0 && runs[0]!.first > 1) {
      additionsBase = (yield* headerOf(runs[0]!))?.additionsBefore ?? 0
    }
    tail = new Chunk(header?.cursor, header === undefined ? floor : header.last + 1)

    // From there on along the ledger, taking in further runs that fit.
    const progress = yield* makeProgress(target.position)
    const merging = readOnly || fanOut === Infinity ? Effect.void : mergeAll(Effect.yieldNow)
    /** `true` at the end; `false` where a run goes on instead of the ledger. */
    const advance = Effect.fnUntraced(function*() {
      for (let names; (names = byFirst.get(tail.first)) !== undefined;) {
        const run = yield* firstFitting(names, tail.before, additionsBefore)
        if (run === undefined) break
        countBefore(run.header!)
        additionsBefore += run.header!.additions
        ordinal = run.header!.ordinal + run.header!.span
        runs.push(run)
        tail = new Chunk(run.header!.cursor, run.last + 1)
      }
      const scan = yield* ledger.scan(tail.before)
      for (;;) {
        const commits = yield* scan.next
        if (commits.length === 0) return true
        for (const commit of commits) {
          take(commit)
          const followers = byFirst.get(commit.last + 1)
          if (
            followers !== undefined &&
            (yield* firstFitting(followers, commit.cursor, additionsBefore + tail.additions)) !== undefined
          ) {
            yield* closeTail
            return false
          }
          if (tail.bytes >= runBytes) {
            yield* closeTail
            // nobody waits for anything but this: what must be done at some time is done now
            yield* merging
          }
        }
        yield* progress(covered())
      }
    })
    while (!(yield* Effect.scoped(advance())));

    const used = new Set(runs.map((run) => run.name))
    for (const { last, name } of named) {
      // A run beyond what is known here may be right: another process is ahead.
      if (!used.has(name) && last <= target.position) yield* remove(name)
    }
  })

  yield* open
  if (runs.some((run) => run.last - run.first >= largeRun) || !(readOnly || fanOut === Infinity)) {
    yield* Effect.forkScoped(inRealTime(background))
  }

  // additions

  const readTargets = Effect.fnUntraced(function*(records: ReadonlyArray<Candidate>) {
    const missing = records.filter((record) => targets.get(record.position) === undefined)
    const found = new Map<number, ReadonlyArray<Target>>()
    for (const { position } of records) {
      const list = targets.get(position)
      if (list !== undefined) found.set(position, list)
    }
    // A record may be large: few at a time.
    for (let i = 0; i < missing.length; i += 16) {
      const page = missing.slice(i, i + 16)
      for (const record of yield* ledger.read(page)) {
        if (record.kind !== "tags") continue
        targets.set(record.position, record.targets)
        found.set(record.position, record.targets)
      }
    }
    return found
  })

  /** The records that are listed under the terms, in ascending order. */
  const records = Effect.fnUntraced(function*(
    terms: ReadonlyArray<Format.Term>,
    options: { readonly after: number; readonly additions: boolean }
  ) {
    const out: Array<Candidate> = []
    const after = Math.max(options.after, floor - 1)
    if (terms.length === 0 || (options.additions && additionsBefore + tail.additions === 0)) return out
    const end = covered()
    for (let at = after + 1;;) {
      at = passOver(
        { from: at, to: end, backwards: false },
        ({ header }, mayHold) => (!options.additions || header!.additions > 0) && terms.some(mayHold)
      )
      if (at > end) break
      const from = at
      at = yield* inPart(from, (lists) => {
        const to = Math.min(lists.last, end)
        if (options.additions && lists.additions === 0) return to + 1
        let positions: ReadonlyArray<number> = []
        for (const term of terms) {
          if (lists.count(term) > 0) positions = Search.union(positions, lists.list(term, from, to))
        }
        for (const candidate of candidates(lists, positions, options.additions)) out.push(candidate)
        return to + 1
      })
    }
    return out
  })

  const candidates = (lists: Format.Lists, positions: ReadonlyArray<number>, additions: boolean): Array<Candidate> => {
    const out: Array<Candidate> = []
    const areFew = positions.length <= mostPlaces && !additions
    const known = areFew ? positions.map((position) => places.get(position)) : undefined
    lists.prepare(known === undefined ? positions : positions.filter((_, i) => known[i] === undefined))
    for (let i = 0; i < positions.length; i++) {
      const position = positions[i]! as Position.Position
      const place = known?.[i]
      if (place !== undefined) {
        out.push(place)
        continue
      }
      const location = lists.location(position)
      if (location === undefined || location.addition !== additions) continue
      const { length, offset, segment } = location
      const candidate = { position, segment, offset, length }
      if (areFew) places.set(position, candidate)
      out.push(candidate)
    }
    return out
  }

  const findAdditions = (query: Query.Any, after: number) =>
    records(Search.tagsOf(query).map(Format.addedTerm), { after, additions: true })

  const additions = (after: number, before: number): Candidates => {
    let to = before - 1
    const next: Effect.Effect<ReadonlyArray<Candidate>, LedgerError> = Effect.gen(function*() {
      if (additionsBefore + tail.additions === 0) return []
      to = Math.min(to, covered())
      while (to > after && to >= floor) {
        const last = to
        const page = yield* inPart(last, (lists) => {
          const lowest = Math.max(after + 1, floor, lists.first)
          if (lists.additions === 0) {
            to = lowest - 1
            return []
          }
          // No term lists them all, but each location says whether it is one's.
          const positions = Array.from({ length: Math.min(pageSize, last - lowest + 1) }, (_, i) => last - i)
          to = last - positions.length
          return candidates(lists, positions, true)
        })
        if (page.length > 0) return page
      }
      return []
    })
    return { next }
  }

  /** For each of the query's tags the events that got it later. */
  const extrasOf = Effect.fnUntraced(function*(query: Query.Any) {
    const extras = new Map<string, ReadonlyArray<number>>()
    const found = yield* findAdditions(query, 0)
    if (found.length === 0) return extras
    const sets = new Map(Search.tagsOf(query).map((tag) => [tag, new Set<number>()]))
    for (let i = 0; i < found.length; i += 64) {
      for (const list of (yield* readTargets(found.slice(i, i + 64))).values()) {
        for (const target of list) for (const tag of target.tags) sets.get(tag)?.add(target.position)
      }
    }
    for (const [tag, set] of sets) extras.set(tag, [...set].sort((a, b) => a - b))
    return extras
  })

  // search

  const find = (query: Query.Any, { after, atOnce = pageSize, backwards, before }: Range): Candidates => {
    const plan = Search.plan(query)
    const most = Math.max(1, Math.min(atOnce, pageSize))
    let extras: Search.Extras | undefined
    /** What is still to be searched, both inclusive. */
    let low = 0
    let high = -1
    /** Found already: `pending[at]` and those behind it, in the search's order. */
    let pending: ReadonlyArray<number> = []
    let at = 0
    /** How many are listed next: few, where few are wanted, and ever more as long as these are not found. */
    let size = Math.max(Search.leastStep, most)

    /** Passes over runs that certainly have nothing. */
    const passOn = (known: Search.Extras): void => {
      if (plan === undefined || low > high || !areNone(known)) return
      const mayHave = (_: Run, mayHold: (term: Format.Term) => boolean) => Search.mayMatch(plan, query, mayHold, false)
      const passed = passOver({ from: low, to: high, backwards }, mayHave)
      if (backwards) high = passed
      else low = passed
    }
    const step = (lists: Format.Lists): Search.Step => {
      let from = Math.max(low, lists.first)
      let to = Math.min(high, lists.last)
      if (plan !== undefined) return Search.search(plan, lists, extras!, { from, to, backwards }, size)
      // Every position may be one, so they need not be listed for a whole run.
      if (backwards) from = Math.max(from, to - most + 1)
      else to = Math.min(to, from + most - 1)
      return { positions: Array.from({ length: to - from + 1 }, (_, i) => from + i), from, to }
    }
    const searched = ({ from, positions, to }: Search.Step): void => {
      pending = backwards ? positions.slice().reverse() : positions
      at = 0
      size = Math.min(Search.stepSize, size * 2)
      if (backwards) high = from - 1
      else low = to + 1
    }
    /** They were found in one part, but that may be several by now. */
    const page = (count: number) => (lists: Format.Lists) => {
      const positions = pending.slice(at, at + count)
        .filter((position) => position >= lists.first && position <= lists.last)
      return { found: candidates(lists, positions, false), length: positions.length }
    }

    /** Goes on as far as what is in memory tells, and not further than to so many as are wanted. */
    const nextNow = (): Array<Candidate> => {
      const found: Array<Candidate> = []
      for (let steps = 0; found.length < most && steps < stepsAtOnce; steps++) {
        if (at < pending.length) {
          const taken = inPartNow(pending[at]!, page(most - found.length))
          if (taken === undefined) break
          at += taken.length
          for (const candidate of taken.found) found.push(candidate)
          continue
        }
        passOn(extras!)
        if (low > high) break
        const taken = inPartNow(backwards ? high : low, step)
        if (taken === undefined) break
        searched(taken)
      }
      return found
    }

    const nextLater: Effect.Effect<ReadonlyArray<Candidate>, LedgerError> = Effect.gen(function*() {
      if (extras === undefined) {
        // What comes in later is not of this search's snapshot.
        const [from, to] = [Math.max(after + 1, floor), Math.min(before - 1, covered())]
        extras = from > to ? noExtras : yield* extrasOf(query)
        low = from
        high = to
      }
      for (let turn = 0;; turn++) {
        if (turn > 0) yield* Effect.yieldNow
        const found = nextNow()
        if (found.length > 0) return found
        // Whatever it was that is not in memory: this waits for it.
        if (at < pending.length) {
          const taken = yield* inPart(pending[at]!, page(most))
          at += taken.length
          if (taken.found.length > 0) return taken.found
        } else if (low > high) {
          return []
        } else {
          searched(yield* inPart(backwards ? high : low, step))
        }
      }
    })

    const next = Effect.suspend(() => {
      if (extras === undefined) {
        if (additionsBefore + tail.additions > 0) return nextLater
        extras = noExtras
        low = Math.max(after + 1, floor)
        high = Math.min(before - 1, covered())
      }
      const found = nextNow()
      return found.length > 0 || (at === pending.length && low > high) ? Effect.succeed(found) : nextLater
    })
    return { next }
  }

  const addedTags: Index["Service"]["addedTags"] = Effect.fnUntraced(function*(positions, head) {
    const out = new Map<Position.Position, ReadonlyArray<Tag.Tag>>()
    if (positions.length === 0 || additionsBefore + tail.additions === 0) return out
    // An addition stands behind its targets.
    let least = Infinity
    for (const position of positions) least = Math.min(least, position)
    const found = yield* records(positions.map(Format.targetTerm), {
      after: least,
      additions: true
    })
    const wanted = new Set<number>(positions)
    const sets = new Map<Position.Position, Set<Tag.Tag>>()
    for (let i = 0; i < found.length && found[i]!.position <= head; i += 64) {
      const page = found.slice(i, i + 64).filter((record) => record.position <= head)
      const read = yield* readTargets(page)
      for (const { position } of page) {
        for (const target of read.get(position) ?? []) {
          if (!wanted.has(target.position)) continue
          let set = sets.get(target.position)
          if (set === undefined) sets.set(target.position, set = new Set())
          for (const tag of target.tags) set.add(tag)
        }
      }
    }
    for (const [position, set] of sets) out.set(position, [...set])
    return out
  })

  // what is certainly not there

  const mayMatch: Index["Service"]["mayMatch"] = (query, after) => {
    if (after >= covered()) return false
    const plan = Search.plan(query)
    if (plan === undefined) return true
    const isBehind = (term: Format.Term) => tail.newestOf(term) > after
    if (tail.last > after && Search.mayMatch(plan, query, isBehind, tail.additions > 0)) {
      if (tail.additions > 0) return true
      // Its terms are there, but maybe in different events.
      const range = { from: Math.max(after + 1, tail.first), to: tail.last, backwards: false }
      const { positions, to } = Search.search(plan, tail, noExtras, range)
      if (positions.length > 0 || to < range.to) return true
    }
    const from = Math.max(after + 1, floor)
    return passOver(
      { from, to: tail.first - 1, backwards: true },
      ({ header }, mayHold) => Search.mayMatch(plan, query, mayHold, header!.additions > 0)
    ) >= from
  }

  const mayHaveIds: Index["Service"]["mayHaveIds"] = (ids) => {
    const terms = ids.map(Format.idTerm)
    return terms.some((term) => tail.count(term) > 0) ||
      passOver({ from: floor, to: tail.first - 1, backwards: true }, (_, mayHold) => terms.some(mayHold)) >= floor
  }

  /** Takes in commits from one on. */
  const addFrom = Effect.fnUntraced(function*(commits: ReadonlyArray<Commit>, from: number) {
    for (let i = from; i < commits.length; i++) {
      const commit = commits[i]!
      if (commit.last <= covered()) continue
      if (commit.first !== covered() + 1) {
        return yield* Effect.die(new Error(`Index.add: position ${covered() + 1} is missing before ${commit.first}`))
      }
      take(commit)
      if (tail.bytes >= runBytes) yield* closeTail
    }
  }, Effect.uninterruptible)

  return Index.of({
    cursor: Effect.sync(end),
    add: (commits) =>
      Effect.suspend(() => {
        // Nearly always there is room in the tail for all of them.
        for (let i = 0; i < commits.length; i++) {
          const commit = commits[i]!
          if (commit.first !== covered() + 1 || tail.bytes + commit.bytes >= runBytes) return addFrom(commits, i)
          take(commit)
        }
        return Effect.void
      }),
    find,
    findAdditions,
    additions,
    mayMatch,
    mayHaveIds,
    findIds: (ids) => records([...new Set(ids)].map(Format.idTerm), { after: 0, additions: false }),
    addedTags,
    locate: Effect.fnUntraced(function*(position) {
      if (position < floor || position > covered()) return undefined
      const location = yield* inPart(position, (lists) => lists.location(position))
      if (location === undefined) return undefined
      const { length, offset, segment } = location
      return { segment, offset, length }
    }),
    counts: Effect.sync(() => {
      const additions = Math.max(0, additionsBefore - additionsBase) + tail.additions
      return { events: covered() - floor + 1 - additions, additions, runs: runs.length }
    })
  })
})

// layers

export const layer = (options: Options): Layer.Layer<Index, LedgerError, Ledger | Storage> =>
  Layer.effect(Index, make(options))
