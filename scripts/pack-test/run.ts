/**
 * Installs the package as users will: packs it, installs the tarball with `effect` into an empty project, then type-checks and
 * runs `program.ts` there, after which the store's files must be there.
 */
import { execFileSync } from "node:child_process"
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url))
const project = mkdtempSync(join(tmpdir(), "effect-opossum-pack-"))

class Failed extends Error {}

/** Runs a command and gives what it printed; throws, with its output, if it fails. */
const run = (cwd: string, command: string, ...args: ReadonlyArray<string>): string => {
  try {
    return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
  } catch (error) {
    const { stderr, stdout } = error as { readonly stderr?: string; readonly stdout?: string }
    throw new Failed(`${command} ${args.join(" ")} failed:\n${stdout ?? ""}${stderr ?? ""}`)
  }
}

const version = (name: string): string =>
  (JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")) as { readonly version: string })
    .version

try {
  // `prepack` builds.
  run(root, "npm", "pack", "--pack-destination", project)
  const tarball = readdirSync(project).find((name) => name.endsWith(".tgz"))
  if (tarball === undefined) throw new Failed("npm pack made no tarball")

  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "somebody", private: true, type: "module" }))
  const others = ["effect", "typescript", "@types/node"].map((name) => `${name}@${version(name)}`)
  run(project, "npm", "install", "--no-audit", "--no-fund", "--prefer-offline", `./${tarball}`, ...others)

  copyFileSync(join(root, "scripts/pack-test/program.ts"), join(project, "program.ts"))
  const compilerOptions = {
    target: "ES2023",
    module: "NodeNext",
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    // A declaration that lacks something would be `any` for users, silently.
    skipLibCheck: false,
    types: ["node"],
    outDir: "out"
  }
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["program.ts"] }))
  run(project, process.execPath, "node_modules/typescript/bin/tsc", "-p", ".")

  const folder = join(project, "data")
  mkdirSync(folder)
  const said = run(project, process.execPath, "out/program.js", folder).trim()
  console.log(said)
  if (!said.endsWith(" 1 thread made event files")) throw new Failed("event files are not made by a thread")
  if (!existsSync(join(folder, "courses/events/0000001/0000001001.json"))) throw new Failed("there are no event files")
  const segment = join(folder, "courses/ledger/0000000001.jsonl")
  if (!existsSync(segment)) throw new Failed(`the store has no ${segment}`)
} catch (error) {
  // What failed has said why: where this script called it is of no interest.
  if (!(error instanceof Failed)) throw error
  console.error(error.message)
  process.exitCode = 1
} finally {
  rmSync(project, { recursive: true, force: true })
}
