/** Has a run go on from a decided gate once more. Free of the DOM and of ComfyUI. */
import { ApiError, decisionId } from "./api.mjs";

/** @typedef {{api: import("./api.mjs").Api, feed: import("./feed.mjs").Feed, decisions: import("./gate-decisions.mjs").Decisions}} Shared */

/** @type {Map<string, string>} gate and route -> the decision's id, of those of which it is not known whether they arrived */
const unknown = new Map();

/**
 * Asks for it; a repeat after an answer that was lost is the same one, not a second run.
 * @param {Shared} shared
 * @param {any} gate
 * @param {number} [route] 0 for the one that was taken
 * @returns {Promise<any>} the new gate; throws ApiError
 */
export async function again({ api, feed, decisions }, gate, route = 0) {
  const key = `${gate.id} ${route}`;
  const id = unknown.get(key) ?? decisionId();
  const more = { by: decisions.name(), decision_id: id };
  try {
    const fresh = await api.again(gate.id, route ? { ...more, route } : more);
    unknown.delete(key);
    feed.take(fresh);
    // What became of the old one is in its own record.
    void feed.look(gate.id);
    return fresh;
  } catch (error) {
    const status = error instanceof ApiError ? error.status : 0;
    if (status === 0 || status >= 500) unknown.set(key, id);
    else unknown.delete(key);
    throw error;
  }
}
