/**
 * Many gates decided together: held for a while, then sent a few at a time, each with a decision
 * id of its own, so that a repeat decides nothing twice. Free of the DOM.
 */
import { ApiError, decisionId } from "../comfyui/lib/api.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */
/** @typedef {import("../comfyui/lib/feed.mjs").Feed} Feed */

/** Decisions on their way at a time: a browser opens six connections to a server, and the stream has one. */
const AT_A_TIME = 4;

/**
 * @typedef {object} Result
 * @property {number} done decided as asked
 * @property {Map<string, number>} late who had decided otherwise before, "" for nobody known -> how many
 * @property {Map<string, number>} refused why the server did not want it -> how many
 * @property {number} unknown of which it is not known whether they arrived; a repeat is safe
 * @property {number} left not sent, because it was stopped
 */

/** Event `change`. */
export class Batch extends EventTarget {
  /** @type {"held" | "sending" | "done" | "undone"} */
  state = "held";
  /** Milliseconds since the epoch, until which it is held. */
  until = 0;
  /** Why the last one did not arrive. */
  reason = "";
  /** @type {Map<string, string>} gate id -> decision id, of those not settled */
  #open = new Map();
  /** @type {Result} */
  #result = { done: 0, late: new Map(), refused: new Map(), unknown: 0, left: 0 };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #stopped = false;
  #halted = false;

  /**
   * @param {string[]} ids of the gates
   * @param {{kind: "route" | "cancel", route: number}} choice
   * @param {{api: Api, feed: Feed, by: string, seconds: number}} how `seconds` for which it is held
   */
  constructor(ids, choice, { api, feed, by, seconds }) {
    super();
    this.choice = choice;
    this.api = api;
    this.feed = feed;
    this.by = by;
    this.total = ids.length;
    for (const id of ids) this.#open.set(id, decisionId());
    this.until = Date.now() + 1000 * seconds;
    if (seconds) this.#timer = setTimeout(() => this.send(), 1000 * seconds);
    else void this.send();
  }

  /** Gates of which the decision is settled. */
  get settled() {
    return this.total - this.#open.size;
  }

  /** @returns {Result} */
  get result() {
    const rest = this.state === "done" ? this.#open.size : 0;
    return { ...this.#result, unknown: this.#stopped ? 0 : rest, left: this.#stopped ? rest : 0 };
  }

  /** Whether the gate's decision is held or on its way here. @param {string} id */
  has(id) {
    return this.state !== "done" && this.state !== "undone" && this.#open.has(id);
  }

  /** Sends nothing more: all of it is undone while it is held, else what was not sent yet. */
  stop() {
    clearTimeout(this.#timer);
    this.#stopped = true;
    if (this.state === "held") {
      this.state = "undone";
      this.#changed();
    }
  }

  /** Sends what is not settled, now. */
  async send() {
    if (this.state === "sending" || this.state === "undone") return;
    clearTimeout(this.#timer);
    this.state = "sending";
    this.#stopped = this.#halted = false;
    this.reason = "";
    this.#changed();
    const ids = [...this.#open.keys()];
    const one = async () => {
      for (let id = ids.shift(); id !== undefined && !this.#stopped && !this.#halted; id = ids.shift()) await this.#decide(id);
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, one));
    this.state = "done";
    this.#changed();
  }

  /** @param {string} id */
  async #decide(id) {
    const { kind, route } = this.choice;
    const more = { by: this.by, decision_id: /** @type {string} */ (this.#open.get(id)) };
    try {
      const gate = await (kind === "route" ? this.api.route(id, route, more) : this.api.cancel(id, more));
      this.#result.done += 1;
      this.#open.delete(id);
      this.feed.take(gate);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const { status, message, details } = error;
      if (status === 0 || status === 429 || status >= 500) {
        this.reason = message;
        // The server is not there: the others would fail too, and are not worth the wait.
        if (status === 0) this.#halted = true;
      } else {
        this.#open.delete(id);
        if (status === 409) count(this.#result.late, details?.decision?.by ?? "");
        else count(this.#result.refused, message);
        if (status === 409 || status === 404) void this.feed.look(id);
      }
    }
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {Map<string, number>} counts @param {string} name */
function count(counts, name) {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}

/**
 * The routes that all these gates have, each with its labels and how many gates call it so.
 * @param {any[]} gates
 * @returns {{route: number, labels: Map<string, number>}[]}
 */
export function sharedRoutes(gates) {
  const least = gates.length ? gates.reduce((routes, gate) => Math.min(routes, gate.routes), Infinity) : 0;
  return Array.from({ length: least }, (_, index) => {
    const labels = new Map();
    for (const gate of gates) count(labels, gate.labels[index] ?? "");
    return { route: index + 1, labels };
  });
}
