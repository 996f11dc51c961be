/**
 * Brush, eraser and fill: masks, pixel by pixel.
 *
 * A stroke goes on with the selected mask; with none selected it begins a new one, which is selected then. The eraser takes away from
 * the selected mask, or from all that it meets. A polygon that is painted on becomes a mask.
 */
import { area, boundsOf, capsule, EMPTY, holeAt, isEmpty, union, without } from "../../lib/region.js";
import { altered, contains, regionOf, shape } from "../../lib/shapes.js";
import * as polygons from "../../lib/polygon.js";

/** @implements {import("../tools.js").Tool} */
export class BrushTool {
  name = "brush";
  cursor = "none";
  hint = "Paint · [ and ] size · Shift and drag: erase · Esc or Enter: a new mask";
  erases = false;

  /** @param {import("../shape-editor.js").ShapeEditor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  get radius() {
    return this.editor.brushPx / 2;
  }

  down(press) {
    const { editor } = this;
    if (editor.isReadOnly || (!this.erases && !editor.mayDraw())) return;
    const one = editor.only();
    this.base = one && !one.box ? one : null;
    this.isErasing = this.erases || press.event.shiftKey;
    this.painted = EMPTY;
    editor.painter.beginStroke(this.base, editor.colorOf(this.base?.categoryId ?? editor.categoryId), this.isErasing);
    editor.hold(this.base ? [this.base.id] : []);
    this.isDown = true;
    this.paint(press.image, press.image);
    this.last = press.image;
  }

  move(press, _before, stage) {
    this.ring(press);
    if (!this.isDown) return;
    for (const event of press.event.getCoalescedEvents?.() ?? []) this.to(stage.press(event).image);
    this.to(press.image);
  }

  to(point) {
    if (point.x === this.last.x && point.y === this.last.y) return;
    this.paint(this.last, point);
    this.last = point;
  }

  paint(a, b) {
    this.painted = union(this.painted, capsule(a, b, this.radius, this.editor.stage.size));
    this.editor.painter.addPiece(a, b, this.radius);
  }

  up() {
    if (!this.isDown) return;
    this.isDown = false;
    const { painted, editor, base } = this;
    editor.hold([]);
    if (!isEmpty(painted)) {
      if (this.isErasing) this.erase(base ? [base] : editor.visible(), painted);
      else if (base) editor.replace([masked(base, union(regionOf(base, editor.stage.size), painted))]);
      else editor.add(shape({ categoryId: editor.categoryId, region: painted }));
    }
    editor.painter.endStroke(isEmpty(painted) ? null : boundsOf(painted));
  }

  /** @param {import("../../lib/shapes.js").Shape[]} some @param {import("../../lib/region.js").Region} painted */
  erase(some, painted) {
    const { size } = this.editor.stage;
    const changed = [];
    const gone = [];
    for (const one of some) {
      if (one.box || !meets(this.editor.painter.pathOf(one).bounds, boundsOf(painted))) continue;
      const before = regionOf(one, size);
      const region = without(before, painted);
      if (isEmpty(region)) gone.push(one.id);
      else if (area(region) !== area(before)) changed.push(masked(one, region));
    }
    this.editor.replace(changed, gone);
  }

  cancel() {
    if (!this.isDown) return;
    this.isDown = false;
    this.editor.hold([]);
    this.editor.painter.endStroke(isEmpty(this.painted) ? null : boundsOf(this.painted));
  }

  hover(press) {
    this.ring(press);
    this.editor.stage.point(this.cursor);
  }

  leave() {
    if (!this.isDown) this.editor.ring(null);
  }

  ring(press) {
    this.editor.ring({ ...press.image, radius: this.radius, erases: this.erases || press.event.shiftKey });
  }

  double() {
    // Two quick dabs are two dabs.
  }

  /** @param {string} name @returns {boolean} */
  press(name) {
    if (name !== "Enter" || !this.editor.selected.size) return false;
    this.editor.select([]);
    return true;
  }
}

export class EraserTool extends BrushTool {
  name = "eraser";
  hint = "Take away from the selected mask, or from all where none is selected · [ and ] size";
  erases = true;
}

/** @implements {import("../tools.js").Tool} */
export class FillTool {
  name = "fill";
  cursor = "cell";
  hint = "Click inside a closed outline, or into a hole, to fill it";

  /** @param {import("../shape-editor.js").ShapeEditor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  down(press) {
    const { editor } = this;
    if (editor.isReadOnly) return;
    const picked = new Set(editor.picked());
    const order = [...picked, ...editor.visible().filter((one) => !picked.has(one)).reverse()];
    for (const one of order) {
      const filled = one.box || contains(one, press.image) ? null : this.filled(one, press.image);
      if (filled) {
        editor.replace([filled]);
        editor.select([one.id]);
        return;
      }
    }
    editor.tell("There is nothing closed around this point");
  }

  filled(one, point) {
    if (one.rings) {
      const hole = polygons.holeAt(one.rings, point);
      return hole ? altered(one, { rings: one.rings.filter((_, i) => i !== hole) }) : null;
    }
    const hole = holeAt(one.region, Math.floor(point.x), Math.floor(point.y));
    return hole && masked(one, union(one.region, hole));
  }

  double() {
    // Two clicks fill twice.
  }
}

const masked = (one, region) => altered(one, { rings: undefined, region });
const meets = (a, b) => a.xmin < b.xmax && b.xmin < a.xmax && a.ymin < b.ymax && b.ymin < a.ymax;
