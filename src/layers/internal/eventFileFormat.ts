/** Names and bytes of event files, as plain functions: whoever makes them, in whatever thread, makes the same. */
import type { EventRecord } from "../../services/Ledger.ts"

/** Files in one folder, since folders with very many names are slow to list. */
const filesPerFolder = 1000

const pad = (n: number, digits: number) => n.toString().padStart(digits, "0")

/** The folder of a position. */
export const folderOf = (position: number): string => pad(Math.floor(position / filesPerFolder), 7)
/** The first position that has its place in a folder, and the last one. */
export const firstIn = (folder: string): number => Math.max(1, Number(folder) * filesPerFolder)
export const lastIn = (folder: string): number => (Number(folder) + 1) * filesPerFolder - 1

export const eventName = (position: number): string => `${pad(position, 10)}.json`
export const tagsName = (position: number): string => `${pad(position, 10)}.tags.json`

export const encode = (json: unknown): Uint8Array => Buffer.from(JSON.stringify(json, null, 2) + "\n")

export const encodeEvent = ({ data, metadata, position, tags, type, version }: EventRecord): Uint8Array =>
  encode({ position, type, version, tags, metadata, data })
