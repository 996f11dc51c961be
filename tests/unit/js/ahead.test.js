import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { href: "http://kizu.test/projects/1/label?image=5" };
const { Ahead } = await import("../../../static/js/annotator/ahead.js");

const screen = (id) => `/projects/1/label?labelled=no&image=${id}`;

function standIn() {
  const asked = [];
  const clock = { ms: 0 };
  const get = async (href) => {
    asked.push(href);
    return { ok: !href.endsWith("=404"), href };
  };
  return { asked, clock, ahead: new Ahead(get, () => clock.ms) };
}

test("a neighbour is asked for once, and given out once", async () => {
  const { asked, ahead } = standIn();
  ahead.want([screen(6), screen(4)]);
  ahead.want([screen(6), screen(4)]);
  assert.deepEqual(asked, [screen(6), screen(4)]);
  assert.equal((await ahead.take(screen(6), {})).href, screen(6));
  assert.equal(asked.length, 2);
  await ahead.take(screen(6), {});
  assert.equal(asked.length, 3);
});

test("what is no neighbour any more is forgotten", () => {
  const { ahead } = standIn();
  ahead.want([screen(6), screen(4)]);
  ahead.want([screen(7), screen(6)]);
  assert.deepEqual([...ahead.held.keys()].sort(), [screen(6), screen(7)]);
});

test("an old screen is asked for anew", async () => {
  const { asked, clock, ahead } = standIn();
  ahead.want([screen(6)]);
  clock.ms = 31_000;
  await ahead.take(screen(6), {});
  assert.deepEqual(asked, [screen(6), screen(6)]);
});

test("a refusal is not kept: htmx meets it itself", async () => {
  const { asked, ahead } = standIn();
  ahead.want([screen(404)]);
  await ahead.take(screen(404), {});
  assert.deepEqual(asked, [screen(404), screen(404)]);
});

test("an image that was labelled is asked for anew, its neighbours are not", () => {
  const { ahead } = standIn();
  ahead.want([screen(6), screen(4)]);
  ahead.saved("4", []);
  assert.deepEqual([...ahead.held.keys()], [screen(6)]);
});

test("only a screen from before the last label is brought up to it", async () => {
  const { clock, ahead } = standIn();
  const shown = [];
  const copy = { childNodes: ["41 of 60"], cloneNode: () => copy };
  globalThis.document = { getElementById: () => ({ replaceChildren: (...nodes) => shown.push(...nodes) }) };
  ahead.want([screen(6)]);
  clock.ms = 10;
  ahead.saved("5", [{ id: "label-progress", cloneNode: () => ({ id: "label-progress", ...copy }) }]);
  clock.ms = 20;
  await ahead.take(screen(6), {});
  ahead.carryOver();
  assert.deepEqual(shown, ["41 of 60"]);
  await ahead.take(screen(7), {});
  ahead.carryOver();
  assert.equal(shown.length, 1);
});
