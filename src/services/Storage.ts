/**
 * A byte medium: files, names and folders. The only service that touches a disk.
 *
 * Each call is one step: a crash may come between any two of them, and everything above is written (and tested) for that.
 * Bytes are durable after `sync` of their file; names (created, renamed, removed) after `syncDirectory` of their folder.
 * Which sync comes when is the ledger's protocol, so it stands there and not here.
 *
 * Where a medium knows symbolic links, none below its root is followed: a call whose path leads over one, or ends in one, fails with
 * `SymbolicLink` and the path of the link. (But for `exists`, which says that it is there, `remove`, which removes it, and
 * `replaceDocument`, which puts the document in its place.)
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"

// models

/** Relative to the storage's root, parts joined by `/`; no empty part, no `.` or `..`. */
export type StoragePath = string

/** What a folder holds under a name. */
export interface Entry {
  readonly name: string
  readonly kind: "file" | "directory" | "link" | "other"
}

/**
 * A call that a fast medium can make as a plain function as well, with the same steps and answers: running an effect may cost more
 * than the call. It belongs to the effect, or to the function that makes it, so that who replaces that replaces both.
 */
export interface AtOnce<Args extends ReadonlyArray<unknown>, A> {
  /** `undefined`: nothing was done, as the medium would keep all of the process waiting; run the effect. */
  readonly atOnce?: ((...args: Args) => Exit.Exit<A, StorageError> | undefined) | undefined
}

/** A file that is open for positional reads, while others may write to it. */
export interface File {
  /** The path under which it was opened. */
  readonly path: StoragePath
  /** In bytes. */
  readonly size: Effect.Effect<number, StorageError>
  /**
   * Fewer bytes than asked for only at the end of the file. At once it reads into memory of the caller's own, and answers how many bytes
   * there were: for whoever reads so many small pieces that memory and an effect for each of them are what takes the time.
   */
  readonly read:
    & ((offset: number, length: number) => Effect.Effect<Uint8Array, StorageError>)
    & AtOnce<[offset: number, into: Uint8Array], number>
  /** Whether the path still names this very file: `false` if it was removed, replaced, or its folder renamed. */
  readonly isCurrent: Effect.Effect<boolean, StorageError> & AtOnce<[], boolean>
}

/** A file that is open for positional writes. */
export interface WritableFile extends File {
  /** Writes all bytes at the offset, or fails; after a failure any part of them may be there. Not durable before `sync`. */
  readonly write:
    & ((offset: number, bytes: Uint8Array) => Effect.Effect<void, StorageError>)
    & AtOnce<[offset: number, bytes: Uint8Array], void>
  /**
   * Returns after all bytes written before, and the file's size, are on the medium. After a failure nothing is known about
   * them: the kernel may have marked the lost pages clean, so another `sync` that succeeds says nothing.
   */
  readonly sync: Effect.Effect<void, StorageError> & AtOnce<[], void>
  readonly truncate: (size: number) => Effect.Effect<void, StorageError>
}

/** How a document is replaced. */
export interface DocumentOptions {
  /** Whether the bytes and the new name are durable when the call returns. */
  readonly sync: boolean
  /** The file's time of modification, in milliseconds since 1970. Default: now. */
  readonly modified?: number | undefined
  /** Makes the new file read-only. Default: `false`. */
  readonly readOnly?: boolean | undefined
}

// service

export class Storage extends Context.Service<Storage, {
  /** Creates an empty file and opens it. Fails with `AlreadyExists`: of two processes one wins. Its folder must exist. */
  readonly createFile: (path: StoragePath) => Effect.Effect<WritableFile, StorageError, Scope.Scope>
  /** Opens a file that exists, for reading. */
  readonly openFile: (path: StoragePath) => Effect.Effect<File, StorageError, Scope.Scope>
  /** Opens a file that exists, for reading and writing. */
  readonly openWritable: (path: StoragePath) => Effect.Effect<WritableFile, StorageError, Scope.Scope>
  /** Whether the path names anything. */
  readonly exists:
    & ((path: StoragePath) => Effect.Effect<boolean, StorageError>)
    & AtOnce<[path: StoragePath], boolean>
  /** Removes a file and says whether it was this call that did: of two processes one is told `true`. */
  readonly claim: (path: StoragePath) => Effect.Effect<boolean, StorageError>
  /**
   * Makes a folder where it is missing, and those above it; with `parents: false` the one above must exist (`NotFound`), so that
   * nobody revives a folder that was removed.
   */
  readonly makeDirectory: (
    path: StoragePath,
    options?: { readonly parents?: boolean | undefined }
  ) => Effect.Effect<void, StorageError>
  /** What lies in a folder, in no particular order; empty if there is no such folder. */
  readonly list: (path: StoragePath) => Effect.Effect<ReadonlyArray<Entry>, StorageError>
  /** Makes the folder's names durable. Does nothing where folders cannot be synced (Windows). */
  readonly syncDirectory: (path: StoragePath) => Effect.Effect<void, StorageError>
  /** Renames a file or folder, in one step. A folder replaces an empty one; fails with `AlreadyExists` on one that is not. */
  readonly rename: (from: StoragePath, to: StoragePath) => Effect.Effect<void, StorageError>
  /**
   * A whole document, or with `most` no more of it than so many bytes, for whoever knows how long it can be: a file that is damaged may
   * be of any size. `undefined` if there is none.
   */
  readonly readDocument: (
    path: StoragePath,
    options?: { readonly most?: number | undefined }
  ) => Effect.Effect<Uint8Array | undefined, StorageError>
  /** Makes or replaces a document: readers see the old one or the new one, whole. Its folder must exist. */
  readonly replaceDocument: (
    path: StoragePath,
    bytes: Uint8Array,
    options: DocumentOptions
  ) => Effect.Effect<void, StorageError>
  /** Removes a file, or a folder with all that is in it, also what is read-only; nothing if there is none. */
  readonly remove: (path: StoragePath) => Effect.Effect<void, StorageError>
  /** Makes a file read-only, or writable again. */
  readonly protect: (path: StoragePath, readOnly: boolean) => Effect.Effect<void, StorageError>
  /**
   * Whether other machines may have the medium too: a network file system, or one of which that is not known. What they write may
   * be seen late there, so nothing that is promised between processes holds between machines.
   */
  readonly isShared: Effect.Effect<boolean, StorageError>
  /**
   * Emits when something in the folder may have changed, by whatever process. A hint: changes may be missed, so a reader polls
   * as well. Ends, rather than fails, where watching is not possible.
   */
  readonly watch: (path: StoragePath) => Stream.Stream<void>
}>()("effect-opossum/services/Storage") {}

// errors

/** Why a call failed: what a caller may want to tell apart. */
export const Reason = Schema.Literals([
  "NotFound",
  "AlreadyExists",
  "Permission",
  "ReadOnly",
  "DiskFull",
  "TooManyOpenFiles",
  "WrongKind",
  "SymbolicLink",
  "Io"
])
export type Reason = typeof Reason.Type

const advice: { readonly [R in Reason]: string } = {
  NotFound: "there is no such file or folder",
  AlreadyExists: "it exists already",
  Permission: "permission denied: check who owns the files and folders, and which modes they have",
  ReadOnly: "the file system is read-only",
  DiskFull: "the disk, or the user's quota, is full",
  TooManyOpenFiles: "too many open files: raise the limit (ulimit -n)",
  WrongKind: "it is a file where a folder is expected, or a folder where a file is",
  SymbolicLink: "it is a symbolic link, and none is followed: put the file or folder itself in its place",
  Io: "the medium failed"
}

/** A call on the medium failed. */
export class StorageError extends Schema.TaggedError<StorageError>()("StorageError", {
  /** The service's call, e.g. `sync`. */
  operation: Schema.String,
  path: Schema.String,
  /** The folder that the path begins at, where the medium has one. */
  root: Schema.optional(Schema.String),
  reason: Reason,
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    const path = [this.root, this.path].filter((part) => part).join("/") || "the root folder"
    return `${this.operation} of ${path} failed: ${advice[this.reason]}`
  }
}
