/**
 * Projections under trouble: functions that are slow or throw, stores that fail, rebuilds that are given up, traffic of others.
 *
 * A process is a layer of its own over one event store and one state store, each of which a test may put something in front of.
 */
import { assert, describe, it, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Event from "../../src/Event.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as ProjectionsLive from "../../src/layers/ProjectionsLive.ts"
import * as ProjectionStoreMemory from "../../src/layers/ProjectionStoreMemory.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Admin from "../../src/services/EventStoreAdmin.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import * as Projection from "../../src/services/Projection.ts"
import * as ProjectionStore from "../../src/services/ProjectionStore.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

// events and projections

class Counted extends Event.Class<Counted>()("Counted", { n: Schema.Int }) {}
class Other extends Event.Class<Other>()("Other", { n: Schema.Int }) {}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const counted = (from: number, to: number) => range(from, to).map((n) => new Counted({ n }))

/** How many events there were, all in one state. */
const counts = (options: {
  readonly version?: number
  readonly weight?: number
  readonly before?: (n: number) => void
} = {}) => {
  const { before, version = 1, weight = 1 } = options
  class Counts extends Projection.Service<Counts>()("counts", {
    version,
    events: [Counted],
    key: () => "all",
    state: Schema.Int,
    apply: {
      Counted: (count = 0, { n }) => {
        before?.(n)
        return count + weight
      }
    }
  }) {}
  return Counts
}

// processes

type Events = EventStore.EventStore["Service"]
type States = ProjectionStore.ProjectionStore["Service"]
type Place = Context.Context<Opossum.Services | ProjectionStore.ProjectionStore>

interface ProcessOptions {
  readonly rebuild?: "never" | "when-needed" | "always"
  readonly events?: (store: Events) => Events
  readonly states?: (store: States) => States
}

const place: Effect.Effect<Place, never, Scope.Scope> = Layer.build(
  Layer.fresh(Layer.merge(Opossum.layerMemory, ProjectionStoreMemory.layer))
)

const start = Effect.fnUntraced(function*<Self>(
  place: Place,
  projection: Layer.Layer<Self, ProjectionStore.ProjectionStoreError, Projection.Projections>,
  { events = (store) => store, rebuild, states = (store) => store }: ProcessOptions = {}
) {
  const scope = yield* Scope.make()
  yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
  const services = Context.mergeAll(
    place,
    Context.make(EventStore.EventStore, events(Context.get(place, EventStore.EventStore))),
    Context.make(ProjectionStore.ProjectionStore, states(Context.get(place, ProjectionStore.ProjectionStore)))
  )
  const built = yield* Layer.buildWithScope(
    Layer.fresh(
      projection.pipe(
        Layer.provideMerge(ProjectionsLive.layer({ rebuild })),
        Layer.provide(Layer.succeedContext(services))
      )
    ),
    scope
  )
  const context = Context.merge(place, built)
  return {
    run: <A, E>(effect: Effect.Effect<A, E, Self | Opossum.Services | Scope.Scope>) =>
      Effect.scoped(Effect.provideContext(effect, context)),
    close: Scope.close(scope, Exit.void)
  }
})

// what is put in front of the stores

/** Runs before each read, which fails with it. */
const beforeReads = (
  before: (query: Query.Any, options: EventStore.ReadOptions) => Effect.Effect<void, EventStore.EventStoreError>
) =>
(store: Events): Events => ({
  ...store,
  read: (query, options = {}) =>
    Effect.andThen(Effect.suspend(() => before(query, options)), store.read(query, options))
})

const overClaims = (wrap: (claim: ProjectionStore.Claim) => ProjectionStore.Claim) => (store: States): States => ({
  ...store,
  open: (name, version) =>
    Effect.map(store.open(name, version), (slot) => ({
      ...slot,
      claim: (options) => Effect.map(slot.claim(options), (claim) => claim && wrap(claim))
    }))
})

/** Runs before each save, which fails with it. */
const beforeSaves = (
  before: (
    which: "live" | "building",
    claim: ProjectionStore.Claim
  ) => Effect.Effect<void, ProjectionStore.ProjectionStoreError | ProjectionStore.ClaimLost>
) =>
  overClaims((claim) => {
    const wrap = (which: "live" | "building") => (generation: ProjectionStore.WritableGeneration) => ({
      ...generation,
      save: (changes: ProjectionStore.Changes) =>
        Effect.andThen(Effect.suspend(() => before(which, claim)), generation.save(changes))
    })
    return {
      ...claim,
      live: Effect.map(claim.live, (generation) => generation && wrap("live")(generation)),
      building: Effect.map(claim.building, (generation) => generation && wrap("building")(generation)),
      begin: (definition) => Effect.map(claim.begin(definition), wrap("building"))
    }
  })

/** As if it were opened `readOnly`. */
const readOnly = (store: States): States => ({
  ...store,
  readOnly: true,
  open: (name, version) => Effect.map(store.open(name, version), (slot) => ({ ...slot, claim: () => Effect.undefined }))
})

const unavailable = new EventStore.EventStoreError({
  reason: new EventStore.StoreUnavailable({ cause: new Error("not now") })
})

/** What comes here waits until it is opened. */
const gate = () => {
  const reached = Deferred.makeUnsafe<void>()
  const opened = Deferred.makeUnsafe<void>()
  return {
    pass: Effect.suspend(() => {
      Deferred.doneUnsafe(reached, Effect.void)
      return Deferred.await(opened)
    }),
    reached: Deferred.await(reached),
    open: Effect.sync(() => Deferred.doneUnsafe(opened, Effect.void))
  }
}

/** The delays of all timers that are set from now on, each of which runs after `toDelay` of it. */
const timers = (toDelay: (millis: number) => number) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const delays: Array<number> = []
      const original = globalThis.setTimeout
      const spy = vi.spyOn(globalThis, "setTimeout").mockImplementation(
        ((run: () => void, millis = 0) => {
          delays.push(millis)
          return original(run, toDelay(millis))
        }) as typeof setTimeout
      )
      return { delays, spy }
    }),
    ({ spy }) => Effect.sync(() => spy.mockRestore())
  ).pipe(Effect.map(({ delays }) => delays))

const pause = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 2)))

/** Looks until it is so: what happens in the background has no moment of its own. */
const until = <A, E, R>(look: Effect.Effect<A, E, R>, isSo: (value: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    for (;;) {
      const value = yield* look
      if (isSo(value)) return value
      yield* pause
    }
  })

/** Takes the processor, as a slow function does. */
const spin = (millis: number) => {
  const end = performance.now() + millis
  while (performance.now() < end);
}

/** Why it stands still, down to the event store's reason. */
const reasonOf = (error: unknown): string => {
  const { _tag, cause, reason } = error as {
    readonly _tag: string
    readonly reason?: { readonly _tag: string; readonly cause?: unknown }
    readonly cause?: unknown
  }
  return _tag === "ProjectionStopped"
    ? reason!._tag === "SourceFailed" ? `SourceFailed ${reasonOf(reason!.cause)}` : reason!._tag
    : _tag === "EventStoreError"
    ? reason!._tag
    : `${_tag} ${String(cause)}`
}

const quiet = Logger.layer([])

const rule = <A>(
  name: string,
  run: () => Generator<Effect.Effect<unknown, unknown, Scope.Scope>, A, never>
) => it.live(name, () => Effect.gen(run).pipe(Effect.scoped, Effect.provide(quiet)))

describe("a projection among others' events and slow functions", () => {
  rule("its position is saved though unrelated events never end", function*() {
    const here = yield* place
    const Counts = counts()
    const a = yield* start(here, Counts.layer)
    yield* a.run(Counts.waitFor((yield* a.run(EventStore.append(counted(1, 1)))).head))
    const b = yield* start(here, Counts.layer)
    const traffic = yield* Effect.forkScoped(
      Effect.forever(Effect.andThen(a.run(EventStore.append(new Other({ n: 1 }))), pause))
    )
    for (const n of range(1, 3)) {
      const { head } = yield* b.run(EventStore.append(new Other({ n })))
      yield* b.run(Counts.waitFor(head))
    }
    assert.isUndefined(traffic.pollUnsafe())
    assert.strictEqual((yield* b.run(Counts.status)).state, "elsewhere")
  })

  rule("a slow function leaves time to others, and no page is read again and again", function*() {
    const events = 300
    const here = yield* place
    let sinceTimer = 0
    let longest = 0
    let applied = 0
    let read = 0
    const Counts = counts({
      before: () => {
        spin(6)
        applied++
        longest = Math.max(longest, ++sinceTimer)
      }
    })
    const timer = setInterval(() => sinceTimer = 0, 1)
    yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(timer)))
    const { head } = yield* Effect.provideContext(EventStore.append(counted(1, events)), here)
    const counting = (store: Events): Events => ({
      ...store,
      read: (query, options) =>
        Effect.tap(store.read(query, options), (page) => Effect.sync(() => void (read += page.events.length)))
    })
    const a = yield* start(here, Counts.layer, { events: counting })
    const b = yield* start(here, Counts.layer, { events: counting })
    for (const one of [a, b]) {
      yield* one.run(Counts.waitFor(head))
      assert.strictEqual(yield* one.run(Counts.get("all")), events)
    }
    assert.strictEqual(applied, events)
    assert.isAtMost(longest, events / 3)
    // the least page is of 16 events; of each, one at least is counted
    assert.isAtMost(read, 17 * events)
  })
})

describe("a rebuild that does not come to its end", () => {
  rule("the first one is given up, with policy \"never\"", function*() {
    const here = yield* place
    const Counts = counts()
    const { pass, reached, open } = gate()
    const a = yield* start(here, Counts.layer, { rebuild: "never", events: beforeReads(() => pass) })
    const { head } = yield* a.run(EventStore.append(counted(1, 3)))
    const rebuilding = yield* Effect.forkScoped(a.run(Stream.runDrain(Counts.rebuild)))
    yield* reached
    const waiting = yield* Effect.forkScoped(a.run(Effect.flip(Counts.get("all"))), { startImmediately: true })
    yield* Fiber.interrupt(rebuilding)
    assert.strictEqual(reasonOf(yield* Fiber.join(waiting)), "NotBuilt")
    const status = yield* a.run(Counts.status)
    assert.deepStrictEqual([status.state, status.rebuild], ["stopped", undefined])
    assert.strictEqual(reasonOf(status.error), "NotBuilt")
    assert.strictEqual(reasonOf(yield* a.run(Effect.flip(Counts.waitFor(head)))), "NotBuilt")
    yield* open
    yield* a.run(Stream.runDrain(Counts.rebuild))
    assert.strictEqual(yield* a.run(Counts.get("all")), 3)
  })

  rule("the first one fails, with policy \"never\"", function*() {
    const here = yield* place
    let isBroken = true
    const Counts = counts({
      before: (n) => {
        if (n === 2 && isBroken) throw new Error("two is too many")
      }
    })
    const a = yield* start(here, Counts.layer, { rebuild: "never" })
    const { head } = yield* a.run(EventStore.append(counted(1, 3)))
    const error = yield* a.run(Effect.flip(Stream.runDrain(Counts.rebuild)))
    assert.strictEqual(reasonOf(error), "EventFailed")
    isBroken = false
    const status = yield* a.run(Counts.status)
    assert.deepStrictEqual([status.state, reasonOf(status.error)], ["stopped", "EventFailed"])
    for (const read of [Counts.get("all"), Counts.waitFor(head)]) {
      assert.strictEqual(reasonOf(yield* a.run(Effect.flip(read))), "EventFailed")
    }
    yield* a.run(Stream.runDrain(Counts.rebuild))
    yield* a.run(Counts.waitFor(head))
    assert.strictEqual(yield* a.run(Counts.get("all")), 3)
  })

  for (const which of ["building", "live"] as const) {
    rule(`the claim is lost when the ${which} generation is saved`, function*() {
      const here = yield* place
      const Counts = counts()
      let losing = false
      const { pass, reached, open } = gate()
      let isHeldUp = false
      const a = yield* start(here, Counts.layer, {
        events: beforeReads((_, { after }) => isHeldUp && after === undefined ? pass : Effect.void),
        states: beforeSaves((saved, claim) => {
          if (!losing || saved !== which) return Effect.void
          losing = false
          // whoever has it now needs no other
          return Effect.andThen(
            claim.discard("building"),
            Effect.fail(new ProjectionStore.ClaimLost({ name: "counts" }))
          )
        })
      })
      const first = yield* a.run(EventStore.append(counted(1, 3)))
      yield* a.run(Counts.waitFor(first.head))
      losing = true
      isHeldUp = which === "live"
      const rebuilding = yield* Effect.forkScoped(a.run(Stream.runCollect(Counts.rebuild)))
      let { head } = first
      if (which === "live") {
        yield* reached
        isHeldUp = false
        head = (yield* a.run(EventStore.append(counted(4, 4)))).head
        yield* until(Effect.sync(() => losing), (losing) => !losing)
        yield* open
      }
      const progress = yield* Fiber.join(rebuilding)
      assert.isFalse(losing)
      assert.strictEqual(progress.at(-1)?.processed, head)
      yield* a.run(Counts.waitFor(head))
      assert.strictEqual(yield* a.run(Counts.get("all")), head)
    })
  }
})

describe("a build that is due is tried again by itself; until then readers have the one before", () => {
  /** What is built, and then, what is built instead. */
  const cases = {
    "other events": (check: (n: number) => void) => {
      class More extends Projection.Service<More>()("counts", {
        events: [Counted, Other],
        key: () => "all",
        state: Schema.Int,
        apply: {
          Counted: (count = 0, { n }) => {
            check(n)
            return count + 1
          },
          Other: (count = 0) => count + 1
        }
      }) {}
      return { before: counts(), after: More, old: 3, now: 4, rebuild: "when-needed" as const, isTagged: false }
    },
    "policy \"always\"": (check: (n: number) => void) => ({
      before: counts(),
      after: counts({ weight: 10, before: check }),
      old: 3,
      now: 30,
      rebuild: "always" as const,
      isTagged: false
    }),
    "tags that were added": (check: (n: number) => void) => {
      const tagged = (check?: (n: number) => void) => {
        class Tagged extends Projection.Service<Tagged>()("counts", {
          events: [Counted],
          key: () => "all",
          state: Schema.Int,
          apply: {
            Counted: (count = 0, { n }, { tags }) => {
              check?.(n)
              return count + tags.length
            }
          }
        }) {}
        return Tagged
      }
      return { before: tagged(), after: tagged(check), old: 0, now: 3, rebuild: "when-needed" as const, isTagged: true }
    }
  }
  for (const [name, define] of Object.entries(cases)) {
    for (const what of ["an event throws", "a read fails"]) {
      rule(`${name}: ${what}`, function*() {
        const here = yield* place
        let isBroken = true
        const { after, before, isTagged, now, old, rebuild } = define((n) => {
          if (isBroken && what === "an event throws" && n === 2) throw new Error("two is too many")
        })
        const { head } = yield* Effect.provideContext(EventStore.append([...counted(1, 3), new Other({ n: 1 })]), here)
        const first = yield* start(here, before.layer)
        yield* first.run(before.waitFor(head))
        if (isTagged) {
          yield* first.run(Maintenance.addTags(Query.of(Counted), () => ["size:small"]))
          yield* until(first.run(before.status), ({ retagged }) => retagged !== undefined)
        }
        yield* first.close
        const second = yield* start(here, after.layer, {
          rebuild,
          // only a build begins at the beginning
          events: beforeReads((_, { after }) =>
            isBroken && what === "a read fails" && after === undefined ? Effect.fail(unavailable) : Effect.void
          )
        })
        yield* until(second.run(after.status), ({ error }) => error !== undefined)
        assert.strictEqual(yield* second.run(after.get("all")), old)
        isBroken = false
        yield* until(second.run(after.get("all")), (count) => count === now)
        const status = yield* until(second.run(after.status), ({ state }) => state === "live")
        assert.isUndefined(status.error)
      })
    }
  }
})

describe("a build that takes long", () => {
  /** The page of 1000 events is counted; the next is not read yet. */
  const events = 1500
  const isSecondPage = (_: Query.Any, { after }: EventStore.ReadOptions) => after !== undefined && after >= 900

  rule("what stopped it before is no news any more when it is counted", function*() {
    const here = yield* place
    let isBroken = true
    const Counts = counts({
      before: (n) => {
        if (n === 5 && isBroken) throw new Error("five is too many")
      }
    })
    const { head } = yield* Effect.provideContext(EventStore.append(counted(1, events)), here)
    const a = yield* start(here, Counts.layer)
    assert.strictEqual(reasonOf(yield* a.run(Effect.flip(Counts.get("all")))), "EventFailed")
    yield* a.close
    const c = yield* start(here, Counts.layer, { states: readOnly })
    const slot = yield* Context.get(here, ProjectionStore.ProjectionStore).open("counts", 1)
    assert.strictEqual((yield* slot.notice)?.position, 5)
    isBroken = false
    const { open, pass, reached } = gate()
    const b = yield* start(here, Counts.layer, {
      events: beforeReads((query, options) => isSecondPage(query, options) ? pass : Effect.void)
    })
    yield* reached
    assert.isUndefined(yield* slot.notice)
    const { error } = yield* c.run(Counts.status)
    assert.isUndefined(error)
    assert.isUndefined((yield* b.run(Counts.status)).error)
    const reading = yield* Effect.forkScoped(c.run(Counts.get("all")), { startImmediately: true })
    yield* open
    assert.strictEqual(yield* Fiber.join(reading), events)
    yield* c.run(Counts.waitFor(head))
  })

  /** Its events change no state. */
  class Nothing extends Projection.Service<Nothing>()("nothing", {
    events: [Counted],
    key: ({ n }) => range(1, 1000).map((i) => `${n} ${i}`),
    state: Schema.Int,
    apply: { Counted: (state) => state }
  }) {}

  rule("closing saves where it is, though no state changed", function*() {
    const here = yield* place
    class Idle extends Projection.Service<Idle>()("idle", {
      events: [Counted],
      key: () => "all",
      state: Schema.Int,
      apply: { Counted: () => undefined }
    }) {}
    const { head } = yield* Effect.provideContext(EventStore.append(counted(1, events)), here)
    const { pass, reached } = gate()
    const a = yield* start(here, Idle.layer, {
      events: beforeReads((query, options) => isSecondPage(query, options) ? pass : Effect.void)
    })
    yield* reached
    yield* a.close
    const begun: Array<number | undefined> = []
    const b = yield* start(here, Idle.layer, {
      events: beforeReads((_, { after }) => Effect.sync(() => void begun.push(after)))
    })
    yield* b.run(Idle.waitFor(head))
    assert.isAtLeast(begun[0] ?? 0, 900)
  })

  rule("it is saved from time to time, though no state changed", function*() {
    const here = yield* place
    class Idle extends Projection.Service<Idle>()("idle", {
      events: [Counted],
      key: () => "all",
      state: Schema.Int,
      apply: { Counted: () => undefined }
    }) {}
    yield* Effect.provideContext(EventStore.append(counted(1, 2000)), here)
    yield* Effect.provideContext(EventStore.append(counted(2001, 2500)), here)
    let ahead = 0
    const now = performance.now.bind(performance)
    const spy = vi.spyOn(performance, "now").mockImplementation(() => now() + ahead)
    yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
    let saves = 0
    const { open, pass, reached } = gate()
    const a = yield* start(here, Idle.layer, {
      events: beforeReads((_, { after = 0 as Position }) => {
        // some seconds pass while the second page is read
        if (after >= 900 && after < 1900) ahead = 5000
        return after >= 1900 ? pass : Effect.void
      }),
      states: beforeSaves(() => Effect.sync(() => void saves++))
    })
    yield* reached
    assert.strictEqual(saves, 1)
    yield* open
    yield* a.run(Idle.waitFor(2500 as Position))
  })

  rule("keys whose states do not change are not kept for ever", function*() {
    const here = yield* place
    let asked: Array<string> = []
    const a = yield* start(here, Nothing.layer, {
      states: overClaims((claim) => ({
        ...claim,
        live: Effect.map(claim.live, (generation) =>
          generation && {
            ...generation,
            read: (keys) => {
              asked.push(...keys)
              return generation.read(keys)
            }
          })
      }))
    })
    const append = (from: number, to: number) =>
      Effect.flatMap(a.run(EventStore.append(counted(from, to))), ({ head }) => a.run(Nothing.waitFor(head)))
    yield* append(1, 1)
    const slot = yield* Context.get(here, ProjectionStore.ProjectionStore).open("nothing", 1)
    yield* until(
      Effect.flatMap(slot.live, (live) => live?.checkpoint ?? Effect.undefined),
      (checkpoint) => checkpoint !== undefined
    )
    // nothing more is saved: time stands still, and so does the wait before a position is saved
    const now = performance.now()
    const spy = vi.spyOn(performance, "now").mockImplementation(() => now)
    yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
    yield* timers((millis) => millis === 100 ? 2 ** 30 : millis)
    // what is at hand is not asked for
    yield* append(2, 3)
    asked = []
    yield* append(2, 3)
    assert.strictEqual(asked.length, 0)
    // 200 000 more
    for (const from of [11, 61, 111, 161]) yield* append(from, from + 49)
    asked = []
    yield* append(2, 2)
    assert.strictEqual(asked.length, 1000)
  })

  rule("of related events only so many are held at a time", function*() {
    const here = yield* place
    const last = 300
    let held = 0
    let most = 0
    class Related extends Projection.Service<Related>()("related", {
      events: [Counted],
      key: ({ n }) => `k${n}`,
      state: Schema.Int,
      related: () => Query.of(Counted),
      apply: {
        Counted: (_, _event, { related }) => {
          most = Math.max(most, held)
          held = 0
          return related.length
        }
      }
    }) {}
    const { head } = yield* Effect.provideContext(EventStore.append(counted(1, last)), here)
    const a = yield* start(here, Related.layer, {
      events: (store) => ({
        ...store,
        read: (query, options) =>
          Effect.tap(store.read(query, options), (page) =>
            Effect.sync(() => {
              if (options?.before !== undefined) held += page.events.length
            }))
      })
    })
    yield* a.run(Related.waitFor(head))
    assert.isAbove(most, 0)
    assert.isAtMost(most, 5000 + last)
    for (const n of range(1, last)) assert.strictEqual(yield* a.run(Related.get(`k${n}`)), n - 1)
  })
})

describe("stores that fail", () => {
  rule("single failures of the event store do not add up", function*() {
    const here = yield* place
    const Counts = counts()
    let isBroken = false
    const a = yield* start(here, Counts.layer, {
      events: beforeReads(() => {
        const fails = isBroken
        isBroken = false
        return fails ? Effect.fail(unavailable) : Effect.void
      })
    })
    const delays = yield* timers((millis) => Math.min(millis, 20))
    // more than are waited out in a row
    for (const n of range(1, 8)) {
      isBroken = true
      const { head } = yield* a.run(EventStore.append(counted(n, n)))
      yield* a.run(Counts.waitFor(head))
      assert.isFalse(isBroken)
    }
    // the first wait after a failure, never the second
    assert.include(delays, 100)
    assert.notInclude(delays, 200)
  })

  for (const [what, event] of [["a state", new Counted({ n: 2 })], ["a position", new Other({ n: 2 })]] as const) {
    rule(`${what} that cannot be saved is tried ever more seldom, and told once`, function*() {
      const here = yield* place
      const Counts = counts()
      let isBroken = false
      const told: Array<string> = []
      const logger = Logger.layer([Logger.make(({ message }) => void told.push(String(message)))])
      const a = yield* Effect.provide(
        start(here, Counts.layer, {
          states: beforeSaves(() =>
            isBroken
              ? Effect.fail(new ProjectionStore.ProjectionStoreError({ name: "counts", cause: new Error("disk full") }))
              : Effect.void
          )
        }),
        logger
      )
      yield* a.run(Counts.waitFor((yield* a.run(EventStore.append(counted(1, 1)))).head))
      isBroken = true
      const delays = yield* timers((millis) => Math.min(millis, 20))
      const { head } = yield* a.run(EventStore.append(event))
      yield* until(a.run(Counts.status), ({ error }) => error?.message.includes("disk full") === true)
      yield* until(Effect.sync(() => delays.includes(3200)), (isSo) => isSo)
      assert.strictEqual(told.filter((text) => text.includes("disk full")).length, 1)
      isBroken = false
      yield* until(a.run(Effect.exit(Counts.waitFor(head))), Exit.isSuccess)
      assert.strictEqual(yield* a.run(Counts.get("all")), what === "a state" ? 2 : 1)
    })
  }

  rule("a rebuild is not kept waiting by what failed before", function*() {
    const here = yield* place
    const Counts = counts()
    let isBroken = false
    const a = yield* start(here, Counts.layer, {
      states: beforeSaves(() =>
        isBroken
          ? Effect.fail(new ProjectionStore.ProjectionStoreError({ name: "counts", cause: new Error("disk full") }))
          : Effect.void
      )
    })
    yield* a.run(Counts.waitFor((yield* a.run(EventStore.append(counted(1, 1)))).head))
    isBroken = true
    // in the end it sleeps for as long as the test takes
    const delays = yield* timers((millis) => millis >= 1600 ? 2 ** 30 : Math.min(millis, 20))
    const { head } = yield* a.run(EventStore.append(counted(2, 2)))
    yield* until(Effect.sync(() => delays.includes(1600)), (isSo) => isSo)
    isBroken = false
    yield* a.run(Stream.runDrain(Counts.rebuild))
    yield* a.run(Counts.waitFor(head))
    assert.strictEqual(yield* a.run(Counts.get("all")), 2)
  })

  const damaged = new EventStore.EventStoreError({
    reason: new EventStore.StoreDamaged({ place: "a file", problem: "a byte is another one" })
  })
  for (const failure of [unavailable, damaged]) {
    const name = failure.reason._tag
    rule(`whoever waits is told of ${name}${failure === damaged ? " at once" : " after some tries"}`, function*() {
      const here = yield* place
      const Counts = counts()
      let isBroken = false
      let tries = 0
      const a = yield* start(here, Counts.layer, {
        events: beforeReads(() => {
          if (!isBroken) return Effect.void
          tries++
          return Effect.fail(failure)
        })
      })
      yield* a.run(Counts.waitFor((yield* a.run(EventStore.append(counted(1, 1)))).head))
      // what is damaged is not tried again while the test looks
      yield* timers((millis) => failure === damaged ? millis : Math.min(millis, 20))
      isBroken = true
      const { head } = yield* a.run(EventStore.append(counted(2, 2)))
      const error = yield* a.run(Effect.flip(Counts.waitFor(head)))
      assert.strictEqual(reasonOf(error), `SourceFailed ${name}`)
      assert.strictEqual(failure === damaged ? tries <= 5 : tries > 5, true)
      const status = yield* a.run(Counts.status)
      assert.deepStrictEqual([status.state, reasonOf(status.error)], ["stopped", name])
      assert.strictEqual(yield* a.run(Counts.get("all")), 1)
      isBroken = false
      yield* until(a.run(Effect.exit(Counts.waitFor(head))), Exit.isSuccess)
      assert.strictEqual(yield* a.run(Counts.get("all")), 2)
      yield* until(a.run(Counts.status), ({ error, state }) => state === "live" && error === undefined)
    })
  }

  const storesToDelete = {
    "in memory": Effect.succeed(Opossum.layerMemory),
    "in files": Effect.map(temporaryFolder, (root) => Opossum.layer({ root, store: "school", eventFiles: false }))
  }
  for (const [name, layer] of Object.entries(storesToDelete)) {
    rule(`after the store was deleted nobody waits for ever, ${name}`, function*() {
      const Counts = counts()
      const context = yield* Layer.build(
        Layer.fresh(Layer.provideMerge(Counts.layer, yield* layer))
      )
      yield* Effect.provideContext(
        Effect.gen(function*() {
          const { head } = yield* EventStore.append(counted(1, 3))
          yield* Counts.waitFor(head)
          const waiting = yield* Effect.forkScoped(Effect.flip(Counts.waitFor(head + 1 as Position)), {
            startImmediately: true
          })
          yield* Admin.deleteStore
          const asked = [Stream.runDrain(Counts.rebuild), Counts.waitFor(head + 1 as Position)]
          for (
            const error of [
              yield* Fiber.join(waiting),
              ...yield* Effect.forEach(asked, (one) => Effect.flip(one))
            ]
          ) {
            assert.include(reasonOf(error), "StoreDeleted")
          }
          yield* until(Counts.status, ({ state }) => state === "stopped")
          // also when it has given up before
          yield* pause
          for (const one of asked) assert.include(reasonOf(yield* Effect.flip(one)), "StoreDeleted")
        }),
        context
      )
    })
  }
})

describe("what projections say of themselves, and what is asked of all", () => {
  rule("all versions that run are rebuilt", function*() {
    const here = yield* place
    const applied = [0, 0]
    const First = counts({ before: () => applied[0]!++ })
    const Second = counts({ version: 2, before: () => applied[1]!++ })
    class Both
      extends Context.Service<Both, { readonly waitFor: (position: Position) => Effect.Effect<void, unknown> }>()(
        "test/Both"
      )
    {
      static readonly layer = Layer.effect(
        Both,
        Effect.gen(function*() {
          const projections = yield* Projection.Projections
          const models = [yield* projections.run(First.definition), yield* projections.run(Second.definition)]
          return Both.of({
            waitFor: (position) => Effect.forEach(models, ({ waitFor }) => waitFor(position), { discard: true })
          })
        })
      )
    }
    const a = yield* start(here, Both.layer)
    const { head } = yield* a.run(EventStore.append(counted(1, 3)))
    yield* a.run(Both.use(({ waitFor }) => waitFor(head)))
    applied.fill(0)
    yield* a.run(Stream.runDrain(Projection.rebuild()))
    assert.deepStrictEqual(applied, [3, 3])
    applied.fill(0)
    yield* a.run(Stream.runDrain(Projection.rebuild({ names: ["counts"], concurrency: 1 })))
    assert.deepStrictEqual(applied, [3, 3])
  })

  rule("after closing it is stopped, and says why", function*() {
    const here = yield* place
    const Counts = counts()
    const a = yield* start(here, Counts.layer)
    yield* a.run(Counts.waitFor((yield* a.run(EventStore.append(counted(1, 1)))).head))
    yield* a.close
    const { error, state } = yield* a.run(Counts.status)
    assert.deepStrictEqual([state, reasonOf(error)], ["stopped", "Closed"])
    const closed = yield* a.run(Effect.flip(Stream.runDrain(Counts.rebuild)))
    assert.strictEqual(reasonOf(closed), "Closed")
  })

  rule("where nothing may be written and nobody runs it, it is stopped", function*() {
    const here = yield* place
    const Counts = counts()
    const reader = yield* start(here, Counts.layer, { states: readOnly })
    const isStopped = Effect.gen(function*() {
      const { error, state } = yield* until(reader.run(Counts.status), ({ state }) => state === "stopped")
      assert.deepStrictEqual([state, reasonOf(error)], ["stopped", "NotRunning"])
    })
    const { head } = yield* reader.run(EventStore.append(counted(1, 1)))
    yield* isStopped
    assert.strictEqual(reasonOf(yield* reader.run(Effect.flip(Counts.waitFor(head)))), "NotRunning")
    const runs = yield* start(here, Counts.layer)
    yield* runs.run(Counts.waitFor(head))
    const { error, state } = yield* reader.run(Counts.status)
    assert.deepStrictEqual([state, error], ["elsewhere", undefined])
    yield* reader.run(Counts.waitFor(head))
    yield* runs.close
    yield* isStopped
  })

  rule("a concurrency that is none is a mistake of the program", function*() {
    const here = yield* place
    const Counts = counts()
    const a = yield* start(here, Counts.layer)
    yield* a.run(Counts.waitFor((yield* a.run(EventStore.append(counted(1, 1)))).head))
    for (const concurrency of [NaN, 0, -1]) {
      const exit = yield* a.run(Effect.exit(Stream.runDrain(Projection.rebuild({ concurrency }))))
      assert.isTrue(Exit.hasDies(exit), String(concurrency))
    }
    yield* a.run(Stream.runDrain(Projection.rebuild({ concurrency: 1 })))
  })
})
