/**
 * Labels one image with one class, by keyboard. Markup: templates/macros/annotator.html.
 *
 * Attributes: `image-id`, `project-id`, `width`, `height` (image px), `predicted-id`, `preload` (addresses, space-separated).
 * Event (bubbles, on the class form): `annotator:change` {imageId, categoryId, from}; the form posts on it.
 * The stage takes its tools from annotator/tools.js; other tasks bring theirs.
 */
import { Ahead } from "../annotator/ahead.js";
import { Saver } from "../annotator/saver.js";
import { Stage } from "../annotator/stage.js";
import { TOOLS } from "../annotator/tools.js";
import { parse, record, redo, undo } from "../lib/history.js";
import { isTyping, nameOf } from "../lib/keys.js";
import { LIMITS, PLAIN } from "../lib/tone.js";

const KEYS = {
  f: "fit", 0: "none", a: "actual", "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", m: "magnifier", x: "crosshair", h: "heat", p: "prediction", l: "canvas",
  "Ctrl+z": "undo", "Ctrl+Shift+z": "redo", "Ctrl+y": "redo", "?": "help", ArrowLeft: "previous", ArrowRight: "next", u: "unlabelled",
};
const TOGGLES = { magnifier: "lens", crosshair: "hair", heat: "heat", prediction: "prediction", canvas: "light" };
const VIEW_KEY = "kizu.label.view";

const ahead = new Ahead();
document.addEventListener("htmx:config:request", ({ detail: { ctx } }) => {
  if (ctx.target?.id === "label-page" && ctx.request.method === "GET") ctx.fetch = (href, options) => ahead.take(href, options);
  else if (ctx.request.method !== "GET" && ctx.sourceElement.id !== "label-form") ahead.forget(); // another class, for example
});

/** Read and write small things that may be forbidden. */
const remembered = (store, key) => {
  try {
    return store.getItem(key);
  } catch {
    return null;
  }
};
const remember = (store, key, value) => {
  try {
    store.setItem(key, value);
  } catch {
    // Then it holds for this page only.
  }
};

export class ImageAnnotator extends HTMLElement {
  connectedCallback() {
    this.piece = (name) => this.querySelector(`[data-part=${name}]`);
    this.imageId = this.getAttribute("image-id");
    this.stage = new Stage(this, { width: Number(this.getAttribute("width")), height: Number(this.getAttribute("height")) });
    this.form = this.querySelector("form.classes");
    this.saver = this.form && new Saver(this.form);
    this.value = this.chosen()?.value ?? "";
    this.historyKey = `kizu.label.history.${this.getAttribute("project-id")}`;
    this.history = parse(remembered(sessionStorage, this.historyKey));
    this.settings = { prediction: true, ...JSON.parse(remembered(localStorage, VIEW_KEY) ?? "{}") };
    this.page = new AbortController();
    this.listen(this.page.signal);
    this.applySettings();
    this.finishUndo();
    ahead.carryOver();
    this.saver?.addEventListener("settled", ({ detail }) => detail.ok && ahead.saved(this.imageId, this.shared()));
    // Only once this image has been drawn: it comes first.
    requestAnimationFrame(() => setTimeout(() => this.isConnected && this.lookAhead()));
    document.querySelector(".filmstrip [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }

  /** Have the neighbours' screens and pictures here before one walks to them. */
  lookAhead() {
    ahead.want(["next", "previous", "unlabelled"].map((where) => this.querySelector(`[data-walk=${where}]`)?.getAttribute("href")).filter(Boolean));
    this.pictures = (this.getAttribute("preload") ?? "").split(" ").filter(Boolean).map((src) => Object.assign(new Image(), { src }));
    for (const picture of this.pictures) picture.decode().catch(() => {}); // one that cannot be shown says so when one is there
  }

  /** What a label of this image changes that the screens of others show too. @returns {Element[]} */
  shared() {
    return [...document.querySelectorAll(`#label-progress, [id^=class-count-], #strip-note-${CSS.escape(this.imageId)}`)];
  }

  disconnectedCallback() {
    this.page.abort();
    this.stage.close();
  }

  /** @param {AbortSignal} signal */
  listen(signal) {
    document.addEventListener("keydown", (event) => this.press(event), { signal });
    document.addEventListener("keyup", (event) => this.release(event), { signal });
    window.addEventListener("blur", () => this.release(null), { signal });
    this.addEventListener("click", (event) => this.click(event));
    this.form?.addEventListener("change", () => this.changed());
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
      this.stage.tool = TOOLS.tone;
    } else if (/^[1-9]$/.test(name)) {
      const row = [...(this.form?.querySelectorAll("[name=category_id]:not([value=''])") ?? [])][Number(name) - 1];
      // The same key again takes the class away; a key that is held down must not.
      if (row && !row.matches(":disabled") && !event.repeat) this.choose(row.checked ? "" : row.value, true);
    } else if (KEYS[name] && !(onRange && name.startsWith("Arrow"))) {
      event.preventDefault();
      this.command(KEYS[name]);
    }
  }

  /** @param {KeyboardEvent | null} event null: all keys are let go */
  release(event) {
    if (!event || event.code === "Space") this.stage.holdsSpace = false;
    if (!event || event.key.toLowerCase() === "c") this.stage.tool = TOOLS.pan;
  }

  /** @param {MouseEvent} event */
  click(event) {
    const command = event.target.closest("[data-command]")?.dataset.command;
    if (command) this.command(command);
    const side = event.target.closest("[data-conflict]");
    if (side) this.resolve(side.dataset);
    const walk = event.target.closest("[data-walk]");
    if (walk && (this.saver?.saving || this.saver?.lost)) {
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
      none: () => this.form && !this.form.querySelector("fieldset").disabled && this.choose("", false), undo: () => this.step(undo, "from"), redo: () => this.step(redo, "to"),
      previous: () => this.walk("previous"), next: () => this.walk("next"), unlabelled: () => this.walk("unlabelled"),
    };
    if (TOGGLES[name]) this.set(TOGGLES[name], !this.settings[TOGGLES[name]]);
    else deeds[name]?.();
  }

  /** @param {string} name @param {boolean} on */
  set(name, on) {
    this.settings[name] = on;
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
  }

  /** @returns {HTMLInputElement | null} */
  chosen() {
    return this.form?.querySelector("[name=category_id]:checked");
  }

  /** Choose a class as if its row were pressed. @param {string} value category id or "" @param {boolean} mayAdvance */
  choose(value, mayAdvance) {
    const input = this.form.querySelector(`[name=category_id][value="${CSS.escape(value)}"]`);
    if (!input) return;
    input.checked = true;
    this.changed(mayAdvance);
  }

  /** Record, save, and move on if that is wished. @param {boolean} [mayAdvance] */
  changed(mayAdvance = true) {
    const to = this.chosen()?.value ?? "";
    const from = this.value;
    if (to !== from) {
      this.keep(record(this.history, { imageId: this.imageId, href: location.pathname + location.search, from, to }));
      this.store(from, to);
    } else if (this.saver.lost) {
      this.store(from, to);
    }
    if (mayAdvance && to && this.settings.advance) this.walk(this.querySelector("[data-walk=next]") ? "next" : "unlabelled");
  }

  /** @param {string} from @param {string} to */
  store(from, to) {
    this.value = to;
    this.saver.save({ imageId: this.imageId, categoryId: to, from });
  }

  /** @param {import("../lib/history.js").History} history */
  keep(history) {
    this.history = history;
    remember(sessionStorage, this.historyKey, JSON.stringify(history));
  }

  /** Undo or redo one change, here or on the image where it was made. @param {typeof undo} take @param {"from" | "to"} side */
  async step(take, side) {
    if (!this.form || this.form.querySelector("fieldset").disabled) return;
    const result = take(this.history);
    if (!result) {
      this.saver.say(side === "from" ? "Nothing to undo" : "Nothing to redo");
      return;
    }
    const { change, history } = result;
    if (change.imageId === this.imageId) {
      this.keep(history);
      this.apply(change[side]);
    } else if (await this.saver.done()) {
      this.keep(history);
      remember(sessionStorage, `${this.historyKey}.pending`, JSON.stringify({ imageId: change.imageId, value: change[side] }));
      location.assign(change.href);
    }
  }

  /** Set a value without recording it. @param {string} value */
  apply(value) {
    const input = this.form.querySelector(`[name=category_id][value="${CSS.escape(value)}"]`);
    if (!input) return;
    const from = this.value;
    input.checked = true;
    this.store(from, value);
  }

  /** Complete an undo that began on another image. */
  finishUndo() {
    const key = `${this.historyKey}.pending`;
    const pending = JSON.parse(remembered(sessionStorage, key) ?? "null");
    if (!pending || pending.imageId !== this.imageId) return;
    remember(sessionStorage, key, "null");
    // htmx takes the form over when the document is ready, or just after a swap; the event must come after that.
    const go = () => setTimeout(() => this.isConnected && this.apply(pending.value), 50);
    if (document.readyState === "complete") go();
    else window.addEventListener("load", go, { once: true, signal: this.page.signal });
  }

  /** @param {"previous" | "next" | "unlabelled"} where */
  async walk(where) {
    const link = this.querySelector(`[data-walk=${where}]`);
    if (!link) return;
    if (this.saver && !(await this.saver.done())) {
      this.querySelector("[data-conflict]")?.focus();
      return;
    }
    link.click();
  }

  /** Answer an edit made elsewhere: theirs is shown and kept, mine is sent on top of their version. @param {DOMStringMap} words */
  resolve({ conflict, categoryId, version }) {
    this.saver.adopt(version);
    this.saver.lost = null;
    this.querySelector("#label-conflict").replaceChildren();
    if (conflict === "theirs") {
      const input = this.form.querySelector(`[name=category_id][value="${CSS.escape(categoryId)}"]`);
      if (input) input.checked = true;
      this.value = categoryId;
      this.saver.say("Theirs kept");
    } else {
      this.saver.save({ imageId: this.imageId, categoryId: this.value, from: categoryId ?? "" });
    }
  }
}
customElements.define("image-annotator", ImageAnnotator);
