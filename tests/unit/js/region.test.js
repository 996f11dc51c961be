import assert from "node:assert/strict";
import { test } from "node:test";
import { area, boundsOf, capsule, clipped, contains, EMPTY, fromMask, fromRings, holeAt, isEmpty, outline, shifted, toMask, union, without } from "../../../static/js/lib/region.js";

const SIZE = { width: 24, height: 18 };
const random = (seed) => () => ((seed = (seed * 16807) % 2147483647) / 2147483647);

/** A region from a picture in letters, "#" inside. */
function drawn(...lines) {
  const rows = lines.map((line) => [...line].flatMap((c, x) => (c === "#" && line[x - 1] !== "#" ? [x, [...line.slice(x)].findIndex((d) => d !== "#") < 0 ? line.length : x + [...line.slice(x)].findIndex((d) => d !== "#")] : [])));
  return union({ ymin: 0, rows }, EMPTY);
}

/** The pixels of a region, one by one. */
function pixels(region, size = SIZE) {
  const out = [];
  for (let y = 0; y < size.height; y += 1) for (let x = 0; x < size.width; x += 1) out.push(contains(region, x, y));
  return out;
}

function noise(next, density) {
  const lines = Array.from({ length: SIZE.height }, () => Array.from({ length: SIZE.width }, () => (next() < density ? "#" : " ")).join(""));
  return drawn(...lines);
}

test("union and difference agree with pixels taken one by one", () => {
  const next = random(11);
  for (let i = 0; i < 60; i += 1) {
    const [a, b] = [noise(next, next()), noise(next, next())];
    const [pa, pb] = [pixels(a), pixels(b)];
    assert.deepEqual(pixels(union(a, b)), pa.map((v, k) => v || pb[k]));
    assert.deepEqual(pixels(without(a, b)), pa.map((v, k) => v && !pb[k]));
    assert.equal(area(a), pa.filter(Boolean).length);
  }
});

test("nothing is left of a region without itself", () => {
  const region = noise(random(3), 0.5);
  assert.ok(isEmpty(without(region, region)));
  assert.deepEqual(union(EMPTY, region), region);
});

test("a mask is read back as it was saved", () => {
  const next = random(5);
  for (let i = 0; i < 100; i += 1) {
    const region = noise(next, 0.1 + next() * 0.8);
    if (isEmpty(region)) continue;
    const mask = toMask(region);
    const total = [...mask.counts.matchAll(/\d+/g)].reduce((sum, [n]) => sum + Number(n), 0);
    assert.equal(total, mask.width * mask.height);
    assert.deepEqual(fromMask(mask), region);
  }
});

test("run lengths are those of the rectangle, row by row", () => {
  assert.deepEqual(toMask(drawn("     ", "  ## ", " ### ")), { xmin: 1, ymin: 1, width: 3, height: 2, counts: "1Z5N" });
  assert.equal(toMask(drawn("##", "# ")).counts, "3N1Z");
});

test("run lengths that do not fill the rectangle are refused", () => {
  for (const counts of ["3N", "5N", "4X", "", "2N2"]) assert.throws(() => fromMask({ xmin: 0, ymin: 0, width: 2, height: 2, counts }), RangeError);
});

test("the outline filled by the even-odd rule is the region again, holes and touching corners included", () => {
  const next = random(17);
  for (let i = 0; i < 60; i += 1) {
    const region = noise(next, 0.2 + next() * 0.6);
    assert.deepEqual(fromRings(outline(region), SIZE), region);
  }
});

test("the outline of a rectangle has four corners", () => {
  assert.deepEqual(outline(drawn("    ", " ## ", " ## ")).map((ring) => ring.length), [8]);
});

test("a pixel belongs to a polygon when its centre does", () => {
  const triangle = fromRings([[0, 0, 8, 0, 0, 8]], SIZE);
  assert.ok(contains(triangle, 3, 3));
  assert.ok(!contains(triangle, 4, 4));
  const holed = fromRings([[0, 0, 10, 0, 10, 10, 0, 10], [3, 3, 7, 3, 7, 7, 3, 7]], SIZE);
  assert.equal(area(holed), 100 - 16);
});

test("a round brush covers the pixels whose centre it reaches", () => {
  const next = random(23);
  for (let i = 0; i < 60; i += 1) {
    const point = () => ({ x: next() * 30 - 3, y: next() * 24 - 3 });
    const [a, b, radius] = [point(), point(), 0.5 + next() * 6];
    const painted = capsule(a, b, radius, SIZE);
    const far = ({ x, y }) => {
      const [dx, dy] = [b.x - a.x, b.y - a.y];
      const t = Math.min(Math.max(((x - a.x) * dx + (y - a.y) * dy) / (dx * dx + dy * dy), 0), 1);
      return Math.hypot(x - a.x - t * dx, y - a.y - t * dy);
    };
    for (let y = 0; y < SIZE.height; y += 1) {
      for (let x = 0; x < SIZE.width; x += 1) {
        const distance = far({ x: x + 0.5, y: y + 0.5 });
        if (Math.abs(distance - radius) > 1e-6) assert.equal(contains(painted, x, y), distance < radius, `${x}, ${y}`);
      }
    }
  }
});

test("a click paints a disc", () => {
  const at = { x: 5, y: 5 };
  assert.equal(area(capsule(at, at, 1, SIZE)), 4);
  assert.equal(area(capsule(at, at, 0.1, SIZE)), 0);
});

test("a hole is filled; what is open to the outside is none", () => {
  const ring = drawn(" ###  ", " # #  ", " # ## ", " ###  ");
  const hole = holeAt(ring, 2, 1);
  assert.equal(area(hole), 2);
  assert.equal(holeAt(ring, 0, 0), null);
  assert.equal(holeAt(ring, 1, 1), null);
  assert.equal(holeAt(drawn("###", "# #", "# #"), 1, 1), null);
});

test("a region moves and is cut off at the image", () => {
  const region = drawn("##", "##");
  assert.deepEqual(boundsOf(shifted(region, 3, 4)), { xmin: 3, ymin: 4, xmax: 5, ymax: 6 });
  assert.equal(area(clipped(shifted(region, -1, -1), SIZE)), 1);
  assert.ok(isEmpty(clipped(shifted(region, -5, 0), SIZE)));
});

test("twelve megapixels are painted, saved and outlined in no time", () => {
  const size = { width: 4000, height: 3000 };
  const points = Array.from({ length: 400 }, (_, i) => ({ x: 200 + i * 9, y: 1500 + 1200 * Math.sin(i / 9) }));
  const triangle = fromRings([[10, 10, 3990, 10, 2000, 2990]], size);
  const begun = performance.now();
  const painted = points.slice(1).reduce((sum, point, i) => union(sum, capsule(points[i], point, 120, size)), triangle);
  assert.deepEqual(fromRings(outline(fromMask(toMask(painted))), size), painted);
  const took = performance.now() - begun;
  assert.ok(took < 2000, `${took} ms`); // 400 moves of the pointer: a tenth of this on an idle machine
});
