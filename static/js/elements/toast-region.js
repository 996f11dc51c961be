/**
 * Where messages appear. Toasts come swapped in by htmx, or by the response header
 * `HX-Trigger: {"toast": {"text", "kind", "action", "href"}}`. A message goes after eight seconds, unless it is an error or the reader is on it.
 */
const ICONS = { "": "info", ok: "circle-check", unsure: "triangle-alert", ng: "octagon-x" };
const STAY_MS = 8000;

export class ToastRegion extends HTMLElement {
  connectedCallback() {
    this.sprite = document.querySelector("svg.icon use")?.getAttribute("href")?.split("#")[0] ?? "/static/icons.svg";
    this.addEventListener("click", (event) => event.target.closest(".toast__close")?.closest(".toast").remove());
    new MutationObserver((changes) => {
      for (const change of changes) for (const node of change.addedNodes) if (node.classList?.contains("toast")) this.take(node);
    }).observe(this, { childList: true });
    document.addEventListener("toast", (event) => this.say(event.detail));
    document.addEventListener("htmx:error", (event) => this.lost(event));
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

  /** @param {Element} toast */
  keepTime(toast) {
    if (toast.classList.contains("toast--ng")) return;
    let timer = setTimeout(() => toast.remove(), STAY_MS);
    const hold = () => clearTimeout(timer);
    const resume = () => (timer = setTimeout(() => toast.remove(), STAY_MS / 2));
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
