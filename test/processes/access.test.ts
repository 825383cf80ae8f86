/**
 * Stores of real users, none of whom is root: two of one group who share a store, one outside of it, write protection that binds its
 * owner, and folders that are somebody else's.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type ChildProcess, execFileSync, fork } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Answer, Command } from "../fixtures/accessProcess.ts"
import * as Full from "../support/fullStore.ts"
import { temporaryFolder } from "../support/temporaryFolder.ts"

// users

const anna = { uid: 61_001, gid: 61_000 }
const ben = { uid: 61_002, gid: 61_000 }
const carl = { uid: 61_003, gid: 61_003 }

const fixture = fileURLToPath(new URL("../fixtures/accessProcess.ts", import.meta.url))

class User {
  private asked = 0
  private output = ""
  private readonly child: ChildProcess
  private readonly pending = new Map<number, (answer: Answer) => void>()

  constructor() {
    this.child = fork(fixture, [], { execArgv: ["--no-warnings"], stdio: ["ignore", "pipe", "pipe", "ipc"] })
    for (const stream of [this.child.stdout, this.child.stderr]) stream?.on("data", (text) => this.output += text)
    this.child.on("message", ({ answer, id }: { readonly id: number; readonly answer: Answer }) => {
      this.pending.get(id)?.(answer)
      this.pending.delete(id)
    })
    this.child.on("error", () => {})
    this.child.once("exit", () => {
      for (const answer of this.pending.values()) answer({ error: `the process ended\n${this.output}` })
      this.pending.clear()
    })
  }

  ask(command: Command): Effect.Effect<Answer> {
    return Effect.promise(() =>
      new Promise((resolve) => {
        const id = this.asked += 1
        this.pending.set(id, resolve)
        this.child.send({ id, command })
      })
    )
  }

  /** The answer, which must be none of an error. */
  tell(command: Command): Effect.Effect<Answer> {
    return Effect.map(this.ask(command), (answer) => {
      if (answer.error !== undefined) throw new Error(`${command._tag}: ${answer.error}\n${this.output}`)
      return answer
    })
  }

  readonly kill = Effect.promise(() =>
    new Promise<void>((resolve) => {
      if (this.child.exitCode !== null || this.child.signalCode !== null) return resolve()
      this.child.once("exit", () => resolve())
      this.child.kill("SIGKILL")
    })
  )

  stop(signal: "SIGSTOP" | "SIGCONT"): void {
    this.child.kill(signal)
  }
}

const start = (who: typeof anna, umask: number) =>
  Effect.gen(function*() {
    const user = yield* Effect.acquireRelease(Effect.sync(() => new User()), (user) => user.kill)
    yield* user.tell({ _tag: "become", ...who, umask })
    return user
  })

/** A folder as a person makes it for stores. */
const folderFor = ({ gid, uid }: typeof anna, mode: number) =>
  Effect.gen(function*() {
    const above = yield* temporaryFolder
    fs.chmodSync(above, 0o755)
    const root = join(above, "stores")
    fs.mkdirSync(root)
    fs.chownSync(root, uid, gid)
    fs.chmodSync(root, mode)
    return root
  })

const pathsOf = (root: string, pattern: RegExp): ReadonlyArray<string> =>
  Full.walk(root).map(({ path }) => path).filter((path) => pattern.test(path)).map((path) => join(root, path))

const times = (by: string, count: number) => Array.from({ length: count }, () => by)

/** What `useAll` appends. */
const all = 9

const isRoot = process.getuid?.() === 0

describe.skipIf(!isRoot)(
  "users (skipped unless run by root, who alone can become others)",
  { concurrent: true },
  () => {
    it.live("of one group share a store, whatever happens to one of them, and nobody else sees anything", () =>
      Effect.gen(function*() {
        // a folder that others may look into, so that it is the store that keeps them out
        const root = yield* folderFor({ uid: 0, gid: anna.gid }, 0o2775)
        const options = { root, access: "group", writeProtect: true } as const
        const [first, second, stranger] = yield* Effect.all(
          [start(anna, 0o077), start(ben, 0o022), start(carl, 0o022)],
          { concurrency: 3 }
        )
        // made by one, used by both in turn
        yield* first.tell({ _tag: "open", options })
        yield* first.tell({ _tag: "useAll", by: "anna" })
        yield* second.tell({ _tag: "open", options })
        yield* second.tell({ _tag: "useAll", by: "ben" })
        for (let turn = 0; turn < 3; turn++) {
          yield* first.tell({ _tag: "append", by: "anna" })
          yield* second.tell({ _tag: "append", by: "ben" })
        }
        // killed with the lock in its hands, and what it made half; the other one goes on with all of it, also what is derived
        yield* first.tell({ _tag: "append", by: "anna" })
        yield* first.kill
        yield* second.tell({ _tag: "append", by: "ben" })
        const seen = yield* second.tell({ _tag: "look" })
        assert.deepStrictEqual(seen.states, { anna: all + 4, ben: all + 4 })
        yield* second.tell({ _tag: "rebuild" })
        // and back, to one that opens the store of the dead
        yield* second.tell({ _tag: "append", by: "ben" })
        yield* second.kill
        const third = yield* start(anna, 0o027)
        yield* third.tell({ _tag: "open", options })
        yield* third.tell({ _tag: "useAll", by: "anna" })
        const { history, states } = yield* third.tell({ _tag: "look" })
        assert.strictEqual(history?.length, 3 * all + 9)
        assert.deepStrictEqual(states, { anna: 2 * all + 4, ben: all + 5 })
        // who they are, and what the files say
        const found = Full.walk(root)
        assert.deepStrictEqual(new Set(found.map(({ uid }) => uid)), new Set([anna.uid, ben.uid]))
        assert.deepStrictEqual(new Set(found.map(({ gid }) => gid)), new Set([anna.gid]))
        assert.deepStrictEqual(
          new Set(found.map(({ kind, mode }) => `${kind} ${mode}`)),
          new Set(["folder 2770", "file 660", "file 440"])
        )
        const paths = [join(root, "shop"), ...pathsOf(root, /./)]
        assert.deepStrictEqual(yield* stranger.tell({ _tag: "peek", paths }), { done: [] })
        assert.include(
          (yield* stranger.ask({ _tag: "open", options: { ...options, readOnly: true } })).error,
          "StoreUnavailable"
        )
        // in order, so that the other one carries on in the same segment
        yield* third.tell({ _tag: "close" })
        const segments = pathsOf(root, /shop\/ledger\/\d+\.jsonl$/).length
        const fourth = yield* start(ben, 0o077)
        yield* fourth.tell({ _tag: "open", options })
        yield* fourth.tell({ _tag: "append", by: "ben" })
        assert.lengthOf(pathsOf(root, /shop\/ledger\/\d+\.jsonl$/), segments)
        yield* fourth.tell({ _tag: "delete" })
        assert.deepStrictEqual(fs.readdirSync(root), [])
      }).pipe(Effect.scoped))

    it.live("of one group follow one another when a power cut took a segment, or one of them is stopped", () =>
      Effect.gen(function*() {
        const root = yield* folderFor({ uid: 0, gid: anna.gid }, 0o2770)
        const options = { root, access: "group", writeProtect: true } as const
        const [first, second] = yield* Effect.all([start(anna, 0o077), start(ben, 0o077)], { concurrency: 2 })
        // it was the owner's alone, and was made the group's as the documentation says
        yield* first.tell({ _tag: "open", options: { ...options, access: "owner" } })
        yield* first.tell({ _tag: "useAll", by: "anna" })
        yield* first.tell({ _tag: "close" })
        const shop = join(root, "shop")
        execFileSync("chgrp", ["-R", `${anna.gid}`, shop])
        execFileSync("chmod", ["-R", "g=u,o=", shop])
        execFileSync("find", [shop, "-type", "d", "-exec", "chmod", "g+s", "{}", "+"])
        assert.deepStrictEqual(
          new Set(Full.walk(root).map(({ kind, mode }) => `${kind} ${mode}`)),
          new Set(["folder 2770", "file 660", "file 440"])
        )
        // what is the newest now was sealed and write-protected, and is somebody else's
        const [newest = "", sealed = ""] = [...pathsOf(root, /shop\/ledger\/\d+\.jsonl$/)].reverse()
        for (const path of [newest, ...pathsOf(root, /\.free$/)]) fs.unlinkSync(path)
        assert.strictEqual(fs.statSync(sealed).mode & 0o777, 0o440)
        yield* second.tell({ _tag: "open", options })
        yield* second.tell({ _tag: "append", by: "ben" })
        assert.strictEqual((yield* second.tell({ _tag: "look" })).history?.at(-1), "ben")
        // it has the lock, and does not go on
        yield* second.tell({ _tag: "append", by: "ben" })
        second.stop("SIGSTOP")
        yield* first.tell({ _tag: "open", options })
        yield* first.tell({ _tag: "append", by: "anna" })
        second.stop("SIGCONT")
        yield* second.tell({ _tag: "append", by: "ben" })
        assert.deepStrictEqual((yield* first.tell({ _tag: "look" })).history?.slice(-3), ["ben", "anna", "ben"])
      }).pipe(Effect.scoped))

    it.live("cannot change what is write-protected, and the store goes on all the same", () =>
      Effect.gen(function*() {
        const root = yield* folderFor(anna, 0o700)
        const options = { root, writeProtect: true }
        const user = yield* start(anna, 0o022)
        yield* user.tell({ _tag: "open", options })
        yield* user.tell({ _tag: "useAll", by: "anna" })
        const segments = () => pathsOf(root, /shop\/ledger\/\d+\.jsonl$/)
        const copies = () => pathsOf(root, /\/events\/\d+\/\d+\.json$|\/states\/..\//)
        const guarded = () => [...segments().slice(0, -1), ...copies()]
        assert.isAbove(segments().length, 2)
        assert.lengthOf(copies(), all + 1)
        assert.deepStrictEqual(yield* user.tell({ _tag: "spoil", paths: guarded() }), { done: [] })
        // the attempts are such that can succeed
        const plain = join(root, "plain")
        fs.writeFileSync(plain, "x", { mode: 0o600 })
        fs.chownSync(plain, anna.uid, anna.gid)
        assert.lengthOf((yield* user.tell({ _tag: "spoil", paths: [plain] })).done ?? [], 3)
        fs.unlinkSync(plain)
        // a rebuild replaces the states' files, and removes the generation before
        const generations = () => pathsOf(root, /notes\/1\/\d{10}$/)
        const before = [generations(), copies().map((path) => fs.statSync(path).ino)]
        yield* user.tell({ _tag: "rebuild" })
        yield* user.tell({ _tag: "append", by: "anna" })
        yield* user.tell({ _tag: "look" })
        assert.lengthOf(generations(), 1)
        assert.notDeepEqual([generations(), copies().map((path) => fs.statSync(path).ino)], before)
        yield* user.tell({ _tag: "close" })

        // the writer died in the middle of a commit: what it left is cut off before its segment is protected
        const torn = segments().at(-1)!
        const whole = fs.statSync(torn).size
        fs.appendFileSync(torn, `{"kind":"event","position":99,`)
        for (const path of pathsOf(root, /shop\/ledger\/.*\.free$/)) fs.unlinkSync(path)
        yield* user.tell({ _tag: "open", options })
        yield* user.tell({ _tag: "append", by: "anna" })
        assert.isAbove(segments().indexOf(torn), -1)
        assert.strictEqual(fs.statSync(torn).size, whole)
        assert.strictEqual(fs.statSync(torn).mode & 0o777, 0o400)
        yield* user.tell({ _tag: "close" })

        // a power cut took the newest segment: the one before, which is protected, is taken over, adopted and sealed once more
        fs.unlinkSync(segments().at(-1)!)
        for (const path of pathsOf(root, /shop\/ledger\/.*\.free$/)) fs.unlinkSync(path)
        assert.strictEqual(segments().at(-1), torn)
        yield* user.tell({ _tag: "open", options })
        yield* user.tell({ _tag: "append", by: "anna" })
        const looked = yield* user.tell({ _tag: "look" })
        assert.deepStrictEqual(looked.history, times("anna", all + 2))
        assert.deepStrictEqual(yield* user.tell({ _tag: "spoil", paths: guarded() }), { done: [] })
        yield* user.tell({ _tag: "close" })

        // without protection what is protected stays so, and nothing is missed
        yield* user.tell({ _tag: "open", options: { root } })
        yield* user.tell({ _tag: "useAll", by: "ben" })
        const { states } = yield* user.tell({ _tag: "look" })
        assert.deepStrictEqual(states, { anna: all + 2, ben: all })
        yield* user.tell({ _tag: "delete" })
        assert.deepStrictEqual(fs.readdirSync(root), [])
      }).pipe(Effect.scoped))

    it.live("get typed errors where they may not write, and can read", () =>
      Effect.gen(function*() {
        const root = yield* folderFor(anna, 0o700)
        const user = yield* start(anna, 0o022)
        yield* user.tell({ _tag: "open", options: { root } })
        yield* user.tell({ _tag: "useAll", by: "anna" })
        yield* user.tell({ _tag: "close" })
        yield* user.tell({ _tag: "chmod", root, file: 0o400, folder: 0o500 })
        const before = Full.stampsOf(root)
        // for writing: at the latest the append is refused
        const opened = yield* user.ask({ _tag: "open", options: { root } })
        const refused = opened.error ?? (yield* user.ask({ _tag: "append", by: "anna" })).error
        assert.match(refused ?? "", /StoreUnavailable: .* failed: permission denied/)
        assert.include(refused, `${root}/shop`)
        yield* user.tell({ _tag: "close" })
        yield* user.tell({ _tag: "open", options: { root, readOnly: true } })
        assert.deepStrictEqual((yield* user.tell({ _tag: "read" })).history, times("anna", all))
        yield* user.tell({ _tag: "close" })
        assert.deepStrictEqual(Full.stampsOf(root), before)

        // a root that is somebody else's
        const foreign = yield* folderFor({ uid: 0, gid: 0 }, 0o755)
        const { error } = yield* user.ask({ _tag: "open", options: { root: foreign } })
        assert.match(error ?? "", /EventStoreError: StoreUnavailable: .* failed: permission denied/)
        assert.include(error, foreign)
        assert.deepStrictEqual(fs.readdirSync(foreign), [])

        // and a store that is another user's
        const stranger = yield* start(carl, 0)
        const shut = yield* stranger.ask({ _tag: "open", options: { root } })
        assert.match(shut.error ?? "", /EventStoreError: StoreUnavailable: .* failed: permission denied/)
      }).pipe(Effect.scoped))
  }
)
