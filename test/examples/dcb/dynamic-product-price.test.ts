/** Orders at the price that was shown: the current one, or one that was so until a moment ago. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore, Opossum, Query } from "effect-opossum"
import { TestClock } from "effect/testing"
import * as Shop from "../../../examples/dcb/dynamic-product-price.ts"
import { at, given } from "./scenario.ts"

const [tea, cake] = [Shop.ProductId.make("tea"), Shop.ProductId.make("cake")]
const defined = (productId: Shop.ProductId, cents: number) => new Shop.ProductDefined({ productId, cents })
const changed = (productId: Shop.ProductId, cents: number) => new Shop.PriceChanged({ productId, cents })
const ordered = (...items: readonly [Shop.CartItem, ...Array<Shop.CartItem>]) => new Shop.ProductsOrdered({ items })
const notValid = (productId: Shop.ProductId, cents: number) => new Shop.PriceNotValid({ productId, cents })

/** At a time, a cart of these. */
const order = (time: string, ...cart: readonly [Shop.CartItem, ...Array<Shop.CartItem>]) =>
  Effect.andThen(TestClock.setTime(Date.parse(time)), Shop.order(cart))
const [noon, later] = ["2026-05-01T12:00:00Z", "2026-05-01T14:00:00Z"]

describe("an order of one product", () => {
  it.effect("at its price is placed", () =>
    given(at(noon, defined(tea, 300)))
      .when(order(later, { productId: tea, cents: 300 }))
      .thenAppends(ordered({ productId: tea, cents: 300 })))

  it.effect("at another price is refused", () =>
    given(at(noon, defined(tea, 300)))
      .when(order(later, { productId: tea, cents: 299 }))
      .thenFails(notValid(tea, 299)))

  it.effect("that does not exist is refused", () =>
    given(at(noon, defined(cake, 300)))
      .when(order(later, { productId: tea, cents: 300 }))
      .thenFails(notValid(tea, 300)))

  it.effect("at its new price is placed at once", () =>
    given(at(noon, defined(tea, 300)), at(later, changed(tea, 350)))
      .when(order(later, { productId: tea, cents: 350 }))
      .thenAppends(ordered({ productId: tea, cents: 350 })))

  it.effect("at its old price is placed within the grace period", () =>
    given(at(noon, defined(tea, 300)), at(later, changed(tea, 350)))
      .when(order("2026-05-01T14:10:00Z", { productId: tea, cents: 300 }))
      .thenAppends(ordered({ productId: tea, cents: 300 })))

  it.effect("at its old price is refused after the grace period", () =>
    given(at(noon, defined(tea, 300)), at(later, changed(tea, 350)))
      .when(order("2026-05-01T14:10:01Z", { productId: tea, cents: 300 }))
      .thenFails(notValid(tea, 300)))

  it.effect("at a price of two changes ago is placed while its own grace period lasts", () =>
    given(
      at(noon, defined(tea, 300)),
      at(later, changed(tea, 350)),
      at("2026-05-01T14:05:00Z", changed(tea, 400))
    )
      .when(order("2026-05-01T14:10:00Z", { productId: tea, cents: 300 }))
      .thenAppends(ordered({ productId: tea, cents: 300 })))

  it.effect("at a price of two changes ago is refused when its own grace period is over", () =>
    given(
      at(noon, defined(tea, 300)),
      at(later, changed(tea, 350)),
      at("2026-05-01T14:05:00Z", changed(tea, 400))
    )
      .when(order("2026-05-01T14:12:00Z", { productId: tea, cents: 300 }))
      .thenFails(notValid(tea, 300)))
})

it.effect("each price's grace period begins with the change that ended it", () =>
  given(
    at(noon, defined(tea, 300)),
    at(later, changed(tea, 350)),
    at("2026-05-01T14:05:00Z", changed(tea, 400))
  )
    .when(order("2026-05-01T14:15:00Z", { productId: tea, cents: 350 }))
    .thenAppends(ordered({ productId: tea, cents: 350 })))

describe("a cart of several products", () => {
  const shop = [at(noon, defined(tea, 300)), at(noon, defined(cake, 450)), at(later, changed(cake, 500))]

  it.effect("is one order, if all prices are right", () =>
    given(...shop)
      .when(order("2026-05-01T14:05:00Z", { productId: tea, cents: 300 }, { productId: cake, cents: 450 }))
      .thenAppends(ordered({ productId: tea, cents: 300 }, { productId: cake, cents: 450 })))

  it.effect("is refused as a whole, if one price is wrong", () =>
    given(...shop)
      .when(order("2026-05-01T15:00:00Z", { productId: tea, cents: 300 }, { productId: cake, cents: 450 }))
      .thenFails(notValid(cake, 450)))

  it.effect("is refused, if the prices are each other's", () =>
    given(...shop)
      .when(order("2026-05-01T15:00:00Z", { productId: tea, cents: 500 }, { productId: cake, cents: 300 }))
      .thenFails(notValid(tea, 500)))

  it.effect("is found by each of its products", () =>
    Effect.gen(function*() {
      yield* EventStore.append([defined(tea, 300), defined(cake, 450)])
      yield* Shop.order([{ productId: tea, cents: 300 }, { productId: cake, cents: 450 }])
      for (const product of [tea, cake]) {
        assert.strictEqual((yield* EventStore.read(Query.of(Shop.ProductsOrdered, { product }))).events.length, 1)
      }
    }).pipe(Effect.provide(Opossum.layerMemory)))
})
