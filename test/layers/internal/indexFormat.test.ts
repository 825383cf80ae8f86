import { assert, describe, it } from "@effect/vitest"
import { hash } from "node:crypto"
import { Chunk } from "../../../src/layers/internal/indexChunk.ts"
import * as Format from "../../../src/layers/internal/indexFormat.ts"
import type { Commit, Entry } from "../../../src/services/Ledger.ts"
import { mutant } from "../../support/mutants.ts"

const cursor = (position: number) => ({
  segment: 3,
  end: 1000 + position,
  position,
  hash: String(position % 10).repeat(64)
})

/** `n` records behind position 40, every eleventh an addition of tags. */
const chunkOf = (n: number, chunk = Chunk): Chunk => {
  const made = new chunk(cursor(40), 41)
  for (let position = 41; position <= 40 + n; position++) {
    const place = { position, segment: 2 ** 32 - 1, offset: 2 ** 33 + position * 1000, length: 2 ** 24 + position }
    const entry = position % 11 === 0
      ? { kind: "tags", ...place, targets: [{ position: position - 1, tags: ["k:later"] }] }
      : {
        kind: "event",
        ...place,
        type: `T${position % 3}`,
        tags: [`k:${position % 7}`, `l:${position % 40}`],
        metadata: { id: `id-${position}` }
      }
    made.add({
      cursor: cursor(position),
      first: position,
      last: position,
      bytes: 1000,
      time: 0,
      entries: [entry as unknown as Entry]
    } as unknown as Commit)
  }
  return made
}

/** What each term has. */
const postingsOf = (n: number): ReadonlyMap<string, ReadonlyArray<number>> => {
  const lists = new Map<string, Array<number>>()
  const add = (key: string, position: number) => lists.set(key, [...lists.get(key) ?? [], position])
  for (let position = 41; position <= 40 + n; position++) {
    const keys = position % 11 === 0
      ? [`p:${position - 1}`, "a:k:later"]
      : [`t:T${position % 3}`, `i:id-${position}`, `g:k:${position % 7}`, `g:l:${position % 40}`]
    for (const key of keys) add(key, position)
  }
  return lists
}

const at = { additionsBefore: 7, ordinal: 3, span: 1 }

/** The look-ups in a whole run, with all blocks at hand. */
const listsOf = (format: typeof Format, bytes: Uint8Array) => {
  const header = format.parseHeader(bytes, "store")!
  const block = (number: number) => {
    const { length, offset } = format.blockAt(header.layout, number)
    return format.openBlock(header, number, bytes.subarray(offset, offset + length))!
  }
  const { filter } = header.layout
  const bits = Buffer.concat(Array.from({ length: filter.blocks }, (_, i) => block(filter.block + i)))
  return new format.RunLists(header, block, () => bits)
}

describe("indexFormat", () => {
  it("hashes terms as documented", () => {
    const hex = (key: string) => {
      const { high, low } = Format.term(key)
      return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0")
    }
    assert.strictEqual(hex("t:Opened"), "e007c841f86aee46")
    assert.strictEqual(hex("g:course:c1"), "507f705966f499d2")
    assert.strictEqual(hex("i:"), "660201ea253e11bc")
    assert.strictEqual(hex("p:1"), "e8492ffcd54b3162")
  })

  it("encodes the bytes that version 2 has", () => {
    const { bytes } = Format.encode(chunkOf(500), "store", at)
    assert.strictEqual(hash("sha256", bytes), "6e87f27616948f142e0190a04e0896740f8bd592e7f59438fb046838dd463653")
  })

  it("finds in a run what the chunk had, and where", () => {
    const chunk = chunkOf(3000)
    const { bytes, header } = Format.encode(chunk, "store", at)
    assert.deepStrictEqual(Format.parseHeader(bytes, "store"), header)
    assert.isUndefined(Format.parseHeader(bytes, "other"))
    assert.strictEqual(header.layout.size, bytes.length)
    const lists = listsOf(Format, bytes)
    const postings = postingsOf(3000)
    assert.isAbove(postings.size, 2 * 255, "several blocks of entries")
    for (const [key, list] of postings) {
      assert.deepStrictEqual(chunk.list(Format.term(key)), list)
      assert.deepStrictEqual(lists.list(Format.term(key)), list)
      assert.strictEqual(lists.count(Format.term(key)), list.length)
    }
    for (let i = 0; i < 3000; i++) assert.strictEqual(lists.count(Format.term(`t:unknown-${i}`)), 0)
    for (let position = 38; position < 3045; position++) {
      assert.deepStrictEqual(lists.location(position), chunk.location(position))
    }
    assert.deepStrictEqual(lists.location(41), {
      segment: 2 ** 32 - 1,
      offset: 2 ** 33 + 41_000,
      length: 2 ** 24 + 41,
      addition: false
    })
  })

  it("finds too much, and nothing too little, if terms have the same hash", async () => {
    const weak = await mutant<typeof Format>("src/layers/internal/indexFormat.ts", "index-weak-hash")
    const { Chunk: WeakChunk } = await mutant<{ readonly Chunk: typeof Chunk }>(
      "src/layers/internal/indexChunk.ts",
      "index-weak-hash"
    )
    const chunk = chunkOf(400, WeakChunk)
    const { bytes } = weak.encode(chunk, "store", at)
    const lists = listsOf(weak, bytes)
    assert.strictEqual(weak.parseHeader(bytes, "store")!.layout.terms, 16)
    for (const [key, list] of postingsOf(400)) {
      const found = lists.list(weak.term(key))
      assert.deepStrictEqual(chunk.list(weak.term(key)), found)
      assert.deepStrictEqual(found.filter((position) => list.includes(position)), list)
      assert.deepStrictEqual(found, [...new Set(found)].sort((a, b) => a - b))
    }
  })

  it("reads names, and no others", () => {
    const name = Format.fileName(1, 12_345)
    assert.strictEqual(name, "0000000000000001-0000000000012345.run")
    assert.deepStrictEqual(Format.parseName(name), { name, first: 1, last: 12_345 })
    for (
      const other of [
        "0000000000000002-0000000000000001.run",
        "0000000000000000-0000000000000001.run",
        "1-2.run",
        "9999999999999998-9999999999999999.run",
        `${name}.tmp`
      ]
    ) assert.isUndefined(Format.parseName(other))
  })
})
