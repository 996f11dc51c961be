/**
 * The view of an image on a stage: where its corner lies and how much it is enlarged. Pure; pixels throughout.
 *
 * Frames: *stage* pixels have their origin at the stage's top left corner; *image* pixels at the image's.
 *
 * @typedef {{scale: number, x: number, y: number}} View  stage px per image px, and the image's corner in stage px
 * @typedef {{width: number, height: number}} Size
 * @typedef {{x: number, y: number}} Point
 */

export const MAX_SCALE = 40;

/** Return the view that shows the whole image, centred, with a margin. Never enlarges a small image above `atMost`.
 * @param {Size} image @param {Size} stage @param {number} [margin] stage px @param {number} [atMost] @returns {View} */
export function fit(image, stage, margin = 12, atMost = 8) {
  const scale = Math.max(Math.min((stage.width - 2 * margin) / image.width, (stage.height - 2 * margin) / image.height, atMost), 1e-3);
  return centred(image, stage, scale);
}

/** Return the view of one scale with the image in the middle.
 * @param {Size} image @param {Size} stage @param {number} scale @returns {View} */
export function centred(image, stage, scale) {
  return { scale, x: (stage.width - image.width * scale) / 2, y: (stage.height - image.height * scale) / 2 };
}

/** Return the view enlarged by `factor` so that the image point under `at` (stage px) stays where it is.
 * @param {View} view @param {number} factor @param {Point} at @param {number} [least] smallest scale @returns {View} */
export function zoomAt(view, factor, at, least = 0.01) {
  const scale = Math.min(Math.max(view.scale * factor, least), MAX_SCALE);
  const real = scale / view.scale;
  return { scale, x: at.x - (at.x - view.x) * real, y: at.y - (at.y - view.y) * real };
}

/** Return the view moved by stage pixels. @param {View} view @param {number} dx @param {number} dy @returns {View} */
export function pan(view, dx, dy) {
  return { ...view, x: view.x + dx, y: view.y + dy };
}

/** Return the view moved back so that at least `keep` stage pixels of the image stay on the stage.
 * @param {View} view @param {Size} image @param {Size} stage @param {number} [keep] @returns {View} */
export function clamp(view, image, stage, keep = 64) {
  const width = image.width * view.scale;
  const height = image.height * view.scale;
  const kx = Math.min(keep, width);
  const ky = Math.min(keep, height);
  return { scale: view.scale, x: Math.min(Math.max(view.x, kx - width), stage.width - kx), y: Math.min(Math.max(view.y, ky - height), stage.height - ky) };
}

/** @param {View} view @param {Point} at stage px @returns {Point} image px */
export function toImage(view, at) {
  return { x: (at.x - view.x) / view.scale, y: (at.y - view.y) / view.scale };
}

/** @param {View} view @param {Point} at image px @returns {Point} stage px */
export function toStage(view, at) {
  return { x: at.x * view.scale + view.x, y: at.y * view.scale + view.y };
}

/** Return the pixel that a point lies in, or null outside the image. @param {Point} at image px @param {Size} image @returns {Point | null} */
export function pixelAt(at, image) {
  const x = Math.floor(at.x);
  const y = Math.floor(at.y);
  return x >= 0 && y >= 0 && x < image.width && y < image.height ? { x, y } : null;
}
