/**
 * A gate's image(s) with the painted mask over them, as large as the place allows. Free of ComfyUI.
 *
 * One image is its preview. A batch is its preview until it is stored, then a grid of thumbnails: of
 * its first images, or of all of them where they can be ticked.
 */
import { el } from "./dom.mjs";
import { isBatch } from "./gate-answers.mjs";
import { columnsFor } from "./gate-state.mjs";
import { Ticks } from "./gate-ticks.mjs";
import { t } from "./i18n.mjs";
import { loadBlob, showImage } from "./images.mjs";

/** @typedef {import("./api.mjs").Api} Api */

/** Images of a batch that are shown. */
const FRAMES = 16;
/** Pixels of an image that can be ticked, at least; more of them are scrolled to. */
const LEAST = 60;
/** The mask's colour, red, green, blue, and how much it covers (0 to 255). */
const TINT = [255, 64, 64, 150];

export class GatePicture {
  #shown = "";
  #masked = "";
  #frames = 1;
  #aspect = 1;
  #abort = new AbortController();
  #maskAbort = new AbortController();
  /** @type {HTMLCanvasElement | null} the mask tinted, drawn into each overlay */
  #mask = null;

  /**
   * @param {Api} api
   * @param {(gate: any, frame: number) => void} [zoom] a double click on an image
   * @param {import("./gate-ticks.mjs").Deeds} [ticking] where images of a batch can be ticked
   */
  constructor(api, zoom, ticking) {
    this.api = api;
    this.zoom = zoom;
    this.element = el("div", { class: "gatebus-picture" });
    this.ticks = ticking && new Ticks(this.element, { ...ticking, open: (frame) => zoom?.(this.gate, frame) });
    /** @type {any} */
    this.gate = null;
    this.resized = new ResizeObserver(() => this.#arrange());
    this.resized.observe(this.element);
  }

  /**
   * Shows that gate's, or nothing.
   * @param {any} gate
   * @param {boolean} [open] whether images may be ticked
   * @param {number[]} [ticked] those that are
   */
  show(gate, open = false, ticked = []) {
    this.gate = gate;
    const grid = !!gate?.layout && gate.batch > 1;
    const shown = gate ? `${gate.id} ${gate.fence} ${grid}` : "";
    if (shown !== this.#shown) {
      this.#shown = shown;
      this.#abort.abort();
      this.#abort = new AbortController();
      this.#masked = "";
      if (!gate) this.element.replaceChildren();
      else if (grid) this.#grid(gate);
      else this.#single(gate);
      this.element.classList.toggle("gatebus-ticking", grid && !!this.ticks && isBatch(gate));
      this.ticks?.take(gate, grid ? /** @type {any[]} */ ([...this.element.children]) : []);
      this.#arrange();
    }
    this.ticks?.show(gate, open, ticked);
    void this.#showMask(gate);
  }

  remove() {
    this.#abort.abort();
    this.#maskAbort.abort();
    this.resized.disconnect();
  }

  /** @param {any} gate */
  #single(gate) {
    this.#frames = 1;
    const img = /** @type {any} */ (el("img", { alt: t("gate.image", { number: 1, count: gate.batch }), draggable: "false" }));
    img.addEventListener("error", () => this.#fail(img, "preview"));
    showImage(img, this.api.host, this.api.previewUrl(gate), this.#abort.signal);
    const more = gate.batch > 1 && el("span", { class: "gatebus-more" }, `× ${gate.batch}`);
    this.element.replaceChildren(this.#cell(gate, 0, img, more));
  }

  /** @param {any} gate */
  #grid(gate) {
    this.#frames = this.ticks ? gate.batch : Math.min(gate.batch, FRAMES);
    this.#aspect = gate.width / gate.height;
    const rest = gate.batch - this.#frames;
    const cells = Array.from({ length: this.#frames }, (_, frame) => {
      const alt = t("gate.image", { number: frame + 1, count: gate.batch });
      const lazy = frame < FRAMES ? null : "lazy";
      const img = /** @type {any} */ (el("img", { alt: this.ticks ? "" : alt, draggable: "false", loading: lazy }));
      img.addEventListener("error", () => this.#fail(img, alt));
      showImage(img, this.api.host, this.api.gateThumbnailUrl(gate, frame), this.#abort.signal);
      if (this.ticks) return this.ticks.cell(gate, frame, img);
      const last = rest > 0 && frame === this.#frames - 1;
      return this.#cell(gate, frame, img, last && el("span", { class: "gatebus-more" }, t("gate.more", { count: rest })));
    });
    this.element.replaceChildren(...cells);
  }

  /**
   * @param {any} gate
   * @param {number} frame
   * @param {HTMLElement} image
   * @param {HTMLElement | false} [more]
   */
  #cell(gate, frame, image, more) {
    const zoom = this.zoom;
    return el("div", { class: "gatebus-frame", ondblclick: () => zoom?.(gate, frame) }, image, more);
  }

  /** @param {HTMLElement} image @param {string} reason */
  #fail(image, reason) {
    if (image.parentElement) image.replaceWith(el("p", { class: "gatebus-missing" }, t("gate.noImage", { reason })));
  }

  #arrange() {
    const { clientWidth: width, clientHeight: height } = this.element;
    let columns = this.#frames > 1 && width && height ? columnsFor(this.#frames, width, height, this.#aspect) : 1;
    let rows = Math.ceil(this.#frames / columns);
    let least = "0";
    if (this.ticks && this.#frames > 1 && Math.min(width / columns, height / rows) < LEAST) {
      // They would be too small to see and to hit.
      columns = Math.max(1, Math.floor(width / (LEAST * Math.max(1, Math.min(1.5, this.#aspect)))));
      rows = Math.ceil(this.#frames / columns);
      least = `${Math.round(Math.max(LEAST, Math.min(2 * LEAST, width / columns / this.#aspect)))}px`;
    }
    this.element.style.gridTemplate = `repeat(${rows}, minmax(${least}, 1fr)) / repeat(${columns}, minmax(0, 1fr))`;
  }

  /** @param {any} gate */
  async #showMask(gate) {
    const masked = gate?.mask ? `${gate.id} ${gate.mask}` : "";
    if (masked === this.#masked) return;
    this.#masked = masked;
    this.#maskAbort.abort();
    this.#maskAbort = new AbortController();
    const { signal } = this.#maskAbort;
    for (const old of this.element.querySelectorAll(".gatebus-mask")) old.remove();
    if (!masked) return;
    try {
      const url = this.api.maskUrl(gate).split("#")[0];
      const bitmap = await createImageBitmap(await loadBlob(this.api.host, url, signal));
      this.#mask = tinted(bitmap);
      bitmap.close();
    } catch (error) {
      // Decided or cleared meanwhile: the next state of the gate tells.
      if (!signal.aborted) this.#masked = "";
      return;
    }
    if (signal.aborted) return;
    for (const frame of this.element.querySelectorAll(".gatebus-frame")) frame.append(copyOf(this.#mask));
  }
}

/**
 * A white-on-black mask as a colour that covers where it is white.
 * @param {ImageBitmap} mask
 * @param {number} [longest] side of what is made, at most
 */
export function tinted(mask, longest = 1024) {
  const scale = Math.min(1, longest / Math.max(mask.width, mask.height));
  const canvas = blank(Math.max(1, Math.round(mask.width * scale)), Math.max(1, Math.round(mask.height * scale)));
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(mask, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels;
  for (let at = 0; at < data.length; at += 4) {
    data[at + 3] = (data[at] * TINT[3]) / 255;
    [data[at], data[at + 1], data[at + 2]] = TINT;
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** @param {number} width @param {number} height */
function blank(width, height) {
  return /** @type {HTMLCanvasElement} */ (
    /** @type {unknown} */ (el("canvas", { class: "gatebus-mask", width, height, "aria-hidden": "true" }))
  );
}

/** @param {HTMLCanvasElement} source */
function copyOf(source) {
  const canvas = blank(source.width, source.height);
  canvas.getContext("2d")?.drawImage(source, 0, 0);
  return canvas;
}
