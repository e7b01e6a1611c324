/**
 * Ticks on the images of a batch, by click, tap and key: which of them go on. Free of ComfyUI.
 *
 * The images are check boxes; Tab enters one of them, the arrow keys go to the others.
 */
import { isChooser } from "./gate-answers.mjs";
import "./gate-choice.mjs";
import { el } from "./dom.mjs";
import { routeOfKey } from "./gate-state.mjs";
import { t } from "./i18n.mjs";

/** @typedef {import("./gate-answers.mjs").Answers} Answers */
/** @typedef {{answers: Answers, pass?: () => void, open?: (frame: number) => void}} Deeds `pass` decides; `open` shows an image closely */

export class Ticks {
  /** @type {HTMLElement[]} */
  #cells = [];
  #cursor = 0;
  /** @type {any} */
  #gate = null;
  #open = false;

  /** @param {HTMLElement} element that holds the images @param {Deeds} deeds */
  constructor(element, deeds) {
    this.element = element;
    this.deeds = deeds;
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  /** The image's box, to be filled. @param {any} gate @param {number} frame @param {...(Node | string | false | undefined)} children */
  cell(gate, frame, ...children) {
    const name = t("choice.image", { number: frame + 1, count: gate.batch });
    return el(
      "button",
      {
        type: "button",
        class: "gatebus-frame gatebus-tick",
        role: "checkbox",
        "aria-label": name,
        "data-frame": frame,
        onclick: () => this.#press(frame),
        ondblclick: () => this.deeds.open?.(frame),
      },
      ...children,
      el("span", { class: "gatebus-box", "aria-hidden": "true" }),
      el("span", { class: "gatebus-frame-number", "aria-hidden": "true" }, String(frame + 1)),
    );
  }

  /** Other images are shown. @param {any} gate @param {HTMLElement[]} cells */
  take(gate, cells) {
    const same = gate?.id === this.#gate?.id;
    this.#gate = gate;
    this.#cells = cells;
    this.#cursor = same ? Math.min(this.#cursor, Math.max(0, cells.length - 1)) : 0;
    const label = cells.length ? t("choice.images") : null;
    for (const [name, value] of [["role", label && "group"], ["aria-label", label]]) {
      if (value) this.element.setAttribute(String(name), value);
      else this.element.removeAttribute(String(name));
    }
  }

  /** Shows what is ticked. @param {any} gate @param {boolean} open whether that may be changed @param {number[]} ticked */
  show(gate, open, ticked) {
    this.#gate = gate;
    this.#open = open;
    const on = new Set(ticked);
    for (const [frame, cell] of this.#cells.entries()) {
      cell.setAttribute("aria-checked", String(on.has(frame)));
      cell.setAttribute("aria-disabled", String(!open));
      cell.tabIndex = frame === this.#cursor ? 0 : -1;
    }
  }

  /**
   * What a key does at a gate that asks only for images, wherever the focus is.
   * @param {KeyboardEvent} event
   * @returns {boolean} whether it did something
   */
  press(event) {
    const gate = this.#gate;
    if (!this.#open || !isChooser(gate) || event.ctrlKey || event.metaKey || event.altKey) return false;
    const { answers, pass } = this.deeds;
    const number = routeOfKey(event.key);
    if (number && number <= gate.batch) answers.toggle(gate, number - 1);
    else if (event.key.toLowerCase() === "a" && gate.batch > 1) answers.toggleAll(gate);
    else if (event.key === "Enter") pass?.();
    else return false;
    return true;
  }

  /** @param {number} frame */
  #press(frame) {
    this.#cursor = frame;
    if (this.#open) this.deeds.answers.toggle(this.#gate, frame);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!this.#cells.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const columns = Math.max(1, this.#cells.filter((cell) => cell.offsetTop === this.#cells[0].offsetTop).length);
    /** @type {Record<string, number>} */
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -this.#cells.length, End: this.#cells.length };
    if (event.key in steps) this.#go(this.#cursor + steps[event.key], event.key === "Home" || event.key === "End");
    else if (event.key.toLowerCase() === "a" && this.#open) this.deeds.answers.toggleAll(this.#gate);
    // The space bar presses the button itself, Enter would too.
    else if (event.key === " ") return event.stopPropagation();
    else if (event.key !== "Enter" || !this.press(event)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} frame @param {boolean} clamp whether beyond the end means the last one */
  #go(frame, clamp) {
    const last = this.#cells.length - 1;
    if (!clamp && (frame < 0 || frame > last)) return;
    this.#cells[this.#cursor].tabIndex = -1;
    this.#cursor = Math.min(last, Math.max(0, frame));
    this.#cells[this.#cursor].tabIndex = 0;
    this.#cells[this.#cursor].focus();
  }
}
