/**
 * What a gate asks about, as a person sees and answers it: its image(s), with ticks where some of a
 * batch may go on, or its text to edit. Free of ComfyUI.
 */
import { el } from "./dom.mjs";
import { chosenOf, isBatch, isChooser, isText } from "./gate-answers.mjs";
import { chosenText } from "./gate-choice.mjs";
import { GatePicture } from "./gate-picture.mjs";
import { GateText } from "./gate-text.mjs";
import { t } from "./i18n.mjs";

/** @typedef {import("./api.mjs").Api} Api */
/** @typedef {import("./gate-answers.mjs").Answers} Answers */

export class GateSubject {
  /** @type {any} */
  #gate = null;

  /**
   * @param {Api} api
   * @param {Answers} answers
   * @param {{pass: () => void, zoom?: (gate: any, frame: number) => void}} deeds `pass` decides a gate that only lets pass
   */
  constructor(api, answers, { pass, zoom }) {
    this.answers = answers;
    this.picture = new GatePicture(api, zoom, { answers, pass });
    this.text = new GateText(answers, pass);
    this.count = el("span", { role: "status" });
    this.all = el("button", { type: "button", class: "gatebus-tool", onclick: () => answers.toggleAll(this.#gate) });
    this.ticked = el("div", { class: "gatebus-ticked" }, this.count, this.all);
    this.elements = [this.picture.element, this.text.element, this.ticked];
  }

  /**
   * @param {any} gate undefined for none
   * @param {boolean} open whether it can be answered
   * @param {boolean} [pictured] whether its images are shown here
   */
  show(gate, open, pictured = true) {
    this.#gate = gate;
    const text = isText(gate);
    const batch = isBatch(gate) && !!gate.layout;
    // Of one that was decided, what was chosen.
    const ticked = !batch ? [] : gate.decision && !open ? chosenOf(gate.decision) : this.answers.ticked(gate);
    this.picture.element.hidden = text || !pictured;
    this.picture.show(this.picture.element.hidden ? undefined : gate, open, ticked);
    this.text.show(text ? gate : undefined, open);
    this.ticked.hidden = !batch || (!open && !ticked.length);
    if (!this.ticked.hidden) this.#count(gate, open, ticked.length);
  }

  /** What a key does, wherever the focus is. @param {KeyboardEvent} event @returns {boolean} whether it did something */
  press(event) {
    return !isText(this.#gate) && !!this.picture.ticks?.press(event);
  }

  remove() {
    this.picture.remove();
  }

  /** @param {any} gate @param {boolean} open @param {number} count */
  #count(gate, open, count) {
    const { batch } = gate;
    let words = t("choice.ticked", { count, batch });
    if (!open) words = chosenText(gate.decision, batch);
    else if (!count) words = t(isChooser(gate) ? "choice.tickFirst" : "choice.allUnlessTicked");
    if (this.count.textContent !== words) this.count.textContent = words;
    this.ticked.title = t(isChooser(gate) ? "choice.tickHint" : "choice.tickHintRoutes");
    this.all.hidden = !open;
    this.all.textContent = t(count === batch ? "choice.none" : "choice.all");
  }
}
