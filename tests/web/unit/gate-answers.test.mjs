import assert from "node:assert/strict";
import test from "node:test";
import { Answers, isBatch } from "../../../web/comfyui/lib/gate-answers.mjs";
import { chosenNumbers, chosenText, labelsOfGate } from "../../../web/comfyui/lib/gate-choice.mjs";

const batch = { id: "b", kind: "batch", batch: 4, width: 8, labels: ["pass"] };
const image = { id: "i", kind: "image", batch: 4, width: 8, labels: ["keep", ""] };
const text = { id: "t", kind: "text", batch: 0, width: 0, text: "a cat", labels: ["pass"] };

/** What a tab keeps. */
function storage() {
  const kept = new Map();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) };
}

test("ticks are ascending, and none is beyond the batch", () => {
  const answers = new Answers();
  for (const frame of [3, 0, 4, -1, 2, 3]) answers.toggle(batch, frame);
  assert.deepEqual(answers.ticked(batch), [0, 2]);
  assert.deepEqual(answers.ticked({ ...batch, batch: 1 }), [0]);
  assert.deepEqual(answers.of(batch), { text: "", chosen: [0, 2] });
});

test("all or none ticked is all of them, which a gate that asks for images does not take for an answer", () => {
  const answers = new Answers();
  assert.equal(answers.ready(batch), false);
  assert.equal(answers.ready(image), true);
  assert.deepEqual(answers.of(image), { text: "" });
  answers.toggleAll(batch);
  assert.equal(answers.ready(batch), true);
  assert.deepEqual(answers.of(batch), { text: "" });
  answers.toggleAll(batch);
  assert.deepEqual(answers.ticked(batch), []);
});

test("a batch of one image needs no tick", () => {
  const answers = new Answers();
  const one = { ...batch, batch: 1 };
  assert.equal(isBatch(one), false);
  answers.toggle(one, 0);
  assert.deepEqual([answers.ready(one), answers.of(one)], [true, { text: "" }]);
});

test("a text is edited, emptied, and as it was again", () => {
  const answers = new Answers();
  assert.deepEqual([answers.of(text), answers.edited(text)], [{ text: "a cat" }, false]);
  answers.edit(text, "");
  assert.deepEqual([answers.of(text), answers.edited(text)], [{ text: "" }, true]);
  answers.edit(text, "a cat");
  assert.deepEqual([answers.of(text), answers.edited(text)], [{ text: "a cat" }, false]);
});

test("every change is told once, with the gate's id", () => {
  const answers = new Answers();
  const told = [];
  answers.addEventListener("change", (event) => told.push(event.detail));
  answers.toggle(batch, 1);
  answers.edit(text, "x");
  answers.toggle(batch, 9);
  assert.deepEqual(told, ["b", "t"]);
});

test("answers outlive a reload, of the gates touched last, and what is no answer does no harm", () => {
  const kept = storage();
  const answers = new Answers(kept);
  for (let number = 0; number < 150; number += 1) answers.toggle({ ...batch, id: `b${number}` }, 1);
  answers.edit(text, "");
  const after = new Answers(kept);
  assert.deepEqual(after.ticked({ ...batch, id: "b149" }), [1]);
  assert.deepEqual(after.ticked({ ...batch, id: "b0" }), []);
  assert.equal(after.text(text), "");
  for (const broken of ["{", "5", '[["b", null]]', '[["b", {"ticked": 5}]]', '[[5, {"ticked": [], "text": null}]]']) {
    kept.setItem("gatebus.answers", broken);
    assert.deepEqual(new Answers(kept).ticked(batch), []);
  }
});

test("what was chosen is told by the numbers that people see", () => {
  assert.equal(chosenText({ chosen: "0,2" }, 4), "2 of 4 images");
  assert.equal(chosenNumbers({ chosen: "0,2" }), "Images 1, 3");
  assert.deepEqual([chosenText({ chosen: "" }, 4), chosenNumbers({}), chosenText(null, 4)], ["", "", ""]);
});

test("the one route is called what it does; others keep their labels", () => {
  const answers = new Answers();
  answers.toggle(batch, 1);
  answers.edit(text, "x");
  assert.deepEqual(labelsOfGate(batch, answers), ["Pass 1 of 4"]);
  assert.deepEqual(labelsOfGate(text, answers), ["Pass the edited text"]);
  assert.deepEqual([labelsOfGate(batch), labelsOfGate(text)], [["Pass"], ["Pass"]]);
  assert.deepEqual(labelsOfGate(image, answers), ["keep", ""]);
});
