/**
 * Draws shapes over the image, in stage pixels, on three canvases one above the other, so that a frame costs what moves in it:
 *
 * - *finished*: all shapes but the lifted ones. Drawn anew when the view changes, and where shapes changed, within their bounds only.
 * - *stroke*: what the brush adds or takes away while it is down; each move draws its own piece.
 * - *active*: lifted shapes, handles, what a tool shows. Drawn once a frame at most.
 *
 * While a view with many shapes moves, the finished picture moves with it as it is and is drawn sharp when the view rests.
 */
import { outline } from "../lib/region.js";
import { boundsOf } from "../lib/shapes.js";

const HALO = "rgb(0 0 0 / 0.6)";
const SLOW_MS = 7; // a finished picture that takes longer is moved as a picture first
const REST_MS = 90;
const MANY_NAMES = 60;
const PAD = { left: 6, top: 24, right: 160, bottom: 6 }; // stage px around a shape that its lines and name may touch

export class Painter {
  /** @param {import("./stage.js").Stage} stage @param {(name: string) => HTMLCanvasElement} part
   * @param {{color: (one: object) => string, name: (one: object) => string, isShown: (one: object) => boolean, opacity: () => number, drafts: () => object[], openDrafts: () => object[]}} look
   * @param {(context: CanvasRenderingContext2D) => void} drawActive in stage px */
  constructor(stage, part, look, drawActive) {
    Object.assign(this, { stage, look, drawActive, finished: part("finished"), strokes: part("stroke"), active: part("active") });
    this.shapes = [];
    this.lifted = new Set();
    this.paths = new WeakMap();
    this.costMs = 0;
    this.page = new AbortController();
    stage.addEventListener("view", () => this.viewed(), { signal: this.page.signal });
    this.viewed();
  }

  close() {
    this.page.abort();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.resting);
  }

  /** Draw these shapes from now on; only where they differ from the last ones is anything drawn. @param {readonly import("../lib/shapes.js").Shape[]} shapes @param {Iterable<number>} lifted ids */
  show(shapes, lifted) {
    const before = new Map(this.drawn().map((one) => [one.id, one]));
    this.shapes = shapes;
    this.lifted = new Set(lifted);
    const after = this.drawn();
    const changed = after.filter((one) => before.get(one.id) !== one);
    const kept = new Set(after.map((one) => one.id));
    for (const one of before.values()) if (!kept.has(one.id) || changed.some((other) => other.id === one.id)) changed.push(one);
    if (changed.length > 24) this.redraw();
    else for (const one of changed) this.touch(boundsOf(one));
    this.soon();
  }

  /** Return what the finished picture holds. */
  drawn() {
    return this.shapes.filter((one) => !this.lifted.has(one.id) && this.look.isShown(one));
  }

  /** Draw a part of the finished picture anew in the next frame. @param {import("../lib/box.js").Box} bounds image px */
  touch(bounds) {
    this.touched ??= [];
    this.touched.push(bounds);
    this.soon();
  }

  /** Draw the whole finished picture anew in the next frame. */
  redraw() {
    this.isStale = true;
    this.soon();
  }

  /** Have the active layer drawn in the next frame. */
  soon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  viewed() {
    const { view } = this.stage;
    this.fitCanvases();
    if (this.costMs > SLOW_MS && this.drawnView) {
      const k = view.scale / this.drawnView.scale;
      this.finished.style.transform = `translate(${view.x - this.drawnView.x * k}px, ${view.y - this.drawnView.y * k}px) scale(${k})`;
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.redraw(), REST_MS);
    } else {
      this.isStale = true;
    }
    if (this.stroke) this.replay();
    this.soon();
  }

  fitCanvases() {
    const { width, height } = this.stage.area;
    const ratio = devicePixelRatio;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.finished.width === w && this.finished.height === h) return;
    for (const canvas of [this.finished, this.strokes, this.active]) Object.assign(canvas, { width: w, height: h });
    this.drawnView = null;
    this.isStale = true;
  }

  paint() {
    if (this.isStale) this.paintFinished();
    else for (const bounds of this.touched ?? []) this.paintPart(bounds);
    this.isStale = false;
    this.touched = null;
    const context = this.active.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.active.width, this.active.height);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    this.drawActive(context);
  }

  paintFinished() {
    const begun = performance.now();
    this.drawnView = this.stage.view;
    this.finished.style.transform = "";
    const context = this.finished.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.finished.width, this.finished.height);
    this.drawAll(context, this.seen());
    if (this.stroke?.erases && !this.stroke.base) for (const piece of this.stroke.pieces) this.drawPiece(...piece);
    this.costMs = performance.now() - begun;
  }

  /** Draw a part of the finished picture anew. @param {import("../lib/box.js").Box} bounds image px */
  paintPart(bounds) {
    const scale = this.drawnView?.scale ?? 1;
    const part = { xmin: bounds.xmin - PAD.left / scale, ymin: bounds.ymin - PAD.top / scale, xmax: bounds.xmax + PAD.right / scale, ymax: bounds.ymax + PAD.bottom / scale };
    const context = this.finished.getContext("2d");
    context.save();
    this.enter(context, this.drawnView);
    context.beginPath();
    context.rect(part.xmin, part.ymin, part.xmax - part.xmin, part.ymax - part.ymin);
    context.clip();
    context.clearRect(part.xmin, part.ymin, part.xmax - part.xmin, part.ymax - part.ymin);
    this.drawAll(context, part);
    context.restore();
  }

  /** Draw what meets a part of the image. @param {CanvasRenderingContext2D} context @param {import("../lib/box.js").Box} part image px */
  drawAll(context, part) {
    const { scale } = this.drawnView;
    const shown = this.drawn();
    const meets = (one) => {
      const b = this.pathOf(one).bounds;
      return b.xmin <= part.xmax + PAD.left / scale && b.xmax >= part.xmin - PAD.right / scale && b.ymin <= part.ymax + PAD.top / scale && b.ymax >= part.ymin - PAD.bottom / scale;
    };
    const met = shown.filter(meets);
    this.enter(context, this.drawnView);
    for (const one of met) this.draw(context, one, this.drawnView);
    const drafts = this.look.drafts();
    for (const one of drafts.filter(meets)) this.drawDashed(context, one);
    if (drafts.length <= MANY_NAMES) for (const one of this.look.openDrafts().filter(meets)) this.name(context, one, this.drawnView);
    if (shown.length <= MANY_NAMES) for (const one of met) if (one.box) this.name(context, one, this.drawnView);
  }

  /** The part of the image that the stage shows. @returns {import("../lib/box.js").Box} image px */
  seen() {
    const { view, area } = this.stage;
    return { xmin: -view.x / view.scale, ymin: -view.y / view.scale, xmax: (area.width - view.x) / view.scale, ymax: (area.height - view.y) / view.scale };
  }

  /** Draw in image px from here on. @param {CanvasRenderingContext2D} context @param {import("../lib/viewport.js").View} [view] */
  enter(context, view = this.stage.view) {
    const ratio = devicePixelRatio;
    context.setTransform(view.scale * ratio, 0, 0, view.scale * ratio, view.x * ratio, view.y * ratio);
  }

  /** Return the outline of a shape, made once. @param {import("../lib/shapes.js").Shape} one @returns {{path: Path2D, bounds: import("../lib/box.js").Box}} */
  pathOf(one) {
    let known = this.paths.get(one);
    if (!known) {
      const path = new Path2D();
      if (one.box) path.rect(one.box.xmin, one.box.ymin, one.box.xmax - one.box.xmin, one.box.ymax - one.box.ymin);
      for (const ring of one.rings ?? (one.region ? outline(one.region) : [])) {
        path.moveTo(ring[0], ring[1]);
        for (let i = 2; i < ring.length; i += 2) path.lineTo(ring[i], ring[i + 1]);
        path.closePath();
      }
      known = { path, bounds: boundsOf(one) };
      this.paths.set(one, known);
    }
    return known;
  }

  /** Draw one shape in image px. @param {CanvasRenderingContext2D} context @param {import("../lib/shapes.js").Shape} one @param {import("../lib/viewport.js").View} view @param {number} [weight] of its line, stage px */
  draw(context, one, view, weight = 1.5) {
    const { path } = this.pathOf(one);
    const color = this.look.color(one);
    const opacity = this.look.opacity() * (one.box ? 0.25 : 1); // what is in a box is looked at, what is in a mask is marked
    if (opacity > 0) {
      context.globalAlpha = opacity;
      context.fillStyle = color;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
    }
    context.lineJoin = "round";
    context.strokeStyle = HALO;
    context.lineWidth = (weight + 1.5) / view.scale;
    context.stroke(path);
    context.strokeStyle = color;
    context.lineWidth = weight / view.scale;
    context.stroke(path);
  }

  /** Draw what a model found: predictions are dashed everywhere in Kizu, labels solid. */
  drawDashed(context, one) {
    const { path } = this.pathOf(one);
    const { scale } = this.drawnView;
    context.setLineDash([]);
    context.strokeStyle = HALO;
    context.lineWidth = 3 / scale;
    context.stroke(path);
    context.setLineDash([6 / scale, 4 / scale]);
    context.strokeStyle = this.look.color(one);
    context.lineWidth = 1.75 / scale;
    context.stroke(path);
    context.setLineDash([]);
  }

  /** Write a shape's class over its corner. @param {CanvasRenderingContext2D} context @param {import("../lib/shapes.js").Shape} one @param {import("../lib/viewport.js").View} [view] */
  name(context, one, view = this.stage.view) {
    const { xmin, ymin } = this.pathOf(one).bounds;
    const ratio = devicePixelRatio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "600 11px 'Inter Variable', system-ui, sans-serif";
    context.textBaseline = "middle";
    const text = this.look.name(one);
    const width = Math.min(context.measureText(text).width + 18, PAD.right - 8);
    const [x, y] = [Math.round(xmin * view.scale + view.x) - 1, Math.round(ymin * view.scale + view.y) - 19];
    context.fillStyle = "rgb(20 22 26 / 0.86)";
    context.fillRect(x, y, width, 17);
    context.fillStyle = this.look.color(one);
    context.fillRect(x, y, 4, 17);
    context.fillStyle = "#fff";
    context.fillText(text, x + 10, y + 9, width - 14);
    this.enter(context, view);
  }

  /** Begin to add to a shape, or to take away from it; from everything that is shown, where none is given.
   * @param {import("../lib/shapes.js").Shape | null} base @param {string} color @param {boolean} erases */
  beginStroke(base, color, erases) {
    this.stroke = { base, color, erases, pieces: [] };
    this.strokes.style.opacity = String(Math.max(this.look.opacity(), 0.25));
    this.replay();
  }

  replay() {
    const { base, color, pieces } = this.stroke;
    const context = this.strokes.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.strokes.width, this.strokes.height);
    if (base) {
      this.enter(context);
      context.fillStyle = color;
      context.fill(this.pathOf(base).path, "evenodd");
    }
    for (const piece of pieces) this.drawPiece(...piece);
  }

  /** @param {{x: number, y: number}} a image px @param {{x: number, y: number}} b @param {number} radius image px */
  addPiece(a, b, radius) {
    this.stroke.pieces.push([a, b, radius]);
    this.drawPiece(a, b, radius);
  }

  drawPiece(a, b, radius) {
    const { base, color, erases } = this.stroke;
    const context = (erases && !base ? this.finished : this.strokes).getContext("2d");
    this.enter(context);
    context.globalCompositeOperation = erases ? "destination-out" : "source-over";
    context.lineCap = "round";
    context.lineWidth = radius * 2;
    context.strokeStyle = color;
    context.beginPath();
    context.moveTo(a.x, a.y);
    context.lineTo(b.x + (a.x === b.x && a.y === b.y ? 1e-3 : 0), b.y);
    context.stroke();
    context.globalCompositeOperation = "source-over";
  }

  /** Take the stroke off the screen; what it made is among the shapes now. @param {import("../lib/box.js").Box | null} bounds of what it touched, image px */
  endStroke(bounds) {
    const { erases, base } = this.stroke;
    this.stroke = null;
    const context = this.strokes.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    // In the frame that shows the result, so that nothing flickers between them.
    requestAnimationFrame(() => !this.stroke && context.clearRect(0, 0, this.strokes.width, this.strokes.height));
    if (erases && !base && bounds) this.touch(bounds);
    this.soon();
  }
}
