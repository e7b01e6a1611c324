/** Above the inbox: runs that go on from parked gates, and those that failed and want somebody. */
import { ApiError } from "../comfyui/lib/api.mjs";
import { Undoing, el } from "../comfyui/lib/dom.mjs";
import { canRunAgain, hasFailed, isUnderWay, leadOf, runText } from "../comfyui/lib/gate-run.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { button } from "./dialogs.mjs";
import { routeAgain, runAgain } from "./route-again.mjs";

/** @typedef {import("./page.mjs").Context} Context */

/** Runs that are listed. */
const LISTED = 50;
/** Milliseconds in which changes are gathered into one drawing. */
const TOGETHER = 100;

export class RunsBar {
  #undoing = new Undoing();
  /** Gates from which a run went on once more: what had failed there wants nobody any more. */
  #redone = new Set();
  #key = "";
  #timer = 0;

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.failed = el("span", { class: "gi-failed" });
    this.underWay = el("span", {});
    this.list = el("ul", {});
    this.element = el("details", { class: "gi-runs", hidden: true }, el("summary", { "aria-label": t("run.runs") }, this.failed, this.underWay), this.list);
    this.#undoing.listen(context.feed, "gates", () => (this.#timer ||= window.setTimeout(() => this.#draw(), TOGETHER)));
    this.#undoing.listen(context.feed, "reset", () => void this.#find());
    this.#undoing.listen(this.element, "toggle", () => this.#draw());
    this.#undoing.add(() => clearTimeout(this.#timer));
    this.#draw();
    void this.#find();
  }

  remove() {
    this.#undoing.run();
  }

  /** Reads those whose gates have ended, which the feed does not tell of when it begins. */
  async #find() {
    const { api, feed } = this.context;
    try {
      const [open, done] = await Promise.all(["open", "done"].map((run) => api.gates({ run, limit: LISTED, order: "newest" })));
      for (const { of } of done.gates) if (of) this.#redone.add(of);
      feed.take(...open.gates);
    } catch (error) {
      // The server is away, which the page tells; what happens from now on is told by the feed.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  #draw() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const { feed } = this.context;
    const leads = [...feed.gates.values(), ...feed.ended.values()].filter((gate) => gate.run && leadOf(gate, feed) === gate);
    for (const { of } of leads) if (of) this.#redone.add(of);
    const failed = leads.filter((gate) => hasFailed(gate, gate) && !this.#redone.has(gate.id));
    const underWay = leads.filter((gate) => isUnderWay(gate));
    this.element.hidden = !failed.length && !underWay.length;
    this.failed.textContent = failed.length ? t(failed.length === 1 ? "run.failedOne" : "run.failedCount", { count: failed.length }) : "";
    this.underWay.textContent = underWay.length ? t("run.underWayCount", { count: underWay.length }) : "";
    const shown = /** @type {HTMLDetailsElement} */ (this.element).open ? [...failed, ...underWay].slice(0, LISTED) : [];
    const key = JSON.stringify(shown.map(({ id, rev }) => [id, rev]));
    if (key === this.#key) return;
    this.#key = key;
    this.list.replaceChildren(...shown.map((gate) => this.#row(gate)));
  }

  /** @param {any} gate */
  #row(gate) {
    const { context } = this;
    const wrong = hasFailed(gate, gate);
    const again = wrong && canRunAgain(gate, gate);
    return el(
      "li",
      { class: "gi-run", "data-gate": gate.id, "data-run": gate.run },
      el("a", { href: `#/gates/${gate.id}` }, gate.title || t("gate.untitled")),
      el("span", {}, runText(gate, gate)),
      again ? button(t("run.again"), () => void runAgain(context, gate)) : null,
      again && gate.routes > 1 ? button(t("run.another"), () => void routeAgain(context, gate)) : null,
      wrong && gate.status === "decided" ? button(t("run.dismiss"), () => void context.decisions.cancel(gate)) : null,
    );
  }
}
