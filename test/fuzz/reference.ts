/**
 * The plainest reader of a ledger, written from `docs/storage-format.md` alone: it reads whole files from their beginnings, and shares
 * no code with the store. What it finds in a damaged ledger is what the store has to find there, or to refuse.
 */
import { createHash } from "node:crypto"
import { crc32 } from "node:zlib"
import { bytesOf, filesOf, type Image } from "./image.ts"

// models

type Json = { readonly [key: string]: unknown }

export interface EventLine {
  readonly position: number
  readonly type: string
  readonly version: number
  readonly tags: ReadonlyArray<string>
  readonly metadata: Json
  readonly data: unknown
}

export interface TagsLine {
  readonly position: number
  readonly targets: ReadonlyArray<{ readonly position: number; readonly tags: ReadonlyArray<string> }>
}

export interface Found {
  /** By position. */
  readonly events: ReadonlyMap<number, EventLine>
  readonly additions: ReadonlyMap<number, TagsLine>
  /** Lines of the newest segment that are whole, whatever stands between them. */
  readonly loose: ReadonlyMap<number, EventLine | TagsLine>
  /** The last confirmed position of the newest segment, by its marks. */
  readonly head: number
  /** What counts is not all as it was written. */
  readonly isDamaged: boolean
  /** Behind the last mark there are whole commits, up to this position: whoever takes over adopts them. */
  readonly adoptable: number
}

// lines

const sha256 = (...parts: ReadonlyArray<string | Uint8Array>): string =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest("hex")

interface Line {
  /** By its first field: the order of fields is fixed. */
  readonly isCommit: boolean
  readonly json: Json
  readonly start: number
  readonly beforeHash: number
  readonly next: number
}

/** The line that begins at a byte; `undefined` if there is no valid one. */
const lineAt = (bytes: Buffer, start: number): Line | undefined => {
  const end = bytes.indexOf(0x0a, start)
  if (end < 0 || end - start < 20 || end - start > 16 * 1024 * 1024 || bytes[start] !== 0x7b) return undefined
  const crc = crc32(bytes.subarray(start, end - 18)).toString(16).padStart(8, "0")
  if (bytes.toString("latin1", end - 18, end) !== `,"crc":"${crc}"}`) return undefined
  try {
    const json = JSON.parse(bytes.toString("utf8", start, end)) as Json
    const isCommit = bytes.toString("latin1", start, start + 17) === `{"kind":"commit",` && json.kind === "commit"
    return { isCommit, json, start, beforeHash: end - 18 - 74, next: end + 1 }
  } catch {
    return undefined
  }
}

interface Header {
  readonly store: string
  readonly segment: number
  readonly first: number
  readonly durability: unknown
  readonly previous: {
    readonly segment: number
    readonly length: number
    readonly position: number
    readonly hash: string
  } | null
  readonly hash: string
}

/** Whether any segment says that it is of another format than this. */
const isOfAnotherFormat = (bytes: Buffer): boolean => {
  const line = lineAt(bytes, 0)
  return line?.json.kind === "segment" && isHeader(line.json) === undefined
}

const headerOf = (
  bytes: Buffer
): { readonly header: Header; readonly next: number; readonly confirmed: boolean } | undefined => {
  const line = lineAt(bytes, 0)
  if (line === undefined || line.json.kind !== "segment") return undefined
  if (line.next > 4096 || isHeader(line.json) !== true) return undefined
  const header = line.json as unknown as Header
  const before = header.previous?.hash ?? sha256(`effect-opossum 1 ${header.store}`)
  if (sha256(String(before), bytes.subarray(0, line.beforeHash)) !== header.hash) return undefined
  return { header, next: line.next, confirmed: bytes[line.next] === 0x20 }
}

// fields

const isWhole = (n: unknown, least: number): n is number => Number.isSafeInteger(n) && (n as number) >= least
const isText = (u: unknown): u is string => typeof u === "string"
const areTexts = (u: unknown): boolean => Array.isArray(u) && u.every(isText)
const isObject = (u: unknown): u is Json => typeof u === "object" && u !== null && !Array.isArray(u)
const isHash = (u: unknown): boolean => isText(u) && /^[0-9a-f]{64}$/.test(u)

/** Levels of objects and arrays in one another. */
const depthOf = (u: unknown): number => {
  let depth = 0
  // without recursion, as there may be any number of them
  for (
    let level: ReadonlyArray<unknown> = [u];
    (level = level.filter((one) => typeof one === "object" && one !== null)).length > 0;
  ) {
    depth++
    level = level.flatMap((one) => Object.values(one as object))
  }
  return depth
}

const isRecord = (json: Json): boolean => {
  if (!isWhole(json.position, 1)) return false
  if (json.kind === "event") {
    const { data, metadata, tags, type, version } = json
    return isText(type) && isWhole(version, 1) && areTexts(tags) && data !== undefined && isObject(metadata) &&
      isText(metadata.id) && isText(metadata.timestamp) && depthOf(data) <= 100 && depthOf(metadata) <= 100
  }
  return json.kind === "tags" && Array.isArray(json.targets) &&
    json.targets.every((target: unknown) =>
      isObject(target) && isWhole(target.position, 1) && target.position < (json.position as number) &&
      areTexts(target.tags)
    )
}

const isCommit = ({ first, hash, last, time }: Json): boolean =>
  isWhole(first, 1) && isWhole(last, 1) && first <= last && isHash(hash) && isText(time) &&
  !Number.isNaN(Date.parse(time))

/** Whether a header is one of this format; `undefined` if it is of another one. */
const isHeader = (json: Json): boolean | undefined => {
  const { algorithm, durability, features, first, format, hash, previous, segment, store, time, writer } = json
  const isOther = (isWhole(format, 1) && format !== 1) || (areTexts(features) && (features as []).length > 0) ||
    (isText(algorithm) && algorithm !== "sha-256")
  if (isOther) return undefined
  return format === 1 && areTexts(features) && algorithm === "sha-256" && isText(store) && isWhole(segment, 1) &&
    isWhole(first, 1) && isHash(hash) && isText(time) &&
    (durability === "sync" || durability === "os") && isObject(writer) && isText(writer.host) &&
    (previous === null ?
      first === 1 :
      isObject(previous) && isWhole(previous.segment, 1) && previous.segment < segment &&
      isWhole(previous.length, 1) && previous.position === first - 1 && isHash(previous.hash))
}

// the ledger

/** The last place where a mark stands behind a valid commit or header. */
const lastMark = (bytes: Buffer): { readonly at: number; readonly position: number } | undefined => {
  for (let at = bytes.lastIndexOf("\n "); at > 0; at = at === 0 ? -1 : bytes.lastIndexOf("\n ", at - 1)) {
    const from = bytes.lastIndexOf(0x0a, at - 1) + 1
    const line = lineAt(bytes, bytes[from] === 0x20 ? from + 1 : from)
    if (line?.isCommit && isCommit(line.json)) return { at: at + 1, position: line.json.last as number }
    if (line?.json.kind === "segment" && isHeader(line.json) === true) {
      return { at: at + 1, position: (line.json.first as number) - 1 }
    }
  }
  return undefined
}

const looseLines = (bytes: Buffer) => {
  const loose = new Map<number, EventLine | TagsLine>()
  for (let at = 0; at >= 0; at = bytes.indexOf(0x0a, at + 1)) {
    const from = at === 0 ? 0 : at + 1
    const line = lineAt(bytes, bytes[from] === 0x20 ? from + 1 : from)
    if (line !== undefined && isRecord(line.json)) {
      loose.set(line.json.position as number, line.json as unknown as EventLine | TagsLine)
    }
  }
  return loose
}

/** All events whose lines are whole, in whatever segment, by their positions. */
export const wholeLines = (image: Image, store: string): ReadonlyMap<number, ReadonlyArray<EventLine>> => {
  const all = new Map<number, Array<EventLine>>()
  for (const path of filesOf(image, new RegExp(`^${store}/ledger/\\d{10}\\.jsonl$`))) {
    for (const [position, line] of looseLines(bytesOf(image, path))) {
      if ("targets" in line) continue
      const lines = all.get(position)
      if (lines === undefined) all.set(position, [line])
      else lines.push(line)
    }
  }
  return all
}

/** What of a segment must never go, whatever is wrong with it. */
export const confirmedLength = (bytes: Uint8Array): number =>
  lastMark(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))?.at ?? 0

const idOf = (image: Image, store: string): unknown => {
  try {
    return (JSON.parse(bytesOf(image, `${store}/store.json`).toString()) as { readonly id: unknown }).id
  } catch {
    return undefined
  }
}

/** What a ledger holds; `undefined` if it is none that anybody could open. */
export const read = (image: Image, store: string): Found | undefined => {
  const pattern = new RegExp(`^${store}/ledger/\\d{10}\\.jsonl$`)
  const numbers = filesOf(image, pattern).map((path) => parseInt(path.slice(-16, -6), 10)).sort((a, b) => b - a)
  const fileOf = (n: number) => `${store}/ledger/${String(n).padStart(10, "0")}.jsonl`
  if (numbers.some((n) => isOfAnotherFormat(bytesOf(image, fileOf(n))))) return undefined
  const newest = numbers.find((n) => headerOf(bytesOf(image, fileOf(n)))?.confirmed === true)
  if (newest === undefined) return undefined

  const events = new Map<number, EventLine>()
  const additions = new Map<number, TagsLine>()
  // above the newest there is nothing but what was never used
  let isDamaged = numbers.some((n) => {
    const bytes = bytesOf(image, fileOf(n))
    return n > newest && lastMark(bytes) !== undefined && headerOf(bytes)?.header.durability !== "os"
  })
  let head = 0
  let adoptable = 0
  for (let n = newest, limit: Header["previous"] = null;;) {
    const there = image.get(fileOf(n))
    const whole = there === undefined || there === "folder" ? Buffer.alloc(0) : bytesOf(image, fileOf(n))
    const bytes = limit === null ? whole : whole.subarray(0, limit.length)
    const found = headerOf(bytes)
    if (found === undefined || found.header.segment !== n || (limit !== null && bytes.length < limit.length)) {
      isDamaged = true
    }
    const mark = limit === null ? lastMark(bytes) : undefined
    if (found !== undefined && found.header.store !== idOf(image, store)) isDamaged = true
    if (limit === null) {
      head = mark?.position ?? (found === undefined ? 0 : found.header.first - 1)
      adoptable = head
    }
    let chain = found?.header.hash ?? ""
    let position = (found?.header.first ?? NaN) - 1
    // With durability "os" nothing but an unbroken beginning counts.
    const until = limit === null ? mark?.at ?? 0 : bytes.length
    let confirmed = position
    let isBroken = false
    /** Behind the last commit. */
    let end = found?.next ?? 0
    for (let at = found?.next ?? 0; at < bytes.length && !isBroken;) {
      if (bytes[at] === 0x0a || (bytes[at] === 0x20 && at === end)) {
        if (bytes[at] === 0x20) confirmed = position
        at++
        continue
      }
      const start = at
      const batch: Array<Line> = []
      let next = position
      let line = lineAt(bytes, at)
      for (; line !== undefined && !line.isCommit; line = lineAt(bytes, line.next)) {
        if (line.json.position !== next + 1 || !isRecord(line.json)) break
        next++
        batch.push(line)
      }
      const isBatch = line?.isCommit === true && isCommit(line.json) && batch.length > 0 &&
        line.json.first === position + 1 &&
        line.json.last === next && sha256(chain, bytes.subarray(start, line.beforeHash)) === line.json.hash
      if (line === undefined || !isBatch) {
        isBroken = true
        if (start < until && !(limit === null && found?.header.durability === "os")) isDamaged = true
        break
      }
      chain = String(line.json.hash)
      position = next
      at = end = line.next
      if (limit === null) adoptable = Math.max(adoptable, position)
      for (const { json } of batch) {
        if (json.kind === "event") events.set(json.position as number, json as unknown as EventLine)
        else additions.set(json.position as number, json as unknown as TagsLine)
      }
    }
    if (limit === null && found?.header.durability === "os") {
      if (isBroken && confirmed < head) head = confirmed
      adoptable = Math.max(head, position)
    }
    if (limit !== null && (position !== limit.position || chain !== limit.hash)) isDamaged = true
    const previous: Header["previous"] = found?.header.previous ?? null
    if (found === undefined || previous === null || !(previous.segment < n)) break
    n = previous.segment
    limit = previous
  }
  // those behind the head are not confirmed
  return {
    events: new Map([...events].sort(([a], [b]) => a - b)),
    additions,
    loose: looseLines(bytesOf(image, fileOf(newest))),
    head,
    isDamaged,
    adoptable
  }
}
