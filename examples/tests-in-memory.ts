/**
 * Testing without files: `Opossum.layerMemory` is the store's own code over a memory instead of a disk, so a test on it says as much
 * as one on files. Each build of the layer is an empty store.
 *
 * With @effect/vitest the programs below are the bodies of `it.effect`, which brings a `TestClock` to all; here they just run.
 */
import { DateTime, Effect } from "effect"
import { EventStore, Opossum, Query } from "effect-opossum"
import { TestClock } from "effect/testing"
import assert from "node:assert/strict"
import {
  CourseDefined,
  CourseId,
  defineCourse,
  StudentId,
  StudentSubscribed,
  subscribe
} from "./dcb/course-subscriptions.ts"

const maths = CourseId.make("maths")
const [anna, ben] = [StudentId.make("anna"), StudentId.make("ben")]

const tests = {
  "a full course takes nobody": Effect.gen(function*() {
    // given
    yield* EventStore.append([
      new CourseDefined({ courseId: maths, title: "Maths", capacity: 1 }),
      new StudentSubscribed({ courseId: maths, studentId: anna })
    ])
    // when
    const refusal = yield* Effect.flip(subscribe(maths, ben))
    // then
    assert.equal(refusal._tag, "CourseFull")
  }),

  "two at once want the last seat, and one gets it": Effect.gen(function*() {
    yield* defineCourse(maths, "Maths", 1)
    const both = [anna, ben].map((student) =>
      Effect.match(subscribe(maths, student), { onSuccess: () => 1, onFailure: () => 0 })
    )
    const seats = yield* Effect.all(both, { concurrency: 2 })
    assert.deepEqual(seats.toSorted(), [0, 1])
  }),

  "an event knows when it was": Effect.gen(function*() {
    yield* TestClock.setTime(Date.UTC(2026, 0, 31))
    yield* defineCourse(maths, "Maths", 1)
    const last = yield* EventStore.readLast(Query.of(CourseDefined))
    assert.equal(last && DateTime.formatIso(last.metadata.timestamp), "2026-01-31T00:00:00.000Z")
  }).pipe(Effect.provide(TestClock.layer()))
}

for (const [name, test] of Object.entries<Effect.Effect<void, unknown, EventStore.EventStore>>(tests)) {
  await Effect.runPromise(Effect.provide(test, Opossum.layerMemory))
  console.log(`ok: ${name}`)
}
