import assert from "node:assert/strict";
import { test } from "node:test";

import { LARGEST, toSize, toStep } from "../../../web/comfyui/lib/painter-bar.mjs";
import { CLOSEST, View } from "../../../web/comfyui/lib/painter-view.mjs";

/** @param {number} a @param {number} b */
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`);

/** @param {number} [width] @param {number} [height] */
function viewOf(width = 1000, height = 500) {
  const view = new View(width, height);
  view.resize(800, 600);
  return view;
}

test("a picture fits its stage wholly, in the middle, and keeps fitting when the stage changes", () => {
  const view = viewOf();
  for (const [width, height] of [[800, 600], [300, 900], [1600, 200]]) {
    view.resize(width, height);
    const corner = view.toStage({ x: 0, y: 0 });
    const other = view.toStage({ x: 1000, y: 500 });
    assert.ok(corner.x >= 0 && corner.y >= 0 && other.x <= width && other.y <= height);
    near(corner.x + other.x, width);
    near(corner.y + other.y, height);
  }
});

test("a tiny picture is enlarged, as far as there is a limit", () => {
  const view = viewOf(4, 4);
  assert.equal(view.scale, CLOSEST);
});

test("a point of the picture is found again", () => {
  const view = viewOf();
  view.zoom(3.3, { x: 200, y: 150 });
  view.move(-31, 17);
  const { x, y } = view.toPicture(view.toStage({ x: 123.25, y: 456.5 }));
  near(x, 123.25);
  near(y, 456.5);
});

test("zooming keeps what is under the pointer there", () => {
  const view = viewOf();
  const at = { x: 350, y: 280 };
  const before = view.toPicture(at);
  for (const factor of [1.2, 1.2, 2, 0.7]) view.zoom(factor, at);
  const after = view.toPicture(at);
  near(after.x, before.x);
  near(after.y, before.y);
});

test("zoom has an end on both sides", () => {
  const view = viewOf();
  for (let round = 0; round < 100; round++) view.zoom(2);
  assert.equal(view.scale, CLOSEST);
  for (let round = 0; round < 100; round++) view.zoom(0.5);
  near(view.scale, view.fitting / 4);
});

test("however far it is moved, a part of the picture stays in sight", () => {
  const view = viewOf();
  for (const [dx, dy] of [[1e6, 1e6], [-1e6, -1e6], [1e6, -1e6]]) {
    view.move(dx, dy);
    const corner = view.toStage({ x: 0, y: 0 });
    const other = view.toStage({ x: 1000, y: 500 });
    assert.ok(corner.x < 800 && corner.y < 600 && other.x > 0 && other.y > 0);
  }
});

test("what lies under two fingers stays under them", () => {
  const view = viewOf();
  const before = /** @type {[any, any]} */ ([{ x: 300, y: 300 }, { x: 400, y: 300 }]);
  const after = /** @type {[any, any]} */ ([{ x: 280, y: 330 }, { x: 480, y: 330 }]);
  const [a, b] = before.map((point) => view.toPicture(point));
  view.pinch(before, after);
  for (const [point, finger] of [[a, after[0]], [b, after[1]]]) {
    near(view.toStage(point).x, finger.x);
    near(view.toStage(point).y, finger.y);
  }
});

test("a stage that changes its size keeps what a person zoomed to in the middle", () => {
  const view = viewOf();
  view.zoom(4, { x: 100, y: 300 });
  const middle = view.toPicture({ x: 400, y: 300 });
  view.resize(500, 700);
  const again = view.toPicture({ x: 250, y: 350 });
  near(again.x, middle.x);
  near(again.y, middle.y);
});

test("the size's slider reaches from one pixel to the largest brush, and back", () => {
  assert.equal(toSize(0), 1);
  assert.equal(toSize(200), LARGEST);
  for (const size of [1, 10, 64, 500, LARGEST]) assert.ok(Math.abs(toSize(Math.round(toStep(size))) / size - 1) < 0.02);
});
