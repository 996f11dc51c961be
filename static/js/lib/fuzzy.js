/** Finds entries by a few of their letters. */

/** Return how well `query` fits `text`: 0 for not at all, higher is better. Whole starts of words count most, then letters in order.
 * @param {string} query @param {string} text @returns {number} */
export function fitness(query, text) {
  const q = query.trim().toLowerCase();
  const t = text.toLowerCase();
  if (!q) return 1;
  if (t.startsWith(q)) return 100 - t.length / 1000;
  const at = t.indexOf(q);
  if (at > 0) return (/[\s/_-]/.test(t[at - 1]) ? 80 : 60) - at / 1000;
  let i = 0;
  let gaps = 0;
  for (const letter of q.replace(/\s+/g, "")) {
    const next = t.indexOf(letter, i);
    if (next < 0) return 0;
    gaps += next - i;
    i = next + 1;
  }
  return Math.max(30 - gaps, 1);
}

/** Return the entries that fit, the best first; equal ones keep their order. @template T @param {string} query @param {T[]} entries
 * @param {(entry: T) => string} textOf @returns {T[]} */
export function ranked(query, entries, textOf) {
  return entries.map((entry, i) => ({ entry, i, fit: fitness(query, textOf(entry)) })).filter((e) => e.fit > 0).sort((a, b) => b.fit - a.fit || a.i - b.i).map((e) => e.entry);
}
