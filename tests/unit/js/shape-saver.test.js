import assert from "node:assert/strict";
import { test } from "node:test";
import { ShapeSaver } from "../../../static/js/annotator/shape-saver.js";

/** A saver, and a server that answers when the test says so. */
function pair() {
  const asked = [];
  const answers = [];
  const said = [];
  const put = (body) => new Promise((resolve) => (asked.push(body), answers.push(resolve)));
  const saver = new ShapeSaver(put, (text) => said.push(text), 0);
  saver.version = 3;
  const answer = async (status, reply = {}) => {
    answers.shift()({ status, answer: reply });
    await new Promise((resolve) => setTimeout(resolve));
  };
  return { saver, asked, said, answer, labels: (...shapes) => () => ({ shapes, nothing_to_label: false }) };
}
const moment = () => new Promise((resolve) => setTimeout(resolve, 5));

test("several changes in a moment are saved once, on the version that was seen", async () => {
  const { saver, asked, labels } = pair();
  saver.save(labels("a"));
  saver.save(labels("a", "b"));
  await moment();
  assert.deepEqual(asked, [{ version: 3, shapes: ["a", "b"], nothing_to_label: false }]);
});

test("what changes while one is being saved goes after it, on the version of its answer", async () => {
  const { saver, asked, answer, labels, said } = pair();
  saver.save(labels("a"));
  await moment();
  saver.save(labels("b"));
  await moment();
  assert.equal(asked.length, 1);
  await answer(200, { version: 4 });
  assert.deepEqual(asked[1], { version: 4, shapes: ["b"], nothing_to_label: false });
  await answer(200, { version: 5 });
  assert.equal(said.at(-1), "Saved");
  assert.equal(saver.isDirty, false);
});

test("walking on does not wait for the pause, but for the answer", async () => {
  const { saver, asked, answer, labels } = pair();
  saver.waitMs = 60_000;
  saver.save(labels("a"));
  const done = saver.done();
  assert.equal(asked.length, 1);
  await answer(200, { version: 4 });
  assert.equal(await done, true);
});

test("a save that failed is tried once more before one walks on", async () => {
  const { saver, asked, answer, labels } = pair();
  saver.save(labels("a"));
  await moment();
  await answer(0);
  assert.ok(saver.isDirty);
  const done = saver.done();
  assert.equal(asked.length, 2);
  await answer(200, { version: 4 });
  assert.equal(await done, true);
});

test("an edit made elsewhere keeps one here until it is settled, either way", async () => {
  const { saver, asked, answer, labels } = pair();
  saver.save(labels("mine"));
  await moment();
  await answer(409, { detail: "changed", current: { version: 8 } });
  assert.equal(await saver.done(), false);
  saver.adopt(8, false);
  assert.deepEqual(asked[1], { version: 8, shapes: ["mine"], nothing_to_label: false });
  await answer(409, {});
  saver.adopt(9, true);
  assert.equal(await saver.done(), true);
  assert.equal(asked.length, 2);
});
