/** The reader of ledgers must notice what it looks for. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { crc32 } from "node:zlib"
import { temporaryFolder } from "../support/temporaryFolder.ts"
import { readLedgerFiles } from "./ledgerFiles.ts"

// a ledger, as small as can be, and with whatever mistake

type Json = Readonly<Record<string, unknown>>

const store = "00000000-0000-4000-8000-000000000001"
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")

const seal = (text: string) => `${text},"crc":"${crc32(text).toString(16).padStart(8, "0")}"}\n`
const line = (json: Json) => seal(JSON.stringify(json).slice(0, -1))
/** A line that holds the hash of everything before it in `text`, behind the hash before. */
const chained = (before: string, text: string, json: Json) => {
  const own = JSON.stringify(json).slice(0, -1)
  const hash = sha256(before + text + own)
  return { hash, text: text + seal(`${own},"hash":"${hash}"`) }
}

const event = (position: number): Json => ({
  kind: "event",
  position,
  type: "Noted",
  version: 1,
  tags: ["a"],
  metadata: { id: `e${position}`, timestamp: "2030-01-31T12:00:00.000Z" },
  data: {}
})

interface Doctored {
  /** Changes of the second segment's header. */
  readonly header?: Json
  /** Changes of what the second segment continues. */
  readonly previous?: Json
  /** The records of the second segment's batch. */
  readonly records?: ReadonlyArray<Json>
  readonly commit?: Json
  /** Changes the hash before the second segment's batch. */
  readonly before?: string
}

const write = (folder: string, { before, commit, header, previous, records = [event(3)] }: Doctored = {}) => {
  const begin = { kind: "segment", format: 1, features: [], store, durability: "sync" }
  const from = { writer: { id: "w", pid: 1 }, time: "2030-01-31T12:00:00.000Z" }
  const one = chained(sha256(`effect-opossum 1 ${store}`), "", {
    ...begin,
    segment: 1,
    ...from,
    first: 1,
    previous: null
  })
  const batch = chained(one.hash, line(event(1)) + line(event(2)), { kind: "commit", first: 1, last: 2 })
  const first = `${one.text} ${batch.text}`
  const link = { segment: 1, length: first.length, position: 2, hash: batch.hash, ...previous }
  const two = chained(link.hash, "", { ...begin, segment: 2, ...from, first: 3, previous: link, ...header })
  const second = chained(before ?? two.hash, records.map(line).join(""), {
    kind: "commit",
    first: 3,
    last: 3,
    ...commit
  })
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "0000000001.jsonl"), `${first} `)
  writeFileSync(join(folder, "0000000002.jsonl"), `${two.text} ${second.text} `)
}

const golden = fileURLToPath(new URL("../golden/store-v1/school/ledger", import.meta.url))

const problemsOf = (doctored: Doctored) =>
  Effect.gen(function*() {
    const folder = yield* temporaryFolder
    write(folder, doctored)
    return readLedgerFiles(folder).problems.join("\n")
  })

describe("the reader of ledgers", () => {
  it.effect("has nothing against right ones", () =>
    Effect.gen(function*() {
      const { additions, events, head, problems, segments } = readLedgerFiles(golden)
      assert.deepStrictEqual(problems, [])
      assert.deepStrictEqual(events.map(({ position }) => position), [1, 2, 3, 4, 6])
      assert.deepStrictEqual(additions.map(({ position }) => position), [5])
      assert.strictEqual(head, 6)
      // the one between them is void
      assert.deepStrictEqual(segments.map(({ number }) => number), [1, 3])
      assert.strictEqual(yield* problemsOf({}), "")
    }))

  for (
    const [what, doctored, text] of [
      ["a seal that names another hash", { previous: { hash: "0".repeat(64) } }, "does not follow the one before"],
      ["a seal at another position", { previous: { position: 1 } }, "begins at 3 behind 2"],
      ["a first position that leaves one out", { header: { first: 4 } }, "begins at 4 behind 2"],
      ["another segment's number", { header: { segment: 7 } }, "says that it is 7"],
      ["a seal that is longer than the segment", { previous: { length: 100_000 } }, "is shorter than 100000 bytes"],
      ["a seal in the middle of a batch", { previous: { length: 600 } }, "segment 1"],
      ["a chain that does not fit", { before: "0".repeat(64) }, "the chain does not fit"],
      ["a position that is left out", { records: [event(4)] }, "position 4 stands at 3"],
      ["a position twice", { records: [event(3), event(3)], commit: { last: 4 } }, "position 3 stands at 4"],
      ["a commit that says something else", { commit: { last: 5 } }, "a commit of 3 to 5"],
      ["a commit of nothing", { records: [], commit: { last: 2 } }, "a commit of nothing"],
      ["a record of another kind", { records: [{ kind: "note", position: 3 }] }, "a record of the kind note"]
    ] as const satisfies ReadonlyArray<readonly [string, Doctored, string]>
  ) {
    it.effect(`notices ${what}`, () => Effect.map(problemsOf(doctored), (problems) => assert.include(problems, text)))
  }

  it.effect("notices each changed byte of what was sealed, and before a mark", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      write(folder)
      for (const name of ["0000000001.jsonl", "0000000002.jsonl"]) {
        const file = join(folder, name)
        const right = readFileSync(file)
        // of the newest, the last commit and its mark look like one that was never finished
        const end = name === "0000000001.jsonl" ? right.length - 1 : right.indexOf("\n") - 1
        for (let i = 0; i < end; i++) {
          // the mark behind a header that is sealed, or followed by one, means nothing any more
          if (right[i] === 0x20 && right[i - 1] === 0x0a) continue
          const changed = Buffer.from(right)
          changed[i]! ^= 1
          writeFileSync(file, changed)
          const { head, problems } = readLedgerFiles(folder)
          assert.isTrue(problems.length > 0 || head < 3, `byte ${i} of ${name}`)
        }
        writeFileSync(file, right)
      }
    }))

  it.effect("notices a segment that is missing, and that there is none", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      write(folder)
      rmSync(join(folder, "0000000001.jsonl"))
      assert.include(readLedgerFiles(folder).problems.join("\n"), "segment 1 is named and missing")
      rmSync(join(folder, "0000000002.jsonl"))
      assert.include(readLedgerFiles(folder).problems.join("\n"), "no segment has a confirmed header")
    }))

  it.effect("leaves out what is torn, and what is not confirmed", () =>
    Effect.gen(function*() {
      const folder = yield* temporaryFolder
      write(folder)
      const file = join(folder, "0000000002.jsonl")
      const right = readFileSync(file)
      for (const end of [right.length - 1, right.length - 2, right.length - 40]) {
        writeFileSync(file, right.subarray(0, end))
        const { head, problems } = readLedgerFiles(folder)
        assert.deepStrictEqual(problems, [])
        assert.strictEqual(head, 2)
      }
      writeFileSync(file, Buffer.concat([right, Buffer.from(`{"kind":"event"`)]))
      assert.deepStrictEqual(readLedgerFiles(folder).problems, [])
      assert.strictEqual(readLedgerFiles(folder).head, 3)
    }))
})
