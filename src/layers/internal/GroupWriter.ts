/**
 * The one writer of a process: appends of all fibers meet here. It takes what is waiting, makes sure that it may write and has seen
 * what others committed, checks each condition against the index and against what it staged before it, and commits the group with
 * one write and one sync.
 */
import type * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { AppendCondition } from "../../AppendCondition.ts"
import * as Json from "../../internal/json.ts"
import * as Limits from "../../internal/limits.ts"
import * as Metrics from "../../internal/metrics.ts"
import { ofCause } from "../../internal/text.ts"
import type { Position } from "../../Position.ts"
import * as Query from "../../Query.ts"
import * as EventStore from "../../services/EventStore.ts"
import { Index } from "../../services/Index.ts"
import * as Ledger from "../../services/Ledger.ts"
import { type History, toHead, toStoreError } from "./History.ts"
import * as Format from "./ledgerFormat.ts"
import { elapsed, inRealTime } from "./realTime.ts"

// options

/** A group takes so many bytes at the most, or one batch. */
const groupBytes = 8 * 1024 * 1024
/** How long the lock is kept after somebody else was seen waiting, in milliseconds. */
const keepWhenContended = 50
/**
 * How long it is kept for who was just told of a conflict, or asked for it before they read, in milliseconds: they read (again) and
 * come back at once. Without the lock they would come back behind another turn of the others, and find another conflict, for ever.
 */
const keepAfterConflict = 15
/** How long it is kept with nothing to write and nobody waiting, in milliseconds. */
const keepWhenIdle = 1000
/** After so many groups of one caller it is looked whether others would come. */
const hurriedGroups = 16
/** How often an idle holder looks whether somebody waits, in milliseconds. */
const idleLook = 20
/** How often a writer that waits takes in what the others commit, in milliseconds. */
const followInterval = 5
/** How often a busy holder looks, in milliseconds. */
const busyLook = 5

// models

export interface GroupWriter {
  readonly append: (
    events: Arr.NonEmptyReadonlyArray<EventStore.EncodedEvent>,
    condition: AppendCondition | undefined
  ) => Effect.Effect<EventStore.Appended, EventStore.AppendError>
  /** Commits tags that are added to older events, as a record of their own. */
  readonly addTags: (
    targets: Arr.NonEmptyReadonlyArray<Ledger.Target>
  ) => Effect.Effect<EventStore.Appended, EventStore.AppendError>
  /** Takes the right to write, having seen everything, and keeps it as after a conflict. */
  readonly reserve: Effect.Effect<void, EventStore.EventStoreError>
  /** Whether appends wait or are being written. */
  readonly isBusy: () => boolean
}

type Failure = EventStore.AppendError
type Answer = Exit.Exit<EventStore.Appended, Failure>

type Resume = (exit: Answer) => void

interface Request {
  readonly events: ReadonlyArray<EventStore.EncodedEvent>
  readonly batch: Ledger.Batch
  readonly bytes: number
  readonly condition: AppendCondition | undefined
  /** The ids that the caller gave. */
  readonly ids: ReadonlyArray<string>
  /** Gives the answer to whoever waits for it. */
  resume: Resume
  /** From now on its outcome decides, whatever becomes of the fiber that waits. */
  isStaged: boolean
}

/** What goes into one write. */
interface Group {
  /** The history's last position when staging began: all conditions were checked up to there, and nothing may have come since. */
  readonly behind: number
  readonly batches: Array<Ledger.Batch>
  readonly requests: Array<Request>
  /** Answered with the group, and failing with it: what depends on a batch that is staged before. */
  readonly dependent: Array<
    { readonly request: Request; readonly answer: (appended: ReadonlyArray<EventStore.Appended>) => Answer }
  >
  bytes: number
  /** What is staged, in order, and where in that order which types and tags occur. */
  readonly staged: Array<{ readonly batch: number; readonly event: number; readonly subject: EventStore.EncodedEvent }>
  readonly types: Places
  readonly tags: Places
  /** In which batch an id that a caller gave is. (Those that the store made belong to nobody else.) */
  readonly ids: Map<string, number>
}

const emptyGroup = (behind: number): Group => ({
  behind,
  batches: [],
  requests: [],
  dependent: [],
  bytes: 0,
  staged: [],
  types: new Map(),
  tags: new Map(),
  ids: new Map()
})

/** Ascending numbers by key. Most keys have one, for which no list is made. */
type Places = Map<string, number | Array<number>>

const note = (places: Places, key: string, at: number): void => {
  const known = places.get(key)
  if (known === undefined) places.set(key, at)
  else if (typeof known === "number") places.set(key, [known, at])
  else known.push(at)
}

const none: ReadonlyArray<number> = []

const placesOf = (places: Places, key: string): ReadonlyArray<number> => {
  const known = places.get(key)
  return known === undefined ? none : typeof known === "number" ? [known] : known
}

const refused = (reason: EventStore.AppendRefused["reason"]) => new EventStore.AppendRefused({ reason })

// constructors

export const make = (
  history: History,
  options: {
    /** Told after each commit. */
    readonly onCommit?: (() => void) | undefined
  } = {}
): Effect.Effect<GroupWriter, never, Ledger.Ledger | Index | Scope.Scope> =>
  Effect.gen(function*() {
    const ledger = yield* Ledger.Ledger
    const index = yield* Index
    const context = yield* Effect.context<never>()
    let queue: Array<Request> = []
    let isClosed = false
    let isWriting = false
    const work = Latch.makeUnsafe(false)

    const answer = (request: Request, exit: Answer) => request.resume(exit)
    const failAll = (requests: ReadonlyArray<Request>, error: Failure) => {
      for (const request of requests) answer(request, Exit.fail(error))
    }
    const closed = () => new EventStore.EventStoreError({ reason: new EventStore.StoreClosed() })

    /** Who waits for the right to write, with nothing to write yet. */
    let reservations: ReadonlyArray<Deferred.Deferred<void, EventStore.EventStoreError>> = []
    const failReservations = (
      which: (reservation: Deferred.Deferred<void, EventStore.EventStoreError>) => boolean,
      error: EventStore.EventStoreError
    ) => {
      for (const reservation of reservations) {
        if (which(reservation)) Deferred.doneUnsafe(reservation, Effect.fail(error))
      }
      reservations = reservations.filter((reservation) => !which(reservation))
    }

    /** When somebody was last told of a conflict, or that what they read now will probably hold: they are expected back. */
    let lastExpected = -Infinity

    // staging --------------------------------------------------------------------------------------------------------

    /** What the group holds under these ids: nothing, a whole batch that is this one, or something else. */
    const stagedTwin = (
      group: Group,
      request: Request
    ): { readonly batch: number } | EventStore.EventIdConflict | undefined => {
      const found = request.ids.map((id) => group.ids.get(id))
      const at = found.find((batch) => batch !== undefined)
      if (at === undefined) return undefined
      const staged = group.requests[at]!
      if (found.every((batch) => batch === at) && isSame(staged, request)) return { batch: at }
      return new EventStore.EventIdConflict({
        id: request.ids[found.findIndex((batch) => batch !== undefined)]!,
        problem: "another append that is being written has this id"
      })
    }

    /** The same for what is committed. */
    const committedTwin = Effect.fnUntraced(function*(request: Request) {
      if (!index.mayHaveIds(request.ids)) return undefined
      const candidates = yield* index.findIds(request.ids)
      if (candidates.length === 0) return undefined
      const places = new Map(candidates.map((candidate) => [candidate.position, candidate]))
      const byId = new Map<string, Ledger.EventRecord>()
      const wanted = new Set(request.ids)
      for (const record of yield* ledger.read(candidates)) {
        if (record.kind === "event" && wanted.has(record.metadata.id)) byId.set(record.metadata.id, record)
      }
      if (byId.size === 0) return undefined
      const first = byId.get(request.ids.find((id) => byId.has(id))!)!
      const conflict = (problem: string) =>
        new EventStore.EventIdConflict({ id: first.metadata.id, position: first.position, problem })
      if (request.ids.length < request.events.length) {
        return conflict("this append has events without a given id, so it cannot be a repetition")
      }
      const records: Array<Ledger.EventRecord> = []
      for (const { metadata: { id } } of request.events) {
        const record = byId.get(id)
        if (record === undefined) return conflict(`no event has the id ${JSON.stringify(id)} of this append`)
        records.push(record)
      }
      for (let i = 1; i < records.length; i++) {
        if (records[i]!.position !== records[0]!.position + i) {
          return conflict("the events with these ids were not appended together, in this order")
        }
      }
      const commit = yield* ledger.commitOf(places.get(records[0]!.position)!)
      if (commit.first !== records[0]!.position || commit.last !== records[records.length - 1]!.position) {
        return conflict("the event was appended in a batch with others")
      }
      const differs = request.events.find((event, i) => !isEqual({ ...event, data: dataOf(request, i) }, records[i]!))
      if (differs !== undefined) {
        return conflict(
          `event ${JSON.stringify(differs.metadata.id)} was stored with another type, version, tags or data`
        )
      }
      const appended: EventStore.Appended = {
        positions: records.map(({ position }) => position) as never,
        head: commit.last as Position,
        hash: commit.hash,
        duplicate: true
      }
      return appended
    })

    /** The first staged event that a condition's query finds: the batch and the event's place in it. */
    const stagedMatch = (
      group: Group,
      query: Query.Any
    ): { readonly batch: number; readonly event: number } | undefined => {
      const items = Query.normalize(query)
      if (items === "all") return group.staged[0]
      let first = Infinity
      for (const { tags, types } of items) {
        // the shortest list of those that the event must be in; of the types it may be in any
        const lists = tags.length > 0
          ? tags.map((tag) => placesOf(group.tags, tag))
          : types.map((type) => placesOf(group.types, type))
        for (const list of tags.length > 0 ? [lists.reduce((a, b) => a.length <= b.length ? a : b)] : lists) {
          first = Math.min(first, list.find((at) => Query.matches(query, group.staged[at]!.subject)) ?? Infinity)
        }
      }
      return group.staged[first]
    }

    /** Puts a request into the group, or answers it. */
    const stage = Effect.fnUntraced(function*(group: Group, request: Request) {
      if (request.ids.length > 0) {
        const staged = stagedTwin(group, request)
        if (staged !== undefined) {
          group.dependent.push({
            request,
            answer: (appended) =>
              "batch" in staged
                ? Exit.succeed({ ...appended[staged.batch]!, duplicate: true })
                : Exit.fail(refused(staged))
          })
          return
        }
        const committed = yield* committedTwin(request)
        if (committed !== undefined) {
          answer(request, "positions" in committed ? Exit.succeed(committed) : Exit.fail(refused(committed)))
          return
        }
      }
      if (request.condition !== undefined) {
        const { after, failIfEventsMatch } = request.condition
        if (isBeyond(after)) {
          const head = toHead(history.known())
          answer(request, Exit.fail(refused(new EventStore.PositionBeyondHead({ after: after!, head }))))
          return
        }
        const conflict = yield* history.firstMatch(failIfEventsMatch, after ?? 0)
        const failed = (conflict: number) =>
          Exit.fail(new EventStore.AppendConditionFailed({ failIfEventsMatch, after, conflict: conflict as Position }))
        if (conflict !== undefined) {
          lastExpected = elapsed()
          answer(request, failed(conflict))
          return
        }
        const staged = stagedMatch(group, failIfEventsMatch)
        if (staged !== undefined) {
          group.dependent.push({
            request,
            answer: (appended) => failed(appended[staged.batch]!.positions[staged.event]!)
          })
          return
        }
      }
      put(group, request)
    })

    const isBeyond = (after: number | undefined) => after !== undefined && after > history.known().position

    /** Whether nothing can be in a request's way: what is nearly always so is found without looking at the disk. */
    const isClear = (group: Group, { condition, ids }: Request): boolean => {
      if (ids.length > 0 && (ids.some((id) => group.ids.has(id)) || index.mayHaveIds(ids))) return false
      if (condition === undefined) return true
      const { after, failIfEventsMatch } = condition
      return !isBeyond(after) && !index.mayMatch(failIfEventsMatch, after ?? 0) &&
        stagedMatch(group, failIfEventsMatch) === undefined
    }

    const put = (group: Group, request: Request): void => {
      const batch = group.batches.length
      const { batch: drafts, events } = request
      for (let event = 0; event < events.length; event++) {
        const subject = events[event]!
        const at = group.staged.push({ batch, event, subject }) - 1
        note(group.types, subject.type, at)
        for (const tag of subject.tags) note(group.tags, tag, at)
      }
      for (const id of request.ids) group.ids.set(id, batch)
      group.batches.push(drafts)
      group.requests.push(request)
      group.bytes += request.bytes
    }

    // committing -----------------------------------------------------------------------------------------------------

    /** How many requests come next: as many as fit into a group. Tags are added by a group of their own. */
    const nextGroup = (): ReadonlyArray<Request> => {
      let bytes = 0
      let count = 0
      for (const request of queue) {
        bytes += request.bytes
        if (count > 0 && (bytes > groupBytes || isTags(request) || isTags(queue[0]!))) break
        count++
      }
      return queue.splice(0, count)
    }
    const isTags = (request: Request) => request.events.length === 0

    /** How many callers there were at the end of the last group: those that it answered, and those that waited. */
    let expected = 0
    /** How many groups were begun since the last for which others were given the time to come. */
    let hurried = 0

    /**
     * Whether others may come when they are let run first: who was just answered, often, or who could not yet say what it wants because
     * a medium that is fast never lets anybody run in between. Sharing a sync is worth the turn; a single caller waits now and then only.
     */
    const isWorthWaiting = () => {
      const isWorth = expected > 1 ? queue.length < expected : ++hurried >= hurriedGroups
      if (isWorth) hurried = 0
      return isWorth
    }

    /** Whether another process' commits came before the last group. */
    let isOvertaken = false

    /** What is nearly always so, that nothing is in anybody's way, takes no more effects than the commit itself. */
    const writeGroup = Effect.suspend(() => {
      const requests = nextGroup()
      isOvertaken = false
      for (const request of requests) request.isStaged = true
      const group = emptyGroup(history.known().position)
      for (let i = 0; i < requests.length; i++) {
        const request = requests[i]!
        if (!isClear(group, request)) return Effect.andThen(stageRest(group, requests, i), commit(group))
        put(group, request)
      }
      return commit(group)
    })

    const stageRest = Effect.fnUntraced(function*(group: Group, requests: ReadonlyArray<Request>, from: number) {
      for (let i = from; i < requests.length; i++) {
        const request = requests[i]!
        if (isClear(group, request)) {
          put(group, request)
          continue
        }
        const staged = yield* Effect.exit(stage(group, request))
        // damage that its condition needs: this one fails, the others go on
        if (Exit.isFailure(staged)) answer(request, mapped(staged))
      }
    })

    const commit = (group: Group): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (group.batches.length === 0) return Effect.void
        const start = elapsed()
        return Effect.matchCauseEffect(history.commit(ledger.commit(group.batches as never, group.behind)), {
          onFailure: (cause) => settle(group, Exit.failCause(cause), start),
          onSuccess: (outcome) => settle(group, Exit.succeed(outcome), start)
        })
      })

    /** Answers who is in the group; what is left to do is a look at what others committed. */
    const settle = (
      group: Group,
      outcome: Exit.Exit<Ledger.Outcome, Ledger.LedgerError | Ledger.CommitOutcomeUnknown>,
      start: number
    ): Effect.Effect<void> => {
      isOwner = Exit.isSuccess(outcome) && outcome.value.committed === group.batches.length
      expected = group.requests.length + queue.length
      if (Exit.isFailure(outcome)) {
        const exit = mapped(outcome)
        for (const request of group.requests) answer(request, exit)
        for (const { request } of group.dependent) answer(request, exit)
        return Effect.void
      }
      const { commits, committed, hashes } = outcome.value
      const appended: Array<EventStore.Appended> = []
      let position = group.behind
      let events = 0
      for (let i = 0; i < committed; i++) {
        const positions = group.batches[i]!.map(() => ++position as Position)
        events += group.requests[i]!.events.length
        appended.push({ positions: positions as never, head: position as Position, hash: hashes[i]!, duplicate: false })
      }
      // Before anybody is answered, so that who was answered is counted.
      if (committed > 0) {
        // tags that are added are no events
        if (events > 0) Metrics.commitSize.updateUnsafe(events, context)
        Metrics.commitDuration.updateUnsafe(elapsed() - start, context)
      }
      const answerAll = () => {
        if (again.length === 0) {
          for (const { answer: made, request } of group.dependent) answer(request, made(appended))
        }
        for (let i = 0; i < committed; i++) answer(group.requests[i]!, Exit.succeed(appended[i]!))
        options.onCommit?.()
      }
      // What another process's commits overtook begins again: conditions are checked anew. Callers see latency only.
      const again = group.requests.slice(committed)
      if (again.length > 0) {
        for (const { request } of group.dependent) again.push(request)
        for (const request of again) request.isStaged = false
        queue = [...again, ...queue]
        isOvertaken = true
      }
      if (again.length > 0 || commits.length === 0) return Effect.andThen(catchUp, Effect.sync(answerAll))
      answerAll()
      return Effect.void
    }
    const catchUp = Effect.ignore(history.catchUp)

    const mapped = (
      exit: Exit.Failure<unknown, Ledger.LedgerError | Ledger.CommitOutcomeUnknown>
    ): Exit.Exit<never, Failure> =>
      Exit.mapError(exit, (error): Failure =>
        error._tag === "CommitOutcomeUnknown"
          ? new EventStore.AppendOutcomeUnknown({ cause: error.cause })
          : toStoreError(error)) as Exit.Exit<never, Failure>

    // the writer's life ----------------------------------------------------------------------------------------------

    let holds = false
    const holding = Latch.makeUnsafe(false)
    /** Whether the last group went as it should, with the right to write that was there. */
    let isOwner = false
    let lastAsked = -Infinity
    let contendedSince: number | undefined
    let lastLook = -Infinity
    let lastWork = -Infinity

    const release = Effect.suspend(() => {
      holds = false
      contendedSince = undefined
      return ledger.release
    })

    const isTimeToLook = (interval: number) => holds && elapsed() - lastLook >= interval

    /** Looks whether somebody waits, not more often than `interval`, and gives way when it is time. */
    const giveWay = (interval: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        if (!isTimeToLook(interval)) return Effect.void
        const now = elapsed()
        lastLook = now
        return Effect.flatMap(ledger.shouldRelease, (contended) => {
          if (!contended) {
            contendedSince = undefined
            return queue.length === 0 && now - lastWork >= keepWhenIdle ? release : Effect.void
          }
          contendedSince ??= now
          const isWanted = queue.length > 0 || now - lastExpected < keepAfterConflict
          return isWanted && now - contendedSince < keepWhenContended ? Effect.void : release
        })
      })

    /** Takes in what the present writer commits while its turn is waited for, so that little of it is left to read then. */
    const followMeanwhile = inRealTime(Effect.forever(Effect.andThen(Effect.sleep(followInterval), catchUp)))

    const acquire = Effect.gen(function*() {
      const start = elapsed()
      // who comes while this waits for the lock has a time-out of its own
      const asked = new Set(queue)
      const reserved = new Set(reservations)
      const isNew = yield* Effect.exit(holds ? ledger.acquire : Effect.raceFirst(ledger.acquire, followMeanwhile))
      isOwner = Exit.isSuccess(isNew)
      lastAsked = elapsed()
      if (Exit.isSuccess(isNew)) {
        if (!isNew.value) return true
        if (!holds) Metrics.lockWait.updateUnsafe(elapsed() - start, context)
        holds = true
        holding.openUnsafe()
        const seen = yield* Effect.exit(history.catchUp)
        if (Exit.isSuccess(seen)) return true
        failAll(queue.splice(0), mappedError(seen))
        failReservations(() => true, mappedError(seen))
      } else if (!Exit.hasInterrupts(isNew)) {
        holds = false
        failAll(queue.filter((request) => asked.has(request)), mappedError(isNew))
        queue = queue.filter((request) => !asked.has(request))
        failReservations((reservation) => reserved.has(reservation), mappedError(isNew))
      } else {
        return yield* isNew
      }
      return false
    })
    const mappedError = (
      exit: Exit.Failure<unknown, Parameters<typeof toStoreError>[0]>
    ): EventStore.EventStoreError => {
      const error = Exit.findErrorOption(exit)
      return error._tag === "Some"
        ? toStoreError(error.value)
        : new EventStore.EventStoreError({ reason: new EventStore.StoreUnavailable({ cause: exit.cause }) })
    }

    /** Tells those who reserved that it is their turn. The right to write is there; everything that was committed is to be seen. */
    const grant = Effect.gen(function*() {
      const granted = new Set(reservations)
      const seen = yield* Effect.exit(history.catchUp)
      if (Exit.isFailure(seen)) return failReservations((reservation) => granted.has(reservation), mappedError(seen))
      lastExpected = elapsed()
      for (const reservation of granted) Deferred.doneUnsafe(reservation, Effect.void)
      reservations = reservations.filter((reservation) => !granted.has(reservation))
    })

    const run = Effect.gen(function*() {
      for (;;) {
        if (queue.length === 0 && reservations.length === 0) {
          work.closeUnsafe()
          isWriting = false
          if (isTimeToLook(idleLook)) yield* giveWay(idleLook)
          yield* work.await
          continue
        }
        isWriting = true
        if (isWorthWaiting()) yield* Effect.yieldNow
        // The right to write lasts longer than a group: a right that was lost shows when the group is committed, at the latest.
        const isSure = holds && isOwner && elapsed() - lastAsked < busyLook
        if (!isSure && !(yield* acquire)) continue
        // before those who reserved: they shall see it
        yield* Effect.uninterruptible(writeGroup)
        if (reservations.length > 0 && !isOvertaken) yield* Effect.uninterruptible(grant)
        lastWork = elapsed()
        if (isTimeToLook(busyLook)) yield* giveWay(busyLook)
      }
    })
    // An idle holder looks on its own: the loop above sleeps until there is work.
    const lookWhenIdle = Effect.gen(function*() {
      for (;;) {
        if (!holds) holding.closeUnsafe()
        yield* holding.await
        yield* Effect.sleep(idleLook)
        // A release that overlaps the beginning of a group does no harm: the ledger then commits nothing, and is asked again.
        if (!isWriting) yield* Effect.uninterruptible(giveWay(idleLook))
      }
    })

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosed = true
        failAll(queue.splice(0), closed())
        failReservations(() => true, closed())
      })
    )
    yield* Effect.forkScoped(run)
    yield* Effect.forkScoped(inRealTime(lookWhenIdle))

    const submit = (request: Request): Effect.Effect<EventStore.Appended, Failure> =>
      Effect.callback((resume) => {
        if (isClosed) return resume(Effect.fail(closed()))
        request.resume = resume
        queue.push(request)
        work.openUnsafe()
        return Effect.suspend(() => {
          if (!request.isStaged) {
            queue = queue.filter((other) => other !== request)
            return Effect.void
          }
          // what is staged goes its way: wait for it, so that nothing happens behind the caller's back
          return Effect.callback<void>((resume) => {
            request.resume = () => resume(Effect.void)
          })
        })
      })

    return {
      append: (events, condition) =>
        Effect.suspend(() => {
          const batch: Array<Ledger.EventDraft> = []
          const ids: Array<string> = []
          let bytes = 0
          for (let at = 0; at < events.length; at++) {
            const event = events[at]!
            const body = encode(event)
            if (typeof body === "string") {
              const { type } = event
              return Effect.fail(refused(new EventStore.InvalidEvent({ index: at, type, problem: body })))
            }
            const line = body.length + Format.lineOverhead
            if (line > Limits.eventBytes) {
              return Effect.fail(refused(
                new EventStore.LimitExceeded({ what: "event bytes", limit: Limits.eventBytes, actual: line, index: at })
              ))
            }
            bytes += line
            if (event.givenId) ids.push(event.metadata.id)
            batch.push({ kind: "event", type: event.type, tags: event.tags, metadata: event.metadata, body })
          }
          if (bytes > Limits.batchBytes) {
            return Effect.fail(refused(
              new EventStore.LimitExceeded({ what: "batch bytes", limit: Limits.batchBytes, actual: bytes })
            ))
          }
          return submit({
            events,
            batch: batch as never,
            bytes,
            condition,
            ids,
            resume: notYet,
            isStaged: false
          })
        }),
      addTags: (targets) =>
        Effect.suspend(() => {
          const body = Format.encodeTags(targets)
          const bytes = body.length + Format.lineOverhead
          if (bytes > Limits.eventBytes) {
            return Effect.fail(refused(
              new EventStore.LimitExceeded({ what: "event bytes", limit: Limits.eventBytes, actual: bytes })
            ))
          }
          return submit({
            events: [],
            batch: [{ kind: "tags", targets, body }],
            bytes,
            condition: undefined,
            ids: [],
            resume: notYet,
            isStaged: false
          })
        }),
      reserve: Effect.suspend(() => {
        if (isClosed) return Effect.fail(closed())
        const reservation = Deferred.makeUnsafe<void, EventStore.EventStoreError>()
        reservations = [...reservations, reservation]
        work.openUnsafe()
        return Effect.onInterrupt(Deferred.await(reservation), () =>
          Effect.sync(() => {
            reservations = reservations.filter((other) => other !== reservation)
          }))
      }),
      isBusy: () => isWriting || queue.length > 0
    }
  })

const notYet = (): void => {}

/** The text of an event, or why it has none: what was checked a moment ago may have getters that say something else by now. */
const encode = (event: EventStore.EncodedEvent): Ledger.Body | string => {
  try {
    return Format.encodeEvent(event)
  } catch (cause) {
    return `it cannot be written (${ofCause(cause)})`
  }
}

/** An event's data as it will be stored. The caller's own object may have changed since. */
const dataOf = ({ batch }: Request, at: number): EventStore.EncodedEvent["data"] => {
  const { body: { text } } = batch[at]!
  return (JSON.parse(`{${text}}`) as {
    readonly data: EventStore.EncodedEvent["data"]
  }).data
}

// equality

/** Whether a batch repeats another: ids, types, versions, tags, and data by structure. The time and the rest of metadata may differ. */
const isSame = (a: Request, b: Request): boolean =>
  a.events.length === b.events.length && a.events.every((event, i) => {
    const other = b.events[i]!
    return event.metadata.id === other.metadata.id &&
      isEqual({ ...event, data: dataOf(a, i) }, { ...other, data: dataOf(b, i) })
  })

const isEqual = (
  a: EventStore.EncodedEvent,
  b: Pick<EventStore.EncodedEvent, "type" | "version" | "tags" | "data">
): boolean =>
  a.type === b.type && a.version === b.version && a.tags.length === b.tags.length &&
  a.tags.every((tag, i) => tag === b.tags[i]) && Json.equals(a.data, b.data)
