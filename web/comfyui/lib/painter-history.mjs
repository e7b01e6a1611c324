/** What undo needs: the tiles that an edit touched as they were before it. Free of the DOM. */

/** @typedef {import("./painter-mask.mjs").Mask} Mask */
/** @typedef {import("./painter-mask.mjs").Rect} Rect */
/** @typedef {Rect & {key: number, before: Uint8Array}} Tile a part of the mask with its bytes before the edit */

/** Pixels of a tile's side. */
export const TILE = 128;

/** Bytes that are kept for undo, of all edits; the newest edit is kept in any case. */
export const MEMORY = 192 * 1024 * 1024;

/** One undoable change of a mask. */
export class Edit {
  /** @type {Map<number, Tile>} */
  #tiles = new Map();

  /** @param {Mask} mask */
  constructor(mask) {
    this.mask = mask;
  }

  /** Bytes that it keeps. */
  get size() {
    let size = 0;
    for (const tile of this.#tiles.values()) size += tile.before.length;
    return size;
  }

  /**
   * Keeps what the rectangle's tiles hold, unless that was done before; to be called before they change.
   * @param {Rect} rect
   * @returns {Tile[]} the rectangle's tiles
   */
  keep(rect) {
    if (!rect.width || !rect.height) return [];
    const columns = Math.ceil(this.mask.width / TILE);
    const tiles = [];
    for (let row = Math.floor(rect.y / TILE); row * TILE < rect.y + rect.height; row++) {
      for (let column = Math.floor(rect.x / TILE); column * TILE < rect.x + rect.width; column++) {
        const key = row * columns + column;
        let tile = this.#tiles.get(key);
        if (!tile) this.#tiles.set(key, (tile = this.#copy(key, column * TILE, row * TILE)));
        tiles.push(tile);
      }
    }
    return tiles;
  }

  /**
   * Exchanges what is with what was: undoes it, and done again redoes it.
   * @returns {Rect[]} what changed
   */
  swap() {
    const { data, width } = this.mask;
    for (const tile of this.#tiles.values()) {
      for (let row = 0; row < tile.height; row++) {
        const start = (tile.y + row) * width + tile.x;
        const now = data.slice(start, start + tile.width);
        data.set(tile.before.subarray(row * tile.width, (row + 1) * tile.width), start);
        tile.before.set(now, row * tile.width);
      }
    }
    return [...this.#tiles.values()];
  }

  /**
   * @param {number} key
   * @param {number} x
   * @param {number} y
   * @returns {Tile}
   */
  #copy(key, x, y) {
    const { data, width, height } = this.mask;
    const tile = { key, x, y, width: Math.min(TILE, width - x), height: Math.min(TILE, height - y) };
    const before = new Uint8Array(tile.width * tile.height);
    for (let row = 0; row < tile.height; row++) {
      const start = (y + row) * width + x;
      before.set(data.subarray(start, start + tile.width), row * tile.width);
    }
    return { ...tile, before };
  }
}

/** The edits that were made, and those that were undone. */
export class History {
  /** @type {Edit[]} */
  #done = [];
  /** @type {Edit[]} */
  #undone = [];
  /** Whether an edit was dropped for want of memory, so that there is no way back to the beginning. */
  #forgot = false;

  /** @param {number} [memory] bytes */
  constructor(memory = MEMORY) {
    this.memory = memory;
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** Whether the mask is another than at the beginning, as far as edits tell. */
  get changed() {
    return this.#forgot || this.canUndo;
  }

  /** @param {Edit} edit that has been made */
  push(edit) {
    this.#undone = [];
    this.#done.push(edit);
    let size = this.#done.reduce((sum, { size }) => sum + size, 0);
    while (size > this.memory && this.#done.length > 1) {
      size -= /** @type {Edit} */ (this.#done.shift()).size;
      this.#forgot = true;
    }
  }

  /** @returns {Rect[]} what changed; nothing when there is nothing to undo */
  undo() {
    const edit = this.#done.pop();
    if (!edit) return [];
    this.#undone.push(edit);
    return edit.swap();
  }

  /** @returns {Rect[]} what changed; nothing when there is nothing to redo */
  redo() {
    const edit = this.#undone.pop();
    if (!edit) return [];
    this.#done.push(edit);
    return edit.swap();
  }
}
