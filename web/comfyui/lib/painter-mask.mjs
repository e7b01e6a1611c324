/**
 * A mask as one byte a pixel (255 = painted) and what paints on it. Free of the DOM.
 *
 * A stroke keeps the coverage of its brush apart and blends it once with what was there before, so
 * that going over a place twice in one stroke does not paint it twice.
 */
import { Edit } from "./painter-history.mjs";

/** @typedef {{x: number, y: number, width: number, height: number}} Rect in pixels */
/** @typedef {{x: number, y: number, radius: number}} Dab a place of the brush, in pixels; pixel centres lie at .5 */
/**
 * @typedef {object} Brush
 * @property {boolean} erase
 * @property {number} softness 0 (a sharp edge, smoothed over one pixel) to 1
 * @property {number} opacity 0 to 1: how much of the way to white (or black) a stroke goes
 */

export class Mask {
  /**
   * @param {number} width
   * @param {number} height
   * @param {Uint8Array} [data]
   */
  constructor(width, height, data = new Uint8Array(width * height)) {
    if (data.length !== width * height) throw new RangeError(`A mask of ${width} x ${height} is not ${data.length} long`);
    this.width = width;
    this.height = height;
    this.data = data;
  }

  /** @returns {Rect} */
  get bounds() {
    return { x: 0, y: 0, width: this.width, height: this.height };
  }

  /** Whether nothing is painted. */
  get empty() {
    return this.data.every((value) => value === 0);
  }

  /**
   * Changes every pixel by that function, as one edit.
   * @param {(value: number) => number} change
   * @returns {Edit}
   */
  map(change) {
    const edit = new Edit(this);
    edit.keep(this.bounds);
    const values = Uint8Array.from({ length: 256 }, (_, value) => change(value));
    for (let at = 0; at < this.data.length; at++) this.data[at] = values[this.data[at]];
    return edit;
  }
}

export class Stroke {
  /** @type {Dab | null} */
  #last = null;

  /**
   * @param {Mask} mask
   * @param {Brush} brush
   */
  constructor(mask, brush) {
    this.mask = mask;
    this.brush = brush;
    this.edit = new Edit(mask);
    /** @type {Map<number, Uint8Array>} tile -> how much of the brush each of its pixels has got, 0 to 255 */
    this.coverage = new Map();
  }

  /**
   * Draws from the last dab to this one.
   * @param {Dab} dab
   * @returns {Rect} what changed, of no size when nothing did
   */
  to(dab) {
    const from = this.#last ?? dab;
    this.#last = dab;
    const rect = around(from, dab, this.mask);
    for (const tile of this.edit.keep(rect)) this.#paint(tile, rect, from, dab);
    return rect;
  }

  /**
   * @param {import("./painter-history.mjs").Tile} tile
   * @param {Rect} rect
   * @param {Dab} from
   * @param {Dab} to
   */
  #paint(tile, rect, from, to) {
    const { data, width } = this.mask;
    const { erase, softness, opacity } = this.brush;
    const area = intersection(tile, rect);
    let coverage = this.coverage.get(tile.key);
    if (!coverage) this.coverage.set(tile.key, (coverage = new Uint8Array(tile.width * tile.height)));
    const dx = to.x - from.x;
    const dy = to.y - from.y;
    const length2 = dx * dx + dy * dy;
    for (let y = area.y; y < area.y + area.height; y++) {
      for (let x = area.x; x < area.x + area.width; x++) {
        const px = x + 0.5 - from.x;
        const py = y + 0.5 - from.y;
        const along = length2 ? Math.min(1, Math.max(0, (px * dx + py * dy) / length2)) : 0;
        const distance = Math.hypot(px - along * dx, py - along * dy);
        const covered = Math.round(255 * profile(distance, from.radius + along * (to.radius - from.radius), softness));
        const local = (y - tile.y) * tile.width + (x - tile.x);
        if (covered <= coverage[local]) continue;
        coverage[local] = covered;
        const amount = (covered / 255) * opacity;
        const before = tile.before[local];
        data[y * width + x] = Math.round(erase ? before * (1 - amount) : before + (255 - before) * amount);
      }
    }
  }
}

/**
 * How much of the brush a pixel at that distance from its middle gets, 0 to 1.
 * @param {number} distance
 * @param {number} radius
 * @param {number} softness
 */
export function profile(distance, radius, softness) {
  const outer = radius + 0.5;
  const inner = Math.min(radius * (1 - softness), radius) - 0.5;
  if (distance <= inner) return 1;
  if (distance >= outer) return 0;
  const u = (outer - distance) / (outer - inner);
  return softness > 0 ? u * u * (3 - 2 * u) : Math.min(1, u);
}

/**
 * The pixels that a stroke from one dab to another can touch.
 * @param {Dab} from
 * @param {Dab} to
 * @param {{width: number, height: number}} within
 * @returns {Rect}
 */
function around(from, to, within) {
  const left = Math.max(0, Math.floor(Math.min(from.x - from.radius, to.x - to.radius) - 1));
  const top = Math.max(0, Math.floor(Math.min(from.y - from.radius, to.y - to.radius) - 1));
  const right = Math.min(within.width, Math.ceil(Math.max(from.x + from.radius, to.x + to.radius) + 1));
  const bottom = Math.min(within.height, Math.ceil(Math.max(from.y + from.radius, to.y + to.radius) + 1));
  return { x: left, y: top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
}

/**
 * @param {Rect} a
 * @param {Rect} b
 * @returns {Rect}
 */
function intersection(a, b) {
  const x = Math.max(a.x, b.x);
  const y = Math.max(a.y, b.y);
  return {
    x,
    y,
    width: Math.max(0, Math.min(a.x + a.width, b.x + b.width) - x),
    height: Math.max(0, Math.min(a.y + a.height, b.y + b.height) - y),
  };
}
