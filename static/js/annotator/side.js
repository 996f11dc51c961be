/**
 * The panel beside an image with shapes: its classes as layers, what is selected, and the brush. Markup: templates/macros/shapes.html.
 *
 * Which classes are hidden holds for this page; opacity and brush are remembered.
 */
import { clipped } from "../lib/box.js";
import { count } from "../lib/format.js";
import { altered, areaOf, boundsOf, kindOf } from "../lib/shapes.js";

const NUMBER = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1, useGrouping: true });
const NOTE_MS = 4000;
const hiddenHere = new Map(); // project id -> classes
const chosenHere = new Map(); // project id -> class

export class Side {
  /** @param {import("./shape-editor.js").ShapeEditor} editor */
  constructor(editor) {
    this.editor = editor;
    this.owner = editor.owner;
    this.project = this.owner.getAttribute("project-id");
    this.part = (name) => this.owner.piece(name);
    this.classes = new Map([...this.owner.querySelectorAll("[data-layer]")].map((row) => [row.dataset.layer, { row, name: row.dataset.name, color: row.dataset.color }]));
    if (!hiddenHere.has(this.project)) hiddenHere.set(this.project, new Set());
    this.hiddenClasses = hiddenHere.get(this.project);
    this.categoryId = this.classes.has(chosenHere.get(this.project)) ? chosenHere.get(this.project) : [...this.classes.keys()][0];
    this.choose(this.categoryId);
    for (const name of ["opacity", "brushPx"]) if (this.part(name)) this.part(name).value = String(this[name]);
    this.listen();
  }

  listen() {
    const { editor, owner } = this;
    owner.querySelector(".shapes")?.addEventListener("change", ({ target }) => {
      if (target.name === "layer") editor.classify(target.value);
      if (target.dataset.part === "nothing") editor.setNothing();
      if (target.dataset.side) this.resize(target.dataset.side, Number(target.value));
    });
    owner.querySelector(".shapes")?.addEventListener("input", ({ target }) => {
      if (target.dataset.part === "opacity") this.set("opacity", Number(target.value));
      if (target.dataset.part === "brushPx") this.set("brushPx", Number(target.value));
    });
    owner.querySelector(".shapes")?.addEventListener("click", ({ target }) => {
      const eye = target.closest("[data-eye]");
      if (eye) this.toggleClass(eye.dataset.eye);
    });
  }

  // --- what is chosen ------------------------------------------------------------------------------------------------

  get opacity() {
    return this.owner.settings.opacity ?? 0.4;
  }

  get brushPx() {
    return this.owner.settings.brushPx ?? 24;
  }

  /** @param {string} name @param {number} value */
  set(name, value) {
    this.owner.set(name, value);
    if (this.part(name)) this.part(name).value = String(value);
    this.editor.painter.redraw();
    this.show();
  }

  /** @param {number} factor */
  sizeBrush(factor) {
    const { brushPx } = this;
    const next = factor > 1 ? Math.max(Math.round(brushPx * factor), brushPx + 1) : Math.min(Math.round(brushPx * factor), brushPx - 1);
    this.set("brushPx", Math.min(Math.max(next, 1), 400));
    if (this.editor.brush) this.editor.ring({ ...this.editor.brush, radius: this.brushPx / 2 });
  }

  /** @param {string} categoryId @returns {string} */
  colorOf(categoryId) {
    return this.classes.get(categoryId)?.color ?? "#8c8c8c";
  }

  nameOf(categoryId) {
    return this.classes.get(categoryId)?.name ?? "";
  }

  /** @param {number} index @returns {string | undefined} category id */
  classAt(index) {
    return [...this.classes.keys()][index];
  }

  /** @param {string | undefined} categoryId */
  choose(categoryId) {
    if (!this.classes.has(categoryId)) return;
    this.categoryId = categoryId;
    chosenHere.set(this.project, categoryId);
    this.classes.get(categoryId).row.querySelector("[name=layer]").checked = true;
  }

  /** @param {string} categoryId */
  toggleClass(categoryId) {
    if (!this.hiddenClasses.delete(categoryId)) this.hiddenClasses.add(categoryId);
    this.editor.painter.redraw();
    this.show();
  }

  /** Set a side or place of the selected box by number. @param {string} side x, y, width or height @param {number} value px */
  resize(side, value) {
    const one = this.editor.only();
    if (one?.box && Number.isFinite(value)) {
      const { xmin, ymin, xmax, ymax } = one.box;
      const to = { x: xmin, y: ymin, width: xmax - xmin, height: ymax - ymin, [side]: value };
      const box = to.width > 0 && to.height > 0 && clipped({ xmin: to.x, ymin: to.y, xmax: to.x + to.width, ymax: to.y + to.height }, this.editor.stage.size);
      if (box) this.editor.replace([altered(one, { box })]);
    }
    this.show();
  }

  // --- what is shown -------------------------------------------------------------------------------------------------

  /** Bring the panel up to the labels. */
  show() {
    const { editor } = this;
    const counts = new Map();
    for (const one of editor.shapes) counts.set(one.categoryId, (counts.get(one.categoryId) ?? 0) + 1);
    for (const [id, { row, name }] of this.classes) {
      const isHidden = Boolean(editor.isHidden) || this.hiddenClasses.has(id);
      row.classList.toggle("layer--hidden", isHidden);
      row.querySelector("[data-part=count]").textContent = counts.get(id) ?? "";
      const eye = row.querySelector("[data-eye]");
      eye.setAttribute("aria-pressed", String(!isHidden));
      eye.setAttribute("aria-label", `Show ${name}`);
    }
    this.owner.querySelector("[data-command=hide]")?.setAttribute("aria-pressed", String(Boolean(editor.isHidden)));
    this.part("nothing").checked = editor.line.now.isNothing;
    this.part("nothing").disabled = editor.isReadOnly || editor.shapes.length > 0;
    for (const [name, text] of [["opacity", `${Math.round(this.opacity * 100)} %`], ["brushPx", `${this.brushPx} px`]]) {
      const output = this.owner.querySelector(`[data-shows=${name}]`);
      if (output) output.textContent = text;
    }
    const copies = this.owner.querySelector("[data-command=copy-to-next]");
    if (copies) copies.disabled = !editor.shapes.length;
    this.showSelection();
  }

  showSelection() {
    const { editor } = this;
    const picked = editor.picked();
    const one = editor.only();
    this.part("selection").classList.toggle("selected--none", !picked.length);
    this.part("selected").textContent = picked.length > 1 ? `${count(picked.length, "label")} selected` : one ? this.nameOf(one.categoryId) : editor.shapes.length ? `${count(editor.shapes.length, "label")}, none selected` : editor.line.now.isNothing ? "Nothing to label" : "No label yet";
    this.part("extent").textContent = one && !one.box ? this.extentOf(one) : "";
    for (const button of this.part("selection").querySelectorAll("button[data-needs]")) button.disabled = !picked.length;
    const box = one?.box;
    for (const input of this.part("selection").querySelectorAll("[data-side]")) {
      input.disabled = !box || editor.isReadOnly;
      const values = box && { x: box.xmin, y: box.ymin, width: box.xmax - box.xmin, height: box.ymax - box.ymin };
      input.value = box ? String(Math.round(values[input.dataset.side] * 100) / 100) : "";
    }
  }

  /** @param {import("../lib/shapes.js").Shape} one @returns {string} */
  extentOf(one) {
    const { xmin, ymin, xmax, ymax } = boundsOf(one);
    const size = `${NUMBER.format(xmax - xmin)} × ${NUMBER.format(ymax - ymin)}`;
    return one.box ? `${size} px` : `${kindOf(one) === "mask" ? "Mask" : "Polygon"} ${size}, ${NUMBER.format(Math.round(areaOf(one)))} px`;
  }

  showTool() {
    const { tool } = this.editor;
    for (const button of this.owner.querySelectorAll("[data-command^=tool-]")) button.setAttribute("aria-pressed", String(button.dataset.command === `tool-${tool.name}`));
    this.part("hint").textContent = this.editor.isReadOnly ? "You may look at these labels, not change them" : tool.hint;
    this.part("hint").title = tool.hint;
  }

  /** Say whether the labels are saved. @param {string} text */
  say(text) {
    this.part("saved").textContent = text;
  }

  /** Say something on the stage for a moment. @param {string} text */
  tell(text) {
    this.part("note").textContent = text;
    clearTimeout(this.telling);
    this.telling = setTimeout(() => (this.part("note").textContent = ""), NOTE_MS);
  }

  /** Say where a shape is, for who hears the page. @param {import("../lib/shapes.js").Shape} one */
  announce(one) {
    const { xmin, ymin } = boundsOf(one);
    const at = this.editor.shapes.indexOf(one) + 1;
    this.part("announced").textContent = `${this.nameOf(one.categoryId)}, ${at} of ${this.editor.shapes.length}, at ${Math.round(xmin)}, ${Math.round(ymin)}, ${this.extentOf(one)}`;
  }

  /** Offer both sides of an edit made elsewhere. @param {{changed_by?: string, shapes: object[], nothing_to_label: boolean}} current @param {number} nMine */
  showConflict(current, nMine) {
    const note = this.part("conflict").content.cloneNode(true);
    note.querySelector("[data-word=who]").textContent = current.changed_by ?? "Somebody";
    note.querySelector("[data-word=theirs]").textContent = current.nothing_to_label ? "nothing to label" : count(current.shapes.length, "label");
    note.querySelector("[data-word=mine]").textContent = count(nMine, "label");
    this.owner.querySelector("#label-conflict").replaceChildren(note);
    this.owner.querySelector("[data-conflict]").focus();
  }
}
