/** Which names a store may have: those that are file names on every system, and are not hidden ones. */
import { hasControlCharacter, isLongerThan, isWellFormed } from "../../internal/text.ts"

/** Names that are devices on Windows, with whatever ending, and spaces before that. */
const device = /^(con|prn|aux|nul|com[\d¹²³]|lpt[\d¹²³]|conin\$|conout\$) *(\..*)?$/i

/** What is wrong with a store's name, so that "the option `store`" can stand before it. */
export const nameProblem = (name: unknown): string | undefined => {
  if (typeof name !== "string") return `must be a string, not ${String(name)}`
  const told = JSON.stringify(name)
  if (name === "") return "must not be empty"
  if (!isWellFormed(name) || hasControlCharacter(name)) {
    return `must not have control characters or half characters: ${told}`
  }
  if (/[/\\:*?"<>|]/.test(name)) return `must be a file name, without any of / \\ : * ? " < > |, but is ${told}`
  if (name.startsWith(".")) return `must not begin with a dot: ${told}`
  if (/[. ]$/.test(name)) return `must not end in a dot or a space: ${told}`
  if (device.test(name)) return `must not be the name of a device: ${told}`
  if (isLongerThan(name, 128)) return `must not be longer than 128 bytes: ${told}`
  return undefined
}
