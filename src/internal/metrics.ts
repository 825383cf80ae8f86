/**
 * What a store counts, by Effect's metrics: whoever wants them exports them.
 *
 * Unit and meaning stand in each description; times have the attribute `time_unit`, as Effect's own timers do, so that exporters know
 * the unit. All are per process; a store's own are told apart by `Metric.withAttributes`.
 */
import * as Metric from "effect/Metric"

/** Events appended and acknowledged by this process; retries that found their events stored do not count. */
export const eventsAppended = Metric.counter("opossum_events_appended", {
  description: "Events appended by this process (events)",
  incremental: true
})

/** Events handed to readers, subscribers among them, as often as they were read. */
export const eventsRead = Metric.counter("opossum_events_read", {
  description: "Events read by this process (events)",
  incremental: true
})

/** Appends that failed with `AppendConditionFailed`. */
export const appendConflicts = Metric.counter("opossum_append_conflicts", {
  description: "Appends whose condition failed (appends)",
  incremental: true
})

/** How many events were written and synced together, in one commit or one group of commits. */
export const commitSize = Metric.histogram("opossum_commit_size", {
  description: "Events written by one write and one sync (events)",
  boundaries: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]
})

/** From the beginning of the write to the confirmation. */
export const commitDuration = Metric.histogram("opossum_commit_duration", {
  description: "Time to write, sync and confirm a commit (milliseconds)",
  attributes: { time_unit: "milliseconds" },
  boundaries: [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
})

/** How long a writer waited for the right to write. */
export const lockWait = Metric.histogram("opossum_lock_wait", {
  description: "Time waited for the store's lock (milliseconds)",
  attributes: { time_unit: "milliseconds" },
  boundaries: [0.1, 0.5, 1, 5, 10, 50, 100, 200, 500, 1000, 2000, 5000]
})

/** Segments taken over from an owner that did not stop in order. */
export const takeovers = Metric.counter("opossum_takeovers", {
  description: "Take-overs of the ledger from another writer (take-overs)",
  incremental: true
})

/** How far the readable event files are behind the ledger. */
export const mirrorLag = Metric.gauge("opossum_mirror_lag", {
  description: "Committed positions that have no event file yet (positions)"
})

/** Commands and queries handled, by `message`, `kind` and `outcome`: success, failure, defect or interrupted. */
export const messages = Metric.counter("opossum_messages", {
  description: "Messages handled by this process (messages)",
  incremental: true
})

/** With all middleware, repetitions among it. */
export const messageDuration = Metric.histogram("opossum_message_duration", {
  description: "Time to handle a message (milliseconds)",
  attributes: { time_unit: "milliseconds" },
  boundaries: [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000]
})

/** Decisions that began (`Decision.execute`), however they ended. */
export const decisions = Metric.counter("opossum_decisions", {
  description: "Decisions executed by this process (decisions)",
  incremental: true
})

/** How often these read and decided: once each, and once more after each conflict that was tried again. */
export const decisionAttempts = Metric.counter("opossum_decision_attempts", {
  description: "Attempts of decisions (attempts)",
  incremental: true
})

/** Attempts that somebody else's append came before. */
export const decisionConflicts = Metric.counter("opossum_decision_conflicts", {
  description: "Attempts of decisions whose append condition failed (attempts)",
  incremental: true
})

/** Decisions that ended with `AppendConditionFailed`, all attempts used up. */
export const decisionsGivenUp = Metric.counter("opossum_decisions_given_up", {
  description: "Decisions that had a conflict at each attempt (decisions)",
  incremental: true
})

/** Events that projections counted, in rebuilds too; by the projection's name. */
export const projectionEvents = Metric.counter("opossum_projection_events", {
  description: "Events counted by a projection in this process (events)",
  incremental: true
})

/** How far a projection that runs in this process is behind the head; by its name. */
export const projectionLag = Metric.gauge("opossum_projection_lag", {
  description: "Committed positions that a projection has not counted yet (positions)"
})
