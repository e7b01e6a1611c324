/**
 * What is selected in an ordered set, by id: click, ctrl and shift as in file browsers, and a
 * cursor that keys move. Free of ComfyUI and of the DOM.
 */

/** @typedef {{toggle?: boolean, range?: boolean}} Manner ctrl (or command) and shift */

/** Event: `change`. */
export class Selection extends EventTarget {
  /** @type {Set<string>} the selected ids */
  ids = new Set();
  /** The id that keys act from, "" for none. */
  cursor = "";
  /** Where a range begins. */
  #anchor = "";
  /** @type {readonly string[]} every id, in order */
  #order = [];

  get size() {
    return this.ids.size;
  }

  /** @param {string} id */
  has(id) {
    return this.ids.has(id);
  }

  /** The selected ids in their order. @returns {string[]} */
  inOrder() {
    return this.#order.filter((id) => this.ids.has(id));
  }

  /**
   * The set has these ids now; what is gone is no longer selected, and a cursor that is gone
   * moves to the place where it stood.
   * @param {readonly string[]} order
   */
  setOrder(order) {
    const known = new Set(order);
    const lost = [...this.ids].filter((id) => !known.has(id));
    let place = this.#order.indexOf(this.cursor);
    const gone = this.cursor !== "" && !known.has(this.cursor);
    if (gone) {
      // The next one that is left, else the last.
      while (place < this.#order.length && !known.has(this.#order[place])) place += 1;
      this.cursor = this.#order[place] ?? order[order.length - 1] ?? "";
    }
    if (!known.has(this.#anchor)) this.#anchor = this.cursor;
    for (const id of lost) this.ids.delete(id);
    this.#order = order;
    if (lost.length || gone) this.#changed();
  }

  /**
   * As a click on it does.
   * @param {string} id
   * @param {Manner} [manner]
   */
  choose(id, { toggle = false, range = false } = {}) {
    if (range && this.#anchor) {
      if (!toggle) this.ids.clear();
      const [from, to] = [this.#order.indexOf(this.#anchor), this.#order.indexOf(id)].sort((a, b) => a - b);
      for (const each of this.#order.slice(from, to + 1)) this.ids.add(each);
    } else if (toggle) {
      if (!this.ids.delete(id)) this.ids.add(id);
      this.#anchor = id;
    } else {
      this.ids = new Set([id]);
      this.#anchor = id;
    }
    this.cursor = id;
    this.#changed();
  }

  /** Exactly these, the first one under the cursor. @param {string[]} ids */
  set(ids) {
    this.ids = new Set(ids);
    this.cursor = this.#anchor = ids[0] ?? this.cursor;
    this.#changed();
  }

  all() {
    this.ids = new Set(this.#order);
    if (!this.cursor) this.cursor = this.#anchor = this.#order[0] ?? "";
    this.#changed();
  }

  clear() {
    if (!this.ids.size) return;
    this.ids.clear();
    this.#changed();
  }

  /**
   * Moves the cursor, as arrow keys, Home and End do.
   * @param {number} steps Infinity and -Infinity lead to the ends
   * @param {Manner} [manner] range extends the selection, toggle moves the cursor alone
   * @returns {string} the id under the cursor, "" in an empty set
   */
  move(steps, { toggle = false, range = false } = {}) {
    if (!this.#order.length) return "";
    const last = this.#order.length - 1;
    const place = this.#order.indexOf(this.cursor);
    // A first key starts at an end; up and down beyond the edge stay in their column.
    let next = place < 0 ? (steps > 0 && steps !== Infinity ? 0 : steps > 0 ? last : 0) : place + steps;
    if (place >= 0 && Math.abs(steps) > 1 && Number.isFinite(steps) && next < 0) next = place;
    next = Math.max(0, Math.min(last, next));
    const id = this.#order[next];
    if (toggle && !range) {
      this.cursor = id;
      this.#changed();
    } else this.choose(id, { range });
    return id;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
