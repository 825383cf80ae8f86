/**
 * Commands and queries, and who handles them.
 *
 * A message is a Schema class that says what is sent and what comes back. Its handler is a layer; `send` requires it by the
 * message's name, so that a handler nobody provides is a type error.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Mediator } from "effect-opossum"
 *
 * class Unknown extends Schema.TaggedError<Unknown>()("Unknown", { id: Schema.String }) {}
 *
 * class Rename extends Mediator.Command<Rename>()("Rename", {
 *   payload: { id: Schema.String, to: Schema.NonEmptyString },
 *   success: Schema.Int,
 *   error: Unknown
 * }) {}
 *
 * const RenameHandler = Mediator.handle(Rename, function*({ id, to }) {
 *   if (id !== "a") return yield* new Unknown({ id })
 *   return to.length
 * })
 *
 * Mediator.send(new Rename({ id: "a", to: "maths" })) // Effect<number, Unknown, Handler<"Rename">>
 * ```
 *
 * Each handled message has a span `Mediator.<its name>` and is counted and timed; whatever else there is to do for every
 * message is a `Middleware`.
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import * as References from "effect/References"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as metrics from "../internal/metrics.ts"
import * as text from "../internal/text.ts"
import * as Metadata from "../Metadata.ts"

// models

export const TypeId = "~effect-opossum/Mediator"
export type TypeId = typeof TypeId

/** A command does something, a query tells something. Handling is the same; middleware may tell them apart. */
export type Kind = "command" | "query"

/** The schemas of a message: they need no services, so that anybody can decode any message at any time. */
export type AnySchema = Schema.ConstraintCodec<unknown, unknown>

export type Fields = { readonly [x: string]: AnySchema }

/** What a message's class says about it. */
export interface Definition<out Name extends string, out A, out E> {
  readonly name: Name
  readonly kind: Kind
  readonly success: Schema.ConstraintCodec<A, unknown>
  /** Of several schemas, their union. */
  readonly error: Schema.ConstraintCodec<E, unknown>
}

/** What every command and query is. `_tag` is its name. */
export interface Message<out Name extends string, out A, out E> {
  readonly [TypeId]: Definition<Name, A, E>
  readonly _tag: Name
}

export type AnyMessage = Message<string, unknown, unknown>

/** What may stand as a message's `error`: one schema, or several. */
export type Errors = AnySchema | ReadonlyArray<AnySchema>

type ErrorOf<E extends Errors> = E extends ReadonlyArray<AnySchema> ? E[number]["Type"]
  : E extends AnySchema ? E["Type"]
  : never

/** A command or query class: schema and constructor of its payload, with the schemas of what comes back. */
export interface MessageClass<Self, Name extends string, F extends Fields, A extends AnySchema, E extends Errors>
  extends Schema.Class<Self, Schema.TaggedStruct<Name, F>, Message<Name, A["Type"], ErrorOf<E>>>
{
  readonly [TypeId]: Definition<Name, A["Type"], ErrorOf<E>>
  readonly kind: Kind
  readonly success: A
  readonly error: E
}

/** Any command or query class. */
export interface AnyClass extends Schema.ConstraintCodec<AnyMessage, unknown> {
  readonly [TypeId]: Definition<string, unknown, unknown>
}

/** What a message answers. */
export type Success<M> = M extends Message<string, infer A, unknown> ? A : never

/** What a message can fail with. */
export type Error<M> = M extends Message<string, unknown, infer E> ? E : never

/** The requirement that somebody handles the message of this name. */
export interface Handler<in out Name extends string> {
  readonly _: unique symbol
  readonly name: Name
}

/** The requirement that somebody handles the message; of a union, each of them. */
export type HandlerOf<M> = M extends Message<infer Name, unknown, unknown> ? Handler<Name> : never

/** What a handler returns: an effect, or a generator as in `Effect.gen`. */
export type Handled<M> =
  | Effect.Effect<Success<M>, Error<M>, unknown>
  | Generator<Effect.Effect<unknown, Error<M>, unknown>, Success<M>, never>

type ServicesOf<H> = H extends Effect.Effect<infer _A, infer _E, infer R> ? R
  : H extends Generator<infer Y, infer _A, infer _N> ?
    Y extends Effect.Effect<infer _YA, infer _YE, infer R> ? R : never
  : never

/**
 * Wraps the handling of every message, whatever it is: so it keeps all types. It runs in the sender's fiber and context.
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Mediator } from "effect-opossum"
 *
 * const log: Mediator.Middleware = (effect, message) =>
 *   Effect.tapCause(effect, (cause) => Effect.logWarning(`${message._tag} failed`, cause))
 *
 * Mediator.layer({ middleware: [log] })
 * ```
 */
export type Middleware = <A, E, R>(effect: Effect.Effect<A, E, R>, message: AnyMessage) => Effect.Effect<A, E, R>

/**
 * What `dispatch` answers, in JSON. A declared error is an answer of the application and goes to the other side as a success
 * does; so both are in the success channel, apart from a message that is none (`InvalidMessage`), which is the sender's fault.
 */
export type Reply =
  | { readonly _tag: "Success"; readonly value: Schema.Json }
  | { readonly _tag: "Failure"; readonly error: Schema.Json }

// service

/** Knows who handles what, and what wraps it. */
export class Mediator extends Context.Service<Mediator, {
  /** Takes a name until the scope ends. */
  readonly register: (name: string) => Effect.Effect<void, DuplicateHandler, Scope.Scope>
  /** Outermost first. */
  readonly middleware: ReadonlyArray<Middleware>
}>()("effect-opossum/services/Mediator") {}

// errors

/** Two handlers for one message: the application does not start. */
export class DuplicateHandler extends Schema.TaggedError<DuplicateHandler>()("DuplicateHandler", {
  messageName: Schema.String
}) {
  override get message(): string {
    return `${this.messageName} has two handlers: one must go`
  }
}

/**
 * What should be a message is none. `dispatch` fails with it; from `validate` it is a defect, as there the sender is a part of
 * the program, whose types were got round.
 */
export class InvalidMessage extends Schema.TaggedError<InvalidMessage>()("InvalidMessage", {
  /** The name that was asked for, as far as there was one. */
  messageName: Schema.optional(Schema.String),
  /** Where, e.g. `$.lines[3].price`. */
  path: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.messageName ?? "the input"} is no valid message: ${this.problem} at ${this.path}`
  }
}

/** A handler gave what its message's class does not declare. Always a defect: the handler is to be mended, or the class. */
export class InvalidReply extends Schema.TaggedError<InvalidReply>()("InvalidReply", {
  messageName: Schema.String,
  part: Schema.Literals(["success", "error"]),
  path: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `what ${this.messageName} gave does not fit its ${this.part} schema: ${this.problem} at ${this.path}; ` +
      "mend the handler or the schema"
  }
}

/**
 * The handler took too long and was interrupted. A command may have done its work all the same: what was stored stays stored.
 *
 * A message that has this class among its `error` schemas fails with it; any other one dies with it.
 */
export class TimedOut extends Schema.TaggedError<TimedOut>()("TimedOut", {
  messageName: Schema.String,
  millis: Schema.Number
}) {
  override get message(): string {
    return `${this.messageName} was not handled within ${this.millis} ms and was interrupted; ` +
      "allow more time, or add Mediator.TimedOut to its errors to handle this"
  }
}

// classes

type MissingSelf = "Missing `Self` generic - use `class Self extends Mediator.Command<Self>()(...)`"

/** Everything that is the same for each message of a class, made once. */
interface Internals extends Definition<string, unknown, unknown> {
  readonly key: Context.Key<Handler<string>, Handle>
}

type Handle = (message: AnyMessage) => Effect.Effect<unknown, unknown>

const define = (kind: Kind, constructor: string) =>
<Self = never>() =>
<
  const Name extends string,
  const F extends Fields = {},
  A extends AnySchema = Schema.Void,
  const E extends Errors = Schema.Never
>(name: Name, options?: {
  /** The fields. Without it, the message has none. */
  readonly payload?: F
  /** What comes back. Default: nothing. */
  readonly success?: A
  /** One schema, or several. Default: the message cannot fail. */
  readonly error?: E
}): [Self] extends [never] ? MissingSelf : MessageClass<Self, Name, F, A, E> => {
  const fail = (problem: string) => {
    throw new globalThis.Error(`Mediator.${constructor}: ${problem}`)
  }
  const problem = text.nameProblem(name)
  if (problem !== undefined) fail(`the name ${JSON.stringify(name)} ${problem}`)
  const fields: Fields = options?.payload ?? {}
  if ("_tag" in fields) fail(`${name} has a field _tag, which is where its name stands`)
  const success = options?.success ?? Schema.Void
  const error: Errors = options?.error ?? Schema.Never
  const internals: Internals = {
    name,
    kind,
    success,
    error: isSchema(error) ? error : Schema.Union(error),
    key: Context.Service<Handler<string>, Handle>(`effect-opossum/Mediator/Handler/${name}`)
  }
  // The precise type is the one that this function declares; what `Schema.TaggedClass` makes of generic fields is the same, unsaid.
  const Base = Schema.TaggedClass<AnyMessage>()(name, fields as never) as unknown as { readonly prototype: object }
  Object.defineProperty(Base.prototype, TypeId, { value: internals })
  Object.defineProperties(Base, {
    [TypeId]: { value: internals },
    kind: { value: kind },
    success: { value: success },
    error: { value: error }
  })
  return Base as never
}

const isSchema = (errors: Errors): errors is AnySchema => !Array.isArray(errors)

const internalsOf = (message: { readonly [TypeId]: Definition<string, unknown, unknown> }): Internals =>
  message[TypeId] as Internals

/**
 * Defines a command, something to be done: `class Pay extends Mediator.Command<Pay>()("Pay", { payload: { cents: Schema.Int } }) {}`.
 *
 * The name is what `Handler`, spans and `dispatch` know it by; a bad one throws here.
 */
export const Command = define("command", "Command")

/** Defines a query, something to be known. It must change nothing: `retry` repeats queries. */
export const Query = define("query", "Query")

// functions

/**
 * The layer that handles a message. The handler gives an effect, or is a generator function; what it needs, the layer needs,
 * but for a `Scope`: each message has its own.
 *
 * The services are those that the layer was given. What the sender has set for its fiber reaches the handler as well: the span, the
 * event metadata (`Metadata.annotate`), log annotations and levels, clock, and references of one's own that were not set when
 * the layer was built.
 *
 * `DuplicateHandler`: another layer handles this message with the same `Mediator`.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { EventStore, Mediator, Position } from "effect-opossum"
 *
 * class Head extends Mediator.Query<Head>()("Head", {
 *   success: Schema.UndefinedOr(Position.Position),
 *   error: EventStore.EventStoreError
 * }) {}
 *
 * const HeadHandler = Mediator.handle(Head, () => EventStore.head)
 * ```
 */
export const handle = <C extends AnyClass, H extends Handled<C["Type"]>>(
  message: C,
  handler: (message: C["Type"]) => H
): Layer.Layer<HandlerOf<C["Type"]>, DuplicateHandler, Exclude<ServicesOf<H>, Scope.Scope> | Mediator> => {
  const internals = internalsOf(message)
  const layer = Layer.effect(
    internals.key,
    Effect.gen(function*() {
      const { middleware, register } = yield* Mediator
      yield* register(internals.name)
      const services = yield* Effect.context<unknown>()
      const observe = observer(internals)
      const isOwn = instanceOf(message)
      return (instance: AnyMessage) => {
        if (!isOwn(instance)) {
          return Effect.die(
            new globalThis.Error(
              `Mediator.send: the handler of ${internals.name} is for another class of that name: give one of them another name`
            )
          )
        }
        const handled: Effect.Effect<unknown, unknown> = Effect.suspend(() => {
          const result: Handled<AnyMessage> = handler(instance)
          return Effect.isEffect(result) ? result : Effect.gen(() => result)
        }).pipe(
          Effect.scoped,
          Effect.updateContext((sender: Context.Context<never>) => handlerContext(services, sender))
        )
        return observe(Effect.suspend(() => middleware.reduceRight((effect, wrap) => wrap(effect, instance), handled)))
      }
    })
  )
  // What the handler needs cannot be said of `Effect.context` before it is known what it is.
  return layer as never
}

/** Sends a command or query to its handler. */
export const send = <M extends AnyMessage>(message: M): Effect.Effect<Success<M>, Error<M>, HandlerOf<M>> =>
  // The handler's own types were checked where it was made into a layer.
  Effect.flatMap(internalsOf(message).key, (handle) => handle(message)) as never

/** Whether a message is a command or a query: for middleware that tells them apart. */
export const kindOf = (message: AnyMessage): Kind => message[TypeId].kind

const instanceOf = (class_: AnyClass) => (u: unknown): boolean => u instanceof (class_ as unknown as { new(): unknown })

/** That module exports references, and aliases of them. */
const isReference = (u: unknown): u is Context.Reference<unknown> =>
  typeof u === "function" || typeof u === "object" && u !== null ? Context.isReference(u as never) : false

/** What belongs to the sender's fiber rather than to the services of whoever handles its message. */
const fiberKeys: ReadonlyArray<string> = [
  Tracer.ParentSpan,
  Tracer.Tracer,
  Metadata.Current,
  Metric.CurrentMetricAttributes,
  Metric.MetricRegistry,
  Clock.Clock,
  Random.Random,
  ...Object.values<unknown>(References).filter(isReference)
].map(({ key }) => key)

/** A layer is built with all that its builder's fiber has; of that, only the services are meant. */
const handlerContext = (
  services: Context.Context<unknown>,
  sender: Context.Context<never>
): Context.Context<unknown> => {
  const merged = new Map([...sender.mapUnsafe, ...services.mapUnsafe])
  for (const key of fiberKeys) {
    if (sender.mapUnsafe.has(key)) merged.set(key, sender.mapUnsafe.get(key))
  }
  return Context.makeUnsafe(merged)
}

/** The span and the metrics of a message. */
const observer = ({ kind, name }: Internals) => {
  const attributes = { message: name, kind }
  const byOutcome = new Map<string, ReadonlyArray<Metric.Metric<number, unknown>>>()
  const count = (outcome: string, millis: number) => {
    let both = byOutcome.get(outcome)
    if (both === undefined) {
      both = [metrics.messages, metrics.messageDuration].map((metric: Metric.Metric<number, unknown>) =>
        Metric.withAttributes(metric, { ...attributes, outcome })
      )
      byOutcome.set(outcome, both)
    }
    return Effect.andThen(Metric.update(both[0]!, 1), Metric.update(both[1]!, millis))
  }
  const options = {
    kind: "internal",
    attributes: { "opossum.message.name": name, "opossum.message.kind": kind }
  } as const
  return (effect: Effect.Effect<unknown, unknown>) =>
    Effect.useSpan(`Mediator.${name}`, options, (span) =>
      Clock.clockWith((clock) => {
        const start = clock.currentTimeNanosUnsafe()
        return Effect.onExit(effect, (exit) => {
          const type = errorType(exit)
          if (type !== undefined) span.attribute("error.type", type)
          return count(outcomeOf(exit), Number(clock.currentTimeNanosUnsafe() - start) / 1e6)
        })
      }).pipe(Effect.withParentSpan(span, { captureStackTrace: false })))
}

const first = (exit: Exit.Exit<unknown, unknown>): Cause.Reason<unknown> | undefined => {
  if (exit._tag === "Success") return undefined
  const { reasons } = exit.cause
  // What somebody must mend comes before what is a part of the game.
  return reasons.find(({ _tag }) => _tag === "Die") ?? reasons.find(({ _tag }) => _tag === "Fail") ?? reasons[0]
}

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (exit._tag === "Success") return "success"
  const reason = first(exit)
  return reason?._tag === "Die" ? "defect" : reason?._tag === "Fail" ? "failure" : "interrupted"
}

const errorType = (exit: Exit.Exit<unknown, unknown>): string | undefined => {
  const reason = first(exit)
  const error = reason?._tag === "Die" ? reason.defect : reason?._tag === "Fail" ? reason.error : undefined
  if (reason === undefined || reason._tag === "Interrupt") return undefined
  return hasTag(error) ? error._tag : error instanceof globalThis.Error ? error.name : typeof error
}

const hasTag = (u: unknown): u is { readonly _tag: string } =>
  typeof u === "object" && u !== null && "_tag" in u && typeof u._tag === "string"

// middleware

/**
 * Middleware that checks what passes against the schemas of the message's class: the payload, which may have been made with
 * checks disabled or changed since, and what the handler gives, success or error.
 *
 * A violation is a defect, `InvalidMessage` or `InvalidReply`: the types were got round somewhere in the program, and nobody who
 * sends a message could do anything about it. Values are checked as deep as they can be encoded, so it costs what encoding them costs.
 */
export const validate: Middleware = <A, E, R>(effect: Effect.Effect<A, E, R>, message: AnyMessage) => {
  const { error, name, success } = message[TypeId]
  const payload = Effect.catch(
    check(message.constructor as unknown as AnyClass, message),
    (found) => Effect.die(new InvalidMessage({ messageName: name, ...found }))
  )
  const reply = (part: "success" | "error", schema: AnySchema, value: unknown) =>
    Effect.catch(check(schema, value), (found) => Effect.die(new InvalidReply({ messageName: name, part, ...found })))
  return payload.pipe(
    Effect.andThen(effect),
    Effect.tap((value) => reply("success", success, value)),
    Effect.tapError((value) => reply("error", error, value))
  )
}

/**
 * Middleware that lets a message fail with `TimedOut`, or die with it if the message does not declare it, when handling takes too
 * long. The handler is interrupted; what it had stored by then, or was storing, stays: a command that timed out may have taken effect.
 */
export const timeout = (duration: Duration.Input): Middleware => {
  const millis = Duration.toMillis(Duration.fromInputUnsafe(duration))
  return <A, E, R>(effect: Effect.Effect<A, E, R>, message: AnyMessage) =>
    Effect.timeoutOrElse(effect, {
      duration,
      orElse: () => {
        const timedOut: unknown = new TimedOut({ messageName: message._tag, millis })
        return isDeclared<E>(message, timedOut) ? Effect.fail(timedOut) : Effect.die(timedOut)
      }
    })
}

/** `E` is what the message's class declares: middleware sees the effect of a handler, or of other middleware, which keep it. */
const isDeclared = <E>(message: AnyMessage, error: unknown): error is E => Schema.is(message[TypeId].error)(error)

/**
 * Middleware that repeats what failed, under a schedule. Without `while` it repeats queries only, and those only whose error says
 * that repeating helps (`repeatingHelps`).
 *
 * Commands are left alone by default, also after an error that promises that nothing was written: it speaks of one append, and
 * nobody here knows what else the handler had done before. Say `while` for those that may safely run twice. Conflicts of a
 * decision are repeated by the decision itself.
 *
 * ```ts
 * import { Schedule } from "effect"
 * import { Mediator } from "effect-opossum"
 *
 * const safeToRepeat = new Set(["SetCapacity"])
 *
 * Mediator.retry(Schedule.exponential("50 millis").pipe(Schedule.upTo({ times: 3 })), {
 *   while: (error, message) =>
 *     Mediator.repeatingHelps(error) && (Mediator.kindOf(message) === "query" || safeToRepeat.has(message._tag))
 * })
 * ```
 */
export const retry = (schedule: Schedule.Schedule<unknown>, options?: {
  /** Whether to repeat, instead of the default. */
  readonly while?: (error: unknown, message: AnyMessage) => boolean
}): Middleware => {
  const repeats = options?.while ??
    ((error: unknown, message: AnyMessage) => kindOf(message) === "query" && repeatingHelps(error))
  return (effect, message) => Effect.retry(effect, { schedule, while: (error) => repeats(error, message) })
}

/** Whether an error says that the same may succeed in a moment: the store is busy or cannot be reached. */
export const repeatingHelps = (error: unknown): boolean =>
  hasTag(error) && error._tag === "EventStoreError" && "reason" in error && hasTag(error.reason) &&
  (error.reason._tag === "StoreBusy" || error.reason._tag === "StoreUnavailable")

// boundary

/**
 * The way in from outside (HTTP, IPC, a command line): a function from JSON, `{ _tag: name, ...payload }`, to JSON. Only the
 * messages named here can be sent through it.
 *
 * - `InvalidMessage`: what came in is none of the messages; it says what is wrong and where
 *
 * Two messages of one name throw at once. What a handler gives is checked as it is encoded: what does not fit its schema, or has no
 * JSON, is a defect, `InvalidReply`.
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Mediator } from "effect-opossum"
 *
 * class Double extends Mediator.Query<Double>()("Double", { payload: { n: Schema.Int }, success: Schema.Int }) {}
 *
 * const dispatch = Mediator.dispatch(Double)
 *
 * dispatch({ _tag: "Double", n: 21 }) // succeeds with { _tag: "Success", value: 42 }
 * ```
 */
export const dispatch = <const Classes extends readonly [AnyClass, ...Array<AnyClass>]>(
  ...classes: Classes
): (input: unknown) => Effect.Effect<Reply, InvalidMessage, HandlerOf<Classes[number]["Type"]>> => {
  const routes = new Map<string, (input: unknown) => Effect.Effect<Reply, InvalidMessage, Handler<string>>>()
  for (const class_ of classes) {
    const { name } = class_[TypeId]
    if (routes.has(name)) {
      throw new globalThis.Error(`Mediator.dispatch: two messages are named ${JSON.stringify(name)}`)
    }
    routes.set(name, route(class_))
  }
  const known = [...routes.keys()].join(", ")
  const invalid = (path: string, problem: string, messageName?: string) =>
    Effect.fail(new InvalidMessage({ messageName, path, problem }))
  const run = (input: unknown) => {
    if (typeof input !== "object" || input === null || Array.isArray(input)) {
      return invalid(
        "$",
        `expected an object, got ${input === null ? "null" : Array.isArray(input) ? "an array" : typeof input}`
      )
    }
    if (!Object.hasOwn(input, "_tag")) {
      return invalid("$._tag", `expected the name of a message (${known}), got nothing`)
    }
    const { _tag: name } = input as { readonly _tag: unknown }
    if (typeof name !== "string") {
      return invalid("$._tag", `expected the name of a message (${known}), got ${typeof name}`)
    }
    return routes.get(name)?.(input) ?? invalid("$._tag", `expected one of ${known}`, name)
  }
  // Each route requires the handler of its own name; together they are what the signature says.
  return run as never
}

const route = (class_: AnyClass) => {
  const { error, name, success } = class_[TypeId]
  const decode = Schema.decodeUnknownEffect(Schema.toCodecJson(class_))
  const encoder = (part: "success" | "error", schema: AnySchema) => {
    const encode = Schema.encodeUnknownEffect(Schema.toCodecJson(schema))
    return (value: unknown) =>
      Effect.catch(
        encode(value),
        ({ issue }) => Effect.die(new InvalidReply({ messageName: name, part, ...describe(issue) }))
      )
  }
  const encodeSuccess = encoder("success", success)
  const encodeError = encoder("error", error)
  return (input: unknown): Effect.Effect<Reply, InvalidMessage, Handler<string>> =>
    decode(input).pipe(
      Effect.mapError(({ issue }) => new InvalidMessage({ messageName: name, ...describe(issue) })),
      Effect.flatMap((message) =>
        Effect.matchEffect(send(message), {
          onSuccess: (value) => Effect.map(encodeSuccess(value), (value): Reply => ({ _tag: "Success", value })),
          onFailure: (error) => Effect.map(encodeError(error), (error): Reply => ({ _tag: "Failure", error }))
        })
      )
    )
}

// checking

interface Found {
  readonly path: string
  readonly problem: string
}

const format = SchemaIssue.makeFormatterStandardSchemaV1()

/** The first thing that is wrong. */
const describe = (issue: SchemaIssue.Issue): Found => {
  const [found] = format(issue).issues
  const segments = (found?.path ?? []).map((segment) => typeof segment === "object" ? segment.key : segment)
  const path = segments.map((segment) =>
    typeof segment === "string" && /^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(segment)
      ? `.${segment}`
      : `[${typeof segment === "string" ? JSON.stringify(segment) : String(segment)}]`
  )
  return { path: `$${path.join("")}`, problem: found?.message ?? String(issue) }
}

/**
 * Whether a value fits a schema. By encoding it: that looks into instances of classes, which a mere check of the type takes on
 * trust. Where a schema can only be decoded, the check of the type must do.
 */
const check = (schema: AnySchema, value: unknown): Effect.Effect<unknown, Found> =>
  Effect.catch(Schema.encodeUnknownEffect(schema)(value), ({ issue }) =>
    isForbidden(issue)
      ? Effect.mapError(Schema.decodeUnknownEffect(Schema.toType(schema))(value), ({ issue }) => describe(issue))
      : Effect.fail(describe(issue)))

const isForbidden = (issue: SchemaIssue.Issue): boolean => {
  switch (issue._tag) {
    case "Forbidden":
      return true
    case "Filter":
    case "Encoding":
    case "Pointer":
      return isForbidden(issue.issue)
    case "Composite":
    case "AnyOf":
      return issue.issues.some(isForbidden)
    default:
      return false
  }
}

// layers

/**
 * The mediator of an application; handlers are built on it. Each call makes another one, with handlers of its own.
 *
 * Middleware wraps the handling of every message, the first one outermost. One that needs services is made from them:
 * `Layer.unwrap(Effect.map(Users, (users) => Mediator.layer({ middleware: [allow(users)] })))`.
 */
export const layer = (options?: { readonly middleware?: ReadonlyArray<Middleware> }): Layer.Layer<Mediator> =>
  Layer.sync(Mediator, () => {
    const names = new Set<string>()
    return Mediator.of({
      middleware: options?.middleware ?? [],
      register: (name) =>
        Effect.acquireRelease(
          Effect.suspend(() =>
            names.has(name)
              ? Effect.fail(new DuplicateHandler({ messageName: name }))
              : Effect.sync(() => void names.add(name))
          ),
          () => Effect.sync(() => names.delete(name))
        )
    })
  })
