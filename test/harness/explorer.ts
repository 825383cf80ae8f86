/**
 * All interleavings of a few processes on one disk, call by call.
 *
 * A process is deterministic: what it does next follows from the answers that it got. So each one is learned as a tree of answers
 * (a node is what it has been told so far, and its next call), and a state of the whole is the disk and one node per process. The
 * real program runs once per node of such a tree, not once per state.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Reason } from "../../src/services/Storage.ts"
import { type Call, type Disk, failures, halves, perform, type Result } from "./disk.ts"
import { becomes, type Request, start, type World } from "./process.ts"

// models

/** What a process has learned or said so far. Only ever grows. */
export interface Notes {
  /** Batches that were acknowledged. */
  readonly acked: Array<string>
  /** Batches that certainly are not part of the history. */
  readonly refused: Array<string>
  /** Batches of which nobody can tell. */
  readonly unknown: Array<string>
  /** The history, as this process was told it. */
  readonly seen: Array<string>
  /** Errors that are legal here, for the report. */
  readonly errors: Array<string>
  /** The store's folder was seen to be gone. */
  readonly deleted: Array<string>
}

const noNotes = (): Notes => ({ acked: [], refused: [], unknown: [], seen: [], errors: [], deleted: [] })

const copy = (notes: Notes): Notes => ({
  acked: [...notes.acked],
  refused: [...notes.refused],
  unknown: [...notes.unknown],
  seen: [...notes.seen],
  errors: [...notes.errors],
  deleted: [...notes.deleted]
})

/** A process before it runs. `gate`: what comes before it is done alone, before the exploration begins. */
export interface Program {
  readonly name: string
  readonly run: (notes: Notes, gate: Effect.Effect<void>) => Effect.Effect<void, unknown, World>
}

export interface Options {
  readonly programs: ReadonlyArray<Program>
  readonly disk: Disk
  /** So many calls of these kinds may fail, of all together. */
  readonly faults?: {
    readonly times: number
    readonly of: ReadonlyArray<Call["op"]>
    readonly by: ReadonlyArray<string>
    readonly reason: Reason
  }
  /** So many times a process is left while it could go on. Default: no limit. */
  readonly preemptions?: number
  /** Others may see the first half of a write before the second. */
  readonly splitWrites?: boolean
  /** Time-outs may pass while others stand still. Otherwise a sleep ends when the disk changed, or when nobody else can move. */
  readonly impatient?: boolean
  /** Whether files may lose their names: then fewer calls have an answer that nobody can change. */
  readonly removes?: boolean
  /** A process that has slept so often stands still for ever, so that races of take-overs end. Default: 4. */
  readonly sleeps?: number
  /** Called for each new state, with the processes' notes. Throws on a violation. */
  readonly check: (disk: Disk, notes: ReadonlyArray<Notes>, done: boolean) => void
  readonly maxStates?: number
}

export interface Report {
  readonly states: number
  readonly steps: number
  /** Runs of real programs, and the nodes that they were needed for. */
  readonly runs: number
  readonly nodes: number
  readonly ends: number
  readonly complete: boolean
}

export class Violation extends Error {
  readonly invariant: string
  readonly detail: string
  path: ReadonlyArray<string> = []
  constructor(invariant: string, detail = "") {
    super(`${invariant}${detail === "" ? "" : `: ${detail}`}`)
    this.invariant = invariant
    this.detail = detail
  }
  override toString(): string {
    return `${this.message}\n${this.path.map((line) => `  ${line}`).join("\n")}`
  }
}

// processes

/** What a process has been told so far. */
interface Local {
  readonly id: number
  readonly parent: Local | undefined
  readonly via: Result | undefined
  /** `undefined`: the program has ended. */
  readonly request: Request | undefined
  readonly notes: Notes
  readonly next: Map<string, Local>
  readonly sleeps: number
  /** The second half of a write that was split: to be done before the write is answered. */
  readonly half?: { readonly rest: Call; readonly of: Local }
}

interface Live {
  at: Local
  readonly answer: (result: Result) => void
}

const keyOf = (result: Result): string => {
  if (!result.ok) return `!${result.reason}`
  const { value } = result
  if (value instanceof Uint8Array) {
    return `b${Buffer.from(value.buffer, value.byteOffset, value.length).toString("latin1")}`
  }
  if (Array.isArray(value)) {
    return `[${(value as ReadonlyArray<{ readonly name: string }>).map((entry) => entry.name).join()}`
  }
  return String(value)
}

class Process {
  readonly program: Program
  readonly root: Local
  private readonly counts: { nodes: number; runs: number }
  private live: Live | undefined

  constructor(program: Program, counts: { nodes: number; runs: number }) {
    this.program = program
    this.counts = counts
    const { local, live } = this.begin()
    this.root = local
    this.live = live
  }

  /** Runs the program up to its first call. */
  private begin(): { readonly local: Local; readonly live: Live } {
    this.counts.runs++
    const notes = noNotes()
    const who = { name: this.program.name, made: 0 }
    let request: Request | undefined
    let resume: ((result: Result) => void) | undefined
    let ended: Exit.Exit<void, unknown> | undefined
    const ask = (next: Request) =>
      Effect.callback<Result>((answer) => {
        request = next
        resume = (result) => answer(Effect.succeed(result))
      })
    const fiber = start(
      this.program.name,
      this.program.run(notes, Effect.asVoid(Effect.suspend(() => ask({ op: "gate", path: "" })))),
      ask
    )
    fiber.addObserver((exit) => ended = exit)
    const look = (parent: Local | undefined, via: Result | undefined): Local => {
      if (ended !== undefined && Exit.isFailure(ended)) {
        throw new Violation("a process fails", `${this.program.name}: ${Cause.pretty(ended.cause)}`)
      }
      if (ended === undefined && request === undefined) throw new Error(`${this.program.name} waits for nothing`)
      this.counts.nodes++
      const at: Local = {
        id: this.counts.nodes,
        parent,
        via,
        request: ended === undefined ? request : undefined,
        notes: copy(notes),
        next: new Map(),
        sleeps: (parent?.sleeps ?? 0) + (request?.op === "sleep" ? 1 : 0)
      }
      request = undefined
      return at
    }
    const local = look(undefined, undefined)
    const live: Live = {
      at: local,
      answer: (result) => {
        const known = live.at.next.get(keyOf(result))
        becomes(who)
        resume!(result)
        if (known === undefined) {
          const made = look(live.at, result)
          live.at.next.set(keyOf(result), made)
          live.at = made
        } else {
          if (ended === undefined && request?.op !== known.request?.op) {
            throw new Error(`${this.program.name} is not deterministic: ${request?.op} after ${known.request?.op}`)
          }
          request = undefined
          live.at = known
        }
      }
    }
    return { local, live }
  }

  /** What the process does after this answer. */
  answered(local: Local, result: Result): Local {
    const known = local.next.get(keyOf(result))
    if (known !== undefined) return known
    if (this.live?.at !== local) {
      const way: Array<Result> = []
      for (let at = local; at.parent !== undefined; at = at.parent) way.push(at.via!)
      const { live } = this.begin()
      live.at = this.root
      while (way.length > 0) live.answer(way.pop()!)
      this.live = live
    }
    this.live!.answer(result)
    return this.live!.at
  }
}

// exploring

interface State {
  readonly disk: Disk
  readonly locals: ReadonlyArray<Local>
  /** Sleeping, and the disk has not changed since. */
  readonly resting: ReadonlyArray<boolean>
  readonly faults: number
  readonly last: number
  readonly preemptions: number
  readonly before: State | undefined
  readonly label: string
}

/** Whether nobody else can change the answer, and the answer changes nothing: then it is no point to switch at. */
const isFixed = (call: Call, result: Result, removes: boolean): boolean => {
  if (removes) return false
  switch (call.op) {
    case "openFile":
    case "openWritable":
      return result.ok
    case "isCurrent":
    case "exists":
      return result.ok && result.value === true
    case "createFile":
      return !result.ok
    case "protect":
      return true
    default:
      return false
  }
}

const show = (request: Request, result: Result): string => {
  const bytes = "bytes" in request ? ` ${request.bytes.length} bytes` : ""
  const offset = "offset" in request ? ` at ${request.offset}` : ""
  const answer = !result.ok
    ? ` fails: ${result.reason}`
    : result.value instanceof Uint8Array
    ? ` (${result.value.length} bytes)`
    : result.value === undefined || typeof result.value === "object"
    ? ""
    : ` = ${String(result.value)}`
  return `${request.op} ${request.path}${bytes}${offset}${answer}`
}

export const explore = (options: Options): Report => {
  const counts = { nodes: 0, runs: 0 }
  let states = 0
  let steps = 0
  let ends = 0
  const limit = options.maxStates ?? Infinity
  const removes = options.removes ?? false
  const bound = options.preemptions ?? Infinity
  const sleeps = options.sleeps ?? 4
  let current: State | undefined
  try {
    const processes = options.programs.map((program) => new Process(program, counts))

    /** The process's next state, past all calls that are no point to switch at. */
    const settle = (i: number, local: Local, disk: Disk): Local => {
      for (;;) {
        const { request } = local
        if (request === undefined) return local
        if (request.op === "gate" || (request.op === "sleep" && options.impatient)) {
          local = processes[i]!.answered(local, { ok: true, value: undefined })
          continue
        }
        if (request.op === "sleep" || local.half !== undefined) return local
        const { result } = perform(disk, request)
        if (!isFixed(request, result, removes)) return local
        if (options.faults?.of.includes(request.op)) return local
        local = processes[i]!.answered(local, result)
      }
    }

    // what comes before the gates is done by one process after the other
    let disk = options.disk
    const begun = processes.map((process) => {
      let local = process.root
      while (local.request !== undefined && local.request.op !== "gate") {
        if (local.request.op === "sleep") {
          local = process.answered(local, { ok: true, value: undefined })
          continue
        }
        const step = perform(disk, local.request)
        disk = step.disk
        local = process.answered(local, step.result)
      }
      return local
    })
    const first: State = {
      disk,
      locals: begun.map((local, i) => settle(i, local, disk)),
      resting: begun.map(() => false),
      faults: options.faults?.times ?? 0,
      last: -1,
      preemptions: 0,
      before: undefined,
      label: "begin"
    }

    const seen = new Map<string, number>()
    const enter = (state: State): boolean => {
      let key = `${state.disk.id}:${state.faults}`
      for (let i = 0; i < state.locals.length; i++) key += `:${state.locals[i]!.id}${state.resting[i] ? "z" : ""}`
      if (bound !== Infinity) {
        // with less spent one gets further: such a state is visited again
        const able = state.last >= 0 && canMove(state, state.last)
        key += `:${able ? state.last : "x"}`
        const spent = seen.get(key)
        if (spent !== undefined && spent <= state.preemptions) return false
        seen.set(key, state.preemptions)
        if (spent !== undefined) return true
      } else {
        if (seen.has(key)) return false
        seen.set(key, 0)
      }
      states++
      return true
    }

    const isOver = (local: Local): boolean => local.request === undefined || local.sleeps > sleeps
    const canMove = (state: State, i: number): boolean => !isOver(state.locals[i]!) && !state.resting[i]

    const stack: Array<State> = []
    const visit = (state: State) => {
      current = state
      if (!enter(state)) return
      const done = state.locals.every(isOver)
      if (done) ends++
      options.check(state.disk, state.locals.map((local) => local.notes), done)
      if (!done) stack.push(state)
    }

    visit(first)
    while (stack.length > 0 && states < limit) {
      const state = stack.pop()!
      let movers = state.locals.map((_, i) => i).filter((i) => canMove(state, i))
      // all sleep: time passes
      if (movers.length === 0) movers = state.locals.map((_, i) => i).filter((i) => !isOver(state.locals[i]!))
      const mayGoOn = movers.includes(state.last)
      for (const i of movers) {
        const preemptions = state.preemptions + (mayGoOn && i !== state.last && state.last >= 0 ? 1 : 0)
        if (preemptions > bound) continue
        const local = state.locals[i]!
        const request = local.request!
        const name = options.programs[i]!.name
        const go = (disk: Disk, result: Result, faults: number, next: Local) => {
          steps++
          const changed = disk.id !== state.disk.id
          current = { ...state, before: state, label: `${name} ${show(request, result)}` }
          const settled = next.half === undefined ? settle(i, next, disk) : next
          const locals = state.locals.map((other, k) => k === i ? settled : other)
          const resting = locals.map((other, k) => {
            if (k === i) return settled.request?.op === "sleep"
            return !changed && state.resting[k]! && other.request !== undefined
          })
          visit({ disk, locals, resting, faults, last: i, preemptions, before: state, label: current.label })
        }
        if (request.op === "sleep" || request.op === "gate") {
          const result: Result = { ok: true, value: undefined }
          current = { ...state, before: state, label: `${name} wakes` }
          go(state.disk, result, state.faults, processes[i]!.answered(local, result))
          continue
        }
        if (local.half !== undefined) {
          const { disk, result } = perform(state.disk, local.half.rest)
          current = { ...state, before: state, label: `${name} second half` }
          go(disk, result, state.faults, processes[i]!.answered(local.half.of, result))
          continue
        }
        const split = options.splitWrites ? halves(request) : undefined
        if (split !== undefined) {
          const { disk, result } = perform(state.disk, split[0])
          const key = "half"
          let half = local.next.get(key)
          if (half === undefined) {
            counts.nodes++
            half = { ...local, id: counts.nodes, next: new Map(), half: { rest: split[1], of: local } }
            local.next.set(key, half)
          }
          go(disk, result, state.faults, half)
        } else {
          const { disk, result } = perform(state.disk, request)
          current = { ...state, before: state, label: `${name} ${show(request, result)}` }
          go(disk, result, state.faults, processes[i]!.answered(local, result))
        }
        if (state.faults > 0 && options.faults!.of.includes(request.op) && options.faults!.by.includes(name)) {
          for (const { disk, result } of failures(state.disk, request, options.faults!.reason)) {
            current = { ...state, before: state, label: `${name} ${show(request, result)}` }
            go(disk, result, state.faults - 1, processes[i]!.answered(local, result))
          }
        }
      }
    }
    return { states, steps, runs: counts.runs, nodes: counts.nodes, ends, complete: stack.length === 0 }
  } catch (cause) {
    if (cause instanceof Violation && cause.path.length === 0) {
      const path: Array<string> = []
      for (let at = current; at !== undefined; at = at.before) path.unshift(at.label)
      cause.path = path
    }
    throw cause
  }
}
