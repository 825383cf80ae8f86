/**
 * Invoices numbered 1, 2, 3, ... without a gap, by many at once.
 *
 * The next number depends on the last invoice alone: that one event is read, however many there are, and the condition is that no
 * other invoice came after it.
 */
import { Schema } from "effect"
import { Decision, DecisionModel, Event, Query } from "effect-opossum"

export class InvoiceCreated extends Event.Class<InvoiceCreated>()("InvoiceCreated", {
  number: Schema.Int,
  customer: Schema.String,
  cents: Schema.Int
}) {}

const nextNumber = DecisionModel.map(
  DecisionModel.last(Query.of(InvoiceCreated)),
  (last) => (last?.event.number ?? 0) + 1
)

export const createInvoice = (customer: string, cents: number, options?: Decision.ExecuteOptions) =>
  Decision.execute(nextNumber, (number) => new InvoiceCreated({ number, customer, cents }), options)
