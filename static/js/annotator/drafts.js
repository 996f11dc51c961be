/**
 * What a model found on the image, as drafts of labels: shown dashed from a score on, and made labels one by one or together.
 *
 * The score to show from is the model's threshold until somebody moves the slider; then it holds for all images of this page.
 */
import { altered, fromSaved, shape } from "../lib/shapes.js";

const SAME = 0.5; // share of two boxes' union that they have in common: then they mean the same defect
let wishedScore = null;

/** Return the share of their union that two boxes have in common. @param {import("../lib/box.js").Box} a @param {import("../lib/box.js").Box} b */
export function overlap(a, b) {
  const side = (low, high) => Math.max(Math.min(a[high], b[high]) - Math.max(a[low], b[low]), 0);
  const size = (box) => (box.xmax - box.xmin) * (box.ymax - box.ymin);
  const common = side("xmin", "xmax") * side("ymin", "ymax");
  return common / (size(a) + size(b) - common);
}

export class Drafts {
  /** @param {import("./shape-editor.js").ShapeEditor} editor */
  constructor(editor) {
    this.editor = editor;
    this.all = [];
    this.part = editor.owner.piece;
    this.part("score")?.addEventListener("input", ({ target }) => {
      wishedScore = Number(target.value);
      this.show();
    });
    if (editor.owner.hasAttribute("drafts-href")) this.load(editor.owner.getAttribute("drafts-href"));
  }

  async load(href) {
    const response = await fetch(href, { headers: { Accept: "application/json" } }).catch(() => null);
    if (!response?.ok || !this.editor.owner.isConnected) return; // the labels are what counts
    const { threshold, shapes } = await response.json();
    this.threshold = threshold;
    this.all = shapes.map((one) => altered(fromSaved(one), { score: one.score })).filter((one) => this.editor.side.nameOf(one.categoryId));
    this.show();
  }

  get score() {
    return wishedScore ?? this.threshold ?? 0.5;
  }

  /** Return what is shown now. @returns {(import("../lib/shapes.js").Shape & {score: number})[]} */
  shown() {
    const { settings } = this.editor.owner;
    return settings.prediction ? this.all.filter((one) => one.score >= this.score && this.editor.isShown(one)) : [];
  }

  /** Return those that no label of the same class stands for yet. */
  open() {
    const bounds = (one) => this.editor.painter.pathOf(one).bounds;
    return this.shown().filter((one) => !this.editor.shapes.some((label) => label.categoryId === one.categoryId && overlap(bounds(label), bounds(one)) >= SAME));
  }

  /** Make drafts labels. @param {(import("../lib/shapes.js").Shape & {score: number})[]} some */
  accept(some) {
    if (!some.length) {
      this.editor.tell(this.shown().length ? "Every prediction shown here has its label" : "There is no prediction here");
      return;
    }
    this.editor.addAll(some.map(({ categoryId, box, region }) => shape(box ? { categoryId, box } : { categoryId, region })));
  }

  acceptAll() {
    this.accept(this.open());
  }

  acceptPointed() {
    const pointer = this.editor.stage.last?.image;
    const under = pointer ? this.open().filter((one) => this.editor.isAt(one, pointer)) : [];
    this.accept(under.slice(0, 1));
  }

  /** Bring the panel and the picture up to what is shown. */
  show() {
    if (!this.part("drafts")) return;
    this.editor.painter.redraw();
    this.tell();
  }

  tell() {
    if (!this.part("drafts")) return;
    const n = this.shown().length;
    this.part("score").value = String(this.score);
    this.part("score").disabled = !this.all.length;
    this.editor.owner.querySelector("[data-shows=score]").textContent = this.score.toFixed(2);
    this.part("drafts").textContent = this.all.length ? `${n} of ${this.all.length}` : "none here";
    const button = this.editor.owner.querySelector("[data-command=accept-all]");
    if (button) button.disabled = !this.open().length;
  }
}
