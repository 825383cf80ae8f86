/** Guarded appends of a process beside another one that never stops: conflicts, but no starvation. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import { createInvoice, invoices } from "../fixtures/invoices.ts"
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
})
