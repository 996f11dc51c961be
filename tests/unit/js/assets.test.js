import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const ROOT = new URL("../../../", import.meta.url);
const read = (path) => readFileSync(new URL(path, ROOT), "utf8");
const files = (folder, ending) => readdirSync(new URL(folder, ROOT), { recursive: true }).map((name) => `${folder}/${name}`).filter((name) => name.endsWith(ending));

test("every icon that a template or module names is in the sprite", () => {
  const there = new Set([...read("static/icons.svg").matchAll(/<symbol id="([^"]+)"/g)].map((m) => m[1]));
  for (const path of files("templates", ".html")) {
    const text = read(path).replace(/\{#[\s\S]*?#\}/g, "");
    for (const [, name] of text.matchAll(/\bicon(?:_name)?(?:\(|=)"([a-z0-9-]+)"/g)) assert.ok(there.has(name), `${path} names the icon ${name}; add it to tools/icons.mjs`);
  }
});

test("templates carry no inline style, handler or script: the CSP forbids them", () => {
  for (const path of files("templates", ".html")) {
    const text = read(path).replace(/\{#[\s\S]*?#\}/g, "");
    assert.doesNotMatch(text, /\sstyle="|\son[a-z]+="|hx-on[:=]|"js:|<style/, path);
    for (const [tag] of text.matchAll(/<script\b[^>]*>/g)) assert.match(tag, /\ssrc=/, path);
  }
});

test("every vendor file is in an installed package", { skip: !existsSync(new URL("node_modules", ROOT)) }, () => {
  const { kizu } = JSON.parse(read("package.json"));
  for (const source of Object.values(kizu.vendor)) assert.ok(existsSync(new URL(`node_modules/${source}`, ROOT)), source);
});

test("every font that the style sheets name is vendored", () => {
  const { kizu } = JSON.parse(read("package.json"));
  for (const [, name] of read("static/css/fonts.css").matchAll(/url\("\.\.\/vendor\/([^"]+)"\)/g)) assert.ok(name in kizu.vendor, name);
});

/** Simulate a dichromat. Source: Viénot, Brettel & Mollon 1999, Color Research & Application 24(4), matrices for linear sRGB. */
const BLIND = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protan: [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
  deutan: [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
};

/** Return OKLab of a hex colour as one eye sees it. Source: Ottosson 2020, https://bottosson.github.io/posts/oklab/. */
function seen(hex, matrix) {
  const linear = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  const [r, g, b] = matrix.map((row) => Math.max(row.reduce((sum, k, i) => sum + k * linear[i], 0), 0));
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s, 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s, 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s];
}

test("class colours stay apart for the common forms of colour blindness", () => {
  const palette = read("templates/macros/badges.html").match(/PALETTE = \(([^)]+)\)/)[1].match(/#[0-9a-f]{6}/g);
  assert.equal(palette.length, 12);
  for (const [eye, matrix] of Object.entries(BLIND)) {
    const lab = palette.map((hex) => seen(hex, matrix));
    lab.forEach((a, i) => lab.slice(0, i).forEach((b, j) => {
      const apart = Math.hypot(...a.map((v, k) => v - b[k]));
      // The first eight are what most projects use: a clear step. The rest: a visible one.
      assert.ok(apart > (i < 8 ? 0.07 : 0.045), `${eye}: ${palette[j]} and ${palette[i]} are ${apart.toFixed(3)} apart`);
    }));
  }
});
