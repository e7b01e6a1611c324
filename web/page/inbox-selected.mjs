/** What may be done with the gates that are selected, all at once, and how far that is. */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { Undoing, el } from "../comfyui/lib/dom.mjs";
import { keyOfRoute, routeName } from "../comfyui/lib/gate-state.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { Batch, sharedRoutes } from "./inbox-batch.mjs";
import { batch as texts } from "./texts/batch.mjs";

/** @typedef {import("./page.mjs").Context} Context */

register("batch", texts);

/** Labels of one route that a question shows; of more, how many. */
const LABELS = 6;

/** Event `change` when a batch begins, goes on or ends. */
export class SelectedBar extends EventTarget {
  /** @type {Batch | null} the one that is held or being sent */
  batch = null;
  /** What its route is called. */
  name = "";
  #key = "";
  #undoing = new Undoing();
  /** @type {(() => void) | null} */
  #ticking = null;

  /**
   * @param {Context} context
   * @param {{selected: () => any[], shown: () => number, all: () => void, clear: () => void}} inbox
   */
  constructor(context, inbox) {
    super();
    this.context = context;
    this.inbox = inbox;
    this.element = el("div", { class: "gi-batch", role: "region", "aria-label": t("batch.batch"), hidden: true });
    // What is held lies above it.
    const root = document.documentElement;
    const resized = new ResizeObserver(() => root.style.setProperty("--gi-batch", `${this.element.offsetHeight}px`));
    resized.observe(this.element);
    this.#undoing.add(() => (resized.disconnect(), root.style.removeProperty("--gi-batch")));
    this.#undoing.listen(window, "beforeunload", (event) => {
      // What is held or not sent would be gone with the page; the gates would wait on.
      if (this.batch) event.preventDefault();
    });
  }

  remove() {
    this.#undoing.run();
    this.#ticking?.();
  }

  /** Whether the gate is part of what is held or being sent. @param {string} id */
  has(id) {
    return this.batch?.has(id) ?? false;
  }

  /** Asks, then decides all that is selected. @param {number} route 0: cancels them */
  async decide(route) {
    if (this.batch) return;
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
    if (agreed && !this.batch) this.#begin(gates.map((gate) => gate.id), route, name);
  }

  /** @param {string[]} ids @param {number} route @param {string} name */
  #begin(ids, route, name) {
    const { api, feed, settings } = this.context;
    const choice = { kind: /** @type {"route" | "cancel"} */ (route ? "route" : "cancel"), route };
    const batch = new Batch(ids, choice, { api, feed, by: settings.get("name"), seconds: Number(settings.get("hold")) || 0 });
    this.batch = batch;
    this.name = name;
    this.inbox.clear();
    batch.addEventListener("change", () => this.#changed(batch));
    this.#ticking = everySecond(() => this.draw());
    this.#changed(batch);
  }

  /** @param {Batch} batch */
  #changed(batch) {
    if (batch.state === "done" || batch.state === "undone") {
      this.#ticking?.();
      this.#ticking = null;
      this.batch = null;
      this.#tell(batch);
    }
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  /** What became of it. @param {Batch} batch */
  #tell(batch) {
    const { toast } = this.context;
    if (batch.state === "undone") return void toast("info", t("batch.undone", { count: batch.total }));
    const { done, late, refused, unknown, left } = batch.result;
    const parts = [];
    for (const [by, count] of late) parts.push(by ? t("batch.lateBy", { count, by }) : t("batch.late", { count }));
    for (const [reason, count] of refused) parts.push(t("batch.refused", { count, reason }));
    if (unknown) parts.push(t("batch.unknown", { count: unknown, reason: batch.reason }));
    if (left) parts.push(t("batch.left", { count: left }));
    const again = () => {
      // Another one that began meanwhile goes first.
      if (this.batch) return void toast("warn", t("batch.busy"));
      this.batch = batch;
      void batch.send();
    };
    const action = unknown ? { name: t("shell.retry"), run: again } : undefined;
    const summary = batch.choice.route ? t("batch.routed", { count: done, route: this.name }) : t("batch.stopped", { count: done });
    toast(unknown || refused.size ? "error" : parts.length ? "warn" : "success", summary, parts.join("\n"), action);
  }

  /** Shows what is selected, or what is under way. */
  draw() {
    const gates = this.batch ? [] : this.inbox.selected();
    this.element.hidden = !this.batch && !gates.length;
    if (this.element.hidden) {
      this.#key = "";
      return;
    }
    if (this.batch) return this.#drawBatch(this.batch);
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

  /** @param {Batch} batch */
  #drawBatch(batch) {
    const { state, total, settled, until } = batch;
    const held = state === "held";
    if (this.#key !== state) {
      this.#key = state;
      this.words = el("strong", {});
      this.line = el("progress", { max: total, value: 0, "aria-label": t("batch.batch") });
      const name = held ? t("inbox.undo") : t("batch.halt");
      const stop = el("button", { type: "button", class: "gp-button", onclick: () => batch.stop() }, name);
      this.element.replaceChildren(this.words, this.line, stop);
    }
    const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    const values = { count: total, done: settled, seconds, route: this.name };
    if (this.words) this.words.textContent = held ? t("batch.holding", values) : t("batch.sending", values);
    if (this.line) {
      this.line.hidden = held;
      this.line.value = settled;
    }
  }
}
