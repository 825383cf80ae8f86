/**
 * The files of a ledger, read by a program that shares nothing with the store: each line's checksum, the chain of hashes, the seals of
 * older segments, dense positions. As docs/storage-format.md says, for a store that nobody writes to at the moment.
 */
import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { crc32 } from "node:zlib"
import type { Addition, Fact, Payload } from "../fixtures/appends.ts"

// models

export interface LedgerEvent extends Fact {
  readonly version: number
  readonly metadata: { readonly id: string; readonly timestamp: string; readonly [key: string]: unknown }
}

export interface Segment {
  readonly number: number
  /** Who made it. */
  readonly writer: { readonly id: string; readonly pid: number }
  readonly time: number
}

export interface LedgerFiles {
  readonly problems: ReadonlyArray<string>
  readonly events: ReadonlyArray<LedgerEvent>
  readonly additions: ReadonlyArray<Addition>
  readonly head: number
  /** Of the history, oldest first. */
  readonly segments: ReadonlyArray<Segment>
}

interface Line {
  readonly json: { readonly kind: string; readonly [key: string]: unknown }
  readonly start: number
  readonly next: number
}

interface Header {
  readonly store: string
  readonly segment: number
  readonly durability: "sync" | "os"
  readonly writer: { readonly id: string; readonly pid: number }
  readonly time: string
  readonly first: number
  readonly previous: {
    readonly segment: number
    readonly length: number
    readonly position: number
    readonly hash: string
  } | null
  readonly hash: string
}

// lines

const space = 0x20
const lineFeed = 0x0a
/** `,"crc":"........"}` */
const sealLength = 18
/** `,"hash":"` and 64 digits and `"` */
const hashLength = 74

const sha256 = (...parts: ReadonlyArray<string | Uint8Array>): string => {
  const hash = createHash("sha256")
  for (const part of parts) hash.update(part)
  return hash.digest("hex")
}

/** The line that begins at a byte, if there is a whole one whose checksum holds. */
const lineAt = (bytes: Buffer, start: number): Line | undefined => {
  const end = bytes.indexOf(lineFeed, start)
  if (end < start + sealLength + 2) return undefined
  const sum = crc32(bytes.subarray(start, end - sealLength)).toString(16).padStart(8, "0")
  if (bytes.toString("latin1", end - sealLength, end) !== `,"crc":"${sum}"}`) return undefined
  return { json: JSON.parse(bytes.toString("utf8", start, end)), start, next: end + 1 }
}

/** The bytes that a hash stands for, up to the line that holds it. */
const hashed = (bytes: Buffer, from: number, { next }: Line): Buffer =>
  bytes.subarray(from, next - 1 - sealLength - hashLength)

const headerOf = (bytes: Buffer): { readonly header: Header; readonly line: Line } | undefined => {
  const line = lineAt(bytes, 0)
  return line?.json.kind === "segment" ? { header: line.json as unknown as Header, line } : undefined
}

/** Whether a commit is confirmed at or behind a byte. */
const isConfirmedBehind = (bytes: Buffer, from: number): boolean => {
  for (let at = bytes.indexOf("\n ", from); at >= 0; at = bytes.indexOf("\n ", at + 1)) {
    const start = bytes.lastIndexOf("\n", at - 1) + 1
    if (lineAt(bytes, bytes[start] === space ? start + 1 : start)?.json.kind === "commit") return true
  }
  return false
}

// the ledger

export const readLedgerFiles = (folder: string): LedgerFiles => {
  const problems: Array<string> = []
  const events: Array<LedgerEvent> = []
  const additions: Array<Addition> = []
  const fileOf = (number: number) => join(folder, `${String(number).padStart(10, "0")}.jsonl`)
  const numbers = readdirSync(folder).flatMap((name) => /^\d{10}\.jsonl$/.test(name) ? [parseInt(name, 10)] : [])

  // which segments are the history, from the newest down, each with the bytes of it that count
  const chain: Array<
    { readonly number: number; readonly bytes: Buffer; readonly header: Header; readonly line: Line; isSealed: boolean }
  > = []
  const newest = numbers.sort((a, b) => b - a).find((number) => {
    const bytes = readFileSync(fileOf(number))
    const found = headerOf(bytes)
    return found !== undefined && bytes[found.line.next] === space
  })
  for (let number = newest, length = Infinity; number !== undefined;) {
    if (!numbers.includes(number)) {
      problems.push(`segment ${number} is named and missing`)
      break
    }
    const all = readFileSync(fileOf(number))
    const bytes = all.subarray(0, length)
    const found = headerOf(bytes)
    if (found === undefined || (length !== Infinity && bytes.length < length)) {
      problems.push(`segment ${number} has no header, or is shorter than ${length} bytes`)
      break
    }
    chain.unshift({ number, bytes, ...found, isSealed: length !== Infinity })
    const { previous } = found.header
    number = previous?.segment
    length = previous?.length ?? Infinity
  }
  if (newest === undefined) problems.push("no segment has a confirmed header")

  // what they hold
  let hash: string | undefined
  let head = 0
  for (const { bytes, header, isSealed, line: first, number } of chain) {
    const { previous } = header
    const at = (byte: number) => `segment ${number}, byte ${byte}`
    const before = previous?.hash ?? sha256(`effect-opossum 1 ${header.store}`)
    if (hash !== undefined && previous?.hash !== hash) problems.push(`segment ${number} does not follow the one before`)
    if ((previous?.position ?? 0) !== head || header.first !== head + 1) {
      problems.push(`segment ${number} begins at ${header.first} behind ${head}`)
    }
    if (header.segment !== number) problems.push(`segment ${number} says that it is ${header.segment}`)
    hash = sha256(before, hashed(bytes, 0, first))
    if (hash !== header.hash) problems.push(`${at(0)}: the chain does not fit`)
    for (let start = first.next;;) {
      while (start < bytes.length && (bytes[start] === space || bytes[start] === lineFeed)) start++
      if (start === bytes.length) break
      const records: Array<Line["json"]> = []
      let line = lineAt(bytes, start)
      for (; line !== undefined && line.json.kind !== "commit"; line = lineAt(bytes, line.next)) records.push(line.json)
      if (line === undefined) {
        // torn, unless somebody confirmed what lies behind it
        if (isSealed || (header.durability === "sync" && isConfirmedBehind(bytes, start))) {
          problems.push(`${at(start)}: damaged`)
        }
        break
      }
      // whole, but not confirmed: only whoever takes over makes it a part of the history
      if (!isSealed && !isConfirmedBehind(bytes, line.next - 1)) break
      const expected = sha256(hash, hashed(bytes, start, line))
      if (line.json["hash"] !== expected) problems.push(`${at(line.start)}: the chain does not fit`)
      if (records.length === 0) problems.push(`${at(start)}: a commit of nothing`)
      if (line.json["first"] !== head + 1 || line.json["last"] !== head + records.length) {
        problems.push(`${at(line.start)}: a commit of ${String(line.json["first"])} to ${String(line.json["last"])}`)
      }
      hash = expected
      for (const record of records) {
        head += 1
        if (record["position"] !== head) problems.push(`position ${String(record["position"])} stands at ${head}`)
        if (record.kind === "tags") additions.push(record as unknown as Addition)
        else if (record.kind === "event") events.push(toEvent(record))
        else problems.push(`${at(start)}: a record of the kind ${record.kind}`)
      }
      start = line.next
    }
  }
  return {
    problems,
    events,
    additions,
    head,
    segments: chain.map(({ header: { time, writer }, number }) => ({ number, writer, time: Date.parse(time) }))
  }
}

const toEvent = (record: Line["json"]): LedgerEvent => {
  const { data, metadata, position, tags, type, version } = record as unknown as
    & Omit<LedgerEvent, "id">
    & { readonly data: Payload }
  return { position, id: metadata.id, type, tags, data, version, metadata }
}
