/**
 * The table of all rules of the conformance kit, in docs/conformance.md between two marks.
 *
 *     node scripts/rules.ts          writes it
 */
import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { rules } from "../src/testing/Conformance.ts"

const page = fileURLToPath(new URL("../docs/conformance.md", import.meta.url))
const begin = "<!-- rules: made by `npm run rules` -->"
const end = "<!-- end of rules -->"

/** What a rule is run on, for whoever reads the table. */
const needs = {
  store: "",
  stores: "",
  maintenance: "`maintenance`",
  place: "`place`",
  places: "`place`",
  "place and maintenance": "`place`, `maintenance`"
} as const

const table = (): string => {
  const groups = [...new Set(rules.map(({ group }) => group))]
  return groups.map((name) => {
    const of = rules.filter(({ group }) => group === name)
    const rows = of.map(({ id, title }) => `| \`${id}\` | ${title} |`)
    const asked = [...new Set(of.map((rule) => needs[rule.needs]))].filter((need) => need !== "")
    const heading = asked.length === 1 && of.every((rule) => needs[rule.needs] !== "") ? `${name} (${asked[0]})` : name
    return [`### ${heading[0]!.toUpperCase()}${heading.slice(1)}`, "", "| id | rule |", "|---|---|", ...rows].join("\n")
  }).join("\n\n")
}

/** The page as it is, and as it should be. */
export const pages = (): { readonly actual: string; readonly expected: string } => {
  const actual = readFileSync(page, "utf8")
  const [before, after] = [actual.split(begin)[0], actual.split(end)[1]]
  if (before === undefined || after === undefined) {
    throw new Error(`docs/conformance.md lacks the mark ${begin} or ${end}`)
  }
  return { actual, expected: `${before}${begin}\n\n${table()}\n\n${end}${after}` }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(page, pages().expected)
