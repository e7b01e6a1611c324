/**
 * Decisions on their way to the server: each has an id of its own, kept over every repeat, so that
 * a repeat can't decide twice. Free of the DOM and of ComfyUI.
 */
import { ApiError, decisionId } from "./api.mjs";

/** @typedef {import("./api.mjs").Api} Api */
/** @typedef {import("./feed.mjs").Feed} Feed */

/**
 * @typedef {object} Attempt
 * @property {"route" | "cancel"} kind
 * @property {number} route 0 for a cancel
 * @property {string} id the decision's
 * @property {"sending" | "unknown" | "refused" | "late"} state `unknown`: it may or may not have
 *   arrived, repeat it; `refused`: the server does not want it; `late`: another one stands
 * @property {string} reason the server's words
 */

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

  /** @param {any} gate @param {number} route */
  route(gate, route) {
    return this.#begin(gate.id, "route", route);
  }

  /** Stops the run that waits there. @param {any} gate */
  cancel(gate) {
    return this.#begin(gate.id, "cancel", 0);
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

  /**
   * @param {string} gateId
   * @param {"route" | "cancel"} kind
   * @param {number} route
   */
  async #begin(gateId, kind, route) {
    const known = this.#attempts.get(gateId);
    if (known?.state === "sending") return;
    const same = known?.state === "unknown" && known.kind === kind && known.route === route;
    await this.#send(gateId, same ? known : { kind, route, id: decisionId(), state: "sending", reason: "" });
  }

  /** @param {string} gateId @param {Attempt} attempt */
  async #send(gateId, attempt) {
    attempt.state = "sending";
    this.#attempts.set(gateId, attempt);
    this.#changed(gateId);
    const more = { by: this.name(), decision_id: attempt.id };
    try {
      const { kind, route } = attempt;
      const gate = await (kind === "route" ? this.api.route(gateId, route, more) : this.api.cancel(gateId, more));
      this.#settle(gateId);
      this.feed.take(gate);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      attempt.reason = error.message;
      attempt.state = UNKNOWN(error.status) ? "unknown" : error.status === 409 ? "late" : "refused";
      this.#changed(gateId);
      if (error.status === 409 || error.status === 404) await this.feed.look(gateId);
    }
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
