/** Open files, a bounded number of them: the least recently used one that nobody uses is closed for a new one. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

interface Slot<A> {
  readonly value: A
  readonly scope: Scope.Closeable
  users: number
  /** Closed as soon as nobody uses it. */
  dropped: boolean
}

export interface Handles<K, A, E> {
  /** Opens what is not open, and keeps it open while `use` runs. */
  readonly use: <B, E2, R>(key: K, use: (value: A) => Effect.Effect<B, E2, R>) => Effect.Effect<B, E | E2, R>
  /** What is open, for whoever uses it at once, in one step: nothing closes it in between. */
  readonly peek: (key: K) => A | undefined
  readonly drop: (key: K) => Effect.Effect<void>
}

/** All are closed with the scope. */
export const make = <K, A, E>(
  open: (key: K) => Effect.Effect<A, E, Scope.Scope>,
  capacity: number
): Effect.Effect<Handles<K, A, E>, never, Scope.Scope> =>
  Effect.gen(function*() {
    // a Map keeps the order of insertion: the first key is the least recently used one
    const slots = new Map<K, Slot<A>>()
    let isClosed = false
    const close = (slot: Slot<A>) => Scope.close(slot.scope, Exit.void)
    const drop = (key: K, slot: Slot<A>) => {
      slots.delete(key)
      slot.dropped = true
      return slot.users === 0 ? close(slot) : Effect.void
    }
    // what is in use is closed by its last user
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        isClosed = true
        return Effect.forEach([...slots], ([key, slot]) => drop(key, slot), { discard: true })
      })
    )

    const evict: Effect.Effect<void> = Effect.suspend(() => {
      if (slots.size <= capacity) return Effect.void
      for (const [key, slot] of slots) {
        if (slot.users === 0) return Effect.andThen(drop(key, slot), evict)
      }
      return Effect.void
    })

    let newest: Slot<A> | undefined
    /** Makes it the most recently used one. */
    const find = (key: K): Slot<A> | undefined => {
      const slot = slots.get(key)
      if (slot !== undefined && slot !== newest) {
        slots.delete(key)
        slots.set(key, slot)
        newest = slot
      }
      return slot
    }
    const acquire = (key: K): Effect.Effect<Slot<A>, E> =>
      Effect.suspend(() => {
        // as if interrupted: nobody who comes this late can do anything with an answer
        if (isClosed) return Effect.interrupt
        const slot = find(key)
        if (slot !== undefined) {
          slot.users++
          return Effect.succeed(slot)
        }
        const scope = Scope.makeUnsafe()
        return open(key).pipe(
          Scope.provide(scope),
          Effect.onError(() => Scope.close(scope, Exit.void)),
          Effect.flatMap((value) => {
            const other = slots.get(key)
            // somebody else opened the same in the meantime
            if (other !== undefined) {
              other.users++
              return Effect.as(Scope.close(scope, Exit.void), other)
            }
            const made: Slot<A> = { value, scope, users: 1, dropped: isClosed }
            if (!isClosed) {
              slots.set(key, made)
              newest = made
            }
            return Effect.as(evict, made)
          })
        )
      })

    const release = (slot: Slot<A>) =>
      Effect.suspend(() => {
        if (--slot.users > 0) return Effect.void
        return slot.dropped ? close(slot) : evict
      })

    return {
      use: (key, use) => Effect.acquireUseRelease(acquire(key), (slot) => use(slot.value), release),
      peek: (key) => find(key)?.value,
      drop: (key) =>
        Effect.suspend(() => {
          const slot = slots.get(key)
          return slot === undefined ? Effect.void : drop(key, slot)
        })
    }
  })
