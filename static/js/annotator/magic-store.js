/** Where magic click is answered: one question at a time, the newest wins. */
const HEADERS = { Accept: "application/json", "Content-Type": "application/json", "X-Requested-With": "kizu" };

export class MagicStore {
  /** @param {string} href */
  constructor(href) {
    this.href = href;
  }

  /** Let the server look at the image. @returns {Promise<{has_features: boolean} | null>} null: no answer */
  async warm() {
    const response = await fetch(this.href, { headers: HEADERS, priority: "low" }).catch(() => null);
    return response?.ok ? response.json() : null;
  }

  /** @param {{prompts: object[], view: object}} body @returns {Promise<{status: number | null, answer: object}>} status null: dropped for a newer question; 0: no answer */
  async propose(body) {
    this.drop();
    const asked = new AbortController();
    this.asked = asked;
    try {
      const response = await fetch(this.href, { method: "POST", headers: HEADERS, body: JSON.stringify(body), signal: asked.signal });
      return { status: response.status, answer: await response.json().catch(() => ({})) };
    } catch {
      return { status: asked.signal.aborted ? null : 0, answer: {} };
    }
  }

  drop() {
    this.asked?.abort();
  }
}
