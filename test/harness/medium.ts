/**
 * What a harness that crashes needs of a disk: the simulated one as a `Storage` by itself, or below Node's file calls, where each call of
 * `Storage` is several.
 */
import type * as Layer from "effect/Layer"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import type { Storage } from "../../src/services/Storage.ts"
import * as StorageSimulated from "../../src/testing/StorageSimulated.ts"
import * as MountedDisk from "./mountedDisk.ts"

export interface Medium {
  readonly storage: Storage["Service"]
  readonly layer: Layer.Layer<Storage>
  readonly crashImages: (options: { readonly max: number; readonly seed?: number }) => ReadonlyArray<Medium>
  readonly processCrash: () => Medium
  readonly fingerprint: () => string
  /** Frees what it takes. */
  readonly forget: () => void
}

export type Kind = "storage" | "system calls"

const ofStorage = (disk: StorageSimulated.StorageSimulated): Medium => ({
  storage: disk.storage,
  layer: disk.layer,
  crashImages: (options) => disk.crashImages(options).map(ofStorage),
  processCrash: () => ofStorage(disk.processCrash()),
  fingerprint: disk.fingerprint,
  forget: () => {}
})

const ofCalls = (disk: MountedDisk.MountedDisk): Medium => ({
  storage: StorageNode.make({ root: disk.root, calls: "synchronous" }),
  layer: StorageNode.layer({ root: disk.root, calls: "synchronous" }),
  crashImages: (options) => disk.crashImages(options).map(ofCalls),
  processCrash: () => ofCalls(disk.processCrash()),
  fingerprint: disk.fingerprint,
  forget: disk.unmount
})

/** An empty disk. `onCall` is told of each call that may change something, before it is made. */
export const make = (kind: Kind, onCall: () => void): Medium =>
  kind === "storage"
    ? ofStorage(StorageSimulated.make({ onCall }))
    : ofCalls(MountedDisk.make({
      onCall: ({ changes }) => {
        if (changes) onCall()
      }
    }))
