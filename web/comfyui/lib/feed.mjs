/**
 * What waits on the farm, kept up to date: the event stream is followed over reconnects, and the
 * state always comes from the server. Free of ComfyUI.
 */

import { ChangedGates } from "./changed-gates.mjs";
import { EventParser } from "./event-parser.mjs";

export { EventParser };

/** @typedef {import("./api.mjs").Api} Api */

const ENDED = new Set(["applied", "cancelled", "expired"]);
/** Events that are told as they come. */
const NAMED = new Set(["bus", "pool", "instance", "job"]);
/** Milliseconds without a byte (heartbeats come every 15 s) before the stream counts as dead. */
const SILENCE = 40_000;
/** Gates that ended and are still shown with who decided. */
const REMEMBERED = 50;

/**
 * The gates of the farm, and a word when a bus or pool changed.
 *
 * Events: `gates` (the set or one of its gates changed), `opened` (detail: the gate, only for one
 * that opened after the feed began), `bus`, `pool`, `instance`, `job` (detail: the event's data),
 * `reset` (buses, pools, instances and jobs may have changed unseen), `connection`.
 */
export class Feed extends EventTarget {
  /** @type {Map<string, any>} gate id -> gate, live ones */
  gates = new Map();
  /** @type {Map<string, any>} gate id -> gate, the last that ended */
  ended = new Map();
  /** Whether the stream stands. */
  connected = false;
  /** Why the shared store can't be reached, "" when it can. */
  unavailable = "";
  /** Why the server refuses the stream (a token that is wrong, say), "" when it does not. */
  refused = "";
  /** Milliseconds by which the server's clock is ahead of this one's. */
  #ahead = 0;
  #cursor = "";
  /** Whether the store's data set is another one now, so that older revisions count again. */
  #reset = false;
  /** @type {object | null} the loop that follows, null while stopped */
  #loop = null;
  /** Whether a first snapshot was taken: what is new in a later one opened meanwhile. */
  #begun = false;
  /** @type {AbortController | null} */
  #abort = null;
  /** @type {ChangedGates} */
  #changed;

  /** @param {Api} api */
  constructor(api) {
    super();
    this.api = api;
    this.#changed = new ChangedGates(api, {
      knows: (id, rev) => (this.#known(id)?.rev ?? -1) >= rev,
      found: (gates, missing) => this.#found(gates, missing),
      failed: () => {
        // The state is not known: the next snapshot tells it.
        this.#cursor = "";
        setTimeout(() => this.refresh(), 1000);
      },
    });
  }

  /** Whether it follows the stream, or tries to. */
  get running() {
    return this.#loop !== null;
  }

  /** Follows the stream until {@link stop}, from where it was; may be called again. */
  start() {
    if (this.#loop) return;
    this.#loop = {};
    void this.#follow(this.#loop);
  }

  stop() {
    this.#loop = null;
    this.#abort?.abort();
  }

  /** Looks again at once: the page came back, or ComfyUI's own socket reconnected. */
  refresh() {
    this.#abort?.abort();
  }

  /** Milliseconds since the epoch, by the server's clock (to a second). */
  now() {
    return Date.now() + this.#ahead;
  }

  /** Reads one gate anew. @param {string} id */
  async look(id) {
    try {
      this.take(await this.api.gate(id));
    } catch (error) {
      if (/** @type {any} */ (error).status === 404) this.#found([], [id]);
      else this.#changed.add(id);
    }
  }

  /** Reads these anew, soon, in few calls. @param {string[]} ids */
  lookAll(ids) {
    for (const id of ids) this.#changed.add(id);
  }

  /** Takes gates as an answer of the server shows them; an older one than is known is dropped. @param {...any} gates */
  take(...gates) {
    this.#found(gates, []);
  }

  /** Takes what was read. @param {any[]} gates @param {string[]} missing ids of gates that are not there */
  #found(gates, missing) {
    const opened = gates.filter((gate) => {
      const known = this.#known(gate.id);
      if (known && known.rev > gate.rev) return false;
      this.#put(gate);
      return !known && gate.status === "waiting";
    });
    for (const id of missing) this.gates.delete(id);
    this.dispatchEvent(new Event("gates"));
    for (const gate of opened) this.dispatchEvent(new CustomEvent("opened", { detail: gate }));
  }

  /** @param {string} id */
  #known(id) {
    return this.gates.get(id) ?? this.ended.get(id);
  }

  /** @param {any} gate */
  #put(gate) {
    if (!ENDED.has(gate.status)) {
      this.gates.set(gate.id, gate);
      return;
    }
    this.gates.delete(gate.id);
    this.ended.set(gate.id, gate);
    for (const id of this.ended.keys()) {
      if (this.ended.size <= REMEMBERED) break;
      this.ended.delete(id);
    }
  }

  /** @param {object} loop */
  async #follow(loop) {
    let pause = 500;
    while (this.#loop === loop) {
      this.#abort = new AbortController();
      const { signal } = this.#abort;
      try {
        await this.#read(signal);
        pause = 500;
      } catch (error) {
        if (!signal.aborted) pause = Math.min(pause * 2, 10_000);
      }
      // Stopped and started again: the newer loop says whether the stream stands.
      if (this.#loop && this.#loop !== loop) return;
      this.#connected(false);
      if (this.#loop && !signal.aborted) await passed(pause, signal);
    }
  }

  /** @param {AbortSignal} signal */
  async #read(signal) {
    const abort = /** @type {AbortController} */ (this.#abort);
    /** @type {Record<string, string>} */
    const headers = this.#cursor ? { "Last-Event-ID": this.#cursor } : {};
    const response = await this.api.host.fetch("/gatebus/events", {
      signal,
      headers: { Accept: "text/event-stream", ...headers },
    });
    if (!response.ok || !response.body) {
      const answer = await response.json().catch(() => null);
      this.refused = answer?.error?.message ?? `The server answered ${response.status}`;
      this.dispatchEvent(new Event("connection"));
      throw new Error(`events: ${response.status}`);
    }
    this.refused = "";
    const date = Date.parse(response.headers.get("Date") ?? "");
    // The header knows whole seconds: less than two is no difference.
    this.#ahead = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
    const reader = response.body.getReader();
    const parser = new EventParser();
    this.#connected(true);
    let silence = setTimeout(() => abort.abort(), SILENCE);
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(() => abort.abort(), SILENCE);
        for (const event of parser.push(value)) this.#handle(event);
      }
    } finally {
      clearTimeout(silence);
      // Also after a message that can't be read: the stream is begun anew, not left open.
      void reader.cancel().catch(() => undefined);
    }
  }

  /** @param {{id: string, event: string, data: string}} event */
  #handle({ id, event, data }) {
    const content = JSON.parse(data);
    if (id) this.#cursor = id;
    if (event === "snapshot") this.#snapshot(content);
    else if (event === "gate") {
      if ((this.#known(content.id)?.rev ?? -1) < content.rev) this.#changed.add(content.id, content.rev);
    }
    else if (event === "status") {
      this.unavailable = content.unavailable ?? "";
      this.dispatchEvent(new Event("connection"));
    } else if (event === "reset") {
      this.#reset = true;
      this.dispatchEvent(new Event("reset"));
    } else if (NAMED.has(event)) this.dispatchEvent(new CustomEvent(event, { detail: content }));
  }

  /** @param {{gates: any[], unavailable: string}} content */
  #snapshot(content) {
    this.unavailable = content.unavailable ?? "";
    const gone = new Set(this.gates.keys());
    const fresh = [];
    if (this.#reset) this.ended.clear();
    for (const gate of content.gates) {
      const known = this.#known(gate.id);
      // One that was made to run again is decided from the start.
      if (!gone.delete(gate.id) && !known && this.#begun && !gate.decision) fresh.push(gate);
      // What an answer told meanwhile may be newer than the snapshot.
      if (!known || this.#reset || known.rev <= gate.rev) this.gates.set(gate.id, gate);
    }
    this.#begun = true;
    this.#reset = false;
    for (const id of gone) this.gates.delete(id);
    // They ended unseen: who decided is still to be shown.
    for (const id of [...gone].slice(-REMEMBERED)) this.#changed.add(id);
    this.dispatchEvent(new Event("gates"));
    for (const gate of fresh) this.dispatchEvent(new CustomEvent("opened", { detail: gate }));
    this.dispatchEvent(new Event("connection"));
  }

  /** @param {boolean} connected */
  #connected(connected) {
    if (this.connected === connected) return;
    this.connected = connected;
    this.dispatchEvent(new Event("connection"));
  }
}

/**
 * Ends after that time, or at once when the signal is given.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function passed(milliseconds, signal) {
  return new Promise((wake) => {
    const timer = setTimeout(wake, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), wake()), { once: true });
  });
}
