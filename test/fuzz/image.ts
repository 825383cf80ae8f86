/** A disk as a value: what a case damages, opens, and compares with what was there before. */
import * as Layer from "effect/Layer"
import * as fs from "node:fs"
import { dirname } from "node:path"
import * as Memory from "../../src/layers/internal/memoryFileSystem.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import { Storage } from "../../src/services/Storage.ts"

// models

/** Files by their paths, and folders, which have no bytes. A folder that holds something need not be named. */
export type Image = Map<string, Uint8Array | "folder">

/** What a case asked of the disk that no damage is worth: reading on and on, or much more than there is. */
export class Excess extends Error {}

/** So many calls are enough for whatever is done with the small stores of the cases. */
const mostCalls = 60_000
/** So many bytes may be read by all calls of one opening: many times what the stores have. */
const mostBytes = 256 * 1024 * 1024

export interface Disk {
  readonly layer: Layer.Layer<Storage>
  readonly image: () => Image
}

// constructors

/** Leaves out what lies below a file. */
export const tidy = (image: Image): void => {
  for (const path of image.keys()) {
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
      const above = image.get(path.slice(0, at))
      if (above !== undefined && above !== "folder") image.delete(path)
    }
  }
}

const toFileSystem = (image: Image): Memory.MemoryFileSystem => {
  const files = new Memory.MemoryFileSystem()
  for (const [path, bytes] of image) {
    if (bytes === "folder") {
      files.makeDirectory(path, true)
      continue
    }
    const folder = path.slice(0, Math.max(0, path.lastIndexOf("/")))
    files.makeDirectory(folder, true)
    files.replaceDocument(path, bytes, { sync: false })
  }
  return files
}

const toImage = (files: Memory.MemoryFileSystem): Image => {
  const image: Image = new Map()
  const walk = (directory: Memory.Directory, prefix: string) => {
    for (const [name, node] of directory.entries) {
      const path = prefix + name
      if (node.kind === "file") image.set(path, node.bytes.slice(0, node.size))
      else {
        image.set(path, "folder")
        walk(node, `${path}/`)
      }
    }
  }
  walk(files.root, "")
  return image
}

/** A disk with these files. It is the image's no more: what is written stays in it. */
export const open = (image: Image): Disk => {
  const files = toFileSystem(image)
  let calls = 0
  let bytes = 0
  const call: Memory.Call = (operation, path, body) =>
    Memory.run(operation, path, () => {
      if (++calls > mostCalls) throw new Excess(`more than ${mostCalls} calls, at last ${operation} of ${path}`)
      const result = body()
      if (result instanceof Uint8Array) bytes += result.length
      if (bytes > mostBytes) throw new Excess(`more than ${mostBytes} bytes were read, at last of ${path}`)
      return result
    })
  return {
    layer: Layer.succeed(Storage, Memory.toStorage(files, call)),
    image: () => toImage(files)
  }
}

/** The same on a real disk, in a folder of its own below `root` each time. */
export const onFiles = (root: string) => {
  let n = 0
  return (image: Image): Disk => {
    const folder = `${root}/${++n}`
    fs.mkdirSync(folder)
    for (const [path, bytes] of image) {
      const file = `${folder}/${path}`
      fs.mkdirSync(bytes === "folder" ? file : dirname(file), { recursive: true })
      if (bytes !== "folder") fs.writeFileSync(file, bytes)
    }
    return {
      layer: StorageNode.layer({ root: folder }),
      image: () => {
        const found: Image = new Map()
        for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
          const path = `${entry.parentPath}/${entry.name}`
          found.set(
            path.slice(folder.length + 1),
            entry.isDirectory() ? "folder" : new Uint8Array(fs.readFileSync(path))
          )
        }
        return found
      }
    }
  }
}

export const clone = (image: Image): Image => new Map(image)

/** A file, or a folder with all that is in it. */
export const removeAll = (image: Image, path: string): void => {
  for (const name of image.keys()) if (name === path || name.startsWith(`${path}/`)) image.delete(name)
}

/** The files whose paths fit, in order. */
export const filesOf = (image: Image, pattern: RegExp): ReadonlyArray<string> =>
  [...image].flatMap(([path, bytes]) => bytes !== "folder" && pattern.test(path) ? [path] : []).sort()

export const bytesOf = (image: Image, path: string): Buffer => {
  const bytes = image.get(path)
  if (bytes === undefined || bytes === "folder") throw new Error(`${path} is no file`)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}
