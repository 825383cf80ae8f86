/** Something was not as a test says. Test runners know it by its name, and show `expected` and `actual` side by side. */
export class AssertionError extends Error {
  override readonly name = "AssertionError"
  readonly code = "ERR_ASSERTION"
  readonly actual: unknown
  readonly expected: unknown

  constructor(message: string, options: {
    readonly actual?: unknown
    readonly expected?: unknown
    readonly cause?: unknown
  } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.actual = options.actual
    this.expected = options.expected
  }
}
