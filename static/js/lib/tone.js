/**
 * Brightness and contrast of the shown image (never of the stored one).
 *
 * @typedef {{brightness: number, contrast: number}} Tone  factors; 1 is unchanged
 */

export const PLAIN = Object.freeze({ brightness: 1, contrast: 1 });
export const LIMITS = Object.freeze({ brightness: [0.2, 3], contrast: [0.2, 5] });

const held = (value, [low, high]) => Math.min(Math.max(value, low), high);

/** Return the tone after a drag: sideways contrast, upwards brightness; 240 px double or halve. Exponential, so that a drag back undoes it.
 * @param {Tone} from @param {number} dx px @param {number} dy px @returns {Tone} */
export function dragged(from, dx, dy) {
  return { brightness: held(from.brightness * 2 ** (-dy / 240), LIMITS.brightness), contrast: held(from.contrast * 2 ** (dx / 240), LIMITS.contrast) };
}

/** Return the CSS filter of a tone. @param {Tone} tone @returns {string} */
export function filterOf(tone) {
  return tone.brightness === 1 && tone.contrast === 1 ? "" : `brightness(${tone.brightness.toFixed(3)}) contrast(${tone.contrast.toFixed(3)})`;
}
