import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Selection } from "../../../web/comfyui/lib/selection.mjs";

const ORDER = ["a", "b", "c", "d", "e", "f", "g"];
/** @type {Selection} */
let selection;
let changes = 0;

beforeEach(() => {
  selection = new Selection();
  selection.setOrder(ORDER);
  changes = 0;
  selection.addEventListener("change", () => (changes += 1));
});

test("a click selects one; with ctrl it adds or takes away", () => {
  selection.choose("b");
  selection.choose("d");
  assert.deepEqual(selection.inOrder(), ["d"]);
  selection.choose("a", { toggle: true });
  selection.choose("d", { toggle: true });
  assert.deepEqual(selection.inOrder(), ["a"]);
  assert.equal(selection.cursor, "d");
  assert.equal(changes, 4);
});

test("with shift it selects from the last plain click, forwards and backwards", () => {
  selection.choose("c");
  selection.choose("e", { range: true });
  assert.deepEqual(selection.inOrder(), ["c", "d", "e"]);
  selection.choose("a", { range: true });
  assert.deepEqual(selection.inOrder(), ["a", "b", "c"]);
  selection.choose("f", { toggle: true });
  selection.choose("g", { toggle: true, range: true });
  assert.deepEqual(selection.inOrder(), ["a", "b", "c", "f", "g"]);
});

test("what is gone is no longer selected, and the cursor stays at its place", () => {
  selection.choose("c");
  selection.choose("d", { range: true });
  selection.setOrder(["a", "b", "e", "f"]);
  assert.deepEqual(selection.inOrder(), []);
  assert.equal(selection.cursor, "e");
  selection.choose("f");
  selection.setOrder(["a", "b"]);
  assert.equal(selection.cursor, "b", "behind the end: the last one");
  selection.setOrder([]);
  assert.equal(selection.cursor, "");
});

test("a new order keeps the selection", () => {
  selection.choose("b");
  changes = 0;
  selection.setOrder([...ORDER].reverse());
  assert.deepEqual(selection.inOrder(), ["b"]);
  assert.equal(changes, 0);
});

test("arrows move and stop at the ends; up and down keep their column at the edges", () => {
  assert.equal(selection.move(1), "a", "the first key starts at the first");
  assert.equal(selection.move(-1), "a");
  assert.equal(selection.move(3), "d");
  assert.equal(selection.move(-3), "a");
  assert.equal(selection.move(-3), "a");
  assert.equal(selection.move(Infinity), "g");
  assert.equal(selection.move(1), "g");
  assert.equal(selection.move(-Infinity), "a");
  assert.deepEqual(selection.inOrder(), ["a"]);
});

test("arrows with shift extend, with ctrl they move the cursor alone", () => {
  selection.choose("b");
  selection.move(1, { range: true });
  selection.move(1, { range: true });
  assert.deepEqual(selection.inOrder(), ["b", "c", "d"]);
  selection.move(-1, { range: true });
  assert.deepEqual(selection.inOrder(), ["b", "c"]);
  selection.move(2, { toggle: true });
  assert.equal(selection.cursor, "e");
  assert.deepEqual(selection.inOrder(), ["b", "c"]);
});

test("all, and none again", () => {
  selection.all();
  assert.equal(selection.size, ORDER.length);
  selection.clear();
  assert.equal(selection.size, 0);
  changes = 0;
  selection.clear();
  assert.equal(changes, 0);
});

test("in an empty set no key does anything", () => {
  selection.setOrder([]);
  assert.equal(selection.move(1), "");
  assert.equal(selection.size, 0);
});
