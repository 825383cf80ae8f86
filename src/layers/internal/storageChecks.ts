/** Checks of what a storage is called with, the same in each layer: what one medium would take and another not is a bug everywhere. */

/** An empty part (also of an absolute path, or behind a last `/`), `.` or `..`, a NUL, or what Windows takes for a separator. */
const bad = /(^|\/)\.{0,2}(\/|$)|[\0\\]/

/** Throws on a path that is none. Only calls about folders take the root, which is `""`. */
export const checkPath = (path: string): void => {
  if (bad.test(path)) throw new Error(`Not a storage path: ${JSON.stringify(path)}`)
}

/** As `checkPath`, for the calls that take the root folder too. */
export const checkFolderPath = (path: string): void => {
  if (path !== "") checkPath(path)
}

/** Throws on what is no place in a file. */
export const checkRange = (offset: number, length: number): void => {
  if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(length) || length < 0) {
    throw new Error(`Not a range of a file: ${length} bytes at ${offset}`)
  }
}
