/**
 * A faster way to parse the line of an event than `JSON.parse`, for nearly all of them: those that have the fields which this version
 * writes, in its order, and no escape before the data. Only the data of such a line has a shape that is not known, and for what stands
 * before it `JSON.parse` takes as long again. Of any other line it says that it is none; it never says anything else than `JSON.parse`
 * would.
 */
import type * as Schema from "effect/Schema"
import type { Position } from "../../Position.ts"
import type * as Ledger from "../../services/Ledger.ts"
import type { Tag } from "../../Tag.ts"

/** All up to the data. A number is at least 1, and has no more digits than are told exactly. */
const beforeData = (() => {
  const number = String.raw`([1-9]\d{0,14})`
  const characters = String.raw`[^"\\\0-\x1f]*`
  const text = `"(${characters})"`
  const list = `((?:"${characters}"(?:,"${characters}")*)?)`
  const more = `((?:,"${characters}":"${characters}")*)`
  return new RegExp(
    String.raw`^\{"kind":"event","position":${number},"type":${text},"version":${number},"tags":\[${list}\],` +
      String.raw`"metadata":\{"id":${text},"timestamp":${text}${more}\},"data":`
  )
})()

/** Up to this length the engine copies a piece of a text; a longer one refers to the whole text, and keeps it in memory. */
const copied = 12

/** The same text, put together of copies: so that an id that somebody keeps does not keep the line in which it stood. */
const copyOf = (piece: string): string => {
  if (piece.length <= copied) return piece
  let copy = piece.slice(0, copied)
  for (let at = copied; at < piece.length; at += copied) copy += piece.slice(at, at + copied)
  return copy
}

/** Type and time of the last line: they are often those of the next one. */
let [lastType, lastTime] = ["", ""]

/** The event of a line whose checksum, the last `behind` characters, was checked; `undefined` if it is no such line. */
export const parsePlainLine = (line: string, behind: number): Ledger.EventRecord | undefined => {
  const found = beforeData.exec(line)
  if (found === null) return undefined
  const [before, position, type, version, tags, id, timestamp, more] = found
  let data: Schema.Json
  try {
    data = JSON.parse(line.slice(before.length, line.length - behind)) as Schema.Json
  } catch {
    return undefined
  }
  if (type !== lastType) lastType = copyOf(type!)
  if (timestamp !== lastTime) lastTime = copyOf(timestamp!)
  const metadata = { id: copyOf(id!), timestamp: lastTime }
  return {
    kind: "event",
    position: Number(position) as Position,
    type: lastType,
    version: Number(version),
    tags: tags === "" ? [] : tags!.slice(1, -1).split(`","`).map(copyOf) as Array<Tag>,
    // As in an object that was parsed: a key `__proto__` is one like any other, and of two that are the same the last one counts.
    metadata: more === "" ? metadata : { ...metadata, ...JSON.parse(`{${more!.slice(1)}}`) },
    data
  }
}
