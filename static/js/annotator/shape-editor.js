/**
 * Labels one image with shapes: boxes in detection, polygons and masks in segmentation.
 *
 * Every change is a new state of `line`, so that undo and redo go back and forth without an end; the states of an image that one walks
 * away from are kept until the page is left. The tools in tools/ make the changes, shape-keys.js names them, painter.js shows them, side.js
 * is the panel beside.
 */
import { altered, areaOf, boundsOfAll, contains, fromSaved, NONE } from "../lib/shapes.js";
import { withoutVertex } from "../lib/polygon.js";
import { back, begin, commit, forward } from "../lib/timeline.js";
import { count } from "../lib/format.js";
import * as clipboard from "./clipboard.js";
import { Drafts } from "./drafts.js";
import { Painter } from "./painter.js";
import { command, press } from "./shape-keys.js";
import { ShapeSaver } from "./shape-saver.js";
import { ShapeStore } from "./shape-store.js";
import { Side } from "./side.js";
import { drawActive } from "./tools/marks.js";
import { BoxTool } from "./tools/box.js";
import { BrushTool, EraserTool, FillTool } from "./tools/brush.js";
import { MagicTool } from "./tools/magic.js";
import { PolygonTool } from "./tools/polygon.js";
import { SelectTool } from "./tools/select.js";

/** The tools of each task by their keys; the first is the one to begin with. */
const TOOLS = {
  "object-detection": { b: BoxTool, m: MagicTool, v: SelectTool },
  segmentation: { b: BrushTool, e: EraserTool, o: PolygonTool, k: FillTool, m: MagicTool, v: SelectTool },
};

export class ShapeEditor {
  /** @param {import("../elements/image-annotator.js").ImageAnnotator} owner */
  constructor(owner) {
    this.owner = owner;
    this.stage = owner.stage;
    this.store = new ShapeStore(owner.getAttribute("shapes-href"));
    this.project = owner.getAttribute("project-id");
    this.task = owner.getAttribute("task");
    this.isReadOnly = owner.hasAttribute("read-only");
    this.line = begin(NONE);
    this.selected = new Set();
    this.changing = new Map();
    this.held = new Set();
    this.side = new Side(this);
    const look = { color: (one) => this.colorOf(one.categoryId), name: (one) => `${this.side.nameOf(one.categoryId)}${one.score === undefined ? "" : ` ${one.score.toFixed(2)}`}`, isShown: (one) => this.isShown(one), opacity: () => this.side.opacity, drafts: () => this.drafts?.shown() ?? [], openDrafts: () => this.drafts?.open() ?? [] };
    this.painter = new Painter(this.stage, owner.piece, look, (context) => drawActive(context, this));
    this.saver = new ShapeSaver((body) => this.store.put(body), (text) => this.side.say(text));
    this.saver.addEventListener("settled", ({ detail }) => this.settled(detail));
    this.tools = Object.fromEntries(Object.entries(TOOLS[this.task]).map(([key, Tool]) => [key, new Tool(this)]));
    const wished = this.isReadOnly ? "select" : owner.settings[`tool ${this.task}`];
    this.tool = Object.values(this.tools).find(({ name }) => name === wished) ?? this.tools.b;
    this.side.showTool();
    this.tool.begin?.();
    this.drafts = new Drafts(this);
    window.addEventListener("pagehide", () => this.saver.wanted && this.store.putLast({ version: this.saver.version, ...this.saver.wanted() }), { signal: owner.page.signal });
    this.load();
  }

  close() {
    this.painter.close();
    if (this.isLoaded && !this.isReadOnly) this.store.leave(this.saver, () => this.line);
  }

  // --- what there is -------------------------------------------------------------------------------------------------

  get shapes() {
    return this.line.now.shapes;
  }

  get categoryId() {
    return this.side.categoryId;
  }

  get brushPx() {
    return this.side.brushPx;
  }

  colorOf(categoryId) {
    return this.side.colorOf(categoryId);
  }

  isShown(one) {
    return !this.isHidden && !this.side.hiddenClasses.has(one.categoryId);
  }

  visible() {
    return this.shapes.filter((one) => this.isShown(one));
  }

  picked() {
    return this.shapes.filter((one) => this.selected.has(one.id) && this.isShown(one));
  }

  /** Return the shape that is selected alone, or null. */
  only() {
    const picked = this.picked();
    return picked.length === 1 ? picked[0] : null;
  }

  /** Does a shape lie under a point, or all but? @param {{x: number, y: number}} point image px */
  isAt(one, point) {
    const reach = 3 / this.stage.view.scale;
    const b = this.painter.pathOf(one).bounds;
    return point.x >= b.xmin - reach && point.x <= b.xmax + reach && point.y >= b.ymin - reach && point.y <= b.ymax + reach && (Boolean(one.box) || contains(one, point));
  }

  /** Return what lies under a point: of several shapes the smallest, so that each can be reached. @param {{x: number, y: number}} point image px */
  hit(point) {
    const near = this.visible().filter((one) => this.isAt(one, point));
    return near.length > 1 ? near.reduce((best, one) => (areaOf(one) < areaOf(best) ? one : best)) : near[0] ?? null;
  }

  /** May a shape be begun now? If not, say why. */
  mayDraw() {
    if (this.isReadOnly || !this.isLoaded) return false;
    if (!this.categoryId) {
      this.tell("Name a class first");
      document.querySelector("#label-add input")?.focus();
      return false;
    }
    if (this.isHidden) this.command("hide");
    if (this.side.hiddenClasses.has(this.categoryId)) this.side.toggleClass(this.categoryId);
    return true;
  }

  // --- what is shown while a tool works ------------------------------------------------------------------------------

  /** Show selected shapes otherwise than they are, until `settle` makes it so. @param {import("../lib/shapes.js").Shape[]} some */
  preview(some) {
    this.changing = new Map(some.map((one) => [one.id, one]));
    this.painter.soon();
  }

  settle() {
    const some = [...this.changing.values()];
    this.changing = new Map();
    this.replace(some);
  }

  /** Show a shape that is being drawn. */
  sketch(one) {
    this.sketched = one;
    this.painter.soon();
  }

  /** Show a polygon that is being drawn. */
  trace(traced) {
    this.traced = traced;
    this.painter.soon();
  }

  /** Show the brush. */
  ring(ring) {
    this.brush = ring;
    this.painter.soon();
  }

  /** Leave shapes out: the stroke shows them. @param {number[]} ids */
  hold(ids) {
    this.held = new Set(ids);
    this.painter.soon();
  }

  /** Mark what the pointer is on. */
  point(id, vertex) {
    this.vertex = vertex;
    if (id === this.pointed) return;
    this.pointed = id;
    this.painter.soon();
  }

  // --- changes -------------------------------------------------------------------------------------------------------

  /** @param {import("../lib/shapes.js").Labels} labels @param {string | null} [merge] see timeline.js */
  commit(labels, merge = null) {
    if (this.isReadOnly || !this.isLoaded) return;
    this.line = commit(this.line, labels, merge);
    this.changed();
  }

  changed() {
    const ids = new Set(this.shapes.map((one) => one.id));
    this.selected = new Set([...this.selected].filter((id) => ids.has(id)));
    this.changing = new Map();
    this.refresh();
    this.saver.save(() => ({ shapes: this.shapes, nothing_to_label: this.line.now.isNothing }));
  }

  refresh() {
    this.painter.show(this.shapes, this.selected);
    this.side.show();
    this.drafts?.tell();
  }

  /** @param {import("../lib/shapes.js").Shape} one */
  add(one) {
    this.addAll([one]);
    this.announce();
  }

  /** @param {import("../lib/shapes.js").Shape[]} some */
  addAll(some) {
    this.selected = new Set(some.map((one) => one.id));
    this.commit({ shapes: [...this.shapes, ...some], isNothing: false });
  }

  /** Put other forms in the place of shapes with the same ids, and take shapes away. @param {import("../lib/shapes.js").Shape[]} some @param {number[]} [gone] ids @param {string | null} [merge] */
  replace(some, gone = [], merge = null) {
    const others = new Map(some.map((one) => [one.id, one]));
    if (!gone.length && this.shapes.every((one) => (others.get(one.id) ?? one) === one)) {
      this.painter.soon();
      return;
    }
    const shapes = this.shapes.filter((one) => !gone.includes(one.id)).map((one) => others.get(one.id) ?? one);
    this.commit({ shapes, isNothing: false }, merge);
  }

  /** @param {import("../lib/polygon.js").Place} place */
  removeVertex(place) {
    const one = this.only();
    const rings = withoutVertex(one.rings, place);
    this.vertex = null;
    if (rings) this.replace([altered(one, { rings })]);
    else this.replace([], [one.id]);
  }

  remove() {
    if (this.vertex && this.only()?.rings) this.removeVertex(this.vertex);
    else if (this.selected.size) this.replace([], this.picked().map((one) => one.id));
  }

  /** Give the selection a class; without one, the shapes that come. @param {string} categoryId */
  classify(categoryId) {
    this.side.choose(categoryId);
    if (!this.isReadOnly) this.replace(this.picked().filter((one) => one.categoryId !== categoryId).map((one) => altered(one, { categoryId })));
  }

  // --- selection -----------------------------------------------------------------------------------------------------

  /** @param {number[]} ids */
  select(ids) {
    this.selected = new Set(ids);
    const one = this.only();
    if (one) this.side.choose(one.categoryId);
    this.refresh();
  }

  toggle(id) {
    this.select(this.selected.has(id) ? [...this.selected].filter((other) => other !== id) : [...this.selected, id]);
  }

  /** Go to the next shape, in the order of reading. @param {number} step 1 or -1 */
  step(step) {
    const order = this.visible().map((one) => ({ id: one.id, ...this.painter.pathOf(one).bounds })).sort((a, b) => a.ymin - b.ymin || a.xmin - b.xmin);
    if (!order.length) return;
    const at = order.findIndex(({ id }) => this.selected.has(id));
    const next = order[at < 0 ? (step > 0 ? 0 : order.length - 1) : (at + step + order.length) % order.length];
    this.select([next.id]);
    const seen = this.painter.seen();
    if (next.xmin < seen.xmin || next.ymin < seen.ymin || next.xmax > seen.xmax || next.ymax > seen.ymax) this.look();
    this.announce();
  }

  /** Bring the selection close. */
  look() {
    const some = this.picked();
    if (some.length) this.stage.frame(boundsOfAll(some));
  }

  // --- keys and commands ---------------------------------------------------------------------------------------------

  /** @param {KeyboardEvent} event @param {string} name @returns {boolean} was it a key of this editor? */
  press(event, name) {
    return press(this, event, name);
  }

  /** @param {string} name @returns {boolean} was it a command of this editor? */
  command(name) {
    return command(this, name);
  }

  /** @param {string} name of a tool */
  use(name) {
    if (this.isReadOnly) return;
    this.tool.cancel?.();
    this.tool = Object.values(this.tools).find((tool) => tool.name === name);
    this.brush = this.pointed = null;
    this.owner.set(`tool ${this.task}`, name);
    this.stage.take(this.tool);
    this.tool.begin?.();
    this.side.showTool();
    this.painter.soon();
  }

  hide() {
    this.isHidden = !this.isHidden;
    this.painter.redraw();
    this.side.show();
  }

  /** Say that somebody looked and found nothing, or take that back. */
  setNothing() {
    if (this.shapes.length) this.tell("There are labels: delete them first");
    else this.commit({ shapes: [], isNothing: !this.line.now.isNothing });
    this.side.show();
  }

  undo() {
    this.travel(back(this.line), "Nothing to undo");
  }

  redo() {
    this.travel(forward(this.line), "Nothing to redo");
  }

  travel(line, ifNone) {
    if (!line || this.isReadOnly) {
      this.tell(ifNone);
      return;
    }
    this.tool.cancel?.();
    this.line = line;
    this.changed();
  }

  // --- from image to image -------------------------------------------------------------------------------------------

  /** @param {string | null} [href] of the screen that takes them by itself */
  copy(href = null) {
    const some = this.selected.size ? this.picked() : this.shapes;
    if (!some.length) return;
    clipboard.put(this.project, some, href);
    this.tell(`${count(some.length, "label")} copied`);
  }

  paste() {
    const copies = clipboard.take(this.project, this.stage.size).filter((one) => this.side.nameOf(one.categoryId));
    if (this.isReadOnly || !copies.length) return;
    this.addAll(copies);
    this.tell(`${count(copies.length, "label")} pasted`);
  }

  /** Walk to the next image with the selection, or with all there is. */
  copyToNext() {
    const next = this.owner.querySelector("[data-walk=next]");
    if (!next || !this.shapes.length || this.isReadOnly) return;
    this.copy(next.getAttribute("href"));
    this.owner.walk("next");
  }

  /** Have the neighbours' labels here before one walks to them. @param {string[]} hrefs of their screens */
  lookAhead(hrefs) {
    this.store.lookAhead(hrefs.map((href) => new URL(href, location.href).searchParams.get("image")).filter(Boolean));
  }

  // --- the server ----------------------------------------------------------------------------------------------------

  async load() {
    try {
      this.adopt(await this.store.load());
    } catch {
      this.tell("The labels could not be loaded. Reload the page.");
    }
  }

  /** Take what the server has. @param {{version: number, shapes: object[], nothing_to_label: boolean, line?: object}} stored */
  adopt(stored) {
    this.line = stored.line ?? begin({ shapes: stored.shapes.map(fromSaved), isNothing: stored.nothing_to_label });
    this.saver.version = stored.version;
    this.isLoaded = true;
    this.selected = new Set();
    this.side.say(this.shapes.length || this.line.now.isNothing ? "Saved" : "");
    this.refresh();
    if (clipboard.isFor(this.project, location.pathname + location.search)) this.paste();
  }

  settled({ ok, reply }) {
    if (ok) document.getElementById("label-summary")?.dispatchEvent(new Event("annotator:saved"));
    else if (reply.status === 409 && reply.answer.current) this.side.showConflict(reply.answer.current, this.shapes.length);
    else this.tell(reply.answer.detail ?? "Not saved: the server did not answer. The next change tries again.");
  }

  /** Answer an edit made elsewhere. @param {DOMStringMap} words */
  resolve({ conflict }) {
    const { current } = this.saver.lost.answer;
    this.saver.adopt(current.version, conflict === "theirs");
    if (conflict === "theirs") this.adopt(current);
  }

  // --- words ---------------------------------------------------------------------------------------------------------

  tell = (text) => this.side.tell(text);

  /** Tell who cannot see it where the selected shape is. */
  announce() {
    const one = this.only();
    if (one) this.side.announce(one);
  }
}
