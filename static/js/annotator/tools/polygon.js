/**
 * Draws polygons point by point. The selected one's vertices can be moved, added on an edge and taken away; a ring drawn inside it
 * becomes its hole.
 */
import { doubledArea, placed } from "../../lib/polygon.js";
import { altered, contains, shape } from "../../lib/shapes.js";
import { gripAt, SelectTool } from "./select.js";

const CLOSES = 9; // stage px from the first point

export class PolygonTool extends SelectTool {
  name = "polygon";
  cursor = "crosshair";
  hint = "Click point by point · Enter closes · Backspace: a point back · inside the selected one: a hole · Alt-click: vertex away";
  points = [];

  down(press) {
    this.isMending = false;
    if (!this.points.length && (gripAt(this.editor, press.image) || press.event.shiftKey)) {
      this.isMending = true;
      super.down(press);
    } else if (this.editor.mayDraw()) {
      this.put(press);
    }
  }

  /** @param {import("../tools.js").Press} press */
  put(press) {
    const { editor } = this;
    const [first] = this.points;
    if (this.points.length > 2 && Math.hypot(first.x - press.image.x, first.y - press.image.y) * editor.stage.view.scale <= CLOSES) {
      this.close();
      return;
    }
    const one = editor.only();
    if (!this.points.length) {
      this.holed = one?.rings && contains(one, press.image) ? one : null;
      if (!this.holed) editor.select([]);
    }
    this.points.push(placed(press.image, editor.stage.size));
    this.show(press);
  }

  move(press, before) {
    if (this.isMending) super.move(press, before);
    else this.show(press);
  }

  up(press) {
    if (this.isMending) super.up(press);
  }

  hover(press) {
    if (this.points.length) this.show(press);
    else super.hover(press);
    if (!this.points.length && !gripAt(this.editor, press.image)) this.editor.stage.point(this.cursor);
  }

  double() {
    // The second click came as a point: a polygon of two clicks at one place is closed by it.
    if (this.points.length > 3) {
      this.points.pop();
      this.close();
    }
  }

  /** Show the points so far and the line to the pointer. @param {import("../tools.js").Press} [press] */
  show(press) {
    this.at = press ? placed(press.image, this.editor.stage.size) : this.at;
    this.editor.trace(this.points.length ? { points: this.points, at: this.at, color: this.editor.colorOf(this.holed?.categoryId ?? this.editor.categoryId) } : null);
  }

  close() {
    const { editor, holed } = this;
    const ring = this.points.flatMap(({ x, y }) => [x, y]);
    this.drop();
    if (ring.length < 6 || !doubledArea(ring)) {
      editor.tell("A polygon needs three points that are not on one line");
    } else if (holed) {
      editor.replace([altered(holed, { rings: [...holed.rings, ring] })]);
    } else {
      editor.add(shape({ categoryId: editor.categoryId, rings: [ring] }));
    }
  }

  drop() {
    this.points = [];
    this.editor.trace(null);
  }

  cancel() {
    this.drop();
    super.cancel();
  }

  /** @param {string} name @returns {boolean} */
  press(name) {
    if (!this.points.length) return false;
    if (name === "Enter") this.close();
    else if (name === "Escape") this.drop();
    else if (name === "Backspace" || name === "Ctrl+z") {
      this.points.pop();
      this.show();
    } else return false;
    return true;
  }
}
