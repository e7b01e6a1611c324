/**
 * Mouse, pen and fingers on the painter's stage. One pointer paints, two fingers zoom and move; the
 * middle button, or any with the space bar, moves; the right one paints with the other tool. Once
 * a pen was seen a single finger moves, so that a resting hand paints nothing.
 */
import { Undoing } from "./dom.mjs";

/** @typedef {import("./painter-view.mjs").Point} Point */
/**
 * What the pointers do.
 * @typedef {object} Hands
 * @property {(at: Point, pressure: number, other: boolean, line: boolean) => void} begin a stroke
 * @property {(at: Point, pressure: number) => void} paint
 * @property {() => void} end
 * @property {() => void} cancel takes the stroke back
 * @property {(at: Point | null) => void} hover null when the pointer has left
 * @property {(dx: number, dy: number) => void} move
 * @property {(before: [Point, Point], after: [Point, Point]) => void} pinch
 * @property {(factor: number, at: Point) => void} zoom
 */

/** The zoom by one notch of a wheel (deltaY 100). */
const NOTCH = 1.2;

/** Pixels of a line, for wheels that count lines. */
const LINE = 33;

/** Pressure that a pen's first touch has at least, so that it is seen. */
const LIGHTEST = 0.05;

export class Pointers {
  /** Whether the space bar is down: any pointer moves the picture. */
  moving = false;
  /** @type {Map<number, Point>} */
  #down = new Map();
  /** @type {"" | "paint" | "move" | "pinch" | "rest"} `rest`: fingers are still down after a pinch */
  #doing = "";
  #penSeen = false;
  #undoing = new Undoing();

  /**
   * @param {HTMLElement} element
   * @param {Hands} hands
   */
  constructor(element, hands) {
    this.element = element;
    this.hands = hands;
    const listen = this.#undoing.listen.bind(this.#undoing, element);
    listen("pointerdown", (event) => this.#press(event));
    listen("pointermove", (event) => this.#drag(event));
    listen("pointerup", (event) => this.#release(event));
    listen("pointercancel", (event) => this.#release(event, true));
    listen("pointerleave", () => this.#doing || hands.hover(null));
    listen("contextmenu", (event) => event.preventDefault());
    listen("wheel", (event) => this.#wheel(event), { passive: false });
  }

  dispose() {
    this.#undoing.run();
  }

  /** @param {PointerEvent | WheelEvent} event @returns {Point} */
  #place(event) {
    const box = this.element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /** @param {PointerEvent} event */
  #press(event) {
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    const at = this.#place(event);
    this.#down.set(event.pointerId, at);
    if (event.pointerType === "pen") this.#penSeen = true;
    if (this.#down.size === 2) {
      if (this.#doing === "paint") this.hands.cancel();
      this.#doing = "pinch";
    } else if (this.#down.size > 2) {
      this.#doing = "rest";
    } else if (this.moving || event.button === 1 || (event.pointerType === "touch" && this.#penSeen)) {
      this.#doing = "move";
    } else if (event.button === 0 || event.button === 2 || event.button === 5) {
      this.#doing = "paint";
      // 5 is a pen's eraser.
      this.hands.begin(at, pressure(event), event.button !== 0, event.shiftKey);
    }
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    const before = this.#down.get(event.pointerId);
    const at = this.#place(event);
    if (event.pointerType !== "touch") this.hands.hover(at);
    if (!before) return;
    if (this.#doing === "paint") {
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length ? steps : [event]) this.hands.paint(this.#place(step), pressure(step));
    } else if (this.#doing === "move") {
      this.hands.move(at.x - before.x, at.y - before.y);
    } else if (this.#doing === "pinch") {
      const ids = [...this.#down.keys()];
      const was = /** @type {[Point, Point]} */ (ids.map((id) => this.#down.get(id)));
      const is = /** @type {[Point, Point]} */ (ids.map((id) => (id === event.pointerId ? at : this.#down.get(id))));
      this.hands.pinch(was, is);
    }
    this.#down.set(event.pointerId, at);
  }

  /** @param {PointerEvent} event @param {boolean} [cancelled] the system took the pointer away */
  #release(event, cancelled = false) {
    if (!this.#down.delete(event.pointerId)) return;
    if (this.#doing === "paint") {
      if (cancelled) this.hands.cancel();
      else this.hands.end();
    }
    this.#doing = this.#down.size ? "rest" : "";
    if (event.pointerType === "touch") this.hands.hover(null);
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : LINE;
    if (event.shiftKey) this.hands.move(-(event.deltaX || event.deltaY) * unit, 0);
    else {
      // A pinch on a touch pad comes as a wheel with ctrl, in small steps.
      const steps = (event.deltaY * unit * (event.ctrlKey ? 4 : 1)) / 100;
      this.hands.zoom(NOTCH ** -Math.max(-4, Math.min(4, steps)), this.#place(event));
    }
  }
}

/** @param {PointerEvent} event 0 to 1; only pens tell any */
function pressure(event) {
  return event.pointerType === "pen" ? Math.max(LIGHTEST, event.pressure) : 1;
}
