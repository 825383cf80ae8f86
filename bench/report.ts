/** What becomes of figures: ratios, a table, JSON, a chart. All of it pure. */
import type { Figure } from "./measure.ts"

// models

/** How and where something was measured. */
export interface Conditions {
  readonly preset: "smoke" | "standard" | "full"
  readonly date: string
  readonly node: string
  readonly platform: string
  readonly cores: number
}

/** A whole run, as it is kept. */
export interface Run {
  readonly conditions: Conditions
  readonly figures: ReadonlyArray<Figure>
}

/** How much better the subject is than what stands beside it: above 1 it is better, whatever the unit. */
export interface Ratio {
  readonly suite: string
  readonly workload: string
  readonly subject: string
  readonly beside: string
  readonly ratio: number
  /** How far ratios of single rounds lay from it, at the most: 0.1 is a tenth. Rounds of both sides took turns. */
  readonly spread: number
}

// ratios

const own = "opossum"
const isOwn = (subject: string) => subject === own || subject.startsWith(`${own},`)
const isInMemory = (subject: string) => subject.endsWith(", memory")

/**
 * Of each figure of ours, beside those of all others, and, if it is of a variant, beside the plain one. What is kept in memory alone is
 * compared with the plain store and with what others keep in memory; anything else would compare promises.
 */
const isFair = (subject: string, beside: string): boolean => {
  if (!isOwn(subject) || subject === beside) return false
  if (isOwn(beside)) return beside === own
  return isInMemory(subject) === isInMemory(beside)
}

export const ratios = (figures: ReadonlyArray<Figure>): ReadonlyArray<Ratio> =>
  figures.flatMap((figure) =>
    figures
      .filter(({ subject, suite, unit, workload }) =>
        suite === figure.suite && workload === figure.workload && unit === figure.unit &&
        isFair(figure.subject, subject)
      )
      .map((other) => {
        const of = (own: number, other: number) => figure.unit === "/s" ? own / other : other / own
        const ratio = of(figure.value, other.value)
        const isPaired = figure.rounds.length === other.rounds.length
        return {
          suite: figure.suite,
          workload: figure.workload,
          subject: figure.subject,
          beside: other.subject,
          ratio,
          spread: isPaired ? spreadOf(figure.rounds.map((round, i) => of(round, other.rounds[i]!)), ratio) : 0
        }
      })
  )

const spreadOf = (rounds: ReadonlyArray<number>, median: number): number =>
  Math.max(0, ...rounds.map((round) => Math.abs(round / median - 1)))

// text

/** Three digits, or all of a larger number. */
export const digits = (n: number): string =>
  !Number.isFinite(n)
    ? "-"
    : Math.abs(n) >= 100
    ? Math.round(n).toLocaleString("en-US")
    : Number(n.toPrecision(3)).toString()

/** Columns as wide as they have to be; the first one begins at the left, all others end at the right. */
export const aligned = (rows: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const columns = Math.max(...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)))
  return rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ").trimEnd()
  )
}

/**
 * A part for each workload, a line for each subject: its median and how far rounds lay from it, then how many times better each of
 * ours is.
 */
export const table = (figures: ReadonlyArray<Figure>): string => {
  const all = ratios(figures)
  const rows: Array<ReadonlyArray<string>> = []
  const notes = new Map<number, string>()
  for (const { suite, workload } of figures.filter(isFirstOfWorkload)) {
    const group = figures.filter((figure) => figure.suite === suite && figure.workload === workload)
    const mine = all.filter((ratio) => ratio.suite === suite && ratio.workload === workload)
    const ours = [...new Set(mine.map(({ subject }) => subject))]
    rows.push([`${suite}: ${workload}`, "", "", ...ours.map((subject) => subject.replace(`${own}, `, ""))])
    for (const figure of group) {
      const cells = ours.map((subject) => {
        const found = mine.find((ratio) => ratio.subject === subject && ratio.beside === figure.subject)
        return found === undefined ? "" : `${digits(found.ratio)} x`
      })
      rows.push([
        `  ${figure.subject}`,
        `${digits(figure.value)} ${figure.unit}`,
        figure.rounds.length < 2 ? "" : `±${Math.round(spreadOf(figure.rounds, figure.value) * 100)} %`,
        ...cells
      ])
      if (figure.note !== undefined) notes.set(rows.length - 1, figure.note)
    }
  }
  return aligned(rows).flatMap((line, i) => [
    ...(line.startsWith(" ") ? [] : [""]),
    line,
    ...(notes.has(i) ? [`    ${notes.get(i)}`] : [])
  ]).join("\n")
}
const isFirstOfWorkload = (figure: Figure, i: number, all: ReadonlyArray<Figure>) =>
  all.findIndex(({ suite, workload }) => suite === figure.suite && workload === figure.workload) === i

// JSON

/** A figure's rounds are kept, so that how far they lay apart can be seen later. */
export const toJson = (run: Run): string => {
  const rounded = (n: number) => Number(n.toPrecision(6))
  const figures = run.figures.map((figure) => ({
    ...figure,
    value: rounded(figure.value),
    rounds: figure.rounds.map(rounded)
  }))
  return `{\n  "conditions": ${JSON.stringify(run.conditions)},\n  "figures": [\n${
    figures.map((figure) => `    ${JSON.stringify(figure)}`).join(",\n")
  }\n  ]\n}\n`
}

export const fromJson = (text: string): Run => {
  const run = JSON.parse(text) as Partial<Run> | null
  if (run?.conditions === undefined || !Array.isArray(run.figures)) throw new Error("this is no run of the benchmark")
  return run as Run
}

// chart

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

/** What bars are drawn for: the plain store beside SQLite, as it is and grouped, and beside the floors. */
const series = ["sqlite", "sqlite, grouped", "floor, blocking", "floor, asynchronous"] as const
const colours: ReadonlyArray<readonly [light: string, dark: string]> = [
  ["#2f6fb3", "#6ba6e3"],
  ["#7a52a8", "#b492dd"],
  ["#b5651d", "#e09a55"],
  ["#4d7a3a", "#8fbf78"]
]

/**
 * Horizontal bars of ratios, in groups of a workload each, on a scale of powers: to the right of 1 the store is better. Colours follow the
 * reader's choice of light or dark.
 */
export const chart = ({ conditions, figures }: Run): string => {
  const shown = ratios(figures).filter(({ beside, subject }) =>
    subject === own && (series as ReadonlyArray<string>).includes(beside)
  )
  const groups = [...new Set(shown.map(({ suite, workload }) => `${suite}\0${workload}`))].map((key) => {
    const [suite, workload] = key.split("\0") as [string, string]
    return { suite, workload, bars: shown.filter((bar) => bar.suite === suite && bar.workload === workload) }
  })
  const right = 300
  // room for a number beside the longest bar
  const left = right + 44
  const plot = 480
  const width = left + plot + 44
  const bar = 13
  const logs = shown.map(({ ratio }) => Math.log10(ratio))
  const least = Math.min(-1, Math.floor(Math.min(0, ...logs)))
  const most = Math.max(1, Math.ceil(Math.max(0, ...logs)))
  const x = (ratio: number) => left + ((Math.log10(ratio) - least) / (most - least)) * plot
  const at = (n: number) => n.toFixed(1)

  const body: Array<string> = []
  let y = 86
  const top = y - 8
  let suite: string | undefined
  for (const group of groups) {
    if (group.suite !== suite) {
      suite = group.suite
      y += 8
      body.push(`<text class="suite" x="12" y="${y + 10}">${escaped(suite)}</text>`)
      y += 20
    }
    const middle = y + (group.bars.length * bar) / 2 + 4
    body.push(
      `<text class="label" x="${right}" y="${at(middle)}" text-anchor="end">${escaped(group.workload)}</text>`
    )
    for (const { beside, ratio } of group.bars) {
      const shownRatio = Number(ratio.toPrecision(2))
      const from = Math.min(x(1), x(ratio))
      const length = Math.max(1, Math.abs(x(ratio) - x(1)))
      const end = ratio >= 1 ? from + length + 4 : from - 4
      body.push(
        `<rect class="s${(series as ReadonlyArray<string>).indexOf(beside)}" x="${at(from)}" y="${y}" width="${
          at(length)
        }" height="${bar - 2}" rx="1.5">` +
          `<title>${escaped(`${group.workload}: ${digits(ratio)} x ${beside}`)}</title></rect>`,
        `<text class="value" x="${at(end)}" y="${y + bar - 4}"${ratio >= 1 ? "" : ` text-anchor="end"`}>${
          digits(shownRatio)
        }</text>`
      )
      y += bar
    }
    y += 9
  }
  const bottom = y
  const height = bottom + 34
  const grid = Array.from({ length: most - least + 1 }, (_, i) => 10 ** (least + i)).flatMap((power) => [
    `<line class="${power === 1 ? "one" : "grid"}" x1="${at(x(power))}" y1="${top}" x2="${
      at(x(power))
    }" y2="${bottom}"/>`,
    `<text class="value" x="${at(x(power))}" y="${bottom + 16}" text-anchor="middle">${
      power >= 1 ? power : power.toFixed(-Math.log10(power))
    }</text>`
  ])
  const legend = series.flatMap((name, i) => [
    `<rect class="s${i}" x="${12 + i * 136}" y="53" width="11" height="11" rx="1.5"/>`,
    `<text class="value" x="${28 + i * 136}" y="63">${escaped(name)}</text>`
  ])
  const dark = [
    "text{fill:#d6d9dd}",
    ".value{fill:#a9b0b8}",
    ".grid{stroke:#343a41}",
    ".one{stroke:#a9b0b8}",
    ...colours.map(([, dark], i) => `.s${i}{fill:${dark}}`)
  ]
  const light = [
    "text{font:12px system-ui,sans-serif;fill:#24292f}",
    ".title{font-size:14px;font-weight:600}",
    ".suite{font-weight:600}",
    ".value{font-size:11px;fill:#57606a}",
    ".grid{stroke:#d8dee4}",
    ".one{stroke:#57606a}",
    ...colours.map(([light], i) => `.s${i}{fill:${light}}`)
  ]
  const { cores, date, node, platform, preset } = conditions
  const said = `preset ${preset}, ${date.slice(0, 10)}, Node ${node}, ${platform}, ${cores} cores`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title">`,
    `<style>${light.join("")}@media (prefers-color-scheme:dark){${dark.join("")}}</style>`,
    `<title id="title">How much better the store is than what stands beside it</title>`,
    `<text class="title" x="12" y="22">How many times better: the store beside SQLite and beside a plain file</text>`,
    `<text class="value" x="12" y="40">${escaped(said)}</text>`,
    ...legend,
    ...grid,
    ...body,
    `</svg>`,
    ""
  ].join("\n")
}
