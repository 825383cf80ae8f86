/** As `LedgerProtocol.test.ts`, for stores that begin damaged by a crash, calls that fail, and stores that come and go. */
import { describe } from "@effect/vitest"
import { explored } from "../harness/suite.ts"

describe("the protocol holds", () => {
  explored([
    "the owner was killed",
    "power was lost behind the last sync",
    "a torn tail",
    "a sync fails",
    "a sync fails where nobody waits",
    "a write fails",
    "the disk is full",
    "one store, made by two",
    "deleted while others write",
    "deleted and made anew while others write",
    "a baton for a store that is gone",
    "without syncs"
  ])
})
