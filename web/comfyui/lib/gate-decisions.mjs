/**
 * Decisions on their way to the server: each has an id of its own, kept over every repeat, so that
 * a repeat can't decide twice. Free of the DOM and of ComfyUI.
 */
import { ApiError, decisionId } from "./api.mjs";

/** @typedef {import("./api.mjs").Api} Api */
/** @typedef {import("./feed.mjs").Feed} Feed */

/**
 * @typedef {object} Choice
 * @property {"route" | "cancel"} kind
 * @property {number} route 0 for a cancel
 * @property {string} [text] that goes with it; left out, a text that is asked about goes on as it is
 * @property {number[]} [chosen] the images of the batch that go on, from 0; left out: all
 * @property {string} id the decision's
 *
 * @typedef {Choice & {state: "sending" | "unknown" | "refused" | "late", reason: string, tries: number}} Attempt
 *   `unknown`: it may or may not have arrived, repeat it; `refused`: the server does not want it;
 *   `late`: another one stands; `reason` is the server's words
 */

/** Seconds between repeats to a server that seems to be there: doubled each time, up to the last. */
const PAUSES = [2, 4, 8, 16, 30];

/** Answers after which it is not known whether the decision was made. */
const UNKNOWN = (/** @type {number} */ status) => status === 0 || status === 429 || status >= 500;

/** Event `change` (detail: the gate's id) when an attempt begins, fails or is over. */
export class Decisions extends EventTarget {
  /** @type {Map<string, Attempt>} gate id -> what was tried and is not yet settled */
  #attempts = new Map();

  /**
   * @param {Api} api
   * @param {Feed} feed
   * @param {() => string} name who decides
   */
  constructor(api, feed, name) {
    super();
    this.api = api;
    this.feed = feed;
    this.name = name;
    // What did not arrive goes out again by itself as soon as the server is back.
    feed.addEventListener("connection", () => {
      if (!feed.connected || feed.unavailable) return;
      for (const [gateId, attempt] of this.#attempts) if (attempt.state === "unknown") void this.retry(gateId);
    });
  }

  /** What was tried at the gate and is not settled. @param {string} gateId @returns {Attempt | undefined} */
  of(gateId) {
    return this.#attempts.get(gateId);
  }

  /** @param {any} gate @param {number} route @param {{text?: string, chosen?: number[]}} [more] */
  route(gate, route, more = {}) {
    return this.#begin(gate.id, { kind: "route", route, ...more });
  }

  /** Stops the run that waits there. @param {any} gate */
  cancel(gate) {
    return this.#begin(gate.id, { kind: "cancel", route: 0 });
  }

  /**
   * Sends a decision that has its id already; nothing while one is on its way.
   * @param {string} gateId
   * @param {Choice} choice
   */
  async send(gateId, { kind, route, text, chosen, id }) {
    const known = this.#attempts.get(gateId);
    if (known?.state === "sending") return;
    await this.#send(gateId, known?.id === id ? known : { kind, route, text, chosen, id, state: "sending", reason: "", tries: 0 });
  }

  /** Sends what was tried once more, as the same decision. @param {string} gateId */
  async retry(gateId) {
    const attempt = this.#attempts.get(gateId);
    if (attempt && attempt.state === "unknown") await this.#send(gateId, attempt);
  }

  /** Forgets what was tried, unless it is being sent. @param {string} gateId */
  dismiss(gateId) {
    if (this.#attempts.get(gateId)?.state !== "sending") this.#settle(gateId);
  }

  /** @param {string} gateId @param {Omit<Choice, "id">} choice */
  async #begin(gateId, choice) {
    const known = this.#attempts.get(gateId);
    const same = known?.state === "unknown" && saying(known) === saying(choice);
    await this.send(gateId, same ? known : { ...choice, id: decisionId() });
  }

  /** @param {string} gateId @param {Attempt} attempt */
  async #send(gateId, attempt) {
    attempt.state = "sending";
    this.#attempts.set(gateId, attempt);
    this.#changed(gateId);
    const more = { by: this.name(), decision_id: attempt.id };
    try {
      const { kind, route, text, chosen } = attempt;
      const routed = { ...more, ...(text !== undefined && { text }), ...(chosen?.length && { chosen }) };
      const gate = await (kind === "route" ? this.api.route(gateId, route, routed) : this.api.cancel(gateId, more));
      this.#settle(gateId);
      this.feed.take(gate);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      attempt.reason = error.message;
      attempt.state = UNKNOWN(error.status) ? "unknown" : error.status === 409 ? "late" : "refused";
      this.#changed(gateId);
      if (attempt.state === "unknown") this.#later(gateId, attempt);
      if (error.status === 409 || error.status === 404) await this.feed.look(gateId);
    }
  }

  /**
   * Repeats it by and by, where no word of a connection will: the server answers, only not this.
   * @param {string} gateId
   * @param {Attempt} attempt
   */
  #later(gateId, attempt) {
    const pause = PAUSES[Math.min(attempt.tries, PAUSES.length - 1)];
    attempt.tries += 1;
    setTimeout(() => {
      const waits = this.#attempts.get(gateId) === attempt && attempt.state === "unknown";
      if (waits && this.feed.connected && !this.feed.unavailable) void this.#send(gateId, attempt);
    }, 1000 * pause);
  }

  /** @param {string} gateId */
  #settle(gateId) {
    this.#attempts.delete(gateId);
    this.#changed(gateId);
  }

  /** @param {string} gateId */
  #changed(gateId) {
    this.dispatchEvent(new CustomEvent("change", { detail: gateId }));
  }
}

/** What a choice says, whatever its id. @param {Omit<Choice, "id">} choice */
function saying({ kind, route, text, chosen }) {
  return JSON.stringify([kind, route, text, chosen]);
}
