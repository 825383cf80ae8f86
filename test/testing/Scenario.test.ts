/** Scenarios pass where they should, and fail in words that help where they should not. */
import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Context,
  DateTime,
  Deferred,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Schedule,
  Schema,
  Stream
} from "effect"
import {
  Decision,
  DecisionModel,
  Event,
  EventStore,
  type Metadata,
  Opossum,
  type Position,
  Projection,
  Query,
  Tag
} from "effect-opossum"
import { Scenario } from "effect-opossum/testing"
import { TestClock } from "effect/testing"
import { execFile } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

// an application

const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", { courseId: CourseId, seats: Schema.Int }) {}
class SeatTaken extends Event.Class<SeatTaken>()("SeatTaken", { courseId: CourseId, by: Schema.String }) {}
class CourseFull extends Schema.TaggedError<CourseFull>()("CourseFull", { courseId: CourseId, seats: Schema.Int }) {
  override get message() {
    return `all ${this.seats} seats of ${this.courseId} are taken`
  }
}
class AlreadyThere extends Schema.TaggedError<AlreadyThere>()("AlreadyThere", { by: Schema.String }) {}

const seats = (course: string) =>
  DecisionModel.make({
    query: Query.of(CourseDefined, { course }),
    initial: 0,
    apply: { CourseDefined: (_, { seats }) => seats }
  })
const students = (course: string) =>
  DecisionModel.make({
    query: Query.of(SeatTaken, { course }),
    initial: [] as ReadonlyArray<string>,
    apply: { SeatTaken: (students, { by }) => [...students, by] }
  })
const takeSeat = (courseId: string, by: string) =>
  Decision.execute({ seats: seats(courseId), students: students(courseId) }, function*({ seats, students }) {
    if (students.includes(by)) return yield* new AlreadyThere({ by })
    if (students.length >= seats) return yield* new CourseFull({ courseId, seats })
    return new SeatTaken({ courseId, by })
  })

const maths = new CourseDefined({ courseId: "maths", seats: 1 })
const anna = new SeatTaken({ courseId: "maths", by: "anna" })
const ben = new SeatTaken({ courseId: "maths", by: "ben" })
const { given } = Scenario

/** What a scenario that should fail says. */
const failureOf = <R>(scenario: Effect.Effect<unknown, never, R>) =>
  Effect.map(Effect.exit(scenario), (exit) => {
    const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    if (!(error instanceof Scenario.AssertionError)) return assert.fail(`it did not fail as a scenario: ${exit}`)
    return error
  })

/** The message, without how the lines are indented. */
const linesOf = ({ message }: Error) => message.split("\n").map((line) => line.trim()).filter((line) => line !== "")

describe("thenAppends", () => {
  it.effect("passes, and gives what the effect gave", () =>
    Effect.gen(function*() {
      const { positions } = yield* given(maths).when(takeSeat("maths", "anna")).thenAppends(anna)
      assert.deepStrictEqual(positions.map(Number), [2])
    }))

  it.effect("other data: both events, and where they differ", () =>
    Effect.gen(function*() {
      const error = yield* failureOf(given(maths, maths).when(takeSeat("maths", "anna")).thenAppends(ben))
      assert.deepStrictEqual(linesOf(error), [
        "it should append other events than it did",
        "- expected  + appended",
        `- SeatTaken {"courseId":"maths","by":"ben"}`,
        `+ SeatTaken {"courseId":"maths","by":"anna"}`,
        `~ by: expected "ben", but it is "anna"`,
        "the store held before: CourseDefined x 2"
      ])
      assert.deepStrictEqual(error.expected, [{ type: "SeatTaken", data: { courseId: "maths", by: "ben" } }])
      assert.deepStrictEqual(error.actual, [{ type: "SeatTaken", data: { courseId: "maths", by: "anna" } }])
    }))

  it.effect("another type with the same data", () =>
    Effect.gen(function*() {
      const taken = Event.raw("Taken", { courseId: "maths", by: "anna" })
      const error = yield* failureOf(
        given(maths).when(takeSeat("maths", "anna")).thenAppends(taken)
      )
      assert.deepStrictEqual(linesOf(error).slice(2, 4), [
        `- Taken {"courseId":"maths","by":"anna"}`,
        `+ SeatTaken {"courseId":"maths","by":"anna"}`
      ])
    }))

  it.effect("one missing and one too many stand at their places", () =>
    Effect.gen(function*() {
      const [c, d, e] = ["c", "d", "e"].map((by) => new SeatTaken({ courseId: "maths", by }))
      const missing = yield* failureOf(given().when(EventStore.append([anna, c!, d!])).thenAppends(anna, ben, c!, d!))
      assert.deepStrictEqual(linesOf(missing), [
        "it should append 4 events, but it appended 3 events",
        "- expected  + appended",
        `SeatTaken {"courseId":"maths","by":"anna"}`,
        `- SeatTaken {"courseId":"maths","by":"ben"}`,
        `SeatTaken {"courseId":"maths","by":"c"}`,
        `SeatTaken {"courseId":"maths","by":"d"}`,
        "the store held nothing before"
      ])
      const more = yield* failureOf(given().when(EventStore.append([anna, c!, e!, d!])).thenAppends(anna, c!, d!))
      assert.deepStrictEqual(linesOf(more).slice(2, 6), [
        `SeatTaken {"courseId":"maths","by":"anna"}`,
        `SeatTaken {"courseId":"maths","by":"c"}`,
        `+ SeatTaken {"courseId":"maths","by":"e"}`,
        `SeatTaken {"courseId":"maths","by":"d"}`
      ])
    }))

  it.effect("long stretches of the same are left out", () =>
    Effect.gen(function*() {
      const many = Array.from({ length: 100 }, (_, n) => new SeatTaken({ courseId: "maths", by: `${n}` }))
      const error = yield* failureOf(given().when(EventStore.append([...many, anna])).thenAppends(...many, ben))
      assert.deepStrictEqual(linesOf(error).slice(2, 4), [
        "... 97 that are the same",
        `SeatTaken {"courseId":"maths","by":"97"}`
      ])
    }))

  it.effect("the order counts", () => failureOf(given().when(EventStore.append([anna, ben])).thenAppends(ben, anna)))

  it.effect("the order of keys does not, nor does a key that says nothing", () =>
    given().when(EventStore.append(Event.raw("A", { x: 1, y: { z: 2 } }))).thenAppends(
      Event.raw("A", { y: { z: 2 }, x: 1 })
    ))

  it.effect("tags and metadata count if the expected event was given some", () =>
    Effect.gen(function*() {
      const appended = Event.withMetadata(Event.withTags(anna, ["term:spring"]), {
        userId: "u",
        correlationId: "c",
        custom: { a: 1, b: 2 }
      })
      const when = given().when(EventStore.append(appended))
      yield* when.thenAppends(anna)
      yield* when.thenAppends(Event.withTags(anna, ["term:spring"]))
      yield* when.thenAppends(Event.withMetadata(anna, { userId: "u", custom: { b: 2 } }))
      yield* when.thenAppends(Event.withMetadata(anna, { timestamp: DateTime.makeUnsafe(0) }))

      const tags = yield* failureOf(when.thenAppends(Event.withTags(anna, ["term:autumn"])))
      assert.deepStrictEqual(linesOf(tags).slice(2, 5), [
        `- SeatTaken {"courseId":"maths","by":"anna"} [course:maths, term:autumn]`,
        `+ SeatTaken {"courseId":"maths","by":"anna"} [course:maths, term:spring]`,
        `~ tags[1]: expected "term:autumn", but it is "term:spring"`
      ])
      const user = yield* failureOf(when.thenAppends(Event.withMetadata(anna, { userId: "v", causationId: "d" })))
      assert.deepStrictEqual(linesOf(user).slice(2, 6), [
        `- SeatTaken {"courseId":"maths","by":"anna"} {"userId":"v","causationId":"d"}`,
        `+ SeatTaken {"courseId":"maths","by":"anna"} {"userId":"u"}`,
        `~ metadata.userId: expected "v", but it is "u"`,
        `~ metadata.causationId: expected "d", but it is nothing`
      ])
      yield* failureOf(when.thenAppends(Event.withMetadata(anna, { custom: { a: 2 } })))
      yield* failureOf(when.thenAppends(Event.withMetadata(anna, { id: "another" })))
      yield* failureOf(when.thenAppends(Event.withMetadata(anna, { timestamp: DateTime.makeUnsafe(1) })))
    }))

  it.effect("a failure says what, and what was appended all the same", () =>
    Effect.gen(function*() {
      const effect = Effect.andThen(EventStore.append(ben), new CourseFull({ courseId: "maths", seats: 1 }))
      const error = yield* failureOf(given(maths).when(effect).thenAppends(anna))
      assert.deepStrictEqual(linesOf(error), [
        "it should append 1 event, but it failed with CourseFull: all 1 seats of maths are taken",
        "it should append",
        `- SeatTaken {"courseId":"maths","by":"anna"}`,
        "it appended",
        `+ SeatTaken {"courseId":"maths","by":"ben"}`,
        "the store held before: CourseDefined"
      ])
      assert.instanceOf(error.cause, CourseFull)
    }))

  it.effect("a defect, and an interruption", () =>
    Effect.gen(function*() {
      const defect = yield* failureOf(given().when(Effect.die(new TypeError("a bug"))).thenAppends(anna))
      assert.include(defect.message, "it died of TypeError: a bug")
      const interrupted = yield* failureOf(given().when(Effect.interrupt).thenAppends())
      assert.include(interrupted.message, "it was interrupted")
    }))

  it.effect("an expected event that is none", () =>
    Effect.gen(function*() {
      const none = new SeatTaken({ courseId: "", by: "anna" }, { disableChecks: true })
      const error = yield* failureOf(given(maths).when(takeSeat("maths", "anna")).thenAppends(anna, none))
      assert.match(error.message, /^the expected event 2 \(SeatTaken\) is none: /)
    }))
})

describe("thenNothing", () => {
  it.effect("passes where nothing was appended, and fails where something was", () =>
    Effect.gen(function*() {
      yield* given(maths).when(EventStore.head).thenNothing
      const error = yield* failureOf(given(maths).when(takeSeat("maths", "anna")).thenNothing)
      assert.deepStrictEqual(linesOf(error).slice(0, 3), [
        "it should append nothing, but it appended 1 event",
        "- expected  + appended",
        `+ SeatTaken {"courseId":"maths","by":"anna"}`
      ])
      yield* failureOf(given(maths).when(takeSeat("latin", "anna")).thenNothing)
    }))
})

describe("thenSucceeds", () => {
  it.effect("compares the value by structure, and the events", () =>
    Effect.gen(function*() {
      const when = given(maths).when(Effect.map(takeSeat("maths", "anna"), ({ result }) => ({ taken: result })))
      yield* when.thenSucceeds({ taken: new SeatTaken({ courseId: "maths", by: "anna" }) }, anna)
      const value = yield* failureOf(when.thenSucceeds({ taken: ben }, anna))
      assert.include(value.message, "it should succeed with another value")
      assert.include(value.message, "- { taken: SeatTaken { _tag: 'SeatTaken', by: 'ben', courseId: 'maths' } }")
      assert.include(value.message, "+ { taken: SeatTaken { _tag: 'SeatTaken', by: 'anna', courseId: 'maths' } }")
      const events = yield* failureOf(when.thenSucceeds({ taken: anna }))
      assert.include(events.message, "it should append nothing, but it appended 1 event")
      const failed = yield* failureOf(given().when(takeSeat("maths", "anna")).thenSucceeds(undefined as never))
      assert.include(failed.message, "but it failed with CourseFull")
    }))
})

describe("thenFails", () => {
  const full = given(maths, ben).when(takeSeat("maths", "anna"))

  it.effect("by the error, by its tag, by a function; and gives the error", () =>
    Effect.gen(function*() {
      yield* full.thenFails(new CourseFull({ courseId: "maths", seats: 1 }))
      const { seats } = yield* full.thenFails("CourseFull")
      assert.strictEqual(seats, 1)
      yield* full.thenFails((error) => error._tag === "CourseFull" && error.seats === 1)
    }))

  it.effect("another error of the class shows both", () =>
    Effect.gen(function*() {
      const error = yield* failureOf(full.thenFails(new CourseFull({ courseId: "maths", seats: 2 })))
      assert.deepStrictEqual(linesOf(error), [
        "it should fail with CourseFull: all 2 seats of maths are taken, " +
        "but it failed with CourseFull: all 1 seats of maths are taken",
        "- expected  + actual",
        "{",
        "_tag: 'CourseFull',",
        "courseId: 'maths',",
        "-   message: 'all 2 seats of maths are taken',",
        "-   seats: 2",
        "+   message: 'all 1 seats of maths are taken',",
        "+   seats: 1",
        "}",
        "the store held before: CourseDefined, SeatTaken"
      ])
      assert.propertyVal(error.expected, "seats", 2)
      assert.propertyVal(error.actual, "seats", 1)
    }))

  it.effect("another class, tag, or one that the function refuses", () =>
    Effect.gen(function*() {
      const other = yield* failureOf(full.thenFails(new AlreadyThere({ by: "anna" })))
      assert.include(other.message, "it should fail with AlreadyThere, but it failed with CourseFull: all 1")
      const tag = yield* failureOf(full.thenFails("AlreadyThere"))
      assert.include(tag.message, "it should fail with AlreadyThere, but it failed with CourseFull: all 1")
      const refused = yield* failureOf(full.thenFails(() => false))
      assert.include(
        refused.message,
        "it should fail with an error that the function accepts, but it failed with Course"
      )
    }))

  it.effect("a success shows what it appended", () =>
    Effect.gen(function*() {
      const error = yield* failureOf(given(maths).when(takeSeat("maths", "anna")).thenFails("CourseFull"))
      assert.deepStrictEqual(linesOf(error).slice(1, 3), [
        "it appended",
        `+ SeatTaken {"courseId":"maths","by":"anna"}`
      ])
      assert.match(error.message, /^it should fail with CourseFull, but it succeeded with \{ head: 2,/)
    }))

  it.effect("the right error after an append is wrong, unless the events are expected", () =>
    Effect.gen(function*() {
      const when = given().when(Effect.andThen(EventStore.append(anna), new AlreadyThere({ by: "anna" })))
      yield* when.thenFails("AlreadyThere", anna)
      const error = yield* failureOf(when.thenFails("AlreadyThere"))
      assert.deepStrictEqual(linesOf(error).slice(0, 3), [
        "it failed with AlreadyThere, as it should; but it should append nothing, but it appended 1 event",
        "- expected  + appended",
        `+ SeatTaken {"courseId":"maths","by":"anna"}`
      ])
    }))

  it.effect("a defect is no failure", () =>
    Effect.gen(function*() {
      const effect: Effect.Effect<void, AlreadyThere> = Effect.die(new Error("a bug"))
      const error = yield* failureOf(given().when(effect).thenFails("AlreadyThere"))
      assert.include(error.message, "it should fail with AlreadyThere, but it died of Error: a bug")
    }))

  it.effect("errors of other kinds: plain ones by message, with causes, and texts", () =>
    Effect.gen(function*() {
      const fail = <E>(error: E) => given().when(Effect.fail(error))
      yield* fail(new Error("a", { cause: new Error("b") })).thenFails(new Error("a", { cause: new Error("b") }))
      yield* failureOf(
        fail(new Error("a", { cause: new Error("b") })).thenFails(new Error("a", { cause: new Error("c") }))
      )
      yield* failureOf(fail(new Error("a")).thenFails(new Error("b")))
      yield* failureOf(fail<Error>(new Error("a")).thenFails(new TypeError("a")))
      yield* fail("a").thenFails("a")
      yield* failureOf(fail<string>("a").thenFails("b"))
      yield* given().when(EventStore.append([])).thenFails(
        new EventStore.AppendRefused({ reason: new EventStore.EmptyBatch() })
      )
    }))
})

describe("thenState", () => {
  it.effect("folds what the store holds, before and after a step", () =>
    Effect.gen(function*() {
      yield* given(maths)
        .thenState({ seats: seats("maths"), students: students("maths") }, { seats: 1, students: [] })
        .when(takeSeat("maths", "anna")).thenAppends(anna)
        .thenState([seats("maths"), students("maths")], [1, ["anna"]])
      const error = yield* failureOf(given(maths, anna).thenState(students("maths"), ["ben"]))
      assert.deepStrictEqual(linesOf(error), [
        "the state is not as expected",
        "- expected  + actual",
        "- 'ben'",
        "+ 'anna'",
        "the store held before: CourseDefined, SeatTaken"
      ])
      assert.deepStrictEqual([error.expected, error.actual], [["ben"], ["anna"]])
    }))
})

describe("read models", () => {
  class Courses extends Projection.Service<Courses>()("courses", {
    events: [CourseDefined, SeatTaken],
    key: ({ courseId }) => courseId,
    state: Schema.Struct({ seats: Schema.Int, taken: Schema.Int }),
    tags: ({ seats, taken }) => [`full:${taken >= seats}`, `empty:${taken === 0}`],
    apply: {
      CourseDefined: (_, { seats }) => ({ seats, taken: 0 }),
      SeatTaken: (course) => course && { ...course, taken: course.taken + 1 }
    }
  }) {}

  /** Counts only what it is told to wait for, so who does not wait sees nothing; what is not asked here is missing. */
  const make = (log: Array<string>) =>
    Layer.effect(
      Projection.Projections,
      Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        return Projection.Projections.of({
          run: (definition) =>
            Effect.gen(function*() {
              yield* Effect.acquireRelease(Effect.sync(() => log.push("run")), () => Effect.sync(() => log.push("end")))
              const entries = new Map<string, Projection.Entry<unknown>>()
              const waitFor = (position: Position.Position | undefined) =>
                Effect.gen(function*() {
                  const { events } = yield* Effect.orDie(store.read(definition.query))
                  entries.clear()
                  for (const sequenced of events.filter((event) => event.position <= (position ?? 0))) {
                    for (const key of definition.keysOf(sequenced)) {
                      const before = entries.get(key)
                      const applied = { ...sequenced, key, related: [] }
                      const state = definition.apply[sequenced.type]!(before?.state, sequenced.event, applied)
                      const { metadata: { timestamp }, position } = sequenced
                      const version = (before?.version ?? 0) + 1
                      if (state === undefined) entries.delete(key)
                      else entries.set(key, { key, state, position, version, created: timestamp, updated: timestamp })
                    }
                  }
                })
              const unused = Effect.die(new Error("not of use here"))
              return {
                get: (key) => Effect.sync(() => entries.get(key)?.state),
                entry: (key) => Effect.sync(() => entries.get(key)),
                list: () => unused,
                stream: () => Stream.suspend(() => Stream.fromIterable(entries.values())),
                byTag: (...tags) =>
                  Effect.sync(() =>
                    [...entries.values()].filter(({ key, state }) =>
                      tags.every((tag) => definition.tagsOf(state, key).includes(tag))
                    )
                  ),
                size: unused,
                waitFor,
                status: unused,
                rebuild: Stream.die(new Error("not of use here"))
              }
            }),
          status: Effect.succeed([]),
          rebuild: () => Stream.empty
        })
      })
    ).pipe(Layer.provideMerge(Opossum.layerMemory))
  const layer = make([])
  const { given } = Scenario.make({ layer })
  const latin = new CourseDefined({ courseId: "latin", seats: 2 })

  it.effect("shows the state of a key, or none", () =>
    Effect.gen(function*() {
      yield* given(maths)
        .shows(Courses, "maths", { seats: 1, taken: 0 })
        .shows(Courses, "latin", undefined)
        .when(takeSeat("maths", "anna")).thenAppends(anna)
        .shows(Courses, "maths", { seats: 1, taken: 1 })
      const error = yield* failureOf(given(maths).shows(Courses, "maths", { seats: 1, taken: 1 }))
      assert.deepStrictEqual(linesOf(error), [
        `what courses shows for "maths" is not as expected`,
        "- expected  + actual",
        "- { seats: 1, taken: 1 }",
        "+ { seats: 1, taken: 0 }",
        "the store held before: CourseDefined"
      ])
      yield* failureOf(given(maths).shows(Courses, "maths", undefined))
      yield* failureOf(given(maths).shows(Courses, "latin", { seats: 1, taken: 0 }))
    }))

  it.effect("shows just these entries, in whatever order", () =>
    Effect.gen(function*() {
      const both = given(maths, latin, anna)
      yield* both.showsEntries(Courses, ["maths", { key: "latin", state: { seats: 2, taken: 0 }, version: 1 }])
      yield* given().showsEntries(Courses, [])
      const error = yield* failureOf(both.showsEntries(Courses, ["latin"]))
      assert.deepStrictEqual(linesOf(error).slice(0, 4), [
        "what courses shows is not as expected",
        "- expected  + actual",
        "'latin'",
        "+ { key: 'maths', state: { seats: 1, taken: 1 } }"
      ])
      yield* failureOf(both.showsEntries(Courses, ["latin", "maths", "greek"]))
      yield* failureOf(both.showsEntries(Courses, ["latin", { key: "maths", state: { seats: 1, taken: 0 } }]))
      const version = { key: "maths", state: { seats: 1, taken: 1 }, version: 1 }
      yield* failureOf(both.showsEntries(Courses, ["latin", version]))
    }))

  it.effect("shows entries with tags", () =>
    Effect.gen(function*() {
      const both = given(maths, latin, anna)
      yield* both.showsByTag(Courses, "full:true", ["maths"]).showsByTag(Courses, ["full:false", "empty:true"], [
        "latin"
      ])
      const error = yield* failureOf(both.showsByTag(Courses, ["full:true", "empty:true"], ["maths"]))
      assert.include(error.message, "what courses shows for full:true, empty:true is not as expected")
      yield* failureOf(both.showsByTag(Courses, "full:true", []))
    }))

  it.effect("runs the projection for the look, or takes the one that runs", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      yield* Scenario.make({ layer: make(log) }).given(maths)
        .shows(Courses, "maths", { seats: 1, taken: 0 })
        .when(Effect.sync(() => log.push("step"))).thenNothing
        .shows(Courses, "maths", { seats: 1, taken: 0 })
      assert.deepStrictEqual(log.splice(0), ["run", "end", "step", "run", "end"])
      const running = Courses.layer.pipe(Layer.provideMerge(make(log)))
      yield* Scenario.make({ layer: running }).given(maths)
        .shows(Courses, "maths", { seats: 1, taken: 0 })
        .when(Courses.get("maths")).thenSucceeds({ seats: 1, taken: 0 })
      assert.deepStrictEqual(log, ["run", "end"])
    }))

  it.effect("does not look at a read model of another store that is around it", () =>
    Effect.gen(function*() {
      yield* EventStore.append([maths, latin])
      yield* given(maths).showsEntries(Courses, ["maths"])
      yield* Scenario.make({ layer: Courses.layer.pipe(Layer.provideMerge(layer)) }).given(latin)
        .showsEntries(Courses, ["latin"])
    }).pipe(Effect.provide(Courses.layer.pipe(Layer.provideMerge(layer)))))
})

describe("a scenario", () => {
  it.effect("goes on, and says which step failed", () =>
    Effect.gen(function*() {
      const story = given(new CourseDefined({ courseId: "maths", seats: 2 }))
        .when(takeSeat("maths", "anna")).thenAppends(anna)
        .when(takeSeat("maths", "anna")).thenFails("AlreadyThere")
        .when(takeSeat("maths", "ben")).thenAppends(ben)
      yield* story.when(takeSeat("maths", "cleo")).thenFails("CourseFull")
      const error = yield* failureOf(story.when(takeSeat("maths", "cleo")).thenNothing.thenState(seats("maths"), 2))
      assert.match(error.message, /^step 4 of 5: it should append nothing, but it failed with CourseFull/)
      assert.include(error.message, "the store held before: CourseDefined, SeatTaken x 2")
    }))

  it.effect("stops at the first step that is wrong", () =>
    Effect.gen(function*() {
      let ran = false
      const story = given(maths).when(EventStore.head).thenSucceeds(undefined)
        .when(Effect.sync(() => ran = true)).thenNothing
      yield* failureOf(story)
      assert.isFalse(ran)
    }))

  it.effect("has a store of its own at each run, whatever is around it", () =>
    Effect.gen(function*() {
      const story = given(maths).when(EventStore.head).thenSucceeds(1 as Position.Position)
      yield* EventStore.append(anna)
      yield* story
      yield* story
      assert.strictEqual(yield* EventStore.head, 1)
    }).pipe(Effect.provide(Opossum.layerMemory)))

  it.effect("leaves to others what its layer does not provide", () =>
    Effect.gen(function*() {
      class Name extends Context.Service<Name, string>()("Name") {}
      const effect = Effect.flatMap(Name, (name) => takeSeat("maths", name))
      yield* given(maths).when(effect).thenAppends(anna).pipe(Effect.provideService(Name, "anna"))
      const layer = Layer.succeed(Name, "anna").pipe(Layer.provideMerge(Opossum.layerMemory))
      yield* Scenario.make({ layer }).given(maths).when(effect).thenAppends(anna)
    }))

  it.effect("says that its layer or its events are bad", () =>
    Effect.gen(function*() {
      const layer = Layer.effect(EventStore.EventStore, Effect.fail(new AlreadyThere({ by: "me" })))
      const bad = yield* failureOf(Scenario.make({ layer }).given(maths).when(Effect.void).thenNothing)
      assert.include(bad.message, "the scenario's layer cannot be built: AlreadyThere")
      const events = yield* failureOf(given(maths, Event.withTags(anna, ["a:"])).when(Effect.void).thenNothing)
      assert.include(events.message, `the given events cannot be stored: AppendRefused: the tag "a:" of event 0`)
      assert.include(events.message, "given: SeatTaken")
    }))

  it.effect("fails with the line of the test", () =>
    Effect.gen(function*() {
      const here = () => Number(/Scenario\.test\.ts:(\d+)/.exec(new Error().stack!)![1])
      const line = here()
      const errors = [
        yield* failureOf(given(maths).when(Effect.void).thenAppends(anna)),
        yield* failureOf(given(maths).when(takeSeat("maths", "anna")).thenNothing),
        yield* failureOf(given(maths).when(Effect.fail("a")).thenFails("b" as "a")),
        yield* failureOf(given(maths).when(Effect.succeed(1)).thenSucceeds(2)),
        yield* failureOf(given(maths).thenState(seats("maths"), 2))
      ]
      const lines = errors.map(({ stack }) => Number(/^ +at .*Scenario\.test\.ts:(\d+)/m.exec(stack!)![1]))
      assert.deepStrictEqual(lines, errors.map((_, n) => line + 3 + n))
      for (const { stack } of errors) assert.match(stack!.split(/^ +at /m)[1]!, /Scenario\.test\.ts/)
    }))
})

describe("given", () => {
  it.effect("each event is appended for itself, a list as one batch", () =>
    Effect.gen(function*() {
      const [a, b, c] = ["a", "b", "c"].map((id) => Event.withMetadata(anna, { id }))
      const again = (events: ReadonlyArray<Event.Input>) =>
        given(a!, [b!, c!]).when(Effect.map(EventStore.append(events), ({ duplicate }) => duplicate))
      yield* again([a!]).thenSucceeds(true)
      yield* again([b!, c!]).thenSucceeds(true)
      yield* again([b!]).thenFails("AppendRefused")
      yield* again([a!, b!]).thenFails("AppendRefused")
    }))

  it.effect("keeps tags, metadata and order", () =>
    Effect.gen(function*() {
      const tagged = Event.withTags(anna, ["term:spring"])
      const late = Event.withMetadata(ben, { timestamp: DateTime.makeUnsafe("2026-01-31T00:00:00Z"), userId: "u" })
      const read = Effect.map(EventStore.read(Query.all), ({ events }) =>
        events.map(({ metadata, tags, type }) => ({
          type,
          tags: tags.map(String),
          user: metadata.userId,
          at: DateTime.formatIso(metadata.timestamp)
        })))
      yield* given(maths, tagged, late).when(read).thenSucceeds([
        { type: "CourseDefined", tags: ["course:maths"], user: undefined, at: "2026-01-31T00:00:00.000Z" },
        { type: "SeatTaken", tags: ["course:maths", "term:spring"], user: undefined, at: "2026-01-31T00:00:00.000Z" },
        { type: "SeatTaken", tags: ["course:maths"], user: "u", at: "2026-01-31T00:00:00.000Z" }
      ])
    }))
})

describe("fixture", () => {
  const iso = ({ metadata: { timestamp } }: { readonly metadata: Metadata.Input }) =>
    timestamp && DateTime.formatIso(timestamp)
  const start = Scenario.fixture("2026-01-31T12:00:00Z")

  it("gives each event its time, and who caused it", () => {
    const fixture = start.event(maths)
      .by({ userId: "anna", correlationId: "c" }).after("1 hour").events(anna, ben)
      .by({ userId: "ben" }).at("2026-02-01T00:00:00+01:00").batch(anna, Event.withMetadata(ben, { userId: "cleo" }))
      .at(new Date(0)).event(Event.withMetadata(anna, { timestamp: DateTime.makeUnsafe(1) }))
      .at(DateTime.makeUnsafe(2)).after(Duration.millis(1)).event(ben)
    assert.deepStrictEqual(
      fixture.map((event) => [iso(event), event.metadata.userId, event.metadata.correlationId]),
      [
        ["2026-01-31T12:00:00.000Z", undefined, undefined],
        ["2026-01-31T13:00:00.000Z", "anna", "c"],
        ["2026-01-31T13:00:00.000Z", "anna", "c"],
        ["2026-01-31T23:00:00.000Z", "ben", undefined],
        ["2026-01-31T23:00:00.000Z", "cleo", undefined],
        ["1970-01-01T00:00:00.001Z", "ben", undefined],
        ["1970-01-01T00:00:00.003Z", "ben", undefined]
      ]
    )
  })

  it("is a list that nobody changes", () => {
    const one = start.event(maths)
    const two = one.after("1 hour").event(anna)
    const other = one.event(ben)
    assert.deepStrictEqual([one.length, two.length, other.length], [1, 2, 2])
    assert.strictEqual(iso(other[1]!), "2026-01-31T12:00:00.000Z")
    assert.strictEqual(two.at(-1)?.event, anna)
    assert.isTrue(Array.isArray(two))
    assert.throws(() => (two as unknown as Array<unknown>).push(maths))
    assert.throws(() => start.at("yesterday"), `"yesterday"`.replaceAll(`"`, "'"))
  })

  it.effect("can be given, with its batches, and gone on with", () =>
    Effect.gen(function*() {
      const [a, b, c] = ["a", "b", "c"].map((id) => Event.withMetadata(anna, { id }))
      const fixture = start.events(a!, b!)
      const append = (events: ReadonlyArray<Event.Input>) =>
        Effect.map(EventStore.append(events), ({ duplicate }) => duplicate)
      yield* given(maths, fixture).when(append([b!])).thenSucceeds(true)
      const longer = fixture.batch(Event.withMetadata(anna, { id: "d" }), c!)
      yield* given(longer, ben).when(append([c!])).thenFails("AppendRefused")
      yield* given(longer, ben).when(append(longer.slice(2))).thenSucceeds(true)
    }))

  it.effect("can be appended, as one batch", () =>
    given().when(EventStore.append(start.by({ userId: "u" }).events(anna, ben))).thenAppends(
      Event.withMetadata(anna, { userId: "u", timestamp: DateTime.makeUnsafe("2026-01-31T12:00:00Z") }),
      Event.withMetadata(ben, { userId: "u" })
    ))
})

describe("time", () => {
  const now = Effect.clockWith((clock) => clock.currentTimeMillis)
  /** Somebody is faster than the decision, twice. */
  const overtaken = Decision.execute(students("maths"), (_, attempt) =>
    Effect.gen(function*() {
      if (attempt < 3) yield* EventStore.append(new SeatTaken({ courseId: "maths", by: `rival ${attempt}` }))
      return anna
    }))
  const rivals = [1, 2].map((n) => new SeatTaken({ courseId: "maths", by: `rival ${n}` }))

  it.effect("a decision that tries again needs nobody who moves the clock", () =>
    given(maths).when(overtaken).thenAppends(...rivals, anna))

  it.live("nor does it by the real clock", () => given(maths).when(overtaken).thenAppends(...rivals, anna))

  it.effect("goes from one moment to the next, in order", () =>
    Effect.gen(function*() {
      const log: Array<string> = []
      const at = (what: string) => Effect.map(now, (now) => log.push(`${what} at ${now}`))
      const steps = Effect.all([
        Effect.andThen(Effect.sleep("3 hours"), at("third")),
        at("tick").pipe(Effect.repeat(Schedule.spaced("1 hour").pipe(Schedule.upTo({ times: 2 })))),
        Effect.andThen(Effect.sleep("90 minutes"), at("middle"))
      ], { concurrency: "unbounded" })
      yield* given().when(steps).thenNothing
      assert.deepStrictEqual(log, [
        "tick at 0",
        "tick at 3600000",
        "middle at 5400000",
        "tick at 7200000",
        "third at 10800000"
      ])
    }))

  it.effect("a time-out does not come while there is something to do", () =>
    Effect.gen(function*() {
      const work = Effect.gen(function*() {
        for (let i = 0; i < 300; i++) yield* Effect.yieldNow
        for (let i = 0; i < 20; i++) yield* EventStore.append(anna)
        return yield* now
      })
      const batch = Array.from({ length: 20 }, () => anna)
      yield* given().when(Effect.timeout(work, "1 second")).thenSucceeds(0, ...batch)
    }))

  it.effect("one moment is over before the next one comes, with the promises that follow from it", () =>
    Effect.gen(function*() {
      const turn = Effect.promise(() => new Promise<void>((resolve) => void setImmediate(resolve)))
      const early = Effect.sleep("1 second").pipe(Effect.andThen(turn), Effect.andThen(turn), Effect.andThen(now))
      yield* given().when(Effect.all([Effect.as(Effect.sleep("1 hour"), 0), early], { concurrency: 2 }))
        .thenSucceeds([0, 1000])
    }))

  it.effect("a time-out comes when there is nothing to do", () =>
    given().when(Effect.timeout(Effect.never, "1 second")).thenFails("TimeoutError"))

  it.effect("a step may move the clock itself", () =>
    Effect.gen(function*() {
      const seen = yield* given().when(Effect.gen(function*() {
        yield* TestClock.adjust("1 day")
        yield* EventStore.append(anna)
      })).thenAppends(Event.withMetadata(anna, { timestamp: DateTime.makeUnsafe(86_400_000) }))
      assert.isUndefined(seen)
      assert.strictEqual(yield* now, 86_400_000)
    }))

  it.effect("stands if it is told to", () =>
    Effect.gen(function*() {
      const { given } = Scenario.make({ layer: Opossum.layerMemory, time: "stands" })
      const started = yield* Deferred.make<void>()
      const step = Effect.andThen(Deferred.succeed(started, undefined), Effect.andThen(Effect.sleep("1 hour"), now))
      const fiber = yield* Effect.forkChild(given().when(step).thenSucceeds(3_600_000))
      yield* Deferred.await(started)
      yield* TestClock.adjust("59 minutes")
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
    }))

  it.effect("what a step leaves behind moves no clock", () =>
    Effect.gen(function*() {
      yield* given().when(Effect.forkChild(Effect.sleep("1 hour"))).thenNothing
      for (let i = 0; i < 100; i++) yield* Effect.yieldNow
      assert.strictEqual(yield* now, 0)
    }))

  it.effect("begins at the newest of the given events, and never goes back", () =>
    Effect.gen(function*() {
      const fixture = Scenario.fixture("2026-01-31T12:00:00Z").event(maths).at("2026-01-01T00:00:00Z").event(ben)
      const noon = Date.UTC(2026, 0, 31, 12)
      yield* given(fixture).when(now).thenSucceeds(noon)
      yield* given(Scenario.fixture().event(maths)).when(now).thenSucceeds(noon)
    }))

  it.live("leaves the real clock alone", () =>
    Effect.gen(function*() {
      const before = yield* now
      const seen = yield* given(Scenario.fixture("2999-01-31T12:00:00Z").event(maths)).when(now).thenNothing
      assert.isBelow(seen, Date.UTC(2999))
      assert.isAtLeast(seen, before)
    }))
})

describe("test runners", () => {
  it("vitest alone", async () => {
    const { positions } = await Effect.runPromise(given(maths).when(takeSeat("maths", "anna")).thenAppends(anna))
    assert.deepStrictEqual(positions.map(Number), [2])
  })

  it("node:test shows the difference, and the line", async () => {
    const root = fileURLToPath(new URL("../..", import.meta.url))
    const folder = join(root, ".tmp", `scenario-${process.pid}`)
    mkdirSync(folder, { recursive: true })
    try {
      const file = join(folder, "one.test.ts")
      writeFileSync(
        file,
        [
          `import { Effect } from "effect"`,
          `import { Event, EventStore } from "effect-opossum"`,
          `import { Scenario } from "effect-opossum/testing"`,
          `import { test } from "node:test"`,
          `const when = Scenario.given().when(EventStore.append(Event.raw("A", { x: 1 })))`,
          `test("right", () => Effect.runPromise(when.thenAppends(Event.raw("A", { x: 1 }))))`,
          `test("wrong", () => Effect.runPromise(when.thenAppends(Event.raw("A", { x: 2 }))))`
        ].join("\n")
      )
      const stdout = await new Promise<string>((resolve) => {
        const args = ["--import", join(root, "scripts/source.ts"), "--test-reporter=spec", file]
        const env = { ...process.env, NODE_OPTIONS: "", NODE_TEST_CONTEXT: undefined }
        execFile(process.execPath, args, { cwd: root, env }, (_, stdout) => resolve(stdout))
      })
      assert.match(stdout, /pass 1/)
      assert.match(stdout, /fail 1/)
      assert.include(stdout, "x: expected 2, but it is 1")
      assert.match(stdout, /one\.test\.ts:7/)
      assert.include(stdout, "expected: ")
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }, 60_000)
})
