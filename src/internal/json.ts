/**
 * JSON, as it is stored: what cannot be read back as it was written is found before anything is written.
 *
 * Plain synchronous functions: they run once for every event.
 */
import type * as Schema from "effect/Schema"
import * as limits from "./limits.ts"
import { isWellFormed } from "./text.ts"

/** Why a value cannot be stored, and where in it. */
export interface Problem {
  /**
   * - `value`: JSON has no such value (or would change it)
   * - `nesting`: deeper than `limits.nesting`, or a value that holds itself
   * - `size`: surely more than `limits.eventBytes`
   */
  readonly kind: "value" | "nesting" | "size"
  /** A JSON path, e.g. `$.items[3].price`. */
  readonly path: string
  /** What is wrong, to stand behind the path, e.g. `is NaN`. */
  readonly problem: string
}

/** A value that can be stored takes at least so many bytes; more than the bound only if it cannot. */
export interface Measured {
  readonly problem: Problem | undefined
  readonly bytes: number
}

/** Where the walk stands, kept only while it stands there: a path is put together when something is wrong. */
const keys: Array<string | number> = []
let bytes = 0
let kind: Problem["kind"] = "value"

/**
 * Looks at a value once, and measures it: the bytes are those of its JSON, less escapes and all but one byte of each
 * character. Never throws for a value without accessors, and never goes deeper than `limits.nesting`. What has accessors may be
 * another value when it is looked at again: whoever writes it looks at what he is about to write (`write`).
 */
export const measure = (value: unknown): Measured => {
  keys.length = 0
  bytes = 0
  kind = "value"
  const problem = walk(value, 0)
  return { problem: problem === undefined ? undefined : { kind, path: toPath(keys), problem }, bytes }
}

/** Why a value cannot be stored; `undefined` if it can. */
export const problem = (value: unknown): Problem | undefined => measure(value).problem

/**
 * The text of a value that was measured. Throws if it is not what it was: getters and proxies may say something else each time, and what
 * is no object any more, or is nested more deeply, could not be read again.
 */
export const write = (value: object): string => {
  const text: unknown = JSON.stringify(value)
  if (typeof text !== "string" || text.charCodeAt(0) !== 0x7b || (text.length > 2 * limits.nesting && isDeep(text))) {
    throw new TypeError("it is another value each time that it is looked at")
  }
  return text
}

/** Whether a text of JSON has more levels than allowed. */
const isDeep = (text: string): boolean => {
  if (!hasMany(text, "{", "[")) return false
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22:
        for (i++; text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++
        break
      case 0x5b:
      case 0x7b:
        if (++depth > limits.nesting) return true
        break
      case 0x5d:
      case 0x7d:
        depth--
        break
    }
  }
  return false
}

/** Whether there are more of these characters, be it in texts, than levels are allowed: looked for by the engine, not one by one. */
const hasMany = (text: string, ...characters: ReadonlyArray<string>): boolean => {
  let left = limits.nesting
  for (const character of characters) {
    for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + 1)) if (--left < 0) return true
  }
  return false
}

/** As a text: `$.items[3].price is NaN`. */
export const format = ({ path, problem }: Problem): string => `${path} ${problem}`

const walk = (value: unknown, depth: number): string | undefined => {
  switch (typeof value) {
    case "string":
      bytes += value.length + 2
      if (!isWellFormed(value)) return "has half of a surrogate pair"
      return bytes > limits.eventBytes ? tooLarge() : undefined
    case "number":
      bytes += 1
      return Number.isFinite(value) ? undefined : `is ${value}`
    case "boolean":
      bytes += 4
      return undefined
    case "object":
      if (value === null) {
        bytes += 4
        return undefined
      }
      if (depth === limits.nesting) {
        kind = "nesting"
        return `is nested deeper than ${limits.nesting} levels (or holds itself)`
      }
      // Without this a value that holds another one twice, that one a third one twice, ... is walked for ever.
      bytes += 2
      if (bytes > limits.eventBytes) return tooLarge()
      return Array.isArray(value) ? walkArray(value, depth) : walkObject(value, depth)
    case "undefined":
      return "is undefined"
    default:
      return `is a ${typeof value}`
  }
}

/** `JSON.rawJSON` makes objects that are written as whatever text they were given, where the engine has it. */
const isRaw = (JSON as { readonly isRawJSON?: (value: unknown) => boolean }).isRawJSON

/** JSON asks a value how it wants to be written, and would write what it answers. */
const writesItself = (value: object): boolean => typeof (value as { readonly toJSON?: unknown }).toJSON === "function"

const walkArray = (array: ReadonlyArray<unknown>, depth: number): string | undefined => {
  if (writesItself(array)) return "has a function toJSON"
  bytes += array.length > 1 ? array.length - 1 : 0
  for (let i = 0; i < array.length; i++) {
    // A hole reads as `undefined`, and is named so.
    keys[depth] = i
    const problem = walk(array[i], depth + 1)
    if (problem !== undefined) return problem
  }
  keys.length = depth
  // There is no hole in it, so more keys than elements are keys that would be lost.
  return Object.keys(array).length > array.length ? "is an array with keys of its own" : undefined
}

const walkObject = (object: object, depth: number): string | undefined => {
  const proto = Object.getPrototypeOf(object) as object | null
  // Plain in whatever realm it was made: `Object.prototype` is what has no prototype itself.
  if (proto !== null && Object.getPrototypeOf(proto) !== null) {
    const name: unknown = (object as { constructor?: { name?: unknown } }).constructor?.name
    return `is no plain object but a ${typeof name === "string" && name !== "" ? name : "class's instance"}`
  }
  if (proto === null && isRaw?.(object) === true) return "is raw JSON, of which nobody looks at the text"
  if (Object.getOwnPropertySymbols(object).length > 0) return "has a symbol as a key"
  if (writesItself(object)) return "has a function toJSON"
  // Own keys alone, and so also `__proto__` where it is data.
  const names = Object.keys(object)
  bytes += names.length > 1 ? names.length - 1 : 0
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!
    keys[depth] = name
    bytes += name.length + 3
    if (!isWellFormed(name)) return "has half of a surrogate pair in its key"
    const problem = walk((object as { readonly [key: string]: unknown })[name], depth + 1)
    if (problem !== undefined) return problem
  }
  keys.length = depth
  return undefined
}

const tooLarge = (): string => {
  kind = "size"
  return `is past the bound of ${limits.eventBytes} bytes for an event`
}

const identifier = /^[\p{L}_$][\p{L}\p{N}_$]*$/u

const toPath = (keys: ReadonlyArray<string | number>): string =>
  keys.reduce<string>(
    (path, key) =>
      typeof key === "number"
        ? `${path}[${key}]`
        : identifier.test(key)
        ? `${path}.${key}`
        : `${path}[${JSON.stringify(key)}]`,
    "$"
  )

/** Whether two JSON values are the same data: an object's order of keys does not matter, `-0` is `0`. */
export const equals = (a: Schema.Json | undefined, b: Schema.Json | undefined): boolean => {
  if (a === b) return true
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false
    for (let i = 0; i < a.length; i++) if (!equals(a[i], b[i])) return false
    return true
  }
  if (Array.isArray(b)) return false
  const left = a as Schema.JsonObject
  const right = b as Schema.JsonObject
  const names = Object.keys(left)
  if (names.length !== Object.keys(right).length) return false
  for (const name of names) {
    if (!Object.hasOwn(right, name) || !equals(left[name], right[name])) return false
  }
  return true
}
