/** Everything wired for an application: one layer, on this machine's disk or in memory. */
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { resolve } from "node:path"
import type { EventStore, EventStoreError } from "../services/EventStore.ts"
import type { EventStoreAdmin } from "../services/EventStoreAdmin.ts"
import type { EventStoreMaintenance } from "../services/EventStoreMaintenance.ts"
import type { Lock } from "../services/Lock.ts"
import type { Projections } from "../services/Projection.ts"
import type { Storage } from "../services/Storage.ts"
import * as EventStoreLive from "./EventStoreLive.ts"
import * as IndexLive from "./IndexLive.ts"
import * as EventFilesThread from "./internal/EventFilesThread.ts"
import { toStoreError } from "./internal/History.ts"
import type { RebuildPolicy } from "./internal/ProjectionRunner.ts"
import { refuseLinks } from "./internal/StoreFolder.ts"
import { nameProblem } from "./internal/storeName.ts"
import * as LedgerLive from "./LedgerLive.ts"
import * as LockFile from "./LockFile.ts"
import * as LockMemory from "./LockMemory.ts"
import * as ProjectionsLive from "./ProjectionsLive.ts"
import * as ProjectionStoreFiles from "./ProjectionStoreFiles.ts"
import * as SnapshotsFiles from "./SnapshotsFiles.ts"
import * as StorageMemory from "./StorageMemory.ts"
import * as StorageNode from "./StorageNode.ts"

// models

export interface Options {
  /** The folder that holds the stores; made if it is missing. Default: `opossum`, in the working directory. */
  readonly root?: string | undefined
  /** The store's name: a folder below `root`. Letters, digits and the like: it must be a file name on every system. */
  readonly store: string
  /**
   * When an append is acknowledged: `"sync"`, after the disk has it, so that it survives a power cut; `"os"`, after the
   * operating system has it, so that it survives the process. Default: `"sync"`.
   */
  readonly durability?: "sync" | "os" | undefined
  /** One readable JSON file per event, below `events/`. Default: `true`. */
  readonly eventFiles?: boolean | undefined
  /** One readable JSON file per state of a projection, below `projections/`. Default: `true`. */
  readonly stateFiles?: boolean | undefined
  /**
   * When projections are built by themselves: `"when-needed"` (there is no build of their version, or it does not fit any more),
   * `"always"` (at each start), or `"never"` (only by `rebuild`). Default: `"when-needed"`.
   */
  readonly rebuild?: RebuildPolicy | undefined
  /** Makes event files, state files and sealed segments of the ledger read-only. Default: `false`. */
  readonly writeProtect?: boolean | undefined
  /**
   * Who may see and change what is made: `"owner"`, the user of the process alone; `"group"`, all users of the group of the store's
   * folder as well. Whatever the umask; nothing that exists is changed. Default: `"owner"`.
   */
  readonly access?: "owner" | "group" | undefined
  /** How long an append waits for other processes before it fails with `StoreBusy`. At least 4.5 seconds. Default: 5 seconds. */
  readonly lockTimeout?: Duration.Input | undefined
  /** The bytes at which a segment of the ledger is sealed and the next begun: 64 KiB to 1 GiB. Default: 64 MiB. */
  readonly segmentSize?: number | undefined
  /** Reads a store that exists, and changes nothing: no lock, no index, no event files, no projection is run. Default: `false`. */
  readonly readOnly?: boolean | undefined
  /**
   * On a network file system, or one that may be (NFS, SMB, FUSE): lets this machine write though another one wrote last. Only one
   * machine may write, ever, at a time; processes of one machine are no problem. Default: `false`.
   */
  readonly allowOtherHosts?: boolean | undefined
}

/** All that an application asks for. */
export type Services = EventStore | EventStoreAdmin | EventStoreMaintenance | Projections

// errors

/** An option has a value that it cannot have. Nothing was opened or made. */
export class InvalidOption extends Schema.TaggedError<InvalidOption>()("InvalidOption", {
  option: Schema.Literals([
    "root",
    "store",
    "durability",
    "eventFiles",
    "stateFiles",
    "rebuild",
    "writeProtect",
    "access",
    "lockTimeout",
    "segmentSize",
    "readOnly",
    "allowOtherHosts"
  ]),
  problem: Schema.String
}) {
  override get message(): string {
    return `the option \`${this.option}\` ${this.problem}`
  }
}

/** Why a store cannot be opened. */
export type OpenError = InvalidOption | EventStoreError

// options

/** A stopped holder is recognised after 3.5 seconds; who gives up before can never take over from one. */
const shortestLockTimeout = 4500
const segmentSizes = { least: 64 * 1024, most: 1024 * 1024 * 1024 }

const booleans = ["eventFiles", "stateFiles", "writeProtect", "readOnly", "allowOtherHosts"] as const

const check = (options: Options): InvalidOption | undefined => {
  const invalid = (option: InvalidOption["option"], problem: string) => new InvalidOption({ option, problem })
  const { access, durability, lockTimeout, rebuild, root, segmentSize, store } = options
  if (root !== undefined && (typeof root !== "string" || root === "" || root.includes("\0"))) {
    return invalid("root", "must be the path of a folder")
  }
  const problem = nameProblem(store)
  if (problem !== undefined) return invalid("store", problem)
  if (durability !== undefined && durability !== "sync" && durability !== "os") {
    return invalid("durability", `must be "sync" or "os", not ${JSON.stringify(durability)}`)
  }
  if (rebuild !== undefined && rebuild !== "never" && rebuild !== "when-needed" && rebuild !== "always") {
    return invalid("rebuild", `must be "never", "when-needed" or "always", not ${JSON.stringify(rebuild)}`)
  }
  if (access !== undefined && access !== "owner" && access !== "group") {
    return invalid("access", `must be "owner" or "group", not ${JSON.stringify(access)}`)
  }
  for (const option of booleans) {
    const value = options[option]
    if (value !== undefined && typeof value !== "boolean") {
      return invalid(option, `must be true or false, not ${JSON.stringify(value)}`)
    }
  }
  if (lockTimeout !== undefined) {
    const millis = Option.getOrUndefined(Option.map(Duration.fromInput(lockTimeout), Duration.toMillis))
    if (millis === undefined) return invalid("lockTimeout", `must be a duration, not ${JSON.stringify(lockTimeout)}`)
    if (millis < shortestLockTimeout) {
      return invalid(
        "lockTimeout",
        `must be at least ${shortestLockTimeout} ms, since only then the lock of a stopped process can be told from a busy one's, not ${millis} ms`
      )
    }
  }
  if (
    segmentSize !== undefined &&
    !(Number.isSafeInteger(segmentSize) && segmentSize >= segmentSizes.least && segmentSize <= segmentSizes.most)
  ) {
    return invalid("segmentSize", `must be a whole number of bytes from 64 KiB to 1 GiB, not ${String(segmentSize)}`)
  }
  return undefined
}

// layers

const wire = (
  options: Omit<Options, "root">,
  medium: Layer.Layer<Storage | Lock>,
  padding?: number
): Layer.Layer<Services, EventStoreError> => {
  const { allowOtherHosts, eventFiles, readOnly, rebuild, stateFiles, store, writeProtect } = options
  const ledger = LedgerLive.layer({ ...options, padding })
  const index = IndexLive.layer({ store, ...(readOnly === undefined ? {} : { readOnly }) })
  const states = ProjectionStoreFiles.layer({ store, readOnly, stateFiles, writeProtect, allowOtherHosts })
  const projections = Layer.provide(ProjectionsLive.layer({ rebuild }), states)
  return Layer.merge(projections, SnapshotsFiles.layer({ store, readOnly })).pipe(
    Layer.provideMerge(EventStoreLive.layer({ store, eventFiles, readOnly, writeProtect })),
    Layer.provide(index),
    Layer.provide(ledger),
    Layer.provide(medium),
    Layer.catch((error) =>
      Layer.effectContext(Effect.fail(error._tag === "EventStoreError" ? error : toStoreError(error)))
    )
  )
}

/** What is to be known of a store on a disk before anything is done to it. */
const inspect = (store: string, medium: Layer.Layer<Storage>): Effect.Effect<void, EventStoreError> =>
  refuseLinks(store).pipe(Effect.provide(medium), Effect.mapError(toStoreError))

/**
 * The store in `root`/`store` on this machine's disk, made if it is missing. Any number of processes may have it open at once.
 *
 * Fails with `InvalidOption`, which names the option, or with `EventStoreError`: `StoreUnsupported` for a folder that is no store,
 * one of a newer format, or one that a symbolic link leads out of, `StoreDamaged`, `StoreUnavailable` if the disk refuses.
 *
 * Closing the layer's scope finishes what is being written and gives the store to others at once.
 *
 * ```ts
 * import { Opossum } from "effect-opossum"
 *
 * export const StoreLive = Opossum.layer({ root: "data", store: "school" })
 * ```
 */
export const layer = (options: Options): Layer.Layer<Services, OpenError> =>
  Layer.unwrap(Effect.gen(function*() {
    const problem = check(options)
    if (problem !== undefined) return yield* problem
    const given = { root: options.root ?? "opossum", access: options.access }
    const storage = StorageNode.layer(given)
    yield* inspect(options.store, storage)
    const thread = Layer.succeed(EventFilesThread.Place, { ...given, root: resolve(given.root) })
    const wired = wire(options, Layer.mergeAll(storage, LockFile.layer(given)), LedgerLive.diskPadding)
    return Layer.provide(wired, thread)
  }))

/**
 * `layer` with its options read from `Config`.
 *
 * ```ts
 * import { Config } from "effect"
 * import { Opossum } from "effect-opossum"
 *
 * export const StoreLive = Opossum.layerConfig({
 *   root: Config.String("STORE_ROOT"),
 *   store: Config.String("STORE_NAME")
 * })
 * ```
 */
export const layerConfig = (options: Config.Wrap<Options>): Layer.Layer<Services, OpenError | Config.ConfigError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))

/**
 * The same code over memory: each build of the layer is a fresh, empty store, which goes with its scope. For tests, together with
 * Effect's `TestClock` if wanted.
 */
export const layerMemory: Layer.Layer<Services> = Layer.orDie(
  wire({ store: "memory", eventFiles: false, stateFiles: false }, Layer.mergeAll(StorageMemory.layer, LockMemory.layer))
)
