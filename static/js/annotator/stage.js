/**
 * The stage of an image: view, gestures, tone, magnifier, crosshair, pixel value. Knows nothing of labels.
 * The geometry is in lib/viewport.js; here it meets the page.
 */
import { dragged, filterOf, PLAIN } from "../lib/tone.js";
import { centred, clamp, fit, pan, pixelAt, toImage, zoomAt } from "../lib/viewport.js";
import { TOOLS } from "./tools.js";

const WHEEL = 1.0015; // per pixel of wheel travel: one notch, about 16 %
const CRISP_SCALE = 3; // from here on, pixels are shown as squares
const GRID_SCALE = 10; // from here on, their edges are drawn
const LENS_FACTOR = 4;

export class Stage extends EventTarget {
  /** @param {HTMLElement} root the <image-annotator> @param {{width: number, height: number}} size of the image, px */
  constructor(root, size) {
    super();
    const part = (name) => root.querySelector(`[data-part=${name}]`);
    Object.assign(this, { root, size, box: part("stage"), plane: part("plane"), image: part("image"), lens: part("lens"), overlay: part("overlay"), grid: part("grid") });
    this.view = { scale: 1, x: 0, y: 0 };
    this.fitted = true;
    this.tone = PLAIN;
    this.tool = TOOLS.pan;
    this.pointers = new Map();
    this.probe = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    this.listen();
    this.resizes = new ResizeObserver(() => (this.fitted ? this.fit() : this.show(this.view)));
    this.resizes.observe(this.box);
  }

  listen() {
    this.box.addEventListener("wheel", (event) => {
      event.preventDefault();
      const step = event.deltaMode === 1 ? event.deltaY * 33 : event.deltaY;
      this.zoom(WHEEL ** -step, this.at(event));
    }, { passive: false });
    this.box.addEventListener("pointerdown", (event) => this.down(event));
    this.box.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) this.box.addEventListener(name, (event) => this.up(event));
    this.box.addEventListener("pointerleave", () => {
      this.hover(null);
      this.tool.leave?.();
    });
    this.box.addEventListener("contextmenu", (event) => this.tool.hasRight && event.preventDefault());
    this.box.addEventListener("dblclick", (event) => {
      if (this.tool.double) this.tool.double(this.press(event), this);
      else if (this.fitted) this.actual(this.at(event));
      else this.fit();
    });
  }

  close() {
    cancelAnimationFrame(this.hovering);
    this.resizes.disconnect();
  }

  /** Let a tool have the presses from now on. @param {import("./tools.js").Tool} tool */
  take(tool) {
    this.tool = tool;
    this.point(tool.cursor);
  }

  /** Show a cursor until the next one. @param {string} cursor of CSS */
  point(cursor) {
    this.box.style.setProperty("--cursor", cursor);
  }

  get area() {
    return { width: this.box.clientWidth, height: this.box.clientHeight };
  }

  /** @param {MouseEvent} event @returns {{x: number, y: number}} stage px */
  at(event) {
    const box = this.box.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /** @param {PointerEvent} event @returns {import("./tools.js").Press} */
  press(event) {
    const stage = this.at(event);
    return { stage, image: toImage(this.view, stage), event };
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.button > 1 && !(event.button === 2 && this.tool.hasRight)) return;
    this.box.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.press(event));
    if (this.pointers.size === 2) {
      this.active?.cancel?.(this); // two fingers zoom: what the first began was not meant
      this.active = TOOLS.pan;
      return;
    }
    this.active = event.button === 1 || this.holdsSpace ? TOOLS.pan : this.tool;
    this.box.classList.toggle("annotator__stage--panning", this.active === TOOLS.pan);
    this.active.down?.(this.press(event), this);
  }

  /** @param {PointerEvent} event */
  move(event) {
    const press = this.press(event);
    this.hover(press);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.tool.hover?.(press, this);
      return;
    }
    if (this.pointers.size === 2) this.pinch(event, press, before);
    else this.active.move?.(press, before, this);
    this.pointers.set(event.pointerId, this.press(event));
  }

  /** Two fingers: zoom about the one that rests. */
  pinch(event, press, before) {
    const [, other] = [...this.pointers].find(([id]) => id !== event.pointerId);
    const apart = (a) => Math.hypot(a.stage.x - other.stage.x, a.stage.y - other.stage.y);
    this.zoom(apart(press) / Math.max(apart(before), 1), other.stage);
  }

  /** @param {PointerEvent} event */
  up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    this.active?.up?.(this.press(event), this);
    this.box.classList.remove("annotator__stage--panning");
  }

  fit() {
    this.fitted = true;
    this.show(fit(this.size, this.area), true);
  }

  /** One image pixel to one device pixel. @param {{x: number, y: number}} [at] stage px */
  actual(at) {
    const scale = 1 / devicePixelRatio;
    this.show(at ? zoomAt(this.view, scale / this.view.scale, at) : centred(this.size, this.area, scale));
  }

  /** Show a part of the image, with air around it. @param {import("../lib/box.js").Box} part image px */
  frame({ xmin, ymin, xmax, ymax }) {
    const { scale } = fit({ width: (xmax - xmin) * 2, height: (ymax - ymin) * 2 }, this.area);
    this.show({ scale, x: this.area.width / 2 - ((xmin + xmax) / 2) * scale, y: this.area.height / 2 - ((ymin + ymax) / 2) * scale });
  }

  /** @param {number} factor @param {{x: number, y: number}} [at] stage px; the middle unless given */
  zoom(factor, at = { x: this.area.width / 2, y: this.area.height / 2 }) {
    this.show(zoomAt(this.view, factor, at));
  }

  /** @param {number} dx @param {number} dy stage px */
  pan(dx, dy) {
    this.show(pan(this.view, dx, dy));
  }

  /** @param {import("../lib/viewport.js").View} view @param {boolean} [fitted] */
  show(view, fitted = false) {
    if (!this.area.width) return;
    this.fitted = fitted;
    this.view = fitted ? view : clamp(view, this.size, this.area);
    const { x, y, scale } = this.view;
    this.plane.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    this.plane.classList.toggle("annotator__plane--pixels", scale * devicePixelRatio >= CRISP_SCALE);
    this.drawGrid();
    this.hover(this.last ?? null);
    this.dispatchEvent(new Event("view"));
  }

  /** Draw the edges of the pixels once they are far enough apart to be told. */
  drawGrid() {
    const { x, y, scale } = this.view;
    this.grid.hidden = scale < GRID_SCALE;
    if (this.grid.hidden) return;
    const ratio = devicePixelRatio;
    const { width, height } = this.area;
    Object.assign(this.grid, { width: Math.round(width * ratio), height: Math.round(height * ratio) }); // which clears it
    const context = this.grid.getContext("2d");
    context.fillStyle = "rgb(128 128 128 / 0.45)";
    const [left, right] = [Math.max(x, 0), Math.min(x + this.size.width * scale, width)];
    const [top, bottom] = [Math.max(y, 0), Math.min(y + this.size.height * scale, height)];
    for (let i = Math.ceil((left - x) / scale); i * scale + x <= right; i += 1) context.fillRect(Math.round((i * scale + x) * ratio), top * ratio, 1, (bottom - top) * ratio);
    for (let i = Math.ceil((top - y) / scale); i * scale + y <= bottom; i += 1) context.fillRect(left * ratio, Math.round((i * scale + y) * ratio), (right - left) * ratio, 1);
  }

  dragTone(dx, dy) {
    this.setTone(dragged(this.tone, dx, dy));
  }

  /** @param {import("../lib/tone.js").Tone} tone */
  setTone(tone) {
    this.tone = tone;
    this.image.style.filter = filterOf(tone);
    this.dispatchEvent(new Event("tone"));
  }

  /** Follow the pointer from the next frame on; a quick hand moves several times in one. @param {import("./tools.js").Press | null} press */
  hover(press) {
    this.last = press;
    this.hovering ||= requestAnimationFrame(() => {
      this.hovering = 0;
      this.follow(this.last);
    });
  }

  /** Show pixel value, lens and crosshair where the pointer is. @param {import("./tools.js").Press | null} press */
  follow(press) {
    const pixel = press && pixelAt(toImage(this.view, press.stage), this.size);
    this.dispatchEvent(new CustomEvent("pixel", { detail: pixel && { ...pixel, value: this.valueAt(pixel) } }));
    this.drawLens(pixel ? press : null);
    this.drawHair(press);
  }

  /** Return the shown red, green and blue of a pixel, 0 to 255, or null while the picture loads. @param {{x: number, y: number}} pixel */
  valueAt({ x, y }) {
    if (!this.image.naturalWidth) return null;
    const sx = (x * this.image.naturalWidth) / this.size.width;
    const sy = (y * this.image.naturalHeight) / this.size.height;
    this.probe.clearRect(0, 0, 1, 1);
    this.probe.drawImage(this.image, sx, sy, 1, 1, 0, 0, 1, 1);
    return [...this.probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  }

  /** @param {import("./tools.js").Press | null} press */
  drawLens(press) {
    this.lens.hidden = !this.hasLens || !press || !this.image.naturalWidth;
    if (this.lens.hidden) return;
    const side = this.lens.width;
    const ratio = this.image.naturalWidth / this.size.width;
    const span = (side / Math.max(this.view.scale * LENS_FACTOR, 2)) * ratio;
    const centre = toImage(this.view, press.stage);
    const context = this.lens.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, side, side);
    context.filter = filterOf(this.tone) || "none";
    context.drawImage(this.image, centre.x * ratio - span / 2, centre.y * ratio - span / 2, span, span, 0, 0, side, side);
    const left = press.stage.x + 24 + side > this.area.width ? press.stage.x - 24 - side : press.stage.x + 24;
    const top = Math.min(Math.max(press.stage.y - side / 2, 4), this.area.height - side - 4);
    this.lens.style.left = `${left}px`;
    this.lens.style.top = `${top}px`;
  }

  /** @param {import("./tools.js").Press | null} press */
  drawHair(press) {
    this.box.classList.toggle("annotator__stage--crosshair", Boolean(this.hasHair));
    this.hair ??= ["h", "v"].map(() => {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
      line.setAttribute("class", "annotator__hair");
      this.overlay.append(line);
      return line;
    });
    const shown = this.hasHair && press;
    for (const line of this.hair) line.setAttribute("visibility", shown ? "visible" : "hidden");
    if (!shown) return;
    const { x, y } = press.stage;
    const ends = [[0, y, this.area.width, y], [x, 0, x, this.area.height]];
    this.hair.forEach((line, i) => ["x1", "y1", "x2", "y2"].forEach((name, j) => line.setAttribute(name, String(Math.round(ends[i][j]) + (j % 2 === (i ? 0 : 1) ? 0.5 : 0)))));
  }
}
