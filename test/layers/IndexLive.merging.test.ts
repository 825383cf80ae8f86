import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { crc32 } from "node:zlib"
import type * as IndexLive from "../../src/layers/IndexLive.ts"
import * as Format from "../../src/layers/internal/indexFormat.ts"
import { inRealTime } from "../../src/layers/internal/realTime.ts"
import * as Query from "../../src/Query.ts"
import { StorageError } from "../../src/services/Storage.ts"
import { History } from "../support/fakeLedger.ts"
import {
  all,
  batch,
  check,
  digests,
  type Disk,
  files,
  folder,
  freshDisk,
  grow,
  indexed,
  logs,
  names,
  open,
  random,
  runBytes,
  type Service,
  warnings
} from "../support/indexing.ts"
import { mutant } from "../support/mutants.ts"

const Seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 31 }))

const patience = 5000

/** Waits, by the real clock, until something holds. */
const eventually = (what: string, holds: Effect.Effect<boolean>) =>
  inRealTime(Effect.gen(function*() {
    const began = performance.now()
    while (!(yield* holds)) {
      if (performance.now() - began > patience) assert.fail(`${what}: not within ${patience} ms`)
      yield* Effect.sleep(1)
    }
  }))

/** How many runs there are of so many of the smallest, once all are merged that can be. */
const least = (smallest: number, fanOut: number): number =>
  smallest === 0 ? 0 : smallest % fanOut + least(Math.floor(smallest / fanOut), fanOut)

const smallestOf = Effect.fnUntraced(function*(history: History, bytes = runBytes) {
  return (yield* names(yield* indexed(history, bytes))).length
})

const merged = Effect.fnUntraced(function*(index: Service, history: History, fanOut: number, bytes = runBytes) {
  const runs = least(yield* smallestOf(history, bytes), fanOut)
  yield* eventually(`${runs} runs`, Effect.map(index.counts, (counts) => counts.runs === runs))
})

/** All is merged, and nothing but what is used is there. */
const settled = Effect.fnUntraced(function*(history: History, disk: Disk, fanOut: number, bytes = runBytes) {
  yield* Effect.scoped(
    Effect.flatMap(open(history, disk, { fanOut, runBytes: bytes }), (index) => merged(index, history, fanOut, bytes))
  )
  // the last one leaves what others may still look for
  yield* Effect.scoped(open(history, disk, { runBytes: bytes }))
})

describe("IndexLive, merging", () => {
  it.layer(logs)((it) => {
    it.effect.prop(
      "answers as a look at everything would, before, while and after runs are merged; the files are a function of the history",
      { seed: Seed },
      ({ seed }) =>
        Effect.gen(function*() {
          const next = random(seed)
          const fanOut = 2 + next(3)
          const history = grow(new History(), seed, 1)
          const disk = yield* freshDisk
          yield* Effect.scoped(Effect.gen(function*() {
            const index = yield* open(history, disk, { fanOut })
            for (let round = 0; round < 3; round++) {
              for (let i = 0; i < 20 + next(10); i++) {
                yield* index.add([history.commit(batch(history, next))])
                if (next(5) === 0) yield* Effect.yieldNow
              }
              if (next(2) === 0) history.roll()
              yield* check(index, history)
              if (next(2) === 0) yield* merged(index, history, fanOut)
              yield* check(index, history)
            }
            yield* merged(index, history, fanOut)
            yield* check(index, history)
          }))
          yield* settled(history, disk, fanOut)
          const made = yield* digests(disk)
          assert.strictEqual(made.size, least(yield* smallestOf(history), fanOut))
          yield* Effect.scoped(Effect.flatMap(open(history, disk, { fanOut }), (index) => check(index, history)))
          assert.deepStrictEqual(yield* digests(disk), made)
          // derived anew, by a process that has nothing else to do, and from the smallest ones
          const anew = yield* freshDisk
          yield* Effect.scoped(Effect.flatMap(open(history, anew, { fanOut }), (index) => check(index, history)))
          yield* Effect.scoped(open(history, anew))
          assert.deepStrictEqual(yield* digests(anew), made)
          const later = yield* indexed(history)
          yield* settled(history, later, fanOut)
          assert.deepStrictEqual(yield* digests(later), made)
        }),
      { arbitrary: { runs: 8 } }
    )

    it.effect("two processes merge at once, and make the same", () =>
      Effect.gen(function*() {
        const history = new History()
        const disk = yield* freshDisk
        yield* Effect.scoped(Effect.gen(function*() {
          const one = yield* open(history, disk, { fanOut: 2 })
          const two = yield* open(history, disk, { fanOut: 2 })
          const next = random(21)
          for (let round = 0; round < 15; round++) {
            const commits = Array.from({ length: 6 }, () => history.commit(batch(history, next)))
            yield* Effect.all([one.add(commits), two.add(commits)], { concurrency: "unbounded" })
            yield* inRealTime(Effect.sleep(1))
            yield* check(one, history)
            yield* check(two, history)
          }
          yield* merged(one, history, 2)
          yield* merged(two, history, 2)
          yield* check(one, history)
          yield* check(two, history)
        }))
        const made = yield* digests(disk)
        yield* settled(history, disk, 2)
        const now = yield* digests(disk)
        for (const [name, digest] of now) assert.strictEqual(made.get(name), digest)
        const alone = yield* indexed(history)
        yield* settled(history, alone, 2)
        assert.deepStrictEqual(now, yield* digests(alone))
      }))

    /** What a process derives whose runs were merged, and removed, by another. */
    const derivedWithout = Effect.fnUntraced(function*(module?: typeof IndexLive) {
      const history = grow(new History(), 22, 90)
      const disk = yield* indexed(history)
      const index = yield* open(history, disk, module === undefined ? {} : { module })
      const before = yield* index.counts
      yield* settled(history, disk, 2)
      history.scanned = 0
      yield* check(index, history)
      const after = yield* index.counts
      assert.isBelow(after.runs, before.runs)
      return history.scanned
    })

    it.effect("a process whose runs another one merged, and removed, goes on with the larger ones", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* derivedWithout(), 0)
        const weak = yield* Effect.promise(() =>
          mutant<typeof IndexLive>("src/layers/IndexLive.ts", "index-merged-away-is-derived")
        )
        assert.strictEqual((yield* Effect.exit(derivedWithout(weak)))._tag, "Failure")
      }))

    it.effect("so does one that is behind, though it must derive what goes beyond what it knows", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 23, 90)
        const disk = yield* indexed(history)
        let known = 50
        const index = yield* open(history, disk, { known: () => known })
        yield* settled(history, disk, 8)
        const found = yield* all(index, Query.all, { after: 0, before: Infinity, backwards: false })
        assert.isAbove(found.length, 50)
        known = history.commits.length
        yield* index.add(history.commits)
        yield* check(index, history)
        yield* settled(history, disk, 8)
        yield* check(index, history)
      }))

    it.effect("a search goes on while its runs are merged, and while a merged one is derived again in parts", () =>
      Effect.gen(function*() {
        for (const backwards of [false, true]) {
          for (const query of [Query.all, Query.types("Opened")]) {
            const history = new History()
            for (let i = 0; i < 16; i++) {
              history.commit(Array.from({ length: 700 }, () => ({ type: "Opened", tags: ["k0:v0"], id: "x" })))
            }
            const bytes = history.commits[0]!.bytes
            const disk = yield* indexed(history, bytes)
            yield* Effect.scoped(Effect.gen(function*() {
              const index = yield* open(history, disk, { fanOut: 4, runBytes: bytes })
              const candidates = index.find(query, { after: 0, before: 11_201, backwards })
              const found = (yield* candidates.next).map(({ position }) => position as number)
              yield* merged(index, history, 4, bytes)
              for (let page; (page = yield* candidates.next).length > 0;) {
                found.push(...page.map(({ position }) => position as number))
              }
              if (backwards) found.reverse()
              assert.deepStrictEqual(found, Array.from({ length: 11_200 }, (_, i) => i + 1))
            }))
            yield* settled(history, disk, 4, bytes)
            yield* Effect.scoped(Effect.gen(function*() {
              const index = yield* open(history, disk, { runBytes: bytes })
              assert.strictEqual((yield* index.counts).runs, 1)
              const candidates = index.find(query, { after: 0, before: 11_201, backwards })
              const found = (yield* candidates.next).map(({ position }) => position as number)
              const [name] = yield* names(disk)
              const damaged = (yield* disk.readDocument(`${folder}/${name}`))!.map(() => 7)
              const opened = yield* disk.openWritable(`${folder}/${name}`)
              yield* opened.write(0, damaged)
              const other = index.find(Query.types("Opened"), { after: 0, before: 11_201, backwards: !backwards })
              while ((yield* other.next).length > 0);
              for (let page; (page = yield* candidates.next).length > 0;) {
                found.push(...page.map(({ position }) => position as number))
              }
              if (backwards) found.reverse()
              assert.deepStrictEqual(found, Array.from({ length: 11_200 }, (_, i) => i + 1))
            }))
          }
        }
      }))

    it.effect("finds many in one large run in bounded steps", () =>
      Effect.gen(function*() {
        const history = new History()
        for (let i = 0; i < 20; i++) {
          history.commit(Array.from({ length: 2000 }, (_, j) => ({
            type: j % 3 === 0 ? "Opened" : "Closed",
            tags: ["k0:v0", `k1:v${j % 7}`],
            id: `${i}-${j}`
          })))
        }
        const disk = yield* indexed(history, 1000)
        yield* settled(history, disk, 20, 1000)
        const index = yield* open(history, disk)
        assert.strictEqual((yield* index.counts).runs, 1)
        const rights = (holds: (j: number) => boolean) =>
          Array.from({ length: 40_000 }, (_, i) => i + 1).filter((position) =>
            position > 10 && position < 39_990 && holds((position - 1) % 2000)
          )
        const cases: ReadonlyArray<readonly [Query.Any, ReadonlyArray<number>]> = [
          [Query.types("Opened"), rights((j) => j % 3 === 0)],
          [Query.types("Opened", "Closed"), rights(() => true)],
          [Query.tags("k0:v0", "k1:v3"), rights((j) => j % 7 === 3)],
          [
            Query.fromItems({ types: ["Closed"], tags: ["k1:v1"] }, { tags: ["k1:v2"] }),
            rights((j) => j % 7 === 2 || (j % 7 === 1 && j % 3 !== 0))
          ]
        ]
        for (const [query, right] of cases) {
          for (const backwards of [false, true]) {
            const found = yield* all(index, query, { after: 10, before: 39_990, backwards })
            assert.deepStrictEqual(backwards ? found.reverse() : found, right)
          }
        }
      }))

    it.effect("a large run that did not survive is made again, of its parts where they are still there", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 24, 90)
        const parts = yield* files(yield* indexed(history))
        const disk = yield* indexed(history)
        yield* settled(history, disk, 4)
        const made = yield* digests(disk)
        const whole = yield* files(disk)
        const large = [...whole.keys()].filter((name) => !parts.has(name))
        assert.isAtLeast(large.length, 2)
        for (const name of large) {
          for (const bytes of [new Uint8Array(), Buffer.from(whole.get(name)!, "hex").subarray(0, 3000)]) {
            // a power loss
            yield* disk.replaceDocument(`${folder}/${name}`, bytes, { sync: false })
            for (const [part, hex] of parts) {
              if (whole.has(part)) continue
              yield* disk.replaceDocument(`${folder}/${part}`, Buffer.from(hex, "hex"), { sync: false })
            }
            history.scanned = 0
            yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
            assert.isBelow(history.scanned, 10)
            yield* settled(history, disk, 4)
            assert.deepStrictEqual(yield* digests(disk), made)
            // and without any parts
            yield* disk.replaceDocument(`${folder}/${name}`, bytes, { sync: false })
            yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
            yield* settled(history, disk, 4)
            assert.deepStrictEqual(yield* digests(disk), made)
          }
        }
      }))

    it.effect("a flipped byte of a large run is noticed, and the run made again", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 25, 40)
        const disk = yield* indexed(history)
        yield* settled(history, disk, 3)
        const made = yield* digests(disk)
        for (const [name, hex] of yield* files(disk)) {
          const bytes = Buffer.from(hex, "hex")
          for (let at = 0; at < bytes.length; at += 101) {
            const damaged = Buffer.from(bytes)
            damaged[at]! ^= 1 << (at % 8)
            yield* disk.replaceDocument(`${folder}/${name}`, damaged, { sync: false })
            yield* Effect.scoped(
              Effect.flatMap(open(history, disk, { fanOut: 3 }), (index) =>
                check(index, history, [{ after: 0, before: 1000, backwards: at % 2 === 0 }]))
            )
            yield* settled(history, disk, 3)
            assert.deepStrictEqual(yield* digests(disk), made, `byte ${at} of ${name}`)
          }
        }
      }), 60_000)

    /** What is left of a disk that refuses to take large runs. */
    const leftBy = Effect.fnUntraced(
      function*(refuses: (disk: Disk, path: string) => Disk["createFile"], module?: typeof IndexLive) {
        const history = grow(new History(), 26, 60)
        const disk = yield* indexed(history)
        const made = yield* digests(disk)
        warnings.length = 0
        yield* Effect.scoped(Effect.gen(function*() {
          const refusing: Disk = { ...disk, createFile: (path) => refuses(disk, path)(path) }
          const index = yield* open(history, refusing, { fanOut: 4, ...(module === undefined ? {} : { module }) })
          yield* eventually("a warning", Effect.sync(() => warnings.some((text) => text.includes("merged"))))
          yield* check(index, history)
          const next = random(27)
          yield* index.add(Array.from({ length: 30 }, () => history.commit(batch(history, next))))
          yield* check(index, history)
        }))
        const left = yield* digests(disk)
        return [...made].filter(([name, digest]) => left.get(name) !== digest).length +
          [...left.keys()].filter((name) => name.endsWith(".tmp")).length
      }
    )
    const full = (path: string) => Effect.fail(new StorageError({ operation: "write", path, reason: "DiskFull" }))

    it.effect("a disk that refuses is a warning: appends go on, and nothing goes before the large run is there", () =>
      Effect.gen(function*() {
        const creating = () => full
        const writing = (disk: Disk) => (path: string) =>
          Effect.map(disk.createFile(path), (file) => ({ ...file, write: () => full(path) }))
        assert.strictEqual(yield* leftBy(creating), 0)
        assert.strictEqual(yield* leftBy(writing), 0)
        const weak = yield* Effect.promise(() =>
          mutant<typeof IndexLive>("src/layers/IndexLive.ts", "index-parts-removed-early")
        )
        assert.isAbove(yield* leftBy(writing, weak), 0)
      }))

    it.effect("is abandoned when the layer closes, and leaves nothing", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 28, 60)
        const disk = yield* indexed(history)
        const made = yield* digests(disk)
        let writing = 0
        const slow: Disk = {
          ...disk,
          createFile: (path) =>
            Effect.map(disk.createFile(path), (file) => ({
              ...file,
              write: (offset, bytes) =>
                Effect.suspend(() => {
                  writing++
                  return Effect.andThen(Effect.sleep(1_000_000), file.write(offset, bytes))
                })
            }))
        }
        const scope = yield* Scope.make()
        const index = yield* Scope.provide(open(history, slow, { fanOut: 4 }), scope)
        yield* eventually("a write", Effect.sync(() => writing > 0))
        assert.strictEqual((yield* names(disk)).filter((name) => name.endsWith(".tmp")).length, 1)
        yield* check(index, history)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* digests(disk), made)
      }))

    it.effect("opened for reading only, merges nothing", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 29, 60)
        const disk = yield* indexed(history)
        const made = yield* digests(disk)
        const index = yield* open(history, disk, { fanOut: 2, readOnly: true })
        yield* inRealTime(Effect.sleep(20))
        yield* check(index, history)
        assert.deepStrictEqual(yield* digests(disk), made)
      }))

    it.effect("goes on from where an archived history begins", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 30, 150)
        const disk = yield* indexed(history)
        yield* settled(history, disk, 2)
        history.archived = 2
        for (let round = 0; round < 3; round++) {
          const next = random(round)
          yield* Effect.scoped(Effect.gen(function*() {
            const index = yield* open(history, disk, { fanOut: 2 })
            yield* index.add(Array.from({ length: 9 }, () => history.commit(batch(history, next))))
            yield* inRealTime(Effect.sleep(20))
            assert.isBelow((yield* index.counts).runs, 16)
          }))
          const [oldest] = yield* names(disk)
          if (round > 0) continue
          const bytes = (yield* disk.readDocument(`${folder}/${oldest}`))!.slice()
          bytes[500]! ^= 1
          yield* disk.replaceDocument(`${folder}/${oldest}`, bytes, { sync: false })
        }
        yield* disk.remove(folder)
        const index = yield* open(history, disk, { fanOut: 2 })
        yield* check(index, history)
      }))

    it.effect("says what is certainly not there without a look at the disk, once it knows the filters", () =>
      Effect.gen(function*() {
        const looks = Effect.fnUntraced(function*(module?: typeof IndexLive) {
          const history = new History()
          for (let i = 0; i < 400; i++) {
            history.commit([{ type: "Opened", tags: [`k0:v${i}`, `k1:v${i % 3}`], id: `id-${i}` }])
          }
          const disk = yield* indexed(history)
          yield* settled(history, disk, 4)
          const index = yield* open(history, disk, { runBytes: 100_000, ...(module === undefined ? {} : { module }) })
          const head = history.cursor.position
          // nothing is known yet, so nothing is certain
          assert.isTrue(index.mayMatch(Query.tags("k0:v7"), 0))
          assert.isTrue(index.mayHaveIds(["id-7"]))
          yield* check(index, history)
          assert.isFalse(index.mayMatch(Query.tags("k0:new"), 0))
          assert.isFalse(index.mayMatch(Query.fromItems({ types: ["Opened"], tags: ["k1:v1", "k0:new"] }), 0))
          assert.isFalse(index.mayMatch(Query.all, head))
          assert.isFalse(index.mayHaveIds(["id-new"]))
          assert.isTrue(index.mayMatch(Query.all, head - 1))
          // both are in the tail, but in no event together
          yield* index.add([
            history.commit([{ type: "Moved", tags: ["k0:a"], id: "id-a" }]),
            history.commit([{ type: "Closed", tags: ["k0:b"], id: "id-b" }])
          ])
          assert.isFalse(index.mayMatch(Query.tags("k0:a", "k0:b"), head))
          assert.isFalse(index.mayMatch(Query.tags("k0:a"), head + 1))
          assert.isTrue(index.mayMatch(Query.tags("k0:a"), head))
          yield* index.add([history.commit([{ targets: [{ position: 5 as never, tags: ["k0:c"] }] }])])
          assert.isTrue(index.mayMatch(Query.tags("k0:c"), head + 2))
          assert.isTrue(index.mayMatch(Query.tags("k0:c", "k0:b"), head))
        })
        yield* looks()
        const weak = yield* Effect.promise(() =>
          mutant<typeof IndexLive>("src/layers/IndexLive.ts", "index-unloaded-is-absent")
        )
        assert.strictEqual((yield* Effect.exit(looks(weak)))._tag, "Failure")
      }))

    it.effect("merges at once, however long it had nothing to do, and while others want something", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 32, 10)
        const disk = yield* freshDisk
        const index = yield* open(history, disk, { fanOut: 4 })
        yield* inRealTime(Effect.sleep(300))
        const next = random(33)
        const began = performance.now()
        yield* inRealTime(Effect.gen(function*() {
          for (let i = 0; i < 40; i++) {
            yield* index.add([history.commit(batch(history, next))])
            yield* Effect.sleep(1)
          }
        }))
        const busy = performance.now() - began
        yield* merged(index, history, 4)
        assert.isBelow(performance.now() - began - busy, 250)
      }))

    it.effect("files of version 1 are none", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 31, 60)
        const disk = yield* indexed(history)
        const made = yield* digests(disk)
        for (const name of made.keys()) {
          const bytes = Buffer.from((yield* disk.readDocument(`${folder}/${name}`))!)
          bytes.writeUInt32LE(1, 8)
          bytes.writeUInt32LE(crc32(bytes.subarray(0, Format.headerBytes - 4)), Format.headerBytes - 4)
          yield* disk.replaceDocument(`${folder}/${name}`, bytes, { sync: false })
        }
        yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
        assert.deepStrictEqual(yield* digests(disk), made)
      }))
  })
})
