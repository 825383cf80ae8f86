/** What scenarios accept, and what running them needs: read by the compiler, never run. */
import { Context, Effect, Layer, Schema } from "effect"
import { DecisionModel, Event, EventStore, Opossum, Projection, Query } from "effect-opossum"
import { Scenario } from "effect-opossum/testing"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const exactly = <B>() => <A>(_value: A, ..._proof: Equals<A, B> extends true ? [] : [never]) => {}
const compiles = (..._values: ReadonlyArray<unknown>) => {}
/** What an effect gives and needs, whatever else it can do. */
const effect = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => self

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"))
type CourseId = typeof CourseId.Type
const course = CourseId.make("maths")
class Defined extends Event.Class<Defined>()("Defined", { courseId: CourseId, seats: Schema.Int }) {}
class Full extends Schema.TaggedError<Full>()("Full", { courseId: CourseId }) {}
class Missing extends Schema.TaggedError<Missing>()("Missing", {}) {}
class Late extends Schema.TaggedError<Late>()("Late", {}) {}
class Mail extends Context.Service<Mail, string>()("Mail") {}
class Clerk extends Context.Service<Clerk, string>()("Clerk") {}
const defined = new Defined({ courseId: course, seats: 1 })

declare const run: Effect.Effect<number, Full | Missing, EventStore.EventStore | Mail>
declare const sure: Effect.Effect<string>
const { given } = Scenario

// when

exactly<Effect.Effect<number, never, Mail>>()(effect(given(defined).when(run).thenAppends(defined)))
exactly<Effect.Effect<number, never, Mail>>()(effect(given().when(run).thenNothing))
exactly<Effect.Effect<number, never, Mail>>()(effect(given().when(run).thenSucceeds(1, defined)))
exactly<Effect.Effect<string, never, Mail>>()(effect(given().when(run).thenNothing.when(sure).thenNothing))
// @ts-expect-error: the value is a number
compiles(given().when(run).thenSucceeds("1"))
// @ts-expect-error: that is no event
compiles(given().when(run).thenAppends({ _tag: "Defined" }))
// @ts-expect-error: nor is that
compiles(given("Defined"))
compiles(given(defined, [defined], Scenario.fixture().event(defined), Event.withTags(defined, ["a:b"])))

// thenFails

exactly<Effect.Effect<Full, never, Mail>>()(effect(given().when(run).thenFails("Full")))
exactly<Effect.Effect<Full | Missing, never, Mail>>()(effect(given().when(run).thenFails(new Missing(), defined)))
compiles(
  given().when(run).thenFails((error) => {
    exactly<Full | Missing>()(error)
    return true
  })
)
// @ts-expect-error: it does not fail with that
// @effect-diagnostics-next-line missingEffectError:off
compiles(given().when(run).thenFails(new Late()))
// @ts-expect-error: nor with that
compiles(given().when(run).thenFails("Late"))
// @ts-expect-error: a predicate answers
compiles(given().when(run).thenFails((error) => error._tag))
// @ts-expect-error: it cannot fail at all
compiles(given().when(sure).thenFails("Full"))
// @ts-expect-error: not even for a function
compiles(given().when(sure).thenFails(() => true))
compiles(given().when(Effect.fail("a" as string)).thenFails("a"))

// thenState

const seats = DecisionModel.make({ query: Query.of(Defined), initial: 0, apply: { Defined: (_, { seats }) => seats } })
compiles(given().thenState(seats, 1).thenState({ a: seats, b: [seats] }, { a: 1, b: [2] }))
// @ts-expect-error: the state is a number
compiles(given().thenState(seats, "1"))
// @ts-expect-error: one is missing
compiles(given().thenState({ a: seats, b: seats }, { a: 1 }))

// read models

class List extends Projection.Service<List>()("list", {
  events: [Defined],
  key: ({ courseId }) => courseId,
  state: Schema.Struct({ seats: Schema.Int }),
  tags: ({ seats }) => [`big:${seats > 9}`],
  apply: { Defined: (_, { seats }) => ({ seats }) }
}) {}
const list = given(defined)
compiles(list.shows(List, course, { seats: 1 }).shows(List, course, undefined))
compiles(list.showsEntries(List, [course, { key: course, state: { seats: 1 }, version: 2 }]))
compiles(list.showsByTag(List, "big:true", [course]).showsByTag(List, ["big:true", "big:false"], []))
// @ts-expect-error: the key is a CourseId
compiles(list.shows(List, "maths", { seats: 1 }))
// @ts-expect-error: the state has seats
compiles(list.shows(List, course, { places: 1 }))
// @ts-expect-error: the key is a CourseId
compiles(list.showsEntries(List, ["maths"]))
// @ts-expect-error: the state has seats, in numbers
compiles(list.showsEntries(List, [{ key: course, state: { seats: "1" } }]))
// @ts-expect-error: there is no such tag
compiles(list.showsByTag(List, "large:true", [course]))

// layers

declare const projections: Layer.Layer<Projection.Projections | EventStore.EventStore | Mail, Late, Clerk>
const made = Scenario.make({ layer: projections, time: "stands" })
exactly<Effect.Effect<number, never, Clerk>>()(effect(made.given().when(run).thenNothing))
exactly<Effect.Effect<number, never, Clerk>>()(
  effect(made.given().when(run).thenNothing.shows(List, course, { seats: 1 }).thenState(seats, 1))
)
compiles(Scenario.make({ layer: Opossum.layerMemory }))
// @ts-expect-error: there is no event store in it
Scenario.make({ layer: Layer.succeed(Mail, "mail") })

// fixtures

const fixture = Scenario.fixture("2026-01-31T12:00:00Z").by({ userId: "anna" }).after("1 hour").at(new Date(0))
exactly<Scenario.Fixture>()(fixture.event(defined).events(defined, defined).batch(defined))
exactly<Event.NewEvent | undefined>()(fixture.at(0))
compiles(EventStore.append(fixture))
// @ts-expect-error: ids belong to one event
fixture.by({ id: "a" })
// @ts-expect-error: the time is set with `at`
fixture.by({ timestamp: new Date() })
