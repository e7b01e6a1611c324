import assert from "node:assert/strict";
import { test } from "node:test";

import { Edit, History, TILE } from "../../../web/comfyui/lib/painter-history.mjs";
import { Mask, Stroke, profile } from "../../../web/comfyui/lib/painter-mask.mjs";

const HARD = { erase: false, softness: 0, opacity: 1 };

/** @param {Mask} mask @param {object} brush @param {...[number, number, number]} dabs x, y, radius */
function stroke(mask, brush, ...dabs) {
  const one = new Stroke(mask, { ...HARD, ...brush });
  const rects = dabs.map(([x, y, radius]) => one.to({ x, y, radius }));
  return { edit: one.edit, rects };
}

const painted = (/** @type {Mask} */ mask) => mask.data.reduce((sum, value) => sum + (value > 0 ? 1 : 0), 0);

test("a brush of one pixel paints one pixel, wholly", () => {
  const mask = new Mask(9, 7);
  stroke(mask, {}, [4.5, 3.5, 0.5]);
  assert.equal(painted(mask), 1);
  assert.equal(mask.data[3 * 9 + 4], 255);
});

test("a disc has the area of its radius and is the same to all sides", () => {
  const mask = new Mask(101, 101);
  stroke(mask, {}, [50.5, 50.5, 30]);
  const area = mask.data.reduce((sum, value) => sum + value / 255, 0);
  assert.ok(Math.abs(area / (Math.PI * 900) - 1) < 0.01, `${area}`);
  for (let at = 0; at < mask.data.length; at++) assert.equal(mask.data[at], mask.data[mask.data.length - 1 - at]);
});

test("a fast stroke has no gaps", () => {
  const mask = new Mask(1000, 20);
  stroke(mask, {}, [10, 10, 4], [990, 10, 4]);
  for (let x = 10; x < 990; x++) assert.equal(mask.data[10 * 1000 + x], 255);
});

test("one stroke over the same place again does not paint it twice, a second stroke does", () => {
  const mask = new Mask(20, 20);
  stroke(mask, { opacity: 0.5 }, [10, 10, 5], [12, 10, 5], [10, 10, 5], [12, 10, 5]);
  assert.equal(mask.data[10 * 20 + 10], 128);
  stroke(mask, { opacity: 0.5 }, [10, 10, 5]);
  assert.equal(mask.data[10 * 20 + 10], 192);
});

test("painting never darkens and erasing never lightens, at any softness and opacity", () => {
  for (let round = 0; round < 60; round++) {
    const before = Uint8Array.from({ length: 40 * 30 }, () => Math.floor(Math.random() * 256));
    const mask = new Mask(40, 30, before.slice());
    const erase = round % 2 === 1;
    const dab = () => /** @type {[number, number, number]} */ ([Math.random() * 60 - 10, Math.random() * 50 - 10, Math.random() * 20]);
    stroke(mask, { erase, softness: Math.random(), opacity: Math.random() }, dab(), dab(), dab());
    mask.data.forEach((value, at) => assert.ok(erase ? value <= before[at] : value >= before[at]));
  }
});

test("the brush falls off from its middle to its edge, softer ones earlier", () => {
  for (const softness of [0, 0.3, 1]) {
    let last = 1;
    for (let distance = 0; distance < 30; distance += 0.25) {
      const value = profile(distance, 20, softness);
      assert.ok(value >= 0 && value <= last);
      last = value;
    }
    assert.equal(profile(20.5, 20, softness), 0);
  }
  assert.ok(profile(15, 20, 1) < profile(15, 20, 0.3));
  assert.equal(profile(15, 20, 0), 1);
});

test("what a stroke says it changed holds everything that it changed", () => {
  for (let round = 0; round < 40; round++) {
    const mask = new Mask(300, 200);
    const one = new Stroke(mask, HARD);
    for (let dab = 0; dab < 4; dab++) {
      const before = mask.data.slice();
      const rect = one.to({ x: Math.random() * 340 - 20, y: Math.random() * 240 - 20, radius: Math.random() * 40 });
      mask.data.forEach((value, at) => {
        if (value === before[at]) return;
        const x = at % 300;
        const y = Math.floor(at / 300);
        assert.ok(x >= rect.x && x < rect.x + rect.width && y >= rect.y && y < rect.y + rect.height);
      });
    }
  }
});

test("a stroke beside the picture changes nothing and is no edit", () => {
  const mask = new Mask(30, 30);
  const { edit, rects } = stroke(mask, {}, [-50, -50, 10], [-60, 20, 5]);
  assert.equal(painted(mask), 0);
  assert.equal(edit.size, 0);
  assert.ok(rects.every(({ width, height }) => width * height === 0));
});

test("inverting twice gives the same mask, and fill and clear are what they say", () => {
  const data = Uint8Array.from({ length: 256 }, (_, value) => value);
  const mask = new Mask(16, 16, data.slice());
  mask.map((value) => 255 - value);
  assert.equal(mask.data[0], 255);
  mask.map((value) => 255 - value);
  assert.deepEqual(mask.data, data);
  mask.map(() => 255);
  assert.ok(mask.data.every((value) => value === 255));
  mask.map(() => 0);
  assert.ok(mask.empty);
});

test("a mask of another length is refused", () => {
  assert.throws(() => new Mask(4, 4, new Uint8Array(15)), RangeError);
});

test("any number of edits undone gives the beginning, redone the end", () => {
  const mask = new Mask(2 * TILE + 17, TILE + 5);
  const history = new History();
  const states = [mask.data.slice()];
  for (let round = 0; round < 12; round++) {
    if (round % 5 === 4) history.push(mask.map((value) => 255 - value));
    else {
      const place = () => /** @type {[number, number, number]} */ ([Math.random() * mask.width, Math.random() * mask.height, 1 + Math.random() * 30]);
      history.push(stroke(mask, { erase: round % 3 === 2, softness: 0.5 }, place(), place()).edit);
    }
    states.push(mask.data.slice());
  }
  for (let round = 11; round >= 0; round--) {
    assert.ok(history.undo().length);
    assert.deepEqual(mask.data, states[round]);
  }
  assert.deepEqual([history.canUndo, history.canRedo, history.changed], [false, true, false]);
  assert.deepEqual(history.undo(), []);
  for (let round = 1; round <= 12; round++) {
    assert.ok(history.redo().length);
    assert.deepEqual(mask.data, states[round]);
  }
  assert.deepEqual(history.redo(), []);
});

test("a new edit ends what could be redone", () => {
  const mask = new Mask(10, 10);
  const history = new History();
  history.push(mask.map(() => 255));
  history.undo();
  history.push(mask.map(() => 7));
  assert.equal(history.canRedo, false);
  history.undo();
  assert.ok(mask.empty);
});

test("an edit keeps only the tiles that it touched, each once", () => {
  const mask = new Mask(TILE * 4, TILE * 4);
  const { edit } = stroke(mask, {}, [10, 10, 5], [12, 12, 5]);
  assert.equal(edit.size, TILE * TILE);
  const other = new Edit(mask);
  other.keep({ x: TILE - 1, y: TILE - 1, width: 2, height: 2 });
  assert.equal(other.size, 4 * TILE * TILE);
});

test("old edits are dropped when memory is short, the newest never, and the change is not forgotten", () => {
  const mask = new Mask(TILE, TILE);
  const history = new History(2.5 * TILE * TILE);
  for (const value of [1, 2, 3, 4]) history.push(mask.map(() => value));
  history.undo();
  history.undo();
  assert.equal(history.canUndo, false);
  assert.equal(mask.data[0], 2);
  assert.equal(history.changed, true);
  const small = new History(1);
  small.push(mask.map(() => 9));
  assert.equal(small.canUndo, true);
});
