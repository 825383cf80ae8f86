/**
 * `StorageNode` on a simulated disk keeps the contract of Storage: so the disk answers Node's calls as a kernel does. And what
 * becomes of each call that fails, is short, or is slow.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import { suite } from "../services/Storage.contract.ts"
import * as MountedDisk from "./mountedDisk.ts"

for (const calls of ["synchronous", "asynchronous", "adaptive"] as const) {
  const mounted = Effect.acquireRelease(
    Effect.sync(() => MountedDisk.make()),
    (disk) => Effect.sync(disk.unmount)
  )
  suite(
    `StorageNode on a simulated disk, ${calls}`,
    Layer.unwrap(Effect.map(mounted, ({ root }) => StorageNode.layer({ root, calls })))
  )
}
