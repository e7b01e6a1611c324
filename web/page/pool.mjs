/** One pool (`#/pools/ID`): the same grid as in the node, over the whole page. */
import { Undoing, addStylesheet, el } from "../comfyui/lib/dom.mjs";
import { register, t } from "../comfyui/lib/i18n.mjs";
import { loadBlob } from "../comfyui/lib/images.mjs";
import { PoolView } from "../comfyui/lib/pool-view.mjs";
import { Pools, freshPoolId } from "../comfyui/lib/pools.mjs";
import { openPopup } from "../comfyui/lib/popup.mjs";
import { painter } from "../comfyui/lib/texts/painter.mjs";
import { filesOf, isImage } from "../comfyui/lib/uploads.mjs";
import { PoolDeeds, poolPlace } from "./pool-deeds.mjs";
import { removalsOf } from "./removals.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {import("../comfyui/lib/popup.mjs").Entry} Entry */

export class PoolScreen {
  #undoing = new Undoing();

  /** @param {Context} context @param {string} id */
  constructor(context, id) {
    this.context = context;
    this.deeds = new PoolDeeds(context);
    this.removals = removalsOf(context);
    const choosePool = (/** @type {HTMLElement} */ opener) => void this.#choosePool(opener);
    const toast = (/** @type {any} */ severity, /** @type {string} */ summary, /** @type {string} */ detail = "") => void context.toast(severity, summary, detail);
    this.view = new PoolView(new Pools(context.api, context.feed), id, { toast, menu: () => this.#entries(), choosePool });
    const back = el("a", { class: "gp-button", href: "#/pools" }, `‹ ${t("pools.pools")}`);
    this.element = el("div", { class: "gc-pool" }, el("div", { class: "gc-pool-back" }, back), this.view.element);
    const undoing = this.#undoing;
    undoing.listen(document, "paste", (event) => this.#pasted(event));
    undoing.listen(this.view.grid.element, "contextmenu", (event) => this.#menuAt(event));
    undoing.listen(this.view.pool, "change", () => (document.title = `${this.title} · gatebus`));
    context.help([
      { key: "← →", does: t("pools.helpSlots") },
      { key: "Enter", does: t("pools.helpActivate") },
      { key: "Delete", does: t("pools.helpRemove") },
      { key: "U", does: t("content.helpUndo") },
      { key: "E", does: t("pools.helpMaskEdit") },
    ]);
  }

  get title() {
    return this.view.name;
  }

  remove() {
    this.#undoing.run();
    this.view.close();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.key === "u") return this.view.undo() || this.removals.undo();
    if (event.key === "e" && this.view.chosen) {
      void this.#editMask();
      return true;
    }
    // From anywhere else on the page the arrows lead into the grid.
    const { element } = this.view.grid;
    if (!event.key.startsWith("Arrow") || element.contains(document.activeElement)) return false;
    element.focus();
    return true;
  }

  get #info() {
    const { id, state } = this.view.pool;
    return { pool_id: id, name: state.name, count: state.slots.length, rev: state.rev };
  }

  /** @returns {(Entry | null)[]} */
  #entries() {
    const { view, deeds } = this;
    const { chosen, pool } = view;
    const slot = chosen ? pool.slot(chosen) : undefined;
    const none = !pool.state.slots.length;
    return [
      { label: t("pool.upload"), run: () => view.upload() },
      { label: t("pool.selectAll"), run: () => view.selection.all(), disabled: none },
      { label: t("pool.activate"), run: () => pool.activate(chosen), disabled: !slot },
      { label: t("pool.editMask"), run: () => this.#editMask(), disabled: !slot },
      { label: t("pool.clearMask"), run: () => this.#saveMask(chosen, null), disabled: !slot?.mask },
      null,
      { label: t("pool.sortLabel"), run: () => view.sort("label"), disabled: none },
      { label: t("pool.sortAdded"), run: () => view.sort("added"), disabled: none },
      { label: t("pool.sortReverse"), run: () => view.sort("reverse"), disabled: none },
      null,
      { label: t("pools.rename"), run: () => deeds.rename(this.#info) },
      { label: t("pools.duplicate"), run: () => deeds.duplicate(this.#info), disabled: none },
      { label: t("pools.exportZip"), run: () => deeds.exportZip(this.#info), disabled: none },
      { label: t("pools.deletePool"), run: () => void this.#remove() },
    ];
  }

  async #remove() {
    if (await this.deeds.remove(this.#info)) this.context.go("#/pools");
  }

  /** @param {HTMLElement} opener */
  async #choosePool(opener) {
    const { api, toast, go } = this.context;
    try {
      const { pools } = await api.pools();
      const entries = pools.map((/** @type {any} */ { pool_id, name, count }) => ({
        label: name || pool_id,
        detail: name ? `${pool_id} · ${count}` : String(count),
        chosen: pool_id === this.view.pool.id,
        run: () => go(poolPlace(pool_id)),
      }));
      openPopup(this.view.element, opener, t("pools.pools"), [{ label: t("pools.newPool"), run: () => go(poolPlace(freshPoolId())) }, null, ...entries]);
    } catch (error) {
      toast("error", t("content.failed"), /** @type {Error} */ (error).message);
    }
  }

  /** @param {MouseEvent} event */
  #menuAt(event) {
    event.preventDefault();
    const { grid, selection, element } = this.view;
    const id = /** @type {Element} */ (event.target).closest(".gb-cell")?.getAttribute("data-id");
    if (id && !selection.has(id)) selection.choose(id);
    openPopup(element, grid.element, t("pool.menu"), this.#entries());
  }

  /** @param {ClipboardEvent} event */
  #pasted(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!event.clipboardData || !files.some(isImage) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    void filesOf(event.clipboardData).then((all) => this.view.add(all.filter(isImage)));
  }

  // -- masks ----------------------------------------------------------------------------------------

  async #editMask() {
    const { pool, chosen } = this.view;
    const slot = pool.slot(chosen);
    if (!slot) return this.context.toast("info", t("pool.selectFirst"));
    const { api, toast } = this.context;
    const load = (/** @type {"image" | "mask"} */ what) => () => loadBlob(api.host, api.slotUrl(pool.id, slot, what));
    try {
      register("painter", painter);
      addStylesheet(new URL("../comfyui/painter.css", import.meta.url).href);
      const { openPainter } = await import("../comfyui/lib/painter.mjs");
      const title = slot.label || slot.file;
      const save = (/** @type {Blob | null} */ png) => this.#putMask(pool.id, slot.file, png);
      await openPainter({ title, loadImage: load("image"), loadMask: slot.mask ? load("mask") : null, size: undefined, save });
    } catch (error) {
      toast("error", t("content.failed"), /** @type {Error} */ (error).message);
    }
  }

  /** @param {string} file @param {Blob | null} png */
  async #saveMask(file, png) {
    try {
      await this.#putMask(this.view.pool.id, file, png);
    } catch (error) {
      this.context.toast("error", t("content.failed"), /** @type {Error} */ (error).message);
    }
  }

  /** @param {string} id @param {string} file @param {Blob | null} png null clears it */
  #putMask(id, file, png) {
    const path = `/slots/${encodeURIComponent(file)}/mask?brief=1`;
    const { api } = this.context;
    return png ? api.poolCall("PUT", id, path, { body: png, type: "image/png" }) : api.poolCall("DELETE", id, path);
  }
}
