/**
 * A text as the name of a file, on any file system: names that differ give names that differ, also where case or the form of Unicode
 * is not looked at, and none leads out of its folder, is hidden, or names a device.
 *
 * Small letters, digits, `-`, `_` and inner dots and spaces stand for themselves. A capital letter is its small one behind `^`,
 * and anything else is its bytes in UTF-8, each as `%` and two digits: so `Maths 1` is `^maths 1` and `ä` is `%c3%a4`.
 */
import { createHash } from "node:crypto"

/** No common file system takes longer names, and an ending and a temporary name's parts must fit. */
const mostBytes = 200

/** Names that are devices on Windows, with whatever ending, and spaces before that. */
const device = /^(con|prn|aux|nul|com\d|lpt\d) *($|[.])/

const plain = /^[a-z0-9_-]$/

const percent = (byte: number): string => `%${byte.toString(16).padStart(2, "0")}`

const escapeAll = (text: string): string => Array.from(Buffer.from(text, "utf8"), percent).join("")

const escapeOne = (char: string, isEdge: boolean): string => {
  if (plain.test(char)) return char
  if (/^[A-Z]$/.test(char)) return `^${char.toLowerCase()}`
  if (!isEdge && (char === "." || char === " ")) return char
  return escapeAll(char)
}

/** 32 hex digits that are another text's only by a chance that nobody will see. */
const hashOf = (text: string): string => createHash("sha256").update(text, "utf8").digest("hex").slice(0, 32)

/**
 * At most 200 bytes, all of them ASCII. A name that would be longer is cut, and ends in `~` and a hash of the text; every other one
 * can be turned back by `fromFileName`. The text must not be empty and be well-formed Unicode.
 */
export const toFileName = (text: string): string => {
  const chars = Array.from(text)
  let name = chars.map((char, i) => escapeOne(char, i === 0 || i === chars.length - 1)).join("")
  // Its first letter is escaped: what comes then is no device's name.
  if (device.test(name)) name = percent(name.charCodeAt(0)) + name.slice(1)
  if (name.length <= mostBytes) return name
  return `${name.slice(0, mostBytes - 33).replace(/(\^|%.?)$/, "").replace(/[. ]+$/, "")}~${hashOf(text)}`
}

/** The text of a name that was not cut; `undefined` for one that was, or that is none of ours. */
export const fromFileName = (name: string): string | undefined => {
  if (!/^([a-z0-9_. -]|\^[a-z]|%[0-9a-f]{2})+$/.test(name)) return undefined
  const bytes = name.replace(/\^([a-z])/g, (_, letter: string) => letter.toUpperCase())
    .replace(/%([0-9a-f]{2})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 16)))
  const text = Buffer.from(bytes, "latin1").toString("utf8")
  return toFileName(text) === name ? text : undefined
}

/** Two hex digits that spread texts over 256 folders. */
export const folderOf = (text: string): string => hashOf(text).slice(0, 2)
