/**
 * All layers of a process that works on a store, over Node's file calls: what `Opossum.layer` wires, with so small segments and runs
 * of the index that a handful of events fills one, and under a lock that is granted to everybody.
 *
 * It stands by itself so that it can be loaded with a mutant in it.
 */
import * as Layer from "effect/Layer"
import * as EventStoreLive from "../../src/layers/EventStoreLive.ts"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as ProjectionsLive from "../../src/layers/ProjectionsLive.ts"
import * as ProjectionStoreFiles from "../../src/layers/ProjectionStoreFiles.ts"
import * as SnapshotsFiles from "../../src/layers/SnapshotsFiles.ts"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import * as LockGranted from "../../src/testing/LockGranted.ts"

export const store = "shop"

export interface Options {
  readonly root: string
  readonly durability?: "sync" | "os"
  readonly eventFiles?: boolean
  readonly readOnly?: boolean
  readonly writeProtect?: boolean
  readonly access?: StorageNode.Options["access"]
  /** Bytes. Default: 2000, some eight events. */
  readonly segmentSize?: number
  /** Bytes. Default: 400, as much as an event takes. */
  readonly padding?: number
  /** Bytes. Default: 1200, some five events. */
  readonly runBytes?: number
  /** So many runs of the index become one. */
  readonly fanOut?: number
  readonly rebuild?: "never" | "when-needed"
  /** Default: `synchronous`, so that the same calls come in the same order however busy the machine is. */
  readonly calls?: StorageNode.Options["calls"]
}

export const layer = (options: Options) => {
  const { access, calls = "synchronous", durability, eventFiles = false, readOnly, rebuild, root, writeProtect } =
    options
  const { fanOut, padding = 400, runBytes = 1200, segmentSize = 2000 } = options
  return Layer.merge(
    Layer.provide(
      ProjectionsLive.layer({ rebuild }),
      ProjectionStoreFiles.layer({ store, readOnly, writeProtect, stateFiles: eventFiles })
    ),
    SnapshotsFiles.layer({ store, readOnly })
  ).pipe(
    Layer.provideMerge(EventStoreLive.layer({ store, eventFiles, readOnly, writeProtect })),
    Layer.provide(IndexLive.layer({ store, runBytes, fanOut, readOnly })),
    Layer.provideMerge(LedgerLive.layer({ store, durability, segmentSize, padding, readOnly, writeProtect })),
    Layer.provide(LockGranted.layer),
    Layer.provideMerge(StorageNode.layer({ root, calls, access }))
  )
}
