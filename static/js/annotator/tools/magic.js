/**
 * Magic click: a click, a stroke or a box proposes an outline, further ones add to it or take away, Enter makes it a label.
 *
 * The server finds the outline (app/annotations/magic) from all gestures so far; until it is accepted, nothing is saved.
 */
import { spanned } from "../../lib/box.js";
import { fromMask } from "../../lib/region.js";
import { shape } from "../../lib/shapes.js";
import { MagicStore } from "../magic-store.js";
import { wandered } from "./select.js";

const MOST_POINTS = 200; // of one stroke; as many as the server takes
const POINT_PX = 6; // stage px from one point of a stroke to the next

/** @implements {import("../tools.js").Tool} */
export class MagicTool {
  name = "magic";
  cursor = "crosshair";
  hint = "Click, or paint over it · Shift-drag: a box · Alt or right button: take away · Enter accepts · Backspace: a step back · Esc drops";
  hasRight = true;

  /** @param {import("../shape-editor.js").ShapeEditor} editor */
  constructor(editor) {
    this.editor = editor;
    this.store = new MagicStore(editor.store.href.replace(/shapes$/, "magic"));
    this.clear();
  }

  /** The tool was chosen: let the server look at the image before the first click. */
  async begin() {
    if (this.editor.isReadOnly || this.isWarm) return;
    this.isWarm = true;
    const found = await this.store.warm();
    if (found && !found.has_features && this.editor.tool === this) this.editor.tell("No backbone is ready yet: until the first one is, magic click goes by brightness and edges alone");
  }

  clear() {
    this.store.drop();
    this.prompts = [];
    this.view = null;
    this.show(null);
  }

  /** @param {import("../../lib/shapes.js").Shape | null} found */
  show(found) {
    this.editor.proposed = this.prompts.length || this.drawn ? { prompts: this.prompts, drawn: this.drawn, found } : null;
    this.editor.painter?.soon();
  }

  get found() {
    return this.editor.proposed?.found ?? null;
  }

  // --- gestures ------------------------------------------------------------------------------------------------------

  down(press) {
    if (!this.editor.mayDraw()) return;
    this.editor.select([]);
    this.from = press;
    this.isTaking = press.event.altKey || press.event.button === 2;
    this.isBox = press.event.shiftKey;
    this.points = [press.image];
    this.last = press.stage;
  }

  move(press) {
    if (!this.from || !wandered(this.from, press)) return;
    if (this.isBox) {
      this.drawn = { takes: this.isTaking, box: spanned(this.from.image, press.image, this.editor.stage.size) };
    } else {
      if (Math.hypot(press.stage.x - this.last.x, press.stage.y - this.last.y) >= POINT_PX && this.points.length < MOST_POINTS) {
        this.points.push(press.image);
        this.last = press.stage;
      }
      this.drawn = { takes: this.isTaking, points: this.points.map(({ x, y }) => [x, y]) };
    }
    this.show(this.found);
  }

  up(press) {
    if (!this.from) return;
    const hasWandered = wandered(this.from, press);
    const prompt = { takes: this.isTaking };
    if (this.isBox && hasWandered) prompt.box = spanned(this.from.image, press.image, this.editor.stage.size);
    else prompt.points = this.inside(hasWandered ? this.points : [this.from.image]);
    this.from = null;
    this.drawn = null;
    if (prompt.box || prompt.points?.length) this.ask([...this.prompts, prompt]);
    else this.show(this.found);
  }

  /** Return the points that lie on the image. @param {{x: number, y: number}[]} points @returns {number[][]} */
  inside(points) {
    const { width, height } = this.editor.stage.size;
    return points.filter(({ x, y }) => x >= 0 && y >= 0 && x <= width && y <= height).map(({ x, y }) => [x, y]);
  }

  // --- the proposal --------------------------------------------------------------------------------------------------

  /** @param {object[]} prompts all gestures from now on */
  async ask(prompts) {
    const { editor } = this;
    this.prompts = prompts;
    // One view for all of them, so that a gesture means the same after one has zoomed.
    this.view ??= this.seen();
    this.show(this.found);
    if (!prompts.length) {
      this.clear();
      return;
    }
    editor.stage.point("progress");
    const { status, answer } = await this.store.propose({ prompts, view: this.view });
    if (status === null || this.prompts !== prompts) return; // another gesture came meanwhile
    editor.stage.point(this.cursor);
    if (status !== 200) {
      editor.tell(answer.detail ?? "The server did not answer. Try again.");
      this.prompts = prompts.slice(0, -1);
      this.show(this.found);
      return;
    }
    this.answered = prompts.length;
    if (!answer.box) editor.tell("Nothing stands out here: paint over it, or Shift-drag a box around it");
    this.show(this.shapeOf(answer));
  }

  /** @returns {import("../../lib/shapes.js").Shape | null} */
  shapeOf({ mask, box }) {
    const { categoryId } = this.editor;
    if (mask) return shape({ categoryId, region: fromMask(mask) });
    return box && shape({ categoryId, box });
  }

  /** Return the part of the image that is seen. */
  seen() {
    const { xmin, ymin, xmax, ymax } = this.editor.painter.seen();
    return spanned({ x: xmin, y: ymin }, { x: xmax, y: ymax }, this.editor.stage.size);
  }

  accept() {
    const { found, editor } = this;
    if (!found) return;
    const { box, region } = found;
    this.clear();
    editor.add(shape(box ? { categoryId: editor.categoryId, box } : { categoryId: editor.categoryId, region }));
  }

  hover() {
    if (!this.prompts.length) this.editor.stage.point(this.cursor);
  }

  double() {
    // Two quick clicks are two clicks.
  }

  cancel() {
    this.from = null;
    this.drawn = null;
    this.clear();
  }

  /** @param {string} name @returns {boolean} */
  press(name) {
    if (!this.prompts.length) return false;
    if (name === "Enter") this.accept();
    else if (name === "Escape") this.cancel();
    else if (name === "Backspace" || name === "Ctrl+z") this.ask(this.prompts.slice(0, -1));
    else return false;
    return true;
  }
}
