/** `node --import ./test/soak/mutantHook.ts` runs a program with modules replaced: `OPOSSUM_MUTANT` is a folder that names them. */
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { join } from "node:path"

const folder = process.env["OPOSSUM_MUTANT"]
const replaced: Record<string, string> = folder === undefined
  ? {}
  : JSON.parse(readFileSync(join(folder, "modules.json"), "utf8"))

registerHooks({
  load: (url, context, next) => {
    const source = replaced[url]
    return source === undefined ? next(url, context) : { format: "module-typescript", source, shortCircuit: true }
  }
})
