/** The keys and commands of the editor of shapes. The keys of its tools are with the tools of each task, in shape-editor.js. */

import { placed } from "../lib/polygon.js";
import { altered, movedTogether } from "../lib/shapes.js";

const KEYS = {
  Delete: "delete", Backspace: "delete", Escape: "let-go", "Ctrl+a": "select-all", "Ctrl+c": "copy", "Ctrl+v": "paste", d: "copy-to-next", h: "hide", y: "accept", "Shift+y": "accept-all",
  ".": "next-shape", ",": "previous-shape", "[": "smaller", "]": "larger", 0: "none", "Ctrl+z": "undo", "Ctrl+Shift+z": "redo", "Ctrl+y": "redo",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param {import("./shape-editor.js").ShapeEditor} editor @param {KeyboardEvent} event @param {string} name @returns {boolean} was it one of these? */
export function press(editor, event, name) {
  const onControl = event.target.matches?.("button, a, summary, input, [role=tab]");
  if (!(onControl && name === "Enter") && editor.tool.press?.(name)) return true;
  const arrow = ARROWS[event.key];
  if (arrow && editor.picked().length && !onControl && !event.ctrlKey && !event.metaKey && !editor.isReadOnly) {
    const step = event.shiftKey ? 10 : 1;
    nudge(editor, arrow[0] * step, arrow[1] * step, event.altKey);
    return true;
  }
  if (/^[1-9]$/.test(name)) {
    const categoryId = editor.side.classAt(Number(name) - 1);
    if (categoryId && !event.repeat) editor.classify(categoryId);
    return true;
  }
  if (name === "Ctrl+c" && String(getSelection())) return false; // words of the page
  if (editor.tools[name]) editor.use(editor.tools[name].name);
  return Boolean(editor.tools[name]) || (KEYS[name] ? command(editor, KEYS[name]) : false);
}

/** Move the selection, or let the right and lower edge of a box follow instead; a key held down is one step to undo.
 * @param {import("./shape-editor.js").ShapeEditor} editor @param {number} dx px @param {number} dy px @param {boolean} resizes */
function nudge(editor, dx, dy, resizes) {
  const { size } = editor.stage;
  const merge = `${resizes ? "resize" : "move"} ${[...editor.selected]}`;
  const one = editor.only();
  if (!resizes) {
    editor.replace(movedTogether(editor.picked(), dx, dy, size), [], merge);
  } else if (one?.box) {
    const { xmin, ymin, xmax, ymax } = one.box;
    const end = placed({ x: Math.max(xmax + dx, xmin + 1), y: Math.max(ymax + dy, ymin + 1) }, size);
    editor.replace([altered(one, { box: { xmin, ymin, xmax: end.x, ymax: end.y } })], [], merge);
  }
  editor.announce();
}

/** @param {import("./shape-editor.js").ShapeEditor} editor @param {string} name @returns {boolean} was it one of these? */
export function command(editor, name) {
  const deeds = {
    delete: () => editor.remove(), "let-go": () => editor.select([]), "select-all": () => editor.select(editor.visible().map((one) => one.id)),
    copy: () => editor.copy(), paste: () => editor.paste(), "copy-to-next": () => editor.copyToNext(), hide: () => editor.hide(),
    "next-shape": () => editor.step(1), "previous-shape": () => editor.step(-1), smaller: () => editor.side.sizeBrush(0.8), larger: () => editor.side.sizeBrush(1.25),
    accept: () => editor.drafts.acceptPointed(), "accept-all": () => editor.drafts.acceptAll(), none: () => editor.setNothing(), undo: () => editor.undo(), redo: () => editor.redo(),
  };
  if (name.startsWith("tool-")) editor.use(name.slice(5));
  else deeds[name]?.();
  return name in deeds || name.startsWith("tool-");
}
