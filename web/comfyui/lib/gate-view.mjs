/**
 * Gates as a person sees and decides them: image, mask, state, routes, one gate at a time with a
 * pager over several. The same in a node, in the tab and on the broker's page. Free of ComfyUI.
 *
 * Nothing is drawn and nothing ticks while it can't be seen.
 */
import { everySecond } from "./clock.mjs";
import { el, Undoing } from "./dom.mjs";
import { again } from "./gate-again.mjs";
import { isChooser, isText } from "./gate-answers.mjs";
import { labelsOfGate, onlyButton } from "./gate-choice.mjs";
import { GateProblem } from "./gate-problem.mjs";
import { leadOf, willRunAgain } from "./gate-run.mjs";
import { RunLine } from "./gate-run-line.mjs";
import { GateRoutes } from "./gate-routes.mjs";
import { ageText, countdownText, isOpen, outcomeText, routeOfKey, sizeText } from "./gate-state.mjs";
import { GateSubject } from "./gate-subject.mjs";
import { t } from "./i18n.mjs";

/** @typedef {import("./api.mjs").Api} Api */
/** @typedef {import("./feed.mjs").Feed} Feed */
/** @typedef {import("./gate-decisions.mjs").Decisions} Decisions */

/**
 * @typedef {object} Surroundings
 * @property {Api} api
 * @property {Feed} feed
 * @property {Decisions} decisions
 * @property {import("./gate-answers.mjs").Answers} answers
 * @property {() => number} [routes] how many to show while no gate is shown
 * @property {string} [idle] what is said while no gate is shown
 * @property {() => string[]} [labels] the names to use before those of the gate
 * @property {(route: number, label: string) => void} [rename]
 * @property {(gate: any) => Promise<void>} [editMask]
 * @property {(gate: any, frame: number) => void} [zoom]
 * @property {{name: string, hint: string, run: () => Promise<void>}[]} [actions] more buttons, shown always
 * @property {(summary: string, detail: string) => void} fail tells a person what did not work
 */

/** Milliseconds for which a gate that has just come into view can't be decided: the click was for another. */
const SETTLE = 300;

/** @param {Record<string, any>} attributes @param {string} text */
const tool = (attributes, text) => el("button", { type: "button", class: "gatebus-tool", ...attributes }, text);

export class GateView {
  /** @type {any[]} the gates to show, open ones first in their order */
  #gates = [];
  #current = "";
  /** The id of the gate that the person has paged to, "" for none. */
  #paged = "";
  /** The id of the decided gate that is to run again by the route that is chosen next, "" for none. */
  #armed = "";
  #since = 0;
  #visible = false;
  #busy = false;
  #undoing = new Undoing();
  /** @type {(() => void) | null} */
  #ticking = null;

  /** @param {Surroundings} surroundings */
  constructor(surroundings) {
    const { api, feed, decisions, answers, rename, zoom, actions = [], editMask } = (this.surroundings = surroundings);
    this.subject = new GateSubject(api, answers, { pass: () => this.choose(1), zoom });
    this.routes = new GateRoutes((route) => this.choose(route), rename);
    this.state = el("span", { class: "gatebus-state", role: "status" });
    this.time = el("span", { class: "gatebus-time", role: "timer" });
    this.place = el("span", { class: "gatebus-place" });
    this.counter = el("span", {});
    const step = (/** @type {number} */ by, /** @type {string} */ name, /** @type {string} */ sign) =>
      tool({ "aria-label": name, title: name, onclick: () => this.#page(by) }, sign);
    this.pager = el("span", { class: "gatebus-pager" }, step(-1, t("gate.previous"), "‹"), this.counter, step(1, t("gate.next"), "›"));
    this.run = new RunLine(surroundings);
    this.note = el("p", { class: "gatebus-note" });
    this.problem = new GateProblem(decisions, feed);
    this.edit = editMask && tool({ title: t("gate.editMaskHint"), onclick: () => this.#mask(editMask) }, t("gate.editMask"));
    this.clear = tool({ title: t("gate.clearMaskHint"), onclick: () => this.#mask((gate) => this.#clearMask(gate)) }, t("gate.clearMask"));
    this.stop = tool({ class: "gatebus-tool gatebus-stop", title: t("gate.stopHint"), onclick: () => this.#stop() }, t("gate.stop"));
    this.element = el(
      "div",
      { class: "gatebus-gate" },
      el(
        "div",
        { class: "gatebus-inner" },
        el("div", { class: "gatebus-head" }, this.state, this.time, this.place, this.pager),
        ...this.subject.elements,
        this.run.element,
        this.note,
        this.problem.element,
        this.routes.element,
        el(
          "div",
          { class: "gatebus-tools" },
          this.edit,
          this.clear,
          ...actions.map(({ name, hint, run }) => tool({ title: hint, "aria-label": `${name}. ${hint}`, onclick: () => this.#run(run) }, name)),
          rename && tool({ title: t("gate.rename"), "aria-label": t("gate.rename"), onclick: () => this.routes.edit(1) }, "✎"),
          this.stop,
        ),
      ),
    );
    this.#undoing.listen(decisions, "change", (event) => event.detail === this.#current && this.#draw());
    this.#undoing.listen(this.element, "keydown", (event) => event.key === "Escape" && this.#armed && this.arm());
    this.#undoing.listen(answers, "change", (event) => event.detail === this.#current && this.#draw());
    this.#undoing.listen(feed, "connection", () => this.#draw());
    const seen = new IntersectionObserver((entries) => {
      this.#visible = entries[entries.length - 1].isIntersecting;
      this.#draw();
    });
    seen.observe(this.element);
    this.#undoing.add(() => seen.disconnect());
    this.#undoing.add(() => this.subject.remove());
    this.#undoing.add(() => this.#tick(false));
  }

  /** The gate that is shown, undefined for none. @returns {any} */
  get gate() {
    return this.#gates.find((gate) => gate.id === this.#current);
  }

  /**
   * Shows those gates: the one that was shown as long as it can be decided, else the first that can,
   * else the last that ended.
   * @param {any[]} gates
   */
  show(gates) {
    const before = this.gate;
    this.#gates = gates;
    const kept = this.gate;
    const next = kept?.id === this.#paged ? undefined : gates.find(isOpen);
    if (!kept || (!isOpen(kept) && next)) {
      const last = next ?? gates[gates.length - 1];
      if (last && last.id !== this.#current && before) this.#since = performance.now();
      this.#current = last?.id ?? "";
    }
    this.#draw();
  }

  /** Draws again what may have changed around the gate: its labels, the number of routes. */
  refresh() {
    this.#draw();
  }

  /** Has the next route that is chosen run on from the decided gate that is shown; called again, no more. @returns {boolean} whether it can */
  arm() {
    const { gate } = this;
    if (!gate || !willRunAgain(gate, leadOf(gate, this.surroundings.feed))) return false;
    this.#armed = this.#armed ? "" : gate.id;
    if (this.#armed) this.surroundings.answers.begin(gate);
    this.#draw();
    return true;
  }

  /** Decides the gate that is shown, if it can be. @param {number} route @returns {boolean} whether there was one */
  choose(route) {
    const { gate } = this;
    if (!gate || route < 1 || route > gate.routes) return false;
    const { answers, decisions } = this.surroundings;
    if (this.#isArmed(gate)) {
      if (!answers.ready(gate)) return true;
      this.#armed = "";
      void this.#run(() => again(this.surroundings, gate, route, answers.of(gate)), t("run.notAgain")).then(() => this.#draw());
      return true;
    }
    if (!isOpen(gate)) return false;
    this.#paged = "";
    if (performance.now() - this.#since >= SETTLE && answers.ready(gate)) void decisions.route(gate, route, answers.of(gate));
    return true;
  }

  /** What a key does while the gate is in front: ticks an image, passes, or takes a route. @param {KeyboardEvent} event @returns {boolean} whether it did something */
  press(event) {
    const { gate } = this;
    if (isText(gate) && !this.#isArmed(gate)) return false;
    return this.subject.press(event) || (!!routeOfKey(event.key) && this.choose(routeOfKey(event.key)));
  }

  remove() {
    this.#undoing.run();
  }

  /** @param {any} gate */
  #isArmed(gate) {
    return !!gate && this.#armed === gate.id && !isOpen(gate);
  }

  #stop() {
    const { gate } = this;
    if (gate && isOpen(gate) && performance.now() - this.#since >= SETTLE) void this.surroundings.decisions.cancel(gate);
  }

  /** @param {number} by */
  #page(by) {
    const at = this.#gates.findIndex((gate) => gate.id === this.#current);
    this.#current = this.#paged = this.#gates[(at + by + this.#gates.length) % this.#gates.length].id;
    this.#since = 0;
    this.#draw();
  }

  /** @param {(gate: any) => Promise<void>} change */
  #mask(change) {
    const { gate } = this;
    if (gate) void this.#run(() => change(gate), t("gate.maskFailed"));
  }

  /** @param {any} gate */
  async #clearMask(gate) {
    this.surroundings.feed.take(await this.surroundings.api.setGateMask(gate.id, null));
  }

  /** @param {() => Promise<unknown>} step @param {string} [summary] of what failed */
  async #run(step, summary = t("gate.refused")) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await step();
    } catch (error) {
      this.surroundings.fail(summary, /** @type {Error} */ (error).message);
    } finally {
      this.#busy = false;
    }
  }

  #draw() {
    const { gate } = this;
    this.#tick(this.#visible && !!gate && isOpen(gate));
    if (!this.#visible) return;
    const { answers, decisions, routes } = this.surroundings;
    const attempt = gate && decisions.of(gate.id);
    const open = !!gate && isOpen(gate);
    const sending = attempt?.state === "sending";
    const names = this.#labels(gate);
    this.element.dataset.state = gate ? (open ? "open" : "ended") : "idle";
    this.element.dataset.gate = gate?.id ?? "";
    const armed = this.#isArmed(gate);
    const asked = (open && !sending) || armed;
    this.subject.show(gate, asked);
    this.run.show(gate);
    this.#head(gate, sending, names);
    this.note.textContent = (open && gate.note) || "";
    this.problem.show(gate, names);
    this.routes.show({
      count: gate && (open || armed || !routes) ? gate.routes : (routes?.() ?? 0),
      labels: names,
      open: asked && answers.ready(gate),
      chosen: gate?.decision?.route ?? attempt?.route ?? 0,
      gateId: gate?.id ?? "",
      only: onlyButton(gate),
    });
    if (this.edit) this.edit.hidden = !open || !gate.width;
    this.clear.hidden = !open || !gate.mask;
    this.stop.hidden = !open;
    this.stop.disabled = sending;
  }

  /** @param {any} gate @param {boolean} sending @param {string[]} names */
  #head(gate, sending, names) {
    this.pager.hidden = this.#gates.length < 2;
    this.counter.textContent = t("gate.pager", { number: this.#gates.indexOf(gate) + 1, count: this.#gates.length });
    this.place.textContent = [gate?.instance, gate && sizeText(gate)].filter(Boolean).join(" · ");
    let text = "";
    if (!gate) text = this.surroundings.idle ?? t("gate.idle");
    else if (this.#isArmed(gate)) text = t(onlyButton(gate) ? "choice.armed" : "run.armed");
    else if (sending) text = t("gate.sending");
    else if (!isOpen(gate)) text = outcomeText(gate, names);
    else if (gate.status === "orphaned") text = t("gate.orphaned");
    else if (gate.status === "parked") text = t("run.parked");
    if (this.state.textContent !== text) this.state.textContent = text;
    this.#time();
  }

  /** The part that changes every second. */
  #time() {
    const { gate } = this;
    const now = this.surroundings.feed.now();
    const open = gate && isOpen(gate) && this.surroundings.decisions.of(gate.id)?.state !== "sending";
    const age = open && { age: ageText(gate, now) };
    const parts = open ? [gate.status === "parked" ? t("run.parkedFor", age) : t("gate.waiting", age), countdownText(gate, now, this.#labels(gate))] : [];
    this.time.textContent = parts.filter(Boolean).join(" · ");
  }

  /** @param {any} gate */
  #labels(gate) {
    if (isText(gate) || isChooser(gate)) return labelsOfGate(gate, isOpen(gate) || this.#isArmed(gate) ? this.surroundings.answers : undefined);
    const own = this.surroundings.labels?.() ?? [];
    return Array.from({ length: Math.max(gate?.routes ?? 0, own.length) }, (_, at) => own[at] || gate?.labels[at] || "");
  }

  /** @param {boolean} on */
  #tick(on) {
    if (on) this.#ticking ??= everySecond(() => this.#time());
    else {
      this.#ticking?.();
      this.#ticking = null;
    }
  }
}
