/**
 * How fast the store is on this machine's disk, and what is built on it, each beside something to compare it with.
 *
 *     npm run bench                          the preset `standard`
 *     npm run bench -- --preset smoke        small: shows that the bench works, not how fast anything is; also `--smoke`
 *     npm run bench -- --preset full         more and larger rounds
 *     npm run bench -- --only append,read    some suites: see suites.ts
 *     npm run bench -- --root DIR            on which disk
 *     npm run bench -- --json FILE --svg FILE
 *
 * What is compared runs in turn in one process, and medians are given, since machines are noisy. Ratios are what counts.
 */
import * as Fs from "node:fs"
import { parseArgs } from "node:util"
import { chart, table, toJson } from "./report.ts"
import { runSuites } from "./suites.ts"

const { values } = parseArgs({
  options: {
    preset: { type: "string", default: "standard" },
    smoke: { type: "boolean", default: false },
    only: { type: "string" },
    root: { type: "string" },
    json: { type: "string" },
    svg: { type: "string" },
    // these are for the suite `sizes`, which looks at them itself
    keep: { type: "string" },
    sizes: { type: "string" }
  }
})
const preset = values.smoke ? "smoke" : values.preset
if (preset !== "smoke" && preset !== "standard" && preset !== "full") throw new Error(`there is no preset ${preset}`)

const run = await runSuites({ preset, only: values.only?.split(","), root: values.root })
console.log(
  `\nNode ${run.conditions.node}, ${run.conditions.platform}, ${run.conditions.cores} cores, preset ${preset}`
)
console.log(table(run.figures))

const latest = new URL("results/latest.json", import.meta.url)
if (preset !== "smoke") {
  Fs.mkdirSync(new URL(".", latest), { recursive: true })
  Fs.writeFileSync(latest, toJson(run))
}
if (values.json !== undefined) Fs.writeFileSync(values.json, toJson(run))
if (values.svg !== undefined) Fs.writeFileSync(values.svg, chart(run))
