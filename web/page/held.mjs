/**
 * Decisions that wait a few seconds before they are sent, so that they can be undone; and, once
 * sent, can be taken back until they are carried out. Free of the DOM.
 *
 * Nothing is lost: what is held or not settled is kept in the tab's storage, so that a page that
 * crashed or was reloaded goes on with it under the same decision id; a page that is left sends
 * what it holds at once.
 */
import { ApiError, decisionId } from "../comfyui/lib/api.mjs";
import { labelsOfGate } from "../comfyui/lib/gate-choice.mjs";
import { isOpen, routeName } from "../comfyui/lib/gate-state.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("../comfyui/lib/gate-decisions.mjs").Decisions} Decisions */
/** @typedef {import("../comfyui/lib/gate-decisions.mjs").Choice} Choice */
/** @typedef {import("../comfyui/lib/feed.mjs").Feed} Feed */

/** @typedef {{kind?: "route" | "cancel", route?: number, text?: string, chosen?: number[]}} Made what a person decided */
/**
 * @typedef {Choice & {gateId: string, title: string, name: string, state: "held" | "sent" | "done", until: number}} Held
 *   `title` of the gate and `name` of the route ("" for a stop) are for people; `held` until
 *   `until` (milliseconds since the epoch), then `sent` until the server has settled it, then
 *   `done`: it stands, and may be taken back until it is carried out
 */

const KEY = "gatebus.held";

/** Milliseconds for which a decision that stands is still offered to be taken back. */
const OFFERED = 12_000;

/**
 * Events: `change` when any of them is another; `overtaken` (detail: {held, gate}) when somebody
 * else was first; `late` (detail: {gate, reason}) when it was too late to take one back.
 */
export class HeldDecisions extends EventTarget {
  /** @type {Map<string, Held>} gate id -> its decision, in the order in which they were made */
  #all = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {object} parts
   * @param {Decisions} parts.decisions
   * @param {Feed} parts.feed
   * @param {() => number} parts.seconds for which a decision is held
   * @param {Pick<Storage, "getItem" | "setItem" | "removeItem">} parts.storage
   * @param {Pick<BroadcastChannel, "postMessage" | "addEventListener">} [parts.channel] to the other tabs: one that
   *   was duplicated holds the same decisions
   */
  constructor({ decisions, feed, seconds, storage, channel }) {
    super();
    this.decisions = decisions;
    this.feed = feed;
    this.seconds = seconds;
    this.storage = storage;
    this.channel = channel;
    channel?.addEventListener("message", (/** @type {any} */ { data }) => this.#undoneElsewhere(String(data)));
    decisions.addEventListener("change", (event) => this.#settled(/** @type {CustomEvent} */ (event).detail));
    feed.addEventListener("gates", () => this.#look());
    for (const held of this.#read()) {
      this.#all.set(held.gateId, held);
      if (held.state === "sent") this.#pass(held);
    }
    this.#wake();
  }

  /** All, the first made first. @returns {Held[]} */
  get all() {
    return [...this.#all.values()];
  }

  /** What is held at the gate, or on its way from here. @param {string} gateId @returns {Held | undefined} */
  of(gateId) {
    return this.#all.get(gateId);
  }

  /** Whether a decision about the gate was made here and not undone. @param {string} gateId */
  has(gateId) {
    return this.#all.has(gateId);
  }

  /**
   * Holds that decision instead of another one that is held at the gate, or that the server did not take.
   * @param {any} gate
   * @param {Made} choice
   * @returns {boolean} whether it is held or sent now
   */
  hold(gate, { kind = "route", route = 0, text, chosen }) {
    if (!isOpen(gate) || (kind === "route" && (route < 1 || route > gate.routes))) return false;
    if (this.decisions.of(gate.id)?.state === "sending") return false;
    const some = chosen?.length ? ` (${t("choice.some", { count: chosen.length, batch: gate.batch })})` : "";
    const name = kind === "route" ? routeName(route, labelsOfGate(gate)) + some : "";
    const until = Date.now() + 1000 * this.seconds();
    this.#all.delete(gate.id);
    this.decisions.dismiss(gate.id);
    this.#all.set(gate.id, { gateId: gate.id, title: gate.title, name, kind, route, text, chosen, id: decisionId(), state: "held", until });
    this.#changed();
    return true;
  }

  /**
   * Undoes what is held at the gate, or what was held last; nothing was sent then.
   * @param {string} [gateId]
   * @returns {Held | undefined} what was undone
   */
  undo(gateId = this.all.filter((held) => held.state === "held").at(-1)?.gateId) {
    const held = this.#all.get(gateId ?? "");
    if (held?.state !== "held") return undefined;
    this.#all.delete(held.gateId);
    this.channel?.postMessage(held.id);
    this.#changed();
    return held;
  }

  /** Sends what is held at the gate now. @param {string} gateId */
  send(gateId) {
    const held = this.#all.get(gateId);
    if (held?.state !== "held") return;
    held.state = "sent";
    // Kept before it goes out: whatever happens to this page, it is then repeated, not lost.
    this.#write();
    this.#pass(held);
    this.#changed();
  }

  /** @param {Held} held */
  #pass(held) {
    // Another one of the same gate, made elsewhere on this page, is on its way: this one follows it.
    if (this.decisions.of(held.gateId)?.state === "sending") Object.assign(held, { state: "held", until: Date.now() + 1000 });
    else void this.decisions.send(held.gateId, held);
  }

  /** Sends all that is held now: the page is being left. */
  flush() {
    for (const { gateId } of this.all) this.send(gateId);
  }

  /** No longer offers to take it back, or gives up what the server refused. @param {string} gateId */
  dismiss(gateId) {
    if (this.#all.get(gateId)?.state === "held" || this.decisions.of(gateId)?.state === "sending") return;
    this.#all.delete(gateId);
    this.decisions.dismiss(gateId);
    this.#changed();
  }

  /**
   * Takes back the decision that stands at the gate, whoever made it.
   * @param {any} gate
   * @returns {Promise<boolean>} whether the gate is open again; throws ApiError for what is neither that nor too late
   */
  async takeBack(gate) {
    try {
      const open = await this.decisions.api.takeBack(gate.id, gate.decision.id, this.decisions.name());
      this.#forget(gate.id);
      this.feed.take(open);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) throw error;
      this.#forget(gate.id);
      await this.feed.look(gate.id);
      this.dispatchEvent(new CustomEvent("late", { detail: { gate, reason: error.message } }));
      return false;
    } finally {
      this.#changed();
    }
    return true;
  }

  /** Nothing of it is repeated. @param {string} gateId */
  #forget(gateId) {
    this.#all.delete(gateId);
    this.decisions.dismiss(gateId);
  }

  /** What was tried at the gate went out, failed or is over. @param {string} gateId */
  #settled(gateId) {
    const held = this.#all.get(gateId);
    if (!held || held.state !== "sent") return;
    const attempt = this.decisions.of(gateId);
    if (attempt?.state === "late") {
      this.#all.delete(gateId);
      void this.feed.look(gateId).then(() => this.#overtaken(held));
    } else if (!attempt) {
      held.state = "done";
      held.until = Date.now() + OFFERED;
    }
    this.#changed();
  }

  /** The gates are others: what is held at one that somebody else decided is dropped. */
  #look() {
    for (const held of this.all) {
      const gate = this.#gate(held.gateId);
      if (!gate) continue;
      const made = gate.decision?.id === held.id;
      if (held.state === "held" && !isOpen(gate)) {
        this.#all.delete(held.gateId);
        this.#changed();
        this.#overtaken(held);
      } else if (held.state === "sent" && made) {
        // It had arrived, only the answer had not.
        this.decisions.dismiss(held.gateId);
      } else if (held.state === "done" && (!made || gate.status !== "decided")) {
        // Taken back by whomever, or carried out.
        this.#all.delete(held.gateId);
        this.#changed();
      }
    }
  }

  /** @param {Held} held */
  #overtaken(held) {
    const gate = this.#gate(held.gateId);
    this.decisions.dismiss(held.gateId);
    // The same decision, made by another tab that held it too, is nobody's loss.
    if (gate?.decision?.id !== held.id) this.dispatchEvent(new CustomEvent("overtaken", { detail: { held, gate } }));
  }

  /** @param {string} id the decision's */
  #undoneElsewhere(id) {
    for (const held of this.all) {
      if (held.id !== id || held.state !== "held") continue;
      this.#all.delete(held.gateId);
      this.#changed();
    }
  }

  /** @param {string} gateId @returns {any} */
  #gate(gateId) {
    return this.feed.gates.get(gateId) ?? this.feed.ended.get(gateId);
  }

  #changed() {
    this.#write();
    this.#wake();
    this.dispatchEvent(new Event("change"));
  }

  /** Sends what was held long enough, and comes again when the next one was. */
  #wake() {
    clearTimeout(this.#timer);
    const now = Date.now();
    let next = Infinity;
    for (const held of this.all) {
      if (held.state === "sent") continue;
      // A clock that was set back holds nothing longer than it was meant.
      held.until = Math.min(held.until, now + 1000 * Math.max(this.seconds(), OFFERED / 1000));
      if (held.until > now) next = Math.min(next, held.until);
      else if (held.state === "held") return this.send(held.gateId);
      else {
        this.#all.delete(held.gateId);
        return this.#changed();
      }
    }
    if (next < Infinity) this.#timer = setTimeout(() => this.#wake(), next - now);
  }

  #write() {
    const kept = this.all.filter((held) => held.state !== "done");
    try {
      if (kept.length) this.storage.setItem(KEY, JSON.stringify(kept));
      else this.storage.removeItem(KEY);
    } catch (error) {
      // No room, or no storage at all: it is held and sent all the same.
      console.warn("gatebus: held decisions are not kept over a crash of this tab", error);
    }
  }

  /** @returns {Held[]} */
  #read() {
    try {
      const kept = JSON.parse(this.storage.getItem(KEY) ?? "[]");
      return Array.isArray(kept) ? kept.filter((held) => held?.gateId && held.id && held.state !== "done") : [];
    } catch {
      // What another program left there is no decision of ours.
      return [];
    }
  }
}
