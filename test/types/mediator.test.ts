/** What compiles and what does not when messages are sent and handled: read by the compiler, never run. */
// @effect-diagnostics missingEffectError:off missingEffectContext:off -- what must not compile is said by @ts-expect-error
import { Context, Effect, Layer, Schedule, Schema, type Scope } from "effect"
import { EventStore, Mediator, Opossum, Position } from "effect-opossum"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
const exactly = <B>() => <A>(_value: A, ..._proof: Equals<A, B> extends true ? [] : [never]) => {}
const compiles = (..._values: ReadonlyArray<unknown>) => {}
type Ok<A, E, R> = Effect.Effect<A, E, R>

const CourseId = Schema.NonEmptyString.pipe(Schema.brand("CourseId"))
const course = CourseId.make("c")
class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { courseId: CourseId }) {}
class Full extends Schema.TaggedError<Full>()("Full", {}) {}
class Other extends Schema.TaggedError<Other>()("Other", {}) {}

class Rename extends Mediator.Command<Rename>()("Rename", {
  payload: { courseId: CourseId, to: Schema.optionalKey(Schema.String) },
  success: Schema.String,
  error: [NotFound, Full]
}) {}
class Head extends Mediator.Query<Head>()("Head", {
  success: Schema.UndefinedOr(Position.Position),
  error: EventStore.EventStoreError
}) {}
class Ping extends Mediator.Query<Ping>()("Ping") {}

class Db extends Context.Service<Db, { readonly name: string }>()("test/Db") {}
declare const needsDb: Schema.Codec<string, string, Db>

// classes

const rename = new Rename({ courseId: course })
exactly<"Rename">()(rename._tag)
exactly<typeof CourseId.Type>()(rename.courseId)
exactly<string>()({} as Mediator.Success<Rename>)
exactly<NotFound | Full>()({} as Mediator.Error<Rename>)
exactly<never>()({} as Mediator.Error<Ping>)
compiles(new Ping(), new Head())
// @ts-expect-error an unbranded id
compiles(() => new Rename({ courseId: "c" }))
// @ts-expect-error a field is missing
compiles(() => new Rename({}))
// @ts-expect-error the generic is missing
compiles(class extends Mediator.Command()("WithoutSelf") {})
// @ts-expect-error payloads need no services
compiles(() => Mediator.Command<Ping>()("X", { payload: { a: needsDb } }))
// @ts-expect-error nor does what comes back
compiles(() => Mediator.Command<Ping>()("X", { success: needsDb }))
// @ts-expect-error nor do errors
compiles(() => Mediator.Command<Ping>()("X", { error: [NotFound, needsDb] }))
// @ts-expect-error unknown option
compiles(() => Mediator.Command<Ping>()("X", { failure: NotFound }))

// sending

const send = Mediator.send(rename)
exactly<Ok<string, NotFound | Full, Mediator.Handler<"Rename">>>()(send)
exactly<Ok<void, never, Mediator.Handler<"Ping">>>()(Mediator.send(new Ping()))
exactly<
  Ok<string | void, NotFound | Full, Mediator.Handler<"Rename"> | Mediator.Handler<"Ping">>
>()(Mediator.send({} as Rename | Ping))
compiles(send.pipe(Effect.catchTag("NotFound", ({ courseId }) => Effect.succeed(courseId))))
// @ts-expect-error what is no message
compiles(() => Mediator.send({ _tag: "Rename", courseId: course }))
// @ts-expect-error an event is none
compiles(() => Mediator.send(new NotFound({ courseId: course })))

// handling

const handler = Mediator.handle(Rename, function*({ courseId }) {
  yield* Effect.orDie(EventStore.head)
  return yield* new NotFound({ courseId })
})
exactly<
  Layer.Layer<Mediator.Handler<"Rename">, Mediator.DuplicateHandler, EventStore.EventStore | Mediator.Mediator>
>()(handler)
exactly<
  Layer.Layer<Mediator.Handler<"Head">, Mediator.DuplicateHandler, EventStore.EventStore | Mediator.Mediator>
>()(Mediator.handle(Head, () => EventStore.head))
exactly<Layer.Layer<Mediator.Handler<"Ping">, Mediator.DuplicateHandler, Mediator.Mediator>>()(
  // oxlint-disable-next-line require-yield, no-empty-function
  Mediator.handle(Ping, function*() {})
)
exactly<
  Layer.Layer<Mediator.Handler<"Ping">, Mediator.DuplicateHandler, Mediator.Handler<"Rename"> | Mediator.Mediator>
>()(Mediator.handle(Ping, () => send.pipe(Effect.orDie, Effect.asVoid)))
declare const needsScope: Effect.Effect<void, never, Scope.Scope | Db>
exactly<Layer.Layer<Mediator.Handler<"Ping">, Mediator.DuplicateHandler, Db | Mediator.Mediator>>()(
  Mediator.handle(Ping, () => needsScope)
)
compiles(Mediator.handle(
  Rename,
  Effect.fn("Rename")(function*(rename) {
    exactly<Rename>()(rename)
    return yield* Effect.succeed(rename.courseId)
  }, Effect.timeoutOrElse({ duration: "5 seconds", orElse: () => new Full() }))
))
compiles(() =>
  Mediator.handle(
    Rename,
    // @ts-expect-error a TimeoutError is not declared
    Effect.fn("Rename")(function*(rename) {
      return yield* Effect.succeed(rename.courseId)
    }, Effect.timeout("5 seconds"))
  )
)
// @ts-expect-error wrong success
compiles(() => Mediator.handle(Rename, () => Effect.succeed(1)))
// @ts-expect-error undeclared error
compiles(() => Mediator.handle(Rename, () => new Other()))
compiles(() =>
  // @ts-expect-error undeclared error of a generator
  Mediator.handle(Rename, function*() {
    return yield* new Other()
  })
)
compiles(() =>
  // @ts-expect-error wrong success of a generator
  Mediator.handle(Rename, function*() {
    yield* Effect.void
    return 1
  })
)
// @ts-expect-error neither an effect nor a generator
compiles(() => Mediator.handle(Rename, () => "done"))
// @ts-expect-error what is no message
compiles(() => Mediator.handle(NotFound, () => Effect.void))

// a missing handler is an error that names the message

const app = handler.pipe(Layer.provide(Mediator.layer()), Layer.provideMerge(Opossum.layerMemory))
compiles(() => Effect.runPromise(send.pipe(Effect.provide(app))))
// @ts-expect-error nobody handles Rename
compiles(() => Effect.runPromise(send))
const missing: Mediator.Handler<"Ping"> | Mediator.Handler<"Rename"> = {} as Mediator.Handler<"Ping">
// @ts-expect-error one handler is not another
const another: Mediator.Handler<"Rename"> = {} as Mediator.Handler<"Ping">
compiles(missing, another)
// @ts-expect-error nobody handles Ping
compiles(() => Effect.runPromise(Mediator.send(new Ping()).pipe(Effect.provide(app))))
// @ts-expect-error the handler needs the store
compiles(() => Effect.runPromise(send.pipe(Effect.provide(handler.pipe(Layer.provide(Mediator.layer()))))))

// middleware keeps types

compiles(Mediator.layer({
  middleware: [
    Mediator.validate,
    Mediator.timeout("1 second"),
    Mediator.retry(Schedule.recurs(3), { while: (_error, message) => Mediator.kindOf(message) === "query" }),
    (effect, message) => Effect.annotateLogs(effect, { message: message._tag })
  ]
}))
// @ts-expect-error it adds an error
compiles(() => Mediator.layer({ middleware: [(effect) => Effect.timeout(effect, "1 second")] }))
// @ts-expect-error it changes the answer
compiles(() => Mediator.layer({ middleware: [(effect) => Effect.asVoid(effect)] }))
// @ts-expect-error it needs a service
compiles(() => Mediator.layer({ middleware: [(effect) => Effect.andThen(Db, effect)] }))

// the boundary

const dispatch = Mediator.dispatch(Rename, Ping)
exactly<
  Ok<Mediator.Reply, Mediator.InvalidMessage, Mediator.Handler<"Rename"> | Mediator.Handler<"Ping">>
>()(dispatch({}))
compiles(Effect.map(dispatch({}), (reply) => {
  if (reply._tag === "Success") exactly<Schema.Json>()(reply.value)
  else exactly<Schema.Json>()(reply.error)
}))
// @ts-expect-error nobody handles Ping
compiles(() => Effect.runPromise(dispatch({}).pipe(Effect.provide(app))))
// @ts-expect-error no messages
compiles(() => Mediator.dispatch())
