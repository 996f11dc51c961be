import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, count, duration } from "../../../static/js/lib/format.js";
import { fitness, ranked } from "../../../static/js/lib/fuzzy.js";
import { isTyping, nameOf } from "../../../static/js/lib/keys.js";
import { dragged, filterOf, LIMITS, PLAIN } from "../../../static/js/lib/tone.js";

test("amounts are written as people say them", () => {
  assert.equal(count(1, "image"), "1 image");
  assert.equal(count(2624, "image"), "2,624 images");
  assert.deepEqual([bytes(999), bytes(1500), bytes(4_200_000)], ["999 B", "2 kB", "4.2 MB"]);
  assert.deepEqual([duration(0), duration(59.6), duration(200), duration(3900)], ["0 s", "1 min", "3 min 20 s", "1 h 5 min"]);
});

test("the start of a word fits better than its middle, and letters in order still fit", () => {
  assert.ok(fitness("mod", "Models") > fitness("del", "Models"));
  assert.ok(fitness("api", "Settings API keys") > fitness("ttin", "Settings API keys"));
  assert.ok(fitness("mdl", "Models") > 0);
  assert.equal(fitness("xyz", "Models"), 0);
  assert.deepEqual(ranked("", ["b", "a"], (t) => t), ["b", "a"]);
});

test("keys have one name on every system", () => {
  assert.equal(nameOf({ key: "Z", metaKey: true, shiftKey: true }), "Ctrl+Shift+z");
  assert.equal(nameOf({ key: "?", shiftKey: true }), "?");
  assert.equal(nameOf({ key: "+", shiftKey: true }), "+");
  assert.equal(nameOf({ key: "ArrowLeft" }), "ArrowLeft");
  assert.equal(isTyping(null), false);
});

test("a drag of the tone is undone by the drag back, and stays in its limits", () => {
  const there = dragged(PLAIN, 120, -60);
  const back = dragged(there, -120, 60);
  assert.ok(Math.abs(back.contrast - 1) < 1e-9 && Math.abs(back.brightness - 1) < 1e-9);
  assert.equal(dragged(PLAIN, 1e6, 1e6).contrast, LIMITS.contrast[1]);
  assert.equal(dragged(PLAIN, 1e6, 1e6).brightness, LIMITS.brightness[0]);
  assert.equal(filterOf(PLAIN), "");
});
