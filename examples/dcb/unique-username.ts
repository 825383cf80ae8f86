/**
 * A username belongs to one account at a time. It is free again once its account was closed or has another name, if wanted only
 * after a while, in which nobody can take it to pass for the one who had it.
 *
 * No table with a unique index is needed: the boundary is all that ever happened to this one name.
 */
import { Context, Data, DateTime, Duration, Schema } from "effect"
import { Decision, DecisionModel, Event, Query, Tag } from "effect-opossum"

export const Username = Schema.NonEmptyString.pipe(Schema.brand("Username"), Tag.as("username"))
export type Username = typeof Username.Type

/** How long a name stays taken after it was given up. Provide another one to change it: `Effect.provideService(Retention, ...)`. */
export const Retention = Context.Reference<Duration.Duration>("examples/unique-username/Retention", {
  defaultValue: () => Duration.zero
})

// events

export class AccountRegistered extends Event.Class<AccountRegistered>()("AccountRegistered", { username: Username }) {}

export class AccountClosed extends Event.Class<AccountClosed>()("AccountClosed", { username: Username }) {}

/** Both fields tag the event, so each of the two names knows of it. */
export class UsernameChanged extends Event.Class<UsernameChanged>()("UsernameChanged", {
  oldUsername: Username,
  newUsername: Username
}) {}

// refusals

export class UsernameTaken extends Schema.TaggedError<UsernameTaken>()("UsernameTaken", { username: Username }) {
  override get message() {
    return `the name ${this.username} is taken`
  }
}

export class AccountNotFound extends Schema.TaggedError<AccountNotFound>()("AccountNotFound", { username: Username }) {
  override get message() {
    return `there is no account ${this.username}`
  }
}

// models

type Holding = Data.TaggedEnum<{
  Unused: {}
  InUse: {}
  GivenUp: { readonly at: DateTime.Utc }
}>
const Holding = Data.taggedEnum<Holding>()

/** What became of a name. When it was given up is when the event was stored. */
const holding = (username: Username) =>
  DecisionModel.make({
    query: Query.of([AccountRegistered, AccountClosed, UsernameChanged], { username }),
    initial: Holding.Unused() as Holding,
    apply: {
      AccountRegistered: () => Holding.InUse(),
      AccountClosed: (_state, _event, { metadata }) => Holding.GivenUp({ at: metadata.timestamp }),
      UsernameChanged: (_state, { newUsername }, { metadata }) =>
        newUsername === username ? Holding.InUse() : Holding.GivenUp({ at: metadata.timestamp })
    }
  })

/** A model knows no time: events alone make its state. What the clock says comes in when it is decided. */
const isFree = (holding: Holding, now: DateTime.Utc, retention: Duration.Duration) =>
  holding._tag === "Unused" ||
  (holding._tag === "GivenUp" && DateTime.isGreaterThanOrEqualTo(now, DateTime.addDuration(holding.at, retention)))

// decisions

export const register = (username: Username) =>
  Decision.execute(holding(username), function*(holding) {
    if (!isFree(holding, yield* DateTime.now, yield* Retention)) return yield* new UsernameTaken({ username })
    return new AccountRegistered({ username })
  })

export const close = (username: Username) =>
  Decision.execute(holding(username), function*({ _tag }) {
    if (_tag !== "InUse") return yield* new AccountNotFound({ username })
    return new AccountClosed({ username })
  })

/** The boundary is both names: the old one must be in use still, the new one must be free. */
export const changeUsername = (oldUsername: Username, newUsername: Username) =>
  Decision.execute({ old: holding(oldUsername), new: holding(newUsername) }, function*(found) {
    if (found.old._tag !== "InUse") return yield* new AccountNotFound({ username: oldUsername })
    if (!isFree(found.new, yield* DateTime.now, yield* Retention)) {
      return yield* new UsernameTaken({ username: newUsername })
    }
    return new UsernameChanged({ oldUsername, newUsername })
  })
