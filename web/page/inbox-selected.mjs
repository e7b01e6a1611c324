/** What may be done with the gates that are selected, all at once. */
import { Undoing, el } from "../comfyui/lib/dom.mjs";
import { keyOfRoute, routeName } from "../comfyui/lib/gate-state.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { sharedRoutes } from "./batch.mjs";
import { heldOf } from "./held-bar.mjs";
import { batch as texts } from "./texts/batch.mjs";

/** @typedef {import("./page.mjs").Context} Context */

register("batch", texts);

/** Labels of one route that a question shows; of more, how many. */
const LABELS = 6;

export class SelectedBar {
  #key = "";
  #undoing = new Undoing();

  /**
   * @param {Context} context
   * @param {{selected: () => any[], shown: () => number, all: () => void, clear: () => void}} inbox
   */
  constructor(context, inbox) {
    this.context = context;
    this.inbox = inbox;
    this.element = el("div", { class: "gi-batch", role: "region", "aria-label": t("batch.batch"), hidden: true });
    // What is held lies above it.
    const root = document.documentElement;
    const resized = new ResizeObserver(() => root.style.setProperty("--gi-batch", `${this.element.offsetHeight}px`));
    resized.observe(this.element);
    this.#undoing.add(() => (resized.disconnect(), root.style.removeProperty("--gi-batch")));
  }

  remove() {
    this.#undoing.run();
  }

  /** Asks, then decides all that is selected. @param {number} route 0: cancels them */
  async decide(route) {
    const gates = this.inbox.selected();
    const shared = sharedRoutes(gates).find((each) => each.route === route);
    if (!gates.length || (route && !shared)) {
      if (gates.length) this.context.toast("warn", t("batch.notShared", { route }), t("batch.notSharedDetail"));
      return;
    }
    const labels = shared ? [...shared.labels].sort((one, other) => other[1] - one[1]) : [];
    const name = labels.length === 1 ? labels[0][0] || routeName(route, []) : routeName(route, []);
    const title = route ? t("batch.askRoute", { count: gates.length, route: name }) : t("batch.askStop", { count: gates.length });
    const lines = labels.slice(0, LABELS).map(([label, count]) => el("li", {}, t("batch.labelled", { label: label || routeName(route, []), count })));
    if (labels.length > LABELS) lines.push(el("li", {}, t("batch.moreLabels", { count: labels.length - LABELS })));
    const content = labels.length > 1 ? el("div", {}, el("p", {}, t("batch.differ")), el("ul", {}, ...lines)) : null;
    const agreed = await this.context.confirm({
      title,
      message: route ? "" : t("batch.askStopDetail"),
      content,
      yes: route ? t("batch.yesRoute", { count: gates.length }) : t("batch.yesStop", { count: gates.length }),
      danger: !route,
    });
    if (!agreed) return;
    this.inbox.clear();
    heldOf(this.context).holdAll(gates, route, route ? name : "");
  }

  /** Shows what is selected. */
  draw() {
    const gates = this.inbox.selected();
    this.element.hidden = !gates.length;
    if (this.element.hidden) {
      this.#key = "";
      return;
    }
    const shown = this.inbox.shown();
    const shared = sharedRoutes(gates);
    const key = JSON.stringify([gates.length, shown, shared.map(({ labels }) => [...labels])]);
    if (key === this.#key) return;
    this.#key = key;
    const button = (/** @type {string} */ name, /** @type {() => unknown} */ run, kind = "") =>
      el("button", { type: "button", class: `gp-button ${kind}`, onclick: run }, name);
    const routes = shared.map(({ route, labels }) => {
      const names = [...labels.keys()].map((label) => label || routeName(route, []));
      const name = names.length > 2 ? `${names.slice(0, 2).join(" / ")} …` : names.join(" / ");
      return el(
        "button",
        { type: "button", class: "gi-route", title: names.join("\n"), onclick: () => this.decide(route) },
        el("span", { class: "gi-number", "aria-hidden": "true" }, keyOfRoute(route)),
        el("span", { class: "gi-name" }, name),
      );
    });
    this.element.replaceChildren(
      el("strong", { role: "status" }, t("batch.selected", { count: gates.length })),
      gates.length < shown ? button(t("batch.all", { count: shown }), this.inbox.all) : "",
      button(t("batch.none"), this.inbox.clear),
      el("div", { class: "gi-routes", role: "group", "aria-label": t("batch.batch") }, ...routes),
      button(t("gate.stop"), () => this.decide(0), "gp-danger"),
    );
  }
}
