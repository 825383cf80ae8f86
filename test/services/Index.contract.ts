/** What every index promises, over a real ledger: its answers are those of a scan, and it can be thrown away. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as IndexLive from "../../src/layers/IndexLive.ts"
import * as Format from "../../src/layers/internal/ledgerFormat.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import * as Query from "../../src/Query.ts"
import { type Candidates, Index } from "../../src/services/Index.ts"
import * as Ledger from "../../src/services/Ledger.ts"
import type { Lock } from "../../src/services/Lock.ts"
import { Storage } from "../../src/services/Storage.ts"

interface Fact {
  readonly position: number
  readonly type: string
  readonly tags: ReadonlyArray<string>
  readonly id: string
}

const draft = ({ id, tags, type }: Omit<Fact, "position">): Ledger.EventDraft => ({
  kind: "event",
  type,
  tags: tags as never,
  metadata: { id, timestamp: "2026-01-01T00:00:00.000Z" },
  body: Format.encodeEvent({
    type,
    version: 1,
    tags,
    metadata: { id, timestamp: "2026-01-01T00:00:00.000Z" },
    data: { id }
  })
})

/** The same facts each time, in batches of one to four. */
const facts: ReadonlyArray<ReadonlyArray<Fact>> = (() => {
  const out: Array<Array<Fact>> = []
  for (let position = 1, batch = 0; position <= 160; batch++) {
    out.push(Array.from({ length: 1 + (batch % 4) }, () => {
      const n = position++
      return { position: n, type: `T${n % 3}`, tags: [`a:${n % 5}`, `b:${n % 7}`, `n:${n}`], id: `id${n}` }
    }))
  }
  return out
})()

const queries: ReadonlyArray<Query.Any> = [
  Query.all,
  Query.types("T1"),
  Query.types("T0", "T2"),
  Query.tags("a:3"),
  Query.tags("a:3", "b:4"),
  Query.tags("n:77"),
  Query.tags("a:none"),
  Query.fromItems({ types: ["T1"], tags: ["a:2"] }, { tags: ["b:6"] }),
  Query.types("Unknown")
]

const everything = Effect.fnUntraced(function*(candidates: Candidates) {
  const positions: Array<number> = []
  for (;;) {
    const next = yield* candidates.next
    if (next.length === 0) return positions
    for (const { position } of next) positions.push(position)
  }
})

/** Opens ledger and index, as one process does, until the scope given closes. */
const open = Effect.fnUntraced(function*(runBytes: number, fanOut = Infinity) {
  const scope = yield* Scope.make()
  const context = yield* Layer.build(
    Layer.fresh(
      IndexLive.layer({ store: "shop", runBytes, fanOut }).pipe(
        Layer.provideMerge(LedgerLive.layer({ store: "shop", segmentSize: 6000 }))
      )
    )
  ).pipe(Scope.provide(scope))
  const run = <A, E>(effect: Effect.Effect<A, E, Index | Ledger.Ledger>) => Effect.provide(effect, context)
  return { run, close: Scope.close(scope, Exit.void) }
})

const fill = Effect.gen(function*() {
  const ledger = yield* Ledger.Ledger
  const index = yield* Index
  for (const batch of facts) {
    if (yield* ledger.acquire) {
      for (let commits = yield* ledger.refresh; commits.length > 0; commits = yield* ledger.refresh) {
        yield* index.add(commits)
      }
    }
    const { commits } = yield* ledger.commit([batch.map(draft)] as never)
    yield* index.add(commits)
  }
})

/** Checks every query in both directions and several ranges against the facts. */
const check = Effect.gen(function*() {
  const index = yield* Index
  const ledger = yield* Ledger.Ledger
  const flat = facts.flat()
  for (const query of queries) {
    for (const [after, before] of [[0, 161], [0, 50], [49, 161], [80, 81], [100, 90]] as const) {
      const expected = flat
        .filter((fact) => fact.position > after && fact.position < before && Query.matches(query, fact))
        .map(({ position }) => position)
      for (const backwards of [false, true]) {
        const found = yield* everything(index.find(query, { after, before, backwards }))
        assert.strictEqual(new Set(found).size, found.length, "each once")
        assert.deepStrictEqual(found, [...found].sort((a, b) => backwards ? b - a : a - b), "in order")
        const matching = found.filter((position) => Query.matches(query, flat[position - 1]!))
        assert.deepStrictEqual(
          matching,
          backwards ? [...expected].reverse() : expected,
          `${query} in (${after}, ${before})`
        )
      }
    }
  }
  for (const fact of [flat[0]!, flat[63]!, flat[159]!]) {
    const place = yield* index.locate(fact.position)
    const [record] = yield* ledger.read([place!])
    assert.isTrue(record?.kind === "event" && record.metadata.id === fact.id)
    const ids = yield* index.findIds([fact.id, "nobody"])
    assert.isTrue(ids.some(({ position }) => (position as number) === fact.position))
  }
  assert.strictEqual(yield* index.locate(161), undefined)
  assert.deepStrictEqual((yield* index.counts).events, 160)
})

/** `layer`: a fresh, empty medium and its lock. */
export const suite = (name: string, layer: Layer.Layer<Storage | Lock, unknown>): void => {
  const test = (title: string, body: Effect.Effect<void, unknown, Storage | Lock | Scope.Scope>) =>
    it.effect(title, () => body.pipe(Effect.scoped, Effect.provide(Layer.fresh(layer))))

  describe(`Index: ${name}`, () => {
    for (
      const [title, runBytes, fanOut] of [["in memory alone", 10_000_000], ["with runs", 3000], [
        "with runs that are merged",
        1000,
        2
      ]] as const
    ) {
      test(
        `answers as a scan does, ${title}`,
        Effect.gen(function*() {
          const { close, run } = yield* open(runBytes, fanOut)
          yield* run(Effect.andThen(fill, check))
          const { runs } = yield* run(Effect.flatMap(Index, ({ counts }) => counts))
          if (fanOut === undefined) assert.strictEqual(runs > 3, runBytes === 3000)
          yield* close
        })
      )
    }

    test(
      "answers the same after opening again, after its folder is removed, and after its files are spoilt",
      Effect.gen(function*() {
        const storage = yield* Storage
        const first = yield* open(3000)
        yield* first.run(fill)
        yield* first.close
        const again = Effect.gen(function*() {
          const { close, run } = yield* open(3000)
          yield* run(check)
          yield* close
        })
        yield* again
        const files = yield* storage.list("shop/indices")
        assert.isAbove(files.length, 3)
        for (const { name } of files) {
          yield* Effect.scoped(Effect.gen(function*() {
            const file = yield* storage.openWritable(`shop/indices/${name}`)
            yield* file.write(Math.floor((yield* file.size) / 2), new Uint8Array([1, 2, 3]))
          }))
        }
        yield* again
        yield* storage.remove("shop/indices")
        yield* again
        // the ledger's runs are a function of the history alone
        assert.deepStrictEqual(
          (yield* storage.list("shop/indices")).map(({ name }) => name).sort(),
          files.map(({ name }) => name).sort()
        )
      })
    )

    test(
      "is caught up by whoever comes later",
      Effect.gen(function*() {
        const one = yield* open(3000)
        const two = yield* open(3000)
        yield* one.run(fill)
        yield* two.run(Effect.gen(function*() {
          const ledger = yield* Ledger.Ledger
          const index = yield* Index
          for (let commits = yield* ledger.refresh; commits.length > 0; commits = yield* ledger.refresh) {
            yield* index.add(commits)
          }
        }))
        yield* two.run(check)
        yield* one.run(check)
        yield* one.close
        yield* two.close
      })
    )
  })
}
