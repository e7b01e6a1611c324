/** What goes on from the gate that is shown, in its foot: where it runs and how far, why it failed, and what may be done. */
import { query } from "../comfyui/lib/api.mjs";
import { el } from "../comfyui/lib/dom.mjs";
import { canPark, canRunAgain, hasFailed, isUnderWay, leadOf, runText } from "../comfyui/lib/gate-run.mjs";
import { isOpen } from "../comfyui/lib/gate-state.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { routeAgain, runAgain } from "./route-again.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {{park: () => void, again: () => void, another: () => void, dismiss: () => void}} Deeds */

/** Milliseconds between two looks at a job's progress, which is no event. */
const LOOK = 3000;

/** States in which a farm's job may tell how far it is. */
const HELD = new Set(["submitted", "running"]);

export class RunPart {
  /** The run whose job is looked at, "" for none. */
  #followed = "";
  #asked = "";
  #timer = 0;

  /** @param {Context} context @param {Deeds} deeds */
  constructor(context, deeds) {
    this.context = context;
    const tool = (/** @type {string} */ name, /** @type {string} */ hint, /** @type {() => void} */ run, key = "") =>
      el("button", { type: "button", class: "gs-tool", title: key ? `${hint} (${key})` : hint, "aria-keyshortcuts": key || null, onclick: run }, name);
    this.words = el("span", { class: "gs-run-words" });
    this.bar = el("progress", { class: "gs-run-bar", max: 100, value: 0, hidden: true, "aria-label": t("run.running") });
    this.job = el("a", { class: "gs-run-job", hidden: true });
    this.origin = el("a", { class: "gs-run-of", hidden: true }, t("run.from"));
    this.park = tool(t("run.park"), t("run.parkHint"), deeds.park);
    this.again = tool(t("run.again"), t("run.againHint"), deeds.again);
    this.another = tool(t("run.another"), t("run.anotherHint"), deeds.another, "R");
    this.dismiss = tool(t("run.dismiss"), t("run.dismissHint"), deeds.dismiss);
    this.element = el("div", { class: "gs-run", hidden: true }, this.words, this.bar, this.job, this.origin, this.park, this.again, this.another, this.dismiss);
  }

  /** @param {any} gate */
  show(gate) {
    const { feed } = this.context;
    const lead = leadOf(gate, feed);
    if (gate.group && gate.group !== gate.id && lead === gate) this.#lookOnce(gate.group);
    const failed = hasFailed(gate, lead);
    const words = canPark(gate) ? t("run.parkHint") : runText(gate, lead);
    if (this.words.textContent !== words) this.words.textContent = words;
    this.words.setAttribute("role", failed ? "alert" : "status");
    this.element.dataset.run = failed ? "failed" : lead.run;
    this.park.hidden = !canPark(gate);
    this.another.hidden = !canRunAgain(gate, lead);
    this.again.hidden = !failed || this.another.hidden;
    this.dismiss.hidden = !failed || gate.status !== "decided";
    this.origin.hidden = !gate.of;
    if (gate.of) this.origin.setAttribute("href", `#/gates/${gate.of}`);
    this.#follow(HELD.has(lead.run) && isUnderWay(lead) ? lead.run_id : "");
    const parts = [this.words.textContent, ...[this.park, this.another, this.again, this.origin].map((part) => !part.hidden)];
    this.element.hidden = !parts.some(Boolean);
  }

  remove() {
    this.#follow("");
  }

  /** The gate that carries the run of its list is asked for, when the feed does not know it. @param {string} id */
  #lookOnce(id) {
    if (this.#asked === id) return;
    this.#asked = id;
    void this.context.feed.look(id);
  }

  /** Shows how far the job is for as long as it runs. @param {string} id "" for none */
  #follow(id) {
    if (id === this.#followed) return;
    this.#followed = id;
    clearTimeout(this.#timer);
    this.bar.hidden = this.job.hidden = true;
    if (id) void this.#look(id);
  }

  /** @param {string} id */
  async #look(id) {
    try {
      // By the list: a run that a ComfyUI submitted to itself is no job, and no error.
      const { jobs } = await this.context.api.call("GET", "/gatebus/jobs" + query({ state: "held", limit: 200 }));
      if (id !== this.#followed) return;
      const job = jobs.find((/** @type {any} */ each) => each.id === id);
      this.bar.hidden = this.job.hidden = !job;
      if (job) {
        this.bar.value = Math.round(job.progress * 100);
        this.job.textContent = t("run.progress", { percent: Math.round(job.progress * 100) });
        this.job.setAttribute("href", `#/jobs/${id}`);
      }
    } catch {
      // How far it is, is not known; what it is stands beside it.
      this.bar.hidden = this.job.hidden = true;
    }
    if (id === this.#followed) this.#timer = window.setTimeout(() => void this.#look(id), LOOK);
  }
}

/**
 * What a person may do about it.
 * @param {Context} context
 * @param {() => any} shown the gate that is shown, undefined for none
 * @param {(gate: any) => void} go shows another gate
 * @returns {Deeds}
 */
export function runDeeds(context, shown, go) {
  const again = async (/** @type {(context: Context, gate: any) => Promise<any>} */ step) => {
    const gate = shown();
    if (!gate || isOpen(gate)) return;
    const fresh = await step(context, gate);
    if (fresh && shown()?.id === gate.id) go(fresh);
  };
  const park = async () => {
    const gate = shown();
    if (!gate || !canPark(gate)) return;
    try {
      context.feed.take(await context.api.park(gate.id, context.decisions.name()));
      context.toast("success", t("run.parkedNow"), gate.title || t("gate.untitled"));
    } catch (error) {
      context.toast("error", t("run.notParked"), /** @type {Error} */ (error).message);
      await context.feed.look(gate.id);
    }
  };
  return {
    park: () => void park(),
    again: () => void again(runAgain),
    another: () => void again(routeAgain),
    dismiss: () => void context.decisions.cancel(shown()),
  };
}
