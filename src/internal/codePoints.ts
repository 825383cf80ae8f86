/** Texts in the order of their code points, which is also that of their bytes in UTF-8: the one that files and databases have too. */

/** Moves surrogates, which stand for what is beyond U+FFFF, behind all other UTF-16 units. */
const rank = (unit: number): number => unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800

/** Negative, zero or positive, as for `sort`. `<` would compare UTF-16 units: U+1F600 before U+FF5E. */
export const compare = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) return rank(x) - rank(y)
  }
  return a.length - b.length
}
