/** What rules say of what they saw. Each throws an `AssertionError` that shows the difference. */
import { AssertionError } from "../assertionError.ts"
import { diffValues, isSame, show } from "../comparison.ts"

/** Two values are the same by structure: errors by class, message and fields. `what` is what the value is, for whoever reads the failure. */
export const equal = (actual: unknown, expected: unknown, what?: string): void => {
  if (isSame(actual, expected)) return
  throw new AssertionError(
    `${what === undefined ? "" : `${what}\n\n`}  - expected  + actual\n${diffValues(expected, actual)}`,
    { actual, expected }
  )
}

export function that(condition: unknown, what: string): asserts condition {
  if (!condition) throw new AssertionError(what)
}

export const atLeast = (actual: number | undefined, least: number | undefined, what: string): void =>
  that((actual ?? 0) >= (least ?? 0), `${what} is ${actual}, and should be at least ${least}`)

export const contains = (text: string, part: string): void =>
  that(text.includes(part), `${show(text)} should contain ${show(part)}`)
