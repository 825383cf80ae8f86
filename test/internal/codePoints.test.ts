import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { compare } from "../../src/internal/codePoints.ts"

const odd = [
  "",
  "a",
  "aa",
  "ab",
  "b",
  "A",
  "é",
  "e\u0301",
  "\u007f",
  "\u00ff",
  "\ud7ff",
  "\ue000",
  "～",
  "\uffff",
  "😀",
  "😁",
  "𐀀",
  "\u{10ffff}"
]
const Odd = Schema.Array(Schema.Literals(odd)).check(Schema.isMaxLength(4))

describe("codePoints", () => {
  it("what is beyond U+FFFF stands behind all that is not", () => {
    assert.deepStrictEqual(["😀", "～", "a", "😀a", "\ue000", "𐀀"].sort(compare), [
      "a",
      "\ue000",
      "～",
      "𐀀",
      "😀",
      "😀a"
    ])
    const [emoji, tilde] = ["😀", "～"] as ReadonlyArray<string>
    assert.isTrue(emoji! < tilde!, "UTF-16 units say otherwise")
  })

  it("a beginning stands before what goes on", () => {
    assert.isBelow(compare("a", "aa"), 0)
    assert.isAbove(compare("aa", "a"), 0)
    assert.strictEqual(compare("aa", "aa"), 0)
    assert.isBelow(compare("", "\u0001"), 0)
  })

  it.prop("compares as the bytes in UTF-8", [Odd, Odd], ([a, b]) => {
    const [x, y] = [a.join(""), b.join("")]
    assert.strictEqual(Math.sign(compare(x, y)), Buffer.compare(Buffer.from(x), Buffer.from(y)))
  }, { arbitrary: { runs: 2000 } })
})
