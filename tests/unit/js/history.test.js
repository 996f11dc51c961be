import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY, parse, record, redo, undo } from "../../../static/js/lib/history.js";

const change = (imageId, from, to) => ({ imageId, href: `/label?image=${imageId}`, from, to });

test("undo leads back through all images, redo forward again", () => {
  const made = [change("1", "", "5"), change("2", "", "6"), change("1", "5", "7")];
  let history = made.reduce(record, EMPTY);
  const back = [];
  for (let step = undo(history); step; step = undo(history)) {
    back.push(step.change);
    history = step.history;
  }
  assert.deepEqual(back, made.toReversed());
  const forth = [];
  for (let step = redo(history); step; step = redo(history)) {
    forth.push(step.change);
    history = step.history;
  }
  assert.deepEqual(forth, made);
});

test("a new change forgets what had been undone", () => {
  const { history } = undo(record(EMPTY, change("1", "", "5")));
  assert.equal(redo(record(history, change("1", "", "6"))), null);
});

test("choosing the same class is no change", () => {
  assert.equal(record(EMPTY, change("1", "5", "5")), EMPTY);
});

test("the history survives storage and is bounded", () => {
  let history = EMPTY;
  for (let i = 0; i < 700; i += 1) history = record(history, change(String(i), "", "1"));
  assert.equal(history.done.length, 500);
  assert.deepEqual(parse(JSON.stringify(history)), history);
});

test("broken storage gives an empty history", () => {
  for (const text of [null, "", "{", "[]", '{"done":[1],"undone":[]}', '{"done":[{"imageId":1}],"undone":[]}']) assert.equal(parse(text), EMPTY);
});
