/** What every ledger promises, whatever medium it stands on. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Format from "../../src/layers/internal/ledgerFormat.ts"
import * as LedgerLive from "../../src/layers/LedgerLive.ts"
import type * as Ledger from "../../src/services/Ledger.ts"
import type { Lock } from "../../src/services/Lock.ts"
import { Storage } from "../../src/services/Storage.ts"

// drafts

const draft = (id: string, size = 10): Ledger.EventDraft => {
  const event = {
    type: "Noted",
    version: 1,
    tags: [`note:${id}`],
    metadata: { id, timestamp: "2026-01-01T00:00:00.000Z" },
    data: { text: "ä".repeat(size) }
  }
  return {
    kind: "event",
    type: event.type,
    tags: event.tags as never,
    metadata: event.metadata,
    body: Format.encodeEvent(event)
  }
}
const batch = (...ids: ReadonlyArray<string>): Ledger.Batch => ids.map((id) => draft(id)) as never

// instances: each as a process of its own would have it, with a scope that can be closed or left behind

const open = Effect.fnUntraced(function*(options: Partial<LedgerLive.Options> = {}) {
  const scope = yield* Scope.make()
  const ledger = yield* LedgerLive.make({ store: "shop", ...options }).pipe(Scope.provide(scope))
  return { ledger, close: Scope.close(scope, Exit.void) }
})

const catchUp = Effect.fnUntraced(function*(ledger: Ledger.Ledger["Service"]) {
  const commits: Array<Ledger.Commit> = []
  for (;;) {
    const next = yield* ledger.refresh
    if (next.length === 0) return commits
    commits.push(...next)
  }
})

const commit = Effect.fnUntraced(function*(ledger: Ledger.Ledger["Service"], ...batches: ReadonlyArray<Ledger.Batch>) {
  if (yield* ledger.acquire) yield* catchUp(ledger)
  return yield* ledger.commit(batches as never)
})

const idsOf = Effect.fnUntraced(function*(ledger: Ledger.Ledger["Service"], from?: Ledger.Cursor) {
  const ids: Array<string> = []
  const scan = yield* ledger.scan(from)
  for (;;) {
    const commits = yield* scan.next
    if (commits.length === 0) return ids
    for (const { entries } of commits) {
      for (const entry of entries) if (entry.kind === "event") ids.push(entry.metadata.id)
    }
  }
})

const segment = (n: number) => `shop/ledger/${n.toString().padStart(10, "0")}.jsonl`

/** As if nobody had stopped in order. */
const takeBatons = Effect.gen(function*() {
  const storage = yield* Storage
  for (const { name } of yield* storage.list("shop/ledger")) {
    if (name.endsWith(".free")) yield* storage.remove(`shop/ledger/${name}`)
  }
})

const overwrite = Effect.fnUntraced(function*(path: string, offset: number, bytes: Uint8Array) {
  const storage = yield* Storage
  yield* Effect.scoped(Effect.flatMap(storage.openWritable(path), (file) => file.write(offset, bytes)))
})
const truncate = Effect.fnUntraced(function*(path: string, size: number) {
  const storage = yield* Storage
  yield* Effect.scoped(Effect.flatMap(storage.openWritable(path), (file) => file.truncate(size)))
})
const bytesOf = Effect.fnUntraced(function*(path: string) {
  const storage = yield* Storage
  return (yield* storage.readDocument(path)) ?? new Uint8Array(0)
})

/** `layer`: a fresh, empty medium and its lock. */
export const suite = (name: string, layer: Layer.Layer<Storage | Lock, unknown>): void => {
  const test = (title: string, body: Effect.Effect<void, unknown, Storage | Lock | Scope.Scope>) =>
    it.effect(title, () => body.pipe(Effect.scoped, Effect.provide(Layer.fresh(layer))))

  describe(`Ledger: ${name}`, () => {
    test(
      "numbers records from 1, chains commits, and gives records back by their place",
      Effect.gen(function*() {
        const { close, ledger } = yield* open()
        assert.strictEqual((yield* ledger.cursor).position, 0)
        const outcome = yield* commit(ledger, batch("a"), batch("b", "c"))
        assert.strictEqual(outcome.committed, 2)
        assert.deepStrictEqual(
          outcome.commits.map(({ first, last }) => [first, last] as const),
          [[1, 1], [2, 3]] as never
        )
        assert.deepStrictEqual(outcome.commits.map(({ cursor }) => cursor.hash), outcome.hashes as Array<string>)
        assert.notStrictEqual(outcome.hashes[0], outcome.hashes[1])
        const entries = outcome.commits.flatMap((made) => made.entries)
        const records = yield* ledger.read([entries[2]!, entries[0]!])
        assert.deepStrictEqual(
          records.map((record) =>
            record.kind === "event" ? [record.position as number, record.metadata.id, record.data] : []
          ),
          [[3, "c", { text: "ä".repeat(10) }], [1, "a", { text: "ä".repeat(10) }]]
        )
        assert.deepStrictEqual(yield* ledger.commitOf(entries[1]!), { first: 2, last: 3, hash: outcome.hashes[1]! })
        yield* close
      })
    )

    test(
      "makes its segment ready ahead, which others pass over, and cuts that off before it gives way",
      Effect.gen(function*() {
        const storage = yield* Storage
        const options = { padding: 4096, segmentSize: 20_000 }
        const a = yield* open(options)
        const b = yield* open(options)
        const sizeOf = (n: number) => Effect.scoped(Effect.flatMap(storage.openFile(segment(n)), (file) => file.size))
        const behind = (cursor: Ledger.Cursor) =>
          Effect.scoped(
            Effect.flatMap(storage.openFile(segment(cursor.segment)), (file) => file.read(cursor.end, 9000))
          )
        const ids: Array<string> = []
        const append = Effect.fnUntraced(function*(ledger: Ledger.Ledger["Service"], count: number) {
          for (let i = 0; i < count; i++) {
            ids.push(`e${ids.length}`)
            yield* commit(ledger, batch(ids.at(-1)!))
          }
          return yield* ledger.cursor
        })
        const first = yield* append(a.ledger, 8)
        // as much as was written, in front of it only line feeds, and the mark where it belongs
        const rest = yield* behind(first)
        assert.isAbove(rest.length, 500)
        assert.strictEqual(rest[0], 0x20)
        assert.isTrue(rest.subarray(1).every((byte) => byte === 0x0a))
        assert.deepStrictEqual((yield* a.ledger.segments).map(({ bytes }) => bytes), [first.end])
        // others stop at it, and go on when there is more
        assert.strictEqual((yield* catchUp(b.ledger)).length, 8)
        assert.isFalse(yield* b.ledger.isBehind)
        assert.deepStrictEqual(yield* catchUp(b.ledger), [])
        yield* append(a.ledger, 1)
        assert.isTrue(yield* b.ledger.isBehind)
        assert.strictEqual((yield* catchUp(b.ledger)).length, 1)
        // nothing but the mark is left of it for who comes next, in the same segment
        yield* a.ledger.release
        const released = yield* a.ledger.cursor
        assert.strictEqual(yield* sizeOf(1), released.end + 1)
        const next = yield* append(b.ledger, 3)
        assert.strictEqual(next.segment, 1)
        // no segment becomes longer by it, and a sealed one ends with its mark
        const last = yield* append(b.ledger, 60)
        assert.isAbove(last.segment, 1)
        assert.isAtMost(yield* sizeOf(last.segment), 20_000)
        assert.strictEqual(yield* sizeOf(1), (yield* b.ledger.segments)[0]!.bytes + 1)
        // who opens it meanwhile finds its end
        const c = yield* open({ ...options, readOnly: true })
        assert.deepStrictEqual(yield* idsOf(c.ledger), ids)
        yield* c.close
        yield* b.close
        assert.deepStrictEqual(yield* idsOf((yield* open()).ledger), ids)
      })
    )
    test(
      "commits nothing behind another position than the one that was decided on",
      Effect.gen(function*() {
        const { close, ledger } = yield* open()
        yield* commit(ledger, batch("a", "b"))
        for (const behind of [0, 1, 3]) {
          assert.deepStrictEqual(yield* ledger.commit([batch("x")], behind), { committed: 0, hashes: [], commits: [] })
        }
        assert.strictEqual((yield* ledger.commit([batch("c")], 2)).committed, 1)
        assert.deepStrictEqual(yield* idsOf(ledger), ["a", "b", "c"])
        yield* close
      })
    )

    test(
      "holds after opening again what was committed before, and carries on in the same segment after an orderly end",
      Effect.gen(function*() {
        const first = yield* open()
        yield* commit(first.ledger, batch("a", "b"))
        yield* first.close
        const second = yield* open()
        assert.strictEqual(second.ledger.storeId, first.ledger.storeId)
        yield* commit(second.ledger, batch("c"))
        yield* second.close
        const third = yield* open()
        assert.deepStrictEqual(yield* idsOf(third.ledger), ["a", "b", "c"])
        assert.strictEqual((yield* third.ledger.segments).length, 1)
        yield* third.close
      })
    )

    test(
      "begins a new segment when one is full, and reads across them",
      Effect.gen(function*() {
        const { close, ledger } = yield* open({ segmentSize: 1500 })
        const ids = Array.from({ length: 20 }, (_, i) => `e${i}`)
        for (const id of ids) assert.strictEqual((yield* commit(ledger, batch(id))).committed, 1)
        assert.isAbove((yield* ledger.segments).length, 3)
        assert.deepStrictEqual(yield* idsOf(ledger), ids)
        yield* close
        const again = yield* open({ segmentSize: 1500 })
        assert.deepStrictEqual(yield* idsOf(again.ledger), ids)
        const { position } = yield* again.ledger.cursor
        assert.strictEqual(position, 20)
        yield* again.close
      })
    )

    test(
      "tells another instance what was committed, and hands over to it",
      Effect.gen(function*() {
        const one = yield* open()
        const two = yield* open()
        yield* commit(one.ledger, batch("a"))
        assert.isTrue(yield* two.ledger.isBehind)
        assert.deepStrictEqual((yield* catchUp(two.ledger)).map(({ last }) => last as number), [1])
        assert.isFalse(yield* two.ledger.isBehind)
        yield* one.ledger.release
        yield* commit(two.ledger, batch("b"))
        yield* two.ledger.release
        yield* commit(one.ledger, batch("c"))
        assert.deepStrictEqual(yield* idsOf(one.ledger), ["a", "b", "c"])
        assert.strictEqual((yield* one.ledger.segments).length, 1)
        yield* one.close
        yield* two.close
      })
    )

    test(
      "continues behind the valid part of a torn commit, wherever it is cut",
      Effect.gen(function*() {
        const { close, ledger } = yield* open()
        yield* commit(ledger, batch("a"))
        const before = (yield* ledger.cursor).end
        yield* commit(ledger, batch("b", "c"))
        yield* close
        const storage = yield* Storage
        const whole = yield* bytesOf(segment(1))
        // the baton says that nothing was in flight: a torn tail cannot have one
        yield* takeBatons
        for (let size = before + 1; size < whole.length - 1; size += 7) {
          yield* storage.remove("shop")
          yield* Effect.flatMap(open(), ({ close }) => close)
          yield* takeBatons
          const made = yield* open()
          yield* commit(made.ledger, batch("a"))
          yield* commit(made.ledger, batch("b", "c"))
          const cut = (yield* made.ledger.cursor).end
          yield* made.close
          const last = (yield* made.ledger.segments).at(-1)!.number
          yield* takeBatons
          yield* truncate(segment(last), cut + 1 - (whole.length - size))
          const after = yield* open()
          assert.deepStrictEqual(yield* idsOf(after.ledger), ["a"])
          assert.strictEqual((yield* commit(after.ledger, batch("d"))).commits[0]!.first as number, 2)
          assert.deepStrictEqual(yield* idsOf(after.ledger), ["a", "d"])
          yield* after.close
          const again = yield* open()
          assert.deepStrictEqual(yield* idsOf(again.ledger), ["a", "d"])
          yield* again.close
        }
      })
    )

    test(
      "adopts a whole commit that was not confirmed",
      Effect.gen(function*() {
        const { close, ledger } = yield* open()
        yield* commit(ledger, batch("a"))
        const { end } = yield* ledger.cursor
        yield* close
        yield* takeBatons
        const cursor = { ...(yield* ledger.cursor) }
        const { bytes } = Format.encodeGroup([batch("b")], cursor, end + 1, 0)
        yield* overwrite(segment(1), end + 1, bytes)
        const reader = yield* open({ readOnly: true })
        assert.deepStrictEqual(yield* idsOf(reader.ledger), ["a"], "a reader believes confirmed commits alone")
        const after = yield* open()
        assert.strictEqual((yield* commit(after.ledger, batch("c"))).commits[0]!.first as number, 3)
        assert.deepStrictEqual(yield* idsOf(after.ledger), ["a", "b", "c"])
        yield* after.close
        assert.strictEqual((yield* catchUp(reader.ledger)).length, 2)
        yield* reader.close
      })
    )

    test(
      "refuses a history of which a segment is missing",
      Effect.gen(function*() {
        const { close, ledger } = yield* open({ segmentSize: 1200 })
        for (const id of ["a", "b", "c", "d", "e", "f"]) yield* commit(ledger, batch(id))
        const { length } = yield* ledger.segments
        assert.isAbove(length, 2)
        yield* close
        const storage = yield* Storage
        for (let number = 1; number < length; number++) {
          yield* storage.rename(segment(number), "kept")
          for (const readOnly of [true, false]) {
            const error = yield* Effect.flip(open({ readOnly }))
            assert.isTrue(error._tag === "LedgerDamaged" && error.file === segment(number), `segment ${number}`)
          }
          yield* storage.rename("kept", segment(number))
        }
        assert.deepStrictEqual((yield* idsOf((yield* open()).ledger)).length, 6)
      })
    )

    test(
      "recovers once: whoever opens after that carries on in the segment that the recovery began",
      Effect.gen(function*() {
        const { close, ledger } = yield* open()
        yield* commit(ledger, batch("a"))
        const { end } = yield* ledger.cursor
        yield* close
        // as a power loss leaves it: the commit without its mark, and the baton not there yet
        yield* takeBatons
        yield* truncate(segment(1), end)
        for (const id of ["b", "c", "d"]) {
          const { close, ledger } = yield* open()
          assert.include(yield* idsOf(ledger), "a", "there for readers, before anybody writes")
          yield* commit(ledger, batch(id))
          assert.strictEqual((yield* ledger.segments).length, 2)
          yield* close
        }
      })
    )

    test(
      "does not take a segment for unfinished because the mark of its header is damaged",
      Effect.gen(function*() {
        const one = yield* open({ segmentSize: 1200 })
        for (const id of ["a", "b", "c", "d"]) yield* commit(one.ledger, batch(id))
        const last = (yield* one.ledger.segments).at(-1)!.number
        assert.isAbove(last, 1)
        yield* one.close
        const bytes = Buffer.from(yield* bytesOf(segment(last)))
        yield* overwrite(segment(last), bytes.indexOf("\n") + 1, new Uint8Array([0]))
        for (const readOnly of [true, false]) {
          assert.strictEqual((yield* Effect.flip(open({ readOnly })))._tag, "LedgerDamaged")
        }
      })
    )

    test(
      "never gives a wrong answer when any byte is changed: an error with the place, or the right one",
      Effect.gen(function*() {
        const { close, ledger } = yield* open({ segmentSize: 1200 })
        const ids = ["a", "b", "c", "d", "e"]
        for (const id of ids) yield* commit(ledger, batch(id))
        yield* close
        const segments = yield* ledger.segments
        assert.isAbove(segments.length, 1)
        for (const { bytes: counted, number } of segments) {
          const whole = yield* bytesOf(segment(number))
          for (let at = 0; at < counted; at += 5) {
            for (const flip of [0x01, 0x80]) {
              yield* overwrite(segment(number), at, new Uint8Array([whole[at]! ^ flip]))
              const answer = yield* Effect.exit(Effect.gen(function*() {
                const opened = yield* open({ readOnly: true })
                return yield* Effect.onExit(idsOf(opened.ledger), () => opened.close)
              }))
              if (Exit.isSuccess(answer)) {
                // only the newest commit cannot be told from a torn one
                const found = answer.value
                assert.deepStrictEqual(found, ids.slice(0, found.length), `byte ${at} of segment ${number}`)
                assert.isAtLeast(found.length, ids.length - (number === segments.at(-1)!.number ? ids.length : 0))
              } else {
                const error = Exit.findErrorOption(answer)
                assert.isTrue(
                  error._tag === "Some" && typeof error.value._tag === "string",
                  `byte ${at}: a typed error`
                )
              }
              yield* overwrite(segment(number), at, whole.subarray(at, at + 1))
            }
          }
        }
      })
    )

    test(
      "refuses damage in a sealed segment with its place",
      Effect.gen(function*() {
        const { close, ledger } = yield* open({ segmentSize: 1200 })
        for (const id of ["a", "b", "c", "d"]) yield* commit(ledger, batch(id))
        yield* close
        const text = Buffer.from(yield* bytesOf(segment(1))).toString()
        const at = Buffer.byteLength(text.slice(0, text.indexOf("\"Noted\"")))
        yield* overwrite(segment(1), at + 1, Buffer.from("M"))
        const after = yield* open()
        const error = yield* Effect.flip(idsOf(after.ledger))
        assert.strictEqual(error._tag, "LedgerDamaged")
        if (error._tag === "LedgerDamaged") {
          assert.strictEqual(error.file, segment(1))
          assert.strictEqual(error.position as number, 1)
          assert.isAtMost(error.offset, at)
        }
        // appending goes on
        assert.strictEqual((yield* commit(after.ledger, batch("e"))).committed, 1)
        yield* after.close
      })
    )

    test(
      "refuses a confirm mark behind an invalid byte",
      Effect.gen(function*() {
        const { close, ledger } = yield* open()
        yield* commit(ledger, batch("a"))
        const middle = (yield* ledger.cursor).end
        yield* commit(ledger, batch("b"))
        yield* commit(ledger, batch("c"))
        yield* close
        yield* overwrite(segment(1), middle + 40, Buffer.from("#"))
        const { close: end, ledger: damaged } = yield* open()
        assert.strictEqual((yield* Effect.flip(idsOf(damaged)))._tag, "LedgerDamaged")
        yield* end
      })
    )

    test(
      "refuses a newer format, an unknown feature, a folder that is no store",
      Effect.gen(function*() {
        const storage = yield* Storage
        yield* Effect.flatMap(open(), ({ close }) => close)
        const text = Buffer.from(yield* bytesOf("shop/store.json")).toString()
        const refused = Effect.fnUntraced(function*(store: string, part: string) {
          const error = yield* Effect.flip(open({ store }))
          assert.strictEqual(error._tag, "LedgerUnsupported")
          assert.include(error.message, part)
        })
        const replace = (value: string) =>
          storage.replaceDocument("shop/store.json", Buffer.from(value), { sync: false })
        yield* replace(text.replace("\"format\": 1", "\"format\": 2"))
        yield* refused("shop", "format 2")
        yield* replace(text.replace("\"features\": []", "\"features\": [\"encryption\"]"))
        yield* refused("shop", "encryption")
        for (const damage of ["{}", "not json", "", "null", "[1]"]) {
          yield* replace(damage)
          const error = yield* Effect.flip(open())
          assert.isTrue(error._tag === "LedgerDamaged" && error.file === "shop/store.json", damage)
        }
        yield* storage.makeDirectory("letters")
        yield* storage.replaceDocument("letters/store.json", Buffer.from("{}"), { sync: false })
        yield* refused("letters", "does not describe a store")
        yield* replace(text)
        yield* Effect.flatMap(open(), ({ close }) => close)
        // a header that asks for more than the description does
        const header = Buffer.from(yield* bytesOf(segment(1))).toString().split("\n")[0]!
        const fields = JSON.parse(header) as Record<string, unknown>
        delete fields["hash"]
        delete fields["crc"]
        delete fields["kind"]
        const newer = Format.encodeHeader({ ...fields, features: ["x"] } as never)
        yield* storage.remove(segment(1))
        yield* Effect.scoped(Effect.flatMap(storage.createFile(segment(1)), (file) => file.write(0, newer.bytes)))
        const error = yield* Effect.flip(open())
        assert.strictEqual(error._tag, "LedgerUnsupported")
        // files, but no store
        yield* storage.makeDirectory("photos")
        yield* storage.replaceDocument("photos/cat.jpg", Buffer.from("cat"), { sync: false })
        yield* refused("photos", "no store")
        assert.deepStrictEqual(
          (yield* storage.list("photos")).map((entry) => entry.name),
          ["cat.jpg"],
          "nothing was written"
        )
        // an empty folder is as good as none
        yield* storage.makeDirectory("empty")
        yield* Effect.flatMap(open({ store: "empty" }), ({ close }) => close)
      })
    )

    test(
      "keeps two stores under one root apart",
      Effect.gen(function*() {
        const one = yield* open({ store: "one" })
        const two = yield* open({ store: "two" })
        assert.notStrictEqual(one.ledger.storeId, two.ledger.storeId)
        yield* commit(one.ledger, batch("a"))
        yield* commit(two.ledger, batch("b"))
        assert.deepStrictEqual(yield* idsOf(one.ledger), ["a"])
        assert.deepStrictEqual(yield* idsOf(two.ledger), ["b"])
        yield* one.close
        yield* two.close
      })
    )

    test(
      "refuses a segment of another store",
      Effect.gen(function*() {
        const one = yield* open({ store: "shop" })
        yield* commit(one.ledger, batch("a"))
        yield* one.close
        const two = yield* open({ store: "other" })
        yield* commit(two.ledger, batch("b"))
        yield* two.close
        const storage = yield* Storage
        yield* storage.remove(segment(1))
        yield* storage.rename("other/ledger/0000000001.jsonl", segment(1))
        const error = yield* Effect.flip(open())
        assert.strictEqual(error._tag, "LedgerDamaged")
        assert.include(error.message, "another store")
      })
    )

    test(
      "of two that make a store at once, both open the same",
      Effect.gen(function*() {
        const opened = yield* Effect.all(Array.from({ length: 5 }, () => open()), { concurrency: "unbounded" })
        assert.strictEqual(new Set(opened.map(({ ledger }) => ledger.storeId)).size, 1)
        for (const { close } of opened) yield* close
        const storage = yield* Storage
        assert.deepStrictEqual((yield* storage.list("")).map(({ name }) => name), ["shop"], "nothing is left over")
      })
    )

    test(
      "opened for reading only it writes nothing, and makes no store",
      Effect.gen(function*() {
        assert.strictEqual((yield* Effect.flip(open({ readOnly: true })))._tag, "StorageError")
        const storage = yield* Storage
        assert.deepStrictEqual(yield* storage.list(""), [])
        const writer = yield* open()
        yield* commit(writer.ledger, batch("a"))
        const reader = yield* open({ readOnly: true })
        assert.strictEqual((yield* Effect.flip(reader.ledger.acquire))._tag, "LedgerReadOnly")
        assert.deepStrictEqual(yield* idsOf(reader.ledger), ["a"])
        yield* writer.close
        yield* reader.close
      })
    )

    test(
      "knows which cursors are of its history",
      Effect.gen(function*() {
        const { close, ledger } = yield* open({ segmentSize: 1200 })
        const cursors = [yield* ledger.cursor]
        for (const id of ["a", "b", "c", "d"]) {
          yield* commit(ledger, batch(id))
          cursors.push(yield* ledger.cursor)
        }
        for (const cursor of cursors) {
          assert.isTrue(yield* ledger.holds(cursor), `position ${cursor.position}`)
          assert.deepStrictEqual((yield* idsOf(ledger, cursor)).length, 4 - cursor.position)
          assert.isFalse(yield* ledger.holds({ ...cursor, hash: "0".repeat(64) }))
          assert.isFalse(yield* ledger.holds({ ...cursor, position: cursor.position + 1 }))
          assert.isFalse(yield* ledger.holds({ ...cursor, end: cursor.end + 1 }))
          assert.isFalse(yield* ledger.holds({ ...cursor, segment: cursor.segment + 9 }))
        }
        yield* close
      })
    )

    test(
      "is told at once that the store was deleted, and another one made in its place",
      Effect.gen(function*() {
        const one = yield* open()
        const two = yield* open()
        yield* commit(one.ledger, batch("a"))
        yield* catchUp(two.ledger)
        yield* one.ledger.release
        yield* two.ledger.destroy
        const storage = yield* Storage
        assert.deepStrictEqual(yield* storage.list(""), [])
        assert.strictEqual((yield* Effect.flip(one.ledger.refresh))._tag, "LedgerDeleted")
        assert.strictEqual((yield* Effect.flip(two.ledger.refresh))._tag, "LedgerDeleted")
        const three = yield* open()
        assert.notStrictEqual(three.ledger.storeId, one.ledger.storeId)
        assert.strictEqual((yield* Effect.flip(one.ledger.isBehind))._tag, "LedgerDeleted")
        assert.strictEqual((yield* Effect.flip(one.ledger.acquire))._tag, "LedgerDeleted")
        assert.deepStrictEqual(yield* idsOf(three.ledger), [])
        for (const { close } of [one, two, three]) yield* close
      })
    )

    test(
      "carries on with another durability in a segment of its own",
      Effect.gen(function*() {
        const one = yield* open()
        yield* commit(one.ledger, batch("a"))
        yield* one.close
        const two = yield* open({ durability: "os" })
        yield* commit(two.ledger, batch("b"))
        assert.strictEqual((yield* two.ledger.segments).length, 2)
        yield* two.close
        const header = Buffer.from(yield* bytesOf(segment(2))).toString().split("\n")[0]!
        assert.strictEqual((JSON.parse(header) as { durability: string }).durability, "os")
        const three = yield* open()
        assert.deepStrictEqual(yield* idsOf(three.ledger), ["a", "b"])
        yield* three.close
      })
    )

    test(
      "keeps the longest valid prefix of an unsynced segment whose middle was lost",
      Effect.gen(function*() {
        const one = yield* open({ durability: "os" })
        yield* commit(one.ledger, batch("a"))
        const { end } = yield* one.ledger.cursor
        yield* commit(one.ledger, batch("b"))
        yield* commit(one.ledger, batch("c"))
        yield* one.close
        yield* overwrite(segment(1), end + 1, new Uint8Array(20))
        const two = yield* open({ durability: "os" })
        assert.deepStrictEqual(yield* idsOf(two.ledger), ["a"])
        yield* commit(two.ledger, batch("d"))
        assert.deepStrictEqual(yield* idsOf(two.ledger), ["a", "d"])
        yield* two.close
        const three = yield* open({ durability: "os" })
        assert.deepStrictEqual(yield* idsOf(three.ledger), ["a", "d"])
        yield* three.close
      })
    )

    test(
      "on a medium that machines share, only the machine that wrote last writes, unless it is told otherwise",
      Effect.gen(function*() {
        const storage = yield* Storage
        const shared = Effect.provideService(Storage, { ...storage, isShared: Effect.succeed(true) })
        const one = yield* open().pipe(shared)
        yield* commit(one.ledger, batch("a"))
        yield* one.close
        const two = yield* open().pipe(shared)
        yield* commit(two.ledger, batch("b"))
        yield* two.close
        // as if another machine had written
        const text = Buffer.from(yield* bytesOf(segment(1))).toString().split("\n")[0]!
        const { crc: _crc, hash: _hash, kind: _kind, ...fields } = JSON.parse(text) as Record<string, unknown>
        const header = Format.encodeHeader({ ...fields, writer: { id: "x", host: "elsewhere", pid: 1 } } as never)
        yield* storage.remove(segment(1))
        yield* Effect.scoped(Effect.gen(function*() {
          const file = yield* storage.createFile(segment(1))
          yield* file.write(0, header.bytes)
          yield* file.write(header.bytes.length, Format.confirmMark)
        }))
        const three = yield* open().pipe(shared)
        const error = yield* Effect.flip(three.ledger.acquire)
        assert.strictEqual(error._tag, "LedgerUnsupported")
        assert.include(error.message, "elsewhere")
        yield* three.close
        // a local medium that was moved from machine to machine is no problem, and insisting helps
        const four = yield* open()
        yield* four.ledger.acquire
        yield* four.close
        const five = yield* open({ allowOtherHosts: true }).pipe(shared)
        yield* commit(five.ledger, batch("c"))
        yield* five.close
      })
    )

    test(
      "makes sealed segments read-only if asked",
      Effect.gen(function*() {
        const { close, ledger } = yield* open({ segmentSize: 1200, writeProtect: true })
        for (const id of ["a", "b", "c", "d", "e"]) yield* commit(ledger, batch(id))
        assert.deepStrictEqual(yield* idsOf(ledger), ["a", "b", "c", "d", "e"])
        yield* close
        const again = yield* open({ segmentSize: 1200, writeProtect: true })
        yield* commit(again.ledger, batch("f"))
        assert.deepStrictEqual((yield* idsOf(again.ledger)).length, 6)
        yield* again.ledger.destroy
        yield* again.close
        const storage = yield* Storage
        assert.deepStrictEqual(yield* storage.list(""), [])
      })
    )
  })
}
