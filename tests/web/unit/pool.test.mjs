import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../../../web/comfyui/lib/api.mjs";
import { EMPTY, activated, labelled, moved, removed, reordered, withSlots } from "../../../web/comfyui/lib/pool-edits.mjs";
import { Pool } from "../../../web/comfyui/lib/pool.mjs";
import { Pools, freshPoolId } from "../../../web/comfyui/lib/pools.mjs";

/** @param {string} file */
const slot = (file) => ({ file, label: "", mask: "", added: 1, digest: file, mask_digest: "" });
/** @param {string} files @param {string} [active] */
const state = (files, active = files[0] ?? "") => ({ name: "", active, slots: [...files].map(slot), rev: 1 });
/** @param {{slots: readonly {file: string}[]}} of */
const order = (of) => of.slots.map((each) => each.file).join("");

test("edits do what the server's do", () => {
  assert.equal(order(removed(["b", "d"])(state("abcd"))), "ac");
  assert.equal(removed(["b", "c"])(state("abcd", "b")).active, "d", "the right neighbour becomes active");
  assert.equal(removed(["c", "d"])(state("abcd", "c")).active, "b", "else the left one");
  assert.equal(removed(["a"])(state("a")).active, "");
  assert.equal(order(moved(["d", "b"], "a")(state("abcd"))), "dbac");
  assert.equal(order(moved(["a"], null)(state("abc"))), "bca");
  assert.equal(order(reordered(["c", "a", "b"])(state("abc"))), "cab");
  assert.equal(activated("z")(state("ab")).active, "a", "a slot that is not there is no active one");
  assert.equal(labelled("b", "x")(state("ab")).slots[1].label, "x");
  assert.equal(order(withSlots([slot("x")], "b")(state("ab"))), "axb");
  assert.equal(withSlots([slot("x")], null)(EMPTY).active, "x");
});

test("an edit done twice is done once", () => {
  for (const edit of [removed(["b"]), moved(["c"], "a"), reordered(["c", "b", "a"]), activated("b"), labelled("a", "x"), withSlots([slot("x")], "a")]) {
    const once = edit(state("abc"));
    assert.deepEqual(edit(once), once);
  }
});

/** A server of one pool whose answers wait until the test lets them go. */
class Server {
  host = { fetch: async () => new Response(), url: (/** @type {string} */ path) => path };
  /** @type {import("../../../web/comfyui/lib/pool-edits.mjs").State | null} */
  state = state("abcd");
  looks = 0;
  /** @type {any[]} */
  calls = [];
  /** @type {Error | null} thrown by the next edit */
  refusal = null;
  /** @type {Promise<unknown>} */
  gate = Promise.resolve();

  async pool() {
    this.looks += 1;
    const seen = this.state;
    await this.gate;
    return seen ?? EMPTY;
  }

  /** @param {string} method @param {string} id @param {string} rest @param {any} options */
  async poolCall(method, id, rest, { json }) {
    this.calls.push([method, rest, json]);
    await this.gate;
    const { refusal } = this;
    this.refusal = null;
    if (refusal) throw refusal;
    const path = rest.split("?")[0];
    /** @type {Record<string, any>} */
    const edits = { "/slots/remove": () => removed(json.files), "/slots/move": () => moved(json.files, json.before), "/activate": () => activated(json.file), "/slots": () => withSlots([slot("n")], null) };
    this.edit((edits[path] ?? (() => (/** @type {any} */ s) => s))());
    return { rev: this.state?.rev, slots: path === "/slots" ? [slot("n")] : [], added: ["n"] };
  }

  /** As somebody else does. @param {(s: any) => any} edit */
  edit(edit) {
    const { rev } = this.state ?? EMPTY;
    this.state = { ...edit(this.state ?? EMPTY), rev: rev + 1 };
    return this.state.rev;
  }
}

/** @param {() => boolean} condition */
async function until(condition) {
  for (const end = Date.now() + 3000; !condition(); ) {
    assert.ok(Date.now() < end, "never came true: " + condition);
    await new Promise((wake) => setTimeout(wake, 2));
  }
}

async function open() {
  const server = new Server();
  const feed = new EventTarget();
  const pool = new Pool("p", /** @type {any} */ (server), /** @type {any} */ (feed));
  await until(() => pool.loaded);
  /** @param {any} data */
  const tell = (data) => feed.dispatchEvent(Object.assign(new Event("pool"), { detail: { id: "p", ...data } }));
  return { server, feed, pool, tell };
}

/** @param {Server} server @returns {() => void} lets the answers go */
function hold(server) {
  let free = () => {};
  server.gate = new Promise((done) => (free = () => done(undefined)));
  return free;
}

test("an edit shows before the server has answered, and costs no look at the pool", async () => {
  const { server, pool, tell } = await open();
  const free = hold(server);
  const made = pool.remove(["b"]);
  assert.equal(order(pool.state), "acd");
  free();
  assert.equal(await made, true);
  tell({ rev: server.state?.rev });
  await new Promise((wake) => setTimeout(wake, 100));
  assert.equal(order(pool.state), "acd");
  assert.equal(pool.state.rev, 2);
  assert.equal(server.looks, 1);
  pool.close();
});

test("an edit that is refused is taken back, what came after it stays", async () => {
  const { server, pool } = await open();
  /** @type {string[]} */
  const errors = [];
  pool.addEventListener("error", (event) => errors.push(/** @type {any} */ (event).detail.message));
  server.refusal = new ApiError(404, "slot_not_found", "gone already");
  const [first, second] = await Promise.all([pool.remove(["b"]), pool.move(["d"], "a")]);
  assert.deepEqual([first, second], [false, true]);
  assert.deepEqual(errors, ["gone already"]);
  assert.equal(order(pool.state), "dabc");
  await until(() => server.looks === 2);
  await until(() => pool.state.rev === 2);
  assert.equal(order(pool.state), "dabc");
  pool.close();
});

test("edits are sent one after another, in their order", async () => {
  const { server, pool } = await open();
  const free = hold(server);
  const all = [pool.activate("c"), pool.remove(["a"]), pool.move(["d"], "b")];
  assert.equal(order(pool.state), "dbc");
  assert.equal(pool.state.active, "c");
  await until(() => server.calls.length === 1);
  free();
  await Promise.all(all);
  assert.deepEqual(server.calls.map((call) => call[1]), ["/activate?brief=1", "/slots/remove?brief=1", "/slots/move?brief=1"]);
  assert.equal(order(server.state ?? EMPTY), order(pool.state));
  pool.close();
});

test("others' edits come by the feed; many at once are one look or two", async () => {
  const { server, pool, tell } = await open();
  for (let count = 0; count < 20; count++) tell({ rev: server.edit(labelled("a", String(count))) });
  await until(() => pool.state.slots[0].label === "19");
  assert.ok(server.looks <= 3, `${server.looks} looks`);
  tell({ rev: 3 });
  tell({ id: "another", rev: 99 });
  const { looks } = server;
  await new Promise((wake) => setTimeout(wake, 100));
  assert.equal(server.looks, looks, "what is known already, and other pools, are no reason to look");
  pool.close();
});

test("another's edit between two of ours is not missed", async () => {
  const { server, pool } = await open();
  server.edit(labelled("a", "theirs"));
  await pool.remove(["b"]);
  await until(() => pool.state.slots[0].label === "theirs");
  assert.equal(order(pool.state), "acd");
  assert.equal(pool.state.rev, 3);
  pool.close();
});

test("a look that was under way while we edited does not take the edit back", async () => {
  const { server, pool, tell } = await open();
  const free = hold(server);
  tell({ rev: server.edit(labelled("a", "x")) });
  await until(() => server.looks === 2);
  const made = pool.remove(["b"]);
  free();
  await made;
  for (let count = 0; count < 20; count++) {
    assert.equal(order(pool.state), "acd");
    await new Promise((wake) => setTimeout(wake, 10));
  }
  assert.equal(pool.state.slots[0].label, "x");
  pool.close();
});

test("a pool that is not there is an empty one, until somebody fills it", async () => {
  const { server, pool, tell } = await open();
  server.state = null;
  tell({ deleted: true });
  await until(() => pool.state.slots.length === 0);
  assert.equal(pool.failure, "");
  await pool.add(new Blob(["x"], { type: "image/png" }), { label: "l" });
  assert.equal(order(pool.state), "n");
  assert.equal(pool.state.active, "n");
  pool.close();
});

test("a feed that may have missed something makes it look again", async () => {
  const { server, feed, pool } = await open();
  server.edit(labelled("a", "unseen"));
  feed.dispatchEvent(new Event("reset"));
  await until(() => pool.state.slots[0].label === "unseen");
  pool.close();
  feed.dispatchEvent(new Event("reset"));
  const { looks } = server;
  await new Promise((wake) => setTimeout(wake, 60));
  assert.equal(server.looks, looks, "closed: it looks no more");
});

test("places that show the same pool share it, and the last one closes it", async () => {
  const server = new Server();
  const pools = new Pools(/** @type {any} */ (server), /** @type {any} */ (new EventTarget()));
  const [first, second] = [pools.take("p"), pools.take("p")];
  assert.equal(first, second);
  assert.equal(pools.users("p"), 2);
  pools.release(first);
  assert.equal(pools.users("p"), 1);
  pools.release(second);
  assert.equal(pools.users("p"), 0);
  const third = pools.take("p");
  assert.notEqual(third, first);
  pools.release(third);
  assert.match(freshPoolId(), /^pool_[0-9a-f]{8}$/);
});
