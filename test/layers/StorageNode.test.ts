import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as StorageNode from "../../src/layers/StorageNode.ts"
import { suite } from "../services/Storage.contract.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "storage-node-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)
for (const calls of ["synchronous", "asynchronous", "adaptive"] as const) {
  suite(
    `StorageNode, ${calls}`,
    Layer.unwrap(Effect.map(temporary, (folder) => StorageNode.layer({ root: join(folder, "root"), calls })))
  )
}
