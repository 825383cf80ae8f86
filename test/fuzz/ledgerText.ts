/**
 * Ledgers as texts that can be edited and sealed again: what somebody does who knows the format, and wants the store to believe what
 * he wrote.
 */
import { createHash } from "node:crypto"
import { crc32 } from "node:zlib"
import { bytesOf, filesOf, type Image } from "./image.ts"
import type { Random } from "./random.ts"

// values that somebody may not have thought of

/** As JSON text: some of these no value prints as. */
const hostile: ReadonlyArray<string> = [
  "null",
  "true",
  "0",
  "-0",
  "-1",
  "1.5",
  "1e999",
  "-1e999",
  "9007199254740993",
  "1e308",
  "4294967296",
  "\"\"",
  "\"1\"",
  "\"__proto__\"",
  "\"\\ud800\"",
  "\"\\u0000\"",
  "\"2030-13-45\"",
  "\"+275760-09-13T00:00:00.001Z\"",
  "[]",
  "{}",
  "[null]",
  "[[\"a:b\"]]",
  "{\"length\":1000000000}",
  "{\"toString\":1,\"valueOf\":1}",
  "{\"__proto__\":{\"polluted\":true}}",
  "{\"position\":1,\"tags\":[\"a:b\"]}",
  `"${"x".repeat(70_000)}"`,
  "[".repeat(101) + "]".repeat(101),
  "{\"a\":".repeat(3000) + "1" + "}".repeat(3000),
  "[".repeat(100_000) + "]".repeat(100_000),
  // more tags, targets than any event may have
  `[${Array.from({ length: 70 }, (_, i) => `"many:${i}"`).join()}]`,
  `[${Array.from({ length: 1500 }, (_, i) => `{"position":${i + 1},"tags":["many:tags"]}`).join()}]`
]

/** Kept apart from everything that a line may hold. */
const placeholder = "\u0001here\u0001"

/** Changes a line's fields, wherever in it; says what it did. */
const editJson = (text: string, random: Random): { readonly text: string; readonly what: string } => {
  const json = JSON.parse(text) as { [key: string]: unknown }
  const names = Object.keys(json)
  // longer than any line may be; seldom, as it takes its time
  const value = random.chance(0.003) ? `"${"x".repeat(17 * 1024 * 1024)}"` : random.pick(hostile)
  const shown = value.length > 40 ? `${value.slice(0, 40)}…` : value
  // a path into the line, of up to three steps
  let at: { [key: string]: unknown } = json
  let name = random.pick(names)
  const path = [name]
  for (let depth = 0; depth < 2; depth++) {
    const next = at[name]
    if (typeof next !== "object" || next === null || Object.keys(next).length === 0 || random.chance(0.4)) break
    at = next as { [key: string]: unknown }
    name = random.pick(Object.keys(at))
    path.push(name)
  }
  switch (random.int(5)) {
    case 0:
      delete at[name]
      return { text: JSON.stringify(json), what: `without ${path.join(".")}` }
    case 1: {
      // the same key twice: parsers take the last
      const doubled = JSON.stringify(json).replace(/}$/, `,${JSON.stringify(random.pick(names))}:${value}}`)
      return { text: doubled, what: `a key twice, then as ${shown}` }
    }
    case 2: {
      const odd = random.pick(["__proto__", "constructor", "toString", "hasOwnProperty", "length", "enc"])
      const grown = JSON.stringify(json).replace(/^{/, `{${JSON.stringify(odd)}:${value},`)
      return { text: grown, what: `${odd} is ${shown}` }
    }
    default:
      // Not by assignment: the name may be `__proto__`.
      Object.defineProperty(at, name, { value: placeholder, enumerable: true, configurable: true, writable: true })
      return {
        text: JSON.stringify(json).replace(JSON.stringify(placeholder), () => value),
        what: `${path.join(".")} is ${shown}`
      }
  }
}

/** A change of a line's text, and what it is. */
export type Edit = (text: string, random: Random) => { readonly text: string; readonly what: string }

/** Another type, which others ask for. */
export const retype: Edit = (text, random) => {
  const type = random.pick(["A", "B", "Z", "Y", "Sold", "__proto__"])
  return { text: text.replace(/"type":"[^"]*"/, `"type":"${type}"`), what: `its type is ${type}` }
}

/** Something else that takes as many bytes, so that all around it fits. */
export const revise: Edit = (text, random) => ({
  text: text.replace(/"version":\d/, `"version":${1 + random.int(9)}`),
  what: "its version is another"
})

/** More levels than any event may have. */
export const deepen: Edit = (text, random) => {
  const levels = random.pick([100, 101, 1000, 20_000])
  const data = `{"a":${"[".repeat(levels)}${"]".repeat(levels)}}`
  return { text: text.replace(/"data":.*$/, `"data":${data}}`), what: `its data has ${levels + 1} levels` }
}

// sealing

const crcOf = (line: Uint8Array): string => `,"crc":"${crc32(line).toString(16).padStart(8, "0")}"}`

const sealed = (body: string): Buffer => {
  const bytes = Buffer.from(body.slice(0, -1))
  return Buffer.concat([bytes, Buffer.from(crcOf(bytes))])
}

/** The line without its checksum, as an object that ends. */
const unsealed = (line: Buffer): string => `${line.toString("utf8", 0, line.length - 18)}}`

const sha256 = (...parts: ReadonlyArray<string | Uint8Array>): string =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest("hex")

interface Place {
  readonly path: string
  readonly start: number
  readonly end: number
}

/** All lines of these files that are lines of a ledger. */
const linesOf = (image: Image, pattern: RegExp): ReadonlyArray<Place> =>
  filesOf(image, pattern).flatMap((path) => {
    const bytes = bytesOf(image, path)
    const places: Array<Place> = []
    for (let start = 0, end = bytes.indexOf(0x0a); end >= 0; start = end + 1, end = bytes.indexOf(0x0a, start)) {
      const from = bytes[start] === 0x20 ? start + 1 : start
      if (end - from > 20) places.push({ path, start: from, end })
    }
    return places
  })

/** Changes one line and gives it a new checksum; the chain is not made anew. */
export const editLine = (
  image: Image,
  pattern: RegExp,
  random: Random,
  kind = /^/,
  edit: Edit = editJson
): string | undefined => {
  const places = linesOf(image, pattern).filter(({ path, start }) =>
    kind.test(bytesOf(image, path).toString("latin1", start, start + 20))
  )
  if (places.length === 0) return undefined
  const { end, path, start } = random.pick(places)
  const bytes = bytesOf(image, path)
  try {
    const { text, what } = edit(unsealed(bytes.subarray(start, end)), random)
    image.set(path, Buffer.concat([bytes.subarray(0, start), sealed(text), bytes.subarray(end)]))
    return `${path} byte ${start}: ${what}, with a checksum that fits`
  } catch {
    return undefined
  }
}

/** Changes one line and seals the whole ledger anew, checksums, chain and all. */
export const rewrite = (
  image: Image,
  pattern: RegExp,
  random: Random,
  edit: Edit = editJson
): string | undefined => {
  const files = filesOf(image, pattern)
  const lines = linesOf(image, pattern)
  if (lines.length === 0) return undefined
  const target = random.pick(lines)
  let told: string | undefined
  let chain: string | undefined
  let before:
    | { readonly segment: unknown; readonly length: number; readonly position: unknown; readonly hash: string }
    | undefined
  try {
    for (const path of files) {
      const bytes = bytesOf(image, path)
      const parts: Array<Buffer> = []
      let batch: Array<Buffer> = []
      let length = 0
      let position: unknown
      let segment: unknown
      const push = (part: Buffer) => {
        parts.push(part)
        length += part.length
      }
      for (const { end, start } of linesOf(image, new RegExp(`^${path}$`))) {
        let text = unsealed(bytes.subarray(start, end))
        const kind = (JSON.parse(text) as { readonly kind: unknown }).kind
        const isTarget = path === target.path && start === target.start
        const rehash = (json: { [key: string]: unknown }) => {
          delete json.hash
          const edited = isTarget ? edit(JSON.stringify(json), random) : { text: JSON.stringify(json), what: "" }
          if (isTarget) told = `${path} byte ${start}: ${edited.what}`
          return Buffer.from(edited.text.slice(0, -1))
        }
        if (kind === "segment") {
          const json = JSON.parse(text) as { [key: string]: unknown; readonly store: string }
          if (json.previous !== null && before !== undefined) json.previous = before
          segment = json.segment
          position = (json.first as number) - 1
          chain = before?.hash ?? sha256(`effect-opossum 1 ${json.store}`)
          const head = rehash(json)
          chain = sha256(chain, head)
          push(Buffer.concat([sealed(`${head.toString()},"hash":"${chain}"}`), Buffer.from("\n ")]))
        } else if (kind === "commit") {
          const json = JSON.parse(text) as { [key: string]: unknown }
          position = json.last
          const head = rehash(json)
          chain = sha256(chain!, ...batch, head)
          for (const line of batch) push(line)
          push(Buffer.concat([sealed(`${head.toString()},"hash":"${chain}"}`), Buffer.from("\n ")]))
          batch = []
        } else {
          if (isTarget) {
            const edited = edit(text, random)
            text = edited.text
            told = `${path} byte ${start}: ${edited.what}`
          }
          batch.push(Buffer.concat([sealed(text), Buffer.from("\n")]))
        }
      }
      // The mark behind the last commit is not counted.
      before = { segment, length: length - 1, position, hash: chain! }
      image.set(path, Buffer.concat(parts))
    }
  } catch {
    return undefined
  }
  return told === undefined ? undefined : `${told}, with the whole chain made anew`
}
