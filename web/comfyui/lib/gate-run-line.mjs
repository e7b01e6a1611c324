/** What goes on from a gate, as a line of its view: where it runs, why it failed, and what may be done. Free of ComfyUI. */
import { el } from "./dom.mjs";
import { again } from "./gate-again.mjs";
import { canPark, canRunAgain, hasFailed, leadOf, runText } from "./gate-run.mjs";
import { t } from "./i18n.mjs";

/** @typedef {import("./gate-again.mjs").Shared & {fail: (summary: string, detail: string) => void}} Surroundings */

export class RunLine {
  /** @type {any} */
  #gate = null;
  #busy = false;
  #asked = "";

  /** @param {Surroundings} surroundings */
  constructor(surroundings) {
    this.surroundings = surroundings;
    const tool = (/** @type {string} */ name, /** @type {string} */ hint, /** @type {() => Promise<unknown>} */ step, /** @type {string} */ failed) =>
      el("button", { type: "button", class: "gatebus-tool", title: hint, onclick: () => this.#run(step, failed) }, name);
    this.words = el("span", { class: "gatebus-run-words" });
    this.park = tool(t("run.park"), t("run.parkHint"), () => this.#park(), t("run.notParked"));
    this.again = tool(t("run.again"), t("run.againHint"), () => again(this.surroundings, this.#gate), t("run.notAgain"));
    this.dismiss = tool(t("run.dismiss"), t("run.dismissHint"), () => surroundings.decisions.cancel(this.#gate), t("gate.refused"));
    this.element = el("div", { class: "gatebus-run", hidden: true }, this.words, this.park, this.again, this.dismiss);
  }

  /** @param {any} gate undefined for none */
  show(gate) {
    this.#gate = gate;
    const { feed } = this.surroundings;
    const lead = gate && leadOf(gate, feed);
    // The gate that carries the run of its list may have ended before the page was opened.
    if (gate?.group && gate.group !== gate.id && lead === gate && this.#asked !== gate.group) {
      this.#asked = gate.group;
      void feed.look(gate.group);
    }
    const failed = !!gate && hasFailed(gate, lead);
    const words = gate ? (canPark(gate) ? t("run.parkHint") : runText(gate, lead)) : "";
    if (this.words.textContent !== words) this.words.textContent = words;
    this.words.setAttribute("role", failed ? "alert" : "status");
    this.element.dataset.run = failed ? "failed" : (lead?.run ?? "");
    this.park.hidden = !gate || !canPark(gate);
    this.again.hidden = !failed || !canRunAgain(gate, lead);
    this.dismiss.hidden = !failed || gate.status !== "decided";
    this.element.hidden = !words;
  }

  async #park() {
    const { api, feed, decisions } = this.surroundings;
    feed.take(await api.park(this.#gate.id, decisions.name()));
  }

  /** @param {() => Promise<unknown>} step @param {string} failed */
  async #run(step, failed) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await step();
    } catch (error) {
      this.surroundings.fail(failed, /** @type {Error} */ (error).message);
    } finally {
      this.#busy = false;
    }
  }
}
