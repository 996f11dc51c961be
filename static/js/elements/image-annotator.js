/**
 * The labelling screen: an image on a stage, and an editor for what its project's images carry: a class, shapes, or strokes.
 * Markup: templates/macros/annotator.html.
 *
 * Attributes: `image-id`, `project-id`, `width`, `height` (image px), `preload` (addresses, space-separated), and for shapes `shapes-href`
 * (where they are read and saved), `drafts-href` (where a model's are read), `task`, `read-only`; for strokes `strokes-href`, `read-only`.
 * Event (on itself): `annotator:kept`, when a label has been saved.
 */
import { Ahead } from "../annotator/ahead.js";
import { ClassEditor } from "../annotator/class-editor.js";
import { ShapeEditor } from "../annotator/shape-editor.js";
import { StrokeEditor } from "../annotator/stroke-editor.js";
import { Stage } from "../annotator/stage.js";
import { TOOLS } from "../annotator/tools.js";
import { isTyping, nameOf } from "../lib/keys.js";
import { remember, remembered } from "../lib/memory.js";
import { LIMITS, PLAIN } from "../lib/tone.js";

const KEYS = {
  f: "fit", 0: "none", a: "actual", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", z: "magnifier", x: "crosshair", h: "heat", p: "prediction", l: "canvas",
  "Ctrl+z": "undo", "Ctrl+Shift+z": "redo", "Ctrl+y": "redo", "?": "help", ArrowLeft: "previous", ArrowRight: "next", u: "unlabelled",
};
const TOGGLES = { magnifier: "lens", crosshair: "hair", heat: "heat", prediction: "prediction", canvas: "light" };
const VIEW_KEY = "kizu.label.view";

const ahead = new Ahead();
document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  if (ctx.target?.id === "label-page" && ctx.request.method === "GET") ctx.fetch = (href, options) => ahead.take(href, options);
  else if (ctx.request.method !== "GET" && ctx.sourceElement.id !== "label-form") ahead.forget(); // another class, for example
});

export class ImageAnnotator extends HTMLElement {
  connectedCallback() {
    this.piece = (name) => this.querySelector(`[data-part=${name}]`);
    this.imageId = this.getAttribute("image-id");
    this.settings = { prediction: true, ...JSON.parse(remembered(localStorage, VIEW_KEY) ?? "{}") };
    this.page = new AbortController();
    this.stage = new Stage(this, { width: Number(this.getAttribute("width")), height: Number(this.getAttribute("height")) });
    const Editor = this.hasAttribute("shapes-href") ? ShapeEditor : this.hasAttribute("strokes-href") ? StrokeEditor : ClassEditor;
    this.editor = new Editor(this);
    this.stage.take(this.editor.tool);
    this.listen(this.page.signal);
    this.applySettings();
    ahead.carryOver();
    this.addEventListener("annotator:kept", () => ahead.saved(this.imageId, this.shared()));
    // Only once this image has been drawn: it comes first.
    requestAnimationFrame(() => setTimeout(() => this.isConnected && this.lookAhead()));
    document.querySelector(".filmstrip [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }

  /** Return the addresses of the screens that are a step away. @returns {string[]} */
  neighbours() {
    return ["next", "previous", "unlabelled"].map((where) => this.querySelector(`[data-walk=${where}]`)?.getAttribute("href")).filter(Boolean);
  }

  /** Have the neighbours' screens and pictures here before one walks to them. */
  lookAhead() {
    ahead.want(this.neighbours());
    this.pictures = (this.getAttribute("preload") ?? "").split(" ").filter(Boolean).map((src) => Object.assign(new Image(), { src }));
    for (const picture of this.pictures) picture.decode().catch(() => {}); // one that cannot be shown says so when one is there
    this.editor.lookAhead?.(this.neighbours());
  }

  /** What a label of this image changes that the screens of others show too. @returns {Element[]} */
  shared() {
    return [...document.querySelectorAll(`#label-progress, [id^=class-count-], #strip-note-${CSS.escape(this.imageId)}`)];
  }

  disconnectedCallback() {
    this.page.abort();
    this.editor.close();
    this.stage.close();
  }

  /** @param {AbortSignal} signal */
  listen(signal) {
    document.addEventListener("keydown", (event) => this.press(event), { signal });
    document.addEventListener("keyup", (event) => this.release(event), { signal });
    window.addEventListener("blur", () => this.release(null), { signal });
    this.addEventListener("click", (event) => this.click(event));
    this.stage.addEventListener("view", () => (this.piece("zoom").textContent = `${Math.round(this.stage.view.scale * devicePixelRatio * 100)} %`));
    this.stage.addEventListener("pixel", ({ detail }) => {
      const value = detail?.value && (new Set(detail.value).size === 1 ? detail.value[0] : detail.value.join(" "));
      this.piece("pixel").textContent = detail ? `${detail.x}, ${detail.y}${value === null ? "" : ` = ${value}`}` : "";
    });
    this.stage.addEventListener("tone", () => {
      for (const name of ["brightness", "contrast"]) this.piece(name).value = this.stage.tone[name];
    });
    for (const name of ["brightness", "contrast"]) {
      this.piece(name).min = LIMITS[name][0];
      this.piece(name).addEventListener("input", (event) => this.stage.setTone({ ...this.stage.tone, [name]: Number(event.target.value) }));
    }
    this.piece("advance")?.addEventListener("change", (event) => this.set("advance", event.target.checked));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.defaultPrevented || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    const onRange = event.target.matches?.("[type=range]");
    if (event.code === "Space" && !event.target.matches?.("button, a, summary, input")) {
      event.preventDefault();
      this.stage.holdsSpace = true;
    } else if (name === "c" && !event.repeat) {
      this.stage.take(TOOLS.tone);
    } else if (onRange && /Arrow|Home|End|Page/.test(name)) {
      return;
    } else if (this.editor.press(event, name)) {
      if (name !== "Escape") event.preventDefault(); // it may close a menu besides
    } else if (KEYS[name]) {
      event.preventDefault();
      this.command(KEYS[name]);
    }
  }

  /** @param {KeyboardEvent | null} event null: all keys are let go */
  release(event) {
    if (!event || event.code === "Space") this.stage.holdsSpace = false;
    if (!event || event.key.toLowerCase() === "c") this.stage.take(this.editor.tool);
  }

  /** @param {MouseEvent} event */
  click(event) {
    const command = event.target.closest("[data-command]")?.dataset.command;
    if (command) this.command(command);
    const side = event.target.closest("[data-conflict]");
    if (side) {
      this.editor.resolve(side.dataset);
      this.querySelector("#label-conflict").replaceChildren();
    }
    const walk = event.target.closest("[data-walk]");
    if (walk && (this.editor.saver?.saving || this.editor.saver?.lost)) {
      event.preventDefault();
      event.stopImmediatePropagation();
      this.walk(walk.dataset.walk);
    }
  }

  /** @param {string} name */
  command(name) {
    const { stage } = this;
    const deeds = {
      fit: () => stage.fit(), actual: () => stage.actual(), "zoom-in": () => stage.zoom(1.25), "zoom-out": () => stage.zoom(0.8),
      "reset-tone": () => stage.setTone(PLAIN), help: () => document.getElementById("keys-help")?.showModal(),
      previous: () => this.walk("previous"), next: () => this.walk("next"), unlabelled: () => this.walk("unlabelled"),
    };
    if (this.editor.command(name)) return;
    if (TOGGLES[name]) this.set(TOGGLES[name], !this.settings[TOGGLES[name]]);
    else deeds[name]?.();
  }

  /** @param {string} name @param {unknown} value */
  set(name, value) {
    this.settings[name] = value;
    remember(localStorage, VIEW_KEY, JSON.stringify(this.settings));
    this.applySettings();
  }

  applySettings() {
    const { lens, hair, heat, prediction, light, advance } = this.settings;
    this.stage.hasLens = lens;
    this.stage.hasHair = hair;
    this.classList.toggle("annotator--light", Boolean(light));
    if (this.piece("heat")) this.piece("heat").hidden = !heat;
    if (this.piece("prediction")) this.piece("prediction").hidden = !prediction;
    if (this.piece("advance")) this.piece("advance").checked = Boolean(advance);
    for (const [command, name] of Object.entries(TOGGLES)) this.querySelector(`[data-command=${command}]`)?.setAttribute("aria-pressed", String(Boolean(this.settings[name])));
    this.stage.hover(this.stage.last ?? null);
    this.editor.drafts?.show();
  }

  /** @param {"previous" | "next" | "unlabelled"} where */
  async walk(where) {
    const link = this.querySelector(`[data-walk=${where}]`);
    if (!link) return;
    if (this.editor.saver && !(await this.editor.saver.done())) {
      this.querySelector("[data-conflict]")?.focus();
      return;
    }
    link.click();
  }
}
customElements.define("image-annotator", ImageAnnotator);
