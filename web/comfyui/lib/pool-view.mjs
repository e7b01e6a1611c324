/**
 * A pool in an element: grid, head with name and count, uploads, undo. Free of ComfyUI: the node
 * and the broker's page both show this.
 */
import { Undoing, el } from "./dom.mjs";
import { Grid } from "./grid.mjs";
import { register, t } from "./i18n.mjs";
import { sortedFiles } from "./natural-sort.mjs";
import { openPopup } from "./popup.mjs";
import { PoolBar } from "./pool-bar.mjs";
import { cellsOf } from "./pool-cells.mjs";
import { Selection } from "./selection.mjs";
import { pool as texts } from "./texts/pool.mjs";
import { Uploads, filesOf } from "./uploads.mjs";

/** @typedef {import("./pool.mjs").Pool} Pool */
/** @typedef {import("./pools.mjs").Pools} Pools */
/** @typedef {import("./popup.mjs").Entry} Entry */

register("pool", texts);

/** @param {string} name @param {string} key of its text @param {() => void} run */
function button(name, key, run) {
  const attributes = { type: "button", class: `gb-pool-${name}`, title: t(key), "aria-label": t(key), onclick: run };
  return el("button", attributes);
}

/**
 * @typedef {object} Surroundings what the page around it gives
 * @property {(severity: "info" | "success" | "warn" | "error", summary: string, detail?: string) => void} toast
 * @property {() => (Entry | null)[]} menu what the menu button shows
 * @property {(opener: HTMLElement) => void} choosePool the pool's name was clicked
 */

export class PoolView {
  selection = new Selection();
  #undoing = new Undoing();
  /** Of the pool that is shown. */
  #attached = new Undoing();
  /** @type {string[][]} removals that can be undone, the last one last */
  #removals = [];
  /** @type {Map<string, import("./pool.mjs").Slot>} file -> slot, as they show */
  slots = new Map();
  nameButton = el("button", { type: "button", class: "gb-pool-name", "aria-haspopup": "menu" });
  shared = el("span", { class: "gb-pool-shared", hidden: true });
  count = el("span", { class: "gb-pool-count", "aria-live": "polite" });
  removeButton = button("remove", "pool.remove", () => void this.remove());

  /**
   * @param {Pools} pools
   * @param {string} id
   * @param {Surroundings} page
   */
  constructor(pools, id, page) {
    this.pools = pools;
    this.page = page;
    this.pool = pools.take(id);
    this.uploads = new Uploads(this.pool);
    this.element = el("div", { class: "gb-pool", "data-capture-wheel": "true" });
    this.grid = new Grid(cellsOf(this), this.selection);
    this.bar = new PoolBar();
    this.empty = el("div", { class: "gb-pool-empty", hidden: true });
    const body = el("div", { class: "gb-pool-body" }, this.grid.element, this.empty);
    this.element.append(this.#head(), body, this.bar.element);
    this.#listen();
    this.#follow();
  }

  /** Ends it; uploads under way are ended, what has arrived stays. */
  close() {
    this.#undoing.run();
    this.#attached.run();
    this.uploads.cancel();
    this.grid.close();
    this.pools.release(this.pool);
  }

  /** Shows another pool. @param {string} id */
  attach(id) {
    if (id === this.pool.id) return;
    this.#attached.run();
    const old = this.pool;
    this.pool = this.pools.take(id);
    this.pools.release(old);
    // What is under way goes on into the pool for which it was dropped.
    this.uploads = new Uploads(this.pool);
    this.#removals = [];
    this.bar.clear();
    this.selection.clear();
    this.selection.cursor = "";
    this.grid.element.scrollTop = 0;
    this.#follow();
  }

  // -- what can be done -------------------------------------------------------------------------------

  /** The slot that a single action is for: the one under the cursor, when it or nothing else is selected. */
  get chosen() {
    const { cursor, ids } = this.selection;
    return ids.size > 1 ? "" : (ids.values().next().value ?? cursor);
  }

  /** Takes files in, where they were dropped or at the end. @param {File[]} files @param {string | null} [before] */
  add(files, before = null) {
    this.uploads.add(files, before);
  }

  /** Lets a person choose files. */
  upload() {
    const input = el("input", { type: "file", accept: "image/*", multiple: true });
    input.addEventListener("change", () => this.add([...input.files]));
    input.click();
  }

  /** Removes what is selected; the bar offers to undo it. */
  async remove() {
    const files = this.selection.inOrder();
    if (!files.length) return;
    const { pool, selection } = this;
    const removing = pool.remove(files);
    // What took its place is selected, so that one can go through a pool by Delete and arrows alone.
    if (selection.cursor) selection.choose(selection.cursor);
    // At once, not after the answer: edits go in their turn, so an undo may follow on the heels.
    this.#removals.push(files);
    const text = t("pool.removedBar", { count: files.length });
    this.bar.say(text, [{ label: t("pool.undo"), hint: `${t("pool.undo")} (U)`, run: () => this.undo() }]);
    if ((await removing) || pool !== this.pool) return;
    this.#removals = this.#removals.filter((each) => each !== files);
    this.bar.clear();
  }

  /** Undoes the last removal. @returns {boolean} whether there was one */
  undo() {
    const files = this.#removals.pop();
    if (!files) return false;
    this.bar.clear();
    // The button that had the focus is gone.
    this.grid.element.focus({ preventScroll: true });
    void this.pool.restore(files).then((made) => {
      if (made) this.#selectWhenThere(files);
    });
    return true;
  }

  /** @param {"label" | "added" | "reverse"} by */
  sort(by) {
    return this.pool.reorder(sortedFiles([...this.pool.state.slots], by));
  }

  /** What the pool is called. */
  get name() {
    return this.pool.state.name || this.pool.id;
  }

  // -- parts --------------------------------------------------------------------------------------------

  #head() {
    const more = button("more", "pool.menu", () => openPopup(this.element, more, t("pool.menu"), this.page.menu()));
    more.setAttribute("aria-haspopup", "menu");
    const upload = button("upload", "pool.upload", () => this.upload());
    const parts = [this.nameButton, this.shared, this.count, this.removeButton, upload, more];
    return el("div", { class: "gb-pool-head", role: "toolbar" }, ...parts);
  }

  #listen() {
    const undoing = this.#undoing;
    const { grid } = this;
    undoing.listen(this.nameButton, "click", () => this.page.choosePool(this.nameButton));
    undoing.listen(grid, "activate", (event) => void this.pool.activate(event.detail));
    undoing.listen(grid, "label", (event) => void this.pool.label(event.detail.id, event.detail.label));
    undoing.listen(grid, "move", (event) => void this.pool.move(event.detail.ids, event.detail.before));
    undoing.listen(grid, "remove", () => void this.remove());
    undoing.listen(grid, "undo", (event) => this.undo() && event.preventDefault());
    undoing.listen(this.selection, "change", () => this.#showHead());
    undoing.listen(this.element, "dragover", (/** @type {DragEvent} */ event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.stopPropagation();
      event.dataTransfer.dropEffect = "copy";
      this.element.classList.add("gb-pool-dropping");
      grid.markGap(event);
    });
    undoing.listen(this.element, "dragleave", (/** @type {DragEvent} */ event) => {
      if (!this.element.contains(/** @type {Node} */ (event.relatedTarget))) this.#dropped();
    });
    undoing.listen(this.element, "drop", (/** @type {DragEvent} */ event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.stopPropagation();
      const before = grid.beforeMark();
      this.#dropped();
      void filesOf(event.dataTransfer).then(
        (files) => this.add(files, before),
        (error) => this.page.toast("error", t("pool.failed"), String(error.message ?? error)),
      );
    });
  }

  #dropped() {
    this.element.classList.remove("gb-pool-dropping");
    this.grid.markGap(null);
  }

  #follow() {
    const { pool, uploads } = this;
    const attached = this.#attached;
    attached.listen(pool, "change", () => this.#show());
    attached.listen(pool, "error", (event) => this.page.toast("error", t("pool.editFailed"), event.detail.message));
    // Not undone: the end of uploads into a pool that is no longer shown is still told.
    uploads.addEventListener("change", () => {
      if (uploads === this.uploads) this.#showProgress();
    });
    uploads.addEventListener("end", (/** @type {any} */ event) => this.#tellUploads(event.detail));
    this.#show();
  }

  #show() {
    const { state, loaded, failure } = this.pool;
    this.slots = new Map(state.slots.map((slot) => [slot.file, slot]));
    this.grid.setOrder(state.slots.map((slot) => slot.file));
    this.empty.toggleAttribute("hidden", state.slots.length > 0);
    if (failure && !state.slots.length) this.empty.replaceChildren(t("pool.unreachable", { reason: failure }));
    else if (!loaded) this.empty.replaceChildren(t("pool.loading"));
    else this.empty.replaceChildren(el("strong", {}, t("pool.empty")), el("span", {}, t("pool.emptyDetail")));
    this.#showHead();
  }

  #showHead() {
    const { slots } = this.pool.state;
    const users = this.pools.users(this.pool.id);
    const count = slots.length === 1 ? "pool.countOne" : slots.length ? "pool.count" : "pool.countNone";
    const chosen = this.selection.size > 1 ? " · " + t("pool.selected", { count: this.selection.size }) : "";
    this.count.textContent = t(count, { count: slots.length }) + chosen;
    this.nameButton.textContent = this.name;
    this.nameButton.title = t("pool.choosePool", { name: this.pool.id });
    this.nameButton.setAttribute("aria-label", this.nameButton.title);
    this.shared.toggleAttribute("hidden", users < 2);
    this.shared.textContent = `${t("pool.shared")} ×${users}`;
    this.shared.title = t("pool.sharedHint", { count: users });
    this.removeButton.disabled = !this.selection.size;
  }

  #showProgress() {
    const { uploads } = this;
    if (!uploads.running) return this.bar.endProgress();
    const text = t("pool.uploading", { done: uploads.done, total: uploads.total });
    this.bar.progress(text, uploads.done / Math.max(1, uploads.total), t("pool.cancel"), () => uploads.cancel());
  }

  /** @param {{done: number, failed: {name: string, reason: string}[], skipped: number, cancelled: boolean}} end */
  #tellUploads({ done, failed, skipped, cancelled }) {
    if (failed.length) {
      const named = failed.slice(0, 3).map(({ name, reason }) => `${name}: ${reason}`);
      if (failed.length > named.length) named.push("…");
      this.page.toast("error", t("pool.uploadFailed", { count: failed.length }), named.join("\n"));
    }
    if (skipped) this.page.toast("warn", t("pool.skipped", { count: skipped }));
    if (cancelled) this.page.toast("info", t("pool.cancelled", { count: done }));
  }

  /** Selects slots that come back with the next look. @param {string[]} files */
  #selectWhenThere(files) {
    const { pool } = this;
    const look = () => {
      if (pool === this.pool && !files.every((file) => this.slots.has(file))) return;
      pool.removeEventListener("change", look);
      if (pool !== this.pool) return;
      this.selection.set(files);
      this.grid.reveal(files[0]);
    };
    pool.addEventListener("change", look);
  }
}
