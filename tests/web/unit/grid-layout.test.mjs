import assert from "node:assert/strict";
import { test } from "node:test";

import { keyAction } from "../../../web/comfyui/lib/grid-keys.mjs";
import { GAP, beforeOf, gapAt, layout, place, scrolledTo, staysPut, visible } from "../../../web/comfyui/lib/grid-layout.mjs";

test("cells fill the width, however narrow it is", () => {
  for (const width of [1, 50, 104, 213, 214, 500, 1999]) {
    const { columns, cell } = layout(100, width, 104);
    assert.ok(Math.abs(columns * cell + (columns - 1) * GAP - width) < 1e-6);
    assert.ok(columns === 1 || cell >= 104);
  }
});

test("what is drawn holds everything that is seen, and stays small at 10,000", () => {
  const grid = layout(10_000, 700, 104);
  for (let top = 0; top < grid.height; top += 997) {
    const [from, to] = visible(grid, top, 500);
    for (let index = 0; index < grid.count; index++) {
      const { y } = place(grid, index);
      if (y < top + 500 && y + grid.row > top) assert.ok(index >= from && index < to, `${index} at ${top}`);
    }
    assert.ok(to - from <= grid.columns * 10);
  }
  assert.deepEqual(visible(layout(0, 700, 104), 0, 500), [0, 0]);
});

test("a point names the nearest gap; beyond the last cell it is the end", () => {
  const grid = layout(10, 4 * 100 + 3 * GAP, 100);
  assert.equal(grid.columns, 4);
  assert.equal(gapAt(grid, 0, 0), 0);
  assert.equal(gapAt(grid, 99, 10), 1);
  assert.equal(gapAt(grid, 40, 10), 0);
  assert.equal(gapAt(grid, 1000, 10), 4);
  assert.equal(gapAt(grid, 0, grid.row + 1), 4);
  assert.equal(gapAt(grid, 400, 5000), 10);
  assert.equal(gapAt(grid, -50, -50), 0);
});

test("a row is scrolled into view by the shortest way", () => {
  const grid = layout(100, 4 * 100 + 3 * GAP, 100);
  assert.equal(scrolledTo(grid, 0, 0, 300), 0);
  assert.equal(scrolledTo(grid, 0, 500, 300), 0);
  const top = scrolledTo(grid, 99, 0, 300);
  assert.equal(top + 300, place(grid, 99).y + grid.row - GAP);
  assert.equal(scrolledTo(grid, 99, top, 300), top);
});

test("a set moves before the next that does not move itself", () => {
  const order = ["a", "b", "c", "d"];
  assert.equal(beforeOf(order, new Set(["a"]), 2), "c");
  assert.equal(beforeOf(order, new Set(["b", "c"]), 1), "d");
  assert.equal(beforeOf(order, new Set(["d"]), 3), null);
  assert.ok(staysPut(order, ["b", "c"], "d"));
  assert.ok(staysPut(order, ["d"], null));
  assert.ok(!staysPut(order, ["a", "c"], "d"));
  assert.ok(!staysPut(order, ["a"], null));
});

test("the grid takes its own keys and leaves the page's", () => {
  const key = (/** @type {string} */ name, more = {}) =>
    keyAction({ key: name, ctrlKey: false, metaKey: false, shiftKey: false, ...more }, 4, 3);
  assert.deepEqual(key("ArrowDown"), { action: "move", steps: 4 });
  assert.deepEqual(key("PageUp"), { action: "move", steps: -12 });
  assert.equal(key("Delete").action, "remove");
  assert.equal(key("a", { ctrlKey: true }).action, "all");
  assert.equal(key("u").action, "undo");
  for (const [name, more] of [["Enter", { ctrlKey: true }], ["s", { ctrlKey: true }], ["z", { ctrlKey: true }], ["u", { ctrlKey: true }], ["1", {}], ["toString", {}]]) {
    assert.equal(key(/** @type {string} */ (name), /** @type {any} */ (more)).action || "", "", String(name));
  }
});
