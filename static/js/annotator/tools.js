/**
 * What a press on the stage does. These two belong to every screen; those that make labels are in tools/.
 *
 * A tool is told of the pointer in image pixels and stage pixels.
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
 * @property {(press: Press, stage: import("./stage.js").Stage) => void} [hover]  while not pressed
 * @property {() => void} [leave]  the pointer is no longer over the stage
 * @property {(press: Press, stage: import("./stage.js").Stage) => void} [double]  click; without it, that fits or shows actual size
 * @property {(stage: import("./stage.js").Stage) => void} [cancel]  drop what a press began
 * @property {boolean} [hasRight]  the right button presses too; without it, it opens the browser's menu
 * @property {() => void} [begin]  the tool was taken up
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
