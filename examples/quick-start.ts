/** An event store in thirty seconds: `node --import ./scripts/source.ts examples/quick-start.ts` */
import { Effect, Layer, Schema } from "effect"
import { Decision, DecisionModel, Event, EventStore, Opossum, Projection, Query, Tag } from "effect-opossum"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

// Events are Schema classes. A field of this schema tags its event, e.g. `account:anna`.
const AccountId = Schema.NonEmptyString.pipe(Tag.as("account"))
class Deposited extends Event.Class<Deposited>()("Deposited", { account: AccountId, cents: Schema.Int }) {}
class Withdrawn extends Event.Class<Withdrawn>()("Withdrawn", { account: AccountId, cents: Schema.Int }) {}

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { balance: Schema.Int }) {}

// What a decision must know: which events, and how they fold.
const balanceOf = (account: string) =>
  DecisionModel.make({
    query: Query.of([Deposited, Withdrawn], { account }),
    initial: 0,
    apply: { Deposited: (sum, { cents }) => sum + cents, Withdrawn: (sum, { cents }) => sum - cents }
  })

// The event is stored only if nothing has happened to the account since; else it is decided anew.
const withdraw = (account: string, cents: number) =>
  Decision.execute(balanceOf(account), function*(balance) {
    if (balance < cents) return yield* new Overdrawn({ balance })
    return new Withdrawn({ account, cents })
  })

// What can be looked up: a state for each account, kept up to date in the background, found by tags.
class Balances extends Projection.Service<Balances>()("balances", {
  events: [Deposited, Withdrawn],
  key: ({ account }) => account,
  state: Schema.Int,
  tags: (cents) => [`rich:${cents >= 2500}`],
  apply: { Deposited: (sum = 0, { cents }) => sum + cents, Withdrawn: (sum = 0, { cents }) => sum - cents }
}) {}

const program = Effect.gen(function*() {
  yield* EventStore.append([
    new Deposited({ account: "anna", cents: 5000 }),
    new Deposited({ account: "ben", cents: 700 })
  ])
  const { head, positions } = yield* withdraw("anna", 2000)
  console.log(`withdrawn, at position ${positions[0]}`)

  const refusal = yield* Effect.flip(withdraw("ben", 2000))
  console.log(`refused: ${refusal._tag}`)

  yield* Balances.waitFor(head)
  console.log(yield* Balances.get("anna"), (yield* Balances.byTag("rich:true")).map(({ key }) => key))
})

// Files in a folder. Look into it afterwards: each event and each state is a JSON file that you can read.
const root = mkdtempSync(join(tmpdir(), "opossum-quick-start-"))
const BankLive = Balances.layer.pipe(Layer.provideMerge(Opossum.layer({ root, store: "bank" })))
await Effect.runPromise(program.pipe(Effect.provide(BankLive)))
console.log(`the events are in ${join(root, "bank", "events")}`)
