/**
 * How fast the store is on this machine's disk, and what is built on it, each beside something to compare it with.
 *
 *     npm run bench                          about five minutes
 *     npm run bench -- --smoke               small: shows that the bench works, not how fast anything is
 *     npm run bench -- --only projections    of store, decisions, projections, memory
 *
 * What is compared runs in turn in one process, and medians are given, since machines are noisy. Ratios are what counts.
 */
import * as Fs from "node:fs"
import { runDecisions } from "./decisions.ts"
import { runMemory } from "./memory.ts"
import { runProjections } from "./projections.ts"
import { isWanted, makeRoot, print } from "./setup.ts"
import { runStore } from "./store.ts"

const root = makeRoot()
try {
  console.log(`\nNode ${process.version}, ${root}`)
  if (isWanted("store")) await runStore(root)
  if (isWanted("decisions")) await runDecisions(root)
  if (isWanted("projections")) await runProjections(root)
  if (isWanted("memory")) runMemory(root)
  print()
} finally {
  Fs.rmSync(root, { recursive: true, force: true })
}
