/**
 * What must hold on a disk that a crash left, by what had been promised until then: a fresh process opens it, reads, asks, appends; then
 * once more without the index, and after another power loss.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { isDeepStrictEqual } from "node:util"
import type * as Event from "../../src/Event.ts"
import * as Host from "../../src/layers/internal/host.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import { EventStoreMaintenance } from "../../src/services/EventStoreMaintenance.ts"
import { Ledger } from "../../src/services/Ledger.ts"
import type { Tag } from "../../src/Tag.ts"
import type * as MountedDisk from "./mountedDisk.ts"
import * as Tally from "./projectionsTally.ts"
import type * as RealStack from "./stack.ts"
import {
  eventsOf,
  keys,
  laterTags,
  Model,
  nothing,
  numberOf,
  probe,
  type Promises,
  readAll,
  type Services,
  type Stack,
  store,
  type Stored,
  Sum,
  Violation,
  violation
} from "./storeClient.ts"
import type { Scenario } from "./storeScenarios.ts"

// what must hold

export type Crash = "kill" | "power loss"

/** What a cause is about. */
export const told = (cause: Cause.Cause<unknown>): Violation => {
  const error = Cause.squash(cause)
  if (error instanceof Violation) return error
  const text = error instanceof Error ? `${error.message} ${error.stack}` : String(error)
  return violation("the store cannot be used after the crash", text)
}

/** Opens the store as a fresh process, does something, and closes it in order. Whatever goes wrong is a violation, as a defect. */
const process = <A, E>(
  stack: Stack,
  disk: MountedDisk.MountedDisk,
  options: Omit<RealStack.Options, "root">,
  body: Effect.Effect<A, E, Services | Scope.Scope>
): Effect.Effect<A> =>
  Effect.scoped(Effect.provide(body, Layer.fresh(stack.layer({ ...options, root: disk.root })))).pipe(
    Effect.catchCause((cause) => Effect.die(told(cause)))
  )

const sameExceptTags = (a: Stored, b: Stored) => isDeepStrictEqual({ ...a, tags: [] }, { ...b, tags: [] })

/** Compares a history with what was promised of it. */
const compare = (history: ReadonlyArray<Stored>, promises: Promises, lossy: boolean): void => {
  const found = new Map<number, Array<Stored>>()
  let last = -1
  for (const stored of history) {
    const number = Math.floor((stored.event as { readonly n: number }).n / 100)
    if (number !== last && found.has(number)) throw violation("a batch is in two pieces, or there twice", number)
    last = number
    found.set(number, [...found.get(number) ?? [], stored])
  }
  for (const [number, events] of found) {
    const batch = promises.batches.find((batch) => batch.number === number)
    if (batch === undefined) throw violation("there is an event that nobody appended", events)
    if (batch.fate === "refused") throw violation("a batch is there that was told to be not", number)
    const numbers = events.map(({ event }) => (event as { readonly n: number }).n)
    if (!isDeepStrictEqual(numbers, Array.from({ length: batch.size }, (_, i) => numberOf(number, i)))) {
      throw violation("a batch is not whole", numbers)
    }
    const positions = events.map(({ position }) => position)
    if (batch.fate === "acked" && !isDeepStrictEqual(positions, batch.positions)) {
      throw violation("a batch is not where it was said to be", [positions, batch.positions])
    }
    batch.stored.forEach((stored, i) => {
      const now = events[i]!
      if (!sameExceptTags(stored, now) || !stored.tags.every((tag) => now.tags.includes(tag))) {
        throw violation("an event is not what was acknowledged", [stored, now])
      }
    })
  }
  const end = history.at(-1)?.position ?? 0
  for (const { fate, number, positions } of promises.batches) {
    if (fate !== "acked" || found.has(number)) continue
    if (!lossy || positions[0]! <= end) throw violation("an acknowledged event is lost", number)
  }
}

type Additions = ReadonlyArray<
  { readonly targets: ReadonlyArray<{ readonly position: number; readonly tags: ReadonlyArray<string> }> }
>

/** The records of the journal itself, which no index helps to find: no hole, and nothing but events and additions of tags. */
const lookAtJournal = (history: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const scan = yield* ledger.scan(undefined)
    const events: Array<number> = []
    const additions: Array<Additions[number]> = []
    let position = 0
    for (;;) {
      const commits = yield* scan.next
      if (commits.length === 0) break
      for (const { entries } of commits) {
        for (const entry of entries) {
          if (entry.position !== ++position) throw violation("positions are not dense", [entry.position, position])
          if (entry.kind === "event") events.push(position)
          else additions.push(entry)
        }
      }
    }
    if (!isDeepStrictEqual(events, history.map((it) => it.position))) {
      throw violation("a read over all is not what the journal holds", [events, history.map((it) => it.position)])
    }
    return { head: position, additions }
  })

const matches = (types: ReadonlyArray<string>, tags: ReadonlyArray<string>) => (stored: Stored) =>
  (types.length === 0 || types.includes(stored.type)) && tags.every((tag) => stored.tags.includes(tag))

const questions: ReadonlyArray<{ readonly types: ReadonlyArray<string>; readonly tags: ReadonlyArray<string> }> = [
  { types: ["Put"], tags: [] },
  { types: ["Moved"], tags: [] },
  ...keys.map((key) => ({ types: [], tags: [`key:${key}`] })),
  { types: ["Moved"], tags: ["key:a", "key:b"] },
  { types: ["Put"], tags: ["key:c"] },
  ...laterTags.map((tag) => ({ types: [], tags: [tag] })),
  { types: ["Put", "Moved"], tags: ["late:1", "key:a"] },
  { types: ["Gone"], tags: [] }
]

/** Every answer of the index is that of a walk over everything. */
const lookAtIndex = (history: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    for (const { tags, types } of questions) {
      const query = Query.fromItems({
        ...(types.length > 0 ? { types } : {}),
        ...(tags.length > 0 ? { tags } : {})
      } as Query.Item)
      const { events } = yield* EventStore.read(query)
      const found = events.map((event) => event.position as number)
      const wanted = history.filter(matches(types, tags)).map((stored) => stored.position)
      if (!isDeepStrictEqual(found, wanted)) throw violation("the index is not a scan", [types, tags, found, wanted])
      const last = yield* EventStore.readLast(query)
      if (last?.position !== wanted.at(-1)) throw violation("the last one is not that of a scan", [types, tags])
    }
  })

/** What conflicted before conflicts still, and what the history holds conflicts. */
const lookAtConditions = (history: ReadonlyArray<Stored>, promises: Promises, lossy: boolean) =>
  Effect.gen(function*() {
    const mustFail = Effect.fnUntraced(function*(query: Query.Any, after: Position | undefined) {
      const exit = yield* Effect.exit(EventStore.append(probe, { failIfEventsMatch: query, after }))
      const error = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : undefined
      if (error?._tag === "Some" && error.value._tag === "AppendConditionFailed") return
      throw violation("a condition passes that must fail", [String(query), after, String(exit)])
    })
    if (history.length > 0) yield* mustFail(Query.all, undefined)
    for (const at of [0, history.length >> 1, history.length - 1]) {
      const stored = history[at]
      if (stored === undefined) continue
      const after = stored.position === 1 ? undefined : stored.position - 1 as Position
      yield* mustFail(Query.tags(stored.tags[0] as Tag), after)
    }
    if (!lossy) { for (const { after, key } of promises.conflicts) yield* mustFail(Query.tags(`key:${key}`), after) }
  })

/** Each record of added tags is one that somebody asked for, whole; what was acknowledged is there, and shows. */
const lookAtTags = (
  history: ReadonlyArray<Stored>,
  additions: Additions,
  promises: Promises,
  lossy: boolean
): void => {
  const asked = new Set(promises.additions.map(({ tag, targets }) => `${tag} ${targets}`))
  const found = new Set(additions.map(({ targets }) => `${targets[0]?.tags} ${targets.map((it) => it.position)}`))
  for (const addition of found) {
    if (!asked.has(addition)) throw violation("tags were added that nobody asked for, or half of them", addition)
  }
  const tagsAt = new Map(history.map(({ position, tags }) => [position, tags]))
  for (const { fate, tag, targets } of promises.additions) {
    if (targets.length === 0) continue
    const isThere = found.has(`${tag} ${targets}`)
    if (fate === "acked" && !isThere && !lossy) throw violation("added tags are lost", [tag, targets])
    if (isThere && !targets.every((at) => tagsAt.get(at)?.includes(tag))) throw violation("added tags do not show", tag)
  }
}

const lookAtFiles = (disk: MountedDisk.MountedDisk, history: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    const last = history.at(-1)
    if (last === undefined) return
    const maintenance = yield* EventStoreMaintenance
    yield* maintenance.eventFiles.waitFor((yield* EventStore.head)!)
    const names = disk.namesIn(`${store}/events`).filter((name) => /^\d+$/.test(name)).flatMap((folder) =>
      disk.namesIn(`${store}/events/${folder}`).map((name) => `${folder}/${name}`)
    )
    const wanted = history.map(({ position }) => `0000000/${String(position).padStart(10, "0")}.json`)
    const files = names.filter((name) => !name.endsWith(".tags.json") && !name.endsWith(".tmp"))
    if (!isDeepStrictEqual(files, wanted)) {
      throw violation("the event files are not those of the history", [files, wanted])
    }
    for (const { position, tags, type } of history) {
      const name = `${store}/events/0000000/${String(position).padStart(10, "0")}`
      const file = JSON.parse(Buffer.from(disk.contentOf(`${name}.json`)!).toString()) as Stored
      const later = disk.contentOf(`${name}.tags.json`)
      const added = later === undefined ? [] : (JSON.parse(Buffer.from(later).toString()) as Stored).tags
      if (file.position !== position || file.type !== type) {
        throw violation("an event file is another one", file)
      }
      if (!isDeepStrictEqual([...file.tags, ...added], tags)) {
        throw violation("an event file has other tags", [file.tags, added, tags])
      }
    }
  })

const lookAtProjection = Effect.gen(function*() {
  const head = yield* EventStore.head
  if (head === undefined) return
  const context = yield* Layer.build(Layer.fresh(Model.layer))
  yield* Effect.provide(
    Effect.gen(function*() {
      yield* Model.waitFor(head)
      const counted = yield* Stream.runCollect(EventStore.stream(Tally.counted))
      const wanted = Tally.expectedAt(counted, Infinity).map(({ key, position, state, version }) => ({
        key,
        position,
        state,
        version
      }))
      const { entries } = yield* Model.list({ limit: 1000 })
      const found = entries.map(({ key, position, state, version }) => ({ key, position, state, version }))
      if (!isDeepStrictEqual(found, wanted)) {
        throw violation("the projection is not a fold of the history", [found, wanted])
      }
    }),
    context
  )
})

/** With whatever is left of its snapshots. */
const lookAtModel = (history: ReadonlyArray<Stored>) =>
  Effect.gen(function*() {
    const { state } = yield* Decision.build(Sum)
    const folded = history.filter(matches(["Put"], ["key:a"])).map(({ event }) => (event as { readonly n: number }).n)
    const wanted = { count: folded.length, sum: folded.reduce((sum, n) => sum + n, 0) }
    if (!isDeepStrictEqual({ ...state }, wanted)) {
      throw violation("a decision rests on another history", [state, wanted])
    }
  })

let boots = 0
/** A power loss is followed by another start of the machine, which is how what was not synced is known to be uncertain. */
export const boot = (isNew: boolean) =>
  Effect.sync(() => {
    if (isNew) boots++
    ;(Host.thisProcess as { boot: string }).boot = isNew ? `boot-${boots}` : "boot"
  })

/** Opens what a crash left. */
export const checkImage = Effect.fnUntraced(function*(
  disk: MountedDisk.MountedDisk,
  promises: Promises,
  crash: Crash,
  scenario: Scenario,
  stack: Stack
) {
  const options = scenario.options ?? {}
  const lossy = options.durability === "os" && crash === "power loss"
  const exists = disk.namesIn("").includes(store)
  const { folder } = promises
  if (!exists && folder === "there") throw violation("the store is gone")
  if (exists && folder === "gone") throw violation("the store is back")

  yield* boot(crash === "power loss")
  // who only reads, before anybody mends anything
  const reader = exists ? yield* process(stack, disk, { ...options, readOnly: true }, readAll) : []
  const promised: Promises = exists ? promises : { ...nothing, folder: "there" }

  const history = yield* process(
    stack,
    disk,
    options,
    Effect.gen(function*() {
      const history = yield* readAll
      compare(history, promised, lossy)
      const read = reader.map((it) => it.position)
      if (!isDeepStrictEqual(read, history.slice(0, reader.length).map((it) => it.position))) {
        throw violation("a reader saw what is not in the history", read)
      }
      if (crash === "kill" && exists) {
        const acked = promised.batches.filter(({ fate }) => fate === "acked").flatMap(({ positions }) => positions)
        if (acked.some((position) => !read.includes(position))) {
          throw violation("a reader does not see what was acknowledged", read)
        }
      }
      const { additions, head } = yield* lookAtJournal(history)
      lookAtTags(history, additions, promised, lossy)
      yield* lookAtIndex(history)
      yield* lookAtConditions(history, promised, lossy)
      if (scenario.decides === true) yield* lookAtModel(history)
      const told = yield* EventStore.head
      if ((told ?? 0) !== head) throw violation("the head is not the last record", [told, head])
      const { positions } = yield* EventStore.append(probe, { failIfEventsMatch: Query.tags("key:never"), after: told })
      if (positions[0] !== head + 1) throw violation("the next event does not get the next position", [positions, head])
      // who was not answered asks again: it is there once
      const open = promised.batches.filter(({ fate }) => fate === "open")
      const acked = promised.batches.filter(({ fate, number }) =>
        fate === "acked" && history.some(({ event }) => Math.floor((event as { n: number }).n / 100) === number)
      )
      for (const { fate, number, positions, size } of [...open, ...acked.slice(-1)]) {
        const before = history.filter(({ event }) => Math.floor((event as { n: number }).n / 100) === number)
        const again = yield* EventStore.append(eventsOf(number, size) as [Event.Input, ...Array<Event.Input>])
        if (again.duplicate !== before.length > 0) throw violation("a repeated append is stored twice", number)
        if (fate === "acked" && !isDeepStrictEqual(again.positions, positions)) {
          throw violation("a repeated append has other positions", number)
        }
      }
      yield* Stream.runDrain((yield* EventStoreMaintenance).verify)
      const end = yield* readAll
      if (options.eventFiles === true) yield* lookAtFiles(disk, end)
      if (scenario.counts === true) yield* lookAtProjection
      if (scenario.decides === true) yield* lookAtModel(end)
      return end
    })
  )

  // once more, as it is and without the index
  for (const remove of [[], [`${store}/indices`]]) {
    const again = disk.processCrash()
    for (const path of remove) again.remove(path)
    yield* process(
      stack,
      again,
      options,
      Effect.gen(function*() {
        const found = yield* readAll
        if (!isDeepStrictEqual(found, history)) throw violation("the history is another one at the next start", found)
        yield* lookAtIndex(history)
        yield* lookAtConditions(history, nothing, lossy)
      })
    ).pipe(Effect.ensuring(Effect.sync(again.unmount)))
  }

  // and after another power loss
  if (options.durability === "os") return
  const [worst] = disk.crashImages({ max: 1 })
  yield* boot(true)
  const late = yield* process(
    stack,
    worst!,
    options,
    Effect.tap(readAll, (found) => options.eventFiles === true ? lookAtFiles(worst!, found) : Effect.void)
  ).pipe(Effect.ensuring(Effect.sync(worst!.unmount)))
  if (!isDeepStrictEqual(late, history)) throw violation("the history is another one after a second crash", late)
})
