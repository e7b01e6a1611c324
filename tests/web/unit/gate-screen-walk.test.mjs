import assert from "node:assert/strict";
import { test } from "node:test";

import { Walk } from "../../../web/page/gate-screen-walk.mjs";

/** A walk over gates of those names, of which some are decided here already. */
function walkOver(names, id, settled = "") {
  const order = { gates: [], indexOf: (wanted) => order.gates.findIndex((gate) => gate.id === wanted) };
  order.set = (text) => (order.gates = [...text].map((each) => ({ id: each })));
  order.set(names);
  const walk = new Walk(order, (gate) => settled.includes(gate.id));
  walk.id = id;
  return { walk, order };
}
const names = (gates) => gates.map((gate) => gate?.id ?? "-").join("");

test("the neighbours are those of the order, and none beyond its ends", () => {
  const { walk } = walkOver("abc", "a");
  assert.equal(names([walk.beside(-1), walk.beside(1)]), "-b");
  walk.id = "c";
  assert.equal(names([walk.beside(-1), walk.beside(1)]), "b-");
});

test("the next that wait are found from here on and around, without those that are decided here", () => {
  assert.equal(names(walkOver("abcdef", "d", "ea").walk.waiting()), "fbc");
  assert.equal(names(walkOver("ab", "a", "b").walk.waiting()), "");
  assert.equal(names(walkOver("a", "a").walk.waiting()), "");
});

test("the neighbours of a gate that has gone are those at its place", () => {
  const { walk, order } = walkOver("abcd", "c");
  assert.equal(walk.at, 2);
  order.set("abd");
  assert.equal(walk.at, -1);
  assert.equal(names([walk.beside(-1), walk.beside(1)]), "bd");
  assert.equal(names(walk.waiting()), "dab");
});

test("what was last in the order and has gone is followed by the first", () => {
  const { walk, order } = walkOver("abc", "c");
  assert.equal(walk.at, 2);
  order.set("ab");
  assert.equal(names([walk.beside(-1), walk.beside(1)]), "b-");
  assert.equal(names(walk.waiting()), "ab");
});

test("ahead are first those in the direction in which the person goes", () => {
  const { walk } = walkOver("abcdef", "c");
  assert.equal(names(walk.ahead()), "defb");
  walk.direction = -1;
  assert.equal(names(walk.ahead()), "bad");
});
