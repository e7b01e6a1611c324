/** What is held or was just sent, at the page's lower edge, with Undo and Take back. */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { Answers } from "../comfyui/lib/gate-answers.mjs";
import { outcomeText } from "../comfyui/lib/gate-state.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { Batches } from "./batches.mjs";
import { HeldDecisions } from "./held.mjs";
import { ofTab } from "./storage.mjs";
import { held as texts } from "./texts/held.mjs";

/** @typedef {import("./held.mjs").Held} Held */
/** @typedef {Pick<import("./page.mjs").Context, "decisions" | "feed" | "settings" | "toast">} Surroundings */

register("held", texts);

/** Decisions that are shown one by one until a person asks for all. */
const ROWS = 1;

/** @type {HeldBar | undefined} */
let bar;

/**
 * The page's decisions that are held, with their bar; made when it is first asked for. The page
 * asks at its start, so that what a page before held goes on.
 * @param {Surroundings} context
 * @returns {HeldBar}
 */
export function heldOf(context) {
  bar ??= new HeldBar(context);
  return bar;
}

export class HeldBar {
  #key = "";
  /** Whether all are shown. */
  #all = false;
  /** @type {(() => void) | null} */
  #ticking = null;

  /** @param {Surroundings} surroundings */
  constructor(surroundings) {
    const { decisions, feed, settings, toast } = (this.surroundings = surroundings);
    addStylesheet(new URL("./held.css", import.meta.url).href);
    const channel = new BroadcastChannel("gatebus-held");
    const seconds = () => Number(settings.get("hold")) || 0;
    this.decisions = new HeldDecisions({ decisions, feed, seconds, storage: ofTab, channel });
    /** What was ticked and typed at gates and is not decided. */
    this.answers = new Answers(ofTab);
    this.batches = new Batches(surroundings, ofTab, channel);
    this.rows = el("div", { class: "gb-held-rows" });
    this.more = el("button", { type: "button", class: "gb-held-more", onclick: () => this.#open(!this.#all) });
    this.spoken = el("div", { class: "gb-held-spoken", role: "status" });
    this.element = el("section", { class: "gb-held", "aria-label": t("held.title") }, this.more, this.rows, this.batches.element, this.spoken);
    document.body.append(this.element);
    // What scrolls below it leaves as much room at its end.
    const { style } = document.documentElement;
    new ResizeObserver(() => style.setProperty("--gb-held-height", `${this.element.offsetHeight}px`)).observe(this.element);
    this.decisions.addEventListener("change", () => this.#draw());
    this.batches.addEventListener("change", () => this.#draw());
    decisions.addEventListener("change", () => this.#draw());
    this.decisions.addEventListener("overtaken", (event) => {
      const { held, gate } = /** @type {CustomEvent} */ (event).detail;
      const title = t("held.overtaken", { title: held.title || t("gate.untitled") });
      toast("warn", title, t("held.overtakenDetail", { stands: gate ? outcomeText(gate) || gate.status : "?", yours: nameOf(held) }));
    });
    this.decisions.addEventListener("late", (event) => {
      const { gate, reason } = /** @type {CustomEvent} */ (event).detail;
      toast("warn", t("held.late", { title: gate.title || t("gate.untitled") }), reason);
    });
    // Left, closed, reloaded; or put away on a phone, which may never come back to it.
    const flush = () => {
      this.decisions.flush();
      this.batches.flush();
    };
    window.addEventListener("pagehide", flush);
    document.addEventListener("freeze", flush);
    document.addEventListener("visibilitychange", () => document.hidden && flush());
    window.addEventListener("beforeunload", (event) => {
      // Only what can't arrive now needs the question: the rest goes out by itself.
      const unknown = this.decisions.all.some((held) => decisions.of(held.gateId)?.state === "unknown");
      if (unknown || this.batches.endangered) event.preventDefault();
    });
    this.#draw();
  }

  /**
   * Holds that decision, in place of another one that is held there.
   * @param {any} gate
   * @param {import("./held.mjs").Made} choice what was ticked and typed goes with a route, unless it says otherwise
   * @returns {boolean} whether it is held or sent now
   */
  hold(gate, choice) {
    const whole = choice.kind === "cancel" ? choice : { ...this.answers.of(gate), ...choice };
    if (!this.decisions.hold(gate, whole)) return false;
    this.batches.drop(gate.id);
    return true;
  }

  /**
   * Holds that route, 0 for a stop, at all these gates; what was ticked or typed at one goes with it. Those that ask
   * which images go on are left to be answered one by one.
   * @param {any[]} gates @param {number} route @param {string} name
   */
  holdAll(gates, route, name) {
    const ready = route ? gates.filter((gate) => this.answers.ready(gate)) : gates;
    if (ready.length < gates.length) this.surroundings.toast("info", t("choice.leftOut", { count: gates.length - ready.length }));
    const own = route ? ready.filter((gate) => this.answers.has(gate)) : [];
    for (const gate of own) this.hold(gate, { route });
    const alike = ready.filter((gate) => !own.includes(gate)).map(({ id }) => id);
    for (const id of alike) {
      this.decisions.undo(id);
      this.batches.drop(id);
    }
    if (alike.length) this.batches.begin(alike, route, name);
  }

  /** Whether a decision about the gate was made here and not undone. @param {string} id */
  has(id) {
    return this.decisions.has(id) || !!this.batches.of(id);
  }

  /**
   * Undoes what is held last, else takes back what was sent last and stands.
   * @param {string} [gateId] only what is held or was sent there
   * @returns {boolean} whether there was something
   */
  undo(gateId) {
    const batch = this.batches.held;
    const single = this.decisions.all.filter((held) => held.state === "held").at(-1);
    if (!gateId && batch && batch.kept.until >= (single?.until ?? 0)) {
      this.batches.undo(batch);
      return true;
    }
    const undone = this.decisions.undo(gateId);
    if (undone) {
      this.spoken.textContent = t("held.undone", { title: undone.title || t("gate.untitled") });
      return true;
    }
    const sent = this.decisions.all.filter((held) => held.state === "done" && (!gateId || held.gateId === gateId)).at(-1);
    const gate = sent && this.surroundings.feed.gates.get(sent.gateId);
    if (!gate?.decision) return false;
    void this.takeBack(gate);
    return true;
  }

  /** Takes back what stands at the gate; tells a person how that went. @param {any} gate */
  async takeBack(gate) {
    try {
      if (await this.decisions.takeBack(gate)) this.surroundings.toast("success", t("held.takenBack"), gate.title || t("gate.untitled"));
    } catch (error) {
      this.surroundings.toast("error", t("held.notTakenBack"), /** @type {Error} */ (error).message);
    }
  }

  #draw() {
    const { all } = this.decisions;
    // What needs a person is never put away behind the others.
    const shown = this.#all ? all : all.filter((held, at) => at >= all.length - ROWS || this.#attempt(held)?.state === "refused");
    const key = JSON.stringify([all.length, this.#all, this.batches.all.length, shown.map((held) => [held, this.#attempt(held)])]);
    if (key === this.#key) return;
    this.#key = key;
    const focused = [...this.rows.querySelectorAll("button")].indexOf(/** @type {any} */ (document.activeElement));
    const more = all.length - shown.length;
    this.more.hidden = all.length <= ROWS || (!more && !this.#all);
    this.more.textContent = this.#all ? t("held.fewer") : t("held.more", { count: more });
    this.more.setAttribute("aria-expanded", String(this.#all));
    this.rows.replaceChildren(...shown.map((held) => this.#row(held)));
    if (focused >= 0) this.rows.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
    this.element.hidden = !all.length && !this.batches.all.length;
    if (all.length <= ROWS) this.#all = false;
    const last = all.at(-1);
    if (last?.state === "held") this.spoken.textContent = t("held.held", { route: nameOf(last), title: last.title || t("gate.untitled") });
    const counts = shown.some((held) => held.state === "held");
    if (counts) this.#ticking ??= everySecond(() => this.#count());
    else this.#ticking = (this.#ticking?.(), null);
    this.#count();
  }

  /** @param {boolean} all */
  #open(all) {
    this.#all = all;
    this.#draw();
  }

  /** @param {Held} held */
  #attempt({ gateId, id }) {
    const attempt = this.surroundings.decisions.of(gateId);
    return attempt?.id === id ? attempt : undefined;
  }

  /** @param {Held} held */
  #row(held) {
    const { gateId, state } = held;
    const attempt = this.#attempt(held);
    const button = (/** @type {string} */ name, /** @type {() => void} */ run, key = "") =>
      el(
        "button",
        { type: "button", class: "gb-held-button", onclick: run, "aria-keyshortcuts": key || null },
        name,
        key ? el("kbd", { "aria-hidden": "true" }, key) : null,
      );
    const last = this.decisions.all.at(-1) === held;
    const parts = [];
    let words = "";
    if (state === "held") {
      parts.push(button(t("held.undo"), () => this.undo(gateId), last ? "U" : ""), button(t("held.send"), () => this.decisions.send(gateId)));
    } else if (state === "done") {
      words = t("held.done");
      const takeBack = () => {
        const gate = this.surroundings.feed.gates.get(gateId);
        if (gate?.decision) void this.takeBack(gate);
      };
      parts.push(button(t("held.takeBack"), takeBack, last ? "U" : ""));
    } else if (attempt?.state === "unknown") {
      words = t("held.unknown", { reason: attempt.reason });
      parts.push(button(t("gate.retry"), () => void this.surroundings.decisions.retry(gateId)));
    } else if (attempt?.state === "refused") {
      words = t("gate.failed", { reason: attempt.reason });
      parts.push(button(t("gate.giveUp"), () => this.decisions.dismiss(gateId)));
    } else words = t("gate.sending");
    const row = el(
      "div",
      { class: "gb-held-row", "data-state": attempt?.state === "refused" ? "refused" : state, "data-gate": gateId },
      el(
        "span",
        { class: "gb-held-text" },
        el("strong", {}, nameOf(held)),
        el("span", { class: "gb-held-title" }, held.title || t("gate.untitled")),
        el("span", { class: "gb-held-words", "data-until": state === "held" ? held.until : null }, words),
      ),
      ...parts,
    );
    if (state === "held") row.append(this.#progress(held.until - Date.now()));
    return row;
  }

  /** @param {number} left milliseconds */
  #progress(left) {
    const line = el("span", { class: "gb-held-left", "aria-hidden": "true" });
    const whole = Math.max(left, 1000 * (Number(this.surroundings.settings.get("hold")) || 0), 1);
    line.animate([{ transform: `scaleX(${Math.max(0, left) / whole})` }, { transform: "scaleX(0)" }], { duration: Math.max(0, left), fill: "forwards" });
    return line;
  }

  /** The part that changes every second. */
  #count() {
    for (const words of this.rows.querySelectorAll("[data-until]")) {
      const left = Number(/** @type {HTMLElement} */ (words).dataset.until) - Date.now();
      words.textContent = t("held.left", { seconds: Math.max(0, Math.ceil(left / 1000)) });
    }
  }
}

/** @param {Held} held */
const nameOf = (held) => held.name || t("held.stop");
