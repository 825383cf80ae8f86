/** Cases by number: a seed and a number give a store, what happens to it, and whether what it says then is right. */
import * as Effect from "effect/Effect"
import * as Image from "./image.ts"
import type { Kind, Mutation } from "./mutations.ts"
import { targets } from "./mutations.ts"
import * as Oracle from "./oracle.ts"
import * as Random from "./random.ts"
import type { Sample } from "./stores.ts"

// models

/** A mutation with the seed of its choices, so that others can be left out and this one stays what it is. */
interface Step {
  readonly mutation: Mutation
  readonly seed: number
}

export interface Case {
  readonly sample: Sample
  readonly target: string
  readonly steps: ReadonlyArray<Step>
}

export interface Failure {
  readonly seed: number
  readonly n: number
  readonly target: string
  readonly sample: string
  /** What is left of what happened, when all that does not matter is left out. */
  readonly damage: ReadonlyArray<string>
  readonly problem: string
}

export interface Report {
  readonly cases: number
  readonly failures: ReadonlyArray<Failure>
  /** How many cases, right answers and refusals there were, by the name of the (first) mutation. */
  readonly tallies: ReadonlyMap<string, Oracle.Tally & { cases: number }>
}

// making

/** Of these the weight says how often they are tried. */
const shares: ReadonlyArray<readonly [target: string, weight: number]> = [["ledger", 6], ["derived", 3], [
  "projections",
  2
]]

export const make = (samples: ReadonlyArray<Sample>, seed: number, n: number, only?: string): Case => {
  const random = Random.make(Random.mix(seed, n))
  let at = random.int(shares.reduce((sum, [, weight]) => sum + weight, 0))
  const target = only ?? shares.find(([, weight]) => (at -= weight) < 0)![0]
  const mutations = targets[target]!
  const count = random.pick([1, 1, 1, 2, 3])
  return {
    sample: random.pick(samples),
    target,
    steps: Array.from({ length: count }, () => ({ mutation: random.pick(mutations), seed: random.int(2 ** 32) }))
  }
}

const worst: ReadonlyArray<Kind> = ["harmless", "derived", "damage", "signed", "forged"]

/** What was damaged already may be too deeply nested to be edited. */
const attempt = <A>(f: () => A): A | undefined => {
  try {
    return f()
  } catch (cause) {
    if (cause instanceof RangeError) return undefined
    throw cause
  }
}

/** What is left of the store after these steps. */
export const damage = ({ sample, steps }: Case, samples: ReadonlyArray<Sample>) => {
  const image = Image.clone(sample.image)
  const told: Array<string> = []
  let kind: Kind = "harmless"
  for (const { mutation, seed } of steps) {
    const what = attempt(() => mutation.apply(image, Random.make(seed), samples))
    Image.tidy(image)
    if (what === undefined) continue
    told.push(`${mutation.name}: ${what}`)
    // history that was written anew stays what it is only if nothing else happens to it
    const isMixed: boolean = (kind === "forged" || mutation.kind === "forged") && told.length > 1
    kind = isMixed ? "signed" : worst[Math.max(worst.indexOf(kind), worst.indexOf(mutation.kind))]!
  }
  return { image, kind, told }
}

// running

const problemOf = (
  subject: Oracle.Subject,
  tried: Case,
  samples: ReadonlyArray<Sample>,
  n: number,
  tally: Oracle.Tally,
  open?: (image: Image.Image) => Image.Disk
) =>
  Effect.gen(function*() {
    const { image, kind, told } = damage(tried, samples)
    if (told.length === 0) return undefined
    const exit = yield* Effect.exit(
      tried.target === "projections"
        ? Oracle.checkStates(subject, tried.sample, image, kind, tally, open)
        : Oracle.check(subject, tried.sample, image, kind, n, tally, open)
    )
    if (exit._tag === "Success") return undefined
    const [reason] = exit.cause.reasons
    return reason?._tag === "Die" && reason.defect instanceof Error
      ? reason.defect instanceof Oracle.Violation ? reason.defect.message : `the oracle: ${reason.defect.stack}`
      : String(exit.cause)
  })

/** The fewest steps after which it still fails. */
const shrink = (subject: Oracle.Subject, failing: Case, samples: ReadonlyArray<Sample>, n: number, problem: string) =>
  Effect.gen(function*() {
    let least = failing
    let said = problem
    for (let i = 0; i < least.steps.length && least.steps.length > 1;) {
      const smaller = { ...least, steps: least.steps.filter((_, at) => at !== i) }
      const found = yield* problemOf(subject, smaller, samples, n, { right: 0, refused: 0 })
      if (found === undefined) i++
      else {
        least = smaller
        said = found
      }
    }
    return { least, said }
  })

export const run = Effect.fnUntraced(function*(
  subject: Oracle.Subject,
  samples: ReadonlyArray<Sample>,
  options: {
    readonly seed: number
    readonly from?: number
    readonly until: (n: number) => boolean
    readonly only?: string | undefined
    /** Ends with the first failure, which is not made smaller. */
    readonly first?: boolean
    readonly onFailure?: (failure: Failure) => void
    /** Where the damaged files lie. Default: in memory. */
    readonly open?: (image: Image.Image) => Image.Disk
  }
) {
  const failures: Array<Failure> = []
  const tallies = new Map<string, Oracle.Tally & { cases: number }>()
  let n = options.from ?? 0
  for (; !options.until(n); n++) {
    const tried = make(samples, options.seed, n, options.only)
    const name = tried.steps[0]!.mutation.name
    let tally = tallies.get(name)
    if (tally === undefined) tallies.set(name, tally = { cases: 0, right: 0, refused: 0 })
    tally.cases++
    const problem = yield* problemOf(subject, tried, samples, n, tally, options.open)
    if (problem === undefined) continue
    const { least, said } = options.first === true
      ? { least: tried, said: problem }
      : yield* shrink(subject, tried, samples, n, problem)
    const failure: Failure = {
      seed: options.seed,
      n,
      target: tried.target,
      sample: tried.sample.name,
      damage: damage(least, samples).told,
      problem: said
    }
    failures.push(failure)
    options.onFailure?.(failure)
    if (options.first === true) {
      n++
      break
    }
  }
  const report: Report = { cases: n - (options.from ?? 0), failures, tallies }
  return report
})

export const format = ({ damage, n, problem, sample, seed, target }: Failure): string =>
  `${target}, seed ${seed}, case ${n} (${sample})\n  ${damage.map((one) => one.slice(0, 200)).join("\n  ")}\n  => ${
    problem.slice(0, 1500)
  }\n` +
  `  again: npm run fuzz -- --seed ${seed} --case ${n}`
