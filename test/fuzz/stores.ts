/** The stores that are damaged: small, with everything in them that a store may have, and all that is known of what they hold. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as DecisionModel from "../../src/DecisionModel.ts"
import * as Event from "../../src/Event.ts"
import * as Metadata from "../../src/Metadata.ts"
import * as Query from "../../src/Query.ts"
import * as Decision from "../../src/services/Decision.ts"
import * as EventStore from "../../src/services/EventStore.ts"
import * as EventStoreMaintenance from "../../src/services/EventStoreMaintenance.ts"
import { inDisguise } from "../support/disguise.ts"
import * as Image from "./image.ts"
import type { EventLine, TagsLine } from "./reference.ts"
import * as Reference from "./reference.ts"
import * as Subject from "./subject.ts"

// models

export interface Sample {
  readonly name: string
  readonly image: Image.Image
  readonly durability: "sync" | "os"
  readonly truth: Truth
  readonly sales: ReadonlyMap<string, Sum>
  /** What the states once were, as texts. */
  readonly earlier: ReadonlyMap<string, ReadonlySet<string>>
}

interface Sum {
  readonly count: number
  readonly times: number
}

export interface Truth {
  readonly events: ReadonlyMap<number, EventLine>
  readonly additions: ReadonlyMap<number, TagsLine>
  readonly head: number
}

// contents

/** Names that are something else to a careless program. */
export const odd = [
  "constructor",
  "__proto__",
  "hasOwnProperty",
  "toString",
  "Caf\u00e9",
  "Cafe\u0301",
  "\u{1f99d}",
  "a\u2028b",
  "ﬁ",
  "İ"
]

/** As only a parser makes it: with keys of its own that every object seems to have. */
const data = (n: number): Schema.JsonObject =>
  JSON.parse(
    `{"n":${n},"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":${n}}},"toString":"${n}","text":"\\ud83e\\udd9d ${
      "x".repeat(n % 5 * 11)
    }"}`
  ) as Schema.JsonObject

const event = (n: number) =>
  Event.raw(n % 3 === 0 ? odd[n % odd.length]! : n % 3 === 1 ? "A" : "B", data(n), {
    tags: [`n:${n % 4}`, `odd:${odd[n % odd.length]}`, ...(n % 5 === 0 ? [`rare:${n}` as const] : [])],
    version: n % 2 + 1,
    metadata: {
      id: `id-${n}`,
      ...(n % 4 === 0
        ? { custom: JSON.parse(`{"__proto__":{"polluted":true},"n":${n}}`) as Schema.JsonObject }
        : { userId: "__proto__" })
    }
  })

const sold = (n: number) =>
  Event.withMetadata(
    new Subject.Sold({ item: n % 3 === 0 ? odd[n % odd.length]! : `item ${n % 3}`, count: n }),
    { id: `sold-${n}` }
  )

/** What the cases decide by; its states are kept. */
export const sum = DecisionModel.make({
  query: Query.of(Subject.Sold),
  initial: 0,
  apply: { Sold: (sum: number, { count }) => sum + count },
  snapshot: { name: "sum", version: 1, state: Schema.Int, every: 1 }
})

/** What is asked, by items as the cases' own matching takes them. */
export const questions: ReadonlyArray<Query.Query<Event.RawEvent>> = [
  Query.all,
  Query.types("A"),
  Query.types("__proto__", "constructor", "toString"),
  Query.types("Caf\u00e9"),
  Query.types("Sold"),
  Query.tags("n:1"),
  Query.tags("n:0", "late:yes"),
  Query.tags("late:yes"),
  Query.tags("odd:__proto__"),
  Query.fromItems({ types: ["A", "B"], tags: ["n:2"] }, { tags: ["rare:5"] }),
  Query.tags("nothing:there")
]

// making

const rest = (n: number) =>
  Effect.forEach(Array.from({ length: n }, (_, i) => i), () => Effect.yieldNow, { discard: true })

const session = (
  disk: Image.Disk,
  options: Subject.Options,
  body: Effect.Effect<unknown, unknown, Subject.Opened | Subject.Sales>
) => Effect.scoped(Effect.provide(Effect.andThen(body, rest(5)), Subject.withSales(disk.layer, options)))

const write = (from: number, to: number) =>
  Effect.gen(function*() {
    for (let n = from; n < to; n++) {
      if (n % 4 === 3) yield* EventStore.append([event(n), sold(n), event(n + 100)])
      else yield* EventStore.append(n % 4 === 1 ? sold(n) : event(n))
      if (n % 7 === 6) {
        yield* EventStoreMaintenance.addTags(Query.tags(`n:${n % 4}`), ({ position }) =>
          (position as number) % 2 === 0 ? ["late:yes"] : ["late:no"])
      }
      if (n % 5 === 0) {
        yield* Decision.execute({ sum }, () =>
          undefined)
      }
    }
    const head = yield* EventStore.head
    yield* Subject.Sales.waitFor(head)
  })

/** Somebody was killed: nothing says that the segment's owner stopped in order. */
const withoutBaton = (image: Image.Image): Image.Image => {
  const left = Image.clone(image)
  for (const path of left.keys()) if (path.endsWith(".free")) left.delete(path)
  return left
}

const finish = (name: string, image: Image.Image, durability: "sync" | "os"): Sample => {
  const truth = Reference.read(image, Subject.store)
  if (truth === undefined || truth.isDamaged) throw new Error(`the sample ${name} is damaged`)
  const sales = new Map<string, Sum>()
  const earlier = new Map<string, Set<string>>()
  for (const [position, { data, type }] of truth.events) {
    if (type !== "Sold" || position > truth.head) continue
    const { count, item } = data as { count: number; item: string }
    const before = sales.get(item) ?? { count: 0, times: 0 }
    const sum = { count: before.count + count, times: before.times + 1 }
    sales.set(item, sum)
    earlier.set(item, (earlier.get(item) ?? new Set()).add(JSON.stringify(sum)))
  }
  return { name, image, durability, truth, sales, earlier }
}

/** Bytes at the end of the newest segment. */
const appendTo = (image: Image.Image, bytes: (all: Buffer) => Uint8Array): Image.Image => {
  const out = Image.clone(image)
  const newest = Image.filesOf(out, new RegExp(`^${Subject.store}/ledger/.*jsonl$`)).at(-1)!
  const all = Image.bytesOf(out, newest)
  out.set(newest, Buffer.concat([all, bytes(all)]))
  return out
}

/** The ids of stores, one after the other. */
const ids = () => {
  let n = 0
  return () => `00000000-0000-4000-8000-${String(++n).padStart(12, "0")}`
}

export const make: Effect.Effect<ReadonlyArray<Sample>> = Effect.suspend(() => inDisguise("fuzz", ids())(steps)).pipe(
  Effect.orDie
)

const steps = Effect.gen(function*() {
  const samples: Array<Sample> = []
  for (const durability of ["sync", "os"] as const) {
    let image: Image.Image = new Map()
    for (let part = 0; part < 3; part++) {
      const disk = Image.open(part === 2 ? withoutBaton(image) : image)
      const context: Subject.Options = { durability, eventFiles: true }
      yield* Metadata.annotate(session(disk, context, write(part * 9, part * 9 + 9)), { correlationId: "fuzz" })
      image = disk.image()
    }
    samples.push(finish(`closed, ${durability}`, image, durability))
    const killed = withoutBaton(image)
    samples.push(finish(`killed, ${durability}`, killed, durability))
    samples.push(
      finish(`torn, ${durability}`, appendTo(killed, () => Buffer.from(`{"kind":"event","position":9`)), durability)
    )
    // no index: all of it is read from the ledger
    const bare = Image.clone(killed)
    Image.removeAll(bare, `${Subject.store}/indices`)
    samples.push(finish(`without an index, ${durability}`, bare, durability))
  }
  // small: whole cases in one segment
  const disk = Image.open(new Map())
  yield* session(disk, { eventFiles: true }, write(0, 3))
  samples.push(finish("one segment", disk.image(), "sync"))
  // more than nine: as texts they are in another order
  const many = Image.open(new Map())
  yield* session(many, { segmentSize: 900 }, write(0, 12))
  samples.push(finish("many segments", many.image(), "sync"))
  return samples
})
