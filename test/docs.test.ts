/**
 * Every TypeScript block of the documentation, and of the comments in `src`, compiles, and those marked `run` run.
 *
 *     ```ts                      type-checked
 *     ```ts run                  and run; a block with the tag `output` after it holds what it prints
 *     ```ts skip-check reason    deliberately neither
 *
 * A block whose first line is `// file: name.ts` can be imported by the page's other blocks as `./name.ts`.
 */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

interface Block {
  readonly page: string
  /** Of the first line of code, counted from 1. */
  readonly line: number
  readonly code: string
  /** Where it is written, below the folder of all blocks. */
  readonly file: string
  readonly run: boolean
  readonly skipped: boolean
  readonly output: string | undefined
}

/** The TypeScript blocks of a page. Throws on a fence that would silently not be checked. */
const blocksOf = (page: string, text: string): ReadonlyArray<Block> => {
  const lines = text.split(/\r?\n/)
  const out: Array<Block> = []
  let i = 0
  while (i < lines.length) {
    const open = /^(\s*)(`{3,}|~{3,})\s*(.*)$/.exec(lines[i]!)
    i++
    if (!open) continue
    const [, indent, fence, info] = open as unknown as readonly [string, string, string, string]
    const start = i
    while (i < lines.length && lines[i]!.trim() !== fence) i++
    if (i === lines.length) throw new Error(`${page}:${start}: the block is never closed`)
    const code = lines.slice(start, i).map((line) => line.startsWith(indent) ? line.slice(indent.length) : line).join(
      "\n"
    )
    i++
    const [language = "", tag = "", ...rest] = info.split(/\s+/)
    if (tag === "output") {
      const last = out.at(-1)
      if (!last?.run) throw new Error(`${page}:${start}: output follows no block that runs`)
      out[out.length - 1] = { ...last, output: code }
    }
    if (/^(typescript|tsx|mts|js|javascript|mjs)$/i.test(language) || (/^ts$/i.test(language) && language !== "ts")) {
      throw new Error(`${page}:${start}: write ts instead of ${language}, so that the block is checked`)
    }
    if (language !== "ts") continue
    if (!["", "run", "skip-check"].includes(tag)) throw new Error(`${page}:${start}: there is no tag ${tag}`)
    if (tag === "skip-check" && rest.length === 0) throw new Error(`${page}:${start}: say why the block is not checked`)
    const name = /^\/\/ file: ([\w-]+\.ts)\s*$/m.exec(code.split("\n")[0]!)?.[1] ?? `line-${start + 1}.ts`
    const file = join(page.replace(/\.\w+$/, ""), name)
    if (out.some((block) => block.file === file)) throw new Error(`${page}:${start}: there is a ${name} already`)
    out.push({
      page,
      line: start + 1,
      code,
      file,
      run: tag === "run",
      skipped: tag === "skip-check",
      output: undefined
    })
  }
  return out
}

/** What a source's comments say, line by line, as a page. */
const commentsOf = (source: string): string =>
  source.split("\n").map((line) => /^\s*\* ?(.*)$/.exec(line)?.[1] ?? "").join("\n")

const root = fileURLToPath(new URL("..", import.meta.url))

const command = (args: ReadonlyArray<string>, cwd: string) =>
  new Promise<{ readonly ok: boolean; readonly stdout: string; readonly all: string }>((resolve) => {
    const options = { cwd, encoding: "utf8", timeout: 60_000 } as const
    execFile(process.execPath, args, options, (error, stdout, stderr) => {
      resolve({ ok: error === null, stdout, all: stdout + stderr + (error?.killed ? "\nkilled after 60 s" : "") })
    })
  })

/** Writes the blocks, each at the line numbers of its page, so that what the compiler says can be looked up there. */
const write = (folder: string, blocks: ReadonlyArray<Block>) => {
  mkdirSync(folder, { recursive: true })
  for (const { code, file, line, skipped } of blocks) {
    if (skipped) continue
    mkdirSync(join(folder, dirname(file)), { recursive: true })
    writeFileSync(join(folder, file), `${"\n".repeat(line - 1)}${code}\n`)
  }
  const options = { noUnusedLocals: false, rootDir: root }
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({ extends: "../../tsconfig.json", compilerOptions: options, include: ["**/*.ts"], exclude: [] })
  )
}

/** What the compiler says about the blocks of a folder; nothing if all is well. */
const compile = async (folder: string) => {
  const { all, ok } = await command(
    [join(root, "node_modules/typescript/bin/tsc"), "-p", folder, "--pretty", "false"],
    root
  )
  return ok ? "" : all.trim() || "the compiler failed"
}

const run = async (folder: string, { file, output }: Block) => {
  // Programs leave their files here, not in the project.
  const cwd = mkdtempSync(join(tmpdir(), "effect-opossum-docs-"))
  try {
    const { all, ok, stdout } = await command(["--import", join(root, "scripts/source.ts"), join(folder, file)], cwd)
    if (!ok) return all.trim() || "it failed"
    return output === undefined || stdout.trimEnd() === output.trimEnd() ? "" : `it printed:\n${stdout}`
  } finally {
    rmSync(cwd, { recursive: true, force: true })
  }
}

const inFolder = async <A>(name: string, blocks: ReadonlyArray<Block>, use: (folder: string) => Promise<A>) => {
  const folder = join(root, ".tmp", name)
  write(folder, blocks)
  try {
    return await use(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("the documentation", () => {
  const pages = globSync(["*.md", "docs/**/*.md"], { cwd: root }).sort()
  const read = (page: string) => readFileSync(join(root, page), "utf8")
  const blocks = [
    ...pages.flatMap((page) => blocksOf(page, read(page))),
    ...globSync("src/**/*.ts", { cwd: root }).sort().flatMap((file) => blocksOf(file, commentsOf(read(file))))
  ]
  const folder = join(root, ".tmp", `docs-${process.pid}`)

  beforeAll(() => write(folder, blocks))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("its blocks compile", async () => {
    assert.strictEqual(blocks.some((block) => !block.skipped) ? await compile(folder) : "", "")
  }, 120_000)

  for (const block of blocks.filter((block) => block.run)) {
    it(`${block.page}:${block.line} runs`, async () => {
      assert.strictEqual(await run(folder, block), "")
    }, 90_000)
  }
})

describe("what checks the documentation", () => {
  const page = (...lines: ReadonlyArray<string>) => blocksOf("page.md", lines.join("\n"))

  it("notices what does not compile, with the page's line, and follows names and sub-modules", async () => {
    const blocks = page(
      "# Page",
      "```ts",
      "// file: one.ts",
      `import * as Tag from "effect-opossum/Tag"`,
      `export const one: string = Tag.make("course", "c1")`,
      "```",
      "```ts",
      `import { one } from "./one.ts"`,
      "export const two: number = one",
      "```",
      "```ts skip-check it shows a mistake",
      "const three: number = true",
      "```"
    )
    const said = await inFolder(`docs-check-${process.pid}`, blocks, compile)
    assert.match(said, /page\/line-8\.ts\(9,14\): error TS2322/)
    assert.strictEqual(said.split("error").length, 2)
  }, 120_000)

  it("notices what fails and what prints something else", async () => {
    const blocks = page(
      "```ts run",
      `import * as Tag from "effect-opossum/Tag"`,
      `console.log(Tag.make("course", "c1"))`,
      "```",
      "```text output",
      "course:c1",
      "```",
      "~~~ts run",
      `console.log("one")`,
      "~~~",
      "```text output",
      "two",
      "```",
      "```ts run",
      `throw new Error("on purpose")`,
      "```"
    )
    const said = await inFolder(`docs-run-${process.pid}`, blocks, async (folder) => {
      const out: Array<string> = []
      for (const block of blocks) out.push(await run(folder, block))
      return out
    })
    assert.strictEqual(said[0], "")
    assert.strictEqual(said[1], "it printed:\none\n")
    assert.include(said[2]!, "on purpose")
  }, 120_000)

  it("finds blocks in comments, at their lines", () => {
    const source = ["/** One. */", "const a = `", "```ts", "`", "/**", " * ```ts", " *   const b = 1", " * ```", " */"]
    const [block, ...others] = blocksOf("src/Tag.ts", commentsOf(source.join("\n")))
    assert.deepStrictEqual(others, [])
    assert.strictEqual(block?.code, "  const b = 1")
    assert.strictEqual(block?.file, "src/Tag/line-7.ts")
  })

  const refused = (what: string, words: string, ...lines: ReadonlyArray<string>) =>
    it(`refuses ${what}`, () => {
      assert.throws(() => page(...lines), words)
    })
  refused("another name for ts", "write ts instead of typescript", "```typescript", "```")
  refused("an unknown tag", "there is no tag runs", "```ts runs", "```")
  refused("a block without a reason", "say why", "```ts skip-check", "```")
  refused("two files of one name", "already", "```ts", "// file: a.ts", "```", "```ts", "// file: a.ts", "```")
  refused("a block without an end", "never closed", "```ts", "const a = 1")
  refused("output of nothing", "follows no block", "```ts", "```", "```text output", "```")
})
