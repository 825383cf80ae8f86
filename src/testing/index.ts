/** For tests of what is built on the store: a disk that can lose power and fail, and a lock that keeps nobody out. */
export * as LockGranted from "./LockGranted.ts"
export * as StorageSimulated from "./StorageSimulated.ts"
