/** The inbox's filter, order and size of cards, with how many gates each choice would show. */
import { Undoing, el } from "../comfyui/lib/dom.mjs";
import { duration, t } from "../comfyui/lib/i18n.mjs";
import { icon } from "./icons.mjs";
import { AGES, FACETS, countsOf, fieldsInUse } from "./inbox-filter.mjs";
import { SIZES } from "./inbox-layout.mjs";

/** @typedef {import("./inbox-filter.mjs").Facet} Facet */
/** @typedef {import("./inbox-filter.mjs").Filter} Filter */
/** @typedef {import("./inbox-list.mjs").Inbox} Inbox */
/** @typedef {import("./settings.mjs").Settings} Settings */

/** Milliseconds between two counts while gates come and go. */
const COUNT_EVERY = 1000;
/** Values of one facet that are offered; the most frequent ones. */
const OFFERED = 100;

export class FilterBar {
  #undoing = new Undoing();
  /** @type {Map<Facet | "age", HTMLSelectElement>} */
  #selects = new Map();
  #counted = -Infinity;
  #timer = 0;

  /**
   * @param {Inbox} inbox
   * @param {Settings} settings
   * @param {(filter: Filter) => void} choose
   */
  constructor(inbox, settings, choose) {
    this.inbox = inbox;
    this.settings = settings;
    this.choose = choose;
    this.text = el("input", {
      type: "search",
      class: "gp-input gi-search",
      placeholder: t("inbox.search"),
      "aria-label": t("inbox.search"),
      maxlength: 200,
      oninput: () => choose({ ...inbox.filter, text: this.text.value }),
    });
    this.number = el("span", { class: "gi-count", role: "status" });
    this.used = el("span", { class: "gp-count", hidden: true });
    const fields = el("div", { class: "gi-fields", id: "gi-fields" }, ...[...FACETS, "age"].map((name) => this.#select(/** @type {Facet | "age"} */ (name))));
    this.clear = el("button", { type: "button", class: "gp-button", hidden: true, onclick: () => choose(/** @type {any} */ ({})) }, t("inbox.clear"));
    this.fold = el(
      "button",
      { type: "button", class: "gp-button gi-fold", "aria-expanded": "false", "aria-controls": "gi-fields", "aria-label": t("inbox.filters"), onclick: () => this.#unfold() },
      icon("filter"),
      this.used,
    );
    this.order = el("button", { type: "button", class: "gp-button gi-order", onclick: () => settings.set("order", settings.get("order") === "newest" ? "oldest" : "newest") });
    this.sizes = SIZES.map((size) =>
      el("button", { type: "button", class: "gp-icon gi-size", "data-size": size, title: t(`inbox.size.${size}`), "aria-label": t(`inbox.size.${size}`), onclick: () => settings.set("size", size) }, icon(size)),
    );
    const sizes = el("div", { class: "gi-sizes", role: "group", "aria-label": t("inbox.size") }, ...this.sizes);
    fields.append(this.clear, sizes);
    this.element = el("div", { class: "gi-bar", role: "search" }, this.text, this.fold, this.order, fields, this.number);
    this.#undoing.listen(settings, "change", () => this.#showSettings());
    this.#undoing.add(() => clearTimeout(this.#timer));
    this.#showSettings();
    this.show();
  }

  remove() {
    this.#undoing.run();
  }

  /** Shows the filter as it is, and how many gates it lets through. */
  show() {
    const { filter, gates, all } = this.inbox;
    if (document.activeElement !== this.text) this.text.value = filter.text;
    const used = fieldsInUse(filter);
    this.number.textContent = used ? t("inbox.of", { count: gates.length, all: all.length }) : t("inbox.count", { count: all.length });
    const folded = used - (filter.text ? 1 : 0);
    this.used.hidden = !folded;
    this.used.textContent = String(folded);
    this.clear.hidden = !used;
    const wait = this.#counted + COUNT_EVERY - performance.now();
    if (wait <= 0) this.#count();
    else this.#timer ||= window.setTimeout(() => this.#count(), wait);
  }

  #count() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#counted = performance.now();
    const { filter, all, feed } = this.inbox;
    const counts = countsOf(all, filter, feed.now());
    for (const facet of FACETS) {
      const select = /** @type {HTMLSelectElement} */ (this.#selects.get(facet));
      const values = [...counts[facet]].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1)).slice(0, OFFERED);
      // What is chosen is offered, also when nothing has it any more.
      if (filter[facet] && !values.some(([value]) => value === filter[facet])) values.unshift([filter[facet], 0]);
      const options = values.map(([value, count]) => ({ value, text: `${facet === "status" ? t(`inbox.${value}`) : value} (${count})` }));
      fill(select, [{ value: "", text: t(`inbox.any.${facet}`) }, ...options], filter[facet]);
      // One value says nothing that is not to be seen already.
      select.hidden = values.length < 2 && !filter[facet];
    }
    const age = /** @type {HTMLSelectElement} */ (this.#selects.get("age"));
    const ages = AGES.includes(filter.age) || !filter.age ? AGES : [...AGES, filter.age];
    const options = ages.map((minutes) => ({ value: String(minutes), text: t("inbox.older", { age: duration(60 * minutes) }) }));
    fill(age, [{ value: "", text: t("inbox.any.age") }, ...options], filter.age ? String(filter.age) : "");
  }

  /** @param {Facet | "age"} name */
  #select(name) {
    const select = /** @type {any} */ (el("select", { class: "gp-select", "aria-label": t(`inbox.${name}`) }));
    select.addEventListener("change", () => {
      const value = name === "age" ? Number(select.value) : select.value;
      this.#counted = -Infinity;
      this.choose({ ...this.inbox.filter, [name]: value });
    });
    this.#selects.set(name, select);
    return select;
  }

  #unfold() {
    const open = this.fold.getAttribute("aria-expanded") !== "true";
    this.fold.setAttribute("aria-expanded", String(open));
    this.element.classList.toggle("gi-open", open);
  }

  #showSettings() {
    const order = this.settings.get("order");
    const name = t(`inbox.order.${order}`);
    this.order.replaceChildren(icon(order), el("span", {}, name));
    this.order.setAttribute("aria-label", t("inbox.orderIs", { order: name }));
    this.order.title = t("inbox.orderIs", { order: name });
    for (const button of this.sizes) button.setAttribute("aria-pressed", String(button.dataset.size === this.settings.get("size")));
  }
}

/**
 * @param {HTMLSelectElement} select
 * @param {{value: string, text: string}[]} options
 * @param {string} chosen
 */
function fill(select, options, chosen) {
  const key = JSON.stringify(options);
  if (select.dataset.options !== key) {
    // A list that is open would close.
    if (document.activeElement === select && select.dataset.options) return;
    select.dataset.options = key;
    select.replaceChildren(...options.map(({ value, text }) => el("option", { value }, text)));
  }
  select.value = chosen;
}
