/** What the examples' scenarios share. */
import type { Event } from "effect-opossum"
import { Scenario } from "effect-opossum/testing"

export const { given } = Scenario

/** An event as it was stored at a time. */
export const at = (time: string, event: Event.Event) => Scenario.fixture(time).event(event)
