/** The conformance kit, run by this project's test runner. */
import { Conformance } from "effect-opossum/testing"
import { describe, it } from "vitest"

export const suite = Conformance.suiteWith({ describe, it })
