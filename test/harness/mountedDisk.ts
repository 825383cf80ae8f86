/**
 * A simulated disk below Node's own file calls: while it is mounted, `node:fs` answers for the paths below its root, so that the
 * real `StorageNode` runs on it, system call by system call.
 *
 * A crash can come before each single call that changes something: between the writing of a document and its rename, or between a
 * rename and the sync of its folder. Any call can be made to fail, with any code; a write or a read can be short, a call slow.
 *
 * What is not below the root goes to the real file system, so a process can have several of these at once.
 */
import fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import {
  type Directory,
  type FileNode,
  makeDirectory,
  type Node,
  Refusal
} from "../../src/layers/internal/memoryFileSystem.ts"
import type { Reason } from "../../src/services/Storage.ts"
import { type CrashOptions, Disk } from "../../src/testing/simulatedDisk.ts"

// models

/** A system call, by the name that POSIX gives it. */
export interface Call {
  readonly name:
    | "open"
    | "close"
    | "read"
    | "write"
    | "fsync"
    | "fdatasync"
    | "fstat"
    | "lstat"
    | "stat"
    | "ftruncate"
    | "futimes"
    | "utimes"
    | "fchmod"
    | "chmod"
    | "unlink"
    | "rmdir"
    | "rename"
    | "link"
    | "mkdir"
    | "readdir"
    | "statfs"
  /** From the root of the disk, "" for itself. Of a rename, what is renamed. */
  readonly path: string
  /** Whether it may change what is on the disk. */
  readonly changes: boolean
}

/**
 * What becomes of a call. `code`: it fails so. `done`: how much of it is done all the same: nothing (the default), all, or of a write
 * the first half, and of a sync nothing, with the pages taken for written. `short`: a read or write of half the bytes, which is no
 * failure. `slow`: so many milliseconds pass.
 */
export type Outcome =
  | { readonly code: string; readonly done?: "nothing" | "half" | "all" }
  | { readonly short: true }
  | { readonly slow: number }

export interface Options {
  /** Told of each call before it is made. */
  readonly onCall?: ((call: Call) => void) | undefined
  /** What happens to a call instead of going well. */
  readonly outcome?: ((call: Call) => Outcome | undefined) | undefined
}

export interface MountedDisk {
  /** Where it is mounted. */
  readonly root: string
  /** How many calls of each kind there were. */
  readonly counts: { readonly [name: string]: number }
  /** What a power loss may leave, each mounted elsewhere. See `simulatedDisk.ts`. */
  readonly crashImages: (options?: CrashOptions) => ReadonlyArray<MountedDisk>
  /** What is left after all processes were killed. */
  readonly processCrash: () => MountedDisk
  readonly fingerprint: () => string
  /** The visible bytes of a file. */
  readonly contentOf: (path: string) => Uint8Array | undefined
  readonly namesIn: (path: string) => ReadonlyArray<string>
  /** Removes a file or folder behind everybody's back, as a person would. */
  readonly remove: (path: string) => void
  /** Changes a file's bytes, likewise. */
  readonly overwrite: (path: string, bytes: Uint8Array) => void
  /** Forgets the disk: its root is an empty place again. */
  readonly unmount: () => void
}

// errors

const codes: { readonly [R in Reason]: string } = {
  NotFound: "ENOENT",
  AlreadyExists: "EEXIST",
  Permission: "EACCES",
  ReadOnly: "EROFS",
  DiskFull: "ENOSPC",
  TooManyOpenFiles: "EMFILE",
  WrongKind: "ENOTDIR",
  SymbolicLink: "ELOOP",
  Io: "EIO"
}

const failure = (code: string, name: string, path: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`${code}: ${name} '${path}'`), { code, errno: -1, syscall: name, path })

// stats

const inodes = new WeakMap<Node, bigint>()
let lastInode = 0n
const inodeOf = (node: Node): bigint => {
  let inode = inodes.get(node)
  if (inode === undefined) inodes.set(node, inode = ++lastInode)
  return inode
}

const modeOf = (node: Node): number => node.kind === "directory" ? 0o040700 : node.readOnly ? 0o100400 : 0o100600

const statsOf = (node: Node, bigint: boolean) => {
  const size = node.kind === "file" ? node.size : 0
  const owner = process.getuid?.() ?? 0
  const group = process.getgid?.() ?? 0
  const numbers = bigint
    ? {
      ino: inodeOf(node),
      dev: 77n,
      size: BigInt(size),
      mode: BigInt(modeOf(node)),
      nlink: 1n,
      uid: BigInt(owner),
      gid: BigInt(group)
    }
    : { ino: Number(inodeOf(node)), dev: 77, size, mode: modeOf(node), nlink: 1, uid: owner, gid: group }
  return {
    ...numbers,
    isFile: () => node.kind === "file",
    isDirectory: () => node.kind === "directory",
    isSymbolicLink: () => false
  }
}

// mounts

interface Descriptor {
  readonly mount: Mount
  readonly node: Node
  readonly path: string
  readonly readable: boolean
  readonly writable: boolean
}

/** No kernel gives such numbers, so they cannot be mistaken for those of real files. */
const firstDescriptor = 2 ** 29
const descriptors = new Map<number, Descriptor>()
let nextDescriptor = firstDescriptor

const mounts = new Map<string, Mount>()
const prefix = "/simulated-disk-"
let made = 0

const { O_ACCMODE = 3, O_CREAT, O_DIRECTORY, O_EXCL, O_RDWR, O_TRUNC, O_WRONLY } = fs.constants as
  & typeof fs.constants
  & {
    readonly O_ACCMODE?: number
  }

class Mount {
  readonly root: string
  readonly disk: Disk
  readonly counts: { [name: string]: number } = {}
  private readonly options: Options

  constructor(disk: Disk, options: Options) {
    this.root = `${prefix}${++made}`
    this.disk = disk
    this.options = options
  }

  /** One call: told, perhaps made to fail, and done. */
  call<A>(
    name: Call["name"],
    path: string,
    changes: boolean,
    body: (isShort: boolean) => A,
    half?: () => void
  ): A {
    const call: Call = { name, path, changes }
    this.counts[name] = (this.counts[name] ?? 0) + 1
    this.options.onCall?.(call)
    const outcome = this.options.outcome?.(call)
    if (outcome !== undefined && "slow" in outcome) {
      for (const end = performance.now() + outcome.slow; performance.now() < end;);
    }
    if (outcome !== undefined && "code" in outcome) {
      if (outcome.done === "all") this.refused(name, path, () => body(false))
      if (outcome.done === "half") this.refused(name, path, () => half?.())
      throw failure(outcome.code, name, path)
    }
    return this.refused(name, path, () => body(outcome !== undefined && "short" in outcome))
  }

  private refused<A>(name: string, path: string, body: () => A): A {
    try {
      return body()
    } catch (cause) {
      if (cause instanceof Refusal) throw failure(codes[cause.reason], name, path)
      throw cause
    }
  }

  node(path: string): Node {
    const node = this.disk.find(path)
    if (node !== undefined) return node
    // a file on the way is another error than a name that is not there
    if (path !== "") this.disk.place(path)
    throw new Refusal("NotFound")
  }
}

/** The mount that a path lies in, and the path from there. */
const mountOf = (path: unknown): readonly [mount: Mount, path: string] | undefined => {
  if (typeof path !== "string" || !path.startsWith(prefix)) return undefined
  const slash = path.indexOf("/", 1)
  const mount = mounts.get(slash === -1 ? path : path.slice(0, slash))
  if (mount === undefined) throw failure("ENOENT", "look", path)
  return [mount, slash === -1 ? "" : path.slice(slash + 1).replace(/\/+$/, "")]
}

const opened = (fd: unknown): Descriptor | undefined => {
  if (typeof fd !== "number" || fd < firstDescriptor) return undefined
  const found = descriptors.get(fd)
  if (found === undefined) throw failure("EBADF", "use", String(fd))
  return found
}

const fileOf = ({ node }: Descriptor): FileNode => {
  if (node.kind !== "file") throw new Refusal("WrongKind")
  return node
}

// the calls, as functions that throw; whoever answers `undefined` leaves the call to the real file system

type Answer<A> = { readonly value: A } | undefined

const onPath = <A>(
  path: unknown,
  name: Call["name"],
  changes: boolean,
  body: (mount: Mount, path: string) => A
): Answer<A> => {
  const found = mountOf(path)
  if (found === undefined) return undefined
  const [mount, below] = found
  return { value: mount.call(name, below, changes, () => body(mount, below)) }
}

const onFile = <A>(
  fd: unknown,
  name: Call["name"],
  changes: boolean,
  body: (descriptor: Descriptor, isShort: boolean) => A,
  half?: (descriptor: Descriptor) => void
): Answer<A> => {
  const found = opened(fd)
  if (found === undefined) return undefined
  const halfDone = half && (() => half(found))
  return { value: found.mount.call(name, found.path, changes, (isShort) => body(found, isShort), halfDone) }
}

const open = (path: unknown, flags: number): Answer<number> => {
  const found = mountOf(path)
  if (found === undefined) return undefined
  const [mount, below] = found
  const { disk } = mount
  const creates = (flags & O_CREAT) !== 0
  return {
    value: mount.call("open", below, creates || (flags & O_TRUNC) !== 0, () => {
      const access = flags & O_ACCMODE
      const writable = access === O_WRONLY || access === O_RDWR
      let node = disk.find(below)
      if (node === undefined && creates) node = disk.create(below)
      else if (node !== undefined && creates && (flags & O_EXCL) !== 0) throw new Refusal("AlreadyExists")
      else if (node === undefined) node = mount.node(below)
      if (node.kind === "directory" && writable) throw failure("EISDIR", "open", below)
      if (node.kind === "file" && (flags & (O_DIRECTORY ?? 0)) !== 0) throw new Refusal("WrongKind")
      if (node.kind === "file" && (flags & O_TRUNC) !== 0) disk.truncate(node, 0)
      const fd = nextDescriptor++
      descriptors.set(fd, { mount, node, path: below, readable: access !== O_WRONLY, writable })
      return fd
    })
  }
}

const close = (fd: unknown): Answer<void> => {
  const found = opened(fd)
  if (found === undefined) return undefined
  // As on Linux: the number is free again, whatever is answered.
  descriptors.delete(fd as number)
  return { value: found.mount.call("close", found.path, false, () => {}) }
}

type View = Uint8Array

const readInto = (fd: unknown, into: View, offset: number, length: number, position: number): Answer<number> =>
  onFile(fd, "read", false, (descriptor, isShort) => {
    const most = isShort && length > 1 ? length >> 1 : length
    const bytes = descriptor.mount.disk.read(fileOf(descriptor), position, most)
    into.set(bytes, offset)
    return bytes.length
  })

const writeFrom = (fd: unknown, from: View, offset: number, length: number, position: number): Answer<number> => {
  const put = (descriptor: Descriptor, most: number) => {
    if (!descriptor.writable) throw failure("EBADF", "write", descriptor.path)
    descriptor.mount.disk.write(fileOf(descriptor), position, from.subarray(offset, offset + most))
    return most
  }
  return onFile(
    fd,
    "write",
    true,
    (descriptor, isShort) => put(descriptor, isShort && length > 1 ? length >> 1 : length),
    (descriptor) => void put(descriptor, length >> 1)
  )
}

const syncFile = (name: "fsync" | "fdatasync") => (fd: unknown): Answer<void> =>
  onFile(fd, name, true, ({ mount, node }) => {
    if (node.kind === "directory") mount.disk.syncDirectory(node)
    else mount.disk.sync(node)
  }, ({ mount, node }) => {
    if (node.kind === "file") mount.disk.failSync(node)
  })

const setMode = (disk: Disk, path: string, node: Node, mode: number) => {
  if (node.kind === "file") {
    node.readOnly = (mode & 0o222) === 0
  } else if (disk.find(path) !== node) {
    throw new Refusal("NotFound")
  }
}

const rename = (from: unknown, to: unknown): Answer<void> => {
  const target = mountOf(to)
  return onPath(from, "rename", true, (mount, path) => {
    if (target?.[0] !== mount) throw failure("EXDEV", "rename", path)
    const node = mount.node(path)
    const there = mount.disk.find(target[1])
    // a file over a file is replaced, read-only or not
    if (there?.kind === "directory" && node.kind === "directory" && there.entries.size > 0) {
      throw failure("ENOTEMPTY", "rename", path)
    }
    mount.disk.rename(path, target[1])
  })
}

/** What a disk does to give a file one more name. */
interface Linking {
  readonly link: (directory: Directory, name: string, node: Node) => void
}

const link = (from: unknown, to: unknown): Answer<void> => {
  const target = mountOf(to)
  return onPath(from, "link", true, (mount, path) => {
    if (target?.[0] !== mount) throw failure("EXDEV", "link", path)
    const node = mount.node(path)
    if (node.kind === "directory") throw failure("EPERM", "link", path)
    if (mount.disk.find(target[1]) !== undefined) throw new Refusal("AlreadyExists")
    const { directory, name } = mount.disk.place(target[1])
    ;(mount.disk as unknown as Linking).link(directory, name, node)
  })
}

const unlink = (path: unknown): Answer<void> =>
  onPath(path, "unlink", true, ({ disk, node }, below) => {
    void node
    const found = disk.find(below)
    if (found?.kind === "directory") throw failure("EISDIR", "unlink", below)
    if (!disk.claim(below)) throw new Refusal("NotFound")
  })

const rmdir = (path: unknown): Answer<void> =>
  onPath(path, "rmdir", true, (mount, below) => {
    const node = mount.node(below)
    if (node.kind === "file") throw new Refusal("WrongKind")
    if (node.entries.size > 0) throw failure("ENOTEMPTY", "rmdir", below)
    mount.disk.remove(below)
  })

const makeFolder = (path: unknown, recursive: boolean): Answer<void> => {
  const found = mountOf(path)
  if (found === undefined) return undefined
  const [mount, below] = found
  const { disk } = mount
  const make = (at: string, mayExist: boolean) =>
    mount.call("mkdir", at, true, () => {
      const node = disk.find(at)
      if (node !== undefined && !(mayExist && node.kind === "directory")) throw new Refusal("AlreadyExists")
      if (node === undefined) disk.makeDirectory(at, false)
    })
  if (!recursive) return { value: make(below, below === "") }
  const parts = below.split("/")
  for (let n = 1; n <= parts.length; n++) make(parts.slice(0, n).join("/"), true)
  return { value: undefined }
}

const list = (path: unknown): Answer<ReadonlyArray<unknown>> =>
  onPath(path, "readdir", false, (mount, below) => {
    const node = mount.node(below)
    if (node.kind === "file") throw new Refusal("WrongKind")
    return Array.from(node.entries, ([name, entry]) => ({
      name,
      parentPath: `${mount.root}/${below}`,
      isFile: () => entry.kind === "file",
      isDirectory: () => entry.kind === "directory",
      isSymbolicLink: () => false
    }))
  })

/** As Node does it: the deepest first, a call for each. */
const removeAll = (path: string): Answer<void> => {
  const found = mountOf(path)
  if (found === undefined) return undefined
  const visit = (at: string): void => {
    const node = found[0].disk.find(at)
    if (node === undefined) return
    const real = `${found[0].root}/${at}`
    if (node.kind === "file") return void unlink(real)
    for (const name of node.entries.keys()) visit(`${at}/${name}`)
    rmdir(real)
  }
  visit(found[1])
  return { value: undefined }
}

const statPath = (name: "lstat" | "stat", path: unknown, bigint: boolean) =>
  onPath(path, name, false, (mount, below) => statsOf(mount.node(below), bigint))

// in the place of `node:fs`

// A patched function takes whatever Node's own takes and hands it on where it is not meant: only then its types matter.
type Any = any
type Patched = { [name: string]: (...args: Array<Any>) => Any }

const isMissing = (cause: unknown) => ["ENOENT", "ENOTDIR"].includes((cause as NodeJS.ErrnoException).code ?? "")

/** Each call: by which arguments, and what it is here. The one with a callback, and the one that throws, are made from it. */
const calls: { readonly [name: string]: (...args: Array<Any>) => Answer<unknown> } = {
  open: (path, flags) => open(path, typeof flags === "number" ? flags : fs.constants.O_RDONLY),
  close,
  read: readInto,
  write: writeFrom,
  fsync: syncFile("fsync"),
  fdatasync: syncFile("fdatasync"),
  fstat: (fd, options) => onFile(fd, "fstat", false, ({ node }) => statsOf(node, options?.bigint === true)),
  lstat: (path, options) => statPath("lstat", path, options?.bigint === true),
  stat: (path, options) => statPath("stat", path, options?.bigint === true),
  ftruncate: (fd, size) =>
    onFile(fd, "ftruncate", true, (descriptor) => descriptor.mount.disk.truncate(fileOf(descriptor), size)),
  futimes: (fd) => onFile(fd, "futimes", false, () => {}),
  utimes: (path) => onPath(path, "utimes", false, (mount, below) => void mount.node(below)),
  fchmod: (fd, mode) => onFile(fd, "fchmod", true, ({ mount, node, path }) => setMode(mount.disk, path, node, mode)),
  chmod: (path, mode) =>
    onPath(path, "chmod", true, (mount, below) => setMode(mount.disk, below, mount.node(below), mode)),
  unlink,
  rmdir,
  rename,
  link,
  mkdir: (path, options) => makeFolder(path, options?.recursive === true),
  readdir: list,
  rm: (path) => removeAll(path),
  statfs: (path) => onPath(path, "statfs", false, () => ({ type: 0xef53 }))
}

const patches = (): Patched => {
  const patched: Patched = {}
  const real = fs as unknown as { readonly [name: string]: (...args: Array<Any>) => Any }
  for (const [name, call] of Object.entries(calls)) {
    const sync = real[`${name}Sync`]
    if (sync !== undefined) {
      patched[`${name}Sync`] = (...args) => {
        let answer: Answer<unknown>
        try {
          answer = call(...args)
        } catch (cause) {
          if ((name === "lstat" || name === "stat") && args[1]?.throwIfNoEntry === false && isMissing(cause)) {
            return undefined
          }
          throw cause
        }
        return answer === undefined ? sync(...args) : answer.value
      }
    }
    const asynchronous = real[name]!
    patched[name] = (...args) => {
      const isOurs = mountOf(args[0]) !== undefined || (typeof args[0] === "number" && args[0] >= firstDescriptor)
      if (!isOurs) return asynchronous(...args)
      const done = args[args.length - 1] as (error: unknown, value?: unknown) => void
      // On another thread: at some time later.
      setImmediate(() => {
        let answer: Answer<unknown>
        try {
          answer = call(...args.slice(0, -1))
        } catch (cause) {
          return done(cause)
        }
        done(null, answer?.value)
      })
    }
  }
  return patched
}

const watching = (real: typeof fs.watch): typeof fs.watch =>
  ((path: string, options: unknown, changed: () => void) => {
    const found = mountOf(path)
    if (found === undefined) return (real as (...args: ReadonlyArray<unknown>) => fs.FSWatcher)(path, options, changed)
    const [mount, below] = found
    const stop = mount.disk.watch(below, () => void setImmediate(changed))
    if (stop === undefined) throw failure("ENOENT", "watch", path)
    return { on: () => {}, close: stop }
  }) as typeof fs.watch

let isPatched = false
const patch = () => {
  if (isPatched) return
  isPatched = true
  Object.assign(fs, patches(), { watch: watching(fs.watch) })
  syncBuiltinESMExports()
}

// constructors

const over = (disk: Disk, options: Options): MountedDisk => {
  patch()
  const mount = new Mount(disk, options)
  mounts.set(mount.root, mount)
  return {
    root: mount.root,
    counts: mount.counts,
    crashImages: (crash) => disk.crashImages(crash).map((image) => over(image, {})),
    processCrash: () => over(disk.clone(), {}),
    fingerprint: () => disk.fingerprint(),
    contentOf: (path) => disk.readDocument(path),
    namesIn: (path) => disk.list(path).map(({ name }) => name).sort(),
    remove: (path) => disk.remove(path),
    overwrite: (path, bytes) => {
      const file = disk.open(path, false)
      disk.truncate(file, 0)
      disk.write(file, 0, bytes)
    },
    unmount: () => {
      mounts.delete(mount.root)
      for (const [fd, { mount: of }] of descriptors) if (of === mount) descriptors.delete(fd)
    }
  }
}

/** An empty disk, mounted at a root of its own. */
export const make = (options: Options = {}): MountedDisk => over(new Disk(makeDirectory()), options)
