/** A large preview beside what it belongs to. It takes no pointer and no focus: the page stays usable. */
import { el } from "./dom.mjs";

/** Pixels between it and the window's edge, and what it belongs to. */
const MARGIN = 12;

export class Zoom {
  #element = el("div", { class: "gb-zoom", role: "img", hidden: true });
  #shown = "";
  /** @type {AbortController | null} of what loads */
  #loading = null;

  /** @param {(img: HTMLImageElement, url: string, signal: AbortSignal) => void} load */
  constructor(load) {
    this.load = load;
  }

  /** The id of what is shown, "" for nothing. */
  get shown() {
    return this.#shown;
  }

  /**
   * @param {string} id
   * @param {{small: string, large: string, caption: string}} what URLs; the small one shows until the large one is there
   * @param {Element} beside
   */
  show(id, { small, large, caption }, beside) {
    this.#shown = id;
    this.#loading?.abort();
    this.#loading = new AbortController();
    const picture = /** @type {any} */ (el("img", { alt: "" }));
    const loading = /** @type {any} */ (el("img", { alt: "", class: "gb-zoom-loading" }));
    this.load(picture, small, this.#loading.signal);
    this.load(loading, large, this.#loading.signal);
    loading.addEventListener("load", () => {
      picture.remove();
      loading.classList.remove("gb-zoom-loading");
    });
    this.#element.replaceChildren(picture, loading, el("div", { class: "gb-zoom-caption" }, caption));
    this.#element.setAttribute("aria-label", caption);
    this.#element.removeAttribute("hidden");
    document.body.append(this.#element);
    this.#place(beside.getBoundingClientRect());
  }

  hide() {
    this.#shown = "";
    // A large picture that is still on its way is given up.
    this.#loading?.abort();
    for (const img of this.#element.querySelectorAll("img")) img.removeAttribute("src");
    this.#element.replaceChildren();
    this.#element.setAttribute("hidden", "");
    this.#element.remove();
  }

  /** On the side with more room. @param {DOMRect} box */
  #place(box) {
    const left = box.left - 2 * MARGIN;
    const right = window.innerWidth - box.right - 2 * MARGIN;
    const room = Math.max(left, right, 200);
    const side = Math.min(room, window.innerHeight - 2 * MARGIN, 1024);
    const { style } = this.#element;
    style.width = style.height = `${side}px`;
    const x = right >= left ? box.right + MARGIN : box.left - MARGIN - side;
    style.left = `${Math.max(MARGIN, Math.min(x, window.innerWidth - side - MARGIN))}px`;
    const y = box.top + box.height / 2 - side / 2;
    style.top = `${Math.max(MARGIN, Math.min(y, window.innerHeight - side - MARGIN))}px`;
  }
}
