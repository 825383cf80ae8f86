/**
 * A classic aggregate: one tag, one history, one version. Where a rule never reaches beyond one thing, a boundary drawn around that
 * thing is all there is to it, and a repository with `load` and `save` is a few lines.
 *
 * The aggregate itself is plain functions, which know of no store.
 */
import { Effect, Schema } from "effect"
import { Decision, DecisionModel, Event, EventStore, type Position, Query, Tag } from "effect-opossum"

export const AccountId = Schema.NonEmptyString.pipe(Schema.brand("AccountId"), Tag.as("account"))
export type AccountId = typeof AccountId.Type

const Cents = Schema.Int.check(Schema.isGreaterThan(0))

// events

const movement = { accountId: AccountId, cents: Cents }

export class AccountOpened extends Event.Class<AccountOpened>()("AccountOpened", { accountId: AccountId }) {}
export class MoneyDeposited extends Event.Class<MoneyDeposited>()("MoneyDeposited", movement) {}
export class MoneyWithdrawn extends Event.Class<MoneyWithdrawn>()("MoneyWithdrawn", movement) {}

const accountEvents = [AccountOpened, MoneyDeposited, MoneyWithdrawn] as const
export type AccountEvent = (typeof accountEvents)[number]["Type"]

// refusals

export class AlreadyOpen extends Schema.TaggedError<AlreadyOpen>()("AlreadyOpen", { accountId: AccountId }) {
  override get message() {
    return `the account ${this.accountId} is open already`
  }
}

export class NotOpen extends Schema.TaggedError<NotOpen>()("NotOpen", { accountId: AccountId }) {
  override get message() {
    return `there is no account ${this.accountId}`
  }
}

export class NotEnoughMoney extends Schema.TaggedError<NotEnoughMoney>()("NotEnoughMoney", {
  accountId: AccountId,
  balance: Schema.Int,
  cents: Cents
}) {
  override get message() {
    return `the account ${this.accountId} holds ${this.balance} cents, not ${this.cents}`
  }
}

// the aggregate

export interface Account {
  readonly accountId: AccountId
  readonly isOpen: boolean
  readonly balance: number
  /** The position of its last event; none if it has no event. */
  readonly version: Position.Position | undefined
}

export const open = Effect.fnUntraced(function*({ accountId, isOpen }: Account) {
  if (isOpen) return yield* new AlreadyOpen({ accountId })
  return new AccountOpened({ accountId })
})

export const deposit = (cents: number) =>
  Effect.fnUntraced(function*({ accountId, isOpen }: Account) {
    if (!isOpen) return yield* new NotOpen({ accountId })
    return new MoneyDeposited({ accountId, cents })
  })

export const withdraw = (cents: number) =>
  Effect.fnUntraced(function*({ accountId, balance, isOpen }: Account) {
    if (!isOpen) return yield* new NotOpen({ accountId })
    if (cents > balance) return yield* new NotEnoughMoney({ accountId, balance, cents })
    return new MoneyWithdrawn({ accountId, cents })
  })

// the repository

const history = (account: AccountId) => Query.of(accountEvents, { account })

const account = (accountId: AccountId) => {
  const initial: Account = { accountId, isOpen: false, balance: 0, version: undefined }
  return DecisionModel.make({
    query: history(accountId),
    initial,
    apply: {
      AccountOpened: (account, _, { position: version }) => ({ ...account, isOpen: true, version }),
      MoneyDeposited: (account, { cents }, { position: version }) => ({
        ...account,
        balance: account.balance + cents,
        version
      }),
      MoneyWithdrawn: (account, { cents }, { position: version }) => ({
        ...account,
        balance: account.balance - cents,
        version
      })
    }
  })
}

export const load = (accountId: AccountId) => Effect.map(Decision.build(account(accountId)), ({ state }) => state)

/**
 * Fails with `AppendConditionFailed` if the account is not as it was loaded, however long ago that was. So a version may go out to a
 * user, and come back with what he decided on it.
 */
export const save = ({ accountId, version }: Pick<Account, "accountId" | "version">, event: AccountEvent) =>
  EventStore.append(event, { failIfEventsMatch: history(accountId), after: version })

/** Loads, acts and saves in one, and tries again with the account as it is then, if somebody else was faster. */
export const change = <E = never, R = never>(
  accountId: AccountId,
  act: (account: Account) => Effect.Effect<AccountEvent, E, R>,
  options?: Decision.ExecuteOptions
) => Decision.execute(account(accountId), act, options)
