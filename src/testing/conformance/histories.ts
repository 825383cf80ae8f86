/**
 * Random histories, step by step as in the oracle. Steps are done one after another, so that there is one right answer to each;
 * positions are told by their rank, so that gaps make no difference.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Event from "../../Event.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import * as Maintenance from "../../services/EventStoreMaintenance.ts"
import { AssertionError } from "../assertionError.ts"
import { differences, isSame } from "../comparison.ts"
import * as oracle from "./oracle.ts"
import { type Client, make as makePlace, type Place, Places } from "./place.ts"
import { forAll } from "./property.ts"
import { group } from "./rule.ts"

// what may happen

export const types = ["A", "B", "C"] as const
export const someTags = ["x:1", "x:2", "y:1"] as const

export const Small = (n: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: n }))
export const Subset = <const A extends ReadonlyArray<string>>(values: A) =>
  Schema.Array(Schema.Literals(values)).check(Schema.isMaxLength(2))

const SomeItem = Schema.Struct({ types: Subset(types), tags: Subset(someTags) })
/** No items: every event. */
export const SomeQuery = Schema.Array(SomeItem).check(Schema.isMaxLength(3))
/** An event of its own, or one of a few with an id: these are the same each time, but for the data of those with an odd id. */
const SomeEvent = Schema.Union([
  Schema.Struct({ type: Schema.Literals(types), tags: Subset(someTags) }),
  Schema.Struct({ id: Small(3) })
])
/** One of the positions that were given out, counted from the newest; or one that was not. None: no position. */
const SomePosition = Schema.optionalKey(Schema.Union([Small(8), Schema.Literal("beyond")]))

const append = {
  do: Schema.Literal("append"),
  events: Schema.Array(SomeEvent).check(Schema.isMaxLength(3)),
  condition: Schema.optionalKey(Schema.Struct({ query: SomeQuery, after: SomePosition })),
  /** Append the same once more. */
  again: Schema.Boolean
}
/** With a subscription that begins at `after`. */
const read = {
  do: Schema.Literal("read"),
  query: SomeQuery,
  after: SomePosition,
  before: SomePosition,
  backwards: Schema.Boolean,
  limit: Schema.optionalKey(Small(4))
}
const tag = { do: Schema.Literal("tag"), query: SomeQuery, tag: Schema.Literals(someTags) }

/** Everything that one client does. */
const Step = Schema.Union([Schema.Struct(append), Schema.Struct(read), Schema.Struct(tag)])

/** Which of a few clients. */
const client = Small(2)

const ClientStep = Schema.Union([
  Schema.Struct({ client, ...append }),
  Schema.Struct({ client, ...read }),
  Schema.Struct({ client, ...tag }),
  Schema.Struct({ client, do: Schema.Literal("reopen") })
])

type AnyStep = typeof Step.Type | typeof ClientStep.Type

const most = Schema.isMaxLength(12)
const History = Schema.Array(Step).check(most)
const ClientHistory = Schema.Array(ClientStep).check(most)

// telling of it

export const toQuery = (items: typeof SomeQuery.Type): Query.Any => {
  const [first, ...rest] = items.flatMap(({ tags, types }): ReadonlyArray<Query.Item> => {
    const [type, ...otherTypes] = types
    const [tag, ...otherTags] = tags
    return type === undefined && tag === undefined ? [] : [{
      types: type === undefined ? undefined : [type, ...otherTypes],
      tags: tag === undefined ? undefined : [tag, ...otherTags]
    }]
  })
  return first === undefined ? Query.all : Query.fromItems(first, ...rest)
}

const tellPosition = (word: string, position: number | "beyond" | undefined) =>
  position === undefined
    ? ""
    : position === "beyond"
    ? ` ${word} a position beyond the head`
    : ` ${word} the newest position but ${position}`

const tellEvent = (event: typeof SomeEvent.Type) =>
  "id" in event
    ? `the event id-${event.id}`
    : `${event.type}${event.tags.length > 0 ? ` tagged ${event.tags.join()}` : ""}`

const tellStep = (step: AnyStep): string => {
  const who = "client" in step ? `client ${step.client} ` : ""
  switch (step.do) {
    case "append": {
      const { again, condition, events } = step
      const what = events.length === 0 ? "nothing" : events.map(tellEvent).join("; ")
      const unless = condition === undefined
        ? ""
        : `, if nothing matches ${toQuery(condition.query)}${tellPosition("after", condition.after)}`
      return `${who}appends ${what}${unless}${again ? "; and the same once more" : ""}`
    }
    case "read": {
      const { after, backwards, before, limit, query } = step
      return `${who}reads ${toQuery(query)}${tellPosition("after", after)}${tellPosition("before", before)}` +
        `${backwards ? " backwards" : ""}${limit === undefined ? "" : `, at most ${limit}`}`
    }
    case "tag":
      return `${who}adds ${step.tag} to ${toQuery(step.query)}`
    case "reopen":
      return `${who}closes, and opens again`
  }
}

export const numberLines = (lines: ReadonlyArray<string>): string =>
  lines.map((line, i) => `  ${i + 1}. ${line}`).join("\n")

const tell = (steps: ReadonlyArray<AnyStep>): string => numberLines(steps.map(tellStep))

// doing it

/** What a history came to: an outcome for each step. */
const observe = (place: Place["Service"], steps: ReadonlyArray<AnyStep>) =>
  Effect.gen(function*() {
    const clients = new Map<number, Client>()
    /** Positions as they were given out, to events and to additions of tags. */
    const given: Array<Position> = []
    const rank = (position: Position | undefined) =>
      position === undefined ? 0 : given.findIndex((other) => other >= position) + 1
    const pick = (back: number | "beyond" | undefined) =>
      back === undefined ? undefined : back === "beyond" ? (given.at(-1) ?? 0) + 1000 as Position : given.at(-1 - back)
    const show = ({ event, position, tags, type }: Event.SequencedEvent<unknown>) => ({
      position: rank(position),
      type,
      tags,
      data: (event as Event.RawEvent).data
    })
    const openClient = Effect.fnUntraced(function*(n: number) {
      const client = clients.get(n) ?? (yield* place.open)
      clients.set(n, client)
      return client
    })

    const appends = (n: number, { again, condition, events }: Extract<AnyStep, { readonly do: "append" }>) => {
      const batch = events.map((event, i) =>
        "id" in event
          ? Event.raw(types[event.id % 3]!, { n: event.id % 2 === 0 ? event.id : n }, {
            tags: [someTags[event.id % 3]!],
            metadata: { id: `id-${event.id}` }
          })
          : Event.raw(event.type, { n: n * 10 + i }, { tags: event.tags })
      )
      const once = Effect.suspend(() =>
        EventStore.append(
          batch,
          condition && { failIfEventsMatch: toQuery(condition.query), after: pick(condition.after) }
        )
      ).pipe(Effect.match({
        onSuccess: ({ duplicate, head, positions }) => {
          if (!duplicate) given.push(...positions)
          return [duplicate, positions.map(rank), duplicate ? "" : rank(head)]
        },
        onFailure: (error) =>
          error._tag === "AppendConditionFailed"
            ? [error._tag, rank(error.conflict), error.after === pick(condition?.after)]
            : error._tag === "AppendRefused"
            ? [error._tag, error.reason._tag, "position" in error.reason ? rank(error.reason.position) : ""]
            : [error._tag]
      }))
      return Effect.forEach(again ? [1, 2] : [1], () => once)
    }

    const out: Array<unknown> = []
    for (const [n, step] of steps.entries()) {
      const number = "client" in step ? step.client : 0
      const client = yield* openClient(number)
      if (step.do === "reopen") {
        yield* client.close
        clients.delete(number)
        out.push(rank(yield* (yield* openClient(number)).run(EventStore.head)))
      } else if (step.do === "append") {
        out.push(yield* client.run(appends(n, step)))
      } else if (step.do === "tag") {
        // where it cannot be done, nothing happens in the oracle either
        const { maintain } = client
        if (maintain === undefined) continue
        const added = yield* maintain(Maintenance.addTags(toQuery(step.query), () => [step.tag]))
        const head = yield* client.run(EventStore.head)
        if (added.tagsAdded > 0 && head !== undefined) given.push(head)
        out.push([added.eventsProcessed, added.tagsAdded, rank(head)])
      } else {
        const query = toQuery(step.query)
        const { backwards, limit } = step
        const options = { after: pick(step.after), before: pick(step.before), backwards, limit }
        out.push(
          yield* client.run(Effect.gen(function*() {
            const { events, head, retagged } = yield* EventStore.read(query, options)
            const last = yield* EventStore.readLast(query, { before: options.before })
            // as many as there are: more may never come
            const wanted = (yield* EventStore.read(query, { after: options.after })).events.length
            const delivered = EventStore.subscribe(query, { after: options.after }).pipe(
              Stream.take(wanted),
              Stream.runCollect
            )
            return {
              events: events.map(show),
              head: rank(head),
              headAlone: rank(yield* EventStore.head),
              retagged: rank(retagged),
              last: last && show(last),
              streamed: (yield* Stream.runCollect(EventStore.stream(query, options))).map(show),
              subscribed: wanted === 0 ? [] : (yield* delivered).map(show)
            }
          }))
        )
      }
    }
    return out
  })

const isAsTheOracle = (
  steps: ReadonlyArray<AnyStep>
): Effect.Effect<void, unknown, Places | Scope.Scope> =>
  Effect.gen(function*() {
    const place = yield* (yield* Places).make
    const actual = yield* observe(place, steps)
    const expected = yield* observe(makePlace(yield* oracle.place, place.hasMaintenance), steps)
    const at = expected.findIndex((outcome, i) => !isSame(outcome, actual[i]))
    if (at < 0) return
    const done = place.hasMaintenance ? steps : steps.filter((step) => step.do !== "tag")
    throw new AssertionError(
      `step ${steps.indexOf(done[at]!) + 1} came out otherwise than in the oracle, positions told by their rank:\n\n` +
        differences(done[at]!.do, expected[at], actual[at]).map((line) => `  ${line}`).join("\n"),
      { expected: expected[at], actual: actual[at] }
    )
  })

export const ofOne = group("random histories", "stores")(
  "random-history",
  "any history of appends, reads and subscriptions is as the oracle's",
  forAll(History, isAsTheOracle, tell)
)

export const ofSeveral = group("random histories", "places")(
  "random-clients-history",
  "any history of several clients that come and go is as the oracle's",
  forAll(ClientHistory, isAsTheOracle, tell)
)
