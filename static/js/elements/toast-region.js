/**
 * Where messages appear. Toasts come swapped in by htmx, or by the response header
 * `HX-Trigger: {"toast": {"text", "kind", "action", "href"}}`. A message goes after eight seconds, one that offers to undo after
 * twenty, unless it is an error or the reader is on it. Ctrl-Z takes the newest offer, wherever the focus is.
 */
import { isTyping, nameOf } from "../lib/keys.js";

const ICONS = { "": "info", ok: "circle-check", unsure: "triangle-alert", ng: "octagon-x" };
const STAY_MS = 8000;
const STAY_WITH_OFFER_MS = 20_000;

export class ToastRegion extends HTMLElement {
  connectedCallback() {
    this.sprite = document.querySelector("svg.icon use")?.getAttribute("href")?.split("#")[0] ?? "/static/icons.svg";
    this.addEventListener("click", (event) => event.target.closest(".toast__close")?.closest(".toast").remove());
    new MutationObserver((changes) => {
      for (const change of changes) for (const node of change.addedNodes) if (node instanceof Element) this.take(node);
    }).observe(this, { childList: true });
    document.addEventListener("toast", (event) => this.say(event.detail));
    document.addEventListener("htmx:error", (event) => this.lost(event));
    document.addEventListener("keydown", (event) => this.press(event));
    this.addEventListener("htmx:finally:request", (event) => this.answered(event));
    for (const toast of this.children) this.keepTime(toast);
    this.popover = "manual";
    this.raise();
  }

  /** Lie over everything, also over a dialog that was opened later than the last message. */
  raise() {
    if (this.matches(":popover-open")) this.hidePopover();
    this.showPopover();
  }

  /** @param {Element} toast */
  take(toast) {
    if (toast.matches(".form__list")) {
      // what is wrong with a form that has no place to say so
      toast.remove();
      this.say({ kind: "ng", text: toast.textContent.trim().replace(/\s*\n\s*/g, " ") });
      return;
    }
    this.raise();
    this.keepTime(toast);
  }

  /** Tell of a request that got no answer; an answer of the server with an error speaks for itself. @param {CustomEvent} event */
  lost(event) {
    const { ctx, error } = event.detail ?? {};
    if (ctx?.response || ctx?.request?.signal?.aborted && error?.name === "AbortError" && !ctx?.timedOut) return;
    if (ctx?.sourceElement?.getAttribute?.("hx-trigger")?.includes("every")) return; // a poll tries again by itself
    this.say({ kind: "ng", text: "The server did not answer. Nothing was changed; please try again." });
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    // The Label screen has an undo of its own.
    if (nameOf(event) !== "Ctrl+z" || event.repeat || isTyping(event.target) || document.querySelector("dialog:modal, image-annotator")) return;
    const offer = [...this.querySelectorAll(".toast__form [type=submit]")].at(-1);
    if (!offer) return;
    event.preventDefault();
    offer.click();
  }

  /** An offer that was taken goes; the focus goes to what it changed. @param {CustomEvent} event */
  answered(event) {
    const toast = event.target.closest(".toast");
    if (!toast || event.detail?.ctx?.response?.status >= 400) return;
    if (toast.contains(document.activeElement)) document.getElementById("results")?.focus({ preventScroll: true });
    toast.remove();
  }

  /** @param {Element} toast */
  keepTime(toast) {
    if (toast.classList.contains("toast--ng")) return;
    const stay = toast.querySelector(".toast__form") ? STAY_WITH_OFFER_MS : STAY_MS;
    let timer = setTimeout(() => toast.remove(), stay);
    const hold = () => clearTimeout(timer);
    const resume = () => (timer = setTimeout(() => toast.remove(), stay / 2));
    toast.addEventListener("pointerenter", hold);
    toast.addEventListener("focusin", hold);
    toast.addEventListener("pointerleave", resume);
    toast.addEventListener("focusout", resume);
  }

  /** @param {{text: string, kind?: "" | "ok" | "unsure" | "ng", action?: string, href?: string}} message */
  say({ text, kind = "", action, href }) {
    const toast = document.createElement("div");
    toast.className = `toast${kind ? ` toast--${kind}` : ""}`;
    toast.setAttribute("role", kind === "ng" ? "alert" : "status");
    toast.innerHTML = `<svg class="icon" width="16" height="16" aria-hidden="true"><use/></svg><p class="toast__text"></p><a class="toast__action" hidden></a><button type="button" class="toast__close" aria-label="Dismiss"><svg class="icon" width="14" height="14" aria-hidden="true"><use/></svg></button>`;
    const [mark, close] = toast.querySelectorAll("use");
    mark.setAttribute("href", `${this.sprite}#${ICONS[kind] ?? "info"}`);
    close.setAttribute("href", `${this.sprite}#x`);
    toast.querySelector(".toast__text").textContent = text;
    const link = toast.querySelector(".toast__action");
    if (action && href?.startsWith("/")) Object.assign(link, { textContent: action, href, hidden: false });
    this.append(toast);
  }
}
customElements.define("toast-region", ToastRegion);
