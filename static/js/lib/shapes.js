/**
 * What an image's labels are made of, whichever form they have. A shape never changes; an edit makes another one.
 *
 * @typedef {object} Shape
 * @property {number} id  of this page only
 * @property {string} categoryId
 * @property {import("./box.js").Box} [box]
 * @property {number[][]} [rings]  of a polygon
 * @property {import("./region.js").Region} [region]  of a mask
 *
 * @typedef {{shapes: readonly Shape[], isNothing: boolean}} Labels  `isNothing`: somebody looked, and there is nothing to label
 * @typedef {{width: number, height: number}} Size
 */
import * as boxes from "./box.js";
import * as polygons from "./polygon.js";
import * as regions from "./region.js";

/** @type {Labels} */
export const NONE = Object.freeze({ shapes: Object.freeze([]), isNothing: false });

let lastId = 0;

/** Return a new shape, or another form of one when `parts` names its id. @param {Omit<Shape, "id"> & {id?: number}} parts @returns {Shape} */
export const shape = (parts) => Object.freeze({ id: (lastId += 1), ...parts });

/** @param {Shape} one @param {Partial<Shape>} parts @returns {Shape} */
export const altered = (one, parts) => Object.freeze({ ...one, ...parts });

/** @param {Shape} one @returns {"box" | "polygon" | "mask"} */
export const kindOf = (one) => (one.box ? "box" : one.rings ? "polygon" : "mask");

/** @param {Shape} one @returns {import("./box.js").Box} */
export const boundsOf = (one) => one.box ?? (one.rings ? polygons.boundsOf(one.rings) : regions.boundsOf(one.region));

/** @param {Shape} one @returns {number} px² */
export function areaOf(one) {
  if (one.box) return (one.box.xmax - one.box.xmin) * (one.box.ymax - one.box.ymin);
  return one.rings ? polygons.area(one.rings) : regions.area(one.region);
}

/** @param {Shape} one @param {{x: number, y: number}} point image px @returns {boolean} */
export function contains(one, point) {
  if (one.box) return point.x >= one.box.xmin && point.x <= one.box.xmax && point.y >= one.box.ymin && point.y <= one.box.ymax;
  return one.rings ? polygons.contains(one.rings, point) : regions.contains(one.region, Math.floor(point.x), Math.floor(point.y));
}

/** Return the pixels of a polygon or mask. @param {Shape} one @param {Size} size @returns {import("./region.js").Region} */
export const regionOf = (one, size) => one.region ?? regions.fromRings(one.rings, size);

/** @param {Shape} one @param {number} dx @param {number} dy @returns {Shape} */
function shifted(one, dx, dy) {
  if (one.box) return altered(one, { box: boxes.shifted(one.box, dx, dy) });
  if (one.rings) return altered(one, { rings: polygons.shifted(one.rings, dx, dy) });
  return altered(one, { region: regions.shifted(one.region, dx, dy) });
}

/** Return the smallest box around shapes. @param {readonly Shape[]} some at least one @returns {import("./box.js").Box} */
export function boundsOfAll(some) {
  const around = (a, b) => ({ xmin: Math.min(a.xmin, b.xmin), ymin: Math.min(a.ymin, b.ymin), xmax: Math.max(a.xmax, b.xmax), ymax: Math.max(a.ymax, b.ymax) });
  return some.map(boundsOf).reduce(around);
}

/** Return shapes moved together by whole pixels, as far as all of them stay in the image. @param {Shape[]} some @param {number} dx @param {number} dy @param {Size} size @returns {Shape[]} */
export function movedTogether(some, dx, dy, size) {
  const [x, y] = boxes.allowed(boundsOfAll(some), Math.round(dx), Math.round(dy), size);
  return x || y ? some.map((one) => shifted(one, x, y)) : some;
}

/** Return copies for an image of another size: what lies outside of it is cut off or left out. @param {readonly Shape[]} some @param {Size} size @returns {Shape[]} */
export function copiedInto(some, size) {
  const copies = some.map((one) => {
    const { categoryId } = one;
    const { xmin, ymin, xmax, ymax } = boundsOf(one);
    if (xmin >= size.width || ymin >= size.height) return null;
    const fits = xmax <= size.width && ymax <= size.height;
    if (one.box) return shape({ categoryId, box: boxes.clipped(one.box, size) });
    if (one.rings && fits) return shape({ categoryId, rings: one.rings });
    const region = regions.clipped(regionOf(one, { width: Math.max(xmax, size.width), height: Math.max(ymax, size.height) }), size);
    return regions.isEmpty(region) ? null : shape({ categoryId, region });
  });
  return copies.filter(Boolean);
}

/** @param {Shape} one @returns {object} as it is saved */
export function toSaved(one) {
  const category_id = Number(one.categoryId);
  if (one.box) return { category_id, box: one.box };
  return one.rings ? { category_id, polygon: { rings: one.rings } } : { category_id, mask: regions.toMask(one.region) };
}

/** @type {WeakMap<Shape, string>} */
const texts = new WeakMap();

/** Return a shape as it is saved, as JSON: written once, since a shape never changes. @param {Shape} one @returns {string} */
export function savedText(one) {
  if (!texts.has(one)) texts.set(one, JSON.stringify(toSaved(one)));
  return texts.get(one);
}

/** @param {object} saved @returns {Shape} */
export function fromSaved({ category_id, box, polygon, mask }) {
  const categoryId = String(category_id);
  if (box) return shape({ categoryId, box: { xmin: box.xmin, ymin: box.ymin, xmax: box.xmax, ymax: box.ymax } });
  return polygon ? shape({ categoryId, rings: polygon.rings }) : shape({ categoryId, region: regions.fromMask(mask) });
}
