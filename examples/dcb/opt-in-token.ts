/**
 * Signing up with a token that is sent by mail: who sends it back within an hour owns the address.
 *
 * Tokens need no table of their own with rows to be cleaned up. Whether one is good is told by the events that have both tags.
 */
import { Data, DateTime, Duration, Effect, Schema } from "effect"
import { Decision, DecisionModel, Event, EventStore, Query, Tag } from "effect-opossum"
import { randomUUID } from "node:crypto"

export const Email = Schema.NonEmptyString.pipe(Schema.brand("Email"), Tag.as("email"))
export type Email = typeof Email.Type

export const Token = Schema.NonEmptyString.pipe(Schema.brand("Token"), Tag.as("token"))
export type Token = typeof Token.Type

export const validFor = Duration.hours(1)

// events

const signUp = { email: Email, token: Token, name: Schema.String }

export class SignUpRequested extends Event.Class<SignUpRequested>()("SignUpRequested", signUp) {}
export class SignUpConfirmed extends Event.Class<SignUpConfirmed>()("SignUpConfirmed", signUp) {}

// refusals

/** Unknown, or another address's: which of the two is nobody's business. */
export class TokenUnknown extends Schema.TaggedError<TokenUnknown>()("TokenUnknown", { email: Email }) {
  override get message() {
    return `this token was not sent to ${this.email}`
  }
}

export class TokenUsed extends Schema.TaggedError<TokenUsed>()("TokenUsed", { email: Email }) {
  override get message() {
    return `this token was used already`
  }
}

export class TokenExpired extends Schema.TaggedError<TokenExpired>()("TokenExpired", { email: Email }) {
  override get message() {
    return `this token is too old: ask for a new one`
  }
}

// models

type SignUp = Data.TaggedEnum<{
  Unknown: {}
  Pending: { readonly name: string; readonly since: DateTime.Utc }
  Confirmed: {}
}>
const SignUp = Data.taggedEnum<SignUp>()

const stateOf = (email: Email, token: Token) =>
  DecisionModel.make({
    query: Query.of([SignUpRequested, SignUpConfirmed], { email, token }),
    initial: SignUp.Unknown() as SignUp,
    apply: {
      SignUpRequested: (_, { name }, { metadata }) => SignUp.Pending({ name, since: metadata.timestamp }),
      SignUpConfirmed: () => SignUp.Confirmed()
    }
  })

// decisions

/** Answers the token to be sent. It is new, so there is nothing to decide, and the append needs no condition. */
export const requestSignUp = Effect.fnUntraced(function*(email: Email, name: string) {
  // Not from Effect's `Random`: nobody shall be able to guess it.
  const token = Token.make(yield* Effect.sync(() => randomUUID()))
  yield* EventStore.append(new SignUpRequested({ email, token, name }))
  return token
})

export const confirmSignUp = (email: Email, token: Token) =>
  Decision.execute(stateOf(email, token), function*(signUp) {
    if (signUp._tag === "Unknown") return yield* new TokenUnknown({ email })
    if (signUp._tag === "Confirmed") return yield* new TokenUsed({ email })
    const expires = DateTime.addDuration(signUp.since, validFor)
    if (DateTime.isGreaterThan(yield* DateTime.now, expires)) return yield* new TokenExpired({ email })
    return new SignUpConfirmed({ email, token, name: signUp.name })
  })
