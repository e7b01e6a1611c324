/**
 * The bus picker of ImageGate: a click on `get_id` or `send_id` shows the published buses. The two
 * stay plain text widgets, with their values and their place, so that saved workflows fit.
 *
 * On the canvas the click is the widget's; in Nodes 2.0 the widget is a text field of the page.
 */
import { app, asset } from "../comfy.mjs";
import { BusPopover } from "../lib/bus-popover.mjs";
import { addStylesheet } from "../lib/dom.mjs";

/** @typedef {import("../lib/api.mjs").Api} Api */
/** @typedef {import("../lib/feed.mjs").Feed} Feed */

/** Widget -> whether a version can be picked. @type {Record<string, boolean>} */
const WIDGETS = { get_id: true, send_id: false };

/** Pixels on each side of a widget on the canvas. */
const MARGIN = 15;

/** @type {WeakMap<any, {api: Api, feed: Feed}>} node -> what it picks from */
const nodes = new WeakMap();

/** @type {{popover: BusPopover, node: any, field: HTMLInputElement | undefined} | null} */
let open = null;

/**
 * Gives the node's bus widgets their picker.
 * @param {any} node
 * @param {Api} api
 * @param {Feed} feed
 */
export function setupBusPicker(node, api, feed) {
  addStylesheet(asset("./bus.css"));
  listenToFields();
  nodes.set(node, { api, feed });
  for (const name of Object.keys(WIDGETS)) {
    const widget = node.widgets?.find((/** @type {any} */ each) => each.name === name);
    if (!widget) continue;
    // The canvas asks it before it acts itself; it may set what its pointer does.
    widget.onPointerDown = (/** @type {any} */ pointer) => {
      pointer.onClick = () => show(node, widget);
      return true;
    };
  }
  const removed = node.onRemoved;
  node.onRemoved = function () {
    if (open?.node === node) open?.popover.close(false);
    return removed?.apply(this, arguments);
  };
}

/**
 * @param {any} node
 * @param {any} widget
 * @param {HTMLInputElement} [field] the widget's, in Nodes 2.0
 */
function show(node, widget, field) {
  const source = nodes.get(node);
  if (!source) return;
  open?.popover.close(true);
  const pick = (/** @type {string} */ value) => (field ? type(field, value) : set(node, widget, value));
  const popover = new BusPopover({
    ...source,
    value: String(widget.value ?? ""),
    versions: WIDGETS[widget.name],
    place: () => (field ? field.getBoundingClientRect() : placeOnCanvas(node, widget)),
    field,
    pick,
  });
  open = { popover, node, field };
}

/**
 * Sets the value as the canvas would.
 * @param {any} node
 * @param {any} widget
 * @param {string} value
 */
function set(node, widget, value) {
  const { canvas } = app;
  if (typeof widget.setValue === "function") {
    widget.setValue(value, { e: canvas.lastMouseEvent ?? new PointerEvent("pointerup"), node, canvas });
  } else {
    widget.value = value;
    widget.callback?.(value, canvas, node);
  }
  canvas.setDirty(true, true);
}

/**
 * Sets the value as a person would, so that the page takes it.
 * @param {HTMLInputElement} field
 * @param {string} value
 */
function type(field, value) {
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.dispatchEvent(new Event("change", { bubbles: true }));
}

/**
 * @param {any} node
 * @param {any} widget
 */
function placeOnCanvas(node, widget) {
  const { ds, canvas } = app.canvas;
  const box = canvas.getBoundingClientRect();
  const y = widget.y ?? widget.last_y ?? 0;
  return {
    left: box.left + (node.pos[0] + MARGIN + ds.offset[0]) * ds.scale,
    top: box.top + (node.pos[1] + y + ds.offset[1]) * ds.scale,
    width: (node.size[0] - 2 * MARGIN) * ds.scale,
    height: (widget.computedHeight ?? 20) * ds.scale,
  };
}

let listening = false;

/** Fields of Nodes 2.0 come and go with the page's own rendering, so it is the document that listens. */
function listenToFields() {
  if (listening) return;
  listening = true;
  document.addEventListener("click", (event) => showAt(event.target), { capture: true });
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "ArrowDown" && showAt(event.target)) event.preventDefault();
    },
    { capture: true },
  );
}

/**
 * Opens the list when that is a field of one of our widgets.
 * @param {EventTarget | null} target
 * @returns {boolean} whether it was opened
 */
function showAt(target) {
  if (!(target instanceof HTMLInputElement) || target.readOnly || target.disabled) return false;
  if (open && !open.popover.closed && open.field === target) return false;
  const name = target.getAttribute("aria-label") ?? "";
  const id = /** @type {HTMLElement | null} */ (target.closest("[data-node-id]"))?.dataset.nodeId;
  if (!(name in WIDGETS) || id === undefined) return false;
  const node = (app.canvas.graph?.nodes ?? []).find((/** @type {any} */ each) => String(each.id) === id);
  const widget = node?.widgets?.find((/** @type {any} */ each) => each.name === name);
  if (!widget || !nodes.has(node)) return false;
  show(node, widget, target);
  return true;
}
