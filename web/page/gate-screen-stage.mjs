/** The canvas of the gate's screen: one image, or two compared, and the mask, zoomed and moved in step. */
import { el } from "../comfyui/lib/dom.mjs";
import { View } from "../comfyui/lib/painter-view.mjs";

/** @typedef {import("../comfyui/lib/painter-view.mjs").Point} Point */
/**
 * @typedef {object} Layer
 * @property {ImageBitmap} image
 * @property {boolean} whole false for a preview, which is drawn smooth
 *
 * @typedef {"single" | "wipe" | "side" | "blink"} Mode how two images are compared
 */

/** Pixels around an image that fits. */
const MARGIN = 4;
/** Pixels between two images side by side. */
const GAP = 4;

export class Stage {
  /** @type {Layer | null} */
  main = null;
  /** @type {Layer | null} what it is compared with */
  other = null;
  /** @type {HTMLCanvasElement | null} */
  mask = null;
  /** How much the mask covers, 0 to 1. */
  opacity = 0.6;
  /** @type {Mode} */
  mode = "single";
  /** Whether the other one is shown in place of the main one. */
  blinking = false;
  /** Where the one ends and the other begins, 0 to 1 of the stage's width. */
  wipe = 0.5;
  view = new View(1, 1, MARGIN);
  #frame = 0;
  #size = { width: 1, height: 1 };
  #sample = /** @type {CanvasRenderingContext2D} */ (sized(1, 1).getContext("2d", { willReadFrequently: true }));

  /** @param {() => void} drawn */
  constructor(drawn) {
    this.drawn = drawn;
    this.element = el("canvas", { class: "gs-canvas", tabindex: 0, role: "img" });
    this.canvas = /** @type {HTMLCanvasElement} */ (/** @type {unknown} */ (this.element));
  }

  /** The image has this size, in its own pixels; shown whole unless it is the same and `keep`. @param {number} width @param {number} height @param {boolean} keep */
  open(width, height, keep) {
    if (keep && this.view.width === width && this.view.height === height) return;
    this.view = new View(Math.max(1, width), Math.max(1, height), MARGIN);
    this.#arrange();
  }

  /** The stage has this size in CSS pixels. @param {number} width @param {number} height */
  resize(width, height) {
    const ratio = window.devicePixelRatio || 1;
    this.#size = { width: Math.max(1, width), height: Math.max(1, height) };
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.#arrange();
    // A canvas is empty after its size was set: drawn at once, it does not flicker.
    this.draw();
  }

  /** @param {Mode} mode */
  setMode(mode) {
    this.mode = mode;
    this.#arrange();
    this.later();
  }

  /** Whether two images lie one above the other. */
  get upright() {
    const panes = this.#panes();
    return panes.length > 1 && panes[1].y > 0;
  }

  /** Pixels of the screen for one of the image. */
  get density() {
    return this.view.scale * (window.devicePixelRatio || 1);
  }

  /** The point of the stage, within the image that lies there. @param {Point} point @returns {Point} */
  within({ x, y }) {
    const panes = this.#panes();
    const pane = panes.find((each) => x >= each.x && y >= each.y && x < each.x + each.width && y < each.y + each.height) ?? panes[0];
    return { x: x - pane.x, y: y - pane.y };
  }

  /** Whole image, or one pixel of it for one of the page (two, where that is the same) around the point. @param {Point} [at] */
  toggle(at) {
    const { view } = this;
    if (view.fitted) view.zoom((Math.abs(view.scale - 1) < 0.02 ? 2 : 1) / view.scale, at && this.within(at));
    else view.fit();
    this.later();
  }

  /**
   * The pixel under the point of the stage, null beside the image.
   * @param {Point} at
   * @returns {{x: number, y: number, colour: number[], exact: boolean} | null}
   */
  pixel(at) {
    const { x, y } = this.view.toPicture(this.within(at));
    const { width, height } = this.view;
    const layer = this.main;
    if (!layer || x < 0 || y < 0 || x >= width || y >= height) return null;
    const { image, whole } = layer;
    this.#sample.clearRect(0, 0, 1, 1);
    this.#sample.drawImage(image, Math.floor((x * image.width) / width), Math.floor((y * image.height) / height), 1, 1, 0, 0, 1, 1);
    return { x: Math.floor(x), y: Math.floor(y), colour: [...this.#sample.getImageData(0, 0, 1, 1).data], exact: whole };
  }

  /** Draws with the next frame. */
  later() {
    this.#frame ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    const ratio = this.canvas.width / this.#size.width;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const panes = this.#panes();
    const { main, other, mode } = this;
    if (panes.length > 1) {
      this.#paint(context, ratio, panes[0], main, true);
      this.#paint(context, ratio, panes[1], other, false);
    } else if (this.blinking && other) {
      this.#paint(context, ratio, panes[0], other, false);
    } else {
      this.#paint(context, ratio, panes[0], main, true);
      if (mode === "wipe" && other) {
        const x = this.#size.width * this.wipe;
        const { width, height } = this.#size;
        context.save();
        this.#clip(context, ratio, { x, y: 0, width: width - x, height });
        context.clearRect(x, 0, width - x, height);
        this.#paint(context, ratio, panes[0], other, false);
        context.restore();
      }
    }
    this.drawn();
  }

  remove() {
    cancelAnimationFrame(this.#frame);
    this.#frame = -1;
  }

  /** The places of the images, in pixels of the stage. */
  #panes() {
    const { width, height } = this.#size;
    if (this.mode !== "side" || !this.other) return [{ x: 0, y: 0, width, height }];
    if (width * this.view.height >= height * this.view.width) {
      const half = Math.max(1, (width - GAP) / 2);
      return [{ x: 0, y: 0, width: half, height }, { x: half + GAP, y: 0, width: half, height }];
    }
    const half = Math.max(1, (height - GAP) / 2);
    return [{ x: 0, y: 0, width, height: half }, { x: 0, y: half + GAP, width, height: half }];
  }

  /** The number or size of the images' places has changed. */
  #arrange() {
    const [{ width, height }] = this.#panes();
    this.view.resize(width, height);
  }

  /** @param {Layer | null} other */
  compare(other) {
    this.other = other;
    this.#arrange();
    this.later();
  }

  /** @param {CanvasRenderingContext2D} context @param {number} ratio @param {{x: number, y: number, width: number, height: number}} box */
  #clip(context, ratio, { x, y, width, height }) {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} ratio
   * @param {{x: number, y: number, width: number, height: number}} pane
   * @param {Layer | null} layer
   * @param {boolean} masked
   */
  #paint(context, ratio, pane, layer, masked) {
    if (!layer) return;
    const { scale, x, y, width, height } = this.view;
    context.save();
    this.#clip(context, ratio, pane);
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * (pane.x + x), ratio * (pane.y + y));
    // From pixel for pixel on, pixels are squares; a preview has none of the image's.
    context.imageSmoothingEnabled = !layer.whole || scale * (width / layer.image.width) < 1;
    context.imageSmoothingQuality = "high";
    context.drawImage(layer.image, 0, 0, width, height);
    if (masked && this.mask) {
      context.globalAlpha = this.opacity;
      context.imageSmoothingEnabled = scale < 1;
      context.drawImage(this.mask, 0, 0, width, height);
    }
    context.restore();
  }
}

/** @param {number} width @param {number} height */
function sized(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}
