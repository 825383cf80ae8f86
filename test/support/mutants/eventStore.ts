/** Stores with one mistake each, of those that stores really make: see `test/testing/Conformance.mutants.test.ts`. */
import type { Patch, Patches } from "../mutants.ts"

const driver = "src/testing/conformance/oracle.ts"
const store = "src/services/EventStore.ts"
const query = "src/Query.ts"
const event = "src/Event.ts"
const json = "src/internal/json.ts"
const limits = "src/internal/limits.ts"

/** What an append of the driver ends with. */
const storing =
  "log.records.push(...records)\n        published()\n        return Effect.succeed(answer(records.map(positionOf), batch, false))"

/** A client of the driver that has something of its own, and some members that are not as they should be. */
const client = (own: string, members: string): Patch => ({
  file: driver,
  find: "const driver = makeDriver(log)",
  replace: `${own}\nconst plain = makeDriver(log)\nconst driver: OracleDriver = { ...plain, ${members} }`
})

/** Changes that change nothing, one in each file: with these all rules hold. */
const controls: Patches = {
  "control-driver": { file: driver, find: "the plainest event store that can be", replace: "a store" },
  "control-store": { file: store, find: "The event store: append, read and follow events.", replace: "A store" },
  "control-query": { file: query, find: "Queries: which events.", replace: "Queries" },
  "control-event": { file: event, find: "Events: Schema classes whose instances are facts.", replace: "Events" },
  "control-json": { file: json, find: "JSON, as it is stored", replace: "JSON" },
  "control-limits": { file: limits, find: "What one append may be, at most.", replace: "Limits." },
  "control-tag": { file: "src/Tag.ts", find: "Tags: ", replace: "Tags, " },
  "control-text": { file: "src/internal/text.ts", find: "What is wrong with a text", replace: "What a text is" }
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
      "log.records.push(...records)\n        published()\n        return Effect.succeed(answer(records.map(positionOf), batch, false))",
    replace: "log.records.push(records[0]!)\n        return Effect.map(Effect.yieldNow, () => {\n" +
      "log.records.push(...records.slice(1)); published(); return answer(records.map(positionOf), batch, false) })"
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
    find: "if (Query.matches(query, events.get(position)!)) return position",
    replace: "if (query !== undefined) return position"
  },
  "store-last-conflict": {
    file: driver,
    find: "for (const record of log.records) {",
    replace: "for (const record of [...log.records].reverse()) {"
  },
  "store-checks-then-acts": {
    file: driver,
    find:
      "log.records.push(...records)\n        published()\n        return Effect.succeed(answer(records.map(positionOf), batch, false))",
    replace: "return Effect.map(Effect.yieldNow, () => {\n" +
      "log.records.push(...records); published(); return answer(records.map(positionOf), batch, false) })"
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
    find: "const checked = checkCondition(condition)",
    replace: "const checked = condition"
  },

  // retries
  "store-condition-before-ids": {
    file: driver,
    find: "const known = lookUp(events)",
    replace: "const known = condition !== undefined && conflict(condition) !== undefined ? undefined : lookUp(events)"
  },
  "store-ids-not-looked-up": {
    file: store,
    find: "givenId: given !== undefined",
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
    file: json,
    find: "return Number.isFinite(value) ? undefined : `is ${value}`",
    replace: "return undefined"
  },
  "store-nesting-unbounded": {
    file: json,
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
    find: "(ambient, extra)",
    replace: "(extra, ambient)"
  },
  "store-further-metadata-lost": {
    file: store,
    find: "Object.entries(known)",
    replace: "Object.entries({ correlationId: known.correlationId, userId: known.userId, custom: known.custom })"
  },
  "store-newer-version-decoded": {
    file: event,
    find: "if (version > current) {",
    replace: "if (version > current + 100) {"
  },
  "store-upcasts-from-the-start": {
    file: event,
    find: "for (let i = version - 1; i < steps.length; i++)",
    replace: "for (let i = 0; i < steps.length; i++)"
  },
  "store-time-of-its-own": {
    file: store,
    find: "toIso(surroundings.now)",
    replace: "toIso(Date.now() + 1)"
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
  },

  // appending
  "store-empty-head-is-zero": {
    file: driver,
    find: "records.length === 0 ? undefined : positionOf(",
    replace: "records.length === 0 ? 0 as Position : positionOf("
  },
  "store-positions-reversed": {
    file: driver,
    find: "positions: positions as Appended[\"positions\"]",
    replace: "positions: [...positions].reverse() as unknown as Appended[\"positions\"]"
  },
  "store-lists-only": {
    file: store,
    find: "Array.isArray(input) ? copyOf(input) : [input]",
    replace: "copyOf(input as ReadonlyArray<Event.Input>)"
  },
  "store-position-twice": {
    file: driver,
    find: "const first = (head() ?? 0) + 1",
    replace: "const first = Math.max(1, head() ?? 0)"
  },
  "store-one-hash": { file: driver, find: "`hash-of-batch-${batch}`", replace: "`hash-${typeof batch}`" },
  "store-event-by-event": {
    file: driver,
    find: storing,
    replace: "return Effect.map(Effect.forEach(records, (record) => Effect.map(Effect.yieldNow, () => {\n" +
      "const position = (head() ?? 0) + 1 as Position\n" +
      "log.records.push({ ...record, event: { ...record.event, position } }); published(); return position\n" +
      "})), (positions) => answer(positions, batch, false))"
  },
  "store-failed-append-stays": {
    file: driver,
    find: "if (condition !== undefined && found !== undefined) {",
    replace: "if (condition !== undefined && found !== undefined) {\n" +
      "for (const { data, metadata, tags, type, version } of events) log.records.push({ kind: \"event\", batch: -1, " +
      "event: { position: (head() ?? 0) + 1 as Position, type, version, tags, metadata, data } })"
  },
  "store-stores-what-was-interrupted": {
    file: driver,
    find: storing,
    replace: "return Effect.callback<Appended>((resume) => queueMicrotask(() => {\n" +
      "log.records.push(...records); published()\n" +
      "resume(Effect.succeed(answer(records.map(positionOf), batch, false))) }))"
  },
  "store-drops-tags-of-large-batches": {
    file: driver,
    find: "version, tags, metadata, data }))",
    replace: "version, tags: i < 1000 ? tags : [], metadata, data }))"
  },
  "store-batch-too-small": {
    file: store,
    find: "if (!(inputs.length <= limits.batchEvents)) {",
    replace: "if (!(inputs.length < limits.batchEvents)) {"
  },

  // more of reading
  "store-reads-lag": {
    file: driver,
    find: "const snapshot = at ?? head()",
    replace: "const snapshot = at ?? (log.records.length > 1 ? positionOf(log.records.at(-2)!) : undefined)"
  },
  "store-after-beyond-head-is-none": {
    file: driver,
    find: "event.position > after &&",
    replace: "event.position > (after > (snapshot ?? 0) ? 0 : after) &&"
  },
  "store-always-retagged": {
    file: driver,
    find: "retagged: retagged ? retaggedAfter(query, after, snapshot ?? 0) : undefined",
    replace: "retagged: retagged ? snapshot : undefined"
  },
  "store-fractions-pass": {
    file: store,
    find: "if (value !== undefined && value !== Infinity && !(Number.isSafeInteger(value) && value >= 0)) {",
    replace: "if (value !== undefined && value < 0) {"
  },
  "store-limit-in-batches": {
    file: driver,
    find: "(backwards ? found.reverse() : found).slice(0, limit)",
    replace: "(backwards ? found.reverse() : found).slice(0, limit === 2 ? 3 : limit)"
  },
  "query-empty-item": {
    file: query,
    find: "if (tags === undefined && types === undefined) {",
    replace: "if (tags === undefined && types === undefined && items.length > 100) {"
  },
  "query-item-by-item": {
    file: driver,
    find: "const found = eventsAsOf(snapshot ?? 0).filter((event) =>\n" +
      "          event.position > after && event.position < before && Query.matches(query, event)\n        )",
    replace: "const found = eventsAsOf(snapshot ?? 0).flatMap((event) =>\n" +
      "event.position > after && event.position < before ? query.items === \"all\" ? [event] : " +
      "query.items.filter((item) => Query.matches(Query.fromItems(item), event)).map(() => event) : [])"
  },
  "store-last-forgets-before": {
    file: store,
    find: "{ before: options.before, backwards: true, limit: 1 }",
    replace: "{ backwards: true, limit: 1 }"
  },
  "store-stream-ends-at-large-events": {
    file: store,
    find: "const done = error === undefined && (left === 0 || (length < limit && !isCut))",
    replace: "const done = error === undefined && (left === 0 || length < limit)"
  },
  "store-stream-of-the-past": {
    file: driver,
    find: "const snapshot = at ?? head()",
    replace:
      "const snapshot = at ?? (limit === 512 ? (log as { seen?: Position | undefined }).seen ??= head() : head())"
  },

  // more of conditions, and of retries
  "store-condition-ignored-with-after": {
    file: driver,
    find: "condition === undefined ? undefined : conflict(condition)",
    replace: "condition === undefined || condition.after !== undefined ? undefined : conflict(condition)"
  },
  "store-ids-taken-by-failures": {
    file: driver,
    find: "const known = lookUp(events)",
    replace: "const tried: Set<string> = (log as { tried?: Set<string> }).tried ??= new Set()\n" +
      "const again = events.find((event) => event.givenId && tried.has(event.metadata.id))\n" +
      "for (const event of events) tried.add(event.metadata.id)\n" +
      "const known = lookUp(events) ?? (again && new EventIdConflict({ id: again.metadata.id, problem: \"tried\" }))"
  },
  "store-made-ids-not-looked-up": {
    file: driver,
    find: "const found = givenId ?",
    replace: "const found = givenId && !/^[0-9a-f]{8}-/.test(metadata.id) ?"
  },

  // more of what is refused
  "store-undefined-passes": { file: json, find: "return \"is undefined\"", replace: "return undefined" },
  "store-functions-pass": { file: json, find: "return `is a ${typeof value}`", replace: "return undefined" },
  "store-instances-pass": {
    file: json,
    find: "if (proto !== null && Object.getPrototypeOf(proto) !== null) {",
    replace: "if (proto === object) {"
  },
  "store-surrogates-pass": {
    file: json,
    find: "if (!isWellFormed(value)) return \"has half of a surrogate pair\"",
    replace: ""
  },
  "store-arrays-pass": {
    file: store,
    find: "if (typeof data !== \"object\" || data === null || Array.isArray(data)) {",
    replace: "if (typeof data !== \"object\" || data === null) {"
  },
  "store-throws-what-was-thrown": {
    file: store,
    find: "return refuse(invalid(`it cannot be encoded (${text.ofCause(cause)})`, { cause }).reason(index, said.type))",
    replace: "throw cause"
  },
  "store-any-object-is-an-event": {
    file: store,
    find: "const event: unknown = dressed === undefined ? input : dressed.event",
    replace: "const event: unknown = dressed !== undefined ? dressed.event : Event.isEvent(input) || " +
      "typeof input !== \"object\" || input === null ? input : " +
      "Event.rawEvent(String((input as { _tag?: string })._tag), 1, input)"
  },
  "store-type-in-characters": {
    file: store,
    find: "if (text.isLongerThan(said.type, limits.typeBytes)) {",
    replace: "if (said.type.length > limits.typeBytes) {"
  },
  "store-version-zero": {
    file: store,
    find: "if (!Number.isSafeInteger(version) || version < 1) {",
    replace: "if (!Number.isSafeInteger(version)) {"
  },
  "store-id-in-characters": {
    file: store,
    find: "if (text.isLongerThan(id, limits.idBytes)) return",
    replace: "if (id.length > limits.idBytes) return"
  },
  "store-metadata-unmeasured": {
    file: store,
    find: "if (further === 0) return",
    replace: "if (further <= 100) return"
  },
  "store-short-tags": {
    file: "src/Tag.ts",
    find: "if (text.isLongerThan(tag.slice(0, colon), limits.tagPartBytes))",
    replace: "if (text.isLongerThan(tag.slice(0, colon), limits.tagPartBytes / 2))"
  },
  "store-larger-events": { file: limits, find: "eventBytes = 16 *", replace: "eventBytes = 32 *" },
  "store-larger-batches": { file: limits, find: "batchBytes = 64 *", replace: "batchBytes = 128 *" },
  "store-other-refusal": {
    file: store,
    find: "if (inputs.length === 0) return refuse(new EmptyBatch())",
    replace:
      "if (inputs.length === 0) return refuse(new InvalidEvent({ index: 0, type: \"none\", problem: \"is missing\" }))"
  },

  // more of what is read
  "store-copies-by-assignment": {
    file: driver,
    find: "version, tags, metadata, data }))",
    replace: "version, tags, metadata, data: Object.assign({}, data) }))"
  },
  "store-sorts-tags": {
    file: driver,
    find: "version, tags, metadata, data }))",
    replace: "version, tags: [...tags].sort(), metadata, data }))"
  },
  "store-all-raw": {
    file: store,
    find: "const class_ = classes.get(type)",
    replace: "const class_ = classes.get(`${type} `)"
  },
  "store-tags-of-fields-only": {
    file: event,
    find: "if (tagsOf !== undefined) { for (const tag of tagsOf(event)) out.push(tag) }",
    replace: ""
  },
  "store-random-of-its-own": {
    file: store,
    find: "const a = random.nextDoubleUnsafe()",
    replace: "const a = Math.random()"
  },

  // more of following
  "store-subscription-ends-if-empty": {
    file: store,
    find: "return idleAt === false ? next :",
    replace: "return idleAt === undefined ? Effect.succeed([[], Option.none()]) : idleAt === false ? next :"
  },
  "store-subscription-to-everything": {
    file: store,
    find: "page(query, { after, limit: pageSize, maxBytes: pageBytes })",
    replace:
      "page(idleAt === false ? query : Query.all as Query.Query<E>, { after, limit: pageSize, maxBytes: pageBytes })"
  },
  "store-subscription-from-the-start": {
    file: store,
    find: "{ after: options.after, idleAt: false }",
    replace: "{ after: undefined, idleAt: false }"
  },

  // tags added later
  "tags-are-never-seen": {
    file: driver,
    find: "tags: [...new Set([...event.tags, ...added])]",
    replace: "tags: added.length > 1000 ? [] : event.tags"
  },
  "tags-counted-again": {
    file: driver,
    find: "filter((tag) => !had.includes(tag))",
    replace: "filter((tag) => tag !== had[0])"
  },
  "tags-of-a-thousand-events": {
    file: driver,
    find: "yield* driver.addTags(additions)",
    replace: "yield* driver.addTags(additions.slice(0, 1000))"
  },
  "tags-conflict-at-their-event": {
    file: driver,
    find: "if (found(now) && !found(before)) return position",
    replace: "if (found(now) && !found(before)) return target"
  },
  "tags-never-conflict": {
    file: driver,
    find: "if (found(now) && !found(before)) return position",
    replace: "if (found(before) && !found(now)) return position"
  },
  "tags-always-conflict": {
    file: driver,
    find: "if (found(now) && !found(before)) return position",
    replace: "if (found(now)) return position"
  },
  "tags-of-the-future": {
    file: driver,
    find: "const found = eventsAsOf(snapshot ?? 0).filter(",
    replace: "const found = eventsAsOf(Infinity).filter(({ position }) => position <= (snapshot ?? 0)).filter("
  },
  "tags-are-events": {
    file: driver,
    find: "known.flatMap((record) => record.kind === \"event\" ? [record.event] : [])",
    replace: "known.flatMap((record) => record.kind === \"event\" ? [record.event] : known.flatMap((other) =>\n" +
      "other.kind === \"event\" && other.event.position === record.additions[0]!.position\n" +
      "? [{ ...other.event, position: record.position }] : []))"
  },
  "tags-retagged-before-too": {
    file: driver,
    find: "record.position > after && record.position <= at",
    replace: "record.position >= after && record.position <= at"
  },
  "tags-change-the-first-write": {
    file: driver,
    find: "sameEvent(event, events[i]!)",
    replace: "sameEvent(eventsAsOf(Infinity).find(({ position }) => position === event.position)!, events[i]!)"
  },
  "tags-bad-left-out": {
    file: driver,
    find: "if (problem !== undefined) return new AppendRefused(",
    replace: "if (problem === \"\") return new AppendRefused("
  },
  "tags-limit-of-one-addition": {
    file: driver,
    find: "if (actual > limits.tags) {",
    replace: "if (tags.length > limits.tags) {"
  },
  "verify-stops-early": {
    file: driver,
    find: "record.batch !== log.records[i + 1]?.batch",
    replace: "record.batch === 1 && log.records[i + 1]?.batch !== 1"
  },
  "anchor-of-the-beginning": {
    file: driver,
    find: "Effect.succeed(undefined) : anchorAt(head)",
    replace: "Effect.succeed(undefined) : anchorAt(1 as Position)"
  },
  "anchor-of-no-position": {
    file: driver,
    find: "positionOf(record) === position)",
    replace: "positionOf(record) >= position)"
  },
  "anchor-of-any-store": {
    file: driver,
    find: "anchor.hash === hash && anchor.storeId === storeId",
    replace: "anchor.hash === hash"
  },
  "statistics-count-additions": {
    file: driver,
    find: "events: log.records.filter(({ kind }) => kind === \"event\").length",
    replace: "events: log.records.length"
  },

  // several clients
  "place-keeps-nothing": {
    file: driver,
    find: "Effect.sync(() =>\n  client(makeLog())\n)",
    replace: "Effect.succeed(Layer.unwrap(Effect.sync(() => client(makeLog()))))"
  },
  "place-opening-is-an-event": client(
    "log.records.push({ kind: \"event\", batch: ++log.batches, event: { position: (headOf(log) ?? 0) + 1 as Position, " +
      "type: \"Opened\", version: 1, tags: [], data: {}, " +
      "metadata: { id: `opening-${log.batches}`, timestamp: new Date(0).toISOString() } } })",
    ""
  ),
  "place-begins-again": {
    file: driver,
    find: "const head = () => headOf(log)",
    replace: "const opened = log.records.length\n" +
      "const head = () => log.records.length === opened ? undefined : headOf(log)"
  },
  "place-index-not-read": client(
    "const opened = headOf(log) ?? 0",
    "read: (query, options) => Effect.map(plain.read(query, options), (answer) => query.items === \"all\" ? answer : " +
      "{ ...answer, events: answer.events.filter(({ position }) => position > opened) })"
  ),
  "place-conditions-since-opening": client(
    "const opened = headOf(log) ?? 0",
    "append: (events, condition) => plain.append(events, condition && opened > (condition.after ?? 0) " +
      "? { ...condition, after: opened as Position } : condition)"
  ),
  "place-ids-since-opening": client(
    "const old = new Set(log.records.map((record) => record.kind === \"event\" ? record.event.metadata.id : \"\"))",
    "append: (events, condition) => plain.append(events.map((event) => ({ ...event, " +
      "givenId: event.givenId && !old.has(event.metadata.id) })) as unknown as typeof events, condition)"
  ),
  "place-subscriptions-since-opening": client(
    "const opened = headOf(log) ?? 0",
    "read: (query, options) => plain.read(query, options.limit === 512 && opened > (options.after ?? 0) " +
      "? { ...options, after: opened as Position } : options)"
  ),
  "place-closed-goes-on": {
    file: driver,
    find: "Effect.suspend(() => isClosed ?",
    replace: "Effect.suspend(() => isClosed && log.batches < 0 ?"
  },
  "place-closing-forgets-the-newest": client(
    "yield* Effect.addFinalizer(() => Effect.sync(() => {\nconst last = log.records.at(-1)?.batch\n" +
      "while (log.records.length > 0 && log.records.at(-1)!.batch === last) log.records.pop() }))",
    ""
  ),
  "place-closing-forgets-tags": client(
    "yield* Effect.addFinalizer(() => Effect.sync(() => {\n" +
      "log.records.splice(0, Infinity, ...log.records.filter(({ kind }) => kind === \"event\")) }))",
    ""
  ),
  "place-remembers-the-head": client(
    "let seen = headOf(log)",
    "head: Effect.sync(() => seen), read: (query, options) => plain.read(query, { ...options, at: options.at ?? " +
      "(seen ?? 0) as Position }), append: (events, condition) => Effect.tap(plain.append(events, condition), () => " +
      "Effect.sync(() => { seen = headOf(log) }))"
  ),
  "place-clients-count-alone": {
    file: driver,
    find: "const first = (head() ?? 0) + 1",
    replace:
      "const counters: Map<unknown, number> = (log as { counters?: Map<unknown, number> }).counters ??= new Map()\n" +
      "const first = (counters.get(published) ?? 0) + 1\ncounters.set(published, first + events.length - 1)"
  },
  "place-conditions-miss-others": client(
    "let own = 0",
    "append: (events, condition) => Effect.suspend(() => Effect.tap(plain.append(events, condition !== undefined && " +
      "(headOf(log) ?? 0) > own ? { ...condition, after: headOf(log) } : condition), () => " +
      "Effect.sync(() => { own = headOf(log) ?? 0 })))"
  ),
  "place-ids-of-others-unknown": client(
    "const own = new Set<string>()",
    "append: (events, condition) => Effect.suspend(() => {\nconst known = events.map((event) => ({ ...event, " +
      "givenId: event.givenId && own.has(event.metadata.id) }))\nfor (const { metadata } of events) own.add(metadata.id)\n" +
      "return plain.append(known as unknown as typeof events, condition) })"
  ),
  "place-others-wake-nobody": client(
    "const own: Array<() => void> = []",
    "append: (events, condition) => Effect.tap(plain.append(events, condition), () => Effect.sync(() => {\n" +
      "for (const resume of own.splice(0)) resume() })), awaitBeyond: (head) => Effect.callback<void>((resume) => {\n" +
      "if ((headOf(log) ?? 0) > (head ?? 0)) return resume(Effect.void)\nown.push(() => resume(Effect.void)) })"
  )
}
