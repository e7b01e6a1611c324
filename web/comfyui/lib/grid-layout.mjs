/** The geometry of a grid of equal cells: pure functions, lengths in CSS pixels. */

/** Pixels between cells. */
export const GAP = 6;
/** Pixels below a cell's picture, for its label. */
export const LABEL = 18;
/** Rows drawn beyond what is seen, on each side. */
const BEYOND = 2;

/**
 * @typedef {object} Layout
 * @property {number} columns
 * @property {number} cell width of a cell; its picture is as high
 * @property {number} row from one row to the next
 * @property {number} height of everything
 * @property {number} count
 */

/**
 * As many columns as have room at that least width, stretched to fill it.
 * @param {number} count cells
 * @param {number} width
 * @param {number} least
 * @returns {Layout}
 */
export function layout(count, width, least) {
  const columns = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const cell = Math.max(1, (width - GAP * (columns - 1)) / columns);
  const row = cell + LABEL + GAP;
  return { columns, cell, row, height: Math.ceil(count / columns) * row, count };
}

/**
 * The cells to draw: [from, to).
 * @param {Layout} grid
 * @param {number} top how far it is scrolled
 * @param {number} height of what is seen
 * @returns {[number, number]}
 */
export function visible({ columns, row, count }, top, height) {
  const first = Math.max(0, Math.floor(top / row) - BEYOND);
  const last = Math.ceil((top + height) / row) + BEYOND;
  return [Math.min(count, first * columns), Math.min(count, last * columns)];
}

/** Where a cell stands. @param {Layout} grid @param {number} index */
export function place({ columns, cell, row }, index) {
  return { x: (index % columns) * (cell + GAP), y: Math.floor(index / columns) * row };
}

/**
 * The gap between cells that is nearest to a point: what is put there stands before the cell of that index.
 * @param {Layout} grid
 * @param {number} x
 * @param {number} y
 */
export function gapAt({ columns, cell, row, count }, x, y) {
  const line = Math.max(0, Math.floor(y / row));
  const column = Math.max(0, Math.min(columns, Math.round(x / (cell + GAP))));
  return Math.max(0, Math.min(count, line * columns + column));
}

/**
 * How far to scroll so that a row is seen whole.
 * @param {Layout} grid
 * @param {number} index
 * @param {number} top
 * @param {number} height
 */
export function scrolledTo(grid, index, top, height) {
  const { y } = place(grid, index);
  if (y < top) return y;
  const bottom = y + grid.row - GAP;
  return bottom > top + height ? Math.max(0, bottom - height) : top;
}

/**
 * The id before which a set moves to stand in that gap: the next that doesn't move itself.
 * @param {readonly string[]} order
 * @param {ReadonlySet<string>} moving
 * @param {number} gap
 * @returns {string | null} null: at the end
 */
export function beforeOf(order, moving, gap) {
  for (let index = gap; index < order.length; index++) if (!moving.has(order[index])) return order[index];
  return null;
}

/**
 * Whether that move leaves everything where it is.
 * @param {readonly string[]} order
 * @param {readonly string[]} ids in their order
 * @param {string | null} before
 */
export function staysPut(order, ids, before) {
  const end = before === null ? order.length : order.indexOf(before);
  return ids.every((id, index) => order[end - ids.length + index] === id);
}
