/**
 * What a gate asks for beside a route, on its screen: which images of a batch go on, in a grid of all
 * of them or at the one that is seen closely; or a text, to be edited.
 */
import { addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { isBatch, isChooser, isText } from "../comfyui/lib/gate-answers.mjs";
import { isOpen } from "../comfyui/lib/gate-state.mjs";
import { GateSubject } from "../comfyui/lib/gate-subject.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("./gate-screen.mjs").GateScreen} GateScreen */

export class AnswerPart {
  /** Whether all images are shown in place of one; null: as the gate asks for. @type {boolean | null} */
  #all = null;
  #gate = "";

  /** @param {GateScreen} screen */
  constructor(screen) {
    addStylesheet(new URL("../comfyui/subject.css", import.meta.url).href);
    this.screen = screen;
    this.answers = screen.bar.answers;
    const look = (/** @type {any} */ _gate, /** @type {number} */ frame) => {
      this.showAll(false);
      screen.toFrame(frame);
    };
    this.subject = new GateSubject(screen.context.api, this.answers, { pass: () => screen.choose(1), zoom: look });
    const { picture, text, ticked } = this.subject;
    const button = (/** @type {string} */ key, /** @type {() => void} */ run) =>
      el("button", { type: "button", class: "gs-tool", "aria-keyshortcuts": key, onclick: run });
    this.one = button("X", () => this.tick());
    this.view = button("V", () => this.showAll(!this.grid));
    ticked.prepend(this.one);
    ticked.append(this.view);
    this.bar = ticked;
    this.element = el("div", { class: "gs-answer", hidden: true }, picture.element, text.element);
  }

  remove() {
    this.subject.remove();
  }

  /** Whether all images of the batch are shown. */
  get grid() {
    const { gate } = this.screen;
    return isBatch(gate) && !!gate.layout && (this.#all ?? isChooser(gate));
  }

  /** @param {boolean} all whether all images are shown, to be ticked, in place of one */
  showAll(all) {
    this.#all = all;
    this.screen.show();
  }

  /** Ticks the image that is seen closely, or no longer. */
  tick() {
    const { gate, frame } = this.screen;
    if (gate && isOpen(gate)) this.answers.toggle(gate, frame);
  }

  /**
   * What goes with a decision, null when there is something to be ticked first.
   * @param {any} gate
   * @param {string} written with the decision
   */
  of(gate, written) {
    if (!this.answers.ready(gate)) return null;
    return isText(gate) ? this.answers.of(gate) : { ...this.answers.of(gate), text: written };
  }

  /** @param {any} gate undefined for none @param {boolean} open whether it can be answered @param {number} frame that is seen closely */
  show(gate, open, frame) {
    if (gate?.id !== this.#gate) this.#all = null;
    this.#gate = gate?.id ?? "";
    const { grid } = this;
    const text = isText(gate);
    this.element.hidden = !text && !grid;
    this.screen.element.dataset.answer = text ? "text" : grid ? "grid" : "";
    this.subject.show(gate, open, grid);
    const on = new Set(gate ? this.answers.ticked(gate) : []);
    const ticked = on.has(frame);
    for (const [at, cell] of [...this.screen.strip.element.children].entries()) cell.toggleAttribute("data-ticked", on.has(at));
    this.one.hidden = grid || !open;
    this.one.textContent = t(ticked ? "choice.goesOn" : "choice.tickOne", { number: frame + 1 });
    this.one.setAttribute("aria-pressed", String(ticked));
    this.one.title = `${t("choice.tickOne", { number: frame + 1 })} (X)`;
    this.view.textContent = t(grid ? "choice.viewOne" : "choice.viewAll");
    this.view.title = `${this.view.textContent} (V)`;
    // While images can be looked at, how they are is told.
    this.bar.hidden = !isBatch(gate) || !gate.layout;
  }

  /** What a key does here. @param {KeyboardEvent} event @returns {boolean} whether it did something */
  press(event) {
    const { gate } = this.screen;
    const key = event.key.toLowerCase();
    const control = event.target instanceof Element ? event.target.closest("button, a, summary, select, input") : null;
    if (event.repeat || !gate || (key === "enter" && control && !control.matches(".gatebus-tick"))) return false;
    if (this.subject.press(event)) return true;
    if (!isBatch(gate) || !gate.layout) return false;
    if (key === "v") this.showAll(!this.grid);
    else if (key === "x" && !this.grid) this.tick();
    else if (key === "a" && isOpen(gate)) this.answers.toggleAll(gate);
    else return false;
    return true;
  }
}
