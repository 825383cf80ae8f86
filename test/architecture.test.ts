/**
 * Which room of `src` may import what. The rule in one line: the domain knows no services, services know no layers, nothing knows
 * how it is tested, and only layers (and helpers) know that there is Node.
 */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { type Import, importsOf } from "../scripts/imports.ts"

type Room = "index" | "domain" | "internal" | "services" | "layers" | "testing"

const roomOf = (file: string): Room | undefined => {
  if (file === "src/index.ts") return "index"
  if (/^src\/[^/]+\.ts$/.test(file)) return "domain"
  return (/^src\/(internal|services|layers|testing)\/.+\.ts$/.exec(file)?.[1]) as Room | undefined
}

/** The rooms that a room may import from. What it may come to by way of `internal`, see `reached`. */
const allowed: { readonly [R in Room]: ReadonlyArray<Room> } = {
  index: ["domain", "services", "layers"],
  domain: ["domain", "internal"],
  internal: ["domain", "internal", "services"],
  services: ["domain", "internal", "services"],
  layers: ["domain", "internal", "services", "layers"],
  testing: ["domain", "internal", "services", "layers", "testing"]
}

const knowsNode: ReadonlyArray<Room> = ["internal", "layers", "testing"]

/** The one file that loads proper-lockfile: it patches the global `fs.close`, so nobody else should pay for it. */
const lockFile = "src/layers/LockFile.ts"

/** What is wrong with an import, in words; `undefined` if nothing is. */
const problem = (file: string, { dynamic, specifier, typeOnly }: Import): string | undefined => {
  const room = roomOf(file)
  if (room === undefined) return "the file lies in no room of src"
  if (specifier.startsWith(".")) {
    const target = sourceAt(file, specifier)
    const there = roomOf(target)
    if (!target.endsWith(".ts")) return "a relative import names its file, with .ts"
    if (there === undefined) return "it lies in no room of src"
    if (there === "index") return "nothing in src imports its index"
    return allowed[room].includes(there) ? undefined : `${room} does not import ${there}`
  }
  if (specifier.startsWith("node:")) {
    return knowsNode.includes(room) ? undefined : `${room} does not know Node: put it in layers or internal`
  }
  if (specifier === "effect") return "import the sub-module, e.g. effect/Effect"
  if (specifier.startsWith("effect/")) return undefined
  if (specifier === "proper-lockfile") {
    if (file !== lockFile) return `only ${lockFile} uses proper-lockfile`
    return typeOnly || dynamic ? undefined : "proper-lockfile is loaded lazily: await import(...)"
  }
  if (room === "testing" && specifier === "@effect/vitest") return undefined
  return "the package does not depend on it"
}

const sourceAt = (file: string, specifier: string) => join(dirname(file), specifier).replaceAll("\\", "/")

/** A helper may know services or Node, but then neither the domain nor services (Node) may come to it by way of helpers. */
const reached = (file: string, read: (file: string) => string): ReadonlyArray<string> => {
  const room = roomOf(file)
  if (room !== "domain" && room !== "services") return []
  const problems: Array<string> = []
  const visit = (at: string, way: ReadonlyArray<string>) => {
    for (const { dynamic, specifier, typeOnly } of importsOf(read(at), at)) {
      if (typeOnly || dynamic) continue
      const next = sourceAt(at, specifier)
      const there = specifier.startsWith(".") ? roomOf(next) : undefined
      const path = [...way, specifier.startsWith(".") ? next : specifier]
      if (specifier.startsWith("node:") && at !== file) problems.push(`${path.join(" > ")}: ${room} comes to Node`)
      if (there === "services" && room === "domain") problems.push(`${path.join(" > ")}: domain comes to services`)
      if (there === "internal" && !way.includes(next)) visit(next, path)
    }
  }
  visit(file, [file])
  return problems
}

/** All that is wrong with a file, each with its place. */
const check = (file: string, source: string): ReadonlyArray<string> =>
  importsOf(source, file).flatMap((found) => {
    const wrong = problem(file, found)
    return wrong === undefined ? [] : [`${file}:${found.line}: ${found.specifier}: ${wrong}`]
  })

const root = fileURLToPath(new URL("..", import.meta.url))

describe("imports between rooms", () => {
  const files = globSync("src/**/*.ts", { cwd: root }).map((file) => file.replaceAll("\\", "/")).sort()

  it("there are files to look at, each in a room", () => {
    assert.include(files, "src/Event.ts")
    assert.include(files, "src/services/Storage.ts")
    assert.deepStrictEqual(files.filter((file) => roomOf(file) === undefined), [])
  })

  it("src keeps the rules", () => {
    const read = (file: string) => readFileSync(join(root, file), "utf8")
    assert.strictEqual(files.flatMap((file) => [...check(file, read(file)), ...reached(file, read)]).join("\n"), "")
  })
})

describe("the rules", () => {
  const refused = (file: string, source: string, words: string) =>
    it(`${file} must not: ${source}`, () => {
      const problems = check(file, source)
      assert.strictEqual(problems.length, 1)
      assert.include(problems[0]!, words)
    })
  const granted = (file: string, source: string) =>
    it(`${file} may: ${source}`, () => assert.deepStrictEqual(check(file, source), []))

  refused("src/Tag.ts", `import { Storage } from "./services/Storage.ts"`, "domain does not import services")
  refused("src/Tag.ts", `import type { Storage } from "./services/Storage.ts"`, "domain does not import services")
  refused("src/Tag.ts", `import * as fs from "node:fs"`, "does not know Node")
  refused("src/Tag.ts", `export * from "./index.ts"`, "imports its index")
  refused("src/Tag.ts", `import * as Query from "./Query"`, "names its file")
  refused("src/Tag.ts", `import { Effect } from "effect"`, "the sub-module")
  refused("src/Tag.ts", `import type { Effect } from "effect"`, "the sub-module")
  refused(
    "src/services/Lock.ts",
    `import * as LockFile from "../layers/LockFile.ts"`,
    "services does not import layers"
  )
  refused(
    "src/services/Lock.ts",
    `const layer = () => import("../layers/LockFile.ts")`,
    "services does not import layers"
  )
  refused("src/services/Lock.ts", `export { readFileSync } from "node:fs"`, "does not know Node")
  refused(
    "src/internal/text.ts",
    `import * as LockFile from "../layers/LockFile.ts"`,
    "internal does not import layers"
  )
  refused("src/internal/text.ts", `import type { Scenario } from "../testing/Scenario.ts"`, "does not import testing")
  refused("src/layers/X.ts", `import * as Faulty from "../testing/StorageFaulty.ts"`, "layers does not import testing")
  refused("src/layers/X.ts", `import { NodeFileSystem } from "@effect/platform-node"`, "does not depend on it")
  refused("src/layers/X.ts", `import { it } from "@effect/vitest"`, "does not depend on it")
  refused("src/layers/X.ts", `const lockfile = await import("proper-lockfile")`, "only src/layers/LockFile.ts")
  refused("src/layers/X.ts", `import * as Tag from "../../test/Tag.ts"`, "no room of src")
  refused("src/layers/LockFile.ts", `import * as lockfile from "proper-lockfile"`, "loaded lazily")
  refused("src/index.ts", `export * as Scenario from "./testing/Scenario.ts"`, "index does not import testing")
  refused("src/other/X.ts", `import * as Effect from "effect/Effect"`, "no room of src")

  granted("src/Tag.ts", `import * as Schema from "effect/Schema"`)
  granted("src/Tag.ts", `import { isWellFormed } from "./internal/text.ts"`)
  granted("src/internal/text.ts", `import { StorageError } from "../services/Storage.ts"`)
  granted("src/internal/text.ts", `import * as crypto from "node:crypto"`)
  granted("src/services/Lock.ts", `import * as Position from "../Position.ts"`)
  granted("src/layers/LockFile.ts", `const lockfile = await import("proper-lockfile")`)
  granted("src/layers/LockFile.ts", `import type { LockOptions } from "proper-lockfile"`)
  granted("src/testing/Conformance.ts", `import { it } from "@effect/vitest"`)
  granted("src/index.ts", `export * as Lock from "./services/Lock.ts"`)

  it("the domain comes to no service, and services to no Node, by way of helpers either", () => {
    const sources: { readonly [file: string]: string } = {
      "src/Tag.ts": `import * as a from "./internal/a.ts"`,
      "src/Query.ts": `import type * as a from "./internal/a.ts"\nimport * as d from "./internal/d.ts"`,
      "src/services/Lock.ts": `import * as b from "../internal/b.ts"\nimport * as c from "../internal/c.ts"`,
      "src/internal/a.ts": `import * as b from "./b.ts"`,
      "src/internal/b.ts": `import * as a from "./a.ts"\nimport { StorageError } from "../services/Storage.ts"`,
      "src/internal/c.ts": `import * as crypto from "node:crypto"`,
      "src/internal/d.ts": `import type * as fs from "node:fs"`
    }
    assert.deepStrictEqual(Object.keys(sources).flatMap((file) => reached(file, (at) => sources[at]!)), [
      "src/Tag.ts > src/internal/a.ts > src/internal/b.ts > src/services/Storage.ts: domain comes to services",
      "src/services/Lock.ts > src/internal/c.ts > node:crypto: services comes to Node"
    ])
  })
})
