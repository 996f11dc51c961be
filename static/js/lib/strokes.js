/**
 * Strokes: lines painted with a round brush, in image px. Immutable values.
 *
 * @typedef {object} Stroke
 * @property {string | null} categoryId  null: none of the classes
 * @property {number} radius  image px
 * @property {readonly number[]} points  x, y, x, y, …
 */

export const MOST_POINTS = 2000; // of one stroke; what the server takes

/** Return a stroke of one dab. @param {string | null} categoryId @param {number} radius @param {{x: number, y: number}} point @param {{width: number, height: number}} size @returns {Stroke} */
export const dab = (categoryId, radius, point, size) => ({ categoryId, radius, points: placed(point, size) });

/** Return a stroke that goes on to a point; the same stroke where that is too near to tell.
 * @param {Stroke} stroke @param {{x: number, y: number}} point @param {{width: number, height: number}} size @returns {Stroke} */
export function drawnTo(stroke, point, size) {
  const [x, y] = placed(point, size);
  const [px, py] = stroke.points.slice(-2);
  const isNear = Math.hypot(x - px, y - py) < Math.max(stroke.radius / 4, 0.5);
  if (isNear || stroke.points.length >= 2 * MOST_POINTS) return stroke;
  return { ...stroke, points: [...stroke.points, x, y] };
}

/** Does a stroke come within a distance of a point? @param {Stroke} stroke @param {{x: number, y: number}} point @param {number} reach image px @returns {boolean} */
export function isTouched({ points, radius }, point, reach) {
  for (let i = 0; i < points.length; i += 2) {
    const next = Math.min(i + 2, points.length - 2);
    if (apart(point, points[i], points[i + 1], points[next], points[next + 1]) <= radius + reach) return true;
  }
  return false;
}

/** @param {Stroke} stroke @returns {object} as the server takes it */
export const toSaved = ({ categoryId, radius, points }) => ({ category_id: categoryId === null ? null : Number(categoryId), radius_px: radius, points });

/** @param {{category_id: number | null, radius_px: number, points: number[]}} saved @returns {Stroke} */
export const fromSaved = ({ category_id, radius_px, points }) => ({ categoryId: category_id === null ? null : String(category_id), radius: radius_px, points });

function placed({ x, y }, { width, height }) {
  return [tenth(Math.min(Math.max(x, 0), width)), tenth(Math.min(Math.max(y, 0), height))];
}

const tenth = (value) => Math.floor(value * 10) / 10; // down, so that it stays inside

function apart({ x, y }, ax, ay, bx, by) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const share = length ? Math.min(Math.max(((x - ax) * dx + (y - ay) * dy) / length, 0), 1) : 0;
  return Math.hypot(x - ax - share * dx, y - ay - share * dy);
}
