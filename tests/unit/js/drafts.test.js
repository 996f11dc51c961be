import assert from "node:assert/strict";
import { test } from "node:test";
import { overlap } from "../../../static/js/annotator/drafts.js";

const box = (xmin, ymin, xmax, ymax) => ({ xmin, ymin, xmax, ymax });

test("the overlap of two boxes is their common part of the union", () => {
  assert.equal(overlap(box(0, 0, 10, 10), box(0, 0, 10, 10)), 1);
  assert.equal(overlap(box(0, 0, 10, 10), box(5, 0, 15, 10)), 50 / 150);
  assert.equal(overlap(box(0, 0, 10, 10), box(10, 0, 20, 10)), 0);
  assert.equal(overlap(box(0, 0, 10, 10), box(30, 30, 40, 40)), 0);
});
