/** Stores that believe what they should not: see `test/fuzz/mutants.test.ts`. */
import type { Patches } from "../mutants.ts"

const format = "src/layers/internal/ledgerFormat.ts"
const ledger = "src/layers/LedgerLive.ts"
const index = "src/layers/IndexLive.ts"

export const patches: Patches = {
  // with this all is as it should be
  "control-fuzz": { file: format, find: "encoding and parsing, as plain", replace: "encoding, parsing, as plain" },

  "fuzz-no-checksum": {
    file: format,
    find: "return toldSum(bytes, end - crcLength) === sum ? undefined : \"the checksum does not fit\"",
    replace: "return toldSum(bytes, end - crcLength) === sum ? undefined : undefined"
  },
  "fuzz-no-chain": {
    file: format,
    find: "if (now !== line.hash) return stop(",
    replace: "if (now === \"\") return stop("
  },
  "fuzz-fields-believed": {
    file: format,
    find: "if (!isKnown) return \"the event's fields are not what they should be\"",
    replace: "if (!isKnown) return undefined"
  },
  "fuzz-nested-for-ever": {
    file: format,
    find: "return isDeep ? tooDeep : undefined",
    replace: "return undefined"
  },
  "fuzz-longest-line": {
    file: format,
    find: "export const maxLineBytes = 16 * 1024 * 1024",
    replace: "export const maxLineBytes = 64 * 1024 * 1024"
  },
  "fuzz-previous-not-compared": {
    file: ledger,
    find: "if (at.hash !== sealed.hash || at.position !== sealed.position) {",
    replace: "if (at.position !== sealed.position) {"
  },
  "fuzz-segments-as-text": {
    file: ledger,
    find: "entries.flatMap(({ name }) => StoreFolder.segmentNumber(name) ?? []).sort((a, b) => b - a)",
    replace: "entries.flatMap(({ name }) => StoreFolder.segmentNumber(name) ?? []).sort().reverse()"
  },
  "fuzz-empty-segment-skipped": {
    file: ledger,
    find:
      "if (parsed === undefined) return yield* damaged(previous.segment, 0, \"the header of a sealed segment is void\")",
    replace: "if (parsed === undefined) return links"
  },
  "fuzz-far-segment-filled": { file: ledger, find: "if (stray >= 0) {", replace: "if (stray < -1) {" },
  "fuzz-block-not-compared": {
    file: "src/layers/internal/indexFormat.ts",
    find: "return told === blockSum(header.sum, block, payload) ? payload : undefined",
    replace: "return told === -1 ? undefined : payload"
  },
  "fuzz-damaged-block-is-empty": {
    file: index,
    find: "if (payload === undefined) return false",
    replace: "if (payload === undefined) { keep(wanted[i]!, new Uint8Array(at.length - 4)); continue }"
  },
  "fuzz-answers-not-compared": {
    file: "src/layers/internal/History.ts",
    find: "if (Query.matches(query, record)) events.push(",
    replace: "events.push("
  },
  "fuzz-snapshot-without-checksum": {
    file: "src/layers/internal/snapshotFormat.ts",
    find: "if (text.toString(\"latin1\", end) !== endOf(bytes.subarray(0, end))) return undefined",
    replace: "if (endOf(bytes.subarray(0, end)) === \"\") return undefined"
  },
  "fuzz-description-believed": {
    file: "src/layers/internal/StoreFolder.ts",
    find: "if (!isDescription(found)) {",
    replace: "if (found === undefined) {"
  },
  "fuzz-damaged-states-stay": {
    file: "src/layers/internal/stateLog.ts",
    find: "onSuccess: (isDescribed) => isDescribed ? error : damage(error.file, error.problem)",
    replace: "onSuccess: () => error"
  },

  // see `test/fuzz/inputs.test.ts`
  "inputs-proto-by-assignment": {
    file: "src/services/EventStore.ts",
    find: "Object.defineProperty(metadata, key, { value, enumerable: true, configurable: true, writable: true })",
    replace: "metadata[key] = value as never"
  },
  "inputs-written-unseen": {
    file: "src/internal/json.ts",
    find: "throw new TypeError(\"it is another value each time that it is looked at\")",
    replace: "return String(text)"
  }
}
