/** The protocol of the ledger, weakened: see `test/layers/LedgerProtocolMutants.test.ts`. */
import type { Patches } from "../mutants.ts"

const file = "src/layers/LedgerLive.ts"

/** The newest segment above a floor with any valid header, where only a confirmed one would do. */
const anyHeader = (floor: string) => `
      let newest: ParsedHeader | undefined
      for (const n of yield* segmentNumbers) {
        if (n <= ${floor} || newest !== undefined) break
        newest = yield* headerOf(n)
      }`

export const patches: Patches = {
  "ledger-ack-before-sync": {
    file,
    find: `...(durability === "sync"\n`,
    replace: `...(durability === ("never" as string)\n`
  },
  "ledger-no-check": {
    file,
    find: `      fenced: true\n`,
    replace: ""
  },
  /** The look comes before the write; behind it nobody looks for the successor's number any more. */
  "ledger-check-before-write": {
    file,
    find: `    // 1. write
    {
      atOnce: ({ before, group, own }) => own.file.write.atOnce?.(before.end + 1, group.bytes),
      effect: ({ before, group, own }) => own.file.write(before.end + 1, group.bytes)
    },\n`,
    replace: `    {
      atOnce: () => undefined,
      effect: (writing) =>
        Effect.andThen(
          Effect.tap(storage.exists(writing.own.successor), (exists) =>
            Effect.sync(() => {
              if (!exists) Object.assign(writing, { own: { ...writing.own, successor: pathOf(10 ** 9) } })
            })),
          writing.own.file.write(writing.before.end + 1, writing.group.bytes)
        )
    },\n`
  },
  /** What is adopted is read before the segment is created, and taken as it was then. */
  "ledger-read-before-create": {
    file,
    find: `      const scope = spare?.number === highest ? spare.scope : Scope.makeUnsafe()\n`,
    replace: `      if (sealAt === undefined) {
        for (const lower of yield* segmentNumbers) {
          const parsed = yield* headerOf(lower)
          if (parsed === undefined) continue
          sealAt = (yield* tailOf(linkOf(parsed), parsed.confirmed)).valid
          break
        }
      }
      const scope = spare?.number === highest ? spare.scope : Scope.makeUnsafe()\n`
  },
  "ledger-no-sync-of-old": {
    file,
    find: `      yield* secure(link.number, from, end.end, file)\n`,
    replace: ""
  },
  "ledger-adopts-from-the-cache": {
    file,
    find: `      for (let at = from; at < to;) {\n`,
    replace: `      for (let at = to; at < to;) {\n`
  },
  "ledger-no-dir-sync": {
    file,
    find: `    yield* storage.syncDirectory(folder)\n`,
    replace: ""
  },
  /** Tried for all that follows: the folder is synced with the mark, when the header was synced long ago. */
  "ledger-dir-sync-late": {
    file,
    find: `    yield* storage.syncDirectory(folder)
    // 5.
    const header = Format.encodeHeader({
      format: Format.format,
      features: [],
      store: storeId,
      segment: number,
      algorithm: Format.algorithm,
      durability,
      writer,
      time: new Date(yield* Clock.currentTimeMillis).toISOString(),
      first: end.position + 1,
      previous: { segment: end.segment, length: end.end, position: end.position, hash: end.hash }
    })
    isSpare = false
    yield* file.write(0, header.bytes).pipe(
      Effect.tapError((error) => Effect.sync(() => isSpare = error.reason === "DiskFull"))
    )
    yield* file.sync\n`,
    replace: `    const header = Format.encodeHeader({
      format: Format.format,
      features: [],
      store: storeId,
      segment: number,
      algorithm: Format.algorithm,
      durability,
      writer,
      time: new Date(yield* Clock.currentTimeMillis).toISOString(),
      first: end.position + 1,
      previous: { segment: end.segment, length: end.end, position: end.position, hash: end.hash }
    })
    yield* file.write(0, header.bytes)
    yield* file.sync
    yield* storage.syncDirectory(folder)\n`
  },
  "ledger-no-baton": {
    file,
    find: `    if (!entries.some(({ kind, name }) => kind === "file" && name === baton)) return false
    if (!(yield* storage.claim(batonOf(newest)))) return false\n`,
    replace: ""
  },
  "ledger-baton-not-atomic": {
    file,
    find: `    if (!(yield* storage.claim(batonOf(newest)))) return false\n`,
    replace: `    yield* storage.claim(batonOf(newest))\n`
  },
  /** A baton that a power loss brought back is believed, whatever the segment ends with. */
  "ledger-appends-over-a-torn-tail": {
    file,
    find: `    if (!isPadding(tail) || (yield* storage.exists(pathOf(newest + 1)))) return false\n`,
    replace: `    if (yield* storage.exists(pathOf(newest + 1))) return false\n`
  },
  "ledger-dirty-reader": {
    file,
    find: `const taken = limit === undefined ? run.commits.slice(0, run.confirmed) : run.commits\n`,
    replace: `const taken = run.commits\n`
  },
  "ledger-reader-unconfirmed-header": {
    file,
    find: `      const newest = yield* newestConfirmed(cursor.segment)\n`,
    replace: `${anyHeader("cursor.segment")}\n`
  },
  "ledger-verdict-unconfirmed": {
    file,
    find: `    const newest = yield* newestConfirmed(segment)\n`,
    replace: `${anyHeader("segment")}\n`
  },
  "ledger-verdict-guessed": {
    file,
    find: `        const length = yield* verdict(number)\n        if (length === undefined) return undefined\n`,
    replace: `        const length = 0\n`
  },
  "ledger-no-header-check": {
    file,
    find: `    if (yield* storage.exists(pathOf(number + 1))) return undefined\n`,
    replace: ""
  },
  "ledger-reuse-void": {
    file,
    find: `      const scope = spare?.number === highest ? spare.scope : Scope.makeUnsafe()\n`,
    replace: `      if (highest > 1 && (yield* headerOf(highest)) === undefined) {
        const scope = Scope.makeUnsafe()
        spare = { number: highest, file: yield* storage.openWritable(pathOf(highest)).pipe(Scope.provide(scope)), scope }
      }
      const scope = spare?.number === highest ? spare.scope : Scope.makeUnsafe()\n`
  },
  "ledger-retries-a-sync": {
    file,
    find: `        atOnce: ({ own }: Writing) => own.file.sync.atOnce?.(),
        effect: ({ own }: Writing) => own.file.sync\n`,
    replace: `        atOnce: ({ own }: Writing) => {
          const exit = own.file.sync.atOnce?.()
          return exit !== undefined && Exit.isFailure(exit) ? own.file.sync.atOnce?.() : exit
        },
        effect: ({ own }: Writing) => Effect.retry(own.file.sync, { times: 1 })\n`
  },
  /** After a failed sync the segment is sealed behind what is read back, and the callers are told that it failed. */
  "ledger-seals-behind-the-failed": {
    file,
    find: `Effect.exit(takeOver(before))`,
    replace: `Effect.exit(takeOver(before).pipe(Effect.andThen(takeOver())))`
  },
  /** The bytes of half a batch count as part of the history. */
  "ledger-adopts-half-a-batch": {
    file,
    find: `    const tail: Tail = { confirmed, valid: run.commits.at(-1)?.cursor ?? confirmed, rest, length }\n`,
    replace: `    const valid = run.commits.at(-1)?.cursor ?? confirmed
    const whole = rest.findLastIndex((byte) => byte === 0x0a) + 1
    const tail: Tail = { confirmed, valid: { ...valid, end: Math.max(valid.end, confirmed.end + whole) }, rest, length }\n`
  },
  "ledger-cuts-the-mark-off": {
    file,
    find: `file.truncate(behind[0] === 0x20 ? length + 1 : length)`,
    replace: `file.truncate(length)`
  },
  "ledger-trims-too-much": {
    file,
    find: `own.file.truncate(cursor.end + 1)`,
    replace: `own.file.truncate(cursor.end - 1)`
  },
  "ledger-trims-behind-the-baton": {
    file,
    find: `        yield* trim
        if (last && durability === "sync") yield* own.file.sync
        // another store may have the name by now
        if (!(yield* own.file.isCurrent)) return
        yield* Effect.scoped(storage.createFile(batonOf(own.number)))\n`,
    replace: `        if (last && durability === "sync") yield* own.file.sync
        if (!(yield* own.file.isCurrent)) return
        yield* Effect.scoped(storage.createFile(batonOf(own.number)))
        yield* trim\n`
  },
  "ledger-leaves-gaps": {
    file,
    find:
      `      if (!numbers.includes(gap)) yield* Effect.scoped(storage.createFile(pathOf(gap))).pipe(Effect.ignore)\n`,
    replace: ""
  },
  "ledger-swallows-at-roll-over": {
    file,
    find: `    unread = yield* refresh\n    return unread.length === 0 && isOwn()\n`,
    replace: `    yield* refresh\n    return isOwn()\n`
  },
  "ledger-name-not-synced": {
    file: "src/layers/internal/StoreFolder.ts",
    find: `    if (!options.readOnly) {
      // whoever made the store may not have come to this yet, and what is appended from now on must not be lost with its name
      yield* storage.syncDirectory(folder)\n`,
    replace: `    if (!options.readOnly) {\n`
  },
  "ledger-tidies-another-store": {
    file,
    find: `      if (!(yield* next.isCurrent)) return yield* goneOr("tidy")\n`,
    replace: ""
  }
}
