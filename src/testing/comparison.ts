/** Whether two values are the same to a reader of a test, how they look, and where they differ. */
import * as Equal from "effect/Equal"
import { inspect } from "node:util"

// sameness

const isPlain = (value: unknown): value is Record<string, unknown> => {
  if (typeof value !== "object" || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** What is said by an error beside its name and message. */
const fieldsOf = (error: Error): Record<string, unknown> => {
  const fields: Record<string, unknown> = { ...error }
  for (const key of ["_tag", "name", "message", "stack"]) delete fields[key]
  if (Object.hasOwn(error, "cause")) fields.cause = error.cause
  return fields
}

const sameFields = (a: Record<string, unknown>, b: Record<string, unknown>, path: Path): boolean => {
  // A key that is there but `undefined` says nothing: stored as JSON, it is gone.
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    if (!isSameAlong(a[key], b[key], path)) return false
  }
  return true
}

type Path = ReadonlyArray<readonly [unknown, unknown]>

const isSameAlong = (a: unknown, b: unknown, path: Path): boolean => {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Equal.equals(a, b)
  // Values that hold themselves are the same until a difference is found elsewhere.
  if (a === b || path.some(([left, right]) => left === a && right === b)) return true
  const deeper: Path = [...path, [a, b]]
  if (a instanceof Error && b instanceof Error) {
    return a.constructor === b.constructor && a.name === b.name && a.message === b.message &&
      sameFields(fieldsOf(a), fieldsOf(b), deeper)
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, i) => isSameAlong(item, b[i], deeper))
  }
  if (isPlain(a) && isPlain(b)) return sameFields(a, b, deeper)
  return Equal.equals(a, b)
}

/** By structure: errors by class, message and fields, all else as `Equal` says. */
export const isSame = (a: unknown, b: unknown): boolean => isSameAlong(a, b, [])

// looks

const deepest = 12

/** Errors as records, without stacks, so that they can be read and compared line by line. */
export const toPlain = (value: unknown, depth = 0): unknown => {
  if (depth === deepest) return value
  if (value instanceof Error) {
    const { _tag = value.name } = value as { readonly _tag?: unknown }
    return { _tag, message: value.message, ...toPlain(fieldsOf(value), depth + 1) as object }
  }
  if (Array.isArray(value)) return value.map((item) => toPlain(item, depth + 1))
  return isPlain(value)
    ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toPlain(item, depth + 1)]))
    : value
}

const options = { depth: deepest, sorted: true, maxArrayLength: null, maxStringLength: null } as const

/** On one line. */
export const show = (value: unknown): string =>
  inspect(toPlain(value), { ...options, breakLength: Infinity, compact: true })

/** On as many lines as are good for comparing it with another one. */
const toLines = (value: unknown, isWide: boolean): ReadonlyArray<string> =>
  isWide ? inspect(toPlain(value), { ...options, breakLength: 0, compact: false }).split("\n") : [show(value)]

/** An error in one line: its name, and what it says. */
export const showError = (error: unknown): string =>
  error instanceof Error
    ? `${(error as { readonly _tag?: string })._tag ?? error.name}${error.message === "" ? "" : `: ${error.message}`}`
    : show(error)

// differences

/** Two lists side by side: pairs of what is the same, and what only one of them has. */
export type Aligned<A, B> = ReadonlyArray<
  | { readonly left: A; readonly right: B }
  | { readonly left: A; readonly right?: never }
  | { readonly left?: never; readonly right: B }
>

/** Beyond it, a table of all pairs costs more than it helps whoever reads what comes of it. */
const largestTable = 1_000_000

/** Aligns two lists by their longest common subsequence; what only the left one has comes first. */
export const align = <A extends {}, B extends {}>(
  left: ReadonlyArray<A>,
  right: ReadonlyArray<B>,
  isEqual: (left: A, right: B) => boolean
): Aligned<A, B> => {
  let start = 0
  while (start < left.length && start < right.length && isEqual(left[start]!, right[start]!)) start++
  let [leftEnd, rightEnd] = [left.length, right.length]
  while (leftEnd > start && rightEnd > start && isEqual(left[leftEnd - 1]!, right[rightEnd - 1]!)) {
    leftEnd--
    rightEnd--
  }
  const [rows, columns] = [leftEnd - start, rightEnd - start]
  const out: Array<Aligned<A, B>[number]> = []
  for (let i = 0; i < start; i++) out.push({ left: left[i]!, right: right[i]! })
  if (rows * columns > largestTable) {
    for (let i = start; i < leftEnd; i++) out.push({ left: left[i]! })
    for (let j = start; j < rightEnd; j++) out.push({ right: right[j]! })
  } else {
    // longest[i][j]: how much the lists have in common from i and j on
    const longest = Array.from({ length: rows + 1 }, () => new Uint32Array(columns + 1))
    for (let i = rows - 1; i >= 0; i--) {
      for (let j = columns - 1; j >= 0; j--) {
        longest[i]![j] = isEqual(left[start + i]!, right[start + j]!)
          ? longest[i + 1]![j + 1]! + 1
          : Math.max(longest[i + 1]![j]!, longest[i]![j + 1]!)
      }
    }
    let [i, j] = [0, 0]
    while (i < rows || j < columns) {
      if (i < rows && j < columns && isEqual(left[start + i]!, right[start + j]!)) {
        out.push({ left: left[start + i++]!, right: right[start + j++]! })
      } else if (i < rows && (j === columns || longest[i + 1]![j]! >= longest[i]![j + 1]!)) {
        out.push({ left: left[start + i++]! })
      } else {
        out.push({ right: right[start + j++]! })
      }
    }
  }
  for (let i = leftEnd; i < left.length; i++) out.push({ left: left[i]!, right: right[rightEnd + i - leftEnd]! })
  return out
}

/** How many lines that are the same stand around one that is not. */
const context = 3

/** Aligned lines as text; long stretches of what is the same are left out. */
export const toDiff = (
  lines: ReadonlyArray<{ readonly mark: " " | "-" | "+" | "~"; readonly text: string }>
): string => {
  const out: Array<string> = []
  let skipped = 0
  const isNear = (at: number) =>
    lines.slice(Math.max(0, at - context), at + context + 1).some(({ mark }) => mark !== " ")
  const endSkipped = () => {
    if (skipped > 0) out.push(`    ... ${skipped} that ${skipped === 1 ? "is" : "are"} the same`)
    skipped = 0
  }
  lines.forEach(({ mark, text }, at) => {
    if (isNear(at)) {
      endSkipped()
      out.push(`  ${mark} ${text}`)
    } else skipped++
  })
  endSkipped()
  return out.join("\n")
}

/** Two values line by line, lists item by item: `-` is what was expected, `+` what is. */
export const diffValues = (expected: unknown, actual: unknown): string => {
  const isWide = isLong(expected) || isLong(actual)
  const lines = Array.isArray(expected) && Array.isArray(actual)
    ? align(expected.map(show), actual.map(show), (a, b) => a === b)
    : align(toLines(expected, isWide), toLines(actual, isWide), (a, b) => a === b)
  return toDiff(lines.map(({ left, right }) =>
    left === undefined
      ? { mark: "+", text: right }
      : right === undefined
      ? { mark: "-", text: left }
      : { mark: " ", text: left }
  ))
}

const isLong = (value: unknown): boolean => show(value).length > 80

/** Where two values of JSON differ, a line for each place, at most five. `what` is how the whole is called. */
export const differences = (what: string, expected: unknown, actual: unknown): ReadonlyArray<string> => {
  const out: Array<string> = []
  const visit = (path: string, expected: unknown, actual: unknown): void => {
    if (out.length === 5) return
    if (Array.isArray(expected) && Array.isArray(actual) && expected.length === actual.length) {
      return expected.forEach((item, i) => visit(`${path}[${i}]`, item, actual[i]))
    }
    if (isPlain(expected) && isPlain(actual)) {
      for (const key of new Set([...Object.keys(expected), ...Object.keys(actual)])) {
        visit(path === "data" ? key : `${path}.${key}`, expected[key], actual[key])
      }
      return
    }
    if (isSame(expected, actual)) return
    const say = (value: unknown) => value === undefined ? "nothing" : JSON.stringify(value)
    out.push(`${path}: expected ${say(expected)}, but it is ${say(actual)}`)
  }
  visit(what, expected, actual)
  return out
}
