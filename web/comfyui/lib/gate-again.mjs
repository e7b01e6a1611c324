/** Has a run go on from a decided gate once more. Free of the DOM and of ComfyUI. */
import { ApiError, decisionId } from "./api.mjs";
import { isBatch, isText } from "./gate-answers.mjs";

/** @typedef {{api: import("./api.mjs").Api, feed: import("./feed.mjs").Feed, decisions: import("./gate-decisions.mjs").Decisions}} Shared */

/** @type {Map<string, string>} gate and what is asked for -> the decision's id, of those of which it is not known whether they arrived */
const unknown = new Map();

/**
 * Asks for it; a repeat after an answer that was lost is the same one, not a second run.
 * @param {Shared} shared
 * @param {any} gate
 * @param {number} [route] 0 for the one that was taken
 * @param {{text?: string, chosen?: number[]}} [answer] what a text gate lets pass, and which images of a batch; left
 *   out: what went on before
 * @returns {Promise<any>} the new gate; throws ApiError
 */
export async function again({ api, feed, decisions }, gate, route = 0, answer) {
  const said = {
    ...(route && { route }),
    ...(answer && isText(gate) && { text: answer.text }),
    ...(answer && isBatch(gate) && { chosen: answer.chosen ?? [] }),
  };
  const key = JSON.stringify([gate.id, said]);
  const id = unknown.get(key) ?? decisionId();
  try {
    const fresh = await api.again(gate.id, { ...said, by: decisions.name(), decision_id: id });
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
