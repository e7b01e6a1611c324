/** The gates in their nodes: what waits there; of an Image Gate, outputs that follow the routes. */
import { api as comfyApi, isOnlySelected, nodes, rootGraph, toast, workflowId } from "../comfy.mjs";
import { Undoing } from "../lib/dom.mjs";
import { isUnderWay } from "../lib/gate-run.mjs";
import { belongs, byAge, withLabel } from "../lib/gate-state.mjs";
import { GateView } from "../lib/gate-view.mjs";
import { t } from "../lib/i18n.mjs";
import { editMask } from "./lazy.mjs";
import { findPast } from "./past-gates.mjs";
import { labelsOfNode, matchOutputs, routesOf, widgetOf } from "./outputs.mjs";
import { runFromHere } from "./run-from-here.mjs";

/** @typedef {import("../lib/api.mjs").Api} Api */
/** @typedef {import("../lib/feed.mjs").Feed} Feed */
/** @typedef {import("../lib/gate-decisions.mjs").Decisions} Decisions */

/** Pixels; the part of the node that is ours is never lower. */
const MIN_HEIGHT = 240;
/** Pixels on each side of it. */
const MARGIN = 6;
/** The same where images are to be ticked. */
const TICKING_HEIGHT = 360;

/** @type {Map<any, GateView>} node -> what it shows */
const views = new Map();
let due = false;

/** @typedef {{api: Api, feed: Feed, decisions: Decisions, answers: import("../lib/gate-answers.mjs").Answers}} Shared */

/**
 * Makes an `ImageGate` node what people see; to be called while it is constructed.
 * @param {any} node
 * @param {Shared} shared
 */
export function setupImageGate(node, shared) {
  const view = addPanel(node, shared, {
    routes: () => routesOf(node),
    labels: () => labelsOfNode(node),
    rename: (route, label) => rename(node, route, label),
  });
  const match = () => {
    matchOutputs(node);
    view.refresh();
  };
  matchOutputs(node);
  for (const name of ["routes", "labels"]) after(widgetOf(node, name), "callback", match);
  after(node, "onConfigure", match);
  after(node, "onConnectionsChange", () => {
    // Links are being changed now; and a load calls this for each of them.
    queueMicrotask(() => node.graph && match());
  });
}

/**
 * The same for the gates that have one route and fixed outputs.
 * @param {any} node
 * @param {Shared} shared
 * @param {string} idle what is said while nothing waits there
 */
export function setupPlainGate(node, shared, idle) {
  const height = node.comfyClass === "ImageChooserGate" ? TICKING_HEIGHT : MIN_HEIGHT;
  addPanel(node, shared, { routes: () => 1, labels: () => [t("choice.pass")], idle }, height);
}

/**
 * Shows in the node the gates that wait there.
 * @param {any} node
 * @param {Shared} shared
 * @param {Partial<import("../lib/gate-view.mjs").Surroundings>} more
 * @param {number} [height] pixels, at least
 * @returns {GateView}
 */
function addPanel(node, shared, more, height = MIN_HEIGHT) {
  const { api, feed } = shared;
  const undoing = new Undoing();
  /** @type {GateView} */
  const view = new GateView({
    ...shared,
    ...more,
    editMask: (gate) => editMask(gate, api),
    actions: [{ name: t("run.fromHere"), hint: t("run.fromHereHint"), run: async () => void (view.arm() || (await runFromHere(node))) }],
    fail: (summary, detail) => toast("error", summary, detail),
  });
  undoing.add(() => view.remove());
  view.element.style.minHeight = `${height - 2 * MARGIN}px`;
  // Where the focus is on one of our buttons, ComfyUI must not take Delete for the node.
  undoing.listen(view.element, "keydown", (event) => {
    if (event.key === "Delete" || event.key === "Backspace") event.stopPropagation();
  });
  const widget = node.addDOMWidget("gatebus_gate", "GATEBUS_GATE", view.element, {
    serialize: false,
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: () => height,
    getValue: () => "",
    setValue: () => undefined,
  });
  widget.serialize = false;
  after(node, "onConfigure", () => showSoon(feed));
  after(node, "onAdded", () => showSoon(feed));
  after(node, "onRemoved", () => {
    views.delete(node);
    undoing.run();
  });
  views.set(node, view);
  showSoon(feed);
  return view;
}

/** Shows in every node the gates that are its own, once for all that happens now. @param {Feed} feed */
export function showSoon(feed) {
  if (due || !views.size) return;
  due = true;
  queueMicrotask(() => {
    due = false;
    show(feed);
  });
}

/** @param {Feed} feed */
function show(feed) {
  const workflow = workflowId();
  const clientId = comfyApi.clientId ?? "";
  void findPast(feed, workflow);
  const mine = (/** @type {any} */ gate) => (gate.workflow_id ? gate.workflow_id === workflow : gate.client_id === clientId);
  const live = [...feed.gates.values()].filter(mine).sort(byAge);
  const ended = [...feed.ended.values()].filter(mine).sort((one, other) => one.ended - other.ended);
  /** @type {Map<any, string[]>} */
  const places = new Map();
  if (live.length || ended.length) {
    for (const { node, executionId } of nodes()) places.set(node, [...(places.get(node) ?? []), executionId]);
  }
  for (const [node, view] of views) {
    const place = { workflowId: workflow, clientId, executionIds: places.get(node) ?? [] };
    const own = (/** @type {any} */ gate) => belongs(gate, place);
    const waiting = live.filter(own);
    const past = ended.filter(own);
    // What runs on is seen beside what waits; else the last that ended stays, with who decided, until the next one waits.
    const shown = [...waiting, ...past.filter(isUnderWay)];
    view.show(shown.length ? shown : past.slice(-1));
  }
}

/** What the one selected node shows, null when it is no gate. @returns {GateView | null} */
export function selectedView() {
  for (const [node, view] of views) if (isOnlySelected(node)) return view;
  return null;
}

/** Whether the workflow that is open holds the gate's node. @param {any} gate */
export function isHere(gate) {
  const clientId = comfyApi.clientId ?? "";
  const ids = [...nodes(rootGraph())].map((entry) => entry.executionId);
  return belongs(gate, { workflowId: workflowId(), clientId, executionIds: ids });
}

/** @param {any} node @param {number} route @param {string} label */
function rename(node, route, label) {
  const widget = widgetOf(node, "labels");
  widget.value = withLabel(widget.value, route, label);
  widget.callback?.(widget.value);
  node.graph?.change?.();
}

/**
 * Has the step follow whatever the object does at that call.
 * @param {any} object
 * @param {string} name
 * @param {() => void} step
 */
function after(object, name, step) {
  if (!object) return;
  const before = object[name];
  object[name] = function (/** @type {any[]} */ ...values) {
    const result = before?.apply(this, values);
    step();
    return result;
  };
}
