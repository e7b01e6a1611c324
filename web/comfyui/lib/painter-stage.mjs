/** The painter's canvas: the picture, the mask as a colour over it, and the brush's outline. */
import { el } from "./dom.mjs";

/** @typedef {import("./painter-mask.mjs").Mask} Mask */
/** @typedef {import("./painter-mask.mjs").Rect} Rect */
/** @typedef {import("./painter-view.mjs").View} View */

/** Of the mask over the picture: red, green, blue. */
const COLOUR = [255, 40, 80];

/** How much of the picture a fully painted mask hides. */
const STRENGTH = 0.6;

/** Rows of the mask that are coloured at a time. */
const ROWS = 256;

export class Stage {
  /** @type {{x: number, y: number, radius: number} | null} the brush's outline, in stage pixels */
  cursor = null;
  /** @type {number} a frame that was asked for, 0 when none is */
  #frame = 0;
  #disposed = false;

  /**
   * @param {CanvasImageSource} picture
   * @param {Mask} mask
   * @param {View} view
   * @param {string} label what it is, for those who don't see it
   */
  constructor(picture, mask, view, label) {
    this.picture = picture;
    this.mask = mask;
    this.view = view;
    this.element = el("canvas", { class: "gatebus-painter-stage", tabindex: 0, role: "img", "aria-label": label });
    this.canvas = /** @type {HTMLCanvasElement} */ (/** @type {unknown} */ (this.element));
    this.overlay = document.createElement("canvas");
    this.overlay.width = mask.width;
    this.overlay.height = mask.height;
    this.update(mask.bounds);
  }

  /** The stage's size in CSS pixels has become this. @param {number} width @param {number} height */
  resize(width, height) {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    this.view.resize(width, height);
    // A canvas is empty after its size was set: drawn at once, it does not flicker.
    this.#draw();
  }

  /** The mask has changed there. @param {Rect} rect */
  update(rect) {
    const context = /** @type {CanvasRenderingContext2D} */ (this.overlay.getContext("2d"));
    const { data, width } = this.mask;
    for (let top = rect.y; top < rect.y + rect.height; top += ROWS) {
      const height = Math.min(ROWS, rect.y + rect.height - top);
      if (!rect.width) return;
      const image = context.createImageData(rect.width, height);
      for (let row = 0, to = 0; row < height; row++) {
        let from = (top + row) * width + rect.x;
        for (let column = 0; column < rect.width; column++, to += 4) {
          image.data[to] = COLOUR[0];
          image.data[to + 1] = COLOUR[1];
          image.data[to + 2] = COLOUR[2];
          image.data[to + 3] = data[from++];
        }
      }
      context.putImageData(image, rect.x, top);
    }
    this.draw();
  }

  /** Draws with the next frame. */
  draw() {
    // The picture is not to be used after its end.
    if (!this.#disposed) this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  dispose() {
    this.#disposed = true;
    cancelAnimationFrame(this.#frame);
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    const { scale, x, y } = this.view;
    const ratio = this.canvas.width / Math.max(1, this.view.stage.width);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
    // Seen close, pixels are squares.
    context.imageSmoothingEnabled = scale < 3;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.picture, 0, 0, this.mask.width, this.mask.height);
    context.globalAlpha = STRENGTH;
    context.drawImage(this.overlay, 0, 0);
    context.globalAlpha = 1;
    if (this.cursor) this.#outline(context, ratio, this.cursor);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} ratio
   * @param {{x: number, y: number, radius: number}} cursor
   */
  #outline(context, ratio, { x, y, radius }) {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    // Dark and light, so that it shows on any picture.
    for (const [colour, more] of /** @type {[string, number][]} */ ([["#000", 1], ["#fff", 0]])) {
      context.beginPath();
      context.arc(x, y, Math.max(1.5, radius) + more, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = 1;
      context.stroke();
    }
  }
}
