/** When a cell's large preview shows: while a key keeps it, or while a mouse rests on the cell. */
import { Zoom } from "./grid-zoom.mjs";

/** Milliseconds that a mouse rests on a cell before its preview shows. */
const HOVER = 900;

export class Preview {
  /** Whether it stays until a key ends it. */
  pinned = false;
  /** @type {Zoom} */
  #zoom;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {import("./grid-cell.mjs").Content} content @param {Element} beside */
  constructor(content, beside) {
    this.content = content;
    this.beside = beside;
    this.#zoom = new Zoom(content.load);
  }

  /** The id of what is shown, "" for nothing. */
  get shown() {
    return this.#zoom.shown;
  }

  /** A mouse rests there; "" for nowhere. @param {string} id */
  rest(id) {
    clearTimeout(this.#timer);
    if (this.shown && !this.pinned && this.shown !== id) this.hide();
    if (id && !this.shown) this.#timer = setTimeout(() => this.#show(id), HOVER);
  }

  /** @param {string} id */
  pin(id) {
    clearTimeout(this.#timer);
    this.pinned = true;
    this.#show(id);
  }

  /** @param {string} id */
  toggle(id) {
    if (this.pinned) this.hide();
    else this.pin(id);
  }

  hide() {
    clearTimeout(this.#timer);
    this.pinned = false;
    if (this.shown) this.#zoom.hide();
  }

  /** @param {string} id */
  #show(id) {
    const what = this.content.zoom(id);
    if (what) this.#zoom.show(id, what, this.beside);
  }
}
