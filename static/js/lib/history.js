/**
 * Undo and redo over many images. Immutable; fits into JSON, so it outlives a change of page.
 *
 * @typedef {{imageId: string, href: string, from: string, to: string}} Change  `from`, `to`: category ids, "" for none
 * @typedef {{done: Change[], undone: Change[]}} History
 */

export const EMPTY = Object.freeze({ done: Object.freeze([]), undone: Object.freeze([]) });
const LIMIT = 500;

/** Return the history with one more change; what had been undone is gone. A change to the same value is none.
 * @param {History} history @param {Change} change @returns {History} */
export function record(history, change) {
  if (change.from === change.to) return history;
  return { done: [...history.done, change].slice(-LIMIT), undone: [] };
}

/** Return the change to take back and the history after it, or null. @param {History} history @returns {{change: Change, history: History} | null} */
export function undo(history) {
  const change = history.done.at(-1);
  return change ? { change, history: { done: history.done.slice(0, -1), undone: [...history.undone, change] } } : null;
}

/** Return the change to do again and the history after it, or null. @param {History} history @returns {{change: Change, history: History} | null} */
export function redo(history) {
  const change = history.undone.at(-1);
  return change ? { change, history: { done: [...history.done, change], undone: history.undone.slice(0, -1) } } : null;
}

/** Return the history that a text holds, or an empty one. @param {string | null} text @returns {History} */
export function parse(text) {
  try {
    const value = JSON.parse(text ?? "");
    const ok = (list) => Array.isArray(list) && list.every((c) => ["imageId", "href", "from", "to"].every((key) => typeof c?.[key] === "string"));
    return ok(value?.done) && ok(value?.undone) ? { done: value.done, undone: value.undone } : EMPTY;
  } catch {
    return EMPTY;
  }
}
