/**
 * Finds the files under what was dropped, folders included.
 *
 * @typedef {{file: File, path: string}} Found  path: relative, with "/" between the names
 */

const HIDDEN = /^\.|^__MACOSX$|^Thumbs\.db$|^desktop\.ini$/i;

/** @param {FileSystemDirectoryReader} reader */
const readSome = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));

/** Yield the files under one entry. `readEntries` answers at most a hundred names at a time: it is asked until it has no more.
 * A folder or file that cannot be read is reported to `onError` and passed over.
 * @param {FileSystemEntry} entry @param {string} [prefix] @param {(path: string) => void} [onError] @returns {AsyncGenerator<Found>} */
export async function* walk(entry, prefix = "", onError = () => {}) {
  if (HIDDEN.test(entry.name)) return;
  const path = prefix + entry.name;
  try {
    if (entry.isFile) {
      yield { file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path };
      return;
    }
    const reader = entry.createReader();
    for (let some = await readSome(reader); some.length; some = await readSome(reader)) {
      for (const child of some) yield* walk(child, `${path}/`, onError);
    }
  } catch {
    onError(path);
  }
}

/** Return the entries of a drop. They must be taken before the event handler ends, or the browser empties the list.
 * @param {DataTransfer} transfer @returns {FileSystemEntry[]} */
export function entriesOf(transfer) {
  return [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
}
