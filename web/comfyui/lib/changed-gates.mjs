/**
 * Reads gates that events named: the first at once, and what changes while one reading is under
 * way together in the next, so that thousands of events are a few calls. Free of ComfyUI.
 */

/** @typedef {import("./api.mjs").Api} Api */

/** Gates in one call; the server takes as many. */
export const AT_ONCE = 200;
/** Milliseconds from one reading to the next. */
const PAUSE = 50;

export class ChangedGates {
  /** @type {Map<string, number>} gate id -> the newest revision that was told of */
  #told = new Map();
  #reading = false;

  /**
   * @param {Api} api
   * @param {object} feed
   * @param {(id: string, rev: number) => boolean} feed.knows whether that revision, or a newer one, is known already
   * @param {(gates: any[], missing: string[]) => void} feed.found takes what was read, and the ids of what is not there
   * @param {() => void} feed.failed the state of some is not known
   */
  constructor(api, feed) {
    this.api = api;
    this.feed = feed;
  }

  /** Reads the gate soon. @param {string} id @param {number} [rev] the revision that was told of */
  add(id, rev = Infinity) {
    this.#told.set(id, Math.max(rev, this.#told.get(id) ?? 0));
    if (!this.#reading) void this.#read();
  }

  async #read() {
    this.#reading = true;
    // What is told of in the same moment is read together.
    await Promise.resolve();
    while (this.#told.size) {
      const ids = [];
      for (const [id, rev] of this.#told) {
        if (ids.length === AT_ONCE) break;
        this.#told.delete(id);
        if (!this.feed.knows(id, rev)) ids.push(id);
      }
      if (!ids.length) continue;
      try {
        await this.#look(ids);
      } catch {
        this.#told.clear();
        this.feed.failed();
      }
      await new Promise((wake) => setTimeout(wake, PAUSE));
    }
    this.#reading = false;
  }

  /** @param {string[]} ids */
  async #look(ids) {
    if (ids.length === 1) {
      const gate = await this.api.gate(ids[0]).catch(unlessGone);
      this.feed.found(gate ? [gate] : [], gate ? [] : ids);
      return;
    }
    const { gates, unavailable } = await this.api.gates({ ids: ids.join(",") });
    // The gates of a store that is away are not gone.
    if (unavailable) throw new Error(unavailable);
    const there = new Set(gates.map((/** @type {any} */ gate) => gate.id));
    this.feed.found(
      gates,
      ids.filter((id) => !there.has(id)),
    );
  }
}

/** @param {any} error @returns {null} where there is no such gate */
function unlessGone(error) {
  if (error.status === 404) return null;
  throw error;
}
