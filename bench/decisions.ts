/**
 * Decisions, beside the same by hand: read, decide, append under the condition, again after a conflict.
 *
 * A course is left for a new one after 64 decisions, so that each reads 32 events on average, however many fibers there are.
 */
import { Effect, Schema } from "effect"
import { Decision, DecisionModel, Event, EventStore, Opossum, Query, Tag } from "../src/index.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { figures, inTurn, perSecond, whole } from "./setup.ts"
import { openOpossum } from "./subjects.ts"

const suite = "decisions"
const perCourse = 64

/** Decisions in a round: where each of 64 fibers has its own courses, and else. */
const sizes = {
  smoke: { rounds: 1, spread: 128, few: 128 },
  standard: { rounds: 5, spread: 4_096, few: 640 },
  full: { rounds: 9, spread: 8_192, few: 1_280 }
} as const

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
/** So many fibers, each at its own course or all at a hot one. Answers with decisions a second. */
const load = (perRound: number, fibers: number, isHot: boolean, decide: typeof byDecision, tally: Tally) =>
  Effect.gen(function*() {
    const round = turn++
    let all = 0
    const each = Math.floor(perRound / fibers)
    const start = performance.now()
    yield* Effect.forEach(
      Array.from({ length: fibers }, (_, fiber) => fiber),
      (fiber) =>
        Effect.forEach(Array.from({ length: each }, (_, i) => i), (i) => {
          const course = isHot ? Math.floor(all++ / perCourse) : `${fiber}-${Math.floor(i / perCourse)}`
          return decide(`${round}/${course}`, tally)
        }, { discard: true }),
      { concurrency: "unbounded", discard: true }
    )
    return perSecond(each * fibers, performance.now() - start)
  })

const run = async ({ preset, progress, root }: Context): Promise<ReadonlyArray<Figure>> => {
  const { few, rounds, spread } = sizes[preset]
  const store = openOpossum(Opossum.layer({ root, store: "decisions", eventFiles: false }))
  progress("warming up")
  for (const decide of [byHand, byDecision]) await store.run(load(spread, 64, false, decide, makeTally()))
  const out: Array<Figure> = []
  for (const isHot of [false, true]) {
    for (const fibers of [1, 64]) {
      const workload = `${fibers === 1 ? "one fiber" : `${fibers} fibers`}, ${
        isHot ? "one hot course" : "each its own course"
      }`
      const perRound = fibers > 1 && !isHot ? spread : few
      progress(`${workload}: ${rounds} x ${whole(perRound)}`)
      const own = makeTally()
      const raw = makeTally()
      const found = await inTurn(rounds, {
        "opossum": () => store.run(load(perRound, fibers, isHot, byDecision, own)),
        "by hand": () => store.run(load(perRound, fibers, isHot, byHand, raw))
      })
      const note = ({ attempts, decisions, givenUp }: Tally) =>
        `${(attempts / Math.max(1, decisions)).toFixed(2)} attempts each, ` +
        `${whole(attempts - decisions - givenUp)} conflicts, ${givenUp} given up`
      out.push(...figures({ suite, workload, unit: "/s" }, found, { "opossum": note(own), "by hand": note(raw) }))
      // of one process they wait for each other
      if (own.givenUp > 0) throw new Error(`${own.givenUp} decisions of one process were given up`)
    }
  }
  await store.close()
  return out
}

export const decisions: Suite = { name: suite, run }
