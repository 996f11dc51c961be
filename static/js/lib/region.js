/**
 * Sets of pixels as spans, row by row: what the brush paints and a mask holds. Pure. Every operation costs as much as the
 * outline is long, however many pixels lie inside, so a mask over twelve megapixels is as quick as a small one.
 *
 * A span is half open: [start, end) in image px. The spans of a row lie flat in one list, sorted, without touching each other.
 *
 * @typedef {{ymin: number, rows: number[][]}} Region  `rows[i]` is row `ymin + i`; the first and last row are not empty
 * @typedef {{xmin: number, ymin: number, width: number, height: number, counts: string}} Mask  as saved: run lengths of the rectangle
 * @typedef {{xmin: number, ymin: number, xmax: number, ymax: number}} Bounds
 */

export const EMPTY = Object.freeze({ ymin: 0, rows: Object.freeze([]) });

const rowAt = (region, y) => region.rows[y - region.ymin] ?? [];
export const isEmpty = (region) => region.rows.length === 0;

/** Return the region without empty rows at its ends. @param {number} ymin @param {number[][]} rows @returns {Region} */
function trimmed(ymin, rows) {
  let first = 0;
  let last = rows.length;
  while (first < last && !rows[first].length) first += 1;
  while (last > first && !rows[last - 1].length) last -= 1;
  return first === last ? EMPTY : { ymin: ymin + first, rows: first || last < rows.length ? rows.slice(first, last) : rows };
}

/** Return the spans that `keep` says yes to, of what two rows cover. @param {number[]} a @param {number[]} b @param {(inA: boolean, inB: boolean) => boolean} keep */
function mergedRow(a, b, keep) {
  const out = [];
  let i = 0;
  let j = 0;
  let isOpen = false;
  while (i < a.length || j < b.length) {
    const x = Math.min(a[i] ?? Infinity, b[j] ?? Infinity);
    while (a[i] === x) i += 1;
    while (b[j] === x) j += 1;
    const isIn = keep(i % 2 === 1, j % 2 === 1);
    if (isIn !== isOpen) {
      out.push(x);
      isOpen = isIn;
    }
  }
  return out;
}

/** @param {Region} a @param {Region} b @param {(inA: boolean, inB: boolean) => boolean} keep @returns {Region} */
function merged(a, b, keep) {
  if (isEmpty(a) && isEmpty(b)) return EMPTY;
  const ymin = Math.min(...[a, b].filter((one) => !isEmpty(one)).map((one) => one.ymin));
  const ymax = Math.max(...[a, b].filter((one) => !isEmpty(one)).map((one) => one.ymin + one.rows.length));
  const rows = [];
  for (let y = ymin; y < ymax; y += 1) {
    const [left, right] = [rowAt(a, y), rowAt(b, y)];
    if (right.length) rows.push(mergedRow(left, right, keep));
    else rows.push(keep(true, false) ? left : []);
  }
  return trimmed(ymin, rows);
}

/** @param {Region} a @param {Region} b @returns {Region} */
export const union = (a, b) => merged(a, b, (inA, inB) => inA || inB);
/** @param {Region} a @param {Region} b @returns {Region} what is in `a` and not in `b` */
export const without = (a, b) => merged(a, b, (inA, inB) => inA && !inB);

/** @param {Region} region @param {number} x @param {number} y pixel @returns {boolean} */
export function contains(region, x, y) {
  const row = rowAt(region, y);
  for (let i = 0; i < row.length; i += 2) if (x >= row[i] && x < row[i + 1]) return true;
  return false;
}

/** Return the number of pixels. @param {Region} region @returns {number} */
export function area(region) {
  let sum = 0;
  for (const row of region.rows) for (let i = 0; i < row.length; i += 2) sum += row[i + 1] - row[i];
  return sum;
}

/** Return the smallest rectangle around it, as edges. @param {Region} region not empty @returns {Bounds} */
export function boundsOf(region) {
  let xmin = Infinity;
  let xmax = -Infinity;
  for (const row of region.rows) {
    if (!row.length) continue;
    xmin = Math.min(xmin, row[0]);
    xmax = Math.max(xmax, row.at(-1));
  }
  return { xmin, ymin: region.ymin, xmax, ymax: region.ymin + region.rows.length };
}

/** @param {Region} region @param {number} dx whole px @param {number} dy whole px @returns {Region} */
export function shifted(region, dx, dy) {
  return { ymin: region.ymin + dy, rows: region.rows.map((row) => (dx ? row.map((x) => x + dx) : row)) };
}

/** Return the part of the region that lies in the image. @param {Region} region @param {{width: number, height: number}} size @returns {Region} */
export function clipped(region, { width, height }) {
  const inside = isEmpty(region) ? null : boundsOf(region);
  if (!inside || (inside.xmin >= 0 && inside.ymin >= 0 && inside.xmax <= width && inside.ymax <= height)) return region;
  const rows = region.rows.filter((_, i) => region.ymin + i >= 0 && region.ymin + i < height).map((row) => mergedRow(row, [0, width], (a, b) => a && b));
  return trimmed(Math.max(region.ymin, 0), rows);
}

/** Return the pixels whose centre lies no farther than `radius` from the line between two points: one move of a round brush.
 * @param {{x: number, y: number}} a image px @param {{x: number, y: number}} b @param {number} radius px @param {{width: number, height: number}} size @returns {Region} */
export function capsule(a, b, radius, size) {
  const first = Math.max(Math.ceil(Math.min(a.y, b.y) - radius - 0.5), 0);
  const last = Math.min(Math.floor(Math.max(a.y, b.y) + radius - 0.5), size.height - 1);
  const length = Math.hypot(b.x - a.x, b.y - a.y);
  const [nx, ny] = length ? [((a.y - b.y) / length) * radius, ((b.x - a.x) / length) * radius] : [0, 0];
  // Two discs and, between them, a band: its corners, one after the other.
  const corners = length ? [a.x + nx, a.y + ny, b.x + nx, b.y + ny, b.x - nx, b.y - ny, a.x - nx, a.y - ny] : [];
  const rows = [];
  for (let y = first; y <= last; y += 1) rows.push(chord(a, b, radius, corners, y + 0.5, size.width));
  return trimmed(first, rows);
}

/** Return the span of one row of a capsule. It bulges outwards everywhere, so there is one at most. */
function chord(a, b, radius, corners, y, width) {
  let low = Infinity;
  let high = -Infinity;
  for (const centre of [a, b]) {
    const half = Math.sqrt(radius ** 2 - (y - centre.y) ** 2); // NaN, which compares as false, where the line misses the disc
    if (centre.x - half < low) low = centre.x - half;
    if (centre.x + half > high) high = centre.x + half;
  }
  for (let i = 0; i < corners.length; i += 2) {
    const y1 = corners[i + 1];
    const y2 = corners[(i + 3) % 8];
    if ((y1 <= y) === (y2 <= y)) continue;
    const x = corners[i] + ((y - y1) / (y2 - y1)) * (corners[(i + 2) % 8] - corners[i]);
    if (x < low) low = x;
    if (x > high) high = x;
  }
  const start = Math.max(Math.ceil(low - 0.5), 0);
  const end = Math.min(Math.floor(high - 0.5) + 1, width);
  return start < end ? [start, end] : [];
}

/** Return the pixels whose centre lies inside the rings, by the even-odd rule. @param {number[][]} rings flat x, y @param {{width: number, height: number}} size @returns {Region} */
export function fromRings(rings, size) {
  const ys = rings.flatMap((ring) => ring.filter((_, i) => i % 2));
  const ymin = Math.max(Math.floor(ys.reduce((a, b) => Math.min(a, b), Infinity)), 0);
  const ymax = Math.min(Math.ceil(ys.reduce((a, b) => Math.max(a, b), -Infinity)), size.height);
  const rows = Array.from({ length: Math.max(ymax - ymin, 0) }, () => []);
  for (const ring of rings) {
    for (let i = 0; i < ring.length; i += 2) {
      const [x1, y1] = [ring[i], ring[i + 1]];
      const [x2, y2] = [ring[(i + 2) % ring.length], ring[(i + 3) % ring.length]];
      const first = Math.max(Math.ceil(Math.min(y1, y2) - 0.5), 0);
      const last = Math.min(Math.ceil(Math.max(y1, y2) - 0.5), size.height);
      for (let y = first; y < last; y += 1) rows[y - ymin].push(x1 + ((y + 0.5 - y1) / (y2 - y1)) * (x2 - x1));
    }
  }
  return trimmed(ymin, rows.map((crossings) => (crossings.length ? spansBetween(crossings, size.width) : crossings)));
}

/** Return the spans between the first and second crossing, third and fourth, and so on. @param {number[]} crossings @param {number} width */
function spansBetween(crossings, width) {
  crossings.sort((a, b) => a - b);
  const out = [];
  for (let i = 0; i + 1 < crossings.length; i += 2) {
    const [start, end] = [crossings[i], crossings[i + 1]].map((x) => Math.min(Math.max(Math.ceil(x - 0.5), 0), width));
    if (start === end) continue;
    if (out.at(-1) === start) out[out.length - 1] = end;
    else out.push(start, end);
  }
  return out;
}

/** Return the outline as closed rings along the edges of the pixels, to be filled by the even-odd rule.
 *
 * The corners of a row of edges are joined in pairs from left to right, those of a column from top to bottom; walking along a row, then a
 * column, and so on closes each ring.
 * @param {Region} region @returns {number[][]} flat x, y */
export function outline(region) {
  const [xs, ys] = corners(region);
  const below = columnPartners(xs);
  const seen = new Uint8Array(xs.length);
  const rings = [];
  for (let start = 0; start < xs.length; start += 2) {
    if (seen[start]) continue;
    const ring = [];
    for (let at = start; !seen[at]; at = below[at ^ 1]) {
      seen[at] = seen[at ^ 1] = 1;
      ring.push(xs[at], ys[at], xs[at ^ 1], ys[at ^ 1]);
    }
    rings.push(ring);
  }
  return rings;
}

/** Return where each edge along a row begins and ends: where a row covers what its neighbour does not. @param {Region} region @returns {[number[], number[]]} x and y */
function corners({ ymin, rows }) {
  const xs = [];
  const ys = [];
  for (let i = 0; i <= rows.length; i += 1) {
    const [above, below] = [rows[i - 1] ?? [], rows[i] ?? []];
    // Both are sorted: one walk along the two leaves out the ends that they share.
    let [a, b] = [0, 0];
    while (a < above.length || b < below.length) {
      const isAbove = b === below.length || (a < above.length && above[a] <= below[b]);
      const isShared = isAbove && b < below.length && above[a] === below[b];
      if (!isShared) {
        xs.push(isAbove ? above[a] : below[b]);
        ys.push(ymin + i);
      }
      if (isAbove) a += 1;
      if (!isAbove || isShared) b += 1;
    }
  }
  return [xs, ys];
}

/** Return, for each corner, the one it is joined to in its column. Corners come row by row, so one pass that pairs the two of a column
 * that come next to each other is enough. @param {number[]} xs @returns {Int32Array} */
function columnPartners(xs) {
  const partner = new Int32Array(xs.length);
  let [first, last] = [Infinity, -1];
  for (const x of xs) {
    if (x < first) first = x;
    if (x > last) last = x;
  }
  const waiting = new Int32Array(xs.length && last - first + 1).fill(-1); // by column
  for (let corner = 0; corner < xs.length; corner += 1) {
    const other = waiting[xs[corner] - first];
    waiting[xs[corner] - first] = other < 0 ? corner : -1;
    if (other < 0) continue;
    partner[corner] = other;
    partner[other] = corner;
  }
  return partner;
}

/** Return the hole that a pixel lies in, or null where it is in the region or open to the outside. Pixels meet at their edges, not at their corners.
 * @param {Region} region @param {number} x @param {number} y @returns {Region | null} */
export function holeAt(region, x, y) {
  if (isEmpty(region) || contains(region, x, y)) return null;
  const { xmin, ymin, xmax, ymax } = boundsOf(region);
  if (x < xmin || x >= xmax || y < ymin || y >= ymax) return null;
  const gaps = without({ ymin: ymin - 1, rows: Array.from({ length: ymax - ymin + 2 }, () => [xmin - 1, xmax + 1]) }, region);
  const taken = gaps.rows.map(() => []);
  const open = [];
  const enter = (row, from, to) => {
    const spans = gaps.rows[row] ?? [];
    for (let i = 0; i < spans.length; i += 2) {
      if (spans[i + 1] <= from || spans[i] >= to || taken[row].includes(spans[i])) continue;
      taken[row].push(spans[i], spans[i + 1]);
      open.push([row, spans[i], spans[i + 1]]);
    }
  };
  enter(y - gaps.ymin, x, x + 1);
  while (open.length) {
    const [row, from, to] = open.pop();
    if (row === 0 || from < xmin || to > xmax) return null;
    enter(row - 1, from, to);
    enter(row + 1, from, to);
  }
  return trimmed(gaps.ymin, taken.map((spans) => spans.sort((a, b) => a - b)));
}

/** Return the region as it is saved. @param {Region} region not empty @returns {Mask} */
export function toMask(region) {
  const { xmin, ymin, xmax, ymax } = boundsOf(region);
  const counts = [];
  let zeros = 0;
  for (const row of region.rows) {
    let x = xmin;
    for (let i = 0; i < row.length; i += 2) {
      zeros += row[i] - x;
      // A span that goes on from the end of the row above is one run with it.
      if (zeros || !counts.length) counts.push(zeros, 0);
      counts[counts.length - 1] += row[i + 1] - row[i];
      zeros = 0;
      x = row[i + 1];
    }
    zeros += xmax - x;
  }
  if (zeros) counts.push(zeros);
  const text = counts.map((n, i) => (n ? `${n}${i % 2 ? "N" : "Z"}` : "")).join("");
  return { xmin, ymin, width: xmax - xmin, height: ymax - ymin, counts: text };
}

/** Return the region that a saved mask holds. @param {Mask} mask @returns {Region} @throws {RangeError} the runs are not those of the rectangle */
export function fromMask({ xmin, ymin, width, height, counts }) {
  if (!/^(\d+[ZN])*$/.test(counts)) throw new RangeError("The run lengths of a mask cannot be read.");
  const rows = Array.from({ length: height }, () => []);
  let at = 0;
  for (const [, digits, letter] of counts.matchAll(/(\d+)([ZN])/g)) {
    const end = at + Number(digits);
    if (end > width * height) break;
    while (letter === "N" && at < end) {
      const y = Math.floor(at / width);
      const stop = Math.min(end, (y + 1) * width);
      const [from, to] = [xmin + at - y * width, xmin + stop - y * width];
      if (rows[y].at(-1) === from) rows[y][rows[y].length - 1] = to;
      else rows[y].push(from, to);
      at = stop;
    }
    at = end;
  }
  if (at !== width * height) throw new RangeError("The run lengths of a mask do not fill its rectangle.");
  return trimmed(ymin, rows);
}
