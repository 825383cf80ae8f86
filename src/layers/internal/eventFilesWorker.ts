/**
 * The program of the thread that makes event files. Nobody imports it, and it imports as little as it can, since it is loaded anew for
 * each thread.
 *
 * It knows nothing but the job that it is given: these lines of a segment, as files of that folder. What cannot be done as usual is left to
 * whoever gave the job, without a second try.
 */
import * as fs from "node:fs"
import { parentPort, workerData } from "node:worker_threads"
import { type Access, isForGroup, modesOf, temporaryFor } from "./access.ts"
import { encodeEvent, eventName } from "./eventFileFormat.ts"
import { parseRecord } from "./ledgerFormat.ts"
import { findLinkSync, foldersAbove, readAll, safely, secondsOf, writeAll } from "./systemCalls.ts"

// models

/** What the thread is given when it starts. */
export interface Given {
  readonly root: string
  readonly access: Access | undefined
  readonly writeProtect: boolean
}

/** Events that follow one another, whose lines stand in one segment, and whose files belong into one folder. */
export interface Job {
  /** Paths below the root. */
  readonly segment: string
  readonly folder: string
  /** There is no such folder yet, and these are all the events that have their place in it. */
  readonly isNewFolder: boolean
  /** The position of the first one. */
  readonly first: number
  /** Where their lines stand in the segment, in bytes. */
  readonly offsets: ReadonlyArray<number>
  readonly lengths: ReadonlyArray<number>
  /** When they were committed, in milliseconds since 1970. */
  readonly times: ReadonlyArray<number>
}

/** Why it could not be done; `undefined`: the files are there. */
export type Answer = string | undefined

const { access, root, writeProtect } = workerData as Given
const modes = modesOf(access)
const forGroup = isForGroup(access)
const fileMode = writeProtect ? modes.readOnly : modes.file

const { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = fs.constants

// files

/** Of all that takes a path: what is on the way there is no link. */
const refuseLinks = (folder: string): void => {
  const link = findLinkSync(root, foldersAbove(`${folder}/`))
  if (link !== undefined) throw new Error(`${link} is a symbolic link`)
}

/** All lines of a job, as they stand in the segment. */
const readLines = ({ lengths, offsets, segment }: Job): Buffer => {
  refuseLinks(segment.slice(0, segment.lastIndexOf("/")))
  const bytes = Buffer.allocUnsafeSlow(offsets.at(-1)! + lengths.at(-1)! - offsets[0]!)
  const fd = fs.openSync(`${root}/${segment}`, O_RDONLY | safely)
  try {
    if (readAll(fd, bytes, offsets[0]!) < bytes.length) throw new Error(`${segment} ends too early`)
  } finally {
    fs.closeSync(fd)
  }
  return bytes
}

const writeFile = (path: string, bytes: Uint8Array, time: number): void => {
  const fd = fs.openSync(path, O_CREAT | O_EXCL | O_WRONLY | safely, fileMode)
  try {
    writeAll(fd, bytes, 0)
    fs.futimesSync(fd, secondsOf(time), secondsOf(time))
    // in full, whatever the umask took away
    if (forGroup) fs.fchmodSync(fd, fileMode)
  } finally {
    fs.closeSync(fd)
  }
}

/** The files of a job, one after another. */
const writeFiles = (job: Job, write: (name: string, bytes: Uint8Array, time: number) => void): void => {
  const { first, lengths, offsets, times } = job
  const bytes = readLines(job)
  for (let i = 0; i < offsets.length; i++) {
    const at = offsets[i]! - offsets[0]!
    const record = parseRecord(bytes, at, at + lengths[i]!)
    if (typeof record === "string") throw new Error(record)
    if (record.kind !== "event" || record.position !== first + i) throw new Error("another record stands there")
    write(eventName(first + i), encodeEvent(record), times[i]!)
  }
}

/** Each file gets its name when it is whole. */
const fillFolder = (job: Job): void => {
  refuseLinks(job.folder)
  const folder = `${root}/${job.folder}`
  const temporary = temporaryFor(`${folder}/${eventName(job.first)}`)
  try {
    writeFiles(job, (name, bytes, time) => {
      writeFile(temporary, bytes, time)
      fs.renameSync(temporary, `${folder}/${name}`)
    })
  } catch (cause) {
    fs.rmSync(temporary, { force: true })
    throw cause
  }
}

/** The folder gets its name when all of it is there: that is one rename instead of one for each file. */
const makeFolder = (job: Job): void => {
  refuseLinks(job.folder.slice(0, job.folder.lastIndexOf("/")))
  const folder = `${root}/${job.folder}`
  const temporary = temporaryFor(folder)
  fs.mkdirSync(temporary, { mode: forGroup ? 0o700 : modes.folder })
  try {
    if (forGroup) fs.chmodSync(temporary, modes.folder)
    writeFiles(job, (name, bytes, time) => writeFile(`${temporary}/${name}`, bytes, time))
    fs.renameSync(temporary, folder)
  } catch (cause) {
    fs.rmSync(temporary, { recursive: true, force: true })
    throw cause
  }
}

// running

const port = parentPort!
port.on("message", (job: Job) => {
  let problem: Answer
  try {
    if (job.isNewFolder) makeFolder(job)
    else fillFolder(job)
  } catch (cause) {
    problem = String(cause)
  }
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  port.postMessage(problem)
})
