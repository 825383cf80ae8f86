/** What belongs to a store, seen from several processes: its making and end, its neighbours, its readers, its event files. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Event from "../../src/Event.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import type { Position } from "../../src/Position.ts"
import * as Query from "../../src/Query.ts"
import { EventStore } from "../../src/services/EventStore.ts"
import { EventStoreAdmin } from "../../src/services/EventStoreAdmin.ts"
import { EventStoreMaintenance } from "../../src/services/EventStoreMaintenance.ts"
import type { Payload } from "../fixtures/appends.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"
import { problemsOfFollowed, problemsOfHistory, problemsOfWitnesses } from "./oracle.ts"
import { monotonic, notesOf, spawn, spawnAll, toFact, until } from "./processes.ts"

const all = { concurrency: "unbounded" } as const

/** All that lies in a folder: names, sizes, times. */
const listing = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).sort().map((name) => {
    const { ino, mode, mtimeMs, size } = lstatSync(join(folder, name))
    return [name, ino, mode, size, mtimeMs].join()
  })

describe("stores and processes", () => {
  it.live("processes that make one store at once get one store", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const processes = yield* spawnAll("a", "b", "c", "d")
      for (let round = 0; round < 40; round++) {
        const store = `s${round}`
        const start = monotonic() + 5
        const answers = yield* Effect.forEach(processes, (process, i) =>
          // all in the same moment, or each while another one is at some step of it
          process.tell("create", { root, store, at: start + i * round / 20, writer: process.name }), all)
        const id = JSON.parse(readFileSync(join(root, store, "store.json"), "utf8")).id
        assert.deepStrictEqual(answers.map(({ storeId }) => storeId), [id, id, id, id])
        const longest = answers.map(({ events = [] }) => events).reduce((a, b) => a.length > b.length ? a : b)
        for (const { events = [], note } of answers) {
          // each had its own event, and all that it saw is the beginning of one history
          assert(note?._tag === "stored")
          assert.strictEqual(events.find(({ position }) => position === note.positions[0])?.data.batch, note.batch)
          assert.deepStrictEqual(events, longest.slice(0, events.length))
        }
        assert.strictEqual(longest.length, 4)
      }
      assert.deepStrictEqual(readdirSync(root).filter((name) => name.startsWith(".")), [])
    }), 60_000)

  it.live("two stores under one root know nothing of each other", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const processes = yield* spawnAll("a1", "a2", "b1", "b2")
      const witnessOf = (name: string) => join(root, `${name}.witness`)
      yield* Effect.forEach(processes, (process) =>
        process.tell("open", { options: { root, store: process.name[0]! } }), all)
      yield* Effect.forEach(processes, (process) =>
        process.tell("work", {
          work: { witness: witnessOf(process.name), writer: process.name, jobs: ["free", "number"], times: 40 }
        }), all)
      yield* Effect.forEach(processes, (process) =>
        process.tell("finish", { atOnce: false }), all)
      for (const [store, process] of [["a", processes[0]], ["b", processes[2]]] as const) {
        const { events: history = [] } = yield* process.tell("history", {})
        const notes = [1, 2].flatMap((n) =>
          notesOf(witnessOf(`${store}${n}`))
        )
        assert.deepStrictEqual(problemsOfHistory(history), [])
        // "nobody tried" what another store's processes wrote
        assert.deepStrictEqual(problemsOfWitnesses(history, notes), [])
        assert.strictEqual(new Set(history.map(({ data }) => data.batch)).size, 2 * 2 * 40)
      }
      yield* Effect.forEach(processes, (process) => process.end, all)
    }), 60_000)

  it.live("who only reads follows a writer, cannot write, and changes nothing", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const [writer, reader] = yield* spawnAll("writer", "reader")
      const witness = join(root, "witness")
      // nothing to read yet, and nothing is made
      const early = yield* Effect.promise(() =>
        reader.ask("open", { options: { root, store: "shop", readOnly: true } })
      )
      assert.strictEqual(early.error, "StoreUnavailable")
      assert.deepStrictEqual(readdirSync(root), [])

      yield* writer.tell("open", { options: { root, store: "shop", segmentSize: 64 * 1024 } })
      yield* writer.append({ batch: { batch: "first" }, witness })
      yield* reader.tell("open", { options: { root, store: "shop", readOnly: true } })
      yield* reader.tell("follow", {})
      yield* writer.tell("work", { work: { witness, writer: "writer", jobs: ["free", "guarded"], times: 150 } })
      const refused = yield* reader.append({ batch: { batch: "no" } })
      assert(refused._tag === "refused" && refused.error === "StoreReadOnly")
      yield* writer.tell("finish", { atOnce: false })
      const { events: history = [] } = yield* writer.tell("history", {})
      yield* writer.end
      const { followed } = yield* reader.tell("followed", { until: history.at(-1)!.position })
      assert.deepStrictEqual(problemsOfFollowed(history, followed!), [])
      assert.strictEqual(followed!.subscribed.length, history.length)
      yield* reader.tell("close", {})

      const before = listing(join(root, "shop"))
      yield* reader.tell("open", { options: { root, store: "shop", readOnly: true } })
      assert.deepStrictEqual((yield* reader.tell("history", {})).events, history)
      assert.strictEqual((yield* Effect.promise(() => reader.ask("delete", {}))).error, "StoreReadOnly")
      yield* reader.append({ batch: { batch: "no" } })
      yield* reader.end
      assert.deepStrictEqual(listing(join(root, "shop")), before)
    }), 60_000)

  it.live(
    "a store that is deleted is gone for all who have it open, and what is made in its place is another",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const [writer, idle, follower, deleter] = yield* spawnAll("writer", "idle", "follower", "deleter")
        const processes = [writer, idle, follower, deleter]
        yield* Effect.forEach(processes, (process) => process.tell("open", { options: { root, store: "shop" } }), all)
        const witness = join(root, "witness")
        yield* writer.tell("work", { work: { witness, writer: "writer", jobs: ["free", "free", "guarded"] } })
        yield* until("it writes", () => notesOf(witness).filter(({ _tag }) => _tag === "stored").length > 20)
        yield* follower.tell("follow", {})
        yield* idle.tell("history", {})
        yield* deleter.tell("delete", {})
        assert.isFalse(existsSync(join(root, "shop")))

        // The first thing that the writer is refused is everything from then on.
        yield* until(
          "it was refused",
          () => notesOf(witness).some((line) => line._tag === "refused" && line.error === "StoreDeleted")
        )
        const finished = yield* Effect.promise(() => writer.ask("finish", { atOnce: true }))
        // by a read of its guarded appends
        assert.include([undefined, "StoreDeleted"], finished.error)
        const errors = notesOf(witness).flatMap((line) => line._tag === "refused" ? [line.error] : [])
        assert.deepStrictEqual([...new Set(errors)].filter((error) => error !== "AppendConditionFailed"), [
          "StoreDeleted"
        ])
        const followed = yield* Effect.promise(() => follower.ask("followed", { until: Infinity }))
        assert.strictEqual(followed.error, "StoreDeleted")

        // Another one of that name is none of theirs.
        const [other] = yield* spawnAll("other")
        yield* other.tell("open", { options: { root, store: "shop", eventFiles: false } })
        yield* other.append({ batch: { batch: "new" } })
        for (const process of processes) {
          const line = yield* process.append({ batch: { batch: "late" } })
          assert.strictEqual(line._tag === "refused" ? line.error : "", "StoreDeleted")
          assert.strictEqual(
            (yield* Effect.promise(() => process.ask("history", {}))).error,
            "StoreDeleted",
            process.name
          )
        }
        yield* Effect.forEach(processes, (process) => process.end, all)
        assert.deepStrictEqual((yield* other.tell("history", {})).events?.map(({ data }) => data.batch), ["new"])
        yield* other.end
        assert.deepStrictEqual(readdirSync(root).filter((name) => name.startsWith(".")), [])
      }),
    60_000
  )

  it.live(
    "who has not open what it last read does not take another store of that name for it",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const layer = Layer.fresh(Opossum.layer({ root, store: "shop", eventFiles: false, segmentSize: 64 * 1024 }))
        /** A store of more segments than anybody keeps open, each event in its own. */
        const fill = (name: string) =>
          Effect.gen(function*() {
            const store = yield* EventStore
            const event = Event.raw("Happened", { name, filler: "x".repeat(65_536) })
            for (let i = 0; i < 40; i++) yield* store.append(event)
          })
        const reading = yield* Layer.build(layer)
        const reader = Context.get(reading, EventStore)
        yield* fill("old").pipe(Effect.provide(layer))
        assert.strictEqual((yield* reader.read(Query.all)).events.length, 40)
        assert.strictEqual((yield* reader.read(Query.all, { backwards: true })).events.length, 40)
        yield* Effect.flatMap(EventStoreAdmin, ({ deleteStore }) => deleteStore).pipe(Effect.provide(layer))
        yield* fill("new").pipe(Effect.provide(layer))
        const error = yield* Effect.flip(reader.read(Query.all, { backwards: true, limit: 1 }))
        assert(error._tag === "EventStoreError")
        assert.strictEqual(error.reason._tag, "StoreDeleted")
      }),
    60_000
  )

  it.live("two layers on one store in one process are two writers like any others", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      const [child] = yield* spawnAll("child")
      const witness = join(root, "witness")
      const layer = () => Layer.fresh(Opossum.layer({ root, store: "shop" }))
      const scopes = [yield* Scope.make(), yield* Scope.make()]
      const stores = yield* Effect.forEach(scopes, (scope) =>
        Effect.map(Layer.build(layer()), (services) =>
          Context.get(services, EventStore)).pipe(Scope.provide(scope)), all)
      yield* child.tell("open", { options: { root, store: "shop" } })
      yield* child.tell("work", { work: { witness, writer: "child", jobs: ["number", "guarded"], times: 40 } })
      const query = Query.types("Numbered")
      const acknowledged: Array<{ readonly batch: string; readonly position: Position }> = []
      // the same decisions as the other process makes
      const decide = (store: EventStore["Service"], batch: string) =>
        Effect.gen(function*() {
          const last = yield* store.readLast(query)
          const number = ((last?.event.data as Payload | undefined)?.number ?? 0) + 1
          const guard = { items: [{ types: ["Numbered"] }], after: last?.position ?? 0 }
          const data: Payload = { batch, index: 0, size: 1, guard, series: "numbers", number }
          const { positions } = yield* store.append(
            Event.raw("Numbered", data as never),
            { failIfEventsMatch: query, after: last?.position }
          )
          acknowledged.push({ batch, position: positions[0] })
          // what one acknowledged, the other one sees
          for (const other of stores) {
            const { events } = yield* other.read(Query.all, { after: positions[0] - 1 as Position, limit: 1 })
            assert.deepStrictEqual(
              events.map((event) =>
                toFact(event).data.batch
              ),
              [batch]
            )
          }
        }).pipe(Effect.retry({
          while: (error) => error._tag === "AppendConditionFailed"
        }))
      yield* Effect.forEach(stores, (store, s) =>
        Effect.forEach(Array.from({ length: 40 }), (_, i) =>
          decide(store, `store${s}-${i}`), { discard: true }), all)
      yield* child.tell("finish", { atOnce: false })
      const { events: history = [] } = yield* child.tell("history", {})
      assert.deepStrictEqual(problemsOfHistory(history), [])
      const byPosition = new Map(history.map((event) => [event.position, event.data.batch]))
      for (const { batch, position } of acknowledged) {
        assert.strictEqual(byPosition.get(position), batch)
      }
      // all of both: none was decided away
      const mine = history.filter(({ data }) =>
        data.batch.startsWith("store")
      )
      assert.strictEqual(mine.length, 2 * 40)
      // one of them closes: the other goes on
      yield* Scope.close(scopes[0]!, Exit.void)
      yield* stores[1]!.append(Event.raw("Ended", {}))
      const closed = yield* Effect.flip(stores[0]!.append(Event.raw("Late", {})))
      assert(closed._tag === "EventStoreError")
      assert.strictEqual(closed.reason._tag, "StoreClosed")
      yield* Scope.close(scopes[1]!, Exit.void)
      yield* child.append({ batch: { batch: "after" } })
      yield* child.end
    }), 60_000)

  it.live(
    "every event has its file, and every file is the event's, after processes were killed while they made them",
    (context) =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        const events = join(root, "shop/events")
        // folder by folder: beside them a lock comes and goes
        const files = () =>
          (existsSync(events) ? readdirSync(events) : [])
            .filter((folder) => /^\d{7}$/.test(folder))
            .flatMap((folder) => readdirSync(join(events, folder)).map((name) => join(folder, name)))
            .filter((path) => /[\\/]\d{10}\.json$/.test(path))
        const witnesses: Array<string> = []
        const counts: Array<string> = []
        for (let round = 0; round < 3; round++) {
          const writer = yield* spawn(`w${round}`)
          const witness = join(root, `${round}.witness`)
          witnesses.push(witness)
          yield* writer.tell("open", { options: { root, store: "shop" } })
          const before = files().length
          yield* writer.tell("work", {
            work: { witness, writer: writer.name, jobs: ["free", "free"], times: 300, filler: 2000 }
          })
          // in the middle: some are made, and there is more to be made
          yield* until("files are made", () => files().length > before + 150)
          yield* writer.murder
          counts.push(`${files().length} files`)
        }
        const { contents, head, history } = yield* Effect.gen(function*() {
          const store = yield* EventStore
          const maintenance = yield* EventStoreMaintenance
          const { events: history, head } = yield* store.read(Query.all)
          yield* maintenance.eventFiles.waitFor(head!)
          const contents = new Map(
            files().map((
              name
            ) => [Number(name.slice(-15, -5)), JSON.parse(readFileSync(join(events, name), "utf8")) as unknown])
          )
          return { contents, head, history }
        }).pipe(Effect.provide(Opossum.layer({ root, store: "shop" })))
        for (const { event, metadata, position, tags, type } of history) {
          assert.deepStrictEqual(contents.get(position), {
            position,
            type,
            version: event.version,
            tags,
            metadata: { ...metadata, timestamp: DateTime.formatIso(metadata.timestamp) },
            data: event.data
          })
        }
        assert.strictEqual(contents.size, history.length)
        assert.isTrue(existsSync(join(events, "README.txt")))
        const facts = history.map(toFact)
        assert.deepStrictEqual(problemsOfHistory(facts), [])
        assert.deepStrictEqual(problemsOfWitnesses(facts, witnesses.flatMap(notesOf)), [])
        const others = readdirSync(events, { recursive: true, encoding: "utf8" })
          .filter((name) => !/(^|[\\/])(\d{7}|\d{10}\.json|README\.txt|checkpoint\.json)$/.test(name))
        yield* Effect.promise(async () => {
          await context.annotate(
            `${counts.join(", ")} at the kills; ${head} events; left-overs: ${others.join(", ") || "none"}`
          )
        })
      }),
    60_000
  )
})
