/** The gates that wait for somebody, filtered and in order: what the inbox shows and the gate's screen goes through. */
import { byAge, isOpen } from "../comfyui/lib/gate-state.mjs";
import { NO_FILTER, matcher } from "./inbox-filter.mjs";

/** @typedef {import("../comfyui/lib/feed.mjs").Feed} Feed */
/** @typedef {import("./inbox-filter.mjs").Filter} Filter */
/** @typedef {import("./settings.mjs").Settings} Settings */

/** Milliseconds within which changes are looked at together. */
const TOGETHER = 30;
/** Part of the time that looking may take, when gates change all the time. */
const SHARE = 0.2;

/** Event `change` when `gates` is another array. */
export class Inbox extends EventTarget {
  /** @type {any[]} open gates that the filter lets through, in order */
  gates = [];
  /** @type {any[]} every open gate, in order */
  all = [];
  /** @type {Filter} */
  filter = NO_FILTER;
  /** The id of the gate that was looked at last, "" for none. */
  cursor = "";
  /** @type {Map<string, number>} gate id -> place in `gates` */
  #places = new Map();
  #timer = 0;
  /** Milliseconds that looking took last. */
  #cost = 0;

  /** @param {Feed} feed @param {Settings} settings */
  constructor(feed, settings) {
    super();
    this.feed = feed;
    this.settings = settings;
    feed.addEventListener("gates", () => this.#later());
    settings.addEventListener("change", (event) => {
      if (/** @type {CustomEvent} */ (event).detail === "order") this.refresh();
    });
    this.refresh();
  }

  /** @param {Partial<Filter>} filter what it leaves out lets everything through */
  setFilter(filter) {
    this.filter = { ...NO_FILTER, ...filter };
    this.refresh();
  }

  /** Its place among `gates`, -1 when it is not there. @param {string} id */
  indexOf(id) {
    return this.#places.get(id) ?? -1;
  }

  /** The gate that follows, undefined after the last. @param {string} id */
  after(id) {
    const place = this.#places.get(id);
    return place === undefined ? undefined : this.gates[place + 1];
  }

  /** The gate before, undefined at the first. @param {string} id */
  before(id) {
    const place = this.#places.get(id);
    return place === undefined ? undefined : this.gates[place - 1];
  }

  /** Looks at the feed anew. */
  refresh() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const began = performance.now();
    const newest = this.settings.get("order") === "newest";
    this.all = [...this.feed.gates.values()].filter(isOpen).sort(newest ? (a, b) => byAge(b, a) : byAge);
    const passes = matcher(this.filter, this.feed.now());
    this.gates = this.all.filter(passes);
    this.#places = new Map(this.gates.map((gate, place) => [gate.id, place]));
    this.dispatchEvent(new Event("change"));
    this.#cost = performance.now() - began;
  }

  /** Gates that change together are looked at once. */
  #later() {
    // Not an animation frame: a hidden tab counts on in its title.
    this.#timer ||= window.setTimeout(() => this.refresh(), Math.max(TOGETHER, this.#cost / SHARE));
  }
}
