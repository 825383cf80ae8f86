/**
 * Read, then append on the grounds of what was read: all events of a course, about 20, and one more if nobody else has appended to it
 * meanwhile. Who was overtaken reads again at once, until it succeeds. A course is left for a new one after 40 events.
 *
 * By 16 fibers: spread, each has courses of its own; contended, all are at the same course. SQLite's cycles come one after another, so
 * none of them is ever overtaken; grouped ones may be.
 */
import { Effect } from "effect"
import { join } from "node:path"
import { EventStore, Opossum, Query } from "../src/index.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { Conflict, makeGroups } from "./rivals/sqlite.ts"
import { Booked, bookedFor, figures, inTurn, rateOf, whole } from "./setup.ts"
import { openOpossum, openSqlite } from "./subjects.ts"

const suite = "cycles"
const fibers = 16
const perCourse = 40

/** Cycles of each fiber in a round. */
const sizes = {
  smoke: { rounds: 1, spread: 4, contended: 4 },
  standard: { rounds: 5, spread: 160, contended: 40 },
  full: { rounds: 9, spread: 400, contended: 80 }
} as const

/** Counts attempts, and sees that no two cycles rest on the same events. */
const makeTally = () => {
  const grounds = new Set<string>()
  let attempts = 0
  return {
    attempt: () => void attempts++,
    done: (course: string, seen: number) => {
      const ground = `${course} ${seen}`
      if (grounds.has(ground)) throw new Error(`two cycles rest on ${seen} events of ${course}`)
      grounds.add(ground)
    },
    note: () => `${(attempts / grounds.size).toFixed(2)} attempts each`
  }
}
type Tally = ReturnType<typeof makeTally>

const run = async ({ preset, progress, root }: Context): Promise<ReadonlyArray<Figure>> => {
  const { contended, rounds, spread } = sizes[preset]
  const store = openOpossum(Opossum.layer({ root, store: "cycles", eventFiles: false }))
  const sqlite = openSqlite(join(root, "single.sqlite"))
  const grouped = openSqlite(join(root, "grouped.sqlite"))
  const group = makeGroups(grouped)
  let n = 0

  const cycle = (course: string, tally: Tally) =>
    Effect.gen(function*() {
      const query = Query.of(Booked, { account: course })
      for (;;) {
        tally.attempt()
        const { events, head } = yield* EventStore.read(query)
        const isDone = yield* EventStore.append(bookedFor(course, n++), { failIfEventsMatch: query, after: head }).pipe(
          Effect.as(true),
          Effect.catchTag("AppendConditionFailed", () => Effect.succeed(false))
        )
        if (isDone) return tally.done(course, events.length)
      }
    })
  const queryOf = (course: string) => ({ types: ["Booked"], tags: [`account:${course}`] })
  const cycleSqlite = (course: string, tally: Tally): void => {
    tally.attempt()
    const { events, head } = sqlite.read(queryOf(course))
    sqlite.append([{ event: bookedFor(course, n++) }], { failIfEventsMatch: queryOf(course), after: head })
    tally.done(course, events.length)
  }
  const cycleGrouped = async (course: string, tally: Tally): Promise<void> => {
    for (;;) {
      tally.attempt()
      const { events, head } = grouped.read(queryOf(course))
      try {
        await group([{ event: bookedFor(course, n++) }], { failIfEventsMatch: queryOf(course), after: head })
        return tally.done(course, events.length)
      } catch (error) {
        if (!(error instanceof Conflict)) throw error
      }
    }
  }

  let turn = 0
  /** The course of a fiber's i-th cycle; all of a round's are new. */
  const makeCourses = (isContended: boolean) => {
    const round = turn++
    let all = 0
    return (fiber: number, i: number) =>
      isContended ? `c${round}-${Math.floor(all++ / perCourse)}` : `c${round}-${fiber}-${Math.floor(i / perCourse)}`
  }
  const each = Array.from({ length: fibers }, (_, fiber) => fiber)
  const sides = (isContended: boolean, count: number, tallies: { readonly own: Tally; readonly grouped: Tally }) => ({
    "opossum": () => {
      const course = makeCourses(isContended)
      const loop = Effect.fnUntraced(function*(fiber: number) {
        for (let i = 0; i < count; i++) yield* cycle(course(fiber, i), tallies.own)
      })
      return rateOf(
        fibers * count,
        () => store.run(Effect.forEach(each, loop, { concurrency: "unbounded", discard: true }))
      )
    },
    "sqlite": () => {
      const course = makeCourses(isContended)
      const tally = makeTally()
      return rateOf(fibers * count, () => {
        for (let i = 0; i < count; i++) for (const fiber of each) cycleSqlite(course(fiber, i), tally)
      })
    },
    "sqlite, grouped": () => {
      const course = makeCourses(isContended)
      return rateOf(fibers * count, () =>
        Promise.all(each.map(async (fiber) => {
          for (let i = 0; i < count; i++) await cycleGrouped(course(fiber, i), tallies.grouped)
        })))
    }
  })

  progress("warming up")
  await inTurn(1, sides(false, spread, { own: makeTally(), grouped: makeTally() }))
  const out: Array<Figure> = []
  for (const isContended of [false, true]) {
    const workload = `read, then append, ${fibers} fibers, ${isContended ? "one course" : "each its own"}`
    const perFiber = isContended ? contended : spread
    progress(`${workload}: ${rounds} x ${whole(fibers * perFiber)}`)
    const tallies = { own: makeTally(), grouped: makeTally() }
    const found = await inTurn(rounds, sides(isContended, perFiber, tallies))
    out.push(...figures({ suite, workload, unit: "/s" }, found, {
      "opossum": tallies.own.note(),
      "sqlite, grouped": tallies.grouped.note()
    }))
  }
  sqlite.close()
  grouped.close()
  await store.close()
  return out
}

export const cycles: Suite = { name: suite, run }
