/** From gate to gate in the inbox's order. Free of the DOM. */

/** @typedef {{gates: any[], indexOf: (id: string) => number}} Order the inbox's */

/** Gates that come next, whose previews are loaded ahead. */
const AHEAD = 3;

export class Walk {
  id = "";
  /** Which way the person went last: 1 onward, -1 back. */
  direction = 1;
  /** The gate's place, kept when it is no longer in the order. */
  #place = 0;

  /**
   * @param {Order} order
   * @param {(gate: any) => boolean} settled whether a decision about the gate was made here already
   */
  constructor(order, settled) {
    this.order = order;
    this.settled = settled;
  }

  /** The gate's place, -1 when it is not in the order. */
  get at() {
    const at = this.order.indexOf(this.id);
    if (at >= 0) this.#place = at;
    return at;
  }

  get count() {
    return this.order.gates.length;
  }

  /** The gate that many places on; the neighbours of one that has gone are where it was. @param {number} by @returns {any} undefined beyond the ends */
  beside(by) {
    const { at } = this;
    return this.order.gates[at >= 0 ? at + by : this.#place + (by > 0 ? by - 1 : by)];
  }

  /** Those that wait for a decision, from the next one on and around. @returns {any[]} */
  waiting() {
    const { at, order } = this;
    const start = at >= 0 ? at + 1 : this.#place;
    const found = [];
    for (let step = 0; step < order.gates.length && found.length < AHEAD; step += 1) {
      const gate = order.gates[(start + step) % order.gates.length];
      if (gate.id !== this.id && !this.settled(gate)) found.push(gate);
    }
    return found;
  }

  /** Those that the person is likely to see next, the likeliest first. @returns {any[]} */
  ahead() {
    const back = [this.beside(-1), this.beside(-2)].filter(Boolean);
    const on = this.waiting();
    return this.direction > 0 ? [...on, ...back.slice(0, 1)] : [...back, ...on.slice(0, 1)];
  }
}
