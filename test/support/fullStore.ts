/** A store with everything in it that a store can have on a disk, and what lies in a folder. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { lstatSync, readdirSync } from "node:fs"
import { join } from "node:path"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as Event from "../../src/Event.ts"
import * as Opossum from "../../src/layers/Opossum.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Maintenance from "../../src/services/EventStoreMaintenance.ts"
import * as Projection from "../../src/services/Projection.ts"
import * as Tag from "../../src/Tag.ts"

// a program

export class Noted extends Event.Class<Noted>()("Noted", {
  by: Schema.NonEmptyString.pipe(Tag.as("by")),
  text: Schema.String
}) {}

export class Notes extends Projection.Service<Notes>()("notes", {
  events: [Noted],
  key: ({ by }) => by,
  state: Schema.Int,
  tags: (count) => [`odd:${count % 2 === 1}`],
  apply: { Noted: (count = 0) => count + 1 }
}) {}

const countOf = (by: string) =>
  DecisionModel.make({
    query: Query.of(Noted, { by }),
    initial: 0,
    apply: { Noted: (count) => count + 1 },
    snapshot: { name: "count", version: 1, state: Schema.Int, every: 1 }
  })

export type Services = Opossum.Services | Notes

export const layer = (options: Partial<Opossum.Options> & { readonly root: string }, from = Opossum) =>
  Layer.provideMerge(Notes.layer, from.layer({ store: "shop", segmentSize: 64 * 1024, ...options }))

export const noted = (by: string, text = "") => new Noted({ by, text })

/** Waits until all that follows the events has followed: event files, read model. */
export const settle = Effect.gen(function*() {
  const head = yield* EventStore.head
  if (head !== undefined) yield* Maintenance.eventFiles.waitFor(head)
  yield* Notes.waitFor(head)
})

/** A decision with a snapshot, and what was counted before it. */
export const decide = (by: string) =>
  Decision.execute({ count: countOf(by) }, ({ count }) => Effect.succeed(noted(by, `${count + 1}`)))

/** Of everything something: several segments, a run of the index, tags added, event files, states, snapshots. */
export const useAll = (by: string) =>
  Effect.gen(function*() {
    // each is more than a segment
    for (let i = 0; i < 2; i++) yield* EventStore.append(noted(by, "x".repeat(70_000)))
    // as much as the index keeps in memory
    yield* EventStore.append(Array.from({ length: 5 }, () => noted(by, "y".repeat(900_000))))
    yield* Maintenance.addTags(Query.of(Noted, { by }), () => [`seen:${by}`])
    yield* decide(by)
    yield* settle
    yield* Stream.runDrain(Notes.rebuild)
    yield* decide(by)
    yield* settle
  })

// folders

export interface Found {
  /** Below the folder, with `/` between its parts. */
  readonly path: string
  readonly kind: "file" | "folder" | "link"
  /** In octal. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
}

/** All that lies in a folder, however deep, in the order of the names; links are not followed. */
export const walk = (folder: string, below = ""): ReadonlyArray<Found> =>
  readdirSync(join(folder, below)).sort().flatMap((name) => {
    const path = below === "" ? name : `${below}/${name}`
    // what is gone by now was a temporary file
    const stats = lstatSync(join(folder, path), { throwIfNoEntry: false })
    if (stats === undefined) return []
    const { gid, mode, uid } = stats
    const kind = stats.isSymbolicLink() ? "link" : stats.isDirectory() ? "folder" : "file"
    const found: Found = { path, kind, mode: (mode & 0o7777).toString(8), uid, gid }
    return kind === "folder" ? [found, ...walk(folder, path)] : [found]
  })

/** What tells whether anything in a folder was changed: if two are equal, nothing was. */
export const stampsOf = (folder: string): ReadonlyArray<string> =>
  walk(folder).map(({ path }) => {
    const { ino, mode, mtimeMs, nlink, size } = lstatSync(join(folder, path))
    return [path, ino, mode, mtimeMs, nlink, size].join(" ")
  })
