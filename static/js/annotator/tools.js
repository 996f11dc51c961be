/**
 * What a press on the stage does. A project's task names its tools; boxes, polygons and brushes join this table.
 *
 * A tool is told of the pointer in image pixels and stage pixels, and may draw on the overlay (an SVG in stage pixels).
 *
 * @typedef {object} Press
 * @property {{x: number, y: number}} stage  stage px
 * @property {{x: number, y: number}} image  image px
 * @property {PointerEvent} event
 *
 * @typedef {object} Tool
 * @property {string} cursor  CSS cursor of the stage
 * @property {(press: Press, stage: import("./stage.js").Stage) => void} [down]
 * @property {(press: Press, before: Press, stage: import("./stage.js").Stage) => void} [move]  while pressed
 * @property {(press: Press, stage: import("./stage.js").Stage) => void} [up]
 * @property {(overlay: SVGElement, stage: import("./stage.js").Stage) => void} [draw]  after each change of view
 */

/** @type {Record<string, Tool>} */
export const TOOLS = {
  pan: {
    cursor: "grab",
    move: (press, before, stage) => stage.pan(press.stage.x - before.stage.x, press.stage.y - before.stage.y),
  },
  tone: {
    cursor: "move",
    move: (press, before, stage) => stage.dragTone(press.stage.x - before.stage.x, press.stage.y - before.stage.y),
  },
};
