import * as Effect from "effect/Effect"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Projections from "../services/Projection.contract.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

Projections.suite("ProjectionsLive in memory", { layer: Opossum.layerMemory })

Projections.suite("ProjectionsLive in files", {
  layer: Opossum.layerMemory,
  place: Effect.map(
    temporaryFolder,
    (root) => (options) => Opossum.layer({ root, store: "school", eventFiles: false, ...options })
  )
})
