/** What is wrong with a text that is to be stored, and how long it is there. */

const encoder = new TextEncoder()

/** The bytes that a text takes in UTF-8. */
export const utf8Length = (text: string): number => encoder.encode(text).length

/** Whether a text takes more bytes in UTF-8; looks at the bytes only where its length leaves room for doubt. */
export const isLongerThan = (text: string, bytes: number): boolean =>
  text.length > bytes || (text.length * 3 > bytes && utf8Length(text) > bytes)

/** C0, DEL and C1: nobody can see them, and terminals obey them. */
const control = /\p{Cc}/u

export const hasControlCharacter = (text: string): boolean => control.test(text)

/** Half of a surrogate pair: no bytes in UTF-8 stand for it, so another text would be read than was written. */
export const isWellFormed: (text: string) => boolean = "isWellFormed" in String.prototype
  ? (text) => (text as unknown as { isWellFormed(): boolean }).isWellFormed()
  : (text) => !/\p{Cs}/u.test(text)

/** The problem of a name (an event type, an id): `undefined` if there is none. Its length is looked at elsewhere. */
export const nameProblem = (name: unknown): string | undefined =>
  typeof name !== "string"
    ? `is no text but ${name === null ? "null" : typeof name}`
    : name === ""
    ? "is empty"
    : !isWellFormed(name)
    ? "has half of a surrogate pair"
    : hasControlCharacter(name)
    ? "has a control character"
    : undefined

/** What was thrown, as a text. Anything may be, also what has no text of its own. */
export const ofCause = (cause: unknown): string => {
  try {
    return String(cause instanceof Error ? cause.message : cause)
  } catch {
    try {
      return Object.prototype.toString.call(cause)
    } catch {
      return "something that has no text"
    }
  }
}

/** A value that was found where another was expected, for a message: short, and whatever it is. */
export const show = (value: unknown): string => {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
    case "object":
      return value === null ? "null" : Array.isArray(value) ? `a list of ${value.length}` : "an object"
    case "function":
      return "a function"
    default:
      return String(value)
  }
}
