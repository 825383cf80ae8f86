/** System calls and what belongs to them, for whoever makes them synchronously: plain functions, that a thread loads in no time. */
import * as fs from "node:fs"
import type { StoragePath } from "../../services/Storage.ts"
import { codeOf } from "./errno.ts"

/** The most that one system call is asked to read or write. */
export const most = 1024 * 1024 * 1024

// Windows has none of these; without O_NONBLOCK, opening a named pipe waits for its other end.
export const safely = (fs.constants.O_NOFOLLOW ?? 0) | (fs.constants.O_NONBLOCK ?? 0)

// reading and writing

export const readAll = (fd: number, buffer: Uint8Array, offset: number): number => {
  let read = 0
  while (read < buffer.length) {
    const count = fs.readSync(fd, buffer, read, Math.min(buffer.length - read, most), offset + read)
    if (count === 0) break
    read += count
  }
  return read
}

export const stalled = () => Object.assign(new Error("write wrote nothing"), { code: "EIO" })

export const writeAll = (fd: number, bytes: Uint8Array, offset: number): void => {
  let written = 0
  while (written < bytes.length) {
    const count = fs.writeSync(fd, bytes, written, Math.min(bytes.length - written, most), offset + written)
    if (count === 0) throw stalled()
    written += count
  }
}

/** Seconds as a double are exact to a quarter of a microsecond, cut off: so that it never shows as a millisecond less. */
export const secondsOf = (milliseconds: number): number => (milliseconds + 0.0005) / 1000

// looking

export const isNothing = (cause: unknown): boolean => codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR"

export const lookSync = (path: string): fs.BigIntStats | undefined => {
  try {
    // Without an error, which costs more than the look, in the usual case of a name that is not there.
    return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false })
  } catch (cause) {
    if (isNothing(cause)) return undefined
    throw cause
  }
}

/** The folders on the way to a path, the uppermost first. */
export const foldersAbove = (path: StoragePath): Array<StoragePath> => {
  const folders: Array<StoragePath> = []
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) folders.push(path.slice(0, at))
  return folders
}

/** The first of these folders that is a link. Behind one that is missing there is nothing to look at. */
export const findLinkSync = (root: string, folders: ReadonlyArray<StoragePath>): StoragePath | undefined => {
  for (const folder of folders) {
    const stats = lookSync(`${root}/${folder}`)
    if (stats === undefined) return undefined
    if (stats.isSymbolicLink()) return folder
  }
  return undefined
}
