/**
 * One projection in one process: gets the claim when nobody else has it, counts events as they come, builds anew beside that, and
 * answers reads from whatever generation is live, whoever runs it.
 *
 * All of it goes by real time: a test's clock that stands still must not keep a read model from being brought up to date.
 */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as metrics from "../../internal/metrics.ts"
import * as text from "../../internal/text.ts"
import type { Position } from "../../Position.ts"
import { EventStore, type EventStoreError } from "../../services/EventStore.ts"
import { EventStoreMaintenance } from "../../services/EventStoreMaintenance.ts"
import * as Projection from "../../services/Projection.ts"
import {
  type Claim,
  type EntryOrder,
  type EntryRange,
  type Generation,
  type Notice,
  ProjectionStore,
  ProjectionStoreError,
  type StoredEntry,
  type WritableGeneration
} from "../../services/ProjectionStore.ts"
import * as ProjectionFold from "./ProjectionFold.ts"
import { elapsed, inRealTime } from "./realTime.ts"

// models

/** When a projection is built by itself. */
export type RebuildPolicy = "never" | "when-needed" | "always"

export interface Runner {
  readonly definition: Projection.Definition
  readonly model: Projection.ReadModel<unknown, string>
}

/** What runs while this process has the claim. */
interface Live {
  readonly generation: WritableGeneration
  readonly fold: ProjectionFold.ProjectionFold
}

/** Somebody who asked for a rebuild and looks on. */
interface Watcher {
  readonly progress: (progress: Projection.Progress) => void
  readonly done: (exit: Exit.Exit<void, Projection.ProjectionError>) => void
  /** Whether the rebuild that it asked for has begun. */
  isServed: boolean
}

/** How often the claim is tried for, while another process has it, in milliseconds. */
const claimInterval = 250
/** How often the holder of the claim looks whether somebody wants it, in milliseconds. */
const controlInterval = 250
/** How long a position without a change waits to be saved together with one, in milliseconds: others wait for it. */
const quietTime = 100
/** How often other processes' progress is looked for while somebody waits for it, in milliseconds. */
const firstLook = 2
const lastLook = 50
/** After what made it stop, it is tried again: at first after so many milliseconds, then doubling. */
const firstRetry = 100
const longestRetry = 30_000
/** So many failures of the event store in a row are waited out; with more, whoever waits for the projection is told. */
const patience = 5
/** States are saved at least so often while building, in milliseconds, so that a kill costs no more than that. */
const buildSaveInterval = 5000
/** How often progress is told, in milliseconds. */
const progressInterval = 100

// constructors

export const make = Effect.fnUntraced(function*(
  definition: Projection.Definition,
  options: { readonly rebuild: RebuildPolicy }
) {
  const { name, version } = definition
  const store = yield* EventStore
  const maintenance = yield* EventStoreMaintenance
  const projections = yield* ProjectionStore
  const slot = yield* projections.open(name, version)
  /** What a generation was built from: with another list of events it would be another one. */
  const fingerprint = JSON.stringify(definition.query.items)
  const labels = { projection: name }
  const eventsCounted = Metric.withAttributes(metrics.projectionEvents, labels)
  const lagGauge = Metric.withAttributes(metrics.projectionLag, labels)

  // state --------------------------------------------------------------------------------------------------------------

  let state: Projection.Status["state"] = "catching up"
  let error: Projection.ProjectionError | undefined
  let live: Live | undefined
  let progress: Projection.Progress | undefined
  let isClosed = false
  let builtOnce = false
  const watchers = new Set<Watcher>()
  /** What the claim's holder should look at: a request, somebody who went, something that ended. */
  const control = Latch.makeUnsafe(false)
  /** Completed, and made anew, at each change that somebody may wait for. */
  let changed = Deferred.makeUnsafe<void>()
  const tell = () => {
    const before = changed
    changed = Deferred.makeUnsafe()
    Deferred.doneUnsafe(before, Effect.void)
  }
  const enter = (next: Projection.Status["state"], why?: Projection.ProjectionError) => {
    state = next
    error = why
    tell()
  }
  const stopped = (reason: Projection.ProjectionStopped["reason"]) => new Projection.ProjectionStopped({ name, reason })
  /** Counting and swapping take turns. */
  const turn = (yield* Semaphore.make(1)).withPermits(1)

  // running ------------------------------------------------------------------------------------------------------------

  /** Counts events as they come, until it cannot. */
  const countLive = Effect.gen(function*() {
    let retry = firstRetry
    let failures = 0
    let failedAt = -1
    for (;;) {
      const exit = yield* Effect.exit(countOn)
      if (Exit.isSuccess(exit)) {
        failures = 0
        if (live!.fold.position() > failedAt) retry = firstRetry
        continue
      }
      const failure = Exit.findErrorOption(exit)
      if (
        failure._tag === "None" || failure.value._tag === "ClaimLost" || failure.value._tag === "ProjectionStoreError"
      ) {
        return yield* exit
      }
      const why = failure.value
      failedAt = live!.fold.position()
      if (why._tag === "EventFailed") yield* stop(why)
      else if (isGone(why)) return yield* exit
      else enter(isWaitedOut(why, ++failures) ? state : "stopped", why)
      yield* Effect.sleep(retry)
      retry = Math.min(longestRetry, retry * 2)
    }
  })

  const stop = Effect.fnUntraced(function*(why: Projection.EventFailed) {
    if (state !== "stopped") {
      yield* Effect.logError(`the projection ${name} stands still at position ${why.position}`, Cause.fail(why.cause))
      yield* note({ position: why.position, problem: text.ofCause(why.cause) })
    }
    enter("stopped", stopped(why))
  })
  let claimed: Claim | undefined
  /** What other processes are told. */
  let noted: Notice | undefined
  const note = (notice: Notice | undefined) =>
    Effect.suspend(() => {
      noted = notice
      return claimed === undefined ? Effect.void : Effect.ignore(claimed.note(notice))
    })
  /** What made it stop is counted. */
  const clearNote = (position: number) =>
    Effect.suspend(() => noted !== undefined && position >= noted.position ? note(undefined) : Effect.void)

  /** One turn of counting: a page, saved, or waiting for the next event. */
  const countOn = Effect.gen(function*() {
    const { events, head, more } = yield* turn(Effect.suspend(() => countPage(live!.fold)))
    const { fold } = live!
    // what made it stop is counted now, if an event is
    if (events > 0 || state !== "stopped") enter(more ? "catching up" : "live")
    yield* clearNote(fold.position())
    if (fold.position() === fold.saved()) unsavedSince = undefined
    else unsavedSince ??= elapsed()
    if (more) return yield* Effect.yieldNow
    if (state === "stopped") enter("live")
    yield* Metric.update(lagGauge, Math.max(0, head - fold.position()))
    const beyond = store.awaitBeyond(toPosition(fold.position()))
    if (unsavedSince === undefined) return yield* beyond
    // events that are not of interest: the position alone is saved when some time has passed, whatever comes meanwhile
    const left = quietTime - (elapsed() - unsavedSince)
    const came = left > 0 ? yield* Effect.timeoutOption(beyond, left) : Option.none()
    if (came._tag === "None") yield* turn(Effect.suspend(() => saveLive(live!.fold)))
  })
  let unsavedSince: number | undefined

  const saveLive = Effect.fnUntraced(function*(fold: ProjectionFold.ProjectionFold) {
    const before = fold.saved()
    yield* fold.save
    if (fold.saved() > before) hasWorked = true
  })

  const countPage = Effect.fnUntraced(function*(fold: ProjectionFold.ProjectionFold) {
    const step = yield* fold.step
    if (fold.changed() > 0) yield* saveLive(fold)
    if (step.events > 0) yield* Metric.update(eventsCounted, step.events)
    // what could not be saved is counted again
    return { events: step.events, head: step.head, more: step.more || fold.position() < step.head }
  })

  /** Builds a generation up to the head, and makes it the live one. */
  const build = Effect.fnUntraced(function*(claim: Claim, generation: WritableGeneration) {
    const fold = yield* ProjectionFold.make(definition, generation)
    const started = elapsed()
    const from = fold.position()
    let events = 0
    let total = 0
    let lastTold = -Infinity
    let lastSave = started
    const report = (isDone: boolean) => {
      const now = elapsed()
      if (!isDone && now - lastTold < progressInterval) return
      lastTold = now
      const processed = fold.position()
      const perSecond = (processed - from) / Math.max(0.001, (now - started) / 1000)
      total = Math.max(total, processed)
      progress = {
        name,
        processed,
        total,
        events,
        perSecond,
        remaining: Duration.seconds(perSecond > 0 ? (total - processed) / perSecond : 0)
      }
      for (const watcher of watchers) if (watcher.isServed) watcher.progress(progress)
      tell()
    }
    report(false)
    const catchUp = Effect.gen(function*() {
      for (;;) {
        const step = yield* fold.step
        events += step.events
        if (step.events > 0) yield* Metric.update(eventsCounted, step.events)
        total = Math.max(total, step.head)
        if (fold.isFull() || elapsed() - lastSave > buildSaveInterval) {
          yield* fold.save
          lastSave = elapsed()
          hasWorked = true
        }
        yield* clearNote(fold.position())
        report(false)
        if (step.more || fold.position() < step.head) {
          // live counting goes on beside it
          yield* Effect.yieldNow
          continue
        }
        yield* fold.save
        lastSave = elapsed()
        // a state that could not be saved has set it back
        if (fold.position() >= step.head) return
      }
    })
    // what ends in order, or by a failure of the event store, loses nothing
    yield* Effect.onError(catchUp, () => Effect.ignore(fold.save))
    // while counting waits: what readers see must not go back
    yield* turn(Effect.gen(function*() {
      for (;;) {
        yield* catchUp
        if (fold.position() >= (live?.fold.position() ?? 0)) break
      }
      yield* Effect.uninterruptible(Effect.andThen(claim.swap, Effect.suspend(() => adopt(claim, "live"))))
    }))
    builtOnce = true
    report(true)
  }, (effect) =>
    Effect.withSpan(effect, "Projection.rebuild", {
      attributes: { "opossum.projection": name, "opossum.projection.version": version },
      captureStackTrace: false
    }))

  /** The claim's live generation becomes what is counted into. */
  const adopt = Effect.fnUntraced(function*(claim: Claim, next: "live" | "catching up") {
    const generation = yield* claim.live
    if (generation === undefined) return
    const fold = yield* ProjectionFold.make(definition, generation)
    live = { generation, fold }
    enter(next)
  })

  /** Whether a generation is of this definition, and of this very history. */
  const fits = Effect.fnUntraced(function*(generation: Generation) {
    const checkpoint = yield* generation.checkpoint
    if (checkpoint === undefined) return true
    return yield* Effect.as(maintenance.checkAnchor(checkpoint), true).pipe(
      Effect.catchReason("EventStoreError", "HistoryDiverged", () => Effect.succeed(false))
    )
  })

  /** While this process has the claim. Ends when it should be given up. */
  const holdClaim = Effect.fnUntraced(function*(claim: Claim) {
    claimed = claim
    yield* Effect.addFinalizer(() =>
      Effect.suspend(() => {
        // a rebuild that was under way begins anew when the claim is had again
        progress = undefined
        for (const watcher of watchers) watcher.isServed = false
        // fibers of this scope have ended; what they counted is saved if it can be
        const last = live === undefined ? Effect.void : live.fold.save
        claimed = undefined
        live = undefined
        return Effect.ignore(last)
      })
    )
    noted = yield* slot.notice
    const present = yield* Effect.catchIf(
      claim.live,
      // it is derived: what is damaged is made anew, unless that is to be asked for
      (error) => error.isDamaged === true && (options.rebuild !== "never" || watchers.size > 0),
      (error) =>
        Effect.logWarning(error.message).pipe(
          Effect.andThen(claim.discard("live")),
          Effect.as(undefined)
        )
    )
    if (present !== undefined && !(yield* fits(present))) {
      yield* Effect.logWarning(`the read models of ${name} are of another history: they are built anew`)
      yield* claim.discard("live")
    } else if (present !== undefined && present.definition === fingerprint) yield* adopt(claim, "catching up")
    const isChanged = present !== undefined && present.definition !== fingerprint
    let unfinished = yield* claim.building
    if (unfinished !== undefined && (unfinished.definition !== fingerprint || !(yield* fits(unfinished)))) {
      yield* claim.discard("building")
      unfinished = undefined
    }
    const wantsBuild = options.rebuild === "always"
      ? !builtOnce
      : options.rebuild === "when-needed" && (live === undefined || isChanged || live.fold.retagged() !== undefined)

    let counting: Fiber.Fiber<void, ProjectionFold.FoldError> | undefined
    let building: Fiber.Fiber<void, ProjectionFold.FoldError> | undefined
    let isOwnBuild = false
    let retryAt: number | undefined
    let retry = firstRetry
    let failedAt = 0
    let failures = 0

    const startBuild = (resume: WritableGeneration | undefined) =>
      Effect.gen(function*() {
        const generation = resume ?? (yield* claim.begin(fingerprint))
        for (const watcher of watchers) watcher.isServed = true
        if (live === undefined) enter("building")
        building = yield* Effect.forkScoped(build(claim, generation))
        building.addObserver(() => control.openUnsafe())
      })
    const endBuild = Effect.fnUntraced(function*(exit: Exit.Exit<void, ProjectionFold.FoldError>) {
      building = undefined
      progress = undefined
      const tellWatchers = () => {
        for (const watcher of watchers) {
          if (!watcher.isServed) continue
          watchers.delete(watcher)
          watcher.done(Exit.mapError(exit, toProjectionError))
        }
      }
      if (Exit.isSuccess(exit)) {
        isOwnBuild = false
        retry = firstRetry
        failures = 0
        return tellWatchers()
      }
      const failure = Exit.findErrorOption(exit)
      if (failure._tag === "None") {
        if (!Exit.hasInterrupts(exit)) return yield* exit
        // whoever asked for it went
        yield* claim.discard("building")
        if (live === undefined) enter("stopped", stopped(new Projection.NotBuilt()))
        return
      }
      const why = failure.value
      // what ends the claim is told when that has ended; where it was only lost, the next one goes on
      if (why._tag === "ClaimLost" || why._tag === "ProjectionStoreError" || isGone(why)) return yield* exit
      // readers keep what they have; where they have nothing, they are told
      if (live !== undefined) {
        error = toProjectionError(why)
        tell()
      } else if (why._tag === "EventFailed") yield* stop(why)
      else enter(isOwnBuild && isWaitedOut(why, ++failures) ? state : "stopped", why)
      // whoever is told finds the status as it was told
      tellWatchers()
      if (!isOwnBuild) return yield* claim.discard("building")
      // one that is due is gone on with, ever more seldom
      // what got on does not pay for what failed before
      const reached = (yield* Effect.flatMap(
        claim.building,
        (generation) => generation?.checkpoint ?? Effect.undefined
      ))?.position ?? 0
      if (reached > failedAt) retry = firstRetry
      failedAt = reached
      retryAt = elapsed() + retry
      retry = Math.min(longestRetry, retry * 2)
    })

    if (wantsBuild || unfinished !== undefined) {
      isOwnBuild = true
      yield* startBuild(unfinished)
    } else if (live === undefined) enter("stopped", stopped(new Projection.NotBuilt()))

    for (;;) {
      if (live !== undefined && counting === undefined) {
        counting = yield* Effect.forkScoped(countLive)
        counting.addObserver(() => control.openUnsafe())
      }
      yield* Effect.timeoutOption(control.await, controlInterval)
      control.closeUnsafe()
      const ended = counting?.pollUnsafe()
      if (ended !== undefined) return yield* ended
      const built = building?.pollUnsafe()
      if (built !== undefined) {
        yield* endBuild(built)
        if (Exit.isSuccess(built) && counting !== undefined) {
          // it may be asleep after a failure that the new build does not have
          yield* Fiber.interrupt(counting)
          counting = undefined
          if (state === "stopped") enter("catching up")
        }
      }
      const wanted = [...watchers].some((watcher) => !watcher.isServed)
      if (building === undefined) {
        if (wanted) {
          retryAt = undefined
          yield* startBuild(undefined)
        } else if (retryAt !== undefined && elapsed() >= retryAt) {
          retryAt = undefined
          yield* startBuild(yield* claim.building)
        }
      } else if (wanted && live === undefined && building.pollUnsafe() === undefined) {
        // the first one is not finished yet; any other may have passed what the request is about
        for (const watcher of watchers) watcher.isServed = true
      } else if (!isOwnBuild && ![...watchers].some((watcher) => watcher.isServed)) yield* Fiber.interrupt(building)
      // a request of this process is served before the claim is given to another
      if (building === undefined && (yield* claim.isWanted)) return
    }
  }, Effect.scoped)

  const run = Effect.gen(function*() {
    for (let retry = firstRetry;;) {
      const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
        const wait = watchers.size > 0
        // asking costs less than trying, and mostly somebody has it
        const claim = !wait && state === "elsewhere" && (yield* slot.isClaimed)
          ? undefined
          : yield* slot.claim({ wait })
        if (claim === undefined) {
          if (watchers.size > 0 && projections.readOnly) failWatchers(stopped(new Projection.NotRunning()))
          return enter("elsewhere")
        }
        hasWorked = false
        yield* holdClaim(claim)
      })))
      if (hasWorked) {
        retry = firstRetry
        logged = undefined
      }
      if (Exit.isFailure(exit)) {
        const failure = Exit.findErrorOption(exit)
        if (failure._tag === "None") return yield* exit
        if (failure.value._tag !== "ClaimLost") {
          // states that lie in a store that was deleted are gone with it
          const why = isGone(failure.value) ? failure.value : yield* Effect.match(store.head, {
            onFailure: (gone) => isGone(gone) ? gone : failure.value,
            onSuccess: () => failure.value
          })
          const told = toProjectionError(why)
          if (logged !== told.message) {
            logged = told.message
            yield* Effect.logWarning(
              `the projection ${name} is not brought up to date for the time being: ${why.message}`
            )
          }
          enter("stopped", told)
          failWatchers(told)
          if (isGone(why)) {
            end = told
            return
          }
          yield* Effect.timeoutOption(control.await, retry)
          control.closeUnsafe()
          retry = Math.min(longestRetry, retry * 2)
          continue
        }
      }
      yield* Effect.timeoutOption(control.await, claimInterval)
      control.closeUnsafe()
    }
  })

  /** Whether anything was counted and saved since the claim was got. */
  let hasWorked = false
  /** What was logged last, and is not over. */
  let logged: string | undefined
  /** Why it will never be run again. */
  let end: Projection.ProjectionError | undefined
  const failWatchers = (why: Projection.ProjectionError) => {
    for (const watcher of watchers) watcher.done(Exit.fail(why))
    watchers.clear()
  }

  const toProjectionError = (
    why: ProjectionFold.FoldError | EventStoreError | ProjectionStoreError
  ): Projection.ProjectionError =>
    why._tag === "EventFailed"
      ? stopped(why)
      : why._tag === "ClaimLost"
      ? new ProjectionStoreError({ name, cause: why })
      : why

  // reading ------------------------------------------------------------------------------------------------------------

  /** Waits for a change, here or (by looking again, less and less often) elsewhere. */
  const waitForChange = (signal: typeof changed, looks: number) =>
    Effect.suspend(() =>
      claimed !== undefined
        ? Deferred.await(signal)
        : inRealTime(
          Effect.asVoid(Effect.timeoutOption(Deferred.await(signal), Math.min(lastLook, firstLook * 2 ** looks)))
        )
    )

  const readError = (why: Projection.ProjectionError): Projection.ReadModelError =>
    why._tag === "ProjectionStopped" || why._tag === "ProjectionStoreError"
      ? why
      : why._tag === "EventStoreError"
      ? stopped(new Projection.SourceFailed({ cause: why }))
      : stopped(new Projection.EventFailed({ position: why.position, cause: why }))

  /** Why nothing will come, as far as can be told; `undefined` if it may. */
  const whyNot: Effect.Effect<Projection.ReadModelError | undefined, ProjectionStoreError> = Effect.suspend(() => {
    if (isClosed) return Effect.succeed(stopped(new Projection.Closed()))
    if (state === "stopped" && error !== undefined) return Effect.succeed(readError(error))
    if (claimed !== undefined || state !== "elsewhere") return Effect.undefined
    return Effect.gen(function*() {
      const notice = yield* slot.notice
      const reached = Effect.map(
        Effect.flatMap(slot.live, (generation) => generation?.checkpoint ?? Effect.undefined),
        (checkpoint) => checkpoint?.position ?? 0
      )
      if (notice !== undefined && notice.position > (yield* reached)) {
        return stopped(new Projection.EventFailed({ position: notice.position, cause: new Error(notice.problem) }))
      }
      // who may run it will do so in a moment
      if (projections.readOnly && !(yield* slot.isClaimed)) return stopped(new Projection.NotRunning())
      return undefined
    })
  })

  /**
   * Whether what is live was found to be of this history, once. Before that it may be what is left of another one: of a store that was
   * set back to a copy, but for its projections. Whoever gets the claim throws that away.
   */
  let isOurs = false

  /** What readers see. What is damaged is as good as not there, where this process is going to make it anew. */
  const present: Effect.Effect<Generation | undefined, Projection.ReadModelError> = Effect.catchIf(
    slot.live,
    (error) =>
      error.isDamaged === true && options.rebuild !== "never" && !projections.readOnly && state !== "elsewhere",
    () => Effect.undefined
  ).pipe(Effect.flatMap((generation) => {
    if (isOurs || generation === undefined) return Effect.succeed(generation)
    return fits(generation).pipe(
      Effect.mapError((error) => error._tag === "EventStoreError" ? readError(error) : error),
      Effect.map((isFit) => {
        isOurs = isFit
        return isFit ? generation : undefined
      })
    )
  }))

  /** What readers see; waits for the first build. */
  const readable: Effect.Effect<Generation, Projection.ReadModelError> = Effect.gen(function*() {
    for (let looks = 0;; looks++) {
      // taken before looking, so that no change in between is missed
      const signal = changed
      if (isClosed) return yield* stopped(new Projection.Closed())
      const generation = yield* present
      if (generation !== undefined) return generation
      const why = yield* whyNot
      if (why !== undefined) return yield* why
      yield* waitForChange(signal, looks)
    }
  })

  const decode = (entry: StoredEntry): Projection.Entry<unknown, string> => ({
    key: entry.key,
    state: definition.decode(entry.state),
    position: entry.position,
    version: entry.version,
    created: DateTime.makeUnsafe(entry.created),
    updated: DateTime.makeUnsafe(entry.updated)
  })
  const decodeAll = (entries: ReadonlyArray<StoredEntry>) =>
    Effect.try({
      try: () => entries.map(decode),
      catch: (cause) =>
        new ProjectionStoreError({
          name,
          cause: new Error("a stored state does not fit the schema: count up the projection's version", { cause })
        })
    })

  const entry = (key: string) =>
    Effect.flatMap(readable, (generation) => generation.read([key])).pipe(
      Effect.flatMap(decodeAll),
      Effect.map((entries) => entries[0])
    )

  const list = (options: Projection.ListOptions = {}) =>
    Effect.suspend(() => {
      const sort = options.sort ?? "key"
      const limit = options.limit ?? 100
      const after = options.after === undefined ? undefined : parseCursor(options.after, sort)
      const problem = !(Number.isSafeInteger(limit) && limit >= 1)
        ? `limit must be a whole number of at least 1, not ${String(limit)}`
        : sort !== "key" && sort !== "created" && sort !== "updated"
        ? `sort must be "key", "created" or "updated", not ${JSON.stringify(sort)}`
        : options.after !== undefined && after === undefined
        ? `after is no cursor of a list sorted by ${sort}`
        : undefined
      if (problem !== undefined) return Effect.die(new TypeError(`list of the projection ${name}: ${problem}`))
      // one more tells whether there is another page
      const range = { sort, backwards: options.backwards ?? false, after, limit: limit + 1 }
      return Effect.flatMap(readable, (generation) => generation.list(range)).pipe(
        Effect.flatMap((found) =>
          Effect.map(decodeAll(found.slice(0, limit)), (entries) => ({
            entries,
            next: found.length > limit ? toCursor(found[limit - 1]!, sort) : undefined
          }))
        )
      )
    })

  const waitFor = (position: Position | undefined) =>
    Effect.gen(function*() {
      if (position === undefined) return
      for (let looks = 0;; looks++) {
        const signal = changed
        if (live !== undefined) {
          // what is counted and changes nothing need not be saved to be seen
          const { fold } = live
          if ((fold.changed() === 0 ? fold.position() : fold.saved()) >= position) return
        } else if (!isClosed) {
          const generation = yield* present
          const checkpoint = generation === undefined ? undefined : yield* generation.checkpoint
          if (checkpoint !== undefined && checkpoint.position >= position) return
        }
        const why = yield* whyNot
        if (why !== undefined) return yield* why
        yield* waitForChange(signal, looks)
      }
    })

  let lastHead: Position | undefined
  const status: Effect.Effect<Projection.Status> = Effect.gen(function*() {
    // where it cannot be asked for, what was known of it last
    lastHead = yield* Effect.orElseSucceed(store.head, () => lastHead)
    const checkpoint = isClosed ? undefined : yield* Effect.orElseSucceed(
      Effect.flatMap(slot.live, (generation) => generation === undefined ? Effect.undefined : generation.checkpoint),
      () => undefined
    )
    const position = live === undefined ? checkpoint?.position : toPosition(live.fold.position())
    const notice = claimed === undefined && state === "elsewhere"
      ? yield* Effect.orElseSucceed(slot.notice, () => undefined)
      : undefined
    const isRun = state !== "elsewhere" || !projections.readOnly ||
      (yield* Effect.orElseSucceed(slot.isClaimed, () => false))
    return {
      name,
      version,
      state: isRun ? state : "stopped",
      position,
      lag: Math.max(0, (lastHead ?? 0) - (position ?? 0)),
      error: error ?? (isRun ? undefined : stopped(new Projection.NotRunning())) ?? (notice &&
        stopped(new Projection.EventFailed({ position: notice.position, cause: new Error(notice.problem) }))),
      retagged: live?.fold.retagged() ?? checkpoint?.retagged,
      rebuild: progress
    }
  })

  const rebuild: Projection.ReadModel<unknown, string>["rebuild"] = Stream.callback<
    Projection.Progress,
    Projection.ProjectionError
  >((queue) =>
    Effect.gen(function*() {
      if (isClosed) return yield* Queue.fail(queue, stopped(new Projection.Closed()))
      if (end !== undefined) return yield* Queue.fail(queue, end)
      const watcher: Watcher = {
        progress: (progress) => void Queue.offerUnsafe(queue, progress),
        done: (exit) => void (Exit.isSuccess(exit) ? Queue.endUnsafe(queue) : Queue.failCauseUnsafe(queue, exit.cause)),
        isServed: false
      }
      watchers.add(watcher)
      control.openUnsafe()
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          watchers.delete(watcher)
          control.openUnsafe()
        })
      )
      return yield* Effect.never
    }), { bufferSize: 64, strategy: "sliding" })

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      failWatchers(stopped(new Projection.Closed()))
      enter("stopped", stopped(new Projection.Closed()))
    })
  )
  yield* run.pipe(
    Effect.catchCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.andThen(
          Effect.logError(`the projection ${name} is not brought up to date any more`, cause),
          Effect.sync(() => {
            end = new ProjectionStoreError({ name, cause: Cause.squash(cause) })
            enter("stopped", end)
            failWatchers(end)
          })
        )
    ),
    inRealTime,
    Effect.forkScoped
  )
  const runner: Runner = {
    definition,
    model: {
      get: (key) => Effect.map(entry(key), (entry) => entry?.state),
      entry,
      list,
      stream: (options = {}) =>
        Stream.paginate(
          undefined as Projection.Cursor | undefined,
          (after) =>
            Effect.map(list({ ...options, after }), ({ entries, next }) =>
              [entries, next === undefined ? noMore : some(next)] as const)
        ),
      byTag: (...tags) =>
        Effect.flatMap(readable, (generation) => generation.byTag(tags)).pipe(Effect.flatMap(decodeAll)),
      size: Effect.flatMap(readable, (generation) => generation.size),
      waitFor,
      status,
      rebuild
    }
  }
  return runner
})

// helpers

const some = Option.some
const noMore = Option.none<Projection.Cursor>()

const toPosition = (position: number): Position | undefined => position === 0 ? undefined : position as Position

/** Whether the store will not come back, however long one waits. */
const isGone = (error: { readonly _tag: string; readonly reason?: { readonly _tag: string } }): boolean =>
  error._tag === "EventStoreError" && (error.reason?._tag === "StoreClosed" || error.reason?._tag === "StoreDeleted")

/** Whether the store may be itself again before anybody needs to know. */
const isWaitedOut = (
  error: { readonly _tag: string; readonly reason?: { readonly _tag: string } },
  failures: number
): boolean => failures <= patience && error.reason?._tag !== "StoreDamaged"

const initials = { key: "k", created: "c", updated: "u" } as const

/** The order, the time that is sorted by, and the key: a place that stays, whatever comes and goes. */
const toCursor = (entry: StoredEntry, sort: EntryOrder["sort"]): Projection.Cursor =>
  `${initials[sort]}${sort === "key" ? 0 : entry[sort]}:${entry.key}` as Projection.Cursor

const parseCursor = (cursor: string, sort: EntryOrder["sort"]): EntryRange["after"] => {
  const [, initial, time, key] = /^([kcu])(-?\d+):([\s\S]+)$/.exec(cursor) ?? []
  return initial === initials[sort] && key !== undefined ? { key, time: Number(time) } : undefined
}
