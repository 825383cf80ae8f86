/**
 * The disk of `StorageSimulated`: a file system in memory that knows which of its bytes and names are durable, and what a power loss
 * may leave. Plain synchronous functions, so that anything can stand on it that makes calls on files.
 *
 * - Bytes are written in sectors of 512. Since the last sync of its file, each sector may hold what was durable, or anything that
 *   was written to it since, independently of all others; a sector that no durable byte lies behind may make the file longer,
 *   and what is missing before it reads as NULs.
 * - A file made shorter may be as long as before, unless it was synced since.
 * - A name made, removed or changed since the last sync of its folder may or may not have been; each such change for itself, but a
 *   rename within a folder is one. Across two folders it is one until the first of them is synced. What only a lost name leads to is
 *   gone. A name that is back leads to the file with what was durable of it.
 * - After a sync that failed half-way, the bytes can be read but count as written to the disk, as in Linux: no later sync writes
 *   them, unless they are written again.
 *
 * Whether a file is read-only is durable at once.
 */
import {
  type Directory,
  type FileNode,
  makeDirectory,
  makeFile,
  MemoryFileSystem,
  type Node,
  type Place
} from "../layers/internal/memoryFileSystem.ts"
import type { DocumentOptions, StoragePath } from "../services/Storage.ts"

// models

export interface CrashOptions {
  /** How many images at most. Default: 256. */
  readonly max?: number | undefined
  /** Which of them, if there are more. Default: 0. */
  readonly seed?: number | undefined
}

const sectorSize = 512

/** How many earlier contents of a sector are kept. */
const mostVersions = 8

interface Sector {
  /** What it held when it was last durable, and then what it held after each write since, but for the last. */
  readonly versions: Array<Uint8Array>
  /** Whether it was written since, or only cut off. */
  written: boolean
  /** Whether a sync failed on it, so that the next will not write it. */
  takenForWritten: boolean
}

interface FileState {
  /** How long the file is if nothing unsynced survives. */
  durableSize: number
  /** The smallest size that it was truncated to below that since. */
  cut: number | undefined
  readonly sectors: Map<number, Sector>
  /** Whether another disk has the same buffer. */
  isShared: boolean
  /** Of the readable bytes, once it is known. */
  hash: string | undefined
}

/** One change of a folder's names that is not durable. Changes with the same id, in two folders, were one rename. */
interface Change {
  readonly id: number
  readonly names: ReadonlyArray<readonly [name: string, node: Node | undefined]>
}

interface DirectoryState {
  readonly durable: Map<string, Node>
  pending: Array<Change>
}

// the disk

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])

export class Disk extends MemoryFileSystem {
  private readonly files = new WeakMap<FileNode, FileState>()
  private readonly directories = new WeakMap<Directory, DirectoryState>()
  private changes = 0

  file(node: FileNode): FileState {
    let state = this.files.get(node)
    if (state === undefined) {
      state = { durableSize: 0, cut: undefined, sectors: new Map(), isShared: false, hash: undefined }
      this.files.set(node, state)
    }
    return state
  }

  folder(node: Directory): DirectoryState {
    let state = this.directories.get(node)
    if (state === undefined) {
      state = { durable: new Map(), pending: [] }
      this.directories.set(node, state)
    }
    return state
  }

  // bytes

  protected override willWrite(file: FileNode, offset: number, length: number): void {
    const { durableSize, sectors } = this.file(file)
    const last = Math.floor((offset + length - 1) / sectorSize)
    for (let index = Math.floor(offset / sectorSize); index <= last; index++) {
      const sector = sectors.get(index)
      if (sector === undefined) {
        sectors.set(index, { versions: [baseOf(file, durableSize, index)], written: true, takenForWritten: false })
        continue
      }
      if (sector.written) sector.versions.push(contentOf(file, index))
      // What was durable stays; of what came since the latest are enough, so that a file that is never synced does not grow.
      if (sector.versions.length > mostVersions) sector.versions.splice(1, 1)
      sector.written = true
      sector.takenForWritten = false
    }
  }

  protected override willTruncate(file: FileNode, size: number): void {
    if (size > file.size) return this.willWrite(file, file.size, size - file.size)
    const state = this.file(file)
    const last = Math.floor((file.size - 1) / sectorSize)
    for (let index = Math.floor(size / sectorSize); index <= last; index++) {
      const start = index * sectorSize
      const sector = state.sectors.get(index)
      if (start < size) {
        // Only its end is cut off, which matters if that is durable.
        if (sector === undefined && size < state.durableSize) {
          const base = baseOf(file, state.durableSize, index)
          state.sectors.set(index, { versions: [base], written: false, takenForWritten: false })
        }
      } else if (start >= state.durableSize) {
        state.sectors.delete(index)
      } else {
        // What was written to it before the cut is gone for good if the cut survives, and was in the images before if not.
        const base = sector?.versions[0] ?? baseOf(file, state.durableSize, index)
        state.sectors.set(index, { versions: [base], written: false, takenForWritten: false })
      }
    }
    if (size < state.durableSize) state.cut = Math.min(state.cut ?? size, size)
  }

  protected override reserve(file: FileNode, size: number): void {
    const state = this.file(file)
    state.hash = undefined
    if (state.isShared) {
      file.bytes = file.bytes.slice()
      state.isShared = false
    }
    super.reserve(file, size)
  }

  override sync(file: FileNode): void {
    const state = this.file(file)
    const kept = Math.min(state.durableSize, state.cut ?? state.durableSize)
    let size = kept
    for (const [index, sector] of state.sectors) {
      const start = index * sectorSize
      if (sector.takenForWritten) {
        sector.versions[0] = sector.versions[0]!.subarray(0, Math.max(0, kept - start))
        continue
      }
      state.sectors.delete(index)
      if (sector.written) size = Math.max(size, Math.min(start + sectorSize, file.size))
    }
    state.durableSize = size
    state.cut = undefined
  }

  /** A sync that fails, and takes what it could not write for written. */
  failSync(file: FileNode): void {
    for (const sector of this.file(file).sectors.values()) sector.takenForWritten = sector.written
  }

  // names

  protected override link(directory: Directory, name: string, node: Node): void {
    super.link(directory, name, node)
    this.folder(directory).pending.push({ id: this.changes++, names: [[name, node]] })
  }

  protected override unlink(directory: Directory, name: string): void {
    super.unlink(directory, name)
    this.folder(directory).pending.push({ id: this.changes++, names: [[name, undefined]] })
  }

  protected override move(source: Place, target: Place, node: Node): void {
    super.move(source, target, node)
    const id = this.changes++
    const gone = [source.name, undefined] as const
    const made = [target.name, node] as const
    if (source.directory === target.directory) {
      this.folder(source.directory).pending.push({ id, names: [gone, made] })
    } else {
      this.folder(source.directory).pending.push({ id, names: [gone] })
      this.folder(target.directory).pending.push({ id, names: [made] })
    }
  }

  override syncDirectory(directory: Directory): void {
    const { durable, pending } = this.folder(directory)
    for (const change of pending) applyChange(durable, change)
    pending.length = 0
  }

  override replaceDocument(path: StoragePath, bytes: Uint8Array, options: DocumentOptions): void {
    const { directory, name } = this.place(path)
    // Refuses what cannot be replaced, and leaves a new and empty file.
    super.replaceDocument(path, new Uint8Array(0), options)
    const file = directory.entries.get(name)
    if (file?.kind !== "file") throw new Error("a document is a file")
    this.write(file, 0, bytes)
    if (!options.sync) return
    this.sync(file)
    const state = this.folder(directory)
    state.durable.set(name, file)
    // All that happened to the name before is overtaken; other names are as durable as they were.
    state.pending = state.pending
      .map((change) => ({ ...change, names: change.names.filter(([other]) => other !== name) }))
      .filter((change) => change.names.length > 0)
  }

  // copies

  /** The readable files and names with all that is known about them. */
  clone(): Disk {
    const disk = new Disk()
    const copies = new Map<Node, Node>()
    const copy = (node: Node): Node =>
      copies.get(node) ?? (node.kind === "file" ? copyFile(node) : copyDirectory(node, makeDirectory()))
    const copyFile = (node: FileNode): FileNode => {
      const file = { ...node, parent: undefined }
      copies.set(node, file)
      const state = this.file(node)
      state.isShared = true
      const sectors = new Map<number, Sector>()
      for (const [index, sector] of state.sectors) sectors.set(index, { ...sector, versions: [...sector.versions] })
      disk.files.set(file, { ...state, sectors })
      return file
    }
    const copyDirectory = (node: Directory, directory: Directory): Directory => {
      copies.set(node, directory)
      for (const [name, below] of node.entries) adopt(directory, name, copy(below))
      const { durable, pending } = this.folder(node)
      disk.directories.set(directory, {
        durable: new Map(Array.from(durable, ([name, below]) => [name, copy(below)])),
        pending: pending.map(({ id, names }) => ({
          id,
          names: names.map(([name, below]) => [name, below && copy(below)] as const)
        }))
      })
      return directory
    }
    copyDirectory(this.root, disk.root)
    disk.changes = this.changes
    return disk
  }

  // power loss

  /** All that a power loss decides. */
  private choices(): Choices {
    const choices: Choices = { sizes: [], changes: new Map(), files: new Map() }
    const seen = new Set<Node>()
    const choose = (size: number) => choices.sizes.push(size) - 1
    const visit = (node: Node): void => {
      if (seen.has(node)) return
      seen.add(node)
      if (node.kind === "directory") {
        const { durable, pending } = this.folder(node)
        for (const below of durable.values()) visit(below)
        for (const { id, names } of pending) {
          if (!choices.changes.has(id)) choices.changes.set(id, choose(2))
          for (const [, below] of names) if (below !== undefined) visit(below)
        }
        return
      }
      const state = this.file(node)
      const sectors: Array<SectorChoice> = []
      for (const [index, sector] of state.sectors) {
        const base = sector.versions[0]!
        const contents = [base]
        if (sector.written) {
          const live = contentOf(node, index)
          const isNew = (content: Uint8Array) =>
            !sameBytes(content, live) && !contents.some((other) => sameBytes(other, content))
          for (const content of sector.versions) if (isNew(content)) contents.push(content)
          if (contents.length > 1 || !sameBytes(base, live)) contents.push(live)
        }
        if (contents.length > 1 || state.cut !== undefined) {
          sectors.push({ index, base, contents, unit: choose(contents.length) })
        }
      }
      if (sectors.length > 0 || state.cut !== undefined) {
        choices.files.set(node, { cut: state.cut === undefined ? -1 : choose(2), sectors })
      }
    }
    visit(this.root)
    return choices
  }

  private image(choices: Choices, chosen: ReadonlyArray<number>): Disk {
    const files = new Map<FileNode, FileNode>()
    const seen = new Set<Directory>()
    const disk = new Disk()
    const imageOfFile = (node: FileNode): FileNode => {
      const known = files.get(node)
      if (known !== undefined) return known
      const state = this.file(node)
      const choice = choices.files.get(node)
      let file: FileNode
      if (choice === undefined) {
        state.isShared = true
        file = { ...node, size: state.durableSize, parent: undefined }
        disk.files.set(file, { ...state, sectors: new Map() })
      } else {
        const bytes = remains(node, state, choice, chosen)
        file = makeFile(bytes, node.readOnly)
        disk.file(file).durableSize = bytes.length
      }
      files.set(node, file)
      return file
    }
    const fill = (directory: Directory, node: Directory): Directory => {
      // A folder has one name, even if a rename of it half survived.
      seen.add(node)
      const { durable, pending } = this.folder(node)
      const names = new Map(durable)
      for (const change of pending) if (chosen[choices.changes.get(change.id)!] === 1) applyChange(names, change)
      for (const [name, below] of names) {
        if (below.kind === "file") adopt(directory, name, imageOfFile(below))
        else if (!seen.has(below)) adopt(directory, name, fill(makeDirectory(), below))
      }
      for (const [name, below] of directory.entries) disk.folder(directory).durable.set(name, below)
      return directory
    }
    fill(disk.root, this.root)
    return disk
  }

  crashImages(options: CrashOptions = {}): ReadonlyArray<Disk> {
    const max = options.max ?? 256
    const choices = this.choices()
    const { sizes } = choices
    const images = new Map<string, Disk>()
    const add = (chosen: ReadonlyArray<number>): void => {
      if (images.size >= max) return
      const image = this.image(choices, chosen)
      images.set(image.fingerprint(), image)
    }
    const isChange = new Set(choices.changes.values())
    const last = sizes.map((size) => size - 1)
    add(sizes.map(() => 0))
    add(last)
    add(last.map((all, i) => isChange.has(i) ? all : 0))
    add(last.map((all, i) => isChange.has(i) ? 0 : all))
    let count = 1
    for (const size of sizes) if (count <= max) count *= size
    if (count <= max) {
      const chosen = sizes.map(() => 0)
      for (let i = 0; i < count; i++) {
        add(chosen)
        for (let digit = 0; digit < sizes.length; digit++) {
          chosen[digit] = (chosen[digit]! + 1) % sizes[digit]!
          if (chosen[digit] !== 0) break
        }
      }
    } else {
      const random = randomFrom(options.seed ?? 0)
      for (let tries = max * 4; tries > 0 && images.size < max; tries--) {
        // Between losing little and losing much: with even chances for each sector, large writes would never nearly survive.
        const survives = [0.1, 0.5, 0.9, 0.98][Math.floor(random() * 4)]!
        add(sizes.map((size) => random() < survives ? size - 1 : Math.floor(random() * size)))
      }
    }
    return [...images.values()]
  }

  // fingerprint

  fingerprint(): string {
    const hash = makeHash()
    const numbers = new Map<Node, number>()
    const ids = new Map<number, number>()
    const visit = (node: Node | undefined): void => {
      if (node === undefined) return hash.number(-1)
      const known = numbers.get(node)
      if (known !== undefined) return hash.number(known)
      numbers.set(node, numbers.size)
      if (node.kind === "file") {
        const state = this.file(node)
        state.hash ??= hashOf(node.bytes.subarray(0, node.size))
        hash.number(node.readOnly ? 2 : 1)
        hash.number(node.size)
        hash.text(state.hash)
        hash.number(state.durableSize)
        hash.number(state.cut ?? -1)
        for (const index of [...state.sectors.keys()].sort((a, b) => a - b)) {
          const sector = state.sectors.get(index)!
          hash.number(index)
          hash.number((sector.written ? 1 : 0) + (sector.takenForWritten ? 2 : 0))
          for (const version of sector.versions) hash.text(hashOf(version))
        }
        return
      }
      hash.number(3)
      names(node.entries)
      const { durable, pending } = this.folder(node)
      if (pending.length === 0) return
      names(durable)
      for (const { id, names } of pending) {
        if (!ids.has(id)) ids.set(id, ids.size)
        hash.number(ids.get(id)!)
        for (const [name, below] of names) {
          hash.text(name)
          visit(below)
        }
      }
    }
    const names = (entries: ReadonlyMap<string, Node>): void => {
      hash.number(entries.size)
      for (const name of [...entries.keys()].sort()) {
        hash.text(name)
        visit(entries.get(name))
      }
    }
    visit(this.root)
    return hash.end()
  }
}

interface SectorChoice {
  readonly index: number
  readonly base: Uint8Array
  /** What may be left of it: first what was durable, last what is readable. */
  readonly contents: ReadonlyArray<Uint8Array>
  /** Which of the choices it is. */
  readonly unit: number
}

interface Choices {
  /** How many outcomes each choice has: the first is that nothing unsynced survives, the last that all does. */
  readonly sizes: Array<number>
  readonly changes: Map<number, number>
  readonly files: Map<FileNode, { readonly cut: number; readonly sectors: ReadonlyArray<SectorChoice> }>
}

const contentOf = (file: FileNode, sector: number): Uint8Array =>
  file.bytes.slice(Math.min(sector * sectorSize, file.size), Math.min((sector + 1) * sectorSize, file.size))

/** What is durable of a sector that nothing unsynced is in. */
const baseOf = (file: FileNode, durableSize: number, sector: number): Uint8Array =>
  contentOf(file, sector).subarray(0, Math.max(0, durableSize - sector * sectorSize))

const adopt = (directory: Directory, name: string, node: Node): void => {
  directory.entries.set(name, node)
  if (node.kind === "file") node.parent = directory
}

const applyChange = (names: Map<string, Node>, change: Change): void => {
  for (const [name, node] of change.names) {
    if (node === undefined) names.delete(name)
    else names.set(name, node)
  }
}

/** The bytes of a file after a power loss. */
const remains = (
  file: FileNode,
  state: FileState,
  choice: { readonly cut: number; readonly sectors: ReadonlyArray<SectorChoice> },
  chosen: ReadonlyArray<number>
): Uint8Array => {
  const durableSize = choice.cut !== -1 && chosen[choice.cut] === 1 ? state.cut! : state.durableSize
  let size = durableSize
  for (const { contents, index, unit } of choice.sectors) {
    if (chosen[unit] !== 0) size = Math.max(size, index * sectorSize + contents[chosen[unit]!]!.length)
  }
  const bytes = new Uint8Array(size)
  bytes.set(file.bytes.subarray(0, Math.min(file.size, size)))
  for (const { base, contents, index, unit } of choice.sectors) {
    const start = index * sectorSize
    if (start >= size) continue
    bytes.fill(0, start, Math.min(start + sectorSize, size))
    if (start < durableSize) bytes.set(base.subarray(0, durableSize - start), start)
    if (chosen[unit] !== 0) bytes.set(contents[chosen[unit]!]!, start)
  }
  return bytes
}

// small tools

/** Mulberry32: small, and the same everywhere. */
const randomFrom = (seed: number) => {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

/** Two different hashes of 32 bits side by side, so that thousands of states do not meet by chance. */
const makeHash = () => {
  let a = 0x811c9dc5
  let b = 0x9e3779b9
  const number = (value: number): void => {
    a = Math.imul(a ^ value, 0x01000193)
    b = Math.imul((b ^ value) + 0x7f4a7c15, 0x85ebca6b)
    b ^= b >>> 13
  }
  return {
    number,
    bytes: (bytes: Uint8Array): void => {
      for (let i = 0; i < bytes.length; i++) number(bytes[i]!)
    },
    text: (text: string): void => {
      number(text.length)
      for (let i = 0; i < text.length; i++) number(text.charCodeAt(i))
    },
    end: () => (a >>> 0).toString(16).padStart(8, "0") + (b >>> 0).toString(16).padStart(8, "0")
  }
}

const hashOf = (bytes: Uint8Array): string => {
  const hash = makeHash()
  hash.bytes(bytes)
  return hash.end()
}
