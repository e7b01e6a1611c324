/**
 * In which places the inbox shows its gates while they come and go: what a person looks at stays
 * where it is. Free of the DOM.
 *
 * A gate that is gone keeps its place until {@link Order.close} or {@link Order.settle}; one that is
 * new takes a place only where that moves no other, else it waits among `fresh`.
 */

export class Order {
  /** @type {string[]} gate ids, gone ones included */
  ids = [];
  /** @type {Map<string, number>} those of `ids` that wait no longer, and since when, as `update` was told */
  gone = new Map();
  /** @type {string[]} new ones without a place */
  fresh = [];
  /** @type {string[]} as the inbox has them */
  #wanted = [];
  /** @type {Map<string, any>} gate id -> gate as the inbox had it last, of all that have a place or wait for one */
  #gates = new Map();

  /** Whether the places are not those that the inbox has. */
  get unsettled() {
    return this.gone.size > 0 || this.fresh.length > 0;
  }

  /** The gate as the inbox had it last. @param {string} id @returns {any} */
  gate(id) {
    return this.#gates.get(id);
  }

  /**
   * The inbox has these now.
   * @param {any[]} gates
   * @param {number} now milliseconds, by any clock
   */
  update(gates, now) {
    this.#wanted = gates.map((gate) => gate.id);
    for (const gate of gates) this.#gates.set(gate.id, gate);
    const here = new Set(this.#wanted);
    this.gone = new Map(this.ids.filter((id) => !here.has(id)).map((id) => [id, this.gone.get(id) ?? now]));
    this.#place();
  }

  /** Those that are gone since that time or longer leave their places; what is new still waits. @param {number} until */
  close(until) {
    this.ids = this.ids.filter((id) => (this.gone.get(id) ?? Infinity) > until);
    for (const [id, since] of this.gone) if (since <= until) this.gone.delete(id);
    this.#place();
    this.#forget();
  }

  /** Every gate takes its own place. */
  settle() {
    this.ids = this.#wanted;
    this.gone = new Map();
    this.fresh = [];
    this.#forget();
  }

  /** What follows the last that has a place moves nothing: it gets one. */
  #place() {
    const shown = new Set(this.ids);
    let from = this.#wanted.length;
    while (from > 0 && !shown.has(this.#wanted[from - 1])) from -= 1;
    this.fresh = this.#wanted.slice(0, from).filter((id) => !shown.has(id));
    if (from < this.#wanted.length) this.ids = [...this.ids, ...this.#wanted.slice(from)];
  }

  #forget() {
    const kept = new Set([...this.ids, ...this.fresh]);
    if (kept.size < this.#gates.size) for (const id of this.#gates.keys()) if (!kept.has(id)) this.#gates.delete(id);
  }
}
