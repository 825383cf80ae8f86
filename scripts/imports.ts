/** What a TypeScript source imports, by a real parser. */
import { parseSync } from "oxc-parser"

export interface Import {
  /** As written, e.g. `./Tag.ts`. Of a dynamic import of something other than a string: the expression. */
  readonly specifier: string
  /** Erased by the compiler: nothing is loaded at run time. */
  readonly typeOnly: boolean
  /** `import("...")`, which loads only when it is called. */
  readonly dynamic: boolean
  /** The name of `export * as Name from`. */
  readonly exportedAs?: string | undefined
  readonly line: number
}

/** All imports and re-exports of a source. Throws if it cannot be parsed. */
export const importsOf = (source: string, name = "source.ts"): ReadonlyArray<Import> => {
  const { errors, module } = parseSync(name, source)
  if (errors.length > 0) throw new Error(`${name}: ${errors[0]!.message}`)
  const line = (offset: number) => source.slice(0, offset).split("\n").length
  const out: Array<Import> = []
  for (const { entries, moduleRequest, start } of module.staticImports) {
    out.push({
      specifier: moduleRequest.value,
      typeOnly: entries.length > 0 && entries.every((entry) => entry.isType),
      dynamic: false,
      line: line(start)
    })
  }
  for (const { entries } of module.staticExports) {
    for (const { exportName, importName, isType, moduleRequest, start } of entries) {
      if (!moduleRequest) continue
      out.push({
        specifier: moduleRequest.value,
        typeOnly: isType,
        dynamic: false,
        exportedAs: importName.kind === "All" ? exportName.name ?? undefined : undefined,
        line: line(start)
      })
    }
  }
  for (const { moduleRequest, start } of module.dynamicImports) {
    const text = source.slice(moduleRequest.start, moduleRequest.end)
    const literal = /^(["'`])([^"'`$]*)\1$/.exec(text)
    out.push({ specifier: literal ? literal[2]! : text, typeOnly: false, dynamic: true, line: line(start) })
  }
  return out.sort((a, b) => a.line - b.line)
}
