/**
 * Copies what is alive of a log into a new generation when most of the old one is dead, beside the saves: in steps, and the last one
 * copies what changed during the others. A generation that is built anew goes first.
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type { EventDraft } from "../../services/Ledger.ts"
import type { Hooks, Writer } from "./projectionClaim.ts"
import type { StateLog } from "./stateLog.ts"
import * as Records from "./stateRecords.ts"

/** A log that is smaller is left alone. */
const leastBytes = 1024 * 1024
/** What is copied in one step: others come in between. */
const stepKeys = 2000
const stepBytes = 4 * 1024 * 1024
/** With so many keys left to copy again, saves may wait for the rest. */
const lastKeys = 500
/** So many times the changed keys are copied before the saves wait all the same. */
const rounds = 8

/** Whether more than half of its bytes are states that were replaced or removed, and the like. */
const isDue = ({ bytes, checkpoint, liveBytes }: StateLog): boolean =>
  checkpoint !== undefined && bytes > leastBytes && liveBytes < bytes / 2

/** Those keys' present states, in steps. */
function* toSteps(log: StateLog, keys: Iterable<string>) {
  let step: Array<string> = []
  let bytes = 0
  for (const key of keys) {
    step.push(key)
    bytes += log.index.get(key)?.place.length ?? 0
    if (step.length < stepKeys && bytes < stepBytes) continue
    yield step
    step = []
    bytes = 0
  }
  if (step.length > 0) yield step
}

/** Runs beside a claim until the scope closes. */
export const make = Effect.fnUntraced(function*(name: string, writer: Writer) {
  const news = Latch.makeUnsafe(true)
  /** Keys that have changed since they were copied. */
  let changed: Set<string> | undefined
  /** After a failure it is tried again when the log has grown. */
  let notBefore = 0
  let running: Fiber.Fiber<void> | undefined

  const isWanted = () => {
    const log = writer.live()
    return log !== undefined && isDue(log) && log.bytes >= notBefore && !writer.isBuilding() && !writer.isLost()
  }

  /** Records that make these keys in the copy what they are in the log. */
  const draftsOf = Effect.fnUntraced(function*(log: StateLog, copy: StateLog, keys: ReadonlyArray<string>) {
    const entries = keys.flatMap((key) => log.index.get(key) ?? [])
    const now = yield* Clock.currentTimeMillis
    const isThere = new Set(entries.map(({ key }) => key))
    const drafts = (yield* log.read(entries)).map(Records.set)
    for (const key of keys) {
      if (!isThere.has(key) && copy.index.get(key) !== undefined) drafts.push(Records.removed(key, now))
    }
    return drafts
  })

  const copyKeys = Effect.fnUntraced(function*(log: StateLog, copy: StateLog, keys: Iterable<string>) {
    for (const step of toSteps(log, keys)) {
      const drafts = yield* draftsOf(log, copy, step)
      if (drafts.length > 0) yield* writer.commit(copy, drafts as unknown as Arr.NonEmptyArray<EventDraft>)
      yield* Effect.yieldNow
    }
  })

  /** All that changed, a last time, while saves wait; then the copy takes the log's place. */
  const finish = Effect.fnUntraced(function*(log: StateLog, copy: StateLog) {
    if (writer.live() !== log || writer.isBuilding()) return false
    yield* copyKeys(log, copy, changed ?? [])
    yield* writer.commit(copy, [Records.checkpoint(log.checkpoint!, yield* Clock.currentTimeMillis)])
    if (copy.index.size !== log.index.size) {
      return yield* Effect.die(new Error(`the copy of the read models of ${name} is not whole`))
    }
    yield* writer.promote(copy, true)
    return true
  })

  const compact = Effect.gen(function*() {
    const log = writer.live()
    if (log === undefined) return
    const definition = log.begin?.definition ?? ""
    yield* Effect.acquireUseRelease(
      writer.turn(Effect.suspend(() =>
        isWanted() && writer.live() === log
          ? writer.beginLog({ purpose: "compaction", definition })
          : Effect.succeed(undefined)
      )),
      Effect.fnUntraced(function*(copy) {
        if (copy === undefined) return false
        changed = new Set()
        yield* copyKeys(log, copy, [...log.index.entries()].map(({ key }) => key))
        for (let round = 0; round < rounds && changed.size > lastKeys; round++) {
          const again: Set<string> = changed
          changed = new Set()
          yield* copyKeys(log, copy, again)
        }
        return yield* writer.turn(Effect.uninterruptible(finish(log, copy)))
      }),
      (copy, exit) => {
        changed = undefined
        const isDone = Exit.isSuccess(exit) && exit.value
        return copy === undefined || isDone || writer.isLost() || writer.live() === copy
          ? Effect.void
          : Effect.ignore(writer.removeLog(copy))
      }
    )
  }).pipe(
    Effect.catchTag("ClaimLost", () => Effect.void),
    Effect.catchCause((cause) => {
      if (Cause.hasInterruptsOnly(cause)) return Effect.void
      notBefore = (writer.live()?.bytes ?? 0) * 2
      return Effect.logWarning(`the read models of ${name} are not made smaller for the time being`, cause)
    })
  )

  const scope = yield* Effect.scope
  yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
    yield* news.await
    news.closeUnsafe()
    if (!isWanted()) return
    running = yield* Effect.forkIn(compact, scope)
    yield* Fiber.await(running)
    running = undefined
  })))

  const hooks: Hooks = {
    changed: (keys) => {
      if (changed !== undefined) { for (const key of keys) changed.add(key) }
      if (isWanted()) news.openUnsafe()
    },
    replaced: () => news.openUnsafe(),
    beforeBegin: Effect.suspend(() => running === undefined ? Effect.void : Fiber.interrupt(running))
  }
  return hooks
})
