/**
 * Read models in files, beside the store's own: each generation is a ledger, so states and checkpoint are saved in one step, a second
 * writer is fenced, and other processes follow what is written.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { Lock } from "../services/Lock.ts"
import { ProjectionStore, type Slot } from "../services/ProjectionStore.ts"
import { Storage } from "../services/Storage.ts"
import * as ProjectionClaim from "./internal/projectionClaim.ts"
import * as ProjectionCompaction from "./internal/projectionCompaction.ts"
import * as Folder from "./internal/projectionFolder.ts"
import * as ProjectionReader from "./internal/projectionReader.ts"
import { inRealTime } from "./internal/realTime.ts"
import * as StateFiles from "./internal/StateFiles.ts"
import * as LedgerLive from "./LedgerLive.ts"

// options

export interface Options {
  /** The store's name: a folder below the storage's root. */
  readonly store: string
  /** Never writes: no claim is given. Default: `false`. */
  readonly readOnly?: boolean | undefined
  /** One readable JSON file per key, below `states/`. Default: `true`. */
  readonly stateFiles?: boolean | undefined
  /** Makes these files read-only. Default: `false`. */
  readonly writeProtect?: boolean | undefined
  /** Writes on a file system that machines share, though another machine wrote last. Default: `false`. */
  readonly allowOtherHosts?: boolean | undefined
}

// constructors

const openSlot = Effect.fnUntraced(function*(place: Folder.Place) {
  const { lock, name, readOnly } = place
  const toError = ProjectionReader.toError(name)
  const reader = yield* ProjectionReader.make(place)
  /** The claim, as long as this slot has it. */
  let writer: ProjectionClaim.Writer | undefined

  const source = Effect.sync((): ProjectionReader.Source => {
    return writer === undefined || writer.isLost() ? reader : writer.source
  })

  const claimIn = Effect.fnUntraced(function*(wait: boolean, scope: Scope.Scope) {
    const held = yield* lock.acquire(Folder.lockOf(place), { timeout: wait ? Duration.infinity : 0 }).pipe(
      Scope.provide(scope),
      Effect.catchTag("LockTimeout", () => Effect.succeed(undefined))
    )
    if (held === undefined) return undefined
    const made = yield* Effect.uninterruptible(Scope.provide(ProjectionClaim.make(place, held), scope))
    const compaction = yield* Scope.provide(ProjectionCompaction.make(name, made), scope)
    const files = place.stateFiles ? yield* Scope.provide(StateFiles.make(place, made, held.isLost), scope) : undefined
    made.hooks.current = {
      changed: (keys) => {
        compaction.changed(keys)
        files?.changed(keys)
      },
      replaced: () => {
        compaction.replaced()
        files?.replaced()
      },
      beforeBegin: compaction.beforeBegin
    }
    writer = made
    yield* Scope.addFinalizer(scope, Effect.sync(() => void (writer = writer === made ? undefined : writer)))
    yield* reader.close
    return made.claim
  })

  const claim: Slot["claim"] = Effect.fnUntraced(function*({ wait }) {
    if (readOnly) return undefined
    const outer = yield* Effect.scope
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        yield* Folder.make(place)
        const scope = yield* Scope.fork(outer)
        return yield* restore(claimIn(wait, scope)).pipe(
          Effect.onExit((exit) =>
            Exit.isSuccess(exit) && exit.value !== undefined ? Effect.void : Scope.close(scope, Exit.void)
          )
        )
      })
    ).pipe(
      inRealTime,
      // somebody else came in between, in spite of the lock
      Effect.catchTag("ClaimLost", () => Effect.succeed(undefined)),
      Effect.mapError(toError)
    )
  })

  const slot: Slot = {
    live: ProjectionReader.liveOf(name, source),
    notice: Effect.mapError(Folder.readNotice(place), toError),
    claim,
    isClaimed: lock.holder(Folder.lockOf(place)).pipe(
      Effect.map((holder) => holder !== undefined),
      Effect.mapError(toError)
    )
  }
  return slot
})

export const make = Effect.fnUntraced(function*(options: Options) {
  const { store } = options
  const storage = yield* Storage
  const lock = yield* Lock
  const given: Folder.Options = {
    store,
    readOnly: options.readOnly ?? false,
    stateFiles: options.stateFiles ?? true,
    writeProtect: options.writeProtect ?? false,
    allowOtherHosts: options.allowOtherHosts ?? false
  }
  return ProjectionStore.of({
    readOnly: given.readOnly,
    open: (name, version) =>
      openSlot({
        ...given,
        name,
        version,
        storage,
        lock,
        makeLedger: LedgerLive.make,
        folder: Folder.folderOf(store, name, version)
      })
  })
})

// layers

export const layer = (options: Options): Layer.Layer<ProjectionStore, never, Storage | Lock> =>
  Layer.effect(ProjectionStore, make(options))
