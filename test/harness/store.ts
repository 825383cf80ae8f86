/**
 * The whole package on a disk that loses power, or whose process is killed, before each single system call that changes something.
 * A scenario runs once; at each of these moments the disk is kept as it is, and in the ways in which a power loss may leave it.
 * Afterwards each of them is opened by a fresh process, which must find what had been promised by then, nothing else, and go on.
 * And each call of a scenario is made to fail, in each of its ways.
 *
 * The real `StorageNode` makes the calls (`mountedDisk.ts`), so its code is under test as well.
 */
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import * as MountedDisk from "./mountedDisk.ts"
import * as RealStack from "./stack.ts"
import { boot, checkImage, type Crash, told } from "./storeCheck.ts"
import { nothing, type Promises, type Stack, Violation, type World } from "./storeClient.ts"
import type { Scenario } from "./storeScenarios.ts"

const quiet = Effect.provideService(References.MinimumLogLevel, "None")

// running

const makeWorld = (options: World["options"], onCall: (call: MountedDisk.Call, world: World) => void): World => {
  const world: World = {
    stack: RealStack,
    disk: MountedDisk.make({
      onCall: (call) => onCall(call, world),
      outcome: (call) => world.fault?.(call) ?? world.outcome?.(call)
    }),
    options,
    promises: nothing,
    promise: (change) => {
      world.promises = { ...world.promises, ...change }
    },
    nextBatch: 1,
    outcome: undefined,
    fault: undefined
  }
  return world
}

interface Image {
  readonly disk: MountedDisk.MountedDisk
  readonly promises: Promises
  readonly crash: Crash
  /** When it was made. */
  readonly at: string
}

/** What may be left of a disk now, each once. */
class Images {
  private readonly kept = new Map<string, Image>()

  get size(): number {
    return this.kept.size
  }

  take({ disk, promises }: World, at: string, most: number, seed: number): void {
    const said = JSON.stringify(promises)
    const add = (disk: MountedDisk.MountedDisk, crash: Crash) => {
      const key = `${crash} ${disk.fingerprint()} ${said}`
      if (this.kept.has(key)) disk.unmount()
      else this.kept.set(key, { disk, promises, crash, at })
    }
    add(disk.processCrash(), "kill")
    for (const image of disk.crashImages({ max: most, seed })) add(image, "power loss")
  }

  /** Looks at each, and forgets it. */
  check(scenario: Scenario, stack: Stack) {
    return Effect.forEach(
      this.kept.values(),
      ({ at, crash, disk, promises }) =>
        checkImage(disk, promises, crash, scenario, stack).pipe(
          Effect.catchCause((cause) => Effect.die(new Violation(`${told(cause).message} (${crash} ${at})`))),
          Effect.ensuring(Effect.sync(disk.unmount))
        ),
      { discard: true }
    )
  }
}

export interface Options {
  readonly stack?: Stack
  /** What a crash left is opened with. Default: the real one. */
  readonly recovery?: Stack
  /** How many power losses at each moment, at most. */
  readonly most: number
  /** Which of them. Default: 0. */
  readonly seed?: number
}

// crashes at each call

export interface Crashes {
  /** System calls that change something, before each of which there is a crash. */
  readonly points: number
  /** Different disks that were opened. */
  readonly images: number
  readonly millis: number
}

/**
 * Runs a scenario, with a crash before each call that changes something (`every`: before one of so many) and one at its end; and looks
 * at all that is left.
 */
export const crash = (
  scenario: Scenario,
  { every = 1, most, recovery = RealStack, seed = 0, stack = RealStack }: Options & { readonly every?: number }
) =>
  Effect.gen(function*() {
    const began = performance.now()
    const images = new Images()
    let points = 0
    let calls = seed
    let isOn = false
    const strike = (at: string, world: World) => images.take(world, `${at}, the ${++points}th`, most, seed + points)
    const world = makeWorld(scenario.options ?? {}, (call, world) => {
      if (isOn && call.changes && calls++ % every === 0) strike(`before ${call.name} ${call.path}`, world)
    })
    yield* boot(false)
    if (scenario.before !== undefined) yield* scenario.before(world)
    world.stack = stack
    isOn = true
    yield* scenario.run(world)
    strike("at the end", world)
    isOn = false
    const report: Crashes = { points, images: images.size, millis: 0 }
    yield* images.check(scenario, recovery)
    world.disk.unmount()
    return { ...report, millis: Math.round(performance.now() - began) }
  }).pipe(quiet)

// failures of each call

/** What may become of a call. */
const outcomesOf = ({ changes, name }: MountedDisk.Call): ReadonlyArray<MountedDisk.Outcome> => {
  switch (name) {
    case "write":
      return [{ code: "EIO" }, { code: "EIO", done: "half" }, { code: "EIO", done: "all" }, {
        code: "ENOSPC",
        done: "half"
      }, { short: true }]
    case "fdatasync":
    case "fsync":
      return [{ code: "EIO", done: "half" }, { code: "EIO" }, { code: "ENOSPC", done: "half" }]
    case "read":
      return [{ code: "EIO" }, { short: true }]
    case "open":
      return [{ code: "EMFILE" }, { code: "EACCES" }, ...(changes ? [{ code: "ENOSPC" }, { code: "EROFS" }] : [])]
    case "close":
      return [{ code: "EIO" }]
    case "mkdir":
    case "rename":
      return [{ code: "ENOSPC" }, { code: "EROFS" }, { code: "EACCES" }]
    default:
      return [{ code: "EIO" }, { code: "EACCES" }]
  }
}

export interface Faults {
  /** Runs of the scenario, in each of which one call failed. */
  readonly runs: number
  /** Different disks that were opened. */
  readonly images: number
  readonly millis: number
}

export interface FaultOptions {
  /** One of so many failures is tried. Default: each. */
  readonly every?: number
  /** Only these calls fail. Default: all. */
  readonly of?: MountedDisk.Call["name"] | undefined
}

/**
 * Runs a scenario again and again, with another call of it failing each time, in each of its ways; `every`: only so many of these.
 * The same process must be able to go on, and so must whoever comes after a crash at the end.
 */
export const faults = (
  scenario: Scenario,
  { every = 1, most, of, recovery = RealStack, seed = 0, stack = RealStack }: Options & FaultOptions
) =>
  Effect.gen(function*() {
    const began = performance.now()
    /** Runs it all, and tells of each call how often there was one before it. */
    const play = Effect.fnUntraced(function*(
      fault: (call: MountedDisk.Call, nth: number) => MountedDisk.Outcome | undefined
    ) {
      let calls = 0
      const world = makeWorld(scenario.options ?? {}, () => {})
      yield* boot(false)
      if (scenario.before !== undefined) yield* scenario.before(world)
      world.stack = stack
      world.fault = (call) => fault(call, calls++)
      yield* scenario.run(world)
      world.fault = undefined
      return world
    })
    const plan: Array<{ readonly at: number; readonly way: number }> = []
    const calm = yield* play((call, at) => {
      if (of === undefined || of === call.name) outcomesOf(call).forEach((_, way) => plan.push({ at, way }))
      return undefined
    })
    calm.disk.unmount()
    let runs = 0
    let opened = 0
    for (let next = seed % every; next < plan.length; next += every) {
      const { at, way } = plan[next]!
      let what = "nothing"
      const where = () => `with ${what}, call ${at}`
      const world = yield* play((call, nth) => {
        if (nth !== at) return undefined
        // what other fibers do may come in between, so that it is another call now
        const outcomes = outcomesOf(call)
        const outcome = outcomes[way % outcomes.length]!
        what = `${call.name} ${call.path} ${JSON.stringify(outcome)}`
        return outcome
      }).pipe(Effect.catchCause((cause) => Effect.die(new Violation(`${told(cause).message} (${where()})`))))
      runs++
      const images = new Images()
      images.take(world, where(), most, seed + at)
      opened += images.size
      yield* images.check(scenario, recovery)
      world.disk.unmount()
    }
    const report: Faults = { runs, images: opened, millis: Math.round(performance.now() - began) }
    return report
  }).pipe(quiet)
