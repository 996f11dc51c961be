/**
 * Paints strokes on one image, to show a class or what is none of them, and has the masks of all images made of them.
 *
 * Strokes are saved a moment after they change, all of the image together, with the version they were painted on. With “After each stroke”
 * on, a run is asked for once they are saved. Every change is a state of `line`: undo has no end.
 */
import { dab, drawnTo, fromSaved, isTouched, toSaved } from "../lib/strokes.js";
import { back, begin, commit, forward } from "../lib/timeline.js";
import { ShapeSaver } from "./shape-saver.js";
import { ShapeStore } from "./shape-store.js";
import { StrokeSide } from "./stroke-side.js";

const HALO = "rgb(0 0 0 / 0.65)";
const AGAIN_MS = 600; // strokes in quick succession are one run
const KEYS = { e: "tool-eraser", b: "tool-brush", "[": "smaller", "]": "larger", h: "hide", r: "run", "Ctrl+z": "undo", "Ctrl+Shift+z": "redo", "Ctrl+y": "redo" };

/** @implements {import("./tools.js").Tool} */
class BrushTool {
  name = "brush";
  cursor = "none";
  hint = "Paint over what you mean · 0 or the right button: background · [ and ] size · Shift and drag: take away";
  hasRight = true;
  erases = false;

  /** @param {StrokeEditor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  down(press) {
    const { editor } = this;
    if (!editor.mayPaint()) return;
    this.isErasing = this.erases || press.event.shiftKey;
    const categoryId = press.event.button === 2 ? null : editor.side.categoryId;
    if (!this.isErasing && categoryId === undefined) return;
    this.isDown = true;
    this.gone = new Set();
    if (this.isErasing) this.take(press.image);
    else editor.sketch(dab(categoryId, editor.side.strokePx / 2, press.image, editor.stage.size));
  }

  move(press, _before, stage) {
    this.ring(press);
    if (!this.isDown) return;
    for (const event of press.event.getCoalescedEvents?.() ?? []) this.to(stage.press(event).image);
    this.to(press.image);
  }

  to(point) {
    const { editor } = this;
    if (this.isErasing) this.take(point);
    else editor.sketch(drawnTo(editor.sketched, point, editor.stage.size));
  }

  take(point) {
    const { editor } = this;
    for (const stroke of editor.strokes) if (isTouched(stroke, point, editor.side.strokePx / 2)) this.gone.add(stroke);
    editor.without(this.gone);
  }

  up() {
    if (!this.isDown) return;
    this.isDown = false;
    const { editor } = this;
    if (this.isErasing) editor.remove(this.gone);
    else editor.add(editor.sketched);
  }

  cancel() {
    this.isDown = false;
    this.editor.sketch(null);
    this.editor.without(new Set());
  }

  hover(press) {
    this.ring(press);
    this.editor.stage.point(this.cursor);
  }

  leave() {
    if (!this.isDown) this.editor.ring(null);
  }

  ring(press) {
    this.editor.ring({ ...press.image, erases: this.erases || press.event.shiftKey });
  }

  double() {
    // Two quick dabs are two dabs.
  }
}

class EraserTool extends BrushTool {
  name = "eraser";
  hint = "Whole strokes that it touches are taken away · [ and ] size";
  hasRight = false;
  erases = true;
}

export class StrokeEditor {
  /** @param {import("../elements/image-annotator.js").ImageAnnotator} owner */
  constructor(owner) {
    this.owner = owner;
    this.stage = owner.stage;
    this.isReadOnly = owner.hasAttribute("read-only");
    this.store = new ShapeStore(owner.getAttribute("strokes-href"), JSON.stringify);
    this.line = begin([]);
    this.gone = new Set();
    this.side = new StrokeSide(this);
    this.saver = new ShapeSaver((body) => this.store.put(body), (text) => this.side.say(text));
    this.saver.addEventListener("settled", ({ detail }) => this.settled(detail));
    this.tools = [new BrushTool(this), new EraserTool(this)];
    this.tool = this.tools[0];
    this.side.showTool();
    this.canvas = owner.piece("active");
    const { signal } = owner.page;
    this.stage.addEventListener("view", () => this.soon(), { signal });
    window.addEventListener("pagehide", () => this.saver.wanted && this.store.putLast({ version: this.saver.version, ...this.saver.wanted() }), { signal });
    this.load();
  }

  close() {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.running);
    if (this.isLoaded && !this.isReadOnly) this.store.leave(this.saver, () => this.line);
  }

  /** @returns {readonly import("../lib/strokes.js").Stroke[]} */
  get strokes() {
    return this.line.now;
  }

  mayPaint() {
    if (this.isReadOnly || !this.isLoaded) return false;
    if (this.isHidden) this.hide();
    return true;
  }

  // --- what is shown while a tool works ------------------------------------------------------------------------------

  sketch(stroke) {
    this.sketched = stroke;
    this.soon();
  }

  without(gone) {
    this.gone = gone;
    this.soon();
  }

  ring(ring) {
    this.brush = ring;
    this.soon();
  }

  soon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    const { canvas, stage } = this;
    const ratio = devicePixelRatio;
    const [width, height] = [Math.round(stage.area.width * ratio), Math.round(stage.area.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const { scale, x, y } = stage.view;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    if (!this.isHidden) for (const stroke of this.strokes) if (!this.gone.has(stroke)) this.draw(context, stroke);
    if (this.sketched) this.draw(context, this.sketched);
    if (this.brush) this.drawRing(context);
  }

  /** @param {CanvasRenderingContext2D} context in image px @param {import("../lib/strokes.js").Stroke} stroke */
  draw(context, { categoryId, radius, points }) {
    const { scale } = this.stage.view;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(points[0], points[1]);
    for (let i = 2; i < points.length; i += 2) context.lineTo(points[i], points[i + 1]);
    if (points.length === 2) context.lineTo(points[0] + 1e-3, points[1]);
    context.globalAlpha = 0.75;
    context.strokeStyle = HALO;
    context.lineWidth = 2 * radius + 3 / scale;
    context.stroke();
    context.globalAlpha = categoryId === null ? 0.55 : 0.85;
    context.strokeStyle = this.side.colorOf(categoryId);
    context.lineWidth = 2 * radius;
    context.stroke();
    if (categoryId === null) {
      // Background is told by its dashes, not by colour alone.
      context.globalAlpha = 1;
      context.setLineDash([6 / scale, 5 / scale]);
      context.strokeStyle = HALO;
      context.lineWidth = 1.5 / scale;
      context.stroke();
      context.setLineDash([]);
    }
    context.globalAlpha = 1;
  }

  drawRing(context) {
    const { scale } = this.stage.view;
    const { x, y, erases } = this.brush;
    for (const [style, wide] of [[HALO, 3], ["#fff", 1.25]]) {
      context.beginPath();
      context.arc(x, y, this.side.strokePx / 2, 0, 2 * Math.PI);
      context.setLineDash(erases ? [4 / scale, 3 / scale] : []);
      context.strokeStyle = style;
      context.lineWidth = wide / scale;
      context.stroke();
    }
    context.setLineDash([]);
  }

  // --- changes -------------------------------------------------------------------------------------------------------

  add(stroke) {
    this.sketched = null;
    this.commit([...this.strokes, stroke]);
  }

  remove(gone) {
    this.gone = new Set();
    if (gone.size) this.commit(this.strokes.filter((stroke) => !gone.has(stroke)));
    else this.soon();
  }

  commit(strokes) {
    this.line = commit(this.line, strokes);
    this.changed();
  }

  changed() {
    this.side.show();
    this.soon();
    this.saver.save(() => ({ strokes: this.strokes.map(toSaved) }));
  }

  travel(line, ifNone) {
    if (!line || this.isReadOnly) {
      this.side.tell(ifNone);
      return;
    }
    this.tool.cancel();
    this.line = line;
    this.changed();
  }

  hide() {
    this.isHidden = !this.isHidden;
    this.owner.querySelector("[data-command=hide]")?.setAttribute("aria-pressed", String(Boolean(this.isHidden)));
    this.soon();
  }

  // --- keys and commands ---------------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event @param {string} name @returns {boolean} was it a key of this editor? */
  press(event, name) {
    if (/^[0-9]$/.test(name)) {
      this.side.chooseAt(Number(name));
      return true;
    }
    return KEYS[name] ? this.command(KEYS[name]) : false;
  }

  /** @param {string} name @returns {boolean} was it a command of this editor? */
  command(name) {
    const deeds = {
      "tool-brush": () => this.use("brush"), "tool-eraser": () => this.use("eraser"), smaller: () => this.side.sizeBrush(0.8), larger: () => this.side.sizeBrush(1.25), hide: () => this.hide(), run: () => this.run(),
      undo: () => this.travel(back(this.line), "Nothing to undo"), redo: () => this.travel(forward(this.line), "Nothing to redo"),
    };
    deeds[name]?.();
    return name in deeds;
  }

  use(name) {
    if (this.isReadOnly) return;
    this.tool.cancel();
    this.tool = this.tools.find((tool) => tool.name === name);
    this.brush = null;
    this.stage.take(this.tool);
    this.side.showTool();
    this.soon();
  }

  // --- the server ----------------------------------------------------------------------------------------------------

  async load() {
    try {
      this.adopt(await this.store.load());
    } catch {
      this.side.tell("The strokes could not be loaded. Reload the page.");
    }
  }

  /** Take what the server has. @param {{version: number, strokes: object[], line?: object}} stored */
  adopt(stored) {
    this.line = stored.line ?? begin(stored.strokes.map(fromSaved));
    this.saver.version = stored.version;
    this.isLoaded = true;
    this.side.say(this.strokes.length ? "Saved" : "");
    this.side.show();
    this.soon();
  }

  settled({ ok, reply }) {
    if (ok) this.runLater();
    else if (reply.status === 409 && reply.answer.current) this.side.showConflict(reply.answer.current, this.strokes.length);
    else this.side.tell(reply.answer.detail ?? "Not saved: the server did not answer. The next stroke tries again.");
  }

  /** Answer an edit made elsewhere. @param {DOMStringMap} words */
  resolve({ conflict }) {
    const { current } = this.saver.lost.answer;
    this.saver.adopt(current.version, conflict === "theirs");
    if (conflict === "theirs") this.adopt(current);
  }

  runLater() {
    const button = document.querySelector("#prompt-run-form [type=submit]");
    if (button) button.disabled = false;
    const teaches = this.strokes.some(({ categoryId }) => categoryId !== null) || document.getElementById("prompt-run")?.dataset.known === "yes";
    clearTimeout(this.running);
    if (this.side.runsByItself && teaches) this.running = setTimeout(() => this.run(), AGAIN_MS);
  }

  /** Have the masks made, of what is painted by now. */
  async run() {
    clearTimeout(this.running);
    if (!this.isReadOnly && (await this.saver.done())) document.getElementById("prompt-run-form")?.dispatchEvent(new Event("prompt:run"));
  }
}
