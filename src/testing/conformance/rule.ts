/** Rules as data: what a store must do, in one sentence, and how to see whether it does. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { EventStore } from "../../services/EventStore.ts"
import type { EventStoreMaintenance } from "../../services/EventStoreMaintenance.ts"
import type { Place, Places } from "./place.ts"

/** What checks may ask for, by what their rule needs, and so what it is run on. */
export interface Services {
  /** An empty store. */
  readonly store: EventStore
  /** An empty store that has an `EventStoreMaintenance`. */
  readonly maintenance: EventStore | EventStoreMaintenance
  /** An empty store that several clients may open, and open again. */
  readonly place: Place
  readonly "place and maintenance": Place
  /** Any number of empty stores. */
  readonly stores: Places
  /** Any number of empty stores, each for several clients. */
  readonly places: Places
}

export type Needs = keyof Services

export interface RuleOf<N extends Needs> {
  /** Names the rule for ever, like that of a lint rule: unique, words joined by `-`. */
  readonly id: string
  /** The rule, as a sentence. */
  readonly title: string
  /** What it is about. */
  readonly group: string
  readonly needs: N
  /** Succeeds if the rule is kept; fails or dies, with whatever says why, if it is broken. */
  readonly check: Effect.Effect<void, unknown, Services[N] | Scope.Scope>
}

/** A rule that is kept or broken by a store, by its maintenance, or by the place that several clients share. */
export type Rule = { readonly [N in Needs]: RuleOf<N> }[Needs]

/** Makes the rules of a group. */
export const group = <const N extends Needs>(
  group: string,
  needs: N
) =>
(id: string, title: string, check: Effect.Effect<void, unknown, Services[N] | Scope.Scope>): RuleOf<N> => ({
  id,
  title,
  group,
  needs,
  check
})
