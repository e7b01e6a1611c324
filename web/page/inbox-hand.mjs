/** What a hand does in the inbox: clicks, ctrl and shift, checkboxes, a long press; and whether it rests. */

/** @typedef {import("../comfyui/lib/selection.mjs").Selection} Selection */

/** Milliseconds of a long press. */
const PRESS = 450;
/** Pixels that a finger may tremble while it presses. */
const TREMBLE = 10;

export class InboxHand {
  #acted = -Infinity;
  #down = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #press;
  /** Whether the click that follows belongs to a long press. */
  #pressed = false;
  #touch = false;

  /**
   * @param {HTMLElement} grid
   * @param {Selection} selection
   * @param {import("../comfyui/lib/dom.mjs").Undoing} undoing
   */
  constructor(grid, selection, undoing) {
    this.grid = grid;
    this.selection = selection;
    const acted = () => this.acted();
    for (const type of ["pointermove", "wheel", "scroll", "touchmove"]) undoing.listen(grid, type, acted, { passive: true });
    undoing.listen(grid, "pointerdown", (event) => this.#pressing(event));
    undoing.listen(grid, "pointermove", (event) => this.#moving(event));
    for (const type of ["pointerup", "pointercancel"]) undoing.listen(window, type, () => this.#released());
    undoing.listen(grid, "contextmenu", (event) => this.#touch && event.preventDefault());
    undoing.listen(grid, "click", (event) => this.#clicked(event), { capture: true });
    undoing.add(() => clearTimeout(this.#press));
  }

  /** Somebody did something. */
  acted() {
    this.#acted = performance.now();
  }

  /** Whether nobody has done anything for that long, or is about to press a route. @param {number} milliseconds */
  calm(milliseconds) {
    const aiming = matchMedia("(hover: hover)").matches && this.grid.querySelector(".gi-route:hover");
    return !this.#down && !aiming && performance.now() - this.#acted >= milliseconds;
  }

  /** @param {EventTarget | null} target @returns {string} the id of the card there, "" for none */
  #idAt(target) {
    return (target instanceof Element && target.closest(".gi-card")?.getAttribute("data-id")) || "";
  }

  /** @param {PointerEvent} event */
  #pressing(event) {
    this.acted();
    this.#down = true;
    this.#pressed = false;
    this.#touch = event.pointerType !== "mouse";
    const id = this.#idAt(event.target);
    const control = /** @type {Element} */ (event.target).closest("button, label");
    if (!this.#touch || !id || control) return;
    this.x = event.clientX;
    this.y = event.clientY;
    clearTimeout(this.#press);
    this.#press = setTimeout(() => {
      this.#pressed = true;
      navigator.vibrate?.(15);
      this.selection.choose(id, { toggle: true });
    }, PRESS);
  }

  /** @param {PointerEvent} event */
  #moving(event) {
    if (Math.hypot(event.clientX - (this.x ?? 0), event.clientY - (this.y ?? 0)) > TREMBLE) clearTimeout(this.#press);
  }

  #released() {
    clearTimeout(this.#press);
    this.#down = false;
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    this.acted();
    const target = /** @type {Element} */ (event.target);
    const id = this.#idAt(target);
    if (!id || target.closest("button")) return;
    const toggle = event.ctrlKey || event.metaKey;
    const ticked = target.closest("label");
    // Touch selects by taps once something is selected.
    const tapped = this.#touch && this.selection.size > 0;
    if (this.#pressed) event.preventDefault();
    else if (ticked) {
      // The box is ticked by the selection, not by the click; a label clicks its box once more.
      event.preventDefault();
      this.selection.choose(id, { toggle: !event.shiftKey, range: event.shiftKey });
      this.#focus(target);
    } else if (toggle || event.shiftKey || tapped) {
      event.preventDefault();
      this.selection.choose(id, { toggle: !event.shiftKey || toggle, range: event.shiftKey });
      this.#focus(target);
    } else if (!target.closest("a")) {
      this.selection.cursor = id;
      this.selection.dispatchEvent(new Event("change"));
      this.#focus(target);
    }
    this.#pressed = false;
  }

  /** @param {Element} target */
  #focus(target) {
    /** @type {HTMLElement | null} */ (target.closest(".gi-card"))?.focus({ preventScroll: true });
  }
}
