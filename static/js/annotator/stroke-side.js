/**
 * The panel beside an image with strokes: what is painted, how thick, how strongly masks are shown. Markup: templates/macros/prompting.html.
 */
import { count } from "../lib/format.js";
import { remember, remembered } from "../lib/memory.js";

const NOTE_MS = 4000;
const THICK = 0.035; // of the longer side of the image: the brush that one begins with
const AUTO_KEY = "kizu.prompt.auto";
const chosenHere = new Map(); // project id -> class

export class StrokeSide {
  /** @param {import("./stroke-editor.js").StrokeEditor} editor */
  constructor(editor) {
    this.editor = editor;
    this.owner = editor.owner;
    this.project = this.owner.getAttribute("project-id");
    this.part = (name) => this.owner.piece(name);
    this.rows = new Map([...this.owner.querySelectorAll("[data-layer]")].map((row) => [row.dataset.layer, row]));
    const known = chosenHere.get(this.project);
    this.choose(this.rows.has(known) ? known : [...this.rows.keys()][0]);
    this.listen();
    this.show();
  }

  listen() {
    const panel = this.owner.querySelector(".strokes");
    panel.addEventListener("change", ({ target }) => target.name === "layer" && this.choose(target.value));
    panel.addEventListener("input", ({ target }) => ["strokePx", "maskOpacity"].includes(target.dataset.part) && this.set(target.dataset.part, Number(target.value)));
    const { signal } = this.owner.page;
    const sync = () => {
      const box = document.querySelector("[data-auto-run]");
      if (box) box.checked = this.runsByItself;
      this.point();
    };
    // The bar below is another part of the page, and is replaced while a run goes on.
    document.addEventListener("change", ({ target }) => target.matches?.("[data-auto-run]") && remember(localStorage, AUTO_KEY, target.checked ? "on" : "off"), { signal });
    document.addEventListener("htmx:after:swap", sync, { signal });
    sync();
  }

  /** Mark the image among the results. */
  point() {
    for (const link of document.querySelectorAll("#prompt-tiles .tile__link")) {
      if (link.parentElement.id === `result-${this.owner.imageId}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  /** The class that is painted; null: background; undefined: there is none. @returns {string | null | undefined} */
  get categoryId() {
    return this.chosen === "" ? null : this.chosen;
  }

  get runsByItself() {
    return remembered(localStorage, AUTO_KEY) !== "off";
  }

  get strokePx() {
    const { width, height } = this.editor.stage.size;
    return this.owner.settings.strokePx ?? Math.min(Math.max(Math.round(Math.max(width, height) * THICK), 3), 200);
  }

  get maskOpacity() {
    return this.owner.settings.maskOpacity ?? 0.5;
  }

  /** @param {string} name @param {number} value */
  set(name, value) {
    this.owner.set(name, value);
    this.show();
    this.editor.soon();
  }

  /** @param {number} factor */
  sizeBrush(factor) {
    const { strokePx } = this;
    const next = factor > 1 ? Math.max(Math.round(strokePx * factor), strokePx + 1) : Math.min(Math.round(strokePx * factor), strokePx - 1);
    this.set("strokePx", Math.min(Math.max(next, 1), 400));
  }

  /** @param {string} id of a class; empty: background */
  choose(id) {
    this.chosen = id;
    chosenHere.set(this.project, id);
    this.rows.get(id).querySelector("[name=layer]").checked = true;
  }

  /** @param {number} place of a class, from 1; 0 is background */
  chooseAt(place) {
    const id = place ? [...this.rows.keys()].filter(Boolean)[place - 1] : "";
    if (id !== undefined) this.choose(id);
  }

  /** @param {string | null} categoryId @returns {string} */
  colorOf(categoryId) {
    return this.rows.get(categoryId ?? "")?.dataset.color ?? "#8c8c8c";
  }

  /** Bring the panel up to the strokes. */
  show() {
    const counts = new Map();
    for (const { categoryId } of this.editor.strokes) counts.set(categoryId ?? "", (counts.get(categoryId ?? "") ?? 0) + 1);
    for (const [id, row] of this.rows) row.querySelector("[data-part=count]").textContent = counts.get(id) ?? "";
    for (const [name, text] of [["strokePx", `${this.strokePx} px`], ["maskOpacity", `${Math.round(this.maskOpacity * 100)} %`]]) {
      if (!this.part(name)) continue;
      this.part(name).value = String(this[name]);
      this.owner.querySelector(`[data-shows=${name}]`).textContent = text;
    }
    // Not on an element with an id: htmx carries the style of such a one over to the next image, which the policy forbids.
    this.editor.stage.box.style.setProperty("--mask-opacity", String(this.maskOpacity));
    this.part("announced").textContent = count(this.editor.strokes.length, "stroke");
  }

  showTool() {
    const { tool, isReadOnly } = this.editor;
    for (const button of this.owner.querySelectorAll("[data-command^=tool-]")) button.setAttribute("aria-pressed", String(button.dataset.command === `tool-${tool.name}`));
    this.part("hint").textContent = isReadOnly ? "You may look at these strokes, not change them" : tool.hint;
    this.part("hint").title = this.part("hint").textContent;
  }

  /** Say whether the strokes are saved. @param {string} text */
  say(text) {
    this.part("saved").textContent = text;
  }

  /** Say something on the stage for a moment. @param {string} text */
  tell(text) {
    this.part("note").textContent = text;
    clearTimeout(this.telling);
    this.telling = setTimeout(() => (this.part("note").textContent = ""), NOTE_MS);
  }

  /** Offer both sides of an edit made elsewhere. @param {{changed_by?: string, strokes: object[]}} current @param {number} nMine */
  showConflict(current, nMine) {
    const note = this.part("conflict").content.cloneNode(true);
    note.querySelector("[data-word=who]").textContent = current.changed_by ?? "Somebody";
    note.querySelector("[data-word=theirs]").textContent = count(current.strokes.length, "stroke");
    note.querySelector("[data-word=mine]").textContent = count(nMine, "stroke");
    this.owner.querySelector("#label-conflict").replaceChildren(note);
    this.owner.querySelector("[data-conflict]").focus();
  }
}
