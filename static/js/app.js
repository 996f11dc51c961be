/**
 * What every page runs: loads a custom element's module when its tag appears, and wires the few behaviours that belong to no element.
 */
import { wireDialogs } from "./dialogs.js";
import { wireShortcuts } from "./shortcuts.js";

const ELEMENTS = new Set([
  "command-palette", "copy-button", "drop-paste", "file-uploader", "image-annotator", "image-grid", "log-tail", "tab-set", "theme-toggle",
  "threshold-slider", "toast-region", "webcam-capture",
]);

/** Load the module of each element of ours under `root` that is not defined yet. @param {ParentNode} root */
function load(root) {
  for (const element of root.querySelectorAll(":not(:defined)")) {
    const name = element.localName;
    if (ELEMENTS.delete(name)) import(`./elements/${name}.js`);
  }
}

/** Keep each <output data-follows="ID"> equal to its input, and the size slider in force. */
function wireInputs() {
  document.addEventListener("input", (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    if (input.id) for (const output of document.querySelectorAll(`output[data-follows="${CSS.escape(input.id)}"]`)) output.textContent = input.value;
    if (input.matches("[data-grid-size]")) {
      document.documentElement.style.setProperty("--row-h", `${input.value}px`);
      try {
        localStorage.setItem("kizu.grid-row-px", input.value);
      } catch {
        // Without storage the size holds for this page only.
      }
    }
  });
}

/** Show the remembered size on a slider that has just come. @param {ParentNode} root */
function showGridSize(root) {
  const height = parseInt(getComputedStyle(document.documentElement).getPropertyValue("--row-h"), 10);
  for (const slider of root.querySelectorAll("[data-grid-size]")) slider.value = String(height);
}

load(document);
showGridSize(document);
wireInputs();
wireDialogs();
wireShortcuts();
new MutationObserver((changes) => {
  if (changes.some((change) => change.addedNodes.length)) load(document);
}).observe(document.body, { childList: true, subtree: true });
