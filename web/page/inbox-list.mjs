/** The gates that wait for somebody, filtered and in order: what the inbox shows and the gate's screen goes through. */
import { byAge, isOpen } from "../comfyui/lib/gate-state.mjs";

/** @typedef {import("../comfyui/lib/feed.mjs").Feed} Feed */
/** @typedef {import("./settings.mjs").Settings} Settings */

/**
 * @typedef {object} Filter empty fields let everything through
 * @property {string} text in title, note, workflow, instance or bus
 * @property {string} instance
 * @property {string} workflow
 * @property {string} bus that it publishes to or was loaded from
 * @property {number} age least minutes that it waits, 0 for any
 * @property {string} status `waiting`, `orphaned` or `parked`
 */

/** @type {Filter} */
export const NO_FILTER = { text: "", instance: "", workflow: "", bus: "", age: 0, status: "" };

/** Event `change` when `gates` is another array, or one of its gates changed. */
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
  #frame = 0;

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
    clearTimeout(this.#frame);
    this.#frame = 0;
    const newest = this.settings.get("order") === "newest";
    this.all = [...this.feed.gates.values()].filter(isOpen).sort(newest ? (a, b) => byAge(b, a) : byAge);
    const passes = matcher(this.filter, this.feed.now());
    this.gates = this.all.filter(passes);
    this.#places = new Map(this.gates.map((gate, place) => [gate.id, place]));
    this.dispatchEvent(new Event("change"));
  }

  /** Many gates that change together are looked at once. */
  #later() {
    // Not an animation frame: a hidden tab counts on in its title.
    this.#frame ||= window.setTimeout(() => this.refresh(), 30);
  }
}

/**
 * Whether a gate passes the filter, at that time.
 * @param {Filter} filter
 * @param {number} now milliseconds, by the server's clock
 * @returns {(gate: any) => boolean}
 */
export function matcher({ text, instance, workflow, bus, age, status }, now) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const opened = age ? now - age * 60_000 : Infinity;
  return (gate) =>
    (!instance || gate.instance === instance) &&
    (!workflow || gate.workflow === workflow) &&
    (!bus || gate.send_id === bus || gate.get_id === bus) &&
    (!status || gate.status === status) &&
    gate.opened <= opened &&
    (!words.length || hasWords(gate, words));
}

/** @param {any} gate @param {string[]} words */
function hasWords(gate, words) {
  const { id, title, note, workflow, instance, send_id, get_id, labels } = gate;
  const text = [title, note, workflow, instance, send_id, get_id, id, ...labels].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}
