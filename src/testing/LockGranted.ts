/**
 * A lock that is granted to everybody, always, and never lost: the worst that a lock on a file system can do. What is safe
 * under it is safe under any.
 */
import * as Layer from "effect/Layer"
import { lockGranted } from "../layers/internal/lockGranted.ts"
import { Lock } from "../services/Lock.ts"

// layers

export const layer: Layer.Layer<Lock> = Layer.succeed(Lock, lockGranted)
