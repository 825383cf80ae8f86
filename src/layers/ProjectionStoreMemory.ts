/**
 * Read models in the memory of this process: gone with the layer, so each start builds them again from the events. For tests, and
 * for read models that are cheap to rebuild.
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Opossum, ProjectionsLive, ProjectionStoreMemory } from "effect-opossum"
 *
 * export const StoreLive = ProjectionsLive.layer().pipe(
 *   Layer.provide(ProjectionStoreMemory.layer),
 *   Layer.provideMerge(Opossum.layer({ root: "data", store: "school" }))
 * )
 * ```
 *
 * Each build of the layer has states of its own: nothing is shared with other processes, each of which runs its projections itself.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import {
  type Changes,
  type Checkpoint,
  type Claim,
  ClaimLost,
  type Generation,
  type Notice,
  ProjectionStore,
  ProjectionStoreError,
  type Slot,
  type StoredEntry,
  type WritableGeneration
} from "../services/ProjectionStore.ts"
import { type IndexEntry, StateIndex } from "./internal/stateIndex.ts"
import { Turns } from "./internal/turns.ts"

// models

/** A generation. Each change is one synchronous step, so nobody sees half of one. */
interface Build {
  readonly definition: string
  /** The place of a state is its JSON: what becomes of an object that was saved or read is nothing to what is stored. */
  readonly index: StateIndex<string>
  checkpoint: Checkpoint | undefined
}

/** All that is kept of one version of one projection. */
interface Kept {
  live: Build | undefined
  building: Build | undefined
  notice: Notice | undefined
  readonly turns: Turns
}

// constructors

const toStored = ({ place, ...entry }: IndexEntry<string>): StoredEntry => ({ ...entry, state: JSON.parse(place) })

/** Over whatever build is there when it is asked; nothing is in one that is gone. */
const reader = (definition: string, find: () => Build | undefined): Generation => ({
  definition,
  checkpoint: Effect.sync(() => find()?.checkpoint),
  size: Effect.sync(() => find()?.index.size ?? 0),
  read: (keys) =>
    Effect.sync(() => {
      const index = find()?.index
      return keys.flatMap((key) => {
        const entry = index?.get(key)
        return entry === undefined ? [] : [toStored(entry)]
      })
    }),
  list: (range) => Effect.sync(() => find()?.index.list(range).map(toStored) ?? []),
  byTag: (tags) => Effect.sync(() => find()?.index.byTag(tags).map(toStored) ?? [])
})

const save = (build: Build, { checkpoint, removed, set }: Changes): void => {
  // before anything changes: what is no JSON is refused with all that was to be saved with it
  const entries = set.map(({ state, ...entry }) => ({ ...entry, place: JSON.stringify(state) }))
  for (const key of removed) build.index.delete(key)
  for (const entry of entries) build.index.set(entry)
  build.checkpoint = { ...checkpoint }
}

const makeClaim = (name: string, kept: Kept, isHeld: () => boolean): Claim => {
  const ifHeld = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | ClaimLost> =>
    Effect.suspend((): Effect.Effect<A, E | ClaimLost> => isHeld() ? effect : Effect.fail(new ClaimLost({ name })))

  /** A build has one for as long as it is there, whether it is live or not. */
  const writable = (build: Build): WritableGeneration => {
    const isThere = () => kept.live === build || kept.building === build
    return {
      ...reader(build.definition, () => isThere() ? build : undefined),
      save: (changes) =>
        ifHeld(Effect.suspend((): Effect.Effect<void, ProjectionStoreError | ClaimLost> =>
          isThere()
            ? Effect.try({
              try: () => save(build, changes),
              catch: (cause) => new ProjectionStoreError({ name, cause })
            })
            : Effect.fail(new ClaimLost({ name }))
        ))
    }
  }

  return {
    live: Effect.sync(() => kept.live && writable(kept.live)),
    building: Effect.sync(() => kept.building && writable(kept.building)),
    begin: (definition) =>
      ifHeld(Effect.sync(() => {
        kept.building = { definition, index: new StateIndex(), checkpoint: undefined }
        return writable(kept.building)
      })),
    swap: ifHeld(Effect.suspend(() => {
      if (kept.building === undefined) {
        return Effect.die(new Error(`swap: no generation of ${name} is being built`))
      }
      kept.live = kept.building
      kept.building = undefined
      return Effect.void
    })),
    discard: (which) => ifHeld(Effect.sync(() => void (kept[which] = undefined))),
    note: (notice) =>
      Effect.sync(() => {
        // what stopped a former holder is no matter of those who read now
        if (isHeld()) kept.notice = notice && { ...notice }
      }),
    isWanted: Effect.sync(() => !isHeld() || kept.turns.isContended)
  }
}

const openSlot = (name: string, kept: Kept): Slot => ({
  live: Effect.sync(() => kept.live && reader(kept.live.definition, () => kept.live)),
  notice: Effect.sync(() => kept.notice),
  claim: ({ wait }) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const scope = yield* Effect.scope
        if (!(yield* kept.turns.enter(restore, wait ? Duration.infinity : Duration.zero))) return undefined
        let isHeld = true
        yield* Scope.addFinalizer(
          scope,
          Effect.sync(() => {
            isHeld = false
            kept.turns.leave()
          })
        )
        return makeClaim(name, kept, () => isHeld)
      })
    ),
  isClaimed: Effect.sync(() => kept.turns.isTaken)
})

/** A store with nothing in it. */
export const make: Effect.Effect<ProjectionStore["Service"]> = Effect.sync(() => {
  const all = new Map<string, Kept>()
  return ProjectionStore.of({
    readOnly: false,
    open: (name, version) =>
      Effect.sync(() => {
        const id = `${version} ${name}`
        let kept = all.get(id)
        if (kept === undefined) {
          all.set(id, kept = { live: undefined, building: undefined, notice: undefined, turns: new Turns() })
        }
        return openSlot(name, kept)
      })
  })
})

// layers

/** States of its own for each build of the layer. */
export const layer: Layer.Layer<ProjectionStore> = Layer.effect(ProjectionStore, make)
