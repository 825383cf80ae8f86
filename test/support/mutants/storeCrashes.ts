/** The store's layers, weakened: see `test/layers/StoreCrashMutants.test.ts`. Weakenings of the protocol itself are in `ledgerProtocol.ts`. */
import type { Patches } from "../mutants.ts"

const ledger = "src/layers/LedgerLive.ts"
const node = "src/layers/StorageNode.ts"
const index = "src/layers/IndexLive.ts"

export const patches: Patches = {
  "crashes-control": { file: node, find: "Storage in the files below a folder, by Node.", replace: "Storage" },

  // files
  "crashes-data-not-synced": {
    file: node,
    find: `const sync = () => fs.fdatasyncSync(fd)\n`,
    replace: "const sync = () => {}\n"
  },
  "crashes-folders-not-synced": {
    file: node,
    find: `return insideFolder(path, syncFolder(folder))`,
    replace: "return Effect.void"
  },
  "crashes-documents-not-synced": {
    file: node,
    find: `          if (durable) yield* syncingDocuments(() => fs.fsyncSync(fd), (done) => fs.fsync(fd, done))\n`,
    replace: ""
  },
  "crashes-short-writes-believed": {
    file: "src/layers/internal/systemCalls.ts",
    find: "    written += count\n",
    replace: "    written = bytes.length\n"
  },
  "crashes-looks-throw": {
    file: node,
    find: `    const found = Effect.flatMap(look(folder), (stats) =>`,
    replace: `    const found = Effect.flatMap(Effect.sync(() => lookSync(folder)), (stats) =>`
  },

  // the journal
  /** The mark comes with the group, before it is durable: readers and the next process believe it. */
  "crashes-confirmed-before-durable": {
    file: ledger,
    find: `      atOnce: ({ before, group, own }) => own.file.write.atOnce?.(before.end + 1, group.bytes),\n`,
    replace: `      atOnce: ({ before, group, last, own }) => {
        own.file.write.atOnce?.(before.end + 1, group.bytes)
        return own.file.write.atOnce?.(last.end, Format.confirmMark)
      },\n`
  },
  /** The right to write is given away while a group is on its way. */
  "crashes-gives-way-early": {
    file: ledger,
    find: `    return goOnAtOnce(writing) ? outcomeOf(writing) : Effect.flatMap(`,
    replace: `    const early = Effect.ignore(Effect.scoped(storage.createFile(batonOf(writing.own.number))))
    return Effect.flatMap(Effect.andThen(early, goOn(writing)), () => outcomeOf(writing)) ?? Effect.flatMap(`
  },
  "crashes-unsynced-sealed-from-the-cache": {
    file: ledger,
    find: `const from = !base.confirmed ? 0 : isKnown ? tail.confirmed.end : link.start`,
    replace: `const from = base.confirmed ? tail.confirmed.end : 0`
  },

  // the index
  "crashes-index-trusted": {
    file: index,
    find: `header !== undefined && (yield* ledger.holds(header.cursor!)) ? header : undefined`,
    replace: `header`
  },
  "crashes-index-lacks-a-posting": {
    file: "src/layers/internal/indexFormat.ts",
    find: `view.setUint32(to + 12, count, true)`,
    replace: `view.setUint32(to + 12, count > 2 ? count - 1 : count, true)`
  },

  // event files
  "crashes-files-not-made-again": {
    file: "src/layers/internal/EventFiles.ts",
    find: `if (boot !== "" && found.boot === boot) return`,
    replace: `if (boot !== "") return`
  },
  "crashes-half-files-kept": {
    file: "src/layers/internal/EventFiles.ts",
    find: `if (yield* differs(path, bytes)) yield* storage`,
    replace: `if (!(yield* storage.exists(path))) yield* storage`
  },

  "crashes-files-beyond-kept": {
    file: "src/layers/internal/EventFiles.ts",
    find: `      yield* removeBeyond(history.known().position)\n`,
    replace: ""
  },

  // reading
  "crashes-head-after-the-events": {
    file: "src/layers/EventStoreLive.ts",
    find: `({ events, isCut }) => ({ events, head, isCut })`,
    replace: `({ events, isCut }) => ({ events, head: History.toHead(history.known()), isCut })`
  }
}
