/**
 * Tries damaged stores for as long as wanted, and says what it found.
 *
 *     npm run fuzz                                   one minute, with a seed of its own
 *     npm run fuzz -- --minutes 10 --seed 7          what `--seed` and a number give is always the same
 *     npm run fuzz -- --seed 7 --case 1234           one case again
 *     npm run fuzz -- --target ledger                of ledger, derived, projections
 *     npm run fuzz -- --files FOLDER                 on a disk, each opening in a folder of its own, which stays
 */
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import * as Cases from "./cases.ts"
import * as Image from "./image.ts"
import * as Stores from "./stores.ts"
import * as Subject from "./subject.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string" },
    case: { type: "string" },
    target: { type: "string" },
    files: { type: "string" },
    tally: { type: "boolean", default: false }
  }
})
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
const from = values.case === undefined ? 0 : Number(values.case)
const deadline = performance.now() + Number(values.minutes) * 60_000

let unhandled = 0
process.on("unhandledRejection", (cause) => {
  unhandled++
  console.log("unhandled rejection:", cause)
})

console.log(`seed ${seed}`)
const samples = await Effect.runPromise(Stores.make)
const began = performance.now()
const report = await Effect.runPromise(Cases.run(Subject, samples, {
  seed,
  from,
  until: (n) => values.case === undefined ? performance.now() > deadline : n > from,
  only: values.target,
  ...(values.files === undefined ? {} : { open: Image.onFiles(values.files) }),
  onFailure: (failure) => console.log(Cases.format(failure))
}))
if (values.tally) {
  console.log("cases  right answers  refusals  what happened")
  for (const [name, { cases, refused, right }] of [...report.tallies].sort()) {
    console.log(`${String(cases).padStart(6)} ${String(right).padStart(9)} ${String(refused).padStart(9)}  ${name}`)
  }
}
const seconds = (performance.now() - began) / 1000
console.log(`${report.cases} cases in ${seconds.toFixed(1)} s, ${report.failures.length} failures; seed ${seed}`)
if (report.failures.length > 0 || unhandled > 0) process.exitCode = 1
