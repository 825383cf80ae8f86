/**
 * A disk that can lose power: a Storage in memory that knows which of its bytes and names are durable.
 *
 * `crashImages` gives what may be left if the power fails now, each as a disk of its own; what is kept and what may go is told in
 * `simulatedDisk.ts`: any unsynced sector of 512 bytes, and any unsynced name, each for itself. A document replaced with `sync` is
 * durable, and nothing else of its folder by it.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { type Call as RunCall, run, toStorage } from "../layers/internal/memoryFileSystem.ts"
import { type Reason, Storage, StorageError, type StoragePath } from "../services/Storage.ts"
import { type CrashOptions, Disk } from "./simulatedDisk.ts"

export type { CrashOptions } from "./simulatedDisk.ts"

// models

/** A call of the service, as it was made. */
export interface Call {
  /** E.g. `write`. */
  readonly operation: string
  /** Of a rename, what was renamed. */
  readonly path: StoragePath
}

/**
 * How much of a failing call is done. `before`: nothing. `after`: all, but it is not told so. `half`: of a write the first half of
 * its bytes; of a sync nothing, and the bytes are taken for written; of a document a half-written file beside it; of a removal
 * half of what is in the folder; of other calls nothing.
 */
export type Extent = "before" | "half" | "after"

export interface Options {
  /** Told of each call before it is made. What it throws is a defect of the call, which then does nothing. */
  readonly onCall?: ((call: Call) => void) | undefined
}

/** A simulated disk. */
export interface StorageSimulated {
  readonly storage: Storage["Service"]
  readonly layer: Layer.Layer<Storage>
  /** All calls so far, in order. */
  readonly log: ReadonlyArray<Call>
  /** How many that were. */
  readonly calls: number
  /** Lets the next call that fits fail, once. Several wait side by side. */
  readonly failNext: (
    call: string | ((call: Call) => boolean),
    reason: Reason,
    options?: { readonly after?: Extent | undefined }
  ) => void
  /** How many of these failures have not happened yet. */
  readonly pendingFailures: number
  /**
   * What may be left after a power loss, without duplicates; what a power loss leaves is durable. If there are more than `max`, a
   * sample that begins with: nothing unsynced is left, all is, all names but no bytes, all bytes but no names.
   */
  readonly crashImages: (options?: CrashOptions) => ReadonlyArray<StorageSimulated>
  /** What is left after the process was killed: all, and what was not synced is still not. */
  readonly processCrash: () => StorageSimulated
  /** The same disk once more, with a log of its own. */
  readonly clone: () => StorageSimulated
  /** The same for disks that cannot be told apart, now or after a power loss. */
  readonly fingerprint: () => string
}

// constructors

/** An empty disk. */
export const make = (options: Options = {}): StorageSimulated => over(new Disk(), options)

const over = (disk: Disk, options: Options): StorageSimulated => {
  const log: Array<Call> = []
  let failures: Array<{ readonly fits: (call: Call) => boolean; readonly reason: Reason; readonly after: Extent }> = []

  const call: RunCall = <A>(operation: string, path: StoragePath, body: () => A, half?: () => void) =>
    Effect.suspend(() => {
      const call = { operation, path }
      options.onCall?.(call)
      log.push(call)
      const failure = failures.length === 0 ? undefined : failures.find((failure) => failure.fits(call))
      if (failure === undefined) return run(operation, path, body)
      failures = failures.filter((other) => other !== failure)
      const fail = Effect.fail(new StorageError({ operation, path, reason: failure.reason }))
      switch (failure.after) {
        case "before":
          return fail
        case "half":
          return Effect.andThen(run(operation, path, () => half?.()), fail)
        case "after":
          return Effect.andThen(run(operation, path, body), fail)
      }
    })

  const storage = toStorage(disk, call, {
    write: (file, offset, bytes) => disk.write(file, offset, bytes.subarray(0, bytes.length >> 1)),
    sync: (file) => disk.failSync(file),
    replaceDocument: (path, bytes) => {
      const { name } = disk.place(path)
      const beside = `${path.slice(0, path.length - name.length)}.${name.slice(0, 60)}.0.0.tmp`
      disk.replaceDocument(beside, bytes.subarray(0, bytes.length >> 1), { sync: false })
    },
    remove: (path) => {
      if (disk.find(path)?.kind !== "directory") return
      const names = disk.list(path).map(({ name }) => name)
      for (const name of names.slice(0, names.length >> 1)) disk.remove(`${path}/${name}`)
    }
  })

  return {
    storage,
    layer: Layer.succeed(Storage, storage),
    log,
    get calls() {
      return log.length
    },
    failNext: (call, reason, { after = "before" } = {}) => {
      failures.push({ fits: typeof call === "string" ? ({ operation }) => operation === call : call, reason, after })
    },
    get pendingFailures() {
      return failures.length
    },
    crashImages: (crash) => disk.crashImages(crash).map((image) => over(image, {})),
    processCrash: () => over(disk.clone(), {}),
    clone: () => over(disk.clone(), {}),
    fingerprint: () => disk.fingerprint()
  }
}

// layers

/** An empty disk for each build of the layer. */
export const layer: Layer.Layer<Storage> = Layer.sync(Storage, () => make().storage)
