/**
 * Several runs of the index, one behind the other, as one: the bytes that a run over their whole range has. However large they are, it
 * takes a few megabytes of memory, and goes on in small steps.
 *
 * Terms ascend by hash in each run, their lists and their filter bits lie in the same order: so every section is read and written from its
 * beginning to its end. Once in advance, as the header says how many terms there are, and stands in the checksum of every block.
 */
import * as Effect from "effect/Effect"
import * as Format from "./indexFormat.ts"

// models

/** Where the blocks of a run come from, and the merged ones go. */
export interface Medium<E> {
  /** The bytes of some blocks of a run, as they stand in its file; anything else if they cannot be had. */
  readonly read: (run: number, offset: number, length: number) => Effect.Effect<Uint8Array | undefined, E>
  readonly write: (offset: number, bytes: Uint8Array) => Effect.Effect<void, E>
  /** Comes after each few hundred microseconds of work. */
  readonly pause: Effect.Effect<void>
}

/** A run's blocks are damaged. */
export interface Damaged {
  readonly damaged: number
}

export interface Merged {
  readonly header: Format.Header
  /** Unless it would be longer than asked for. */
  readonly filter: Uint8Array | undefined
}

// bounds

/** Blocks that are read, or written, at once: of locations and positions, and of the entries of one run. */
const batch = 32
const entryBatch = 4
/** Positions that are copied between two pauses, about. */
const stride = 8192

// reading

/** The payload of a section, from its beginning on. */
class Reader {
  readonly run: number
  private readonly header: Format.Header
  private readonly section: Format.Section
  /** Blocks that are read at once. */
  private readonly blocks: number
  private bytes: Buffer
  view: DataView
  /** What is at hand: from `at` to `end`. */
  at = 0
  end = 0
  /** The first block that was not read, of the section. */
  private block = 0

  constructor(run: number, header: Format.Header, section: Format.Section, blocks: number) {
    this.run = run
    this.header = header
    this.section = section
    this.blocks = Math.min(blocks, section.blocks)
    this.bytes = Buffer.allocUnsafeSlow(this.blocks * section.perBlock * 2)
    this.view = new DataView(this.bytes.buffer)
  }

  /** Whether all that is left is at hand. */
  get hasAll(): boolean {
    return this.block === this.section.blocks
  }

  get isAtEnd(): boolean {
    return this.at === this.end && this.hasAll
  }

  get payload(): Uint8Array {
    return this.bytes.subarray(this.at, this.end)
  }

  /** Reads the next blocks behind what is at hand. */
  fill<E>(medium: Medium<E>): Effect.Effect<void, E | Damaged> {
    const { header, section } = this
    const count = Math.min(this.blocks, section.blocks - this.block)
    const first = section.block + this.block
    const start = Format.blockAt(header.layout, first).offset
    const last = Format.blockAt(header.layout, first + count - 1)
    const damaged = Effect.fail({ damaged: this.run })
    return Effect.flatMap(medium.read(this.run, start, last.offset + last.length - start), (bytes) => {
      if (bytes === undefined || bytes.length !== last.offset + last.length - start) return damaged
      const left = this.end - this.at
      const old = this.bytes
      if (left + count * section.perBlock > old.length) {
        this.bytes = Buffer.allocUnsafeSlow(old.length * 2)
        this.view = new DataView(this.bytes.buffer)
      }
      old.copy(this.bytes, 0, this.at, this.end)
      this.at = 0
      this.end = left
      for (let block = first; block < first + count; block++) {
        const { length, offset } = Format.blockAt(header.layout, block)
        const payload = Format.openBlock(header, block, bytes.subarray(offset - start, offset - start + length))
        if (payload === undefined) return damaged
        this.bytes.set(payload, this.end)
        this.end += payload.length
      }
      this.block += count
      return Effect.void
    })
  }
}

// writing

/** The blocks of a section, from its beginning on. */
class Writer {
  private readonly sum: number
  private readonly section: Format.Section
  private bytes: Buffer
  private view: DataView
  /** The block that is being filled, of the section, and the first one that is not written. */
  private block = 0
  private firstBlock = 0
  /** Where the next bytes go, and where the block's payload begins and ends. */
  private at = 0
  private begin = 0
  private end: number

  constructor(sum: number, section: Format.Section) {
    this.sum = sum
    this.section = section
    this.bytes = Buffer.allocUnsafeSlow(Math.min(batch, section.blocks) * (section.perBlock + Format.sumBytes))
    this.view = new DataView(this.bytes.buffer)
    this.end = this.payloadOf(0)
  }

  private payloadOf(block: number): number {
    return Math.max(0, Math.min(this.section.perBlock, this.section.bytes - block * this.section.perBlock))
  }

  /** Bytes that fit into the block. */
  get space(): number {
    return this.end - this.at
  }

  /** There is something to write; more can be added all the same. */
  get isFull(): boolean {
    return this.block - this.firstBlock >= batch
  }

  u32(n: number): void {
    this.view.setUint32(this.at, n, true)
    this.at += 4
    if (this.at === this.end) this.close()
  }

  /** No more than there is space for. */
  set(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.at)
    this.at += bytes.length
    if (this.at === this.end) this.close()
  }

  /** As many numbers as there is space for, with something added to each. */
  add(from: DataView, at: number, end: number, plus: number): number {
    const { view } = this
    const until = Math.min(end, at + this.space)
    let to = this.at
    for (let i = at; i < until; i += 4, to += 4) view.setUint32(to, from.getUint32(i, true) + plus, true)
    this.at = to
    if (to === this.end) this.close()
    return until
  }

  private close(): void {
    Format.sealBlock(this.sum, this.section.block + this.block, this.bytes, this.begin, this.end)
    this.block++
    this.begin = this.end + Format.sumBytes
    this.at = this.begin
    this.end = this.begin + this.payloadOf(this.block)
    if (this.end + Format.sumBytes > this.bytes.length && this.space > 0) {
      const larger = Buffer.allocUnsafeSlow(this.bytes.length * 2 + this.space)
      this.bytes.copy(larger, 0, 0, this.begin)
      this.bytes = larger
      this.view = new DataView(larger.buffer)
    }
  }

  /** Writes the blocks that are full. */
  flush<E>(medium: Medium<E>): Effect.Effect<void, E> {
    if (this.block === this.firstBlock) return Effect.void
    const { begin } = this
    const offset = this.section.offset + this.firstBlock * (this.section.perBlock + Format.sumBytes)
    return Effect.map(medium.write(offset, this.bytes.subarray(0, begin)), () => {
      // what belongs to the next block
      this.bytes.copyWithin(0, begin, this.at)
      this.firstBlock = this.block
      this.at -= begin
      this.end -= begin
      this.begin = 0
    })
  }
}

// terms

/**
 * The entries of all runs, some thousands at a time, in order. Hashes are spread evenly: so each entry is put where it belongs at once, or
 * next to it, which takes a fraction of what comparing them does.
 */
class Entries {
  readonly readers: ReadonlyArray<Reader>
  /** So many are at hand: which of them is the first, the second, ... Those of one term are in the order of their runs. */
  size = 0
  order = new Uint32Array(0)
  highs = new Uint32Array(0)
  lows = new Uint32Array(0)
  starts = new Uint32Array(0)
  counts = new Uint32Array(0)
  runs = new Uint32Array(0)
  private places = new Uint32Array(0)

  constructor(headers: ReadonlyArray<Format.Header>) {
    this.readers = headers.map((header, run) => new Reader(run, header, header.layout.entries, entryBatch))
  }

  get isAtEnd(): boolean {
    return this.readers.every((reader) => reader.isAtEnd)
  }

  /** Reads what comes next; `isMore`: what is at hand did not do. Fails with a run that is damaged. */
  fill<E>(medium: Medium<E>, isMore: boolean): Effect.Effect<void, E | Damaged> {
    const few = entryBatch * 255 * Format.entryBytes / 2
    return Effect.forEach(this.readers, (reader) =>
      reader.hasAll || (!isMore && reader.end - reader.at > few)
        ? Effect.void
        : reader.fill(medium), { discard: true })
  }

  /** Takes all entries of which no run can have more that are not at hand. `false` if there are none. */
  take(): boolean {
    let limit = 2 ** 32
    let most = 0
    let least = 2 ** 32
    for (const { at, end, hasAll, view } of this.readers) {
      if (at === end) continue
      most += (end - at) / Format.entryBytes
      least = Math.min(least, view.getUint32(at, true))
      if (!hasAll) limit = Math.min(limit, view.getUint32(end - Format.entryBytes, true))
    }
    if (most > this.highs.length) {
      this.highs = new Uint32Array(most)
      this.lows = new Uint32Array(most)
      this.starts = new Uint32Array(most)
      this.counts = new Uint32Array(most)
      this.runs = new Uint32Array(most)
      this.order = new Uint32Array(most)
      this.places = new Uint32Array(most + 1)
    }
    const { counts, highs, lows, runs, starts } = this
    let size = 0
    for (const reader of this.readers) {
      const { end, run, view } = reader
      let { at } = reader
      for (let high; at < end && (high = view.getUint32(at, true)) < limit; at += Format.entryBytes, size++) {
        highs[size] = high
        lows[size] = view.getUint32(at + 4, true)
        starts[size] = view.getUint32(at + 8, true)
        counts[size] = view.getUint32(at + 12, true)
        runs[size] = run
      }
      reader.at = at
    }
    this.size = size
    this.sort(least, limit)
    return size > 0
  }

  private sort(least: number, limit: number): void {
    const { highs, lows, order, places, size } = this
    // so many of the lower bits make a place that there are no more places than entries
    let bits = 0
    while ((limit - least) / 2 ** bits >= size && bits < 31) bits++
    places.fill(0)
    for (let i = 0; i < size; i++) places[(highs[i]! - least >>> bits) + 1]!++
    for (let i = 0; i < size; i++) places[i + 1]! += places[i]!
    for (let i = 0; i < size; i++) order[places[highs[i]! - least >>> bits]!++] = i
    for (let i = 1; i < size; i++) {
      const one = order[i]!
      const high = highs[one]!
      let at = i
      while (at > 0) {
        const other = order[at - 1]!
        if (highs[other]! < high || (highs[other] === high && lows[other]! <= lows[one]!)) break
        order[at--] = other
      }
      order[at] = one
    }
  }

  /** Where the entries of the next term end, that begin at a place. */
  endOf(from: number): number {
    const { highs, lows, order, size } = this
    const one = order[from]!
    let to = from + 1
    while (to < size && highs[order[to]!] === highs[one] && lows[order[to]!] === lows[one]) to++
    return to
  }
}

// merging

/**
 * Merges runs, each of which begins behind the one before it, and ends with a whole commit. What it writes is no run before it
 * returns: the header comes last. Fails with `Damaged` if a run's blocks are not what they should be.
 */
export const merge = <E>(
  headers: ReadonlyArray<Format.Header>,
  storeId: string,
  medium: Medium<E>,
  options: { readonly filterBytes: number }
): Effect.Effect<Merged, E | Damaged> =>
  Effect.gen(function*() {
    const oldest = headers[0]!
    const newest = headers[headers.length - 1]!
    const { first } = oldest
    const { last } = newest

    // 1. how many there will be
    let terms = 0
    let postings = 0
    const counted = new Entries(headers)
    const countThem = (): boolean => {
      const isSome = counted.take()
      for (let from = 0; from < counted.size;) {
        const to = counted.endOf(from)
        let count = 0
        while (from < to) count += counted.counts[counted.order[from++]!]!
        terms++
        if (count > 1) postings += count
      }
      return isSome
    }
    for (let isSome = true; !counted.isAtEnd;) {
      yield* counted.fill(medium, !isSome)
      yield* medium.pause
      isSome = countThem()
      yield* medium.pause
    }

    const layout = Format.layoutOf(last - first + 1, terms, postings)
    let events = 0
    let additions = 0
    let span = 0
    for (const header of headers) {
      events += header.events
      additions += header.additions
      span += header.span
    }
    const { additionsBefore, before, ordinal } = oldest
    const described = { first, last, cursor: newest.cursor, before, events, additions, additionsBefore, ordinal, span }
    const head = Buffer.alloc(Format.headerBytes)
    const sum = Format.writeHeader(head, storeId, { ...described, layout })

    // 2. locations, as they are
    const locations = new Writer(sum, layout.locations)
    for (const [run, header] of headers.entries()) {
      const reader = new Reader(run, header, header.layout.locations, batch)
      while (!reader.isAtEnd) {
        if (reader.at === reader.end) yield* reader.fill(medium)
        const part = reader.payload.subarray(0, locations.space)
        locations.set(part)
        reader.at += part.length
        if (locations.isFull) {
          yield* locations.flush(medium)
          yield* medium.pause
        }
      }
    }
    yield* locations.flush(medium)

    // 3. terms with their lists and filter bits
    const entries = new Entries(headers)
    const filterBytes = layout.filter.bytes
    const lines = filterBytes / Format.lineBytes
    const table = new Writer(sum, layout.entries)
    const filter = new Writer(sum, layout.filter)
    const whole = filterBytes <= options.filterBytes ? new Uint8Array(filterBytes) : undefined
    const line = Buffer.alloc(Format.lineBytes)
    let lineNumber = 0
    const endLine = (): void => {
      whole?.set(line, lineNumber * Format.lineBytes)
      filter.set(line)
      line.fill(0)
      lineNumber++
    }
    const listed = new Writer(sum, layout.postings)
    const lists = headers.map((header, run) => new Reader(run, header, header.layout.postings, batch))
    /** Positions that were taken from each run's lists: these are in the order of their terms. */
    const taken = new Float64Array(headers.length)
    let written = 0
    let start = 0
    /** The term that is written, by its place among the entries, and of its runs the one that is copied, with what is left of its list. */
    let next = 0
    let end = 0
    let left = 0

    /** Writes entries and lists until a list must be read on, or enough is done. Gives a run that is damaged, if there is one. */
    const step = (): number | undefined => {
      const { counts, highs, lows, order, runs, size, starts } = entries
      for (let work = stride; work > 0; work--) {
        while (next < end) {
          const entry = order[next]!
          const run = runs[entry]!
          const base = headers[run]!.first - first
          if (counts[entry] === 1) {
            listed.u32(base + starts[entry]!)
          } else {
            const reader = lists[run]!
            if (left === counts[entry] && taken[run] !== starts[entry]) return run
            while (left > 0 && work > 0) {
              if (reader.at === reader.end) return reader.hasAll ? run : undefined
              const until = listed.add(
                reader.view,
                reader.at,
                Math.min(reader.end, reader.at + Math.min(left, work) * Format.postingBytes),
                base
              )
              const copied = (until - reader.at) / Format.postingBytes
              reader.at = until
              taken[run]! += copied
              left -= copied
              work -= copied
            }
            if (left > 0) return undefined
          }
          if (++next < end) left = counts[order[next]!]!
        }
        if (next === size) return undefined
        end = entries.endOf(next)
        const entry = order[next]!
        const high = highs[entry]!
        let count = 0
        for (let i = next; i < end; i++) count += counts[order[i]!]!
        if (count === 0 || ++written > terms) return runs[entry]
        const itsLine = Format.lineOf(high, lines)
        while (lineNumber < itsLine) endLine()
        Format.setBits(line, 0, high, lows[entry]!)
        table.u32(high)
        table.u32(lows[entry]!)
        if (count === 1) {
          table.u32(headers[runs[entry]!]!.first - first + starts[entry]!)
          next = end
        } else {
          table.u32(start)
          start += count
          if (start > postings) return runs[entry]
          left = counts[entry]!
        }
        table.u32(count)
      }
      return undefined
    }

    for (let isSome = true; !entries.isAtEnd || next < entries.size;) {
      if (next === entries.size) {
        yield* entries.fill(medium, !isSome)
        yield* medium.pause
        isSome = entries.take()
        yield* medium.pause
        next = 0
        end = 0
      }
      for (const reader of lists) if (reader.at === reader.end && !reader.hasAll) yield* reader.fill(medium)
      const damaged = step()
      if (damaged !== undefined) return yield* Effect.fail({ damaged })
      for (const writer of [table, listed, filter]) if (writer.isFull) yield* writer.flush(medium)
      yield* medium.pause
    }
    if (written < terms || start < postings) return yield* Effect.fail({ damaged: 0 })
    while (lineNumber < lines) {
      endLine()
      if (filter.isFull) yield* filter.flush(medium)
    }
    for (const writer of [table, listed, filter]) yield* writer.flush(medium)
    yield* medium.write(0, head)
    return { header: { ...described, layout, sum }, filter: whole }
  })
