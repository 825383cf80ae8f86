// A program of somebody who installed the package: writes, and reads back after the store was closed and opened again.
import { Event, EventStore, EventStoreMaintenance, Opossum, Query, Tag } from "effect-opossum"
import * as EventStoreModule from "effect-opossum/EventStore"
import * as Testing from "effect-opossum/testing"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
class CourseDefined
  extends Event.Class<CourseDefined>()("CourseDefined", { courseId: CourseId, capacity: Schema.Int })
{}

const inStore = Effect.provide(Opossum.layer({ root: process.argv[2]!, store: "courses" }))

const write = EventStore.append(new CourseDefined({ courseId: "maths", capacity: 2 })).pipe(inStore)
const read = EventStoreModule.read(Query.of(CourseDefined, { course: "maths" })).pipe(inStore)

/** Those that answered: one whose program is not in the package dies instead. */
let threads = 0
process.on("worker", (worker) => void worker.once("message", () => threads += 1))

/** So many that a thread makes their files. */
const writeMany = Effect.gen(function*() {
  const many = Array.from({ length: 1200 }, (_, i) => new CourseDefined({ courseId: `c${i}`, capacity: i }))
  const { head } = yield* EventStore.append(many)
  yield* EventStoreMaintenance.eventFiles.waitFor(head)
}).pipe(inStore)

const program = Effect.gen(function*() {
  yield* write
  const { events, head } = yield* read
  const [first] = events
  if (events.length !== 1 || first?.event.capacity !== 2 || head !== first.position) {
    return yield* Effect.die(`read back ${JSON.stringify(events)} at head ${head}`)
  }
  yield* writeMany
  // the kit needs no test runner
  const { oracle, rules, run } = Testing.Conformance
  yield* Effect.orDie(run(rules[0]!, { layer: oracle }))
  console.log(`read back ${first.type} at position ${first.position}, ${threads} thread made event files`)
})

await Effect.runPromise(program)
