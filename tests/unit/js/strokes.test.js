import assert from "node:assert/strict";
import { test } from "node:test";
import { dab, drawnTo, fromSaved, isTouched, MOST_POINTS, toSaved } from "../../../static/js/lib/strokes.js";

const size = { width: 100, height: 50 };

test("a stroke stays inside of the image", () => {
  const one = drawnTo(dab("3", 5, { x: -4, y: 60 }, size), { x: 120.27, y: 20.27 }, size);
  assert.deepEqual(one.points, [0, 50, 100, 20.2]);
});

test("points that are too near to tell are left out", () => {
  const one = dab("3", 8, { x: 10, y: 10 }, size);
  assert.equal(drawnTo(one, { x: 11, y: 10 }, size), one);
  assert.equal(drawnTo(one, { x: 13, y: 10 }, size).points.length, 4);
});

test("a stroke has no more points than the server takes", () => {
  let one = dab("3", 1, { x: 0, y: 0 }, size);
  for (let i = 0; i < MOST_POINTS + 50; i += 1) one = drawnTo(one, { x: i % 2 ? 0 : 90, y: 10 }, size);
  assert.equal(one.points.length, 2 * MOST_POINTS);
});

test("a stroke is touched along its whole line, by as much as it is thick", () => {
  const one = drawnTo(dab(null, 4, { x: 10, y: 10 }, size), { x: 60, y: 10 }, size);
  assert.ok(isTouched(one, { x: 35, y: 13 }, 0));
  assert.ok(!isTouched(one, { x: 35, y: 16 }, 1));
  assert.ok(isTouched(dab("1", 2, { x: 5, y: 5 }, size), { x: 6, y: 6 }, 0));
});

test("what is saved is read back as it was", () => {
  for (const categoryId of ["7", null]) {
    const one = drawnTo(dab(categoryId, 2.5, { x: 1, y: 2 }, size), { x: 30, y: 4 }, size);
    assert.deepEqual(fromSaved(JSON.parse(JSON.stringify(toSaved(one)))), one);
  }
});
