import assert from "node:assert/strict";
import { test } from "node:test";
import { batches, refusal } from "../../../static/js/lib/batch.js";
import { Ledger } from "../../../static/js/lib/ledger.js";
import { isPassing, reason } from "../../../static/js/lib/transport.js";
import { summary } from "../../../static/js/lib/tray.js";
import { walk } from "../../../static/js/lib/walk.js";

const pickOf = (name, size) => ({ file: { name, size }, path: name });

test("every file goes once, in order, in requests within both limits", () => {
  const picks = Array.from({ length: 1234 }, (_, i) => pickOf(`${i}.png`, (i * 7919) % 900_000));
  const out = batches(picks, 50, 4_000_000);
  assert.deepEqual(out.flat(), picks);
  for (const batch of out) {
    assert.ok(batch.length <= 50);
    assert.ok(batch.length === 1 || batch.reduce((sum, p) => sum + p.file.size, 0) <= 4_000_000);
  }
});

test("a zip goes alone", () => {
  assert.deepEqual(batches([pickOf("a.png", 1), pickOf("b.ZIP", 1), pickOf("c.png", 1)]).map((b) => b.map((p) => p.path)), [["a.png"], ["b.ZIP"], ["c.png"]]);
});

test("a file above the limit of a request has one of its own", () => {
  assert.deepEqual(batches([pickOf("a", 1), pickOf("b", 99), pickOf("c", 1)], 50, 10).map((b) => b.length), [1, 1, 1]);
});

test("what cannot be an image is refused before the journey", () => {
  assert.equal(refusal({ name: "a.JPG", size: 5 }, ".jpg,.png", 10), null);
  assert.match(refusal({ name: "a.svg", size: 5 }, ".jpg,.png", 10), /Not an image/);
  assert.match(refusal({ name: "a.png", size: 0 }, ".jpg,.png", 10), /empty/);
  assert.match(refusal({ name: "a.png", size: 5_000_000 }, ".jpg,.png", 2 ** 20), /Larger than 1 MB/);
});

test("the bytes of a request fall to its files in order", () => {
  const ledger = new Ledger();
  const items = ledger.add([{ file: { size: 10 }, path: "a" }, { file: { size: 30 }, path: "b" }]);
  ledger.spread(items, 25);
  assert.deepEqual(items.map((i) => i.sent), [10, 15]);
  assert.equal(ledger.fraction(), 25 / 40);
  ledger.spread(items, 500); // headers and boundaries count too
  assert.equal(ledger.fraction(), 1);
});

test("the tray shows trouble first and stays short", () => {
  const ledger = new Ledger();
  const items = ledger.add(Array.from({ length: 3000 }, (_, i) => ({ file: { size: 1 }, path: String(i) })));
  for (const item of items.slice(0, 2990)) ledger.settle(item, "created");
  ledger.settle(items[2995], "refused", "Truncated.");
  items[2996].fate = "sending";
  const shown = ledger.shown(20);
  assert.equal(shown.length, 20);
  assert.deepEqual(shown.slice(0, 2), [items[2995], items[2996]]);
  assert.ok(ledger.isBusy);
});

test("nothing but refused empty files counts as finished", () => {
  const ledger = new Ledger();
  const [item] = ledger.add([{ file: { size: 0 }, path: "a" }]);
  ledger.settle(item, "refused");
  assert.equal(ledger.fraction(), 1);
});

test("the server's own sentence is shown", () => {
  assert.equal(reason(413, '{"detail":"The limit is 256 MB."}'), "The limit is 256 MB.");
  assert.match(reason(413, "<html>"), /Too large/);
  assert.match(reason(401, "null"), /signed out|could not/);
  assert.ok(isPassing(0) && isPassing(503) && !isPassing(422));
});

test("the summary names each fate once", () => {
  assert.equal(summary({ created: 3, duplicate: 1, refused: 0, failed: 2, cancelled: 0 }), "3 uploaded, 1 duplicate skipped, 2 not sent");
});

const fileEntry = (name, broken = false) => ({ name, isFile: true, file: (done, fail) => (broken ? fail(new Error("gone")) : done({ name, size: 1 })) });
const folderEntry = (name, children) => ({
  name, isFile: false,
  createReader() {
    let at = 0;
    return { readEntries: (done) => done(children.slice(at, (at += 100))) }; // a hundred at a time, as Chromium does
  },
});

test("a folder of more than a hundred files is read to its end, hidden files left out, unreadable ones told", async () => {
  const children = [...Array.from({ length: 250 }, (_, i) => fileEntry(`${i}.png`)), fileEntry(".DS_Store"), fileEntry("bad.png", true), folderEntry("deep", [fileEntry("x.png")])];
  const found = [];
  const lost = [];
  for await (const { path } of walk(folderEntry("parts", children), "", (path) => lost.push(path))) found.push(path);
  assert.equal(found.length, 251);
  assert.ok(found.includes("parts/deep/x.png"));
  assert.deepEqual(lost, ["parts/bad.png"]);
});
