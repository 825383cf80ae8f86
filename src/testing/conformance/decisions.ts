/**
 * Random decisions, all at once. There are many right answers; but each event holds the query and the position that it was decided
 * on, so that afterwards the history alone proves each of them right or wrong.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import { equal, that } from "./expect.ts"
import { positionsOf, range } from "./fixtures.ts"
import { numberLines, Small, SomeQuery, someTags, Subset, toQuery, types } from "./histories.ts"
import { type Client, Places } from "./place.ts"
import { forAll } from "./property.ts"
import { group } from "./rule.ts"

const decision = {
  /** What it rests on. */
  query: SomeQuery,
  /** What it writes: so many events and one, of this type and with these tags. */
  type: Schema.Literals(types),
  tags: Subset(someTags),
  more: Small(2),
  /** How long it thinks, in turns of the scheduler. */
  turns: Small(3)
}
const Decision = Schema.Struct(decision)
const ClientDecision = Schema.Struct({ client: Small(2), ...decision })
type AnyDecision = typeof Decision.Type | typeof ClientDecision.Type

const most = Schema.isMaxLength(12)
/** A run is a dozen decisions, with what they repeat. */
const share = 0.2

const tell = (decisions: ReadonlyArray<AnyDecision>): string =>
  `  all at once:\n${
    numberLines(decisions.map((decision) =>
      `${"client" in decision ? `client ${decision.client} ` : ""}decides on ${toQuery(decision.query)}, ` +
      `and writes ${decision.more + 1} ${decision.type}${
        decision.tags.length > 0 ? ` tagged ${decision.tags.join()}` : ""
      }`
    ))
  }`

/** What an event tells of its decision. */
interface Told {
  readonly decision: number
  readonly after: number
  readonly index: number
}

const areProvedByTheHistory = (decisions: ReadonlyArray<AnyDecision>) =>
  Effect.gen(function*() {
    const place = yield* (yield* Places).make
    const numbers = new Set(decisions.map((decision) => "client" in decision ? decision.client : 0))
    const clients = new Map<number, Client>()
    for (const number of numbers) clients.set(number, yield* place.open)
    const first = clients.values().next().value
    if (first === undefined) return

    /** Decides until it gets through, a few times at the most. Answers with its positions, if it did. */
    const decide = (decision: AnyDecision, number: number) => {
      const query = toQuery(decision.query)
      return Effect.gen(function*() {
        const { head } = yield* EventStore.read(query)
        for (let turn = 0; turn < decision.turns; turn++) yield* Effect.yieldNow
        const told = { decision: number, after: head ?? 0 }
        const events = range(0, decision.more).map((index) =>
          Event.raw(decision.type, { ...told, index }, { tags: decision.tags })
        )
        return (yield* EventStore.append(events, { failIfEventsMatch: query, after: head })).positions
      }).pipe(
        Effect.retry({ times: 3, while: (error) => error._tag === "AppendConditionFailed" }),
        Effect.catchTag("AppendConditionFailed", () => Effect.succeed([]))
      )
    }
    const positions: ReadonlyArray<ReadonlyArray<Position>> = yield* Effect.forEach(
      decisions,
      (decision, number) => clients.get("client" in decision ? decision.client : 0)!.run(decide(decision, number)),
      { concurrency: "unbounded" }
    )

    const { events } = yield* first.run(EventStore.read(Query.all))
    for (const [i, { event, position }] of events.entries()) {
      const { after, decision, index } = event.data as unknown as Told
      that(positions[decision]?.[index] === position, `what is at ${position} was not acknowledged there`)
      const query = toQuery(decisions[decision]!.query)
      const missed = events.slice(0, i - index).filter((other) => other.position > after && Query.matches(query, other))
      equal(positionsOf(missed), [], `what decision ${decision + 1} at ${position} missed, that looked up to ${after}`)
    }
    equal(events.length, positions.flat().length, "the number of events, which should be that of those acknowledged")
  })

export const ofOne = group("random histories", "stores")(
  "random-decisions",
  "whatever is decided at once, afterwards the history alone proves every decision right",
  forAll(Schema.Array(Decision).check(most), areProvedByTheHistory, tell, share)
)

export const ofSeveral = group("random histories", "places")(
  "random-clients-decisions",
  "whatever several clients decide at once, afterwards the history alone proves every decision right",
  forAll(Schema.Array(ClientDecision).check(most), areProvedByTheHistory, tell, share)
)
