/** The buses (`#/buses`): what was published last under each name; and one of them (`#/buses/NAME`). */
import { everySecond } from "../comfyui/lib/clock.mjs";
import { Undoing, addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { matching } from "../comfyui/lib/bus-names.mjs";
import { BusView } from "./bus.mjs";
import { chooseFiles, publish, takeFiles } from "./bus-uploads.mjs";
import { ageText, busUrl, sizeText } from "./bus-words.mjs";
import { button } from "./dialogs.mjs";
import { removalsOf } from "./removals.mjs";
import { content } from "./texts/content.mjs";
import { Thumbnail } from "./thumbnail.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */

register("content", content);

/** Milliseconds in which events are gathered into one look. */
export const SETTLE = 150;

/** @param {Context} context @param {string[]} rest @param {URLSearchParams} query @returns {View} */
export function open(context, rest, query) {
  addStylesheet(new URL("content.css", import.meta.url).href);
  return rest[0] ? new BusView(context, rest[0], Number(query.get("version")) || 0) : new Buses(context);
}

/** The grid of names. */
class Buses {
  title = t("content.buses");
  #undoing = new Undoing();
  /** @type {any[]} */
  #heads = [];
  /** @type {Map<string, BusCard>} */
  #cards = new Map();
  #loaded = false;
  #failure = "";

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.removals = removalsOf(context);
    this.filter = el("input", { type: "search", class: "gp-input gc-filter", placeholder: t("content.filterBuses"), "aria-label": t("content.filterBuses") });
    this.count = el("span", { class: "gc-count", role: "status" });
    this.list = el("ul", { class: "gc-cards", "aria-label": t("content.buses") });
    this.empty = el("div", { class: "gc-empty", hidden: true });
    const fresh = button(t("content.newBus"), () => chooseFiles((files) => void this.#publish(files)));
    const bar = el("div", { class: "gc-bar" }, el("h1", {}, this.title), this.count, this.filter, fresh);
    this.element = el("div", { class: "gc-view" }, bar, this.list, this.empty);
    const { feed } = context;
    this.#undoing.listen(this.filter, "input", () => this.#draw());
    this.#undoing.listen(this.removals, "change", () => this.#look());
    for (const type of ["bus", "reset"]) this.#undoing.listen(feed, type, () => this.#later());
    this.#undoing.add(everySecond(() => this.#tick()));
    takeFiles(this.element, this.#undoing, (files) => void this.#publish(files));
    context.help([{ key: "/", does: t("content.helpFilter") }, { key: "U", does: t("content.helpUndo") }]);
    void this.#look();
  }

  remove() {
    clearTimeout(this.#settling);
    this.#undoing.run();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === "u") return this.removals.undo();
    if (event.key !== "/") return false;
    this.filter.focus();
    return true;
  }

  #settling = 0;

  #later() {
    clearTimeout(this.#settling);
    this.#settling = window.setTimeout(() => void this.#look(), SETTLE);
  }

  async #look() {
    try {
      this.#heads = (await this.context.api.buses()).buses;
      this.#failure = "";
    } catch (error) {
      this.#failure = /** @type {Error} */ (error).message;
    }
    this.#loaded = true;
    this.#draw();
  }

  #draw() {
    const there = this.#heads.filter(({ name }) => !this.removals.has(`bus:${name}`));
    const shown = matching(there, this.filter.value);
    const names = new Set(shown.map(({ name }) => name));
    for (const [name, card] of this.#cards) {
      if (names.has(name)) continue;
      card.element.remove();
      this.#cards.delete(name);
    }
    shown.forEach((head, place) => {
      const card = this.#cards.get(head.name) ?? new BusCard(this.context);
      this.#cards.set(head.name, card);
      card.show(head);
      // Moved only when it stands elsewhere: a card that is moved loses the focus.
      if (this.list.children[place] !== card.element) this.list.insertBefore(card.element, this.list.children[place] ?? null);
    });
    this.#tick();
    this.count.textContent = there.length ? String(there.length) : "";
    this.count.setAttribute("aria-label", t("content.countBuses", { count: there.length }));
    this.#drawEmpty(there.length, shown.length);
  }

  /** @param {number} there @param {number} shown */
  #drawEmpty(there, shown) {
    this.empty.toggleAttribute("hidden", shown > 0);
    if (shown) return;
    const failure = this.#failure && t("content.failedList", { reason: this.#failure });
    const text = failure || (!this.#loaded ? t("content.loading") : t(there ? "content.noneMatch" : "content.noBuses"));
    const hint = this.#loaded && !there && !failure ? el("p", {}, t("content.noBusesHint")) : null;
    this.empty.replaceChildren(el("strong", {}, text), ...(hint ? [hint] : []));
  }

  #tick() {
    const now = this.context.feed.now();
    for (const card of this.#cards.values()) card.tick(now);
  }

  /** @param {File[]} files */
  async #publish(files) {
    if (!files.length) return;
    const question = { title: t("content.newBusTitle"), message: t("content.newBusAsk"), label: t("content.busName") };
    const name = await this.context.ask(question);
    if (name && (await publish(this.context, name, files))) this.context.go(`#/buses/${encodeURIComponent(name)}`);
  }
}

/** One bus of the grid. */
class BusCard {
  /** @type {any} */
  head = null;

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.thumbnail = new Thumbnail(context.api);
    this.mask = el("span", { class: "gc-mark", title: t("content.hasMask") }, t("content.mask"));
    this.name = el("strong", { class: "gc-name" });
    this.version = el("span", { class: "gc-version" });
    this.about = el("span", { class: "gc-quiet" });
    this.age = el("span", { class: "gc-quiet" });
    this.from = el("span", { class: "gc-quiet gc-one" });
    this.label = el("span", { class: "gc-label gc-one" });
    this.thumbnail.element.append(this.mask);
    const text = el("span", { class: "gc-text" }, el("span", { class: "gc-line" }, this.name, this.version), this.label, this.about, this.from, this.age);
    this.link = el("a", { class: "gc-card" }, this.thumbnail.element, text);
    this.element = el("li", {}, this.link);
  }

  /** @param {any} head */
  show(head) {
    this.head = head;
    const { api } = this.context;
    this.link.setAttribute("href", `#/buses/${encodeURIComponent(head.name)}`);
    this.thumbnail.show(busUrl(api, head, "thumbnail", 0, 256));
    this.mask.toggleAttribute("hidden", !head.mask);
    this.name.textContent = head.name;
    this.version.textContent = `@${head.version}`;
    this.about.textContent = sizeText(head);
    this.label.textContent = head.meta.label;
    this.from.textContent = [head.meta.workflow, head.meta.instance].filter(Boolean).join(" · ");
  }

  /** @param {number} now */
  tick(now) {
    const text = ageText(this.head, now);
    if (this.age.textContent !== text) this.age.textContent = text;
  }
}
