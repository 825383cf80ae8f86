/**
 * The real ledger, stepped call by call through the interleavings of small histories, under a lock that is granted to everybody. After
 * every step all processes are killed, and the power is lost in every way; what is left must keep what was promised.
 *
 * `OPOSSUM_HARNESS=full` goes further: more switches, torn writes everywhere, every second crash.
 */
import { describe } from "@effect/vitest"
import { explored } from "../harness/suite.ts"

describe("the protocol holds", () => {
  explored([
    "two writers, one baton",
    "two writers that do not wait",
    "three writers",
    "two take-overs at once",
    "a reader beside two writers",
    "a reader beside two that do not wait",
    "a group that is seen half written",
    "hand-over and back",
    "hand-over of a padded segment",
    "roll-over"
  ])
})
