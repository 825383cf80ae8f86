/**
 * Following a store: all events of a query, first those that are there, then each new one as it comes. Nothing is skipped and
 * nothing comes twice, whoever appends, in this process or another.
 */
import { Effect, Fiber, Schema, Stream } from "effect"
import { Event, EventStore, Opossum, Query, Tag } from "effect-opossum"

const Table = Schema.Int.pipe(Tag.as("table"))
class Ordered extends Event.Class<Ordered>()("Ordered", { table: Table, dish: Schema.String }) {}
class Served extends Event.Class<Served>()("Served", { table: Table, dish: Schema.String }) {}

/** The kitchen sees orders only. A program that goes on later keeps the position, and gives it as `after`. */
const kitchen = EventStore.subscribe(Query.of(Ordered)).pipe(
  Stream.tap(({ event, position }) =>
    Effect.sync(() => console.log(`${position}: ${event.dish} for table ${event.table}`))
  ),
  Stream.takeUntil(({ event }) => event.dish === "cake"),
  Stream.runDrain
)

const program = Effect.gen(function*() {
  yield* EventStore.append(new Ordered({ table: 1, dish: "soup" }))
  const following = yield* Effect.forkChild(kitchen)
  yield* EventStore.append([new Served({ table: 1, dish: "soup" }), new Ordered({ table: 2, dish: "salad" })])
  yield* EventStore.append(new Ordered({ table: 1, dish: "cake" }))
  yield* Fiber.join(following)
})

await Effect.runPromise(Effect.provide(program, Opossum.layerMemory))
