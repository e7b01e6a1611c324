/** The pools (`#/pools`), and one of them (`#/pools/ID`). */
import { Undoing, addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { openPopup } from "../comfyui/lib/popup.mjs";
import { button } from "./dialogs.mjs";
import { PoolScreen } from "./pool.mjs";
import { PoolDeeds, poolPlace } from "./pool-deeds.mjs";
import { removalsOf } from "./removals.mjs";
import { content } from "./texts/content.mjs";
import { pools } from "./texts/pools.mjs";
import { Thumbnail } from "./thumbnail.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */
/** @typedef {import("./pool-deeds.mjs").Info} Info */

register("content", content);
register("pools", pools);

/** Milliseconds in which events are gathered into one look. */
const SETTLE = 150;

/** @param {Context} context @param {string[]} rest @returns {View} */
export function open(context, rest) {
  addStylesheet(new URL("content.css", import.meta.url).href);
  addStylesheet(new URL("../comfyui/pool.css", import.meta.url).href);
  return rest[0] ? new PoolScreen(context, rest[0]) : new PoolList(context);
}

class PoolList {
  title = t("pools.pools");
  #undoing = new Undoing();
  /** @type {(Info & {active: string})[]} */
  #infos = [];
  /** @type {Map<string, PoolCard>} */
  #cards = new Map();
  #settling = 0;
  #loaded = false;
  #failure = "";

  /** @param {Context} context */
  constructor(context) {
    this.context = context;
    this.removals = removalsOf(context);
    this.deeds = new PoolDeeds(context, () => void this.#look());
    this.filter = el("input", { type: "search", class: "gp-input gc-filter", placeholder: t("pools.filterPools"), "aria-label": t("pools.filterPools") });
    this.count = el("span", { class: "gc-count", role: "status" });
    this.list = el("ul", { class: "gc-cards", "aria-label": t("pools.pools") });
    this.empty = el("div", { class: "gc-empty", hidden: true });
    const fresh = button(t("pools.newPool"), () => void this.deeds.create(), "gp-primary");
    const taken = button(t("pools.importZip"), () => void this.deeds.importZip());
    this.element = el("div", { class: "gc-view" }, el("div", { class: "gc-bar" }, el("h1", {}, this.title), this.count, this.filter, fresh, taken), this.list, this.empty);
    this.#undoing.listen(this.filter, "input", () => this.#draw());
    this.#undoing.listen(this.removals, "change", () => void this.#look());
    for (const type of ["pool", "reset"]) this.#undoing.listen(context.feed, type, () => this.#later());
    context.help([{ key: "/", does: t("content.helpFilter") }, { key: "N", does: t("pools.newPool") }, { key: "U", does: t("content.helpUndo") }]);
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
    if (event.key === "/") this.filter.focus();
    else if (event.key === "n") void this.deeds.create();
    else return false;
    return true;
  }

  #later() {
    clearTimeout(this.#settling);
    this.#settling = window.setTimeout(() => void this.#look(), SETTLE);
  }

  async #look() {
    try {
      this.#infos = (await this.context.api.pools()).pools;
      this.#failure = "";
    } catch (error) {
      this.#failure = /** @type {Error} */ (error).message;
    }
    this.#loaded = true;
    this.#draw();
  }

  #draw() {
    const there = this.#infos.filter(({ pool_id }) => !this.removals.has(`pool:${pool_id}`));
    const wanted = this.filter.value.trim().toLocaleLowerCase();
    const shown = there.filter(({ name, pool_id }) => `${name}\n${pool_id}`.toLocaleLowerCase().includes(wanted));
    const ids = new Set(shown.map(({ pool_id }) => pool_id));
    for (const [id, card] of this.#cards) {
      if (ids.has(id)) continue;
      card.element.remove();
      this.#cards.delete(id);
    }
    shown.forEach((info, place) => {
      const card = this.#cards.get(info.pool_id) ?? new PoolCard(this.context, this.deeds);
      this.#cards.set(info.pool_id, card);
      card.show(info);
      if (this.list.children[place] !== card.element) this.list.insertBefore(card.element, this.list.children[place] ?? null);
    });
    this.count.textContent = there.length ? String(there.length) : "";
    this.empty.toggleAttribute("hidden", shown.length > 0);
    const failure = this.#failure && t("content.failedList", { reason: this.#failure });
    const text = failure || (!this.#loaded ? t("content.loading") : t(there.length ? "content.noneMatch" : "pools.noPools"));
    const hint = this.#loaded && !there.length && !failure ? el("p", {}, t("pools.noPoolsHint")) : null;
    this.empty.replaceChildren(el("strong", {}, text), ...(hint ? [hint] : []));
  }
}

class PoolCard {
  /** @type {any} */
  info = null;

  /** @param {Context} context @param {PoolDeeds} deeds */
  constructor(context, deeds) {
    this.context = context;
    this.deeds = deeds;
    this.thumbnail = new Thumbnail(context.api);
    this.name = el("strong", { class: "gc-name" });
    this.count = el("span", { class: "gc-quiet" });
    this.id = el("span", { class: "gc-quiet gc-one" });
    const text = el("span", { class: "gc-text" }, this.name, this.count, this.id);
    this.link = el("a", { class: "gc-card" }, this.thumbnail.element, text);
    this.more = el("button", { type: "button", class: "gp-button gc-more", "aria-haspopup": "menu" }, "⋯");
    this.more.addEventListener("click", () => this.#menu());
    this.element = el("li", { class: "gc-menu-place" }, this.link, this.more);
  }

  /** @param {any} info */
  show(info) {
    this.info = info;
    const { pool_id, name, count, active, rev } = info;
    const called = name || pool_id;
    this.link.setAttribute("href", poolPlace(pool_id));
    // The list names no digest: the revision makes the address another one when the pool was edited.
    const path = `/gatebus/pools/${encodeURIComponent(pool_id)}/slots/${encodeURIComponent(active)}/thumbnail?size=256`;
    this.thumbnail.show(active ? `${this.context.api.host.url(path)}#${rev}` : "");
    this.name.textContent = called;
    this.count.textContent = t(count === 1 ? "pools.imageOne" : count ? "pools.images" : "pools.imageNone", { count });
    this.id.textContent = name ? pool_id : "";
    this.more.setAttribute("aria-label", t("pools.menuOf", { name: called }));
    this.more.title = t("pools.menuOf", { name: called });
  }

  #menu() {
    const { deeds, info } = this;
    openPopup(this.element, this.more, t("pools.menuOf", { name: info.name || info.pool_id }), [
      { label: t("pools.rename"), run: () => deeds.rename(info) },
      { label: t("pools.duplicate"), run: () => deeds.duplicate(info) },
      { label: t("pools.exportZip"), run: () => deeds.exportZip(info), disabled: !info.count },
      null,
      { label: t("pools.delete"), run: () => deeds.remove(info) },
    ]);
  }
}
