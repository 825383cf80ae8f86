/** An aggregate with a version, as a special case of a boundary. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { EventStore, Opossum } from "effect-opossum"
import * as Accounts from "../../../examples/dcb/event-sourced-aggregate.ts"
import { given } from "./scenario.ts"

const [anna, ben] = [Accounts.AccountId.make("anna"), Accounts.AccountId.make("ben")]
const opened = (accountId: Accounts.AccountId) => new Accounts.AccountOpened({ accountId })
const deposited = (accountId: Accounts.AccountId, cents: number) => new Accounts.MoneyDeposited({ accountId, cents })
const withdrawn = (accountId: Accounts.AccountId, cents: number) => new Accounts.MoneyWithdrawn({ accountId, cents })
const memory = Effect.provide(Opossum.layerMemory)

describe("the aggregate", () => {
  it.effect("is opened", () => given(opened(ben)).when(Accounts.change(anna, Accounts.open)).thenAppends(opened(anna)))

  it.effect("is not opened twice", () =>
    given(opened(anna))
      .when(Accounts.change(anna, Accounts.open))
      .thenFails(new Accounts.AlreadyOpen({ accountId: anna })))

  it.effect("takes and gives what it holds", () =>
    given(opened(anna), deposited(anna, 300), withdrawn(anna, 100))
      .when(Accounts.change(anna, Accounts.withdraw(200)))
      .thenAppends(withdrawn(anna, 200)))

  it.effect("does not give more than it holds", () =>
    given(opened(anna), deposited(anna, 300), withdrawn(anna, 100), opened(ben), deposited(ben, 900))
      .when(Accounts.change(anna, Accounts.withdraw(201)))
      .thenFails(new Accounts.NotEnoughMoney({ accountId: anna, balance: 200, cents: 201 })))

  it.effect("does nothing before it is opened", () =>
    given(opened(ben))
      .when(Accounts.change(anna, Accounts.deposit(100)))
      .thenFails(new Accounts.NotOpen({ accountId: anna })))
})

describe("the version", () => {
  it.effect("is the position of the last event of its own", () =>
    Effect.gen(function*() {
      assert.isUndefined((yield* Accounts.load(anna)).version)
      yield* EventStore.append([opened(ben), opened(anna), deposited(anna, 100), deposited(ben, 100)])
      const { balance, version } = yield* Accounts.load(anna)
      assert.deepStrictEqual([balance, Number(version)], [100, 3])
    }).pipe(memory))

  it.effect("that is old is a conflict when it is saved", () =>
    Effect.gen(function*() {
      yield* EventStore.append(opened(anna))
      const [mine, yours] = [yield* Accounts.load(anna), yield* Accounts.load(anna)]
      yield* Accounts.save(mine, deposited(anna, 100))
      const error = yield* Effect.flip(Accounts.save(yours, deposited(anna, 100)))
      assert.strictEqual(error._tag, "AppendConditionFailed")
      assert.strictEqual((yield* Accounts.load(anna)).balance, 100)
    }).pipe(memory))

  it.effect("of one that does not exist yet is a conflict, if somebody else was first", () =>
    Effect.gen(function*() {
      const [mine, yours] = [yield* Accounts.load(anna), yield* Accounts.load(anna)]
      yield* Accounts.save(mine, opened(anna))
      assert.strictEqual((yield* Effect.flip(Accounts.save(yours, opened(anna))))._tag, "AppendConditionFailed")
    }).pipe(memory))

  it.effect("is not touched by what happens to others", () =>
    Effect.gen(function*() {
      yield* EventStore.append([opened(anna), opened(ben)])
      const mine = yield* Accounts.load(anna)
      yield* Accounts.change(ben, Accounts.deposit(900))
      yield* Accounts.save(mine, deposited(anna, 100))
      assert.strictEqual((yield* Accounts.load(anna)).balance, 100)
    }).pipe(memory))
})

describe("a change that another one overtakes", () => {
  /** Withdraws 80 cents of 100, while somebody else withdraws 50 and, the first time only, is faster. */
  const overtaken = (seen: Array<number>) =>
    Effect.fnUntraced(function*(account: Accounts.Account) {
      seen.push(account.balance)
      const event = yield* Accounts.withdraw(80)(account)
      if (seen.length === 1) yield* Accounts.save(account, withdrawn(anna, 50))
      return event
    })
  const start = EventStore.append([opened(anna), deposited(anna, 100)])

  it.live("is tried again, and decided anew", () =>
    Effect.gen(function*() {
      yield* start
      const seen: Array<number> = []
      const error = yield* Effect.flip(Accounts.change(anna, overtaken(seen)))
      assert.deepStrictEqual(seen, [100, 50])
      assert.deepStrictEqual(error, new Accounts.NotEnoughMoney({ accountId: anna, balance: 50, cents: 80 }))
      assert.strictEqual((yield* Accounts.load(anna)).balance, 50)
    }).pipe(memory))

  it.live("is a conflict, if it shall not be tried again", () =>
    Effect.gen(function*() {
      yield* start
      const seen: Array<number> = []
      const error = yield* Effect.flip(Accounts.change(anna, overtaken(seen), { retry: Schedule.recurs(0) }))
      assert.strictEqual(error._tag, "AppendConditionFailed")
      assert.deepStrictEqual(seen, [100])
      assert.strictEqual((yield* Accounts.load(anna)).balance, 50)
    }).pipe(memory))
})

it.live("many changes at once never withdraw more than is there", () =>
  Effect.gen(function*() {
    yield* EventStore.append([opened(anna), deposited(anna, 1000)])
    const outcomes = yield* Effect.forEach(
      Array.from({ length: 30 }, () => Accounts.change(anna, Accounts.withdraw(90))),
      Effect.match({ onSuccess: () => "withdrawn", onFailure: ({ _tag }) => _tag }),
      { concurrency: "unbounded" }
    )
    assert.deepStrictEqual(outcomes.toSorted(), [
      ...Array<string>(19).fill("NotEnoughMoney"),
      ...Array<string>(11).fill("withdrawn")
    ])
    assert.strictEqual((yield* Accounts.load(anna)).balance, 10)
  }).pipe(memory))
