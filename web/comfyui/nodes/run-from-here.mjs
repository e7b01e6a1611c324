/** "Run from here": what hangs behind a gate once more, with what comes before it as in the last run. */
import { api, executionIds, flatten, isOutputClass, submit, toast, workflowId } from "../comfy.mjs";
import { asBefore, behind } from "../lib/gate-branch.mjs";
import { t } from "../lib/i18n.mjs";

/** Runs to look through for the last one of this gate. */
const RUNS = 20;

/**
 * Queues the outputs behind the node; says what is missing when there are none.
 * @param {any} node
 */
export async function runFromHere(node) {
  const ids = executionIds(node);
  const prompt = await flatten();
  const outputs = [...behind(prompt.output, ids)].filter((id) => isOutputClass(prompt.output[id].class_type));
  if (!outputs.length) {
    toast("info", t("run.nothingBehind"), t("run.nothingBehindDetail"));
    return;
  }
  const earlier = await lastRun(ids);
  if (earlier) prompt.output = asBefore(prompt.output, earlier, ids);
  const { node_errors: errors } = await submit(prompt, outputs);
  const refused = Object.values(errors ?? {}).flatMap((/** @type {any} */ entry) => entry.errors ?? []);
  if (refused.length) toast("error", t("gate.refused"), refused.map((error) => error.details || error.message).join("\n"));
  else toast("success", t("run.queued"));
}

/**
 * The prompt of the newest run of this workflow that held the node: the one that runs, else from the history.
 * @param {string[]} ids
 * @returns {Promise<import("../lib/gate-branch.mjs").Prompt | null>}
 */
async function lastRun(ids) {
  const [queue, history] = await Promise.all([answer("/queue"), answer(`/history?max_items=${RUNS}`)]);
  const past = Object.values(history).map((/** @type {any} */ entry) => entry.prompt);
  const runs = [...past, ...(queue.queue_running ?? [])].sort((one, other) => other[0] - one[0]);
  const found = runs.find(
    ([, , graph, extra]) => extra?.extra_pnginfo?.workflow?.id === workflowId() && ids.some((id) => id in graph),
  );
  return found?.[2] ?? null;
}

/** @param {string} route @returns {Promise<any>} */
async function answer(route) {
  const response = await api.fetchApi(route);
  if (!response.ok) throw new Error(`${route}: ${response.status}`);
  return await response.json();
}
