/**
 * What a history must be, judged by the history and the witnesses alone. Every check tells what is wrong, in words; nothing is
 * wrong if it tells nothing. Plain loops, and a matcher of its own: nothing here is shared with what is tested.
 */
import type { Fact, Guard, Note } from "../fixtures/appends.ts"
import type { Followed } from "../fixtures/storeProcess.ts"

const finds = ({ items }: Guard, { tags, type }: Fact): boolean =>
  items.some((item) =>
    (item.types === undefined || item.types.includes(type)) &&
    (item.tags === undefined || item.tags.every((tag) => tags.includes(tag)))
  )

/** Batches whole and in one piece, nothing double, every guard true, every series without a gap. */
export const problemsOfHistory = (history: ReadonlyArray<Fact>): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const batches = new Set<string>()
  const ids = new Set<string>()
  const series = new Map<string, number>()
  for (let i = 0; i < history.length; i++) {
    const event = history[i]!
    const { data: { batch, guard, index, number, series: name, size }, id, position } = event
    const before = history[i - 1]
    if (before !== undefined && position <= before.position) {
      problems.push(`position ${position} comes after ${before.position}`)
    }
    if (ids.has(id)) problems.push(`the event ${id} is there twice`)
    ids.add(id)
    if (index === 0) {
      if (batches.has(batch)) problems.push(`the batch ${batch} is there twice`)
      batches.add(batch)
      for (let j = 0; j < size; j++) {
        const other = history[i + j]
        if (other?.data.batch !== batch || other.data.index !== j || other.position !== position + j) {
          problems.push(`the batch ${batch} at ${position} lacks its part ${j}, or is not in one piece`)
          break
        }
      }
      if (guard !== undefined) {
        for (let j = i - 1; j >= 0 && history[j]!.position > guard.after; j--) {
          if (!finds(guard, history[j]!)) continue
          problems.push(
            `the decision ${batch} at ${position} looked up to ${guard.after} and missed ${history[j]!.position}`
          )
          break
        }
      }
    } else if (before?.data.batch !== batch || before.data.index !== index - 1) {
      problems.push(`part ${index} of the batch ${batch} at ${position} does not follow the part before it`)
    }
    if (name !== undefined && number !== undefined) {
      const expected = (series.get(name) ?? 0) + 1
      if (number !== expected) problems.push(`${name} has ${number} at ${position} instead of ${expected}`)
      series.set(name, number)
    }
  }
  return problems
}

/** What was acknowledged is there, where it was said to be; what was refused is not; nothing is there that nobody tried. */
export const problemsOfWitnesses = (
  history: ReadonlyArray<Fact>,
  notes: ReadonlyArray<Note>,
  /** Refusals that leave open whether the events are there. */
  unknown: ReadonlySet<string> = new Set(["AppendOutcomeUnknown"])
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const byPosition = new Map(history.map((event) => [event.position, event]))
  const present = new Set(history.map(({ data }) => data.batch))
  const tried = new Set<string>()
  for (const line of notes) {
    if (line._tag === "try") tried.add(line.batch.batch)
    if (line._tag === "stored") {
      for (const [index, position] of line.positions.entries()) {
        const data = byPosition.get(position)?.data
        if (data?.batch !== line.batch || data.index !== index || data.size !== line.positions.length) {
          problems.push(`${line.batch} was acknowledged at ${position}, where ${data?.batch ?? "nothing"} is`)
        }
      }
    }
    if (line._tag === "refused" && !unknown.has(line.error) && present.has(line.batch)) {
      problems.push(`${line.batch} was refused (${line.error}) and is there`)
    }
  }
  for (const batch of present) if (!tried.has(batch)) problems.push(`nobody tried ${batch}`)
  return problems
}

/** Batches that were tried, and of which nobody was told what became of them. */
export const openTries = (notes: ReadonlyArray<Note>): ReadonlyArray<string> => {
  const open = new Set<string>()
  for (const line of notes) {
    if (line._tag === "try") open.add(line.batch.batch)
    else if (line._tag !== "fault") open.delete(line.batch)
  }
  return [...open]
}

const toText = (events: ReadonlyArray<Fact>): string => JSON.stringify(events)

/** Who followed saw the history: nothing twice, nothing missing, in order; and no read saw a part of a batch. */
export const problemsOfFollowed = (
  history: ReadonlyArray<Fact>,
  { reads, subscribed }: Followed
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const end = subscribed.at(-1)?.position ?? 0
  if (toText(subscribed) !== toText(history.filter(({ position }) => position <= end))) {
    const at = subscribed.findIndex((event, i) => event.position !== history[i]?.position)
    problems.push(
      `the subscription parts from the history at its event ${at}: ${subscribed[at]?.position} instead of ${
        history[at]?.position
      }`
    )
  }
  let after = 0
  for (const { events, head = 0 } of reads) {
    if (head < after) problems.push(`the head fell from ${after} to ${head}`)
    const expected = history.filter(({ position }) => position > after && position <= head)
    if (toText(events) !== toText(expected)) {
      problems.push(
        `a read from ${after} to its head ${head} saw ${events.length} events instead of ${expected.length}`
      )
    }
    const last = events.at(-1)
    if (last !== undefined && (last.position !== head || last.data.index !== last.data.size - 1)) {
      problems.push(`a read at ${head} ends at ${last.position} with part ${last.data.index} of ${last.data.size}`)
    }
    after = head
  }
  return problems
}
