import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { Decisions } from "../../../web/comfyui/lib/gate-decisions.mjs";

mock.timers.enable({ apis: ["setTimeout"] });

/** Decisions over an API that answers by the script, one entry a call. */
function decisionsOver(...script) {
  const calls = [];
  const answer = async (id, kind, route, more) => {
    calls.push({ id, kind, route, ...more });
    const next = script.shift();
    if (next instanceof Error) throw next;
    return next ?? { id, rev: 2, status: "decided" };
  };
  const api = { route: (id, route, more) => answer(id, "route", route, more), cancel: (id, more) => answer(id, "cancel", 0, more) };
  const feed = Object.assign(new EventTarget(), { connected: true, unavailable: "", taken: [], looked: [] });
  feed.take = (gate) => feed.taken.push(gate);
  feed.look = async (id) => feed.looked.push(id);
  return { decisions: new Decisions(api, feed, () => "Anna"), calls, feed };
}
const away = () => new ApiError(503, "store_unavailable", "Redis is away.");
const gate = { id: "g" };

test("what was decided is sent once, with who decided, and the answer is shown", async () => {
  const { decisions, calls, feed } = decisionsOver();
  const first = decisions.route(gate, 2);
  await Promise.all([first, decisions.route(gate, 2), decisions.route(gate, 1), decisions.cancel(gate)]);
  assert.equal(calls.length, 1);
  assert.deepEqual({ ...calls[0], decision_id: "" }, { id: "g", kind: "route", route: 2, by: "Anna", decision_id: "" });
  assert.match(calls[0].decision_id, /^[0-9a-f]{32}$/);
  assert.equal(feed.taken.length, 1);
  assert.equal(decisions.of("g"), undefined);
});

test("a decision of unknown outcome is repeated under the same id, by the button and by the same choice", async () => {
  const { decisions, calls } = decisionsOver(away(), new ApiError(0, "unreachable", "gone"), away());
  await decisions.route(gate, 1);
  assert.equal(decisions.of("g").state, "unknown");
  assert.equal(decisions.of("g").reason, "Redis is away.");
  await decisions.retry("g");
  await decisions.route(gate, 1);
  await decisions.retry("g");
  assert.equal(new Set(calls.map((call) => call.decision_id)).size, 1);
  assert.equal(calls.length, 4);
  assert.equal(decisions.of("g"), undefined);
});

test("another choice after an unknown outcome is another decision", async () => {
  const { decisions, calls } = decisionsOver(away());
  await decisions.route(gate, 1);
  await decisions.route(gate, 2);
  assert.notEqual(calls[0].decision_id, calls[1].decision_id);
});

test("what did not arrive goes out again when the server is back, not before", async () => {
  const { decisions, calls, feed } = decisionsOver(away());
  await decisions.cancel(gate);
  feed.unavailable = "Redis is away";
  feed.dispatchEvent(new Event("connection"));
  assert.equal(calls.length, 1);
  feed.unavailable = "";
  const settled = new Promise((done) => decisions.addEventListener("change", () => decisions.of("g") ?? done(null)));
  feed.dispatchEvent(new Event("connection"));
  await settled;
  assert.deepEqual(calls.map((call) => [call.kind, call.decision_id]), Array(2).fill(["cancel", calls[0].decision_id]));
});

test("a decision that came second is not repeated; what stands is read", async () => {
  const { decisions, calls, feed } = decisionsOver(new ApiError(409, "already_decided", "route 1 by Bo"));
  await decisions.route(gate, 2);
  assert.equal(decisions.of("g").state, "late");
  assert.deepEqual(feed.looked, ["g"]);
  await decisions.retry("g");
  feed.dispatchEvent(new Event("connection"));
  assert.equal(calls.length, 1);
});

test("what the server refuses can be dismissed", async () => {
  const { decisions } = decisionsOver(new ApiError(401, "unauthorized", "A bearer token is needed"));
  await decisions.route(gate, 2);
  assert.equal(decisions.of("g").state, "refused");
  decisions.dismiss("g");
  assert.equal(decisions.of("g"), undefined);
});

test("what a server that answers did not take is repeated by and by, as the same decision", async () => {
  const busy = () => new ApiError(429, "too_busy", "Too many decisions.");
  const { decisions, calls } = decisionsOver(busy(), busy());
  await decisions.route(gate, 1);
  mock.timers.tick(2000);
  await new Promise(setImmediate);
  assert.equal(calls.length, 2);
  mock.timers.tick(3999);
  assert.equal(calls.length, 2);
  mock.timers.tick(1);
  await new Promise(setImmediate);
  assert.equal(calls.length, 3);
  assert.equal(new Set(calls.map((call) => call.decision_id)).size, 1);
  assert.equal(decisions.of("g"), undefined);
});

test("a decision made elsewhere goes out under its own id, with its text, and once", async () => {
  const { decisions, calls } = decisionsOver();
  const choice = { kind: "route", route: 2, text: "brighter", id: "d1" };
  await Promise.all([decisions.send("g", choice), decisions.send("g", choice)]);
  assert.deepEqual(calls, [{ id: "g", kind: "route", route: 2, by: "Anna", decision_id: "d1", text: "brighter" }]);
});
