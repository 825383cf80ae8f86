import { assert, describe, it } from "@effect/vitest"
import { exportMap, isInternal } from "../scripts/exports.ts"
import { importsOf } from "../scripts/imports.ts"
import { complete, platformOf } from "../scripts/lockfile.ts"

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

  it("a module is internal if its header says so, not if one of its parts does", () => {
    assert.isTrue(isInternal("/**\n * Files of a store.\n *\n * @internal\n */\nexport const a = 1"))
    assert.isTrue(isInternal("/** @internal */\nexport const a = 1"))
    assert.isFalse(isInternal("/** Tags. */\n\n/** @internal */\nexport const a = 1"))
    assert.isFalse(isInternal("export const a = 1\n/** @internal */\nexport const b = 1"))
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

describe("lockfile", () => {
  it("a platform is told by the name of a package with a binary", () => {
    assert.deepStrictEqual(platformOf("@dprint/linux-x64-musl"), { cpu: ["x64"], libc: ["musl"], os: ["linux"] })
    assert.deepStrictEqual(platformOf("@a/binding-linux-arm-gnueabihf"), {
      cpu: ["arm"],
      libc: ["glibc"],
      os: ["linux"]
    })
    assert.deepStrictEqual(platformOf("@a/binding-darwin-arm64"), { cpu: ["arm64"], os: ["darwin"] })
    assert.deepStrictEqual(platformOf("@a/tsgo-win32-x64"), { cpu: ["x64"], os: ["win32"] })
    assert.strictEqual(platformOf("fsevents"), undefined)
  })

  const tool = { version: "1.2.3", dev: true, optionalDependencies: { "tool-darwin-arm64": "1.2.3" } }
  const binary = { version: "1.2.3", cpu: ["arm64"], dev: true, optional: true, os: ["darwin"] }

  it("adds the binaries of other platforms, wherever they might lie", () => {
    const { fixable, lock, problems } = complete({ packages: { "node_modules/tool": tool, "node_modules/a": {} } })
    assert.deepStrictEqual(problems, [])
    assert.strictEqual(fixable.length, 1)
    assert.deepStrictEqual(Object.entries(lock.packages), [
      ["node_modules/a", {}],
      ["node_modules/tool", tool],
      ["node_modules/tool-darwin-arm64", binary]
    ])
    assert.deepStrictEqual(complete(lock), { lock, fixable: [], problems: [] })
    for (const place of ["node_modules/a/node_modules/tool/node_modules/", "node_modules/a/node_modules/"]) {
      const packages = { "node_modules/a/node_modules/tool": tool, [`${place}tool-darwin-arm64`]: binary }
      assert.deepStrictEqual(complete({ packages }).fixable, [])
    }
  })

  it("takes addresses out, and says what it cannot mend", () => {
    const optionalDependencies = { fsevents: "~2.3.3" }
    const { fixable, lock, problems } = complete({
      packages: {
        "node_modules/a": { version: "1.0.0", resolved: "https://registry.example/a.tgz", optionalDependencies }
      }
    })
    assert.deepStrictEqual(lock.packages["node_modules/a"], { version: "1.0.0", optionalDependencies })
    assert.include(fixable.join(), "registry.example")
    assert.include(problems.join(), "fsevents@~2.3.3")
  })
})
