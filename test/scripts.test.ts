import { assert, describe, it } from "@effect/vitest"
import { exportMap } from "../scripts/exports.ts"
import { importsOf } from "../scripts/imports.ts"

describe("importsOf", () => {
  it("finds imports and re-exports, over lines, and knows which are types", () => {
    const source = [
      `import * as A from "./A.ts"`,
      `import type { B } from "./B.ts"`,
      `import {`,
      `  type C,`,
      `  c`,
      `} from "./C.ts"`,
      `export * as D from "../D.ts"`,
      `export const e = () => import("./E.ts")`,
      `// import "./comment.ts"`,
      "const text = `import \"./text.ts\"`",
      `export type { F } from "./F.ts"`,
      `import "./side.ts"`,
      `export const g = (name: string) => import(name)`
    ].join("\n")
    assert.deepStrictEqual(
      importsOf(source).map((found) =>
        [
          found.line,
          found.specifier,
          ...(found.typeOnly ? ["type"] : []),
          ...(found.dynamic ? ["dynamic"] : []),
          ...(found.exportedAs ? [found.exportedAs] : [])
        ].join(" ")
      ),
      [
        "1 ./A.ts",
        "2 ./B.ts type",
        "3 ./C.ts",
        "7 ../D.ts D",
        "8 ./E.ts dynamic",
        "11 ./F.ts type",
        "12 ./side.ts",
        "13 name dynamic"
      ]
    )
  })

  it("refuses what cannot be parsed", () => {
    assert.throws(() => importsOf("import {", "bad.ts"), "bad.ts")
  })
})

describe("exportMap", () => {
  const index = `export * as Tag from "./Tag.ts"\nexport * as EventStore from "./services/EventStore.ts"\n`
  const modules = ["src/Tag.ts", "src/services/EventStore.ts"]

  it("the room is not part of the public name", () => {
    const { map, problems } = exportMap(index, modules)
    assert.deepStrictEqual(problems, [])
    assert.deepStrictEqual(Object.keys(map), [".", "./testing", "./EventStore", "./Tag", "./package.json"])
    assert.deepStrictEqual(map["./EventStore"], {
      types: "./dist/services/EventStore.d.ts",
      default: "./dist/services/EventStore.js"
    })
  })

  const refused = (what: string, words: string, index_: string, modules_: ReadonlyArray<string> = modules) =>
    it(`refuses ${what}`, () => {
      const { problems } = exportMap(index_, modules_)
      assert.strictEqual(problems.length, 1)
      assert.include(problems[0]!, words)
    })

  refused("a module that the index forgot", "is not exported", index, [...modules, "src/layers/Opossum.ts"])
  refused("a name that is not the file's", "is not the name of", index.replace("as Tag", "as Label"))
  refused("a file that is not there", "does not exist", `${index}export * as Query from "./Query.ts"`)
  refused("exports that are no namespace", "so that the name is a namespace", `${index}export { make } from "./Tag.ts"`)
  refused("a name that is exported twice", "twice", `${index}export * as Tag from "./Tag.ts"`)
})
