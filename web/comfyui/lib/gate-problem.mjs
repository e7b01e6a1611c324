/** What went wrong with a decision, and what can be done about it. Free of ComfyUI. */
import { el } from "./dom.mjs";
import { isOpen, outcomeText } from "./gate-state.mjs";
import { t } from "./i18n.mjs";

/** @typedef {import("./gate-decisions.mjs").Decisions} Decisions */
/** @typedef {import("./feed.mjs").Feed} Feed */

export class GateProblem {
  #key = "";

  /** @param {Decisions} decisions @param {Feed} feed */
  constructor(decisions, feed) {
    this.decisions = decisions;
    this.feed = feed;
    this.element = el("div", { class: "gatebus-problem", role: "alert" });
  }

  /** @param {any} gate undefined for none @param {string[]} labels of its routes */
  show(gate, labels) {
    const parts = gate ? this.#parts(gate, labels) : [];
    const key = parts.map((part) => (typeof part === "string" ? part : part.textContent)).join("|");
    if (key === this.#key) return;
    this.#key = key;
    this.element.replaceChildren(...parts);
  }

  /** @param {any} gate @param {string[]} labels @returns {(Node | string)[]} */
  #parts(gate, labels) {
    const { decisions, feed } = this;
    const attempt = decisions.of(gate.id);
    const button = (/** @type {string} */ text, /** @type {() => void} */ act) =>
      el("button", { type: "button", class: "gatebus-tool", onclick: act }, text);
    switch (attempt?.state) {
      case "unknown":
        return [t("gate.unknown", { reason: attempt.reason }), button(t("gate.retry"), () => void decisions.retry(gate.id))];
      case "late":
        return [t("gate.late", { decided: outcomeText(gate, labels) || attempt.reason })];
      case "refused":
        return [t("gate.failed", { reason: attempt.reason }), button(t("gate.giveUp"), () => decisions.dismiss(gate.id))];
      default:
        return !feed.connected && isOpen(gate) ? [feed.refused || t("gate.offline")] : [];
    }
  }
}
