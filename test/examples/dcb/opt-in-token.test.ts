/** Signing up with a token: each way in which it can be no good, and the one in which it is. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore, Opossum, Query } from "effect-opossum"
import { TestClock } from "effect/testing"
import * as SignUps from "../../../examples/dcb/opt-in-token.ts"
import { at, given } from "./scenario.ts"

const [anna, ben] = [SignUps.Email.make("anna@example.org"), SignUps.Email.make("ben@example.org")]
const [one, other] = [SignUps.Token.make("one"), SignUps.Token.make("other")]
const requested = (email: SignUps.Email, token: SignUps.Token) =>
  new SignUps.SignUpRequested({ email, token, name: "Anna" })
const confirmed = (email: SignUps.Email, token: SignUps.Token) =>
  new SignUps.SignUpConfirmed({ email, token, name: "Anna" })

const noon = "2026-05-01T12:00:00Z"
const confirm = (time: string, email: SignUps.Email, token: SignUps.Token) =>
  Effect.andThen(TestClock.setTime(Date.parse(time)), SignUps.confirmSignUp(email, token))

describe("confirming a sign-up", () => {
  it.effect("with an unknown token is refused", () =>
    given(at(noon, requested(anna, one)))
      .when(confirm(noon, anna, other))
      .thenFails(new SignUps.TokenUnknown({ email: anna })))

  it.effect("with a token that was issued to another address is refused", () =>
    given(at(noon, requested(anna, one)), at(noon, requested(ben, other)))
      .when(confirm(noon, ben, one))
      .thenFails(new SignUps.TokenUnknown({ email: ben })))

  it.effect("with a token that was used is refused", () =>
    given(at(noon, requested(anna, one)), at(noon, confirmed(anna, one)))
      .when(confirm(noon, anna, one))
      .thenFails(new SignUps.TokenUsed({ email: anna })))

  it.effect("with a token that is older than an hour is refused", () =>
    given(at(noon, requested(anna, one)))
      .when(confirm("2026-05-01T13:00:01Z", anna, one))
      .thenFails(new SignUps.TokenExpired({ email: anna })))

  it.effect("with a valid token confirms it", () =>
    given(at(noon, requested(anna, one)))
      .when(confirm("2026-05-01T13:00:00Z", anna, one))
      .thenAppends(confirmed(anna, one)))

  it.effect("with a new token after the old one expired confirms it", () =>
    given(at(noon, requested(anna, one)), at("2026-05-01T15:00:00Z", requested(anna, other)))
      .when(confirm("2026-05-01T15:30:00Z", anna, other))
      .thenAppends(confirmed(anna, other)))
})

it.effect("a token is new each time, and good for the address that it was made for", () =>
  Effect.gen(function*() {
    const [first, second] = [yield* SignUps.requestSignUp(anna, "Anna"), yield* SignUps.requestSignUp(ben, "Ben")]
    assert.notStrictEqual(first, second)
    const { result } = yield* SignUps.confirmSignUp(ben, second)
    assert.strictEqual(result.name, "Ben")
    assert.strictEqual((yield* Effect.flip(SignUps.confirmSignUp(ben, first)))._tag, "TokenUnknown")
  }).pipe(Effect.provide(Opossum.layerMemory)))

it.live("a token that is used many times at once confirms once", () =>
  Effect.gen(function*() {
    const token = yield* SignUps.requestSignUp(anna, "Anna")
    const outcomes = yield* Effect.forEach(
      Array.from({ length: 20 }, () => SignUps.confirmSignUp(anna, token)),
      Effect.match({ onSuccess: () => "confirmed", onFailure: ({ _tag }) => _tag }),
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual(outcomes.toSorted(), [...Array<string>(19).fill("TokenUsed"), "confirmed"])
    assert.strictEqual((yield* EventStore.read(Query.of(SignUps.SignUpConfirmed))).events.length, 1)
  }).pipe(Effect.provide(Opossum.layerMemory)))
