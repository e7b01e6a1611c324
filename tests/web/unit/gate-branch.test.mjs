import assert from "node:assert/strict";
import { test } from "node:test";

import { asBefore, before, behind } from "../../../web/comfyui/lib/gate-branch.mjs";

const node = (class_type, inputs = {}) => ({ class_type, inputs });
const prompt = () => ({
  1: node("Sampler", { seed: 7, size: [512, 512] }),
  2: node("Gate", { image: ["1", 0], labels: "a" }),
  3: node("Upscale", { image: ["2", 1], by: 2 }),
  "9:4": node("Save", { images: ["3", 0] }),
  5: node("Preview", { images: ["1", 0] }),
});

test("behind a gate is what needs it, directly or not, in subgraphs too", () => {
  assert.deepEqual([...behind(prompt(), ["2"])].sort(), ["3", "9:4"]);
  assert.deepEqual([...behind(prompt(), ["5"])], []);
});

test("a list that looks like a link to no node is a value", () => {
  assert.deepEqual([...behind({ ...prompt(), 512: node("Other") }, ["512"])], []);
  assert.deepEqual([...before({ 1: node("Text", { pair: ["7", 0] }) }, ["1"])], []);
});

test("before a gate is what it needs", () => {
  assert.deepEqual([...before(prompt(), ["3"])].sort(), ["1", "2"]);
});

test("what comes before runs as it did, what hangs behind as it is now", () => {
  const earlier = prompt();
  earlier[1] = { ...node("Sampler", { seed: 3, size: [512, 512] }), is_changed: ["x"] };
  earlier[3].inputs.by = 4;
  earlier[2].inputs.labels = "old";
  const made = asBefore(prompt(), earlier, ["2"]);
  assert.equal(made[1].inputs.seed, 3);
  assert.ok(!("is_changed" in made[1]), "the fingerprint of an earlier run is none of this one");
  assert.equal(made[2].inputs.labels, "a");
  assert.equal(made[3].inputs.by, 2);
});

test("what is another node or wired otherwise now is not taken from the earlier run", () => {
  const earlier = { 1: node("Loader", { seed: 3 }), 2: node("Gate", {}) };
  assert.equal(asBefore(prompt(), earlier, ["2"])[1].inputs.seed, 7);
  const rewired = { ...prompt(), 6: node("Noise"), 1: node("Sampler", { seed: 7, noise: ["6", 0] }) };
  assert.equal(asBefore(rewired, { 1: node("Sampler", { seed: 3, noise: 1 }) }, ["2"])[1].inputs.seed, 7);
});
