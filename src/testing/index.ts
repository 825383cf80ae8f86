/**
 * For tests: of applications, in the words given, when, then; and of what is built on the store, with a disk that can lose power and
 * fail, and a lock that keeps nobody out.
 */
export * as Conformance from "./Conformance.ts"
export * as LockGranted from "./LockGranted.ts"
export * as Scenario from "./Scenario.ts"
export * as StorageSimulated from "./StorageSimulated.ts"
