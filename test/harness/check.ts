/**
 * What must hold after every step and every crash, told by the real ledger: a crashed disk is opened by fresh processes, which read
 * it, take over, commit, crash again, and are read again.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Format from "../../src/layers/internal/ledgerFormat.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import type * as Ledger from "../../src/services/Ledger.ts"
import { crashImages, type Disk, keptImage, namesIn, worstImage } from "./disk.ts"
import { type Notes, Violation } from "./explorer.ts"
import { direct, type World } from "./process.ts"

export type Service = Ledger.Ledger["Service"]
/** The real one, or a weakened copy of it. */
export type Implementation = Pick<typeof LedgerLive, "make">

export const storeName = "s"

// batches

const drafts = new Map<string, Ledger.EventDraft>()

const draft = (id: string): Ledger.EventDraft => {
  let made = drafts.get(id)
  if (made === undefined) {
    const event = {
      type: "T",
      version: 1,
      tags: [],
      metadata: { id, timestamp: "2025-01-01T00:00:00.000Z" },
      data: `the data of ${id}`
    }
    made = { kind: "event", type: event.type, tags: [], metadata: event.metadata, body: Format.encodeEvent(event) }
    drafts.set(id, made)
  }
  return made
}

/** A batch of two events, so that half of it could be found. */
export const batch = (name: string): Ledger.Batch => [draft(`${name}.1`), draft(`${name}.2`)]

/** The name of the batch that a commit holds. */
export const nameOf = (commit: Ledger.Commit): string => {
  const ids = commit.entries.map((entry) => entry.kind === "event" ? entry.metadata.id : "tags")
  const name = ids[0]!.slice(0, -2)
  if (ids.join() !== `${name}.1,${name}.2`) throw new Violation("a batch is not whole", ids.join())
  return name
}

export const refreshAll = (ledger: Service): Effect.Effect<Array<string>, Ledger.LedgerError> =>
  Effect.gen(function*() {
    const names: Array<string> = []
    for (;;) {
      const commits = yield* ledger.refresh
      if (commits.length === 0) return names
      for (const commit of commits) names.push(nameOf(commit))
    }
  })

/** The history from its beginning, with everything verified. */
const scanAll = (ledger: Service) =>
  Effect.gen(function*() {
    const scan = yield* Effect.scoped(ledger.scan(undefined))
    const names: Array<string> = []
    let position = 0
    for (;;) {
      const commits = yield* scan.next
      if (commits.length === 0) break
      for (const commit of commits) {
        names.push(nameOf(commit))
        const records = yield* ledger.read(commit.entries)
        records.forEach((record, i) => {
          const entry = commit.entries[i]!
          if (record.position !== ++position || entry.position !== position) {
            throw new Violation("positions are not dense", `${record.position} instead of ${position}`)
          }
          const id = entry.kind === "event" ? entry.metadata.id : ""
          if (record.kind !== "event" || record.metadata.id !== id || record.data !== `the data of ${id}`) {
            throw new Violation("an event is not what was written", JSON.stringify(record))
          }
        })
      }
    }
    if (position !== (yield* ledger.cursor).position) throw new Violation("the cursor is not at the history's end")
    return names
  })

// recovery

interface Recovered {
  /** What a process that only reads sees, before anybody recovers. */
  readonly reader: ReadonlyArray<string>
  readonly history: ReadonlyArray<string>
}

const isPrefix = (a: ReadonlyArray<string>, b: ReadonlyArray<string>) =>
  a.length <= b.length && a.every((name, i) => b[i] === name)

const must = <A>(what: string, exit: Exit.Exit<A, unknown>): A => {
  if (Exit.isSuccess(exit)) return exit.value
  const cause = Cause.squash(exit.cause)
  throw cause instanceof Violation
    ? cause
    : new Violation(what, cause instanceof Error ? `${cause.name} ${cause.message}` : String(cause))
}

export interface Settings {
  readonly options?: Partial<LedgerLive.Options>
  /** The store is deleted meanwhile: only batches whose name begins with `n` were committed to the one that came after. */
  readonly deletes?: boolean
  /** Batches that were acknowledged before all this. */
  readonly acked?: ReadonlyArray<string>
  /** What a crash left is opened with this. Default: the real one. */
  readonly recovery?: Implementation
  /** Power is never lost. */
  readonly killsOnly?: boolean
  /** Writes are torn as well, not only lost. */
  readonly torn?: boolean
  /** Several second crashes, not only the worst. */
  readonly thorough?: boolean
}

/** Opens a disk after a crash. Throws if it cannot be used as it should. */
const recover = (image: Disk, settings: Settings): Recovered | "no store" => {
  const options = { ...settings.options, store: storeName }
  const os = options.durability === "os"
  const { make } = settings.recovery ?? LedgerLive
  let reader: ReadonlyArray<string> = []
  if (!namesIn(image, "").includes(storeName)) return "no store"

  const second = direct(
    "recoverer",
    image,
    Effect.gen(function*() {
      const old = yield* make({ ...options, readOnly: true })
      yield* refreshAll(old)
      reader = yield* scanAll(old)
      const ledger = yield* make(options)
      yield* ledger.acquire
      yield* refreshAll(ledger)
      const history = yield* scanAll(ledger)
      const before = (yield* ledger.cursor).position
      const outcome = yield* ledger.commit([batch("extra")])
      if (outcome.committed !== 1) throw new Violation("a commit after a crash does not succeed")
      if (outcome.commits[0]?.first !== before + 1) throw new Violation("the next event does not get the next position")
      yield* refreshAll(old)
      const late = yield* scanAll(old)
      if (late.join() !== [...history, "extra"].join()) {
        throw new Violation(
          "a process that was open does not learn the history",
          `${late.join()} instead of ${history.join()},extra`
        )
      }
      return history
    })
  )
  const history = must("the store is refused after a crash", second.exit)
  if (!isPrefix(reader, history)) {
    throw new Violation("a reader saw what is not in the history", `${reader.join()} / ${history.join()}`)
  }

  const again = [
    settings.killsOnly ? keptImage(second.disk) : worstImage(second.disk),
    ...(settings.thorough ? [keptImage(second.disk), ...crashImages(second.disk, true)] : [])
  ]
  for (const image of new Map(again.map((image) => [image.id, image])).values()) {
    const third = direct(
      "second",
      image,
      Effect.gen(function*() {
        const ledger = yield* make(options)
        yield* ledger.acquire
        yield* refreshAll(ledger)
        return yield* scanAll(ledger)
      })
    )
    const found = must("the store is refused after a second crash", third.exit)
    const expected = [...history, "extra"]
    if (os ? !isPrefix(found, expected) : found.join() !== expected.join()) {
      throw new Violation(
        "the history is another one after a second crash",
        `${found.join()} instead of ${expected.join()}`
      )
    }
  }
  return { reader, history }
}

// checks

export interface Checked {
  /** Distinct disks that were opened, after kills and after power losses. */
  images: number
  checks: number
}

/** A check for `explore`, and what it has done so far. */
export const checker = (settings: Settings = {}) => {
  const counts: Checked = { images: 0, checks: 0 }
  const recovered = new Map<number, Recovered | "no store" | Violation>()
  const open = (image: Disk): Recovered | "no store" => {
    let known = recovered.get(image.id)
    if (known === undefined) {
      counts.images++
      try {
        known = recover(image, settings)
      } catch (cause) {
        if (!(cause instanceof Violation)) throw cause
        known = cause
      }
      recovered.set(image.id, known)
    }
    if (known instanceof Violation) throw new Violation(known.invariant, known.detail)
    return known
  }
  const os = settings.options?.durability === "os"

  const hold = (found: Recovered | "no store", notes: ReadonlyArray<Notes>, crash: "kill" | "power loss") => {
    const tell = (invariant: string, detail: string) => {
      const history = found === "no store" ? "(no store)" : found.history.join()
      throw new Violation(invariant, `${detail}, after ${crash}; the history is ${history}`)
    }
    const lossy = os && crash === "power loss"
    if (found === "no store") {
      for (const { acked } of notes) {
        if (acked.some((name) => !settings.deletes || name.startsWith("n"))) {
          tell("an acknowledged batch is lost", acked.join())
        }
      }
      return
    }
    const { history } = found
    for (const name of settings.acked ?? []) if (!history.includes(name)) tell("an acknowledged batch is lost", name)
    if (new Set(history).size !== history.length) tell("a batch is there twice", "")
    for (const note of notes) {
      if (settings.deletes) {
        for (const name of note.acked) {
          if (name.startsWith("n") && !history.includes(name)) tell("an acknowledged batch is lost", name)
        }
      } else if (!lossy) {
        for (const name of note.acked) if (!history.includes(name)) tell("an acknowledged batch is lost", name)
        if (!isPrefix(note.seen, history)) tell("a process saw what is not in the history", note.seen.join())
      } else if (!isPrefix(note.seen, history) && !isPrefix(history, note.seen)) {
        tell("a process saw another history", note.seen.join())
      }
      for (const name of note.refused) {
        if (history.includes(name)) tell("a batch reported as not committed is there", name)
      }
    }
  }

  const seen = new Set<string>()
  const check = (disk: Disk, notes: ReadonlyArray<Notes>): void => {
    const key = `${disk.id}|${
      notes.map((note) => `${note.acked}/${note.refused}/${note.seen}/${note.deleted.length}`).join("|")
    }`
    if (seen.has(key)) return
    seen.add(key)
    counts.checks++
    const now = open(keptImage(disk))
    hold(now, notes, "kill")
    // whoever reads at this moment sees what stays
    const readers = now === "no store" || os || settings.deletes
      ? notes
      : [...notes, { acked: [], refused: [], unknown: [], seen: [...now.reader], errors: [], deleted: [] }]
    for (const image of settings.killsOnly ? [] : crashImages(disk, settings.torn ?? settings.thorough ?? false)) {
      hold(open(image), readers, "power loss")
    }
  }
  return { check, counts }
}

// set-up

/** A disk on which a program ran alone. */
export const after = <A>(disk: Disk, name: string, program: Effect.Effect<A, unknown, World>): Disk => {
  const { disk: made, exit } = direct(name, disk, program)
  must(`${name} fails`, exit)
  return made
}
