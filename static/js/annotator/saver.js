/**
 * Posts the class form by htmx, one request at a time, so that each carries the version that the answer before it gave.
 * Walking on waits for the last answer: nothing is lost by a quick hand.
 */
export class Saver extends EventTarget {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    super();
    this.form = form;
    this.saving = false;
    this.again = null;
    /** The change that did not get through, and the status it met. @type {{detail: object, status: number} | null} */
    this.lost = null;
    form.addEventListener("htmx:before:request", () => this.say("Saving…"));
    form.addEventListener("htmx:finally:request", (event) => this.ended(event.detail?.ctx?.response?.status ?? 0));
  }

  /** Send the form as it stands; while a request is under way, once more after it. @param {object} detail of the event */
  save(detail) {
    if (this.saving) {
      this.again = detail;
      return;
    }
    this.saving = true;
    this.detail = detail;
    this.lost = null;
    this.form.dispatchEvent(new CustomEvent("annotator:change", { bubbles: true, detail }));
  }

  /** @param {number} status 0: no answer */
  ended(status) {
    if (!this.saving) return;
    this.saving = false;
    const ok = status >= 200 && status < 300;
    if (!ok) this.say(status === 409 ? "Not saved: changed elsewhere" : "Not saved");
    if (ok && this.again) {
      const detail = this.again;
      this.again = null;
      this.save(detail);
      return;
    }
    this.again = null;
    this.lost = ok ? null : { detail: this.detail, status };
    this.dispatchEvent(new CustomEvent("settled", { detail: { ok } }));
  }

  /** Return whether all has been saved, once that is known. @returns {Promise<boolean>} */
  async done() {
    // An edit made elsewhere is for the reader to settle; any other failure is tried once more before one walks away from it.
    if (this.lost?.status === 409) return false;
    if (this.lost) this.save(this.lost.detail);
    if (!this.saving) return true;
    return new Promise((resolve) => this.addEventListener("settled", (event) => resolve(event.detail.ok), { once: true }));
  }

  /** @param {string} text */
  say(text) {
    const output = this.form.querySelector("[data-part=saved]");
    if (output) output.textContent = text;
  }

  /** Take the version that the server now has. @param {string} version */
  adopt(version) {
    const input = this.form.querySelector("[name=version]");
    if (input) input.value = version;
  }
}
