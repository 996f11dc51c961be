import assert from "node:assert/strict";
import { test } from "node:test";
import { clamp, fit, MAX_SCALE, pan, pixelAt, toImage, toStage, zoomAt } from "../../../static/js/lib/viewport.js";

const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`);
const random = (seed) => () => ((seed = (seed * 16807) % 2147483647) / 2147483647);

test("fit shows the whole image in the middle", () => {
  const view = fit({ width: 4000, height: 1000 }, { width: 824, height: 600 });
  near(view.scale, 0.2);
  near(view.x, 12);
  near(view.y, 200);
});

test("fit does not blow a tiny image up without end", () => {
  assert.equal(fit({ width: 10, height: 10 }, { width: 1000, height: 1000 }).scale, 8);
});

test("fit stays positive on a stage without room", () => {
  assert.ok(fit({ width: 10, height: 10 }, { width: 0, height: 0 }).scale > 0);
});

test("zooming keeps the image point under the pointer, whatever the view", () => {
  const next = random(7);
  for (let i = 0; i < 500; i += 1) {
    const view = { scale: 0.05 + next() * 10, x: (next() - 0.5) * 4000, y: (next() - 0.5) * 4000 };
    const at = { x: next() * 1200, y: next() * 800 };
    const before = toImage(view, at);
    const after = toImage(zoomAt(view, 0.2 + next() * 5, at), at);
    near(before.x, after.x);
    near(before.y, after.y);
  }
});

test("zooming stops at the greatest scale", () => {
  assert.equal(zoomAt({ scale: 30, x: 0, y: 0 }, 100, { x: 0, y: 0 }).scale, MAX_SCALE);
});

test("image and stage coordinates are inverse", () => {
  const view = pan({ scale: 2.5, x: 30, y: -12 }, 5, 7);
  const there = toStage(view, toImage(view, { x: 321, y: 99 }));
  near(there.x, 321);
  near(there.y, 99);
});

test("an image cannot be pushed off the stage", () => {
  const view = clamp({ scale: 1, x: 9000, y: -9000 }, { width: 640, height: 480 }, { width: 800, height: 600 });
  assert.deepEqual([view.x, view.y], [736, -416]);
});

test("a pixel is named only inside the image", () => {
  assert.deepEqual(pixelAt({ x: 3.99, y: 0 }, { width: 4, height: 4 }), { x: 3, y: 0 });
  assert.equal(pixelAt({ x: 4, y: 0 }, { width: 4, height: 4 }), null);
  assert.equal(pixelAt({ x: -0.01, y: 0 }, { width: 4, height: 4 }), null);
});
