/**
 * Selects images in a grid. The ticked checkboxes are the selection: the form named in `bar` posts them as they are.
 *
 * The corner ticks one; Ctrl or Shift and a click, Space, Shift and an arrow, Ctrl-A and a lasso over the gaps do the rest; Esc lets go.
 * Event (bubbles): `grid:selection` {ids}. A response header `HX-Trigger: grid:clear` lets go of all.
 */
import { count } from "../lib/format.js";
import { isTyping, nameOf } from "../lib/keys.js";
import { neighbour, none, pick, rectangle, touched } from "../lib/selection.js";

const WAYS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };

export class ImageGrid extends HTMLElement {
  connectedCallback() {
    this.list = this.querySelector("[data-part=list]");
    this.selection = none();
    for (const box of this.querySelectorAll(".tile__pick input:checked")) this.selection.ids.add(box.value); // ticked before this module came
    this.addEventListener("click", (event) => this.click(event), true);
    this.addEventListener("keydown", (event) => this.press(event));
    this.addEventListener("focusin", (event) => this.rove(event.target.closest?.(".tile")));
    this.addEventListener("pointerdown", (event) => this.lasso(event));
    this.pressAnywhere = (event) => this.pressOutside(event);
    document.addEventListener("keydown", this.pressAnywhere);
    // The bar may stand anywhere in the page, and may come back by a swap: it is found when it is needed.
    this.letGo = (event) => event.target.closest("[data-part=clear]")?.form === this.bar && this.bar && this.choose(none());
    document.addEventListener("click", this.letGo);
    this.clear = () => this.choose(none());
    document.addEventListener("grid:clear", this.clear);
    // So that the answer to a change shows as many images as were there, and the page stays where it is.
    this.count = (event) => (event.detail.ctx.request.headers["Kizu-Shown"] = String(this.tiles.length));
    document.addEventListener("htmx:config:request", this.count);
    this.observer = new MutationObserver(() => this.refresh());
    this.observer.observe(this.list, { childList: true });
    this.refresh();
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.pressAnywhere);
    document.removeEventListener("click", this.letGo);
    document.removeEventListener("grid:clear", this.clear);
    document.removeEventListener("htmx:config:request", this.count);
    this.observer.disconnect();
  }

  get bar() {
    return /** @type {HTMLFormElement | null} */ (document.getElementById(this.getAttribute("bar")));
  }

  get tiles() {
    return [...this.list.querySelectorAll(".tile")];
  }

  /** Take over after tiles came or went: drop ids that are gone, one tile in the tab order. */
  refresh() {
    const tiles = this.tiles;
    const there = new Set(tiles.map((tile) => tile.dataset.id));
    const current = tiles.find((tile) => tile.querySelector("a").tabIndex === 0 && tile.dataset.roving) ?? tiles[0];
    for (const tile of tiles) {
      tile.querySelector("a").tabIndex = tile === current ? 0 : -1;
      tile.querySelector("input").tabIndex = -1;
    }
    this.choose({ ids: new Set([...this.selection.ids].filter((id) => there.has(id))), anchor: this.selection.anchor });
  }

  /** Make a tile the one that Tab comes back to. @param {Element | null} tile */
  rove(tile) {
    if (!tile) return;
    for (const other of this.list.querySelectorAll("[data-roving]")) {
      delete other.dataset.roving;
      other.querySelector("a").tabIndex = -1;
    }
    tile.dataset.roving = "true";
    tile.querySelector("a").tabIndex = 0;
  }

  /** @param {MouseEvent} event */
  click(event) {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    const corner = event.target.closest(".tile__pick");
    const toggles = event.ctrlKey || event.metaKey;
    if (!corner && !event.shiftKey && !toggles) return; // a plain click opens the image
    event.preventDefault();
    event.stopPropagation();
    this.choose(pick(this.selection, this.order(), tile.dataset.id, event.shiftKey ? "range" : "toggle"));
    tile.querySelector("a").focus({ preventScroll: true });
    // After a cancelled click on the box itself the browser takes its tick back: put the selection in force again then.
    if (event.target.matches("input")) setTimeout(() => this.choose(this.selection));
  }

  order() {
    return this.tiles.map((tile) => tile.dataset.id);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const tile = event.target.closest(".tile");
    const way = WAYS[event.key];
    if (!tile || (event.ctrlKey && way)) return;
    if (way) {
      event.preventDefault();
      const tiles = this.tiles;
      const boxes = tiles.map((t) => ({ left: t.offsetLeft, right: t.offsetLeft + t.offsetWidth, top: t.offsetTop }));
      const next = tiles[neighbour(boxes, tiles.indexOf(tile), way)];
      if (event.shiftKey) {
        const from = this.selection.anchor ? this.selection : pick(this.selection, this.order(), tile.dataset.id, "range");
        this.choose(pick(from, this.order(), next.dataset.id, "range"));
      }
      next.querySelector("a").focus();
      next.scrollIntoView({ block: "nearest" });
    } else if (event.key === " ") {
      event.preventDefault();
      this.choose(pick(this.selection, this.order(), tile.dataset.id, event.shiftKey ? "range" : "toggle"));
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      // Enter goes to the page of the image, also where a click only opens it beside the grid.
      event.preventDefault();
      location.assign(tile.querySelector("a").href);
    }
  }

  /** Ctrl-A and Esc hold wherever the focus is, unless one types. @param {KeyboardEvent} event */
  pressOutside(event) {
    if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    if (name === "Ctrl+a") {
      event.preventDefault();
      this.choose({ ids: new Set(this.order()), anchor: this.selection.anchor });
    } else if (name === "Escape" && this.selection.ids.size) {
      this.choose(none());
    }
  }

  /** Draw a lasso from a press beside the tiles (touch scrolls instead). @param {PointerEvent} event */
  lasso(event) {
    if (event.button !== 0 || event.pointerType === "touch" || event.target.closest(".tile, a, button, input, label")) return;
    event.preventDefault();
    const before = event.shiftKey || event.ctrlKey || event.metaKey ? this.selection.ids : new Set();
    const local = (e) => {
      const box = this.getBoundingClientRect();
      return { x: e.clientX - box.left, y: e.clientY - box.top };
    };
    const start = local(event);
    const shape = document.createElement("div");
    shape.className = "grid__lasso";
    const home = this.list.getBoundingClientRect();
    const here = this.getBoundingClientRect();
    const boxes = this.tiles.map((t) => {
      const b = t.getBoundingClientRect();
      return { id: t.dataset.id, left: b.left - here.left, top: b.top - here.top, right: b.right - here.left, bottom: b.bottom - here.top };
    });
    this.append(shape);
    const move = (e) => {
      const r = rectangle(start, local(e));
      Object.assign(shape.style, { left: `${r.left}px`, top: `${r.top}px`, width: `${r.right - r.left}px`, height: `${r.bottom - r.top}px` });
      if (home) this.choose({ ids: new Set([...before, ...touched(boxes, r)]), anchor: this.selection.anchor });
    };
    const end = () => {
      shape.remove();
      document.removeEventListener("pointermove", move);
      document.removeEventListener("pointerup", end);
      document.removeEventListener("pointercancel", end);
    };
    move(event);
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", end);
    document.addEventListener("pointercancel", end);
  }

  /** Put a selection in force: checkboxes, bar, event. @param {import("../lib/selection.js").Selection} selection */
  choose(selection) {
    this.selection = selection;
    for (const tile of this.tiles) tile.querySelector("input").checked = selection.ids.has(tile.dataset.id);
    const n = selection.ids.size;
    this.classList.toggle("grid--selecting", n > 0);
    const bar = this.bar;
    if (bar) {
      bar.hidden = n === 0;
      const out = bar.querySelector("[data-part=count]");
      out.textContent = `${count(n, out.dataset.noun)} selected`;
    }
    this.dispatchEvent(new CustomEvent("grid:selection", { bubbles: true, detail: { ids: [...selection.ids] } }));
  }
}
customElements.define("image-grid", ImageGrid);
