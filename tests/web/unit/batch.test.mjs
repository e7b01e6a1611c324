/** Many gates decided together, without a page: held, sent in few calls, kept. */
import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { Batch, IN_A_CALL } from "../../../web/page/batch.mjs";
import { Drafts } from "../../../web/page/drafts.mjs";

mock.timers.enable({ apis: ["setTimeout", "Date"] });
const settled = () => new Promise(setImmediate);
const idsOf = (count) => Array.from({ length: count }, (_, number) => `g${number}`);
const refusal = (id, status, message, details = {}) => ({ id, status, type: "x", message, details });

/** A server that answers by the script, one entry a call, and then decides all. */
function serverWith(...script) {
  const calls = [];
  const looked = [];
  const routeAll = async (ids, route, more) => {
    calls.push({ ids, route, ...more });
    const next = script.shift();
    if (next instanceof Error) throw next;
    const refused = next ?? [];
    const not = new Set(refused.map(({ id }) => id));
    return { gates: ids.filter((id) => !not.has(id)).map((id) => ({ id })), refused };
  };
  return { calls, looked, api: { routeAll }, feed: { take() {}, lookAll: (ids) => looked.push(...ids) } };
}

/** Begun: waits `seconds`, or is sent at once. */
function begin(ids, server, { seconds = 0, ...more } = {}) {
  const batch = new Batch({ ids, route: 2, name: "redo", id: "d", by: "anna", until: Date.now() + 1000 * seconds, sent: false, ...more }, server);
  batch.start();
  return batch;
}

test("many go out in few calls, under one decision id, and it tells who was faster and what was refused", async () => {
  const server = serverWith([refusal("g7", 409, "late", { decision: { by: "bert" } }), refusal("g8", 403, "no")]);
  const batch = begin(idsOf(1200), server);
  await settled();
  assert.equal(batch.state, "done");
  assert.deepEqual(server.calls.map(({ ids, route, decision_id }) => [ids.length, route, decision_id]), [[IN_A_CALL, 2, "d"], [IN_A_CALL, 2, "d"], [200, 2, "d"]]);
  const { done, late, refused, left } = batch.result;
  assert.deepEqual([done, [...late], [...refused], left], [1198, [["bert", 1]], [["no", 1]], 0]);
  assert.deepEqual(server.looked, ["g7"]);
});

test("three calls of whole gates' ids fit into what a browser sends for a page that is left", () => {
  const ids = Array.from({ length: IN_A_CALL }, () => "f".repeat(32));
  const body = JSON.stringify({ ids, route: 10, by: "x".repeat(64), decision_id: "f".repeat(32) });
  assert.ok(body.length < 20_000, "Api.call lets it outlive its page");
  assert.ok(3 * body.length < 60 * 1024);
});

test("a page that is left sends what is held at once; more than fits is said to be in danger", async () => {
  const server = serverWith();
  const batch = begin(idsOf(1500), server, { seconds: 5 });
  assert.equal(batch.endangered, false);
  void batch.send();
  assert.equal(server.calls.length, 3);
  assert.equal(begin(idsOf(1501), serverWith(), { seconds: 5 }).endangered, true);
  await settled();
});

test("what is undone while it is held sends nothing", async () => {
  const server = serverWith();
  const batch = begin(["a", "b"], server, { seconds: 5 });
  assert.ok(batch.has("a"));
  batch.stop();
  mock.timers.tick(60_000);
  await batch.send();
  assert.equal(batch.state, "undone");
  assert.ok(!batch.has("a"));
  assert.deepEqual(server.calls, []);
});

test("a gate that is decided otherwise meanwhile is left out; without any left it is over", async () => {
  const server = serverWith();
  const batch = begin(["a", "b"], server, { seconds: 5 });
  batch.drop("a");
  mock.timers.tick(5000);
  await settled();
  assert.deepEqual(server.calls.map(({ ids }) => ids), [["b"]]);
  const none = begin(["a"], server, { seconds: 5 });
  none.drop("a");
  assert.equal(none.state, "undone");
});

test("what is not known to have arrived goes out again by itself as the same decision, and only that", async () => {
  const server = serverWith([refusal("b", 503, "away")], new ApiError(0, "unreachable", "gone"));
  const batch = begin(["a", "b"], server);
  await settled();
  assert.deepEqual([batch.state, batch.reason, batch.settled], ["unknown", "away", 1]);
  mock.timers.tick(2000);
  await settled();
  assert.deepEqual([batch.state, batch.reason], ["unknown", "gone"]);
  mock.timers.tick(4000);
  await settled();
  assert.deepEqual(server.calls.map(({ ids, decision_id }) => [ids, decision_id]), [[["a", "b"], "d"], [["b"], "d"], [["b"], "d"]]);
  assert.deepEqual([batch.state, batch.result.done], ["done", 2]);
});

test("a server that is not there is not asked for the others", async () => {
  const server = serverWith(...Array(3).fill(new ApiError(0, "unreachable", "gone")));
  const batch = begin(idsOf(5000), server);
  await settled();
  assert.equal(server.calls.length, 3);
  assert.equal(batch.state, "unknown");
});

test("a batch that is stopped while it is sent says what was left", async () => {
  const server = serverWith();
  const batch = begin(idsOf(2000), server);
  batch.stop();
  await settled();
  assert.equal(batch.result.done, 1500);
  assert.equal(batch.result.left, 500);
  const away = begin(["a"], serverWith(new ApiError(503, "away", "away")));
  await settled();
  away.stop();
  assert.deepEqual([away.state, away.result.left], ["done", 1]);
});

test("a page that was reloaded goes on with what is kept: what was held for the rest of its time, what was sent at once", async () => {
  const before = begin(["a", "b"], serverWith(), { seconds: 5 });
  mock.timers.tick(3000);
  const kept = JSON.parse(JSON.stringify(before.rest));
  before.stop();
  const server = serverWith();
  new Batch(kept, server).start();
  mock.timers.tick(1999);
  assert.deepEqual(server.calls, []);
  mock.timers.tick(1);
  assert.deepEqual(server.calls, [{ ids: ["a", "b"], route: 2, by: "anna", decision_id: "d" }]);
  new Batch({ ...kept, until: Date.now() + 9000, sent: true }, server).start();
  assert.equal(server.calls.length, 2);
  await settled();
});

test("texts of decisions are kept over a reload, the last hundred of them", () => {
  const values = new Map();
  const storage = { getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, value) };
  const drafts = new Drafts(storage);
  drafts.set("a", "brighter");
  drafts.set("b", "darker");
  drafts.set("b", "");
  const after = new Drafts(storage);
  assert.deepEqual([after.get("a"), after.get("b"), after.get("c")], ["brighter", "", ""]);
  for (const id of idsOf(100)) after.set(id, "x");
  assert.equal(new Drafts(storage).get("a"), "");
  assert.equal(new Drafts(storage).get("g0"), "x");
  assert.equal(new Drafts({ getItem: () => "not ours", setItem() {} }).get("a"), "");
});
