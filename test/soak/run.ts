/**
 * A soak: minutes or hours of real processes that are killed and stopped while they append, follow and count; see CONTRIBUTING.md.
 *
 *     npm run soak -- --minutes 5 --processes 6 --seed 123
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { makeMutant, mutants } from "./mutants.ts"
import { sizes } from "./plan.ts"
import { make, type Tally } from "./soak.ts"

const help = `npm run soak -- [options]

  --minutes N      no further round begins after so long          (5)
  --rounds N       nor after so many                              (any number)
  --small          rounds of a few seconds, as the tests have them
  --processes N    that work at once, 3 to 32                     (6)
  --seed N         chooses everything but what the system's scheduler does (random)
  --patience N     seconds without any progress, after which something hangs  (90)
  --root DIR       where the stores lie                           (a temporary folder)
  --keep           leaves the folder, also when all is well
  --mutant NAME    runs weakened code, which must be noticed; "all" runs all of them, for at most --minutes each
  --help

  mutants: ${Object.keys(mutants).join(", ")}

The exit code is 0 if nothing was wrong (with --mutant: if it was noticed), 1 if something was, 2 for a wrong option.`

const wrong = (message: string): never => {
  console.error(`${message}\n\n${help}`)
  process.exit(2)
}

const read = () => {
  try {
    return parseArgs({
      options: {
        minutes: { type: "string", default: "5" },
        rounds: { type: "string", default: "Infinity" },
        small: { type: "boolean", default: false },
        processes: { type: "string", default: "6" },
        seed: { type: "string" },
        patience: { type: "string", default: "90" },
        root: { type: "string" },
        keep: { type: "boolean", default: false },
        mutant: { type: "string" },
        help: { type: "boolean", default: false }
      }
    }).values
  } catch (error) {
    return wrong(String(error))
  }
}

const number = (name: string, text: string, isRight: (n: number) => boolean): number => {
  const n = Number(text)
  return text.trim() !== "" && isRight(n) ? n : wrong(`--${name} cannot be ${text}`)
}

const show = (tally: Tally, seconds: number): string =>
  [
    `${Math.round(seconds)} s`,
    `${tally.rounds} rounds on ${tally.stores} stores`,
    `${tally.kills} kills and ${tally.stops} stops (${tally.inside} inside a commit)`,
    `${tally.takeOvers} take-overs (${tally.overtaken} from a process that was stopped)`,
    `${tally.appends} appends acknowledged (${tally.retries} of them retries)`,
    `${tally.conflicts} refused by condition`,
    `${tally.unknown} unknown`,
    `${tally.refused} otherwise refused`,
    `${Math.round(tally.events / seconds)} events/s`
  ].join(", ")

const showRest = ({ additions, cutRebuilds, looks, processes, rebuilds, seen, segments }: Tally): string =>
  `${processes} processes, ${segments} segments, ${additions} additions of tags, ${seen} events seen by subscribers, ` +
  `${looks} looks at a projection, ${rebuilds} rebuilds and ${cutRebuilds} kills in one`

const options = read()
if (options.help) {
  console.log(help)
  process.exit(0)
}
const minutes = number("minutes", options.minutes, (n) => n > 0)
const patience = number("patience", options.patience, (n) => n > 0)
const rounds = number("rounds", options.rounds, (n) => n === Infinity || (Number.isInteger(n) && n > 0))
const processes = number("processes", options.processes, (n) => Number.isInteger(n) && n >= 3 && n <= 32)
const seed = options.seed === undefined
  ? Math.floor(Math.random() * 2 ** 31)
  : number("seed", options.seed, (n) => Number.isInteger(n) && n >= 0 && n < 2 ** 32)

/** Runs until the time is over, and tells what was wrong. */
const soak = async (folder: string, mutant: string | undefined): Promise<ReadonlyArray<string>> => {
  const began = performance.now()
  const seconds = () => (performance.now() - began) / 1000
  const { run, tally } = make({
    seed,
    processes,
    root: folder,
    size: options.small ? sizes.small : sizes.long,
    patience: patience * 1000,
    keep: options.keep,
    isOver: (tally) => tally.rounds >= rounds || seconds() >= minutes * 60,
    ...(mutant === undefined ? {} : { surroundings: makeMutant(mutant, folder) })
  })
  const timer = setInterval(() => console.log(show(tally, seconds())), 5000)
  try {
    return await run()
  } finally {
    clearInterval(timer)
    console.log(show(tally, seconds()))
    console.log(showRest(tally))
  }
}

const command = [
  "npm run soak --",
  ...(options.small ? ["--small"] : []),
  ...(rounds === Infinity ? [] : [`--rounds ${rounds}`]),
  `--minutes ${minutes} --processes ${processes} --seed ${seed}`
].join(" ")

const folder = (): string => {
  if (options.root === undefined) return mkdtempSync(join(tmpdir(), "effect-opossum-soak-"))
  mkdirSync(options.root, { recursive: true })
  return mkdtempSync(join(options.root, "soak-"))
}

const runMutant = async (name: string): Promise<boolean> => {
  const root = folder()
  const { expected } = mutants[name] ?? wrong(`there is no mutant ${name}`)
  console.log(`mutant ${name}, seed ${seed}`)
  const problems = await soak(root, name)
  for (const problem of problems) console.log(problem)
  if (!options.keep) rmSync(root, { recursive: true, force: true })
  const isRight = expected === "noticed" ? problems.length > 0 : problems.length === 0
  console.log(
    `mutant ${name}: ${problems.length > 0 ? "noticed" : "not noticed"}, ${isRight ? "as" : "NOT as"} it should be\n`
  )
  return isRight
}

console.log(`seed ${seed}`)
if (options.mutant !== undefined) {
  let isRight = true
  for (const name of options.mutant === "all" ? Object.keys(mutants) : [options.mutant]) {
    isRight = await runMutant(name) && isRight
  }
  process.exitCode = isRight ? 0 : 1
} else {
  const root = folder()
  const problems = await soak(root, undefined)
  if (problems.length === 0) {
    console.log("nothing was wrong")
    if (options.keep) console.log(`the stores are in ${root}`)
    else rmSync(root, { recursive: true, force: true })
  } else {
    for (const problem of problems) console.error(problem)
    console.error(`\n${problems.length} problems; the stores and the witnesses are in ${root}`)
    console.error(`again, but for what the scheduler does: ${command}`)
    process.exitCode = 1
  }
}
