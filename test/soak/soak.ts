/**
 * Real processes, real kills: processes append, follow and count on one store while they are killed, stopped, continued and started again, as a
 * seed says; when it is quiet, the judge looks at what there is.
 */
import * as Effect from "effect/Effect"
import { closeSync, existsSync, mkdirSync, openSync, readSync, rmSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import type { Batch } from "../fixtures/appends.ts"
import type { Answer, Command, Orders, SoakNote } from "../fixtures/soakProcess.ts"
import { Child, type Surroundings } from "../harness/child.ts"
import { judge, judgeHistory, type Witnesses } from "./judge.ts"
import { readLedgerFiles } from "./ledgerFiles.ts"
import {
  type Happening,
  planRound,
  planStore,
  type RoundPlan,
  type Size,
  type SlotPlan,
  type StorePlan
} from "./plan.ts"
import { fromSeed, seedOf } from "./random.ts"

// models

export interface Options {
  readonly seed: number
  readonly processes: number
  readonly root: string
  readonly size: Size
  /** After these no further round begins. */
  readonly isOver: (tally: Tally) => boolean
  /** Nothing takes so long, in milliseconds, without any sign of progress, unless it hangs. */
  readonly patience: number
  /** Leaves all stores where they are, and the witnesses. */
  readonly keep?: boolean
  /** That loads a mutant. */
  readonly surroundings?: Surroundings
}

/** What happened so far. */
export interface Tally {
  stores: number
  rounds: number
  processes: number
  kills: number
  /** Kills and stops at a point inside a commit are counted among those. */
  inside: number
  stops: number
  /** Stops of whoever wrote, after which another process had begun a segment of its own. */
  overtaken: number
  takeOvers: number
  segments: number
  appends: number
  events: number
  conflicts: number
  unknown: number
  /** Refusals for other reasons. */
  refused: number
  retries: number
  additions: number
  seen: number
  rebuilds: number
  /** Kills in the middle of one. */
  cutRebuilds: number
  looks: number
}

const nothing = (): Tally => ({
  stores: 0,
  rounds: 0,
  processes: 0,
  kills: 0,
  inside: 0,
  stops: 0,
  overtaken: 0,
  takeOvers: 0,
  segments: 0,
  appends: 0,
  events: 0,
  conflicts: 0,
  unknown: 0,
  refused: 0,
  retries: 0,
  additions: 0,
  seen: 0,
  rebuilds: 0,
  cutRebuilds: 0,
  looks: 0
})

export interface Soak {
  readonly tally: Tally
  /** Runs until it is over, or something is wrong; what that is. */
  readonly run: () => Promise<ReadonlyArray<string>>
}

const fixture = fileURLToPath(new URL("../fixtures/soakProcess.ts", import.meta.url))

/** How long an append waits for the right to write: those that have it are stopped for seconds, one after another. */
const lockTimeout = 60_000

// places for processes

interface Stop {
  readonly pid: number
  readonly from: number
  to: number
}

/** The lines of a witness file, as they come. */
class Witness {
  readonly file: string
  private offset = 0
  private rest = ""

  constructor(file: string) {
    this.file = file
  }

  read(): ReadonlyArray<SoakNote> {
    if (!existsSync(this.file)) return []
    const handle = openSync(this.file, "r")
    try {
      const buffer = Buffer.alloc(1 << 16)
      const parts: Array<Buffer> = []
      for (let size; (size = readSync(handle, buffer, 0, buffer.length, this.offset)) > 0;) {
        parts.push(Buffer.from(buffer.subarray(0, size)))
        this.offset += size
      }
      if (parts.length === 0) return []
      const lines = (this.rest + Buffer.concat(parts).toString("utf8")).split("\n")
      // the last is empty, or was cut off by the process' end
      this.rest = lines.pop()!
      return lines.map((line) => JSON.parse(line) as SoakNote)
    } finally {
      closeSync(handle)
    }
  }
}

class Slot {
  readonly plan: SlotPlan
  readonly calls: Orders["calls"]
  readonly notes: Array<SoakNote>
  child: Child<Command, Answer> | undefined
  witness: Witness | undefined
  state: "starting" | "up" | "stopped" | "resting" | "gone" = "gone"
  /** Its end by a signal is no surprise. */
  isDoomed = false
  /** So many notes are of those before it. */
  notesBefore = 0
  /** It came to its end and closed the store. */
  hasRested = false
  /** How long it shall be stopped when it stops itself. */
  stopMillis = 0
  stop: Stop | undefined

  constructor(plan: SlotPlan, calls: Orders["calls"], notes: Array<SoakNote>) {
    this.plan = plan
    this.calls = calls
    this.notes = notes
  }
}

/** Batches that can be repeated, and of which nobody was told what became of them. */
const openBatches = (notes: ReadonlyArray<SoakNote>): ReadonlyArray<Batch> => {
  const open = new Map<string, Batch>()
  for (const line of notes) {
    if (line._tag === "try" && line.batch.ids === true) open.set(line.batch.batch, line.batch)
    if (line._tag === "stored" || (line._tag === "refused" && line.error !== "AppendOutcomeUnknown")) {
      open.delete(line.batch)
    }
  }
  return [...open.values()]
}

class Hung extends Error {}

// a round

class Round {
  readonly slots: ReadonlyArray<Slot>
  readonly problems: Array<string> = []
  private readonly soak: Options
  private readonly tally: Tally
  private readonly store: StorePlan
  private readonly plan: RoundPlan
  private readonly seed: number
  private readonly stops: Array<Stop> = []
  private readonly timers = new Set<NodeJS.Timeout>()
  private acknowledged = 0
  /** Who is killed is not followed by another one any more. */
  private isQuiet = false
  /** What is there yet is ended, and that is no matter. */
  private isOver = false

  constructor(
    soak: Options,
    tally: Tally,
    store: StorePlan,
    plan: RoundPlan,
    seed: number,
    notes: ReadonlyMap<string, Array<SoakNote>>
  ) {
    this.soak = soak
    this.tally = tally
    this.store = store
    this.plan = plan
    this.seed = seed
    this.slots = store.slots.map((slot, i) => new Slot(slot, plan.calls[i]!, notes.get(slot.name)!))
  }

  get storeOptions() {
    const { durability, eventFiles, stateFiles } = this.plan
    const { name, runBytes, segmentSize } = this.store
    return {
      root: this.soak.root,
      store: name,
      durability,
      eventFiles,
      stateFiles,
      segmentSize,
      runBytes,
      lockTimeout
    }
  }

  // processes

  private start(slot: Slot): void {
    const { name, role, tags, type } = slot.plan
    const incarnation = this.tally.processes += 1
    const id = `${name}_${incarnation}`
    const seed = seedOf(this.seed, "process", id)
    this.read(slot)
    const saw = slot.notes.findLast((line) => line._tag === "saw" || line._tag === "anew")
    const read = slot.notes.findLast((line) => line._tag === "read")
    const orders: Orders = {
      role,
      options: this.storeOptions,
      calls: slot.calls,
      name: id,
      seed,
      witness: join(this.soak.root, "witnesses", this.store.name, `${id}.jsonl`),
      again: role === "writer" ? openBatches(slot.notes) : [],
      tags,
      type,
      subscribedTo: saw?._tag === "saw" ? saw.event.position : 0,
      anew: fromSeed(seed).oneIn(3),
      readTo: read?._tag === "read" ? read.head : 0
    }
    const child = new Child<Command, Answer>(fixture, id, this.soak.surroundings)
    slot.child = child
    slot.witness = new Witness(orders.witness)
    slot.state = "starting"
    slot.isDoomed = false
    slot.notesBefore = slot.notes.length
    slot.hasRested = false
    slot.stopMillis = 0
    void child.ask({ _tag: "start", orders }).then(({ error }) => {
      if (slot.child !== child || slot.isDoomed) return
      if (error !== undefined) return this.problems.push(`${id} did not start: ${error}\n${child.output}`)
      if (slot.state === "starting") slot.state = "up"
      return undefined
    })
    void child.ended.then(({ code, signal }) => {
      if (slot.child !== child) return
      const { isDoomed, state } = slot
      slot.state = "gone"
      this.read(slot)
      if (signal === "SIGKILL" && isDoomed) {
        if (this.isOver) return
        this.tally.kills += 1
        const rebuild = slot.notes.slice(slot.notesBefore).findLast(({ _tag }) =>
          _tag === "rebuilding" || _tag === "rebuilt"
        )
        if (rebuild?._tag === "rebuilding") this.tally.cutRebuilds += 1
        if (!this.isQuiet) this.start(slot)
      } else if (state !== "resting" || code !== 0) {
        this.problems.push(`${id} ended with ${String(code ?? signal)}\n${child.output}`)
      }
    })
  }

  /** Takes what a process noted since it was last looked at. */
  private read(slot: Slot): void {
    const lines = slot.witness?.read() ?? []
    for (const line of lines) {
      slot.notes.push(line)
      switch (line._tag) {
        case "stored":
          this.acknowledged += 1
          this.tally.appends += 1
          this.tally.events += line.duplicate ? 0 : line.positions.length
          if (line.duplicate) this.tally.retries += 1
          break
        case "refused":
          if (line.error === "AppendConditionFailed") this.tally.conflicts += 1
          else if (line.error === "AppendOutcomeUnknown") this.tally.unknown += 1
          else this.tally.refused += 1
          break
        case "tagged":
          this.tally.additions += 1
          break
        case "saw":
          this.tally.seen += 1
          break
        case "rebuilt":
          this.tally.rebuilds += 1
          break
        case "looked":
          this.tally.looks += 1
          break
        case "problem":
          this.problems.push(`${slot.child?.name} noted: ${line.problem}`)
          break
        case "fault":
          this.tally.inside += 1
          if (slot.stopMillis > 0) this.isStopped(slot, slot.stopMillis)
          slot.stopMillis = 0
      }
    }
  }

  private later(millis: number, what: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      what()
    }, millis)
    this.timers.add(timer)
  }

  /** It does nothing from now on, until it is continued. */
  private isStopped(slot: Slot, millis: number): void {
    const { child } = slot
    if (child === undefined) return
    this.tally.stops += 1
    const stop: Stop = { pid: child.pid, from: Date.now(), to: Infinity }
    this.stops.push(stop)
    slot.stop = stop
    if (slot.state === "up") slot.state = "stopped"
    this.later(millis, () => {
      stop.to = Date.now()
      if (slot.child !== child) return
      child.signal("SIGCONT")
      if (slot.state === "stopped") slot.state = "up"
    })
  }

  /** One of those that run gets what is planned for it. */
  private happen({ victim, what }: Happening): void {
    // Who is stopped for long, to be overtaken, must be one that writes events.
    const isWanted = ({ plan: { role } }: Slot) =>
      what._tag !== "arm" || role === "writer" || (role === "runner" && what.action === "SIGKILL")
    const able = this.slots.filter((slot) =>
      isWanted(slot) && !slot.isDoomed && slot.stopMillis === 0 &&
      (what._tag === "kill" ? slot.state !== "gone" : slot.state === "up")
    )
    const slot = able[victim % able.length]
    const child = slot?.child
    if (slot === undefined || child === undefined) return
    switch (what._tag) {
      case "kill":
        slot.isDoomed = true
        child.signal("SIGKILL")
        // also one that is stopped goes at once
        return
      case "stop":
        child.signal("SIGSTOP")
        return this.isStopped(slot, what.millis)
      case "arm": {
        const { action, point } = what
        if (action === "SIGKILL") slot.isDoomed = true
        else slot.stopMillis = what.millis
        void child.ask({ _tag: "arm", action, point })
        return
      }
      case "close":
        // who follows cannot rest before it knows up to where
        if (slot.plan.role === "follower") return
        slot.state = "resting"
        void child.ask({ _tag: "rest", head: 0, last: 0 }).then(({ error }) => {
          if (error !== undefined || slot.child !== child) return
          child.release()
          void child.ended.then(() => {
            if (!this.isQuiet && slot.child === child) this.start(slot)
          })
        })
    }
  }

  // waiting

  /** Waits for what the processes bring about, as long as that comes nearer; tells what each of them is at if it does not. */
  private async until(what: string, condition: () => boolean, progress: () => number): Promise<void> {
    let seen = progress()
    let since = performance.now()
    while (!condition()) {
      if (this.problems.length > 0) throw new Hung(`something went wrong until ${what}`)
      if (progress() !== seen) {
        seen = progress()
        since = performance.now()
      }
      const { patience } = this.soak
      if (performance.now() - since > patience) {
        this.problems.push(`waited for ${patience / 1000} s in vain until ${what}\n${await this.describe()}`)
        throw new Hung(what)
      }
      await sleep(10)
      for (const slot of this.slots) this.read(slot)
    }
  }

  private async untilUp(): Promise<void> {
    const up = () => this.slots.filter(({ state }) => state !== "starting").length
    await this.until("all have the store open", () => up() === this.slots.length, up)
  }

  private async describe(): Promise<string> {
    const all = this.slots.map(async ({ child, notes, plan: { name }, state }) => {
      const answer = child !== undefined && state !== "gone"
        ? await Promise.race([child.ask({ _tag: "where" }), sleep(2000, { error: "it does not answer" })])
        : { error: "there is none" }
      const where = answer.error ?? ("where" in answer ? answer.where : "")
      const last = notes.slice(-3).map((line) => `    ${JSON.stringify(line).slice(0, 300)}`).join("\n")
      return `  ${name} (${child?.name}, process ${child?.pid}), ${state}: ${where}\n${last}\n${child?.output ?? ""}`
    })
    return (await Promise.all(all)).join("\n")
  }

  // all of it

  private async chaos(): Promise<void> {
    for (const slot of this.slots) this.start(slot)
    await this.untilUp()
    for (const happening of this.plan.faults) {
      await sleep(happening.pause)
      for (const slot of this.slots) this.read(slot)
      if (this.problems.length > 0) return
      this.happen(happening)
    }
    const begun = this.acknowledged
    await this.until(
      `so much is appended (${begun} and ${this.plan.appends})`,
      () => this.acknowledged >= this.plan.appends && this.timers.size === 0,
      () => this.acknowledged - this.timers.size
    )
  }

  /** Everybody goes in order: first those that write, then those that follow, up to the end. */
  private async rest(): Promise<void> {
    const writers = this.slots.filter(({ plan }) => plan.role === "writer")
    const others = this.slots.filter(({ plan }) => plan.role !== "writer")
    // whoever is armed may still be met by it: nobody is started any more
    await this.untilUp()
    await this.leave(writers, () => ({ head: 0, last: 0 }))
    const { events, head } = readLedgerFiles(join(this.soak.root, this.store.name, "ledger"))
    await this.leave(others, ({ type }) => ({
      head,
      last: events.findLast((event) => type === undefined || event.type === type)?.position ?? 0
    }))
  }

  private async leave(slots: ReadonlyArray<Slot>, aimOf: (plan: SlotPlan) => { head: number; last: number }) {
    for (const slot of slots) {
      const { child } = slot
      // those that are met by a signal meanwhile
      if (child === undefined || slot.state === "gone") {
        if (slot.plan.role === "writer") continue
        this.start(slot)
      }
      const present = slot.child!
      const ask = async () => {
        if (slot.state === "starting") await this.untilUp()
        if (slot.state === "gone") return
        slot.state = "resting"
        const { error } = await present.ask({ _tag: "rest", ...aimOf(slot.plan) })
        if (error === undefined) {
          slot.hasRested = true
          present.release()
        } else if (!slot.isDoomed) this.problems.push(`${present.name} did not rest: ${error}\n${present.output}`)
      }
      void ask().catch(() => {})
    }
    await this.until(
      "all have gone in order",
      () => slots.every(({ state }) => state === "gone"),
      () => slots.reduce((sum, { notes, state }) => sum + notes.length + (state === "gone" ? 1 : 0), 0)
    )
    // one that was to be killed and was, before it came to its end
    const left = slots.filter(({ hasRested, plan }) => !hasRested && plan.role !== "writer")
    if (left.length > 0) await this.leave(left, aimOf)
  }

  async run(): Promise<ReadonlyArray<string>> {
    try {
      await this.chaos()
      this.isQuiet = true
      if (this.problems.length === 0) await this.rest()
    } catch (error) {
      if (!(error instanceof Hung)) throw error
    } finally {
      this.isQuiet = true
      this.isOver = true
      for (const timer of this.timers) clearTimeout(timer)
      for (const slot of this.slots) {
        const { child } = slot
        if (child === undefined) continue
        slot.isDoomed = true
        child.signal("SIGKILL")
        await child.ended
      }
    }
    for (const slot of this.slots) this.read(slot)
    return this.problems
  }

  /** Who began segments: another process than the one before took over. */
  count(isKnown: ReadonlySet<number>): ReadonlySet<number> {
    const { segments } = readLedgerFiles(join(this.soak.root, this.store.name, "ledger"))
    for (const [i, { number, time, writer }] of segments.entries()) {
      const before = segments[i - 1]?.writer
      if (before === undefined || isKnown.has(number)) continue
      this.tally.segments += 1
      if (before.id === writer.id) continue
      this.tally.takeOvers += 1
      if (this.stops.some(({ from, pid, to }) => pid === before.pid && time >= from && time <= to)) {
        this.tally.overtaken += 1
      }
    }
    return new Set(segments.map(({ number }) => number))
  }

  witnesses(): ReadonlyArray<Witnesses> {
    return this.slots.map(({ notes, plan: { name, role, type } }) => ({ slot: name, role, type, notes }))
  }
}

// a soak

export const make = (options: Options): Soak => {
  const { isOver, keep = false, patience, processes, root, seed, size } = options
  const tally = nothing()

  const runRound = async (
    store: StorePlan,
    notes: ReadonlyMap<string, Array<SoakNote>>,
    known: ReadonlySet<number>
  ) => {
    const plan = planRound(seed, tally.rounds, processes, size)
    const roundSeed = seedOf(seed, "chaos", tally.rounds)
    tally.rounds += 1
    const round = new Round(options, tally, store, plan, roundSeed, notes)
    const problems = await round.run()
    if (problems.length > 0) {
      // what the history tells beside that
      const ledger = readLedgerFiles(join(root, store.name, "ledger"))
      return { problems: [...problems, ...judgeHistory(ledger, round.witnesses(), false)], known }
    }
    const segments = round.count(known)
    let step = ""
    let since = performance.now()
    const isDone = new AbortController()
    const watch = async () => {
      while (performance.now() - since < patience) await sleep(200, undefined, { signal: isDone.signal })
      return [`the judge hangs: ${step}`]
    }
    const look = Effect.runPromise(judge({
      options: round.storeOptions,
      seed: roundSeed,
      witnesses: round.witnesses(),
      at: (what) => {
        step = what
        since = performance.now()
      }
    })).catch((error: unknown) => [`${step}: ${error instanceof Error ? error.stack ?? error.message : String(error)}`])
    const watching = watch()
    watching.catch(() => {})
    const judged = await Promise.race([look, watching])
    isDone.abort()
    return { problems: judged, known: segments }
  }

  return {
    tally,
    run: async () => {
      while (!isOver(tally)) {
        const store = planStore(seed, tally.stores, processes, size)
        tally.stores += 1
        mkdirSync(join(root, "witnesses", store.name), { recursive: true })
        const notes = new Map(store.slots.map(({ name }) => [name, new Array<SoakNote>()]))
        let known: ReadonlySet<number> = new Set()
        for (let round = 0; round < store.rounds && !isOver(tally); round++) {
          const result = await runRound(store, notes, known)
          if (result.problems.length > 0) return result.problems
          known = result.known
        }
        if (keep) continue
        rmSync(join(root, store.name), { recursive: true, force: true })
        rmSync(join(root, "witnesses", store.name), { recursive: true, force: true })
      }
      return []
    }
  }
}
