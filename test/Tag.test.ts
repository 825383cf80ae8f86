import { assert, describe, it } from "@effect/vitest"
import { Tag } from "effect-opossum"
import * as Schema from "effect/Schema"

const decode = Schema.decodeUnknownSync(Tag.Tag)

describe("Tag", () => {
  it("is made of a key and a value", () => {
    assert.strictEqual<string>(Tag.make("course", "maths"), "course:maths")
    assert.strictEqual<string>(Tag.make("till", 7), "till:7")
    assert.strictEqual<string>(Tag.make("n", -0), "n:0")
    assert.strictEqual<string>(Tag.make("big", 2n ** 70n), "big:1180591620717411303424")
    assert.strictEqual<string>(Tag.make("full", true), "full:true")
    assert.strictEqual<string>(Tag.make("url", "https://x"), "url:https://x")
    assert.strictEqual<string>(Tag.make(" a b ", " c "), " a b : c ")
  })

  it("has a key before the first colon, and a value behind it", () => {
    assert.deepStrictEqual([Tag.key("a:b:c"), Tag.value("a:b:c")], ["a", "b:c"])
  })

  it("says what is wrong", () => {
    assert.throws(() => Tag.make("a:b", "c"), "Tag.make: the tag \"a:b:c\" has a ':' in its key")
    assert.throws(() => Tag.make("", "c"), "Tag.make: the tag \":c\" has a blank key")
    assert.throws(() => Tag.make("\u3000", "c"), "has a blank key")
    assert.throws(() => Tag.make("a", ""), "Tag.make: the tag \"a:\" has an empty value")
    assert.throws(() => Tag.make("a", NaN), "has a value that is no finite number")
    assert.throws(() => Tag.make(7 as unknown as string, "c"), "has a key that is no text")
  })

  it("has no control characters, in key or value: C0, DEL, C1", () => {
    for (let code = 0; code <= 0xff; code++) {
      const character = String.fromCharCode(code)
      const isControl = code <= 0x1f || (code >= 0x7f && code <= 0x9f)
      const wanted = isControl ? "has a control character" : undefined
      assert.strictEqual(Tag.problem(`key:a${character}b`), wanted, `U+${code.toString(16)} in the value`)
      if (character !== ":") {
        assert.strictEqual(Tag.problem(`a${character}b:value`), wanted, `U+${code.toString(16)} in the key`)
      }
    }
  })

  it("is well-formed Unicode", () => {
    for (const tag of ["a\ud83d:b", "a:\ude00b", "a:\ude00\ud83d"]) {
      assert.strictEqual(Tag.problem(tag), "has half of a surrogate pair")
    }
    assert.isUndefined(Tag.problem("😀:😀"))
  })

  it("takes at most 1 KiB of UTF-8 for the key, and for the value", () => {
    for (const character of ["a", "é", "€", "😀"]) {
      const bytes = new TextEncoder().encode(character).length
      const most = character.repeat(Math.floor(1024 / bytes))
      assert.isUndefined(Tag.problem(`${most}:${most}`))
      assert.strictEqual(Tag.problem(`${most}${character}:a`), "has a key longer than 1 KiB")
      assert.strictEqual(Tag.problem(`a:${most}${character}`), "has a value longer than 1 KiB")
    }
  })

  it("is told by its schema", () => {
    assert.strictEqual<string>(decode("a:b"), "a:b")
    for (const wrong of ["a", ":b", "a:", "a:\n", 7]) assert.throws(() => decode(wrong))
    assert.throws(() => decode("a:"), "has an empty value")
    assert.isTrue(Tag.is("a:b"))
    assert.isFalse(Tag.is(["a:b"]))
  })

  it("marks no schema with a key that cannot be one", () => {
    assert.throws(() => Tag.as(" "), "has a blank key")
    assert.throws(() => Tag.as("a:b" as "a"), "has a ':' in its key")
  })
})
