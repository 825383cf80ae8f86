/**
 * What the system's error codes mean to a caller.
 */
import type { Reason } from "../../services/Storage.ts"

const reasons: { readonly [code: string]: Reason } = {
  ENOENT: "NotFound",
  EEXIST: "AlreadyExists",
  ENOTEMPTY: "AlreadyExists",
  EACCES: "Permission",
  EPERM: "Permission",
  EROFS: "ReadOnly",
  ENOSPC: "DiskFull",
  EDQUOT: "DiskFull",
  EMFILE: "TooManyOpenFiles",
  ENFILE: "TooManyOpenFiles",
  ENOTDIR: "WrongKind",
  EISDIR: "WrongKind",
  // What `open` says of a file of another kind on BSD, and the layers of their own.
  EFTYPE: "WrongKind",
  ELOOP: "SymbolicLink",
  // Opening a socket.
  ENXIO: "WrongKind"
}

export const codeOf = (cause: unknown): string | undefined =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : undefined

export const reasonOf = (cause: unknown): Reason => reasons[codeOf(cause) ?? ""] ?? "Io"
