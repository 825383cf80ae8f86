/**
 * Storage in the files below a folder, by Node.
 *
 * A hop to Node's thread pool costs 15 to 80 microseconds, more than most system calls take on a local disk. So calls are made
 * synchronously as long as they are fast, each kind for itself: see `Pace`. What a call does, and fails with, does not depend on it.
 *
 * No symbolic link below the root is followed. Node cannot open a path from a folder that it holds, so each call that takes a path
 * looks at the folders on the way first; calls on an open file need no look. The root itself may be a link: it is what the user gave.
 * (This finds links that are there. Somebody who may write to these folders can still put one in between the look and the call.)
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as fs from "node:fs"
import { dirname, resolve } from "node:path"
import {
  type Entry,
  type File,
  Storage,
  StorageError,
  type StoragePath,
  type WritableFile
} from "../services/Storage.ts"
import { type Access, isForGroup, modesOf, temporaryFor } from "./internal/access.ts"
import { codeOf, reasonOf } from "./internal/errno.ts"
import { checkFolderPath, checkPath, checkRange } from "./internal/storageChecks.ts"
import {
  findLinkSync,
  foldersAbove,
  isNothing,
  lookSync,
  most,
  readAll,
  safely,
  secondsOf,
  stalled,
  writeAll
} from "./internal/systemCalls.ts"

// models

export interface Options {
  /** The folder below which all lies. It is made by `makeDirectory("")`. */
  readonly root: string
  /**
   * How system calls are made. `adaptive`: synchronously while they take less than half a millisecond. `asynchronous`: never
   * keeping the process from doing something else, for more time per call. Default: `adaptive`.
   */
  readonly calls?: "adaptive" | "synchronous" | "asynchronous" | undefined
  /** Who may see and change what is made: the user of the process, or the group of the root folder as well. Default: `owner`. */
  readonly access?: Access | undefined
}

// pace

/** Above this, in milliseconds, a call that blocks the process costs it more than a hop to the thread pool. */
const slow = 0.5

/** Of the calls of a slow kind, one in this many is made synchronously, to see whether they became fast again. */
const probeEvery = 100
/** If they were fast before, the first one comes after so many: a disk that once had something else to do is not a slow one. */
const probeFirst = 8
/** For the same reason a call counts as no longer, in milliseconds. */
const longest = 2 * slow

/** Decides, for one kind of system call, whether the next one is made synchronously: by how long those before took. */
export class Pace {
  private average = 0
  private wasFast = false
  private calls = 0
  private interval = probeEvery

  /** Whether the next call is to be made synchronously; then `took` must be told, and otherwise that it was `passed` over. */
  isSynchronous(): boolean {
    return this.average <= slow || this.calls + 1 >= this.interval
  }

  passed(): void {
    this.calls += 1
  }

  took(milliseconds: number): void {
    const isProbe = this.average > slow
    const isFast = milliseconds <= slow
    const counted = this.wasFast ? Math.min(milliseconds, longest) : milliseconds
    // A probe stands for many calls that were not timed, so it counts for more.
    this.average += (counted - this.average) * (isProbe ? 0.5 : 0.125)
    if (isFast) this.wasFast = true
    this.calls = 0
    this.interval = isFast ? probeFirst : isProbe ? Math.min(this.interval * 2, probeEvery) : this.interval
  }
}

// system calls

/** From this size on, in bytes, copying alone takes so long that reads and writes always go to the thread pool. */
const large = 1024 * 1024

/** Up to this size, in bytes, nobody looks at how much there is before reading. */
const small = 64 * 1024

type Done<A> = (error: NodeJS.ErrnoException | null, value?: A) => void

/** What failed, before it is known in which of the service's calls. */
class Failure {
  readonly cause: unknown
  /** What it is about, if that is not the path that was given. */
  readonly path: StoragePath | undefined
  constructor(cause: unknown, path?: StoragePath) {
    this.cause = cause
    this.path = path
  }
}

type Step<A> = Effect.Effect<A, Failure>

/** One kind of system call, in both ways of making it. */
class Calls {
  private readonly pace = new Pace()
  private readonly how: Options["calls"]

  constructor(how: Options["calls"] = "adaptive") {
    this.how = how
  }

  isSynchronous(bytes: number): boolean {
    return this.how === "synchronous" || (this.how === "adaptive" && bytes <= large && this.pace.isSynchronous())
  }

  /** It is made asynchronously. */
  passed(bytes: number): void {
    if (bytes <= large) this.pace.passed()
  }

  /** Makes it synchronously, and throws what it throws. */
  now<A>(synchronous: () => A): A {
    const start = performance.now()
    try {
      return synchronous()
    } finally {
      this.pace.took(performance.now() - start)
    }
  }
}

/** A call of a kind, as a step of a longer one. */
const makeStep = (how: Options["calls"]) => () => {
  const calls = new Calls(how)
  const step = <A>(
    synchronous: () => A,
    asynchronous: (done: Done<A>) => void,
    bytes = 0
  ): Step<A> =>
    Effect.suspend(() => {
      if (!calls.isSynchronous(bytes)) {
        calls.passed(bytes)
        return later(asynchronous)
      }
      try {
        return Effect.succeed(calls.now(synchronous))
      } catch (cause) {
        return Effect.fail(new Failure(cause))
      }
    })
  return Object.assign(step, { calls })
}
type Kind = ReturnType<ReturnType<typeof makeStep>>

const later = <A>(asynchronous: (done: Done<A>) => void): Step<A> =>
  Effect.callback<A, Failure>((resume) => {
    asynchronous((error, value) =>
      resume(error === null || error === undefined ? Effect.succeed(value as A) : Effect.fail(new Failure(error)))
    )
  })

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

const lookAsync = (path: string, done: Done<fs.BigIntStats | undefined>): void =>
  fs.lstat(path, { bigint: true }, (error, stats) => isNothing(error) ? done(null, undefined) : done(error, stats))

const findLinkAsync = (
  root: string,
  folders: ReadonlyArray<StoragePath>,
  done: Done<StoragePath | undefined>
): void => {
  const go = (i: number): void => {
    const folder = folders[i]
    if (folder === undefined) return done(null)
    lookAsync(`${root}/${folder}`, (error, stats) => {
      if (error !== null || stats === undefined) return done(error)
      if (stats.isSymbolicLink()) return done(null, folder)
      go(i + 1)
    })
  }
  go(0)
}

const buffer = (length: number): Uint8Array => {
  // Not zeroed (all that is handed out was read), and not a slice of Node's pool, which it would keep in memory.
  const unsafe = Buffer.allocUnsafeSlow(length)
  return new Uint8Array(unsafe.buffer, unsafe.byteOffset, length)
}

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants
const onlyDirectory = fs.constants.O_DIRECTORY ?? 0

const isWindows = process.platform === "win32"

const withCode = (code: string, message: string) => Object.assign(new Error(message), { code })
const wrongKind = () => new Failure(withCode("EFTYPE", "it is of another kind"))
const isLink = (path?: StoragePath) => new Failure(withCode("ELOOP", "it is a symbolic link"), path)
/** What is there although it is expected to be something else. */
const notExpected = (stats: fs.BigIntStats) => stats.isSymbolicLink() ? isLink() : wrongKind()

/** Where a file system knows no hard links. */
const hasNoLinks = new Set<string | undefined>(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"])

// constructors

/** The service over the files below `root`. */
export const make = (options: Options): Storage["Service"] => {
  const root = resolve(options.root)
  const modes = modesOf(options.access)
  const forGroup = isForGroup(options.access)
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
  const linking = step()
  const walking = step()
  const listing = step()

  const openPath = (path: string, flags: number) =>
    opening(() => fs.openSync(path, flags, modes.file), (done) => fs.open(path, flags, modes.file, done))
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
  const unlink = (path: string) => unlinking(() => fs.unlinkSync(path), (done) => fs.unlink(path, done))
  const renamePath = (from: string, to: string, kind = renaming) =>
    kind(() => fs.renameSync(from, to), (done) => fs.rename(from, to, done))

  const chmod = (path: string, mode: number) =>
    changing(() => fs.chmodSync(path, mode), (done) => fs.chmod(path, mode, done))
  const chmodFile = (fd: number, mode: number) =>
    changing(() => fs.fchmodSync(fd, mode), (done) => fs.fchmod(fd, mode, done))

  /** Fails if one of these folders is a symbolic link. */
  const haveNoLink = (folders: ReadonlyArray<StoragePath>): Step<void> =>
    folders.length === 0 ? Effect.void : Effect.flatMap(
      walking(() => findLinkSync(root, folders), (done) => findLinkAsync(root, folders, done)),
      (link) => link === undefined ? Effect.void : Effect.fail(isLink(link))
    )
  /** What comes after is about something in these folders, whose way there leads through no link. */
  const inside = <A>(path: StoragePath, body: Step<A>): Step<A> => Effect.andThen(haveNoLink(foldersAbove(path)), body)
  /** As `inside`, with the folder itself. */
  const insideFolder = <A>(path: StoragePath, body: Step<A>): Step<A> => path === "" ? body : inside(`${path}/`, body)

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
      Effect.catch(
        Effect.suspend(body),
        ({ cause, path: other = path }) => Effect.fail(toError(operation, other, cause))
      )
    )
  const toError = (operation: string, path: StoragePath, cause: unknown) =>
    new StorageError({ operation, path, root, reason: reasonOf(cause), cause })

  /**
   * One system call, made synchronously, as a call of the service. An append makes several, so nothing is put around it: nothing can come
   * in between.
   */
  const atOnce = <A>(
    operation: string,
    path: StoragePath,
    { calls }: Kind,
    synchronous: () => A
  ): Exit.Exit<A, StorageError> => {
    try {
      return Exit.succeed(calls.now(synchronous))
    } catch (cause) {
      return Exit.fail(toError(operation, path, cause))
    }
  }

  interface Opened {
    readonly fd: number
    readonly stats: fs.BigIntStats
  }

  /** On Windows, which cannot open a path without following a link. */
  const isNoLink = (path: string, flags: number): Step<void> =>
    isWindows && (flags & O_CREAT) === 0
      ? Effect.flatMap(look(path), (named) =>
        named === undefined || named.isFile() ? Effect.void : Effect.fail(notExpected(named)))
      : Effect.void

  /** Opens what must be a file: neither a link nor a folder nor a pipe. */
  const openFile = (path: string, flags: number): Step<Opened> =>
    Effect.flatMap(Effect.andThen(isNoLink(path, flags), openPath(path, flags | safely)), (fd) =>
      Effect.tapError(
        Effect.flatMap(stat(fd), (stats) => {
          if (!stats.isFile()) return Effect.fail(wrongKind())
          // The superuser may write to any file; a file that is read-only stays so for him as well.
          if ((flags & O_RDWR) !== 0 && (stats.mode & 0o222n) === 0n) {
            return Effect.fail(new Failure(withCode("EACCES", "the file is read-only")))
          }
          return Effect.succeed({ fd, stats })
        }),
        () => close(fd)
      ))

  /** Makes a file where nothing is. Its mode is what it shall be before it has its name: who dies in between shuts nobody out. */
  const makeFile = (target: string): Step<Opened> => {
    const flags = O_CREAT | O_EXCL | O_RDWR
    if (!forGroup) return openFile(target, flags)
    const temporary = temporaryFor(target)
    return Effect.flatMap(openFile(temporary, flags), (opened) =>
      chmodFile(opened.fd, modes.file).pipe(
        Effect.andThen(linking(() => fs.linkSync(temporary, target), (done) => fs.link(temporary, target, done))),
        Effect.ensuring(Effect.ignore(unlink(temporary))),
        Effect.as(opened),
        Effect.tapError(() => close(opened.fd)),
        Effect.catch((failure) =>
          hasNoLinks.has(codeOf(failure.cause))
            ? Effect.tap(openFile(target, flags), ({ fd }) => Effect.ignore(chmodFile(fd, modes.file)))
            : Effect.fail(failure)
        )
      ))
  }

  const openScoped = (operation: string, path: StoragePath, open: (target: string) => Step<Opened>) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.map(
          call(operation, path, () => {
            const target = absolute(path)
            return inside(path, open(target))
          }),
          (opened) => makeHandle(path, opened)
        ),
        (handle) => handle.close
      ),
      (handle) => handle.file
    )

  const makeHandle = (path: StoragePath, { fd, stats }: Opened) => {
    let isOpen = true
    const target = absolute(path)
    const isNamed = (named: fs.BigIntStats | undefined): boolean =>
      named !== undefined && named.ino === stats.ino && named.dev === stats.dev
    // Calls on the way: the descriptor is closed behind the last, as its number may be another file's as soon as it is closed.
    let users = 0
    /** One system call on the file. */
    const use = <A>(
      operation: string,
      kind: Kind,
      synchronous: () => A,
      asynchronous: (done: Done<A>) => void,
      offset = 0,
      bytes = 0
    ): Effect.Effect<A, StorageError> =>
      Effect.suspend(() => {
        checkRange(offset, bytes)
        if (!isOpen) return Effect.die(new Error(`${path} is used after its scope closed`))
        if (kind.calls.isSynchronous(bytes)) return atOnce(operation, path, kind, synchronous)
        kind.calls.passed(bytes)
        return call(operation, path, () => {
          users += 1
          return Effect.onExit(later(asynchronous), () => {
            users -= 1
            return users === 0 && !isOpen ? close(fd) : Effect.void
          })
        })
      })
    /** The same as a plain function. What is closed is left to the effect, which says so. */
    const now = <A>(
      operation: string,
      kind: Kind,
      synchronous: () => A,
      bytes = 0
    ): Exit.Exit<A, StorageError> | undefined =>
      isOpen && kind.calls.isSynchronous(bytes) ? atOnce(operation, path, kind, synchronous) : undefined
    /** How much is to be read: no more than there is, so that asking for all of a file does not take all of the memory. */
    const within = (length: number, offset: number, { size }: fs.Stats): number =>
      Math.max(0, Math.min(length, size - offset))
    // A copy where little was read, so that it does not keep the rest.
    const taken = (into: Uint8Array, count: number): Uint8Array =>
      count === into.length ? into : count * 2 < into.length ? into.slice(0, count) : into.subarray(0, count)
    const readFrom = (offset: number, length: number, done: Done<Uint8Array>) => {
      const into = buffer(length)
      readAllAsync(fd, into, offset, (error, count) => error === null ? done(null, taken(into, count!)) : done(error))
    }
    const sync = () => fs.fdatasyncSync(fd)
    // The own inode cannot go to another file while this one is open, so it is looked up once.
    const isCurrent = () => isNamed(lookSync(target))
    const file: WritableFile = {
      path,
      size: use(
        "size",
        looking,
        () => fs.fstatSync(fd).size,
        (done) => fs.fstat(fd, (error, stats) => error === null ? done(null, stats.size) : done(error))
      ),
      read: Object.assign(
        (offset: number, length: number) =>
          use(
            "read",
            reading,
            () => {
              const into = buffer(length <= small ? length : within(length, offset, fs.fstatSync(fd)))
              return taken(into, readAll(fd, into, offset))
            },
            (done) =>
              length <= small
                ? readFrom(offset, length, done)
                : fs.fstat(
                  fd,
                  (error, stats) => error === null ? readFrom(offset, within(length, offset, stats), done) : done(error)
                ),
            offset,
            length
          ),
        {
          atOnce: (offset: number, into: Uint8Array) => {
            checkRange(offset, into.length)
            return now("read", reading, () => readAll(fd, into, offset), into.length)
          }
        }
      ),
      write: Object.assign(
        (offset: number, bytes: Uint8Array) =>
          use(
            "write",
            writing,
            () => writeAll(fd, bytes, offset),
            (done) => writeAllAsync(fd, bytes, offset, done),
            offset,
            bytes.length
          ),
        {
          atOnce: (offset: number, bytes: Uint8Array) => {
            checkRange(offset, bytes.length)
            return now("write", writing, () => writeAll(fd, bytes, offset), bytes.length)
          }
        }
      ),
      sync: Object.assign(use("sync", syncing, sync, (done) => fs.fdatasync(fd, done)), {
        atOnce: () => now("sync", syncing, sync)
      }),
      truncate: (size) =>
        use("truncate", truncating, () => fs.ftruncateSync(fd, size), (done) => fs.ftruncate(fd, size, done), size),
      isCurrent: Object.assign(
        use(
          "isCurrent",
          looking,
          isCurrent,
          (done) => lookAsync(target, (error, named) => error === null ? done(null, isNamed(named)) : done(error))
        ),
        { atOnce: () => now("isCurrent", looking, isCurrent) }
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
      const temporary = temporaryFor(target)
      const seconds = secondsOf(modified ?? 0)
      const fill = (fd: number): Step<void> =>
        Effect.gen(function*() {
          yield* write(fd, 0, bytes)
          if (modified !== undefined) {
            yield* changing(
              () => fs.futimesSync(fd, seconds, seconds),
              (done) => fs.futimes(fd, seconds, seconds, done)
            )
          }
          if (readOnly || forGroup) yield* chmodFile(fd, readOnly ? modes.readOnly : modes.file)
          // The metadata too, so not only the data.
          if (durable) yield* syncingDocuments(() => fs.fsyncSync(fd), (done) => fs.fsync(fd, done))
        })
      const replace = Effect.gen(function*() {
        const existing = yield* look(target)
        // A link is replaced, and what it points to stays as it is.
        if (existing !== undefined && !existing.isFile() && !existing.isSymbolicLink()) {
          return yield* Effect.fail(wrongKind())
        }
        const fd = yield* openPath(temporary, O_CREAT | O_EXCL | O_WRONLY | safely)
        yield* Effect.andThen(
          Effect.ensuring(fill(fd), close(fd)),
          // Windows renames nothing onto a read-only file.
          isWindows && existing !== undefined && (existing.mode & 0o200n) === 0n
            ? Effect.andThen(chmod(target, modes.file), renamePath(temporary, target, replacing))
            : renamePath(temporary, target, existing === undefined ? renaming : replacing)
        ).pipe(Effect.tapError(() => Effect.ignore(unlink(temporary))))
        if (durable) yield* syncFolder(folderOf(target))
      })
      return inside(path, replace)
    })

  /** Makes the root folder, and those above it. */
  const makeRoot: Step<void> = Effect.gen(function*() {
    const make = { recursive: true, mode: modes.folder }
    const first = yield* making(
      () => fs.mkdirSync(root, make),
      (done: Done<string | undefined>) => fs.mkdir(root, make, done)
    )
    if (first === undefined || !forGroup) return
    for (let folder = root; folder.length >= first.length; folder = dirname(folder)) yield* chmod(folder, modes.folder)
  })

  /** Makes a folder whose folder exists, if there is none. */
  const makeFolder = (folder: string): Step<void> => {
    const mkdir = (path: string, mode: number) =>
      making(() => void fs.mkdirSync(path, { mode }), (done) => fs.mkdir(path, { mode }, (error) => done(error)))
    const temporary = temporaryFor(folder)
    const make = forGroup
      ? Effect.andThen(
        mkdir(temporary, 0o700),
        Effect.andThen(chmod(temporary, modes.folder), renamePath(temporary, folder)).pipe(
          Effect.tapError(() =>
            Effect.ignore(unlinking(() => fs.rmdirSync(temporary), (done) => fs.rmdir(temporary, done)))
          )
        )
      )
      : mkdir(folder, modes.folder)
    const found = Effect.flatMap(look(folder), (stats) =>
      stats === undefined
        ? Effect.succeed(false)
        : stats.isDirectory()
        ? Effect.succeed(true)
        : Effect.fail(notExpected(stats)))
    return Effect.flatMap(forGroup ? found : Effect.succeed(false), (isThere) =>
      isThere
        ? Effect.void
        : Effect.catch(make, (failure) =>
          // Somebody else made it, perhaps, and put something into it.
          Effect.flatMap(
            reasonOf(failure.cause) === "AlreadyExists" || reasonOf(failure.cause) === "WrongKind"
              ? found
              : Effect.succeed(false),
            (isThere) => isThere ? Effect.void : Effect.fail(failure)
          )))
  }

  /** A file of somebody else cannot be made writable, but a copy of it can take its place. */
  const replaceByCopy = Effect.fnUntraced(function*(target: string, from: number, size: number) {
    const temporary = temporaryFor(target)
    const fd = yield* openPath(temporary, O_CREAT | O_EXCL | O_WRONLY | safely)
    const fill = Effect.gen(function*() {
      yield* chmodFile(fd, modes.file)
      for (let offset = 0; offset < size; offset += large) {
        const part = buffer(Math.min(large, size - offset))
        yield* write(fd, offset, part.subarray(0, yield* read(from, offset, part)))
      }
      yield* syncingDocuments(() => fs.fsyncSync(fd), (done) => fs.fsync(fd, done))
    })
    yield* Effect.andThen(Effect.ensuring(fill, close(fd)), renamePath(temporary, target, replacing)).pipe(
      Effect.tapError(() => Effect.ignore(unlink(temporary)))
    )
    yield* syncFolder(folderOf(target))
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
            if (path !== "" && findLinkSync(root, foldersAbove(`${path}/`)) !== undefined) throw new Error("a link")
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

  const exists = (path: StoragePath): Exit.Exit<boolean, StorageError> | undefined => {
    const target = absolute(path)
    return looking.calls.isSynchronous(0)
      ? atOnce("exists", path, looking, () => lookSync(target) !== undefined)
      : undefined
  }

  return {
    createFile: (path) => openScoped("createFile", path, makeFile),
    openFile: (path) =>
      Effect.map(
        openScoped("openFile", path, (target) => openFile(target, O_RDONLY)),
        ({ isCurrent, read, size }): File => ({ path, size, read, isCurrent })
      ),
    openWritable: (path) => openScoped("openWritable", path, (target) => openFile(target, O_RDWR)),
    exists: Object.assign(
      (path: StoragePath) =>
        Effect.suspend((): Effect.Effect<boolean, StorageError> => {
          const known = exists(path)
          if (known !== undefined) return known
          looking.calls.passed(0)
          return call("exists", path, () =>
            later((done) =>
              lookAsync(absolute(path), (error, stats) =>
                error === null ? done(null, stats !== undefined) : done(error))
            ))
        }),
      { atOnce: exists }
    ),
    claim: (path) =>
      call("claim", path, () => {
        const target = absolute(path)
        const claim = Effect.flatMap(look(target), (stats) => {
          if (stats === undefined) return Effect.succeed(false)
          if (!stats.isFile()) return Effect.fail(notExpected(stats))
          return Effect.matchEffect(unlink(target), {
            onFailure: (failure) => Effect.map(toUndefined(failure), () => false),
            onSuccess: () => Effect.succeed(true)
          })
        })
        return inside(path, claim)
      }),
    makeDirectory: (path, { parents = true } = {}) =>
      call("makeDirectory", path, () => {
        const folder = absoluteFolder(path)
        if (path === "") return parents ? makeRoot : makeFolder(root)
        if (!parents) return inside(path, makeFolder(folder))
        const levels = [...foldersAbove(path), path]
        return makeRoot.pipe(
          Effect.andThen(haveNoLink(levels)),
          Effect.andThen(Effect.forEach(levels, (level) => makeFolder(`${root}/${level}`), { discard: true }))
        )
      }),
    list: (path) =>
      call("list", path, () => {
        const folder = absoluteFolder(path)
        return listing(
          () => fs.readdirSync(folder, { withFileTypes: true }),
          (done) => fs.readdir(folder, { withFileTypes: true }, done)
        ).pipe(
          (entries) => insideFolder(path, entries),
          Effect.catch(toUndefined),
          Effect.map((entries) =>
            (entries ?? []).map((entry) => ({
              name: entry.name,
              kind: kindOf(entry)
            }))
          )
        )
      }),
    syncDirectory: (path) =>
      call("syncDirectory", path, () => {
        const folder = absoluteFolder(path)
        return insideFolder(path, syncFolder(folder))
      }),
    rename: (from, to) =>
      call("rename", from, () => {
        const names = [absolute(from), absolute(to)] as const
        return inside(from, inside(to, renamePath(...names)))
      }),
    readDocument: (path, { most = Infinity } = {}) =>
      call("readDocument", path, () => {
        const target = absolute(path)
        return inside(path, openFile(target, O_RDONLY)).pipe(
          Effect.flatMap(({ fd, stats }) => {
            const into = buffer(Math.min(Number(stats.size), most))
            return Effect.ensuring(
              Effect.map(read(fd, 0, into), (count): Uint8Array | undefined => into.subarray(0, count)),
              close(fd)
            )
          }),
          Effect.catch(toUndefined)
        )
      }),
    replaceDocument,
    remove: (path) =>
      call("remove", path, () => {
        const target = absolute(path)
        const remove = Effect.flatMap(look(target), (stats) => {
          if (stats === undefined) return Effect.void
          if (!stats.isDirectory() && !isWindows) return Effect.asVoid(Effect.catch(unlink(target), toUndefined))
          // May take long, whatever the calls before it took.
          return Effect.callback<void, Failure>((resume) =>
            fs.rm(target, { recursive: true, force: true }, (error) =>
              resume(error === null ? Effect.void : Effect.fail(new Failure(error))))
          )
        })
        return inside(path, remove)
      }),
    protect: (path, readOnly) =>
      call("protect", path, () => {
        const target = absolute(path)
        const protect = Effect.flatMap(openFile(target, O_RDONLY), ({ fd, stats }) => {
          const mode = Number(stats.mode & 0o777n)
          const changed = readOnly ? mode & ~0o222 : mode | modes.file & 0o222
          if (changed === mode) return close(fd)
          return Effect.ensuring(
            // Windows changes it by name only.
            (isWindows ? chmod(target, changed) : chmodFile(fd, changed)).pipe(
              Effect.catchIf(
                (failure) => forGroup && !readOnly && codeOf(failure.cause) === "EPERM",
                () => replaceByCopy(target, fd, Number(stats.size))
              )
            ),
            close(fd)
          )
        })
        return inside(path, protect)
      }),
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

const kindOf = (entry: fs.Dirent): Entry["kind"] =>
  entry.isFile() ? "file" : entry.isDirectory() ? "directory" : entry.isSymbolicLink() ? "link" : "other"

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
