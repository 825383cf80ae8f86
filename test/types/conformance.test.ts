/** What the conformance kit accepts: read by the compiler, never run. */
// @effect-diagnostics missingEffectError:off missingEffectContext:off missingLayerContext:off -- what must not compile is said by @ts-expect-error
import { Context, Effect, Layer, Schema } from "effect"
import type { EventStore, EventStoreMaintenance } from "effect-opossum"
import { Conformance } from "effect-opossum/testing"
import * as nodeTest from "node:test"
import * as vitest from "vitest"

class Unreachable extends Schema.TaggedError<Unreachable>()("Unreachable", {}) {}
class Connection extends Context.Service<Connection, string>()("Connection") {}

type Store = EventStore.EventStore
type Maintained = EventStore.EventStore | EventStoreMaintenance.EventStoreMaintenance

declare const failing: Layer.Layer<Store, Unreachable>
declare const more: Layer.Layer<Maintained | Connection, Unreachable>
declare const needy: Layer.Layer<Store, never, Connection>
declare const another: Layer.Layer<Connection>

// test runners

export const suite = Conformance.suiteWith({ describe: vitest.describe, it: vitest.it })
Conformance.suiteWith({ describe: nodeTest.describe, it: nodeTest.it })
declare const bun: {
  readonly describe: (label: string, body: () => void) => void
  readonly it: (
    label: string,
    body: (() => void | Promise<unknown>) | ((done: () => void) => void),
    ms?: number
  ) => void
}
Conformance.suiteWith(bun)
Conformance.suiteWith({ ...bun, it: (name, body) => bun.it(name, body, 60_000) })
declare const numbers: {
  readonly describe: typeof bun.describe
  readonly it: (name: string, timeout: number) => void
}
// @ts-expect-error: it takes no function
Conformance.suiteWith(numbers)

// layers

const place = Effect.acquireRelease(Effect.succeed(failing), () => Effect.void)
const maintainedPlace = Effect.as(Effect.fail(new Unreachable()), more)

suite("a layer with errors", failing)
suite("with several clients", failing, { place, runs: 10, seed: "a seed", timeout: "1 minute" })
suite("a layer with more than is asked for", more, { place: maintainedPlace })
suite("with maintenance", more, { maintenance: true, place: maintainedPlace })
suite("with maintenance, for one client", more, { maintenance: true })
// @ts-expect-error: it has no EventStore
suite("nothing", another)
// @ts-expect-error: it needs a connection, which nobody gives
suite("needy", needy)
suite("needy", Layer.provide(needy, another))
// @ts-expect-error: it has no maintenance
suite("without maintenance", failing, { maintenance: true })
// @ts-expect-error: nor have the clients
suite("without maintenance", more, { maintenance: true, place })

// single rules

const [rule] = Conformance.rules
export const run: Effect.Effect<void, { readonly message: string }> = Conformance.run(rule!, { layer: failing, place })
export const maintained = Conformance.run(rule!, { layer: more, maintenance: true })
// @ts-expect-error: it has no maintenance
export const unmaintained = Conformance.run(rule!, { layer: failing, maintenance: true })
