import { assert, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Event from "../../src/Event.ts"
import * as Projection from "../../src/services/Projection.ts"

class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", { courseId: Schema.String }) {}

it("a projection that cannot be one throws where it is defined", () => {
  const define = (name: string, version?: number) => () =>
    Projection.Service<unknown>()(name, {
      ...(version === undefined ? {} : { version }),
      events: [CourseDefined],
      key: () => "all",
      state: Schema.Int,
      apply: { CourseDefined: () => 1 }
    })
  assert.throws(define(""), /is empty/)
  assert.throws(define("a\u0000"), /control character/)
  assert.throws(define("x".repeat(101)), /longer than 100 bytes/)
  assert.throws(define("fine", 0), /at least 1/)
  assert.throws(define("fine", 1.5), /at least 1/)
  define("fine", 2)()
})
