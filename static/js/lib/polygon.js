/**
 * Polygons as flat rings x, y, x, y, ...: the first ring outside, further ones are holes. Pure; image px; nothing is changed in place.
 *
 * @typedef {number[][]} Rings
 * @typedef {{x: number, y: number}} Point
 * @typedef {{ring: number, vertex: number}} Place  `vertex` counts points, not numbers
 */

/** @param {Rings} rings @returns {import("./box.js").Box} */
export function boundsOf(rings) {
  const out = { xmin: Infinity, ymin: Infinity, xmax: -Infinity, ymax: -Infinity };
  for (const ring of rings) {
    for (let i = 0; i < ring.length; i += 2) {
      out.xmin = Math.min(out.xmin, ring[i]);
      out.xmax = Math.max(out.xmax, ring[i]);
      out.ymin = Math.min(out.ymin, ring[i + 1]);
      out.ymax = Math.max(out.ymax, ring[i + 1]);
    }
  }
  return out;
}

/** @param {Rings} rings @param {number} dx @param {number} dy @returns {Rings} */
export const shifted = (rings, dx, dy) => rings.map((ring) => ring.map((value, i) => value + (i % 2 ? dy : dx)));

/** Return twice the signed area of a ring. @param {number[]} ring @returns {number} */
export function doubledArea(ring) {
  let sum = 0;
  for (let i = 0; i < ring.length; i += 2) sum += ring[i] * ring[(i + 3) % ring.length] - ring[(i + 2) % ring.length] * ring[i + 1];
  return sum;
}

/** Return the area that the even-odd rule fills where holes lie inside and apart. @param {Rings} rings @returns {number} px² */
export const area = (rings) => rings.reduce((sum, ring, i) => sum + (Math.abs(doubledArea(ring)) / 2) * (i ? -1 : 1), 0);

/** Is a point inside, by the even-odd rule? @param {Rings} rings @param {Point} point @returns {boolean} */
export function contains(rings, { x, y }) {
  let isIn = false;
  for (const ring of rings) {
    for (let i = 0, j = ring.length - 2; i < ring.length; j = i, i += 2) {
      if (ring[i + 1] > y !== ring[j + 1] > y && x < ring[i] + ((y - ring[i + 1]) / (ring[j + 1] - ring[i + 1])) * (ring[j] - ring[i])) isIn = !isIn;
    }
  }
  return isIn;
}

/** Return the vertex nearest to a point, if within reach. @param {Rings} rings @param {Point} point @param {number} reach px @returns {Place | null} */
export function vertexAt(rings, point, reach) {
  let best = null;
  let least = reach;
  rings.forEach((points, ring) => {
    for (let i = 0; i < points.length; i += 2) {
      const away = Math.hypot(points[i] - point.x, points[i + 1] - point.y);
      if (away <= least) [best, least] = [{ ring, vertex: i / 2 }, away];
    }
  });
  return best;
}

/** Return the edge nearest to a point, if within reach: the place that a new vertex there would take. @param {Rings} rings @param {Point} point @param {number} reach px @returns {Place | null} */
export function edgeAt(rings, point, reach) {
  let best = null;
  let least = reach;
  rings.forEach((points, ring) => {
    for (let i = 0; i < points.length; i += 2) {
      const [x, y] = [points[i], points[i + 1]];
      const [dx, dy] = [points[(i + 2) % points.length] - x, points[(i + 3) % points.length] - y];
      const t = Math.min(Math.max(((point.x - x) * dx + (point.y - y) * dy) / (dx * dx + dy * dy || 1), 0), 1);
      const away = Math.hypot(x + t * dx - point.x, y + t * dy - point.y);
      if (away <= least) [best, least] = [{ ring, vertex: i / 2 + 1 }, away];
    }
  });
  return best;
}

const changed = (rings, at, change) => rings.map((ring, i) => (i === at ? change([...ring]) : ring));

/** @param {Rings} rings @param {Place} place @param {Point} to @returns {Rings} */
export const movedVertex = (rings, { ring, vertex }, to) => changed(rings, ring, (points) => (points.splice(vertex * 2, 2, to.x, to.y), points));

/** @param {Rings} rings @param {Place} place the new vertex comes before the one that is there @param {Point} at @returns {Rings} */
export const withVertex = (rings, { ring, vertex }, at) => changed(rings, ring, (points) => (points.splice(vertex * 2, 0, at.x, at.y), points));

/** Return the rings with a vertex less; a ring of three goes with it, and with the outer ring everything. @param {Rings} rings @param {Place} place @returns {Rings | null} */
export function withoutVertex(rings, { ring, vertex }) {
  if (rings[ring].length > 6) return changed(rings, ring, (points) => (points.splice(vertex * 2, 2), points));
  return ring === 0 ? null : rings.filter((_, i) => i !== ring);
}

/** Return the index of the hole that a point lies in, or 0. @param {Rings} rings @param {Point} point @returns {number} */
export const holeAt = (rings, point) => Math.max(rings.findIndex((ring, i) => i > 0 && contains([ring], point)), 0);

/** Return a point moved into the image, to a hundredth of a pixel: that is what is worth saving. @param {Point} point @param {{width: number, height: number}} size @returns {Point} */
export function placed({ x, y }, { width, height }) {
  const held = (value, limit) => Math.round(Math.min(Math.max(value, 0), limit) * 100) / 100;
  return { x: held(x, width), y: held(y, height) };
}
