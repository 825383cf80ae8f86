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

/** Blocks that are read, or written, at once. */
const batch = 32
/** What is done between two pauses, about: entries and positions. */
const stride = 4096

// reading

/** The payload of a section, from its beginning on. */
class Reader {
  readonly run: number
  readonly header: Format.Header
  readonly section: Format.Section
  private readonly bytes: Buffer
  readonly view: DataView
  /** What is at hand: from `at` to `end`. */
  at = 0
  end = 0
  /** Of the section, counted from 0. */
  private block = 0

  constructor(run: number, header: Format.Header, section: Format.Section) {
    this.run = run
    this.header = header
    this.section = section
    this.bytes = Buffer.allocUnsafeSlow(Math.min(batch, section.blocks) * section.perBlock)
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length)
  }

  get isAtEnd(): boolean {
    return this.at === this.end && this.block === this.section.blocks
  }

  get lacksBytes(): boolean {
    return this.at === this.end && this.block < this.section.blocks
  }

  get payload(): Uint8Array {
    return this.bytes.subarray(this.at, this.end)
  }

  /** Reads the next blocks. `false`: they are damaged. */
  fill<E>(medium: Medium<E>): Effect.Effect<boolean, E> {
    const { header, section } = this
    const count = Math.min(batch, section.blocks - this.block)
    const first = section.block + this.block
    const start = Format.blockAt(header.layout, first).offset
    const last = Format.blockAt(header.layout, first + count - 1)
    return Effect.map(medium.read(this.run, start, last.offset + last.length - start), (bytes) => {
      if (bytes === undefined || bytes.length !== last.offset + last.length - start) return false
      this.at = 0
      this.end = 0
      for (let block = first; block < first + count; block++) {
        const { length, offset } = Format.blockAt(header.layout, block)
        const payload = Format.openBlock(header, block, bytes.subarray(offset - start, offset - start + length))
        if (payload === undefined) return false
        this.bytes.set(payload, this.end)
        this.end += payload.length
      }
      this.block += count
      return true
    })
  }
}

// writing

/** The blocks of a section, from its beginning on. */
class Writer {
  private readonly sum: number
  private readonly section: Format.Section
  readonly bytes: Buffer
  private readonly view: DataView
  /** The block that is being filled, of the section, and the first one that is not written. */
  private block = 0
  private firstBlock = 0
  /** Where the next bytes go. */
  at = 0
  private begin = 0
  /** Where the block's payload ends. */
  private end: number

  constructor(sum: number, section: Format.Section) {
    this.sum = sum
    this.section = section
    this.bytes = Buffer.allocUnsafeSlow(Math.min(batch, section.blocks) * (section.perBlock + Format.sumBytes))
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length)
    this.end = this.payloadOf(0)
  }

  private payloadOf(block: number): number {
    return Math.min(this.section.perBlock, this.section.bytes - block * this.section.perBlock)
  }

  /** Bytes that fit into the block. */
  get space(): number {
    return this.end - this.at
  }

  get isFull(): boolean {
    return this.block - this.firstBlock === batch
  }

  u32(n: number): void {
    this.view.setUint32(this.at, n, true)
    this.at += 4
    if (this.at === this.end) this.close()
  }

  set(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.at)
    this.at += bytes.length
    if (this.at === this.end) this.close()
  }

  private close(): void {
    Format.sealBlock(this.sum, this.section.block + this.block, this.bytes, this.begin, this.end)
    this.block++
    this.begin = this.end + Format.sumBytes
    this.at = this.begin
    this.end = this.begin + this.payloadOf(this.block)
  }

  /** Writes the blocks that are full. */
  flush<E>(medium: Medium<E>): Effect.Effect<void, E> {
    const count = this.block - this.firstBlock
    if (count === 0) return Effect.void
    const offset = this.section.offset + this.firstBlock * (this.section.perBlock + Format.sumBytes)
    return Effect.map(medium.write(offset, this.bytes.subarray(0, this.begin)), () => {
      this.firstBlock = this.block
      this.begin = 0
      this.at = 0
      this.end = this.payloadOf(this.block)
    })
  }
}

// terms

/** The next term of all runs. */
class Entries {
  readonly readers: ReadonlyArray<Reader>
  high = 0
  low = 0
  /** Of all runs together. */
  count = 0
  /** The runs that have the term: the first `owners` of them, ascending. */
  readonly owner: Uint32Array
  owners = 0
  /** Of each of these. */
  readonly starts: Uint32Array
  readonly counts: Uint32Array
  /** Of each run's next term the upper 53 bits, as far as these are known, and the other 11. */
  private readonly keys: Float64Array
  private readonly rests: Uint32Array
  private areKnown = false

  constructor(headers: ReadonlyArray<Format.Header>) {
    this.readers = headers.map((header, run) => new Reader(run, header, header.layout.entries))
    this.owner = new Uint32Array(headers.length)
    this.starts = new Uint32Array(headers.length)
    this.counts = new Uint32Array(headers.length)
    this.keys = new Float64Array(headers.length)
    this.rests = new Uint32Array(headers.length)
  }

  /** A run of which blocks must be read before `next`. */
  get lacking(): Reader | undefined {
    if (this.areKnown) return undefined
    for (const reader of this.readers) if (reader.lacksBytes) return reader
    for (let run = 0; run < this.readers.length; run++) this.look(run)
    this.areKnown = true
    return undefined
  }

  private look(run: number): void {
    const { at, end, view } = this.readers[run]!
    if (at === end) {
      this.keys[run] = Infinity
      return
    }
    const low = view.getUint32(at + 4, true)
    this.keys[run] = view.getUint32(at, true) * 2 ** 21 + (low >>> 11)
    this.rests[run] = low & 2047
  }

  /** Goes on to the next term; `false` at the end. */
  next(): boolean {
    const { counts, keys, owner, readers, rests, starts } = this
    let least = Infinity
    let rest = 0
    let owners = 0
    for (let run = 0; run < keys.length; run++) {
      const key = keys[run]!
      if (key > least) continue
      if (key === least) {
        if (key === Infinity || rests[run]! > rest) continue
        if (rests[run]! < rest) owners = 0
      } else {
        owners = 0
      }
      least = key
      rest = rests[run]!
      owner[owners++] = run
    }
    this.owners = owners
    if (owners === 0) return false
    const one = readers[owner[0]!]!
    this.high = one.view.getUint32(one.at, true)
    this.low = one.view.getUint32(one.at + 4, true)
    let count = 0
    for (let i = 0; i < owners; i++) {
      const reader = readers[owner[i]!]!
      starts[i] = reader.view.getUint32(reader.at + 8, true)
      count += counts[i] = reader.view.getUint32(reader.at + 12, true)
      reader.at += Format.entryBytes
      if (reader.at < reader.end) this.look(owner[i]!)
      else this.areKnown = false
    }
    this.count = count
    return true
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
    const filled = (reader: Reader): Effect.Effect<void, E | Damaged> =>
      Effect.flatMap(
        reader.fill(medium),
        (isWhole) => isWhole ? Effect.void : Effect.fail({ damaged: reader.run })
      )

    // 1. how many there will be
    let terms = 0
    let postings = 0
    const counted = new Entries(headers)
    const count = (): void => {
      for (let left = stride; left > 0 && counted.lacking === undefined && counted.next(); left--) {
        terms++
        if (counted.count > 1) postings += counted.count
      }
    }
    do {
      for (let reader; (reader = counted.lacking) !== undefined;) yield* filled(reader)
      count()
      yield* medium.pause
    } while (counted.readers.some((reader) => !reader.isAtEnd))

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
      const reader = new Reader(run, header, header.layout.locations)
      for (let work = 0; !reader.isAtEnd; work++) {
        if (reader.lacksBytes) yield* filled(reader)
        const part = reader.payload.subarray(0, locations.space)
        locations.set(part)
        reader.at += part.length
        if (locations.isFull) yield* locations.flush(medium)
        if (work % batch === 0) yield* medium.pause
      }
    }
    yield* locations.flush(medium)

    // 3. terms with their lists and filter bits
    const entries = new Entries(headers)
    const lists = headers.map((header, run) => new Reader(run, header, header.layout.postings))
    /** Positions that were taken from each run's lists. */
    const taken = new Float64Array(headers.length)
    const table = new Writer(sum, layout.entries)
    const listed = new Writer(sum, layout.postings)
    const lines = layout.filter.bytes / Format.lineBytes
    const line = Buffer.alloc(Format.lineBytes)
    let lineNumber = 0
    const filter = new Writer(sum, layout.filter)
    const whole = layout.filter.bytes <= options.filterBytes ? new Uint8Array(layout.filter.bytes) : undefined
    let written = 0
    let start = 0
    /** The next term was taken from its runs, and is still to be written. */
    let isTaken = false
    /** Of the current term: which of its runs is copied, and how many positions of it are left. */
    let copying = 0
    let left = 0
    let damaged: number | undefined

    const endLine = (): void => {
      whole?.set(line, lineNumber * Format.lineBytes)
      filter.set(line)
      line.fill(0)
      lineNumber++
    }

    /** Does some of the work; stops early where blocks must be read or written first. `false` at the end, or at damage. */
    const step = (): boolean => {
      for (let work = stride; work > 0;) {
        // the lists of the term that is written
        while (copying < entries.owners) {
          const run = entries.owner[copying]!
          const base = headers[run]!.first - first
          if (listed.isFull) return true
          if (entries.counts[copying] === 1) {
            listed.u32(base + entries.starts[copying]!)
          } else {
            const reader = lists[run]!
            const { end, view } = reader
            let { at } = reader
            // lists are in the order of their terms
            if (left === entries.counts[copying] && taken[run] !== entries.starts[copying]) return refuse(run)
            const before = left
            while (left > 0 && at < end && !listed.isFull) {
              listed.u32(base + view.getUint32(at, true))
              at += Format.postingBytes
              left--
            }
            reader.at = at
            taken[run]! += before - left
            work -= before - left
            if (left > 0) return reader.isAtEnd ? refuse(run) : true
          }
          copying++
          left = entries.counts[copying] ?? 0
        }
        // the next one
        if (!isTaken) {
          if (entries.lacking !== undefined) return true
          const { high, low } = entries
          if (!entries.next()) return false
          const isBehind = entries.high > high || (entries.high === high && entries.low > low)
          written += 1
          if ((written > 1 && !isBehind) || written > terms || entries.count === 0) return refuse(entries.owner[0]!)
          copying = entries.owners
          isTaken = true
        }
        const itsLine = Format.lineOf(entries.high, lines)
        while (lineNumber < itsLine && !filter.isFull) endLine()
        if (filter.isFull || table.isFull) return true
        isTaken = false
        work--
        Format.setBits(line, 0, entries.high, entries.low)
        table.u32(entries.high)
        table.u32(entries.low)
        table.u32(entries.count === 1 ? headers[entries.owner[0]!]!.first - first + entries.starts[0]! : start)
        table.u32(entries.count)
        if (entries.count > 1) {
          start += entries.count
          if (start > postings) return refuse(entries.owner[0]!)
          copying = 0
          left = entries.counts[0]!
        }
      }
      return true
    }
    const refuse = (run: number): false => {
      damaged = run
      return false
    }

    while (step()) {
      for (let reader; (reader = entries.lacking) !== undefined;) yield* filled(reader)
      for (const reader of lists) if (reader.lacksBytes) yield* filled(reader)
      if (table.isFull) yield* table.flush(medium)
      if (listed.isFull) yield* listed.flush(medium)
      if (filter.isFull) yield* filter.flush(medium)
      yield* medium.pause
    }
    if (written < terms || start < postings) damaged ??= 0
    if (damaged !== undefined) return yield* Effect.fail({ damaged })
    while (lineNumber < lines) {
      if (filter.isFull) yield* filter.flush(medium)
      endLine()
    }
    yield* table.flush(medium)
    yield* listed.flush(medium)
    yield* filter.flush(medium)
    yield* medium.write(0, head)
    return { header: { ...described, layout, sum }, filter: whole }
  })
