/**
 * Picks shapes and changes them: move, resize by handles, edit vertices. The tools that draw build on it, so that what was just
 * drawn can be mended without another tool.
 */
import { handlesOf, resized } from "../../lib/box.js";
import { edgeAt, movedVertex, placed, vertexAt, withVertex } from "../../lib/polygon.js";
import { altered, contains, movedTogether } from "../../lib/shapes.js";

const CURSORS = { n: "ns-resize", s: "ns-resize", e: "ew-resize", w: "ew-resize", nw: "nwse-resize", se: "nwse-resize", ne: "nesw-resize", sw: "nesw-resize" };
const REACH = 8; // stage px from a handle
const SMALL = 30; // stage px: a side shorter than this has no room for a handle in its middle
const CLICK = 3; // stage px that a click may wander

/** Return the handles that a box has room for. @param {import("../../lib/box.js").Box} box @param {number} scale */
export function roomyHandles(box, scale) {
  const [wide, high] = [(box.xmax - box.xmin) * scale >= SMALL, (box.ymax - box.ymin) * scale >= SMALL];
  return handlesOf(box).filter(({ handle }) => handle.length === 2 || (handle === "n" || handle === "s" ? wide : high));
}

/** Return what of the one selected shape can be taken hold of at a point, or null.
 * @param {import("../shape-editor.js").ShapeEditor} editor @param {{x: number, y: number}} point image px */
export function gripAt(editor, point) {
  const one = editor.only();
  if (!one || editor.isReadOnly) return null;
  const { scale } = editor.stage.view;
  const { size } = editor.stage;
  if (one.box) {
    const shorter = Math.min(one.box.xmax - one.box.xmin, one.box.ymax - one.box.ymin);
    const reach = Math.max(Math.min(REACH / scale, contains(one, point) ? shorter / 3 : Infinity), 2 / scale);
    const at = roomyHandles(one.box, scale).find(({ x, y }) => Math.max(Math.abs(x - point.x), Math.abs(y - point.y)) <= reach);
    if (!at) return null;
    const away = { x: at.x - point.x, y: at.y - point.y };
    return { cursor: CURSORS[at.handle], drag: (to) => altered(one, { box: resized(one.box, at.handle, { x: to.x + away.x, y: to.y + away.y }, size) }) };
  }
  if (!one.rings) return null;
  const vertex = vertexAt(one.rings, point, REACH / scale);
  if (vertex) return { cursor: "move", vertex, drag: (to) => altered(one, { rings: movedVertex(one.rings, vertex, placed(to, size)) }) };
  const edge = edgeAt(one.rings, point, (REACH - 3) / scale);
  return edge && { cursor: "copy", drag: (to) => altered(one, { rings: withVertex(one.rings, edge, placed(to, size)) }) };
}

/** @implements {import("../tools.js").Tool} */
export class SelectTool {
  name = "select";
  cursor = "default";
  hint = "Click selects, drag moves · Shift: several · arrows move by 1 px, with Shift by 10";

  /** @param {import("../shape-editor.js").ShapeEditor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  /** @param {import("../tools.js").Press} press */
  down(press) {
    const { editor } = this;
    this.from = press;
    this.deed = null;
    const grip = gripAt(editor, press.image);
    if (grip?.vertex && press.event.altKey) {
      editor.removeVertex(grip.vertex);
      return;
    }
    if (grip) {
      this.deed = (to) => [grip.drag(to.image)];
      return;
    }
    const hit = editor.hit(press.image);
    if (press.event.shiftKey && hit) {
      editor.toggle(hit.id);
    } else if (hit) {
      if (!editor.selected.has(hit.id)) editor.select([hit.id]);
      this.deed = editor.isReadOnly ? null : (to) => movedTogether(editor.picked(), to.image.x - press.image.x, to.image.y - press.image.y, editor.stage.size);
    } else {
      this.isPanning = true;
    }
  }

  move(press, before) {
    if (this.isPanning) this.editor.stage.pan(press.stage.x - before.stage.x, press.stage.y - before.stage.y);
    else if (this.deed && (this.moves ||= wandered(this.from, press))) this.editor.preview(this.deed(press));
  }

  up(press) {
    if (this.isPanning && !wandered(this.from, press) && !press.event.shiftKey) this.editor.select([]);
    if (this.deed && this.moves) this.editor.settle();
    this.rest();
  }

  cancel() {
    this.editor.preview([]);
    this.rest();
  }

  rest() {
    this.deed = null;
    this.moves = false;
    this.isPanning = false;
  }

  hover(press) {
    const { editor } = this;
    const grip = gripAt(editor, press.image);
    const hit = grip ? null : editor.hit(press.image);
    editor.point(hit?.id ?? null, grip?.vertex ?? null);
    editor.stage.point(grip?.cursor ?? (hit ? "move" : this.cursor));
  }

  leave() {
    this.editor.point(null, null);
  }

  /** Click twice on a shape to see it close, elsewhere to see all. @param {import("../tools.js").Press} press */
  double(press) {
    if (this.editor.hit(press.image)) this.editor.look();
    else this.editor.stage.fit();
  }
}

/** Did the pointer move, rather than click? @param {import("../tools.js").Press} from @param {import("../tools.js").Press} to */
export const wandered = (from, to) => Math.hypot(to.stage.x - from.stage.x, to.stage.y - from.stage.y) > CLICK;
