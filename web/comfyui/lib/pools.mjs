/** The pools that a page shows, and ids for new ones. */
import { Pool } from "./pool.mjs";

/** @typedef {import("./api.mjs").Api} Api */
/** @typedef {import("./feed.mjs").Feed} Feed */

/** The pools of a page: nodes that show the same one share it. */
export class Pools {
  /** @type {Map<string, {pool: Pool, users: number}>} */
  #open = new Map();

  /** @param {Api} api @param {Feed} feed */
  constructor(api, feed) {
    this.api = api;
    this.feed = feed;
  }

  /** The pool; {@link release} it when it is no longer shown. @param {string} id */
  take(id) {
    const entry = this.#open.get(id) ?? { pool: new Pool(id, this.api, this.feed), users: 0 };
    this.#open.set(id, entry);
    entry.users += 1;
    // How many share it shows in each.
    entry.pool.dispatchEvent(new Event("change"));
    return entry.pool;
  }

  /** @param {Pool} pool */
  release(pool) {
    const entry = this.#open.get(pool.id);
    if (!entry || entry.pool !== pool) return;
    entry.users -= 1;
    if (entry.users > 0) return void pool.dispatchEvent(new Event("change"));
    this.#open.delete(pool.id);
    pool.close();
  }

  /** In how many places of the page it is shown. @param {string} id */
  users(id) {
    return this.#open.get(id)?.users ?? 0;
  }
}

/** A fresh id for a pool: `pool_` and 8 hex digits. */
export function freshPoolId() {
  const bytes = crypto.getRandomValues(new Uint8Array(4));
  return "pool_" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
