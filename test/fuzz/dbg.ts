import * as Effect from "effect/Effect"
import * as Cases from "./cases.ts"
import * as Reference from "./reference.ts"
import * as Stores from "./stores.ts"
const samples = await Effect.runPromise(Stores.make)
const [seed, n, target, file] = process.argv.slice(2)
const c = Cases.make(samples, Number(seed), Number(n), target)
const { image, kind, told } = Cases.damage(c, samples)
const f = Reference.read(image, "shop")
console.log(kind, told, f && { head: f.head, isDamaged: f.isDamaged, adoptable: f.adoptable, n: f.events.size })
if (file) {
  console.log(
    Buffer.from(image.get(file) as Uint8Array).toString().split("\n").map((l) =>
      l.slice(0, 60) + " ... " + l.slice(-110)
    ).join("\n")
  )
}
