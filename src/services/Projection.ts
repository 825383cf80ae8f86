/**
 * Projections: read models that are kept up to date from events.
 *
 * A projection folds events into states, one for each key, and stores them with the position reached, so that each event counts
 * exactly once, whatever crashes. Its class is the key to its read model:
 *
 * ```ts
 * import { Effect, Layer, Schema } from "effect"
 * import { Event, EventStore, Opossum, Projection, Tag } from "effect-opossum"
 *
 * const CourseId = Schema.NonEmptyString.pipe(Tag.as("course"))
 * class CourseDefined extends Event.Class<CourseDefined>()("CourseDefined", { courseId: CourseId, capacity: Schema.Int }) {}
 * class StudentSubscribed extends Event.Class<StudentSubscribed>()("StudentSubscribed", { courseId: CourseId }) {}
 *
 * class CourseList extends Projection.Service<CourseList>()("course-list", {
 *   events: [CourseDefined, StudentSubscribed],
 *   key: ({ courseId }) => courseId,
 *   state: Schema.Struct({ capacity: Schema.Int, students: Schema.Int }),
 *   tags: ({ capacity, students }) => [`full:${students >= capacity}`],
 *   apply: {
 *     CourseDefined: (_, { capacity }) => ({ capacity, students: 0 }),
 *     StudentSubscribed: (course) => course && { ...course, students: course.students + 1 }
 *   }
 * }) {}
 *
 * export const program = Effect.gen(function*() {
 *   const { head } = yield* EventStore.append(new CourseDefined({ courseId: "maths", capacity: 0 }))
 *   yield* CourseList.waitFor(head)
 *   return [yield* CourseList.get("maths"), yield* CourseList.byTag("full:true")]
 * }).pipe(
 *   Effect.provide(CourseList.layer.pipe(Layer.provideMerge(Opossum.layerMemory)))
 * )
 * ```
 */
import type * as Brand from "effect/Brand"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Event from "../Event.ts"
import * as limits from "../internal/limits.ts"
import * as text from "../internal/text.ts"
import * as Position from "../Position.ts"
import * as Query from "../Query.ts"
import type * as Tag from "../Tag.ts"
import * as EventStore from "./EventStore.ts"
import { ProjectionStoreError } from "./ProjectionStore.ts"

// models

/** A state with what is known about it. */
export interface Entry<out S, out K extends string = string> {
  readonly key: K
  readonly state: S
  /** The last event that changed the state. */
  readonly position: Position.Position
  /** How many events have changed it: 1 when it is made. */
  readonly version: number
  /** The timestamp of the event that made it. */
  readonly created: DateTime.Utc
  /** The timestamp of the event that changed it last. */
  readonly updated: DateTime.Utc
}

export interface ListOptions {
  /** Where the page before ended. A cursor of another order, or one that was made up, is a mistake of the program: a defect. */
  readonly after?: Cursor | undefined
  /** At least 1. Default: 100. */
  readonly limit?: number | undefined
  /** Equal times go by key; keys are compared by code points. Default: `"key"`. */
  readonly sort?: "key" | "created" | "updated" | undefined
  /** Default: `false`. */
  readonly backwards?: boolean | undefined
}

/** Opaque: where a page ended. It stays good when entries come and go. */
export type Cursor = string & Brand.Brand<"effect-opossum/Projection/Cursor">

export interface Page<out S, out K extends string> {
  readonly entries: ReadonlyArray<Entry<S, K>>
  /** `after` of the next page; `undefined` on the last. */
  readonly next: Cursor | undefined
}

/** How a projection is doing. */
export interface Status {
  readonly name: string
  readonly version: number
  /**
   * - `catching up`: counts events of the past that came while nobody ran it
   * - `live`: counts events as they come
   * - `building`: is being built for the first time, or again; if there is an older build, that is what readers see
   * - `stopped`: an event makes it throw, or nothing may be built (`rebuild: "never"`); `error` says which
   * - `elsewhere`: another process runs it
   */
  readonly state: "catching up" | "live" | "building" | "stopped" | "elsewhere"
  /** The last position that is counted in what readers see. */
  readonly position: Position.Position | undefined
  /** How many positions the head is ahead of that. */
  readonly lag: number
  /** Why it stands still, or what the last attempt to go on failed with. */
  readonly error: ProjectionError | undefined
  /** Events that are counted already gained tags, at this position: a rebuild may give another result. */
  readonly retagged: Position.Position | undefined
  /** How far a rebuild is, if there is one. */
  readonly rebuild: Progress | undefined
}

/** How far a rebuild is. */
export interface Progress {
  readonly name: string
  /** Positions that were looked at. */
  readonly processed: number
  /** Positions that there are. It grows with the store. */
  readonly total: number
  /** Events that were counted. */
  readonly events: number
  /** Positions a second, on average. */
  readonly perSecond: number
  /** How long the rest takes at this rate. */
  readonly remaining: Duration.Duration
}

/** All that reading a read model can fail with. */
export type ReadModelError = ProjectionStoreError | ProjectionStopped

/** All that running or rebuilding a projection can fail with. */
export type ProjectionError = ProjectionStopped | ProjectionStoreError | EventStore.ReadError

/** What a program may ask of a projection. Before it was built for the first time, reads wait for that. */
export interface ReadModel<out S, in out K extends string, in out T extends Tag.Input = Tag.Input, out R = never> {
  readonly get: (key: K) => Effect.Effect<S | undefined, ReadModelError, R>
  /** The state with its key, position, version and times. */
  readonly entry: (key: K) => Effect.Effect<Entry<S, K> | undefined, ReadModelError, R>
  readonly list: (options?: ListOptions) => Effect.Effect<Page<S, K>, ReadModelError, R>
  /** All entries, page by page. */
  readonly stream: (options?: Omit<ListOptions, "after" | "limit">) => Stream.Stream<Entry<S, K>, ReadModelError, R>
  /** Entries that have all of the tags, in the order of their keys. */
  readonly byTag: (
    ...tags: readonly [T, ...Array<T>]
  ) => Effect.Effect<ReadonlyArray<Entry<S, K>>, ReadModelError, R>
  /** How many entries there are. */
  readonly size: Effect.Effect<number, ReadModelError, R>
  /**
   * Returns when everything up to this position is counted, in whatever process; fails if the projection stopped before it, or
   * nobody runs it. With an append's `head`, what was appended is read for sure.
   */
  readonly waitFor: (position: Position.Position | undefined) => Effect.Effect<void, ReadModelError, R>
  readonly status: Effect.Effect<Status, never, R>
  /**
   * Builds anew beside what readers see, and takes its place in one step. Emits its progress, the last time when it is done; an
   * interruption ends the rebuild.
   */
  readonly rebuild: Stream.Stream<Progress, ProjectionError, R>
}

/** What `apply` gets beside state and event. */
export interface Applied<out E, out K, out Related> extends Event.SequencedEvent<E> {
  readonly key: K
  /** What `related` asked for, from before this event. */
  readonly related: ReadonlyArray<Event.SequencedEvent<Related>>
}

/** For each event: the state before (`undefined` if there is none), the event, and the state after (`undefined` removes it). */
export type Apply<E extends Event.Event, S, K, Related> = {
  readonly [T in E["_tag"]]: (
    state: S | undefined,
    event: Extract<E, { readonly _tag: T }>,
    applied: Applied<Extract<E, { readonly _tag: T }>, K, Related>
  ) => S | undefined
}

/** What a projection is, without its types: what runs it works with this. All functions may throw what the user's own throw. */
export interface Definition {
  readonly name: string
  readonly version: number
  readonly query: Query.Query<Event.Event>
  readonly encode: (state: unknown) => Schema.Json
  readonly decode: (json: Schema.Json) => unknown
  readonly keysOf: (sequenced: Event.SequencedEvent<Event.Event>) => ReadonlyArray<string>
  readonly tagsOf: (state: unknown, key: string) => ReadonlyArray<string>
  /** `undefined` if no event has related ones. */
  readonly relatedTo: ((sequenced: Event.SequencedEvent<Event.Event>) => Query.Any | undefined) | undefined
  readonly apply: Readonly<
    Record<string, (state: unknown, event: unknown, applied: Applied<unknown, string, unknown>) => unknown>
  >
}

// service

/** A projection's class: the key to its read model, which its statics read. */
export interface ServiceClass<Self, Name extends string, S, K extends string, T extends Tag.Input>
  extends Context.ServiceClass<Self, `effect-opossum/Projection/${Name}`, ReadModel<S, K, T>>, ReadModel<S, K, T, Self>
{
  readonly definition: Definition
  /** Keeps the read model up to date for as long as the layer lives. Does not wait until it is. */
  readonly layer: Layer.Layer<Self, ProjectionStoreError, Projections>
}

type Classes = readonly [Event.AnyClass, ...Array<Event.AnyClass>]
type Instances<C extends Classes> = C[number]["Type"]

type MissingSelf = "Missing `Self` generic - use `class Self extends Projection.Service<Self>()(...)`"

/**
 * Defines a projection: its class is the key to its read model.
 *
 * The name is where it is stored: at most 100 bytes. A bad name or version, and two event classes of one type, throw here.
 */
export const Service = <Self = never>() =>
<
  const Name extends string,
  const C extends Classes,
  S,
  K extends string,
  Related,
  const T extends Tag.Input = never
>(name: Name, options: {
  /** Count it up when anything below changes: states are kept by version, and a new one is built beside the old. Default: 1. */
  readonly version?: number
  readonly events: C
  /** A schema that needs no services. A state is stored as its JSON; `undefined` is no state. */
  readonly state: Schema.ConstraintCodec<S, unknown>
  /** The keys whose states an event changes: one, several or none. For a single state: `() => "all"`. */
  readonly key: (
    event: Instances<C>,
    sequenced: Event.SequencedEvent<Instances<C>>
  ) => K | ReadonlyArray<K> | undefined
  /** Tags to look states up by. */
  readonly tags?: (state: NoInfer<S>, key: NoInfer<K>) => ReadonlyArray<T>
  /** Earlier events that `apply` wants to see as well. Costs a read for each event. */
  readonly related?: (
    event: Instances<C>,
    sequenced: Event.SequencedEvent<Instances<C>>
  ) => Query.Query<Related> | undefined
  /** Must depend on nothing but what it is given: it is run again in a rebuild. */
  readonly apply: Apply<Instances<C>, NoInfer<S>, NoInfer<K>, NoInfer<Related>>
}): [Self] extends [never] ? MissingSelf : ServiceClass<Self, Name, S, K, T> => {
  const problem = text.nameProblem(name) ??
    (text.isLongerThan(name, limits.projectionNameBytes)
      ? `is longer than ${limits.projectionNameBytes} bytes`
      : undefined)
  if (problem !== undefined) throw new Error(`Projection.Service: the name ${JSON.stringify(name)} ${problem}`)
  const version = options.version ?? 1
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new Error(`Projection.Service: the version of ${name} must be a whole number of at least 1, not ${version}`)
  }
  const json = Schema.toCodecJson(options.state)
  const { related, tags } = options
  // Inside, states and events go without their types; the signature above and the interface below keep them.
  const definition: Definition = {
    name,
    version,
    query: Query.of(options.events as never) as Query.Query<Event.Event>,
    encode: Schema.encodeUnknownSync(json) as (state: unknown) => Schema.Json,
    decode: Schema.decodeUnknownSync(json),
    keysOf: (sequenced) => {
      const keys = options.key(sequenced.event as Instances<C>, sequenced as Event.SequencedEvent<Instances<C>>)
      return keys === undefined ? [] : typeof keys === "string" ? [keys] : [...new Set(keys)]
    },
    tagsOf: tags === undefined ? () => [] : (state, key) => [...new Set(tags(state as S, key as K))],
    relatedTo: related &&
      ((sequenced) => related(sequenced.event as Instances<C>, sequenced as Event.SequencedEvent<Instances<C>>)),
    apply: options.apply as unknown as Definition["apply"]
  }
  type Model = ReadModel<S, K, T>
  const Base = Context.Service<Self, Model>()(`effect-opossum/Projection/${name}`)
  const statics: ReadModel<S, K, T, Self> & Pick<ServiceClass<Self, Name, S, K, T>, "definition" | "layer"> = {
    definition,
    layer: Layer.effect(
      Base,
      // the read model of this definition has these types
      Projections.use((projections) => projections.run(definition)) as unknown as Effect.Effect<
        Model,
        ProjectionStoreError,
        Projections | Scope.Scope
      >
    ),
    get: (key) => Base.use((model) => model.get(key)),
    entry: (key) => Base.use((model) => model.entry(key)),
    list: (options) => Base.use((model) => model.list(options)),
    stream: (options) => Stream.unwrap(Base.useSync((model) => model.stream(options))),
    byTag: (...tags) => Base.use((model) => model.byTag(...tags)),
    size: Base.use((model) => model.size),
    waitFor: (position) => Base.use((model) => model.waitFor(position)),
    status: Base.use((model) => model.status),
    rebuild: Stream.unwrap(Base.useSync((model) => model.rebuild))
  }
  return Object.assign(Base, statics) as never
}

/** Runs projections: each in one process at a time, live, from where it was. Each member is also a function of this module. */
export class Projections extends Context.Service<Projections, {
  /**
   * Keeps a projection up to date until the scope closes, and gives its read model. Two different definitions of one name and version
   * are a mistake of the program: a defect.
   */
  readonly run: (
    definition: Definition
  ) => Effect.Effect<ReadModel<unknown, string>, ProjectionStoreError, Scope.Scope>
  /** Of all that run in this layer, by name. */
  readonly status: Effect.Effect<ReadonlyArray<Status>>
  readonly rebuild: (options?: RebuildOptions) => Stream.Stream<Progress, ProjectionError>
}>()("effect-opossum/services/Projections") {}

export interface RebuildOptions {
  /** Which of those that run in this layer. Unknown names are a mistake of the program: a defect. Default: all. */
  readonly names?: ReadonlyArray<string> | undefined
  /** How many are rebuilt at a time. Default: 2. */
  readonly concurrency?: number | undefined
}

// errors

/** An event made it throw, or its state could not be stored. It is tried again from time to time, and when the program starts anew. */
export class EventFailed extends Schema.TaggedError<EventFailed>()("EventFailed", {
  /** Everything before this event is counted. */
  position: Position.Position,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the event at position ${this.position} cannot be counted: ${text.ofCause(this.cause)}; ` +
      `mend the projection (and count up its version, if what was counted before changes)`
  }
}

/** Nobody runs it: this layer is read-only, and no other process has it. */
export class NotRunning extends Schema.TaggedError<NotRunning>()("NotRunning", {}) {
  override readonly message = "nobody runs it: start a process that may write the store"
}

/** It was never built, and with `rebuild: "never"` it is built when it is asked for. */
export class NotBuilt extends Schema.TaggedError<NotBuilt>()("NotBuilt", {}) {
  override readonly message = "it is not built: run its `rebuild`"
}

/** Its layer is closed. */
export class Closed extends Schema.TaggedError<Closed>()("Closed", {}) {
  override readonly message = "its layer's scope has ended"
}

/** The event store is in trouble. */
export class SourceFailed
  extends Schema.TaggedError<SourceFailed>()("SourceFailed", { cause: EventStore.EventStoreError })
{
  override get message(): string {
    return this.cause.message
  }
}

/** The projection stands still; other projections do not. What it counted before can be read. */
export class ProjectionStopped extends Schema.TaggedError<ProjectionStopped>()("ProjectionStopped", {
  name: Schema.String,
  reason: Schema.Union([EventFailed, NotRunning, NotBuilt, Closed, SourceFailed])
}) {
  override get message(): string {
    return `the projection ${this.name} stands still: ${this.reason.message}`
  }
}

/** For a command's `error`. */
export const ReadModelError = Schema.Union([ProjectionStoreError, ProjectionStopped])

// functions

/** How all projections of the layer are doing. */
export const status: Effect.Effect<ReadonlyArray<Status>, never, Projections> = Projections.use(({ status }) => status)

/**
 * Rebuilds projections of the layer, all or those that are named, some at a time; emits the progress of each. It ends when all are
 * done; if one fails, the others are done first, and then it fails.
 */
export const rebuild = (options?: RebuildOptions): Stream.Stream<Progress, ProjectionError, Projections> =>
  Stream.unwrap(Projections.useSync((projections) => projections.rebuild(options)))

/**
 * All states, folded afresh from the store, of one snapshot: nothing is kept, and nothing needs to run. For small read models, and for a
 * look at how things stood `before` a position.
 *
 * What the projection throws is a defect.
 */
export const fold = <Self, Name extends string, S, K extends string, T extends Tag.Input>(
  projection: ServiceClass<Self, Name, S, K, T>,
  options?: { readonly before?: Position.Position | undefined }
): Effect.Effect<ReadonlyMap<K, S>, EventStore.ReadError, EventStore.EventStore> =>
  Effect.suspend(() => {
    const { apply, keysOf, query, relatedTo } = projection.definition
    const states = new Map<string, unknown>()
    const count = (
      sequenced: Event.SequencedEvent<Event.Event>,
      related: ReadonlyArray<Event.SequencedEvent<unknown>>
    ) => {
      for (const key of keysOf(sequenced)) {
        const state = apply[sequenced.event._tag]!(states.get(key), sequenced.event, { ...sequenced, key, related })
        if (state === undefined) states.delete(key)
        else states.set(key, state)
      }
    }
    return EventStore.stream(query, { before: options?.before }).pipe(
      Stream.runForEachArray((events) =>
        relatedTo === undefined
          ? Effect.sync(() => {
            for (const sequenced of events) count(sequenced, [])
          })
          : Effect.forEach(events, (sequenced) => {
            const query = relatedTo(sequenced)
            return query === undefined
              ? Effect.sync(() => count(sequenced, []))
              : Effect.map(
                EventStore.read(query, { before: sequenced.position }),
                ({ events }) => count(sequenced, events)
              )
          }, { discard: true })
      ),
      Effect.as(states as ReadonlyMap<string, unknown> as ReadonlyMap<K, S>),
      Effect.withSpan("Projection.fold", { attributes: { "opossum.projection": projection.definition.name } })
    )
  })
