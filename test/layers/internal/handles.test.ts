/** Open files, a bounded number of them. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Handles from "../../../src/layers/internal/handles.ts"
import { makeGate } from "../../support/stores.ts"

const setup = (capacity: number, beforeOpen: Effect.Effect<void> = Effect.void) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const open = new Set<number>()
    let opened = 0
    const handles = yield* Handles.make<number, number, never>((key) =>
      Effect.andThen(
        beforeOpen,
        Effect.acquireRelease(
          Effect.sync(() => {
            opened++
            open.add(key)
            return key
          }),
          () => Effect.sync(() => open.delete(key))
        )
      ), capacity).pipe(Scope.provide(scope))
    return { handles, open, opened: () => opened, close: Scope.close(scope, Exit.void) }
  })

it.effect("more than the capacity are open only as long as they are in use", () =>
  Effect.gen(function*() {
    const { handles, open } = yield* setup(4)
    const gate = makeGate()
    const fibers = yield* Effect.forEach(
      Array.from({ length: 20 }, (_, key) => key),
      (key) => Effect.forkChild(handles.use(key, () => gate.pass), { startImmediately: true })
    )
    assert.strictEqual(open.size, 20)
    yield* gate.go
    yield* Effect.forEach(fibers, Fiber.join)
    assert.strictEqual(open.size, 4)
    for (let key = 20; key < 30; key++) yield* handles.use(key, () => Effect.void)
    assert.deepStrictEqual([...open], [26, 27, 28, 29])
  }))

it.effect("the least recently used one goes first", () =>
  Effect.gen(function*() {
    const { handles, open, opened } = yield* setup(2)
    for (const key of [1, 2, 1, 3, 1]) yield* handles.use(key, () => Effect.void)
    assert.deepStrictEqual([...open], [1, 3])
    assert.strictEqual(opened(), 3)
  }))

it.effect("one that is dropped while in use is closed by its last user, and opened again by the next", () =>
  Effect.gen(function*() {
    const { handles, open, opened } = yield* setup(2)
    const gate = makeGate()
    const fiber = yield* Effect.forkChild(handles.use(1, () => gate.pass), { startImmediately: true })
    yield* handles.drop(1)
    assert.deepStrictEqual([...open], [1])
    yield* gate.go
    yield* Fiber.join(fiber)
    assert.deepStrictEqual([...open], [])
    yield* handles.use(1, () => Effect.void)
    assert.strictEqual(opened(), 2)
  }))

it.effect("closing leaves open what is in use until its user is done, and opens nothing any more", () =>
  Effect.gen(function*() {
    const { close, handles, open } = yield* setup(2)
    const gate = makeGate()
    yield* handles.use(1, () => Effect.void)
    const fiber = yield* Effect.forkChild(
      handles.use(2, (key) => Effect.map(gate.pass, () => open.has(key))),
      { startImmediately: true }
    )
    yield* close
    assert.deepStrictEqual([...open], [2])
    yield* gate.go
    assert.isTrue(yield* Fiber.join(fiber))
    assert.deepStrictEqual([...open], [])
    assert.isTrue(Exit.isFailure(yield* Effect.exit(handles.use(3, () => Effect.void))))
    assert.deepStrictEqual([...open], [])
  }))

it.effect("what is being opened when all are closed is closed after its use", () =>
  Effect.gen(function*() {
    const gate = makeGate()
    const { close, handles, open } = yield* setup(2, gate.pass)
    const fiber = yield* Effect.forkChild(handles.use(1, (key) => Effect.sync(() => open.has(key))), {
      startImmediately: true
    })
    yield* close
    yield* gate.go
    assert.isTrue(yield* Fiber.join(fiber))
    assert.deepStrictEqual([...open], [])
  }))

it.effect("what is open is seen at once, and has been used then", () =>
  Effect.gen(function*() {
    const { close, handles, open } = yield* setup(2)
    assert.isUndefined(handles.peek(1))
    for (const key of [1, 2]) yield* handles.use(key, () => Effect.void)
    assert.strictEqual(handles.peek(1), 1)
    yield* handles.use(3, () => Effect.void)
    assert.deepStrictEqual([...open], [1, 3])
    assert.strictEqual(handles.peek(3), 3)
    assert.strictEqual(handles.peek(1), 1)
    yield* handles.use(4, () => Effect.void)
    assert.deepStrictEqual([...open], [1, 4])
    assert.isUndefined(handles.peek(3))
    yield* handles.drop(1)
    assert.isUndefined(handles.peek(1))
    yield* close
    assert.isUndefined(handles.peek(4))
  }))
