/**
 * `node --import ./scripts/source.ts program.ts` runs a program against the sources, unbuilt: `effect-opossum` is `src/index.ts`,
 * `effect-opossum/EventStore` is `src/services/EventStore.ts`, as package.json's `exports` say.
 */
import { readFileSync } from "node:fs"
import { registerHooks } from "node:module"

/** Which source stands for which public name. */
export const sources: ReadonlyMap<string, URL> = (() => {
  const root = new URL("../", import.meta.url)
  const { exports, name } = JSON.parse(readFileSync(new URL("package.json", root), "utf8")) as {
    readonly name: string
    readonly exports: { readonly [path: string]: { readonly default: string } | string }
  }
  const out = new Map<string, URL>()
  for (const [path, target] of Object.entries(exports)) {
    if (typeof target === "string") continue
    const source = target.default.replace("./dist/", "./src/").replace(/\.js$/, ".ts")
    out.set(name + path.slice(1), new URL(source, root))
  }
  return out
})()

registerHooks({
  resolve: (specifier, context, next) => {
    const source = sources.get(specifier)
    return source ? { url: source.href, shortCircuit: true } : next(specifier, context)
  }
})
