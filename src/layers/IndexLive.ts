/**
 * The index over any Storage: the newest commits in memory, older ones in immutable run files, each of which covers a range of
 * positions. Everything here is derived from the ledger's confirmed commits: a file that is missing, damaged or of another history
 * is derived anew, and no byte of a file is believed before its checksum and the run's place in the history were checked.
 *
 * The parts (runs, then the tail) cover the history without a gap at every moment. A search remembers positions, not parts, so it
 * does not matter to it when commits come in, or when the tail becomes a run.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type * as Position from "../Position.ts"
import type * as Query from "../Query.ts"
import { type Candidate, type Candidates, Index, type Range } from "../services/Index.ts"
import { type Commit, type Cursor, Ledger, type LedgerError, type Target } from "../services/Ledger.ts"
import { type File, Storage, type StorageError } from "../services/Storage.ts"
import type * as Tag from "../Tag.ts"
import * as Handles from "./internal/handles.ts"
import { Chunk } from "./internal/indexChunk.ts"
import * as Format from "./internal/indexFormat.ts"
import * as Search from "./internal/indexSearch.ts"

// models

export interface Options {
  /** The store's folder. */
  readonly store: string
  /** So many bytes of commits make a run. Default: 4 MiB. */
  readonly runBytes?: number | undefined
  /** Writes and removes nothing. */
  readonly readOnly?: boolean | undefined
}

/** An immutable part of the index. */
class Run {
  /** Another number after each repair: what was cached of the damaged run is not found any more. */
  id: number
  first: number
  readonly last: number
  /** Its file; a run that was never written has a name all the same. */
  readonly name: string
  /** `undefined` until it was checked. */
  header: Format.Header | undefined = undefined
  /** The whole run, if it has no file that can be trusted. */
  bytes: Uint8Array | undefined = undefined
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
const defaultRunBytes = 4 * mebi
/** Candidates that are given at a time. */
const pageSize = 4096
const openFiles = 64
const cachedBlockBytes = 8 * mebi
const cachedFilterBytes = 32 * mebi
/** Of additions of tags that were read. */
const cachedTargets = 20_000
/** Blocks that are read at once. */
const blocksPerRead = 64
/** Blocks that are nearer to each other than this are read at once. */
const gap = 8
const logEvery = 5000

/** The least recently used go first. */
class Cache<A> {
  private readonly values = new Map<number, A>()
  private size = 0
  private readonly capacity: number
  private readonly sizeOf: (value: A) => number

  constructor(capacity: number, sizeOf: (value: A) => number) {
    this.capacity = capacity
    this.sizeOf = sizeOf
  }

  get(key: number): A | undefined {
    const value = this.values.get(key)
    if (value === undefined) return undefined
    this.values.delete(key)
    this.values.set(key, value)
    return value
  }

  set(key: number, value: A): void {
    const old = this.values.get(key)
    if (old !== undefined) {
      this.size -= this.sizeOf(old)
      this.values.delete(key)
    }
    this.values.set(key, value)
    this.size += this.sizeOf(value)
    for (const [oldest, value] of this.values) {
      if (this.size <= this.capacity) break
      this.values.delete(oldest)
      this.size -= this.sizeOf(value)
    }
  }
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
  const { readOnly = false, runBytes = defaultRunBytes, store } = options
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
  let lastId = 0
  let warnedOfWrites = false

  const blocks = new Cache<Uint8Array>(cachedBlockBytes, (bytes) => bytes.length)
  const filters = new Cache<Uint8Array>(cachedFilterBytes, (bytes) => bytes.length)
  const targets = new Cache<ReadonlyArray<Target>>(cachedTargets, (list) => 1 + list.length)
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

  /** Runs a look-up, again from its beginning whenever it lacked a block. `undefined`: the run is damaged. */
  const attempt = Effect.fnUntraced(function*<A>(run: Run, header: Format.Header, lookUp: (lists: Format.Lists) => A) {
    const { id } = run
    const { filter } = header.layout
    // What this look-up has seen stays at hand for it, whatever the caches drop.
    const own = new Map<number, Uint8Array>()
    let ownFilter: Uint8Array | undefined
    const keyOf = (block: number): number => id * 2 ** 24 + block
    const lists = new Format.RunLists(
      header,
      (block) => {
        let payload = own.get(block)
        if (payload === undefined && (payload = blocks.get(keyOf(block))) !== undefined) own.set(block, payload)
        return payload
      },
      () => {
        ownFilter ??= filters.get(id)
        if (ownFilter === undefined) {
          throw new Format.Missing(Array.from({ length: filter.blocks }, (_, i) => filter.block + i))
        }
        return ownFilter
      }
    )
    for (;;) {
      try {
        return { value: lookUp(lists) }
      } catch (thrown) {
        if (thrown instanceof Format.Corrupt) return undefined
        if (!(thrown instanceof Format.Missing)) throw thrown
        const parts: Array<Uint8Array> = []
        const isFilter = thrown.blocks[0]! >= filter.block
        const loaded = yield* load(run, header, thrown, (block, payload) => {
          if (isFilter) {
            parts.push(payload)
          } else {
            own.set(block, payload)
            blocks.set(keyOf(block), payload)
          }
        })
        if (!loaded) return undefined
        if (isFilter) filters.set(id, ownFilter = Buffer.concat(parts))
      }
    }
  })

  /** The header of a run of this history; repairs the run if it has none. */
  const headerOf = (run: Run): Effect.Effect<Format.Header, LedgerError> =>
    Effect.suspend(() => {
      if (run.header !== undefined) return Effect.succeed(run.header)
      const { id } = run
      return Effect.flatMap(checkHeader(run), (header) => {
        if (run.header === undefined && header !== undefined && run.id === id) run.header = header
        return run.header !== undefined
          ? Effect.succeed(run.header)
          : Effect.flatMap(repair(run, id), () => headerOf(run))
      })
    })

  /** Looks up in a run. `lookUp` may be called more than once. */
  const inRun = Effect.fnUntraced(function*<A>(
    run: Run,
    lookUp: (lists: Format.Lists) => A
  ): Effect.fn.Return<A, LedgerError> {
    for (;;) {
      yield* headerOf(run)
      const { header, id } = run
      const result = yield* attempt(run, header!, lookUp)
      if (result !== undefined) return result.value
      yield* repair(run, id)
    }
  })

  const inPart = <A>(index: number, lookUp: (lists: Format.Lists) => A): Effect.Effect<A, LedgerError> =>
    Effect.suspend(() => {
      const run = runs[index]
      return run === undefined ? Effect.succeed(lookUp(tail)) : inRun(run, lookUp)
    })

  // making runs

  /** The point from which a run can be derived, and the additions before it. */
  const startBefore = Effect.fnUntraced(function*(run: Run) {
    /** A point of this history before the run. */
    const isUsable = (cursor: Cursor | undefined) =>
      cursor !== undefined && cursor.position >= floor && cursor.position < run.first
        ? ledger.holds(cursor)
        : Effect.succeed(false)
    // Its own header does, if only a block is damaged.
    if (run.header !== undefined && (yield* isUsable(run.header.before))) {
      return { from: run.header.before, additions: run.header.additionsBefore }
    }
    for (let i = runs.indexOf(run) - 1; i >= 0; i--) {
      const before = runs[i]!
      const header = before.header ?? (yield* checkHeader(before))
      if (header !== undefined && (yield* isUsable(header.cursor))) {
        return { from: header.cursor, additions: header.additionsBefore + header.additions }
      }
    }
    return { from: undefined, additions: 0 }
  })

  /** Derives a damaged run from the ledger. Does nothing if somebody else did since it had this `id`. */
  const repair = Effect.fnUntraced(
    function*(run: Run, id: number): Effect.fn.Return<void, LedgerError, Scope.Scope> {
      if (run.id !== id) return
      yield* Effect.logWarning(`${pathOf(run)} is missing, damaged or of another history: it is derived anew`)
      const start = yield* startBefore(run)
      const scan = yield* ledger.scan(start.from)
      const first = Math.max(run.first, floor)
      let before = start.from
      let additions = start.additions
      let chunk: Chunk | undefined
      let whole = true
      while (chunk === undefined || chunk.last < run.last) {
        const commits = yield* scan.next
        if (commits.length === 0) return yield* Effect.die(new Error(`the ledger ends before position ${run.last}`))
        for (const commit of commits) {
          if (commit.last < first) {
            for (const entry of commit.entries) if (entry.kind === "tags") additions++
          } else if (commit.first <= run.last) {
            chunk ??= new Chunk(before, first)
            if (commit.first >= first && commit.last <= run.last) {
              chunk.add(commit)
            } else {
              // The file's name was of another history. The range stays what it is, as its neighbours rely on it.
              whole = false
              for (const entry of commit.entries) {
                if (entry.position >= first && entry.position <= run.last) chunk.addEntry(entry)
                else if (entry.position < first && entry.kind === "tags") additions++
              }
            }
          }
          before = commit.cursor
        }
      }
      if (!whole || first !== run.first) chunk.cursor = undefined
      const made = Format.encode(chunk, storeId, additions)
      yield* handles.drop(run)
      run.id = ++lastId
      run.first = first
      run.header = made.header
      run.bytes = made.bytes
      // What is not a range of whole commits is derived in order when the store is opened next.
      if (chunk.cursor === undefined) return yield* remove(run.name)
      // A file that does not even survive until it is read again is not tried twice.
      if (run.repairs++ === 0 && (yield* write(run))) run.bytes = undefined
    },
    Effect.scoped,
    Effect.uninterruptible,
    repairing.withPermit
  )

  /** A run that was made when the history began earlier counts more before it. */
  const countBefore = (header: Format.Header): void => {
    additionsBase += header.additionsBefore - additionsBefore
    additionsBefore = header.additionsBefore
  }

  /** Makes the tail a run. It answers until it is one. */
  const closeTail = Effect.gen(function*() {
    const chunk = tail
    const run = newRun(nameOf(chunk.first, chunk.last))
    // Another process may have made it: it has the same bytes.
    const header = yield* readHeader(run).pipe(Effect.catch(() => Effect.succeed(undefined)))
    const fits = header !== undefined && sameCursor(header.cursor, chunk.cursor) &&
      sameCursor(header.before, chunk.before) &&
      header.additionsBefore >= additionsBefore
    if (fits) {
      run.header = header
      countBefore(header)
    } else {
      const made = Format.encode(chunk, storeId, additionsBefore)
      run.header = made.header
      run.bytes = made.bytes
      // Those that could not be written come first: an index with a gap is of no use to the next process.
      for (const pending of [...runs, run]) {
        if (pending.bytes === undefined || pending.repairs > 1 || pending.header?.cursor === undefined) continue
        if (!(yield* write(pending))) break
        pending.bytes = undefined
      }
    }
    runs.push(run)
    additionsBefore += chunk.additions
    tail = new Chunk(chunk.cursor, chunk.last + 1)
  })

  const take = (commit: Commit): void => {
    tail.add(commit)
    if (tail.additions === 0) return
    for (const entry of commit.entries) if (entry.kind === "tags") targets.set(entry.position, entry.targets)
  }

  // opening

  const open = Effect.gen(function*() {
    const target = yield* ledger.cursor
    floor = (yield* ledger.segments)[0]?.first ?? 1
    const entries = yield* storage.list(folder).pipe(Effect.catch((error) => Effect.as(warnOfWrites(error), [])))
    const named: Array<Format.Name> = []
    for (const { kind, name } of entries) {
      if (kind !== "file") continue
      const parsed = Format.parseName(name)
      if (parsed !== undefined) named.push(parsed)
      else if (isLeftOver(name)) yield* remove(name)
    }

    // By their names alone: the longest run from each position on. The first may begin in what was archived since.
    const byFirst = new Map<number, Format.Name>()
    let oldest: Format.Name | undefined
    for (const name of named) {
      if (name.last > target.position || name.last < floor) continue
      if (name.last > (byFirst.get(name.first)?.last ?? 0)) byFirst.set(name.first, name)
      if (name.first <= floor && name.last > (oldest?.last ?? 0)) oldest = name
    }
    for (let name = oldest; name !== undefined; name = byFirst.get(name.last + 1)) runs.push(newRun(name))

    // The last one is checked now, and answers for where the tail begins; the others are when they are used.
    let header: Format.Header | undefined
    while (runs.length > 0) {
      const run = runs.at(-1)!
      if ((header = yield* checkHeader(run)) !== undefined) {
        run.header = header
        break
      }
      runs.pop()
      byFirst.delete(run.first)
      yield* handles.drop(run)
    }
    if (header !== undefined) additionsBefore = header.additionsBefore + header.additions
    if (runs.length > 0 && runs[0]!.first > 1) {
      additionsBase = (runs[0]!.header ?? (yield* checkHeader(runs[0]!)))?.additionsBefore ?? 0
    }
    tail = new Chunk(header?.cursor, header === undefined ? floor : header.last + 1)

    // From there on along the ledger, taking in further runs that fit.
    const clock = yield* Clock.Clock
    let logged = clock.currentTimeMillisUnsafe()
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
    /** `true` at the end; `false` where a run goes on instead of the ledger. */
    const advance = Effect.fnUntraced(function*() {
      for (let name; (name = byFirst.get(tail.first)) !== undefined;) {
        const run = yield* fitting(name, tail.before, additionsBefore)
        if (run === undefined) break
        countBefore(run.header!)
        additionsBefore += run.header!.additions
        runs.push(run)
        tail = new Chunk(run.header!.cursor, run.last + 1)
      }
      const scan = yield* ledger.scan(tail.before)
      for (;;) {
        const commits = yield* scan.next
        if (commits.length === 0) return true
        for (const commit of commits) {
          take(commit)
          const follower = byFirst.get(commit.last + 1)
          if (
            follower !== undefined &&
            (yield* fitting(follower, commit.cursor, additionsBefore + tail.additions)) !== undefined
          ) {
            yield* closeTail
            return false
          }
          if (tail.bytes >= runBytes) yield* closeTail
        }
        const now = clock.currentTimeMillisUnsafe()
        if (now - logged >= logEvery) {
          logged = now
          yield* Effect.logInfo(`deriving the index: position ${covered()} of ${target.position}`)
        }
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
    for (let at = after + 1; at <= covered();) {
      const index = partIndex(at)
      const run = runs[index]
      const to = run === undefined ? covered() : run.last
      if (run !== undefined && options.additions && (yield* headerOf(run)).additions === 0) {
        at = to + 1
        continue
      }
      const from = at
      const page = yield* inPart(index, (lists) => {
        let positions: ReadonlyArray<number> = []
        for (const term of terms) {
          if (lists.count(term) > 0) positions = Search.union(positions, Search.clip(lists.list(term), from, to))
        }
        return candidates(lists, positions, options.additions)
      })
      for (const candidate of page) out.push(candidate)
      at = to + 1
    }
    return out
  })

  const candidates = (lists: Format.Lists, positions: ReadonlyArray<number>, additions: boolean): Array<Candidate> => {
    const out: Array<Candidate> = []
    lists.prepare(positions)
    for (const position of positions) {
      const location = lists.location(position)
      if (location === undefined || location.addition !== additions) continue
      const { length, offset, segment } = location
      out.push({ position: position as Position.Position, segment, offset, length })
    }
    return out
  }

  const findAdditions = (query: Query.Any, after: number) =>
    records(Search.tagsOf(query).map((tag) => Format.term(Format.addedKey(tag))), { after, additions: true })

  const additions = (after: number, before: number): Candidates => {
    let to = before - 1
    const next: Effect.Effect<ReadonlyArray<Candidate>, LedgerError> = Effect.gen(function*() {
      if (additionsBefore + tail.additions === 0) return []
      to = Math.min(to, covered())
      while (to > after && to >= floor) {
        const index = partIndex(to)
        const run = runs[index]
        const last = to
        const lowest = Math.max(after + 1, floor, run?.first ?? tail.first)
        if ((run === undefined ? tail.additions : (yield* headerOf(run)).additions) === 0) {
          to = lowest - 1
          continue
        }
        // No term lists them all, but each location says whether it is one's.
        const positions = Array.from({ length: Math.min(pageSize, last - lowest + 1) }, (_, i) => last - i)
        to = last - positions.length
        const page = yield* inPart(index, (lists) => candidates(lists, positions, true))
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

  const find = (query: Query.Any, range: Range): Candidates => {
    const plan = Search.plan(query)
    let extras: Search.Extras | undefined
    /** What is still to be searched, both inclusive. */
    let low = 0
    let high = -1
    /** Found already: `pending[at]` and those behind it, in the search's order. */
    let pending: ReadonlyArray<number> = []
    let at = 0

    const next: Effect.Effect<ReadonlyArray<Candidate>, LedgerError> = Effect.gen(function*() {
      if (extras === undefined) {
        // What comes in later is not of this search's snapshot.
        const [from, to] = [Math.max(range.after + 1, floor), Math.min(range.before - 1, covered())]
        extras = from > to ? new Map() : yield* extrasOf(query)
        low = from
        high = to
      }
      const known = extras
      for (;;) {
        if (at === pending.length) {
          if (low > high) return []
          const index = partIndex(range.backwards ? high : low)
          const run = runs[index]
          let from = Math.max(low, run?.first ?? tail.first)
          let to = Math.min(high, run?.last ?? tail.last)
          if (plan === undefined) {
            // Every position may be one, so they need not be listed for a whole run.
            if (range.backwards) from = Math.max(from, to - pageSize + 1)
            else to = Math.min(to, from + pageSize - 1)
            pending = Array.from({ length: to - from + 1 }, (_, i) => range.backwards ? to - i : from + i)
          } else {
            const found = yield* inPart(index, (lists) => Search.search(plan, lists, known, from, to))
            pending = range.backwards ? found.slice().reverse() : found
          }
          at = 0
          if (range.backwards) high = from - 1
          else low = to + 1
          continue
        }
        // All were found in one part, and still are in one: a tail becomes a run as a whole.
        const positions = pending.slice(at, at + pageSize)
        const index = partIndex(positions[0]!)
        const page = yield* inPart(index, (lists) => candidates(lists, positions, false))
        at += positions.length
        if (page.length > 0) return page
      }
    })
    return { next }
  }

  // TMP
  const mayMatch = (query: Query.Any, after: number): boolean => {
    if (after >= covered()) return false
    if (query.items === "all" || runs.length > 0 || additionsBefore + tail.additions > 0) return true
    const plan = Search.plan(query)!
    return Search.search(plan, tail, new Map(), after + 1, covered()).length > 0
  }
  const mayHaveIds = (): boolean => true

  const addedTags: Index["Service"]["addedTags"] = Effect.fnUntraced(function*(positions, head) {
    const out = new Map<Position.Position, ReadonlyArray<Tag.Tag>>()
    if (positions.length === 0 || additionsBefore + tail.additions === 0) return out
    // An addition stands behind its targets.
    let least = Infinity
    for (const position of positions) least = Math.min(least, position)
    const found = yield* records(positions.map((position) => Format.term(Format.targetKey(position))), {
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

  return Index.of({
    cursor: Effect.sync(end),
    add: Effect.fnUntraced(function*(commits) {
      for (const commit of commits) {
        if (commit.last <= covered()) continue
        if (commit.first !== covered() + 1) {
          return yield* Effect.die(new Error(`Index.add: position ${covered() + 1} is missing before ${commit.first}`))
        }
        take(commit)
        if (tail.bytes >= runBytes) yield* closeTail
      }
    }, Effect.uninterruptible),
    find,
    mayMatch,
    mayHaveIds,
    findAdditions,
    additions,
    findIds: (ids) =>
      records([...new Set(ids)].map((id) => Format.term(Format.idKey(id))), { after: 0, additions: false }),
    addedTags,
    locate: Effect.fnUntraced(function*(position) {
      if (position < floor || position > covered()) return undefined
      const location = yield* inPart(partIndex(position), (lists) => lists.location(position))
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
