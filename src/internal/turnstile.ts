/**
 * A turnstile: who wants overlapping things goes through one after another, in the order of coming; who wants other things does
 * not wait. It orders, and excludes nobody: waiting is bounded, and who has waited for too long goes on beside the others.
 *
 * A wish is a list of items. Two wishes overlap if some item of one and some item of the other share a kind (no kinds: any) and the
 * tags of one contain those of the other (no tags: contained in all). So `course:a, student:x` stands in the way of `course:a` and
 * not of `course:a, student:y`.
 */
import * as Effect from "effect/Effect"

/** Without repetitions. */
export interface Item {
  readonly types: ReadonlyArray<string>
  readonly tags: ReadonlyArray<string>
}

export interface Ticket {
  /** Whether it has left. */
  readonly isOver: boolean
  /** Completes when all that came before and overlap have left, or when none of them has left for so many milliseconds of real time. */
  readonly turn: (atMostMillis: number) => Effect.Effect<void>
  /** Lets those behind go on. To be called once. */
  readonly leave: () => void
}

export interface Turnstile {
  /** Stands at the end of the queue; `undefined` if that is full. */
  readonly enter: (wish: ReadonlyArray<Item>) => Ticket | undefined
  /** How many have entered and not left. */
  readonly size: () => number
}

/** An item as it stands in the queue. */
interface Entry extends Item {
  readonly owner: Owner
  /** The tag under which it is found by those who contain it. */
  readonly anchor: string | undefined
}

interface Owner {
  /** In the order of coming. */
  readonly number: number
  /** In how many ways it overlaps those that came before and have not left: as many as they count when they leave. */
  ahead: number
  /** Whom to tell when there is nobody ahead. */
  wake: (() => void) | undefined
  /** When it was last that somebody ahead left. */
  moved: number
}

type Places = Map<string, Set<Entry>>

export const make = (options: { readonly limit: number }): Turnstile => {
  let coming = 0
  let size = 0
  /** Items with tags, under each of their tags. */
  const byTag: Places = new Map()
  /** Items with tags, under one of them. */
  const byAnchor: Places = new Map()
  /** Items without tags. */
  const wide = new Set<Entry>()

  /**
   * Those that overlap: each as often as its items and those of the wish do, and so as often as it would meet the wish. Two items of
   * the same tags meet twice, whichever looks for the other.
   */
  const overlapping = (wish: ReadonlyArray<Item>, visit: (owner: Owner) => void): void => {
    const meet = (item: Item, entry: Entry) => {
      if (shareType(item.types, entry.types)) visit(entry.owner)
    }
    for (const item of wish) {
      for (const entry of wide) meet(item, entry)
      if (item.tags.length === 0) {
        for (const entries of byAnchor.values()) for (const entry of entries) meet(item, entry)
        continue
      }
      // Who has all tags of the item is found by any of them, so by the rarest; whose tags the item all has, by the one that it is under.
      for (const entry of byTag.get(rarest(item.tags, byTag)) ?? []) {
        if (containsAll(entry.tags, item.tags)) meet(item, entry)
      }
      for (const tag of item.tags) {
        for (const entry of byAnchor.get(tag) ?? []) if (containsAll(item.tags, entry.tags)) meet(item, entry)
      }
    }
  }

  const enter = (wish: ReadonlyArray<Item>): Ticket | undefined => {
    if (size >= options.limit) return undefined
    size++
    const owner: Owner = { number: coming++, ahead: 0, wake: undefined, moved: 0 }
    overlapping(wish, () => {
      owner.ahead++
    })
    const entries: ReadonlyArray<Entry> = wish.map(({ tags, types }) => ({
      types,
      tags,
      owner,
      anchor: tags.length === 0 ? undefined : rarest(tags, byAnchor)
    }))
    for (const entry of entries) {
      if (entry.anchor === undefined) wide.add(entry)
      else {
        put(byAnchor, entry.anchor, entry)
        for (const tag of entry.tags) put(byTag, tag, entry)
      }
    }
    let isOver = false
    return {
      get isOver() {
        return isOver
      },
      turn: (atMostMillis) => owner.ahead === 0 ? Effect.void : wait(owner, atMostMillis),
      leave: () => {
        isOver = true
        size--
        for (const entry of entries) {
          if (entry.anchor === undefined) wide.delete(entry)
          else {
            drop(byAnchor, entry.anchor, entry)
            for (const tag of entry.tags) drop(byTag, tag, entry)
          }
        }
        const next: Array<Owner> = []
        const now = performance.now()
        overlapping(wish, (other) => {
          // Those that came before do not wait for this one, which went on before its turn.
          if (other.number < owner.number) return
          other.moved = now
          if (--other.ahead === 0) next.push(other)
        })
        // After the walk, which must not meet those that come or leave meanwhile.
        for (const { wake } of next) wake?.()
      }
    }
  }

  return { enter, size: () => size }
}

/** By real time: where a program's clock stands still, as in a test, one that is never to leave would hold up the rest for ever. */
const wait = (owner: Owner, atMostMillis: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (owner.ahead === 0) return resume(Effect.void)
    const done = () => {
      clearTimeout(timer)
      owner.wake = undefined
      // To resume is to run, here and now, inside of whoever leaves. It shall be done first, and a long queue no deep stack.
      resume(Effect.yieldNow)
    }
    const look = () => {
      // a long queue that moves is waited in: who left it would only meet those who are ahead
      const left = owner.moved + atMostMillis - performance.now()
      if (left <= 0) done()
      else timer = setTimeout(look, left)
    }
    owner.moved = performance.now()
    let timer = setTimeout(look, atMostMillis)
    owner.wake = done
    return Effect.sync(() => {
      clearTimeout(timer)
      owner.wake = undefined
    })
  })

const shareType = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): boolean =>
  a.length === 0 || b.length === 0 || a.some((type) => b.includes(type))

const containsAll = (tags: ReadonlyArray<string>, wanted: ReadonlyArray<string>): boolean =>
  tags.length >= wanted.length && wanted.every((tag) => tags.includes(tag))

const rarest = (tags: ReadonlyArray<string>, places: Places): string => {
  let best = tags[0]!
  let least = Infinity
  for (const tag of tags) {
    const count = places.get(tag)?.size ?? 0
    if (count < least) {
      best = tag
      least = count
    }
  }
  return best
}

const put = (places: Places, tag: string, entry: Entry): void => {
  const found = places.get(tag)
  if (found === undefined) places.set(tag, new Set([entry]))
  else found.add(entry)
}

const drop = (places: Places, tag: string, entry: Entry): void => {
  const found = places.get(tag)
  if (found?.delete(entry) && found.size === 0) places.delete(tag)
}
