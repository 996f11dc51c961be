/**
 * Boxes by their edges, on whole pixels, inside their image. Pure; image px throughout.
 *
 * @typedef {{xmin: number, ymin: number, xmax: number, ymax: number}} Box
 * @typedef {{width: number, height: number}} Size
 * @typedef {{x: number, y: number}} Point
 * @typedef {"nw" | "n" | "ne" | "e" | "se" | "s" | "sw" | "w"} Handle
 */

/** @type {Handle[]} */
export const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];

const held = (value, low, high) => Math.min(Math.max(value, low), high);

/** Return the box between two points, or null where it has no area. @param {Point} a @param {Point} b @param {Size} size @returns {Box | null} */
export function spanned(a, b, size) {
  const edge = (value, limit) => held(Math.round(value), 0, limit);
  const box = {
    xmin: edge(Math.min(a.x, b.x), size.width), ymin: edge(Math.min(a.y, b.y), size.height),
    xmax: edge(Math.max(a.x, b.x), size.width), ymax: edge(Math.max(a.y, b.y), size.height),
  };
  return box.xmin < box.xmax && box.ymin < box.ymax ? box : null;
}

/** Return how far bounds may move by a wish, so that they stay in the image. @param {Box} bounds @param {number} dx @param {number} dy @param {Size} size @returns {[number, number]} */
export function allowed(bounds, dx, dy, size) {
  return [held(dx, -bounds.xmin, Math.max(size.width - bounds.xmax, -bounds.xmin)), held(dy, -bounds.ymin, Math.max(size.height - bounds.ymax, -bounds.ymin))];
}

/** @param {Box} box @param {number} dx @param {number} dy @returns {Box} */
export const shifted = (box, dx, dy) => ({ xmin: box.xmin + dx, ymin: box.ymin + dy, xmax: box.xmax + dx, ymax: box.ymax + dy });

/** Return the part of a box that lies in the image, or null. @param {Box} box @param {Size} size @returns {Box | null} */
export function clipped(box, size) {
  const out = { xmin: Math.max(box.xmin, 0), ymin: Math.max(box.ymin, 0), xmax: Math.min(box.xmax, size.width), ymax: Math.min(box.ymax, size.height) };
  return out.xmin < out.xmax && out.ymin < out.ymax ? out : null;
}

/** Return the box with the edges of a handle drawn to a point. Drawn past the edge that stays, it turns over. A side is never under 1 px.
 * @param {Box} box @param {Handle} handle @param {Point} to @param {Size} size @returns {Box} */
export function resized(box, handle, to, size) {
  const [xmin, xmax] = side(box.xmin, box.xmax, handle.includes("w"), handle.includes("e"), to.x, size.width);
  const [ymin, ymax] = side(box.ymin, box.ymax, handle.includes("n"), handle.includes("s"), to.y, size.height);
  return { xmin, ymin, xmax, ymax };
}

function side(low, high, movesLow, movesHigh, to, limit) {
  if (!movesLow && !movesHigh) return [low, high];
  const still = movesLow ? high : low;
  let moved = held(Math.round(to), 0, limit);
  if (moved === still) moved += (movesLow && still > 0) || still >= limit ? -1 : 1;
  return moved < still ? [moved, still] : [still, moved];
}

/** Return where the handles are. @param {Box} box @returns {{handle: Handle, x: number, y: number}[]} */
export function handlesOf({ xmin, ymin, xmax, ymax }) {
  const at = (name, low, high, first, last) => (name.includes(first) ? low : name.includes(last) ? high : (low + high) / 2);
  return HANDLES.map((handle) => ({ handle, x: at(handle, xmin, xmax, "w", "e"), y: at(handle, ymin, ymax, "n", "s") }));
}

/** Return the box of a first press of Enter: a quarter of what is seen, in its middle. @param {Box} seen image px @param {Size} size @returns {Box | null} */
export function inMiddle(seen, size) {
  const part = clipped(seen, size);
  if (!part) return null;
  const [w, h] = [(part.xmax - part.xmin) / 8, (part.ymax - part.ymin) / 8];
  const [x, y] = [(part.xmin + part.xmax) / 2, (part.ymin + part.ymax) / 2];
  return spanned({ x: x - Math.max(w, 1), y: y - Math.max(h, 1) }, { x: x + Math.max(w, 1), y: y + Math.max(h, 1) }, size);
}
