/** What read models in SQL do beyond the contract: claims between processes, transactions, tables. On a real PostgreSQL, and on SQLite. */
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { fork } from "node:child_process"
import { createHash } from "node:crypto"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as ProjectionStoreSql from "../../src/layers/ProjectionStoreSql.ts"
import type { Position } from "../../src/Position.ts"
import {
  type Changes,
  type Claim,
  ProjectionStore,
  ProjectionStoreError,
  type Slot,
  type StoredEntry
} from "../../src/services/ProjectionStore.ts"
import * as postgres from "../support/postgres.ts"
import * as sqlite from "../support/sqlite.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

// databases

interface Database {
  readonly dialect: "pg" | "sqlite"
  /** The server's socket or the file. */
  readonly at: string
  readonly prefix: string
  readonly client: Layer.Layer<SqlClient.SqlClient, SqlError>
}

let made = 0

/** Tables of a test's own. */
const pg: Effect.Effect<Database> = Effect.map(postgres.socket, (at) => ({
  dialect: "pg",
  at,
  prefix: `test${made += 1}_`,
  client: postgres.clientAt(at)
}))

const lite: Effect.Effect<Database, never, Scope.Scope> = Effect.map(temporaryFolder, (folder) => {
  const at = join(folder, "states.sqlite")
  return { dialect: "sqlite", at, prefix: "opossum_", client: sqlite.client(at) }
})

/** A store and its client, as a process of its own has them. */
const open = Effect.fnUntraced(function*(
  { client, prefix }: Database,
  options?: ProjectionStoreSql.Options
) {
  const context = yield* Layer.build(Layer.fresh(
    // nobody's lease ends by itself while a test runs, however slow it is
    ProjectionStoreSql.layer({ prefix, lease: "1 hour", ...options }).pipe(Layer.provideMerge(client))
  ))
  const store = Context.get(context, ProjectionStore)
  const sql = Context.get(context, SqlClient.SqlClient)
  return { store, sql, slot: yield* store.open("courses", 1), table: (name: string) => sql(`${prefix}${name}`) }
})

// states

const entry = (key: string, more: Partial<StoredEntry> = {}): StoredEntry => ({
  key,
  state: { key },
  tags: [],
  position: 1 as Position,
  version: 1,
  created: 1,
  updated: 1,
  ...more
})

const changes = (position: number, set: ReadonlyArray<StoredEntry>, removed: ReadonlyArray<string> = []): Changes => ({
  set,
  removed,
  checkpoint: { storeId: "store", position: position as Position, hash: `hash ${position}` }
})

const take = (slot: Slot) => Effect.map(slot.claim({ wait: false }), (claim) => claim!)

/** Takes the claim, and makes a first generation live. */
const build = Effect.fnUntraced(function*(slot: Slot, set: ReadonlyArray<StoredEntry>) {
  const claim = yield* take(slot)
  const generation = yield* claim.begin("first")
  yield* generation.save(changes(1, set))
  yield* claim.swap
  return { claim, generation }
})

/** All that readers see. */
const look = Effect.fnUntraced(function*(slot: Slot) {
  const live = yield* slot.live
  if (live === undefined) return undefined
  return {
    checkpoint: yield* live.checkpoint,
    entries: yield* live.list({ sort: "key", backwards: false, after: undefined, limit: 100_000 })
  }
})

const keys = (entries: ReadonlyArray<StoredEntry>) => entries.map(({ key }) => key)

const tagOf = <A, E extends { readonly _tag: string }, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.match(effect, { onSuccess: () => "success", onFailure: ({ _tag }) => _tag })

/** Waits until it is so, in a database that others work on. */
const until = <E, R>(condition: Effect.Effect<boolean, E, R>) =>
  condition.pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("10 millis") }),
    Effect.timeoutOrElse({ duration: "20 seconds", orElse: () => Effect.die(new Error("waited in vain")) })
  )

const suite = (title: string, database: Effect.Effect<Database, never, Scope.Scope>) => {
  const test = <E>(title: string, body: (database: Database) => Effect.Effect<unknown, E, Scope.Scope>) =>
    it.live(title, () => Effect.flatMap(database, body), 60_000)

  describe(`claims: ${title}`, () => {
    test("one process at a time has it", (database) =>
      Effect.gen(function*() {
        const a = yield* open(database)
        const b = yield* open(database)
        const scope = yield* Scope.make()
        assert.isFalse(yield* b.slot.isClaimed)
        assert.isDefined(yield* Scope.provide(a.slot.claim({ wait: false }), scope))
        assert.isTrue(yield* b.slot.isClaimed)
        assert.isUndefined(yield* b.slot.claim({ wait: false }))
        assert.isUndefined(yield* a.slot.claim({ wait: false }))
        yield* Scope.close(scope, Exit.void)
        assert.isFalse(yield* b.slot.isClaimed)
        assert.isDefined(yield* b.slot.claim({ wait: false }))
      }))

    test("of many that ask at once, one gets it", (database) =>
      Effect.gen(function*() {
        const opened = yield* Effect.forEach([1, 2, 3, 4], () => open(database), { concurrency: "unbounded" })
        const claims = yield* Effect.forEach(
          [...opened, ...opened, ...opened],
          ({ slot }) => slot.claim({ wait: false }),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(claims.filter((claim) => claim !== undefined).length, 1)
      }))

    test("versions and names have claims of their own", (database) =>
      Effect.gen(function*() {
        const { store } = yield* open(database)
        for (const [name, version] of [["a", 1], ["a", 2], ["A", 1], ["b", 1]] as const) {
          assert.isDefined(yield* Effect.flatMap(store.open(name, version), (slot) => slot.claim({ wait: false })))
        }
      }))

    test("the holder is told of who waits, who gets it before the holder gets it again", (database) =>
      Effect.gen(function*() {
        const a = yield* open(database)
        const b = yield* open(database)
        const scope = yield* Scope.make()
        const claim = (yield* Scope.provide(a.slot.claim({ wait: false }), scope))!
        assert.isFalse(yield* claim.isWanted)
        const waiting = yield* Effect.forkChild(b.slot.claim({ wait: true }))
        yield* until(claim.isWanted)
        yield* Scope.close(scope, Exit.void)
        assert.isUndefined(yield* a.slot.claim({ wait: false }))
        assert.isDefined(yield* Fiber.join(waiting))
        assert.isTrue(yield* a.slot.isClaimed)
      }))

    test("who gave up waiting is forgotten", (database) =>
      Effect.gen(function*() {
        const a = yield* open(database)
        const b = yield* open(database)
        const claim = yield* take(a.slot)
        const waiting = yield* Effect.forkChild(Effect.scoped(b.slot.claim({ wait: true })))
        yield* until(claim.isWanted)
        yield* Fiber.interrupt(waiting)
        assert.isFalse(yield* claim.isWanted)
      }))

    test("a waiter that died keeps nobody from it", (database) =>
      Effect.gen(function*() {
        const a = yield* open(database)
        const b = yield* open(database)
        const scope = yield* Scope.make()
        yield* Scope.provide(a.slot.claim({ wait: false }), scope)
        yield* a.sql`UPDATE ${a.table("projections")} SET waiter = 'dead', wanted = 9000000000000000`
        yield* Scope.close(scope, Exit.void)
        assert.isUndefined(yield* b.slot.claim({ wait: false }))
        yield* a.sql`UPDATE ${a.table("projections")} SET wanted = 1`
        assert.isDefined(yield* b.slot.claim({ wait: false }))
      }))

    test("a holder renews its lease while it does nothing", (database) =>
      Effect.gen(function*() {
        const a = yield* open(database, { lease: "1 second" })
        yield* take(a.slot)
        const expires = Effect.map(
          a.sql<{ expires: number | bigint }>`SELECT expires FROM ${a.table("projections")}`,
          ([row]) => Number(row!.expires)
        )
        const first = yield* expires
        // later than it would end
        yield* until(Effect.map(expires, (now) => now > first + 1000))
        assert.isTrue(yield* a.slot.isClaimed)
      }))

    test("who lost it saves nothing, swaps nothing, and is told", (database) =>
      Effect.gen(function*() {
        const a = yield* open(database)
        const b = yield* open(database)
        const { claim, generation } = yield* build(a.slot, [entry("maths", { tags: ["a:1"] })])
        const next = yield* claim.begin("next")
        const before = yield* look(b.slot)
        yield* b.sql`UPDATE ${b.table("projections")} SET expires = 1`
        const taken = yield* take(b.slot)
        yield* claim.note({ position: 7 as Position, problem: "of the past" })
        assert.strictEqual(yield* tagOf(generation.save(changes(2, [entry("physics")], ["maths"]))), "ClaimLost")
        assert.strictEqual(yield* tagOf(next.save(changes(2, [entry("physics")]))), "ClaimLost")
        assert.strictEqual(yield* tagOf(claim.swap), "ClaimLost")
        assert.strictEqual(yield* tagOf(claim.begin("more")), "ClaimLost")
        assert.strictEqual(yield* tagOf(claim.discard("live")), "ClaimLost")
        assert.isTrue(yield* claim.isWanted)
        assert.deepStrictEqual(yield* look(b.slot), before)
        assert.isUndefined(yield* b.slot.notice)
        assert.strictEqual((yield* taken.building)?.definition, "next")
        yield* (yield* taken.live)!.save(changes(2, [entry("physics")]))
        assert.deepStrictEqual(keys((yield* look(b.slot))!.entries), ["maths", "physics"])
        assert.isFalse(yield* taken.isWanted)
      }))

    test("who gives up what it lost takes nothing from its successor", (database) =>
      Effect.gen(function*() {
        const a = yield* open(database)
        const b = yield* open(database)
        const scope = yield* Scope.make()
        yield* Scope.provide(a.slot.claim({ wait: false }), scope)
        yield* b.sql`UPDATE ${b.table("projections")} SET expires = 1`
        const taken = yield* take(b.slot)
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(yield* b.slot.isClaimed)
        yield* taken.begin("mine")
      }))

    test("a save upon saves that are gone is refused, after a crash of the database or its restoration", (database) =>
      Effect.gen(function*() {
        const { slot, sql, table } = yield* open(database)
        const { claim, generation } = yield* build(slot, [entry("maths")])
        const building = yield* claim.begin("next")
        yield* building.save(changes(1, []))
        yield* sql`UPDATE ${table("generations")} SET saves = saves - 1`
        const before = yield* look(slot)
        assert.strictEqual(yield* tagOf(generation.save(changes(2, [entry("physics")]))), "ClaimLost")
        assert.strictEqual(yield* tagOf((yield* claim.live)!.save(changes(2, [entry("physics")]))), "ClaimLost")
        assert.strictEqual(yield* tagOf(claim.swap), "ClaimLost")
        assert.deepStrictEqual(yield* look(slot), before)
        assert.isTrue(yield* claim.isWanted)
      }))

    test("a killed holder's claim is taken over, with all that it saved", (database) =>
      Effect.gen(function*() {
        const { slot: _, store } = yield* open(database)
        const child = yield* Effect.acquireRelease(
          Effect.sync(() =>
            fork(
              fileURLToPath(new URL("../fixtures/sqlHolder.ts", import.meta.url)),
              [database.dialect, database.at, database.prefix],
              { execArgv: ["--no-warnings"], stdio: ["ignore", "inherit", "inherit", "ipc"] }
            )
          ),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        yield* Effect.promise(() =>
          new Promise<void>((resolve, reject) => {
            child.once("message", () => resolve())
            child.once("exit", () => reject(new Error("the holder ended")))
          })
        )
        const slot = yield* store.open("numbers", 1)
        assert.isTrue(yield* slot.isClaimed)
        child.kill("SIGKILL")
        const claim = (yield* slot.claim({ wait: true }))!
        const live = (yield* claim.live)!
        const checkpoint = (yield* live.checkpoint)!
        assert.isAtLeast(checkpoint.position, 20)
        for (const entries of [yield* live.read(["left", "right"]), yield* live.byTag([`i:${checkpoint.position}`])]) {
          assert.deepStrictEqual(entries.map(({ key, version }) => [key, version]), [
            ["left", checkpoint.position],
            ["right", checkpoint.position]
          ])
        }
        yield* live.save(changes(checkpoint.position + 1, [entry("left")]))
      }))
  })

  describe(`saves: ${title}`, () => {
    test("one that fails half-way leaves everything as it was", (database) =>
      Effect.gen(function*() {
        const { slot, sql, table } = yield* open(database)
        const { generation } = yield* build(slot, [entry("maths", { tags: ["a:1"] }), entry("art", { tags: ["a:1"] })])
        const before = yield* look(slot)
        const rows = sql`SELECT tag, key FROM ${table("tags")} ORDER BY key, tag`
        const tagsBefore = yield* rows
        const many = Array.from({ length: 10_001 }, (_, i) => entry(`key ${i}`, { tags: ["b:2"] }))
        const error = yield* Effect.flip(generation.save(changes(
          2,
          [entry("maths", { tags: ["b:2"] }), ...many, entry("bad", { version: Number.NaN })],
          ["art"]
        )))
        assert.strictEqual(error._tag, "ProjectionStoreError")
        assert.match(error.message, /null/i)
        assert.deepStrictEqual(yield* look(slot), before)
        assert.deepStrictEqual(yield* rows, tagsBefore)
        yield* generation.save(changes(2, [entry("maths")], ["art"]))
        assert.deepStrictEqual(keys((yield* look(slot))!.entries), ["maths"])
      }))

    test("65,000 states and their tags in one", (database) =>
      Effect.gen(function*() {
        const { slot } = yield* open(database)
        const { generation } = yield* build(slot, [])
        const set = Array.from({ length: 65_000 }, (_, i) =>
          entry(String(i).padStart(5, "0"), {
            state: { i },
            tags: [`mod:${i % 1000}`, "all:yes"],
            updated: 65_000 - i
          }))
        yield* generation.save(changes(2, set))
        const live = (yield* slot.live)!
        assert.strictEqual(yield* live.size, 65_000)
        assert.deepStrictEqual(yield* live.byTag(["all:yes", "mod:7"]), set.filter((_, i) => i % 1000 === 7))
        assert.deepStrictEqual(
          yield* live.list({ sort: "updated", backwards: false, after: { key: "64000", time: 1000 }, limit: 2 }),
          [set[63_999]!, set[63_998]!]
        )
        yield* generation.save(changes(3, [], keys(set.slice(1))))
        assert.deepStrictEqual(yield* live.byTag(["all:yes"]), [set[0]!])
        assert.strictEqual(yield* live.size, 1)
      }))

    test("tags follow their states", (database) =>
      Effect.gen(function*() {
        const { slot, sql, table } = yield* open(database)
        const { generation } = yield* build(slot, [entry("a", { tags: ["x:1", "y:1"] }), entry("b", { tags: ["x:1"] })])
        const found = (...tags: ReadonlyArray<string>) => Effect.map(generation.byTag(tags), keys)
        assert.deepStrictEqual(yield* found("x:1"), ["a", "b"])
        assert.deepStrictEqual(yield* found("x:1", "y:1", "x:1"), ["a"])
        yield* generation.save(changes(2, [entry("a", { tags: ["y:1", "z:1"] })], ["b"]))
        assert.deepStrictEqual(yield* found("x:1"), [])
        assert.deepStrictEqual(yield* found("z:1", "y:1"), ["a"])
        assert.strictEqual((yield* sql`SELECT * FROM ${table("tags")}`).length, 2)
        yield* generation.save(changes(3, [entry("a")]))
        assert.strictEqual((yield* sql`SELECT * FROM ${table("tags")}`).length, 0)
      }))

    test("the strangest keys, tags and states come back as they were, in the order of code points", (database) =>
      Effect.gen(function*() {
        const { slot } = yield* open(database)
        const long = "x".repeat(1020)
        // databases compress what repeats itself
        const dense = Array.from({ length: 24 }, (_, i) => createHash("sha512").update(String(i)).digest("base64"))
          .join("")
        const names = [
          "\0",
          "\0\0",
          "\u0001",
          "\u0001\u0001",
          "\u0001\u0002",
          "\u0002",
          "a",
          "a\0",
          "a\u0001",
          "a\u0001b",
          "a b",
          "B",
          "b",
          "Ä",
          "ä",
          "a\u0308",
          "\uffff",
          "\u{10ffff}",
          "\u{1f600}",
          "'; DROP TABLE x; --",
          `"\\`,
          "%_",
          " ",
          "__proto__",
          `${long}\u{1f600}`,
          dense.slice(0, 1024),
          "\0".repeat(1024)
        ]
        const points = (text: string) => Array.from(text, (c) => c.codePointAt(0)!)
        const sorted = [...names].sort((a, b) => {
          const [left, right] = [points(a), points(b)]
          const i = left.findIndex((point, i) => point !== right[i])
          return i === -1 ? left.length - right.length : right[i] === undefined ? 1 : left[i]! - right[i]!
        })
        const states: ReadonlyArray<Schema.Json> = [
          null,
          "",
          "\0 \u0001 \ud800",
          1e308,
          2 ** 53 + 2,
          0.1,
          -1e-300,
          [],
          JSON.parse(`{"z": 1, "a": {"b": [], "__proto__": 1}, "": "\\u0000", "10": 0}`),
          true
        ]
        const set = sorted.map((key, i) =>
          entry(key, {
            state: states[i % states.length]!,
            tags: [
              `k:${key}`,
              `${key.slice(0, 3)}:1`,
              `${long}${long}:${i}`,
              `${long}${long}:all`,
              `${dense.slice(0, 1020)}:${dense.slice(-1020)}`
            ]
          })
        )
        const { generation } = yield* build(slot, set.toReversed())
        assert.deepStrictEqual((yield* look(slot))!.entries, set)
        assert.deepStrictEqual(
          set.map(({ state }) => JSON.stringify(state)),
          (yield* look(slot))!.entries.map(({ state }) => JSON.stringify(state))
        )
        for (const [i, entry] of set.entries()) {
          assert.deepStrictEqual(yield* generation.read([entry.key]), [entry])
          assert.deepStrictEqual(yield* generation.byTag([`k:${entry.key}`]), [entry])
          // its beginning is that of all the others
          assert.deepStrictEqual(yield* generation.byTag([`${long}${long}:${i}`]), [entry])
          for (const sort of ["key", "created", "updated"] as const) {
            for (const backwards of [false, true]) {
              const after = { key: entry.key, time: sort === "key" ? 0 : 1 }
              assert.deepStrictEqual(
                yield* generation.list({ sort, backwards, after, limit: 1000 }),
                backwards ? set.slice(0, i).reverse() : set.slice(i + 1)
              )
            }
          }
        }
        assert.deepStrictEqual(yield* generation.byTag([`${long}${long}:all`]), set)
        assert.deepStrictEqual(
          yield* generation.read([...names, "none"]),
          names.map((name) => set[sorted.indexOf(name)]!)
        )
        // one of several tags that begin alike goes
        yield* generation.save(changes(2, [{ ...set[0]!, tags: [`${long}${long}:0`] }]))
        assert.strictEqual((yield* generation.byTag([`${long}${long}:all`])).length, set.length - 1)
        assert.strictEqual((yield* generation.byTag([`${long}${long}:0`])).length, 1)
        yield* generation.save(changes(3, [], names))
        assert.strictEqual(yield* generation.size, 0)
      }))

    test("all of a checkpoint and a notice is kept", (database) =>
      Effect.gen(function*() {
        const { slot } = yield* open(database)
        const other = yield* open(database)
        const { claim, generation } = yield* build(slot, [])
        const checkpoint = {
          storeId: "a\0b",
          position: Number.MAX_SAFE_INTEGER as Position,
          hash: "é",
          retagged: 3 as Position
        }
        yield* generation.save({ set: [], removed: [], checkpoint })
        assert.deepStrictEqual(yield* (yield* other.slot.live)!.checkpoint, checkpoint)
        yield* generation.save(changes(5, []))
        assert.deepStrictEqual(yield* (yield* other.slot.live)!.checkpoint, changes(5, []).checkpoint)
        const notice = { position: 9 as Position, problem: "no\0pe" }
        yield* claim.note(notice)
        assert.deepStrictEqual(yield* other.slot.notice, notice)
        yield* claim.note(undefined)
        assert.isUndefined(yield* other.slot.notice)
      }))
  })

  describe(`generations: ${title}`, () => {
    /** A generation whose states all say which one it is. */
    const fill = (claim: Claim, round: number) =>
      Effect.gen(function*() {
        const generation = yield* claim.begin(String(round))
        yield* generation.save(changes(
          round,
          Array.from({ length: 20 }, (_, i) => entry(`${i}`, { state: round, tags: ["all:1"] }))
        ))
        yield* claim.swap
      })

    test("a reader sees one at a time, whole, while they are swapped", (database) =>
      Effect.gen(function*() {
        const a = yield* open(database)
        const b = yield* open(database)
        const claim = yield* take(a.slot)
        yield* fill(claim, 1)
        const live = (yield* b.slot.live)!
        let reads = 0
        const reading = yield* Effect.forkChild(Effect.forever(Effect.gen(function*() {
          for (
            const entries of [
              yield* live.list({ sort: "updated", backwards: true, after: undefined, limit: 100 }),
              yield* live.byTag(["all:1"]),
              yield* live.read(Array.from({ length: 20 }, (_, i) => `${i}`))
            ]
          ) {
            assert.strictEqual(entries.length, 20)
            assert.strictEqual(new Set(entries.map(({ state }) => state)).size, 1)
          }
          assert.strictEqual(yield* live.size, 20)
          assert.isDefined(yield* live.checkpoint)
          reads += 1
          yield* Effect.yieldNow
        })))
        let round = 1
        while (reads < 50 && reading.pollUnsafe() === undefined) {
          round += 1
          yield* fill(claim, round)
          yield* Effect.yieldNow
        }
        assert.isUndefined(reading.pollUnsafe())
        assert.strictEqual((yield* live.checkpoint)?.position, round)
        assert.strictEqual((yield* b.slot.live)?.definition, String(round))
      }))

    test("those that nobody needs are removed, also after a crash in the middle of that", (database) =>
      Effect.gen(function*() {
        const { slot, sql, table } = yield* open(database)
        const count = (name: string) =>
          Effect.map(sql<{ n: number | bigint }>`SELECT count(*) AS n FROM ${table(name)}`, ([row]) => Number(row!.n))
        const claim = yield* take(slot)
        yield* fill(claim, 1)
        const generation = yield* claim.begin("forgotten")
        yield* generation.save(changes(2, [entry("a", { tags: ["b:1"] })]))
        yield* sql`UPDATE ${table("projections")} SET building = NULL`
        assert.strictEqual(yield* tagOf(generation.save(changes(3, []))), "ClaimLost")
        assert.strictEqual(yield* count("generations"), 2)
        yield* fill(claim, 3)
        assert.deepStrictEqual([yield* count("generations"), yield* count("states"), yield* count("tags")], [1, 20, 20])
        yield* claim.discard("live")
        assert.deepStrictEqual([yield* count("generations"), yield* count("states"), yield* count("tags")], [0, 0, 0])
        assert.isUndefined(yield* slot.live)
      }))
  })

  describe(`tables: ${title}`, () => {
    test("are made by several at once", (database) =>
      Effect.gen(function*() {
        for (let round = 0; round < 3; round++) {
          const opened = yield* Effect.forEach(
            Array.from({ length: database.dialect === "pg" ? 8 : 2 }),
            () => open({ ...database, prefix: `${database.prefix}${round}_` }),
            { concurrency: "unbounded" }
          )
          for (const { slot } of opened) assert.isUndefined(yield* slot.live)
        }
      }))

    test("of a newer format are refused", (database) =>
      Effect.gen(function*() {
        const { sql, table } = yield* open(database)
        yield* sql`UPDATE ${table("format")} SET format = 2`
        for (const readOnly of [false, true]) {
          const error = yield* Effect.flip(open(database, { readOnly }))
          assert(error._tag === "TablesUnavailable")
          assert.match(error.message, /format 2/)
        }
      }))

    test("who only reads makes none, and sees what others make", (database) =>
      Effect.gen(function*() {
        const reader = yield* open(database, { readOnly: true })
        assert.isTrue(reader.store.readOnly)
        assert.isUndefined(yield* reader.slot.live)
        assert.isUndefined(yield* reader.slot.notice)
        assert.isFalse(yield* reader.slot.isClaimed)
        assert.isUndefined(yield* reader.slot.claim({ wait: true }))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(reader.sql`SELECT * FROM ${reader.table("format")}`)))
        const writer = yield* open(database)
        yield* build(writer.slot, [entry("maths")])
        assert.deepStrictEqual(keys((yield* look(reader.slot))!.entries), ["maths"])
        assert.isTrue(yield* reader.slot.isClaimed)
      }))

    test("that are gone are an error that says so", (database) =>
      Effect.gen(function*() {
        const { slot, sql, table } = yield* open(database)
        const { generation } = yield* build(slot, [entry("maths")])
        yield* sql`DROP TABLE ${table("states")}`
        for (const effect of [generation.size, generation.save(changes(2, [entry("maths")])), look(slot)]) {
          const error = yield* Effect.flip(effect as Effect.Effect<unknown, { _tag: string; message: string }>)
          assert.strictEqual(error._tag, "ProjectionStoreError")
          assert.match(error.message, /courses.*(exist|no such table)/)
        }
      }))

    test("what another hand made of a state is an error, no defect", (database) =>
      Effect.gen(function*() {
        const { slot, sql, table } = yield* open(database)
        yield* build(slot, [entry("maths")])
        yield* sql`UPDATE ${table("states")} SET state = '{'`
        assert.strictEqual(yield* tagOf(look(slot)), "ProjectionStoreError")
      }))
  })
}

describe.skipIf(!postgres.isAvailable)("ProjectionStoreSql", () => {
  afterAll(() => postgres.stop())

  suite("PostgreSQL", pg)

  describe("PostgreSQL alone", () => {
    const test = <E>(title: string, body: (database: Database) => Effect.Effect<unknown, E, Scope.Scope>) =>
      it.live(title, () => Effect.flatMap(pg, body), 60_000)

    const named = (database: Database, applicationName: string): Database => ({
      ...database,
      client: postgres.clientAt(database.at, { applicationName })
    })

    /** Saves, and is held up in the middle, by somebody who has the row of `maths`, for as long as the scope lasts. */
    const saveHeldUp = Effect.fnUntraced(
      function*(a: Opened, b: Opened, name: string, save: Effect.Effect<void, unknown>) {
        const blocker = yield* b.sql.reserve
        yield* blocker.executeUnprepared("BEGIN", [], undefined)
        yield* blocker.executeUnprepared(
          `SELECT 1 FROM ${b.prefix}states WHERE key = 'maths' FOR UPDATE`,
          [],
          undefined
        )
        const saving = yield* Effect.forkChild(Effect.exit(save), { startImmediately: true })
        yield* until(Effect.map(
          b.sql`SELECT 1 FROM pg_stat_activity WHERE application_name = ${name} AND wait_event_type = 'Lock'`,
          (rows) => rows.length > 0
        ))
        return { saving, letGo: blocker.executeUnprepared("ROLLBACK", [], undefined) }
      }
    )
    type Opened = Effect.Success<ReturnType<typeof open>> & { readonly prefix: string }

    test("a connection that is cut in the middle of a save leaves everything as it was", (database) =>
      Effect.gen(function*() {
        const name = `${database.prefix}a`
        const a = { ...(yield* open(named(database, name))), prefix: database.prefix }
        const b = { ...(yield* open(database)), prefix: database.prefix }
        const { claim, generation } = yield* build(a.slot, [entry("maths", { tags: ["x:1"] })])
        const before = yield* look(b.slot)
        const save = generation.save(changes(2, [entry("art"), entry("maths", { tags: ["x:2"] })]))
        const { letGo, saving } = yield* saveHeldUp(a, b, name, save)
        yield* b.sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name = ${name} AND wait_event_type = 'Lock'`
        const exit = yield* Fiber.join(saving)
        assert(Exit.isFailure(exit))
        assert.instanceOf(Cause.squash(exit.cause), ProjectionStoreError)
        yield* letGo
        assert.deepStrictEqual(yield* look(b.slot), before)
        assert.deepStrictEqual(keys(yield* generation.byTag(["x:1"])), ["maths"])
        // it is still the holder
        assert.isFalse(yield* claim.isWanted)
        yield* save
        assert.deepStrictEqual(keys((yield* look(b.slot))!.entries), ["art", "maths"])
      }))

    test("who would take over waits for a save that has begun, and finds its holder alive", (database) =>
      Effect.gen(function*() {
        const name = `${database.prefix}a`
        const a = { ...(yield* open(named(database, name), { lease: "2 seconds" })), prefix: database.prefix }
        const b = { ...(yield* open(database)), prefix: database.prefix }
        const taker = yield* open(named(database, `${name}b`))
        const { generation } = yield* build(a.slot, [entry("maths")])
        yield* b.sql`UPDATE ${b.table("projections")} SET expires = 1`
        const { letGo, saving } = yield* saveHeldUp(a, b, name, generation.save(changes(2, [entry("maths")])))
        const taking = yield* Effect.forkChild(taker.slot.claim({ wait: false }), { startImmediately: true })
        yield* until(Effect.map(
          b.sql`SELECT 1 FROM pg_stat_activity WHERE application_name = ${`${name}b`} AND wait_event_type = 'Lock'`,
          (rows) => rows.length > 0
        ))
        // longer than its lease
        const clock = Effect.map(
          b.sql<{ now: number }>`SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision) AS now`,
          ([row]) => row!.now
        )
        const since = yield* clock
        yield* until(Effect.map(clock, (now) => now > since + 3))
        yield* letGo
        assert.isTrue(Exit.isSuccess(yield* Fiber.join(saving)))
        assert.isUndefined(yield* Fiber.join(taking))
        assert.isUndefined(yield* taker.slot.claim({ wait: false }))
        yield* generation.save(changes(3, []))
      }))

    test("is read in indexes", (database) =>
      Effect.gen(function*() {
        const { slot, sql } = yield* open(database)
        const set = Array.from({ length: 5000 }, (_, i) =>
          entry(`${i}`, { tags: [`mod:${i % 500}`], created: i, updated: -i }))
        yield* build(slot, set)
        const { prefix } = database
        yield* sql.unsafe(`ANALYZE ${prefix}states, ${prefix}tags`)
        const live = `(SELECT live FROM ${prefix}projections WHERE name = 'courses' AND version = 1)`
        for (
          const [index, query] of [
            ["states_pkey", `WHERE s.generation = ${live} AND s.key = '7'`],
            ["states_pkey", `WHERE s.generation = ${live} AND s.key > '7' ORDER BY s.key LIMIT 10`],
            [
              "states_by_created",
              `WHERE s.generation = ${live} AND (s.created, s.key) > (7, '7') ORDER BY s.created, s.key LIMIT 10`
            ],
            [
              "states_by_updated",
              `WHERE s.generation = ${live} AND (s.updated, s.key) < (-7, '7') ORDER BY s.updated DESC, s.key DESC LIMIT 10`
            ]
          ] as const
        ) {
          const plan = yield* sql.unsafe<{ "QUERY PLAN": string }>(
            `EXPLAIN SELECT s.state FROM ${prefix}states s ${query}`
          )
          const text = plan.map((row) =>
            row["QUERY PLAN"]
          ).join("\n")
          assert.include(text, `Index Scan`)
          assert.include(text, `${prefix}${index}`)
          assert.notInclude(text, "Sort")
        }
      }))

    test("a client that renames columns is no hindrance", (database) =>
      Effect.gen(function*() {
        const { slot } = yield* open({
          ...database,
          client: postgres.clientAt(database.at, {
            transformResultNames: (name) => name.toUpperCase(),
            transformQueryNames: (name) => name.toLowerCase()
          })
        })
        yield* build(slot, [entry("maths", { tags: ["x:1"] })])
        assert.deepStrictEqual(keys((yield* look(slot))!.entries), ["maths"])
      }))
  })
})

describe("ProjectionStoreSql", () => {
  suite("SQLite", lite)

  it.live("other databases are refused", () =>
    Effect.gen(function*() {
      const client = Layer.effect(
        SqlClient.SqlClient,
        SqlClient.make({
          acquirer: Effect.die("not asked"),
          compiler: Statement.makeCompiler({
            dialect: "mysql",
            placeholder: () => "?",
            onIdentifier: (name) => name,
            onRecordUpdate: () => ["", []],
            onCustom: () => ["", []]
          }),
          driver: "none",
          spanAttributes: []
        })
      ).pipe(Layer.provide(Reactivity.layer))
      const error = yield* Effect.flip(Layer.build(ProjectionStoreSql.layer().pipe(Layer.provide(client))))
      assert.match(error.message, /PostgreSQL or SQLite/)
    }))

  for (
    const [title, options] of [
      ["a prefix that is no name", { prefix: `x"; DROP` }],
      ["a prefix that is too long", { prefix: "x".repeat(41) }],
      ["a lease that is too short", { lease: 999 }],
      ["a lease that never ends", { lease: "Infinity" }]
    ] as const
  ) {
    it.live(`${title} is refused`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Effect.flatMap(lite, (database) => open(database, options)))
        assert.strictEqual(error._tag, "TablesUnavailable")
        assert.match(error.message, /prefix must|lease/)
      }))
  }
})
