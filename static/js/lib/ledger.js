/**
 * What has become of every file of an upload. Mutable, but without any input or output.
 *
 * @typedef {"waiting" | "sending" | "created" | "duplicate" | "refused" | "failed" | "cancelled"} Fate
 * @typedef {{id: number, file: File, path: string, fate: Fate, sent: number, detail: string, imageId: number | null}} Item
 */

export class Ledger {
  /** @type {Item[]} */
  items = [];

  /** Add files as waiting and return them. @param {{file: File, path: string}[]} found @returns {Item[]} */
  add(found) {
    const items = found.map(({ file, path }, i) => ({ id: this.items.length + i, file, path, fate: /** @type {Fate} */ ("waiting"), sent: 0, detail: "", imageId: null }));
    this.items.push(...items);
    return items;
  }

  /** @param {Item} item @param {Fate} fate @param {string} [detail] @param {number | null} [imageId] */
  settle(item, fate, detail = "", imageId = null) {
    Object.assign(item, { fate, detail, imageId, sent: fate === "waiting" ? 0 : item.file.size });
  }

  /** Spread the bytes that a request has sent over its files, in order, as they lie in its body. @param {Item[]} batch @param {number} sentBytes */
  spread(batch, sentBytes) {
    let left = sentBytes;
    for (const item of batch) {
      item.sent = Math.min(item.file.size, Math.max(left, 0));
      left -= item.file.size;
    }
  }

  /** Return how many items have each fate. */
  counts() {
    const counts = { waiting: 0, sending: 0, created: 0, duplicate: 0, refused: 0, failed: 0, cancelled: 0 };
    for (const item of this.items) counts[item.fate] += 1;
    return counts;
  }

  /** Return the share of all bytes that has gone, 0 to 1. A settled file counts whole. */
  fraction() {
    let all = 0;
    let gone = 0;
    for (const item of this.items) {
      all += item.file.size;
      gone += item.sent;
    }
    return all ? gone / all : this.items.every((item) => item.fate !== "waiting" && item.fate !== "sending") ? 1 : 0;
  }

  /** Return what a short list shows: trouble first, then what is on its way, then the newest done. @param {number} limit @returns {Item[]} */
  shown(limit) {
    const rank = { refused: 0, failed: 0, sending: 1, duplicate: 2, created: 3, cancelled: 3, waiting: 4 };
    const groups = [[], [], [], [], []];
    for (const item of this.items) groups[rank[item.fate]].push(item);
    return [...groups[0], ...groups[1], ...groups[2].slice().reverse(), ...groups[3].slice().reverse(), ...groups[4]].slice(0, limit);
  }

  get isBusy() {
    return this.items.some((item) => item.fate === "waiting" || item.fate === "sending");
  }
}
