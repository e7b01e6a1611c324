/**
 * The node GridImagePool on the page: its pool's grid as a widget, and the pool's actions in its menu.
 *
 * `pool_id` is a widget that is saved and hidden. A new node gets a fresh id; a copy keeps the id
 * of what it was copied from, and shares the pool.
 */
import { ask, asset, isOnlySelected, redraw, toast } from "../comfy.mjs";
import { Undoing, addStylesheet, isTyping } from "../lib/dom.mjs";
import { t } from "../lib/i18n.mjs";
import { PoolActions } from "../lib/pool-actions.mjs";
import { PoolView } from "../lib/pool-view.mjs";
import { Pools, freshPoolId } from "../lib/pools.mjs";
import { openPopup } from "../lib/popup.mjs";
import { filesOf, isImage } from "../lib/uploads.mjs";

/** @typedef {import("../lib/api.mjs").Api} Api */
/** @typedef {import("../lib/feed.mjs").Feed} Feed */

/** Pixels below which the widget is not made. */
const MIN_HEIGHT = 260;
/** Of a new node. */
const SIZE = [400, 480];

/** @type {Pools | undefined} shared by all nodes of the page */
let pools;

/**
 * Gives the node its grid.
 * @param {any} node
 * @param {Feed} feed
 * @param {Api} api
 */
export function setupImagePool(node, feed, api) {
  addStylesheet(asset("pool.css"));
  pools ??= new Pools(api, feed);
  const idWidget = node.widgets?.find((/** @type {any} */ widget) => widget.name === "pool_id");
  if (!idWidget) throw new Error("The node GridImagePool has no pool_id");
  idWidget.hidden = true;
  const fresh = !idWidget.value;
  if (fresh) idWidget.value = freshPoolId();

  const root = document.createElement("div");
  root.className = "gb-pool-node";
  const widget = node.addDOMWidget("pool", "GATEBUS_POOL", root, {
    serialize: false,
    hideOnZoom: false,
    margin: 6,
    getMinHeight: () => MIN_HEIGHT,
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false;
  if (fresh) node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);

  /** @type {PoolNode | null} */
  let shown = null;
  const show = () => {
    shown ??= new PoolNode(node, idWidget, root, /** @type {Pools} */ (pools));
    shown.follow();
  };
  const hide = () => {
    shown?.close();
    shown = null;
  };
  after(node, "onAdded", show);
  after(node, "onRemoved", hide);
  after(node, "onConfigure", () => shown?.follow());
  after(idWidget, "callback", () => shown?.follow());
  after(node, "getExtraMenuOptions", (_canvas, options) => shown?.addToMenu(options));
  node.onDragOver = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files") ?? false;
  node.onDragDrop = (/** @type {DragEvent} */ event) => shown?.drop(event) ?? false;
  // A node that was made to be copied only is never added, and must hold nothing.
  if (node.graph) show();
}

/** Runs it after the object's own function of that name. @param {any} object @param {string} name @param {(...given: any[]) => void} step */
function after(object, name, step) {
  const own = object[name];
  object[name] = function (/** @type {any[]} */ ...given) {
    const result = own?.apply(this, given);
    step(...given);
    return result;
  };
}

/** A node that is in the graph. */
class PoolNode {
  #undoing = new Undoing();

  /**
   * @param {any} node
   * @param {any} idWidget
   * @param {HTMLElement} root
   * @param {Pools} pools
   */
  constructor(node, idWidget, root, pools) {
    this.node = node;
    this.idWidget = idWidget;
    this.view = new PoolView(pools, this.#id(), {
      toast,
      menu: () => this.actions.entries(),
      choosePool: (opener) => void this.#choosePool(opener),
    });
    this.actions = new PoolActions(this.view, {
      toast,
      ask,
      point: (id) => this.point(id),
      editMask: (file) => this.#editMask(file),
    });
    root.replaceChildren(this.view.element);
    this.#undoing.listen(document, "paste", (event) => this.#pasted(event), { capture: true });
    this.#undoing.listen(window, "wheel", (event) => this.#wheeled(event), { capture: true, passive: true });
    this.#undoing.listen(this.view.grid.element, "contextmenu", (event) => this.#menuAt(event));
  }

  close() {
    this.#undoing.run();
    this.view.close();
  }

  /** Shows the pool that the node names now. */
  follow() {
    this.view.attach(this.#id());
  }

  /** The node names another pool. @param {string} id */
  point(id) {
    this.idWidget.value = id;
    this.follow();
    // So that the workflow counts as changed.
    this.node.graph?.change?.();
    redraw();
  }

  /** @param {any[]} options of the node's menu */
  addToMenu(options) {
    const own = this.actions.entries().filter((entry) => !entry?.local);
    const entries = own.map(
      (entry) => entry && { content: entry.label, callback: () => void entry.run(), disabled: Boolean(entry.disabled) },
    );
    const attach = { content: t("pool.attach") + "…", callback: () => void this.#choosePool(this.view.nameButton) };
    options.push(null, attach, ...entries);
  }

  /** @param {DragEvent} event what was dropped on the node beside its grid */
  async drop(event) {
    if (!event.dataTransfer?.types.includes("Files")) return false;
    const files = await filesOf(event.dataTransfer);
    this.view.add(files);
    return true;
  }

  #id() {
    // A workflow that was written by a program may come without one.
    this.idWidget.value ||= freshPoolId();
    return String(this.idWidget.value);
  }

  /** @param {HTMLElement} opener */
  async #choosePool(opener) {
    const entries = await this.actions.poolEntries();
    openPopup(this.view.element, opener, t("pool.attach"), entries);
  }

  /** @param {MouseEvent} event */
  #menuAt(event) {
    event.preventDefault();
    event.stopPropagation();
    const { grid, selection, element } = this.view;
    const id = /** @type {Element} */ (event.target).closest(".gb-cell")?.getAttribute("data-id");
    if (id && !selection.has(id)) selection.choose(id);
    openPopup(element, grid.element, t("pool.menu"), this.actions.entries());
  }

  /** @param {ClipboardEvent} event */
  #pasted(event) {
    const focused = this.view.element.contains(document.activeElement);
    if (isTyping(event.target) || !event.clipboardData || !(focused || isOnlySelected(this.node))) return;
    if (![...event.clipboardData.files].some(isImage)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    void filesOf(event.clipboardData).then((files) => this.view.add(files.filter(isImage)));
  }

  /** The wheel scrolls a grid under the mouse, not the canvas. @param {WheelEvent} event */
  #wheeled(event) {
    if (event.ctrlKey || event.metaKey) return;
    const scroller = /** @type {Element | null} */ (event.target)?.closest?.(".gb-grid, .gb-popup");
    if (!scroller || !this.view.element.contains(scroller)) return;
    if (scroller.scrollHeight > scroller.clientHeight) event.stopImmediatePropagation();
  }

  /** @param {string} file */
  async #editMask(file) {
    let editing;
    try {
      editing = await import("./mask-editing.mjs");
    } catch (error) {
      console.error("gatebus:", error);
      return toast("error", t("pool.noMaskEditor"), t("pool.noMaskEditorDetail"));
    }
    const { pool } = this.view;
    const slot = pool.slot(file);
    if (slot) await editing.editSlotMask(pool.id, slot, pool.api);
  }
}
