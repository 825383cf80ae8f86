/** That the page of guarantees is true to the repository: whatever it names as a proof, a rule or a mutant exists. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, globSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { rules } from "../src/testing/Conformance.ts"
import { loadPatches } from "./support/mutants.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const page = "docs/guarantees.md"
const text = readFileSync(join(root, page), "utf8")

interface Row {
  readonly promise: string
  readonly proofs: string
  readonly mutants: string
}

const header = "| promise | proven by | broken by |"

/** The rows of all tables of promises. */
const rows: ReadonlyArray<Row> = text.split(header).slice(1).flatMap((rest) =>
  rest.slice(0, rest.indexOf("\n\n")).split("\n").filter((line) => line.startsWith("| ")).map((line) => {
    const [promise = "", proofs = "", mutants = ""] = line.split(" | ").map((cell) => cell.replace(/^\| | \|$/g, ""))
    return { promise, proofs, mutants }
  })
)

const code = (cell: string): ReadonlyArray<string> => Array.from(cell.matchAll(/`([^`]+)`/g), ([, name]) => name!)
const links = Array.from(text.matchAll(/\[([^\]]+)\]\(([^)#]+)\)/g), ([, name, path]) => [name!, path!] as const)
/** What a proof may be called, once it was linked. */
const known = new Map(links.filter(([, path]) => path.includes("test")))
const ids = new Set(rules.map(({ id }) => id))
/** What tests say; a patch alone is no proof that anything notices it. */
const tests = globSync("test/**/*.ts", { cwd: root })
  .filter((file) => !/test\/(support\/mutants|types|guarantees)|test\/soak\/mutants/.test(file))
  .map((file) => readFileSync(join(root, file), "utf8"))
  .join("\n")
/** Where all of a file's patches are tried one after another. */
const triedWhole = globSync("test/support/mutants/*.ts", { cwd: root })
  .filter((file) => tests.includes(`import { patches } from "../${file.slice("test/".length)}"`))
  .map((file) => readFileSync(join(root, file), "utf8"))
  .join("\n")
const isTried = (mutant: string) =>
  triedWhole.includes(`"${mutant}": {`) ||
  [mutant, mutant.slice(mutant.indexOf("-") + 1)].some((name) =>
    tests.includes(`"${name}"`) || new RegExp(`^\\s+"?${name}"?: `, "m").test(tests)
  )

describe("docs/guarantees.md", () => {
  it("has rows", () => assert.isAbove(rows.length, 40))

  it("counts rules and mutants", async () => {
    const controls = /control|does-not-fit|lock-other-words/
    const mutants = Object.keys(await loadPatches(join(root, "test/support/mutants"))).filter((name) =>
      !controls.test(name)
    )
    assert.include(text, `| rules of the kit | ${rules.length},`)
    assert.include(text, `| mutants | ${mutants.length}:`)
  })

  it("links to what exists", () => {
    const broken = links.filter(([, path]) => !existsSync(join(root, dirname(page), path)))
    assert.deepStrictEqual(broken, [])
  })

  for (const { mutants, promise, proofs } of rows) {
    it(`proves: ${promise.slice(0, 70)}`, async () => {
      const families = code(proofs).filter((name) => name.endsWith("-"))
      for (const family of families) assert.isTrue([...ids].some((id) => id.startsWith(family)), family)
      const named = code(proofs).filter((name) => !name.endsWith("-"))
      assert.deepStrictEqual(named.filter((name) => !ids.has(name)), [], "no rules of the conformance kit")
      const words = proofs.replace(/\(.*?\)/g, "").replace(/the `[^`]+` and `[^`]+` rules|`[^`]+`/g, "")
      const tests = words.split(/[,;]/).map((word) => word.replace(/[[\]]/g, "").trim()).filter((word) => word !== "")
      assert.deepStrictEqual(tests.filter((name) => !known.has(name)), [], "no tests that the page links to")
      assert.isAbove(named.length + tests.length + families.length, 0)

      const patches = await loadPatches(join(root, "test/support/mutants"))
      assert.isAbove(code(mutants).length, 0, "no mutant")
      assert.deepStrictEqual(code(mutants).filter((name) => !(name in patches)), [], "no mutants")
      assert.deepStrictEqual(code(mutants).filter((name) => !isTried(name)), [], "no test tries them")
    })
  }
})
