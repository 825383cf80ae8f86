/** The shortcut for lines as this version writes them: it says what `JSON.parse` says, or nothing. */
import { assert, describe, it } from "@effect/vitest"
import * as Format from "../../../src/layers/internal/ledgerFormat.ts"
import { parsePlainLine } from "../../../src/layers/internal/plainLine.ts"
import { RecordCache } from "../../../src/layers/internal/recordCache.ts"

const behind = `,"crc":"00000000"}`

/** What the shortcut makes of a line, as an object that was parsed would be. */
const plain = (line: string): unknown => parsePlainLine(line, behind.length)

const parsed = (line: string): unknown => {
  try {
    const { crc: _, ...record } = JSON.parse(line) as { readonly crc: unknown }
    return record
  } catch {
    return undefined
  }
}

const usual = {
  kind: "event",
  position: 4711,
  type: "CourseDefined",
  version: 2,
  tags: ["course:maths", "a very long key:a value with ] and , and {}", "ü:ß"],
  metadata: {
    id: "84fcacf5-47f0-495e-afac-b159796f40a2",
    timestamp: "2030-01-31T12:00:00.000Z",
    correlationId: "c",
    userId: "Zoë"
  },
  data: { courseId: "maths", text: "\"quoted\"\n", nested: { list: [1, null, { a: -0.5e-7 }] } }
}
const lineOf = (event: object): string => `${JSON.stringify(event).slice(0, -1)}${behind}`

describe("a plain line", () => {
  it("is parsed as by JSON.parse", () => {
    const same = [
      usual,
      { ...usual, tags: [] },
      { ...usual, tags: ["a:b"] },
      { ...usual, metadata: { id: "a", timestamp: "2030-01-31T12:00:00.000Z" } },
      { ...usual, metadata: { id: "", timestamp: "" } },
      { ...usual, type: "x".repeat(256), position: 999_999_999_999_999 },
      ...[null, true, 0, "text", [], {}].map((data) => ({ ...usual, data }))
    ]
    for (const event of same) {
      const line = lineOf(event)
      assert.deepStrictEqual(plain(line), parsed(line), line)
      assert.isDefined(plain(line), line)
    }
    const twice = lineOf(usual).replace(`"userId":"Zoë"`, `"id":"other","__proto__":"x"`)
    assert.deepStrictEqual(plain(twice), parsed(twice))
    assert.strictEqual((plain(twice) as typeof usual).metadata.id, "other")
  })

  it("is left alone if it is anything else", () => {
    const others = [
      { ...usual, kind: "tags" },
      { ...usual, position: 0 },
      { ...usual, position: -1 },
      { ...usual, position: 1.5 },
      { ...usual, position: 2 ** 53 },
      { ...usual, version: "2" },
      { ...usual, type: "a\"b" },
      { ...usual, type: "a\\b" },
      { ...usual, tags: ["a:\n"] },
      { ...usual, tags: [1] },
      { ...usual, tags: [["a:b"]] },
      { ...usual, metadata: { ...usual.metadata, custom: { a: 1 } } },
      { ...usual, metadata: { ...usual.metadata, userId: "\\" } },
      { ...usual, metadata: { timestamp: "2030-01-31T12:00:00.000Z", id: "a" } },
      { ...usual, metadata: [] },
      Object.fromEntries(Object.entries(usual).reverse()),
      { ...usual, more: 1 },
      { ...usual, data: undefined }
    ]
    for (const event of others) assert.isUndefined(plain(lineOf(event)), JSON.stringify(event))
  })

  it("says nothing else than JSON.parse, whatever became of a character", () => {
    const line = lineOf(usual)
    const characters = [...`"\\{}[],:01e-.x \n\t\0ü`]
    let taken = 0
    for (let at = 0; at < line.length - behind.length; at++) {
      for (const character of ["", ...characters]) {
        const other = line.slice(0, at) + character + line.slice(at + 1)
        const event = plain(other)
        if (event === undefined) continue
        taken++
        assert.deepStrictEqual(event, parsed(other), other)
      }
    }
    assert.isAbove(taken, 1000)
  })

  it("is found by the parser of records, whose checksum is checked before", () => {
    const { bytes, commits: [commit] } = Format.encodeGroup(
      [[{
        kind: "event",
        type: usual.type,
        tags: usual.tags as never,
        metadata: usual.metadata,
        body: Format.encodeEvent(usual)
      }]],
      { segment: 1, end: 0, position: 0, hash: "0".repeat(64) },
      0,
      0
    )
    const [{ length, offset }] = commit!.entries
    const buffer = Buffer.from(bytes)
    const kept: Array<string> = []
    const read = () => Format.parseRecord(buffer, offset, offset + length, (line) => kept.push(line))
    const { crc: _, ...stored } = JSON.parse(buffer.toString("utf8", offset, offset + length))
    assert.deepStrictEqual<unknown>(read(), stored)
    assert.deepStrictEqual(kept, [buffer.toString("utf8", offset, offset + length)])
    assert.deepStrictEqual<unknown>(Format.parsePlain(kept[0]!), stored)
    for (let at = offset; at < offset + length; at++) {
      buffer[at]! ^= 1
      assert.isString(read())
      buffer[at]! ^= 1
    }
    assert.lengthOf(kept, 1)
    // upper-case digits are not what was written
    const digits = offset + length - 10
    const sum = buffer.toString("latin1", digits, digits + 8)
    buffer.write(sum.toUpperCase(), digits, "latin1")
    if (sum !== sum.toUpperCase()) assert.isString(read())
  })
})

describe("records that were read lately", () => {
  const lineAt = (position: number) => lineOf({ ...usual, position })

  it("are each reader's own", () => {
    const cache = new RecordCache(100 * 1024)
    cache.set(1, lineAt(1))
    const [one, other] = [cache.get(1)!, cache.get(1)!]
    assert.deepStrictEqual<unknown>(one, parsed(lineAt(1)))
    ;(one.tags as unknown as Array<string>).pop()
    ;(one.data as { courseId?: string }).courseId = "other"
    ;(one.metadata as { userId?: string }).userId = "other"
    assert.deepStrictEqual(cache.get(1), other)
    assert.deepStrictEqual<unknown>(other, parsed(lineAt(1)))
  })

  it("are kept while they are asked for, and no more than have room", () => {
    const bytes = 100 * 1024
    const cache = new RecordCache(bytes)
    for (let position = 1; position <= 1000; position++) {
      cache.set(position, lineAt(position))
      assert.strictEqual(cache.get(1)?.position, 1 as never, `${position}`)
    }
    const kept = Array.from({ length: 1000 }, (_, i) => i + 1).filter((position) => cache.get(position) !== undefined)
    assert.isBelow(kept.length * lineAt(1000).length * 2, bytes)
    assert.include(kept, 1000)
    assert.notInclude(kept, 2)
  })
})
