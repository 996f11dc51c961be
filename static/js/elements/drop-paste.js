/** Drop or paste one picture into the file input whose id is in `for`; shows it, and sends the input's form. */
export class DropPaste extends HTMLElement {
  connectedCallback() {
    this.input = /** @type {HTMLInputElement} */ (document.getElementById(this.getAttribute("for")));
    this.input.addEventListener("change", () => this.taken());
    this.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.classList.add("try__drop--over");
    });
    this.addEventListener("dragleave", () => this.classList.remove("try__drop--over"));
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      this.classList.remove("try__drop--over");
      this.take(event.dataTransfer.files[0]);
    });
    this.pasted = (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
      if (file) this.take(file);
    };
    document.addEventListener("paste", this.pasted);
  }

  disconnectedCallback() {
    document.removeEventListener("paste", this.pasted);
    if (this.url) URL.revokeObjectURL(this.url);
  }

  /** @param {File | undefined} file */
  take(file) {
    if (!file) return;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    this.input.files = transfer.files;
    this.input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  taken() {
    const file = this.input.files[0];
    if (!file) return;
    const preview = this.querySelector("[data-part=preview]");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(file);
    preview.onload = () => (preview.hidden = false);
    preview.onerror = () => (preview.hidden = true); // a TIFF is read by the server, not by the browser
    preview.src = this.url;
    this.input.form?.requestSubmit();
  }
}
customElements.define("drop-paste", DropPaste);
