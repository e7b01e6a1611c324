import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { EventParser, Feed } from "../../../web/comfyui/lib/feed.mjs";

const bytes = (text) => new TextEncoder().encode(text);
const gate = (id, rev = 1, fields = {}) => ({ id, rev, status: "waiting", ...fields });
const message = (event, data, id = "") => `${id && `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
const snapshot = (...gates) => message("snapshot", { gates, unavailable: "" }, "e.1");

/** A server whose event streams the test writes: `streams[n].say(text)`, and whose gates are a map. */
function server() {
  const streams = [];
  const known = new Map();
  const host = {
    url: (path) => path,
    fetch: async (_path, options) => {
      let control;
      const body = new ReadableStream({ start: (given) => (control = given) });
      const stream = { cursor: options.headers["Last-Event-ID"] ?? "", ended: false, say: (text) => control.enqueue(bytes(text)) };
      stream.end = () => control.close();
      options.signal.addEventListener("abort", () => {
        stream.ended = true;
        control.error(new Error("aborted"));
      });
      streams.push(stream);
      return new Response(body, { headers: { Date: new Date().toUTCString() } });
    },
  };
  const api = {
    host,
    gate: async (id) => {
      if (!known.has(id)) throw new ApiError(404, "gate_not_found", "No such gate");
      return known.get(id);
    },
  };
  return { feed: new Feed(api), streams, known };
}

/** Waits until that holds. */
async function until(condition) {
  for (let look = 0; look < 400; look += 1) {
    if (condition()) return;
    await new Promise((wake) => setTimeout(wake, 10));
  }
  assert.fail(`not in time: ${condition}`);
}

test("events are parsed over any cut, with ids, several lines of data, and comments between", () => {
  const text = ": beat\n\nid: a.1\nevent: gate\ndata: {\"x\":\ndata: \"ü\"}\n\ndata: last\n\n";
  for (let size = 1; size <= text.length; size += 1) {
    const parser = new EventParser();
    const whole = bytes(text);
    const events = [];
    for (let at = 0; at < whole.length; at += size) events.push(...parser.push(whole.slice(at, at + size)));
    assert.deepEqual(events, [
      { id: "a.1", event: "gate", data: '{"x":\n"ü"}' },
      { id: "", event: "message", data: "last" },
    ]);
  }
});

test("what waits comes from the snapshot; what changes is read from the server", async () => {
  const { feed, streams, known } = server();
  const opened = [];
  feed.addEventListener("opened", (event) => opened.push(event.detail.id));
  feed.start();
  await until(() => streams.length === 1);
  streams[0].say(snapshot(gate("a")));
  await until(() => feed.gates.has("a"));
  known.set("b", gate("b"));
  streams[0].say(message("gate", { id: "b", rev: 1, status: "waiting" }, "e.2"));
  await until(() => feed.gates.has("b"));
  known.set("a", gate("a", 3, { status: "applied" }));
  streams[0].say(message("gate", { id: "a", rev: 3, status: "applied" }, "e.3"));
  await until(() => feed.ended.has("a"));
  assert.ok(!feed.gates.has("a"));
  assert.deepEqual(opened, ["b"], "what waited before is nothing new");
  feed.stop();
});

test("a stream that breaks is begun again behind the last event; what ended meanwhile is shown with who decided", async () => {
  const { feed, streams, known } = server();
  feed.start();
  await until(() => streams.length === 1);
  streams[0].say(snapshot(gate("a")) + message("bus", { id: "cp1" }, "e.7"));
  await until(() => feed.gates.has("a"));
  streams[0].end();
  await until(() => streams.length === 2);
  assert.equal(streams[1].cursor, "e.7");
  known.set("a", gate("a", 2, { status: "applied", decision: { by: "Bo" } }));
  /** @type {string[]} */
  const opened = [];
  feed.addEventListener("opened", (event) => opened.push(/** @type {CustomEvent} */ (event).detail.id));
  // "d" was made to run again: it is decided from the start, and waits for nobody.
  streams[1].say(snapshot(gate("c"), gate("d", 1, { status: "decided", decision: { by: "Bo" } })));
  await until(() => feed.ended.get("a")?.decision.by === "Bo" && feed.gates.has("c"));
  assert.deepEqual(opened, ["c"]);
  feed.stop();
});

test("an older state never replaces a newer one, except of a data set that began anew", async () => {
  const { feed, streams } = server();
  feed.start();
  await until(() => streams.length === 1);
  feed.take(gate("a", 5, { status: "decided" }));
  feed.take(gate("a", 4));
  streams[0].say(snapshot(gate("a", 4), gate("b")));
  await until(() => feed.gates.has("b"));
  assert.equal(feed.gates.get("a").rev, 5);
  streams[0].say(message("reset", {}) + snapshot(gate("a", 1)));
  await until(() => feed.gates.get("a").rev === 1);
  feed.stop();
});

test("stopped and started at once, one stream is open", async () => {
  const { feed, streams } = server();
  for (let round = 0; round < 5; round += 1) {
    feed.start();
    feed.stop();
    feed.start();
  }
  await until(() => feed.connected);
  await new Promise((wake) => setTimeout(wake, 50));
  assert.equal(streams.filter((stream) => !stream.ended).length, 1);
  assert.ok(feed.running);
  feed.stop();
  await until(() => streams.every((stream) => stream.ended) && !feed.connected);
});

test("a refresh looks again at once, also while it pauses after a failure", async () => {
  const { feed, streams } = server();
  let calls = 0;
  const { fetch } = feed.api.host;
  feed.api.host.fetch = (...values) => (calls++ ? fetch(...values) : Promise.reject(new Error("down")));
  feed.start();
  await until(() => calls === 1);
  await new Promise((wake) => setTimeout(wake, 20));
  feed.refresh();
  await until(() => streams.length === 1);
  feed.stop();
});
