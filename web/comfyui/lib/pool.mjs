/**
 * A pool as the page knows it. An edit shows at once and is sent in its turn; one that the server
 * refuses is taken back. Others' edits come by the feed. Free of ComfyUI and of the DOM.
 *
 * What shows is `base` (what the server told last) with the edits that are still under way on top:
 * to take one back is to leave it out.
 */
import { ApiError } from "./api.mjs";
import { EMPTY, activated, labelled, moved, removed, renamed, reordered, withSlots } from "./pool-edits.mjs";

/** @typedef {import("./api.mjs").Api} Api */
/** @typedef {import("./feed.mjs").Feed} Feed */
/** @typedef {import("./pool-edits.mjs").Edit} Edit */
/** @typedef {import("./pool-edits.mjs").State} State */
/** @typedef {import("./pool-edits.mjs").Slot} Slot */

/** Milliseconds in which others' edits are gathered into one look. */
const GATHER = 30;
/** Milliseconds after which a look that failed is repeated. */
const AGAIN = 2000;

/**
 * Events: `change` (what shows changed), `error` (detail: the ApiError of an edit that was taken back or of a look).
 */
export class Pool extends EventTarget {
  /** @type {State} */
  #base = EMPTY;
  /** @type {State} */
  #shown = EMPTY;
  /** @type {Edit[]} under way, in their order */
  #pending = [];
  /** @type {Promise<unknown>} the edits are sent one after another */
  #turn = Promise.resolve();
  /** The revision that others' edits led to, as far as told; Infinity: unknown. */
  #told = 0;
  /** The revision that our last edit led to. */
  #ours = 0;
  #looking = false;
  #lookTook = 0;
  /** When the last look ended. */
  #lookedAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #closed = false;
  /** @type {() => void} */
  #unfollow;

  /** Whether the server has answered for the first time. */
  loaded = false;
  /** Why the last look failed, "" when it did not. */
  failure = "";

  /**
   * @param {string} id
   * @param {Api} api
   * @param {Feed} feed
   */
  constructor(id, api, feed) {
    super();
    this.id = id;
    this.api = api;
    const changed = (/** @type {any} */ event) => this.#heard(event.detail);
    const reset = () => this.look();
    feed.addEventListener("pool", changed);
    feed.addEventListener("reset", reset);
    this.#unfollow = () => {
      feed.removeEventListener("pool", changed);
      feed.removeEventListener("reset", reset);
    };
    void this.#look();
  }

  /** Ends it; no event comes any more. */
  close() {
    this.#closed = true;
    this.#unwind();
    this.#unfollow();
  }

  /** What shows now; a new object after every change. @returns {State} */
  get state() {
    return this.#shown;
  }

  /** @param {string} file @returns {Slot | undefined} */
  slot(file) {
    return this.#shown.slots.find((slot) => slot.file === file);
  }

  /** Reads the pool anew, soon. */
  look() {
    this.#unwind();
    this.#told = Infinity;
    this.#lookSoon();
  }

  // -- edits: each resolves to whether it was made ----------------------------------------------

  /** @param {string[]} files */
  remove(files) {
    return this.#edit(removed(files), () => this.#call("POST", "/slots/remove", { files }));
  }

  /** Undoes a removal. @param {string[]} files */
  restore(files) {
    // Where they stood is known to the server alone.
    return this.#send(async () => {
      await this.#call("POST", "/slots/restore", { files });
      this.look();
    });
  }

  /** @param {string[]} files @param {string | null} before */
  move(files, before) {
    return this.#edit(moved(files, before), () => this.#call("POST", "/slots/move", { files, before }));
  }

  /** @param {string[]} files every file, in the new order */
  reorder(files) {
    return this.#edit(reordered(files), () => this.#call("POST", "/reorder", { files }));
  }

  /** @param {string} file */
  activate(file) {
    if (this.#shown.active === file) return Promise.resolve(true);
    return this.#edit(activated(file), () => this.#call("POST", "/activate", { file }));
  }

  /** @param {string} file @param {string} label */
  label(file, label) {
    return this.#edit(labelled(file, label), () => this.#call("PATCH", `/slots/${encodeURIComponent(file)}`, { label }));
  }

  /** @param {string} name */
  rename(name) {
    return this.#edit(renamed(name), () => this.#call("PUT", "", { name }));
  }

  /**
   * Adds one image; throws ApiError. It shows when the server has it.
   * @param {Blob} image
   * @param {{label?: string, before?: string | null, signal?: AbortSignal}} [more]
   */
  async add(image, { label = "", before = null, signal } = {}) {
    const type = ["image/png", "image/jpeg", "image/webp"].includes(image.type) ? image.type : "application/octet-stream";
    const query = new URLSearchParams({ brief: "1", label, ...(before ? { before } : {}) });
    const answer = await this.api.poolCall("POST", this.id, `/slots?${query}`, { body: image, type, signal });
    this.#made(withSlots(answer.slots, before), answer.rev);
    return answer.added;
  }

  // -- how an edit goes ---------------------------------------------------------------------------

  /** @param {string} method @param {string} rest @param {any} json @returns {Promise<{rev: number}>} */
  #call(method, rest, json) {
    return this.api.poolCall(method, this.id, `${rest}?brief=1`, { json });
  }

  /** @param {Edit} edit @param {() => Promise<{rev: number}>} call */
  #edit(edit, call) {
    this.#pending.push(edit);
    this.#show();
    return this.#send(async () => {
      try {
        const answer = await call();
        this.#pending = this.#pending.filter((each) => each !== edit);
        this.#made(edit, answer.rev);
      } catch (error) {
        this.#pending = this.#pending.filter((each) => each !== edit);
        this.#show();
        // Refused or not known whether it was made: the server's state decides.
        this.look();
        throw error;
      }
    });
  }

  /** @param {() => Promise<void>} step @returns {Promise<boolean>} */
  #send(step) {
    const turn = this.#turn.then(async () => {
      try {
        await step();
        return true;
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        this.#failed(error);
        return false;
      }
    });
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** The server made the edit and stands at that revision. @param {Edit} edit @param {number} rev */
  #made(edit, rev) {
    this.#ours = rev;
    if (rev > this.#base.rev) {
      // Others' edits lie between when it is not the next revision: then what shows is only nearly right.
      if (rev > this.#base.rev + 1) this.#told = Math.max(this.#told, rev);
      else this.#base = { ...this.#base, rev };
      this.#base = edit(this.#base);
    }
    this.#show();
    this.#lookSoon();
  }

  // -- what others do -----------------------------------------------------------------------------

  /** @param {{id: string, rev?: number, deleted?: boolean}} event */
  #heard({ id, rev, deleted }) {
    if (id !== this.id) return;
    this.#told = deleted || rev === undefined ? Infinity : Math.max(this.#told, rev);
    this.#lookSoon();
  }

  #lookSoon() {
    // Under way: its end looks again when there is still something to see.
    if (this.#closed || this.#looking || this.#pending.length || this.#told <= this.#base.rev) return;
    // Looks take at most a third of the time, whatever the pool's size; the first one after a rest comes at once.
    const rested = this.#lookedAt + Math.min(2000, 2 * this.#lookTook) - performance.now();
    this.#timer ??= setTimeout(() => void this.#look(), Math.max(GATHER, rested));
  }

  async #look() {
    this.#unwind();
    if (this.#closed || this.#looking) return;
    this.#looking = true;
    this.#told = 0;
    const before = this.#base;
    const began = performance.now();
    try {
      const { name, active, slots, rev } = await this.api.pool(this.id, true);
      // An edit of ours that was made meanwhile may be missing from the answer; then it is read again.
      // A lower revision by itself is no reason: the pool may have been deleted and made anew.
      if (this.#base !== before && rev < this.#ours) this.#told = Infinity;
      else this.#base = { name, active, slots, rev };
      this.loaded = true;
      this.failure = "";
    } catch (error) {
      this.failure = /** @type {Error} */ (error).message;
      this.#told = Infinity;
    }
    this.#looking = false;
    this.#lookedAt = performance.now();
    this.#lookTook = this.#lookedAt - began;
    this.#show();
    if (!this.failure) this.#lookSoon();
    else if (!this.#closed) this.#timer = setTimeout(() => void this.#look(), AGAIN);
  }

  #unwind() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #show() {
    if (this.#closed) return;
    this.#shown = this.#pending.reduce((state, edit) => edit(state), this.#base);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {ApiError} error */
  #failed(error) {
    if (!this.#closed) this.dispatchEvent(new CustomEvent("error", { detail: error }));
  }
}
