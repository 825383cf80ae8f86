/** What the demonstration prints. */
import { Effect } from "effect"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { join, relative } from "node:path"
import type { Check } from "./checks.ts"
import type { Outcome } from "./commands.ts"

export const number = (n: number) => Math.round(n).toLocaleString("en-US")

const bytes = (n: number) =>
  n < 10_000 ? `${number(n)} B` : n < 10_000_000 ? `${number(n / 1000)} kB` : `${number(n / 1e6)} MB`

const cut = (text: string, length: number) => text.length <= length ? text : `${text.slice(0, length - 3)}...`

// progress

/** A bar on a terminal; elsewhere a line for every tenth. On standard error, so that the result can be sent to a file. */
export const progress = (total: number): (done: number) => void => {
  const out = process.stderr
  let tenths = 0
  return (done) => {
    const share = total === 0 ? 1 : done / total
    if (out.isTTY) {
      // often enough for the eye
      if (done % 25 !== 0 && done !== total) return
      const full = Math.round(share * 40)
      out.write(
        `\r[${"█".repeat(full)}${"░".repeat(40 - full)}] ${number(done)} of ${number(total)} commands${
          done === total ? "\n" : ""
        }`
      )
    } else if (Math.floor(share * 10) > tenths) {
      tenths = Math.floor(share * 10)
      out.write(`${tenths * 10} %: ${number(done)} of ${number(total)} commands\n`)
    }
  }
}

// accepted and refused

export interface Summary {
  readonly commands: number
  readonly accepted: number
  readonly refused: number
  readonly failed: number
  /** Accepted by each process. */
  readonly byProcess: readonly [number, number]
  readonly conflicts: number
  readonly millis: number
}

const counts = (keys: Iterable<string>) => {
  const out = new Map<string, number>()
  for (const key of keys) out.set(key, (out.get(key) ?? 0) + 1)
  return [...out].sort(([, a], [, b]) => b - a)
}

export const outcomes = (
  summary: Summary,
  outcomes: ReadonlyArray<Outcome>,
  nameOf: (line: number) => string
): string => {
  const row = (name: string, count: number, why = "") =>
    `  ${name.padEnd(20)}${number(count).padStart(7)}   ${why}`.trimEnd()
  const of = <T extends Outcome["_tag"]>(tag: T) =>
    outcomes.filter((outcome): outcome is Extract<Outcome, { readonly _tag: T }> => outcome._tag === tag)
  const example = (outcome: { readonly line: number; readonly message: string }) =>
    `e.g. line ${outcome.line}: ${cut(outcome.message, 80)}`
  const [refused, failed] = [of("Refused"), of("Failed")]
  const seconds = summary.millis / 1000
  const perSecond = (n: number) => number(n / Math.max(seconds, 0.001))
  return [
    `Accepted ${number(summary.accepted)}, refused ${number(summary.refused)}, failed ${number(summary.failed)}` +
    ` of ${number(summary.commands)} commands`,
    "",
    "Accepted",
    ...counts(of("Accepted").map(({ line }) => nameOf(line))).map(([name, count]) => row(name, count)),
    `  ${number(summary.byProcess[0])} by the first process, ${number(summary.byProcess[1])} by the second`,
    "",
    "Refused",
    ...counts(refused.map(({ reason }) => reason)).map(([reason, count]) =>
      row(reason, count, example(refused.find((outcome) => outcome.reason === reason)!))
    ),
    ...(failed.length === 0
      ? []
      : ["", "Failed: the store could not do it", ...failed.slice(0, 5).map((outcome) => `  ${example(outcome)}`)]),
    "",
    `Conflicts ${
      number(summary.conflicts)
    }: so often something came in between reading and appending, and the decision was made again.`,
    `Throughput ${perSecond(summary.commands)} commands/s, ${
      perSecond(summary.accepted)
    } events/s, each on disk before it was` +
    ` acknowledged (${seconds.toFixed(1)} s).`
  ].join("\n")
}

// the list of courses

interface Listed {
  readonly key: string
  readonly version: number
  readonly state: { readonly title: string; readonly capacity: number; readonly students: ReadonlyArray<string> }
}

/** The first few courses. */
export const list = (courses: ReadonlyArray<Listed>, full: number): string =>
  [
    `${number(courses.length)} courses, ${number(full)} of them full, e.g.`,
    ...courses.slice(0, 3).map(({ key, state: { capacity, students, title }, version }) =>
      `  ${cut(key, 24).padEnd(26)}${cut(title, 30).padEnd(32)}${
        `${students.length} of ${capacity}`.padStart(9)
      } seats taken, after ${number(version)} events`
    )
  ].join("\n")

// on disk

const sizeOf = (path: string): { readonly files: number; readonly bytes: number } => {
  const stat = statSync(path)
  if (!stat.isDirectory()) return { files: 1, bytes: stat.size }
  const parts = readdirSync(path).map((name) => sizeOf(join(path, name)))
  return parts.reduce((sum, part) => ({ files: sum.files + part.files, bytes: sum.bytes + part.bytes }), {
    files: 0,
    bytes: 0
  })
}

/** What a reader wants to see comes first. */
const order = ["store.json", "ledger", "events", "projections"]
const rank = (name: string) => (order.indexOf(name) + 1) || order.length + 1

/** A few lines of the tree: the first names of each folder, and how many more there are. */
const tree = (path: string, depth: number, indent = "  "): ReadonlyArray<string> => {
  const names = readdirSync(path).sort().sort((a, b) => rank(a) - rank(b))
  // of the store itself one more: its read models
  const shown = names.slice(0, depth > 2 ? 4 : 3)
  const lines = shown.flatMap((name) => {
    const below = join(path, name)
    const isFolder = statSync(below).isDirectory()
    const { bytes: size, files } = sizeOf(below)
    const label = `${indent}${name}${isFolder ? "/" : ""}`.padEnd(36)
    return [
      `${label}${isFolder ? `${number(files)} file${files === 1 ? "" : "s"}, ` : ""}${bytes(size)}`,
      ...(isFolder && depth > 1 ? tree(below, depth - 1, `${indent}  `) : [])
    ]
  })
  return names.length > shown.length ? [...lines, `${indent}... ${number(names.length - shown.length)} more`] : lines
}

/** What lies there, and one event as a person finds it. */
export const disk = (store: string, position: number | undefined): string => {
  const lines = [`On disk, in ${store}`, ...tree(store, 3)]
  if (position === undefined) return lines.join("\n")
  const name = readdirSync(join(store, "events"), { recursive: true, encoding: "utf8" })
    .find((name) => name.endsWith(`${position}.json`) && Number(/(\d+)\.json$/.exec(name)?.[1]) === position)
  const segments = readdirSync(join(store, "ledger")).filter((name) => name.endsWith(".jsonl")).sort()
  const entry = segments
    .flatMap((name) => readFileSync(join(store, "ledger", name), "utf8").split("\n"))
    .find((line) => line.trimStart().startsWith(`{"kind":"event","position":${position},`))
  return [
    ...lines,
    ...(name === undefined
      ? []
      : [
        "",
        `One event, ${relative(store, join(store, "events", name))}`,
        readFileSync(join(store, "events", name), "utf8").trimEnd()
      ]),
    ...(entry === undefined ? [] : ["", "and its line in the ledger, which is the record", cut(entry.trim(), 118)])
  ].join("\n")
}

// checks

export const checks = (list: ReadonlyArray<Check>): string =>
  [
    "Checked, by reading everything back",
    ...list.flatMap(({ extent, findings, what }) => [
      `  ${findings.length === 0 ? "ok    " : "FAILED"} ${what} (${extent})`,
      ...findings.slice(0, 5).map((finding) => `           ${finding}`),
      ...(findings.length > 5 ? [`           and ${number(findings.length - 5)} more`] : [])
    ])
  ].join("\n")

export const print = (text: string) => Effect.sync(() => void process.stdout.write(`${text}\n\n`))
