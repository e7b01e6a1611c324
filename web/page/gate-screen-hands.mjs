/**
 * Mouse, pen and fingers on the gate's image: drag moves it, wheel and two fingers zoom, a double
 * click or tap zooms to pixels and back; a finger that strokes an image shown whole swipes.
 */
import { Undoing } from "../comfyui/lib/dom.mjs";
import { Pointers } from "../comfyui/lib/painter-pointer.mjs";

/** @typedef {import("../comfyui/lib/painter-view.mjs").Point} Point */
/**
 * What the hands do.
 * @typedef {object} Deeds
 * @property {() => boolean} fits whether the image is shown whole, so that there is nothing to move
 * @property {(dx: number, dy: number) => void} move
 * @property {(before: [Point, Point], after: [Point, Point]) => void} pinch
 * @property {(factor: number, at: Point) => void} zoom
 * @property {(at: Point) => void} toggle
 * @property {(at: Point | null) => void} hover null when the pointer has left
 * @property {(down: boolean) => void} press
 * @property {(dx: number) => void} swiping 0 when it is over
 * @property {(side: -1 | 1) => void} swipe to the left, to the right
 */

/** Pixels within which a finger has not moved. */
const STILL = 10;
/** Pixels that a swipe is long at least. */
const SWIPE = 70;
/** Milliseconds between two taps of a double one. */
const DOUBLE = 320;

export class Hands {
  /** The pointer's last place, null when it is not over the image. @type {Point | null} */
  at = null;
  #undoing = new Undoing();
  /** @type {Set<number>} pointers that are down */
  #down = new Set();
  /** @type {{x: number, y: number, time: number, touch: boolean} | null} where the only one went down */
  #start = null;
  /** @type {{x: number, y: number, time: number} | null} */
  #tapped = null;
  #swiping = false;

  /** @param {HTMLElement} element @param {Deeds} deeds */
  constructor(element, deeds) {
    this.element = element;
    this.deeds = deeds;
    const nothing = () => undefined;
    const pointers = new Pointers(element, {
      begin: nothing,
      paint: nothing,
      end: nothing,
      cancel: nothing,
      hover: (at) => {
        this.at = at;
        deeds.hover(at);
      },
      move: (dx, dy) => deeds.fits() || deeds.move(dx, dy),
      pinch: (before, after) => deeds.pinch(before, after),
      zoom: (factor, at) => deeds.zoom(factor, at),
    });
    pointers.moving = true;
    this.#undoing.add(() => pointers.dispose());
    const listen = this.#undoing.listen.bind(this.#undoing, element);
    listen("pointerdown", (event) => this.#press(event));
    listen("pointermove", (event) => this.#drag(event));
    listen("pointerup", (event) => this.#release(event, false));
    listen("pointercancel", (event) => this.#release(event, true));
  }

  dispose() {
    this.#undoing.run();
  }

  /** @param {PointerEvent} event */
  #place(event) {
    const box = this.element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  /** @param {PointerEvent} event */
  #press(event) {
    this.#down.add(event.pointerId);
    const alone = this.#down.size === 1 && event.button === 0;
    this.#start = alone ? { ...this.#place(event), time: event.timeStamp, touch: event.pointerType === "touch" } : null;
    this.#endSwipe();
    this.deeds.press(alone);
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (!this.#start?.touch || !this.deeds.fits()) return;
    const { x, y } = this.#place(event);
    const [dx, dy] = [x - this.#start.x, y - this.#start.y];
    this.#swiping ||= Math.abs(dx) > STILL && Math.abs(dx) > 1.5 * Math.abs(dy);
    if (this.#swiping) this.deeds.swiping(dx);
  }

  /** @param {PointerEvent} event @param {boolean} cancelled */
  #release(event, cancelled) {
    if (!this.#down.delete(event.pointerId)) return;
    const start = this.#start;
    this.#start = null;
    this.deeds.press(false);
    const swiped = this.#swiping;
    this.#endSwipe();
    if (!start || cancelled) return;
    const at = this.#place(event);
    const dx = at.x - start.x;
    if (swiped) {
      if (Math.abs(dx) >= SWIPE) this.deeds.swipe(dx < 0 ? -1 : 1);
    } else if (Math.hypot(dx, at.y - start.y) <= STILL) this.#tap(at, event.timeStamp);
  }

  /** @param {Point} at @param {number} time */
  #tap(at, time) {
    const last = this.#tapped;
    const double = last && time - last.time < DOUBLE && Math.hypot(at.x - last.x, at.y - last.y) < 3 * STILL;
    this.#tapped = double ? null : { ...at, time };
    if (double) this.deeds.toggle(at);
  }

  #endSwipe() {
    if (this.#swiping) this.deeds.swiping(0);
    this.#swiping = false;
  }
}
