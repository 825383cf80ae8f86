/**
 * Storage in the files below a folder, by Node.
 *
 * A hop to Node's thread pool costs 15 to 80 microseconds, more than most system calls take on a local disk. So calls are made
 * synchronously as long as they are fast, each kind for itself: see `Pace`. What a call does, and fails with, does not depend on it.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import { resolve } from "node:path"
import { type File, Storage, StorageError, type StoragePath, type WritableFile } from "../services/Storage.ts"
import { codeOf, reasonOf } from "./internal/errno.ts"
import { checkFolderPath, checkPath, checkRange } from "./internal/storageChecks.ts"

// models

export interface Options {
  /** The folder below which all lies. It is made by `makeDirectory("")`. */
  readonly root: string
  /**
   * How system calls are made. `adaptive`: synchronously while they take less than half a millisecond. `asynchronous`: never
   * keeping the process from doing something else, for more time per call. Default: `adaptive`.
   */
  readonly calls?: "adaptive" | "synchronous" | "asynchronous" | undefined
}

// pace

/** Above this, in milliseconds, a call that blocks the process costs it more than a hop to the thread pool. */
const slow = 0.5

/** Of the calls of a slow kind, one in this many is made synchronously, to see whether they became fast again. */
const probeEvery = 100

/** Decides, for one kind of system call, whether the next one is made synchronously: by how long those before took. */
export class Pace {
  private average = 0
  private calls = 0

  /** Whether the next call is to be made synchronously; then `took` must be told. */
  isSynchronous(): boolean {
    if (this.average <= slow) return true
    this.calls += 1
    return this.calls % probeEvery === 0
  }

  took(milliseconds: number): void {
    // A probe stands for many calls that were not timed, so it counts for more.
    const weight = this.average > slow ? 0.5 : 0.125
    this.average += (milliseconds - this.average) * weight
  }
}

// system calls

/** From this size on, in bytes, copying alone takes so long that reads and writes always go to the thread pool. */
const large = 1024 * 1024

/** The most that one system call is asked to read or write. */
const most = 1024 * 1024 * 1024

type Done<A> = (error: NodeJS.ErrnoException | null, value?: A) => void

/** What failed, before it is known in which of the service's calls. */
class Failure {
  readonly cause: unknown
  constructor(cause: unknown) {
    this.cause = cause
  }
}

type Step<A> = Effect.Effect<A, Failure>

/** One kind of system call, in both ways of making it. */
const makeStep = (calls: Options["calls"] = "adaptive") => () => {
  const pace = new Pace()
  return <A>(
    synchronous: () => A,
    asynchronous: (done: Done<A>) => void,
    bytes = 0
  ): Step<A> =>
    Effect.suspend(() => {
      const blocking = calls === "synchronous" ||
        (calls === "adaptive" && bytes <= large && pace.isSynchronous())
      if (!blocking) {
        return Effect.callback<A, Failure>((resume) => {
          asynchronous((error, value) =>
            resume(error === null || error === undefined ? Effect.succeed(value as A) : Effect.fail(new Failure(error)))
          )
        })
      }
      const start = performance.now()
      try {
        return Effect.succeed(synchronous())
      } catch (cause) {
        return Effect.fail(new Failure(cause))
      } finally {
        pace.took(performance.now() - start)
      }
    })
}

const readAll = (fd: number, buffer: Uint8Array, offset: number): number => {
  let read = 0
  while (read < buffer.length) {
    const count = fs.readSync(fd, buffer, read, Math.min(buffer.length - read, most), offset + read)
    if (count === 0) break
    read += count
  }
  return read
}

const readAllAsync = (fd: number, buffer: Uint8Array, offset: number, done: Done<number>): void => {
  const go = (read: number): void => {
    if (read === buffer.length) return done(null, read)
    fs.read(fd, buffer, read, Math.min(buffer.length - read, most), offset + read, (error, count) => {
      if (error) return done(error)
      if (count === 0) return done(null, read)
      go(read + count)
    })
  }
  go(0)
}

const stalled = () => Object.assign(new Error("write wrote nothing"), { code: "EIO" })

const writeAll = (fd: number, bytes: Uint8Array, offset: number): void => {
  let written = 0
  while (written < bytes.length) {
    const count = fs.writeSync(fd, bytes, written, Math.min(bytes.length - written, most), offset + written)
    if (count === 0) throw stalled()
    written += count
  }
}

const writeAllAsync = (fd: number, bytes: Uint8Array, offset: number, done: Done<void>): void => {
  const go = (written: number): void => {
    if (written === bytes.length) return done(null)
    fs.write(fd, bytes, written, Math.min(bytes.length - written, most), offset + written, (error, count) => {
      if (error) return done(error)
      if (count === 0) return done(stalled())
      go(written + count)
    })
  }
  go(0)
}

const isNothing = (cause: unknown): boolean => codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR"

const lookSync = (path: string): fs.BigIntStats | undefined => {
  try {
    // Without an error, which costs more than the look, in the usual case of a name that is not there.
    return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false })
  } catch (cause) {
    if (isNothing(cause)) return undefined
    throw cause
  }
}

const lookAsync = (path: string, done: Done<fs.BigIntStats | undefined>): void =>
  fs.lstat(path, { bigint: true }, (error, stats) => isNothing(error) ? done(null, undefined) : done(error, stats))

const buffer = (length: number): Uint8Array => {
  // Not zeroed (all that is handed out was read), and not a slice of Node's pool, which it would keep in memory.
  const unsafe = Buffer.allocUnsafeSlow(length)
  return new Uint8Array(unsafe.buffer, unsafe.byteOffset, length)
}

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants
// Windows has none of these; without O_NONBLOCK, opening a named pipe waits for its other end.
const safely = (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0)
const onlyDirectory = fs.constants.O_DIRECTORY ?? 0

const isWindows = process.platform === "win32"

const wrongKind = () => new Failure(Object.assign(new Error("not a file"), { code: "ELOOP" }))

// constructors

/** The service over the files below `root`. */
export const make = (options: Options): Storage["Service"] => {
  const root = resolve(options.root)
  const absolute = (path: StoragePath): string => {
    checkPath(path)
    return `${root}/${path}`
  }
  const absoluteFolder = (path: StoragePath): string => {
    checkFolderPath(path)
    return path === "" ? root : `${root}/${path}`
  }

  const step = makeStep(options.calls)
  const opening = step()
  const looking = step()
  const reading = step()
  const writing = step()
  const syncing = step()
  // With the metadata of a new file it takes longer than the data of an old one.
  const syncingDocuments = step()
  const syncingDirectories = step()
  const truncating = step()
  const unlinking = step()
  const renaming = step()
  // On ext4 a rename onto a file writes the new one's bytes out first, a rename onto nothing does not.
  const replacing = step()
  const changing = step()
  const making = step()
  const listing = step()

  const openPath = (path: string, flags: number) =>
    opening(() => fs.openSync(path, flags, 0o600), (done) => fs.open(path, flags, 0o600, done))
  const stat = (fd: number) =>
    looking(
      () => fs.fstatSync(fd, { bigint: true }),
      (done) => fs.fstat(fd, { bigint: true }, done)
    )
  /** What a path names, links not followed; `undefined` if that is nothing, or a folder on the way is none. */
  const look = (path: string): Step<fs.BigIntStats | undefined> =>
    looking(() => lookSync(path), (done) => lookAsync(path, done))
  const read = (fd: number, offset: number, into: Uint8Array) =>
    reading(() => readAll(fd, into, offset), (done) => readAllAsync(fd, into, offset, done), into.length)
  const write = (fd: number, offset: number, bytes: Uint8Array) =>
    writing(() => writeAll(fd, bytes, offset), (done) => writeAllAsync(fd, bytes, offset, done), bytes.length)
  const sync = (fd: number) => syncing(() => fs.fdatasyncSync(fd), (done) => fs.fdatasync(fd, done))
  const unlink = (path: string) => unlinking(() => fs.unlinkSync(path), (done) => fs.unlink(path, done))
  const renamePath = (from: string, to: string, kind = renaming) =>
    kind(() => fs.renameSync(from, to), (done) => fs.rename(from, to, done))

  const chmod = (path: string, mode: number) =>
    changing(() => fs.chmodSync(path, mode), (done) => fs.chmod(path, mode, done))

  /** Never fails: what was written and matters was synced before, and there is nothing to do about it. */
  const close = (fd: number): Effect.Effect<void> =>
    Effect.sync(() => {
      try {
        fs.closeSync(fd)
      } catch {
        // see above
      }
    })

  /** One call of the service: not interrupted on its way, and failing as the service does. */
  const call = <A, R>(
    operation: string,
    path: StoragePath,
    body: () => Effect.Effect<A, Failure, R>
  ): Effect.Effect<A, StorageError, R> =>
    Effect.uninterruptible(
      Effect.catch(Effect.suspend(body), ({ cause }) =>
        Effect.fail(new StorageError({ operation, path, root, reason: reasonOf(cause), cause })))
    )

  interface Opened {
    readonly fd: number
    readonly stats: fs.BigIntStats
  }

  /** On Windows, which cannot open a path without following a link. */
  const isNoLink = (path: string, flags: number): Step<void> =>
    isWindows && (flags & O_CREAT) === 0
      ? Effect.flatMap(look(path), (named) =>
        named === undefined || named.isFile() ? Effect.void : Effect.fail(wrongKind()))
      : Effect.void

  /** Opens what must be a file: neither a link nor a folder nor a pipe. */
  const openFile = (path: string, flags: number): Step<Opened> =>
    Effect.flatMap(Effect.andThen(isNoLink(path, flags), openPath(path, flags | safely)), (fd) =>
      Effect.tapError(
        Effect.flatMap(stat(fd), (stats) => {
          if (!stats.isFile()) return Effect.fail(wrongKind())
          // The superuser may write to any file; a file that is read-only stays so for him as well.
          if ((flags & O_RDWR) !== 0 && (stats.mode & 0o222n) === 0n) {
            return Effect.fail(new Failure(Object.assign(new Error("the file is read-only"), { code: "EACCES" })))
          }
          return Effect.succeed({ fd, stats })
        }),
        () => close(fd)
      ))

  const openScoped = (operation: string, path: StoragePath, flags: number) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.map(
          call(operation, path, () => openFile(absolute(path), flags)),
          (opened) => makeHandle(path, opened)
        ),
        (handle) => handle.close
      ),
      (handle) => handle.file
    )

  const makeHandle = (path: StoragePath, { fd, stats }: Opened) => {
    let isOpen = true
    // Calls on the way: the descriptor is closed behind the last, as its number may be another file's as soon as it is closed.
    let users = 0
    const use = <A>(operation: string, body: () => Step<A>): Effect.Effect<A, StorageError> =>
      call(operation, path, () => {
        if (!isOpen) return Effect.die(new Error(`${path} is used after its scope closed`))
        users += 1
        return Effect.onExit(body(), () => {
          users -= 1
          return users === 0 && !isOpen ? close(fd) : Effect.void
        })
      })
    const size = Effect.map(stat(fd), (stats) => Number(stats.size))
    const file: WritableFile = {
      path,
      size: use("size", () => size),
      read: (offset, length) =>
        use("read", () => {
          checkRange(offset, length)
          // A large read is cut to the file's size first, so that asking for all of a file does not take all of the memory.
          return Effect.flatMap(
            length <= 65_536 ?
              Effect.succeed(length) :
              Effect.map(size, (size) => Math.max(0, Math.min(length, size - offset))),
            (length) => {
              const into = buffer(length)
              return Effect.map(read(fd, offset, into), (count) =>
                // A copy where little was read, so that it does not keep the rest.
                count === length ? into : count * 2 < length ? into.slice(0, count) : into.subarray(0, count))
            }
          )
        }),
      write: (offset, bytes) =>
        use("write", () => {
          checkRange(offset, bytes.length)
          return write(fd, offset, bytes)
        }),
      sync: use("sync", () => sync(fd)),
      truncate: (size) =>
        use("truncate", () => {
          checkRange(0, size)
          return truncating(() => fs.ftruncateSync(fd, size), (done) => fs.ftruncate(fd, size, done))
        }),
      // The own inode cannot go to another file while this one is open, so it is looked up once.
      isCurrent: use(
        "isCurrent",
        () =>
          Effect.map(
            look(absolute(path)),
            (named) => named !== undefined && named.ino === stats.ino && named.dev === stats.dev
          )
      )
    }
    return {
      file,
      close: Effect.suspend(() => {
        isOpen = false
        return users === 0 ? close(fd) : Effect.void
      })
    }
  }

  const syncFolder = (path: string): Step<void> =>
    isWindows ? Effect.void : syncingDirectories(
      () => {
        const fd = fs.openSync(path, O_RDONLY | onlyDirectory)
        try {
          fs.fsyncSync(fd)
        } finally {
          fs.closeSync(fd)
        }
      },
      (done) =>
        fs.open(path, O_RDONLY | onlyDirectory, (error, fd) => {
          if (error) return done(error)
          fs.fsync(fd, (error) => fs.close(fd, () => done(error)))
        })
    )

  const folderOf = (path: string): string => path.slice(0, path.lastIndexOf("/"))

  const replaceDocument: Storage["Service"]["replaceDocument"] = (
    path,
    bytes,
    { modified, readOnly = false, sync: durable }
  ) =>
    call("replaceDocument", path, () => {
      const target = absolute(path)
      const folder = folderOf(target)
      // Cut, so that any name that a file system takes gives one that it takes.
      const name = target.slice(folder.length + 1, folder.length + 61)
      const temporary = `${folder}/.${name}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`
      // Seconds as a double are exact to a quarter of a microsecond, cut off: so that it never shows as a millisecond less.
      const seconds = ((modified ?? 0) + 0.0005) / 1000
      const fill = (fd: number): Step<void> =>
        Effect.gen(function*() {
          yield* write(fd, 0, bytes)
          if (modified !== undefined) {
            yield* changing(
              () => fs.futimesSync(fd, seconds, seconds),
              (done) => fs.futimes(fd, seconds, seconds, done)
            )
          }
          if (readOnly) yield* changing(() => fs.fchmodSync(fd, 0o400), (done) => fs.fchmod(fd, 0o400, done))
          // The metadata too, so not only the data.
          if (durable) yield* syncingDocuments(() => fs.fsyncSync(fd), (done) => fs.fsync(fd, done))
        })
      return Effect.gen(function*() {
        const existing = yield* look(target)
        if (existing !== undefined && !existing.isFile()) return yield* Effect.fail(wrongKind())
        const fd = yield* openPath(temporary, O_CREAT | O_EXCL | O_WRONLY | safely)
        yield* Effect.andThen(
          Effect.ensuring(fill(fd), close(fd)),
          // Windows renames nothing onto a read-only file.
          isWindows && existing !== undefined && (existing.mode & 0o200n) === 0n
            ? Effect.andThen(chmod(target, 0o600), renamePath(temporary, target, replacing))
            : renamePath(temporary, target, existing === undefined ? renaming : replacing)
        ).pipe(Effect.tapError(() => Effect.ignore(unlink(temporary))))
        if (durable) yield* syncFolder(folder)
      })
    })

  const toUndefined = (failure: Failure): Step<undefined> =>
    codeOf(failure.cause) === "ENOENT" ? Effect.succeed(undefined) : Effect.fail(failure)

  const watch = (path: StoragePath): Stream.Stream<void> =>
    Stream.callback<void>((queue) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const folder = absoluteFolder(path)
          try {
            // A file could be watched as well, but this is about folders.
            if (!fs.statSync(folder).isDirectory()) throw new Error("not a folder")
            const watcher = fs.watch(folder, { persistent: false }, () => void Queue.offerUnsafe(queue, undefined))
            watcher.on("error", () => Queue.endUnsafe(queue))
            watcher.on("close", () => Queue.endUnsafe(queue))
            return watcher
          } catch {
            Queue.endUnsafe(queue)
            return undefined
          }
        }),
        (watcher) => Effect.sync(() => watcher?.close())
      ), { bufferSize: 1, strategy: "sliding" })

  return {
    createFile: (path) => openScoped("createFile", path, O_CREAT | O_EXCL | O_RDWR),
    openFile: (path) =>
      Effect.map(
        openScoped("openFile", path, O_RDONLY),
        (file): File => ({ path, size: file.size, read: file.read, isCurrent: file.isCurrent })
      ),
    openWritable: (path) => openScoped("openWritable", path, O_RDWR),
    exists: (path) => call("exists", path, () => Effect.map(look(absolute(path)), (stats) => stats !== undefined)),
    claim: (path) =>
      call("claim", path, () => {
        const target = absolute(path)
        return Effect.flatMap(look(target), (stats) => {
          if (stats === undefined) return Effect.succeed(false)
          if (!stats.isFile()) return Effect.fail(wrongKind())
          return Effect.matchEffect(unlink(target), {
            onFailure: (failure) => Effect.map(toUndefined(failure), () => false),
            onSuccess: () => Effect.succeed(true)
          })
        })
      }),
    makeDirectory: (path, { parents = true } = {}) =>
      call("makeDirectory", path, () => {
        const folder = absoluteFolder(path)
        const make = { recursive: parents, mode: 0o700 }
        return making(() => void fs.mkdirSync(folder, make), (done) => fs.mkdir(folder, make, (error) => done(error)))
          .pipe(
            // With parents it succeeds on a folder that is there, so what is there is none; without it fails on both.
            Effect.catch((failure) => {
              if (codeOf(failure.cause) !== "EEXIST") return Effect.fail(failure)
              if (parents) return Effect.fail(wrongKind())
              return Effect.flatMap(look(folder), (stats) =>
                stats?.isDirectory() === true ? Effect.void : Effect.fail(wrongKind()))
            })
          )
      }),
    list: (path) =>
      call("list", path, () => {
        const folder = absoluteFolder(path)
        return listing(
          () => fs.readdirSync(folder, { withFileTypes: true }),
          (done) => fs.readdir(folder, { withFileTypes: true }, done)
        ).pipe(
          Effect.catch(toUndefined),
          Effect.map((entries) =>
            (entries ?? []).map((entry) => ({
              name: entry.name,
              kind: entry.isFile() ? "file" as const : entry.isDirectory() ? "directory" as const : "other" as const
            }))
          )
        )
      }),
    syncDirectory: (path) => call("syncDirectory", path, () => syncFolder(absoluteFolder(path))),
    rename: (from, to) => call("rename", from, () => renamePath(absolute(from), absolute(to))),
    readDocument: (path) =>
      call("readDocument", path, () =>
        openFile(absolute(path), O_RDONLY).pipe(
          Effect.flatMap(({ fd, stats }) => {
            const into = buffer(Number(stats.size))
            return Effect.ensuring(
              Effect.map(read(fd, 0, into), (count): Uint8Array | undefined => into.subarray(0, count)),
              close(fd)
            )
          }),
          Effect.catch(toUndefined)
        )),
    replaceDocument,
    remove: (path) =>
      call("remove", path, () => {
        const target = absolute(path)
        const remove = { recursive: true, force: true }
        return Effect.flatMap(look(target), (stats) => {
          if (stats === undefined) return Effect.void
          if (!stats.isDirectory() && !isWindows) return Effect.asVoid(Effect.catch(unlink(target), toUndefined))
          // May take long, whatever the calls before it took.
          return Effect.callback<void, Failure>((resume) =>
            fs.rm(target, remove, (error) => resume(error === null ? Effect.void : Effect.fail(new Failure(error))))
          )
        })
      }),
    protect: (path, readOnly) =>
      call("protect", path, () =>
        Effect.flatMap(openFile(absolute(path), O_RDONLY), ({ fd, stats }) => {
          const mode = Number(stats.mode & 0o777n)
          const changed = readOnly ? mode & ~0o222 : mode | 0o200
          return Effect.ensuring(
            // Windows changes it by name only.
            isWindows
              ? chmod(absolute(path), changed)
              : changing(() => fs.fchmodSync(fd, changed), (done) => fs.fchmod(fd, changed, done)),
            close(fd)
          )
        })),
    isShared: call(
      "isShared",
      "",
      () =>
        Effect.callback<boolean, Failure>((resume) =>
          fs.statfs(root, (error, { type } = { type: 0 } as fs.StatsFs) =>
            resume(
              error === null
                ? Effect.succeed(process.platform === "linux" && sharedFileSystems.has(type))
                : Effect.fail(new Failure(error))
            ))
        )
    ),
    watch
  }
}

/**
 * File systems that more than one machine may have, or behind which anything may stand, by the number that Linux gives them
 * (`statfs(2)`, `linux/magic.h`).
 */
const sharedFileSystems: ReadonlySet<number> = new Set([
  0x6969, // NFS
  0x517b, // SMB
  0xff534d42, // CIFS
  0xfe534d42, // SMB 2
  0x65735546, // FUSE, virtiofs
  0x01021997, // 9P
  0x00c36400, // Ceph
  0x5346414f, // AFS
  0x6b414653, // AFS of the kernel
  0x73757245, // Coda
  0x0bd00bd0, // Lustre
  0x01161970, // GFS2
  0x7461636f, // OCFS2
  0x47504653, // GPFS
  0x786f4256 // folders of VirtualBox
])

// layers

/** The files below `root`. */
export const layer = (options: Options): Layer.Layer<Storage> => Layer.sync(Storage, () => make(options))
