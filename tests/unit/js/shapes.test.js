import assert from "node:assert/strict";
import { test } from "node:test";
import * as boxes from "../../../static/js/lib/box.js";
import * as polygons from "../../../static/js/lib/polygon.js";
import { area, fromRings } from "../../../static/js/lib/region.js";
import { areaOf, boundsOf, contains, copiedInto, fromSaved, kindOf, movedTogether, regionOf, shape, toSaved } from "../../../static/js/lib/shapes.js";
import { back, begin, commit, forward } from "../../../static/js/lib/timeline.js";

const SIZE = { width: 100, height: 80 };
const BOX = { xmin: 10, ymin: 20, xmax: 30, ymax: 50 };
const SQUARE = [10, 10, 30, 10, 30, 30, 10, 30];
const HOLE = [15, 15, 20, 15, 20, 20, 15, 20];
const random = (seed) => () => ((seed = (seed * 16807) % 2147483647) / 2147483647);

test("a box lies between its corners, on whole pixels, inside the image", () => {
  assert.deepEqual(boxes.spanned({ x: 30.4, y: 49.6 }, { x: 9.7, y: 20.2 }, SIZE), BOX);
  assert.deepEqual(boxes.spanned({ x: -5, y: -5 }, { x: 500, y: 500 }, SIZE), { xmin: 0, ymin: 0, xmax: 100, ymax: 80 });
  assert.equal(boxes.spanned({ x: 3, y: 3 }, { x: 3.2, y: 60 }, SIZE), null);
  assert.equal(boxes.spanned({ x: -9, y: 3 }, { x: -2, y: 60 }, SIZE), null);
});

test("each handle moves its edges and no other", () => {
  for (const handle of boxes.HANDLES) {
    const after = boxes.resized(BOX, handle, { x: 22, y: 33 }, SIZE);
    assert.deepEqual(after, {
      xmin: handle.includes("w") ? 22 : 10, ymin: handle.includes("n") ? 33 : 20,
      xmax: handle.includes("e") ? 22 : 30, ymax: handle.includes("s") ? 33 : 50,
    });
  }
});

test("a box that is resized is still a box in the image, wherever the handle is drawn to", () => {
  const next = random(9);
  for (let i = 0; i < 500; i += 1) {
    const handle = boxes.HANDLES[Math.floor(next() * 8)];
    const { xmin, ymin, xmax, ymax } = boxes.resized({ xmin: 0, ymin: 79, xmax: 1, ymax: 80 }, handle, { x: next() * 300 - 100, y: next() * 300 - 100 }, SIZE);
    assert.ok(xmin >= 0 && ymin >= 0 && xmin < xmax && ymin < ymax && xmax <= 100 && ymax <= 80);
  }
});

test("handles are named for where they are", () => {
  const at = Object.fromEntries(boxes.handlesOf(BOX).map(({ handle, x, y }) => [handle, [x, y]]));
  assert.deepEqual([at.nw, at.n, at.e, at.sw], [[10, 20], [20, 20], [30, 35], [10, 50]]);
});

test("a box by key is a quarter of what is seen, in its middle", () => {
  assert.deepEqual(boxes.inMiddle({ xmin: -50, ymin: 0, xmax: 80, ymax: 80 }, SIZE), { xmin: 30, ymin: 30, xmax: 50, ymax: 50 });
  assert.equal(boxes.inMiddle({ xmin: 200, ymin: 0, xmax: 300, ymax: 80 }, SIZE), null);
});

test("a polygon's vertices are found, moved, added and taken away", () => {
  const rings = [SQUARE, HOLE];
  assert.deepEqual(polygons.vertexAt(rings, { x: 21, y: 16 }, 3), { ring: 1, vertex: 1 });
  assert.equal(polygons.vertexAt(rings, { x: 50, y: 50 }, 3), null);
  const place = polygons.edgeAt(rings, { x: 10.5, y: 22 }, 3);
  assert.deepEqual(place, { ring: 0, vertex: 4 });
  const more = polygons.withVertex(rings, place, { x: 8, y: 22 });
  assert.deepEqual(more[0], [...SQUARE, 8, 22]);
  assert.deepEqual(polygons.movedVertex(rings, { ring: 0, vertex: 2 }, { x: 33, y: 34 })[0].slice(4, 6), [33, 34]);
  assert.deepEqual(polygons.withoutVertex(more, { ring: 0, vertex: 4 }), rings);
  assert.deepEqual(rings, [SQUARE, HOLE]);
});

test("with its third last vertex a hole is gone, and a polygon with that of its outline", () => {
  const small = [[0, 0, 9, 0, 9, 9], [2, 1, 4, 1, 4, 3]];
  assert.deepEqual(polygons.withoutVertex(small, { ring: 1, vertex: 0 }), [small[0]]);
  assert.equal(polygons.withoutVertex(small, { ring: 0, vertex: 0 }), null);
});

test("a hole is not inside", () => {
  const one = shape({ categoryId: "1", rings: [SQUARE, HOLE] });
  assert.ok(contains(one, { x: 12, y: 12 }));
  assert.ok(!contains(one, { x: 17, y: 17 }));
  assert.equal(polygons.holeAt(one.rings, { x: 17, y: 17 }), 1);
  assert.equal(polygons.holeAt(one.rings, { x: 12, y: 12 }), 0);
  assert.equal(areaOf(one), 375);
  assert.equal(area(regionOf(one, SIZE)), 375);
});

test("shapes move together and stop together at the edge", () => {
  const some = [shape({ categoryId: "1", box: BOX }), shape({ categoryId: "1", rings: [SQUARE] }), shape({ categoryId: "1", region: fromRings([SQUARE], SIZE) })];
  const moved = movedTogether(some, -40, 3.4, SIZE);
  assert.deepEqual(moved.map(boundsOf).map((box) => [box.xmin, box.ymin]), [[0, 23], [0, 13], [0, 13]]);
  assert.deepEqual(moved.map((one) => one.id), some.map((one) => one.id));
});

test("what is saved is read back", () => {
  const some = [shape({ categoryId: "7", box: BOX }), shape({ categoryId: "8", rings: [SQUARE, HOLE] }), shape({ categoryId: "9", region: fromRings([SQUARE, HOLE], SIZE) })];
  assert.deepEqual(some.map(kindOf), ["box", "polygon", "mask"]);
  const again = some.map((one) => fromSaved(JSON.parse(JSON.stringify(toSaved(one)))));
  again.forEach((one, i) => assert.deepEqual({ ...one, id: 0 }, { ...some[i], id: 0 }));
});

test("copies are cut to the next image, and have ids of their own", () => {
  const small = { width: 20, height: 25 };
  const some = [shape({ categoryId: "1", box: BOX }), shape({ categoryId: "1", rings: [SQUARE] }), shape({ categoryId: "1", box: { xmin: 50, ymin: 0, xmax: 60, ymax: 9 } })];
  const copies = copiedInto(some, small);
  assert.deepEqual(copies.map(boundsOf), [{ xmin: 10, ymin: 20, xmax: 20, ymax: 25 }, { xmin: 10, ymin: 10, xmax: 20, ymax: 25 }]);
  assert.ok(copies.every((copy) => some.every((one) => one.id !== copy.id)));
});

test("undo and redo walk through every state, however many", () => {
  let line = begin(0);
  for (let i = 1; i <= 5000; i += 1) line = commit(line, i);
  for (let i = 4999; i >= 0; i -= 1) {
    line = back(line);
    assert.equal(line.now, i);
  }
  assert.equal(back(line), null);
  assert.equal(forward(line).now, 1);
  assert.equal(forward(commit(forward(line), 9)), null);
});

test("steps of one nudge are taken back together", () => {
  let line = commit(begin("a"), "b", "nudge 1");
  line = commit(commit(line, "c", "nudge 1"), "d", "nudge 2");
  assert.deepEqual(line.past, ["a", "c"]);
  assert.equal(back(line).now, "c");
  assert.deepEqual(commit(back(line), "e", "nudge 1").past, ["a", "c"]);
});
