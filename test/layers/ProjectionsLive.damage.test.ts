/** Read models whose folders are not what they should be: they are derived, so they are made anew. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as EventStore from "../../src/services/EventStore.ts"
import * as Image from "../fuzz/image.ts"
import { Sales, Sold, withSales } from "../fuzz/subject.ts"

const at = "shop/projections/sales/1"
const generation = `${at}/0000000001`

const made = Effect.gen(function*() {
  const disk = Image.open(new Map())
  yield* Effect.gen(function*() {
    for (const item of ["a", "b", "a"]) yield* EventStore.append(new Sold({ item, count: 1 }))
    yield* Sales.waitFor(yield* EventStore.head)
  }).pipe(Effect.provide(withSales(disk.layer)))
  return disk.image()
})

const file = Buffer.from("a file")

const damages: ReadonlyArray<readonly [name: string, damage: (image: Image.Image) => void]> = [
  ["a folder where a segment should be", (image) => {
    image.set(`${generation}/ledger/0000000001.jsonl`, "folder")
  }],
  ["a file where the ledger should be", (image) => {
    Image.removeAll(image, `${generation}/ledger`)
    image.set(`${generation}/ledger`, file)
  }],
  ["a file where the generation should be", (image) => {
    Image.removeAll(image, generation)
    image.set(generation, file)
  }],
  ["the same, and nothing that says which is live", (image) => {
    Image.removeAll(image, generation)
    image.set(generation, file)
    image.set(`${at}/current.json`, Buffer.from("{"))
  }],
  ["a generation without its description", (image) => {
    image.delete(`${generation}/store.json`)
  }],
  ["one whose description is none", (image) => {
    image.set(`${generation}/store.json`, Buffer.from("{}"))
  }],
  ["a generation that no folder's name has room for", (image) => {
    image.set(`${at}/current.json`, Buffer.from("{\"format\":1,\"generation\":99999999999}"))
  }],
  ["a notice that is none", (image) => {
    image.set(`${at}/notice.json`, Buffer.from("{\"position\":-1,\"problem\":\"x\"}"))
  }]
]

describe("a projection", () => {
  for (const [name, damage] of damages) {
    it.live(`is made anew: ${name}`, () =>
      Effect.gen(function*() {
        const image = yield* made
        damage(image)
        const disk = Image.open(image)
        const states = yield* Effect.gen(function*() {
          yield* Sales.waitFor(yield* EventStore.head)
          return [yield* Sales.get("a"), yield* Sales.get("b")]
        }).pipe(Effect.provide(withSales(disk.layer)))
        assert.deepStrictEqual(states, [{ count: 2, times: 2 }, { count: 1, times: 1 }])
      }))
  }
})
