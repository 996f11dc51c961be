/**
 * The states that something went through, and where it stands now. Immutable and without an end: states share what did not change.
 *
 * @template T
 * @typedef {{past: readonly T[], now: T, future: readonly T[], merge: string | null}} Timeline
 */

/** @template T @param {T} now @returns {Timeline<T>} */
export const begin = (now) => ({ past: [], now, future: [], merge: null });

/** Return the line with one more state. Steps of the same `merge` (a key that is held down, for example) are taken back as one.
 * @template T @param {Timeline<T>} line @param {T} now @param {string | null} [merge] @returns {Timeline<T>} */
export function commit(line, now, merge = null) {
  if (now === line.now) return line;
  const isSame = merge !== null && merge === line.merge;
  return { past: isSame ? line.past : [...line.past, line.now], now, future: [], merge };
}

/** @template T @param {Timeline<T>} line @returns {Timeline<T> | null} null: nothing to undo */
export function back(line) {
  return line.past.length ? { past: line.past.slice(0, -1), now: line.past.at(-1), future: [line.now, ...line.future], merge: null } : null;
}

/** @template T @param {Timeline<T>} line @returns {Timeline<T> | null} null: nothing to redo */
export function forward(line) {
  return line.future.length ? { past: [...line.past, line.now], now: line.future[0], future: line.future.slice(1), merge: null } : null;
}
