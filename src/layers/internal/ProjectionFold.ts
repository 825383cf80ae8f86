/**
 * Counts events into one generation of a projection: reads them in pages, folds them into the states of their keys, and saves changed
 * states together with the position reached.
 *
 * Folding is a plain function over the states of a page's keys. What it throws never leaves half an event behind: everything since the
 * last save is forgotten and counted again event by event, up to the one that throws.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type * as Event from "../../Event.ts"
import * as json from "../../internal/json.ts"
import * as limits from "../../internal/limits.ts"
import * as text from "../../internal/text.ts"
import type { Position } from "../../Position.ts"
import { EventStore, type EventStoreError } from "../../services/EventStore.ts"
import { EventStoreMaintenance } from "../../services/EventStoreMaintenance.ts"
import { type Definition, EventFailed } from "../../services/Projection.ts"
import type {
  Checkpoint,
  ClaimLost,
  ProjectionStoreError,
  StoredEntry,
  WritableGeneration
} from "../../services/ProjectionStore.ts"
import * as Tag from "../../Tag.ts"
import { elapsed } from "./realTime.ts"

// models

export type FoldError = EventFailed | EventStoreError | ProjectionStoreError | ClaimLost

export interface ProjectionFold {
  /** Up to here everything is counted, saved or not; 0 before the first. */
  readonly position: () => number
  /** Up to here everything is saved. */
  readonly saved: () => number
  /** How many states are changed and not saved. */
  readonly changed: () => number
  /** Whether so much is changed that it should be saved before going on. */
  readonly isFull: () => boolean
  /** The newest position at which events that are counted here gained tags. */
  readonly retagged: () => Position | undefined
  /**
   * Counts the next events, a page at the most. Fails with `EventFailed` at an event that cannot be counted, when everything
   * before it is saved; asked again, it tries that event again.
   */
  readonly step: Effect.Effect<Step, FoldError>
  /** Saves what was counted. It may find that a state cannot be stored: then all since the last save is counted again, slowly. */
  readonly save: Effect.Effect<void, FoldError>
}

export interface Step {
  readonly events: number
  /** The store's head, as of the page; 0 in an empty store. */
  readonly head: number
  /** Whether there may be more at once. */
  readonly more: boolean
}

/** Events that are read at a time, at the most and at the least. */
const pageSize = 1000
const leastPageSize = 16
/** Counting gives way to other fibers after so many milliseconds, and after so many related events at hand. */
const countingTime = 25
const mostRelated = 5000
/** About how many bytes of events are read at a time. */
const pageBytes = 8 * 1024 * 1024
/** About how many bytes of states are saved at a time: below what a store takes in one step. */
const saveBytes = 40 * 1024 * 1024
/** With more than this the save would be too large; it is then counted again in smaller parts. */
const mostSaveBytes = 56 * 1024 * 1024
/** Changed states that are saved at a time, at the most: each that changes again before it is saved is written once less. */
const mostChanged = 131_072
/** States that are kept at hand between pages, and about how many bytes of them. */
const keptStates = 131_072
const keptBytes = 32 * 1024 * 1024
/** What a state is taken to have before any was measured; rather too much, so that the first save is not too large. */
const bytesAtFirst = 1024
/** With so many changed states some of them are measured. */
const measuredAt = 1000
const sample = 100
/** About what is stored with each state besides its key and tags. */
const recordBytes = 240

/** A key's state at hand. */
interface Slot {
  readonly key: string
  /** `undefined`: there is none (any more). */
  state: unknown
  version: number
  created: number
  updated: number
  position: Position
  /** Whether the generation has an entry of the key. */
  isStored: boolean
  isChanged: boolean
  bytes: number
  /** The last round in which it was used. */
  round: number
}

interface Prepared {
  readonly sequenced: Event.SequencedEvent<Event.Event>
  readonly keys: ReadonlyArray<string>
  readonly related: ReadonlyArray<Event.SequencedEvent<unknown>>
}

/** What went wrong at an event. */
interface Failure {
  readonly position: Position
  readonly cause: unknown
}

const noRelated: ReadonlyArray<Event.SequencedEvent<unknown>> = []

// checks

const keyProblem = (key: unknown): string | undefined =>
  typeof key !== "string"
    ? `is no text but ${key === null ? "null" : typeof key}`
    : key === ""
    ? "is empty"
    : !text.isWellFormed(key)
    ? "has half of a surrogate pair"
    : text.isLongerThan(key, limits.projectionKeyBytes)
    ? `is longer than ${limits.projectionKeyBytes} bytes`
    : undefined

// constructors

/** Goes on where the generation's checkpoint is. */
export const make = Effect.fnUntraced(function*(definition: Definition, generation: WritableGeneration) {
  const store = yield* EventStore
  const maintenance = yield* EventStoreMaintenance
  const { apply, decode, encode, keysOf, name, query, relatedTo, tagsOf } = definition
  const found = yield* generation.checkpoint

  let slots = new Map<string, Slot>()
  let changed = new Set<Slot>()
  let kept = 0
  let round = 0
  let averageBytes = bytesAtFirst
  let isMeasured = false
  let saved: number = found?.position ?? 0
  let position = saved
  let retagged = found?.retagged
  let savedRetagged = retagged
  /** What was counted has the tags that it had at this position, at the least. */
  let taggedAsOf: number = saved
  let isFirstPage = true
  /** Up to `until` so few events are counted at a time, and saved at once: something went wrong there. */
  let caution = { until: 0, size: pageSize }
  /** How many events are read at a time. */
  let size = pageSize
  /** Whether the last page was not counted to its end. */
  let isCutShort = false

  /** Forgets what is not saved, and all states: what threw may have changed them. */
  const startAgain = (until: number, size: number) => {
    slots = new Map()
    changed = new Set()
    kept = 0
    position = saved
    caution = { until: Math.max(until, caution.until), size }
  }
  const isCautious = () => position < caution.until

  // folding: plain functions

  const slotOf = (key: string): Slot => {
    let slot = slots.get(key)
    if (slot === undefined) {
      slot = {
        key,
        state: undefined,
        version: 0,
        created: 0,
        updated: 0,
        position: 0 as Position,
        isStored: false,
        isChanged: false,
        bytes: averageBytes,
        round
      }
      slots.set(key, slot)
      kept += slot.bytes
    }
    slot.round = round
    return slot
  }

  /**
   * Applies events in order, and says how many; stops when it is time (seven are applied at least, if there are so many), and at one that
   * throws, of which nothing is kept.
   */
  const count = (events: ReadonlyArray<Prepared>): number | Failure => {
    const next: Array<unknown> = []
    const until = elapsed() + countingTime
    for (let n = 0; n < events.length; n++) {
      // the clock costs about as much as counting a simple event
      if ((n & 7) === 7 && elapsed() > until) return n
      const { keys, related, sequenced } = events[n]!
      if (keys.length === 0) continue
      const { event, metadata, position, tags, type } = sequenced
      try {
        const fold = apply[event._tag]
        if (fold === undefined) throw new Error(`the projection ${name} has no \`apply\` for ${event._tag}`)
        for (let i = 0; i < keys.length; i++) {
          const key = keys[i]!
          next[i] = fold(slots.get(key)?.state, event, { position, type, event, tags, metadata, key, related })
        }
      } catch (cause) {
        return { position, cause }
      }
      const time = DateTime.toEpochMillis(metadata.timestamp)
      for (let i = 0; i < keys.length; i++) {
        const slot = slotOf(keys[i]!)
        const state = next[i]
        if (state === undefined && slot.state === undefined) continue
        if (slot.state === undefined) {
          slot.version = 0
          slot.created = time
        }
        slot.state = state
        slot.version++
        slot.updated = time
        slot.position = position
        if (!slot.isChanged) {
          slot.isChanged = true
          changed.add(slot)
        }
      }
    }
    return events.length
  }

  /** The keys of each event; stops at one whose keys are none. */
  const keysOfAll = (
    events: ReadonlyArray<Event.SequencedEvent<Event.Event>>
  ): ReadonlyArray<ReadonlyArray<string>> | Failure => {
    const out: Array<ReadonlyArray<string>> = []
    for (const sequenced of events) {
      const { position } = sequenced
      try {
        const keys = keysOf(sequenced)
        for (const key of keys) {
          // one that is at hand was looked at
          const problem = slots.has(key) ? undefined : keyProblem(key)
          if (problem !== undefined) return { position, cause: new Error(`the key ${JSON.stringify(key)} ${problem}`) }
        }
        out.push(keys)
      } catch (cause) {
        return { position, cause }
      }
    }
    return out
  }

  /** How large states are, from a few of them, before any was saved. */
  const measure = () => {
    isMeasured = true
    const some: Encoded = { set: [], removed: [], bytes: 0 }
    const before = kept
    for (const slot of changed) {
      const { bytes } = slot
      if (encodeOne(slot, some) !== undefined || some.set.length >= sample) break
      slot.bytes = bytes
    }
    kept = before
    if (some.set.length > 0) averageBytes = Math.max(1, Math.round(some.bytes / some.set.length))
  }

  /** What is to be saved. */
  interface Encoded {
    readonly set: Array<StoredEntry>
    readonly removed: Array<string>
    bytes: number
  }

  /** Encodes changed states, as many as there is time for. */
  const encodeSome = (left: Iterator<Slot>, out: Encoded): "done" | "more" | Failure => {
    for (const until = elapsed() + countingTime; elapsed() < until;) {
      for (let n = 0; n < 64; n++) {
        const next = left.next()
        if (next.done === true) return "done"
        const failure = encodeOne(next.value, out)
        if (failure !== undefined) return failure
      }
    }
    return "more"
  }

  const encodeOne = (slot: Slot, out: Encoded): Failure | undefined => {
    const { created, key, position, state, updated, version } = slot
    if (state === undefined) {
      if (slot.isStored) out.removed.push(key)
      return undefined
    }
    const fail = (cause: unknown): Failure => ({ position, cause })
    try {
      const encoded = encode(state)
      const measured = json.measure(encoded)
      if (measured.problem !== undefined) {
        return fail(new Error(`the state of ${JSON.stringify(key)}: ${json.format(measured.problem)}`))
      }
      const tags = tagsOf(state, key)
      for (const tag of tags) {
        const problem = Tag.problem(tag)
        if (problem !== undefined) {
          return fail(new Error(`the tag ${JSON.stringify(tag)} of the state of ${JSON.stringify(key)} ${problem}`))
        }
      }
      kept += measured.bytes - slot.bytes
      slot.bytes = measured.bytes
      out.bytes += measured.bytes + recordBytes + Buffer.byteLength(key)
      for (const tag of tags) out.bytes += Buffer.byteLength(tag) + 3
      out.set.push({ key, state: encoded, tags, position, version, created, updated })
      return undefined
    } catch (cause) {
      return fail(cause)
    }
  }

  /** Lets states go that were not used for a while. */
  const tidy = () => {
    if (slots.size <= keptStates && kept <= keptBytes) return
    const drop = (slot: Slot) => {
      slots.delete(slot.key)
      kept -= slot.bytes
    }
    for (const slot of slots.values()) if (!slot.isChanged && slot.round < round) drop(slot)
    for (const slot of slots.values()) {
      if (slots.size <= keptStates && kept <= keptBytes) break
      if (!slot.isChanged) drop(slot)
    }
    round++
  }

  // reading and saving

  /** Fetches the states of keys that are not at hand. */
  const fetch = Effect.fnUntraced(function*(prepared: ReadonlyArray<Prepared>) {
    const missing = new Set<string>()
    for (const { keys } of prepared) for (const key of keys) if (!slots.has(key)) missing.add(key)
    if (missing.size === 0) return undefined
    const entries = saved === 0 ? [] : yield* generation.read([...missing])
    for (const { created, key, position, state, updated, version } of entries) {
      const slot = slotOf(key)
      try {
        slot.state = decode(state)
      } catch (cause) {
        const first = prepared.find(({ keys }) => keys.includes(key))!
        return {
          position: first.sequenced.position,
          cause: new Error(
            `the stored state of ${JSON.stringify(key)} does not fit the schema: count up the projection's version`,
            { cause }
          )
        }
      }
      const { bytes } = json.measure(state)
      kept += bytes - slot.bytes
      Object.assign(slot, { created, position, updated, version, bytes, isStored: true })
    }
    // those that have none are known to have none
    for (const key of missing) slotOf(key)
    return undefined
  })

  const readPage = Effect.fnUntraced(function*(limit: number) {
    const after = position === 0 ? undefined : position as Position
    const read = (before?: Position) => store.read(query, { after, before, limit, maxBytes: pageBytes })
    return yield* Effect.catchTag(read(), "EventDecodeError", (error) =>
      // what stands before it can be counted
      Effect.flatMap(read(error.position), (page) =>
        page.events.length > 0
          ? Effect.succeed({ ...page, isCut: true })
          : Effect.fail(new EventFailed({ position: error.position, cause: error }))).pipe(
          // an event before the one that was named: it was named first by a reader that began elsewhere
          Effect.catchTag("EventDecodeError", (other) =>
            Effect.fail(new EventFailed({ position: other.position, cause: other })))
        ))
  })

  const prepare = Effect.fnUntraced(function*(events: ReadonlyArray<Event.SequencedEvent<Event.Event>>) {
    const keys = keysOfAll(events)
    if ("cause" in keys) return keys
    const prepared: Array<Prepared> = []
    let held = 0
    // the rest comes with the next page
    for (let i = 0; i < events.length && held < mostRelated; i++) {
      const sequenced = events[i]!
      let related = noRelated
      if (relatedTo !== undefined && keys[i]!.length > 0) {
        let wanted
        try {
          wanted = relatedTo(sequenced)
        } catch (cause) {
          return { position: sequenced.position, cause }
        }
        // only what came before: a rebuild must see what the first build saw
        if (wanted !== undefined) {
          const page = yield* Effect.catchTag(
            store.read(wanted, { before: sequenced.position }),
            "EventDecodeError",
            (error) => Effect.succeed({ position: sequenced.position, cause: error })
          )
          if ("cause" in page) return page
          related = page.events
          held += related.length
        }
      }
      prepared.push({ sequenced, keys: keys[i]!, related })
    }
    return prepared
  })

  const countPage = Effect.fnUntraced(
    function*(events: ReadonlyArray<Event.SequencedEvent<Event.Event>>, next: number) {
      const failed = (failure: Failure) => {
        startAgain(events.at(-1)!.position, 1)
        return failure
      }
      const prepared = yield* prepare(events)
      if ("cause" in prepared) return failed(prepared)
      const failure = yield* fetch(prepared)
      if (failure !== undefined) return failed(failure)
      // states and position change together, without a step between them at which an interruption could save the ones alone
      return yield* Effect.sync(() => {
        const counted = count(prepared)
        if (typeof counted !== "number") return failed(counted)
        isCutShort = counted < events.length
        position = isCutShort ? prepared[counted - 1]!.sequenced.position : next
        // slow ones are not read to be thrown away
        size = isCutShort ? Math.max(leastPageSize, counted * 2) : Math.min(pageSize, size * 2)
        return undefined
      })
    }
  )

  const again: Step = { events: 0, head: 0, more: true }

  const step: ProjectionFold["step"] = Effect.gen(function*() {
    const cautious = isCautious()
    const most = cautious ? caution.size : size
    isCutShort = false
    // a failure must not find anything unsaved before it
    if (cautious && position > saved && changed.size > 0) yield* save
    const page = yield* readPage(most)
    if (page.retagged !== undefined && page.retagged > Math.max(taggedAsOf, retagged ?? 0)) retagged = page.retagged
    if (isFirstPage) {
      isFirstPage = false
      taggedAsOf = page.head ?? 0
    }
    const last = page.events.at(-1)
    const more = page.isCut || page.events.length >= most
    const next = Math.max(position, more ? last!.position : page.head ?? 0)
    if (last === undefined) position = next
    else {
      const isAlone = changed.size === 0 && page.events.length === 1
      const failure = yield* countPage(page.events, next)
      if (failure !== undefined) return isAlone ? yield* new EventFailed(failure) : again
    }
    if (cautious && changed.size > 0) yield* save
    else tidy()
    return { events: page.events.length, head: page.head ?? 0, more: more || isCutShort }
  }).pipe(
    Effect.catchTag("EventFailed", (error) =>
      // what was counted before it and is not saved yet is not lost: it is counted again, and saved
      position > saved && changed.size > 0
        ? Effect.andThen(save, Effect.fail(error))
        : Effect.fail(error))
  )

  /** Counts again what was to be saved together, in smaller parts. */
  const saveLess = (at: number) =>
    startAgain(at, Math.max(1, Math.floor((isCautiousAt(saved) ? caution.size : pageSize) / 10)))
  const isSmallest = () => isCautiousAt(saved) && caution.size === 1

  const save: ProjectionFold["save"] = Effect.gen(function*() {
    const at = position
    if (at === saved && retagged === savedRetagged) return
    const encoded: Encoded = { set: [], removed: [], bytes: 0 }
    const left = changed.values()
    for (;;) {
      const result = encodeSome(left, encoded)
      if (result === "done") break
      if (result === "more") {
        yield* Effect.yieldNow
        continue
      }
      const one = isSmallest()
      startAgain(at, 1)
      if (one) return yield* new EventFailed(result)
      return
    }
    const { bytes, removed, set } = encoded
    if (bytes > mostSaveBytes && !isSmallest()) return saveLess(at)
    if (set.length > 0) {
      averageBytes = Math.max(1, Math.round(bytes / set.length))
      isMeasured = true
    }
    const { hash, position: anchored, storeId } = yield* maintenance.anchorAt(at as Position)
    const checkpoint: Checkpoint = {
      storeId,
      position: anchored,
      hash,
      ...(retagged === undefined ? {} : { retagged })
    }
    const isSaved = yield* Effect.as(generation.save({ set, removed, checkpoint }), true).pipe(
      // the bytes are a guess where texts are not ASCII
      Effect.catchIf(
        (error) => error._tag === "ProjectionStoreError" && error.isTooLarge === true && !isSmallest(),
        () => Effect.succeed(false)
      )
    )
    if (!isSaved) return saveLess(at)
    saved = at
    savedRetagged = retagged
    for (const slot of changed) {
      slot.isChanged = false
      slot.isStored = slot.state !== undefined
    }
    changed.clear()
    tidy()
  }).pipe(Effect.uninterruptible)
  const isCautiousAt = (position: number) => position < caution.until

  const fold: ProjectionFold = {
    position: () => position,
    saved: () => saved,
    changed: () => changed.size,
    isFull: () => {
      if (!isMeasured && changed.size >= measuredAt) measure()
      return changed.size >= Math.max(100, Math.min(mostChanged, saveBytes / averageBytes))
    },
    retagged: () => retagged,
    step,
    save
  }
  return fold
})
