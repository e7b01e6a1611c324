/**
 * The door to ComfyUI's page: the only module that imports its scripts.
 *
 * What differs between frontends is settled here: `app.graph` and `app.rootGraph`, ids that are
 * numbers in old ones and text in new ones, subgraphs, toasts.
 */
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

export { api, app };

/** The pack's name in ids of settings, commands and tabs. */
export const PACK = "gatebus";

/** @returns {any} the whole workflow's graph, whichever subgraph is shown */
export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

/** A path of our server, under the sub-path that a proxy may have put before it. @param {string} path */
export function url(path) {
  return api.apiURL(path);
}

/** A file beside this module. @param {string} path */
export function asset(path) {
  return new URL(path, import.meta.url).href;
}

/** @type {import("./lib/api.mjs").Host} */
export const host = {
  // No deadline: an event stream stays open. Newer frontends would end it after 60 s without headers.
  fetch: (path, options = {}) => {
    const token = host.token?.();
    const headers = new Headers(options.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    return fetch(api.apiURL(path), { ...options, headers });
  },
  url,
  token: () => setting("token") ?? "",
};

/**
 * @param {"info" | "success" | "warn" | "error"} severity
 * @param {string} summary
 * @param {string} [detail]
 */
export function toast(severity, summary, detail = "") {
  const life = severity === "error" ? 10_000 : 5_000;
  app.extensionManager.toast.add({ severity, summary, detail, life });
}

/**
 * Asks for a line of text in the page's own dialog.
 * @param {{title: string, message: string, value: string}} question
 * @returns {Promise<string | null>} null: cancelled
 */
export async function ask({ title, message, value }) {
  return (await app.extensionManager.dialog.prompt({ title, message, defaultValue: value })) ?? null;
}

/** The value of a setting of ours. @param {string} name */
export function setting(name) {
  return app.extensionManager?.setting?.get(`${PACK}.${name}`);
}

/**
 * Every node of the workflow, at any depth, with its execution id (`12:3` in a subgraph).
 * @param {any} [graph]
 * @param {string} [prefix]
 * @returns {Generator<{node: any, executionId: string}>}
 */
export function* nodes(graph = rootGraph(), prefix = "") {
  for (const node of graph?.nodes ?? graph?._nodes ?? []) {
    const executionId = prefix + node.id;
    yield { node, executionId };
    if (node.subgraph) yield* nodes(node.subgraph, `${executionId}:`);
  }
}

/**
 * The execution ids under which that node runs; more than one when its subgraph is used more than once.
 * @param {any} node
 * @returns {string[]}
 */
export function executionIds(node) {
  return [...nodes()].filter((entry) => entry.node === node).map((entry) => entry.executionId);
}

/** The id of the workflow that is open, as it goes with its prompts. @returns {string} */
export function workflowId() {
  return String(rootGraph()?.id ?? "");
}

/** Whether the node is selected and it alone. @param {any} node */
export function isOnlySelected(node) {
  const selected = [...(app.canvas?.selectedItems ?? [])];
  return selected.length === 1 && selected[0] === node;
}

/** Queues the branch up to (and with) that output node, as the Run button would. @param {string[]} executionIds */
export function queue(executionIds) {
  return app.queuePrompt(0, 1, executionIds.length ? executionIds : undefined);
}

/** Draws the canvas again. */
export function redraw() {
  app.canvas?.setDirty?.(true, true);
}

/**
 * Brings that node into view and selects it, in whichever subgraph it is.
 * @param {string} executionId
 * @returns {boolean} whether the workflow that is open holds it
 */
export function reveal(executionId) {
  const path = executionId.split(":");
  const held = new Map([...nodes()].map((entry) => [entry.executionId, entry.node]));
  const node = held.get(executionId);
  const { canvas } = app;
  if (!node || !canvas) return false;
  const hostId = path.slice(0, -1).join(":");
  if (canvas.graph !== node.graph) {
    if (hostId) canvas.openSubgraph(held.get(hostId).subgraph, held.get(hostId));
    else canvas.setGraph(rootGraph());
  }
  canvas.selectNode(node, false);
  canvas.centerOnNode(node);
  redraw();
  return true;
}

/**
 * The workflow as it would be queued, and the same for people.
 * @returns {Promise<{output: import("./lib/gate-branch.mjs").Prompt, workflow: any}>}
 */
export function flatten() {
  return app.graphToPrompt();
}

/** Whether nodes of that class save or show something. @param {string} classType */
export function isOutputClass(classType) {
  return !!(/** @type {any} */ (window).LiteGraph?.registered_node_types?.[classType]?.nodeData?.output_node);
}

/**
 * Queues a prompt as it is: no seed moves on.
 * @param {{output: any, workflow: any}} prompt
 * @param {string[]} outputs the execution ids of the output nodes to run
 * @returns {Promise<{prompt_id?: string, node_errors?: any}>}
 */
export function submit(prompt, outputs) {
  return api.queuePrompt(0, prompt, { partialExecutionTargets: outputs });
}
