/** Weakened code that a soak must notice; and what it need not, as nothing depends on it. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { apply, loadPatches } from "../support/mutants.ts"

export interface Mutant {
  /** Of `test/support/mutants`. */
  readonly patches: ReadonlyArray<string>
  readonly expected: "noticed" | "harmless"
}

export const mutants: { readonly [name: string]: Mutant } = {
  /** Two write at once, all the time; the ledger is right all the same. */
  "lock-released-early": { patches: ["soak-lock-released-early"], expected: "harmless" },
  "lock-released-early-and-no-look": {
    patches: ["soak-lock-released-early", "ledger-no-check"],
    expected: "noticed"
  },
  "conditions-lag": { patches: ["soak-conditions-lag"], expected: "noticed" },
  "index-loses-a-posting": { patches: ["soak-index-loses-a-posting"], expected: "noticed" },
  "acknowledged-before-written": { patches: ["soak-acknowledged-before-written"], expected: "noticed" },
  "projection-counts-again": { patches: ["soak-projection-counts-again"], expected: "noticed" },
  "subscription-skips": { patches: ["store-subscription-skips"], expected: "noticed" },
  "retries-are-stored-again": { patches: ["soak-retries-are-stored-again"], expected: "noticed" },
  "tags-do-not-conflict": { patches: ["soak-tags-do-not-conflict"], expected: "noticed" },
  /** Best tried with little `--patience`. */
  "an-append-is-not-answered": { patches: ["soak-an-append-is-not-answered"], expected: "noticed" }
}

const root = fileURLToPath(new URL("../..", import.meta.url))
const patches = await loadPatches(join(root, "test/support/mutants"))

/** What a mutant's modules are made of, by their addresses. */
export const modulesOf = (name: string): Readonly<Record<string, string>> => {
  const modules: Record<string, string> = {}
  for (const patchName of mutants[name]!.patches) {
    const patch = patches[patchName]
    if (patch === undefined) throw new Error(`there is no patch ${patchName}`)
    const file = join(root, patch.file)
    const url = pathToFileURL(file).href
    modules[url] = apply(patchName, patch, modules[url] ?? readFileSync(file, "utf8"))
  }
  return modules
}

/** Makes processes run the mutant. */
export const makeMutant = (name: string, folder: string) => {
  const place = join(folder, "mutant")
  mkdirSync(place, { recursive: true })
  writeFileSync(join(place, "modules.json"), JSON.stringify(modulesOf(name)))
  return {
    execArgv: ["--import", new URL("mutantHook.ts", import.meta.url).href],
    env: { OPOSSUM_MUTANT: place }
  }
}
