/**
 * Deletions that can be undone: each is held for some seconds before it is sent, and the place
 * shows as if it were made. A page that is left sends what it holds.
 */
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("./page.mjs").Context} Context */

/**
 * @typedef {object} Removal
 * @property {string} key of what is to go, e.g. `bus:cp1`
 * @property {string} name for people
 * @property {string[]} paths to DELETE, one after another; one that is not there any more is fine
 * @property {() => Promise<string>} [obstacle] asked before it is sent: why it must not be made any more, "" when it may
 */

/** Seconds for which a deletion is held. */
export const HELD = 8;

/** Event: `change`. */
export class Removals extends EventTarget {
  /** @type {Map<string, {removal: Removal, timer: number, close: () => void}>} */
  #held = new Map();
  /** @type {Set<string>} keys of those on their way, and of those that were made and may still be listed */
  #sent = new Set();
  /** The role by which this page may act, "" until it is known. */
  role = "";

  /** @param {Context} context */
  constructor(context) {
    super();
    this.context = context;
    // Not at `beforeunload`, which a phone does not tell.
    window.addEventListener("pagehide", () => this.#leave());
  }

  /** Whether that is as good as gone. @param {string} key */
  has(key) {
    return this.#held.has(key) || this.#sent.has(key);
  }

  /** Looks whether deleting is allowed; tells the person when it is not. @returns {Promise<boolean>} */
  async allowed() {
    try {
      this.role = (await this.context.api.call("GET", "/gatebus/status")).role;
    } catch (error) {
      this.context.toast("error", t("content.failed"), /** @type {Error} */ (error).message);
      return false;
    }
    if (this.role === "admin" || this.role === "") return true;
    this.context.toast("warn", t("content.adminOnly"), t("content.adminOnlyDetail", { role: this.role }));
    return false;
  }

  /** @param {Removal} removal */
  hold(removal) {
    const { key, name } = removal;
    if (this.#held.has(key)) return;
    const undo = { name: t("content.undo"), run: () => this.undo(key) };
    const close = this.context.toast("info", t("content.removing", { name, seconds: HELD }), "", undo);
    const timer = window.setTimeout(() => void this.#send(key), HELD * 1000);
    this.#held.set(key, { removal, timer, close });
    this.dispatchEvent(new Event("change"));
  }

  /** Keeps it, or the last one that is held. @param {string} [key] @returns {boolean} whether there was one */
  undo(key = [...this.#held.keys()].pop()) {
    const held = key === undefined ? undefined : this.#held.get(key);
    if (!held) return false;
    clearTimeout(held.timer);
    held.close();
    this.#held.delete(held.removal.key);
    this.dispatchEvent(new Event("change"));
    return true;
  }

  /** @param {string} key */
  async #send(key) {
    const held = this.#held.get(key);
    if (!held) return;
    const { removal, close } = held;
    close();
    this.#held.delete(key);
    this.#sent.add(key);
    const { toast, api } = this.context;
    try {
      const obstacle = (await removal.obstacle?.()) ?? "";
      if (obstacle) toast("warn", t("content.kept", { name: removal.name }), obstacle);
      else for (const path of removal.paths) await api.call("DELETE", path).catch(unlessGone);
    } catch (error) {
      toast("error", t("content.notRemoved", { name: removal.name }), /** @type {Error} */ (error).message);
    }
    this.#sent.delete(key);
    this.dispatchEvent(new Event("change"));
  }

  #leave() {
    for (const { removal, timer } of this.#held.values()) {
      clearTimeout(timer);
      for (const path of removal.paths) void this.context.api.host.fetch(path, { method: "DELETE", keepalive: true }).catch(() => {});
    }
    this.#held.clear();
  }
}

/** @param {any} error */
function unlessGone(error) {
  if (error.status !== 404) throw error;
}

/** @type {WeakMap<object, Removals>} */
const all = new WeakMap();

/** Those of the page: a view that is left does not end what it holds. @param {Context} context */
export function removalsOf(context) {
  const removals = all.get(context.api) ?? new Removals(context);
  all.set(context.api, removals);
  return removals;
}
