/**
 * Where a picture lies on its stage: zoom and place. Free of the DOM; all in CSS pixels of the
 * stage, points of the picture in its own pixels.
 */

/** @typedef {{x: number, y: number}} Point */

/** Stage pixels for one of the picture, at most. */
export const CLOSEST = 64;

/** Pixels of the picture that stay on the stage however far it is moved. */
const KEPT = 48;

/** Pixels around a picture that fits. */
const MARGIN = 16;

export class View {
  scale = 1;
  x = 0;
  y = 0;
  /** Whether it follows the stage's size: until a person zooms or moves. */
  fitted = true;

  /**
   * @param {number} width of the picture
   * @param {number} height
   * @param {number} [margin] pixels around a picture that fits
   */
  constructor(width, height, margin = MARGIN) {
    this.width = width;
    this.height = height;
    this.margin = margin;
    this.stage = { width: 1, height: 1 };
  }

  /** The scale at which the whole picture is seen. */
  get fitting() {
    const { width, height } = this.stage;
    return Math.max(
      1e-3,
      Math.min((width - 2 * this.margin) / this.width, (height - 2 * this.margin) / this.height, CLOSEST),
    );
  }

  /** The stage has this size now. @param {number} width @param {number} height */
  resize(width, height) {
    const middle = this.toPicture({ x: this.stage.width / 2, y: this.stage.height / 2 });
    this.stage = { width, height };
    if (this.fitted) this.fit();
    else this.#place(middle, { x: width / 2, y: height / 2 });
  }

  /** Shows the whole picture, in the middle. */
  fit() {
    this.scale = this.fitting;
    this.fitted = true;
    this.x = (this.stage.width - this.width * this.scale) / 2;
    this.y = (this.stage.height - this.height * this.scale) / 2;
  }

  /**
   * Zooms so that the picture's point under that point of the stage stays there.
   * @param {number} factor
   * @param {Point} [at] the stage's middle when left out
   */
  zoom(factor, at = { x: this.stage.width / 2, y: this.stage.height / 2 }) {
    const fixed = this.toPicture(at);
    const farthest = Math.min(this.fitting, 1) / 4;
    this.scale = Math.min(CLOSEST, Math.max(farthest, this.scale * factor));
    this.fitted = false;
    this.#place(fixed, at);
  }

  /** @param {number} dx @param {number} dy */
  move(dx, dy) {
    this.fitted = false;
    this.x += dx;
    this.y += dy;
    this.#keepInSight();
  }

  /**
   * Two fingers moved: what lay under them stays under them.
   * @param {[Point, Point]} before
   * @param {[Point, Point]} after
   */
  pinch(before, after) {
    const middle = (/** @type {[Point, Point]} */ [a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
    const span = (/** @type {[Point, Point]} */ [a, b]) => Math.max(1, Math.hypot(a.x - b.x, a.y - b.y));
    const [from, to] = [middle(before), middle(after)];
    this.zoom(span(after) / span(before), from);
    this.move(to.x - from.x, to.y - from.y);
  }

  /** @param {Point} point of the stage @returns {Point} */
  toPicture({ x, y }) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  /** @param {Point} point of the picture @returns {Point} */
  toStage({ x, y }) {
    return { x: x * this.scale + this.x, y: y * this.scale + this.y };
  }

  /** @param {Point} picture @param {Point} stage */
  #place(picture, stage) {
    this.x = stage.x - picture.x * this.scale;
    this.y = stage.y - picture.y * this.scale;
    this.#keepInSight();
  }

  #keepInSight() {
    const width = this.width * this.scale;
    const height = this.height * this.scale;
    this.x = clamp(this.x, Math.min(KEPT, width) - width, this.stage.width - Math.min(KEPT, width));
    this.y = clamp(this.y, Math.min(KEPT, height) - height, this.stage.height - Math.min(KEPT, height));
  }
}

/** @param {number} value @param {number} low @param {number} high */
function clamp(value, low, high) {
  return Math.min(Math.max(low, high), Math.max(low, value));
}
