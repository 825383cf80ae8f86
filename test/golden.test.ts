/**
 * Bytes of format 1, as they were once written: read, verified, and written again. What changes them changes the format, and is
 * described in `docs/storage-format.md`.
 */
import { assert, describe, it } from "@effect/vitest"
import { Event, EventStore, EventStoreMaintenance, Opossum, Query } from "effect-opossum"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { cpSync, globSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Format from "../src/layers/internal/ledgerFormat.ts"
import type { Batch } from "../src/services/Ledger.ts"
import { CourseDefined, make, store, StudentSubscribed } from "./goldenStore.ts"
import { temporaryFolder } from "./support/temporaryFolder.ts"

const golden = fileURLToPath(new URL("golden/store-v1", import.meta.url))

/** All files below a folder, with their bytes. */
const filesOf = (root: string): { readonly [file: string]: Buffer } =>
  Object.fromEntries(
    globSync("**/*", { cwd: root }).map((name) => name.replaceAll("\\", "/")).sort()
      .filter((name) => statSync(join(root, name)).isFile())
      .map((name) => [name, readFileSync(join(root, name))])
  )

const assertSame = (actual: ReturnType<typeof filesOf>, expected: ReturnType<typeof filesOf>) => {
  assert.deepStrictEqual(Object.keys(actual), Object.keys(expected))
  // as text first: a difference is then shown as one
  for (const name of Object.keys(expected)) {
    assert.strictEqual(actual[name]!.toString(), expected[name]!.toString(), name)
    assert.isTrue(actual[name]!.equals(expected[name]!), name)
  }
}

const copied = Effect.tap(temporaryFolder, (root) => Effect.sync(() => cpSync(golden, root, { recursive: true })))

const everything = Query.or(Query.all, Query.of([CourseDefined, StudentSubscribed]))

const summary = Effect.gen(function*() {
  const { events, head } = yield* EventStore.read(everything)
  const told = events.map(({ event, metadata, position, tags }) => [
    position,
    metadata.id,
    event._tag === "CourseDefined" ? event.title : event._tag === "RawEvent" ? event.data : event.studentId,
    tags.join(" ")
  ])
  return { told, head, last: events.at(-1) }
})

const expected = [
  [1, "event-1", "Mathematics", "course:maths size:small"],
  [2, "event-2", "Zeichnen für Käuze \u{1f99d}\u2028\"\\", "course:art size:large"],
  [3, "event-3", "anna", "course:maths student:anna"],
  [4, "event-4", { list: [1.5, -0.25, 1e21, null, true, {}], deep: { empty: "" } }, "source:legacy a:b:c"],
  [6, "event-6", "anna", "course:art student:anna"]
]

describe("a store of format 1", () => {
  it.effect("opened for reading, gives its events, is as it was written, and stays so to the byte", () =>
    Effect.gen(function*() {
      const root = yield* copied
      yield* Effect.gen(function*() {
        const { head, last, told } = yield* summary
        assert.deepStrictEqual(told, expected)
        assert.strictEqual(head, 6)
        assert.strictEqual(DateTime.formatIso(last!.metadata.timestamp), "2030-01-31T12:00:00.000Z")
        const imported = yield* EventStore.readLast(Query.types("Imported"))
        assert.strictEqual(imported!.event.version, 3)
        const { timestamp, ...metadata } = imported!.metadata
        assert.strictEqual(DateTime.formatIso(timestamp), "1999-12-31T23:59:59.999Z")
        assert.deepStrictEqual(metadata, {
          id: "event-4",
          correlationId: "request-7",
          causationId: "event-3",
          userId: "anna",
          custom: { till: 7 }
        })
        const found = yield* EventStore.read(Query.tags("size:large"))
        assert.deepStrictEqual(found.events.map(({ position }) => Number(position)), [2])
        assert.strictEqual((yield* EventStoreMaintenance.verify.pipe(Stream.runCollect)).at(-1), 6)
        assert.deepStrictEqual(yield* EventStoreMaintenance.anchor, {
          storeId: "00000000-0000-4000-8000-000000000001",
          position: 6 as never,
          hash: "3c6e02048f10da0146942bed8ebfcf136debee97e32fe7717bb551ce785a8d14"
        })
        assert.deepStrictEqual(yield* EventStoreMaintenance.statistics, {
          events: 5,
          head: 6 as never,
          segments: 2,
          bytes: 3121
        })
      }).pipe(Effect.provide(Opossum.layer({ root, store, readOnly: true })))
      assertSame(filesOf(root), filesOf(golden))
    }))

  it.effect("opened for writing, goes on behind what is valid, and knows ids and tags of before", () =>
    Effect.gen(function*() {
      const root = yield* copied
      yield* Effect.gen(function*() {
        assert.deepStrictEqual((yield* summary).told, expected)
        const again = yield* EventStore.append(
          Event.withMetadata(
            Event.raw("Imported", { deep: { empty: "" }, list: [1.5, -0.25, 1e21, null, true, {}] }, {
              version: 3,
              tags: ["source:legacy", "a:b:c"]
            }),
            { id: "event-4" }
          )
        )
        assert.deepStrictEqual({ ...again }, {
          positions: [4 as never],
          head: 4 as never,
          hash: "24001e5643f0ee648f8a9a9fe728cd603b370977d27e9e5a9d925485b0c9228f",
          duplicate: true
        })
        const late = { failIfEventsMatch: Query.tags("size:large"), after: 4 as never }
        const failed = yield* Effect.flip(EventStore.append(Event.raw("A", {}), late))
        assert.strictEqual(failed._tag, "AppendConditionFailed")
        const { positions } = yield* EventStore.append(Event.raw("A", {}))
        assert.deepStrictEqual(positions.map(Number), [7])
      }).pipe(Effect.provide(Opossum.layer({ root, store })))
      const after = filesOf(root)
      for (const name of ["ledger/0000000001.jsonl", "ledger/0000000002.jsonl", "store.json"]) {
        assert.isTrue(after[`${store}/${name}`]!.equals(filesOf(golden)[`${store}/${name}`]!), name)
      }
      // torn bytes are gone, now that they are known not to belong to anything
      assert.notInclude(after[`${store}/ledger/0000000003.jsonl`]!.toString(), `"position":7`)
      const later = Object.keys(after).filter((name) => /ledger\/000000000[4-9]\.jsonl$/.test(name))
      assert.isTrue(later.some((name) => after[name]!.includes(`"position":7`)))
    }))

  it.effect("is written again by the same steps, to the byte", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* make(root)
      assertSame(filesOf(root), filesOf(golden))
    }))

  it("its lines are encoded again, to the byte", () => {
    for (const [number, end] of [[1, 2229], [3, 892]] as const) {
      const bytes = readFileSync(join(golden, store, `ledger/000000000${number}.jsonl`)).subarray(0, end)
      const [first, ...lines] = bytes.toString().trimEnd().split("\n").map((line) => JSON.parse(line))
      const { kind: _, hash, crc: __, ...header } = first
      const encoded = Format.encodeHeader(header)
      assert.strictEqual(encoded.hash, hash)
      const parts: Array<Uint8Array> = [encoded.bytes]
      let cursor = { segment: number, end: encoded.bytes.length, position: header.first - 1, hash: encoded.hash }
      let batch: Array<Batch[number]> = []
      for (const line of lines) {
        if (line.kind === "event") {
          const { metadata, tags, type } = line
          batch.push({ kind: "event", type, tags, metadata, body: Format.encodeEvent(line) })
        } else if (line.kind === "tags") {
          batch.push({ kind: "tags", targets: line.targets, body: Format.encodeTags(line.targets) })
        } else {
          const group = Format.encodeGroup([batch as unknown as Batch], cursor, cursor.end + 1, Date.parse(line.time))
          parts.push(Format.confirmMark, group.bytes)
          cursor = { ...group.commits[0]!.cursor, segment: number }
          batch = []
        }
      }
      assert.strictEqual(Buffer.concat(parts).toString(), bytes.toString())
    }
  })

  it.effect("with a byte of a sealed segment changed, is damaged", () =>
    Effect.gen(function*() {
      const root = yield* copied
      const file = join(root, store, "ledger/0000000001.jsonl")
      const original = readFileSync(file)
      for (let at = 0; at < original.length; at += 7) {
        const changed = Buffer.from(original)
        changed[at]! ^= 1
        writeFileSync(file, changed)
        const exit = yield* Effect.flip(
          Stream.runDrain(EventStoreMaintenance.verify).pipe(
            Effect.provide(Opossum.layer({ root, store, readOnly: true }))
          )
        )
        assert.strictEqual(exit._tag, "EventStoreError", `byte ${at}`)
        if (exit._tag !== "EventStoreError") continue
        assert.include(["StoreDamaged", "StoreUnsupported"], exit.reason._tag, `byte ${at}`)
      }
    }))
})
