/** The instances (`#/instances`): each ComfyUI process of the farm, what it runs and what waits there. */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { Undoing, addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { InstanceCard } from "./instance-card.mjs";
import { content } from "./texts/content.mjs";
import { instances } from "./texts/instances.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */

register("content", content);
register("instances", instances);

/** Milliseconds in which events are gathered into one look. */
const SETTLE = 100;

/** Milliseconds between two looks that no event asked for: memory, progress and who is gone tell none. */
const LOOK = 4000;

/** @param {Context} context @returns {View} */
export function open(context) {
  addStylesheet(new URL("content.css", import.meta.url).href);
  return new Instances(context);
}

class Instances {
  title = t("instances.instances");
  #undoing = new Undoing();
  /** @type {Map<string, InstanceCard>} */
  #cards = new Map();
  #timer = 0;
  /** Whether a look is due within SETTLE. */
  #soon = false;
  /** @type {Map<string, import("./instance-place.mjs").Place>} instance id -> what the farm has there */
  #places = new Map();
  #removed = false;
  #loaded = false;
  #failure = "";

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.count = el("span", { class: "gc-count", role: "status" });
    this.list = el("ul", { class: "gc-instances", "aria-label": this.title });
    this.empty = el("div", { class: "gc-empty" }, el("strong", {}, t("content.loading")));
    this.element = el("div", { class: "gc-view" }, el("div", { class: "gc-bar" }, el("h1", {}, this.title), this.count), this.list, this.empty);
    for (const type of ["instance", "job", "reset"]) this.#undoing.listen(context.feed, type, () => this.#after(SETTLE));
    this.#undoing.listen(context.feed, "gates", () => this.#drawGates());
    // A hidden page asks for nothing; it looks when it is seen again.
    this.#undoing.listen(document, "visibilitychange", () => document.hidden || this.#after(0));
    this.#undoing.add(everySecond(() => this.#tick()));
    context.help([]);
    void this.#look();
  }

  remove() {
    this.#removed = true;
    clearTimeout(this.#timer);
    this.#undoing.run();
  }

  /** @param {number} milliseconds */
  #after(milliseconds) {
    // Jobs may tell of themselves without a pause: a look that is due is not put off for ever.
    if (milliseconds === SETTLE && this.#soon) return;
    this.#soon = milliseconds === SETTLE;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#look(), milliseconds);
  }

  async #look() {
    this.#soon = false;
    /** @type {any[]} */
    let found = [];
    try {
      const { api } = this.context;
      const [{ instances: announced }, { places, listed }] = await Promise.all([api.call("GET", "/gatebus/instances"), api.call("GET", "/gatebus/jobs/places")]);
      found = [...announced, ...listed.map((/** @type {any} */ each) => ({ ...each, listed: true }))];
      this.#places = new Map(places.map((/** @type {any} */ place) => [place.instance, place]));
      this.#failure = "";
    } catch (error) {
      this.#failure = /** @type {Error} */ (error).message;
    }
    if (this.#removed) return;
    this.#loaded = true;
    // Those that are known stay to be seen while the list can't be read.
    if (!this.#failure) this.#draw(found);
    this.#drawEmpty();
    if (!document.hidden) this.#after(LOOK);
  }

  /** @param {any[]} found */
  #draw(found) {
    const ids = new Set(found.map(({ id }) => id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.element.remove();
      this.#cards.delete(id);
    }
    // Those that are gone stand last.
    found.sort((a, b) => Number(a.gone) - Number(b.gone) || a.name.localeCompare(b.name));
    found.forEach((instance, place) => {
      const card = this.#cards.get(instance.id) ?? new InstanceCard(this.context, () => this.#after(SETTLE));
      this.#cards.set(instance.id, card);
      card.show(instance, this.#places.get(instance.id));
      if (this.list.children[place] !== card.element) this.list.insertBefore(card.element, this.list.children[place] ?? null);
    });
    const living = found.filter(({ gone, listed }) => !gone && !listed);
    const busy = living.filter(({ running }) => running.length).length;
    const pending = living.reduce((sum, each) => sum + each.pending, 0);
    this.count.textContent = found.length ? t("instances.countInstances", { count: living.length, busy, pending }) : "";
    this.#drawGates();
    this.#tick();
  }

  #drawEmpty() {
    this.empty.toggleAttribute("hidden", this.#cards.size > 0 && !this.#failure);
    const text = this.#failure ? t("content.failedList", { reason: this.#failure }) : t(this.#loaded ? "instances.noInstances" : "content.loading");
    const hint = this.#failure ? [] : [el("p", {}, t("instances.noInstancesHint"))];
    this.empty.replaceChildren(el("strong", {}, text), ...hint);
  }

  #drawGates() {
    /** @type {Map<string, number>} instance id -> gates that wait there */
    const waiting = new Map();
    for (const { owner, status } of this.context.feed.gates.values()) {
      const id = String(owner).split(":")[0];
      if (status === "waiting" || status === "orphaned" || status === "parked") waiting.set(id, (waiting.get(id) ?? 0) + 1);
    }
    for (const [id, card] of this.#cards) card.showGates(waiting.get(id) ?? 0);
  }

  #tick() {
    const now = this.context.feed.now();
    for (const card of this.#cards.values()) card.tick(now);
  }
}
