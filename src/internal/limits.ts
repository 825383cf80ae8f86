/**
 * What one append may be, at most. Each bound is a typed refusal before anything is written.
 *
 * They are there so that whatever was appended can be read again in bounded memory, by any process, for as long as the store
 * exists: raising one is a change of the format.
 */

/** UTF-8 bytes of one event as a line of JSON, with all that stands around its data. */
export const eventBytes = 16 * 1024 * 1024

/** UTF-8 bytes of all lines of one batch. */
export const batchBytes = 64 * 1024 * 1024

/** Events in one batch. */
export const batchEvents = 10_000

/** Tags of one event, its duplicates merged. */
export const tags = 64

/** UTF-8 bytes of a tag's key, and of its value. */
export const tagPartBytes = 1024

/** UTF-8 bytes of an event type's name. */
export const typeBytes = 256

/** UTF-8 bytes of an event's id. */
export const idBytes = 64

/** Objects and arrays in one another: `{}` is one level, `{"a":[]}` two. */
export const nesting = 100

/** UTF-8 bytes of a projection's name. */
export const projectionNameBytes = 100

/** UTF-8 bytes of a key of a projection. */
export const projectionKeyBytes = 1024
