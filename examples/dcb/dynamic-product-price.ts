/**
 * An order is placed at the prices that the customer saw. They must be the current ones, or have been so until a moment ago: nobody
 * is turned away because a price changed while he was looking for his purse.
 *
 * A cart is one decision over one model for each product in it, so only what happens to those prices can conflict with the order.
 */
import { DateTime, Duration, Schema } from "effect"
import { Decision, DecisionModel, Event, Query, Tag } from "effect-opossum"

export const ProductId = Schema.NonEmptyString.pipe(Schema.brand("ProductId"), Tag.as("product"))
export type ProductId = typeof ProductId.Type

const Cents = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** A product and the price that was shown for it. */
export const CartItem = Schema.Struct({ productId: ProductId, cents: Cents })
export type CartItem = typeof CartItem.Type

/** How long an old price may still be paid. */
export const gracePeriod = Duration.minutes(10)

// events

export class ProductDefined
  extends Event.Class<ProductDefined>()("ProductDefined", { productId: ProductId, cents: Cents })
{}

export class PriceChanged extends Event.Class<PriceChanged>()("PriceChanged", { productId: ProductId, cents: Cents }) {}

/** Tagged with each of its products: a tag in a nested field must be named. */
export class ProductsOrdered extends Event.Class<ProductsOrdered>()("ProductsOrdered", {
  items: Schema.NonEmptyArray(CartItem)
}, {
  tags: ({ items }) => items.map(({ productId }): `product:${string}` => `product:${productId}`)
}) {}

// refusals

export class PriceNotValid extends Schema.TaggedError<PriceNotValid>()("PriceNotValid", {
  productId: ProductId,
  cents: Cents
}) {
  override get message() {
    return `${this.productId} does not cost ${this.cents} cents: look at its price again`
  }
}

// models

interface Price {
  readonly cents: number
  readonly since: DateTime.Utc
}

/** All prices that a product ever had, the newest last; none if there is no such product. */
const prices = (productId: ProductId) =>
  DecisionModel.make({
    query: Query.of([ProductDefined, PriceChanged], { product: productId }),
    initial: [] as ReadonlyArray<Price>,
    apply: {
      ProductDefined: (prices, { cents }, { metadata }) => [...prices, { cents, since: metadata.timestamp }],
      PriceChanged: (prices, { cents }, { metadata }) => [...prices, { cents, since: metadata.timestamp }]
    }
  })

/** A price ends when the next one begins; the newest has no end. */
const isValid = (prices: ReadonlyArray<Price>, cents: number, now: DateTime.Utc) =>
  prices.some((price, at) => {
    const next = prices[at + 1]
    return price.cents === cents &&
      (next === undefined || DateTime.isLessThanOrEqualTo(now, DateTime.addDuration(next.since, gracePeriod)))
  })

// decisions

/** A list of models is a model of a list. */
export const order = (cart: readonly [CartItem, ...Array<CartItem>]) =>
  Decision.execute(cart.map(({ productId }) => prices(productId)), function*(pricesOf) {
    const now = yield* DateTime.now
    for (const [at, { cents, productId }] of cart.entries()) {
      if (!isValid(pricesOf[at]!, cents, now)) return yield* new PriceNotValid({ productId, cents })
    }
    return new ProductsOrdered({ items: cart })
  })
