/**
 * An application behind one function: commands and queries come in as JSON, as over HTTP, IPC or a command line, and JSON comes back.
 *
 *     node --import ./scripts/source.ts examples/mediator.ts
 */
import { Effect, Layer, Schedule, Schema } from "effect"
import {
  Decision,
  DecisionModel,
  Event,
  EventStore,
  Mediator,
  Metadata,
  Opossum,
  Position,
  Query,
  Tag
} from "effect-opossum"

const RoomId = Schema.NonEmptyString.pipe(Schema.brand("RoomId"), Tag.as("room"))

class RoomOpened extends Event.Class<RoomOpened>()("RoomOpened", { room: RoomId, seats: Schema.Int }) {}
class SeatBooked extends Event.Class<SeatBooked>()("SeatBooked", { room: RoomId, guest: Schema.NonEmptyString }) {}

// What can be asked of this application, what comes back, and what it refuses.

class NoSuchRoom extends Schema.TaggedError<NoSuchRoom>()("NoSuchRoom", { room: RoomId }) {}
class FullyBooked extends Schema.TaggedError<FullyBooked>()("FullyBooked", { room: RoomId, seats: Schema.Int }) {}

class BookSeat extends Mediator.Command<BookSeat>()("BookSeat", {
  payload: { room: RoomId, guest: Schema.NonEmptyString },
  success: Position.Position,
  error: [NoSuchRoom, FullyBooked, Decision.ExecuteError, Mediator.TimedOut]
}) {}

class Guests extends Mediator.Query<Guests>()("Guests", {
  payload: { room: RoomId },
  success: Schema.Array(Schema.String),
  error: EventStore.ReadError
}) {}

// How it is done.

const roomOf = (room: typeof RoomId.Type) => ({
  seats: DecisionModel.make({
    query: Query.of(RoomOpened, { room }),
    initial: 0,
    apply: { RoomOpened: (_, { seats }) => seats }
  }),
  booked: DecisionModel.make({
    query: Query.of(SeatBooked, { room }),
    initial: 0,
    apply: { SeatBooked: (count) => count + 1 }
  })
})

const BookSeatHandler = Mediator.handle(BookSeat, function*({ guest, room }) {
  const { positions } = yield* Decision.execute(roomOf(room), function*({ booked, seats }) {
    if (seats === 0) return yield* new NoSuchRoom({ room })
    if (booked === seats) return yield* new FullyBooked({ room, seats })
    return new SeatBooked({ room, guest })
  })
  return positions[0]
})

const GuestsHandler = Mediator.handle(Guests, ({ room }) =>
  Effect.map(
    EventStore.read(Query.of(SeatBooked, { room })),
    ({ events }) => events.map(({ event }) => event.guest)
  ))

const application = Layer.mergeAll(BookSeatHandler, GuestsHandler).pipe(
  Layer.provide(Mediator.layer({
    middleware: [
      Mediator.timeout("5 seconds"),
      Mediator.retry(Schedule.exponential("50 millis").pipe(Schedule.upTo({ times: 3 })))
    ]
  })),
  Layer.provideMerge(Opossum.layerMemory)
)

// The way in: nothing else can be sent through it.

const dispatch = Mediator.dispatch(BookSeat, Guests)

const answer = (line: string) =>
  Effect.try({ try: (): unknown => JSON.parse(line), catch: () => "that is no JSON" }).pipe(
    Effect.flatMap(dispatch),
    Effect.match({
      onSuccess: (reply) => JSON.stringify(reply),
      onFailure: (problem) => `refused: ${typeof problem === "string" ? problem : problem.message}`
    }),
    Metadata.annotate({ userId: "front desk" })
  )

const program = Effect.gen(function*() {
  yield* EventStore.append(new RoomOpened({ room: RoomId.make("blue"), seats: 2 }))
  const lines = [
    `{ "_tag": "BookSeat", "room": "blue", "guest": "anna" }`,
    `{ "_tag": "BookSeat", "room": "blue", "guest": "ben" }`,
    `{ "_tag": "BookSeat", "room": "blue", "guest": "cleo" }`,
    `{ "_tag": "BookSeat", "room": "red", "guest": "cleo" }`,
    `{ "_tag": "BookSeat", "room": "blue" }`,
    `{ "_tag": "CloseRoom", "room": "blue" }`,
    `book a seat`,
    `{ "_tag": "Guests", "room": "blue" }`
  ]
  for (const line of lines) console.log(yield* answer(line))
  const last = yield* EventStore.readLast(Query.of(SeatBooked))
  console.log(`the last booking was made by: ${last?.metadata.userId}`)
})

await Effect.runPromise(Effect.provide(program, application))
