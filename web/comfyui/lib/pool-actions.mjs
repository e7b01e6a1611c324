/** What can be done with a pool besides its grid, as entries for menus. Free of ComfyUI. */
import { el } from "./dom.mjs";
import { t } from "./i18n.mjs";
import { loadBlob } from "./images.mjs";
import { freshPoolId } from "./pools.mjs";

/** @typedef {import("./pool-view.mjs").PoolView} PoolView */
/** @typedef {import("./popup.mjs").Entry} Entry */

/**
 * @typedef {object} Page what the page around it gives
 * @property {(severity: "info" | "success" | "warn" | "error", summary: string, detail?: string) => void} toast
 * @property {(question: {title: string, message: string, value: string}) => Promise<string | null>} ask null: cancelled
 * @property {(id: string) => void} point the node, or page, shows that pool from now on
 * @property {(file: string) => Promise<void>} editMask
 */

/** Milliseconds after which the address of a blob that was handed to the browser is freed. */
const FREED = 60_000;

export class PoolActions {
  /** @param {PoolView} view @param {Page} page */
  constructor(view, page) {
    this.view = view;
    this.page = page;
  }

  /** @returns {(Entry | null)[]} everything but the list of pools; null is a line */
  entries() {
    const { view } = this;
    const { chosen, pool } = view;
    const slot = chosen ? pool.slot(chosen) : undefined;
    const none = !pool.state.slots.length;
    return [
      { label: t("pool.upload"), run: () => view.upload() },
      { label: t("pool.selectAll"), run: () => view.selection.all(), disabled: none, local: true },
      { label: t("pool.activate"), run: () => pool.activate(chosen), disabled: !slot, local: true },
      { label: t("pool.editMask"), run: () => this.editMask(), disabled: none },
      { label: t("pool.clearMask"), run: () => this.clearMask(chosen), disabled: !slot?.mask, local: true },
      null,
      { label: t("pool.sortLabel"), run: () => view.sort("label"), disabled: none },
      { label: t("pool.sortAdded"), run: () => view.sort("added"), disabled: none },
      { label: t("pool.sortReverse"), run: () => view.sort("reverse"), disabled: none },
      null,
      { label: t("pool.rename"), run: () => this.rename() },
      { label: t("pool.duplicate"), run: () => this.duplicate(), disabled: none },
      { label: t("pool.detach"), run: () => this.detach() },
      { label: t("pool.exportZip"), run: () => this.exportZip(), disabled: none },
      { label: t("pool.importZip"), run: () => this.importZip() },
    ];
  }

  /** The pools that there are, to choose one from. @returns {Promise<(Entry | null)[]>} */
  async poolEntries() {
    const { view, page } = this;
    /** @type {{pool_id: string, name: string, count: number}[]} */
    let infos = [];
    await this.#trying(async () => {
      infos = (await view.pool.api.pools()).pools;
    });
    const entries = infos.map(({ pool_id, name, count }) => ({
      label: name || pool_id,
      detail: name ? `${pool_id} · ${count}` : String(count),
      chosen: pool_id === view.pool.id,
      run: () => page.point(pool_id),
    }));
    return [
      { label: t("pool.newPool"), run: () => page.point(freshPoolId()) },
      { label: t("pool.attachId"), run: () => this.attachById() },
      null,
      ...entries,
    ];
  }

  async attachById() {
    const value = this.view.pool.id;
    const id = await this.page.ask({ title: t("pool.attachTitle"), message: t("pool.attachAsk"), value });
    if (!id?.trim()) return;
    await this.#trying(async () => {
      // The server says what is wrong with an id; a pool that is not there yet is fine.
      await this.view.pool.api.pool(id.trim(), true);
      this.page.point(id.trim());
    });
  }

  async rename() {
    const { pool } = this.view;
    const message = t("pool.renameAsk", { id: pool.id });
    const name = await this.page.ask({ title: t("pool.renameTitle"), message, value: pool.state.name });
    if (name !== null && name.trim() !== pool.state.name) await pool.rename(name.trim());
  }

  async duplicate() {
    const { pool, name } = this.view;
    const value = `${name} 2`;
    const given = await this.page.ask({ title: t("pool.duplicateTitle"), message: t("pool.duplicateAsk"), value });
    if (given === null) return;
    await this.#trying(async () => {
      const { pool_id } = await this.#copy(pool.id, given.trim());
      this.page.toast("success", t("pool.duplicated"), t("pool.duplicatedDetail", { name: given.trim() || pool_id }));
    });
  }

  /** The node gets a copy of its own. */
  async detach() {
    const { pool } = this.view;
    await this.#trying(async () => {
      let id = freshPoolId();
      // A pool that nobody has filled yet needs no copy.
      if (pool.state.rev > 0) id = (await this.#copy(pool.id, pool.state.name)).pool_id;
      this.page.point(id);
      this.page.toast("success", t("pool.detached"));
    });
  }

  async exportZip() {
    const { pool } = this.view;
    await this.#trying(async () => {
      const { host } = pool.api;
      let address = host.url(`/gatebus/pools/${encodeURIComponent(pool.id)}/export`);
      if (host.token?.()) {
        const blob = await loadBlob(host, address);
        address = URL.createObjectURL(blob);
        setTimeout(() => URL.revokeObjectURL(address), FREED);
      }
      el("a", { href: address, download: `${pool.id}.zip` }).click();
    });
  }

  importZip() {
    const input = el("input", { type: "file", accept: ".zip,application/zip" });
    input.addEventListener("change", () => input.files[0] && void this.#import(input.files[0]));
    input.click();
  }

  /** @param {File} file */
  async #import(file) {
    const { page, view } = this;
    page.toast("info", t("pool.importing", { name: file.name }));
    await this.#trying(async () => {
      const name = file.name.replace(/\.zip$/i, "").slice(0, 200);
      const rest = `/import?${new URLSearchParams({ brief: "1", name })}`;
      const options = { body: file, type: "application/zip" };
      const { pool_id, count } = await view.pool.api.poolCall("POST", freshPoolId(), rest, options);
      page.point(pool_id);
      page.toast("success", t("pool.imported", { count }));
    });
  }

  async editMask() {
    const { chosen } = this.view;
    if (!chosen) return this.page.toast("info", t("pool.selectFirst"));
    await this.page.editMask(chosen);
  }

  /** @param {string} file */
  async clearMask(file) {
    const { pool } = this.view;
    await this.#trying(() => pool.api.poolCall("DELETE", pool.id, `/slots/${encodeURIComponent(file)}/mask?brief=1`));
  }

  /** @param {string} id @param {string} name */
  #copy(id, name) {
    return this.view.pool.api.poolCall("POST", id, "/duplicate?brief=1", { json: { new_id: freshPoolId(), name } });
  }

  /** @param {() => Promise<unknown>} step */
  async #trying(step) {
    try {
      await step();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.page.toast("error", t("pool.failed"), error.message);
    }
  }
}
