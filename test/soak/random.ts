/** Random numbers that follow from a seed. */

export interface Random {
  /** A whole number from 0 up to, not including, `n`. */
  readonly below: (n: number) => number
  /** A whole number from `least` to `most`. */
  readonly between: (least: number, most: number) => number
  /** Once in `n` times. */
  readonly oneIn: (n: number) => boolean
  readonly pick: <A>(items: readonly [A, ...Array<A>]) => A
}

/** mulberry32: 32 bits of state, good enough to choose by. */
export const fromSeed = (seed: number): Random => {
  let state = seed >>> 0
  const below = (n: number): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor(((t ^ (t >>> 14)) >>> 0) / 2 ** 32 * n)
  }
  return {
    below,
    between: (least, most) => least + below(most - least + 1),
    oneIn: (n) => below(n) === 0,
    pick: (items) => items[below(items.length)]!
  }
}

/** A seed of its own for each part: what one part chooses does not depend on how often another one did. */
export const seedOf = (seed: number, ...parts: ReadonlyArray<number | string>): number => {
  let hash = seed >>> 0
  for (const char of parts.join("/")) hash = Math.imul(hash ^ char.codePointAt(0)!, 0x01000193) >>> 0
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b) >>> 0
  return (hash ^ (hash >>> 16)) >>> 0
}
