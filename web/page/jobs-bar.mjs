/** The head of the jobs: how many there are in each state, each a link that shows only those; and whose. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { HELD, placeOfFilter } from "./job-words.mjs";

/** @typedef {import("./job-words.mjs").Filter} Filter */

/** The choices, "" for all jobs. */
const CHOICES = ["", "queued", "held", "done", "failed", "cancelled", "lost"];

/** Those that are named only while there are such jobs. */
const RARE = new Set(["cancelled", "lost"]);

/** Milliseconds after the last letter. */
const TYPED = 300;

export class JobsBar {
  #typed = 0;
  /** @type {Filter} */
  #filter = { state: "", submitter: "", instance: "" };
  #drawn = "";

  /** @param {string} title @param {(filter: Filter) => void} go */
  constructor(title, go) {
    this.names = el("datalist", { id: "gj-submitters" });
    this.submitter = el("input", { type: "search", class: "gp-input gc-filter", list: "gj-submitters", maxlength: 200, placeholder: t("jobs.submitter"), "aria-label": t("jobs.submitter") });
    this.submitter.addEventListener("input", () => {
      clearTimeout(this.#typed);
      this.#typed = window.setTimeout(() => go({ ...this.#filter, submitter: this.submitter.value.trim() }), TYPED);
    });
    this.states = el("nav", { class: "gj-states", "aria-label": t("jobs.states") });
    this.element = el("div", { class: "gj-head" }, el("div", { class: "gc-bar" }, el("h1", {}, title), this.submitter, this.names), this.states);
  }

  /** @param {Filter} filter @param {Record<string, number>} counts of every submitter's @param {any[]} jobs those that are listed */
  show(filter, counts, jobs) {
    this.#filter = filter;
    const names = new Set(jobs.map(({ submitter }) => submitter).filter(Boolean));
    for (const { value } of /** @type {any} */ (this.names.children)) names.delete(value);
    this.names.append(...[...names].map((value) => el("option", { value })));
    if (document.activeElement !== this.submitter) this.submitter.value = filter.submitter;
    const at = jobs.find(({ instance }) => instance === filter.instance)?.instance_name ?? "";
    const drawn = JSON.stringify([filter, counts, at]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const focused = this.states.contains(document.activeElement) ? document.activeElement?.getAttribute("data-choice") : null;
    this.states.replaceChildren(...this.#links(filter, counts), ...this.#instance(filter, at));
    if (focused != null) /** @type {any} */ (this.states.querySelector(`[data-choice="${focused}"]`))?.focus();
  }

  /** @param {Filter} filter @param {Record<string, number>} counts */
  #links(filter, counts) {
    // Of one submitter or instance they are not counted.
    const counted = !filter.submitter && !filter.instance;
    /** @type {Record<string, number>} */
    const sums = { ...counts, "": counts.queued + counts.ended, held: 0 };
    for (const state of HELD) sums.held += counts[state];
    sums[""] += sums.held;
    const known = filter.state && !CHOICES.includes(filter.state) ? [...CHOICES, filter.state] : CHOICES;
    return known.filter((state) => !RARE.has(state) || sums[state] || state === filter.state).map((state) => {
      const current = state === filter.state ? "true" : null;
      const count = counted ? el("span", { class: "gj-count" }, String(sums[state] ?? counts.queued + sums.held)) : null;
      return el("a", { class: "gj-choice", href: placeOfFilter({ ...filter, state }), "aria-current": current, "data-choice": state }, t(`jobs.${state || "all"}`), count);
    });
  }

  /** The instance that it is about, and the way out. @param {Filter} filter @param {string} name */
  #instance(filter, name) {
    if (!filter.instance) return [];
    const text = t("jobs.atInstance", { name: name || filter.instance.slice(0, 8) });
    return [el("a", { class: "gj-choice", href: placeOfFilter({ ...filter, instance: "" }), "aria-current": "true", "data-choice": "at", title: t("jobs.everywhere") }, text, el("span", { "aria-hidden": "true" }, "×"))];
  }
}
