/** Gates of the open workflow that have ended: those from which a run goes on, or may go on once more. */
import { ApiError } from "../lib/api.mjs";

/** @typedef {import("../lib/feed.mjs").Feed} Feed */

/** Gates that are read: a node shows its last. */
const MOST = 40;

/** @type {Set<string>} workflows whose gates were read since the page was loaded */
const read = new Set();

/**
 * Reads them, once for each workflow: the feed begins with what waits.
 * @param {Feed} feed
 * @param {string} workflow its id, "" for one that was never saved
 */
export async function findPast(feed, workflow) {
  if (!workflow || read.has(workflow)) return;
  read.add(workflow);
  try {
    const { gates } = await feed.api.gates({ status: "all", workflow_id: workflow, order: "newest", limit: MOST });
    const past = gates.filter((/** @type {any} */ gate) => gate.ended && (gate.kept || gate.run));
    // The feed remembers the last that it is told of.
    if (past.length) feed.take(...past.reverse());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    read.delete(workflow);
  }
}
