/**
 * Given, when, then: a coupon is good for thirty days, once. The scenarios run here with Node's own test runner; with @effect/vitest
 * each of them is the body of an `it.effect`, which brings the `TestClock` along.
 */
import { DateTime, Effect, Schema } from "effect"
import { Decision, DecisionModel, Event, Query, Tag } from "effect-opossum"
import { Scenario } from "effect-opossum/testing"
import { TestClock } from "effect/testing"
import { test } from "node:test"

// what is tested

const Code = Schema.NonEmptyString.pipe(Tag.as("coupon"))
class CouponIssued extends Event.Class<CouponIssued>()("CouponIssued", { code: Code, cents: Schema.Int }) {}
class CouponRedeemed extends Event.Class<CouponRedeemed>()("CouponRedeemed", { code: Code, by: Schema.String }) {}

class NoCoupon extends Schema.TaggedError<NoCoupon>()("NoCoupon", { code: Code }) {}
class CouponExpired extends Schema.TaggedError<CouponExpired>()("CouponExpired", { code: Code, days: Schema.Int }) {}
class CouponUsed extends Schema.TaggedError<CouponUsed>()("CouponUsed", { code: Code, by: Schema.String }) {}

const issued = (code: string) => DecisionModel.last(Query.of(CouponIssued, { coupon: code }))
const redeemed = (code: string) => DecisionModel.last(Query.of(CouponRedeemed, { coupon: code }))

const redeem = (code: string, by: string) =>
  Decision.execute({ issued: issued(code), redeemed: redeemed(code) }, function*({ issued, redeemed }) {
    if (issued === undefined) return yield* new NoCoupon({ code })
    if (redeemed !== undefined) return yield* new CouponUsed({ code, by: redeemed.event.by })
    const age = DateTime.toEpochMillis(yield* DateTime.now) - DateTime.toEpochMillis(issued.metadata.timestamp)
    const days = Math.floor(age / 86_400_000)
    if (days >= 30) return yield* new CouponExpired({ code, days })
    return new CouponRedeemed({ code, by })
  })

// given: told once, and gone on with where a test needs more

const coupons = Scenario.fixture("2026-01-01T09:00:00Z")
  .by({ userId: "shop" })
  .event(new CouponIssued({ code: "spring", cents: 500 }))

const tests = {
  "a coupon is good once": Scenario.given(coupons)
    .when(redeem("spring", "anna"))
    .thenAppends(new CouponRedeemed({ code: "spring", by: "anna" }))
    .when(redeem("spring", "ben"))
    .thenFails(new CouponUsed({ code: "spring", by: "anna" })),

  "nobody made this one up": Scenario.given(coupons)
    .when(redeem("autumn", "anna"))
    .thenFails("NoCoupon"),

  // The scenario begins when the last of its events was: the clock is moved there.
  "on its last day it is good": Scenario.given(coupons)
    .when(TestClock.adjust("29 days"))
    .thenNothing
    .when(redeem("spring", "anna"))
    .thenAppends(new CouponRedeemed({ code: "spring", by: "anna" })),

  "a day later it is not": Scenario.given(coupons)
    .when(TestClock.adjust("30 days"))
    .thenNothing
    .when(redeem("spring", "anna"))
    .thenFails((error) => error._tag === "CouponExpired" && error.days === 30),

  "what a decision sees": Scenario.given(
    coupons.after("2 days").by({ userId: "anna" }).event(new CouponRedeemed({ code: "spring", by: "anna" }))
  ).thenState(
    DecisionModel.map(redeemed("spring"), (last) => [last?.event.by, last?.metadata.userId]),
    ["anna", "anna"]
  )
}

for (const [name, scenario] of Object.entries<Effect.Effect<unknown>>(tests)) {
  test(name, async () => {
    await Effect.runPromise(Effect.provide(scenario, TestClock.layer()))
  })
}
