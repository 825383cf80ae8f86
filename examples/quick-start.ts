/** An event store in thirty seconds: `node --import ./scripts/source.ts examples/quick-start.ts` */
import { Effect, Schema } from "effect"
import { Event, EventStore, Opossum, Query, Tag } from "effect-opossum"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

// A field of this schema tags its event, e.g. `account:anna`.
const AccountId = Schema.NonEmptyString.pipe(Tag.as("account"))

class Deposited extends Event.Class<Deposited>()("Deposited", { account: AccountId, cents: Schema.Int }) {}
class Withdrawn extends Event.Class<Withdrawn>()("Withdrawn", { account: AccountId, cents: Schema.Int }) {}

// What a decision depends on: everything that happened to this account.
const ofAccount = (account: string) => Query.of([Deposited, Withdrawn], { account })

const program = Effect.gen(function*() {
  yield* EventStore.append([
    new Deposited({ account: "anna", cents: 5000 }),
    new Deposited({ account: "ben", cents: 700 })
  ])

  const query = ofAccount("anna")
  const { events, head } = yield* EventStore.read(query)
  const balance = events.reduce(
    (sum, { event }) => event._tag === "Deposited" ? sum + event.cents : sum - event.cents,
    0
  )
  console.log(`anna has ${balance} cents`)

  // Only if nothing has happened to the account since: else it fails with AppendConditionFailed, and nothing is written.
  if (balance >= 2000) {
    const withdrawn = new Withdrawn({ account: "anna", cents: 2000 })
    const { positions } = yield* EventStore.append(withdrawn, { failIfEventsMatch: query, after: head })
    console.log(`withdrawn, at position ${positions[0]}`)
  }
})

// Files in a folder. Look into it afterwards: each event is a JSON file that you can read.
const root = mkdtempSync(join(tmpdir(), "opossum-quick-start-"))
await Effect.runPromise(Effect.provide(program, Opossum.layer({ root, store: "bank" })))
console.log(`the events are in ${join(root, "bank", "events")}`)
