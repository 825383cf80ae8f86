/**
 * The ledger's bytes: encoding and parsing, as plain synchronous functions. `docs/storage-format.md` describes the same.
 *
 * A segment is a text of lines. Line 1 is its header, then come batches: a line per record, and a commit line at the end. Every line
 * ends in the CRC-32 of its bytes. Commits (the header is one too) are chained by SHA-256. A space behind a commit line's line feed
 * is the mark that confirms the commit and all before it.
 */
import { createHash, hash as hashOnce, randomUUID } from "node:crypto"
import { crc32 } from "node:zlib"
import * as Json from "../../internal/json.ts"
import * as Limits from "../../internal/limits.ts"
import { show } from "../../internal/text.ts"
import { toIso } from "../../internal/time.ts"
import type * as Ledger from "../../services/Ledger.ts"
import { parsePlainLine } from "./plainLine.ts"

export const format = 1
export const algorithm = "sha-256"

/** No line is longer; a longer one on disk is damage. */
export const maxLineBytes = 16 * 1024 * 1024
/** No batch is longer. */
export const maxBatchBytes = 64 * 1024 * 1024

/** The bytes that one batch takes at the most, and the longest piece of a line behind it: who reads so much sees whether it ends. */
export const windowBytes = maxBatchBytes + maxLineBytes + 4096

const lineFeed = 0x0a
const space = 0x20
/** `,"crc":"89abcdef"}` */
const crcLength = 18
/** `,"hash":"<64 digits>"` */
const hashLength = 74

export const confirmMark: Uint8Array = new Uint8Array([space])

export const newStoreId = (): string => randomUUID()

/** What the first header is chained to. */
export const genesis = (storeId: string): string => hashOnce("sha256", `effect-opossum ${format} ${storeId}`, "hex")

const hashDigits = 64

/** Room for a hash and a batch behind it: one call hashes both. */
const joined = Buffer.alloc(hashDigits + 16 * 1024)

/** Of small batches, which most are, by one call: that takes a third of the time of three. */
const chain = (previous: string, bytes: Uint8Array): string => {
  const length = hashDigits + bytes.length
  if (previous.length !== hashDigits || length > joined.length) {
    return createHash("sha256").update(previous, "latin1").update(bytes).digest("hex")
  }
  joined.write(previous, 0, "latin1")
  joined.set(bytes, hashDigits)
  return hashOnce("sha256", joined.subarray(0, length), "hex")
}

/** A table is several times faster than padding, and each line is sealed so. */
const hex4 = Array.from({ length: 65_536 }, (_, n) => n.toString(16).padStart(4, "0"))
const hex8 = (n: number): string => hex4[n >>> 16]! + hex4[n & 0xffff]!

// header ---------------------------------------------------------------------------------------------------------------

/** Where the older segment ends: bytes beyond `length` do not exist, whoever wrote them. */
export interface Previous {
  readonly segment: number
  readonly length: number
  readonly position: number
  readonly hash: string
}

export interface Header {
  readonly format: number
  readonly features: ReadonlyArray<string>
  readonly store: string
  readonly segment: number
  readonly algorithm: string
  readonly durability: Ledger.Durability
  readonly writer: { readonly id: string; readonly host: string; readonly pid: number }
  readonly time: string
  /** The position of the first record. */
  readonly first: number
  readonly previous: Previous | null
}

export const encodeHeader = (header: Header): { readonly bytes: Buffer; readonly hash: string } => {
  const text = JSON.stringify({ kind: "segment", ...header })
  const head = Buffer.from(text.slice(0, -1))
  const hash = chain(header.previous?.hash ?? genesis(header.store), head)
  return { bytes: seal(Buffer.concat([head, Buffer.from(`,"hash":"${hash}"`)])), hash }
}

/** Adds checksum and line feed. */
const seal = (line: Buffer): Buffer => Buffer.concat([line, Buffer.from(`,"crc":"${hex8(crc32(line))}"}\n`)])

export type ParsedHeader =
  | {
    readonly _tag: "Header"
    readonly header: Header
    readonly hash: string
    readonly end: number
    readonly confirmed: boolean
  }
  /** Nothing, or torn: a void segment. */
  | { readonly _tag: "Void"; readonly problem: string }
  /** Written by something newer. */
  | { readonly _tag: "Unsupported"; readonly problem: string }

/** The length of any header is far below this. */
export const headerBytes = 4096

/** Parses the first line of a segment, given its first `headerBytes` bytes. */
export const parseHeader = (bytes: Uint8Array): ParsedHeader => {
  const end = bytes.indexOf(lineFeed)
  const problem = end < 0 ? "no line" : lineProblem(bytes, 0, end)
  if (problem !== undefined) return { _tag: "Void", problem }
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, end).toString("utf8")
  const json = parseJson(text)
  if (json === undefined || json.kind !== "segment") return { _tag: "Void", problem: "the first line is no header" }
  if (isVersion(json.format) && json.format !== format) {
    return {
      _tag: "Unsupported",
      problem: `it has format ${json.format}, and this version reads format ${format}`
    }
  }
  const features = json.features
  if (areTexts(features) && features.length > 0) {
    return {
      _tag: "Unsupported",
      problem: `it needs the features ${showList(features)}, which this version does not know`
    }
  }
  if (typeof json.algorithm === "string" && json.algorithm !== algorithm) {
    return {
      _tag: "Unsupported",
      problem: `its hashes are made by ${show(json.algorithm)}, and this version knows ${algorithm}`
    }
  }
  if (!isHeader(json)) return { _tag: "Void", problem: "the header's fields are not what they should be" }
  const header = json
  const hash = chain(header.previous?.hash ?? genesis(header.store), bytes.subarray(0, end - crcLength - hashLength))
  if (hash !== header.hash) return { _tag: "Void", problem: "the header's hash does not fit" }
  return { _tag: "Header", header, hash, end: end + 1, confirmed: bytes[end + 1] === space }
}

/** A few short names, told as they are. */
export const showList = (list: ReadonlyArray<string>): string =>
  list.length <= 8 ? `[${list.map(show).join()}]` : show(list)

const parseJson = (text: string): { readonly [key: string]: unknown } | undefined => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

// fields: a checksum that fits says that a line is what somebody wrote, not that it was this program

const isPosition = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 1

const isHash = (u: unknown): u is string => typeof u === "string" && /^[0-9a-f]{64}$/.test(u)

const isObject = (u: unknown): u is { readonly [key: string]: unknown } =>
  typeof u === "object" && u !== null && !Array.isArray(u)

const isHeader = (json: { readonly [key: string]: unknown }): json is
  & { readonly [key: string]: unknown }
  & Header
  & { readonly hash: string } =>
{
  const { durability, features, first, hash, previous, segment, store, time, writer } = json
  const isKnown = json.format === format && json.algorithm === algorithm && areTexts(features) &&
    typeof store === "string" && isPosition(segment) && isPosition(first) && isHash(hash) &&
    (durability === "sync" || durability === "os") && typeof time === "string" && isObject(writer) &&
    typeof writer.host === "string"
  if (!isKnown || previous === null) return isKnown && first === 1
  return isObject(previous) && isPosition(previous.segment) && previous.segment < segment &&
    isPosition(previous.length) &&
    Number.isSafeInteger(previous.position) && previous.position === first - 1 && isHash(previous.hash)
}

/** What may be the number of a format, this or a later one. */
export const isVersion = isPosition

export const areTexts = (list: unknown): list is ReadonlyArray<string> => {
  if (!Array.isArray(list)) return false
  for (const item of list) if (typeof item !== "string") return false
  return true
}

const tooDeep = `it is nested deeper than ${Limits.nesting} levels`

/** Whether objects and arrays stand in one another over more levels. */
const isDeeper = (value: unknown, levels: number): boolean => {
  if (typeof value !== "object" || value === null) return false
  if (levels === 0) return true
  if (Array.isArray(value)) {
    for (const item of value) if (isDeeper(item, levels - 1)) return true
    return false
  }
  for (const key in value) if (isDeeper((value as { readonly [key: string]: unknown })[key], levels - 1)) return true
  return false
}

/** A line that is no longer cannot be nested so deeply that it takes much memory to parse. */
const shallowBytes = 64 * 1024

/** The same, of JSON that was not parsed yet: each level takes a hundred times the memory of its two bytes. */
const isDeepText = (bytes: Uint8Array, start: number, end: number): boolean => {
  if (end - start <= shallowBytes) return false
  // The line is an object itself, and holds what may have all levels.
  const levels = Limits.nesting + 1
  let depth = 0
  for (let i = start; i < end; i++) {
    switch (bytes[i]) {
      case 0x22:
        for (i++; i < end && bytes[i] !== 0x22; i++) if (bytes[i] === 0x5c) i++
        break
      case 0x5b:
      case 0x7b:
        if (++depth > levels) return true
        break
      case 0x5d:
      case 0x7d:
        depth--
        break
    }
  }
  return false
}

const deepProblem = (
  { data, metadata }: { readonly data: unknown; readonly metadata: unknown },
  length: number
): string | undefined => {
  // Each level takes two bytes at least.
  const isDeep = length > 2 * Limits.nesting && (isDeeper(data, Limits.nesting) || isDeeper(metadata, Limits.nesting))
  return isDeep ? tooDeep : undefined
}

/** What is wrong with a record, given the length of its line. */
const recordProblem = (json: { readonly [key: string]: unknown }, length: number): string | undefined => {
  if (json.kind === "event") {
    const { data, metadata, tags, type, version } = json
    const isKnown = typeof type === "string" && isPosition(version) && areTexts(tags) && data !== undefined &&
      isObject(metadata) && typeof metadata.id === "string" && typeof metadata.timestamp === "string"
    if (!isKnown) return "the event's fields are not what they should be"
    return deepProblem({ data, metadata }, length)
  }
  if (json.kind !== "tags") return `a record of the kind ${show(json.kind)} is not known`
  const { position, targets } = json
  const areTargets = Array.isArray(targets) &&
    (targets as ReadonlyArray<unknown>).every((target) =>
      isObject(target) && isPosition(target.position) && target.position < (position as number) && areTexts(target.tags)
    )
  return areTargets ? undefined : "the targets of the tags are not what they should be"
}

// records --------------------------------------------------------------------------------------------------------------

const bodyOf = (text: string): Ledger.Body => ({ text, length: Buffer.byteLength(text) })

export const encodeEvent = (event: {
  readonly type: string
  readonly version: number
  readonly tags: ReadonlyArray<string>
  readonly metadata: object
  readonly data: unknown
}): Ledger.Body =>
  bodyOf(
    `"type":${JSON.stringify(event.type)},"version":${event.version},"tags":${JSON.stringify(event.tags)},"metadata":${
      Json.write(event.metadata)
    },"data":${
      typeof event.data === "object" && event.data !== null && !Array.isArray(event.data)
        ? Json.write(event.data)
        : JSON.stringify(event.data)
    }`
  )

export const encodeTags = (targets: ReadonlyArray<Ledger.Target>): Ledger.Body =>
  bodyOf(`"targets":${JSON.stringify(targets.map(({ position, tags }) => ({ position, tags })))}`)

/** The bytes that a line takes beyond its body: kind, the longest position, checksum, line feed. */
export const lineOverhead = 64

export interface EncodedGroup {
  readonly bytes: Buffer
  readonly commits: ReadonlyArray<Ledger.Commit>
}

/** Encodes a group of batches to be written at `offset`, continuing the chain behind `cursor`. */
export const encodeGroup = (
  batches: ReadonlyArray<Ledger.Batch>,
  cursor: Ledger.Cursor,
  offset: number,
  time: number
): EncodedGroup => {
  const iso = toIso(time)
  let capacity = hashDigits
  for (const batch of batches) {
    capacity += 256
    for (const draft of batch) capacity += draft.body.length + lineOverhead
  }
  const bytes = Buffer.allocUnsafe(capacity)
  const commits: Array<Ledger.Commit> = []
  let { hash, position } = cursor
  let at = hashDigits
  offset -= at
  for (const batch of batches) {
    const start = at
    const first = position + 1
    const entries: Array<Ledger.Entry> = []
    for (const draft of batch) {
      const lineStart = at
      const { body } = draft
      position++
      at += bytes.write(
        `{"kind":"${draft.kind}","position":${position},${body.text}`,
        at,
        // what is no longer than its text has plain characters only: they are copied
        body.length === body.text.length ? "latin1" : "utf8"
      )
      at = sealAt(bytes, lineStart, at)
      const place = {
        position: position as never,
        segment: cursor.segment,
        offset: offset + lineStart,
        length: at - 1 - lineStart
      }
      entries.push(
        draft.kind === "event"
          ? { kind: "event", ...place, type: draft.type, tags: draft.tags, metadata: draft.metadata }
          : { kind: "tags", ...place, targets: draft.targets }
      )
    }
    const lineStart = at
    at += bytes.write(`{"kind":"commit","first":${first},"last":${position},"time":"${iso}"`, at, "latin1")
    hash = chainWithin(hash, bytes, start, at)
    at += bytes.write(`,"hash":"${hash}"`, at, "latin1")
    at = sealAt(bytes, lineStart, at)
    commits.push({
      cursor: { segment: cursor.segment, end: offset + at, position, hash },
      first: first as never,
      last: position as never,
      bytes: at - start,
      time,
      entries: entries as never
    })
  }
  return { bytes: bytes.subarray(hashDigits, at), commits }
}

const crcPrefix = Buffer.from(`,"crc":"`)
const hexDigits = Buffer.from("0123456789abcdef")

/** Writes checksum and line feed behind a line. Byte by byte, since a call that writes a text costs more than all of these. */
const sealAt = (bytes: Buffer, start: number, end: number): number => {
  const sum = crc32(bytes.subarray(start, end))
  for (let i = 0; i < crcPrefix.length; i++) bytes[end++] = crcPrefix[i]!
  for (let shift = 28; shift >= 0; shift -= 4) bytes[end++] = hexDigits[sum >>> shift & 0xf]!
  bytes[end++] = 0x22
  bytes[end++] = 0x7d
  bytes[end++] = lineFeed
  return end
}

const aside = Buffer.alloc(hashDigits)

/** The same as `chain` over `bytes[start, end)`, which has room before it: what stands there is put aside for the moment. */
const chainWithin = (previous: string, bytes: Buffer, start: number, end: number): string => {
  const from = start - hashDigits
  bytes.copy(aside, 0, from, start)
  bytes.write(previous, from, "latin1")
  const hash = hashOnce("sha256", bytes.subarray(from, end), "hex")
  aside.copy(bytes, from)
  return hash
}

/** What is wrong with the line in `bytes[start, end)`, its line feed not counted. */
const lineProblem = (bytes: Uint8Array, start: number, end: number): string | undefined => {
  if (end - start > maxLineBytes) return "the line is longer than 16 MiB"
  if (end - start < crcLength + 2 || bytes[start] !== 0x7b || bytes[end - 1] !== 0x7d) return "it is no ledger line"
  const sum = crc32(bytes.subarray(start, end - crcLength))
  return toldSum(bytes, end - crcLength) === sum ? undefined : "the checksum does not fit"
}

/** The checksum that stands here, told as `sealAt` does; -1 if none does. By its bytes: making a text of them takes longer. */
const toldSum = (bytes: Uint8Array, at: number): number => {
  for (let i = 0; i < crcPrefix.length; i++) if (bytes[at + i] !== crcPrefix[i]) return -1
  let sum = 0
  for (let i = at + crcPrefix.length; i < at + crcPrefix.length + 8; i++) {
    const byte = bytes[i]!
    const digit = byte >= 0x30 && byte <= 0x39 ? byte - 0x30 : byte >= 0x61 && byte <= 0x66 ? byte - 0x57 : -1
    if (digit < 0) return -1
    sum = sum * 16 + digit
  }
  return bytes[at + crcLength - 2] === 0x22 ? sum : -1
}

/** In a longer line it is the data that takes the time. */
const plainBytes = 4096

/** The event of a line of the usual kind, whose checksum was checked. */
export const parsePlain = (line: string): Ledger.EventRecord | undefined =>
  line.length <= plainBytes ? parsePlainLine(line, crcLength) : undefined

/** Parses the line of one record, which stands in `bytes[start, end)`. `note` is told of a line that `parsePlain` parses again. */
export const parseRecord = (
  bytes: Buffer,
  start = 0,
  end = bytes.length,
  note?: (line: string) => void
): Ledger.Record | string => {
  const problem = lineProblem(bytes, start, end)
  if (problem !== undefined) return problem
  if (isDeepText(bytes, start, end)) return tooDeep
  const text = bytes.toString("utf8", start, end)
  const record = parsePlain(text)
  if (record !== undefined) {
    const deep = deepProblem(record, end - start)
    if (deep === undefined) note?.(text)
    return deep ?? record
  }
  const json = parseJson(text)
  if (json === undefined) return "it is no JSON"
  if (!isPosition(json.position)) return "it has no position"
  return recordProblem(json, end - start) ?? json as unknown as Ledger.Record
}

// commits --------------------------------------------------------------------------------------------------------------

interface CommitLine {
  readonly kind: "commit"
  readonly first: number
  readonly last: number
  readonly time: string
  readonly hash: string
}

type Fields = { readonly [key: string]: unknown }

/** A line as this version writes it, for less than `JSON.parse` takes. */
const plainCommit = (text: string): CommitLine | undefined => {
  const found = commitPattern.exec(text)
  if (found === null) return undefined
  const [, first, last, time, hash] = found
  return { kind: "commit", first: Number(first), last: Number(last), time: time!, hash: hash! }
}
const commitPattern =
  /^\{"kind":"commit","first":([1-9]\d{0,14}),"last":([1-9]\d{0,14}),"time":"([\dTZ:.+-]*)","hash":"([0-9a-f]*)","crc":"[0-9a-f]{8}"\}$/

const isCommit = (json: unknown): json is CommitLine => {
  const { first, hash, kind, last, time } = json as Fields
  return kind === "commit" && isPosition(first) && isPosition(last) && first <= last && isHash(hash) &&
    typeof time === "string" && !Number.isNaN(Date.parse(time))
}

const commitPrefix = Buffer.from(`{"kind":"commit",`)

export const isCommitLine = (bytes: Uint8Array, start: number, end: number): boolean => {
  if (end - start < commitPrefix.length) return false
  for (let i = 0; i < commitPrefix.length; i++) if (bytes[start + i] !== commitPrefix[i]) return false
  return true
}

/** Longer than any commit line. */
export const commitLineBytes = 512

/**
 * The commit (or header) whose line ends right before `at`, a byte behind a line feed.
 * Not a proof that the batch before it is whole: only that such a line was written here.
 */
export const commitBefore = (
  bytes: Uint8Array,
  at: number
): { readonly position: number; readonly first: number; readonly hash: string; readonly start: number } | undefined => {
  if (at < 2 || bytes[at - 1] !== lineFeed) return undefined
  const start = bytes.lastIndexOf(lineFeed, at - 2) + 1
  // the mark that confirms the commit before stands at the beginning of this line
  const from = bytes[start] === space ? start + 1 : start
  if (at - from > headerBytes) return undefined
  if (lineProblem(bytes, from, at - 1) !== undefined) return undefined
  const json = parseJson(Buffer.from(bytes.buffer, bytes.byteOffset + from, at - 1 - from).toString("utf8"))
  if (json === undefined) return undefined
  if (isCommitLine(bytes, from, at - 1) && isCommit(json)) {
    return at - from > commitLineBytes
      ? undefined
      : { position: json.last, first: json.first, hash: json.hash, start: from }
  }
  if (json.kind === "segment" && isHeader(json)) {
    return { position: json.first - 1, first: json.first, hash: json.hash, start: from }
  }
  return undefined
}

/** The place behind the last line of `bytes` that a mark confirms: where the mark stands. */
export const lastConfirmed = (
  bytes: Uint8Array
): { readonly at: number; readonly position: number; readonly hash: string } | undefined => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let before = bytes.length; (before = buffer.lastIndexOf("\n ", before - 1, "latin1")) >= 0 && before > 0;) {
    const at = before + 1
    const commit = commitBefore(bytes, at)
    if (commit !== undefined) return { at, position: commit.position, hash: commit.hash }
  }
  return undefined
}

export interface ParsedRun {
  /** The whole, valid commits, in order. */
  readonly commits: ReadonlyArray<Ledger.Commit>
  /** How many of them a mark confirms. */
  readonly confirmed: number
  /** Why it ends where it does. */
  readonly stop:
    /** The bytes end within or behind a batch: more may follow in the file. */
    | { readonly _tag: "End" }
    /** Bytes that are no continuation: padding, a torn group, or damage. */
    | { readonly _tag: "Invalid"; readonly offset: number; readonly position: number; readonly problem: string }
}

/**
 * Parses batches that continue the chain behind `cursor`. `bytes` begin at `base` in the segment, right behind `cursor.end` or
 * behind the mark there.
 */
export const parseRun = (bytes: Uint8Array, base: number, cursor: Ledger.Cursor): ParsedRun => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const commits: Array<Ledger.Commit> = []
  let confirmed = 0
  let { hash, position } = cursor
  let at = 0
  const end = (): ParsedRun => ({ commits, confirmed, stop: { _tag: "End" } })
  for (;;) {
    // between batches: the mark, and empty lines
    if (bytes[at] === space) {
      confirmed = commits.length
      at++
    }
    while (bytes[at] === lineFeed) at++
    if (at >= bytes.length) return end()
    const start = at
    const first = position + 1
    const entries: Array<Ledger.Entry> = []
    let next = position
    for (;;) {
      const stop = (problem: string): ParsedRun => ({
        commits,
        confirmed,
        stop: { _tag: "Invalid", offset: base + at, position: next + 1, problem }
      })
      const lineEnd = bytes.indexOf(lineFeed, at)
      if (lineEnd < 0) return bytes.length - at > maxLineBytes ? stop("the line is longer than 16 MiB") : end()
      const problem = lineProblem(bytes, at, lineEnd)
      if (problem !== undefined) return stop(problem)
      if (isDeepText(bytes, at, lineEnd)) return stop(tooDeep)
      const text = buffer.toString("utf8", at, lineEnd)
      if (isCommitLine(bytes, at, lineEnd)) {
        const line: unknown = plainCommit(text) ?? parseJson(text)
        if (line === undefined) return stop("it is no JSON")
        if (!isCommit(line) || lineEnd - at >= commitLineBytes) {
          return stop("the commit's fields are not what they should be")
        }
        if (entries.length === 0 || line.first !== first || line.last !== next) {
          return stop("the commit does not fit the records before it")
        }
        const now = chain(hash, bytes.subarray(start, lineEnd - crcLength - hashLength))
        if (now !== line.hash) return stop("the commit's hash does not continue the chain")
        hash = now
        position = next
        at = lineEnd + 1
        commits.push({
          cursor: { segment: cursor.segment, end: base + at, position, hash },
          first: first as never,
          last: position as never,
          bytes: at - start,
          time: Date.parse(line.time),
          entries: entries as never
        })
        break
      }
      const json = parsePlain(text) as Fields | undefined ?? parseJson(text)
      if (json === undefined) return stop("it is no JSON")
      if (json.position !== next + 1) return stop(`position ${next + 1} is expected here`)
      const wrong = recordProblem(json, lineEnd - at)
      if (wrong !== undefined) return stop(wrong)
      if (lineEnd - start > maxBatchBytes) return stop("the batch is longer than 64 MiB")
      const place = {
        position: json.position as never,
        segment: cursor.segment,
        offset: base + at,
        length: lineEnd - at
      }
      if (json.kind === "event") {
        const event = json as unknown as Ledger.EventRecord
        entries.push({ kind: "event", ...place, type: event.type, tags: event.tags, metadata: event.metadata })
      } else {
        entries.push({ kind: "tags", ...place, targets: (json as unknown as Ledger.TagsRecord).targets })
      }
      next++
      at = lineEnd + 1
    }
  }
}
