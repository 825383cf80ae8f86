/** Lines whose checksums fit, but that this program never wrote: somebody edited them and sealed them again. */
import { assert, describe, it } from "@effect/vitest"
import { createHash } from "node:crypto"
import { crc32 } from "node:zlib"
import * as Format from "../../../src/layers/internal/ledgerFormat.ts"
import { mutant } from "../../support/mutants.ts"

const seal = (text: string): Buffer => {
  const line = Buffer.from(text)
  return Buffer.concat([line, Buffer.from(`,"crc":"${crc32(line).toString(16).padStart(8, "0")}"}`)])
}

const sha256 = (...parts: ReadonlyArray<string | Uint8Array>) =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest("hex")

const hash = "0".repeat(64)
const cursor = { segment: 1, end: 0, position: 0, hash }

const fields = {
  kind: "\"event\"",
  position: "1",
  type: "\"A\"",
  version: "1",
  tags: "[]",
  metadata: "{\"id\":\"a\",\"timestamp\":\"2030-01-31T12:00:00.000Z\"}",
  data: "{}"
}

const textOf = (fields: { readonly [key: string]: string }) =>
  `{${Object.entries(fields).map(([key, value]) => `"${key}":${value}`).join()}`

/** A batch of one record, with a commit that fits. */
const batchOf = (record: Buffer, commit: { readonly [key: string]: string } = {}): Buffer => {
  const head = textOf({ kind: "\"commit\"", first: "1", last: "1", time: "\"2030-01-31T12:00:00.000Z\"", ...commit })
  const lines = Buffer.concat([record, Buffer.from("\n")])
  return Buffer.concat([lines, seal(`${head},"hash":"${sha256(hash, lines, head)}"`), Buffer.from("\n ")])
}

const problemOf = (bytes: Buffer): string | undefined => {
  const { commits, stop } = Format.parseRun(bytes, 0, cursor)
  return commits.length > 0 ? undefined : stop._tag === "Invalid" ? stop.problem : "it ends"
}

const deep = (levels: number) => "[".repeat(levels) + "]".repeat(levels)

describe("a line that was sealed by somebody else", () => {
  it("is taken as it is if its fields are what they should be", () => {
    assert.isUndefined(problemOf(batchOf(seal(textOf(fields)))))
    assert.isObject(Format.parseRecord(seal(textOf(fields))))
    // unknown fields belong to what comes later, or to nobody
    assert.isUndefined(problemOf(batchOf(seal(textOf({ ...fields, __proto: "1", toString: "{}" })))))
  })

  it("is no event if one of its fields is none of an event", () => {
    const table: ReadonlyArray<readonly [keyof typeof fields, ReadonlyArray<string>]> = [
      ["type", ["1", "null", "[\"A\"]"]],
      ["version", ["0", "-1", "1.5", "1e999", "\"1\"", "9007199254740993"]],
      ["tags", ["null", "{}", "{\"length\":1}", "[1]", "[null]", "[[\"a:b\"]]", "\"a:b\""]],
      ["metadata", ["null", "[]", "{}", "{\"id\":1,\"timestamp\":\"\"}", "{\"id\":\"a\"}", "\"id\""]],
      ["position", ["1e999", "-0", "\"1\"", "null"]],
      ["kind", ["\"events\"", "null", deep(2000), "{\"toString\":1}"]]
    ]
    for (const [field, values] of table) {
      for (const value of values) {
        const line = seal(textOf({ ...fields, [field]: value }))
        assert.isString(problemOf(batchOf(line)), `${field} ${value.slice(0, 40)}`)
        assert.isString(Format.parseRecord(line), `${field} ${value.slice(0, 40)}`)
      }
      const { [field]: _, ...rest } = fields
      assert.isString(problemOf(batchOf(seal(textOf(rest)))), `without ${field}`)
    }
  })

  it("is nested no deeper than what can be appended, whatever its length", () => {
    assert.isUndefined(problemOf(batchOf(seal(textOf({ ...fields, data: deep(100) })))))
    for (const levels of [101, 1000, 1_000_000]) {
      for (const field of ["data", "metadata"]) {
        const value = field === "data" ? deep(levels) : `{"id":"a","timestamp":"t","x":${deep(levels - 1)}}`
        const line = seal(textOf({ ...fields, [field]: value }))
        assert.strictEqual(problemOf(batchOf(line)), "it is nested deeper than 100 levels", `${field} ${levels}`)
        assert.strictEqual(Format.parseRecord(line), "it is nested deeper than 100 levels", `${field} ${levels}`)
      }
    }
    // brackets in a text are no levels
    assert.isUndefined(problemOf(batchOf(seal(textOf({ ...fields, data: `{"text":"\\"${"[".repeat(100_000)}"}` })))))
  })

  it("adds no tags to what comes later, or to what is none", () => {
    const tags = (targets: string) => seal(textOf({ kind: "\"tags\"", position: "1", targets }))
    assert.isUndefined(problemOf(batchOf(tags("[]"))))
    for (
      const targets of [
        "null",
        "{}",
        "[1]",
        "[{\"position\":1,\"tags\":[]}]",
        "[{\"position\":0,\"tags\":[]}]",
        "[{\"tags\":[]}]"
      ]
    ) {
      assert.isString(problemOf(batchOf(tags(targets))), targets)
    }
  })

  it("is no commit without a time, or with a field that is none, and longer than any", () => {
    const event = seal(textOf(fields))
    for (
      const commit of [{ time: "\"soon\"" }, { time: "1" }, { last: "1e999" }, { first: "\"1\"" }, {
        sig: `"${"x".repeat(400)}"`
      }]
    ) {
      const bytes = batchOf(event, commit)
      assert.isString(problemOf(bytes), JSON.stringify(commit))
      // nor does a mark behind it confirm anything
      assert.isUndefined(Format.lastConfirmed(bytes), JSON.stringify(commit))
    }
  })

  it("is no header", () => {
    const header = {
      format: 1,
      features: [],
      store: "a",
      segment: 2,
      algorithm: "sha-256",
      durability: "sync" as const,
      writer: { id: "a", host: "b", pid: 1 },
      time: "2030-01-31T12:00:00.000Z",
      first: 6,
      previous: { segment: 1, length: 100, position: 5, hash }
    }
    const tagOf = (fields: object) =>
      Format.parseHeader(Format.encodeHeader({ ...header, ...fields } as typeof header).bytes)._tag
    assert.strictEqual(tagOf({}), "Header")
    const wrong: ReadonlyArray<object> = [
      { store: 1 },
      { segment: 0 },
      { segment: 1e300 },
      { durability: "fsync" },
      { writer: null },
      { writer: {} },
      { first: 5 },
      { first: "6" },
      { time: 1 },
      { features: null },
      { features: [1] },
      { format: 0 },
      { format: "1" },
      { format: { toString: 1 } },
      { previous: [] },
      { previous: null },
      { previous: { ...header.previous, segment: 2 } },
      { previous: { ...header.previous, length: -1 } },
      { previous: { ...header.previous, length: 1.5 } },
      { previous: { ...header.previous, hash: "x" } }
    ]
    for (const fields of wrong) assert.strictEqual(tagOf(fields), "Void", JSON.stringify(fields))
    for (const fields of [{ format: 2 }, { features: ["new"] }, { algorithm: "blake3" }]) {
      assert.strictEqual(tagOf(fields), "Unsupported", JSON.stringify(fields))
    }
  })

  it("is no longer than 16 MiB, nor a batch than 64", async () => {
    const longest = (bytes: number) => {
      const line = (n: number) => seal(textOf({ ...fields, data: `{"text":"${"x".repeat(n)}"}` }))
      return line(bytes - line(0).length)
    }
    const isLine = (format: typeof Format, bytes: number) => typeof format.parseRecord(longest(bytes)) !== "string"
    const mebi = 1024 * 1024
    assert.isTrue(isLine(Format, 16 * mebi))
    assert.isFalse(isLine(Format, 16 * mebi + 1))
    assert.strictEqual(problemOf(batchOf(longest(16 * mebi + 1))), "the line is longer than 16 MiB")
    // which a format with another bound would not say
    assert.isTrue(
      isLine(await mutant<typeof Format>("src/layers/internal/ledgerFormat.ts", "fuzz-longest-line"), 16 * mebi + 1)
    )
    const lines = [1, 2, 3, 4, 5].map((position) =>
      seal(textOf({ ...fields, position: String(position), data: `{"text":"${"x".repeat(13.5 * mebi)}"}` }))
    )
    const batch = Buffer.concat(lines.flatMap((line) => [line, Buffer.from("\n")]))
    assert.strictEqual(problemOf(batch), "the batch is longer than 64 MiB")
  })
})
