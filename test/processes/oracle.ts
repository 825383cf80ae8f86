/**
 * What a history must be, judged by the history and the witnesses alone. Every check tells what is wrong, in words; nothing is
 * wrong if it tells nothing. Plain loops, and a matcher of its own: nothing here is shared with what is tested.
 */
import type { Addition, Fact, Guard, Note } from "../fixtures/appends.ts"
import type { TagNote } from "../fixtures/soakProcess.ts"
import type { Followed } from "../fixtures/storeProcess.ts"

/** Events, as far as queries see them. */
type Subject = Pick<Fact, "type" | "tags">

export const finds = ({ items }: Pick<Guard, "items">, { tags, type }: Subject): boolean =>
  items.some((item) =>
    (item.types === undefined || item.types.includes(type)) &&
    (item.tags === undefined || item.tags.every((tag) => tags.includes(tag)))
  )

/** An event with the tags that it has at a position. */
type TaggedAt = (event: Fact, position: number) => Subject

const tagsOver = (additions: ReadonlyArray<Addition>): TaggedAt => {
  const added = new Map<number, Array<{ readonly at: number; readonly tags: ReadonlyArray<string> }>>()
  for (const { position: at, targets } of additions) {
    for (const { position, tags } of targets) added.set(position, [...added.get(position) ?? [], { at, tags }])
  }
  return (event, position) => {
    const more = (added.get(event.position) ?? []).filter(({ at }) => at <= position).flatMap(({ tags }) => tags)
    return more.length === 0 ? event : { type: event.type, tags: [...new Set([...event.tags, ...more])] }
  }
}

/** The history with all tags that were added later. */
export const withAdditions = <F extends Fact>(
  history: ReadonlyArray<F>,
  additions: ReadonlyArray<Addition>
): ReadonlyArray<F> => {
  const taggedAt = tagsOver(additions)
  return history.map((event) => ({ ...event, tags: taggedAt(event, Infinity).tags }))
}

/** Batches whole and in one piece, nothing double, every guard true, every series without a gap. */
export const problemsOfHistory = (
  history: ReadonlyArray<Fact>,
  additions: ReadonlyArray<Addition> = []
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const taggedAt = tagsOver(additions)
  const byPosition = new Map(history.map((event) => [event.position, event]))
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
        // an addition of tags conflicts at its own position, if the query finds one of its events with them, and did not without
        for (const addition of additions) {
          if (addition.position <= guard.after || addition.position >= position) continue
          const found = addition.targets.some((target) => {
            const tagged = byPosition.get(target.position)
            return tagged !== undefined && !finds(guard, taggedAt(tagged, addition.position - 1)) &&
              finds(guard, taggedAt(tagged, addition.position))
          })
          if (!found) continue
          problems.push(
            `the decision ${batch} at ${position} looked up to ${guard.after} and missed the tags of ${addition.position}`
          )
          break
        }
        if (guard.seen !== undefined) {
          let count = 0
          for (let j = 0; j < i && history[j]!.position <= guard.after; j++) {
            if (finds(guard, taggedAt(history[j]!, guard.after))) count++
          }
          if (count !== guard.seen) {
            problems.push(`the decision ${batch} at ${position} saw ${guard.seen} events instead of ${count}`)
          }
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

/** Tags are added where somebody tried to, and what was acknowledged is there. */
export const problemsOfTagging = (
  history: ReadonlyArray<Fact>,
  additions: ReadonlyArray<Addition>,
  notes: ReadonlyArray<TagNote>
): ReadonlyArray<string> => {
  const problems: Array<string> = []
  const byPosition = new Map(history.map((event) => [event.position, event]))
  const taggedAt = tagsOver(additions)
  const tried = notes.filter(({ _tag }) => _tag === "tagging")
  for (const { position, targets } of additions) {
    for (const target of targets) {
      const event = byPosition.get(target.position)
      if (event === undefined || target.position >= position) {
        problems.push(`${position} adds tags to ${target.position}, where no event is`)
        continue
      }
      for (const tag of target.tags) {
        if (!tried.some((line) => line.tag === tag && finds(line, taggedAt(event, position - 1)))) {
          problems.push(`nobody tried to add ${tag} to ${target.position}`)
        }
      }
    }
  }
  for (const line of notes) {
    if (line._tag !== "tagged") continue
    for (const event of history) {
      if (event.position > line.upTo) break
      if (finds(line, event) && !taggedAt(event, Infinity).tags.includes(line.tag)) {
        problems.push(`${line.tag} was added to all up to ${line.upTo}, and ${event.position} lacks it`)
        break
      }
    }
  }
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

/** Those after one position, up to another. */
const between = (history: ReadonlyArray<Fact>, after: number, upTo: number): ReadonlyArray<Fact> =>
  history.slice(firstAbove(history, after), firstAbove(history, upTo))

const firstAbove = (history: ReadonlyArray<Fact>, position: number): number => {
  let [low, high] = [0, history.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (history[middle]!.position > position) high = middle
    else low = middle + 1
  }
  return low
}

const toText = (events: ReadonlyArray<Fact>): string => JSON.stringify(events)

/** Who followed saw the history: nothing twice, nothing missing, in order; and no read saw a part of a batch. */
export const problemsOfFollowed = (
  history: ReadonlyArray<Fact>,
  { reads, subscribed }: Followed,
  /** Positions that are no events. */
  others: ReadonlySet<number> = new Set()
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
    const expected = between(history, after, head)
    if (toText(events) !== toText(expected)) {
      problems.push(
        `a read from ${after} to its head ${head} saw ${events.length} events instead of ${expected.length}`
      )
    }
    const last = events.at(-1)
    let end = head
    while (others.has(end)) end--
    if (last !== undefined && (last.position !== end || last.data.index !== last.data.size - 1)) {
      problems.push(`a read at ${head} ends at ${last.position} with part ${last.data.index} of ${last.data.size}`)
    }
    after = head
  }
  return problems
}
