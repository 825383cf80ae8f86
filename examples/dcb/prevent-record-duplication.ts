/**
 * A form that is sent twice, by a double click or a network that failed half-way, makes one order and not two.
 *
 * The form has a token, made when it was shown. The boundary is this token: no order with it may be there, and whatever else
 * happens in the shop cannot conflict.
 */
import { Schema } from "effect"
import { Decision, DecisionModel, Event, Query, Tag } from "effect-opossum"

export const OrderId = Schema.NonEmptyString.pipe(Schema.brand("OrderId"), Tag.as("order"))
export type OrderId = typeof OrderId.Type

export const IdempotencyToken = Schema.NonEmptyString.pipe(Schema.brand("IdempotencyToken"), Tag.as("idempotency"))
export type IdempotencyToken = typeof IdempotencyToken.Type

// events

export class OrderPlaced extends Event.Class<OrderPlaced>()("OrderPlaced", {
  orderId: OrderId,
  token: IdempotencyToken
}) {}

// refusals

export class AlreadySubmitted
  extends Schema.TaggedError<AlreadySubmitted>()("AlreadySubmitted", { token: IdempotencyToken })
{
  override get message() {
    return `this order was placed already`
  }
}

// models

const used = (token: IdempotencyToken) =>
  DecisionModel.make({
    query: Query.of(OrderPlaced, { idempotency: token }),
    initial: false,
    apply: { OrderPlaced: () => true }
  })

// decisions

export const placeOrder = (orderId: OrderId, token: IdempotencyToken) =>
  Decision.execute(used(token), function*(used) {
    if (used) return yield* new AlreadySubmitted({ token })
    return new OrderPlaced({ orderId, token })
  })
