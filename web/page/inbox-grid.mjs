/** The cards of the inbox, of which only those in view are in the page, however many there are. */
import { Undoing, el } from "../comfyui/lib/dom.mjs";
import { GAP, place, scrolledTo, visible } from "../comfyui/lib/grid-layout.mjs";
import { layoutOf } from "./inbox-layout.mjs";

/** @typedef {import("./inbox-card.mjs").Card} Card */
/** @typedef {import("./inbox-layout.mjs").Size} Size */

/** Milliseconds without a further scroll after which pictures are asked for. */
const SETTLED = 90;
/** Height of the bars above the cards. */
const BARS = 110;

/** Event `drawn`. */
export class InboxGrid extends EventTarget {
  /** @type {Map<string, Card>} those in the page */
  cards = new Map();
  /** @type {readonly string[]} */
  #ids = [];
  /** @type {Size} */
  #size = "medium";
  #routes = 2;
  #layout = layoutOf({ count: 0, width: 1, size: "medium", routes: 2, button: 32 });
  #frame = 0;
  #scrolled = 0;
  #cursor = "";
  #undoing = new Undoing();

  /**
   * @param {(id: string) => Card} make
   * @param {(card: Card, delay: number) => void} show
   * @param {string} name for those who don't see it
   */
  constructor(make, show, name) {
    super();
    this.make = make;
    this.show = show;
    this.space = el("div", { class: "gi-space", role: "feed", "aria-label": name });
    this.element = el("div", { class: "gi-grid" }, this.space);
    const resized = new ResizeObserver(() => this.#resized());
    resized.observe(this.element);
    this.#undoing.add(() => resized.disconnect());
    this.#undoing.listen(this.element, "scroll", () => {
      this.#scrolled = performance.now();
      this.redraw();
    }, { passive: true });
    this.#undoing.add(() => cancelAnimationFrame(this.#frame));
  }

  remove() {
    this.#undoing.run();
    for (const card of this.cards.values()) card.remove();
    this.cards.clear();
  }

  /** Cards in a row. */
  get columns() {
    return this.#layout.columns;
  }

  /** Rows that are seen whole. */
  get rows() {
    return Math.max(1, Math.floor(this.element.clientHeight / this.#layout.row));
  }

  /**
   * Shows these in that order; the card under the cursor, or else the first in view, stays where it is seen.
   * @param {readonly string[]} ids
   * @param {{size: Size, routes: number}} how `routes`: the most that one of the gates has
   */
  setOrder(ids, { size, routes }) {
    const anchor = this.#anchor();
    const resized = size !== this.#size;
    this.#ids = ids;
    this.#size = size;
    this.#routes = routes;
    this.element.dataset.size = size;
    this.#measure();
    const index = anchor ? ids.indexOf(anchor.id) : -1;
    if (anchor && index >= 0) {
      const top = place(this.#layout, index).y - anchor.offset;
      if (Math.abs(top - this.element.scrollTop) >= 1) this.element.scrollTop = top;
    }
    if (resized && anchor) this.reveal(anchor.id);
    this.redraw();
  }

  /** The card of that id stays in the page and in its place. @param {string} id "" for none */
  setCursor(id) {
    this.#cursor = id;
    this.redraw();
  }

  redraw() {
    this.#frame ||= requestAnimationFrame(() => this.draw());
  }

  /** Scrolls so that it is seen. @param {string} id */
  reveal(id) {
    const index = this.#ids.indexOf(id);
    if (index < 0) return;
    const { scrollTop, clientHeight } = this.element;
    const top = scrolledTo(this.#layout, index, scrollTop, clientHeight);
    if (top !== scrollTop) this.element.scrollTop = top;
    this.redraw();
  }

  /** Draws now. */
  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { clientHeight, clientWidth, scrollTop } = this.element;
    // Hidden: nothing is drawn, nothing is loaded.
    if (!clientWidth || !clientHeight) return;
    const [from, to] = visible(this.#layout, scrollTop, clientHeight);
    const shown = new Map();
    for (let index = from; index < to; index += 1) shown.set(this.#ids[index], index);
    // What has the focus stays, wherever it was scrolled to.
    const kept = this.#cursor && !shown.has(this.#cursor) ? this.#ids.indexOf(this.#cursor) : -1;
    const focused = this.space.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement) : null;
    if (kept >= 0 && this.cards.get(this.#cursor)?.element.contains(focused)) shown.set(this.#cursor, kept);
    for (const [id, card] of this.cards) {
      if (shown.has(id)) continue;
      card.remove();
      this.cards.delete(id);
    }
    const delay = performance.now() - this.#scrolled < SETTLED ? SETTLED : 0;
    /** @type {Element | null} */
    let next = this.space.firstElementChild;
    for (const [id, index] of [...shown].sort((one, other) => one[1] - other[1])) {
      const card = this.cards.get(id) ?? this.make(id);
      this.cards.set(id, card);
      // In the order that Tab takes; what is in its place already is not moved, or it would lose the focus.
      if (card.element === next) next = next.nextElementSibling;
      else this.space.insertBefore(card.element, next);
      const { x, y } = place(this.#layout, index);
      card.put(x, y, this.#layout.cell, this.#layout.row - GAP, index, this.#ids.length);
      this.show(card, delay);
    }
    if (focused && focused !== document.activeElement && this.space.contains(focused)) focused.focus({ preventScroll: true });
    this.dispatchEvent(new Event("drawn"));
  }

  #measure() {
    const { clientWidth } = this.element;
    const button = matchMedia("(pointer: coarse)").matches ? 44 : 32;
    const count = this.#ids.length;
    // Of the window, not of the grid: what comes up below it does not change the cards.
    const room = window.innerHeight - BARS;
    this.#layout = layoutOf({ count, width: clientWidth - 2 * GAP, size: this.#size, routes: this.#routes, button, room });
    this.element.style.setProperty("--gi-rows", String(this.#layout.rows));
    this.space.style.height = `${this.#layout.height}px`;
  }

  #resized() {
    const anchor = this.#anchor();
    this.#measure();
    if (anchor) this.element.scrollTop = place(this.#layout, this.#ids.indexOf(anchor.id)).y - anchor.offset;
    this.redraw();
  }

  /** What is to stay where it is seen. @returns {{id: string, offset: number} | null} */
  #anchor() {
    const { scrollTop, clientHeight } = this.element;
    const { row, columns } = this.#layout;
    // At the top, the top is what stays.
    if (scrollTop < 1) return null;
    const index = this.#cursor ? this.#ids.indexOf(this.#cursor) : -1;
    const y = index < 0 ? -1 : place(this.#layout, index).y;
    if (index >= 0 && y + row > scrollTop && y < scrollTop + clientHeight) return { id: this.#cursor, offset: y - scrollTop };
    const first = Math.floor(scrollTop / row) * columns;
    const id = this.#ids[first];
    return id === undefined ? null : { id, offset: place(this.#layout, first).y - scrollTop };
  }
}
