/**
 * Who may see and change what a store makes, as the modes of its files and folders.
 *
 * Modes are given in full, whatever the process' umask takes away, but only to what was made here: what a person made keeps what the
 * person gave it.
 */
import { randomBytes } from "node:crypto"
import * as fs from "node:fs"

// models

/** The user of the process alone, or the group of the folder in which a store lies as well. */
export type Access = "owner" | "group"

export interface Modes {
  readonly folder: number
  readonly file: number
  /** Of a file that is write-protected. */
  readonly readOnly: number
}

const ofOwner: Modes = { folder: 0o700, file: 0o600, readOnly: 0o400 }
// The bit of a folder that gives its group to what is made in it: else that would have the group of whoever made it.
const ofGroup: Modes = { folder: 0o2770, file: 0o660, readOnly: 0o440 }

/** Windows has no such modes: there all of it is inherited from the folder above. */
export const isForGroup = (access: Access | undefined): boolean => access === "group" && process.platform !== "win32"

export const modesOf = (access: Access | undefined): Modes => isForGroup(access) ? ofGroup : ofOwner

// making

/** A name beside the target's for what is made before it has its own. Cut, so that any name that a file system takes gives one that it takes. */
export const temporaryFor = (target: string): string => {
  const at = target.lastIndexOf("/") + 1
  return `${target.slice(0, at)}.${target.slice(at, at + 60)}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`
}

/** Makes a folder where nothing is. It has its mode before it has its name: who dies in between shuts nobody out. */
export const makeFolderSync = (folder: string, access: Access | undefined): void => {
  const { folder: mode } = modesOf(access)
  if (!isForGroup(access)) return void fs.mkdirSync(folder, { mode })
  const temporary = temporaryFor(folder)
  fs.mkdirSync(temporary, { mode: 0o700 })
  try {
    fs.chmodSync(temporary, mode)
    fs.renameSync(temporary, folder)
  } catch (cause) {
    fs.rmdirSync(temporary)
    throw cause
  }
}
