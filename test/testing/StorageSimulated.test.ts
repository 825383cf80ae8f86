import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import { type Storage, type StorageError } from "../../src/services/Storage.ts"
import * as StorageSimulated from "../../src/testing/StorageSimulated.ts"
import { suite } from "../services/Storage.contract.ts"

suite("StorageSimulated", StorageSimulated.layer)

type Disk = StorageSimulated.StorageSimulated

const fill = (length: number, byte: string) => new Uint8Array(length).fill(byte.charCodeAt(0))
const bytes = (text: string) => new TextEncoder().encode(text)
const text = (bytes: Uint8Array | undefined) => bytes === undefined ? undefined : new TextDecoder().decode(bytes)

/** A run of the same character, shortened: `a*512`. */
const brief = (content: string) =>
  content.replaceAll(
    /([\s\S])\1{5,}/g,
    (run, character: string) => `${character === "\0" ? "0" : character}*${run.length} `
  ).trim()

/** All that can be read, as `path=content` and `path/`. */
const show = (disk: Disk): string => {
  const walk = (folder: string): Effect.Effect<ReadonlyArray<string>, StorageError> =>
    Effect.gen(function*() {
      const shown: Array<string> = []
      for (const entry of yield* disk.storage.list(folder)) {
        const path = folder === "" ? entry.name : `${folder}/${entry.name}`
        if (entry.kind === "directory") shown.push(`${path}/`, ...(yield* walk(path)))
        else shown.push(`${path}=${brief(text(yield* disk.storage.readDocument(path)) ?? "")}`)
      }
      return shown.sort()
    })
  return Effect.runSync(walk("")).join(", ")
}

const outcomes = (disk: Disk, options?: StorageSimulated.CrashOptions) => disk.crashImages(options).map(show).sort()

/** A disk on which this was done. */
const after = <E>(body: (storage: Storage["Service"]) => Generator<Effect.Effect<any, E, any>, void, any>) =>
  Effect.sync(() => {
    const disk = StorageSimulated.make()
    Effect.runSync(Effect.scoped(Effect.gen(() => body(disk.storage))) as Effect.Effect<void, E>)
    return disk
  })

/** A durable file with this content. */
const durable = (storage: Storage["Service"], path: string, content: Uint8Array) =>
  Effect.gen(function*() {
    const file = yield* storage.createFile(path)
    yield* file.write(0, content)
    yield* file.sync
    yield* storage.syncDirectory(path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "")
    return file
  })

describe("a power loss", () => {
  it.effect("loses nothing that is synced", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        yield* storage.makeDirectory("f")
        yield* storage.syncDirectory("")
        yield* durable(storage, "f/a", fill(1300, "a"))
        yield* storage.protect("f/a", true)
      })
      assert.deepStrictEqual(outcomes(disk), ["f/, f/a=a*1300"])
      const image = disk.crashImages()[0]!
      assert.strictEqual((yield* Effect.flip(Effect.scoped(image.storage.openWritable("f/a")))).reason, "Permission")
    }))

  describe("of bytes", () => {
    it.effect("keeps any of the sectors, and NULs before the last", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* durable(storage, "a", new Uint8Array(0))
          yield* file.write(0, fill(512, "a"))
          yield* file.write(512, fill(512, "b"))
          yield* file.write(1024, fill(6, "c"))
        })
        assert.deepStrictEqual(
          outcomes(disk),
          [
            "a=",
            "a=a*512",
            "a=a*512 b*512",
            "a=0*512 b*512",
            "a=a*512 b*512 c*6",
            "a=a*512 0*512 c*6",
            "a=0*512 b*512 c*6",
            "a=0*1024 c*6"
          ].sort()
        )
      }))

    it.effect("keeps a sector's old bytes where its new ones are lost", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* durable(storage, "a", fill(700, "a"))
          yield* file.write(500, fill(20, "b"))
        })
        assert.deepStrictEqual(
          outcomes(disk),
          ["a=a*700", "a=a*500 b*12 a*188", "a=a*512 b*8 a*180", "a=a*500 b*20 a*180"].sort()
        )
      }))

    it.effect("keeps what was in a sector between two writes, too", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* durable(storage, "a", bytes("1"))
          yield* file.write(1, bytes("2"))
          yield* file.write(2, bytes("3"))
        })
        assert.deepStrictEqual(outcomes(disk), ["a=1", "a=12", "a=123"])
      }))

    it.effect("has one outcome where the same bytes were written again", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* durable(storage, "a", bytes("1"))
          yield* file.write(0, bytes("1"))
        })
        assert.deepStrictEqual(outcomes(disk), ["a=1"])
      }))

    it.effect("tells NULs that were written from those that never were", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* durable(storage, "a", new Uint8Array(0))
          yield* file.write(1024, bytes("c"))
          yield* file.write(512, new Uint8Array(512))
        })
        assert.deepStrictEqual(outcomes(disk), ["a=", "a=0*1024", "a=0*1024 c"])
      }))

    it.effect("tells synced bytes from those written later", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* durable(storage, "a", new Uint8Array(0))
          yield* file.write(0, bytes("one"))
          yield* file.sync
          yield* file.write(3, bytes("two"))
        })
        assert.deepStrictEqual(outcomes(disk), ["a=one", "a=onetwo"])
      }))

    it.effect("may undo that a file was made shorter", () =>
      Effect.gen(function*() {
        const shorten = (then: (file: { truncate: any; write: any; sync: any }) => Generator<any, void, any>) =>
          after(function*(storage) {
            const file = yield* durable(storage, "a", fill(1200, "a"))
            yield* file.truncate(600)
            yield* then(file)
          })
        assert.deepStrictEqual(outcomes(yield* shorten(function*() {})), ["a=a*1200", "a=a*600"])
        assert.deepStrictEqual(
          outcomes(
            yield* shorten(function*(file) {
              yield* file.sync
            })
          ),
          ["a=a*600"]
        )
        // Longer again: what was cut off never comes back from the middle of a file that was cut.
        assert.deepStrictEqual(
          outcomes(
            yield* shorten(function*(file) {
              yield* file.write(1100, fill(10, "b"))
            })
          ),
          ["a=a*1200", "a=a*1024 0*76 b*10 a*90", "a=a*600", "a=a*600 0*500 b*10"].sort()
        )
        assert.deepStrictEqual(
          outcomes(
            yield* shorten(function*(file) {
              yield* file.sync
              yield* file.truncate(620)
            })
          ),
          ["a=a*600", "a=a*600 0*20"].sort()
        )
        // The cut is durable, and is over.
        assert.deepStrictEqual(
          outcomes(
            yield* shorten(function*(file) {
              yield* file.sync
              yield* file.write(600, fill(600, "b"))
              yield* file.sync
            })
          ),
          ["a=a*600 b*600"]
        )
      }))

    it.effect("leaves the truth about bytes behind a cut", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* durable(storage, "a", fill(100, "a"))
          yield* file.write(100, fill(2000, "b"))
          yield* file.truncate(100)
          yield* file.sync
          yield* file.write(100, bytes("c"))
          yield* file.sync
        })
        assert.deepStrictEqual(outcomes(disk), ["a=a*100 c"])
      }))
  })

  describe("after a failed sync", () => {
    const failed = (then: (file: any) => Generator<any, void, any>) =>
      Effect.sync(() => {
        const disk = StorageSimulated.make()
        Effect.runSync(
          Effect.scoped(Effect.gen(function*(): Generator<Effect.Effect<any, any, Scope.Scope>, void, any> {
            const file = yield* durable(disk.storage, "a", bytes("1"))
            yield* file.write(1, bytes("2"))
            disk.failNext("sync", "Io", { after: "half" })
            assert.strictEqual((yield* Effect.flip(file.sync)).reason, "Io")
            assert.strictEqual(text(yield* file.read(0, 10)), "12")
            yield* then(file)
          }))
        )
        return disk
      })

    it.effect("is not made up for by another sync", () =>
      Effect.gen(function*() {
        const disk = yield* failed(function*(file) {
          yield* file.sync
        })
        assert.strictEqual(show(disk), "a=12")
        assert.deepStrictEqual(outcomes(disk), ["a=1", "a=12"])
      }))

    it.effect("is not made up for by writing something else", () =>
      Effect.gen(function*() {
        const disk = yield* failed(function*(file) {
          yield* file.write(600, bytes("3"))
          yield* file.sync
        })
        assert.deepStrictEqual(outcomes(disk), ["a=10*599 3", "a=120*598 3"])
      }))

    it.effect("is made up for by writing the bytes again", () =>
      Effect.gen(function*() {
        const disk = yield* failed(function*(file) {
          yield* file.write(1, bytes("2"))
          yield* file.sync
        })
        assert.deepStrictEqual(outcomes(disk), ["a=12"])
      }))
  })

  describe("of names", () => {
    it.effect("loses a file whose name was not synced, whatever of its bytes was", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* storage.createFile("a")
          yield* file.write(0, bytes("one"))
          yield* file.sync
        })
        assert.deepStrictEqual(outcomes(disk), ["", "a=one"])
      }))

    it.effect("decides each for itself", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          yield* durable(storage, "a", bytes("a"))
          yield* storage.claim("a")
          yield* storage.createFile("b")
        })
        assert.deepStrictEqual(outcomes(disk), ["", "a=a", "a=a, b=", "b="])
      }))

    it.effect("brings a removed file back with its durable content", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          const file = yield* durable(storage, "a", bytes("1"))
          yield* file.write(1, bytes("2"))
          yield* storage.remove("a")
        })
        assert.deepStrictEqual(outcomes(disk), ["", "a=1", "a=12"])
        const gone = yield* after(function*(storage) {
          yield* durable(storage, "a", bytes("1"))
          yield* storage.remove("a")
          yield* storage.syncDirectory("")
        })
        assert.deepStrictEqual(outcomes(gone), [""])
      }))

    it.effect("does a rename in a folder, or does not", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          yield* durable(storage, "a", bytes("1"))
          yield* durable(storage, "b", bytes("2"))
          yield* storage.rename("a", "b")
        })
        assert.deepStrictEqual(outcomes(disk), ["a=1, b=2", "b=1"])
        const synced = yield* after(function*(storage) {
          yield* durable(storage, "a", bytes("1"))
          yield* storage.rename("a", "b")
          yield* storage.syncDirectory("")
        })
        assert.deepStrictEqual(outcomes(synced), ["b=1"])
      }))

    it.effect("does a rename across folders as one, until the first is synced", () =>
      Effect.gen(function*() {
        const renamed = (synced?: string) =>
          after(function*(storage) {
            yield* storage.makeDirectory("f")
            yield* storage.makeDirectory("g")
            yield* storage.syncDirectory("")
            yield* durable(storage, "f/a", bytes("1"))
            yield* storage.rename("f/a", "g/a")
            if (synced !== undefined) yield* storage.syncDirectory(synced)
          })
        assert.deepStrictEqual(outcomes(yield* renamed()), ["f/, f/a=1, g/", "f/, g/, g/a=1"])
        assert.deepStrictEqual(outcomes(yield* renamed("g")), ["f/, f/a=1, g/, g/a=1", "f/, g/, g/a=1"])
        assert.deepStrictEqual(outcomes(yield* renamed("f")), ["f/, g/", "f/, g/, g/a=1"])
      }))

    it.effect("gives no folder two names", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          yield* storage.makeDirectory("f")
          yield* storage.makeDirectory("g")
          yield* storage.syncDirectory("")
          yield* storage.rename("f", "g/f")
          yield* storage.syncDirectory("g")
        })
        assert.deepStrictEqual(outcomes(disk), ["f/, g/", "g/, g/f/"])
      }))

    it.effect("loses all below a folder whose name is lost", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          yield* storage.makeDirectory("f")
          yield* durable(storage, "f/a", bytes("1"))
        })
        assert.deepStrictEqual(outcomes(disk), ["", "f/, f/a=1"])
      }))

    it.effect("keeps a folder together that is renamed", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          yield* storage.makeDirectory("f")
          yield* storage.syncDirectory("")
          yield* durable(storage, "f/a", bytes("1"))
          yield* storage.rename("f", "g")
          yield* durable(storage, "g/b", bytes("2"))
        })
        assert.deepStrictEqual(outcomes(disk), ["f/, f/a=1, f/b=2", "g/, g/a=1, g/b=2"])
      }))
  })

  describe("of documents", () => {
    it.effect("loses none that was replaced durably, nor makes other names durable", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          yield* storage.createFile("other")
          yield* storage.replaceDocument("d", bytes("one"), { sync: false })
          yield* storage.replaceDocument("d", bytes("two"), { sync: true })
        })
        assert.deepStrictEqual(outcomes(disk), ["d=two", "d=two, other="])
      }))

    it.effect("leaves the old, the new, or a torn one otherwise", () =>
      Effect.gen(function*() {
        const disk = yield* after(function*(storage) {
          yield* storage.replaceDocument("d", bytes("old"), { sync: true })
          yield* storage.replaceDocument("d", fill(520, "n"), { sync: false })
        })
        assert.deepStrictEqual(outcomes(disk), ["d=", "d=0*512 n*8", "d=n*512", "d=n*520", "d=old"])
      }))
  })

  it.effect("is sampled where it has too many outcomes, the extremes first, and the same ones for a seed", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        const file = yield* durable(storage, "a", new Uint8Array(0))
        for (let i = 0; i < 40; i++) yield* file.write(i * 512, fill(512, String.fromCharCode(65 + i)))
        yield* storage.createFile("b")
      })
      const images = disk.crashImages({ max: 50, seed: 1 })
      assert.strictEqual(images.length, 50)
      const shown = images.map(show)
      const all = show(disk)
      assert.strictEqual(new Set(shown).size, 50)
      assert.strictEqual(shown[0], "a=")
      assert.strictEqual(shown[1], all)
      assert.strictEqual(shown[2], "a=, b=")
      assert.strictEqual(shown[3], all.replace(", b=", ""))
      assert.deepStrictEqual(disk.crashImages({ max: 50, seed: 1 }).map(show), shown)
      assert.notDeepEqual(disk.crashImages({ max: 50, seed: 2 }).map(show), shown)
      assert.strictEqual(disk.crashImages({ max: 3 }).length, 3)
    }))

  it.effect("leaves disks that are independent, and durable", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        const file = yield* durable(storage, "a", fill(600, "a"))
        yield* durable(storage, "same", fill(600, "s"))
        yield* file.write(0, bytes("b"))
      })
      const before = show(disk)
      const [one, two] = disk.crashImages()
      const change = (changed: Disk, byte: string) =>
        Effect.scoped(Effect.gen(function*() {
          const file = yield* changed.storage.openWritable("same")
          yield* file.write(0, bytes(byte))
          yield* file.truncate(1)
          yield* file.sync
        }))
      yield* change(one!, "1")
      assert.deepStrictEqual(outcomes(one!), ["a=a*600, same=1"])
      assert.deepStrictEqual(outcomes(two!), ["a=ba*599, same=s*600"])
      assert.strictEqual(show(disk), before)
      yield* change(disk, "3")
      assert.deepStrictEqual(outcomes(two!), ["a=ba*599, same=s*600"])
    }))

  it.effect("works for megabytes", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        const file = yield* durable(storage, "a", fill(4 * 1024 * 1024, "a"))
        yield* file.write(4 * 1024 * 1024, fill(64 * 1024, "b"))
      })
      const images = disk.crashImages({ max: 10 })
      assert.strictEqual(images.length, 10)
      for (const image of images) {
        assert.strictEqual(
          (yield* image.storage.readDocument("a"))!.slice(0, 4 * 1024 * 1024).every((byte) => byte === 97),
          true
        )
      }
    }))
})

describe("the crash of a process", () => {
  it.effect("leaves all, and what was not synced still is not", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        const file = yield* durable(storage, "a", bytes("1"))
        yield* file.write(1, bytes("2"))
        yield* storage.createFile("b")
      })
      const left = disk.processCrash()
      assert.strictEqual(show(left), "a=12, b=")
      assert.deepStrictEqual(outcomes(left), ["a=1", "a=1, b=", "a=12", "a=12, b="])
      yield* left.storage.replaceDocument("a", bytes("3"), { sync: true })
      assert.strictEqual(show(disk), "a=12, b=")
      assert.deepStrictEqual(outcomes(disk), ["a=1", "a=1, b=", "a=12", "a=12, b="])
    }))
})

describe("failures", () => {
  const write = (disk: Disk, content: string) =>
    Effect.scoped(Effect.flatMap(disk.storage.openWritable("a"), (file) => file.write(0, bytes(content))))

  it.effect("come once, where they were asked for", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        yield* durable(storage, "a", bytes("...."))
      })
      disk.failNext("write", "DiskFull")
      disk.failNext(({ operation, path }) => operation === "list" && path === "f", "TooManyOpenFiles")
      assert.strictEqual(disk.pendingFailures, 2)
      const error = yield* Effect.flip(write(disk, "1234"))
      assert.strictEqual(error.reason, "DiskFull")
      assert.strictEqual(error.operation, "write")
      assert.strictEqual(error.path, "a")
      assert.strictEqual(show(disk), "a=....")
      yield* write(disk, "1234")
      yield* disk.storage.list("")
      assert.strictEqual((yield* Effect.flip(disk.storage.list("f"))).reason, "TooManyOpenFiles")
      assert.strictEqual(disk.pendingFailures, 0)
    }))

  it.effect("leave half of a write, or all of it", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        yield* durable(storage, "a", bytes("...."))
      })
      disk.failNext("write", "Io", { after: "half" })
      assert.strictEqual((yield* Effect.flip(write(disk, "1234"))).reason, "Io")
      assert.strictEqual(show(disk), "a=12..")
      disk.failNext("write", "Io", { after: "after" })
      assert.strictEqual((yield* Effect.flip(write(disk, "1234"))).reason, "Io")
      assert.strictEqual(show(disk), "a=1234")
    }))

  it.effect("of a sync leave the bytes to be synced, taken for synced, or synced", () =>
    Effect.gen(function*() {
      for (
        const [extent, thenSynced] of [["before", ["a=12"]], ["half", ["a=1", "a=12"]], ["after", ["a=12"]]] as const
      ) {
        const disk = StorageSimulated.make()
        yield* Effect.scoped(Effect.gen(function*() {
          const file = yield* durable(disk.storage, "a", bytes("1"))
          yield* file.write(1, bytes("2"))
          disk.failNext("sync", "Io", { after: extent })
          yield* Effect.flip(file.sync)
          assert.deepStrictEqual(outcomes(disk), extent === "after" ? ["a=12"] : ["a=1", "a=12"])
          yield* file.sync
          assert.deepStrictEqual(outcomes(disk), [...thenSynced])
        }))
      }
    }))

  it.effect("leave half a document beside the old one, and half of a folder", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        yield* storage.makeDirectory("f")
        yield* storage.replaceDocument("f/d", bytes("old"), { sync: true })
      })
      disk.failNext("replaceDocument", "DiskFull", { after: "half" })
      yield* Effect.flip(disk.storage.replaceDocument("f/d", bytes("1234"), { sync: true }))
      assert.strictEqual(show(disk), "f/, f/.d.0.0.tmp=12, f/d=old")
      disk.failNext("remove", "Io", { after: "half" })
      yield* Effect.flip(disk.storage.remove("f"))
      assert.strictEqual(show(disk), "f/, f/.d.0.0.tmp=12")
    }))
})

describe("control", () => {
  it.effect("logs the calls", () =>
    Effect.gen(function*() {
      const disk = yield* after(function*(storage) {
        const file = yield* storage.createFile("a")
        yield* file.write(0, bytes("x"))
        yield* file.sync
        yield* storage.rename("a", "b")
      })
      assert.deepStrictEqual(disk.log.map(({ operation, path }) => `${operation} ${path}`), [
        "createFile a",
        "write a",
        "sync a",
        "rename a"
      ])
      assert.strictEqual(disk.calls, 4)
      assert.strictEqual(disk.clone().calls, 0)
    }))

  it.effect("tells of calls before they are made, and stops where it is told to", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const disk = StorageSimulated.make({
        onCall: ({ operation }) => {
          seen.push(`${operation}: ${show(disk.clone())}`)
          if (operation === "claim") throw new Error("stop")
        }
      })
      yield* Effect.scoped(disk.storage.createFile("a"))
      const exit = yield* Effect.exit(disk.storage.claim("a"))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.deepStrictEqual(seen, ["createFile: ", "claim: a="])
      assert.strictEqual(show(disk.clone()), "a=")
    }))

  it.effect("tells disks apart by their fingerprints, by what is readable and by what is durable", () =>
    Effect.gen(function*() {
      const disk = StorageSimulated.make()
      const seen = new Set<string>()
      const isNew = () => {
        const fingerprint = disk.fingerprint()
        assert.strictEqual(disk.clone().fingerprint(), fingerprint)
        const before = seen.size
        return seen.add(fingerprint).size > before
      }
      assert.isTrue(isNew())
      yield* Effect.scoped(Effect.gen(function*() {
        const file = yield* disk.storage.createFile("a")
        assert.isTrue(isNew())
        yield* disk.storage.syncDirectory("")
        assert.isTrue(isNew())
        yield* file.write(0, bytes("1"))
        assert.isTrue(isNew())
        const unsynced = disk.clone()
        yield* file.sync
        assert.isTrue(isNew())
        yield* file.write(0, bytes("2"))
        assert.isTrue(isNew())
        // The same readable bytes as at first, but others are durable.
        const other = disk.clone()
        yield* Effect.scoped(Effect.flatMap(other.storage.openWritable("a"), (file) => file.write(0, bytes("1"))))
        assert.strictEqual(show(other), show(unsynced))
        assert.isFalse(seen.has(other.fingerprint()))
        disk.failNext("sync", "Io", { after: "half" })
        yield* Effect.flip(file.sync)
        assert.isTrue(isNew())
        yield* file.truncate(0)
        assert.isTrue(isNew())
        yield* disk.storage.protect("a", true)
        assert.isTrue(isNew())
        yield* disk.storage.rename("a", "b")
        assert.isTrue(isNew())
        yield* disk.storage.exists("b")
        assert.isFalse(isNew())
      }))
    }))

  it.effect("tells disks apart by bytes alone", () =>
    Effect.gen(function*() {
      const written = (first: string, second: string) =>
        after(function*(storage) {
          const file = yield* durable(storage, "a", bytes(first))
          yield* file.write(0, bytes(second))
        })
      // The same is readable, other bytes are durable.
      const one = yield* written("1", "3")
      const two = yield* written("2", "3")
      assert.notStrictEqual(one.fingerprint(), two.fingerprint())
      // The same number of bytes, all durable.
      const disk = StorageSimulated.make()
      yield* Effect.scoped(Effect.gen(function*() {
        const file = yield* durable(disk.storage, "a", bytes("1"))
        const before = disk.fingerprint()
        yield* file.write(0, bytes("2"))
        yield* file.sync
        assert.notStrictEqual(disk.fingerprint(), before)
        yield* file.write(0, bytes("1"))
        yield* file.sync
        assert.strictEqual(disk.fingerprint(), before)
        yield* file.write(512, bytes("x"))
        yield* file.truncate(1)
        assert.strictEqual(disk.fingerprint(), before)
      }))
    }))

  it.effect("gives one fingerprint for one state, however it came about", () =>
    Effect.gen(function*() {
      const one = yield* after(function*(storage) {
        yield* storage.createFile("a")
        yield* storage.createFile("b")
        yield* storage.syncDirectory("")
      })
      const two = yield* after(function*(storage) {
        yield* storage.createFile("b")
        yield* storage.createFile("c")
        yield* storage.rename("c", "a")
        yield* storage.syncDirectory("")
      })
      assert.strictEqual(one.fingerprint(), two.fingerprint())
    }))
})
