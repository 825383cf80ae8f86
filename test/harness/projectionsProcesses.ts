/** Processes of `test/fixtures/projectionProcess.ts`. */
import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import type { Answer, Command } from "../fixtures/projectionProcess.ts"
import { Child } from "./child.ts"

const fixture = fileURLToPath(new URL("../fixtures/projectionProcess.ts", import.meta.url))

export type Process = Child<Command, Answer>

export const spawn = (name: string) =>
  Effect.acquireRelease(Effect.sync((): Process => new Child(fixture, name)), (it) => it.murder)
