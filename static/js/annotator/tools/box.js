/** Draws boxes. The selected one can be moved and resized at once; Alt draws inside it all the same. */
import { inMiddle, spanned } from "../../lib/box.js";
import { contains, shape } from "../../lib/shapes.js";
import { gripAt, SelectTool, wandered } from "./select.js";

export class BoxTool extends SelectTool {
  name = "box";
  cursor = "crosshair";
  hint = "Drag to draw · Enter: a box in the middle · arrows move it, with Alt they resize · Alt-drag: inside another";

  down(press) {
    const one = this.editor.only();
    const isMending = !press.event.altKey && (gripAt(this.editor, press.image) || (one && contains(one, press.image)));
    this.isDrawing = !isMending && !press.event.shiftKey && this.editor.mayDraw();
    if (!this.isDrawing) {
      super.down(press);
      return;
    }
    this.from = press;
    this.corner = press.image;
  }

  move(press, before) {
    if (!this.isDrawing) super.move(press, before);
    else if (wandered(this.from, press)) this.editor.sketch(this.boxTo(press));
  }

  up(press) {
    if (!this.isDrawing) {
      super.up(press);
      return;
    }
    this.isDrawing = false;
    const drawn = wandered(this.from, press) ? this.boxTo(press) : null;
    this.editor.sketch(null);
    if (drawn) this.editor.add(drawn);
    else this.editor.select([this.editor.hit(press.image)?.id].filter((id) => id !== undefined));
  }

  cancel() {
    this.isDrawing = false;
    this.editor.sketch(null);
    super.cancel();
  }

  boxTo(press) {
    const box = spanned(this.corner, press.image, this.editor.stage.size);
    return box && shape({ categoryId: this.editor.categoryId, box });
  }

  hover(press) {
    super.hover(press);
    const one = this.editor.only();
    if (!gripAt(this.editor, press.image)) this.editor.stage.point(one && contains(one, press.image) && !press.event.altKey ? "move" : this.cursor);
  }

  double() {
    // Two quick clicks are two clicks.
  }

  /** @param {string} name @returns {boolean} */
  press(name) {
    if (name !== "Enter" || this.editor.selected.size || !this.editor.mayDraw()) return false;
    const box = inMiddle(this.editor.painter.seen(), this.editor.stage.size);
    if (box) this.editor.add(shape({ categoryId: this.editor.categoryId, box }));
    return true;
  }
}
