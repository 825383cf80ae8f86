/**
 * Weakened variants of real code, so that a test can show that it would notice: without any switch for tests in `src`.
 *
 * A patch names a file, a piece of text that occurs in it exactly once, and what stands there instead. Patches lie in
 * `test/support/mutants/*.ts`, each of which exports an object `patches`. With the plugin below,
 *
 *     const { Ledger } = await mutant<typeof import("../src/layers/X.ts")>("src/layers/X.ts", "no-sync")
 *
 * loads `X.ts` with the patch in it, or, if the patch is in a module that `X.ts` imports (over whatever distance), a copy of
 * `X.ts` and of the modules on the way to it. All other modules are shared with the real ones. An `import` statement works as
 * well: `import("../src/layers/X.ts?mutant=no-sync")`.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Plugin } from "vitest/config"
import { importsOf } from "../../scripts/imports.ts"

// models

export interface Patch {
  /** From the project's root, e.g. `src/layers/LedgerLive.ts`. */
  readonly file: string
  /** Must occur exactly once in the file, so that a patch that no longer fits is noticed. */
  readonly find: string
  readonly replace: string
}

export interface Patches {
  readonly [name: string]: Patch
}

// patching

/** The source with the patch applied. Throws unless the text to find occurs exactly once, and the patch changes it. */
export const apply = (name: string, patch: Patch, source: string): string => {
  const occurrences = patch.find === "" ? 0 : source.split(patch.find).length - 1
  if (occurrences !== 1) {
    throw new Error(`mutant ${name}: its text to find occurs ${occurrences} times in ${patch.file}, not once`)
  }
  if (patch.find === patch.replace) throw new Error(`mutant ${name}: it changes nothing`)
  return source.replace(patch.find, () => patch.replace)
}

/** What a module imports by a relative path and at run time, kept for as long as the file stays as it is: parsing takes most of the time. */
const relativeImports = (file: string): ReadonlyArray<string> => {
  const { mtimeMs } = statSync(file)
  const known = parsed.get(file)
  if (known?.mtimeMs === mtimeMs) return known.imports
  const imports = importsOf(readFileSync(file, "utf8"), file)
    .filter(({ specifier, typeOnly }) => !typeOnly && specifier.startsWith("."))
    .map(({ specifier }) => resolve(dirname(file), specifier))
  parsed.set(file, { mtimeMs, imports })
  return imports
}
const parsed = new Map<string, { readonly mtimeMs: number; readonly imports: ReadonlyArray<string> }>()

/** Whether a module is the target, or imports it over whatever distance. */
const reaches = (from: string, target: string, seen = new Set<string>()): boolean => {
  if (from === target) return true
  if (seen.has(from) || !existsSync(from)) return false
  seen.add(from)
  return relativeImports(from).some((file) => reaches(file, target, seen))
}

// plugin

const query = /\?mutant=([\w.-]+)$/

export const mutants = (options: { readonly root: string; readonly patches: Patches }): Plugin => {
  const find = (name: string) => {
    const patch = options.patches[name]
    if (!patch) {
      throw new Error(`there is no mutant ${name}: known are ${Object.keys(options.patches).join(", ") || "none"}`)
    }
    return { patch, target: resolve(options.root, patch.file) }
  }
  return {
    name: "mutants",
    enforce: "pre",
    // Vitest keeps transformed modules on disk by their source, which does not change with a patch: an older one would be run.
    configureVitest: ({ defineCacheKeyGenerator }) =>
      defineCacheKeyGenerator(({ id }) => query.test(id) ? false : undefined),
    resolveId(source, importer) {
      const asked = query.exec(source)
      const inherited = importer === undefined ? null : query.exec(importer)
      const name = asked?.[1] ?? inherited?.[1]
      if (name === undefined) return null
      const path = source.replace(query, "")
      if (!path.startsWith(".") && !path.startsWith("/")) return null
      const folder = importer === undefined ? options.root : dirname(importer.replace(query, ""))
      const file = path.startsWith(".")
        ? resolve(folder, path)
        // Vite writes paths in the project as if the project were the root folder.
        : existsSync(path)
        ? path
        : resolve(options.root, `.${path}`)
      const { target } = find(name)
      if (reaches(file, target)) return `${file}?mutant=${name}`
      if (asked) throw new Error(`mutant ${name}: ${file} does not import ${target}, so it would be the real module`)
      return null
    },
    load(id) {
      const asked = query.exec(id)
      if (!asked) return null
      const file = id.replace(query, "")
      const { patch, target } = find(asked[1]!)
      this.addWatchFile(file)
      const source = readFileSync(file, "utf8")
      return file === target ? apply(asked[1]!, patch, source) : source
    }
  }
}

/** All patches of a folder. Throws if two have the same name. */
export const loadPatches = async (folder: string): Promise<Patches> => {
  const all: { [name: string]: Patch } = {}
  if (!existsSync(folder)) return all
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts")).sort()) {
    const { patches } = await import(pathToFileURL(resolve(folder, file)).href) as { readonly patches: Patches }
    for (const [name, patch] of Object.entries(patches)) {
      if (name in all) throw new Error(`two mutants have the name ${name}: one is in ${file}`)
      all[name] = patch
    }
  }
  return all
}

// for tests

const root = fileURLToPath(new URL("../..", import.meta.url))

/** A module (its path from the project's root) with a patch in it or in what it imports. */
export const mutant = <Module>(path: string, name: string): Promise<Module> =>
  import(/* @vite-ignore */ `${resolve(root, path)}?mutant=${name}`) as Promise<Module>
