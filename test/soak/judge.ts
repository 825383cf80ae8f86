/**
 * What a store must be when nobody writes to it: the history is read from the ledger's files, and everything else (the witnesses, the store's
 * answers, its copies, its projection) is compared with it. Each check tells what is wrong, in words.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as EventStoreMaintenance from "../../src/services/EventStoreMaintenance.ts"
import { type Fact, type Guard, toQuery } from "../fixtures/appends.ts"
import { breakableLayer, type Options } from "../fixtures/faults.ts"
import type { SoakNote } from "../fixtures/soakProcess.ts"
import {
  finds,
  problemsOfFollowed,
  problemsOfHistory,
  problemsOfTagging,
  problemsOfWitnesses,
  withAdditions
} from "../processes/oracle.ts"
import { type LedgerEvent, type LedgerFiles, readLedgerFiles } from "./ledgerFiles.ts"
import { expectedRows, tags as stateTags, tagsOf, Tally } from "./model.ts"
import { fromSeed } from "./random.ts"

type Problems = ReadonlyArray<string>

/** So many of a kind are told. */
const most = 5

const some = (what: string, problems: Problems): Problems => {
  const told = problems.slice(0, most).map((problem) => `${what}: ${problem}`)
  return problems.length > most ? [...told, `${what}: ${problems.length - most} more`] : told
}

// what the processes noted

/** The notes of all processes that had one place, oldest first. */
export interface Witnesses {
  readonly slot: string
  readonly role: "writer" | "follower" | "runner"
  /** Of a follower: the type that it wanted. */
  readonly type: string | undefined
  readonly notes: ReadonlyArray<SoakNote>
}

const isNote =
  <T extends SoakNote["_tag"]>(...tags: ReadonlyArray<T>) =>
  (line: SoakNote): line is Extract<SoakNote, { readonly _tag: T }> =>
    (tags as ReadonlyArray<string>).includes(line._tag)

/** As who follows notes events. */
export const asSeen = ({ data, id, position, type }: LedgerEvent) => {
  const { filler: _, ...rest } = data
  return { position, id, type, tags: [], data: rest }
}

/** Who followed and came to the end saw everything once, in order, whoever of them was killed in between. */
const problemsOfFollower = (
  { notes, slot, type }: Witnesses,
  { additions, events, head }: LedgerFiles,
  isAtEnd: boolean
): Problems => {
  const all = events.map(asSeen)
  const wanted = all.filter((event) => type === undefined || event.type === type)
  // one that begins anew sees everything again
  const subscriptions: Array<Array<Fact>> = [[]]
  for (const line of notes) {
    if (line._tag === "anew") subscriptions.push([])
    else if (line._tag === "saw") subscriptions.at(-1)!.push(line.event)
  }
  const reads = notes.filter(isNote("read"))
  const others = new Set(additions.map(({ position }) => position))
  const problems = [
    ...subscriptions.flatMap((subscribed) => problemsOfFollowed(wanted, { subscribed, reads: [] })),
    ...problemsOfFollowed(all, { subscribed: [], reads }, others)
  ]
  if (!isAtEnd) return some(slot, problems)
  const last = subscriptions.at(-1)!.at(-1)?.position
  if (last !== wanted.at(-1)?.position) {
    problems.push(`the subscription ends at ${last} instead of ${wanted.at(-1)?.position}`)
  }
  if ((reads.at(-1)?.head ?? 0) !== head) problems.push(`reads end at ${reads.at(-1)?.head} instead of ${head}`)
  return some(slot, problems)
}

/** All that the history and the notes prove. */
export const judgeHistory = (
  ledger: LedgerFiles,
  witnesses: ReadonlyArray<Witnesses>,
  /** Whether all had time to come to the end of the history. */
  isAtEnd: boolean
): Problems => {
  const notes = witnesses.flatMap(({ notes }) => notes)
  return [
    ...some("ledger", ledger.problems),
    ...some("history", problemsOfHistory(ledger.events, ledger.additions)),
    ...some(
      "witnesses",
      problemsOfWitnesses(ledger.events, notes.filter(isNote("try", "stored", "refused", "fault")))
    ),
    ...some("tags", problemsOfTagging(ledger.events, ledger.additions, notes.filter(isNote("tagging", "tagged")))),
    ...witnesses.filter(({ role }) => role === "follower").flatMap((follower) =>
      problemsOfFollower(follower, ledger, isAtEnd)
    ),
    ...some("seen", notes.filter(isNote("problem")).map(({ problem }) => problem))
  ]
}

// what the store answers

type Items = Guard["items"]

/** Each type, each tag, and some of both. */
const queriesOf = (history: ReadonlyArray<LedgerEvent>, seed: number): ReadonlyArray<Items> => {
  const random = fromSeed(seed)
  const types = [...new Set(history.map(({ type }) => type))]
  const tags = [...new Set(history.flatMap(({ tags }) => tags))]
  const queries: Array<Items> = [...types.map((type) => [{ types: [type] }]), ...tags.map((tag) => [{ tags: [tag] }])]
  const item = () => {
    // of one event, so that it is found
    const { tags, type } = history[random.below(history.length)]!
    const wanted = tags.filter(() => random.oneIn(2))
    return {
      ...(random.oneIn(3) && wanted.length > 0
        ? {}
        : { types: random.oneIn(2) ? [type] : [...new Set([type, types[random.below(types.length)]!])] }),
      ...(wanted.length === 0 ? {} : { tags: wanted })
    }
  }
  for (let i = 0; i < 40; i++) queries.push(Array.from({ length: random.between(1, 3) }, item))
  return queries
}

const toPositions = (events: ReadonlyArray<{ readonly position: number }>) =>
  events.map(({ position }) => position).join()

const sortedText = (tags: ReadonlyArray<string>) => [...new Set(tags)].sort().join()

/** Every answer is what a plain filter over the history finds. */
export const problemsOfAnswers = Effect.fnUntraced(
  function*(history: ReadonlyArray<LedgerEvent>, head: number, seed: number) {
    const problems: Array<string> = []
    if (((yield* EventStore.head) ?? 0) !== head) {
      problems.push(`the head is ${yield* EventStore.head} instead of ${head}`)
    }
    const found = yield* Stream.runCollect(EventStore.stream(Query.all))
    if (toPositions(found) !== toPositions(history)) {
      problems.push(`it has ${found.length} events instead of ${history.length}`)
    }
    for (const [i, { event, metadata, position, tags, type }] of found.entries()) {
      const real = history[i]
      if (
        real?.id !== metadata.id || real.type !== type || sortedText(real.tags) !== sortedText(tags) ||
        JSON.stringify(real.data) !== JSON.stringify(event.data)
      ) problems.push(`it has another event at ${position} than its ledger`)
    }
    const random = fromSeed(seed)
    for (const items of queriesOf(history, seed)) {
      const expected = history.filter((event) => finds({ items }, event))
      const what = JSON.stringify(items)
      const query = toQuery({ items, after: 0 })
      const { events } = yield* EventStore.read(query)
      if (toPositions(events) !== toPositions(expected)) {
        problems.push(`${what} finds ${events.length} events instead of ${expected.length}`)
      }
      const after = random.below(head)
      const before = after + random.below(head - after + 1) + 1
      const part = yield* EventStore.read(query, {
        after: (after || undefined) as Position,
        before: before as Position,
        backwards: true,
        limit: 7
      })
      const expectedPart = expected.filter(({ position }) => position > after && position < before).slice(-7).reverse()
      if (toPositions(part.events) !== toPositions(expectedPart)) {
        problems.push(
          `${what} from ${before} down to ${after} finds ${toPositions(part.events)} instead of ${
            toPositions(expectedPart)
          }`
        )
      }
      const last = yield* EventStore.readLast(query)
      if (last?.position !== expected.at(-1)?.position) {
        problems.push(`${what} has ${last?.position} last instead of ${expected.at(-1)?.position}`)
      }
    }
    return problems
  }
)

// copies

/** Each event has its file, which says what the ledger says; nothing else has one. */
export const problemsOfEventFiles = (
  folder: string,
  events: ReadonlyArray<LedgerEvent>,
  history: ReadonlyArray<LedgerEvent>
): Problems => {
  const problems: Array<string> = []
  const names = new Set(
    existsSync(folder)
      ? readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\d\.json$/.test(name))
      : []
  )
  for (const [i, event] of events.entries()) {
    const { data, metadata, position, tags, type, version } = event
    const name = join(
      String(Math.floor(position / 1000)).padStart(7, "0"),
      `${String(position).padStart(10, "0")}.json`
    )
    if (!names.delete(name)) {
      problems.push(`${position} has none`)
      continue
    }
    const text = readFileSync(join(folder, name), "utf8")
    if (JSON.stringify(JSON.parse(text)) !== JSON.stringify({ position, type, version, tags, metadata, data })) {
      problems.push(`${name} is not what the ledger holds`)
    }
    const more = history[i]!.tags.slice(tags.length)
    const file = join(folder, name.replace(".json", ".tags.json"))
    const found = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).tags : []
    if (sortedText(found) !== sortedText(more)) problems.push(`${file} is not what the ledger holds`)
  }
  for (const name of names) problems.push(`${name} is of no event`)
  return problems
}

/** Copies of states, in whatever folder. */
const stateFilesIn = (folder: string): ReadonlyArray<Record<string, unknown>> =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /^[0-9a-f]{2}\/[^.].*\.json$/.test(name))
    .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")))

// projections

/** States, and what finds them, are what a plain fold of the history gives. */
export const problemsOfStates = Effect.fnUntraced(function*(events: ReadonlyArray<LedgerEvent>, head: number) {
  const problems: Array<string> = []
  const expected = expectedRows(events)
  yield* Tally.waitFor(head as Position)
  const rows = (yield* Stream.runCollect(Tally.stream())).map((entry) => ({
    ...entry,
    created: DateTime.toEpochMillis(entry.created),
    updated: DateTime.toEpochMillis(entry.updated)
  }))
  for (const [i, row] of expected.entries()) {
    const { created, key, position, state, updated, version } = rows[i] ?? {}
    const found = JSON.stringify({ key, state, position, version, created, updated })
    if (found !== JSON.stringify(row)) problems.push(`${found} instead of ${JSON.stringify(row)}`)
  }
  if (rows.length !== expected.length) problems.push(`${rows.length} states instead of ${expected.length}`)
  for (const tag of stateTags) {
    const keys = (yield* Tally.byTag(tag)).map(({ key }) => key).join()
    const wanted = expected.filter(({ state }) => (tagsOf(state) as ReadonlyArray<string>).includes(tag))
    if (keys !== wanted.map(({ key }) => key).join()) problems.push(`${tag} finds ${keys}`)
  }
  return problems
})

/** The files follow at their own speed: they are waited for, but not for ever. */
export const problemsOfStateFiles = (folder: string, events: ReadonlyArray<LedgerEvent>, patience = 1000) => {
  const toText = (states: ReadonlyArray<Record<string, unknown>>) =>
    states.map(({ key, position, state, version }) => JSON.stringify({ key, position, state, version })).sort().join(
      "\n"
    )
  const expected = toText(expectedRows(events).map((row) => ({ ...row })))
  // one may be replaced, or go, while it is looked at
  return Effect.try(() => toText(stateFilesIn(folder)) === expected).pipe(
    Effect.filterOrFail((isRight) => isRight, () => "late" as const),
    Effect.retry({ times: patience, schedule: Schedule.spaced("10 millis") }),
    Effect.match({ onSuccess: (): Problems => [], onFailure: () => ["they never are what the states are"] })
  )
}

// left-overs

/** Nobody is there, so nobody has a lock or waits for one. */
export const leftOvers = (root: string, store: string): Problems => {
  const problems: Array<string> = []
  for (const name of readdirSync(join(root, store), { recursive: true, encoding: "utf8" })) {
    if (/\.queue\/./.test(name)) problems.push(`${name} waits for a lock`)
    if (/(?:writer|mirror|runner)\.lock$/.test(name)) problems.push(`${name} is held`)
  }
  for (const name of readdirSync(root)) {
    if (name.startsWith(".")) problems.push(`${name} lies about`)
  }
  return problems
}

// all of it

export interface Case {
  readonly options: Options
  readonly seed: number
  readonly witnesses: ReadonlyArray<Witnesses>
  /** Tells how far it is, for whoever waits. */
  readonly at: (what: string) => void
}

/** Nobody has the store open. */
export const judge = Effect.fnUntraced(function*({ at, options, seed, witnesses }: Case) {
  const { root, store } = options
  const folder = join(root, store)
  const problems: Array<string> = []
  const found = (what: string) => (more: Problems) => problems.push(...some(what, more))

  at("reading the ledger's files")
  problems.push(...judgeHistory(readLedgerFiles(join(folder, "ledger")), witnesses, true))

  const opened = Tally.layer.pipe(Layer.provideMerge(breakableLayer(options, "adaptive")))
  yield* Effect.gen(function*() {
    // Opening took over what the last one left unconfirmed, if anything: it is a part of the history from now on.
    at("opening the store")
    yield* EventStore.head
    const ledger = readLedgerFiles(join(folder, "ledger"))
    const { additions, events, head } = ledger
    const history = withAdditions(events, additions)
    at("comparing all answers with the history")
    found("answers")(yield* problemsOfAnswers(history, head, seed))
    at("verify")
    yield* Stream.runDrain(EventStoreMaintenance.verify)
    if (options.eventFiles === true) {
      at("waiting for event files")
      yield* EventStoreMaintenance.eventFiles.waitFor(head as Position)
      found("event files")(problemsOfEventFiles(join(folder, "events"), events, history))
    }
    at("comparing the projection with the history")
    found("projection")(yield* problemsOfStates(events, head))
    if (options.stateFiles === true) {
      at("waiting for files of states")
      found("files of states")(yield* problemsOfStateFiles(join(folder, "projections/tally/1/states"), events))
    }
    at("rebuilding the projection")
    yield* Stream.runDrain(Tally.rebuild)
    found("rebuilt")(yield* problemsOfStates(events, head))
  }).pipe(Effect.provide(Layer.fresh(opened)), Effect.scoped)

  found("left over")(leftOvers(root, store))

  // the same without its indexes: they are derived
  rmSync(join(folder, "indices"), { recursive: true, force: true })
  yield* Effect.gen(function*() {
    at("comparing all answers with the history, without the index's files")
    const { additions, events, head, problems } = readLedgerFiles(join(folder, "ledger"))
    found("ledger")(problems)
    found("answers without an index")(yield* problemsOfAnswers(withAdditions(events, additions), head, seed))
  }).pipe(Effect.provide(Layer.fresh(breakableLayer(options, "adaptive"))), Effect.scoped)
  return problems
})
