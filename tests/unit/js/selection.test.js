import assert from "node:assert/strict";
import { test } from "node:test";
import { between, neighbour, none, pick, rectangle, touched } from "../../../static/js/lib/selection.js";

const ORDER = ["a", "b", "c", "d", "e"];
const ids = (selection) => [...selection.ids].sort().join("");

test("a range goes from the anchor, in both directions", () => {
  const start = pick(none(), ORDER, "c", "toggle");
  assert.equal(ids(pick(start, ORDER, "e", "range")), "cde");
  assert.equal(ids(pick(start, ORDER, "a", "range")), "abc");
});

test("a range without an anchor takes the one", () => assert.equal(ids(pick(none(), ORDER, "b", "range")), "b"));

test("a range whose anchor is gone takes the one", () => assert.deepEqual(between(ORDER, "zz", "b"), ["b"]));

test("toggle turns one and keeps the others", () => {
  const two = pick(pick(none(), ORDER, "a", "toggle"), ORDER, "d", "toggle");
  assert.equal(ids(two), "ad");
  assert.equal(ids(pick(two, ORDER, "a", "toggle")), "d");
});

test("picking does not change the selection it came from", () => {
  const one = pick(none(), ORDER, "a", "only");
  pick(one, ORDER, "b", "toggle");
  assert.equal(ids(one), "a");
});

test("a lasso takes what it touches, drawn in any direction", () => {
  const boxes = [{ id: "a", left: 0, top: 0, right: 10, bottom: 10 }, { id: "b", left: 20, top: 0, right: 30, bottom: 10 }];
  assert.deepEqual(touched(boxes, rectangle({ x: 12, y: 12 }, { x: 5, y: 5 })), ["a"]);
  assert.deepEqual(touched(boxes, rectangle({ x: 5, y: 5 }, { x: 25, y: 6 })), ["a", "b"]);
});

test("arrows follow the rows of a justified grid", () => {
  const boxes = [{ left: 0, right: 30, top: 0 }, { left: 30, right: 100, top: 0 }, { left: 0, right: 60, top: 50 }, { left: 60, right: 100, top: 50 }];
  assert.equal(neighbour(boxes, 1, "down"), 3);
  assert.equal(neighbour(boxes, 2, "up"), 0);
  assert.equal(neighbour(boxes, 0, "up"), 0);
  assert.equal(neighbour(boxes, 3, "right"), 3);
  assert.equal(neighbour(boxes, 3, "down"), 3);
});
