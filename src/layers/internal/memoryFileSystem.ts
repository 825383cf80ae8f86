/**
 * A file system in memory, as plain synchronous functions, and a `Storage` over it.
 *
 * As on Unix, a name points to a node, and an open file is the node: it stays what it is when its name, or a folder above it,
 * is renamed or removed. What a disk adds (which of it would survive a power loss) comes by overriding the protected methods.
 */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import {
  type DocumentOptions,
  type Entry,
  type File,
  type Reason,
  type Storage,
  StorageError,
  type StoragePath,
  type WritableFile
} from "../../services/Storage.ts"
import { checkFolderPath, checkPath, checkRange } from "./storageChecks.ts"

// models

export interface FileNode {
  readonly kind: "file"
  /** At least `size` long: it grows by doubling, so that appending costs the same whatever the size. Zero behind `size`. */
  bytes: Uint8Array
  size: number
  readOnly: boolean
  /** The folder that names it, for those who watch. */
  parent: Directory | undefined
}

export interface Directory {
  readonly kind: "directory"
  readonly entries: Map<string, Node>
  readonly watchers: Set<() => void>
}

export type Node = FileNode | Directory

/** Where a name stands, or would stand. */
export interface Place {
  readonly directory: Directory
  readonly name: string
}

// errors

/** Thrown by the calls, and made a `StorageError` by whoever knows operation and path. */
export class Refusal {
  readonly reason: Reason
  constructor(reason: Reason) {
    this.reason = reason
  }
}

const refuse = (reason: Reason): never => {
  throw new Refusal(reason)
}

// constructors

export const makeFile = (bytes: Uint8Array, readOnly: boolean): FileNode => ({
  kind: "file",
  bytes,
  size: bytes.length,
  readOnly,
  parent: undefined
})

export const makeDirectory = (): Directory => ({ kind: "directory", entries: new Map(), watchers: new Set() })

const utf8 = new TextEncoder()

/** The limit of the usual file systems, so that what works here works there. */
const isTooLong = (name: string): boolean => name.length > 85 && utf8.encode(name).length > 255

export class MemoryFileSystem {
  readonly root: Directory

  constructor(root: Directory = makeDirectory()) {
    this.root = root
  }

  // looking

  /** What a path names; `undefined` if that is nothing, for whatever reason. */
  find(path: StoragePath): Node | undefined {
    let node: Node | undefined = this.root
    if (path === "") return node
    for (const name of path.split("/")) {
      if (node === undefined || node.kind === "file") return undefined
      node = node.entries.get(name)
    }
    return node
  }

  /** Where a path stands: its folder must exist. */
  place(path: StoragePath): Place {
    const slash = path.lastIndexOf("/")
    const name = path.slice(slash + 1)
    const directory = slash === -1 ? this.root : this.directory(path.slice(0, slash))
    if (isTooLong(name)) refuse("Io")
    return { directory, name }
  }

  directory(path: StoragePath): Directory {
    let node: Node = this.root
    if (path === "") return node
    for (const name of path.split("/")) {
      if (node.kind === "file") return refuse("WrongKind")
      node = node.entries.get(name) ?? refuse("NotFound")
    }
    return node.kind === "directory" ? node : refuse("WrongKind")
  }

  open(path: StoragePath, writable: boolean): FileNode {
    const { directory, name } = this.place(path)
    const node = directory.entries.get(name) ?? refuse("NotFound")
    if (node.kind === "directory") return refuse("WrongKind")
    if (writable && node.readOnly) refuse("Permission")
    return node
  }

  list(path: StoragePath): ReadonlyArray<Entry> {
    let directory: Directory
    try {
      directory = this.directory(path)
    } catch (cause) {
      if (cause instanceof Refusal && cause.reason === "NotFound") return []
      throw cause
    }
    return Array.from(directory.entries, ([name, node]) => ({ name, kind: node.kind }))
  }

  read(file: FileNode, offset: number, length: number): Uint8Array {
    return file.bytes.slice(Math.min(offset, file.size), Math.min(offset + length, file.size))
  }

  readDocument(path: StoragePath, most = Infinity): Uint8Array | undefined {
    try {
      const file = this.open(path, false)
      return this.read(file, 0, Math.min(file.size, most))
    } catch (cause) {
      if (cause instanceof Refusal && cause.reason === "NotFound") return undefined
      throw cause
    }
  }

  // bytes

  write(file: FileNode, offset: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const end = offset + bytes.length
    this.willWrite(file, offset, bytes.length)
    this.reserve(file, end)
    file.bytes.set(bytes, offset)
    if (end > file.size) file.size = end
    this.notify(file.parent)
  }

  truncate(file: FileNode, size: number): void {
    if (size === file.size) return
    this.willTruncate(file, size)
    this.reserve(file, size)
    if (size < file.size) file.bytes.fill(0, size, file.size)
    file.size = size
    this.notify(file.parent)
  }

  /** Makes the file's bytes durable: here there is nothing to do. */
  sync(_file: FileNode): void {}

  /** Makes a folder's names durable: here there is nothing to do. */
  syncDirectory(_directory: Directory): void {}

  // names

  create(path: StoragePath): FileNode {
    const { directory, name } = this.place(path)
    if (directory.entries.has(name)) refuse("AlreadyExists")
    const file = makeFile(new Uint8Array(0), false)
    this.link(directory, name, file)
    return file
  }

  claim(path: StoragePath): boolean {
    const node = this.find(path)
    if (node === undefined) return false
    if (node.kind === "directory") return refuse("WrongKind")
    const { directory, name } = this.place(path)
    this.unlink(directory, name)
    return true
  }

  makeDirectory(path: StoragePath, parents: boolean): void {
    let directory = this.root
    if (path === "") return
    if (!parents) this.place(path)
    for (const name of path.split("/")) {
      let node = directory.entries.get(name)
      if (node === undefined) {
        if (isTooLong(name)) refuse("Io")
        node = makeDirectory()
        this.link(directory, name, node)
      }
      if (node.kind === "file") return refuse("WrongKind")
      directory = node
    }
  }

  rename(from: StoragePath, to: StoragePath): void {
    const source = this.place(from)
    const node = source.directory.entries.get(source.name) ?? refuse("NotFound")
    const target = this.place(to)
    const existing = target.directory.entries.get(target.name)
    if (existing === node) return
    if (to.startsWith(`${from}/`)) refuse("Io")
    if (existing !== undefined) {
      if (existing.kind !== node.kind) refuse("WrongKind")
      if (existing.kind === "directory" && existing.entries.size > 0) refuse("AlreadyExists")
    }
    this.move(source, target, node)
  }

  replaceDocument(path: StoragePath, bytes: Uint8Array, options: DocumentOptions): void {
    const { directory, name } = this.place(path)
    if (directory.entries.get(name)?.kind === "directory") refuse("WrongKind")
    const file = makeFile(bytes.slice(), options.readOnly === true)
    this.link(directory, name, file)
  }

  remove(path: StoragePath): void {
    if (this.find(path) === undefined) return
    const { directory, name } = this.place(path)
    this.removeEntry(directory, name)
  }

  /** Removes a name with all that is below it, the deepest first. */
  protected removeEntry(directory: Directory, name: string): void {
    const node = directory.entries.get(name)
    if (node?.kind === "directory") {
      for (const below of node.entries.keys()) this.removeEntry(node, below)
    }
    this.unlink(directory, name)
  }

  protect(path: StoragePath, readOnly: boolean): void {
    const file = this.open(path, false)
    file.readOnly = readOnly
    this.notify(file.parent)
  }

  // watching

  watch(path: StoragePath, changed: () => void): (() => void) | undefined {
    const directory = this.find(path)
    if (directory?.kind !== "directory") return undefined
    directory.watchers.add(changed)
    return () => directory.watchers.delete(changed)
  }

  protected notify(directory: Directory | undefined): void {
    if (directory === undefined || directory.watchers.size === 0) return
    for (const changed of directory.watchers) changed()
  }

  // the steps that change something, to override

  /** Makes a name, or lets it name something else. */
  protected link(directory: Directory, name: string, node: Node): void {
    const before = directory.entries.get(name)
    if (before?.kind === "file") before.parent = undefined
    directory.entries.set(name, node)
    if (node.kind === "file") node.parent = directory
    this.notify(directory)
  }

  protected unlink(directory: Directory, name: string): void {
    const before = directory.entries.get(name)
    if (before?.kind === "file") before.parent = undefined
    directory.entries.delete(name)
    this.notify(directory)
  }

  protected move(source: Place, target: Place, node: Node): void {
    MemoryFileSystem.prototype.unlink.call(this, source.directory, source.name)
    MemoryFileSystem.prototype.link.call(this, target.directory, target.name, node)
  }

  protected willWrite(_file: FileNode, _offset: number, _length: number): void {}

  protected willTruncate(_file: FileNode, _size: number): void {}

  protected reserve(file: FileNode, size: number): void {
    if (size <= file.bytes.length) return
    const bytes = new Uint8Array(Math.max(size, file.bytes.length * 2, 256))
    bytes.set(file.bytes.subarray(0, file.size))
    file.bytes = bytes
  }
}

/**
 * Runs one call of the service. `half` is what a medium that fails in the middle of the call would have done of it.
 */
export type Call = <A>(
  operation: string,
  path: StoragePath,
  body: () => A,
  half?: () => void
) => Effect.Effect<A, StorageError>

/** Runs a call, and tells a refusal as the service does. */
export const run = <A>(operation: string, path: StoragePath, body: () => A): Effect.Effect<A, StorageError> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(body())
    } catch (cause) {
      if (cause instanceof Refusal) return Effect.fail(new StorageError({ operation, path, reason: cause.reason }))
      throw cause
    }
  })

export interface Halves {
  readonly write: (file: FileNode, offset: number, bytes: Uint8Array) => void
  readonly sync: (file: FileNode) => void
  readonly replaceDocument: (path: StoragePath, bytes: Uint8Array) => void
  readonly remove: (path: StoragePath) => void
}

/** The service over a file system in memory. */
export const toStorage = (fileSystem: MemoryFileSystem, call: Call, halves?: Halves): Storage["Service"] => {
  const open = (operation: string, path: StoragePath, node: () => FileNode) =>
    Effect.acquireRelease(
      Effect.map(
        call(operation, path, () => {
          checkPath(path)
          return node()
        }),
        (file) => makeHandle(fileSystem, call, halves, path, file)
      ),
      (handle) => Effect.sync(handle.close)
    )
  return {
    createFile: (path) => Effect.map(open("createFile", path, () => fileSystem.create(path)), (handle) => handle.file),
    openFile: (path) =>
      Effect.map(
        open("openFile", path, () => fileSystem.open(path, false)),
        ({ file }): File => ({ path: file.path, size: file.size, read: file.read, isCurrent: file.isCurrent })
      ),
    openWritable: (path) =>
      Effect.map(open("openWritable", path, () => fileSystem.open(path, true)), (handle) => handle.file),
    exists: (path) =>
      call("exists", path, () => {
        checkPath(path)
        return fileSystem.find(path) !== undefined
      }),
    claim: (path) =>
      call("claim", path, () => {
        checkPath(path)
        return fileSystem.claim(path)
      }),
    makeDirectory: (path, { parents = true } = {}) =>
      call("makeDirectory", path, () => {
        checkFolderPath(path)
        fileSystem.makeDirectory(path, parents)
      }),
    list: (path) =>
      call("list", path, () => {
        checkFolderPath(path)
        return fileSystem.list(path)
      }),
    syncDirectory: (path) =>
      call("syncDirectory", path, () => {
        checkFolderPath(path)
        fileSystem.syncDirectory(fileSystem.directory(path))
      }),
    rename: (from, to) =>
      call("rename", from, () => {
        checkPath(from)
        checkPath(to)
        fileSystem.rename(from, to)
      }),
    readDocument: (path, options) =>
      call("readDocument", path, () => {
        checkPath(path)
        return fileSystem.readDocument(path, options?.most)
      }),
    replaceDocument: (path, bytes, options) =>
      call("replaceDocument", path, () => {
        checkPath(path)
        fileSystem.replaceDocument(path, bytes, options)
      }, halves && (() => halves.replaceDocument(path, bytes))),
    remove: (path) =>
      call("remove", path, () => {
        checkPath(path)
        fileSystem.remove(path)
      }, halves && (() => halves.remove(path))),
    protect: (path, readOnly) =>
      call("protect", path, () => {
        checkPath(path)
        fileSystem.protect(path, readOnly)
      }),
    isShared: Effect.succeed(false),
    watch: (path) =>
      Stream.callback<void>((queue) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            checkFolderPath(path)
            const stop = fileSystem.watch(path, () => Queue.offerUnsafe(queue, undefined))
            if (stop === undefined) Queue.endUnsafe(queue)
            return stop
          }),
          (stop) => Effect.sync(() => stop?.())
        ), { bufferSize: 1, strategy: "sliding" })
  }
}

const makeHandle = (
  fileSystem: MemoryFileSystem,
  call: Call,
  halves: Halves | undefined,
  path: StoragePath,
  node: FileNode
) => {
  let isOpen = true
  const file: WritableFile = {
    path,
    size: call("size", path, () => {
      check()
      return node.size
    }),
    read: (offset, length) =>
      call("read", path, () => {
        check()
        checkRange(offset, length)
        return fileSystem.read(node, offset, length)
      }),
    write: (offset, bytes) =>
      call("write", path, () => {
        check()
        checkRange(offset, bytes.length)
        fileSystem.write(node, offset, bytes)
      }, halves && (() => halves.write(node, offset, bytes))),
    sync: call("sync", path, () => {
      check()
      fileSystem.sync(node)
    }, halves && (() => halves.sync(node))),
    truncate: (size) =>
      call("truncate", path, () => {
        check()
        checkRange(0, size)
        fileSystem.truncate(node, size)
      }),
    isCurrent: call("isCurrent", path, () => {
      check()
      return fileSystem.find(path) === node
    })
  }
  const check = () => {
    if (!isOpen) throw new Error(`${path} is used after its scope closed`)
  }
  return { file, close: () => void (isOpen = false) }
}
