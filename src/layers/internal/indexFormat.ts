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

export const version = 1
export const headerBytes = 256
/** A block but for its checksum. A section's last block may be shorter. */
export const payloadBytes = 4092

const magic = Buffer.from("opossidx")
const locationBytes = 12
const locationsPerBlock = 341
const entryBytes = 16
const entriesPerBlock = 255
/** What a block of entries uses of its payload. */
const entryPayload = entriesPerBlock * entryBytes
/** Probes of the filter for a term. */
const probes = 6

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

/** What positions are listed under, with its 64-bit hash. */
export interface Term {
  readonly key: string
  readonly high: number
  readonly low: number
}

const rotate = (n: number, by: number): number => (n << by) | (n >>> (32 - by))

const finish = (n: number): number => {
  n = Math.imul(n ^ (n >>> 16), 0x85ebca6b)
  n = Math.imul(n ^ (n >>> 13), 0xc2b2ae35)
  return n ^ (n >>> 16)
}

/** Part of the format: two lanes of 32 bits over the UTF-16 code units, mixed at the end as in MurmurHash3. */
export const term = (key: string): Term => {
  let a = 0x9e3779b9 | 0
  let b = 0x7f4a7c15
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i)
    a = Math.imul(rotate(a ^ unit, 13), 0xcc9e2d51)
    b = Math.imul(rotate(b ^ unit, 17), 0x1b873593)
  }
  a ^= key.length
  b ^= key.length
  a = (a + b) | 0
  b = (b + a) | 0
  a = finish(a)
  b = finish(b)
  a = (a + b) | 0
  b = (b + a) | 0
  return { key, high: a >>> 0, low: b >>> 0 }
}

/** Events of a type, events written with a tag, events with an id. */
export const typeKey = (type: string): string => `t:${type}`
export const tagKey = (tag: string): string => `g:${tag}`
export const idKey = (id: string): string => `i:${id}`
/** Records that added a tag to something, and records that added something to a position. */
export const addedKey = (tag: string): string => `a:${tag}`
export const targetKey = (position: number): string => `p:${position}`

// lists ----------------------------------------------------------------------------------------------------------------

/** Where a record stands, and whether it is an addition of tags. */
export interface Location {
  readonly segment: number
  readonly offset: number
  readonly length: number
  readonly addition: boolean
}

/** What can be looked up in a part of the index. Results must not be changed, nor kept: a list may be one that still grows. */
export interface Lists {
  /** How many positions a term has. */
  readonly count: (term: Term) => number
  /** The positions of a term, ascending. */
  readonly list: (term: Term) => ReadonlyArray<number>
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
  readonly layout: Layout
  /** The checksum of the header, which enters that of each block: a block of another run, or of another place, does not fit. */
  readonly sum: number
}

interface Section {
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

/** Of the filter, in bytes: ten bits a term. */
const filterBytes = (terms: number): number => Math.max(1, Math.ceil(terms * 10 / 8))

const layoutOf = (positions: number, terms: number, postings: number): Layout => {
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
    postings: section(postings, payloadBytes),
    filter: section(filterBytes(terms), payloadBytes),
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

const writeHeader = (
  bytes: Buffer,
  storeId: string,
  header: Omit<Header, "sum">
): number => {
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
  bytes.writeUInt32LE(header.layout.postings.bytes, 196)
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
    !(first >= 1 && first <= last) || !Number.isSafeInteger(last) || cursor === undefined || cursor.position !== last
  ) return undefined
  return {
    first,
    last,
    cursor,
    before: readCursor(120),
    events: bytes.readUInt32LE(176),
    additions: bytes.readUInt32LE(180),
    additionsBefore: Number(bytes.readBigUInt64LE(184)),
    layout: layoutOf(last - first + 1, bytes.readUInt32LE(192), bytes.readUInt32LE(196)),
    sum
  }
}

// encoding -------------------------------------------------------------------------------------------------------------

class Bytes {
  buffer = Buffer.allocUnsafe(1 << 16)
  length = 0
  varint(n: number): void {
    if (this.length + 8 > this.buffer.length) {
      const larger = Buffer.allocUnsafe(this.buffer.length * 2)
      this.buffer.copy(larger, 0, 0, this.length)
      this.buffer = larger
    }
    while (n > 0x7f) {
      this.buffer[this.length++] = (n & 0x7f) | 0x80
      n = n >>> 7
    }
    this.buffer[this.length++] = n
  }
}

/** The positions of a filter's bits for a term. */
const bitAt = (high: number, low: number, probe: number, bits: number): number =>
  ((high + Math.imul(probe, low | 1)) >>> 0) % bits

export interface Run {
  readonly header: Header
  readonly bytes: Uint8Array
}

/** A run of what the chunk holds. */
export const encode = (chunk: Chunk, storeId: string, additionsBefore: number): Run => {
  const { first, last } = chunk
  interface Entry {
    readonly high: number
    readonly low: number
    list: ReadonlyArray<number>
  }
  const sorted: Array<Entry> = []
  for (const [key, list] of chunk.postings) {
    const { high, low } = term(key)
    sorted.push({ high, low, list })
  }
  sorted.sort((a, b) => a.high - b.high || a.low - b.low)
  const entries: Array<Entry> = []
  for (const entry of sorted) {
    const same = entries.at(-1)
    if (same !== undefined && same.high === entry.high && same.low === entry.low) {
      // A look-up of either term then finds the positions of both: they are candidates only.
      same.list = [...new Set([...same.list, ...entry.list])].sort((a, b) => a - b)
    } else {
      entries.push(entry)
    }
  }

  const table = Buffer.alloc(entries.length * entryBytes)
  const filter = Buffer.alloc(filterBytes(entries.length))
  const postings = new Bytes()
  let at = 0
  for (const { high, list, low } of entries) {
    at = table.writeUInt32LE(high, at)
    at = table.writeUInt32LE(low, at)
    if (list.length === 1) {
      at = table.writeUInt32LE(list[0]! - first, at)
    } else {
      at = table.writeUInt32LE(postings.length, at)
      let previous = first
      for (const position of list) {
        postings.varint(position - previous)
        previous = position
      }
    }
    at = table.writeUInt32LE(list.length, at)
    for (let probe = 0; probe < probes; probe++) {
      const bit = bitAt(high, low, probe, filter.length * 8)
      filter[bit >>> 3]! |= 1 << (bit & 7)
    }
  }

  const locations = Buffer.alloc((last - first + 1) * locationBytes)
  at = 0
  for (let position = first; position <= last; position++) {
    const location = chunk.location(position)
    if (location === undefined) {
      at += locationBytes
      continue
    }
    const { addition, length, offset, segment } = location
    if (length >= 2 ** 25 || offset >= 2 ** 38) {
      throw new Error(`IndexRun: a record of ${length} bytes at byte ${offset}`)
    }
    at = locations.writeUInt32LE(segment, at)
    at = locations.writeUInt32LE(offset >>> 0, at)
    at = locations.writeUInt32LE((length | Math.floor(offset / 2 ** 32) << 25 | (addition ? 1 << 31 : 0)) >>> 0, at)
  }

  const layout = layoutOf(last - first + 1, entries.length, postings.length)
  const bytes = Buffer.alloc(layout.size)
  const counts = { events: chunk.events, additions: chunk.additions, additionsBefore }
  const { before, cursor } = chunk
  const sum = writeHeader(bytes, storeId, { first, last, cursor, before, ...counts, layout })
  const write = (section: Section, payload: Uint8Array) => {
    for (let i = 0; i < section.blocks; i++) {
      const { length, offset } = blockAt(layout, section.block + i)
      const part = payload.subarray(i * section.perBlock, i * section.perBlock + length - 4)
      bytes.set(part, offset)
      bytes.writeUInt32LE(blockSum(sum, section.block + i, part), offset + length - 4)
    }
  }
  write(layout.locations, locations)
  write(layout.entries, table)
  write(layout.postings, postings.buffer.subarray(0, postings.length))
  write(layout.filter, filter)
  return { header: { first, last, cursor, before, ...counts, layout, sum }, bytes }
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

/** Whether a whole filter may hold a term. */
export const mayHold = (filter: Uint8Array, { high, low }: Term): boolean => {
  for (let probe = 0; probe < probes; probe++) {
    const bit = bitAt(high, low, probe, filter.length * 8)
    if ((filter[bit >>> 3]! & 1 << (bit & 7)) === 0) return false
  }
  return true
}

const u32 = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | bytes[at + 1]! << 8 | bytes[at + 2]! << 16 | bytes[at + 3]! << 24) >>> 0

interface Found {
  readonly offset: number
  readonly count: number
}

const absent: Found = { offset: 0, count: 0 }
const nothing: ReadonlyArray<number> = []

/** The look-ups in one run. `block` gives a checked payload that is at hand. */
export class RunLists implements Lists {
  private readonly header: Header
  private readonly block: (block: number) => Uint8Array | undefined
  private readonly filter: () => Uint8Array
  private readonly known = new Map<Term, Found>()

  constructor(header: Header, block: (block: number) => Uint8Array | undefined, filter: () => Uint8Array) {
    this.header = header
    this.block = block
    this.filter = filter
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

  private lookUp(wanted: Term): Found {
    if (!mayHold(this.filter(), wanted)) return absent
    const { entries, terms } = this.header.layout
    let from = 0
    let to = entries.blocks - 1
    // Hashes are spread evenly, so the first guess is right, or next to it.
    let guess = Math.floor(Math.floor(wanted.high / 2 ** 32 * terms) / entriesPerBlock)
    for (let tries = 0; from <= to; tries++) {
      const bytes = this.need(entries.block + guess)
      const count = Math.floor(bytes.length / entryBytes)
      const compare = (index: number): number =>
        wanted.high - u32(bytes, index * entryBytes) || wanted.low - u32(bytes, index * entryBytes + 4)
      if (compare(0) < 0) {
        to = guess - 1
        guess = tries < 2 ? to : (from + to) >> 1
      } else if (compare(count - 1) > 0) {
        from = guess + 1
        guess = tries < 2 ? from : (from + to) >> 1
      } else {
        let low = 0
        let high = count - 1
        while (low <= high) {
          const middle = (low + high) >> 1
          const order = compare(middle)
          if (order === 0) {
            const at = middle * entryBytes
            return { offset: u32(bytes, at + 8), count: u32(bytes, at + 12) }
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

  list(term: Term): ReadonlyArray<number> {
    const { count, offset } = this.find(term)
    if (count === 0) return nothing
    const { first, last, layout: { postings } } = this.header
    if (count === 1) {
      if (first + offset > last) throw new Corrupt()
      return [first + offset]
    }
    // Each position takes a byte at least.
    if (offset + count > postings.bytes) throw new Corrupt()
    const firstBlock = Math.floor(offset / payloadBytes)
    this.needAll(postings.block + firstBlock, postings.block + Math.floor((offset + count - 1) / payloadBytes))
    const out: Array<number> = []
    let index = firstBlock
    let bytes = this.need(postings.block + index)
    let at = offset - firstBlock * payloadBytes
    let position = first
    while (out.length < count) {
      let delta = 0
      for (let shift = 0;; shift += 7) {
        if (at === bytes.length) {
          if (++index >= postings.blocks) throw new Corrupt()
          bytes = this.need(postings.block + index)
          at = 0
        }
        const byte = bytes[at++]!
        delta += (byte & 0x7f) * 2 ** shift
        if (byte < 0x80) break
        if (shift > 28) throw new Corrupt()
      }
      position += delta
      // each once, and in order
      if (delta === 0 && out.length > 0) throw new Corrupt()
      out.push(position)
    }
    if (position > last) throw new Corrupt()
    return out
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
