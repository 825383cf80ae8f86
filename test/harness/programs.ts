/** What the simulated processes do: as an application would, with a bounded number of tries. */
import * as Effect from "effect/Effect"
import type * as LedgerLive from "../../src/layers/LedgerLive.ts"
import { batch, type Implementation, nameOf, refreshAll, type Service, storeName } from "./check.ts"
import type { Notes, Program } from "./explorer.ts"

export interface Shape {
  readonly implementation: Implementation
  readonly options?: Partial<LedgerLive.Options>
  /** Opens the store where others move already. Otherwise before. */
  readonly opensLate?: boolean
}

const learn = (ledger: Service, notes: Notes) =>
  Effect.map(refreshAll(ledger), (names) => {
    notes.seen.push(...names)
  })

const open = (shape: Shape, notes: Notes, gate: Effect.Effect<void>) =>
  Effect.gen(function*() {
    if (shape.opensLate) yield* gate
    const ledger = yield* shape.implementation.make({ ...shape.options, store: storeName })
    // what is there already belongs to what this process knows
    const scan = yield* Effect.scoped(ledger.scan(undefined))
    for (;;) {
      const commits = yield* scan.next
      if (commits.length === 0) break
      notes.seen.push(...commits.map(nameOf))
    }
    if (!shape.opensLate) yield* gate
    return ledger
  })

/** Commits groups of batches, one after the other; what was certainly not committed is tried again under another name. */
const commitAll = (
  ledger: Service,
  notes: Notes,
  groups: ReadonlyArray<ReadonlyArray<string>>,
  tries: number,
  releasesEach: boolean
) =>
  Effect.gen(function*() {
    let isFresh = true
    for (const group of groups) {
      let rest = [...group]
      for (let n = 1; rest.length > 0 && n <= tries; n++) {
        if ((yield* ledger.acquire) || isFresh) yield* learn(ledger, notes)
        isFresh = false
        const outcome = yield* ledger.commit(rest.map(batch) as unknown as readonly [ReturnType<typeof batch>]).pipe(
          Effect.catchTags({
            StorageError: (error) =>
              Effect.sync(() => {
                notes.errors.push(error.message)
                return { committed: 0, commits: [] }
              }),
            CommitOutcomeUnknown: (error) =>
              Effect.sync(() => {
                notes.errors.push(error.message)
                notes.unknown.push(...rest)
                rest = []
                return { committed: 0, commits: [] }
              })
          })
        )
        notes.acked.push(...rest.slice(0, outcome.committed))
        notes.refused.push(...rest.slice(outcome.committed))
        notes.seen.push(...outcome.commits.map(nameOf))
        rest = rest.slice(outcome.committed).map((name) => `${name}'`)
        if (rest.length > 0) isFresh = true
      }
      if (releasesEach) yield* ledger.release
    }
  })

const survive =
  (notes: Notes) =>
  <A, E extends { readonly _tag: string; readonly message: string }, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.catch(effect, (error) => {
      if (error._tag === "StorageError") return Effect.sync(() => void notes.errors.push(error.message))
      if (error._tag === "LedgerDeleted") return Effect.sync(() => void notes.deleted.push(error.message))
      return Effect.fail(error)
    })

/**
 * Takes the right to write, commits, and gives it back. In another store than `anew` its batches get an `n` before their names, so
 * that the check knows in which of two stores to look for them.
 */
export const writer = (
  name: string,
  groups: ReadonlyArray<ReadonlyArray<string>>,
  shape: Shape,
  more: {
    readonly tries?: number
    readonly releases?: boolean
    readonly releasesEach?: boolean
    readonly anew?: string
  } = {}
): Program => ({
  name,
  run: (notes, gate) =>
    Effect.gen(function*() {
      const ledger = yield* open(shape, notes, gate)
      const prefix = more.anew === undefined || ledger.storeId === more.anew ? "" : "n"
      const named = groups.map((group) => group.map((batch) => prefix + batch))
      yield* commitAll(ledger, notes, named, more.tries ?? 2, more.releasesEach ?? false)
      if (more.releases ?? true) yield* ledger.release
    }).pipe(survive(notes))
})

/** Looks so many times for what is new. */
export const reader = (name: string, looks: number, shape: Shape): Program => ({
  name,
  run: (notes, gate) =>
    Effect.gen(function*() {
      const ledger = yield* open({ ...shape, options: { ...shape.options, readOnly: true } }, notes, gate)
      for (let i = 0; i < looks; i++) if (yield* ledger.isBehind) yield* learn(ledger, notes)
    }).pipe(survive(notes))
})

/** Deletes the store, and makes another one under its name. */
export const destroyer = (name: string, anew: ReadonlyArray<string>, shape: Shape): Program => ({
  name,
  run: (notes, gate) =>
    Effect.gen(function*() {
      const ledger = yield* open(shape, notes, gate)
      yield* ledger.destroy
      notes.deleted.push("by itself")
      if (anew.length === 0) return
      const next = yield* shape.implementation.make({ ...shape.options, store: storeName })
      yield* commitAll(next, notes, anew.map((name) => [name]), 1, false)
    }).pipe(survive(notes))
})
