/** Times, as they are stored. */

let lastMillis = 0
let lastIso = new Date(0).toISOString()

/**
 * A time in milliseconds as an ISO date. What is appended together has one time, and making a text of it takes longer than all else that
 * is done with it. Throws a `RangeError` for what no date has.
 */
export const toIso = (millis: number): string => {
  if (millis !== lastMillis) {
    lastIso = new Date(millis).toISOString()
    lastMillis = millis
  }
  return lastIso
}
