/** Where the labels of one image are read and saved; and its states, kept while one walks away and back. */
import { savedText } from "../lib/shapes.js";
import { Ahead } from "./ahead.js";

const HEADERS = { Accept: "application/json", "Content-Type": "application/json", "X-Requested-With": "kizu" };
const KEEPALIVE_BYTES = 60_000; // the most that a browser sends after its page is gone

/** Return what is sent. Of the shapes, only those that changed since they were last sent are written anew. @param {import("./shape-saver.js").Body} body */
const textOf = ({ shapes, ...rest }) => `{"shapes":[${shapes.map(savedText).join()}],${JSON.stringify(rest).slice(1)}`;

const ahead = new Ahead((href) => fetch(href, { headers: HEADERS, priority: "low" }));
/** The states of images that were on the stage, as long as this page lives. @type {Map<string, {version: number, line: object}>} */
const lines = new Map();
let left = Promise.resolve();

export class ShapeStore {
  /** @param {string} href of this image's shapes @param {(body: object) => string} [write] the text that is sent */
  constructor(href, write = textOf) {
    this.href = href;
    this.write = write;
  }

  /** Return what the server has, and the states that led there where they are known.
   * @returns {Promise<{version: number, shapes: object[], nothing_to_label: boolean, line?: object}>} @throws {Error} there is no answer */
  async load() {
    await left; // the screen before this one may have been the same image's
    const response = await ahead.take(this.href, { headers: HEADERS });
    if (!response.ok) throw new Error(response.statusText);
    const stored = await response.json();
    const known = lines.get(this.href);
    return known?.version === stored.version ? { ...stored, line: known.line } : stored;
  }

  /** @param {import("./shape-saver.js").Body} body @returns {Promise<import("./shape-saver.js").Reply>} */
  async put(body) {
    try {
      const response = await fetch(this.href, { method: "PUT", headers: HEADERS, body: this.write(body) });
      return { status: response.status, answer: await response.json().catch(() => ({})) };
    } catch {
      return { status: 0, answer: {} };
    }
  }

  /** Send it while the page goes away; nobody hears the answer. @param {import("./shape-saver.js").Body} body */
  putLast(body) {
    const text = this.write(body);
    fetch(this.href, { method: "PUT", headers: HEADERS, body: text, keepalive: text.length < KEEPALIVE_BYTES }).catch(() => {});
  }

  /** Keep the states of an image that one walks away from, once it is saved. @param {import("./shape-saver.js").ShapeSaver} saver @param {() => object} line */
  leave(saver, line) {
    left = saver.done().then(() => lines.set(this.href, { version: saver.version, line: line() }));
  }

  /** Have the labels of neighbours here before one walks to them. @param {string[]} imageIds */
  lookAhead(imageIds) {
    ahead.want(imageIds.map((id) => this.href.replace(/\d+\/shapes$/, `${id}/shapes`)));
  }
}
