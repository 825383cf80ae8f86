import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Chunk } from "../../../src/layers/internal/indexChunk.ts"
import * as Format from "../../../src/layers/internal/indexFormat.ts"
import * as Merge from "../../../src/layers/internal/indexMerge.ts"
import type { Commit, Entry } from "../../../src/services/Ledger.ts"
import { random } from "../../support/indexing.ts"
import { mutant } from "../../support/mutants.ts"

const cursor = (position: number) => ({ segment: 3, end: 1000 + position, position, hash: "a".repeat(64) })

/** Some records of every kind, one a commit, from position 41 on: of common tags and of rare ones. */
const commitsOf = (n: number, seed: number): ReadonlyArray<Commit> => {
  const next = random(seed)
  return Array.from({ length: n }, (_, i) => {
    const position = 41 + i
    const place = { position, segment: 1 + next(3), offset: 1000 + i * 500, length: 100 + next(400) }
    const entry = next(9) === 0
      ? { kind: "tags", ...place, targets: [{ position: 1 + next(position), tags: [`k:${next(5)}`] }] }
      : {
        kind: "event",
        ...place,
        type: `T${next(3)}`,
        tags: [...new Set(Array.from({ length: next(4) }, () => `k:${next(1 + next(1 + next(2000)))}`))],
        metadata: { id: `id-${position}` }
      }
    return {
      cursor: cursor(position),
      first: position,
      last: position,
      bytes: 500,
      time: 0,
      entries: [entry as unknown as Entry]
    } as unknown as Commit
  })
}

const chunkOf = (commits: ReadonlyArray<Commit>, chunk = Chunk): Chunk => {
  const { first } = commits[0]!
  const made = new chunk(cursor(first - 1), first)
  for (const commit of commits) made.add(commit)
  return made
}

const additionsOf = (commits: ReadonlyArray<Commit>) =>
  commits.filter(({ entries }) => entries.some(({ kind }) => kind === "tags")).length

/** The commits cut at some places, each part a run. */
const runsOf = (
  commits: ReadonlyArray<Commit>,
  cuts: ReadonlyArray<number>,
  format = Format,
  chunk = Chunk
): ReadonlyArray<Format.Run> => {
  const ends = [...cuts, commits.length]
  return ends.map((end, i) => {
    const from = ends[i - 1] ?? 0
    const at = { additionsBefore: 5 + additionsOf(commits.slice(0, from)), ordinal: 8 + i, span: 1 }
    return format.encode(chunkOf(commits.slice(from, end), chunk), "store", at)
  })
}

const merged = (runs: ReadonlyArray<Format.Run>, module = Merge) =>
  Effect.gen(function*() {
    let bytes = Buffer.alloc(0)
    let pauses = 0
    const { filter, header } = yield* module.merge(runs.map(({ header }) => header), "store", {
      read: (run, offset, length) => Effect.sync(() => runs[run]!.bytes.subarray(offset, offset + length)),
      write: (offset, part) =>
        Effect.sync(() => {
          if (bytes.length < offset + part.length) {
            bytes = Buffer.concat([bytes, Buffer.alloc(offset + part.length - bytes.length, 0xff)])
          }
          bytes.set(part, offset)
        }),
      pause: Effect.sync(() => {
        pauses++
      })
    }, { filterBytes: Infinity })
    return { bytes: bytes as Uint8Array, filter, header, pauses }
  })

const listsOf = (format: typeof Format, bytes: Uint8Array) => {
  const header = format.parseHeader(bytes, "store")!
  return new format.RunLists(header, (number) => {
    const { length, offset } = format.blockAt(header.layout, number)
    return format.openBlock(header, number, bytes.subarray(offset, offset + length))!
  }, () => undefined)
}

const termsOf = (commits: ReadonlyArray<Commit>): ReadonlySet<string> =>
  new Set(commits.flatMap(({ entries: [entry] }) =>
    entry.kind === "event"
      ? [`t:${entry.type}`, `i:${entry.metadata.id}`, ...entry.tags.map((tag) => `g:${tag}`)]
      : entry.targets.flatMap(({ position, tags }) => [`p:${position}`, ...tags.map((tag) => `a:${tag}`)])
  ))

const Seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 31 }))

describe("indexMerge", () => {
  it.effect.prop(
    "gives the bytes of one run over the whole range",
    { seed: Seed },
    ({ seed }) =>
      Effect.gen(function*() {
        const next = random(seed)
        const commits = commitsOf(20 + next(3000), seed)
        const cuts = [...new Set(Array.from({ length: 1 + next(8) }, () => 1 + next(commits.length - 1)))]
          .sort((a, b) => a - b)
        const { bytes, filter, header } = yield* merged(runsOf(commits, cuts))
        const whole = Format.encode(chunkOf(commits), "store", {
          additionsBefore: 5,
          ordinal: 8,
          span: cuts.length + 1
        })
        assert.deepStrictEqual(header, whole.header)
        assert.isTrue(Buffer.from(bytes).equals(whole.bytes))
        assert.isTrue(Buffer.from(filter!).equals(whole.filter))
      }),
    { arbitrary: { runs: 25 } }
  )

  it.effect("merges what was merged, with lists of many blocks, in many small steps", () =>
    Effect.gen(function*() {
      const commits = commitsOf(60_000, 1)
      const runs = runsOf(commits, [10_000, 20_000, 30_000, 40_000, 50_000])
      const halves = yield* Effect.all([merged(runs.slice(0, 3)), merged(runs.slice(3))])
      const { bytes, pauses } = yield* merged(
        halves.map(({ bytes, filter, header }) => ({ bytes, header, filter: filter! }))
      )
      assert.isAbove(pauses, 50)
      const chunk = chunkOf(commits)
      const whole = Format.encode(chunk, "store", { additionsBefore: 5, ordinal: 8, span: 6 })
      assert.isTrue(Buffer.from(bytes).equals(whole.bytes))
      const lists = listsOf(Format, bytes)
      const ranges = [[41, 60_040], [41, 41], [60_040, 60_040], [12_000, 12_100], [30_000, 59_000], [
        5,
        70_000
      ]] as const
      for (const key of [...termsOf(commits)].filter((_, i) => i % 97 === 0).concat("t:T0", "t:T1", "g:k:0", "a:k:1")) {
        for (const [from, to] of ranges) {
          assert.deepStrictEqual(lists.list(Format.term(key), from, to), chunk.list(Format.term(key), from, to))
        }
      }
    }))

  it.effect("keeps lists whose terms have the same hash together", () =>
    Effect.gen(function*() {
      const format = yield* Effect.promise(() =>
        mutant<typeof Format>("src/layers/internal/indexFormat.ts", "index-weak-hash")
      )
      const { Chunk: WeakChunk } = yield* Effect.promise(() =>
        mutant<{ readonly Chunk: typeof Chunk }>("src/layers/internal/indexChunk.ts", "index-weak-hash")
      )
      const merge = yield* Effect.promise(() =>
        mutant<typeof Merge>("src/layers/internal/indexMerge.ts", "index-weak-hash")
      )
      const commits = commitsOf(400, 3)
      const { bytes } = yield* merged(runsOf(commits, [100, 250], format, WeakChunk), merge)
      const at = { additionsBefore: 5, ordinal: 8, span: 3 }
      assert.isTrue(Buffer.from(bytes).equals(format.encode(chunkOf(commits, WeakChunk), "store", at).bytes))
    }))

  it.effect("takes nothing from blocks that are damaged, or not there", () =>
    Effect.gen(function*() {
      const commits = commitsOf(300, 4)
      const runs = runsOf(commits, [100, 200])
      for (let at = Format.headerBytes; at < runs[1]!.header.layout.filter.offset; at += 13) {
        const damaged = Uint8Array.from(runs[1]!.bytes)
        damaged[at]! ^= 4
        assert.deepStrictEqual(
          yield* Effect.flip(merged([runs[0]!, { ...runs[1]!, bytes: damaged }, runs[2]!])),
          { damaged: 1 }
        )
      }
      const cut = { ...runs[2]!, bytes: runs[2]!.bytes.subarray(0, 5000) }
      assert.deepStrictEqual(yield* Effect.flip(merged([runs[0]!, runs[1]!, cut])), { damaged: 2 })
    }))

  for (const name of ["index-merge-loses-a-posting", "index-merge-loses-filter-bits"]) {
    it.effect(`finds all that was there: not with ${name}`, () =>
      Effect.gen(function*() {
        const weak = yield* Effect.promise(() => mutant<typeof Merge>("src/layers/internal/indexMerge.ts", name))
        const commits = commitsOf(2000, 5)
        const chunk = chunkOf(commits)
        const missing = Effect.fnUntraced(function*(module: typeof Merge) {
          const exit = yield* Effect.exit(merged(runsOf(commits, [500, 1000, 1500]), module))
          if (exit._tag === "Failure") return Infinity
          const lists = listsOf(Format, exit.value.bytes)
          return [...termsOf(commits)].filter((key) =>
            lists.list(Format.term(key)).length < chunk.list(Format.term(key)).length
          ).length
        })
        assert.strictEqual(yield* missing(Merge), 0)
        assert.isAbove(yield* missing(weak), 0)
      }))
  }
})
