/** Projections that count wrongly, or lose what they counted: see `test/layers/ProjectionCrashMutants.test.ts`. */
import type { Patches } from "../mutants.ts"

const claim = "src/layers/internal/projectionClaim.ts"
const compaction = "src/layers/internal/projectionCompaction.ts"
const fold = "src/layers/internal/ProjectionFold.ts"
const folder = "src/layers/internal/projectionFolder.ts"
const index = "src/layers/internal/stateIndex.ts"

const saved = `      yield* commit(log, Records.save(changes, yield* Clock.currentTimeMillis), () => {\n`

export const patches: Patches = {
  // with this all is as it should be, but for the sizes
  "projections-control-small-logs": {
    file: compaction,
    find: `const leastBytes = 1024 * 1024
/** What is copied in one step: others come in between. */
const stepKeys = 2000
const stepBytes = 4 * 1024 * 1024
/** With so many keys left to copy again, saves may wait for the rest. */
const lastKeys = 500\n`,
    replace: `const leastBytes = 8 * 1024
const stepKeys = 2
const stepBytes = 1024
const lastKeys = 1\n`
  },

  "projections-checkpoint-after-the-states": {
    file: claim,
    find: saved,
    replace: `      const drafts = Records.save(changes, yield* Clock.currentTimeMillis)
      if (drafts.length > 1) yield* commit(log, drafts.slice(0, -1))
      yield* commit(log, drafts.slice(-1), () => {\n`
  },
  "projections-checkpoint-before-the-states": {
    file: claim,
    find: saved,
    replace: `      const drafts = Records.save(changes, yield* Clock.currentTimeMillis)
      yield* commit(log, drafts.slice(-1))
      if (drafts.length > 1) yield* commit(log, drafts.slice(0, -1), () => {\n`
  },
  "projections-swap-unsynced": {
    file: claim,
    find: `StateLog.openWriter(place, number, "sync")`,
    replace: `StateLog.openWriter(place, number, "os")`
  },
  "projections-current-not-replaced-in-one-step": {
    file: folder,
    find: "  storage.replaceDocument(`${folder}/current.json`,",
    replace:
      "  ((path, bytes, options) => Effect.andThen(storage.remove(path), storage.replaceDocument(path, bytes, options)))(`${folder}/current.json`,"
  },
  "projections-old-removed-first": {
    file: claim,
    find: `      if (old !== undefined) yield* fence(old)\n`,
    replace: `      if (old !== undefined) yield* removeLog(old)\n`
  },
  "projections-folders-unsynced": {
    file: claim,
    find: `      // From here on it is live, whatever comes; and durable, since it was written so.
      yield* Folder.sync(place)\n`,
    replace: ""
  },
  "projections-not-fenced": {
    file: claim,
    find: `        if (outcome.committed === 0) return yield* lost\n`,
    replace: `        if (outcome.committed === 0) {
          yield* StateLog.acquire(ledger)
          yield* StateLog.catchUp(log, ledger)
          log.apply((yield* ledger.commit([batch])).commits)
          then?.()
          return
        }\n`
  },
  "projections-numbers-given-twice": {
    file: claim,
    find: `const taken = Math.max(highest, yield* Folder.highestNumber(place))`,
    replace: `const taken = Math.max(0, ...numbers)`
  },
  "projections-current-removed-late": {
    file: claim,
    find:
      "    // `current.json` stays: readers look further where what it names is gone, and by now it may name what somebody else has built\n",
    replace: "    yield* storage.remove(`${place.folder}/current.json`)\n"
  },
  "projections-resumed-too-early": {
    file: fold,
    find: `let saved: number = found?.position ?? 0`,
    replace: `let saved: number = Math.max(0, (found?.position ?? 0) - 1)`
  },
  "projections-copy-forgets-what-changed": {
    file: compaction,
    find: `    yield* copyKeys(log, copy, changed ?? [])\n`,
    replace: ""
  },
  "projections-copy-keeps-what-was-removed": {
    file: compaction,
    find: `      if (!isThere.has(key) && copy.index.get(key) !== undefined) drafts.push(Records.removed(key, now))\n`,
    replace: ""
  },
  "projections-copy-unsaved": {
    file: compaction,
    find: `    yield* writer.commit(copy, [Records.checkpoint(log.checkpoint!, yield* Clock.currentTimeMillis)])\n`,
    replace: ""
  },
  "projections-related-of-the-future": {
    file: fold,
    find: `store.read(wanted, { before: sequenced.position })`,
    replace: `store.read(wanted)`
  },
  "projections-applied-again-after-an-error": {
    file: fold,
    find: `    slots = new Map()
    changed = new Set()
    kept = 0
    position = saved\n`,
    replace: `    position = saved\n`
  },
  "projections-half-an-event-counted": {
    file: fold,
    find: `      const time = DateTime.toEpochMillis(metadata.timestamp)\n`,
    replace: `      const time = DateTime.toEpochMillis(metadata.timestamp)
      keys.length = Math.min(keys.length, 2)\n`
  },
  "projections-removal-unsaved": {
    file: fold,
    find: `      if (slot.isStored) out.removed.push(key)\n`,
    replace: ""
  },
  "projections-version-goes-on-after-a-removal": {
    file: fold,
    find: `          slot.version = 0\n`,
    replace: ""
  },
  "projections-tags-not-updated": {
    file: index,
    find: `if (before.length === tags.length && before.every((tag, i) => tag === tags[i])) return`,
    replace: `if (before.length === tags.length) return`
  },
  "projections-tags-kept": {
    file: index,
    find: `    for (const tag of before) if (!tags.includes(tag)) this.#untag(slot, tag)\n`,
    replace: ""
  }
}
