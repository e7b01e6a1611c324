/** The line between two images that are compared: dragged, or moved by arrow keys. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** Of the width, by one press of an arrow key. */
const STEP = 0.02;

export class Wipe {
  #place = 0.5;

  /** @param {(place: number) => void} moved 0 to 1 of the width */
  constructor(moved) {
    this.moved = moved;
    this.element = el(
      "div",
      {
        class: "gs-wipe",
        role: "slider",
        tabindex: 0,
        "aria-label": t("screen.wipe"),
        "aria-valuemin": 0,
        "aria-valuemax": 100,
        hidden: true,
        onpointerdown: (/** @type {PointerEvent} */ event) => {
          event.preventDefault();
          this.element.setPointerCapture(event.pointerId);
          this.element.focus({ preventScroll: true });
        },
        onpointermove: (/** @type {PointerEvent} */ event) => {
          if (!this.element.hasPointerCapture(event.pointerId)) return;
          const box = /** @type {HTMLElement} */ (this.element.parentElement).getBoundingClientRect();
          this.#move((event.clientX - box.left) / box.width);
        },
        onkeydown: (/** @type {KeyboardEvent} */ event) => {
          const places = { ArrowLeft: this.#place - STEP, ArrowRight: this.#place + STEP, Home: 0, End: 1 };
          const place = places[/** @type {keyof typeof places} */ (event.key)];
          if (place === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
          event.preventDefault();
          event.stopPropagation();
          this.#move(place);
        },
      },
      el("span", { class: "gs-wipe-grip" }, "⟺"),
    );
  }

  /** @param {boolean} shown @param {number} place */
  show(shown, place) {
    this.#place = place;
    this.element.hidden = !shown;
    this.element.style.left = `${100 * place}%`;
    this.element.setAttribute("aria-valuenow", String(Math.round(100 * place)));
  }

  /** @param {number} place */
  #move(place) {
    this.#place = Math.min(1, Math.max(0, place));
    this.moved(this.#place);
  }
}
