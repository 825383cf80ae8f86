/** Stores that tell wrongly of tags that were added to the past: see `test/layers/EventStoreLive.retagged.test.ts`. */
import type { Patches } from "../mutants.ts"

const history = "src/layers/internal/History.ts"
const live = "src/layers/EventStoreLive.ts"

export const patches: Patches = {
  // with this all is as it should be
  "control-retagged": { file: history, find: "Ledger and index in step", replace: "In step" },

  "retagged-never": { file: live, find: "retagged !== true || after === undefined", replace: "found !== undefined" },
  "retagged-later-events-too": {
    file: history,
    find: "record.targets.filter(({ position }) => position <= after)",
    replace: "record.targets"
  },
  "retagged-not-the-last-event": {
    file: history,
    find: "record.targets.filter(({ position }) => position <= after)",
    replace: "record.targets.filter(({ position }) => position < after)"
  },
  "retagged-older-additions-too": {
    file: history,
    find: "index.additions(after, head + 1)",
    replace: "index.additions(0, head + 1)"
  },
  "retagged-not-at-the-head": {
    file: history,
    find: "index.additions(after, head + 1)",
    replace: "index.additions(after, head)"
  },
  "retagged-first-events-only": {
    file: history,
    find: "for (let i = 0, size = 1; i < rest.length; i += size",
    replace: "for (let i = 0, size = 1; i < Math.min(1, rest.length); i += size"
  },
  "retagged-list-without-its-end": {
    file: history,
    find: "before: most + 1, backwards: false",
    replace: "before: most, backwards: false"
  },
  "retagged-list-cut-off": {
    file: history,
    find: "if (next.length === 0) rest = listed",
    replace: "rest = listed"
  },
  "retagged-whatever-the-query": {
    file: history,
    find: "if ((yield* load(query, places, head)).length > 0)",
    replace: "if (places.length > 0)"
  },
  "retagged-found-before-only": {
    file: history,
    find: "if ((yield* load(query, places, head)).length > 0)",
    replace: "if ((yield* load(query, places, after)).length > 0)"
  }
}
