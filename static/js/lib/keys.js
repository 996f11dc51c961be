/** Names of key presses, and where keys must be left alone. */

/** Return a press as text: "Ctrl+Shift+z", "ArrowLeft", "?". Cmd counts as Ctrl; Shift is named only with a letter, an arrow or another named key.
 * @param {{key: string, ctrlKey?: boolean, metaKey?: boolean, shiftKey?: boolean, altKey?: boolean}} event @returns {string} */
export function nameOf(event) {
  const letter = /^[a-z]$/i.test(event.key);
  const key = letter ? event.key.toLowerCase() : event.key;
  const shift = event.shiftKey && (letter || key.length > 1);
  return [event.ctrlKey || event.metaKey ? "Ctrl" : "", event.altKey ? "Alt" : "", shift ? "Shift" : "", key].filter(Boolean).join("+");
}

/** Does this element take text, so that single keys belong to it? @param {EventTarget | null} target */
export function isTyping(target) {
  const element = /** @type {HTMLElement | null} */ (target);
  if (!element || typeof element.matches !== "function") return false;
  return element.matches("textarea, select, [contenteditable], input:not([type=radio], [type=checkbox], [type=range], [type=button], [type=submit], [type=file])");
}
