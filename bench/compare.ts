/**
 * Whether the store has become slower, beside what it is compared with: ratios of a run beside those of baseline.json.
 *
 *     npm run bench:compare                          runs the preset of the baseline, and fails if a ratio is lower by more than 25 %
 *     npm run bench:compare -- --tolerance 40        or by more than so many percent
 *     npm run bench:compare -- --from FILE           with a run that was kept: `npm run bench -- --json FILE`
 *     npm run bench:compare -- --only append,read    some suites
 *     npm run bench:compare -- --write               makes the baseline anew, of all suites
 */
import * as Fs from "node:fs"
import { parseArgs } from "node:util"
import { aligned, type Conditions, digits, fromJson, type Ratio, ratios, type Run } from "./report.ts"
import { runSuites } from "./suites.ts"

// models

/** Ratios that were measured once, to be compared with, and how. */
export interface Baseline {
  readonly conditions: Conditions
  readonly ratios: ReadonlyArray<Ratio>
}

export interface Compared extends Omit<Ratio, "ratio" | "spread"> {
  readonly before: number | undefined
  readonly now: number | undefined
  /** A ratio of a suite that was run may not go missing; one of a suite that was left out may. */
  readonly verdict: "as before" | "slower" | "faster" | "missing" | "new" | "not run"
}

// comparing

/** A variant is compared with the plain store: how it stands beside others follows from that. */
const isKept = ({ beside, subject }: Ratio) => subject === "opossum" || beside === "opossum"

export const toBaseline = ({ conditions, figures }: Run): Baseline => ({
  conditions,
  ratios: ratios(figures).filter(isKept)
})

const keyOf = ({ beside, subject, suite, workload }: Omit<Ratio, "ratio" | "spread">) =>
  JSON.stringify([suite, workload, subject, beside])

/** `tolerance` is a share: 0.25 lets a ratio fall by a quarter. What lay further apart when it was measured may do so again. */
export const compare = (baseline: Baseline, run: Run, tolerance: number): ReadonlyArray<Compared> => {
  const suites = new Set(run.figures.map(({ suite }) => suite))
  const found = new Map(toBaseline(run).ratios.map((ratio) => [keyOf(ratio), ratio]))
  const known = new Set(baseline.ratios.map(keyOf))
  const verdictOf = ({ ratio, spread, suite }: Ratio, now: number | undefined): Compared["verdict"] => {
    if (now === undefined) return suites.has(suite) ? "missing" : "not run"
    const allowed = 1 - Math.max(tolerance, spread)
    // what is no number is not as before
    return !(now >= ratio * allowed) ? "slower" : now * (1 - tolerance) > ratio ? "faster" : "as before"
  }
  const compared = baseline.ratios.map((before): Compared => {
    const { beside, subject, suite, workload } = before
    const now = found.get(keyOf(before))?.ratio
    return { suite, workload, subject, beside, before: before.ratio, now, verdict: verdictOf(before, now) }
  })
  const added = [...found].filter(([key]) => !known.has(key)).map(([, ratio]): Compared => {
    const { beside, subject, suite, workload } = ratio
    return { suite, workload, subject, beside, before: undefined, now: ratio.ratio, verdict: "new" }
  })
  return [...compared, ...added]
}

export const isFailure = ({ verdict }: Compared): boolean => verdict === "slower" || verdict === "missing"

export const comparison = (compared: ReadonlyArray<Compared>): string =>
  aligned([
    ["", "before", "now", "change", ""],
    ...compared.filter(({ verdict }) => verdict !== "not run").map((one) => [
      `${one.suite}: ${one.workload}: ${one.subject} beside ${one.beside}`,
      one.before === undefined ? "" : digits(one.before),
      one.now === undefined ? "" : digits(one.now),
      one.before === undefined || one.now === undefined
        ? ""
        : `${one.now >= one.before ? "+" : ""}${Math.round((one.now / one.before - 1) * 100)} %`,
      one.verdict === "as before" ? "" : one.verdict
    ])
  ]).join("\n")

// JSON

export const baselineToJson = (baseline: Baseline): string => {
  const rows = baseline.ratios.map((ratio) =>
    `    ${
      JSON.stringify({ ...ratio, ratio: Number(ratio.ratio.toPrecision(3)), spread: Number(ratio.spread.toFixed(2)) })
    }`
  )
  return `{\n  "conditions": ${JSON.stringify(baseline.conditions)},\n  "ratios": [\n${rows.join(",\n")}\n  ]\n}\n`
}

export const baselineFromJson = (text: string): Baseline => {
  const baseline = JSON.parse(text) as Partial<Baseline> | null
  if (baseline?.conditions === undefined || !Array.isArray(baseline.ratios)) throw new Error("this is no baseline")
  return baseline as Baseline
}

// program

const program = async (): Promise<void> => {
  const { values } = parseArgs({
    options: {
      from: { type: "string" },
      only: { type: "string" },
      root: { type: "string" },
      tolerance: { type: "string", default: "25" },
      write: { type: "boolean", default: false }
    }
  })
  const tolerance = Number(values.tolerance) / 100
  if (!(tolerance > 0 && tolerance < 1)) throw new Error("--tolerance is a percentage, above 0 and below 100")
  const file = new URL("baseline.json", import.meta.url)
  const measured = async (preset: Conditions["preset"]): Promise<Run> =>
    values.from === undefined
      ? runSuites({ preset, only: values.only?.split(","), root: values.root })
      : fromJson(Fs.readFileSync(values.from, "utf8"))
  if (values.write) {
    if (values.only !== undefined) throw new Error("a baseline is made of all suites")
    const run = await measured("standard")
    if (run.conditions.preset === "smoke") throw new Error("a smoke run tells nothing about speed")
    Fs.writeFileSync(file, baselineToJson(toBaseline(run)))
    return
  }
  const baseline = baselineFromJson(Fs.readFileSync(file, "utf8"))
  const run = await measured(baseline.conditions.preset)
  if (run.conditions.preset !== baseline.conditions.preset) {
    throw new Error(`the run is of preset ${run.conditions.preset}, the baseline of ${baseline.conditions.preset}`)
  }
  const compared = compare(baseline, run, tolerance)
  console.log(comparison(compared))
  const failures = compared.filter(isFailure)
  console.log(`\n${compared.length} ratios, ${failures.length} lower by more than ${values.tolerance} %, or missing`)
  if (failures.length > 0) process.exitCode = 1
}

if (import.meta.main) await program()
