import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { folderOf, fromFileName, toFileName } from "../../../src/layers/internal/fileKey.ts"

const chars = Array.from("aAbBcCoOnN.^%~ /\\:19äÄ\u0308ﬁ😀\0\n")
const Text = Schema.NonEmptyArray(Schema.Literals(chars))

const isSafe = (name: string) => {
  assert.match(name, /^[a-z0-9_.^%~ -]+$/)
  assert.notMatch(name, /^[. ]|[. ]$/)
  assert.notMatch(name, /^(con|prn|aux|nul|com\d|lpt\d)($|[.])/)
  assert.isAtMost(name.length, 200)
}

describe("fileKey", () => {
  it.prop("names are safe, and can be turned back", [Text], ([chars]) => {
    const name = toFileName(chars.join(""))
    isSafe(name)
    if (!name.includes("~")) assert.strictEqual(fromFileName(name), chars.join(""))
  }, { arbitrary: { runs: 2000 } })

  it("so are those that lead elsewhere elsewhere", () => {
    for (
      const text of ["con", "CON", "con.txt", "lpt1", ".", "..", "...", " ", "a.", "a ", ".a", "../../x", "a\0b", "~"]
    ) {
      isSafe(toFileName(text))
      assert.strictEqual(fromFileName(toFileName(text)), text)
    }
  })

  it.prop("long ones are cut, and differ all the same", [Text, Text], ([a, b]) => {
    const [left, right] = [a, b].map((chars) => chars.join("").repeat(60).padEnd(400, "."))
    for (const text of [left!, right!]) isSafe(toFileName(text))
    assert.strictEqual(toFileName(left!) === toFileName(right!), left === right)
    assert.notStrictEqual(toFileName(left!), toFileName(left! + "x"))
  }, { arbitrary: { runs: 500 } })

  it("differ where case or the form of Unicode does", () => {
    const names = ["Ä", "ä", "A\u0308", "a\u0308", "A", "a", "^a", "%41", "~"].map(toFileName)
    // all are ASCII without capital letters: nothing is left to fold or to normalise
    for (const name of names) isSafe(name)
    assert.strictEqual(new Set(names).size, names.length)
    assert.deepStrictEqual([toFileName("Maths 1"), toFileName("ä"), toFileName("con")], ["^maths 1", "%c3%a4", "%63on"])
  })

  it("what is no name of ours stands for nothing", () => {
    for (const name of ["A", "%41", "a~b", "con", ".a", "a.", "%", "^1", "%c3", ""]) {
      assert.isUndefined(fromFileName(name))
    }
  })

  it("folders have two digits", () => {
    for (const text of ["a", "B", "ä"]) assert.match(folderOf(text), /^[0-9a-f]{2}$/)
  })
})
