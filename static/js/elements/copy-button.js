/** Copies the `text` attribute, or the text of the element whose id is in `from`. Says so on the button for two seconds. */
export class CopyButton extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", async () => {
      const text = this.getAttribute("text") ?? document.getElementById(this.getAttribute("from"))?.textContent?.trim() ?? "";
      const label = this.querySelector("[data-part=text]");
      this.label ??= label.textContent;
      label.textContent = (await copy(text)) ? "Copied" : "Press Ctrl C";
      clearTimeout(this.timer);
      this.timer = setTimeout(() => (label.textContent = this.label), 2000);
    });
  }
}

/** Copy to the clipboard, also on plain http where the Clipboard API is missing (a factory's network often has no TLS).
 * @param {string} text @returns {Promise<boolean>} */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    const back = document.activeElement;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    back?.focus?.();
    return done;
  }
}
customElements.define("copy-button", CopyButton);
