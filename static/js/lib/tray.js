/** The tray of an upload: total, figures, and a short list that never grows with the number of files. */
import { bytes, count, duration } from "./format.js";

const SHOWN = 60;
const ICONS = { waiting: "clock", sending: "upload", created: "check", duplicate: "copy", refused: "octagon-x", failed: "wifi-off", cancelled: "ban" };
const WORDS = { waiting: "waiting", sending: "", created: "uploaded", duplicate: "duplicate, skipped", refused: "refused", failed: "not sent", cancelled: "cancelled" };

export class Tray {
  /** @param {import("./ledger.js").Ledger} ledger @param {string} sprite address of the icon sprite @param {{cancel(): void, retry(): void, close(): void}} deeds */
  constructor(ledger, sprite, deeds) {
    this.ledger = ledger;
    this.sprite = sprite;
    this.startedAt = performance.now();
    this.root = document.createElement("section");
    this.root.className = "tray";
    this.root.setAttribute("aria-label", "Upload");
    this.root.innerHTML = `<div class="tray__head"><span class="tray__title" role="status"></span><button type="button" class="button button--quiet button--bare button--small" data-deed="fold" aria-label="Fold the list" aria-expanded="true"></button></div>
      <div class="tray__total"><progress max="1" value="0" aria-label="All files"></progress><div class="tray__figures"><span data-part="fates"></span><span data-part="left"></span></div></div>
      <div class="tray__list" tabindex="0" role="region" aria-label="Files"></div>
      <div class="tray__foot"><button type="button" class="button button--small" data-deed="retry" hidden>Try again</button><button type="button" class="button button--small" data-deed="cancel">Cancel</button><button type="button" class="button button--small" data-deed="close" hidden>Close</button></div>`;
    this.part = (selector) => this.root.querySelector(selector);
    this.part("[data-deed=fold]").append(this.icon("chevron-down"));
    this.root.addEventListener("click", (event) => {
      const deed = event.target.closest("[data-deed]")?.dataset.deed;
      if (deed === "fold") this.fold();
      else if (deed) deeds[deed]();
    });
  }

  fold() {
    const list = this.part(".tray__list");
    list.hidden = !list.hidden;
    this.part("[data-deed=fold]").setAttribute("aria-expanded", String(!list.hidden));
  }

  /** @param {string} name */
  icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("width", "14");
    svg.setAttribute("height", "14");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `${this.sprite}#${name}`);
    svg.append(use);
    return svg;
  }

  /** Draw again, at most once a frame. */
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.paint();
    });
  }

  paint() {
    const { ledger } = this;
    const counts = ledger.counts();
    const busy = ledger.isBusy;
    const fraction = ledger.fraction();
    const troubled = counts.refused + counts.failed;
    const over = ledger.items.length - counts.waiting - counts.sending;
    this.part(".tray__title").textContent = busy ? `Uploading ${count(ledger.items.length, "file")}` : summary(counts);
    this.part(".tray__total progress").value = fraction;
    this.part("[data-part=fates]").textContent = [`${over} of ${ledger.items.length}`, counts.duplicate ? count(counts.duplicate, "duplicate") : "", troubled ? `${troubled} with trouble` : ""].filter(Boolean).join(" · ");
    const elapsed = (performance.now() - this.startedAt) / 1000;
    this.part("[data-part=left]").textContent = busy && fraction > 0.03 && elapsed > 2 ? `about ${duration((elapsed / fraction) * (1 - fraction))} left` : "";
    this.part("[data-deed=cancel]").hidden = !busy;
    this.part("[data-deed=close]").hidden = busy;
    this.part("[data-deed=retry]").hidden = busy || !counts.failed;
    const shown = ledger.shown(SHOWN);
    const rest = ledger.items.length - shown.length;
    const more = document.createElement("p");
    more.className = "tray__more";
    more.textContent = `and ${count(rest, "more file", "more files")}`;
    this.part(".tray__list").replaceChildren(...shown.map((item) => this.row(item)), ...(rest > 0 ? [more] : []));
  }

  /** @param {import("./ledger.js").Item} item */
  row(item) {
    const row = document.createElement("div");
    row.className = `tray__row tray__row--${item.fate}`;
    const name = document.createElement("span");
    name.className = "clip";
    name.textContent = item.path;
    name.title = item.path;
    const fate = document.createElement("span");
    fate.className = "tray__fate";
    fate.textContent = item.fate === "sending" ? bytes(item.file.size) : WORDS[item.fate];
    row.append(this.icon(ICONS[item.fate]), name, fate);
    if (item.fate === "sending") {
      const bar = document.createElement("progress");
      bar.max = 1;
      bar.setAttribute("aria-label", item.path);
      // All bytes gone means that the server is at work, whose length nobody knows: an open-ended bar.
      if (item.sent < item.file.size) bar.value = item.sent / item.file.size;
      row.append(bar);
    } else if (item.detail) {
      const detail = document.createElement("span");
      detail.className = "tray__detail";
      detail.textContent = item.detail;
      row.append(detail);
    }
    return row;
  }
}

/** "120 uploaded, 3 duplicates skipped, 1 refused" @param {Record<string, number>} counts @returns {string} */
export function summary(counts) {
  const parts = [
    [counts.created, `${counts.created} uploaded`], [counts.duplicate, `${count(counts.duplicate, "duplicate")} skipped`],
    [counts.refused, `${counts.refused} refused`], [counts.failed, `${counts.failed} not sent`], [counts.cancelled, `${counts.cancelled} cancelled`],
  ];
  return parts.filter(([n]) => n).map(([, text]) => text).join(", ") || "Nothing to upload";
}
