import assert from "node:assert/strict";
import { test } from "node:test";

import { describe, matching, parseReference, references } from "../../../web/comfyui/lib/bus-names.mjs";
import { LANGUAGES, register, setLanguage } from "../../../web/comfyui/lib/i18n.mjs";
import { bus } from "../../../web/comfyui/lib/texts/bus.mjs";
import { painter } from "../../../web/comfyui/lib/texts/painter.mjs";

/** @param {string} name @param {object} [more] */
const head = (name, more = {}) => ({ name, version: 1, width: 64, height: 48, frames: 1, mask: false, published: 0, meta: {}, ...more });

test("a reference is a name with or without a version", () => {
  assert.deepEqual(parseReference("cp1"), { name: "cp1", version: null });
  assert.deepEqual(parseReference("cp1@12"), { name: "cp1", version: "12" });
  assert.deepEqual(parseReference("顔@-1"), { name: "顔", version: "-1" });
  assert.deepEqual(parseReference("cp1@"), { name: "cp1", version: "" });
});

test("names that begin with the text come first, then those that hold it, then labels; the order stays", () => {
  const heads = [head("old-face"), head("b"), head("Face2"), head("x", { meta: { label: "a face" } }), head("face1")];
  assert.deepEqual(matching(heads, "face").map(({ name }) => name), ["Face2", "face1", "old-face", "x"]);
  assert.deepEqual(matching(heads, " "), heads);
  assert.deepEqual(matching(heads, "zebra"), []);
});

test("each kept version is named by its number and by its distance from the newest", () => {
  const kept = [9, 8, 6].map((version) => head("cp1", { version }));
  assert.deepEqual(
    references(kept).map(({ fixed, moving }) => [fixed, moving]),
    [["cp1@9", "cp1"], ["cp1@8", "cp1@-1"], ["cp1@6", "cp1@-2"]],
  );
});

test("a version is described in the language that was chosen", () => {
  register("bus", bus);
  const full = head("cp1", { frames: 8, mask: true, published: 1000, meta: { instance: "studio" } });
  assert.equal(describe(full, 61_000), "64 × 48 · 8 images · mask · 1 min ago · studio");
  setLanguage("de");
  assert.equal(describe(head("cp1"), 5_000), "64 × 48 · vor 5 s");
  setLanguage("en");
});

test("every text is there in every language, with the same values to fill in", () => {
  const values = (/** @type {string} */ text) => (text.match(/\{\w+\}/g) ?? []).sort();
  for (const area of [bus, painter]) {
    for (const language of LANGUAGES) {
      const texts = /** @type {Record<string, Record<string, string>>} */ (area)[language];
      assert.deepEqual(Object.keys(texts).sort(), Object.keys(area.en).sort(), language);
      for (const [name, text] of Object.entries(area.en)) assert.deepEqual(values(texts[name]), values(text), `${language}.${name}`);
    }
  }
});
