/** Projections with one mistake each, of those that such systems really make: see `test/services/Projection.mutants.test.ts`. */
import type { Patches } from "../mutants.ts"

const fold = "src/layers/internal/ProjectionFold.ts"
const runner = "src/layers/internal/ProjectionRunner.ts"
const live = "src/layers/ProjectionsLive.ts"

export const patches: Patches = {
  // changes that change nothing: with these all rules hold
  "control-fold": { file: fold, find: "Counts events into one generation of a projection", replace: "Counts" },
  "control-runner": { file: runner, find: "One projection in one process", replace: "One" },

  // counting
  "projection-counts-again-after-an-error": {
    file: fold,
    find: "        startAgain(events.at(-1)!.position, 1)\n",
    replace: "        caution = { until: events.at(-1)!.position, size: 1 }\n"
  },
  "projection-saves-states-without-their-position": {
    file: fold,
    find: "        position = isCutShort ? prepared[counted - 1]!.sequenced.position : next\n",
    replace: ""
  },
  "projection-skips-what-throws": {
    file: fold,
    find: "if (failure !== undefined) return isAlone ? yield* new EventFailed(failure) : again",
    replace:
      "if (failure !== undefined && isAlone) position = last.position\n      if (failure !== undefined) return again"
  },
  "projection-related-from-the-future": {
    file: fold,
    find: "store.read(wanted, { before: sequenced.position })",
    replace: "store.read(wanted)"
  },
  "projection-skips-pages": {
    file: fold,
    find: "const next = Math.max(position, more ? last!.position : page.head ?? 0)",
    replace: "const next = Math.max(position, page.head ?? 0)"
  },
  "projection-ignores-other-events": {
    file: fold,
    find: "more ? last!.position : page.head ?? 0)",
    replace: "last?.position ?? 0)"
  },
  "projection-version-goes-on": {
    file: fold,
    find: "          slot.version = 0\n          slot.created = time\n",
    replace: "          slot.created = time\n"
  },
  "projection-created-moves": {
    file: fold,
    find: "        slot.updated = time\n",
    replace: "        slot.updated = time\n        slot.created = time\n"
  },
  "projection-keeps-what-is-removed": {
    file: fold,
    find: "if (slot.isStored) out.removed.push(key)",
    replace: "if (slot.isStored && slot.version < 0) out.removed.push(key)"
  },
  "projection-takes-any-key": { file: fold, find: "    : key === \"\"", replace: "    : key === \"never\"" },
  "projection-takes-any-tag": {
    file: fold,
    find: "const problem = Tag.problem(tag)",
    replace: "const problem = Tag.problem(`a:${String(tag).length}`)"
  },
  "projection-overlooks-added-tags": {
    file: fold,
    find: "Math.max(taggedAsOf, retagged ?? 0)) retagged = page.retagged",
    replace: "Math.max(taggedAsOf, retagged ?? 0)) taggedAsOf = page.retagged"
  },
  "projection-always-tagged-anew": {
    file: fold,
    find: "page.retagged > Math.max(taggedAsOf, retagged ?? 0)",
    replace: "page.retagged > 0"
  },

  // reading
  "projection-waits-too-little": {
    file: runner,
    find: "fold.position() : fold.saved()) >= position",
    replace: "fold.position() : fold.saved()) >= position - 1"
  },
  "projection-any-cursor": {
    file: runner,
    find: "return initial === initials[sort] && key !== undefined",
    replace: "return initial !== undefined && key !== undefined"
  },
  "projection-last-page-early": {
    file: runner,
    find: "next: found.length > limit ?",
    replace: "next: found.length > limit + 1 ?"
  },

  // building
  "projection-swaps-too-early": {
    file: runner,
    find: `    yield* Effect.onError(catchUp, () => Effect.ignore(fold.save))
    // while counting waits: what readers see must not go back
    yield* turn(Effect.gen(function*() {
      for (;;) {
        yield* catchUp
        if (fold.position() >= (live?.fold.position() ?? 0)) break
      }
`,
    replace: `    yield* live === undefined ? catchUp : Effect.andThen(fold.step, fold.save)
    yield* turn(Effect.gen(function*() {
`
  },
  "projection-shows-what-is-being-built": {
    file: runner,
    find: "        const generation = resume ?? (yield* claim.begin(fingerprint))\n",
    replace:
      "        yield* claim.discard(\"live\")\n        const generation = resume ?? (yield* claim.begin(fingerprint))\n"
  },
  "projection-one-failure-ends-all": {
    file: live,
    find: "              failure ??= cause\n              return Stream.empty",
    replace: "              failure ??= cause\n              return Stream.failCause(cause)"
  },
  "projection-never-is-always": {
    file: runner,
    find: "if (wantsBuild || unfinished !== undefined) {",
    replace: "if (wantsBuild || unfinished !== undefined || live === undefined) {"
  },
  "projection-builds-at-each-start": {
    file: runner,
    find: "(live === undefined || isChanged || live.fold.retagged() !== undefined)",
    replace: "(live === undefined || isChanged || !builtOnce)"
  },
  "projection-overlooks-other-events": {
    file: runner,
    find: "else if (present !== undefined && present.definition === fingerprint)",
    replace: "else if (present !== undefined)"
  },
  "projection-begins-again": {
    file: runner,
    find: "    let unfinished = yield* claim.building\n",
    replace: "    yield* claim.discard(\"building\")\n    let unfinished = yield* claim.building\n"
  },

  // running
  "projection-two-of-a-name": {
    file: live,
    find: "if (other !== definition && other.name",
    replace: "if (other === definition && other.name"
  },
  "projection-goes-quietly": {
    file: runner,
    find:
      "      isClosed = true\n      failWatchers(stopped(new Projection.Closed()))\n      enter(\"stopped\", stopped(new Projection.Closed()))\n",
    replace: "      isClosed = true\n"
  },
  "projection-keeps-the-claim": {
    file: runner,
    find: "if (building === undefined && (yield* claim.isWanted)) return",
    replace: "if (building === undefined && isClosed) return"
  },
  "projection-hides-why": {
    file: runner,
    find: "yield* note({ position: why.position, problem: text.ofCause(why.cause) })",
    replace: "yield* note(undefined)"
  },
  "projection-stops-for-good": {
    file: runner,
    find:
      "      yield* Effect.sleep(retry)\n      retry = Math.min(longestRetry, retry * 2)\n    }\n  })\n\n  const stop",
    replace: "      yield* Effect.never\n    }\n  })\n\n  const stop"
  }
}
