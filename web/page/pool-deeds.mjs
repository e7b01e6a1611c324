/** What can be done with a whole pool: name, copy, export, import, delete. */
import { el } from "../comfyui/lib/dom.mjs";
import { t } from "../comfyui/lib/i18n.mjs";
import { freshPoolId } from "../comfyui/lib/pools.mjs";
import { download } from "./bus-words.mjs";
import { removalsOf } from "./removals.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {{pool_id: string, name: string, count: number, rev: number}} Info */

/** @param {string} id */
export const poolPlace = (id) => `#/pools/${encodeURIComponent(id)}`;

export class PoolDeeds {
  /** @param {Context} context @param {() => void} changed after what the event stream may tell late */
  constructor(context, changed = () => {}) {
    this.context = context;
    this.changed = changed;
    this.removals = removalsOf(context);
  }

  /** A new, empty pool, which is then opened. */
  async create() {
    const name = await this.context.ask({ title: t("pools.newPoolTitle"), message: t("pools.newPoolAsk"), label: t("pools.poolName") });
    if (name === null) return;
    await this.#trying(async () => {
      const { pool_id } = await this.context.api.poolCall("PUT", freshPoolId(), "?brief=1", { json: { name } });
      this.context.go(poolPlace(pool_id));
    });
  }

  /** @param {Info} info */
  async rename({ pool_id, name }) {
    const given = await this.context.ask({ title: t("pools.renameTitle"), message: t("pools.renameAsk", { id: pool_id }), value: name, label: t("pools.poolName") });
    if (given === null || given === name) return;
    await this.#trying(() => this.context.api.poolCall("PUT", pool_id, "?brief=1", { json: { name: given } }));
  }

  /** @param {Info} info */
  async duplicate({ pool_id, name }) {
    const value = `${name || pool_id} 2`;
    const given = await this.context.ask({ title: t("pools.duplicateTitle"), message: t("pools.duplicateAsk"), value, label: t("pools.poolName") });
    if (given === null) return;
    await this.#trying(async () => {
      const json = { new_id: freshPoolId(), name: given };
      const copy = await this.context.api.poolCall("POST", pool_id, "/duplicate?brief=1", { json });
      const open = { name: t("pools.open"), run: () => this.context.go(poolPlace(copy.pool_id)) };
      this.context.toast("success", t("pools.duplicated", { name: given || copy.pool_id }), "", open);
    });
  }

  /** @param {Info} info */
  async exportZip({ pool_id }) {
    const url = this.context.api.host.url(`/gatebus/pools/${encodeURIComponent(pool_id)}/export`);
    await download(this.context, url, `${pool_id}.zip`);
  }

  /** Makes a new pool of a zip that the person chooses, and opens it. */
  async importZip() {
    if (!(await this.removals.allowed())) return;
    const input = el("input", { type: "file", accept: ".zip,application/zip" });
    input.addEventListener("change", () => input.files[0] && void this.#import(input.files[0]));
    input.click();
  }

  /** @param {File} file */
  async #import(file) {
    const { toast, api, go } = this.context;
    const done = toast("info", t("pools.importing", { name: file.name }));
    await this.#trying(async () => {
      const query = new URLSearchParams({ brief: "1", name: file.name.replace(/\.zip$/i, "").slice(0, 200) });
      const { pool_id, count } = await api.poolCall("POST", freshPoolId(), `/import?${query}`, { body: file, type: "application/zip" });
      toast("success", t("pools.imported", { count }));
      go(poolPlace(pool_id));
    });
    done();
  }

  /** Deletes it, after a question and held for some seconds. @param {Info} info @returns {Promise<boolean>} */
  async remove({ pool_id, name, count }) {
    if (!(await this.removals.allowed())) return false;
    const called = name || pool_id;
    const question = { title: t("pools.deletePoolTitle", { name: called }), message: t("pools.deletePoolAsk", { count }), yes: t("pools.delete"), danger: true };
    if (count && !(await this.context.confirm(question))) return false;
    let before;
    try {
      before = (await this.context.api.pool(pool_id)).rev;
    } catch (error) {
      this.context.toast("error", t("content.failed"), /** @type {Error} */ (error).message);
      return false;
    }
    const obstacle = async () => ((await this.context.api.pool(pool_id, true)).rev === before ? "" : t("pools.poolEdited"));
    this.removals.hold({ key: `pool:${pool_id}`, name: called, paths: [`/gatebus/pools/${encodeURIComponent(pool_id)}`], obstacle });
    return true;
  }

  /** @param {() => Promise<unknown>} step */
  async #trying(step) {
    try {
      await step();
      this.changed();
    } catch (error) {
      this.context.toast("error", t("content.failed"), /** @type {Error} */ (error).message);
    }
  }
}
