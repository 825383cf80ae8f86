/**
 * The bytes of an index run: encoding and looking up, as plain synchronous functions. `docs/index-format.md` describes the same.
 *
 * A run covers a range of positions: where each record stands, and for each term (a type, a tag, an id, ...) the positions that
 * have it. It is a header and four sections of checksummed blocks, so that a look-up reads and checks a block or two.
 */
import { hash as hashOnce } from "node:crypto"
import { crc32 } from "node:zlib"
import type { Cursor } from "../../services/Ledger.ts"
import type { Chunk } from "./indexChunk.ts"

export const version = 2
export const headerBytes = 256
/** A block but for its checksum. A section's last block may be shorter. */
export const payloadBytes = 4092
/** A full block of locations, entries or postings, with its checksum. */
export const sumBytes = 4

const magic = Buffer.from("opossidx")
export const locationBytes = 12
const locationsPerBlock = 341
export const entryBytes = 16
const entriesPerBlock = 255
/** What a block of entries uses of its payload. */
const entryPayload = entriesPerBlock * entryBytes
export const postingBytes = 4
const postingsPerBlock = 1023
/** All bits of a term lie in one line of the filter: a look-up touches one block of the file, one line of the processor's cache. */
export const lineBytes = 64
const lineBits = lineBytes * 8
const linesPerBlock = 63
/** Bits of the filter for a term. */
const bitsPerTerm = 16

// names ----------------------------------------------------------------------------------------------------------------

const digits = 16

export const fileName = (first: number, last: number): string =>
  `${String(first).padStart(digits, "0")}-${String(last).padStart(digits, "0")}.run`

export interface Name {
  readonly name: string
  readonly first: number
  readonly last: number
}

export const parseName = (name: string): Name | undefined => {
  const match = /^(\d{16})-(\d{16})\.run$/.exec(name)
  if (match === null) return undefined
  const [first, last] = [Number(match[1]), Number(match[2])]
  return first >= 1 && first <= last && Number.isSafeInteger(last) ? { name, first, last } : undefined
}

// terms ----------------------------------------------------------------------------------------------------------------

/** What positions are listed under: nothing but its 64-bit hash, as two terms with one hash cannot be told apart in a run either. */
export interface Term {
  readonly high: number
  readonly low: number
}

const rotate = (n: number, by: number): number => (n << by) | (n >>> (32 - by))

const finish = (n: number): number => {
  n = Math.imul(n ^ (n >>> 16), 0x85ebca6b)
  n = Math.imul(n ^ (n >>> 13), 0xc2b2ae35)
  return n ^ (n >>> 16)
}

/** The last hash: high half and low half, as signed numbers. Not returned, so that a term costs no object. */
export const hashed = new Int32Array(2)

/** Where the lanes stand behind a prefix, and how long it is. */
interface Prefix {
  readonly a: number
  readonly b: number
  readonly length: number
}

const mix = (a: number, b: number, length: number): void => {
  a ^= length
  b ^= length
  a = (a + b) | 0
  b = (b + a) | 0
  a = finish(a)
  b = finish(b)
  a = (a + b) | 0
  b = (b + a) | 0
  hashed[0] = a
  hashed[1] = b
}

/** Part of the format: two lanes of 32 bits over the UTF-16 code units, mixed at the end as in MurmurHash3. Leaves it in `hashed`. */
const hashBehind = ({ a, b, length }: Prefix, text: string): void => {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    a = Math.imul(rotate(a ^ unit, 13), 0xcc9e2d51)
    b = Math.imul(rotate(b ^ unit, 17), 0x1b873593)
  }
  mix(a, b, length + text.length)
}

const prefix = (key: string): Prefix => {
  let a = 0x9e3779b9 | 0
  let b = 0x7f4a7c15
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i)
    a = Math.imul(rotate(a ^ unit, 13), 0xcc9e2d51)
    b = Math.imul(rotate(b ^ unit, 17), 0x1b873593)
  }
  return { a, b, length: key.length }
}

const noPrefix = prefix("")
const typePrefix = prefix("t:")
const tagPrefix = prefix("g:")
const idPrefix = prefix("i:")
const addedPrefix = prefix("a:")
const targetPrefix = prefix("p:")

/** The hash of a term, into `hashed`: events of a type, events written with a tag, events with an id. */
export const hashType = (type: string): void => hashBehind(typePrefix, type)
export const hashTag = (tag: string): void => hashBehind(tagPrefix, tag)
export const hashId = (id: string): void => hashBehind(idPrefix, id)
/** Records that added a tag to something, and records that added something to a position. */
export const hashAdded = (tag: string): void => hashBehind(addedPrefix, tag)
export const hashTarget = (position: number): void => hashBehind(targetPrefix, String(position))

const hashedTerm = (): Term => ({ high: hashed[0]! >>> 0, low: hashed[1]! >>> 0 })

/** A term by its whole text: its kind's prefix, and what it is about. */
export const term = (key: string): Term => {
  hashBehind(noPrefix, key)
  return hashedTerm()
}
export const typeTerm = (type: string): Term => {
  hashType(type)
  return hashedTerm()
}
export const tagTerm = (tag: string): Term => {
  hashTag(tag)
  return hashedTerm()
}
export const idTerm = (id: string): Term => {
  hashId(id)
  return hashedTerm()
}
export const addedTerm = (tag: string): Term => {
  hashAdded(tag)
  return hashedTerm()
}
export const targetTerm = (position: number): Term => {
  hashTarget(position)
  return hashedTerm()
}

// lists ----------------------------------------------------------------------------------------------------------------

/** Where a record stands, and whether it is an addition of tags. */
export interface Location {
  readonly segment: number
  readonly offset: number
  readonly length: number
  readonly addition: boolean
}

/** What can be looked up in a part of the index. */
export interface Lists {
  /** The part's range. */
  readonly first: number
  readonly last: number
  /** How many of its records add tags. */
  readonly additions: number
  /** How many positions a term has. */
  readonly count: (term: Term) => number
  /** The positions of a term from `from` to `to`, both inclusive, ascending. Default: all. */
  readonly list: (term: Term, from?: number, to?: number) => ReadonlyArray<number>
  /** The record at a position of the part's range. */
  readonly location: (position: number) => Location | undefined
  /** Announces that the records at these positions will be asked for: all that is missing for them is then loaded at once. */
  readonly prepare: (positions: ReadonlyArray<number>) => void
}

// header ---------------------------------------------------------------------------------------------------------------

export interface Header {
  readonly first: number
  readonly last: number
  /** The last commit; `undefined` in a run that ends within one, which is never written. */
  readonly cursor: Cursor | undefined
  /** The commit before the first one; `undefined` where the history begins. */
  readonly before: Cursor | undefined
  readonly events: number
  readonly additions: number
  /** Additions before this run, as far back as the history went when it was made. */
  readonly additionsBefore: number
  /** The number of the first of the smallest runs that it covers, counted as far back, and how many these are. */
  readonly ordinal: number
  readonly span: number
  readonly layout: Layout
  /** The checksum of the header, which enters that of each block: a block of another run, or of another place, does not fit. */
  readonly sum: number
}

export interface Section {
  /** The number of its first block. */
  readonly block: number
  readonly blocks: number
  /** Where it begins in the file. */
  readonly offset: number
  /** Bytes of payload. */
  readonly bytes: number
  /** Bytes of payload in a full block. */
  readonly perBlock: number
}

export interface Layout {
  readonly terms: number
  readonly locations: Section
  readonly entries: Section
  readonly postings: Section
  readonly filter: Section
  readonly blocks: number
  readonly size: number
}

/** Lines of the filter for so many terms. */
const linesOf = (terms: number): number => Math.max(1, Math.ceil(terms * bitsPerTerm / lineBits))

/** For so many positions, terms, and positions in lists of more than one. */
export const layoutOf = (positions: number, terms: number, postings: number): Layout => {
  let block = 0
  let offset = headerBytes
  const section = (bytes: number, perBlock: number): Section => {
    const blocks = Math.ceil(bytes / perBlock)
    const made = { block, blocks, offset, bytes, perBlock }
    block += blocks
    offset += bytes + blocks * 4
    return made
  }
  return {
    terms,
    locations: section(positions * locationBytes, payloadBytes),
    entries: section(terms * entryBytes, entryPayload),
    postings: section(postings * postingBytes, payloadBytes),
    filter: section(linesOf(terms) * lineBytes, linesPerBlock * lineBytes),
    blocks: block,
    size: offset
  }
}

const sectionOf = (layout: Layout, block: number): Section => {
  const { entries, filter, locations, postings } = layout
  return block >= filter.block
    ? filter
    : block >= postings.block
    ? postings
    : block >= entries.block
    ? entries
    : locations
}

/** Where a block stands in the file, its checksum included. */
export const blockAt = (layout: Layout, block: number): { readonly offset: number; readonly length: number } => {
  const section = sectionOf(layout, block)
  const index = block - section.block
  return {
    offset: section.offset + index * (section.perBlock + 4),
    length: Math.min(section.perBlock, section.bytes - index * section.perBlock) + 4
  }
}

/** Writes the checksum of a block behind its payload. */
export const sealBlock = (sum: number, block: number, bytes: Buffer, from: number, to: number): void => {
  bytes.writeUInt32LE(blockSum(sum, block, bytes.subarray(from, to)), to)
}

const number4 = Buffer.alloc(4)

const blockSum = (sum: number, block: number, payload: Uint8Array): number => {
  number4.writeUInt32LE(block)
  return crc32(payload, crc32(number4, sum))
}

/** The payload of a block, if its checksum holds. */
export const openBlock = (header: Header, block: number, bytes: Uint8Array): Uint8Array | undefined => {
  if (bytes.length < 5) return undefined
  const end = bytes.length - 4
  const payload = bytes.subarray(0, end)
  const told = (bytes[end]! | bytes[end + 1]! << 8 | bytes[end + 2]! << 16 | bytes[end + 3]! << 24) >>> 0
  return told === blockSum(header.sum, block, payload) ? payload : undefined
}

const storeDigest = (storeId: string): string => hashOnce("sha256", storeId, "hex")

const none = "0".repeat(64)

export const writeHeader = (
  bytes: Buffer,
  storeId: string,
  header: Omit<Header, "sum">
): number => {
  bytes.fill(0, 0, headerBytes)
  magic.copy(bytes, 0)
  bytes.writeUInt32LE(version, 8)
  bytes.writeUInt32LE(payloadBytes, 12)
  bytes.writeBigUInt64LE(BigInt(header.first), 16)
  bytes.writeBigUInt64LE(BigInt(header.last), 24)
  bytes.write(storeDigest(storeId), 32, "hex")
  const writeCursor = (cursor: Cursor | undefined, at: number) => {
    bytes.writeUInt32LE(cursor?.segment ?? 0, at)
    bytes.writeBigUInt64LE(BigInt(cursor?.end ?? 0), at + 8)
    bytes.writeBigUInt64LE(BigInt(cursor?.position ?? 0), at + 16)
    bytes.write(cursor?.hash ?? none, at + 24, "hex")
  }
  writeCursor(header.cursor, 64)
  writeCursor(header.before, 120)
  bytes.writeUInt32LE(header.events, 176)
  bytes.writeUInt32LE(header.additions, 180)
  bytes.writeBigUInt64LE(BigInt(header.additionsBefore), 184)
  bytes.writeUInt32LE(header.layout.terms, 192)
  bytes.writeUInt32LE(header.layout.postings.bytes / postingBytes, 196)
  bytes.writeUInt32LE(header.ordinal, 200)
  bytes.writeUInt32LE(header.span, 204)
  const sum = crc32(bytes.subarray(0, headerBytes - 4))
  bytes.writeUInt32LE(sum, headerBytes - 4)
  return sum
}

/** The header of a run of this store, if it is whole. */
export const parseHeader = (input: Uint8Array, storeId: string): Header | undefined => {
  if (input.length < headerBytes) return undefined
  const bytes = Buffer.from(input.buffer, input.byteOffset, headerBytes)
  const sum = crc32(bytes.subarray(0, headerBytes - 4))
  if (bytes.readUInt32LE(headerBytes - 4) !== sum) return undefined
  if (bytes.compare(magic, 0, 8, 0, 8) !== 0) return undefined
  if (bytes.readUInt32LE(8) !== version || bytes.readUInt32LE(12) !== payloadBytes) return undefined
  if (bytes.toString("hex", 32, 64) !== storeDigest(storeId)) return undefined
  const readCursor = (at: number): Cursor | undefined => {
    const segment = bytes.readUInt32LE(at)
    if (segment === 0) return undefined
    return {
      segment,
      end: Number(bytes.readBigUInt64LE(at + 8)),
      position: Number(bytes.readBigUInt64LE(at + 16)),
      hash: bytes.toString("hex", at + 24, at + 56)
    }
  }
  const first = Number(bytes.readBigUInt64LE(16))
  const last = Number(bytes.readBigUInt64LE(24))
  const cursor = readCursor(64)
  if (
    !(first >= 1 && first <= last) || !Number.isSafeInteger(last) || cursor === undefined ||
    cursor.position !== last || bytes.readUInt32LE(204) === 0
  ) return undefined
  return {
    first,
    last,
    cursor,
    before: readCursor(120),
    events: bytes.readUInt32LE(176),
    additions: bytes.readUInt32LE(180),
    additionsBefore: Number(bytes.readBigUInt64LE(184)),
    ordinal: bytes.readUInt32LE(200),
    span: bytes.readUInt32LE(204),
    layout: layoutOf(last - first + 1, bytes.readUInt32LE(192), bytes.readUInt32LE(196)),
    sum
  }
}

// filter ---------------------------------------------------------------------------------------------------------------

/** The line that a term's bits are in: it ascends with the hash. */
export const lineOf = (high: number, lines: number): number => Math.floor((high >>> 0) * lines / 2 ** 32)

const spread = (high: number, low: number): number => Math.imul(high ^ rotate(low, 16), 0x9e3779b1)

/** Sets the bits of a term in its line, which begins at a byte. */
export const setBits = (bytes: Uint8Array, at: number, high: number, low: number): void => {
  const other = spread(high, low)
  bytes[at + (low >>> 3 & 63)]! |= 1 << (low & 7)
  bytes[at + (low >>> 12 & 63)]! |= 1 << (low >>> 9 & 7)
  bytes[at + (low >>> 21 & 63)]! |= 1 << (low >>> 18 & 7)
  bytes[at + (other >>> 8 & 63)]! |= 1 << (other >>> 5 & 7)
  bytes[at + (other >>> 17 & 63)]! |= 1 << (other >>> 14 & 7)
  bytes[at + (other >>> 26)]! |= 1 << (other >>> 23 & 7)
}

const hasBits = (bytes: Uint8Array, at: number, high: number, low: number): boolean => {
  if (
    (bytes[at + (low >>> 3 & 63)]! & 1 << (low & 7)) === 0 ||
    (bytes[at + (low >>> 12 & 63)]! & 1 << (low >>> 9 & 7)) === 0 ||
    (bytes[at + (low >>> 21 & 63)]! & 1 << (low >>> 18 & 7)) === 0
  ) return false
  const other = spread(high, low)
  return (bytes[at + (other >>> 8 & 63)]! & 1 << (other >>> 5 & 7)) !== 0 &&
    (bytes[at + (other >>> 17 & 63)]! & 1 << (other >>> 14 & 7)) !== 0 &&
    (bytes[at + (other >>> 26)]! & 1 << (other >>> 23 & 7)) !== 0
}

/** Whether a whole filter may hold a term. */
export const mayHold = (filter: Uint8Array, { high, low }: Term): boolean =>
  hasBits(filter, lineOf(high, filter.length / lineBytes) * lineBytes, high, low)

// encoding -------------------------------------------------------------------------------------------------------------

export interface Run {
  readonly header: Header
  readonly bytes: Uint8Array
  readonly filter: Uint8Array
}

/** The filter of what the chunk holds. */
export const filterOf = (chunk: Chunk): Uint8Array => {
  const { highs, lows, terms } = chunk
  const lines = linesOf(terms)
  const filter = new Uint8Array(lines * lineBytes)
  for (let term = 0; term < terms; term++) {
    setBits(filter, lineOf(highs[term]!, lines) * lineBytes, highs[term]!, lows[term]!)
  }
  return filter
}

/** A run of what the chunk holds. */
export const encode = (
  chunk: Chunk,
  storeId: string,
  at: { readonly additionsBefore: number; readonly ordinal: number; readonly span: number }
): Run => {
  const { before, counts, cursor, first, highs, last, lows, newestNodes, nodePositions, nodesBefore, terms } = chunk
  let listed = 0
  for (let term = 0; term < terms; term++) if (counts[term]! > 1) listed += counts[term]!
  const layout = layoutOf(last - first + 1, terms, listed)
  const bytes = Buffer.allocUnsafeSlow(layout.size)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const { additionsBefore, ordinal, span } = at
  const rest = { events: chunk.events, additions: chunk.additions, additionsBefore, ordinal, span }
  const sum = writeHeader(bytes, storeId, { first, last, cursor, before, ...rest, layout })

  // one element behind the other, with room for a checksum behind each block
  let to = layout.locations.offset
  let blockEnd = to + payloadBytes
  for (let index = 0; index <= last - first; index++) {
    const length = Math.abs(chunk.lengths[index]!)
    const offset = chunk.offsets[index]!
    if (length >= 2 ** 25 || offset >= 2 ** 38) {
      throw new Error(`IndexRun: a record of ${length} bytes at byte ${offset}`)
    }
    const isAddition = chunk.lengths[index]! < 0
    view.setUint32(to, length === 0 ? 0 : chunk.segments[index]!, true)
    view.setUint32(to + 4, length === 0 ? 0 : offset >>> 0, true)
    view.setUint32(
      to + 8,
      length === 0 ? 0 : length | Math.floor(offset / 2 ** 32) << 25 | (isAddition ? 1 << 31 : 0),
      true
    )
    to += locationBytes
    if (to === blockEnd) {
      to += sumBytes
      blockEnd = to + payloadBytes
    }
  }
  const positions = new Uint32Array(listed)
  let start = 0
  to = layout.entries.offset
  blockEnd = to + entryPayload
  const order = chunk.sorted()
  for (let i = 0; i < terms; i++) {
    const term = order[i]!
    const count = counts[term]!
    view.setInt32(to, highs[term]!, true)
    view.setInt32(to + 4, lows[term]!, true)
    view.setUint32(to + 12, count, true)
    let node = newestNodes[term]!
    if (count === 1) {
      view.setUint32(to + 8, nodePositions[node]!, true)
    } else {
      view.setUint32(to + 8, start, true)
      for (let at = start + count - 1; at >= start; at--) {
        positions[at] = nodePositions[node]!
        node = nodesBefore[node]!
      }
      start += count
    }
    to += entryBytes
    if (to === blockEnd) {
      to += sumBytes
      blockEnd = to + entryPayload
    }
  }
  to = layout.postings.offset
  blockEnd = to + payloadBytes
  for (let i = 0; i < listed; i++) {
    view.setUint32(to, positions[i]!, true)
    to += postingBytes
    if (to === blockEnd) {
      to += sumBytes
      blockEnd = to + payloadBytes
    }
  }
  const filter = filterOf(chunk)
  for (let i = 0; i < layout.filter.blocks; i++) {
    bytes.set(
      filter.subarray(i * layout.filter.perBlock, (i + 1) * layout.filter.perBlock),
      blockAt(layout, layout.filter.block + i).offset
    )
  }
  for (let block = 0; block < layout.blocks; block++) {
    const { length, offset } = blockAt(layout, block)
    sealBlock(sum, block, bytes, offset, offset + length - sumBytes)
  }
  return { header: { first, last, cursor, before, ...rest, layout, sum }, bytes, filter }
}

// looking up -----------------------------------------------------------------------------------------------------------

/** Thrown by a look-up that needs blocks that are not at hand: load them, and look up again. */
export class Missing {
  /** Ascending. */
  readonly blocks: ReadonlyArray<number>
  constructor(blocks: ReadonlyArray<number>) {
    this.blocks = blocks
  }
}

/** Thrown by a look-up that finds blocks that are whole, but contradict each other. */
export class Corrupt {}

const u32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24) >>> 0

interface Found {
  readonly start: number
  readonly count: number
}

const absent: Found = { start: 0, count: 0 }
const nothing: ReadonlyArray<number> = []

/** The look-ups in one run. `block` gives a checked payload that is at hand, `filter` the whole filter if that is. */
export class RunLists implements Lists {
  private readonly header: Header
  private readonly block: (block: number) => Uint8Array | undefined
  private readonly filter: () => Uint8Array | undefined
  private readonly known = new Map<Term, Found>()

  constructor(
    header: Header,
    block: (block: number) => Uint8Array | undefined,
    filter: () => Uint8Array | undefined
  ) {
    this.header = header
    this.block = block
    this.filter = filter
  }

  get first(): number {
    return this.header.first
  }

  get last(): number {
    return this.header.last
  }

  get additions(): number {
    return this.header.additions
  }

  private need(block: number): Uint8Array {
    const bytes = this.block(block)
    if (bytes === undefined) throw new Missing([block])
    return bytes
  }

  /** Asks for all blocks of a range that are not at hand at once. */
  private needAll(from: number, to: number): void {
    const missing: Array<number> = []
    for (let block = from; block <= to; block++) if (this.block(block) === undefined) missing.push(block)
    if (missing.length > 0) throw new Missing(missing)
  }

  private find(wanted: Term): Found {
    let found = this.known.get(wanted)
    if (found === undefined) this.known.set(wanted, found = this.lookUp(wanted))
    return found
  }

  private mayHold(wanted: Term): boolean {
    const filter = this.filter()
    if (filter !== undefined) return mayHold(filter, wanted)
    const section = this.header.layout.filter
    const line = lineOf(wanted.high, section.bytes / lineBytes)
    const block = Math.floor(line / linesPerBlock)
    return hasBits(
      this.need(section.block + block),
      (line - block * linesPerBlock) * lineBytes,
      wanted.high,
      wanted.low
    )
  }

  private lookUp(wanted: Term): Found {
    if (!this.mayHold(wanted)) return absent
    const { entries, terms } = this.header.layout
    let from = 0
    let to = entries.blocks - 1
    const perHash = terms / entriesPerBlock / 2 ** 32
    // Hashes are spread evenly, so the first guess is near, and from there the next one is right, or next to it.
    let guess = Math.min(to, Math.floor(wanted.high * perHash))
    for (let tries = 0; from <= to; tries++) {
      const bytes = this.need(entries.block + guess)
      const count = Math.floor(bytes.length / entryBytes)
      const compare = (index: number): number =>
        wanted.high - u32(bytes, index * entryBytes) || wanted.low - u32(bytes, index * entryBytes + 4)
      if (compare(0) < 0) {
        to = guess - 1
        const blocks = Math.floor((u32(bytes, 0) - wanted.high) * perHash)
        guess = tries < 6 ? Math.max(from, to - blocks) : (from + to) >> 1
      } else if (compare(count - 1) > 0) {
        from = guess + 1
        const blocks = Math.floor((wanted.high - u32(bytes, (count - 1) * entryBytes)) * perHash)
        guess = tries < 6 ? Math.min(to, from + blocks) : (from + to) >> 1
      } else {
        let low = 0
        let high = count - 1
        while (low <= high) {
          const middle = (low + high) >> 1
          const order = compare(middle)
          if (order === 0) {
            const at = middle * entryBytes
            return { start: u32(bytes, at + 8), count: u32(bytes, at + 12) }
          }
          if (order < 0) high = middle - 1
          else low = middle + 1
        }
        return absent
      }
    }
    return absent
  }

  count(term: Term): number {
    return this.find(term).count
  }

  list(term: Term, from = this.first, to = this.last): ReadonlyArray<number> {
    const { count, start } = this.find(term)
    if (count === 0 || from > to) return nothing
    const { first, last, layout: { postings } } = this.header
    if (count === 1) {
      const position = first + start
      if (position > last) throw new Corrupt()
      return position >= from && position <= to ? [position] : nothing
    }
    if ((start + count) * postingBytes > postings.bytes) throw new Corrupt()
    const begin = from <= first ? 0 : this.lowerIndex(start, count, from - first)
    const end = to >= last ? count : this.lowerIndex(start, count, to + 1 - first)
    if (begin >= end) return nothing
    const firstBlock = Math.floor((start + begin) / postingsPerBlock)
    const lastBlock = Math.floor((start + end - 1) / postingsPerBlock)
    this.needAll(postings.block + firstBlock, postings.block + lastBlock)
    const out = new Array<number>(end - begin)
    let at = 0
    let previous = -1
    for (let index = firstBlock; index <= lastBlock; index++) {
      const bytes = this.need(postings.block + index)
      const base = index * postingsPerBlock
      const until = Math.min(start + end, base + postingsPerBlock) - base
      for (let i = Math.max(start + begin, base) - base; i < until; i++) {
        const relative = u32(bytes, i * postingBytes)
        // each once, and in order
        if (relative <= previous) throw new Corrupt()
        previous = relative
        out[at++] = first + relative
      }
    }
    if (first + previous > last) throw new Corrupt()
    return out
  }

  /** How many of a list's positions are below one. */
  private lowerIndex(start: number, count: number, wanted: number): number {
    const { first, last, layout: { postings } } = this.header
    let low = 0
    let high = count
    let least = 0
    let most = last - first + 1
    for (let tries = 0; low < high; tries++) {
      // Most lists are spread evenly: where the first guesses are wrong, halves are taken.
      const share = tries < 4 ? Math.min(1, Math.max(0, (wanted - least) / Math.max(1, most - least))) : 0.5
      const middle = Math.min(high - 1, low + Math.floor((high - low) * share))
      const block = Math.floor((start + middle) / postingsPerBlock)
      const bytes = this.need(postings.block + block)
      const base = block * postingsPerBlock - start
      let from = Math.max(low, base)
      let to = Math.min(high, base + postingsPerBlock)
      const at = (index: number): number => u32(bytes, (index - base) * postingBytes)
      if (at(from) >= wanted) {
        high = from
        most = at(from)
      } else if (at(to - 1) < wanted) {
        low = to
        least = at(to - 1) + 1
      } else {
        while (from < to) {
          const middle = (from + to) >>> 1
          if (at(middle) < wanted) from = middle + 1
          else to = middle
        }
        return from
      }
    }
    return low
  }

  prepare(positions: ReadonlyArray<number>): void {
    const { first, layout: { locations } } = this.header
    const missing: Array<number> = []
    let seen = -1
    for (const position of positions) {
      const block = locations.block + Math.floor((position - first) / locationsPerBlock)
      if (block === seen) continue
      seen = block
      if (this.block(block) === undefined) missing.push(block)
    }
    // The positions are in a search's order, which may be a descending one.
    if (missing.length > 0) throw new Missing(missing.sort((a, b) => a - b))
  }

  location(position: number): Location | undefined {
    const { first, last, layout: { locations } } = this.header
    if (position < first || position > last) return undefined
    const index = position - first
    const block = Math.floor(index / locationsPerBlock)
    const bytes = this.need(locations.block + block)
    const at = (index - block * locationsPerBlock) * locationBytes
    const word = u32(bytes, at + 8)
    const length = word & 0x1ffffff
    if (length === 0) return undefined
    return {
      segment: u32(bytes, at),
      offset: u32(bytes, at + 4) + (word >>> 25 & 0x3f) * 2 ** 32,
      length,
      addition: word >>> 31 === 1
    }
  }
}
