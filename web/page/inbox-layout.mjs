/** The geometry of the inbox: how large its cards are at each size; lengths in CSS pixels. */
import { GAP } from "../comfyui/lib/grid-layout.mjs";

/** @typedef {"small" | "medium" | "large"} Size */
/** @typedef {import("../comfyui/lib/grid-layout.mjs").Layout} Layout */

/** @type {Size[]} */
export const SIZES = ["small", "medium", "large"];

/** Least width of a card. */
const LEAST = { small: 128, medium: 250, large: 430 };
/** The picture's height by its width. */
const SHAPE = { small: 1, medium: 0.75, large: 0.8 };
/** Below the picture, without the routes: title, place, time and note. */
const WORDS = { small: 24, medium: 88, large: 88 };
/** Least width of a route's button. */
const BUTTON = 92;
/** Rows of routes; more are scrolled. */
const ROWS = 4;

/** Least height of a picture, where the window is too low for a whole card. */
const PICTURE = 110;

/**
 * @param {object} what
 * @param {number} what.count cards
 * @param {number} what.width of the place
 * @param {Size} what.size
 * @param {number} what.routes the most that one of the gates has
 * @param {number} what.button height of one
 * @param {number} [what.room] height in which a card is to be seen whole
 * @returns {Layout & {rows: number}} `rows` of routes that are seen
 */
export function layoutOf({ count, width, size, routes, button, room = Infinity }) {
  const least = Math.min(width, width < 520 && size === "small" ? 104 : LEAST[size]);
  const columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const cell = Math.max(1, (width - GAP * (columns - 1)) / columns);
  const all = size === "small" ? 0 : Math.ceil(routes / Math.max(1, Math.floor((cell - 16) / BUTTON)));
  const most = Math.max(1, Math.floor((room - WORDS[size] - GAP - PICTURE) / (button + 4)));
  const rows = Math.min(ROWS, all, most);
  const rest = WORDS[size] + rows * (button + 4) + GAP;
  const row = rest + Math.max(Math.min(PICTURE, cell), Math.min(Math.round(cell * SHAPE[size]), room - rest));
  return { columns, cell, row, height: Math.ceil(count / columns) * row, count, rows };
}
