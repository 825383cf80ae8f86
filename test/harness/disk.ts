/**
 * A disk as a value: each call gives a new one, which shares with the old one all that did not change. So an explorer can go on
 * from any disk it ever saw, and compare two by a number.
 *
 * A disk knows what a power loss may do: any unsynced write may be lost, kept or torn, each for itself, and any unsynced change of
 * a folder lost or kept. What a failed sync covered stays readable, is never carried by a later sync, and may be lost for ever.
 */
import type { Entry, Reason } from "../../src/services/Storage.ts"

// models

/** Whether a change is on the medium: `dead` ones were in a sync that failed. */
type Fate = "pending" | "dead" | "durable"

interface Unit {
  readonly offset: number
  /** One character per byte; `undefined`: the file was cut off at `offset`. A number: it only became so much longer. */
  readonly bytes: string | number | undefined
  readonly fate: Fate
}

interface Op {
  /** The name that goes, and the one that comes. */
  readonly from: string | undefined
  readonly to: string | undefined
  readonly node: string
  readonly fate: Fate
}

interface FileState {
  readonly kind: "file"
  readonly id: number
  readonly base: string
  readonly units: ReadonlyArray<Unit>
  readonly visible: string
}

type Names = ReadonlyMap<string, string>

interface FolderState {
  readonly kind: "directory"
  readonly id: number
  readonly base: Names
  readonly ops: ReadonlyArray<Op>
  readonly visible: Names
}

type State = FileState | FolderState

export class Disk {
  readonly nodes: ReadonlyMap<string, State>
  private known: number | undefined

  constructor(nodes: ReadonlyMap<string, State>) {
    this.nodes = nodes
  }

  /** Equal numbers: equal disks. */
  get id(): number {
    if (this.known === undefined) {
      const parts: Array<string> = []
      for (const [name, state] of this.nodes) parts.push(`${nameId(name)}=${state.id}`)
      const key = parts.sort().join()
      this.known = disks.get(key)
      if (this.known === undefined) disks.set(key, this.known = ++ids)
    }
    return this.known
  }
}

/** What a call on the disk answers. A file is told by the name of its node. */
export type Value = undefined | boolean | number | string | Uint8Array | ReadonlyArray<Entry>
export type Result = { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly reason: Reason }

export type Call =
  | {
    readonly op:
      | "createFile"
      | "openFile"
      | "openWritable"
      | "exists"
      | "claim"
      | "makeDirectory"
      | "list"
      | "syncDirectory"
      | "readDocument"
      | "remove"
      | "protect"
    readonly path: string
  }
  | { readonly op: "rename"; readonly path: string; readonly to: string }
  | { readonly op: "replaceDocument"; readonly path: string; readonly bytes: Uint8Array; readonly sync: boolean }
  | { readonly op: "size" | "sync"; readonly node: string; readonly path: string }
  | { readonly op: "isCurrent"; readonly node: string; readonly path: string }
  | {
    readonly op: "read"
    readonly node: string
    readonly path: string
    readonly offset: number
    readonly length: number
  }
  | {
    readonly op: "write"
    readonly node: string
    readonly path: string
    readonly offset: number
    readonly bytes: Uint8Array
  }
  | { readonly op: "truncate"; readonly node: string; readonly path: string; readonly size: number }

// interning

const files = new Map<string, FileState>()
const folders = new Map<string, FolderState>()
const disks = new Map<string, number>()
const names = new Map<string, number>()
let ids = 0

const nameId = (name: string): number => {
  let id = names.get(name)
  if (id === undefined) names.set(name, id = names.size)
  return id
}

/** Forgets all disks: numbers of earlier ones mean nothing afterwards. */
export const forget = () => {
  files.clear()
  folders.clear()
  disks.clear()
  fileImages.clear()
  folderImages.clear()
  images.clear()
}

const applyUnit = (content: string, unit: Unit): string => {
  if (typeof unit.bytes === "number") return content.padEnd(unit.offset + unit.bytes, "\0")
  const padded = content.padEnd(unit.offset, "\0")
  const head = padded.slice(0, unit.offset)
  return unit.bytes === undefined ? head : head + unit.bytes + padded.slice(unit.offset + unit.bytes.length)
}

const applyOp = (names: Map<string, string>, op: Op): void => {
  if (op.from !== undefined) {
    if (names.get(op.from) !== op.node) return
    names.delete(op.from)
  }
  if (op.to !== undefined) names.set(op.to, op.node)
}

const makeFile = (base: string, units: ReadonlyArray<Unit>): FileState => {
  let first = 0
  let merged = base
  while (units[first]?.fate === "durable") merged = applyUnit(merged, units[first++]!)
  const rest = units.slice(first)
  const key = `${merged}|${rest.map((unit) => `${unit.fate}@${unit.offset}:${unit.bytes ?? "cut"}`).join("|")}`
  let known = files.get(key)
  if (known === undefined) {
    known = { kind: "file", id: ++ids, base: merged, units: rest, visible: rest.reduce(applyUnit, merged) }
    files.set(key, known)
  }
  return known
}

const namesKey = (names: Names) => [...names].map(([name, node]) => `${name}=${node}`).sort().join(",")

const makeFolder = (base: Names, ops: ReadonlyArray<Op>): FolderState => {
  let first = 0
  const merged = new Map(base)
  while (ops[first]?.fate === "durable") applyOp(merged, ops[first++]!)
  const rest = ops.slice(first)
  const key = `${namesKey(merged)}|${rest.map((op) => `${op.fate}:${op.from}>${op.to}=${op.node}`).join("|")}`
  let known = folders.get(key)
  if (known === undefined) {
    const visible = new Map(merged)
    for (const op of rest) applyOp(visible, op)
    known = { kind: "directory", id: ++ids, base: merged, ops: rest, visible }
    folders.set(key, known)
  }
  return known
}

const root = "/"

export const emptyDisk = (): Disk => new Disk(new Map([[root, makeFolder(new Map(), [])]]))

const latin1 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1")

// looking

const folderAt = (disk: Disk, path: string): string | undefined => {
  const node = nodeAt(disk, path)
  return node !== undefined && disk.nodes.get(node)!.kind === "directory" ? node : undefined
}

const nodeAt = (disk: Disk, path: string): string | undefined => {
  let node: string | undefined = root
  if (path === "") return node
  for (const name of path.split("/")) {
    const state: State = disk.nodes.get(node!)!
    if (state.kind === "file") return undefined
    node = state.visible.get(name)
    if (node === undefined) return undefined
  }
  return node
}

const split = (path: string): readonly [folder: string, name: string] => {
  const slash = path.lastIndexOf("/")
  return slash < 0 ? ["", path] : [path.slice(0, slash), path.slice(slash + 1)]
}

/** The visible bytes of a file; for tests that look at one. */
export const contentOf = (disk: Disk, path: string): string | undefined => {
  const node = nodeAt(disk, path)
  const state = node === undefined ? undefined : disk.nodes.get(node)!
  return state?.kind === "file" ? state.visible : undefined
}

export const namesIn = (disk: Disk, path: string): ReadonlyArray<string> => {
  const node = folderAt(disk, path)
  return node === undefined ? [] : [...(disk.nodes.get(node) as FolderState).visible.keys()].sort()
}

// calls

export interface Step {
  readonly disk: Disk
  readonly result: Result
}

const ok = (disk: Disk, value: Value = undefined): Step => ({ disk, result: { ok: true, value } })
const refuse = (disk: Disk, reason: Reason): Step => ({ disk, result: { ok: false, reason } })

const withNode = (disk: Disk, node: string, state: State): Disk => {
  if (disk.nodes.get(node) === state) return disk
  const nodes = new Map(disk.nodes)
  nodes.set(node, state)
  return new Disk(nodes)
}

const addOp = (disk: Disk, folder: string, op: Omit<Op, "fate">): Disk => {
  const state = disk.nodes.get(folder) as FolderState
  return withNode(disk, folder, makeFolder(state.base, [...state.ops, { ...op, fate: "pending" }]))
}

const addUnit = (disk: Disk, node: string, unit: Omit<Unit, "fate">): Disk => {
  const state = disk.nodes.get(node) as FileState
  return withNode(disk, node, makeFile(state.base, [...state.units, { ...unit, fate: "pending" }]))
}

const settle = <A extends { readonly fate: Fate }>(changes: ReadonlyArray<A>, fate: Fate): ReadonlyArray<A> =>
  changes.map((change) => change.fate === "pending" ? { ...change, fate } : change)

const settleFile = (disk: Disk, node: string, fate: Fate): Disk => {
  const state = disk.nodes.get(node) as FileState
  return withNode(disk, node, makeFile(state.base, settle(state.units, fate)))
}

const settleFolder = (disk: Disk, node: string, fate: Fate): Disk => {
  const state = disk.nodes.get(node) as FolderState
  return withNode(disk, node, makeFolder(state.base, settle(state.ops, fate)))
}

const newNode = (disk: Disk, path: string, state: State): readonly [disk: Disk, node: string] => {
  for (let n = 0;; n++) {
    const node = `${path}#${n}`
    const known = disk.nodes.get(node)
    // batons, which nobody keeps open, come and go without making new disks each time
    if (known === undefined || (known === state && path.endsWith(".free") && nodeAt(disk, path) === undefined)) {
      return [withNode(disk, node, state), node]
    }
  }
}

/** One call, all of it. */
export const perform = (disk: Disk, call: Call): Step => {
  switch (call.op) {
    case "exists":
      return ok(disk, nodeAt(disk, call.path) !== undefined)
    case "list": {
      const node = folderAt(disk, call.path)
      if (node === undefined) return ok(disk, [])
      const { visible } = disk.nodes.get(node) as FolderState
      const entries = Array.from(visible, ([name, node]) => ({ name, kind: disk.nodes.get(node)!.kind }))
      return ok(disk, entries.sort((a, b) => a.name < b.name ? -1 : 1))
    }
    case "openFile":
    case "openWritable": {
      const node = nodeAt(disk, call.path)
      if (node === undefined) return refuse(disk, "NotFound")
      return disk.nodes.get(node)!.kind === "file" ? ok(disk, node) : refuse(disk, "WrongKind")
    }
    case "createFile": {
      const [folder, name] = split(call.path)
      const parent = folderAt(disk, folder)
      if (parent === undefined) return refuse(disk, "NotFound")
      if (nodeAt(disk, call.path) !== undefined) return refuse(disk, "AlreadyExists")
      const [made, node] = newNode(disk, call.path, makeFile("", []))
      return ok(addOp(made, parent, { from: undefined, to: name, node }), node)
    }
    case "claim": {
      const [folder, name] = split(call.path)
      const node = nodeAt(disk, call.path)
      if (node === undefined) return ok(disk, false)
      return ok(addOp(disk, folderAt(disk, folder)!, { from: name, to: undefined, node }), true)
    }
    case "makeDirectory": {
      let at = disk
      let path = ""
      for (const name of call.path.split("/")) {
        const parent = folderAt(at, path)
        if (parent === undefined) return refuse(disk, "WrongKind")
        path = path === "" ? name : `${path}/${name}`
        if (nodeAt(at, path) !== undefined) continue
        const [made, node] = newNode(at, path, makeFolder(new Map(), []))
        at = addOp(made, parent, { from: undefined, to: name, node })
      }
      return ok(at)
    }
    case "syncDirectory": {
      const node = folderAt(disk, call.path)
      return node === undefined ? refuse(disk, "NotFound") : ok(settleFolder(disk, node, "durable"))
    }
    case "rename": {
      const [folder, from] = split(call.path)
      const [target, to] = split(call.to)
      const node = nodeAt(disk, call.path)
      if (node === undefined || folder !== target) return refuse(disk, "NotFound")
      const there = nodeAt(disk, call.to)
      if (there !== undefined) {
        const state = disk.nodes.get(there)!
        if (state.kind !== "directory") return refuse(disk, "WrongKind")
        if (state.visible.size > 0) return refuse(disk, "AlreadyExists")
      }
      return ok(addOp(disk, folderAt(disk, folder)!, { from, to, node }))
    }
    case "readDocument": {
      const node = nodeAt(disk, call.path)
      return ok(
        disk,
        node === undefined ? undefined : Buffer.from((disk.nodes.get(node) as FileState).visible, "latin1")
      )
    }
    case "replaceDocument": {
      const [folder, name] = split(call.path)
      const parent = folderAt(disk, folder)
      if (parent === undefined) return refuse(disk, "NotFound")
      const unit: Unit = { offset: 0, bytes: latin1(call.bytes), fate: call.sync ? "durable" : "pending" }
      const [made, node] = newNode(disk, call.path, makeFile("", [unit]))
      const linked = addOp(made, parent, { from: undefined, to: name, node })
      return ok(call.sync ? settleFolder(linked, parent, "durable") : linked)
    }
    case "remove": {
      const [folder, name] = split(call.path)
      const node = nodeAt(disk, call.path)
      if (node === undefined) return ok(disk)
      return ok(addOp(disk, folderAt(disk, folder)!, { from: name, to: undefined, node }))
    }
    case "protect":
      return nodeAt(disk, call.path) === undefined ? refuse(disk, "NotFound") : ok(disk)
    case "size":
      return ok(disk, (disk.nodes.get(call.node) as FileState).visible.length)
    case "read": {
      const { visible } = disk.nodes.get(call.node) as FileState
      return ok(disk, Buffer.from(visible.slice(call.offset, call.offset + call.length), "latin1"))
    }
    case "isCurrent":
      return ok(disk, nodeAt(disk, call.path) === call.node)
    case "write":
      return ok(
        call.bytes.length === 0 ? disk : addUnit(disk, call.node, { offset: call.offset, bytes: latin1(call.bytes) })
      )
    case "truncate": {
      const { visible } = disk.nodes.get(call.node) as FileState
      if (call.size === visible.length) return ok(disk)
      if (call.size > visible.length) {
        return ok(addUnit(disk, call.node, { offset: visible.length, bytes: call.size - visible.length }))
      }
      return ok(addUnit(disk, call.node, { offset: call.size, bytes: undefined }))
    }
    case "sync":
      return ok(settleFile(disk, call.node, "durable"))
  }
}

/** The ways in which a call may fail, with what it may leave behind. Empty for calls that are not made to fail. */
export const failures = (disk: Disk, call: Call, reason: Reason): ReadonlyArray<Step> => {
  switch (call.op) {
    case "write": {
      const half = call.bytes.subarray(0, Math.max(1, firstBatch(call.bytes)))
      const partly = half.length === call.bytes.length ? disk : perform(disk, { ...call, bytes: half }).disk
      return [disk, partly, perform(disk, call).disk].filter((it, i, all) =>
        all.findIndex((other) => other.id === it.id) === i
      ).map((it) => refuse(it, reason))
    }
    case "sync":
      return [refuse(settleFile(disk, call.node, "dead"), reason)]
    // No kernel forgets what it has in the journal of its folders: after a failed one it tries again, or refuses all that follows.
    case "syncDirectory":
    case "createFile":
      return [refuse(disk, reason)]
    default:
      return []
  }
}

/** The length of a group's first batch: behind its first commit line that is not the last line. */
const firstBatch = (bytes: Uint8Array): number => {
  const text = latin1(bytes)
  const at = text.indexOf(`{"kind":"commit"`)
  const end = at < 0 ? -1 : text.indexOf("\n", at) + 1
  return end > 0 && end < text.length ? end : text.length >> 1
}

/** A write in two halves, for a kernel in which others see the first before the second. */
export const halves = (call: Call): readonly [Call, Call] | undefined => {
  if (call.op !== "write" || call.bytes.length < 2) return undefined
  const at = firstBatch(call.bytes)
  return [{ ...call, bytes: call.bytes.subarray(0, at) }, {
    ...call,
    offset: call.offset + at,
    bytes: call.bytes.subarray(at)
  }]
}

// power loss

/** What may be left of a write that was not synced, beside all and nothing. */
const tears = (unit: Unit): ReadonlyArray<Unit> => {
  const { bytes, offset } = unit
  if (typeof bytes !== "string" || bytes.length < 2) return []
  const at = firstBatch(Buffer.from(bytes, "latin1"))
  const line = bytes.indexOf("\n") + 1
  const torn: Array<Unit> = [
    // the first batch of a group without the second, and the second without the first
    { ...unit, bytes: bytes.slice(0, at) },
    { ...unit, bytes: bytes.slice(at), offset: offset + at },
    // half of the last line; the size without the bytes
    { ...unit, bytes: bytes.slice(0, -20) },
    { ...unit, bytes: bytes.length }
  ]
  if (line > 0 && line < bytes.length) {
    // an event without its commit, and all but the first line
    torn.push({ ...unit, bytes: bytes.slice(0, line) }, { ...unit, bytes: bytes.slice(line), offset: offset + line })
  }
  return torn
}

const fileImages = new Map<number, { readonly plain: ReadonlyArray<string>; readonly torn: ReadonlyArray<string> }>()

/** What may be left of a file: with each unsynced write kept or lost, and (`torn`) with one of them torn. */
const imagesOfFile = (file: FileState) => {
  let known = fileImages.get(file.id)
  if (known === undefined) {
    const open = file.units.filter((unit) => unit.fate !== "durable")
    if (open.length > 10) throw new Error(`too many unsynced writes in one file: ${open.length}`)
    const plain = new Set<string>()
    const torn = new Set<string>()
    const options = open.map((unit) => [undefined, unit, ...tears(unit)] as const)
    const visit = (i: number, chosen: ReadonlyArray<Unit | undefined>, isTorn: boolean): void => {
      if (i === options.length) {
        let n = 0
        const left = file.units.map((unit) => unit.fate === "durable" ? unit : chosen[n++])
        ;(isTorn ? torn : plain).add(
          left.reduce<string>((content, unit) => unit === undefined ? content : applyUnit(content, unit), file.base)
        )
        return
      }
      options[i]!.forEach((option, k) => {
        if (k > 1 && isTorn) return
        visit(i + 1, [...chosen, option], isTorn || k > 1)
      })
    }
    visit(0, [], false)
    known = { plain: [...plain], torn: [...torn].filter((content) => !plain.has(content)) }
    fileImages.set(file.id, known)
  }
  return known
}

const folderImages = new Map<number, ReadonlyArray<Names>>()

const imagesOfFolder = (folder: FolderState): ReadonlyArray<Names> => {
  let known = folderImages.get(folder.id)
  if (known === undefined) {
    const open = folder.ops.filter((op) => op.fate !== "durable")
    if (open.length > 10) throw new Error(`too many unsynced changes in one folder: ${open.length}`)
    const found = new Map<string, Names>()
    for (let mask = 0; mask < 1 << open.length; mask++) {
      const names = new Map(folder.base)
      let bit = 0
      for (const op of folder.ops) {
        if (op.fate === "durable" || (mask >> bit++ & 1) === 1) applyOp(names, op)
      }
      found.set(namesKey(names), names)
    }
    known = [...found.values()]
    folderImages.set(folder.id, known)
  }
  return known
}

const images = new Map<string, ReadonlyArray<Disk>>()

/** All disks that a power loss may leave of this one; without `torn`, those in which each write is there or not. */
export const crashImages = (disk: Disk, torn: boolean): ReadonlyArray<Disk> => {
  const key = `${disk.id}${torn}`
  const known = images.get(key)
  if (known !== undefined) return known
  const found = new Map<number, Disk>()
  // folders first, from the root down: what no folder names any more is lost
  const withFolders = (
    todo: ReadonlyArray<string>,
    nodes: ReadonlyMap<string, State>,
    left: ReadonlyArray<string>
  ): void => {
    const [node, ...rest] = todo
    if (node === undefined) return withFiles(left, nodes)
    const state = disk.nodes.get(node)!
    if (state.kind === "file") return withFolders(rest, nodes, left.includes(node) ? left : [...left, node])
    if (nodes.has(node)) return withFolders(rest, nodes, left)
    for (const names of imagesOfFolder(state)) {
      const next = new Map(nodes)
      next.set(node, makeFolder(names, []))
      withFolders([...rest, ...names.values()], next, left)
    }
  }
  const withFiles = (left: ReadonlyArray<string>, nodes: ReadonlyMap<string, State>): void => {
    const all = left.map((node) => imagesOfFile(disk.nodes.get(node) as FileState))
    // one write is torn at a time: the others are kept or lost
    for (let which = -1; which < (torn ? left.length : 0); which++) {
      const visit = (i: number, made: Map<string, State>): void => {
        if (i === left.length) {
          const image = new Disk(made)
          found.set(image.id, image)
          return
        }
        for (const content of i === which ? all[i]!.torn : all[i]!.plain) {
          visit(i + 1, new Map(made).set(left[i]!, makeFile(content, [])))
        }
      }
      visit(0, new Map(nodes))
    }
  }
  withFolders([root], new Map(), [])
  const result = [...found.values()]
  images.set(key, result)
  return result
}

/** What is left when nothing unsynced survives. */
export const worstImage = (disk: Disk): Disk => {
  const nodes = new Map<string, State>()
  const visit = (node: string): void => {
    const state = disk.nodes.get(node)!
    if (state.kind === "file") {
      nodes.set(node, makeFile(state.units.filter((unit) => unit.fate === "durable").reduce(applyUnit, state.base), []))
    } else {
      const names = new Map(state.base)
      for (const op of state.ops) if (op.fate === "durable") applyOp(names, op)
      nodes.set(node, makeFolder(names, []))
      for (const below of names.values()) visit(below)
    }
  }
  visit(root)
  return new Disk(nodes)
}

/** What is left when all processes die and the machine stays. */
export const keptImage = (disk: Disk): Disk => {
  const nodes = new Map<string, State>()
  const visit = (node: string): void => {
    const state = disk.nodes.get(node)!
    nodes.set(node, state)
    if (state.kind === "directory") {
      for (const below of [...state.visible.values(), ...state.base.values()]) visit(below)
    }
  }
  visit(root)
  return new Disk(nodes)
}
