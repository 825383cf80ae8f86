/** One form, one order, however often it is sent. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore, Opossum, Query } from "effect-opossum"
import * as Orders from "../../../examples/dcb/prevent-record-duplication.ts"
import { given } from "./scenario.ts"

const [first, second] = [Orders.OrderId.make("order-1"), Orders.OrderId.make("order-2")]
const [token, other] = [Orders.IdempotencyToken.make("form-11"), Orders.IdempotencyToken.make("form-12")]
const placed = (orderId: Orders.OrderId, token: Orders.IdempotencyToken) => new Orders.OrderPlaced({ orderId, token })

describe("placing an order", () => {
  it.effect("with a token that was used is refused", () =>
    given(placed(first, token))
      .when(Orders.placeOrder(second, token))
      .thenFails(new Orders.AlreadySubmitted({ token })))

  it.effect("with a new token places it", () =>
    given(placed(first, token)).when(Orders.placeOrder(second, other)).thenAppends(placed(second, other)))

  it.live("with one token many times at once places one", () =>
    Effect.gen(function*() {
      const outcomes = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, n) => Orders.placeOrder(Orders.OrderId.make(`order-${n}`), token)),
        Effect.match({ onSuccess: () => "placed", onFailure: ({ _tag }) => _tag }),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(outcomes.toSorted(), [...Array<string>(19).fill("AlreadySubmitted"), "placed"])
      assert.strictEqual((yield* EventStore.read(Query.all)).events.length, 1)
    }).pipe(Effect.provide(Opossum.layerMemory)))
})
