/** Shapes on their way to another image of the project, as they are saved. */
import { remember, remembered } from "../lib/memory.js";
import { copiedInto, fromSaved, toSaved } from "../lib/shapes.js";

const KEY = "kizu.label.clipboard";

/** @param {string} project id @param {readonly import("../lib/shapes.js").Shape[]} some @param {string | null} [href] of the screen that takes them by itself */
export function put(project, some, href = null) {
  remember(sessionStorage, KEY, JSON.stringify({ project, href, shapes: some.map(toSaved) }));
}

/** Return copies of what was put there, cut to an image of this size. @param {string} project id @param {{width: number, height: number}} size */
export function take(project, size) {
  const kept = JSON.parse(remembered(sessionStorage, KEY) ?? "null");
  return kept?.project === project ? copiedInto(kept.shapes.map(fromSaved), size) : [];
}

/** Were they put there for this screen? They are once only. @param {string} project id @param {string} href */
export function isFor(project, href) {
  const kept = JSON.parse(remembered(sessionStorage, KEY) ?? "null");
  if (kept?.project !== project || kept.href !== href) return false;
  remember(sessionStorage, KEY, JSON.stringify({ ...kept, href: null }));
  return true;
}
