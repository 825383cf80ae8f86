/**
 * What package-lock.json needs so that `npm ci` works everywhere, and whether it is so (`--check`).
 *
 * - No address of a registry: each machine uses its own (`omit-lockfile-registry-resolved` in .npmrc).
 * - The binaries of all platforms. Which of them npm writes down depends on the machine, and on what its registry has; a newer
 *   npm then refuses the file elsewhere as "not in sync". Those that are missing are added from the exact version that their
 *   package asks for, and the platform in their name.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

interface Entry {
  readonly version?: string
  readonly resolved?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly optionalDependencies?: { readonly [name: string]: string }
  readonly cpu?: ReadonlyArray<string>
  readonly os?: ReadonlyArray<string>
  readonly libc?: ReadonlyArray<string>
}

export interface Lock {
  readonly packages: { readonly [path: string]: Entry }
}

/** What the name of a package with a binary says about where it runs; `undefined` if it says nothing. */
export const platformOf = (name: string): Pick<Entry, "cpu" | "os" | "libc"> | undefined => {
  const part = (pattern: RegExp) => pattern.exec(name)?.[1]
  const os = part(/[-/](aix|android|darwin|freebsd|linux|netbsd|openbsd|openharmony|sunos|win32)(?=-|$)/)
  const cpu = part(/-(arm64|arm|ia32|loong64|ppc64|riscv64|s390x|x64)(?=-|$)/)
  if (os === undefined || cpu === undefined) return undefined
  const libc = os !== "linux" ?
    undefined
    : /-musl/.test(name)
    ? "musl"
    : /-(gnu|glibc)/.test(name)
    ? "glibc"
    : undefined
  return { cpu: [cpu], ...(libc === undefined ? {} : { libc: [libc] }), os: [os] }
}

/** Where Node looks for a package that is asked for at a path: there, and in each folder above. */
const placesFor = (path: string, name: string): ReadonlyArray<string> => {
  const places = [`${path}/node_modules/${name}`, `node_modules/${name}`]
  for (let at = path.lastIndexOf("/node_modules/"); at > 0; at = path.lastIndexOf("/node_modules/", at - 1)) {
    places.push(`${path.slice(0, at)}/node_modules/${name}`)
  }
  return places
}

/** The lock as it should be, and what was wrong with it. `fixable` problems are gone from the result. */
export const complete = (
  lock: Lock
): { readonly lock: Lock; readonly fixable: ReadonlyArray<string>; readonly problems: ReadonlyArray<string> } => {
  const packages: { [path: string]: Entry } = {}
  const fixable: Array<string> = []
  const problems: Array<string> = []
  for (const [path, { resolved, ...entry }] of Object.entries(lock.packages)) {
    if (resolved !== undefined) fixable.push(`${path} names the address ${new URL(resolved).host}`)
    packages[path] = entry
  }
  for (const [path, entry] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (placesFor(path, name).some((place) => place in packages)) continue
      const platform = platformOf(name)
      if (platform === undefined || !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) {
        problems.push(`${path} wants ${name}@${version}, which is missing: its version or platform cannot be told`)
        continue
      }
      fixable.push(`${path} wants ${name}@${version}, which is missing`)
      const { cpu, ...others } = platform
      packages[`node_modules/${name}`] = {
        version,
        ...(cpu ? { cpu } : {}),
        ...(entry.dev ? { dev: true } : {}),
        ...(others.libc ? { libc: others.libc } : {}),
        optional: true,
        ...(others.os ? { os: others.os } : {})
      }
    }
  }
  // npm's own order, so that it changes nothing else when it writes the file.
  const order = Object.keys(packages).sort((a, b) => a.localeCompare(b, "en"))
  return {
    lock: { ...lock, packages: Object.fromEntries(order.map((path) => [path, packages[path]!])) },
    fixable,
    problems
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const path = new URL("../package-lock.json", import.meta.url)
  const { fixable, lock, problems } = complete(JSON.parse(readFileSync(path, "utf8")) as Lock)
  const check = process.argv.includes("--check")
  for (const problem of [...problems, ...(check ? fixable : [])]) console.error(problem)
  if (check && fixable.length > 0) console.error("run `npm run lockfile` after `npm install`")
  if (!check) writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`)
  if (problems.length > 0 || (check && fixable.length > 0)) process.exitCode = 1
}
