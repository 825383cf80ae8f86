/** Invoice numbers: 1, 2, 3, ..., also when many ask for them at once. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Schedule } from "effect"
import { EventStore, Opossum, Query } from "effect-opossum"
import * as Invoices from "../../../examples/dcb/invoice-number.ts"
import { temporaryFolder } from "../../support/temporaryFolder.ts"
import { given } from "./scenario.ts"

const invoice = (number: number) => new Invoices.InvoiceCreated({ number, customer: "anna", cents: 100 })
const numbers = Effect.map(
  EventStore.read(Query.of(Invoices.InvoiceCreated)),
  ({ events }) => events.map(({ event }) => event.number)
)
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n + 1)

describe("the number of", () => {
  it.effect("the first invoice is 1", () => given().when(Invoices.createInvoice("anna", 100)).thenAppends(invoice(1)))

  it.effect("the next invoice is the last one's plus 1", () =>
    given(invoice(1), invoice(2), invoice(3)).when(Invoices.createInvoice("anna", 100)).thenAppends(invoice(4)))

  it.effect("the next invoice is told by the last one alone", () =>
    // Numbers that began elsewhere: neither the count of invoices nor the highest number is asked for.
    given(invoice(70), invoice(7)).when(Invoices.createInvoice("anna", 100)).thenAppends(invoice(8)))
})

it.effect("reads one event, from the end, however many there are", () =>
  Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    yield* store.append(upTo(50).map(invoice))
    const reads: Array<readonly [EventStore.ReadOptions | undefined, number]> = []
    const watched: EventStore.EventStore["Service"] = {
      ...store,
      read: (query, options) =>
        Effect.tap(
          store.read(query, options),
          ({ events }) => Effect.sync(() => reads.push([options, events.length]))
        )
    }
    yield* Effect.provideService(Invoices.createInvoice("anna", 100), EventStore.EventStore, watched)
    assert.deepStrictEqual(reads, [[{ backwards: true, limit: 1 }, 1]])
    assert.strictEqual((yield* numbers).at(-1), 51)
  }).pipe(Effect.provide(Opossum.layerMemory)))

describe("many at once number without a gap", () => {
  it.live("in one process", () =>
    Effect.gen(function*() {
      yield* Effect.forEach(upTo(100), () => Invoices.createInvoice("anna", 100), { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* numbers, upTo(100))
    }).pipe(Effect.provide(Opossum.layerMemory)))

  it.live("in two stores on one folder, which know of each other by the disk alone", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const open = Layer.build(Layer.fresh(Opossum.layer({ root, store: "shop", durability: "os", eventFiles: false })))
      const stores = [yield* open, yield* open].map((context) => Context.get(context, EventStore.EventStore))
      const patiently = {
        retry: Schedule.exponential("5 millis", 1.2).pipe(Schedule.jittered, Schedule.upTo({ times: 40 }))
      }
      yield* Effect.forEach(
        upTo(60),
        (n) =>
          Effect.provideService(
            Invoices.createInvoice("anna", 100, patiently),
            EventStore.EventStore,
            stores[n % 2]!
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(yield* Effect.provideService(numbers, EventStore.EventStore, stores[0]!), upTo(60))
    }))
})
