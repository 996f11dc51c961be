/**
 * Go anywhere by typing. Its entries are links in the page; `find` is an address to which a search text is appended.
 */
import { ranked } from "../lib/fuzzy.js";

export class CommandPalette extends HTMLElement {
  connectedCallback() {
    this.dialog = this.querySelector("dialog");
    this.input = this.querySelector("input");
    this.list = this.querySelector("[role=listbox]");
    this.nothing = this.querySelector("[data-part=empty]");
    this.entries = [...this.list.querySelectorAll("[role=option]")];
    this.entries.forEach((entry, i) => (entry.id ||= `${this.id}-entry-${i}`));
    this.input.addEventListener("input", () => this.show());
    this.input.addEventListener("keydown", (event) => this.press(event));
    this.list.addEventListener("pointermove", (event) => this.choose(event.target.closest("[role=option]")));
  }

  open() {
    if (this.dialog.open) return;
    this.input.value = "";
    this.show();
    this.dialog.showModal();
    this.input.focus();
  }

  show() {
    const query = this.input.value.trim();
    const fitting = ranked(query, this.entries, (entry) => `${entry.querySelector(".palette__title").textContent} ${entry.dataset.words ?? ""}`);
    const find = this.getAttribute("find");
    this.list.replaceChildren(...fitting.map((entry) => entry.parentElement), ...(query && find ? [this.finder(find, query)] : []));
    this.nothing.hidden = this.list.childElementCount > 0;
    this.choose(this.list.querySelector("[role=option]"));
  }

  /** Return the entry that searches for what was typed. @param {string} address @param {string} query */
  finder(address, query) {
    const item = this.entries[0].parentElement.cloneNode(true);
    const link = item.firstElementChild;
    link.id = `${this.id}-find`;
    link.href = address + encodeURIComponent(query);
    link.querySelector(".palette__title").textContent = `Find images named “${query}”`;
    link.querySelector(".palette__hint").textContent = "";
    link.querySelector(".keys")?.remove();
    return item;
  }

  /** @param {Element | null} entry */
  choose(entry) {
    if (!entry && this.list.childElementCount) return;
    for (const other of this.list.querySelectorAll("[aria-selected=true]")) other.setAttribute("aria-selected", "false");
    entry?.setAttribute("aria-selected", "true");
    entry?.scrollIntoView({ block: "nearest" });
    if (entry) this.input.setAttribute("aria-activedescendant", entry.id);
    else this.input.removeAttribute("aria-activedescendant");
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const shown = [...this.list.querySelectorAll("[role=option]")];
    const at = shown.findIndex((entry) => entry.getAttribute("aria-selected") === "true");
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.choose(shown[(at + step + shown.length) % shown.length]);
    } else if (event.key === "Enter" && shown[at]) {
      event.preventDefault();
      shown[at].click();
      this.dialog.close();
    }
  }
}
customElements.define("command-palette", CommandPalette);
