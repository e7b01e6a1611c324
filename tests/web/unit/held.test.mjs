import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { Decisions } from "../../../web/comfyui/lib/gate-decisions.mjs";
import { HeldDecisions } from "../../../web/page/held.mjs";

mock.timers.enable({ apis: ["setTimeout", "Date"] });
const pages = [];
afterEach(() => pages.splice(0).forEach((page) => page.held.flush()));

class Kept extends Map {
  getItem = (key) => this.get(key) ?? null;
  setItem = (key, value) => void this.set(key, value);
  removeItem = (key) => void this.delete(key);
}

const gateOf = (id, more = {}) => ({ id, rev: 1, status: "waiting", title: `gate ${id}`, routes: 3, labels: ["Keep"], decision: null, ...more });

/** A page with three gates, whose server answers by the script, one entry a call, and then decides. */
function pageWith({ script = [], storage = new Kept(), seconds = 5, channel } = {}) {
  const calls = [];
  const feed = Object.assign(new EventTarget(), { connected: true, unavailable: "", gates: new Map(), ended: new Map() });
  feed.take = (gate) => {
    feed.gates.set(gate.id, gate);
    feed.dispatchEvent(new Event("gates"));
  };
  feed.look = async () => undefined;
  for (const id of ["a", "b", "c"]) feed.gates.set(id, gateOf(id));
  const answer = async (id, kind, route, { decision_id, text }) => {
    calls.push({ id, kind, route, decision_id, text });
    const next = script.shift();
    if (next instanceof Error) throw next;
    return next ?? gateOf(id, { rev: 2, status: "decided", decision: { id: decision_id, kind, route, by: "Anna" } });
  };
  const api = {
    route: (id, route, more) => answer(id, "route", route, more),
    cancel: (id, more) => answer(id, "cancel", 0, more),
    takeBack: (id, decision_id) => answer(id, "take-back", 0, { decision_id }),
  };
  const decisions = new Decisions(api, feed, () => "Anna");
  const held = new HeldDecisions({ decisions, feed, seconds: () => seconds, storage, channel });
  const page = { held, decisions, feed, calls, storage, told: [] };
  for (const type of ["overtaken", "late"]) held.addEventListener(type, (event) => page.told.push({ type, ...event.detail }));
  pages.push(page);
  return page;
}

const settled = () => new Promise(setImmediate);
const routes = (page) => page.calls.map(({ id, kind, route }) => `${id} ${kind} ${route}`);
const elsewhere = (page, id) => page.feed.take(gateOf(id, { rev: 2, status: "decided", decision: { id: "x", kind: "route", route: 3, by: "Bo" } }));

test("a decision is sent when it was held for so long, not before, once", async () => {
  const page = pageWith();
  assert.equal(page.held.hold(page.feed.gates.get("a"), { route: 1, text: "brighter" }), true);
  assert.equal(page.held.of("a").name, "Keep");
  mock.timers.tick(4999);
  assert.deepEqual(page.calls, []);
  mock.timers.tick(1);
  await settled();
  assert.deepEqual(routes(page), ["a route 1"]);
  assert.equal(page.calls[0].text, "brighter");
  mock.timers.tick(60_000);
  await settled();
  assert.equal(page.calls.length, 1);
});

test("what is undone is never sent; without a gate the one made last is undone", async () => {
  const page = pageWith();
  for (const id of ["a", "b", "c"]) page.held.hold(page.feed.gates.get(id), { route: 2 });
  assert.equal(page.held.undo().gateId, "c");
  assert.equal(page.held.undo("a").gateId, "a");
  mock.timers.tick(60_000);
  await settled();
  assert.deepEqual(routes(page), ["b route 2"]);
  assert.equal(page.held.undo(), undefined);
});

test("another choice replaces the one that is held, and is held as long again", async () => {
  const page = pageWith();
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  mock.timers.tick(4000);
  page.held.hold(page.feed.gates.get("a"), { kind: "cancel" });
  mock.timers.tick(4000);
  assert.deepEqual(page.calls, []);
  mock.timers.tick(1000);
  await settled();
  assert.deepEqual(routes(page), ["a cancel 0"]);
});

test("what can't be decided is not held: no such route, decided already, on its way", async () => {
  const page = pageWith({ seconds: 0 });
  assert.equal(page.held.hold(page.feed.gates.get("a"), { route: 4 }), false);
  assert.equal(page.held.hold(page.feed.gates.get("a"), { route: 0 }), false);
  elsewhere(page, "b");
  assert.equal(page.held.hold(page.feed.gates.get("b"), { route: 1 }), false);
  assert.equal(page.held.hold(page.feed.gates.get("c"), { route: 1 }), true);
  assert.equal(page.held.hold(page.feed.gates.get("c"), { route: 2 }), false);
  await settled();
  assert.deepEqual(routes(page), ["c route 1"]);
});

test("a page that is left sends all that it holds at once", async () => {
  const page = pageWith();
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  page.held.hold(page.feed.gates.get("b"), { kind: "cancel" });
  page.held.flush();
  assert.deepEqual(routes(page), ["a route 1", "b cancel 0"]);
});

test("a page that crashed goes on with what it held, for the time that was left, under the same id", async () => {
  const before = pageWith();
  before.held.hold(before.feed.gates.get("a"), { route: 2, text: "kept" });
  mock.timers.tick(3000);
  const after = pageWith({ storage: new Kept(before.storage) });
  assert.equal(after.held.of("a").state, "held");
  mock.timers.tick(2000);
  await settled();
  assert.deepEqual(after.calls, before.calls);
  assert.deepEqual(routes(after), ["a route 2"]);
  assert.equal(after.calls[0].text, "kept");
});

test("what was sent and not answered is repeated by the page that comes after, under the same id", async () => {
  const before = pageWith({ script: [new ApiError(0, "unreachable", "gone")] });
  before.held.hold(before.feed.gates.get("a"), { route: 2 });
  before.held.flush();
  await settled();
  assert.equal(before.decisions.of("a").state, "unknown");
  const after = pageWith({ storage: new Kept(before.storage) });
  await settled();
  assert.equal(after.calls[0].decision_id, before.calls[0].decision_id);
  assert.equal(after.storage.size, 0);
});

test("a storage that is full, or holds what no page left there, hinders nothing", async () => {
  const warn = mock.method(console, "warn", () => undefined);
  const storage = new Kept([["gatebus.held", '[{"gateId":']]);
  storage.setItem = () => {
    throw new Error("QuotaExceededError");
  };
  const page = pageWith({ storage });
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  page.held.flush();
  await settled();
  assert.deepEqual(routes(page), ["a route 1"]);
  warn.mock.restore();
});

test("a gate decided elsewhere meanwhile drops what is held there and says who was first", async () => {
  const page = pageWith();
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  elsewhere(page, "a");
  mock.timers.tick(60_000);
  await settled();
  assert.deepEqual(page.calls, []);
  assert.deepEqual(page.told.map(({ type, held, gate }) => [type, held.name, gate.decision.by]), [["overtaken", "Keep", "Bo"]]);
});

test("who was first is also said when only the server's answer tells it", async () => {
  const page = pageWith({ script: [new ApiError(409, "already_decided", "route 3 by Bo")] });
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  page.held.flush();
  await settled();
  assert.deepEqual(page.told.map(({ type }) => type), ["overtaken"]);
  assert.equal(page.held.of("a"), undefined);
  assert.equal(page.storage.size, 0);
});

test("a decision that stands can be taken back, and the gate is open again", async () => {
  const page = pageWith({ script: [undefined, gateOf("a", { rev: 3 })] });
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  page.held.flush();
  await settled();
  assert.equal(page.held.of("a").state, "done");
  assert.equal(await page.held.takeBack(page.feed.gates.get("a")), true);
  assert.equal(page.calls[1].decision_id, page.calls[0].decision_id);
  assert.equal(page.feed.gates.get("a").status, "waiting");
  assert.equal(page.held.of("a"), undefined);
});

test("what was carried out already can't be taken back, and that is said", async () => {
  const page = pageWith({ script: [undefined, new ApiError(409, "gate_closed", "It was applied")] });
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  page.held.flush();
  await settled();
  assert.equal(await page.held.takeBack(page.feed.gates.get("a")), false);
  assert.deepEqual(page.told.map(({ type, reason }) => [type, reason]), [["late", "It was applied"]]);
});

test("a decision taken back is not made again by a repeat that was due", async () => {
  const page = pageWith({ script: [new ApiError(503, "store_unavailable", "away"), gateOf("a", { rev: 3 })] });
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  page.held.flush();
  await settled();
  // It had arrived all the same.
  page.feed.take(gateOf("a", { rev: 2, status: "decided", decision: { id: page.calls[0].decision_id, by: "Anna" } }));
  await page.held.takeBack(page.feed.gates.get("a"));
  page.feed.dispatchEvent(new Event("connection"));
  mock.timers.tick(60_000);
  await settled();
  assert.deepEqual(routes(page), ["a route 1", "a take-back 0"]);
});

test("what the server refuses stays until it is given up or chosen anew", async () => {
  const page = pageWith({ script: [new ApiError(403, "forbidden", "This token may only look")] });
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  page.held.flush();
  await settled();
  assert.equal(page.decisions.of("a").state, "refused");
  assert.equal(page.held.of("a").state, "sent");
  page.held.dismiss("a");
  assert.equal(page.held.of("a"), undefined);
  assert.equal(page.storage.size, 0);
  assert.equal(page.held.hold(page.feed.gates.get("a"), { route: 2 }), true);
});

test("another choice after an unknown outcome is sent instead: the first is not repeated behind it", async () => {
  const page = pageWith({ script: [new ApiError(503, "store_unavailable", "away")] });
  page.held.hold(page.feed.gates.get("a"), { route: 1 });
  page.held.flush();
  await settled();
  assert.equal(page.held.hold(page.feed.gates.get("a"), { route: 2 }), true);
  page.feed.dispatchEvent(new Event("connection"));
  mock.timers.tick(60_000);
  await settled();
  assert.deepEqual(routes(page), ["a route 1", "a route 2"]);
});

test("undone in one tab is undone in the one that was duplicated from it", async () => {
  const tabs = [];
  const channel = () => {
    const self = Object.assign(new EventTarget(), {
      postMessage: (data) => tabs.filter((tab) => tab !== self).forEach((tab) => tab.dispatchEvent(Object.assign(new Event("message"), { data }))),
    });
    tabs.push(self);
    return self;
  };
  const first = pageWith({ channel: channel() });
  first.held.hold(first.feed.gates.get("a"), { route: 1 });
  const second = pageWith({ storage: new Kept(first.storage), channel: channel() });
  first.held.undo();
  mock.timers.tick(60_000);
  await settled();
  assert.deepEqual([...first.calls, ...second.calls], []);
});
