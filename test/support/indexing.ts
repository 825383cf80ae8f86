/** Histories for an index, processes that have it open, and what its answers must be: those of a look at everything. */
import { assert } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { hash } from "node:crypto"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as StorageMemory from "../../src/layers/StorageMemory.ts"
import * as Query from "../../src/Query.ts"
import { type Candidate, Index, type Range } from "../../src/services/Index.ts"
import { Storage, StorageError } from "../../src/services/Storage.ts"
import type { Draft, History } from "./fakeLedger.ts"

export type Service = Index["Service"]
export type Disk = Storage["Service"]

export const folder = "shop/indices"
export const runBytes = 2048

// histories

/** mulberry32 */
export const random = (seed: number) => {
  let state = seed | 0
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let n = Math.imul(state ^ (state >>> 15), 1 | state)
    n = (n + Math.imul(n ^ (n >>> 7), 61 | n)) ^ n
    return ((n ^ (n >>> 14)) >>> 0) % below
  }
}

export const types = ["Opened", "Closed", "Moved"]
export const tag = (n: number) => `k${n % 3}:v${n}`

export const batch = (history: History, next: (below: number) => number): ReadonlyArray<Draft> => {
  const position = history.cursor.position
  return Array.from({ length: 1 + next(4) }, (_, i): Draft => {
    if (position > 3 && next(8) === 0) {
      return {
        targets: Array.from({ length: 1 + next(3) }, () => 1 + next(position))
          .filter((target, at, all) => all.indexOf(target) === at && isEvent(history, target))
          .map((position) => ({ position, tags: [tag(next(9)), tag(9 + next(3))] }))
      }
    }
    return {
      type: types[next(3)]!,
      tags: [...new Set(Array.from({ length: next(4) }, () => tag(next(9))))],
      id: `id-${position + i + 1}`
    }
  })
}

export const isEvent = (history: History, position: number) =>
  history.commits.some(({ entries }) => entries.some((entry) => entry.kind === "event" && entry.position === position))

export const grow = (history: History, seed: number, commits: number): History => {
  const next = random(seed)
  for (let i = 0; i < commits; i++) {
    if (i > 0 && i % 23 === 0) history.roll()
    history.commit(batch(history, next))
  }
  return history
}

// what is right, by looking at everything

export const naive = (history: History) => {
  const floor = history.segments[history.archived]!.first
  const entries = history.commits.flatMap((commit) => commit.entries).filter(({ position }) => position >= floor)
  const events = entries.filter((entry) => entry.kind === "event")
  const additions = entries.filter((entry) => entry.kind === "tags")
  const added = (position: number, head: number) => [
    ...new Set(
      additions.filter((record) => record.position <= head).flatMap((record) =>
        record.targets.filter((target) => target.position === position).flatMap((target) => target.tags)
      )
    )
  ]
  return {
    events,
    additions,
    find: (query: Query.Any, { after, backwards, before }: Range) => {
      const found = events.filter((event) =>
        event.position > after && event.position < before &&
        Query.matches(query, { type: event.type, tags: [...event.tags, ...added(event.position, Infinity)] })
      ).map((event) => event.position)
      return backwards ? found.reverse() : found
    },
    findAdditions: (query: Query.Any, after: number) => {
      const tags = query.items === "all" ? [] : query.items.flatMap((item) => item.tags ?? [])
      return additions.filter((record) =>
        record.position > after && record.targets.some((target) => target.tags.some((tag) => tags.includes(tag)))
      ).map((record) => record.position)
    },
    additionsIn: (after: number, before: number) =>
      additions.map(({ position }) => position).filter((position) => position > after && position < before).reverse(),
    added
  }
}

// processes

export const open = Effect.fnUntraced(function*(
  history: History,
  disk: Disk,
  options: {
    readonly runBytes?: number
    readonly fanOut?: number
    readonly readOnly?: boolean
    readonly known?: () => number
    /** With a mutant in it. */
    readonly module?: typeof IndexLive
  } = {}
) {
  const { known, module = IndexLive, ...rest } = options
  const layer = module.layer({ store: "shop", runBytes, fanOut: Infinity, ...rest }).pipe(
    Layer.provide([history.layer(known), Layer.succeed(Storage, disk)])
  )
  return Context.get(yield* Layer.build(layer), Index)
})

export const warnings: Array<string> = []
export const logs = Logger.layer([Logger.make(({ logLevel, message }) => {
  if (logLevel === "Warn") warnings.push(String((message as ReadonlyArray<unknown>)[0]))
})])

export const freshDisk = Effect.tap(StorageMemory.make, (disk) => disk.makeDirectory("shop"))

export const all = Effect.fnUntraced(function*(index: Service, query: Query.Any, range: Range) {
  const candidates = index.find(query, range)
  const out: Array<number> = []
  for (;;) {
    const page = yield* candidates.next
    if (page.length === 0) return out
    assert.isAtMost(page.length, 4096)
    for (const { position } of page) out.push(position)
  }
})

export const queries: ReadonlyArray<Query.Any> = [
  Query.all,
  Query.types("Opened"),
  Query.types("Opened", "Closed"),
  Query.types("Unknown"),
  Query.tags("k0:v0"),
  Query.tags("k1:v1", "k2:v2"),
  Query.tags("k0:v9"),
  Query.tags("k0:v9", "k0:v3"),
  Query.tags("k0:unknown"),
  Query.fromItems({ types: ["Moved"], tags: ["k1:v4"] }),
  Query.fromItems({ types: ["Moved", "Closed"], tags: ["k1:v10"] }, { tags: ["k2:v5", "k0:v6"] }, {
    types: ["Opened"],
    tags: ["k0:v0"]
  })
]

/** Compares everything that an index answers with what a look at the whole history says. */
export const check = Effect.fnUntraced(function*(index: Service, history: History, ranges?: ReadonlyArray<Range>) {
  const truth = naive(history)
  const head = history.cursor.position
  const ledger = history.ledger()
  assert.deepStrictEqual(yield* index.cursor, head === 0 ? undefined : history.cursor)
  for (const query of queries) {
    for (
      const range of ranges ?? [
        { after: 0, before: Infinity, backwards: false },
        { after: 0, before: head + 1, backwards: true },
        { after: Math.floor(head / 3), before: head - 4, backwards: false },
        { after: Math.floor(head / 3), before: head - 4, backwards: true }
      ]
    ) {
      assert.deepStrictEqual(
        yield* all(index, query, range),
        truth.find(query, range),
        `${JSON.stringify(query.items)} ${JSON.stringify(range)}`
      )
    }
    for (const after of [0, Math.floor(head / 2), head]) {
      const found = yield* index.findAdditions(query, after)
      assert.deepStrictEqual(found.map(({ position }) => position as number), truth.findAdditions(query, after))
      assert.deepStrictEqual(
        (yield* ledger.read(found)).map(({ kind, position }) => [kind, position]),
        found.map((r) => ["tags", r.position])
      )
    }
  }
  for (
    const [after, before] of [[0, Infinity], [Math.floor(head / 3), head - 4], [head - 9, head + 1], [head, Infinity], [
      9,
      9
    ]] as const
  ) {
    const found: Array<Candidate> = []
    const candidates = index.additions(after, before)
    for (let page = yield* candidates.next; page.length > 0; page = yield* candidates.next) found.push(...page)
    assert.deepStrictEqual(
      found.map(({ position }) => position as number),
      truth.additionsIn(after, before) as Array<any>
    )
    assert.deepStrictEqual((yield* ledger.read(found)).map(({ kind }) => kind), found.map(() => "tags"))
  }
  // the places lead to the records
  const found = yield* index.find(Query.all, { after: 0, before: Infinity, backwards: false }).next
  assert.deepStrictEqual(
    (yield* ledger.read(found)).map(({ kind, position }) => [kind, position]),
    truth.events.slice(0, found.length).map(({ position }) => ["event", position])
  )
  for (const query of queries) {
    for (const after of [0, Math.floor(head / 2), head - 3, head]) {
      // what becomes a match by tags that were added later is one at their position
      const isThere = truth.find(query, { after, before: Infinity, backwards: false }).length > 0 ||
        truth.findAdditions(query, after).length > 0
      if (isThere) assert.isTrue(index.mayMatch(query, after), `${JSON.stringify(query.items)} behind ${after}`)
    }
  }
  for (const { metadata: { id } } of truth.events) assert.isTrue(index.mayHaveIds(["id-unknown", id]))
  const ids = ["id-1", "id-7", `id-${head}`, "id-unknown", "id-7"]
  assert.deepStrictEqual(
    (yield* index.findIds(ids)).map(({ position }) => position),
    truth.events.filter(({ metadata: { id } }) => ids.includes(id)).map(({ position }) => position)
  )
  const positions = truth.events.map(({ position }) => position)
  for (const at of [head, Math.floor(head / 2)]) {
    assert.deepStrictEqual(
      [...yield* index.addedTags(positions, at)].sort(([a], [b]) => a - b),
      positions.map((position) => [position, truth.added(position, at)] as const).filter(([, tags]) =>
        tags.length > 0
      ) as never
    )
  }
  for (const { length, offset, position, segment } of [...truth.events, ...truth.additions]) {
    assert.deepStrictEqual(yield* index.locate(position), { segment, offset, length })
  }
  assert.isUndefined(yield* index.locate(head + 1))
  const { additions, events } = yield* index.counts
  assert.deepStrictEqual({ additions, events }, { additions: truth.additions.length, events: truth.events.length })
})

export const names = Effect.fnUntraced(function*(disk: Disk) {
  return (yield* disk.list(folder)).map(({ name }) => name).sort()
})

export const files = Effect.fnUntraced(function*(disk: Disk) {
  const out = new Map<string, string>()
  for (const name of yield* names(disk)) {
    out.set(name, Buffer.from((yield* disk.readDocument(`${folder}/${name}`))!).toString("hex"))
  }
  return out
})

/** Short enough for a message: what differs is seen by the names. */
export const digests = Effect.fnUntraced(function*(disk: Disk) {
  return new Map([...yield* files(disk)].map(([name, hex]) => [name, hash("sha256", hex)]))
})

/** With the index files of a history, made by a process that opened it. */
export const indexed = Effect.fnUntraced(function*(history: History, bytes = runBytes) {
  const disk = yield* freshDisk
  yield* Effect.scoped(open(history, disk, { runBytes: bytes }))
  return disk
})

/** A disk that refuses some of the writes. */
export const refusing = (disk: Disk, refuses: () => boolean): Disk => ({
  ...disk,
  replaceDocument: (path, bytes, options) =>
    refuses()
      ? Effect.fail(new StorageError({ operation: "replaceDocument", path, reason: "DiskFull" }))
      : disk.replaceDocument(path, bytes, options)
})
