/**
 * Makes `course-commands.jsonl`: the start of a term at a university. 60 courses, 900 students, some 4,000 commands.
 *
 * The same seed gives the same file: `node examples/data/generate.ts` writes it anew.
 */
import { writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const titles = [
  "Linear Algebra",
  "Calculus I",
  "Calculus II",
  "Probability Theory",
  "Number Theory",
  "Graph Theory",
  "Numerical Methods",
  "Mathematical Logic",
  "Introduction to Programming",
  "Algorithms and Data Structures",
  "Operating Systems",
  "Databases",
  "Computer Networks",
  "Distributed Systems",
  "Compilers",
  "Functional Programming",
  "Machine Learning",
  "Computer Graphics",
  "Cryptography",
  "Software Engineering",
  "Mechanics",
  "Electrodynamics",
  "Thermodynamics",
  "Quantum Physics",
  "Astronomy",
  "Optics",
  "General Chemistry",
  "Organic Chemistry",
  "Biochemistry",
  "Cell Biology",
  "Genetics",
  "Ecology",
  "Botany",
  "Human Anatomy",
  "Physiology",
  "Microeconomics",
  "Macroeconomics",
  "Accounting",
  "Game Theory",
  "Economic History",
  "Constitutional Law",
  "Contract Law",
  "International Relations",
  "Ancient History",
  "Medieval History",
  "History of Science",
  "Archaeology",
  "Art History",
  "Music Theory",
  "Choir",
  "Creative Writing",
  "Rhetoric",
  "Comparative Literature",
  "Linguistics",
  "Latin",
  "Japanese for Beginners",
  "Philosophy of Mind",
  "Ethics",
  "Social Psychology",
  "Cultural Anthropology"
]

const firstNames = (
  "ada alan amara anna ben bianca carl chen clara david diego elif emma fatima felix grace hugo ines ivan jonas " +
  "kofi lena mateo mina noor olga priya ravi sofia yuki"
).split(" ")

const lastNames = (
  "abe adler bauer berg castro costa diaz dubois eriksen ferrari fischer garcia gupta haddad hansen ito jansen kaya " +
  "keller kim kowalski lopez mensah meyer novak okafor park rossi silva weber"
).split(" ")

/** A small generator of random numbers in [0, 1) that is the same everywhere (mulberry32). */
const randomOf = (seed: number) => () => {
  seed = seed + 0x6d2b79f5 | 0
  let t = Math.imul(seed ^ seed >>> 15, 1 | seed)
  t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t
  return ((t ^ t >>> 14) >>> 0) / 0x1_0000_0000
}

/** The lines of the file. */
export const generate = (seed = 2026): string => {
  const random = randomOf(seed)
  const int = (from: number, to: number) => from + Math.floor(random() * (to - from + 1))
  const pick = <A>(list: ReadonlyArray<A>): A => list[int(0, list.length - 1)]!
  const shuffle = <A>(list: ReadonlyArray<A>): ReadonlyArray<A> => {
    const out = [...list]
    for (let i = out.length - 1; i > 0; i--) {
      const j = int(0, i)
      const [a, b] = [out[i]!, out[j]!]
      out[i] = b
      out[j] = a
    }
    return out
  }
  const idOf = (title: string) => title.toLowerCase().replaceAll(" ", "-")

  // From the most popular course to the least: the third of them wants far more students than there are seats.
  const courses = shuffle(titles).map((title) => ({ courseId: idOf(title), title, capacity: int(4, 16) * 5 }))
  const popular = () => courses[Math.floor(courses.length * Math.min(random(), random()))]!
  const students = firstNames.flatMap((first) => lastNames.map((last) => `${first}-${last}`))

  const define = ({ capacity, courseId, title }: (typeof courses)[number]) => ({
    _tag: "DefineCourse",
    courseId,
    title,
    capacity
  })
  const subscribe = (studentId: string, courseId = popular().courseId) => ({
    _tag: "SubscribeStudent",
    courseId,
    studentId
  })

  // Most want four or five courses; some would take any number. One in thirty presses the button twice.
  const wishes = students.flatMap((student) => {
    const count = random() < 0.12 ? int(6, 8) : int(2, 5)
    return Array.from({ length: count }, () => subscribe(student))
  })
  const rest = shuffle(wishes).flatMap((wish) => random() < 1 / 30 ? [wish, wish] : [wish]) as Array<object>
  const insert = (count: number, make: () => object, earliest = 0) => {
    for (let i = 0; i < count; i++) rest.splice(int(Math.floor(rest.length * earliest), rest.length), 0, make())
  }
  insert(25, () => subscribe(pick(students), pick(["underwater-basket-weaving", "astrology", "alchemy"])))
  insert(110, () => {
    const { capacity, courseId } = popular()
    return { _tag: "ChangeCapacity", courseId, capacity: Math.max(5, capacity + int(-2, 5) * 5) }
  })
  insert(5, () => ({ _tag: "ChangeCapacity", courseId: "alchemy", capacity: int(1, 9) * 10 }))
  insert(200, () => ({ ...pick(wishes), _tag: "UnsubscribeStudent" }), 0.4)
  insert(6, () => ({ ...define(pick(courses)), capacity: 100 }))

  const lines = [...shuffle(courses).map(define), ...rest].map((command) => JSON.stringify(command))
  // What people send: a word for a number, a line cut off, a command that nobody knows. They are refused, the rest goes on.
  const damaged = [
    `{"_tag":"ChangeCapacity","courseId":"${courses[0]!.courseId}","capacity":"forty"}`,
    `{"_tag":"SubscribeStudent","courseId":"${courses[1]!.courseId}","stud`,
    `{"_tag":"ExpelStudent","studentId":"${pick(students)}"}`
  ]
  for (const line of damaged) lines.splice(int(courses.length, lines.length), 0, line)
  return `${lines.join("\n")}\n`
}

export const file = fileURLToPath(new URL("course-commands.jsonl", import.meta.url))

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(file, generate())
