/**
 * What the store tells about itself, sent as OpenTelemetry wants it: a span for each operation, and metrics.
 *
 * The store makes both by Effect's own means, and knows no exporter: the application brings one, here Effect's own over OTLP. So that
 * this runs with nothing installed, it starts a collector of its own, which prints what arrives. With OTEL_EXPORTER_OTLP_ENDPOINT
 * set (e.g. http://localhost:4318) everything goes there instead.
 */
import { Config, Effect, Layer, Option, Schema } from "effect"
import { Event, EventStore, Opossum, Query, Tag } from "effect-opossum"
import { FetchHttpClient } from "effect/http"
import { Otlp } from "effect/observability"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

// the application: it appends, reads, and is too late once

const ProductId = Schema.NonEmptyString.pipe(Tag.as("product"))
class Restocked extends Event.Class<Restocked>()("Restocked", { product: ProductId, pieces: Schema.Int }) {}
class Sold extends Event.Class<Sold>()("Sold", { product: ProductId, pieces: Schema.Int }) {}

const tea = Query.of([Restocked, Sold], { product: "tea" })

const application = Effect.gen(function*() {
  yield* EventStore.append(new Restocked({ product: "tea", pieces: 2 }))
  const { head } = yield* EventStore.read(tea)
  const sell = EventStore.append(new Sold({ product: "tea", pieces: 2 }), { failIfEventsMatch: tea, after: head })
  yield* sell
  // The second time the decision rests on old knowledge: its span has the status "error", and a conflict is counted.
  yield* Effect.ignore(sell)
}).pipe(
  // The spans of the store lie below those of the application.
  Effect.withSpan("sell tea")
)

// the exporter

const exporter = (baseUrl: string) =>
  Otlp.layerJson({ baseUrl, resource: { serviceName: "tea-shop" } }).pipe(Layer.provide(FetchHttpClient.layer))

// a collector, as small as can be: it knows the parts of OTLP's JSON that it prints

const Attributes = Schema.Array(
  Schema.Struct({ key: Schema.String, value: Schema.Record(Schema.String, Schema.Unknown) })
)

const Traces = Schema.fromJsonString(Schema.Struct({
  resourceSpans: Schema.Array(Schema.Struct({
    scopeSpans: Schema.Array(Schema.Struct({
      spans: Schema.Array(Schema.Struct({
        name: Schema.String,
        attributes: Attributes,
        status: Schema.Struct({ code: Schema.Int })
      }))
    }))
  }))
}))

const Points = <S extends Schema.Constraint>(point: S) =>
  Schema.optionalKey(Schema.Struct({ dataPoints: Schema.Array(point) }))
const NumberPoint = Schema.Struct({
  asDouble: Schema.optionalKey(Schema.Number),
  asInt: Schema.optionalKey(Schema.Union([Schema.Number, Schema.String]))
})

const Metrics = Schema.fromJsonString(Schema.Struct({
  resourceMetrics: Schema.Array(Schema.Struct({
    scopeMetrics: Schema.Array(Schema.Struct({
      metrics: Schema.Array(Schema.Struct({
        name: Schema.String,
        unit: Schema.String,
        sum: Points(NumberPoint),
        gauge: Points(NumberPoint),
        histogram: Points(Schema.Struct({ count: Schema.Int, sum: Schema.Number }))
      }))
    }))
  }))
}))

const printTraces = (body: string) => {
  const { resourceSpans } = Schema.decodeUnknownSync(Traces)(body)
  for (const span of resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans))) {
    console.log(`span ${span.name}${span.status.code === 2 ? " (error)" : ""}`)
    for (const { key, value } of span.attributes) console.log(`  ${key} = ${String(Object.values(value)[0])}`)
  }
}

const printMetrics = (body: string) => {
  const { resourceMetrics } = Schema.decodeUnknownSync(Metrics)(body)
  for (const metric of resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))) {
    const numbers = [...metric.sum?.dataPoints ?? [], ...metric.gauge?.dataPoints ?? []]
    for (const { asDouble, asInt } of numbers) console.log(`metric ${metric.name} = ${asDouble ?? asInt}`)
    for (const { count, sum } of metric.histogram?.dataPoints ?? []) {
      console.log(`metric ${metric.name}: ${count} values, ${sum} in all, unit ${metric.unit}`)
    }
  }
}

const collector = Effect.acquireRelease(
  Effect.callback<ReturnType<typeof createServer>>((resume) => {
    const server = createServer((request, response) => {
      let body = ""
      request.setEncoding("utf8").on("data", (part: string) => body += part).on("end", () => {
        if (request.url === "/v1/traces") printTraces(body)
        if (request.url === "/v1/metrics") printMetrics(body)
        response.writeHead(200, { "content-type": "application/json" }).end("{}")
      })
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`))

// all together: leaving the exporter's scope sends what is left

const program = Effect.gen(function*() {
  const given = yield* Config.option(Config.String("OTEL_EXPORTER_OTLP_ENDPOINT"))
  const endpoint = Option.isSome(given) ? given.value : yield* collector
  console.log(`sending to ${endpoint}`)
  yield* application.pipe(
    Effect.provide(Opossum.layerMemory.pipe(Layer.provideMerge(exporter(endpoint))))
  )
})

await Effect.runPromise(Effect.scoped(program))
