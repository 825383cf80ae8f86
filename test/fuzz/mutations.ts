/** What may happen to a store's files. */
import { crc32 } from "node:zlib"
import * as Image from "./image.ts"
import * as LedgerText from "./ledgerText.ts"
import type { Random } from "./random.ts"
import type { Sample } from "./stores.ts"
import { store } from "./subject.ts"

// models

/**
 * What the store's answers must be after it:
 *
 * - `harmless`: those from before, without an error
 * - `derived`: the same, as only what can be made again was touched
 * - `damage`: those from before, or an error that names the place
 * - `signed`: somebody changed a line and its checksum, no more: an error, or what stands there now
 * - `forged`: somebody wrote the history anew: an error, or that history, as the plainest reader finds it
 */
export type Kind = "harmless" | "derived" | "damage" | "signed" | "forged"

export interface Mutation {
  readonly name: string
  readonly kind: Kind
  /** Changes the image, and says what it did; `undefined` if there was nothing to do it to. */
  readonly apply: (image: Image.Image, random: Random, samples: ReadonlyArray<Sample>) => string | undefined
}

// files

const below = (folder: string) => new RegExp(`^${store}/${folder}/`)
const segments = new RegExp(`^${store}/ledger/\\d{10}\\.jsonl$`)
const runs = new RegExp(`^${store}/indices/.*\\.run$`)
const states = new RegExp(`^${store}/projections/.*jsonl$`)
const description = new RegExp(`^${store}/store\\.json$`)
const derived = new RegExp(`^${store}/(indices|events|snapshots)/`)
const projections = below("projections")
const pathOf = (n: number) => `${store}/ledger/${String(n).padStart(10, "0")}.jsonl`
const numberOf = (path: string) => parseInt(path.slice(-16, -6), 10)

// bytes that stand where others should

const garbage: ReadonlyArray<readonly [name: string, bytes: () => Buffer]> = [
  ["nothing", () => Buffer.alloc(0)],
  ["NULs", () => Buffer.alloc(5000)],
  ["a long line", () => Buffer.from(`{"kind":"event","data":"${"x".repeat(200_000)}"}\n`)],
  ["no line", () => Buffer.from("x".repeat(100_000))],
  ["deep nesting", () => Buffer.from("[".repeat(100_000))],
  ["deep nesting that ends", () => Buffer.from("[".repeat(100_000) + "]".repeat(100_000) + "\n")],
  [
    "deep features",
    () =>
      Buffer.from(
        `{"format":1,"id":"00000000-0000-4000-8000-000000000001","features":${"[".repeat(100_000)}${
          "]".repeat(100_000)
        }}`
      )
  ],
  [
    "a deep format",
    () =>
      Buffer.from(
        `{"format":${"[".repeat(100_000)}${
          "]".repeat(100_000)
        },"id":"00000000-0000-4000-8000-000000000001","features":[]}`
      )
  ],
  ["null", () => Buffer.from("null")],
  ["a number", () => Buffer.from("1e999")],
  ["a list", () => Buffer.from("[]\n")],
  ["an empty object", () => Buffer.from("{}\n")],
  [
    "__proto__",
    () =>
      Buffer.from(
        `{"__proto__":{"polluted":true,"id":"00000000-0000-4000-8000-000000000001","format":1,"features":[]}}`
      )
  ],
  [
    "an object that is no text",
    () => Buffer.from(`{"format":{"toString":1},"id":"00000000-0000-4000-8000-000000000001","features":[]}`)
  ],
  ["a byte order mark", () => Buffer.from("\ufeff{}\n")],
  ["invalid UTF-8", () => Buffer.from([0x7b, 0x22, 0xc0, 0x80, 0xff, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d, 0x0a])],
  ["a sealed line", () => sealed(`{"kind":"commit","first":1,"last":1`)],
  ["a sealed line of another kind", () => sealed(`{"kind":${"[".repeat(50_000)}${"]".repeat(50_000)}`)],
  ["marks", () => Buffer.from("\n \n \n \n ".repeat(500))]
]

const sealed = (line: string): Buffer => {
  const bytes = Buffer.from(line)
  return Buffer.concat([bytes, Buffer.from(`,"crc":"${crc32(bytes).toString(16).padStart(8, "0")}"}\n `)])
}

// blind damage to a file

type Damage = (bytes: Buffer, random: Random) => readonly [bytes: Buffer, what: string]

/** The starts of all lines, and the end. */
const lineStarts = (bytes: Buffer): Array<number> => {
  const starts = [0]
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) starts.push(at + 1)
  if (starts.at(-1) !== bytes.length) starts.push(bytes.length)
  return starts
}

const linesOf = (bytes: Buffer): Array<Buffer> => {
  const starts = lineStarts(bytes)
  return starts.slice(1).map((end, i) => bytes.subarray(starts[i]!, end))
}

const blind: { readonly [name: string]: Damage } = {
  "bits are flipped": (bytes, random) => {
    const out = Buffer.from(bytes)
    const places: Array<number> = []
    for (let n = 1 + random.int(3); n > 0 && out.length > 0; n--) {
      const at = random.int(out.length)
      out[at]! ^= 1 << random.int(8)
      places.push(at)
    }
    return [out, `at ${places.join()}`]
  },
  "it is cut off": (bytes, random) => {
    const starts = lineStarts(bytes)
    // anywhere, or at the beginning of a line, or right behind it, where a mark stands
    const at = random.chance(0.5)
      ? random.int(bytes.length + 1)
      : Math.min(bytes.length, random.pick(starts) + random.int(2))
    return [Buffer.from(bytes.subarray(0, at)), `at ${at}`]
  },
  "a block is NULs": (bytes, random) => {
    const out = Buffer.from(bytes)
    const at = random.int(out.length + 1)
    const length = random.pick([1, 4, 64, 512, 4096])
    out.fill(0, at, Math.min(out.length, at + length))
    return [out, `${length} bytes at ${at}`]
  },
  "a block is noise": (bytes, random) => {
    const out = Buffer.from(bytes)
    const at = random.int(out.length + 1)
    const length = Math.min(out.length - at, random.pick([1, 4, 64, 512]))
    for (let i = 0; i < length; i++) out[at + i] = random.int(256)
    return [out, `${length} bytes at ${at}`]
  },
  "bytes are inserted": (bytes, random) => {
    const at = random.chance(0.5) ? random.int(bytes.length + 1) : random.pick(lineStarts(bytes))
    const [name, more] = random.pick(garbage)
    return [Buffer.concat([bytes.subarray(0, at), more(), bytes.subarray(at)]), `${name} at ${at}`]
  },
  "bytes are gone": (bytes, random) => {
    const at = random.int(bytes.length + 1)
    const length = random.pick([1, 2, 18, 100, 600])
    return [Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]), `${length} at ${at}`]
  },
  "a line is there twice": (bytes, random) => {
    const lines = linesOf(bytes)
    if (lines.length === 0) return [bytes, "none"]
    const from = random.int(lines.length)
    const to = random.int(lines.length + 1)
    return [Buffer.concat([...lines.slice(0, to), lines[from]!, ...lines.slice(to)]), `line ${from} again before ${to}`]
  },
  "two lines change places": (bytes, random) => {
    const lines = linesOf(bytes)
    if (lines.length === 0) return [bytes, "none"]
    const [a, b] = [random.int(lines.length), random.int(lines.length)]
    const [x, y] = [lines[a]!, lines[b]!]
    lines[a] = y
    lines[b] = x
    return [Buffer.concat(lines), `lines ${a} and ${b}`]
  },
  "lines are gone": (bytes, random) => {
    const lines = linesOf(bytes)
    if (lines.length === 0) return [bytes, "none"]
    const from = random.int(lines.length)
    const count = 1 + random.int(3)
    lines.splice(from, count)
    return [Buffer.concat(lines), `${count} from line ${from}`]
  },
  "it is something else": (_, random) => {
    const [name, bytes] = random.pick(garbage)
    return [bytes(), name]
  }
}

const damaged = (prefix: string, pattern: RegExp, kind: Kind): ReadonlyArray<Mutation> => [
  ...Object.entries(blind).map(([name, damage]): Mutation => ({
    name: `${prefix}: ${name}`,
    kind,
    apply: (image, random) => {
      const files = Image.filesOf(image, pattern)
      if (files.length === 0) return undefined
      const path = random.pick(files)
      const [bytes, what] = damage(Image.bytesOf(image, path), random)
      image.set(path, bytes)
      return `${path}: ${name}, ${what}`
    }
  })),
  {
    name: `${prefix}: it is gone`,
    kind,
    apply: (image, random) => {
      const files = Image.filesOf(image, pattern)
      if (files.length === 0) return undefined
      const path = random.pick(files)
      image.delete(path)
      return `${path} is gone`
    }
  },
  {
    name: `${prefix}: it is another file`,
    kind,
    apply: (image, random, samples) => {
      const files = Image.filesOf(image, pattern)
      const other = random.pick(samples).image
      const others = Image.filesOf(other, pattern)
      if (files.length === 0 || others.length === 0) return undefined
      const [path, from] = [random.pick(files), random.pick(others)]
      image.set(path, Image.bytesOf(other, from))
      return `${path} is ${from} of another store`
    }
  },
  {
    name: `${prefix}: it is a folder`,
    kind,
    apply: (image, random) => {
      const files = Image.filesOf(image, pattern)
      if (files.length === 0) return undefined
      const path = random.pick(files)
      image.set(path, "folder")
      if (random.chance(0.5)) image.set(`${path}/something`, Buffer.from("else"))
      return `${path} is a folder`
    }
  }
]

/** A folder that is a file, or is gone with all that is in it. */
const folders = (prefix: string, pattern: RegExp, kind: Kind): ReadonlyArray<Mutation> =>
  [true, false].map((isFile): Mutation => ({
    name: `${prefix}: a folder is ${isFile ? "a file" : "gone"}`,
    kind,
    apply: (image, random) => {
      const found = [...image].flatMap(([path, bytes]) => bytes === "folder" && pattern.test(`${path}/`) ? [path] : [])
        .sort()
      if (found.length === 0) return undefined
      const path = random.pick(found)
      Image.removeAll(image, path)
      if (isFile) image.set(path, Buffer.from("a file"))
      return `${path} is ${isFile ? "a file" : "gone"}`
    }
  }))

// the ledger's own

const ledger: ReadonlyArray<Mutation> = [
  ...damaged("a segment", segments, "damage"),
  ...damaged("store.json", description, "damage"),
  ...folders("the ledger", below("ledger"), "damage"),
  {
    name: "a segment: a line moves to another",
    kind: "damage",
    apply: (image, random) => {
      const files = Image.filesOf(image, segments)
      if (files.length === 0) return undefined
      const [from, to] = [random.pick(files), random.pick(files)]
      const lines = linesOf(Image.bytesOf(image, from))
      const other = linesOf(Image.bytesOf(image, to))
      if (from === to || lines.length === 0 || other.length === 0) return undefined
      const [n, at] = [random.int(lines.length), random.int(other.length + 1)]
      const [moved] = lines.splice(n, 1)
      image.set(from, Buffer.concat(lines))
      image.set(to, Buffer.concat([...other.slice(0, at), moved!, ...other.slice(at)]))
      return `line ${n} of ${from} is line ${at} of ${to}`
    }
  },
  {
    name: "segments: renumbered",
    kind: "damage",
    apply: (image, random) => {
      const files = Image.filesOf(image, segments)
      if (files.length === 0) return undefined
      const path = random.pick(files)
      const to = pathOf(random.pick([0, 1, 2, 3, 7, 8, 12, 999, 5_000_000, 9_999_999_999]))
      const bytes = Image.bytesOf(image, path)
      if (random.chance(0.5)) image.delete(path)
      image.set(to, bytes)
      return `${path} is ${to}${image.has(path) ? " too" : ""}`
    }
  },
  {
    name: "segments: two change places",
    kind: "damage",
    apply: (image, random) => {
      const files = Image.filesOf(image, segments)
      if (files.length === 0) return undefined
      const [a, b] = [random.pick(files), random.pick(files)]
      const [x, y] = [Image.bytesOf(image, a), Image.bytesOf(image, b)]
      image.set(a, y)
      image.set(b, x)
      return `${a} and ${b}`
    }
  },
  {
    name: "segments: an empty one far above",
    kind: "damage",
    apply: (image, random) => {
      const path = pathOf(random.pick([100_000, 5_000_000, 9_999_999_999]))
      image.set(path, Buffer.alloc(0))
      return path
    }
  },
  {
    name: "segments: an empty one above",
    kind: "harmless",
    apply: (image, random) => {
      const newest = numberOf(Image.filesOf(image, segments).at(-1) ?? pathOf(1))
      const path = pathOf(newest + 1 + random.int(3))
      image.set(path, Buffer.from(random.pick(["", "{", `{"kind":"segment","format":1`])))
      return path
    }
  },
  {
    name: "a segment: bytes behind a seal",
    kind: "harmless",
    apply: (image, random) => {
      const files = Image.filesOf(image, segments).slice(0, -1)
      if (files.length === 0) return undefined
      const path = random.pick(files)
      const [name, bytes] = random.pick(garbage)
      image.set(path, Buffer.concat([Image.bytesOf(image, path), bytes()]))
      return `${name} behind ${path}`
    }
  },
  {
    name: "the newest segment: a torn end",
    kind: "harmless",
    apply: (image, random) => {
      const path = Image.filesOf(image, segments).at(-1)
      if (path === undefined) return undefined
      const bytes = Image.bytesOf(image, path)
      if (bytes.at(-1) !== 0x20) return undefined
      const lines = linesOf(bytes)
      const torn = random.pick([
        Buffer.alloc(1 + random.int(9000)),
        Buffer.from("{".repeat(1 + random.int(3000))),
        Buffer.from("\n".repeat(1 + random.int(3000))),
        random.pick(lines).subarray(0, random.int(60)),
        Buffer.concat([random.pick(lines), Buffer.alloc(700)])
      ])
      // a mark is what must not stand there
      if (torn.includes("\n ")) return undefined
      image.set(path, Buffer.concat([bytes, torn]))
      return `${torn.length} bytes behind ${path}`
    }
  },
  {
    name: "the baton: with content, twice, a folder, of another",
    kind: "harmless",
    apply: (image, random) => {
      const batons = Image.filesOf(image, new RegExp(`^${store}/ledger/.*\\.free$`))
      const other = pathOf(1).replace(".jsonl", ".00000000-0000-4000-8000-000000000099.free")
      switch (random.int(3)) {
        case 0:
          if (batons.length === 0) return undefined
          image.set(batons[0]!, Buffer.from("[".repeat(100_000)))
          return "with content"
        case 1:
          image.set(other, Buffer.alloc(0))
          return "of another store"
        default:
          if (batons.length === 0) return undefined
          image.set(batons[0]!.replace(/\d{10}\./, "0000000001."), Buffer.alloc(0))
          return "of an older segment too"
      }
    }
  },
  {
    name: "unknown files",
    kind: "harmless",
    apply: (image, random) => {
      const name = random.pick([
        "ledger/.0000000001.jsonl.swp",
        "ledger/0000000001.jsonl~",
        "ledger/00000000001.jsonl",
        "ledger/1.jsonl",
        "ledger/notes.txt",
        "ledger/0000000007.JSONL",
        "indices/a",
        "indices/x.tmp",
        "indices/0000000000000000-0000000000000000.run",
        "indices/9999999999999999-9999999999999999.run",
        "indices/0000000000000001-9007199254740991.run",
        "indices/0000000000000003-0000000000000002.run",
        "events/0000000/x.json",
        "events/9999999/1",
        "events/a",
        "a",
        ".hidden/x",
        "lost+found/x",
        "snapshots/x",
        "projections/x"
      ])
      const [what, bytes] = random.pick(garbage)
      image.set(`${store}/${name}`, bytes())
      return `${name}: ${what}`
    }
  },
  {
    name: "a segment: a line is edited",
    kind: "signed",
    apply: (image, random) => LedgerText.editLine(image, segments, random)
  },
  {
    name: "a segment: a record is edited",
    kind: "signed",
    apply: (image, random) => LedgerText.editLine(image, segments, random, /^{"kind":"(event|tags)"/)
  },
  {
    name: "a segment: an event's type is edited",
    kind: "signed",
    apply: (image, random) => LedgerText.editLine(image, segments, random, /^{"kind":"event"/, LedgerText.retype)
  },
  {
    name: "the ledger: is written anew, with deep data",
    kind: "forged",
    apply: (image, random) => LedgerText.rewrite(image, segments, random, LedgerText.deepen)
  },
  {
    name: "a segment: a byte of a record is another",
    kind: "damage",
    apply: (image, random) => {
      const found = Image.filesOf(image, segments).flatMap((path) => {
        const bytes = Image.bytesOf(image, path)
        const at = bytes.indexOf("\"data\":")
        return at < 0 ? [] : [{ path, bytes, at: bytes.lastIndexOf("\"data\":", at + random.int(bytes.length - at)) }]
      })
      if (found.length === 0) return undefined
      const { at, bytes, path } = random.pick(found)
      const where = at + 8 + random.int(40)
      if (where >= bytes.length) return undefined
      const out = Buffer.from(bytes)
      out[where]! ^= 1
      image.set(path, out)
      return `byte ${where} of ${path}`
    }
  },
  {
    name: "a segment: is emptied",
    kind: "damage",
    apply: (image, random) => {
      const files = Image.filesOf(image, segments)
      if (files.length === 0) return undefined
      const path = random.pick(files)
      // some of its header may be left
      const left = random.chance(0.5) ? 0 : random.int(200)
      image.set(path, Image.bytesOf(image, path).subarray(0, left))
      return `${path}, but for ${left} bytes`
    }
  },
  {
    name: "the ledger: its beginning is written anew",
    kind: "signed",
    apply: (image, random) => {
      const files = Image.filesOf(image, segments)
      if (files.length < 2) return undefined
      const before = Image.clone(image)
      const what = LedgerText.rewrite(image, segments, random, random.chance(0.7) ? LedgerText.revise : undefined)
      const kept = files.slice(1 + random.int(files.length - 1))
      for (const path of kept) image.set(path, Image.bytesOf(before, path))
      return what === undefined ? undefined : `${what}, up to ${kept[0]}`
    }
  },
  {
    name: "the ledger: is written anew",
    kind: "forged",
    apply: (image, random) => LedgerText.rewrite(image, segments, random)
  },
  {
    name: "store.json: is edited",
    kind: "damage",
    apply: (image, random) => {
      const path = `${store}/store.json`
      const bytes = image.get(path)
      if (bytes === undefined || bytes === "folder") return undefined
      const [field, value] = random.pick(
        [
          ["format", "2"],
          ["format", "\"1\""],
          ["format", "{\"toString\":1}"],
          ["format", "[]"],
          ["features", "null"],
          ["features", "[\"new\"]"],
          ["features", "{\"length\":0}"],
          ["features", `[${"[".repeat(50_000)}${"]".repeat(50_000)}]`],
          ["id", "\"00000000-0000-4000-8000-000000000099\""],
          ["id", "\"../../etc\""],
          ["id", "1"],
          ["id", "null"],
          ["id", `"${"a".repeat(100_000)}"`],
          ["id", "\"__proto__\""],
          ["id", "[\"00000000-0000-4000-8000-000000000001\"]"]
        ] as const
      )
      const json = parsed(bytes)
      if (json === undefined) return undefined
      json[field] = "?"
      image.set(path, Buffer.from(JSON.stringify(json).replace(`"${field}":"?"`, () => `"${field}":${value}`)))
      return `${field} is ${value.slice(0, 40)}`
    }
  }
]

const others: ReadonlyArray<Mutation> = [
  ...damaged("a run of the index", runs, "derived"),
  ...damaged("what is derived", derived, "derived"),
  ...folders("what is derived", derived, "derived"),
  {
    name: "the index: a run has another's name",
    kind: "derived",
    apply: (image, random) => {
      const files = Image.filesOf(image, runs)
      if (files.length === 0) return undefined
      const [from, to] = [random.pick(files), random.pick(files)]
      const name = random.chance(0.5)
        ? to
        : to.replace(/\d{16}\.run/, (last) => `${String(parseInt(last, 10) + random.int(5)).padStart(16, "0")}.run`)
      image.set(name, Image.bytesOf(image, from))
      return `${from} as ${name}`
    }
  },
  {
    name: "a snapshot: is edited",
    kind: "derived",
    apply: (image, random) => {
      const [path] = Image.filesOf(image, below("snapshots"))
      return path === undefined ? undefined : editDocument(image, path, random)
    }
  },
  {
    name: "a snapshot: its state is edited",
    kind: "derived",
    apply: (image) => {
      const [path] = Image.filesOf(image, below("snapshots"))
      if (path === undefined) return undefined
      const text = Image.bytesOf(image, path).toString()
      image.set(path, Buffer.from(text.replace(/"state":\d+/, "\"state\":7")))
      return path
    }
  },
  ...damaged("a snapshot", below("snapshots"), "derived"),
  {
    name: "events: the checkpoint is edited",
    kind: "derived",
    apply: (image, random) => editDocument(image, `${store}/events/checkpoint.json`, random)
  }
]

const readModels: ReadonlyArray<Mutation> = [
  ...damaged("states", states, "derived"),
  ...damaged("a projection", projections, "derived"),
  ...folders("a projection", projections, "derived"),
  {
    name: "states: a line is edited",
    kind: "signed",
    apply: (image, random) => LedgerText.editLine(image, states, random)
  },
  {
    name: "states: are written anew",
    kind: "signed",
    apply: (image, random) => LedgerText.rewrite(image, states, random)
  },
  {
    name: "a projection: current.json, notice.json, a checkpoint is edited",
    kind: "derived",
    apply: (image, random) => {
      const file = random.pick(["current.json", "notice.json", "states/checkpoint.json", "0000000001/store.json"])
      return editDocument(image, `${store}/projections/sales/1/${file}`, random)
    }
  },
  ...damaged(
    "a generation's store.json",
    new RegExp(`^${store}/projections/sales/1/0000000001/store.json$`),
    "derived"
  ),
  {
    name: "a projection: another generation",
    kind: "derived",
    apply: (image, random) => {
      const number = random.pick(["0000000000", "0000000002", "0000000009", "9999999999", "10000000000"])
      const at = `${store}/projections/sales/1`
      switch (random.int(3)) {
        case 0:
          image.set(`${at}/${number}`, "folder")
          return `an empty one, ${number}`
        case 1:
          image.set(`${at}/${number}/ledger/x`, Buffer.from("x"))
          return `one that is none, ${number}`
        default:
          for (const [path, bytes] of image) {
            if (path.startsWith(`${at}/0000000001/`)) image.set(path.replace("/1/0000000001/", `/1/${number}/`), bytes)
          }
          return `a copy, ${number}`
      }
    }
  }
]

/** A small JSON file with a value that does not belong there, or made from nothing. */
function editDocument(image: Image.Image, path: string, random: Random): string | undefined {
  const bytes = image.get(path)
  if (bytes === "folder") return undefined
  const json = parsed(bytes ?? Buffer.from(`{"position":1,"problem":"none"}`))
  if (json === undefined || Object.keys(json).length === 0) return undefined
  const key = random.pick(Object.keys(json))
  const value = random.pick([
    "null",
    "-1",
    "0",
    "1.5",
    "1e300",
    "9007199254740991",
    "99999999999",
    "\"x\"",
    "[]",
    "{}",
    "{\"toString\":1}",
    "{\"segment\":-1,\"end\":-5,\"position\":-1,\"hash\":\"\"}",
    "{\"segment\":1,\"end\":9007199254740991,\"position\":9007199254740991,\"hash\":\"x\"}",
    "{\"__proto__\":{\"polluted\":true}}",
    `${"[".repeat(50_000)}${"]".repeat(50_000)}`
  ])
  const at = random.chance(0.3) && typeof json[key] === "object" && json[key] !== null
    ? json[key] as { [key: string]: unknown }
    : json
  const name = at === json ? key : random.pick(Object.keys(at).length > 0 ? Object.keys(at) : ["position"])
  at[name] = "?here?"
  image.set(path, Buffer.from(JSON.stringify(json).replace("\"?here?\"", () => value)))
  return `${path}: ${name} is ${value.slice(0, 40)}`
}

function parsed(bytes: Uint8Array): { [key: string]: unknown } | undefined {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString())
    return typeof json === "object" && json !== null ? json as { [key: string]: unknown } : undefined
  } catch {
    return undefined
  }
}

/** What is tried apart, each with an oracle of its own. */
export const targets: { readonly [name: string]: ReadonlyArray<Mutation> } = {
  ledger,
  derived: others,
  projections: readModels
}
