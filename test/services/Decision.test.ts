/** Decisions: read, decide, append under the condition; attempts, turns and snapshots. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as Event from "../../src/Event.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Tag from "../../src/Tag.ts"

const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
class CourseDefined
  extends Event.Class<CourseDefined>()("CourseDefined", { courseId: CourseId, capacity: Schema.Int })
{}
const exists = (course: string) =>
  DecisionModel.make({
    query: Query.of(CourseDefined, { course }),
    initial: false,
    apply: { CourseDefined: () => true }
  })
const defined = (courseId: string, capacity = 1) => new CourseDefined({ courseId, capacity })
const memory = Effect.provide(Opossum.layerMemory)

describe("execute", () => {
  it.live("conflicts and tries again", () =>
    Effect.gen(function*() {
      let attempts = 0
      const { head, positions, result } = yield* Decision.execute(exists("c"), function*(exists, attempt) {
        attempts = attempt
        if (exists) return
        if (attempt === 1) yield* EventStore.append(defined("c", 9))
        return defined("c")
      }, { retry: Schedule.recurs(3) })
      assert.deepStrictEqual([attempts, result, positions.length, head as number | undefined], [2, undefined, 0, 1])
    }).pipe(memory))
})
