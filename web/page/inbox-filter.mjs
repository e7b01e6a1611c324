/** Which gates the inbox shows: pure functions of the filter, free of the DOM. */

/**
 * @typedef {object} Filter empty fields let everything through
 * @property {string} text in title, note, workflow, instance, buses, labels or id: every word
 * @property {string} instance
 * @property {string} workflow
 * @property {string} bus that it publishes to or was loaded from
 * @property {number} age least minutes that it waits, 0 for any
 * @property {string} status `waiting`, `orphaned` or `parked`
 */

/** @typedef {"instance" | "workflow" | "bus" | "status"} Facet a field of which one value is chosen */

/** @type {Filter} */
export const NO_FILTER = { text: "", instance: "", workflow: "", bus: "", age: 0, status: "" };

/** @type {Facet[]} */
export const FACETS = ["instance", "workflow", "bus", "status"];

/** Minutes that may be asked for. */
export const AGES = [5, 15, 60, 240, 1440];

/** How many of the filter's fields hold something back. @param {Filter} filter */
export function fieldsInUse(filter) {
  return Object.values(filter).filter(Boolean).length;
}

/** The filter that an address names. @param {URLSearchParams} query @returns {Filter} */
export function filterOf(query) {
  const text = (/** @type {string} */ name) => (query.get(name) ?? "").slice(0, 200);
  const age = Number(query.get("age"));
  return {
    text: text("text"),
    instance: text("instance"),
    workflow: text("workflow"),
    bus: text("bus"),
    age: Number.isInteger(age) && age > 0 ? age : 0,
    status: text("status"),
  };
}

/** The address of the inbox with that filter. @param {Filter} filter */
export function placeOfFilter(filter) {
  const used = Object.entries(filter).filter(([, value]) => value);
  return used.length ? `#/gates?${new URLSearchParams(used.map(([name, value]) => [name, String(value)]))}` : "#/gates";
}

/**
 * Whether a gate passes the filter at that time.
 * @param {Filter} filter
 * @param {number} now milliseconds, by the server's clock
 * @returns {(gate: any) => boolean}
 */
export function matcher(filter, now) {
  const checks = checksOf(filter, now);
  return (gate) => checks.every(([, passes]) => passes(gate));
}

/**
 * How many gates each value of a facet would show, the other fields staying as they are.
 * @param {any[]} gates
 * @param {Filter} filter
 * @param {number} now milliseconds, by the server's clock
 * @returns {Record<Facet, Map<string, number>>}
 */
export function countsOf(gates, filter, now) {
  const checks = checksOf(filter, now);
  /** @type {Record<Facet, Map<string, number>>} */
  const counts = { instance: new Map(), workflow: new Map(), bus: new Map(), status: new Map() };
  for (const gate of gates) {
    let failed = "";
    let failures = 0;
    for (const [name, passes] of checks) {
      if (passes(gate)) continue;
      failed = name;
      if ((failures += 1) > 1) break;
    }
    if (failures > 1) continue;
    for (const facet of FACETS) {
      if (failures && failed !== facet) continue;
      for (const value of valuesOf(gate, facet)) counts[facet].set(value, (counts[facet].get(value) ?? 0) + 1);
    }
  }
  return counts;
}

/** @param {any} gate @param {Facet} facet @returns {string[]} */
function valuesOf(gate, facet) {
  if (facet === "bus") return [...new Set([gate.send_id, gate.get_id])].filter(Boolean);
  return gate[facet] ? [gate[facet]] : [];
}

/**
 * What the filter's fields that are in use ask of a gate.
 * @param {Filter} filter
 * @param {number} now
 * @returns {[string, (gate: any) => boolean][]}
 */
function checksOf({ text, instance, workflow, bus, age, status }, now) {
  /** @type {[string, (gate: any) => boolean][]} */
  const checks = [];
  if (instance) checks.push(["instance", (gate) => gate.instance === instance]);
  if (workflow) checks.push(["workflow", (gate) => gate.workflow === workflow]);
  if (status) checks.push(["status", (gate) => gate.status === status]);
  if (bus) checks.push(["bus", (gate) => gate.send_id === bus || gate.get_id === bus]);
  if (age) checks.push(["age", (gate) => gate.opened <= now - age * 60_000]);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) checks.push(["text", (gate) => words.every((word) => wordsOf(gate).includes(word))]);
  return checks;
}

/** @type {WeakMap<object, string>} gate -> its words: they are looked through at every letter that is typed */
const known = new WeakMap();

/** @param {any} gate */
function wordsOf(gate) {
  let words = known.get(gate);
  if (words === undefined) {
    const { id, title, note, workflow, instance, send_id, get_id, labels } = gate;
    words = [title, note, workflow, instance, send_id, get_id, id, ...(labels ?? [])].join("\n").toLowerCase();
    known.set(gate, words);
  }
  return words;
}
