/** All suites, and running them. */
import * as Fs from "node:fs"
import { availableParallelism, tmpdir } from "node:os"
import { join } from "node:path"
import { append } from "./append.ts"
import { batches } from "./batches.ts"
import { cycles } from "./cycles.ts"
import { decisions } from "./decisions.ts"
import { following } from "./following.ts"
import type { Context, Figure, Suite } from "./measure.ts"
import { memory } from "./memory.ts"
import { processes } from "./processes.ts"
import { projections } from "./projections.ts"
import { read } from "./read.ts"
import type { Run } from "./report.ts"
import { sizes } from "./sizes.ts"

const suites: ReadonlyArray<Suite> = [
  append,
  batches,
  cycles,
  read,
  processes,
  following,
  sizes,
  decisions,
  projections,
  memory
]

export interface Options {
  readonly preset: Context["preset"]
  /** The names of the suites to run; all of them without it. */
  readonly only?: ReadonlyArray<string> | undefined
  /** Below which folder, so on which disk; the system's for temporary files without it. */
  readonly root?: string | undefined
}

/** Runs suites one after another, each in a folder of its own that is removed after it. */
export const runSuites = async ({ only, preset, root: parent = tmpdir() }: Options): Promise<Run> => {
  const unknown = only?.find((name) => !suites.some((suite) => suite.name === name))
  if (unknown !== undefined) {
    throw new Error(`there is no suite ${unknown}; there are ${suites.map(({ name }) => name).join(", ")}`)
  }
  const root = Fs.mkdtempSync(join(parent, "effect-opossum-bench-"))
  process.once("exit", () => Fs.rmSync(root, { recursive: true, force: true }))
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))
  const begun = performance.now()
  const figures: Array<Figure> = []
  for (const { name, run } of suites) {
    if (only !== undefined && !only.includes(name)) continue
    const folder = join(root, name)
    Fs.mkdirSync(folder)
    const progress = (text: string) =>
      console.error(`${((performance.now() - begun) / 1000).toFixed(0).padStart(5)} s  ${name}: ${text}`)
    figures.push(...await run({ root: folder, preset, progress }))
    Fs.rmSync(folder, { recursive: true, force: true })
  }
  const conditions = {
    preset,
    date: new Date().toISOString(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cores: availableParallelism()
  }
  return { conditions, figures }
}
