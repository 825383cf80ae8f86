/**
 * Which room of `src` may import what. The rule in one line: helpers know nothing, the domain knows no services, services know no
 * layers, nobody but layers knows their parts or Node, and nothing knows how it is tested.
 */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { type Import, importsOf } from "../scripts/imports.ts"

type Room = "index" | "internal" | "domain" | "services" | "parts" | "layers" | "testing"

const roomOf = (file: string): Room | undefined => {
  if (file === "src/index.ts") return "index"
  if (/^src\/[^/]+\.ts$/.test(file)) return "domain"
  if (/^src\/layers\/internal\/[^/]+\.ts$/.test(file)) return "parts"
  if (/^src\/testing\/conformance\/[^/]+\.ts$/.test(file)) return "testing"
  return (/^src\/(internal|services|layers|testing)\/[^/]+\.ts$/.exec(file)?.[1]) as Room | undefined
}

/** The rooms that a room may import from. */
const allowed: { readonly [R in Room]: ReadonlyArray<Room> } = {
  index: ["domain", "services", "layers"],
  internal: ["internal"],
  domain: ["domain", "internal"],
  services: ["domain", "internal", "services"],
  parts: ["domain", "internal", "services", "parts"],
  layers: ["domain", "internal", "services", "parts", "layers"],
  testing: ["domain", "internal", "services", "parts", "layers", "testing"]
}

const knowsNode: ReadonlyArray<Room> = ["parts", "layers", "testing"]

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
    return knowsNode.includes(room) ? undefined : `${room} does not know Node: put it in layers or their parts`
  }
  if (specifier === "effect") return "import the sub-module, e.g. effect/Effect"
  if (specifier.startsWith("effect/")) return undefined
  if (specifier === "proper-lockfile") {
    if (file !== lockFile) return `only ${lockFile} uses proper-lockfile`
    return typeOnly || dynamic ? undefined : "proper-lockfile is loaded lazily: await import(...)"
  }
  return "the package does not depend on it"
}

const sourceAt = (file: string, specifier: string) => join(dirname(file), specifier).replaceAll("\\", "/")

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
    const problems = files.flatMap((file) => check(file, readFileSync(join(root, file), "utf8")))
    assert.strictEqual(problems.join("\n"), "")
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
  refused("src/internal/text.ts", `import type * as Tag from "../Tag.ts"`, "internal does not import domain")
  refused("src/internal/text.ts", `import { StorageError } from "../services/Storage.ts"`, "does not import services")
  refused("src/internal/text.ts", `import * as crypto from "node:crypto"`, "does not know Node")
  refused(
    "src/services/Lock.ts",
    `import * as host from "../layers/internal/host.ts"`,
    "services does not import parts"
  )
  refused("src/index.ts", `export * as History from "./layers/internal/History.ts"`, "index does not import parts")
  refused("src/layers/internal/x.ts", `import * as LockFile from "../LockFile.ts"`, "parts does not import layers")
  refused("src/layers/X.ts", `import * as Faulty from "../testing/StorageFaulty.ts"`, "layers does not import testing")
  refused("src/layers/X.ts", `import { NodeFileSystem } from "@effect/platform-node"`, "does not depend on it")
  refused("src/layers/X.ts", `import { it } from "@effect/vitest"`, "does not depend on it")
  refused("src/testing/Conformance.ts", `import { it } from "vitest"`, "does not depend on it")
  refused("src/layers/X.ts", `const lockfile = await import("proper-lockfile")`, "only src/layers/LockFile.ts")
  refused("src/layers/X.ts", `import * as Tag from "../../test/Tag.ts"`, "no room of src")
  refused("src/layers/LockFile.ts", `import * as lockfile from "proper-lockfile"`, "loaded lazily")
  refused("src/index.ts", `export * as Scenario from "./testing/Scenario.ts"`, "index does not import testing")
  refused("src/other/X.ts", `import * as Effect from "effect/Effect"`, "no room of src")

  granted("src/Tag.ts", `import * as Schema from "effect/Schema"`)
  granted("src/Tag.ts", `import { isWellFormed } from "./internal/text.ts"`)
  granted("src/internal/text.ts", `import * as limits from "./limits.ts"`)
  granted("src/layers/internal/x.ts", `import { StorageError } from "../../services/Storage.ts"`)
  granted("src/layers/internal/x.ts", `import * as crypto from "node:crypto"`)
  granted("src/layers/X.ts", `import * as History from "./internal/History.ts"`)
  granted("src/testing/X.ts", `import * as part from "../layers/internal/x.ts"`)
  granted("src/services/Lock.ts", `import * as Position from "../Position.ts"`)
  granted("src/layers/LockFile.ts", `const lockfile = await import("proper-lockfile")`)
  granted("src/layers/LockFile.ts", `import type { LockOptions } from "proper-lockfile"`)
  granted("src/testing/conformance/x.ts", `import { AssertionError } from "../assertionError.ts"`)
  granted("src/index.ts", `export * as Lock from "./services/Lock.ts"`)
})
