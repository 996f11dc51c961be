/**
 * Which items of an ordered list are selected. Pure; ids are strings, `order` is the list as shown.
 *
 * @typedef {{ids: Set<string>, anchor: string | null}} Selection
 */

/** @returns {Selection} */
export const none = () => ({ ids: new Set(), anchor: null });

/** Return the ids from `a` to `b` in the order shown, both included. @param {string[]} order @param {string} a @param {string} b @returns {string[]} */
export function between(order, a, b) {
  const i = order.indexOf(a);
  const j = order.indexOf(b);
  if (i < 0 || j < 0) return j < 0 ? [] : [b];
  return order.slice(Math.min(i, j), Math.max(i, j) + 1);
}

/** Return the selection after a pick: `toggle` turns one, `range` takes all from the anchor, else only this one.
 * @param {Selection} selection @param {string[]} order @param {string} id @param {"only" | "toggle" | "range"} how @returns {Selection} */
export function pick(selection, order, id, how) {
  if (how === "range") {
    const anchor = selection.anchor ?? id;
    return { ids: new Set([...selection.ids, ...between(order, anchor, id)]), anchor };
  }
  if (how === "toggle") {
    const ids = new Set(selection.ids);
    if (!ids.delete(id)) ids.add(id);
    return { ids, anchor: id };
  }
  return { ids: new Set([id]), anchor: id };
}

/** Return the boxes that a lasso touches. @param {{id: string, left: number, top: number, right: number, bottom: number}[]} boxes
 * @param {{left: number, top: number, right: number, bottom: number}} lasso @returns {string[]} */
export function touched(boxes, lasso) {
  return boxes.filter((b) => b.left < lasso.right && b.right > lasso.left && b.top < lasso.bottom && b.bottom > lasso.top).map((b) => b.id);
}

/** Return the rectangle between two points. @param {{x: number, y: number}} a @param {{x: number, y: number}} b */
export function rectangle(a, b) {
  return { left: Math.min(a.x, b.x), top: Math.min(a.y, b.y), right: Math.max(a.x, b.x), bottom: Math.max(a.y, b.y) };
}

/** Return the index that an arrow key leads to in rows of unequal boxes, or `from` at an edge.
 * @param {{left: number, right: number, top: number}[]} boxes in reading order @param {number} from @param {"left" | "right" | "up" | "down"} way @returns {number} */
export function neighbour(boxes, from, way) {
  if (way === "left") return Math.max(from - 1, 0);
  if (way === "right") return Math.min(from + 1, boxes.length - 1);
  const here = boxes[from];
  const centre = (here.left + here.right) / 2;
  const rows = [...new Set(boxes.map((b) => b.top))].sort((a, b) => a - b);
  const row = rows[rows.indexOf(here.top) + (way === "down" ? 1 : -1)];
  if (row === undefined) return from;
  let best = from;
  let least = Infinity;
  boxes.forEach((b, i) => {
    const distance = Math.abs((b.left + b.right) / 2 - centre);
    if (b.top === row && distance < least) [best, least] = [i, distance];
  });
  return best;
}
