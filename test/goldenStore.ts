/**
 * Makes the store in `golden/store-v1`, byte for byte: by the real store, with a fixed clock, random numbers, host and process. What it
 * makes never changes as long as the format is 1; a new format gets a folder beside it.
 *
 *     node --import ./scripts/source.ts test/goldenStore.ts FOLDER
 */
import { Event, EventStore, EventStoreMaintenance, Opossum, Query, Tag } from "effect-opossum"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { inDisguise } from "./support/disguise.ts"

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"), Tag.as("course"))
const StudentId = Schema.NonEmptyString.pipe(Schema.brand("StudentId"), Tag.as("student"))

export class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", {
  courseId: CourseId,
  title: Schema.String,
  capacity: Schema.Int
}) {}

export class StudentSubscribed extends Event.Class<StudentSubscribed>()("StudentSubscribed", {
  courseId: CourseId,
  studentId: StudentId,
  at: Schema.DateTimeUtcFromString
}) {}

const [maths, art, anna] = [CourseId.make("maths"), CourseId.make("art"), StudentId.make("anna")]
const withId = (id: string) => Event.withMetadata({ id })

export const store = "school"

const subscribed = (courseId: typeof CourseId.Type) =>
  new StudentSubscribed({ courseId, studentId: anna, at: DateTime.makeUnsafe("2030-01-31T12:00:00Z") })

/** What three processes do one after another, and what becomes of the files between them. */
const steps = (root: string) => {
  const ledger = `${root}/${store}/ledger`
  const first = `${ledger}/0000000001.jsonl`
  const last = `${ledger}/0000000003.jsonl`
  const opened = <A, E>(
    effect: Effect.Effect<A, E, EventStore.EventStore | EventStoreMaintenance.EventStoreMaintenance>
  ) =>
    Effect.gen(function*() {
      yield* effect
      const head = yield* EventStore.head
      yield* EventStoreMaintenance.eventFiles.waitFor(head!)
    }).pipe(Effect.provide(Opossum.layer({ root, store })))
  return Effect.gen(function*() {
    yield* opened(Effect.gen(function*() {
      yield* EventStore.append(
        withId("event-1")(new CourseDefined({ courseId: maths, title: "Mathematics", capacity: 2 }))
      )
      yield* EventStore.append([
        withId("event-2")(
          new CourseDefined({ courseId: art, title: "Zeichnen für Käuze \u{1f99d}\u2028\"\\", capacity: 20 })
        ),
        withId("event-3")(subscribed(maths))
      ])
    }))
    // stopped in order: the next one carries on in the same segment
    yield* opened(Effect.gen(function*() {
      yield* EventStore.append(
        Event.raw("Imported", { list: [1.5, -0.25, 1e21, null, true, {}], deep: { empty: "" } }, {
          version: 3,
          tags: ["source:legacy", "a:b:c"],
          metadata: {
            id: "event-4",
            timestamp: DateTime.makeUnsafe("1999-12-31T23:59:59.999Z"),
            correlationId: "request-7",
            causationId: "event-3",
            userId: "anna",
            custom: { till: 7 }
          }
        })
      )
      yield* EventStoreMaintenance.addTags(
        Query.of(CourseDefined),
        ({ event }) => [`size:${event.capacity > 10 ? "large" : "small"}`]
      )
    }))
    // A crash, and one of a process that began a segment: the next one takes over.
    takeBatons(ledger)
    fs.writeFileSync(`${ledger}/0000000002.jsonl`, `{"kind":"segment","format":1,"feat`)
    yield* opened(EventStore.append(withId("event-6")(subscribed(art))))
    // The mark behind a segment that was sealed is not needed any more: a power loss may have taken it.
    fs.truncateSync(first, fs.statSync(first).size - 1)
    // a crash in the middle of a write
    takeBatons(ledger)
    fs.appendFileSync(last, `{"kind":"event","position":7,"type":"CourseDef`)
    // It names this machine's start, and depends on how fast the files were made.
    fs.unlinkSync(`${root}/${store}/events/checkpoint.json`)
  })
}

const takeBatons = (ledger: string) => {
  for (const name of fs.readdirSync(ledger)) if (name.endsWith(".free")) fs.unlinkSync(`${ledger}/${name}`)
}

export const make = (root: string) =>
  steps(root).pipe(inDisguise("golden", () => "00000000-0000-4000-8000-000000000001"))

if (process.argv[1] === fileURLToPath(import.meta.url)) await Effect.runPromise(make(process.argv[2]!))
