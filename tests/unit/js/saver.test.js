import assert from "node:assert/strict";
import { test } from "node:test";
import { Saver } from "../../../static/js/annotator/saver.js";

/** A form as the saver sees one: it fires an event for each request, and the test answers. */
class Form extends EventTarget {
  sent = [];

  constructor() {
    super();
    this.addEventListener("annotator:change", (event) => this.sent.push(event.detail));
  }

  querySelector() {
    return null;
  }

  answer(status) {
    this.dispatchEvent(new CustomEvent("htmx:finally:request", { detail: { ctx: { response: { status } } } }));
  }
}

test("changes made while one is being saved go in one request after it, never two at once", () => {
  const form = new Form();
  const saver = new Saver(form);
  for (const change of ["a", "b", "c"]) saver.save(change);
  assert.deepEqual(form.sent, ["a"]);
  form.answer(200);
  assert.deepEqual(form.sent, ["a", "c"]);
  form.answer(200);
  assert.equal(saver.saving, false);
});

test("walking on waits for the answer", async () => {
  const form = new Form();
  const saver = new Saver(form);
  saver.save("a");
  const done = saver.done();
  form.answer(200);
  assert.equal(await done, true);
});

test("a change that found no server is sent again before one walks on", async () => {
  const form = new Form();
  const saver = new Saver(form);
  saver.save("a");
  form.answer(0);
  const done = saver.done();
  assert.deepEqual(form.sent, ["a", "a"]);
  form.answer(0);
  assert.equal(await done, false);
});

test("an edit made elsewhere keeps one on the image and is not sent again by itself", async () => {
  const form = new Form();
  const saver = new Saver(form);
  saver.save("a");
  form.answer(409);
  assert.equal(await saver.done(), false);
  assert.deepEqual(form.sent, ["a"]);
});
