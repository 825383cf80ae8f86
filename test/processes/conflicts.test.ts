/** Guarded appends of a process beside another one that never stops: conflicts, but no starvation. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import { createInvoice, invoices, nextInvoice } from "../fixtures/invoices.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

const busyProcess = (root: string) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<ReturnType<typeof spawn>>((resolve, reject) => {
        const child = spawn(process.execPath, [
          fileURLToPath(new URL("../fixtures/invoices.ts", import.meta.url)),
          root
        ], {
          stdio: ["ignore", "pipe", "inherit"]
        })
        child.once("exit", (code) => reject(new Error(`ended with ${code}`)))
        child.stdout!.once("data", () => resolve(child))
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

describe("conflicts between processes", () => {
  it.live("who is told of a conflict gets through", () =>
    Effect.gen(function*() {
      const root = yield* temporaryFolder
      yield* busyProcess(root)
      yield* Effect.gen(function*() {
        let most = 0
        let all = 0
        for (let i = 0; i < 12; i++) {
          // long enough for the other to take its turn
          yield* Effect.sleep(120)
          const tries = yield* createInvoice
          most = Math.max(most, tries)
          all += tries
        }
        console.log(`12 guarded appends beside a busy process: ${all} tries, ${most} at most for one`)
        // Without the moment that a conflict's process keeps the lock, one of them takes dozens, or never ends.
        assert.isAtMost(all, 60)
        const { events } = yield* EventStore.read(invoices)
        assert.deepStrictEqual(events.map(({ event }) => event.number), events.map((_, i) => i + 1))
      }).pipe(Effect.provide(Opossum.layer({ root, store: "office", eventFiles: false })))
    }).pipe(Effect.scoped), 60_000)

  it.live(
    "who reserves before they read again gets through with that, however long they waited before",
    () =>
      Effect.gen(function*() {
        const root = yield* temporaryFolder
        yield* busyProcess(root)
        yield* Effect.gen(function*() {
          const rounds = 12
          const tries: Array<number> = []
          for (let i = 0; i < rounds; i++) {
            tries.push(0)
            yield* Effect.gen(function*() {
              if (tries[i]!++ > 0) {
                // far beyond the moment for which the lock is kept after a conflict: the other takes a turn
                yield* Effect.sleep(60)
                yield* EventStore.reserve
              }
              // nothing keeps the other out at the first try
              const last = yield* EventStore.readLast(invoices)
              if (tries[i] === 1) yield* Effect.sleep(60)
              const invoice = nextInvoice(last?.event.number)
              yield* EventStore.append(invoice, { failIfEventsMatch: invoices, after: last?.position })
            }).pipe(Effect.retry({ while: (error) => error._tag === "AppendConditionFailed" }))
          }
          console.log(`${rounds} guarded appends that reserve, beside a busy process: ${tries.join(" ")} tries`)
          // A process that is held up for longer than the lock is kept for it may need another try.
          assert.isAtMost(tries.reduce((a, b) => a + b, 0), 2 * rounds + 3)
          assert.isAbove(Math.max(...tries), 1, "the other came in between")
          const { events } = yield* EventStore.read(invoices)
          assert.deepStrictEqual(events.map(({ event }) => event.number), events.map((_, i) => i + 1))
        }).pipe(Effect.provide(Opossum.layer({ root, store: "office", eventFiles: false })))
      }).pipe(Effect.scoped),
    60_000
  )
})
