/** Tries damaged stores for as long as wanted, and says what it found. What a seed and a number give is always the same. */
import * as Effect from "effect/Effect"
import { parseArgs } from "node:util"
import * as Cases from "./cases.ts"
import * as Image from "./image.ts"
import * as Stores from "./stores.ts"
import * as Subject from "./subject.ts"

const targets = ["ledger", "derived", "projections"]

const help = `npm run fuzz -- [options]

  --minutes N      for so long                                      (1)
  --seed N         chooses everything                               (random)
  --case N         only this case of the seed, as a failure says
  --target NAME    only these: ${targets.join(", ")}
  --files FOLDER   on a disk, each opening in a folder of its own, which stays
  --tally          how many cases of each kind of damage, and what came of them
  --help

The exit code is 0 if nothing was wrong, 1 if something was, 2 for a wrong option.`

const wrong = (message: string): never => {
  console.error(`${message}\n\n${help}`)
  process.exit(2)
}

const read = () => {
  try {
    return parseArgs({
      options: {
        minutes: { type: "string", default: "1" },
        seed: { type: "string" },
        case: { type: "string" },
        target: { type: "string" },
        files: { type: "string" },
        tally: { type: "boolean", default: false },
        help: { type: "boolean", default: false }
      }
    }).values
  } catch (error) {
    return wrong(String(error))
  }
}
const number = (name: string, text: string): number => {
  const n = Number(text)
  return text.trim() !== "" && Number.isFinite(n) && n >= 0 ? n : wrong(`--${name} must be a number, not ${text}`)
}

const values = read()
if (values.help) {
  console.log(help)
  process.exit(0)
}
if (values.target !== undefined && !targets.includes(values.target)) wrong(`there is no target ${values.target}`)
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : number("seed", values.seed)
const from = values.case === undefined ? 0 : number("case", values.case)
const deadline = performance.now() + number("minutes", values.minutes) * 60_000

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
