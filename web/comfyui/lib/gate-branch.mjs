/** What hangs before and behind a node in a prompt (ComfyUI's API-format graph): pure functions. */

/** @typedef {Record<string, {class_type: string, inputs: Record<string, any>, is_changed?: any}>} Prompt */

/** @param {any} value @param {Prompt} prompt @returns {string} the id of the node it is linked to, "" for a value */
function linked(value, prompt) {
  const isLink = Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && typeof value[1] === "number";
  return isLink && value[0] in prompt ? value[0] : "";
}

/**
 * The nodes that need one of those, directly or not; without those themselves.
 * @param {Prompt} prompt
 * @param {string[]} ids
 * @returns {Set<string>}
 */
export function behind(prompt, ids) {
  const found = new Set(ids);
  for (let before = -1; before !== found.size; ) {
    before = found.size;
    for (const [id, node] of Object.entries(prompt)) {
      if (Object.values(node.inputs).some((value) => found.has(linked(value, prompt)))) found.add(id);
    }
  }
  for (const id of ids) found.delete(id);
  return found;
}

/**
 * The nodes that those need, directly or not; without those themselves.
 * @param {Prompt} prompt
 * @param {string[]} ids
 * @returns {Set<string>}
 */
export function before(prompt, ids) {
  /** @type {Set<string>} */
  const found = new Set();
  const open = [...ids];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    for (const value of Object.values(prompt[id]?.inputs ?? {})) {
      const source = linked(value, prompt);
      if (source && !found.has(source)) {
        found.add(source);
        open.push(source);
      }
    }
  }
  for (const id of ids) found.delete(id);
  return found;
}

/**
 * The prompt with what those nodes need as an earlier run had it (the same seeds above all), so that
 * it comes from the cache. What did not exist then, or is wired or made otherwise now, stays as it is.
 * @param {Prompt} prompt
 * @param {Prompt} earlier
 * @param {string[]} ids
 * @returns {Prompt}
 */
export function asBefore(prompt, earlier, ids) {
  const result = { ...prompt };
  const needed = before(prompt, ids);
  const links = (/** @type {Prompt[string]} */ node) =>
    JSON.stringify(Object.entries(node.inputs).filter(([, value]) => linked(value, prompt)).sort());
  for (const id of needed) {
    const old = earlier[id];
    if (old?.class_type !== prompt[id].class_type || links(old) !== links(prompt[id])) continue;
    const { is_changed: _, ...node } = old;
    result[id] = node;
  }
  return result;
}
