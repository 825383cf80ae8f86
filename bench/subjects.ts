/** What is compared, opened and closed alike: the store, SQLite, LMDB, and a plain file. */
import { type Effect, type Layer, ManagedRuntime } from "effect"
import { open as openLmdb } from "lmdb"
import * as Fs from "node:fs"
import type { Opossum } from "../src/index.ts"
import * as Sqlite from "./rivals/sqlite.ts"
import { Booked, Closed, perSecond } from "./setup.ts"

/** The store, open; `run` runs an effect that uses it. */
export const openOpossum = <E>(layer: Layer.Layer<Opossum.Services, E>) => {
  const runtime = ManagedRuntime.make(layer)
  return {
    run: <A, E2>(effect: Effect.Effect<A, E2, Opossum.Services>): Promise<A> => runtime.runPromise(effect),
    close: () => runtime.dispose()
  }
}

const tagsOf = ({ account, branch }: Booked | Closed) => [`account:${account}`, `branch:${branch}`]
const types: ReadonlyArray<Sqlite.Type> = [{ class: Booked, tags: tagsOf }, { class: Closed, tags: tagsOf }]
export const openSqlite = (file: string, more: ReadonlyArray<Sqlite.Type> = []): Sqlite.Store =>
  Sqlite.open(file, [...types, ...more])

/** Bytes under growing numbers; nothing is encoded, no condition is checked. */
export const openLog = (path: string) => {
  // a commit is answered when it is synced, not before
  const log = openLmdb<Uint8Array, number>({
    path,
    encoding: "binary",
    keyEncoding: "uint32",
    overlappingSync: false
  })
  let last = 0
  return {
    put: (bytes: Uint8Array): void => log.putSync(++last, bytes) as unknown as undefined,
    /** Those that wait at the same time share a commit. */
    putGrouped: (bytes: Uint8Array): Promise<boolean> => log.put(++last, bytes),
    close: () => log.close()
  }
}

/** A plain file: a write and a data sync for each of so many writes, one after another. Both answer with writes a second. */
export const openFloor = (path: string) => {
  const file = Fs.openSync(path, "a")
  return {
    blocking: (bytes: Uint8Array, writes: number): number => {
      const start = performance.now()
      for (let i = 0; i < writes; i++) {
        Fs.writeSync(file, bytes)
        Fs.fdatasyncSync(file)
      }
      return perSecond(writes, performance.now() - start)
    },
    asynchronous: (bytes: Uint8Array, writes: number): Promise<number> =>
      new Promise((resolve, reject) => {
        const start = performance.now()
        let left = writes
        const next = (): void => {
          if (left-- === 0) return resolve(perSecond(writes, performance.now() - start))
          Fs.write(file, bytes, (error) =>
            error ? reject(error) : Fs.fdatasync(file, (error) =>
              error ? reject(error) : next()))
        }
        next()
      }),
    close: () => Fs.closeSync(file)
  }
}
