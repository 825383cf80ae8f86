/**
 * Storage in memory: the same semantics as on a disk, for tests and for stores that need not last. Nothing is shared: each
 * `make`, and each build of the layer, begins with an empty root.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Storage } from "../services/Storage.ts"
import { MemoryFileSystem, run, toStorage } from "./internal/memoryFileSystem.ts"

// constructors

/** An empty storage. */
export const make: Effect.Effect<Storage["Service"]> = Effect.sync(() => toStorage(new MemoryFileSystem(), run))

// layers

/** An empty storage for each build of the layer. */
export const layer: Layer.Layer<Storage> = Layer.effect(Storage, make)
