/** The pools (`#/pools`), and one of them (`#/pools/ID`). */
import { addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { openPopup } from "../comfyui/lib/popup.mjs";
import { CardList } from "./card-list.mjs";
import { button } from "./dialogs.mjs";
import { PoolScreen } from "./pool.mjs";
import { PoolDeeds, poolPlace } from "./pool-deeds.mjs";
import { content } from "./texts/content.mjs";
import { pools } from "./texts/pools.mjs";
import { Thumbnail } from "./thumbnail.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("./page.mjs").View} View */
/** @typedef {import("./pool-deeds.mjs").Info} Info */

register("content", content);
register("pools", pools);

/** @param {Context} context @param {string[]} rest @returns {View} */
export function open(context, rest) {
  addStylesheet(new URL("content.css", import.meta.url).href);
  addStylesheet(new URL("../comfyui/pool.css", import.meta.url).href);
  return rest[0] ? new PoolScreen(context, rest[0]) : new PoolList(context);
}

class PoolList {
  title = t("pools.pools");

  /** @param {Context} context */
  constructor(context) {
    this.deeds = new PoolDeeds(context, () => void this.list.look());
    this.list = new CardList(
      context,
      {
        event: "pool",
        title: this.title,
        filter: t("pools.filterPools"),
        load: async () => (await context.api.pools()).pools,
        key: ({ pool_id }) => pool_id,
        matching: named,
        card: () => new PoolCard(context, this.deeds),
        count: String,
        none: t("pools.noPools"),
        hint: t("pools.noPoolsHint"),
      },
      button(t("pools.newPool"), () => void this.deeds.create(), "gp-primary"),
      button(t("pools.importZip"), () => void this.deeds.importZip()),
    );
    this.element = this.list.element;
    context.help([{ key: "/", does: t("content.helpFilter") }, { key: "N", does: t("pools.newPool") }, { key: "U", does: t("content.helpUndo") }]);
  }

  remove() {
    this.list.remove();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key !== "n" || event.ctrlKey || event.metaKey || event.altKey) return this.list.key(event);
    void this.deeds.create();
    return true;
  }
}

/** @param {Info[]} infos @param {string} text those whose name or id holds the text */
function named(infos, text) {
  const wanted = text.trim().toLocaleLowerCase();
  return infos.filter(({ name, pool_id }) => `${name}\n${pool_id}`.toLocaleLowerCase().includes(wanted));
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
