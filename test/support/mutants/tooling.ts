/** Patches that show that mutants work: see `test/support/mutants.test.ts`. */
import type { Patches } from "../mutants.ts"

export const patches: Patches = {
  "lock-other-words": {
    file: "src/services/Lock.ts",
    find: "return `waited ${",
    replace: "return `was bored for ${"
  },
  "does-not-fit": {
    file: "src/services/Lock.ts",
    find: "this text is not in that file",
    replace: ""
  }
}
