/** Unique usernames: taken, given up, and kept back for a while. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { EventStore, Opossum, Query } from "effect-opossum"
import { TestClock } from "effect/testing"
import * as Accounts from "../../../examples/dcb/unique-username.ts"
import { at, given } from "./scenario.ts"

const [anna, annabel] = [Accounts.Username.make("anna"), Accounts.Username.make("annabel")]
const registered = (username: Accounts.Username) => new Accounts.AccountRegistered({ username })
const closed = (username: Accounts.Username) => new Accounts.AccountClosed({ username })
const renamed = (oldUsername: Accounts.Username, newUsername: Accounts.Username) =>
  new Accounts.UsernameChanged({ oldUsername, newUsername })
const taken = (username: Accounts.Username) => new Accounts.UsernameTaken({ username })

describe("registering", () => {
  it.effect("a name that is taken is refused", () =>
    given(registered(anna)).when(Accounts.register(anna)).thenFails(taken(anna)))

  it.effect("an unused name registers it", () =>
    given(registered(annabel)).when(Accounts.register(anna)).thenAppends(registered(anna)))

  it.effect("the name of a closed account registers it", () =>
    given(registered(anna), closed(anna)).when(Accounts.register(anna)).thenAppends(registered(anna)))

  it.effect("a name that was taken again is refused", () =>
    given(registered(anna), closed(anna), registered(anna)).when(Accounts.register(anna)).thenFails(taken(anna)))

  it.effect("the old name of a renamed account registers it", () =>
    given(registered(anna), renamed(anna, annabel)).when(Accounts.register(anna)).thenAppends(registered(anna)))

  it.effect("the new name of a renamed account is refused", () =>
    given(registered(anna), renamed(anna, annabel)).when(Accounts.register(annabel)).thenFails(taken(annabel)))

  it.live("one name many times at once registers it once", () =>
    Effect.gen(function*() {
      const outcomes = yield* Effect.forEach(
        Array.from({ length: 20 }, () => Accounts.register(anna)),
        Effect.match({ onSuccess: () => "registered", onFailure: ({ _tag }) => _tag }),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(outcomes.toSorted(), [...Array<string>(19).fill("UsernameTaken"), "registered"])
      const { events } = yield* EventStore.read(Query.all)
      assert.strictEqual(events.length, 1)
    }).pipe(Effect.provide(Opossum.layerMemory)))
})

describe("with a retention period of three days", () => {
  const retained = Effect.provideService(Accounts.Retention, Duration.days(3))
  const register = (time: string, username: Accounts.Username) =>
    Effect.andThen(TestClock.setTime(Date.parse(time)), retained(Accounts.register(username)))
  const history = [at("2026-03-01T12:00:00Z", registered(anna)), at("2026-03-10T12:00:00Z", closed(anna))]

  it.effect("the name of a closed account is refused within it", () =>
    given(...history).when(register("2026-03-13T11:59:59Z", anna)).thenFails(taken(anna)))

  it.effect("the name of a closed account is free after it", () =>
    given(...history).when(register("2026-03-13T12:00:00Z", anna)).thenAppends(registered(anna)))

  const renaming = [
    at("2026-03-01T12:00:00Z", registered(anna)),
    at("2026-03-10T12:00:00Z", renamed(anna, annabel))
  ]

  it.effect("the old name of a renamed account is refused within it", () =>
    given(...renaming).when(register("2026-03-13T11:59:59Z", anna)).thenFails(taken(anna)))

  it.effect("the old name of a renamed account is free after it", () =>
    given(...renaming).when(register("2026-03-13T12:00:00Z", anna)).thenAppends(registered(anna)))

  it.effect("an unused name is free at once", () =>
    given(...history).when(register("2026-03-10T12:00:00Z", annabel)).thenAppends(registered(annabel)))

  it.effect("nobody changes to a name within it", () =>
    given(...history, registered(annabel))
      .when(Effect.andThen(
        TestClock.setTime(Date.parse("2026-03-12T12:00:00Z")),
        retained(Accounts.changeUsername(annabel, anna))
      ))
      .thenFails(taken(anna)))
})

describe("closing and renaming", () => {
  const notFound = new Accounts.AccountNotFound({ username: anna })

  it.effect("an account closes it", () => given(registered(anna)).when(Accounts.close(anna)).thenAppends(closed(anna)))

  it.effect("an account that was closed is not closed again", () =>
    given(registered(anna), closed(anna)).when(Accounts.close(anna)).thenFails(notFound))

  it.effect("an account renames it", () =>
    given(registered(anna)).when(Accounts.changeUsername(anna, annabel)).thenAppends(renamed(anna, annabel)))

  it.effect("to a name that is taken is refused", () =>
    given(registered(anna), registered(annabel))
      .when(Accounts.changeUsername(anna, annabel))
      .thenFails(taken(annabel)))

  it.effect("an account that is not there is refused", () =>
    given(registered(anna), renamed(anna, annabel))
      .when(Accounts.changeUsername(anna, Accounts.Username.make("ann")))
      .thenFails(notFound))
})
