/**
 * The lock as a folder that one process can make (proper-lockfile), with a queue beside it.
 *
 * For the lock `shop/writer`:
 *
 *     shop/writer.lock/     there while somebody holds it; its time of modification is the holder's heartbeat
 *     shop/writer.json      who holds it
 *     shop/writer.queue/    who waits for it: an empty file each, whose name says since when, and who
 *
 * proper-lockfile alone knows no order, and takes a dead holder's lock only when its heartbeat is stale. The queue gives the
 * order; `writer.json` lets a waiter on the same host see at once that the holder is dead.
 *
 * All calls here are synchronous: they take microseconds on a local disk, and taking the lock is then one step that cannot be
 * interrupted half-way.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"
import * as path from "node:path"
import { type Held, Holder, Lock, LockTimeout } from "../services/Lock.ts"
import { StorageError } from "../services/Storage.ts"
import { type Access, isForGroup, makeFolderSync, modesOf } from "./internal/access.ts"
import { codeOf, reasonOf } from "./internal/errno.ts"
import { type Identity, isAlive, thisProcess } from "./internal/host.ts"
import { Turns } from "./internal/turns.ts"

// models

export interface Options {
  /** The folder below which the locks lie. */
  readonly root: string
  /** Who may see and change what is made: the user of the process, or the group of the root folder as well. Default: `owner`. */
  readonly access?: Access | undefined
}

type Lockfile = Pick<typeof import("proper-lockfile"), "lockSync">

/** Without a heartbeat for this long, in milliseconds, a lock may be taken from its holder. */
const stale = 3500

/** From heartbeat to heartbeat, in milliseconds. */
const update = 1000

/** How long, in milliseconds, those behind leave a free lock to the one whose turn it is: it may be stopped. */
const patience = 100

/** So long, in milliseconds, a lock without a note is left alone that may be of a waiter who died: others write theirs at once. */
const noteTime = 30

/** Of a waiter on another host nobody can tell whether it lives: for so long, in milliseconds, it is believed to. */
const foreignWaits = 30_000

/** After so long, in milliseconds, a mark of another host is thrown away. */
const foreignKept = 3_600_000

/** A lock that is given away is wanted at once: a holder that gives way every 50 ms would else lose a twentieth to the wait. */
const defaultWait = Schedule.jittered(Schedule.spaced("1 millis"))

/** So often, in milliseconds, more is looked at than whether the lock is still there. */
const fullLook = 5

/** One lock: its files, and those who wait for it in this process. */
class Place extends Turns {
  readonly folder: string
  readonly note: string
  readonly queue: string
  readonly target: string
  /** Of the layer that came last: what is made from now on is made so. */
  access: Access | undefined
  /** Marks that were first in the queue and let a free lock lie. */
  readonly stuck = new Set<string>()
  /** A lock without a note, seen when a waiter was found dead: it may have died between taking the lock and saying so. */
  orphan: { readonly inode: number; readonly born: number; readonly seen: number } | undefined

  constructor(target: string) {
    super()
    this.target = target
    this.folder = `${target}.lock`
    this.note = `${target}.json`
    this.queue = `${target}.queue`
  }
}

/**
 * By real path, for all layers of this process: proper-lockfile must never be entered twice for one path, its registry would
 * forget the first.
 */
const places = new Map<string, Place>()

const placeOf = ({ access, root }: Options, name: string): Place => {
  const folders = name.split("/").slice(0, -1)
  // The root may be a link, or lie below one; nothing below it may.
  for (let i = 1; i <= folders.length; i++) refuseLink(root, folders.slice(0, i).join("/"))
  for (const ending of [".lock", ".json", ".queue"]) refuseLink(root, name + ending)
  const target = path.join(fs.realpathSync.native(path.resolve(root, ...folders)), path.basename(name))
  let place = places.get(target)
  if (place === undefined) places.set(target, place = new Place(target))
  place.access = access
  return place
}

/** What is a symbolic link, by its path below the root. */
class FoundLink extends Error {
  readonly code = "ELOOP"
  readonly path: string
  constructor(path: string) {
    super(`${path} is a symbolic link`)
    this.path = path
  }
}

const refuseLink = (root: string, below: string): void => {
  // What fails here fails again where it matters.
  const stats = statOf(path.resolve(root, below))
  if (stats?.isSymbolicLink()) throw new FoundLink(below)
}

const toStorageError = ({ root }: Options, name: string) => (cause: unknown): StorageError =>
  new StorageError({
    operation: "lock",
    path: cause instanceof FoundLink ? cause.path : name,
    root,
    reason: reasonOf(cause),
    cause
  })

// the note: who holds the lock

const Note = Schema.fromJsonString(Schema.Struct({
  host: Schema.String,
  boot: Schema.String,
  pid: Schema.Int,
  started: Schema.Int,
  since: Schema.String
}))

const decodeNote = Schema.decodeUnknownOption(Note)

const statOf = (file: string): fs.Stats | undefined => {
  try {
    return fs.lstatSync(file, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

/** In bytes; what is longer is no note. */
const longestNote = 64 * 1024

/** What is known about who holds the lock; `undefined` if nothing is, or nobody does. */
const readNote = (place: Place): { readonly text: string; readonly holder: typeof Note.Type } | undefined => {
  const folder = statOf(place.folder)
  const note = statOf(place.note)
  // A holder writes the note after it made the folder: an older one was left by somebody before it.
  if (folder === undefined || !note?.isFile() || note.mtimeMs < folder.birthtimeMs) return undefined
  if (note.size > longestNote) return undefined
  try {
    const text = fs.readFileSync(place.note, "utf8")
    return Option.getOrUndefined(Option.map(decodeNote(text), (holder) => ({ text, holder })))
  } catch {
    // Just removed.
    return undefined
  }
}

/** Makes a file where nothing is. It has its mode before it has its text. */
const makeFile = (file: string, text: string, access: Access | undefined): void => {
  const { file: mode } = modesOf(access)
  const fd = fs.openSync(file, "wx", mode)
  try {
    if (isForGroup(access)) fs.fchmodSync(fd, mode)
    if (text !== "") fs.writeSync(fd, text)
  } finally {
    fs.closeSync(fd)
  }
}

/** A note is a help for others: the lock is held without it. */
const writeNote = (place: Place, since: string): void => {
  try {
    // One that was left behind may be another user's, who alone may write to it; but anybody may remove it who may have the lock.
    if (statOf(place.note) !== undefined) fs.unlinkSync(place.note)
    makeFile(place.note, `${JSON.stringify({ ...thisProcess, since })}\n`, place.access)
  } catch {
    // Those who wait then learn of our end by the missing heartbeat.
  }
}

/** The text of the note if it says that the holder is dead. */
const readDeath = (place: Place): string | undefined => {
  const note = readNote(place)
  return note === undefined || isAlive(note.holder) ? undefined : note.text
}

/**
 * Removes the lock of a dead process, and says whether it did. Between looking and removing somebody else may do the same and
 * take the lock: then two hold it, which the ledger survives. To remove the note is to claim the removal, so that is rare.
 */
const removeDead = (place: Place): boolean => {
  const text = readDeath(place)
  if (text === undefined || readNote(place)?.text !== text) return false
  try {
    fs.unlinkSync(place.note)
    fs.rmdirSync(place.folder)
    return true
  } catch {
    return false
  }
}

const seeOrphan = (place: Place, arrival: number): void => {
  const folder = statOf(place.folder)
  if (folder === undefined || folder.birthtimeMs < arrival || readNote(place) !== undefined) return
  place.orphan = { inode: folder.ino, born: folder.birthtimeMs, seen: performance.now() }
}

/** Removes the lock of which a dead waiter did not come to say that it was its own. */
const removeOrphan = (place: Place): void => {
  const { orphan } = place
  if (orphan === undefined || performance.now() - orphan.seen < noteTime) return
  place.orphan = undefined
  const folder = statOf(place.folder)
  if (folder?.ino !== orphan.inode || folder.birthtimeMs !== orphan.born || readNote(place) !== undefined) return
  ignoreErrors(() => fs.rmdirSync(place.folder))
}

/** Whether whose turn it is could have the lock now. */
const isFree = (place: Place): boolean => {
  const folder = statOf(place.folder)
  return folder === undefined || folder.mtimeMs < Date.now() - stale || readDeath(place) !== undefined
}

// the queue: who waits for the lock

interface Mark {
  readonly name: string
  readonly arrival: number
  readonly deadline: number
  /** Whether it is of this host; then `process` says of whom. */
  readonly isHere: boolean
  readonly process: Identity
}

let marks = 0

/** Threads of one process count each for itself. */
const token = randomBytes(4).toString("hex")

const digits = (n: number, length: number): string => String(n).padStart(length, "0")

const ownHost = encodeURIComponent(thisProcess.host)

/** Names sort by arrival. The deadline, 0 for none, tells that a mark was left behind where nothing else does. */
const putMark = (place: Place, arrival: number, timeout: number): string => {
  const { boot, pid, started } = thisProcess
  const deadline = Number.isFinite(timeout) ? Math.ceil(arrival + timeout) : 0
  marks += 1
  const name = [digits(arrival, 13), digits(marks, 6), deadline, pid, started, boot, token, ownHost].join()
  if (statOf(place.queue) === undefined) {
    try {
      makeFolderSync(place.queue, place.access)
    } catch (cause) {
      // Somebody else made it, and has its mark in it.
      if (reasonOf(cause) !== "AlreadyExists") throw cause
    }
  }
  makeFile(path.join(place.queue, name), "", place.access)
  return name
}

const removeMark = (place: Place, name: string): void => {
  try {
    fs.unlinkSync(path.join(place.queue, name))
  } catch {
    // Somebody took us for dead, or the disk fails: then it goes when its deadline is over.
  }
}

const parseMark = (name: string): Mark | undefined => {
  const parts = name.split(",")
  const [arrival, , deadline, pid, started] = parts.map(Number)
  const [boot, host] = [parts[5], parts[7]]
  if (arrival === undefined || deadline === undefined || pid === undefined || started === undefined) return undefined
  if (boot === undefined || host === undefined || !Number.isFinite(arrival + deadline + started)) return undefined
  return { name, arrival, deadline, isHere: host === ownHost, process: { host: thisProcess.host, boot, pid, started } }
}

/** Whether somebody still waits behind the mark. Removes it if it is certain that nobody does. */
const isWaiting = (place: Place, mark: Mark, now: number): boolean => {
  if (!mark.isHere) {
    const age = now - mark.arrival
    if (age > foreignKept) removeMark(place, mark.name)
    return age <= foreignWaits
  }
  // A second more: a waiter may be a little late to see that its time is over.
  const isOver = mark.deadline > 0 && now > mark.deadline + 1000
  const lives = isAlive(mark.process)
  if (!isOver && lives) return true
  if (!lives) seeOrphan(place, mark.arrival)
  removeMark(place, mark.name)
  return false
}

const listMarks = (place: Place): Array<string> => {
  // Nobody ever waited: a holder asks often, and an error costs more than a look.
  if (fs.lstatSync(place.queue, { throwIfNoEntry: false }) === undefined) return []
  try {
    return fs.readdirSync(place.queue).sort()
  } catch (cause) {
    if (codeOf(cause) === "ENOENT") return []
    throw cause
  }
}

/** Who of those who wait is first, before `own`, or of all. Without `stuck`, those are passed over. */
const findFirst = (place: Place, own: string | undefined, stuck?: ReadonlySet<string>): string | undefined => {
  const now = Date.now()
  for (const name of listMarks(place)) {
    if (own !== undefined && name >= own) return undefined
    if (stuck?.has(name)) continue
    const mark = parseMark(name)
    if (mark !== undefined && isWaiting(place, mark, now)) return name
  }
  return undefined
}

// the folder: having the lock

interface Folder {
  inode: number
  born: number
  /** The last heartbeat, on the monotonic clock. */
  beat: number
  isLost: boolean
}

/** The folders that this process made, by path. */
const folders = new Map<string, Folder>()

const isOurs = (folder: string): boolean => {
  const known = folders.get(folder)
  const found = statOf(folder)
  return known !== undefined && found !== undefined && found.ino === known.inode && found.birthtimeMs === known.born
}

/** Who may not have it finds a folder there. Its time is set by its maker alone; whoever may write to the folder above can remove it. */
const makeLock = (folder: string, access: Access | undefined): void => {
  const { folder: mode } = modesOf(access)
  fs.mkdirSync(folder, { mode })
  if (isForGroup(access)) ignoreErrors(() => fs.chmodSync(folder, mode))
  const { birthtimeMs, ino } = fs.lstatSync(folder)
  folders.set(folder, { inode: ino, born: birthtimeMs, beat: performance.now(), isLost: false })
}

/**
 * The system calls as proper-lockfile makes them. It knows a lock by its path alone, so after a pause it would remove, or keep
 * alive, what meanwhile is another's; and it sets the first heartbeat up to a second ahead.
 */
const systemCalls = {
  statSync: (folder: string): fs.Stats => fs.lstatSync(folder),
  realpathSync: (file: string): string => file,
  utimesSync: (folder: string, _: Date, modified: Date): void => {
    const known = folders.get(folder)
    if (known !== undefined && !isOurs(folder)) {
      throw Object.assign(new Error("The lock is another's by now"), { code: "ENOENT" })
    }
    // By a time on the full second it would take the file system for one that knows no milliseconds.
    const now = Date.now()
    const time = new Date(Math.min(modified.getTime(), now % 1000 === 0 ? now + 1 : now))
    fs.utimesSync(folder, time, time)
    if (known === undefined) return
    if (performance.now() - known.beat > stale) known.isLost = true
    known.beat = performance.now()
    // Where no time of birth is kept, Node gives that of the last change of the inode: which was this one.
    known.born = statOf(folder)?.birthtimeMs ?? known.born
  },
  rmdirSync: (folder: string): void => {
    const isAnothers = folders.has(folder) && !isOurs(folder)
    folders.delete(folder)
    if (!isAnothers) fs.rmdirSync(folder)
  }
}

interface Taken {
  readonly isLost: () => boolean
  readonly release: () => void
}

/** Tries once; `undefined` if somebody holds the lock. */
const take = (lockfile: Lockfile, place: Place, since: () => string): Taken | undefined => {
  let unlock: () => void
  try {
    unlock = lockfile.lockSync(place.target, {
      lockfilePath: place.folder,
      realpath: false,
      stale,
      update,
      retries: 0,
      fs: { ...systemCalls, mkdirSync: (folder: string) => makeLock(folder, place.access) },
      // The default throws, out of a timer: that ends the process.
      onCompromised: () => {
        const known = folders.get(place.folder)
        if (known !== undefined) known.isLost = true
      }
    })
  } catch (cause) {
    if (codeOf(cause) === "ELOCKED") return undefined
    // The folder was made, and removed by somebody else before it was looked at.
    if (codeOf(cause) === "ENOENT" && cause instanceof Error && "syscall" in cause && cause.syscall !== "mkdir") {
      folders.delete(place.folder)
      return undefined
    }
    throw cause
  }
  writeNote(place, since())
  return {
    isLost: () => {
      const known = folders.get(place.folder)
      return known === undefined || known.isLost || performance.now() - known.beat > stale || !isOurs(place.folder)
    },
    release: () => release(place, unlock)
  }
}

const release = (place: Place, unlock: () => void): void => {
  // First the note: as soon as the folder is gone there may be another's.
  if (isOurs(place.folder)) ignoreErrors(() => fs.unlinkSync(place.note))
  ignoreErrors(unlock)
  // proper-lockfile leaves it to others when it believes it lost: if it is ours after all, nobody need wait for it.
  if (folders.has(place.folder)) ignoreErrors(() => systemCalls.rmdirSync(place.folder))
}

const ignoreErrors = (f: () => void): void => {
  try {
    f()
  } catch {
    // The lock goes by its heartbeat, then.
  }
}

// waiting

/** What one who waits has seen: who let the free lock lie, and since when; and at the last full look, whose lock it was. */
interface Sight {
  first: string | undefined
  since: number
  held: fs.Stats | undefined
  looked: number
}

/** Whether the lock is there as it was at the last full look, a moment ago. */
const isHeldAsBefore = (place: Place, { held, looked }: Sight, now: number): boolean => {
  if (held === undefined || now - looked >= fullLook) return false
  const folder = statOf(place.folder)
  return folder?.ino === held.ino && folder.birthtimeMs === held.birthtimeMs
}

/** Takes the lock if it is free and nobody waits before us. */
const tryTake = (lockfile: Lockfile, place: Place, own: string | undefined, sight: Sight, clock: Clock.Clock) => {
  const started = monotonicMillis(clock)
  if (isHeldAsBefore(place, sight, started)) return undefined
  sight.held = statOf(place.folder)
  sight.looked = started
  removeOrphan(place)
  for (;;) {
    const first = findFirst(place, own, place.stuck)
    if (first === undefined) break
    if (!isFree(place)) {
      sight.first = undefined
      return undefined
    }
    const now = monotonicMillis(clock)
    if (sight.first !== first) {
      sight.first = first
      sight.since = now
      return undefined
    }
    if (now - sight.since < patience) return undefined
    place.stuck.add(first)
  }
  if (place.stuck.size > 0) forgetStuck(place)
  const since = () => new Date(clock.currentTimeMillisUnsafe()).toISOString()
  const taken = take(lockfile, place, since)
  return taken ?? (removeDead(place) ? take(lockfile, place, since) : undefined)
}

const forgetStuck = (place: Place): void => {
  const present = new Set(listMarks(place))
  for (const name of place.stuck) if (!present.has(name)) place.stuck.delete(name)
}

const isContended = (place: Place): boolean => {
  if (place.isContended) return true
  try {
    return findFirst(place, undefined) !== undefined
  } catch {
    return false
  }
}

const monotonicMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

const make = (lockfile: Lockfile, options: Options): Lock["Service"] => {
  const acquire: Lock["Service"]["acquire"] = (name, { timeout: given, wait: schedule } = {}) => {
    const step = <A>(f: () => A): Effect.Effect<A, StorageError> =>
      Effect.try({ try: f, catch: toStorageError(options, name) })

    return Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
      const scope = yield* Scope.Scope
      const clock = yield* Clock.Clock
      const timeout = Duration.fromInputUnsafe(given ?? "5 seconds")
      const millis = Duration.toMillis(timeout)
      const arrival = Date.now()
      const started = monotonicMillis(clock)
      const place = yield* step(() => placeOf(options, name))
      let mark: string | undefined
      let isInside = false

      const wait = Effect.gen(function*() {
        if (place.isTaken && millis > 0) mark = yield* step(() => putMark(place, arrival, millis))
        isInside = yield* place.enter(restore, timeout)
        const sight: Sight = { first: undefined, since: 0, held: undefined, looked: 0 }
        let pause: ((millis: number) => Effect.Effect<boolean>) | undefined
        while (isInside) {
          const taken = yield* step(() => tryTake(lockfile, place, mark, sight, clock))
          if (taken !== undefined) return taken
          const rest = millis - (monotonicMillis(clock) - started)
          if (rest <= 0) break
          mark ??= yield* step(() => putMark(place, arrival, millis))
          pause ??= yield* makePause(schedule ?? defaultWait, clock)
          if (!(yield* restore(pause(rest)))) break
        }
        return yield* new LockTimeout({
          name,
          holder: readHolder(place),
          waitedMillis: monotonicMillis(clock) - started
        })
      })

      const taken = yield* Effect.onExit(wait, (exit) =>
        Effect.sync(() => {
          if (mark !== undefined) removeMark(place, mark)
          if (isInside && Exit.isFailure(exit)) place.leave()
        }))
      yield* Scope.addFinalizer(
        scope,
        Effect.sync(() => {
          taken.release()
          place.leave()
        })
      )
      return {
        isLost: Effect.sync(taken.isLost),
        isContended: Effect.sync(() => isContended(place))
      } satisfies Held
    }))
  }
  const holder: Lock["Service"]["holder"] = (name) =>
    Effect.try({
      try: () => findHolder(placeOf(options, name)),
      catch: toStorageError(options, name)
    }).pipe(
      // where there is no folder, nobody holds anything
      Effect.catch((error) => error.reason === "NotFound" ? Effect.succeed(undefined) : Effect.fail(error))
    )
  return Lock.of({ acquire, holder })
}

const readHolder = (place: Place): Holder | undefined => {
  const holder = readNote(place)?.holder
  return holder && Holder.make({ host: holder.host, pid: holder.pid, since: holder.since })
}

const findHolder = (place: Place): Holder | undefined => {
  if (isFree(place)) return undefined
  // Without a note somebody holds it all the same: it comes a moment later, and not at all on a full disk.
  return readHolder(place) ??
    Holder.make({ host: "", pid: 0, since: new Date(statOf(place.folder)?.birthtimeMs ?? 0).toISOString() })
}

/** Sleeps as the schedule says, but not longer than given; `false` when the schedule has ended. */
const makePause = (schedule: Schedule.Schedule<unknown>, clock: Clock.Clock) =>
  Effect.map(
    Schedule.toStep(schedule),
    (step) => (most: number): Effect.Effect<boolean> =>
      Effect.suspend(() => step(clock.currentTimeMillisUnsafe(), undefined)).pipe(
        Effect.flatMap(([, delay]) => clock.sleep(Duration.min(delay, Duration.millis(most)))),
        Effect.as(true),
        Pull.catchDone(() => Effect.succeed(false))
      )
  )

// layers

/** Locks in the files below a folder, for all processes that see it. */
export const layer = (options: Options): Layer.Layer<Lock> =>
  Layer.effect(
    Lock,
    // proper-lockfile replaces the process' `fs.close`: only who needs it shall load it.
    Effect.map(Effect.promise(() => import("proper-lockfile")), (lockfile) => make(lockfile, options))
  )
