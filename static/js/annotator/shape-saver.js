/**
 * Saves the labels of one image a moment after they change: one request at a time, each naming the version that the answer before it gave.
 * Walking on waits for the last answer: nothing is lost by a quick hand.
 *
 * @typedef {{version: number, shapes: readonly import("../lib/shapes.js").Shape[], nothing_to_label: boolean}} Body
 * @typedef {{status: number, answer: object}} Reply  status 0: no answer
 */
const WAIT_MS = 350;

export class ShapeSaver extends EventTarget {
  /** @param {(body: Body) => Promise<Reply>} put @param {(text: string) => void} say @param {number} [waitMs] */
  constructor(put, say, waitMs = WAIT_MS) {
    super();
    Object.assign(this, { put, say, waitMs, version: 0, wanted: null, saving: false });
    /** The reply to the change that did not get through. @type {Reply | null} */
    this.lost = null;
  }

  /** Save what `make` returns when the time has come; only the last of several is made at all. @param {() => Omit<Body, "version">} make */
  save(make) {
    this.wanted = make;
    this.lost = null;
    this.say("Saving…");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(), this.waitMs);
  }

  /** Is something not saved yet? */
  get isDirty() {
    return Boolean(this.wanted) || this.saving || Boolean(this.lost);
  }

  async send() {
    clearTimeout(this.timer);
    if (this.saving || !this.wanted) return;
    const make = this.wanted;
    this.wanted = null;
    this.saving = true;
    const reply = await this.put({ version: this.version, ...make() });
    this.saving = false;
    const isOk = reply.status >= 200 && reply.status < 300;
    if (isOk) this.version = reply.answer.version;
    else this.wanted ??= make;
    if (isOk && this.wanted) {
      this.send();
      return;
    }
    this.lost = isOk ? null : reply;
    this.say(isOk ? "Saved" : "Not saved");
    this.dispatchEvent(new CustomEvent("settled", { detail: { ok: isOk, reply } }));
  }

  /** Return whether all has been saved, once that is known. @returns {Promise<boolean>} */
  async done() {
    // An edit made elsewhere is for the reader to settle; any other failure is tried once more before one walks away from it.
    if (this.lost?.status === 409) return false;
    if (!this.isDirty) return true;
    const settled = new Promise((resolve) => this.addEventListener("settled", (event) => resolve(event.detail.ok), { once: true }));
    this.send();
    return settled;
  }

  /** Go on from the version that the server has; with `drop`, without what was not saved. @param {number} version @param {boolean} drop */
  adopt(version, drop) {
    this.version = version;
    this.lost = null;
    if (drop) this.wanted = null;
    else this.send();
  }
}
