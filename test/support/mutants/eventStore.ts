/** Stores with one mistake each, of those that stores really make: see `test/services/EventStore.mutants.test.ts`. */
import type { Patches } from "../mutants.ts"

const driver = "test/support/naiveDriver.ts"
const store = "src/services/EventStore.ts"
const query = "src/Query.ts"

/** Changes that change nothing: with these all rules hold. */
const controls: Patches = {
  "control-driver": { file: driver, find: "The plainest event store that can be", replace: "A store" },
  "control-store": { file: store, find: "The event store: append, read and follow events.", replace: "A store" },
  "control-event": {
    file: "src/Event.ts",
    find: "Events: Schema classes whose instances are facts.",
    replace: "Events"
  },
  "control-json": { file: "src/internal/json.ts", find: "JSON, as it is stored", replace: "JSON" }
}

export const patches: Patches = {
  ...controls,

  // reading
  "store-after-inclusive": {
    file: driver,
    find: "event.position > after &&",
    replace: "event.position >= after &&"
  },
  "store-before-inclusive": {
    file: driver,
    find: "event.position < before &&",
    replace: "event.position <= before &&"
  },
  "store-limit-before-filter": {
    file: driver,
    find: "const found = eventsAsOf(snapshot ?? 0).filter(",
    replace: "const found = eventsAsOf(snapshot ?? 0).slice(0, limit).filter("
  },
  "store-limit-before-reverse": {
    file: driver,
    find: "(backwards ? found.reverse() : found).slice(0, limit)",
    replace: "backwards ? found.slice(0, limit).reverse() : found.slice(0, limit)"
  },
  "store-cut-untold": {
    file: store,
    find: "return Effect.succeed({ events, head, retagged, isCut })",
    replace: "return Effect.succeed({ events, head, retagged, isCut: false })"
  },
  "store-head-of-found": {
    file: driver,
    find: "head: snapshot,",
    replace: "head: found.at(-1)?.position,"
  },
  "store-moving-snapshot": {
    file: driver,
    find: "const snapshot = at ?? head()",
    replace: "const snapshot = at === undefined ? head() : head()"
  },
  "store-torn-batch": {
    file: driver,
    find:
      "log.push(...records)\n        published()\n        return Effect.succeed(answer(records.map(positionOf), batch, false))",
    replace: "log.push(records[0]!)\n        return Effect.map(Effect.yieldNow, () => {\n" +
      "log.push(...records.slice(1)); published(); return answer(records.map(positionOf), batch, false) })"
  },
  "store-keeps-references": {
    file: driver,
    find: "JSON.parse(JSON.stringify({ position: first + i, type, version, tags, metadata, data })) as StoredEvent",
    replace: "{ position: first + i, type, version, tags, metadata, data } as StoredEvent"
  },
  "store-stream-forgets-limit": {
    file: store,
    find: "const left = remaining - length",
    replace: "const left = remaining"
  },
  "store-stream-swallows-error": {
    file: store,
    find: "const done = error === undefined && (left === 0 || (length < limit && !isCut))",
    replace: "const done = left === 0 || (length < limit && !isCut)"
  },
  "query-tags-ored": {
    file: query,
    find: "for (const tag of wanted) if (!tags.includes(tag)) return false\n  return true",
    replace: "return wanted.length === 0 || wanted.some((tag) => tags.includes(tag))"
  },
  "query-types-prefix": {
    file: query,
    find: "item.types.includes(event.type)",
    replace: "item.types.some((type) => event.type.startsWith(type))"
  },
  "query-tags-normalised": {
    file: query,
    find: "if (!tags.includes(tag)) return false",
    replace: "if (!tags.some((other) => other.normalize() === tag.normalize())) return false"
  },
  "query-tags-folded": {
    file: query,
    find: "if (!tags.includes(tag)) return false",
    replace: "if (!tags.some((other) => other.toLowerCase() === tag.toLowerCase())) return false"
  },

  "query-bad-tags-left-out": {
    file: query,
    find: "if (!tags.every(Tag.is)) continue",
    replace: "for (let i = tags.length - 1; i >= 0; i--) if (!Tag.is(tags[i])) tags.splice(i, 1)"
  },

  // conditions
  "store-condition-after-inclusive": {
    file: driver,
    find: "if (position <= after) continue",
    replace: "if (position < after) continue"
  },
  "store-condition-ignored-without-after": {
    file: driver,
    find: "condition === undefined ? undefined : conflict(condition)",
    replace: "condition?.after === undefined ? undefined : conflict(condition)"
  },
  "store-all-without-after-ignored": {
    file: driver,
    find: "condition === undefined ? undefined : conflict(condition)",
    replace:
      "condition === undefined || condition.after === undefined && condition.failIfEventsMatch.items === \"all\" " +
      "? undefined : conflict(condition)"
  },
  "store-checks-own-batch": {
    file: driver,
    find: "condition === undefined ? undefined : conflict(condition)",
    replace: "condition === undefined ? undefined : conflict(condition) ?? " +
      "(events.some((event) => Query.matches(condition.failIfEventsMatch, event)) ? 1 as Position : undefined)"
  },
  "store-every-append-conflicts": {
    file: driver,
    find: "if (Query.matches(query, record.event)) return position",
    replace: "if (query !== undefined) return position"
  },
  "store-last-conflict": {
    file: driver,
    find: "for (const record of log) {",
    replace: "for (const record of [...log].reverse()) {"
  },
  "store-checks-then-acts": {
    file: driver,
    find:
      "log.push(...records)\n        published()\n        return Effect.succeed(answer(records.map(positionOf), batch, false))",
    replace: "return Effect.map(Effect.yieldNow, () => {\n" +
      "log.push(...records); published(); return answer(records.map(positionOf), batch, false) })"
  },
  "store-beyond-head-passes": {
    file: driver,
    find: "condition.after > (head() ?? 0)",
    replace: "condition.after < 0"
  },
  "store-empty-after-condition": {
    file: store,
    find: "if (inputs.length === 0) return",
    replace: "if (inputs.length === 0 && conditionProblem(condition) === undefined) return"
  },
  "store-condition-unchecked": {
    file: store,
    find: "if (problem !== undefined) return refuse(new InvalidCondition({ problem }))",
    replace: ""
  },

  // retries
  "store-condition-before-ids": {
    file: driver,
    find: "const known = lookUp(events)",
    replace: "const known = condition !== undefined && conflict(condition) !== undefined ? undefined : lookUp(events)"
  },
  "store-ids-not-looked-up": {
    file: store,
    find: "givenId: id !== undefined",
    replace: "givenId: false"
  },
  "store-part-of-a-batch-is-a-retry": {
    file: driver,
    find: "batch.length === events.length &&\n        batch.every(({ event }, i) => sameEvent(event, events[i]!))",
    replace: "events.every((event) => batch.some((other) => sameEvent(other.event, event)))"
  },
  "store-retry-ignores-data": {
    file: driver,
    find: "json.equals(stored.data, event.data)",
    replace: "true"
  },
  "store-retry-ignores-tags": {
    file: driver,
    find: "json.equals(stored.tags, event.tags)",
    replace: "true"
  },
  "store-retry-ignores-version": {
    file: driver,
    find: "stored.version === event.version",
    replace: "true"
  },
  "store-retry-ignores-type": {
    file: driver,
    find: "stored.type === event.type",
    replace: "true"
  },
  "store-retry-compares-text": {
    file: driver,
    find: "json.equals(stored.data, event.data)",
    replace: "JSON.stringify(stored.data) === JSON.stringify(event.data)"
  },
  "store-same-id-twice-in-a-batch": {
    file: store,
    find: "if (batch.given.has(id)) {",
    replace: "if (batch.given.has(`${id} `)) {"
  },

  // refusals and what is read
  "store-nan-passes": {
    file: "src/internal/json.ts",
    find: "return Number.isFinite(value) ? undefined : `is ${value}`",
    replace: "return undefined"
  },
  "store-nesting-unbounded": {
    file: "src/internal/json.ts",
    find: "if (depth === limits.nesting) {",
    replace: "if (depth === Infinity) {"
  },
  "store-c1-in-tags": {
    file: "src/internal/text.ts",
    find: "const control = /\\p{Cc}/u",
    replace: "// oxlint-disable-next-line no-control-regex\nconst control = /[\\u0000-\\u001f\\u007f]/u"
  },
  "store-surrogates-in-tags": {
    file: "src/Tag.ts",
    find: "if (!text.isWellFormed(tag)) return \"has half of a surrogate pair\"",
    replace: ""
  },
  "store-tags-not-merged": {
    file: store,
    find: "if (!tags.includes(tag as Tag.Tag)) tags.push(tag as Tag.Tag)",
    replace: "tags.push(tag as Tag.Tag)"
  },
  "store-ambient-wins": {
    file: store,
    find: "(surroundings.ambient, dressed.metadata)",
    replace: "(dressed.metadata, surroundings.ambient)"
  },
  "store-further-metadata-lost": {
    file: store,
    find: "Object.entries(known)",
    replace: "Object.entries({ correlationId: known.correlationId, userId: known.userId, custom: known.custom })"
  },
  "store-newer-version-decoded": {
    file: "src/Event.ts",
    find: "if (version > current) {",
    replace: "if (version > current + 100) {"
  },
  "store-upcasts-from-the-start": {
    file: "src/Event.ts",
    find: "for (let i = version - 1; i < steps.length; i++)",
    replace: "for (let i = 0; i < steps.length; i++)"
  },
  "store-time-of-its-own": {
    file: store,
    find: "DateTime.makeUnsafe(surroundings.now)",
    replace: "DateTime.makeUnsafe(Date.now() + 1)"
  },

  // following
  "store-subscription-skips": {
    file: store,
    find: "error !== undefined || isCut || length === pageSize",
    replace: "error !== undefined || isCut"
  },
  "store-subscription-repeats": {
    file: store,
    find: ": { after: later(after, head), idleAt: head }",
    replace: ": { after, idleAt: head }"
  },
  "store-subscription-forgets-after": {
    file: store,
    find: ": { after: later(after, head), idleAt: head }",
    replace: ": { after: head, idleAt: head }"
  },
  "store-wakes-one-subscriber": {
    file: driver,
    find: "for (const resume of wake) resume()",
    replace: "wake[0]?.()"
  },

  // turns
  "store-wakes-early": {
    file: store,
    find: "while (((yield* driver.head) ?? 0) <= (position ?? 0))",
    replace: "if (((yield* driver.head) ?? 0) <= (position ?? 0))"
  },
  "store-wakes-at-the-head": {
    file: store,
    find: "while (((yield* driver.head) ?? 0) <= (position ?? 0))",
    replace: "while (((yield* driver.head) ?? 0) < (position ?? 0))"
  },
  "store-waits-for-what-is-there": {
    file: store,
    find: "while (((yield* driver.head) ?? 0) <= (position ?? 0)) yield* driver.awaitBeyond(position)",
    replace: "do yield* driver.awaitBeyond(yield* driver.head); while (((yield* driver.head) ?? 0) <= (position ?? 0))"
  },
  "store-waits-for-anything": {
    file: store,
    find: "position !== undefined && !Position.is(position)",
    replace: "position !== undefined && Number.isNaN(position)"
  },
  "store-reserves-for-ever": {
    file: store,
    find: "driver.reserve ?? Effect.void",
    replace: "driver.reserve ?? Effect.never"
  }
}
