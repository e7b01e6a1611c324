/** The lower part of the gate's screen: its state said plainly, the note, the routes, a text that goes with them. */
import { el } from "../comfyui/lib/dom.mjs";
import { isText } from "../comfyui/lib/gate-answers.mjs";
import { labelsOfGate, onlyButton } from "../comfyui/lib/gate-choice.mjs";
import { GateRoutes } from "../comfyui/lib/gate-routes.mjs";
import { canTakeBack, leadOf } from "../comfyui/lib/gate-run.mjs";
import { ageText, countdownText, isOpen, outcomeText } from "../comfyui/lib/gate-state.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { heldOf } from "./held-bar.mjs";
import { RunPart } from "./gate-screen-run.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./held.mjs").Held} Held */
/** @typedef {{choose: (route: number) => void, stop: () => void, undo: () => void, takeBack: () => void, run: import("./gate-screen-run.mjs").Deeds, typed: (text: string) => void, left: () => void}} Deeds */

/** Characters of a decision's text. */
const TEXT = 16_384;

export class Foot {
  /** @param {Context} context @param {Deeds} deeds */
  constructor(context, deeds) {
    this.context = context;
    this.answers = heldOf(context).answers;
    this.routes = new GateRoutes(deeds.choose, undefined, (route, key) => t("screen.routeHint", { route, key }));
    this.routes.element.setAttribute("aria-label", t("screen.routes"));
    this.state = el("span", { class: "gs-state" });
    this.time = el("span", { class: "gs-time", role: "timer" });
    this.undo = el("button", { type: "button", class: "gs-tool", "aria-keyshortcuts": "U", onclick: deeds.undo }, t("held.undo"));
    this.takeBack = el("button", { type: "button", class: "gs-tool", onclick: deeds.takeBack }, t("held.takeBack"));
    this.run = new RunPart(context, deeds.run);
    this.note = el("p", { class: "gs-note" });
    this.text = el("textarea", {
      class: "gs-text",
      rows: 1,
      maxlength: TEXT,
      "aria-label": t("screen.text"),
      placeholder: t("screen.textHint"),
      oninput: () => deeds.typed(this.text.value),
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.isComposing || event.key !== "Escape") return;
        event.stopPropagation();
        deeds.left();
      },
    });
    this.stop = el("button", { type: "button", class: "gs-tool gs-stop", title: t("gate.stopHint"), onclick: deeds.stop }, t("gate.stop"));
    this.element = el(
      "footer",
      { class: "gs-foot" },
      el("div", { class: "gs-status" }, this.state, this.time, this.undo, this.takeBack),
      this.run.element,
      this.note,
      this.routes.element,
      el("div", { class: "gs-with-text" }, this.text, this.stop),
    );
  }

  /**
   * @param {any} gate undefined for none
   * @param {Held | undefined} held
   * @param {string} text that was typed for it
   */
  show(gate, held, text) {
    const open = !!gate && isOpen(gate);
    const attempt = gate && this.context.decisions.of(gate.id);
    const sending = attempt?.state === "sending";
    this.element.hidden = !gate;
    if (!gate) return;
    this.element.dataset.state = stateOf(gate, held);
    const words = this.#words(gate, held, open);
    if (this.state.textContent !== words) this.state.textContent = words;
    this.undo.hidden = held?.state !== "held";
    this.takeBack.hidden = !canTakeBack(gate, leadOf(gate, this.context.feed));
    this.run.show(gate);
    if (this.note.textContent !== gate.note) this.note.textContent = gate.note;
    this.note.hidden = !gate.note;
    this.routes.show({
      count: gate.routes,
      labels: labelsOfGate(gate, open ? this.answers : undefined),
      open: open && !sending && this.answers.ready(gate),
      chosen: gate.decision?.route ?? held?.route ?? attempt?.route ?? 0,
      gateId: gate.id,
      only: onlyButton(gate),
    });
    for (const [at, button] of [...this.routes.element.children].entries()) button.setAttribute("aria-keyshortcuts", String((at + 1) % 10));
    if (this.text.value !== text && document.activeElement !== this.text) this.text.value = text;
    this.stop.hidden = !open;
    // What is asked about is the text that goes with the decision.
    this.text.hidden = !open || isText(gate);
    this.stop.disabled = sending;
    this.tick(gate);
  }

  /** The part that changes every second. @param {any} gate */
  tick(gate) {
    const now = this.context.feed.now();
    const parts = gate && isOpen(gate) ? [t("gate.waiting", { age: ageText(gate, now) }), countdownText(gate, now)] : [];
    const words = parts.filter(Boolean).join(" · ");
    if (this.time.textContent !== words) this.time.textContent = words;
  }

  /** @param {any} gate @param {Held | undefined} held @param {boolean} open */
  #words(gate, held, open) {
    const { feed, decisions } = this.context;
    const attempt = decisions.of(gate.id);
    const connection = !feed.connected ? ` ${feed.refused || t("gate.offline")}` : "";
    if (held?.state === "held") return t("screen.held", { route: held.name || t("held.stop") });
    if (attempt?.state === "sending") return t("gate.sending");
    if (attempt?.state === "unknown") return t("gate.unknown", { reason: attempt.reason });
    if (attempt?.state === "refused") return t("gate.failed", { reason: attempt.reason });
    if (open) return (gate.status === "waiting" ? "" : t(`screen.${gate.status}`)) + connection;
    const outcome = outcomeText(gate) || gate.status;
    // Of one that parked, what comes next is told beside it.
    if (gate.status === "decided") return (gate.parked ? outcome : t("screen.pending", { outcome })) + connection;
    return gate.status === "applied" ? t("screen.carriedOut", { outcome }) : outcome;
  }
}

/** @param {any} gate @param {Held | undefined} held */
function stateOf(gate, held) {
  if (held?.state === "held") return "held";
  return gate.status;
}
