import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { AT_ONCE } from "../../../web/comfyui/lib/changed-gates.mjs";
import { EventParser, Feed } from "../../../web/comfyui/lib/feed.mjs";

const MANY = 10_000;
const bytes = (text) => new TextEncoder().encode(text);
const idOf = (number) => number.toString(16).padStart(32, "0");
const gate = (number, rev = 1, fields = {}) => ({ id: idOf(number), rev, status: "waiting", ...fields });
const changed = ({ id, rev, status }, place) =>
  `id: e.${place}\nevent: gate\ndata: ${JSON.stringify({ type: "gate", id, rev, status })}\n\n`;
const snapshot = (gates) => `id: e.1\nevent: snapshot\ndata: {"gates":[${gates.map((each) => JSON.stringify(each)).join(",\ndata: ")}],"unavailable":""}\n\n`;

/** A server with one open stream, `say`, and gates that are read one by one or many at once; counts the calls. */
function server() {
  const known = new Map();
  const calls = { one: 0, many: 0, most: 0 };
  const world = { known, calls, unavailable: "", say: null, cursors: [] };
  const host = {
    url: (path) => path,
    fetch: async (_path, options) => {
      world.cursors.push(options.headers["Last-Event-ID"] ?? "");
      let control;
      const body = new ReadableStream({ start: (given) => (control = given) });
      options.signal.addEventListener("abort", () => control.error(new Error("aborted")));
      world.say = (text) => control.enqueue(bytes(text));
      return new Response(body, { headers: { Date: new Date().toUTCString() } });
    },
  };
  const api = {
    host,
    gate: async (id) => {
      calls.one += 1;
      if (!known.has(id)) throw new ApiError(404, "gate_not_found", "No such gate");
      return known.get(id);
    },
    gates: async ({ ids }) => {
      const asked = ids.split(",");
      calls.many += 1;
      calls.most = Math.max(calls.most, asked.length);
      const gates = world.unavailable ? [] : asked.filter((id) => known.has(id)).map((id) => known.get(id));
      return { gates, total: gates.length, unavailable: world.unavailable };
    },
  };
  return Object.assign(world, { feed: new Feed(api) });
}

async function until(condition) {
  for (let look = 0; look < 2000; look += 1) {
    if (condition()) return;
    await new Promise((wake) => setTimeout(wake, 10));
  }
  assert.fail(`not in time: ${condition}`);
}

async function begun(gates = []) {
  const world = server();
  let redraws = 0;
  const opened = [];
  world.feed.addEventListener("gates", () => (redraws += 1));
  world.feed.addEventListener("opened", (event) => opened.push(event.detail.id));
  world.feed.start();
  await until(() => world.say);
  world.say(snapshot(gates));
  await until(() => redraws === 1);
  return { ...world, world, opened, redraws: () => redraws };
}

test("a snapshot of ten thousand gates comes through in pieces of any size, and is one redraw", async () => {
  const { feed, redraws } = await begun(Array.from({ length: MANY }, (_, number) => gate(number, 1, { note: "ü".repeat(300) })));
  assert.equal(feed.gates.size, MANY);
  assert.equal(redraws(), 1);
  feed.stop();
});

test("thousands of events are a few calls and a few redraws, and miss nothing", async () => {
  const { feed, say, known, calls, opened, redraws } = await begun();
  for (let number = 0; number < 3000; number += 1) {
    // Each opens, is decided and applied before anybody has read it.
    const rounds = number % 3 ? [["waiting", 1]] : [["waiting", 1], ["decided", 2], ["applied", 3]];
    for (const [status, rev] of rounds) {
      known.set(idOf(number), gate(number, rev, { status }));
      say(changed(known.get(idOf(number)), number * 3 + rev));
    }
    if (number % 500 === 0) await new Promise((wake) => setTimeout(wake, 5));
  }
  await until(() => feed.gates.size === 2000);
  assert.ok(calls.one + calls.many <= 3000 / AT_ONCE + 10, JSON.stringify(calls));
  assert.ok(calls.most <= AT_ONCE);
  assert.ok(redraws() <= calls.one + calls.many + 2, `${redraws()}`);
  assert.deepEqual(opened, [...feed.gates.keys()], "each once, and none that had ended when it was read");
  feed.stop();
});

test("a gate that changes while it is read is read again", async () => {
  const { feed, say, known, world } = await begun([gate(1), gate(2)]);
  const { gates } = world.feed.api;
  let release;
  const held = new Promise((wake) => (release = wake));
  feed.api.gates = async (filter) => {
    const answer = await gates(filter);
    await held;
    return answer;
  };
  for (const number of [1, 2]) known.set(idOf(number), gate(number, 2, { status: "decided" }));
  say(changed(known.get(idOf(1)), 2) + changed(known.get(idOf(2)), 3));
  await until(() => world.calls.many === 1);
  known.set(idOf(1), gate(1, 3, { status: "applied" }));
  say(changed(known.get(idOf(1)), 4));
  await new Promise((wake) => setTimeout(wake, 20));
  release();
  await until(() => feed.ended.get(idOf(1))?.rev === 3 && feed.gates.get(idOf(2))?.rev === 2);
  feed.stop();
});

test("what is not there any more goes; the gates of a store that is away stay, and are looked for by a new snapshot", async () => {
  const { feed, say, world } = await begun([1, 2, 3, 4].map((number) => gate(number)));
  say(changed(gate(1, 2), 2) + changed(gate(2, 2), 3));
  await until(() => feed.gates.size === 2);
  world.unavailable = "Redis does not answer";
  say(changed(gate(3, 2), 4) + changed(gate(4, 2), 5));
  await until(() => world.calls.many === 2);
  await until(() => world.cursors.length === 2);
  assert.equal(world.cursors[1], "", "from a snapshot, not from where it was");
  assert.equal(feed.gates.size, 2);
  feed.stop();
});

test("of very many that ended unseen only as many are read as are shown", async () => {
  const { feed, say, known, calls } = await begun(Array.from({ length: 5000 }, (_, number) => gate(number)));
  for (let number = 0; number < 5000; number += 1) known.set(idOf(number), gate(number, 2, { status: "applied" }));
  say(snapshot([]));
  await until(() => feed.ended.size === 50);
  assert.equal(feed.gates.size, 0);
  assert.equal(calls.many, 1);
  assert.ok(feed.ended.has(idOf(4999)));
  feed.stop();
});

test("a long event is looked at once, not anew with every piece", () => {
  const whole = bytes(`event: snapshot\n${"data: 0123456789\n".repeat(100_000)}\n`);
  const parser = new EventParser();
  const events = [];
  // In pieces this small a parser that begins anew each time would look at 30 GB.
  for (let at = 0; at < whole.length; at += 100) events.push(...parser.push(whole.subarray(at, at + 100)));
  assert.equal(events.length, 1);
  assert.equal(events[0].data.length, 100_000 * 11 - 1);
});
