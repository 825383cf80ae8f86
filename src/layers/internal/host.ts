/**
 * Which process this is, so that another one can tell whether it still lives.
 *
 * A process id alone says little: ids are used again, by the next process or after the next boot.
 */
import * as fs from "node:fs"
import { hostname } from "node:os"

// models

export interface Identity {
  /** The host's name; within a container's own numbering of processes, also which numbering. */
  readonly host: string
  /** Which run of the system; empty where that cannot be told. */
  readonly boot: string
  readonly pid: number
  /** When the process started, in ticks since the boot; 0 where that cannot be told. */
  readonly started: number
}

// reading

const readText = (path: string): string | undefined => {
  try {
    return fs.readFileSync(path, "latin1")
  } catch {
    return undefined
  }
}

/** State and time of start, on Linux; `undefined` if it cannot be read. */
const readProcess = (pid: number): { readonly state: string; readonly started: number } | undefined => {
  const text = readText(`/proc/${pid}/stat`)
  if (text === undefined) return undefined
  // The second field is the program's name in parentheses, with whatever in it; the third is the state, the 22nd the start.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
  const started = Number(fields[19])
  return fields[0] !== undefined && Number.isSafeInteger(started) ? { state: fields[0], started } : undefined
}

/**
 * Containers may share a host's name and its boot, but number their processes each for itself: a living process of one is
 * nobody, or somebody else, in the other.
 */
const readNumbering = (): string => {
  try {
    const numbering = /\d+/.exec(fs.readlinkSync("/proc/self/ns/pid"))?.[0]
    // The number of the outermost one is a constant of the kernel.
    return numbering === undefined || numbering === "4026531836" ? "" : `.pid${numbering}`
  } catch {
    return ""
  }
}

// this process

export const thisProcess: Identity = {
  host: hostname() + readNumbering(),
  boot: readText("/proc/sys/kernel/random/boot_id")?.trim() ?? "",
  pid: process.pid,
  started: readProcess(process.pid)?.started ?? 0
}

// others

/**
 * Whether the process lives, as far as can be told: of another host nothing is known, so its processes count as living. A
 * stopped process lives, a zombie does not.
 */
export const isAlive = (identity: Identity): boolean => {
  if (identity.host !== thisProcess.host) return true
  if (identity.boot !== "" && thisProcess.boot !== "" && identity.boot !== thisProcess.boot) return false
  if (identity.pid === thisProcess.pid) return isSameStart(identity.started, thisProcess.started)
  // 0 and below name groups of processes.
  if (!Number.isSafeInteger(identity.pid) || identity.pid <= 0) return false
  try {
    process.kill(identity.pid, 0)
  } catch (cause) {
    // Any other failure (it belongs to another user) means that it is there.
    if (cause instanceof Error && "code" in cause && cause.code === "ESRCH") return false
  }
  const found = readProcess(identity.pid)
  if (found === undefined) return true
  return found.state !== "Z" && found.state !== "X" && isSameStart(identity.started, found.started)
}

const isSameStart = (a: number, b: number): boolean => a === 0 || b === 0 || a === b
