/**
 * Packs files into requests: many small ones share one, a zip goes alone.
 *
 * @typedef {{file: {name: string, size: number}, path: string}} Pick
 */

export const MAX_FILES = 50;
export const MAX_BYTES = 32 * 2 ** 20;

/** Is this an archive, which the server unpacks? @param {string} name */
export const isZip = (name) => /\.zip$/i.test(name);

/** Return the items in requests, in order. A file above `maxBytes` has a request of its own.
 * @template {Pick} T @param {T[]} picks @param {number} [maxFiles] @param {number} [maxBytes] @returns {T[][]} */
export function batches(picks, maxFiles = MAX_FILES, maxBytes = MAX_BYTES) {
  const out = [];
  let current = [];
  let bytes = 0;
  const close = () => {
    if (current.length) out.push(current);
    current = [];
    bytes = 0;
  };
  for (const pick of picks) {
    if (isZip(pick.file.name)) {
      close();
      out.push([pick]);
      continue;
    }
    if (current.length >= maxFiles || (current.length && bytes + pick.file.size > maxBytes)) close();
    current.push(pick);
    bytes += pick.file.size;
  }
  close();
  return out;
}

/** Return why a file cannot be sent at all, or null. The server decides what a file really is; this only saves a journey.
 * @param {{name: string, size: number}} file @param {string} accept ".jpg,.png" or "" @param {number} maxBytes @returns {string | null} */
export function refusal(file, accept, maxBytes) {
  const endings = accept.split(",").map((end) => end.trim().toLowerCase()).filter((end) => end.startsWith("."));
  if (endings.length && !endings.some((end) => file.name.toLowerCase().endsWith(end))) return "Not an image that Kizu reads.";
  if (file.size === 0) return "The file is empty.";
  if (maxBytes && file.size > maxBytes) return `Larger than ${Math.round(maxBytes / 2 ** 20)} MB.`;
  return null;
}
