/**
 * The outputs of an Image Gate: `mask`, and as many routes as there are, named by their labels.
 *
 * Python declares all ten, so they are trimmed while the node is constructed; what a workflow
 * saved is then restored by ComfyUI. Outputs come and go at the end only, so that every link keeps
 * its place; one that is still linked stays, and says that it is not in use.
 */
import { labelsOf, MAX_ROUTES } from "../lib/gate-state.mjs";
import { t } from "../lib/i18n.mjs";

/** @param {any} node @param {string} name */
export function widgetOf(node, name) {
  return node.widgets?.find((/** @type {any} */ widget) => widget.name === name);
}

/** Whether another node gives that widget's value. @param {any} node @param {string} name */
function isLinked(node, name) {
  const at = node.inputs?.findIndex((/** @type {any} */ input) => input.widget?.name === name) ?? -1;
  return at >= 0 && node.isInputConnected(at);
}

/** How many routes the node has; all that there can be while another node says how many. @param {any} node */
export function routesOf(node) {
  if (isLinked(node, "routes")) return MAX_ROUTES;
  return Math.min(MAX_ROUTES, Math.max(1, Math.round(Number(widgetOf(node, "routes")?.value)) || 1));
}

/** The names of its routes, "" where none is given. @param {any} node @returns {string[]} */
export function labelsOfNode(node) {
  return labelsOf(widgetOf(node, "labels")?.value, routesOf(node));
}

/** Makes the outputs match the routes and their labels. @param {any} node */
export function matchOutputs(node) {
  const routes = routesOf(node);
  const labels = labelsOfNode(node);
  let last = node.outputs.length - 1;
  while (last > routes && !node.isOutputConnected(last)) node.removeOutput(last--);
  while (last < routes) node.addOutput(`route_${++last}`, "IMAGE");
  for (let route = 1; route <= last; route += 1) {
    const label = route > routes ? t("gate.unused", { number: route }) : labels[route - 1] || undefined;
    const output = node.outputs[route];
    if (output.label !== label) output.label = label;
  }
}
