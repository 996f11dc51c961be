/**
 * Fetches the screens of the neighbours before one walks to them, and hands them to htmx when it asks.
 *
 * A screen that was fetched is an ordinary answer, a moment old. An edit made elsewhere in that moment is met as any other: saving
 * names the version that was seen, and the server offers both. What one's own last label changed beside the image (counts, progress,
 * the note in the filmstrip) is carried over to a screen that was fetched before it.
 */
const FRESH_MS = 30_000;
const HEADERS = { Accept: "text/html", "HX-Request": "true", "HX-Request-Type": "partial" };

/** @param {string} href @returns {string} */
const key = (href) => {
  const { pathname, search } = new URL(href, location.href);
  return pathname + search;
};

export class Ahead {
  /** @param {(href: string, options: object) => Promise<Response>} [get] @param {() => number} [now] ms */
  constructor(get = (href, options) => fetch(href, options), now = () => performance.now()) {
    this.get = get;
    this.now = now;
    /** @type {Map<string, {at: number, answer: Promise<Response | null>}>} */
    this.held = new Map();
    this.savedAt = -Infinity;
    /** When the screen in the page was asked for: it knows nothing of what came after. */
    this.shownAt = Infinity;
    this.changed = [];
  }

  /** Fetch these screens unless they are here, and forget all others. @param {string[]} hrefs */
  want(hrefs) {
    const wanted = new Set(hrefs.map(key));
    for (const href of this.held.keys()) if (!wanted.has(href) || this.isOld(href)) this.held.delete(href);
    for (const href of wanted) {
      if (this.held.has(href)) continue;
      const answer = this.get(href, { headers: HEADERS, credentials: "same-origin", priority: "low" }).then(
        (response) => (response.ok ? response : null),
        () => null, // then it is asked for again, aloud, when one walks there
      );
      this.held.set(href, { at: this.now(), answer });
    }
  }

  isOld(href) {
    return this.now() - this.held.get(href).at > FRESH_MS;
  }

  /** Answer htmx's request, from what is here or from the server. @param {string} href @param {object} options @returns {Promise<Response>} */
  async take(href, options) {
    const held = this.held.has(key(href)) && !this.isOld(key(href)) ? this.held.get(key(href)) : null;
    this.held.delete(key(href));
    this.shownAt = held ? held.at : this.now();
    return (await held?.answer) ?? this.get(href, options);
  }

  /** An image was labelled: its own screen is out of date, and others are in these elements. @param {string} imageId @param {Element[]} elements each with an id */
  saved(imageId, elements) {
    for (const href of this.held.keys()) if (new URLSearchParams(href.split("?")[1]).get("image") === imageId) this.held.delete(href);
    this.savedAt = this.now();
    this.changed = elements.map((element) => element.cloneNode(true));
  }

  /** Bring a screen that has just come up to one's own last label. */
  carryOver() {
    if (this.shownAt > this.savedAt) return;
    for (const element of this.changed) document.getElementById(element.id)?.replaceChildren(...element.cloneNode(true).childNodes);
  }

  forget() {
    this.held.clear();
  }
}
