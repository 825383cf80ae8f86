/** The event store over Ledger, Index, Lock and Storage, with what belongs to it: administration and maintenance. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Limits from "../internal/limits.ts"
import type { Position } from "../Position.ts"
import * as EventStore from "../services/EventStore.ts"
import * as Admin from "../services/EventStoreAdmin.ts"
import * as Maintenance from "../services/EventStoreMaintenance.ts"
import { Index } from "../services/Index.ts"
import { type Cursor, Ledger, type Target } from "../services/Ledger.ts"
import type { Lock } from "../services/Lock.ts"
import type { Storage } from "../services/Storage.ts"
import * as Tag from "../Tag.ts"
import * as EventFiles from "./internal/EventFiles.ts"
import * as GroupWriter from "./internal/GroupWriter.ts"
import * as History from "./internal/History.ts"

// options

export interface Options {
  /** The store's name: a folder below the storage's root. */
  readonly store: string
  /** One readable JSON file per event. Default: `true`. */
  readonly eventFiles?: boolean | undefined
  /** Makes event files read-only. Default: `false`. */
  readonly writeProtect?: boolean | undefined
  /** Changes nothing on the medium. Default: `false`. */
  readonly readOnly?: boolean | undefined
}

/** Tags for so many events are added by one record. */
const targetsPerRecord = 1000
/** About so many bytes of tags are added by one record: far below what a line may have. */
const bytesPerRecord = 512 * 1024

// constructors

const make = Effect.fnUntraced(function*(options: Options) {
  const ledger = yield* Ledger
  const index = yield* Index
  const history = yield* History.make({ store: options.store })
  let onCommit = () => {}
  const writer = yield* GroupWriter.make(history, { onCommit: () => onCommit() })
  const files = yield* EventFiles.make(history, {
    store: options.store,
    enabled: (options.eventFiles ?? true) && !(options.readOnly ?? false),
    writeProtect: options.writeProtect ?? false,
    isBusy: writer.isBusy
  })
  onCommit = files.wake
  const storeError = Effect.mapError(History.toStoreError)
  let isClosed = false
  yield* Effect.addFinalizer(() => Effect.sync(() => isClosed = true))
  const closed = Effect.suspend(() =>
    Effect.fail(new EventStore.EventStoreError({ reason: new EventStore.StoreClosed() }))
  )
  const open = Effect.suspend(() => isClosed ? closed : Effect.void)
  /** What fails because the layer closed meanwhile, in whatever way, was closed. */
  const unlessClosed = <A>(effect: Effect.Effect<A, EventStore.EventStoreError>) =>
    Effect.catchCause(effect, (cause) => isClosed ? closed : Effect.failCause(cause))
  const snapshot: Effect.Effect<Cursor, EventStore.EventStoreError> = Effect.flatMap(
    open,
    () => Effect.map(storeError(history.catchUp), () => history.known())
  )

  const store = EventStore.make({
    append: writer.append,
    read: (query, { after, at, backwards, before, limit, maxBytes, retagged }) =>
      Effect.flatMap(at === undefined ? Effect.map(snapshot, History.toHead) : Effect.as(open, at), (head) => {
        const end = (head ?? 0) + 1
        const range = {
          after: after ?? 0,
          before: before === undefined ? end : Math.min(before, end),
          backwards: backwards ?? false,
          limit: limit ?? Infinity,
          maxBytes: maxBytes ?? Infinity
        }
        const found = Effect.map(
          history.read(query, range, head ?? 0),
          ({ events, isCut }) => ({ events, head, isCut })
        )
        return unlessClosed(storeError(
          retagged !== true || after === undefined ? found : Effect.flatMap(found, (answer) =>
            Effect.map(
              history.retagged(query, after, head ?? 0),
              (position) => ({ ...answer, retagged: position as Position | undefined })
            ))
        ))
      }),
    head: Effect.map(snapshot, History.toHead),
    awaitBeyond: (head) => Effect.andThen(open, history.awaitBeyond(head ?? 0)),
    // who cannot write needs no right to do so
    reserve: Effect.catchReason(writer.reserve, "EventStoreError", "StoreReadOnly", () => Effect.void)
  })

  const admin = Admin.EventStoreAdmin.of({
    deleteStore: Effect.andThen(open, storeError(ledger.destroy)).pipe(
      operation("EventStoreAdmin.deleteStore", "deleteStore")
    )
  })

  const maintenance = Maintenance.EventStoreMaintenance.of({
    addTags: (query, tags) =>
      Effect.suspend(() => {
        let eventsProcessed = 0
        let tagsAdded = 0
        let targets: Array<Target> = []
        let bytes = 0
        const flush = Effect.suspend(() => {
          const [first, ...rest] = targets
          if (first === undefined) return Effect.void
          targets = []
          bytes = 0
          return Effect.map(writer.addTags([first, ...rest]), () => {
            tagsAdded += [first, ...rest].reduce((sum, target) => sum + target.tags.length, 0)
          }).pipe(Effect.catchTag("AppendConditionFailed", Effect.die))
        })
        return store.stream(query).pipe(
          Stream.runForEach((sequenced) => {
            const wanted = [...new Set<string>(tags(sequenced))].filter((tag) =>
              !sequenced.tags.includes(tag as Tag.Tag)
            )
            const problem = tagsProblem(eventsProcessed++, sequenced.tags.length, wanted)
            if (problem !== undefined) return Effect.fail(new EventStore.AppendRefused({ reason: problem }))
            if (wanted.length === 0) return Effect.void
            targets.push({
              position: sequenced.position,
              tags: wanted as ReadonlyArray<string> as ReadonlyArray<Tag.Tag>
            })
            for (const tag of wanted) bytes += tag.length
            return targets.length >= targetsPerRecord || bytes >= bytesPerRecord ? flush : Effect.void
          }),
          Effect.andThen(Effect.suspend(() => flush)),
          Effect.map(() => ({ eventsProcessed, tagsAdded })),
          Effect.tap(() =>
            Effect.annotateCurrentSpan({ "opossum.events": eventsProcessed, "opossum.tags": tagsAdded })
          ),
          operation("EventStoreMaintenance.addTags", "addTags")
        )
      }),
    verify: Stream.unwrap(
      Effect.gen(function*() {
        yield* snapshot
        const scan = yield* storeError(ledger.scan(undefined))
        return Stream.paginate(undefined, () =>
          Effect.gen(function*() {
            const commits = yield* storeError(scan.next)
            for (const { entries } of commits) {
              for (const entry of entries) {
                const place = yield* storeError(index.locate(entry.position))
                if (
                  place?.segment === entry.segment && place.offset === entry.offset && place.length === entry.length
                ) continue
                // covered by the index, and yet elsewhere: what the index says of this position cannot be trusted
                if (entry.position > history.known().position) continue
                return yield* new EventStore.EventStoreError({
                  reason: new EventStore.StoreDamaged({
                    place: `${options.store}/indices`,
                    position: entry.position,
                    problem: "the index does not name the event's place: delete the folder, it is made anew"
                  })
                })
              }
            }
            const last = commits.at(-1)?.last
            return [last === undefined ? [] : [last], last === undefined ? noMore : more] as const
          }))
      })
    ),
    anchor: Effect.gen(function*() {
      const position = History.toHead(yield* snapshot)
      const hash = position === undefined ? undefined : yield* unlessClosed(storeError(history.hashAt(position)))
      return position === undefined || hash === undefined ? undefined : { storeId: ledger.storeId, position, hash }
    }),
    anchorAt: Effect.fnUntraced(function*(position) {
      yield* open
      // What is known needs no look at the disk: it is final.
      const known = history.known().position
      const head = position > known ? (yield* snapshot).position : known
      const hash = Number.isSafeInteger(position) && position <= head
        ? yield* unlessClosed(storeError(history.hashAt(position)))
        : undefined
      if (hash !== undefined) return { storeId: ledger.storeId, position, hash }
      return yield* new EventStore.EventStoreError({
        reason: new EventStore.HistoryDiverged({
          problem: position > head
            ? `it ends at position ${head}, before position ${position}`
            : `there is nothing at position ${position}`
        })
      })
    }),
    checkAnchor: Effect.fnUntraced(function*(anchor) {
      const head = (yield* snapshot).position
      const diverged = (problem: string) =>
        new EventStore.EventStoreError({ reason: new EventStore.HistoryDiverged({ problem }) })
      if (anchor.storeId !== ledger.storeId) {
        return yield* diverged(`the anchor is of the store ${anchor.storeId}, and this is the store ${ledger.storeId}`)
      }
      if (anchor.position > head) {
        return yield* diverged(`it ends at position ${head}, before the anchor's ${anchor.position}`)
      }
      const place = yield* storeError(index.locate(anchor.position))
      const commit = place === undefined ? undefined : yield* storeError(ledger.commitOf(place))
      if (commit?.hash !== anchor.hash) {
        return yield* diverged(`the commit at position ${anchor.position} is another one than the anchor's`)
      }
    }),
    statistics: Effect.gen(function*() {
      const head = History.toHead(yield* snapshot)
      const segments = yield* ledger.segments
      return {
        events: (yield* index.counts).events,
        head,
        segments: segments.length,
        bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0)
      }
    }),
    eventFiles: { position: files.position, waitFor: files.waitFor }
  })

  return Context.make(EventStore.EventStore, store).pipe(
    Context.add(Admin.EventStoreAdmin, admin),
    Context.add(Maintenance.EventStoreMaintenance, maintenance)
  )
})

/** A span like those of the event store's own operations. */
const operation = (name: string, operationName: string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.withSpan(self, name, {
    kind: "client",
    attributes: { "db.system.name": "effect-opossum", "db.operation.name": operationName },
    captureStackTrace: false
  })

const more = Option.some(undefined)
const noMore = Option.none<undefined>()

const tagsProblem = (
  at: number,
  present: number,
  wanted: ReadonlyArray<string>
): EventStore.InvalidTag | EventStore.LimitExceeded | undefined => {
  for (const tag of wanted) {
    const problem = Tag.problem(tag)
    if (problem !== undefined) return new EventStore.InvalidTag({ index: at, tag, problem })
  }
  const actual = present + wanted.length
  return actual > Limits.tags
    ? new EventStore.LimitExceeded({ what: "tags", limit: Limits.tags, actual, index: at })
    : undefined
}

// layers

export const layer = (
  options: Options
): Layer.Layer<
  EventStore.EventStore | Admin.EventStoreAdmin | Maintenance.EventStoreMaintenance,
  EventStore.EventStoreError,
  Ledger | Index | Lock | Storage
> => Layer.effectContext(make(options))
