/** What was typed to go with a decision and was not sent, kept over reloads of the tab. Free of the DOM. */

const KEY = "gatebus.drafts";
/** Gates whose texts are kept, those typed at last. */
const MOST = 100;

export class Drafts {
  /** @type {Map<string, string>} gate id -> text */
  #texts;

  /** @param {Pick<Storage, "getItem" | "setItem">} storage */
  constructor(storage) {
    this.storage = storage;
    this.#texts = new Map(read(storage));
  }

  /** @param {string} gateId @returns {string} "" for none */
  get(gateId) {
    return this.#texts.get(gateId) ?? "";
  }

  /** @param {string} gateId @param {string} text */
  set(gateId, text) {
    this.#texts.delete(gateId);
    if (text) this.#texts.set(gateId, text);
    const [oldest] = this.#texts.keys();
    if (this.#texts.size > MOST) this.#texts.delete(oldest);
    try {
      this.storage.setItem(KEY, JSON.stringify([...this.#texts]));
    } catch (error) {
      console.warn("gatebus: texts are not kept over a reload of this tab", error);
    }
  }
}

/** @param {Pick<Storage, "getItem">} storage @returns {[string, string][]} */
function read(storage) {
  try {
    const kept = JSON.parse(storage.getItem(KEY) ?? "[]");
    return kept.filter((/** @type {any} */ [id, text]) => typeof id === "string" && typeof text === "string");
  } catch {
    // What another program left there is no text of ours.
    return [];
  }
}
