/**
 * Many gates decided together: held for a while, then sent in a few calls under one decision id, so
 * that a repeat decides nothing twice. Free of the DOM.
 *
 * What is not settled is given as plain data, so that a page that was reloaded goes on with it; a
 * page that is left sends it at once, in calls that outlive it.
 */
import { ApiError } from "../comfyui/lib/api.mjs";
import { labelsOfGate } from "../comfyui/lib/gate-choice.mjs";

/** @typedef {import("../comfyui/lib/api.mjs").Api} Api */
/** @typedef {import("../comfyui/lib/feed.mjs").Feed} Feed */

/** Gates in one call; the server takes as many. */
export const IN_A_CALL = 500;
/** Calls on their way at a time: of a page that is left a browser takes 64 KiB, which these fill. */
const AT_A_TIME = 3;
/** Seconds after which what did not arrive goes out again, the last from then on. */
const PAUSES = [2, 4, 8, 16, 30];

/**
 * @typedef {object} Kept
 * @property {string[]} ids of the gates that are not settled
 * @property {number} route 0 for a stop
 * @property {string} name of the route, for people
 * @property {string} id the decision's, the same at every gate
 * @property {string} by who decides
 * @property {number} until milliseconds since the epoch, until which it is held
 * @property {boolean} sent whether it went out, to whatever end
 *
 * @typedef {object} Result
 * @property {number} done decided as asked
 * @property {Map<string, number>} late who had decided otherwise before, "" for nobody known -> how many
 * @property {Map<string, number>} refused why the server did not want it -> how many
 * @property {number} left not sent, because it was stopped
 */

/** Event `change`. */
export class Batch extends EventTarget {
  /** `unknown`: some may not have arrived and go out again. @type {"held" | "sending" | "unknown" | "done" | "undone"} */
  state = "held";
  /** Why the last one did not arrive. */
  reason = "";
  /** @type {Result} */
  result = { done: 0, late: new Map(), refused: new Map(), left: 0 };
  /** @type {Set<string>} gates that are not settled */
  #open;
  #tries = 0;
  #stopped = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {Kept} kept @param {{api: Pick<Api, "routeAll">, feed: Pick<Feed, "take" | "lookAll">}} server */
  constructor(kept, { api, feed }) {
    super();
    this.kept = kept;
    this.api = api;
    this.feed = feed;
    this.total = kept.ids.length;
    this.#open = new Set(kept.ids);
  }

  /** Begins to wait until it is sent, or goes on sending. */
  start() {
    const wait = this.kept.until - Date.now();
    if (this.kept.sent || wait <= 0) void this.send();
    else this.#timer = setTimeout(() => void this.send(), wait);
  }

  /** Whether there is nothing left to do. */
  get over() {
    return this.state === "done" || this.state === "undone";
  }

  /** Gates of which the decision is settled. */
  get settled() {
    return this.total - this.#open.size;
  }

  /** Whether not all of it goes out when the page is left now. */
  get endangered() {
    return this.state === "unknown" || this.#open.size > IN_A_CALL * AT_A_TIME;
  }

  /** @returns {Kept} what is to be kept over a reload */
  get rest() {
    return { ...this.kept, ids: [...this.#open], sent: this.state !== "held" };
  }

  /** Whether the gate's decision is held or on its way here. @param {string} id */
  has(id) {
    return !this.over && this.#open.has(id);
  }

  /** Leaves out a gate for which another decision is made, while it is held. @param {string} id */
  drop(id) {
    if (this.state !== "held" || !this.#open.delete(id)) return;
    this.total -= 1;
    if (!this.#open.size) this.stop();
    this.#changed();
  }

  /** Sends nothing more: all of it is undone while it is held, else what was not sent yet. */
  stop() {
    clearTimeout(this.#timer);
    if (this.state === "held") this.#become("undone");
    else if (this.state === "unknown") this.#end();
    else this.#stopped = true;
  }

  /** Sends what is not settled, now. */
  async send() {
    if (this.state === "sending" || this.over) return;
    clearTimeout(this.#timer);
    this.reason = "";
    this.#become("sending");
    const ids = [...this.#open];
    const one = async () => {
      while (ids.length && !this.#stopped && !this.reason) await this.#decide(ids.splice(0, IN_A_CALL));
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, one));
    if (!this.#open.size || this.#stopped) return this.#end();
    this.#become("unknown");
    this.#timer = setTimeout(() => void this.send(), 1000 * PAUSES[Math.min(this.#tries, PAUSES.length - 1)]);
    this.#tries += 1;
  }

  #end() {
    this.result.left = this.#open.size;
    this.#become("done");
  }

  /** @param {string[]} ids */
  async #decide(ids) {
    const { route, by, id } = this.kept;
    /** @type {string[]} */
    const others = [];
    try {
      const { gates, refused } = await this.api.routeAll(ids, route, { by, decision_id: id });
      for (const gate of gates) this.#open.delete(gate.id);
      this.result.done += gates.length;
      this.feed.take(...gates);
      for (const { id: gateId, status, message, details } of refused) {
        this.#refuse(gateId, status, message, details);
        if (status === 409 || status === 404) others.push(gateId);
      }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      for (const gateId of ids) this.#refuse(gateId, error.status, error.message, {});
    }
    if (others.length) this.feed.lookAll(others);
    this.#changed();
  }

  /** @param {string} gateId @param {number} status @param {string} message @param {any} details */
  #refuse(gateId, status, message, details) {
    // Not known whether it was made: the server is not there, or did not get to it.
    if (status === 0 || status === 429 || status >= 500) return void (this.reason = message);
    this.#open.delete(gateId);
    if (status === 409) count(this.result.late, details?.decision?.by ?? "");
    else count(this.result.refused, message);
  }

  /** @param {Batch["state"]} state */
  #become(state) {
    this.state = state;
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
    for (const gate of gates) count(labels, labelsOfGate(gate)[index] ?? "");
    return { route: index + 1, labels };
  });
}
