/**
 * Labels one image with one class, by keyboard: for classification and anomaly detection.
 *
 * Event (bubbles, on the class form): `annotator:change` {imageId, categoryId, from}; the form posts on it.
 */
import { parse, record, redo, undo } from "../lib/history.js";
import { remember, remembered } from "../lib/memory.js";
import { Saver } from "./saver.js";
import { TOOLS } from "./tools.js";

export class ClassEditor {
  tool = TOOLS.pan;

  /** @param {import("../elements/image-annotator.js").ImageAnnotator} owner */
  constructor(owner) {
    this.owner = owner;
    this.form = owner.querySelector("form.classes");
    this.saver = this.form && new Saver(this.form);
    this.value = this.chosen()?.value ?? "";
    this.historyKey = `kizu.label.history.${owner.getAttribute("project-id")}`;
    this.history = parse(remembered(sessionStorage, this.historyKey));
    this.form?.addEventListener("change", () => this.changed());
    this.saver?.addEventListener("settled", ({ detail }) => detail.ok && owner.dispatchEvent(new Event("annotator:kept")));
    this.finishUndo();
  }

  /** @param {KeyboardEvent} event @param {string} name @returns {boolean} was it a key of this editor? */
  press(event, name) {
    if (!/^[1-9]$/.test(name)) return false;
    const row = [...(this.form?.querySelectorAll("[name=category_id]:not([value=''])") ?? [])][Number(name) - 1];
    // The same key again takes the class away; a key that is held down must not.
    if (row && !row.matches(":disabled") && !event.repeat) this.choose(row.checked ? "" : row.value, true);
    return true;
  }

  /** @param {string} name @returns {boolean} was it a command of this editor? */
  command(name) {
    const deeds = { none: () => this.isOpen() && this.choose("", false), undo: () => this.step(undo, "from"), redo: () => this.step(redo, "to") };
    deeds[name]?.();
    return name in deeds;
  }

  isOpen() {
    return Boolean(this.form) && !this.form.querySelector("fieldset").disabled;
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
      this.keep(record(this.history, { imageId: this.owner.imageId, href: location.pathname + location.search, from, to }));
      this.store(from, to);
    } else if (this.saver.lost) {
      this.store(from, to);
    }
    if (mayAdvance && to && this.owner.settings.advance) this.owner.walk(this.owner.querySelector("[data-walk=next]") ? "next" : "unlabelled");
  }

  /** @param {string} from @param {string} to */
  store(from, to) {
    this.value = to;
    this.saver.save({ imageId: this.owner.imageId, categoryId: to, from });
  }

  /** @param {import("../lib/history.js").History} history */
  keep(history) {
    this.history = history;
    remember(sessionStorage, this.historyKey, JSON.stringify(history));
  }

  /** Undo or redo one change, here or on the image where it was made. @param {typeof undo} take @param {"from" | "to"} side */
  async step(take, side) {
    if (!this.isOpen()) return;
    const result = take(this.history);
    if (!result) {
      this.saver.say(side === "from" ? "Nothing to undo" : "Nothing to redo");
      return;
    }
    const { change, history } = result;
    if (change.imageId === this.owner.imageId) {
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
    if (!pending || pending.imageId !== this.owner.imageId) return;
    remember(sessionStorage, key, "null");
    // htmx takes the form over when the document is ready, or just after a swap; the event must come after that.
    const go = () => setTimeout(() => this.owner.isConnected && this.apply(pending.value), 50);
    if (document.readyState === "complete") go();
    else window.addEventListener("load", go, { once: true, signal: this.owner.page.signal });
  }

  /** Answer an edit made elsewhere: theirs is shown and kept, mine is sent on top of their version. @param {DOMStringMap} words */
  resolve({ conflict, categoryId, version }) {
    this.saver.adopt(version);
    this.saver.lost = null;
    if (conflict === "theirs") {
      const input = this.form.querySelector(`[name=category_id][value="${CSS.escape(categoryId)}"]`);
      if (input) input.checked = true;
      this.value = categoryId;
      this.saver.say("Theirs kept");
    } else {
      this.saver.save({ imageId: this.owner.imageId, categoryId: this.value, from: categoryId ?? "" });
    }
  }

  close() {
    // Nothing of it outlives the element.
  }
}
