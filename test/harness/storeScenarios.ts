/**
 * What a store goes through while it crashes, or while its calls fail: each step of append, batch, roll-over, take-over, baton, index,
 * event files, tags, creation, deletion and projections. To add one, add it here: what must hold afterwards is the same for all, and
 * follows from what the client was told.
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as EventStore from "../../src/services/EventStore.ts"
import type * as MountedDisk from "./mountedDisk.ts"
import type * as Stack from "./stack.ts"
import { Client, Model, type World } from "./storeClient.ts"

// models

export interface Scenario {
  readonly options?: Omit<Stack.Options, "root">
  /** What stands on the disk when it begins: the process that made it was killed, or ended in order. Default: nothing. */
  readonly before?: (world: World) => Effect.Effect<void, unknown>
  readonly run: (world: World) => Effect.Effect<void, unknown>
  /** Whether the projection is looked at as well. */
  readonly counts?: boolean
  /** Whether the model is looked at that has snapshots. */
  readonly decides?: boolean
}

const using = <E>(world: World, body: (client: Client) => Generator<Effect.Effect<unknown, E>, void, never>) =>
  Effect.gen(function*() {
    const client = yield* Client.open(world)
    yield* Effect.gen(() => body(client))
    yield* client.close
  })

const some = (n: number) => (world: World) =>
  using(world, function*(client) {
    for (let i = 0; i < n; i++) yield* client.append(1 + i % 3)
  })

/** Its process was killed: nothing was given back. */
const killedAfter = (n: number) => (world: World) =>
  Effect.gen(function*() {
    const client = yield* Client.open(world)
    for (let i = 0; i < n; i++) yield* client.append(1 + i % 2)
    // kept open: its end is not part of this
  })

/** The next so many calls that fit become something else. */
const failing = (
  world: World,
  names: ReadonlyArray<MountedDisk.Call["name"]>,
  path: string,
  outcomes: ReadonlyArray<MountedDisk.Outcome | undefined>
) => {
  const left = [...outcomes]
  world.outcome = (call) => names.includes(call.name) && call.path.includes(path) ? left.shift() : undefined
}

const eio = { code: "EIO" } as const

export const scenarios = {
  "create": {
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
      })
  },
  "append": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
        yield* client.append(1, (head) => ({ key: "a", ...(head === undefined ? {} : { after: head }) }))
        // refused: there are such events
        yield* client.append(1, () => ({ key: "b" }))
        yield* client.append(1)
      })
  },
  "batch": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(7)
        yield* Effect.all([client.append(2), client.append(3), client.append(1)], { concurrency: "unbounded" })
      })
  },
  "segment change": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        for (let i = 0; i < 9; i++) yield* client.append(2)
      })
  },
  "take-over": {
    before: killedAfter(3),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(2)
      })
  },
  "baton": {
    before: some(1),
    run: (world) =>
      Effect.gen(function*() {
        for (let i = 0; i < 3; i++) yield* some(1)(world)
      })
  },
  "two writers in turn": {
    before: some(1),
    run: (world) =>
      Effect.gen(function*() {
        const one = yield* Client.open(world)
        const other = yield* Client.open(world)
        for (let i = 0; i < 2; i++) {
          yield* one.append(1)
          yield* other.append(2, (head) => ({ key: "c", after: head! }))
        }
        yield* one.close
        yield* other.append(1)
        yield* other.close
      })
  },
  "index run": {
    before: some(2),
    run: (world) =>
      Effect.gen(function*() {
        yield* using(world, function*(client) {
          for (let i = 0; i < 8; i++) yield* client.append(2)
        })
        yield* some(2)(world)
      })
  },
  "index merge": {
    options: { fanOut: 2 },
    before: some(4),
    run: (world) =>
      Effect.gen(function*() {
        yield* using(world, function*(client) {
          for (let i = 0; i < 3; i++) {
            yield* client.append(6)
            // runs are merged beside
            yield* Effect.sleep(3)
          }
        })
        yield* some(2)(world)
      })
  },
  "event files": {
    options: { eventFiles: true, writeProtect: true },
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(2)
        yield* client.mirrored
        yield* client.addTags("late:1", "b")
        yield* client.append(1)
        yield* client.mirrored
      })
  },
  "addTags": {
    before: some(4),
    run: (world) =>
      using(world, function*(client) {
        yield* client.addTags("late:1", "a")
        yield* client.append(1)
        yield* client.addTags("late:2", "b")
        yield* client.append(2)
      })
  },
  "snapshots": {
    decides: true,
    before: some(1),
    run: (world) =>
      Effect.gen(function*() {
        for (let i = 0; i < 3; i++) {
          yield* using(world, function*(client) {
            yield* client.append(3)
            yield* client.decide
          })
        }
      })
  },
  "delete": {
    options: { eventFiles: true },
    before: some(2),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
        yield* client.deleteStore
      })
  },
  "delete and make anew": {
    before: some(2),
    run: (world) =>
      Effect.gen(function*() {
        yield* using(world, function*(client) {
          yield* client.deleteStore
        })
        yield* some(2)(world)
      })
  },
  "without syncs": {
    options: { durability: "os" },
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        for (let i = 0; i < 9; i++) yield* client.append(2)
      })
  },
  "event files without syncs": {
    options: { durability: "os", eventFiles: true },
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(2)
        yield* client.mirrored
        yield* client.append(1)
        yield* client.mirrored
      })
  },
  "a sync fails where the history is not synced": {
    options: { durability: "os" },
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        // the first sync is that of the segment that is full
        failing(world, ["fdatasync"], "ledger/0000000001", [{ ...eio, done: "half" }])
        for (let i = 0; i < 7; i++) yield* client.append(2)
      })
  },
  "a store for a group": {
    options: { access: "group", writeProtect: true },
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        for (let i = 0; i < 4; i++) yield* client.append(3)
      })
  },
  "slow and asynchronous calls": {
    options: { calls: "asynchronous", eventFiles: true },
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        world.outcome = ({ name }) => name === "fdatasync" || name === "write" ? { slow: 1 } : undefined
        const appends = [client.append(2), client.append(1, () => ({ key: "a" })), client.append(3)]
        yield* Effect.all([...appends, client.mirrored], { concurrency: "unbounded" })
        yield* client.addTags("late:1", "c")
      })
  },
  "projection": {
    options: { eventFiles: true },
    counts: true,
    before: some(2),
    run: (world) =>
      using(world, function*(client) {
        yield* client.counting(Effect.gen(function*() {
          yield* Model.waitFor(yield* EventStore.head.pipe(Effect.map((head) => head!)))
          yield* client.append(2)
          yield* Model.waitFor(yield* EventStore.head.pipe(Effect.map((head) => head!)))
          yield* Stream.runDrain(Model.rebuild)
        }))
      })
  },
  "a sync fails": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
        failing(world, ["fdatasync"], "ledger/", [{ ...eio, done: "half" }])
        yield* client.append(2)
        yield* client.append(1)
        // and that of the segment in which it is told apart
        failing(world, ["fdatasync"], "ledger/", [{ ...eio, done: "half" }, { ...eio, done: "half" }])
        yield* client.append(2)
        yield* client.append(1)
      })
  },
  "a write fails": {
    before: some(1),
    run: (world) =>
      using(world, function*(client) {
        yield* client.append(1)
        failing(world, ["write"], "ledger/", [{ ...eio, done: "half" }])
        yield* client.append(3)
        yield* client.append(1)
        failing(world, ["write"], "ledger/", [{ short: true }, { short: true }, { code: "ENOSPC", done: "half" }])
        yield* client.append(3)
        yield* client.append(1)
      })
  },
  "names cannot be made": {
    before: killedAfter(2),
    run: (world) =>
      Effect.gen(function*() {
        failing(world, ["open"], "ledger/0000000002", [{ code: "EMFILE" }, { code: "EACCES" }])
        const client = yield* Effect.retry(Client.open(world), { times: 3 })
        // the first of them are refused
        for (let i = 0; i < 4; i++) yield* client.append(1)
        yield* client.close
      })
  }
} satisfies { readonly [name: string]: Scenario }

export type Name = keyof typeof scenarios
export const names = Object.keys(scenarios) as ReadonlyArray<Name>

// long histories

/** Mulberry32: the same numbers for the same seed. */
const numbersFrom = (seed: number) => {
  let state = seed | 0
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296 * below)
  }
}

const codes = ["EIO", "ENOSPC", "EACCES", "EMFILE", "EROFS"] as const
const breakable = ["write", "fdatasync", "fsync", "open", "rename", "mkdir", "lstat", "read"] as const

/** Any steps one after another, by one client and sometimes two, with a call that fails now and then. */
export const random = (seed: number, steps: number): Scenario => {
  const draw = numbersFrom(seed)
  const eventFiles = draw(2) === 0
  const durability = draw(4) === 0 ? "os" : "sync"
  return {
    options: { eventFiles, durability, writeProtect: draw(2) === 0, segmentSize: 1000 + draw(4000) },
    run: (world) =>
      Effect.gen(function*() {
        let clients = [yield* Client.open(world)]
        const anyone = () => clients[draw(clients.length)]!
        const key = () => ["a", "b", "c"][draw(3)]!
        for (let step = 0; step < steps; step++) {
          switch (draw(12)) {
            case 0:
              yield* anyone().append(1, () => ({ key: key() }))
              break
            case 1:
              yield* Effect.all(Array.from({ length: 2 + draw(3) }, () => anyone().append(1 + draw(3))), {
                concurrency: "unbounded"
              })
              break
            case 2:
              yield* anyone().addTags(draw(2) === 0 ? "late:1" : "late:2", key())
              break
            case 3:
              for (const client of clients) yield* client.close
              clients = [yield* Client.open(world)]
              break
            case 4:
              if (clients.length < 2) clients.push(yield* Client.open(world))
              break
            case 5:
              if (eventFiles) yield* anyone().mirrored
              break
            case 6: {
              const done = (["nothing", "half", "all"] as const)[draw(3)]!
              let left = 1 + draw(2)
              const outcome = { code: codes[draw(codes.length)]!, done }
              const name = breakable[draw(breakable.length)]!
              world.outcome = (call) => call.name === name && left-- > 0 ? outcome : undefined
              break
            }
            case 7:
              yield* anyone().append(1, (head) => ({ key: key(), ...(head === undefined ? {} : { after: head }) }))
              break
            default:
              yield* anyone().append(1 + draw(4))
          }
        }
        world.outcome = undefined
        for (const client of clients) yield* client.close
      })
  }
}
