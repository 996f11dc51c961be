/**
 * Uploads thousands of images: dropped anywhere on the page, files, folders or a zip; four requests at a time.
 *
 * Attributes: `action`, `accept`, `max-bytes`. Request and answer: see templates/macros/uploads.html.
 * Events (bubble): `uploader:file` {name, status, image_id, detail}; `uploader:done` {created, duplicate, refused, failed}.
 */
import { batches, refusal } from "../lib/batch.js";
import { Ledger } from "../lib/ledger.js";
import { Cancelled, send } from "../lib/transport.js";
import { Tray } from "../lib/tray.js";
import { entriesOf, walk } from "../lib/walk.js";

const PARALLEL = 4;

export class FileUploader extends HTMLElement {
  connectedCallback() {
    this.sprite = document.querySelector("svg.icon use")?.getAttribute("href")?.split("#")[0] ?? "/static/icons.svg";
    this.queue = [];
    this.running = 0;
    this.walking = 0;
    const folder = this.querySelector("[data-part=folder]");
    folder.webkitdirectory = true;
    this.querySelector("[data-part=folder-pick]").hidden = false;
    for (const input of [folder, this.querySelector("[data-part=files]")]) {
      input.addEventListener("change", () => {
        this.add([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
        input.value = "";
      });
    }
    this.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
    this.page = new AbortController();
    const { signal } = this.page;
    const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragenter", (event) => carriesFiles(event) && this.veil(true), { signal });
    document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault(), { signal });
    document.addEventListener("dragleave", (event) => event.relatedTarget === null && this.veil(false), { signal });
    document.addEventListener("drop", (event) => carriesFiles(event) && this.dropped(event), { signal });
    window.addEventListener("beforeunload", (event) => this.ledger?.isBusy && event.preventDefault(), { signal });
  }

  disconnectedCallback() {
    this.page.abort();
    this.cancel();
    this.tray?.root.remove();
  }

  /** @param {boolean} on */
  veil(on) {
    this.cover?.remove();
    this.cover = undefined;
    if (!on) return;
    this.cover = document.createElement("div");
    this.cover.className = "uploader__veil";
    this.cover.textContent = "Drop to upload";
    (this.closest("dialog[open]") ?? document.body).append(this.cover); // what lies outside an open dialog is behind it
  }

  /** @param {DragEvent} event */
  async dropped(event) {
    event.preventDefault();
    this.veil(false);
    const entries = entriesOf(event.dataTransfer); // before the first await: the list is emptied after the handler
    const files = [...event.dataTransfer.files];
    if (!entries.length) {
      this.add(files.map((file) => ({ file, path: file.name })));
      return;
    }
    this.walking += 1;
    let some = [];
    for (const entry of entries) {
      for await (const found of walk(entry, "", (path) => this.unreadable(path))) {
        some.push(found);
        if (some.length >= 200) {
          this.add(some);
          some = [];
        }
      }
    }
    this.walking -= 1;
    this.add(some);
    this.pump();
  }

  /** @param {string} path */
  unreadable(path) {
    this.begin();
    const [item] = this.ledger.add([{ file: new File([], path), path }]);
    this.settle(item, "refused", "The browser could not read it.");
  }

  begin() {
    if (this.ledger && this.tray?.root.isConnected) return;
    this.ledger = new Ledger();
    this.stop = new AbortController();
    this.tray = new Tray(this.ledger, this.sprite, { cancel: () => this.cancel(), retry: () => this.retry(), close: () => this.tray.root.remove() });
    document.body.append(this.tray.root);
  }

  /** Queue files. @param {{file: File, path: string}[]} found */
  add(found) {
    if (!found.length) return;
    this.closest("dialog[open]")?.close(); // it would lie over the tray
    this.begin();
    this.told = false;
    const accept = this.getAttribute("accept") ?? "";
    const maxBytes = Number(this.getAttribute("max-bytes")) || 0;
    const good = [];
    for (const item of this.ledger.add(found)) {
      const why = refusal(item.file, accept, maxBytes);
      if (why) this.settle(item, "refused", why);
      else good.push(item);
    }
    this.enqueue(good);
  }

  /** @param {import("../lib/ledger.js").Item[]} items */
  enqueue(items) {
    const folders = this.querySelector("[name=folders_as_classes]")?.checked ?? false; // as it stands now, not when the last file goes
    this.queue.push(...batches(items).map((batch) => ({ batch, folders })));
    this.pump();
  }

  /** Keep four requests under way, and tell when all is over. */
  pump() {
    while (this.running < PARALLEL && this.queue.length) {
      this.running += 1;
      this.carry(this.queue.shift()).finally(() => {
        this.running -= 1;
        this.pump();
      });
    }
    this.tray?.draw();
    if (this.ledger && !this.running && !this.queue.length && !this.walking && !this.ledger.isBusy && !this.told) {
      this.told = true;
      const { created, duplicate, refused, failed } = this.ledger.counts();
      this.dispatchEvent(new CustomEvent("uploader:done", { bubbles: true, detail: { created, duplicate, refused, failed } }));
    }
  }

  /** Send one request and settle its files. @param {{batch: import("../lib/ledger.js").Item[], folders: boolean}} work */
  async carry({ batch, folders }) {
    this.told = false;
    for (const item of batch) item.fate = "sending";
    this.tray.draw();
    try {
      const onSent = (bytes) => {
        this.ledger.spread(batch, bytes);
        this.tray.draw();
      };
      const answer = await send(this.getAttribute("action"), () => this.body(batch, folders), onSent, this.stop.signal);
      if (answer.counts && batch.length === 1) this.settleArchive(batch[0], answer);
      else batch.forEach((item, i) => this.settleOne(item, answer.results[i]));
    } catch (error) {
      const fate = error instanceof Cancelled ? "cancelled" : "failed";
      for (const item of batch) this.settle(item, fate, fate === "failed" ? error.message : "");
    }
  }

  /** @param {import("../lib/ledger.js").Item[]} batch @param {boolean} folders @returns {FormData} */
  body(batch, folders) {
    const form = new FormData();
    form.append("folders_as_classes", String(folders));
    for (const item of batch) form.append("paths", item.path);
    for (const item of batch) form.append("files", item.file, item.file.name);
    return form;
  }

  /** @param {import("../lib/ledger.js").Item} item @param {import("../lib/transport.js").Result | undefined} result */
  settleOne(item, result) {
    if (result) this.settle(item, result.status, result.detail ?? "", result.image_id);
    else this.settle(item, "failed", "The server said nothing of this file.");
  }

  /** A zip is one file here and many images there. @param {import("../lib/ledger.js").Item} item @param {{results: object[], counts: Record<string, number>}} answer */
  settleArchive(item, { results, counts }) {
    const { created = 0, duplicate = 0, refused = 0 } = counts;
    const fate = created ? "created" : duplicate ? "duplicate" : "refused";
    const why = results.find((result) => result.status === "refused");
    const parts = [`${created} images`, duplicate ? `${duplicate} duplicates` : "", refused ? `${refused} refused` : ""].filter(Boolean).join(", ");
    this.settle(item, fate, parts + (why ? `. ${why.name}: ${why.detail}` : ""));
  }

  /** @param {import("../lib/ledger.js").Item} item @param {import("../lib/ledger.js").Fate} fate @param {string} [detail] @param {number | null} [imageId] */
  settle(item, fate, detail, imageId) {
    this.ledger.settle(item, fate, detail, imageId);
    this.tray.draw();
    this.dispatchEvent(new CustomEvent("uploader:file", { bubbles: true, detail: { name: item.path, status: fate, image_id: imageId ?? null, detail: detail ?? "" } }));
  }

  cancel() {
    this.stop?.abort();
    for (const { batch } of this.queue.splice(0)) for (const item of batch) this.settle(item, "cancelled");
    this.stop = new AbortController();
    this.pump();
  }

  retry() {
    const failed = this.ledger.items.filter((item) => item.fate === "failed");
    for (const item of failed) this.ledger.settle(item, "waiting");
    this.tray.startedAt = performance.now();
    this.enqueue(failed);
  }
}
customElements.define("file-uploader", FileUploader);
