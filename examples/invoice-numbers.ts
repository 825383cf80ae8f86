/**
 * Invoices numbered without a gap, by many at once: 1, 2, 3, ...
 *
 * The next number depends on the last invoice alone, so that is all that is read, and the condition is that there is no later one.
 */
import { Effect, Schedule, Schema } from "effect"
import { Event, EventStore, Opossum, Query } from "effect-opossum"

class InvoiceCreated extends Event.Class<InvoiceCreated>()("InvoiceCreated", {
  number: Schema.Int,
  customer: Schema.String
}) {}

const invoices = Query.of(InvoiceCreated)

const createInvoice = Effect.fnUntraced(
  function*(customer: string) {
    const last = yield* EventStore.readLast(invoices)
    const number = (last?.event.number ?? 0) + 1
    yield* EventStore.append(new InvoiceCreated({ number, customer }), {
      failIfEventsMatch: invoices,
      // Before the first invoice there is no position: then no invoice at all may be there.
      after: last?.position
    })
    return number
  },
  // Somebody else took the number: look again. Anything else is not mended by trying again.
  Effect.retry({
    while: (error) => error._tag === "AppendConditionFailed",
    schedule: Schedule.exponential("2 millis").pipe(Schedule.jittered)
  })
)

const program = Effect.gen(function*() {
  const customers = ["anna", "ben", "cleo", "dora", "emil", "flora", "gus", "hana"]
  yield* Effect.forEach(customers, createInvoice, { concurrency: "unbounded" })
  const { events } = yield* EventStore.read(invoices)
  for (const { event } of events) console.log(`invoice ${event.number}`)
})

await Effect.runPromise(Effect.provide(program, Opossum.layerMemory))
