import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Query from "../../src/Query.ts"
import type { Range } from "../../src/services/Index.ts"
import { StorageError } from "../../src/services/Storage.ts"
import { type Draft, History } from "../support/fakeLedger.ts"
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
  naive,
  names,
  open,
  queries,
  random,
  refusing,
  tag,
  warnings
} from "../support/indexing.ts"

const Seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 31 }))
const forwards: Range = { after: 0, before: Infinity, backwards: false }

describe("IndexLive", () => {
  it.layer(logs)((it) => {
    it.effect.prop(
      "answers as a look at everything would, as it grows, opened again, and derived anew",
      { seed: Seed },
      ({ seed }) =>
        Effect.gen(function*() {
          const history = grow(new History(), seed, 1)
          const disk = yield* freshDisk
          yield* Effect.scoped(Effect.gen(function*() {
            const index = yield* open(history, disk)
            yield* check(index, history)
            const next = random(seed + 1)
            for (let round = 0; round < 3; round++) {
              const commits = Array.from({ length: 1 + next(20) }, () => history.commit(batch(history, next)))
              if (next(2) === 0) history.roll()
              yield* index.add(commits)
              yield* check(index, history)
            }
            // more than enough for some runs
            yield* index.add(Array.from({ length: 30 }, () => history.commit(batch(history, next))))
            yield* check(index, history)
          }))
          const made = yield* digests(disk)
          assert.isAtLeast(made.size, 3)
          yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
          assert.deepStrictEqual(yield* digests(disk), made)
          yield* disk.remove(folder)
          yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
          assert.deepStrictEqual(yield* digests(disk), made, "the files are a function of the history")
        }),
      { arbitrary: { runs: 15 } }
    )

    it.effect("covers nothing of an empty history, and then what comes", () =>
      Effect.gen(function*() {
        const history = new History()
        const index = yield* open(history, yield* freshDisk)
        yield* check(index, history)
        yield* index.add([history.commit([{ type: "Opened", tags: ["k0:v0"], id: "id-1" }])])
        yield* check(index, history)
      }))

    it.effect("leaves out commits that it knows, and dies if one is missing", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 1, 10)
        const index = yield* open(history, yield* freshDisk, { known: () => 6 })
        const [, , , , four, five, six, seven] = history.commits
        assert.isTrue((yield* Effect.exit(index.add([seven!])))._tag === "Failure")
        yield* index.add([four!, five!, six!])
        yield* index.add(history.commits)
        yield* check(index, history)
      }))

    it.effect("reads the newest part of the history only, when opened", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 2, 200)
        const disk = yield* indexed(history)
        assert.strictEqual(history.scanned, 200)
        history.scanned = 0
        const index = yield* open(history, disk)
        assert.isBelow(history.scanned, 10)
        assert.isAbove((yield* index.counts).runs, 10)
      }))

    it.effect("finds many in pages, in bounded steps", () =>
      Effect.gen(function*() {
        const history = new History()
        for (let i = 0; i < 6; i++) {
          history.commit(Array.from({ length: 2000 }, (_, j) => ({ type: "Opened", tags: ["k0:v0"], id: `${i}-${j}` })))
        }
        const disk = yield* freshDisk
        for (const bytes of [400_000, 4_000_000]) {
          yield* Effect.scoped(Effect.gen(function*() {
            const index = yield* open(history, disk, { runBytes: bytes })
            for (const query of [Query.all, Query.tags("k0:v0")]) {
              for (const backwards of [false, true]) {
                const found = yield* all(index, query, { after: 10, before: 11_990, backwards })
                if (backwards) found.reverse()
                assert.deepStrictEqual(found, Array.from({ length: 11_979 }, (_, i) => i + 11))
              }
            }
          }))
          yield* disk.remove(folder)
        }
        // one run in which lists take many blocks
        yield* Effect.scoped(open(history, disk, { runBytes: 2_000_000 }))
        const index = yield* open(history, disk, { runBytes: 2_000_000 })
        assert.strictEqual((yield* index.counts).runs, 1)
        assert.strictEqual((yield* all(index, Query.tags("k0:v0"), forwards)).length, 12_000)
        const ids = Array.from({ length: 300 }, (_, i) => `${i % 6}-${i * 6}`)
        assert.strictEqual((yield* index.findIds([...ids, ...ids.map((id) => `${id}x`)])).length, 300)
      }))

    it.effect("goes on rightly with a search while commits come in and become runs", () =>
      Effect.gen(function*() {
        for (const backwards of [false, true]) {
          const history = grow(new History(), 3, 60)
          const disk = yield* freshDisk
          // at first everything is in the tail
          const total = history.commits.reduce((sum, { bytes }) => sum + bytes, 0)
          const index = yield* open(history, disk, { runBytes: total + 500 })
          const head = history.cursor.position
          const expected = naive(history)
          for (const query of queries) {
            const range = { after: 2, before: head + 1, backwards }
            const candidates = index.find(query, range)
            const out = (yield* candidates.next).map(({ position }) => position as number)
            if (query === Query.all) {
              yield* index.add(
                Array.from({ length: 30 }, () => history.commit([{ type: "Opened", tags: ["k0:v0"], id: "x" }]))
              )
              assert.strictEqual((yield* index.counts).runs, 1)
            }
            for (let page; (page = yield* candidates.next).length > 0;) {
              out.push(...page.map(({ position }) => position as number))
            }
            assert.deepStrictEqual(out, expected.find(query, range))
          }
        }
      }))

    it.effect("goes on with a search whose tail became a run in between", () =>
      Effect.gen(function*() {
        for (const backwards of [false, true]) {
          for (const query of [Query.all, Query.tags("k0:v0")]) {
            const history = new History()
            const disk = yield* freshDisk
            const drafts = (n: number) =>
              Array.from({ length: n }, (): Draft => ({ type: "Opened", tags: ["k0:v0"], id: "x" }))
            for (let i = 0; i < 6; i++) history.commit(drafts(1000))
            const index = yield* open(history, disk, {
              runBytes: history.commits.reduce((sum, { bytes }) => sum + bytes, 1)
            })
            for (let i = 0; i < 5; i++) history.commit(drafts(1000))
            // The search knows a page of a tail of 6000, and asks for the rest when that is part of a run.
            const candidates = index.find(query, { after: 0, before: 6001, backwards })
            const found = (yield* candidates.next).map(({ position }) => position as number)
            assert.strictEqual(found.length, 4096)
            yield* index.add(history.commits)
            assert.strictEqual((yield* index.counts).runs, 1)
            for (let page; (page = yield* candidates.next).length > 0;) {
              found.push(...page.map(({ position }) => position as number))
            }
            if (backwards) found.reverse()
            assert.deepStrictEqual(found, Array.from({ length: 6000 }, (_, i) => i + 1))
          }
        }
      }))

    it.effect("answers many searches at once, while runs are made, and others repaired", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 4, 80)
        const disk = yield* indexed(history)
        for (const name of (yield* names(disk)).slice(3, 5)) {
          yield* disk.replaceDocument(`${folder}/${name}`, new Uint8Array(10), { sync: false })
        }
        const slowly: Disk = {
          ...disk,
          openFile: (path) => Effect.andThen(Effect.yieldNow, disk.openFile(path)),
          replaceDocument: (path, bytes, options) =>
            disk.replaceDocument(path, bytes, options).pipe(Effect.tap(Effect.yieldNow), Effect.tap(Effect.yieldNow))
        }
        const index = yield* open(history, slowly)
        let done = false
        let searches = 0
        const search = (query: Query.Any, backwards: boolean) =>
          Effect.gen(function*() {
            do {
              // as a reader that saw the newest commit
              const range = { after: 0, before: (yield* index.cursor)!.position + 1, backwards }
              const right = naive(history).find(query, range)
              assert.deepStrictEqual(yield* all(index, query, range), right)
              searches++
              yield* Effect.yieldNow
            } while (!done)
          })
        yield* Effect.all([
          ...queries.flatMap((query) => [search(query, false), search(query, true)]),
          Effect.gen(function*() {
            for (let i = 0; i < 60; i++) {
              yield* index.add([history.commit([{ type: "Opened", tags: ["k0:v0"], id: "x" }])])
              yield* Effect.yieldNow
            }
            done = true
          })
        ], { concurrency: "unbounded" })
        assert.isAbove(searches, queries.length * 2 * 10)
        yield* check(index, history)
      }))

    describe("what is wrong with its files", () => {
      /** A few records of every kind: small files, so that every byte can be tried. */
      const small = () => {
        const history = new History()
        history.commit([{ type: "Opened", tags: ["k0:v0", "k1:v1"], id: "id-1" }, {
          type: "Closed",
          tags: ["k0:v0"],
          id: "id-2"
        }])
        history.commit([{ targets: [{ position: 1, tags: ["k0:v9"] }] }])
        history.commit([{ type: "Opened", tags: ["k0:v0", "k2:v5"], id: "id-4" }, {
          type: "Moved",
          tags: ["k0:v6"],
          id: "id-5"
        }])
        history.commit([{ targets: [{ position: 4, tags: ["k0:v0", "k0:v6"] }, { position: 2, tags: ["k0:v3"] }] }])
        history.commit([{ type: "Moved", tags: ["k1:v4"], id: "id-7" }])
        return history
      }
      const brief: ReadonlyArray<Range> = [{ after: 0, before: 100, backwards: false }]

      it.effect("a flipped byte, whichever, of any of them", () =>
        Effect.gen(function*() {
          const history = small()
          const disk = yield* indexed(history, 600)
          const made = yield* files(disk)
          assert.isAtLeast(made.size, 2)
          for (const [name, hex] of made) {
            const bytes = Buffer.from(hex, "hex")
            for (let at = 0; at < bytes.length; at++) {
              const damaged = Buffer.from(bytes)
              damaged[at]! ^= 1 << (at % 8)
              yield* disk.replaceDocument(`${folder}/${name}`, damaged, { sync: false })
              yield* Effect.scoped(
                Effect.flatMap(open(history, disk, { runBytes: 600 }), (index) => check(index, history, brief))
              )
              assert.deepStrictEqual(
                Buffer.from((yield* disk.readDocument(`${folder}/${name}`))!).toString("hex"),
                hex,
                `byte ${at} of ${name} was not noticed, or the file not made again`
              )
            }
          }
        }))

      it.effect("a length that is not its own", () =>
        Effect.gen(function*() {
          const history = small()
          const disk = yield* indexed(history, 600)
          for (const [name, hex] of yield* files(disk)) {
            const bytes = Buffer.from(hex, "hex")
            for (let length = 0; length < bytes.length; length += 7) {
              yield* disk.replaceDocument(`${folder}/${name}`, bytes.subarray(0, length), { sync: false })
              yield* Effect.scoped(
                Effect.flatMap(open(history, disk, { runBytes: 600 }), (index) => check(index, history, brief))
              )
            }
          }
        }))

      it.effect("blocks that are whole, but not where they belong", () =>
        Effect.gen(function*() {
          const history = new History()
          for (let i = 0; i < 9; i++) {
            history.commit(
              Array.from({ length: 200 }, (_, j) => ({ type: "Opened", tags: [tag((i + j) % 9)], id: `${i}-${j}` }))
            )
          }
          const disk = yield* indexed(history, 200_000)
          const path = `${folder}/${(yield* names(disk))[0]}`
          const bytes = (yield* disk.readDocument(path))!
          const swapped = Uint8Array.from(bytes)
          swapped.set(bytes.subarray(256, 256 + 4096), 256 + 4096)
          swapped.set(bytes.subarray(256 + 4096, 256 + 8192), 256)
          yield* disk.replaceDocument(path, swapped, { sync: false })
          yield* check(yield* open(history, disk, { runBytes: 200_000 }), history, brief)
          assert.deepStrictEqual(yield* disk.readDocument(path), bytes)
        }))

      it.effect("any of them, or several, are missing", () =>
        Effect.gen(function*() {
          const history = grow(new History(), 5, 60)
          const disk = yield* indexed(history)
          const made = yield* digests(disk)
          const list = [...made.keys()]
          for (let i = 0; i < list.length; i++) {
            yield* disk.remove(`${folder}/${list[i]}`)
            yield* disk.remove(`${folder}/${list[(i * 3) % list.length]}`)
            history.scanned = 0
            yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
            assert.deepStrictEqual(yield* digests(disk), made)
            assert.isBelow(history.scanned, 45, "those that are there are used")
          }
        }))

      it.effect("they vanish, or are damaged, while the index is open", () =>
        Effect.gen(function*() {
          const history = grow(new History(), 6, 60)
          const disk = yield* indexed(history)
          const made = yield* digests(disk)
          const index = yield* open(history, disk)
          yield* disk.remove(folder)
          // The newest is derived first, without any other to begin at.
          yield* check(index, history, [{ after: 0, before: history.cursor.position + 1, backwards: true }])
          yield* check(index, history)
          // All but the newest, whose file was open.
          made.delete([...made.keys()].at(-1)!)
          assert.deepStrictEqual(yield* digests(disk), made)
        }))

      it.effect("they are another store's, or another history's of the same store", () =>
        Effect.gen(function*() {
          const history = grow(new History(), 7, 60)
          const disk = yield* indexed(history)
          const made = yield* digests(disk)
          // One begins as this history does; commits have the same sizes, so boundaries are at the same positions.
          const forge = (storeId: string, shared: number) => {
            const other = new History(storeId)
            for (const [i, { entries }] of history.commits.entries()) {
              if (i > 0 && i % 23 === 0) other.roll()
              other.commit(entries.map((entry): Draft =>
                entry.kind === "tags" ? { targets: entry.targets } : {
                  type: entry.type,
                  tags: i < shared ? entry.tags : entry.tags.map((tag) => `${tag.slice(0, -1)}x`),
                  id: entry.metadata.id
                }
              ))
            }
            return other
          }
          for (const other of [forge("store-2", 0), forge("store-1", 0), forge("store-1", 20)]) {
            const foreign = yield* files(yield* indexed(other))
            assert.deepStrictEqual([...foreign.keys()], [...made.keys()])
            // all of them, and one by one
            for (const chosen of [[...foreign.keys()], ...[...foreign.keys()].map((name) => [name])]) {
              for (const name of chosen) {
                yield* disk.replaceDocument(`${folder}/${name}`, Buffer.from(foreign.get(name)!, "hex"), {
                  sync: false
                })
              }
              if (chosen.length > 1) {
                // A process that is behind meets them only when it makes the same runs.
                yield* Effect.scoped(Effect.gen(function*() {
                  const index = yield* open(history, disk, { known: () => 20 })
                  yield* index.add(history.commits)
                  yield* check(index, history)
                }))
                assert.deepStrictEqual((yield* digests(disk)).get(chosen.at(-1)!), made.get(chosen.at(-1)!))
                for (const name of chosen) {
                  yield* disk.replaceDocument(`${folder}/${name}`, Buffer.from(foreign.get(name)!, "hex"), {
                    sync: false
                  })
                }
              }
              yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
              assert.deepStrictEqual(yield* digests(disk), made)
            }
          }
        }))

      it.effect("their names are not those of their ranges, or of no range of whole commits", () =>
        Effect.gen(function*() {
          const history = grow(new History(), 8, 60)
          const disk = yield* indexed(history)
          const made = yield* files(disk)
          const [one, two, three] = [...made.keys()]
          // a boundary is moved into a commit, so that two names fit each other, but not the history
          const inside = history.commits.findIndex(({ first, last }) =>
            first > Number(two!.slice(0, 16)) && last > first && last < Number(three!.slice(0, 16))
          )
          const boundary = String(history.commits[inside]!.first).padStart(16, "0")
          const after = String(history.commits[inside]!.first + 1).padStart(16, "0")
          const bytes = Buffer.from(made.get(two!)!, "hex")
          yield* disk.remove(`${folder}/${two}`)
          yield* disk.replaceDocument(`${folder}/${two!.slice(0, 16)}-${boundary}.run`, bytes, { sync: false })
          yield* disk.replaceDocument(`${folder}/${after}-${two!.slice(17)}`, bytes, { sync: false })
          yield* disk.replaceDocument(`${folder}/${one!.slice(0, 16)}-${three!.slice(17)}.old`, bytes, { sync: false })
          yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
          yield* Effect.scoped(Effect.flatMap(open(history, disk), (index) => check(index, history)))
          const now = yield* files(disk)
          for (const [name, hex] of made) assert.strictEqual(now.get(name), hex)
        }))

      it.effect("left-over temporary files are removed, those of running processes and strangers' files are not", () =>
        Effect.gen(function*() {
          const history = grow(new History(), 9, 20)
          const disk = yield* indexed(history)
          const made = yield* names(disk)
          const dead = 2 ** 30
          const kept = [`.a.run.${process.pid}.00ff.tmp`, "notes.txt"]
          for (const name of [`.a.run.${dead}.00ff.tmp`, ...kept]) {
            yield* disk.replaceDocument(`${folder}/${name}`, new Uint8Array(3), { sync: false })
          }
          yield* Effect.scoped(open(history, disk))
          assert.deepStrictEqual(yield* names(disk), [...made, ...kept].sort())
        }))

      it.effect("fails, rather than leaves something out, if the ledger cannot be read either", () =>
        Effect.gen(function*() {
          const history = grow(new History(), 10, 60)
          const disk = yield* indexed(history)
          const name = (yield* names(disk))[2]!
          yield* disk.remove(`${folder}/${name}`)
          const list = yield* names(disk)
          yield* disk.replaceDocument(`${folder}/${name}`, new Uint8Array(300), { sync: false })
          const index = yield* open(history, disk)
          history.damagedFrom = Number(name.slice(0, 16))
          const failed = yield* Effect.flip(all(index, Query.tags("k0:v0"), forwards))
          assert.strictEqual(failed._tag, "LedgerDamaged")
          // what lies elsewhere is answered
          const after = Number(list[2]!.slice(0, 16))
          const range = { after, before: history.cursor.position + 1, backwards: true }
          assert.deepStrictEqual(
            yield* all(index, Query.types("Moved"), range),
            naive(history).find(Query.types("Moved"), range)
          )
          history.damagedFrom = Infinity
          yield* check(index, history)
        }))
    })

    it.effect("two processes make runs at once, and one that opens in between", () =>
      Effect.gen(function*() {
        const history = new History()
        const disk = yield* freshDisk
        const one = yield* open(history, disk)
        const two = yield* open(history, disk)
        const next = random(11)
        for (let round = 0; round < 12; round++) {
          const commits = Array.from({ length: 6 }, () => history.commit(batch(history, next)))
          yield* Effect.all([one.add(commits), two.add(commits)], { concurrency: "unbounded" })
          if (round % 4 === 0) yield* Effect.scoped(open(history, disk))
        }
        yield* check(one, history)
        yield* check(two, history)
        const made = yield* digests(disk)
        assert.deepStrictEqual(made, yield* digests(yield* indexed(history)))
        // Another process's bound gives other files: each works with what it finds.
        const three = yield* open(history, disk, { runBytes: 700 })
        yield* check(three, history)
        assert.deepStrictEqual(yield* digests(disk), made)
      }))

    it.effect("a process that does not know all commits does not use, or remove, what others made of them", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 12, 60)
        const disk = yield* indexed(history)
        const made = yield* digests(disk)
        const index = yield* open(history, disk, { known: () => 20 })
        assert.deepStrictEqual(yield* index.cursor, history.commits[19]!.cursor)
        assert.deepStrictEqual(yield* digests(disk), made)
        history.scanned = 0
        yield* index.add(history.commits)
        yield* check(index, history)
        assert.deepStrictEqual(yield* digests(disk), made)
      }))

    it.effect("keeps in memory what cannot be written, warns once, and writes it when it can", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 13, 30)
        const disk = yield* freshDisk
        let full = true
        warnings.length = 0
        yield* Effect.scoped(Effect.gen(function*() {
          const index = yield* open(history, refusing(disk, () => full))
          yield* check(index, history)
          const next = random(14)
          yield* index.add(Array.from({ length: 30 }, () => history.commit(batch(history, next))))
          yield* check(index, history)
          assert.isAbove((yield* index.counts).runs, 4)
          assert.deepStrictEqual(yield* names(disk), [])
          assert.strictEqual(warnings.length, 1)
          full = false
          yield* index.add(Array.from({ length: 10 }, () => history.commit(batch(history, next))))
          yield* check(index, history)
        }))
        assert.strictEqual(warnings.length, 1)
        assert.deepStrictEqual(yield* digests(disk), yield* digests(yield* indexed(history)))
      }))

    it.effect("does without a folder that it cannot have", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 18, 40)
        const disk = yield* freshDisk
        yield* disk.replaceDocument(folder, new Uint8Array(1), { sync: false })
        const index = yield* open(history, disk)
        yield* check(index, history)
      }))

    it.effect("fails, and derives nothing, when it may not open more files", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 19, 60)
        const disk = yield* indexed(history)
        let refuse = false
        const index = yield* open(history, {
          ...disk,
          openFile: (path) =>
            refuse
              ? Effect.fail(new StorageError({ operation: "openFile", path, reason: "TooManyOpenFiles" }))
              : disk.openFile(path)
        })
        refuse = true
        history.scanned = 0
        assert.strictEqual((yield* Effect.flip(all(index, Query.tags("k0:v0"), forwards)))._tag, "StorageError")
        assert.strictEqual(history.scanned, 0)
        refuse = false
        yield* check(index, history)
      }))

    it.effect("opened for reading only, writes and removes nothing", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 15, 60)
        const disk = yield* indexed(history)
        const [one, two, three] = yield* names(disk)
        yield* disk.remove(`${folder}/${one}`)
        yield* disk.replaceDocument(`${folder}/${two}`, new Uint8Array(500), { sync: false })
        yield* disk.replaceDocument(`${folder}/.${three}.${2 ** 30}.00.tmp`, new Uint8Array(500), { sync: false })
        const before = yield* digests(disk)
        const readOnly: Disk = {
          ...disk,
          replaceDocument: () => Effect.die(new Error("written")),
          makeDirectory: () => Effect.die(new Error("written")),
          remove: () => Effect.die(new Error("removed"))
        }
        warnings.length = 0
        const index = yield* open(history, readOnly, { readOnly: true })
        yield* check(index, history)
        yield* check(index, history)
        assert.deepStrictEqual(yield* digests(disk), before)
        assert.strictEqual(warnings.filter((text) => text.includes("kept in memory")).length, 1)
        yield* disk.remove(folder)
        const bare = yield* open(history, readOnly, { readOnly: true })
        yield* check(bare, history)
      }))

    it.effect("begins where an archived history begins", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 16, 100)
        const disk = yield* indexed(history)
        const made = yield* files(disk)
        history.archived = 2
        const floor = history.segments[2]!.first
        history.scanned = 0
        yield* Effect.scoped(Effect.gen(function*() {
          const index = yield* open(history, disk)
          assert.isUndefined(yield* index.locate(floor - 1))
          assert.isBelow(history.scanned, 10, "the run that begins in the archive is used")
          const truth = naive(history)
          for (const query of queries) {
            assert.deepStrictEqual(yield* all(index, query, forwards), truth.find(query, forwards))
          }
        }))
        const left = yield* files(disk)
        assert.isBelow(left.size, made.size)
        // damage in that very run
        const name = [...left.keys()][0]!
        assert.isBelow(Number(name.slice(0, 16)), floor)
        const damaged = Buffer.from(left.get(name)!, "hex")
        damaged[400]! ^= 1
        yield* disk.replaceDocument(`${folder}/${name}`, damaged, { sync: false })
        for (let times = 0; times < 2; times++) {
          yield* Effect.scoped(Effect.gen(function*() {
            const index = yield* open(history, disk)
            const truth = naive(history)
            for (const query of queries) {
              assert.deepStrictEqual(yield* all(index, query, forwards), truth.find(query, forwards))
              assert.deepStrictEqual(
                (yield* index.findAdditions(query, 0)).map(({ position }) => position as number),
                truth.findAdditions(query, 0)
              )
            }
          }))
        }
        yield* disk.remove(folder)
        const index = yield* open(history, disk)
        yield* check(index, history)
        assert.isTrue((yield* names(disk))[0]!.startsWith(String(floor).padStart(16, "0")))
      }))

    it.effect("keeps few files open, and closes them in the end", () =>
      Effect.gen(function*() {
        const history = grow(new History(), 17, 260)
        const disk = yield* indexed(history, 600)
        let now = 0
        let most = 0
        const counting: Disk = {
          ...disk,
          openFile: (path) =>
            Effect.acquireRelease(
              Effect.tap(Effect.sync(() => most = Math.max(most, ++now)), Effect.yieldNow),
              () => Effect.sync(() => now--)
            ).pipe(Effect.andThen(disk.openFile(path)))
        }
        const scope = yield* Scope.make()
        const index = yield* Scope.provide(open(history, counting, { runBytes: 600 }), scope)
        assert.isAbove((yield* index.counts).runs, 80)
        yield* check(index, history)
        yield* check(index, history)
        assert.isAtMost(most, 66)
        assert.isAbove(now, 0)
        yield* Scope.close(scope, { _tag: "Success" } as never)
        assert.strictEqual(now, 0)
      }))
  })
})
