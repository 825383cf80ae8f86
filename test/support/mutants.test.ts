import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as LockMemory from "../../src/layers/LockMemory.ts"
import * as Lock from "../../src/services/Lock.ts"
import { apply, mutant } from "./mutants.ts"

const patched = "was bored for 3 ms"
const real = "waited 3 ms"

const words = ({ LockTimeout }: typeof Lock) => new LockTimeout({ name: "writer", waitedMillis: 3 }).message

const rejection = (promise: Promise<unknown>) =>
  promise.then(() => assert.fail("it was expected to fail"), (error: unknown) => String(error))

/** What somebody is told who does not get the lock. */
const refusal = (layer: typeof LockMemory.layer) =>
  Effect.gen(function*() {
    const lock = yield* Lock.Lock
    yield* lock.acquire("writer")
    return (yield* Effect.flip(lock.acquire("writer", { timeout: 0 }))).message
  }).pipe(Effect.scoped, Effect.provide(layer))

describe("mutants", () => {
  it("a mutant behaves as patched, the real module as written", async () => {
    assert.include(words(await mutant<typeof Lock>("src/services/Lock.ts", "lock-other-words")), patched)
    assert.include(words(Lock), real)
  })

  it("an import with the query gives the same module", async () => {
    const path = "../../src/services/Lock.ts?mutant=lock-other-words"
    assert.strictEqual(await import(path), await mutant("src/services/Lock.ts", "lock-other-words"))
  })

  it.effect("a patch reaches a module that imports the patched one, over its relative imports", () =>
    Effect.gen(function*() {
      const weakened = yield* Effect.promise(() =>
        mutant<typeof LockMemory>("src/layers/LockMemory.ts", "lock-other-words")
      )
      assert.include(yield* refusal(weakened.layer), "was bored for")
      assert.include(yield* refusal(LockMemory.layer), "waited")
    }))

  it("a patch that does not fit, an unknown name, and a module without the patch are refused", async () => {
    assert.include(await rejection(mutant("src/services/Lock.ts", "does-not-fit")), "occurs 0 times")
    assert.include(
      await rejection(mutant("src/services/Lock.ts", "no-such-mutant")),
      "there is no mutant no-such-mutant"
    )
    assert.include(await rejection(mutant("src/Position.ts", "lock-other-words")), "does not import")
  })

  it("the text to find must occur exactly once, and be changed", () => {
    const patch = { file: "a.ts", find: "sync()", replace: "" }
    assert.strictEqual(apply("a", patch, "write(); sync()"), "write(); ")
    assert.strictEqual(apply("a", { ...patch, replace: "$&$1" }, "sync()"), "$&$1")
    assert.throws(() => apply("a", patch, "sync(); sync()"), "occurs 2 times")
    assert.throws(() => apply("a", patch, "write()"), "occurs 0 times")
    assert.throws(() => apply("a", { ...patch, find: "" }, "write()"), "occurs 0 times")
    assert.throws(() => apply("a", { ...patch, replace: "sync()" }, "sync()"), "changes nothing")
  })
})
