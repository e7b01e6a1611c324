/** A grid of cards, one for each thing of a kind (buses, pools): counted, filtered, live, with what is being removed left out. */
import { Undoing, el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { removalsOf } from "./removals.mjs";

/** @typedef {import("./page.mjs").Context} Context */

/** Milliseconds in which events are gathered into one look. */
const SETTLE = 150;

/**
 * @typedef {object} Card
 * @property {HTMLElement} element
 * @property {(thing: any) => void} show
 *
 * @typedef {object} Kind
 * @property {string} event the type of the events that tell of a change; its removals are named `EVENT:KEY`
 * @property {string} title
 * @property {string} filter what the field for the filter says
 * @property {() => Promise<any[]>} load
 * @property {(thing: any) => string} key
 * @property {(things: any[], text: string) => any[]} matching
 * @property {() => Card} card makes an empty one
 * @property {(count: number) => string} count in words
 * @property {string} none what stands there when there is none
 * @property {string} hint how to make the first one
 */

export class CardList {
  undoing = new Undoing();
  /** @type {Map<string, any>} by key */
  cards = new Map();
  /** @type {any[]} */
  #things = [];
  #settling = 0;
  #loaded = false;
  #failure = "";

  /** @param {Context} context @param {Kind} kind @param {HTMLElement[]} deeds what else stands in the bar */
  constructor(context, kind, ...deeds) {
    this.context = context;
    this.kind = kind;
    this.removals = removalsOf(context);
    this.filter = el("input", { type: "search", class: "gp-input gc-filter", placeholder: kind.filter, "aria-label": kind.filter });
    this.count = el("span", { class: "gc-count", role: "status" });
    this.list = el("ul", { class: "gc-cards", "aria-label": kind.title });
    this.empty = el("div", { class: "gc-empty", hidden: true });
    const bar = el("div", { class: "gc-bar" }, el("h1", {}, kind.title), this.count, this.filter, ...deeds);
    this.element = el("div", { class: "gc-view" }, bar, this.list, this.empty);
    this.undoing.listen(this.filter, "input", () => this.#draw());
    this.undoing.listen(this.removals, "change", () => void this.look());
    for (const type of [kind.event, "reset"]) this.undoing.listen(context.feed, type, () => this.#later());
    void this.look();
  }

  remove() {
    clearTimeout(this.#settling);
    this.undoing.run();
  }

  /** The keys of every such list. @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === "u") return this.removals.undo();
    if (event.key !== "/") return false;
    this.filter.focus();
    return true;
  }

  async look() {
    try {
      this.#things = await this.kind.load();
      this.#failure = "";
    } catch (error) {
      this.#failure = /** @type {Error} */ (error).message;
    }
    this.#loaded = true;
    this.#draw();
  }

  #later() {
    clearTimeout(this.#settling);
    this.#settling = window.setTimeout(() => void this.look(), SETTLE);
  }

  #draw() {
    const { kind } = this;
    const there = this.#things.filter((thing) => !this.removals.has(`${kind.event}:${kind.key(thing)}`));
    const shown = kind.matching(there, this.filter.value);
    const keys = new Set(shown.map(kind.key));
    for (const [key, card] of this.cards) {
      if (keys.has(key)) continue;
      card.element.remove();
      this.cards.delete(key);
    }
    shown.forEach((thing, place) => {
      const card = this.cards.get(kind.key(thing)) ?? kind.card();
      this.cards.set(kind.key(thing), card);
      card.show(thing);
      // Moved only when it stands elsewhere: a card that is moved loses the focus.
      if (this.list.children[place] !== card.element) this.list.insertBefore(card.element, this.list.children[place] ?? null);
    });
    this.count.textContent = there.length ? String(there.length) : "";
    this.count.setAttribute("aria-label", kind.count(there.length));
    this.#drawEmpty(there.length, shown.length);
  }

  /** @param {number} there @param {number} shown */
  #drawEmpty(there, shown) {
    this.empty.toggleAttribute("hidden", shown > 0);
    if (shown) return;
    const failure = this.#failure && t("content.failedList", { reason: this.#failure });
    const text = failure || (!this.#loaded ? t("content.loading") : there ? t("content.noneMatch") : this.kind.none);
    const hint = this.#loaded && !there && !failure ? el("p", {}, this.kind.hint) : null;
    this.empty.replaceChildren(el("strong", {}, text), ...(hint ? [hint] : []));
  }
}
