/**
 * Values that were used lately, up to about so many bytes (or whatever their size is told in) of them: in two generations. What is asked for moves to the young one; when that is
 * full it becomes the old one, and what was in the old one is forgotten. A list in order of use would have to be changed at each look.
 */
export class Recent<A> {
  /** Of a generation. */
  private readonly capacity: number
  private readonly sizeOf: (value: A) => number
  private young = new Map<number, A>()
  private old = new Map<number, A>()
  private size = 0

  constructor(size: number, sizeOf: (value: A) => number) {
    this.capacity = size / 2
    this.sizeOf = sizeOf
  }

  get(key: number): A | undefined {
    const found = this.young.get(key)
    if (found !== undefined) return found
    const known = this.old.get(key)
    if (known !== undefined) this.set(key, known)
    return known
  }

  set(key: number, value: A): void {
    this.young.set(key, value)
    this.size += this.sizeOf(value)
    if (this.size < this.capacity) return
    this.old = this.young
    this.young = new Map()
    this.size = 0
  }
}
