/** Stores of states with one mistake each: see `test/services/ProjectionStore.mutants.test.ts`. */
import type { Patches } from "../mutants.ts"

const memory = "src/layers/ProjectionStoreMemory.ts"
const index = "src/layers/internal/stateIndex.ts"

const toEntries = "const entries = set.map(({ state, ...entry }) => ({ ...entry, place: JSON.stringify(state) }))"
const saveNow = `Effect.try({
              try: () => save(build, changes),
              catch: (cause) => new ProjectionStoreError({ name, cause })
            })`
const swapNow = "kept.live = kept.building\n      kept.building = undefined\n      return Effect.void"
const openId = "const id = `${version} ${name}`"

/** Changes that change nothing: with these all rules hold. */
const controls: Patches = {
  "control-states": { file: memory, find: "Read models in the memory of this process", replace: "States" },
  "control-state-index": { file: index, find: "What the layers that keep states in memory", replace: "What layers" }
}

export const patches: Patches = {
  ...controls,

  // saving
  "states-removed-before-refused": {
    file: memory,
    find: toEntries,
    replace: `for (const key of removed) build.index.delete(key)\n  ${toEntries}`
  },
  "states-checkpoint-before-refused": {
    file: memory,
    find: toEntries,
    replace: `build.checkpoint = { ...checkpoint }\n  ${toEntries}`
  },
  "states-checkpoint-shared": { file: memory, find: "= { ...checkpoint }", replace: "= checkpoint" },
  "states-checkpoint-without-retagged": {
    file: memory,
    find: "= { ...checkpoint }",
    replace: "= { storeId: checkpoint.storeId, position: checkpoint.position, hash: checkpoint.hash }"
  },
  "states-checkpoint-of-changes-only": {
    file: memory,
    find: "build.checkpoint = { ...checkpoint }",
    replace: "if (set.length + removed.length > 0) build.checkpoint = { ...checkpoint }"
  },
  "states-saved-in-two-steps": {
    file: memory,
    find: saveNow,
    replace: `Effect.gen(function*() {
              const { checkpoint } = build
              save(build, changes)
              const next = build.checkpoint
              build.checkpoint = checkpoint
              yield* Effect.yieldNow
              build.checkpoint = next
            })`
  },
  "states-large-saves-cut": {
    file: memory,
    find: toEntries,
    replace: toEntries.replace("set.map", "set.slice(0, 5000).map")
  },
  "states-removal-ignored": { file: memory, find: "for (const key of removed) build.index.delete(key)", replace: "" },
  "states-null-is-none": { file: memory, find: "JSON.stringify(state)", replace: "JSON.stringify(state ?? {})" },
  "states-ordered-by-store": { file: memory, find: "return keys.flatMap", replace: "return [...keys].sort().flatMap" },
  "states-keys-normalised": { file: memory, find: "index?.get(key)", replace: "index?.get(key.normalize())" },
  "states-tags-stay": { file: index, find: "if (!tags.includes(tag)) this.#untag(slot, tag)", replace: "tag" },
  "states-tags-stay-when-removed": { file: index, find: "    this.#tag(slot, noTags)\n", replace: "" },
  "states-tags-ored": { file: index, find: "others.every((other)", replace: "[smallest, ...others].some((other)" },

  // lists
  "states-after-inclusive": {
    file: index,
    find: "this.#search(sorted, sort, after.time, after.key, 0, true)",
    replace: "this.#search(sorted, sort, after.time, after.key, 0, false)"
  },
  "states-after-inclusive-backwards": {
    file: index,
    find: "this.#search(sorted, sort, after.time, after.key, 0, false)",
    replace: "this.#search(sorted, sort, after.time, after.key, 0, true)"
  },
  "states-after-must-be-there": {
    file: memory,
    find: "find()?.index.list(range)",
    replace: "(range.after === undefined || find()?.index.get(range.after.key) ? find() : undefined)?.index.list(range)"
  },
  "states-order-of-made": {
    file: index,
    find: "if (known === undefined || numbers[at + updated] !== entry.updated) this.#note(\"updated\", slot)",
    replace: "if (known === undefined) this.#note(\"updated\", slot)"
  },
  "states-keys-by-units": {
    file: "src/internal/codePoints.ts",
    find: "unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800",
    replace: "unit"
  },
  "states-times-as-text": {
    file: index,
    find: "sort((a, b) => numbers[a * width + column]! - numbers[b * width + column]!)",
    replace: "sort((a, b) => String(numbers[a * width + column]) < String(numbers[b * width + column]) ? -1 : 1)"
  },

  // generations
  "states-building-seen": {
    file: memory,
    find: "live: Effect.sync(() => kept.live && reader(kept.live.definition, () => kept.live)),",
    replace: "live: Effect.sync(() => kept.live && reader(kept.live.definition, () => kept.building ?? kept.live)),"
  },
  "states-reader-stays-behind": {
    file: memory,
    find: "live: Effect.sync(() => kept.live && reader(kept.live.definition, () => kept.live)),",
    replace: `live: Effect.sync(() => {
    const { live } = kept
    return live && reader(live.definition, () => live)
  }),`
  },
  "states-swapped-in-two-steps": {
    file: memory,
    find: swapNow,
    replace: `const next = kept.building
      kept.live = undefined
      return Effect.andThen(Effect.yieldNow, Effect.sync(() => {
        kept.live = next
        kept.building = undefined
      }))`
  },
  "states-swap-keeps-building": {
    file: memory,
    find: swapNow,
    replace: "kept.live = kept.building\n      return Effect.void"
  },
  "states-swap-merges": {
    file: memory,
    find: swapNow,
    replace: `for (const entry of kept.live?.index.entries() ?? []) {
        if (kept.building.index.get(entry.key) === undefined) kept.building.index.set(entry)
      }
      ${swapNow}`
  },
  "states-saved-in-what-is-gone": {
    file: memory,
    find: "          isThere()\n",
    replace: "          isThere() || build\n"
  },
  "states-begin-goes-on": {
    file: memory,
    find: "kept.building = { definition, index",
    replace: "kept.building ??= { definition, index"
  },
  "states-building-discarded-with-live": {
    file: memory,
    find: "void (kept[which] = undefined)",
    replace: "void (kept[which] = kept.building = undefined)"
  },
  "states-live-discarded-with-building": {
    file: memory,
    find: "void (kept[which] = undefined)",
    replace: "void (kept[which] = kept.live = undefined)"
  },
  "states-building-ends-with-claim": {
    file: memory,
    find: "isHeld = false\n",
    replace: "isHeld = false\n            kept.building = undefined\n"
  },

  // claims
  "states-claims-for-all": {
    file: memory,
    find: "if (!(yield* kept.turns.enter(restore, wait ? Duration.infinity : Duration.zero))) return undefined",
    replace: "yield* kept.turns.enter(restore, wait ? Duration.infinity : Duration.zero)"
  },
  "states-claim-never-given-up": { file: memory, find: "            kept.turns.leave()\n", replace: "" },
  "states-claim-not-waited-for": {
    file: memory,
    find: "wait ? Duration.infinity : Duration.zero",
    replace: "Duration.zero"
  },
  "states-claim-always-waited-for": {
    file: memory,
    find: "wait ? Duration.infinity : Duration.zero",
    replace: "Duration.infinity"
  },
  "states-loser-saves": {
    file: memory,
    find: "isHeld() ? effect : Effect.fail(new ClaimLost({ name }))",
    replace: "effect"
  },
  "states-loser-not-told": {
    file: memory,
    find: "!isHeld() || kept.turns.isContended",
    replace: "kept.turns.isContended"
  },
  "states-waiter-untold": {
    file: memory,
    find: "!isHeld() || kept.turns.isContended",
    replace: "!isHeld()"
  },
  "states-waiter-remembered": {
    file: "src/layers/internal/turns.ts",
    find: "if (!waiter.granted) this.waiters.splice(this.waiters.indexOf(waiter), 1)",
    replace: "if (!waiter.granted) return"
  },
  "states-claim-untold": {
    file: memory,
    find: "isClaimed: Effect.sync(() => kept.turns.isTaken)",
    replace: "isClaimed: Effect.sync(() => kept.turns.isContended)"
  },

  // several
  "states-notice-stays": { file: memory, find: "if (isHeld()) kept.notice", replace: "if (notice) kept.notice" },
  "states-of-all-versions": { file: memory, find: openId, replace: "const id = `${version > 0} ${name}`" },
  "states-names-folded": { file: memory, find: openId, replace: openId.replace("name}", "name.toLowerCase()}") },
  "states-names-normalised": { file: memory, find: openId, replace: openId.replace("name}", "name.normalize()}") },
  "states-version-beside-name": { file: memory, find: openId, replace: "const id = `${name} ${version}`.slice(0, 9)" }
}
