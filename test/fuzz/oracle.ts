/**
 * What may be said of a damaged store, and what never: whatever was done to the files, each operation ends in bounded time and memory,
 * with the right answer or with a typed error that names the place.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as Event from "../../src/Event.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as EventStoreMaintenance from "../../src/services/EventStoreMaintenance.ts"
import * as Image from "./image.ts"
import type { Kind } from "./mutations.ts"
import type { EventLine, Found, TagsLine } from "./reference.ts"
import * as Reference from "./reference.ts"
import type { Sample } from "./stores.ts"
import * as Stores from "./stores.ts"
import type * as SubjectModule from "./subject.ts"

// models

/** What the layers of the store, or weakened ones, are. */
export type Subject = typeof SubjectModule

/** Something that must not be. */
export class Violation extends Error {}

const violation = (problem: string): never => {
  throw new Violation(problem)
}

/** How each operation ended, to be counted. */
export interface Tally {
  right: number
  refused: number
}

/** In milliseconds: what takes longer hangs. The machine may be busy. */
const longest = 30_000

// what the answers must be

interface Expected {
  readonly events: ReadonlyMap<number, EventLine>
  readonly additions: ReadonlyMap<number, TagsLine>
  /** What heads there may be. */
  readonly head: (head: number) => boolean
  /** Whether answers may be errors. */
  readonly mayFail: boolean
  /** Whether what is found must be just this; otherwise nothing but these events may be found. */
  readonly isExact: boolean
  /** What else may stand at a position: lines that somebody edited. */
  readonly others?: ReadonlyMap<number, ReadonlyArray<EventLine>>
}

const tagsAt = (
  { position, tags }: EventLine,
  { additions }: Pick<Expected, "additions">,
  head: number
): ReadonlyArray<string> => {
  const out = [...tags]
  for (const [at, { targets }] of additions) {
    if (at > head) continue
    for (const target of targets) {
      if (target.position === position) { for (const tag of target.tags) if (!out.includes(tag)) out.push(tag) }
    }
  }
  return out
}

/** Written down once more, and plainly: the store's own is what is tried. */
const matches = (query: Query.Any, type: string, tags: ReadonlyArray<string>): boolean =>
  query.items === "all" ||
  query.items.some((item) =>
    (item.types === undefined || item.types.some((one) => one === type)) &&
    (item.tags === undefined || item.tags.every((tag) => tags.includes(tag)))
  )

const answerOf = (query: Query.Any, expected: Expected, head: number): ReadonlyArray<EventLine> =>
  [...expected.events.values()]
    .filter((event) => event.position <= head && matches(query, event.type, tagsAt(event, expected, head)))
    .sort((a, b) => a.position - b.position)

/** The first position that breaks a condition without `after`. */
const conflictOf = (query: Query.Any, expected: Expected, head: number): number | undefined =>
  answerOf(query, expected, head)[0]?.position

// running

const show = (cause: unknown): string =>
  cause instanceof Error ? `${cause.message}\n${cause.stack ?? ""}` : String(cause)

const errors = new Set([
  "EventStoreError",
  "LedgerDamaged",
  "LedgerUnsupported",
  "LedgerDeleted",
  "StorageError",
  "AppendOutcomeUnknown",
  "EventDecodeError",
  "ProjectionStoreError",
  "ProjectionStopped"
])

/** Whether an error says where to look. */
const placeProblem = (error: unknown): string | undefined => {
  const { _tag, reason } = error as { readonly _tag: string; readonly reason?: { readonly _tag: string } }
  const said = error as {
    readonly file?: string
    readonly path?: string
    readonly offset?: number
    readonly position?: unknown
  }
  switch (_tag) {
    case "LedgerDamaged":
      return said.file !== undefined && Number.isSafeInteger(said.offset) ? undefined : "names no byte"
    case "LedgerUnsupported":
      return said.file === undefined ? "names no file" : undefined
    case "StorageError":
      return said.path === undefined ? "names no path" : undefined
    case "EventDecodeError":
      return said.position === undefined ? "names no position" : undefined
    case "EventStoreError":
      return reason?._tag === "StoreDamaged" && !(reason as unknown as { readonly place: string }).place.includes("/")
        ? "names no place"
        : ["StoreDamaged", "StoreUnavailable", "StoreUnsupported", "StoreDeleted"].includes(reason?._tag ?? "")
        ? undefined
        : `is none of a damaged store: ${reason?._tag}`
    default:
      return errors.has(_tag) ? undefined : `is none of a damaged store: ${_tag}`
  }
}

/** Its error, if it failed as it may. */
const failureOf = (what: string, exit: Exit.Exit<unknown, unknown>): { readonly _tag: string } | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  for (const reason of exit.cause.reasons) {
    if (reason._tag === "Die" && reason.defect instanceof Violation) throw reason.defect
    if (reason._tag === "Die") violation(`${what} died: ${show(reason.defect)}`)
  }
  const error = Cause.squash(exit.cause) as { readonly _tag: string; readonly message: string }
  if (Cause.hasInterrupts(exit.cause)) violation(`${what} was interrupted`)
  const problem = placeProblem(error)
  if (problem !== undefined) violation(`${what} failed with ${error._tag}, which ${problem}: ${error.message}`)
  return error
}

const inTime = (what: string) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.timeoutOrElse(effect, { duration: longest, orElse: () => Effect.die(new Violation(`${what} hangs`)) })

// comparing

const textOf = (json: unknown): string => {
  try {
    return JSON.stringify(json)
  } catch (cause) {
    return violation(`something was given that is no JSON, or nested too deeply: ${show(cause)}`)
  }
}

const compareEvents = (
  what: string,
  found: ReadonlyArray<Event.SequencedEvent<Event.RawEvent>>,
  expected: Expected,
  query: Query.Any,
  head: number
): void => {
  const wanted = answerOf(query, expected, head)
  const positions = found.map(({ position }) => position as number)
  if (expected.isExact) {
    const missing = wanted.filter(({ position }) => !positions.includes(position)).map(({ position }) => position)
    if (missing.length > 0) violation(`${what} misses ${missing.join()} with the head ${head}`)
  }
  for (let i = 0; i < found.length; i++) {
    const { event, metadata, position, tags, type } = found[i]!
    if (i > 0 && positions[i - 1]! >= positions[i]!) violation(`${what} gives ${positions.join()}`)
    const event_ = expected.events.get(position)
    const others = expected.others?.get(position) ?? []
    if (event_ === undefined && others.length === 0) {
      return violation(`${what} gives position ${position}, which was never there`)
    }
    if (position > head) violation(`${what} gives position ${position}, above the head ${head}`)
    if (!matches(query, type, tags)) violation(`${what} gives position ${position}, which it does not ask for`)
    const { timestamp: _, ...rest } = metadata
    const is = textOf([type, event.version, event.data, rest])
    const ofLine = (line: EventLine): string => {
      const { timestamp: _, ...wantedRest } = line.metadata
      return textOf([line.type, line.version, line.data, wantedRest])
    }
    const shouldBe = event_ === undefined ? "" : ofLine(event_)
    if (is !== shouldBe && !others.some((line) => ofLine(line) === is)) {
      violation(`${what} gives position ${position} as ${is.slice(0, 300)}, not ${shouldBe.slice(0, 300)}`)
    }
    const wantedTags = event_ === undefined ? tags : tagsAt(event_, expected, head)
    if (expected.isExact && textOf(tags) !== textOf(wantedTags)) {
      violation(`${what} gives position ${position} with the tags ${tags.join()}, not ${wantedTags.join()}`)
    }
  }
}

// the event store

/** Questions, in every way: all of them, or a third, by a number. */
const look = (what: string, expected: Expected, tally: Tally, third?: number) =>
  Effect.gen(function*() {
    const count = (name: string, exit: Exit.Exit<unknown, unknown>): boolean => {
      const failure = failureOf(`${what}: ${name}`, exit)
      if (failure === undefined) {
        tally.right++
        return true
      }
      if (!expected.mayFail) violation(`${what}: ${name} failed: ${show(failure)}`)
      tally.refused++
      return false
    }
    const heads = new Set<number>()
    const saw = (name: string, head: number | undefined): number => {
      heads.add(head ?? 0)
      if (!expected.head(head ?? 0)) violation(`${what}: ${name} has the head ${head ?? 0}`)
      return head ?? 0
    }
    for (const [n, query] of Stores.questions.entries()) {
      if (third !== undefined && n % 3 !== third % 3) continue
      const name = `read of ${query}`
      const exit = yield* Effect.exit(inTime(name)(EventStore.read(query)))
      if (count(name, exit) && Exit.isSuccess(exit)) {
        compareEvents(`${what}: ${name}`, exit.value.events, expected, query, saw(name, exit.value.head))
      }
      if ((n + (third ?? 0)) % 3 === 0) {
        const last = yield* Effect.exit(inTime("readLast")(EventStore.readLast(query)))
        if (count("readLast", last) && Exit.isSuccess(last) && heads.size > 0 && expected.isExact) {
          const wanted = answerOf(query, expected, Math.max(...heads)).at(-1)?.position
          if ((last.value?.position as number | undefined) !== wanted) {
            violation(`${what}: readLast of ${query} is ${last.value?.position}, not ${wanted}`)
          }
        }
      }
    }
    const streamed = yield* Effect.exit(
      inTime("stream")(Stream.runCollect(EventStore.stream(Stores.questions[0]!, { backwards: true })))
    )
    if (count("stream", streamed) && Exit.isSuccess(streamed) && heads.size > 0) {
      compareEvents(
        `${what}: stream`,
        [...streamed.value].reverse(),
        expected,
        Stores.questions[0]!,
        Math.max(...heads)
      )
    }
    if (heads.size > 1) violation(`${what}: the heads are ${[...heads].join()}`)
    return [...heads][0]
  })

const verify = Effect.suspend(() => inTime("verify")(Stream.runDrain(EventStoreMaintenance.verify)))

const question = (n: number): Query.Query<Event.RawEvent> => Stores.questions[n % Stores.questions.length]!

/** All that writes. `true`: something was stored. */
const write = (expected: Expected, tally: Tally, n: number) =>
  Effect.gen(function*() {
    const note = (failure: unknown) => failure === undefined ? tally.right++ : tally.refused++
    const readHead = yield* Effect.exit(EventStore.head)
    if (failureOf("head", readHead) !== undefined) return 0
    const head = Exit.isSuccess(readHead) ? readHead.value ?? 0 : 0
    // a condition that must not pass, and one that must
    for (const query of [question(n), question(n + 1), question(n + 4)]) {
      const name = `append unless ${query}`
      const conflict = conflictOf(query, expected, head as number)
      const exit = yield* Effect.exit(
        inTime(name)(EventStore.append(Event.raw("Probe", {}), { failIfEventsMatch: query }))
      )
      if (Exit.isSuccess(exit)) {
        note(undefined)
        if (expected.isExact && conflict !== undefined) violation(`${name} passes, though position ${conflict} matches`)
        return conflict === undefined ? yield* afterwards(expected, tally, n, head as number) : 1
      }
      const found = Exit.findErrorOption(exit)
      if (found._tag === "Some" && found.value._tag === "AppendConditionFailed") {
        note(undefined)
        if (expected.isExact && conflict === undefined) violation(`${name} fails, though nothing matches`)
        const told = found.value.conflict as number
        if (expected.isExact && told > conflict!) {
          violation(`${name} fails for position ${told}, though ${conflict} matches`)
        }
        continue
      }
      note(failureOf(name, exit))
      if (!expected.mayFail) violation(`${name} failed: ${show(Cause.squash(exit.cause))}`)
    }
    return yield* afterwards(expected, tally, n, head as number)
  })

const afterwards = (expected: Expected, tally: Tally, n: number, head: number) =>
  Effect.gen(function*() {
    let stored = 0
    let decided: number | undefined
    const steps: ReadonlyArray<
      readonly [
        string,
        Effect.Effect<unknown, unknown, EventStore.EventStore | EventStoreMaintenance.EventStoreMaintenance>
      ]
    > = [
      ["append", EventStore.append(Event.raw("Probe", JSON.parse(`{"__proto__":{"polluted":true}}`) as {}))],
      ["append with an id", EventStore.append(Event.raw("Probe", { n }, { metadata: { id: `probe-${n}` } }))],
      ["addTags", EventStoreMaintenance.addTags(question(n + 5), () => ["probe:yes"])],
      ["decide", Decision.execute({ sum: Stores.sum }, ({ sum }) => void (decided = sum))]
    ]
    for (const [name, step] of steps) {
      const exit = yield* Effect.exit(inTime(name)(step))
      const failure = failureOf(name, exit)
      if (failure === undefined) {
        tally.right++
        stored++
      } else {
        tally.refused++
        // an event that somebody wrote need not fit its class
        const isOfClass = failure._tag === "EventDecodeError" && name === "decide"
        if (!expected.mayFail && !isOfClass) violation(`${name} failed: ${show(failure)}`)
      }
    }
    // whatever was kept of it
    const sum = answerOf(Query.types("Sold"), expected, head).reduce(
      (sum, { data }) => sum + (data as { count: number }).count,
      0
    )
    if (decided !== undefined && expected.isExact && decided !== sum) {
      violation(`it is decided on the sum ${decided}, not ${sum}`)
    }
    return stored
  })

// a case

const loud = (told: Array<string>) =>
  Logger.layer([Logger.make(({ cause, logLevel, message }) => {
    if (logLevel === "Error" || logLevel === "Fatal") told.push(`${String(message)} ${Cause.pretty(cause)}`)
  })])

const polluted = (): string | undefined => {
  const odd = {} as { readonly polluted?: unknown; readonly n?: unknown }
  return odd.polluted !== undefined || odd.n !== undefined || Object.keys(Object.prototype).length > 0
    ? "every object has a key more"
    : undefined
}

const truthOf = (sample: Sample, mayFail: boolean, found: Found | undefined): Expected => ({
  ...sample.truth,
  head: (head) =>
    found !== undefined && head <= sample.truth.head && head >= found.head &&
    head <= Math.max(found.adoptable, found.head),
  mayFail,
  isExact: true
})

const expectedOf = (kind: Kind, sample: Sample, image: Image.Image, store: string): Expected => {
  const found = Reference.read(image, store)
  switch (kind) {
    case "derived":
    case "harmless":
      return { ...sample.truth, head: (head) => head === sample.truth.head, mayFail: false, isExact: true }
    case "damage":
      return truthOf(sample, true, found)
    case "forged":
      return found !== undefined && !found.isDamaged
        ? {
          ...found,
          head: (head) => head >= found.head && head <= found.adoptable,
          // who reads an event without a time is told so
          mayFail: [...found.events.values()].some(({ metadata }) =>
            Number.isNaN(Date.parse(String(metadata.timestamp)))
          ),
          isExact: true
        }
        : {
          events: found?.events ?? new Map(),
          additions: found?.additions ?? new Map(),
          head: () => true,
          mayFail: true,
          isExact: false
        }
    case "signed": {
      // a line that was edited is what it is now; the others are what they were
      return {
        events: sample.truth.events,
        additions: sample.truth.additions,
        others: Reference.wholeLines(image, store),
        head: () => true,
        mayFail: true,
        isExact: false
      }
    }
  }
}

/** Files that were there must be as they were; a take-over may have cut off what no mark stands behind. */
const unchanged = (before: Image.Image, after: Image.Image, what: string): void => {
  for (const [path, bytes] of before) {
    if (!/\/(ledger\/\d+\.jsonl|store\.json)$/.test(path) || path.includes("/projections/") || bytes === "folder") {
      continue
    }
    const now = after.get(path)
    if (now === undefined || now === "folder") return violation(`${what} removed ${path}`)
    const isBeginning = path.endsWith(".jsonl") && now.length >= Reference.confirmedLength(bytes)
    if (Buffer.compare(now, isBeginning ? bytes.subarray(0, now.length) : bytes) !== 0) {
      violation(`${what} changed ${path}`)
    }
  }
}

/** Opens a damaged store in every way, and looks at all it says. Throws a `Violation`. */
export const check = (
  subject: Subject,
  sample: Sample,
  image: Image.Image,
  kind: Kind,
  n: number,
  tally: Tally,
  open: (image: Image.Image) => Image.Disk = Image.open
): Effect.Effect<void> => {
  const told: Array<string> = []
  const { store } = subject
  return Effect.gen(function*() {
    const expected = expectedOf(kind, sample, image, store)
    const found = Reference.read(image, store)
    const isDamaged = found === undefined || found.isDamaged
    const opening = <A, E>(
      name: string,
      disk: Image.Disk,
      options: SubjectModule.Options,
      effect: Effect.Effect<A, E, SubjectModule.Opened>
    ) =>
      Effect.map(Effect.exit(inTime(name)(subject.opened(effect, disk.layer, options))), (exit) => {
        const failure = failureOf(name, exit)
        if (failure !== undefined) {
          tally.refused++
          if (!expected.mayFail) violation(`${name} failed: ${show(failure)}`)
        }
        return exit
      })

    // reading only
    const before = open(Image.clone(image))
    const readOnly = yield* opening(
      "opening readOnly",
      before,
      { readOnly: true },
      Effect.gen(function*() {
        const head = yield* look("readOnly", expected, tally, n)
        const verified = yield* Effect.exit(verify)
        const failure = failureOf("verify", verified)
        if (failure === undefined && isDamaged && kind !== "derived" && kind !== "harmless") {
          violation("verify finds nothing")
        }
        if (failure !== undefined && !expected.mayFail) violation(`verify failed: ${show(failure)}`)
        return head
      })
    )
    unchangedAll(image, before.image())

    // writing
    const disk = open(Image.clone(image))
    const { durability } = sample
    const written = yield* opening(
      "opening",
      disk,
      { durability, eventFiles: n % 4 === 0 },
      Effect.gen(function*() {
        const head = yield* look("writable", expected, tally)
        if (Exit.isSuccess(readOnly) && readOnly.value !== undefined && head !== undefined && head < readOnly.value) {
          violation(`the head goes back from ${readOnly.value} to ${head}`)
        }
        const stored = yield* write(expected, tally, n)
        return { head, stored }
      })
    )
    if (Exit.isFailure(written)) return unchanged(image, disk.image(), "an opening that was refused")

    // what it is then
    const { head } = written.value
    if (head === undefined) return
    const now = Reference.read(disk.image(), store)
    if (now === undefined) return violation("after writing nothing is left")
    const events = new Map([...expected.events].filter(([position]) => position <= head))
    const additions = new Map([...expected.additions].filter(([position]) => position <= head))
    // what was appended behind damage is found by no reader that begins at the beginning
    for (const [position, line] of now.loose) {
      if (position <= head) continue
      if ("targets" in line) additions.set(position, line)
      else events.set(position, line)
    }
    for (const [position, event] of now.events) if (position > head) events.set(position, event)
    for (const [position, addition] of now.additions) if (position > head) additions.set(position, addition)
    const later: Expected = { ...expected, events, additions, head: (head) => head === now.head || !expected.isExact }
    yield* opening("opening again", disk, { durability, readOnly: true }, look("again", later, tally, n + 1))
  }).pipe(
    Effect.provide(loud(told)),
    Effect.tap(() =>
      Effect.sync(() => {
        if (told.length > 0) violation(`logged: ${told.join("\n")}`)
        const problem = polluted()
        if (problem !== undefined) violation(problem)
      })
    )
  )
}

const unchangedAll = (before: Image.Image, after: Image.Image): void => {
  for (const [path, bytes] of before) {
    const now = after.get(path)
    const isSame = now === bytes ||
      (now !== undefined && now !== "folder" && bytes !== "folder" && Buffer.compare(now, bytes) === 0)
    if (!isSame) violation(`reading only changed ${path}`)
  }
  for (const path of after.keys()) {
    if (!before.has(path) && !isImplied(path, before)) violation(`reading only made ${path}`)
  }
}

/** A folder above a file. */
const isImplied = (path: string, image: Image.Image): boolean =>
  [...image.keys()].some((other) => other.startsWith(`${path}/`))

// read models

/** States of a projection are right in the end, and never wrong before. */
export const checkStates = (
  subject: Subject,
  sample: Sample,
  image: Image.Image,
  kind: Kind,
  tally: Tally,
  open: (image: Image.Image) => Image.Disk = Image.open
): Effect.Effect<void> => {
  const told: Array<string> = []
  const { Sales, store, withSales } = subject
  const mayBeAnything = kind === "signed"
  const wanted = (key: string) => textOf(sample.sales.get(key) ?? null)
  const compare = (what: string, key: string, state: unknown, mayBeEarlier: boolean) => {
    const is = textOf(state ?? null)
    // a tail that is gone is counted again
    if (mayBeAnything || (mayBeEarlier && (state === undefined || sample.earlier.get(key)?.has(is)))) return
    if (is !== wanted(key)) violation(`${what}: the state of ${JSON.stringify(key)} is ${is}, not ${wanted(key)}`)
  }
  return Effect.gen(function*() {
    const keys = [...sample.sales.keys(), ...Stores.odd]
    // as a reader beside whoever runs it
    const readOnly = open(Image.clone(image))
    const read = yield* Effect.exit(
      inTime("reading states")(Effect.scoped(Effect.provide(
        Effect.gen(function*() {
          for (const key of keys) {
            const exit = yield* Effect.exit(Sales.get(key))
            const failure = failureOf("get", exit)
            if (failure !== undefined) tally.refused++
            else if (Exit.isSuccess(exit)) {
              tally.right++
              compare("read only", key, exit.value, true)
            }
          }
        }),
        withSales(readOnly.layer, { readOnly: true })
      )))
    )
    failureOf("reading states", read)
    unchangedAll(image, readOnly.image())

    const disk = open(Image.clone(image))
    const run = yield* Effect.exit(
      inTime("running a projection")(Effect.scoped(Effect.provide(
        Effect.gen(function*() {
          for (const key of keys.slice(0, 2)) {
            const exit = yield* Effect.exit(Sales.get(key))
            if (failureOf("get at first", exit) === undefined && Exit.isSuccess(exit)) {
              compare("at first", key, exit.value, true)
            }
          }
          const head = yield* EventStore.head
          const waited = yield* Effect.exit(
            Effect.timeout(
              Sales.waitFor(head),
              kind === "derived" && !isBlocked(image, store) ? "20 seconds" : "600 millis"
            )
          )
          if (Exit.isFailure(waited)) {
            // a folder in the place of a file is nothing that anybody may remove, nor is what seems to be of a newer version
            const isNewer = /use a newer version|can have a higher number/.test(Cause.pretty(waited.cause))
            if (kind === "derived" && !isBlocked(image, store) && !isNewer) {
              violation(`waiting for the states: ${Cause.pretty(waited.cause)}`)
            }
            tally.refused++
            return
          }
          for (const key of keys) {
            compare("in the end", key, yield* Sales.get(key), false)
          }
          if (!mayBeAnything) {
            const { entries } = yield* Sales.list()
            const listed = entries.map(({ key }) => key).sort().join()
            if (listed !== [...sample.sales.keys()].sort().join()) violation(`the list is ${listed}`)
            const often = (yield* Sales.byTag("often:true")).map(({ key }) => key).sort().join()
            const wantedOften = [...sample.sales].flatMap(([key, { times }]) => times > 1 ? [key] : []).sort().join()
            if (often !== wantedOften) violation(`by tag: ${often}, not ${wantedOften}`)
          }
          tally.right++
          // the store itself is as ever
          compareEvents(
            "beside damaged states",
            (yield* EventStore.read(Stores.questions[0]!)).events,
            { ...sample.truth, head: () => true, mayFail: false, isExact: true },
            Stores.questions[0]!,
            sample.truth.head
          )
        }),
        withSales(disk.layer, { durability: sample.durability })
      )))
    )
    const failure = failureOf("running a projection", run)
    if (failure !== undefined && kind === "derived" && !isBlocked(image, store)) {
      violation(`running a projection failed: ${show(failure)}`)
    }
  }).pipe(
    Effect.provide(loud(told)),
    Effect.tap(() =>
      Effect.sync(() => {
        // a state that somebody edited may not fit the projection, which then stands still, and says so
        if (told.length > 0 && kind !== "signed") violation(`logged: ${told.join("\n")}`)
        const problem = polluted()
        if (problem !== undefined) violation(problem)
      })
    )
  )
}

/** Whether something stands where a folder, or a small file that is replaced, has to be. */
const isBlocked = (image: Image.Image, store: string): boolean => {
  const at = `${store}/projections`
  const isFile = (path: string) => image.has(path) && image.get(path) !== "folder"
  const isFolder = (path: string) => image.get(path) === "folder"
  return isFile(at) || isFile(`${at}/sales`) || isFile(`${at}/sales/1`) || isFolder(`${at}/sales/1/current.json`) ||
    isFolder(`${at}/sales/1/notice.json`)
}
