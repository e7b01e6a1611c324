import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { Uploads, filesOf, isImage, labelOf } from "../../../web/comfyui/lib/uploads.mjs";

const png = (/** @type {string} */ name) => new File(["x"], name, { type: "image/png" });

/** @param {Uploads} uploads @returns {Promise<any>} */
const end = (uploads) => new Promise((done) => uploads.addEventListener("end", (event) => done(/** @type {any} */ (event).detail), { once: true }));

test("files go one after another, in their order, with their names as labels", async () => {
  /** @type {string[]} */
  const told = [];
  let under = 0;
  const uploads = new Uploads({
    add: async (_, { label, before }) => {
      assert.equal((under += 1), 1);
      await new Promise((wake) => setTimeout(wake, 1));
      under -= 1;
      told.push(`${label}>${before}`);
    },
  });
  uploads.add([png("b.png"), png("a.1.png")], "img_0001.png");
  uploads.add([png("image.png"), new File(["x"], "notes.txt", { type: "text/plain" })]);
  assert.ok(uploads.running);
  assert.deepEqual(await end(uploads), { done: 3, failed: [], skipped: 1, cancelled: false });
  assert.deepEqual(told, ["b>img_0001.png", "a.1>img_0001.png", ">null"]);
  assert.ok(!uploads.running);
});

test("one that fails is named and does not stop the others", async () => {
  const uploads = new Uploads({
    add: async (_, { label }) => {
      if (label === "bad") throw new ApiError(422, "invalid_image", "no image");
    },
  });
  uploads.add([png("good.png"), png("bad.png"), png("better.png")]);
  assert.deepEqual(await end(uploads), {
    done: 2,
    failed: [{ name: "bad.png", reason: "no image" }],
    skipped: 0,
    cancelled: false,
  });
});

test("a cancel ends the one under way and drops the rest; later files begin anew", async () => {
  /** @type {string[]} */
  const begun = [];
  const uploads = new Uploads({
    add: (_, { label, signal }) => {
      begun.push(label);
      return new Promise((done, fail) => {
        if (label === "later") done(undefined);
        signal.addEventListener("abort", () => fail(new DOMException("", "AbortError")));
      });
    },
  });
  uploads.add([png("one.png"), png("two.png")]);
  await new Promise((wake) => setTimeout(wake, 5));
  const cancelled = end(uploads);
  uploads.cancel();
  uploads.add([png("later.png")]);
  assert.equal((await cancelled).cancelled, true);
  assert.deepEqual(await end(uploads), { done: 1, failed: [], skipped: 0, cancelled: false });
  assert.deepEqual(begun, ["one", "later"]);
});

test("a server that is too busy is asked again, one that may have taken it is not", async () => {
  for (const [type, calls] of /** @type {[string, number][]} */ ([["too_busy", 2], ["unreachable", 1]])) {
    let count = 0;
    const uploads = new Uploads({
      add: async () => {
        count += 1;
        if (count === 1) throw new ApiError(503, type, "not now");
      },
    });
    uploads.add([png("one.png")]);
    const { done } = await end(uploads);
    assert.equal(count, calls);
    assert.equal(done, calls - 1);
  }
});

test("nothing at all starts nothing; files that are no images are told", async () => {
  const uploads = new Uploads({ add: async () => assert.fail("nothing to add") });
  uploads.add([]);
  assert.ok(!uploads.running);
  const told = end(uploads);
  uploads.add([new File(["x"], "a.txt", { type: "text/plain" })]);
  assert.equal((await told).skipped, 1);
});

test("images are told by their type, or by their name where there is none", () => {
  assert.ok(isImage(new File([], "x", { type: "image/webp" })));
  assert.ok(isImage(new File([], "x.JPG")));
  assert.ok(!isImage(new File([], "x.png.txt")));
  assert.ok(!isImage(new File([], "x.png", { type: "text/html" })));
});

test("a label is the name without its ending, at most 200 characters", () => {
  assert.equal(labelOf("a.b.png"), "a.b");
  assert.equal(labelOf("image.png"), "");
  assert.equal(labelOf("y".repeat(300) + ".png").length, 200);
});

/** @param {string} name @param {any[]} [inside] */
function entry(name, inside) {
  if (!inside) return { isFile: true, isDirectory: false, name, file: (/** @type {any} */ done) => done(png(name)) };
  const batches = [inside.slice(0, 2), inside.slice(2), []];
  const readEntries = (/** @type {any} */ done) => done(batches.shift());
  return { isFile: false, isDirectory: true, name, createReader: () => ({ readEntries }) };
}

test("folders are read to the end, at any depth, in natural order, without hidden files", async () => {
  const tree = entry("set", [entry("10.png"), entry("9.png"), entry("deep", [entry("z.png")]), entry(".DS_Store")]);
  const items = [entry("first.png"), tree].map((each) => ({ kind: "file", webkitGetAsEntry: () => each }));
  const files = await filesOf(/** @type {any} */ ({ items: [...items, { kind: "string" }], files: [] }));
  assert.deepEqual(files.map((file) => file.name), ["first.png", "9.png", "10.png", "z.png"]);
});
