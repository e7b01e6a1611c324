/** One cell of the grid: picture, index, marks and a label that can be edited in its place. */
import { el } from "./dom.mjs";

/**
 * @typedef {object} View what a cell shows
 * @property {string} src the thumbnail's URL; names its content, so the same URL is never loaded again
 * @property {string} label
 * @property {number} index from 0
 * @property {boolean} masked
 * @property {boolean} active
 * @property {boolean} selected
 * @property {boolean} cursor
 * @property {string} description for those who don't see it
 * @property {string} labelHint shown where a label could stand
 * @property {string} maskHint
 */

/**
 * @typedef {object} Content
 * @property {string} name for those who don't see it
 * @property {string} labelName of the field in which a label is edited
 * @property {(id: string, index: number, pixels: number) => Omit<View, "selected" | "cursor" | "index">} view
 * @property {(id: string) => {small: string, large: string, caption: string} | null} zoom null: it is gone
 * @property {(id: string) => string} label
 * @property {(img: HTMLImageElement, url: string, signal: AbortSignal) => void} load shows the image of that URL
 */

/** Times that a picture is asked for when it does not come. */
const TRIES = 4;

export class Cell {
  #src = "";
  #tries = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {HTMLInputElement | null} */
  #editor = null;

  /** @type {AbortController | null} of what loads */
  #loading = null;

  /**
   * @param {string} id
   * @param {string} elementId
   * @param {(img: HTMLImageElement, url: string, signal: AbortSignal) => void} load
   */
  constructor(id, elementId, load) {
    this.id = id;
    this.load = load;
    this.picture = el("img", { alt: "", draggable: "false", decoding: "async" });
    this.index = el("span", { class: "gb-cell-index", "aria-hidden": "true" });
    this.mask = el("span", { class: "gb-cell-mask", hidden: true });
    this.label = el("span", { class: "gb-cell-label" });
    this.element = el(
      "div",
      { class: "gb-cell", role: "option", id: elementId, "data-id": id },
      el("div", { class: "gb-cell-picture" }, this.picture, this.index, this.mask),
      this.label,
    );
    this.picture.addEventListener("load", () => this.element.classList.remove("gb-cell-broken"));
    this.picture.addEventListener("error", () => this.#failed());
  }

  /** @param {View} view @param {number} delay milliseconds before the picture is asked for */
  show(view, delay) {
    const { element } = this;
    this.index.textContent = String(view.index);
    this.mask.toggleAttribute("hidden", !view.masked);
    this.mask.title = view.maskHint;
    if (!this.#editor) {
      this.label.textContent = view.label || view.labelHint;
      this.label.title = view.label;
      this.label.classList.toggle("gb-cell-unlabelled", !view.label);
    }
    element.classList.toggle("gb-cell-active", view.active);
    element.classList.toggle("gb-cell-cursor", view.cursor);
    element.setAttribute("aria-selected", String(view.selected));
    element.setAttribute("aria-label", view.description);
    if (view.src !== this.#src) {
      this.#src = view.src;
      this.#tries = 0;
      clearTimeout(this.#timer);
      // While somebody scrolls past, a cell that is gone at once asks for nothing.
      if (delay) this.#timer = setTimeout(() => this.#load(), delay);
      else this.#load();
    }
  }

  /** @param {number} x @param {number} y @param {number} width */
  put(x, y, width) {
    const { style } = this.element;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
  }

  remove() {
    clearTimeout(this.#timer);
    // What is still loading is given up: a fast scroll must not leave a queue behind.
    this.#loading?.abort();
    if (!this.picture.complete) this.picture.removeAttribute("src");
    this.element.remove();
  }

  get editing() {
    return this.#editor !== null;
  }

  /**
   * Edits the label in its place: Enter or leaving it keeps the text, Escape does not.
   * @param {string} text
   * @param {string} name for those who don't see it
   * @param {(text: string | null, next: boolean) => void} done null: unchanged; next: by Tab, to the next cell
   */
  edit(text, name, done) {
    if (this.#editor) return;
    const editor = el("input", { class: "gb-cell-editor", type: "text", value: text, maxlength: 200, "aria-label": name });
    this.#editor = /** @type {any} */ (editor);
    const end = (/** @type {boolean} */ keep, next = false) => {
      if (!this.#editor) return;
      this.#editor = null;
      const value = editor.value.trim();
      editor.remove();
      this.label.removeAttribute("hidden");
      done(keep && value !== text ? value : null, next);
    };
    editor.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      event.stopPropagation();
      if (event.isComposing) return;
      if (event.key === "Enter" || event.key === "Escape" || event.key === "Tab") {
        event.preventDefault();
        end(event.key !== "Escape", event.key === "Tab");
      }
    });
    editor.addEventListener("blur", () => end(true));
    this.label.setAttribute("hidden", "");
    this.element.append(editor);
    editor.focus({ preventScroll: true });
    editor.select();
  }

  #load() {
    this.#loading?.abort();
    this.#loading = new AbortController();
    this.load(/** @type {any} */ (this.picture), this.#src, this.#loading.signal);
  }

  #failed() {
    this.element.classList.add("gb-cell-broken");
    this.#tries += 1;
    if (this.#tries >= TRIES) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.picture.removeAttribute("src");
      this.#load();
    }, 500 * 3 ** this.#tries);
  }
}
