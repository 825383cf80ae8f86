import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import {
  type Baseline,
  baselineFromJson,
  baselineToJson,
  compare,
  comparison,
  isFailure,
  toBaseline
} from "../bench/compare.ts"
import type { Figure } from "../bench/measure.ts"
import { chart, fromJson, ratios, type Run, table, toJson } from "../bench/report.ts"

const figure = (
  workload: string,
  subject: string,
  value: number,
  unit: Figure["unit"] = "/s",
  rounds = [value]
): Figure => ({
  suite: "append",
  workload,
  subject,
  value,
  rounds,
  unit
})
const runOf = (...figures: ReadonlyArray<Figure>): Run => ({
  conditions: {
    preset: "standard",
    date: "2026-01-02T03:04:05.000Z",
    node: "v22.0.0",
    platform: "linux x64",
    cores: 2
  },
  figures
})
const short = (figures: ReadonlyArray<Figure>) =>
  ratios(figures).map(({ beside, ratio, subject }) => `${subject} / ${beside} = ${ratio}`)

describe("ratios", () => {
  it("are above 1 where the store is better, whatever the unit", () => {
    assert.deepStrictEqual(short([figure("a", "opossum", 200), figure("a", "sqlite", 100)]), ["opossum / sqlite = 2"])
    for (const unit of ["ms", "us", "MiB", "bytes"] as const) {
      assert.deepStrictEqual(short([figure("a", "opossum", 50, unit), figure("a", "sqlite", 100, unit)]), [
        "opossum / sqlite = 2"
      ])
    }
  })

  it("are of figures of the same suite and workload", () => {
    const other = { ...figure("a", "sqlite", 1), suite: "read" }
    assert.deepStrictEqual(short([figure("a", "opossum", 2), figure("b", "sqlite", 1), other]), [])
  })

  it("stand beside all others, a variant beside the plain store too, and memory beside no disk but the store's own", () => {
    assert.deepStrictEqual(
      short([
        figure("a", "opossum", 8),
        figure("a", "opossum, event files", 4),
        figure("a", "opossum, memory", 16),
        figure("a", "sqlite", 2),
        figure("a", "opossumlike", 1)
      ]),
      [
        "opossum / sqlite = 4",
        "opossum / opossumlike = 8",
        "opossum, event files / opossum = 0.5",
        "opossum, event files / sqlite = 2",
        "opossum, event files / opossumlike = 4",
        "opossum, memory / opossum = 2"
      ]
    )
  })

  it("know how far those of single rounds lay apart", () => {
    const [ratio] = ratios([
      figure("a", "opossum", 10, "/s", [10, 10, 15]),
      figure("a", "sqlite", 5, "/s", [5, 5, 5])
    ])
    assert.strictEqual(ratio?.spread, 0.5)
    const [uneven] = ratios([figure("a", "opossum", 10, "/s", [10, 15]), figure("a", "sqlite", 5)])
    assert.strictEqual(uneven?.spread, 0)
  })
})

describe("compare", () => {
  const baseline: Baseline = toBaseline(runOf(figure("a", "opossum", 200), figure("a", "sqlite", 100)))
  const verdicts = (of: Baseline, ...figures: ReadonlyArray<Figure>) =>
    compare(of, runOf(...figures), 0.25).map((one) => [one.verdict, isFailure(one)])

  it("a figure that is slower by more than the tolerance fails, one within it does not", () => {
    assert.deepStrictEqual(verdicts(baseline, figure("a", "opossum", 149), figure("a", "sqlite", 100)), [[
      "slower",
      true
    ]])
    assert.deepStrictEqual(verdicts(baseline, figure("a", "opossum", 151), figure("a", "sqlite", 100)), [
      ["as before", false]
    ])
  })

  it("the ratio is what counts: on a slower machine nothing is slower", () => {
    assert.deepStrictEqual(verdicts(baseline, figure("a", "opossum", 20), figure("a", "sqlite", 10)), [
      ["as before", false]
    ])
    assert.deepStrictEqual(verdicts(baseline, figure("a", "opossum", 200), figure("a", "sqlite", 300)), [
      ["slower", true]
    ])
  })

  it("a time that grew is slower", () => {
    const times = toBaseline(runOf(figure("a", "opossum", 10, "ms"), figure("a", "sqlite", 10, "ms")))
    assert.deepStrictEqual(verdicts(times, figure("a", "opossum", 20, "ms"), figure("a", "sqlite", 10, "ms")), [
      ["slower", true]
    ])
    assert.deepStrictEqual(verdicts(times, figure("a", "opossum", 5, "ms"), figure("a", "sqlite", 10, "ms")), [
      ["faster", false]
    ])
  })

  it("what is no number is slower", () => {
    assert.deepStrictEqual(verdicts(baseline, figure("a", "opossum", NaN), figure("a", "sqlite", 100)), [
      ["slower", true]
    ])
  })

  it("what lay apart when the baseline was made may do so again", () => {
    const noisy = toBaseline(runOf(
      figure("a", "opossum", 200, "/s", [100, 200, 250]),
      figure("a", "sqlite", 100, "/s", [100, 100, 100])
    ))
    assert.deepStrictEqual(verdicts(noisy, figure("a", "opossum", 110), figure("a", "sqlite", 100)), [
      ["as before", false]
    ])
    assert.deepStrictEqual(verdicts(noisy, figure("a", "opossum", 90), figure("a", "sqlite", 100)), [["slower", true]])
  })

  it("a figure that is missing fails, and is told; a suite that was not run does not", () => {
    const compared = compare(baseline, runOf(figure("b", "opossum", 200), figure("b", "sqlite", 100)), 0.25)
    assert.deepStrictEqual(compared.map(({ verdict, workload }) => [workload, verdict]), [["a", "missing"], [
      "b",
      "new"
    ]])
    assert.deepStrictEqual(compared.map(isFailure), [true, false])
    assert.match(comparison(compared), /append: a: opossum beside sqlite .*missing/)
    assert.deepStrictEqual(verdicts(baseline), [["not run", false]])
  })

  it("a variant is kept beside the plain store only", () => {
    const { ratios } = toBaseline(runOf(
      figure("a", "opossum", 8),
      figure("a", "opossum, event files", 4),
      figure("a", "sqlite", 2)
    ))
    assert.deepStrictEqual(ratios.map(({ beside, subject }) => [subject, beside]), [
      ["opossum", "sqlite"],
      ["opossum, event files", "opossum"]
    ])
  })

  it("a baseline goes to JSON and back", () => {
    assert.deepStrictEqual(baselineFromJson(baselineToJson(baseline)), baseline)
    assert.throws(() => baselineFromJson("{}"), "no baseline")
  })

  it("the one that is kept here can be read, and is of no smoke run", () => {
    const kept = baselineFromJson(readFileSync(new URL("../bench/baseline.json", import.meta.url), "utf8"))
    assert.isAbove(kept.ratios.length, 20)
    assert.notStrictEqual(kept.conditions.preset, "smoke")
    for (const { ratio } of kept.ratios) assert.isAbove(ratio, 0)
  })
})

describe("output", () => {
  const run = runOf(
    { ...figure("<a> & b", "opossum", 1_250_000), note: "a note" },
    figure("<a> & b", "sqlite", 12.5, "/s", [12.00000001, 12.5, 13]),
    figure("<a> & b", "floor, blocking", 5_000_000),
    figure("alone", "opossum", 3, "MiB")
  )

  it("a run goes to JSON and back", () => {
    const back = fromJson(toJson(run))
    assert.deepStrictEqual(back.conditions, run.conditions)
    assert.deepStrictEqual(back.figures[0], run.figures[0])
    assert.deepStrictEqual(back.figures[1]?.rounds, [12, 12.5, 13])
    assert.throws(() => fromJson("null"), "no run")
    assert.throws(() => fromJson(`{"figures":1}`), "no run")
  })

  it("the table names all workloads and subjects, with units, ratios, notes, and how far rounds lay apart", () => {
    const lines = table(run.figures).split("\n")
    assert.deepStrictEqual(lines, [
      "",
      "append: <a> & b                          opossum",
      "  opossum          1,250,000 /s",
      "    a note",
      "  sqlite                12.5 /s  ±4 %  100,000 x",
      "  floor, blocking  5,000,000 /s           0.25 x",
      "",
      "append: alone",
      "  opossum                 3 MiB"
    ])
  })

  it("the chart is well-formed, has a bar for each comparison that it shows, and colours for light and dark", () => {
    const svg = chart(run)
    const open: Array<string> = []
    for (const [, slash, name, self] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
      if (slash === "/") assert.strictEqual(open.pop(), name)
      else if (self !== "/") open.push(name!)
    }
    assert.deepStrictEqual(open, [])
    assert.notInclude(svg, "<a>")
    assert.include(svg, "&lt;a&gt; &amp; b")
    assert.notMatch(svg, /NaN|undefined|Infinity/)
    assert.include(svg, "prefers-color-scheme:dark")
    assert.strictEqual([...svg.matchAll(/<rect [^>]*><title>/g)].length, 2)
    // better to the right of 1, worse to the left
    const [better, worse] = [...svg.matchAll(/<rect class="s\d" x="([\d.]+)"[^>]*width="([\d.]+)"[^>]*><title>/g)]
    const one = Number(/<line class="one" x1="([\d.]+)"/.exec(svg)![1])
    assert.strictEqual(Number(better![1]), one)
    assert.approximately(Number(worse![1]) + Number(worse![2]), one, 0.2)
  })

  it("there may be nothing to show", () => {
    assert.include(chart(runOf()), "</svg>")
    assert.strictEqual(table([]), "")
  })
})
