/** What is known about a gate beside its image: where it comes from, its history, and what was decided last. */
import { el } from "../comfyui/lib/dom.mjs";
import { runText } from "../comfyui/lib/gate-run.mjs";
import { chosenNumbers, chosenText } from "../comfyui/lib/gate-choice.mjs";
import { outcomeText, sizeText } from "../comfyui/lib/gate-state.mjs";
import { t } from "../comfyui/lib/i18n.mjs";

/** @typedef {import("./page.mjs").Context} Context */
/** @typedef {{at: number, text: string}} Happening */

/** Decisions of others that are listed. */
const LISTED = 12;
/** Kinds of the log's entries that are decisions. */
const DECIDED = new Set(["route", "cancel", "expire"]);
/** The outcome, in the log, of a decision that was taken back. */
const TAKEN_BACK = "taken back";

export class Facts {
  #key = "";
  /** @type {any[]} the gate's entries of the decision log */
  #entries = [];
  /** @type {any[]} the last decisions of the log when the screen was opened */
  #log = [];
  #asked = "";

  /** @param {Context} context @param {() => void} close */
  constructor(context, close) {
    this.context = context;
    /** @type {(() => void)[]} show the options as they are set */
    this.options = [];
    // The head has no room for all of a long one.
    this.title = el("p", { class: "gs-facts-title" });
    this.details = el("dl", { class: "gs-details" });
    this.history = el("ol", { class: "gs-history" });
    this.last = el("ul", { class: "gs-last" });
    this.element = el(
      "aside",
      { class: "gs-facts", id: "gs-facts", "aria-label": t("screen.facts") },
      el("button", { type: "button", class: "gs-tool gs-facts-close", "aria-label": t("screen.closeFacts"), onclick: close }, "×"),
      el("h2", {}, t("screen.facts")),
      this.title,
      this.details,
      el("h2", {}, t("screen.history")),
      this.history,
      el("h2", {}, t("screen.last")),
      this.last,
      el("h2", {}, t("screen.options")),
      this.#option("advance", true, false),
      this.#option("swipe", "decide", "step"),
    );
  }

  /** @param {"advance" | "swipe"} name @param {any} on its value @param {any} off */
  #option(name, on, off) {
    const { settings } = this.context;
    const box = el("input", { type: "checkbox", checked: settings.get(name) === on, onchange: () => settings.set(name, box.checked ? on : off) });
    this.options.push(() => (box.checked = settings.get(name) === on));
    return el("label", { class: "gs-option" }, box, t(`screen.${name}`));
  }

  /** @param {any} gate undefined for none */
  show(gate) {
    for (const option of this.options) option();
    const last = this.#decidedLast(gate?.id);
    void this.#ask(gate);
    const key = JSON.stringify([gate?.id, gate?.rev, this.#entries.length, last]);
    if (key === this.#key) return;
    this.#key = key;
    this.title.textContent = gate?.title ?? "";
    this.details.replaceChildren(...(gate ? facts(gate) : []));
    const happened = gate ? historyOf(gate, this.#entries) : [];
    this.history.replaceChildren(...happened.map(({ at, text }) => el("li", {}, el("time", { datetime: new Date(at).toISOString() }, when(at)), text)));
    const links = last.map(({ id, title, outcome }) => el("li", {}, el("a", { href: `#/gates/${id}` }, title || t("gate.untitled")), el("span", {}, outcome)));
    this.last.replaceChildren(...(links.length ? links : [el("li", {}, t("screen.noneDecided"))]));
  }

  /** @param {string | undefined} but the gate that is shown */
  #decidedLast(but) {
    const { gates, ended } = this.context.feed;
    /** @type {Map<string, {id: string, title: string, at: number, outcome: string}>} */
    const last = new Map();
    for (const entry of this.#log) {
      const outcome = entry.outcome === TAKEN_BACK ? t("screen.takenBack") : decidedText(entry, entry.at);
      if (!last.has(entry.gate)) last.set(entry.gate, { id: entry.gate, title: entry.title, at: entry.at, outcome });
    }
    for (const gate of [...ended.values(), ...gates.values()]) {
      const { id, title, decision } = gate;
      if (decision) last.set(id, { id, title, at: decision.at, outcome: outcomeText(gate) });
    }
    last.delete(but ?? "");
    return [...last.values()].sort((one, other) => other.at - one.at).slice(0, LISTED);
  }

  /** Reads what the decision log tells of the gate, once for each of its states; and the last of all, once. @param {any} gate */
  async #ask(gate) {
    const { api } = this.context;
    const asked = gate ? `${gate.id} ${gate.decision?.id ?? ""} ${gate.ended}` : "";
    if (asked === this.#asked) return;
    const [first, other] = [!this.#asked, !this.#asked.startsWith(`${gate?.id} `)];
    this.#asked = asked;
    if (other) this.#entries = [];
    try {
      if (first) this.#log = (await api.call("GET", `/gatebus/decisions?limit=${LISTED}`)).decisions;
      if (this.#asked !== asked || !gate) return;
      const { decisions } = await api.call("GET", `/gatebus/decisions?gate=${encodeURIComponent(gate.id)}&kind=all&order=oldest`);
      if (this.#asked !== asked) return;
      this.#entries = decisions;
      this.show(gate);
    } catch {
      // The gate's own record tells what stands; what was before it is missing until the next state.
    }
  }
}

/** @param {any} gate */
function facts(gate) {
  const bus = (/** @type {string} */ name) => name && el("a", { href: `#/buses/${encodeURIComponent(name.split("@")[0])}` }, name);
  /** @type {[string, string | Node][]} */
  const rows = [
    ["workflow", gate.workflow],
    ["instance", gate.instance],
    ["node", gate.node_id && gate.list_index ? t("screen.nodeItem", { node: gate.node_id, item: gate.list_index + 1 }) : gate.node_id],
    ["size", sizeText(gate)],
    ["sends", bus(gate.send_id)],
    ["gets", bus(gate.get_id)],
    ["prompt", gate.prompt_id],
    ["id", gate.id],
  ];
  return rows.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, t(`screen.${name}`)), el("dd", {}, value)]);
}

/**
 * What happened to the gate, in order.
 * @param {any} gate
 * @param {any[]} entries of the decision log
 * @returns {Happening[]}
 */
export function historyOf(gate, entries) {
  /** @type {Happening[]} */
  const happened = [{ at: gate.opened, text: t("screen.opened", { instance: gate.instance }) }];
  for (const { kind, at, by, decision, ...entry } of entries) {
    if (kind === "take-back") happened.push({ at, text: by ? t("screen.takenBackBy", { by }) : t("screen.takenBack") });
    else if (kind === "park") happened.push({ at, text: by ? t("run.parkedBy", { by }) : t("run.parkedShort") });
    // The one that stands is in the gate's record.
    else if (DECIDED.has(kind) && decision !== gate.decision?.id) happened.push({ at, text: decidedText({ ...entry, kind, by }) });
  }
  const { decision } = gate;
  if (gate.parked && !gate.of && !entries.some(({ kind }) => kind === "park")) happened.push({ at: gate.parked, text: t("run.parkedShort") });
  if (decision) {
    happened.push({ at: decision.at, text: decidedText({ ...decision, label: gate.labels[decision.route - 1] }) });
    if (decision.chosen) happened.push({ at: decision.at, text: `${chosenText(decision, gate.batch)}: ${chosenNumbers(decision)}` });
    if (decision.text) happened.push({ at: decision.at, text: t("screen.withText", { text: decision.text }) });
    if (decision.mask) happened.push({ at: decision.at, text: t("screen.withMask") });
  }
  if (gate.ended) happened.push({ at: gate.ended, text: t(endOf(gate)) });
  const ran = gate.run_at && runText(gate, gate);
  if (ran) happened.push({ at: gate.run_at, text: ran });
  return happened.sort((one, other) => one.at - other.at);
}

/** An entry of the log in words. @param {any} entry @param {number} [at] left out where the time stands beside it */
function decidedText({ kind, route, label, by }, at = 0) {
  const labels = Object.assign([], { [route - 1]: label });
  return outcomeText({ status: "decided", labels, decision: { kind, route, by, at } });
}

/** @param {any} gate */
function endOf({ status, outcome }) {
  if (status === "applied") return "screen.applied";
  return status === "expired" ? "gate.expired" : outcome === "interrupted" ? "gate.stopped" : "screen.endedUnapplied";
}

/** @param {number} at milliseconds since the epoch */
function when(at) {
  const day = new Date(at);
  const today = day.toDateString() === new Date().toDateString();
  return day.toLocaleString([], today ? { timeStyle: "medium" } : { dateStyle: "short", timeStyle: "medium" });
}
