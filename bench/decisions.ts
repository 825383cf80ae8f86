/**
 * Decisions, beside the same by hand: read, decide, append under the condition, again after a conflict.
 *
 * A course is left for a new one after 64 decisions, so that each reads 32 events on average, however many fibers there are.
 */
import { Effect, Schema } from "effect"
import { Decision, DecisionModel, Event, EventStore, Opossum, Query, Tag } from "../src/index.ts"
import { interleaved, isSmoke, perSecond, report, section, timed, whole } from "./setup.ts"

const rounds = isSmoke ? 1 : 5
const perRound = isSmoke ? 128 : 6_400
const perCourse = 64

class SeatTaken extends Event.Class<SeatTaken>()("SeatTaken", {
  course: Schema.String.pipe(Tag.as("course")),
  by: Schema.String
}) {}
const text = "x".repeat(220)

/** What happened, over all rounds. */
interface Tally {
  decisions: number
  attempts: number
  givenUp: number
  /** What each decision rested on: two on the same would be one too many. */
  readonly grounds: Set<string>
}
const makeTally = (): Tally => ({ decisions: 0, attempts: 0, givenUp: 0, grounds: new Set() })
const note = (tally: Tally, course: string, taken: number) => {
  tally.decisions++
  const ground = `${course} ${taken}`
  if (tally.grounds.has(ground)) throw new Error(`two decisions rest on ${taken} events of the course ${course}`)
  tally.grounds.add(ground)
}

const byDecision = (course: string, tally: Tally) => {
  let seen = 0
  return Decision.execute(
    DecisionModel.make({ query: Query.of(SeatTaken, { course }), initial: 0, apply: { SeatTaken: (n) => n + 1 } }),
    (taken) => {
      tally.attempts++
      seen = taken
      return new SeatTaken({ course, by: text })
    }
  ).pipe(
    Effect.andThen(Effect.sync(() => note(tally, course, seen))),
    Effect.catchTag("AppendConditionFailed", () => Effect.sync(() => void tally.givenUp++))
  )
}

const byHand = (course: string, tally: Tally) =>
  Effect.gen(function*() {
    const query = Query.of(SeatTaken, { course })
    for (;;) {
      tally.attempts++
      const { events, head } = yield* EventStore.read(query)
      let taken = 0
      for (const { event } of events) if (event.course === course) taken++
      const condition = { failIfEventsMatch: query, after: head }
      const isDone = yield* EventStore.append(new SeatTaken({ course, by: text }), condition).pipe(
        Effect.as(true),
        Effect.catchTag("AppendConditionFailed", () => Effect.succeed(false))
      )
      if (isDone) return note(tally, course, taken)
    }
  })

let turn = 0
/** So many fibers, on the course that `courseOf` names for a fiber and a number that counts its, or all, decisions. */
const load = (fibers: number, isHot: boolean, decide: typeof byDecision, tally: Tally) =>
  Effect.suspend(() => {
    const round = turn++
    let all = 0
    const each = Math.floor(perRound / fibers)
    const run = Effect.forEach(
      Array.from({ length: fibers }, (_, fiber) => fiber),
      (fiber) =>
        Effect.forEach(Array.from({ length: each }, (_, i) => i), (i) => {
          const course = isHot ? Math.floor(all++ / perCourse) : `${fiber}-${Math.floor(i / perCourse)}`
          return decide(`${round}/${course}`, tally)
        }, { discard: true }),
      { concurrency: "unbounded", discard: true }
    )
    return Effect.map(timed(run), ([, millis]) => perSecond(each * fibers, millis))
  })

const program = Effect.gen(function*() {
  const ignored = makeTally()
  for (const decide of [byHand, byDecision]) yield* load(64, false, decide, ignored)
  for (const isHot of [false, true]) {
    for (const fibers of [1, 64]) {
      const own = makeTally()
      const raw = makeTally()
      const found = yield* interleaved(rounds, {
        own: () => load(fibers, isHot, byDecision, own),
        raw: () => load(fibers, isHot, byHand, raw)
      })
      const conflicts = ({ attempts, decisions, givenUp }: Tally) => attempts - decisions - givenUp
      const share = (tally: Tally) => (tally.attempts / Math.max(1, tally.decisions)).toFixed(2)
      report(
        `${fibers} ${fibers === 1 ? "fiber" : "fibers"}, ${isHot ? "one hot course" : "each its own course"}`,
        `${whole(found.own)} /s`,
        `${(found.own / found.raw).toFixed(2)} x by hand (${whole(found.raw)} /s); attempts each ${share(own)}, ` +
          `by hand ${share(raw)}; conflicts ${whole(conflicts(own))}, given up ${whole(own.givenUp)}`
      )
      // of one process they wait for each other
      if (own.givenUp > 0) throw new Error(`${own.givenUp} decisions of one process were given up`)
    }
  }
})

export const runDecisions = async (root: string): Promise<void> => {
  section(`decisions: ${whole(perRound)} a round, 32 events read for each on average`)
  await Effect.runPromise(
    Effect.provide(program, Opossum.layer({ root, store: "decisions", eventFiles: false }))
  )
}
