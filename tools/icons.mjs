/**
 * Draw static/icons.svg: the few Lucide icons (ISC licence) that the templates name, as one small sprite.
 *
 * Run `npm run icons` after adding a name below. The whole Lucide sprite weighs half a megabyte; this one, a few kilobytes.
 */
import { readFileSync, writeFileSync } from "node:fs";

export const NAMES = [
  "activity", "arrow-down", "arrow-left", "arrow-right", "arrow-up", "arrow-up-right", "badge-check", "ban", "bell", "box", "boxes", "brush", "calendar",
  "camera", "check", "chevron-down", "chevron-left", "chevron-right", "chevron-up", "chevrons-up-down", "circle", "circle-alert",
  "circle-check", "circle-dashed", "circle-help", "circle-x", "clipboard-paste", "clock", "columns-2", "contrast", "copy", "copy-plus", "cpu",
  "crosshair", "database", "download", "ellipsis", "equal", "eraser", "expand", "eye", "eye-off", "file-image", "file-text", "filter", "flame", "folder",
  "folder-up", "grid-2x2", "hand", "hard-drive", "hash", "history", "image", "image-plus", "images", "info", "key-round", "keyboard",
  "layers", "layout-grid", "list", "loader-circle", "lock", "log-out", "maximize", "menu", "monitor", "moon", "mouse-pointer-2", "octagon-x",
  "package", "paint-bucket", "pause", "pencil", "pentagon", "play", "plug", "plus", "redo-2", "refresh-cw", "rotate-ccw", "scan", "scan-search", "search", "send", "server", "settings",
  "shield", "shuffle", "sigma", "sliders-horizontal", "split", "square", "square-check", "square-dashed", "square-pen", "sun", "sun-medium", "tag", "tags", "target",
  "terminal", "thermometer", "trash-2", "trending-up", "triangle-alert", "undo-2", "upload", "user", "user-plus", "users",
  "video", "wand-sparkles", "wifi-off", "x", "zap", "zoom-in", "zoom-out",
];

/** Kizu's own mark: a part on the table, with its flaw. */
const MARK = `<symbol id="kizu" viewBox="0 0 24 24"><rect x="3" y="3" width="18" height="18" rx="4.5"/><path d="M8.2 15.8 11 12.4"/><path d="m12.6 12.2 3.2-4"/></symbol>`;

const RENAMED = { "circle-help": "circle-question-mark", "filter": "funnel", "sliders-horizontal": "sliders-horizontal" };

/** Return the drawing inside one Lucide icon, without its svg element. */
function drawing(name) {
  const folder = new URL("../node_modules/lucide-static/icons/", import.meta.url);
  let text;
  try {
    text = readFileSync(new URL(`${name}.svg`, folder), "utf8");
  } catch {
    text = readFileSync(new URL(`${RENAMED[name]}.svg`, folder), "utf8");
  }
  return text.replace(/<!--.*?-->/gs, "").replace(/^[\s\S]*?<svg[^>]*>/, "").replace(/<\/svg>\s*$/, "").replace(/\s*\n\s*/g, "").replaceAll(" />", "/>");
}

/** Return the whole sprite as text. */
export function sprite() {
  const symbols = NAMES.map((name) => `<symbol id="${name}" viewBox="0 0 24 24">${drawing(name)}</symbol>`);
  return `<!-- Icons: Lucide, ISC licence, https://lucide.dev. Made by tools/icons.mjs. -->\n<svg xmlns="http://www.w3.org/2000/svg">\n${MARK}\n${symbols.join("\n")}\n</svg>\n`;
}

if (process.argv[1]?.endsWith("icons.mjs")) {
  writeFileSync(new URL("../static/icons.svg", import.meta.url), sprite());
}
