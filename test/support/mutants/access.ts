/**
 * Stores that are open to others, lead out of their folder, or give two things one name: see `test/layers/access.test.ts`,
 * `symbolicLinks.test.ts` and `names.test.ts` beside it.
 */
import type { Patches } from "../mutants.ts"

const access = "src/layers/internal/access.ts"
const lock = "src/layers/LockFile.ts"
const names = "src/layers/internal/fileKey.ts"
const storage = "src/layers/StorageNode.ts"
const systemCalls = "src/layers/internal/systemCalls.ts"

export const patches: Patches = {
  // modes
  "access-modes-of-files-dropped": {
    file: access,
    find: "const ofOwner: Modes = { folder: 0o700, file: 0o600, readOnly: 0o400 }",
    replace: "const ofOwner: Modes = { folder: 0o700, file: 0o666, readOnly: 0o400 }"
  },
  "access-lock-notes-for-everybody": {
    file: lock,
    find: `fs.openSync(file, "wx", mode)`,
    replace: `fs.openSync(file, "wx")`
  },
  "access-umask-not-countered-for-folders": {
    file: storage,
    find: "Effect.andThen(chmod(temporary, modes.folder), renamePath(temporary, folder))",
    replace: "renamePath(temporary, folder)"
  },
  "access-umask-not-countered-for-files": {
    file: storage,
    find: `      chmodFile(opened.fd, modes.file).pipe(`,
    replace: `      Effect.void.pipe(`
  },
  "access-lock-umask-not-countered": {
    file: lock,
    find: "if (isForGroup(access)) fs.fchmodSync(fd, mode)",
    replace: ""
  },

  // links
  "access-links-in-the-root-followed": {
    file: systemCalls,
    find: `for (let at = path.indexOf("/"); at >= 0;`,
    replace: `for (let at = path.indexOf("/", path.indexOf("/") + 1); at >= 0;`
  },
  "access-links-above-followed": {
    file: systemCalls,
    find: "    if (stats.isSymbolicLink()) return folder\n",
    replace: `    if (stats.isSymbolicLink() && folder.split("/").length < 3) return folder\n`
  },
  "access-listed-links-followed": {
    file: storage,
    find: "          (entries) => insideFolder(path, entries),\n",
    replace: ""
  },
  "access-links-renamed-into": {
    file: storage,
    find: "inside(from, inside(to, renamePath(...names)))",
    replace: "inside(from, renamePath(...names))"
  },
  "access-links-below-overlooked": {
    file: "src/layers/internal/StoreFolder.ts",
    find: "parts.test(path) && !bucket.test(path)",
    replace: "path === \"ledger\""
  },

  // names
  "access-names-with-one-case": {
    file: names,
    find: "if (/^[A-Z]$/.test(char)) return `^${char.toLowerCase()}`",
    replace: "if (/^[A-Z]$/.test(char)) return char"
  },
  "access-names-with-one-form": {
    file: names,
    find: "  return escapeAll(char)\n",
    replace: `  return char > "\\x7f" ? char : escapeAll(char)\n`
  },
  "access-names-with-control-characters": {
    file: names,
    find: "  return escapeAll(char)\n",
    replace: `  return char < " " ? "_" : escapeAll(char)\n`
  },
  "access-names-with-separators": {
    file: names,
    find: "const plain = /^[a-z0-9_-]$/",
    replace: "const plain = /^[a-z0-9_/-]$/"
  },
  "access-names-that-are-dots": {
    file: names,
    find: `if (!isEdge && (char === "." || char === " ")) return char`,
    replace: `if (char === "." || char === " ") return char`
  },
  "access-names-that-are-devices": {
    file: names,
    find: "if (device.test(name)) name",
    replace: "if (false) name"
  },
  "access-names-that-are-cut": {
    file: names,
    find: "~${hashOf(text)}`",
    replace: "~`"
  },
  "access-names-that-are-too-long": {
    file: names,
    find: "const mostBytes = 200",
    replace: "const mostBytes = 252"
  }
}
