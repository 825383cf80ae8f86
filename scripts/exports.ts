/**
 * The `exports` of package.json, made from `src/index.ts`: each `export * as Name from "./room/Name.ts"` is `effect-opossum/Name`.
 * The room is not part of the public name, so a file may move between rooms.
 *
 * `node scripts/exports.ts` writes package.json; with `--check` it only says whether package.json is as it should be.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { basename, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { importsOf } from "./imports.ts"

export interface Target {
  readonly types: string
  readonly default: string
}

export interface ExportMap {
  readonly [name: string]: Target | string
}

const target = (source: string): Target => {
  const built = source.replace(/^(?:\.\/)?src\//, "./dist/").replace(/\.ts$/, "")
  return { types: `${built}.d.ts`, default: `${built}.js` }
}

/** The map for an index, and what is wrong with it. `modules` are the files of the public rooms, e.g. `src/layers/X.ts`. */
export const exportMap = (
  index: string,
  modules: ReadonlyArray<string>
): { readonly map: ExportMap; readonly problems: ReadonlyArray<string> } => {
  const problems: Array<string> = []
  const names = new Map<string, string>()
  for (const { exportedAs, line, specifier, typeOnly } of importsOf(index, "src/index.ts")) {
    const at = `src/index.ts:${line}`
    if (exportedAs === undefined || typeOnly) {
      problems.push(`${at}: write "export * as Name from", so that the name is a namespace`)
      continue
    }
    const file = `src/${specifier.replace(/^\.\//, "")}`
    if (basename(file, ".ts") !== exportedAs) problems.push(`${at}: ${exportedAs} is not the name of ${file}`)
    if (names.has(exportedAs)) problems.push(`${at}: ${exportedAs} is exported twice`)
    if (!modules.includes(file)) problems.push(`${at}: ${file} does not exist or is not in a public room`)
    names.set(exportedAs, file)
  }
  const exported = new Set(names.values())
  for (const file of modules) {
    if (!exported.has(file)) {
      problems.push(`${file} is not exported by src/index.ts: export it, or say @internal in its header`)
    }
  }
  const map: { [name: string]: Target | string } = {
    ".": target("src/index.ts"),
    "./testing": target("src/testing/index.ts")
  }
  for (const name of [...names.keys()].sort()) map[`./${name}`] = target(names.get(name)!)
  map["./package.json"] = "./package.json"
  return { map, problems }
}

/** Whether a module's header, its first comment, says that it is for the package alone. */
export const isInternal = (source: string): boolean => /^\s*\/\*\*(?:(?!\*\/)[^])*@internal/.test(source)

const publicModules = (root: string): ReadonlyArray<string> =>
  ["src", "src/services", "src/layers"].flatMap((room) =>
    readdirSync(resolve(root, room))
      .map((name) => `${room}/${name}`)
      .filter((file) => file.endsWith(".ts") && file !== "src/index.ts")
      .filter((file) => !isInternal(readFileSync(resolve(root, file), "utf8")))
  )

const main = (root: string, check: boolean): number => {
  const path = resolve(root, "package.json")
  const { map, problems } = exportMap(readFileSync(resolve(root, "src/index.ts"), "utf8"), publicModules(root))
  for (const problem of problems) console.error(problem)
  const text = readFileSync(path, "utf8")
  const wanted = `${JSON.stringify({ ...JSON.parse(text), exports: map }, null, 2)}\n`
  if (wanted !== text) {
    if (!check) writeFileSync(path, wanted)
    else console.error("package.json: exports are not those of src/index.ts: run `npm run exports`")
  }
  return problems.length > 0 || (check && wanted !== text) ? 1 : 0
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = main(fileURLToPath(new URL("..", import.meta.url)), process.argv.includes("--check"))
}
