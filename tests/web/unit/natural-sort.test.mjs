import assert from "node:assert/strict";
import { test } from "node:test";

import { naturalCompare, sortedFiles } from "../../../web/comfyui/lib/natural-sort.mjs";

test("numbers count as numbers, and case does not part what belongs together", () => {
  const names = ["img10", "IMG2", "img1", "a", "img2"];
  assert.deepEqual(names.sort(naturalCompare), ["a", "img1", "IMG2", "img2", "img10"]);
});

test("two different texts are never equal", () => {
  assert.notEqual(naturalCompare("a", "A"), 0);
  assert.equal(naturalCompare("a", "a"), 0);
});

const slots = [
  { file: "img_0003.png", label: "" },
  { file: "img_0010.png", label: "b10" },
  { file: "img_0002.png", label: "b9" },
  { file: "img_10000.png", label: "" },
];

test("by label: those without one stand behind, in the order of their files", () => {
  assert.deepEqual(sortedFiles(slots, "label"), ["img_0002.png", "img_0010.png", "img_0003.png", "img_10000.png"]);
});

test("by adding and reversed; the slots themselves stay as they are", () => {
  const before = JSON.stringify(slots);
  assert.deepEqual(sortedFiles(slots, "added"), ["img_0002.png", "img_0003.png", "img_0010.png", "img_10000.png"]);
  assert.deepEqual(sortedFiles(slots, "reverse"), ["img_10000.png", "img_0002.png", "img_0010.png", "img_0003.png"]);
  assert.equal(JSON.stringify(slots), before);
});
